//! `verify` on anything: no token but the originals may pass, and what passes must mean what another JSON reader says.
//!
//! The first byte says what the rest is: `m` edits of an original, `s` a header and a payload (two lines) to be signed here after a
//! byte that picks the policy, anything else a token as it stands. Seeds are therefore readable files.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::jwt::{self, Policy, Refusal, TokenType, Verified};
use crate::signed::{NOW, ORIGINALS, SECRET, base64url, keys, sign};

const MICROSECONDS: i64 = 1_000_000;

pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((b'm', program)) => only_originals_verify(&edited(program)),
        Some((b's', input)) => signed(input),
        _ => only_originals_verify(data),
    }
}

fn only_originals_verify(token: &[u8]) {
    // PostgreSQL hands over nothing but text.
    let Ok(token) = std::str::from_utf8(token) else {
        return;
    };
    let accepted = jwt::verify(token, keys(), &Policy::default(), NOW);
    let original = ORIGINALS.iter().any(|original| original == token);
    assert_eq!(accepted.is_ok(), original, "{token}: {accepted:?}");
    let _ = jwt::Unverified::parse(token).map(|mut token| token.issuer().map(drop));
}

/// The token that a program makes of an original. Every instruction is four bytes, so that the fuzzer's own edits keep the rest.
fn edited(program: &[u8]) -> Vec<u8> {
    let Some((&start, program)) = program.split_first() else {
        return Vec::new();
    };
    let original = |number: u8| &ORIGINALS[usize::from(number) % ORIGINALS.len()];
    let mut token = original(start).clone().into_bytes();
    for instruction in program.chunks_exact(4).take(16) {
        let &[operation, a, b, c] = instruction else {
            continue;
        };
        let place = usize::from(u16::from_be_bytes([a, b]));
        match operation % 8 {
            0 if !token.is_empty() => {
                let at = place % token.len();
                token[at] = c;
            }
            1 => token.insert(place % (token.len() + 1), c),
            2 if !token.is_empty() => {
                token.remove(place % token.len());
            }
            3 => token.truncate(place % (token.len() + 1)),
            4 => with_part(&mut token, a, |_| part(original(b).as_bytes(), c).to_vec()),
            5 => with_decoded_part(&mut token, a, |bytes| {
                if !bytes.is_empty() {
                    let at = usize::from(b) % bytes.len();
                    bytes[at] ^= c;
                }
            }),
            6 => with_part(&mut token, 0, |_| {
                base64url(HEADERS[usize::from(a) % HEADERS.len()]).into()
            }),
            // What lenient readers of base64url let pass.
            7 => with_part(&mut token, a, |part| {
                let mut part = part.to_vec();
                part.extend_from_slice(
                    [&b"="[..], b"==", b"A", b"\n", b" ", b"%3D"][usize::from(b) % 6],
                );
                part
            }),
            _ => {}
        }
    }
    token
}

const HEADERS: [&str; 10] = [
    r#"{"alg":"none"}"#,
    r#"{"alg":"None"}"#,
    r#"{"alg":"HS256","alg":"none"}"#,
    r#"{"alg":"HS256","crit":["exp"]}"#,
    r#"{"alg":"HS384"}"#,
    r#"{"alg":"RS256"}"#,
    r#"{"alg":"PS256"}"#,
    r#"{"alg":"ES256"}"#,
    r#"{"alg":"ES512"}"#,
    r#"{"alg":"EdDSA"}"#,
];

fn part(token: &[u8], number: u8) -> &[u8] {
    token
        .split(|byte| *byte == b'.')
        .nth(usize::from(number) % 3)
        .unwrap_or_default()
}

fn with_part(token: &mut Vec<u8>, number: u8, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let mut parts: Vec<Vec<u8>> = token
        .split(|byte| *byte == b'.')
        .map(<[u8]>::to_vec)
        .collect();
    let at = usize::from(number) % parts.len();
    parts[at] = change(&parts[at]);
    *token = parts.join(&b'.');
}

fn with_decoded_part(token: &mut Vec<u8>, number: u8, change: impl FnOnce(&mut Vec<u8>)) {
    with_part(token, number, |part| match URL_SAFE_NO_PAD.decode(part) {
        Ok(mut bytes) => {
            change(&mut bytes);
            base64url(bytes).into()
        }
        Err(_) => part.to_vec(),
    });
}

