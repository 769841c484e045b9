//! Hearing of the ends of this session's transactions.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The transaction can still do work, and fail.
    BeforeCommit,
    BeforePrepare,
    /// From here on nothing may fail.
    Committed,
    Prepared,
    Aborted,
}

/// Who hears. Not of parallel workers.
pub trait Ending {
    /// The cheap first question, of every transaction.
    #[inline]
    fn is_awaited(_moment: Moment) -> bool {
        true
    }

    fn at(moment: Moment);
}

/// From now on; once in a process.
pub fn tell<E: Ending>() {
    // SAFETY: the callback has the right type and lives as long as the process.
    unsafe { pg_sys::RegisterXactCallback(Some(at_end::<E>), std::ptr::null_mut()) }
}

/// Without a guard as long as there is nothing to do.
unsafe extern "C-unwind" fn at_end<E: Ending>(
    event: pg_sys::XactEvent::Type,
    _argument: *mut c_void,
) {
    let moment = match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => Moment::BeforeCommit,
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => Moment::BeforePrepare,
        pg_sys::XactEvent::XACT_EVENT_COMMIT => Moment::Committed,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => Moment::Prepared,
        pg_sys::XactEvent::XACT_EVENT_ABORT => Moment::Aborted,
        _ => return,
    };
    if E::is_awaited(moment) {
        tell_of::<E>(moment);
    }
}

#[pg_guard]
extern "C-unwind" fn tell_of<E: Ending>(moment: Moment) {
    E::at(moment);
}
