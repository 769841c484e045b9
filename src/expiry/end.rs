//! The steps of a role's end. Each can be repeated: what is done is found done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::record::Action;
use super::waits;
use super::{Managed, managed};
use crate::advisory::{self, Key, Mode};
use crate::dependencies;
use crate::label::{self, Kind, Metadata, State, Temporary};
use crate::memberships;
use crate::pg::{catalog, clock, sessions, spi, xact};
use crate::scope::declared;
use crate::timestamp;
use crate::waiting;

/// Takes the role's lock and looks at it again; `None` too when somebody has the lock.
pub fn claim(due: &Managed) -> Option<Managed> {
    if advisory::try_lock(Key::Role(due.oid), Mode::Exclusive) {
        still_due(due)
    } else {
        None
    }
}

pub fn still_due(due: &Managed) -> Option<Managed> {
    managed(due.oid).filter(|role| role.is_due(clock::now()))
}

/// No more logins, not even where the library is missing.
pub fn disable(due: &Managed) -> SpiResult<()> {
    if !due.is_disabled {
        spi::execute(&format!(
            "ALTER ROLE {} NOLOGIN PASSWORD NULL",
            spi::identifier(&due.name)
        ))?;
    }
    if due.metadata.state == State::Active {
        if let Some(temporary) = &due.metadata.temporary {
            // The login stays a member of it: that tells its sessions that the role is gone. Others may
            // have made it a member of their roles, and hold these.
            memberships::revoke_membership(due.oid, temporary.role.into())?;
        }
        label::write(
            due.oid,
            &Metadata {
                state: State::Ending,
                ..due.metadata.clone()
            },
        );
    }
    Ok(())
}

/// Is there nothing left for `disable` to do?
pub fn is_refused(due: &Managed) -> bool {
    due.is_disabled && due.metadata.state != State::Active
}

/// Drops those of the roles that nothing is in the way of, all in one statement; the others are
/// for [`release_and_drop`].
pub fn drop_plain(due: &[Managed]) -> SpiResult<Vec<Managed>> {
    let claimed: Vec<Managed> = due.iter().filter_map(claim).collect();
    let oids: Vec<pg_sys::Oid> = claimed.iter().map(|role| role.oid).collect();
    let held = dependencies::holding(&oids)?;
    let preparing = waits::with_prepared_transactions(&oids)?;
    let plain: Vec<Managed> = claimed
        .into_iter()
        .filter(|role| role.metadata.kind != Kind::Temporary)
        .filter(|role| !held.contains(&role.oid))
        .filter(|role| sessions::of_roles(|other| other == role.oid).is_empty())
        .filter(|role| !preparing.contains(&role.oid))
        .collect();
    if !plain.is_empty() {
        let names: Vec<String> = plain
            .iter()
            .map(|role| spi::identifier(&role.name))
            .collect();
        spi::execute(&format!("DROP ROLE {}", names.join(", ")))?;
    }
    Ok(plain)
}

/// Revokes what the role holds in this database, then drops it if nothing else holds it back.
pub fn release_and_drop(due: &Managed) -> SpiResult<(Action, Option<String>)> {
    if !sessions::of_roles(|role| role == due.oid).is_empty() {
        return set_aside(
            due,
            State::Ending,
            Action::Ending,
            "its sessions have not ended yet".to_owned(),
            due.metadata.waits_for.clone(),
        );
    }
    memberships::revoke_memberships(due.oid)?;
    if let Some(prepared) = waits::prepared_transaction(due.oid)? {
        return set_aside(
            due,
            State::Ending,
            Action::Ending,
            prepared,
            due.metadata.waits_for.clone(),
        );
    }
    if let Some(temporary) = &due.metadata.temporary
        && let Some(outcome) = wait_for_takers(due, temporary)?
    {
        return Ok(outcome);
    }
    dependencies::revoke_here(due.oid)?;
    if due.metadata.kind == Kind::Scope {
        declared::forget(due.oid, &due.name);
    }
    let left = dependencies::of_role(due.oid)?;
    let owned: Vec<_> = left
        .iter()
        .filter(|dependency| dependency.is_ownership())
        .collect();
    if let Some(first) = owned.first() {
        let reason = format!(
            "it owns {} object(s), among them {}",
            owned.len(),
            named(first, due.metadata.error.as_deref())
        );
        // The next look is where the object can be named. Grants elsewhere are taken away all the same.
        let grants = left.iter().filter(|dependency| !dependency.is_ownership());
        let waits_for = databases_of(grants.chain([*first]));
        return set_aside(
            due,
            State::Quarantined,
            Action::Quarantined,
            reason,
            waits_for,
        );
    }
    if !left.is_empty() {
        let waits_for = databases_of(left.iter());
        let names = database_names(waits_for.iter().copied());
        let reason = format!("grants in database {names} are still to be revoked");
        return set_aside(due, State::Ending, Action::Ending, reason, waits_for);
    }
    spi::execute(&format!("DROP ROLE {}", spi::identifier(&due.name)))?;
    Ok((Action::Dropped, None))
}

