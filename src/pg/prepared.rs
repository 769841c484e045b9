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

/// Writes over a statement's text. PostgreSQL runs statements from trees, and needs the text for messages only.
pub fn change_text<R>(name: &CStr, change: impl FnOnce(&mut [u8]) -> R) {
    // SAFETY: a look-up. The text is a terminated copy that belongs to the statement, and nothing else refers to it now.
    unsafe {
        let statement = pg_sys::FetchPreparedStatement(name.as_ptr(), false);
        if statement.is_null() {
            return;
        }
        let text = (*(*statement).plansource).query_string.cast_mut();
        if !text.is_null() {
            let length = libc::strlen(text);
            change(std::slice::from_raw_parts_mut(text.cast(), length));
        }
    }
}
