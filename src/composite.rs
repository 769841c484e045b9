//! Composite roles: what a token gives together (docs/design.md, "Several roles of a token are one"). A NOLOGIN role of ours is a member of
//! each of them, inherits what they hold, and holds nothing of its own. Whose set of roles is the same acts as the same one.

mod error;
mod name;

use std::collections::BTreeSet;
use std::time::Duration;

use pgrx::pg_sys;

use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action, Value};
use crate::label::{self, Kind, Metadata, State};
use crate::memberships;
use crate::pg::catalog::{self, Role};
use crate::pg::{clock, compat, identity, invalidation, server, spi, xact};
use crate::waiting;

pub use name::name;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the roles of the token cannot be taken together here")]
    ReadOnly { role: String },
    #[error("the roles of the token cannot be taken together")]
    TooMany,
    #[error("the roles of the token cannot be taken together")]
    Taken { role: String },
    #[error("the roles of the token cannot be taken together")]
    Changed { role: String },
    #[error("the roles of the token cannot be taken together just now")]
    Busy,
    #[error("the roles of the token cannot be taken together")]
    Gone,
    #[error("the roles of the token cannot be taken together")]
    Sql(#[from] pgrx::spi::Error),
}

fn attributes() -> String {
    format!("NOLOGIN INHERIT {}", catalog::WITHOUT_POWER)
}

fn has_attributes(role: &Role) -> bool {
    let has_more = role.superuser || role.bypass_rls || role.create_role || role.create_db;
    role.inherits && !role.can_login && !role.replication && !has_more
}

/// How long a login waits for others who change the roles just now.
const PATIENCE: Duration = Duration::from_secs(5);

/// One that no token has needed for so long is dropped. Microseconds.
const LINGERS: i64 = 24 * 60 * 60 * 1_000_000;

/// The roles that it holds, if it is one, and whole: neither at its end, nor with attributes of its own, nor inheriting from any others.
pub fn parts(role: &Role) -> Option<Vec<String>> {
    let label = label_of(role.oid)?;
    let held: Option<Vec<pg_sys::Oid>> = label.roles.iter().map(String::as_str).map(oid).collect();
    let held = set(held?);
    (has_attributes(role)
        && is_live(&label, clock::now())
        && held == set(catalog::inherited_memberships(role.oid)))
    .then_some(label.roles)
}

/// Is it one, in whatever state?
pub fn is_one(role: pg_sys::Oid) -> bool {
    label_of(role).is_some()
}

/// Makes sure that there is one of these roles, each of which the login may take, that the login can take it, and that it stays as long as
/// the token, which ends in Unix microseconds.
pub fn ensure(roles: &[String], login: pg_sys::Oid, ends_at: i64) -> Result<(), Error> {
    let name = name(roles);
    be_there(&name, roles, login, ends_at)?;
    let role = catalog::role_by_name(&name).ok_or(Error::Gone)?;
    // On a standby it ends when the primary drops it.
    if !outlasts(role.oid, ends_at) && !xact::is_read_only() {
        prolong(&role, ends_at);
    }
    if !compat::may_set_role(login, role.oid) {
        invalidation::forget_memberships();
    }
    Ok(())
}

fn be_there(name: &str, roles: &[String], login: pg_sys::Oid, ends_at: i64) -> Result<(), Error> {
    let is_whole = |role: &Role| {
        parts(role).as_deref() == Some(roles) && compat::may_set_role(login, role.oid)
    };
    if catalog::role_by_name(name).is_some_and(|role| is_whole(&role)) {
        return Ok(());
    }
    if xact::is_read_only() {
        return Err(Error::ReadOnly {
            role: name.to_owned(),
        });
    }
    let make = || identity::elevated(|| make(name, roles, login, ends_at));
    let made = waiting::subtransaction_within(PATIENCE, || waiting::giving_way(make));
    made.unwrap_or_else(|failure| match failure.is_locked() {
        true => Err(Error::Busy),
        false => xact::raise(failure),
    })
}

/// Whoever does so in a transaction that stays open keeps nobody from coming in: who finds the label taken leaves it to the next one.
fn prolong(role: &Role, ends_at: i64) {
    let write = || {
        if catalog::lock_role(role.oid)
            && let Some(label) = label_of(role.oid)
            && is_live(&label, clock::now())
        {
            label::write(role.oid, &label.until(Some(lasts_until(ends_at))));
        }
    };
    let _done = waiting::aside(|| identity::elevated(write));
}

