//! Keys, each bound to the algorithms that it may verify (RFC 7517, RFC 7518, RFC 8037, RFC 8725
//! section 3.1). Private parts are never kept, and nothing here prints key material.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::Zeroizing;

use super::json::{self, JsonError};
use super::{Refusal, public};

/// The shortest secret, in bytes: the hash length of HS256 (RFC 7518 section 3.2).
const MIN_SECRET_BYTES: usize = 32;
const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

/// Base64 with or without padding.
const LENIENT_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A signature algorithm, by its JOSE name (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// EdDSA on Ed25519.
    EdDSA,
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
        ALGORITHMS
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(algorithm, _)| *algorithm)
            .ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALGORITHMS
            .iter()
            .find(|(algorithm, _)| algorithm == self)
            .map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

const ALGORITHMS: [(Algorithm, &str); 13] = [
    (Algorithm::HS256, "HS256"),
    (Algorithm::HS384, "HS384"),
    (Algorithm::HS512, "HS512"),
    (Algorithm::RS256, "RS256"),
    (Algorithm::RS384, "RS384"),
    (Algorithm::RS512, "RS512"),
    (Algorithm::PS256, "PS256"),
    (Algorithm::PS384, "PS384"),
    (Algorithm::PS512, "PS512"),
    (Algorithm::ES256, "ES256"),
    (Algorithm::ES384, "ES384"),
    (Algorithm::ES512, "ES512"),
    (Algorithm::EdDSA, "EdDSA"),
];

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
    #[error("the text starts with a brace but is not a JSON object without duplicate members")]
    NotJson,
    /// A text that others can know would be the secret with which tokens are signed.
    #[error("the text {0}, and would be a secret that others know")]
    Public(&'static str),
    /// A JSON object that is neither a JWK nor a JWKS (RFC 7517 sections 4 and 5).
    #[error("the JSON object is neither a JWK (member kty) nor a key set (member keys)")]
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
    /// The numbers of a public key are no such key: a point off its curve, an even modulus.
    #[error("the key is not a valid public key of its type")]
    Invalid,
    /// A PEM text with a private key.
    #[error("the PEM text holds a private key; configure the public key")]
    PrivateKey,
    /// A PEM text that is not one public key.
    #[error("the PEM text is not one block with the label PUBLIC KEY or RSA PUBLIC KEY")]
    Pem,
    /// A key of a set is broken or weak.
    #[error("key {number} of the set: {error}")]
    InSet {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<KeyError>,
    },
}

/// One or more keys that an administrator trusts.
///
/// Secrets are zeroed when dropped, as far as the libraries do it; `Debug` shows counts alone.
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a secret of at least 32 bytes, a JWK (RFC 7517 section 4), a JWKS (section 5), an array
    /// of JWKs or a PEM public key (RFC 7468 section 13, or PKCS #1). With `is_base64` the text is
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
        if !is_base64 {
            return match document(text) {
                Some(document) => from_document(document),
                None => match public::written(without_mark(text)) {
                    Some(what) => Err(KeyError::Public(what)),
                    None => from_secret(text),
                },
            };
        }
        let decoded = decode_base64(text)?;
        match document(&decoded) {
            // One random secret in 256 starts with a brace: only real JSON is a document.
            Some(Document::Json(json)) if json::object(json).is_err() && !is_array(json) => {
                from_decoded(&decoded)
            }
            Some(document) => from_document(document),
            None => from_decoded(&decoded),
        }
    }

    /// Whether any of the keys may verify tokens of this algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.allows(algorithm))
    }

    /// Whether any of them is a secret.
    pub fn has_secrets(&self) -> bool {
        self.keys
            .iter()
            .any(|key| matches!(key.material, Material::Hmac(_)))
    }

    /// Whether checking a signature takes public-key work.
    pub fn is_asymmetric(&self) -> bool {
        !self
            .keys
            .iter()
            .all(|key| matches!(key.material, Material::Hmac(_)))
    }

    /// The keys that may verify a token with this `kid` and `alg` (RFC 7515 section 4.1.4): those
    /// of that `kid`, or every key when the token has none. A single key without `kid` stands for
    /// any.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = &'a Key> + use<'a>, Refusal> {
        let nameless = matches!(self.keys.as_slice(), [only] if only.kid.is_none());
        let mut named = self
            .keys
            .iter()
            .filter(move |key| kid.is_none() || nameless || key.kid.as_deref() == kid)
            .peekable();
        if named.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let mut candidates = named.filter(move |key| key.allows(algorithm)).peekable();
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

