//! The launcher: finds what is due, ends sessions, starts workers. Connected to no database.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pgrx::prelude::*;

use super::{Credential, credentials, schedule};
use crate::guc;
use crate::pg::worker::{self, Started};
use crate::pg::{catalog, clock, server, sessions, wakeup, xact};

/// While sessions have been asked to end, or a worker is being waited for.
const BUSY: Duration = Duration::from_millis(50);
/// On a standby with sessions of credentials, or due ones that a promotion would leave to us.
const STANDBY: Duration = Duration::from_millis(500);
/// How long between two requests to the same sessions.
const ASK_AGAIN: i64 = 500_000;

/// Never returns: PostgreSQL ends the process.
pub fn run() -> ! {
    wakeup::register_launcher();
    let mut launcher = Launcher::default();
    loop {
        let time = launcher.step();
        worker::report_activity(None);
        worker::sleep(time);
    }
}

#[derive(Default)]
struct Launcher {
    running: Option<Running>,
    /// The credentials seen last. One that is gone since, by hand or (on a standby) because the
    /// primary has dropped it, leaves its sessions to us.
    known: HashSet<pg_sys::Oid>,
    /// Dropped, but not yet without sessions.
    orphaned: HashSet<pg_sys::Oid>,
    /// Roles whose end did not succeed so far. Lost with the process, which only means an early
    /// retry.
    failures: HashMap<u32, Failures>,
    asked_at: i64,
}

struct Running {
    worker: Started,
    /// The roles that it was started for.
    roles: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    retry_at: i64,
}

impl Launcher {
    /// Does what can be done now; how long to sleep then.
    fn step(&mut self) -> Duration {
        let found = xact::transaction(|| {
            let credentials = credentials();
            let current: HashSet<pg_sys::Oid> = credentials.iter().map(|role| role.oid).collect();
            // Not those that only lost their label: they are no longer ours.
            let dropped: Vec<pg_sys::Oid> = self
                .known
                .difference(&current)
                .copied()
                .filter(|&oid| catalog::role_by_oid(oid).is_none())
                .collect();
            self.orphaned.extend(dropped);
            self.known = current;
            (credentials, catalog::databases())
        });
        let (credentials, databases) = match found {
            Ok(found) => found,
            Err(failure) => {
                warning!(
                    "scope_roles: reading the catalogs failed: {}",
                    failure.message
                );
                return Duration::from_secs(1);
            }
        };
        let now = clock::now();
        let due: Vec<&Credential> = credentials.iter().filter(|role| role.is_due(now)).collect();
        let upcoming = credentials
            .iter()
            .filter(|role| !role.is_due(now))
            .map(|role| role.deadline);
        let mut next = upcoming.min();
        if !guc::expiry() {
            // Nobody's clock may be right here (a clone, a restore): nothing is ended.
            return schedule::sleep(now, None);
        }
        let busy = self.terminate(&due, now);
        if server::in_recovery() {
            // On a standby sessions end here; the rest is the primary's, or ours once promoted. No
            // commit wakes us here: a login does, and while there are sessions we look often.
            let live = !sessions::of_roles(|role| self.known.contains(&role)).is_empty();
            let patience = if live || !due.is_empty() {
                STANDBY
            } else {
                schedule::LONGEST
            };
            return if busy {
                BUSY
            } else {
                schedule::sleep(now, next).min(patience)
            };
        }
        self.finish_worker(&due, now);
        self.failures
            .retain(|oid, _| due.iter().any(|role| u32::from(role.oid) == *oid));
        let ready: Vec<&Credential> = due
            .iter()
            .copied()
            .filter(|role| self.retry_at(role).is_none_or(|at| at <= now))
            .collect();
        if self.running.is_none() && !ready.is_empty() {
            self.start_worker(&ready, &databases, now);
        }
        let retries = due.iter().filter_map(|role| self.retry_at(role));
        next = next.into_iter().chain(retries.filter(|&at| at > now)).min();
        if busy || self.running.is_some() {
            BUSY
        } else {
            schedule::sleep(now, next)
        }
    }

