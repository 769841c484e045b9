//! Handing over what a role has made: managed roles get another creator, who manages them from then on. For creators that leave, that
//! were dropped, or that a restore has not found.

mod error;

use std::collections::BTreeSet;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action, Value};
use crate::authority::creator_of;
use crate::credential::itself;
use crate::error::{notice, report, require_preload};
use crate::label::{self, Kind, Metadata};
use crate::pg::catalog::{self, Role};
use crate::pg::name::Name;
use crate::pg::{identity, server, xact};
use crate::request;
use crate::request::policy::RoleRef;
use crate::waiting;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("cannot hand over roles in a read-only transaction")]
    ReadOnly,
    #[error("role \"{role}\" does not exist")]
    Unknown { role: String },
    #[error("permission denied to hand over what role \"{role}\" has made")]
    NotAMember { role: String, caller: String },
    #[error("permission denied to hand over what role \"{role}\" has made")]
    Former { role: String },
    #[error("permission denied to hand anything over to role \"{role}\"")]
    NotOfTheNewOne { role: String, caller: String },
    #[error("permission denied to hand anything over for good")]
    Outlasts,
    #[error("role \"{role}\" cannot own managed roles")]
    Managed { role: String, kind: Option<Kind> },
    #[error("role \"{role}\" cannot own managed roles")]
    Predefined { role: String },
    #[error(transparent)]
    Request(#[from] request::Error),
}

/// Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn reassign(
    from_role: Option<Name>,
    to_role: Option<Name>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(role_name, Name),
            name!(kind, String),
            name!(created_by, Name),
            name!(database, Option<Name>),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let handed = || -> Result<_, Error> {
        let Name(from) = from_role.ok_or(Error::Null("from_role"))?;
        let Name(to) = to_role.ok_or(Error::Null("to_role"))?;
        if xact::is_read_only() {
            return Err(Error::ReadOnly);
        }
        waiting::giving_way(|| hand_over(&from, &to))
    };
    Ok(TableIterator::new(handed().map_err(report)?))
}

/// `role_name, kind, created_by, database`
type Row = (Name, String, Name, Option<Name>);

fn row((role, metadata): (String, Metadata)) -> Row {
    let database = metadata.database_oid.filter(|_| metadata.is_native);
    let database = database.and_then(|oid| server::name_of_database(oid.into()));
    (
        Name(role),
        label::kind_name(metadata.kind).to_owned(),
        Name(metadata.creator),
        database.or(metadata.database).map(Name),
    )
}

/// Each is locked until the transaction ends, in a table of limited size.
const AT_ONCE: usize = 1_000;

fn hand_over(from: &str, to: &str) -> Result<Vec<Row>, Error> {
    let from = From::named(from)?;
    let to = heir(to)?;
    let found = Found::of(&from, &to);
    let mut left = found.to_hand_over.len();
    let mut rows = Vec::new();
    for &role in found.to_hand_over.iter().take(AT_ONCE) {
        pgrx::check_for_interrupts!();
        left -= 1;
        rows.extend(give(pg_sys::Oid::from(role), &from, &to).map(row));
    }
    if left > 0 {
        notice(
            format!("{left} roles are still to be handed over"),
            &format!("One call hands over {AT_ONCE} at most."),
            "Call it again.",
        );
    }
    found.tell(&from);
    let is_from = |creator: &RoleRef| from.is(catalog::role_by_oid(creator.oid()), &creator.name);
    for policy in request::policy::change::hand_over(&is_from, &to)? {
        let database = Some(Name(server::database_name()));
        let kind = request::POLICY.to_owned();
        rows.push((Name(policy), kind, Name(to.name.clone()), database));
    }
    Ok(rows)
}

/// Whose roles are handed over.
struct From {
    name: String,
    /// Who has the name now, if anybody.
    role: Option<pg_sys::Oid>,
    /// Also of whoever has had that name, and is gone.
    formers_too: bool,
}

impl From {
    /// Superusers may say that of anybody; others of a role that is there and whose privileges they have.
    fn named(name: &str) -> Result<Self, Error> {
        let role = catalog::role_by_name(name).map(|role| role.oid);
        let caller = identity::current_user();
        let formers_too = identity::is_superuser();
        let name = name.to_owned();
        match role {
            _ if formers_too => {}
            None => return Err(Error::Former { role: name }),
            Some(role) if !catalog::has_privileges_of(caller, role) => {
                return Err(Error::NotAMember {
                    role: name,
                    caller: catalog::name_of(caller),
                });
            }
            // What is handed over stays so, and this right does not.
            Some(_) if itself::ends_at().is_some() => return Err(Error::Outlasts),
            Some(_) => {}
        }
        Ok(Self {
            name,
            role,
            formers_too,
        })
    }

