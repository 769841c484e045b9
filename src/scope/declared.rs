//! The declarations of scopes, kept in _scope.scope_declaration of the database of their objects.
//!
//! They are written with the grants, after the caller's authority over the scope has been asked for,
//! under the lock on its name. Roles and objects are found by OID in the database that wrote a row,
//! so that renaming changes nothing, and by name where the row came with a dump, or where what it
//! names was made anew. What is gone from the database is gone from the declaration.

pub mod queries;
pub mod renames;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use pgrx::prelude::*;

use super::Error;
use super::declaration::{Declaration, Found, Stance};
use super::plan::{Grant, Holdings, Object, Plan};
use crate::pg::{identity, spi, xact};
use crate::waiting;
use queries::{
    ANY, FORGET, FORGET_OTHERS, INSERT, IS_HERE, NEWCOMERS, OF_ALL, OF_ONE, REMOVE, REPLACED,
    ROLES_HERE,
};
pub use rows::Replaced;
use rows::{Fact, Newcomer, Row, collect};

/// What a scope of this database declares.
pub fn by(scope: pg_sys::Oid, name: &str) -> Result<Declaration, Error> {
    let scope = u32::from(scope);
    let facts = identity::elevated(|| spi::facts::<Fact>(OF_ONE, &[&scope.to_string(), name]))?;
    Ok(collect(facts).remove(&scope).unwrap_or_default())
}

/// Was the scope made or changed here, or has a dump brought what it declares?
pub fn is_here(scope: pg_sys::Oid, name: &str) -> Result<bool, Error> {
    let scope = u32::from(scope).to_string();
    let found = identity::elevated(|| spi::facts::<bool>(ANY, &[&scope, name]))?;
    Ok(!found.is_empty())
}

/// The roles of all scopes of which [`is_here`] would say so.
pub fn roles_here() -> Result<BTreeSet<u32>, Error> {
    let found = identity::elevated(|| spi::facts::<u32>(ROLES_HERE, &[]))?;
    Ok(found.into_iter().collect())
}

/// Those of all scopes that have any here, by role.
pub fn all() -> Result<BTreeMap<u32, Declaration>, Error> {
    Ok(collect(identity::elevated(|| {
        spi::facts::<Fact>(OF_ALL, &[])
    })?))
}

/// What has taken the name of something that was declared.
pub fn replaced() -> Result<Vec<Replaced>, Error> {
    identity::elevated(|| Ok(spi::facts::<Replaced>(REPLACED, &[])?))
}

/// All of a plan belongs to the scope from now on; `held` is what it holds now. What did not before.
pub fn add(
    scope: pg_sys::Oid,
    name: &str,
    plan: &Plan,
    held: &Holdings,
) -> Result<Vec<Grant>, Error> {
    change(scope, name, |declaration| declaration.add(plan, held))
}

/// The same of a scope that was just made.
pub fn make(scope: pg_sys::Oid, name: &str, plan: &Plan, held: &Holdings) -> Result<(), Error> {
    let mut declaration = Declaration::default();
    declaration.add(plan, held);
    write(scope, name, &declaration)
}

/// Nothing but a plan belongs to the scope from now on. What did not before.
pub fn replace(
    scope: pg_sys::Oid,
    name: &str,
    plan: &Plan,
    held: &Holdings,
) -> Result<Vec<Grant>, Error> {
    change(scope, name, |declaration| declaration.replace(plan, held))
}

/// What was taken from a scope that held `held`, by a plan, does no longer belong to it.
pub fn take_away(
    scope: pg_sys::Oid,
    name: &str,
    gone: &BTreeSet<Grant>,
    plan: &Plan,
    held: &Holdings,
) -> Result<(), Error> {
    change(scope, name, |declaration| {
        declaration.take_away(gone, plan, held);
    })?;
    Ok(())
}

/// Nothing but what it holds belongs to the scope from now on.
pub fn keep_only(scope: pg_sys::Oid, name: &str, held: &Holdings) -> Result<(), Error> {
    change(scope, name, |declaration| {
        declaration
            .grants
            .retain(|grant, _| held.grants.contains_key(grant));
    })?;
    Ok(())
}

/// A scope ends: nothing is declared for it here any more, nor for others that are gone.
/// A failure does not keep the scope: what is left goes with the next one that ends.
pub fn forget(scope: pg_sys::Oid, name: &str) {
    let scope = u32::from(scope).to_string();
    let done = waiting::aside(|| {
        xact::raised(identity::elevated(|| {
            // The worker comes to databases without the extension too.
            if has_extension() {
                spi::write(FORGET, &[&scope, name])?;
                spi::write(FORGET_OTHERS, &[])?;
            }
            Ok(())
        }));
    });
    if let Err(failure) = done {
        log!(
            "scope_roles: what a scope declared could not be deleted: {}",
            failure.message
        );
    }
}

/// Has this database the extension?
pub fn has_extension() -> bool {
    spi::facts::<bool>(IS_HERE, &[]).is_ok_and(|found| !found.is_empty())
}

/// What is there of those whose future objects are declared.
pub fn newcomers(
    declarations: &BTreeMap<u32, Declaration>,
) -> Result<(Vec<Found>, BTreeMap<Object, String>), Error> {
    let places: BTreeSet<(u32, u32)> = declarations
        .values()
        .flat_map(|declaration| declaration.grants.keys())
        .filter_map(|grant| match grant.object {
            Object::Future {
                creator, schema, ..
            } => Some((schema, creator)),
            _ => None,
        })
        .collect();
    let mut names = BTreeMap::new();
    if places.is_empty() {
        return Ok((Vec::new(), names));
    }
    let places: Vec<_> = places
        .into_iter()
        .map(|(schema, creator)| serde_json::json!({"schema": schema, "creator": creator}))
        .collect();
    let places = serde_json::to_string(&places)?;
    let facts = identity::elevated(|| spi::facts::<Newcomer>(NEWCOMERS, &[&places]))?;
    let found = facts.into_iter().map(|fact| {
        let object = match fact.class.as_str() {
            "sequence" => Object::Sequence(fact.object),
            "function" => Object::Function(fact.object),
            _ => Object::Table(fact.object),
        };
        names.insert(object, fact.sql);
        Found {
            object,
            schema: fact.schema,
            owner: fact.owner,
        }
    });
    Ok((found.collect(), names))
}

/// What is required now, and was not.
fn change(
    scope: pg_sys::Oid,
    name: &str,
    make: impl FnOnce(&mut Declaration),
) -> Result<Vec<Grant>, Error> {
    let before = by(scope, name)?;
    let mut after = before.clone();
    make(&mut after);
    if after.grants == before.grants {
        return Ok(Vec::new());
    }
    write(scope, name, &after)?;
    let is_new = |(grant, stance): &(&Grant, &Stance)| {
        **stance == Stance::Required && before.grants.get(grant) != Some(stance)
    };
    let new = after.grants.iter().filter(is_new);
    Ok(new.map(|(&grant, _)| grant).collect())
}

fn write(scope: pg_sys::Oid, name: &str, declaration: &Declaration) -> Result<(), Error> {
    let rows: Vec<Row<'_>> = declaration
        .grants
        .iter()
        .map(|(grant, &stance)| Row::of(declaration, grant, stance))
        .collect();
    let rows = serde_json::to_string(&rows)?;
    let scope = u32::from(scope).to_string();
    identity::elevated(|| {
        spi::write(REMOVE, &[&scope, name, &rows])?;
        spi::write(INSERT, &[&scope, name, &rows])
    })?;
    Ok(())
}
