//! `scope.set_jwt_session`: a switch that lasts until its own token takes it back.

use serde_json::json;

use super::{Gate, assert_itself, assert_switched, end_session, switch, switch_session};
use crate::harness::*;

#[test]
fn it_outlives_transactions_and_ends_by_its_token() {
    let g = Gate::new("jwt_session");
    let token = g.token(json!({"tenant": "a"}));
    let mut s = g.login();
    assert_eq!(s.text(&switch_session(&token)), g.reader);
    assert!(s.notices().is_empty());
    for sql in [
        "BEGIN; SELECT 1; COMMIT",
        "BEGIN; SELECT 1; ROLLBACK",
        "BEGIN; SAVEPOINT s; ROLLBACK TO s; RELEASE s; COMMIT",
        "SELECT 1",
    ] {
        s.run(sql);
        assert_switched(&mut s, &g.reader);
        s.assert_that("scope.jwt_claim('tenant') = 'a' AND scope.jwt_subject() = 'ann'");
        assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
        s.denied("SELECT * FROM vault", "42501");
    }
    // A failed transaction neither.
    s.fails("BEGIN; SELECT 1/0");
    s.run("ROLLBACK");
    assert_switched(&mut s, &g.reader);
    s.run(&end_session(&token));
    assert_itself(&mut s, &g.auth);
    s.assert_that("scope.jwt_claims() IS NULL");
    s.denied("SELECT * FROM orders", "42501");
    // And again, with other tokens, in both protocols.
    let other = g.token(json!({"role": g.writer}));
    let rows = s
        .attempt_extended("SELECT scope.set_jwt_session($1, 'role')", &[&other])
        .expect("a switch");
    assert_eq!(rows, [[Some(g.writer.clone())]]);
    assert_switched(&mut s, &g.writer);
    s.attempt_extended("SELECT scope.end_jwt_session($1)", &[&other])
        .expect("the end");
    assert_itself(&mut s, &g.auth);
    s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    assert_itself(&mut s, &g.auth);
}

#[test]
fn attack_every_spelling_of_a_way_out() {
    let g = Gate::new("jwt_session_out");
    g.f.admin().run(&format!(
        "GRANT SELECT ON vault TO {0}, {1}; GRANT CREATE ON SCHEMA public TO {0};
         CREATE FUNCTION as_writer() RETURNS bigint LANGUAGE sql SET role = {1} AS 'SELECT count(*) FROM vault'",
        g.auth, g.writer
    ));
    let token = g.token(json!({}));
    let mut s = g.login();
    s.run("PREPARE reset AS SELECT set_config('role', 'none', false)");
    s.run(&format!("CREATE FUNCTION pg_temp.out() RETURNS bigint LANGUAGE sql SET role = {} AS 'SELECT count(*) FROM vault'", g.auth));
    s.run(&switch_session(&token));
    let mut attacks: Vec<String> = [
        "SET ROLE {}",
        "SET SESSION ROLE {}",
        "SET LOCAL ROLE {}",
        "SET role = {}",
        "SET \"ROLE\" TO '{}'",
        "SET SESSION AUTHORIZATION {}",
        "SET LOCAL SESSION AUTHORIZATION {}",
        "SELECT set_config('role', '{}', false)",
        "SELECT set_config('RoLe', '{}', true)",
        "SELECT set_config('session_authorization', '{}', false)",
        "DO $$ BEGIN SET ROLE {}; END $$",
        "DO $$ BEGIN EXECUTE 'SET ROLE {}'; END $$",
    ]
    .iter()
    .flat_map(|sql| [&g.auth, &g.writer].map(|role| sql.replace("{}", role)))
    .collect();
    attacks.extend(
        [
            "RESET ROLE",
            "SET ROLE NONE",
            "SET ROLE TO DEFAULT",
            "RESET \"role\"",
            "SELECT set_config('role', NULL, false)",
            "SELECT set_config('role', 'none', false)",
            "RESET SESSION AUTHORIZATION",
            "SET SESSION AUTHORIZATION DEFAULT",
            "DISCARD ALL",
            "EXECUTE reset",
            "SELECT pg_temp.out()",
            "SELECT as_writer()",
            "SET request.jwt.claims = '{}'",
            "RESET request.jwt.claims",
            "SELECT set_config('request.jwt.claims', '{}', false)",
            "SELECT set_config('scope.switch', '', false)",
            "RESET scope.switch",
        ]
        .map(str::to_owned),
    );
    for attack in &attacks {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = s.attempt_by(protocol, attack).expect_err(attack);
            assert_eq!(refusal.code, "42501", "{attack}: {refusal}");
            assert_switched(&mut s, &g.reader);
            // As statements of a transaction that is rolled back, and of one whose savepoint is.
            s.run("BEGIN; SAVEPOINT s");
            let refusal = s.attempt_by(protocol, attack).expect_err(attack);
            let in_block = attack == "DISCARD ALL" && refusal.code == "25001";
            assert!(refusal.code == "42501" || in_block, "{attack}: {refusal}");
            s.run("ROLLBACK TO s");
            assert_switched(&mut s, &g.reader);
            s.run("ROLLBACK");
            assert_switched(&mut s, &g.reader);
            s.denied("SELECT * FROM vault", "42501");
        }
    }
    // What is left of a pooler's reset is harmless.
    s.run("RESET ALL; DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES; DEALLOCATE ALL; CLOSE ALL");
    assert_switched(&mut s, &g.reader);
    s.assert_that("scope.jwt_subject() = 'ann'");
    s.assert_that("current_setting('request.jwt.claims')::json->>'sub' = 'ann'");
    s.run(&end_session(&token));
    assert_itself(&mut s, &g.auth);
    s.run("DISCARD ALL");
}

