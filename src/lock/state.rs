//! What a switch remembers, as the text of the setting `scope_roles.switch`. Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;

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
    /// SHA-256 of the token; zeros for the anonymous role.
    pub digest: [u8; 32],
    /// The verified claims, as JSON.
    pub claims: &'a str,
}

impl<'a> State<'a> {
    /// `extent role ends_at digest claims`: the claims last, because they may hold anything.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let extent = match parts.next()? {
            "t" => Extent::Transaction,
            "s" => Extent::Session,
            _ => return None,
        };
        let role = parts.next()?.parse().ok().filter(|&role| role != 0)?;
        let ends_at = parts.next()?.parse().ok()?;
        let digest = from_hex(parts.next()?)?;
        Some(Self {
            extent,
            role,
            ends_at,
            digest,
            claims: parts.next()?,
        })
    }

    pub fn to_text(&self) -> String {
        let extent = match self.extent {
            Extent::Transaction => 't',
            Extent::Session => 's',
        };
        let mut text = String::with_capacity(self.claims.len() + 110);
        // Writing to a String cannot fail.
        let _ = write!(text, "{extent} {} {} ", self.role, self.ends_at);
        for byte in self.digest {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(match nibble {
                    0..10 => b'0' + nibble,
                    _ => b'a' - 10 + nibble,
                }));
            }
        }
        text.push(' ');
        text.push_str(self.claims);
        text
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 {
        return None;
    }
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    for (slot, [high, low]) in digest.iter_mut().zip(pairs) {
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *slot = u8::try_from(high << 4 | low).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_state_survives_a_round_trip() {
        for claims in ["{}", "{\"a b\": \" c \\n\"}", ""] {
            for extent in [Extent::Transaction, Extent::Session] {
                let mut digest = [0xa5; 32];
                digest[0] = 0;
                let state = State {
                    extent,
                    role: 16_384,
                    ends_at: i64::MAX,
                    digest,
                    claims,
                };
                assert_eq!(State::parse(&state.to_text()), Some(state));
            }
        }
    }

    #[test]
    fn switch_state_of_another_form_is_no_state() {
        let digest = "0".repeat(64);
        for text in [
            String::new(),
            " ".into(),
            format!("t 0 1 {digest} {{}}"),
            format!("x 1 1 {digest} {{}}"),
            format!("t 1 1 {digest}"),
            format!("t -1 2 {digest} {{}}"),
            format!("t 4294967296 1 {digest} {{}}"),
            "t 1 1 00 {}".into(),
            format!("t 1 1 {} {{}}", "g".repeat(64)),
            format!("t 1 1 {} {{}}", "\u{e9}".repeat(32)),
        ] {
            assert_eq!(State::parse(&text), None, "{text}");
        }
    }
}
