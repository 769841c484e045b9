//! Authenticators: gated logins, which act through tokens only (docs/design.md, "Gated logins make an escape worthless").

mod error;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::advisory::{self, Key, Mode};
use crate::credential::issue::{self, Login};
use crate::credential::{self, BadOption, Issued, Options, Secret, hands_out};
use crate::error::{report, require_preload};
use crate::guc;
use crate::label::{self, Kind, Metadata};
use crate::memberships;
use crate::pg::arguments::{Cidr, Text, strings};
use crate::pg::name::Name;
use crate::pg::{catalog, identity, server, spi, xact};
use crate::scope::{self, name};
use crate::switch::{self, Untakeable};
use crate::verify::issuer;
use crate::waiting;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("an authenticator needs at least one role")]
    NoRoles,
    #[error("a login by token needs at least one issuer")]
    NoIssuers,
    #[error("subject_limit must be at least 1")]
    SubjectLimit,
    #[error("there is no issuer \"{issuer}\"")]
    UnknownIssuer { issuer: String },
    #[error("logins by token have no group")]
    NoGroup,
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
    |options| create(role_name.as_deref(), strings(roles), Tokens::default(), valid_for, purpose.as_deref(), options)
);

hands_out!(
    /// A login of the given roles that presents a token in place of a password. Documented in `sql/functions.sql`.
    create_token_login(
        role_name: Option<Text>,
        roles: Option<Vec<Option<Text>>>,
        issuers: Option<Vec<Option<Text>>>,
        valid_for: Option<Interval>,
        purpose: Option<Text>,
        subject_limit: Option<i32>,
    ) -> (
        name!(role_name, Name),
        name!(valid_until, Option<TimestampWithTimeZone>),
        name!(connection_uri, String),
    ),
    |options| Tokens::check(strings(issuers), subject_limit).and_then(|tokens| {
        create(role_name.as_deref(), strings(roles), tokens, valid_for, purpose.as_deref(), options)
    }),
    |(role, _, valid_until, uri)| (role, valid_until, uri)
);

/// The elements of a list, none of which may be missing.
fn all_of(
    list: Option<Vec<Option<String>>>,
    what: &'static str,
    element: &'static str,
) -> Result<Vec<String>, Error> {
    let list = list.ok_or(Error::Null(what))?.into_iter();
    list.collect::<Option<_>>().ok_or(Error::Null(element))
}

/// The tokens that take the place of a password.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// The names of their issuers; none: there is a password.
    pub issuers: Vec<String>,
    /// How many sessions one subject may have at a time.
    pub subject_limit: Option<u32>,
}

impl Tokens {
    /// Of issuers of this database.
    fn check(
        issuers: Option<Vec<Option<String>>>,
        subject_limit: Option<i32>,
    ) -> Result<Self, Error> {
        let issuers = all_of(issuers, "issuers", "an element of issuers")?;
        if issuers.is_empty() {
            return Err(Error::NoIssuers);
        }
        for name in &issuers {
            if issuer::by_name(name).is_ok_and(|known| known.is_none()) {
                return Err(Error::UnknownIssuer {
                    issuer: name.clone(),
                });
            }
        }
        Ok(Self {
            issuers,
            subject_limit: subject_limit.map(limit_of).transpose()?,
        })
    }
}

pub fn limit_of(subject_limit: i32) -> Result<u32, Error> {
    let limit = u32::try_from(subject_limit).ok().filter(|&limit| limit > 0);
    limit.ok_or(Error::SubjectLimit)
}

fn create(
    role_name: Option<&str>,
    roles: Option<Vec<Option<String>>>,
    tokens: Tokens,
    valid_for: Option<Interval>,
    purpose: Option<&str>,
    options: Result<Options, BadOption>,
) -> Result<Issued, Error> {
    let role = role_name.ok_or(Error::Null("role_name"))?;
    let roles = all_of(roles, "roles", "an element of roles")?;
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
        tokens: &tokens,
        purpose,
        options: &options,
        valid_until,
    };
    let before = new.check()?;
    issue::require_free(role)?;
    let secret = match tokens.issuers.as_slice() {
        [] => Some(Secret::generate()?),
        _ => None,
    };
    let verifier = secret.as_ref().map(|secret| &*secret.verifier);
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
        let ends_at = new.make(verifier, again()?.connects)?;
        again().map(|_| ends_at)
    })?;
    let password = secret.map(|secret| secret.password);
    Ok(Issued {
        role: role.to_owned(),
        uri: issue::connection_uri(
            role,
            password.as_deref().map(String::as_str),
            &options.rules,
        ),
        password: password.unwrap_or_default(),
        valid_until,
    })
}

/// An authenticator that is to be made.
pub struct New<'a> {
    pub role: &'a str,
    pub roles: &'a [String],
    pub tokens: &'a Tokens,
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
            issuers: self.tokens.issuers.clone(),
            subject_limit: self.tokens.subject_limit,
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
        let function = match self.tokens.issuers.as_slice() {
            [] => "create_authenticator",
            _ => {
                let group = guc::token_login_group().ok_or(Error::NoGroup)?;
                identity::elevated(|| join(&group, self.role))?;
                "create_token_login"
            }
        };
        issue::issued(function, &login);
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

/// Puts a login by token into the group that pg_hba.conf names, from which it gets nothing. Elevated.
fn join(group: &str, login: &str) -> Result<(), Error> {
    let name = spi::identifier(group);
    if catalog::role_by_name(group).is_none() {
        advisory::lock(
            Key::Text(&format!("token_login_group {group}")),
            Mode::Exclusive,
        );
        if catalog::role_by_name(group).is_none() {
            spi::execute(&format!("CREATE ROLE {name}"))?;
        }
    }
    if let Some(group) = catalog::role_by_name(group) {
        label::mark_token_logins(group.oid);
    }
    Ok(spi::execute(&format!(
        "GRANT {name} TO {}{}",
        spi::identifier(login),
        memberships::NOTHING
    ))?)
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
