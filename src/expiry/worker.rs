//! The worker in one database: takes every due role as far as it can there, and ends.
//!
//! Roles go in batches, one commit a step. A batch that fails is done again in halves, so that one
//! that fails does not hold up the others.

use std::time::{Duration, Instant};

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::end;
use super::record::{self, Action, Ended};
use super::terminate::{self, Terminated};
use super::waits;
use super::{Managed, due, managed};
use crate::audit::retention;
use crate::guc;
use crate::label::Kind;
use crate::memberships;
use crate::pg::xact::Failure;
use crate::pg::{catalog, clock, server, sessions, worker, xact};
use crate::text::visible;
use crate::waiting;

const BATCH: usize = 200;
/// With the locks of many roles at hand nobody is waited for.
const BATCH_PATIENCE: Duration = Duration::from_millis(10);

pub fn run() {
    worker::report_activity(Some(c"ending roles"));
    let found = xact::transaction(|| {
        let mut due = due(clock::now());
        // What failed before comes last.
        due.sort_by_key(|role| role.metadata.error.is_some());
        due
    });
    let due = match found {
        Ok(due) => due,
        Err(failure) => {
            warning!(
                "scope_roles: reading the catalogs failed: {}",
                visible(&failure.message)
            );
            return;
        }
    };
    let mut run = Run::default();
    run.all_steps(due);
    // A GRANT that ran all the time; one that ran on is for the next worker.
    if run.has_dropped {
        sweep(None);
    }
    retention::run(|| !must_leave());
}

/// Has the end been suspended, or does somebody need this database without sessions? The launcher
/// comes back.
fn must_leave() -> bool {
    // Also notices that the configuration has changed, or that the server is gone.
    worker::sleep(Duration::ZERO);
    !guc::expiry() || xact::transaction(server::is_database_wanted).unwrap_or(true)
}

#[derive(Default)]
struct Run {
    terminated: Terminated,
    has_dropped: bool,
    /// How many roles others were found to hold.
    held: usize,
}

impl Run {
    fn all_steps(&mut self, due: Vec<Managed>) {
        self.terminated.ask(due.iter().map(|role| role.oid));
        let (refused, active): (Vec<Managed>, Vec<Managed>) =
            due.into_iter().partition(end::is_refused);
        let mut left = Vec::new();
        for batch in active.chunks(BATCH) {
            if must_leave() {
                return;
            }
            let failed = refuse(batch);
            let done = batch.iter().filter(|role| !failed.contains(&role.oid));
            left.extend(done.cloned());
        }
        left.extend(refused);
        self.finish_all(left);
    }

    /// The last steps, for each role as soon as it has no session.
    fn finish_all(&mut self, mut left: Vec<Managed>) {
        let give_up_at = Instant::now() + terminate::PATIENCE;
        loop {
            let busy = self.terminated.ask(left.iter().map(|role| role.oid));
            let (wait, ready): (Vec<Managed>, Vec<Managed>) = left
                .into_iter()
                .partition(|role| busy.contains(&role.oid.into()));
            for batch in ready.chunks(BATCH) {
                if must_leave() {
                    return;
                }
                self.finish(batch);
            }
            left = wait;
            if left.is_empty() {
                break;
            }
            if Instant::now() > give_up_at {
                left.iter().for_each(|role| self.finish_one(role));
                break;
            }
            worker::sleep(terminate::SCAN);
        }
    }

    fn finish(&mut self, batch: &[Managed]) {
        let (dropped, failed) = in_batch(batch, &end::drop_plain);
        let done: Vec<pg_sys::Oid> = dropped
            .iter()
            .chain(failed.iter().map(|(role, _)| role))
            .map(|role| role.oid)
            .collect();
        for role in dropped {
            self.record(role, Action::Dropped, None);
        }
        self.after_drop(&done);
        for (role, failure) in &failed {
            give_up(role, failure);
        }
        for role in batch.iter().filter(|role| !done.contains(&role.oid)) {
            self.finish_one(role);
        }
    }

    /// A role that something depends on, or whose sessions do not end.
    fn finish_one(&mut self, due: &Managed) {
        let outcome = transaction(waiting::patience(), || {
            let role = end::claim(due)?;
            let (action, detail) = xact::raised(end::release_and_drop(&role));
            Some((role, action, detail))
        });
        match outcome {
            Ok(Some((role, action, detail))) => {
                if action == Action::Dropped {
                    self.record(role, action, detail);
                    self.after_drop(&[due.oid]);
                } else if detail != role.metadata.error {
                    // What has not changed since the last attempt is known already.
                    self.record(role, action, detail);
                }
            }
            // Gone, renewed, or somebody else's at the moment.
            Ok(None) => self.tell_of_holder(due),
            Err(failure) => give_up(due, &failure),
        }
    }

    /// An open transaction that has called a function for the role keeps it from its end: said where a
    /// DBA looks. Only of a few: each takes time.
    fn tell_of_holder(&mut self, due: &Managed) {
        const TOLD: usize = 10;
        let held = transaction(waiting::patience(), || end::is_held(due));
        if held.unwrap_or(false) && self.held < TOLD {
            self.held += 1;
            give_up(due, &end::held());
        }
    }

