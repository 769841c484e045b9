//! The settings of the switch: who sees them, who changes them, and that a change holds at once.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::{Gate, assert_itself, switch};
use crate::harness::*;

const SETTINGS: [&str; 13] = [
    "jwt_secret",
    "jwt_secret_is_base64",
    "jwt_audience",
    "jwt_issuer",
    "jwt_role_claim",
    "jwt_leeway",
    "jwt_require_exp",
    "jwt_max_age",
    "default_ttl",
    "max_ttl",
    "connection_host",
    "connection_port",
    "expiry",
];

#[test]
fn defaults_are_as_documented() {
    let f = Fixture::new("jwt_defaults");
    let mut admin = f.admin();
    for (name, value) in [
        ("jwt_secret_is_base64", "off"),
        ("jwt_audience", ""),
        ("jwt_issuer", ""),
        ("jwt_role_claim", "role"),
        ("jwt_leeway", "30s"),
        ("jwt_require_exp", "on"),
        ("jwt_max_age", "0"),
        ("default_ttl", "90d"),
        ("max_ttl", "365d"),
        ("connection_port", "0"),
        ("expiry", "on"),
    ] {
        assert_eq!(
            admin.text(&format!("SHOW scope_roles.{name}")),
            value,
            "{name}"
        );
    }
    for name in SETTINGS.iter().skip(1) {
        let row = format!(
            "SELECT context || ' ' || (short_desc <> '')::text FROM pg_settings WHERE name = 'scope_roles.{name}'"
        );
        assert_eq!(admin.text(&row), "sighup true", "{name}");
    }
}

#[test]
fn the_secret_is_for_superusers_eyes() {
    let g = Gate::new("jwt_secret_seen");
    let mut s = g.login();
    s.denied("SHOW scope_roles.jwt_secret", "42501");
    s.denied("SELECT current_setting('scope_roles.jwt_secret')", "42501");
    s.denied(
        "SELECT current_setting('scope_roles.jwt_secret', true)",
        "42501",
    );
    let all = s.rows("SHOW ALL");
    assert!(!format!("{all:?}").contains(SECRET));
    for source in [
        "pg_settings",
        "pg_file_settings",
        "pg_stat_activity",
        "pg_db_role_setting",
    ] {
        if let Ok(rows) = s.attempt(&format!("SELECT t::text FROM {source} t")) {
            assert!(!format!("{rows:?}").contains(SECRET), "{source}");
        }
    }
    // Not even a superuser meets it by chance on a shared screen.
    let mut admin = g.f.admin();
    assert!(!format!("{:?}", admin.rows("SHOW ALL")).contains(SECRET));
    assert!(!format!("{:?}", admin.rows("SELECT * FROM pg_settings")).contains(SECRET));
    // While switched neither.
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    s.denied("SELECT current_setting('scope_roles.jwt_secret')", "42501");
    s.run("ROLLBACK");
}

#[test]
fn no_session_can_change_what_the_extension_trusts() {
    let g = Gate::new("jwt_set");
    let mut names: Vec<String> = SETTINGS
        .iter()
        .map(|name| format!("scope_roles.{name}"))
        .collect();
    names.extend(
        g.f.admin()
            .column("SELECT name FROM pg_settings WHERE name LIKE 'scope\\_roles.%'"),
    );
    names.sort();
    names.dedup();
    let mut s = g.login();
    let refusing = ["55P02", "42501"];
    for name in &names {
        for attempt in [
            format!("SET {name} = '1'"),
            format!("SET LOCAL {name} = '1'"),
            format!("SET {name} TO DEFAULT"),
            format!("RESET {name}"),
            format!("SELECT set_config('{name}', '1', false)"),
            format!("SELECT set_config('{}', '1', true)", name.to_uppercase()),
            format!("SELECT set_config('{name}', NULL, true)"),
            format!("ALTER ROLE {} SET {name} = '1'", g.auth),
            format!("ALTER SYSTEM SET {name} = '1'"),
            format!(
                "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET {name} = '1' AS 'SELECT 1'; SELECT pg_temp.f()"
            ),
        ] {
            let refusal = s.fails(&attempt);
            assert!(
                refusing.contains(&refusal.code.as_str()),
                "{attempt}: {refusal}"
            );
        }
        let refusal =
            g.f.server
                .try_login_with_options(&g.auth, &g.f.name, &format!("-c {name}=1"));
        let refusal = refusal
            .err()
            .unwrap_or_else(|| panic!("a session started with {name}=1"));
        assert!(
            refusing.contains(&refusal.code.as_str()),
            "{name}: {refusal}"
        );
    }
    // The prefix is taken: a misspelt setting is an error, not a silent placeholder.
    s.denied("SET scope_roles.jwt_secrt = 'x'", "42602");
    s.run(&format!("BEGIN; {}; COMMIT", switch(&g.token(json!({})))));
}

