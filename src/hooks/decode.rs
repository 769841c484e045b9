//! What a utility statement is, for the lock and for those who keep roles.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::compat;
use super::owners;
use crate::hooks::objects::found;
use crate::lock::verdict::Statement;
use crate::pg::list::elements;
use crate::pg::{catalog, identity, raw};
use crate::session::{gate, leftovers, parsing, switch_state};

/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn decode<'a>(node: *mut pg_sys::Node) -> Statement<'a> {
    // SAFETY: the tag says which struct the node is; strings in it are terminated.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TransactionStmt if is_transaction(node) => Statement::Transaction,
            pg_sys::NodeTag::T_TransactionStmt
                if (*node.cast::<pg_sys::TransactionStmt>()).kind
                    == pg_sys::TransactionStmtKind::TRANS_STMT_PREPARE
                    && gate::is_closed() =>
            {
                Statement::PrepareTransaction
            }
            pg_sys::NodeTag::T_VariableSetStmt => {
                let name = (*node.cast::<pg_sys::VariableSetStmt>()).name;
                if name.is_null() {
                    // RESET ALL leaves the guarded settings alone.
                    Statement::Session
                } else {
                    Statement::Set {
                        name: CStr::from_ptr(name).to_str().unwrap_or_default(),
                        changes: !leaves_the_login_alone(node),
                    }
                }
            }
            pg_sys::NodeTag::T_DiscardStmt
                if (*node.cast::<pg_sys::DiscardStmt>()).target
                    == pg_sys::DiscardMode::DISCARD_ALL =>
            {
                Statement::DiscardAll
            }
            pg_sys::NodeTag::T_PrepareStmt => {
                let name = (*node.cast::<pg_sys::PrepareStmt>()).name;
                if !name.is_null() {
                    leftovers::prepared(CStr::from_ptr(name));
                }
                Statement::Prepare
            }
            pg_sys::NodeTag::T_DeclareCursorStmt
                if (*node.cast::<pg_sys::DeclareCursorStmt>()).options
                    & pg_sys::CURSOR_OPT_HOLD as i32
                    != 0 =>
            {
                Statement::Hold
            }
            pg_sys::NodeTag::T_AlterRoleSetStmt | pg_sys::NodeTag::T_AlterRoleStmt => {
                Statement::AlterRole
            }
            pg_sys::NodeTag::T_CreateCastStmt => Statement::Cast,
            pg_sys::NodeTag::T_CreateTrigStmt => Statement::Trigger {
                own: owns((*node.cast::<pg_sys::CreateTrigStmt>()).relation),
            },
            pg_sys::NodeTag::T_ExecuteStmt if executes_the_protocols(node) => {
                Statement::ExecuteProtocols
            }
            pg_sys::NodeTag::T_CreateTableAsStmt => {
                let inner = (*node.cast::<pg_sys::CreateTableAsStmt>()).query;
                match utility_of(inner) {
                    Some(inner) if executes_the_protocols(inner) => Statement::ExecuteProtocols,
                    _ => Statement::Other,
                }
            }
            pg_sys::NodeTag::T_DeclareCursorStmt
            | pg_sys::NodeTag::T_DiscardStmt
            | pg_sys::NodeTag::T_VariableShowStmt
            | pg_sys::NodeTag::T_ExecuteStmt
            | pg_sys::NodeTag::T_DeallocateStmt
            | pg_sys::NodeTag::T_FetchStmt
            | pg_sys::NodeTag::T_ClosePortalStmt
            | pg_sys::NodeTag::T_UnlistenStmt
            | pg_sys::NodeTag::T_DoStmt
            | pg_sys::NodeTag::T_CallStmt => Statement::Session,
            pg_sys::NodeTag::T_ExplainStmt => {
                // EXPLAIN ANALYZE CREATE TABLE AS creates.
                match utility_of((*node.cast::<pg_sys::ExplainStmt>()).query) {
                    Some(inner) => decode(inner),
                    None => Statement::Session,
                }
            }
            _ if owners::names_another(node) => Statement::Ownership,
            _ => Statement::Other,
        }
    }
}

