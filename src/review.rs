//! The review: findings about roles and privileges, worst first, each with the SQL that fixes it; what
//! has been accepted; hardening, pruning and signatures.

mod acceptances;
mod attestations;
mod check;
mod drift;
mod error;
mod findings;
mod harden;
mod issuers;
mod logins;
mod plants_code;
mod requests;

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::audit::{self, Action};
use crate::error::report;
use crate::pg::arguments::Text;
use crate::pg::name::Name;
use crate::pg::{catalog, clock, identity, preload, server, spi, xact};
use crate::text::visible;
use crate::waiting;
use crate::{access, guc, request, scope};
use check::{Check, Severity, is_empty};
use findings::{CHECKS, NOT_PRELOADED, UNUSED};

const MAX_TEXT_BYTES: usize = 200;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * 1_000_000;
/// Between what is wrong and what works no more once the fix has run.
const WITH_THE_FIX: &str = "; with the fix, ";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("unknown finding \"{code}\"")]
    NoSuchCode { code: String },
    #[error("there is no finding \"{code}\" to accept")]
    NoSuchFinding { code: String, about: String },
    #[error("role with OID {oid} does not exist")]
    NoSuchRole { oid: u32 },
    #[error("cannot attest the access of role \"{role}\"")]
    Oneself { role: String },
    #[error("{what} must have 1 to {MAX_TEXT_BYTES} bytes")]
    Text { what: &'static str, bytes: usize },
    #[error("a finding cannot be accepted for that time")]
    Duration,
    #[error("cannot record a review in a read-only transaction")]
    ReadOnly,
    #[error("the catalogs could not be read")]
    Sql(String),
    #[error(transparent)]
    Access(#[from] access::Error),
    #[error(transparent)]
    Scope(#[from] scope::Error),
    #[error(transparent)]
    Request(#[from] request::Error),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

#[derive(Debug, Clone)]
struct Finding {
    severity: Severity,
    code: &'static str,
    role: Option<String>,
    object: Option<String>,
    what: String,
    /// Unix microseconds.
    since: Option<i64>,
    fix: Option<String>,
}

impl Finding {
    /// What an acceptance is for.
    fn key(&self) -> (String, String, String) {
        (
            self.code.to_owned(),
            self.role.clone().unwrap_or_default(),
            self.object.clone().unwrap_or_default(),
        )
    }
}

/// Documented in `sql/review.sql`, as are the others.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn review() -> Result<
    TableIterator<
        'static,
        (
            name!(severity, String),
            name!(code, String),
            name!(role_name, Option<Name>),
            name!(object_name, Option<String>),
            name!(finding, String),
            name!(since, Option<TimestampWithTimeZone>),
            name!(fix, Option<String>),
            name!(accepted_reason, Option<String>),
            name!(accepted_until, Option<TimestampWithTimeZone>),
            name!(accepted_by, Option<Name>),
        ),
    >,
    ErrorReport,
> {
    let rows = || -> Result<_, Error> {
        let mut accepted = acceptances::current()?;
        let mut rows: Vec<_> = find()?
            .into_iter()
            .map(|finding| {
                let accepted = accepted.remove(&finding.key());
                (finding, accepted)
            })
            .collect();
        rows.sort_by_cached_key(|(finding, accepted)| {
            (accepted.is_some(), finding.severity, finding.key())
        });
        Ok(rows)
    };
    let rows = rows().map_err(report)?;
    Ok(TableIterator::new(rows.into_iter().map(
        |(finding, accepted)| {
            let (reason, until, by) = match accepted {
                Some(accepted) => (
                    Some(accepted.reason),
                    clock::to_sql(accepted.until),
                    Some(Name(accepted.by)),
                ),
                None => (None, None, None),
            };
            (
                finding.severity.word().to_owned(),
                finding.code.to_owned(),
                finding.role.map(Name),
                finding.object,
                visible(&finding.what).into_owned(),
                finding.since.and_then(clock::to_sql),
                finding.fix,
                reason,
                until,
                by,
            )
        },
    )))
}

/// Everything that is wrong, in no order.
fn find() -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    if !preload::done() {
        found.push(Finding {
            severity: Severity::Critical,
            code: NOT_PRELOADED,
            role: None,
            object: None,
            what: "the server runs without the library: no token's role is locked, guarded logins are not checked, and nothing ends"
                .to_owned(),
            since: None,
            fix: None,
        });
    }
    for check in CHECKS.iter().chain(issuers::CHECKS).chain(requests::CHECKS) {
        found.extend(run(check)?);
    }
    found.extend(run(&plants_code::CHECK)?);
    gently(&mut found)?;
    found.extend(run(&UNUSED)?);
    found.extend(drift::of_scopes()?);
    found.extend(logins::find()?);
    found.extend(attestations::findings()?);
    found.extend(requests::find()?);
    Ok(found)
}

/// What PUBLIC loses, those who are seen to use it get first.
fn gently(found: &mut [Finding]) -> Result<(), Error> {
    let steps = harden::plan()?;
    for finding in found {
        let revoke = finding.fix.as_deref().and_then(|fix| fix.strip_suffix(';'));
        let Some((statements, breaks)) = revoke.and_then(|revoke| harden::towards(&steps, revoke))
        else {
            continue;
        };
        finding.fix = Some(statements);
        if let Some(breaks) = breaks {
            finding.what += WITH_THE_FIX;
            finding.what += &breaks;
        }
    }
    Ok(())
}

fn run(check: &Check) -> Result<Vec<Finding>, Error> {
    let sql = format!(
        "SELECT f.role::text, f.object::text, f.what::text,
                CASE WHEN isfinite(f.since::timestamptz) THEN (extract(epoch FROM f.since::timestamptz) * 1000000)::bigint END, f.fix::text
           FROM ({}) f(role, object, what, since, fix)",
        check.sql
    );
    let arguments: [DatumWithOid<'_>; 2] = [
        f64::from(guc::max_password_age()).into(),
        f64::from(guc::unused_after()).into(),
    ];
    let rows = identity::elevated(|| {
        spi::read(&sql, &arguments, |row| {
            Ok(Finding {
                severity: check.severity,
                code: check.code,
                role: row.get(1)?,
                object: row.get(2)?,
                what: what(row.get(3)?, check.stops),
                since: row.get(4)?,
                fix: row.get(5)?,
            })
        })
    })?;
    Ok(rows)
}

/// What is wrong, and what the fix ends.
fn what(what: Option<String>, stops: &str) -> String {
    let mut what = what.unwrap_or_default();
    if !stops.is_empty() {
        what += WITH_THE_FIX;
        what += stops;
    }
    what
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn harden(
    apply: Option<bool>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(statement, Option<String>),
            name!(reason, String),
            name!(breaks, Option<String>),
            name!(done, bool),
        ),
    >,
    ErrorReport,
> {
    let steps = || -> Result<Vec<(harden::Step, bool)>, Error> {
        let apply = apply.ok_or(Error::Null("apply"))?;
        let steps = harden::plan()?;
        let mut left = Vec::new();
        if apply {
            writable()?;
            // As the caller: PostgreSQL asks whether they may.
            let statements: Vec<&str> = steps
                .iter()
                .filter_map(|step| step.statement.as_deref())
                .collect();
            waiting::giving_way(|| {
                identity::pinned(|| statements.iter().try_for_each(|sql| spi::execute(sql)))
            })?;
            for statement in &statements {
                let fields = [("statement", Some(*statement).into())];
                audit::administered(Action::Review, "harden", &server::database_name(), &fields);
            }
            // A REVOKE by somebody who may not is a mere warning.
            left = harden::plan()?;
        }
        let done = |step: &harden::Step| {
            apply
                && step.statement.is_some()
                && !left.iter().any(|left| left.statement == step.statement)
        };
        Ok(steps
            .into_iter()
            .map(|step| {
                let done = done(&step);
                (step, done)
            })
            .collect())
    };
    let steps = steps().map_err(report)?;
    Ok(TableIterator::new(steps.into_iter().map(|(step, done)| {
        (
            step.statement.map(|statement| statement + ";"),
            step.reason,
            step.breaks,
            done,
        )
    })))
}

/// Scopes of this database that nobody needs. Those that somebody has named, a migration for one, only when
/// $1 says so.
const EMPTY_SCOPES: &str = concat!(
    "
SELECT r.rolname::text, format('SELECT scope.drop_scope(%L)', r.rolname), 'a scope without members'
  FROM pg_authid r JOIN pg_shseclabel l ON l.objoid = r.oid AND l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles'
 WHERE l.label::jsonb ->> 'kind' = 'scope' AND l.label::jsonb ->> 'state' = 'active'
   AND ($1 OR l.label::jsonb ->> 'on_request' = 'true')
   AND ",
    is_empty!("l.label::jsonb", "r.oid"),
    " ORDER BY 1"
);

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn prune(
    apply: Option<bool>,
    declared: Option<bool>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(role_name, Name),
            name!(statement, String),
            name!(reason, String),
            name!(done, bool),
        ),
    >,
    ErrorReport,
> {
    let steps = || -> Result<Vec<(String, String, String)>, Error> {
        let apply = apply.ok_or(Error::Null("apply"))?;
        let declared = declared.ok_or(Error::Null("declared"))?;
        let mut steps = identity::elevated(|| {
            spi::read(EMPTY_SCOPES, &[declared.into()], |row| {
                let text = |number| {
                    Ok::<_, pgrx::spi::Error>(row.get::<String>(number)?.unwrap_or_default())
                };
                Ok((text(1)?, text(2)?, text(3)?))
            })
        })?;
        let seen = |finding: &Finding| !finding.what.starts_with(findings::NEVER_SEEN);
        for finding in run(&UNUSED)?.into_iter().filter(seen) {
            let fix = finding.fix.unwrap_or_default();
            let statement = fix.trim_end_matches(';').to_owned();
            let (reason, _) = finding.what.split_once(WITH_THE_FIX).unwrap_or_default();
            steps.push((
                finding.role.unwrap_or_default(),
                statement,
                reason.to_owned(),
            ));
        }
        if apply {
            writable()?;
            // As the caller: these functions ask whether they may.
            waiting::giving_way(|| {
                identity::pinned(|| {
                    steps
                        .iter()
                        .try_for_each(|(_, statement, _)| spi::execute(statement))
                })
            })?;
        }
        Ok(steps)
    };
    let apply = apply.unwrap_or(false);
    let steps = steps().map_err(report)?;
    Ok(TableIterator::new(steps.into_iter().map(
        move |(role, statement, reason)| (Name(role), statement + ";", reason, apply),
    )))
}

#[pg_extern(sql = false)]
fn attest(
    role: Option<pg_sys::Oid>,
    note: Option<Text>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let note = note.as_deref();
    let attest = || -> Result<Option<TimestampWithTimeZone>, Error> {
        let oid = role.ok_or(Error::Null("role"))?;
        let note = text("note", note)?;
        writable()?;
        let role = catalog::role_by_oid(oid).ok_or(Error::NoSuchRole { oid: oid.into() })?;
        let reviewer = identity::session_user();
        // Nobody signs for themselves.
        if [reviewer, identity::current_user()].contains(&role.oid) {
            return Err(Error::Oneself { role: role.name });
        }
        let access = access::lines(role.oid)?;
        let arguments: [DatumWithOid<'_>; 5] = [
            role.name.as_str().into(),
            role.oid.into(),
            note.as_str().into(),
            catalog::name_of(reviewer).into(),
            access.into(),
        ];
        let at = identity::elevated(|| {
            spi::query(
                "INSERT INTO _scope.attestation (role, role_oid, note, attested_by, access) VALUES ($1, $2, $3, $4, $5) RETURNING attested_at",
                &arguments,
                |row| row.get::<TimestampWithTimeZone>(1),
            )
        })?;
        let fields = [("note", Some(note.as_str()).into())];
        audit::administered(Action::Review, "attest", &role.name, &fields);
        Ok(at.into_iter().flatten().next())
    };
    attest().map_err(report)
}

fn writable() -> Result<(), Error> {
    if xact::is_read_only() {
        Err(Error::ReadOnly)
    } else {
        Ok(())
    }
}

fn text(what: &'static str, text: Option<&str>) -> Result<String, Error> {
    let text = text.ok_or(Error::Null(what))?.trim();
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(Error::Text {
            what,
            bytes: text.len(),
        });
    }
    Ok(text.to_owned())
}
