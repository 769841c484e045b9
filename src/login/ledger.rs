//! Login facts: noted at each login in shared memory, kept in a file by the launcher, shown by SQL.
//!
//! The launcher adds the file's facts to those in memory when the server has started, writes all to
//! the file a few seconds after a change, and takes out the roles that are gone or have no label any more. A crash loses what
//! is younger than the file. A standby keeps its own.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::memory;
use super::record::Record;
use crate::access::PG_MONITOR;
use crate::admission::Client;
use crate::admission::refusal::Refusal;
use crate::authority;
use crate::label;
use crate::login_facts::{Entry, Facts};
use crate::pg::{catalog, clock, exit, identity, server};
use crate::wakeup;

/// In the data folder, where the statistics of PostgreSQL are kept.
const FILE: &str = "pg_stat/scope_roles_logins";
const NEW_FILE: &str = "pg_stat/scope_roles_logins.new";
/// A server that has it starts as a standby, or is one.
const STANDBY: &str = "standby.signal";
/// Between two writes.
const PAUSE: Duration = Duration::from_secs(5);
/// Writing takes at most this part of the time.
const SHARE: u32 = 50;
const NOTHING_TO_DO: Duration = Duration::from_secs(24 * 60 * 60);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Notes a login that was let in.
pub fn admitted(role: pg_sys::Oid, now: i64, client: Client) {
    note(role, now, |facts| facts.admit(now, client));
}

/// Notes one that was not.
pub fn refused(role: pg_sys::Oid, now: i64, refusal: Refusal) {
    note(role, now, |facts| facts.refuse(now, refusal));
}

fn note(role: pg_sys::Oid, now: i64, change: impl FnOnce(&mut Facts)) {
    if memory::update(role, now, change) {
        wakeup::wake();
    }
}

/// The launcher's part.
pub struct Ledger {
    /// Not before then.
    next: Option<Instant>,
    /// A problem has been told of and goes on.
    is_failing: bool,
    /// It has been told that the table is full.
    is_full: bool,
}

impl Ledger {
    /// Adds the file's facts to those in memory, once.
    pub fn open() -> Self {
        let ledger = Ledger {
            next: None,
            is_failing: false,
            is_full: false,
        };
        exit::before(save_at_exit);
        if !memory::is_kept() {
            // Whoever turns them on again begins anew.
            let _ = fs::remove_file(FILE);
        }
        if memory::set_loaded() {
            return ledger;
        }
        let is_standby = is_standby();
        let mut since = 0;
        match read() {
            Ok(Some(record)) => {
                memory::add(&record.entries, record.lost);
                // A standby has not seen who came to the primary.
                if record.of_standby == is_standby {
                    since = record.since;
                }
            }
            Ok(None) => {}
            Err(problem) => {
                warning!("scope_roles: the login facts in \"{FILE}\" are ignored: {problem}");
            }
        }
        if since == 0 {
            begin(is_standby);
        } else {
            memory::set_since(since, is_standby);
        }
        ledger
    }

    /// Writes the file if it is time; how long until it may be again.
    pub fn tend(&mut self) -> Duration {
        let is_standby = is_standby();
        if memory::since(is_standby) == 0 && memory::is_kept() {
            begin(is_standby);
        }
        if !memory::is_changed() {
            return NOTHING_TO_DO;
        }
        let started = Instant::now();
        if let Some(rest) = self
            .next
            .map(|next| next.saturating_duration_since(started))
            && !rest.is_zero()
        {
            return rest;
        }
        match save(false) {
            Ok(lost) => {
                self.is_failing = false;
                if lost > 0 && !self.is_full {
                    warning!(
                        "scope_roles: there is no room for the login facts of more roles; scope_roles.login_facts is too low"
                    );
                    self.is_full = true;
                }
            }
            Err(problem) => {
                if !self.is_failing {
                    warning!("scope_roles: \"{FILE}\" cannot be written: {problem}");
                }
                self.is_failing = true;
            }
        }
        let pause = PAUSE.max(started.elapsed().saturating_mul(SHARE));
        self.next = Some(Instant::now() + pause);
        if memory::is_changed() {
            pause
        } else {
            NOTHING_TO_DO
        }
    }
}

