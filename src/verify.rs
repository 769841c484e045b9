//! Verification in the server: which keys, which rules, what has been revoked, what is cached.
//! The verdict on a token itself is `jwt`'s.

mod binding;
mod cache;
mod configured;
pub mod copy;
pub mod early;
mod error;
mod fetched;
pub mod issuer;
mod replay;
pub mod revocation;
mod rules;
mod shared;

use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, LazyCell, RefCell};
use std::rc::Rc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use siphasher::sip128::SipHasher13;

use crate::claims::encoding;
use crate::error::{report, require_preload};
use crate::guc;
use crate::jwt::{self, KeyError, Policy, Refusal, Unverified, Verified};
use crate::pg::{clock, json, server, statement, text};
pub use binding::{Bound, Unbound};
use cache::Cache;
pub use replay::{Spent, begin_counting, use_up};
pub use rules::{By, RolePath, Rules};
use rules::{refused, unknown};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no key is configured to verify tokens")]
    NoSecret,
    #[error("the key configured to verify tokens cannot be used")]
    BadSecret(KeyError),
    #[error("the file with the key to verify tokens cannot be read")]
    SecretFile {
        path: String,
        kind: std::io::ErrorKind,
    },
    #[error("the issuer \"{name}\" cannot be used")]
    BadIssuer { name: String, problem: String },
    #[error("the token was refused")]
    Token { refusal: Refusal, by: By },
    #[error("the token was refused")]
    ClaimRequired { claim: String, by: By },
    #[error("the token was refused")]
    Unbound { problem: Unbound, by: By },
    /// `tried`: why scope_roles.jwt_secret does not verify it either. `near`: the name of an issuer whose `iss` differs by a slash at the end.
    #[error("the token was refused")]
    UnknownIssuer {
        tried: Option<Refusal>,
        near: Option<String>,
    },
    #[error("the token was refused")]
    Revoked,
    #[error("the token was refused")]
    Spent { spent: Spent, by: By },
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    #[error("the catalogs could not be read")]
    Sql(String),
    #[error("the token was refused")]
    KeysExpired { issuer: String, is_fetched: bool },
    /// While a client logs in. `bytes`: that they take, and have no room.
    #[error("the issuers of the database are not at hand")]
    NotAtHand { bytes: Option<u32> },
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

pub fn init() {
    shared::init_shared_memory();
    replay::init_shared_memory(guc::single_use_tokens());
    copy::init_shared_memory(guc::issuer_memory());
}

/// A token that holds now.
pub struct Accepted {
    pub rules: Rc<Rules>,
    pub verified: Verified,
    /// The payload for PostgreSQL's settings, where the database cannot take it as it is.
    recoded: Option<Box<str>>,
    pub tag: Tag,
    /// What was last made with it, ready to be used again.
    kept: RefCell<Option<Rc<dyn Any>>>,
    /// As of when its rules and revocations were looked up.
    looked_up: Cell<AsOf>,
}

/// What changes when keys, rules or revocations may have: the generation of the tables, and when the configuration was read.
pub type AsOf = (u64, i64);

impl Accepted {
    /// The payload for PostgreSQL's settings, in ASCII where the database is not in UTF-8.
    pub fn claims(&self) -> &str {
        let recoded = self.recoded.as_deref();
        recoded.unwrap_or_else(|| self.verified.payload())
    }

    /// When statements are no longer allowed, leeway included; `i64::MAX` without `exp`.
    pub fn ends_at(&self) -> i64 {
        let leeway = self.rules.policy.leeway.max(0).saturating_mul(1_000_000);
        self.verified
            .expires_at
            .map_or(i64::MAX, |exp| exp.saturating_add(leeway))
    }

    /// What was kept with the token, if it is of this kind.
    pub fn kept<T: 'static>(&self) -> Option<Rc<T>> {
        self.kept.borrow().clone()?.downcast().ok()
    }

    /// Keeps something with the token for as long as that is cached.
    pub fn keep<T: 'static>(&self, made: Rc<T>) {
        self.kept.replace(Some(made));
    }
}

/// A token as it was presented. The text is a slice, which is wiped as a whole.
pub struct Presented {
    pub token: Rc<Accepted>,
    text: text::Wiped,
}

impl Presented {
    /// In the same time, wherever the two differ: it may be another user's.
    fn is(&self, token: &str) -> bool {
        verify_slices_are_equal(self.text.as_bytes(), token.as_bytes()).is_ok()
    }
}

/// SipHash-1-3, 128 bits, of a whole token, under a key of this run of the server.
pub type Tag = u128;

