//! Settings of ours that refuse what is no value of theirs, in words, and never show a value.
//!
//! ALTER SYSTEM fails then, and a reload keeps the value that there was. At the start of the server nothing can be kept: the default
//! could be less strict than what was meant, so the value stays, with a WARNING, and is an error where it is used.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// What is wrong with a value, without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub message: &'static str,
    pub detail: String,
    pub hint: &'static str,
}

/// While settings are being defined: values are those that the server was started with.
static DEFINING: AtomicBool = AtomicBool::new(false);

/// Settings are defined in here.
pub fn while_defining(define: impl FnOnce()) {
    DEFINING.store(true, Ordering::Relaxed);
    define();
    DEFINING.store(false, Ordering::Relaxed);
}

pub trait Checked {
    /// Of a text that is not empty.
    fn check(text: &str) -> Result<(), Wrong>;
    /// May it be empty?
    fn when_empty() -> Result<(), Wrong> {
        Ok(())
    }
}

/// Defines a text that only the configuration sets.
pub fn define<C: Checked>(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    // SAFETY: the hook is guarded and has the type that PostgreSQL asks for.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            GucContext::Sighup,
            GucFlags::empty(),
            Some(check::<C>),
            None,
            None,
        );
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check<C: Checked>(
    new_value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a valid pointer to NULL or a terminated text.
    let text = unsafe {
        if (*new_value).is_null() {
            return true;
        }
        CStr::from_ptr(*new_value).to_string_lossy()
    };
    let verdict = if text.is_empty() {
        C::when_empty()
    } else {
        C::check(&text)
    };
    verdict.map_or_else(|wrong| refuse(&wrong), |()| true)
}

/// For a check hook to return.
pub fn refuse(wrong: &Wrong) -> bool {
    if DEFINING.load(Ordering::Relaxed) {
        warn(wrong);
        return true;
    }
    fail(wrong);
    false
}

/// Words the refusal of a check hook that returns false.
pub fn fail(wrong: &Wrong) {
    let text = |text: &str| {
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: copied into the memory of errors, which PostgreSQL empties when it has reported this one.
        unsafe { pg_sys::MemoryContextStrdup(pg_sys::ErrorContext, text.as_ptr()) }
    };
    // SAFETY: read by PostgreSQL as the hook returns.
    unsafe {
        pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE as i32);
        pg_sys::GUC_check_errmsg_string = text(wrong.message);
        pg_sys::GUC_check_errdetail_string = text(&wrong.detail);
        pg_sys::GUC_check_errhint_string = text(wrong.hint);
    }
}

/// Tells of a value that is taken all the same.
pub fn warn(wrong: &Wrong) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        wrong.message,
        "scope_roles",
    )
    .set_detail(wrong.detail.clone())
    .set_hint(wrong.hint)
    .report(PgLogLevel::WARNING);
}

/// Is it the postmaster, or a statement, that a WARNING would reach? After a reload every other process would say the same.
pub fn is_heard() -> bool {
    // SAFETY: plain reads of backend globals.
    unsafe { !pg_sys::IsUnderPostmaster || !pg_sys::debug_query_string.is_null() }
}
