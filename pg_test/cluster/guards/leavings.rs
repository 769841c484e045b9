//! A login that only reads leaves nothing behind, and what others leave does not stay for ever.

use super::Scene;
use crate::expiry::wait_until_gone;
use crate::harness::*;

/// A server on which transactions can be prepared, and one database on it.
fn server() -> Server {
    Server::start(Options::default().set("max_prepared_transactions", "4"))
}

#[test]
fn attack_a_reader_leaves_a_prepared_transaction() {
    let server = server();
    let f = Fixture::on(&server, "leave_prepared");
    let mut admin = f.admin();
    let login = admin.issue("'orders'").role;
    let mut s = f.login(&login);
    for protocol in [Protocol::Simple, Protocol::Extended] {
        s.run("BEGIN; SELECT * FROM orders");
        let refusal = s
            .attempt_by(protocol, "PREPARE TRANSACTION 'for ever'")
            .expect_err("a reader");
        assert_eq!(refusal.code, "42501", "{refusal}");
        assert!(refusal.message.contains("only reads"), "{refusal}");
        s.run("ROLLBACK");
    }
    // In one message, and where a failed transaction would end by it.
    s.refused("BEGIN; SELECT 1; PREPARE TRANSACTION 'x'; COMMIT", "42501");
    s.run("ROLLBACK");
    s.run("BEGIN");
    assert!(s.attempt("SELECT 1 / 0").is_err());
    s.run("PREPARE TRANSACTION 'ends what has failed'");
    admin.assert_that("NOT EXISTS (SELECT FROM pg_prepared_xacts)");
    s.rows("SELECT * FROM orders");
}

/// Somebody who writes may: then its end says what it waits for, and how that ends.
#[test]
fn the_end_of_a_writer_waits_for_its_prepared_transaction_and_says_so() {
    let server = server();
    let f = Fixture::on(&server, "leave_writer");
    let mut admin = f.admin();
    let cred = admin.handed("scope.create_readwrite_role('orders')");
    let mut s = f.login(&cred.role);
    s.run("BEGIN; INSERT INTO orders VALUES (3, 'third'); PREPARE TRANSACTION 'it''s open'");
    drop(s);
    admin.run(&format!("SELECT scope.revoke_role('{}')", cred.role));
    let role = cred.role.clone();
    wait_until("the reason is shown", 30, || {
        let mut admin = f.admin();
        admin.rows(&format!(
            "SELECT FROM scope.roles WHERE role = '{role}' AND state = 'ending' AND last_error LIKE '%''it''''s open''%ROLLBACK PREPARED%'"
        ))
        .len()
            == 1
    });
    assert!(server.try_login(&cred.role, &f.name).is_err());
    admin.run("ROLLBACK PREPARED 'it''s open'");
    wait_until_gone(f.server, &cred.role, 90);
}

#[test]
fn attack_a_reader_leaves_rights_and_descriptions() {
    let scene = Scene::new("leave_rights");
    let mut admin = scene.f.admin();
    let login = admin.issue("'orders'").role;
    admin.run(&format!(
        "GRANT SELECT ON orders TO {login} WITH GRANT OPTION; CREATE ROLE leave_rights_other"
    ));
    let mut s = scene.f.login(&login);
    for sql in [
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO leave_rights_other",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        "GRANT SELECT ON orders TO leave_rights_other",
        "GRANT SELECT ON orders TO PUBLIC",
        "DO $$ BEGIN ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO leave_rights_other; END $$",
    ] {
        let refusal = s.refused(sql, "42501");
        assert!(refusal.message.contains("only reads"), "{sql}: {refusal}");
    }
    s.denied("COMMENT ON TABLE orders IS 'x'", "42501");
    admin.assert_that("NOT EXISTS (SELECT FROM pg_default_acl)");
    // What was left before, or by hand, goes with the role.
    admin.run(&format!(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {login} GRANT SELECT ON TABLES TO leave_rights_other; SELECT scope.revoke_role('{login}')"
    ));
    wait_until_gone(scene.f.server, &login, 30);
    admin.assert_that("NOT EXISTS (SELECT FROM pg_default_acl)");
}

