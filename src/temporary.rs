//! Memberships with a deadline, for people's own logins.
//!
//! A NOLOGIN role of ours stands between the two: it is a member of the role, and the person's login
//! is a member of it. Its VALID UNTIL is the deadline. At the end its membership in the role is
//! revoked, while the login stays a member of it, which is then worth nothing, and tells the sessions
//! that have SET ROLE already that they must not go on. When none of those can be left it is dropped.

pub mod acting;
mod error;
pub mod inherited;
pub mod opened;
pub mod verdict;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action, Value};
use crate::authority::is_over;
use crate::credential::deadline::Unacceptable;
use crate::credential::{self, issue, life};
use crate::error::{notice, report, require_preload};
use crate::label::{self, Kind, Metadata, State, Temporary};
use crate::memberships;
use crate::pg::arguments::Text;
use crate::pg::catalog::{self, Role};
use crate::pg::name::Name;
use crate::pg::{clock, compat, identity, spi, xact};
use crate::scope;
use crate::waiting;
use crate::wakeup;
use verdict::{Graph, Membership};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("role \"{role}\" does not exist")]
    Unknown { role: String },
    #[error("role \"{role}\" is a superuser")]
    Superuser { role: String },
    #[error("role \"{role}\" cannot have temporary members")]
    Managed { role: String, kind: Kind },
    #[error("role \"{role}\" cannot become a temporary member")]
    ManagedMember { role: String, kind: Kind },
    #[error("role \"{role}\" cannot log in")]
    NotALogin { role: String },
    #[error("role \"{role}\" would be a member of itself")]
    Circle { role: String },
    #[error("role \"{to}\" is a member of role \"{role}\" already")]
    AlreadyMember { role: String, to: String },
    #[error("permission denied to grant role \"{role}\"")]
    MayNotGrant { role: String, caller: String },
    #[error("permission denied to grant role \"{role}\" for good")]
    Outlasts { role: String },
    #[error(transparent)]
    Deadline(#[from] Unacceptable),
    #[error(transparent)]
    Life(#[from] life::Error),
}

impl From<credential::Error> for Error {
    fn from(error: credential::Error) -> Self {
        Self::Life(error.into())
    }
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Life(error.into())
    }
}

/// Raised where rows would come from a cursor that was opened by what has ended.
#[derive(Debug, thiserror::Error)]
#[error("the temporary membership in role \"{role}\", by which a cursor was opened, has ended")]
pub struct Lapsed {
    pub role: String,
}

/// Raised at the next statement of a session whose role has been taken away.
#[derive(Debug, thiserror::Error)]
#[error("the temporary membership in role \"{role}\" has ended")]
pub struct HasEnded {
    pub role: String,
}

/// Raised for a role that still inherits through a membership whose deadline has passed.
#[derive(Debug, thiserror::Error)]
#[error("the temporary membership in role \"{role}\" has ended")]
pub struct StillThere {
    pub role: String,
    pub inheritor: String,
    /// Unix microseconds.
    pub since: i64,
}

pub fn init() {
    credential::itself::ends_also(right_ends_at);
}

/// When what the session may do by temporary memberships ends, if it may do anything by one: as the role that it has taken, or by
/// inheriting. What it issues meanwhile ends by then; nobody can tell by which of its rights that was. Unix microseconds.
fn right_ends_at() -> Option<i64> {
    let now = clock::now();
    let acting = identity::now();
    let login = identity::session_user();
    let is_free = |role: pg_sys::Oid| catalog::role_by_oid(role).is_none_or(|role| role.superuser);
    let taken = (acting.outer != login && !is_free(login))
        .then(|| verdict::ends_for_good(&Catalog, login.into(), acting.outer.into(), now))
        .flatten();
    let inherited = [acting.current, acting.outer, login]
        .into_iter()
        .filter(|&role| !is_free(role))
        .filter_map(|role| inherited::ends_at(role, now));
    inherited.chain(taken).min()
}

/// A membership with a deadline. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn grant_temporary(
    role: Option<Name>,
    to_role: Option<Name>,
    valid_for: Option<Interval>,
    reason: Option<Text>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let reason = reason.as_deref();
    require_preload()?;
    grant(role, to_role, valid_for, reason)
        .map(clock::to_sql)
        .map_err(report)
}

