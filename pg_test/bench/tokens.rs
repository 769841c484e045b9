//! Keys of each family, and as many different tokens as a row asks for.

use std::cell::Cell;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RsaKeyPair, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::cluster::harness::{SECRET, now};

pub const ROLE: &str = "bench_web";

#[derive(Clone, Copy, PartialEq)]
pub enum Family {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

pub struct Token {
    pub text: String,
    /// What the signature covers, and the signature: what a bare verification is given.
    pub message: String,
    pub signature: Vec<u8>,
}

pub struct Keys {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
    issued: Cell<u64>,
}

impl Keys {
    pub fn generate() -> Keys {
        Keys {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key"),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key"),
            ed25519: Ed25519KeyPair::generate().expect("an Ed25519 key"),
            random: SystemRandom::new(),
            issued: Cell::new(0),
        }
    }

    /// The key set that verifies every family, as an administrator would configure it.
    pub fn jwks(&self) -> String {
        let rsa = self.rsa.public_key();
        let modulus = encode(rsa.modulus().big_endian_without_leading_zero());
        let exponent = encode(rsa.exponent().big_endian_without_leading_zero());
        // An uncompressed point: a byte that says so, x, y.
        let (x, y) = self.p256.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (encode(x), encode(y));
        let ed25519 = encode(self.ed25519.public_key());
        let secret = encode(SECRET);
        format!(
            r#"{{"keys":[{{"kty":"oct","kid":"HS256","k":"{secret}"}},{{"kty":"RSA","kid":"RS256","n":"{modulus}","e":"{exponent}"}},{{"kty":"EC","kid":"ES256","crv":"P-256","x":"{x}","y":"{y}"}},{{"kty":"OKP","kid":"EdDSA","crv":"Ed25519","x":"{ed25519}"}}]}}"#
        )
    }

    /// A payload of the size that identity providers issue, unlike every other so far.
    pub fn payload(&self) -> String {
        let number = self.issued.replace(self.issued.get() + 1);
        let iat = now() - 60;
        let exp = iat + 7200;
        format!(
            r#"{{"iss":"https://login.example.com/auth/v1","sub":"6f1c2c8e-5d0b-4a53-9b7e-{number:012}","aud":"authenticated","exp":{exp},"iat":{iat},"email":"somebody@example.com","role":"{ROLE}","aal":"aal1","session_id":"0b8a7f54-3d5c-4d8e-8f11-2f6f5f0d9b7c","is_anonymous":false}}"#
        )
    }

    /// The same of another issuer, with what a token that is good once must have.
    pub fn payload_of(&self, issuer: &str) -> String {
        let iat = now();
        let old = format!("\"iat\":{}", iat - 60);
        let number = self.issued.get();
        self.payload()
            .replace("https://login.example.com/auth/v1", issuer)
            .replace(&old, &format!("\"iat\":{iat},\"jti\":\"{number:036}\""))
    }

    pub fn token(&self, family: Family) -> Token {
        self.sign(family, &self.payload())
    }

    pub fn tokens(&self, family: Family, count: usize) -> Vec<Token> {
        (0..count).map(|_| self.token(family)).collect()
    }

    pub fn sign(&self, family: Family, payload: &str) -> Token {
        let alg = family.name();
        let header = format!(r#"{{"alg":"{alg}","kid":"{alg}","typ":"JWT"}}"#);
        let message = format!("{}.{}", encode(header), encode(payload));
        let bytes = message.as_bytes();
        let signature = match family {
            Family::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
                hmac::sign(&key, bytes).as_ref().to_vec()
            }
            Family::Rs256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &self.random, bytes, &mut signature)
                    .expect("a signature");
                signature
            }
            Family::Es256 => {
                let signature = self.p256.sign(&self.random, bytes).expect("a signature");
                signature.as_ref().to_vec()
            }
            Family::EdDsa => self.ed25519.sign(bytes).as_ref().to_vec(),
        };
        Token {
            text: format!("{message}.{}", encode(&signature)),
            message,
            signature,
        }
    }

    /// The public key in the form that verifies fastest: parsed once.
    pub fn parsed(&self, family: Family) -> ParsedPublicKey {
        let (algorithm, key): (&'static dyn VerificationAlgorithm, &[u8]) = match family {
            Family::Hs256 => panic!("a secret is no public key"),
            Family::Rs256 => (&RSA_PKCS1_2048_8192_SHA256, self.rsa.public_key().as_ref()),
            Family::Es256 => (&ECDSA_P256_SHA256_FIXED, self.p256.public_key().as_ref()),
            Family::EdDsa => (&ED25519, self.ed25519.public_key().as_ref()),
        };
        ParsedPublicKey::new(algorithm, key).expect("a public key")
    }
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::Hs256 => "HS256",
            Family::Rs256 => "RS256",
            Family::Es256 => "ES256",
            Family::EdDsa => "EdDSA",
        }
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
