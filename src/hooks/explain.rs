//! What is said of errors of PostgreSQL's that come of a switch, or of the end of something.

use std::ffi::c_char;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::timer;
use crate::session::ends::{self, Ended};
use crate::session::switch_state;

unsafe extern "C-unwind" {
    /// utils/elog.h
    fn errcode(code: i32) -> i32;
    fn errmsg(format: *const c_char, ...) -> i32;
    fn errdetail(format: *const c_char, ...) -> i32;
    fn errhint(format: *const c_char, ...) -> i32;
}

/// PostgreSQL's own refusals know nothing of tokens. While a role is locked, this adds a DETAIL and
/// a HINT to those that have none.
///
/// Called while an error is being reported; unguarded, because nothing in it can fail.
///
/// # Safety
/// Inside error reporting.
pub unsafe fn explain() {
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
        let Some(ended) = ends::take_ended() else {
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
