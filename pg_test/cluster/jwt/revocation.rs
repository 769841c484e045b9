//! Revoked tokens and subjects: refused from the commit on, by everybody, however warm.

use serde_json::{Value, json};

use super::issuers::{claims, register, takes};
use super::{Gate, assert_itself, assert_switched, switch, switch_session};
use crate::harness::*;

/// A token with an identity, issued a minute ago.
fn token(g: &Gate, jti: &str, more: Value) -> String {
    let mut claims = g.claims(json!({"jti": jti, "iat": now() - 60}));
    claims
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    sign(&claims)
}

fn revoke(jti: &str) -> String {
    format!(
        "SELECT scope.revoke_token({}, now() + interval '1 hour')",
        literal(jti)
    )
}

#[track_caller]
fn revoked(s: &mut Session, token: &str) {
    s.refused_with(&switch(token), "28000", "revoked");
}

#[test]
fn a_revoked_token_is_refused_from_the_commit_on_in_every_session() {
    let g = Gate::new("jwt_rev_commit");
    let mut admin = g.f.admin();
    let (lost, other, nameless) = (
        token(&g, "lost", json!({})),
        token(&g, "other", json!({})),
        g.token(json!({})),
    );
    let mut sessions: Vec<Session> = (0..2).map(|_| g.login()).collect();
    for s in &mut sessions {
        takes(s, &lost, &g.reader);
        takes(s, &other, &g.reader);
    }
    for end in ["ROLLBACK", "ROLLBACK TO s; COMMIT"] {
        admin.run(&format!("BEGIN; SAVEPOINT s; {}", revoke("lost")));
        for s in &mut sessions {
            takes(s, &lost, &g.reader);
        }
        admin.run(end);
        for s in &mut sessions {
            takes(s, &lost, &g.reader);
        }
    }
    admin.run(&revoke("lost"));
    sessions.push(g.login());
    for s in &mut sessions {
        revoked(s, &lost);
        let session = switch_session(&lost);
        s.refused_with(&session, "28000", "revoked");
        assert_itself(s, &g.auth);
        takes(s, &other, &g.reader);
        takes(s, &nameless, &g.reader);
        // Another token with the same jti is the same token to whoever revokes.
        revoked(s, &token(&g, "lost", json!({"role": g.writer})));
        takes(s, &token(&g, "Lost", json!({})), &g.reader);
        takes(s, &token(&g, "lost ", json!({})), &g.reader);
    }
    admin.refused_with(
        &format!("SELECT scope.verify_jwt({})", literal(&lost)),
        "28000",
        "revoked",
    );
    // An old snapshot knows nothing of the revocation.
    let mut s = g.login();
    takes(&mut s, &other, &g.reader);
    s.run("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM pg_class");
    admin.run(&revoke("other"));
    revoked(&mut s, &other);
    s.run("ROLLBACK");
    // Who revokes in error takes it back.
    admin.run("DELETE FROM _scope.jwt_revoked_token WHERE jti = 'lost'");
    takes(&mut s, &lost, &g.reader);
    revoked(&mut s, &other);
    admin.run("TRUNCATE _scope.jwt_revoked_token");
    takes(&mut s, &other, &g.reader);
}

#[test]
fn an_issuer_is_meant_by_its_iss_or_by_its_name() {
    let g = Gate::new("jwt_rev_named");
    super::issuers::register(&g, "corp", &jwks(&[&super::issuers::ED]), "");
    // Another's name, which comes after an iss.
    g.f.admin().run("SELECT scope.add_jwt_issuer('https://corp.example.org/', 'https://b', 'abcdefghijklmnopqrstuvwxyz0123456789')");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let token = |id: &str| {
        let claims =
            super::issuers::claims(&g, "corp", json!({"jti": id, "sub": id, "iat": now() - 5}));
        super::issuers::ED.token("EdDSA", &claims)
    };
    for (number, call) in [
        "revoke_token('ID', now() + interval '1 day', 'corp')",
        "revoke_token('ID', now() + interval '1 day', 'https://corp.example.org/')",
        "revoke_subject('ID', issuer => 'corp')",
    ]
    .iter()
    .enumerate()
    {
        let id = format!("named-{number}");
        takes(&mut s, &token(&id), &g.reader);
        admin.run(&format!("SELECT scope.{}", call.replace("ID", &id)));
        assert!(admin.notices().is_empty(), "{call}");
        revoked(&mut s, &token(&id));
    }
    // What nobody knows is told, and kept for whoever comes to have it.
    admin.run("SELECT scope.revoke_token('named-9', now() + interval '1 day', 'crop')");
    let notices = admin.notices();
    assert!(
        notices
            .iter()
            .any(|n| n.message.contains("\"crop\"") && n.hint.contains("scope.jwt_issuers")),
        "{notices:?}"
    );
    takes(&mut s, &token("named-9"), &g.reader);
}

