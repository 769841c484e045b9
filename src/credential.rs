//! Credentials: LOGIN roles that are members of a scope, own nothing and have a deadline.

pub mod deadline;
mod password;
mod scram;
mod uri;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use crate::error;
use crate::guc;
use crate::label::{self, Kind};
use crate::pg::advisory::{self, Mode};
use crate::pg::name::Name;
use crate::pg::{catalog, clock, compat, identity, server, spi, xact};
use crate::scope::{self, Scope, name};
use crate::timestamp;
use deadline::Unacceptable;

/// Keeps a label readable at login; see `label`.
const MAX_PURPOSE_BYTES: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no table was given")]
    NoTable,
    #[error("role \"{role}\" already exists")]
    Exists { role: String },
    #[error("the purpose is too long")]
    PurposeTooLong { bytes: usize, max: usize },
    #[error("cannot issue a credential in a read-only transaction")]
    ReadOnly,
    #[error("the system gave no random bytes")]
    Random,
    #[error("the role that was just created is not there")]
    Vanished,
    #[error("the catalogs could not be changed")]
    Sql(String),
    #[error(transparent)]
    Name(#[from] name::BadName),
    #[error(transparent)]
    Deadline(#[from] Unacceptable),
    #[error(transparent)]
    Scope(#[from] scope::Error),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

impl From<password::NoRandomness> for Error {
    fn from(_: password::NoRandomness) -> Self {
        Self::Random
    }
}

/// What the caller gets, once.
struct Issued {
    role: String,
    password: Zeroizing<String>,
    valid_until: i64,
    uri: Zeroizing<String>,
}

/// A credential that may read one table. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn create_readonly_role(
    table: Option<pg_sys::Oid>,
    role_name: Option<&str>,
    valid_for: Option<Interval>,
    purpose: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(role_name, Name),
            name!(password, String),
            name!(valid_until, Option<TimestampWithTimeZone>),
            name!(connection_uri, String),
        ),
    >,
    ErrorReport,
> {
    error::require_preload()?;
    let issued = readonly(table, role_name, valid_for, purpose).map_err(error::report)?;
    Ok(TableIterator::once((
        Name::from(issued.role),
        issued.password.to_string(),
        clock::to_sql(issued.valid_until),
        issued.uri.to_string(),
    )))
}

fn readonly(
    table: Option<pg_sys::Oid>,
    role_name: Option<&str>,
    valid_for: Option<Interval>,
    purpose: Option<&str>,
) -> Result<Issued, Error> {
    let table = table.ok_or(Error::NoTable)?;
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    if let Some(role) = role_name {
        name::check(role)?;
    }
    check_purpose(purpose)?;
    let valid_until = deadline_of(valid_for)?;
    if let Some(role) = role_name {
        require_free(role)?;
    }
    // The slow part of issuing, before any lock is held.
    let secret = Secret::generate()?;
    let scope = scope::readonly(table)?;
    let caller = identity::current_user();
    let role = match role_name {
        Some(role) => role.to_owned(),
        None => free_name(&scope.table)?,
    };
    identity::elevated(|| create(&role, &secret, valid_until, &scope, caller, purpose))?;
    let uri = connection_uri(&role, &secret.password);
    Ok(Issued {
        role,
        password: secret.password,
        valid_until,
        uri,
    })
}

pub fn check_purpose(purpose: Option<&str>) -> Result<(), Error> {
    match purpose {
        Some(purpose) if purpose.len() > MAX_PURPOSE_BYTES => Err(Error::PurposeTooLong {
            bytes: purpose.len(),
            max: MAX_PURPOSE_BYTES,
        }),
        _ => Ok(()),
    }
}

/// The deadline in Unix microseconds, judged against the administrator's limits.
pub fn deadline_of(valid_for: Option<Interval>) -> Result<i64, Unacceptable> {
    let now = clock::now();
    let max = guc::max_ttl();
    let Some(interval) = valid_for else {
        return Ok(now.saturating_add(guc::default_ttl().saturating_mul(1_000_000)));
    };
    let parts = deadline::Interval {
        months: interval.months(),
        days: interval.days(),
        micros: interval.micros(),
    };
    deadline::bound(parts, max)?;
    let deadline = clock::after(now, interval);
    deadline::check(now, deadline, max)?;
    Ok(deadline)
}

pub struct Secret {
    pub password: Zeroizing<String>,
    pub verifier: String,
}

impl Secret {
    pub fn generate() -> Result<Self, Error> {
        let password = password::generate()?;
        let mut salt = [0; scram::SALT_BYTES];
        password::fill(&mut salt)?;
        // PostgreSQL 16 and later have the setting; a session may raise it for itself, not lower it.
        let iterations = server::setting(c"scram_iterations").and_then(|text| text.parse().ok());
        let iterations = iterations.unwrap_or(scram::MIN_ITERATIONS);
        let verifier = scram::verifier(&password, &salt, iterations);
        Ok(Self { password, verifier })
    }
}

pub fn require_free(role: &str) -> Result<(), Error> {
    // Two callers with one name: the second waits and is told.
    advisory::lock(scope::lock_key(role), Mode::Exclusive);
    match catalog::role_by_name(role) {
        Some(_) => Err(Error::Exists {
            role: role.to_owned(),
        }),
        None => Ok(()),
    }
}

fn free_name(table: &str) -> Result<String, Error> {
    loop {
        let mut bytes = [0; 8];
        password::fill(&mut bytes)?;
        let role = name::compose(table, "ro", &name::tag(&bytes));
        if catalog::role_by_name(&role).is_none() {
            return Ok(role);
        }
    }
}

fn create(
    role: &str,
    secret: &Secret,
    valid_until: i64,
    scope: &Scope,
    caller: pg_sys::Oid,
    purpose: Option<&str>,
) -> Result<(), Error> {
    let identifier = spi::identifier(role);
    spi::execute(&format!(
        "CREATE ROLE {identifier} LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION \
         NOBYPASSRLS PASSWORD {} VALID UNTIL {}; GRANT {} TO {identifier}{}",
        spi::literal(&secret.verifier),
        spi::literal(&timestamp::rfc3339(valid_until)),
        spi::identifier(&scope.role),
        compat::MEMBERSHIP_OPTIONS,
    ))?;
    if label::attach(role, Kind::Credential, caller, purpose) {
        Ok(())
    } else {
        Err(Error::Vanished)
    }
}

pub fn connection_uri(role: &str, password: &str) -> Zeroizing<String> {
    let host = guc::connection_host();
    let target = uri::Target {
        host: host.as_deref(),
        port: guc::connection_port().unwrap_or_else(server::port),
        database: &server::database_name(),
        require_tls: server::setting(c"ssl").as_deref() == Some("on"),
    };
    uri::compose(&target, role, password)
}