/// A while longer than a token, so that not each one that comes prolongs it.
fn lasts_until(ends_at: i64) -> i64 {
    ends_at.max(clock::now()).saturating_add(LINGERS)
}

/// Makes it, or what of it is missing. Elevated.
fn make(name: &str, roles: &[String], login: pg_sys::Oid, ends_at: i64) -> Result<(), Error> {
    let owner = catalog::owner_of_database(server::database()).ok_or(Error::Gone)?;
    let metadata = Metadata {
        roles: roles.to_vec(),
        ..label::fresh(Kind::Composite, owner, None)
    };
    let metadata = metadata.until(Some(lasts_until(ends_at)));
    if !metadata.fits() {
        return Err(Error::TooMany);
    }
    let role = match existing(name, roles)? {
        Some(role) => role,
        None => {
            advisory::lock(Key::Text(name), Mode::Exclusive);
            match existing(name, roles)? {
                Some(role) => role,
                None => create(name, roles)?,
            }
        }
    };
    let identifier = spi::identifier(name);
    if !has_attributes(&role) {
        spi::execute(&format!("ALTER ROLE {identifier} {}", attributes()))?;
    }
    let is_good = label_of(role.oid).is_some_and(|label| is_live(&label, clock::now()));
    if !is_good && !label::attach_metadata(name, &metadata) {
        return Err(Error::Gone);
    }
    let parts: Option<Vec<pg_sys::Oid>> = roles.iter().map(String::as_str).map(oid).collect();
    let parts = parts.ok_or(Error::Gone)?;
    let others = catalog::memberships(role.oid).into_iter();
    for other in others.filter(|role| !parts.contains(role)) {
        memberships::revoke_membership(role.oid, other)?;
    }
    let before = catalog::inherited_memberships(role.oid);
    let missing: Vec<String> = (roles.iter().zip(&parts))
        .filter(|(_, part)| !before.contains(part))
        .map(|(role, _)| spi::identifier(role))
        .collect();
    if !missing.is_empty() {
        let (missing, options) = (missing.join(", "), memberships::INHERIT_ONLY);
        spi::execute(&format!("GRANT {missing} TO {identifier}{options}"))?;
    }
    if !compat::may_set_role(login, role.oid) {
        let login = spi::identifier(&catalog::name_of(login));
        let options = memberships::SWITCH_ONLY;
        spi::execute(&format!("GRANT {identifier} TO {login}{options}"))?;
    }
    Ok(())
}

/// The one of this name, locked against its end until the transaction ends. One that has come to its end already is good again: it may be
/// kept by what a session has left in it.
fn existing(name: &str, roles: &[String]) -> Result<Option<Role>, Error> {
    let Some(role) = catalog::role_by_name(name) else {
        return Ok(None);
    };
    let taken = || Error::Taken {
        role: name.to_owned(),
    };
    let of_these = |role: &Role| label_of(role.oid).filter(|label| label.roles == roles);
    if of_these(&role).is_none() {
        return Err(taken());
    }
    advisory::lock(Key::Role(role.oid), Mode::Exclusive);
    let now = catalog::role_by_name(name).filter(|now| now.oid == role.oid);
    match now {
        // It has ended meanwhile, and its name is free.
        None => Ok(None),
        Some(role) => of_these(&role).map(|_| Some(role)).ok_or_else(taken),
    }
}

/// Without a label yet.
fn create(name: &str, roles: &[String]) -> Result<Role, Error> {
    let identifier = spi::identifier(name);
    spi::execute(&format!("CREATE ROLE {identifier} {}", attributes()))?;
    let fields = [("roles", Value::Texts(roles))];
    audit::administered(Action::Scope, "login by token", name, &fields);
    catalog::role_by_name(name).ok_or(Error::Gone)
}

fn label_of(role: pg_sys::Oid) -> Option<Metadata> {
    label::read(role)?
        .ok()
        .filter(|label| label.kind == Kind::Composite)
}

fn is_live(label: &Metadata, now: i64) -> bool {
    label.state == State::Active && label.deadline(None).is_none_or(|deadline| deadline > now)
}

/// Without a deadline it stays.
fn outlasts(role: pg_sys::Oid, ends_at: i64) -> bool {
    let label = label_of(role);
    label.is_some_and(|label| {
        label
            .deadline(None)
            .is_none_or(|deadline| deadline >= ends_at)
    })
}

fn oid(role: &str) -> Option<pg_sys::Oid> {
    catalog::role_by_name(role).map(|role| role.oid)
}

fn set(roles: Vec<pg_sys::Oid>) -> BTreeSet<u32> {
    roles.into_iter().map(u32::from).collect()
}
