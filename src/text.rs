//! Names in texts that people read: messages, log lines, reports. Pure.
//!
//! A name may hold a line break, or characters that turn or hide what stands around it. Where a line could be
//! forged with that, they are shown as escapes.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Write;

use crate::bytes;

/// Does the character show nothing itself, but end a line, turn the direction of the text around it, or
/// hide in it?
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || bytes::stands_for(character).is_some()
        || matches!(
            character,
            '\u{00AD}'
                | '\u{061C}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// The text on one line, with what nobody would see as escapes: `\n`, `\u{202e}`, and `\xe9` for a byte that is no UTF-8.
pub fn visible(text: &str) -> Cow<'_, str> {
    // Most texts are plain ASCII.
    if !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if let Some(byte) = bytes::stands_for(character) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        } else if is_unseen(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// The text with what is not ASCII as escapes: `\u{e9}`.
pub fn in_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    Cow::Owned(out)
}

/// A role's name in SQL that somebody may copy from a hint: always quoted, and with what nobody would
/// see as Unicode escapes (PostgreSQL documentation, 4.1.1).
pub fn identifier(name: &str) -> String {
    if !name.contains(is_unseen) {
        return format!("\"{}\"", name.replace('"', "\"\""));
    }
    let mut out = String::from("U&\"");
    for character in name.chars() {
        match character {
            '"' | '\\' => {
                out.push(character);
                out.push(character);
            }
            // Writing to a String cannot fail.
            other if is_unseen(other) => {
                let _ = write!(out, "\\+{:06X}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The first few of a list, in words.
pub fn some_of(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = items
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::{identifier, in_ascii, is_unseen, some_of, visible};

    #[test]
    fn text_shows_what_would_forge_a_line() {
        assert_eq!(visible("orders_ro é 😀"), "orders_ro é 😀");
        assert_eq!(
            visible("a\r\nERROR: b\u{202E}c\u{2028}\u{200B}\u{7}"),
            "a\\r\\nERROR: b\\u{202e}c\\u{2028}\\u{200b}\\u{7}"
        );
    }

    #[test]
    fn text_in_ascii_says_what_was_there() {
        assert_eq!(in_ascii("orders_ro"), "orders_ro");
        assert_eq!(in_ascii("é\n😀"), "\\u{e9}\n\\u{1f600}");
    }

    #[test]
    fn text_of_an_identifier_is_one() {
        assert_eq!(identifier("orders_ro"), "\"orders_ro\"");
        assert_eq!(identifier("x\"; DROP"), "\"x\"\"; DROP\"");
        assert_eq!(
            identifier("x\n\\\"\u{202E}"),
            "U&\"x\\+00000A\\\\\"\"\\+00202E\""
        );
    }

    proptest::proptest! {
        #[test]
        fn text_of_anything_is_seen(text in "\\PC*|(?s).*") {
            assert!(!visible(&text).contains(is_unseen));
            assert!(!identifier(&text).contains(is_unseen));
        }
    }

    #[test]
    fn lists_stay_short() {
        let items: Vec<String> = (0..7).map(|item| item.to_string()).collect();
        assert_eq!(some_of(&items), "0; 1; 2; 3; 4; and 2 more");
        assert_eq!(some_of(&items[..1]), "0");
    }
}
