//! What a switch remembers, as the text of the setting `scope_roles.switch`. Pure.
#![forbid(unsafe_code)]

/// `role expires_at claims`: numbers first, because the claims may hold anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// OID of the role.
    pub role: u32,
    /// When the token ends, in Unix microseconds; `i64::MAX` for a token without `exp`.
    pub expires_at: i64,
    /// The verified claims, as the JSON text that was signed.
    pub claims: String,
}

impl State {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let role = parts.next()?.parse().ok().filter(|&role| role != 0)?;
        let expires_at = parts.next()?.parse().ok()?;
        Some(State {
            role,
            expires_at,
            claims: parts.next()?.to_owned(),
        })
    }

    pub fn to_text(&self) -> String {
        format!("{} {} {}", self.role, self.expires_at, self.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_state_survives_a_round_trip() {
        for claims in ["{}", "{\"a b\": \" c \\n\"}", ""] {
            let state = State {
                role: 16_384,
                expires_at: i64::MAX,
                claims: claims.into(),
            };
            assert_eq!(State::parse(&state.to_text()), Some(state));
        }
    }

    #[test]
    fn switch_state_of_another_form_is_no_state() {
        for text in [
            "",
            " ",
            "0 1 {}",
            "1",
            "1 2",
            "-1 2 {}",
            "a 2 {}",
            "1 b {}",
            "4294967296 1 {}",
        ] {
            assert_eq!(State::parse(text), None, "{text}");
        }
    }
}
