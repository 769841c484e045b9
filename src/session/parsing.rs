//! Settings that decide what a text means when it is parsed. What has been parsed is kept, by PL/pgSQL and for
//! statements that are prepared, and means the same to whoever runs it later in the session.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::guc::GucFlags;

use crate::pg::plans;
use crate::pg::setting::Setting;

pub use crate::pg::plans::make_ready_anew;

/// What they decide is kept as long as the session: how a string ends, and how PL/pgSQL compiles.
static FOR_GOOD: [Setting; 6] = [
    Setting::named(c"standard_conforming_strings"),
    Setting::named(c"backslash_quote"),
    Setting::named(c"transform_null_equals"),
    Setting::named(c"plpgsql.extra_errors"),
    Setting::named(c"plpgsql.extra_warnings"),
    Setting::named(c"plpgsql.print_strict_params"),
];
/// What they decide is found out anew once PostgreSQL's cache of plans has been reset: the values of literals.
static OF_LITERALS: [Setting; 7] = [
    Setting::named(c"DateStyle"),
    Setting::named(c"IntervalStyle"),
    Setting::named(c"TimeZone"),
    Setting::named(c"timezone_abbreviations"),
    Setting::named(c"lc_monetary"),
    Setting::named(c"array_nulls"),
    Setting::named(c"xmloption"),
];
/// The session's settings are what they are from now on.
static SETTLED: AtomicBool = AtomicBool::new(false);
/// Something has been analysed or planned under settings that end with the transaction.
static KEPT: AtomicBool = AtomicBool::new(false);

/// From now on only superusers change the first kind, whatever way they are set, and the second kind is watched.
/// Inside a transaction.
pub fn settle() {
    if SETTLED.load(Ordering::Relaxed) {
        return;
    }
    // PL/pgSQL's settings are there once it is loaded.
    plans::load_plpgsql();
    for setting in &FOR_GOOD {
        setting.restrict(true, GucFlags::NO_RESET_ALL);
    }
    plans::learn_settings();
    SETTLED.store(true, Ordering::Relaxed);
}

/// Is it one that only superusers change by now?
pub fn is_settled(name: &CStr) -> bool {
    SETTLED.load(Ordering::Relaxed) && FOR_GOOD.iter().any(|own| own.is_named(name))
}

/// A query has been analysed: does it hold values that the next transaction would read otherwise? Owns nothing, because an error may
/// jump over it.
pub fn analysed(holds_such: impl FnOnce() -> bool) {
    if is_watching() && OF_LITERALS.iter().any(Setting::is_set_for_a_time) && holds_such() {
        KEPT.store(true, Ordering::Relaxed);
    }
}

/// A query has been planned: by settings that the next transaction has otherwise?
pub fn planned() {
    if is_watching() && plans::are_settings_set_for_a_time() {
        KEPT.store(true, Ordering::Relaxed);
    }
}

#[inline]
fn is_watching() -> bool {
    SETTLED.load(Ordering::Relaxed) && !KEPT.load(Ordering::Relaxed)
}

/// At the end of a transaction, however it ends; `always` when settings ended that were set outside transactions.
/// Cannot fail.
pub fn forget(always: bool) {
    if KEPT.swap(false, Ordering::Relaxed) || (always && SETTLED.load(Ordering::Relaxed)) {
        make_ready_anew();
    }
}
