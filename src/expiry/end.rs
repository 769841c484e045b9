//! The steps of a credential's end. Each can be repeated: what is done is found done.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::{Credential, credential};
use crate::label::{self, Metadata, State};
use crate::pg::advisory::{self, Mode};
use crate::pg::{catalog, clock, dependencies, sessions, spi, xact};
use crate::scope::lock_key;
use crate::temporary;

/// How long to wait for terminated sessions to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
const SCAN: Duration = Duration::from_millis(10);
/// A session that is deep in a loop is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// One row of `scope.expire_roles()`, and one line of the server log.
#[derive(Debug)]
pub struct Ended {
    pub role: String,
    pub action: Action,
    pub sessions_terminated: i32,
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Dropped,
    Ending,
    Quarantined,
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Action::Dropped => "dropped",
            Action::Ending => "ending",
            Action::Quarantined => "quarantined",
        })
    }
}

/// All steps in the caller's transaction. Sessions are ended for good even if it rolls back.
/// `None` when the credential is gone, or no longer due, by the time that it is ours.
pub fn at_once(due: &Credential) -> Option<Ended> {
    let due = claim(due)?;
    let sessions_terminated = terminate(due.oid);
    let (action, detail) = match xact::subtransaction(|| release_and_drop(&due)) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed(&due, error.to_string()),
        Err(failure) => failed(&due, failure.message),
    };
    let ended = Ended {
        role: due.name,
        action,
        sessions_terminated,
        detail,
    };
    record(&ended);
    Some(ended)
}

/// Takes the credential's lock and looks at it again.
pub fn claim(due: &Credential) -> Option<Credential> {
    advisory::lock(lock_key(&due.name), Mode::Exclusive);
    credential(due.oid).filter(|credential| credential.is_due(clock::now()))
}

/// No more logins, not even where the library is missing.
pub fn disable(due: &Credential) -> Result<(), pgrx::spi::Error> {
    if due.metadata.state != State::Active {
        return Ok(());
    }
    spi::execute(&format!(
        "ALTER ROLE {} NOLOGIN PASSWORD NULL",
        spi::identifier(&due.name)
    ))?;
    label::write(
        due.oid,
        &Metadata {
            state: State::Ending,
            ..due.metadata.clone()
        },
    );
    Ok(())
}

/// Ends the role's sessions and waits until they are gone; how many were asked to end.
pub fn terminate(role: pg_sys::Oid) -> i32 {
    let mut asked = BTreeSet::new();
    let give_up = Instant::now() + PATIENCE;
    loop {
        let found = sessions::of_roles(|other| other == role);
        if found.is_empty() || Instant::now() > give_up {
            return i32::try_from(asked.len()).unwrap_or(i32::MAX);
        }
        for pid in found {
            sessions::terminate(pid);
            asked.insert(pid);
        }
        let again = Instant::now() + ASK_AGAIN;
        while Instant::now() < again && !sessions::of_roles(|other| other == role).is_empty() {
            pgrx::check_for_interrupts!();
            std::thread::sleep(SCAN);
        }
    }
}

/// Revokes what the role holds in this database, then drops it if nothing else holds it back.
pub fn release_and_drop(due: &Credential) -> Result<(Action, Option<String>), pgrx::spi::Error> {
    if !sessions::of_roles(|role| role == due.oid).is_empty() {
        disable(due)?;
        return Ok((
            Action::Ending,
            Some("its sessions have not ended yet".to_owned()),
        ));
    }
    if let Some(outcome) = temporary::end(due)? {
        return Ok(outcome);
    }
    dependencies::revoke_memberships(due.oid)?;
    dependencies::revoke_here(due.oid)?;
    let left = dependencies::of_role(due.oid)?;
    let owned: Vec<_> = left
        .iter()
        .filter(|dependency| dependency.is_ownership())
        .collect();
    if let Some(first) = owned.first() {
        let reason = format!(
            "it owns {} object(s), among them {}",
            owned.len(),
            first
                .description
                .as_deref()
                .unwrap_or("one in another database")
        );
        return set_aside(
            due,
            State::Quarantined,
            Action::Quarantined,
            reason,
            Vec::new(),
        );
    }
    if !left.is_empty() {
        let databases: BTreeSet<u32> = left
            .iter()
            .map(|dependency| dependency.database.into())
            .collect();
        let names = catalog::databases()
            .into_iter()
            .filter(|database| databases.contains(&database.oid.into()))
            .map(|database| format!("\"{}\"", database.name))
            .collect::<Vec<_>>()
            .join(", ");
        let reason = format!("grants in database {names} are still to be revoked");
        let waits_for = databases.into_iter().filter(|&oid| oid != 0).collect();
        return set_aside(due, State::Ending, Action::Ending, reason, waits_for);
    }
    spi::execute(&format!("DROP ROLE {}", spi::identifier(&due.name)))?;
    Ok((Action::Dropped, None))
}

/// Keeps the role, disabled, with the reason why.
fn set_aside(
    due: &Credential,
    state: State,
    action: Action,
    reason: String,
    waits_for: Vec<u32>,
) -> Result<(Action, Option<String>), pgrx::spi::Error> {
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

/// After an error: disabled all the same, with the error to be seen.
fn failed(due: &Credential, error: String) -> (Action, Option<String>) {
    let noted = xact::subtransaction(|| note_failure(due, &error));
    let detail = match noted {
        Ok(Ok(())) => error,
        Ok(Err(second)) => format!("{error}; then: {second}"),
        Err(second) => format!("{error}; then: {}", second.message),
    };
    (Action::Ending, Some(detail))
}

pub fn note_failure(due: &Credential, error: &str) -> Result<(), pgrx::spi::Error> {
    disable(due)?;
    let state = match due.metadata.state {
        State::Active => State::Ending,
        other => other,
    };
    label::write(
        due.oid,
        &Metadata {
            state,
            error: Some(error.to_owned()),
            ..due.metadata.clone()
        },
    );
    Ok(())
}

/// One line in the server log; not again for a quarantine that lasts.
pub fn record(ended: &Ended) {
    let Ended {
        role,
        action,
        sessions_terminated,
        detail,
    } = ended;
    match detail {
        None => log!(
            "scope_roles: credential \"{role}\" {action}, {sessions_terminated} session(s) terminated"
        ),
        Some(detail) => log!(
            "scope_roles: credential \"{role}\" {action}, {sessions_terminated} session(s) terminated: {detail}"
        ),
    }
}