/// A key with the restrictions of its JWK.
pub(super) struct Key {
    kid: Option<String>,
    /// The only algorithm that the JWK allows.
    algorithm: Option<Algorithm>,
    material: Material,
}

/// Key material, one kind per family, so that a key cannot be used for another.
enum Material {
    Hmac(Box<HmacKey>),
    Rsa(RsaKey),
    P256(Box<ParsedPublicKey>),
    P384(Box<ParsedPublicKey>),
    P521(Box<ParsedPublicKey>),
    Ed25519(Box<ParsedPublicKey>),
}

/// One secret, made ready once for each of the algorithms (aws-lc wipes them).
struct HmacKey {
    bytes: usize,
    hs256: hmac::Key,
    hs384: hmac::Key,
    hs512: hmac::Key,
}

impl HmacKey {
    fn new(secret: &[u8]) -> Self {
        Self {
            bytes: secret.len(),
            hs256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            hs384: hmac::Key::new(hmac::HMAC_SHA384, secret),
            hs512: hmac::Key::new(hmac::HMAC_SHA512, secret),
        }
    }

    fn of(&self, algorithm: Algorithm) -> Option<&hmac::Key> {
        match algorithm {
            Algorithm::HS256 => Some(&self.hs256),
            Algorithm::HS384 => Some(&self.hs384),
            Algorithm::HS512 => Some(&self.hs512),
            _ => None,
        }
    }
}

/// One key, parsed once for each of the algorithms that it may verify: parsing costs more than half
/// of a verification.
struct RsaKey {
    pkcs1: [Box<ParsedPublicKey>; 3],
    pss: [Box<ParsedPublicKey>; 3],
}

impl RsaKey {
    fn parse(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let parse = |algorithm: &'static RsaParameters| {
            RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .to_parsed_public_key(algorithm)
            .map(Box::new)
            .map_err(|_| KeyError::Invalid)
        };
        Ok(Self {
            pkcs1: [
                parse(&RSA_PKCS1_2048_8192_SHA256)?,
                parse(&RSA_PKCS1_2048_8192_SHA384)?,
                parse(&RSA_PKCS1_2048_8192_SHA512)?,
            ],
            pss: [
                parse(&RSA_PSS_2048_8192_SHA256)?,
                parse(&RSA_PSS_2048_8192_SHA384)?,
                parse(&RSA_PSS_2048_8192_SHA512)?,
            ],
        })
    }

    fn of(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let [rs256, rs384, rs512] = &self.pkcs1;
        let [ps256, ps384, ps512] = &self.pss;
        Some(match algorithm {
            Algorithm::RS256 => rs256,
            Algorithm::RS384 => rs384,
            Algorithm::RS512 => rs512,
            Algorithm::PS256 => ps256,
            Algorithm::PS384 => ps384,
            Algorithm::PS512 => ps512,
            _ => return None,
        })
    }
}

impl Key {
    /// Whether the signature over `message` holds. False for an algorithm that is not the key's.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.allows(algorithm) {
            return false;
        }
        let key = match &self.material {
            Material::Hmac(keys) => {
                // In constant time.
                return keys
                    .of(algorithm)
                    .is_some_and(|key| hmac::verify(key, message, signature).is_ok());
            }
            Material::Rsa(keys) => keys.of(algorithm),
            Material::P256(key)
            | Material::P384(key)
            | Material::P521(key)
            | Material::Ed25519(key) => Some(&**key),
        };
        key.is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    fn allows(&self, algorithm: Algorithm) -> bool {
        if self.algorithm.is_some_and(|only| only != algorithm) {
            return false;
        }
        match &self.material {
            Material::Hmac(key) => hash_bytes(algorithm).is_some_and(|needed| key.bytes >= needed),
            other => other.family() == family(algorithm),
        }
    }
}

