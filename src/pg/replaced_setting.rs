//! Putting another value in place of one that a login has by ALTER ROLE … SET, for a setting of PostgreSQL's.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{compat, raw};

/// Who replaces it.
pub trait Replaced {
    /// What stands in place of the value; `None`: the value. Inside the transaction that begins the login's session.
    fn instead(value: &CStr) -> Option<CString>;
}

static PREVIOUS: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

type Check = unsafe extern "C-unwind" fn(
    *mut *mut c_char,
    *mut *mut c_void,
    pg_sys::GucSource::Type,
) -> bool;

/// Once, in the postmaster, for a setting that is a text: there is one.
pub fn install<R: Replaced>(name: &CStr) {
    let setting = compat::find_setting(name);
    if setting.is_null() {
        return;
    }
    // SAFETY: single-threaded; the setting is one of strings, and the check has the type that they ask for.
    unsafe {
        let setting = compat::text_setting(setting);
        if let Some(previous) = (*setting).check_hook {
            PREVIOUS.store(previous as *mut c_void, Ordering::Relaxed);
        }
        (*setting).check_hook = Some(check::<R>);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check<R: Replaced>(
    new_value: *mut *mut c_char,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers, and the settings of a login inside the transaction that begins its
    // session; a parallel worker has them from its leader. What stands in place of the value is memory that the
    // machinery of settings may free, as the value was.
    unsafe {
        if source == pg_sys::GucSource::PGC_S_USER
            && !(*new_value).is_null()
            && !pg_sys::InitializingParallelWorker
            && raw::IsTransactionState()
            && let Some(instead) = R::instead(CStr::from_ptr(*new_value))
        {
            let text = compat::setting_string(&instead);
            if !text.is_null() {
                compat::setting_free((*new_value).cast());
                *new_value = text;
            }
        }
        let previous = PREVIOUS.load(Ordering::Relaxed);
        if previous.is_null() {
            return true;
        }
        let previous: Check = std::mem::transmute(previous);
        previous(new_value, extra, source)
    }
}
