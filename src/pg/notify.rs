//! NOTIFY.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

unsafe extern "C-unwind" {
    // commands/async.h
    fn Async_Notify(channel: *const c_char, payload: *const c_char);
}

thread_local! {
    /// Notifications that wait for a commit.
    static NOTIFICATIONS: RefCell<Vec<(&'static CStr, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// How many wait at most; more are in the log only.
const MOST_NOTIFICATIONS: usize = 100;

/// NOTIFY, with the next commit of this session, whatever becomes of this transaction. Nothing where
/// that is not possible.
pub fn at_commit(channel: &'static CStr, payload: &[u8]) {
    static WATCHING: AtomicBool = AtomicBool::new(false);
    // SAFETY: reads of backend globals; a static callback of the right type, registered once.
    unsafe {
        if pg_sys::RecoveryInProgress() || pg_sys::ParallelWorkerNumber >= 0 {
            return;
        }
        if !WATCHING.swap(true, Ordering::Relaxed) {
            pg_sys::RegisterXactCallback(Some(before_commit), std::ptr::null_mut());
        }
    }
    NOTIFICATIONS.with_borrow_mut(|waiting| {
        if waiting.len() < MOST_NOTIFICATIONS {
            waiting.push((channel, payload.to_vec()));
        }
    });
}

/// Not before PREPARE TRANSACTION, which PostgreSQL refuses to transactions that notify.
#[pg_guard]
unsafe extern "C-unwind" fn before_commit(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    if event != pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT {
        return;
    }
    for (channel, payload) in NOTIFICATIONS.take() {
        // SAFETY: inside the transaction, which is about to commit; both are terminated and short
        // enough, and PostgreSQL copies them.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                Async_Notify(channel.as_ptr(), payload.as_ptr().cast());
            });
        }
    }
}
