//! Roles that a restore has brought from another cluster. Their labels name creators and databases by OIDs of that one; a superuser
//! says that the names mean the same here.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Error, declared, grants, held, writable};
use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action};
use crate::error::{notice, report, require_preload};
use crate::label::{self, Kind, Metadata, Parts, Temporary};
use crate::pg::name::Name;
use crate::pg::{catalog, identity, server};

/// Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn adopt_restored() -> Result<
    TableIterator<
        'static,
        (
            name!(role_name, Name),
            name!(kind, String),
            name!(created_by, Option<Name>),
            name!(database, Option<Name>),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let adopted = || -> Result<_, Error> {
        writable()?;
        if !catalog::role_by_oid(identity::current_user()).is_some_and(|role| role.superuser) {
            return Err(Error::MayNotAdopt);
        }
        let mut roles = Vec::new();
        label::each(|role, _| roles.push(role));
        let here = declared::roles_here()?;
        roles.retain(|&role| is_to_adopt(role, &here));
        // In one order, so that two calls never wait for each other.
        roles.sort_unstable_by_key(|&role: &pg_sys::Oid| u32::from(role));
        let left = roles.split_off(roles.len().min(AT_ONCE)).len();
        let mut rows = Vec::new();
        for role in roles {
            pgrx::check_for_interrupts!();
            rows.extend(adopt(role, &here)?);
        }
        if left > 0 {
            notice(
                format!("{left} roles are still to be adopted"),
                &format!("One call adopts {AT_ONCE} at most."),
                "Call it again.",
            );
        }
        let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
        rows.extend(ALSO.get().into_iter().flat_map(|adopt| adopt()));
        Ok(rows)
    };
    Ok(TableIterator::new(adopted().map_err(report)?))
}

/// `role_name, kind, created_by, database`
pub type Row = (Name, String, Option<Name>, Option<Name>);

static ALSO: OnceLock<fn() -> Vec<Row>> = OnceLock::new();

/// What is adopted with the roles, in the same transaction: a room above knows. In the postmaster.
pub fn adopts_also(adopt: fn() -> Vec<Row>) {
    ALSO.get_or_init(|| adopt);
}

fn row((role, adopted): (String, Metadata)) -> Row {
    let creator = catalog::role_by_oid(adopted.creator_oid.into());
    let database = adopted
        .database_oid
        .and_then(|oid| server::name_of_database(oid.into()));
    (
        Name(role),
        label::kind_name(adopted.kind).to_owned(),
        creator.map(|creator| Name(creator.name)),
        database.map(Name),
    )
}

/// Each is locked until the transaction ends, in a table of limited size.
const AT_ONCE: usize = 1_000;

/// Has a restore brought it, or this database a part of it that its label does not know?
fn is_to_adopt(role: pg_sys::Oid, here: &BTreeSet<u32>) -> bool {
    matches!(label::read_any(role), Some(Ok(label)) if !label.is_native || is_to_join(role, &label, here))
}

fn is_to_join(role: pg_sys::Oid, label: &Metadata, here: &BTreeSet<u32>) -> bool {
    let database = server::database().into();
    label.kind == Kind::Scope
        && here.contains(&role.into())
        && label.parts.access_in(database).is_none()
        && !label.parts.more
}

/// What it is now, if that has changed. `here`: the scopes that this database declares.
fn adopt(role: pg_sys::Oid, here: &BTreeSet<u32>) -> Result<Option<(String, Metadata)>, Error> {
    let Some(Ok(_)) = label::read_any(role) else {
        return Ok(None);
    };
    advisory::lock(Key::Role(role), Mode::Exclusive);
    let Some(Ok(before)) = label::read_any(role) else {
        return Ok(None);
    };
    let name = catalog::name_of(role);
    if !before.is_native {
        label::write(role, &native(role, &before)?);
    }
    let is_here = before.kind == Kind::Scope && here.contains(&role.into());
    if is_here && (!before.is_native || is_to_join(role, &before, here)) {
        grants::redeclare(role, true)?;
    }
    let Some(Ok(after)) = label::read_any(role) else {
        return Ok(None);
    };
    if after == before {
        return Ok(None);
    }
    let creator = [("created_by", Some(after.creator.as_str()).into())];
    audit::administered(Action::Scope, "adopt_restored", &name, &creator);
    Ok(Some((name, after)))
}

/// The same with OIDs of this cluster: of who and what has the names now, or of nobody and nothing.
fn native(role: pg_sys::Oid, foreign: &Metadata) -> Result<Metadata, Error> {
    let creator = catalog::role_by_name(&foreign.creator);
    Ok(Metadata {
        creator_oid: creator.map_or(0, |creator| creator.oid.into()),
        database_oid: foreign
            .database
            .as_deref()
            .map(|name| server::database_of_name(name).map_or(0, u32::from)),
        system: Some(server::system_identifier()),
        oid: Some(role.into()),
        parts: Parts::default(),
        temporary: match &foreign.temporary {
            Some(temporary) => Some(pair(role, temporary)?),
            None => None,
        },
        waits_for: Vec::new(),
        request: None,
        ..foreign.clone()
    })
}

/// A temporary membership stands between its role and its login.
fn pair(role: pg_sys::Oid, foreign: &Temporary) -> Result<Temporary, Error> {
    let members = held::members(role, &[])?;
    let member = members.first().and_then(|name| catalog::role_by_name(name));
    let group = catalog::memberships(role).first().copied();
    Ok(Temporary {
        role: group.map_or(0, u32::from),
        to: member.map_or(0, |member| member.oid.into()),
        ..foreign.clone()
    })
}
