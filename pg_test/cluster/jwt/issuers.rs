//! Registered issuers: whose keys verify whose tokens, and what an issuer's tokens may ask for.

use std::path::Path;
use std::sync::LazyLock;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Gate, assert_itself, assert_switched, switch};
use crate::harness::*;

static RSA: LazyLock<Key> = LazyLock::new(|| Key::rsa("rsa-1"));
static OTHER_RSA: LazyLock<Key> = LazyLock::new(|| Key::rsa("rsa-2"));
static P256: LazyLock<Key> = LazyLock::new(|| Key::p256("p256-1"));
pub static ED: LazyLock<Key> = LazyLock::new(|| Key::ed25519("ed-1"));
static OTHER_ED: LazyLock<Key> = LazyLock::new(|| Key::ed25519("ed-2"));

pub fn iss(name: &str) -> String {
    format!("https://{name}.example.org/")
}

/// Registers an issuer whose `iss` is [`iss`]; `more` is SQL.
#[track_caller]
pub fn register(g: &Gate, name: &str, keys: &str, more: &str) {
    g.f.admin().run(&registration(name, keys, more));
}

fn registration(name: &str, keys: &str, more: &str) -> String {
    format!(
        "SELECT scope.add_jwt_issuer('{name}', '{}', {}{}{more})",
        iss(name),
        literal(keys),
        if more.is_empty() { "" } else { ", " }
    )
}

/// Claims of an issuer's token for the reader.
pub fn claims(g: &Gate, name: &str, more: Value) -> Value {
    let mut claims = g.claims(json!({"iss": iss(name)}));
    for (claim, value) in more.as_object().expect("an object") {
        match value {
            Value::Null => claims.as_object_mut().expect("an object").remove(claim),
            value => claims
                .as_object_mut()
                .expect("an object")
                .insert(claim.clone(), value.clone()),
        };
    }
    claims
}

/// The token switches to the role, and nothing of that stays.
#[track_caller]
pub fn takes(s: &mut Session, token: &str, role: &str) {
    s.run("BEGIN");
    assert_eq!(s.text(&switch(token)), role);
    assert_switched(s, role);
    s.run("ROLLBACK");
}

fn token_without_kid(key: &Key, algorithm: &str, claims: &Value) -> String {
    key.token_with(&json!({"alg": algorithm}), claims)
}

/// Whoever can read a public key could sign with it, were it taken for an HMAC secret.
#[test]
fn public_material_is_never_taken_for_a_secret() {
    let g = Gate::new("jwt_iss_public");
    let mut admin = g.f.admin();
    register(&g, "taken", &ED.pem(), "algorithms => '{EdDSA}'");
    let pem = RSA.pem();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let set = jwks(&[&RSA]);
    for public in [
        der.clone(),
        pem.lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<Vec<_>>()
            .join("\n"),
        format!("the key of our provider\n{pem}"),
        pem.replacen("-----BEGIN", "----BEGIN", 1),
        json!(set).to_string(),
        format!("'{set}'"),
        format!("[{}", RSA.jwk()),
        "https://login.example.org/.well-known/jwks.json".into(),
        "@/etc/postgresql/keys/login.example.org.pem".into(),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ".into(),
    ] {
        let keys = literal(&public);
        for sql in [
            format!("SELECT scope.add_jwt_issuer('new', 'https://new.example/', {keys})"),
            format!("SELECT scope.set_jwt_keys('taken', {keys})"),
        ] {
            let refusal = admin.refused(&sql, "22023");
            assert!(
                !format!("{refusal}").contains(&public[..24]),
                "{public}: {refusal}"
            );
        }
    }
    // An array of keys is a set of public keys, with which nothing can be forged.
    let array = json!([RSA.jwk(), P256.jwk()]).to_string();
    register(&g, "array", &array, "");
    let mut s = g.login();
    let good = claims(&g, "array", json!({}));
    takes(&mut s, &RSA.token("RS256", &good), &g.reader);
    takes(&mut s, &P256.token("ES256", &good), &g.reader);
    let forged = sign_with(&good, &array, Algorithm::HS256);
    s.refused(&switch(&forged), "28000");
    // Keys that serve none of the algorithms are not the ones that were meant.
    let secret = literal("a secret of this issuer, 40 bytes long..");
    let rsa = "algorithms => '{RS256,PS256}'";
    admin.refused(
        &format!("SELECT scope.add_jwt_issuer('new', 'https://new.example/', {secret}, {rsa})"),
        "22023",
    );
    for keys in [&secret, &literal(&pem)] {
        admin.refused(
            &format!("SELECT scope.set_jwt_keys('taken', {keys})"),
            "22023",
        );
    }
    takes(
        &mut s,
        &ED.token("EdDSA", &claims(&g, "taken", json!({}))),
        &g.reader,
    );
    assert_eq!(
        admin.column("SELECT name FROM scope.jwt_issuers ORDER BY name"),
        ["array", "taken"]
    );
}

#[test]
fn every_algorithm_and_every_form_of_keys() {
    let g = Gate::new("jwt_iss_forms");
    let (p384, p521) = (Key::p384("p384"), Key::p521("p521"));
    let all = jwks(&[&RSA, &P256, &p384, &p521, &ED]);
    register(&g, "set", &all, "");
    let mut s = g.login();
    for (key, algorithms) in [
        (
            &*RSA,
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..],
        ),
        (&*P256, &["ES256"]),
        (&p384, &["ES384"]),
        (&p521, &["ES512"]),
        (&*ED, &["EdDSA"]),
    ] {
        for algorithm in algorithms {
            let claims = claims(&g, "set", json!({"via": algorithm}));
            takes(&mut s, &key.token(algorithm, &claims), &g.reader);
            takes(
                &mut s,
                &token_without_kid(key, algorithm, &claims),
                &g.reader,
            );
        }
    }
    for (name, key, algorithm) in [
        ("rsa", &*RSA, "PS256"),
        ("ec", &*P256, "ES256"),
        ("ed", &*ED, "EdDSA"),
    ] {
        register(&g, &format!("pem_{name}"), &key.pem(), "");
        register(&g, &format!("jwk_{name}"), &key.jwk().to_string(), "");
        for name in [format!("pem_{name}"), format!("jwk_{name}")] {
            let claims = claims(&g, &name, json!({}));
            takes(
                &mut s,
                &token_without_kid(key, algorithm, &claims),
                &g.reader,
            );
        }
    }
    let secret = "an issuer's secret of sixty-four bytes, that no other issuer has";
    register(&g, "secret", secret, "");
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let token = sign_with(&claims(&g, "secret", json!({})), secret, algorithm);
        takes(&mut s, &token, &g.reader);
    }
}

