//! The server log's own state.

use std::ffi::c_char;

#[cfg(not(feature = "pg14"))]
use pgrx::pg_sys;

mod log_globals {
    use std::ffi::c_char;

    unsafe extern "C" {
        // utils/error/elog.c
        pub static mut redirection_done: bool;
        // utils/pg_locale.h
        pub static mut locale_messages: *mut c_char;
    }
    #[cfg(not(feature = "pg14"))]
    unsafe extern "C-unwind" {
        // utils/elog.h, without the guard of pgrx's bindings: it writes into a pipe and does nothing else
        pub fn write_pipe_chunks(data: *mut c_char, length: i32, destination: i32);
    }
}

/// Does the server log go through the logging collector?
pub fn has_log_collector() -> bool {
    // SAFETY: a read of a backend global.
    unsafe { log_globals::redirection_done }
}

/// Hands a line to the logging collector; false where only PostgreSQL itself can (14).
pub fn write_to_log_collector(line: &mut [u8]) -> bool {
    #[cfg(feature = "pg14")]
    {
        let _ = line;
        false
    }
    #[cfg(not(feature = "pg14"))]
    {
        let Ok(length) = i32::try_from(line.len()) else {
            return false;
        };
        // SAFETY: the bytes are valid.
        unsafe {
            log_globals::write_pipe_chunks(
                line.as_mut_ptr().cast(),
                length,
                pg_sys::LOG_DESTINATION_STDERR as i32,
            );
        }
        true
    }
}

/// `lc_messages`: terminated, or NULL.
pub fn language_of_messages() -> *const c_char {
    // SAFETY: a read of a backend global.
    unsafe { log_globals::locale_messages }
}
