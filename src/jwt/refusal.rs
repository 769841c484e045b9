//! Why a token is refused: a stable word, a sentence and a hint, none of which quotes the token.

use thiserror::Error;

/// The reason for refusing a token.
///
/// `Display` is a lower-case sentence that may name a claim but never shows its value nor any other
/// part of the token, so that it is safe in a message, a DETAIL and a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no token: an empty string.
    #[error("the token is empty")]
    Empty,
    /// Not the compact form of RFC 7515 section 7.1, or not strict JSON inside; says which rule.
    #[error("{0}")]
    Malformed(&'static str),
    /// Longer than [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES).
    #[error("the token is longer than 65536 bytes")]
    TooLong,
    /// `alg` is absent, `none`, unknown, not allowed by the policy, or not one that the key is for.
    #[error("the header's alg is not one that the configured key and algorithms allow")]
    Algorithm,
    /// `typ` is not one that the policy accepts (RFC 7515 section 4.1.9).
    #[error("the header's typ is not an accepted token type")]
    TokenType,
    /// The header has `crit` (RFC 7515 section 4.1.11) or `b64` (RFC 7797).
    #[error("the header asks for an extension (crit or b64) that is not supported")]
    Critical,
    /// The header brings its own key: `jwk`, `jku` or `x5u` (RFC 7515 sections 4.1.2 to 4.1.5).
    #[error("the header brings or points to a key of its own (jwk, jku or x5u)")]
    EmbeddedKey,
    /// The header's `kid` names no configured key (RFC 7515 section 4.1.4).
    #[error("the header's kid names no configured key")]
    UnknownKey,
    /// No candidate key verifies the signature (RFC 7515 section 5.2).
    #[error("the signature does not match the configured key")]
    BadSignature,
    /// An object of the payload has two members of one name (RFC 7519 section 4).
    #[error("the payload has two members with the same name in one object")]
    DuplicateClaim,
    /// A registered claim has a wrong type (RFC 7519 section 4.1).
    #[error("the {claim} claim must be {expected}")]
    ClaimType {
        /// The claim's name.
        claim: &'static str,
        /// What it has to be, with its article.
        expected: &'static str,
    },
    /// `sub` or `jti` is longer than [`MAX_ID_BYTES`](super::MAX_ID_BYTES), and could not be revoked.
    #[error("the {0} claim is longer than 1024 bytes")]
    ClaimLength(&'static str),
    /// `exp`, `nbf` or `iat` counts milliseconds, or still smaller units (RFC 7519 section 2: seconds).
    #[error("the {0} claim is not in seconds")]
    DateUnit(&'static str),
    /// The policy requires `exp` and the token has none.
    #[error("the token has no exp claim")]
    MissingExp,
    /// `exp` has passed (RFC 7519 section 4.1.4).
    #[error("the exp claim is in the past")]
    Expired,
    /// `nbf` is ahead (RFC 7519 section 4.1.5).
    #[error("the nbf claim is in the future")]
    NotYetValid,
    /// `iat` is ahead (RFC 7519 section 4.1.6).
    #[error("the iat claim is in the future")]
    IssuedInFuture,
    /// The token has no `iat`, and its age is limited, or it is good once.
    #[error("the token has no iat claim, which says how old it is")]
    MissingIat,
    /// The token has no `jti`, and is good once.
    #[error("the token has no jti claim, which tells it from others")]
    MissingId,
    /// `iat` is further back than the policy allows.
    #[error("the iat claim is older than the maximum age")]
    TooOld,
    /// None of the token's audiences is accepted, or it has none (RFC 7519 section 4.1.3).
    #[error("the aud claim names no accepted audience")]
    Audience,
    /// The token is not from the configured issuer (RFC 7519 section 4.1.1).
    #[error("the iss claim is not the configured issuer")]
    Issuer,
}

impl Refusal {
    /// The stable word for this refusal, as documented for users.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Malformed(_) => "malformed",
            Self::TooLong => "too_long",
            Self::Algorithm => "algorithm",
            Self::TokenType => "token_type",
            Self::Critical => "critical",
            Self::EmbeddedKey => "embedded_key",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::DuplicateClaim => "duplicate_claim",
            Self::ClaimType { .. } => "claim_type",
            Self::ClaimLength(_) => "claim_length",
            Self::DateUnit(_) => "date_unit",
            Self::MissingExp => "missing_exp",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::MissingIat => "missing_iat",
            Self::MissingId => "missing_jti",
            Self::TooOld => "too_old",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
        }
    }

    /// What an administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "Pass the token that the identity provider issued.",
            Self::Malformed(_) => {
                "Pass the token as issued: three base64url parts joined by dots, without a \
                 \"Bearer\" prefix, spaces or line breaks. Encrypted tokens are not supported."
            }
            Self::TooLong => "Have the identity provider put fewer claims into the token.",
            Self::Algorithm => {
                "Sign with an algorithm that belongs to the configured key, and use an HMAC secret \
                 at least as long as its hash: 32 bytes for HS256, 48 for HS384, 64 for HS512."
            }
            Self::TokenType => {
                "Send the token that is meant for this server, an access token rather than an id \
                 token, or accept its type."
            }
            Self::Critical => "Have the identity provider leave crit and b64 out of the header.",
            Self::EmbeddedKey => {
                "Keys come from the configuration alone. Have the identity provider leave jwk, jku \
                 and x5u out of the header."
            }
            Self::UnknownKey => {
                "Add the signing key to the configured key set, or check that the token comes from \
                 this issuer: its keys may have been rotated."
            }
            Self::BadSignature => {
                "Check that the configured secret or public key is the signer's, and whether a \
                 secret is configured as base64 or as text."
            }
            Self::DuplicateClaim => "Have the identity provider name every claim only once.",
            Self::ClaimType { .. } => {
                "Have the identity provider issue the claim as RFC 7519 defines it."
            }
            Self::ClaimLength(_) => {
                "Have the identity provider issue a shorter identifier, by which it can be revoked."
            }
            Self::DateUnit(_) => {
                "Have the identity provider count exp, nbf and iat in seconds since 1970: it seems \
                 to count milliseconds."
            }
            Self::MissingExp => {
                "Have the identity provider set exp, or turn the requirement for exp off."
            }
            Self::Expired => {
                "Obtain a new token. If it was just issued, compare the clocks of this server and \
                 of the identity provider, or allow more leeway."
            }
            Self::NotYetValid | Self::IssuedInFuture => {
                "Compare the clocks of this server and of the identity provider, or allow more \
                 leeway."
            }
            Self::MissingIat => {
                "Have the identity provider set iat, or turn off what needs it: the maximum age, or \
                 that a token is used once."
            }
            Self::MissingId => {
                "Have the identity provider set jti, or turn off that a token is used once."
            }
            Self::TooOld => "Obtain a new token, or raise the maximum age.",
            Self::Audience => {
                "Request the token for this server's audience, or add the token's audience to the \
                 accepted ones."
            }
            Self::Issuer => {
                "Check that the token comes from the expected identity provider, and that the \
                 configured issuer equals its iss claim to the letter."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_hints_have_their_form() {
        let all = [
            Refusal::Empty,
            Refusal::Malformed("the header is not JSON"),
            Refusal::TooLong,
            Refusal::Algorithm,
            Refusal::TokenType,
            Refusal::Critical,
            Refusal::EmbeddedKey,
            Refusal::UnknownKey,
            Refusal::BadSignature,
            Refusal::DuplicateClaim,
            Refusal::ClaimType {
                claim: "exp",
                expected: "a number",
            },
            Refusal::ClaimLength("jti"),
            Refusal::DateUnit("exp"),
            Refusal::MissingExp,
            Refusal::Expired,
            Refusal::NotYetValid,
            Refusal::IssuedInFuture,
            Refusal::MissingIat,
            Refusal::MissingId,
            Refusal::TooOld,
            Refusal::Audience,
            Refusal::Issuer,
        ];
        let mut reasons: Vec<&str> = all.iter().map(Refusal::reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), all.len());
        for refusal in all {
            let sentence = refusal.to_string();
            assert!(sentence.starts_with("the "), "{sentence}");
            assert!(!sentence.ends_with('.'), "{sentence}");
            assert!(refusal.hint().ends_with('.'), "{sentence}");
            assert!(!refusal.hint().contains("  "), "{sentence}");
        }
    }
}