#[test]
fn a_key_is_bound_to_its_alg_and_use() {
    let g = Gate::new("jwt_iss_bound");
    let mut bound = RSA.jwk();
    bound["alg"] = json!("RS256");
    register(&g, "bound", &bound.to_string(), "");
    register(&g, "listed", &RSA.pem(), "algorithms => '{RS512,ES256}'");
    let mut s = g.login();
    let token = |name, algorithm| RSA.token(algorithm, &claims(&g, name, json!({})));
    takes(&mut s, &token("bound", "RS256"), &g.reader);
    for algorithm in ["RS384", "RS512", "PS256"] {
        s.refused_with(&switch(&token("bound", algorithm)), "28000", "algorithm");
    }
    takes(&mut s, &token("listed", "RS512"), &g.reader);
    for algorithm in ["RS256", "PS512", "ES256"] {
        s.refused_with(&switch(&token("listed", algorithm)), "28000", "algorithm");
    }
    // A key that is there to encrypt with verifies nothing.
    let mut for_encryption = OTHER_RSA.jwk();
    for_encryption["use"] = json!("enc");
    let keys = json!({"keys": [RSA.jwk(), for_encryption]}).to_string();
    register(&g, "mixed", &keys, "");
    takes(&mut s, &token("mixed", "RS256"), &g.reader);
    let by_encryption_key = OTHER_RSA.token("RS256", &claims(&g, "mixed", json!({})));
    s.refused_with(&switch(&by_encryption_key), "28000", "unknown_key");
}

