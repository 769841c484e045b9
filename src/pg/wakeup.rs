//! Waking the launcher when a commit may have changed a deadline.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use pgrx::prelude::*;
use pgrx::{PgAtomic, pg_shmem_init, pg_sys};

/// The launcher's process id, 0 while there is none. In shared memory.
// SAFETY: the name is unique in the server.
static LAUNCHER: PgAtomic<AtomicI32> = unsafe { PgAtomic::new(c"scope_roles launcher") };
/// This transaction has changed something that the launcher should know.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(LAUNCHER);
}

/// Hears of commits; in the postmaster, inherited by every backend.
pub fn init() {
    // SAFETY: a static callback of the right type, registered once.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) }
}

/// The launcher is this process.
pub fn register_launcher() {
    // SAFETY: a plain read of a backend global.
    LAUNCHER
        .get()
        .store(unsafe { pg_sys::MyProcPid }, Ordering::Release);
}

/// Wakes the launcher when, and only if, this transaction commits.
pub fn at_commit() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Must not fail: the transaction has already committed.
#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    if !WANTED.load(Ordering::Relaxed) {
        return;
    }
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            WANTED.store(false, Ordering::Relaxed);
            wake();
        }
        // A prepared transaction is committed elsewhere; the launcher's own look each minute
        // covers it.
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            WANTED.store(false, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// Wakes the launcher now.
pub fn wake() {
    let pid = LAUNCHER.get().load(Ordering::Acquire);
    if pid == 0 {
        return;
    }
    // SAFETY: BackendPidGetProc answers NULL for a process that is gone; a latch in shared memory
    // may be set at any time, at worst that of the slot's next user, who ignores it.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}
