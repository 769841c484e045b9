//! The setting `scope_roles.audit`: which classes of events are recorded.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::guc::GucSetting;

use super::class::{self, Class};
use crate::attention::LINE;
use crate::pg::checked_setting::{self, Checked, Wrong};
use crate::pg::compat;

static SETTING: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(
    c"login, switch, admin, expire, lock, ddl, denied, export",
));
/// The bits of the classes that are recorded.
static CLASSES: &AtomicU32 = &LINE.audit_classes;

#[inline]
pub fn classes() -> u32 {
    CLASSES.load(Ordering::Relaxed)
}

/// Defines it.
pub fn define() {
    checked_setting::define::<Classes>(
        c"scope_roles.audit",
        c"The classes of events that are written into the server log as JSON.",
        c"Of login, switch, admin, expire, lock, ddl, denied, export and statement, separated by commas; all; none.",
        &SETTING,
    );
}

struct Classes;

impl Checked for Classes {
    const STAYS: bool = false;

    fn check(text: &str) -> Result<(), Wrong> {
        class::parse(text).map(|_| ()).ok_or_else(|| Wrong {
            message: "scope_roles.audit is no list of classes",
            detail: "A class is unknown, or none stands beside others.".into(),
            hint: "Use login, switch, admin, expire, lock, ddl, denied, export and statement, separated by commas, or all, or none.",
        })
    }

    fn when_empty() -> Result<(), Wrong> {
        Self::check("")
    }

    fn assign(text: &str) {
        let bits = class::parse(text).unwrap_or_default();
        if bits & Class::Statement as u32 != 0 {
            compat::enable_query_id();
        }
        CLASSES.store(bits, Ordering::Relaxed);
    }
}
