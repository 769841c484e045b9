//! The check of a signature. It is jsonwebtoken's, with a provider in place of the library's own,
//! which parses a public key at every token: here that is done once a key. (It costs more than half
//! of the check of an RSA signature.)

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils, aws_lc};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm as Known, AlgorithmFamily, DecodingKey, DecodingKeyKind};

use super::Algorithm;

/// Checks the signatures of one algorithm with one key.
pub(super) struct Check {
    pub(super) algorithm: Algorithm,
    verifier: Box<dyn Verifier<Vec<u8>>>,
}

impl Check {
    /// One for each algorithm that the key is for; none when it is not a key of its family.
    pub(super) fn all(key: &DecodingKey) -> Vec<Self> {
        let mut checks: Vec<Self> = key
            .family()
            .algorithms()
            .iter()
            .filter_map(|known| {
                let verifier = (PROVIDER.verifier_factory)(known, key).ok()?;
                Some(Self {
                    algorithm: Algorithm::Library(*known),
                    verifier,
                })
            })
            .collect();
        checks.extend(Self::es512(key));
        checks
    }

    /// The library knows no ES512. Its keys are EC keys like the others.
    fn es512(key: &DecodingKey) -> Option<Self> {
        if key.family() != AlgorithmFamily::Ec {
            return None;
        }
        let point = key.try_get_as_bytes().ok()?;
        let parsed = ParsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point).ok()?;
        Some(Self {
            algorithm: Algorithm::ES512,
            verifier: Box::new(Parsed {
                key: parsed,
                hash: Some(&SHA512),
            }),
        })
    }

    /// Whether the signature over `message` holds; in constant time for a secret.
    pub(super) fn holds(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        self.verifier.verify(message, signature).is_ok()
    }
}

/// The library's cryptography on aws-lc, with other verifiers.
pub(super) static PROVIDER: CryptoProvider = CryptoProvider {
    verifier_factory: verifier,
    signer_factory: aws_lc::DEFAULT_PROVIDER.signer_factory,
    key_utils: KeyUtils {
        ..aws_lc::DEFAULT_PROVIDER.key_utils
    },
};

fn verifier(algorithm: &Known, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let unfit = || Error::from(ErrorKind::InvalidKeyFormat);
    if algorithm.family() != key.family() {
        return Err(unfit());
    }
    if let Some(needed) = Algorithm::Library(*algorithm).secret_bytes() {
        if key.try_get_as_bytes()?.len() < needed {
            return Err(unfit());
        }
        // It makes the key ready once, and aws-lc wipes it.
        return (aws_lc::DEFAULT_PROVIDER.verifier_factory)(algorithm, key);
    }
    let parsed = match (algorithm, key.kind()) {
        (_, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(rsa(*algorithm).ok_or_else(unfit)?)
        }
        (Known::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        }
        (Known::ES384, DecodingKeyKind::SecretOrDer(point)) => {
            ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
        }
        (Known::EdDSA, DecodingKeyKind::SecretOrDer(bytes)) => {
            ParsedPublicKey::new(&ED25519, bytes)
        }
        _ => return Err(unfit()),
    };
    let verifier = Parsed {
        key: parsed.map_err(|_| unfit())?,
        hash: hash(*algorithm),
    };
    Ok(Box::new(Named(*algorithm, verifier)))
}

fn rsa(algorithm: Known) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Known::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Known::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Known::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Known::PS256 => &RSA_PSS_2048_8192_SHA256,
        Known::PS384 => &RSA_PSS_2048_8192_SHA384,
        Known::PS512 => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// What the algorithm signs a hash by; `None`: it signs the message.
fn hash(algorithm: Known) -> Option<&'static digest::Algorithm> {
    Some(match algorithm {
        Known::RS256 | Known::PS256 | Known::ES256 => &SHA256,
        Known::RS384 | Known::PS384 | Known::ES384 => &SHA384,
        Known::RS512 | Known::PS512 => &SHA512,
        _ => return None,
    })
}

/// A public key, parsed.
struct Parsed {
    key: ParsedPublicKey,
    hash: Option<&'static digest::Algorithm>,
}

impl Verifier<Vec<u8>> for Parsed {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        match self.hash {
            // Of a message aws-lc makes, copies and wipes contexts before it does the same with its hash.
            Some(hash) => (self.key).verify_digest_sig(&digest::digest(hash, message), signature),
            None => self.key.verify_sig(message, signature),
        }
        .map_err(|_| signature::Error::new())
    }
}

/// The same under its algorithm's name, as the library asks for it.
struct Named(Known, Parsed);

impl Verifier<Vec<u8>> for Named {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.1.verify(message, signature)
    }
}

impl JwtVerifier for Named {
    fn algorithm(&self) -> Known {
        self.0
    }
}
