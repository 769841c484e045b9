//! ExecutorStart and ExecutorRun: every query.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compat::{self, Running};
use super::error_context::{explaining, running};
use super::judge::{
    acts_as_another, before_anything, before_inherited_use, before_query, before_query_of_another,
    before_use_by, inherits_for_a_time,
};
use super::{guards, quiet, sealed, set_config, statements};
use crate::audit::watched;
use crate::lock::verdict::{Event, Statement};
use crate::lock::{self, is_bound};
use crate::pg::list::elements;
use crate::session::{claim_settings, switch_state, switching};
use crate::{login, temporary};

unsafe extern "C-unwind" {
    /// executor/executor.h, without the guard of pgrx's bindings.
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: i32);
}

static mut PREVIOUS_START: pg_sys::ExecutorStart_hook_type = None;

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
        compat::install_executor_run::<Query>();
    }
}

/// A query on its way through ExecutorRun.
struct Query;

impl Running for Query {
    #[inline(always)]
    unsafe fn run(query: *mut pg_sys::QueryDesc, rows: u64, next: impl FnOnce()) {
        // SAFETY: by contract.
        unsafe {
            let is_quiet = is_of_no_concern(query);
            if is_quiet && !guards::rows::may_have_changed() {
                running(query, rows, next);
            } else {
                run(query, is_quiet, rows, next);
            }
            statements::ran(query);
            // Only a switch leaves something, after which no session is quiet.
            if !quiet::is_known() && switching::is_unsettled() {
                settle();
            }
        }
    }
}

#[pg_guard]
extern "C-unwind" fn settle() {
    switching::settle();
}

/// # Safety
/// As [`Running::run`].
#[cold]
#[inline(never)]
unsafe fn run(query: *mut pg_sys::QueryDesc, is_quiet: bool, rows: u64, next: impl FnOnce()) {
    // SAFETY: by contract.
    unsafe {
        if !is_quiet {
            before_run(query);
        }
        guards::rows::run_query(query, is_quiet, || running(query, rows, next));
    }
}

/// In `es_top_eflags`, where PostgreSQL's own EXEC_FLAG_… are the lowest bits.
const STARTED_UNDER_THE_LOCK: i32 = 1 << 30;
/// By what is somebody's for a time.
const STARTED_FOR_A_TIME: i32 = 1 << 29;

unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: the arguments go on as they came.
    unsafe {
        if is_of_no_concern(query) && !sealed::locks_rows(query) {
            PREVIOUS_START.unwrap_or(standard_ExecutorStart)(query, flags)
        } else {
            start(query, flags)
        }
    }
}

/// # Safety
/// As the hook.
#[cold]
#[inline(never)]
unsafe fn start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: by contract; the arguments go on as they came.
    unsafe {
        before_plan(query);
        if acts_as_another() {
            before_query_of_another();
        }
        if sealed::locks_rows(query) {
            sealed::before_query(query);
        }
        let next = PREVIOUS_START.unwrap_or(standard_ExecutorStart);
        if claim_settings::are_secured() && set_config::is_called_by((*query).plannedstmt) {
            explaining(std::ptr::null(), || before_settings_of(query));
        }
        guards::rows::before_start();
        if !is_bound() {
            if watched::is_watched() {
                // A refusal is recorded while it is still known what it refuses.
                explaining(std::ptr::null(), || next(query, flags));
            } else {
                next(query, flags);
            }
            if statements::are_queries_recorded() {
                statements::started(query, flags);
            }
            guards::writes::after_start(query);
            let for_a_time = acts_as_another() || inherits_for_a_time();
            if (for_a_time || borrows_for_a_time((*query).plannedstmt)) && opened(query) {
                (*(*query).estate).es_top_eflags |= STARTED_FOR_A_TIME;
                quiet::never();
            }
            quiet::note();
            return;
        }
        explaining(std::ptr::null(), || {
            before_query();
            // Rights are checked here.
            next(query, flags);
        });
        guards::writes::after_start(query);
        if switch_state::is_locked() {
            (*(*query).estate).es_top_eflags |= STARTED_UNDER_THE_LOCK;
        }
        if statements::are_queries_recorded() {
            statements::started(query, flags);
        }
    }
}