#[test]
fn attack_ending_it_without_its_token() {
    let g = Gate::new("jwt_session_end");
    let token = g.token(json!({"jti": "1"}));
    let mut s = g.login();
    s.refused(&end_session(&token), "42501");
    s.run(&format!("BEGIN; {}", switch(&token)));
    s.refused(&end_session(&token), "42501");
    s.run("ROLLBACK");
    s.run(&switch_session(&token));
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    for other in [
        String::new(),
        " ".into(),
        "x".into(),
        g.token(json!({"jti": "2"})),
        g.token(json!({"jti": "1", "role": g.writer})),
        unsigned(r#"{"alg":"none"}"#, &g.claims(json!({})).to_string()),
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{}", &signature[..signature.len() - 1]),
        format!("{token} "),
        format!("{token}="),
        token.to_lowercase(),
        "0".repeat(64),
    ] {
        s.refused(&end_session(&other), "42501");
        assert_switched(&mut s, &g.reader);
    }
    s.refused("SELECT scope.end_jwt_session(NULL)", "42501");
    assert_switched(&mut s, &g.reader);
    // Who rolls the end back goes on as before.
    s.run(&format!("BEGIN; {}", end_session(&token)));
    assert_eq!(s.text("SELECT current_user"), g.auth);
    s.run("ROLLBACK");
    assert_switched(&mut s, &g.reader);
    s.assert_that("scope.jwt_subject() = 'ann'");
    s.refused("RESET ROLE", "42501");
    s.run(&format!(
        "BEGIN; SAVEPOINT s; {}; ROLLBACK TO s; COMMIT",
        end_session(&token)
    ));
    assert_switched(&mut s, &g.reader);
    s.refused("RESET ROLE", "42501");
    s.run(&format!("BEGIN; {}; COMMIT", end_session(&token)));
    assert_itself(&mut s, &g.auth);
    s.refused(&end_session(&token), "42501");
}

#[test]
fn one_switch_at_a_time() {
    let g = Gate::new("jwt_session_one");
    let token = g.token(json!({"jti": "1"}));
    let other = g.token(json!({"jti": "2", "role": g.writer}));
    let same_role = g.token(json!({"jti": "3"}));
    let mut s = g.login();
    s.run(&switch_session(&token));
    // The same once more changes nothing.
    s.run(&switch_session(&token));
    for sql in [
        switch(&token),
        switch(&other),
        switch(&same_role),
        switch_session(&other),
        switch_session(&same_role),
    ] {
        s.refused(&sql, "42501");
        s.run("BEGIN; SAVEPOINT s");
        s.refused(&sql, "42501");
        s.run("ROLLBACK TO s");
        assert_switched(&mut s, &g.reader);
        s.run("COMMIT");
        assert_switched(&mut s, &g.reader);
        s.assert_that("scope.jwt_claim('jti') = '1'");
    }
    s.refused_with(&switch_session("x"), "28000", "malformed");
    assert_switched(&mut s, &g.reader);
    s.run(&end_session(&token));
    s.run(&format!("BEGIN; {}", switch(&token)));
    for sql in [
        switch_session(&token),
        switch_session(&other),
        end_session(&token),
    ] {
        s.run("SAVEPOINT s");
        s.refused(&sql, "42501");
        s.run("ROLLBACK TO s");
    }
    s.run("COMMIT");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn the_rollback_of_its_own_transaction_undoes_it() {
    let g = Gate::new("jwt_session_undone");
    let token = g.token(json!({}));
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch_session(&token)));
    assert_switched(&mut s, &g.reader);
    s.run("ROLLBACK");
    assert_itself(&mut s, &g.auth);
    s.run(&format!("BEGIN; SAVEPOINT s; {}", switch_session(&token)));
    assert_switched(&mut s, &g.reader);
    s.run("ROLLBACK TO s");
    assert_itself(&mut s, &g.auth);
    s.run(&format!("{}; RELEASE s; COMMIT", switch_session(&token)));
    assert_switched(&mut s, &g.reader);
    s.assert_that("scope.jwt_subject() = 'ann'");
    s.run(&end_session(&token));
    assert_itself(&mut s, &g.auth);
    // A transaction that fails after it, in one message.
    s.fails(&format!("{}; SELECT 1/0", switch_session(&token)));
    assert_itself(&mut s, &g.auth);
    s.refused(&end_session(&token), "42501");
}

