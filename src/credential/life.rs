//! Renewing, rotating and revoking a login that exists.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::beyond::{self, Having, What};
use super::issue::{self, Issued, Login};
use super::options::Options;
use super::{Secret, deadline, parts};
use crate::audit::{self, Action, Value};
use crate::authority::{self, Target};
use crate::label::{self, Kind, Metadata, State};
use crate::pg::catalog::{self, Role};
use crate::pg::name::Name;
use crate::pg::xact::{self, Failure};
use crate::pg::{clock, compat, dependencies, identity, session_libraries, spi};
use crate::wakeup;
use crate::{error, guc, timestamp};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MAX_REASON_BYTES: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("role \"{role}\" cannot be renewed for so long")]
    BeyondCap { role: String, latest: i64 },
    #[error("role \"{role}\" has no deadline")]
    Endless { role: String },
    #[error("role \"{role}\" has been replaced by \"{successor}\"")]
    Replaced { role: String, successor: String },
    #[error("permission denied to rotate the password of role \"{role}\"")]
    Widened { role: String, beyond: Vec<String> },
    #[error("overlap must not be negative, and must be finite")]
    Overlap,
    #[error("the reason is too long")]
    ReasonTooLong { bytes: usize, max: usize },
    #[error(transparent)]
    Authority(#[from] authority::Error),
    #[error(transparent)]
    Credential(#[from] super::Error),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Credential(error.into())
    }
}

/// Moves a deadline. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn renew_role(
    role: Option<Name>,
    valid_for: Option<Interval>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    error::require_preload()?;
    renew(role, valid_for)
        .map(clock::to_sql)
        .map_err(error::report)
}

/// Makes a new password. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn rotate_password(
    role: Option<Name>,
    overlap: Option<Interval>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(role_name, Name),
            name!(password, String),
            name!(valid_until, Option<TimestampWithTimeZone>),
            name!(connection_uri, String),
            name!(left_out, Option<Vec<String>>),
        ),
    >,
    ErrorReport,
> {
    error::require_preload()?;
    let (issued, left_out) = rotate(role, overlap).map_err(error::report)?;
    let (role, password, valid_until, uri) = issued.into_row();
    let left_out = Some(left_out).filter(|left_out| !left_out.is_empty());
    Ok(TableIterator::once((
        role,
        password,
        valid_until,
        uri,
        left_out,
    )))
}

/// Ends a login now. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn revoke_role(role: Option<Name>, reason: Option<&str>) -> Result<(), ErrorReport> {
    error::require_preload()?;
    revoke(role, reason).map_err(error::report)
}

fn renew(role: Option<Name>, valid_for: Option<Interval>) -> Result<i64, Error> {
    let Name(role) = role.ok_or(authority::Error::Null("role"))?;
    let asked = valid_for
        .is_some()
        .then(|| super::deadline_of(valid_for))
        .transpose()
        .map_err(super::Error::from)?;
    xact::giving_way(|| renew_until(&role, asked))
}

fn renew_until(role: &str, asked: Option<i64>) -> Result<i64, Error> {
    let target = Target::claim(role)?;
    target.require_active()?;
    let role = role.to_owned();
    if let Some(successor) = &target.metadata.successor {
        let successor = successor.clone();
        return Err(Error::Replaced { role, successor });
    }
    let before = target.deadline();
    if before.is_none() {
        return Err(Error::Endless { role });
    }
    // An issue time that can't be read leaves no time at all.
    let now = clock::now();
    let latest = timestamp::parse(&target.metadata.created_at).map_or(now, |issued| {
        issued.saturating_add(guc::max_ttl().saturating_mul(MICROS_PER_SECOND))
    });
    let deadline = match asked {
        Some(deadline) => deadline,
        None => now
            .saturating_add(guc::default_ttl().saturating_mul(MICROS_PER_SECOND))
            .min(latest),
    };
    if deadline > latest || deadline <= now {
        return Err(Error::BeyondCap { role, latest });
    }
    alter(&role, &issue::valid_until(deadline))?;
    xact::retrying(|| session_libraries::bind(target.role.oid));
    label::write(target.role.oid, &target.metadata.until(Some(deadline)));
    wakeup::renewed_at_commit(target.role.oid);
    let fields = [
        ("valid_until", audit::deadline(Some(deadline))),
        ("valid_before", audit::deadline(before)),
    ];
    audit::administered(Action::Renew, "renew_role", &role, &fields);
    Ok(deadline)
}

