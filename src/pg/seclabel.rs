//! Security labels on roles, of our two providers (docs/design.md, "What we know of a role is a security label on it").

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

pub const PROVIDER: &CStr = c"scope_roles";

/// Keeps the guards of a role, which need not be ours.
pub const GUARDS: &CStr = c"scope_roles_guard";

/// The label of a role, as its creator wrote it.
pub fn get(role: pg_sys::Oid) -> Option<String> {
    get_of(PROVIDER, role)
}

/// The label that one of our providers has put on a role.
pub fn get_of(provider: &CStr, role: pg_sys::Oid) -> Option<String> {
    let object = address(role);
    // SAFETY: inside a transaction; GetSecurityLabel copies the label into our memory context.
    unsafe {
        let label = pg_sys::GetSecurityLabel(&object, provider.as_ptr());
        if label.is_null() {
            return None;
        }
        let text = CStr::from_ptr(label).to_string_lossy().into_owned();
        pg_sys::pfree(label.cast());
        Some(text)
    }
}

/// Writes (or with `None` removes) the label, without asking the callback: for the extension only.
pub fn set(role: pg_sys::Oid, label: Option<&CString>) {
    set_of(PROVIDER, role, label);
}

/// As [`set`], for one of our providers.
pub fn set_of(provider: &CStr, role: pg_sys::Oid, label: Option<&CString>) {
    let object = address(role);
    // SAFETY: inside a transaction; the strings outlive the call.
    unsafe {
        pg_sys::SetSecurityLabel(
            &object,
            provider.as_ptr(),
            label.map_or(std::ptr::null(), |text| text.as_ptr()),
        );
        pg_sys::CommandCounterIncrement();
    }
    if provider == GUARDS {
        tell_sessions(role);
    }
}

/// Labels have no cache that sessions would hear of: they look again when the role changes, so it
/// counts as changed. The message goes out with the commit, to standbys too.
pub fn tell_sessions(role: pg_sys::Oid) {
    // SAFETY: inside a transaction, as all changes of labels; the row of the cache is released after
    // the last look at it.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::AUTHOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(role));
        if !tuple.is_null() {
            let relation =
                pg_sys::table_open(pg_sys::AuthIdRelationId, pg_sys::AccessShareLock as i32);
            pg_sys::CacheInvalidateHeapTuple(relation, tuple, std::ptr::null_mut());
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            pg_sys::ReleaseSysCache(tuple);
        }
        // No subtransaction may begin before the message has been taken in here, and that is done only
        // after a command that has changed something.
        pg_sys::GetCurrentCommandId(true);
        pg_sys::CommandCounterIncrement();
    }
}

fn address(role: pg_sys::Oid) -> pg_sys::ObjectAddress {
    pg_sys::ObjectAddress {
        classId: pg_sys::AuthIdRelationId,
        objectId: role,
        objectSubId: 0,
    }
}
