//! A copy of the issuers of databases in shared memory (docs/design.md, "Issuers are known before a database is"): while a client logs in
//! by its token no table can be read.
//!
//! | who | does |
//! | --- | --- |
//! | a commit that changes issuers or their keys | makes what is copied of its database count no more |
//! | a session or worker that reads the issuers of its database | writes them down here |
//! | a login by token | reads; where there is nothing that counts, it has a worker visit the database |
//!
//! On a standby no commit is heard of: what is copied there counts for ten seconds, and so it does for as long after a promotion.

mod arena;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgrx::{pg_shmem_init, pg_sys};
use zeroize::{Zeroize, Zeroizing};

use crate::own_tables;
use crate::pg::shared_table::Table;
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{clock, server, xact};
use crate::wakeup;
use arena::Head;

const SECOND: i64 = 1_000_000;
/// For how long a record counts of which nobody hears when it changes.
const UNHEARD: i64 = 10 * SECOND;
/// From which age on a session that has read the tables writes anew what is there and counts: until when fetched keys hold is told to nobody.
const RENEWED: i64 = 60 * SECOND;
const RENEWED_UNHEARD: i64 = SECOND;

#[derive(Clone, Copy, Default)]
struct Used(usize);

/// Each grows with every commit that changes issuers of one of its databases.
struct Epochs([AtomicU64; BUCKETS]);
const BUCKETS: usize = 64;

impl Default for Epochs {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(1)))
    }
}

static COPY: Table<u8, Used, Epochs> = Table::named(c"scope_roles issuers");

/// This transaction has changed issuers, or their keys.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Reserves the shared memory, of so many bytes; in the postmaster. Hears of commits, in every backend that it will have.
pub fn init_shared_memory(bytes: usize) {
    COPY.set_places(bytes);
    pg_shmem_init!(COPY = ());
    own_tables::tell_of_tokens(changed);
    xact_end::tell::<Transactions>();
}

/// Revocations, or issuers, change when, and only if, this transaction commits: what is copied of issuers counts no more then.
pub fn changed(is_of_issuers: bool) {
    wakeup::tokens_at_commit();
    if is_of_issuers {
        CHANGED.store(true, Ordering::Relaxed);
    }
}

struct Transactions;

impl Ending for Transactions {
    #[inline]
    fn is_awaited(_moment: Moment) -> bool {
        CHANGED.load(Ordering::Relaxed)
    }

    fn at(moment: Moment) {
        match moment {
            Moment::BeforeCommit | Moment::BeforePrepare => return,
            Moment::Committed => {
                if let Some(epoch) = epoch(server::database().into()) {
                    epoch.fetch_add(1, Ordering::SeqCst);
                }
            }
            // COMMIT PREPARED is a statement of its own.
            Moment::Aborted | Moment::Prepared => {}
        }
        CHANGED.store(false, Ordering::Relaxed);
    }
}

/// Nothing that is copied of any database counts any more.
pub fn forget() {
    for epoch in COPY.free().into_iter().flat_map(|epochs| &epochs.0) {
        epoch.fetch_add(1, Ordering::SeqCst);
    }
}

fn epoch(database: u32) -> Option<&'static AtomicU64> {
    COPY.free()?.0.get(database as usize % BUCKETS)
}

fn head_of(database: u32) -> Option<Head> {
    COPY.read(|used, memory| arena::find(memory, used.0, database).map(|(head, _)| head))
        .flatten()
}

fn counts(head: &Head, now: i64) -> bool {
    let is_heard_of = || {
        let epoch = epoch(head.database).map(|epoch| epoch.load(Ordering::SeqCst));
        !server::in_recovery() && epoch == Some(head.epoch)
    };
    match head.is_unheard {
        true => (0..=UNHEARD).contains(&now.saturating_sub(head.at)),
        false => is_heard_of(),
    }
}

/// The state of this database's tables that is about to be read.
#[derive(Clone, Copy)]
pub struct Seen(Head);