/// Ends one early. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn revoke_temporary(role: Option<Name>, to_role: Option<Name>) -> Result<(), ErrorReport> {
    require_preload()?;
    revoke(role, to_role).map_err(report)
}

fn grant(
    role: Option<Name>,
    to_role: Option<Name>,
    valid_for: Option<Interval>,
    reason: Option<&str>,
) -> Result<i64, Error> {
    if xact::is_read_only() {
        return Err(credential::Error::ReadOnly.into());
    }
    let valid_for = valid_for.ok_or(Error::Null("valid_for"))?;
    life::check_reason(reason)?;
    let deadline = credential::deadline_of(Some(valid_for))?;
    let (role, to) = pair(role, to_role)?;
    check(&role, &to)?;
    let inherits = may_arrange_for(&to);
    waiting::giving_way(|| grant_until(&role, &to, deadline, inherits, reason))?;
    Ok(deadline)
}

/// The same for a login that has asked for it, in the name of whoever acts now.
pub fn grant_as_asked(
    role: pg_sys::Oid,
    to: pg_sys::Oid,
    deadline: i64,
    reason: &str,
) -> Result<(), Error> {
    let (role, to) = both(role, to)?;
    check(&role, &to)?;
    waiting::giving_way(|| grant_until(&role, &to, deadline, true, Some(reason)))
}

/// Ends it, whoever has granted it.
pub fn take_back(role: pg_sys::Oid, to: pg_sys::Oid) -> Result<(), Error> {
    let (role, to) = both(role, to)?;
    waiting::giving_way(|| end(lock_pair(&role, &to), &role, &to)).map(drop)
}

/// May the caller grant the role to that login? Until when it has the role for a time already.
pub fn could_grant(role: pg_sys::Oid, to: pg_sys::Oid) -> Result<Option<i64>, Error> {
    let (role, to) = both(role, to)?;
    check(&role, &to)?;
    let ends = find(&role, &to).into_iter().map(|found| found.ends_at());
    Ok(ends.filter(|&end| end > clock::now()).max())
}

fn both(role: pg_sys::Oid, to: pg_sys::Oid) -> Result<(Role, Role), Error> {
    let look = |oid: pg_sys::Oid| {
        catalog::role_by_oid(oid).ok_or_else(|| Error::Unknown {
            role: u32::from(oid).to_string(),
        })
    };
    Ok((look(role)?, look(to)?))
}

fn grant_until(
    role: &Role,
    to: &Role,
    deadline: i64,
    inherits: bool,
    reason: Option<&str>,
) -> Result<(), Error> {
    let found = lock_pair(role, to);
    // What was true before we waited may not be so any more.
    let (role, to) = (again(role)?, again(to)?);
    check(&role, &to)?;
    let live = found
        .into_iter()
        .find(|found| found.ends_at() > clock::now());
    if let Some(mut live) = live {
        // Once more for the same two: the new deadline counts.
        life::alter(&live.role.name, &issue::valid_until(deadline))?;
        if inherits && !live.role.inherits {
            life::alter(&live.role.name, "INHERIT")?;
            if compat::HAS_MEMBERSHIP_OPTIONS {
                let sql = format!(
                    "GRANT {} TO {} WITH INHERIT TRUE",
                    spi::identifier(&role.name),
                    spi::identifier(&live.role.name)
                );
                identity::elevated(|| waiting::retrying(|| spi::execute(&sql)))?;
            }
        }
        live.metadata.reason = reason.map(str::to_owned);
        label::write(live.role.oid, &live.metadata.until(Some(deadline)));
        wakeup::renewed_at_commit(role.oid);
        granted(&role, &to, deadline, reason);
        return Ok(());
    }
    let name = issue::free_name(&role.name, "temp")?;
    let mut metadata = label::fresh(Kind::Temporary, identity::current_user(), None);
    metadata.reason = reason.map(str::to_owned);
    metadata.temporary = Some(Temporary {
        role: role.oid.into(),
        to: to.oid.into(),
        ended_at: None,
    });
    let identifier = spi::identifier(&name);
    let inherit = if inherits { "INHERIT" } else { "NOINHERIT" };
    let sql = format!(
        "CREATE ROLE {identifier} NOLOGIN {inherit} {} {}; GRANT {} TO {identifier}; GRANT {identifier} TO {}",
        catalog::WITHOUT_POWER,
        issue::valid_until(deadline),
        spi::identifier(&role.name),
        spi::identifier(&to.name),
    );
    identity::elevated(|| waiting::retrying(|| spi::execute(&sql)))?;
    if label::attach_metadata(&name, &metadata.until(Some(deadline))) {
        granted(&role, &to, deadline, reason);
        Ok(())
    } else {
        Err(credential::Error::Vanished.into())
    }
}

