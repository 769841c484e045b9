//! SCRAM-SHA-256 verifiers as PostgreSQL stores them in `rolpassword` (RFC 5802, RFC 7677;
//! PostgreSQL documentation, chapter 53, pg_authid). Pure.
#![forbid(unsafe_code)]

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub const SALT_BYTES: usize = 16;
/// RFC 7677 section 4, and PostgreSQL's default.
pub const MIN_ITERATIONS: u32 = 4_096;

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. Fewer than 4,096 iterations are
/// raised to that. The password is ASCII, which SASLprep leaves as it is.
pub fn verifier(password: &str, salt: &[u8; SALT_BYTES], iterations: u32) -> String {
    let rounds = iterations.max(MIN_ITERATIONS);
    let mut salted = Zeroizing::new([0u8; digest::SHA256_OUTPUT_LEN]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN),
        salt,
        password.as_bytes(),
        salted.as_mut_slice(),
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_slice());
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${rounds}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key.as_ref()),
        STANDARD.encode(server_key.as_ref())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3: user "user", password "pencil". The proof and the server signature that
    /// it prints must follow from our two keys.
    #[test]
    fn scram_verifier_agrees_with_rfc_7677() {
        let salt: [u8; SALT_BYTES] = STANDARD
            .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
            .ok()
            .and_then(|salt| salt.try_into().ok())
            .unwrap_or_default();
        let verifier = verifier("pencil", &salt, 4_096);
        let keys = verifier.strip_prefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$");
        let (stored_key, server_key) = keys
            .and_then(|keys| keys.split_once(':'))
            .unwrap_or_default();
        let decode = |text: &str| STANDARD.decode(text).unwrap_or_default();
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign = |key: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        };
        assert_eq!(
            STANDARD.encode(sign(&decode(server_key))),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        // ClientKey = ClientProof XOR ClientSignature; StoredKey = H(ClientKey).
        let proof = decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let client_key: Vec<u8> = proof
            .iter()
            .zip(sign(&decode(stored_key)))
            .map(|(a, b)| a ^ b)
            .collect();
        assert_eq!(
            STANDARD.encode(digest::digest(&digest::SHA256, &client_key).as_ref()),
            stored_key
        );
    }

    #[test]
    fn scram_verifier_never_goes_below_the_standard() {
        assert!(verifier("x", &[0; SALT_BYTES], 1).starts_with("SCRAM-SHA-256$4096:"));
        assert!(verifier("x", &[0; SALT_BYTES], 5_000).starts_with("SCRAM-SHA-256$5000:"));
    }
}
