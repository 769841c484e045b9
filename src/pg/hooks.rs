//! PostgreSQL's hooks. Each asks its room for a verdict, in a guarded function of its own, and then
//! calls the hook that was there before, or the standard function.
//!
//! The hooks themselves are not `#[pg_guard]`ed, and the next hook is called as the bare C function
//! that it is: an error of PostgreSQL's then jumps over our frame and stays as it was. A guard
//! would rebuild it, without the names of tables and constraints and the position in the query
//! that clients read. Such a jump is sound because the frames that it leaves own nothing.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::list::elements;
use super::server::Peer;
use super::timer::Ended;
use super::{
    audit, catalog, claim_settings, compat, gate, guards, invalidation, leftovers, planted,
    prepared_texts, raw, role_changers, sealed, statements, switch_state, timer,
};
use crate::admission::Client;
use crate::credential::itself;
use crate::lock::verdict::{Event, Statement};
use crate::scope::declared;
use crate::{jwt, lock, login, temporary};

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
/// In `es_top_eflags`, where PostgreSQL's own EXEC_FLAG_… are the lowest bits.
const STARTED_UNDER_THE_LOCK: i32 = 1 << 30;
/// When the statement arrived that [`hide_statement`] was called in.
static mut STATEMENT_WITH_TOKEN: pg_sys::TimestampTz = 0;
static mut PREVIOUS_OBJECT_ACCESS: pg_sys::object_access_hook_type = None;
static mut PREVIOUS_AUTHENTICATION: Option<AuthenticationHook> = None;

thread_local! {
    /// By statement: what each running rename might take the name from. Event triggers rename inside of one.
    static RENAMES: RefCell<Vec<(usize, Vec<declared::Anchor>)>> = const { RefCell::new(Vec::new()) };
}
const MOST_RENAMES: usize = 16;

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
    role_changers::install();
    statements::install();
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
            if (*node).type_ == pg_sys::NodeTag::T_SecLabelStmt {
                crate::hooks::labels::before_statement(
                    (*node.cast::<pg_sys::SecLabelStmt>()).provider,
                );
            }
            super::wakeup::at_commit();
        }
        if login::standing::is_watched() && !is_transaction(node) {
            before_anything();
        }
        if inherits_for_a_time() && !goes_on_after_the_end(node) {
            before_inherited_use();
        }
        if is_bound() {
            explaining(std::ptr::null(), || before_utility(node));
        }
        if claim_settings::are_secured() && (*node).type_ == pg_sys::NodeTag::T_VariableSetStmt {
            explaining(std::ptr::null(), || before_setting(node.cast()));
        }
        if acts_as_another() {
            explaining(std::ptr::null(), || before_utility_of_another(node));
        }
        if is_about_roles(node) {
            before_role_change();
        }
        if sealed::concerns(node) {
            sealed::before_utility(node);
        }
        let renames = renames(node);
        if renames {
            before_rename(node);
        }
        let recorded = statements::is_recorded() && statements::utility_started(statement, query);
        let next = PREVIOUS_UTILITY.unwrap_or(standard_ProcessUtility);
        let run = |statement, destination| {
            explaining(query, || {
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
        };
        if is_bound() && leaves_the_login_alone(node) {
            // Nor is it run: the guard on these settings stays up.
        } else if guards::concerns(node) {
            explaining(std::ptr::null(), || {
                guards::run_utility(statement, destination, completion, run);
            });
        } else {
            run(statement, destination);
        }
        if renames {
            after_rename(node);
        }
        if acts_as_another() {
            // An error may come before anything else could look.
            audit::is_watched();
        }
        if recorded {
            let rows = match completion.as_ref() {
                Some(completion) => completion.nprocessed,
                None => 0,
            };
            statements::utility_ended(node as usize, rows);
        }
    }
}

unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: the arguments go on as they came.
    unsafe {
        before_plan(query, false);
        if acts_as_another() {
            before_query_of_another();
        }
        if sealed::locks_rows(query) {
            sealed::before_query(query);
        }
        let next = PREVIOUS_EXECUTOR_START.unwrap_or(standard_ExecutorStart);
        if claim_settings::are_secured() && claim_settings::are_set_by((*query).plannedstmt) {
            explaining(std::ptr::null(), || before_settings_of(query));
        }
        guards::before_start();
        if !is_bound() {
            if audit::is_watched() {
                // A refusal is recorded while it is still known what it refuses.
                explaining(std::ptr::null(), || next(query, flags));
            } else {
                next(query, flags);
            }
            if statements::are_queries_recorded() {
                statements::started(query, flags);
            }
            guards::after_start(query);
            return;
        }
        explaining(std::ptr::null(), || {
            before_query();
            // Rights are checked here.
            next(query, flags);
        });
        guards::after_start(query);
        if switch_state::is_locked() {
            (*(*query).estate).es_top_eflags |= STARTED_UNDER_THE_LOCK;
        }
        if statements::are_queries_recorded() {
            statements::started(query, flags);
        }
    }
}

/// Runs what follows in a hook with [`explain`] at hand, and the text of the statement, if it is
/// one, where [`hide_statement`] finds it. After an error PostgreSQL takes the callback off its
/// list by itself.
///
/// # Safety
/// In the backend; `next` owns nothing, because an error jumps over it.
pub unsafe fn explaining(text: *const c_char, next: impl FnOnce()) {
    // SAFETY: the callback is off the list again before it goes out of scope.
    unsafe {
        let mut callback = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(explain),
            arg: text.cast_mut().cast(),
        };
        pg_sys::error_context_stack = &mut callback;
        next();
        pg_sys::error_context_stack = callback.previous;
    }
}

/// How many statements are running, each inside the one before. PostgreSQL puts the list of callbacks
/// back after every error.
pub fn depth() -> usize {
    // SAFETY: backend-local; the list holds valid entries.
    unsafe {
        let mut depth = 0;
        let mut entry = pg_sys::error_context_stack;
        while !entry.is_null() {
            let is_ours = (*entry)
                .callback
                .is_some_and(|callback| callback as usize == explain as *const () as usize);
            depth += usize::from(is_ours && !(*entry).arg.is_null());
            entry = (*entry).previous;
        }
        depth
    }
}

/// The statement being run has a token in its text, perhaps: should it fail, PostgreSQL must not
/// write that text into the server log (`log_min_error_statement`).
///
/// And tokens are struck out of the text, for whoever reads it from now on: pg_stat_activity,
/// `log_min_duration_statement`, auto_explain, and pg_stat_statements, which knows the text without
/// its constants for the role that began the statement, but not for the one that ends it.
pub fn hide_statement() {
    // SAFETY: backend-local; the list holds valid entries, and ours hold the text of a statement
    // that is running.
    unsafe {
        let since = raw::GetCurrentStatementStartTimestamp();
        let again = STATEMENT_WITH_TOKEN == since;
        STATEMENT_WITH_TOKEN = since;
        let mut found = false;
        let mut entry = pg_sys::error_context_stack;
        while !entry.is_null() {
            if (*entry)
                .callback
                .is_some_and(|callback| callback as usize == explain as *const () as usize)
            {
                found |= redact((*entry).arg.cast());
                // A loop may run many statements; those around it are the same as before.
                if again {
                    return;
                }
            }
            entry = (*entry).previous;
        }
        // It may be the very text of the outermost entry.
        let text = pg_sys::debug_query_string;
        if redact(text) || found {
            let query_id = pg_sys::pgstat_get_my_query_id();
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text);
            pg_sys::pgstat_report_query_id(query_id, true);
        }
    }
}

/// Strikes the tokens out of a text; true when there were some.
///
/// # Safety
/// NULL, or the terminated text of a statement that has been parsed. PostgreSQL runs statements
/// from copies of its own, so the memory may be written to.
unsafe fn redact(text: *const c_char) -> bool {
    // SAFETY: by contract; no reference to the text is held elsewhere.
    unsafe {
        !text.is_null()
            && jwt::redact(std::slice::from_raw_parts_mut(
                text.cast_mut().cast(),
                libc::strlen(text),
            ))
    }
}

