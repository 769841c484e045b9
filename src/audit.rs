//! The audit trail: one JSON object a line in the server log (docs/design.md, "The record", `docs/audit.md`).
//!
//! Nothing here raises an error, so that it may be called on every path, commits and aborts
//! included. Events that a rollback undoes wait for the end of their transaction.

pub mod class;
pub mod event;
mod floods;
pub mod line;
mod log;
mod notification;
pub mod redact;
pub mod retention;
pub mod running;
mod session;
pub mod setting;
pub mod watched;

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::attention::LINE;
use crate::buffer::Buffer;
use crate::error::{self, Report};
use crate::log_line::{self, Level};
use crate::pg::{clock, identity, server, xact};
use crate::session::{gate, switch_state};
use crate::timestamp::Second;
use crate::waiting;
pub use class::Class;
pub use event::{Action, Event, Fields, Problem};
pub use line::{Line, Value};

/// What every line begins with.
pub const PREFIX: &str = "scope_roles audit: ";
/// What separates lines for a reader with universal newlines, and what moves or hides on a terminal. Not the
/// newline: PostgreSQL puts a tab behind it.
fn is_separator(text: &[u8]) -> bool {
    match text {
        [b'\t' | b'\n', ..] => false,
        [0x00..=0x1f | 0x7f | 0x85, ..] => true,
        [0xc2, 0x80..=0x9f, ..] | [0xe2, 0x80, 0xa8 | 0xa9, ..] => true,
        _ => false,
    }
}

/// Would a reader take a part of this message for a line of ours?
pub fn forges(text: &[u8]) -> bool {
    let words = PREFIX.trim_ascii().as_bytes();
    let Some(last) = text.windows(words.len()).rposition(|part| part == words) else {
        return false;
    };
    (0..last).any(|place| text.get(place..).is_some_and(is_separator))
}

/// The channel of alerts.
const CHANNEL: &std::ffi::CStr = c"scope_alert";
/// PostgreSQL takes payloads of less than 8,000 bytes.
const MAX_PAYLOAD: usize = 7_999;

thread_local! {
    /// What lines say of a switch's token, and the state of the switch that it belongs to.
    static TOKEN: RefCell<(u64, OfToken)> = RefCell::new((0, OfToken::default()));
    /// What waits for the end of the transaction.
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
    /// The message of the last error, and of which statement.
    static LAST_ERROR: Cell<u64> = const { Cell::new(0) };
    /// The second of the last line.
    static SECOND: RefCell<Second> = RefCell::default();
    /// The buffer of the last line.
    static BUFFER: Buffer = const { Buffer::new() };
}

/// What is written of a token: ready to be put into lines.
#[derive(Debug, Clone, Default)]
pub struct OfToken {
    /// `issuer`, `subject` and `jti`: in every line.
    pub token: Rc<[u8]>,
    /// Who acts for the subject: in the line of the switch.
    pub actors: Rc<[u8]>,
}

/// Is anything waiting for the end of the transaction?
static EXPECTING: &AtomicBool = &LINE.audit_expects;

struct Pending {
    event: &'static str,
    outcome: &'static str,
    subtransaction: u32,
    rest: Vec<u8>,
}

pub fn init() {
    floods::init_shared_memory();
    waiting::told_by(waiting::Trail {
        waiting: pending,
        forget_since,
    });
}

/// Is this class recorded? One load.
#[inline]
pub fn wants(class: Class) -> bool {
    setting::classes() & class as u32 != 0
}

/// Writes the event into the server log, now or, if a rollback would undo it, when its transaction
/// ends. Never to the client.
pub fn record(event: Event<'_>) {
    if event.class().is_none_or(wants) {
        let now = clock::now();
        if is_whole(&event, now) {
            record_at(now, event);
        }
    }
}

/// Is the event written whole? What is refused to somebody without a token could otherwise fill the log.
fn is_whole(event: &Event<'_>, now: i64) -> bool {
    let without_token = || gate::is_closed() && !switch_state::is_locked();
    let kind = match event {
        Event::SwitchRefused { .. } => 0,
        Event::Forgery { .. } => 1,
        Event::LockViolation { .. } if without_token() => 2,
        Event::Denied { .. } if without_token() => 3,
        _ => return true,
    };
    let verdict = floods::next(identity::session_user(), kind, now);
    if let Some(count) = verdict.told {
        let of = event.name();
        record_at(now, Event::Flood { of, count });
    }
    verdict.is_whole
}

