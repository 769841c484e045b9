//! PostgreSQL's hooks. Each asks its room for a verdict, in a guarded function of its own, and then
//! calls the hook that was there before, or the standard function.
//!
//! The hooks themselves are not `#[pg_guard]`ed, and the next hook is called as the bare C function
//! that it is: an error of PostgreSQL's then jumps over our frame and stays as it was. A guard
//! would rebuild it, without the names of tables and constraints and the position in the query
//! that clients read. Such a jump is sound because the frames that it leaves own nothing.

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{compat, gate, raw, switch_state, timer};
use crate::lock::verdict::{Event, Statement};
use crate::{lock, login};

unsafe extern "C-unwind" {
    /// libpq/auth.h, which pgrx does not bind.
    static mut ClientAuthentication_hook: Option<AuthenticationHook>;
    /// tcop/utility.h and executor/executor.h, without the guard of pgrx's bindings.
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: i32);
    /// utils/elog.h
    fn errcode(code: i32) -> i32;
    fn errmsg(format: *const c_char, ...) -> i32;
    fn errdetail(format: *const c_char, ...) -> i32;
    fn errhint(format: *const c_char, ...) -> i32;
    fn errhidestmt(hide: bool) -> i32;
}
type AuthenticationHook = unsafe extern "C-unwind" fn(*mut pg_sys::Port, i32);

static mut PREVIOUS_UTILITY: pg_sys::ProcessUtility_hook_type = None;
static mut PREVIOUS_EXECUTOR_START: pg_sys::ExecutorStart_hook_type = None;
/// When the statement arrived that [`hide_statement`] was called in.
static mut STATEMENT_WITH_TOKEN: pg_sys::TimestampTz = 0;
static mut PREVIOUS_OBJECT_ACCESS: pg_sys::object_access_hook_type = None;
static mut PREVIOUS_AUTHENTICATION: Option<AuthenticationHook> = None;

/// The lock's hooks; once, in the postmaster.
pub fn install_lock() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
        PREVIOUS_EXECUTOR_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
        compat::install_executor_run();
        PREVIOUS_OBJECT_ACCESS = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(object_access);
    }
}

/// The login check's hook; once, in the postmaster.
pub fn install_login() {
    // SAFETY: as above.
    unsafe {
        PREVIOUS_AUTHENTICATION = ClientAuthentication_hook;
        ClientAuthentication_hook = Some(client_authentication);
    }
}

unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL passes a valid statement; the rest goes on as it came.
    unsafe {
        let node = (*statement).utilityStmt;
        if changes_roles(node) {
            super::wakeup::at_commit();
        }
        if is_bound() {
            explaining(|| before_utility(node));
        }
        let next = PREVIOUS_UTILITY.unwrap_or(standard_ProcessUtility);
        explaining(|| {
            next(
                statement,
                query,
                read_only_tree,
                context,
                parameters,
                environment,
                destination,
                completion,
            );
        });
    }
}

unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: the arguments go on as they came.
    unsafe {
        if is_bound() {
            explaining(|| before_query());
        }
        let next = PREVIOUS_EXECUTOR_START.unwrap_or(standard_ExecutorStart);
        next(query, flags);
    }
}

/// Runs what follows in a hook with [`explain`] at hand. After an error PostgreSQL takes the
/// callback off its list by itself.
///
/// # Safety
/// In the backend; `next` owns nothing, because an error jumps over it.
pub unsafe fn explaining(next: impl FnOnce()) {
    // SAFETY: the callback is off the list again before it goes out of scope.
    unsafe {
        let mut callback = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(explain),
            arg: std::ptr::null_mut(),
        };
        pg_sys::error_context_stack = &mut callback;
        next();
        pg_sys::error_context_stack = callback.previous;
    }
}

/// The statement being run has a token in its text, perhaps: should it fail, PostgreSQL must not
/// write that text into the server log (`log_min_error_statement`).
pub fn hide_statement() {
    // SAFETY: backend-local.
    unsafe { STATEMENT_WITH_TOKEN = raw::GetCurrentStatementStartTimestamp() }
}

