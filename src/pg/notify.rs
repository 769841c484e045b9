//! NOTIFY (commands/async.h).

use std::ffi::CStr;

use pgrx::pg_sys;

/// With the commit of this transaction, which may still fail.
pub fn notify(channel: &CStr, payload: &CStr) {
    // SAFETY: inside a transaction; both are terminated, and PostgreSQL copies them.
    unsafe { pg_sys::Async_Notify(channel.as_ptr(), payload.as_ptr()) }
}
