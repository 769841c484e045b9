//! Tokens as attackers send them, and those of the RFCs: the verifier from outside, whatever it is made of. Pure.
#![allow(clippy::indexing_slicing)]

use std::borrow::Cow;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, KeyPair};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use crate::claim_path::ClaimPath;
use crate::jwt::*;

const RFC7515_PAYLOAD: &str = "\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p\
    c19yb290Ijp0cnVlfQ";
const RFC7515_A1_K: &str = "\
    AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjA\
    zZr1Z9CAow";
const RFC7515_A2_N: &str = "\
    ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrc\
    S2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGz\
    jb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xs\
    mtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8\
    q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RFC7515_A2_SIGNATURE: &str = "\
    cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Q\
    c_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTy\
    WzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwu\
    sC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5A\
    XLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RFC7515_A3_SIGNATURE: &str = "\
    DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqP\
    P3-Kg6NU1Q";
const RFC7515_A4: &str = "\
    eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cw\
    nZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpR\
    wcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
const RFC7520_PAYLOAD: &str = "\
    SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4g\
    WW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwg\
    dGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
const RFC7520_N: &str = "\
    n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7\
    nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHH\
    ig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC\
    0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixo\
    R7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";
const RFC7520_4_1_SIGNATURE: &str = "\
    MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwz\
    JdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746\
    iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW\
    3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ4\
    1Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg";
const RFC7520_4_2_SIGNATURE: &str = "\
    cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklH\
    kqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVs\
    diNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjv\
    AA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOc\
    bH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw";
const RFC7520_4_3_SIGNATURE: &str = "\
    AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNE\
    uT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsb\
    EPX6sFY8OcGDqoRuBomu9xQ2";
const RFC8037_A4: &str = "\
    eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnL\
    WG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_700_000_000_000_000;
const CLAIMS: &str = r#"{"role":"web","exp":1700000100,"iss":"joe","aud":"db"}"#;

/// Whether the signature of a token holds, its payload being whatever it is.
fn holds(token: &str, key: &str) -> bool {
    let keys = KeySet::parse(key.as_bytes(), false).unwrap();
    match verify(token, &keys, &Policy::default(), NOW) {
        Ok(_) | Err(Refusal::Expired | Refusal::Malformed("the payload is not JSON")) => true,
        Err(Refusal::BadSignature) => false,
        Err(other) => panic!("{token}: {other}"),
    }
}

