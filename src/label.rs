//! What the extension knows about a role: a JSON security label on it (docs/design.md, "What we know of a role is a security label on it").

mod comment;
mod glance;
mod text;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

pub use glance::{Glance, glance, kind_name};
pub use text::{
    Access, Invalid, Kind, MAX_PURPOSE_BYTES, Metadata, Parts, State, Temporary, Token, earlier,
};

use crate::admission::Rules;
use crate::jwt::redact;
use crate::pg::{catalog, clock, seclabel, server, shared_comment};
use crate::timestamp;
use crate::wakeup;

pub const PROVIDER: &CStr = c"scope_roles";

/// Keeps the guards of a role, which need not be ours.
pub const GUARDS: &CStr = c"scope_roles_guard";

/// Marks the groups of logins by token: whoever is in one of them passes no line that asks for nothing.
pub const TOKEN_LOGINS: &CStr = c"scope_roles_token_logins";

/// Marks a group, unless it is marked.
pub fn mark_token_logins(group: pg_sys::Oid) {
    if seclabel::get(TOKEN_LOGINS, group).is_none() {
        seclabel::set(TOKEN_LOGINS, group, Some(&c"group".to_owned()));
    }
}

/// Is it such a group? Also while a client logs in.
pub fn is_group_of_token_logins(group: pg_sys::Oid) -> bool {
    seclabel::get_at_login(TOKEN_LOGINS, group).is_some()
}

/// All such groups.
pub fn groups_of_token_logins() -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    seclabel::each(TOKEN_LOGINS, |group, _| found.push(group));
    found
}

/// The metadata of a managed role; not of a login that is only guarded. `Err` for a role that is ours
/// but whose label can't be read: callers treat it as managed and disabled.
pub fn read(role: pg_sys::Oid) -> Option<Result<Metadata, Invalid>> {
    read_any(role).filter(|metadata| {
        !matches!(
            metadata,
            Ok(Metadata {
                kind: Kind::Guarded,
                ..
            })
        )
    })
}

/// Why nothing is known of a role that was found by its name.
pub enum Unknown {
    NotOurs,
    /// It is ours, but its label cannot be read.
    Unreadable(Invalid),
    /// It has been dropped since, and its label with it.
    Gone,
}

/// As [`read`], of a role that was there a moment ago.
pub fn of(role: pg_sys::Oid) -> Result<Metadata, Unknown> {
    match read(role) {
        Some(read) => read.map_err(Unknown::Unreadable),
        None if catalog::is_still_there(role) => Err(Unknown::NotOurs),
        None => Err(Unknown::Gone),
    }
}

/// The metadata of a managed role, or of a login that is only guarded.
pub fn read_any(role: pg_sys::Oid) -> Option<Result<Metadata, Invalid>> {
    seclabel::get(PROVIDER, role).map(|label| parse(role, &label))
}

/// The same while a client logs in, where PostgreSQL can't read what it has moved out of the row.
pub fn read_at_login(role: pg_sys::Oid) -> Option<Result<Metadata, Invalid>> {
    let label = seclabel::get_at_login(PROVIDER, role)?;
    Some(label.map_or(Err(Invalid::TooLong), |label| parse(role, &label)))
}

fn parse(role: pg_sys::Oid, label: &str) -> Result<Metadata, Invalid> {
    let metadata = Metadata::parse(label)?;
    Ok(Metadata {
        is_native: metadata.system == Some(server::system_identifier())
            && metadata.oid == Some(role.into()),
        ..metadata
    })
}

/// Every role with a label, as (OID, label text), in no order; also where there is no database.
pub fn each(visit: impl FnMut(pg_sys::Oid, &str)) {
    seclabel::each(PROVIDER, visit);
}

/// What can be seen at a glance of a role, if it has a label.
pub fn glance_of(role: pg_sys::Oid) -> Option<Glance> {
    glance(&seclabel::get(PROVIDER, role)?)
}

/// Takes a role's label away in this transaction.
pub fn remove(role: pg_sys::Oid) {
    seclabel::set(PROVIDER, role, None);
    wakeup::at_commit_before(i64::MAX);
}

/// Gives a role the guards of another one, as they stand.
pub fn hand_on_guards(from: pg_sys::Oid, to: pg_sys::Oid) {
    let guards = guards_of(from).and_then(|text| crate::pg::text::written(&text).ok());
    if guards.is_some() {
        set_guards(to, guards.as_ref());
    }
}

/// The label that keeps a role's guards.
pub fn guards_of(role: pg_sys::Oid) -> Option<String> {
    seclabel::get(GUARDS, role)
}

/// Writes it, or takes it away; sessions hear of it with the commit.
pub fn set_guards(role: pg_sys::Oid, label: Option<&CString>) {
    seclabel::set(GUARDS, role, label);
    seclabel::tell_sessions(role);
}

