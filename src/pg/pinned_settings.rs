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

/// Those that this version has.
fn find() -> Vec<Pin> {
    let pins = PINNED.iter().map(|&(name, value)| Pin {
        setting: compat::find_setting(name),
        name,
        value,
    });
    pins.filter(|pin| !pin.setting.is_null()).collect()
}

fn set(name: &CStr, value: &CStr) {
    let action = pg_sys::GucAction::GUC_ACTION_SAVE;
    setting::change(name, Some(value), pg_sys::GucContext::PGC_SUSET, action, 0);
}
