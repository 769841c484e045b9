//! Cancelling the statement that is running, at a time.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, Ordering};

use pgrx::pg_sys;

use super::{clock, compat, raw, wire};

/// Asked in a signal handler, with the time: why what runs is to be cancelled; 0: it is not.
type Ask = fn(i64) -> u8;

static ASK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

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
/// How often one statement has been cancelled: a block with an exception handler may swallow it.
static CANCELLED: AtomicU32 = AtomicU32::new(0);
const PATIENCE: u32 = 20;
/// The session is being ended, for the same reason.
static ENDS_SESSION: AtomicBool = AtomicBool::new(false);
/// When the protocol's function call arrived that was seen last: no text of a statement tells that it runs.
static CALLED_AT: AtomicI64 = AtomicI64::new(0);
/// Where the timer repeats itself.
const INTERVAL_MS: i32 = 100;
/// How long a statement has been running at least when it is cancelled. What begins after the deadline is
/// refused by itself unless it is a COMMIT or another that is allowed, which then has the time that it takes.
const GRACE: i64 = 1_000 * INTERVAL_MS as i64;

/// Makes sure that the timer runs for then, in Unix microseconds; `i64::MAX`: it need not. PostgreSQL stops all timers after an error.
/// `ask` is the same for all of a process.
pub fn ensure(at: i64, ask: Ask) {
    if at == i64::MAX {
        stop();
        return;
    }
    // SAFETY: registered once per process, outside signal handlers; the handler only sets flags.
    unsafe {
        let mut id = TIMEOUT.load(Ordering::Relaxed);
        if id == 0 {
            ASK.store(ask as *mut (), Ordering::Relaxed);
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

/// Stops the timer. Cannot fail: called from an assign hook.
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

/// Why the error being reported is a cancellation of ours; 0 when it is none. Told once.
pub fn take_reason() -> u8 {
    ENDED.swap(0, Ordering::Relaxed)
}

/// Has something of ours cancelled a statement?
pub fn has_ended() -> bool {
    ENDED.load(Ordering::Relaxed) != 0
}

/// Has something of ours ended the session? Where PostgreSQL waits for the client, it cancels nothing.
pub fn ends_session() -> bool {
    ENDS_SESSION.load(Ordering::Relaxed)
}

/// Runs in a signal handler: sets flags that PostgreSQL looks at when it is safe to.
unsafe extern "C-unwind" fn handler() {
    // SAFETY: reads the clock.
    let now = clock::from_postgres(unsafe { raw::GetCurrentTimestamp() });
    let ask = ASK.load(Ordering::Relaxed);
    if ask.is_null() {
        return;
    }
    // SAFETY: stored from such a function.
    let why = unsafe { std::mem::transmute::<*mut (), Ask>(ask) }(now);
    if why == 0 {
        return;
    }
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
        ENDS_SESSION.store(true, Ordering::Relaxed);
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
