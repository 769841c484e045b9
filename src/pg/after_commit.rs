//! Work behind the end of a transaction, when other sessions have been told of all that it has changed.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

thread_local! {
    static WORK: Cell<Option<fn(bool)>> = const { Cell::new(None) };
}

/// From now on, at the end of each transaction; whether it has committed. Nothing in it may fail, and it may be called twice for one end.
pub fn tell(work: fn(bool)) {
    if WORK.replace(Some(work)).is_none() {
        // SAFETY: the callback has the right type and lives as long as the process.
        unsafe {
            pg_sys::RegisterResourceReleaseCallback(Some(at_release), std::ptr::null_mut());
        }
    }
}

/// Locks are given up after others have been told (xact.c).
unsafe extern "C-unwind" fn at_release(
    phase: pg_sys::ResourceReleasePhase::Type,
    is_commit: bool,
    is_of_transaction: bool,
    _argument: *mut c_void,
) {
    if is_of_transaction && phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS {
        run(is_commit);
    }
}

#[pg_guard]
extern "C-unwind" fn run(is_commit: bool) {
    if let Some(work) = WORK.get() {
        work(is_commit);
    }
}
