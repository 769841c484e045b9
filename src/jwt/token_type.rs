//! The `typ` of a token's header (RFC 7515 section 4.1.9): what the token is for, in the signer's words.

/// What is given for tokens whose header has no `typ`.
const ABSENT: &str = "absent";

/// A token type that an issuer's tokens may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenType(Option<String>);

impl TokenType {
    /// A media type, whose `application/` may be left out, or the word `absent`. `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == ABSENT {
            return Some(Self(None));
        }
        let is_name = !text.is_empty()
            && text.len() <= 127
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_name.then(|| Self(Some(short(text).to_ascii_lowercase())))
    }

    /// Is the `typ` of a header this one? Media types know no case.
    pub(super) fn is(&self, typ: Option<&str>) -> bool {
        match (&self.0, typ) {
            (None, None) => true,
            (Some(this), Some(typ)) => short(typ).eq_ignore_ascii_case(this),
            _ => false,
        }
    }
}

/// Without the prefix that may be left out where no other slash is in the name.
fn short(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, name)) if prefix.eq_ignore_ascii_case(PREFIX) && !name.contains('/') => name,
        _ => typ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_types_are_media_types() {
        let is =
            |text: &str, typ: Option<&str>| TokenType::parse(text).is_some_and(|this| this.is(typ));
        for (text, typ) in [
            ("at+jwt", Some("at+jwt")),
            ("at+jwt", Some("AT+JWT")),
            ("at+jwt", Some("application/at+jwt")),
            ("application/at+jwt", Some("at+jwt")),
            ("Application/AT+jwt", Some("aPPlication/at+JWT")),
            ("JWT", Some("jwt")),
            ("image/png", Some("image/png")),
            ("absent", None),
        ] {
            assert!(is(text, typ), "{text} {typ:?}");
        }
        for (text, typ) in [
            ("at+jwt", None),
            ("at+jwt", Some("JWT")),
            ("at+jwt", Some("")),
            ("at+jwt", Some("at+jwt ")),
            ("absent", Some("absent")),
            ("absent", Some("")),
            ("JWT", Some("image/jwt")),
            ("a/b", Some("application/a/b")),
        ] {
            assert!(!is(text, typ), "{text} {typ:?}");
        }
        for text in ["", " ", "at jwt", "at\n", "\u{e4}", &"a".repeat(128)] {
            assert_eq!(TokenType::parse(text), None, "{text}");
        }
    }
}
