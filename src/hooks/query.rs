//! What a query holds that has been analysed: literals whose meaning depends on settings, calls whose plan depends on the role.

use std::ffi::c_void;
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::catalog;
use crate::pg::compat::{self, Walker, expression_tree_walker, query_tree_walker};

/// catalog/pg_language.dat; fixed.
const INTERNAL: u32 = 12;
const C: u32 = 13;
const SQL: u32 = 14;

/// Plans that one role has made and another may run: PostgreSQL keeps them for a whole session, and makes a plan anew
/// for another role only where row security or a foreign table asks for it. Does the planner ask for the rights of the current user, or run something as that? It does so where it puts the
/// result of an immutable function in place of the call, or the body of an SQL function.
///
/// # Safety
/// A valid query that has not been planned, inside a transaction; owns nothing, because an error may jump over it.
pub unsafe fn depends_on_role(query: *mut pg_sys::Query) -> bool {
    // SAFETY: by contract.
    unsafe { calls_such(query.cast(), null_mut()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn calls_such(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL passes valid nodes, and NULL.
    unsafe {
        !node.is_null()
            && ((*node).type_ != pg_sys::NodeTag::T_Query
                && pg_sys::check_functions_in_node(node, Some(is_such), context)
                || into(node, calls_such, context))
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
        let is_anybodys = || all_may_execute(function);
        language == SQL || is_immutable && !(is_c && is_anybodys())
    })
}

/// May everyone execute the function, which there is?
fn all_may_execute(function: pg_sys::Oid) -> bool {
    let public = pg_sys::ACL_ID_PUBLIC.into();
    compat::may(
        (pg_sys::ProcedureRelationId, function),
        public,
        pg_sys::ACL_EXECUTE,
    )
}

/// Does it hold a value that was made from a text, by a rule that is not always the same?
///
/// # Safety
/// A valid query, inside a transaction; owns nothing, because an error may jump over it.
pub unsafe fn holds_literal(query: *mut pg_sys::Query) -> bool {
    // SAFETY: by contract.
    unsafe { is_or_holds_literal(query.cast(), null_mut()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn is_or_holds_literal(
    node: *mut pg_sys::Node,
    context: *mut c_void,
) -> bool {
    // SAFETY: PostgreSQL passes valid nodes, and NULL; the tag says which struct it is.
    unsafe {
        if node.is_null() {
            false
        } else if (*node).type_ == pg_sys::NodeTag::T_Const {
            let value = node.cast::<pg_sys::Const>();
            !(*value).constisnull && depends_on_settings((*value).consttype)
        } else {
            into(node, is_or_holds_literal, context)
        }
    }
}

unsafe fn depends_on_settings(kind: pg_sys::Oid) -> bool {
    let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: a type of a value that there is; both out-pointers are valid.
    unsafe {
        pg_sys::getTypeInputInfo(kind, &mut input, &mut parameter);
        pg_sys::func_volatile(input) as u8 != pg_sys::PROVOLATILE_IMMUTABLE
    }
}

/// Calls the walker for what a node holds; true as soon as it says so. Utility statements keep what they hold to themselves.
///
/// # Safety
/// A valid node of a query that has been analysed.
unsafe fn into(node: *mut pg_sys::Node, walker: Walker, context: *mut c_void) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        if (*node).type_ == pg_sys::NodeTag::T_Query {
            query_tree_walker(node.cast(), walker, context, 0)
        } else {
            expression_tree_walker(node, walker, context)
        }
    }
}
