//! Changing the rules of a login: of one of ours, or of one that a DBA names.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::admission::Rules;
use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action, Value};
use crate::authority::{self, Target};
use crate::credential::{self, BadOption, options};
use crate::error;
use crate::label::{self, Kind, Metadata};
use crate::pg::arguments::{Cidr, Text, strings};
use crate::pg::catalog::{self, Role};
use crate::pg::name::Name;
use crate::pg::{identity, server, spi, xact};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("role must not be null")]
    Null,
    #[error("cannot guard logins in a read-only transaction")]
    ReadOnly,
    #[error("role \"{role}\" does not exist")]
    Unknown { role: String },
    #[error("role \"{role}\" is a superuser")]
    Superuser { role: String },
    #[error("role \"{role}\" is not a login")]
    NotALogin { role: String },
    #[error("role \"{role}\" is managed by scope_roles")]
    Managed { role: String, kind: Kind },
    #[error("the label of role \"{role}\" cannot be read")]
    Unreadable { role: String, problem: String },
    #[error("role \"{role}\" is not guarded")]
    NotGuarded { role: String },
    #[error("permission denied to guard role \"{role}\"")]
    NotYours { role: String, caller: String },
    #[error(transparent)]
    Authority(#[from] authority::Error),
    #[error(transparent)]
    Credential(#[from] credential::Error),
}

impl From<BadOption> for Error {
    fn from(error: BadOption) -> Self {
        Self::Credential(error.into())
    }
}

/// What a caller says about rules; `None` leaves one as it is.
struct Given {
    allowed_ips: Option<Vec<Option<Cidr>>>,
    allow_local: Option<bool>,
    require_tls: Option<bool>,
    allowed_hours: Option<Vec<Option<String>>>,
    time_zone: Option<String>,
}

/// Changes the rules of a login of ours. Documented in `sql/login.sql`.
#[pg_extern(sql = false)]
fn set_login_policy(
    role: Option<Name>,
    allowed_ips: Option<Vec<Option<Cidr>>>,
    allow_local: Option<bool>,
    require_tls: Option<bool>,
    allowed_hours: Option<Vec<Option<Text>>>,
    time_zone: Option<Text>,
) -> Result<(), ErrorReport> {
    let allowed_hours = strings(allowed_hours);
    error::require_preload()?;
    let given = Given {
        allowed_ips,
        allow_local,
        require_tls,
        allowed_hours,
        time_zone: time_zone.map(|zone| zone.0),
    };
    change(role, given).map_err(error::report)
}

/// Gives rules to a login that is not ours. Documented in `sql/login.sql`.
#[pg_extern(sql = false)]
fn guard_login(
    role: Option<Name>,
    allowed_ips: Option<Vec<Option<Cidr>>>,
    allow_local: Option<bool>,
    require_tls: Option<bool>,
    allowed_hours: Option<Vec<Option<Text>>>,
    time_zone: Option<Text>,
) -> Result<(), ErrorReport> {
    let allowed_hours = strings(allowed_hours);
    error::require_preload()?;
    let given = Given {
        allowed_ips,
        allow_local,
        require_tls,
        allowed_hours,
        time_zone: time_zone.map(|zone| zone.0),
    };
    guard(role, given).map_err(error::report)
}

/// Takes them away again. Documented in `sql/login.sql`.
#[pg_extern(sql = false)]
fn unguard_login(role: Option<Name>) -> Result<(), ErrorReport> {
    error::require_preload()?;
    unguard(role).map_err(error::report)
}

fn change(role: Option<Name>, given: Given) -> Result<(), Error> {
    let Name(role) = role.ok_or(Error::Null)?;
    let target = Target::claim(&role)?;
    target.require_active()?;
    let changed = Metadata {
        login: given.apply(target.metadata.login.clone())?,
        ..target.metadata.clone()
    };
    options::require_room(&changed)?;
    if !catalog::lock_role(target.role.oid) {
        return Err(Error::Unknown { role });
    }
    label::write(target.role.oid, &changed);
    record(
        "set_login_policy",
        &role,
        Some(&target.metadata.login),
        Some(&changed.login),
    );
    let others = [&target.metadata.successor, &target.metadata.replaces];
    for other in others.into_iter().flatten() {
        if catalog::role_by_name(other).is_some() {
            error::notice(
                format!("the rules of role \"{other}\" stay as they are"),
                "It is the same login with another password, until its overlap ends.",
                "Call scope.set_login_policy() for it too.",
            );
        }
    }
    Ok(())
}

fn guard(role: Option<Name>, given: Given) -> Result<(), Error> {
    let (role, before) = claim(role)?;
    if role.superuser {
        return Err(Error::Superuser { role: role.name });
    }
    if !role.can_login {
        return Err(Error::NotALogin { role: role.name });
    }
    // Each call says all the rules.
    let rules = given.apply(Rules::default())?;
    let mut metadata = label::fresh(Kind::Guarded, identity::current_user(), None);
    metadata.login = rules;
    if let Some(before) = &before {
        metadata.created_at.clone_from(&before.created_at);
    }
    label::write(role.oid, &metadata);
    let earlier = before.as_ref().map(|before| &before.login);
    record("guard_login", &role.name, earlier, Some(&metadata.login));
    Ok(())
}

fn unguard(role: Option<Name>) -> Result<(), Error> {
    let (role, guarded) = claim(role)?;
    let Some(guarded) = guarded else {
        return Err(Error::NotGuarded { role: role.name });
    };
    label::remove(role.oid);
    record("unguard_login", &role.name, Some(&guarded.login), None);
    Ok(())
}

/// For the audit: the rules from now on, and those before as in the label.
fn record(function: &str, role: &str, before: Option<&Rules>, after: Option<&Rules>) {
    let nobody = Rules::default();
    let rules = after.unwrap_or(&nobody);
    let texts = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>();
    let ips = texts(&mut rules.ips.iter().flatten().map(ToString::to_string));
    let hours = texts(&mut rules.hours.iter().map(ToString::to_string));
    let before = before.and_then(|before| serde_json::to_string(before).ok());
    let ips = match rules.ips {
        Some(_) => Value::Texts(&ips),
        None => Value::Null,
    };
    audit::administered(
        Action::Policy,
        function,
        role,
        &[
            ("allowed_ips", ips),
            ("allow_local", Value::Bool(rules.allows_local())),
            ("require_tls", Value::Bool(rules.tls)),
            ("allowed_hours", Value::Texts(&hours)),
            ("time_zone", rules.zone.as_deref().into()),
            ("before", before.as_deref().into()),
        ],
    );
}

/// A login that is not ours and that the caller may guard, with its guard, both locked until the
/// transaction ends. Authority first, so that nobody else can take the locks.
fn claim(role: Option<Name>) -> Result<(Role, Option<Metadata>), Error> {
    let Name(name) = role.ok_or(Error::Null)?;
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    let look = || -> Result<Role, Error> {
        let unknown = || Error::Unknown { role: name.clone() };
        let role = catalog::role_by_name(&name).ok_or_else(unknown)?;
        require_authority(&role)?;
        Ok(role)
    };
    let first = look()?;
    advisory::lock(Key::Role(first.oid), Mode::Exclusive);
    if !catalog::lock_role(first.oid) {
        return Err(Error::Unknown { role: name });
    }
    let role = look()?;
    if role.oid != first.oid {
        // Renamed meanwhile: what is locked is another role.
        return Err(Error::Unknown { role: name });
    }
    match label::read_any(role.oid) {
        None => Ok((role, None)),
        Some(Ok(metadata)) if metadata.kind == Kind::Guarded => Ok((role, Some(metadata))),
        Some(Ok(metadata)) => Err(Error::Managed {
            role: role.name,
            kind: metadata.kind,
        }),
        Some(Err(problem)) => Err(Error::Unreadable {
            role: role.name,
            problem: problem.to_string(),
        }),
    }
}

/// What PostgreSQL 16 asks of those who ALTER ROLE; never oneself, or a guard would be no guard.
fn require_authority(role: &Role) -> Result<(), Error> {
    let caller = identity::current_user();
    let found = catalog::role_by_oid(caller);
    let may = found.as_ref().is_some_and(|found| {
        found.superuser
            || found.create_role && caller != role.oid && catalog::is_admin_of(caller, role.oid)
    });
    if may {
        Ok(())
    } else {
        Err(Error::NotYours {
            role: role.name.clone(),
            caller: found.map(|found| found.name).unwrap_or_default(),
        })
    }
}

impl Given {
    fn apply(self, mut rules: Rules) -> Result<Rules, Error> {
        if let Some(ips) = self.allowed_ips {
            let texts = ips.into_iter().map(|cidr| cidr.map(|cidr| cidr.0));
            rules.ips = Some(options::networks(texts.collect())?);
        }
        if let Some(hours) = self.allowed_hours {
            rules.hours = options::hours(hours)?;
        }
        if let Some(zone) = self.time_zone {
            let known = time_zone(&zone).map_err(credential::Error::from)?;
            rules.zone = Some(known.ok_or(BadOption::TimeZone(zone))?);
        }
        if rules.hours.is_empty() {
            rules.zone = None;
        }
        rules.local = self.allow_local.or(rules.local);
        if let Some(tls) = self.require_tls {
            if tls && !server::offers_tls() {
                return Err(credential::Error::NoTls.into());
            }
            rules.tls = tls;
        }
        options::check_rules(&rules)?;
        Ok(rules)
    }
}

/// The name of a time zone as the database of zones writes it. `pg_tzset` would also take what looks
/// like a POSIX rule ("UTC+2", which is two hours west).
pub fn time_zone(name: &str) -> spi::SpiResult<Option<String>> {
    let found = spi::query(
        "SELECT name FROM pg_catalog.pg_timezone_names
          WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) pg_catalog.lower($1)
          ORDER BY name OPERATOR(pg_catalog.<>) $1 LIMIT 1",
        &[name.into()],
        |row| row.get::<String>(1),
    )?;
    Ok(found.into_iter().flatten().next())
}