#[test]
fn claims_that_a_session_makes_up_do_not_outlive_a_switch() {
    let g = Gate::new("jwt_made_up");
    let mut s = g.login();
    // Before a switch nothing is promised about this setting, so whether it can be set is PostgreSQL's affair.
    let _ = s.attempt("SET request.jwt.claims = '{\"sub\":\"eve\"}'");
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_eq!(
        s.text("SELECT current_setting('request.jwt.claims')::json->>'sub'"),
        "ann"
    );
    s.run("COMMIT");
    assert!(
        !s.text("SELECT coalesce(current_setting('request.jwt.claims', true), '')")
            .contains("ann")
    );
}

#[test]
fn no_secret_means_no_switch() {
    let server = Server::start(Options::default().set("scope_roles.jwt_secret", ""));
    let g = Gate::with(Fixture::on(&server, "jwt_no_secret"));
    let mut s = g.login();
    let empty_key = sign_with_nothing(&g.claims(json!({})));
    for token in [&empty_key, &g.token(json!({}))] {
        s.refused(&switch(token), "55000");
        assert_itself(&mut s, &g.auth);
    }
    // A secret under 32 bytes is none, also one that the server was started with.
    let short = "s".repeat(31);
    let lax = Server::start(Options::default().set("scope_roles.jwt_secret", &short));
    let other = Gate::with(Fixture::on(&lax, "jwt_short_secret"));
    let refusal = other.login().refused(
        &switch(&sign_with(
            &other.claims(json!({})),
            &short,
            Algorithm::HS256,
        )),
        "55000",
    );
    assert!(!refusal.rest.contains(&short), "{refusal}");
    assert!(
        lax.log()
            .contains("WARNING:  scope_roles.jwt_secret is not usable as a key"),
        "{}",
        lax.log()
    );
    assert!(!lax.log().contains(&short), "the secret is in the log");
    let enough = "s".repeat(32);
    server.alter_system("scope_roles.jwt_secret", &enough);
    let mut s = g.login();
    s.run("BEGIN");
    wait_until("the long secret is read", 10, || {
        s.run("ROLLBACK; BEGIN");
        s.attempt(&switch(&sign_with(
            &g.claims(json!({})),
            &enough,
            Algorithm::HS256,
        )))
        .is_ok()
    });
    assert_eq!(s.text("SELECT current_user"), g.reader);
}

#[test]
fn a_new_secret_holds_at_once_in_an_open_session() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_rotate"));
    let mut s = g.login();
    let claims = g.claims(json!({}));
    let next = "the next secret of these tests, also long enough";
    let (old, new) = (sign(&claims), sign_with(&claims, next, Algorithm::HS256));
    s.run(&format!("BEGIN; {}; COMMIT", switch(&old)));
    s.refused_with(&switch(&new), "28000", "bad_signature");
    server.alter_system("scope_roles.jwt_secret", next);
    wait_until("the new secret holds", 10, || {
        s.attempt(&switch(&new)).is_ok()
    });
    // The old token was verified before: a result that was kept must not survive its key.
    s.refused_with(&switch(&old), "28000", "bad_signature");
    assert!(!server.log().contains(next), "the secret is in the log");
}

#[test]
fn a_base64_secret_is_decoded() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.jwt_secret_is_base64", "on")
            .set(
                "scope_roles.jwt_secret",
                "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            ),
    );
    let g = Gate::with(Fixture::on(&server, "jwt_base64"));
    let mut s = g.login();
    s.run("BEGIN");
    let token = sign_with(
        &g.claims(json!({})),
        "0123456789abcdef0123456789abcdef",
        Algorithm::HS256,
    );
    assert_eq!(s.text(&switch(&token)), g.reader);
    s.run("ROLLBACK");
    // 32 characters of base64 are only 24 bytes.
    for bad in [
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
        "this is no base64, but it is long enough to be a secret!",
    ] {
        server.alter_system("scope_roles.jwt_secret", bad);
        let refusal = g.login().refused(&switch(&token), "55000");
        assert!(!refusal.rest.contains(bad), "{refusal}");
    }
}

