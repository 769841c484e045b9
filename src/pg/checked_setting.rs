//! Settings of ours that refuse what is no value of theirs, in words, and never show a value.
//!
//! ALTER SYSTEM fails then, and a reload keeps the value that there was. At the start of the server nothing can be kept: the default
//! could be less strict than what was meant, so the value stays, with a WARNING, and is an error where it is used.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucSetting};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{own_setting, text};

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
    /// Does a wrong value stay at the start of the server? Else the default takes its place.
    const STAYS: bool = true;
    /// Of a text that is not empty.
    fn check(text: &str) -> Result<(), Wrong>;
    /// May it be empty?
    fn when_empty() -> Result<(), Wrong> {
        Ok(())
    }
    /// It has this value. Must not fail.
    fn assign(_text: &str) {}
}

/// Defines a text that only the configuration sets.
pub fn define<C: Checked>(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    let (context, flags) = (GucContext::Sighup, GucFlags::empty());
    let hooks = (Some(check::<C> as _), Some(assign::<C> as _));
    // SAFETY: both hooks are guarded.
    unsafe { own_setting::register(name, short, long, setting, context, flags, hooks) }
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
        text::read(CStr::from_ptr(*new_value))
    };
    let verdict = if text.is_empty() {
        C::when_empty()
    } else {
        C::check(&text)
    };
    match verdict {
        Ok(()) => true,
        Err(wrong) if C::STAYS => refuse(&wrong),
        Err(wrong) => {
            fail(&wrong);
            false
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn assign<C: Checked>(new_value: *const c_char, _extra: *mut c_void) {
    // SAFETY: NULL or a terminated text.
    let text = unsafe { text::bytes(new_value) }.unwrap_or_default();
    C::assign(&String::from_utf8_lossy(text));
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
fn fail(wrong: &Wrong) {
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
