//! `scope.audit_log`: append-only, and in the transaction of what it records.

use serde_json::json;

use super::*;

#[test]
fn audit_log_is_append_only() {
    let f = Fixture::new("audit_append");
    f.admin().issue("'orders'");
    let reader = f.role("reader", "LOGIN IN ROLE pg_monitor");
    let writer = f.role(
        "writer",
        "LOGIN IN ROLE pg_write_all_data, pg_read_all_data",
    );
    let owner = f.issuer("issuer");
    f.admin().run(&format!(
        "GRANT SELECT ON orders TO {owner} WITH GRANT OPTION"
    ));
    let mut session = f.login(&owner);
    session.issue("'orders'");
    session.denied("SELECT * FROM scope.audit_log", "42501");
    let mut session = f.login(&reader);
    session.assert_that("(SELECT count(*) >= 4 FROM scope.audit_log)");
    session.assert_that(&format!(
        "EXISTS (SELECT FROM scope.audit_log WHERE login = '{owner}')"
    ));
    for attack in [
        "UPDATE scope.audit_log SET object = 'x'",
        "DELETE FROM scope.audit_log",
        "TRUNCATE scope.audit_log",
        "INSERT INTO scope.audit_log (event, function, object, login, role, application_name, pid, details) VALUES ('issue', 'x', 'x', 'x', 'x', 'x', 1, '{}')",
        "DROP TABLE scope.audit_log",
        "ALTER TABLE scope.audit_log DISABLE ROW LEVEL SECURITY",
        "CREATE TRIGGER t BEFORE INSERT ON scope.audit_log EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ] {
        f.login(&reader).denied(attack, "42501");
    }
    // Those who may write all data may not write this.
    let before = f
        .admin()
        .text("SELECT string_agg(a::text, ',' ORDER BY at) FROM scope.audit_log a");
    let mut session = f.login(&writer);
    session.denied("UPDATE scope.audit_log SET object = 'x'", "42501");
    session.denied("DELETE FROM scope.audit_log", "42501");
    session.denied(
        "INSERT INTO scope.audit_log (event, function, object, login, role, application_name, pid, details) VALUES ('issue', 'x', 'x', 'x', 'x', 'x', 1, '{}')",
        "42501",
    );
    session.denied("TRUNCATE scope.audit_log", "42501");
    let after = f
        .admin()
        .text("SELECT string_agg(a::text, ',' ORDER BY at) FROM scope.audit_log a");
    assert_eq!(before, after);
}

/// Nothing is done that cannot be recorded.
#[test]
fn audit_log_that_fails_stops_what_it_records() {
    let f = Fixture::new("audit_fails");
    let mut admin = f.admin();
    admin.run("ALTER TABLE scope.audit_log ADD CHECK (event <> 'issue')");
    admin.denied(
        "SELECT scope.create_readonly_role('orders', role_name => 'audit_fails_x')",
        "23514",
    );
    assert!(!admin.role_exists("audit_fails_x"));
    // It was not done, and is not told as if it were.
    none(
        f.server,
        json!({ "event": "issue", "database": f.name, "outcome": "ok" }),
    );
}

/// The row says who, although the function works as another.
#[test]
fn audit_log_names_the_caller_of_a_switched_session() {
    let w = Web::new("audit_caller");
    w.f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.revoke_token TO {0}; GRANT EXECUTE ON FUNCTION scope.create_readonly_role TO {0}; GRANT SELECT ON orders TO {0} WITH GRANT OPTION",
        w.user
    ));
    let mut session = w.switched("an operator");
    session.run("SELECT scope.revoke_token('x', now() + '1 hour'); COMMIT");
    w.f.admin().assert_that(&format!(
        "(SELECT concat_ws(' ', login, role, issuer, subject, jti) FROM scope.audit_log) = '{} {} https://id.example.org an operator 4711'",
        w.web, w.user
    ));
}

#[test]
fn audit_log_forgets_what_is_too_old_and_nothing_else() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "audit_retention");
    let mut admin = f.admin();
    admin.issue("'orders'");
    let old = admin.issue("'orders'");
    admin.run(&format!(
        "UPDATE scope.audit_log SET at = now() - interval '31 days' WHERE object = '{}'",
        old.role
    ));
    let count = admin.text("SELECT count(*) FROM scope.audit_log");
    assert_eq!(count, "3", "a scope and two logins");
    // Somebody's own table of that name, with a trigger that would run as the worker.
    admin.run("CREATE DATABASE audit_trap");
    let mut trap = server.admin("audit_trap");
    let owner = f.role("owner", "LOGIN");
    trap.run(&format!("CREATE SCHEMA scope AUTHORIZATION {owner}"));
    server.login(&owner, "audit_trap").run(
        "CREATE TABLE scope.audit_log (id bigint, at timestamptz);
         INSERT INTO scope.audit_log VALUES (1, '2001-01-01');
         CREATE TABLE scope.taken (by_whom name);
         CREATE FUNCTION scope.take() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO scope.taken VALUES (current_user); RETURN OLD; END';
         CREATE TRIGGER take BEFORE DELETE ON scope.audit_log FOR EACH ROW EXECUTE FUNCTION scope.take()",
    );
    server.alter_system("scope_roles.audit_retention", "30d");
    wait_until("the old row is gone", 20, || {
        admin.text("SELECT count(*) FROM scope.audit_log") == "2"
    });
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.audit_log WHERE object = '{}')",
        old.role
    ));
    server.alter_system("scope_roles.audit_retention", "29d");
    wait_until("the worker has been everywhere", 20, || {
        server.log().matches("scope_roles.audit_retention").count() >= 2
            && !admin.holds(
                "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scope_roles worker')",
            )
    });
    trap.assert_that("(SELECT count(*) FROM scope.audit_log) = 1");
    trap.assert_that("NOT EXISTS (SELECT FROM scope.taken)");
}