/// The utility statement in what has been analysed, if it is one.
///
/// # Safety
/// A valid node, or NULL.
unsafe fn utility_of(query: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        if query.is_null() || (*query).type_ != pg_sys::NodeTag::T_Query {
            return None;
        }
        let utility = (*query.cast::<pg_sys::Query>()).utilityStmt;
        (!utility.is_null()).then_some(utility)
    }
}

/// In a gated session: is it EXECUTE of a statement that no PREPARE has made?
///
/// # Safety
/// `node` is a valid utility statement.
unsafe fn executes_the_protocols(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct the node is. The look-up raises no error.
    unsafe {
        if !gate::is_shared() || (*node).type_ != pg_sys::NodeTag::T_ExecuteStmt {
            return false;
        }
        let name = (*node.cast::<pg_sys::ExecuteStmt>()).name;
        let statement = pg_sys::FetchPreparedStatement(name, false);
        !statement.is_null() && !(*statement).from_sql
    }
}

/// In a gated session without a token: does it give the role, or the session authorization, the very value
/// that it has? So do the lists with which poolers reset a session.
///
/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn leaves_the_login_alone(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        if !gate::is_closed() || switch_state::is_locked() {
            return false;
        }
        match sets(node) {
            Some((name, Some(value))) => switch_state::has_value(name, value),
            Some((name, None)) => switch_state::is_identity(name),
            None => false,
        }
    }
}

/// In a gated session: does it give one of the settings that are settled the value that it has? Drivers and poolers
/// send such all the time.
///
/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn leaves_parsing_alone(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        gate::is_closed()
            && sets(node).is_some_and(|(name, value)| {
                parsing::is_settled(name) && value.is_none_or(|value| has_value(name, value))
            })
    }
}

/// Has the setting this value? `None` stands for the one that RESET goes to.
fn has_value(name: &CStr, value: Option<&CStr>) -> bool {
    // SAFETY: terminated texts; those of a setting that is not there are NULL.
    unsafe {
        let current = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        if current.is_null() {
            return false;
        }
        let wanted = match value {
            Some(value) => value.as_ptr(),
            None => pg_sys::GetConfigOptionResetString(name.as_ptr()),
        };
        if wanted.is_null() {
            return false;
        }
        let (mut is, mut will_be) = (false, false);
        if pg_sys::parse_bool(current, &mut is) && pg_sys::parse_bool(wanted, &mut will_be) {
            return is == will_be;
        }
        CStr::from_ptr(current)
            .to_bytes()
            .eq_ignore_ascii_case(CStr::from_ptr(wanted).to_bytes())
    }
}

/// The setting that a SET or RESET is about, and the value: `Some(None)` for the one that RESET goes to, `None` for the
/// one that it has.
///
/// # Safety
/// `node` is a valid utility statement, for as long as the result is used.
unsafe fn sets<'a>(node: *mut pg_sys::Node) -> Option<(&'a CStr, Option<Option<&'a CStr>>)> {
    // SAFETY: by contract; the tag says which struct a node is, and names are terminated.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_VariableSetStmt {
            return None;
        }
        let statement = node.cast::<pg_sys::VariableSetStmt>();
        if (*statement).name.is_null() {
            return None;
        }
        let value = match (*statement).kind {
            pg_sys::VariableSetKind::VAR_SET_CURRENT => None,
            pg_sys::VariableSetKind::VAR_SET_DEFAULT | pg_sys::VariableSetKind::VAR_RESET => {
                Some(None)
            }
            pg_sys::VariableSetKind::VAR_SET_VALUE => {
                let mut values = elements((*statement).args);
                let (Some(value), None) = (values.next(), values.next()) else {
                    return None;
                };
                let value = compat::constant_text(value.cast());
                if value.is_null() {
                    return None;
                }
                Some(Some(CStr::from_ptr(value)))
            }
            _ => return None,
        };
        Some((CStr::from_ptr((*statement).name), value))
    }
}

/// Does it begin or end a transaction, or a part of one? A prepared transaction goes on after the session, and what it holds with it; of one
/// that has failed, PREPARE TRANSACTION is the end.
///
/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn is_transaction(node: *mut pg_sys::Node) -> bool {
    use pg_sys::TransactionStmtKind::*;
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_TransactionStmt && {
            let kind = (*node.cast::<pg_sys::TransactionStmt>()).kind;
            let is_of_two_phases = kind == TRANS_STMT_PREPARE
                || kind == TRANS_STMT_COMMIT_PREPARED
                || kind == TRANS_STMT_ROLLBACK_PREPARED;
            !is_of_two_phases || !raw::IsTransactionState()
        }
    }
}

