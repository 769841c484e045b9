//! A token's deadline inside its own switch: statements end with it, and the session goes on without it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Gate, assert_itself, assert_switched, switch, switch_session};
use crate::harness::*;

/// The default of `scope_roles.jwt_leeway`.
const LEEWAY: i64 = 30;

/// A token that holds for two to three seconds from now.
fn brief(g: &Gate, more: Value) -> (String, Instant) {
    let mut claims = g.claims(json!({"exp": now() - LEEWAY + 3}));
    claims
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    (sign(&claims), Instant::now() + Duration::from_secs(3))
}

fn wait_for(end: Instant) {
    std::thread::sleep(end.saturating_duration_since(Instant::now()) + Duration::from_millis(100));
}

/// Asserts that the statement is cancelled because the token ends, not before its time and not long after.
#[track_caller]
fn cancelled(s: &mut Session, sql: &str, end: Instant) {
    let refusal = s.refused_with(sql, "28000", "expired");
    let now = Instant::now();
    let late = now.saturating_duration_since(end);
    assert!(late < Duration::from_secs(4), "{late:?} late: {refusal}");
    let early = end.saturating_duration_since(now);
    assert!(early <= Duration::from_millis(1100), "{early:?} early");
}

#[test]
fn a_statement_after_the_deadline_is_refused() {
    let g = Gate::new("jwt_end_next");
    let mut sessions = Vec::new();
    let mut last = Instant::now();
    for next in [
        "SELECT * FROM orders",
        "SELECT 1",
        "SELECT scope.jwt_subject()",
        "EXECUTE prepared",
        "FETCH ALL FROM opened",
        "COPY orders TO STDOUT",
        "SET work_mem = '1MB'",
        "DO 'BEGIN END'",
        "PREPARE q AS SELECT 1",
        "DECLARE c CURSOR FOR SELECT 1",
        "EXPLAIN SELECT 1",
        "LOCK TABLE orders IN ACCESS SHARE MODE",
        "RESET ALL",
    ] {
        let mut s = g.login();
        let (token, end) = brief(&g, json!({}));
        s.run(&format!(
            "BEGIN; {}; PREPARE prepared AS SELECT * FROM orders; DECLARE opened CURSOR FOR SELECT * FROM orders; SAVEPOINT s",
            switch(&token)
        ));
        assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
        assert_switched(&mut s, &g.reader);
        last = end;
        sessions.push((s, next, token));
    }
    wait_for(last);
    let fresh = g.token(json!({}));
    for (mut s, next, token) in sessions {
        s.refused_with(next, "28000", "expired");
        s.denied("SELECT 1", "25P02");
        // The savepoint is after the switch, so it brings nothing back; a new token needs a new transaction.
        s.run("ROLLBACK TO s");
        let again = s
            .attempt_extended("SELECT * FROM orders", &[])
            .expect_err("an expired token");
        assert_eq!(again.code, "28000", "{next}: {again}");
        s.run("ROLLBACK TO s");
        s.refused_with(&switch(&fresh), "28000", "expired");
        s.run("ROLLBACK");
        assert_itself(&mut s, &g.auth);
        s.refused_with(&switch(&token), "28000", "expired");
        s.run(&format!("BEGIN; {}", switch(&fresh)));
        assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
        s.run("COMMIT");
    }
}

/// What was done while the token held may be kept or dropped afterwards; nothing else may be done, by a deferred trigger neither.
#[test]
fn work_done_in_time_may_be_committed_after_the_deadline() {
    let g = Gate::new("jwt_end_commit");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "CREATE TABLE copies (id int);
         GRANT INSERT ON copies TO {writer};
         CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO copies VALUES (NEW.id); RETURN NULL; END';
         CREATE TABLE watched (id int);
         GRANT INSERT ON watched TO {writer};
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON watched DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION copy()",
        writer = g.writer
    ));
    let mut sessions = Vec::new();
    let mut last = Instant::now();
    for (id, end) in [
        (3, "COMMIT"),
        (4, "ROLLBACK"),
        (5, "COMMIT AND CHAIN"),
        (6, "ROLLBACK AND CHAIN"),
    ] {
        let mut s = g.login();
        let (token, deadline) = brief(&g, json!({"role": g.writer}));
        s.run(&format!(
            "BEGIN; {}; INSERT INTO orders VALUES ({id}, 'in time')",
            switch(&token)
        ));
        last = deadline;
        sessions.push((s, end));
    }
    let mut s = g.login();
    let (token, deadline) = brief(&g, json!({"role": g.writer}));
    s.run(&format!(
        "BEGIN; {}; INSERT INTO watched VALUES (1)",
        switch(&token)
    ));
    wait_for(last.max(deadline));
    s.refused_with("COMMIT", "28000", "expired");
    assert_itself(&mut s, &g.auth);
    for (mut s, end) in sessions {
        s.run(end);
        assert_itself(&mut s, &g.auth);
        s.denied("INSERT INTO orders VALUES (9, 'too late')", "42501");
        s.run("ROLLBACK");
    }
    assert_eq!(
        admin.column("SELECT id FROM orders WHERE note = 'in time' ORDER BY id"),
        ["3", "5"]
    );
    assert_eq!(admin.text("SELECT count(*) FROM watched"), "0");
    assert_eq!(admin.text("SELECT count(*) FROM copies"), "0");
}