#[test]
fn audience_issuer_and_age_are_checked() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.jwt_audience", "orders-api")
            .set("scope_roles.jwt_issuer", "https://id.example.org/")
            .set("scope_roles.jwt_max_age", "300s"),
    );
    let g = Gate::with(Fixture::on(&server, "jwt_policy_settings"));
    let mut s = g.login();
    let token = |change: serde_json::Value| {
        let mut claims =
            g.claims(json!({"aud": "orders-api", "iss": "https://id.example.org/", "iat": now()}));
        for (name, value) in change.as_object().expect("an object") {
            match value {
                serde_json::Value::Null => claims.as_object_mut().expect("an object").remove(name),
                value => claims
                    .as_object_mut()
                    .expect("an object")
                    .insert(name.clone(), value.clone()),
            };
        }
        sign(&claims)
    };
    for right in [
        json!({}),
        json!({"aud": ["other", "orders-api"]}),
        json!({"iat": now() - 290}),
    ] {
        s.run("BEGIN");
        assert_eq!(s.text(&switch(&token(right))), g.reader);
        s.run("ROLLBACK");
    }
    for (wrong, reason) in [
        (json!({"aud": "billing-api"}), "audience"),
        (json!({"aud": "orders-api "}), "audience"),
        (json!({"aud": "ORDERS-API"}), "audience"),
        (json!({"aud": []}), "audience"),
        (json!({"aud": ["a", "b"]}), "audience"),
        (json!({"aud": null}), "audience"),
        (json!({"iss": "https://id.example.org"}), "issuer"),
        (json!({"iss": null}), "issuer"),
        (json!({"iat": now() - 3600}), "too_old"),
    ] {
        s.refused_with(&switch(&token(wrong)), "28000", reason);
    }
    for wrong in [
        json!({"aud": 7}),
        json!({"iss": ["https://id.example.org/"]}),
        json!({"iat": null}),
    ] {
        let refusal = s.refused(&switch(&token(wrong.clone())), "28000");
        assert!(refusal.detail.contains(": "), "{wrong}: {refusal}");
    }
    server.alter_system("scope_roles.jwt_audience", "billing-api");
    wait_until("the new audience holds", 10, || {
        s.attempt(&switch(&token(json!({"aud": "billing-api"}))))
            .is_ok()
    });
    s.refused_with(&switch(&token(json!({}))), "28000", "audience");
}

#[test]
fn claim_name_leeway_and_missing_exp_follow_the_settings() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.jwt_role_claim", "db_role")
            .set("scope_roles.jwt_leeway", "0")
            .set("scope_roles.jwt_require_exp", "off"),
    );
    let g = Gate::with(Fixture::on(&server, "jwt_claim_setting"));
    let mut s = g.login();
    let token = sign(&json!({"role": g.writer, "db_role": g.reader}));
    s.run("BEGIN");
    assert_eq!(s.text(&switch(&token)), g.reader);
    s.run("ROLLBACK; BEGIN");
    assert_eq!(
        s.text(&format!(
            "SELECT scope.set_jwt_role({}, 'role')",
            literal(&token)
        )),
        g.writer
    );
    s.run("ROLLBACK");
    s.refused_with(
        &switch(&sign(&json!({"db_role": g.reader, "exp": now() - 2}))),
        "28000",
        "expired",
    );
    s.refused_with(
        &switch(&sign(&json!({"db_role": g.reader, "nbf": now() + 20}))),
        "28000",
        "not_yet_valid",
    );
}

#[test]
fn a_token_that_was_accepted_still_expires() {
    let server = Server::start(Options::default().set("scope_roles.jwt_leeway", "0"));
    let g = Gate::with(Fixture::on(&server, "jwt_expires"));
    let mut s = g.login();
    let token = g.token(json!({"exp": now() + 2}));
    s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    wait_until("the token expires", 5, || {
        s.attempt(&switch(&token)).is_err()
    });
    s.refused_with(&switch(&token), "28000", "expired");
}

/// A token sent as part of the statement, refused for a reason that may pass: it is still a key.
#[test]
fn a_refused_token_is_not_logged_with_its_statement() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_statement"));
    let mut s = g.login();
    for token in [
        g.token(json!({"role": "postgres"})),
        g.token(json!({"nbf": now() + 300})),
    ] {
        s.run("BEGIN");
        s.fails(&switch(&token));
        s.run("ROLLBACK");
        let signature = token.rsplit('.').next().expect("a signature");
        assert!(
            !server.log().contains(signature),
            "a token is in the log:\n{}",
            server.log()
        );
    }
}

