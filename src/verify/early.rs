//! The verdict on a token while its client logs in, when no table can be read: by the copy of its database's issuers. Revocations, uses and
//! the role are the database's to judge, where the session begins.

use std::rc::Rc;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::copy::{self, Copied, Rows};
use super::{Accepted, By, Error, Rules, issuer, tag, verify_by};
use crate::guc;
use crate::jwt::{Refusal, Unverified};
use crate::pg::clock;
use crate::wakeup::{self, keys as wishes};

/// How long a login waits for the issuers of its database; PostgreSQL's authentication_timeout runs, too.
const LONGEST: Duration = Duration::from_secs(3);
/// And for others than those that it has found.
const OTHERS: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(5);
const ASKS_AGAIN: Duration = Duration::from_secs(1);
/// Microseconds: what is younger is not read once more because of a token that it does not explain, and nothing fetched.
const FRESH: i64 = 1_000_000;

pub fn verify(token: &str, database: pg_sys::Oid) -> Result<Accepted, Error> {
    let began = clock::now();
    // What is no token makes nobody wait.
    Unverified::parse(token)
        .and_then(|mut read| read.issuer().map(|_| ()))
        .map_err(unread)?;
    let rows = read_after(database, i64::MIN, LONGEST)?.ok_or(Error::NotAtHand { bytes: None })?;
    let at = rows.at;
    let (rules, verdict) = judge(token, &rows)?;
    drop(rows);
    if is_explained(&verdict) {
        return verdict;
    }
    let fetched = rules.filter(|rules| rules.is_fetched && !guc::jwks_wait().is_zero());
    if let Some(name) = fetched.and_then(|rules| rules.name.as_deref().map(wishes::issuer)) {
        // A login that has waited for a copy has not made others wait.
        let from = if at < began {
            at.saturating_add(FRESH)
        } else {
            began
        };
        return fetch(token, verdict, at, database, name, from);
    }
    if at >= began.saturating_sub(FRESH) {
        return verdict;
    }
    match read_after(database, clock::now(), OTHERS)? {
        Some(rows) => judge(token, &rows)?.1,
        None => verdict,
    }
}

/// Is it more than that what is known has nothing of it, or is too old?
fn is_explained(verdict: &Result<Accepted, Error>) -> bool {
    let unknown = Refusal::UnknownKey;
    !matches!(
        verdict,
        Err(Error::UnknownIssuer { .. } | Error::KeysExpired { .. })
    ) && !matches!(verdict, Err(Error::Token { refusal, .. }) if *refusal == unknown)
}

/// What has been read after this moment. A worker is asked to.
fn read_after(database: pg_sys::Oid, after: i64, longest: Duration) -> Result<Option<Rows>, Error> {
    let started = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(rows) = newer(database, after)? {
            return Ok(Some(rows));
        }
        if started.elapsed() >= longest {
            return Ok(None);
        }
        if asked.is_none_or(|at| at.elapsed() >= ASKS_AGAIN) {
            asked = Some(Instant::now());
            wishes::visit_at(database, i64::MIN);
            wakeup::wake();
        }
        tick();
    }
}

/// Has the keys of an issuer fetched from a moment on, if that is due, and waits for as long as `scope_roles.jwks_wait` says.
fn fetch(
    token: &str,
    mut verdict: Result<Accepted, Error>,
    mut at: i64,
    database: pg_sys::Oid,
    name: wishes::Issuer,
    from: i64,
) -> Result<Accepted, Error> {
    let started = Instant::now();
    wishes::ask(database, name, false, from);
    wakeup::wake();
    let mut taken = None;
    loop {
        if taken.is_none() && !wishes::is_wanted(database, name) {
            taken = Some(clock::now());
        }
        // First: what has been written meanwhile is looked at.
        let is_over = started.elapsed() >= guc::jwks_wait()
            || taken.is_some_and(|taken| {
                copy::at(database).is_some_and(|(at, ends_visit)| ends_visit && at >= taken)
            });
        if let Some(rows) = newer(database, at)? {
            at = rows.at;
            verdict = judge(token, &rows)?.1;
        }
        if is_over || is_explained(&verdict) {
            return verdict;
        }
        tick();
    }
}

fn newer(database: pg_sys::Oid, after: i64) -> Result<Option<Rows>, Error> {
    if copy::at(database).is_none_or(|(at, _)| at <= after) {
        return Ok(None);
    }
    match copy::of(database) {
        Copied::Rows(rows) => Ok(Some(rows)),
        Copied::TooMuch(bytes) => Err(Error::NotAtHand { bytes: Some(bytes) }),
        Copied::Nothing => Ok(None),
    }
}

fn tick() {
    std::thread::sleep(TICK);
    pgrx::check_for_interrupts!();
}

fn unread(refusal: Refusal) -> Error {
    let by = By::Nobody;
    Error::Token { refusal, by }
}

type Judged = (Option<Rc<Rules>>, Result<Accepted, Error>);

fn judge(token: &str, rows: &Rows) -> Result<Judged, Error> {
    let mut read = Unverified::parse(token).map_err(unread)?;
    let claimed = read.issuer().map_err(unread)?;
    let rules = match claimed {
        Some(claimed) => issuer::among(rows.texts(), &claimed)?,
        None => None,
    };
    let Some(rules) = rules else {
        let (tried, near) = (None, None);
        return Ok((None, Err(Error::UnknownIssuer { tried, near })));
    };
    let verdict = verify_by(rules.clone(), read, token, tag(token)?, (0, 0));
    Ok((Some(rules), verdict))
}
