//! Settings that decide what a text means when it is parsed. What has been parsed is kept, by PL/pgSQL and for
//! statements that are prepared, and means the same to whoever runs it later in the session.

use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::guc::GucFlags;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::setting::{self, Setting};
use super::{compat, raw, walk};

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
/// Constants are written as text by the planner, too.
const OF_OUTPUT: [&CStr; 2] = [c"bytea_output", c"extra_float_digits"];

thread_local! {
    /// Those of the planner, and of what it computes.
    static PLANNERS: RefCell<Vec<*mut pg_sys::config_generic>> = const { RefCell::new(Vec::new()) };
}

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
    // SAFETY: inside a transaction; terminated names. PL/pgSQL's settings are there once it is loaded.
    unsafe {
        if pg_sys::get_language_oid(c"plpgsql".as_ptr(), true) != pg_sys::InvalidOid {
            pg_sys::load_file(c"$libdir/plpgsql".as_ptr(), false);
        }
    }
    for setting in &FOR_GOOD {
        setting.restrict(true, GucFlags::NO_RESET_ALL);
    }
    PLANNERS.take();
    compat::all_settings(|setting| {
        use pg_sys::config_group::*;
        // SAFETY: a valid record, whose name is terminated.
        let (group, name) = unsafe { ((*setting).group, CStr::from_ptr((*setting).name)) };
        if matches!(
            group,
            QUERY_TUNING_METHOD | QUERY_TUNING_COST | QUERY_TUNING_GEQO | QUERY_TUNING_OTHER
        ) || OF_OUTPUT.contains(&name)
        {
            PLANNERS.with_borrow_mut(|settings| settings.push(setting));
        }
    });
    SETTLED.store(true, Ordering::Relaxed);
}

/// Is it one that only superusers change by now?
pub fn is_settled(name: &CStr) -> bool {
    SETTLED.load(Ordering::Relaxed) && FOR_GOOD.iter().any(|own| own.is_named(name))
}

/// Has the setting this value? `None` stands for the one that RESET goes to.
pub fn has_value(name: &CStr, value: Option<&CStr>) -> bool {
    // SAFETY: terminated texts; those of a setting that is not there are NULL.
    unsafe {
        let current = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        if current.is_null() {
            return false;
        }
        let wanted = match value {
            Some(value) => value.as_ptr(),
            None => pg_sys::GetConfigOptionResetString(name.as_ptr()),
        };
        if wanted.is_null() {
            return false;
        }
        let (mut is, mut will_be) = (false, false);
        if pg_sys::parse_bool(current, &mut is) && pg_sys::parse_bool(wanted, &mut will_be) {
            return is == will_be;
        }
        CStr::from_ptr(current)
            .to_bytes()
            .eq_ignore_ascii_case(CStr::from_ptr(wanted).to_bytes())
    }
}

/// A query has been analysed: does it hold values that the next transaction would read otherwise?
///
/// # Safety
/// A valid query, inside a transaction; owns nothing, because an error may jump over it.
pub unsafe fn analysed(query: *mut pg_sys::Query) {
    // SAFETY: by contract.
    let holds_such = || unsafe { holds_literal(query.cast(), null_mut()) };
    if is_watching() && OF_LITERALS.iter().any(Setting::is_set_for_a_time) && holds_such() {
        KEPT.store(true, Ordering::Relaxed);
    }
}

/// A query has been planned: by settings that the next transaction has otherwise?
pub fn planned() {
    // SAFETY: those of PostgreSQL's own stay where they are.
    let is_set = |&setting: &_| unsafe { setting::is_set_for_a_time(setting) };
    if is_watching() && PLANNERS.with_borrow(|settings| settings.iter().any(is_set)) {
        KEPT.store(true, Ordering::Relaxed);
    }
}

#[inline]
fn is_watching() -> bool {
    SETTLED.load(Ordering::Relaxed) && !KEPT.load(Ordering::Relaxed)
}

/// Is there a value in it that was made from a text, by a rule that is not always the same?
#[pg_guard]
unsafe extern "C-unwind" fn holds_literal(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL passes valid nodes, and NULL; the tag says which struct it is.
    unsafe {
        if node.is_null() {
            false
        } else if (*node).type_ == pg_sys::NodeTag::T_Const {
            let value = node.cast::<pg_sys::Const>();
            !(*value).constisnull && depends_on_settings((*value).consttype)
        } else {
            walk::into(node, holds_literal, context)
        }
    }
}

unsafe fn depends_on_settings(kind: pg_sys::Oid) -> bool {
    let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: a type of a value that there is; both out-pointers are valid.
    unsafe {
        pg_sys::getTypeInputInfo(kind, &mut input, &mut parameter);
        pg_sys::func_volatile(input) as u8 != pg_sys::PROVOLATILE_IMMUTABLE
    }
}

/// At the end of a transaction, however it ends; `always` when settings ended that were set outside transactions.
/// Cannot fail.
pub fn forget(always: bool) {
    if KEPT.swap(false, Ordering::Relaxed) || (always && SETTLED.load(Ordering::Relaxed)) {
        make_ready_anew();
    }
}

/// What is kept is analysed, planned and made ready again where it is used next, expressions of PL/pgSQL in the middle
/// of a transaction too. Cannot fail.
pub fn make_ready_anew() {
    // SAFETY: marks entries of the backend's own table.
    unsafe { raw::ResetPlanCache() }
}
