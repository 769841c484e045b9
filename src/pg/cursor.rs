//! Cursors (portals) of this session.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Is there one of this name?
pub fn is_there(name: &CStr) -> bool {
    // SAFETY: looks the name up in the backend's table of portals.
    unsafe { !pg_sys::GetPortalByName(name.as_ptr()).is_null() }
}