/// Two issuers that trust each other in nothing, and the server's own secret.
struct Rivals(Gate<'static>);

const RIVAL_SECRET: &str = "the secret of one issuer, which is not that of the server";

impl Rivals {
    fn new(name: &str) -> Rivals {
        let g = Gate::new(name);
        register(&g, "ours", &jwks(&[&RSA]), "");
        register(&g, "theirs", &jwks(&[&OTHER_RSA, &ED]), "");
        register(&g, "shared", RIVAL_SECRET, "");
        Rivals(g)
    }
}

#[test]
fn attack_a_token_of_one_issuer_signed_by_another() {
    let Rivals(g) = &Rivals::new("jwt_iss_rivals");
    let mut s = g.login();
    let ours = claims(g, "ours", json!({}));
    takes(&mut s, &RSA.token("RS256", &ours), &g.reader);
    takes(
        &mut s,
        &ED.token("EdDSA", &claims(g, "theirs", json!({}))),
        &g.reader,
    );
    for (token, reason) in [
        (
            token_without_kid(&OTHER_RSA, "RS256", &ours),
            "bad_signature",
        ),
        (OTHER_RSA.token("RS256", &ours), "unknown_key"),
        // Under the name of the right key.
        (
            OTHER_RSA.token_with(&json!({"alg": "RS256", "kid": "rsa-1"}), &ours),
            "bad_signature",
        ),
        (token_without_kid(&ED, "EdDSA", &ours), "algorithm"),
        (
            ED.token_with(&json!({"alg": "RS256", "kid": "rsa-1"}), &ours),
            "bad_signature",
        ),
        // The server's secret is for tokens of nobody else.
        (sign(&ours), "algorithm"),
        (
            sign_with(&ours, RIVAL_SECRET, Algorithm::HS256),
            "algorithm",
        ),
        (sign(&claims(g, "shared", json!({}))), "bad_signature"),
        // Nor does an issuer sign for nobody, or for an issuer that does not exist.
        (
            sign_with(&g.claims(json!({})), RIVAL_SECRET, Algorithm::HS256),
            "bad_signature",
        ),
        (RSA.token("RS256", &g.claims(json!({}))), "algorithm"),
        (
            RSA.token("RS256", &claims(g, "nobody", json!({}))),
            "unknown_issuer",
        ),
    ] {
        s.refused_with(&switch(&token), "28000", reason);
        assert_itself(&mut s, &g.auth);
    }
    // Other issuers are the secret's affair.
    takes(&mut s, &sign(&claims(g, "nobody", json!({}))), &g.reader);
    takes(&mut s, &sign(&g.claims(json!({}))), &g.reader);
}

#[test]
fn attack_an_iss_that_is_almost_a_registered_one() {
    let Rivals(g) = &Rivals::new("jwt_iss_almost");
    let mut s = g.login();
    let exact = iss("ours");
    for almost in [
        exact.to_uppercase(),
        exact.trim_end_matches('/').to_owned(),
        format!("{exact} "),
        format!("{exact}\u{0}"),
        format!("{exact}%"),
        "ours".to_owned(),
        String::new(),
    ] {
        let token = RSA.token("RS256", &claims(g, "ours", json!({"iss": almost})));
        let refusal = s.refused(&switch(&token), "28000");
        assert!(!refusal.detail.is_empty(), "{almost}: {refusal}");
    }
    for odd in [json!([exact]), json!(7), json!({"url": exact}), json!(true)] {
        for token in [
            RSA.token("RS256", &claims(g, "ours", json!({"iss": odd}))),
            sign(&claims(g, "ours", json!({"iss": odd}))),
        ] {
            s.refused(&switch(&token), "28000");
        }
    }
    // One reader of the token may see the first name, another the last.
    let payload = format!(
        r#"{{"iss":"{}","iss":"{}","role":"{}","exp":{}}}"#,
        iss("ours"),
        iss("shared"),
        g.reader,
        now() + 60
    );
    let refusal = s.refused(&switch(&sign_raw(r#"{"alg":"HS256"}"#, &payload)), "28000");
    assert!(refusal.detail.starts_with("duplicate_claim: "), "{refusal}");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn attack_the_public_key_as_an_hmac_secret() {
    let g = Gate::new("jwt_iss_confusion");
    register(&g, "pem", &RSA.pem(), "");
    register(&g, "set", &jwks(&[&RSA, &P256]), "");
    let mut s = g.login();
    let jwk = RSA.jwk();
    let n = jwk["n"].as_str().expect("n");
    for public in [
        RSA.pem(),
        RSA.pem().trim().to_owned(),
        RSA.pem().replace('\n', ""),
        jwks(&[&RSA, &P256]),
        jwk.to_string(),
        n.to_owned(),
    ] {
        for name in ["pem", "set"] {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let token = sign_with(&claims(&g, name, json!({})), &public, algorithm);
                s.refused_with(&switch(&token), "28000", "algorithm");
            }
        }
    }
    takes(
        &mut s,
        &RSA.token("RS256", &claims(&g, "pem", json!({}))),
        &g.reader,
    );
}

#[test]
fn attack_headers_that_bring_or_choose_a_key() {
    let Rivals(g) = &Rivals::new("jwt_iss_header");
    let mut s = g.login();
    let claims = claims(g, "ours", json!({}));
    let attacker = Key::rsa("rsa-1");
    for header in [
        json!({"alg": "RS256", "jwk": attacker.jwk()}),
        json!({"alg": "RS256", "kid": "rsa-1", "jwk": attacker.jwk()}),
        json!({"alg": "RS256", "jku": "https://evil.example/keys"}),
        json!({"alg": "RS256", "x5u": "https://evil.example/cert"}),
    ] {
        let token = attacker.token_with(&header, &claims);
        s.refused_with(&switch(&token), "28000", "embedded_key");
        // Not even under a right signature, which says that the signer is confused.
        let token = RSA.token_with(&header, &claims);
        s.refused_with(&switch(&token), "28000", "embedded_key");
    }
    for kid in [
        "no-such-key",
        "",
        "RSA-1",
        "rsa-1 ",
        "../../../../dev/null",
        "' OR true --",
        "ed-1",
    ] {
        let token = RSA.token_with(&json!({"alg": "RS256", "kid": kid}), &claims);
        s.refused_with(&switch(&token), "28000", "unknown_key");
    }
    for kid in [json!(1), json!(null), json!(["rsa-1"]), json!({})] {
        let token = RSA.token_with(&json!({"alg": "RS256", "kid": kid}), &claims);
        if let Err(refusal) = s.attempt(&switch(&token)) {
            assert_eq!(refusal.code, "28000", "{kid}: {refusal}");
        }
    }
    for algorithm in ["none", "None", "NONE"] {
        for header in [
            json!({"alg": algorithm}),
            json!({"alg": algorithm, "kid": "rsa-1"}),
        ] {
            let bare = unsigned(&header.to_string(), &claims.to_string());
            s.refused(&switch(&bare), "28000");
            let token = RSA.token_with(&header, &claims);
            s.refused_with(&switch(&token), "28000", "algorithm");
        }
    }
    let critical = json!({"alg": "RS256", "crit": ["exp"], "exp": 1});
    s.refused_with(
        &switch(&RSA.token_with(&critical, &claims)),
        "28000",
        "critical",
    );
    assert_itself(&mut s, &g.auth);
}

#[test]
fn attack_signatures_of_a_wrong_shape() {
    let g = Gate::new("jwt_iss_shape");
    register(&g, "set", &jwks(&[&RSA, &P256, &ED]), "");
    let mut s = g.login();
    let claims = claims(&g, "set", json!({}));
    for (key, algorithm, size) in [
        (&*RSA, "RS256", 256),
        (&*RSA, "PS256", 256),
        (&*P256, "ES256", 64),
        (&*ED, "EdDSA", 64),
    ] {
        let good = key.token(algorithm, &claims);
        takes(&mut s, &good, &g.reader);
        let (message, signature) = good.rsplit_once('.').expect("a signature");
        // All zeros passed for ECDSA in Java once (CVE-2022-21449).
        for forged in [
            vec![0; size],
            vec![0xff; size],
            vec![0; size - 1],
            vec![0; size + 1],
            vec![1],
        ] {
            let token = format!("{message}.{}", base64url(&forged));
            s.refused_with(&switch(&token), "28000", "bad_signature");
        }
        let (head, tail) = signature.split_at(40);
        let swapped = if tail.starts_with('A') { 'B' } else { 'A' };
        let token = format!("{message}.{head}{swapped}{}", &tail[1..]);
        s.refused_with(&switch(&token), "28000", "bad_signature");
        // A richer payload under a signature that is in the cache by now.
        let mut richer = claims.clone();
        richer["role"] = json!(g.writer);
        let header = message.split('.').next().expect("a header");
        let token = format!("{header}.{}.{signature}", base64url(richer.to_string()));
        s.refused_with(&switch(&token), "28000", "bad_signature");
    }
}

#[test]
fn rotation_holds_at_once_in_every_warm_session() {
    let g = Gate::new("jwt_iss_rotate");
    register(&g, "a", &jwks(&[&RSA]), "");
    let mut admin = g.f.admin();
    let claims = claims(&g, "a", json!({}));
    let (old, new) = (
        RSA.token("RS256", &claims),
        OTHER_RSA.token("RS256", &claims),
    );
    let nameless = token_without_kid(&RSA, "PS256", &claims);
    let mut sessions: Vec<Session> = (0..3).map(|_| g.login()).collect();
    let set = |keys: &[&Key]| format!("SELECT scope.set_jwt_keys('a', {})", literal(&jwks(keys)));
    for s in &mut sessions {
        takes(s, &old, &g.reader);
        takes(s, &nameless, &g.reader);
        s.refused_with(&switch(&new), "28000", "unknown_key");
    }
    // Not before the commit, and not after a rollback.
    admin.run(&format!("BEGIN; {}", set(&[&OTHER_RSA])));
    for s in &mut sessions {
        takes(s, &old, &g.reader);
        s.refused_with(&switch(&new), "28000", "unknown_key");
    }
    admin.run("ROLLBACK");
    for s in &mut sessions {
        takes(s, &old, &g.reader);
        s.refused_with(&switch(&new), "28000", "unknown_key");
    }
    admin.run(&set(&[&RSA, &OTHER_RSA]));
    for s in &mut sessions {
        takes(s, &old, &g.reader);
        takes(s, &new, &g.reader);
        takes(s, &nameless, &g.reader);
    }
    // An old snapshot must not keep an old key.
    let mut snapshot = g.login();
    takes(&mut snapshot, &old, &g.reader);
    snapshot.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class");
    admin.run(&set(&[&OTHER_RSA]));
    for s in &mut sessions {
        s.refused_with(&switch(&old), "28000", "unknown_key");
        s.refused_with(&switch(&nameless), "28000", "bad_signature");
        takes(s, &new, &g.reader);
    }
    snapshot.refused_with(&switch(&old), "28000", "unknown_key");
    snapshot.run("ROLLBACK");
    // And back: what was refused is not remembered.
    admin.run(&set(&[&RSA]));
    for s in &mut sessions {
        takes(s, &old, &g.reader);
        s.refused_with(&switch(&new), "28000", "unknown_key");
    }
}

#[test]
fn a_dropped_issuer_is_refused_from_the_commit_on_in_warm_sessions() {
    let g = Gate::new("jwt_iss_drop");
    register(&g, "a", &jwks(&[&RSA]), "");
    let mut admin = g.f.admin();
    let (mut one, mut two) = (g.login(), g.login());
    let token = RSA.token("RS256", &claims(&g, "a", json!({})));
    for s in [&mut one, &mut two] {
        takes(s, &token, &g.reader);
    }
    admin.run("BEGIN; SELECT scope.drop_jwt_issuer('a')");
    takes(&mut one, &token, &g.reader);
    admin.run("ROLLBACK");
    takes(&mut one, &token, &g.reader);
    admin.run("SELECT scope.drop_jwt_issuer('a')");
    for s in [&mut one, &mut two, &mut g.login()] {
        s.refused_with(&switch(&token), "28000", "unknown_issuer");
        assert_itself(s, &g.auth);
    }
    // The same name for another iss, and the same iss with other keys, are other issuers.
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('a', 'https://elsewhere.example/', {})",
        literal(&jwks(&[&RSA]))
    ));
    one.refused_with(&switch(&token), "28000", "unknown_issuer");
    admin.run(&format!(
        "SELECT scope.drop_jwt_issuer('a'); {}",
        registration("a", &jwks(&[&OTHER_RSA]), "")
    ));
    one.refused_with(&switch(&token), "28000", "unknown_key");
    // By hand, as a superuser may.
    admin.run("TRUNCATE _scope.jwt_issuer");
    one.refused_with(&switch(&token), "28000", "unknown_issuer");
    admin.run(&registration("a", &jwks(&[&RSA]), ""));
    takes(&mut one, &token, &g.reader);
    admin.run("DELETE FROM _scope.jwt_issuer");
    one.refused_with(&switch(&token), "28000", "unknown_issuer");
}

#[test]
fn attack_a_role_from_a_claim_that_users_edit() {
    let g = Gate::new("jwt_iss_claim");
    register(&g, "a", &ED.pem(), "role_claim => '.app.roles[0]'");
    let mut s = g.login();
    let token = ED.token(
        "EdDSA",
        &claims(
            &g,
            "a",
            json!({"role": g.writer, "profile": {"role": g.writer}, "app": {"roles": [g.reader, g.writer]}}),
        ),
    );
    takes(&mut s, &token, &g.reader);
    let call = |function: &str, claim: &str| {
        format!(
            "SELECT scope.{function}({}, {})",
            literal(&token),
            literal(claim)
        )
    };
    let ask = |claim: &str| call("set_jwt_role", claim);
    s.run("BEGIN");
    assert_eq!(s.text(&ask(".app.roles[0]")), g.reader);
    s.run("ROLLBACK");
    for claim in [
        "role",
        ".profile.role",
        "$.profile.role",
        ".app.roles[1]",
        "$..role",
        "",
        ".a[",
    ] {
        s.refused_with(&ask(claim), "42501", "role_claim_fixed");
        let session = call("set_jwt_session", claim);
        s.refused_with(&session, "42501", "role_claim_fixed");
    }
    let without = ED.token("EdDSA", &claims(&g, "a", json!({"role": g.writer})));
    s.refused_with(&switch(&without), "28000", "role_missing");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn an_issuer_gives_its_allowed_roles_only() {
    let g = Gate::new("jwt_iss_allowed");
    let allowed = format!("allowed_roles => '{{{}}}'", g.reader);
    register(&g, "some", &jwks(&[&ED]), &allowed);
    register(&g, "none", &jwks(&[&ED]), "allowed_roles => '{}'");
    register(&g, "any", &jwks(&[&ED]), "");
    let mut s = g.login();
    let token = |name, role: &str| ED.token("EdDSA", &claims(&g, name, json!({"role": role})));
    takes(&mut s, &token("some", &g.reader), &g.reader);
    takes(&mut s, &token("any", &g.writer), &g.writer);
    for (name, role) in [
        ("some", &g.writer),
        ("none", &g.reader),
        ("none", &g.writer),
    ] {
        s.refused_with(&switch(&token(name, role)), "42501", "role_not_allowed");
    }
    // An issuer widens nothing: privileged roles and roles of others stay out of reach.
    register(
        &g,
        "generous",
        &jwks(&[&ED]),
        "allowed_roles => '{postgres,pg_monitor,jwt_iss_allowed_stranger}'",
    );
    g.f.role("stranger", "NOLOGIN");
    for (role, reason) in [
        ("postgres", "role_privileged"),
        ("pg_monitor", "role_reserved"),
        ("jwt_iss_allowed_stranger", "role_not_granted"),
    ] {
        s.refused_with(&switch(&token("generous", role)), "42501", reason);
    }
}

#[test]
fn an_issuers_anonymous_role_is_for_its_valid_tokens_without_the_claim() {
    let g = Gate::new("jwt_iss_anon");
    let stranger = g.f.role("stranger", "NOLOGIN");
    register(
        &g,
        "a",
        &jwks(&[&ED]),
        &format!("anon_role => '{}'", g.reader),
    );
    register(
        &g,
        "b",
        &jwks(&[&ED]),
        &format!("anon_role => '{stranger}'"),
    );
    register(&g, "c", &jwks(&[&ED]), "anon_role => 'postgres'");
    let mut s = g.login();
    let token = |name, more| ED.token("EdDSA", &claims(&g, name, more));
    takes(&mut s, &token("a", json!({"role": null})), &g.reader);
    takes(&mut s, &token("a", json!({"role": g.writer})), &g.writer);
    for (role, code, reason) in [
        (json!(""), "28000", "role_empty"),
        (json!(7), "28000", "role_not_text"),
        (json!([]), "28000", "role_not_text"),
        (json!("nobody_at_all"), "42501", "role_unknown"),
    ] {
        s.refused_with(&switch(&token("a", json!({"role": role}))), code, reason);
    }
    let none = json!({"role": null});
    let forged = OTHER_ED.token_with(&json!({"alg": "EdDSA"}), &claims(&g, "a", none.clone()));
    s.refused_with(&switch(&forged), "28000", "bad_signature");
    let old = token("a", json!({"role": null, "exp": now() - 3600}));
    s.refused_with(&switch(&old), "28000", "expired");
    s.refused_with(&switch(""), "28000", "empty");
    s.refused_with(
        &switch(&token("b", none.clone())),
        "42501",
        "role_not_granted",
    );
    s.refused_with(&switch(&token("c", none)), "42501", "role_privileged");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn an_issuers_audiences_leeway_and_ages() {
    let g = Gate::new("jwt_iss_rules");
    register(&g, "aud", &jwks(&[&ED]), "audiences => '{api,web}'");
    register(&g, "strict", &jwks(&[&ED]), "leeway => '0'");
    register(&g, "lax", &jwks(&[&ED]), "leeway => '1 hour'");
    register(&g, "endless", &jwks(&[&ED]), "require_exp => false");
    register(&g, "young", &jwks(&[&ED]), "max_age => '5 minutes'");
    let mut s = g.login();
    let token = |name, more| ED.token("EdDSA", &claims(&g, name, more));
    let t = now();
    for (name, more) in [
        ("aud", json!({"aud": "api"})),
        ("aud", json!({"aud": ["x", "web"]})),
        ("strict", json!({"aud": "whatever"})),
        ("strict", json!({})),
        ("lax", json!({"exp": t - 1800})),
        ("lax", json!({"nbf": t + 1800, "iat": t + 1800})),
        ("endless", json!({"exp": null})),
        ("young", json!({"iat": t - 250})),
    ] {
        takes(&mut s, &token(name, more), &g.reader);
    }
    for (name, more, reason) in [
        ("aud", json!({}), "audience"),
        ("aud", json!({"aud": "API"}), "audience"),
        ("aud", json!({"aud": ["x", "y"]}), "audience"),
        ("aud", json!({"aud": []}), "audience"),
        ("strict", json!({"exp": t - 2}), "expired"),
        ("strict", json!({"nbf": t + 20}), "not_yet_valid"),
        ("strict", json!({"exp": null}), "missing_exp"),
        ("lax", json!({"exp": t - 7200}), "expired"),
        ("endless", json!({"exp": t - 60}), "expired"),
        ("young", json!({}), "missing_iat"),
        ("young", json!({"iat": t - 3600}), "too_old"),
    ] {
        s.refused_with(&switch(&token(name, more)), "28000", reason);
    }
}

#[test]
fn bad_registrations_are_refused_and_leave_nothing() {
    let g = Gate::new("jwt_iss_bad");
    register(&g, "taken", &jwks(&[&ED]), "");
    let mut admin = g.f.admin();
    let good = literal(&ED.jwk().to_string());
    let mut weak = RSA.jwk();
    weak["e"] = json!("AQ");
    let mut small = RSA.jwk();
    small["n"] = json!(base64url([0xc5; 128]));
    let mut encrypting = RSA.jwk();
    encrypting["use"] = json!("enc");
    let mut off_curve = P256.jwk();
    off_curve["y"] = P256.jwk()["x"].clone();
    let mut mislabelled = RSA.jwk();
    mislabelled["alg"] = json!("HS256");
    let hidden = "hunter2-is-too-short";
    let short = json!({"kty": "oct", "k": base64url(hidden)});
    for keys in [
        String::new(),
        hidden.into(),
        "{}".into(),
        "{\"keys\": []}".into(),
        "{\"keys\": 7}".into(),
        "{\"kty\": \"RSA\"}".into(),
        "{\"kty\": \"oct\", \"k\": \"!\"}".into(),
        "{\"kty\": ".into(),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".into(),
        "-----BEGIN PUBLIC KEY-----".into(),
        RSA.pem().replace("PUBLIC", "PRIVATE"),
        short.to_string(),
        weak.to_string(),
        small.to_string(),
        encrypting.to_string(),
        off_curve.to_string(),
        mislabelled.to_string(),
        json!({"keys": [encrypting]}).to_string(),
    ] {
        let keys = literal(&keys);
        for sql in [
            format!("SELECT scope.add_jwt_issuer('new', 'https://new.example/', {keys})"),
            format!("SELECT scope.set_jwt_keys('taken', {keys})"),
        ] {
            let refusal = admin.refused(&sql, "22023");
            assert!(
                !refusal.rest.contains(hidden) && !refusal.rest.contains(&base64url(hidden)),
                "{refusal}"
            );
        }
    }
    let new = "'new', 'https://new.example/'";
    for (arguments, code) in [
        (format!("NULL, 'https://new.example/', {good}"), "22004"),
        (format!("'new', NULL, {good}"), "22004"),
        (format!("{new}, NULL"), "22004"),
        (format!("'', 'https://new.example/', {good}"), "22023"),
        (format!("'new', '', {good}"), "22023"),
        (format!("{new}, {good}, algorithms => '{{none}}'"), "22023"),
        (format!("{new}, {good}, algorithms => '{{RS257}}'"), "22023"),
        (format!("{new}, {good}, algorithms => '{{eddsa}}'"), "22023"),
        (format!("{new}, {good}, role_claim => '.a['"), "22023"),
        (format!("{new}, {good}, role_claim => '$['"), "22023"),
        (format!("{new}, {good}, role_claim => ''"), "22023"),
        (format!("{new}, {good}, leeway => '-1 second'"), "22023"),
        (format!("{new}, {good}, leeway => '-1 month'"), "22023"),
        (format!("{new}, {good}, max_age => '-1 day'"), "22023"),
        (format!("'taken', 'https://new.example/', {good}"), "42710"),
        (format!("'new', '{}', {good}", iss("taken")), "42710"),
    ] {
        admin.refused(&format!("SELECT scope.add_jwt_issuer({arguments})"), code);
    }
    if g.f.server.version() >= 170_000 {
        for length in ["leeway", "max_age"] {
            let sql = format!("SELECT scope.add_jwt_issuer({new}, {good}, {length} => 'infinity')");
            admin.refused(&sql, "22023");
        }
    }
    for (sql, code) in [
        (format!("SELECT scope.set_jwt_keys('new', {good})"), "42704"),
        (format!("SELECT scope.set_jwt_keys(NULL, {good})"), "22004"),
        ("SELECT scope.set_jwt_keys('taken', NULL)".into(), "22004"),
        ("SELECT scope.drop_jwt_issuer('new')".into(), "42704"),
        ("SELECT scope.drop_jwt_issuer(NULL)".into(), "22004"),
    ] {
        admin.refused(&sql, code);
    }
    assert_eq!(
        admin.column("SELECT name FROM scope.jwt_issuers"),
        ["taken"]
    );
    takes(
        &mut g.login(),
        &ED.token("EdDSA", &claims(&g, "taken", json!({}))),
        &g.reader,
    );
}

#[test]
fn issuers_are_for_superusers() {
    let g = Gate::new("jwt_iss_closed");
    let secret = "an issuer's secret, with which one could sign as it pleases one";
    register(&g, "a", secret, "");
    let watcher = g.f.role("watcher", "LOGIN IN ROLE pg_monitor");
    let owner = g.f.role("owner", "LOGIN CREATEROLE CREATEDB");
    let token = sign_with(&claims(&g, "a", json!({})), secret, Algorithm::HS256);
    let mut locked = g.login();
    locked.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
    let (mut plain, mut strong, mut seeing) = (g.login(), g.f.login(&owner), g.f.login(&watcher));
    for sql in [
        "SELECT scope.add_jwt_issuer('x', 'y', repeat('k', 64))",
        "SELECT scope.set_jwt_keys('a', repeat('k', 64))",
        "SELECT scope.drop_jwt_issuer('a')",
        "SELECT scope.verify_jwt('x')",
        "SELECT _scope.jwt_tables_changed()",
        "SELECT scope.revoke_token('x', now())",
        "SELECT scope.revoke_subject('x')",
        "SELECT scope.create_authenticator('x', '{y}')",
        "SELECT * FROM _scope.jwt_issuer",
        "SELECT keys FROM _scope.jwt_issuer",
        "SELECT count(*) FROM _scope.jwt_issuer",
        "COPY _scope.jwt_issuer TO STDOUT",
        "SELECT * FROM _scope.jwt_revoked_token",
        "SELECT * FROM _scope.jwt_revoked_subject",
        "INSERT INTO _scope.jwt_issuer (name, issuer, keys) VALUES ('x', 'y', repeat('k', 64))",
        "UPDATE _scope.jwt_issuer SET role_claim = 'x'",
        "DELETE FROM _scope.jwt_revoked_token",
        "TRUNCATE _scope.jwt_revoked_subject",
        "ALTER TABLE _scope.jwt_issuer DISABLE TRIGGER changed",
        "CREATE TABLE scope.mine (x int)",
    ] {
        for s in [&mut plain, &mut strong, &mut seeing, &mut locked] {
            s.denied(sql, "42501");
            let _ = s.attempt("ROLLBACK TO s");
        }
    }
    for s in [&mut plain, &mut strong] {
        s.denied("SELECT * FROM scope.jwt_issuers", "42501");
    }
    let seen = seeing.rows("SELECT i::text FROM scope.jwt_issuers i");
    assert_eq!(seen.len(), 1);
    assert!(!format!("{seen:?}").contains(secret));
    // Nor by way of what the planner or an error would show.
    for sql in [
        "EXPLAIN (VERBOSE, ANALYZE) SELECT * FROM scope.jwt_issuers",
        "SELECT most_common_vals FROM pg_stats WHERE tablename = 'jwt_issuer'",
        "SELECT query FROM pg_stat_activity",
    ] {
        assert!(!format!("{:?}", seeing.rows(sql)).contains(secret), "{sql}");
    }
}

#[test]
fn verification_alone_switches_nothing() {
    let g = Gate::new("jwt_iss_verify");
    register(&g, "a", &jwks(&[&RSA]), "");
    let gateway = g.f.role("gateway", "LOGIN");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.verify_jwt(text) TO {gateway}"
    ));
    let mut s = g.f.login(&gateway);
    let verify = |token: &str| format!("SELECT scope.verify_jwt({})", literal(token));
    let claims_of_token = claims(&g, "a", json!({"n": 1, "role": 7}));
    let token = RSA.token("RS256", &claims_of_token);
    let claims: Value = serde_json::from_str(&s.text(&verify(&token))).expect("JSON");
    assert_eq!(claims, claims_of_token);
    assert_eq!(s.text("SELECT current_user"), gateway);
    assert!(s.holds("scope.jwt_claims() IS NULL"));
    let none = token_without_kid(&OTHER_RSA, "RS256", &claims_of_token);
    s.refused_with(&verify(&none), "28000", "bad_signature");
    s.refused_with(&verify(""), "28000", "empty");
    s.refused_with("SELECT scope.verify_jwt(NULL)", "28000", "empty");
    admin.run("SELECT scope.drop_jwt_issuer('a')");
    s.refused_with(&verify(&token), "28000", "unknown_issuer");
}

/// A server with issuers only, and an anonymous role.
#[test]
fn without_a_secret_only_issuers_count_and_no_token_is_anonymous() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.jwt_secret", "")
            .set("scope_roles.anon_role", "jwt_bare_reader"),
    );
    let g = Gate::with(Fixture::on(&server, "jwt_bare"));
    let mut s = g.login();
    let stranger = g.f.role("stranger", "LOGIN");
    s.refused(&switch(&g.token(json!({}))), "55000");
    register(&g, "a", &jwks(&[&ED]), "");
    let token = ED.token("EdDSA", &claims(&g, "a", json!({"role": g.writer})));
    takes(&mut s, &token, &g.writer);
    for more in [
        json!({"iss": null}),
        json!({"iss": ""}),
        json!({"iss": iss("b")}),
        json!({"iss": "A"}),
    ] {
        let token = ED.token("EdDSA", &claims(&g, "a", more));
        s.refused_with(&switch(&token), "28000", "unknown_issuer");
    }
    s.refused_with(
        &switch(&sign(&g.claims(json!({})))),
        "28000",
        "unknown_issuer",
    );
    for anonymous in ["''", "NULL"] {
        for arguments in [anonymous.to_owned(), format!("{anonymous}, 'db_role'")] {
            s.run("BEGIN");
            let sql = format!("SELECT scope.set_jwt_role({arguments})");
            assert_eq!(s.text(&sql), g.reader);
            assert_switched(&mut s, &g.reader);
            let role = json!({"role": g.reader}).to_string();
            s.assert_that(&format!("scope.jwt_claims() = {}", literal(&role)));
            s.assert_that("scope.jwt_claim('role') = current_user");
            s.assert_that("scope.jwt_subject() IS NULL AND scope.jwt_expires_at() IS NULL");
            s.run("SAVEPOINT s");
            s.refused("RESET ROLE", "42501");
            s.run("ROLLBACK TO s");
            s.refused(&switch(&token), "42501");
            s.run("ROLLBACK");
            assert_itself(&mut s, &g.auth);
        }
    }
    // A bad token is never anonymous.
    for bad in [
        " ",
        "x",
        "null",
        "..",
        &token_without_kid(&OTHER_ED, "EdDSA", &claims(&g, "a", json!({}))),
        &ED.token("EdDSA", &claims(&g, "a", json!({"exp": 7}))),
        &ED.token("EdDSA", &claims(&g, "a", json!({"role": null}))),
        &sign(&g.claims(json!({}))),
    ] {
        s.refused(&switch(bad), "28000");
        assert_itself(&mut s, &g.auth);
    }
    let mut other = g.f.login(&stranger);
    other.refused_with(&switch(""), "42501", "role_not_granted");
    server.alter_system("scope_roles.anon_role", "postgres");
    wait_until("the new role holds", 10, || s.attempt(&switch("")).is_err());
    s.refused_with(&switch(""), "42501", "role_privileged");
    server.alter_system("scope_roles.anon_role", "");
    wait_until("no role holds", 10, || {
        s.attempt(&switch("")).is_err_and(|e| e.code == "28000")
    });
    s.refused_with(&switch(""), "28000", "empty");
    // Without a cache all is as it was.
    server.alter_system("scope_roles.jwt_cache_size", "0");
    let mut s = g.login();
    takes(&mut s, &token, &g.writer);
    g.f.admin().run("SELECT scope.drop_jwt_issuer('a')");
    s.refused(&switch(&token), "55000");
}

