//! Strict JSON (RFC 8259) on serde_json, which by itself takes the last of two members of one name,
//! and NUL, which PostgreSQL's text cannot hold. Values stay text: `1e400` and 20 digits lose nothing.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memchr;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// Objects and arrays may be nested this deep.
pub(super) const MAX_DEPTH: usize = 32;

/// Why a text is not a strict JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON; lone surrogates included.
    Syntax,
    /// JSON, but not an object.
    NotObject,
    /// Two members of one name in an object, at any depth.
    Duplicate,
    /// A string, at any depth, contains U+0000, which PostgreSQL text cannot hold.
    Nul,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// A member of an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, unescaped.
    pub name: Cow<'a, str>,
    /// The JSON text of the value.
    pub value: &'a str,
}

/// Reads a text that must be one JSON object and nothing else.
pub fn object(text: &str) -> Result<Vec<Member<'_>>, JsonError> {
    let escapes = has_escapes(text);
    if text.trim_ascii_start().starts_with('{') {
        return strict_object(text, 1, escapes);
    }
    let other: &RawValue = serde_json::from_str(text).map_err(|_| JsonError::Syntax)?;
    strict(other.get(), 0, escapes)?;
    Err(JsonError::NotObject)
}

/// Is a value's JSON text a string?
pub(super) fn is_string(value: &str) -> bool {
    value.starts_with('"')
}

/// The string that a value's JSON text holds, unescaped; `None` for any other type.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if has_escapes(inner) {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The value of a member of an object, as JSON text. The object must have been read strictly
/// before: of two members of one name, this finds the first.
pub fn find<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut value = None;
    let found = &mut value;
    // What comes after it is not read, which serde_json calls an error.
    let _unfinished =
        serde_json::Deserializer::from_str(object).deserialize_map(Find { name, found });
    value
}

/// Where `part`, which is a piece of `text`, is in it.
pub(super) fn place(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    start..start.wrapping_add(part.len())
}

/// The members of an object; none of any other type. See [`find`].
pub(super) fn members(object: &str) -> impl Iterator<Item = Member<'_>> {
    let Members(members) = serde_json::from_str(object).unwrap_or_default();
    members.into_iter()
}

/// The elements of an array as JSON text; none of any other type.
pub fn elements(array: &str) -> impl Iterator<Item = &str> {
    let elements: Vec<&RawValue> = serde_json::from_str(array).unwrap_or_default();
    elements.into_iter().map(RawValue::get)
}

/// Builds a tree from JSON text that was read strictly before. A number outside the range of a
/// double becomes the largest double of its sign, which keeps comparisons right; integers beyond 64
/// bits lose digits. `None` when nested deeper than [`MAX_DEPTH`] or not JSON.
pub fn tree(value: &str) -> Option<Value> {
    branch(value, 0)
}

fn branch(value: &str, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value.as_bytes().first()? {
        b'{' => members(value)
            .map(|member| Some((member.name.into_owned(), branch(member.value, depth + 1)?)))
            .collect::<Option<Map<_, _>>>()
            .map(Value::Object),
        b'[' => elements(value)
            .map(|value| branch(value, depth + 1))
            .collect::<Option<_>>()
            .map(Value::Array),
        b'"' => Some(Value::String(string(value)?.into_owned())),
        _ => serde_json::from_str(value).ok().or_else(|| {
            let huge: f64 = value.parse().ok()?;
            Number::from_f64(huge.clamp(f64::MIN, f64::MAX)).map(Value::Number)
        }),
    }
}

/// Checks a value that is inside `depth` objects and arrays and is JSON already, as far as a reader
/// sees that skips it: such a one does not look at surrogates. Without escapes there are none, and no
/// NUL: as it stands there a string has no control characters.
fn strict(value: &str, depth: usize, escapes: bool) -> Result<(), JsonError> {
    match value.as_bytes().first() {
        Some(b'{') => strict_object(value, depth + 1, escapes).map(drop),
        Some(b'[') if depth >= MAX_DEPTH => Err(JsonError::TooDeep),
        Some(b'[') => elements(value).try_for_each(|element| strict(element, depth + 1, escapes)),
        Some(b'"') if escapes => no_nul(&string(value).ok_or(JsonError::Syntax)?),
        _ => Ok(()),
    }
}

/// The object is the `depth`th that is open. Each level reads its text again, 32 times at most.
fn strict_object(text: &str, depth: usize, escapes: bool) -> Result<Vec<Member<'_>>, JsonError> {
    if depth > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    let Members(members) = serde_json::from_str(text).map_err(|_| JsonError::Syntax)?;
    for member in &members {
        if escapes {
            no_nul(&member.name)?;
        }
        strict(member.value, depth, escapes)?;
    }
    if has_duplicate(&members) {
        return Err(JsonError::Duplicate);
    }
    Ok(members)
}

