//! The records that PostgreSQL keeps of settings, and their memory.

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;

#[cfg(not(feature = "pg15"))]
use crate::pg::setting;

/// The record of a setting, NULL when there is none of that name. Never raises an error and
/// allocates nothing, so that assign hooks may call it.
pub fn find_setting(name: &CStr) -> *mut pg_sys::config_generic {
    // Declared without the guard of pgrx's bindings: nothing here raises an error.
    #[cfg(feature = "pg15")]
    {
        // Sorted by name without regard to ASCII case (guc.c, guc_var_compare).
        let settings = array();
        let wanted = name.to_bytes();
        let name_of = |setting: *mut pg_sys::config_generic| {
            // SAFETY: every entry is a valid record with a terminated name.
            unsafe { CStr::from_ptr((*setting).name) }.to_bytes()
        };
        let found = settings.binary_search_by(|&setting| {
            name_of(setting)
                .iter()
                .map(u8::to_ascii_lowercase)
                .cmp(wanted.iter().map(u8::to_ascii_lowercase))
        });
        let place = found.ok().and_then(|place| settings.get(place));
        place.copied().unwrap_or(std::ptr::null_mut())
    }
    #[cfg(not(feature = "pg15"))]
    {
        unsafe extern "C-unwind" {
            fn find_option(
                name: *const c_char,
                create_placeholders: bool,
                skip_errors: bool,
                level: i32,
            ) -> *mut pg_sys::config_generic;
        }
        // SAFETY: a look-up in the settings' hash; skip_errors, no placeholder is made.
        unsafe { find_option(name.as_ptr(), false, true, pg_sys::DEBUG5 as i32) }
    }
}

/// Defines the setting by which [`changed_settings`] finds the others: from 16 on they are on a list
/// whose head is PostgreSQL's own, and what was pushed last leads to all.
pub fn define_mark_of_settings() {
    #[cfg(not(feature = "pg15"))]
    {
        use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
        static MARK: GucSetting<bool> = GucSetting::<bool>::new(false);
        GucRegistry::define_bool_guc(
            MARK_OF_SETTINGS,
            c"Leads to what a transaction has set.",
            c"Internal.",
            &MARK,
            GucContext::Suset,
            GucFlags::NO_SHOW_ALL | GucFlags::NO_RESET_ALL | GucFlags::DISALLOW_IN_FILE,
        );
    }
}

#[cfg(not(feature = "pg15"))]
const MARK_OF_SETTINGS: &CStr = c"scope.mark";

/// Looks at each setting that has been changed, or set for a while, in this transaction.
pub fn changed_settings(mut look: impl FnMut(*mut pg_sys::config_generic)) {
    #[cfg(feature = "pg15")]
    all_settings(|setting| {
        // SAFETY: a valid record.
        if unsafe { !(*setting).stack.is_null() } {
            look(setting);
        }
    });
    #[cfg(not(feature = "pg15"))]
    {
        // SAFETY: inside a transaction; each link is part of a valid record, and the last is NULL.
        unsafe {
            let local = pg_sys::GucAction::GUC_ACTION_LOCAL;
            setting::change(
                MARK_OF_SETTINGS,
                Some(c"on"),
                pg_sys::GucContext::PGC_SUSET,
                local,
                0,
            );
            let mark = find_setting(MARK_OF_SETTINGS);
            if mark.is_null() {
                return;
            }
            let mut link = (*mark).stack_link.next;
            while !link.is_null() {
                let offset = std::mem::offset_of!(pg_sys::config_generic, stack_link);
                look(link.byte_sub(offset).cast());
                link = (*link).next;
            }
        }
    }
}

/// Looks at every setting. No setting may be defined or changed meanwhile.
pub fn all_settings(mut look: impl FnMut(*mut pg_sys::config_generic)) {
    let settings = array();
    for &setting in settings {
        look(setting);
    }
}

