//! Providers that hang, lie, flood and cheat; and what must hold meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{AUTHORITY, Place, SERVER, ca_file};
use crate::harness::*;
use crate::jwt::switch;

/// In everything that the provider sends, and in no line of the log.
const MARK: &str = "marked-by-the-provider";

/// Where nobody collects what orphans leave, that stays.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    !after_name.is_empty() && !after_name.starts_with('Z')
}

#[test]
fn attack_good_keys_outlive_every_bad_answer() {
    let Some(place) = Place::registered("keys_hostile") else {
        return;
    };
    let good = jwks(&[&place.key]);
    let other = Key::ed25519(MARK);
    let secret = json!({"keys": [{"kty": "oct", "kid": MARK, "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]});
    let weak = json!({"keys": [{"kty": "RSA", "kid": MARK, "n": "AQAB", "e": "AQAB"}]});
    let many: Vec<_> = (0..101).map(|number| format!("{MARK}-{number}")).collect();
    let many: Vec<_> = many.iter().map(|kid| Key::ed25519(kid)).collect();
    let many = jwks(&many.iter().collect::<Vec<_>>());
    let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    let half = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
        good.len(),
        &good[..good.len() / 2]
    );
    for (reply, problem) in [
        (Reply::json(""), "the answer is no key set"),
        (Reply::json(MARK), "the answer is no key set"),
        (Reply::json("{}"), "the answer is no key set"),
        (
            Reply::json(json!({"keys": []})),
            "the key set has no public key that verifies signatures by an algorithm of the issuer",
        ),
        (
            Reply::json(&secret),
            "the key set has no public key that verifies signatures by an algorithm of the issuer",
        ),
        (
            Reply::json(&weak),
            "the key set has no public key that verifies signatures by an algorithm of the issuer",
        ),
        (Reply::json(&many), "the key set has more than 100 keys"),
        (
            Reply::json(format!("<html>{MARK} {}</html>", "x".repeat(64))),
            "the answer is no key set",
        ),
        (
            Reply::json(good.replacen("{", &format!("{{\"{MARK}\":1,\"{MARK}\":2,"), 1)),
            "the answer is no key set",
        ),
        (
            Reply::json(format!("{good}{}", " ".repeat(70_000))),
            "the answer has more than 64 KiB",
        ),
        // Without saying so before.
        (
            raw(&format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{good}{}",
                " ".repeat(70_000)
            )),
            "the answer has more than 64 KiB",
        ),
        (Reply::Flood, "the answer has more than 64 KiB"),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{"),
            "the answer has more than 64 KiB",
        ),
        (raw(&half), "the connection ended before the answer did"),
        (
            raw(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{good}"
            )),
            "the answer is no key set",
        ),
        (raw(""), "the connection ended before the answer did"),
        (raw(&format!("{MARK}\r\n\r\n")), "the answer is not HTTP"),
        (
            raw(&format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n{good}",
                "x".repeat(100_000)
            )),
            "the answer has more than 64 KiB",
        ),
        (
            Reply::Answer(500, String::new(), MARK.into()),
            "the answer has status 500",
        ),
        (
            Reply::Answer(304, String::new(), String::new()),
            "the answer is a redirect, with status 304, and none is followed",
        ),
        (
            Reply::Answer(
                302,
                format!("Location: {}\r\n", place.provider.url("/elsewhere")),
                String::new(),
            ),
            "the answer is a redirect, with status 302, and none is followed",
        ),
    ] {
        place.provider.reply("/keys", reply);
        let (outcome, said) = place.refresh();
        assert_eq!((outcome.as_str(), said.as_str()), ("failed", problem));
    }
    place
        .provider
        .reply("/elsewhere", Reply::json(jwks(&[&other])));
    let requests = place.provider.requests();
    assert!(
        !requests
            .iter()
            .any(|request| request.contains("/elsewhere")),
        "{requests:?}"
    );
    let mut admin = place.admin();
    admin.assert_that("SELECT kids = '{first}' AND failing_since IS NOT NULL AND fetched_at IS NOT NULL FROM scope.jwt_issuers");
    place.takes(&place.key);
    assert!(!SERVER.log().contains(MARK));
    // What is new of a failure is recorded, the same again is not.
    let recorded =
        "SELECT count(*) FROM scope.audit_log WHERE event = 'keys_failed' AND object = 'idp'";
    let before = admin.text(recorded);
    assert_eq!(place.refresh().0, "failed");
    assert_eq!(admin.text(recorded), before);
    // Pauses double.
    admin.assert_that("SELECT next_fetch - attempted_at BETWEEN interval '15 minutes' AND interval '17 minutes' FROM scope.jwt_issuers");
    // One bad key among good ones stops nobody.
    let mut set: serde_json::Value =
        serde_json::from_str(&jwks(&[&place.key, &other])).expect("a set");
    let keys = set["keys"].as_array_mut().expect("keys");
    keys.push(weak["keys"][0].clone());
    keys.push(secret["keys"][0].clone());
    place.provider.reply("/keys", Reply::json(&set));
    assert_eq!(place.refresh().0, "fetched");
    place.takes(&other);
    admin.assert_that("SELECT key_count = 2 AND failing_since IS NULL AND last_error IS NULL FROM scope.jwt_issuers");
}

