//! What an issuer's tokens must say, which roles their claims stand for, and what a refusal tells of it.

use serde_json::{Value, json};

use super::issuers::{ED, claims, iss, register, takes};
use super::{CLAIMS, Gate, assert_itself, assert_switched, switch, switch_session};
use crate::harness::*;

fn token(g: &Gate, name: &str, more: Value) -> String {
    ED.token("EdDSA", &claims(g, name, more))
}

fn typed(g: &Gate, name: &str, typ: Value) -> String {
    let mut header = json!({"alg": "EdDSA", "kid": "ed-1"});
    if !typ.is_null() {
        header["typ"] = typ;
    }
    ED.token_with(&header, &claims(g, name, json!({})))
}

fn switch_by(token: &str, claim: &str) -> String {
    format!(
        "SELECT scope.set_jwt_role({}, {})",
        literal(token),
        literal(claim)
    )
}

/// Cognito's access tokens, Google's addresses and GitHub's pull requests are told apart by no audience.
#[test]
fn attack_a_token_of_the_issuer_for_something_else() {
    let g = Gate::new("jwt_rules_required");
    register(
        &g,
        "rules",
        &jwks(&[&ED]),
        "required_claims => '{\"client_id\": [\"app1\", \"app2\"], \"email_verified\": true, \"token_use\": \"access\",
          \".ctx.n\": 5, \".groups[?(@ == \\\"db\\\")]\": {\"present\": true}}'",
    );
    let good = json!({"client_id": "app2", "email_verified": true, "token_use": "access", "ctx": {"n": 5},
        "groups": ["x", "db"]});
    let mut s = g.login();
    takes(&mut s, &token(&g, "rules", good.clone()), &g.reader);
    for (claim, named, value) in [
        ("client_id", "client_id", json!("app3")),
        ("client_id", "client_id", json!(["app1"])),
        ("client_id", "client_id", Value::Null),
        ("email_verified", "email_verified", json!("true")),
        ("email_verified", "email_verified", json!(false)),
        ("email_verified", "email_verified", json!(1)),
        ("token_use", "token_use", json!("id")),
        ("token_use", "token_use", json!("access ")),
        ("ctx", ".ctx.n", json!({"n": "5"})),
        ("ctx", ".ctx.n", json!(5)),
        ("groups", ".groups", json!(["x", "hunter2-db"])),
    ] {
        let mut other = good.clone();
        other[claim] = value.clone();
        let other = token(&g, "rules", other);
        let refusal = s.refused_with(&switch(&other), "28000", "claim_required");
        assert!(
            refusal.detail.contains(named) && refusal.detail.contains("\"rules\""),
            "{refusal}"
        );
        assert!(!refusal.rest.contains("hunter2") && !refusal.detail.contains("hunter2"));
        g.f.admin().refused_with(
            &format!("SELECT scope.verify_jwt({})", literal(&other)),
            "28000",
            "claim_required",
        );
        assert_itself(&mut s, &g.auth);
    }
    // The signature comes first, and a token that was taken once is judged by what holds now.
    let (mut warm, mut lasting) = (g.login(), g.login());
    let once = token(&g, "rules", good);
    warm.run(&format!("BEGIN; {}", switch(&once)));
    lasting.run(&switch_session(&once));
    g.f.admin().run(
        "UPDATE _scope.jwt_issuer SET required_claims = '{\"client_id\": \"app1\"}' WHERE name = 'rules'",
    );
    for s in [&mut warm, &mut lasting] {
        s.refused_with("SELECT * FROM orders", "28000", "withdrawn");
    }
    warm.run("ROLLBACK");
    warm.refused_with(&switch(&once), "28000", "claim_required");
}

/// What cannot be read of one issuer, whoever has written it, is no other's matter.
#[test]
fn an_issuer_that_cannot_be_read_stops_no_other() {
    let g = Gate::new("jwt_rules_unread");
    let keys = jwks(&[&ED]);
    register(&g, "good", &keys, "");
    register(&g, "bad", &keys, "");
    g.f.admin()
        .run("UPDATE _scope.jwt_issuer SET required_claims = '{\"n\": null}' WHERE name = 'bad'");
    let mut s = g.login();
    takes(&mut s, &token(&g, "good", json!({})), &g.reader);
    takes(&mut s, &g.token(json!({})), &g.reader);
    let refusal = s.refused(&switch(&token(&g, "bad", json!({}))), "55000");
    assert!(refusal.message.contains("\"bad\""), "{refusal}");
}

