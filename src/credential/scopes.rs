//! The scopes that a caller names for a credential, and whether they are the caller's to hand out.

use std::collections::HashSet;

use pgrx::pg_sys;

use super::issue::Membership;
use crate::advisory::{self, Key, Mode};
use crate::authority::is_over;
use crate::label::{self, Kind, State, Unknown};
use crate::pg::name::Name;
use crate::pg::{catalog, identity};
use crate::scope;
use crate::switch;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("a credential needs at least one scope")]
    None,
    #[error("scope \"{scope}\" does not exist")]
    Unknown { scope: String },
    #[error("role \"{scope}\" is not a scope")]
    NotAScope { scope: String },
    #[error("scope \"{scope}\" is being ended")]
    Ending { scope: String },
    #[error("this database has no part of scope \"{scope}\"")]
    Elsewhere {
        scope: String,
        databases: Vec<String>,
    },
    #[error("permission denied for scope \"{scope}\"")]
    NotYours { scope: String, caller: String },
    #[error("scope \"{scope}\" may not be handed out")]
    Privileged { scope: String, why: &'static str },
}

pub fn named(scopes: Option<Vec<Option<Name>>>) -> Result<Vec<String>, Error> {
    let mut names = scopes
        .ok_or(Error::Null("scopes"))?
        .into_iter()
        .map(|scope| scope.map(|Name(scope)| scope))
        .collect::<Option<Vec<String>>>()
        .ok_or(Error::Null("an element of scopes"))?;
    if names.is_empty() {
        return Err(Error::None);
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// Checks each scope, and keeps it from being dropped until we are done.
pub fn membership(scopes: &[String]) -> Result<Membership, super::Error> {
    let mut ordered = scopes
        .iter()
        .map(|scope| Ok((check(scope)?, scope)))
        .collect::<Result<Vec<_>, super::Error>>()?;
    // In one order, so that two callers cannot wait for each other.
    ordered.sort_by_key(|&(role, _)| u32::from(role));
    for (role, scope) in ordered {
        advisory::lock(Key::Role(role), Mode::Share);
        if check(scope)? != role {
            // Renamed meanwhile: what is locked is another role.
            return Err(Error::Unknown {
                scope: scope.to_owned(),
            }
            .into());
        }
    }
    let acts_as = match scopes {
        [only] if scope::creates(only)? => Some(only.clone()),
        _ => None,
    };
    Ok(Membership {
        acts_as,
        scopes: scopes.to_vec(),
        subject: scopes.first().cloned().unwrap_or_default(),
    })
}

/// A scope that the caller may hand out.
pub fn check(name: &str) -> Result<pg_sys::Oid, super::Error> {
    let named = || name.to_owned();
    let Some(role) = catalog::role_by_name(name) else {
        return Err(Error::Unknown { scope: named() }.into());
    };
    let metadata = match label::of(role.oid) {
        Ok(metadata) if metadata.kind == Kind::Scope => metadata,
        Err(Unknown::Gone) => return Err(Error::Unknown { scope: named() }.into()),
        _ => return Err(Error::NotAScope { scope: named() }.into()),
    };
    let caller = identity::current_user();
    let is_admin = catalog::is_admin_of(caller, role.oid);
    if !is_admin && !is_over(caller, &metadata) {
        return Err(Error::NotYours {
            scope: named(),
            caller: catalog::name_of(caller),
        }
        .into());
    }
    if metadata.state != State::Active {
        return Err(Error::Ending { scope: named() }.into());
    }
    let found = scope::Scope {
        oid: role.oid,
        name: named(),
        metadata,
    };
    // One that a restore has brought, and nobody has adopted yet, need not know of its parts.
    if found.metadata.is_native && !found.has_part_here()? {
        return Err(Error::Elsewhere {
            scope: named(),
            databases: found.databases(),
        }
        .into());
    }
    // Somebody may have made more of it by hand.
    if let Some(why) = switch::privileged(&role) {
        return Err(Error::Privileged {
            scope: named(),
            why,
        }
        .into());
    }
    if !is_admin {
        scope::require_authority(caller, role.oid)?;
    }
    Ok(role.oid)
}
