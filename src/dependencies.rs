//! What keeps a role from being dropped (`pg_shdepend`), and taking its grants away.

use std::collections::HashSet;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::pg::{compat, identity, server, shdepend, spi};

/// Catalogues that pgrx does not bind: catalog/pg_language.h, catalog/pg_largeobject.h.
const LANGUAGES: pg_sys::Oid = pg_sys::Oid::from_u32(2612);
const LARGE_OBJECTS: pg_sys::Oid = pg_sys::Oid::from_u32(2613);
/// catalog/pg_default_acl.h
const DEFAULT_PRIVILEGES: pg_sys::Oid = pg_sys::Oid::from_u32(826);
/// catalog/pg_user_mapping.h
const USER_MAPPINGS: pg_sys::Oid = pg_sys::Oid::from_u32(1418);

#[derive(Debug, Clone)]
pub struct Dependency {
    /// 0 for objects shared by all databases.
    pub database: pg_sys::Oid,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
    /// `SharedDependencyType` (catalog/dependency.h).
    kind: u8,
    /// As PostgreSQL words it; `None` in other databases.
    pub description: Option<String>,
}

impl Dependency {
    /// Is it an object that holds something? What the role's own rights and settings are goes with it.
    pub fn is_ownership(&self) -> bool {
        self.kind == b'o' && !self.is_setting()
    }

    /// What the role would grant on its future objects, and how it logs in to foreign servers.
    fn is_setting(&self) -> bool {
        [DEFAULT_PRIVILEGES, USER_MAPPINGS].contains(&self.class)
    }

    fn is_here(&self) -> bool {
        self.database == pg_sys::InvalidOid || self.database == server::database()
    }
}

/// Is this row `s` of pg_shdepend a membership that DROP ROLE takes away by itself? All but those
/// that the role has granted are.
const GOES_WITH_ROLE: &str = if compat::MEMBERSHIPS_ARE_OBJECTS {
    "s.classid = 'pg_catalog.pg_auth_members'::pg_catalog.regclass AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_auth_members m WHERE m.oid = s.objid AND m.grantor = s.refobjid)"
} else {
    "false"
};

pub fn of_role(role: pg_sys::Oid) -> SpiResult<Vec<Dependency>> {
    spi::query(
        &format!(
            "SELECT s.dbid, s.classid, s.objid, s.objsubid, s.deptype::text,
                    CASE WHEN s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database
                                              WHERE datname = pg_catalog.current_database()))
                         THEN pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid) END
               FROM pg_catalog.pg_shdepend s
              WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = $1
                AND NOT ({})
              ORDER BY 1, 2, 3, 4",
            GOES_WITH_ROLE
        ),
        &[role.into()],
        |row| {
            let kind = row.get::<String>(5)?.and_then(|text| text.bytes().next());
            Ok(Dependency {
                database: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                class: row.get(2)?.unwrap_or(pg_sys::InvalidOid),
                object: row.get(3)?.unwrap_or(pg_sys::InvalidOid),
                sub_object: row.get(4)?.unwrap_or_default(),
                kind: kind.unwrap_or_default(),
                description: row.get(6)?,
            })
        },
    )
}

/// Adds to the roles that something depends on those of the array $1 that have granted a membership,
/// where pg_shdepend does not say so.
const UNION_GRANTORS: &str = if compat::MEMBERSHIPS_ARE_OBJECTS {
    ""
} else {
    " UNION SELECT a.grantor FROM pg_catalog.pg_auth_members a WHERE a.grantor = ANY ($1)"
};

