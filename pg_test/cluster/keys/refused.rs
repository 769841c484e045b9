//! What cannot be said of an issuer.

use serde_json::json;

use super::{Place, SERVER};
use crate::harness::*;

#[test]
fn sources_of_keys_that_cannot_be_used_are_refused() {
    let f = Fixture::on(&SERVER, "keys_refused");
    let mut admin = f.admin();
    let add = |arguments: &str| {
        format!("SELECT scope.add_jwt_issuer('idp', 'https://id.example.org', {arguments})")
    };
    admin.refused(&add("NULL"), "22004");
    let long = format!("https://id.example.org/{}", "x".repeat(3_000));
    for (arguments, words) in [
        ("keys_url => ''", "begins with https://"),
        ("keys_url => 'id.example.org/keys'", "begins with https://"),
        ("keys_url => 'file:///etc/passwd'", "begins with https://"),
        (
            "keys_url => 'https://user:word@id.example.org/'",
            "begins with https://",
        ),
        (
            "keys_url => 'https://id.example.org/#x'",
            "begins with https://",
        ),
        (
            "keys_url => E'https://id.example.org/\\nx'",
            "begins with https://",
        ),
        (&format!("keys_url => '{long}'"), "begins with https://"),
        ("keys_url => 'http://id.example.org/keys'", "scheme is http"),
        ("keys_url => 'http://127.0.0.1/keys'", "scheme is http"),
        (
            "keys_url => 'https://other.example.org/keys'",
            "scope_roles.jwks_hosts",
        ),
        (
            "keys_url => 'https://id.example.org/', discover => true",
            "one source",
        ),
        (
            &format!("keys => '{SECRET}', discover => true"),
            "one source",
        ),
        (
            &format!("keys => '{SECRET}', keys_stale_for => '1 hour'"),
            "for keys that are fetched",
        ),
        (
            &format!("keys => '{SECRET}', ca_file => '/ca'"),
            "for keys that are fetched",
        ),
        ("discover => true, ca_file => 'ca.crt'", "no absolute path"),
        (
            "discover => true, bearer_token_file => ''",
            "no absolute path",
        ),
        (
            "discover => true, keys_stale_for => '-1 second'",
            "must not be negative",
        ),
        (
            "discover => true, keys_stale_for => '1000 years'",
            "100 years",
        ),
    ] {
        let said = admin.refused(&add(arguments), "22023").to_string();
        assert!(said.contains(words), "{arguments}: {said}");
    }
    for issuer in ["id.example.org", "https://id.example.org/?a=b"] {
        admin.refused(
            &format!("SELECT scope.add_jwt_issuer('idp', '{issuer}', discover => true)"),
            "22023",
        );
    }
    admin.assert_that("NOT EXISTS (SELECT FROM scope.jwt_issuers)");
}

