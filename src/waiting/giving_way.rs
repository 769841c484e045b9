//! Work that gives its locks up and begins anew, so that no deadlock is left to others.
//!
//! Others' DDL takes those of roles, memberships and access lists in any order, so that two
//! transactions may wait for each other. PostgreSQL refuses the first one that looks, which each does
//! once, `deadlock_timeout` after its wait has begun. For it never to be the other's statement, nothing
//! of ours waits for as long while it holds locks: it gives them up and tries again.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::{LONGEST, last_patience, patience, wait_at_most};
use crate::notice;
use crate::pg::xact::{
    Failure, deadlock_timeout, in_subtransaction, lock_timeout, raise, raised, subtransaction,
};
use crate::pg::{identity, spi};

/// What tells of work that a rollback undoes: how much there is to tell, and a way back to that.
pub struct Trail {
    pub waiting: fn() -> usize,
    pub forget_since: fn(usize),
}

static TRAIL: OnceLock<Trail> = OnceLock::new();

/// Has work that is done again told once. In the postmaster.
pub fn told_by(trail: Trail) {
    TRAIL.get_or_init(|| trail);
}

thread_local! {
    /// Inside an attempt of [`giving_way`].
    static GIVING_WAY: Cell<bool> = const { Cell::new(false) };
    /// There, in work that looks anew each time, or failed in it.
    static LOOKING_ANEW: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, a whole call that takes locks, so that no deadlock is left to others, nor to the
/// caller: in a subtransaction that waits for each lock but for a moment, then gives up all its locks
/// and begins anew, for as long as the session's `lock_timeout` lets it. A shorter one than the moment is
/// the caller's wish.
///
/// Locks that the transaction held before the call are not given up. Where somebody waits for one of these, PostgreSQL must find the
/// deadlock that there may be: a wait of ours that is long enough for it comes between the others, and the call is what is refused.
pub fn giving_way<R>(mut work: impl FnMut() -> R) -> R {
    const LONG: Duration = Duration::from_secs(30);
    const LONGEST_PAUSE: Duration = Duration::from_millis(100);
    let patience = patience();
    let theirs = lock_timeout();
    if GIVING_WAY.get() || theirs.is_some_and(|theirs| theirs <= patience) {
        return work();
    }
    let started = Instant::now();
    let mut pause = PAUSE;
    let mut again = PASSING_ATTEMPTS;
    let mut looked = started;
    let mut deadlocks = 0;
    loop {
        let mut looks = false;
        if looked.elapsed() >= deadlock_timeout() {
            looked = Instant::now();
            looks = holds_up_others();
        }
        let attempt = || {
            let _inside = Inside::begin();
            wait_at_most(match started.elapsed() {
                _ if looks => deadlock_timeout() + LONGEST,
                elapsed if elapsed < LONG => patience,
                _ => last_patience(),
            });
            work()
        };
        let (waiting, notices) = (
            TRAIL.get().map_or(0, |trail| (trail.waiting)()),
            notice::hold(),
        );
        let passes = |failure: &Failure| {
            let is_gone = failure.code == PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT;
            again > 0 && (failure.is_transient() || is_gone && LOOKING_ANEW.get())
        };
        let outcome = in_subtransaction(attempt, true, |failure| {
            // What is done again is not told twice.
            if let Some(trail) = TRAIL.get()
                && (failure.is_locked() || passes(failure))
            {
                (trail.forget_since)(waiting);
            }
        });
        match outcome {
            Ok(value) => {
                notices.tell();
                return value;
            }
            Err(failure)
                if failure.is_locked()
                    && theirs.is_none_or(|theirs| started.elapsed() < theirs) =>
            {
                // The first may have been about locks that have just been given up.
                deadlocks += u32::from(failure.is_deadlock());
                if deadlocks > 1 {
                    notices.tell();
                    raise(failure)
                }
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            Err(failure) if passes(&failure) => again -= 1,
            Err(failure) => {
                notices.tell();
                raise(failure)
            }
        }
        pgrx::check_for_interrupts!();
        // Two calls that meet do not meet again.
        let own = std::process::id() % 10;
        std::thread::sleep(pause + Duration::from_millis(own.into()));
    }
}

/// Does anybody wait for a lock of this session?
pub fn holds_up_others() -> bool {
    const SQL: &str = "SELECT FROM pg_catalog.pg_locks WHERE NOT granted \
        AND pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) ANY (pg_catalog.pg_blocking_pids(pid)) LIMIT 1";
    !identity::elevated(|| raised(spi::read(SQL, &[], |_| Ok(())))).is_empty()
}

const PAUSE: Duration = Duration::from_millis(5);
/// For what has passed by the next attempt, or else will not.
const PASSING_ATTEMPTS: u32 = 50;

/// Marks an attempt, however it ends.
struct Inside;

impl Inside {
    fn begin() -> Self {
        GIVING_WAY.set(true);
        LOOKING_ANEW.set(false);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        GIVING_WAY.set(false);
    }
}

/// Runs `work` in a subtransaction, again while it fails for a passing reason.
/// The error of the last attempt is raised.
///
/// Within a call that gives way it is the whole call that is done again: who waits for a row of a
/// subtransaction that is part of another waits for the whole transaction, and would go on to do so
/// after the call has given it up.
pub fn retrying<R>(mut work: impl FnMut() -> R) -> R {
    if GIVING_WAY.get() {
        work()
    } else {
        retrying_after(Failure::is_transient, work)
    }
}

/// The same of work that looks anew each time: what it has found may be dropped before it is named.
pub fn retrying_anew<R>(mut work: impl FnMut() -> R) -> R {
    if GIVING_WAY.get() {
        LOOKING_ANEW.set(true);
        let value = work();
        LOOKING_ANEW.set(false);
        return value;
    }
    let passes = |failure: &Failure| {
        failure.is_transient() || failure.code == PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
    };
    retrying_after(passes, work)
}

fn retrying_after<R>(passes: impl Fn(&Failure) -> bool, mut work: impl FnMut() -> R) -> R {
    for _ in 1..PASSING_ATTEMPTS {
        match subtransaction(&mut work) {
            Ok(value) => return value,
            Err(failure) if passes(&failure) => {
                pgrx::check_for_interrupts!();
                std::thread::sleep(PAUSE);
            }
            Err(failure) => raise(failure),
        }
    }
    work()
}
