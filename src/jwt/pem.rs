//! A public key or a certificate in PEM. What is in the block goes to jsonwebtoken as DER, which aws-lc reads
//! strictly. The library's own reader of PEM would take more for a key: the first bit string in any
//! structure that has the right OID somewhere, a certificate's or a private key's too. Certificates are read by rustls-webpki, for
//! their key alone: who signed them, and until when they hold, does not matter where an administrator trusts the key.

use jsonwebtoken::DecodingKey;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::verifier::{Check, PROVIDER};
use super::{KeyError, key, rsa};

/// Reads the one block that the text must be: SubjectPublicKeyInfo, PKCS #1 for RSA, or a certificate.
pub(super) fn read(text: &str) -> Result<DecodingKey, KeyError> {
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
    if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY" | CERTIFICATE) {
        return Err(KeyError::Pem);
    }
    // A second block would have dashes, which the URL alphabet would let pass.
    if body.contains(['-', '_']) {
        return Err(KeyError::Pem);
    }
    let der = key::decode_base64(body.as_bytes()).map_err(|_| KeyError::Pem)?;
    if label == CERTIFICATE {
        let certificate = CertificateDer::from(der.as_slice());
        let read = EndEntityCert::try_from(&certificate).map_err(|_| KeyError::Certificate)?;
        return public_key(&read.subject_public_key_info(), true);
    }
    public_key(&der, label == "PUBLIC KEY")
}

const CERTIFICATE: &str = "CERTIFICATE";

/// Reads a SubjectPublicKeyInfo (`is_info`), or an RSAPublicKey of PKCS #1.
fn public_key(der: &[u8], is_info: bool) -> Result<DecodingKey, KeyError> {
    // aws-lc also takes bare points and keys, which are not what PEM holds: 0x30 starts a sequence,
    // and no sequence with a public key is as short as a bare Ed25519 key.
    if der.first() != Some(&0x30) || der.len() <= 32 {
        return Err(KeyError::Invalid);
    }
    if is_info {
        for key in [DecodingKey::from_ec_der(der), DecodingKey::from_ed_der(der)] {
            if !Check::all(&key).is_empty() {
                return Ok(key);
            }
        }
    }
    let read = PROVIDER.key_utils.rsa_pub_components_from_public_key;
    let (modulus, exponent) = read(der).map_err(|_| KeyError::Invalid)?;
    rsa::key(&modulus, &exponent)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::jwt::KeySet;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn parse(text: &str) -> Result<KeySet, KeyError> {
        KeySet::parse(text.as_bytes(), false)
    }

    fn fails(text: &str) -> KeyError {
        parse(text).unwrap_err()
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
            (block("CERTIFICATE", "MAAA"), KeyError::Certificate),
            (block("X509 CRL", "MAAA"), KeyError::Pem),
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

    proptest! {
        #[test]
        fn no_pem_is_a_panic(der in any::<Vec<u8>>(), pkcs1 in any::<bool>()) {
            let label = if pkcs1 { "RSA PUBLIC KEY" } else { "PUBLIC KEY" };
            let body = STANDARD.encode([&[0x30][..], &der].concat());
            let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
            prop_assert!(parse(&text).is_err());
        }
    }
}
