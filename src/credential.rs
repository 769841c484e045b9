//! Credentials: LOGIN roles that are members of a scope, own nothing and have a deadline.

mod beyond;
pub mod deadline;
mod error;
pub mod issue;
pub mod itself;
pub mod life;
pub mod options;
mod password;
mod renew;
mod rotate;
mod scopes;
mod scram;
mod short;
mod uri;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use crate::error::{notice, report, require_preload};
use crate::guc;
use crate::pg::arguments::{Cidr, Text};
use crate::pg::name::Name;
use crate::pg::{clock, server};
use crate::scope::{self, name};
use crate::timestamp;
use deadline::Unacceptable;
pub use issue::{Issued, Membership, Request, issue};
use options::Given;
pub use options::{BadOption, Options};
pub use renew::prolong;
pub use scopes::{Error as BadScopes, check as require_scope, membership as membership_in};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no table was given")]
    NoTable,
    #[error("role \"{role}\" already exists")]
    Exists { role: String },
    #[error("the purpose is too long")]
    PurposeTooLong { bytes: usize, max: usize },
    #[error("TLS cannot be required of a server that has none")]
    NoTls,
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
    Option(#[from] BadOption),
    #[error(transparent)]
    Scope(#[from] scope::Error),
    #[error(transparent)]
    Scopes(#[from] scopes::Error),
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

/// A function that hands out a login, after the arguments that all of them have; the row that it returns, where it is not [`issue::Row`].
macro_rules! hands_out {
    ($(#[$about:meta])* $function:ident($($arguments:tt)*), |$options:ident| $issued:expr) => {
        $crate::credential::hands_out!(
            $(#[$about])* $function($($arguments)*) -> (
                name!(role_name, Name),
                name!(password, String),
                name!(valid_until, Option<TimestampWithTimeZone>),
                name!(connection_uri, String),
            ),
            |$options| $issued,
            |row| row
        );
    };
    (
        $(#[$about:meta])* $function:ident($($arguments:tt)*) -> ($($columns:tt)*),
        |$options:ident| $issued:expr,
        |$row:pat_param| $shown:expr
    ) => {
        $(#[$about])*
        #[pg_extern(sql = false)]
        #[allow(clippy::too_many_arguments, clippy::type_complexity)]
        fn $function(
            $($arguments)*
            allowed_ips: Option<Vec<Option<Cidr>>>,
            allow_local: Option<bool>,
            require_tls: Option<bool>,
            connection_limit: Option<i32>,
            statement_timeout: Option<Interval>,
            idle_in_transaction_session_timeout: Option<Interval>,
            search_path: Option<Vec<Option<$crate::pg::arguments::Text>>>,
        ) -> Result<TableIterator<'static, ($($columns)*)>, ErrorReport> {
            require_preload()?;
            let $options = $crate::credential::options(
                allowed_ips,
                allow_local,
                require_tls,
                connection_limit,
                statement_timeout,
                idle_in_transaction_session_timeout,
                $crate::pg::arguments::strings(search_path),
            );
            let issued: Result<Issued, _> = $issued;
            issued
                .map(|issued| {
                    let $row = issued.into_row();
                    TableIterator::once($shown)
                })
                .map_err(report)
        }
    };
}
pub(crate) use hands_out;

hands_out!(
    /// A member of scopes that exist. Documented in `sql/functions.sql`.
    create_credential(
        scopes: Option<Vec<Option<Name>>>,
        role_name: Option<Text>,
        valid_for: Option<Interval>,
        purpose: Option<Text>,
    ),
    |options| options.map_err(Error::from).and_then(|options| {
        let request = Request {
            role_name: role_name.as_deref(),
            valid_for,
            purpose: purpose.as_deref(),
            options,
            function: "create_credential",
            verb: "login",
            right: issue::Right::Caller,
        };
        let scopes = scopes::named(scopes)?;
        issue(request, || scopes::membership(&scopes))
    })
);

/// The deadline in Unix microseconds, judged against the administrator's limits, and no later than the
/// right of whoever asks for it ends.
pub fn deadline_of(valid_for: Option<Interval>) -> Result<i64, Unacceptable> {
    let now = clock::now();
    let max = guc::max_ttl();
    let deadline = match valid_for {
        None => now.saturating_add(guc::default_ttl().saturating_mul(1_000_000)),
        Some(interval) => {
            deadline::bound(parts(&interval), max)?;
            let deadline = clock::after(now, interval);
            deadline::check(now, deadline, max)?;
            deadline
        }
    };
    match itself::ends_at() {
        Some(end) if end < deadline => {
            notice(
                "the login ends earlier, with the right of whoever asks for it".to_owned(),
                &format!(
                    "Their login, their token, or a temporary membership of theirs, ends at {}.",
                    timestamp::rfc3339(end)
                ),
                "Have it issued by a role that does not end.",
            );
            Ok(end)
        }
        _ => Ok(deadline),
    }
}

/// The options as SQL functions get them, in the order of their arguments.
pub fn options(
    allowed_ips: Option<Vec<Option<Cidr>>>,
    allow_local: Option<bool>,
    require_tls: Option<bool>,
    connection_limit: Option<i32>,
    statement_timeout: Option<Interval>,
    idle_in_transaction_session_timeout: Option<Interval>,
    search_path: Option<Vec<Option<String>>>,
) -> Result<Options, BadOption> {
    let text = |cidr: Option<Cidr>| cidr.map(|cidr| cidr.0);
    Given {
        allowed_ips: allowed_ips.map(|ips| ips.into_iter().map(text).collect()),
        allow_local,
        require_tls,
        connection_limit,
        statement_timeout: statement_timeout.as_ref().map(parts),
        idle_in_transaction_session_timeout: idle_in_transaction_session_timeout
            .as_ref()
            .map(parts),
        search_path,
    }
    .check()
}

/// PostgreSQL's value as the pure rooms take it.
pub fn parts(interval: &Interval) -> deadline::Interval {
    deadline::Interval {
        months: interval.months(),
        days: interval.days(),
        micros: interval.micros(),
    }
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
