//! Tokens in a statement's text. Pure.
#![forbid(unsafe_code)]

/// Overwrites the payload and the signature of everything in `text` that is a token by its looks; true when there was one. The
/// length stays: other code holds positions in the text.
///
/// Header and payload are JSON objects, so in base64url both begin as `{` and white space or a quote do: `ew` or `ey`.
pub fn redact(text: &mut [u8]) -> bool {
    let mut found = false;
    let mut rest = text;
    while let Some(begin) = rest.windows(2).position(is_object) {
        let (_, token) = rest.split_at_mut(begin);
        let header = run(token);
        let payload = header + 1;
        let is_token = token.get(header) == Some(&b'.')
            && token.get(payload..payload + 2).is_some_and(is_object);
        rest = if is_token {
            let (_, secret) = token.split_at_mut(payload);
            let mut end = run(secret);
            if secret.get(end) == Some(&b'.') {
                end += 1;
                end += secret.get(end..).map_or(0, run);
            }
            let (secret, rest) = secret.split_at_mut(end);
            secret.fill(b'*');
            found = true;
            rest
        } else {
            token.split_at_mut(header).1
        };
    }
    found
}

fn is_object(beginning: &[u8]) -> bool {
    matches!(beginning, b"ew" | b"ey")
}

/// How many characters of base64url the text begins with.
fn run(text: &[u8]) -> usize {
    let is_foreign = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    text.iter().position(is_foreign).unwrap_or(text.len())
}

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
