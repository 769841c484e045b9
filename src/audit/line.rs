//! One audit line: a JSON object in ASCII, written into one buffer. Pure.
//!
//! Every character outside printable ASCII is a `\u` escape, so that no text can end the line, hide
//! a part of it on a terminal, or depend on the encoding of the log.
#![forbid(unsafe_code)]

use crate::bytes;
use crate::digits::{hex, push_decimal};
use crate::jwt::redact;
use crate::timestamp::Second;

/// The longest text that a name or a claim may have in a line, in bytes before escaping.
pub const MAX_NAME: usize = 1_000;
/// The same for a statement or a message.
pub const MAX_TEXT: usize = 16_000;

/// The value of an event's own field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Number(i64),
    Text(&'a str),
    /// Text as PostgreSQL has it, in whatever encoding.
    Bytes(&'a [u8]),
    /// Unix microseconds, shown as RFC 3339 in UTC.
    Time(i64),
    Texts(&'a [String]),
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Value::Null, Value::Text)
    }
}

#[derive(Debug, Default)]
pub struct Line {
    buffer: Vec<u8>,
}

impl Line {
    /// Begins an object in a buffer that may have been used before.
    pub fn begin(mut buffer: Vec<u8>, prefix: &str) -> Self {
        buffer.clear();
        buffer.extend_from_slice(prefix.as_bytes());
        buffer.push(b'{');
        Self { buffer }
    }

    /// Begins the members of an object that are put into another line by [`Line::members`].
    pub fn part() -> Self {
        Self::default()
    }

    /// As [`Line::part`], in a buffer that may have been used before.
    pub fn part_in(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { buffer }
    }

    /// `key` is one of ours: lower-case letters and underscores. What is null is left out. Where key and
    /// kind of value are constants, little of this is left once it is inlined.
    #[inline(always)]
    pub fn field(&mut self, key: &str, value: Value<'_>) {
        if value == Value::Null {
            return;
        }
        self.key(key);
        match value {
            Value::Null => {}
            Value::Bool(true) => self.raw("true"),
            Value::Bool(false) => self.raw("false"),
            Value::Number(number) => push_decimal(&mut self.buffer, number),
            Value::Text(text) => self.text(&bytes::bytes(text)),
            Value::Bytes(text) => self.text(text),
            Value::Time(micros) => {
                self.buffer.push(b'"');
                crate::timestamp::write_rfc3339(&mut self.buffer, micros);
                self.buffer.push(b'"');
            }
            Value::Texts(texts) => self.strings(texts),
        }
    }

    /// Whatever text may quote of what a caller has passed: no token.
    fn text(&mut self, text: &[u8]) {
        if memchr::memchr(b'.', text).is_none() {
            return self.string(text, MAX_TEXT);
        }
        let mut text = text.to_vec();
        redact(&mut text);
        self.string(&text, MAX_TEXT);
    }

    /// As [`Value::Time`], with the second of the time before.
    pub fn time(&mut self, key: &str, second: &mut Second, micros: i64) {
        self.key(key);
        self.buffer.push(b'"');
        second.write(&mut self.buffer, micros);
        self.buffer.push(b'"');
    }

    /// A name as PostgreSQL keeps it, in whatever encoding; `None` is left out.
    #[inline(always)]
    pub fn name(&mut self, key: &str, name: Option<&[u8]>) {
        if let Some(name) = name {
            self.key(key);
            self.string(name, MAX_NAME);
        }
    }

    /// Members written before, by [`Line::part`].
    pub fn members(&mut self, members: &[u8]) {
        if !members.is_empty() {
            if !matches!(self.buffer.last(), None | Some(b'{')) {
                self.buffer.push(b',');
            }
            self.buffer.extend_from_slice(members);
        }
    }

    /// Without the closing brace: the members of a part.
    pub fn into_members(self) -> Vec<u8> {
        self.buffer
    }

    /// Closes the object; terminated for C.
    pub fn end(mut self) -> Vec<u8> {
        self.buffer.extend_from_slice(b"}\0");
        self.buffer
    }

    #[inline(always)]
    fn key(&mut self, key: &str) {
        let quote: &[u8] = match self.buffer.last() {
            None | Some(b'{') => b"\"",
            _ => b",\"",
        };
        self.buffer.extend_from_slice(quote);
        self.buffer.extend_from_slice(key.as_bytes());
        self.buffer.extend_from_slice(b"\":");
    }

