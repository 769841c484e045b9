//! What a session has of its own beside settings and prepared statements, taken away part by part.

use pgrx::{IntoDatum, pg_sys};

/// Has this transaction used a temporary relation, or made one?
pub fn has_used_temporary_schema() -> bool {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_ACCESSEDTEMPNAMESPACE as i32 != 0 }
}

/// Inside a transaction. Nothing happens when there are none.
pub fn temporary_objects() {
    // SAFETY: by contract.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::ResetTempTableNamespace();
        pg_sys::PopActiveSnapshot();
    }
}

/// UNLISTEN *, with the commit. Inside a transaction.
pub fn listening() {
    // SAFETY: by contract; it does nothing when there is nothing to do.
    unsafe { pg_sys::Async_UnlistenAll() }
}

/// The last values of sequences. At any time.
pub fn sequences() {
    // SAFETY: the backend's own state.
    unsafe { pg_sys::ResetSequenceCaches() }
}

/// Has random() begin anew; the seed from -1 to 1. At any time.
pub fn random_numbers(seed: f64) {
    // SAFETY: the backend's own state.
    unsafe {
        pgrx::direct_function_call_as_datum(pg_sys::setseed, &[seed.into_datum()]);
    }
}

/// Those of the session. At any time.
pub fn advisory_locks() {
    // SAFETY: the backend's own state.
    unsafe { pg_sys::LockReleaseAll(pg_sys::USER_LOCKMETHOD as u16, true) }
}
