//! Renewing a login: another deadline, within the longest life.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::life::{Error, alter, require_no_longer};
use super::{beyond, issue, itself};
use crate::audit::{self, Action};
use crate::authority::{self, Target};
use crate::label::{self, Metadata};
use crate::pg::clock;
use crate::pg::name::Name;
use crate::session_libraries;
use crate::waiting;
use crate::{error, guc, timestamp, wakeup};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Moves a deadline. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn renew_role(
    role: Option<Name>,
    valid_for: Option<Interval>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    error::require_preload()?;
    renew(role, valid_for)
        .map(clock::to_sql)
        .map_err(error::report)
}

fn renew(role: Option<Name>, valid_for: Option<Interval>) -> Result<i64, Error> {
    let Name(role) = role.ok_or(authority::Error::Null("role"))?;
    let asked = valid_for
        .is_some()
        .then(|| super::deadline_of(valid_for))
        .transpose()
        .map_err(super::Error::from)?;
    waiting::giving_way(|| renew_until(&role, asked))
}

fn renew_until(role: &str, asked: Option<i64>) -> Result<i64, Error> {
    let target = Target::claim(role)?;
    target.require_active()?;
    require_no_longer(&target)?;
    let role = role.to_owned();
    if let Some(successor) = &target.metadata.successor {
        let successor = successor.clone();
        return Err(Error::Replaced { role, successor });
    }
    let before = target.deadline();
    if before.is_none() {
        return Err(Error::Endless { role });
    }
    // An issue time that can't be read leaves no time at all.
    let now = clock::now();
    let latest = timestamp::parse(&target.metadata.created_at).map_or(now, |issued| {
        issued.saturating_add(guc::max_ttl().saturating_mul(MICROS_PER_SECOND))
    });
    let deadline = match asked {
        Some(deadline) => deadline,
        None => now
            .saturating_add(guc::default_ttl().saturating_mul(MICROS_PER_SECOND))
            .min(latest)
            .min(itself::ends_at().unwrap_or(i64::MAX)),
    };
    if deadline > latest || deadline <= now {
        return Err(Error::BeyondCap { role, latest });
    }
    if target.metadata.bound {
        require_giving(&target)?;
    }
    move_deadline(&target, deadline)?;
    Ok(deadline)
}

/// A later end that others have decided on, however long it has lived; the current user has the authority.
pub fn prolong(role: pg_sys::Oid, deadline: i64) -> Result<(), Error> {
    waiting::giving_way(|| {
        let target = Target::seize(role).ok_or(super::Error::Vanished)?;
        target.require_active()?;
        move_deadline(&target, deadline)
    })
}

fn move_deadline(target: &Target, deadline: i64) -> Result<(), Error> {
    let (role, before) = (&target.role.name, target.deadline());
    alter(role, &issue::valid_until(deadline))?;
    waiting::retrying(|| session_libraries::bind(target.role.oid));
    let renewed = Metadata {
        bound: target.metadata.bound && itself::ends_at().is_some(),
        ..target.metadata.until(Some(deadline))
    };
    label::write(target.role.oid, &renewed);
    wakeup::renewed_at_commit(target.role.oid);
    let fields = [
        ("valid_until", audit::deadline(Some(deadline))),
        ("valid_before", audit::deadline(before)),
    ];
    audit::administered(Action::Renew, "renew_role", role, &fields);
    Ok(())
}

/// Who had the right to issue it for a time does not renew it afterwards: its caller could give all that it has.
fn require_giving(target: &Target) -> Result<(), Error> {
    let having = beyond::of(&target.role).map_err(super::Error::from)?;
    let beyond: Vec<String> = having
        .into_iter()
        .filter(|having| !having.may && !having.is_idle)
        .map(|having| having.what)
        .collect();
    if beyond.is_empty() {
        Ok(())
    } else {
        Err(Error::Bound {
            role: target.role.name.clone(),
            beyond,
        })
    }
}