/// Valid until a setting is defined, and no longer than the memory context.
fn array<'a>() -> &'a [*mut pg_sys::config_generic] {
    // SAFETY: an array of so many valid records.
    unsafe {
        #[cfg(feature = "pg15")]
        let (settings, count) = {
            unsafe extern "C-unwind" {
                fn get_guc_variables() -> *mut *mut pg_sys::config_generic;
                fn GetNumConfigOptions() -> i32;
            }
            (get_guc_variables(), GetNumConfigOptions())
        };
        #[cfg(not(feature = "pg15"))]
        let (settings, count) = {
            let mut count = 0;
            (pg_sys::get_guc_variables(&mut count), count)
        };
        std::slice::from_raw_parts(settings, usize::try_from(count).unwrap_or(0))
    }
}

/// What a record holds for its type.
macro_rules! of_type {
    ($setting:expr, $type:ident, $field:ident) => {{
        #[cfg(not(feature = "pg19"))]
        let record = $setting.cast::<pg_sys::$type>();
        #[cfg(feature = "pg19")]
        let record = &raw mut (*$setting).__bindgen_anon_1.$field;
        record
    }};
}

/// The part of a setting's record that those of texts have.
///
/// # Safety
/// A valid record of a text.
#[cfg_attr(
    not(feature = "pg19"),
    allow(unused_unsafe, reason = "nothing is read before 19")
)]
pub unsafe fn text_setting(setting: *mut pg_sys::config_generic) -> *mut pg_sys::config_string {
    // SAFETY: by contract.
    unsafe { of_type!(setting, config_string, _string) }
}

/// # Safety
/// A valid record.
pub unsafe fn setting_value(setting: *mut pg_sys::config_generic) -> pg_sys::config_var_val {
    use pg_sys::config_type::*;
    // SAFETY: by contract; the type says what the record holds.
    unsafe {
        match (*setting).vartype {
            PGC_BOOL => pg_sys::config_var_val {
                boolval: *(*of_type!(setting, config_bool, _bool)).variable,
            },
            PGC_INT => pg_sys::config_var_val {
                intval: *(*of_type!(setting, config_int, _int)).variable,
            },
            PGC_REAL => pg_sys::config_var_val {
                realval: *(*of_type!(setting, config_real, _real)).variable,
            },
            PGC_ENUM => pg_sys::config_var_val {
                enumval: *(*of_type!(setting, config_enum, _enum)).variable,
            },
            _ => pg_sys::config_var_val {
                stringval: *(*text_setting(setting)).variable,
            },
        }
    }
}

/// Memory that the settings machinery will free itself. NULL when there is none left.
fn setting_alloc(size: usize) -> *mut c_void {
    #[cfg(feature = "pg15")]
    // SAFETY: PostgreSQL frees it with free().
    unsafe {
        libc::malloc(size)
    }
    #[cfg(not(feature = "pg15"))]
    // SAFETY: at LOG level it returns NULL instead of raising an error.
    unsafe {
        pg_sys::guc_malloc(pg_sys::LOG as i32, size)
    }
}

/// Gives back what [`setting_alloc`], or the settings machinery itself, has allocated.
///
/// # Safety
/// Such memory, which nobody uses any more.
pub unsafe fn setting_free(memory: *mut c_void) {
    // SAFETY: by contract; each version allocates as it frees.
    unsafe {
        #[cfg(feature = "pg15")]
        libc::free(memory);
        #[cfg(not(feature = "pg15"))]
        pg_sys::guc_free(memory);
    }
}

/// A copy of a string in memory that the settings machinery will free itself; NULL when there is
/// none left.
pub fn setting_string(text: &CStr) -> *mut c_char {
    let bytes = text.to_bytes_with_nul();
    let memory = setting_alloc(bytes.len()).cast::<u8>();
    if !memory.is_null() {
        // SAFETY: fresh memory of that length.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
    }
    memory.cast()
}

/// Nobody but this library may define settings with our prefix.
pub fn reserve_setting_prefix(prefix: &CStr) {
    // SAFETY: called once from _PG_init, after our settings are defined.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}
