//! What the worker reads and writes of issuers.

use pgrx::datum::TimestampWithTimeZone;
use serde::Deserialize;

use crate::audit::{self, Action, Value};
use crate::guc;
use crate::jwks::schedule::{self, Known, Want};
use crate::jwks::{Accepted, Order, Outcome, Problem, shown};
use crate::jwt::KeySet;
use crate::own_tables;
use crate::pg::xact::raised;
use crate::pg::{clock, identity, spi};
use crate::wakeup::keys::{self as wishes, Issuer, Wish};

/// Who has asked for which issuers, until an attempt is made.
#[derive(Default)]
pub struct Wants(Vec<(Issuer, Want)>);

impl Wants {
    pub fn extend(&mut self, wishes: &[Wish]) {
        let asked = wishes.iter().filter(|wish| wish.issuer != 0);
        self.0.extend(asked.map(|wish| match wish.by_hand {
            true => (wish.issuer, Want::Administrator),
            false => (wish.issuer, Want::Token),
        }));
    }

    /// Those that have had their attempt, or are refused one, are done with. An administrator's comes after one that is going on.
    fn settle(&mut self, asked: &[Issuer]) {
        self.0
            .retain(|(issuer, want)| *want == Want::Administrator && asked.contains(issuer));
    }

    fn of(&self, name: &str) -> Want {
        let issuer = wishes::issuer(name);
        let wants = self.0.iter().filter(|(known, _)| *known == issuer);
        wants.map(|&(_, want)| want).max().unwrap_or(Want::Time)
    }
}

/// An attempt that has been stamped.
pub struct Due {
    pub name: String,
    pub order: Order,
    discover: bool,
    algorithms: Vec<String>,
    stale_for: Option<u32>,
    /// As it was before.
    failing: bool,
    last_error: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    issuer: String,
    algorithms: Vec<String>,
    keys_url: Option<String>,
    discover: bool,
    ca_file: Option<String>,
    bearer_token_file: Option<String>,
    stale_for: Option<u32>,
    has_keys: bool,
    attempted_at: Option<i64>,
    finished_at: Option<i64>,
    next_fetch: Option<i64>,
    failures: u32,
    failing: bool,
    last_error: Option<String>,
    etag: Option<String>,
}

/// The attempts to be made now, `most` at most, each stamped: a worker that dies in it has failed. Where the extension is not installed,
/// tables of these names are somebody else's.
pub fn begin(now: i64, wants: &mut Wants, most: usize, asked: &[Issuer]) -> Vec<Due> {
    const ALL: &str = "
        SELECT pg_catalog.jsonb_build_object(
                 'name', i.name, 'issuer', i.issuer, 'algorithms', i.algorithms, 'keys_url', i.keys_url, 'discover', i.discover,
                 'ca_file', i.ca_file, 'bearer_token_file', i.bearer_token_file, 'has_keys', i.keys IS NOT NULL,
                 'stale_for', pg_catalog.floor(EXTRACT(epoch FROM i.keys_stale_for))::bigint,
                 'attempted_at', (EXTRACT(epoch FROM f.attempted_at) OPERATOR(pg_catalog.*) 1000000)::bigint,
                 'finished_at', (EXTRACT(epoch FROM f.finished_at) OPERATOR(pg_catalog.*) 1000000)::bigint,
                 'next_fetch', (EXTRACT(epoch FROM f.next_fetch) OPERATOR(pg_catalog.*) 1000000)::bigint,
                 'failures', COALESCE(f.failures, 0), 'failing', f.failing_since IS NOT NULL, 'last_error', f.last_error,
                 'etag', f.etag)::text
          FROM _scope.jwt_issuer i
          LEFT JOIN _scope.jwt_issuer_fetch f ON f.name OPERATOR(pg_catalog.=) i.name
         WHERE i.keys_url IS NOT NULL OR i.discover
         ORDER BY f.next_fetch NULLS FIRST, i.name";
    if own_tables::find(own_tables::ISSUER).is_none() {
        return Vec::new();
    }
    let (trust, proxy) = (guc::jwks_trust(), guc::jwks_proxy());
    identity::elevated(|| {
        let rows = raised(spi::query(ALL, &[], |row| row.get::<String>(1)));
        let rows = rows.into_iter().flatten();
        let rows = rows.filter_map(|row| serde_json::from_str::<Row>(&row).ok());
        let is_due = |row: &Row| {
            let known = Known {
                attempted_at: row.attempted_at,
                finished_at: row.finished_at,
                next_fetch: row.next_fetch,
                failures: row.failures,
            };
            !asked.contains(&wishes::issuer(&row.name)) && known.is_due(wants.of(&row.name), now)
        };
        let due: Vec<Row> = rows.filter(is_due).take(most).collect();
        wants.settle(asked);
        due.into_iter()
            .map(|row| {
                stamp(&row, now);
                let algorithms = row.algorithms.iter();
                Due {
                    order: Order {
                        issuer: row.issuer,
                        algorithms: algorithms.filter_map(|name| name.parse().ok()).collect(),
                        keys_url: row.keys_url,
                        ca_file: row.ca_file,
                        bearer_token_file: row.bearer_token_file,
                        etag: row.etag.filter(|_| row.has_keys),
                        trust: trust.clone(),
                        proxy: proxy.clone(),
                    },
                    name: row.name,
                    discover: row.discover,
                    algorithms: row.algorithms,
                    stale_for: row.stale_for,
                    failing: row.failing,
                    last_error: row.last_error,
                }
            })
            .collect()
    })
}