#[test]
fn attack_certificates_are_checked() {
    let Some(place) = Place::registered("keys_certificates") else {
        return;
    };
    let (Some(authority), Some(stranger)) = (AUTHORITY.as_ref(), Authority::new()) else {
        return;
    };
    let alter = |url: &str, ca: &str| {
        let changes = json!({"keys_url": url, "ca_file": ca}).to_string();
        place.admin().run(&format!(
            "SELECT scope.alter_jwt_issuer('idp', '{changes}')"
        ));
    };
    for (identity, problem) in [
        (
            stranger.issue("IP:127.0.0.1", "2"),
            "the server's certificate is not from an authority that is trusted",
        ),
        (
            authority.issue("DNS:other.example.org", "2"),
            "the server's certificate is for another host",
        ),
        (
            authority.issue("IP:127.0.0.1", "-1"),
            "the server's certificate is not valid today",
        ),
        (authority.issue("IP:127.0.0.1", "2"), ""),
    ] {
        let provider = Provider::with(Some((&identity.0, &identity.1)));
        provider.reply("/keys", Reply::json(jwks(&[&place.key])));
        alter(&provider.url("/keys"), &ca_file());
        assert_eq!(place.refresh().1, problem);
        assert_eq!(provider.requests().is_empty(), !problem.is_empty());
    }
    // The system's authorities don't know ours.
    let url = place.provider.url("/keys");
    let changes = json!({"keys_url": url, "ca_file": null}).to_string();
    place.admin().run(&format!(
        "SELECT scope.alter_jwt_issuer('idp', '{changes}')"
    ));
    let said = place.refresh().1;
    assert!(
        said == "the server's certificate is not from an authority that is trusted"
            || said.starts_with("the system has no certificates"),
        "{said}"
    );
    for (file, problem) in [
        ("/nowhere/ca.crt", "the CA file does not exist"),
        ("/etc", "the CA file cannot be read"),
        ("/dev/zero", "the CA file cannot be read"),
        ("/etc/shadow", "the CA file may not be read"),
        ("/etc/passwd", "the CA file has no certificate"),
    ] {
        alter(&url, file);
        assert_eq!(place.refresh().1, problem, "{file}");
    }
}

/// What is in this network is for those to reach whom the administrator lets.
#[test]
fn attack_a_name_that_leads_into_this_network_is_not_connected_to() {
    let Some(place) = Place::new("keys_network") else {
        return;
    };
    let Some(authority) = AUTHORITY.as_ref() else {
        return;
    };
    let (certificate, key) = authority.issue("DNS:localhost", "2");
    let provider = Provider::with(Some((&certificate, &key)));
    let url = format!("https://localhost:{}", provider.port);
    // The issuer's own host, and yet.
    place.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('idp', '{url}', keys_url => '{url}/keys', ca_file => '{}')",
        ca_file()
    ));
    assert_eq!(
        place.refresh(),
        (
            "failed".into(),
            "the host has a loopback, private or link-local address and is not in scope_roles.jwks_hosts".into()
        )
    );
    assert_eq!(provider.connections(), 0);
}

