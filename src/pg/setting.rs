//! A setting by the record that PostgreSQL keeps of it, and settings of ours that hear of their values.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compat;

/// A setting, which is looked up once.
pub struct Setting {
    name: &'static CStr,
    record: AtomicPtr<pg_sys::config_generic>,
}

pub static ROLE: Setting = Setting::named(c"role");
pub static SESSION_AUTHORIZATION: Setting = Setting::named(c"session_authorization");

impl Setting {
    pub const fn named(name: &'static CStr) -> Self {
        Self {
            name,
            record: AtomicPtr::new(null_mut()),
        }
    }

    /// The record, NULL without one. It stays where it is, unless it is still a placeholder, which a
    /// library that defines it would replace.
    fn record(&self) -> *mut pg_sys::config_generic {
        let known = self.record.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let record = compat::find_setting(self.name, &compat::SettingPlace::unknown());
        // SAFETY: a valid record.
        let stays = !record.is_null()
            && unsafe { (*record).flags } & pg_sys::GUC_CUSTOM_PLACEHOLDER as i32 == 0;
        if stays {
            self.record.store(record, Ordering::Relaxed);
        }
        record
    }

    /// The text of a setting that is one: terminated; NULL without one.
    pub fn text(&self) -> *const c_char {
        let record = self.record();
        if record.is_null() {
            return null();
        }
        // SAFETY: a valid record of a string setting, whose variable is its current value.
        unsafe { *(*record.cast::<pg_sys::config_string>()).variable }
    }
}

/// What a setting of ours means: bits.
pub trait Parsed {
    /// `None` when it is no value of this setting.
    fn parse(text: &str) -> Option<u32>;
    /// Must not fail.
    fn assign(bits: u32);
}

/// Defines a setting of the server's that means bits.
pub fn define_parsed<P: Parsed>(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    // SAFETY: both hooks are guarded and have the types that PostgreSQL asks for.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            GucContext::Sighup,
            GucFlags::empty(),
            Some(check_parsed::<P>),
            Some(assign_parsed::<P>),
            None,
        );
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_parsed<P: Parsed>(
    new_value: *mut *mut c_char,
    extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers; the memory for `extra` is its own from now on.
    unsafe {
        let text = if (*new_value).is_null() {
            c""
        } else {
            CStr::from_ptr(*new_value)
        };
        let Some(bits) = text.to_str().ok().and_then(P::parse) else {
            return false;
        };
        let memory = compat::setting_alloc(size_of::<u32>()).cast::<u32>();
        if memory.is_null() {
            return false;
        }
        memory.write(bits);
        *extra = memory.cast();
        true
    }
}

/// Must not fail.
#[pg_guard]
unsafe extern "C-unwind" fn assign_parsed<P: Parsed>(
    _new_value: *const c_char,
    extra: *mut c_void,
) {
    let bits = if extra.is_null() {
        0
    } else {
        // SAFETY: what `check_parsed` made for this value.
        unsafe { *extra.cast::<u32>() }
    };
    P::assign(bits);
}