fn client(server: &Server, name: &str) -> std::process::Command {
    let socket = server.socket();
    let dir = socket.parent().expect("the socket's folder");
    let port = socket
        .to_string_lossy()
        .rsplit('.')
        .next()
        .map(str::to_owned);
    let mut command = program(name, dir as &Path);
    command
        .arg(format!("--host={}", dir.display()))
        .arg(format!("--port={}", port.expect("the socket's port")))
        .arg("--username=postgres");
    command
}

#[test]
fn a_dump_has_the_issuers_and_not_the_functions_and_restores() {
    let g = Gate::new("jwt_iss_dump");
    register(&g, "a", &jwks(&[&ED]), "audiences => '{x,\"y z\"}'");
    let mut admin = g.f.admin();
    admin.run(
        "SELECT scope.revoke_token('stolen', 'infinity'), scope.revoke_subject('lost', 'infinity')",
    );
    let dump = output(client(g.f.server, "pg_dump").arg(&g.f.name));
    assert!(dump.contains("CREATE EXTENSION") && dump.contains(&iss("a")));
    assert!(dump.contains("stolen") && dump.contains("lost"));
    for made_by_the_extension in ["CREATE FUNCTION", "CREATE VIEW", "CREATE TRIGGER"] {
        assert!(!dump.contains(made_by_the_extension), "{dump}");
    }
    let copy = "jwt_iss_dump_copy";
    admin.run(&format!("CREATE DATABASE {copy}"));
    let file = g.f.server.socket().with_file_name("dump.sql");
    std::fs::write(&file, dump).expect("the dump");
    // A session that was there before the restore, and knows of no issuer.
    let mut s = g.f.server.login(&g.auth, copy);
    s.run("SELECT 1");
    output(
        client(g.f.server, "psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", copy, "-f"])
            .arg(&file),
    );
    let token = |more: Value| {
        let mut claims = claims(&g, "a", json!({"aud": "y z"}));
        claims
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        ED.token("EdDSA", &claims)
    };
    takes(&mut s, &token(json!({})), &g.reader);
    s.refused_with(&switch(&token(json!({"aud": "z"}))), "28000", "audience");
    s.refused_with(
        &switch(&token(json!({"jti": "stolen"}))),
        "28000",
        "revoked",
    );
    s.refused_with(&switch(&token(json!({"sub": "lost"}))), "28000", "revoked");
}