/// Which of the roles something depends on.
pub fn holding(roles: &[pg_sys::Oid]) -> SpiResult<HashSet<pg_sys::Oid>> {
    let found = spi::query(
        &format!(
            "SELECT DISTINCT s.refobjid
               FROM pg_catalog.pg_shdepend s
              WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                AND s.refobjid = ANY ($1) AND NOT ({}){}",
            GOES_WITH_ROLE, UNION_GRANTORS
        ),
        &[roles.to_vec().into()],
        |row| row.get::<pg_sys::Oid>(1),
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// Revokes what the role was granted in this database, and on it; not what it has on other shared objects.
/// `each` does it, one thing after the other.
pub fn revoke_in_database(
    role: pg_sys::Oid,
    each: impl FnMut(&dyn Fn() -> SpiResult<()>) -> SpiResult<()>,
) -> SpiResult<()> {
    revoke_these(
        role,
        |dependency| {
            dependency.database == server::database()
                || dependency.database == pg_sys::InvalidOid
                    && dependency.class == pg_sys::DatabaseRelationId
                    && dependency.object == server::database()
        },
        each,
    )
}

/// Revokes what the role was granted here, whoever granted it, on kinds of objects that are none of these catalogues'; not what it has on
/// databases.
pub fn revoke_on_others(role: pg_sys::Oid, kinds: &[pg_sys::Oid]) -> SpiResult<()> {
    // Default privileges are of one kind of objects each.
    let defaults = spi::query(
        "SELECT oid FROM pg_catalog.pg_default_acl WHERE defaclobjtype NOT IN ('r', 'S', 'f')",
        &[],
        |row| row.get::<pg_sys::Oid>(1),
    )?;
    let is_other = |dependency: &Dependency| {
        dependency.kind == b'a'
            && dependency.is_here()
            && dependency.class != pg_sys::DatabaseRelationId
            && match dependency.class {
                DEFAULT_PRIVILEGES => defaults.contains(&Some(dependency.object)),
                class => !kinds.contains(&class),
            }
    };
    revoke_these(role, is_other, |revoke| revoke())
}

/// The databases in which the role holds something.
pub fn databases_of(role: pg_sys::Oid) -> SpiResult<Vec<u32>> {
    let mut found: Vec<u32> = of_role(role)?
        .iter()
        .map(|dependency| u32::from(dependency.database))
        .filter(|&database| database != 0)
        .collect();
    found.dedup();
    Ok(found)
}

/// Revokes all that the role was granted in this database and on shared objects, whoever granted
/// it, takes it out of policies, and drops its default privileges and user mappings. Not DROP OWNED:
/// that would drop what the role owns, and leaves the grants of other grantors than the owner behind.
pub fn revoke_here(role: pg_sys::Oid) -> SpiResult<()> {
    revoke_these(role, Dependency::is_here, |revoke| revoke())
}

fn revoke_these(
    role: pg_sys::Oid,
    concerned: impl Fn(&Dependency) -> bool,
    mut each: impl FnMut(&dyn Fn() -> SpiResult<()>) -> SpiResult<()>,
) -> SpiResult<()> {
    for dependency in of_role(role)?
        .iter()
        .filter(|dependency| concerned(dependency))
    {
        each(&|| revoke_this(role, dependency))?;
    }
    Ok(())
}

fn revoke_this(role: pg_sys::Oid, dependency: &Dependency) -> SpiResult<()> {
    let Dependency {
        class,
        object,
        sub_object,
        ..
    } = *dependency;
    match dependency.kind {
        b'o' if dependency.is_setting() => shdepend::delete(class, object),
        b'a' => {
            for grantor in grantors(role, class, object)? {
                // A REVOKE takes back the grants of the one who runs it.
                identity::acting_as(grantor, || {
                    shdepend::remove_from_acl(role, class, object);
                });
            }
        }
        b'r' => shdepend::remove_from_policy(role, class, object),
        b'i' => compat::remove_role_from_initial_privileges(role, class, object, sub_object),
        _ => {}
    }
    Ok(())
}

/// Forgets what a role would grant on its future objects here: it is about to go, and with it they.
pub fn drop_default_privileges_of(role: pg_sys::Oid) -> SpiResult<()> {
    let found = spi::query(
        "SELECT oid FROM pg_catalog.pg_default_acl WHERE defaclrole = $1",
        &[role.into()],
        |row| row.get::<pg_sys::Oid>(1),
    )?;
    for default in found.into_iter().flatten() {
        shdepend::delete(DEFAULT_PRIVILEGES, default);
    }
    Ok(())
}

/// Who granted something on this object to the role.
fn grantors(
    role: pg_sys::Oid,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
) -> SpiResult<Vec<pg_sys::Oid>> {
    let Some(acls) = acls_of(class) else {
        // Default privileges: they belong to the role that they are for; no grantor is asked.
        return Ok(vec![pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID)]);
    };
    let found = spi::query(
        &format!(
            "SELECT DISTINCT a.grantor
               FROM ({acls}) AS o(acl), pg_catalog.aclexplode(o.acl) AS a
              WHERE a.grantee = $2"
        ),
        &[object.into(), role.into()],
        |row| row.get::<pg_sys::Oid>(1),
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// A query for the ACLs of the object $1 of a class.
fn acls_of(class: pg_sys::Oid) -> Option<String> {
    let (catalog, column) = match class {
        pg_sys::RelationRelationId => {
            return Some(
                "SELECT relacl FROM pg_catalog.pg_class WHERE oid = $1
                 UNION ALL
                 SELECT attacl FROM pg_catalog.pg_attribute WHERE attrelid = $1"
                    .to_owned(),
            );
        }
        pg_sys::NamespaceRelationId => ("pg_namespace", "nspacl"),
        pg_sys::ProcedureRelationId => ("pg_proc", "proacl"),
        pg_sys::TypeRelationId => ("pg_type", "typacl"),
        LANGUAGES => ("pg_language", "lanacl"),
        pg_sys::ForeignDataWrapperRelationId => ("pg_foreign_data_wrapper", "fdwacl"),
        pg_sys::ForeignServerRelationId => ("pg_foreign_server", "srvacl"),
        LARGE_OBJECTS => ("pg_largeobject_metadata", "lomacl"),
        pg_sys::DatabaseRelationId => ("pg_database", "datacl"),
        pg_sys::TableSpaceRelationId => ("pg_tablespace", "spcacl"),
        pg_sys::ParameterAclRelationId => ("pg_parameter_acl", "paracl"),
        _ => return None,
    };
    Some(format!(
        "SELECT {column} FROM pg_catalog.{catalog} WHERE oid = $1"
    ))
}