    fn retry_at(&self, role: &Credential) -> Option<i64> {
        self.failures
            .get(&role.oid.into())
            .map(|failures| failures.retry_at)
    }

    /// Ends the sessions of due and of dropped roles at once; true while there are any.
    fn terminate(&mut self, due: &[&Credential], now: i64) -> bool {
        let mut ending: HashSet<pg_sys::Oid> = due.iter().map(|role| role.oid).collect();
        ending.extend(&self.orphaned);
        if ending.is_empty() {
            return false;
        }
        let found = sessions::of_roles(|role| ending.contains(&role));
        if found.is_empty() {
            self.asked_at = 0;
            self.orphaned.clear();
            return false;
        }
        if now.saturating_sub(self.asked_at) >= ASK_AGAIN {
            self.asked_at = now;
            log!(
                "scope_roles: terminating {} session(s) past their deadline",
                found.len()
            );
            for pid in found {
                sessions::terminate(pid);
            }
        }
        true
    }

    /// What a worker that has ended did not end counts as a failure, to be tried later.
    fn finish_worker(&mut self, due: &[&Credential], now: i64) {
        if !self
            .running
            .as_ref()
            .is_some_and(|running| running.worker.has_ended())
        {
            return;
        }
        let roles = self
            .running
            .take()
            .map(|running| running.roles)
            .unwrap_or_default();
        for oid in roles {
            let left = due.iter().find(|role| u32::from(role.oid) == oid);
            // One that now waits for another database has made progress.
            if left.is_none_or(|role| !role.metadata.waits_for.is_empty()) {
                self.failures.remove(&oid);
                continue;
            }
            self.fail(oid, now);
        }
    }

    fn fail(&mut self, oid: u32, now: i64) {
        let count = self
            .failures
            .get(&oid)
            .map_or(0, |failures| failures.count)
            .saturating_add(1);
        let retry_at = schedule::retry_at(now, count);
        self.failures.insert(oid, Failures { count, retry_at });
    }

    fn start_worker(&mut self, ready: &[&Credential], databases: &[catalog::Database], now: i64) {
        let Some(database) = choose(ready, databases) else {
            return;
        };
        worker::report_activity(Some(c"ending credentials"));
        let roles: Vec<u32> = ready
            .iter()
            .filter(|role| serves(role, database.into(), databases))
            .map(|role| role.oid.into())
            .collect();
        match worker::start_in(database) {
            Some(worker) => self.running = Some(Running { worker, roles }),
            None => {
                warning!(
                    "scope_roles: no background worker is free to end {} credential(s); max_worker_processes is too low",
                    ready.len()
                );
                for role in roles {
                    self.fail(role, now);
                }
            }
        }
    }
}

/// Where a worker can do something for a ready role: a database that holds its grants, else the
/// one of its scope, else any.
fn choose(ready: &[&Credential], databases: &[catalog::Database]) -> Option<pg_sys::Oid> {
    let exists = |oid: u32| {
        databases
            .iter()
            .find(|database| u32::from(database.oid) == oid)
    };
    let waited_for = ready
        .iter()
        .flat_map(|role| &role.metadata.waits_for)
        .find_map(|&oid| exists(oid));
    let home = || {
        ready.iter().find_map(|role| {
            let name = role.metadata.database.as_deref()?;
            databases.iter().find(|database| database.name == name)
        })
    };
    // template1 last: a worker in it is in the way of CREATE DATABASE.
    let any = || {
        databases
            .iter()
            .filter(|database| database.name != "template0")
            .min_by_key(|database| (database.is_template, !database.allows_connections))
    };
    waited_for
        .or_else(home)
        .or_else(any)
        .map(|database| database.oid)
}

/// Can a worker in this database bring the role further? One that waits for other databases only
/// would be looked at in vain.
fn serves(role: &Credential, database: u32, databases: &[catalog::Database]) -> bool {
    let waits: Vec<u32> = role
        .metadata
        .waits_for
        .iter()
        .copied()
        .filter(|&oid| {
            databases
                .iter()
                .any(|database| u32::from(database.oid) == oid)
        })
        .collect();
    waits.is_empty() || waits.contains(&database)
}
