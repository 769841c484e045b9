//! The worker in one database: fetches what is due there, and ends.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::store::{self, Due, Wants};
use crate::jwks::{self, Outcome, Problem};
use crate::pg::child::{Child, Ended};
use crate::pg::{clock, server, worker, xact};
use crate::text::visible;
use crate::verify::issuer;
use crate::waiting;
use crate::wakeup::keys as wishes;

/// Providers that are asked at the same time.
const MOST: usize = 8;
/// How often it looks whether an answer has come.
const TICK: Duration = Duration::from_millis(20);
/// And whether somebody needs the database without it.
const LOOKS_AROUND: Duration = Duration::from_millis(200);
/// More than an answer can have: its text is at most twice as long as what was fetched.
const MOST_BYTES: usize = 256 * 1_024;
const LONGEST: Duration = Duration::from_secs(10);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// An issuer that is being asked.
struct Asked {
    due: Due,
    child: Child,
    since: Instant,
}

/// `also`: what else is looked after in a database; it asks for another visit by itself.
pub fn run(also: fn()) {
    worker::report_activity(Some(c"fetching keys"));
    worker::wait_at_most(waiting::patience());
    let database = server::database();
    if server::in_recovery() {
        wishes::take(database);
        publish(true);
        return;
    }
    let next = Visit::default().run(database);
    // Not before: whoever logs in by token may be waiting. What was wanted has been taken.
    also();
    if let Some(next) = next {
        wishes::visit_at(database, next);
    }
}

/// For logins by token, some of which may be waiting.
fn publish(ends_visit: bool) {
    if let Err(failure) = transaction(|| issuer::publish(ends_visit)) {
        tell("reading the issuers", &failure);
    }
}

#[derive(Default)]
struct Visit {
    /// Killed when this is dropped.
    asked: Vec<Asked>,
    wants: Wants,
}

impl Visit {
    /// When to come again.
    fn run(&mut self, database: pg_sys::Oid) -> Option<i64> {
        let mut looks = true;
        let mut looked_around: Option<Instant> = None;
        // Those who wait for other keys wait until there is no attempt any more; those who wait for any issuers do not.
        let mut owes_copy = true;
        let mut tried: Option<Instant> = None;
        loop {
            if looked_around.is_none_or(|at| at.elapsed() >= LOOKS_AROUND) {
                looked_around = Some(Instant::now());
                if must_leave() {
                    return Some(clock::now().saturating_add(MICROS_PER_SECOND));
                }
            }
            let wanted = wishes::take(database);
            looks |= !wanted.is_empty();
            owes_copy |= looks;
            self.wants.extend(&wanted);
            if owes_copy
                && tried.is_none_or(|at| at.elapsed() >= LOOKS_AROUND)
                && !issuer::is_published()
            {
                tried = Some(Instant::now());
                publish(false);
            }
            if looks && self.asked.len() < MOST {
                match transaction(|| self.begin()) {
                    Ok(due) => due.into_iter().for_each(|due| self.ask(due)),
                    Err(failure) => {
                        tell("reading the issuers", &failure);
                        return Some(clock::now().saturating_add(60 * MICROS_PER_SECOND));
                    }
                }
                looks = false;
            }
            if self.asked.is_empty() {
                break;
            }
            worker::sleep(TICK);
            looks |= self.collect();
        }
        if owes_copy {
            publish(true);
        }
        transaction(store::next).unwrap_or_else(|failure| {
            tell("reading the issuers", &failure);
            Some(clock::now().saturating_add(60 * MICROS_PER_SECOND))
        })
    }

    /// The attempts that are made now, stamped.
    fn begin(&mut self) -> Vec<Due> {
        let free = MOST.saturating_sub(self.asked.len());
        let asked = self.asked.iter();
        let asked: Vec<_> = asked.map(|asked| wishes::issuer(&asked.due.name)).collect();
        store::begin(clock::now(), &mut self.wants, free, &asked)
    }

    fn ask(&mut self, due: Due) {
        let order = due.order.clone();
        let work = move || serde_json::to_vec(&jwks::fetch(&order)).unwrap_or_default();
        match Child::start(MOST_BYTES, work) {
            Some(child) => self.asked.push(Asked {
                due,
                child,
                since: Instant::now(),
            }),
            None => record(&due, Outcome::Failed(Problem::Ended)),
        }
    }

    /// Writes down what has come; has anything?
    fn collect(&mut self) -> bool {
        let mut left = Vec::new();
        let mut any = false;
        for mut asked in std::mem::take(&mut self.asked) {
            let outcome = match asked.child.ended() {
                Some(Ended::Answer(answer)) => {
                    serde_json::from_slice(&answer).unwrap_or(Outcome::Failed(Problem::Ended))
                }
                Some(Ended::Nothing) => Outcome::Failed(Problem::Ended),
                None if asked.since.elapsed() >= LONGEST => Outcome::Failed(Problem::Time),
                None => {
                    left.push(asked);
                    continue;
                }
            };
            any = true;
            record(&asked.due, outcome);
        }
        self.asked = left;
        any
    }
}

fn record(due: &Due, outcome: Outcome) {
    if let Err(failure) = transaction(|| store::record(due, outcome)) {
        tell("recording a fetch", &failure);
    }
    wishes::finished();
}

/// Does somebody need this database without sessions?
fn must_leave() -> bool {
    // Also notices that the configuration has changed, or that the server is gone.
    worker::sleep(Duration::ZERO);
    xact::transaction(server::is_database_wanted).unwrap_or(true)
}

fn transaction<R>(work: impl FnOnce() -> R) -> Result<R, xact::Failure> {
    xact::transaction(work)
}

fn tell(what: &str, failure: &xact::Failure) {
    warning!("scope_roles: {what} failed: {}", visible(&failure.message));
}
