//! The statements that are running, as far as rooms ask of them, and the names of relations.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use pgrx::pg_sys;

use super::text;

/// Strikes secrets out of a text; true when there were some.
pub type Redact = fn(&mut [u8]) -> bool;

/// What is known where statements are run, each inside the one before.
pub struct Running {
    /// Has PostgreSQL leave the statement's text out of the log, and strikes secrets out of the texts of all that run; true when
    /// there were some. `None` when what the client has sent has been looked at before.
    pub hide: fn(Redact) -> Option<bool>,
    /// As [`is_call_alone`].
    pub is_call_alone: fn(pg_sys::FunctionCallInfo) -> bool,
    /// As [`is_run_whole`].
    pub is_run_whole: fn() -> bool,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Once, in the postmaster.
pub fn known_by(running: Running) {
    RUNNING.get_or_init(|| running);
}

/// The statement being run has a secret in its text, perhaps: should it fail, PostgreSQL must not
/// write that text into the server log (`log_min_error_statement`).
///
/// And what `redact` strikes out is gone from the text, for whoever reads it from now on: pg_stat_activity,
/// `log_min_duration_statement`, auto_explain, and pg_stat_statements, which knows the text without
/// its constants for the role that began the statement, but not for the one that ends it.
pub fn hide(redact: Redact) {
    let running = RUNNING.get();
    let Some(found) = running.map_or(Some(false), |running| (running.hide)(redact)) else {
        return;
    };
    // SAFETY: NULL, or the text of the statement that is running, which may be the very one that it is run from.
    unsafe {
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

/// Is this call all that runs, sent by the client: `SELECT f($1)`, or the protocol's call of a
/// function?
pub fn is_call_alone(call: pg_sys::FunctionCallInfo) -> bool {
    RUNNING
        .get()
        .is_some_and(|running| (running.is_call_alone)(call))
}

/// Is what the client has sent run to its end, whatever the client does? By the protocol it may ask for some rows, and for more later or never.
pub fn is_run_whole() -> bool {
    RUNNING.get().is_none_or(|running| (running.is_run_whole)())
}

/// The qualified name of a relation, once.
pub fn add_relation(names: &mut Vec<String>, relation: pg_sys::Oid) {
    // SAFETY: catalogue look-ups inside a transaction; the copies go with the memory context.
    let name = unsafe {
        let name = pg_sys::get_rel_name(relation);
        if name.is_null() {
            return;
        }
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        let mut parts = vec![name];
        if !schema.is_null() {
            parts.insert(0, schema);
        }
        qualified(parts.into_iter().map(|part| part.cast_const()))
    };
    if !names.contains(&name) {
        names.push(name);
    }
}

/// # Safety
/// Terminated strings.
pub unsafe fn qualified(parts: impl Iterator<Item = *const c_char>) -> String {
    let mut name = String::new();
    for part in parts {
        if !name.is_empty() {
            name.push('.');
        }
        // SAFETY: by contract; the result is terminated.
        let quoted = unsafe { CStr::from_ptr(pg_sys::quote_identifier(part)) };
        name += &text::read(quoted);
    }
    name
}