/// Labels a role that was just made, in this database, for `caller`. False when there is no such
/// role: it must not stay without its label, which would make it nobody's.
#[must_use]
pub fn attach_scope(
    role: &str,
    caller: pg_sys::Oid,
    purpose: Option<&str>,
    on_request: bool,
) -> bool {
    let metadata = Metadata {
        on_request,
        ..fresh(Kind::Scope, caller, purpose)
    };
    attach_metadata(role, &metadata)
}

/// What is known of a role that is being made, in this database, for `caller`.
#[must_use]
pub fn fresh(kind: Kind, caller: pg_sys::Oid, purpose: Option<&str>) -> Metadata {
    let creator = catalog::name_of(caller);
    Metadata {
        v: 1,
        kind,
        state: State::Active,
        valid_until: None,
        access: None,
        on_request: false,
        creator,
        creator_oid: caller.into(),
        created_at: timestamp::rfc3339(clock::now()),
        database: Some(server::database_name()),
        database_oid: Some(server::database().into()),
        system: Some(server::system_identifier()),
        oid: None,
        is_native: true,
        parts: Parts::default(),
        purpose: purpose.map(without_token),
        login: Rules::default(),
        rotated_at: None,
        successor: None,
        replaces: None,
        bound: false,
        token: None,
        request: None,
        reason: None,
        temporary: None,
        error: None,
        roles: Vec::new(),
        issuers: Vec::new(),
        subject_limit: None,
        scopes: BTreeMap::new(),
        waits_for: Vec::new(),
    }
}

/// Everybody can read what a label says.
fn without_token(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    redact(&mut bytes);
    // What is struck out is ASCII.
    String::from_utf8(bytes).unwrap_or_default()
}

/// As [`attach_scope`], with metadata of one's own.
#[must_use]
pub fn attach_metadata(role: &str, metadata: &Metadata) -> bool {
    match catalog::role_by_name(role) {
        Some(created) => {
            let metadata = Metadata {
                oid: metadata.is_native.then(|| created.oid.into()),
                ..metadata.clone()
            };
            write(created.oid, &metadata);
            true
        }
        None => false,
    }
}

/// What a scope is for in this database from now on, which `joins` those that have a part of it if it
/// has none yet. The caller controls the scope.
pub fn declare(scope: pg_sys::Oid, access: Access, joins: bool) {
    change_parts(scope, |metadata| {
        let here = u32::from(server::database());
        if !metadata.is_native {
            // scope.adopt_restored() makes its OIDs those of this cluster, and all parts known.
            metadata.access = Some(access);
        } else if joins || metadata.parts.access_in(here).is_some() {
            metadata.parts.set(here, access);
            if !metadata.fits() {
                metadata.parts.retain(|database| database != here);
                metadata.parts.more = true;
            }
        }
    });
}

/// This database has no part of the scope any more.
pub fn leave(scope: pg_sys::Oid) {
    let here = u32::from(server::database());
    change_parts(scope, |metadata| {
        metadata.parts.retain(|database| database != here);
    });
}

fn change_parts(scope: pg_sys::Oid, change: impl FnOnce(&mut Metadata)) {
    if let Some(Ok(before)) = read(scope) {
        let mut metadata = before.clone();
        change(&mut metadata);
        if metadata.is_native && metadata.parts != before.parts {
            let databases = living();
            metadata.parts.retain(|oid| databases.contains(&oid));
        }
        if !metadata.parts.more {
            metadata.access = metadata.parts.most().or(metadata.access);
        }
        if metadata != before {
            write(scope, &metadata);
            seclabel::tell_sessions(scope);
        }
    }
}

fn living() -> Vec<u32> {
    let databases = catalog::databases().into_iter();
    databases.map(|database| database.oid.into()).collect()
}

/// Has a database a part of the scope? Where the label has no room for all, any may.
pub fn has_part_in(metadata: &Metadata, database: u32) -> bool {
    let parts = &metadata.parts;
    metadata.is_native && (parts.more || parts.access_in(database).is_some())
}

/// The other databases that have a part of the scope, as far as the label names them.
pub fn parts_elsewhere(metadata: &Metadata) -> Vec<u32> {
    if !metadata.is_native {
        return Vec::new();
    }
    let here = u32::from(server::database());
    let databases = living();
    let parts = metadata.parts.all();
    parts
        .filter(|oid| *oid != here && databases.contains(oid))
        .collect()
}

/// What a scope is for in this database.
pub fn access_here(metadata: &Metadata) -> Option<Access> {
    let here = metadata
        .is_native
        .then(|| metadata.parts.access_in(server::database().into()))
        .flatten();
    here.or(metadata.access)
}

