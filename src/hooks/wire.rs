//! Messages on their way to the client, for those that pass no hook: answers to the protocol's function calls,
//! NOTICEs and notifications, and rows that wait in a store.

use std::ffi::{c_char, c_int};
use std::ptr::null;
use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys;

use super::raw;

/// What reaches the client.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Of a statement's result.
    Row,
    /// Of a function call of the protocol.
    Result,
    Notice,
    Notification,
}

/// What is told of a session that is watched. They own nothing, because an error may jump over them.
#[derive(Clone, Copy)]
pub struct Turns {
    /// The client has logged in, and PostgreSQL has set up its session, but has run nothing in it: outside of a transaction.
    pub begins: unsafe fn(),
    /// There was an error, and PostgreSQL has stopped all timers.
    pub failed: unsafe fn(),
}

/// May it be sent? Refused by an error, or, as if it had been sent, by false.
type Verdict = unsafe fn(Message) -> bool;

/// libpq/libpq.h, which pgrx does not bind: how this session sends.
#[repr(C)]
#[derive(Clone, Copy)]
struct Methods {
    comm_reset: Option<unsafe extern "C-unwind" fn()>,
    flush: Option<unsafe extern "C-unwind" fn() -> c_int>,
    flush_if_writable: Option<unsafe extern "C-unwind" fn() -> c_int>,
    is_send_pending: Option<unsafe extern "C-unwind" fn() -> bool>,
    putmessage: Option<Put>,
    putmessage_noblock: Option<unsafe extern "C-unwind" fn(c_char, *const c_char, usize)>,
}
type Put = unsafe extern "C-unwind" fn(c_char, *const c_char, usize) -> c_int;

unsafe extern "C-unwind" {
    static mut PqCommMethods: *const Methods;
}

static mut OURS: Methods = Methods {
    comm_reset: None,
    flush: None,
    flush_if_writable: None,
    is_send_pending: None,
    putmessage: None,
    putmessage_noblock: None,
};
static mut THEIRS: *const Methods = null();
static mut VERDICT: Option<Verdict> = None;
static mut TURNS: Option<Turns> = None;

/// When the protocol's function call arrived that was answered last.
static ANSWERED: AtomicI64 = AtomicI64::new(0);

/// Has the call that arrived then been answered? Cannot fail: asked by a signal handler.
pub fn has_answered(arrived: i64) -> bool {
    ANSWERED.load(Ordering::Relaxed) == arrived
}

/// Once, in the postmaster: who judges, in the sessions that are watched. The verdict owns nothing, because an error may jump over it.
pub fn install(verdict: Verdict, turns: Turns) {
    // SAFETY: single-threaded.
    unsafe {
        VERDICT = Some(verdict);
        TURNS = Some(turns);
    }
}

/// From now on, in this session: where something may end, or rows are counted.
pub fn watch() {
    // SAFETY: backend-local and single-threaded; PostgreSQL's table is a constant, ours lives as long as the
    // process. Parallel workers have another table, and do not come here.
    unsafe {
        if THEIRS.is_null() && pg_sys::ParallelWorkerNumber < 0 {
            THEIRS = PqCommMethods;
            OURS = *THEIRS;
            OURS.putmessage = Some(put);
            OURS.comm_reset = Some(reset);
            PqCommMethods = &raw const OURS;
        }
    }
}

/// PostgreSQL recovers from an error (PostgresMain), with interrupts held back; what comes next may not be told of before the client has sent a Sync.
unsafe extern "C-unwind" fn reset() {
    // SAFETY: as in `put`.
    unsafe {
        if let Some(reset) = (*THEIRS).comm_reset {
            reset();
        }
        if let Some(turns) = TURNS {
            (turns.failed)();
        }
    }
}

/// Unguarded, like the hooks of `hooks`: it owns nothing.
unsafe extern "C-unwind" fn put(kind: c_char, body: *const c_char, length: usize) -> c_int {
    let message = match kind as u8 {
        b'D' => Some(Message::Row),
        b'V' => Some(Message::Result),
        b'N' => Some(Message::Notice),
        b'A' => Some(Message::Notification),
        _ => None,
    };
    // SAFETY: in the backend; the arguments go on as they came.
    unsafe {
        if kind as u8 == b'K'
            && let Some(turns) = TURNS
        {
            (turns.begins)();
        }
        let may = match (message, VERDICT) {
            (Some(message), Some(verdict)) => verdict(message),
            _ => true,
        };
        if kind as u8 == b'V' {
            ANSWERED.store(raw::GetCurrentStatementStartTimestamp(), Ordering::Relaxed);
        }
        match (*THEIRS).putmessage {
            Some(put) if may => put(kind, body, length),
            // As if sent.
            _ => 0,
        }
    }
}
