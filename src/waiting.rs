//! How long work of ours waits for what others have locked, and how it begins anew: no deadlock is left to others.

mod giving_way;
mod holder;
mod passing;

use std::time::Duration;

use pgrx::prelude::*;

use crate::pg::server;
use crate::pg::xact::{Failure, deadlock_timeout, lock_timeout, raise, subtransaction};

pub use giving_way::{Trail, giving_way, holds_up_others, retrying, retrying_anew, told_by};
pub use holder::lock_holder;

/// Runs `work` in a subtransaction that waits for a lock no longer than this, nor than the session would. A
/// cancellation is raised.
pub fn subtransaction_within<R>(
    patience: Duration,
    work: impl FnOnce() -> R,
) -> Result<R, Failure> {
    let outcome = subtransaction(|| {
        wait_at_most(patience);
        work()
    });
    match outcome {
        Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED => raise(failure),
        outcome => outcome,
    }
}

/// The same of work on which nothing else is to depend: it waits for a lock but for a moment, and a
/// cancellation ends nothing but it.
pub fn aside<R>(work: impl FnOnce() -> R) -> Result<R, Failure> {
    subtransaction(|| {
        wait_at_most(patience());
        work()
    })
}

/// Runs `work` in a subtransaction that waits for locks but for a moment, again while what is in the way
/// passes. A cancellation is raised.
pub fn briefly<R>(mut work: impl FnMut() -> R) -> Result<R, Failure> {
    const ATTEMPTS: u32 = 3;
    let mut outcome = subtransaction_within(patience(), &mut work);
    for _ in 1..ATTEMPTS {
        match &outcome {
            Err(failure) if failure.is_transient() && !failure.is_locked() => {
                outcome = subtransaction_within(patience(), &mut work);
            }
            _ => break,
        }
    }
    outcome
}

const LONGEST: Duration = Duration::from_millis(100);

/// How long a wait for a lock may be that others are not to find in a deadlock with theirs.
pub fn patience() -> Duration {
    (deadlock_timeout() / 4).clamp(SHORTEST, LONGEST)
}

/// The same where shorter waits have come to nothing for long: others queue.
fn last_patience() -> Duration {
    (deadlock_timeout() / 2).max(SHORTEST)
}

/// The shortest that PostgreSQL knows.
pub const SHORTEST: Duration = Duration::from_millis(1);

/// Until the (sub)transaction ends.
fn wait_at_most(patience: Duration) {
    if lock_timeout().is_none_or(|theirs| theirs > patience) {
        server::set_for_subtransaction(c"lock_timeout", &patience.as_millis().max(1).to_string());
    }
}
