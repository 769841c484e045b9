//! The compact form of RFC 7515 section 7.1 and the rules for its header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::{self, JsonError};
use super::{Algorithm, MAX_TOKEN_BYTES, Refusal};

/// A token whose three parts and header follow the rules; its signature is not verified.
pub(super) struct Compact<'a> {
    /// What the signature covers: header, dot, payload, as sent.
    pub(super) signing_input: &'a str,
    /// The signature, decoded.
    pub(super) signature: Vec<u8>,
    /// The header's `alg`.
    pub(super) algorithm: Algorithm,
    /// The header's `kid`.
    pub(super) kid: Option<String>,
    payload: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Splits a token and reads its header; base64url must be canonical and without padding.
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.is_empty() {
            return Err(Refusal::Empty);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let not_three = Refusal::Malformed("the token is not three parts joined by dots");
        let (signing_input, signature) = token.rsplit_once('.').ok_or(not_three)?;
        let (header, payload) = signing_input.split_once('.').ok_or(not_three)?;
        if payload.contains('.') {
            return Err(not_three);
        }
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Refusal::Malformed("a part of the token is empty"));
        }
        let header = decode(header, "the header is not base64url without padding")?;
        let payload = decode(payload, "the payload is not base64url without padding")?;
        let signature = decode(signature, "the signature is not base64url without padding")?;
        let (algorithm, kid) = read_header(&header)?;
        Ok(Self {
            signing_input,
            signature,
            algorithm,
            kid,
            payload,
        })
    }

    /// The payload as text; its JSON is not looked at.
    pub(super) fn into_payload(self) -> Result<String, Refusal> {
        String::from_utf8(self.payload).map_err(|_| Refusal::Malformed("the payload is not UTF-8"))
    }
}

fn decode(part: &str, complaint: &'static str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refusal::Malformed(complaint))
}

/// Reads `alg` and `kid`. What could bring a key or change the rules is refused; `x5c`, `x5t`,
/// `typ` and unknown members are ignored (RFC 7515 section 4).
fn read_header(bytes: &[u8]) -> Result<(Algorithm, Option<String>), Refusal> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Refusal::Malformed("the header is not UTF-8"))?;
    let members = json::object(text).map_err(|error| {
        Refusal::Malformed(match error {
            JsonError::Syntax => "the header is not JSON",
            JsonError::NotObject => "the header is not a JSON object",
            JsonError::Duplicate => "the header has two members with the same name",
            JsonError::Nul => "the header contains a NUL character",
            JsonError::TooDeep => "the header is nested too deeply",
        })
    })?;
    let mut algorithm = None;
    let mut kid = None;
    for member in &members {
        match member.name.as_ref() {
            "alg" => algorithm = json::string(member.value),
            "kid" => {
                let name = json::string(member.value)
                    .ok_or(Refusal::Malformed("the header's kid is not a string"))?;
                kid = Some(name.into_owned());
            }
            "crit" | "b64" => return Err(Refusal::Critical),
            "jwk" | "jku" | "x5u" => return Err(Refusal::EmbeddedKey),
            _ => {}
        }
    }
    let algorithm = algorithm
        .and_then(|name| name.parse().ok())
        .ok_or(Refusal::Algorithm)?;
    Ok((algorithm, kid))
}