/// A token's claim that users can edit, named by the caller: the administrator says which it is from now on.
#[test]
fn attack_a_switch_that_outlives_the_rule_that_named_its_role() {
    let g = Gate::new("jwt_rules_path");
    register(&g, "nick", &jwks(&[&ED]), "");
    let chosen = token(&g, "nick", json!({"role": g.writer, "nick": g.reader}));
    let (mut s, mut other) = (g.login(), g.login());
    s.run(&format!("BEGIN; {}", switch_by(&chosen, "nick")));
    other.run(&format!("BEGIN; {}", switch(&chosen)));
    g.f.admin()
        .run(r#"SELECT scope.alter_jwt_issuer('nick', '{"role_claim":"role"}')"#);
    assert_switched(&mut other, &g.writer);
    s.refused_with("SELECT * FROM orders", "28000", "withdrawn");
}

#[test]
fn attack_an_id_token_as_an_access_token() {
    let g = Gate::new("jwt_rules_types");
    let keys = jwks(&[&ED]);
    register(&g, "access", &keys, "token_types => '{at+jwt}'");
    register(&g, "either", &keys, "token_types => '{JWT,absent}'");
    register(&g, "any", &keys, "");
    let mut s = g.login();
    for (name, typ, is_taken) in [
        ("access", json!("at+jwt"), true),
        ("access", json!("AT+JWT"), true),
        ("access", json!("application/at+jwt"), true),
        ("access", json!("JWT"), false),
        ("access", json!("id+jwt"), false),
        ("access", json!(""), false),
        ("access", json!(["at+jwt"]), false),
        ("access", Value::Null, false),
        ("either", json!("jwt"), true),
        ("either", Value::Null, true),
        ("either", json!("at+jwt"), false),
        ("either", json!("absent"), false),
        ("any", json!("dpop+jwt"), true),
        ("any", json!(5), true),
        ("any", Value::Null, true),
    ] {
        let token = typed(&g, name, typ);
        if is_taken {
            takes(&mut s, &token, &g.reader);
        } else {
            let refusal = s.refused_with(&switch(&token), "28000", "token_type");
            assert!(
                refusal
                    .hint
                    .contains(&format!("token_types of the issuer \"{name}\"")),
                "{refusal}"
            );
        }
    }
    // What another session has verified is no way around it.
    let token = typed(&g, "any", json!("x"));
    takes(&mut g.login(), &token, &g.reader);
    g.f.admin()
        .run("UPDATE _scope.jwt_issuer SET token_types = '{at+jwt}' WHERE name = 'any'");
    for s in [&mut s, &mut g.login()] {
        s.refused_with(&switch(&token), "28000", "token_type");
    }
}

#[test]
fn a_role_is_found_by_the_groups_of_a_token() {
    let g = Gate::new("jwt_rules_map");
    let (reader, writer) = (&g.reader, &g.writer);
    let keys = jwks(&[&ED]);
    // The order is the map's: jsonb would put the shorter first.
    let map = format!(
        "role_claim => 'groups', role_map => '{{\"/db/long/writers\": \"{writer}\", \"/db/r\": \"{reader}\"}}'"
    );
    register(&g, "map", &keys, &map);
    register(
        &g,
        "reversed",
        &keys,
        &format!(
            "role_claim => '$.groups[*]', role_map => '[{{\"/db/r\": \"{reader}\"}}, {{\"/db/long/writers\": \"{writer}\"}}]', anon_role => '{reader}'"
        ),
    );
    register(
        &g,
        "narrow",
        &keys,
        &format!(
            "role_map => '{{\"w\": \"{writer}\", \"r\": \"{reader}\"}}', allowed_roles => '{{{reader}}}'"
        ),
    );
    let mut s = g.login();
    let groups = |name, groups: Value| token(&g, name, json!({"groups": groups}));
    for (name, of, role) in [
        ("map", json!(["/x", "/db/r", "/db/long/writers"]), writer),
        ("map", json!(["/db/r"]), reader),
        ("map", json!("/db/r"), reader),
        ("reversed", json!(["/db/long/writers", "/db/r"]), reader),
        ("reversed", json!(["/db/long/writers"]), writer),
        ("reversed", Value::Null, reader),
    ] {
        takes(&mut s, &groups(name, of), role);
    }
    // What the map does not know is no role, not even by its name.
    for (name, of, reason) in [
        ("map", json!(["/db"]), "role_not_mapped"),
        ("map", json!(reader), "role_not_mapped"),
        ("map", json!([reader, "/db/R"]), "role_not_mapped"),
        ("map", json!([]), "role_not_text"),
        ("map", json!({"/db/r": true}), "role_not_text"),
        ("map", Value::Null, "role_missing"),
        ("reversed", json!(["nobody"]), "role_not_mapped"),
    ] {
        let refusal = s.refused_with(&switch(&groups(name, of)), "28000", reason);
        assert!(
            refusal.detail.contains("groups")
                && refusal
                    .detail
                    .contains(&format!("the role_claim of the issuer \"{name}\"")),
            "{refusal}"
        );
    }
    let narrow = |role: &str| token(&g, "narrow", json!({"role": role}));
    takes(&mut s, &narrow("r"), reader);
    s.refused_with(&switch(&narrow("w")), "42501", "role_not_allowed");
    // Nobody chooses the claim that is mapped.
    let chosen = token(&g, "narrow", json!({"role": "x", "mine": "r"}));
    s.refused_with(&switch_by(&chosen, "mine"), "42501", "role_claim_fixed");
    takes(&mut s, &token(&g, "narrow", json!({"role": "r"})), reader);
    // A switch ends where the map gives another role by now.
    let both = groups("map", json!(["/db/r", "/db/long/writers"]));
    let mut other = g.login();
    other.run(&format!(
        "BEGIN; {}",
        switch(&groups("map", json!(["/db/r"])))
    ));
    s.run(&format!("BEGIN; {}", switch(&both)));
    g.f.admin().run(&format!(
        "UPDATE _scope.jwt_issuer SET role_map = '[{{\"/db/r\": \"{reader}\"}}]' WHERE name = 'map'"
    ));
    assert_switched(&mut other, reader);
    s.refused_with("SELECT * FROM orders", "28000", "withdrawn");
    s.run("ROLLBACK");
    takes(&mut s, &both, reader);
}

/// As PostgREST has it: `role` is the role that was taken. `jwt_claims()` is what was signed.
#[test]
fn request_jwt_claims_has_the_role_that_was_taken() {
    let g = Gate::new("jwt_rules_shown");
    let (reader, writer) = (&g.reader, &g.writer);
    let keys = jwks(&[&ED]);
    register(&g, "named", &keys, "");
    register(&g, "path", &keys, "role_claim => '.app.role'");
    register(
        &g,
        "anon",
        &keys,
        &format!("role_claim => 'db_role', anon_role => '{reader}'"),
    );
    register(
        &g,
        "map",
        &keys,
        &format!("role_claim => 'groups', role_map => '{{\"w\": \"{writer}\"}}'"),
    );
    let shown = format!("({CLAIMS})::jsonb");
    let of = "current_setting('request.jwt.claim.role', true)";
    for (name, more, role) in [
        ("named", json!({}), reader),
        ("path", json!({"app": {"role": writer}}), writer),
        (
            "path",
            json!({"role": null, "app": {"role": writer}}),
            writer,
        ),
        (
            "path",
            json!({"role": ["x"], "app": {"role": writer}}),
            writer,
        ),
        (
            "path",
            json!({"role": writer, "app": {"role": writer}}),
            writer,
        ),
        ("anon", json!({"role": null}), reader),
        ("anon", json!({"role": "x"}), reader),
        (
            "map",
            json!({"role": "admin", "groups": ["w", "ä\"\\"]}),
            writer,
        ),
    ] {
        let token = token(&g, name, more.clone());
        let signed = claims(&g, name, more);
        for lasting in [false, true] {
            let mut s = g.login();
            let begin = if lasting {
                switch_session(&token)
            } else {
                format!("BEGIN; {}", switch(&token))
            };
            s.run(&begin);
            assert_switched(&mut s, role);
            assert_eq!(
                s.text(&format!("SELECT {shown} ->> 'role'")),
                *role,
                "{signed}"
            );
            assert_eq!(s.text(&format!("SELECT {of}")), *role, "{signed}");
            let text = s.text("SELECT scope.jwt_claims()");
            assert_eq!(
                serde_json::from_str::<Value>(&text).ok(),
                Some(signed.clone())
            );
            s.assert_that(&format!(
                "({shown} - 'role') = (scope.jwt_claims() - 'role')"
            ));
            s.assert_that("scope.jwt_subject() = 'ann'");
            if !lasting {
                s.run("SAVEPOINT a; ROLLBACK TO a");
                assert_eq!(s.text(&format!("SELECT {shown} ->> 'role'")), *role);
                s.run("COMMIT");
                assert_itself(&mut s, &g.auth);
            }
        }
    }
    // In parallel workers, too.
    let mut s = g.login();
    s.run(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    );
    s.run(&format!(
        "BEGIN; {}",
        switch(&token(&g, "path", json!({"app": {"role": reader}})))
    ));
    assert_eq!(
        s.text(&format!(
            "SELECT count(*) FROM orders WHERE {shown} ->> 'role' = '{reader}'"
        )),
        "2"
    );
}

#[test]
fn a_refusal_names_the_claim_and_where_it_is_configured() {
    let g = Gate::new("jwt_rules_named");
    let keys = jwks(&[&ED]);
    register(
        &g,
        "path",
        &keys,
        "role_claim => '.app.role', audiences => '{db}'",
    );
    register(&g, "free", &keys, "max_age => '1 hour'");
    let mut s = g.login();
    let db = |more: Value| {
        let mut claims = json!({"aud": "db"});
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        token(&g, "path", claims)
    };
    let old = json!({"iat": now() - 7200});
    let no_role = json!({"role": null, "iat": now()});
    for (sql, reason, words) in [
        (
            switch(&db(json!({}))),
            "role_missing",
            ["\".app.role\"", "role_claim of the issuer \"path\""],
        ),
        (
            switch(&db(json!({"app": {"role": 5}}))),
            "role_not_text",
            ["\".app.role\"", "issuer \"path\""],
        ),
        (
            switch(&token(&g, "free", no_role.clone())),
            "role_missing",
            ["\"role\"", "scope_roles.jwt_role_claim"],
        ),
        (
            switch_by(&token(&g, "free", no_role), "job"),
            "role_missing",
            ["\"job\"", "argument claim"],
        ),
        (
            switch(&token(&g, "path", json!({"aud": "x"}))),
            "audience",
            ["aud", "audiences of the issuer \"path\""],
        ),
        (
            switch(&token(&g, "free", old)),
            "too_old",
            ["iat", "max_age of the issuer \"free\""],
        ),
        (
            switch(&token(&g, "free", json!({"exp": "x"}))),
            "claim_type",
            ["exp", "issuer \"free\""],
        ),
        (
            switch(&g.token(json!({"exp": "x"}))),
            "claim_type",
            ["exp", "scope_roles.jwt_secret"],
        ),
    ] {
        let refusal = s.refused_with(&sql, "28000", reason);
        let text = format!("{} {}", refusal.detail, refusal.hint);
        assert!(
            words.iter().all(|word| text.contains(word)),
            "{words:?}: {refusal}"
        );
    }
}

/// "bad_signature" with a hint about HMAC secrets sends people the wrong way.
#[test]
fn a_token_of_no_issuer_is_told_so() {
    let g = Gate::new("jwt_rules_unknown");
    let mut s = g.login();
    let by_no_issuer = ED.token(
        "EdDSA",
        &g.claims(json!({"iss": "https://nobody.example.org"})),
    );
    let forged = sign_with(
        &g.claims(json!({"iss": "https://nobody.example.org"})),
        &"x".repeat(64),
        jsonwebtoken::Algorithm::HS256,
    );
    let tells = |s: &mut Session, token: &str| {
        let refusal = s.refused_with(&switch(token), "28000", "unknown_issuer");
        assert!(
            refusal.detail.contains("scope_roles.jwt_secret"),
            "{refusal}"
        );
        assert!(refusal.hint.contains("scope.add_jwt_issuer()"), "{refusal}");
        assert!(
            !format!("{refusal}").contains("nobody.example.org"),
            "{refusal}"
        );
    };
    tells(&mut s, &by_no_issuer);
    register(&g, "slash", &jwks(&[&ED]), "");
    for token in [&by_no_issuer, &forged] {
        tells(&mut s, token);
    }
    // The secret's own tokens are good with any iss, and one without iss is told what is wrong.
    takes(
        &mut s,
        &g.token(json!({"iss": "https://nobody.example.org"})),
        &g.reader,
    );
    s.refused_with(
        &switch(&ED.token("EdDSA", &g.claims(json!({})))),
        "28000",
        "algorithm",
    );
    let near = |iss: &str| ED.token("EdDSA", &g.claims(json!({"iss": iss})));
    let registered = iss("slash");
    let refusal = s.refused_with(
        &switch(&near(registered.trim_end_matches('/'))),
        "28000",
        "unknown_issuer",
    );
    assert!(
        refusal.detail.contains("\"slash\"") && refusal.detail.contains("slash at its end"),
        "{refusal}"
    );
    for iss in [format!("{registered}/"), registered.to_uppercase()] {
        let refusal = s.refused_with(&switch(&near(&iss)), "28000", "unknown_issuer");
        assert_eq!(
            refusal.detail.contains("\"slash\""),
            iss.ends_with("//"),
            "{refusal}"
        );
    }
}

/// The setting is compared to the letter, as an issuer's iss is.
#[test]
fn the_iss_of_the_settings_is_told_from_one_with_a_slash() {
    let server =
        Server::start(Options::default().set("scope_roles.jwt_issuer", "https://id.example.org"));
    let g = Gate::with(Fixture::on(&server, "jwt_rules_slash"));
    let mut s = g.login();
    takes(
        &mut s,
        &g.token(json!({"iss": "https://id.example.org"})),
        &g.reader,
    );
    for (iss, is_near) in [
        ("https://id.example.org/", true),
        ("https://id.example.org//", false),
        ("https://id.example.com", false),
    ] {
        let refusal = s.refused_with(&switch(&g.token(json!({"iss": iss}))), "28000", "issuer");
        assert_eq!(refusal.detail.contains("by a slash"), is_near, "{refusal}");
        assert!(refusal.hint.contains("scope_roles.jwt_issuer"), "{refusal}");
    }
    // A wrong key is a wrong key where the iss is the one that is configured.
    let forged = sign_with(
        &g.claims(json!({"iss": "https://id.example.org"})),
        &"x".repeat(64),
        jsonwebtoken::Algorithm::HS256,
    );
    s.refused_with(&switch(&forged), "28000", "bad_signature");
}

/// A key's `kid` is not another's.
#[test]
fn attack_a_kid_that_the_only_key_does_not_have() {
    let g = Gate::new("jwt_rules_kid");
    let mut nameless = ED.jwk();
    nameless.as_object_mut().expect("a JWK").remove("kid");
    register(&g, "named", &ED.jwk().to_string(), "");
    register(&g, "nameless", &nameless.to_string(), "");
    register(
        &g,
        "two",
        &json!([nameless, Key::p256("p").jwk()]).to_string(),
        "",
    );
    let mut s = g.login();
    for (name, kid, is_taken) in [
        ("named", Some("ed-1"), true),
        ("named", None, true),
        ("named", Some("ed-2"), false),
        ("named", Some(""), false),
        ("nameless", Some("ed-2"), true),
        ("nameless", None, true),
        ("two", None, true),
        ("two", Some("ed-1"), false),
    ] {
        let mut header = json!({"alg": "EdDSA"});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        let token = ED.token_with(&header, &claims(&g, name, json!({})));
        if is_taken {
            takes(&mut s, &token, &g.reader);
        } else {
            s.refused_with(&switch(&token), "28000", "unknown_key");
        }
    }
}

/// Made by openssl for this test.
fn certificate_of(folder: &std::path::Path, options: &[&str]) -> String {
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=securetoken",
            "-keyout",
        ])
        .arg(folder.join("key.pem"))
        .args(options)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl");
    String::from_utf8(made.stdout).expect("PEM")
}

