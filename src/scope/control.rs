//! Which scopes a caller controls, and one of them taken in hand: found, locked, fit for use.

use pgrx::pg_sys;

use super::Error;
use crate::authority::is_over;
use crate::label::{self, Kind, Metadata, State, Unknown};
use crate::pg::advisory::{self, Key, Mode};
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
        return Err(Error::NotYours {
            scope: name.to_owned(),
            creator: metadata.creator,
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
        match &self.metadata.database {
            Some(database) if *database != server::database_name() => Err(Error::Elsewhere {
                scope: self.name.clone(),
                database: database.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// The scope of this name, for changing it: locked, active, of this database and the caller's.
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
            && metadata.creator_oid == u32::from(caller)
            && metadata.creator == catalog::name_of(caller)
    )
}
