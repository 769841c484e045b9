//! Attacks by protocol messages: the fast-path function call, which no driver offers any more and every server still answers,
//! and pipelines of portals.

use super::STAGE;
use crate::harness::*;
use crate::jwt::switch;

fn open() -> Wire {
    let gate = &STAGE.gate;
    Wire::open(gate.f.server, &gate.auth, &gate.f.name)
}

fn oid_of(function: &str) -> u32 {
    STAGE
        .gate
        .f
        .admin()
        .text(&format!("SELECT '{function}'::regprocedure::oid"))
        .parse()
        .expect("an OID")
}

#[test]
fn fast_path_call_of_set_config() {
    let set_config = oid_of("pg_catalog.set_config(text,text,boolean)");
    let mut wire = open();
    // It works while nothing is locked, so the refusals below mean something.
    wire.query("BEGIN");
    assert!(
        wire.call(
            set_config,
            &[Some("role"), Some(&STAGE.gate.writer), Some("t")]
        )
        .iter()
        .any(|(kind, _)| *kind == b'V')
    );
    assert_eq!(
        wire.text("SELECT 'as ' || current_user"),
        format!("as {}", STAGE.gate.writer)
    );
    wire.query("ROLLBACK");
    for (name, value) in [
        ("role", Some("none")),
        ("role", None),
        ("ROLE", Some(STAGE.gate.auth.as_str())),
        ("session_authorization", None),
        ("request.jwt.claims", Some("{}")),
        ("request.jwt.claims", None),
    ] {
        wire.query(&format!("BEGIN; {}; SAVEPOINT s", switch(&STAGE.token)));
        // set_config is not strict, so a null reaches it.
        let answers = wire.call(set_config, &[Some(name), value, Some("t")]);
        assert!(
            has_error(&answers, "42501"),
            "{name} {value:?}: {answers:?}"
        );
        wire.query("ROLLBACK TO s");
        assert_eq!(
            wire.text("SELECT 'as ' || current_user"),
            format!("as {}", STAGE.gate.reader)
        );
        wire.query("ROLLBACK");
        assert_eq!(
            wire.text("SELECT 'as ' || current_user"),
            format!("as {}", STAGE.gate.auth)
        );
    }
}

#[test]
fn fast_path_call_of_a_function_with_a_role_clause() {
    let gate = &STAGE.gate;
    gate.f.login(&gate.auth).run(&format!(
        "CREATE OR REPLACE FUNCTION public.wire_escape() RETURNS text LANGUAGE plpgsql SET role = '{}' AS $$ BEGIN RETURN current_user; END $$",
        gate.auth
    ));
    let function = oid_of("public.wire_escape()");
    let mut wire = open();
    wire.query(&format!("BEGIN; {}; SAVEPOINT s", switch(&STAGE.token)));
    let answers = wire.call(function, &[]);
    assert!(has_error(&answers, "42501"), "{answers:?}");
    wire.query("ROLLBACK TO s");
    assert_eq!(
        wire.text("SELECT 'as ' || current_user"),
        format!("as {}", gate.reader)
    );
}

/// A portal is ready to run, and its rights are checked, when it is bound.
#[test]
fn pipeline_that_binds_before_the_lock_and_executes_after() {
    for rows_before in [None, Some(1)] {
        let mut wire = open();
        wire.query("BEGIN");
        wire.bind("loot", "SELECT secret FROM vault, generate_series(1, 3)");
        if let Some(rows) = rows_before {
            wire.execute("loot", rows);
        }
        wire.bind("lock", &switch(&STAGE.token));
        wire.execute("lock", 0);
        wire.execute("loot", 0);
        let answers = wire.sync();
        assert!(has_error(&answers, "55006"), "{answers:?}");
        let rows = answers.iter().filter(|(kind, _)| *kind == b'D').count();
        assert_eq!(rows, rows_before.map_or(0, |_| 1), "{answers:?}");
        wire.query("ROLLBACK");
    }
}

/// The portal of the switch itself is not open while it runs.
#[test]
fn portal_that_takes_the_lock_itself_and_is_executed_again() {
    let mut wire = open();
    wire.query("BEGIN");
    let token = literal(&STAGE.token);
    wire.bind(
        "both",
        &format!("SELECT CASE WHEN g = 1 THEN scope.set_jwt_role({token}) END, secret FROM vault, generate_series(1, 3) g"),
    );
    wire.execute("both", 1);
    wire.execute("both", 0);
    let answers = wire.sync();
    assert!(has_error(&answers, "42501"), "{answers:?}");
    assert_eq!(answers.iter().filter(|(kind, _)| *kind == b'D').count(), 1);
    wire.query("ROLLBACK");
    // Drivers that fetch in batches ask once more for what is not there.
    wire.query("BEGIN");
    wire.bind("lock", &switch(&STAGE.token));
    wire.execute("lock", 1);
    wire.execute("lock", 1);
    let answers = wire.sync();
    assert!(
        !answers.iter().any(|(kind, _)| *kind == b'E'),
        "{answers:?}"
    );
    assert_eq!(
        wire.text("SELECT 'as ' || current_user"),
        format!("as {}", STAGE.gate.reader)
    );
    wire.query("ROLLBACK");
}

/// Statements prepared by the protocol before the lock, bound and executed after it.
#[test]
fn pipeline_of_a_statement_parsed_before_the_lock() {
    let mut wire = open();
    wire.send(Some(b'P'), b"loot\0SELECT secret FROM vault\0\0\0");
    wire.send(Some(b'P'), b"out\0RESET ROLE\0\0\0");
    wire.send(
        Some(b'P'),
        b"out2\0SELECT set_config('role', NULL, true), current_user\0\0\0",
    );
    wire.sync();
    for statement in ["loot", "out", "out2"] {
        wire.query(&format!("BEGIN; {}", switch(&STAGE.token)));
        wire.send(
            Some(b'B'),
            format!("\0{statement}\0\0\0\0\0\0\0").as_bytes(),
        );
        wire.execute("", 0);
        let answers = wire.sync();
        assert!(has_error(&answers, "42501"), "{answers:?}");
        wire.query("ROLLBACK");
    }
}

/// The fast path has no statement whose start could be judged.
#[test]
fn fast_path_call_after_the_deadline() {
    let gate = &STAGE.gate;
    let backend = oid_of("pg_catalog.pg_backend_pid()");
    let brief = gate.token(serde_json::json!({"exp": now() - 30 + 2}));
    let mut wire = open();
    wire.query(&format!("BEGIN; {}", switch(&brief)));
    assert!(
        wire.call(backend, &[])
            .iter()
            .any(|(kind, _)| *kind == b'V')
    );
    wire.query("SAVEPOINT s");
    wait_until("the token has ended", 15, || {
        let answers = wire.call(backend, &[]);
        if has_error(&answers, "28000") {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        false
    });
    wire.query("ROLLBACK");
}
