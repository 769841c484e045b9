//! The server log (utils/elog.h): writing into it, and what lines of it are made of.

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{compat, raw, text};
use crate::log_prefix::Client;

unsafe extern "C-unwind" {
    // utils/elog.h, without the guard of pgrx's bindings
    fn errstart(level: i32, domain: *const c_char) -> bool;
    fn errmsg_internal(format: *const c_char, ...) -> i32;
    fn errhidestmt(hide: bool) -> i32;
    fn errhidecontext(hide: bool) -> i32;
    fn errfinish(file: *const c_char, line: i32, function: *const c_char);
    // It writes into a pipe and does nothing else.
    fn write_pipe_chunks(data: *mut c_char, length: i32, destination: i32);
    // utils/error/elog.c
    static mut redirection_done: bool;
    // libintl.h, part of the C library
    #[cfg(target_os = "linux")]
    fn gettext(message: *const c_char) -> *mut c_char;
}

/// While [`report`] writes.
static WRITING: AtomicBool = AtomicBool::new(false);

type EmitLog = unsafe extern "C-unwind" fn(*mut pg_sys::ErrorData);

/// The hook that hears of what is written into the log, where no other had been installed before it.
static ONLY: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Once, in the postmaster.
pub fn heard_only_by(hook: EmitLog) {
    ONLY.store(hook as *mut (), Ordering::Relaxed);
}

/// Does nobody else hear of what is written into the log?
fn hears_alone() -> bool {
    // SAFETY: a read of a function pointer; single-threaded.
    unsafe { pg_sys::emit_log_hook }
        .is_some_and(|hook| hook as *mut () == ONLY.load(Ordering::Relaxed))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Log,
    Warning,
}

/// Is the message that PostgreSQL is about to write one of [`report`]?
pub fn is_writing() -> bool {
    WRITING.load(Ordering::Relaxed)
}

/// Has PostgreSQL write a terminated line. Not to the client, without CONTEXT and STATEMENT.
pub fn report(level: Level, line: &[u8]) {
    // SAFETY: the line is terminated. Context callbacks, which could fail, are not called; nor are
    // interrupts taken, so that nothing short of a lack of memory raises an error.
    unsafe {
        let writing = WRITING.swap(true, Ordering::Relaxed);
        let contexts = pg_sys::error_context_stack;
        let wanted = pg_sys::client_min_messages;
        pg_sys::InterruptHoldoffCount += 1;
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            let level = match level {
                Level::Log => PgLogLevel::LOG_SERVER_ONLY,
                // There is no such level for the server only.
                Level::Warning => PgLogLevel::WARNING,
            };
            pg_sys::error_context_stack = std::ptr::null_mut();
            pg_sys::client_min_messages = PgLogLevel::ERROR as i32;
            let begun = errstart(level as i32, std::ptr::null());
            pg_sys::client_min_messages = wanted;
            if begun {
                errmsg_internal(c"%s".as_ptr(), line.as_ptr().cast::<c_char>());
                errhidestmt(true);
                errhidecontext(true);
                errfinish(std::ptr::null(), 0, std::ptr::null());
            }
        });
        pg_sys::error_context_stack = contexts;
        WRITING.store(writing, Ordering::Relaxed);
        pg_sys::InterruptHoldoffCount -= 1;
    }
}

/// Does the log go to stderr alone, and does nobody else hear of it?
pub fn is_plain() -> bool {
    // SAFETY: reads of backend globals.
    unsafe {
        pg_sys::Log_destination == pg_sys::LOG_DESTINATION_STDERR as i32
            && pg_sys::Log_error_verbosity < pg_sys::PGErrorVerbosity::PGERROR_VERBOSE as i32
            && hears_alone()
    }
}

/// Are messages of level LOG written, as `is_log_level_output` has it?
pub fn is_wanted() -> bool {
    let least = compat::least_to_log();
    least == PgLogLevel::LOG as i32 || least <= PgLogLevel::ERROR as i32
}

/// To the collector, if there is one, else to stderr, in one piece; false when it is too long for the collector.
pub fn send(line: &mut [u8]) -> bool {
    // SAFETY: a read of a backend global; the bytes are valid. What cannot be written cannot be reported either.
    unsafe {
        if !redirection_done {
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
            return true;
        }
        let Ok(length) = i32::try_from(line.len()) else {
            return false;
        };
        let destination = pg_sys::LOG_DESTINATION_STDERR as i32;
        write_pipe_chunks(line.as_mut_ptr().cast(), length, destination);
    }
    true
}

/// `log_line_prefix`, and what it may name of the client; empty without it.
pub fn with_prefix<R>(look: impl FnOnce(&[u8], Option<Client<'_>>) -> R) -> R {
    // SAFETY: reads of backend globals; terminated strings or NULL, not changed meanwhile.
    unsafe {
        let port = compat::Port::current();
        let client = port.as_ref().map(|port| Client {
            user: port.user().unwrap_or_default(),
            database: port.database().unwrap_or_default(),
            application: bytes(pg_sys::application_name),
        });
        look(bytes(pg_sys::Log_line_prefix), client)
    }
}

/// `lc_messages`, and the encoding of messages, which changes when the session gets to its database.
pub fn with_language<R>(look: impl FnOnce(&[u8], i32) -> R) -> R {
    // SAFETY: terminated, or NULL; reads of backend globals.
    unsafe { look(bytes(pg_sys::locale_messages), raw::GetMessageEncoding()) }
}

/// # Safety
/// NULL, or a terminated string that outlives the use of the result.
unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: by contract.
    unsafe { text::bytes(text) }.unwrap_or_default()
}

/// `log_timezone`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Zone(*mut pg_sys::pg_tz);

impl Zone {
    pub const NONE: Self = Self(std::ptr::null_mut());

    pub fn current() -> Self {
        // SAFETY: a read of a backend global, which is set up before log_line_prefix is.
        Self(unsafe { pg_sys::log_timezone })
    }

    /// As `pg_strftime` formats it.
    pub fn formatted(self, second: i64, format: &CStr) -> Vec<u8> {
        let mut text = vec![0_u8; 128];
        // SAFETY: a valid zone; pg_strftime writes at most as much as there is room for, and says how much.
        let length = unsafe {
            let time = pg_sys::pg_localtime(&second, self.0);
            pg_sys::pg_strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), time)
        };
        text.truncate(length as usize);
        text
    }
}

/// As PostgreSQL's messages have it; `None` where that cannot be known.
pub fn translated(word: &CStr) -> Option<Vec<u8>> {
    #[cfg(target_os = "linux")]
    // SAFETY: terminated; the result is too, and belongs to the C library, or is the word itself.
    unsafe {
        Some(bytes(gettext(word.as_ptr())).to_owned())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = word;
        None
    }
}
