//! Roles by the values of a claim, such as the names of groups.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{MOST, Members, RuleError, named};
use crate::claim_path::{ClaimPath, RoleClaim};
use crate::jwt::json;

/// The longest name of a role, in bytes.
const MAX_ROLE_BYTES: usize = 63;

/// Which value stands for which role; the first that a token has counts, or all of them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleMap(Vec<(String, String)>);

impl RoleMap {
    /// Reads `{"/db/writers": "writer", "/db/readers": "reader"}`, or the same as an array of objects with one member each, whose order
    /// `jsonb` keeps too.
    ///
    /// # Errors
    /// [`RuleError`] says what is wrong, and with which value.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut entries = Vec::new();
        let text = text.trim_ascii();
        if text.starts_with('[') {
            let objects: Vec<Members<'_>> =
                serde_json::from_str(text).map_err(|_| RuleError::NotAMap)?;
            for Members(members) in objects {
                if members.len() != 1 {
                    return Err(RuleError::NotAMap);
                }
                entries.extend(members);
            }
        } else {
            let Members(members) = serde_json::from_str(text).map_err(|_| RuleError::NotAMap)?;
            entries = members;
        }
        if entries.is_empty() {
            return Err(RuleError::NotAMap);
        }
        if entries.len() > MOST {
            return Err(RuleError::TooMany(MOST));
        }
        let mut map: Vec<(String, String)> = Vec::with_capacity(entries.len());
        for (value, role) in entries {
            if value.is_empty() {
                return Err(RuleError::EmptyValue);
            }
            if map.iter().any(|(other, _)| *other == *value) {
                return Err(RuleError::Twice(named(&value)));
            }
            let role = role_name(role).ok_or_else(|| RuleError::Role(named(&value)))?;
            map.push((value.into_owned(), role));
        }
        Ok(Self(map))
    }

    /// The roles of a verified payload whose claim is at `path`, each once, in the order of the map.
    ///
    /// # Errors
    /// [`RoleClaim`] says why there is none.
    pub fn roles(&self, path: &ClaimPath, payload: &str) -> Result<Vec<String>, RoleClaim> {
        let values = path.strings(payload)?;
        let mut roles: Vec<String> = Vec::new();
        for (value, role) in &self.0 {
            if values.iter().any(|has| has == value) && !roles.contains(role) {
                roles.push(role.clone());
            }
        }
        match roles.is_empty() {
            true => Err(RoleClaim::NotMapped),
            false => Ok(roles),
        }
    }

    /// As JSON that keeps its order in `jsonb`, too.
    pub fn to_json(&self) -> String {
        let entries = self.0.iter();
        let entries = entries.map(|(value, role)| serde_json::json!({ value: role }));
        entries.collect::<serde_json::Value>().to_string()
    }
}

impl<'de> Deserialize<'de> for RoleMap {
    /// The array: objects have no order where they were read before.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if !text.get().starts_with('[') {
            return Err(D::Error::custom(
                "a map of roles is an array of objects with one member each",
            ));
        }
        Self::parse(text.get()).map_err(D::Error::custom)
    }
}

impl Serialize for RoleMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = RawValue::from_string(self.to_json()).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

fn role_name(role: &RawValue) -> Option<String> {
    let name = json::string(role.get())?;
    (1..=MAX_ROLE_BYTES)
        .contains(&name.len())
        .then(|| name.into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PAYLOAD: &str = r#"{"groups":["/x","/db/readers","/db/admins"],"one":"/db/readers","n":5,"mixed":[1,"/db/admins"],
        "none":[],"z":null,"deep":{"list":[{"id":"/db/readers"},{"id":"/db/admins"}]}}"#;

    fn role(map: &str, path: &str) -> Result<String, RoleClaim> {
        let path = ClaimPath::parse(path).unwrap();
        let roles = RoleMap::parse(map).unwrap().roles(&path, PAYLOAD)?;
        Ok(roles[0].clone())
    }

    #[test]
    fn the_first_of_the_map_that_a_token_has_counts() {
        const OBJECT: &str = r#"{"/db/admins":"admin","/db/readers":"reader"}"#;
        const ARRAY: &str = r#"[{"/db/admins":"admin"},{"/db/readers":"reader"}]"#;
        const REVERSED: &str = r#"[{"/db/readers":"reader"},{"/db/admins":"admin"}]"#;
        for (map, path, expected) in [
            (OBJECT, "groups", Ok("admin")),
            (ARRAY, "groups", Ok("admin")),
            (REVERSED, "groups", Ok("reader")),
            (OBJECT, "one", Ok("reader")),
            (OBJECT, "mixed", Ok("admin")),
            (OBJECT, ".groups[1]", Ok("reader")),
            (OBJECT, "$.groups[*]", Ok("admin")),
            (REVERSED, "$.deep.list[*].id", Ok("reader")),
            (ARRAY, "$.deep.list[*].id", Ok("admin")),
            (OBJECT, ".groups[0]", Err(RoleClaim::NotMapped)),
            (OBJECT, "absent", Err(RoleClaim::Missing)),
            (OBJECT, "$.absent[*]", Err(RoleClaim::Missing)),
            (OBJECT, "n", Err(RoleClaim::NotText)),
            (OBJECT, "none", Err(RoleClaim::NotText)),
            (OBJECT, "z", Err(RoleClaim::NotText)),
            (OBJECT, "deep", Err(RoleClaim::NotText)),
        ] {
            assert_eq!(role(map, path), expected.map(str::to_owned), "{map} {path}");
        }
    }

    #[test]
    fn a_map_is_the_same_as_an_array() {
        let map = r#"{"/b":"two","/long":"x","/a \\"q\\"":"one"}"#.replace("\\\\", "\\");
        let map = RoleMap::parse(&map).unwrap();
        let array = map.to_json();
        assert_eq!(array, r#"[{"/b":"two"},{"/long":"x"},{"/a \"q\"":"one"}]"#);
        assert_eq!(RoleMap::parse(&array), Ok(map));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let fails = |map: &str| RoleMap::parse(map).unwrap_err();
        for map in [
            "",
            "{}",
            "[]",
            "1",
            "null",
            "[1]",
            "[{}]",
            r#"[{"a":"b","c":"d"}]"#,
            r#"{"a":"b""#,
            r#"{"a":"b"} x"#,
        ] {
            assert_eq!(fails(map), RuleError::NotAMap, "{map}");
        }
        for role in [
            "1",
            "null",
            "\"\"",
            "[\"r\"]",
            &format!("\"{}\"", "r".repeat(64)),
        ] {
            let map = format!("{{\"a\":{role}}}");
            assert_eq!(fails(&map), RuleError::Role("a".into()), "{role}");
        }
        assert_eq!(fails(r#"{"a":"b","a":"c"}"#), RuleError::Twice("a".into()));
        assert_eq!(
            fails(r#"[{"a":"b"},{"a":"c"}]"#),
            RuleError::Twice("a".into())
        );
        assert_eq!(fails(r#"{"":"b"}"#), RuleError::EmptyValue);
        let many: Vec<String> = (0..1_001)
            .map(|number| format!("\"v{number}\":\"r\""))
            .collect();
        assert_eq!(
            fails(&format!("{{{}}}", many.join(","))),
            RuleError::TooMany(1_000)
        );
    }
}
