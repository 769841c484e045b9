//! Tokens that must not switch, each with its reason, and nothing changed afterwards.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Gate, assert_itself, switch};
use crate::harness::*;

/// Asserts the refusal in both protocols and in a transaction, and that the session is itself and can still switch.
#[track_caller]
fn refused(g: &Gate, s: &mut Session, token: &str, sqlstate: &str, reason: &str) {
    let sql = switch(token);
    let refusal = match s.attempt(&sql) {
        Ok(_) => panic!(
            "accepted, expected {reason}: {}",
            &token[..token.len().min(300)]
        ),
        Err(refusal) => refusal,
    };
    assert_eq!(refusal.code, sqlstate, "expected {reason}: {refusal}");
    assert!(
        refusal.detail.starts_with(&format!("{reason}: ")),
        "expected {reason}: {refusal}"
    );
    assert!(!refusal.hint.is_empty(), "{refusal}");
    // A token is a key for as long as it is valid: no part of it goes back or to a log, except names that it claims.
    if let Some(signature) = token.rsplit('.').next().filter(|part| part.len() > 20) {
        assert!(
            !refusal.rest.contains(signature),
            "the signature is in the message: {refusal}"
        );
    }
    assert_itself(s, &g.auth);
    s.run("BEGIN");
    let again = s
        .attempt_extended("SELECT scope.set_jwt_role($1)", &[token])
        .expect_err(reason);
    assert_eq!(again.code, sqlstate, "{again}");
    s.denied("SELECT 1", "25P02");
    s.run("ROLLBACK");
    assert_itself(s, &g.auth);
}

#[track_caller]
fn still_works(g: &Gate, s: &mut Session) {
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_eq!(s.text("SELECT current_user"), g.reader);
    s.run("COMMIT");
}

