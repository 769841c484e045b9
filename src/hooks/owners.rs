//! Statements that name the owner of something.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::list::elements;
use crate::session::switching;

/// Does the statement hand an object, or what will be created, to another role than the one that a token has activated? Without one, to any.
///
/// # Safety
/// `node` is a valid utility statement; in a transaction.
pub(super) unsafe fn names_another(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_AlterOwnerStmt => {
                is_another((*node.cast::<pg_sys::AlterOwnerStmt>()).newowner)
            }
            pg_sys::NodeTag::T_ReassignOwnedStmt => {
                is_another((*node.cast::<pg_sys::ReassignOwnedStmt>()).newrole)
            }
            pg_sys::NodeTag::T_CreateSchemaStmt => {
                let role = (*node.cast::<pg_sys::CreateSchemaStmt>()).authrole;
                !role.is_null() && is_another(role)
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                elements((*node.cast::<pg_sys::AlterTableStmt>()).cmds).any(|command| {
                    let command = command.cast::<pg_sys::AlterTableCmd>();
                    (*command).subtype == pg_sys::AlterTableType::AT_ChangeOwner
                        && is_another((*command).newowner)
                })
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                elements((*node.cast::<pg_sys::CreatedbStmt>()).options).any(|option| {
                    let option = option.cast::<pg_sys::DefElem>();
                    is_named(option, c"owner")
                        && !(*option).arg.is_null()
                        && !is_own(pg_sys::get_role_oid(pg_sys::defGetString(option), true))
                })
            }
            // FOR ROLE, of which there may be several.
            pg_sys::NodeTag::T_AlterDefaultPrivilegesStmt => elements(
                (*node.cast::<pg_sys::AlterDefaultPrivilegesStmt>()).options,
            )
            .any(|option| {
                let option = option.cast::<pg_sys::DefElem>();
                is_named(option, c"roles")
                    && elements((*option).arg.cast()).any(|role| is_another(role.cast()))
            }),
            _ => false,
        }
    }
}

/// # Safety
/// A valid option.
unsafe fn is_named(option: *const pg_sys::DefElem, name: &CStr) -> bool {
    // SAFETY: by contract; terminated.
    unsafe { !(*option).defname.is_null() && CStr::from_ptr((*option).defname) == name }
}

/// # Safety
/// A valid name of a role; in a transaction.
unsafe fn is_another(role: *const pg_sys::RoleSpec) -> bool {
    // SAFETY: by contract.
    unsafe { !is_own(pg_sys::get_rolespec_oid(role, true)) }
}

fn is_own(role: pg_sys::Oid) -> bool {
    switching::locked_to() == Some(role)
}
