//! Strict JSON (RFC 8259) that keeps the text of every value, and quick look-ups in text that was
//! read strictly once. Numbers stay text, so that `1e400` and 20-digit integers lose nothing.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// Objects and arrays may be nested this deep.
pub(super) const MAX_DEPTH: usize = 32;

/// Why a text is not a strict JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonError {
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
pub(super) struct Member<'a> {
    /// The name, unescaped.
    pub(super) name: Cow<'a, str>,
    /// The JSON text of the value.
    pub(super) value: &'a str,
}

/// Reads a text that must be one JSON object and nothing else.
pub(super) fn object(text: &str) -> Result<Vec<Member<'_>>, JsonError> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.skip_space();
    if scanner.peek() != Some(b'{') {
        scanner.value(0)?;
        scanner.end()?;
        return Err(JsonError::NotObject);
    }
    let members = scanner.object(0)?;
    scanner.end()?;
    Ok(members)
}

/// The string that a value's JSON text holds, unescaped; `None` for any other type.
pub(super) fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The value of a member of an object, as JSON text. The object must have been read strictly
/// before: on other text the answer may be wrong, but it is never a panic.
pub(super) fn find<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    members(object).find_map(|(key, value)| (string(key)? == name).then_some(value))
}

/// The members of an object as raw key and value; empty for any other type. See [`find`].
pub(super) fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut children = Children::of(object, b'{');
    std::iter::from_fn(move || {
        let key = children.next_value()?;
        children.skip(b':');
        Some((key, children.next_value()?))
    })
}

/// The elements of an array as JSON text; empty for any other type. See [`find`].
pub(super) fn elements(array: &str) -> impl Iterator<Item = &str> {
    let mut children = Children::of(array, b'[');
    std::iter::from_fn(move || children.next_value())
}

/// Builds a tree from JSON text that was read strictly before. A number outside the range of a
/// double becomes the largest double of its sign, which keeps comparisons right; integers beyond 64
/// bits lose digits. `None` when nested deeper than [`MAX_DEPTH`] or not JSON.
pub(super) fn tree(value: &str) -> Option<Value> {
    branch(value, 0)
}

fn branch(value: &str, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value.as_bytes().first()? {
        b'{' => members(value)
            .map(|(key, value)| Some((string(key)?.into_owned(), branch(value, depth + 1)?)))
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

/// Bytes that end a run of plain characters in a string: quotes, backslashes, control characters.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        ends[byte] = byte < 0x20 || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    ends
};

/// A recursive-descent reader; [`MAX_DEPTH`] bounds the recursion.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A value of any type, inside `depth` objects and arrays; returns its text.
    fn value(&mut self, depth: usize) -> Result<&'a str, JsonError> {
        let start = self.at;
        match self.peek().ok_or(JsonError::Syntax)? {
            b'{' => {
                self.object(depth)?;
            }
            b'[' => self.array(depth)?,
            b'"' => {
                self.string()?;
            }
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => self.number()?,
        }
        self.since(start)
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member<'a>>, JsonError> {
        let depth = deeper(depth)?;
        self.expect(b'{')?;
        self.skip_space();
        let mut members = Vec::new();
        if !self.take(b'}') {
            // As many as most tokens have.
            members.reserve(12);
            loop {
                self.skip_space();
                let name = self.string()?;
                self.skip_space();
                self.expect(b':')?;
                self.skip_space();
                let value = self.value(depth)?;
                members.push(Member { name, value });
                self.skip_space();
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        if has_duplicate(&members) {
            return Err(JsonError::Duplicate);
        }
        Ok(members)
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        let depth = deeper(depth)?;
        self.expect(b'[')?;
        self.skip_space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.skip_space();
            self.value(depth)?;
            self.skip_space();
            if !self.take(b',') {
                break;
            }
        }
        self.expect(b']')
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.at;
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|&byte| ENDS.get(usize::from(byte)) == Some(&true))
                .ok_or(JsonError::Syntax)?;
            self.at += plain;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return Err(JsonError::Syntax),
            }
        }
        if !escaped {
            let inner = self.text.get(start + 1..self.at);
            self.at += 1;
            return inner.map(Cow::Borrowed).ok_or(JsonError::Syntax);
        }
        self.at += 1;
        let raw = self.since(start)?;
        // The library refuses unknown escapes and lone surrogates.
        let unescaped: String = serde_json::from_str(raw).map_err(|_| JsonError::Syntax)?;
        if unescaped.contains('\0') {
            return Err(JsonError::Nul);
        }
        Ok(Cow::Owned(unescaped))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(JsonError::Syntax);
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        let rest = self.text.get(self.at..).ok_or(JsonError::Syntax)?;
        if !rest.starts_with(word) {
            return Err(JsonError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.peek().is_some() {
            return Err(JsonError::Syntax);
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(JsonError::Syntax)
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn since(&self, start: usize) -> Result<&'a str, JsonError> {
        self.text.get(start..self.at).ok_or(JsonError::Syntax)
    }
}

/// The values inside one object (keys and values alternate) or array, found by counting brackets.
struct Children<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Children<'a> {
    fn of(text: &'a str, open: u8) -> Self {
        let at = match text.as_bytes().first() {
            Some(byte) if *byte == open => 1,
            _ => text.len(),
        };
        Self { text, at }
    }

    fn next_value(&mut self) -> Option<&'a str> {
        self.skip(b',');
        let start = self.at;
        match self.byte()? {
            b'"' => self.pass_string()?,
            b'{' | b'[' => self.pass_nested()?,
            b'}' | b']' => return None,
            _ => {
                while self.byte().is_some_and(is_scalar) {
                    self.at += 1;
                }
            }
        }
        // Text that is not JSON could stop here for ever.
        (self.at > start).then(|| self.text.get(start..self.at))?
    }

    /// Passes white space and one separator.
    fn skip(&mut self, separator: u8) {
        while self
            .byte()
            .is_some_and(|byte| is_space(byte) || byte == separator)
        {
            self.at += 1;
        }
    }

    fn pass_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.byte()? {
                b'"' => {
                    self.pass_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn pass_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

fn deeper(depth: usize) -> Result<usize, JsonError> {
    if depth >= MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    Ok(depth + 1)
}

fn has_duplicate(members: &[Member<'_>]) -> bool {
    if members.len() <= 16 {
        return members.iter().enumerate().any(|(index, member)| {
            let before = members.iter().take(index);
            before.into_iter().any(|other| other.name == member.name)
        });
    }
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_ref()).collect();
    names.sort_unstable();
    names
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_scalar(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b',' | b':' | b'}' | b']' | b'"' | b'{' | b'[')
}

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
