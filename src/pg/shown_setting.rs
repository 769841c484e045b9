//! Settings that show what somebody works out when they are read, whatever was set.
//!
//! PostgreSQL does not tell a show hook whose it is, so each has one of its own.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{compat, server};

/// What they show.
pub trait Shown {
    /// Message, DETAIL and HINT for whoever sets one.
    const REFUSAL: [&CStr; 3];

    /// What the setting in this slot shows from now on; `None`: what it showed before.
    fn text(slot: usize) -> Option<CString>;
}

/// How many there are at most at a time, in one session.
pub const MOST: usize = 64;

type Show = unsafe extern "C-unwind" fn() -> *const c_char;

thread_local! {
    /// By slot. A text lives until the next look at the same setting; PostgreSQL copies it at once.
    static TEXTS: RefCell<Vec<CString>> = const { RefCell::new(Vec::new()) };
}

fn show_of<S: Shown>(slot: usize) -> Option<Show> {
    macro_rules! shows {
        ($($slot:literal)*) => { [$(show::<S, $slot> as Show),*] };
    }
    let shows: [Show; MOST] = shows![
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
    ];
    shows.get(slot).copied()
}

/// Owns nothing: an error of PostgreSQL's may jump over it.
unsafe extern "C-unwind" fn show<S: Shown, const SLOT: usize>() -> *const c_char {
    // SAFETY: PostgreSQL asks for it in the backend.
    unsafe { show_slot::<S>(SLOT) }
}

unsafe extern "C-unwind" fn show_nothing() -> *const c_char {
    c"".as_ptr()
}

#[pg_guard]
unsafe extern "C-unwind" fn show_slot<S: Shown>(slot: usize) -> *const c_char {
    let new = S::text(slot);
    let text = TEXTS.with_borrow_mut(|texts| {
        if texts.len() <= slot {
            texts.resize(slot + 1, CString::default());
        }
        let Some(text) = texts.get_mut(slot) else {
            return c"".as_ptr();
        };
        if let Some(new) = new {
            *text = new;
        }
        text.as_ptr()
    });
    // SAFETY: terminated; no reference to it is held, and an error leaves it as it was.
    unsafe { server::from_utf8(text) }
}

/// Nobody sets them. Taking a value away is harmless.
#[pg_guard]
unsafe extern "C-unwind" fn check<S: Shown>(
    new_value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a valid pointer to NULL or a terminated text.
    let is_empty = unsafe { (*new_value).is_null() || **new_value == 0 };
    if is_empty || source < pg_sys::GucSource::PGC_S_INTERACTIVE {
        return true;
    }
    let [message, detail, hint] = S::REFUSAL.map(|text| text.as_ptr().cast_mut());
    // SAFETY: read by PostgreSQL as the hook returns, and not freed.
    unsafe {
        pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32);
        pg_sys::GUC_check_errmsg_string = message;
        pg_sys::GUC_check_errdetail_string = detail;
        pg_sys::GUC_check_errhint_string = hint;
    }
    false
}

/// Placeholders become ordinary settings of a library, with their values; a reserved prefix does not concern those.
/// What `is_shown` names shows nothing.
pub fn take_over<S: Shown>(is_ours: impl Fn(&[u8]) -> bool, is_shown: impl Fn(&[u8]) -> bool) {
    let flag = pg_sys::GUC_CUSTOM_PLACEHOLDER as i32;
    // SAFETY: a valid, backend-local record with a terminated name; a placeholder is one of a string.
    compat::all_settings(|setting| unsafe {
        let name = CStr::from_ptr((*setting).name).to_bytes();
        if (*setting).flags & flag == 0 || !is_ours(name) {
            return;
        }
        (*setting).flags &= !flag;
        if is_shown(name) {
            show_by::<S>(setting, show_nothing);
        }
    });
}

/// Has a setting that there is show nothing.
pub fn hide<S: Shown>(name: &CStr) {
    let setting = compat::find_setting(name);
    if !setting.is_null() {
        // SAFETY: a valid record of ours.
        unsafe { show_by::<S>(setting, show_nothing) }
    }
}

/// What a setting shows that is set as ever.
pub trait Covering {
    /// Terminated, until it is next set. Must not fail.
    fn shown() -> *const c_char;
}

unsafe extern "C-unwind" fn show_cover<C: Covering>() -> *const c_char {
    C::shown()
}

/// Covers a setting that there is.
pub fn cover<C: Covering>(name: &CStr) {
    let setting = compat::find_setting(name);
    if !setting.is_null() {
        // SAFETY: a valid record of a string setting of ours; the hook has the type that PostgreSQL asks for.
        unsafe { (*compat::text_setting(setting)).show_hook = Some(show_cover::<C>) }
    }
}

/// Makes a setting, or has the one that there is show what its slot does, if it has one.
pub fn define<S: Shown>(name: &CStr, slot: Option<usize>) {
    let show = slot.and_then(show_of::<S>);
    let setting = compat::find_setting(name);
    if !setting.is_null() {
        if let Some(show) = show {
            // SAFETY: a valid record of ours, or a placeholder that has become it.
            unsafe { show_by::<S>(setting, show) }
        }
        return;
    }
    let value: &'static mut *mut c_char = Box::leak(Box::new(null_mut()));
    // SAFETY: the name is copied; the description and the value live as long as the process.
    unsafe {
        pg_sys::DefineCustomStringVariable(
            name.as_ptr(),
            c"Of the request, or of its token.".as_ptr(),
            null(),
            value,
            null(),
            pg_sys::GucContext::PGC_USERSET,
            (pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE) as i32,
            show.map(|_| check::<S> as _),
            None,
            show.map(|show| show as _),
        );
    }
}

/// # Safety
/// A valid record of a string setting.
unsafe fn show_by<S: Shown>(setting: *mut pg_sys::config_generic, show: Show) {
    // SAFETY: by contract; the hooks have the types that PostgreSQL asks for.
    unsafe {
        let setting = compat::text_setting(setting);
        (*setting).check_hook = Some(check::<S>);
        (*setting).show_hook = Some(show);
    }
}
