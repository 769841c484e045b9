//! Claim paths: which claim of a payload is meant, in three grammars. A plain name is a top-level
//! claim; a text that starts with `.` is a path in PostgREST's grammar; one that starts with `$` is
//! JSONPath (RFC 9535).
#![forbid(unsafe_code)]

mod parse;

use std::borrow::Cow;

use serde_json_path::{JsonPath, PathElement};
use thiserror::Error;

use crate::jwt::{Refusal, Verified, json};

/// PostgreSQL's longest role name, in bytes (`NAMEDATALEN` - 1).
const MAX_ROLE_BYTES: usize = 63;
/// Longer paths are refused: they come from SQL, and a parser recurses over them.
const MAX_PATH_CHARS: usize = 512;

/// A claim path that was read once and can be applied to any number of payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Name(String),
    Steps(Vec<Step>),
    Json(Box<JsonPath>),
}

/// The JSON texts of the first value that a path selects, and of the first string.
type Selected<'a> = [Option<&'a str>; 2];

/// A step of a path that starts with a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    /// Selects the first string element of an array that matches.
    Filter(Comparison, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    StartsWith,
    EndsWith,
    Contains,
}

/// A text that is not a claim path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at character {position}: {message}")]
pub struct PathError {
    /// Where, in characters from 1.
    pub position: usize,
    /// What is wrong there, without the text itself.
    pub message: Cow<'static, str>,
}

/// Why a verified payload gives no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RoleClaim {
    /// The path leads nowhere.
    #[error("the token has no role claim")]
    Missing,
    /// There is a value, but it is no string: a number, a boolean, null, an array or an object.
    #[error("the role claim is not a string")]
    NotText,
    /// The string is empty.
    #[error("the role claim is empty")]
    Empty,
    /// The string is longer than a role name can be.
    #[error("the role claim is longer than 63 bytes")]
    TooLong,
    /// None of its strings is in the issuer's map of roles.
    #[error("no value of the role claim is in the map of roles")]
    NotMapped,
}

impl RoleClaim {
    /// The stable word for this refusal, as documented for users.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "role_missing",
            Self::NotText => "role_not_text",
            Self::Empty => "role_empty",
            Self::TooLong => "role_too_long",
            Self::NotMapped => "role_not_mapped",
        }
    }

    /// What an administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing => {
                "Have the identity provider put the role into the token, or name the claim that \
                 holds it."
            }
            Self::NotText => {
                "Name a claim that holds one string. For an array, select an element: \
                 .roles[0], or .roles[?(@ ^== \"app_\")]."
            }
            Self::Empty => "Have the identity provider put a role name into the claim.",
            Self::TooLong => {
                "Role names have at most 63 bytes. Check that the path leads to the role."
            }
            Self::NotMapped => {
                "Map one of the values in the token to a role, or give the user a value that is \
                 mapped."
            }
        }
    }
}

