//! `scope.jwt_claims()` and its kin: what the session's own token says, and nothing that SQL says.

use serde_json::{Value, json};

use super::issuers::{claims, register};
use super::{Gate, end_session, switch, switch_session};
use crate::harness::*;

const ALL_NULL: &str = "scope.jwt_claims() IS NULL AND scope.jwt_claim('sub') IS NULL AND scope.jwt_claim('$.sub') IS NULL \
     AND scope.jwt_subject() IS NULL AND scope.jwt_expires_at() IS NULL";

/// A rightly signed token over this very payload.
fn raw(payload: &str) -> String {
    sign_raw(r#"{"alg":"HS256","typ":"JWT"}"#, payload)
}

fn claim(path: &str) -> String {
    format!("SELECT scope.jwt_claim({})", literal(path))
}

#[test]
fn without_a_switch_they_are_null() {
    let g = Gate::new("jwt_claims_null");
    let token = g.token(json!({}));
    let mut s = g.login();
    s.assert_that(ALL_NULL);
    s.assert_that("scope.jwt_claim(NULL) IS NULL");
    g.f.admin().assert_that(ALL_NULL);
    s.run(&switch(&token));
    s.assert_that(ALL_NULL);
    for end in ["COMMIT", "ROLLBACK"] {
        s.run(&format!("BEGIN; {}", switch(&token)));
        s.assert_that("scope.jwt_subject() = 'ann'");
        s.run(end);
        s.assert_that(ALL_NULL);
    }
    s.run(&format!("BEGIN; SAVEPOINT s; {}", switch(&token)));
    s.assert_that("scope.jwt_subject() = 'ann'");
    s.run("SAVEPOINT within; ROLLBACK TO within");
    s.assert_that("scope.jwt_subject() = 'ann'");
    s.run("ROLLBACK TO s");
    s.assert_that(ALL_NULL);
    s.run(&switch(&g.token(json!({"sub": "bob"}))));
    s.assert_that("scope.jwt_subject() = 'bob' AND scope.jwt_claim('sub') = 'bob'");
    s.run("ROLLBACK");
    s.assert_that(ALL_NULL);
    s.refused(&switch(&g.token(json!({"exp": 7}))), "28000");
    s.assert_that(ALL_NULL);
}

#[test]
fn inside_they_say_what_the_token_says() {
    let g = Gate::new("jwt_claims_inside");
    let t = now();
    let token = g.token(json!({
        "sub": "auth0|7", "exp": t + 100, "aud": ["a", "b"], "nothing": null, "yes": true, "n": 12, "empty": "",
        "tenant": {"id": 7, "a b": "spaced", "tags": ["x", "y"]}, "https://example.org/claim": "url"
    }));
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&token)));
    s.assert_that("scope.jwt_claims() = current_setting('request.jwt.claims')::jsonb");
    s.assert_that("scope.jwt_claims()->'tenant'->'tags' = '[\"x\", \"y\"]'");
    s.assert_that("scope.jwt_subject() = 'auth0|7'");
    s.assert_that(&format!(
        "scope.jwt_expires_at() = to_timestamp({})",
        t + 100
    ));
    for (path, value) in [
        ("sub", "auth0|7"),
        ("role", g.reader.as_str()),
        (".tenant.id", "7"),
        ("$.tenant.id", "7"),
        (".tenant.\"a b\"", "spaced"),
        (".tenant.tags[1]", "y"),
        ("$.tenant.tags[-1]", "y"),
        (".aud[0]", "a"),
        ("yes", "true"),
        ("n", "12"),
        ("$['https://example.org/claim']", "url"),
    ] {
        assert_eq!(s.text(&claim(path)), value, "{path}");
    }
    s.assert_that("scope.jwt_claim('tenant')::jsonb = '{\"id\": 7, \"a b\": \"spaced\", \"tags\": [\"x\", \"y\"]}'");
    s.assert_that("scope.jwt_claim('aud')::jsonb = '[\"a\", \"b\"]'");
    s.assert_that("scope.jwt_claim('empty') = ''");
    for absent in [
        "nothing",
        "absent",
        ".tenant.none",
        "$.tenant.none",
        ".aud[7]",
        ".sub.x",
    ] {
        s.assert_that(&format!("scope.jwt_claim({}) IS NULL", literal(absent)));
    }
    s.run("ROLLBACK");
    // Two paths in turn, over many rows.
    s.run(&format!("BEGIN; {}", switch(&token)));
    s.assert_that("(SELECT bool_and(scope.jwt_claim(CASE i % 2 WHEN 0 THEN 'sub' ELSE 'n' END) = CASE i % 2 WHEN 0 THEN 'auth0|7' ELSE '12' END) FROM generate_series(1, 1000) i)");
    s.run("ROLLBACK");
}

