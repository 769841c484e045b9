//! What keeps a role from being dropped (`pg_shdepend`), and taking its grants away.

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::{compat, identity, server, spi};

/// Catalogues that pgrx does not bind: catalog/pg_language.h, catalog/pg_largeobject.h.
const LANGUAGES: pg_sys::Oid = pg_sys::Oid::from_u32(2612);
const LARGE_OBJECTS: pg_sys::Oid = pg_sys::Oid::from_u32(2613);
/// catalog/pg_default_acl.h
const DEFAULT_PRIVILEGES: pg_sys::Oid = pg_sys::Oid::from_u32(826);

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
    pub fn is_ownership(&self) -> bool {
        self.kind == b'o'
    }

    fn is_here(&self) -> bool {
        self.database == pg_sys::InvalidOid || self.database == server::database()
    }
}

pub fn of_role(role: pg_sys::Oid) -> SpiResult<Vec<Dependency>> {
    spi::query(
        "SELECT dbid, classid, objid, objsubid, deptype::text,
                CASE WHEN dbid IN (0, (SELECT oid FROM pg_catalog.pg_database
                                        WHERE datname = pg_catalog.current_database()))
                     THEN pg_catalog.pg_describe_object(classid, objid, objsubid) END
           FROM pg_catalog.pg_shdepend
          WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND refobjid = $1
          ORDER BY 1, 2, 3, 4",
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

/// Revokes all that the role was granted in this database and on shared objects, whoever granted
/// it, and takes it out of policies. Not DROP OWNED: that would drop what the role owns, and
/// leaves the grants of other grantors than the owner behind.
pub fn revoke_here(role: pg_sys::Oid) -> SpiResult<()> {
    for dependency in of_role(role)?
        .iter()
        .filter(|dependency| dependency.is_here())
    {
        let Dependency {
            class,
            object,
            sub_object,
            ..
        } = *dependency;
        match dependency.kind {
            b'a' => {
                for grantor in grantors(role, class, object)? {
                    // A REVOKE takes back the grants of the one who runs it.
                    identity::acting_as(grantor, || {
                        // SAFETY: inside a transaction, for an entry just read from pg_shdepend.
                        unsafe { pg_sys::RemoveRoleFromObjectACL(role, class, object) }
                    });
                }
            }
            // SAFETY: as above.
            b'r' => unsafe { compat::remove_role_from_policy(role, class, object) },
            // SAFETY: as above.
            b'i' => unsafe {
                compat::remove_role_from_initial_privileges(role, class, object, sub_object);
            },
            _ => {}
        }
        // SAFETY: makes the change visible to the next step, which may touch the same row.
        unsafe { pg_sys::CommandCounterIncrement() }
    }
    Ok(())
}

/// Takes the role out of every role that it is a member of, whoever put it there.
pub fn revoke_memberships(role: pg_sys::Oid) -> SpiResult<()> {
    let revokes = spi::query(
        "SELECT pg_catalog.format('REVOKE %I FROM %I GRANTED BY %I CASCADE', r.rolname, m.rolname, g.rolname)
           FROM pg_catalog.pg_auth_members a
           JOIN pg_catalog.pg_authid r ON r.oid = a.roleid
           JOIN pg_catalog.pg_authid m ON m.oid = a.member
           JOIN pg_catalog.pg_authid g ON g.oid = a.grantor
          WHERE a.member = $1",
        &[role.into()],
        |row| row.get::<String>(1),
    )?;
    revokes
        .iter()
        .flatten()
        .try_for_each(|revoke| spi::execute(revoke))
}

/// Takes a role from all its members, whoever gave it to them.
pub fn revoke_members(role: pg_sys::Oid) -> SpiResult<()> {
    let revokes = spi::query(
        "SELECT pg_catalog.format('REVOKE %I FROM %I GRANTED BY %I CASCADE', r.rolname, m.rolname, g.rolname)
           FROM pg_catalog.pg_auth_members a
           JOIN pg_catalog.pg_authid r ON r.oid = a.roleid
           JOIN pg_catalog.pg_authid m ON m.oid = a.member
           JOIN pg_catalog.pg_authid g ON g.oid = a.grantor
          WHERE a.roleid = $1",
        &[role.into()],
        |row| row.get::<String>(1),
    )?;
    revokes
        .iter()
        .flatten()
        .try_for_each(|revoke| spi::execute(revoke))
}

/// Forgets what a role would grant on its future objects here: it is about to go, and with it they.
pub fn drop_default_privileges_of(role: pg_sys::Oid) -> SpiResult<()> {
    let found = spi::query(
        "SELECT oid FROM pg_catalog.pg_default_acl WHERE defaclrole = $1",
        &[role.into()],
        |row| row.get::<pg_sys::Oid>(1),
    )?;
    for default in found.into_iter().flatten() {
        let object = pg_sys::ObjectAddress {
            classId: DEFAULT_PRIVILEGES,
            objectId: default,
            objectSubId: 0,
        };
        // SAFETY: inside a transaction, for a row just read.
        unsafe {
            pg_sys::performDeletion(&object, pg_sys::DropBehavior::DROP_RESTRICT, 0);
            pg_sys::CommandCounterIncrement();
        }
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
        class if compat::is_parameter_acl(class) => ("pg_parameter_acl", "paracl"),
        _ => return None,
    };
    Some(format!(
        "SELECT {column} FROM pg_catalog.{catalog} WHERE oid = $1"
    ))
}