#[test]
fn issuers_belong_to_one_database() {
    let (g, other) = (Gate::new("jwt_iss_here"), Fixture::new("jwt_iss_there"));
    register(&g, "a", &jwks(&[&ED]), "");
    let token = ED.token("EdDSA", &claims(&g, "a", json!({})));
    takes(&mut g.login(), &token, &g.reader);
    let mut s = other.server.login(&g.auth, &other.name);
    s.refused_with(&switch(&token), "28000", "unknown_issuer");
}

#[test]
fn the_extension_made_anew_forgets_and_learns_in_a_warm_session() {
    let g = Gate::new("jwt_iss_anew");
    register(&g, "a", &jwks(&[&ED]), "");
    let token = ED.token("EdDSA", &claims(&g, "a", json!({})));
    let mut s = g.login();
    takes(&mut s, &token, &g.reader);
    g.f.admin()
        .run("DROP EXTENSION scope_roles; CREATE EXTENSION scope_roles");
    s.refused_with(&switch(&token), "28000", "unknown_issuer");
    register(&g, "a", &jwks(&[&ED]), "");
    takes(&mut s, &token, &g.reader);
    g.f.admin().run("SELECT scope.drop_jwt_issuer('a')");
    s.refused_with(&switch(&token), "28000", "unknown_issuer");
}

