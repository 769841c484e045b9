//! Asking the client for a password in clear, and receiving it (libpq/auth.h, libpq/libpq.h), while it logs in.

use std::ffi::{c_char, c_int};
use std::ptr::null;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use zeroize::Zeroizing;

/// AuthenticationCleartextPassword (PostgreSQL documentation, section 55.7).
const AUTH_REQ_PASSWORD: u32 = 3;
/// PG_MAX_AUTH_TOKEN_LENGTH
const MAX_BYTES: c_int = 65_535;
const EOF: c_int = -1;

unsafe extern "C-unwind" {
    fn sendAuthRequest(port: *mut pg_sys::Port, request: u32, extra: *const c_char, length: c_int);
    fn pq_startmsgread();
    fn pq_getbyte() -> c_int;
    fn pq_getmessage(into: pg_sys::StringInfo, max: c_int) -> c_int;
}

/// What the client answers. The process ends, without a word, where it hangs up or sends more than PostgreSQL takes as a password; FATAL where it sends
/// something else. PostgreSQL's authentication_timeout runs.
pub fn ask() -> Zeroizing<Box<str>> {
    // SAFETY: in a backend whose client is logging in, which waits for an answer to each request; the buffer is one that PostgreSQL has made.
    let said = unsafe {
        sendAuthRequest(pg_sys::MyProcPort, AUTH_REQ_PASSWORD, null(), 0);
        pq_startmsgread();
        match pq_getbyte() {
            EOF => pg_sys::proc_exit(0),
            kind if kind == c_int::from(b'p') => {}
            _ => fatal("expected password response"),
        }
        let buffer = pg_sys::makeStringInfo();
        if pq_getmessage(buffer, MAX_BYTES) != 0 {
            pg_sys::proc_exit(0);
        }
        let bytes = std::slice::from_raw_parts_mut(
            (*buffer).data.cast::<u8>(),
            usize::try_from((*buffer).len).unwrap_or(0),
        );
        let said = match bytes.split_last() {
            Some((0, text)) if !text.contains(&0) => str::from_utf8(text).ok().map(Into::into),
            _ => None,
        };
        zeroize::Zeroize::zeroize(bytes);
        said
    };
    // What is no UTF-8 is no token either.
    Zeroizing::new(said.unwrap_or_default())
}

fn fatal(message: &'static str) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
        message,
        function_name!(),
    )
    .report(PgLogLevel::FATAL);
}