/// The login as handed out, and what the one that it replaces has beyond it.
fn rotate(role: Option<Name>, overlap: Option<Interval>) -> Result<(Issued, Vec<String>), Error> {
    let Name(role) = role.ok_or(authority::Error::Null("role"))?;
    let overlap = overlap.ok_or(authority::Error::Null("overlap"))?;
    let now = clock::now();
    // No overlap is longer than the longest life.
    let bound = deadline::bound(parts(&overlap), guc::max_ttl());
    let until = match bound {
        Ok(()) => clock::after(now, overlap),
        Err(deadline::Unacceptable::TooLong { .. }) => i64::MAX,
        Err(_) => return Err(Error::Overlap),
    };
    if until < now {
        return Err(Error::Overlap);
    }
    let secret = Secret::generate()?;
    let rotated = xact::giving_way(|| rotate_until(&role, &secret, now, until))?;
    let Rotated {
        name,
        target,
        left_out,
    } = rotated;
    if !left_out.is_empty() {
        error::notice(
            format!("role \"{name}\" has less than role \"{role}\""),
            &format!("Left out: {}.", left_out.join("; ")),
            "What others have granted by hand is theirs to grant again.",
        );
    }
    let issued = Issued {
        uri: issue::connection_uri(&name, &secret.password, &target.metadata.login),
        role: name,
        password: secret.password,
        valid_until: target.deadline().filter(|&deadline| deadline != i64::MAX),
    };
    Ok((issued, left_out))
}

struct Rotated {
    /// Under which the secret is from now on the password.
    name: String,
    /// What the login was before.
    target: Target,
    left_out: Vec<String>,
}

fn rotate_until(asked: &str, secret: &Secret, now: i64, until: i64) -> Result<Rotated, Error> {
    let target = Target::claim(asked)?;
    target.require_active()?;
    let role = asked.to_owned();
    if let Some(successor) = target.metadata.successor {
        return Err(Error::Replaced { role, successor });
    }
    let having = beyond::of(&target.role).map_err(super::Error::from)?;
    let (name, left_out) = if until == now {
        // Its password is all that it has, and may be more than the caller could give.
        let refused: Vec<String> = having
            .into_iter()
            .filter(|having| !having.may)
            .map(|having| having.what)
            .collect();
        if !refused.is_empty() {
            return Err(Error::Widened {
                role,
                beyond: refused,
            });
        }
        let set = || {
            session_libraries::bind(target.role.oid);
            catalog::set_password(target.role.oid, &secret.verifier)
        };
        if !xact::retrying(set) {
            return Err(super::Error::Vanished.into());
        }
        let rotated = Metadata {
            rotated_at: Some(timestamp::rfc3339(now)),
            ..target.metadata.clone()
        };
        label::write(target.role.oid, &rotated);
        (role, Vec::new())
    } else {
        let successor = issue::free_name(stem(&role), "next")?;
        let (handed, left_out) = Handed::of(having);
        let succeed = || succeed(&target, &successor, &handed, secret, now);
        identity::elevated(|| xact::retrying_anew(succeed))?;
        let end = until.min(target.deadline().unwrap_or(i64::MAX));
        if end != i64::MAX {
            alter(&role, &issue::valid_until(end))?;
        }
        let replaced = Metadata {
            successor: Some(successor.clone()),
            ..target.metadata.until(Some(end))
        };
        label::write(target.role.oid, &replaced);
        (successor, left_out)
    };
    let successor = Some(name.as_str()).filter(|&name| name != asked);
    let left_out_field = match left_out.is_empty() {
        true => Value::Null,
        false => Value::Texts(&left_out),
    };
    let fields = [
        ("successor", successor.into()),
        ("overlap_until", audit::deadline(successor.map(|_| until))),
        ("left_out", left_out_field),
    ];
    audit::administered(Action::Rotate, "rotate_password", asked, &fields);
    Ok(Rotated {
        name,
        target,
        left_out,
    })
}