fn stamp(row: &Row, now: i64) {
    let failures = row.failures.saturating_add(1);
    let next = schedule::retry_at(now, failures, random());
    let written = spi::query(
        "INSERT INTO _scope.jwt_issuer_fetch AS f (name, attempted_at, next_fetch, failures) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE
            SET attempted_at = EXCLUDED.attempted_at, next_fetch = EXCLUDED.next_fetch, failures = EXCLUDED.failures",
        &[
            row.name.as_str().into(),
            time(now).into(),
            time(next).into(),
            i32::try_from(failures).unwrap_or(i32::MAX).into(),
        ],
        |_| Ok(()),
    );
    raised(written);
}

/// Writes down what came of an attempt, unless the issuer has another source by now.
pub fn record(due: &Due, outcome: Outcome) {
    identity::elevated(|| {
        let Some(kids) = claim(due) else { return };
        let now = clock::now();
        match checked(outcome) {
            Outcome::Failed(problem) => failed(due, problem, now),
            Outcome::Unchanged { lifetime } => fetched(due, lifetime, None, 0, false, now),
            Outcome::Keys {
                keys,
                lifetime,
                etag,
            } => {
                let is_new = replace(due, &keys, &kids);
                fetched(due, lifetime, Some(etag), keys.broken, is_new, now);
            }
        }
    });
}

/// Locks the issuer's row; the names of its keys. `None`: it is gone, or its keys come from somewhere else.
fn claim(due: &Due) -> Option<Vec<String>> {
    let found = spi::query(
        "SELECT kids FROM _scope.jwt_issuer
          WHERE name OPERATOR(pg_catalog.=) $1 AND issuer OPERATOR(pg_catalog.=) $2
            AND keys_url IS NOT DISTINCT FROM $3 AND discover OPERATOR(pg_catalog.=) $4
            AND algorithms OPERATOR(pg_catalog.=) $5 FOR UPDATE",
        &[
            due.name.as_str().into(),
            due.order.issuer.as_str().into(),
            due.order.keys_url.as_deref().into(),
            due.discover.into(),
            due.algorithms.clone().into(),
        ],
        |row| row.get::<Vec<String>>(1),
    );
    raised(found).into_iter().flatten().next()
}

/// The child has talked to strangers: what it says is read once more.
fn checked(outcome: Outcome) -> Outcome {
    let Outcome::Keys { keys, .. } = &outcome else {
        return outcome;
    };
    match KeySet::parse(keys.text.as_bytes(), false) {
        Ok(set) if !set.has_secrets() && set.len() == keys.count => outcome,
        _ => Outcome::Failed(Problem::NoKeySet),
    }
}

