//! Messages on their way to the client, for those that pass no hook: answers to the protocol's function calls,
//! NOTICEs and notifications, and rows that wait in a store.

use std::ffi::{c_char, c_int};
use std::ptr::null;

use pgrx::pg_sys;

use crate::pg::timer;

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

/// What is asked of a session that is watched, and told. They own nothing, because an error may jump over them.
pub trait Watching {
    /// May it be sent? Refused by an error, or, as if it had been sent, by false.
    ///
    /// # Safety
    /// While it is about to be sent.
    unsafe fn may_send(message: Message) -> bool;
    /// The client has logged in, and PostgreSQL has set up its session, but has run nothing in it: outside of a transaction.
    ///
    /// # Safety
    /// At that moment.
    unsafe fn begins();
    /// There was an error, and PostgreSQL has stopped all timers.
    ///
    /// # Safety
    /// While PostgreSQL recovers from it.
    unsafe fn failed();
}

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

/// From now on, in this session: where something may end, or rows are counted.
pub fn watch<W: Watching>() {
    // SAFETY: backend-local and single-threaded; PostgreSQL's table is a constant, ours lives as long as the
    // process. Parallel workers have another table, and do not come here.
    unsafe {
        if THEIRS.is_null() && pg_sys::ParallelWorkerNumber < 0 {
            THEIRS = PqCommMethods;
            OURS = *THEIRS;
            OURS.putmessage = Some(put::<W>);
            OURS.comm_reset = Some(reset::<W>);
            PqCommMethods = &raw const OURS;
        }
    }
}

/// PostgreSQL recovers from an error (PostgresMain), with interrupts held back; what comes next may not be told of before the client has sent a Sync.
unsafe extern "C-unwind" fn reset<W: Watching>() {
    // SAFETY: as in `put`.
    unsafe {
        if let Some(reset) = (*THEIRS).comm_reset {
            reset();
        }
        W::failed();
    }
}

/// Unguarded, like the hooks: it owns nothing.
unsafe extern "C-unwind" fn put<W: Watching>(
    kind: c_char,
    body: *const c_char,
    length: usize,
) -> c_int {
    let message = match kind as u8 {
        b'D' => Some(Message::Row),
        b'V' => Some(Message::Result),
        b'N' => Some(Message::Notice),
        b'A' => Some(Message::Notification),
        _ => None,
    };
    // SAFETY: in the backend; the arguments go on as they came.
    unsafe {
        if kind as u8 == b'K' {
            W::begins();
        }
        let may = message.is_none_or(|message| W::may_send(message));
        if kind as u8 == b'V' {
            timer::answered();
        }
        match (*THEIRS).putmessage {
            Some(put) if may => put(kind, body, length),
            // As if sent.
            _ => 0,
        }
    }
}
