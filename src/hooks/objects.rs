//! The objects that a utility statement names.

use std::ffi::{c_char, c_void};

use pgrx::pg_sys;

use super::compat;
use crate::pg::list::elements;
use crate::pg::statement::qualified;

/// What a name means now; nothing if it means nothing, which PostgreSQL says.
///
/// # Safety
/// A valid `RangeVar`, or NULL.
pub unsafe fn found(name: *mut pg_sys::RangeVar) -> pg_sys::Oid {
    if name.is_null() {
        return pg_sys::InvalidOid;
    }
    // SAFETY: by contract.
    unsafe {
        pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
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
