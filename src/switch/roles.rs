//! Which roles a token may activate: at all, and in this session.

use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys;

use super::Error;
use crate::composite;
use crate::label::{self, Kind, Metadata};
use crate::memberships;
use crate::pg::catalog::{self, Role};
use crate::pg::{compat, identity, invalidation, server, text};
use crate::session::role_settings::{self, Stored};
use crate::session::{gate, switch_state};

/// Why a role is out of reach for every token.
#[derive(Debug, thiserror::Error)]
pub enum Untakeable {
    #[error("the role \"{role}\" may not be taken by a token")]
    Reserved { role: String },
    #[error("the role \"{role}\" may not be taken by a token")]
    Unknown { role: String },
    #[error("the role \"{role}\" may not be taken by a token")]
    Privileged { role: String, why: &'static str },
}

thread_local! {
    /// The last role that was permitted, and on what grounds.
    static PERMITTED: RefCell<Option<(Grounds, Rc<Permitted>)>> = const { RefCell::new(None) };
}

/// A role that may be taken, its name for PostgreSQL, and its own settings.
pub struct Permitted {
    pub role: Role,
    pub name: Rc<CStr>,
    pub settings: Stored,
    /// It is several, which tokens take together.
    pub is_composite: bool,
}

/// The role, if tokens may activate it at all (docs/design.md, "Gated logins make an escape worthless").
pub fn takeable(role: &str) -> Result<Role, Untakeable> {
    if role.starts_with("pg_") || role == "public" || role == "none" {
        return Err(Untakeable::Reserved {
            role: role.to_owned(),
        });
    }
    let Some(target) = catalog::role_by_name(role) else {
        return Err(Untakeable::Unknown {
            role: role.to_owned(),
        });
    };
    let composite = composite::is_one(target.oid);
    let composite = composite.then_some("is several roles, which logins by token take together");
    match privileged(&target).or(composite) {
        Some(why) => Err(Untakeable::Privileged {
            role: target.name,
            why,
        }),
        None => Ok(target),
    }
}

/// What decides which roles may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grounds {
    session_user: pg_sys::Oid,
    /// When the configuration was read, and the generation of roles and memberships.
    configuration: i64,
    pub(super) roles: u64,
}

impl Grounds {
    pub fn now() -> Self {
        Self {
            session_user: identity::session_user(),
            configuration: server::configuration_time(),
            roles: invalidation::roles(),
        }
    }
}

/// The role, if this session may take it by a token; asked again only when the answer may have changed: tokens differ more
/// often than their roles.
pub fn permitted_now(role: &str, grounds: Grounds) -> Result<Rc<Permitted>, Error> {
    let known = PERMITTED.with_borrow(|known| {
        let (on, known) = known.as_ref()?;
        (*on == grounds && known.role.name == role).then(|| known.clone())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let role = permitted(role)?;
    let parts = composite::parts(&role);
    let permitted = Rc::new(Permitted {
        // One that PostgreSQL knows has no NUL.
        name: text::written(&role.name).unwrap_or_default().into(),
        settings: settings(&role, parts.as_deref()),
        is_composite: parts.is_some(),
        role,
    });
    PERMITTED.set(Some((grounds, permitted.clone())));
    Ok(permitted)
}

/// Of several roles those of each, in the order of their names: the last one counts.
fn settings(role: &Role, parts: Option<&[String]>) -> Stored {
    let Some(parts) = parts else {
        return role_settings::of(role.oid);
    };
    let mut all = Stored::new();
    for part in parts.iter().filter_map(|part| catalog::role_by_name(part)) {
        for (name, value) in role_settings::of(part.oid) {
            all.retain(|(other, _)| *other != name);
            all.push((name, value));
        }
    }
    all
}

/// Several roles, each of which the session may take.
fn whole(role: Role) -> Result<Role, Error> {
    if let Some(why) = privileged(&role) {
        let role = role.name;
        return Err(Untakeable::Privileged { role, why }.into());
    }
    let parts = composite::parts(&role).ok_or_else(|| composite::Error::Changed {
        role: role.name.clone(),
    })?;
    for part in &parts {
        permitted(part)?;
    }
    Ok(role)
}

pub(super) fn permitted(role: &str) -> Result<Role, Error> {
    let target = match catalog::role_by_name(role).filter(|role| composite::is_one(role.oid)) {
        Some(composite) if gate::is_by_token() => whole(composite)?,
        _ => takeable(role)?,
    };
    let session_user = identity::session_user();
    let name = || catalog::name_of(session_user);
    // PostgreSQL lets everybody SET ROLE to itself. A switch to it would change nothing, but open the
    // gate.
    if target.oid == session_user {
        return Err(Error::Itself { role: target.name });
    }
    if !compat::may_set_role(session_user, target.oid) {
        return Err(Error::NotGranted {
            role: target.name,
            session_user: name(),
        });
    }
    if !composite::is_one(target.oid) && !lists(session_user, &target) {
        return Err(Error::NotListed {
            role: target.name,
            session_user: name(),
        });
    }
    Ok(target)
}

/// Was the login, if it is an authenticator, made for the role? It takes no role by way of another one,
/// and none that it was granted past the extension.
fn lists(login: pg_sys::Oid, role: &Role) -> bool {
    match label::read_any(login) {
        Some(Ok(Metadata {
            kind: Kind::Authenticator,
            roles,
            ..
        })) => {
            catalog::memberships(login).contains(&role.oid)
                && (roles.is_empty() || roles.contains(&role.name))
        }
        Some(Err(_)) => false,
        Some(Ok(_)) | None => true,
    }
}

/// What makes a role too powerful to be locked in: each of these leads out of the lock.
pub fn privileged(role: &Role) -> Option<&'static str> {
    let reaches = |predefined: u32| catalog::has_privileges_of(role.oid, predefined.into());
    if role.superuser {
        Some("is a superuser")
    } else if role.bypass_rls {
        Some("has BYPASSRLS")
    } else if role.create_role {
        Some("has CREATEROLE")
    } else if role.replication {
        Some("has REPLICATION")
    } else if reaches(pg_sys::ROLE_PG_EXECUTE_SERVER_PROGRAM) {
        Some("may run programs on the server (pg_execute_server_program)")
    } else if reaches(pg_sys::ROLE_PG_WRITE_SERVER_FILES) {
        Some("may write files of the server (pg_write_server_files)")
    } else if reaches(pg_sys::ROLE_PG_READ_SERVER_FILES) {
        Some("may read files of the server (pg_read_server_files)")
    } else if memberships::inherits_from_superuser(role.oid) {
        Some("has the rights of a superuser, being its member")
    } else if switch_state::settings().any(|name| compat::may_set_parameter(role.oid, name)) {
        Some("may set a setting that the lock rests on (GRANT SET ON PARAMETER)")
    } else {
        None
    }
}
