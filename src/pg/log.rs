//! Writing lines into the server log.
//!
//! PostgreSQL copies a message four times, once of them one character at a time, and formats the time
//! anew for each line. Where the log is plain text, lines of ours are put together here instead, to the
//! same bytes; everything else, which is not common, is left to PostgreSQL.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{compat, raw, text};
use crate::buffer::Buffer;
use crate::log_prefix::{self as prefix, Client, Writer};

unsafe extern "C-unwind" {
    // utils/elog.h, without the guard of pgrx's bindings
    fn errstart(level: i32, domain: *const c_char) -> bool;
    fn errmsg_internal(format: *const c_char, ...) -> i32;
    fn errhidestmt(hide: bool) -> i32;
    fn errhidecontext(hide: bool) -> i32;
    fn errfinish(file: *const c_char, line: i32, function: *const c_char);
    // libintl.h, part of the C library
    #[cfg(target_os = "linux")]
    fn gettext(message: *const c_char) -> *mut c_char;
}

/// While a line of ours is being written.
static WRITING: AtomicBool = AtomicBool::new(false);

/// Who hears of what PostgreSQL writes into the log.
pub trait Heard {
    /// # Safety
    /// A valid error, which PostgreSQL is reporting; owns nothing.
    unsafe fn hear(error: *mut pg_sys::ErrorData);
}

type EmitLog = unsafe extern "C-unwind" fn(*mut pg_sys::ErrorData);
static mut PREVIOUS: pg_sys::emit_log_hook_type = None;
static OURS: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// From now on, before those who were told of it until now. Once, in the postmaster.
pub fn hear<H: Heard>() {
    OURS.store(emit_log::<H> as EmitLog as *mut (), Ordering::Relaxed);
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(emit_log::<H>);
    }
}

unsafe extern "C-unwind" fn emit_log<H: Heard>(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes the error that it is about to write, and is still reporting.
    unsafe {
        H::hear(error);
        if let Some(previous) = PREVIOUS {
            previous(error);
        }
    }
}

