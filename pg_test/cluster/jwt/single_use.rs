//! Tokens that switch once, in the whole cluster.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::issuers::{ED, claims, register};
use super::{Gate, assert_itself, assert_switched, end_session, switch, switch_session};
use crate::harness::*;

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn once(g: &Gate, more: Value) -> Value {
    let id = format!("once-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut all = json!({"jti": id, "iat": now()});
    let (Some(into), Some(more)) = (all.as_object_mut(), more.as_object()) else {
        panic!("claims are an object")
    };
    into.extend(more.clone());
    claims(g, "once", all)
}

fn token(g: &Gate, more: Value) -> String {
    ED.token("EdDSA", &once(g, more))
}

fn gate<'a>(server: &'a Server, name: &str) -> Gate<'a> {
    let g = Gate::with(Fixture::on(server, name));
    register(&g, "once", &jwks(&[&ED]), "single_use => true");
    g
}

/// What the server counts began a while ago: what is issued from now on may be used.
pub fn has_counted(server: &Server) {
    let mut admin = server.admin("postgres");
    wait_until("counting has begun", 30, || {
        admin.holds("clock_timestamp() > pg_postmaster_start_time() + interval '5 s'")
    });
}

#[track_caller]
fn takes_once(s: &mut Session, token: &str, role: &str) {
    s.run("BEGIN");
    assert_eq!(s.text(&switch(token)), role);
    assert_switched(s, role);
    s.run("ROLLBACK");
}

#[track_caller]
fn refused(s: &mut Session, token: &str, word: &str) -> Refusal {
    s.run("BEGIN");
    let refusal = s.refused_with(&switch(token), "28000", word);
    s.run("ROLLBACK");
    refusal
}

#[track_caller]
fn replayed(s: &mut Session, token: &str) {
    let refusal = refused(s, token, "replayed");
    assert!(
        refusal.hint.contains("\"once\" has single_use"),
        "{refusal:?}"
    );
}

#[test]
fn attack_a_token_used_twice() {
    let g = gate(shared(), "jwt_once");
    has_counted(shared());
    let (mut s, mut other) = (g.login(), g.login());
    let first = token(&g, json!({}));
    takes_once(&mut s, &first, &g.reader);
    // Neither the rollback nor what a session has verified gives it back.
    replayed(&mut s, &first);
    replayed(&mut other, &first);
    s.run("BEGIN");
    s.refused_with(&switch_session(&first), "28000", "replayed");
    s.run("ROLLBACK");
    // Nor does a savepoint, or an error that is caught.
    let second = token(&g, json!({}));
    s.run(&format!(
        "BEGIN; SAVEPOINT a; {}; ROLLBACK TO a",
        switch(&second)
    ));
    s.refused_with(&switch(&second), "28000", "replayed");
    s.run("ROLLBACK");
    replayed(&mut other, &second);
    // The same jti and iss in other words is the same token.
    let claims = once(&g, json!({}));
    takes_once(&mut s, &ED.token("EdDSA", &claims), &g.reader);
    let mut richer = claims;
    richer["exp"] = json!(now() + 3000);
    richer["more"] = json!(true);
    replayed(&mut other, &ED.token("EdDSA", &richer));
    // Nobody's cache keeps it, and none of it makes it good again: a reload, a change of the issuer, its keys set again, its end and return.
    let mut admin = g.f.admin();
    for change in [
        "SELECT scope.alter_jwt_issuer('once', '{\"max_age\": 3000}')".to_owned(),
        format!(
            "SELECT scope.set_jwt_keys('once', {})",
            literal(&jwks(&[&ED]))
        ),
        "SELECT scope.alter_jwt_issuer('once', '{\"leeway\": 3600}')".to_owned(),
    ] {
        admin.run(&change);
        replayed(&mut s, &first);
        replayed(&mut other, &second);
    }
    admin.run("SELECT scope.drop_jwt_issuer('once')");
    register(&g, "once", &jwks(&[&ED]), "single_use => true");
    replayed(&mut s, &first);
    // The whole cluster: another database that knows the issuer.
    let there = gate(shared(), "jwt_once_there");
    let mut elsewhere = there.login();
    let claims = once(&g, json!({"role": there.reader}));
    takes_once(&mut elsewhere, &ED.token("EdDSA", &claims), &there.reader);
    let mut here = claims;
    here["role"] = json!(g.reader);
    replayed(&mut s, &ED.token("EdDSA", &here));
    // It is looked at without being used.
    let looked_at = token(&g, json!({}));
    for _ in 0..2 {
        admin.run(&format!("SELECT scope.verify_jwt({})", literal(&looked_at)));
    }
    takes_once(&mut s, &looked_at, &g.reader);
}

