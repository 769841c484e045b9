//! Writing lines into the server log.
//!
//! PostgreSQL copies a message four times, once of them one character at a time, and formats the time
//! anew for each line. Where the log is plain text, lines of ours are put together here instead, to the
//! same bytes; everything else, which is not common, is left to PostgreSQL.

use std::cell::RefCell;

use crate::buffer::Buffer;
use crate::log_prefix::{self as prefix, Writer};
use crate::pg::{log, server};

pub use crate::pg::log::Level;

/// Writes a terminated line into the server log, as PostgreSQL writes its own: to stderr, the
/// collector, csvlog, jsonlog or syslog. Not to the client, without CONTEXT and STATEMENT. `now` is the
/// time in Unix microseconds.
pub fn write(level: Level, line: &[u8], now: i64) {
    debug_assert_eq!(line.last(), Some(&0));
    if level == Level::Warning || !wrote(line.strip_suffix(&[0]).unwrap_or(line), now) {
        log::report(level, line);
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
    if !log::is_plain() {
        return false;
    }
    if !log::is_wanted() {
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
    let written = is_whole.is_some() && log::send(&mut line);
    BUFFER.with(|kept| kept.give_back(line));
    written
}

fn write_prefix(line: &mut Vec<u8>, words: &Words, now: i64) -> Option<()> {
    log::with_prefix(|format, client| {
        let writer = Writer {
            pid: &words.pid.1,
            client,
            unknown: &words.unknown,
        };
        prefix::write(line, format, &writer, |line| write_time(line, now))
    })
}

/// The time of the last line, up to its second.
struct Second {
    number: i64,
    zone: log::Zone,
    /// What comes before the milliseconds, and after them.
    parts: [Vec<u8>; 2],
}

impl Second {
    const NONE: Self = Self {
        number: i64::MIN,
        zone: log::Zone::NONE,
        parts: [Vec::new(), Vec::new()],
    };
}

/// As `get_formatted_log_time` (utils/error/elog.c) does.
fn write_time(line: &mut Vec<u8>, micros: i64) {
    let number = micros.div_euclid(1_000_000);
    TIME.with_borrow_mut(|second| {
        let zone = log::Zone::current();
        if second.number != number || second.zone != zone {
            *second = Second {
                number,
                zone,
                parts: [c"%Y-%m-%d %H:%M:%S", c" %Z"].map(|format| zone.formatted(number, format)),
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
        let pid = server::pid();
        let anew = log::with_language(|language, encoding| {
            if self.pid.0 == pid && self.encoding == encoding && self.language == language {
                return None;
            }
            Some((language.to_owned(), encoding))
        });
        if let Some((language, encoding)) = anew {
            *self = Self {
                pid: (pid, pid.to_string().into_bytes()),
                language,
                encoding,
                log: log::translated(c"LOG")?,
                unknown: log::translated(c"[unknown]")?,
            };
        }
        Some(self)
    }
}
