//! Functions: PostgreSQL's own, and any.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::scan::cached;

/// Is it one of PostgreSQL's own, and such a one, by its name and volatility? Others are granted, or not, by whoever made them.
pub fn is_postgresqls(function: pg_sys::Oid, is_such: impl FnOnce(&[u8], u8) -> bool) -> bool {
    if u32::from(function) >= pg_sys::FirstNormalObjectId {
        return false;
    }
    look(function, |form| {
        // SAFETY: a name is terminated.
        let name = unsafe { CStr::from_ptr(form.proname.data.as_ptr()) };
        is_such(name.to_bytes(), form.provolatile as u8)
    })
    .unwrap_or(false)
}

/// Looks at the row of a function; `None` when there is none. Inside a transaction.
pub fn look<R>(
    function: pg_sys::Oid,
    look: impl FnOnce(&pg_sys::FormData_pg_proc) -> R,
) -> Option<R> {
    // SAFETY: by contract; a row of that catalogue.
    unsafe {
        cached(
            pg_sys::SysCacheIdentifier::PROCOID,
            function,
            |_, form: &pg_sys::FormData_pg_proc| look(form),
        )
    }
}
