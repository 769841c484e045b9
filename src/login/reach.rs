//! A credential was issued for what its scopes hold in one database. In others where they hold something too it would get more, which
//! whoever issued it may not even be able to hand out.

use pgrx::pg_sys;

use crate::label::{self, Kind, Metadata};
use crate::memberships;
use crate::pg::{compat, server, shdepend};

/// Does the client ask for a database that has a part of its scopes, and is not its own? While it logs in, when no more can be
/// read than labels.
pub fn is_of_another_part(role: pg_sys::Oid, metadata: &Metadata) -> bool {
    if !stays_at_home(metadata) {
        return false;
    }
    let Some(asked) = server::database_asked_for() else {
        return false;
    };
    if label::is_home(metadata, &asked) {
        return false;
    }
    if is_of_one_database(metadata) {
        return true;
    }
    let Some(database) = server::database_of_name(&asked) else {
        return false;
    };
    memberships::groups(role)
        .into_iter()
        .any(|group| match label::read_at_login(group) {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(scope)) => label::has_part_in(&scope, database.into()),
        })
}

fn stays_at_home(metadata: &Metadata) -> bool {
    metadata.kind == Kind::Credential || metadata.logs_in_by_token()
}

/// A token, and an issuer, is of one database, whatever its role has elsewhere.
fn is_of_one_database(metadata: &Metadata) -> bool {
    metadata.token.is_some() || metadata.logs_in_by_token()
}

/// Is the session of such a login in another database than its own? There it may get something at any time.
pub fn is_away(metadata: &Metadata) -> bool {
    stays_at_home(metadata) && !label::is_home(metadata, &server::database_name())
}

/// Does a login that is away reach something here? Whatever made it so: a part that this database got since, what somebody has granted by
/// hand, a copy of a database, a restore that has not been adopted.
pub fn gets_something_here(login: pg_sys::Oid, metadata: &Metadata) -> bool {
    if is_of_one_database(metadata) {
        return true;
    }
    let here = server::database().into();
    let is_given = |role| match label::read(role) {
        None => false,
        Some(Err(_)) => true,
        Some(Ok(metadata)) => label::has_part_in(&metadata, here) || holds_here(role, false),
    };
    // It was issued with nothing of its own, and may come by what everyone or its scope has.
    holds_here(login, true) || memberships::groups(login).into_iter().any(is_given)
}

/// Has the role been given something in this database, or does it own something there? To connect to it, or to have temporary tables,
/// counts only where that is asked for.
fn holds_here(role: pg_sys::Oid, connecting: bool) -> bool {
    let here = u32::from(server::database());
    let marks = shdepend::marks_of(role);
    marks.iter().any(|mark| match mark.kind {
        b'a' if mark.class == u32::from(pg_sys::DatabaseRelationId) => {
            mark.object == here && (connecting || may_make_schemas(role))
        }
        b'a' | b'o' => mark.database == here,
        _ => false,
    })
}

/// May the role make schemas in this database? Inside a transaction.
fn may_make_schemas(role: pg_sys::Oid) -> bool {
    let here = (pg_sys::DatabaseRelationId, server::database());
    compat::may(here, role, pg_sys::ACL_CREATE)
}
