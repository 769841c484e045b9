//! Revoking a login, and what its renewal, rotation and end have in common.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::itself;
use crate::audit::{self, Action};
use crate::authority::{self, Target};
use crate::label::{self, Metadata, State};
use crate::pg::arguments::Text;
use crate::pg::catalog::Role;
use crate::pg::name::Name;
use crate::pg::xact::{self, Failure};
use crate::pg::{identity, spi};
use crate::waiting;
use crate::{error, guc};

const MAX_REASON_BYTES: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("role \"{role}\" cannot be renewed for so long")]
    BeyondCap { role: String, latest: i64 },
    #[error("role \"{role}\" has no deadline")]
    Endless { role: String },
    #[error("role \"{role}\" has been replaced by \"{successor}\"")]
    Replaced { role: String, successor: String },
    #[error("permission denied to rotate the password of role \"{role}\"")]
    Widened { role: String, beyond: Vec<String> },
    #[error("permission denied to renew role \"{role}\"")]
    Bound { role: String, beyond: Vec<String> },
    #[error("permission denied to rotate the password of role \"{role}\"")]
    CutOff { role: String, left_out: Vec<String> },
    #[error("permission denied for role \"{role}\"")]
    Outlasts { role: String },
    #[error("role \"{role}\" was issued for a token")]
    OfToken { role: String },
    #[error("role \"{role}\" logs in by token")]
    NoPassword { role: String },
    #[error("overlap must not be negative, and must be finite")]
    Overlap,
    #[error("the reason is too long")]
    ReasonTooLong { bytes: usize, max: usize },
    #[error(transparent)]
    Authority(#[from] authority::Error),
    #[error(transparent)]
    Credential(#[from] super::Error),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Credential(error.into())
    }
}

/// Whose right to issue ends does not get hold of a login that goes on, and nobody of one that is for a token, and ends with that.
pub fn require_no_longer(target: &Target) -> Result<(), Error> {
    if target.metadata.token.is_some() {
        return Err(Error::OfToken {
            role: target.role.name.clone(),
        });
    }
    match itself::ends_at() {
        Some(end) if target.deadline().is_none_or(|deadline| deadline > end) => {
            Err(Error::Outlasts {
                role: target.role.name.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Ends a login now. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn revoke_role(role: Option<Name>, reason: Option<Text>) -> Result<(), ErrorReport> {
    let reason = reason.as_deref();
    error::require_preload()?;
    revoke(role, reason).map_err(error::report)
}

fn revoke(role: Option<Name>, reason: Option<&str>) -> Result<(), Error> {
    let Name(role) = role.ok_or(authority::Error::Null("role"))?;
    check_reason(reason)?;
    waiting::giving_way(|| revoke_now(&role, reason))
}

fn revoke_now(role: &str, reason: Option<&str>) -> Result<(), Error> {
    let target = Target::claim(role)?;
    if target.metadata.state != State::Active {
        error::notice(
            format!("role \"{role}\" is being ended already"),
            target
                .metadata
                .error
                .as_deref()
                .unwrap_or("Its sessions and grants go now."),
            "Look at scope.credentials for what it waits for.",
        );
        return Ok(());
    }
    end(&target, reason, "revoke_role")?;
    // An earlier password of the same login, still in its overlap.
    let mut replaced = target.metadata.replaces;
    let mut successor = role.to_owned();
    while let Some(name) = replaced.take() {
        let Ok(older) = Target::claim(&name) else {
            break;
        };
        if older.metadata.successor.as_deref() != Some(successor.as_str())
            || older.metadata.state != State::Active
        {
            break;
        }
        end(&older, reason, "revoke_role")?;
        error::notice(
            format!("role \"{name}\" is ended too"),
            "It is the same login with its earlier password.",
            "scope.rotate_password() made the other one.",
        );
        replaced = older.metadata.replaces;
        successor = name;
    }
    if !guc::expiry() {
        error::notice(
            "its sessions are not ended".to_owned(),
            "The setting scope_roles.expiry is off, so the worker is suspended.",
            "Call scope.expire_roles().",
        );
    }
    Ok(())
}

/// No login from the commit on; the worker does the rest. The label says so, which nobody else can
/// hold; what others are changing just now is left to the worker.
pub fn end(target: &Target, reason: Option<&str>, function: &str) -> Result<(), Error> {
    let work =
        || alter(&target.role.name, "NOLOGIN PASSWORD NULL").map_err(|error| error.to_string());
    let mut ended = Metadata {
        state: State::Ending,
        reason: reason.map(str::to_owned),
        ..target.metadata.clone()
    };
    match waiting::briefly(work) {
        Ok(outcome) => outcome.map_err(super::Error::Sql)?,
        Err(failure) => {
            left_to_the_worker(&target.role, &failure)?;
            ended.error = Some(failure.message);
        }
    }
    label::write(target.role.oid, &ended);
    let fields = [("reason", reason.into())];
    audit::administered(Action::Revoke, function, &target.role.name, &fields);
    Ok(())
}

/// Tells of a step that somebody else's open transaction is in the way of. Any other failure is raised.
pub fn left_to_the_worker(role: &Role, failure: &Failure) -> Result<(), Error> {
    if !failure.is_locked() && !failure.is_transient() {
        xact::raise(failure.clone());
    }
    let holder = identity::elevated(|| waiting::lock_holder(role.oid))?;
    error::notice(
        format!(
            "role \"{}\" is refused from the commit on, and not yet disabled",
            role.name
        ),
        &holder.map_or_else(
            || "Another transaction is in the way.".to_owned(),
            |holder| format!("In the way: {holder}."),
        ),
        "The background worker goes on as soon as it can; scope.credentials shows what it waits for.",
    );
    Ok(())
}

pub fn check_reason(reason: Option<&str>) -> Result<(), Error> {
    match reason {
        Some(reason) if reason.len() > MAX_REASON_BYTES => Err(Error::ReasonTooLong {
            bytes: reason.len(),
            max: MAX_REASON_BYTES,
        }),
        _ => Ok(()),
    }
}

/// ALTER ROLE, elevated; again while another tool changes the same row.
pub fn alter(role: &str, change: &str) -> Result<(), Error> {
    let sql = format!("ALTER ROLE {} {change}", spi::identifier(role));
    Ok(identity::elevated(|| {
        waiting::retrying(|| spi::execute(&sql))
    })?)
}
