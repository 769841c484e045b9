//! `KeySet::parse` on anything. The first byte is `b` for base64; the rest is the key.

use crate::jwt::{self, KeySet, Policy};
use crate::signed::{NOW, ORIGINALS, sign};

pub fn run(data: &[u8]) {
    let Some((&form, text)) = data.split_first() else {
        return;
    };
    let is_base64 = form == b'b';
    let keys = match KeySet::parse(text, is_base64) {
        Ok(keys) => keys,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let shown = format!("{keys:?}");
    assert!(shown.len() < 40, "a key set shows more than a count");
    // Whatever key it is, it must not trip over tokens for other keys.
    for token in ORIGINALS.iter() {
        let _ = jwt::verify(token, &keys, &Policy::default(), NOW);
    }
    if !is_base64 {
        public_text_is_no_secret(text, &keys);
    }
}

/// A public key, which everybody has, must not work as the secret of an HMAC (RFC 8725 section 2.1).
fn public_text_is_no_secret(text: &[u8], keys: &KeySet) {
    let trimmed = text.trim_ascii();
    if !trimmed.starts_with(b"{") && !trimmed.starts_with(b"-----BEGIN") {
        return;
    }
    for secret in [text, trimmed] {
        // The one way to hold that secret is a JWK that says so, and it would have to contain itself.
        let token = sign(br#"{"alg":"HS256"}"#, br#"{"role":"web"}"#, secret);
        let accepted = jwt::verify(&token, keys, &Policy::default(), NOW);
        assert!(accepted.is_err(), "a document taken as a secret");
    }
}
