//! Least-privilege, short-lived access inside PostgreSQL. Design: one room a concept, see README.

use pgrx::prelude::*;

mod access;
mod acl;
mod admission;
mod advisory;
mod attention;
mod audit;
mod authenticator;
mod authority;
mod buffer;
mod bytes;
mod claim_path;
mod claim_rules;
mod claims;
mod composite;
mod credential;
mod dependencies;
mod digits;
mod door;
mod error;
mod exchange;
mod expiry;
mod flood;
mod guard;
mod guc;
mod hooks;
mod html;
mod jwks;
mod jwt;
mod keys;
mod label;
mod lock;
mod log_line;
mod log_prefix;
mod login;
mod login_facts;
mod map;
mod memberships;
mod notice;
mod offboard;
mod own_tables;
mod page;
mod pg;
mod pinned;
mod presence;
mod reassign;
mod request;
mod review;
mod scope;
mod session;
mod session_libraries;
mod sessions;
mod spec;
mod sql;
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
        presence::init();
        hooks::install();
        login::init();
        guard::init();
        temporary::init();
        verify::init();
        exchange::init();
        request::init();
        expiry::init();
    } else {
        error::warn_without_preload();
        login::without_preload();
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[path = "../pg_test/mod.rs"]
pub mod pg_test;
