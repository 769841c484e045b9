//! A setting by the record that PostgreSQL keeps of it.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::guc::GucFlags;
use pgrx::pg_sys;

use super::{compat, raw};

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

    pub fn name(&self) -> &'static CStr {
        self.name
    }

    /// The record, NULL without one. It stays where it is, unless it is still a placeholder, which a
    /// library that defines it would replace.
    fn record(&self) -> *mut pg_sys::config_generic {
        let known = self.record.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let record = compat::find_setting(self.name);
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
        unsafe { *(*compat::text_setting(record)).variable }
    }

    /// The role that `role` stands for; 0 for none.
    pub fn role(&self) -> pg_sys::Oid {
        let record = self.record();
        // SAFETY: a valid record; what `check_role` leaves with it begins with the role (variable.c).
        unsafe {
            if record.is_null() || (*record).extra.is_null() {
                pg_sys::InvalidOid
            } else {
                *(*record).extra.cast::<pg_sys::Oid>()
            }
        }
    }

    /// Has it this name? Compared as PostgreSQL does.
    pub fn is_named(&self, name: &CStr) -> bool {
        self.name.to_bytes().eq_ignore_ascii_case(name.to_bytes())
    }

    /// Has it this value, a text? `None` stands for the one that RESET goes to.
    pub fn has_value(&self, value: Option<&CStr>) -> bool {
        let record = self.record();
        if record.is_null() {
            return false;
        }
        // SAFETY: a valid record of a string setting; texts are NULL or terminated.
        unsafe {
            let record = compat::text_setting(record);
            let value = value.map_or((*record).reset_val.cast_const(), CStr::as_ptr);
            let current = *(*record).variable;
            !value.is_null()
                && !current.is_null()
                && CStr::from_ptr(value) == CStr::from_ptr(current)
        }
    }

    /// Would a change made now be undone by the function around it, whose SET clause names the setting?
    pub fn is_saved(&self) -> bool {
        // SAFETY: NULL, or a valid record.
        unsafe { has_saved(self.record()) }
    }

    /// Is it set for the length of a transaction, or of a function?
    pub fn is_set_for_a_time(&self) -> bool {
        let record = self.record();
        // SAFETY: a valid record.
        !record.is_null() && unsafe { is_set_for_a_time(record) }
    }

    /// Lets superusers only change it, with these flags, or everyone again, without them. Cannot fail.
    pub fn restrict(&self, restricted: bool, flags: GucFlags) {
        let record = self.record();
        if record.is_null() {
            return;
        }
        // SAFETY: a valid, backend-local record; nothing else runs in this process.
        let record = unsafe { &mut *record };
        if restricted {
            record.context = pg_sys::GucContext::PGC_SUSET;
            record.flags |= flags.bits();
        } else {
            record.context = pg_sys::GucContext::PGC_USERSET;
            record.flags &= !flags.bits();
        }
    }
}

/// Changes a setting for the session, or as the action says; `None` is RESET. Below ERROR a value that is none is told at that level, and
/// false. Inside a transaction.
pub(super) fn change(
    name: &CStr,
    value: Option<&CStr>,
    context: pg_sys::GucContext::Type,
    action: pg_sys::GucAction::Type,
    level: u32,
) -> bool {
    // SAFETY: terminated texts.
    let done = unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.map_or(null(), CStr::as_ptr),
            context,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            level as c_int,
            false,
        )
    };
    done > 0
}

/// Sets it as everybody may, with the source of a SET; a value that is none is a WARNING, and false. Inside a transaction.
pub fn set_as_everybody(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) -> bool {
    // At WARNING no error is raised for a value.
    let context = pg_sys::GucContext::PGC_USERSET;
    change(name, Some(value), context, action, pg_sys::WARNING)
}

/// May everybody set it? True where there is none of that name.
pub fn is_everybodys(name: &CStr) -> bool {
    let record = compat::find_setting(name);
    // SAFETY: NULL, or a valid record.
    record.is_null() || unsafe { (*record).context } == pg_sys::GucContext::PGC_USERSET
}

/// Does the SET clause of a function that is running name the setting, and would undo a change?
pub fn is_saved(name: &CStr) -> bool {
    // SAFETY: NULL, or a valid record.
    unsafe { has_saved(compat::find_setting(name)) }
}

/// Sets them one after the other, as a superuser would.
pub fn set_all<const N: usize>(settings: [(&CStr, &CStr); N], action: pg_sys::GucAction::Type) {
    // SAFETY: terminated strings that outlive the call; the guard turns PostgreSQL's errors into
    // panics for all calls at once, and its closure owns nothing. PGC_SUSET is remembered as
    // the setting's context, so parallel workers may restore it.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            for (name, value) in settings {
                raw::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_SUSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    action,
                    true,
                    0,
                    false,
                );
            }
        });
    }
}

/// Does the SET clause of a function that is running name the setting?
///
/// # Safety
/// NULL, or a valid record.
unsafe fn has_saved(record: *const pg_sys::config_generic) -> bool {
    // SAFETY: by contract; the stack is a terminated list of valid entries.
    unsafe {
        let mut entry = match record.as_ref() {
            Some(record) => record.stack,
            None => return false,
        };
        while !entry.is_null() {
            if (*entry).state == pg_sys::GucStackState::GUC_SAVE {
                return true;
            }
            entry = (*entry).prev;
        }
    }
    false
}

/// Is the setting set for the length of a transaction, or of a function?
///
/// # Safety
/// A valid record.
pub(super) unsafe fn is_set_for_a_time(record: *mut pg_sys::config_generic) -> bool {
    // SAFETY: by contract.
    unsafe { !(*record).stack.is_null() }
}
