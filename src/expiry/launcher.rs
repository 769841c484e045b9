//! The launcher: knows who is due when, ends sessions, starts workers. Connected to no database.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::calendar::Calendar;
use super::tokens::Tokens;
use super::{labels_of, schedule, survey};
use crate::audit::{self, Class, Event};
use crate::guc;
use crate::keys;
use crate::label::{self, Kind, Metadata};
use crate::login::ledger::{self, Ledger};
use crate::pg::worker::{self, Started};
use crate::pg::{catalog, clock, server, sessions, xact};
use crate::verify;
use crate::wakeup;

/// On a standby with sessions of managed roles.
const STANDBY: Duration = Duration::from_millis(500);
/// While a worker runs.
const RUNNING: Duration = Duration::from_secs(1);
/// After a failure to read the catalogues.
const RETRY: Duration = Duration::from_secs(1);
const MICROS_PER_SECOND: i64 = 1_000_000;
/// Of the databases' visits for `scope.audit_log`.
const CLEAN_AFTER_START: i64 = 60 * MICROS_PER_SECOND;
const CLEAN_EVERY: i64 = 86_400 * MICROS_PER_SECOND;

/// Never returns: PostgreSQL ends the process.
pub fn run() -> ! {
    wakeup::register_launcher();
    let mut ledger = Ledger::open();
    let mut launcher = Launcher::default();
    loop {
        wakeup::planning();
        let time = launcher.step().min(ledger.tend());
        wakeup::planned(clock::now().saturating_add(micros(time)));
        worker::report_activity(launcher.problem);
        worker::sleep(time);
    }
}

#[derive(Default)]
struct Launcher {
    calendar: Calendar,
    /// What was read last: the number of changes by then, when, and how long it took.
    changes: Option<u64>,
    read_at: Option<Instant>,
    reading_took: Duration,
    /// Something has changed since.
    is_stale: bool,
    running: Option<Running>,
    /// Roles whose end did not succeed so far. Lost with the process, which only means an early
    /// retry.
    failures: HashMap<u32, Failures>,
    /// The sessions that were asked to end.
    asked: HashMap<i32, Asked>,
    cleaning: Cleaning,
    keys: keys::Visits,
    tokens: Tokens,
    /// For pg_stat_activity.
    problem: Option<&'static std::ffi::CStr>,
}

/// Old rows of `scope.audit_log` go once in a while, in each database that may have some.
#[derive(Default)]
struct Cleaning {
    /// The setting as it was last seen.
    retention: Option<i64>,
    next_at: i64,
    /// The databases that have not been visited this time.
    left: Vec<pg_sys::Oid>,
}

struct Running {
    worker: Started,
    /// The roles that it was started for, with the databases that they waited for.
    roles: Vec<(u32, Vec<u32>)>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    retry_at: i64,
}

#[derive(Clone, Copy)]
struct Asked {
    role: u32,
    times: u32,
    again_at: i64,
}

impl Launcher {
    /// Does what can be done now; how long to sleep then.
    fn step(&mut self) -> Duration {
        let mut sleep = match self.refresh() {
            Ok(sleep) => sleep,
            Err(failure) => {
                warning!(
                    "scope_roles: reading the catalogs failed: {}",
                    crate::text::visible(&failure.message)
                );
                return RETRY;
            }
        };
        let now = clock::now();
        if !server::in_recovery() {
            verify::begin_counting();
        }
        if let Some(next_at) = self.tokens.step(now) {
            sleep = sleep.min(schedule::sleep(now, Some(next_at)));
        }
        if let Some(next_at) = self.keys.step(now) {
            sleep = sleep.min(schedule::sleep(now, Some(next_at)));
        }
        if !guc::expiry() {
            // Nobody's clock may be right here (a clone, a restore): nothing is ended.
            self.problem = Some(c"suspended by scope_roles.expiry");
            return sleep.min(schedule::LONGEST);
        }
        self.problem = None;
        if let Some(again_at) = self.terminate(now) {
            sleep = sleep.min(schedule::sleep(now, Some(again_at)));
        }
        sleep = sleep.min(schedule::sleep(now, self.calendar.next(now)));
        if server::in_recovery() {
            // On a standby sessions end here; the rest is the primary's, or ours once promoted. No
            // commit wakes us here: a login does, and while there are sessions we look often.
            let is_watched = |role: pg_sys::Oid| self.calendar.is_known(role.into());
            let live = !sessions::of_roles(is_watched).is_empty();
            return if live { sleep.min(STANDBY) } else { sleep };
        }
        self.work(now);
        if let Some(next_at) = self.clean(now) {
            sleep = sleep.min(schedule::sleep(now, Some(next_at)));
        }
        if self.running.is_some() {
            // Its end wakes us.
            return sleep.min(RUNNING);
        }
        let retries = self.failures.values().map(|failures| failures.retry_at);
        match retries.min() {
            Some(retry_at) => sleep.min(schedule::sleep(now, Some(retry_at))),
            None => sleep,
        }
    }

