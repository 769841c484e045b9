//! The server log's own state.

use std::ffi::c_char;

use pgrx::pg_sys;

mod log_globals {
    use std::ffi::c_char;

    unsafe extern "C" {
        // utils/error/elog.c
        pub static mut redirection_done: bool;
    }
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

/// `log_min_messages` of this process.
pub fn least_to_log() -> i32 {
    let all = &raw const pg_sys::log_min_messages;
    // SAFETY: reads of backend globals; from 19 on it is an array with one for each type of process, of a length that
    // its declaration does not say.
    unsafe {
        #[cfg(not(feature = "pg19"))]
        return *all;
        #[cfg(feature = "pg19")]
        *all.cast::<i32>().add(pg_sys::MyBackendType as usize)
    }
}

/// Hands a line to the logging collector; false for one that is too long for it.
pub fn write_to_log_collector(line: &mut [u8]) -> bool {
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

/// `lc_messages`: terminated, or NULL.
pub fn language_of_messages() -> *const c_char {
    // SAFETY: a read of a backend global.
    unsafe { pg_sys::locale_messages }
}