#[test]
fn it_is_refused_where_it_would_be_undone() {
    let g = Gate::new("jwt_session_inside");
    let token = g.token(json!({}));
    g.f.admin().run(&format!(
        "CREATE FUNCTION with_clause(token text) RETURNS name LANGUAGE sql SET role = {0} AS 'SELECT scope.set_jwt_session($1)';
         CREATE FUNCTION with_claims(token text) RETURNS name LANGUAGE sql SET request.jwt.claims = '' AS 'SELECT scope.set_jwt_session($1)';
         CREATE FUNCTION definer(token text) RETURNS name LANGUAGE sql SECURITY DEFINER AS 'SELECT scope.set_jwt_session($1)'",
        g.reader
    ));
    let mut s = g.login();
    for function in ["with_clause", "with_claims", "definer"] {
        s.refused(&format!("SELECT {function}({})", literal(&token)), "42501");
        assert_itself(&mut s, &g.auth);
    }
    s.run("BEGIN; DECLARE c CURSOR FOR SELECT 1");
    s.refused(&switch_session(&token), "55006");
    s.run("ROLLBACK");
    assert_itself(&mut s, &g.auth);
    // The end too: a function that puts the role back must not leave half a switch.
    s.run(&switch_session(&token));
    for function in ["with_clause", "with_claims"] {
        let sql = format!(
            "SELECT {function}({}); {}",
            literal(&token),
            end_session(&token)
        );
        s.denied(&sql, "42501");
        assert_switched(&mut s, &g.reader);
    }
}

