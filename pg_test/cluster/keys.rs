//! Keys by URL: what the worker fetches, from whom, how often, and what it takes of it.

mod certified;
mod hostile;
mod proxy;
mod refused;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;
use crate::jwt::{Gate, switch};

/// Lists 127.0.0.1, and nothing else.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Server::start(
        Options::default()
            .set("scope_roles.jwks_hosts", "127.0.0.1")
            .set("scope_roles.jwks_wait", "20s")
            .set("max_worker_processes", "20"),
    )
});

static AUTHORITY: LazyLock<Option<Authority>> = LazyLock::new(Authority::new);

/// A database, a provider, and an issuer `idp` whose keys come from it.
pub struct Place {
    pub g: Gate<'static>,
    pub provider: Provider,
    pub key: Key,
}

impl Place {
    /// `None`: this machine can make no certificates.
    pub fn new(name: &str) -> Option<Place> {
        let authority = AUTHORITY.as_ref()?;
        let place = Place {
            g: Gate::with(Fixture::on(&SERVER, name)),
            provider: Provider::start(authority),
            key: Key::ed25519("first"),
        };
        place.publish(&[&place.key]);
        Some(place)
    }

    /// With the issuer registered, and its keys fetched.
    pub fn registered(name: &str) -> Option<Place> {
        let place = Place::new(name)?;
        place.register(&format!("keys_url => '{}'", place.provider.url("/keys")));
        wait_until("the keys are fetched", 30, || {
            place
                .admin()
                .holds("(SELECT fetched_at IS NOT NULL FROM scope.jwt_issuers)")
        });
        place.provider.requests();
        Some(place)
    }

    pub fn admin(&self) -> Session {
        self.g.f.admin()
    }

    pub fn iss(&self) -> String {
        self.provider.url("")
    }

    pub fn publish(&self, keys: &[&Key]) {
        self.provider.reply("/keys", Reply::json(jwks(keys)));
    }

    pub fn register(&self, source: &str) {
        self.admin().run(&self.registration(source));
    }

    pub fn registration(&self, source: &str) -> String {
        format!(
            "SELECT scope.add_jwt_issuer('idp', '{}', {source}, ca_file => '{}')",
            self.iss(),
            ca_file()
        )
    }

    pub fn token(&self, key: &Key) -> String {
        let claims = self.g.claims(json!({"iss": self.iss()}));
        key.token("EdDSA", &claims)
    }

    /// `outcome` and `last_error` of a fetch now.
    pub fn refresh(&self) -> (String, String) {
        let row = self
            .admin()
            .rows("SELECT outcome, coalesce(last_error, '') FROM scope.refresh_jwt_keys('idp')")
            .remove(0);
        (
            row[0].clone().unwrap_or_default(),
            row[1].clone().unwrap_or_default(),
        )
    }

    /// As if the last attempt had been long ago, and others may come.
    pub fn let_time_pass(&self) {
        self.admin().run(
            "UPDATE _scope.jwt_issuer_fetch SET attempted_at = attempted_at - interval '1 hour', next_fetch = next_fetch - interval '1 minute'",
        );
    }

    #[track_caller]
    pub fn takes(&self, key: &Key) {
        let mut s = self.g.login();
        s.run("BEGIN");
        assert_eq!(s.text(&switch(&self.token(key))), self.g.reader);
        s.run("ROLLBACK");
    }

    #[track_caller]
    pub fn refuses(&self, key: &Key, reason: &str) {
        let mut s = self.g.login();
        s.run("BEGIN");
        let refusal = s.refused(&switch(&self.token(key)), "28000");
        assert!(refusal.to_string().contains(reason), "{refusal}");
    }
}

pub fn ca_file() -> String {
    let authority = AUTHORITY.as_ref().expect("an authority");
    authority.certificate().display().to_string()
}

fn view(admin: &mut Session, what: &str) -> String {
    admin.text(&format!(
        "SELECT {what} FROM scope.jwt_issuers WHERE name = 'idp'"
    ))
}

