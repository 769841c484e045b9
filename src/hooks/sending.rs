//! Messages to the client, where a session is watched. Most follow a question that another hook has asked; what waits in a portal's
//! store does not: the rows of a cursor WITH HOLD, and of what was run to its end before its first row was sent. The
//! protocol's Execute sends them without a query and without a statement.

use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::error_context::explaining;
use super::judge::{
    acts_as_another, before_anything, before_inherited_use, before_query, before_query_of_another,
    inherits_for_a_time,
};
use super::wire::{self, Message, Watching};
use super::{guards, statements};
use crate::audit::{self, Class};
use crate::door;
use crate::lock::{self, is_bound};
use crate::login;
use crate::pg::{connection, invalidation, raw};
use crate::session::ends;

/// Once, in the postmaster.
pub fn install() {
    connection::watched_by(wire::watch::<Messages>);
}

struct Messages;

impl Watching for Messages {
    unsafe fn may_send(message: Message) -> bool {
        // SAFETY: by contract.
        unsafe { before_message(message) }
    }

    unsafe fn begins() {
        enter();
    }

    unsafe fn failed() {
        ends::again();
    }
}

/// Unguarded, like the hooks: it owns nothing.
unsafe fn before_message(message: Message) -> bool {
    // SAFETY: reads of backend globals. Where interrupts are held back, or no transaction is, nothing of a
    // user's can be running: those are messages of PostgreSQL's own.
    unsafe {
        let in_statement = pg_sys::InterruptHoldoffCount == 0
            && pg_sys::CritSectionCount == 0
            && raw::IsTransactionState();
        if !in_statement {
            return true;
        }
        if message == Message::Notification
            && (login::standing::is_watched() || is_bound())
            && is_over()
        {
            return false;
        }
        if message == Message::Result && audit::wants(Class::Statement) {
            statements::answered();
        }
        if message != Message::Row {
            return guards::messages::before_message(message);
        }
        let portal = pg_sys::ActivePortal;
        if !portal.is_null() && !(*portal).holdStore.is_null() {
            before_stored_row(portal);
        }
    }
    true
}

/// For which message of the client the question has been asked.
static ASKED: AtomicI64 = AtomicI64::new(i64::MIN);

/// # Safety
/// As [`before_message`], with a portal that is being run.
unsafe fn before_stored_row(portal: pg_sys::Portal) {
    // SAFETY: by contract.
    unsafe {
        // PostgreSQL itself does not look while it sends them.
        if pg_sys::InterruptPending != 0 {
            take_interrupts();
        }
        let message = raw::GetCurrentStatementStartTimestamp();
        if ASKED.load(Ordering::Relaxed) != message {
            explaining((*portal).sourceText, || before_rows());
            ASKED.store(message, Ordering::Relaxed);
        }
        guards::rows::before_stored_row(portal);
    }
}

/// What is asked of every query, on the newest state.
unsafe fn before_rows() {
    take_in();
    if login::standing::is_watched() {
        before_anything();
    }
    if inherits_for_a_time() {
        before_inherited_use();
    }
    if is_bound() {
        before_query();
    }
    if acts_as_another() {
        before_query_of_another();
    }
}

#[pg_guard]
extern "C-unwind" fn enter() {
    door::enter();
}

/// A session that listens is asked nothing else.
#[pg_guard]
extern "C-unwind" fn is_over() -> bool {
    login::standing::is_watched() && login::standing::is_over() || lock::is_over()
}

#[pg_guard]
extern "C-unwind" fn take_in() {
    invalidation::take_in();
}

#[pg_guard]
extern "C-unwind" fn take_interrupts() {
    pgrx::check_for_interrupts!();
}
