//! The end of a scope, as soon as somebody asks for it: by the steps of all ends, and at once where nothing is in the way.

use std::collections::BTreeSet;
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
use crate::pg::arguments::Text;
use crate::pg::{catalog, identity, xact};
use crate::scope::plan::Other;
use crate::scope::{self, Error, Scope, claimed, declared, grants, held};
use crate::waiting;

/// How long a scope's end waits for others who hold what it was granted; the worker goes on from there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn drop_scope(
    name: Option<Text>,
    force: Option<bool>,
    if_exists: Option<bool>,
) -> Result<(), ErrorReport> {
    let name = name.as_deref();
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
    let held = held::by(scope.oid)?;
    // Its part here goes whatever it owns elsewhere.
    let elsewhere_too = elsewhere.is_empty().then_some(&held.elsewhere);
    let owned: Vec<String> = held
        .others
        .iter()
        .chain(elsewhere_too.into_iter().flatten())
        .filter_map(|other| match other {
            Other::Owns { what, .. } | Other::Temporary { what } => Some(what.clone()),
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
        return leave(&scope, since);
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

/// Takes away what a scope holds in this database; others declare it too. What others are changing for long just now it keeps, and with
/// that its part.
fn leave(scope: &Scope, since: Instant) -> Result<(), Error> {
    let in_the_way = identity::elevated(|| {
        waiting::retrying_anew(|| -> Result<_, Error> {
            let credentials = held::credentials_of_here(scope.oid)?;
            memberships::revoke_from(scope.oid, &credentials)?;
            dependencies::drop_default_privileges_of(scope.oid)?;
            let mut in_the_way = false;
            dependencies::revoke_in_database(scope.oid, |revoke| {
                let waited = since.elapsed();
                if waited < PATIENCE {
                    return revoke();
                }
                let patience = if waited < 2 * PATIENCE {
                    waiting::patience()
                } else {
                    waiting::SHORTEST
                };
                match waiting::subtransaction_within(patience, revoke) {
                    Err(failure) if failure.is_locked() => {
                        in_the_way = true;
                        Ok(())
                    }
                    Err(failure) => xact::raise(failure),
                    Ok(outcome) => outcome,
                }
            })?;
            Ok(in_the_way)
        })
    })?;
    audit::administered(AuditAction::Scope, "drop_scope", &scope.name, &[]);
    if in_the_way {
        return keep_what_is_left(scope);
    }
    declared::forget(scope.oid, &scope.name);
    label::leave(scope.oid);
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

fn keep_what_is_left(scope: &Scope) -> Result<(), Error> {
    let held = held::by(scope.oid)?;
    declared::keep_only(scope.oid, &scope.name, &held)?;
    grants::redeclare(scope.oid, false)?;
    let holder = identity::elevated(|| waiting::lock_holder(scope.oid))?;
    let objects: BTreeSet<_> = held.grants.keys().map(|grant| grant.object).collect();
    error::notice(
        format!("scope \"{}\" still has a part in this database", scope.name),
        &format!(
            "Its logins of this database have lost it; what it holds on {} object(s) another transaction is changing{}.",
            objects.len(),
            holder.map_or_else(String::new, |holder| format!(": {holder}"))
        ),
        Some("Call scope.drop_scope() again once that has ended."),
    );
    Ok(())
}
