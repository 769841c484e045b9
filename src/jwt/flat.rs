//! Most payloads: strings without escapes, integers, `true`, `false` and `null`, with nothing between them. Where these are is seen in
//! half as many instructions as serde_json takes; of all else it says nothing.

use memchr::memchr;

use super::json::Seen;

/// Where something begins and ends; tokens are shorter than 64 kB.
pub(super) type Part = (u16, u16);

/// Of a claim: its name, and its value as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: Part,
    pub(super) value: Part,
}

/// A name may have to be looked for among all those before it.
const MOST: usize = 24;

/// Where the members of the object are, whose names differ; `None`: it may be anything.
pub(super) fn places(object: &str) -> Option<Vec<Place>> {
    let bytes = object.as_bytes();
    if !is_plain(bytes) {
        return None;
    }
    let mut rest = Rest { bytes, at: 0 };
    // As many as most tokens have.
    let mut places: Vec<Place> = Vec::with_capacity(12);
    let mut seen = Seen::default();
    rest.take(b'{')?;
    loop {
        let (start, end) = rest.string()?;
        let name = bytes.get(start + 1..end - 1)?;
        let is_it = |known: &Place| {
            let (start, end) = known.name;
            bytes.get(usize::from(start)..usize::from(end)) == Some(name)
        };
        if places.len() == MOST || seen.perhaps(name) && places.iter().any(is_it) {
            return None;
        }
        rest.take(b':')?;
        let value = rest.value()?;
        places.push(Place {
            name: part((start + 1, end - 1))?,
            value: part(value)?,
        });
        if rest.take(b',').is_none() {
            rest.take(b'}')?;
            return (rest.at == bytes.len()).then_some(places);
        }
    }
}

/// Without control characters, white space among them, and without escapes.
fn is_plain(bytes: &[u8]) -> bool {
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks();
    // Only what is below a space borrows from its top bit, or follows something that has.
    let below = words.iter().fold(0, |below, &word| {
        let word = u64::from_ne_bytes(word);
        below | (word.wrapping_sub(SPACES) & !word & TOPS)
    });
    below == 0 && rest.iter().all(|&byte| byte >= b' ') && memchr(b'\\', bytes).is_none()
}

fn part((start, end): (usize, usize)) -> Option<Part> {
    Some((start.try_into().ok()?, end.try_into().ok()?))
}

/// What has not been read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    #[inline]
    fn take(&mut self, expected: u8) -> Option<()> {
        let is_there = self.bytes.get(self.at) == Some(&expected);
        self.at += usize::from(is_there);
        is_there.then_some(())
    }

    /// With its quotes.
    #[inline]
    fn string(&mut self) -> Option<(usize, usize)> {
        let start = self.at;
        self.take(b'"')?;
        self.at += memchr(b'"', self.bytes.get(self.at..)?)? + 1;
        Some((start, self.at))
    }

    #[inline]
    fn value(&mut self) -> Option<(usize, usize)> {
        let start = self.at;
        let rest = self.bytes.get(start..)?;
        let length = match rest.first()? {
            b'"' => return self.string(),
            b't' => word(rest, b"true")?,
            b'f' => word(rest, b"false")?,
            b'n' => word(rest, b"null")?,
            b'-' => 1 + integer(rest.get(1..)?)?,
            _ => integer(rest)?,
        };
        self.at += length;
        Some((start, self.at))
    }
}

fn word(text: &[u8], expected: &[u8]) -> Option<usize> {
    text.starts_with(expected).then_some(expected.len())
}

/// How many digits come first, if they are an integer.
fn integer(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|digit| digit.is_ascii_digit());
    match (digits.count(), text.first()?) {
        (0, _) => None,
        (1, _) => Some(1),
        (_, b'0') => None,
        (digits, _) => Some(digits),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::json;
    use super::*;

    /// What serde_json makes of it, if all of it is as it must be.
    fn strictly(object: &str) -> Option<Vec<Place>> {
        let place = |text| {
            let range = json::place(object, text);
            part((range.start, range.end))
        };
        let members = json::object(object).ok()?;
        let members = members.iter().map(|member| {
            Some(Place {
                name: place(&member.name)?,
                value: place(member.value)?,
            })
        });
        members.collect()
    }

    #[test]
    fn flat_payloads_are_read_as_serde_json_does() {
        for object in [
            r#"{"iss":"https://login.example.com/auth","sub":"a b","exp":1300819380,"n":-5,"ok":true,"no":false,"nothing":null}"#,
            r#"{"":""}"#,
            "{\"a\":\"caf\u{e9} \u{1f600} \u{7f}\u{80}\",\"b\":0,\"c\":-0,\"d\":123456789012345678901234567890}",
        ] {
            assert!(places(object).is_some(), "{object}");
            assert_eq!(places(object), strictly(object), "{object}");
        }
    }

    #[test]
    fn flat_is_nothing_else() {
        let many: Vec<String> = (0..=MOST).map(|name| format!("\"{name}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        let long = format!(r#"{{"a":"{}","b":1}}"#, "x".repeat(70_000));
        for object in [
            "",
            "{",
            "{}",
            "[1]",
            "1",
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":1}}"#,
            r#"{"a":1} "#,
            r#" {"a":1}"#,
            r#"{"a" :1}"#,
            r#"{"a": 1}"#,
            r#"{"a":1 }"#,
            r#"{"a":}"#,
            r#"{"a"}"#,
            r#"{"a":1"b":2}"#,
            r#"{a:1}"#,
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":-01}"#,
            r#"{"a":+1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e5}"#,
            r#"{"a":tru}"#,
            r#"{"a":truee}"#,
            r#"{"a":nul}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":"b}"#,
            r#"{"a":"\n"}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"b":1,"a":1,"b":2}"#,
            "{\"a\":\"\t\"}",
            "{\"a\":\"\0\"}",
            "{\"abcdefgh\":\"\u{1f}\"}",
            "{\"abcdefghijklmnop\":\"qrs\u{1}tuvwxyz\"}",
            "{\"a\":1}\n",
            &many,
            &long,
        ] {
            assert_eq!(places(object), None, "{object}");
        }
    }

    proptest! {
        #[test]
        fn flat_is_what_serde_json_reads(
            members in prop::collection::vec(("[^\"\\\\]{0,3}", prop_oneof![
                "\"[^\"\\\\]{0,12}\"", "-?[0-9]{0,3}", "true|false|null", "[\\[\\]{}\",:0-9a-z.\\\\ -]{0,4}",
            ]), 0..6),
            end in "}?[},\"]?",
        ) {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let object = format!("{{{}{end}", members.join(","));
            if let Some(flat) = places(&object) {
                prop_assert_eq!(Some(flat), strictly(&object));
            }
        }

        #[test]
        fn flat_never_panics(text in "[{}\\[\\]\",:0-9a-z\\\\ é\n-]{0,60}") {
            if let Some(flat) = places(&text) {
                prop_assert_eq!(Some(flat), strictly(&text));
            }
        }
    }
}
