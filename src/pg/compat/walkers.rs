//! Walking the trees of statements.

use std::ffi::c_void;

use pgrx::pg_sys;

/// Called for each node, NULL among them; true ends the walk.
pub type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

// nodes/nodeFuncs.h; work of macros from 16 on. Without the guard of pgrx's bindings: a walker of ours owns nothing.
unsafe extern "C-unwind" {
    #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_walker_impl")]
    pub fn query_tree_walker(
        query: *mut pg_sys::Query,
        walker: Walker,
        context: *mut c_void,
        flags: i32,
    ) -> bool;
    #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
    pub fn expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: Walker,
        context: *mut c_void,
    ) -> bool;
}

/// Is it one of the expressions about JSON that came with later versions, and have a type?
pub fn is_json_expression(tag: pg_sys::NodeTag) -> bool {
    #[cfg(feature = "pg15")]
    {
        let _ = tag;
        false
    }
    #[cfg(not(feature = "pg15"))]
    {
        #[cfg(not(feature = "pg16"))]
        if tag == pg_sys::NodeTag::T_JsonExpr {
            return true;
        }
        matches!(
            tag,
            pg_sys::NodeTag::T_JsonConstructorExpr | pg_sys::NodeTag::T_JsonValueExpr
        )
    }
}
