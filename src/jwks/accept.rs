//! What of an answer is taken: public keys that verify signatures, and of each the members that make it one.

use serde::{Deserialize, Serialize};

use super::Problem;
use crate::jwt::json;
use crate::jwt::{Algorithm, KeyError, KeySet};

/// A set has no more.
const MOST_KEYS: usize = 100;
/// A longer name no log and no page could show.
const LONGEST_KID: usize = 256;
/// Of a public key. All else, certificates above all, is left out.
const MEMBERS: [&str; 10] = [
    "kty", "kid", "use", "alg", "key_ops", "crv", "x", "y", "n", "e",
];
/// Of a private key or a secret: whoever publishes one has no secret any more.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// As [`KeySet`] reads it.
    pub text: String,
    pub kids: Vec<String>,
    pub count: usize,
    /// How many were left out because they are broken, and that is known to be so.
    pub broken: usize,
}

/// The keys of an answer, for an issuer with these algorithms (none: any). One that cannot be used is left out: what is published for
/// others must not stop those that are good.
///
/// # Errors
/// `NoKeySet`, `Number`, `NoKeys`.
pub fn accept(body: &str, algorithms: &[Algorithm]) -> Result<Accepted, Problem> {
    let trimmed = body.trim_start_matches('\u{feff}').trim();
    let mut broken = 0;
    let text = match json::object(trimmed) {
        Ok(members) => match members.iter().find(|member| member.name == "keys") {
            Some(keys) if keys.value.starts_with('[') => usable(keys.value, &mut broken)?,
            Some(_) => return Err(Problem::NoKeySet),
            None => trimmed.to_owned(),
        },
        Err(_) if trimmed.starts_with("-----BEGIN") => trimmed.to_owned(),
        Err(_) => return Err(Problem::NoKeySet),
    };
    let keys = KeySet::parse(text.as_bytes(), false).map_err(|error| match error {
        KeyError::NoUsableKey => Problem::NoKeys,
        _ => Problem::NoKeySet,
    })?;
    let serves =
        algorithms.is_empty() || algorithms.iter().any(|&algorithm| keys.serves(algorithm));
    let (count, kids): (_, Vec<String>) = (keys.len(), keys.kids().map(str::to_owned).collect());
    if keys.has_secrets() || !serves || kids.iter().any(|kid| kid.len() > LONGEST_KID) {
        return Err(Problem::NoKeys);
    }
    if count > MOST_KEYS {
        return Err(Problem::Number);
    }
    Ok(Accepted {
        text,
        kids,
        count,
        broken,
    })
}

/// A set of those keys of an array that can be used.
fn usable(array: &str, broken: &mut usize) -> Result<String, Problem> {
    let mut found = Vec::new();
    for (number, element) in json::elements(array).enumerate() {
        if number >= MOST_KEYS {
            return Err(Problem::Number);
        }
        let Ok(members) = json::object(element) else {
            continue;
        };
        if members
            .iter()
            .any(|member| PRIVATE.contains(&member.name.as_ref()))
        {
            *broken += 1;
            continue;
        }
        let kept: Vec<String> = members
            .iter()
            .filter(|member| MEMBERS.contains(&member.name.as_ref()))
            .map(|member| format!("\"{}\":{}", member.name, member.value))
            .collect();
        let key = format!("{{{}}}", kept.join(","));
        match KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes(), false) {
            Ok(one) if one.kids().all(|kid| kid.len() <= LONGEST_KID) => found.push(key),
            Ok(_) => {}
            Err(error) => *broken += usize::from(is_broken(&error)),
        }
    }
    if found.is_empty() {
        return Err(Problem::NoKeys);
    }
    Ok(format!("{{\"keys\":[{}]}}", found.join(",")))
}

/// Can others sign with it?
fn is_broken(error: &KeyError) -> bool {
    match error {
        KeyError::InSet { error, .. } => is_broken(error),
        error => *error == KeyError::Roca,
    }
}

