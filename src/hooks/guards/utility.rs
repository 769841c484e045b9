//! Utility statements under guard.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::classes::{changes_data, classes_of, is_ddl, makes_something, prepares};
use super::frame::{Frame, hands_on_now};
use super::rows::{Counter, answer_ends, answer_starts, filled, remember, returned_by};
use super::temporary::is_about_temporary;
use super::writes::{learn_writers, may_write};
use super::{copy, flags, flags_now};
use crate::guard::rule::Class;
use crate::guard::{self, BLOCKS_ROWS, CLASSES, READS_ONLY, ROWS, meter};
use crate::guc;
use crate::hooks::what_runs::tag_of;
use crate::pg::{connection, raw};

/// Is there anything to do about this statement? Most statements are not even looked at.
///
/// # Safety
/// A valid utility statement, in a transaction that has not failed unless it ends one.
pub unsafe fn concerns(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TransactionStmt => {
                prepares(node) && raw::IsTransactionState() && flags_now() & READS_ONLY != 0
            }
            _ => {
                if holds_a_cursor(node) {
                    // Its rows may be sent without any statement, under a guard that comes later.
                    connection::watch();
                }
                flags_now() != 0 || (guc::watches_ddl() && is_ddl(node))
            }
        }
    }
}

/// DECLARE … WITH HOLD.
///
/// # Safety
/// A valid statement.
pub unsafe fn holds_a_cursor(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_DeclareCursorStmt
            && (*node.cast::<pg_sys::DeclareCursorStmt>()).options & pg_sys::CURSOR_OPT_HOLD as i32
                != 0
    }
}

/// Runs a utility statement under guard. `next` takes the statement that is to run, and where its rows go.
///
/// # Safety
/// From ProcessUtility; `next` owns nothing.
pub unsafe fn run_utility(
    statement: *mut pg_sys::PlannedStmt,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
    next: impl FnOnce(*mut pg_sys::PlannedStmt, *mut pg_sys::DestReceiver),
) {
    // SAFETY: by contract.
    unsafe {
        let node = (*statement).utilityStmt;
        let flags = flags();
        let temporary = before_utility(node, flags);
        let mut statement = statement;
        if flags & BLOCKS_ROWS != 0 && copies_a_table(node) {
            statement = copy::by_query(statement);
        }
        let mut counter = Counter::before(destination, answer_starts, answer_ends);
        let receiver = if flags & ROWS != 0 && answers(node, destination) {
            (&raw mut counter).cast()
        } else {
            destination
        };
        let mut frame = Frame::new(hands_on(node, destination));
        frame.around(|| next(statement, receiver));
        let node = (*statement).utilityStmt;
        after_utility(node, temporary, flags, completion, frame.counted);
        if flags & ROWS != 0 && Frame::innermost().is_null() {
            filled((*destination).mydest);
        }
    }
}

/// Is it known to be about temporary objects only?
#[pg_guard]
unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node, flags: u32) -> bool {
    // SAFETY: a valid statement.
    unsafe {
        if flags & READS_ONLY != 0 {
            learn_writers();
            if changes_data(node) && !may_write() {
                guard::refuse_write(tag_of(node));
            }
        }
        let temporary = is_about_temporary(node);
        if flags & CLASSES != 0 {
            let classes = classes_of(node, temporary);
            if !classes.is_empty() {
                guard::judge_classes(&classes, tag_of(node));
            }
        }
        if !temporary && guc::watches_ddl() && is_ddl(node) && !pg_sys::creating_extension {
            guard::notice_ddl(tag_of(node));
        }
        temporary
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn after_utility(
    node: *mut pg_sys::Node,
    temporary: bool,
    flags: u32,
    completion: *mut pg_sys::QueryCompletion,
    counted: u64,
) {
    // SAFETY: a valid statement that has run.
    unsafe {
        // What search_path, or a schema's name, has made temporary.
        let used = pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_ACCESSEDTEMPNAMESPACE as i32 != 0;
        if flags & CLASSES != 0 && used && !temporary && makes_something(node) {
            guard::judge_classes(&[Class::Temp], tag_of(node));
        }
        if flags & ROWS == 0 || completion.is_null() {
            return;
        }
        // Rows that did not come from the executor: of a cursor WITH HOLD, of a table as it is.
        let done = (*completion).nprocessed;
        match (*node).type_ {
            pg_sys::NodeTag::T_FetchStmt
                if (*completion).commandTag == pg_sys::CommandTag::CMDTAG_FETCH =>
            {
                let name = (*node.cast::<pg_sys::FetchStmt>()).portalname;
                let portal = pg_sys::GetPortalByName(name);
                let rows = done.saturating_sub(counted);
                if rows > 0 && hands_on_now() {
                    let used = returned_by(portal);
                    meter::count(used, rows);
                    remember(portal, used.saturating_add(rows));
                }
            }
            pg_sys::NodeTag::T_CopyStmt if !(*node.cast::<pg_sys::CopyStmt>()).is_from => {
                meter::count(counted, done.saturating_sub(counted));
            }
            _ => {}
        }
    }
}

/// Do the rows of what runs inside this statement go to the client?
///
/// # Safety
/// A valid statement and its receiver.
unsafe fn hands_on(node: *mut pg_sys::Node, destination: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: by contract.
    unsafe {
        matches!(
            (*node).type_,
            pg_sys::NodeTag::T_ExecuteStmt | pg_sys::NodeTag::T_FetchStmt
        ) && hands_on_now()
            && (*destination).mydest != pg_sys::CommandDest::DestSPI
            && (*destination).mydest != pg_sys::CommandDest::DestNone
    }
}

/// Does this statement make rows for the client by itself: CALL, EXPLAIN, SHOW? Those of FETCH and EXECUTE are
/// counted where they are run.
///
/// # Safety
/// A valid statement and its receiver.
unsafe fn answers(node: *mut pg_sys::Node, destination: *mut pg_sys::DestReceiver) -> bool {
    use pg_sys::CommandDest;
    // SAFETY: by contract.
    unsafe {
        hands_on_now()
            && !matches!(
                (*node).type_,
                pg_sys::NodeTag::T_ExecuteStmt | pg_sys::NodeTag::T_FetchStmt
            )
            && matches!(
                (*destination).mydest,
                CommandDest::DestRemote
                    | CommandDest::DestRemoteExecute
                    | CommandDest::DestRemoteSimple
                    | CommandDest::DestTuplestore
            )
    }
}

/// COPY of a table as it is, without a query.
///
/// # Safety
/// A valid statement.
unsafe fn copies_a_table(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_CopyStmt && {
            let copy = node.cast::<pg_sys::CopyStmt>();
            !(*copy).is_from && !(*copy).relation.is_null()
        }
    }
}