#[test]
fn times_and_subjects_that_are_odd_or_absent() {
    let g = Gate::new("jwt_claims_times");
    let key = Key::ed25519("k");
    register(&g, "a", &jwks(&[&key]), "require_exp => false");
    let t = now();
    let mut s = g.login();
    for (more, holds) in [
        (
            json!({"exp": null, "sub": null}),
            "scope.jwt_expires_at() IS NULL AND scope.jwt_subject() IS NULL".to_owned(),
        ),
        (
            json!({"exp": t as f64 + 60.5}),
            format!("scope.jwt_expires_at() = to_timestamp({t} + 60.5)"),
        ),
        // No timestamp is that late: whatever is said, it must not be in the past.
        (
            json!({"exp": 1e300}),
            "coalesce(scope.jwt_expires_at(), 'infinity') > now() + interval '100 years'"
                .to_owned(),
        ),
        (
            json!({"exp": i64::MAX}),
            "coalesce(scope.jwt_expires_at(), 'infinity') > now() + interval '100 years'"
                .to_owned(),
        ),
        (
            json!({"exp": 9e15}),
            "coalesce(scope.jwt_expires_at(), 'infinity') > now() + interval '100 years'"
                .to_owned(),
        ),
        (json!({"sub": ""}), "scope.jwt_subject() = ''".to_owned()),
    ] {
        s.run(&format!(
            "BEGIN; {}",
            switch(&key.token("EdDSA", &claims(&g, "a", more.clone())))
        ));
        assert!(s.holds(&holds), "{more}: {holds}");
        s.rows("SELECT * FROM orders");
        s.run("COMMIT");
    }
}