/// Is it the database of this name that a login was issued for? It stays so under another name, and when it was made anew under its own.
pub fn is_home(metadata: &Metadata, database: &str) -> bool {
    let Some(oid) = metadata.database_oid else {
        return true;
    };
    let found = metadata
        .is_native
        .then(|| server::name_of_database(oid.into()))
        .flatten();
    match found {
        Some(name) => name == database,
        None => metadata
            .database
            .as_deref()
            .is_none_or(|name| name == database),
    }
}

/// The credentials that were issued in this database, and not in one of another cluster.
pub fn issued_here() -> Vec<pg_sys::Oid> {
    let here = server::database_name();
    let mut found = Vec::new();
    each(|role, label| {
        if let Ok(metadata) = parse(role, label)
            && metadata.kind == Kind::Credential
            && metadata.is_native
            && is_home(&metadata, &here)
        {
            found.push(role);
        }
    });
    found
}

/// The logins that were issued for tokens in this database, and are not being ended.
pub fn issued_for_tokens() -> Vec<(pg_sys::Oid, Metadata)> {
    let here = server::database_name();
    let mut found = Vec::new();
    each(|role, label| {
        if label.contains("\"token\":{")
            && let Ok(metadata) = parse(role, label)
            && metadata.token.is_some()
            && metadata.state == State::Active
            && is_home(&metadata, &here)
        {
            found.push((role, metadata));
        }
    });
    found
}

/// The logins that came of a request in this database, and are not being ended.
pub fn issued_on_request(request: i64) -> Vec<(pg_sys::Oid, Metadata)> {
    let here = server::database_name();
    let mut found = Vec::new();
    each(|role, label| {
        if label.contains("\"request\":")
            && let Ok(metadata) = parse(role, label)
            && metadata.request == Some(request)
            && metadata.state == State::Active
            && metadata.is_native
            && is_home(&metadata, &here)
        {
            found.push((role, metadata));
        }
    });
    found
}

/// Somebody has named the scope: it is there to stay. The caller controls it.
pub fn keep(scope: pg_sys::Oid) {
    if let Some(Ok(mut metadata)) = read(scope)
        && metadata.on_request
    {
        metadata.on_request = false;
        write(scope, &metadata);
    }
}

/// Writes the metadata in this transaction. After the commit the launcher knows of it in time.
pub fn write(role: pg_sys::Oid, metadata: &Metadata) {
    if let Ok(label) = crate::pg::text::written(&metadata.to_text()) {
        let is_new = seclabel::get(PROVIDER, role).is_none();
        seclabel::set(PROVIDER, role, Some(&label));
        if let Some(Ok(text)) =
            comment::comment(metadata).map(|comment| crate::pg::text::written(&comment))
        {
            shared_comment::keep(role, &text, comment::OURS, is_new);
        }
        wakeup::at_commit_before(match metadata.state {
            State::Active => catalog::role_by_oid(role)
                .and_then(|role| metadata.deadline(role.valid_until))
                .unwrap_or(i64::MAX),
            State::Ending | State::Quarantined => i64::MIN,
        });
    }
}

/// May this `SECURITY LABEL FOR scope_roles` statement go through? Raises an error when not.
pub fn judge(on_role: bool, label: Option<&str>, superuser: bool) {
    judge_by(on_role, label, superuser, |text| {
        Metadata::parse(text)
            .map(|_| ())
            .map_err(|invalid| invalid.to_string())
    });
}

/// The same of a label that `parse` knows.
pub fn judge_by(
    on_role: bool,
    label: Option<&str>,
    superuser: bool,
    parse: impl FnOnce(&str) -> Result<(), String>,
) {
    let refusal = if !on_role {
        Some((
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "scope_roles labels exist on roles only",
            String::from("The label provider scope_roles keeps the metadata of managed roles."),
        ))
    } else if !superuser {
        Some((
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to change a scope_roles label",
            String::from("Only a superuser, restoring a dump, sets these labels by hand."),
        ))
    } else {
        label.and_then(|text| parse(text).err()).map(|invalid| {
            (
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                "invalid scope_roles label",
                invalid,
            )
        })
    };
    if let Some((code, message, detail)) = refusal {
        ErrorReport::new(code, message, function_name!())
            .set_detail(detail)
            .set_hint("Use the functions of schema \"scope\" to manage roles.")
            .report(PgLogLevel::ERROR);
    }
}

/// Does this role act through tokens only? Superusers never do.
pub fn is_gated(role: pg_sys::Oid) -> bool {
    let is_authenticator = matches!(
        read(role),
        Some(Ok(Metadata {
            kind: Kind::Authenticator,
            ..
        }))
    );
    is_authenticator && catalog::role_by_oid(role).is_some_and(|role| !role.superuser)
}
