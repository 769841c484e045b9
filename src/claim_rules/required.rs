//! Claims that a token must have, and which values.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{MOST, Members, RuleError, named};
use crate::claim_path::ClaimPath;
use crate::jwt::json;

/// What the claims of a token must be, by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequiredClaims(Vec<(String, ClaimPath, Condition)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// Any value but null.
    Present,
    OneOf(Vec<Value>),
}

/// A value that is neither null nor made of others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    /// A number, `true` or `false`, as JSON.
    Word(String),
}

impl RequiredClaims {
    /// Reads `{"client_id": ["a", "b"], "email_verified": true, ".a.b": {"present": true}}`.
    ///
    /// # Errors
    /// [`RuleError`] says what is wrong, and with which claim.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let Members(members) = serde_json::from_str(text).map_err(|_| RuleError::NotAnObject)?;
        if members.len() > MOST {
            return Err(RuleError::TooMany(MOST));
        }
        let mut all: Vec<(String, ClaimPath, Condition)> = Vec::with_capacity(members.len());
        for (claim, value) in members {
            let claim = claim.into_owned();
            if all.iter().any(|(other, ..)| *other == claim) {
                return Err(RuleError::Twice(named(&claim)));
            }
            let path = ClaimPath::parse(&claim).map_err(|error| RuleError::Path {
                claim: named(&claim),
                problem: error.to_string(),
            })?;
            let condition = Condition::parse(&claim, value)?;
            all.push((claim, path, condition));
        }
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(Self(all))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As JSON, one way of writing it for all that mean the same.
    pub fn to_json(&self) -> String {
        let member = |(claim, _, condition): &(String, ClaimPath, Condition)| {
            format!("{}:{}", serde_json::json!(claim), condition.to_json())
        };
        let members: Vec<String> = self.0.iter().map(member).collect();
        format!("{{{}}}", members.join(","))
    }

    /// Whether a verified payload is as required.
    ///
    /// # Errors
    /// The path of the first claim that is not.
    pub fn check(&self, payload: &str) -> Result<(), &str> {
        let fails = |(_, path, condition): &&(String, ClaimPath, Condition)| {
            !path
                .value(payload)
                .is_some_and(|value| condition.holds(value))
        };
        match self.0.iter().find(fails) {
            Some((claim, ..)) => Err(claim),
            None => Ok(()),
        }
    }
}

impl Condition {
    fn parse(claim: &str, value: &RawValue) -> Result<Self, RuleError> {
        let bad = || RuleError::Condition(named(claim));
        let text = value.get();
        if text.starts_with('{') {
            return match serde_json::from_str(text) {
                Ok(Members(members)) if matches!(members.as_slice(), [(name, value)] if name == "present" && value.get() == "true") => {
                    Ok(Self::Present)
                }
                _ => Err(bad()),
            };
        }
        if !text.starts_with('[') {
            return Ok(Self::OneOf(vec![Value::parse(text).ok_or_else(bad)?]));
        }
        let values: Option<Vec<Value>> = json::elements(text).map(Value::parse).collect();
        match values.ok_or_else(bad)? {
            values if values.is_empty() => Err(RuleError::NoValue(named(claim))),
            values if values.len() > MOST => Err(RuleError::TooMany(MOST)),
            values => Ok(Self::OneOf(values)),
        }
    }

    fn to_json(&self) -> String {
        let list = |values: &[Value]| values.iter().map(Value::to_json).collect::<Vec<_>>();
        match self {
            Self::Present => r#"{"present":true}"#.to_owned(),
            Self::OneOf(values) if values.len() == 1 => list(values).concat(),
            Self::OneOf(values) => format!("[{}]", list(values).join(",")),
        }
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Present => value != "null",
            Self::OneOf(values) => values.iter().any(|one| one.is(value)),
        }
    }
}

impl Value {
    fn parse(text: &str) -> Option<Self> {
        match text.as_bytes().first()? {
            b'"' => json::string(text).map(Cow::into_owned).map(Self::Text),
            b'{' | b'[' | b'n' => None,
            b't' | b'f' => Some(Self::Word(text.to_owned())),
            _ => exact(text).map(Self::Word),
        }
    }