impl ClaimPath {
    /// Reads a path in one of the three grammars.
    ///
    /// # Errors
    /// [`PathError`] with the position of the first character that does not fit.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(parse::error(1, "a claim path cannot be empty"));
        }
        if text.chars().count() > MAX_PATH_CHARS {
            return Err(parse::error(
                MAX_PATH_CHARS + 1,
                "a claim path has at most 512 characters",
            ));
        }
        let kind = if text.starts_with('$') {
            Kind::Json(Box::new(parse::json_path(text)?))
        } else if text.starts_with('.') {
            Kind::Steps(parse::steps(text)?)
        } else {
            Kind::Name(text.to_owned())
        };
        Ok(Self { kind })
    }

    /// The claim as text: a string as it is, any other value as the JSON text that was signed,
    /// `None` when it is absent or null. Of several values, the first.
    ///
    /// # Errors
    /// `malformed` when the payload is not one that [`verify`](crate::jwt::verify) gave out.
    pub fn text(&self, payload: &str) -> Result<Option<String>, Refusal> {
        let [first, _] = self.select(payload)?;
        let Some(value) = first.filter(|value| *value != "null") else {
            return Ok(None);
        };
        Ok(Some(match json::string(value) {
            Some(text) => text.into_owned(),
            None => value.to_owned(),
        }))
    }

    /// The role that the claim names. Of several values, the first string.
    ///
    /// # Errors
    /// [`RoleClaim`] says why there is none.
    pub fn role(&self, payload: &str) -> Result<String, RoleClaim> {
        role(self.select(payload).map_err(|_| RoleClaim::Missing)?)
    }

    /// The same of a token, which knows where its claims are.
    ///
    /// # Errors
    /// As [`Self::role`].
    pub fn role_of(&self, token: &Verified) -> Result<String, RoleClaim> {
        match &self.kind {
            Kind::Name(name) => role([token.claim(name), None]),
            Kind::Steps(_) | Kind::Json(_) => self.role(token.payload()),
        }
    }

    /// The claim as the JSON text that was signed; `None` when it is absent. Of several values, the first.
    pub fn value<'a>(&self, payload: &'a str) -> Option<&'a str> {
        let [first, _] = self.select(payload).ok()?;
        first
    }

    /// The strings that the claim holds: itself, or the elements of the array that it is.
    ///
    /// # Errors
    /// [`RoleClaim`] says why there is none.
    pub fn strings<'a>(&self, payload: &'a str) -> Result<Vec<Cow<'a, str>>, RoleClaim> {
        let values = match &self.kind {
            Kind::Json(path) => query(path, payload.trim_ascii(), true),
            Kind::Name(_) | Kind::Steps(_) => self
                .select(payload)
                .map(|values| Vec::from_iter(values.into_iter().flatten())),
        };
        let values = values.map_err(|_| RoleClaim::Missing)?;
        if values.is_empty() {
            return Err(RoleClaim::Missing);
        }
        let mut strings = Vec::new();
        for value in values {
            match json::string(value) {
                Some(text) => strings.push(text),
                None => strings.extend(json::elements(value).filter_map(json::string)),
            }
        }
        if strings.is_empty() {
            return Err(RoleClaim::NotText);
        }
        Ok(strings)
    }

    fn select<'a>(&self, payload: &'a str) -> Result<Selected<'a>, Refusal> {
        let object = payload.trim_ascii();
        if !object.starts_with('{') {
            return Err(NOT_A_PAYLOAD);
        }
        Ok(match &self.kind {
            Kind::Name(name) => [json::find(object, name), None],
            Kind::Steps(steps) => {
                let mut steps = steps.iter();
                [
                    steps.try_fold(object, |value, step| step.apply(value)),
                    None,
                ]
            }
            Kind::Json(path) => {
                let mut values = query(path, object, false)?.into_iter();
                [values.next(), values.next()]
            }
        })
    }
}

/// The first string of what a path has selected.
fn role(selected: Selected<'_>) -> Result<String, RoleClaim> {
    let mut values = selected.iter().flatten().peekable();
    values.peek().ok_or(RoleClaim::Missing)?;
    let role = values
        .find_map(|value| json::string(value))
        .ok_or(RoleClaim::NotText)?;
    if role.is_empty() {
        return Err(RoleClaim::Empty);
    }
    if role.len() > MAX_ROLE_BYTES {
        return Err(RoleClaim::TooLong);
    }
    Ok(role.into_owned())
}

const NOT_A_PAYLOAD: Refusal = Refusal::Malformed("the payload is not a JSON object");

/// What JSONPath selects: all of it, or its first value and its first string.
fn query<'a>(path: &JsonPath, object: &'a str, all: bool) -> Result<Vec<&'a str>, Refusal> {
    let tree = json::tree(object).ok_or(NOT_A_PAYLOAD)?;
    // The tree's numbers are doubles: what is handed out is the signed text.
    let nodes = path.query_located(&tree);
    let first = nodes.iter().take(if all { usize::MAX } else { 1 });
    let text = nodes.iter().find(|node| !all && node.node().is_string());
    Ok(first
        .chain(text)
        .map(|node| node.location())
        .filter_map(|location| {
            location
                .iter()
                .try_fold(object, |value, element| match element {
                    PathElement::Name(name) => json::find(value, name),
                    PathElement::Index(index) => json::elements(value).nth(*index),
                })
        })
        .collect())
}

impl Step {
    fn apply<'a>(&self, value: &'a str) -> Option<&'a str> {
        match self {
            Self::Key(name) => json::find(value, name),
            Self::Index(index) => json::elements(value).nth(*index),
            Self::Filter(comparison, text) => json::elements(value).find(|element| {
                json::string(element).is_some_and(|element| comparison.holds(&element, text))
            }),
        }
    }
}