    /// Reads the catalogues if they have changed; how long until that must be done again.
    fn refresh(&mut self) -> Result<Duration, xact::Failure> {
        // In this order: what commits after the number was taken changes it.
        let changes = wakeup::changes();
        // A label alone changes without a word on a standby.
        let unheard = server::in_recovery()
            && self
                .read_at
                .is_none_or(|read_at| read_at.elapsed() >= schedule::LONGEST);
        let pause = schedule::pause(self.reading_took);
        let too_soon = self
            .read_at
            .map(|read_at| pause.saturating_sub(read_at.elapsed()))
            .filter(|rest| !rest.is_zero());
        xact::transaction(|| {
            self.is_stale |=
                wakeup::take_roles_changed() | (self.changes != Some(changes)) | unheard;
            if !self.is_stale {
                return schedule::LONGEST;
            }
            if let Some(rest) = too_soon {
                // Changes in quick succession are read together.
                return rest;
            }
            self.read(changes);
            schedule::LONGEST
        })
    }

    /// Inside a transaction; `changes` as it was before.
    fn read(&mut self, changes: u64) {
        let (started, read_at) = (Instant::now(), clock::now());
        let found = survey();
        ledger::keep_only(&found.labelled, read_at);
        self.calendar
            .replace(found.moments, &found.roles, clock::now());
        self.reading_took = started.elapsed();
        self.read_at = Some(started);
        self.changes = Some(changes);
        self.is_stale = false;
    }

    /// The sessions that are to end.
    fn overdue_sessions(&self, now: i64) -> Vec<(i32, pg_sys::Oid)> {
        let due: HashSet<u32> = self.calendar.due(now).collect();
        sessions::of_roles(|role| {
            let role = u32::from(role);
            due.contains(&role) || self.calendar.is_gone(role)
        })
    }

    /// Ends the sessions of due and of dropped roles at once; when to ask those that are left again.
    fn terminate(&mut self, now: i64) -> Option<i64> {
        let mut found = self.overdue_sessions(now);
        let is_new = |(pid, _): &(i32, _)| !self.asked.contains_key(pid);
        if self.is_stale && found.iter().any(is_new) {
            // One of them may have been given more time just now.
            let changes = wakeup::changes();
            if let Err(failure) = xact::transaction(|| self.read(changes)) {
                warning!(
                    "scope_roles: reading the catalogs failed: {}",
                    crate::text::visible(&failure.message)
                );
                return Some(now.saturating_add(MICROS_PER_SECOND));
            }
            found = self.overdue_sessions(now);
        }
        if found.is_empty() {
            self.asked.clear();
            return None;
        }
        let mut asked = HashMap::new();
        let mut first: BTreeMap<u32, i64> = BTreeMap::new();
        for (pid, role) in found {
            let role = u32::from(role);
            let before = self.asked.get(&pid).filter(|asked| asked.role == role);
            let entry = match before {
                Some(asked) if asked.again_at > now => *asked,
                before => {
                    sessions::terminate(pid);
                    let times = before.map_or(0, |asked| asked.times);
                    if times == 0 {
                        *first.entry(role).or_default() += 1;
                    }
                    Asked {
                        role,
                        times: times.saturating_add(1),
                        again_at: schedule::ask_again_at(now, times),
                    }
                }
            };
            asked.insert(pid, entry);
        }
        self.asked = asked;
        record_terminations(&first);
        self.asked.values().map(|asked| asked.again_at).min()
    }

