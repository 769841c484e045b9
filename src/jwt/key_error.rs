//! Why a text cannot be used as a key.

use thiserror::Error;

/// Why a text cannot be used as a key. Never shows any part of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Nothing is configured.
    #[error("the key is empty")]
    Empty,
    /// A secret is too short for HS256, or for the `alg` of its JWK (RFC 7518 section 3.2).
    #[error("the secret has {bytes} bytes and needs at least {needed}")]
    ShortSecret {
        /// Its length.
        bytes: usize,
        /// The length that is needed.
        needed: usize,
    },
    /// The text is said to be base64 and is not.
    #[error("the secret is not base64")]
    NotBase64,
    /// The text starts like a JWK or JWKS and is not strict JSON.
    #[error("the text starts with a brace but is not valid JSON, or names a member twice")]
    NotJson,
    /// A text that others can know would be the secret with which tokens are signed.
    #[error("the text {0}, and would be a secret that others know")]
    Public(&'static str),
    /// A JSON object that is neither a JWK nor a JWKS (RFC 7517 sections 4 and 5), nor a map of certificates.
    #[error(
        "the JSON object is neither a JWK (member kty), a key set (member keys) nor certificates by their kid"
    )]
    NotJwk,
    /// A required member of a JWK is missing or has a wrong form.
    #[error("the JWK's member {0} is missing or has a wrong form")]
    Member(&'static str),
    /// `alg` names an algorithm of another key type (RFC 8725 section 3.1).
    #[error("the JWK's alg does not belong to its key type")]
    AlgorithmMismatch,
    /// The key is not one that verifies signatures: unknown `kty`, `crv` or `alg`, or a `use` or
    /// `key_ops` for something else.
    #[error("the key is not for verifying signatures with a supported algorithm")]
    NotUsable,
    /// No key of the set verifies signatures.
    #[error("the key set has no key for verifying signatures with a supported algorithm")]
    NoUsableKey,
    /// An RSA modulus is too short or too long (RFC 7518 section 3.3).
    #[error("the RSA key has {bits} bits; 2048 to 8192 are accepted")]
    RsaSize {
        /// Its length.
        bits: usize,
    },
    /// An RSA exponent is 1, even or too large.
    #[error("the RSA key's exponent is not an odd number from 3 to 2^33")]
    RsaExponent,
    /// An RSA key from which the private one can be worked out.
    #[error(
        "the RSA key is of the kind of CVE-2017-15361 (ROCA), whose private key can be worked out"
    )]
    Roca,
    /// The numbers of a public key are no such key: a point off its curve, an even modulus.
    #[error("the key is not a valid public key of its type")]
    Invalid,
    /// A PEM text with a private key.
    #[error("the PEM text holds a private key; configure the public key")]
    PrivateKey,
    /// A PEM text that is not one public key or certificate.
    #[error(
        "the PEM text is not one block with the label PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE"
    )]
    Pem,
    /// A certificate that cannot be read (RFC 5280).
    #[error("the certificate is not an X.509 certificate of version 3")]
    Certificate,
    /// A key of a set is broken or weak.
    #[error("key {number} of the set: {error}")]
    InSet {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<KeyError>,
    },
}