/// PostgreSQL's own refusals know nothing of tokens. While a role is locked, this adds a DETAIL and
/// a HINT to those that have none.
///
/// Called while an error is being reported; unguarded, because nothing in it can fail.
unsafe extern "C-unwind" fn explain(_argument: *mut c_void) {
    // SAFETY: inside error reporting, where errhidestmt is meant to be called.
    unsafe {
        if STATEMENT_WITH_TOKEN == raw::GetCurrentStatementStartTimestamp() {
            errhidestmt(true);
        }
    }
    if !switch_state::is_locked() {
        return;
    }
    // SAFETY: inside error reporting, where these functions are meant to be called; the copy is
    // made in memory that outlives it and freed.
    unsafe {
        if pg_sys::geterrcode() == PgSqlErrorCode::ERRCODE_QUERY_CANCELED as i32
            && timer::take_ended()
        {
            errcode(PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION as i32);
            errmsg(c"canceling statement because the token that set the role has ended".as_ptr());
            errdetail(c"expired: the exp claim is in the past.".as_ptr());
            errhint(c"ROLLBACK, or disconnect if the whole session was switched; then begin again with a new token.".as_ptr());
            return;
        }
        if pg_sys::geterrcode() != PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32 {
            return;
        }
        let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let error = pg_sys::CopyErrorData();
        let (has_detail, has_hint) = (!(*error).detail.is_null(), !(*error).hint.is_null());
        pg_sys::FreeErrorData(error);
        pg_sys::MemoryContextSwitchTo(context);
        if !has_detail {
            errdetail(c"The role of this transaction was set by a token and is locked.".as_ptr());
        }
        if !has_hint {
            errhint(
                c"Only what that role may do is allowed; COMMIT or ROLLBACK ends the switch."
                    .as_ptr(),
            );
        }
    }
}

unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
    argument: *mut c_void,
) {
    if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE && is_bound() {
        before_function();
    }
    // SAFETY: the arguments go on as they came.
    unsafe {
        if let Some(previous) = PREVIOUS_OBJECT_ACCESS {
            previous(access, class, object, sub_object, argument);
        }
    }
}

unsafe extern "C-unwind" fn client_authentication(port: *mut pg_sys::Port, status: i32) {
    // SAFETY: PostgreSQL passes this connection's port.
    unsafe {
        if let Some(previous) = PREVIOUS_AUTHENTICATION {
            previous(port, status);
        }
        // A failed authentication ends the connection anyway, with its own message.
        if status == pg_sys::STATUS_OK as i32 {
            after_authentication(port);
        }
    }
}

/// The cheap first question of every hook: three loads.
#[inline]
fn is_bound() -> bool {
    switch_state::is_locked() || gate::may_be_closed()
}

