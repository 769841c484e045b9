//! The names of relations in a statement, and whether it is one call.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use super::error_context;
use super::list::elements;
use super::text;

/// The qualified name of a relation, once.
pub fn add_relation(names: &mut Vec<String>, relation: pg_sys::Oid) {
    // SAFETY: catalogue look-ups inside a transaction; the copies go with the memory context.
    let name = unsafe {
        let name = pg_sys::get_rel_name(relation);
        if name.is_null() {
            return;
        }
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        let mut parts = vec![name];
        if !schema.is_null() {
            parts.insert(0, schema);
        }
        qualified(parts.into_iter().map(|part| part.cast_const()))
    };
    if !names.contains(&name) {
        names.push(name);
    }
}

/// # Safety
/// Terminated strings.
pub unsafe fn qualified(parts: impl Iterator<Item = *const c_char>) -> String {
    let mut name = String::new();
    for part in parts {
        if !name.is_empty() {
            name.push('.');
        }
        // SAFETY: by contract; the result is terminated.
        let quoted = unsafe { CStr::from_ptr(pg_sys::quote_identifier(part)) };
        name += &text::read(quoted);
    }
    name
}

/// Is this call all that runs, sent by the client: `SELECT f($1)`, or the protocol's call of a
/// function?
pub fn is_call_alone(call: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: what PostgreSQL passes to the function that it calls; a query that runs is valid, and so is its plan; tags
    // say which struct a node is.
    unsafe {
        let function = (*(*call).flinfo).fn_oid;
        let Some(query) = error_context::only_statement() else {
            return pg_sys::ActivePortal.is_null();
        };
        let plan = (*query).plannedstmt;
        let tree = (*plan).planTree;
        if (*tree).type_ != pg_sys::NodeTag::T_Result
            || !(*plan).subplans.is_null()
            || !(*tree.cast::<pg_sys::Result>()).resconstantqual.is_null()
            || !(*tree).lefttree.is_null()
        {
            return false;
        }
        let mut columns = elements((*tree).targetlist);
        let (Some(column), None) = (columns.next(), columns.next()) else {
            return false;
        };
        let call = (*column.cast::<pg_sys::TargetEntry>()).expr;
        (*call.cast::<pg_sys::Node>()).type_ == pg_sys::NodeTag::T_FuncExpr
            && (*call.cast::<pg_sys::FuncExpr>()).funcid == function
            && elements((*call.cast::<pg_sys::FuncExpr>()).args)
                .all(|argument| is_value(argument.cast()))
    }
}

/// A constant or a parameter, under another name of its type perhaps.
///
/// # Safety
/// A valid node of an expression.
unsafe fn is_value(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_Const | pg_sys::NodeTag::T_Param => true,
            pg_sys::NodeTag::T_RelabelType => {
                is_value((*node.cast::<pg_sys::RelabelType>()).arg.cast())
            }
            _ => false,
        }
    }
}