/// The same of one that is recorded.
fn record_at(now: i64, event: Event<'_>) {
    if event.is_transactional()
        && let Some(subtransaction) = xact::current_subtransaction()
    {
        let mut rest = Line::part();
        common(&mut rest, now);
        event.write(&mut rest);
        PENDING.with_borrow_mut(|pending| {
            pending.push(Pending {
                event: event.name(),
                outcome: event.outcome(),
                subtransaction,
                rest: rest.into_members(),
            });
        });
        EXPECTING.store(true, Ordering::Relaxed);
        return;
    }
    let level = match event {
        Event::Alert { .. } | Event::Unrecorded { .. } => Level::Warning,
        _ => Level::Log,
    };
    let mut line = Line::begin(BUFFER.with(Buffer::take), PREFIX);
    line.field("event", Value::Text(event.name()));
    line.field("outcome", Value::Text(event.outcome()));
    common(&mut line, now);
    event.write(&mut line);
    let line = line.end();
    log_line::write(level, &line, now);
    BUFFER.with(|kept| kept.give_back(line));
    if let Event::Alert { guard, blocked, .. } = event {
        notify(&event, guard, blocked);
    }
}

/// Records one of our own errors, before it is raised.
pub fn refused<E: Report>(class: Class, error: &E, event: impl FnOnce(Problem<'_>) -> Event<'_>) {
    if wants(class) {
        let message = error.to_string();
        // It is no second event when PostgreSQL reports it.
        is_first(message.as_bytes());
        record(event(Problem {
            sqlstate: &error::sqlstate(error.code()),
            message: message.as_bytes(),
            detail: Some(error.detail().as_bytes()),
        }));
    }
}

/// Is this the first error with this message in what the client has sent? The same again, as in a
/// loop that catches it, is recorded once.
pub fn is_first(message: &[u8]) -> bool {
    let mut hasher = DefaultHasher::new();
    (server::statement_time(), message).hash(&mut hasher);
    let hash = hasher.finish();
    LAST_ERROR.replace(hash) != hash
}

/// Records what an administrator has done: call it where it is done, in its transaction.
/// Also a row of `scope.audit_log`: nothing is given out without it, but what takes away or limits is
/// done all the same.
pub fn administered(action: Action, function: &str, object: &str, fields: Fields<'_>) {
    if !wants(Class::Admin) {
        return;
    }
    let row = log::Row::of(action.name(), function, object, fields);
    if action.needs_its_row(function, fields) {
        row.insert();
    } else if let Err(failure) = waiting::aside(|| row.insert_at_once()) {
        record(Event::Unrecorded {
            function,
            object,
            problem: Problem {
                sqlstate: &error::sqlstate(failure.code),
                message: failure.message.as_bytes(),
                detail: failure.detail.as_deref().map(str::as_bytes),
            },
        });
    }
    record(Event::Admin {
        action,
        function,
        object,
        fields,
    });
}

/// `issuer`, `subject` and `jti` of a token, ready for the lines of its switches.
pub fn token_members(issuer: Option<&str>, subject: Option<&str>, jti: Option<&str>) -> Rc<[u8]> {
    let mut members = Line::part();
    for (key, claim) in [("issuer", issuer), ("subject", subject), ("jti", jti)] {
        members.name(key, claim.map(str::as_bytes));
    }
    members.into_members().into()
}

/// As many of the actors, one on behalf of the other, as are written.
const MOST_ACTORS: usize = 8;

/// `act`, `azp` and `client_id` of a token, ready for the lines of its switches; what it has not is left out.
pub fn actor_members(actors: &[String], azp: Option<&str>, client_id: Option<&str>) -> Rc<[u8]> {
    let mut members = Line::part();
    if let Some(actors) = actors.get(..actors.len().min(MOST_ACTORS))
        && !actors.is_empty()
    {
        members.field("act", Value::Texts(actors));
    }
    for (key, claim) in [("azp", azp), ("client_id", client_id)] {
        members.name(key, claim.map(str::as_bytes));
    }
    members.into_members().into()
}

/// Those of the token of the last switch.
pub fn actors() -> Rc<[u8]> {
    let epoch = switch_state::epoch();
    TOKEN.with_borrow(|(known, of)| {
        if *known == epoch {
            of.actors.clone()
        } else {
            Rc::default()
        }
    })
}

/// A deadline as a field.
pub fn deadline(moment: Option<i64>) -> Value<'static> {
    match moment {
        None | Some(i64::MAX) => Value::Null,
        Some(moment) => Value::Time(moment),
    }
}

/// The switch that has just been made is that of this token.
pub fn switched(token: &OfToken) {
    TOKEN.set((switch_state::epoch(), token.clone()));
}

