//! Memberships that stay: a login that nobody can use any more is no use in them, and whoever comes back by it has them again.

use super::Error;
use super::person::Person;
use super::step::Step;
use crate::label::{self, Kind};
use crate::pg::spi::{self, identifier};
use crate::pg::{catalog, compat};

pub fn find(person: &Person) -> Result<Vec<Step>, Error> {
    const SQL: &str = "
        SELECT m.roleid, m.grantor FROM pg_catalog.pg_auth_members m
          JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
         WHERE m.member = $1 ORDER BY r.rolname, m.grantor";
    // Those of a credential go with it.
    let Some(login) = person
        .login()
        .filter(|login| label::read(login.oid).is_none())
    else {
        return Ok(Vec::new());
    };
    let found = spi::read(SQL, &[login.oid.into()], |row| {
        Ok(row.get(1)?.zip(row.get(2)?))
    })?;
    Ok(found
        .into_iter()
        .flatten()
        .filter_map(|(group, grantor)| {
            let is_temporary =
                matches!(label::read(group), Some(Ok(label)) if label.kind == Kind::Temporary);
            let group = catalog::role_by_oid(group).filter(|_| !is_temporary)?;
            let mut sql = format!(
                "REVOKE {} FROM {}",
                identifier(&group.name),
                identifier(&login.name)
            );
            if compat::MEMBERSHIPS_ARE_OBJECTS {
                sql += &format!(" GRANTED BY {}", identifier(&catalog::name_of(grantor)));
            }
            let why = "of no use to a login that is disabled; for whoever may revoke it";
            Some(Step::shown("membership", group.name, sql, why))
        })
        .collect())
}
