//! The statements that run in this session, to be recorded when they end, however they end.

use std::cell::RefCell;

use super::event::Event;
use super::{Class, Line, clock, record, record_at, wants};
use crate::buffer::Buffer;

pub struct Running {
    /// Which one, for whoever ends it.
    pub key: usize,
    /// Utility statements outlive the transactions that they end themselves.
    pub is_utility: bool,
    /// 1 for what the client has sent, more for what runs inside it.
    pub depth: usize,
    pub subtransaction: u32,
    pub started: i64,
    /// `tag`, `reads`, `writes`, `query_id` and `text`, when statements are recorded.
    pub statement: Option<Vec<u8>>,
    /// `tag` and `objects` of DDL, when that is.
    pub ddl: Option<Vec<u8>>,
    pub rows: i64,
}

thread_local! {
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
    /// The buffer of the last statement.
    static BUFFER: Buffer = const { Buffer::new() };
}

pub fn begin(statement: Running) {
    RUNNING.with_borrow_mut(|running| {
        // Whoever had this address before did not tell its end.
        running.retain(|other| other.key != statement.key);
        running.push(statement);
    });
}

/// A part of its rows has been processed.
pub fn add_rows(key: usize, rows: u64) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(one) = running.iter_mut().rev().find(|one| one.key == key) {
            one.rows = one.rows.saturating_add_unsigned(rows);
        }
    });
}

pub fn end(key: usize) {
    let found = RUNNING.with_borrow_mut(|running| {
        let place = running.iter().rposition(|one| one.key == key)?;
        Some(running.remove(place))
    });
    if let Some(one) = found {
        tell(&one, false);
        if let Some(buffer) = one.statement {
            BUFFER.with(|kept| kept.give_back(buffer));
        }
    }
}

/// The transaction ends; `depth` statements are still running. The others have failed.
pub fn transaction_ended(depth: usize) {
    forget(|one| !one.is_utility || one.depth > depth);
}

/// A subtransaction has been rolled back, and what was in it.
pub fn subtransaction_aborted(subtransaction: u32) {
    forget(|one| one.subtransaction >= subtransaction);
}

fn forget(mut has_failed: impl FnMut(&Running) -> bool) {
    if RUNNING.with_borrow(Vec::is_empty) {
        return;
    }
    let failed: Vec<Running> = RUNNING.with_borrow_mut(|running| {
        let (failed, left) = std::mem::take(running)
            .into_iter()
            .partition(|one| has_failed(one));
        *running = left;
        failed
    });
    // The inner one first, as they would have ended.
    for one in failed.iter().rev() {
        tell(one, true);
    }
}

fn tell(one: &Running, failed: bool) {
    if let Some(members) = &one.statement
        && wants(Class::Statement)
    {
        let now = clock::now();
        let event = Event::Statement {
            members,
            rows: (!failed).then_some(one.rows),
            micros: now.saturating_sub(one.started),
            depth: i64::try_from(one.depth).unwrap_or(i64::MAX),
            failed,
        };
        record_at(now, event);
    }
    if let Some(members) = &one.ddl
        && !failed
    {
        record(Event::Ddl { members });
    }
}

/// Is anything to be known of statements at all?
#[inline]
pub fn is_wanted() -> bool {
    wants(Class::Statement) || wants(Class::Ddl)
}

pub fn members(write: impl FnOnce(&mut Line)) -> Vec<u8> {
    let mut line = Line::part_in(BUFFER.with(Buffer::take));
    write(&mut line);
    line.into_members()
}