/// As Firebase and Google publish them: `{kid: certificate}`.
#[test]
fn certificates_are_keys() {
    let g = Gate::new("jwt_rules_x509");
    let Some(folder) = certificate("jwt-x509") else {
        return;
    };
    let rsa = certificate_of(&folder, &["-newkey", "rsa:2048"]);
    let key = Key::rsa_of(&std::fs::read_to_string(folder.join("key.pem")).expect("a key"));
    let ec = certificate_of(
        &folder,
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    );
    let sign = |kid: Option<&str>, name: &str| {
        let mut header = json!({"alg": "RS256"});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        key.token_with(&header, &claims(&g, name, json!({})))
    };
    register(&g, "map", &json!({"a1": rsa, "b2": ec}).to_string(), "");
    register(&g, "one", &rsa, "");
    let mut s = g.login();
    takes(&mut s, &sign(Some("a1"), "map"), &g.reader);
    takes(&mut s, &sign(None, "map"), &g.reader);
    takes(&mut s, &sign(Some("any"), "one"), &g.reader);
    s.refused_with(&switch(&sign(Some("b2"), "map")), "28000", "algorithm");
    s.refused_with(&switch(&sign(Some("c3"), "map")), "28000", "unknown_key");
    let forged = ED.token("RS256", &claims(&g, "map", json!({})));
    s.refused(&switch(&forged), "28000");
    // A map with anything else in it is none, and a certificate of a weak key no key.
    let weak = certificate_of(&folder, &["-newkey", "rsa:1024"]);
    let mut admin = g.f.admin();
    for keys in [
        json!({"a": rsa, "b": "x"}).to_string(),
        json!({"a": rsa, "b": 5}).to_string(),
        json!({"a": rsa, "b": weak}).to_string(),
        format!("{{\"a\": {0}, \"a\": {0}}}", json!(rsa)),
        json!({"a": format!("{rsa}{ec}")}).to_string(),
        json!({"a": rsa.replace("CERTIFICATE", "PUBLIC KEY")}).to_string(),
        json!({"a": rsa.replacen("MII", "MIA", 1)}).to_string(),
        weak,
        format!("{rsa}{ec}"),
        rsa.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        rsa.lines().filter(|line| !line.starts_with('-')).collect(),
    ] {
        admin.refused(
            &format!("SELECT scope.set_jwt_keys('one', {})", literal(&keys)),
            "22023",
        );
    }
    takes(&mut s, &sign(Some("a1"), "one"), &g.reader);
}