/// A policy byte, then a header and a payload on two lines, rightly signed: what is left to refuse them is how they read.
fn signed(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    let payload = lines.next().unwrap_or_default();
    let policy = policy(choice);
    let token = sign(header, payload, SECRET);
    if token.len() > jwt::MAX_TOKEN_BYTES {
        assert_eq!(
            jwt::verify(&token, keys(), &policy, NOW),
            Err(Refusal::TooLong)
        );
        return;
    }
    match jwt::verify(&token, keys(), &policy, NOW) {
        Ok(verified) => {
            header_is_plain(header);
            agrees_with_serde(&verified, payload);
            expires(&verified, &policy);
        }
        Err(Refusal::Malformed("the payload is not JSON")) => {
            let text = std::str::from_utf8(payload).expect("judged as text");
            assert!(
                serde_json::from_str::<Value>(text).is_err(),
                "refused: {text}"
            );
        }
        Err(Refusal::Malformed("the header is not JSON")) => {
            let text = std::str::from_utf8(header).expect("judged as text");
            assert!(
                serde_json::from_str::<Value>(text).is_err(),
                "refused: {text}"
            );
        }
        Err(Refusal::BadSignature) => {
            let header: Value = serde_json::from_slice(header).expect("a header that was read");
            assert_ne!(header["alg"], "HS256", "our own signature was refused");
        }
        Err(_) => {}
    }
}

fn policy(choice: u8) -> Policy {
    let bit = |number: u8| choice & (1 << number) != 0;
    Policy {
        issuer: bit(0).then(|| "joe".to_owned()),
        audiences: if bit(1) {
            vec!["db".to_owned()]
        } else {
            Vec::new()
        },
        algorithms: Vec::new(),
        types: if bit(5) {
            ["JWT", "absent"]
                .iter()
                .filter_map(|typ| TokenType::parse(typ))
                .collect()
        } else {
            Vec::new()
        },
        leeway: if bit(2) { 30 } else { 0 },
        require_exp: bit(3),
        max_age: bit(4).then_some(3600),
    }
}

/// RFC 7515 section 4.1.11 and RFC 8725 sections 3.1 and 3.2, as another reader sees the header.
fn header_is_plain(header: &[u8]) {
    // Numbers beyond a double are fine in a header, and are all that makes this reader fail.
    let Ok(header) = serde_json::from_slice::<Value>(header) else {
        serde_json::from_slice::<IgnoredAny>(header).expect("a header that is JSON");
        return;
    };
    assert_eq!(header["alg"], "HS256", "{header}");
    for name in ["crit", "b64", "jwk", "jku", "x5u"] {
        assert!(header.get(name).is_none(), "{header}");
    }
}

/// The claims mean the same to a reader that shares no code with ours.
fn agrees_with_serde(verified: &Verified, payload: &[u8]) {
    assert_eq!(verified.payload().as_bytes(), payload);
    let Ok(claims) = serde_json::from_slice::<Value>(payload) else {
        serde_json::from_slice::<IgnoredAny>(payload).expect("a payload that is JSON");
        return;
    };
    assert!(claims.is_object(), "{claims}");
    let text = |name: &str| {
        claims
            .get(name)
            .map(|value| value.as_str().expect("a string").to_owned())
    };
    assert_eq!(verified.issuer(), text("iss").map(Into::into));
    assert_eq!(verified.subject(), text("sub").map(Into::into));
    assert_eq!(verified.token_id(), text("jti").map(Into::into));
    let audience: Vec<&str> = match claims.get("aud") {
        None => Vec::new(),
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| name.as_str().expect("a string"))
            .collect(),
        Some(name) => vec![name.as_str().expect("a string")],
    };
    // At a time at which nothing else is wrong, if there is one.
    let now = verified.issued_at.max(verified.not_before).unwrap_or(0);
    let meant_for = |name: &str| {
        let policy = Policy {
            audiences: vec![name.to_owned()],
            ..Policy::default()
        };
        verified.check(&policy, now)
    };
    for name in &audience {
        assert_ne!(meant_for(name), Err(Refusal::Audience), "{name}");
    }
    let stranger = audience.concat() + "x";
    if verified.check(&Policy::default(), now).is_ok() {
        assert_eq!(meant_for(&stranger), Err(Refusal::Audience), "{stranger}");
    }
    same_date(&claims, "exp", verified.expires_at);
    same_date(&claims, "iat", verified.issued_at);
    same_date(&claims, "nbf", verified.not_before);
}

/// Equal as far as a double can tell.
fn same_date(claims: &Value, name: &str, ours: Option<i64>) {
    let theirs = claims
        .get(name)
        .map(|value| value.as_f64().expect("a number"));
    let (Some(ours), Some(seconds)) = (ours, theirs) else {
        assert_eq!(ours.is_some(), theirs.is_some(), "{name} of {claims}");
        return;
    };
    let micros = (seconds * 1e6).clamp(i64::MIN as f64, i64::MAX as f64);
    let difference = (ours as f64 - micros).abs();
    assert!(
        difference <= 1.0 + micros.abs() * 1e-12,
        "{name} of {claims}: {ours}"
    );
}

/// What is kept must still expire.
fn expires(verified: &Verified, policy: &Policy) {
    assert_eq!(verified.check(policy, NOW), Ok(()));
    if let Some(exp) = verified.expires_at {
        let end = exp.saturating_add(policy.leeway * MICROSECONDS);
        assert!(end > NOW);
        assert_eq!(verified.check(policy, end), Err(Refusal::Expired));
    } else {
        assert!(!policy.require_exp);
    }
}
