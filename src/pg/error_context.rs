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
/// The text of its outermost entry, which has been looked at.
static mut OUTERMOST: *const c_char = std::ptr::null();

/// Runs what follows in a hook with [`explain`] at hand, and the text of the statement, if it is
/// one, where [`hide_statement`] finds it. After an error PostgreSQL takes the callback off its
/// list by itself.
///
/// # Safety
/// In the backend; `next` owns nothing, because an error jumps over it.
pub unsafe fn explaining(text: *const c_char, next: impl FnOnce()) {
    // SAFETY: by contract.
    unsafe { inside(Entry::Text(text), next) }
}

/// The same around the run of a query.
///
/// # Safety
/// As [`explaining`]; a query that has been started.
pub unsafe fn running(query: *mut pg_sys::QueryDesc, next: impl FnOnce()) {
    // SAFETY: by contract.
    unsafe { inside(Entry::Query(query), next) }
}

unsafe fn inside(mut entry: Entry, next: impl FnOnce()) {
    // SAFETY: the callback is off the list again before it, and what it is told by, go out of scope.
    unsafe {
        let mut callback = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(explain),
            arg: (&raw mut entry).cast(),
        };
        pg_sys::error_context_stack = &mut callback;
        next();
        pg_sys::error_context_stack = callback.previous;
    }
}

/// An entry of ours. All have one callback: of two that do the same, a release build makes one, and could not tell them apart.
#[derive(Clone, Copy)]
enum Entry {
    /// With the text of a statement, or NULL.
    Text(*const c_char),
    Query(*mut pg_sys::QueryDesc),
}

impl Entry {
    /// # Safety
    /// A valid entry of the list.
    unsafe fn of(entry: *mut pg_sys::ErrorContextCallback) -> Option<Entry> {
        // SAFETY: by contract; ours hold what they were made with, which is still running.
        unsafe {
            let is_ours = (*entry).callback? as usize == explain as *const () as usize;
            is_ours.then(|| *(*entry).arg.cast::<Entry>())
        }
    }

    /// # Safety
    /// While it is on the list.
    unsafe fn text(self) -> *const c_char {
        match self {
            Entry::Text(text) => text,
            // SAFETY: by contract.
            Entry::Query(query) => unsafe { (*query).sourceText },
        }
    }
}

/// Ours, the innermost first.
fn entries() -> impl Iterator<Item = Entry> {
    // SAFETY: backend-local; the list holds valid entries. PostgreSQL puts it back after every error.
    let mut entry = unsafe { pg_sys::error_context_stack };
    std::iter::from_fn(move || {
        while !entry.is_null() {
            // SAFETY: as above.
            let (this, previous) = unsafe { (Entry::of(entry), (*entry).previous) };
            entry = previous;
            if this.is_some() {
                return this;
            }
        }
        None
    })
}

/// The query that the client has sent, when nothing runs around or inside it; `None` also where there is none.
pub fn only_statement() -> Option<*mut pg_sys::QueryDesc> {
    let mut statements =
        entries().filter(|entry| !matches!(entry, Entry::Text(text) if text.is_null()));
    match (statements.next(), statements.next()) {
        (Some(Entry::Query(query)), None) => Some(query),
        _ => None,
    }
}

/// How many statements are running, each inside the one before.
pub fn depth() -> usize {
    entries()
        // SAFETY: on the list.
        .filter(|entry| !unsafe { entry.text() }.is_null())
        .count()
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
        let texts = entries().map(|entry| entry.text());
        let mut texts = texts.filter(|text| !text.is_null()).peekable();
        while let Some(text) = texts.next() {
            let is_outermost = texts.peek().is_none();
            // A loop may run many statements; what the client has sent is the same as before, and may be long.
            if is_outermost && again && text == OUTERMOST {
                return;
            }
            found |= strike_out(text, redact);
            if is_outermost {
                OUTERMOST = text;
            }
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
pub unsafe fn strike_out(text: *const c_char, redact: Redact) -> bool {
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
unsafe extern "C-unwind" fn explain(_entry: *mut c_void) {
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
