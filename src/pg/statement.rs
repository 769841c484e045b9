//! What a statement is: its tag, the objects that it names, its text.

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;

use super::compat;
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

/// The objects that a utility statement names, as far as it says so.
///
/// # Safety
/// A valid utility statement.
pub unsafe fn objects(node: *mut pg_sys::Node) -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: by contract.
    unsafe { add_objects(node, &mut names) };
    names
}

/// # Safety
/// A valid utility statement.
unsafe fn add_objects(node: *mut pg_sys::Node, names: &mut Vec<String>) {
    macro_rules! field {
        ($statement:ident, $field:ident) => {
            (*node.cast::<pg_sys::$statement>()).$field.cast::<c_void>()
        };
    }
    use pg_sys::NodeTag::*;
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        let object = match (*node).type_ {
            T_CreateStmt | T_CreateForeignTableStmt => field!(CreateStmt, relation),
            T_CreateTableAsStmt => {
                let into = (*node.cast::<pg_sys::CreateTableAsStmt>()).into;
                (*into).rel.cast()
            }
            T_IndexStmt => field!(IndexStmt, relation),
            T_ViewStmt => field!(ViewStmt, view),
            T_RuleStmt => field!(RuleStmt, relation),
            T_AlterTableStmt => field!(AlterTableStmt, relation),
            T_CreateSeqStmt => field!(CreateSeqStmt, sequence),
            T_AlterSeqStmt => field!(AlterSeqStmt, sequence),
            T_CreateTrigStmt => field!(CreateTrigStmt, relation),
            T_CreatePolicyStmt => field!(CreatePolicyStmt, table),
            T_AlterPolicyStmt => field!(AlterPolicyStmt, table),
            T_RefreshMatViewStmt => field!(RefreshMatViewStmt, relation),
            T_CopyStmt => field!(CopyStmt, relation),
            T_TruncateStmt => {
                add_all((*node.cast::<pg_sys::TruncateStmt>()).relations, names);
                return;
            }
            T_DropStmt => {
                add_all((*node.cast::<pg_sys::DropStmt>()).objects, names);
                return;
            }
            T_GrantStmt => {
                add_all((*node.cast::<pg_sys::GrantStmt>()).objects, names);
                return;
            }
            T_DropRoleStmt => {
                add_all((*node.cast::<pg_sys::DropRoleStmt>()).roles, names);
                return;
            }
            T_CreateFunctionStmt => field!(CreateFunctionStmt, funcname),
            T_AlterFunctionStmt => field!(AlterFunctionStmt, func),
            T_CommentStmt => field!(CommentStmt, object),
            T_RenameStmt => {
                let statement = node.cast::<pg_sys::RenameStmt>();
                if (*statement).relation.is_null() {
                    (*statement).object.cast()
                } else {
                    (*statement).relation.cast()
                }
            }
            T_AlterOwnerStmt => field!(AlterOwnerStmt, object),
            T_AlterObjectSchemaStmt => field!(AlterObjectSchemaStmt, relation),
            T_AlterRoleStmt => field!(AlterRoleStmt, role),
            T_CreateSchemaStmt => {
                add_text((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaname, names);
                return;
            }
            T_CreateRoleStmt => {
                add_text((*node.cast::<pg_sys::CreateRoleStmt>()).role, names);
                return;
            }
            T_CreateExtensionStmt => {
                add_text((*node.cast::<pg_sys::CreateExtensionStmt>()).extname, names);
                return;
            }
            _ => return,
        };
        add_node(object.cast(), names);
    }
}

/// # Safety
/// A valid list of nodes, or NULL.
unsafe fn add_all(list: *mut pg_sys::List, names: &mut Vec<String>) {
    // SAFETY: by contract.
    unsafe { elements(list).for_each(|node| add_node(node.cast(), names)) }
}

/// # Safety
/// Terminated, or NULL.
unsafe fn add_text(name: *const c_char, names: &mut Vec<String>) {
    // SAFETY: by contract.
    unsafe {
        if !name.is_null() {
            names.push(qualified(std::iter::once(name)));
        }
    }
}

/// A name in one of the forms that the grammar has for it.
///
/// # Safety
/// A valid node, or NULL.
unsafe fn add_node(node: *mut pg_sys::Node, names: &mut Vec<String>) {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        if node.is_null() {
            return;
        }
        match (*node).type_ {
            pg_sys::NodeTag::T_RangeVar => {
                let relation = node.cast::<pg_sys::RangeVar>();
                let parts = [(*relation).schemaname, (*relation).relname];
                let parts = parts.into_iter().filter(|part| !part.is_null());
                names.push(qualified(parts.map(|part| part.cast_const())));
            }
            pg_sys::NodeTag::T_List => {
                let list = node.cast::<pg_sys::List>();
                let parts = elements(list).map(|part| compat::string_value(part.cast()));
                let parts: Vec<_> = parts.filter(|part| !part.is_null()).collect();
                names.push(qualified(parts.into_iter()));
            }
            pg_sys::NodeTag::T_ObjectWithArgs => {
                add_node(
                    (*node.cast::<pg_sys::ObjectWithArgs>()).objname.cast(),
                    names,
                );
            }
            pg_sys::NodeTag::T_TypeName => {
                add_node((*node.cast::<pg_sys::TypeName>()).names.cast(), names);
            }
            pg_sys::NodeTag::T_RoleSpec => {
                add_text((*node.cast::<pg_sys::RoleSpec>()).rolename, names);
            }
            _ => add_text(compat::string_value(node), names),
        }
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
unsafe fn qualified(parts: impl Iterator<Item = *const c_char>) -> String {
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
