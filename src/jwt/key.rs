//! A key, bound to the algorithms that it may verify (RFC 7518, RFC 8725 section 3.1).

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::DecodingKey;
use zeroize::Zeroizing;

use super::verifier::Check;
use super::{Algorithm, KeyError};

/// The shortest secret, in bytes: the hash length of HS256 (RFC 7518 section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Base64 with or without padding.
const LENIENT_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key, ready to check the signatures of the algorithms that it and its JWK allow.
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) checks: Vec<Check>,
}

impl Key {
    /// Makes a key ready for every algorithm that it is for, or for the only one that its JWK allows.
    pub(super) fn new(
        key: &DecodingKey,
        only: Option<Algorithm>,
        kid: impl FnOnce() -> Result<Option<String>, KeyError>,
    ) -> Result<Self, KeyError> {
        let mut checks = Check::all(key);
        if checks.is_empty() {
            return Err(KeyError::Invalid);
        }
        if let Some(only) = only {
            checks.retain(|check| check.algorithm == only);
            if checks.is_empty() {
                return Err(KeyError::AlgorithmMismatch);
            }
        }
        Ok(Self {
            kid: kid()?,
            checks,
        })
    }

    pub(super) fn check(&self, algorithm: Algorithm) -> Option<&Check> {
        self.checks
            .iter()
            .find(|check| check.algorithm == algorithm)
    }
}

/// A secret, which must be as long as the hash of the algorithm that it is for.
pub(super) fn secret(secret: &[u8], only: Option<Algorithm>) -> Result<DecodingKey, KeyError> {
    let needed = only
        .and_then(Algorithm::secret_bytes)
        .unwrap_or(MIN_SECRET_BYTES);
    if secret.len() < needed {
        return Err(KeyError::ShortSecret {
            bytes: secret.len(),
            needed,
        });
    }
    DecodingKey::from_secret(secret).map_err(|_| KeyError::Invalid)
}

/// Decodes the standard or the URL alphabet, with or without padding and white space.
pub(super) fn decode_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut standard = Zeroizing::new(Vec::with_capacity(text.len()));
    standard.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()).map(
        |byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        },
    ));
    LENIENT_PADDING
        .decode(standard.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| KeyError::NotBase64)
}
