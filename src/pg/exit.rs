//! The end of this process.

use std::sync::OnceLock;

use pgrx::prelude::*;

static SAVE: OnceLock<fn()> = OnceLock::new();

/// Has `save` called when this process ends in good order, once.
pub fn before(save: fn()) {
    if SAVE.set(save).is_ok() {
        // SAFETY: called once; while callbacks run shared memory is still there.
        unsafe { pg_sys::before_shmem_exit(Some(exiting), pg_sys::Datum::null()) }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn exiting(_code: i32, _argument: pg_sys::Datum) {
    if let Some(save) = SAVE.get() {
        save();
    }
}
