//! All steps of an end in the transaction of somebody who asks for them.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::end::{disable, note_failure, release_and_drop, still_due};
use super::record::{Action, Ended, record, record_failure};
use super::terminate::{SCAN, Terminated};
use super::waits;
use super::{Managed, managed};
use crate::advisory::{self, Key, Mode};
use crate::pg::xact;
use crate::waiting;

/// How long another call is waited for.
const TURN: Duration = Duration::from_secs(10);
/// PostgreSQL keeps a lock on each role that a transaction drops, in a table of limited size.
const AT_ONCE: usize = 1_000;

/// How long the locks of what has been ended already may be held while others are waited for: not as
/// long as others would wait for them before they look for a deadlock.
struct Patience {
    until: Instant,
    /// How many roles have been left to others.
    left_to_others: usize,
    /// When this was last asked: whether others wait for this call.
    asked_at: Option<Instant>,
    /// Nothing more is done: somebody else wants to go on.
    is_over: bool,
}

impl Patience {
    fn begin() -> Self {
        Self {
            until: Instant::now() + waiting::patience(),
            left_to_others: 0,
            asked_at: None,
            is_over: false,
        }
    }

    /// What is left of it.
    fn left(&self) -> Duration {
        self.until
            .saturating_duration_since(Instant::now())
            .max(waiting::SHORTEST)
    }

    /// Leaves a role to who has it now; why, in words.
    fn leave(&mut self, due: &Managed) -> String {
        /// Looking for them takes longer than all the rest.
        const HOLDERS: usize = 10;
        const ASK_AGAIN: Duration = Duration::from_millis(10);
        if self.is_over {
            return "others are waiting for locks of this call; the worker does the rest, or the next call"
                .to_owned();
        }
        self.left_to_others += 1;
        let holder = if self.left_to_others > HOLDERS {
            None
        } else {
            xact::raised(waiting::lock_holder(due.oid))
        };
        // Whoever is in the way may be among those who wait, and is about to look for a deadlock.
        if self
            .asked_at
            .is_none_or(|asked| asked.elapsed() >= ASK_AGAIN)
        {
            self.is_over = xact::raised(waits::is_waited_for());
            self.asked_at = Some(Instant::now());
        }
        format!(
            "another transaction is in the way{}; the worker does the rest, or the next call",
            holder.map_or_else(String::new, |holder| format!(": {holder}"))
        )
    }

    /// Takes the lock of a role that another call of ours may have, for as long as its transaction
    /// lasts. That is not waited for: nobody finds this in a deadlock.
    fn lock(&self, key: Key<'_>) -> bool {
        try_lock_until(self.until, waiting::SHORTEST, key)
    }
}

/// Two calls at once would only be in each other's way. Who keeps a transaction open after the call
/// keeps others from the same roles, no more.
fn wait_for_turn() {
    let longest = xact::lock_timeout().map_or(TURN, |theirs| TURN.min(theirs));
    try_lock_until(Instant::now() + longest, SCAN, Key::Turn);
}

fn try_lock_until(until: Instant, pause: Duration, key: Key<'_>) -> bool {
    while !advisory::try_lock(key, Mode::Exclusive) {
        if Instant::now() >= until {
            return false;
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(pause);
    }
    true
}

/// All steps in the caller's transaction. Sessions are ended for good even if it rolls back. Without
/// those that are gone, or no longer due, by the time that they are ours.
pub fn all_at_once(due: &[Managed]) -> Vec<Ended> {
    let (now, later) = due.split_at(due.len().min(AT_ONCE));
    let mut terminated = Terminated::default();
    let roles: Vec<pg_sys::Oid> = due.iter().map(|role| role.oid).collect();
    terminated.ask_until_gone(&roles);
    if !now.is_empty() {
        wait_for_turn();
    }
    let mut patience = Patience::begin();
    let mut ended: Vec<Ended> = now
        .iter()
        .filter_map(|role| at_once(role, &mut terminated, &mut patience))
        .collect();
    ended.extend(later.iter().map(|role| Ended {
        role: role.name.clone(),
        action: Action::Ending,
        sessions_terminated: terminated.count(role.oid),
        detail: Some(format!(
            "one call drops at most {AT_ONCE} roles; the worker does the rest, or the next call"
        )),
    }));
    ended
}

fn at_once(due: &Managed, terminated: &mut Terminated, patience: &mut Patience) -> Option<Ended> {
    /// For what passes by itself.
    const ATTEMPTS: u32 = 3;
    let is_ours = !patience.is_over && patience.lock(Key::Role(due.oid));
    let mut due = still_due(due)?;
    terminated.ask(Some(due.oid));
    let mut outcome = None;
    for _ in 0..if is_ours { ATTEMPTS } else { 0 } {
        due = still_due(&due)?;
        let work = || xact::raised(release_and_drop(&due));
        match outcome.insert(waiting::subtransaction_within(patience.left(), work)) {
            Err(failure) if failure.is_transient() && !failure.is_locked() => {}
            _ => break,
        }
    }
    let mut is_noted = true;
    let (action, detail) = match outcome {
        Some(Ok(outcome)) => outcome,
        Some(Err(failure)) if !failure.is_locked() => failed(&due, failure.message, patience),
        _ => {
            let reason = patience.leave(&due);
            is_noted = is_ours && !patience.is_over && refuse(&due, &reason);
            (Action::Ending, Some(reason))
        }
    };
    let ended = Ended {
        role: due.name.clone(),
        action,
        sessions_terminated: terminated.count(due.oid),
        detail,
    };
    if is_noted {
        record(&ended, due.metadata.kind);
    } else {
        record_failure(&due, ended.detail.as_deref().unwrap_or_default());
    }
    Some(ended)
}

/// What is in the way of a role's end need not be in the way of the first step: no more logins, no
/// membership that is over, a reason to be seen. False when it was.
fn refuse(due: &Managed, reason: &str) -> bool {
    let disabled = waiting::subtransaction_within(waiting::SHORTEST, || xact::raised(disable(due)));
    let noted = managed(due.oid).and_then(|now| note_failure(&now, reason, waiting::SHORTEST));
    disabled.is_ok() && noted.is_none()
}

/// After an error: disabled all the same, with the error to be seen.
fn failed(due: &Managed, error: String, patience: &Patience) -> (Action, Option<String>) {
    let detail = match note_failure(due, &error, patience.left()) {
        None => error,
        Some(second) => format!("{error}; then: {second}"),
    };
    (Action::Ending, Some(detail))
}