#[test]
fn a_switched_transaction_ends_at_its_next_statement() {
    let g = Gate::new("jwt_rev_switched");
    let mut admin = g.f.admin();
    for (i, level) in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
        .into_iter()
        .enumerate()
    {
        for (j, next) in [
            "SELECT * FROM orders",
            "SELECT 1",
            "SELECT scope.jwt_claims()",
            "COPY orders TO STDOUT",
            "EXECUTE prepared",
            "FETCH ALL FROM opened",
            "SET work_mem = '1MB'",
            "DO 'BEGIN PERFORM 1 FROM orders; END'",
            "DECLARE c CURSOR FOR SELECT * FROM orders",
            "EXPLAIN ANALYZE SELECT * FROM orders",
        ]
        .into_iter()
        .enumerate()
        {
            let jti = format!("{i}-{j}");
            let lost = token(&g, &jti, json!({}));
            let mut s = g.login();
            s.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; {}; PREPARE prepared AS SELECT * FROM orders;
                 DECLARE opened CURSOR FOR SELECT * FROM orders; SAVEPOINT s",
                switch(&lost)
            ));
            assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
            admin.run(&revoke(&jti));
            s.refused_with(next, "28000", "revoked");
            // A savepoint after the switch is no way round, and the end of the transaction is a way out.
            s.run("ROLLBACK TO s");
            let again = s
                .attempt_extended("SELECT * FROM orders", &[])
                .expect_err("a revoked token");
            assert_eq!(again.code, "28000", "{next}: {again}");
            s.run("ROLLBACK");
            assert_itself(&mut s, &g.auth);
            revoked(&mut s, &lost);
        }
    }
}

#[test]
fn attack_statements_that_were_sent_together_or_hidden_in_a_procedure() {
    let g = Gate::new("jwt_rev_loop");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "CREATE TABLE seen (n int, t timestamptz DEFAULT clock_timestamp()); GRANT ALL ON seen TO {};
         CREATE FUNCTION spin() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             FOR i IN 1..1000 LOOP PERFORM pg_sleep(0.05); PERFORM count(*) FROM orders; END LOOP; END $$",
        g.reader
    ));
    let lost = token(&g, "loop", json!({}));
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&lost)));
    let pid = s.text("SELECT pg_backend_pid()");
    let spinning = std::thread::spawn(move || {
        let refusal = s
            .attempt("SELECT spin(); SELECT * FROM orders")
            .expect_err("revoked");
        (s, refusal)
    });
    wait_until("the loop runs", 10, || {
        admin.holds(&format!(
            "(SELECT query LIKE '%spin%' FROM pg_stat_activity WHERE pid = {pid})"
        ))
    });
    let start = std::time::Instant::now();
    admin.run(&revoke("loop"));
    let (mut s, refusal) = spinning.join().expect("the session");
    assert_eq!(refusal.code, "28000", "{refusal}");
    assert!(refusal.detail.starts_with("revoked: "), "{refusal}");
    assert!(
        start.elapsed().as_secs() < 20,
        "the loop went on for {:?}",
        start.elapsed()
    );
    s.run("ROLLBACK");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn a_session_that_was_switched_stays_refused() {
    let g = Gate::new("jwt_rev_session");
    let lost = token(&g, "session", json!({}));
    let mut s = g.login();
    s.run(&switch_session(&lost));
    assert_switched(&mut s, &g.reader);
    g.f.admin().run(&revoke("session"));
    for next in [
        "SELECT * FROM orders",
        "ROLLBACK; SELECT 1",
        "BEGIN; SELECT 1",
        "ROLLBACK",
        "RESET ROLE",
        "DISCARD ALL",
        "RESET ALL",
        "SELECT current_user",
    ] {
        if next == "ROLLBACK" {
            s.run(next);
        } else {
            s.refused_with(next, "28000", "revoked");
        }
    }
    // Another session switch of the same subject is not concerned.
    let mut other = g.login();
    other.run(&switch_session(&token(&g, "new", json!({}))));
    assert_switched(&mut other, &g.reader);
}