#[test]
fn keys_are_fetched_once_the_issuer_is_registered() {
    let Some(place) = Place::new("keys_registered") else {
        return;
    };
    place.provider.reply(
        "/keys",
        Reply::Answer(
            200,
            "Cache-Control: public, max-age=3600\r\n".into(),
            jwks(&[&place.key]),
        ),
    );
    place.register(&format!("keys_url => '{}'", place.provider.url("/keys")));
    // At once: the call waits for the worker.
    place.takes(&place.key);
    let mut admin = place.admin();
    assert_eq!(
        view(
            &mut admin,
            "concat_ws(' ', key_count, kids, last_error, failing_since)"
        ),
        "1 {first}"
    );
    admin.assert_that(
        "SELECT fresh_until = fetched_at + interval '1 hour' AND stale_until = fresh_until + interval '1 day'
            AND next_fetch BETWEEN fetched_at + interval '45 minutes' AND fetched_at + interval '54 minutes'
            AND keys_changed_at = fetched_at FROM scope.jwt_issuers",
    );
    let requests = place.provider.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(
        requests[0].starts_with("GET /keys HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(
        !requests[0].to_ascii_lowercase().contains("authorization"),
        "{requests:?}"
    );
    admin.assert_that("SELECT details->>'came' = '[\"first\"]' AND details->>'went' = '[]' FROM scope.audit_log WHERE event = 'keys_changed' AND object = 'idp'");
}

/// Also when nobody uses them, and when the server has just been started.
#[test]
fn keys_are_fetched_again_ahead_of_their_end() {
    let Some(place) = Place::registered("keys_again") else {
        return;
    };
    let second = Key::ed25519("second");
    place.publish(&[&place.key, &second]);
    place
        .admin()
        .run("UPDATE _scope.jwt_issuer_fetch SET next_fetch = now() + interval '1 second'");
    // The launcher learns of it as of any change to an issuer.
    place
        .admin()
        .run(r#"SELECT scope.alter_jwt_issuer('idp', '{"leeway": 7}')"#);
    wait_until("the new key has come", 30, || {
        place
            .admin()
            .holds("(SELECT kids = '{first,second}' FROM scope.jwt_issuers)")
    });
    place.takes(&second);
}

#[test]
fn an_unknown_kid_has_the_keys_fetched_and_waits_for_them() {
    let Some(place) = Place::registered("keys_rotated") else {
        return;
    };
    let second = Key::ed25519("second");
    place.takes(&place.key);
    // A session that has the first token in its cache.
    let mut open = place.g.login();
    let first = switch(&place.token(&place.key));
    open.run(&format!("BEGIN; {first}; ROLLBACK"));
    place.publish(&[&second]);
    place.let_time_pass();
    place.takes(&second);
    // Rotation is in force in every session.
    open.run("BEGIN");
    let refusal = open.refused(&first, "28000");
    assert!(refusal.to_string().contains("unknown_key"), "{refusal}");
    let mut admin = place.admin();
    admin.assert_that("SELECT details->>'came' = '[\"second\"]' AND details->>'went' = '[\"first\"]' FROM scope.audit_log WHERE event = 'keys_changed' ORDER BY at DESC LIMIT 1");
}

/// Tokens are anybody's to make up.
#[test]
fn attack_unknown_kids_cannot_have_keys_fetched_again_and_again() {
    let Some(place) = Place::registered("keys_flooded") else {
        return;
    };
    let other = Key::ed25519("made-up");
    let started = Instant::now();
    for _ in 0..20 {
        place.refuses(&other, "unknown_key");
    }
    // Nobody waits for what will not come.
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(place.provider.requests().len(), 0);
    place.let_time_pass();
    for _ in 0..20 {
        place.refuses(&other, "unknown_key");
    }
    assert_eq!(place.provider.requests().len(), 1);
}

#[test]
fn an_unchanged_answer_costs_no_session_anything() {
    let Some(place) = Place::new("keys_etag") else {
        return;
    };
    let header = "ETag: \"v1\"\r\n".to_owned();
    place
        .provider
        .reply("/keys", Reply::Answer(200, header, jwks(&[&place.key])));
    place.register(&format!("keys_url => '{}'", place.provider.url("/keys")));
    place.takes(&place.key);
    assert!(!place.provider.requests()[0].contains("If-None-Match"));
    let mut admin = place.admin();
    let before = view(
        &mut admin,
        "concat_ws(' ', keys_changed_at, changed_at, kids)",
    );
    let fetched = view(&mut admin, "fetched_at");
    place.provider.reply(
        "/keys",
        Reply::Answer(304, "Cache-Control: max-age=7200\r\n".into(), String::new()),
    );
    assert_eq!(place.refresh(), ("fetched".into(), String::new()));
    let request = place.provider.requests().remove(0).to_ascii_lowercase();
    assert!(request.contains("if-none-match: \"v1\"\r\n"), "{request}");
    assert_eq!(
        view(
            &mut admin,
            "concat_ws(' ', keys_changed_at, changed_at, kids)"
        ),
        before
    );
    assert_ne!(view(&mut admin, "fetched_at"), fetched);
    admin
        .assert_that("SELECT fresh_until = fetched_at + interval '2 hours' FROM scope.jwt_issuers");
    place.takes(&place.key);
}

#[test]
fn an_issuer_says_where_its_keys_are() {
    let Some(place) = Place::new("keys_discover") else {
        return;
    };
    let describe = |issuer: &str, uri: &str| {
        let description =
            json!({"issuer": issuer, "jwks_uri": uri, "response_types_supported": ["code"]});
        place.provider.reply(
            "/.well-known/openid-configuration",
            Reply::json(description),
        );
    };
    let keys = place.provider.url("/keys");
    describe(&place.iss(), &keys);
    place.register("discover => true");
    place.takes(&place.key);
    let paths: Vec<String> = place
        .provider
        .requests()
        .iter()
        .filter_map(|request| request.split(' ').nth(1).map(str::to_owned))
        .collect();
    assert_eq!(paths, ["/.well-known/openid-configuration", "/keys"]);
    // To the byte.
    describe(&format!("{}/", place.iss()), &keys);
    assert_eq!(
        place.refresh().1,
        "the issuer's description is of another issuer"
    );
    describe(&place.iss(), "https://evil.example.org/keys");
    assert_eq!(
        place.refresh().1,
        "the URL in the issuer's description cannot be used: its host is neither the issuer's nor in scope_roles.jwks_hosts"
    );
    describe(&place.iss(), "file:///etc/passwd");
    assert_eq!(
        place.refresh().1,
        "the URL in the issuer's description cannot be used: it is not a URL that begins with https://"
    );
    describe(&place.iss(), &keys.replace("https", "http"));
    assert_eq!(
        place.refresh().1,
        "the URL in the issuer's description cannot be used: its scheme is http"
    );
    for (description, problem) in [
        (
            json!({"issuer": place.iss()}),
            "the issuer's description names no jwks_uri",
        ),
        (json!([]), "the issuer's description is not a JSON object"),
    ] {
        place.provider.reply(
            "/.well-known/openid-configuration",
            Reply::json(description),
        );
        assert_eq!(place.refresh(), ("failed".into(), problem.into()));
    }
    // What was fetched stays.
    place.takes(&place.key);
}

#[test]
fn keys_that_have_not_been_fetched_for_too_long_verify_nothing() {
    let Some(place) = Place::registered("keys_stale") else {
        return;
    };
    let mut s = place.g.login();
    let token = switch(&place.token(&place.key));
    s.run(&format!("BEGIN; {token}; ROLLBACK"));
    place
        .provider
        .reply("/keys", Reply::Answer(503, String::new(), String::new()));
    assert_eq!(
        place.refresh(),
        ("failed".into(), "the answer has status 503".into())
    );
    // Down, but for less than a day.
    place
        .admin()
        .run("UPDATE _scope.jwt_issuer_fetch SET fresh_until = now() - interval '1 hour'");
    s.run(&format!("BEGIN; {token}; ROLLBACK"));
    place.admin().run(
        "UPDATE _scope.jwt_issuer_fetch SET stale_until = now() - interval '1 second';
         UPDATE _scope.jwt_issuer SET changed_at = now()",
    );
    // In the session that has verified it, and in others.
    s.run("BEGIN");
    let refusal = s.refused(&token, "28000");
    assert!(refusal.to_string().contains("keys_expired"), "{refusal}");
    place.refuses(&place.key, "keys_expired");
    // Back again.
    place.publish(&[&place.key]);
    assert_eq!(place.refresh().0, "fetched");
    s.run("ROLLBACK");
    s.run(&format!("BEGIN; {token}; ROLLBACK"));
    place.takes(&place.key);
}

#[test]
fn a_token_of_a_file_goes_with_the_request_and_into_no_log() {
    let Some(place) = Place::new("keys_bearer") else {
        return;
    };
    let file = std::path::PathBuf::from(ca_file()).with_file_name("bearer");
    std::fs::write(&file, "service-account-token-1\n").expect("the token");
    give_away(&file);
    place.register(&format!(
        "keys_url => '{}', bearer_token_file => '{}'",
        place.provider.url("/keys"),
        file.display()
    ));
    place.takes(&place.key);
    let request = place.provider.requests().remove(0).to_ascii_lowercase();
    assert!(
        request.contains("authorization: bearer service-account-token-1\r\n"),
        "{request}"
    );
    // It is renewed in place.
    std::fs::write(&file, "service-account-token-2").expect("the token");
    assert_eq!(place.refresh().0, "fetched");
    let request = place.provider.requests().remove(0).to_ascii_lowercase();
    assert!(
        request.contains("bearer service-account-token-2\r\n"),
        "{request}"
    );
    assert!(!SERVER.log().contains("service-account-token"));
    for (content, problem) in [
        (Some("two words"), "the bearer token's file holds no token"),
        (Some(""), "the bearer token's file holds no token"),
        (None, "the bearer token's file does not exist"),
    ] {
        match content {
            Some(content) => std::fs::write(&file, content).expect("the token"),
            None => std::fs::remove_file(&file).expect("the token"),
        }
        assert_eq!(place.refresh(), ("failed".into(), problem.into()));
    }
    assert_eq!(place.provider.requests().len(), 0);
}

/// Whoever may register issuers could otherwise have any file of the server read and sent to themselves.
#[test]
fn attack_files_of_the_server_are_named_by_those_who_may_read_them() {
    let Some(place) = Place::new("keys_files") else {
        return;
    };
    let clerk = place.g.f.role("clerk", "LOGIN");
    let mut admin = place.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {clerk}"
    ));
    let mut s = place.g.f.login(&clerk);
    let url = place.provider.url("/keys");
    for file in ["ca_file", "bearer_token_file"] {
        s.refused(
            &format!("SELECT scope.add_jwt_issuer('idp', '{}', keys_url => '{url}', {file} => '/etc/passwd')", place.iss()),
            "42501",
        );
    }
    s.run(&format!(
        "SELECT scope.add_jwt_issuer('idp', '{}', keys_url => '{url}')",
        place.iss()
    ));
    s.refused(
        r#"SELECT scope.alter_jwt_issuer('idp', '{"bearer_token_file": "/etc/passwd"}')"#,
        "42501",
    );
    let spec = json!({"version": 1, "issuers": [{"name": "idp", "issuer": place.iss(), "keys_url": url, "ca_file": "/etc/passwd"}]});
    let spec = literal(&spec.to_string());
    s.refused(&format!("SELECT * FROM scope.apply({spec})"), "42501");
    // Nor may they send what a superuser has named to somewhere else.
    admin.run(&format!(
        "SELECT scope.alter_jwt_issuer('idp', '{}')",
        json!({"bearer_token_file": "/nowhere/token"})
    ));
    s.refused(
        &format!(
            "SELECT scope.alter_jwt_issuer('idp', '{}')",
            json!({"keys_url": place.provider.url("/mine")})
        ),
        "42501",
    );
    s.refused(
        &format!(
            "SELECT scope.alter_jwt_issuer('idp', '{}')",
            json!({"issuer": "https://evil.example.org", "keys_url": "https://evil.example.org/"})
        ),
        "42501",
    );
    s.run(r#"SELECT scope.alter_jwt_issuer('idp', '{"leeway": 5}')"#);
    admin.run(&format!("GRANT pg_read_server_files TO {clerk}"));
    s.run(r#"SELECT scope.alter_jwt_issuer('idp', '{"bearer_token_file": "/nowhere/else"}')"#);
}

#[test]
fn another_source_has_other_keys() {
    let Some(place) = Place::registered("keys_moved") else {
        return;
    };
    let second = Key::ed25519("second");
    place
        .provider
        .reply("/other", Reply::json(jwks(&[&second])));
    let alter = |changes: Value| {
        let changes = literal(&changes.to_string());
        place
            .admin()
            .run(&format!("SELECT scope.alter_jwt_issuer('idp', {changes})"));
    };
    alter(json!({"keys_url": place.provider.url("/other")}));
    place.takes(&second);
    place.refuses(&place.key, "unknown_key");
    // Pasted from now on: those that were fetched are gone.
    place.admin().refused(
        &format!(
            "SELECT scope.set_jwt_keys('idp', {})",
            literal(&jwks(&[&place.key]))
        ),
        "55000",
    );
    alter(json!({"keys_url": null, "ca_file": null}));
    place.admin().assert_that(
        "SELECT key_count = 0 AND fetched_at IS NULL AND NOT discover FROM scope.jwt_issuers",
    );
    place.refuses(&second, "28000");
    place.admin().run(&format!(
        "SELECT scope.set_jwt_keys('idp', {})",
        literal(&jwks(&[&place.key]))
    ));
    place.takes(&place.key);
    place
        .admin()
        .refused("SELECT * FROM scope.refresh_jwt_keys('idp')", "55000");
}

#[test]
fn a_spec_declares_where_keys_come_from() {
    let Some(place) = Place::new("keys_spec") else {
        return;
    };
    let issuer = json!({
        "name": "idp", "issuer": place.iss(), "keys_url": place.provider.url("/keys"), "ca_file": ca_file(), "keys_stale_for": 600
    });
    let spec = |issuer: &Value| literal(&json!({"version": 1, "issuers": [issuer]}).to_string());
    let mut admin = place.admin();
    let plan = admin.text(&format!(
        "SELECT statement FROM scope.plan({})",
        spec(&issuer)
    ));
    assert!(
        plan.contains("keys_url => ") && !plan.contains("keys => "),
        "{plan}"
    );
    admin.run(&format!("SELECT * FROM scope.apply({})", spec(&issuer)));
    place.takes(&place.key);
    admin.assert_that(
        "SELECT stale_until = fresh_until + interval '10 minutes' FROM scope.jwt_issuers",
    );
    let exported: Value =
        serde_json::from_str(&admin.text("SELECT scope.export_spec()")).expect("a spec");
    assert_eq!(exported["issuers"], json!([issuer]));
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.plan({}))",
        spec(&issuer)
    ));
    // A change is a statement that does it.
    let mut changed = issuer.clone();
    changed["keys_url"] = Value::Null;
    changed
        .as_object_mut()
        .expect("an object")
        .remove("keys_url");
    changed["discover"] = json!(true);
    let statement = admin.text(&format!(
        "SELECT statement FROM scope.plan({})",
        spec(&changed)
    ));
    admin.run(&statement);
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.plan({}))",
        spec(&changed)
    ));
}