#[test]
fn a_statement_that_runs_is_cancelled() {
    let g = Gate::new("jwt_end_running");
    g.f.admin().run(
        "CREATE FUNCTION spin() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LOOP PERFORM 1; END LOOP; END $$",
    );
    std::thread::scope(|scope| {
        for sql in [
            "SELECT pg_sleep(30)",
            "SELECT count(*) FROM generate_series(1, 1000000000)",
            "SELECT spin()",
            "DO 'BEGIN LOOP END LOOP; END'",
            "EXPLAIN ANALYZE SELECT pg_sleep(30)",
        ] {
            let g = &g;
            scope.spawn(move || {
                let mut s = g.login();
                let (token, end) = brief(g, json!({}));
                s.run(&format!("BEGIN; {}", switch(&token)));
                cancelled(&mut s, sql, end);
                s.denied("SELECT 1", "25P02");
                s.run("ROLLBACK");
                assert_itself(&mut s, &g.auth);
                s.run("SELECT pg_sleep(0.2)");
                let (token, end) = brief(g, json!({"n": 2}));
                s.run(&format!("BEGIN; {}", switch(&token)));
                let refusal = s
                    .attempt_extended("SELECT pg_sleep(30)::text", &[])
                    .expect_err("an expired token");
                assert_eq!(refusal.code, "28000", "{refusal}");
                assert!(refusal.detail.starts_with("expired: "), "{refusal}");
                assert!(Instant::now() < end + Duration::from_secs(4));
                s.run("ROLLBACK");
                assert_itself(&mut s, &g.auth);
            });
        }
    });
}

#[test]
fn an_error_and_a_savepoint_in_between_do_not_stop_the_clock() {
    let g = Gate::new("jwt_end_savepoint");
    std::thread::scope(|scope| {
        for before in [
            "SELECT 1/0",
            "SELECT * FROM vault",
            "SELECT no_such_function()",
            "syntax error",
            "SET LOCAL statement_timeout = '50ms'; SELECT pg_sleep(30)",
            "RESET ROLE",
        ] {
            let g = &g;
            scope.spawn(move || {
                let mut s = g.login();
                let (token, end) = brief(g, json!({}));
                s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
                s.fails(before);
                s.run("ROLLBACK TO s");
                assert_eq!(s.rows("SELECT * FROM orders").len(), 2, "{before}");
                s.fails(before);
                s.run("ROLLBACK TO s");
                cancelled(&mut s, "SELECT pg_sleep(30)", end);
                s.run("ROLLBACK TO s");
                s.refused_with("SELECT 1", "28000", "expired");
                s.run("ROLLBACK");
                assert_itself(&mut s, &g.auth);
            });
        }
    });
}

/// A deferred trigger runs when the statement is over; this one asks for nothing that a hook would hear of.
#[test]
fn a_commit_that_takes_too_long_is_cancelled() {
    let g = Gate::new("jwt_end_deferred");
    g.f.admin().run(&format!(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN LOOP NULL; END LOOP; END';
         CREATE TABLE watched (id int);
         GRANT SELECT, INSERT ON watched TO {};
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON watched DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()",
        g.writer
    ));
    let mut s = g.login();
    let (token, end) = brief(&g, json!({"role": g.writer}));
    s.run(&format!(
        "BEGIN; {}; INSERT INTO watched VALUES (1)",
        switch(&token)
    ));
    cancelled(&mut s, "COMMIT", end);
    assert_itself(&mut s, &g.auth);
    assert_eq!(g.f.admin().text("SELECT count(*) FROM watched"), "0");
}