/// Before they are read; `None` where what is read may be undone: in a transaction that may have written.
pub fn begin() -> Option<Seen> {
    let database = server::database().into();
    if database == 0 || xact::number().is_some() {
        return None;
    }
    Some(Seen(Head {
        database,
        epoch: epoch(database)?.load(Ordering::SeqCst),
        at: clock::now(),
        is_unheard: server::in_recovery(),
        ends_visit: false,
        wanted: 0,
    }))
}

/// Is what is copied of this database still to be written, or to be written anew?
pub fn is_due(seen: Seen) -> bool {
    head_of(seen.0.database).is_none_or(|head| !is_fresh(&head, seen))
}

fn is_fresh(head: &Head, seen: Seen) -> bool {
    let renewed = match seen.0.is_unheard {
        true => RENEWED_UNHEARD,
        false => RENEWED,
    };
    let now = clock::now();
    counts(head, now) && (0..renewed).contains(&now.saturating_sub(head.at))
}

/// What a session may take for the state of the tables, which it has seen to be there: it hears of every commit that comes after it has begun to
/// listen, and what came before has made the copy count no more. What was changed past their triggers it sees when the copy is renewed.
pub fn instead(seen: Seen) -> Option<Rows> {
    let head = head_of(seen.0.database).filter(|head| is_fresh(head, seen))?;
    match of(seen.0.database.into()) {
        Copied::Rows(rows) if !head.is_unheard && !seen.0.is_unheard => Some(rows),
        _ => None,
    }
}

impl Seen {
    /// By a worker that has done all that it was asked for.
    pub fn at_end_of_visit(self) -> Self {
        let ends_visit = true;
        Self(Head {
            ends_visit,
            ..self.0
        })
    }
}

/// Writes down the rows that have been read.
pub fn put(seen: Seen, rows: &[String]) {
    let bytes: usize = rows.iter().map(|row| row.len().saturating_add(4)).sum();
    // No copy stays where it has grown.
    let mut body = Zeroizing::new(Vec::with_capacity(bytes));
    for row in rows {
        body.extend(u32::try_from(row.len()).unwrap_or(0).to_le_bytes());
        body.extend(row.as_bytes());
    }
    let head = Head {
        wanted: u32::try_from(bytes).unwrap_or(u32::MAX),
        ..seen.0
    };
    let now = clock::now();
    COPY.write(|used, memory| {
        arena::put(memory, &mut used.0, &head, &body, |head| counts(head, now));
    });
}

/// What is copied of a database's issuers.
pub enum Copied {
    /// Nothing that counts.
    Nothing,
    /// They take so many bytes, for which there is no room at all.
    TooMuch(u32),
    Rows(Rows),
}

/// As they were read from the tables; wiped when they are dropped.
pub struct Rows {
    rows: Vec<String>,
    /// When they were.
    pub at: i64,
}

impl Rows {
    pub fn texts(&self) -> &[String] {
        &self.rows
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.rows.zeroize();
    }
}

/// When what counts of a database was read, and whether that was the end of a worker's visit.
pub fn at(database: pg_sys::Oid) -> Option<(i64, bool)> {
    let head = head_of(database.into())?;
    counts(&head, clock::now()).then_some((head.at, head.ends_visit))
}

pub fn of(database: pg_sys::Oid) -> Copied {
    let found = COPY.read(|used, memory| {
        let (head, body) = arena::find(memory, used.0, database.into())?;
        Some((head, Zeroizing::new(body.to_vec())))
    });
    let now = clock::now();
    let Some((head, body)) = found.flatten().filter(|(head, _)| counts(head, now)) else {
        return Copied::Nothing;
    };
    if body.len() != head.wanted as usize {
        return Copied::TooMuch(head.wanted);
    }
    let mut rows = Rows {
        rows: Vec::new(),
        at: head.at,
    };
    let mut rest = body.as_slice();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((row, behind)) = behind.split_at_checked(length) else {
            break;
        };
        rows.rows.push(String::from_utf8_lossy(row).into_owned());
        rest = behind;
    }
    Copied::Rows(rows)
}
