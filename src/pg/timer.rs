//! Cancelling the statement that is running when the token of its role, the login of the session or what
//! its role inherits for a time ends.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;

use super::{clock, compat, raw, server, switch_state, wakeup, wire};

// utils/timeout.h, which pgrx does not bind.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: u32, handler: unsafe extern "C-unwind" fn()) -> u32;
    fn disable_timeout(id: u32, keep_indicator: bool);
    fn get_timeout_active(id: u32) -> bool;
}

/// The number of our timeout in this process; 0 (PostgreSQL's own) before it is registered.
static TIMEOUT: AtomicU32 = AtomicU32::new(0);
/// Why the running statement was cancelled; 0 when it was not.
static ENDED: AtomicU8 = AtomicU8::new(0);
/// For when the timer is set, in Unix microseconds; from then on it repeats itself.
static SET_FOR: AtomicI64 = AtomicI64::new(i64::MAX);
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
            // SAFETY: a read of a backend global.
            && (role == 0 || role == u32::from(unsafe { raw::GetOuterUserId() }))
    }
}

/// What has ended under a running statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Token,
    Login,
    Inheritance,
}

/// How often one statement has been cancelled: a block with an exception handler may swallow it.
static CANCELLED: AtomicU32 = AtomicU32::new(0);
const PATIENCE: u32 = 20;
/// When the protocol's function call arrived that was seen last: no text of a statement tells that it runs.
static CALLED_AT: AtomicI64 = AtomicI64::new(0);
/// Where the timer repeats itself.
const INTERVAL_MS: i32 = 100;
/// How long a statement has been running at least when it is cancelled. What begins after the deadline is
/// refused by itself unless it is a COMMIT or another that is allowed, which then has the time that it takes.
const GRACE: i64 = 1_000 * INTERVAL_MS as i64;

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
        .fold(switch_state::ends_at(), i64::min)
}

/// Makes sure that the timer runs; PostgreSQL stops all timers after an error. In a backend, where
/// something ends.
pub fn ensure() {
    let at = next();
    if at == i64::MAX {
        stop();
        return;
    }
    // SAFETY: registered once per process, outside signal handlers; the handler only sets flags.
    unsafe {
        let mut id = TIMEOUT.load(Ordering::Relaxed);
        if id == 0 {
            id = RegisterTimeout(compat::USER_TIMEOUT, handler);
            TIMEOUT.store(id, Ordering::Relaxed);
        }
        wire::watch();
        let is_active = get_timeout_active(id);
        if is_active && SET_FOR.load(Ordering::Relaxed) <= at {
            return;
        }
        if is_active {
            disable_timeout(id, false);
        }
        CANCELLED.store(0, Ordering::Relaxed);
        SET_FOR.store(at, Ordering::Relaxed);
        compat::enable_timeout_every(id, clock::to_postgres(at), INTERVAL_MS);
    }
}

/// A function is about to run outside of any portal: perhaps by a function call of the protocol.
pub fn called() {
    // SAFETY: reads of backend globals.
    unsafe {
        if pg_sys::debug_query_string.is_null() {
            let arrived = raw::GetCurrentStatementStartTimestamp();
            CALLED_AT.store(arrived, Ordering::Relaxed);
        }
    }
}

/// Stops the timer; the next statement starts it again for what else ends. Cannot fail: called from an
/// assign hook.
pub fn stop() {
    ENDED.store(0, Ordering::Relaxed);
    let id = TIMEOUT.load(Ordering::Relaxed);
    // SAFETY: a registered timeout. Stopping one reads the clock, whether it runs or not.
    unsafe {
        if id != 0 && get_timeout_active(id) {
            disable_timeout(id, false);
        }
    }
}

/// Why the error being reported is a cancellation of ours, if it is one; asks once.
pub fn take_ended() -> Option<Ended> {
    match ENDED.swap(0, Ordering::Relaxed) {
        1 => Some(Ended::Token),
        2 => Some(Ended::Login),
        3 => Some(Ended::Inheritance),
        _ => None,
    }
}

/// Has something of ours cancelled a statement?
pub fn has_ended() -> bool {
    ENDED.load(Ordering::Relaxed) != 0
}

/// Runs in a signal handler: sets flags that PostgreSQL looks at when it is safe to.
unsafe extern "C-unwind" fn handler() {
    // SAFETY: reads the clock.
    let now = clock::from_postgres(unsafe { raw::GetCurrentTimestamp() });
    let why = if switch_state::is_locked() && switch_state::ends_at() <= now {
        1
    } else if LOGIN.has_come(now) {
        2
    } else if INHERITANCE.has_come(now) || ROLE.has_come(now) {
        3
    } else {
        return;
    };
    // SAFETY: plain reads, and the clock's; no statement is running where there is no text of one, but a function
    // call may be.
    let is_due = unsafe {
        let arrived = raw::GetCurrentStatementStartTimestamp();
        let calls = || CALLED_AT.load(Ordering::Relaxed) == arrived && !wire::has_answered(arrived);
        (!pg_sys::debug_query_string.is_null() || calls())
            && raw::GetCurrentTimestamp().saturating_sub(arrived) >= GRACE
    };
    if !is_due {
        return;
    }
    ENDED.store(why, Ordering::Relaxed);
    if CANCELLED.fetch_add(1, Ordering::Relaxed) >= PATIENCE {
        // SAFETY: what the handler of SIGTERM does (tcop/postgres.c).
        unsafe { pg_sys::ProcDiePending = 1 }
    }
    // SAFETY: what StatementCancelHandler does (tcop/postgres.c).
    unsafe {
        pg_sys::InterruptPending = 1;
        pg_sys::QueryCancelPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}
