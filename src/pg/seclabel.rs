//! The security label provider `scope_roles` on roles (design 3.1).

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

pub const PROVIDER: &CStr = c"scope_roles";

static REGISTERED: AtomicBool = AtomicBool::new(false);

/// A SECURITY LABEL statement is about to run, for this provider. Ours is registered when it is first
/// named: a statement that names none means the only one there is, and must go on to mean that one.
///
/// # Safety
/// In a backend; NULL or a terminated string.
pub unsafe fn before_statement(provider: *const std::ffi::c_char) {
    // SAFETY: by contract; our name is static and the callback has the type that PostgreSQL asks for.
    unsafe {
        if !provider.is_null()
            && CStr::from_ptr(provider) == PROVIDER
            && !REGISTERED.swap(true, Ordering::Relaxed)
        {
            pg_sys::register_label_provider(PROVIDER.as_ptr(), Some(relabel));
        }
    }
}

/// The label of a role, as its creator wrote it.
pub fn get(role: pg_sys::Oid) -> Option<String> {
    let object = address(role);
    // SAFETY: inside a transaction; GetSecurityLabel copies the label into our memory context.
    unsafe {
        let label = pg_sys::GetSecurityLabel(&object, PROVIDER.as_ptr());
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
    let object = address(role);
    // SAFETY: inside a transaction; the strings outlive the call.
    unsafe {
        pg_sys::SetSecurityLabel(
            &object,
            PROVIDER.as_ptr(),
            label.map_or(std::ptr::null(), |text| text.as_ptr()),
        );
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
    let (class, text) = unsafe {
        let text = if label.is_null() {
            None
        } else {
            Some(CStr::from_ptr(label).to_string_lossy())
        };
        ((*object).classId, text)
    };
    // SAFETY: reads the catalogue inside the statement's transaction.
    let superuser = unsafe { pg_sys::superuser() };
    crate::label::judge(
        class == pg_sys::AuthIdRelationId,
        text.as_deref(),
        superuser,
    );
}