impl Material {
    fn family(&self) -> Family {
        match self {
            Self::Hmac(_) => Family::Hmac,
            Self::Rsa(_) => Family::Rsa,
            Self::P256(_) => Family::P256,
            Self::P384(_) => Family::P384,
            Self::P521(_) => Family::P521,
            Self::Ed25519(_) => Family::Ed25519,
        }
    }
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Family {
    Hmac,
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

fn family(algorithm: Algorithm) -> Family {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Family::Hmac,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Family::Rsa,
        Algorithm::ES256 => Family::P256,
        Algorithm::ES384 => Family::P384,
        Algorithm::ES512 => Family::P521,
        Algorithm::EdDSA => Family::Ed25519,
    }
}

/// The length of an HMAC algorithm's hash, which a secret must reach.
fn hash_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

/// A text that is not a bare secret.
enum Document<'a> {
    Json(&'a str),
    Pem(&'a str),
}

fn document(bytes: &[u8]) -> Option<Document<'_>> {
    let trimmed = without_mark(bytes);
    let text = std::str::from_utf8(trimmed);
    if trimmed.starts_with(b"{") || text.is_ok_and(is_array) {
        Some(Document::Json(text.unwrap_or("{")))
    } else if trimmed.starts_with(b"-----BEGIN") {
        Some(Document::Pem(text.unwrap_or("")))
    } else {
        None
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

fn from_document(document: Document<'_>) -> Result<KeySet, KeyError> {
    match document {
        Document::Json(text) => from_json(text),
        Document::Pem(text) => Ok(KeySet {
            keys: vec![unrestricted(read_pem(text)?)],
        }),
    }
}

fn from_decoded(secret: &[u8]) -> Result<KeySet, KeyError> {
    match public::decoded(secret) {
        Some(what) => Err(KeyError::Public(what)),
        None => from_secret(secret),
    }
}

fn from_secret(secret: &[u8]) -> Result<KeySet, KeyError> {
    Ok(KeySet {
        keys: vec![unrestricted(read_secret(secret)?)],
    })
}

fn unrestricted(material: Material) -> Key {
    Key {
        kid: None,
        algorithm: None,
        material,
    }
}

fn from_json(text: &str) -> Result<KeySet, KeyError> {
    if is_array(text) {
        return from_list(text);
    }
    // Every error of the reader is one for the administrator: the text is not what it should be.
    let members = json::object(text).map_err(|_: JsonError| KeyError::NotJson)?;
    let Some(list) = member(&members, "keys") else {
        if member(&members, "kty").is_none() {
            return Err(KeyError::NotJwk);
        }
        let key = read_jwk(text)?.ok_or(KeyError::NotUsable)?;
        return Ok(KeySet { keys: vec![key] });
    };
    if !list.starts_with('[') {
        return Err(KeyError::Member("keys"));
    }
    from_list(list)
}

/// The keys of an array of JWKs.
fn from_list(list: &str) -> Result<KeySet, KeyError> {
    let mut keys = Vec::new();
    for (index, text) in json::elements(list).enumerate() {
        let key = read_jwk(text).map_err(|error| KeyError::InSet {
            number: index + 1,
            error: Box::new(error),
        })?;
        keys.extend(key);
    }
    if keys.is_empty() {
        return Err(KeyError::NoUsableKey);
    }
    Ok(KeySet { keys })
}

/// Reads a JWK; `None` when it is for something other than verifying signatures.
fn read_jwk(text: &str) -> Result<Option<Key>, KeyError> {
    let members = json::object(text).map_err(|_: JsonError| KeyError::NotJwk)?;
    if !is_for_verifying(&members)? {
        return Ok(None);
    }
    let algorithm = match optional_string(&members, "alg")? {
        None => None,
        Some(name) => match name.parse::<Algorithm>() {
            Ok(algorithm) => Some(algorithm),
            Err(UnknownAlgorithm) => return Ok(None),
        },
    };
    let kty = optional_string(&members, "kty")?.ok_or(KeyError::Member("kty"))?;
    let material = match kty.as_str() {
        "oct" => Some(read_oct(&members, algorithm)?),
        "RSA" => Some(read_rsa(&members)?),
        "EC" => read_ec(&members)?,
        "OKP" => read_okp(&members)?,
        _ => None,
    };
    let Some(material) = material else {
        return Ok(None);
    };
    if algorithm.is_some_and(|algorithm| family(algorithm) != material.family()) {
        return Err(KeyError::AlgorithmMismatch);
    }
    Ok(Some(Key {
        kid: optional_string(&members, "kid")?,
        algorithm,
        material,
    }))
}

/// Whether `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3) allow verifying.
fn is_for_verifying(members: &[json::Member<'_>]) -> Result<bool, KeyError> {
    if optional_string(members, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Ok(false);
    }
    let Some(operations) = member(members, "key_ops") else {
        return Ok(true);
    };
    if !operations.starts_with('[') {
        return Err(KeyError::Member("key_ops"));
    }
    Ok(json::elements(operations)
        .any(|operation| json::string(operation).is_some_and(|name| name == "verify")))
}

fn read_oct(
    members: &[json::Member<'_>],
    algorithm: Option<Algorithm>,
) -> Result<Material, KeyError> {
    let secret = required_bytes(members, "k")?;
    let needed = algorithm.and_then(hash_bytes).unwrap_or(MIN_SECRET_BYTES);
    if secret.len() < needed {
        return Err(KeyError::ShortSecret {
            bytes: secret.len(),
            needed,
        });
    }
    read_secret(&secret)
}

fn read_secret(secret: &[u8]) -> Result<Material, KeyError> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeyError::ShortSecret {
            bytes: secret.len(),
            needed: MIN_SECRET_BYTES,
        });
    }
    Ok(Material::Hmac(Box::new(HmacKey::new(secret))))
}

fn read_rsa(members: &[json::Member<'_>]) -> Result<Material, KeyError> {
    let modulus = required_bytes(members, "n")?;
    let exponent = required_bytes(members, "e")?;
    rsa(&modulus, &exponent)
}

/// Checks an RSA key (RFC 7518 section 3.3, RFC 8017 section 3.1) given as big-endian numbers.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Material, KeyError> {
    let modulus = without_leading_zeros(modulus);
    let exponent = without_leading_zeros(exponent);
    let bits = bit_length(modulus);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(KeyError::RsaSize { bits });
    }
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    // AWS-LC takes exponents of up to 33 bits.
    if !odd || exponent == [1] || bit_length(exponent) > 33 {
        return Err(KeyError::RsaExponent);
    }
    if modulus.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(KeyError::Invalid);
    }
    RsaKey::parse(modulus, exponent).map(Material::Rsa)
}

