//! What reaches the client and is no row of a result.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use pgrx::prelude::*;

use super::flags;
use crate::guard::{ROWS, meter};
use crate::hooks::wire::Message;
use crate::pg::{identity, raw};

/// Messages to the client since a statement of its arrived, and when that was.
static SENT: AtomicU64 = AtomicU64::new(0);
static SENT_SINCE: AtomicI64 = AtomicI64::new(i64::MIN);

/// May the client have what is no row of a result? Refused (54000), or false where no error can be raised.
///
/// # Safety
/// In the backend, in a statement, about to send; owns nothing, because an error may jump over it.
pub unsafe fn before_message(message: Message) -> bool {
    // SAFETY: by contract.
    unsafe { flags() & ROWS == 0 || count_message(message) }
}

#[pg_guard]
extern "C-unwind" fn count_message(message: Message) -> bool {
    if identity::is_own_work() {
        return true;
    }
    // SAFETY: a read of a backend global.
    let since = unsafe { raw::GetCurrentStatementStartTimestamp() };
    if SENT_SINCE.swap(since, Ordering::Relaxed) != since {
        SENT.store(0, Ordering::Relaxed);
    }
    let before = SENT.fetch_add(1, Ordering::Relaxed);
    match message {
        Message::Row | Message::Result | Message::Notice => {
            meter::count(before, 1);
            true
        }
        Message::Notification => meter::lets_pass(before, 1),
    }
}