/// The ends of transactions, and the way back from a role. A SET of anything else may rest on a right to it, and
/// SHOW on one to see it.
///
/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn goes_on_after_the_end(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct the node is, and the name is terminated.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TransactionStmt => is_transaction(node),
            pg_sys::NodeTag::T_ClosePortalStmt => true,
            pg_sys::NodeTag::T_DiscardStmt => {
                (*node.cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL
            }
            pg_sys::NodeTag::T_VariableSetStmt => {
                let set = node.cast::<pg_sys::VariableSetStmt>();
                let name = (*set).name;
                let is_back = matches!(
                    (*set).kind,
                    pg_sys::VariableSetKind::VAR_RESET | pg_sys::VariableSetKind::VAR_SET_DEFAULT
                );
                is_back && !name.is_null() && {
                    let name = CStr::from_ptr(name).to_bytes();
                    name.eq_ignore_ascii_case(b"role")
                        || name.eq_ignore_ascii_case(b"session_authorization")
                }
            }
            _ => false,
        }
    }
}

/// Does the statement make, change or drop a role, its settings, memberships or labels? DROP OWNED
/// is among them: any member may take a scope's default privileges away by it.
///
/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn is_about_roles(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        let object = match (*node).type_ {
            pg_sys::NodeTag::T_AlterRoleStmt
            | pg_sys::NodeTag::T_AlterRoleSetStmt
            | pg_sys::NodeTag::T_GrantRoleStmt
            | pg_sys::NodeTag::T_CreateRoleStmt
            | pg_sys::NodeTag::T_DropRoleStmt
            | pg_sys::NodeTag::T_DropOwnedStmt => return true,
            pg_sys::NodeTag::T_RenameStmt => (*node.cast::<pg_sys::RenameStmt>()).renameType,
            pg_sys::NodeTag::T_SecLabelStmt => (*node.cast::<pg_sys::SecLabelStmt>()).objtype,
            pg_sys::NodeTag::T_CommentStmt => (*node.cast::<pg_sys::CommentStmt>()).objtype,
            _ => return false,
        };
        object == pg_sys::ObjectType::OBJECT_ROLE
    }
}

/// Does the statement give another name to what scopes declare, or to its schema or types?
///
/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn renames(node: *mut pg_sys::Node) -> bool {
    use pg_sys::ObjectType::*;
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_AlterObjectSchemaStmt => true,
            pg_sys::NodeTag::T_RenameStmt => !matches!(
                (*node.cast::<pg_sys::RenameStmt>()).renameType,
                OBJECT_INDEX
                    | OBJECT_TABCONSTRAINT
                    | OBJECT_DOMCONSTRAINT
                    | OBJECT_TRIGGER
                    | OBJECT_POLICY
                    | OBJECT_RULE
            ),
            _ => false,
        }
    }
}

/// Can the statement move a deadline or a label, or take a role away from its sessions? Then the
/// launcher looks again after commit.
///
/// # Safety
/// `node` is a valid utility statement.
pub(super) unsafe fn changes_roles(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_AlterRoleStmt
            | pg_sys::NodeTag::T_DropRoleStmt
            | pg_sys::NodeTag::T_SecLabelStmt
            | pg_sys::NodeTag::T_DropOwnedStmt
            | pg_sys::NodeTag::T_ReassignOwnedStmt => true,
            pg_sys::NodeTag::T_TransactionStmt => {
                (*node.cast::<pg_sys::TransactionStmt>()).kind
                    == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
            }
            _ => false,
        }
    }
}

/// Does the current user own the relation, as owner or by inheriting from the owner? True when there is
/// none, which PostgreSQL will say itself.
///
/// # Safety
/// A valid range variable, inside a transaction.
unsafe fn owns(name: *mut pg_sys::RangeVar) -> bool {
    // SAFETY: by contract; the tuple is released after the owner is copied.
    unsafe { catalog::is_owned_by(identity::current_user(), found(name)) }
}