thread_local! {
    static CACHE: RefCell<Cache<Rc<Accepted>>> = const { RefCell::new(Cache::new()) };
    /// The last one: it tends to come again, and is found without a hash.
    static LAST: RefCell<Option<Rc<Presented>>> = const { RefCell::new(None) };
    /// `None`: the system gave no random bytes.
    static TAGGER: LazyCell<Option<SipHasher13>> =
        LazyCell::new(|| Some(SipHasher13::new_with_key(&shared::key()?)));
}

/// Tells tokens apart, in a quarter of the time of SHA-256. Nobody sees a tag and nobody knows the
/// key, so that nobody can make a token with another's tag.
pub fn tag(token: &str) -> Result<Tag, Error> {
    hash(token.as_bytes())
}

/// The same of a token and the keys that have verified it.
fn tag_with_keys(tag: Tag, rules: &Rules) -> Result<Tag, Error> {
    let mut both = [0; 48];
    let (first, second) = both.split_at_mut(16);
    first.copy_from_slice(&tag.to_ne_bytes());
    second.copy_from_slice(&rules.fingerprint);
    hash(&both)
}

fn hash(bytes: &[u8]) -> Result<Tag, Error> {
    TAGGER.with(|tagger| {
        let tagger = tagger.as_ref().ok_or(Error::NoRandomness)?;
        Ok(tagger.hash(bytes).as_u128())
    })
}

/// Verifies a token and returns its claims, without switching. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn verify_jwt(token: Option<&[u8]>) -> Result<json::Jsonb, ErrorReport> {
    require_preload()?;
    statement::hide(jwt::redact);
    let (presented, _) = verify(&text::of(token.unwrap_or_default())).map_err(report)?;
    Ok(json::Jsonb::of(presented.token.claims()))
}

/// The token with its claims and rules, if it holds at this moment, and as of when that was so. Everything that can change between two uses is looked at each time: the
/// clock, the rules, revocations.
pub fn verify(token: &str) -> Result<(Rc<Presented>, AsOf), Error> {
    // Before the check: what is revoked in between is then looked at again.
    let as_of = as_of();
    let last = LAST.with_borrow(|last| last.as_ref().filter(|last| last.is(token)).cloned());
    if let Some(last) = last
        && holds_still(&last.token, as_of)?
    {
        return Ok((last, as_of));
    }
    let tag = tag(token)?;
    let cached = CACHE.with_borrow(|cache| cache.get(&tag).cloned());
    let known = match cached {
        Some(known) if holds_still(&known, as_of)? => known,
        _ => {
            let accepted = Rc::new(verify_anew(token, tag, as_of)?);
            revocation::check(&accepted.rules, &accepted.verified)?;
            // One that is good once does not come again.
            if !accepted.rules.single_use {
                let kept = accepted.clone();
                CACHE.with_borrow_mut(|cache| cache.insert(tag, kept, guc::jwt_cache_size()));
            }
            accepted
        }
    };
    let presented = Rc::new(Presented {
        token: known,
        text: text::Wiped::copy_of(token),
    });
    LAST.set((guc::jwt_cache_size() > 0).then(|| presented.clone()));
    Ok((presented, as_of))
}

/// What has been committed and configured by now.
pub fn as_of() -> AsOf {
    (revocation::generation(), server::configuration_time())
}

/// Does a token that was accepted before hold now? False where it must be verified anew, by other rules.
fn holds_still(known: &Accepted, as_of: AsOf) -> Result<bool, Error> {
    let now = clock::now();
    let nothing_changed = known.looked_up.get() == as_of;
    if known.rules.is_stale(now) || !nothing_changed && !is_under_its_rules(known)? {
        return Ok(false);
    }
    known
        .verified
        .check(&known.rules.policy, now)
        .map_err(|refusal| known.rules.refuse(refusal))?;
    if !nothing_changed {
        revocation::check(&known.rules, &known.verified)?;
        known.looked_up.set(as_of);
    }
    Ok(true)
}

/// Are the rules that it was accepted by still those that hold for it?
fn is_under_its_rules(known: &Accepted) -> Result<bool, Error> {
    let current = match &known.rules.name {
        Some(name) => issuer::by_name(name)?,
        // An issuer may have been registered for it since.
        None if is_registered(&known.verified)? => None,
        None => configured::rules()?,
    };
    Ok(current.is_some_and(|rules| Rc::ptr_eq(&rules, &known.rules)))
}