/// A provider that says nothing, or says it slowly, holds up neither its own database's others nor any deadline.
#[test]
fn attack_a_provider_that_hangs_holds_up_nobody() {
    let Some(place) = Place::registered("keys_hang") else {
        return;
    };
    let Some(authority) = AUTHORITY.as_ref() else {
        return;
    };
    let good = Provider::start(authority);
    good.reply("/keys", Reply::json(jwks(&[&place.key])));
    let mut admin = place.admin();
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('good', '{0}', keys_url => '{0}/keys', ca_file => '{1}')",
        good.url(""),
        ca_file()
    ));
    for hanging in [Reply::Hang, Reply::Trickle] {
        place.provider.reply("/keys", hanging);
        let started = Instant::now();
        let mut other = place.admin();
        let waiter = std::thread::spawn(move || {
            other.text(
                "SELECT concat_ws(' ', outcome, last_error) FROM scope.refresh_jwt_keys('idp')",
            )
        });
        wait_until("the provider is asked", 10, || {
            !place.provider.requests().is_empty()
        });
        // Another issuer's keys, meanwhile.
        assert_eq!(
            admin.text("SELECT outcome FROM scope.refresh_jwt_keys('good')"),
            "fetched"
        );
        // And a deadline.
        let made = admin.rows(
            "SELECT role_name FROM scope.create_readonly_role('orders', valid_for => '1 second')",
        );
        wait_until("the credential has ended", 8, || {
            admin.holds(&format!(
                "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{}')",
                made[0][0].clone().unwrap_or_default()
            ))
        });
        assert!(
            started.elapsed() < Duration::from_secs(9),
            "{:?}",
            started.elapsed()
        );
        let said = waiter.join().expect("an answer");
        assert_eq!(said, "failed there was no whole answer within 10 seconds");
        assert!(
            started.elapsed() < Duration::from_secs(25),
            "{:?}",
            started.elapsed()
        );
    }
    place.takes(&place.key);
    // A database can be dropped while a fetch goes on in it.
    place.provider.reply("/keys", Reply::Hang);
    place.provider.requests();
    place.let_time_pass();
    place
        .admin()
        .run(r#"SELECT scope.alter_jwt_issuer('idp', '{"leeway": 1}')"#);
    wait_until("the provider is asked", 10, || {
        !place.provider.requests().is_empty()
    });
    drop(admin);
    let started = Instant::now();
    SERVER.admin("postgres").run("DROP DATABASE keys_hang");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

/// What the child process dies of is not the server's.
#[test]
fn attack_a_crash_while_fetching_and_a_stop_of_the_server_leave_it_whole() {
    let Some(place) = Place::new("keys_crash") else {
        return;
    };
    let server = Server::start(Options::default().set("scope_roles.jwks_hosts", "127.0.0.1"));
    let f = Fixture::on(&server, "keys_crash");
    place.provider.reply("/keys", Reply::Hang);
    let mut admin = f.admin();
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('idp', '{0}', keys_url => '{0}/keys', ca_file => '{1}')",
        place.iss(),
        ca_file()
    ));
    let child = || -> Option<String> {
        let worker = server
            .admin("postgres")
            .column("SELECT pid FROM pg_stat_activity WHERE backend_type = 'scope_roles keys'")
            .pop()?;
        children(&worker).pop()
    };
    for name in ["SEGV", "KILL", "ABRT", "TERM"] {
        wait_until("a child asks the provider", 40, || {
            !place.provider.requests().is_empty() && child().is_some()
        });
        assert!(signal(name, child().expect("the child")));
        wait_until("the failure is noted", 10, || {
            admin.holds("(SELECT last_error = 'the process that fetched them ended too early' FROM scope.jwt_issuers)")
        });
        admin.run("DELETE FROM _scope.jwt_issuer_fetch");
        admin.run("SELECT scope.alter_jwt_issuer('idp', jsonb_build_object('leeway', (random() * 500)::int))");
    }
    // Nor has this session ended.
    admin.run("SELECT 1");
    assert!(
        !server.log().contains("terminated by signal"),
        "{}",
        server.log()
    );
    wait_until("a child asks the provider", 40, || child().is_some());
    // Its end is the server's.
    let last = child().expect("the child");
    drop(admin);
    let started = Instant::now();
    server.stop();
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert!(!is_alive(&last));
    server.recover();
    // Nor does one outlive a power cut.
    wait_until("a child asks the provider", 60, || child().is_some());
    let last = child().expect("the child");
    server.crash();
    wait_until("the child has ended", 4, || !is_alive(&last));
    server.recover();
}

