//! Plans that PostgreSQL keeps (utils/plancache.h), and the settings by which they are made.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::{compat, raw, setting};

/// Constants are written as text by the planner, too.
const OF_OUTPUT: [&CStr; 2] = [c"bytea_output", c"extra_float_digits"];

thread_local! {
    /// Those of the planner, and of what it computes.
    static PLANNERS: RefCell<Vec<*mut pg_sys::config_generic>> = const { RefCell::new(Vec::new()) };
}

/// Looks up the planner's settings. Inside a transaction.
pub fn learn_settings() {
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
}

/// Has one of them been set for the length of a transaction, or of a function?
pub fn are_settings_set_for_a_time() -> bool {
    // SAFETY: those of PostgreSQL's own stay where they are.
    let is_set = |&setting: &_| unsafe { setting::is_set_for_a_time(setting) };
    PLANNERS.with_borrow(|settings| settings.iter().any(is_set))
}

/// Where there is PL/pgSQL in this database. Inside a transaction.
pub fn load_plpgsql() {
    // SAFETY: terminated names.
    unsafe {
        if pg_sys::get_language_oid(c"plpgsql".as_ptr(), true) != pg_sys::InvalidOid {
            pg_sys::load_file(c"$libdir/plpgsql".as_ptr(), false);
        }
    }
}

/// What is kept is analysed, planned and made ready again where it is used next, expressions of PL/pgSQL in the middle
/// of a transaction too. Cannot fail.
pub fn make_ready_anew() {
    // SAFETY: marks entries of the backend's own table.
    unsafe { raw::ResetPlanCache() }
}