    fn has_made(&self, metadata: &Metadata) -> bool {
        self.is(creator_of(metadata), &metadata.creator)
    }

    /// A creator that is there, or was called so.
    fn is(&self, creator: Option<Role>, name: &str) -> bool {
        match creator {
            Some(creator) => self.role == Some(creator.oid),
            None => self.formers_too && name == self.name,
        }
    }
}

/// Who may have it: a role that stays, of whose privileges the caller has all.
fn heir(name: &str) -> Result<Role, Error> {
    let role = catalog::role_by_name(name).ok_or_else(|| Error::Unknown {
        role: name.to_owned(),
    })?;
    let (caller, name) = (identity::current_user(), role.name.clone());
    let is_superuser = identity::is_superuser();
    if !is_superuser && (role.superuser || !catalog::has_privileges_of(caller, role.oid)) {
        return Err(Error::NotOfTheNewOne {
            role: name,
            caller: catalog::name_of(caller),
        });
    }
    if let Some(label) = label::read(role.oid) {
        let kind = label.ok().map(|metadata| metadata.kind);
        return Err(Error::Managed { role: name, kind });
    }
    // Those that PostgreSQL brings have whoever was granted a part of its powers as members.
    if name.starts_with("pg_") {
        return Err(Error::Predefined { role: name });
    }
    // From now on it is not dropped before this is committed.
    if !catalog::lock_role(role.oid) {
        return Err(Error::Unknown { role: name });
    }
    Ok(role)
}

/// The label with the new creator, if that changes it.
fn given(metadata: &Metadata, to: &Role) -> Option<Metadata> {
    let (creator, creator_oid) = (to.name.clone(), to.oid.into());
    (metadata.creator != creator || metadata.creator_oid != creator_oid).then(|| Metadata {
        creator,
        creator_oid,
        ..metadata.clone()
    })
}

#[derive(Default)]
struct Found {
    /// In one order, so that two calls never wait for each other.
    to_hand_over: BTreeSet<u32>,
    /// They came with a restore.
    restored: usize,
    /// They are of others that have had the name, and have another one now, or are gone.
    others: BTreeSet<Option<String>>,
}

impl Found {
    fn of(from: &From, to: &Role) -> Self {
        let mut found = Self::default();
        let mut roles = Vec::new();
        label::each(|role, _| roles.push(role));
        for role in roles {
            pgrx::check_for_interrupts!();
            let Some(Ok(metadata)) = label::read_any(role) else {
                continue;
            };
            if !metadata.is_native {
                found.restored += usize::from(metadata.creator == from.name);
            } else if from.has_made(&metadata) {
                if given(&metadata, to).is_some() {
                    found.to_hand_over.insert(role.into());
                }
            } else if metadata.creator == from.name {
                let creator = creator_of(&metadata).map(|creator| creator.name);
                found.others.insert(creator);
            }
        }
        found
    }

    /// What the name could have meant, too.
    fn tell(&self, from: &From) {
        let name = &from.name;
        if self.restored > 0 {
            notice(
                format!(
                    "{} roles of \"{name}\" have come with a restore",
                    self.restored
                ),
                "Nobody has adopted them yet, so that superusers alone manage them.",
                "Have a superuser call scope.adopt_restored() first.",
            );
        }
        for other in &self.others {
            match other {
                Some(other) => notice(
                    format!("\"{other}\" has been called \"{name}\", and keeps what it has made"),
                    "A renamed role is the same role.",
                    "Pass the name that it has now, as created_by in scope.roles shows it.",
                ),
                None => notice(
                    format!("another role was called \"{name}\", and is gone"),
                    "Superusers alone hand over what it has made.",
                    "Have a superuser call scope.reassign() with the same names.",
                ),
            }
        }
    }
}

/// What it is from now on. Decided on what the label says under the lock.
fn give(role: pg_sys::Oid, from: &From, to: &Role) -> Option<(String, Metadata)> {
    advisory::lock(Key::Role(role), Mode::Exclusive);
    if !catalog::lock_role(role) {
        return None;
    }
    let before = label::read_any(role)?.ok()?;
    if !before.is_native || !from.has_made(&before) {
        return None;
    }
    let after = given(&before, to)?;
    label::write(role, &after);
    let name = catalog::name_of(role);
    let former = creator_of(&before).map_or(before.creator, |creator| creator.name);
    let fields = [
        ("created_by", Value::Text(&after.creator)),
        ("formerly", Value::Text(&former)),
    ];
    audit::administered(Action::Scope, "reassign", &name, &fields);
    Some((name, after))
}
