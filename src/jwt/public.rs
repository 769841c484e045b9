//! Texts that must never serve as an HMAC secret, because others can know them: keys in forms that
//! are not read, addresses and names of files where keys are. Whoever knows a secret forges tokens.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A prime of 512 bits, the shortest that ever was an RSA modulus in use.
const MIN_MODULUS_BYTES: usize = 64;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// How the algorithms of public keys and of certificates' signatures begin: RSA and DH, DSA, EC,
/// and X25519, X448, Ed25519, Ed448 (RFC 3279, RFC 5480, RFC 8410).
const ALGORITHMS: [&[u8]; 6] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x03],
    &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04],
    &[0x2b, 0x65],
];

/// What a text looks like that was written as a secret; `None` when it may be one.
pub(super) fn written(text: &[u8]) -> Option<&'static str> {
    match text.trim_ascii().first() {
        Some(b'[') => Some("starts like a JSON array"),
        Some(b'"') => Some("starts like a JSON string"),
        Some(b'@') => Some("starts like the name of a file"),
        _ => decoded(text),
    }
}

/// The same of bytes that were decoded from base64, of which any may come first by chance.
pub(super) fn decoded(bytes: &[u8]) -> Option<&'static str> {
    // Without the second bytes of UTF-16 and the backslashes of JSON in a JSON string.
    let plain: Vec<u8> = bytes
        .iter()
        .filter(|byte| !matches!(byte, 0 | b'\\'))
        .map(u8::to_ascii_lowercase)
        .collect();
    let plain = plain.trim_ascii();
    let contains = |part: &[u8]| plain.windows(part.len()).any(|window| window == part);
    let starts = |part: &[u8]| plain.starts_with(part);
    if contains(b"--begin") || contains(b"-- begin") || contains(b"-----end") {
        Some("holds a line of PEM")
    } else if contains(b"\"kty\"") {
        Some("holds a JWK")
    } else if contains(b"http://") || contains(b"https://") {
        Some("holds a URL")
    } else if starts(b"ssh-")
        || starts(b"ecdsa-sha2-")
        || starts(b"sk-") && contains(b"@openssh.com")
    {
        Some("starts like an SSH public key")
    } else if is_public_der(bytes) || from_base64(bytes).is_some_and(|der| is_public_der(&der)) {
        Some("is a public key or certificate in DER")
    } else {
        None
    }
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut text: Vec<u8> = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .copied()
        .collect();
    while text.last() == Some(&b'=') {
        text.pop();
    }
    STANDARD_NO_PAD
        .decode(&text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(&text))
        .ok()
}

/// A SubjectPublicKeyInfo or a certificate with a known algorithm (RFC 5280 section 4.1), or an
/// RSAPublicKey (RFC 8017 appendix A.1.1). All lengths must fit to the last byte, which no random
/// secret achieves.
fn is_public_der(bytes: &[u8]) -> bool {
    let Some(parts) = only(bytes).and_then(elements) else {
        return false;
    };
    match parts.as_slice() {
        [(SEQUENCE, algorithm), (BIT_STRING, _)]
        | [(SEQUENCE, _), (SEQUENCE, algorithm), (BIT_STRING, _)] => is_known(algorithm),
        [(INTEGER, modulus), (INTEGER, _)] => modulus.len() >= MIN_MODULUS_BYTES,
        _ => false,
    }
}

/// An AlgorithmIdentifier: an OID that is known, and at most one parameter.
fn is_known(algorithm: &[u8]) -> bool {
    match elements(algorithm).as_deref() {
        Some([(OBJECT_IDENTIFIER, oid)] | [(OBJECT_IDENTIFIER, oid), _]) => {
            ALGORITHMS.iter().any(|known| oid.starts_with(known))
        }
        _ => false,
    }
}

/// What is in the one sequence that the bytes are.
fn only(bytes: &[u8]) -> Option<&[u8]> {
    match element(bytes)? {
        ((SEQUENCE, content), []) => Some(content),
        _ => None,
    }
}

type Element<'a> = (u8, &'a [u8]);

fn elements(mut bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (first, rest) = element(bytes)?;
        found.push(first);
        bytes = rest;
    }
    Some(found)
}

