//! The verdict before a database can be read: by a copy of its issuers, which must be as new as they are.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Door, HBA, asked, primary, server};
use crate::harness::*;
use crate::jwt::issuers::{ED, iss};

const AUTHENTICATION_OK: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];

/// All that the server says to this token, once it has asked for one.
fn answer(d: &Door, token: &str) -> Vec<u8> {
    let mut stream = asked(d);
    let mut message = vec![b'p'];
    message.extend((token.len() as i32 + 5).to_be_bytes());
    message.extend(token.as_bytes());
    message.push(0);
    stream.write_all(&message).expect("send");
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest
}

fn is_let_in(answer: &[u8]) -> bool {
    answer.windows(9).any(|bytes| bytes == AUTHENTICATION_OK)
}

#[test]
fn a_bad_token_is_refused_before_the_client_is_told_that_it_has_logged_in() {
    let server = server();
    let d = Door::open(&server, "door_early");
    let other = Key::ed25519("other");
    d.f.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('else', '{}', {});
         SELECT scope.alter_jwt_issuer('corp', '{{\"audiences\": [\"db\"], \"required_claims\": {{\"tier\": \"gold\"}}}}')",
        iss("else"),
        literal(&jwks(&[&other]))
    ));
    let claims = |more: serde_json::Value| {
        let mut claims = d.claims(json!({"aud": "db", "tier": "gold"}));
        for (claim, value) in more.as_object().expect("an object") {
            claims[claim] = value.clone();
        }
        claims
    };
    let own = |more| ED.token("EdDSA", &claims(more));
    let good = own(json!({}));
    let said = answer(&d, &good);
    assert!(said.starts_with(&AUTHENTICATION_OK), "{said:?}");
    let mut cut = good.clone();
    cut.truncate(good.len() - 4);
    for token in [
        String::new(),
        "x".into(),
        cut,
        own(json!({"exp": now() - 100})),
        own(json!({"nbf": now() + 100})),
        own(json!({"aud": "else"})),
        own(json!({"tier": "tin"})),
        own(json!({"iss": iss("nobody")})),
        own(json!({"cnf": {"x5t#S256": "A".repeat(43)}})),
        other.token("EdDSA", &claims(json!({}))),
        other.token("EdDSA", &claims(json!({"iss": iss("else")}))),
        sign(&claims(json!({}))),
    ] {
        let said = answer(&d, &token);
        assert!(said.starts_with(b"E"), "{said:?}");
        assert!(!is_let_in(&said), "{said:?}");
        assert!(String::from_utf8_lossy(&said).contains("C28P01\0"));
    }
    // What the tables alone know is judged where they can be read: no session either.
    let said = answer(&d, &own(json!({"role": "nobody"})));
    assert!(is_let_in(&said) && String::from_utf8_lossy(&said).contains("C28P01\0"));
    assert!(!String::from_utf8_lossy(&said).contains("Z\0\0\0\u{5}I"));
}

