//! Keys as JWK and JWKS (RFC 7517, RFC 7518 section 6, RFC 8037 section 2), each for what its `use`,
//! `key_ops` and `alg` allow (RFC 8725 section 3.1).
//!
//! The members go to jsonwebtoken's `DecodingKey`, not to its `Jwk`: reading that copies all members,
//! `k` and `d` too, to where nothing wipes them; one certificate of a wrong form fails the whole set;
//! null counts as absent; ES512 as unknown; and what is wrong with a key is not told.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use zeroize::Zeroizing;

use super::json::{self, JsonError};
use super::key::{self, Key};
use super::{KeyError, pem, rsa};

/// Reads a JWK, a JWKS, or certificates by their kid.
pub(super) fn one_or_set(text: &str) -> Result<Vec<Key>, KeyError> {
    // Every error of the reader is one for the administrator: the text is not what it should be.
    let members = Members::read(text, KeyError::NotJson)?;
    match members.get("keys") {
        Some(keys) if keys.starts_with('[') => list(keys),
        Some(_) => Err(KeyError::Member("keys")),
        None if members.get("kty").is_none() => members.certificates(),
        None => Ok(vec![members.key()?.ok_or(KeyError::NotUsable)?]),
    }
}

/// The keys of an array of JWKs; those for something other than verifying signatures are left out.
pub(super) fn list(text: &str) -> Result<Vec<Key>, KeyError> {
    let mut keys = Vec::new();
    for (index, text) in json::elements(text).enumerate() {
        let key = Members::read(text, KeyError::NotJwk)
            .and_then(|members| members.key())
            .map_err(|error| in_set(index, error))?;
        keys.extend(key);
    }
    if keys.is_empty() {
        return Err(KeyError::NoUsableKey);
    }
    Ok(keys)
}

fn in_set(index: usize, error: KeyError) -> KeyError {
    KeyError::InSet {
        number: index + 1,
        error: Box::new(error),
    }
}

struct Members<'a>(Vec<json::Member<'a>>);

impl<'a> Members<'a> {
    fn read(text: &'a str, error: KeyError) -> Result<Self, KeyError> {
        json::object(text).map(Self).map_err(|_: JsonError| error)
    }

    /// The key; `None` when it is for something other than verifying signatures.
    fn key(&self) -> Result<Option<Key>, KeyError> {
        if !self.is_for_verifying()? {
            return Ok(None);
        }
        let only = match self.string("alg")?.map(|name| name.parse()) {
            None => None,
            Some(Ok(algorithm)) => Some(algorithm),
            Some(Err(_)) => return Ok(None),
        };
        let kty = self.string("kty")?.ok_or(KeyError::Member("kty"))?;
        let key = match kty.as_str() {
            "oct" => Some(key::secret(&self.bytes("k")?, only)?),
            "RSA" => Some(rsa::key(&self.bytes("n")?, &self.bytes("e")?)?),
            "EC" => self.point()?,
            "OKP" => self.ed25519()?,
            _ => None,
        };
        key.map(|key| Key::new(&key, only, || self.string("kid")))
            .transpose()
    }

    /// The keys of certificates in PEM, each under its `kid`, as Google and Firebase publish them.
    fn certificates(&self) -> Result<Vec<Key>, KeyError> {
        let Self(members) = self;
        let texts: Option<Vec<_>> = members.iter().map(|one| json::string(one.value)).collect();
        let texts = texts.filter(|texts| {
            let is_pem = |text: &Cow<str>| text.trim_start().starts_with("-----BEGIN ");
            !texts.is_empty() && texts.iter().all(is_pem)
        });
        let keys = members.iter().zip(texts.ok_or(KeyError::NotJwk)?);
        let read = |(number, (member, text)): (usize, (&json::Member<'_>, Cow<str>))| {
            pem::read(&text)
                .and_then(|key| Key::new(&key, None, || Ok(Some(member.name.to_string()))))
                .map_err(|error| in_set(number, error))
        };
        keys.enumerate().map(read).collect()
    }

    /// Whether `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3) allow verifying.
    fn is_for_verifying(&self) -> Result<bool, KeyError> {
        if self.string("use")?.is_some_and(|purpose| purpose != "sig") {
            return Ok(false);
        }
        match self.get("key_ops") {
            None => Ok(true),
            Some(list) if list.starts_with('[') => Ok(json::elements(list)
                .any(|name| json::string(name).is_some_and(|name| name == "verify"))),
            Some(_) => Err(KeyError::Member("key_ops")),
        }
    }

    /// An EC key as an uncompressed point (SEC 1); `None` for an unknown curve.
    fn point(&self) -> Result<Option<DecodingKey>, KeyError> {
        let crv = self.string("crv")?.ok_or(KeyError::Member("crv"))?;
        let coordinate_bytes = match crv.as_str() {
            "P-256" => 32,
            "P-384" => 48,
            "P-521" => 66,
            _ => return Ok(None),
        };
        let mut point = vec![4];
        for name in ["x", "y"] {
            point.extend_from_slice(&self.sized(name, coordinate_bytes)?);
        }
        Ok(Some(DecodingKey::from_ec_der(&point)))
    }

    /// An Ed25519 key; `None` for another curve.
    fn ed25519(&self) -> Result<Option<DecodingKey>, KeyError> {
        match self.string("crv")?.as_deref() {
            None => Err(KeyError::Member("crv")),
            Some("Ed25519") => Ok(Some(DecodingKey::from_ed_der(&self.sized("x", 32)?))),
            Some(_) => Ok(None),
        }
    }

    fn sized(&self, name: &'static str, bytes: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let value = self.bytes(name)?;
        if value.len() == bytes {
            Ok(value)
        } else {
            Err(KeyError::Member(name))
        }
    }

    fn bytes(&self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let text = self.get(name).and_then(json::string);
        text.and_then(|text| URL_SAFE_NO_PAD.decode(text.as_bytes()).ok())
            .map(Zeroizing::new)
            .ok_or(KeyError::Member(name))
    }

    fn string(&self, name: &'static str) -> Result<Option<String>, KeyError> {
        let string = |value| json::string(value).map(|text| text.into_owned());
        self.get(name)
            .map(|value| string(value).ok_or(KeyError::Member(name)))
            .transpose()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let Self(members) = self;
        let member = members.iter().find(|member| member.name == name)?;
        Some(member.value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jwt::allowed;
    use crate::jwt::{KeySet, Refusal};

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn parse(text: &str) -> Result<KeySet, KeyError> {
        KeySet::parse(text.as_bytes(), false)
    }

    fn fails(text: &str) -> KeyError {
        parse(text).unwrap_err()
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
        let algorithm = |name: &str| name.parse().unwrap();
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
            let refusal = keys.candidates(Some(kid), algorithm("HS256")).err();
            assert_eq!(refusal, Some(Refusal::UnknownKey));
        }
        let refusal = keys.candidates(Some("a"), algorithm("EdDSA")).err();
        assert_eq!(refusal, Some(Refusal::Algorithm));
        assert_eq!(
            keys.candidates(None, algorithm("HS256")).unwrap().count(),
            2
        );
        // A single key with a kid is not for tokens of another kid.
        let named = parse(&ec(r#","kid":"a""#)).unwrap();
        let refusal = named.candidates(Some("b"), algorithm("ES256")).err();
        assert_eq!(refusal, Some(Refusal::UnknownKey));
    }

    proptest! {
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
    }
}
