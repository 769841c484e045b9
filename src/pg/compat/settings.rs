//! The records that PostgreSQL keeps of settings, and their memory.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::AtomicUsize;
#[cfg(any(feature = "pg14", feature = "pg15"))]
use std::sync::atomic::Ordering;

use pgrx::pg_sys;

/// Where a setting was found last, to look there first.
#[cfg_attr(
    not(any(feature = "pg14", feature = "pg15")),
    allow(dead_code, reason = "a hash needs no place")
)]
pub struct SettingPlace(AtomicUsize);

impl SettingPlace {
    pub const fn unknown() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// The record of a setting, NULL when there is none of that name. Never raises an error and
/// allocates nothing, so that assign hooks may call it.
#[cfg_attr(
    not(any(feature = "pg14", feature = "pg15")),
    allow(unused_variables, reason = "a hash needs no place")
)]
pub fn find_setting(name: &CStr, place: &SettingPlace) -> *mut pg_sys::config_generic {
    // Declared without the guard of pgrx's bindings: nothing here raises an error.
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        unsafe extern "C-unwind" {
            fn get_guc_variables() -> *mut *mut pg_sys::config_generic;
            fn GetNumConfigOptions() -> i32;
        }
        // SAFETY: the array holds GetNumConfigOptions() valid pointers, sorted by name without
        // regard to ASCII case (guc.c, guc_var_compare).
        let settings = unsafe {
            let count = usize::try_from(GetNumConfigOptions()).unwrap_or(0);
            std::slice::from_raw_parts(get_guc_variables(), count)
        };
        let wanted = name.to_bytes();
        let name_of = |setting: *mut pg_sys::config_generic| {
            // SAFETY: every entry is a valid record with a terminated name.
            unsafe { CStr::from_ptr((*setting).name) }.to_bytes()
        };
        let last = settings.get(place.0.load(Ordering::Relaxed)).copied();
        if let Some(setting) = last
            && name_of(setting) == wanted
        {
            return setting;
        }
        let found = settings.binary_search_by(|&setting| {
            name_of(setting)
                .iter()
                .map(u8::to_ascii_lowercase)
                .cmp(wanted.iter().map(u8::to_ascii_lowercase))
        });
        let Ok(index) = found else {
            return std::ptr::null_mut();
        };
        place.0.store(index, Ordering::Relaxed);
        settings.get(index).copied().unwrap_or(std::ptr::null_mut())
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
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
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
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

#[cfg(not(any(feature = "pg14", feature = "pg15")))]
const MARK_OF_SETTINGS: &CStr = c"scope.mark";

/// Looks at each setting that has been changed, or set for a while, in this transaction.
pub fn changed_settings(mut look: impl FnMut(*mut pg_sys::config_generic)) {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    all_settings(|setting| {
        // SAFETY: a valid record.
        if unsafe { !(*setting).stack.is_null() } {
            look(setting);
        }
    });
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        // SAFETY: inside a transaction; each link is part of a valid record, and the last is NULL.
        unsafe {
            pg_sys::set_config_option(
                MARK_OF_SETTINGS.as_ptr(),
                c"on".as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
            let mark = find_setting(MARK_OF_SETTINGS, &SettingPlace::unknown());
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
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as in find_setting.
    let settings = unsafe {
        unsafe extern "C-unwind" {
            fn get_guc_variables() -> *mut *mut pg_sys::config_generic;
            fn GetNumConfigOptions() -> i32;
        }
        let count = usize::try_from(GetNumConfigOptions()).unwrap_or(0);
        std::slice::from_raw_parts(get_guc_variables(), count)
    };
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: an array of so many valid records, which goes with the memory context.
    let settings = unsafe {
        let mut count = 0;
        let settings = pg_sys::get_guc_variables(&mut count);
        std::slice::from_raw_parts(settings, usize::try_from(count).unwrap_or(0))
    };
    for &setting in settings {
        look(setting);
    }
}

/// Memory that the settings machinery will free itself. NULL when there is none left.
pub fn setting_alloc(size: usize) -> *mut c_void {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: PostgreSQL frees it with free().
    unsafe {
        libc::malloc(size)
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
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
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        libc::free(memory);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
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
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}

/// The server's settings, in the order of their names or in none.
pub fn settings() -> Vec<*const pg_sys::config_generic> {
    let mut all = Vec::new();
    all_settings(|setting| all.push(setting.cast_const()));
    all
}
