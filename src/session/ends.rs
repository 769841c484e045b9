//! What ends while a session goes on: the token of its role, its login, what its role inherits for a time. The
//! statement that is running is cancelled then.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;

use crate::pg::{identity, server, timer};
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

/// What the role inherits for a time ends then: its membership in `mover`, as of now.
pub fn inheritance_ends(role: pg_sys::Oid, mover: pg_sys::Oid, at: i64) {
    INHERITANCE.set(role, mover, at, wakeup::renewals(mover));
    ensure();
}

/// The session may act as the role, other than by a token, until then, by a membership in `mover`, as of now.
pub fn role_ends(role: pg_sys::Oid, mover: pg_sys::Oid, at: i64) {
    ROLE.set(role, mover, at, wakeup::renewals(mover));
    ensure();
}

fn next() -> i64 {
    [&LOGIN, &INHERITANCE, &ROLE]
        .map(|end| end.at.load(Ordering::Relaxed))
        .into_iter()
        .fold(of_token(), i64::min)
}

/// When the token's statements end, in Unix microseconds.
#[inline]
pub fn of_token() -> i64 {
    TOKEN.load(Ordering::Relaxed)
}

/// There is another switch, or none. Cannot fail: called from an assign hook. The next statement starts the timer
/// again for what else ends.
pub fn token_ends(at: i64) {
    TOKEN.store(at, Ordering::Relaxed);
    timer::stop();
}

/// Makes sure that the timer runs; PostgreSQL stops all timers after an error. In a backend, where
/// something ends.
pub fn ensure() {
    timer::ensure(next(), reason);
}

/// Why the error being reported is a cancellation of ours, if it is one; asks once.
pub fn take_ended() -> Option<Ended> {
    match timer::take_reason() {
        1 => Some(Ended::Token),
        2 => Some(Ended::Login),
        3 => Some(Ended::Inheritance),
        _ => None,
    }
}

/// What has ended; 0: nothing. Only reads memory: called in a signal handler.
fn reason(now: i64) -> u8 {
    if of_token() <= now {
        1
    } else if LOGIN.has_come(now) {
        2
    } else if INHERITANCE.has_come(now) || ROLE.has_come(now) {
        3
    } else {
        0
    }
}
