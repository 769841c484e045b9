//! Tokens, right and wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret of every test server.
pub const SECRET: &str = "sixty-four-bytes-that-only-the-test-servers-of-scope_roles-know!";

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    since.as_secs() as i64
}

/// A token that the servers trust.
pub fn sign(claims: &Value) -> String {
    sign_with(claims, SECRET, Algorithm::HS256)
}

pub fn sign_with(claims: &Value, secret: &str, algorithm: Algorithm) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a secret");
    encode(&Header::new(algorithm), claims, &key).expect("a token")
}

/// A token rightly signed over any text, also text that no library would write.
pub fn sign_raw(header: &str, payload: &str) -> String {
    sign_any(header, payload, SECRET)
}

/// A token signed with the empty secret, with which the library signs nothing.
pub fn sign_with_nothing(claims: &Value) -> String {
    sign_any(r#"{"alg":"HS256"}"#, &claims.to_string(), "")
}

fn sign_any(header: &str, payload: &str, secret: &str) -> String {
    let message = format!("{}.{}", base64url(header), base64url(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = base64url(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token with an empty signature.
pub fn unsigned(header: &str, payload: &str) -> String {
    format!("{}.{}.", base64url(header), base64url(payload))
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair of an identity provider, made for one run of the tests.
pub struct Key {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    pub fn rsa(kid: &str) -> Key {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Key::new(kid, Pair::Rsa(pair))
    }

    /// The one of a PEM text, as openssl writes it.
    pub fn rsa_of(pem: &str) -> Key {
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(text).expect("base64");
        Key::new(
            "pem",
            Pair::Rsa(RsaKeyPair::from_pkcs8(&der).expect("an RSA key")),
        )
    }

    pub fn p256(kid: &str) -> Key {
        Key::ec(kid, &signature::ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub fn p384(kid: &str) -> Key {
        Key::ec(kid, &signature::ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    pub fn p521(kid: &str) -> Key {
        Key::ec(kid, &signature::ECDSA_P521_SHA512_FIXED_SIGNING)
    }

    pub fn ed25519(kid: &str) -> Key {
        let pair = Ed25519KeyPair::generate().expect("an Ed25519 key");
        Key::new(kid, Pair::Ed(pair))
    }

    fn ec(kid: &str, curve: &'static EcdsaSigningAlgorithm) -> Key {
        let pair = EcdsaKeyPair::generate(curve).expect("a key on the curve");
        Key::new(kid, Pair::Ec(pair))
    }

    fn new(kid: &str, pair: Pair) -> Key {
        Key {
            kid: kid.to_owned(),
            pair,
        }
    }

    /// A token whose header names this key.
    pub fn token(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": self.kid});
        self.token_with(&header, claims)
    }

    /// A token under any header, signed as its `alg` says, or for an `alg` of another family with the usual one of this key.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            base64url(header.to_string()),
            base64url(claims.to_string())
        );
        let bytes = message.as_bytes();
        let rng = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &dyn signature::RsaEncoding = match header["alg"].as_str() {
                    Some("RS384") => &signature::RSA_PKCS1_SHA384,
                    Some("RS512") => &signature::RSA_PKCS1_SHA512,
                    Some("PS256") => &signature::RSA_PSS_SHA256,
                    Some("PS384") => &signature::RSA_PSS_SHA384,
                    Some("PS512") => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &rng, bytes, &mut signature)
                    .expect("a signature");
                signature
            }
            Pair::Ec(pair) => pair.sign(&rng, bytes).expect("a signature").as_ref().into(),
            Pair::Ed(pair) => pair.sign(bytes).as_ref().into(),
        };
        format!("{message}.{}", base64url(signature))
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                json!({
                    "kty": "RSA", "kid": self.kid,
                    "n": base64url(key.modulus().big_endian_without_leading_zero()),
                    "e": base64url(key.exponent().big_endian_without_leading_zero()),
                })
            }
            Pair::Ec(pair) => {
                // SEC 1: the byte 4, then both coordinates.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "kid": self.kid, "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Pair::Ed(pair) => {
                let x = base64url(pair.public_key());
                json!({"kty": "OKP", "kid": self.kid, "crv": "Ed25519", "x": x})
            }
        }
    }

    /// The public key as a PEM text, the way `openssl pkey -pubout` writes it.
    pub fn pem(&self) -> String {
        let der: PublicKeyX509Der = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ec(pair) => pair.public_key().as_der(),
            Pair::Ed(pair) => pair.public_key().as_der(),
        }
        .expect("a public key");
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|i| &text[i..text.len().min(i + 64)])
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }
}

/// The public keys as a JWKS.
pub fn jwks(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}