#[test]
fn what_is_changed_counts_for_the_next_login() {
    let server = Server::start(
        Options::default()
            .hba(HBA)
            .set("max_prepared_transactions", "2"),
    );
    let d = Door::open(&server, "door_changes");
    let mut admin = d.f.admin();
    let login = "door_changes_both";
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('next', '{}', {});
         SELECT scope.create_token_login('{login}', '{{{}}}', '{{corp,next}}')",
        iss("next"),
        literal(&jwks(&[&ED])),
        d.reader
    ));
    let keys = [Key::ed25519("a"), Key::ed25519("b")];
    let by = |key: &Key| key.token("EdDSA", &d.claims(json!({})));
    d.knock(&by(&ED)).expect("a login");
    for round in 0..6 {
        let (new, old) = (&keys[round % 2], &keys[(round + 1) % 2]);
        admin.run(&format!(
            "SELECT scope.set_jwt_keys('corp', {})",
            literal(&jwks(&[new]))
        ));
        d.knock(&by(new)).expect("a login");
        d.turns_away(&by(old), "unknown_key");
    }
    let token = by(&keys[1]);
    admin.run("SELECT scope.alter_jwt_issuer('corp', '{\"audiences\": [\"db\"]}')");
    d.turns_away(&token, "audience");
    admin.run("SELECT scope.alter_jwt_issuer('corp', '{\"audiences\": []}')");
    d.knock(&token).expect("a login");
    // Secrets, too, which have a table of their own.
    let secret = "s".repeat(40);
    admin.run(&format!(
        "SELECT scope.set_jwt_keys('corp', {})",
        literal(&secret)
    ));
    d.turns_away(&token, "algorithm");
    let signed = sign_with(
        &d.claims(json!({})),
        &secret,
        jsonwebtoken::Algorithm::HS256,
    );
    d.knock(&signed).expect("a login");
    admin.run("SELECT scope.drop_jwt_issuer('corp')");
    d.turns_away(&signed, "unknown_issuer");
    let next = |key: &Key| {
        d.knock_with(
            &key.token("EdDSA", &d.claims(json!({"iss": iss("next")}))),
            |config| config.user(login),
        )
    };
    next(&ED).expect("a login");
    admin.run("SELECT scope.drop_jwt_issuer('next')");
    assert_eq!(next(&ED).err().expect("no login").code, "28P01");
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('next', '{}', {})",
        iss("next"),
        literal(&jwks(&[&keys[0]]))
    ));
    next(&keys[0]).expect("a login");
    assert_eq!(next(&ED).err().expect("no login").code, "28P01");
    // What has not been committed counts for nobody else, whoever reads it; what was prepared does from its commit on.
    let change = format!(
        "BEGIN; SELECT scope.set_jwt_keys('next', {}); SELECT scope.verify_jwt({})",
        literal(&jwks(&[&ED])),
        literal(&ED.token("EdDSA", &d.claims(json!({"iss": iss("next")}))))
    );
    for end in ["ROLLBACK", "PREPARE TRANSACTION 'change'"] {
        // What others could take for the newest is still to be copied.
        admin.run("SELECT scope.alter_jwt_issuer('next', '{\"max_age\": null}')");
        admin.run(&change);
        next(&keys[0]).expect("a login");
        assert_eq!(next(&ED).err().expect("no login").code, "28P01");
        admin.run(end);
        next(&keys[0]).expect("a login");
        assert_eq!(next(&ED).err().expect("no login").code, "28P01");
    }
    admin.run("COMMIT PREPARED 'change'");
    next(&ED).expect("a login");
    assert_eq!(next(&keys[0]).err().expect("no login").code, "28P01");
}

#[test]
fn logins_go_on_while_keys_are_replaced() {
    let server = server();
    let d = Door::open(&server, "door_rotation");
    let tokens: Vec<String> = (0..3)
        .map(|number| d.token(json!({"sub": format!("person{number}")})))
        .collect();
    let is_over = AtomicBool::new(false);
    let logins: usize = std::thread::scope(|scope| {
        let knock = |token: &str| {
            let mut logins = 0;
            while !is_over.load(Ordering::Relaxed) {
                if let Err(refusal) = d.knock(token) {
                    panic!("{refusal}: {}", server.log());
                }
                logins += 1;
            }
            logins
        };
        let knocking: Vec<_> = tokens
            .iter()
            .map(|token| scope.spawn(move || knock(token)))
            .collect();
        let mut admin = d.f.admin();
        for number in 0..20 {
            let other = Key::ed25519(&format!("other{number}"));
            admin.run(&format!(
                "SELECT scope.set_jwt_keys('corp', {})",
                literal(&jwks(&[&ED, &other]))
            ));
            std::thread::sleep(Duration::from_millis(100));
        }
        is_over.store(true, Ordering::Relaxed);
        let ended = knocking
            .into_iter()
            .map(|thread| thread.join().expect("logins"));
        ended.sum()
    });
    assert!(logins > 20, "{logins}");
}

#[test]
fn databases_have_issuers_of_one_name_and_different_keys() {
    let server = server();
    let (a, b) = (
        Door::open(&server, "door_two_a"),
        Door::open(&server, "door_two_b"),
    );
    let other = Key::ed25519("other");
    b.f.admin().run(&format!(
        "SELECT scope.set_jwt_keys('corp', {})",
        literal(&jwks(&[&other]))
    ));
    for _ in 0..3 {
        a.knock(&a.token(json!({}))).expect("a login");
        b.turns_away(&b.token(json!({})), "unknown_key");
        let by_other = |d: &Door| other.token("EdDSA", &d.claims(json!({})));
        b.knock(&by_other(&b)).expect("a login");
        a.turns_away(&by_other(&a), "unknown_key");
    }
}