    fn to_json(&self) -> String {
        match self {
            Self::Text(text) => serde_json::json!(text).to_string(),
            Self::Word(word) => word.clone(),
        }
    }

    fn is(&self, value: &str) -> bool {
        match self {
            Self::Text(text) => json::string(value).is_some_and(|value| value == *text),
            Self::Word(word) => word == value || is_same_number(word, value),
        }
    }
}

/// `1`, `1.0` and `10e-1` are one number.
fn is_same_number(one: &str, other: &str) -> bool {
    matches!((decimal(one), decimal(other)), (Some(one), Some(other)) if one == other)
}

/// A number that nothing on its way here rounds, always written alike.
fn exact(number: &str) -> Option<String> {
    let whole = number.parse::<i64>().map(|whole| whole.to_string());
    whole
        .or_else(|_| number.parse::<u64>().map(|whole| whole.to_string()))
        .ok()
        .or_else(|| decimal(number).map(|number| number.to_string()))
}

/// A number that a double tells apart from all others with as few digits.
fn decimal(number: &str) -> Option<f64> {
    let mantissa = number.split(['e', 'E']).next()?;
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_matches('0');
    let number = number.parse::<f64>().ok()?;
    // -0 is 0.
    let number = if digits.is_empty() { 0.0 } else { number };
    (digits.len() <= 15 && (number.is_normal() || digits.is_empty())).then_some(number)
}

impl<'de> Deserialize<'de> for RequiredClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What comes twice, and numbers as they are written, are seen in the text alone.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(text.get()).map_err(D::Error::custom)
    }
}

