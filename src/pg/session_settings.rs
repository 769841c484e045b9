//! What a session, and a transaction in it, has set for itself.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::{compat, setting};

/// Makes every SET of this transaction a SET LOCAL, so that the commit undoes it. Returns the names of
/// those that have set something else than what there was; a RESET is none of them. Those that are exempt stay.
///
/// In the outermost level of the transaction, before it commits.
pub fn keep_for_the_transaction(is_exempt: impl Fn(&CStr) -> bool) -> Vec<String> {
    let mut undone = Vec::new();
    compat::changed_settings(|setting| {
        // SAFETY: a valid record with an entry on its stack, which is that of the transaction's own
        // level. Commit releases both values of an entry, whatever its state.
        unsafe {
            let entry = (*setting).stack;
            let is_set = (*entry).state == pg_sys::GucStackState::GUC_SET
                || (*entry).state == pg_sys::GucStackState::GUC_SET_LOCAL;
            if !is_set || is_exempt(name(setting)) {
                return;
            }
            let differs = (*entry).state == pg_sys::GucStackState::GUC_SET
                && (*setting).source == pg_sys::GucSource::PGC_S_SESSION
                && text(setting, &compat::setting_value(setting))
                    != text(setting, &(*entry).prior.val);
            (*entry).state = pg_sys::GucStackState::GUC_LOCAL;
            if differs {
                undone.push(super::text::read(name(setting)).into_owned());
            }
        }
    });
    undone
}

/// What the session has set for itself, without what this transaction has set.
pub fn committed() -> Vec<(CString, CString)> {
    let mut found = Vec::new();
    compat::all_settings(|setting| {
        // SAFETY: a valid record, whose stack is a terminated list of valid entries.
        unsafe {
            let mut first = (*setting).stack;
            while !first.is_null() && !(*first).prev.is_null() {
                first = (*first).prev;
            }
            let (source, value) = if first.is_null() {
                ((*setting).source, compat::setting_value(setting))
            } else {
                ((*first).source, (*first).prior.val)
            };
            if source == pg_sys::GucSource::PGC_S_SESSION
                && let Some(value) = text(setting, &value)
            {
                found.push((name(setting).to_owned(), value));
            }
        }
    });
    found
}

/// The names of all that the session has set for itself.
pub fn names() -> Vec<CString> {
    let mut names = Vec::new();
    compat::all_settings(|setting| {
        // SAFETY: a valid record.
        unsafe {
            if (*setting).source == pg_sys::GucSource::PGC_S_SESSION {
                names.push(name(setting).to_owned());
            }
        }
    });
    names
}

/// What the session has set this one to; `None` without a value of its own.
pub fn of_session(name: &CStr) -> Option<CString> {
    let setting = compat::find_setting(name);
    // SAFETY: NULL, or a valid record.
    unsafe {
        let is_set = !setting.is_null() && (*setting).source == pg_sys::GucSource::PGC_S_SESSION;
        is_set
            .then(|| text(setting, &compat::setting_value(setting)))
            .flatten()
    }
}

/// Gives the session a value that it had; `None` is its default.
pub fn set_back(name: &CStr, value: Option<&CString>) {
    let set = |value| {
        let (context, action) = (
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucAction::GUC_ACTION_SET,
        );
        // At WARNING no error is raised for a value.
        setting::change(name, value, context, action, pg_sys::WARNING)
    };
    // A value that is none any more: the time zone's file is gone, say.
    if value.is_none() || !set(value.map(CString::as_c_str)) {
        set(None);
    }
}

/// # Safety
/// A valid record, for as long as the result is used.
unsafe fn name<'a>(setting: *mut pg_sys::config_generic) -> &'a CStr {
    // SAFETY: by contract; names are terminated.
    unsafe { CStr::from_ptr((*setting).name) }
}

/// A value in the form that SET takes, whatever the unit; `None` for a text that is NULL.
///
/// # Safety
/// A valid record and a value of its type.
unsafe fn text(
    setting: *mut pg_sys::config_generic,
    value: &pg_sys::config_var_val,
) -> Option<CString> {
    use pg_sys::config_type::*;
    // SAFETY: by contract; the names of an enum's values and texts are terminated.
    unsafe {
        match (*setting).vartype {
            PGC_BOOL => Some(if value.boolval { c"on" } else { c"off" }.to_owned()),
            PGC_INT => CString::new(value.intval.to_string()).ok(),
            PGC_REAL => CString::new(value.realval.to_string()).ok(),
            PGC_ENUM => {
                // Of an enum's record before 19, which begins with the other.
                let name = pg_sys::config_enum_lookup_by_value(setting.cast(), value.enumval);
                Some(CStr::from_ptr(name).to_owned())
            }
            _ if value.stringval.is_null() => None,
            _ => Some(CStr::from_ptr(value.stringval).to_owned()),
        }
    }
}