    fn raw(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    fn strings(&mut self, texts: &[String]) {
        self.buffer.push(b'[');
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                self.buffer.push(b',');
            }
            self.string(&bytes::bytes(text), MAX_NAME);
        }
        self.buffer.push(b']');
    }

    /// Bytes that are not UTF-8 (a database in another encoding) are shown as `\xNN`.
    fn string(&mut self, text: &[u8], longest: usize) {
        self.buffer.push(b'"');
        let cut = text.len() > longest;
        let text = text.get(..longest).unwrap_or(text);
        if text.iter().all(|&byte| is_plain(byte)) {
            self.buffer.extend_from_slice(text);
        } else {
            let mut chunks = text.utf8_chunks().peekable();
            while let Some(chunk) = chunks.next() {
                for character in chunk.valid().chars() {
                    self.character(character);
                }
                // The cut may have gone through a character.
                if cut && chunks.peek().is_none() {
                    break;
                }
                for byte in chunk.invalid() {
                    self.raw("\\\\x");
                    self.buffer.push(hex(byte >> 4));
                    self.buffer.push(hex(byte & 15));
                }
            }
        }
        if cut {
            self.raw("\\u2026");
        }
        self.buffer.push(b'"');
    }

    fn character(&mut self, character: char) {
        match character {
            '"' => self.raw("\\\""),
            '\\' => self.raw("\\\\"),
            ' '..='~' => self.buffer.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    self.raw("\\u");
                    for shift in [12, 8, 4, 0] {
                        self.buffer.push(hex((*unit >> shift & 15) as u8));
                    }
                }
            }
        }
    }
}

/// Stands for itself in a JSON string.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Line)) -> String {
        let mut line = Line::begin(b"left over".to_vec(), "prefix ");
        write(&mut line);
        let mut bytes = line.end();
        assert_eq!(bytes.pop(), Some(0));
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn parsed(text: &str) -> serde_json::Value {
        serde_json::from_str(text.strip_prefix("prefix ").unwrap_or_default()).unwrap_or_default()
    }

    #[test]
    fn audit_line_is_one_json_object_with_a_prefix() {
        let text = written(|line| {
            line.field("text", Value::Text("a \"b\" \\ c"));
            line.field("none", Value::Null);
            line.field("yes", Value::Bool(true));
            line.field("least", Value::Number(i64::MIN));
            line.field("zero", Value::Number(0));
            line.field("time", Value::Time(0));
            line.field("texts", Value::Texts(&["a".into(), "b".into()]));
            line.members(b"\"x\":1");
            line.members(b"");
            line.name("name", Some(b"n"));
            line.name("nobody", None);
        });
        assert_eq!(
            text,
            r#"prefix {"text":"a \"b\" \\ c","yes":true,"least":-9223372036854775808,"zero":0,"time":"1970-01-01T00:00:00.000000Z","texts":["a","b"],"x":1,"name":"n"}"#
        );
        assert!(parsed(&text).is_object());
    }

    #[test]
    fn audit_line_keeps_control_bidi_and_separators_inside() {
        let evil = "a\r\n\t\0\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{1f600}\u{e4}";
        let text = written(|line| line.field("text", Value::Text(evil)));
        assert!(
            text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{text}"
        );
        assert!(
            text.contains(r"\u202e") && text.contains(r"\ud83d\ude00"),
            "{text}"
        );
        assert_eq!(parsed(&text)["text"], evil);
    }

    #[test]
    fn audit_line_tells_other_encodings_apart() {
        let text = written(|line| line.name("name", Some(b"j\xe4\xf6 \"")));
        assert_eq!(text, r#"prefix {"name":"j\\xe4\\xf6 \""}"#);
    }

    #[test]
    fn audit_line_is_bounded() {
        let long = "\u{e4}".repeat(MAX_NAME);
        let text = written(|line| line.name("name", Some(long.as_bytes())));
        let name = parsed(&text)["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(name, format!("{}\u{2026}", "\u{e4}".repeat(MAX_NAME / 2)));
        let odd = format!("x{long}");
        let text = written(|line| line.name("name", Some(odd.as_bytes())));
        let name = parsed(&text)["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(
            name,
            format!("x{}\u{2026}", "\u{e4}".repeat(MAX_NAME / 2 - 1))
        );
    }

    proptest! {
        #[test]
        fn audit_line_of_any_text_is_one_line_that_reads_back(text in "\\PC*|(?s).*|[\u{10FF00}-\u{10FFFF}a]{0,8}") {
            let line = written(|line| line.field("text", Value::Text(&text)));
            prop_assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let read = parsed(&line);
            // What stands for a byte that is no UTF-8 is written as that byte.
            let shown = bytes::shown(&text);
            prop_assert_eq!(read["text"].as_str(), Some(shown.as_ref()));
        }

        #[test]
        fn audit_line_of_any_bytes_is_one_line(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let line = written(|line| line.name("name", Some(&bytes)));
            prop_assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert!(parsed(&line)["name"].is_string());
        }
    }
}