/// An EC key (RFC 7518 section 6.2.1); `None` for an unknown curve.
fn read_ec(members: &[json::Member<'_>]) -> Result<Option<Material>, KeyError> {
    let crv = optional_string(members, "crv")?.ok_or(KeyError::Member("crv"))?;
    let (curve, coordinate_bytes) = match crv.as_str() {
        "P-256" => (Curve::P256, 32),
        "P-384" => (Curve::P384, 48),
        "P-521" => (Curve::P521, 66),
        _ => return Ok(None),
    };
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = required_bytes(members, name)?;
        if coordinate.len() != coordinate_bytes {
            return Err(KeyError::Member(name));
        }
        point.extend_from_slice(&coordinate);
    }
    ec(curve, &point).map(Some)
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

/// Checks that an encoded point (SEC 1 or SubjectPublicKeyInfo) is on its curve.
fn ec(curve: Curve, encoded: &[u8]) -> Result<Material, KeyError> {
    let algorithm: &'static EcdsaVerificationAlgorithm = match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED,
    };
    let parsed = ParsedPublicKey::new(algorithm, encoded).map_err(|_| KeyError::Invalid)?;
    let parsed = Box::new(parsed);
    Ok(match curve {
        Curve::P256 => Material::P256(parsed),
        Curve::P384 => Material::P384(parsed),
        Curve::P521 => Material::P521(parsed),
    })
}

