//! What a statement is: its tag, its text, and the names of relations.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use super::error_context;
use super::list::elements;

unsafe extern "C-unwind" {
    // tcop/utility.h
    fn CreateCommandTag(statement: *mut pg_sys::Node) -> pg_sys::CommandTag::Type;
    fn GetCommandTagName(tag: pg_sys::CommandTag::Type) -> *const c_char;
    fn GetCommandLogLevel(statement: *mut pg_sys::Node) -> u32;
}

/// `LOGSTMT_DDL` (tcop/tcopprot.h).
const DDL: u32 = 1;

/// # Safety
/// A valid statement.
pub unsafe fn tag(statement: *mut pg_sys::Node) -> &'static str {
    // SAFETY: by contract; the names are constants in ASCII.
    unsafe {
        CStr::from_ptr(GetCommandTagName(CreateCommandTag(statement)))
            .to_str()
            .unwrap_or_default()
    }
}

/// Does it change objects, so that `log_statement = 'ddl'` would log it?
///
/// # Safety
/// A valid statement.
pub unsafe fn is_ddl(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe { GetCommandLogLevel(statement) == DDL }
}

/// The command that is being run; not while it is still being analysed.
pub fn running_tag() -> Option<&'static str> {
    // SAFETY: NULL, or the portal that is running; the names are constants in ASCII.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if portal.is_null() {
            return None;
        }
        CStr::from_ptr(GetCommandTagName((*portal).commandTag))
            .to_str()
            .ok()
    }
}

/// Of what the client has sent, if the server computes it and has come so far.
pub fn sent_query_id() -> Option<i64> {
    // SAFETY: a read of this backend's own entry.
    let id = unsafe { pg_sys::pgstat_get_my_query_id() } as i64;
    (id != 0).then_some(id)
}

/// What the client has sent, as it came, up to so many bytes.
pub fn sent_text(most: usize) -> Option<String> {
    // SAFETY: NULL, or the terminated text of the statement that runs.
    unsafe {
        let text = pg_sys::debug_query_string;
        if text.is_null() {
            return None;
        }
        let text = CStr::from_ptr(text).to_bytes();
        let text = text.get(..most).unwrap_or(text);
        Some(String::from_utf8_lossy(text).trim().to_owned())
    }
}

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
        name += &quoted.to_string_lossy();
    }
    name
}

/// Does a function run that a function call of the protocol, and no statement, has asked for?
pub fn is_function_call() -> bool {
    // SAFETY: plain reads of backend globals.
    unsafe { pg_sys::ActivePortal.is_null() && pg_sys::debug_query_string.is_null() }
}

/// A function's name with its schema and the types of its arguments.
pub fn signature(function: pg_sys::Oid) -> String {
    // SAFETY: a catalogue look-up inside a transaction; a terminated string.
    unsafe {
        let name = pg_sys::format_procedure_qualified(function);
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
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