#[test]
fn changes_that_cannot_be_made_are_refused() {
    let f = Fixture::on(&SERVER, "keys_alter");
    let mut admin = f.admin();
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('one', 'https://one.example.org', '{SECRET}', algorithms => '{{HS256}}', max_age => '1 hour');
         SELECT scope.add_jwt_issuer('two', 'https://two.example.org', '{SECRET}')"
    ));
    for (changes, code) in [
        (json!(7), "22023"),
        (json!([]), "22023"),
        (json!({"colour": "red"}), "22023"),
        (json!({"colour": null}), "22023"),
        (json!({"name": "three"}), "22023"),
        (json!({"keys": SECRET}), "22023"),
        (json!({"issuer": ""}), "22023"),
        (json!({"issuer": null}), "22004"),
        (json!({"issuer": 7}), "22023"),
        (json!({"issuer": "https://two.example.org"}), "42710"),
        (json!({"algorithms": ["none"]}), "22023"),
        (json!({"algorithms": "HS256"}), "22023"),
        (json!({"audiences": [null]}), "22023"),
        (json!({"role_claim": "$[?"}), "22023"),
        (json!({"leeway": -1}), "22023"),
        (json!({"leeway": "5"}), "22023"),
        (json!({"max_age": 5_000_000_000_u64}), "22023"),
        (json!({"require_exp": "no"}), "22023"),
        (json!({"keys_url": "http://one.example.org/"}), "22023"),
        (
            json!({"discover": true, "keys_url": "https://one.example.org/"}),
            "22023",
        ),
        (json!({"keys_stale_for": 5}), "22023"),
    ] {
        let changes = literal(&changes.to_string());
        admin.refused(
            &format!("SELECT scope.alter_jwt_issuer('one', {changes})"),
            code,
        );
    }
    for (sql, code) in [
        ("SELECT scope.alter_jwt_issuer('three', '{}')", "42704"),
        ("SELECT scope.alter_jwt_issuer(NULL, '{}')", "22004"),
        ("SELECT scope.alter_jwt_issuer('one', NULL)", "22004"),
        ("SELECT * FROM scope.refresh_jwt_keys('three')", "42704"),
        ("SELECT * FROM scope.refresh_jwt_keys(NULL)", "22004"),
        ("SELECT * FROM scope.refresh_jwt_keys('one')", "55000"),
    ] {
        admin.refused(sql, code);
    }
    admin.run("BEGIN READ ONLY");
    admin.refused(
        "SELECT scope.alter_jwt_issuer('one', '{\"leeway\": 1}')",
        "25006",
    );
    admin.run("ROLLBACK; BEGIN READ ONLY");
    admin.refused("SELECT * FROM scope.refresh_jwt_keys('one')", "25006");
    admin.run("ROLLBACK");
    // Everything else is as it was, keys too.
    admin.run(r#"SELECT scope.alter_jwt_issuer('one', '{"max_age": null, "audiences": ["a"], "leeway": 3}')"#);
    admin.assert_that("SELECT max_age IS NULL AND audiences = '{a}' AND leeway = '3 s' AND algorithms = '{HS256}' AND key_count = 1 FROM scope.jwt_issuers WHERE name = 'one'");
    admin.assert_that("EXISTS (SELECT FROM _scope.jwt_issuer_secret WHERE name = 'one')");
    admin.assert_that("SELECT details::jsonb->'changed' = '[\"audiences\", \"leeway\", \"max_age\"]' FROM scope.audit_log WHERE function = 'alter_jwt_issuer' ORDER BY at DESC LIMIT 1");
}

/// As a DBA who sets them meets them: no session can.
#[test]
fn settings_of_fetches_that_cannot_be_are_refused() {
    let mut admin = SERVER.admin("postgres");
    for (name, value) in [
        ("jwks_hosts", "https://id.example.org"),
        ("jwks_hosts", "id.example.org:443"),
        ("jwks_hosts", "id.example.org,,b"),
        ("jwks_hosts", "*"),
        ("jwks_hosts", "10.0.0.0/8"),
        ("jwks_proxy", "proxy.example.org"),
        ("jwks_proxy", "socks5://proxy.example.org"),
        ("jwks_proxy", "http://user:word@proxy.example.org"),
        ("jwks_proxy", "http://proxy.example.org/path"),
        ("jwks_min_age", "1"),
        ("jwks_wait", "-1"),
        ("jwks_wait", "1h"),
        ("jwks_max_age", "1"),
        ("jwks_loopback_http", "7"),
    ] {
        admin.denied(
            &format!("ALTER SYSTEM SET scope_roles.{name} = '{value}'"),
            "22023",
        );
        admin.denied(&format!("SET scope_roles.{name} = '{value}'"), "55P02");
    }
}

#[test]
fn attack_http_is_for_tests_on_this_machine_alone() {
    let Some(place) = Place::new("keys_http") else {
        return;
    };
    let server = Server::start(
        Options::default()
            .set("scope_roles.jwks_hosts", "127.0.0.1, localhost")
            .set("scope_roles.jwks_loopback_http", "on"),
    );
    let f = Fixture::on(&server, "keys_http");
    let provider = Provider::with(None);
    provider.reply("/keys", Reply::json(jwks(&[&place.key])));
    let mut admin = f.admin();
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('idp', 'https://id.example.org', keys_url => 'http://127.0.0.1:{}/keys')",
        provider.port
    ));
    let refresh = "SELECT concat_ws(' ', outcome, last_error) FROM scope.refresh_jwt_keys('idp')";
    assert_eq!(admin.text(refresh), "fetched");
    admin.refused("SELECT scope.add_jwt_issuer('b', 'https://id2.example.org', keys_url => 'http://id2.example.org/keys')", "22023");
    // What is allowed here is asked again at each fetch.
    provider.requests();
    server.alter_system("scope_roles.jwks_loopback_http", "off");
    assert_eq!(
        admin.text(refresh),
        "failed the keys' URL cannot be used: its scheme is http"
    );
    assert_eq!(provider.requests().len(), 0);
}