fn has_escapes(string: &str) -> bool {
    memchr(b'\\', string.as_bytes()).is_some()
}

fn no_nul(text: &str) -> Result<(), JsonError> {
    if text.contains('\0') {
        return Err(JsonError::Nul);
    }
    Ok(())
}

/// Names as far as they are told apart by their lengths and ends, as most are.
#[derive(Default)]
pub(super) struct Seen(u64);

impl Seen {
    /// May the name be one of those that were asked about before?
    #[inline]
    pub(super) fn perhaps(&mut self, name: &[u8]) -> bool {
        let ends = name.first().zip(name.last());
        let ends = ends.map_or(0, |(&first, &last)| u32::from(first) ^ u32::from(last) << 2);
        let bit = 1 << ((ends ^ name.len() as u32) % 64);
        let perhaps = self.0 & bit != 0;
        self.0 |= bit;
        perhaps
    }
}

fn has_duplicate(members: &[Member<'_>]) -> bool {
    if members.len() <= 16 {
        let mut seen = Seen::default();
        return members.iter().enumerate().any(|(index, member)| {
            let mut before = members.iter().take(index);
            seen.perhaps(member.name.as_bytes()) && before.any(|other| other.name == member.name)
        });
    }
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_ref()).collect();
    names.sort_unstable();
    names
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
}

/// What serde_json makes of an object, in its order.
#[derive(Default)]
struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        // As many as most tokens have.
        let mut members = Vec::with_capacity(12);
        while let Some((Name(name), value)) = map.next_entry::<_, &RawValue>()? {
            let value = value.get();
            members.push(Member { name, value });
        }
        Ok(Members(members))
    }
}

/// Looks for one member.
struct Find<'a, 'b> {
    name: &'b str,
    found: &'b mut Option<&'a str>,
}

impl<'de> Visitor<'de> for Find<'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            if name == self.name {
                let value: &RawValue = map.next_value()?;
                *self.found = Some(value.get());
                break;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Borrowed unless something is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn members_keep_the_text_of_values() {
        let text =
            " {\t\"a\" : 1.50 , \"b\\n\":[ 1 , {\"x\":\"]}\\\"\"} ],\"c\":{},\"d\":\"\" }\r\n";
        let members = object(text).unwrap();
        let pairs: Vec<(&str, &str)> = members
            .iter()
            .map(|member| (member.name.as_ref(), member.value))
            .collect();
        let list = "[ 1 , {\"x\":\"]}\\\"\"} ]";
        assert_eq!(
            pairs,
            [("a", "1.50"), ("b\n", list), ("c", "{}"), ("d", "\"\"")]
        );
        assert_eq!(find(text.trim(), "b\n"), Some(list));
        assert_eq!(find(text.trim(), "x"), None);
        assert_eq!(
            elements(list).collect::<Vec<_>>(),
            ["1", "{\"x\":\"]}\\\"\"}"]
        );
        assert_eq!(elements("{}").count() + members_count("[1]"), 0);
    }

    fn members_count(text: &str) -> usize {
        super::members(text).count()
    }

    #[test]
    fn empty_containers_have_no_children() {
        for text in ["[]", "[ ]", "{}", "{ }"] {
            assert_eq!(elements(text).count() + members_count(text), 0, "{text}");
        }
    }

    #[test]
    fn trees_saturate_numbers() {
        assert_eq!(
            tree(r#"{"a":1e400,"b":-1e400,"c":[true,null,1,"x"],"d":1e-400}"#),
            Some(json!({"a": f64::MAX, "b": f64::MIN, "c": [true, null, 1, "x"], "d": 0.0}))
        );
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(tree(&deep), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[^\0]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[^\0]{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_the_library_writes_is_read_alike(value in value(), pretty in any::<bool>()) {
            let value = json!({ "v": value });
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            let members = object(&text).unwrap();
            prop_assert_eq!(members.len(), 1);
            prop_assert_eq!(tree(&text), Some(value.clone()));
            let found = find(&text, "v").unwrap();
            prop_assert_eq!(found, members.first().unwrap().value);
            let reread: Value = serde_json::from_str(found).unwrap();
            prop_assert_eq!(Some(&reread), value.get("v"));
        }

        #[test]
        fn no_text_is_a_panic(text in any::<String>(), name in any::<String>()) {
            let _any = (object(&text), find(&text, &name), elements(&text).count(), tree(&text));
        }

        #[test]
        fn no_broken_json_is_a_panic(text in r#"[{}\[\]",:0-9ntu\\ é]{0,60}"#) {
            let _any = (object(&text), find(&text, "n"), elements(&text).count(), tree(&text));
        }
    }
}
