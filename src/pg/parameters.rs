//! Rights on settings, which administrators can grant from PostgreSQL 15 on: the guarded settings are
//! superusers' while a role is locked, and such a grant would open them.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::{compat, switch_state};

static LISTENING: AtomicBool = AtomicBool::new(false);
/// Nobody has such a right, as of the last look. Asking for each switch would cost as much as the switch.
static NONE: AtomicBool = AtomicBool::new(false);

/// May `role` set one of the settings that the lock rests on?
pub fn may_set_guarded(role: pg_sys::Oid) -> bool {
    if NONE.load(Ordering::Relaxed) {
        return false;
    }
    let Some(cache) = compat::PARAMETER_ACL_CACHE else {
        return false;
    };
    if !LISTENING.swap(true, Ordering::Relaxed) {
        // SAFETY: a callback of the right type, registered once.
        unsafe {
            pg_sys::CacheRegisterSyscacheCallback(cache, Some(changed), pg_sys::Datum::null())
        }
    }
    NONE.store(true, Ordering::Relaxed);
    let mut granted = switch_state::settings()
        .filter(|name| is_granted(cache, name))
        .peekable();
    if granted.peek().is_some() {
        NONE.store(false, Ordering::Relaxed);
    }
    granted.any(|name| compat::may_set_parameter(role, name))
}

/// Has anybody a right on the setting?
fn is_granted(cache: i32, name: &std::ffi::CStr) -> bool {
    // SAFETY: a catalogue read inside a transaction; the cache's key is a text.
    unsafe {
        let key = pg_sys::cstring_to_text(name.as_ptr());
        let granted = pg_sys::SearchSysCacheExists(
            cache,
            pg_sys::Datum::from(key),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        );
        pg_sys::pfree(key.cast());
        granted
    }
}

/// Must not fail: PostgreSQL calls it while it processes invalidations.
unsafe extern "C-unwind" fn changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    NONE.store(false, Ordering::Relaxed);
}
