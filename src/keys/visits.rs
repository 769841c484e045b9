//! The launcher's part: where there is something to fetch, and a worker for it.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{LIBRARY, WORKER};
use crate::pg::worker::{self, Started};
use crate::pg::{catalog, server, xact};
use crate::wakeup::keys as wishes;

/// Workers at a time: a provider that hangs holds up one database.
const MOST: usize = 2;
const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Default)]
pub struct Visits {
    running: Vec<(pg_sys::Oid, Started)>,
    /// Databases that nobody has looked into since the server was started; `None`: they have not been listed yet.
    unseen: Option<Vec<pg_sys::Oid>>,
    /// No worker was free: until when none is asked for. Not for longer than a second: logins by token may be waiting.
    pause: Option<i64>,
}

impl Visits {
    /// Starts what is to be done now; when there is more. The end of a worker wakes the launcher. On a standby only what is asked for is done.
    pub fn step(&mut self, now: i64) -> Option<i64> {
        self.running.retain(|(_, worker)| !worker.has_ended());
        if !server::in_recovery() && (self.unseen.is_none() || wishes::take_lost()) {
            self.unseen = Some(all_databases()?);
        }
        if let Some(until) = self.pause.filter(|&until| now < until) {
            return Some(until);
        }
        let is_running = |database| self.running.iter().any(|&(other, _)| other == database);
        let (mut due, later): (Vec<_>, Vec<_>) = wishes::wanted()
            .into_iter()
            .filter(|&(database, _)| !is_running(database))
            .partition(|&(_, at)| at <= now);
        due.sort_by_key(|&(_, at)| at);
        let next = later.into_iter().map(|(_, at)| at).min();
        let mut due: Vec<pg_sys::Oid> = due.into_iter().map(|(database, _)| database).collect();
        if !due.is_empty() {
            // Whoever waits may wait for a template.
            let there = databases(|_| true)?;
            due.retain(|database| {
                let is_there = there.contains(database);
                if !is_there {
                    wishes::take(*database);
                }
                is_there
            });
        }
        while self.running.len() < MOST {
            let next = match due.is_empty() {
                true => self.next_unseen(),
                false => Some(due.remove(0)),
            };
            let Some(database) = next else { break };
            if !self.start(database, now) {
                return self.pause;
            }
        }
        next
    }

    fn next_unseen(&mut self) -> Option<pg_sys::Oid> {
        let unseen = self.unseen.as_mut()?;
        let is_free = |database: &pg_sys::Oid| {
            let mut running = self.running.iter();
            running.all(|(other, _)| other != database)
        };
        let place = unseen.iter().position(is_free)?;
        Some(unseen.swap_remove(place))
    }

    fn start(&mut self, database: pg_sys::Oid, now: i64) -> bool {
        if let Some(worker) = worker::start_in(LIBRARY, &WORKER, database) {
            wishes::starting(database, now);
            self.running.push((database, worker));
            self.pause = None;
            return true;
        }
        // As good as unseen.
        wishes::visit_at(database, now);
        if self.pause.is_none() {
            warning!(
                "scope_roles: no background worker is free to fetch keys of issuers; max_worker_processes is too low"
            );
        }
        self.pause = Some(now.saturating_add(MICROS_PER_SECOND));
        false
    }
}

/// Those in which there can be issuers that count; `None` when that can't be found out now.
fn all_databases() -> Option<Vec<pg_sys::Oid>> {
    databases(|database| !database.is_template)
}

fn databases(is_wanted: impl Fn(&catalog::Database) -> bool) -> Option<Vec<pg_sys::Oid>> {
    let found = xact::transaction(catalog::databases).ok()?;
    Some(
        found
            .into_iter()
            .filter(|database| database.allows_connections && is_wanted(database))
            .map(|database| database.oid)
            .collect(),
    )
}