#[test]
fn the_first_login_after_a_start_or_a_crash_is_one() {
    let server = server();
    let d = Door::open(&server, "door_start");
    let token = d.token(json!({}));
    for what in ["restart", "crash", "kill"] {
        match what {
            "restart" => server.restart(),
            "crash" => {
                server.crash();
                server.recover();
            }
            _ => {
                let mut victim = d.f.admin();
                assert!(server.kill(victim.text("SELECT pg_backend_pid()")));
            }
        }
        // Not by what another session of this database has read.
        let said = answer(&d, &token);
        assert!(is_let_in(&said), "{what}: {said:?}");
        d.turns_away(&d.token(json!({"exp": now() - 100})), "expired");
    }
}

#[test]
fn issuers_without_room_are_judged_by_the_tables_alone() {
    let server = Server::start(
        Options::default()
            .hba(HBA)
            .set("scope_roles.issuer_memory", "16kB"),
    );
    let d = Door::open(&server, "door_room");
    let mut admin = d.f.admin();
    let token = d.token(json!({}));
    d.knock(&token).expect("a login");
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('more' || i, 'https://more' || i || '.example.org/', {}) FROM generate_series(1, 60) i",
        literal(&jwks(&[&ED]))
    ));
    let started = Instant::now();
    for _ in 0..3 {
        d.knock(&token).expect("a login");
        d.turns_away(&d.token(json!({"exp": now() - 100})), "expired");
        d.turns_away(
            &Key::ed25519("ed-1").token("EdDSA", &d.claims(json!({}))),
            "bad_signature",
        );
    }
    assert!(started.elapsed() < Duration::from_secs(9), "they wait");
    // Those of others have as much as ever.
    let other = Door::open(&server, "door_room_b");
    other.knock(&other.token(json!({}))).expect("a login");
    admin.run("SELECT scope.drop_jwt_issuer('more' || i) FROM generate_series(1, 60) i");
    d.knock(&token).expect("a login");
}

#[test]
fn databases_take_turns_where_memory_is_short() {
    let server = Server::start(
        Options::default()
            .hba(HBA)
            .set("scope_roles.issuer_memory", "16kB"),
    );
    let doors = ["door_turns_a", "door_turns_b", "door_turns_c"].map(|name| {
        let d = Door::open(&server, name);
        d.f.admin().run(&format!(
            "SELECT scope.add_jwt_issuer('more' || i, 'https://more' || i || '.example.org/', {}) FROM generate_series(1, 12) i",
            literal(&jwks(&[&ED]))
        ));
        d
    });
    for _ in 0..3 {
        for d in &doors {
            d.knock(&d.token(json!({}))).expect("a login");
            d.turns_away(&d.token(json!({"exp": now() - 100})), "expired");
        }
    }
}

#[test]
fn without_a_worker_the_tables_alone_judge() {
    let server = Server::start(
        Options::default()
            .hba(HBA)
            .set("max_logical_replication_workers", "0"),
    );
    let d = Door::open(&server, "door_starved");
    // That one is the launcher.
    server.alter_system("max_worker_processes", "1");
    server.restart();
    let token = d.token(json!({}));
    let started = Instant::now();
    d.turns_away("x", "malformed");
    assert!(started.elapsed() < Duration::from_secs(2), "no token waits");
    let started = Instant::now();
    d.knock(&token).expect("a login");
    assert!(started.elapsed() < Duration::from_secs(10));
    // Whoever reads them makes them known.
    let _ = d.f.admin().attempt("SELECT scope.verify_jwt('x')");
    d.knock(&token).expect("a login");
}