/// A cursor WITH HOLD has its rows in a store: Execute sends them without a query or a statement.
#[test]
fn attack_stored_rows_are_executed_after_the_token() {
    let g = Gate::new("jwt_session_stored");
    let rows = |answers: &[Answer]| answers.iter().filter(|(kind, _)| *kind == b'D').count();
    let ends = g.token(json!({"exp": now() - 30 + 4}));
    let revoked = g.token(json!({"jti": "stored"}));
    let mut sessions = Vec::new();
    for token in [&ends, &revoked] {
        let mut wire = Wire::open(g.f.server, &g.auth, &g.f.name);
        wire.query(&switch_session(token));
        wire.query("DECLARE h CURSOR WITH HOLD FOR SELECT * FROM orders, generate_series(1, 9)");
        wire.execute("h", 5);
        assert_eq!(rows(&wire.sync()), 5);
        sessions.push(wire);
    }
    g.f.admin()
        .run("SELECT scope.revoke_token('stored', now() + interval '1 hour')");
    std::thread::sleep(std::time::Duration::from_secs(5));
    for mut wire in sessions {
        wire.execute("h", 5);
        let answers = wire.sync();
        assert!(has_error(&answers, "28000"), "{answers:?}");
        assert_eq!(rows(&answers), 0, "{answers:?}");
    }
}

/// Renewing a token is the end of one switch and the beginning of another, in one transaction; its rollback brings the first back.
#[test]
fn attack_a_renewal_that_is_rolled_back() {
    let g = Gate::new("jwt_session_renewed");
    let tokens = ["1", "2", "3"].map(|jti| g.token(json!({"jti": jti, "iat": now() - 60})));
    let [first, second, third] = &tokens;
    let mut s = g.login();
    s.run(&switch_session(first));
    let renew = |from: &str, to: &str| format!("{}; {}", end_session(from), switch_session(to));
    for undone in [
        format!("{}; {}", end_session(first), switch(second)),
        format!("{}; {}", end_session(first), switch(first)),
        renew(first, second),
        format!(
            "{}; SAVEPOINT s; {}",
            renew(first, second),
            renew(second, third)
        ),
    ] {
        s.run(&format!("BEGIN; {undone}; ROLLBACK"));
        assert_switched(&mut s, &g.reader);
        s.assert_that("scope.jwt_claim('jti') = '1'");
        s.run(&format!("BEGIN; SAVEPOINT o; {undone}; ROLLBACK TO o"));
        assert_switched(&mut s, &g.reader);
        s.run("COMMIT");
        s.fails(&format!("BEGIN; {undone}; SELECT 1 / 0"));
        s.run("ROLLBACK");
        assert_switched(&mut s, &g.reader);
    }
    // Half of it.
    s.run(&format!(
        "BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO s",
        renew(first, second),
        renew(second, third)
    ));
    s.assert_that("scope.jwt_claim('jti') = '2'");
    s.run("COMMIT");
    s.assert_that("scope.jwt_claim('jti') = '2'");
    // Deeper than any service goes: what comes back is the first one, not a revoked one.
    let many: Vec<String> = (0..40)
        .map(|i| g.token(json!({"jti": format!("m{i}")})))
        .collect();
    let mut deep = "BEGIN".to_owned();
    let mut last = second;
    for token in &many {
        deep += &format!("; SAVEPOINT s; {}", renew(last, token));
        last = token;
    }
    s.run(&format!("{deep}; SELECT 1"));
    s.run("ROLLBACK");
    assert_switched(&mut s, &g.reader);
    s.assert_that("scope.jwt_claim('jti') = '2'");
    // Whose revocation still reaches it.
    s.run(&format!("BEGIN; {}; ROLLBACK", renew(second, third)));
    g.f.admin()
        .run("SELECT scope.revoke_token('2', now() + interval '1 hour')");
    s.refused_with("SELECT 1", "28000", "revoked");
}