/// A key's name for a log: as it is where it is plain, else so that it can be told from others.
pub fn shown(kid: &str) -> String {
    const LONGEST: usize = 128;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=+/~@".contains(&byte);
    if !kid.is_empty() && kid.len() <= LONGEST && kid.bytes().all(is_plain) {
        return kid.to_owned();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, kid.as_bytes());
    let hex: String = digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","use":"sig","alg":"EdDSA"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn set(keys: &[&str]) -> String {
        format!("{{\"keys\":[{}],\"more\":1}}", keys.join(","))
    }

    #[test]
    fn jwks_answers_are_taken_by_what_verifies() {
        let taken = accept(&set(&[ED, EC]), &[]).unwrap();
        assert_eq!(
            (taken.count, taken.kids, taken.broken),
            (2, vec!["a".to_owned()], 0)
        );
        let with = ED.replace("\"use\"", "\"x5c\":[\"MIIB\"],\"x\\u0035t\":\"x\",\"use\"");
        let taken = accept(&format!("\u{feff} {}\n", set(&[&with])), &[]).unwrap();
        assert!(!taken.text.contains("MIIB"), "{}", taken.text);
        // What others are published for stops nobody.
        let weak = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
        let other = r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#;
        let encrypts = ED.replace("\"sig\"", "\"enc\"");
        let taken = accept(&set(&[weak, other, "7", "[]", &encrypts, ED]), &[]).unwrap();
        assert_eq!(taken.count, 1);
        // An issuer whose tokens have another algorithm gets none.
        let rs256 = ["RS256".parse().unwrap()];
        assert_eq!(accept(&set(&[ED]), &rs256), Err(Problem::NoKeys));
        let eddsa = ["EdDSA".parse().unwrap()];
        assert!(accept(&set(&[ED]), &eddsa).is_ok());
    }

    #[test]
    fn attack_jwks_secrets_and_private_keys_are_no_keys() {
        let secret = r#"{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY","kid":"a"}"#;
        let private = ED.replace(
            "\"use\"",
            "\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\",\"use\"",
        );
        assert_eq!(accept(&set(&[secret, &private]), &[]), Err(Problem::NoKeys));
        let taken = accept(&set(&[secret, &private, EC]), &[]).unwrap();
        assert_eq!((taken.count, taken.broken), (1, 2));
        assert!(!taken.text.contains("nWGxne"));
        // A page is no secret of 32 bytes, and neither is a URL.
        for body in [
            "<html><body>Please sign in to this network</body></html>",
            "https://id.example.org/.well-known/jwks.json",
            secret,
            "",
            " ",
            "[]",
            "{}",
            "null",
            "{\"keys\":{}}",
            "{\"keys\":[]}",
            "{\"keys\":[]",
            &set(&[ED]).replace("\"more\"", "\"keys\""),
            &set(&[ED])[..40],
        ] {
            assert!(accept(body, &[]).is_err(), "{body}");
        }
    }

    #[test]
    fn attack_jwks_sets_have_bounds() {
        let many = vec![ED; MOST_KEYS + 1];
        assert_eq!(accept(&set(&many), &[]), Err(Problem::Number));
        assert_eq!(accept(&set(&many[1..]), &[]).unwrap().count, MOST_KEYS);
        let long = ED.replace("\"kid\":\"a\"", &format!("\"kid\":\"{}\"", "x".repeat(257)));
        assert_eq!(accept(&set(&[&long]), &[]), Err(Problem::NoKeys));
    }

    #[test]
    fn attack_jwks_names_of_keys_do_no_harm_in_logs() {
        assert_eq!(shown("2026-11_a.b:c="), "2026-11_a.b:c=");
        for kid in ["", "a b", "a\nscope_roles audit: {}", "é", &"x".repeat(129)] {
            let shown = shown(kid);
            assert!(shown.starts_with("sha256:") && shown.len() == 23, "{shown}");
        }
        assert_ne!(shown("a b"), shown("a  b"));
    }

    proptest! {
        #[test]
        fn no_answer_is_a_panic(body in ".*") {
            let _any = accept(&body, &[]);
            let _any = accept(&format!("{{\"keys\":[{body}]}}"), &[]);
        }
    }
}