/// Writes the keys, if they are others than those that are there.
fn replace(due: &Due, keys: &Accepted, before: &[String]) -> bool {
    let changed = raised(spi::query(
        "UPDATE _scope.jwt_issuer SET keys = $2, key_count = $3, kids = $4, changed_at = pg_catalog.now()
          WHERE name OPERATOR(pg_catalog.=) $1 AND keys IS DISTINCT FROM $2 RETURNING 1",
        &[
            due.name.as_str().into(),
            keys.text.as_str().into(),
            i32::try_from(keys.count).unwrap_or(i32::MAX).into(),
            keys.kids.clone().into(),
        ],
        |row| row.get::<i32>(1),
    ));
    if changed.is_empty() {
        return false;
    }
    let without = |these: &[String], those: &[String]| -> Vec<String> {
        let others = these.iter().filter(|kid| !those.contains(kid));
        others.map(|kid| shown(kid)).collect()
    };
    let (came, went) = (without(&keys.kids, before), without(before, &keys.kids));
    let fields = [
        ("came", Value::Texts(&came)),
        ("went", Value::Texts(&went)),
        (
            "keys",
            Value::Number(i64::try_from(keys.count).unwrap_or(i64::MAX)),
        ),
    ];
    audit::administered(Action::KeysChanged, "fetch", &due.name, &fields);
    true
}

/// `etag`: what the server called this version, if it is another than before.
fn fetched(
    due: &Due,
    lifetime: Option<i64>,
    etag: Option<Option<String>>,
    broken: usize,
    is_new: bool,
    now: i64,
) {
    let times = schedule::times(now, lifetime, guc::jwks_ages(), due.stale_for, random());
    let written = spi::query(
        "UPDATE _scope.jwt_issuer_fetch
            SET finished_at = $2, fetched_at = $2, fresh_until = $3, next_fetch = $4, stale_until = $5, failures = 0,
                failing_since = NULL, last_error = NULL, keys_changed_at = CASE WHEN $6 THEN $2 ELSE keys_changed_at END,
                etag = CASE WHEN $7 THEN $8 ELSE etag END, weak_keys = CASE WHEN $7 THEN $9 ELSE weak_keys END
          WHERE name OPERATOR(pg_catalog.=) $1",
        &[
            due.name.as_str().into(),
            time(now).into(),
            time(times.fresh_until).into(),
            time(times.next_fetch).into(),
            time(times.stale_until).into(),
            is_new.into(),
            etag.is_some().into(),
            etag.flatten().into(),
            i32::try_from(broken).unwrap_or(i32::MAX).into(),
        ],
        |_| Ok(()),
    );
    raised(written);
}

/// What was fetched before stays as it is.
fn failed(due: &Due, problem: Problem, now: i64) {
    let words = problem.to_string();
    let written = spi::query(
        "UPDATE _scope.jwt_issuer_fetch
            SET finished_at = $2, last_error = $3, failing_since = COALESCE(failing_since, $2)
          WHERE name OPERATOR(pg_catalog.=) $1",
        &[
            due.name.as_str().into(),
            time(now).into(),
            words.as_str().into(),
        ],
        |_| Ok(()),
    );
    raised(written);
    // The same again is no news.
    if !due.failing || due.last_error.as_deref() != Some(&words) {
        let fields = [("reason", Value::Text(&words))];
        audit::administered(Action::KeysFailed, "fetch", &due.name, &fields);
    }
}

/// When something is to be fetched next in this database; `None`: nothing.
pub fn next() -> Option<i64> {
    own_tables::find(own_tables::ISSUER)?;
    identity::elevated(|| {
        let found = raised(spi::query(
            "SELECT (EXTRACT(epoch FROM pg_catalog.min(COALESCE(f.next_fetch, pg_catalog.now()))) OPERATOR(pg_catalog.*) 1000000)::bigint
               FROM _scope.jwt_issuer i
               LEFT JOIN _scope.jwt_issuer_fetch f ON f.name OPERATOR(pg_catalog.=) i.name
              WHERE i.keys_url IS NOT NULL OR i.discover",
            &[],
            |row| row.get::<i64>(1),
        ));
        found.into_iter().flatten().next()
    })
}

fn time(micros: i64) -> Option<TimestampWithTimeZone> {
    clock::to_sql(micros)
}

/// From 0 to 1, so that many servers don't ask at the same moment.
fn random() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