/// Whoever has the public key of this kind has the private one (CVE-2017-15361).
#[test]
fn attack_a_key_whose_primes_can_be_found() {
    let g = Gate::new("jwt_rules_roca");
    // Among the test data that those who found the fault have published (crocs-muni/roca).
    let hex = "9dcd7420e420c270a68060eb8b5aa7457a9f6648f86fafed2775cc1f79ae962f1e63f1b9e51c55f9ea6fdc7332e9b0058c9ff2eb1fc89855029cf6aafe21e689feb38ac9ffb12f1ce371bb5d0e9aae64161abce74b4244bf68f1edb4411f756a097c8929c14740245ea355f8332d1aa36bb50c7dcb4505da8de02e4e53d38f8df06097da7524df0df93db48eac8cc4af2d3a16257eb2b2adca6ba464e5974fa92550d31b1babf161e7692d00b86e3dd886ecab4abfbe1a8f8cc263ff4af55cdb45f4249a5193925f5e983d762f0b6800943eb0267b08f42ed311ce1f5c86eacbc8ce4d3cb7a2fee1ef5641423a1cf4114e5ecf50034a60a412523af9e6f4aa11";
    let modulus: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect();
    let weak = json!({"kty": "RSA", "kid": "card", "n": base64url(modulus), "e": "AQAB"});
    let mut admin = g.f.admin();
    register(&g, "taken", &jwks(&[&ED]), "");
    for keys in [weak.clone(), json!({"keys": [ED.jwk(), weak]})] {
        let keys = literal(&keys.to_string());
        for sql in [
            format!("SELECT scope.add_jwt_issuer('new', 'https://new.example/', {keys})"),
            format!("SELECT scope.set_jwt_keys('taken', {keys})"),
        ] {
            let refusal = admin.refused(&sql, "22023");
            assert!(refusal.detail.contains("CVE-2017-15361"), "{refusal}");
        }
    }
}