/// What the second login of a rotation gets of what the first one has.
#[derive(Default)]
struct Handed {
    memberships: Vec<String>,
    /// Databases, as identifiers.
    connects: Vec<String>,
}

impl Handed {
    /// Memberships and CONNECT, as far as the caller could give them; what else there is, in words.
    fn of(having: Vec<Having>) -> (Self, Vec<String>) {
        let mut handed = Self::default();
        let mut left_out = Vec::new();
        for having in having {
            match having.kind {
                What::Membership(role) if having.may && is_held(&role) => {
                    left_out.push(format!(
                        "{}, which another transaction is changing",
                        having.what
                    ));
                }
                What::Membership(role) if having.may => handed.memberships.push(role),
                What::Connect(database) if having.may => handed.connects.push(database),
                _ => left_out.push(having.what),
            }
        }
        (handed, left_out)
    }
}

/// From PostgreSQL 16 on a GRANT of a role waits for others' GRANTs of it, however long these stay open. Scopes
/// are the issuer's own and are waited for; a group of somebody else's does not hold up a rotation.
fn is_held(group: &str) -> bool {
    let Some(role) = catalog::role_by_name(group).filter(|_| compat::MEMBERSHIPS_ARE_OBJECTS)
    else {
        return false;
    };
    let is_scope =
        matches!(label::read(role.oid), Some(Ok(metadata)) if metadata.kind == Kind::Scope);
    !is_scope && xact::briefly(|| catalog::lock_memberships(role.oid)).is_err()
}

/// Makes the second login of a rotation: the same scopes, rules, settings, deadline and date of
/// issue, so that a rotation never prolongs anything.
fn succeed(
    target: &Target,
    name: &str,
    handed: &Handed,
    secret: &Secret,
    now: i64,
) -> Result<(), Error> {
    let old = target.role.oid;
    let limits = spi::query(
        "SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE oid = $1",
        &[old.into()],
        |row| row.get::<i32>(1),
    )?;
    let Some(limit) = limits.into_iter().next() else {
        return Err(super::Error::Vanished.into());
    };
    let options = Options {
        connection_limit: limit.filter(|&limit| limit >= 0),
        ..Options::default()
    };
    let metadata = Metadata {
        rotated_at: Some(timestamp::rfc3339(now)),
        replaces: Some(target.role.name.clone()),
        error: None,
        ..target.metadata.clone()
    };
    let login = Login {
        role: name,
        verifier: Some(&secret.verifier),
        valid_until: target.deadline(),
        memberships: &handed.memberships,
        inherits: target.role.inherits,
        options: &options,
        metadata: &metadata,
    };
    login.create()?;
    let role = catalog::role_by_name(name).ok_or(super::Error::Vanished)?;
    label::hand_on_guards(old, role.oid);
    // As they are: ALTER ROLE would have to take lists of names apart again.
    // The new one has a row already, where settings for all databases are.
    session_libraries::bind(old);
    spi::query(
        "WITH known AS (
           UPDATE pg_catalog.pg_db_role_setting n SET setconfig = o.setconfig
             FROM pg_catalog.pg_db_role_setting o
            WHERE n.setrole = $1 AND o.setrole = $2 AND n.setdatabase = 0 AND o.setdatabase = 0)
         INSERT INTO pg_catalog.pg_db_role_setting
         SELECT setdatabase, $1, setconfig FROM pg_catalog.pg_db_role_setting WHERE setrole = $2 AND setdatabase <> 0",
        &[role.oid.into(), old.into()],
        |_| Ok(()),
    )?;
    let identifier = spi::identifier(name);
    for database in &handed.connects {
        spi::execute(&format!(
            "GRANT CONNECT ON DATABASE {database} TO {identifier}"
        ))?;
    }
    Ok(())
}

