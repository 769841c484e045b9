//! The signature algorithms of tokens: jsonwebtoken's, and ES512, which it has no name for.

use std::str::FromStr;

use jsonwebtoken::AlgorithmFamily;
use thiserror::Error;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// One of the library's.
    Library(jsonwebtoken::Algorithm),
    /// ECDSA on P-521 with SHA-512.
    ES512,
}

/// A name that is no supported algorithm; `none` is never one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not a supported algorithm: use HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
     ES256, ES384, ES512 or EdDSA"
)]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Reads a JOSE name; case matters (RFC 7515 section 4.1.1).
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        if name == "ES512" {
            return Ok(Self::ES512);
        }
        name.parse()
            .map(Self::Library)
            .map_err(|_| UnknownAlgorithm)
    }
}

impl Algorithm {
    /// Whether it takes a secret, not a public key.
    pub(super) fn is_symmetric(self) -> bool {
        matches!(self, Self::Library(known) if known.family() == AlgorithmFamily::Hmac)
    }

    /// The length of an HMAC algorithm's hash, which a secret must reach (RFC 7518 section 3.2).
    pub(super) fn secret_bytes(self) -> Option<usize> {
        match self {
            Self::Library(jsonwebtoken::Algorithm::HS256) => Some(32),
            Self::Library(jsonwebtoken::Algorithm::HS384) => Some(48),
            Self::Library(jsonwebtoken::Algorithm::HS512) => Some(64),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) const NAMES: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "ES512", "EdDSA",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithm_names_are_these_thirteen() {
        for name in NAMES {
            let algorithm = name.parse::<Algorithm>();
            assert!(algorithm.is_ok(), "{name}");
            assert!(format!("{algorithm:?}").contains(name), "{name}");
        }
        for name in ["", "none", "hs256", "HS256\0", "ES256K", "RS1", "Ed25519"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }
}
