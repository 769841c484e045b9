//! A setting whose value is shown to nobody.
//!
//! PostgreSQL writes `parameter "…" changed to "…"` into the log when a reload changes a setting, and
//! shows values in SHOW, pg_settings and error messages. So the setting's own value is always the
//! same mask, and what was configured travels in the setting's `extra`, which nothing prints.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use super::{compat, own_setting};

const MASK: &CStr = c"********";

/// The configured text, owned by the settings machinery; NULL when there is none.
static VALUE: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static SHOWN: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(MASK));

/// May it have this value? What it says of it does not show it.
type Check = fn(&[u8]) -> bool;
static CHECK: OnceLock<Check> = OnceLock::new();

/// Defines it; there is one.
pub fn define(name: &'static CStr, short: &'static CStr, long: &'static CStr, is_right: Check) {
    CHECK.get_or_init(|| is_right);
    let flags = GucFlags::SUPERUSER_ONLY | GucFlags::NO_SHOW_ALL;
    let hooks = (Some(check as _), Some(assign as _));
    // SAFETY: both hooks are guarded.
    unsafe { own_setting::register(name, short, long, &SHOWN, GucContext::Sighup, flags, hooks) }
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
        let is_right = CHECK
            .get()
            .is_none_or(|check| check(CStr::from_ptr(given).to_bytes()));
        if !is_right {
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