#[test]
fn a_standby_follows_issuers_and_revocations_in_warm_sessions() {
    let primary = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&primary, "jwt_iss_standby"));
    register(&g, "a", &jwks(&[&ED]), "");
    let standby = primary.standby(Options::default());
    let mut admin = g.f.admin();
    let mut s = standby.login(&g.auth, &g.f.name);
    let replay = || standby.has_replayed(&primary);
    admin.run("SET synchronous_commit = local");
    let claims_with = |jti: &str| claims(&g, "a", json!({"jti": jti, "iat": now() - 60}));
    let (first, second) = (
        ED.token("EdDSA", &claims_with("first")),
        ED.token("EdDSA", &claims_with("second")),
    );
    takes(&mut s, &first, &g.reader);
    takes(&mut s, &second, &g.reader);
    let mut switched = standby.login(&g.auth, &g.f.name);
    switched.run(&format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; {}",
        switch(&first)
    ));
    switched.rows("SELECT * FROM orders");
    admin.run("SELECT scope.revoke_token('first', now() + interval '1 hour')");
    replay();
    switched.refused_with("SELECT * FROM orders", "28000", "revoked");
    s.refused_with(&switch(&first), "28000", "revoked");
    takes(&mut s, &second, &g.reader);
    admin.run(&format!(
        "SELECT scope.set_jwt_keys('a', {})",
        literal(&jwks(&[&OTHER_ED]))
    ));
    replay();
    s.refused_with(&switch(&second), "28000", "unknown_key");
    let third = OTHER_ED.token("EdDSA", &claims_with("third"));
    takes(&mut s, &third, &g.reader);
    admin.run("SELECT scope.revoke_subject('ann')");
    replay();
    s.refused_with(&switch(&third), "28000", "revoked");
    admin.run("SELECT scope.drop_jwt_issuer('a')");
    replay();
    s.refused_with(&switch(&third), "28000", "unknown_issuer");
    let mut there = standby.admin(&g.f.name);
    for sql in [
        "SELECT scope.revoke_token('x', 'infinity')",
        "SELECT scope.revoke_subject('x')",
        "SELECT scope.add_jwt_issuer('x', 'x', repeat('k', 64))",
        "SELECT scope.set_jwt_keys('x', repeat('k', 64))",
        "SELECT scope.drop_jwt_issuer('x')",
    ] {
        there.denied(sql, "25006");
    }
}

