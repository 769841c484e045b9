//! What ends while a session goes on: the token of its role, its login, what its role inherits for a time. The
//! statement that is running is cancelled then.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;

use super::cancelling::{self, Why};
use super::gate;
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{identity, server};
use crate::wakeup;

static TOKEN: AtomicI64 = AtomicI64::new(i64::MAX);

static LOGIN: End = End::never();
static INHERITANCE: End = End::never();
static ROLE: End = End::never();

/// A deadline that can be moved, as it was last read.
struct End {
    at: AtomicI64,
    /// Whose statements it ends; 0 for all.
    role: AtomicU32,
    /// Who could move it, and what told of that when it was read: a signal handler can't read it again.
    mover: AtomicU32,
    as_of: AtomicU64,
    /// On a standby nothing tells of moved deadlines at once: there running statements are the launcher's.
    is_certain: AtomicBool,
}

impl End {
    const fn never() -> Self {
        Self {
            at: AtomicI64::new(i64::MAX),
            role: AtomicU32::new(0),
            mover: AtomicU32::new(0),
            as_of: AtomicU64::new(0),
            is_certain: AtomicBool::new(false),
        }
    }

    fn set(&self, role: pg_sys::Oid, mover: pg_sys::Oid, at: i64, as_of: u64) {
        self.at.store(at, Ordering::Relaxed);
        self.role.store(role.into(), Ordering::Relaxed);
        self.mover.store(mover.into(), Ordering::Relaxed);
        self.as_of.store(as_of, Ordering::Relaxed);
        self.is_certain
            .store(!server::in_recovery(), Ordering::Relaxed);
    }

    /// Only reads memory: called in a signal handler.
    fn has_come(&self, now: i64) -> bool {
        let role = self.role.load(Ordering::Relaxed);
        self.at.load(Ordering::Relaxed) <= now
            && self.is_certain.load(Ordering::Relaxed)
            && self.as_of.load(Ordering::Relaxed)
                == wakeup::renewals(self.mover.load(Ordering::Relaxed).into())
            && (role == 0 || role == u32::from(identity::outer_user()))
    }
}

/// What has ended under a running statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Token,
    Login,
    Inheritance,
}

/// The login of this session ends then; `as_of`: its [`wakeup::renewals`] before that was read.
pub fn login_ends(login: pg_sys::Oid, at: i64, as_of: u64) {
    LOGIN.set(pg_sys::InvalidOid, login, at, as_of);
    ensure();
}

/// What the role inherits for a time ends then: its membership in `mover`, as of `as_of`.
pub fn inheritance_ends(role: pg_sys::Oid, mover: pg_sys::Oid, at: i64, as_of: u64) {
    INHERITANCE.set(role, mover, at, as_of);
    ensure();
}

/// The session may act as the role, SET or taken by a token, until then, by a membership in `mover`, as of now.
pub fn role_ends(role: pg_sys::Oid, mover: pg_sys::Oid, at: i64) {
    ROLE.set(role, mover, at, wakeup::renewals(mover));
    ensure();
}

/// What others inherit for a time, of whose rights a statement of the client makes use: the owners of views and functions.
struct Borrowed {
    end: End,
    /// When the statement arrived.
    by: AtomicI64,
}

static BORROWED: [Borrowed; 8] = [const {
    Borrowed {
        end: End::never(),
        by: AtomicI64::new(i64::MIN),
    }
}; 8];

/// Something has been borrowed in this transaction.
static BORROWS: AtomicBool = AtomicBool::new(false);

impl Borrowed {
    /// Only reads memory: called in a signal handler.
    fn is_of(&self, arrived: i64) -> bool {
        self.by.load(Ordering::Relaxed) == arrived
    }

    fn at(&self) -> i64 {
        self.end.at.load(Ordering::Relaxed)
    }
}

