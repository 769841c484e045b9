//! Authenticators: gated logins, which act through tokens only (docs/design.md, "Gated logins make an escape worthless").

mod error;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::credential::issue::{self, Login};
use crate::credential::{self, BadOption, Issued, Options, Secret, hands_out};
use crate::error::{report, require_preload};
use crate::label::{self, Kind, Metadata};
use crate::pg::arguments::{Cidr, Text, strings};
use crate::pg::name::Name;
use crate::pg::{catalog, identity, server, spi, xact};
use crate::scope::{self, name};
use crate::switch::{self, Untakeable};
use crate::waiting;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("an authenticator needs at least one role")]
    NoRoles,
    #[error("permission denied to grant role \"{role}\"")]
    MayNotGrant { role: String, caller: String },
    #[error("permission denied to grant CONNECT on database \"{database}\"")]
    MayNotConnect { database: String, caller: String },
    #[error("too many roles for one authenticator")]
    TooManyRoles,
    #[error("a role was dropped or renamed meanwhile")]
    Replaced,
    #[error(transparent)]
    Role(#[from] Untakeable),
    #[error(transparent)]
    Credential(#[from] credential::Error),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Credential(error.into())
    }
}

hands_out!(
    /// A login that can only take the given roles, by token. Documented in `sql/functions.sql`.
    create_authenticator(
        role_name: Option<Text>,
        roles: Option<Vec<Option<Text>>>,
        valid_for: Option<Interval>,
        purpose: Option<Text>,
    ),
    |options| create(role_name.as_deref(), strings(roles), valid_for, purpose.as_deref(), options)
);

fn create(
    role_name: Option<&str>,
    roles: Option<Vec<Option<String>>>,
    valid_for: Option<Interval>,
    purpose: Option<&str>,
    options: Result<Options, BadOption>,
) -> Result<Issued, Error> {
    let role = role_name.ok_or(Error::Null("role_name"))?;
    let roles = roles
        .ok_or(Error::Null("roles"))?
        .into_iter()
        .collect::<Option<Vec<String>>>()
        .ok_or(Error::Null("an element of roles"))?;
    if roles.is_empty() {
        return Err(Error::NoRoles);
    }
    if xact::is_read_only() {
        return Err(credential::Error::ReadOnly.into());
    }
    name::check(role).map_err(credential::Error::from)?;
    issue::check_purpose(purpose)?;
    let options = options.map_err(credential::Error::from)?;
    issue::check_tls(&options)?;
    let valid_until = valid_for
        .map(|interval| credential::deadline_of(Some(interval)))
        .transpose()
        .map_err(credential::Error::from)?;
    let new = New {
        role,
        roles: &roles,
        purpose,
        options: &options,
        valid_until,
    };
    let before = new.check()?;
    issue::require_free(role)?;
    let secret = Secret::generate()?;
    // What was true before a wait may not be so any more.
    let again = || {
        let now = new.check()?;
        if now.granted == before.granted {
            Ok(now)
        } else {
            Err(Error::Replaced)
        }
    };
    let valid_until = waiting::giving_way(|| {
        again()?;
        issue::claim_free(role)?;
        let ends_at = new.make(Some(&secret.verifier), again()?.connects)?;
        again().map(|_| ends_at)
    })?;
    Ok(Issued {
        role: role.to_owned(),
        uri: issue::connection_uri(role, &secret.password, &options.rules),
        password: secret.password,
        valid_until,
    })
}

/// An authenticator that is to be made.
pub struct New<'a> {
    pub role: &'a str,
    pub roles: &'a [String],
    pub purpose: Option<&'a str>,
    pub options: &'a Options,
    /// Unix microseconds.
    pub valid_until: Option<i64>,
}

/// What [`New::check`] has found.
pub struct Checked {
    granted: Vec<pg_sys::Oid>,
    /// It needs a CONNECT of its own.
    pub connects: bool,
}

impl New<'_> {
    /// May the caller make it?
    pub fn check(&self) -> Result<Checked, Error> {
        let caller = identity::current_user();
        if !self.metadata(caller).fits() {
            return Err(Error::TooManyRoles);
        }
        let granted = self.roles.iter().map(|role| may_grant(caller, role));
        Ok(Checked {
            granted: granted.collect::<Result<_, _>>()?,
            connects: must_grant_connect(caller)?,
        })
    }

    fn metadata(&self, caller: pg_sys::Oid) -> Metadata {
        Metadata {
            login: self.options.rules.clone(),
            roles: self.roles.to_vec(),
            ..label::fresh(Kind::Authenticator, caller, self.purpose)
        }
    }

    /// Makes it, after [`Self::check`], under a name that is free and locked. Without a verifier it
    /// has no password until that is rotated. When it ends.
    pub fn make(&self, verifier: Option<&str>, connects: bool) -> Result<Option<i64>, Error> {
        let caller = identity::current_user();
        let ends_at = credential::itself::ends_at();
        let valid_until = self.valid_until.or(ends_at);
        let metadata = Metadata {
            bound: ends_at.is_some(),
            ..self.metadata(caller)
        };
        let login = Login {
            role: self.role,
            verifier,
            valid_until,
            memberships: self.roles,
            inherits: false,
            options: self.options,
            metadata: &metadata,
        };
        identity::elevated(|| login.create())?;
        issue::issued("create_authenticator", &login);
        if connects {
            let database = spi::identifier(&server::database_name());
            let role = spi::identifier(self.role);
            identity::pinned(|| {
                spi::execute(&format!("GRANT CONNECT ON DATABASE {database} TO {role}"))
            })?;
        }
        Ok(valid_until)
    }
}

/// The caller hands out the role: that takes ADMIN OPTION on it, and tokens must be able to take it.
pub fn may_grant(caller: pg_sys::Oid, role: &str) -> Result<pg_sys::Oid, Error> {
    let target = switch::takeable(role)?;
    if !catalog::is_admin_of(caller, target.oid) {
        if !scope::may_hand_out(caller, target.oid) {
            return Err(Error::MayNotGrant {
                role: target.name,
                caller: catalog::name_of(caller),
            });
        }
        scope::require_authority_everywhere(caller, target.oid).map_err(credential::Error::from)?;
    }
    Ok(target.oid)
}

/// Whether the authenticator needs a CONNECT of its own, which the caller must be able to grant.
fn must_grant_connect(caller: pg_sys::Oid) -> Result<bool, Error> {
    let rights = identity::pinned(|| {
        spi::query(
            "SELECT pg_catalog.has_database_privilege('public', d.oid, 'CONNECT'),
                    pg_catalog.has_database_privilege($1, d.oid, 'CONNECT WITH GRANT OPTION')
               FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()",
            &[caller.into()],
            |row| Ok((row.get::<bool>(1)?, row.get::<bool>(2)?)),
        )
    })?;
    match rights.first() {
        Some((Some(true), _)) => Ok(false),
        Some((_, Some(true))) => Ok(true),
        _ => Err(Error::MayNotConnect {
            database: server::database_name(),
            caller: catalog::name_of(caller),
        }),
    }
}
