//! Tokens in a statement's text. Pure.
#![forbid(unsafe_code)]

use base64_simd::URL_SAFE_NO_PAD;

/// Overwrites the payload and the signature of everything in `text` that is a token by its looks; true when there was one. The
/// length stays: other code holds positions in the text.
///
/// Header and payload are JSON objects that begin with their brace, else they are refused. So in base64url both begin as `{` and white
/// space, a quote or `}` do: `ew`, `ey` or `e3`.
pub fn redact(text: &mut [u8]) -> bool {
    let mut found = false;
    let mut rest = text;
    while let Some(dot) = memchr::memchr(b'.', rest) {
        let (before, after) = rest.split_at_mut(dot);
        let header = before.len() - run(before.iter().rev());
        let is_token = after.get(1..3).is_some_and(is_object)
            && before
                .get(header..)
                .is_some_and(|header| header.windows(2).any(is_object));
        let (_, after) = after.split_at_mut(1);
        rest = if is_token {
            let mut end = run_on(after);
            if after.get(end) == Some(&b'.') {
                end += 1;
                end += after.get(end..).map_or(0, run_on);
            }
            let (secret, rest) = after.split_at_mut(end);
            secret.fill(b'*');
            found = true;
            rest
        } else {
            after
        };
    }
    found
}

fn is_object(beginning: &[u8]) -> bool {
    matches!(beginning, b"ew" | b"ey" | b"e3")
}

/// How many characters of base64url come first.
fn run<'a>(text: impl Iterator<Item = &'a u8>) -> usize {
    text.take_while(|&&byte| BASE64URL.get(usize::from(byte)) == Some(&true))
        .count()
}

/// As [`run`], fast for what ends as parts of tokens do.
fn run_on(text: &[u8]) -> usize {
    let end = memchr::memchr2(b'.', b'\'', text).unwrap_or(text.len());
    let part = text.get(..end).unwrap_or_default();
    // What can be decoded is base64url to its end, and that is seen on many bytes at once.
    if URL_SAFE_NO_PAD.check(part).is_ok() {
        end
    } else {
        run(part.iter())
    }
}

/// Every statement with a token is looked through.
const BASE64URL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric() || character == b'-' || character == b'_';
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::redact;

    fn redacted(text: &str) -> (bool, String) {
        let mut bytes = text.as_bytes().to_vec();
        let found = redact(&mut bytes);
        (found, String::from_utf8(bytes).unwrap_or_default())
    }

    #[test]
    fn redact_leaves_no_payload_and_no_signature() {
        for (text, expected) in [
            ("SELECT f('eyJh.eyJz.c2ln')", "SELECT f('eyJh.*********')"),
            ("eyJh.eyJz.c2ln", "eyJh.*********"),
            ("ewog.ewo", "ewog.***"),
            ("eyJh.eyJz.", "eyJh.*****"),
            ("eyJh.e30.c2ln", "eyJh.********"),
            (
                "a 'eyJh.eyJz.c2l-_','eyJi.eyJ6.d' b",
                "a 'eyJh.**********','eyJi.******' b",
            ),
            ("they eyJh.eyJz.c2ln", "they eyJh.*********"),
            ("xeyJh.eyJz.c2ln", "xeyJh.*********"),
            ("eyJh.x.eyJz.eyJ6.c2ln", "eyJh.x.eyJz.*********"),
        ] {
            assert_eq!(redacted(text), (true, expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn redact_leaves_other_text_alone() {
        for text in [
            "",
            "e",
            "ey",
            "SELECT eyes.name, they.are FROM new.journeys eyes WHERE a.ew = 1.5",
            "eyJh.",
            "eyJh.e",
            "eyJh..eyJz",
            "SELECT scope.set_jwt_role($1)",
            "h\u{e9}y ew\u{e9}.ey",
        ] {
            assert_eq!(redacted(text), (false, text.to_owned()), "{text}");
        }
    }
}