#[test]
fn attack_claims_that_a_session_makes_up() {
    let g = Gate::new("jwt_claims_forged");
    let forged = literal(&json!({"sub": "eve", "role": g.writer, "tenant": "b"}).to_string());
    let state = literal(&format!(
        "t 10 9223372036854775807 {} {{\"sub\":\"eve\"}}",
        "0".repeat(64)
    ));
    let token = g.token(json!({}));
    g.f.admin().run(&format!(
        "CREATE FUNCTION forge() RETURNS text LANGUAGE sql SET request.jwt.claims = {forged} AS 'SELECT scope.jwt_subject()'"
    ));
    // Before a switch: whatever the settings hold, the functions do not read them.
    for before in [
        format!("SET request.jwt.claims = {forged}"),
        format!("SELECT set_config('request.jwt.claims', {forged}, false)"),
        format!("BEGIN; SET LOCAL request.jwt.claims = {forged}"),
        "SET request.jwt.claim.sub = 'eve'".to_owned(),
        "SELECT forge()".to_owned(),
    ] {
        let mut s = g.login();
        s.run(&before);
        s.assert_that(ALL_NULL);
        s.run(
            &format!("COMMIT; BEGIN; {before}; {}", switch(&token))
                .replace("BEGIN; BEGIN", "BEGIN"),
        );
        s.assert_that("scope.jwt_subject() = 'ann' AND scope.jwt_claim('tenant') IS NULL");
        s.assert_that("current_setting('request.jwt.claims')::jsonb = scope.jwt_claims()");
        s.run("COMMIT");
        s.assert_that(ALL_NULL);
    }
    let mut s = g.login();
    let attacks = [
        format!("SET request.jwt.claims = {forged}"),
        format!("SET LOCAL request.jwt.claims = {forged}"),
        format!("SET \"Request.JWT.Claims\" = {forged}"),
        format!("SELECT set_config('request.jwt.claims', {forged}, true)"),
        format!("SELECT set_config('REQUEST.JWT.CLAIMS', {forged}, false)"),
        "SELECT set_config('request.jwt.claims', NULL, true)".to_owned(),
        "RESET request.jwt.claims".to_owned(),
        "SET request.jwt.claims TO DEFAULT".to_owned(),
        "SELECT forge()".to_owned(),
        format!("DO $$ BEGIN PERFORM set_config('request.jwt.claims', {forged}, true); END $$"),
    ];
    let of_the_state = [
        format!("SET scope.switch = {state}"),
        format!("SET LOCAL scope.switch = {state}"),
        format!("SELECT set_config('scope.switch', {state}, true)"),
        "SELECT set_config('scope.switch', '', true)".to_owned(),
        "SELECT set_config('scope.switch', NULL, false)".to_owned(),
        "RESET scope.switch".to_owned(),
        "SHOW scope.switch".to_owned(),
        "SELECT current_setting('scope.switch', true)".to_owned(),
        format!("ALTER ROLE {} SET scope.switch = {state}", g.auth),
        "CREATE OR REPLACE FUNCTION scope.jwt_subject() RETURNS text LANGUAGE sql AS 'SELECT ''eve'''".to_owned(),
        "ALTER FUNCTION scope.jwt_subject() RENAME TO other".to_owned(),
        format!("CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SET scope.switch = {state} AS 'SELECT scope.jwt_subject()'; SELECT pg_temp.f()"),
    ];
    for attack in &of_the_state {
        s.denied(attack, "42501");
        s.assert_that(ALL_NULL);
    }
    s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
    for attack in attacks.iter().chain(&of_the_state) {
        s.denied(attack, "42501");
        s.run("ROLLBACK TO s");
        s.assert_that("scope.jwt_subject() = 'ann' AND scope.jwt_claim('role') = current_user");
        s.assert_that("current_setting('request.jwt.claims')::jsonb = scope.jwt_claims()");
    }
    s.run("RESET ALL");
    s.assert_that("scope.jwt_subject() = 'ann'");
    let shown = format!(
        "{:?}",
        s.rows("SELECT * FROM pg_settings WHERE name LIKE 'scope_roles.%'")
    );
    assert!(!shown.contains("ann"), "{shown}");
    s.run("ROLLBACK");
    let startup = format!(
        "-c scope.switch={}",
        state.trim_matches('\'').replace(' ', "\\ ")
    );
    let refusal =
        g.f.server
            .try_login_with_options(&g.auth, &g.f.name, &startup);
    if let Ok(mut s) = refusal {
        s.assert_that(ALL_NULL);
    }
    let startup = r#"-c request.jwt.claims={"sub":"eve"}"#;
    if let Ok(mut s) =
        g.f.server
            .try_login_with_options(&g.auth, &g.f.name, startup)
    {
        s.assert_that(ALL_NULL);
        s.run(&format!("BEGIN; {}", switch(&token)));
        s.assert_that("scope.jwt_subject() = 'ann'");
    }
    // A superuser's own state is no more forgeable than anybody's.
    let mut admin = g.f.admin();
    for attack in &of_the_state[..3] {
        admin.fails(attack);
        admin.assert_that(ALL_NULL);
    }
}

/// 3000 notes of three tenants under a policy that asks the token.
fn tenants(g: &Gate) {
    g.f.admin().run(&format!(
        "CREATE TABLE notes (tenant text, owner text, n int);
         INSERT INTO notes SELECT (ARRAY['a', 'b', 'c'])[1 + i % 3], CASE i % 2 WHEN 0 THEN 'ann' ELSE 'bob' END, i
           FROM generate_series(1, 3000) i;
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY tenant ON notes USING (tenant = scope.jwt_claim('tenant'));
         GRANT SELECT ON notes TO {}; ANALYZE notes",
        g.reader
    ));
}

const TENANTS: &str = "SELECT string_agg(DISTINCT tenant, ',') || count(*) FROM notes";

