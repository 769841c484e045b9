//! The hooks on what has been analysed, and on planning.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys;

static mut PREVIOUS_ANALYSIS: pg_sys::post_parse_analyze_hook_type = None;
static mut PREVIOUS_PLANNER: pg_sys::planner_hook_type = None;

/// What is done after analysis and around planning.
pub trait Planning {
    /// # Safety
    /// From the hook, with what has been analysed.
    unsafe fn analysed(query: *mut pg_sys::Query);

    /// # Safety
    /// From the hook, with what has been rewritten; `next` plans it and owns nothing, because an error jumps over it.
    unsafe fn plan(
        query: *mut pg_sys::Query,
        next: impl FnOnce() -> *mut pg_sys::PlannedStmt,
    ) -> *mut pg_sys::PlannedStmt;
}

/// Hooks both, whose arguments differ.
///
/// # Safety
/// Once, in the postmaster.
pub unsafe fn install_planning<P: Planning>() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_ANALYSIS = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(analysed::<P>);
        PREVIOUS_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(plan::<P>);
    }
}

#[cfg(not(feature = "pg19"))]
type Jumbled = *mut pg_sys::JumbleState;
#[cfg(feature = "pg19")]
type Jumbled = *const pg_sys::JumbleState;

unsafe extern "C-unwind" fn analysed<P: Planning>(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumbled: Jumbled,
) {
    // SAFETY: the arguments go on as they came.
    unsafe {
        P::analysed(query);
        if let Some(previous) = PREVIOUS_ANALYSIS {
            previous(state, query, jumbled);
        }
    }
}

unsafe extern "C-unwind" fn plan<P: Planning>(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
    #[cfg(feature = "pg19")] explained: *mut pg_sys::ExplainState,
) -> *mut pg_sys::PlannedStmt {
    unsafe extern "C-unwind" {
        /// optimizer/planner.h, without the guard of pgrx's bindings.
        fn standard_planner(
            query: *mut pg_sys::Query,
            text: *const c_char,
            options: c_int,
            parameters: pg_sys::ParamListInfo,
            #[cfg(feature = "pg19")] explained: *mut pg_sys::ExplainState,
        ) -> *mut pg_sys::PlannedStmt;
    }
    // SAFETY: the arguments go on as they came.
    unsafe {
        let planner = PREVIOUS_PLANNER.unwrap_or(standard_planner);
        #[cfg(not(feature = "pg19"))]
        return P::plan(query, || planner(query, text, options, parameters));
        #[cfg(feature = "pg19")]
        P::plan(query, || {
            planner(query, text, options, parameters, explained)
        })
    }
}
