//! What a statement is, for guards.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::temporary::{is_about_temporary, is_temporary_table};
use crate::guard::rule::Class;
use crate::hooks::what_runs;
use crate::pg::identity;
use crate::pg::list::elements;

/// Does a statement change data, or what holds them? Temporary objects are the session's own.
///
/// # Safety
/// A valid statement, inside a transaction.
pub(super) unsafe fn changes_data(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TruncateStmt => {
                let truncate = node.cast::<pg_sys::TruncateStmt>();
                !elements((*truncate).relations).all(|name| is_temporary_table(name.cast()))
            }
            pg_sys::NodeTag::T_CopyStmt => {
                let copy = node.cast::<pg_sys::CopyStmt>();
                (*copy).is_from && !is_temporary_table((*copy).relation)
            }
            // It keeps its locks, and the snapshot of others' VACUUM, after the login is gone.
            pg_sys::NodeTag::T_TransactionStmt => prepares(node),
            // Roles and rights are no data, but stay behind: not by the reader itself.
            pg_sys::NodeTag::T_CreateRoleStmt
            | pg_sys::NodeTag::T_AlterRoleStmt
            | pg_sys::NodeTag::T_AlterRoleSetStmt
            | pg_sys::NodeTag::T_DropRoleStmt
            | pg_sys::NodeTag::T_GrantStmt
            | pg_sys::NodeTag::T_GrantRoleStmt
            | pg_sys::NodeTag::T_AlterDefaultPrivilegesStmt => !identity::in_security_definer(),
            _ => is_ddl(node) && !is_about_temporary(node),
        }
    }
}

/// PREPARE TRANSACTION.
///
/// # Safety
/// A valid statement.
pub(super) unsafe fn prepares(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_TransactionStmt
            && (*node.cast::<pg_sys::TransactionStmt>()).kind
                == pg_sys::TransactionStmtKind::TRANS_STMT_PREPARE
    }
}

/// As `log_statement = 'ddl'` has it.
///
/// # Safety
/// A valid statement, inside a transaction.
pub(super) unsafe fn is_ddl(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract. What EXECUTE runs comes by itself.
    unsafe { (*node).type_ != pg_sys::NodeTag::T_ExecuteStmt && what_runs::is_ddl(node) }
}

/// DDL that makes something new.
///
/// # Safety
/// As [`is_ddl`].
pub(super) unsafe fn makes_something(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        is_ddl(node)
            && !matches!(
                (*node).type_,
                pg_sys::NodeTag::T_DropStmt | pg_sys::NodeTag::T_DropOwnedStmt
            )
    }
}

/// # Safety
/// As [`is_ddl`].
pub(super) unsafe fn classes_of(node: *mut pg_sys::Node, temporary: bool) -> Vec<Class> {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_DoStmt => vec![Class::Do],
            pg_sys::NodeTag::T_ListenStmt => vec![Class::Listen],
            pg_sys::NodeTag::T_LockStmt => vec![Class::Lock],
            pg_sys::NodeTag::T_CopyStmt => {
                let copy = node.cast::<pg_sys::CopyStmt>();
                let mut classes = Vec::new();
                if (*copy).is_program {
                    classes.push(Class::CopyProgram);
                }
                if !(*copy).is_from {
                    classes.push(Class::CopyTo);
                }
                classes
            }
            pg_sys::NodeTag::T_VariableSetStmt => {
                if sets(node.cast()) {
                    vec![Class::Set]
                } else {
                    Vec::new()
                }
            }
            _ if !is_ddl(node) => Vec::new(),
            _ if !temporary => vec![Class::Ddl],
            _ if makes_something(node) => vec![Class::Temp],
            _ => Vec::new(),
        }
    }
}

/// RESET, and the properties of the transaction, which BEGIN can have too, are nobody's way out.
///
/// # Safety
/// A valid statement.
unsafe fn sets(set: *mut pg_sys::VariableSetStmt) -> bool {
    // SAFETY: by contract; the name is NULL or terminated.
    unsafe {
        let kind = (*set).kind;
        let is_reset = kind == pg_sys::VariableSetKind::VAR_RESET
            || kind == pg_sys::VariableSetKind::VAR_RESET_ALL;
        let of_transaction = kind == pg_sys::VariableSetKind::VAR_SET_MULTI
            && !(*set).name.is_null()
            && CStr::from_ptr((*set).name) == c"TRANSACTION";
        !is_reset && !of_transaction
    }
}