#[test]
fn a_policy_reads_the_claims_of_each_switch_anew() {
    let g = Gate::new("jwt_claims_policy");
    tenants(&g);
    let mut s = g.login();
    s.run(&format!(
        "PREPARE p AS {TENANTS}; SET plan_cache_mode = force_generic_plan"
    ));
    let tokens = ["a", "b", "c"].map(|tenant| (tenant, g.token(json!({"tenant": tenant}))));
    for _ in 0..2 {
        for (tenant, token) in &tokens {
            s.run(&format!("BEGIN; {}", switch(token)));
            assert_eq!(s.text(TENANTS), format!("{tenant}1000"));
            assert_eq!(s.text("EXECUTE p"), format!("{tenant}1000"));
            s.run("COMMIT");
        }
    }
    // Within one transaction, when the first switch is undone.
    s.run("BEGIN; SAVEPOINT s");
    for (tenant, token) in &tokens {
        s.run(&switch(token));
        assert_eq!(s.text("EXECUTE p"), format!("{tenant}1000"));
        s.run("ROLLBACK TO s");
        s.assert_that("scope.jwt_claim('tenant') IS NULL");
    }
    s.run("COMMIT");
    // No claim, no rows.
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_eq!(s.text("SELECT count(*) FROM notes"), "0");
    assert_eq!(s.text("EXECUTE p"), "");
    s.run("COMMIT");
    // A tenant's name cannot become a piece of the policy.
    s.run(&format!(
        "BEGIN; {}",
        switch(&g.token(json!({"tenant": "a' OR true --"})))
    ));
    assert_eq!(s.text("SELECT count(*) FROM notes"), "0");
}

#[test]
fn a_policy_holds_in_parallel_workers() {
    let g = Gate::new("jwt_claims_parallel");
    tenants(&g);
    let mut s = g.login();
    let force = if g.f.server.version() >= 160_000 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    s.run(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SET max_parallel_workers_per_gather = 2",
    );
    let numbers = "1e400";
    for (tenant, forced, leader) in [("a", "off", "on"), ("b", "off", "off"), ("c", "on", "off")] {
        s.run(&format!(
            "SET {force} = {forced}; SET parallel_leader_participation = {leader}"
        ));
        let payload = format!(
            r#"{{"role":"{}","sub":"ann","exp":{},"tenant":"{tenant}","n":{numbers},"text":"it's \"q\"\n\\ \u00fc \ud83e\udd80"}}"#,
            g.reader,
            now() + 600
        );
        for session in [false, true] {
            if session {
                s.run(&switch_session(&raw(&payload)));
            } else {
                s.run(&format!("BEGIN; {}", switch(&raw(&payload))));
            }
            let plan = s
                .column(&format!(
                    "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {TENANTS}"
                ))
                .join("\n");
            assert!(plan.contains("Gather"), "{plan}");
            assert_eq!(s.text(TENANTS), format!("{tenant}1000"));
            let own = "SELECT count(*) FROM notes WHERE owner = scope.jwt_subject() AND scope.jwt_claims()->>'tenant' = tenant \
                 AND scope.jwt_expires_at() > now() AND scope.jwt_claim('n')::numeric = 1e400 \
                 AND scope.jwt_claim('text') = E'it''s \"q\"\\n\\\\ \\u00fc \\U0001F980' \
                 AND current_setting('request.jwt.claims')::jsonb = scope.jwt_claims()";
            let plan = s.column(&format!("EXPLAIN (COSTS OFF) {own}")).join("\n");
            assert!(plan.contains("Gather"), "{plan}");
            assert_eq!(s.text(own), "500", "{tenant} {forced} {leader}");
            if session {
                s.run(&end_session(&raw(&payload)));
            } else {
                s.run("ROLLBACK");
            }
        }
    }
}

