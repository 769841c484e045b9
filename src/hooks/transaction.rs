//! The ends of transactions, for audit lines that wait for them.

use std::ffi::c_void;
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::error_context;
use crate::audit::{self, End, running};

/// Once, in the postmaster, inherited by every backend.
pub fn install() {
    // SAFETY: static callbacks of the right types, registered once.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_end), null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), null_mut());
    }
}

/// Every transaction ends: without a guard as long as there is nothing to do.
unsafe extern "C-unwind" fn at_transaction_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut c_void,
) {
    if audit::is_expecting() || event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        tell_the_end(event);
    }
}

/// Must not fail: the transaction has already committed, or is being aborted.
#[pg_guard]
extern "C-unwind" fn tell_the_end(event: pg_sys::XactEvent::Type) {
    let end = match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => End::Committed,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => End::Prepared,
        pg_sys::XactEvent::XACT_EVENT_ABORT => End::Aborted,
        _ => return,
    };
    if end == End::Aborted && running::is_wanted() {
        running::transaction_ended(error_context::depth());
    }
    if !audit::is_expecting() {
        return;
    }
    audit::ended(end);
}

/// As [`at_transaction_end`].
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        tell_of_subtransaction(subtransaction);
    }
}

/// Must not fail, as [`tell_the_end`].
#[pg_guard]
extern "C-unwind" fn tell_of_subtransaction(subtransaction: pg_sys::SubTransactionId) {
    if running::is_wanted() {
        running::subtransaction_aborted(subtransaction);
    }
    if audit::is_expecting() {
        audit::ended(End::Subtransaction(subtransaction));
    }
}