/// An Ed25519 key (RFC 8037 section 2); `None` for another curve.
fn read_okp(members: &[json::Member<'_>]) -> Result<Option<Material>, KeyError> {
    let crv = optional_string(members, "crv")?.ok_or(KeyError::Member("crv"))?;
    if crv != "Ed25519" {
        return Ok(None);
    }
    let public = required_bytes(members, "x")?;
    if public.len() != 32 {
        return Err(KeyError::Member("x"));
    }
    let parsed =
        ParsedPublicKey::new(&ED25519, public.as_slice()).map_err(|_| KeyError::Invalid)?;
    Ok(Some(Material::Ed25519(Box::new(parsed))))
}

/// Reads one PEM block: SubjectPublicKeyInfo, or PKCS #1 for RSA.
fn read_pem(text: &str) -> Result<Material, KeyError> {
    let body = text
        .trim()
        .strip_prefix("-----BEGIN ")
        .ok_or(KeyError::Pem)?;
    let (label, body) = body.split_once("-----").ok_or(KeyError::Pem)?;
    if label.ends_with("PRIVATE KEY") {
        return Err(KeyError::PrivateKey);
    }
    let body = body
        .strip_suffix("-----")
        .and_then(|body| body.strip_suffix(label))
        .and_then(|body| body.strip_suffix("-----END "))
        .ok_or(KeyError::Pem)?;
    let read: fn(&[u8]) -> Result<Material, KeyError> = match label {
        "PUBLIC KEY" => read_public_key_info,
        "RSA PUBLIC KEY" => read_rsa_der,
        _ => return Err(KeyError::Pem),
    };
    // A second block would have dashes, which the URL alphabet would let pass.
    if body.contains(['-', '_']) {
        return Err(KeyError::Pem);
    }
    let der = decode_base64(body.as_bytes()).map_err(|_| KeyError::Pem)?;
    // The libraries also take bare points and keys, which are not what PEM holds: 0x30 starts a
    // sequence, and no sequence with a public key is as short as a bare Ed25519 key.
    if der.first() != Some(&0x30) || der.len() <= 32 {
        return Err(KeyError::Invalid);
    }
    read(&der)
}

fn read_public_key_info(der: &[u8]) -> Result<Material, KeyError> {
    for curve in [Curve::P256, Curve::P384, Curve::P521] {
        if let Ok(material) = ec(curve, der) {
            return Ok(material);
        }
    }
    if let Ok(parsed) = ParsedPublicKey::new(&ED25519, der) {
        return Ok(Material::Ed25519(Box::new(parsed)));
    }
    read_rsa_der(der)
}

fn read_rsa_der(der: &[u8]) -> Result<Material, KeyError> {
    let key = rsa::PublicKey::from_der(der).map_err(|_| KeyError::Invalid)?;
    rsa(
        key.modulus().big_endian_without_leading_zero(),
        key.exponent().big_endian_without_leading_zero(),
    )
}

fn decode_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
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

fn member<'a>(members: &[json::Member<'a>], name: &str) -> Option<&'a str> {
    members
        .iter()
        .find(|member| member.name == name)
        .map(|member| member.value)
}

