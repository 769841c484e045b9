//! Walks through trees of nodes.

use std::ffi::c_void;

use pgrx::pg_sys;

/// Called for each node, NULL among them; true ends the walk.
pub type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

// nodes/nodeFuncs.h; work of macros from 16 on. Without the guard of pgrx's bindings: a walker of ours owns nothing.
unsafe extern "C-unwind" {
    #[cfg_attr(
        not(any(feature = "pg14", feature = "pg15")),
        link_name = "query_tree_walker_impl"
    )]
    fn query_tree_walker(
        query: *mut pg_sys::Query,
        walker: Walker,
        context: *mut c_void,
        flags: i32,
    ) -> bool;
    #[cfg_attr(
        not(any(feature = "pg14", feature = "pg15")),
        link_name = "expression_tree_walker_impl"
    )]
    fn expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: Walker,
        context: *mut c_void,
    ) -> bool;
}

/// Calls the walker for what a node holds; true as soon as it says so. Utility statements keep what they hold to themselves.
///
/// # Safety
/// A valid node of a query that has been analysed.
pub unsafe fn into(node: *mut pg_sys::Node, walker: Walker, context: *mut c_void) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        if (*node).type_ == pg_sys::NodeTag::T_Query {
            query_tree_walker(node.cast(), walker, context, 0)
        } else {
            expression_tree_walker(node, walker, context)
        }
    }
}
