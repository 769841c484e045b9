//! A setting whose value is shown to nobody.
//!
//! PostgreSQL writes `parameter "…" changed to "…"` into the log when a reload changes a setting, and
//! shows values in SHOW, pg_settings and error messages. So the setting's own value is always the
//! same mask, and what was configured travels in the setting's `extra`, which nothing prints.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use super::checked_setting::{self, Wrong};
use super::{compat, error_context};

const MASK: &CStr = c"********";

/// The configured text, owned by the settings machinery; NULL when there is none.
static VALUE: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static mut SHOWN: *mut c_char = std::ptr::null_mut();

/// What is wrong with a value; its message does not show it.
type Check<T> = fn(&T) -> Result<(), Wrong>;
static CHECKS: OnceLock<(Check<[u8]>, Check<str>)> = OnceLock::new();

/// Defines it; there is one. `check` judges a text, `check_file` the file of that path.
pub fn define(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    check_text: Check<[u8]>,
    check_file: Check<str>,
) {
    CHECKS.get_or_init(|| (check_text, check_file));
    // SAFETY: strings and the variable are static; the hooks have the types that PostgreSQL asks for.
    unsafe {
        pg_sys::DefineCustomStringVariable(
            name.as_ptr(),
            short.as_ptr(),
            long.as_ptr(),
            &raw mut SHOWN,
            MASK.as_ptr(),
            pg_sys::GucContext::PGC_SIGHUP,
            (pg_sys::GUC_SUPERUSER_ONLY | pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE)
                as i32,
            Some(check),
            Some(assign),
            None,
        );
    }
}

/// What the administrator has configured.
pub fn get() -> Option<Zeroizing<String>> {
    let value = VALUE.load(Ordering::Relaxed);
    if value.is_null() {
        return None;
    }
    // SAFETY: a terminated string that lives until the next assignment in this process.
    let text = unsafe { CStr::from_ptr(value) }.to_str().ok()?;
    (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()))
}

/// In words of ours: PostgreSQL's would show the value.
fn is_right(given: &CStr) -> bool {
    let Some((check, check_file)) = CHECKS.get() else {
        return true;
    };
    let bytes = given.to_bytes();
    if bytes.is_empty() {
        return true;
    }
    if let Some(path) = bytes.strip_prefix(b"@") {
        if checked_setting::is_heard()
            && let Err(wrong) = check_file(&String::from_utf8_lossy(path))
        {
            checked_setting::warn(&wrong);
        }
        return true;
    }
    match check(bytes) {
        Ok(()) => true,
        Err(wrong) => {
            // Nor does the statement go into the log.
            error_context::hide_statement(|_| false);
            checked_setting::refuse(&wrong)
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check(
    new_value: *mut *mut c_char,
    extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers; both strings are replaced by ones that it may free.
    unsafe {
        let given = *new_value;
        if given.is_null() || CStr::from_ptr(given) == MASK {
            return true;
        }
        if !is_right(CStr::from_ptr(given)) {
            return false;
        }
        let mask = compat::setting_string(MASK);
        if mask.is_null() {
            return false;
        }
        *extra = given.cast();
        *new_value = mask;
        true
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn assign(_new_value: *const c_char, extra: *mut c_void) {
    VALUE.store(extra.cast(), Ordering::Relaxed);
}