#[test]
fn bad_rules_are_refused_and_leave_nothing() {
    let g = Gate::new("jwt_rules_bad");
    let mut admin = g.f.admin();
    let good = format!(
        "'new', 'https://new.example/', {}",
        literal(&ED.jwk().to_string())
    );
    let huge = "x".repeat(200_000);
    let many: Vec<String> = (0..1_001)
        .map(|number| format!("\"c{number}\": 1"))
        .collect();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for more in [
        "token_types => '{\"\"}'".to_owned(),
        "token_types => '{\"at jwt\"}'".into(),
        format!("token_types => '{{{}}}'", "t".repeat(128)),
        "required_claims => '[]'".into(),
        "required_claims => '5'".into(),
        "required_claims => 'null'".into(),
        "required_claims => '{\"a\": null}'".into(),
        "required_claims => '{\"a\": []}'".into(),
        "required_claims => '{\"a\": [null]}'".into(),
        "required_claims => '{\"a\": {}}'".into(),
        "required_claims => '{\"a\": {\"present\": false}}'".into(),
        "required_claims => '{\"\": 1}'".into(),
        "required_claims => '{\".a[\": 1}'".into(),
        format!("required_claims => '{{\"{huge}\": 1}}'"),
        format!("required_claims => '{{{}}}'", many.join(",")),
        format!("required_claims => '{{\"a\": {deep}}}'"),
        "role_map => '{}'".into(),
        "role_map => '[]'".into(),
        "role_map => 'null'".into(),
        "role_map => '\"x\"'".into(),
        "role_map => '{\"a\": \"b\", \"a\": \"c\"}'".into(),
        "role_map => '{\"a\": 5}'".into(),
        "role_map => '{\"a\": \"\"}'".into(),
        "role_map => '{\"\": \"a\"}'".into(),
        "role_map => '[{\"a\": \"b\", \"c\": \"d\"}]'".into(),
        format!("role_map => '{{\"a\": \"{huge}\"}}'"),
        format!("role_map => '{deep}'"),
        "bound => ''".into(),
        "bound => 'yes'".into(),
        "bound => 'Required'".into(),
    ] {
        let refusal = admin.refused(
            &format!("SELECT scope.add_jwt_issuer({good}, {more})"),
            "22023",
        );
        assert!(refusal.detail.len() < 2_000 && refusal.hint.len() < 2_000);
    }
    admin.refused(
        &format!("SELECT scope.add_jwt_issuer({good}, token_types => '{{at+jwt,NULL}}')"),
        "22004",
    );
    for more in ["required_claims => '{'", "role_map => '{\"a\"}'"] {
        admin.denied(
            &format!("SELECT scope.add_jwt_issuer({good}, {more})"),
            "22P02",
        );
    }
    assert_eq!(admin.text("SELECT count(*) FROM scope.jwt_issuers"), "0");
    // NULL is the default.
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer({good}, token_types => NULL, required_claims => NULL, role_map => NULL, bound => NULL)"
    ));
    admin.assert_that("(SELECT (token_types, required_claims, role_map, bound) IS NOT DISTINCT FROM ('{}'::text[], '{}'::jsonb, NULL::jsonb, 'if_present'::text) FROM scope.jwt_issuers)");
}
