//! Plans that one role has made and another may run: PostgreSQL keeps them for a whole session, and makes a plan anew
//! for another role only where row security or a foreign table asks for it.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{catalog, compat, walk};

/// catalog/pg_language.dat; fixed.
const INTERNAL: u32 = 12;
const C: u32 = 13;
const SQL: u32 = 14;

/// Does the planner ask for the rights of the current user, or run something as that? It does so where it puts the
/// result of an immutable function in place of the call, or the body of an SQL function.
///
/// # Safety
/// A valid query that has not been planned, inside a transaction; owns nothing, because an error may jump over it.
pub unsafe fn depends_on_role(query: *mut pg_sys::Query) -> bool {
    // SAFETY: by contract.
    unsafe { calls_such(query.cast(), std::ptr::null_mut()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn calls_such(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL passes valid nodes, and NULL.
    unsafe {
        !node.is_null()
            && ((*node).type_ != pg_sys::NodeTag::T_Query
                && pg_sys::check_functions_in_node(node, Some(is_such), context)
                || walk::into(node, calls_such, context))
    }
}

/// Of PostgreSQL's own none; of those of extensions that are written in C and that all may execute, none either.
#[pg_guard]
unsafe extern "C-unwind" fn is_such(function: pg_sys::Oid, _context: *mut c_void) -> bool {
    if u32::from(function) < pg_sys::FirstNormalObjectId {
        return false;
    }
    let found = catalog::look_at_function(function, |form| {
        let language = u32::from(form.prolang);
        let is_immutable = form.provolatile as u8 == pg_sys::PROVOLATILE_IMMUTABLE;
        (language, is_immutable)
    });
    found.is_some_and(|(language, is_immutable)| {
        let is_c = language == C || language == INTERNAL;
        let is_anybodys = || compat::all_may_execute(function);
        language == SQL || is_immutable && !(is_c && is_anybodys())
    })
}