/// A name without the suffix of an earlier rotation, so that names do not grow.
fn stem(role: &str) -> &str {
    match role.rsplit_once("_next_") {
        Some((stem, tag)) if tag.len() == 8 && !stem.is_empty() => stem,
        _ => role,
    }
}

fn revoke(role: Option<Name>, reason: Option<&str>) -> Result<(), Error> {
    let Name(role) = role.ok_or(authority::Error::Null("role"))?;
    check_reason(reason)?;
    xact::giving_way(|| revoke_now(&role, reason))
}

fn revoke_now(role: &str, reason: Option<&str>) -> Result<(), Error> {
    let target = Target::claim(role)?;
    if target.metadata.state != State::Active {
        error::notice(
            format!("role \"{role}\" is being ended already"),
            target
                .metadata
                .error
                .as_deref()
                .unwrap_or("Its sessions and grants go now."),
            "Look at scope.credentials for what it waits for.",
        );
        return Ok(());
    }
    end(&target, reason)?;
    // An earlier password of the same login, still in its overlap.
    let mut replaced = target.metadata.replaces;
    let mut successor = role.to_owned();
    while let Some(name) = replaced.take() {
        let Ok(older) = Target::claim(&name) else {
            break;
        };
        if older.metadata.successor.as_deref() != Some(successor.as_str())
            || older.metadata.state != State::Active
        {
            break;
        }
        end(&older, reason)?;
        error::notice(
            format!("role \"{name}\" is ended too"),
            "It is the same login with its earlier password.",
            "scope.rotate_password() made the other one.",
        );
        replaced = older.metadata.replaces;
        successor = name;
    }
    if !guc::expiry() {
        error::notice(
            "its sessions are not ended".to_owned(),
            "The setting scope_roles.expiry is off, so the worker is suspended.",
            "Call scope.expire_roles().",
        );
    }
    Ok(())
}

/// No login from the commit on; the worker does the rest. The label says so, which nobody else can
/// hold; what others are changing just now is left to the worker.
fn end(target: &Target, reason: Option<&str>) -> Result<(), Error> {
    let work =
        || alter(&target.role.name, "NOLOGIN PASSWORD NULL").map_err(|error| error.to_string());
    let mut ended = Metadata {
        state: State::Ending,
        reason: reason.map(str::to_owned),
        ..target.metadata.clone()
    };
    match xact::briefly(work) {
        Ok(outcome) => outcome.map_err(super::Error::Sql)?,
        Err(failure) => {
            left_to_the_worker(&target.role, &failure)?;
            ended.error = Some(failure.message);
        }
    }
    label::write(target.role.oid, &ended);
    let fields = [("reason", reason.into())];
    audit::administered(Action::Revoke, "revoke_role", &target.role.name, &fields);
    Ok(())
}

/// Tells of a step that somebody else's open transaction is in the way of. Any other failure is raised.
pub fn left_to_the_worker(role: &Role, failure: &Failure) -> Result<(), Error> {
    if !failure.is_locked() && !failure.is_transient() {
        xact::raise(failure.clone());
    }
    let holder = identity::elevated(|| dependencies::lock_holder(role.oid))?;
    error::notice(
        format!(
            "role \"{}\" is refused from the commit on, and not yet disabled",
            role.name
        ),
        &holder.map_or_else(
            || "Another transaction is in the way.".to_owned(),
            |holder| format!("In the way: {holder}."),
        ),
        "The background worker goes on as soon as it can; scope.credentials shows what it waits for.",
    );
    Ok(())
}

pub fn check_reason(reason: Option<&str>) -> Result<(), Error> {
    match reason {
        Some(reason) if reason.len() > MAX_REASON_BYTES => Err(Error::ReasonTooLong {
            bytes: reason.len(),
            max: MAX_REASON_BYTES,
        }),
        _ => Ok(()),
    }
}

/// ALTER ROLE, elevated; again while another tool changes the same row.
pub fn alter(role: &str, change: &str) -> Result<(), Error> {
    let sql = format!("ALTER ROLE {} {change}", spi::identifier(role));
    Ok(identity::elevated(|| {
        xact::retrying(|| spi::execute(&sql))
    })?)
}
