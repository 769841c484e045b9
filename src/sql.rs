//! The files of `sql/`, in the order in which they are to run.
//!
//! Each requires the one before it: of two that may run in either order pgrx takes one first by chance, and no two builds are the same.

use pgrx::prelude::*;

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
extension_sql_file!(
    "../sql/sessions.sql",
    name = "sessions",
    requires = ["views"]
);
extension_sql_file!("../sql/audit.sql", name = "audit", requires = ["sessions"]);
extension_sql_file!(
    "../sql/offboard.sql",
    name = "offboard",
    requires = ["audit"]
);
extension_sql_file!(
    "../sql/guards.sql",
    name = "guards",
    requires = ["offboard"]
);
extension_sql_file!("../sql/access.sql", name = "access", requires = ["guards"]);
extension_sql_file!("../sql/spec.sql", name = "spec", requires = ["access"]);
extension_sql_file!("../sql/map.sql", name = "map", requires = ["spec"]);
extension_sql_file!("../sql/review.sql", name = "review", requires = ["map"]);
extension_sql_file!("../sql/page.sql", name = "page", requires = ["review"]);
extension_sql_file!(
    "../sql/requests.sql",
    name = "requests",
    requires = ["page"]
);
extension_sql_file!(
    "../sql/columns.sql",
    name = "columns",
    requires = ["requests"]
);
extension_sql_file!(
    "../sql/privileges.sql",
    name = "privileges",
    requires = ["columns"]
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