    fn record(&mut self, role: Managed, action: Action, detail: Option<String>) {
        if action == Action::Dropped {
            self.has_dropped = true;
        }
        record::record(
            &Ended {
                sessions_terminated: self.terminated.count(role.oid),
                role: role.name,
                action,
                detail,
            },
            role.metadata.kind,
        );
    }

    /// Logins and grants that were between their checks and their effect when a role went.
    fn after_drop(&mut self, roles: &[pg_sys::Oid]) {
        self.terminated.ask(roles.iter().copied());
        sweep(Some(roles));
    }
}

/// The first step: no more logins. The roles for which it failed.
fn refuse(batch: &[Managed]) -> Vec<pg_sys::Oid> {
    let disable = |roles: &[Managed]| -> SpiResult<Vec<Managed>> {
        let claimed = roles.iter().filter_map(end::claim);
        claimed
            .map(|role| end::disable(&role).map(|()| role))
            .collect()
    };
    let (done, failed) = in_batch(batch, &disable);
    for (role, failure) in &failed {
        give_up(role, failure);
    }
    done.iter().for_each(record::record_disabled);
    failed.into_iter().map(|(role, _)| role.oid).collect()
}

fn sweep(dropped: Option<&[pg_sys::Oid]>) {
    const ATTEMPTS: u32 = 5;
    for last in (0..ATTEMPTS).rev().map(|left| left == 0) {
        let swept = transaction(waiting::patience(), || {
            xact::raised(memberships::sweep(dropped));
        });
        match swept {
            Ok(()) => return,
            Err(failure) if failure.is_locked() && !last => {}
            Err(failure) => {
                log!(
                    "scope_roles: looking for memberships of dropped roles failed: {}",
                    visible(&failure.message)
                );
                return;
            }
        }
    }
}

/// A step for a batch of roles: all together, or else in halves, so that one that fails or is locked
/// by others does not hold up the rest. What was done, and the roles that failed, with the error.
fn in_batch<T>(
    roles: &[Managed],
    work: &impl Fn(&[Managed]) -> SpiResult<Vec<T>>,
) -> (Vec<T>, Vec<(Managed, Failure)>) {
    let patience = match roles {
        [_] => waiting::patience(),
        _ => BATCH_PATIENCE.min(waiting::patience()),
    };
    let failure = match transaction(patience, || xact::raised(work(roles))) {
        Ok(done) => return (done, Vec::new()),
        Err(failure) => failure,
    };
    if let [role] = roles {
        return (Vec::new(), vec![(role.clone(), failure)]);
    }
    let (first, second) = roles.split_at(roles.len() / 2);
    let (mut done, mut failed) = in_batch(first, work);
    let rest = in_batch(second, work);
    done.extend(rest.0);
    failed.extend(rest.1);
    (done, failed)
}

/// A transaction that waits for each lock for so long at most: what is locked is tried again later.
fn transaction<R>(patience: Duration, work: impl FnOnce() -> R) -> Result<R, Failure> {
    worker::wait_at_most(patience);
    xact::transaction(work)
}

/// Until a membership that has ended is taken away, its holder is refused whatever could use it. Whoever granted it
/// must not make that last by leaving a transaction open in which it was revoked or granted again: a moment after the
/// deadline that session is ended.
fn end_open_calls(due: &Managed) -> bool {
    const MOMENT: i64 = 2_000_000;
    // One that is being ended has no moment of its own any more; what it still gives is what matters.
    let is_late = due.metadata.kind == Kind::Temporary
        && due.moment.saturating_add(MOMENT) <= clock::now()
        && !catalog::memberships(due.oid).is_empty();
    if !is_late {
        return false;
    }
    let sessions = xact::raised(waits::open_calls(due.oid));
    sessions.iter().for_each(|&pid| sessions::terminate(pid));
    !sessions.is_empty()
}

/// Leaves the reason where a DBA looks, and the rest for the next attempt.
fn give_up(due: &Managed, failure: &Failure) {
    let is_locked = failure.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE;
    if failure.is_transient() {
        // Somebody's DDL came in between, and is over by now.
        log!(
            "scope_roles: ending role \"{}\" will be tried again: {}",
            visible(&due.name),
            visible(&failure.message)
        );
        return;
    }
    let noted = transaction(waiting::patience(), || {
        let due = managed(due.oid)?;
        let mut reason = failure.message.clone();
        if is_locked && let Some(holder) = xact::raised(waiting::lock_holder(due.oid)) {
            reason = format!("{reason}: {holder}");
        }
        if is_locked && end_open_calls(&due) {
            reason += ", and its session is ended";
        }
        let second = end::note_failure(&due, &reason, waiting::patience());
        Some((reason, second))
    });
    let (reason, second) = match noted {
        Ok(Some(noted)) => noted,
        Ok(None) => return,
        Err(second) => (failure.message.clone(), Some(second.message)),
    };
    let second = second
        .filter(|second| !reason.starts_with(second.as_str()))
        .map(|second| format!("; noting the reason: {second}"))
        .unwrap_or_default();
    record::record_failure(due, &format!("{reason}{second}"));
    warning!(
        "scope_roles: ending role \"{}\" failed: {}",
        visible(&due.name),
        visible(&format!("{reason}{second}"))
    );
}
