//! Cancelling the statement that is running when the token of its role ends.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use pgrx::pg_sys;

use super::{clock, compat, raw, switch_state, wire};

// utils/timeout.h, which pgrx does not bind.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: u32, handler: unsafe extern "C-unwind" fn()) -> u32;
    fn disable_timeout(id: u32, keep_indicator: bool);
    fn get_timeout_active(id: u32) -> bool;
}

/// The number of our timeout in this process; 0 (PostgreSQL's own) before it is registered.
static TIMEOUT: AtomicU32 = AtomicU32::new(0);
/// The running statement was cancelled because the token has ended.
static ENDED: AtomicBool = AtomicBool::new(false);
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

/// Makes sure that the timer runs; PostgreSQL stops all timers after an error. In a backend, while
/// a role is locked.
pub fn ensure() {
    let at = switch_state::ends_at();
    if at == i64::MAX {
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
        if !get_timeout_active(id) {
            CANCELLED.store(0, Ordering::Relaxed);
            compat::enable_timeout_every(id, clock::to_postgres(at), INTERVAL_MS);
        }
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
    ENDED.store(false, Ordering::Relaxed);
    let id = TIMEOUT.load(Ordering::Relaxed);
    // SAFETY: a registered timeout. Stopping one reads the clock, whether it runs or not.
    unsafe {
        if id != 0 && get_timeout_active(id) {
            disable_timeout(id, false);
        }
    }
}

/// Whether the error being reported is the cancellation for this reason; asks once.
pub fn take_ended() -> bool {
    ENDED.swap(false, Ordering::Relaxed)
}

/// Runs in a signal handler: sets flags that PostgreSQL looks at when it is safe to.
unsafe extern "C-unwind" fn handler() {
    if !switch_state::is_locked() {
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
    ENDED.store(true, Ordering::Relaxed);
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
