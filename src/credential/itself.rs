//! A login of ours leaves roles alone: its password, settings, labels and memberships are whose who
//! issued it. What it SETs in its own session is its own business.

use std::sync::OnceLock;

use crate::error;
use crate::label::{self, Kind};
use crate::pg::{catalog, identity, spi};
use crate::session::ends;
use pgrx::pg_sys;

#[derive(Debug, thiserror::Error)]
#[error("permission denied to change roles")]
pub struct Refused {
    pub role: String,
}

/// What sessions have that are switched to a role is not for the role to say, nor how else to come by it.
#[derive(Debug, thiserror::Error)]
#[error("permission denied to alter role \"{role}\"")]
pub struct NotItsOwn {
    pub role: String,
}

/// Called when ALTER ROLE … SET is about to run. Raises 42501 for a role that cannot log in, or that tokens take: its settings are those of
/// the sessions that a token switches to it. Its code may run where no token is, in an index that is analysed, say.
pub fn enforce_settings() {
    let Some(role) = catalog::role_by_oid(identity::current_user()) else {
        return;
    };
    if !role.create_role && !role.superuser && (!role.can_login || is_taken_by_tokens(role.oid)) {
        error::raise(&NotItsOwn { role: role.name });
    }
}

/// Called when another ALTER ROLE is about to run. Raises 42501 for a role that tokens take, where its code runs in somebody else's session:
/// what it can change of itself is its password.
pub fn enforce_alter() {
    let current = identity::current_user();
    let is_elsewhere = current != identity::session_user();
    let Some(role) = catalog::role_by_oid(current).filter(|_| is_elsewhere) else {
        return;
    };
    if !role.create_role && !role.superuser && is_taken_by_tokens(role.oid) {
        error::raise(&NotItsOwn { role: role.name });
    }
}

/// Is an authenticator a member of the role, through others too?
fn is_taken_by_tokens(role: pg_sys::Oid) -> bool {
    let found = identity::elevated(|| spi::read(AUTHENTICATORS_OF, &[role.into()], |_| Ok(())));
    // What is not known is refused.
    !found.is_ok_and(|found| found.is_empty())
}

const AUTHENTICATORS_OF: &str = "
WITH RECURSIVE m(oid) AS (
  SELECT $1 UNION SELECT a.member FROM pg_catalog.pg_auth_members a JOIN m ON a.roleid OPERATOR(pg_catalog.=) m.oid)
SELECT FROM m JOIN pg_catalog.pg_shseclabel l ON l.objoid OPERATOR(pg_catalog.=) m.oid
 WHERE l.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass AND l.provider OPERATOR(pg_catalog.=) 'scope_roles'
   AND l.label::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'kind' OPERATOR(pg_catalog.=) 'authenticator' LIMIT 1";

/// Called when a statement is about to change a role: CREATE, ALTER, DROP or RENAME it, its settings,
/// memberships or labels. Raises 42501 when it is a managed role that does it.
pub fn enforce() {
    let now = identity::now();
    // A SECURITY DEFINER function is its owner's doing, and ours runs as a superuser.
    let mut acting = vec![now.current];
    if !identity::in_security_definer() {
        acting.extend([now.outer, identity::session_user()]);
    }
    if catalog::role_by_oid(now.current).is_none_or(|role| role.superuser) {
        return;
    }
    if let Some(role) = acting.into_iter().find_map(managed) {
        error::raise(&Refused { role });
    }
}

static ALSO: OnceLock<fn() -> Option<i64>> = OnceLock::new();

/// What else than a login of ours ends, and with it what is issued by its right: a room above knows. In the postmaster.
pub fn ends_also(ends_at: fn() -> Option<i64>) {
    ALSO.get_or_init(|| ends_at);
}

/// When the right of the session to issue ends, if it does: what it hands out ends by then. Unix microseconds.
pub fn ends_at() -> Option<i64> {
    if identity::is_superuser() {
        return None;
    }
    let also = ALSO.get().and_then(|ends_at| ends_at());
    let token = Some(ends::of_token()).filter(|&at| at != i64::MAX);
    login_ends_at().into_iter().chain(also).chain(token).min()
}

/// When the session's own login ends, if that is one of ours. Also in functions that run as their owner, whom it may be itself.
fn login_ends_at() -> Option<i64> {
    let now = identity::now();
    [now.current, now.outer, identity::session_user()]
        .into_iter()
        .filter_map(|actor| {
            let role = catalog::role_by_oid(actor).filter(|role| !role.superuser)?;
            match label::read(actor)? {
                Ok(metadata)
                    if !matches!(metadata.kind, Kind::Credential | Kind::Authenticator) =>
                {
                    None
                }
                Ok(metadata) => metadata.deadline(role.valid_until),
                Err(_) => Some(i64::MIN),
            }
        })
        .min()
}

/// The role's name, if it is one of ours. Superusers never are.
fn managed(role: pg_sys::Oid) -> Option<String> {
    // A label that can't be read makes it ours all the same.
    let managed = label::read(role).is_some();
    catalog::role_by_oid(role)
        .filter(|role| managed && !role.superuser)
        .map(|role| role.name)
}
