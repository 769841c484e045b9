//! The keys of an issuer, in the forms in which they are configured (RFC 7517, RFC 7468). Private
//! parts are never kept, and nothing here prints key material.

use std::fmt;

use super::json::{self, JsonError};
use super::key::{self, Key};
use super::verifier::Check;
use super::{Algorithm, KeyError, Refusal, jwk, pem, public};

/// One or more keys that an administrator trusts.
///
/// Secrets are zeroed when dropped, as far as the libraries do it; `Debug` shows counts alone.
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a secret of at least 32 bytes, a JWK (RFC 7517 section 4), a JWKS (section 5), an array
    /// of JWKs, a PEM public key (RFC 7468 section 13, or PKCS #1) or certificate (section 5), or an object of such by their kid. With `is_base64` the text is
    /// decoded first, in the standard or the URL alphabet, with or without padding.
    ///
    /// Keys of a set that are for something else (unknown `kty`, `use` other than `sig`, `key_ops`
    /// without `verify`) are left out. A text that looks like a public key, or says where one is, is
    /// never taken as a secret.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong, without the value.
    pub fn parse(text: &[u8], is_base64: bool) -> Result<Self, KeyError> {
        if text.trim_ascii().is_empty() {
            return Err(KeyError::Empty);
        }
        let keys = if is_base64 {
            let decoded = key::decode_base64(text)?;
            match Document::of(&decoded) {
                // One random secret in 256 starts with a brace: only real JSON is a document.
                Some(Document::Json(json)) if json::object(json).is_err() && !is_array(json) => {
                    from_secret(&decoded, public::decoded(&decoded))
                }
                Some(document) => document.keys(),
                None => from_secret(&decoded, public::decoded(&decoded)),
            }
        } else {
            match Document::of(text) {
                Some(document) => document.keys(),
                None => from_secret(text, public::written(without_mark(text))),
            }
        }?;
        Ok(Self { keys })
    }

    /// Whether any of the keys may verify tokens of this algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.any(|known| known == algorithm)
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "none is an error")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The names that they have, of those that have one.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.kid.as_deref())
    }

    /// Whether any of them is a secret.
    pub fn has_secrets(&self) -> bool {
        self.any(Algorithm::is_symmetric)
    }

    /// Whether checking a signature takes public-key work.
    pub fn is_asymmetric(&self) -> bool {
        self.any(|algorithm| !algorithm.is_symmetric())
    }

    fn any(&self, is_so: impl Fn(Algorithm) -> bool) -> bool {
        let mut checks = self.keys.iter().flat_map(|key| &key.checks);
        checks.any(|check| is_so(check.algorithm))
    }

    /// What may verify a token with this `kid` and `alg` (RFC 7515 section 4.1.4): the keys of that
    /// `kid`, or every key when the token has none. A single key without `kid` stands for any.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = &'a Check> + use<'a>, Refusal> {
        let nameless = matches!(self.keys.as_slice(), [only] if only.kid.is_none());
        let mut named = self
            .keys
            .iter()
            .filter(move |key| kid.is_none() || nameless || key.kid.as_deref() == kid)
            .peekable();
        if named.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let mut candidates = named.filter_map(move |key| key.check(algorithm)).peekable();
        if candidates.peek().is_none() {
            return Err(Refusal::Algorithm);
        }
        Ok(candidates)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}

/// A text that is not a bare secret.
enum Document<'a> {
    Json(&'a str),
    Pem(&'a str),
}

impl<'a> Document<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let trimmed = without_mark(bytes);
        let text = std::str::from_utf8(trimmed);
        if trimmed.starts_with(b"{") || text.is_ok_and(is_array) {
            Some(Self::Json(text.unwrap_or("{")))
        } else if trimmed.starts_with(b"-----BEGIN") {
            Some(Self::Pem(text.unwrap_or("")))
        } else {
            None
        }
    }

    fn keys(self) -> Result<Vec<Key>, KeyError> {
        match self {
            Self::Json(text) if is_array(text) => jwk::list(text),
            Self::Json(text) => jwk::one_or_set(text),
            Self::Pem(text) => Ok(vec![Key::new(&pem::read(text)?, None, || Ok(None))?]),
        }
    }
}

/// A byte order mark would otherwise turn a document into a secret.
fn without_mark(bytes: &[u8]) -> &[u8] {
    let trimmed = bytes.trim_ascii();
    trimmed
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(trimmed)
        .trim_ascii()
}

