//! Logins for the holders of tokens, whose tools can't send one (docs/design.md, "A login for a token").

mod error;
mod pending;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Class, Event};
use crate::authority::Target;
use crate::credential::issue::{Membership, Right};
use crate::credential::{self, BadOption, Issued, Options, Request, hands_out, issue, life};
use crate::error::{report, require_preload};
use crate::jwt::{self, Refusal, Verified};
use crate::label::{self, Metadata, State};
use crate::pg::arguments::{Cidr, Text};
use crate::pg::catalog::{self, Role};
use crate::pg::name::Name;
use crate::pg::{clock, server, statement, text, xact};
use crate::switch;
use crate::timestamp;
use crate::verify;
use crate::verify::revocation::{self, Revoked};
use crate::{guc, waiting};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Switch(#[from] switch::Error),
    #[error("the token was refused")]
    NoSubject,
    #[error("the token was refused")]
    TooLong,
    #[error("too many logins of this subject")]
    TooMany {
        most: usize,
        /// When the first of them ends, in Unix microseconds.
        first_end: Option<i64>,
    },
    #[error("the role was dropped or renamed meanwhile")]
    Replaced,
    #[error("scope.exchange_token() cannot run inside a transaction block")]
    InBlock,
    #[error(transparent)]
    Credential(#[from] credential::Error),
}

impl From<verify::Error> for Error {
    fn from(error: verify::Error) -> Self {
        Self::Switch(error.into())
    }
}

/// In the postmaster.
pub fn init() {
    revocation::ends_also(end);
}

hands_out!(
    /// A login with the role that a token names. Documented in `sql/functions.sql`.
    exchange_token(
        token: Option<&[u8]>,
        valid_for: Option<Interval>,
        purpose: Option<Text>,
        claim: Option<Text>,
    ),
    |options| {
        statement::hide(jwt::redact);
        let token = text::of(token.unwrap_or_default());
        let exchanged = exchange(&token, claim.as_deref(), valid_for, purpose.as_deref(), options);
        if let Err(error) = &exchanged {
            audit::refused(Class::Switch, error, |problem| Event::SwitchRefused {
                function: "exchange_token",
                problem,
            });
        }
        exchanged
    }
);

fn exchange(
    token: &str,
    claim: Option<&str>,
    valid_for: Option<Interval>,
    purpose: Option<&str>,
    options: Result<Options, BadOption>,
) -> Result<Issued, Error> {
    if xact::is_read_only() {
        return Err(credential::Error::ReadOnly.into());
    }
    // Until it ends, others can neither give nor take the role, and no one else's token is exchanged for it.
    if !xact::ends_at_once() {
        return Err(Error::InBlock);
    }
    let options = options.map_err(credential::Error::from)?;
    let (presented, _) = verify::verify(token)?;
    let accepted = &presented.token;
    let role = switch::role_of_token(accepted, claim)?;
    let owner = identify(&accepted.verified)?;
    // Leeway is for the moment of a check, not for a life.
    let ends_at = accepted.verified.expires_at.unwrap_or(i64::MAX);
    if ends_at <= clock::now() {
        return Err(accepted.rules.refuse(Refusal::Expired).into());
    }
    check_room(&owner)?;
    let request = Request {
        role_name: None,
        valid_for,
        purpose,
        options,
        function: "exchange_token",
        verb: "token",
        right: Right::Token {
            owner: owner.clone(),
            ends_at,
        },
    };
    let issued = issue::issue(request, || membership(&role, &owner))?;
    // Last: what else refuses the call uses nothing up, and what this refuses takes the login back.
    verify::use_up(accepted)?;
    pending::add(pending::Exchanged {
        role: role.oid,
        presented,
    });
    Ok(issued)
}

/// Whose login it will be.
fn identify(token: &Verified) -> Result<label::Token, Error> {
    let text = |claim: Option<std::borrow::Cow<'_, str>>| claim.map(|text| text.into_owned());
    let subject = text(token.subject()).filter(|subject| !subject.is_empty());
    let owner = label::Token {
        iss: text(token.issuer()),
        sub: subject.ok_or(Error::NoSubject)?,
        jti: text(token.token_id()),
        iat: token.issued_at.map(revocation::as_date),
    };
    if owner.fits() {
        Ok(owner)
    } else {
        Err(Error::TooLong)
    }
}

/// Fewer logins of the subject than it may have are in force.
fn check_room(owner: &label::Token) -> Result<(), Error> {
    let now = clock::now();
    let ends: Vec<i64> = label::issued_for_tokens()
        .iter()
        .filter(|(_, other)| {
            let theirs = other.token.as_ref();
            theirs.is_some_and(|theirs| theirs.iss == owner.iss && theirs.sub == owner.sub)
        })
        .filter_map(|(role, other)| other.deadline(catalog::role_by_oid(*role)?.valid_until))
        .filter(|&end| end > now)
        .collect();
    let most = guc::exchange_limit();
    if ends.len() < most {
        return Ok(());
    }
    Err(Error::TooMany {
        most,
        first_end: ends.into_iter().min(),
    })
}

/// The role alone, as which its sessions act.
fn membership(role: &Role, owner: &label::Token) -> Result<Membership, credential::Error> {
    let refuse = |error: Error| -> ! { crate::error::raise(&error) };
    advisory::lock(
        // Of one subject, whatever else its tokens say.
        Key::Text(&format!(
            "exchange_token {} {:?}",
            server::database(),
            (&owner.iss, &owner.sub)
        )),
        Mode::Exclusive,
    );
    if let Err(error) = check_room(owner) {
        refuse(error);
    }
    // Not locked yet, as for other logins: who has a token has no say over the role.
    if !is_still(role.oid, &role.name) {
        refuse(Error::Replaced);
    }
    Ok(Membership {
        scopes: vec![role.name.clone()],
        subject: role.name.clone(),
        acts_as: Some(role.name.clone()),
    })
}

/// Is the role of this name still the same one, and not about to end?
fn is_still(role: pg_sys::Oid, name: &str) -> bool {
    let is_ending =
        matches!(label::read(role), Some(Ok(metadata)) if metadata.state != State::Active);
    !is_ending && switch::takeable(name).is_ok_and(|found| found.oid == role)
}

/// Ends the logins that were issued for what has been revoked.
fn end(revoked: &Revoked<'_>) {
    // Exchanges that are being committed come before, others after: these see what is revoked.
    advisory::lock(Key::Tokens(server::database()), Mode::Exclusive);
    let reason = "its token is no longer good";
    waiting::giving_way(|| {
        for (role, metadata) in label::issued_for_tokens() {
            if !is_of(revoked, &metadata) {
                continue;
            }
            if let Some(target) = Target::seize(role)
                && let Err(error) = life::end(&target, Some(reason), revoked.function())
            {
                crate::error::raise(&error);
            }
        }
    });
}

fn is_of(revoked: &Revoked<'_>, metadata: &Metadata) -> bool {
    let Some(token) = &metadata.token else {
        return false;
    };
    let of_issuer =
        |issuer: Option<&str>| issuer.is_none_or(|issuer| token.iss.as_deref() == Some(issuer));
    match *revoked {
        Revoked::Token { jti, issuer } => token.jti.as_deref() == Some(jti) && of_issuer(issuer),
        Revoked::Subject {
            sub,
            issued_before,
            issuer,
        } => {
            let issued = token.iat.as_deref().and_then(timestamp::parse);
            token.sub == sub
                && of_issuer(issuer)
                && issued.is_none_or(|issued| issued < issued_before)
        }
        Revoked::Issuer { issuer, .. } => of_issuer(Some(issuer)),
    }
}