/// May the caller change what this login inherits? It comes with guards, and with the refusals of an ended membership. For others
/// it is the login's own choice: it has to SET ROLE.
fn may_arrange_for(login: &Role) -> bool {
    let caller = identity::current_user();
    let makes_roles = !compat::HAS_MEMBERSHIP_OPTIONS
        && catalog::role_by_oid(caller).is_some_and(|role| role.create_role);
    makes_roles
        || catalog::is_admin_of(caller, login.oid)
        || catalog::has_privileges_of(caller, login.oid)
}

fn granted(role: &Role, to: &Role, deadline: i64, reason: Option<&str>) {
    let fields = [
        ("to_role", Value::Text(&to.name)),
        ("valid_until", audit::deadline(Some(deadline))),
        ("reason", reason.into()),
    ];
    audit::administered(Action::Temporary, "grant_temporary", &role.name, &fields);
}

fn revoke(role: Option<Name>, to_role: Option<Name>) -> Result<(), Error> {
    if xact::is_read_only() {
        return Err(credential::Error::ReadOnly.into());
    }
    let (role, to) = pair(role, to_role)?;
    waiting::giving_way(|| revoke_now(&role, &to))
}

fn revoke_now(role: &Role, to: &Role) -> Result<(), Error> {
    let caller = identity::current_user();
    let may =
        |found: &Found| is_over(caller, &found.metadata) || catalog::is_admin_of(caller, role.oid);
    let refused = || Error::MayNotGrant {
        role: role.name.clone(),
        caller: catalog::name_of(caller),
    };
    let found = find(role, to);
    if !found.iter().all(may) {
        return Err(refused());
    }
    // Who could never have granted it keeps nobody from doing so.
    let found = if found.is_empty()
        && !scope::may_give(caller, role.oid).map_err(credential::Error::from)?
    {
        Vec::new()
    } else {
        lock_pair(role, to)
    };
    if !found.iter().all(may) {
        return Err(refused());
    }
    if !end(found, role, to)? {
        notice(
            format!(
                "role \"{}\" has no temporary membership in role \"{}\"",
                to.name, role.name
            ),
            "There was none, or it has ended already.",
            "See the rows of kind temporary in scope.credentials.",
        );
    }
    Ok(())
}

/// Ends those that have not; were there any? They are locked.
fn end(found: Vec<Found>, role: &Role, to: &Role) -> Result<bool, Error> {
    let mut ended = false;
    for mut found in found {
        if found.metadata.state != State::Active {
            continue;
        }
        found.metadata.state = State::Ending;
        // The label ends it; the worker takes the membership away where others hold it now.
        let stop = || xact::raised(memberships::stop_inheriting(found.role.oid, to.oid));
        let stopped = waiting::briefly(|| identity::elevated(stop));
        let work = || xact::raised(memberships::revoke_membership(found.role.oid, role.oid));
        let revoked = waiting::briefly(|| identity::elevated(work));
        if let Err(failure) = stopped.and(revoked) {
            life::left_to_the_worker(&found.role, &failure)?;
            found.metadata.error = Some(failure.message);
        }
        label::write(found.role.oid, &found.metadata);
        ended = true;
    }
    if ended {
        let fields = [("to_role", Value::Text(&to.name))];
        audit::administered(Action::Temporary, "revoke_temporary", &role.name, &fields);
    }
    Ok(ended)
}

fn pair(role: Option<Name>, to_role: Option<Name>) -> Result<(Role, Role), Error> {
    let look = |name: Option<Name>, what| {
        let Name(role) = name.ok_or(Error::Null(what))?;
        catalog::role_by_name(&role).ok_or(Error::Unknown { role })
    };
    Ok((look(role, "role")?, look(to_role, "to_role")?))
}