#[test]
fn until_bounds_a_revocation_and_never_shortens_another() {
    let g = Gate::new("jwt_rev_until");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let (past, brief, twice, ever) = (
        token(&g, "past", json!({})),
        token(&g, "brief", json!({})),
        token(&g, "twice", json!({})),
        token(&g, "ever", json!({})),
    );
    admin.run("SELECT scope.revoke_token('past', now() - interval '1 second')");
    takes(&mut s, &past, &g.reader);
    admin.run("SELECT scope.revoke_token('past', '-infinity')");
    takes(&mut s, &past, &g.reader);
    admin.run("SELECT scope.revoke_token('ever', 'infinity')");
    revoked(&mut s, &ever);
    admin.run(&revoke("twice"));
    admin.run("SELECT scope.revoke_token('twice', now() + interval '1 second')");
    admin.run("SELECT scope.revoke_token('brief', now() + interval '1 second')");
    revoked(&mut s, &brief);
    wait_until("the short revocation ends", 5, || {
        admin.holds("(SELECT bool_and(until < clock_timestamp()) FROM _scope.jwt_revoked_token WHERE jti = 'brief')")
    });
    takes(&mut s, &brief, &g.reader);
    revoked(&mut s, &twice);
    // The next revocation sweeps out what refuses nothing any more.
    admin.run(&revoke("last"));
    assert_eq!(
        admin.column("SELECT jti FROM _scope.jwt_revoked_token ORDER BY jti"),
        ["ever", "last", "twice"]
    );
    for (sql, code) in [
        ("SELECT scope.revoke_token(NULL, now())", "22004"),
        ("SELECT scope.revoke_token('', now())", "22004"),
        ("SELECT scope.revoke_token('x', NULL)", "22004"),
        ("SELECT scope.revoke_subject(NULL)", "22004"),
        ("SELECT scope.revoke_subject('')", "22004"),
        ("SELECT scope.revoke_subject('x', NULL)", "22004"),
    ] {
        admin.refused(sql, code);
    }
}

#[test]
fn a_lost_account_is_refused_whatever_was_issued_before() {
    let g = Gate::new("jwt_rev_subject");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let of = |sub: &str, more: Value| {
        let mut claims = json!({"sub": sub});
        claims
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        g.token(claims)
    };
    let t = now();
    let before = of("eve", json!({"iat": t - 60}));
    let without = of("eve", json!({"n": 1}));
    let ancient = [
        of("eve", json!({"iat": -1})),
        of("eve", json!({"iat": -1e300})),
        of("eve", json!({"iat": t as f64 - 0.75})),
    ];
    let after = of("eve", json!({"iat": t + 20}));
    let others = [
        of("Eve", json!({"iat": t - 60})),
        of("eve ", json!({"iat": t - 60})),
        of("ev", json!({"iat": t - 60})),
        of("%", json!({"iat": t - 60})),
        sign(&json!({"role": g.reader, "exp": t + 60, "iat": t - 60})),
    ];
    for token in [&before, &without, &after].into_iter().chain(&others) {
        takes(&mut s, token, &g.reader);
    }
    let mut switched = g.login();
    switched.run(&format!("BEGIN; {}", switch(&before)));
    let mut newer = g.login();
    newer.run(&format!("BEGIN; {}", switch(&after)));
    admin.run("SELECT scope.revoke_subject('eve')");
    switched.refused_with("SELECT * FROM orders", "28000", "revoked");
    newer.rows("SELECT * FROM orders");
    for token in [&before, &without].into_iter().chain(&ancient) {
        revoked(&mut s, token);
        revoked(&mut g.login(), token);
    }
    // The account is somebody's again: what is issued from now on counts.
    takes(&mut s, &after, &g.reader);
    for token in &others {
        takes(&mut s, token, &g.reader);
    }
    // An earlier moment takes nothing back, a later one adds.
    admin.run("SELECT scope.revoke_subject('eve', 'epoch')");
    revoked(&mut s, &before);
    admin.run("SELECT scope.revoke_subject('eve', 'infinity')");
    revoked(&mut s, &after);
    // Any text may be a subject.
    for sub in [
        "'; DROP TABLE orders; --",
        "Größe\u{1f980}\n\\",
        "%",
        "null",
    ] {
        let token = of(sub, json!({"iat": t - 60}));
        takes(&mut s, &token, &g.reader);
        admin.run(&format!("SELECT scope.revoke_subject({})", literal(sub)));
        revoked(&mut s, &token);
    }
    takes(&mut s, &of("ann", json!({})), &g.reader);
}