/// What a DBA should see to, with what helps.
#[test]
fn a_review_finds_issuers_that_need_somebody() {
    let Some(place) = Place::registered("keys_review") else {
        return;
    };
    let mut admin = place.admin();
    let found = |admin: &mut Session| {
        admin.column("SELECT severity || ' ' || code || ' ' || object_name FROM scope.review() WHERE code LIKE 'issuer%' AND code <> 'issuer_for_anybody' ORDER BY code")
    };
    assert!(found(&mut admin).is_empty());
    admin.run(
        "UPDATE _scope.jwt_issuer_fetch SET fresh_until = now() - interval '1 hour', weak_keys = 1, keys_changed_at = now() - interval '2 years',
                failing_since = now() - interval '25 hours', last_error = 'the answer has status 503'",
    );
    assert_eq!(
        found(&mut admin),
        [
            "critical issuer_broken_key issuer idp",
            "high issuer_keys_stale issuer idp",
            "low issuer_no_rotation issuer idp",
            "medium issuer_unreachable issuer idp"
        ]
    );
    // Some of it helps, the rest is a comment.
    let fixes =
        admin.column("SELECT fix FROM scope.review() WHERE code LIKE 'issuer%' AND code <> 'issuer_for_anybody' ORDER BY code");
    admin.run(&fixes[1]);
    assert_eq!(found(&mut admin), ["low issuer_no_rotation issuer idp"]);
    place.publish(&[&Key::ed25519("second")]);
    admin.run(&fixes[1]);
    assert!(found(&mut admin).is_empty());
    // Keys that are pasted, too.
    admin.run(&format!("SELECT scope.add_jwt_issuer('old', 'https://old.example.org', '{SECRET}'); UPDATE _scope.jwt_issuer SET changed_at = now() - interval '2 years' WHERE name = 'old'"));
    assert_eq!(found(&mut admin), ["low issuer_no_rotation issuer old"]);
}
