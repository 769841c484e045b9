//! NOTIFY (commands/async.h).

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    fn Async_Notify(channel: *const c_char, payload: *const c_char);
}

/// With the commit of this transaction, which may still fail.
pub fn notify(channel: &CStr, payload: &CStr) {
    // SAFETY: inside a transaction; both are terminated, and PostgreSQL copies them.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| Async_Notify(channel.as_ptr(), payload.as_ptr()));
    }
}
