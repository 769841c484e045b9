//! Attacks by whoever may create a schema where the extension is not installed: what has the names of the extension's tables
//! there is not the extension's, and must not be read with its rights.

use serde_json::json;

use crate::harness::*;
use crate::jwt::Gate;

/// Puts views under the names of the extension's tables that run a function of `owner`. It leaves a row, and its answer is good
/// for every column that is read.
fn plant(owner: &mut Session) {
    owner.run(
        "CREATE SCHEMA scope; CREATE SCHEMA _scope; GRANT USAGE ON SCHEMA scope, _scope TO PUBLIC;
         CREATE TABLE public.ran (by name); GRANT ALL ON public.ran TO PUBLIC;
         CREATE FUNCTION public.evil() RETURNS text LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN ''pg_catalog.now()''; END';
         CREATE VIEW scope.writing_function AS SELECT public.evil() AS function;
         CREATE VIEW _scope.jwt_issuer AS SELECT public.evil() AS name, public.evil() AS issuer;
         CREATE VIEW _scope.jwt_revoked_token AS SELECT public.evil() AS jti, ''::text AS issuer, now() AS until;
         CREATE VIEW _scope.jwt_revoked_subject AS SELECT public.evil() AS sub, ''::text AS issuer, now() AS issued_before;
         CREATE TABLE scope.audit_log (id int, at timestamptz);
         GRANT SELECT ON ALL TABLES IN SCHEMA scope, _scope TO PUBLIC",
    );
}

#[test]
fn attack_a_reader_led_to_a_database_with_a_lookalike_of_our_tables() {
    let f = Fixture::new("lookalike_reader");
    let mut admin = f.admin();
    let reader = admin.issue("'orders'").role;
    let owner = f.role("owner", "LOGIN");
    let theirs = "lookalike_theirs";
    admin.run(&format!("CREATE DATABASE {theirs} OWNER {owner}"));
    let mut owner = f.server.login(&owner, theirs);
    // Open already, and knowing of nothing.
    let mut early = f.server.login(&reader, theirs);
    early.run("SELECT 1");
    plant(&mut owner);
    let mut late = f.server.login(&reader, theirs);
    for s in [&mut early, &mut late] {
        s.run("SELECT 1");
        s.refused("INSERT INTO public.ran VALUES ('me')", "42501");
    }
    owner.assert_that("NOT EXISTS (SELECT FROM public.ran)");
}

#[test]
fn attack_lookalikes_of_our_tables_once_the_extension_is_dropped() {
    let g = Gate::new("lookalike_dropped");
    let mut admin = g.f.admin();
    let mut s = g.login();
    s.run(&format!(
        "SELECT scope.set_jwt_session({})",
        literal(&g.token(json!({})))
    ));
    let owner = g.f.role("owner", "LOGIN");
    admin.run(&format!("GRANT CREATE ON DATABASE {} TO {owner}", g.f.name));
    admin.run("DROP EXTENSION scope_roles CASCADE");
    let mut owner = g.f.login(&owner);
    admin.run("GRANT CREATE ON SCHEMA public TO PUBLIC");
    plant(&mut owner);
    s.run("SELECT 1");
    assert_eq!(s.text("SELECT current_user"), g.reader);
    owner.assert_that("NOT EXISTS (SELECT FROM public.ran)");
}