/// The rules by which a token that was accepted before, and has not ended, holds now: its issuer, its keys and revocations are looked at,
/// its age is not.
pub fn again(presented: &Presented) -> Result<Rc<Rules>, Error> {
    let before = &presented.token;
    let rules = rules_for(|| Ok(before.verified.issuer()))?;
    if !Rc::ptr_eq(&rules, &before.rules) {
        let policy = Policy {
            max_age: None,
            ..rules.policy.clone()
        };
        let token: &str = &presented.text;
        let verified = jwt::verify(token, &rules.keys, &policy, clock::now())
            .map_err(|refusal| refused(token, &rules, refusal))?;
        rules.satisfied(&verified)?;
    }
    revocation::check(&rules, &before.verified)?;
    Ok(rules)
}

/// By the keys that are there; if the token's is not among them, or they are too old, once more by what the worker has fetched.
fn verify_anew(token: &str, tag: Tag, looked_up: AsOf) -> Result<Accepted, Error> {
    let (rules, verdict) = verify_once(token, tag, looked_up)?;
    match verdict {
        Err(
            Error::Token {
                refusal: Refusal::UnknownKey,
                ..
            }
            | Error::KeysExpired { .. },
        ) if fetched::has_come(&rules)? => verify_once(token, tag, looked_up)?.1,
        verdict => verdict,
    }
}

/// What the rules say that hold for it now.
fn verify_once(
    token: &str,
    tag: Tag,
    looked_up: AsOf,
) -> Result<(Rc<Rules>, Result<Accepted, Error>), Error> {
    let mut read = None;
    let rules = rules_for(|| read.insert(Unverified::parse(token)?).issuer())?;
    let read = read.map_or_else(|| Unverified::parse(token), Ok);
    let read = read.map_err(|refusal| refused(token, &rules, refusal))?;
    let verdict = verify_by(rules.clone(), read, token, tag, looked_up);
    Ok((rules, verdict))
}

fn verify_by(
    rules: Rc<Rules>,
    read: Unverified<'_>,
    token: &str,
    tag: Tag,
    looked_up: AsOf,
) -> Result<Accepted, Error> {
    let now = clock::now();
    if rules.is_stale(now) {
        return Err(Error::KeysExpired {
            issuer: rules.name.clone().unwrap_or_default(),
            is_fetched: rules.is_fetched,
        });
    }
    let may_come_again = guc::jwt_cache_size() > 0 && !rules.single_use;
    let verified = if may_come_again && rules.keys.is_asymmetric() {
        // Another backend may have checked the same signature with the same keys.
        let shared = tag_with_keys(tag, &rules)?;
        if shared::contains(shared) {
            read.read_verified(&rules.keys, &rules.policy, now)
        } else {
            let verified = read.verify(&rules.keys, &rules.policy, now);
            if verified.is_ok() {
                shared::insert(shared);
            }
            verified
        }
    } else {
        read.verify(&rules.keys, &rules.policy, now)
    }
    .map_err(|refusal| refused(token, &rules, refusal))?;
    rules.satisfied(&verified)?;
    let recoded = encoding::recoded(verified.payload());
    Ok(Accepted {
        rules,
        verified,
        recoded,
        tag,
        kept: RefCell::new(None),
        looked_up: Cell::new(looked_up),
    })
}

fn is_registered(verified: &Verified) -> Result<bool, Error> {
    match verified.issuer() {
        Some(issuer) => Ok(issuer::by_issuer(&issuer)?.is_some()),
        None => Ok(false),
    }
}

/// The token's `iss` picks its issuer, whose keys alone may verify it.
fn rules_for<'a>(
    issuer: impl FnOnce() -> Result<Option<Cow<'a, str>>, Refusal>,
) -> Result<Rc<Rules>, Error> {
    if !issuer::any()? {
        return configured::rules()?.ok_or(Error::NoSecret);
    }
    let claimed = issuer().map_err(|refusal| Error::Token {
        refusal,
        by: By::Nobody,
    })?;
    // An issuer's tokens need no jwt_secret: one that cannot be read is no reason to refuse them.
    let registered = |issuer: &str| issuer::by_issuer(issuer);
    if let Some(rules) = claimed.as_deref().map_or(Ok(None), registered)? {
        return Ok(rules);
    }
    configured::rules()?.map_or_else(|| Err(unknown(claimed.as_deref(), None)), Ok)
}

/// SHA-256 of both.
fn combine(first: &[u8], second: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(first);
    context.update(second);
    let mut bytes = [0; 32];
    for (slot, byte) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *slot = *byte;
    }
    bytes
}
