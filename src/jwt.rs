//! Pure verification of JSON Web Tokens (RFC 7519, RFC 7515, RFC 8725): token, keys, policy and the
//! time go in, the claims or a reason for refusal come out. No server, no clock, no settings.
#![forbid(unsafe_code)]

mod algorithm;
mod claims;
mod flat;
pub mod json;
mod jwk;
mod key;
mod key_error;
mod key_set;
mod numeric_date;
mod pem;
mod public;
mod redact;
mod refusal;
mod rsa;
mod setting;
mod token;
mod token_type;
mod verifier;

pub use algorithm::Algorithm;
pub use claims::{Confirmation, MAX_ID_BYTES, Policy, Verified, innermost_actor};
pub use key_error::KeyError;
pub use key_set::KeySet;
pub use redact::redact;
pub use refusal::Refusal;
pub use setting::{claim_of_setting, setting_names, with_role};
pub use token_type::TokenType;

#[cfg(test)]
use key_set::allowed;

use std::borrow::Cow;

use claims::Claims;
use token::Compact;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 65_536;

/// Verifies a token in compact form (RFC 7515 section 7.1) and judges its claims.
///
/// `now` is in microseconds since the Unix epoch. The order is: size, structure, header, choice of
/// the key, signature, payload, claims; nothing of the payload is read before the signature holds.
///
/// # Errors
/// The first rule that the token breaks, as a [`Refusal`].
pub fn verify(token: &str, keys: &KeySet, policy: &Policy, now: i64) -> Result<Verified, Refusal> {
    Unverified::parse(token)?.verify(keys, policy, now)
}

/// A token whose size, structure and header follow the rules, and of which nothing is verified.
pub struct Unverified<'a> {
    compact: Compact<'a>,
    /// Once they have been read.
    claims: Option<Claims>,
}

impl<'a> Unverified<'a> {
    /// # Errors
    /// As [`verify`] for size, structure and header.
    pub fn parse(token: &'a str) -> Result<Self, Refusal> {
        Ok(Self {
            compact: Compact::parse(token)?,
            claims: None,
        })
    }

    /// The `iss` of the token **before** verification (RFC 7519 section 4.1.1): good for choosing the
    /// issuer whose keys must then verify it, and for nothing else. `None` when the token has none.
    ///
    /// # Errors
    /// As [`verify`] for the payload's syntax; `claim_type` when `iss` is not a string.
    pub fn issuer(&mut self) -> Result<Option<Cow<'_, str>>, Refusal> {
        let claims = self.take_claims()?;
        self.claims.insert(claims).issuer()
    }

    /// As [`verify`].
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(self, keys: &KeySet, policy: &Policy, now: i64) -> Result<Verified, Refusal> {
        verify_signature(&self.compact, keys, policy)?;
        self.judge(policy, now)
    }

    /// [`Self::verify`] without the check of the signature, for a token whose signature has been
    /// checked with these very keys before.
    ///
    /// # Errors
    /// As [`verify`], but for `bad_signature`.
    pub fn read_verified(
        self,
        keys: &KeySet,
        policy: &Policy,
        now: i64,
    ) -> Result<Verified, Refusal> {
        drop(candidates(&self.compact, keys, policy)?);
        self.judge(policy, now)
    }

    fn judge(mut self, policy: &Policy, now: i64) -> Result<Verified, Refusal> {
        let verified = Verified::of(self.take_claims()?)?;
        verified.check(policy, now)?;
        Ok(verified)
    }

    fn take_claims(&mut self) -> Result<Claims, Refusal> {
        match self.claims.take() {
            Some(claims) => Ok(claims),
            None => Claims::read(self.compact.take_payload()?),
        }
    }
}

/// The `exp` of a payload that [`verify`] gave out, in microseconds since the Unix epoch.
pub fn expires_at(payload: &str) -> Option<i64> {
    let claims = Claims::read(payload.to_owned()).ok()?;
    Verified::of(claims).ok()?.expires_at
}

/// Checks the signature alone, with every key that the header's `kid` and `alg` admit.
fn verify_signature(compact: &Compact<'_>, keys: &KeySet, policy: &Policy) -> Result<(), Refusal> {
    let message = compact.signing_input.as_bytes();
    if candidates(compact, keys, policy)?.any(|key| key.holds(message, &compact.signature)) {
        Ok(())
    } else {
        Err(Refusal::BadSignature)
    }
}

/// The keys that the header's `kid` and `alg` admit, where its `alg` and `typ` are accepted.
fn candidates<'a>(
    compact: &'a Compact<'_>,
    keys: &'a KeySet,
    policy: &Policy,
) -> Result<impl Iterator<Item = &'a verifier::Check> + use<'a>, Refusal> {
    let Policy {
        algorithms, types, ..
    } = policy;
    if !algorithms.is_empty() && !algorithms.contains(&compact.algorithm) {
        return Err(Refusal::Algorithm);
    }
    if !types.is_empty() && !types.iter().any(|one| one.is(compact.typ.as_deref())) {
        return Err(Refusal::TokenType);
    }
    keys.candidates(compact.kid.as_deref(), compact.algorithm)
}
