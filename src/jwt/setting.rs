//! Claims as settings: `request.jwt.claim.X` is the top-level claim `X`, as PostgREST once had it.
//! Setting names know no case, and claims do.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::json;

/// Longer names of claims get no setting.
const MAX_NAME_BYTES: usize = 63;
/// Claims whose names have a meaning of their own: no other spelling stands for one of them.
const EXACT: [&str; 14] = [
    "aud",
    "azp",
    "client_id",
    "email",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "phone",
    "role",
    "scope",
    "sid",
    "sub",
];

/// The claims that have a setting, in lower case; those with a meaning of their own come first, and no name twice.
pub fn setting_names(payload: &str) -> Vec<String> {
    let mut names: Vec<String> = json::members(payload)
        .filter(|member| is_setting_name(&member.name))
        .map(|member| member.name.to_ascii_lowercase())
        .collect();
    names.sort_by_key(|name| !EXACT.contains(&name.as_str()));
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// What the setting of a claim shows, its name in lower case: a string as it is, any other value as the
/// JSON text that was signed; nothing when the claim is absent or null, or when several claims are
/// meant by the name and none is spelled as it is.
pub fn claim_of_setting(payload: &str, setting: &str) -> Option<String> {
    let mut found = None;
    let mut several = false;
    for json::Member { name, value } in json::members(payload) {
        if name == setting {
            (found, several) = (Some(value), false);
            break;
        }
        if name.eq_ignore_ascii_case(setting) && !EXACT.contains(&setting) {
            several = found.replace(value).is_some();
        }
    }
    let value = found.filter(|value| !several && *value != "null")?;
    Some(match json::string(value) {
        Some(text) => text.into_owned(),
        None => value.to_owned(),
    })
}

/// The payload with this role as its claim `role`, as PostgREST shows it; `None` when that is what it says.
pub fn with_role(payload: &str, role: &str) -> Option<String> {
    let payload = payload.trim_ascii();
    let value = json::find(payload, "role");
    if value
        .and_then(json::string)
        .is_some_and(|named| named == role)
    {
        return None;
    }
    let role = serde_json::Value::from(role);
    if let Some(value) = value {
        let place = json::place(payload, value);
        let (before, after) = (payload.get(..place.start)?, payload.get(place.end..)?);
        return Some(format!("{before}{role}{after}"));
    }
    let rest = payload.strip_prefix('{')?;
    let comma = if rest.trim_ascii_start().starts_with('}') {
        ""
    } else {
        ","
    };
    Some(format!("{{\"role\":{role}{comma}{rest}"))
}

/// As PostgreSQL has it for the names of custom settings, in ASCII: identifiers, with dots between them.
fn is_setting_name(name: &str) -> bool {
    let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.len() <= MAX_NAME_BYTES
        && name.split('.').all(|part| {
            let mut bytes = part.bytes();
            bytes.next().is_some_and(starts)
                && bytes.all(|byte| starts(byte) || byte.is_ascii_digit() || byte == b'$')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_that_was_taken_is_shown() {
        for (payload, expected) in [
            (r#"{"role":"web"}"#, None),
            (r#"{"a":1,"role":"\u0077eb"}"#, None),
            ("{}", Some(r#"{"role":"web"}"#)),
            ("{ }", Some(r#"{"role":"web" }"#)),
            (
                r#"{"a":{"role":"web"}}"#,
                Some(r#"{"role":"web","a":{"role":"web"}}"#),
            ),
            (
                r#"{"role":"x","b":"role"}"#,
                Some(r#"{"role":"web","b":"role"}"#),
            ),
            (
                r#"{"a":"x", "role" : null }"#,
                Some(r#"{"a":"x", "role" : "web" }"#),
            ),
            (r#"{"role":["web"],"b":1}"#, Some(r#"{"role":"web","b":1}"#)),
            (r#"{"r\u006fle":5}"#, Some(r#"{"r\u006fle":"web"}"#)),
        ] {
            assert_eq!(with_role(payload, "web").as_deref(), expected, "{payload}");
        }
        assert_eq!(
            with_role("{}", "a\"b\\").as_deref(),
            Some(r#"{"role":"a\"b\\"}"#)
        );
    }

    #[test]
    fn claim_settings_have_names_that_settings_may_have() {
        let payload = r#"{"sub": 1, "userId": 2, "a.b": 3, "a$1": 4, "https://x.org/y": 5, "a-b": 6, "": 7,
                          "1a": 8, "a.": 9, "\u0061z": 10, "é": 11, "a b": 12, "_": 13}"#;
        let names = ["sub", "userid", "a.b", "a$1", "az", "_"];
        assert_eq!(setting_names(payload), names);
        let payload = r#"{"b": 1, "B": 2, "email": 3, "a": 4, "sub": 5}"#;
        assert_eq!(setting_names(payload), ["email", "sub", "b", "a"]);
        let long = "x".repeat(64);
        let payload = format!("{{\"{long}\": 1, \"{}\": 1}}", &long[1..]);
        assert_eq!(setting_names(&payload), [&long[1..]]);
        assert!(setting_names("[]").is_empty() && setting_names("").is_empty());
    }

    #[test]
    fn claim_settings_show_what_was_signed() {
        let payload =
            r#"{"s": "a \"b\"", "n": 1.50, "t": true, "o": {"x": [1, 2]}, "z": null, "e": ""}"#;
        for (name, shown) in [
            ("s", Some("a \"b\"")),
            ("n", Some("1.50")),
            ("t", Some("true")),
            ("o", Some("{\"x\": [1, 2]}")),
            ("z", None),
            ("e", Some("")),
            ("x", None),
        ] {
            assert_eq!(claim_of_setting(payload, name).as_deref(), shown, "{name}");
        }
    }

    #[test]
    fn claim_settings_are_not_confused_by_case() {
        for (payload, name, shown) in [
            (r#"{"userId": "u"}"#, "userid", Some("u")),
            (r#"{"userId": "u", "userid": "v"}"#, "userid", Some("v")),
            (r#"{"userid": "v", "USERID": "u"}"#, "userid", Some("v")),
            (r#"{"userId": "u", "USERID": "v"}"#, "userid", None),
            (
                r#"{"userId": "u", "USERID": "v", "userid": null}"#,
                "userid",
                None,
            ),
            (r#"{"SUB": "victim"}"#, "sub", None),
            (r#"{"SUB": "victim", "sub": "me"}"#, "sub", Some("me")),
        ] {
            assert_eq!(
                claim_of_setting(payload, name).as_deref(),
                shown,
                "{payload}"
            );
        }
    }
}