#[test]
fn waiting_for_a_lock_is_cancelled() {
    let g = Gate::new("jwt_end_lock");
    let mut admin = g.f.admin();
    admin.run("BEGIN; LOCK TABLE orders");
    let mut s = g.login();
    let (token, end) = brief(&g, json!({}));
    s.run(&format!("BEGIN; {}", switch(&token)));
    // It is waited for in parse analysis, where nothing of ours runs.
    cancelled(&mut s, "SELECT * FROM orders", end);
    s.run("ROLLBACK");
    admin.run("ROLLBACK");
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
}

#[test]
fn attack_code_that_catches_the_cancellation_reads_nothing_more() {
    let g = Gate::new("jwt_end_trap");
    g.f.admin().run(&format!(
        "CREATE TABLE late (n int); INSERT INTO late VALUES (1); GRANT SELECT ON late TO {};
         CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql AS $$
         DECLARE found text := 'nothing';
         BEGIN
             BEGIN PERFORM pg_sleep(30);
             EXCEPTION WHEN OTHERS OR query_canceled THEN found := 'caught'; END;
             FOR i IN 1..5 LOOP
                 BEGIN SELECT 'read ' || n INTO found FROM late;
                 EXCEPTION WHEN OTHERS OR query_canceled THEN NULL; END;
             END LOOP;
             RETURN found;
         END $$",
        g.reader
    ));
    let mut s = g.login();
    let (token, end) = brief(&g, json!({}));
    s.run(&format!("BEGIN; {}", switch(&token)));
    match s.attempt("SELECT trap()") {
        Ok(rows) => assert_eq!(rows[0][0].as_deref(), Some("caught"), "{rows:?}"),
        Err(refusal) => assert_eq!(refusal.code, "28000", "{refusal}"),
    }
    assert!(Instant::now() < end + Duration::from_secs(4));
    let refusal = s.fails("SELECT * FROM late");
    assert!(
        ["28000", "25P02"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    s.run("ROLLBACK");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn other_cancellations_stay_what_they_are() {
    let g = Gate::new("jwt_end_others");
    let mut s = g.login();
    let (token, end) = brief(&g, json!({}));
    s.run(&format!(
        "BEGIN; {}; SAVEPOINT s; SET LOCAL statement_timeout = '100ms'",
        switch(&token)
    ));
    s.denied("SELECT pg_sleep(30)", "57014");
    s.run("ROLLBACK TO s");
    let pid = s.text("SELECT pg_backend_pid()");
    let server = g.f.server;
    let cancel = |delay: u64| {
        let pid = pid.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(delay));
            server
                .admin("postgres")
                .run(&format!("SELECT pg_cancel_backend({pid})"));
        })
    };
    let canceller = cancel(300);
    s.denied("SELECT pg_sleep(30)", "57014");
    canceller.join().expect("the canceller");
    s.run("ROLLBACK");
    // The deadline passes while the session is idle in its transaction: what comes later is nothing to do with it.
    let (token, later) = brief(&g, json!({"n": 2}));
    s.run(&format!("BEGIN; {}", switch(&token)));
    wait_for(end.max(later));
    s.run("ROLLBACK");
    let canceller = cancel(300);
    s.denied("SELECT pg_sleep(30)", "57014");
    canceller.join().expect("the canceller");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn the_deadline_ends_with_the_switch() {
    let g = Gate::new("jwt_end_gone");
    std::thread::scope(|scope| {
        for end_of_switch in ["COMMIT", "ROLLBACK", "ROLLBACK TO before"] {
            for next in ["", "longer"] {
                let g = &g;
                scope.spawn(move || {
                    let mut s = g.login();
                    let (token, end) = brief(g, json!({}));
                    s.run(&format!("BEGIN; SAVEPOINT before; {}", switch(&token)));
                    s.run(end_of_switch);
                    if !next.is_empty() {
                        s.run(&format!("BEGIN; {}", switch(&g.token(json!({"n": 1})))));
                    }
                    // Over the end of the first token, in a statement and between two.
                    s.run("SELECT pg_sleep(3.5)");
                    assert!(Instant::now() > end);
                    s.run("SELECT 1");
                    s.run("ROLLBACK");
                    assert_itself(&mut s, &g.auth);
                });
            }
        }
    });
}

#[test]
fn a_session_switch_ends_with_its_token() {
    let g = Gate::new("jwt_end_session");
    let (token, end) = brief(&g, json!({}));
    let session = switch_session(&token);
    let (mut running, mut idle) = (g.login(), g.login());
    idle.run(&session);
    running.run(&session);
    running.rows("SELECT * FROM orders");
    cancelled(&mut running, "SELECT pg_sleep(30)", end);
    wait_for(end);
    for s in [&mut running, &mut idle] {
        for sql in [
            "SELECT * FROM orders",
            "SELECT current_user",
            "BEGIN; SELECT 1",
            "ROLLBACK; RESET ROLE",
            "DISCARD ALL",
        ] {
            s.refused_with(sql, "28000", "expired");
        }
        s.run("ROLLBACK");
        s.refused_with("SELECT * FROM orders", "28000", "expired");
    }
}

/// The timer goes on after the deadline, for statements that are under way. It must not hit one that is allowed.
#[test]
fn after_the_deadline_no_commit_is_cancelled() {
    let g = Gate::new("jwt_end_calm");
    let (token, end) = brief(&g, json!({}));
    let mut s = g.login();
    s.run(&switch_session(&token));
    s.run("BEGIN");
    wait_for(end);
    while Instant::now() < end + Duration::from_secs(4) {
        s.run("COMMIT");
        s.run("BEGIN");
    }
    s.refused_with("SELECT 1", "28000", "expired");
}

#[test]
fn a_deadline_far_away_or_absent_cancels_nothing() {
    let g = Gate::new("jwt_end_never");
    let mut s = g.login();
    for exp in [json!(1e300), json!(i64::MAX), json!(9e15), json!(4e9)] {
        s.run(&format!(
            "BEGIN; {}; SELECT pg_sleep(0.1)",
            switch(&g.token(json!({"exp": exp})))
        ));
        assert_switched(&mut s, &g.reader);
        s.run("COMMIT");
    }
}

/// A block with an exception handler gets the cancellation first. It is repeated, and in the end the session goes.
#[test]
fn a_statement_that_swallows_its_cancellation() {
    let g = Gate::new("jwt_end_swallow");
    let mut s = g.login();
    let (token, end) = brief(&g, json!({}));
    s.run(&format!("BEGIN; {}", switch(&token)));
    let refusal = s
        .attempt(
            "DO $$ BEGIN
               LOOP
                 BEGIN
                   LOOP PERFORM 1; END LOOP;
                 EXCEPTION WHEN query_canceled OR OTHERS THEN NULL;
                 END;
               END LOOP;
             END $$",
        )
        .expect_err("an end");
    assert!(
        ["57P01", "08006", "28000", ""].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    let late = Instant::now().saturating_duration_since(end);
    assert!(late < Duration::from_secs(15), "{late:?} late");
}

/// No text of a statement says that one of the protocol's function calls is running.
#[test]
fn a_function_call_of_the_protocol_ends_with_the_token() {
    const PG_SLEEP: u32 = 2626;
    let g = Gate::new("jwt_end_fast_path");
    let mut wire = Wire::open(g.f.server, &g.auth, &g.f.name);
    let (token, end) = brief(&g, json!({}));
    wire.query(&format!("BEGIN; {}", switch(&token)));
    let answers = wire.call(PG_SLEEP, &[Some("0.1")]);
    assert!(answers.iter().any(|(kind, _)| *kind == b'V'), "{answers:?}");
    let answers = wire.call(PG_SLEEP, &[Some("15")]);
    assert!(has_error(&answers, "28000"), "{answers:?}");
    assert!(Instant::now() < end + Duration::from_secs(4), "too late");
    wire.query("ROLLBACK");
    // One that has been answered is over: the session waits for the client, however long, and is not ended.
    let (token, end) = brief(&g, json!({}));
    wire.query(&format!("BEGIN; {}", switch(&token)));
    wire.call(PG_SLEEP, &[Some("0.1")]);
    wait_for(end + Duration::from_secs(3));
    let answers = wire.query("SELECT 1");
    assert!(has_error(&answers, "28000"), "{answers:?}");
    wire.query("ROLLBACK");
    assert!(!has_error(&wire.query("SELECT 1"), "28000"));
}

/// Where PostgreSQL waits for the client it cancels nothing: there the session ends, and says why.
#[test]
fn attack_a_copy_from_a_client_that_takes_its_time() {
    let g = Gate::new("jwt_end_copy");
    let mut wire = Wire::open(g.f.server, &g.auth, &g.f.name);
    let (token, end) = brief(&g, json!({"role": g.writer}));
    wire.query(&format!("BEGIN; {}", switch(&token)));
    wire.send(Some(b'Q'), b"COPY orders FROM STDIN\0");
    wire.send(Some(b'd'), b"7\tslow\n");
    let answers = wire.until_ready();
    assert!(has_error(&answers, "28000"), "{answers:?}");
    assert!(
        answers
            .iter()
            .any(|(_, text)| text.contains("the token that set the role has ended")),
        "{answers:?}"
    );
    let late = Instant::now().saturating_duration_since(end);
    assert!(late < Duration::from_secs(8), "{late:?} late");
}
