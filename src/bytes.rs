//! Names as PostgreSQL has them, which are bytes, in Rust's strings. Pure.
//!
//! All databases of a cluster share its roles, and each may have another encoding: `café` written in a LATIN1 database is no
//! UTF-8. A byte that is none becomes one of 128 private characters, and the byte again where the text goes back to
//! PostgreSQL, so that every name finds the role that has it, and no two names become one.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Write;
use std::str;

/// The character that stands for byte 0x80, the first that can be no UTF-8 by itself.
const FIRST: u32 = 0x10_FF80;

/// The byte that a character stands for.
pub fn stands_for(character: char) -> Option<u8> {
    let place = u32::from(character).checked_sub(FIRST)?;
    u8::try_from(place + 0x80).ok()
}

/// With what these characters begin in UTF-8. Hardly a text has one.
const LEAD: u8 = 0xF4;

/// Bytes as a string.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&LEAD) => Cow::Borrowed(text),
        _ => Cow::Owned(marked(bytes)),
    }
}

fn marked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    let mark = |text: &mut String, bytes: &[u8]| {
        let marks = bytes
            .iter()
            .filter_map(|&byte| char::from_u32(FIRST + u32::from(byte) - 0x80));
        text.extend(marks);
    };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            // What a name has of these characters itself is bytes, too, or two names would become one.
            if stands_for(character).is_some() {
                mark(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(character);
            }
        }
        mark(&mut text, chunk.invalid());
    }
    text
}

/// The bytes that [`text`] was made from.
pub fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.as_bytes().contains(&LEAD) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match stands_for(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// The text as it was, as far as that is UTF-8; other bytes as `\xNN`.
pub fn shown(text: &str) -> Cow<'_, str> {
    let Cow::Owned(bytes) = bytes(text) else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::with_capacity(text.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn utf8_stays_what_it_is() {
        for name in ["", "orders", "café", "名前", "\u{10FFFD}", "\u{10FF7F}"] {
            let same = text(name.as_bytes());
            assert_eq!(same == name, !name.contains('\u{10FFFD}'), "{name}");
            assert_eq!(bytes(&same), name.as_bytes());
        }
    }

    #[test]
    fn latin1_is_told_apart() {
        assert_eq!(text(b"caf\xe9"), "caf\u{10FFE9}");
        assert_eq!(bytes("caf\u{10FFE9}").as_ref(), b"caf\xe9");
        assert_ne!(text(b"caf\xe9"), text("caf\u{10FFE9}".as_bytes()));
        assert_ne!(text(b"caf\xe9"), text("caf\u{FFFD}".as_bytes()));
    }

    #[test]
    fn people_see_what_was_there() {
        assert_eq!(
            shown(&text(b"caf\xe9 \xf4\x8f\xbf\xbf")),
            "caf\\xe9 \u{10FFFF}"
        );
        assert_eq!(shown("caf\u{e9}"), "caf\u{e9}");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(name in any::<Vec<u8>>()) {
            prop_assert_eq!(bytes(&text(&name)).into_owned(), name);
        }

        #[test]
        fn marks_and_their_neighbours_come_back(name in "[\u{10FF00}-\u{10FFFF}a]{0,8}") {
            let same = text(name.as_bytes());
            prop_assert_eq!(bytes(&same).into_owned(), name.as_bytes());
        }
    }
}
