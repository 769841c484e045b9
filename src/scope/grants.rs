//! Making a scope's grants and taking them back, each as the one who can; label, declaration and audit follow.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use super::control::Scope;
use super::plan::{self, Grant, Grantor, Holdings, Need, Object, Other, Wanted};
use super::planned::Planned;
use super::privilege::Privilege;
use super::request::Request;
use super::statements::{Direction, describe, statements};
use super::{Error, declared, held};
use crate::audit::{self, Action, Value};
use crate::label::{self, Access};
use crate::pg::{identity, spi};
use crate::waiting;

/// Makes the grants of a plan that a scope lacks. The caller holds its lock.
pub fn extend(
    name: &str,
    role: pg_sys::Oid,
    request: &Request,
    planned: &Planned,
) -> Result<(), Error> {
    let grants = grantable(planned.plan.to_grant(&held::by(role)?));
    planned.require_authority(&grants)?;
    planned.require_future(request)?;
    let held = grant(name, role, planned, &grants)?;
    let mut new = declared::add(role, name, &planned.plan, &held)?;
    new.retain(|new| !grants.iter().any(|(grant, _)| grant == new));
    if !new.is_empty() {
        changed(
            "alter_scope",
            name,
            "declared",
            new.iter(),
            &planned.plan.names,
        );
    }
    if !grants.is_empty() {
        changed(
            "alter_scope",
            name,
            "granted",
            grants.iter().map(|(grant, _)| grant),
            &planned.plan.names,
        );
    }
    Ok(())
}

/// Makes grants, each as the one who can, and looks whether they are there: what is held then.
pub(super) fn grant(
    name: &str,
    role: pg_sys::Oid,
    planned: &Planned,
    grants: &[(Grant, Wanted)],
) -> Result<Holdings, Error> {
    let mut by_grantor: BTreeMap<Grantor, Vec<&Grant>> = BTreeMap::new();
    for (grant, wanted) in grants {
        by_grantor.entry(wanted.grantor).or_default().push(grant);
    }
    for (grantor, grants) in by_grantor {
        let sql = statements(
            grants,
            &planned.plan.names,
            &spi::identifier(name),
            Direction::Grant,
        )
        .join("; ");
        // Other tools change the same access lists without our lock.
        let work = || waiting::retrying(|| spi::execute(&sql));
        match grantor {
            Grantor::Caller => identity::pinned(work)?,
            Grantor::Scope(owner) => identity::acting_as(owner.into(), work)?,
            Grantor::Nobody => {}
        }
    }
    let after = held::by(role)?;
    label::declare(role, access(&after), true);
    let difference = planned.plan.difference(&after);
    if difference.missing.is_empty() {
        return Ok(after);
    }
    // PostgreSQL says with a warning only that it has not granted something.
    Err(Error::NotDone {
        scope: name.to_owned(),
        left: difference
            .missing
            .iter()
            .map(|grant| describe(grant, &[&planned.plan.names]))
            .collect(),
    })
}

/// Spare grants that nobody can make are left out.
pub(super) fn grantable(grants: Vec<(Grant, Wanted)>) -> Vec<(Grant, Wanted)> {
    grants
        .into_iter()
        .filter(|(_, wanted)| wanted.need != Need::Spare || wanted.grantor != Grantor::Nobody)
        .collect()
}

/// Revokes as each grantor: a REVOKE takes back the grants of the one who runs it.
pub(super) fn revoke(scope: &Scope, held: &Holdings, gone: &BTreeSet<Grant>) -> Result<(), Error> {
    let mut by_grantor: BTreeMap<u32, Vec<&Grant>> = BTreeMap::new();
    for grant in gone {
        let grantors = held.grants.get(grant).into_iter().flatten();
        for &grantor in grantors {
            // Default privileges belong to the role that they are for.
            let grantor = match grant.object {
                Object::Future { creator, .. } => creator,
                _ => grantor,
            };
            by_grantor.entry(grantor).or_default().push(grant);
        }
    }
    let role = spi::identifier(&scope.name);
    for (grantor, grants) in by_grantor {
        let sql = statements(grants, &held.names, &role, Direction::Revoke).join("; ");
        identity::acting_as(grantor.into(), || waiting::retrying(|| spi::execute(&sql)))?;
    }
    let after = held::by(scope.oid)?;
    label::declare(scope.oid, access(&after), false);
    let left: Vec<String> = gone
        .iter()
        .filter(|grant| after.grants.contains_key(grant))
        .map(|grant| describe(grant, &[&held.names]))
        .collect();
    if left.is_empty() {
        changed(
            "alter_scope",
            &scope.name,
            "revoked",
            gone.iter(),
            &held.names,
        );
        Ok(())
    } else {
        Err(Error::NotDone {
            scope: scope.name.clone(),
            left,
        })
    }
}

/// For the audit trail.
pub fn changed<'a>(
    function: &str,
    name: &str,
    what: &'static str,
    grants: impl Iterator<Item = &'a Grant>,
    names: &plan::Names,
) {
    const SHOWN: usize = 100;
    let mut grants: Vec<String> = grants.map(|grant| describe(grant, &[names])).collect();
    let more = grants.len().saturating_sub(SHOWN);
    if more > 0 {
        grants.truncate(SHOWN);
        grants.push(format!("and {more} more"));
    }
    audit::administered(
        Action::Scope,
        function,
        name,
        &[(what, Value::Texts(&grants))],
    );
}

/// Writes down what a scope is for here, after what it holds has changed.
pub fn redeclare(scope: pg_sys::Oid, joins: bool) -> Result<(), Error> {
    label::declare(scope, access(&held::by(scope)?), joins);
    Ok(())
}

/// What a scope is for, by what it holds.
pub(super) fn access(held: &Holdings) -> Access {
    let owns = held
        .others
        .iter()
        .any(|other| matches!(other, Other::Owns { .. }));
    let mut reads = !owns;
    for grant in held.grants.keys() {
        match grant.privilege {
            Privilege::Create => return Access::Create,
            Privilege::Select | Privilege::Usage | Privilege::Connect => {}
            _ => reads = false,
        }
    }
    if reads { Access::Read } else { Access::Write }
}
