//! Calls of `set_config` in the list of results of a query.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::pg::list::elements;

/// Does a query's own list of results call `set_config`? Owns nothing.
///
/// # Safety
/// A valid plan.
pub unsafe fn is_called_by(plan: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: by contract.
    unsafe { calls(plan).next().is_some() }
}

/// The names that these calls set, where they are written down.
///
/// # Safety
/// A valid plan.
pub unsafe fn names_set_by(plan: *mut pg_sys::PlannedStmt) -> Vec<CString> {
    // SAFETY: by contract; the tag says which struct the node is.
    let names = unsafe { calls(plan) }.filter_map(|call| unsafe {
        let name = elements((*call).args).next()?.cast::<pg_sys::Const>();
        if (*name).xpr.type_ != pg_sys::NodeTag::T_Const || (*name).constisnull {
            return None;
        }
        let text = pg_sys::text_to_cstring((*name).constvalue.cast_mut_ptr());
        Some(CStr::from_ptr(text).to_owned())
    });
    names.collect()
}

/// # Safety
/// A valid plan, which outlives the iterator.
unsafe fn calls(plan: *mut pg_sys::PlannedStmt) -> impl Iterator<Item = *mut pg_sys::FuncExpr> {
    // SAFETY: by contract; the tags say which structs the nodes are.
    unsafe {
        let tree = (*plan).planTree;
        let results = if tree.is_null() {
            std::ptr::null_mut()
        } else {
            (*tree).targetlist
        };
        elements(results).filter_map(|entry| {
            let call = (*entry.cast::<pg_sys::TargetEntry>())
                .expr
                .cast::<pg_sys::FuncExpr>();
            ((*call).xpr.type_ == pg_sys::NodeTag::T_FuncExpr
                && (*call).funcid.to_u32() == pg_sys::F_SET_CONFIG)
                .then_some(call)
        })
    }
}
