//! What an administrator lays down about claims: which a token must have, and which roles their values stand for. Pure.
#![forbid(unsafe_code)]

mod required;
mod role_map;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

pub use required::RequiredClaims;
pub use role_map::RoleMap;

/// Why a text is no such rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    #[error("it is not a JSON object")]
    NotAnObject,
    #[error("it is neither a JSON object nor an array of objects with one member each")]
    NotAMap,
    #[error("it has more than {0} members")]
    TooMany(usize),
    #[error("\"{0}\" is named twice")]
    Twice(String),
    #[error("\"{claim}\" is not a claim path, {problem}")]
    Path { claim: String, problem: String },
    #[error(
        "what is required of \"{0}\" is not a string, a number, true, false, a list of these, or {{\"present\": true}}"
    )]
    Condition(String),
    #[error("the list of values of \"{0}\" is empty")]
    NoValue(String),
    #[error("the role of \"{0}\" is not a string of 1 to 63 bytes")]
    Role(String),
    #[error("a value that stands for a role is empty")]
    EmptyValue,
}

/// A text of the administrator's, for a message: as much of it as tells which is meant.
fn named(text: &str) -> String {
    const MOST: usize = 100;
    let mut characters = text.chars();
    let mut name: String = characters.by_ref().take(MOST).collect();
    if characters.next().is_some() {
        name.push('…');
    }
    name
}

/// No rule has more members, and no list more values.
const MOST: usize = 1_000;

/// The members of a JSON object, in their order, whatever comes twice.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Read)
    }
}
