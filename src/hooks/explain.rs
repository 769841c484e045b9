//! What is said of errors of PostgreSQL's that come of a switch, or of the end of something.

use std::ffi::c_char;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::refusals;
use crate::session::cancelling;
use crate::session::ends::{self, Ended};
use crate::session::gate;

const DENIED: i32 = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32;

unsafe extern "C-unwind" {
    /// utils/elog.h
    fn errcode(code: i32) -> i32;
    fn errmsg(format: *const c_char, ...) -> i32;
    fn errdetail(format: *const c_char, ...) -> i32;
    fn errhint(format: *const c_char, ...) -> i32;
}

/// PostgreSQL's own refusals know nothing of tokens: those that are of our making get a DETAIL and a HINT.
///
/// Called while an error is being reported; unguarded, because nothing in it can fail.
///
/// # Safety
/// Inside error reporting.
pub unsafe fn explain() {
    if !refusals::may_be() && !cancelling::has_ended() {
        return;
    }
    // SAFETY: inside error reporting, where these functions are meant to be called; the copy is
    // made in memory that outlives it and freed.
    unsafe {
        if explain_end() || !refusals::may_be() || pg_sys::geterrcode() != DENIED {
            return;
        }
        let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let error = pg_sys::CopyErrorData();
        explain_refusal(error);
        pg_sys::FreeErrorData(error);
        pg_sys::MemoryContextSwitchTo(context);
    }
}

/// The same, as the error is sent: of a lock that parse analysis waits for, of a deferred trigger, and of a schema that parse
/// analysis may not look into, only this hears.
///
/// # Safety
/// Inside the reporting of this error.
pub unsafe fn explain_as_sent(error: *const pg_sys::ErrorData) {
    // SAFETY: by contract.
    unsafe {
        if !explain_end() && (*error).sqlerrcode == DENIED && refusals::may_be() {
            explain_refusal(error);
        }
    }
}

/// # Safety
/// Inside the reporting of this error, whose SQLSTATE is 42501.
unsafe fn explain_refusal(error: *const pg_sys::ErrorData) {
    // SAFETY: by contract; constant strings.
    unsafe {
        if !(*error).detail.is_null() || !(*error).hint.is_null() {
            return;
        }
        if let Some(words) = refusals::words(error) {
            errdetail(words.detail.as_ptr());
            errhint(words.hint.as_ptr());
        }
    }
}

/// Words the cancellation of a statement under which something has ended, or the end of its session; false for any other error.
///
/// # Safety
/// Inside error reporting.
unsafe fn explain_end() -> bool {
    // SAFETY: by contract; constant strings.
    unsafe {
        let is_session = match pg_sys::geterrcode() {
            code if code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED as i32 => false,
            code if code == PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN as i32
                && cancelling::ends_session() =>
            {
                true
            }
            _ => return false,
        };
        let Some(ended) = ends::take_ended() else {
            return false;
        };
        let ([statement, session], detail, hint) = match ended {
            Ended::Token => (
                [
                    c"canceling statement because the token that set the role has ended",
                    c"terminating connection because the token that set the role has ended",
                ],
                c"expired: the exp claim is in the past.",
                c"ROLLBACK, or disconnect if the whole session was switched; then begin again with a new token.",
            ),
            Ended::Login => (
                [
                    c"canceling statement because the login of this session has ended",
                    c"terminating connection because the login of this session has ended",
                ],
                c"Its deadline has passed.",
                c"Disconnect, and ask for a new credential.",
            ),
            Ended::Inheritance => (
                [
                    c"canceling statement because a temporary membership has ended",
                    c"terminating connection because a temporary membership has ended",
                ],
                c"Its deadline has passed while the statement could use what it gave.",
                c"ROLLBACK, and begin again with what the role has without it.",
            ),
        };
        // A session that is a token's ends with it, as with an administrator's word (57P01).
        if is_session && gate::is_by_token() && ended == Ended::Token {
            errmsg(session.as_ptr());
            errdetail(detail.as_ptr());
            errhint(c"Connect anew with a new token. A session that goes on takes one by scope.refresh_session().".as_ptr());
            return true;
        }
        errcode(PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION as i32);
        if is_session {
            errmsg(session.as_ptr());
            errdetail(
                c"%s The statement could not be canceled.".as_ptr(),
                detail.as_ptr(),
            );
            errhint(c"Connect anew.".as_ptr());
        } else {
            errmsg(statement.as_ptr());
            errdetail(detail.as_ptr());
            errhint(hint.as_ptr());
        }
        true
    }
}