impl Serialize for RequiredClaims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = RawValue::from_string(self.to_json()).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD: &str = r#"{"client_id":"app1","email_verified":true,"n":1,"f":1.50,"z":null,"e":"","t":"true",
        "big":12345678901234567890123,"id":9223372036854775807,"a":["x","y"],"o":{"k":"v"},"cognito:groups":["g"],"esc":"caf\u00e9"}"#;

    fn check(rule: &str) -> Result<(), String> {
        let rule = RequiredClaims::parse(rule).unwrap();
        rule.check(PAYLOAD).map_err(str::to_owned)
    }

    #[test]
    fn required_claims_have_the_values_that_are_listed() {
        for rule in [
            "{}",
            r#"{"client_id":"app1"}"#,
            r#"{"client_id":["app0","app1"],"email_verified":true}"#,
            r#"{"email_verified":[true,"true"],"t":[true,"true"]}"#,
            r#"{"n":1}"#,
            r#"{"n":1.0}"#,
            r#"{"n":10e-1}"#,
            r#"{"f":1.5}"#,
            r#"{"id":9223372036854775807}"#,
            r#"{"e":""}"#,
            r#"{"e":{"present":true}}"#,
            r#"{"a":{"present":true},"o":{"present":true}}"#,
            r#"{".o.k":"v"}"#,
            r#"{".a[?(@ == \"y\")]":{"present":true}}"#,
            r#"{"$.a[1]":"y"}"#,
            r#"{".\"cognito:groups\"[0]":"g"}"#,
            r#"{"esc":"caf\u00e9"}"#,
            r#"{"client_id":"\u0061pp1"}"#,
        ] {
            assert_eq!(check(rule), Ok(()), "{rule}");
        }
        for (rule, claim) in [
            (r#"{"client_id":"app2"}"#, "client_id"),
            (r#"{"client_id":"app"}"#, "client_id"),
            (r#"{"client_id":[]}"#, ""),
            (r#"{"client_id":"APP1"}"#, "client_id"),
            (r#"{"client_id":["x",1]}"#, "client_id"),
            (r#"{"email_verified":"true"}"#, "email_verified"),
            (r#"{"t":true}"#, "t"),
            (r#"{"n":"1"}"#, "n"),
            (r#"{"n":true}"#, "n"),
            (r#"{"n":2}"#, "n"),
            (r#"{"id":9223372036854775806}"#, "id"),
            (r#"{"big":1}"#, "big"),
            (r#"{"z":{"present":true}}"#, "z"),
            (r#"{"absent":{"present":true}}"#, "absent"),
            (r#"{"absent":""}"#, "absent"),
            (r#"{"a":"x"}"#, "a"),
            (r#"{"o":"v"}"#, "o"),
            (r#"{".o.x":"v"}"#, ".o.x"),
            (r#"{"client_id":"app1","n":2,"t":1}"#, "n"),
        ] {
            match RequiredClaims::parse(rule) {
                Ok(rule) => assert_eq!(rule.check(PAYLOAD), Err(claim), "{rule:?}"),
                Err(error) => assert_eq!(error, RuleError::NoValue("client_id".into()), "{rule}"),
            }
        }
    }

    #[test]
    fn rules_that_mean_the_same_are_written_alike() {
        for (rule, written) in [
            (r#"{"b":[1],"a":true}"#, r#"{"a":true,"b":1}"#),
            (r#"{"n":1e20}"#, r#"{"n":100000000000000000000}"#),
            (
                r#"{"n":[1.50,0.000000000000001,-0]}"#,
                r#"{"n":[1.5,0.000000000000001,0]}"#,
            ),
            (
                r#"{"n":18446744073709551615}"#,
                r#"{"n":18446744073709551615}"#,
            ),
            (
                r#"{"\u0061":{"present":true},"q":"\"x"}"#,
                r#"{"a":{"present":true},"q":"\"x"}"#,
            ),
            ("{}", "{}"),
        ] {
            let rule = RequiredClaims::parse(rule).unwrap();
            assert_eq!(rule.to_json(), written);
            assert_eq!(RequiredClaims::parse(written).as_ref(), Ok(&rule));
            assert_eq!(
                serde_json::from_str::<RequiredClaims>(written).unwrap(),
                rule
            );
            assert_eq!(serde_json::to_string(&rule).unwrap(), written);
        }
        let twice = serde_json::from_str::<RequiredClaims>(r#"{"a":"x","a":"y"}"#);
        assert!(twice.unwrap_err().to_string().contains("named twice"));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let fails = |rule: &str| RequiredClaims::parse(rule).unwrap_err();
        for rule in [
            "",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{",
            "{\"a\":}",
            "{\"a\":1}x",
        ] {
            assert_eq!(fails(rule), RuleError::NotAnObject, "{rule}");
        }
        for value in [
            "null",
            "{}",
            "[null]",
            "12345678901234567890123",
            "100000000000000000001",
            "0.12345678901234567",
            "1e400",
            "1e-310",
            "[[1]]",
            "[{}]",
            r#"{"present":false}"#,
            r#"{"present":"true"}"#,
            r#"{"present":true,"x":1}"#,
            r#"{"present":true,"present":true}"#,
            r#"{"is":1}"#,
        ] {
            let rule = format!("{{\"a\":{value}}}");
            assert_eq!(fails(&rule), RuleError::Condition("a".into()), "{value}");
        }
        assert_eq!(fails(r#"{"a":1,"a":2}"#), RuleError::Twice("a".into()));
        assert!(matches!(fails(r#"{"":1}"#), RuleError::Path { .. }));
        assert!(matches!(fails(r#"{".a[":1}"#), RuleError::Path { .. }));
        assert!(matches!(
            fails(r#"{"$.a[?@.b[?@.c]]":1}"#),
            RuleError::Path { .. }
        ));
        let many: Vec<String> = (0..1_001)
            .map(|number| format!("\"c{number}\":1"))
            .collect();
        assert_eq!(
            fails(&format!("{{{}}}", many.join(","))),
            RuleError::TooMany(1_000)
        );
        let list = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(1_000));
        assert_eq!(fails(&list), RuleError::TooMany(1_000));
    }

    proptest! {
        #[test]
        fn no_rule_is_a_panic(rule in "\\PC*", payload in "\\PC*") {
            if let Ok(rule) = RequiredClaims::parse(&rule) {
                let _any = rule.check(&payload);
            }
        }
    }
}