/// Does nobody else hear of what is written into the log?
fn hears_alone() -> bool {
    // SAFETY: reads of function pointers; single-threaded.
    unsafe {
        let previous = PREVIOUS;
        previous.is_none()
            && pg_sys::emit_log_hook
                .is_some_and(|hook| hook as *mut () == OURS.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Log,
    Warning,
}

/// Is the message that PostgreSQL is about to write one of ours?
pub fn is_writing() -> bool {
    WRITING.load(Ordering::Relaxed)
}

/// Writes a terminated line into the server log, as PostgreSQL writes its own: to stderr, the
/// collector, csvlog, jsonlog or syslog. Not to the client, without CONTEXT and STATEMENT. `now` is the
/// time in Unix microseconds.
pub fn write(level: Level, line: &[u8], now: i64) {
    debug_assert_eq!(line.last(), Some(&0));
    if level == Level::Log && wrote(line.strip_suffix(&[0]).unwrap_or(line), now) {
        return;
    }
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

thread_local! {
    /// The buffer of the last line.
    static BUFFER: Buffer = const { Buffer::new() };
    static TIME: RefCell<Second> = const { RefCell::new(Second::NONE) };
    static WORDS: RefCell<Words> = const { RefCell::new(Words::NONE) };
}

/// Writes the line as `send_message_to_server_log` (utils/error/elog.c) does; false when that is to do
/// it. Without memory the process ends, as everywhere in Rust.
fn wrote(text: &[u8], now: i64) -> bool {
    // SAFETY: reads of backend globals.
    let (is_plain, is_wanted) = unsafe {
        let least = pg_sys::log_min_messages;
        (
            pg_sys::Log_destination == pg_sys::LOG_DESTINATION_STDERR as i32
                && pg_sys::Log_error_verbosity < pg_sys::PGErrorVerbosity::PGERROR_VERBOSE as i32
                && hears_alone(),
            // As `is_log_level_output` has it for LOG.
            least == PgLogLevel::LOG as i32 || least <= PgLogLevel::ERROR as i32,
        )
    };
    if !is_plain {
        return false;
    }
    if !is_wanted {
        return true;
    }
    let mut line = BUFFER.with(Buffer::take);
    line.clear();
    let is_whole = WORDS.with_borrow_mut(|words| {
        let words = words.current()?;
        write_prefix(&mut line, words, now)?;
        line.extend_from_slice(&words.log);
        line.extend_from_slice(b":  ");
        line.extend_from_slice(text);
        line.push(b'\n');
        Some(())
    });
    let written = is_whole.is_some() && send(&mut line);
    BUFFER.with(|kept| kept.give_back(line));
    written
}

/// To the collector, if there is one, else to stderr, in one piece.
fn send(line: &mut [u8]) -> bool {
    if compat::has_log_collector() {
        return compat::write_to_log_collector(line);
    }
    // SAFETY: the bytes are valid. What cannot be written cannot be reported either.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
    }
    true
}

fn write_prefix(line: &mut Vec<u8>, words: &Words, now: i64) -> Option<()> {
    // SAFETY: reads of backend globals; terminated strings or NULL, not changed meanwhile.
    unsafe {
        let format = pg_sys::Log_line_prefix;
        if format.is_null() {
            return Some(());
        }
        let port = pg_sys::MyProcPort;
        let client = (!port.is_null()).then(|| Client {
            user: bytes(compat::port_user(port)),
            database: bytes(compat::port_database(port)),
            application: bytes(pg_sys::application_name),
        });
        let writer = Writer {
            pid: &words.pid.1,
            client,
            unknown: &words.unknown,
        };
        prefix::write(line, bytes(format), &writer, |line| write_time(line, now))
    }
}

/// # Safety
/// NULL, or a terminated string that outlives the use of the result.
unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: by contract.
    unsafe { text::bytes(text) }.unwrap_or_default()
}

/// The time of the last line, up to its second.
struct Second {
    number: i64,
    zone: *mut pg_sys::pg_tz,
    /// What comes before the milliseconds, and after them.
    parts: [Vec<u8>; 2],
}

impl Second {
    const NONE: Self = Self {
        number: i64::MIN,
        zone: std::ptr::null_mut(),
        parts: [Vec::new(), Vec::new()],
    };
}

/// As `get_formatted_log_time` (utils/error/elog.c) does.
fn write_time(line: &mut Vec<u8>, micros: i64) {
    let number = micros.div_euclid(1_000_000);
    TIME.with_borrow_mut(|second| {
        // SAFETY: a read of a backend global, which is set up before log_line_prefix is.
        let zone = unsafe { pg_sys::log_timezone };
        if second.number != number || second.zone != zone {
            *second = Second {
                number,
                zone,
                parts: [c"%Y-%m-%d %H:%M:%S", c" %Z"].map(|format| formatted(number, zone, format)),
            };
        }
        let [before, after] = &second.parts;
        let millis = micros.rem_euclid(1_000_000) / 1_000;
        line.extend_from_slice(before);
        line.push(b'.');
        line.extend([100, 10, 1].map(|unit| b'0' + (millis / unit % 10) as u8));
        line.extend_from_slice(after);
    });
}

fn formatted(second: i64, zone: *mut pg_sys::pg_tz, format: &CStr) -> Vec<u8> {
    let mut text = vec![0_u8; 128];
    // SAFETY: a valid zone; pg_strftime writes at most as much as there is room for, and says how much.
    let length = unsafe {
        let time = pg_sys::pg_localtime(&second, zone);
        pg_sys::pg_strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), time)
    };
    text.truncate(length as usize);
    text
}

/// What is the same in most lines of a process: what PostgreSQL translates, in the language of
/// `lc_messages`, and the process id.
struct Words {
    pid: (i32, Vec<u8>),
    language: Vec<u8>,
    /// Changes when the session gets to its database.
    encoding: i32,
    log: Vec<u8>,
    unknown: Vec<u8>,
}

impl Words {
    const NONE: Self = Self {
        pid: (0, Vec::new()),
        language: Vec::new(),
        encoding: -1,
        log: Vec::new(),
        unknown: Vec::new(),
    };

    /// `None` where they cannot be known.
    fn current(&mut self) -> Option<&Self> {
        // SAFETY: terminated, or NULL; a plain read of a backend global.
        let (language, encoding, pid) = unsafe {
            (
                bytes(compat::language_of_messages()),
                raw::GetMessageEncoding(),
                pg_sys::MyProcPid,
            )
        };
        if self.pid.0 != pid || self.encoding != encoding || self.language != language {
            *self = Self {
                pid: (pid, pid.to_string().into_bytes()),
                language: language.to_owned(),
                encoding,
                log: translated(c"LOG")?,
                unknown: translated(c"[unknown]")?,
            };
        }
        Some(self)
    }
}

fn translated(word: &CStr) -> Option<Vec<u8>> {
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
