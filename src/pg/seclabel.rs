//! The security label provider `scope_roles` on roles (design 3.1).

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

pub const PROVIDER: &CStr = c"scope_roles";

/// Keeps the guards of a role, which need not be ours.
pub const GUARDS: &CStr = c"scope_roles_guard";

static REGISTERED: AtomicBool = AtomicBool::new(false);
static GUARDS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// A SECURITY LABEL statement is about to run, for this provider. Ours is registered when it is first
/// named: a statement that names none means the only one there is, and must go on to mean that one.
///
/// # Safety
/// In a backend; NULL or a terminated string.
pub unsafe fn before_statement(provider: *const std::ffi::c_char) {
    // SAFETY: by contract; our name is static and the callback has the type that PostgreSQL asks for.
    unsafe {
        if provider.is_null() {
            return;
        }
        let provider = CStr::from_ptr(provider);
        if provider == PROVIDER && !REGISTERED.swap(true, Ordering::Relaxed) {
            pg_sys::register_label_provider(PROVIDER.as_ptr(), Some(relabel));
        }
        if provider == GUARDS && !GUARDS_REGISTERED.swap(true, Ordering::Relaxed) {
            pg_sys::register_label_provider(GUARDS.as_ptr(), Some(relabel_guards));
        }
    }
}

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

/// Called for `SECURITY LABEL FOR scope_roles …`, before PostgreSQL writes the label.
#[pg_guard]
unsafe extern "C-unwind" fn relabel(
    object: *const pg_sys::ObjectAddress,
    label: *const std::ffi::c_char,
) {
    // SAFETY: PostgreSQL passes a valid object and a terminated string or NULL.
    let (class, role, text) = unsafe {
        let text = if label.is_null() {
            None
        } else {
            Some(CStr::from_ptr(label).to_string_lossy())
        };
        ((*object).classId, (*object).objectId, text)
    };
    // SAFETY: reads the catalogue inside the statement's transaction.
    let superuser = unsafe { pg_sys::superuser() };
    let is_role = class == pg_sys::AuthIdRelationId;
    crate::label::judge(is_role, text.as_deref(), superuser);
    if is_role {
        tell_sessions(role);
    }
}

/// The same for `SECURITY LABEL FOR scope_roles_guard …`.
#[pg_guard]
unsafe extern "C-unwind" fn relabel_guards(
    object: *const pg_sys::ObjectAddress,
    label: *const std::ffi::c_char,
) {
    // SAFETY: PostgreSQL passes a valid object and a terminated string or NULL; inside the
    // statement's transaction.
    unsafe {
        let text = if label.is_null() {
            None
        } else {
            Some(CStr::from_ptr(label).to_string_lossy())
        };
        let is_role = (*object).classId == pg_sys::AuthIdRelationId;
        crate::label::judge_guards(is_role, text.as_deref(), pg_sys::superuser());
        if is_role {
            tell_sessions((*object).objectId);
        }
    }
}
