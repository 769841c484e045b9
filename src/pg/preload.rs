//! Was the library loaded by `shared_preload_libraries`?

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

static PRELOADED: AtomicBool = AtomicBool::new(false);

/// True while the postmaster loads the libraries named in `shared_preload_libraries`.
pub fn in_progress() -> bool {
    // SAFETY: a plain read of a backend-local C global.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Remembered in the postmaster and inherited by every process that it forks.
pub fn mark() {
    PRELOADED.store(true, Ordering::Relaxed);
}

pub fn done() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}
