//! What holds for the tokens of one issuer, and whose rules have refused one.

use super::binding::{self, Bound, Unbound};
use super::{Error, issuer, replay};
use crate::claim_path::{ClaimPath, PathError};
use crate::claim_rules::{RequiredClaims, RoleMap};
use crate::guc;
use crate::jwt::{KeySet, Policy, Refusal, Unverified, Verified};

/// What an administrator has laid down for the tokens of one issuer.
pub struct Rules {
    /// The issuer's registered name; `None` for the keys of `scope_roles.jwt_secret`.
    pub name: Option<String>,
    pub keys: KeySet,
    /// Until when fetched keys hold, in Unix microseconds; `None`: they are there for good.
    pub(super) keys_until: Option<i64>,
    pub(super) is_fetched: bool,
    /// A digest of the key material: a signature checked under other keys counts for nothing.
    pub(super) fingerprint: [u8; 32],
    pub policy: Policy,
    /// The only claim that may name the role.
    pub role_claim: Option<String>,
    /// The claim that names the role, unless the caller names another.
    pub role_path: RolePath,
    /// The only roles that may be taken; `None`: no such limit.
    pub allowed_roles: Option<Vec<String>>,
    /// The role of valid tokens without a role claim.
    pub anon_role: Option<String>,
    /// Which values of the role claim stand for which roles; `None`: it names the role.
    pub role_map: Option<RoleMap>,
    /// Does a token switch once only?
    pub single_use: bool,
    pub(super) required: RequiredClaims,
    pub(super) bound: Bound,
}

impl Rules {
    pub fn by(&self) -> By {
        match &self.name {
            Some(name) => By::Issuer(name.clone()),
            None => By::Settings { slash: false },
        }
    }

    /// Are its keys too old, or have none come yet?
    pub(super) fn is_stale(&self, now: i64) -> bool {
        self.keys_until.is_some_and(|until| until <= now)
    }

    pub fn refuse(&self, refusal: Refusal) -> Error {
        let by = self.by();
        Error::Token { refusal, by }
    }

    /// What does not change while a token is the same, nor its session: asked once, before it is kept.
    pub(super) fn satisfied(&self, verified: &Verified) -> Result<(), Error> {
        if self.single_use {
            replay::check(verified).map_err(|refusal| self.refuse(refusal))?;
        }
        if let Err(claim) = self.required.check(verified.payload()) {
            return Err(Error::ClaimRequired {
                claim: claim.to_owned(),
                by: self.by(),
            });
        }
        binding::check(self.bound, verified).map_err(|problem| match problem {
            Unbound::Form(refusal) => self.refuse(refusal),
            problem => Error::Unbound {
                problem,
                by: self.by(),
            },
        })
    }
}

/// The path of a claim, which has been read once.
pub struct RolePath {
    pub text: String,
    pub path: Result<ClaimPath, PathError>,
}

impl RolePath {
    /// As it is configured, where nothing else is.
    pub(super) fn of(text: Option<&String>) -> Self {
        let text = text.cloned().unwrap_or_else(guc::jwt_role_claim);
        let path = ClaimPath::parse(&text);
        Self { text, path }
    }
}

/// Whose rules a token was judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// It could not be read so far that this was known.
    Nobody,
    /// `scope_roles.jwt_secret` and the settings beside it; `slash`: the token's `iss` and scope_roles.jwt_issuer differ by a slash at the end.
    Settings { slash: bool },
    /// The issuer of this name.
    Issuer(String),
}

/// The token has been refused by these rules. Where those are the settings only because no issuer has its `iss`, that comes first: what
/// is wrong is rather this than a secret that the issuer never had.
pub(super) fn refused(token: &str, rules: &Rules, refusal: Refusal) -> Error {
    let by_key = matches!(
        refusal,
        Refusal::Algorithm | Refusal::UnknownKey | Refusal::BadSignature
    );
    let mut read = Unverified::parse(token)
        .ok()
        .filter(|_| rules.name.is_none());
    let claimed = read
        .as_mut()
        .and_then(|token| token.issuer().ok().flatten());
    let configured = rules.policy.issuer.as_deref();
    match claimed {
        Some(claimed) if by_key && configured != Some(&claimed) => {
            unknown(Some(&claimed), Some(refusal))
        }
        Some(claimed) if refusal == Refusal::Issuer => Error::Token {
            refusal,
            by: By::Settings {
                slash: configured.is_some_and(|configured| differ_by_slash(configured, &claimed)),
            },
        },
        _ => rules.refuse(refusal),
    }
}

pub(super) fn unknown(claimed: Option<&str>, tried: Option<Refusal>) -> Error {
    let near = claimed.and_then(|claimed| {
        let other = match claimed.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{claimed}/"),
        };
        issuer::by_issuer(&other).ok()??.name.clone()
    });
    Error::UnknownIssuer { tried, near }
}

fn differ_by_slash(one: &str, other: &str) -> bool {
    one.strip_suffix('/') == Some(other) || other.strip_suffix('/') == Some(one)
}
