//! Prepared statements: PostgreSQL looks them up in the backend's own table, and raises no error.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Was it made by PREPARE, not by the protocol? `None` when there is none of this name.
pub fn is_from_sql(name: &CStr) -> Option<bool> {
    // SAFETY: a terminated name; a look-up.
    unsafe {
        let statement = pg_sys::FetchPreparedStatement(name.as_ptr(), false);
        (!statement.is_null()).then(|| (*statement).from_sql)
    }
}

/// Drops one that is there.
pub fn drop(name: &CStr) {
    // SAFETY: a terminated name.
    unsafe { pg_sys::DropPreparedStatement(name.as_ptr(), false) }
}
