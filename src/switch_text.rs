//! What a switch remembers, as the text of the setting `scope.switch`. Pure.
#![forbid(unsafe_code)]

use crate::digits::{hex, push_decimal};

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
}

impl<'a> State<'a> {
    /// `extent role ends_at tag claims`: the claims last, because they may hold anything.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let extent = match parts.next()? {
            "t" => Extent::Transaction,
            "s" => Extent::Session,
            _ => return None,
        };
        let role = parts.next()?.parse().ok().filter(|&role| role != 0)?;
        let ends_at = parts.next()?.parse().ok()?;
        let tag = u128::from_str_radix(parts.next()?, 16).ok()?;
        Some(Self {
            extent,
            role,
            ends_at,
            tag,
            claims: parts.next()?,
        })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.claims.len() + 80);
        text.push(match self.extent {
            Extent::Transaction => b't',
            Extent::Session => b's',
        });
        text.push(b' ');
        push_decimal(&mut text, self.role.into());
        text.push(b' ');
        push_decimal(&mut text, self.ends_at);
        text.push(b' ');
        let tag = self.tag.to_be_bytes();
        text.extend(tag.iter().flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]));
        text.push(b' ');
        text.extend_from_slice(self.claims.as_bytes());
        text
    }
}

/// The claims alone, to the end of the text.
pub fn claims_of(text: &[u8]) -> Option<&[u8]> {
    text.splitn(5, |&byte| byte == b' ').nth(4)
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
                    let state = State {
                        extent,
                        role: 16_384,
                        ends_at,
                        tag,
                        claims,
                    };
                    let text = String::from_utf8(state.to_bytes()).unwrap_or_default();
                    assert_eq!(State::parse(&text), Some(state));
                    assert_eq!(claims_of(text.as_bytes()), Some(claims.as_bytes()));
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
        ] {
            assert_eq!(State::parse(&text), None, "{text}");
        }
    }
}