/// For ExecutorRun: a cursor that was opened in time may be read too late.
///
/// # Safety
/// In the backend, from the hook, with a query that has been started.
unsafe fn before_run(query: *mut pg_sys::QueryDesc) {
    if switch_state::is_locked() {
        // SAFETY: by contract.
        unsafe {
            let flags = (*(*query).estate).es_top_eflags;
            if flags & STARTED_UNDER_THE_LOCK == 0 && reads((*query).plannedstmt) {
                explaining(std::ptr::null(), || before_earlier_query());
            } else {
                explaining(std::ptr::null(), || before_query());
            }
        }
    }
    // SAFETY: by contract.
    unsafe { before_plan(query) }
    if acts_as_another() {
        before_query_of_another();
    }
    // SAFETY: by contract.
    if unsafe { (*(*query).estate).es_top_eflags } & STARTED_FOR_A_TIME != 0 {
        before_query_for_a_time(query);
    }
}

/// Does the plan read as somebody who may inherit for a time?
///
/// # Safety
/// A valid plan.
unsafe fn borrows_for_a_time(plan: *mut pg_sys::PlannedStmt) -> bool {
    let mut borrows = false;
    // SAFETY: by contract.
    unsafe {
        compat::reads_as(plan, |owner| {
            borrows |= owner != pg_sys::InvalidOid && temporary::inherited::may_have_ended(owner);
        });
    }
    borrows
}

/// # Safety
/// As the hook.
#[pg_guard]
unsafe extern "C-unwind" fn opened(query: *mut pg_sys::QueryDesc) -> bool {
    let mut owners = Vec::new();
    // SAFETY: by contract.
    unsafe {
        compat::reads_as((*query).plannedstmt, |owner| {
            if owner != pg_sys::InvalidOid {
                owners.push(owner);
            }
        });
    }
    temporary::opened::started(query as usize, &owners)
}

#[pg_guard]
extern "C-unwind" fn before_query_for_a_time(query: *mut pg_sys::QueryDesc) {
    temporary::opened::enforce(query as usize);
}

/// A query of a session that nothing concerns, and of no view.
///
/// # Safety
/// In the backend, with a valid query.
#[inline]
unsafe fn is_of_no_concern(query: *mut pg_sys::QueryDesc) -> bool {
    if !quiet::is_quiet() {
        return false;
    }
    let mut is_own = true;
    // SAFETY: by contract.
    unsafe {
        compat::reads_as((*query).plannedstmt, |owner| {
            is_own &= owner == pg_sys::InvalidOid
        })
    }
    is_own
}

/// Does the query read anything? A driver that fetches in batches asks the portal of the switch
/// itself for more.
///
/// # Safety
/// A valid plan.
unsafe fn reads(plan: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: by contract.
    unsafe {
        elements((*plan).rtable).any(|entry| {
            (*entry.cast::<pg_sys::RangeTblEntry>()).rtekind != pg_sys::RTEKind::RTE_RESULT
        })
    }
}

/// What ends at a deadline is refused by the session itself, in parallel workers too.
///
/// # Safety
/// In the backend, with a valid query.
#[inline]
unsafe fn before_plan(query: *mut pg_sys::QueryDesc) {
    if login::standing::is_watched() {
        before_anything();
    }
    // SAFETY: by contract.
    unsafe {
        let plan = (*query).plannedstmt;
        if inherits_for_a_time() && touches(plan) {
            before_inherited_use();
        }
        compat::reads_as(plan, |owner| {
            if owner != pg_sys::InvalidOid && temporary::inherited::may_have_ended(owner) {
                before_use_by(owner);
            }
        });
    }
}

/// Could the plan use a right? One that touches no relation and no function or type of anybody's, and changes
/// nothing, can only call functions of PostgreSQL's own, each of which is asked about.
///
/// # Safety
/// A valid plan.
unsafe fn touches(plan: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: by contract.
    unsafe {
        (*plan).commandType != pg_sys::CmdType::CMD_SELECT
            || !(*plan).relationOids.is_null()
            || !(*plan).invalItems.is_null()
    }
}

/// A query may set some by its results.
#[pg_guard]
unsafe extern "C-unwind" fn before_settings_of(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the argument of the hook.
    for name in unsafe { set_config::names_set_by((*query).plannedstmt) } {
        if switch_state::is_locked() && claim_settings::is_of_claim(&name) {
            let name = name.to_str().unwrap_or_default();
            let changes = true;
            lock::enforce(&Event::Utility(Statement::Set { name, changes }));
        }
        claim_settings::before_set(&name);
    }
}

#[pg_guard]
extern "C-unwind" fn before_earlier_query() {
    lock::enforce(&Event::Earlier);
}