#[test]
fn numbers_are_kept_to_the_digit() {
    let g = Gate::new("jwt_claims_numbers");
    let big = "123456789012345678901234567890.12345678901234567890";
    let payload = format!(
        r#"{{"role":"{}","exp":{},"big":{big},"huge":1e400,"tiny":1e-400,"long":9007199254740993,"max":18446744073709551616,"in":{{"n":[{big}]}}}}"#,
        g.reader,
        now() + 60
    );
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&raw(&payload))));
    for (name, value) in [
        ("big", big),
        ("huge", "1e400"),
        ("tiny", "1e-400"),
        ("long", "9007199254740993"),
        ("max", "18446744073709551616"),
        (".in.n[0]", big),
        ("$.in.n[0]", big),
    ] {
        assert!(
            s.holds(&format!(
                "scope.jwt_claim({})::numeric = {value}::numeric",
                literal(name)
            )),
            "{name}: {}",
            s.text(&claim(name))
        );
    }
    for name in ["big", "huge", "tiny", "long", "max"] {
        s.assert_that(&format!(
            "(scope.jwt_claims()->>'{name}')::numeric = scope.jwt_claim('{name}')::numeric"
        ));
        s.assert_that(&format!(
            "(current_setting('request.jwt.claims')::json->>'{name}')::numeric = scope.jwt_claim('{name}')::numeric"
        ));
    }
    assert_eq!(s.text(&claim("big")), big);
    assert_eq!(s.text(&claim("long")), "9007199254740993");
    s.run("ROLLBACK");
    // No numeric holds this: the other claims must be there all the same.
    let payload = format!(
        r#"{{"role":"{}","sub":"ann","exp":{},"n":1e999999999}}"#,
        g.reader,
        now() + 60
    );
    s.run("BEGIN");
    match s.attempt(&switch(&raw(&payload))) {
        Ok(_) => {
            s.assert_that("scope.jwt_subject() = 'ann' AND scope.jwt_claim('sub') = 'ann'");
            s.rows("SELECT * FROM orders");
            let _ = s.attempt("SELECT scope.jwt_claims()");
        }
        Err(refusal) => assert_eq!(refusal.code, "28000", "{refusal}"),
    }
    s.run("ROLLBACK");
    s.assert_that(ALL_NULL);
}

#[test]
fn a_bad_path_is_refused_with_its_position() {
    let g = Gate::new("jwt_claims_path");
    let mut s = g.login();
    for switched in [false, true] {
        if switched {
            s.run(&format!(
                "BEGIN; {}; SAVEPOINT s",
                switch(&g.token(json!({})))
            ));
        }
        for path in [
            "",
            ".",
            ".a[",
            ".a[x]",
            ".a..b",
            ".\"a",
            ".a[?(@ == \"x\"]",
            "$[",
            "$.a[?",
            "$.a.",
            ".a[99999999999999999999999]",
        ] {
            let refusal = s.refused(&claim(path), "22023");
            let position = refusal
                .detail
                .strip_prefix("At character ")
                .and_then(|rest| rest.split(':').next())
                .and_then(|number| number.parse::<usize>().ok());
            assert!(
                position.is_some_and(|position| position <= path.len() + 1),
                "{path}: {refusal}"
            );
            if switched {
                s.run("ROLLBACK TO s");
            }
        }
        if switched {
            assert_eq!(s.text(&claim("sub")), "ann");
        }
    }
    s.run("ROLLBACK");
    // Nor may a path, which anybody can pass, be made to hurt.
    for path in [
        ".a".repeat(20_000),
        "[".repeat(20_000),
        format!("${}", "[?@".repeat(5_000)),
        format!("$[?{}1{}]", "(".repeat(5_000), ")".repeat(5_000)),
        format!("$[?{}@.a]", "!".repeat(20_000)),
        format!(".\"{}\"", "x".repeat(100_000)),
    ] {
        s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
        if let Err(refusal) = s.attempt(&claim(&path)) {
            assert_eq!(refusal.code, "22023", "{refusal}");
        }
        s.run("ROLLBACK");
    }
    assert_eq!(s.text("SELECT 1"), "1");
}