/// The object and its database, which are named the same wherever one looks: what is elsewhere cannot be described from here, but
/// may have been, there.
fn named(owned: &dependencies::Dependency, before: Option<&str>) -> String {
    let database = database_names([u32::from(owned.database)]);
    if database.is_empty() {
        return owned.description.clone().unwrap_or_default();
    }
    let place = format!(" in database {database}");
    let known = before
        .and_then(|before| before.split_once(", among them "))
        .and_then(|(_, known)| known.strip_suffix(&place));
    match owned.description.as_deref().or(known) {
        Some(what) => format!("{what}{place}"),
        None => format!("one{place}"),
    }
}

/// A temporary membership that has ended stays known until the sessions that may have taken its role
/// have ended: by its label they are told apart from others that have lost a membership.
fn wait_for_takers(
    due: &Managed,
    temporary: &Temporary,
) -> SpiResult<Option<(Action, Option<String>)>> {
    let Some(ended_at) = &temporary.ended_at else {
        // Who begins after the next commit has no way to the role any more; not so before it.
        let committed = due.metadata.state != State::Active;
        let mut due = due.clone();
        due.metadata.temporary = Some(Temporary {
            ended_at: committed.then(|| timestamp::rfc3339(clock::now())),
            ..temporary.clone()
        });
        let reason = "its sessions are being looked for".to_owned();
        label::write(due.oid, &due.metadata);
        return set_aside(&due, State::Ending, Action::Ending, reason, Vec::new()).map(Some);
    };
    let takers = waits::sessions_since_before(temporary.to.into(), ended_at)?;
    if takers == 0 {
        return Ok(None);
    }
    let reason = format!("{takers} session(s) that began before its end may still have its role");
    set_aside(due, State::Ending, Action::Ending, reason, Vec::new()).map(Some)
}

fn databases_of<'a>(dependencies: impl Iterator<Item = &'a dependencies::Dependency>) -> Vec<u32> {
    let oids: BTreeSet<u32> = dependencies
        .map(|dependency| dependency.database.into())
        .filter(|&oid| oid != 0)
        .collect();
    oids.into_iter().collect()
}

fn database_names(oids: impl IntoIterator<Item = u32>) -> String {
    let names: BTreeMap<u32, String> = catalog::databases()
        .into_iter()
        .map(|database| (database.oid.into(), database.name))
        .collect();
    oids.into_iter()
        .filter_map(|oid| names.get(&oid))
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Begins the end of a scope while others are in the way of it; why, in words.
pub fn begin(due: &Managed) -> SpiResult<String> {
    let holder = waiting::lock_holder(due.oid)?;
    let reason = format!(
        "another transaction is in the way{}",
        holder.map_or_else(String::new, |holder| format!(": {holder}"))
    );
    let metadata = Metadata {
        state: State::Ending,
        error: Some(reason.clone()),
        ..due.metadata.clone()
    };
    label::write(due.oid, &metadata);
    Ok(reason)
}

/// The failure of an end that another call of ours is in the way of.
pub fn held() -> xact::Failure {
    xact::Failure {
        code: PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        message: "another transaction has called a function for the role".to_owned(),
        detail: None,
        hint: None,
    }
}

/// Is another call of ours in the way of the role's end?
pub fn is_held(due: &Managed) -> bool {
    !advisory::try_lock(Key::Role(due.oid), Mode::Exclusive) && still_due(due).is_some()
}

/// Keeps the role, disabled, with the reason why.
fn set_aside(
    due: &Managed,
    state: State,
    action: Action,
    reason: String,
    waits_for: Vec<u32>,
) -> SpiResult<(Action, Option<String>)> {
    disable(due)?;
    let metadata = Metadata {
        state,
        error: Some(reason.clone()),
        waits_for,
        ..due.metadata.clone()
    };
    if metadata != due.metadata {
        label::write(due.oid, &metadata);
    }
    Ok((action, Some(reason)))
}

/// Writes down why the last step failed. The label comes first: what failed may have been
/// disabling the role, and it is the label that refuses logins. Answers with a second error.
pub fn note_failure(due: &Managed, error: &str, patience: Duration) -> Option<String> {
    let noted = waiting::subtransaction_within(patience, || {
        let state = match due.metadata.state {
            State::Active => State::Ending,
            other => other,
        };
        let metadata = Metadata {
            state,
            error: Some(error.to_owned()),
            ..due.metadata.clone()
        };
        if metadata != due.metadata {
            label::write(due.oid, &metadata);
        }
    });
    let disabled = waiting::subtransaction_within(patience, || {
        if let Some(now) = managed(due.oid) {
            xact::raised(disable(&now));
        }
    });
    // Whoever holds the membership that is over does not hold up its login.
    let stopped = due.metadata.temporary.as_ref().map_or(Ok(()), |temporary| {
        waiting::subtransaction_within(patience, || {
            xact::raised(memberships::stop_inheriting(due.oid, temporary.to.into()));
        })
    });
    noted
        .and(disabled)
        .and(stopped)
        .err()
        .map(|failure| failure.message)
}