/// The running statement of the client makes use of what somebody else inherits until then, by a membership in `mover`, as of `as_of`.
pub fn borrows(mover: pg_sys::Oid, at: i64, as_of: u64) {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        xact_end::tell::<Transactions>();
    }
    BORROWS.store(true, Ordering::Relaxed);
    let arrived = server::statement_time();
    let is_known = BORROWED.iter().any(|place| {
        place.is_of(arrived)
            && place.at() == at
            && place.end.mover.load(Ordering::Relaxed) == u32::from(mover)
            && place.end.as_of.load(Ordering::Relaxed) == as_of
    });
    // In place of one of an earlier statement, or else of the one that ends last.
    let worth = |place: &&Borrowed| {
        if place.is_of(arrived) {
            place.at()
        } else {
            i64::MAX
        }
    };
    if !is_known
        && let Some(place) = BORROWED.iter().max_by_key(worth)
        && worth(&place) > at
    {
        place.end.set(pg_sys::InvalidOid, mover, at, as_of);
        place.by.store(arrived, Ordering::Relaxed);
    }
    ensure();
}

fn borrowed() -> impl Iterator<Item = &'static End> {
    let arrived = server::statement_time();
    // Mostly there is nothing.
    let all: &[Borrowed] = if BORROWS.load(Ordering::Relaxed) {
        &BORROWED
    } else {
        &[]
    };
    let now = all.iter().filter(move |place| place.is_of(arrived));
    now.map(|place| &place.end)
}

/// What was borrowed is given back: the timer has nothing to do in a session that is idle.
struct Transactions;

impl Ending for Transactions {
    #[inline]
    fn is_awaited(_moment: Moment) -> bool {
        BORROWS.load(Ordering::Relaxed)
    }

    fn at(moment: Moment) {
        if matches!(moment, Moment::BeforeCommit | Moment::BeforePrepare) {
            return;
        }
        BORROWS.store(false, Ordering::Relaxed);
        for place in &BORROWED {
            place.by.store(i64::MIN, Ordering::Relaxed);
        }
        if next() == i64::MAX {
            cancelling::stop();
        }
    }
}

fn next() -> i64 {
    [&LOGIN, &INHERITANCE, &ROLE]
        .into_iter()
        .chain(borrowed())
        .map(|end| end.at.load(Ordering::Relaxed))
        .fold(of_token(), i64::min)
}

/// When the token's statements end, in Unix microseconds.
#[inline]
pub fn of_token() -> i64 {
    TOKEN.load(Ordering::Relaxed)
}

/// There is another switch, or none, or an earlier one again, under a statement that goes on. Cannot fail: called from an assign hook.
pub fn token_ends(at: i64) {
    TOKEN.store(at, Ordering::Relaxed);
    cancelling::stop();
    again();
}

/// The timer has been stopped: PostgreSQL stops all of them after an error, and the next statement may be long in coming. Cannot fail.
pub fn again() {
    if next() != i64::MAX {
        ensure();
    }
}

/// Makes sure that the timer runs; PostgreSQL stops all timers after an error. In a backend, where
/// something ends.
pub fn ensure() {
    cancelling::ensure(next(), reason);
}

/// Why the error being reported is a cancellation of ours, if it is one; asks once.
pub fn take_ended() -> Option<Ended> {
    match cancelling::take_reason() {
        1 => Some(Ended::Token),
        2 => Some(Ended::Login),
        3 => Some(Ended::Inheritance),
        _ => None,
    }
}

/// What has ended; 0: nothing. Only reads memory: called in a signal handler.
fn reason(now: i64) -> Why {
    let is_token = of_token() <= now;
    let reason = if is_token {
        1
    } else if LOGIN.has_come(now) {
        2
    } else if INHERITANCE.has_come(now)
        || ROLE.has_come(now)
        || borrowed().any(|end| end.has_come(now))
    {
        3
    } else {
        0
    };
    Why {
        reason,
        with_session: is_token && gate::is_by_token(),
    }
}
