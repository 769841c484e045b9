//! Signatures on what roles can do: those that are too old, and what is another than what was signed.

use std::collections::BTreeMap;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::check::Severity;
use super::findings::{ATTESTATION_CHANGED, ATTESTATION_OVERDUE};
use super::{Error, Finding, MICROS_PER_DAY};
use crate::pg::{clock, identity, spi};
use crate::{access, timestamp};

/// A quarter of a year.
const ATTESTED_FOR_DAYS: i64 = 90;
/// Of what has changed, this many objects are shown.
const SHOWN_CHANGES: usize = 100;

struct Attestation {
    role: u32,
    name: String,
    by: String,
    at: i64,
    access: Vec<String>,
}

pub fn findings() -> Result<Vec<Finding>, Error> {
    let none: [DatumWithOid<'_>; 0] = [];
    // A role of the same name that was made since is another one.
    let last = identity::elevated(|| {
        spi::read(
            "SELECT DISTINCT ON (a.role_oid) a.role_oid, r.rolname::text, a.attested_by, (extract(epoch FROM a.attested_at) * 1000000)::bigint, a.access
               FROM _scope.attestation a JOIN pg_authid r ON r.oid = a.role_oid AND r.rolname = a.role
              ORDER BY a.role_oid, a.attested_at DESC",
            &none,
            |row| {
                Ok(Attestation {
                    role: row.get::<pg_sys::Oid>(1)?.map_or(0, u32::from),
                    name: row.get::<String>(2)?.unwrap_or_default(),
                    by: row.get::<String>(3)?.unwrap_or_default(),
                    at: row.get::<i64>(4)?.unwrap_or(0),
                    access: row.get::<Vec<String>>(5)?.unwrap_or_default(),
                })
            },
        )
    })?;
    let now = clock::now();
    let mut found = Vec::new();
    for attestation in last {
        let finding = |severity, code, what, fix: String| Finding {
            severity,
            code,
            role: Some(attestation.name.clone()),
            object: None,
            what,
            since: Some(attestation.at),
            fix: Some(fix),
        };
        let today = access::lines(attestation.role.into())?;
        let changes = changes(&attestation.access, &today, now);
        let days = now.saturating_sub(attestation.at) / MICROS_PER_DAY;
        if days >= ATTESTED_FOR_DAYS {
            found.push(finding(
                Severity::Low,
                ATTESTATION_OVERDUE,
                format!("{} attested its access {days} days ago", attestation.by),
                format!(
                    "SELECT scope.attest({}, 'reviewed');",
                    spi::literal(&spi::identifier(&attestation.name))
                ),
            ));
        }
        if !changes.is_empty() {
            found.push(finding(
                Severity::Medium,
                ATTESTATION_CHANGED,
                format!(
                    "since {} attested its access: {}",
                    attestation.by,
                    in_words(&changes)
                ),
                "-- revoke what is not right; scope.attest() then signs what is left".to_owned(),
            ));
        }
    }
    Ok(found)
}

/// How it differs from what was signed, and in what.
fn changes(before: &[String], now: &[String], clock: i64) -> Vec<(&'static str, String)> {
    let is_over = |end: &Option<i64>| end.is_some_and(|end| end <= clock);
    let before: BTreeMap<&str, Option<i64>> = before.iter().map(|line| parts(line)).collect();
    let now: BTreeMap<&str, Option<i64>> = now
        .iter()
        .map(|line| parts(line))
        .filter(|(_, end)| !is_over(end))
        .collect();
    let new = now.keys().filter(|line| !before.contains_key(*line));
    let new = new.map(|line| ("new", (*line).to_owned()));
    let planned = |end: &Option<i64>| is_over(end);
    let gone = before
        .iter()
        .filter(|(line, end)| !now.contains_key(*line) && !planned(end));
    let gone = gone.map(|(line, _)| ("gone", (*line).to_owned()));
    let stayed = before
        .iter()
        .filter(|(line, end)| now.contains_key(*line) && planned(end));
    let stayed = stayed.map(|(line, _)| ("should have ended", (*line).to_owned()));
    new.chain(gone).chain(stayed).collect()
}

/// What it may do, and when that ends. Nothing that is named can come after the bracket, nor be the whole of a time.
fn parts(line: &str) -> (&str, Option<i64>) {
    line.rsplit_once(access::UNTIL)
        .filter(|(access, _)| access.ends_with(')'))
        .and_then(|(access, end)| Some((access, Some(timestamp::parse(end)?))))
        .unwrap_or((line, None))
}

/// Privileges on one object are told at once.
fn in_words(changes: &[(&'static str, String)]) -> String {
    let mut told: Vec<(&str, Vec<&str>, &str)> = Vec::new();
    for (how, line) in changes {
        let (right, object) = line.split_once(" on ").unwrap_or(("", line));
        match told
            .iter_mut()
            .find(|(told, _, on)| told == how && *on == object)
        {
            Some((_, rights, _)) => rights.push(right),
            None => told.push((how, vec![right], object)),
        }
    }
    let more = told.len().saturating_sub(SHOWN_CHANGES);
    let mut words: Vec<String> = told
        .into_iter()
        .take(SHOWN_CHANGES)
        .map(|(how, rights, object)| format!("{how}: {} on {object}", rights.join(", ")))
        .collect();
    if more > 0 {
        words.push(format!("and {more} more objects"));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "2026-11-21T08:49:54.000000Z";

    fn told(before: &[&str], now: &[&str], clock: &str) -> String {
        let owned = |lines: &[&str]| {
            lines
                .iter()
                .map(|&line| line.to_owned())
                .collect::<Vec<_>>()
        };
        let clock = timestamp::parse(clock).unwrap_or(0);
        in_words(&changes(&owned(before), &owned(now), clock))
    }

    #[test]
    fn attested_access_that_ends_as_planned_is_no_change() {
        let line = "SELECT on table public.t (inherited through p)";
        let until = format!("{line} until {END}");
        let (early, late) = ("2026-11-21T08:00:00Z", "2026-11-21T09:00:00Z");
        assert_eq!(told(&[&until], &[&until], early), "");
        assert_eq!(told(&[&until], &[], late), "");
        assert_eq!(told(&[&until], &[], early), format!("gone: {line}"));
        // The worker has not been there yet.
        assert_eq!(told(&[&until], &[&until], late), "");
        // It was prolonged.
        let longer = format!("{line} until 2027-01-01T00:00:00Z");
        assert_eq!(told(&[&until], &[&longer], early), "");
        assert_eq!(
            told(&[&until], &[&longer], late),
            format!("should have ended: {line}")
        );
        assert_eq!(
            told(&[&until], &[line], late),
            format!("should have ended: {line}")
        );
    }

    #[test]
    fn attested_access_is_compared_object_by_object() {
        let before = ["SELECT on table a (direct)", "UPDATE on table a (direct)"];
        let now = [
            "DELETE on table a (direct)",
            "INSERT on table a (direct)",
            "SELECT on table \"x) until 2020-01-01T00:00:00Z\" (direct)",
        ];
        assert_eq!(
            told(&before, &now, END),
            "new: DELETE, INSERT on table a (direct); new: SELECT on table \"x) until 2020-01-01T00:00:00Z\" (direct); \
             gone: SELECT, UPDATE on table a (direct)"
        );
        let many: Vec<String> = (0..150)
            .map(|i| format!("SELECT on table t{i} (direct)"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(told(&[], &many, END).ends_with("; and 50 more objects"));
    }
}