/// PostgreSQL's own refusals know nothing of tokens. While a role is locked, this adds a DETAIL and
/// a HINT to those that have none.
///
/// Called while an error is being reported; unguarded, because nothing in it can fail.
unsafe extern "C-unwind" fn explain(_text: *mut c_void) {
    // SAFETY: inside error reporting, where errhidestmt is meant to be called.
    unsafe {
        if STATEMENT_WITH_TOKEN == raw::GetCurrentStatementStartTimestamp() {
            errhidestmt(true);
        }
    }
    // SAFETY: as above.
    unsafe { audit::while_reporting() }
    if !switch_state::is_locked() && !timer::has_ended() {
        return;
    }
    // SAFETY: inside error reporting, where these functions are meant to be called; the copy is
    // made in memory that outlives it and freed.
    unsafe {
        if explain_end() || !switch_state::is_locked() {
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

/// Words the cancellation of a statement under which something has ended; false for any other error. Asked for as
/// the error is raised, and again as it is sent: of a lock that parse analysis waits for, and of a deferred
/// trigger, only the second hears.
///
/// # Safety
/// Inside error reporting.
pub unsafe fn explain_end() -> bool {
    // SAFETY: by contract; constant strings.
    unsafe {
        if pg_sys::geterrcode() != PgSqlErrorCode::ERRCODE_QUERY_CANCELED as i32 {
            return false;
        }
        let Some(ended) = timer::take_ended() else {
            return false;
        };
        let (message, detail, hint) = match ended {
            Ended::Token => (
                c"canceling statement because the token that set the role has ended",
                c"expired: the exp claim is in the past.",
                c"ROLLBACK, or disconnect if the whole session was switched; then begin again with a new token.",
            ),
            Ended::Login => (
                c"canceling statement because the login of this session has ended",
                c"Its deadline has passed.",
                c"Disconnect, and ask for a new credential.",
            ),
            Ended::Inheritance => (
                c"canceling statement because a temporary membership has ended",
                c"Its deadline has passed while the statement could use what it gave.",
                c"ROLLBACK, and begin again with what the role has without it.",
            ),
        };
        errcode(PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION as i32);
        errmsg(message.as_ptr());
        errdetail(detail.as_ptr());
        errhint(hint.as_ptr());
        true
    }
}

unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
    argument: *mut c_void,
) {
    if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE {
        // The fast path of the protocol calls functions without a statement.
        // SAFETY: a plain read of a backend global.
        let is_fast_path = unsafe { pg_sys::ActivePortal.is_null() };
        if is_fast_path && login::standing::is_watched() {
            before_anything();
        }
        if inherits_for_a_time() && !is_pure_function(object) {
            before_inherited_use();
        }
        if is_bound() {
            if is_fast_path {
                timer::called();
                // SAFETY: in the backend, while it executes something.
                unsafe { explaining(std::ptr::null(), || before_query()) }
            }
            before_function(object);
        }
        if claim_settings::reads(object) {
            before_read();
        }
        // SAFETY: in a transaction, as all execution.
        unsafe { guards::before_function(object) }
        if is_fast_path && acts_as_another() {
            before_query_of_another();
        }
    } else {
        match access {
            pg_sys::ObjectAccessType::OAT_POST_CREATE if class == pg_sys::TriggerRelationId => {
                sealed::after_trigger(object);
            }
            pg_sys::ObjectAccessType::OAT_TRUNCATE => sealed::before_truncate(object),
            _ => {}
        }
        if is_bound() {
            match access {
                pg_sys::ObjectAccessType::OAT_POST_CREATE
                | pg_sys::ObjectAccessType::OAT_POST_ALTER => {
                    leftovers::changed();
                    if class == pg_sys::TriggerRelationId {
                        after_trigger(object);
                    }
                }
                pg_sys::ObjectAccessType::OAT_NAMESPACE_SEARCH => {
                    // SAFETY: what PostgreSQL passes with this kind of access.
                    unsafe { before_search(object, argument.cast()) }
                }
                _ => {}
            }
        }
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
pub fn is_bound() -> bool {
    switch_state::is_locked() || gate::may_be_closed()
}

/// For ExecutorRun: a cursor that was opened in time may be read too late.
///
/// # Safety
/// In the backend, from the hook, with a query that has been started.
pub unsafe fn before_run(query: *mut pg_sys::QueryDesc) {
    if switch_state::is_locked() {
        // SAFETY: by contract.
        unsafe {
            let flags = (*(*query).estate).es_top_eflags;
            if flags & STARTED_UNDER_THE_LOCK == 0 && reads((*query).plannedstmt) {
                explaining(std::ptr::null(), || before_earlier_query());
            } else {
                explaining(std::ptr::null(), || before_query());
            }
        }
    }
    // SAFETY: by contract.
    unsafe { before_plan(query, true) }
    if acts_as_another() {
        before_query_of_another();
    }
}

/// Does the query read anything? A driver that fetches in batches asks the portal of the switch
/// itself for more.
///
/// # Safety
/// A valid plan.
unsafe fn reads(plan: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: by contract.
    unsafe {
        elements((*plan).rtable).any(|entry| {
            (*entry.cast::<pg_sys::RangeTblEntry>()).rtekind != pg_sys::RTEKind::RTE_RESULT
        })
    }
}

/// May the current user inherit through a membership that has ended? A few loads where it has none.
#[inline]
fn inherits_for_a_time() -> bool {
    temporary::inherited::may_have_ended(acting_user())
}

fn acting_user() -> pg_sys::Oid {
    let (mut user, mut security_context) = (pg_sys::InvalidOid, 0);
    // SAFETY: both out-pointers are valid; reads backend globals.
    unsafe { raw::GetUserIdAndSecContext(&mut user, &mut security_context) };
    user
}

/// The query that was started last in which nobody inherits for a time, for whom, as of which change of roles: most
/// are run just then, and need not be asked about twice.
static UNLIMITED: AtomicPtr<pg_sys::QueryDesc> = AtomicPtr::new(std::ptr::null_mut());
static UNLIMITED_FOR: AtomicU32 = AtomicU32::new(0);
static UNLIMITED_AS_OF: AtomicU64 = AtomicU64::new(0);

/// What ends at a deadline is refused by the session itself, in parallel workers too.
///
/// # Safety
/// In the backend, with a valid query.
#[inline]
unsafe fn before_plan(query: *mut pg_sys::QueryDesc, is_started: bool) {
    if login::standing::is_watched() {
        before_anything();
    }
    let user = acting_user();
    let as_of = invalidation::roles();
    if is_started
        && UNLIMITED.load(Ordering::Relaxed) == query
        && UNLIMITED_FOR.load(Ordering::Relaxed) == u32::from(user)
        && UNLIMITED_AS_OF.load(Ordering::Relaxed) == as_of
    {
        return;
    }
    // SAFETY: by contract.
    unsafe {
        let plan = (*query).plannedstmt;
        let mut is_limited = temporary::inherited::may_have_ended(user);
        if is_limited && touches(plan) {
            before_inherited_use();
        }
        compat::reads_as(plan, |owner| {
            if owner != pg_sys::InvalidOid && temporary::inherited::may_have_ended(owner) {
                is_limited = true;
                before_use_by(owner);
            }
        });
        let unlimited = if is_limited {
            std::ptr::null_mut()
        } else {
            query
        };
        UNLIMITED.store(unlimited, Ordering::Relaxed);
        UNLIMITED_FOR.store(user.into(), Ordering::Relaxed);
        UNLIMITED_AS_OF.store(as_of, Ordering::Relaxed);
    }
}

/// Could the plan use a right? One that touches no relation and no function or type of anybody's, and changes
/// nothing, can only call functions of PostgreSQL's own, each of which is asked about.
///
/// # Safety
/// A valid plan.
unsafe fn touches(plan: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: by contract.
    unsafe {
        (*plan).commandType != pg_sys::CmdType::CMD_SELECT
            || !(*plan).relationOids.is_null()
            || !(*plan).invalItems.is_null()
    }
}

/// # Safety
/// `node` is a valid utility statement.
unsafe fn is_transaction(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe { (*node).type_ == pg_sys::NodeTag::T_TransactionStmt }
}

/// The ends of transactions, and the way back from a role. A SET of anything else may rest on a right to it, and
/// SHOW on one to see it.
///
/// # Safety
/// `node` is a valid utility statement.
unsafe fn goes_on_after_the_end(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct the node is, and the name is terminated.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TransactionStmt => true,
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

#[pg_guard]
extern "C-unwind" fn before_anything() {
    login::standing::enforce();
}

#[pg_guard]
extern "C-unwind" fn before_inherited_use() {
    temporary::inherited::enforce_for_current();
}

#[pg_guard]
extern "C-unwind" fn before_use_by(owner: pg_sys::Oid) {
    temporary::inherited::enforce(owner);
}

#[pg_guard]
extern "C-unwind" fn is_pure_function(function: pg_sys::Oid) -> bool {
    catalog::is_pure(function)
}

/// Has the session SET ROLE, other than by a token? Then the membership that let it may have ended.
#[inline]
fn acts_as_another() -> bool {
    // SAFETY: reads of backend globals.
    let (outer, login, is_worker) = unsafe {
        (
            raw::GetOuterUserId(),
            raw::GetSessionUserId(),
            pg_sys::ParallelWorkerNumber >= 0,
        )
    };
    outer != login && !is_worker && !switch_state::is_locked()
}

#[pg_guard]
unsafe extern "C-unwind" fn before_utility_of_another(node: *mut pg_sys::Node) {
    // SAFETY: as in before_utility.
    let statement = unsafe { decode(node) };
    temporary::enforce(&Event::Utility(statement));
}

#[pg_guard]
extern "C-unwind" fn before_query_of_another() {
    temporary::enforce(&Event::Query);
}

#[pg_guard]
unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node) {
    // SAFETY: a valid utility statement; what is decoded lives as long as it.
    let statement = unsafe { decode(node) };
    lock::enforce(&Event::Utility(statement));
    if !matches!(statement, Statement::Transaction) {
        leftovers::before_statement();
    }
}

#[pg_guard]
extern "C-unwind" fn before_role_change() {
    itself::enforce();
}

#[pg_guard]
extern "C-unwind" fn before_rename(node: *mut pg_sys::Node) {
    let anchors = declared::before_rename();
    if !anchors.is_empty() {
        RENAMES.with_borrow_mut(|renames| {
            // What has failed did not come to its end.
            renames.retain(|(other, _)| *other != node as usize);
            if renames.len() == MOST_RENAMES {
                renames.remove(0);
            }
            renames.push((node as usize, anchors));
        });
    }
}

#[pg_guard]
extern "C-unwind" fn after_rename(node: *mut pg_sys::Node) {
    let anchors = RENAMES.with_borrow_mut(|renames| {
        let place = renames
            .iter()
            .position(|(other, _)| *other == node as usize);
        place.map(|place| renames.swap_remove(place).1)
    });
    declared::after_rename(&anchors.unwrap_or_default());
}

#[pg_guard]
extern "C-unwind" fn before_read() {
    claim_settings::before_read();
}

#[pg_guard]
unsafe extern "C-unwind" fn before_setting(statement: *mut pg_sys::VariableSetStmt) {
    // SAFETY: a valid statement; its name is NULL or terminated.
    unsafe {
        let name = (*statement).name;
        if !name.is_null() {
            claim_settings::before_set(CStr::from_ptr(name));
        }
    }
}

/// A query may set some by its results.
#[pg_guard]
unsafe extern "C-unwind" fn before_settings_of(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the argument of the hook.
    for name in unsafe { claim_settings::set_by((*query).plannedstmt) } {
        if switch_state::is_locked() && claim_settings::is_of_claim(&name) {
            let name = name.to_str().unwrap_or_default();
            let changes = true;
            lock::enforce(&Event::Utility(Statement::Set { name, changes }));
        }
        claim_settings::before_set(&name);
    }
}

#[pg_guard]
extern "C-unwind" fn before_query() {
    lock::enforce(&Event::Query);
    leftovers::before_statement();
}

#[pg_guard]
extern "C-unwind" fn before_earlier_query() {
    lock::enforce(&Event::Earlier);
}

#[pg_guard]
extern "C-unwind" fn before_function(function: pg_sys::Oid) {
    let event = if !switch_state::is_locked() && catalog::reaches_beyond(function) {
        Event::Reach
    } else {
        Event::Function
    };
    lock::enforce(&event);
    if gate::is_closed() {
        prepared_texts::before_function(function);
    }
}

/// The table's name may have got another meaning since the statement was judged, and its partitions
/// have got clones of the trigger.
#[pg_guard]
extern "C-unwind" fn after_trigger(trigger: pg_sys::Oid) {
    let (Some(role), Some(made)) = (switch_state::locked_to(), catalog::new_trigger(trigger))
    else {
        return;
    };
    if !made.is_own() {
        lock::enforce(&Event::Utility(Statement::Trigger { own: false }));
    }
    if compat::CASCADES_FIRE_TRIGGERS_AS_WHO_BEGAN
        && (made.cascades_into_tables_of(role)
            || made.runs_code_after() && catalog::others_cascade_into_tables_of(role))
    {
        lock::enforce(&Event::Utility(Statement::Cascade));
    }
}

/// Names are not looked up where a user of this connection may plant something: PL/pgSQL keeps the
/// types that a name meant at its first call in the session, for all later users of the connection.
///
/// # Safety
/// `search` is valid.
#[pg_guard]
unsafe extern "C-unwind" fn before_search(
    schema: pg_sys::Oid,
    search: *mut pg_sys::ObjectAccessNamespaceSearch,
) {
    // SAFETY: by contract. A schema that is named in full is reported, one of the path is left out.
    unsafe {
        if !(*search).ereport_on_violation
            && gate::login().is_some_and(|login| planted::may_be_in(schema, login))
        {
            (*search).result = false;
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn after_authentication(port: *mut pg_sys::Port) {
    // SAFETY: by the caller.
    let (user, client) = unsafe {
        let client = match compat::remote_peer(port) {
            Peer::Socket(_) => Client::Local,
            Peer::Tcp(address) => Client::Tcp {
                address,
                tls: compat::uses_tls(port),
            },
            Peer::Unknown => Client::Unknown,
        };
        (compat::port_user_name(port), client)
    };
    if let Some(user) = user {
        login::enforce(&user, client);
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
            pg_sys::NodeTag::T_CreateCastStmt => Statement::Cast,
            pg_sys::NodeTag::T_CreateTrigStmt => Statement::Trigger {
                own: catalog::owns((*node.cast::<pg_sys::CreateTrigStmt>()).relation),
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
        if !gate::is_closed() || (*node).type_ != pg_sys::NodeTag::T_ExecuteStmt {
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
unsafe fn leaves_the_login_alone(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct a node is.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_VariableSetStmt
            || !gate::is_closed()
            || switch_state::is_locked()
        {
            return false;
        }
        let statement = node.cast::<pg_sys::VariableSetStmt>();
        if (*statement).name.is_null() {
            return false;
        }
        let name = CStr::from_ptr((*statement).name);
        let value = match (*statement).kind {
            pg_sys::VariableSetKind::VAR_SET_CURRENT => return switch_state::is_identity(name),
            pg_sys::VariableSetKind::VAR_SET_DEFAULT | pg_sys::VariableSetKind::VAR_RESET => {
                std::ptr::null()
            }
            pg_sys::VariableSetKind::VAR_SET_VALUE => {
                let mut values = elements((*statement).args);
                let (Some(value), None) = (values.next(), values.next()) else {
                    return false;
                };
                let value = compat::constant_text(value.cast());
                if value.is_null() {
                    return false;
                }
                value
            }
            _ => return false,
        };
        switch_state::has_value(name, value)
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

/// Does the statement make, change or drop a role, its settings, memberships or labels? DROP OWNED
/// is among them: any member may take a scope's default privileges away by it.
///
/// # Safety
/// `node` is a valid utility statement.
unsafe fn is_about_roles(node: *mut pg_sys::Node) -> bool {
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
unsafe fn renames(node: *mut pg_sys::Node) -> bool {
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