/// Is there anything to tell at the end of the transaction?
pub fn is_expecting() -> bool {
    EXPECTING.load(Ordering::Relaxed)
}

/// The transaction, or this subtransaction and what was in it, has ended.
pub fn ended(end: End) {
    if !matches!(end, End::Subtransaction(_)) {
        EXPECTING.store(false, Ordering::Relaxed);
    }
    let done: Vec<Pending> = PENDING.with_borrow_mut(|pending| match end {
        End::Subtransaction(aborted) => {
            let first = pending.iter().position(|one| one.subtransaction >= aborted);
            first.map_or_else(Vec::new, |first| pending.split_off(first))
        }
        End::Committed | End::Prepared | End::Aborted => std::mem::take(pending),
    });
    for Pending {
        event,
        outcome,
        rest,
        ..
    } in done
    {
        let outcome = match end {
            End::Committed => outcome,
            End::Prepared => "prepared",
            End::Aborted | End::Subtransaction(_) => "rolled_back",
        };
        let mut line = Line::begin(BUFFER.with(Buffer::take), PREFIX);
        line.field("event", Value::Text(event));
        line.field("outcome", Value::Text(outcome));
        line.members(&rest);
        let line = line.end();
        log_line::write(Level::Log, &line, clock::now());
        BUFFER.with(|kept| kept.give_back(line));
    }
}

/// How many events wait for the end of the transaction.
fn pending() -> usize {
    PENDING.with_borrow(Vec::len)
}

/// Of what is rolled back only to be done again at once, the trail has the outcome.
fn forget_since(pending: usize) {
    PENDING.with_borrow_mut(|all| all.truncate(pending));
}

/// How a transaction has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Committed,
    Prepared,
    Aborted,
    /// The subtransaction of this number has been rolled back.
    Subtransaction(u32),
}

/// The fields that every line has.
fn common(line: &mut Line, now: i64) {
    SECOND.with_borrow_mut(|second| line.time("time", second, now));
    session::write_session(line);
    write_token(line);
    session::write_connection(line);
}

fn write_token(line: &mut Line) {
    if !switch_state::is_locked() {
        return;
    }
    let epoch = switch_state::epoch();
    TOKEN.with_borrow_mut(|(known, of)| {
        if *known != epoch {
            // A rollback has brought a switch back, or this is a parallel worker.
            let token = switch_state::with(|state| members_of(state.claims));
            *of = OfToken {
                token: token.unwrap_or_default(),
                actors: Rc::default(),
            };
            *known = epoch;
        }
        line.members(&of.token);
    });
}

fn members_of(claims: &str) -> Rc<[u8]> {
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap_or_default();
    let claim = |name| claims.get(name).and_then(serde_json::Value::as_str);
    token_members(claim("iss"), claim("sub"), claim("jti"))
}

/// Tells those who LISTEN. Everybody may: what the token says and where the client is stays in the
/// log, where the same time and pid find it.
fn notify(event: &Event<'_>, guard: &str, blocked: bool) {
    let payload = |details: bool| {
        let mut line = Line::begin(Vec::new(), "");
        line.field("event", Value::Text(event.name()));
        line.field("outcome", Value::Text(event.outcome()));
        line.field("time", Value::Time(clock::now()));
        session::write_session(&mut line);
        line.field("pid", Value::Number(server::pid().into()));
        if details {
            event.write(&mut line);
        } else {
            line.field("guard", Value::Text(guard));
            line.field("blocked", Value::Bool(blocked));
        }
        line.end()
    };
    let whole = payload(true);
    let payload = match whole.len() {
        0..=MAX_PAYLOAD => whole,
        _ => payload(false),
    };
    if payload.len() <= MAX_PAYLOAD
        && let Ok(payload) = CString::from_vec_with_nul(payload)
    {
        notification::at_commit(CHANNEL, payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_forgery_is_told_from_mention() {
        for separator in [
            "\r",
            "\u{b}",
            "\u{c}",
            "\u{1c}",
            "\u{1d}",
            "\u{1e}",
            "\u{85}",
            "\u{2028}",
            "\u{2029}",
            "\u{1b}[1G",
            "\u{8}",
        ] {
            let text = format!("x{separator}LOG:  scope_roles audit: {{}}");
            assert!(forges(text.as_bytes()), "{separator:?}");
        }
        assert!(forges(b"x\x85LOG:  scope_roles audit: {}"));
        for text in [
            "scope_roles audit: {}",
            "x\n\tLOG:  scope_roles audit: {}",
            "scope_roles audit\r",
            "\r",
        ] {
            assert!(!forges(text.as_bytes()), "{text:?}");
        }
    }
}
