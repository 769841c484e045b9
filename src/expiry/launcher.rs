//! The launcher: knows who is due when, ends sessions, starts workers. Connected to no database.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::calendar::Calendar;
use super::{Managed, managed, moments, schedule};
use crate::guc;
use crate::pg::worker::{self, Started};
use crate::pg::{catalog, clock, server, sessions, wakeup, xact};

/// On a standby with sessions of managed roles.
const STANDBY: Duration = Duration::from_millis(500);
/// While a worker runs.
const RUNNING: Duration = Duration::from_secs(1);
/// After a failure to read the catalogues.
const RETRY: Duration = Duration::from_secs(1);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Never returns: PostgreSQL ends the process.
pub fn run() -> ! {
    wakeup::register_launcher();
    let mut launcher = Launcher::default();
    loop {
        wakeup::planning();
        let time = launcher.step();
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
    /// For pg_stat_activity.
    problem: Option<&'static std::ffi::CStr>,
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
                    failure.message
                );
                return RETRY;
            }
        };
        let now = clock::now();
        if !guc::expiry() {
            // Nobody's clock may be right here (a clone, a restore): nothing is ended.
            self.problem = Some(c"suspended by scope_roles.expiry");
            return schedule::LONGEST;
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
        self.finish_worker(now);
        if self.running.is_none() {
            self.start_worker(now);
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
            let started = Instant::now();
            self.calendar.replace(moments(), clock::now());
            self.reading_took = started.elapsed();
            self.read_at = Some(started);
            self.changes = Some(changes);
            self.is_stale = false;
            schedule::LONGEST
        })
    }

    /// Ends the sessions of due and of dropped roles at once; when to ask those that are left again.
    fn terminate(&mut self, now: i64) -> Option<i64> {
        let due: HashSet<u32> = self.calendar.due(now).collect();
        let found = sessions::of_roles(|role| {
            let role = u32::from(role);
            due.contains(&role) || self.calendar.is_gone(role)
        });
        if found.is_empty() {
            self.asked.clear();
            return None;
        }
        // What we know may be of the moment before a commit.
        let verified = xact::transaction(|| {
            let ends = |role: pg_sys::Oid| match catalog::role_by_oid(role) {
                // Not one that only lost its label: it is no longer ours.
                Some(_) => managed(role).is_some_and(|role| role.is_due(now)),
                None => true,
            };
            let roles: HashSet<pg_sys::Oid> = found.iter().map(|&(_, role)| role).collect();
            roles.into_iter().filter(|&role| ends(role)).collect()
        });
        let verified: HashSet<pg_sys::Oid> = match verified {
            Ok(verified) => verified,
            Err(failure) => {
                warning!(
                    "scope_roles: reading the catalogs failed: {}",
                    failure.message
                );
                return Some(now.saturating_add(MICROS_PER_SECOND));
            }
        };
        let mut asked = HashMap::new();
        let mut first = 0_u32;
        for (pid, role) in found {
            if !verified.contains(&role) {
                continue;
            }
            let role = u32::from(role);
            let before = self.asked.get(&pid).filter(|asked| asked.role == role);
            let entry = match before {
                Some(asked) if asked.again_at > now => *asked,
                before => {
                    sessions::terminate(pid);
                    let times = before.map_or(0, |asked| asked.times);
                    first += u32::from(times == 0);
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
        if first > 0 {
            log!("scope_roles: terminating {first} session(s) past their deadline");
        }
        self.asked.values().map(|asked| asked.again_at).min()
    }

    /// What a worker that has ended did not bring any further counts as a failure, to be tried later.
    fn finish_worker(&mut self, now: i64) {
        if !self
            .running
            .as_ref()
            .is_some_and(|running| running.worker.has_ended())
        {
            return;
        }
        let Some(running) = self.running.take() else {
            return;
        };
        let left = xact::transaction(|| {
            let waits = |role: u32| {
                let role = managed(role.into()).filter(|role| role.is_due(now))?;
                Some(role.metadata.waits_for)
            };
            let roles = running.roles.iter();
            roles
                .map(|&(role, _)| (role, waits(role)))
                .collect::<HashMap<_, _>>()
        });
        let left = left.unwrap_or_default();
        for (role, before) in running.roles {
            match left.get(&role) {
                // One that now waits for other databases has come further.
                Some(Some(waits_for)) if *waits_for == before => self.fail(role, now),
                _ => {
                    self.failures.remove(&role);
                }
            }
        }
    }

    fn fail(&mut self, oid: u32, now: i64) {
        let count = self.count(oid).saturating_add(1);
        let retry_at = schedule::retry_at(now, count);
        self.failures.insert(oid, Failures { count, retry_at });
    }

    fn count(&self, oid: u32) -> u32 {
        self.failures.get(&oid).map_or(0, |failures| failures.count)
    }

    fn start_worker(&mut self, now: i64) {
        let due: HashSet<u32> = self.calendar.due(now).collect();
        self.failures.retain(|role, _| due.contains(role));
        let is_ready = |role: &u32| {
            self.failures
                .get(role)
                .is_none_or(|failures| failures.retry_at <= now)
        };
        if !due.iter().any(is_ready) {
            return;
        }
        let found = xact::transaction(|| {
            let ready = due.iter().filter(|role| is_ready(role));
            let ready: Vec<Managed> = ready
                .filter_map(|&role| managed(role.into()))
                .filter(|role| role.is_due(now))
                .collect();
            (ready, catalog::databases())
        });
        let Ok((mut ready, databases)) = found else {
            return;
        };
        ready.sort_by_key(|role| (self.count(role.oid.into()), u32::from(role.oid)));
        let Some(database) = self.choose(&ready, &databases) else {
            return;
        };
        let roles: Vec<(u32, Vec<u32>)> = ready
            .into_iter()
            .filter(|role| serves(role, database.into(), &databases))
            .map(|role| (role.oid.into(), role.metadata.waits_for))
            .collect();
        match worker::start_in(database) {
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
    fn choose(&self, ready: &[Managed], databases: &[catalog::Database]) -> Option<pg_sys::Oid> {
        let role = ready.first()?;
        let waits = existing(role, databases);
        let failed = self.count(role.oid.into()) as usize;
        if !waits.is_empty() {
            let place = failed % waits.len();
            return waits.get(place).map(|&oid| oid.into());
        }
        let name = role.metadata.database.as_deref();
        let home = databases
            .iter()
            .find(|database| Some(database.name.as_str()) == name);
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

/// The databases that the role waits for and that still exist.
fn existing(role: &Managed, databases: &[catalog::Database]) -> Vec<u32> {
    let exists = |oid: &u32| {
        databases
            .iter()
            .any(|database| u32::from(database.oid) == *oid)
    };
    let waits = role.metadata.waits_for.iter().copied();
    waits.filter(exists).collect()
}

/// Can a worker in this database bring the role further? One that waits for other databases only
/// would be looked at in vain.
fn serves(role: &Managed, database: u32, databases: &[catalog::Database]) -> bool {
    let waits = existing(role, databases);
    waits.is_empty() || waits.contains(&database)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
