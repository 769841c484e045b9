//! JSON on its way into a database that may not be in UTF-8.

use std::ffi::{CStr, CString};
use std::fmt::Write;

use crate::pg::server;

/// Verified JSON (always UTF-8) in ASCII, where this database cannot take it as it is.
pub fn recoded(json: &CStr) -> Option<CString> {
    if server::takes_utf8() || json.to_bytes().is_ascii() {
        return None;
    }
    json.to_str().ok().map(for_setting)
}

/// JSON (always UTF-8) as a text that is valid in this database's encoding.
pub fn for_setting(json: &str) -> CString {
    let text = if server::takes_utf8() || json.is_ascii() {
        CString::new(json)
    } else {
        CString::new(escaped(json))
    };
    // Verified JSON has no NUL.
    text.unwrap_or_default()
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