/// The wait for a key is not one that others can be made to wait for.
#[test]
fn attack_nobody_waits_for_keys_while_others_wait_for_him() {
    let Some(place) = Place::registered("keys_locks") else {
        return;
    };
    place.provider.reply("/keys", Reply::Hang);
    let unknown = switch(&place.token(&Key::ed25519("unknown")));
    let mut holder = place.g.login();
    place.admin().run(&format!(
        "GRANT INSERT, DELETE ON orders TO {}",
        place.g.auth
    ));
    holder.run("BEGIN; LOCK TABLE orders IN ROW EXCLUSIVE MODE");
    let mut other = place.admin();
    let waiter = std::thread::spawn(move || other.run("BEGIN; LOCK TABLE orders; COMMIT"));
    wait_until("the other waits", 10, || {
        place.admin().holds(
            "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass)",
        )
    });
    place.let_time_pass();
    let started = Instant::now();
    holder.refused_with(&unknown, "28000", "unknown_key");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    holder.run("ROLLBACK");
    let _ = waiter.join();
    // Without them it does wait, and can be interrupted.
    place.provider.requests();
    place.let_time_pass();
    holder.run("SET statement_timeout = '700ms'; BEGIN");
    let started = Instant::now();
    holder.denied(&unknown, "57014");
    assert!(
        started.elapsed() >= Duration::from_millis(600),
        "{:?}",
        started.elapsed()
    );
}

/// Standbys need no network: the keys come with the WAL.
#[test]
fn a_standby_takes_over_with_the_keys() {
    let Some(place) = Place::new("keys_standby") else {
        return;
    };
    let primary = Server::start(Options::default().set("scope_roles.jwks_hosts", "127.0.0.1"));
    let g = crate::jwt::Gate::with(Fixture::on(&primary, "keys_standby"));
    g.f.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('idp', '{0}', keys_url => '{0}/keys', ca_file => '{1}')",
        place.iss(),
        ca_file()
    ));
    let token = switch(
        &place
            .key
            .token("EdDSA", &g.claims(json!({"iss": place.iss()}))),
    );
    let mut s = g.login();
    s.run(&format!("BEGIN; {token}; ROLLBACK"));
    let standby = primary.standby(Options::default());
    let mut there = standby.login(&g.auth, "keys_standby");
    there.run(&format!("BEGIN; {token}; ROLLBACK"));
    // A rotation reaches it with the commit.
    let second = Key::ed25519("second");
    place.publish(&[&second]);
    g.f.admin()
        .run("SELECT * FROM scope.refresh_jwt_keys('idp')");
    let rotated = switch(&second.token("EdDSA", &g.claims(json!({"iss": place.iss()}))));
    wait_until("the standby has replayed it", 30, || {
        there.run("ROLLBACK");
        there.attempt(&format!("BEGIN; {rotated}")).is_ok()
    });
    there.run("ROLLBACK; BEGIN");
    there.refused_with(&token, "28000", "unknown_key");
    there.run("ROLLBACK");
    place.provider.be_mute(true);
    place.provider.requests();
    primary.stop();
    standby.promote();
    let mut there = standby.login(&g.auth, "keys_standby");
    there.run(&format!("BEGIN; {rotated}; ROLLBACK"));
    // And it fetches from then on.
    place.provider.be_mute(false);
    let outcome = standby
        .admin("keys_standby")
        .text("SELECT concat_ws(' ', outcome, last_error) FROM scope.refresh_jwt_keys('idp')");
    assert_eq!(outcome, "fetched");
}

/// Workers that others have taken all of are no reason to stop: it is told, and tried again.
#[test]
fn keys_wait_for_a_free_worker_and_deadlines_do_not() {
    let Some(place) = Place::new("keys_workers") else {
        return;
    };
    // The launcher, that of logical replication, and the one that wakes the launcher once.
    let server = Server::start(
        Options::default()
            .set("scope_roles.jwks_hosts", "127.0.0.1")
            .set("max_logical_replication_workers", "0")
            .set("max_worker_processes", "1"),
    );
    let f = Fixture::on(&server, "keys_workers");
    let mut admin = f.admin();
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('idp', '{0}', keys_url => '{0}/keys', ca_file => '{1}')",
        place.iss(),
        ca_file()
    ));
    wait_until("it is told", 30, || {
        server
            .log()
            .contains("no background worker is free to fetch keys of issuers")
    });
    assert_eq!(server.log().matches("is free to fetch keys").count(), 1);
    let token = switch(&place.token(&place.key));
    let mut s = f.admin();
    s.run("BEGIN");
    s.refused_with(&token, "28000", "keys_expired");
    assert_eq!(place.provider.connections(), 0);
}