/// The role as it is now, under the same name.
fn again(before: &Role) -> Result<Role, Error> {
    catalog::role_by_name(&before.name)
        .filter(|role| role.oid == before.oid)
        .ok_or_else(|| Error::Unknown {
            role: before.name.clone(),
        })
}

/// May the caller grant this role for a time?
pub fn require_authority(role: &Role) -> Result<(), Error> {
    let caller = identity::current_user();
    let metadata = label::read(role.oid);
    let scope = match &metadata {
        None => None,
        Some(Ok(metadata)) if metadata.kind == Kind::Scope => Some(metadata),
        Some(other) => {
            return Err(Error::Managed {
                role: role.name.clone(),
                kind: other
                    .as_ref()
                    .map_or(Kind::Credential, |metadata| metadata.kind),
            });
        }
    };
    if !catalog::is_admin_of(caller, role.oid) {
        if !scope.is_some_and(|metadata| is_over(caller, metadata)) {
            return Err(Error::MayNotGrant {
                role: role.name.clone(),
                caller: catalog::name_of(caller),
            });
        }
        scope::require_authority_everywhere(caller, role.oid).map_err(credential::Error::from)?;
    }
    no_superuser(role)
}

fn no_superuser(role: &Role) -> Result<(), Error> {
    if role.superuser {
        return Err(Error::Superuser {
            role: role.name.clone(),
        });
    }
    Ok(())
}

/// May the caller grant this role to that login, and does it make sense?
fn check(role: &Role, to: &Role) -> Result<(), Error> {
    require_authority(role)?;
    no_superuser(to)?;
    if let Some(metadata) = label::read(to.oid) {
        return Err(Error::ManagedMember {
            role: to.name.clone(),
            kind: metadata.map_or(Kind::Credential, |metadata| metadata.kind),
        });
    }
    if !to.can_login {
        return Err(Error::NotALogin {
            role: to.name.clone(),
        });
    }
    let (role_oid, to_oid) = (role.oid.into(), to.oid.into());
    if role_oid == to_oid || verdict::is_member_anyway(&Catalog, role_oid, to_oid) {
        return Err(Error::Circle {
            role: role.name.clone(),
        });
    }
    if verdict::is_member_anyway(&Catalog, to_oid, role_oid) {
        return Err(Error::AlreadyMember {
            role: role.name.clone(),
            to: to.name.clone(),
        });
    }
    Ok(())
}

/// A temporary membership of a pair.
struct Found {
    role: Role,
    metadata: Metadata,
}

impl Found {
    /// Unix microseconds.
    fn ends_at(&self) -> i64 {
        match self.metadata.state {
            State::Active => self
                .metadata
                .deadline(self.role.valid_until)
                .unwrap_or(i64::MIN),
            _ => i64::MIN,
        }
    }
}

/// Two grants for one pair wait for each other, and each for the end of what it found.
fn lock_pair(role: &Role, to: &Role) -> Vec<Found> {
    advisory::lock(Key::Pair(role.oid, to.oid), Mode::Exclusive);
    for found in find(role, to) {
        advisory::lock(Key::Role(found.role.oid), Mode::Exclusive);
    }
    find(role, to)
}

fn find(role: &Role, to: &Role) -> Vec<Found> {
    catalog::memberships(to.oid)
        .into_iter()
        .filter_map(temporary)
        .filter(|(_, _, temporary)| temporary.role == u32::from(role.oid))
        .map(|(role, metadata, _)| Found { role, metadata })
        .collect()
}

fn temporary(role: pg_sys::Oid) -> Option<(Role, Metadata, Temporary)> {
    let metadata = label::read(role)?.ok()?;
    let temporary = metadata.temporary.clone()?;
    (metadata.kind == Kind::Temporary)
        .then(|| catalog::role_by_oid(role))
        .flatten()
        .map(|role| (role, metadata, temporary))
}

struct Catalog;

impl Graph for Catalog {
    fn memberships(&self, role: u32) -> Vec<u32> {
        catalog::memberships(role.into())
            .into_iter()
            .map(Into::into)
            .collect()
    }

    fn temporary(&self, role: u32) -> Option<Membership> {
        let (role, metadata, temporary) = temporary(role.into())?;
        Some(Membership {
            role: temporary.role,
            ends_at: Found { role, metadata }.ends_at(),
        })
    }
}
