//! What keeps a role from being dropped (`pg_shdepend`), and taking its grants away.

use std::collections::HashSet;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::catalog::{self, oid_key};
use super::{compat, identity, server, spi};

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

/// A row of `pg_shdepend`: all of its columns are there and of one size.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    database: u32,
    class: u32,
    object: u32,
    sub_object: i32,
    of_class: u32,
    of_object: u32,
    kind: u8,
}

/// On what the role holds privileges, what it owns, and which policies name it, everywhere: one read
/// of an index, without the planner.
pub fn marks_of(role: pg_sys::Oid) -> Vec<Mark> {
    // catalog/pg_shdepend.h
    const SHARED_DEPENDENCIES: u32 = 1214;
    const BY_REFERENCE: u32 = 1233;
    const REFERENCED_CLASS: u32 = 5;
    const REFERENCED_OBJECT: u32 = 6;
    let mut marks = Vec::new();
    // SAFETY: inside a transaction; the keys have their columns' type; a row is copied before the scan
    // goes on; what was opened is closed.
    unsafe {
        let mut keys = [
            oid_key(REFERENCED_CLASS, pg_sys::AuthIdRelationId),
            oid_key(REFERENCED_OBJECT, role),
        ];
        let lock = pg_sys::AccessShareLock as i32;
        let relation = pg_sys::table_open(SHARED_DEPENDENCIES.into(), lock);
        let scan = pg_sys::systable_beginscan(
            relation,
            BY_REFERENCE.into(),
            true,
            std::ptr::null_mut(),
            keys.len() as i32,
            keys.as_mut_ptr(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            marks.push(*pg_sys::GETSTRUCT(tuple).cast::<Mark>());
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
    }
    marks
}

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
            compat::GOES_WITH_ROLE
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

/// Which of the roles something depends on.
pub fn holding(roles: &[pg_sys::Oid]) -> SpiResult<HashSet<pg_sys::Oid>> {
    let found = spi::query(
        &format!(
            "SELECT DISTINCT s.refobjid
               FROM pg_catalog.pg_shdepend s
              WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                AND s.refobjid = ANY ($1) AND NOT ({}){}",
            compat::GOES_WITH_ROLE,
            compat::UNION_GRANTORS
        ),
        &[roles.to_vec().into()],
        |row| row.get::<pg_sys::Oid>(1),
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// Removes memberships of roles that are gone, which a GRANT at the same time as the DROP ROLE may
/// have left: a later role could get the same OID. Of these roles, or of any.
pub fn sweep_memberships(dropped: Option<&[pg_sys::Oid]>) -> SpiResult<()> {
    for column in ["member", "roleid"] {
        let delete = format!(
            "DELETE FROM pg_catalog.pg_auth_members m
              WHERE ($1 IS NULL OR m.{column} = ANY ($1))
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid r WHERE r.oid = m.{column})"
        );
        let sql = if compat::MEMBERSHIPS_ARE_OBJECTS {
            format!(
                "WITH gone AS ({delete} RETURNING m.oid)
                 DELETE FROM pg_catalog.pg_shdepend s USING gone
                  WHERE s.dbid = 0 AND s.objid = gone.oid
                    AND s.classid = 'pg_catalog.pg_auth_members'::pg_catalog.regclass
                 RETURNING 1"
            )
        } else {
            format!("{delete} RETURNING 1")
        };
        spi::query(&sql, &[dropped.map(<[pg_sys::Oid]>::to_vec).into()], |_| {
            Ok(())
        })?;
    }
    Ok(())
}

/// Who keeps the role from being changed or dropped, in words: whoever has locked it, else one who
/// is changing roles, else the oldest transaction that has changed something here. (What was granted on
/// a table is in its owner's hands, and PostgreSQL does not keep a lock that shows it.)
pub fn lock_holder(role: pg_sys::Oid) -> SpiResult<Option<String>> {
    let found = spi::query(
        "SELECT CASE WHEN l.pid IS NOT NULL THEN pg_catalog.format('process %s', l.pid)
                     ELSE pg_catalog.format('prepared transaction \"%s\"', p.gid) END
                || CASE l.locktype WHEN 'object' THEN ' holds a lock on the role'
                                   WHEN 'advisory' THEN ' has called a function for the role'
                                   WHEN 'relation' THEN ' is changing roles'
                                   ELSE ' has made changes and is not done' END
           FROM pg_catalog.pg_locks l
           LEFT JOIN (pg_catalog.pg_locks t
                      JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid)
             ON l.pid IS NULL AND t.pid IS NULL AND t.virtualtransaction = l.virtualtransaction
           LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
          WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
            AND (l.locktype IN ('object', 'advisory') AND l.database = 0 AND l.objid = $1
                   AND l.classid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                 OR l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
                   AND l.relation = 'pg_catalog.pg_authid'::pg_catalog.regclass
                 OR l.locktype = 'transactionid'
                   AND (a.datname = pg_catalog.current_database() OR p.database = pg_catalog.current_database()))
          ORDER BY pg_catalog.array_position(ARRAY['advisory', 'object', 'relation'], l.locktype),
                   a.xact_start, l.pid LIMIT 1",
        &[role.into()],
        |row| row.get::<String>(1),
    )?;
    Ok(found.into_iter().flatten().next())
}

/// Revokes what the role was granted in this database, and on it; not what it has on other shared objects.
pub fn revoke_in_database(role: pg_sys::Oid) -> SpiResult<()> {
    revoke_these(role, |dependency| {
        dependency.database == server::database()
            || dependency.database == pg_sys::InvalidOid
                && dependency.class == pg_sys::DatabaseRelationId
                && dependency.object == server::database()
    })
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
    revoke_these(role, Dependency::is_here)
}

fn revoke_these(role: pg_sys::Oid, concerned: impl Fn(&Dependency) -> bool) -> SpiResult<()> {
    for dependency in of_role(role)?
        .iter()
        .filter(|dependency| concerned(dependency))
    {
        let Dependency {
            class,
            object,
            sub_object,
            ..
        } = *dependency;
        match dependency.kind {
            b'o' if dependency.is_setting() => delete(class, object),
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

/// Takes the role out of every role that it is a member of, whoever put it there, and takes back
/// the memberships that it granted.
pub fn revoke_memberships(role: pg_sys::Oid) -> SpiResult<()> {
    revoke_where("a.member = $1 OR a.grantor = $1", role)
}

/// Takes the role out of one that it is a member of.
/// The login inherits nothing any more through the role that stands between it and another. Nobody else has to do with this row, whereas
/// the membership in the other role can be held by all who may grant that.
pub fn stop_inheriting(between: pg_sys::Oid, login: pg_sys::Oid) -> SpiResult<()> {
    let Some(role) = catalog::role_by_oid(between) else {
        return Ok(());
    };
    let inherits = if compat::HAS_MEMBERSHIP_OPTIONS {
        catalog::inherited_memberships(login).contains(&between)
    } else {
        role.inherits
    };
    if !inherits {
        return Ok(());
    }
    let role = spi::identifier(&role.name);
    if !compat::HAS_MEMBERSHIP_OPTIONS {
        return spi::execute(&format!("ALTER ROLE {role} NOINHERIT"));
    }
    match catalog::role_by_oid(login) {
        Some(login) => spi::execute(&format!(
            "GRANT {role} TO {} WITH INHERIT FALSE",
            spi::identifier(&login.name)
        )),
        None => Ok(()),
    }
}

pub fn revoke_membership(member: pg_sys::Oid, role: pg_sys::Oid) -> SpiResult<()> {
    revoke_where(
        &format!("a.member = $1 AND a.roleid = {}", u32::from(role)),
        member,
    )
}

/// Takes the role from all its members, whoever gave it to them.
pub fn revoke_members(role: pg_sys::Oid) -> SpiResult<()> {
    revoke_where("a.roleid = $1", role)
}

/// Takes the role from the credentials that were issued in a database.
pub fn revoke_credentials_of(role: pg_sys::Oid, database: pg_sys::Oid) -> SpiResult<()> {
    revoke_where(
        &format!(
            "a.roleid = $1 AND EXISTS (
               SELECT FROM pg_catalog.pg_shseclabel l
                WHERE l.objoid = a.member AND l.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                  AND l.provider = 'scope_roles' AND l.label::pg_catalog.jsonb ->> 'kind' = 'credential'
                  AND l.label::pg_catalog.jsonb ->> 'database_oid' = '{}')",
            u32::from(database)
        ),
        role,
    )
}

fn revoke_where(condition: &str, role: pg_sys::Oid) -> SpiResult<()> {
    // Before PostgreSQL 16 the grantor may be a role that is gone, and plays no part.
    let revokes = spi::query(
        &format!(
            "SELECT pg_catalog.format('REVOKE %I FROM %I', r.rolname, m.rolname)
                    || COALESCE(' GRANTED BY ' || pg_catalog.quote_ident(g.rolname), '') || ' CASCADE'
               FROM pg_catalog.pg_auth_members a
               JOIN pg_catalog.pg_authid r ON r.oid = a.roleid
               JOIN pg_catalog.pg_authid m ON m.oid = a.member
               LEFT JOIN pg_catalog.pg_authid g ON g.oid = a.grantor
              WHERE {condition}"
        ),
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
        delete(DEFAULT_PRIVILEGES, default);
    }
    Ok(())
}

fn delete(class: pg_sys::Oid, object: pg_sys::Oid) {
    let object = pg_sys::ObjectAddress {
        classId: class,
        objectId: object,
        objectSubId: 0,
    };
    // SAFETY: inside a transaction, for a row just read.
    unsafe {
        pg_sys::performDeletion(&object, pg_sys::DropBehavior::DROP_RESTRICT, 0);
        pg_sys::CommandCounterIncrement();
    }
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
