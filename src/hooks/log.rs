//! The hook on what is written into the server log: statements that were denied, and lines that pose as ours.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::explain::explain_as_sent;
use super::what_runs;
use crate::audit::line::MAX_TEXT;
use crate::audit::{self, Class, Event, Problem, redact, watched};
use crate::guc::{self, AuditText};
use crate::jwt;
use crate::login;
use crate::pg::log;
use crate::pg::text::bytes;

static mut PREVIOUS: pg_sys::emit_log_hook_type = None;

/// Once, in the postmaster. From now on, before those who were told until now.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        let previous = pg_sys::emit_log_hook;
        PREVIOUS = previous;
        pg_sys::emit_log_hook = Some(emit_log);
        if previous.is_none() {
            log::heard_only_by(emit_log);
        }
    }
}

unsafe extern "C-unwind" fn emit_log(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes the error that it is about to write, and is still reporting.
    unsafe {
        hear(error);
        if let Some(previous) = PREVIOUS {
            previous(error);
        }
    }
}

/// Errors that nobody sees inside [`super::error_context::explaining`]: of parsing, of commits, and of connecting.
///
/// # Safety
/// A valid error, which PostgreSQL is reporting; owns nothing.
unsafe fn hear(error: *mut pg_sys::ErrorData) {
    // SAFETY: by contract.
    unsafe {
        explain_as_sent(error);
        if login::is_of_credential() && is_warning_at_login(error) {
            // That it ends within hours is what a credential is for.
            (*error).output_to_server = false;
            (*error).output_to_client = false;
        }
        strike_tokens(error);
        if (*error).sqlerrcode == DENIED
            && audit::wants(Class::Denied)
            && watched::is_watched_while_reporting()
        {
            denied(error);
        }
        if !log::is_writing() && audit::setting::classes() != 0 && (*error).output_to_server {
            before_log(error);
        }
    }
}

/// Is this what PostgreSQL tells somebody at login, from 19 on: that the password ends soon, or is kept as MD5?
///
/// # Safety
/// A valid error.
unsafe fn is_warning_at_login(error: *mut pg_sys::ErrorData) -> bool {
    // SAFETY: by contract; NULL or terminated.
    unsafe {
        let function = (*error).funcname;
        !function.is_null() && CStr::from_ptr(function) == c"EmitConnectionWarnings"
    }
}

/// Whoever has put a token into what is written (a logged statement, its parameters, the CONTEXT or the text of one that has failed): it is
/// struck out, or the statement left out. What is written is what the client gets, too.
///
/// # Safety
/// A valid error.
unsafe fn strike_tokens(error: *mut pg_sys::ErrorData) {
    // SAFETY: by contract; terminated strings of this error's own or NULL. Constants have no tokens, and are not written to.
    unsafe {
        for text in [
            (*error).message,
            (*error).detail,
            (*error).detail_log,
            (*error).hint,
            (*error).context,
            (*error).internalquery,
        ] {
            if !text.is_null() {
                jwt::redact(std::slice::from_raw_parts_mut(
                    text.cast(),
                    libc::strlen(text),
                ));
            }
        }
        // That is not the error's own: it may yet be run.
        if !(*error).hide_stmt
            && bytes(pg_sys::debug_query_string).is_some_and(|text| jwt::redact(&mut text.to_vec()))
        {
            (*error).hide_stmt = true;
        }
    }
}

/// RAISE LOG writes what anybody likes: a message that begins as our lines do is not written as it
/// came.
///
/// # Safety
/// Terminated, or NULL.
unsafe fn poses_as_ours(message: *const c_char) -> bool {
    // SAFETY: by contract.
    let message = unsafe { bytes(message) }.unwrap_or_default();
    message
        .trim_ascii_start()
        .starts_with(audit::PREFIX.trim_ascii().as_bytes())
}

/// What somebody has made PostgreSQL write next to our lines, and where a reader would find one of ours in it, is told as a forgery and not
/// written: the whole message, or the text of the statement that goes with it.
///
/// # Safety
/// A valid error.
unsafe fn before_log(error: *mut pg_sys::ErrorData) {
    // SAFETY: by contract; terminated strings or NULL.
    unsafe {
        let texts = [
            (*error).message,
            (*error).detail,
            (*error).detail_log,
            (*error).hint,
            (*error).context,
            (*error).internalquery,
        ];
        let forged = texts
            .into_iter()
            .find(|&text| bytes(text).is_some_and(audit::forges));
        if poses_as_ours((*error).message) {
            forgery((*error).message);
            (*error).output_to_server = false;
        } else if let Some(text) = forged {
            forgery(text);
            (*error).output_to_server = false;
        } else if !(*error).hide_stmt
            && (*error).elevel >= PgLogLevel::LOG as i32
            && bytes(pg_sys::debug_query_string).is_some_and(audit::forges)
        {
            (*error).hide_stmt = true;
            forgery((*error).message);
        }
    }
}

/// # Safety
/// Terminated, or NULL.
#[pg_guard]
unsafe extern "C-unwind" fn forgery(message: *const c_char) {
    // SAFETY: by contract.
    let message = unsafe { bytes(message) }.unwrap_or_default();
    audit::record(Event::Forgery { message });
}

const DENIED: i32 = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32;

/// For the context callback, which sees errors that are caught later, too.
///
/// # Safety
/// Inside error reporting.
pub unsafe fn while_reporting() {
    // SAFETY: by contract; the copy is made in memory that outlives it and freed.
    unsafe {
        if pg_sys::geterrcode() == DENIED
            && audit::wants(Class::Denied)
            && watched::is_watched_while_reporting()
        {
            let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let error = pg_sys::CopyErrorData();
            denied(error);
            pg_sys::FreeErrorData(error);
            pg_sys::MemoryContextSwitchTo(context);
        }
    }
}

/// Once for each error: it passes several callbacks, and then the log.
///
/// # Safety
/// A valid error.
#[pg_guard]
unsafe extern "C-unwind" fn denied(error: *mut pg_sys::ErrorData) {
    // SAFETY: by contract; terminated strings or NULL.
    unsafe {
        let is_error = (*error).elevel >= PgLogLevel::ERROR as i32;
        if !is_error || pg_sys::ParallelWorkerNumber >= 0 {
            return;
        }
        let message = bytes((*error).message).unwrap_or_default();
        if !audit::is_first(message) {
            return;
        }
        let wanted = guc::audit_text();
        let text = match wanted {
            AuditText::Full => what_runs::sent_text(MAX_TEXT).map(|text| redact::redact(&text)),
            _ => None,
        };
        audit::record(Event::Denied {
            tag: what_runs::tag(),
            query_id: what_runs::sent_query_id().filter(|_| wanted != AuditText::Off),
            text: text.as_deref(),
            problem: Problem {
                sqlstate: "42501",
                message,
                detail: bytes((*error).detail),
            },
        });
    }
}
