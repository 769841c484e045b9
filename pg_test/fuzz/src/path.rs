//! `ClaimPath` on any path and any payload. The first line is the path, the rest the payload; a line that starts with `*` and then
//! the path makes a payload as long as a token can hold of many copies.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::claim_path::ClaimPath;
use crate::claim_rules::{RequiredClaims, RoleMap};
use crate::jwt::{self, Policy};
use crate::signed::{NOW, keys, sign_payload};

/// Nothing can interrupt the evaluation of a path inside the server. Instrumented code is several times slower than the real one,
/// and the machine may be busy: the real bound is far lower.
const BOUND: Duration = Duration::from_millis(500);
/// What base64url leaves of the longest token, less a header and a signature.
const LONGEST_PAYLOAD: usize = 48_000;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, payload) = text.split_once('\n').unwrap_or((text, r#"{"role":"web"}"#));
    let (path, payload) = match path.strip_prefix('*') {
        Some(path) => (path, copies(payload)),
        None => (path, payload.to_owned()),
    };
    rules(path, &payload);
    let claim = match ClaimPath::parse(path) {
        Ok(claim) => claim,
        Err(error) => {
            let end = path.chars().count() + 1;
            assert!((1..=end).contains(&error.position), "{path}: {error}");
            assert!(!error.message.is_empty());
            return;
        }
    };
    // Not in time at the first try may be the machine's doing; three times is ours.
    let in_time = (0..3).any(|_| {
        let start = Instant::now();
        let _ = claim.text(&payload);
        let _ = claim.role(&payload);
        start.elapsed() < BOUND
    });
    assert!(
        in_time,
        "{path} takes more than {BOUND:?} on {} bytes",
        payload.len()
    );
    if is_verified(&payload) {
        holds(&claim, path, &payload);
    }
}

/// The first line as rules about claims: what is no rule is refused, and a map that is written is the same when it is read.
fn rules(text: &str, payload: &str) {
    if let Ok(required) = RequiredClaims::parse(text) {
        let _ = required.check(payload);
    }
    if let Ok(map) = RoleMap::parse(text) {
        assert_eq!(RoleMap::parse(&map.to_json()), Ok(map), "{text}");
    }
}

/// A payload that consists of one value as often as there is room.
fn copies(value: &str) -> String {
    let value = value.trim();
    if value.is_empty() {
        return String::new();
    }
    let count = (LONGEST_PAYLOAD / (value.len() + 1)).max(1);
    format!(r#"{{"a":[{}]}}"#, vec![value; count].join(","))
}

/// Whether the verifier gives this payload out. The leeway keeps its dates out of the question.
fn is_verified(payload: &str) -> bool {
    let policy = Policy {
        leeway: i64::MAX,
        ..Policy::default()
    };
    jwt::verify(&sign_payload(payload.as_bytes()), keys(), &policy, NOW).is_ok()
}

fn holds(claim: &ClaimPath, path: &str, payload: &str) {
    let text = claim.text(payload).expect("a verified payload");
    let role = claim.role(payload);
    if let Ok(role) = &role {
        assert!((1..=63).contains(&role.len()), "{path}: {role}");
        assert!(!role.contains('\0'));
    }
    // Numbers beyond a double are all that another reader may not know here.
    let Ok(tree) = serde_json::from_str::<Value>(payload) else {
        return;
    };
    if !path.starts_with(['.', '$']) {
        let value = tree.get(path).filter(|value| !value.is_null());
        match value {
            Some(Value::String(value)) => assert_eq!(text.as_ref(), Some(value), "{path}"),
            Some(value) => {
                let text = text.expect("a value");
                assert_eq!(
                    &serde_json::from_str::<Value>(&text).expect("JSON"),
                    value,
                    "{path}"
                );
            }
            None => assert_eq!(text, None, "{path}"),
        }
    }
    if let Ok(role) = role {
        assert!(
            has_string(&tree, &role),
            "{path}: a role that the payload does not hold"
        );
    }
}

fn has_string(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string == text,
        Value::Array(list) => list.iter().any(|value| has_string(value, text)),
        Value::Object(members) => members.values().any(|value| has_string(value, text)),
        _ => false,
    }
}
