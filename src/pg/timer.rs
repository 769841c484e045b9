//! A timer (utils/timeout.h), and what its signal handler may do to the statement that is running.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use pgrx::pg_sys;

use super::{clock, compat, connection, raw};
use crate::timestamp::to_postgres;

/// Called in a signal handler, with the time: it only reads and writes memory, and calls what is here.
type Handle = fn(i64);

static HANDLE: OnceLock<Handle> = OnceLock::new();

// utils/timeout.h, which pgrx does not bind.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: u32, handler: unsafe extern "C-unwind" fn()) -> u32;
    /// At a moment, and from then on again and again.
    fn enable_timeout_every(id: u32, at: pg_sys::TimestampTz, interval_ms: i32);
    fn disable_timeout(id: u32, keep_indicator: bool);
    fn get_timeout_active(id: u32) -> bool;
}

/// The number of our timeout in this process; 0 (PostgreSQL's own) before it is registered.
static TIMEOUT: AtomicU32 = AtomicU32::new(0);
/// For when the timer is set, in Unix microseconds; from then on it repeats itself.
static SET_FOR: AtomicI64 = AtomicI64::new(i64::MAX);
/// When the protocol's function call arrived that was seen last: no text of a statement tells that it runs.
static CALLED_AT: AtomicI64 = AtomicI64::new(0);
/// The same of the one that was answered last.
static ANSWERED: AtomicI64 = AtomicI64::new(0);

/// Makes sure that the timer runs for then, in Unix microseconds, or earlier, and again and again; true when it is set anew. PostgreSQL
/// stops all timers after an error. `handle` is the same for all of a process.
pub fn ensure(at: i64, interval_ms: i32, handle: Handle) -> bool {
    // SAFETY: registered once per process, outside signal handlers; the handler only sets flags.
    unsafe {
        let mut id = TIMEOUT.load(Ordering::Relaxed);
        if id == 0 {
            HANDLE.get_or_init(|| handle);
            id = RegisterTimeout(compat::USER_TIMEOUT, handler);
            TIMEOUT.store(id, Ordering::Relaxed);
        }
        connection::watch();
        let is_active = get_timeout_active(id);
        if is_active && SET_FOR.load(Ordering::Relaxed) <= at {
            return false;
        }
        if is_active {
            disable_timeout(id, false);
        }
        SET_FOR.store(at, Ordering::Relaxed);
        enable_timeout_every(id, to_postgres(at), interval_ms);
        true
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

/// The answer to a function call of the protocol is about to be sent.
pub fn answered() {
    // SAFETY: a read of a backend global.
    let arrived = unsafe { raw::GetCurrentStatementStartTimestamp() };
    ANSWERED.store(arrived, Ordering::Relaxed);
}

/// Stops the timer. Cannot fail: called from an assign hook.
pub fn stop() {
    let id = TIMEOUT.load(Ordering::Relaxed);
    // SAFETY: a registered timeout. Stopping one reads the clock, whether it runs or not.
    unsafe {
        if id != 0 && get_timeout_active(id) {
            disable_timeout(id, false);
        }
    }
}

unsafe extern "C-unwind" fn handler() {
    if let Some(handle) = HANDLE.get() {
        handle(clock::now());
    }
}

/// For how long a statement, or a function call of the protocol, has been running, in microseconds; `None` when none is. For signal
/// handlers.
pub fn running_for() -> Option<i64> {
    // SAFETY: plain reads, and the clock's; no statement is running where there is no text of one, but a function
    // call may be.
    unsafe {
        let arrived = raw::GetCurrentStatementStartTimestamp();
        let is_last = |of: &AtomicI64| of.load(Ordering::Relaxed) == arrived;
        let calls = || is_last(&CALLED_AT) && !is_last(&ANSWERED);
        (!pg_sys::debug_query_string.is_null() || calls())
            .then(|| raw::GetCurrentTimestamp().saturating_sub(arrived))
    }
}

/// Cancels what is running, and with it ends the session where that is asked for, as soon as it is safe to. For signal handlers.
pub fn cancel(with_session: bool) {
    // SAFETY: what StatementCancelHandler does, and the handler of SIGTERM (tcop/postgres.c).
    unsafe {
        if with_session {
            pg_sys::ProcDiePending = 1;
        }
        pg_sys::InterruptPending = 1;
        pg_sys::QueryCancelPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}
