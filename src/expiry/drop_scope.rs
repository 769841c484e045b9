//! The end of a scope, as soon as somebody asks for it: by the steps of all ends, and at once where nothing is in the way.

use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::Managed;
use super::end;
use super::record::Action;
use crate::audit::{self, Action as AuditAction, Value};
use crate::dependencies;
use crate::error;
use crate::label;
use crate::memberships;
use crate::pg::{catalog, identity, server, xact};
use crate::scope::plan::Other;
use crate::scope::{self, Error, Scope, claimed, declared, held};
use crate::waiting;

/// How long a scope's end waits for others who hold what it was granted; the worker goes on from there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn drop_scope(
    name: Option<&str>,
    force: Option<bool>,
    if_exists: Option<bool>,
) -> Result<(), ErrorReport> {
    error::require_preload()?;
    let checked = || -> Result<(), Error> {
        let name = name.ok_or(Error::Null("name"))?;
        let force = force.ok_or(Error::Null("force"))?;
        let if_exists = if_exists.ok_or(Error::Null("if_exists"))?;
        scope::writable()?;
        let since = Instant::now();
        waiting::giving_way(|| drop(name, force, if_exists, since))
    };
    checked().map_err(error::report)
}

/// Drops a scope, or begins its end where other databases still hold something of it, or other
/// transactions what it was granted. `since` is when the call has begun.
pub fn drop(name: &str, force: bool, if_exists: bool, since: Instant) -> Result<(), Error> {
    if if_exists && catalog::role_by_name(name).is_none() {
        error::notice(
            format!("scope \"{name}\" does not exist, skipping"),
            "No role has this name.",
            None,
        );
        return Ok(());
    }
    let scope = claimed(name)?;
    let elsewhere = scope.parts_elsewhere()?;
    if !elsewhere.is_empty() && !scope.has_part_here()? {
        if if_exists {
            error::notice(
                format!("this database has no part of scope \"{name}\", skipping"),
                &scope::elsewhere(&scope.databases()),
                None,
            );
            return Ok(());
        }
        return Err(Error::Elsewhere {
            databases: scope.databases(),
            scope: scope.name,
        });
    }
    // The logins of other databases go on there.
    let members = held::members(scope.oid, &elsewhere)?;
    if !members.is_empty() && !force {
        return Err(Error::HasMembers {
            scope: scope.name,
            members,
        });
    }
    let owned: Vec<String> = held::by(scope.oid)?
        .others
        .into_iter()
        .filter_map(|other| match other {
            Other::Owns { what, .. } | Other::Temporary { what } => Some(what),
            _ => None,
        })
        .collect();
    if !owned.is_empty() {
        return Err(Error::Owns {
            scope: scope.name,
            objects: owned,
        });
    }
    if !elsewhere.is_empty() {
        return leave(&scope);
    }
    let role = Managed {
        oid: scope.oid,
        name: scope.name.clone(),
        moment: i64::MIN,
        is_disabled: true,
        metadata: scope.metadata,
    };
    let (action, detail) = identity::elevated(|| {
        waiting::retrying_anew(|| -> SpiResult<_> {
            memberships::revoke_members(role.oid)?;
            let work = || {
                xact::raised(dependencies::drop_default_privileges_of(role.oid));
                xact::raised(end::release_and_drop(&role))
            };
            if since.elapsed() < PATIENCE {
                return Ok(work());
            }
            match waiting::briefly(work) {
                Err(failure) if failure.is_locked() => {
                    end::begin(&role).map(|reason| (Action::Ending, Some(reason)))
                }
                Err(failure) => xact::raise(failure),
                Ok(outcome) => Ok(outcome),
            }
        })
    })?;
    audit::administered(
        AuditAction::Scope,
        "drop_scope",
        name,
        &[("members", Value::Texts(&members))],
    );
    if action != Action::Dropped {
        error::notice(
            format!("scope \"{name}\" is being dropped"),
            &format!(
                "Its members have lost it; {}.",
                detail.unwrap_or_else(|| "the background worker goes on".to_owned())
            ),
            None,
        );
    }
    Ok(())
}

/// Takes away what a scope holds in this database; others declare it too.
fn leave(scope: &Scope) -> Result<(), Error> {
    identity::elevated(|| {
        waiting::retrying_anew(|| -> SpiResult<_> {
            revoke_credentials_of(scope.oid, server::database())?;
            dependencies::drop_default_privileges_of(scope.oid)?;
            dependencies::revoke_in_database(scope.oid)
        })
    })?;
    declared::forget(scope.oid, &scope.name);
    label::leave(scope.oid);
    audit::administered(AuditAction::Scope, "drop_scope", &scope.name, &[]);
    error::notice(
        format!(
            "scope \"{}\" has lost its part in this database",
            scope.name
        ),
        &format!("The role stays. {}", scope::elsewhere(&scope.databases())),
        None,
    );
    Ok(())
}

/// Takes the role from the credentials that were issued in a database.
fn revoke_credentials_of(role: pg_sys::Oid, database: pg_sys::Oid) -> SpiResult<()> {
    memberships::revoke_where(
        &format!(
            "a.roleid = $1 AND EXISTS (
               SELECT FROM pg_catalog.pg_shseclabel l
                WHERE l.objoid = a.member AND l.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                  AND l.provider = 'scope_roles' AND l.label::pg_catalog.jsonb ->> 'kind' = 'credential'
                  AND l.label::pg_catalog.jsonb ->> 'database_oid' = '{}')",
            u32::from(database)
        ),
        role,
    )
}