#[test]
fn a_revocation_may_be_of_one_issuer_only() {
    let g = Gate::new("jwt_rev_issuer");
    let (a, b) = (Key::ed25519("a"), Key::ed25519("b"));
    register(&g, "a", &jwks(&[&a]), "");
    register(&g, "b", &jwks(&[&b]), "");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let of_a = |more| a.token("EdDSA", &claims(&g, "a", more));
    let of_b = |more| b.token("EdDSA", &claims(&g, "b", more));
    let id = |jti: &str, sub: &str| json!({"jti": jti, "sub": sub, "iat": now() - 60});
    let iss_a = literal(&super::issuers::iss("a"));
    admin.run(&format!(
        "SELECT scope.revoke_token('7', 'infinity', {iss_a})"
    ));
    admin.run(&format!(
        "SELECT scope.revoke_subject('eve', now(), issuer => {iss_a})"
    ));
    for id in [id("7", "ann"), id("8", "eve")] {
        revoked(&mut s, &of_a(id.clone()));
        takes(&mut s, &of_b(id.clone()), &g.reader);
        takes(&mut s, &g.token(id), &g.reader);
    }
    takes(&mut s, &of_a(id("8", "ann")), &g.reader);
    // Without an issuer it is for all of them.
    admin.run(&revoke("8"));
    for token in [
        of_a(id("8", "ann")),
        of_b(id("8", "ann")),
        g.token(id("8", "ann")),
    ] {
        revoked(&mut s, &token);
    }
    // Of the tokens that the server's own secret signs: by the iss that they have.
    let own = |jti: &str, iss: &str| g.token(json!({"jti": jti, "iss": iss}));
    admin.run("SELECT scope.revoke_token('9', 'infinity', 'https://own.example/')");
    revoked(&mut s, &own("9", "https://own.example/"));
    takes(&mut s, &own("9", "https://other.example/"), &g.reader);
    takes(&mut s, &g.token(json!({"jti": "9"})), &g.reader);
}

#[test]
fn a_helper_who_may_revoke_sees_and_undoes_nothing() {
    let g = Gate::new("jwt_rev_helper");
    let helper = g.f.role("helper", "LOGIN");
    g.f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.revoke_token(text, timestamptz, text), scope.revoke_subject(text, timestamptz, text) TO {helper}"
    ));
    let lost = token(&g, "lost", json!({}));
    let mut s = g.login();
    takes(&mut s, &lost, &g.reader);
    let mut helper = g.f.login(&helper);
    // Tables and operators of one's own in front of the catalogue's change nothing.
    helper.run(
        "CREATE TEMP TABLE jwt_revoked_token (jti text, issuer text, until timestamptz);
         SET search_path = pg_temp, scope, public",
    );
    helper.run(&revoke("lost"));
    revoked(&mut s, &lost);
    for sql in [
        "SELECT * FROM _scope.jwt_revoked_token",
        "DELETE FROM _scope.jwt_revoked_token",
        "UPDATE _scope.jwt_revoked_token SET until = now()",
    ] {
        helper.denied(sql, "42501");
    }
    helper.run("SELECT scope.revoke_token('lost', now())");
    revoked(&mut s, &lost);
    // A transaction that may write nothing writes no revocation either.
    helper.run("BEGIN READ ONLY");
    helper.denied(&revoke("other"), "25006");
    helper.run("ROLLBACK");
}

/// What no index can hold could not be revoked, so it must not switch.
#[test]
fn a_very_long_jti_can_be_revoked_or_does_not_switch() {
    let g = Gate::new("jwt_rev_long");
    let mut admin = g.f.admin();
    let mut s = g.login();
    // Of characters that PostgreSQL cannot compress.
    let long = |bytes: usize| {
        let text = (1..=bytes / 32 + 1).map(letters).collect::<String>();
        text[..bytes].to_owned()
    };
    let issuer = long(1_024);
    let longest = long(1_024);
    let token_of =
        |claim: &str, text: &str| sign(&g.claims(json!({claim: text, "iat": now() - 60})));
    for (claim, revocation) in [
        (
            "jti",
            "SELECT scope.revoke_token($, now() + interval '1 hour', £)",
        ),
        (
            "sub",
            "SELECT scope.revoke_subject($, now() + interval '1 hour', £)",
        ),
    ] {
        let revoke =
            |text: &str, issuer: &str| revocation.replace('$', &literal(text)).replace('£', issuer);
        let good = token_of(claim, &longest);
        takes(&mut s, &good, &g.reader);
        admin.run(&revoke(&longest, &literal(&issuer)));
        takes(&mut s, &good, &g.reader);
        admin.run(&revoke(&longest, "NULL"));
        revoked(&mut s, &good);
        for bytes in [1_025, 9_000, 30_000] {
            let text = long(bytes);
            s.refused_with(&switch(&token_of(claim, &text)), "28000", "claim_length");
            admin.refused(&revoke(&text, "NULL"), "22023");
            admin.refused(&revoke("short", &literal(&text)), "22023");
        }
    }
}

/// 32 letters that look random.
fn letters(n: usize) -> String {
    let mut state = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..32)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b"0123456789abcdefghijklmnopqrstuv"[(state >> 40) as usize % 32])
        })
        .collect()
}