#[test]
fn texts_that_are_no_token() {
    let g = Gate::new("jwt_malformed");
    let mut s = g.login();
    refused(&g, &mut s, "", "28000", "empty");
    refused(&g, &mut s, &"x".repeat(1 << 20), "28000", "too_long");
    refused(
        &g,
        &mut s,
        &g.token(json!({"pad": "x".repeat(1 << 20)})),
        "28000",
        "too_long",
    );
    let good = g.token(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    for malformed in [
        "nodots",
        "one.dot",
        ".",
        "..",
        "...",
        "a.b.c.d",
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{header}..{signature}"),
        &format!("{header}.{payload}"),
        &format!(".{payload}.{signature}"),
        "Größe.данные.\u{1f980}",
        &sign_raw("not json", &g.claims(json!({})).to_string()),
        &sign_raw("[]", &g.claims(json!({})).to_string()),
        &sign_raw(r#"{"alg":"HS256"}"#, "not json"),
        &sign_raw(r#"{"alg":"HS256"}"#, "[1,2]"),
        &sign_raw(r#"{"alg":"HS256"}"#, "null"),
        &sign_raw(r#"{"alg":"HS256"}"#, ""),
    ] {
        refused(&g, &mut s, malformed, "28000", "malformed");
    }
    // Blanks are no part of the alphabet, and a padded part is another spelling of the same token.
    for odd in [
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}=.{payload}.{signature}"),
        format!("{good}="),
    ] {
        let refusal = s.attempt(&switch(&odd)).expect_err("odd spelling");
        assert_eq!(refusal.code, "28000", "{refusal}");
    }
    still_works(&g, &mut s);
}

#[test]
fn null_is_no_token() {
    let g = Gate::new("jwt_null");
    let mut s = g.login();
    let refusal = s
        .attempt("SELECT scope.set_jwt_role(NULL)")
        .expect_err("null");
    assert!(
        ["28000", "22004"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    assert!(
        !refusal.detail.is_empty() && !refusal.hint.is_empty(),
        "{refusal}"
    );
    assert_itself(&mut s, &g.auth);
    // Where a null that is not an error would go unnoticed: the transaction must not continue unlocked.
    s.run("BEGIN");
    s.attempt("SELECT scope.set_jwt_role(NULL, NULL)")
        .expect_err("nulls");
    s.denied("SELECT 1", "25P02");
    s.run("ROLLBACK");
}

#[test]
fn signatures_that_are_not_ours() {
    let g = Gate::new("jwt_forged");
    let mut s = g.login();
    let claims = g.claims(json!({}));
    refused(
        &g,
        &mut s,
        &sign_with(&claims, &SECRET.to_uppercase(), Algorithm::HS256),
        "28000",
        "bad_signature",
    );
    refused(
        &g,
        &mut s,
        &sign_with(&claims, &SECRET[..SECRET.len() - 1], Algorithm::HS256),
        "28000",
        "bad_signature",
    );
    refused(
        &g,
        &mut s,
        &sign_with_nothing(&claims),
        "28000",
        "bad_signature",
    );
    let good = sign(&claims);
    let richer = sign_with(
        &g.claims(json!({"role": g.writer})),
        "a secret of somebody else, long enough to be one",
        Algorithm::HS256,
    );
    let (good_parts, rich_parts): (Vec<&str>, Vec<&str>) =
        (good.split('.').collect(), richer.split('.').collect());
    // The payload of one token under the signature of another.
    let spliced = format!("{}.{}.{}", good_parts[0], rich_parts[1], good_parts[2]);
    refused(&g, &mut s, &spliced, "28000", "bad_signature");
    let flipped = if good_parts[2].starts_with('A') {
        "B"
    } else {
        "A"
    };
    refused(
        &g,
        &mut s,
        &format!(
            "{}.{}.{flipped}{}",
            good_parts[0],
            good_parts[1],
            &good_parts[2][1..]
        ),
        "28000",
        "bad_signature",
    );
    refused(
        &g,
        &mut s,
        &format!(
            "{}.{}.{}",
            good_parts[0],
            good_parts[1],
            &good_parts[2][..20]
        ),
        "28000",
        "bad_signature",
    );
    still_works(&g, &mut s);
}

#[test]
fn algorithms_that_are_not_ours() {
    let g = Gate::new("jwt_algorithm");
    let mut s = g.login();
    let payload = g.claims(json!({})).to_string();
    for algorithm in [
        "none", "None", "NONE", "nOnE", "", "HS1", "RS256", "ES256", "PS256", "EdDSA", "hs256",
    ] {
        let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
        // Rightly signed, so that only the algorithm can be what is wrong; and with no signature, as an attacker would.
        refused(
            &g,
            &mut s,
            &sign_raw(&header, &payload),
            "28000",
            "algorithm",
        );
        let bare = s
            .attempt(&switch(&unsigned(&header, &payload)))
            .expect_err(algorithm);
        assert_eq!(bare.code, "28000", "{algorithm}: {bare}");
    }
    for header in [
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":256}"#,
        r#"{"alg":["HS256"]}"#,
    ] {
        let token = sign_raw(header, &payload);
        refused(&g, &mut s, &token, "28000", "algorithm");
    }
    // RFC 7515: who does not understand a critical extension must refuse.
    for header in [
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","b64":false}"#,
    ] {
        let token = sign_raw(header, &payload);
        refused(&g, &mut s, &token, "28000", "critical");
    }
    still_works(&g, &mut s);
}

#[test]
fn hs384_and_hs512_with_the_same_secret_are_fine() {
    let g = Gate::new("jwt_hs512");
    let mut s = g.login();
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        s.run("BEGIN");
        assert_eq!(
            s.text(&switch(&sign_with(&g.claims(json!({})), SECRET, algorithm))),
            g.reader
        );
        s.run("ROLLBACK");
    }
}

#[test]
fn times_that_are_wrong() {
    let g = Gate::new("jwt_times");
    let mut s = g.login();
    // The leeway is 30 s; a margin keeps a slow machine out of the result.
    let t = now();
    for (claims, reason) in [
        (json!({"exp": t - 3600}), "expired"),
        (json!({"exp": t - 35}), "expired"),
        (json!({"exp": 0}), "expired"),
        (json!({"exp": -1}), "expired"),
        (json!({"exp": -1e300}), "expired"),
        (json!({"nbf": t + 3600}), "not_yet_valid"),
        (json!({"nbf": 1e300}), "not_yet_valid"),
        (json!({"iat": t + 3600}), "issued_in_future"),
        (
            json!({"iat": 9_007_199_254_740_993_i64}),
            "issued_in_future",
        ),
    ] {
        refused(&g, &mut s, &g.token(claims), "28000", reason);
    }
    refused(
        &g,
        &mut s,
        &sign(&json!({"role": g.reader})),
        "28000",
        "missing_exp",
    );
    for broken in [
        json!({"exp": "tomorrow"}),
        json!({"exp": null}),
        json!({"exp": [t + 60]}),
        json!({"nbf": "0"}),
        json!({"iat": true}),
        json!({"sub": 7}),
        json!({"jti": ["7"]}),
        json!({"iss": {}}),
    ] {
        refused(&g, &mut s, &g.token(broken), "28000", "claim_type");
    }
    // In milliseconds a token would never end, or not begin.
    for claims in [
        json!({"exp": (t + 60) * 1_000}),
        json!({"exp": (t + 60) as f64 * 1e6}),
        json!({"exp": (t + 60) * 1_000_000_000}),
        json!({"nbf": t * 1_000}),
        json!({"iat": t * 1_000}),
    ] {
        refused(&g, &mut s, &g.token(claims), "28000", "date_unit");
    }
    still_works(&g, &mut s);
}

#[test]
fn times_that_are_right_though_odd() {
    let g = Gate::new("jwt_odd_times");
    let mut s = g.login();
    let t = now();
    for claims in [
        json!({"exp": t as f64 + 60.5}),
        json!({"exp": 1e300}),
        // What some take for never.
        json!({"exp": 253_402_300_799_i64}),
        json!({"exp": i64::MAX}),
        json!({"exp": u64::MAX}),
        json!({"nbf": t - 3600, "iat": t - 3600}),
        json!({"nbf": t, "iat": t}),
        json!({"iat": -1}),
        json!({"iat": t as f64 - 0.5}),
        json!({"exp": t - 1}),
        json!({"nbf": t + 15}),
    ] {
        s.run("BEGIN");
        let sql = switch(&g.token(claims.clone()));
        assert!(
            s.attempt(&sql)
                .is_ok_and(|rows| rows[0][0].as_deref() == Some(&g.reader)),
            "refused: {claims}"
        );
        s.run("ROLLBACK");
    }
}

#[test]
fn a_claim_said_twice_is_refused() {
    let g = Gate::new("jwt_twice");
    let mut s = g.login();
    let (reader, writer, exp) = (&g.reader, &g.writer, now() + 60);
    for payload in [
        format!(r#"{{"role":"{reader}","exp":{exp},"role":"{writer}"}}"#),
        format!(r#"{{"role":"{reader}","exp":0,"exp":{exp}}}"#),
        format!(r#"{{"role":"{reader}","exp":{exp},"\u0072ole":"{writer}"}}"#),
    ] {
        let token = sign_raw(r#"{"alg":"HS256"}"#, &payload);
        refused(&g, &mut s, &token, "28000", "duplicate_claim");
    }
    let header = r#"{"alg":"HS256","alg":"none"}"#;
    let token = sign_raw(header, &g.claims(json!({})).to_string());
    refused(&g, &mut s, &token, "28000", "malformed");
    still_works(&g, &mut s);
}

#[test]
fn payloads_made_to_hurt() {
    let g = Gate::new("jwt_hurt");
    let mut s = g.login();
    // Deep nesting must not overflow a stack; 6 kB of it is far more than any claim.
    let deep = format!(
        r#"{{"role":"{}","exp":{},"x":{}1{}}}"#,
        g.reader,
        now() + 60,
        "[".repeat(3000),
        "]".repeat(3000)
    );
    // What PostgreSQL's text cannot hold must not be cut short into another name, nor half a character.
    let sub = |role: &str, sub: &str| {
        format!(r#"{{"role":"{role}","sub":"{sub}","exp":{}}}"#, now() + 60)
    };
    for payload in [
        deep,
        sub(&format!("{}\\u0000x", g.reader), "ann"),
        sub(&g.reader, r"a\u0000b"),
        sub(&g.reader, r"\ud800"),
    ] {
        let token = sign_raw(r#"{"alg":"HS256"}"#, &payload);
        refused(&g, &mut s, &token, "28000", "malformed");
    }
    still_works(&g, &mut s);
}

#[test]
fn role_claims_that_are_no_role() {
    let g = Gate::new("jwt_role_claim");
    let mut s = g.login();
    refused(
        &g,
        &mut s,
        &sign(&json!({"exp": now() + 60})),
        "28000",
        "role_missing",
    );
    let not_text = [
        json!(7),
        json!(true),
        json!([]),
        json!([g.reader]),
        json!({"name": g.reader}),
        json!(1.5),
    ];
    for role in not_text {
        refused(
            &g,
            &mut s,
            &g.token(json!({"role": role})),
            "28000",
            "role_not_text",
        );
    }
    let refusal = s
        .attempt(&switch(&g.token(json!({"role": Value::Null}))))
        .expect_err("null");
    assert!(
        refusal.detail.starts_with("role_not_text: ")
            || refusal.detail.starts_with("role_missing: "),
        "{refusal}"
    );
    refused(
        &g,
        &mut s,
        &g.token(json!({"role": ""})),
        "28000",
        "role_empty",
    );
    // PostgreSQL would cut these to 63 bytes and find another role.
    for role in [
        "r".repeat(64),
        format!("{}x", "ü".repeat(32)),
        "r".repeat(5000),
    ] {
        refused(
            &g,
            &mut s,
            &g.token(json!({"role": role})),
            "28000",
            "role_too_long",
        );
    }
    still_works(&g, &mut s);
}

#[test]
fn a_long_name_is_not_cut_to_a_role_that_exists() {
    let g = Gate::new("jwt_cut");
    let longest = format!("jwt_cut_{}", "r".repeat(55));
    g.f.admin().run(&format!(
        "CREATE ROLE {longest}; GRANT {longest} TO {}",
        g.auth
    ));
    let mut s = g.login();
    s.run("BEGIN");
    assert_eq!(s.text(&switch(&g.token(json!({"role": longest})))), longest);
    s.run("ROLLBACK");
    refused(
        &g,
        &mut s,
        &g.token(json!({"role": format!("{longest}r")})),
        "28000",
        "role_too_long",
    );
}

#[test]
fn roles_that_may_not_be_taken() {
    let g = Gate::new("jwt_target");
    let mut admin = g.f.admin();
    let mut s = g.login();
    admin.run(&format!("GRANT pg_read_all_data TO {}", g.auth));
    for role in [
        "none",
        "public",
        "pg_read_all_data",
        "pg_monitor",
        "pg_no_such_role",
    ] {
        refused(
            &g,
            &mut s,
            &g.token(json!({"role": role})),
            "42501",
            "role_reserved",
        );
    }
    refused(
        &g,
        &mut s,
        &g.token(json!({"role": "jwt_target_nobody"})),
        "42501",
        "role_unknown",
    );
    let stranger = g.f.role("stranger", "NOLOGIN");
    refused(
        &g,
        &mut s,
        &g.token(json!({"role": stranger})),
        "42501",
        "role_not_granted",
    );
    for power in [
        "SUPERUSER",
        "BYPASSRLS",
        "CREATEROLE",
        "REPLICATION",
        "IN ROLE pg_execute_server_program",
        "IN ROLE pg_write_server_files",
        "IN ROLE pg_read_server_files",
    ] {
        let word = power.rsplit(' ').next().unwrap_or_default();
        let role = g.f.role(&word.to_lowercase(), power);
        admin.run(&format!("GRANT {role} TO {}", g.auth));
        refused(
            &g,
            &mut s,
            &g.token(json!({"role": role})),
            "42501",
            "role_privileged",
        );
    }
    still_works(&g, &mut s);
}

/// A superuser is a member of every role, and still may not use a token to become a privileged one.
#[test]
fn roles_that_not_even_a_superuser_may_take() {
    let g = Gate::new("jwt_super_target");
    let boss = g.f.role("boss", "SUPERUSER");
    let mut admin = g.f.admin();
    admin.refused_with(
        &switch(&g.token(json!({"role": boss}))),
        "42501",
        "role_privileged",
    );
    admin.refused_with(
        &switch(&g.token(json!({"role": "pg_write_all_data"}))),
        "42501",
        "role_reserved",
    );
}

#[test]
fn where_the_switch_would_be_undone() {
    let g = Gate::new("jwt_undone");
    let token = literal(&g.token(json!({})));
    let mut admin = g.f.admin();
    let call = format!("SELECT scope.set_jwt_role({token})::text");
    admin.run(&format!(
        "CREATE FUNCTION with_role() RETURNS text LANGUAGE sql SET role = '{auth}' AS $$ {call} $$;
         CREATE FUNCTION definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ {call} $$;
         CREATE FUNCTION definer_auth() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ {call} $$;
         ALTER FUNCTION definer_auth() OWNER TO {auth};
         CREATE FUNCTION with_path() RETURNS text LANGUAGE sql SET search_path = pg_catalog AS $$ {call} $$;
         CREATE FUNCTION with_claims() RETURNS text LANGUAGE sql SET request.jwt.claims = '' AS $$ {call} $$;
         CREATE FUNCTION plain() RETURNS text LANGUAGE sql AS $$ {call} $$",
        auth = g.auth
    ));
    let mut s = g.login();
    for function in ["with_role", "definer", "definer_auth"] {
        s.run("BEGIN");
        s.refused(&format!("SELECT {function}()"), "42501");
        s.run("ROLLBACK");
        assert_itself(&mut s, &g.auth);
    }
    // Every SET clause opens a level at whose end settings go back. A caller must not be left unlocked without an error.
    for function in ["with_path", "with_claims"] {
        s.run("BEGIN");
        match s.attempt(&format!("SELECT {function}()")) {
            Err(refusal) => assert_eq!(refusal.code, "42501", "{function}: {refusal}"),
            Ok(_) => {
                assert_eq!(s.text("SELECT current_user"), g.reader, "{function}");
                s.refused("RESET ROLE", "42501");
            }
        }
        s.run("ROLLBACK");
        assert_itself(&mut s, &g.auth);
    }
    s.run("BEGIN; SELECT plain()");
    assert_eq!(s.text("SELECT current_user"), g.reader);
    s.refused("RESET ROLE", "42501");
    s.run("ROLLBACK");
}
