//! Roles with names that are no UTF-8: every database of a cluster shares them, and each may have another encoding.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use crate::harness::*;

/// A server with the extension in `postgres`, which is UTF8, and `latin`, which is LATIN1.
fn server() -> (Server, Session, Session) {
    let server = Server::start(Options::default());
    let mut admin = server.admin("postgres");
    admin.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'");
    let mut latin = server.admin("latin");
    for s in [&mut admin, &mut latin] {
        s.run("CREATE EXTENSION scope_roles; CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)");
    }
    (server, admin, latin)
}

/// What psql says as a role of any name, errors too.
fn psql(server: &Server, role: &[u8], db: &str, sql: &str) -> String {
    let output = server
        .client("psql")
        .args(["-XAt", "-d", db, "-c", sql])
        .arg("-U")
        .arg(OsStr::from_bytes(role))
        .output()
        .expect("psql");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn attack_a_login_renamed_where_names_are_no_utf8_keeps_its_end_and_its_rules() {
    let (server, mut admin, mut latin) = server();
    admin.run("CREATE ROLE web_user; CREATE ROLE stranger; GRANT SELECT ON orders TO web_user");
    // What a reader who replaces the byte would take for the same name.
    admin.run("CREATE ROLE \"caf\u{FFFD}\"; CREATE ROLE \"caf\u{10FFE9}\"");
    let address = admin.issue("'orders', allow_local => false").role;
    let revoked = admin.issue("'orders'").role;
    let ends = admin.issue("'orders'").role;
    let gate = admin.text("SELECT role_name FROM scope.create_authenticator('gate', '{web_user}')");
    let mut oid = |role: &str| admin.text(&format!("SELECT '{role}'::regrole::oid"));
    let (oid, leaked) = (oid(&ends), oid(&revoked));
    for (role, name) in [
        (&address, "caf\u{e9}_a"),
        (&revoked, "caf\u{e9}"),
        (&ends, "caf\u{e9}_e"),
        (&gate, "caf\u{e9}_g"),
    ] {
        latin.run(&format!("ALTER ROLE {role} RENAME TO \"{name}\""));
    }
    let said = std::thread::scope(|scope| {
        let session =
            scope.spawn(|| psql(&server, b"caf\xe9_e", "postgres", "SELECT pg_sleep(60)"));
        let mut count = |all: &str| admin.text(&format!("SELECT count(*) FROM {all}"));
        wait_until("the login is in", 30, || {
            count(&format!(
                "pg_stat_activity WHERE usesysid = {oid} AND wait_event = 'PgSleep'"
            )) == "1"
        });
        count(&format!(
            "(SELECT scope.renew_role(rolname, '1 second') FROM pg_roles WHERE oid = {oid}) x"
        ));
        wait_until("the login has ended", 30, || {
            count(&format!("pg_roles WHERE oid = {oid}")) == "0"
        });
        session.join().expect("psql")
    });
    assert!(
        said.contains("has ended") || said.contains("terminating connection"),
        "{said}"
    );
    assert!(psql(&server, b"caf\xe9_a", "postgres", "SELECT 1").contains("FATAL"));
    let gate = |sql: &str| psql(&server, b"caf\xe9_g", "postgres", sql);
    assert!(
        gate("SET ROLE web_user").contains("by token only"),
        "{}",
        gate("SELECT 1")
    );
    assert!(gate("CREATE TEMP TABLE t ()").contains("ERROR"));
    // Revoked by its name as it is, from any database.
    assert_eq!(
        psql(&server, b"caf\xe9", "postgres", "SELECT id FROM orders"),
        "1\n"
    );
    admin.run(&format!(
        "SELECT scope.revoke_role(rolname) FROM pg_roles WHERE oid = {leaked}"
    ));
    assert!(psql(&server, b"caf\xe9", "postgres", "SELECT 1").contains("FATAL"));
    wait_until("the revoked login is gone", 30, || {
        admin.holds("(SELECT count(*) FROM pg_roles WHERE rolname LIKE 'caf_') = 2")
    });
    let log = server.log();
    assert!(!log.contains("ending role"), "{log}");
}

#[test]
fn attack_a_name_of_another_encoding_crashes_what_reads_all_roles() {
    let (_server, mut admin, mut latin) = server();
    latin.run(
        "CREATE ROLE \"own\u{e9}\" LOGIN PASSWORD 'x'; CREATE ROLE \"\u{ff}\" SUPERUSER LOGIN;
         GRANT SELECT ON orders TO \"own\u{e9}\"; GRANT pg_read_all_data TO \"own\u{e9}\";
         ALTER ROLE \"own\u{e9}\" SET search_path = public",
    );
    latin.run(
        "CREATE DATABASE \"d\u{e9}\" ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C' OWNER \"own\u{e9}\"",
    );
    admin.run("DO $$ BEGIN EXECUTE format('GRANT SELECT ON orders TO %I', (SELECT rolname FROM pg_roles WHERE rolname::text LIKE 'own_')); END $$");
    for s in [&mut admin, &mut latin] {
        for call in [
            "scope.review()",
            "scope.review_html()",
            "scope.effective_access()",
            "scope.role_map()",
            "scope.role_map('json')",
            "scope.harden()",
            "scope.prune()",
            "scope.export_spec()",
            "scope.who_can('SELECT', 'orders')",
            "scope.roles",
            "scope.credentials",
        ] {
            let all = format!("SELECT count(x.*::text) FROM {call} x");
            let answer = s.attempt(&all);
            assert!(answer.is_ok(), "{call}: {answer:?}");
        }
        // As an argument of any function.
        s.run("SELECT scope.jwt_claim(rolname::text) FROM pg_roles");
        s.refused(
            "SELECT scope.set_jwt_role(rolname::text) FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'",
            "28000",
        );
    }
}

#[test]
fn a_database_in_latin1_has_its_own_letters() {
    let (server, _, mut latin) = server();
    let said = latin.text(
        "SELECT role_name FROM scope.create_readonly_role('orders', 'cafe_ro', purpose => 'f\u{fc}r M\u{fc}ller')",
    );
    assert_eq!(said, "cafe_ro");
    assert_eq!(
        psql(&server, b"cafe_ro", "latin", "SELECT id FROM orders"),
        "1\n"
    );
    let purpose = "SELECT purpose FROM scope.credentials";
    assert_eq!(latin.text(purpose), "f\\xfcr M\\xfcller");
    latin.run("SELECT scope.revoke_role('cafe_ro', 'M\u{fc}ller ist fort')");
    assert!(psql(&server, b"cafe_ro", "latin", "SELECT 1").contains("FATAL"));
}

/// It takes any bytes, and converts none.
#[test]
fn attack_claims_beyond_ascii_in_sql_ascii() {
    let server = Server::start(Options::default().set("scope_roles.jwt_secret", SECRET));
    let mut admin = server.admin("postgres");
    admin.run("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'");
    let mut admin = server.admin("ascii");
    admin.run("CREATE EXTENSION scope_roles; CREATE ROLE reader; CREATE ROLE login LOGIN NOINHERIT IN ROLE reader");
    let mut s = server.login("login", "ascii");
    for sub in ["\u{e9}", &"\u{e9}".repeat(13), "\u{1f980} crab"] {
        let token = sign(&json!({"role": "reader", "sub": sub, "pad": "qqqqq", "exp": now() + 60}));
        s.run(&format!("BEGIN; SELECT scope.set_jwt_role('{token}')"));
        for read in [
            "scope.jwt_subject()",
            "scope.jwt_claim('sub')",
            "scope.jwt_claims()->>'sub'",
            "current_setting('request.jwt.claims')::jsonb->>'sub'",
            "current_setting('request.jwt.claim.sub')",
        ] {
            s.assert_that(&format!(
                "encode(convert_to({read}, 'SQL_ASCII'), 'hex') = '{}'",
                hex(sub)
            ));
        }
        s.run("COMMIT");
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn attack_a_prepared_transaction_named_in_another_encoding_stops_the_worker() {
    let server = Server::start(Options::default().set("max_prepared_transactions", "5"));
    let mut admin = server.admin("postgres");
    admin.run(
        "CREATE EXTENSION scope_roles; CREATE TABLE orders (id int); CREATE ROLE mallory LOGIN",
    );
    admin
        .run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C' OWNER mallory");
    let role = admin.issue("'orders', valid_for => '3 seconds'").role;
    let mut mallory = server.login("mallory", "latin");
    mallory.run("CREATE TABLE t (); BEGIN");
    mallory.run(&format!("GRANT SELECT ON t TO {role}"));
    mallory.run("PREPARE TRANSACTION 'q\"\u{ff}\u{f0}'");
    let told = format!("SELECT coalesce(last_error, '') FROM scope.roles WHERE role = '{role}'");
    wait_until("what holds it up is told", 30, || {
        admin.text(&told).contains("q\"\\xff\\xf0")
    });
    mallory.run("ROLLBACK PREPARED 'q\"\u{ff}\u{f0}'");
    wait_until("it is gone", 30, || !admin.role_exists(&role));
    assert!(!server.log().contains("terminated by signal"));
}
