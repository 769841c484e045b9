//! Secrets in a statement's text. Pure.
//!
//! Tokens are struck out wherever they are. Of a text that speaks of secrets, every constant and
//! comment goes: what is not sure to be harmless is not written.
#![forbid(unsafe_code)]

use crate::jwt;

/// Words, in lower case, that mark a text as one about secrets.
const SENSITIVE: [&str; 20] = [
    "pass",
    "pwd",
    "pw",
    "secret",
    "token",
    "jwt",
    "credential",
    "key",
    "authoriz",
    "authentic",
    "bearer",
    // Commands and connection strings.
    "program",
    "host=",
    "user=",
    "dbname=",
    "://",
    "crypt",
    "pgp_",
    "hmac",
    "digest",
];
const STRUCK: &str = "'***'";

pub fn redact(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    jwt::redact(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lower = text.to_ascii_lowercase();
    if SENSITIVE.iter().any(|word| lower.contains(word)) {
        without_constants(&text)
    } else {
        text.into_owned()
    }
}

fn without_constants(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '$', '-', '/']) {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let after = from.get(1..).unwrap_or_default();
        rest = match from.as_bytes() {
            [b'\'', ..] => {
                // What begins the constant, E or U&, stays.
                kept.push_str(STRUCK);
                let escapes = before.ends_with(['e', 'E']);
                after_string(after, escapes)
            }
            [b'"', ..] => {
                let end = after.find('"').map_or(after.len(), |end| end + 1);
                let (name, rest) = after.split_at(end);
                kept.push('"');
                kept.push_str(name);
                rest
            }
            [b'$', ..] => match dollar_tag(from) {
                Some(tag) if !ends_in_identifier(&kept) => {
                    kept.push_str(STRUCK);
                    let body = from.get(tag.len()..).unwrap_or_default();
                    body.split_once(tag).map_or("", |(_, rest)| rest)
                }
                _ => {
                    kept.push('$');
                    after
                }
            },
            [b'-', b'-', ..] => {
                kept.push_str("--");
                let end = after.find(['\n', '\r']).unwrap_or(after.len());
                after.get(end..).unwrap_or_default()
            }
            [b'/', b'*', ..] => {
                kept.push_str("/**/");
                after_comment(after.get(1..).unwrap_or_default())
            }
            [other, ..] => {
                kept.push(char::from(*other));
                after
            }
            [] => "",
        };
    }
    kept.push_str(rest);
    kept
}

/// What follows a string constant. A backslash before the quote ends it or not, as the server is
/// set: then nothing of the rest is kept.
fn after_string(text: &str, escapes: bool) -> &str {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if escapes => at += 1,
            b'\\' if bytes.get(at + 1) == Some(&b'\'') => return "",
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 1,
            b'\'' => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
        at += 1;
    }
    ""
}

/// `$tag$` at the beginning of the text.
fn dollar_tag(text: &str) -> Option<&str> {
    let after = text.get(1..)?;
    let end = after.find('$')?;
    let tag = after.get(..end)?;
    let is_tag = tag
        .chars()
        .all(|character| character.is_alphanumeric() || character == '_')
        && !tag.starts_with(|character: char| character.is_ascii_digit());
    is_tag.then(|| text.get(..end + 2)).flatten()
}

fn ends_in_identifier(text: &str) -> bool {
    text.ends_with(|character: char| character.is_alphanumeric() || character == '_')
}

/// Comments nest.
fn after_comment(mut text: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let Some(at) = text.find(['*', '/']) else {
            return "";
        };
        let from = text.get(at..).unwrap_or_default();
        let step = match from.as_bytes() {
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            _ => 1,
        };
        text = from.get(step..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn audit_text_loses_its_secrets() {
        for (text, expected) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT 'a' FROM b", "SELECT 'a' FROM b"),
            ("ALTER ROLE a PASSWORD 'b'", "ALTER ROLE a PASSWORD '***'"),
            (
                "ALTER ROLE a password 'b''c' VALID UNTIL 'd'",
                "ALTER ROLE a password '***' VALID UNTIL '***'",
            ),
            (
                r"ALTER ROLE a PASSWORD E'b\'c'; SELECT 1",
                "ALTER ROLE a PASSWORD E'***'; SELECT 1",
            ),
            (
                r"ALTER ROLE a PASSWORD 'b\'c hunter2'",
                "ALTER ROLE a PASSWORD '***'",
            ),
            (
                "ALTER ROLE a PASSWORD $$b'c$$ x",
                "ALTER ROLE a PASSWORD '***' x",
            ),
            (
                "ALTER ROLE a PASSWORD $x$b$$c$x$ x",
                "ALTER ROLE a PASSWORD '***' x",
            ),
            (
                "SELECT password FROM t WHERE a = $1",
                "SELECT password FROM t WHERE a = $1",
            ),
            (
                "SELECT \"it's\" /* a /* secret ' */ b */ , 'c'",
                "SELECT \"it's\" /**/ , '***'",
            ),
            ("SELECT 'secret' -- it's\n, 'x'", "SELECT '***' --\n, '***'"),
            ("PASSWORD 'never closed", "PASSWORD '***'"),
            ("SELECT f('eyJh.eyJz.c2ln')", "SELECT f('eyJh.*********')"),
            (
                "SELECT dblink('postgresql://a:b@c')",
                "SELECT dblink('***')",
            ),
            ("SELECT 1 - 2 / 3, 'password'", "SELECT 1 - 2 / 3, '***'"),
            ("SET app.apikey = 'a'", "SET app.apikey = '***'"),
            ("SELECT 'Authorization: Bearer a'", "SELECT '***'"),
            (
                "COPY t FROM PROGRAM 'curl -u me:a x'",
                "COPY t FROM PROGRAM '***'",
            ),
            ("SELECT 'host=x user=y pw=a'", "SELECT '***'"),
            (
                "INSERT INTO t VALUES ('pwd a')",
                "INSERT INTO t VALUES ('***')",
            ),
        ] {
            assert_eq!(redact(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn audit_text_never_keeps_a_password(before in "[a-z =(]{0,9}", secret in "Zq[a-z0-9\\\\'$-]{0,12}", after in "[^Z]{0,20}") {
            let quoted = secret.replace('\'', "''");
            let text = format!("{before} PASSWORD '{quoted}' {after}");
            prop_assert!(!redact(&text).contains("Zq"), "{} became {}", text, redact(&text));
        }

        #[test]
        fn audit_text_of_anything_is_redacted_without_a_panic(text in "(?s).{0,60}password.{0,60}") {
            redact(&text);
        }
    }
}
