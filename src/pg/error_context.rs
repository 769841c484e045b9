//! What is done around a piece of work of PostgreSQL's, on its stack of error contexts: while an error is being
//! reported whoever [`explains`] is asked, and the text of the statement that is running is found by its entry.

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use pgrx::pg_sys;

use super::raw;

unsafe extern "C-unwind" {
    /// utils/elog.h
    fn errhidestmt(hide: bool) -> i32;
}

/// Strikes secrets out of a text; true when there were some.
pub type Redact = fn(&mut [u8]) -> bool;

static EXPLAIN: OnceLock<unsafe fn()> = OnceLock::new();

/// Has `explain` called while an error is being reported inside [`explaining`]: it must not fail. Once, in the postmaster.
pub fn explains(explain: unsafe fn()) {
    EXPLAIN.get_or_init(|| explain);
}

/// When the statement arrived that [`hide_statement`] was called in.
static mut STATEMENT_WITH_SECRET: pg_sys::TimestampTz = 0;

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

/// The statement being run has a secret in its text, perhaps: should it fail, PostgreSQL must not
/// write that text into the server log (`log_min_error_statement`).
///
/// And what `redact` strikes out is gone from the text, for whoever reads it from now on: pg_stat_activity,
/// `log_min_duration_statement`, auto_explain, and pg_stat_statements, which knows the text without
/// its constants for the role that began the statement, but not for the one that ends it.
pub fn hide_statement(redact: Redact) {
    // SAFETY: backend-local; the list holds valid entries, and ours hold the text of a statement
    // that is running.
    unsafe {
        let since = raw::GetCurrentStatementStartTimestamp();
        let again = STATEMENT_WITH_SECRET == since;
        STATEMENT_WITH_SECRET = since;
        let mut found = false;
        let mut entry = pg_sys::error_context_stack;
        while !entry.is_null() {
            if (*entry)
                .callback
                .is_some_and(|callback| callback as usize == explain as *const () as usize)
            {
                found |= strike_out((*entry).arg.cast(), redact);
                // A loop may run many statements; those around it are the same as before.
                if again {
                    return;
                }
            }
            entry = (*entry).previous;
        }
        // It may be the very text of the outermost entry.
        let text = pg_sys::debug_query_string;
        if strike_out(text, redact) || found {
            let query_id = pg_sys::pgstat_get_my_query_id();
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text);
            pg_sys::pgstat_report_query_id(query_id, true);
        }
    }
}

/// Strikes secrets out of a text; true when there were some.
///
/// # Safety
/// NULL, or the terminated text of a statement that has been parsed. PostgreSQL runs statements
/// from copies of its own, so the memory may be written to.
unsafe fn strike_out(text: *const c_char, redact: Redact) -> bool {
    // SAFETY: by contract; no reference to the text is held elsewhere.
    unsafe {
        !text.is_null()
            && redact(std::slice::from_raw_parts_mut(
                text.cast_mut().cast(),
                libc::strlen(text),
            ))
    }
}

/// Called while an error is being reported; unguarded, because nothing in it can fail.
unsafe extern "C-unwind" fn explain(_text: *mut c_void) {
    // SAFETY: inside error reporting, where errhidestmt is meant to be called, and so is what is asked.
    unsafe {
        if STATEMENT_WITH_SECRET == raw::GetCurrentStatementStartTimestamp() {
            errhidestmt(true);
        }
        if let Some(explain) = EXPLAIN.get() {
            explain();
        }
    }
}
