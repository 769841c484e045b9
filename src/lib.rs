//! Least-privilege, short-lived access inside PostgreSQL. Design: one room a concept, see README.

use pgrx::prelude::*;

mod access;
mod acl;
mod admission;
mod advisory;
mod audit;
mod authenticator;
mod authority;
mod buffer;
mod claim_path;
mod claims;
mod credential;
mod dependencies;
mod digits;
mod error;
mod expiry;
mod flood;
mod guard;
mod guc;
mod hooks;
mod html;
mod jwt;
mod label;
mod lock;
mod log_line;
mod log_prefix;
mod login;
mod login_facts;
mod map;
mod memberships;
mod notice;
mod own_tables;
mod page;
mod pg;
mod pinned;
mod review;
mod scope;
mod session;
mod session_libraries;
mod spec;
mod switch;
mod switch_text;
mod temporary;
mod text;
mod timestamp;
mod verify;
mod waiting;
mod wakeup;
mod window;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!(
    "../sql/functions.sql",
    name = "functions",
    requires = ["schema"]
);
extension_sql_file!(
    "../sql/tables.sql",
    name = "tables",
    requires = ["functions"]
);
extension_sql_file!("../sql/login.sql", name = "login", requires = ["tables"]);
extension_sql_file!("../sql/views.sql", name = "views", requires = ["login"]);
extension_sql_file!("../sql/audit.sql", name = "audit", requires = ["views"]);
extension_sql_file!("../sql/guards.sql", name = "guards", requires = ["views"]);
extension_sql_file!("../sql/access.sql", name = "access", requires = ["views"]);
extension_sql_file!("../sql/spec.sql", name = "spec", requires = ["views"]);
extension_sql_file!("../sql/map.sql", name = "map", requires = ["views"]);
extension_sql_file!(
    "../sql/review.sql",
    name = "review",
    requires = ["access", "audit"]
);
extension_sql_file!(
    "../sql/page.sql",
    name = "page",
    requires = ["review", "map"]
);
extension_sql_file!(
    "../sql/columns.sql",
    name = "columns",
    requires = ["page", "guards"]
);
extension_sql_file!(
    "../sql/privileges.sql",
    name = "privileges",
    requires = [
        "views", "audit", "guards", "access", "spec", "page", "columns"
    ]
);
extension_sql_file!(
    "../sql/tokens.sql",
    name = "tokens",
    requires = ["privileges"]
);
extension_sql_file!(
    "../sql/owner.sql",
    name = "owner",
    requires = ["tokens"],
    finalize
);

/// Runs in the postmaster when preloaded, and in a backend that meets the library without preload:
/// there only the settings are defined, so that functions can say what is missing, and managed logins are
/// refused.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    audit::setting::define();
    session::switch_state::define();
    guc::init();
    if pg::preload::in_progress() {
        pg::preload::mark();
        advisory::init();
        audit::init();
        hooks::install();
        login::init();
        guard::init();
        temporary::init();
        verify::init();
        expiry::init();
    } else {
        error::warn_without_preload();
        login::without_preload();
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[path = "../pg_test/mod.rs"]
pub mod pg_test;
