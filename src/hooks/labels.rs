//! The callbacks of the security label providers.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::guard;
use crate::label::{self, GUARDS, PROVIDER, TOKEN_LOGINS};
use crate::pg::seclabel;
use crate::pg::text;

static REGISTERED: AtomicBool = AtomicBool::new(false);
static GUARDS_REGISTERED: AtomicBool = AtomicBool::new(false);
static TOKEN_LOGINS_REGISTERED: AtomicBool = AtomicBool::new(false);

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
        if provider == TOKEN_LOGINS && !TOKEN_LOGINS_REGISTERED.swap(true, Ordering::Relaxed) {
            pg_sys::register_label_provider(TOKEN_LOGINS.as_ptr(), Some(relabel_group));
        }
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
            Some(text::read(CStr::from_ptr(label)))
        };
        ((*object).classId, (*object).objectId, text)
    };
    // SAFETY: reads the catalogue inside the statement's transaction.
    let superuser = unsafe { pg_sys::superuser() };
    let is_role = class == pg_sys::AuthIdRelationId;
    label::judge(is_role, text.as_deref(), superuser);
    if is_role {
        seclabel::tell_sessions(role);
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
            Some(text::read(CStr::from_ptr(label)))
        };
        let is_role = (*object).classId == pg_sys::AuthIdRelationId;
        label::judge_by(
            is_role,
            text.as_deref(),
            pg_sys::superuser(),
            guard::judge_label,
        );
        if is_role {
            seclabel::tell_sessions((*object).objectId);
        }
    }
}

/// The same for `SECURITY LABEL FOR scope_roles_token_logins …`.
#[pg_guard]
unsafe extern "C-unwind" fn relabel_group(
    object: *const pg_sys::ObjectAddress,
    label: *const std::ffi::c_char,
) {
    // SAFETY: as in `relabel_guards`.
    unsafe {
        let text = (!label.is_null()).then(|| text::read(CStr::from_ptr(label)));
        let is_role = (*object).classId == pg_sys::AuthIdRelationId;
        label::judge_by(is_role, text.as_deref(), pg_sys::superuser(), |_| Ok(()));
    }
}