/// Rights and settings of the role are taken away in each database; only what holds something is kept.
#[test]
fn default_privileges_and_user_mappings_quarantine_nobody() {
    let (f, g) = (Fixture::new("leave_home"), Fixture::new("leave_away"));
    let cred = f.admin().issue("'orders'");
    for database in [&f, &g] {
        let mut admin = database.admin();
        admin.run(&format!(
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
             CREATE USER MAPPING FOR {0} SERVER far OPTIONS (password 'x');
             ALTER DEFAULT PRIVILEGES FOR ROLE {0} GRANT SELECT ON TABLES TO PUBLIC",
            cred.role
        ));
    }
    f.admin()
        .run(&format!("SELECT scope.revoke_role('{}')", cred.role));
    wait_until_gone(f.server, &cred.role, 40);
    for database in [&f, &g] {
        database.admin().assert_that(
            "NOT EXISTS (SELECT FROM pg_user_mapping) AND NOT EXISTS (SELECT FROM pg_default_acl)",
        );
    }
}

/// After its end a login begins nothing that holds locks without it, and hears of nothing.
#[test]
fn attack_two_phases_and_notifications_after_the_deadline() {
    let server = Server::start(
        Options::default()
            .set("max_prepared_transactions", "4")
            .set("scope_roles.expiry", "off"),
    );
    let f = Fixture::on(&server, "leave_late");
    let mut admin = f.admin();
    let cred = admin.handed("scope.create_readwrite_role('orders', valid_for => '4 s')");
    let (mut block, mut idle, mut failed, mut ends) = (
        f.login(&cred.role),
        f.login(&cred.role),
        f.login(&cred.role),
        f.login(&cred.role),
    );
    let mut listens = Wire::open(&server, &cred.role, &f.name);
    listens.query("LISTEN late");
    idle.run("BEGIN; INSERT INTO orders VALUES (3, 'third'); PREPARE TRANSACTION 'in time'");
    block.run("BEGIN; INSERT INTO orders VALUES (4, 'fourth')");
    failed.run("BEGIN");
    failed.fails("SELECT 1/0");
    ends.run("BEGIN; INSERT INTO orders VALUES (5, 'fifth')");
    admin.run("NOTIFY late, 'in time'");
    let told = |answers: &[Answer]| answers.iter().any(|(kind, _)| *kind == b'A');
    let passed = format!(
        "clock_timestamp() > {}::timestamptz",
        literal(&cred.valid_until)
    );
    wait_until("the deadline has passed", 30, || admin.holds(&passed));
    admin.run("NOTIFY late, 'too late'");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let answers = listens.query("SELECT 1");
    assert!(
        told(&answers) && has_error(&answers, "28000"),
        "{answers:?}"
    );
    assert!(
        answers.iter().all(|(_, body)| !body.contains("too late")),
        "{answers:?}"
    );
    for protocol in [Protocol::Simple, Protocol::Extended] {
        for sql in ["COMMIT PREPARED 'in time'", "ROLLBACK PREPARED 'in time'"] {
            let refusal = idle.attempt_by(protocol, sql).expect_err(sql);
            assert_eq!(refusal.code, "28000", "{sql}: {refusal}");
        }
    }
    block.refused("PREPARE TRANSACTION 'too late'", "28000");
    failed.run("PREPARE TRANSACTION 'ends what has failed'");
    ends.run("COMMIT");
    assert_eq!(
        admin.column("SELECT gid FROM pg_prepared_xacts"),
        ["in time"]
    );
    admin.run("ROLLBACK PREPARED 'in time'");
    assert_eq!(
        admin.text("SELECT string_agg(note, ' ' ORDER BY id) FROM orders"),
        "first second fifth"
    );
}
