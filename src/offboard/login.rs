//! The login itself: nobody gets in by it from the commit on.

use super::person::Person;
use super::step::Step;
use crate::label::{self, State};
use crate::pg::catalog;
use crate::pg::spi::{identifier, literal};
use pgrx::pg_sys;

pub fn find(person: &Person) -> Vec<Step> {
    let Some(role) = person.login() else {
        return Vec::new();
    };
    let (oid, name) = (role.oid, role.name.as_str());
    match label::read(oid) {
        Some(_) => credential(oid, "login", name, person.reason.as_deref()),
        None if role.can_login => {
            let sql = format!("ALTER ROLE {} NOLOGIN", identifier(name));
            vec![
                Step::runs("login", name, sql)
                    .until(move || is_open(oid).then(|| "it can still log in".to_owned())),
            ]
        }
        None => Vec::new(),
    }
}

/// Does PostgreSQL let it in?
pub fn is_open(login: pg_sys::Oid) -> bool {
    catalog::role_by_oid(login).is_some_and(|role| role.can_login)
}

/// One of ours is revoked, unless it has ended.
pub fn credential(
    oid: pg_sys::Oid,
    kind: &'static str,
    name: &str,
    reason: Option<&str>,
) -> Vec<Step> {
    let still = move || is_active(oid).then(|| "it is still active".to_owned());
    still()
        .map(|_| {
            let reason = reason.map(|reason| format!(", {}", literal(reason)));
            let sql = format!(
                "SELECT scope.revoke_role({}{})",
                literal(name),
                reason.unwrap_or_default()
            );
            Step::runs(kind, name, sql).until(still)
        })
        .into_iter()
        .collect()
}

/// What cannot be read is not known to have ended.
pub fn is_active(oid: pg_sys::Oid) -> bool {
    label::read(oid)
        .is_some_and(|read| read.map_or(true, |metadata| metadata.state == State::Active))
}
