//! The hooks on what has been analysed and on what has been planned: statements, expressions of PL/pgSQL, bodies of functions.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys;

use super::query;
use crate::session::{gate, parsing};

static mut PREVIOUS_ANALYSIS: pg_sys::post_parse_analyze_hook_type = None;
static mut PREVIOUS_PLANNER: pg_sys::planner_hook_type = None;

unsafe extern "C-unwind" {
    /// optimizer/planner.h, without the guard of pgrx's bindings.
    fn standard_planner(
        query: *mut pg_sys::Query,
        text: *const c_char,
        options: c_int,
        parameters: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
}

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_ANALYSIS = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(analysed);
        PREVIOUS_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(plan);
    }
}

unsafe extern "C-unwind" fn analysed(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumbled: *mut pg_sys::JumbleState,
) {
    // SAFETY: the arguments go on as they came.
    unsafe {
        // Else nothing of it is kept for somebody else.
        if gate::is_closed() {
            parsing::analysed(|| query::holds_literal(query));
        }
        if let Some(previous) = PREVIOUS_ANALYSIS {
            previous(state, query, jumbled);
        }
    }
}

unsafe extern "C-unwind" fn plan(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the arguments go on as they came. The planner writes into the query: it is looked at before.
    unsafe {
        let planner = PREVIOUS_PLANNER.unwrap_or(standard_planner);
        if !gate::is_closed() {
            return planner(query, text, options, parameters);
        }
        let is_a_roles = query::depends_on_role(query);
        let plan = planner(query, text, options, parameters);
        if is_a_roles {
            (*plan).dependsOnRole = true;
        }
        parsing::planned();
        plan
    }
}
