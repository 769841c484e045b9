//! JSON on its way into a database that may not be in UTF-8.

use std::fmt::Write;

use crate::pg::server;

/// JSON (always UTF-8) as a text that is valid in this database's encoding.
pub fn for_setting(json: String) -> Box<str> {
    recoded(&json).unwrap_or(json.into_boxed_str())
}

/// JSON (always UTF-8) in ASCII, where this database cannot take it as it is.
pub fn recoded(json: &str) -> Option<Box<str>> {
    let fits = server::takes_utf8() || json.is_ascii();
    (!fits).then(|| escaped(json).into_boxed_str())
}

/// Everything beyond ASCII as `\uXXXX` (RFC 8259 section 7): outside strings JSON has none.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn json_escape_keeps_the_value() {
        let json = "{\"a\": \"caf\u{e9} \u{1f600} x\"}";
        let text = super::escaped(json);
        assert_eq!(text, "{\"a\": \"caf\\u00e9 \\ud83d\\ude00 x\"}");
    }
}
