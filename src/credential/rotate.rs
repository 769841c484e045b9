//! Rotating a password: at once, or by a second login beside the first for the time of an overlap.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::beyond::{self, Having, What};
use super::issue::{self, Issued, Login};
use super::life::{Error, alter, require_no_longer};
use super::options::Options;
use super::{Secret, deadline, parts};
use crate::audit::{self, Action, Value};
use crate::authority::{self, Target};
use crate::label::{self, Kind, Metadata};
use crate::pg::catalog;
use crate::pg::name::Name;
use crate::pg::{clock, compat, identity, server, spi};
use crate::session_libraries;
use crate::waiting;
use crate::{error, guc, timestamp};

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
    let rotated = waiting::giving_way(|| rotate_until(&role, &secret, now, until))?;
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
        uri: issue::connection_uri(&name, Some(&secret.password), &target.metadata.login),
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
    require_no_longer(&target)?;
    if target.metadata.logs_in_by_token() {
        return Err(Error::NoPassword {
            role: asked.to_owned(),
        });
    }
    let role = asked.to_owned();
    if let Some(successor) = target.metadata.successor {
        return Err(Error::Replaced { role, successor });
    }
    let having = beyond::of(&target.role).map_err(super::Error::from)?;
    let (name, left_out) = if until == now {
        // Its password is all that it has, and may be more than the caller could give.
        let refused: Vec<String> = having
            .into_iter()
            .filter(|having| !having.may && !having.is_idle)
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
        if !waiting::retrying(set) {
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
        let connects = server::may_connect(target.role.oid);
        let succeed = || succeed(&target, &successor, &handed, secret, now);
        identity::elevated(|| waiting::retrying_anew(succeed))?;
        // One that cannot log in is no successor.
        let goes_on = catalog::role_by_name(&successor)
            .is_some_and(|successor| server::may_connect(successor.oid));
        if connects && !goes_on {
            return Err(Error::CutOff { role, left_out });
        }
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
    !is_scope && waiting::briefly(|| catalog::lock_memberships(role.oid)).is_err()
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
