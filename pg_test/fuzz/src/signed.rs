//! Tokens that verify: the fuzzer cannot guess a signature, so what is behind one is reached by signing here.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::jwt::KeySet;

pub const SECRET: &[u8] = b"a-secret-that-the-fuzzer-does-not-have-and-cannot-compute";

/// One second before the tokens of RFC 7515 appendix A expire, in microseconds.
pub const NOW: i64 = 1_300_819_379_000_000;

const HEADER: &str = r#"{"alg":"HS256"}"#;
const PAYLOAD: &str = r#"{"role":"web","exp":1300819380,"iat":1300819300,"iss":"joe","aud":["db","api"],"sub":"7","jti":"a"}"#;

/// RFC 7515 appendix A.2 and A.3.
const RFC_PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RS256_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RS256_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const ES256_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const ES256_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const ES256_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

/// Every key of [`ORIGINALS`].
pub fn keys() -> &'static KeySet {
    // Of each thread, because the library's verifiers are not for several.
    thread_local! {
        static KEYS: &'static KeySet = Box::leak(Box::new(key_set()));
    }
    KEYS.with(|keys| *keys)
}

fn key_set() -> KeySet {
    let secret = base64url(SECRET);
    let ed25519 = base64url(ed25519().public_key());
    let jwks = format!(
        r#"{{"keys":[{{"kty":"oct","kid":"hmac","k":"{secret}"}},{{"kty":"RSA","kid":"rsa","n":"{RS256_MODULUS}","e":"AQAB"}},
        {{"kty":"EC","crv":"P-256","x":"{ES256_X}","y":"{ES256_Y}"}},{{"kty":"OKP","crv":"Ed25519","x":"{ed25519}"}}]}}"#
    );
    KeySet::parse(jwks.as_bytes(), false).expect("the key set")
}

/// Tokens that verify with [`keys`] at [`NOW`], one of each family.
pub static ORIGINALS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let ed25519_input = format!("{}.{}", base64url(r#"{"alg":"EdDSA"}"#), base64url(PAYLOAD));
    let ed25519_signature = base64url(ed25519().sign(ed25519_input.as_bytes()));
    vec![
        sign(HEADER.as_bytes(), PAYLOAD.as_bytes(), SECRET),
        sign(
            br#"{"typ":"JWT","kid":"hmac","alg":"HS256"}"#,
            br#"{"role":"web"}"#,
            SECRET,
        ),
        format!(
            "{}.{RFC_PAYLOAD}.{RS256_SIGNATURE}",
            base64url(r#"{"alg":"RS256"}"#)
        ),
        format!(
            "{}.{RFC_PAYLOAD}.{ES256_SIGNATURE}",
            base64url(r#"{"alg":"ES256"}"#)
        ),
        format!("{ed25519_input}.{ed25519_signature}"),
    ]
});

/// A token over any bytes, rightly signed with HMAC-SHA256 whatever its header says.
pub fn sign(header: &[u8], payload: &[u8], secret: &[u8]) -> String {
    let input = format!("{}.{}", base64url(header), base64url(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = base64url(hmac::sign(&key, input.as_bytes()));
    format!("{input}.{signature}")
}

/// The same with the plainest header.
pub fn sign_payload(payload: &[u8]) -> String {
    sign(HEADER.as_bytes(), payload, SECRET)
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn ed25519() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed")
}
