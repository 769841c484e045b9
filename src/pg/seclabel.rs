//! The security label provider `scope_roles` on roles (design 3.1).

use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use pgrx::prelude::*;

pub const PROVIDER: &CStr = c"scope_roles";

/// Registers the provider, in the postmaster.
pub fn register() {
    // SAFETY: the name is static and the callback has the type that PostgreSQL asks for.
    unsafe { pg_sys::register_label_provider(PROVIDER.as_ptr(), Some(relabel)) }
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
