//! Setting what [`PINNED`] lists, for the length of a piece of work.

use std::cell::OnceCell;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::{compat, setting};
use crate::pinned::PINNED;

struct Pin {
    setting: *const pg_sys::config_generic,
    name: &'static CStr,
    value: &'static CStr,
}

thread_local! {
    static PINS: OnceCell<Vec<Pin>> = const { OnceCell::new() };
}

/// Pins them all in the current nest level, which undoes it: a load and a branch for each that nobody has set.
/// Inside a transaction, in a nest level of the caller's.
pub fn pin() {
    PINS.with(|pins| {
        for pin in pins.get_or_init(find) {
            // SAFETY: PostgreSQL's own settings stay where they are for as long as the process.
            if unsafe { (*pin.setting).source } > pg_sys::GucSource::PGC_S_GLOBAL {
                set(pin.name, pin.value);
            }
        }
    });
    set(c"search_path", c"pg_catalog, pg_temp");
}

fn find() -> Vec<Pin> {
    let settings = compat::settings();
    let pin = |&(name, value): &(&'static CStr, &'static CStr)| {
        // SAFETY: each has a terminated name.
        let found = settings
            .iter()
            .find(|&&setting| unsafe { CStr::from_ptr((*setting).name) } == name);
        found.map(|&setting| Pin {
            setting,
            name,
            value,
        })
    };
    PINNED.iter().filter_map(pin).collect()
}

fn set(name: &CStr, value: &CStr) {
    let action = pg_sys::GucAction::GUC_ACTION_SAVE;
    setting::change(name, Some(value), pg_sys::GucContext::PGC_SUSET, action, 0);
}
