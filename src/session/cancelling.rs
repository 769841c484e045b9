//! Cancelling the statement that is running, at a time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use crate::pg::timer;

/// Asked in a signal handler, with the time: why what runs is to be cancelled; 0: it is not.
type Ask = fn(i64) -> Why;

/// 0: it is not.
#[derive(Clone, Copy)]
pub struct Why {
    pub reason: u8,
    /// The session goes with it, whether or not anything runs.
    pub with_session: bool,
}

static ASK: OnceLock<Ask> = OnceLock::new();

/// Why the running statement was cancelled; 0 when it was not.
static ENDED: AtomicU8 = AtomicU8::new(0);
/// How often one statement has been cancelled: a block with an exception handler may swallow it.
static CANCELLED: AtomicU32 = AtomicU32::new(0);
const PATIENCE: u32 = 20;
/// The session is being ended, for the same reason.
static ENDS_SESSION: AtomicBool = AtomicBool::new(false);
/// Where the timer repeats itself.
const INTERVAL_MS: i32 = 100;
/// How long a statement has been running at least when it is cancelled. What begins after the deadline is
/// refused by itself unless it is a COMMIT or another that is allowed, which then has the time that it takes.
const GRACE: i64 = 1_000 * INTERVAL_MS as i64;

/// Makes sure that the timer runs for then, in Unix microseconds; `i64::MAX`: it need not. `ask` is the same for all of a process.
pub fn ensure(at: i64, ask: Ask) {
    ASK.get_or_init(|| ask);
    if at == i64::MAX {
        stop();
    } else if timer::ensure(at, INTERVAL_MS, handle) {
        CANCELLED.store(0, Ordering::Relaxed);
    }
}

/// Stops the timer. Cannot fail: called from an assign hook.
pub fn stop() {
    ENDED.store(0, Ordering::Relaxed);
    timer::stop();
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

/// Runs in a signal handler.
fn handle(now: i64) {
    let Some(why) = ASK.get().map(|ask| ask(now)).filter(|why| why.reason != 0) else {
        return;
    };
    if !why.with_session && timer::running_for().is_none_or(|time| time < GRACE) {
        return;
    }
    ENDED.store(why.reason, Ordering::Relaxed);
    let is_last = CANCELLED.fetch_add(1, Ordering::Relaxed) >= PATIENCE;
    let is_last = is_last || why.with_session;
    if is_last {
        ENDS_SESSION.store(true, Ordering::Relaxed);
    }
    timer::cancel(is_last);
}