    /// Takes note of what a worker that has ended has done, and starts the next one if there is
    /// something to do for it now.
    fn work(&mut self, now: i64) {
        let ended = match self.running.take() {
            Some(running) if !running.worker.has_ended() => {
                self.running = Some(running);
                return;
            }
            ended => ended,
        };
        let due: HashSet<u32> = self.calendar.due(now).collect();
        self.failures.retain(|role, _| due.contains(role));
        let is_ready = |role: &u32| {
            self.failures
                .get(role)
                .is_none_or(|failures| failures.retry_at <= now)
        };
        let ready: Vec<u32> = due.iter().copied().filter(is_ready).collect();
        let roles = ended.map(|ended| ended.roles).unwrap_or_default();
        if ready.is_empty() && roles.is_empty() {
            return;
        }
        let wanted = ready.iter().copied();
        let wanted = wanted.chain(roles.iter().map(|&(role, _)| role)).collect();
        let found = xact::transaction(|| (labels_of(&wanted), catalog::databases()));
        let (labels, databases) = match found {
            Ok(found) => found,
            Err(failure) => {
                warning!(
                    "scope_roles: reading the catalogs failed: {}",
                    crate::text::visible(&failure.message)
                );
                return;
            }
        };
        for (role, before) in roles {
            match labels.get(&role).filter(|_| due.contains(&role)) {
                // What it did not bring any further counts as a failure, to be tried later. One
                // that now waits for other databases has come further.
                Some(metadata) if metadata.waits_for == before => self.fail(role, now),
                _ => {
                    self.failures.remove(&role);
                }
            }
        }
        let is_ready = |role: &u32| {
            self.failures
                .get(role)
                .is_none_or(|failures| failures.retry_at <= now)
        };
        let ready: Vec<(u32, &Metadata)> = ready
            .into_iter()
            .filter(is_ready)
            .filter_map(|role| Some((role, labels.get(&role)?)))
            .collect();
        self.start_worker(ready, &databases, now);
    }

    /// Starts a worker for old rows of `scope.audit_log` where it is time; when it is next.
    fn clean(&mut self, now: i64) -> Option<i64> {
        let retention = guc::audit_retention();
        let before = std::mem::replace(&mut self.cleaning.retention, retention);
        let Some(age) = retention else {
            self.cleaning.left.clear();
            return None;
        };
        if before != retention {
            // A new setting counts at once; at the start of the server others come first.
            self.cleaning.next_at = match self.cleaning.next_at {
                0 => now.saturating_add(CLEAN_AFTER_START),
                _ => now,
            };
        }
        if now >= self.cleaning.next_at {
            let every = age.saturating_mul(MICROS_PER_SECOND);
            let every = every.clamp(CLEAN_AFTER_START, CLEAN_EVERY);
            self.cleaning.next_at = now.saturating_add(every);
            self.cleaning.left = xact::transaction(catalog::databases)
                .unwrap_or_default()
                .into_iter()
                .filter(|database| database.allows_connections && !database.is_template)
                .map(|database| database.oid)
                .collect();
        }
        if self.running.is_none()
            && let Some(database) = self.cleaning.left.pop()
        {
            // What finds no worker now is cleaned the next time.
            self.running = super::start_worker(database).map(|worker| Running {
                worker,
                roles: Vec::new(),
            });
        }
        Some(self.cleaning.next_at)
    }

    fn fail(&mut self, oid: u32, now: i64) {
        let count = self.count(oid).saturating_add(1);
        let retry_at = schedule::retry_at(now, count);
        self.failures.insert(oid, Failures { count, retry_at });
    }