impl Comparison {
    fn holds(self, element: &str, text: &str) -> bool {
        match self {
            Self::Equal => element == text,
            Self::NotEqual => element != text,
            Self::StartsWith => element.starts_with(text),
            Self::EndsWith => element.ends_with(text),
            Self::Contains => element.contains(text),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD: &str = r#"{ "role":"web","n":1.50,"big":12345678901234567890123,"huge":1e400,
        "t":true,"z":null,"e":"","o":{"a b":["x",{"k":"v"}],"list":[1,"app_r","app_w","x_end"]},
        "https://x.example/role":{"key":"q"},"esc":"\u00e9\n","$":"dollar",
        "long":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "max":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;

    fn text(path: &str) -> Option<String> {
        ClaimPath::parse(path).unwrap().text(PAYLOAD).unwrap()
    }

    fn role(path: &str) -> Result<String, RoleClaim> {
        ClaimPath::parse(path).unwrap().role(PAYLOAD)
    }

    #[test]
    fn text_in_three_grammars() {
        for (path, expected) in [
            ("role", Some("web")),
            ("n", Some("1.50")),
            ("big", Some("12345678901234567890123")),
            ("huge", Some("1e400")),
            ("t", Some("true")),
            ("z", None),
            ("e", Some("")),
            ("absent", None),
            ("o.list", None),
            ("https://x.example/role", Some(r#"{"key":"q"}"#)),
            ("esc", Some("é\n")),
            (".role", Some("web")),
            (r#"."role""#, Some("web")),
            (r#"."https://x.example/role".key"#, Some("q")),
            (r#".o."a b"[0]"#, Some("x")),
            (r#".o."a b"[1].k"#, Some("v")),
            (r#".o."a b"[2]"#, None),
            (".o.list[0]", Some("1")),
            (".role[0]", None),
            (".role.x", None),
            (".$", Some("dollar")),
            (r#".o.list[?(@ == "app_w")]"#, Some("app_w")),
            (r#".o.list[?(@=="app_w")]"#, Some("app_w")),
            (r#".o.list[?(@ != "app_r")]"#, Some("app_w")),
            (r#".o.list[?(@ ^== "app_")]"#, Some("app_r")),
            (r#".o.list[?(@ ==^ "_end")]"#, Some("x_end")),
            (r#".o.list[?(@ *== "_e")]"#, Some("x_end")),
            (r#".o.list[?(@ == "nobody")]"#, None),
            (r#".role[?(@ == "web")]"#, None),
            ("$.role", Some("web")),
            ("$['o']['a b'][1].k", Some("v")),
            ("$.o.list[-1]", Some("x_end")),
            ("$.o.list[*]", Some("1")),
            ("$.o.list[?@ == 'app_w']", Some("app_w")),
            ("$.n", Some("1.50")),
            ("$.huge", Some("1e400")),
            ("$.big", Some("12345678901234567890123")),
            ("$.z", None),
            ("$.absent", None),
            ("$..k", Some("v")),
            ("$['https://x.example/role'].key", Some("q")),
            ("$.o.list[?length(@) == 5]", Some("app_r")),
        ] {
            assert_eq!(text(path).as_deref(), expected, "{path}");
        }
        assert_eq!(text("$").as_deref(), Some(PAYLOAD));
    }

    #[test]
    fn roles() {
        for (path, expected) in [
            ("role", Ok("web")),
            ("$.o.list[*]", Ok("app_r")),
            (".o.list[1]", Ok("app_r")),
            ("absent", Err(RoleClaim::Missing)),
            ("$.absent[*]", Err(RoleClaim::Missing)),
            (r#".o.list[?(@ == "z")]"#, Err(RoleClaim::Missing)),
            ("z", Err(RoleClaim::NotText)),
            ("n", Err(RoleClaim::NotText)),
            ("t", Err(RoleClaim::NotText)),
            ("o", Err(RoleClaim::NotText)),
            (".o.list", Err(RoleClaim::NotText)),
            ("$.o.list", Err(RoleClaim::NotText)),
            ("e", Err(RoleClaim::Empty)),
            ("long", Err(RoleClaim::TooLong)),
        ] {
            assert_eq!(
                role(path).as_deref(),
                expected.as_ref().map(|s| *s),
                "{path}"
            );
        }
        assert_eq!(role("max").unwrap().len(), 63);
    }

    #[test]
    fn bad_paths_give_the_position() {
        for (path, position) in [
            ("", 1),
            (".", 2),
            (".a.", 4),
            (".a..b", 4),
            (".[0]", 2),
            (".a-b", 3),
            (".é-b", 3),
            (".a b", 3),
            (".a[", 4),
            (".a[]", 4),
            (".a[-1]", 4),
            (".a[x]", 4),
            (".a[0", 5),
            (".a[0]b", 6),
            (".a[99999999999999999999999]", 27),
            (".\"a", 4),
            (".\"é\"x", 5),
            (".a[?(x == \"y\")]", 6),
            (".a[?(@ = \"y\")]", 8),
            (".a[?(@ == 'y')]", 11),
            (".a[?(@ == \"y\"]", 14),
            (".a[?(@ == \"y\")].b", 16),
            (".a[?@ == \"y\"]", 4),
            ("$a", 2),
            ("$.", 3),
            ("$.éé[", 5),
            ("$[?@[?@.a]]", 6),
            ("$..a..b", 5),
            ("$[?@..a]", 5),
            ("$[?$==$]", 7),
            ("$[?match(@, 'x')]", 9),
            ("$[?search(@, 'x')]", 10),
            ("$[*,*,*,*,*]", 11),
        ] {
            let error = ClaimPath::parse(path).unwrap_err();
            assert_eq!(error.position, position, "{path}: {error}");
        }
        assert_eq!(
            ClaimPath::parse(&"a".repeat(513)).unwrap_err().position,
            513
        );
        // What looks costly inside quotes is a name.
        for path in [
            "$['..*,*,*,*,*?$$$..match(']",
            "$[\"a\\\"..\"]..b",
            "$.match.search",
        ] {
            assert!(ClaimPath::parse(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn deep_paths_do_not_overflow_the_stack() {
        for open in [
            "(", "!", "!(", "length(", "[", "[?", "((@", "count($[", "[\"(\"", "a&&", "-",
        ] {
            let path = format!("$[?{}", open.repeat(500 / open.len()));
            ClaimPath::parse(path.get(..512).unwrap_or(&path)).unwrap_err();
        }
        let balanced = |depth| format!("$[?{}@.a{}]", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(ClaimPath::parse(&balanced(15)).map(|_| ()), Ok(()));
        assert_eq!(ClaimPath::parse(&balanced(16)).unwrap_err().position, 19);
        ClaimPath::parse(&balanced(250)).unwrap_err();
        // What is closed again counts no longer.
        let wide = format!("$[?{}@.a]", "(@.b)||".repeat(70));
        assert_eq!(ClaimPath::parse(&wide).map(|_| ()), Ok(()));
    }

    #[test]
    fn other_payloads_are_refused() {
        for payload in ["", "[]", "\"role\"", "null"] {
            let path = ClaimPath::parse("role").unwrap();
            assert_eq!(path.text(payload).unwrap_err().reason(), "malformed");
            assert_eq!(path.role(payload), Err(RoleClaim::Missing));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn paths_never_panic(path in any::<String>(), payload in any::<String>()) {
            if let Ok(path) = ClaimPath::parse(&path) {
                let _any = (path.text(&payload), path.role(&payload), path.text(PAYLOAD));
            }
        }

        #[test]
        fn nearly_paths_never_panic(path in r#"[.$][a-c."'\[\]?()@=^*!&|<>0-9:,$ é-]{0,40}"#) {
            match ClaimPath::parse(&path) {
                Ok(parsed) => {
                    let _any = (parsed.text(PAYLOAD), parsed.role(PAYLOAD));
                }
                Err(error) => {
                    let end = path.chars().count() + 1;
                    prop_assert!((1..=end).contains(&error.position), "{}", error);
                }
            }
        }

        #[test]
        fn every_plain_name_is_found(name in "[^.$\0][^\0]{0,20}", value in "[^\0]{1,20}") {
            let payload = serde_json::json!({ "0": 1, name.clone(): value.clone() }).to_string();
            let path = ClaimPath::parse(&name).unwrap();
            prop_assert_eq!(path.text(&payload).unwrap(), Some(value));
        }
    }
}
