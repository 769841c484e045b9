//! Strikes the constants out of the text of a statement. Pure.
//!
//! For texts that are shown, not run: where the rules differ by a setting (backslashes), more is struck out
//! rather than less.
#![forbid(unsafe_code)]

const STRUCK: u8 = b'*';

/// Overwrites texts and numbers, comments too, and leaves names, parameters and the length as they are.
pub fn strike_out(text: &mut [u8]) {
    let mut at = 0;
    let mut escapes = false;
    while let Some(&byte) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let after = rest.get(1..).unwrap_or_default();
        let (length, is_constant) = match byte {
            b'\'' => (quoted(rest, escapes), true),
            b'"' => (name(rest), false),
            b'$' => match tag(rest) {
                Some(tag) => (dollar_quoted(rest, tag), true),
                None => (1 + word(after), false),
            },
            b'-' if after.first() == Some(&b'-') => (line(rest), true),
            b'/' if after.first() == Some(&b'*') => (comment(rest), true),
            b'0'..=b'9' => (number(rest), true),
            byte if is_word(byte) => (word(rest), false),
            _ => (1, false),
        };
        escapes = length == 1 && byte.eq_ignore_ascii_case(&b'e');
        if is_constant && let Some(constant) = text.get_mut(at..at + length) {
            constant.fill(STRUCK);
        }
        at += length;
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A name, or a keyword; the letters before a quote are among them.
fn word(text: &[u8]) -> usize {
    let ends = |&byte: &u8| !is_word(byte) && byte != b'$';
    text.iter().position(ends).unwrap_or(text.len())
}

/// A number in any of its forms, the dots and exponents within it.
fn number(text: &[u8]) -> usize {
    let ends = |&byte: &u8| !is_word(byte) && byte != b'.';
    text.iter().position(ends).unwrap_or(text.len())
}

fn line(text: &[u8]) -> usize {
    memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len())
}

/// A quoted text, in which a doubled quote is one, and after E so is one with a backslash. Elsewhere that
/// depends on a setting: then all that follows is taken to be part of it.
fn quoted(text: &[u8], escapes: bool) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        let next = text.get(at + 1);
        at += match byte {
            b'\'' if next == Some(&b'\'') => 2,
            b'\'' => return at + 1,
            b'\\' if escapes => 2,
            b'\\' if next == Some(&b'\'') => return text.len(),
            _ => 1,
        };
    }
    text.len()
}

fn name(text: &[u8]) -> usize {
    let end = memchr::memchr(b'"', text.get(1..).unwrap_or_default());
    end.map_or(text.len(), |end| end + 2)
}

/// The tag of a dollar quote, with its dollars.
fn tag(text: &[u8]) -> Option<&[u8]> {
    let inner = text.get(1..)?;
    let end = inner.iter().position(|&byte| !is_word(byte))?;
    let is_tag = inner.get(end) == Some(&b'$') && !inner.first()?.is_ascii_digit();
    is_tag.then(|| text.get(..end + 2)).flatten()
}

fn dollar_quoted(text: &[u8], tag: &[u8]) -> usize {
    let inner = text.get(tag.len()..).unwrap_or_default();
    let end = memchr::memmem::find(inner, tag);
    end.map_or(text.len(), |end| tag.len() + end + tag.len())
}

/// A comment may hold others.
fn comment(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::strike_out;

    fn struck(text: &str) -> String {
        let mut text = text.as_bytes().to_vec();
        strike_out(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn constants_are_struck_out_and_names_stay() {
        for (text, expected) in [
            ("", ""),
            ("SELECT f('secret')", "SELECT f(********)"),
            ("SELECT 'a''b', x", "SELECT ******, x"),
            ("SELECT E'a\\'b', x", "SELECT E******, x"),
            ("SELECT e'a\\\\', x", "SELECT e*****, x"),
            ("SELECT 'a\\', x, 'b'", "SELECT ************"),
            ("SELECT typee'a\\', x", "SELECT typee*******"),
            ("SELECT 'secret", "SELECT *******"),
            ("SELECT $1, $23 + 42", "SELECT $1, $23 + **"),
            ("SELECT -1.5e+10 FROM t2", "SELECT -****+** FROM t2"),
            ("SELECT \"it's 5\", 'x'", "SELECT \"it's 5\", ***"),
            (
                "SELECT $$se'cret$$, $t$x$$y$t$, a",
                "SELECT ***********, **********, a",
            ),
            ("SELECT 1 -- it's 5\nFROM t", "SELECT * *********\nFROM t"),
            ("/* it's /* 5 */ */ SELECT x", "****************** SELECT x"),
            (
                "SELECT a$1$b, \u{e9}t\u{e9}2",
                "SELECT a$1$b, \u{e9}t\u{e9}2",
            ),
            ("SELECT U&'x', n'y', b'01'", "SELECT U&***, n***, b****"),
        ] {
            assert_eq!(struck(text), expected, "{text}");
        }
    }

    #[test]
    fn constants_in_any_bytes_keep_the_length() {
        let pieces = [
            "'", "\"", "$", "$a$", "/*", "*/", "--", "\n", "\\", "5", "x", "\u{e9}", ".",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let text = format!("{a}{b}{c}{a}");
                    assert_eq!(struck(&text).len(), text.len(), "{text}");
                }
            }
        }
    }
}
