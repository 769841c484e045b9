//! What a switch remembers, as the text of the setting `scope.switch`. Pure.
#![forbid(unsafe_code)]

use crate::digits::hex;

/// How long a switch lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Transaction,
    Session,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State<'a> {
    pub extent: Extent,
    /// OID of the role.
    pub role: u32,
    /// When statements are no longer allowed, in Unix microseconds; `i64::MAX`: never.
    pub ends_at: i64,
    /// Tells the token from others in this session; 0 for the anonymous role.
    pub tag: u128,
    /// The verified claims, as JSON.
    pub claims: &'a str,
    /// The same with the role that was taken as `role`, where they are others.
    pub with_role: Option<&'a str>,
}

impl<'a> State<'a> {
    /// `extent role ends_at tag claims`: the claims last, because they may hold anything. Where others are shown, the extent is a
    /// capital, and instead of the claims there are their length, they themselves, and those that are shown.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let (extent, has_role) = match parts.next()? {
            "t" => (Extent::Transaction, false),
            "s" => (Extent::Session, false),
            "T" => (Extent::Transaction, true),
            "S" => (Extent::Session, true),
            _ => return None,
        };
        let role = parts.next()?.parse().ok().filter(|&role| role != 0)?;
        let ends_at = parts.next()?.parse().ok()?;
        let tag = u128::from_str_radix(parts.next()?, 16).ok()?;
        let rest = parts.next()?;
        let (claims, with_role) = if has_role {
            let (length, both) = rest.split_once(' ')?;
            let (claims, shown) = both.split_at_checked(length.parse().ok()?)?;
            (claims, Some(shown))
        } else {
            (rest, None)
        };
        Some(Self {
            extent,
            role,
            ends_at,
            tag,
            claims,
            with_role,
        })
    }

    /// The claims as `request.jwt.claims` shows them.
    pub fn shown(&self) -> &'a str {
        self.with_role.unwrap_or(self.claims)
    }

    /// With room for a NUL, and for no more: each new token pays for it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let extent = match (self.extent, self.with_role) {
            (Extent::Transaction, None) => "t",
            (Extent::Session, None) => "s",
            (Extent::Transaction, Some(_)) => "T",
            (Extent::Session, Some(_)) => "S",
        };
        let [mut role, mut ends_at, mut length] = [itoa::Buffer::new(); 3];
        let tag = self
            .tag
            .to_be_bytes()
            .map(|byte| [byte >> 4, byte & 15].map(hex));
        let head = [
            extent.as_bytes(),
            role.format(self.role).as_bytes(),
            ends_at.format(self.ends_at).as_bytes(),
            tag.as_flattened(),
        ];
        let length = self
            .with_role
            .map(|_| length.format(self.claims.len()).as_bytes());
        let shown = self.with_role.unwrap_or_default();
        let head = head.into_iter().chain(length);
        let bytes: usize = head.clone().map(|part| part.len() + 1).sum();
        let mut text = Vec::with_capacity(bytes + self.claims.len() + shown.len() + 1);
        for part in head {
            text.extend_from_slice(part);
            text.push(b' ');
        }
        text.extend_from_slice(self.claims.as_bytes());
        text.extend_from_slice(shown.as_bytes());
        text
    }
}

/// The claims that are shown, to the end of the text.
pub fn shown_of(text: &[u8]) -> Option<&[u8]> {
    let rest = text.splitn(5, |&byte| byte == b' ').nth(4)?;
    if text.first()?.is_ascii_lowercase() {
        return Some(rest);
    }
    let mut parts = rest.splitn(2, |&byte| byte == b' ');
    let length = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    parts.next()?.get(length..)
}

/// Does the switch last for the session, by the first letter?
pub fn is_of_session(first: u8) -> bool {
    first.eq_ignore_ascii_case(&b's')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_state_survives_a_round_trip() {
        for (claims, ends_at) in [
            ("{}", i64::MAX),
            ("{\"a b\": \" c \\n\"}", i64::MIN),
            ("", 0),
            ("{}", 1_000_000),
            ("{}", -9),
        ] {
            for extent in [Extent::Transaction, Extent::Session] {
                for tag in [0, 1, u128::MAX, u128::MAX >> 9, 0xab << 120] {
                    for with_role in [None, Some("{\"role\": \"r s\"}"), Some("")] {
                        let state = State {
                            extent,
                            role: 16_384,
                            ends_at,
                            tag,
                            claims,
                            with_role,
                        };
                        let text = String::from_utf8(state.to_bytes()).unwrap_or_default();
                        let shown = with_role.unwrap_or(claims);
                        assert_eq!(shown_of(text.as_bytes()), Some(shown.as_bytes()));
                        assert_eq!(state.shown(), shown);
                        let first = text.as_bytes().first().copied().unwrap_or_default();
                        assert_eq!(is_of_session(first), extent == Extent::Session);
                        assert_eq!(State::parse(&text), Some(state));
                    }
                }
            }
        }
    }

    #[test]
    fn switch_state_of_another_form_is_no_state() {
        for text in [
            String::new(),
            " ".into(),
            "t 0 1 a5 {}".into(),
            "x 1 1 a5 {}".into(),
            "t 1 1 a5".into(),
            "t -1 2 a5 {}".into(),
            "t 4294967296 1 a5 {}".into(),
            "t 1 1 g5 {}".into(),
            "t 1 1  {}".into(),
            format!("t 1 1 {} {{}}", "f".repeat(33)),
            "t 1 1 \u{e9} {}".into(),
            "T 1 1 a5 {}".into(),
            "T 1 1 a5 3 {}".into(),
            "T 1 1 a5 -1 {}{}".into(),
            "T 1 1 a5 1 \u{e9}".into(),
        ] {
            assert_eq!(State::parse(&text), None, "{text}");
        }
    }
}
