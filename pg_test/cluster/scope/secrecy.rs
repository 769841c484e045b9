//! The plaintext of a password is returned once and is nowhere else.

use crate::harness::*;

#[test]
fn only_a_scram_verifier_is_stored() {
    let f = Fixture::new("secrecy_verifier");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let stored = admin.text(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = {}",
        literal(&cred.role)
    ));
    assert!(stored.starts_with("SCRAM-SHA-256$4096:"), "{stored}");
    assert!(!stored.contains(&cred.password));
    let scope = admin.scope_of(&cred.role);
    admin.assert_that(&format!(
        "(SELECT rolpassword FROM pg_authid WHERE rolname = {}) IS NULL",
        literal(&scope)
    ));
    let other = admin.issue("'orders'");
    let salt = |stored: &str| stored.split(['$', ':']).nth(2).map(str::to_owned);
    let again = admin.text(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = {}",
        literal(&other.role)
    ));
    assert!(
        salt(&stored).is_some() && salt(&stored) != salt(&again),
        "{stored} {again}"
    );
}

#[test]
fn a_server_set_to_md5_still_gets_scram() {
    let server = Server::start(Options::default().set("password_encryption", "md5"));
    let f = Fixture::on(&server, "secrecy_md5");
    let cred = f.admin().issue("'orders'");
    f.admin().assert_that(&format!(
        "(SELECT rolpassword FROM pg_authid WHERE rolname = {}) LIKE 'SCRAM-SHA-256$%'",
        literal(&cred.role)
    ));
    cred.connect().rows("SELECT * FROM orders");
}

#[test]
fn scram_iterations_is_honoured() {
    if shared().version() < 160_000 {
        return;
    }
    let f = Fixture::new("secrecy_iterations");
    let mut admin = f.admin();
    admin.run("SET scram_iterations = 5000");
    let cred = admin.issue("'orders'");
    admin.assert_that(&format!(
        "(SELECT rolpassword FROM pg_authid WHERE rolname = {}) LIKE 'SCRAM-SHA-256$5000:%'",
        literal(&cred.role)
    ));
    cred.connect().rows("SELECT * FROM orders");
}

#[test]
fn the_plaintext_is_in_no_log_and_no_view() {
    let server = Server::start(
        Options::default()
            .set("log_statement", "all")
            .set("log_min_messages", "debug5")
            .set("log_min_error_statement", "debug5")
            .set("log_duration", "on")
            .set("debug_print_plan", "on")
            .set("log_parameter_max_length_on_error", "-1"),
    );
    let f = Fixture::on(&server, "secrecy_log");
    let mut watcher = f.admin();
    let mut admin = f.admin();
    admin.run("SET client_min_messages = debug5");
    let mut secrets = Vec::new();
    let sql = "SELECT role_name, password FROM scope.create_readonly_role('orders', valid_for => '1 hour')";
    for row in [
        admin.rows(sql),
        admin.attempt_extended(sql, &[]).expect("a credential"),
    ] {
        secrets.push(row[0][1].clone().expect("a password"));
        let queries = watcher
            .column("SELECT query FROM pg_stat_activity")
            .join("\n");
        assert!(queries.contains("create_readonly_role"));
        assert!(!secrets.iter().any(|secret| queries.contains(secret)));
    }
    // An error after the role was made.
    admin.refused(
        "SELECT scope.create_readonly_role('orders', 'postgres')",
        "42710",
    );
    let notices = admin.notices();
    for secret in &secrets {
        assert!(!notices.iter().any(|n| n.rest.contains(secret)));
    }
    // A session that uses the password logs its own connection.
    server
        .try_password(
            &admin.text("SELECT role FROM scope.roles WHERE kind = 'credential' LIMIT 1"),
            &secrets[0],
            "secrecy_log",
        )
        .ok();
    let log = server.log();
    assert!(
        log.contains("create_readonly_role"),
        "the log is not verbose, so it proves nothing"
    );
    for secret in &secrets {
        assert!(!log.contains(secret), "a password is in the log");
    }
    let dump = admin.text("SELECT string_agg(label, ' ') FROM pg_shseclabel");
    assert!(!secrets.iter().any(|secret| dump.contains(secret)));
}
