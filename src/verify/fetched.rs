//! Keys that the worker fetches: a session that needs others than are there says so, and waits a moment.

use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::Deserialize;

use super::issuer::definition;
use super::issuer::{self, Bad};
use super::{Error, Rules};
use crate::error::{self, require_preload};
use crate::guc;
use crate::jwks::schedule::{Known, Want};
use crate::own_tables;
use crate::pg::arguments::Text;
use crate::pg::{clock, identity, server, spi, xact};
use crate::waiting;
use crate::wakeup::{self, keys as wishes};

/// How often a session looks whether an attempt has ended.
const TICK: Duration = Duration::from_millis(20);
/// And whether somebody waits for what it holds.
const LOOKS_AROUND: Duration = Duration::from_millis(200);

/// May other keys of the issuer be there now? Waits for an attempt that goes on or is due, for as long as `scope_roles.jwks_wait` says,
/// and never while others wait for a lock of this transaction.
pub fn has_come(rules: &Rules) -> Result<bool, Error> {
    let Some(name) = rules.name.as_ref().filter(|_| rules.is_fetched) else {
        return Ok(false);
    };
    // Since they were read here a fetch may have found that they still hold.
    let Some(known) = state(name)? else {
        return Ok(false);
    };
    let before = clock::now();
    if known.holds && rules.is_stale(before) {
        issuer::look_again();
        return Ok(true);
    }
    let longest = guc::jwks_wait();
    if longest.is_zero() || server::in_recovery() || xact::is_parallel() {
        return Ok(false);
    }
    let fetches = known.fetches();
    if !fetches.is_going_on(before) {
        if !fetches.is_due(Want::Token, before) || waiting::holds_up_others() {
            return Ok(false);
        }
        wishes::ask(server::database(), wishes::issuer(name), false, i64::MIN);
        wakeup::wake();
    }
    let ended_before = known.finished_at;
    let ended = wait(name, longest, |known| known.finished_at > ended_before)?;
    own_tables::generation();
    issuer::look_again();
    Ok(ended)
}

/// Until an attempt has ended, others wait, or the time is over; true in the first case.
fn wait(name: &str, longest: Duration, has_ended: impl Fn(&State) -> bool) -> Result<bool, Error> {
    let started = Instant::now();
    let mut rounds = wishes::rounds();
    // What has ended just now is not missed.
    let mut looks = true;
    let mut looked_around = started;
    loop {
        if looks && state(name)?.is_none_or(|known| has_ended(&known)) {
            return Ok(true);
        }
        if started.elapsed() >= longest {
            return Ok(false);
        }
        if looked_around.elapsed() >= LOOKS_AROUND {
            looked_around = Instant::now();
            if waiting::holds_up_others() {
                return Ok(false);
            }
        }
        std::thread::sleep(TICK.min(longest.saturating_sub(started.elapsed())));
        pgrx::check_for_interrupts!();
        let now = wishes::rounds();
        looks = std::mem::replace(&mut rounds, now) != now;
    }
}

#[derive(Deserialize)]
struct State {
    attempted_at: Option<i64>,
    finished_at: Option<i64>,
    next_fetch: Option<i64>,
    failures: u32,
    holds: bool,
}

impl State {
    fn fetches(&self) -> Known {
        Known {
            attempted_at: self.attempted_at,
            finished_at: self.finished_at,
            next_fetch: self.next_fetch,
            failures: self.failures,
        }
    }
}

/// As the last commit of anybody left it; `None`: there is no such issuer.
fn state(name: &str) -> Result<Option<State>, Error> {
    const SQL: &str = "
        SELECT pg_catalog.jsonb_build_object(
                 'attempted_at', (EXTRACT(epoch FROM f.attempted_at) OPERATOR(pg_catalog.*) 1000000)::bigint,
                 'finished_at', (EXTRACT(epoch FROM f.finished_at) OPERATOR(pg_catalog.*) 1000000)::bigint,
                 'next_fetch', (EXTRACT(epoch FROM f.next_fetch) OPERATOR(pg_catalog.*) 1000000)::bigint,
                 'failures', COALESCE(f.failures, 0),
                 'holds', COALESCE(f.stale_until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp(), false))::text
          FROM _scope.jwt_issuer i
          LEFT JOIN _scope.jwt_issuer_fetch f ON f.name OPERATOR(pg_catalog.=) i.name
         WHERE i.name OPERATOR(pg_catalog.=) $1";
    let rows = identity::elevated(|| spi::latest(SQL, &[Some(name)]));
    let row = rows.first().map(|row| serde_json::from_str(row));
    row.transpose()
        .map_err(|error| Error::Sql(error.to_string()))
}

/// `outcome, key_count, kids, next_fetch, last_error`
type Row = (
    String,
    i32,
    Vec<String>,
    Option<TimestampWithTimeZone>,
    Option<String>,
);

/// Has an issuer's keys fetched now, and waits for it. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn refresh_jwt_keys(
    name: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(outcome, String),
            name!(key_count, i32),
            name!(kids, Vec<String>),
            name!(next_fetch, Option<TimestampWithTimeZone>),
            name!(last_error, Option<String>),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let refresh = || -> Result<Row, Bad> {
        let name = name.as_deref().ok_or(Bad::Null("name"))?;
        if xact::is_read_only() {
            return Err(Bad::ReadOnly);
        }
        let issuer = definition::registered(Some(name))?.pop();
        let issuer = issuer.ok_or_else(|| Bad::Unknown(name.to_owned()))?;
        if !issuer.is_fetched() {
            return Err(Bad::Pasted(name.to_owned()));
        }
        fetch_now(name)
    };
    let row = refresh().map_err(error::report)?;
    Ok(TableIterator::once(row))
}

fn fetch_now(name: &str) -> Result<Row, Bad> {
    // More than an attempt can take, and the one before it.
    const LONGEST: Duration = Duration::from_secs(25);
    let bad = |error: Error| Bad::Sql(error.to_string());
    let asked_at = Some(clock::now());
    wishes::ask(server::database(), wishes::issuer(name), true, i64::MIN);
    wakeup::wake();
    // One that had begun before may have been answered before.
    let is_ours =
        |known: &State| known.attempted_at >= asked_at && known.finished_at >= known.attempted_at;
    let has_ended = wait(name, LONGEST, is_ours).map_err(bad)?;
    let rows = identity::elevated(|| {
        spi::query(
            "SELECT i.key_count, i.kids, f.next_fetch, f.last_error
               FROM _scope.jwt_issuer i
               LEFT JOIN _scope.jwt_issuer_fetch f ON f.name OPERATOR(pg_catalog.=) i.name
              WHERE i.name OPERATOR(pg_catalog.=) $1",
            &[name.into()],
            |row| {
                let problem: Option<String> = row.get(4)?;
                let outcome = match (has_ended, &problem) {
                    (false, _) => "pending",
                    (true, Some(_)) => "failed",
                    (true, None) => "fetched",
                };
                Ok((
                    outcome.to_owned(),
                    row.get::<i32>(1)?.unwrap_or(0),
                    row.get::<Vec<String>>(2)?.unwrap_or_default(),
                    row.get::<TimestampWithTimeZone>(3)?,
                    problem,
                ))
            },
        )
    })?;
    rows.into_iter()
        .next()
        .ok_or_else(|| Bad::Unknown(name.to_owned()))
}
