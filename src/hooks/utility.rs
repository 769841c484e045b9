//! ProcessUtility: every statement that is no query.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::decode::{
    changes_roles, decode, goes_on_after_the_end, is_about_roles, is_transaction,
    leaves_parsing_alone, leaves_the_login_alone, renames,
};
use super::error_context::explaining;
use super::judge::{
    acts_as_another, before_anything, before_inherited_use, before_utility_of_another,
    inherits_for_a_time,
};
use super::{guards, labels, sealed, statements};
use crate::audit::watched;
use crate::credential::itself;
use crate::jwt;
use crate::lock::verdict::{Event, Statement};
use crate::lock::{self, is_bound};
use crate::login;
use crate::pg::{raw, seclabel, statement};
use crate::scope::declared::renames;
use crate::session::{claim_settings, gate, leftovers, switch_state};
use crate::{temporary, verify, wakeup};

unsafe extern "C-unwind" {
    /// tcop/utility.h, without the guard of pgrx's bindings.
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
}

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

thread_local! {
    /// By statement: what each running rename might take the name from. Event triggers rename inside of one.
    static RENAMES: RefCell<Vec<(usize, Vec<renames::Anchor>)>> = const { RefCell::new(Vec::new()) };
}

const MOST_RENAMES: usize = 16;

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
        if matches!(
            (*node).type_,
            pg_sys::NodeTag::T_CreatedbStmt | pg_sys::NodeTag::T_DropdbStmt
        ) {
            // Another may come to have the number of one that there was.
            verify::copy::forget();
        }
        if changes_roles(node) {
            if (*node).type_ == pg_sys::NodeTag::T_SecLabelStmt {
                labels::before_statement((*node.cast::<pg_sys::SecLabelStmt>()).provider);
            }
            if (*node).type_ == pg_sys::NodeTag::T_TransactionStmt {
                // What was prepared may have changed issuers of this database.
                verify::copy::changed(true);
            }
            wakeup::at_commit();
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
        if claim_settings::are_secured() && !is_transaction(node) {
            // Others may keep the text of a statement that only holds a token and uses none: EXPLAIN, DECLARE, DO.
            statement::strike_out(query, jwt::redact);
        }
        if is_about_roles(node) {
            before_role_change();
        }
        match (*node).type_ {
            pg_sys::NodeTag::T_AlterRoleSetStmt => before_role_settings(),
            pg_sys::NodeTag::T_AlterRoleStmt => before_alter_role(),
            _ => {}
        }
        if sealed::concerns(node) {
            sealed::before_utility(node);
        }
        let renames = renames(node);
        if renames {
            before_rename(node);
        }
        let holds = guards::utility::holds_a_cursor(node);
        if holds {
            before_held_cursor(node.cast());
        }
        let recorded = statements::is_recorded() && statements::utility_started(statement, query);
        let next = PREVIOUS.unwrap_or(standard_ProcessUtility);
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
        if is_bound() && (leaves_the_login_alone(node) || leaves_parsing_alone(node)) {
            // Nor is it run: the guard on these settings stays up.
        } else if discards_all(node, context) {
            switch_state::unguard_login();
            run(statement, destination);
            switch_state::guard_login();
        } else if guards::utility::concerns(node) {
            explaining(std::ptr::null(), || {
                guards::utility::run_utility(statement, destination, completion, run);
            });
        } else {
            run(statement, destination);
        }
        if renames {
            after_rename(node);
        }
        if holds {
            after_held_cursor();
        }
        if (*node).type_ == pg_sys::NodeTag::T_AlterRoleSetStmt {
            after_role_settings(node.cast());
        }
        if acts_as_another() {
            // An error may come before anything else could look.
            watched::is_watched();
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

/// A DISCARD ALL of a gated login that is going to be run: one that PostgreSQL refuses, because it is in a transaction
/// or a function, leaves the guard on the login as it is.
///
/// # Safety
/// A valid utility statement.
unsafe fn discards_all(
    node: *mut pg_sys::Node,
    context: pg_sys::ProcessUtilityContext::Type,
) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_DiscardStmt
            && (*node.cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL
            && gate::is_closed()
            && !switch_state::is_locked()
            && !is_in_block(context)
    }
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
extern "C-unwind" fn before_role_settings() {
    itself::enforce_settings();
}

/// # Safety
/// A valid statement, whose name is terminated.
#[pg_guard]
unsafe extern "C-unwind" fn before_held_cursor(statement: *mut pg_sys::DeclareCursorStmt) {
    // SAFETY: by contract.
    temporary::opened::holding(Some(unsafe { CStr::from_ptr((*statement).portalname) }));
}

#[pg_guard]
extern "C-unwind" fn after_held_cursor() {
    temporary::opened::holding(None);
}

#[pg_guard]
extern "C-unwind" fn before_alter_role() {
    itself::enforce_alter();
}

#[pg_guard]
extern "C-unwind" fn before_role_change() {
    itself::enforce();
}

/// PostgreSQL tells nobody of a role's settings, which count at a login. Sessions that switch to it look again.
#[pg_guard]
unsafe extern "C-unwind" fn after_role_settings(statement: *mut pg_sys::AlterRoleSetStmt) {
    // SAFETY: a valid statement that has been run; NULL stands for ALL, whose settings no switch takes over.
    unsafe {
        let role = (*statement).role;
        if !role.is_null() {
            seclabel::tell_sessions(pg_sys::get_rolespec_oid(role, true));
        }
    }
}

#[pg_guard]
extern "C-unwind" fn before_rename(node: *mut pg_sys::Node) {
    let anchors = renames::before_rename();
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
    renames::after_rename(&anchors.unwrap_or_default());
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

/// Does the statement run inside a transaction block, a function, or a message with others? PostgreSQL then refuses what
/// it runs in no transaction.
fn is_in_block(context: pg_sys::ProcessUtilityContext::Type) -> bool {
    let is_top_level = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
    // SAFETY: reads the transaction's state.
    unsafe { raw::IsInTransactionBlock(is_top_level) }
}