    fn count(&self, oid: u32) -> u32 {
        self.failures.get(&oid).map_or(0, |failures| failures.count)
    }

    fn start_worker(
        &mut self,
        mut ready: Vec<(u32, &Metadata)>,
        databases: &[catalog::Database],
        now: i64,
    ) {
        ready.sort_by_key(|&(role, _)| (self.count(role), role));
        let Some(database) = self.choose(&ready, databases) else {
            return;
        };
        let roles: Vec<(u32, Vec<u32>)> = ready
            .into_iter()
            .filter(|(_, metadata)| serves(metadata, database.into(), databases))
            .map(|(role, metadata)| (role, metadata.waits_for.clone()))
            .collect();
        match super::start_worker(database) {
            Some(worker) => self.running = Some(Running { worker, roles }),
            None => {
                self.problem = Some(c"waiting for a free background worker: max_worker_processes");
                warning!(
                    "scope_roles: no background worker is free to end {} role(s); max_worker_processes is too low",
                    roles.len()
                );
                for (role, _) in roles {
                    self.fail(role, now);
                }
            }
        }
    }

    /// Where a worker can do something for the first ready role: a database that holds its grants,
    /// after a failure the next such one, else the one of its scope, else any.
    fn choose(
        &self,
        ready: &[(u32, &Metadata)],
        databases: &[catalog::Database],
    ) -> Option<pg_sys::Oid> {
        let &(role, metadata) = ready.first()?;
        let waits = existing(metadata, databases);
        let failed = self.count(role) as usize;
        if !waits.is_empty() {
            let place = failed % waits.len();
            return waits.get(place).map(|&oid| oid.into());
        }
        let name = metadata.database.as_deref();
        let home = databases
            .iter()
            .find(|database| Some(database.oid.into()) == metadata.database_oid)
            .or_else(|| {
                databases
                    .iter()
                    .find(|database| Some(database.name.as_str()) == name)
            });
        // A template last: a worker in it is in the way of CREATE DATABASE.
        let any = || {
            databases
                .iter()
                .filter(|database| database.name != "template0")
                .min_by_key(|database| (database.is_template, !database.allows_connections))
        };
        home.filter(|_| failed.is_multiple_of(2))
            .or_else(any)
            .map(|database| database.oid)
    }
}

/// For the audit trail: how many sessions of which roles were asked to end for the first time.
fn record_terminations(first: &BTreeMap<u32, i64>) {
    if first.is_empty() || !audit::wants(Class::Expire) {
        return;
    }
    // Without an answer the line is still better than none.
    let found = xact::transaction(|| -> HashMap<u32, (String, &'static str)> {
        let look = |&role: &u32| {
            let kind = match label::read(role.into()) {
                Some(Ok(metadata)) => metadata.kind,
                _ => Kind::Credential,
            };
            let name = catalog::role_by_oid(role.into())?.name;
            Some((role, (name, label::kind_name(kind))))
        };
        first.keys().filter_map(look).collect()
    })
    .unwrap_or_default();
    for (role, &sessions) in first {
        let gone = format!("{role} (dropped)");
        let (name, kind) = match found.get(role) {
            Some((name, kind)) => (name, *kind),
            None => (&gone, "credential"),
        };
        audit::record(Event::Expire {
            step: "terminated",
            kind,
            role_name: name,
            sessions_terminated: sessions,
            detail: None,
            failed: false,
        });
    }
}

/// The databases that the role waits for and that still exist.
fn existing(metadata: &Metadata, databases: &[catalog::Database]) -> Vec<u32> {
    let exists = |oid: &u32| {
        databases
            .iter()
            .any(|database| u32::from(database.oid) == *oid)
    };
    let waits = metadata.waits_for.iter().copied();
    waits.filter(exists).collect()
}

/// Can a worker in this database bring the role further? One that waits for other databases only
/// would be looked at in vain.
fn serves(metadata: &Metadata, database: u32, databases: &[catalog::Database]) -> bool {
    let waits = existing(metadata, databases);
    waits.is_empty() || waits.contains(&database)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