#[test]
fn no_token_and_no_secret_is_ever_logged() {
    let server = Server::start(
        Options::default()
            .set("log_min_messages", "debug5")
            .set("log_min_error_statement", "debug5"),
    );
    let g = Gate::with(Fixture::on(&server, "jwt_log"));
    let mut s = g.login();
    s.run("SET client_min_messages = debug5");
    let forged = sign_with(
        &g.claims(json!({})),
        "a secret of somebody else, long enough to be one",
        Algorithm::HS256,
    );
    let tokens = [
        g.token(json!({"sub": "private-subject"})),
        g.token(json!({"exp": 7, "sub": "private-subject"})),
        g.token(json!({"role": "jwt_log_nobody", "sub": "private-subject"})),
        forged,
        format!("{}.", g.token(json!({}))),
    ];
    for token in &tokens {
        s.run("BEGIN");
        // As a parameter, the way drivers send it: the server's own statement log then has no part in this.
        let _ = s.attempt_extended("SELECT scope.set_jwt_role($1)", &[token]);
        s.run("ROLLBACK");
    }
    let (log, notices) = (server.log(), format!("{:?}", s.notices()));
    assert!(
        log.contains("set_jwt_role"),
        "the log is not verbose, so it proves nothing"
    );
    for token in &tokens {
        for part in token.split('.').filter(|part| part.len() > 30) {
            // The header is the same in all tokens and says nothing.
            if !part.starts_with("eyJ0eXAiOiJKV1Q") && !part.starts_with("eyJhbGciOiJIUzI1") {
                assert!(!log.contains(part), "a token is in the log");
                assert!(!notices.contains(part), "a token is in a message");
            }
        }
    }
    assert!(!log.contains(SECRET) && !notices.contains(SECRET));
}

/// Refused when it is set, with a HINT, and what was set before holds. No message shows a value, and the log none of a secret.
#[test]
fn what_is_no_value_is_refused_when_it_is_set() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_wrong_settings"));
    let mut admin = g.f.admin();
    for (name, wrong) in [
        ("jwt_secret", "far-too-short-for-a-secret"),
        ("jwt_secret", "https://id.example.org/.well-known/jwks.json"),
        ("jwt_secret", "   "),
        ("jwt_secret", "{\"kty\":\"oct\",\"k\":\"c2hvcnQtc2VjcmV0\"}"),
        ("jwt_role_claim", ""),
        ("jwt_role_claim", ".app.roles[0"),
        ("jwt_role_claim", "$..a..b"),
        ("jwt_audience", "orders,,billing"),
        ("jwt_audience", " "),
        ("jwt_issuer", "https://id.example.org "),
        ("anon_role", "pg_read_all_data"),
        ("audit", "none, all"),
        ("audit", "login, nonsense"),
        ("connection_host", "postgresql://db.example.org"),
        ("connection_host", "db.example.org:5432"),
        ("connection_host", "db example"),
    ] {
        let refusal = admin.refused(
            &format!("ALTER SYSTEM SET scope_roles.{name} = {}", literal(wrong)),
            "22023",
        );
        assert!(
            refusal.message.contains(&format!("scope_roles.{name}")),
            "{refusal}"
        );
        assert!(
            wrong.trim().is_empty() || !refusal.rest.contains(wrong),
            "{refusal}"
        );
    }
    for part in ["far-too-short", "c2hvcnQtc2VjcmV0"] {
        assert!(!server.log().contains(part), "the log shows {part}");
    }
    // By the file, as well: the value of before stays.
    server.reconfigure(
        "scope_roles.jwt_secret = 'short-and-in-the-file'\nscope_roles.jwt_audience = ','\n",
    );
    server.reload();
    assert_eq!(admin.text("SHOW scope_roles.jwt_audience"), "");
    let mut s = g.login();
    s.run(&format!("BEGIN; {}; COMMIT", switch(&g.token(json!({})))));
    assert!(!server.log().contains("short-and-in-the-file"));
    // A file may come later: it is missed aloud.
    admin.notices();
    admin.run("ALTER SYSTEM SET scope_roles.jwt_secret = '@/nowhere/jwt.key'");
    let notices = admin.notices();
    assert!(
        notices.len() == 1
            && notices[0].message.contains("cannot be read")
            && !notices[0].hint.is_empty(),
        "{notices:?}"
    );
    // A claim that is none is not replaced by the default, when the server starts with it.
    let lax = Server::start(Options::default().set("scope_roles.jwt_role_claim", ".a[0"));
    let g = Gate::with(Fixture::on(&lax, "jwt_wrong_claim"));
    assert!(g.login().attempt(&switch(&g.token(json!({})))).is_err());
    assert!(
        lax.log()
            .contains("WARNING:  scope_roles.jwt_role_claim is no claim path")
    );
}