/// For ExecutorRun: a cursor that was opened in time may be read too late.
///
/// # Safety
/// In the backend, from a hook.
pub unsafe fn before_run() {
    if switch_state::is_locked() {
        // SAFETY: by contract.
        unsafe { explaining(|| before_query()) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node) {
    // SAFETY: a valid utility statement; what is decoded lives as long as it.
    let statement = unsafe { decode(node) };
    lock::enforce(&Event::Utility(statement));
}

#[pg_guard]
extern "C-unwind" fn before_query() {
    lock::enforce(&Event::Query);
}

#[pg_guard]
extern "C-unwind" fn before_function() {
    lock::enforce(&Event::Function);
}

#[pg_guard]
unsafe extern "C-unwind" fn after_authentication(port: *mut pg_sys::Port) {
    // SAFETY: by the caller.
    if let Some(user) = unsafe { compat::port_user_name(port) } {
        login::enforce(&user);
    }
}

/// # Safety
/// `node` is a valid utility statement.
unsafe fn decode<'a>(node: *mut pg_sys::Node) -> Statement<'a> {
    // SAFETY: the tag says which struct the node is; strings in it are terminated.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TransactionStmt => Statement::Transaction,
            pg_sys::NodeTag::T_VariableSetStmt => {
                let name = (*node.cast::<pg_sys::VariableSetStmt>()).name;
                if name.is_null() {
                    // RESET ALL leaves the guarded settings alone.
                    Statement::Session
                } else {
                    Statement::Set {
                        name: CStr::from_ptr(name).to_str().unwrap_or_default(),
                    }
                }
            }
            pg_sys::NodeTag::T_DiscardStmt
                if (*node.cast::<pg_sys::DiscardStmt>()).target
                    == pg_sys::DiscardMode::DISCARD_ALL =>
            {
                Statement::DiscardAll
            }
            pg_sys::NodeTag::T_DiscardStmt
            | pg_sys::NodeTag::T_VariableShowStmt
            | pg_sys::NodeTag::T_PrepareStmt
            | pg_sys::NodeTag::T_ExecuteStmt
            | pg_sys::NodeTag::T_DeallocateStmt
            | pg_sys::NodeTag::T_ExplainStmt
            | pg_sys::NodeTag::T_DeclareCursorStmt
            | pg_sys::NodeTag::T_FetchStmt
            | pg_sys::NodeTag::T_ClosePortalStmt
            | pg_sys::NodeTag::T_UnlistenStmt
            | pg_sys::NodeTag::T_DoStmt
            | pg_sys::NodeTag::T_CallStmt => Statement::Session,
            pg_sys::NodeTag::T_AlterOwnerStmt
            | pg_sys::NodeTag::T_ReassignOwnedStmt
            | pg_sys::NodeTag::T_CreatedbStmt => Statement::Ownership,
            pg_sys::NodeTag::T_CreateSchemaStmt
                if !(*node.cast::<pg_sys::CreateSchemaStmt>())
                    .authrole
                    .is_null() =>
            {
                Statement::Ownership
            }
            pg_sys::NodeTag::T_AlterDefaultPrivilegesStmt
                if names_roles((*node.cast::<pg_sys::AlterDefaultPrivilegesStmt>()).options) =>
            {
                Statement::Ownership
            }
            pg_sys::NodeTag::T_AlterTableStmt
                if changes_owner((*node.cast::<pg_sys::AlterTableStmt>()).cmds) =>
            {
                Statement::Ownership
            }
            _ => Statement::Other,
        }
    }
}

/// Does ALTER DEFAULT PRIVILEGES have FOR ROLE?
///
/// # Safety
/// A valid list of `DefElem`, or NULL.
unsafe fn names_roles(options: *mut pg_sys::List) -> bool {
    // SAFETY: by contract.
    unsafe {
        elements(options).any(|option| {
            let name = (*option.cast::<pg_sys::DefElem>()).defname;
            !name.is_null() && CStr::from_ptr(name) == c"roles"
        })
    }
}

/// Does ALTER TABLE have OWNER TO?
///
/// # Safety
/// A valid list of `AlterTableCmd`, or NULL.
unsafe fn changes_owner(commands: *mut pg_sys::List) -> bool {
    // SAFETY: by contract.
    unsafe {
        elements(commands).any(|command| {
            (*command.cast::<pg_sys::AlterTableCmd>()).subtype
                == pg_sys::AlterTableType::AT_ChangeOwner
        })
    }
}

/// The pointers in a list.
///
/// # Safety
/// A valid list of pointers, or NULL, that outlives the iterator.
unsafe fn elements(list: *mut pg_sys::List) -> impl Iterator<Item = *mut c_void> {
    let length = if list.is_null() {
        0
    } else {
        // SAFETY: by contract.
        usize::try_from(unsafe { (*list).length }).unwrap_or(0)
    };
    // SAFETY: within the list's length.
    (0..length).map(move |index| unsafe { (*(*list).elements.add(index)).ptr_value })
}

/// Can the statement move a deadline or a label, or take a role away from its sessions? Then the
/// launcher looks again after commit.
///
/// # Safety
/// `node` is a valid utility statement.
unsafe fn changes_roles(node: *mut pg_sys::Node) -> bool {
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