/// Counts from now on.
fn begin(is_standby: bool) {
    memory::set_since(clock::now(), is_standby);
    memory::set_changed(true);
}

fn is_standby() -> bool {
    Path::new(STANDBY).exists()
}

/// Takes out all but those who had a label when the catalogue was read, at the given time. One that
/// has logged in since is newer.
pub fn keep_only(labelled: &HashSet<u32>, read_at: i64) {
    let Some((entries, _)) = memory::copy(false) else {
        return;
    };
    let before = read_at.saturating_sub(MICROS_PER_SECOND);
    let is_gone =
        |entry: &&Entry| !labelled.contains(&entry.role) && entry.facts.last_seen() < before;
    let gone: Vec<u32> = entries
        .iter()
        .filter(is_gone)
        .map(|entry| entry.role)
        .collect();
    if !gone.is_empty() {
        memory::remove(&gone);
        memory::set_changed(true);
    }
}

fn save_at_exit() {
    if memory::is_changed() {
        // Whoever reads the log learns of it at the next start.
        let _ = save(true);
    }
}

/// How many logins have found no room.
fn save(at_once: bool) -> io::Result<u64> {
    // In this order: what comes later is a change again.
    memory::set_changed(false);
    let Some((entries, lost)) = memory::copy(at_once) else {
        return Ok(0);
    };
    let record = Record {
        of_standby: is_standby(),
        since: memory::since(is_standby()),
        lost,
        entries,
    };
    write(&record.to_bytes()).inspect_err(|_| {
        memory::set_changed(true);
    })?;
    Ok(lost.count)
}

/// All or nothing, also if the machine fails meanwhile.
fn write(bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(NEW_FILE)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(NEW_FILE, FILE)?;
    let folder = Path::new(FILE).parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// `None` when there is none of this server's.
fn read() -> Result<Option<Record>, String> {
    let bytes = match fs::read(FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let record = Record::parse(&bytes).map_err(|problem| problem.to_string())?;
    // The primary's, which came with the backup that the standby was made of.
    let is_foreign = !record.of_standby && is_standby();
    Ok((!is_foreign).then_some(record))
}

/// The login facts of all roles. Documented in `sql/login.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn login_facts() -> TableIterator<
    'static,
    (
        name!(role, Option<pg_sys::Oid>),
        name!(logins, i64),
        name!(last_login, Option<TimestampWithTimeZone>),
        name!(last_address, Option<String>),
        name!(last_refusal, Option<TimestampWithTimeZone>),
        name!(last_refusal_reason, Option<String>),
        name!(addresses, Option<Vec<String>>),
        name!(since, Option<TimestampWithTimeZone>),
    ),
> {
    let now = clock::now();
    let time = |micros: i64| (micros != 0).then(|| clock::to_sql(micros)).flatten();
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (mut entries, lost) = match memory::copy(true) {
        Some((entries, lost)) => (entries, Some(lost)),
        None => (Vec::new(), None),
    };
    let caller = identity::current_user();
    if !catalog::has_privileges_of(caller, PG_MONITOR.into()) {
        entries.retain(|entry| {
            let metadata = label::read(entry.role.into()).and_then(Result::ok);
            metadata.is_some_and(|metadata| authority::is_over(caller, &metadata))
        });
    }
    let since = memory::since(server::in_recovery());
    let lost = lost.map(|lost| {
        let last = time(lost.last);
        (
            None,
            count(lost.count),
            last,
            None,
            None,
            None,
            None,
            time(since),
        )
    });
    let known = entries.into_iter().map(move |Entry { role, facts }| {
        (
            Some(role.into()),
            count(facts.logins),
            time(facts.last_login),
            facts.last_address(),
            time(facts.last_refusal),
            facts.last_reason().map(|reason| reason.class().to_owned()),
            Some(facts.addresses(now)),
            None,
        )
    });
    TableIterator::new(lost.into_iter().chain(known))
}
