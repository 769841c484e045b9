//! Roles that a restore has brought from another cluster. Their labels name creators and databases by OIDs of that one; a superuser
//! says that the names mean the same here.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Error, change, declared, held, writable};
use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action};
use crate::error::{report, require_preload};
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
        // In one order, so that two calls never wait for each other.
        roles.sort_unstable_by_key(|&role: &pg_sys::Oid| u32::from(role));
        let mut rows = Vec::new();
        for role in roles {
            rows.extend(adopt(role)?);
        }
        Ok(rows)
    };
    let rows = adopted().map_err(report)?.into_iter();
    Ok(TableIterator::new(rows.map(|(role, adopted)| {
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
    })))
}

/// What it is now, if that has changed.
fn adopt(role: pg_sys::Oid) -> Result<Option<(String, Metadata)>, Error> {
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
    if before.kind == Kind::Scope && declared::is_here(role, &name)? {
        change::redeclare(role, true)?;
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
