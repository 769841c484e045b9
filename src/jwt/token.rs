//! The compact form of RFC 7515 section 7.1 and the rules for its header.

use std::cell::RefCell;
use std::rc::Rc;

use base64_simd::URL_SAFE_NO_PAD;
use memchr::memchr;

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
    pub(super) kid: Option<Rc<str>>,
    /// The header's `typ`, as it was sent; empty where it is no string.
    pub(super) typ: Option<Rc<str>>,
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
        let (header, rest) = split(token).ok_or(not_three)?;
        let (payload, signature) = split(rest).ok_or(not_three)?;
        if memchr(b'.', signature.as_bytes()).is_some() {
            return Err(not_three);
        }
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Refusal::Malformed("a part of the token is empty"));
        }
        let known = known_header(header);
        let decoded = match known {
            Some(_) => Vec::new(),
            None => decode(header, "the header is not base64url without padding")?,
        };
        let payload = decode(payload, "the payload is not base64url without padding")?;
        let signature_bytes = decode(signature, "the signature is not base64url without padding")?;
        let read = match known {
            Some(read) => read,
            None => remembered(header, read_header(&decoded)?),
        };
        let signing_input = token.get(..token.len() - signature.len() - 1);
        Ok(Self {
            signing_input: signing_input.unwrap_or_default(),
            signature: signature_bytes,
            algorithm: read.algorithm,
            kid: read.kid,
            typ: read.typ,
            payload,
        })
    }

    /// The payload as text, once; its JSON is not looked at.
    pub(super) fn take_payload(&mut self) -> Result<String, Refusal> {
        String::from_utf8(std::mem::take(&mut self.payload))
            .map_err(|_| Refusal::Malformed("the payload is not UTF-8"))
    }
}

/// What comes before the first dot, and after it.
fn split(text: &str) -> Option<(&str, &str)> {
    let dot = memchr(b'.', text.as_bytes())?;
    Some((text.get(..dot)?, text.get(dot + 1..)?))
}

/// Canonical: bits of the last character that are left over must be 0.
fn decode(part: &str, complaint: &'static str) -> Result<Vec<u8>, Refusal> {
    // It gets as much room as it needs.
    let mut decoded = Vec::new();
    match URL_SAFE_NO_PAD.decode_append(part, &mut decoded) {
        Ok(()) => Ok(decoded),
        Err(_) => Err(Refusal::Malformed(complaint)),
    }
}

/// What a header says, as far as it matters.
#[derive(Clone)]
struct Header {
    algorithm: Algorithm,
    kid: Option<Rc<str>>,
    typ: Option<Rc<str>>,
}

thread_local! {
    /// The last header that followed the rules, as sent: those of one issuer are all the same.
    static LAST: RefCell<Option<(String, Header)>> = const { RefCell::new(None) };
}

/// Longer ones are not remembered.
const MAX_REMEMBERED: usize = 1_024;

fn known_header(sent: &str) -> Option<Header> {
    LAST.with_borrow(|last| {
        let (known, header) = last.as_ref()?;
        (known == sent).then(|| header.clone())
    })
}

fn remembered(sent: &str, header: Header) -> Header {
    if sent.len() <= MAX_REMEMBERED {
        LAST.set(Some((sent.to_owned(), header.clone())));
    }
    header
}

/// Reads `alg`, `kid` and `typ`. What could bring a key or change the rules is refused; `x5c`, `x5t`
/// and unknown members are ignored (RFC 7515 section 4).
fn read_header(bytes: &[u8]) -> Result<Header, Refusal> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Refusal::Malformed("the header is not UTF-8"))?;
    // Nothing that issues tokens writes it, and `redact` knows a token by how its parts begin.
    if text.starts_with(|first: char| first.is_ascii_whitespace()) {
        return Err(Refusal::Malformed("the header begins with white space"));
    }
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
    let mut typ = None;
    for member in &members {
        match member.name.as_ref() {
            "alg" => algorithm = json::string(member.value),
            "kid" => {
                let name = json::string(member.value)
                    .ok_or(Refusal::Malformed("the header's kid is not a string"))?;
                kid = Some(Rc::from(name));
            }
            "typ" => typ = Some(Rc::from(json::string(member.value).unwrap_or_default())),
            "crit" | "b64" => return Err(Refusal::Critical),
            "jwk" | "jku" | "x5u" => return Err(Refusal::EmbeddedKey),
            _ => {}
        }
    }
    let algorithm = algorithm
        .and_then(|name| name.parse().ok())
        .ok_or(Refusal::Algorithm)?;
    Ok(Header {
        algorithm,
        kid,
        typ,
    })
}
