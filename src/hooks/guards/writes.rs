//! Sessions that only read, and the functions that may write for them.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::flags;
use super::temporary::is_temporary;
use crate::guard::{self, READS_ONLY, writers};
use crate::hooks::compat;
use crate::hooks::what_runs::tag_of;
use crate::pg::identity;
use crate::pg::list::elements;

/// A query has started: PostgreSQL has checked the rights to what it writes.
///
/// # Safety
/// From ExecutorStart, afterwards.
pub unsafe fn after_start(query: *mut pg_sys::QueryDesc) {
    // SAFETY: by contract.
    unsafe {
        if flags() & READS_ONLY == 0 {
            return;
        }
        learn_writers();
        if compat::any_written((*query).plannedstmt, |_| true) {
            judge_write((*query).plannedstmt);
        }
    }
}

#[pg_guard]
pub(super) extern "C-unwind" fn learn_writers() {
    writers::learn();
}

#[pg_guard]
unsafe extern "C-unwind" fn judge_write(plan: *mut pg_sys::PlannedStmt) {
    if may_write() {
        return;
    }
    // SAFETY: a valid plan.
    unsafe {
        let is_lasting = |place: usize| {
            let entry = elements((*plan).rtable).nth(place.saturating_sub(1));
            !entry.is_some_and(|entry| is_temporary((*entry.cast::<pg_sys::RangeTblEntry>()).relid))
        };
        if compat::any_written(plan, is_lasting) {
            guard::refuse_write(tag_of(plan.cast()));
        }
    }
}

/// In a function that is allowed to write, or in a trigger that such a one has left for later.
pub(super) fn may_write() -> bool {
    writers::is_running() || identity::is_own_work()
}

/// A function that may write has been called in this transaction.
static WROTE: AtomicBool = AtomicBool::new(false);

unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    if matches!(
        event,
        pg_sys::XactEvent::XACT_EVENT_COMMIT
            | pg_sys::XactEvent::XACT_EVENT_ABORT
            | pg_sys::XactEvent::XACT_EVENT_PREPARE
    ) {
        WROTE.store(false, Ordering::Relaxed);
    }
}

/// Is `function` one that may write, in a session that only reads?
///
/// So is the function of a trigger once another has written in this transaction: deferred, it runs after that
/// one has returned. Such a session makes no triggers, and writes to nothing that has some but by functions that
/// may; nobody can call a trigger's function otherwise.
///
/// # Safety
/// As [`flags`].
pub unsafe fn is_writer(function: pg_sys::Oid) -> bool {
    // SAFETY: by contract. PostgreSQL's own functions have lower numbers, and no time to lose.
    unsafe {
        u32::from(function) >= pg_sys::FirstNormalObjectId
            && flags() & READS_ONLY != 0
            && (writers::is_allowed(function)
                || (WROTE.load(Ordering::Relaxed) && is_of_triggers(function)))
    }
}

#[pg_guard]
extern "C-unwind" fn is_of_triggers(function: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction.
    unsafe { pg_sys::get_func_rettype(function) == pg_sys::TRIGGEROID }
}

pub fn writer_begins(function: pg_sys::Oid) {
    static WATCHING: AtomicBool = AtomicBool::new(false);
    if !WATCHING.swap(true, Ordering::Relaxed) {
        // SAFETY: the callback has the right type and lives as long as the process.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), null_mut()) }
    }
    WROTE.store(true, Ordering::Relaxed);
    writers::begins(function);
}

pub fn writer_ends(function: pg_sys::Oid) {
    if writers::is_running() {
        writers::ends(function);
    }
}