#[test]
fn attack_many_sessions_present_one_token_at_the_same_moment() {
    let g = gate(shared(), "jwt_once_race");
    has_counted(shared());
    const SESSIONS: usize = 12;
    for _ in 0..10 {
        let token = token(&g, json!({}));
        let (barrier, won, lost) = (Barrier::new(SESSIONS), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..SESSIONS {
                scope.spawn(|| {
                    let mut s = g.login();
                    s.run("BEGIN");
                    barrier.wait();
                    match s.attempt(&switch(&token)) {
                        Ok(_) => won.fetch_add(1, Ordering::Relaxed),
                        Err(refusal) => {
                            assert_eq!(refusal.code, "28000", "{refusal:?}");
                            assert!(refusal.detail.starts_with("replayed: "), "{refusal:?}");
                            lost.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                });
            }
        });
        assert_eq!(won.into_inner(), 1);
        assert_eq!(lost.into_inner(), SESSIONS as u32 - 1);
    }
}

#[test]
fn what_is_refused_for_another_reason_uses_nothing_up() {
    let g = gate(shared(), "jwt_once_refused");
    has_counted(shared());
    let mut s = g.login();
    let good = token(&g, json!({}));
    s.run("BEGIN; DECLARE c CURSOR FOR SELECT 1");
    s.denied(&switch(&good), "55006");
    s.run("ROLLBACK");
    g.f.admin()
        .run(&format!("REVOKE {} FROM {}", g.reader, g.auth));
    s.run("BEGIN");
    s.refused_with(&switch(&good), "42501", "role_not_granted");
    s.run("ROLLBACK");
    g.f.admin()
        .run(&format!("GRANT {} TO {}", g.reader, g.auth));
    // In a transaction that it has switched it is no second use.
    s.run("BEGIN");
    for _ in 0..3 {
        assert_eq!(s.text(&switch(&good)), g.reader);
    }
    s.run("COMMIT");
    replayed(&mut s, &good);
    // A session's switch is one use, and ends by its token.
    let long = token(&g, json!({}));
    s.run(&switch_session(&long));
    for _ in 0..3 {
        assert_switched(&mut s, &g.reader);
    }
    s.run(&end_session(&long));
    assert_itself(&mut s, &g.auth);
    s.refused_with(&switch_session(&long), "28000", "replayed");
}

#[test]
fn a_token_that_is_good_once_says_which_it_is() {
    let g = gate(shared(), "jwt_once_says");
    has_counted(shared());
    let mut s = g.login();
    for (more, word) in [
        (json!({"jti": null}), "missing_jti"),
        (json!({"jti": ""}), "missing_jti"),
        (json!({"iat": null}), "missing_iat"),
        (json!({"exp": null}), "missing_exp"),
        (json!({"jti": 5}), "claim_type"),
        (json!({"jti": "x".repeat(1_025)}), "claim_length"),
        // Of the leeway, 30 seconds here, two count.
        (json!({"iat": now() + 20}), "issued_in_future"),
        (json!({"exp": now() - 10}), "expired"),
        (json!({"iat": 1}), "issued_before_start"),
    ] {
        refused(&mut s, &token(&g, more), word);
    }
    let mut admin = g.f.admin();
    for bad in [
        "SELECT scope.alter_jwt_issuer('once', '{\"require_exp\": false}')",
        "SELECT scope.add_jwt_issuer('endless', 'https://endless', 'abcdefghijklmnopqrstuvwxyz0123456789', require_exp => false, single_use => true)",
        "SELECT scope.alter_jwt_issuer('once', '{\"single_use\": \"yes\"}')",
    ] {
        let refusal = admin.fails(bad);
        assert_eq!(refusal.code, "22023", "{bad}: {refusal:?}");
    }
    assert_eq!(admin.text("SELECT single_use FROM scope.jwt_issuers"), "t");
    admin.run("SELECT scope.alter_jwt_issuer('once', '{\"single_use\": null}')");
    let again = token(&g, json!({"jti": null}));
    for _ in 0..2 {
        takes_once(&mut s, &again, &g.reader);
    }
    admin.run("SELECT scope.alter_jwt_issuer('once', '{\"single_use\": true}')");
    s.run("BEGIN");
    s.refused_with(&switch(&again), "28000", "missing_jti");
}

/// What was used under one leeway is presented under another, past its end.
#[test]
fn attack_a_used_token_whose_leeway_grows() {
    let g = gate(shared(), "jwt_once_leeway");
    has_counted(shared());
    let mut admin = g.f.admin();
    admin.run("SELECT scope.alter_jwt_issuer('once', '{\"leeway\": 0}')");
    let exp = now() + 3;
    let used = token(&g, json!({"exp": exp}));
    let mut s = g.login();
    takes_once(&mut s, &used, &g.reader);
    admin.run("SELECT scope.alter_jwt_issuer('once', '{\"leeway\": 30}')");
    wait_until("it has ended", 10, || now() >= exp);
    for _ in 0..20 {
        s.run("BEGIN");
        let refusal = s.refused(&switch(&used), "28000");
        let words = ["replayed: ", "expired: "];
        assert!(
            words.iter().any(|word| refusal.detail.starts_with(word)),
            "{refusal}"
        );
        s.run("ROLLBACK");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn attack_a_token_used_before_a_crash() {
    let server = Server::start(Options::durable());
    let g = gate(&server, "jwt_once_crash");
    has_counted(&server);
    let (used, unused) = (token(&g, json!({})), token(&g, json!({})));
    takes_once(&mut g.login(), &used, &g.reader);
    for crash in 0..2 {
        match crash {
            // The whole server, or a backend, which takes the memory of all with it.
            0 => {
                server.crash();
                server.recover();
            }
            _ => {
                let mut victim = g.login();
                assert!(server.kill(victim.text("SELECT pg_backend_pid()")));
                wait_until("the server is back", 60, || {
                    server.try_login(&g.auth, &g.f.name).is_ok()
                });
            }
        }
        let mut s = g.login();
        for token in [&used, &unused] {
            s.run("BEGIN");
            let refusal = s.fails(&switch(token));
            assert_eq!(refusal.code, "28000", "{refusal:?}");
            // In the first moments nobody counts yet.
            let words = ["issued_before_start: ", "standby: "];
            assert!(
                words.iter().any(|word| refusal.detail.starts_with(word)),
                "{refusal:?}"
            );
            s.run("ROLLBACK");
        }
        thread::sleep(Duration::from_secs(5));
        for token in [&used, &unused] {
            refused(&mut s, token, "issued_before_start");
        }
        let fresh = token(&g, json!({}));
        takes_once(&mut s, &fresh, &g.reader);
        replayed(&mut s, &fresh);
    }
}

#[test]
fn attack_a_token_used_on_the_primary_and_after_a_failover() {
    let primary = Server::start(Options::durable());
    let g = gate(&primary, "jwt_once_failover");
    has_counted(&primary);
    let standby = primary.standby(Options::default());
    let mut s = standby.login(&g.auth, &g.f.name);
    let (used, unused) = (token(&g, json!({})), token(&g, json!({})));
    takes_once(&mut g.login(), &used, &g.reader);
    for token in [&used, &unused] {
        refused(&mut s, token, "standby");
    }
    primary.stop_immediately();
    standby.promote();
    let mut admin = standby.admin(&g.f.name);
    wait_until("it takes writes", 30, || {
        admin.holds("NOT pg_is_in_recovery()")
    });
    thread::sleep(Duration::from_secs(4));
    for token in [&used, &unused] {
        refused(&mut s, token, "issued_before_start");
    }
    let fresh = token(&g, json!({}));
    takes_once(&mut s, &fresh, &g.reader);
    replayed(&mut s, &fresh);
}

#[test]
fn attack_a_flood_of_tokens_pushes_none_out() {
    let server = Server::start(Options::default().set("scope_roles.single_use_tokens", "16"));
    let g = gate(&server, "jwt_once_flood");
    has_counted(&server);
    let mut s = g.login();
    let mut used = Vec::new();
    let short = json!({"exp": now() + 8});
    let full = loop {
        assert!(used.len() <= 16, "more than there is room for");
        let token = token(&g, short.clone());
        s.run("BEGIN");
        match s.attempt(&switch(&token)) {
            Ok(_) => used.push(token),
            Err(refusal) => break refusal,
        }
        s.run("COMMIT");
    };
    s.run("ROLLBACK");
    assert_eq!(full.code, "53400", "{full:?}");
    assert!(full.detail.starts_with("no_room: "), "{full:?}");
    assert!(
        full.hint.contains("scope_roles.single_use_tokens"),
        "{full:?}"
    );
    assert_eq!(used.len(), 16);
    for token in &used {
        replayed(&mut s, token);
    }
    // What has ended makes room, and is refused for its end.
    thread::sleep(Duration::from_secs(17));
    takes_once(&mut s, &token(&g, json!({})), &g.reader);
    for token in &used {
        refused(&mut s, token, "expired");
    }
    server.alter_system("scope_roles.single_use_tokens", "0");
    server.restart();
    has_counted(&server);
    let mut s = g.login();
    s.run("BEGIN");
    s.refused_with(&switch(&token(&g, json!({}))), "53400", "no_room");
}