/// The first element with its tag, and the rest; the length in either form (X.690 section 8.1.3).
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, &digit| length << 8 | usize::from(digit));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(((tag, content), rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::jwt::{KeyError, KeySet};

    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap();
        let mut der = vec![tag, 0x82];
        der.extend(length.to_be_bytes());
        der.extend(content);
        der
    }

    fn public_key_info(oid: &[u8], key: &[u8]) -> Vec<u8> {
        let oid = [&[OBJECT_IDENTIFIER, u8::try_from(oid.len()).unwrap()], oid].concat();
        let algorithm = der(SEQUENCE, &[&oid]);
        der(SEQUENCE, &[&algorithm, &der(BIT_STRING, &[&[0], key])])
    }

    #[test]
    fn public_material_is_never_taken_for_a_secret() {
        let rsa = public_key_info(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], &[7; 270]);
        let short = [
            &[0x30, 42, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 33, 0],
            &[9; 32][..],
        ]
        .concat();
        let pkcs1 = der(
            SEQUENCE,
            &[&der(INTEGER, &[&[0], &[0xc1; 256]]), &[2, 3, 1, 0, 1]],
        );
        let sha256_rsa = der(
            SEQUENCE,
            &[&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0]],
        );
        let body = der(SEQUENCE, &[&[0xa0, 3, 2, 1, 2], &rsa]);
        let certificate = der(
            SEQUENCE,
            &[&body, &sha256_rsa, &der(BIT_STRING, &[&[3; 257]])],
        );
        let in_base64 = [&rsa, &short, &pkcs1, &certificate].map(|der| STANDARD.encode(der));
        let utf16: Vec<u8> = std::iter::once(0xfeff)
            .chain(EC.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut texts: Vec<Vec<u8>> = vec![
            "[not quite JSON, but more than 32 bytes".into(),
            serde_json::to_vec(&format!(r#"{{"keys":[{EC}]}}"#)).unwrap(),
            format!("jwks: {EC}").into(),
            format!("'{}'", EC.replace('"', "\\\"")).into(),
            utf16,
            b"https://login.example.org/.well-known/jwks.json".into(),
            b"HTTP://login.example.org/.well-known/jwks.json".into(),
            b"key: https://login.example.org/.well-known/jwks.json".into(),
            b"@/etc/postgresql/keys/login.example.org.pem".into(),
            b"  @/etc/postgresql/keys/login.example.org.pem".into(),
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"
                .into(),
            b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBK8v".into(),
            b"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIF".into(),
            b"# our key\n-----BEGIN PUBLIC KEY-----\nMAAA\n-----END PUBLIC KEY-----".into(),
            b"----BEGIN PUBLIC KEY-----\nMAAA\n-----END PUBLIC KEY-----".into(),
            b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3a".into(),
            format!("{}\n-----END PUBLIC KEY-----", STANDARD.encode(&short)).into(),
            "\u{feff}@/etc/postgresql/keys/login.example.org.pem".into(),
            rsa.clone(),
        ];
        texts.extend(in_base64.iter().map(|text| text.clone().into_bytes()));
        texts.push(URL_SAFE_NO_PAD.encode(&certificate).into_bytes());
        let [first, ..] = &in_base64;
        texts.push(first.as_bytes().chunks(64).collect::<Vec<_>>().join(&b'\n'));
        for text in texts {
            let shown = String::from_utf8_lossy(&text);
            let error = KeySet::parse(&text, false).err();
            assert!(
                matches!(error, Some(KeyError::Public(_))),
                "{shown}: {error:?}"
            );
        }
        // The same in base64, when that is how the secret is said to be written.
        for public in [
            rsa,
            short,
            pkcs1,
            certificate,
            b"https://login.example.org/.well-known/jwks.json".into(),
            format!("jwks: {EC}").into(),
            serde_json::to_vec(EC).unwrap(),
        ] {
            let text = STANDARD.encode(&public);
            let error = KeySet::parse(text.as_bytes(), true).map(|_| ());
            assert!(error.is_err(), "{}", String::from_utf8_lossy(&public));
        }
    }

    #[test]
    fn an_array_of_jwks_is_a_set() {
        let array = format!(" [{EC},{EC}]");
        assert_eq!(
            format!("{:?}", KeySet::parse(array.as_bytes(), false).unwrap()),
            "KeySet(2 keys)"
        );
        for broken in [
            "[]",
            "[1]",
            "[[]]",
            "[{}]",
            "[{\"kty\":\"oct\",\"kty\":\"oct\"}]",
        ] {
            assert!(KeySet::parse(broken.as_bytes(), false).is_err(), "{broken}");
        }
    }

    #[test]
    fn secrets_that_only_resemble_public_material_are_secrets() {
        let wrong_oid = public_key_info(&[0x2a, 0x03, 0x04], &[7; 270]);
        let mut longer = public_key_info(&[0x2b, 0x65, 0x70], &[7; 32]);
        longer.push(0);
        for secret in [
            wrong_oid,
            longer,
            der(SEQUENCE, &[&[INTEGER, 1, 1], &[INTEGER, 29], &[5; 29]]),
        ] {
            assert!(KeySet::parse(STANDARD.encode(&secret).as_bytes(), false).is_ok());
            assert!(KeySet::parse(STANDARD.encode(&secret).as_bytes(), true).is_ok());
        }
        for secret in [
            "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA",
            "BEGINNING-of-a-secret-that-is-no-PEM-at-all",
            "ssh is not what this secret is for, nor http:",
            "kty is only a word in this secret of ours",
        ] {
            assert!(KeySet::parse(secret.as_bytes(), false).is_ok(), "{secret}");
        }
        for first in *b"[\"@" {
            let secret = STANDARD.encode([&[first][..], &[0x91; 40]].concat());
            assert!(KeySet::parse(secret.as_bytes(), true).is_ok(), "{first}");
        }
    }

    proptest! {
        #[test]
        fn random_secrets_are_accepted(secret in prop::collection::vec(any::<u8>(), 32..80)) {
            prop_assume!(secret.trim_ascii().len() >= 32 && secret.first() != Some(&b'{'));
            let standard = STANDARD.encode(&secret);
            prop_assert!(KeySet::parse(standard.as_bytes(), false).is_ok());
            prop_assert!(KeySet::parse(standard.as_bytes(), true).is_ok());
        }
    }
}
