//! Which scopes a caller controls, and one of them taken in hand: found, locked, fit for use.

use pgrx::pg_sys;

use super::{Error, declared};
use crate::advisory::{self, Key, Mode};
use crate::authority::{creator_of, is_over};
use crate::dependencies;
use crate::label::{self, Kind, Metadata, State, Unknown};
use crate::pg::{catalog, identity, server};

/// A scope that exists and that the caller controls.
pub struct Scope {
    pub oid: pg_sys::Oid,
    pub name: String,
    pub metadata: Metadata,
}

/// The scope of this name, if the caller controls it; one that is being dropped as well.
pub fn own(name: &str) -> Result<Scope, Error> {
    let unknown = || Error::Unknown {
        scope: name.to_owned(),
    };
    let role = catalog::role_by_name(name).ok_or_else(unknown)?;
    let not = |what| {
        Err(Error::NotAScope {
            role: name.to_owned(),
            what,
        })
    };
    let metadata = match label::of(role.oid) {
        Err(Unknown::Gone) => return Err(unknown()),
        Err(Unknown::NotOurs) => return not("Nothing of scope_roles manages it."),
        Err(Unknown::Unreadable(_)) => return not("Its label cannot be read."),
        Ok(metadata) if metadata.kind != Kind::Scope => {
            return not("It is a role of another kind, as scope.roles shows.");
        }
        Ok(_) if role.superuser => return not("It is a superuser."),
        Ok(metadata) => metadata,
    };
    let caller = identity::current_user();
    if !is_over(caller, &metadata) {
        let creator = creator_of(&metadata);
        return Err(Error::NotYours {
            scope: name.to_owned(),
            is_restored: !metadata.is_native,
            is_orphaned: creator.is_none(),
            creator: creator.map_or(metadata.creator, |creator| creator.name),
            caller: catalog::name_of(caller),
        });
    }
    Ok(Scope {
        oid: role.oid,
        name: role.name,
        metadata,
    })
}

impl Scope {
    /// Grants can be made to it, here and now.
    pub fn require_usable(&self) -> Result<(), Error> {
        if self.metadata.state != State::Active {
            return Err(Error::Ending {
                scope: self.name.clone(),
                waits: self.metadata.error.clone().unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Has this database a part of it? What a dump has brought is one as well.
    pub fn has_part_here(&self) -> Result<bool, Error> {
        Ok(
            label::has_part_in(&self.metadata, server::database().into())
                && !self.metadata.parts.more
                || declared::is_here(self.oid, &self.name)?,
        )
    }

    /// The other databases that have a part of it; where the label has no room for them, all in which it holds something.
    pub fn parts_elsewhere(&self) -> Result<Vec<u32>, Error> {
        let mut found = label::parts_elsewhere(&self.metadata);
        if self.metadata.parts.more {
            let here = u32::from(server::database());
            let held = dependencies::databases_of(self.oid)?;
            found.extend(held.into_iter().filter(|oid| *oid != here));
        }
        Ok(found)
    }

    /// The names of the other databases that have a part of it.
    pub fn databases(&self) -> Vec<String> {
        databases_of(&self.metadata)
    }
}

/// The names of the other databases that have a part of such a scope.
pub fn databases_of(metadata: &Metadata) -> Vec<String> {
    let parts = label::parts_elsewhere(metadata).into_iter();
    parts
        .filter_map(|oid| server::name_of_database(oid.into()))
        .collect()
}

/// The scope of this name, for changing it: locked, active and the caller's.
pub fn locked(name: &str) -> Result<Scope, Error> {
    let scope = claimed(name)?;
    scope.require_usable()?;
    Ok(scope)
}

/// The caller's scope of this name, locked: authority first, so that nobody else can take the lock, and
/// again under it.
pub fn claimed(name: &str) -> Result<Scope, Error> {
    let first = own(name)?;
    advisory::lock(Key::Role(first.oid), Mode::Exclusive);
    let scope = own(name)?;
    if scope.oid == first.oid {
        Ok(scope)
    } else {
        // Renamed meanwhile: what is locked is another role.
        Err(Error::Unknown { scope: scope.name })
    }
}

/// Is this role a scope in use that `caller` controls?
pub fn may_hand_out(caller: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    matches!(
        label::read(role),
        Some(Ok(metadata)) if metadata.kind == Kind::Scope
            && metadata.state == State::Active
            && is_over(caller, &metadata)
    )
}

/// Is it a scope of the caller's own making, and in use?
pub fn is_own(role: pg_sys::Oid, caller: pg_sys::Oid) -> bool {
    matches!(
        label::read(role),
        Some(Ok(metadata)) if metadata.kind == Kind::Scope
            && metadata.state == State::Active
            && creator_of(&metadata).is_some_and(|creator| creator.oid == caller)
    )
}
