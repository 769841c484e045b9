//! What a scope holds already, and whether the caller may hand that out.

use std::collections::BTreeSet;

use pgrx::pg_sys;

use super::control::{databases_of, may_hand_out};
use super::plan::{Grant, Grantor, Holdings, Need, Object, Other, Wanted};
use super::planned::Planned;
use super::privilege::Privilege;
use super::{Error, held, planning};
use crate::label;
use crate::memberships;
use crate::pg::{catalog, server};

/// The one who made a scope hands out what it holds only while they may grant that themselves: the
/// table may have another owner by now, and others may have made more of the scope by hand. What these have granted it in other
/// databases no credential of this one can use (`login::reach`): nobody there is to keep anybody here from issuing.
pub fn require_authority(caller: pg_sys::Oid, scope: pg_sys::Oid) -> Result<(), Error> {
    require_authority_over(caller, scope, held::by(scope)?)
}

fn require_authority_over(
    caller: pg_sys::Oid,
    scope: pg_sys::Oid,
    held: Holdings,
) -> Result<(), Error> {
    let (planned, grants) = planned_of(caller, scope, &held)?;
    planned.require_authority(&grants)?;
    // Memberships are asked about one by one, below.
    let is_membership = |what: &str| what.starts_with("membership in ");
    let mut beyond: Vec<String> = held
        .others
        .into_iter()
        .filter_map(|other| match other {
            Other::Else { what } if !is_membership(&what) => Some(what),
            _ => None,
        })
        .collect();
    for group in catalog::memberships(scope) {
        if !may_give(caller, group)? {
            beyond.push(format!(
                "membership in role \"{}\"",
                catalog::name_of(group)
            ));
        }
    }
    if beyond.is_empty() {
        Ok(())
    } else {
        Err(Error::Widened {
            scope: catalog::name_of(scope),
            caller: catalog::name_of(caller),
            beyond,
        })
    }
}

/// The same for those who will have all of it, in whatever database: what is held in others cannot be looked at from here.
pub fn require_authority_everywhere(caller: pg_sys::Oid, scope: pg_sys::Oid) -> Result<(), Error> {
    let mut held = held::by(scope)?;
    held.others.append(&mut held.elsewhere);
    require_authority_over(caller, scope, held)?;
    if catalog::role_by_oid(caller).is_some_and(|role| role.superuser) {
        return Ok(());
    }
    let mut beyond = Vec::new();
    for role in std::iter::once(scope).chain(memberships::groups(scope)) {
        let Some(Ok(metadata)) = label::read(role) else {
            continue;
        };
        let mut databases = databases_of(&metadata);
        if metadata.parts.more {
            databases.push("…".to_owned());
        }
        for database in databases {
            beyond.push(format!(
                "what \"{}\" holds in database \"{database}\"",
                catalog::name_of(role)
            ));
        }
    }
    if beyond.is_empty() {
        Ok(())
    } else {
        Err(Error::Widened {
            scope: catalog::name_of(scope),
            caller: catalog::name_of(caller),
            beyond,
        })
    }
}

/// Could the caller make somebody a member of this role, for what it holds in this database?
pub fn may_give(caller: pg_sys::Oid, role: pg_sys::Oid) -> Result<bool, Error> {
    may_give_by(require_authority, caller, role)
}

/// The same for all that it holds anywhere.
pub fn may_give_everywhere(caller: pg_sys::Oid, role: pg_sys::Oid) -> Result<bool, Error> {
    may_give_by(require_authority_everywhere, caller, role)
}

fn may_give_by(
    require: fn(pg_sys::Oid, pg_sys::Oid) -> Result<(), Error>,
    caller: pg_sys::Oid,
    role: pg_sys::Oid,
) -> Result<bool, Error> {
    if catalog::is_admin_of(caller, role) {
        return Ok(true);
    }
    if !may_hand_out(caller, role) {
        return Ok(false);
    }
    match require(caller, role) {
        Ok(()) => Ok(true),
        Err(Error::MayNotGrant { .. } | Error::Widened { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What of its grants in this database the caller could not make.
pub fn not_to_give(
    caller: pg_sys::Oid,
    role: pg_sys::Oid,
    held: &Holdings,
) -> Result<BTreeSet<Grant>, Error> {
    let (_, grants) = planned_of(caller, role, held)?;
    Ok(grants
        .into_iter()
        .filter(|(_, wanted)| wanted.grantor == Grantor::Nobody)
        .map(|(grant, _)| grant)
        .collect())
}

fn planned_of(
    caller: pg_sys::Oid,
    role: pg_sys::Oid,
    held: &Holdings,
) -> Result<(Planned, Vec<(Grant, Wanted)>), Error> {
    let planned = planning::plan_of(held, caller, role)?;
    let grants = planned
        .plan
        .grants
        .iter()
        .filter(|(grant, wanted)| wanted.need != Need::Spare && held.grants.contains_key(grant))
        .filter(|&(grant, wanted)| !comes_along(caller, grant, wanted, held))
        .map(|(&grant, &wanted)| (grant, wanted))
        .collect();
    Ok((planned, grants))
}

/// The right to connect to its database was given to the scope by somebody who may, for its logins: whoever may
/// connect themselves hands it on with the scope.
pub fn comes_along(caller: pg_sys::Oid, grant: &Grant, wanted: &Wanted, held: &Holdings) -> bool {
    wanted.grantor == Grantor::Nobody
        && matches!(grant.object, Object::Database(_))
        && grant.privilege == Privilege::Connect
        && held.grants.contains_key(grant)
        && server::may_connect(caller)
}
