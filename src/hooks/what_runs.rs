//! What is running: its tag, its text, its number.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    // tcop/utility.h
    fn CreateCommandTag(statement: *mut pg_sys::Node) -> pg_sys::CommandTag::Type;
    fn GetCommandTagName(tag: pg_sys::CommandTag::Type) -> *const c_char;
    fn GetCommandLogLevel(statement: *mut pg_sys::Node) -> u32;
}

/// `LOGSTMT_DDL` (tcop/tcopprot.h).
const DDL: u32 = 1;

/// Does it change objects, so that `log_statement = 'ddl'` would log it?
///
/// # Safety
/// A valid statement.
pub unsafe fn is_ddl(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe { GetCommandLogLevel(statement) == DDL }
}

/// Which command it is.
///
/// # Safety
/// A valid statement.
pub unsafe fn tag_of(statement: *mut pg_sys::Node) -> &'static str {
    // SAFETY: by contract; the names are constants in ASCII.
    unsafe {
        CStr::from_ptr(GetCommandTagName(CreateCommandTag(statement)))
            .to_str()
            .unwrap_or_default()
    }
}

/// The command that is being run; not while it is still being analysed.
pub fn tag() -> Option<&'static str> {
    // SAFETY: NULL, or the portal that is running; the names are constants in ASCII.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if portal.is_null() {
            return None;
        }
        CStr::from_ptr(GetCommandTagName((*portal).commandTag))
            .to_str()
            .ok()
    }
}

/// Of what the client has sent, if the server computes it and has come so far.
pub fn sent_query_id() -> Option<i64> {
    // SAFETY: a read of this backend's own entry.
    let id = unsafe { pg_sys::pgstat_get_my_query_id() } as i64;
    (id != 0).then_some(id)
}

/// What the client has sent, as it came, up to so many bytes.
pub fn sent_text(most: usize) -> Option<String> {
    // SAFETY: NULL, or the terminated text of the statement that runs.
    unsafe {
        let text = pg_sys::debug_query_string;
        if text.is_null() {
            return None;
        }
        let text = CStr::from_ptr(text).to_bytes();
        let text = text.get(..most).unwrap_or(text);
        Some(String::from_utf8_lossy(text).trim().to_owned())
    }
}

/// Does a function run that a function call of the protocol, and no statement, has asked for?
pub fn is_function_call() -> bool {
    // SAFETY: plain reads of backend globals.
    unsafe { pg_sys::ActivePortal.is_null() && pg_sys::debug_query_string.is_null() }
}