#[test]
fn a_standby_takes_tokens_by_what_it_has_replayed() {
    let primary = primary();
    let d = Door::open(&primary, "door_standby");
    let standby = primary.standby(Options::default());
    let mut admin = d.f.admin();
    admin.run("SET synchronous_commit = local");
    let replay = || standby.has_replayed(&primary);
    let knock = |token: &str| standby.try_token(&d.login, token, &d.f.name);
    let token = d.token(json!({}));
    let mut s = knock(&token).expect("a login");
    s.assert_that(&format!(
        "pg_is_in_recovery() AND current_user = '{}'",
        d.reader
    ));
    let other = Key::ed25519("other");
    let by_other = other.token("EdDSA", &d.claims(json!({})));
    assert_eq!(knock(&by_other).err().expect("no login").code, "28P01");
    admin.run(&format!(
        "SELECT scope.set_jwt_keys('corp', {})",
        literal(&jwks(&[&other]))
    ));
    replay();
    let started = Instant::now();
    assert_eq!(knock(&token).err().expect("no login").code, "28P01");
    wait_until("the new key is taken", 12, || knock(&by_other).is_ok());
    assert!(started.elapsed() < Duration::from_secs(12));
    admin.run("SELECT scope.drop_jwt_issuer('corp')");
    replay();
    assert_eq!(knock(&by_other).err().expect("no login").code, "28P01");
    // One that becomes the primary goes on.
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('corp', '{}', {})",
        iss("corp"),
        literal(&jwks(&[&ED]))
    ));
    replay();
    wait_until("the issuer is back", 12, || knock(&token).is_ok());
    standby.promote();
    knock(&token).expect("a login");
    standby.admin(&d.f.name).run(&format!(
        "SELECT scope.set_jwt_keys('corp', {})",
        literal(&jwks(&[&other]))
    ));
    assert_eq!(knock(&token).err().expect("no login").code, "28P01");
    knock(&by_other).expect("a login");
}

#[test]
fn a_key_that_is_not_there_yet_is_fetched_for_a_login() {
    let Some(authority) = Authority::new() else {
        return skip("no certificates can be made here");
    };
    let server = Server::start(
        Options::default()
            .hba(HBA)
            .set("scope_roles.jwks_hosts", "127.0.0.1")
            .set("scope_roles.jwks_wait", "20s"),
    );
    let d = Door::open(&server, "door_fetched");
    let provider = Provider::start(&authority);
    let keys = [Key::ed25519("first"), Key::ed25519("second")];
    provider.reply("/keys", Reply::json(jwks(&[&keys[0]])));
    let mut admin = d.f.admin();
    admin.run(&format!(
        "SELECT scope.drop_jwt_issuer('corp');
         SELECT scope.add_jwt_issuer('corp', '{}', keys_url => '{}', ca_file => '{}')",
        provider.url(""),
        provider.url("/keys"),
        authority.certificate().display()
    ));
    let token = |key: &Key| key.token("EdDSA", &d.claims(json!({"iss": provider.url("")})));
    // The worker is on its way.
    d.knock(&token(&keys[0])).expect("a login");
    provider.reply("/keys", Reply::json(jwks(&[&keys[1]])));
    admin.run("UPDATE _scope.jwt_issuer_fetch SET attempted_at = attempted_at - interval '1 hour'");
    d.knock(&token(&keys[1])).expect("a login");
    d.turns_away(&token(&keys[0]), "unknown_key");
    // Until when they hold is told to nobody: what has been copied says that they hold no more.
    admin.run("UPDATE _scope.jwt_issuer_fetch SET stale_until = now()");
    admin.run("SELECT scope.alter_jwt_issuer('corp', '{\"max_age\": null}')");
    let _ = d.f.admin().attempt("SELECT scope.verify_jwt('x')");
    admin.run(
        "UPDATE _scope.jwt_issuer_fetch SET stale_until = now() + interval '1 hour', attempted_at = now(), finished_at = now()",
    );
    d.knock(&token(&keys[1])).expect("a login");
}

/// Nobody fetches keys for a template, but whoever logs in to one is waited for.
#[test]
fn a_template_database_lets_its_logins_in() {
    let server = server();
    let d = Door::open(&server, "door_template");
    server
        .admin("postgres")
        .run("ALTER DATABASE door_template IS_TEMPLATE true");
    server.restart();
    let before = answer(&d, &d.token(json!({"exp": now() - 100})));
    assert!(!is_let_in(&before), "no copy was at hand");
    d.knock(&d.token(json!({}))).expect("a login");
}
