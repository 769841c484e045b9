//! The files of `sql/`, in the order in which they are to run.

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
    requires = ["page", "guards", "sessions"]
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