/// The vector verifies, and does not once its signature is another.
fn vector(token: &str, key: &str) {
    assert!(holds(token, key), "{token}");
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    assert!(!holds(&format!("{rest}.{}", encode(bytes)), key), "{token}");
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signing_input(header: &str, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

fn hs256(header: &str, payload: impl AsRef<[u8]>, secret: &[u8]) -> String {
    let input = signing_input(header, payload);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = encode(hmac::sign(&key, input.as_bytes()));
    format!("{input}.{signature}")
}

fn secret_keys() -> KeySet {
    KeySet::parse(SECRET, false).unwrap()
}

fn good_token() -> String {
    hs256(r#"{"alg":"HS256"}"#, CLAIMS, SECRET)
}

fn reason(token: &str) -> &'static str {
    match verify(token, &secret_keys(), &Policy::default(), NOW) {
        Ok(_) => "ok",
        Err(refusal) => refusal.reason(),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

#[test]
fn rfc_7515_appendix_a() {
    let oct = format!(r#"{{"kty":"oct","k":"{RFC7515_A1_K}"}}"#);
    vector(
        &format!(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC7515_PAYLOAD}.\
             dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        ),
        &oct,
    );
    let rsa = format!(r#"{{"kty":"RSA","n":"{RFC7515_A2_N}","e":"AQAB"}}"#);
    vector(
        &format!("eyJhbGciOiJSUzI1NiJ9.{RFC7515_PAYLOAD}.{RFC7515_A2_SIGNATURE}"),
        &rsa,
    );
    let p256 = r#"{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
    vector(
        &format!("eyJhbGciOiJFUzI1NiJ9.{RFC7515_PAYLOAD}.{RFC7515_A3_SIGNATURE}"),
        p256,
    );
    let p521 = r#"{"kty":"EC","crv":"P-521",
        "x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#;
    vector(RFC7515_A4, p521);
}

#[test]
fn rfc_7515_a1_expires_as_its_payload_says() {
    let token = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC7515_PAYLOAD}.\
         dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let oct = format!(r#"{{"kty":"oct","k":"{RFC7515_A1_K}"}}"#);
    let keys = KeySet::parse(oct.as_bytes(), false).unwrap();
    let exp = 1_300_819_380_000_000;
    let policy = Policy::default();
    let verified = verify(&token, &keys, &policy, exp - 1).unwrap();
    assert_eq!(verified.expires_at, Some(exp));
    assert_eq!(verified.issuer().as_deref(), Some("joe"));
    assert_eq!(unverified_issuer(&token), Ok(Some("joe".into())));
    assert_eq!(verify(&token, &keys, &policy, exp), Err(Refusal::Expired));
}

#[test]
fn rfc_7520_section_4() {
    let kid = "bilbo.baggins@hobbiton.example";
    let rsa = format!(r#"{{"kty":"RSA","kid":"{kid}","use":"sig","n":"{RFC7520_N}","e":"AQAB"}}"#);
    let token = |alg: &str, signature: &str| {
        let header = encode(format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#));
        format!("{header}.{RFC7520_PAYLOAD}.{signature}")
    };
    vector(&token("RS256", RFC7520_4_1_SIGNATURE), &rsa);
    vector(&token("PS384", RFC7520_4_2_SIGNATURE), &rsa);
    let p521 = format!(
        r#"{{"kty":"EC","kid":"{kid}","use":"sig","crv":"P-521",
        "x":"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y":"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"}}"#
    );
    vector(&token("ES512", RFC7520_4_3_SIGNATURE), &p521);
    let oct = r#"{"kty":"oct","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037","use":"sig",
        "alg":"HS256","k":"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"}"#;
    let header = encode(r#"{"alg":"HS256","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037"}"#);
    vector(
        &format!("{header}.{RFC7520_PAYLOAD}.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"),
        oct,
    );
}

#[test]
fn rfc_8037_appendix_a() {
    let okp = r#"{"kty":"OKP","crv":"Ed25519",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    vector(RFC8037_A4, okp);
}

#[test]
fn a_good_token_gives_its_claims() {
    let policy = Policy {
        issuer: Some("joe".into()),
        audiences: vec!["db".into()],
        algorithms: vec!["HS256".parse().unwrap()],
        require_exp: true,
        ..Policy::default()
    };
    let token = good_token();
    let verified = verify(&token, &secret_keys(), &policy, NOW).unwrap();
    assert_eq!(verified.payload(), CLAIMS);
    assert_eq!(
        ClaimPath::parse("role").unwrap().role(verified.payload()),
        Ok("web".into())
    );
    let later = NOW + 100_000_000;
    assert_eq!(verified.check(&policy, later - 1), Ok(()));
    assert_eq!(verified.check(&policy, later), Err(Refusal::Expired));
    let other = Policy {
        algorithms: vec!["HS512".parse().unwrap()],
        ..policy
    };
    assert_eq!(
        verify(&token, &secret_keys(), &other, NOW),
        Err(Refusal::Algorithm)
    );
}

#[test]
fn every_algorithm_verifies_with_pem_keys_and_no_other() {
    let random = SystemRandom::new();
    let mut tokens: Vec<(&str, String)> = Vec::new();
    let mut keys: Vec<(&str, String)> = Vec::new();
    for (alg, algorithm) in [
        ("ES256", &lc::ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &lc::ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &lc::ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let pair = lc::EcdsaKeyPair::generate(algorithm).unwrap();
        let input = signing_input(&format!(r#"{{"alg":"{alg}"}}"#), CLAIMS);
        let signature = pair.sign(&random, input.as_bytes()).unwrap();
        tokens.push((alg, format!("{input}.{}", encode(signature))));
        let der = pair.public_key().as_der().unwrap();
        keys.push((alg, pem("PUBLIC KEY", der.as_ref())));
    }
    let pair = lc::Ed25519KeyPair::generate().unwrap();
    let input = signing_input(r#"{"alg":"EdDSA"}"#, CLAIMS);
    let signature = pair.sign(input.as_bytes());
    tokens.push(("EdDSA", format!("{input}.{}", encode(signature))));
    let der = pair.public_key().as_der().unwrap();
    keys.push(("EdDSA", pem("PUBLIC KEY", der.as_ref())));
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let encodings: [(&str, &'static dyn lc::RsaEncoding); 6] = [
        ("RS256", &lc::RSA_PKCS1_SHA256),
        ("RS384", &lc::RSA_PKCS1_SHA384),
        ("RS512", &lc::RSA_PKCS1_SHA512),
        ("PS256", &lc::RSA_PSS_SHA256),
        ("PS384", &lc::RSA_PSS_SHA384),
        ("PS512", &lc::RSA_PSS_SHA512),
    ];
    for (alg, encoding) in encodings {
        let input = signing_input(&format!(r#"{{"alg":"{alg}"}}"#), CLAIMS);
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &random, input.as_bytes(), &mut signature)
            .unwrap();
        tokens.push((alg, format!("{input}.{}", encode(signature))));
    }
    let info = pair.public_key().as_der().unwrap();
    keys.push(("RSA", pem("PUBLIC KEY", info.as_ref())));
    keys.push(("RSA", pem("RSA PUBLIC KEY", pair.public_key().as_ref())));
    let secret = "s".repeat(64);
    for (alg, algorithm) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ] {
        let input = signing_input(&format!(r#"{{"alg":"{alg}"}}"#), CLAIMS);
        let key = hmac::Key::new(algorithm, secret.as_bytes());
        let signature = hmac::sign(&key, input.as_bytes());
        tokens.push((alg, format!("{input}.{}", encode(signature))));
    }
    keys.push(("HS", secret));

    assert_eq!(tokens.len(), 13);
    for (alg, token) in &tokens {
        for (family, key) in &keys {
            let keys = KeySet::parse(key.as_bytes(), false).unwrap();
            let result = verify(token, &keys, &Policy::default(), NOW);
            let same = alg == family
                || (*family == "RSA" && matches!(&alg[..2], "RS" | "PS"))
                || (*family == "HS" && alg.starts_with("HS"));
            if same {
                assert!(result.is_ok(), "{alg} {family}: {result:?}");
                let changed = token.replacen("ey", "eY", 2);
                assert!(verify(&changed, &keys, &Policy::default(), NOW).is_err());
            } else {
                assert_eq!(result, Err(Refusal::Algorithm), "{alg} {family}");
            }
        }
    }
}

#[test]
fn attack_none_algorithm() {
    for alg in [
        "none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS1", "RS256",
    ] {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        assert_eq!(
            reason(&hs256(&header, CLAIMS, SECRET)),
            "algorithm",
            "{alg}"
        );
        let unsigned = format!("{}.", signing_input(&header, CLAIMS));
        assert_eq!(reason(&unsigned), "malformed", "{alg}");
    }
    for header in [
        r#"{}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"ALG":"HS256"}"#,
    ] {
        assert_eq!(
            reason(&hs256(header, CLAIMS, SECRET)),
            "algorithm",
            "{header}"
        );
    }
}

#[test]
fn attack_hmac_with_the_public_key_as_secret() {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let info = pair.public_key().as_der().unwrap();
    let pem = pem("PUBLIC KEY", info.as_ref());
    for is_base64 in [false, true] {
        let text = if is_base64 {
            STANDARD.encode(&pem)
        } else {
            pem.clone()
        };
        let keys = KeySet::parse(text.as_bytes(), is_base64).unwrap();
        for secret in [pem.as_bytes(), pem.trim().as_bytes(), info.as_ref()] {
            let token = hs256(r#"{"alg":"HS256"}"#, CLAIMS, secret);
            assert_eq!(
                verify(&token, &keys, &Policy::default(), NOW),
                Err(Refusal::Algorithm)
            );
        }
    }
    let jwk = format!(r#"{{"kty":"RSA","n":"{RFC7515_A2_N}","e":"AQAB"}}"#);
    for (text, is_base64) in [(jwk.clone(), false), (STANDARD.encode(&jwk), true)] {
        let keys = KeySet::parse(text.as_bytes(), is_base64).unwrap();
        let token = hs256(r#"{"alg":"HS256"}"#, CLAIMS, jwk.as_bytes());
        assert_eq!(
            verify(&token, &keys, &Policy::default(), NOW),
            Err(Refusal::Algorithm)
        );
    }
}

#[test]
fn attack_keys_and_extensions_in_the_header() {
    for (member, expected) in [
        (r#""jwk":{"kty":"oct","k":"AAAA"}"#, "embedded_key"),
        (r#""jku":"https://evil.example/keys""#, "embedded_key"),
        (r#""x5u":"https://evil.example/cert""#, "embedded_key"),
        (r#""\u006awk":{}"#, "embedded_key"),
        (r#""jwk":null"#, "embedded_key"),
        (r#""crit":["exp"]"#, "critical"),
        (r#""crit":[]"#, "critical"),
        (r#""b64":false"#, "critical"),
        (r#""b64":true"#, "critical"),
        (r#""x5c":["MIIB"]"#, "ok"),
        (
            r#""typ":"at+jwt","cty":"JWT","zip":"DEF","x":{"y":[1]}"#,
            "ok",
        ),
        (r#""typ":5"#, "ok"),
        (r#""kid":"any""#, "ok"),
        (r#""kid":7"#, "malformed"),
        (r#""kid":null"#, "malformed"),
        (r#""kid":"\u0000""#, "malformed"),
        (r#""alg":"HS256""#, "malformed"),
        (r#""\u0061lg":"none""#, "malformed"),
        (r#""x":1,"x":1"#, "malformed"),
    ] {
        let header = format!(r#"{{"alg":"HS256",{member}}}"#);
        assert_eq!(
            reason(&hs256(&header, CLAIMS, SECRET)),
            expected,
            "{member}"
        );
    }
    for header in ["", "[]", "null", "{", "{}x", "\u{feff}{\"alg\":\"HS256\"}"] {
        assert_eq!(
            reason(&hs256(header, CLAIMS, SECRET)),
            "malformed",
            "{header}"
        );
    }
}

#[test]
fn attack_forms_other_than_the_compact_one() {
    let token = good_token();
    assert_eq!(reason(&token), "ok");
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    for broken in [
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.x"),
        format!("{token}.."),
        format!("{token}="),
        format!("{token} "),
        format!("{token}\n"),
        format!(" {token}"),
        format!("Bearer {token}"),
        format!("{token}\0"),
        format!("{token}é"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}==.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}\n.{signature}"),
        format!("{header}.{payload}. {signature}"),
        format!("{header}.{payload}"),
        format!("{header}{payload}{signature}"),
        "...".into(),
        "..".into(),
        ".".into(),
        "a".into(),
        "a.b.c".into(),
        "\u{202e}a.b.c".into(),
        "{}".into(),
        // Standard alphabet.
        token.replace(['-', '_'], "+"),
    ] {
        if broken != token {
            assert_eq!(reason(&broken), "malformed", "{broken:?}");
        }
    }
    assert_eq!(reason(&format!("{token}A")), "bad_signature");
    assert_eq!(reason(""), "empty");
    assert_eq!(reason(&"a".repeat(MAX_TOKEN_BYTES)), "malformed");
    assert_eq!(reason(&"a".repeat(MAX_TOKEN_BYTES + 1)), "too_long");
    for payload in [
        &b"\xff\xfe"[..],
        b"{\"a\":\"\xc3\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
    ] {
        let token = hs256(r#"{"alg":"HS256"}"#, payload, SECRET);
        assert_eq!(reason(&token), "malformed");
        assert!(unverified_issuer(&token).is_err());
    }
}

#[test]
fn attack_spare_bits_of_base64() {
    // 32 bytes take 43 characters; the last one has two spare bits.
    let token = good_token();
    let last = token.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.find(last).unwrap();
    for spare in 1..4 {
        let other = alphabet.chars().nth(value + spare).unwrap();
        let changed = format!("{}{other}", &token[..token.len() - 1]);
        assert_eq!(reason(&changed), "malformed");
    }
}

#[test]
fn attack_every_bit_of_a_token() {
    let token = good_token();
    for position in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[position] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert_ne!(reason(&changed), "ok", "{position} {bit}");
            }
        }
        assert_ne!(reason(&token[..position]), "ok");
    }
}

#[test]
fn attack_short_and_empty_signatures() {
    let input = signing_input(r#"{"alg":"HS256"}"#, CLAIMS);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let tag = hmac::sign(&key, input.as_bytes());
    for length in 1..32 {
        let token = format!("{input}.{}", encode(&tag.as_ref()[..length]));
        assert_eq!(reason(&token), "bad_signature");
    }
    let long = format!("{input}.{}", encode([tag.as_ref(), b"x"].concat()));
    assert_eq!(reason(&long), "bad_signature");
    for key in [b"".as_slice(), b"\0", b"0123456789abcdef0123456789abcdeF"] {
        let token = hs256(r#"{"alg":"HS256"}"#, CLAIMS, key);
        assert_eq!(reason(&token), "bad_signature");
    }
}

#[test]
fn attack_zero_ecdsa_signatures() {
    let key = r#"{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let keys = KeySet::parse(key.as_bytes(), false).unwrap();
    let input = signing_input(r#"{"alg":"ES256"}"#, CLAIMS);
    for signature in [vec![0; 64], vec![0; 32], vec![0xff; 64], vec![0x30, 0]] {
        let token = format!("{input}.{}", encode(signature));
        assert_eq!(
            verify(&token, &keys, &Policy::default(), NOW),
            Err(Refusal::BadSignature)
        );
    }
}

#[test]
fn the_payload_is_judged_after_the_signature() {
    for payload in ["not json", r#"{"exp":1,"exp":2}"#, r#"{"exp":"x"}"#] {
        let forged = hs256(r#"{"alg":"HS256"}"#, payload, &[7; 32]);
        assert_eq!(reason(&forged), "bad_signature");
        let signed = hs256(r#"{"alg":"HS256"}"#, payload, SECRET);
        assert_ne!(reason(&signed), "bad_signature");
    }
}

fn unverified_issuer(token: &str) -> Result<Option<String>, Refusal> {
    Ok(Unverified::parse(token)?.issuer()?.map(Cow::into_owned))
}

#[test]
fn unverified_issuers() {
    for (payload, expected) in [
        (r#"{"iss":"joe"}"#, Ok(Some("joe".to_owned()))),
        (r#"{"\u0069ss":"j\u006fe"}"#, Ok(Some("joe".to_owned()))),
        (r#"{"sub":"x","nested":{"iss":"joe"}}"#, Ok(None)),
        (r#"{"iss":"a","iss":"b"}"#, Err("duplicate_claim")),
        (r#"{"iss":1}"#, Err("claim_type")),
        (r#"{"iss":null}"#, Err("claim_type")),
        ("[]", Err("malformed")),
    ] {
        let token = hs256(r#"{"alg":"HS256"}"#, payload, b"unknown");
        assert_eq!(
            unverified_issuer(&token).map_err(|refusal| refusal.reason()),
            expected
        );
    }
    assert_eq!(unverified_issuer(""), Err(Refusal::Empty));
}

proptest! {
    /// The quicker library is as strict as the one that decodes everything else.
    #[test]
    fn parts_are_decoded_as_base64_says(
        part in prop_oneof!["[A-Za-z0-9_-]{1,90}", "[A-Za-z0-9_=+/. -]{1,90}", any::<String>()],
    ) {
        let quick = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(&part).ok();
        prop_assert_eq!(quick, URL_SAFE_NO_PAD.decode(&part).ok());
    }
}

proptest! {
    #[test]
    fn no_text_is_a_panic_or_a_token(token in any::<String>(), now in any::<i64>()) {
        prop_assert!(verify(&token, &secret_keys(), &Policy::default(), now).is_err());
        let _any = unverified_issuer(&token);
    }

    #[test]
    fn no_signed_bytes_are_a_panic(
        header in prop_oneof![Just(r#"{"alg":"HS256"}"#.to_owned()), any::<String>()],
        payload in any::<Vec<u8>>(),
        now in any::<i64>(),
    ) {
        let token = hs256(&header, payload, SECRET);
        let _any = verify(&token, &secret_keys(), &Policy::default(), now);
        let _any = unverified_issuer(&token);
    }

    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), by in "\\PC{0,3}") {
        let token = good_token();
        let at = at.index(token.len());
        for changed in [
            format!("{}{by}{}", &token[..at], &token[at..]),
            format!("{}{by}{}", &token[..at], &token[at + 1..]),
        ] {
            prop_assert_eq!(changed == token, reason(&changed) == "ok");
        }
    }
}