/// Whether the text is JSON that starts with a bracket.
fn is_array(text: &str) -> bool {
    text.starts_with('[') && json::object(text) == Err(JsonError::NotObject)
}

fn from_secret(secret: &[u8], known: Option<&'static str>) -> Result<Vec<Key>, KeyError> {
    if let Some(what) = known {
        return Err(KeyError::Public(what));
    }
    let key = key::secret(secret, None)?;
    Ok(vec![Key::new(&key, None, || Ok(None))?])
}

/// The algorithms that a key set verifies tokens of, with this kid.
#[cfg(test)]
pub(super) fn allowed(keys: &KeySet, kid: Option<&str>) -> Vec<&'static str> {
    let mut names = Vec::from(super::algorithm::NAMES);
    names.retain(|name| {
        let algorithm = name.parse();
        algorithm.is_ok_and(|algorithm| keys.candidates(kid, algorithm).is_ok())
    });
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn oct(bytes: usize, more: &str) -> String {
        let k = URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        format!(r#"{{"kty":"oct","k":"{k}"{more}}}"#)
    }

    fn parse(text: &str) -> Result<KeySet, KeyError> {
        KeySet::parse(text.as_bytes(), false)
    }

    fn fails(text: &str) -> KeyError {
        parse(text).unwrap_err()
    }

    #[test]
    fn a_secret_serves_the_hashes_that_it_is_long_enough_for() {
        for (bytes, expected) in [
            (32, &["HS256"][..]),
            (47, &["HS256"]),
            (48, &["HS256", "HS384"]),
            (63, &["HS256", "HS384"]),
            (64, &["HS256", "HS384", "HS512"]),
            (200, &["HS256", "HS384", "HS512"]),
        ] {
            assert_eq!(allowed(&parse(&"s".repeat(bytes)).unwrap(), None), expected);
            assert_eq!(allowed(&parse(&oct(bytes, "")).unwrap(), None), expected);
        }
        assert_eq!(
            fails(&"s".repeat(31)),
            KeyError::ShortSecret {
                bytes: 31,
                needed: 32
            }
        );
        assert_eq!(
            fails(&oct(31, "")),
            KeyError::ShortSecret {
                bytes: 31,
                needed: 32
            }
        );
        assert_eq!(
            fails(&oct(63, r#","alg":"HS512""#)),
            KeyError::ShortSecret {
                bytes: 63,
                needed: 64
            }
        );
    }

    #[test]
    fn base64_secrets() {
        let secret: Vec<u8> = (200..240).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        for text in [
            STANDARD.encode(&secret),
            URL_SAFE.encode(&secret),
            URL_SAFE_NO_PAD.encode(&secret),
            format!(" {}\n", STANDARD.encode(&secret)),
        ] {
            let keys = KeySet::parse(text.as_bytes(), true).unwrap();
            let signature = hmac::sign(&key, b"message").as_ref().to_vec();
            let mut checks = keys.candidates(None, "HS256".parse().unwrap()).unwrap();
            assert!(checks.any(|check| check.holds(b"message", &signature)));
        }
        // A secret that starts like JSON or PEM is one when it is neither.
        let brace = STANDARD.encode([&b"{"[..], &secret].concat());
        assert!(KeySet::parse(brace.as_bytes(), true).is_ok());
        for (text, error) in [
            (
                "not base64 at all, but more than 32 bytes",
                KeyError::NotBase64,
            ),
            (
                SECRET,
                KeyError::ShortSecret {
                    bytes: 24,
                    needed: 32,
                },
            ),
            (" \n", KeyError::Empty),
            ("", KeyError::Empty),
        ] {
            assert_eq!(KeySet::parse(text.as_bytes(), true).unwrap_err(), error);
        }
        let jwk = STANDARD.encode(EC);
        assert_eq!(
            allowed(&KeySet::parse(jwk.as_bytes(), true).unwrap(), None),
            ["ES256"]
        );
    }

    #[test]
    fn nothing_prints_key_material() {
        let keys = parse(SECRET).unwrap();
        assert_eq!(format!("{keys:?}"), "KeySet(1 keys)");
        let error = fails(r#"{"kty":"oct","k":"hunter2hunter2"}"#);
        assert!(!format!("{error:?} {error}").contains("hunter"));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in any::<Vec<u8>>(), is_base64 in any::<bool>()) {
            let _any = KeySet::parse(&text, is_base64);
        }
    }
}