/// What is in a statement's text is in the text only as long as nothing fails.
#[test]
fn no_token_and_no_key_is_ever_logged() {
    let server = Server::start(
        Options::default()
            .set("log_statement", "none")
            .set("log_min_messages", "debug5"),
    );
    let g = Gate::with(Fixture::on(&server, "jwt_iss_log"));
    let secret = "an issuer's secret that nobody may read in any log of the server";
    register(&g, "a", secret, "");
    g.f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.verify_jwt(text) TO {}",
        g.auth
    ));
    let mut s = g.login();
    let token = |more: Value| sign_with(&claims(&g, "a", more), secret, Algorithm::HS256);
    let good = token(json!({"jti": "good"}));
    let tokens = [
        good.clone(),
        token(json!({"jti": "old", "exp": 7})),
        token(json!({"jti": "nobody", "role": "nobody_at_all"})),
        token(json!({"jti": "super", "role": "postgres"})),
        token(json!({"jti": "elsewhere", "iss": iss("b")})),
        sign(&claims(&g, "a", json!({"jti": "forged"}))),
        format!("{}.x", token(json!({"jti": "malformed"}))),
    ];
    for token in &tokens {
        for function in [
            "set_jwt_role",
            "verify_jwt",
            "end_jwt_session",
            "set_jwt_session",
        ] {
            for claim in ["", ", 'x['"] {
                if claim.is_empty() || function.starts_with("set") {
                    let call = format!("SELECT scope.{function}({}{claim})", literal(token));
                    s.run("BEGIN");
                    let _ = s.attempt(&call);
                    s.run("ROLLBACK; BEGIN");
                    let call = format!("SELECT scope.{function}($1{claim})");
                    let _ = s.attempt_extended(&call, &[token]);
                    s.run("ROLLBACK");
                }
            }
        }
    }
    let bad = format!("{{\"kty\": \"oct\", \"k\": \"{}\" ", base64url(secret));
    let mut admin = g.f.admin();
    admin.fails(&registration("b", &bad, ""));
    admin.fails(&registration("a", secret, ""));
    admin.fails(&registration("b", secret, "leeway => '-1 day'"));
    admin.fails(&format!(
        "SELECT scope.set_jwt_keys('a', {})",
        literal(&bad)
    ));
    admin.fails(&format!(
        "SELECT scope.set_jwt_keys('b', {})",
        literal(secret)
    ));
    let log = server.log();
    assert!(log.contains("DEBUG"), "the log proves nothing");
    for token in &tokens {
        let parts: Vec<&str> = token.split('.').collect();
        for part in &parts[1..3] {
            assert!(!log.contains(part), "a token is in the log");
        }
    }
    assert!(!log.contains(secret) && !log.contains(&base64url(secret)));
}

/// The lock answers before the function does, which would have hidden its statement.
#[test]
fn a_token_in_a_statement_that_the_lock_refuses_is_not_logged() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_iss_lock_log"));
    let mut s = g.login();
    let next = g.token(json!({"jti": "next"}));
    let revoked = g.token(json!({"jti": "first"}));
    s.run(&format!("BEGIN; {}", switch(&revoked)));
    g.f.admin()
        .run("SELECT scope.revoke_token('first', 'infinity')");
    s.refused_with(&switch(&next), "28000", "revoked");
    s.run("ROLLBACK");
    let mut s = g.login();
    let session = g.token(json!({"jti": "session"}));
    s.run(&format!(
        "SELECT scope.set_jwt_session({})",
        literal(&session)
    ));
    g.f.admin()
        .run("SELECT scope.revoke_token('session', 'infinity')");
    s.refused(
        &format!("SELECT scope.end_jwt_session({})", literal(&session)),
        "28000",
    );
    for token in [&next, &session] {
        let signature = token.rsplit('.').next().expect("a signature");
        assert!(
            !server.log().contains(signature),
            "a token is in the log:\n{}",
            server.log()
        );
    }
}