#[test]
fn attack_claims_full_of_quotes_and_newlines() {
    let g = Gate::new("jwt_claims_hostile");
    let mut s = g.login();
    for text in [
        "'; RESET ROLE; --",
        "\"; SET ROLE postgres; \"",
        "$$ || current_user || $$",
        "line\nfeed\r\n\ttab",
        "\\ \\' \\\\ \\u0041 E'\\x41'",
        "%s %n $1 {0} :x",
        "\u{1}\u{7f}\u{80}\u{2028}\u{feff}\u{10ffff}",
        "t 10 0 00 {}",
        " ",
        "{\"role\":\"postgres\"}",
        &"x'\"\\".repeat(250),
    ] {
        let token = g.token(json!({"sub": text, "note": {text: [text]}, text: "key"}));
        s.run(&format!("BEGIN; {}", switch(&token)));
        assert_eq!(s.text("SELECT current_user"), g.reader);
        assert_eq!(s.text("SELECT scope.jwt_subject()"), text);
        assert_eq!(s.text(&claim("sub")), text);
        let quoted = literal(text);
        assert_eq!(
            s.text(&format!("SELECT scope.jwt_claims()->>{quoted}")),
            "key"
        );
        assert_eq!(
            s.text(&format!("SELECT scope.jwt_claims()->'note'->{quoted}->>0")),
            text
        );
        s.assert_that("current_setting('request.jwt.claims')::jsonb = scope.jwt_claims()");
        let claims: Value =
            serde_json::from_str(&s.text("SELECT scope.jwt_claims()")).expect("JSON");
        assert_eq!(claims["note"][text][0], text);
        s.run("SAVEPOINT s");
        s.refused("RESET ROLE", "42501");
        s.run("ROLLBACK");
        s.assert_that(ALL_NULL);
    }
    for deep in [100, 1_000] {
        let payload = format!(
            r#"{{"role":"{}","sub":"ann","exp":{},"x":{}1{}}}"#,
            g.reader,
            now() + 60,
            "[".repeat(deep),
            "]".repeat(deep)
        );
        s.run("BEGIN");
        match s.attempt(&switch(&raw(&payload))) {
            Ok(_) => s.assert_that("scope.jwt_subject() = 'ann'"),
            Err(refusal) => assert_eq!(refusal.code, "28000", "{refusal}"),
        }
        s.run("ROLLBACK");
    }
}

#[test]
fn a_database_in_another_encoding_reads_the_claims_in_its_own() {
    let server = shared();
    server
        .admin("postgres")
        .run("CREATE DATABASE jwt_claims_latin ENCODING 'LATIN1' TEMPLATE template0");
    let mut admin = server.admin("jwt_claims_latin");
    admin.run(
        "CREATE EXTENSION scope_roles; CREATE ROLE jwt_claims_latin_reader;
         CREATE ROLE jwt_claims_latin_auth LOGIN NOINHERIT IN ROLE jwt_claims_latin_reader",
    );
    let mut s = server.login("jwt_claims_latin_auth", "jwt_claims_latin");
    let token = |sub: &str| {
        sign(&json!({"role": "jwt_claims_latin_reader", "sub": sub, "exp": now() + 60}))
    };
    s.run(&format!("BEGIN; {}", switch(&token("Jürgen"))));
    assert_eq!(s.text("SELECT scope.jwt_subject()"), "Jürgen");
    assert_eq!(s.text(&claim("sub")), "Jürgen");
    assert_eq!(s.text("SELECT scope.jwt_claims()->>'sub'"), "Jürgen");
    s.assert_that("octet_length(scope.jwt_subject()) = 6");
    s.assert_that("current_setting('request.jwt.claims')::json->>'sub' = 'Jürgen'");
    s.run("COMMIT");
    // What the encoding cannot say: an error perhaps, but no wrong bytes and no lost session.
    s.run(&format!(
        "BEGIN; {}; SAVEPOINT s",
        switch(&token("crab \u{1f980}"))
    ));
    for sql in [
        "SELECT scope.jwt_subject()".to_owned(),
        "SELECT scope.jwt_claims()->>'sub'".to_owned(),
        claim("sub"),
    ] {
        if let Err(refusal) = s.attempt(&sql) {
            assert!(refusal.code.starts_with("22"), "{sql}: {refusal}");
        }
        s.run("ROLLBACK TO s");
    }
    assert_eq!(s.text(&claim("role")), "jwt_claims_latin_reader");
    s.run("ROLLBACK");
}