fn optional_string(
    members: &[json::Member<'_>],
    name: &'static str,
) -> Result<Option<String>, KeyError> {
    member(members, name)
        .map(|value| {
            json::string(value)
                .map(|text| text.into_owned())
                .ok_or(KeyError::Member(name))
        })
        .transpose()
}

fn required_bytes(
    members: &[json::Member<'_>],
    name: &'static str,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    member(members, name)
        .and_then(json::string)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text.as_bytes()).ok())
        .map(Zeroizing::new)
        .ok_or(KeyError::Member(name))
}

fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let Some(rest) = number.strip_prefix(&[0]) {
        number = rest;
    }
    number
}

fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| {
        (8 * number.len()).saturating_sub(first.leading_zeros() as usize)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn parse(text: &str) -> Result<KeySet, KeyError> {
        KeySet::parse(text.as_bytes(), false)
    }

    fn fails(text: &str) -> KeyError {
        parse(text).unwrap_err()
    }

    /// The algorithms that a key set verifies for a kid, or why none.
    fn allowed(keys: &KeySet, kid: Option<&str>) -> Vec<String> {
        ALGORITHMS
            .iter()
            .filter(|(algorithm, _)| keys.candidates(kid, *algorithm).is_ok())
            .map(|(algorithm, _)| algorithm.to_string())
            .collect()
    }

    fn oct(bytes: usize, more: &str) -> String {
        let k = URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        format!(r#"{{"kty":"oct","k":"{k}"{more}}}"#)
    }

    fn ec(more: &str) -> String {
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"{more}}}"#)
    }

    fn okp(more: &str) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{ED}"{more}}}"#)
    }

    fn rsa_jwk(modulus: &[u8], exponent: &[u8]) -> String {
        let n = URL_SAFE_NO_PAD.encode(modulus);
        let e = URL_SAFE_NO_PAD.encode(exponent);
        format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#)
    }

    fn set(keys: &[String]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn algorithm_names() {
        for (algorithm, name) in ALGORITHMS {
            assert_eq!(name.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), name);
        }
        for name in ["", "none", "hs256", "HS256\0", "ES256K", "RS1"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm));
        }
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
        for text in [
            STANDARD.encode(&secret),
            URL_SAFE.encode(&secret),
            URL_SAFE_NO_PAD.encode(&secret),
            format!(" {}\n", STANDARD.encode(&secret)),
        ] {
            let keys = KeySet::parse(text.as_bytes(), true).unwrap();
            assert!(matches!(
                keys.keys.as_slice(),
                [Key {
                    material: Material::Hmac(key),
                    ..
                }] if key.bytes == 40
            ));
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
        let jwk = STANDARD.encode(ec(""));
        assert_eq!(
            allowed(&KeySet::parse(jwk.as_bytes(), true).unwrap(), None),
            ["ES256"]
        );
    }

    #[test]
    fn jwks_restrict_their_keys() {
        for (jwk, expected) in [
            (ec(""), "ES256"),
            (
                ec(r#","alg":"ES256","use":"sig","key_ops":["verify"]"#),
                "ES256",
            ),
            (okp(""), "EdDSA"),
            (
                okp(r#","alg":"EdDSA","key_ops":["sign","verify"]"#),
                "EdDSA",
            ),
            (oct(64, r#","alg":"HS384""#), "HS384"),
            (
                rsa_jwk(&[0xff; 256], &[1, 0, 1]),
                "RS256 RS384 RS512 PS256 PS384 PS512",
            ),
            (
                rsa_jwk(&[&[0][..], &[0xff; 256]].concat(), &[0, 3]),
                "RS256 RS384 RS512 PS256 PS384 PS512",
            ),
        ] {
            let keys = parse(&jwk).unwrap();
            assert_eq!(allowed(&keys, None).join(" "), expected, "{jwk}");
            assert_eq!(allowed(&keys, Some("any")).join(" "), expected, "{jwk}");
        }
        for unusable in [
            ec(r#","use":"enc""#),
            ec(r#","key_ops":["sign"]"#),
            ec(r#","key_ops":[]"#),
            ec(r#","alg":"ECDH-ES""#),
            r#"{"kty":"XYZ"}"#.into(),
            r#"{"kty":"EC","crv":"secp256k1"}"#.into(),
            r#"{"kty":"OKP","crv":"X25519"}"#.into(),
            r#"{"kty":"OKP","crv":"Ed448"}"#.into(),
        ] {
            assert_eq!(fails(&unusable), KeyError::NotUsable, "{unusable}");
            assert_eq!(fails(&set(&[unusable])), KeyError::NoUsableKey);
        }
        for (mismatched, alg) in [
            (ec(r#","alg":"HS256""#), "HS256"),
            (ec(r#","alg":"ES384""#), "ES384"),
            (okp(r#","alg":"RS256""#), "RS256"),
            (oct(64, r#","alg":"RS256""#), "RS256"),
        ] {
            assert_eq!(fails(&mismatched), KeyError::AlgorithmMismatch, "{alg}");
        }
    }

    #[test]
    fn broken_jwks_are_named() {
        for (jwk, error) in [
            ("{".into(), KeyError::NotJson),
            (r#"{"kty":"oct","kty":"oct"}"#.into(), KeyError::NotJson),
            ("{}".into(), KeyError::NotJwk),
            (r#"{"keys":{}}"#.into(), KeyError::Member("keys")),
            (r#"{"keys":[]}"#.into(), KeyError::NoUsableKey),
            (r#"{"kty":5}"#.into(), KeyError::Member("kty")),
            (r#"{"kty":"oct"}"#.into(), KeyError::Member("k")),
            (r#"{"kty":"oct","k":"a+b="}"#.into(), KeyError::Member("k")),
            (r#"{"kty":"EC"}"#.into(), KeyError::Member("crv")),
            (
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}"}}"#),
                KeyError::Member("y"),
            ),
            (
                format!(r#"{{"kty":"EC","crv":"P-384","x":"{X}","y":"{Y}"}}"#),
                KeyError::Member("x"),
            ),
            (
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{X}"}}"#),
                KeyError::Invalid,
            ),
            (
                r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.into(),
                KeyError::Member("x"),
            ),
            (ec(r#","kid":1"#), KeyError::Member("kid")),
            (ec(r#","alg":1"#), KeyError::Member("alg")),
            (ec(r#","use":["sig"]"#), KeyError::Member("use")),
            (ec(r#","key_ops":"verify""#), KeyError::Member("key_ops")),
            (
                rsa_jwk(&[0xff; 128], &[1, 0, 1]),
                KeyError::RsaSize { bits: 1024 },
            ),
            (
                rsa_jwk(&[&[0x7f][..], &[0xff; 255]].concat(), &[3]),
                KeyError::RsaSize { bits: 2047 },
            ),
            (
                rsa_jwk(&[0xff; 1025], &[3]),
                KeyError::RsaSize { bits: 8200 },
            ),
            (rsa_jwk(&[], &[3]), KeyError::RsaSize { bits: 0 }),
            (rsa_jwk(&[0xff; 256], &[]), KeyError::RsaExponent),
            (rsa_jwk(&[0xff; 256], &[0]), KeyError::RsaExponent),
            (rsa_jwk(&[0xff; 256], &[0, 1]), KeyError::RsaExponent),
            (rsa_jwk(&[0xff; 256], &[4]), KeyError::RsaExponent),
            (rsa_jwk(&[0xff; 256], &[0xff; 8]), KeyError::RsaExponent),
            (
                rsa_jwk(&[&[0xff; 255][..], &[0]].concat(), &[3]),
                KeyError::Invalid,
            ),
        ] {
            assert_eq!(fails(&jwk), error, "{jwk}");
        }
        let weak = set(&[ec(""), rsa_jwk(&[0xff; 128], &[3])]);
        assert_eq!(
            fails(&weak).to_string(),
            "key 2 of the set: the RSA key has 1024 bits; 2048 to 8192 are accepted"
        );
        assert_eq!(
            fails(&set(&["1".into()])).to_string().get(..17),
            Some("key 1 of the set:")
        );
    }

    #[test]
    fn kid_picks_the_key() {
        let keys = parse(&set(&[
            ec(r#","kid":"a""#),
            okp(r#","kid":"b""#),
            oct(32, r#","kid":"b""#),
            oct(32, ""),
            r#"{"kty":"new","kid":"z"}"#.into(),
        ]))
        .unwrap();
        assert_eq!(allowed(&keys, Some("a")), ["ES256"]);
        assert_eq!(allowed(&keys, Some("b")), ["HS256", "EdDSA"]);
        assert_eq!(allowed(&keys, None), ["HS256", "ES256", "EdDSA"]);
        for kid in ["", "c", "z", "A"] {
            let refusal = keys.candidates(Some(kid), Algorithm::HS256).err();
            assert_eq!(refusal, Some(Refusal::UnknownKey));
        }
        let refusal = keys.candidates(Some("a"), Algorithm::EdDSA).err();
        assert_eq!(refusal, Some(Refusal::Algorithm));
        assert_eq!(keys.candidates(None, Algorithm::HS256).unwrap().count(), 2);
        // A single key with a kid is not for tokens of another kid.
        let named = parse(&ec(r#","kid":"a""#)).unwrap();
        let refusal = named.candidates(Some("b"), Algorithm::ES256).err();
        assert_eq!(refusal, Some(Refusal::UnknownKey));
    }

    #[test]
    fn pem_must_be_one_public_key() {
        let block = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        let secret = STANDARD.encode(SECRET);
        for (text, error) in [
            (block("PRIVATE KEY", &secret), KeyError::PrivateKey),
            (block("RSA PRIVATE KEY", &secret), KeyError::PrivateKey),
            (
                block("ENCRYPTED PRIVATE KEY", &secret),
                KeyError::PrivateKey,
            ),
            (block("CERTIFICATE", "MAAA"), KeyError::Pem),
            (block("PUBLIC KEY", "MAAA"), KeyError::Invalid),
            (block("PUBLIC KEY", &secret), KeyError::Invalid),
            (block("PUBLIC KEY", ""), KeyError::Invalid),
            (block("PUBLIC KEY", "!"), KeyError::Pem),
            (block("PUBLIC KEY", "MAAA").repeat(2), KeyError::Pem),
            ("-----BEGIN PUBLIC KEY-----".into(), KeyError::Pem),
            (
                "-----BEGIN PUBLIC KEY-----\nMAAA\n-----END KEY-----".into(),
                KeyError::Pem,
            ),
            ("-----BEGIN".into(), KeyError::Pem),
            (
                format!("-----BEGINNING of a secret {SECRET}"),
                KeyError::Pem,
            ),
        ] {
            assert_eq!(fails(&text), error, "{text}");
        }
        assert_eq!(
            KeySet::parse(b"-----BEGIN \xff", false).unwrap_err(),
            KeyError::Pem
        );
        assert_eq!(
            KeySet::parse(b"{\xff", false).unwrap_err(),
            KeyError::NotJson
        );
        assert_eq!(fails("\u{feff}{}"), KeyError::NotJwk);
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

        #[test]
        fn no_jwk_is_a_panic(
            kty in "oct|RSA|EC|OKP", crv in "P-256|P-384|P-521|Ed25519",
            a in "[A-Za-z0-9_-]{0,90}", b in "[A-Za-z0-9_-]{0,90}",
        ) {
            let jwk = format!(
                r#"{{"kty":"{kty}","crv":"{crv}","k":"{a}","n":"{a}","e":"{b}","x":"{a}","y":"{b}"}}"#
            );
            let _any = parse(&jwk);
        }

        #[test]
        fn no_pem_is_a_panic(der in any::<Vec<u8>>(), pkcs1 in any::<bool>()) {
            let label = if pkcs1 { "RSA PUBLIC KEY" } else { "PUBLIC KEY" };
            let body = STANDARD.encode([&[0x30][..], &der].concat());
            let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
            prop_assert!(parse(&text).is_err());
        }
    }
}
