//! Scopes: NOLOGIN roles that hold one set of privileges on one set of objects (design 3.2).

pub mod name;

use aws_lc_rs::digest;
use pgrx::pg_sys;

use crate::label::{self, Kind, Metadata, State};
use crate::pg::advisory::{self, Mode};
use crate::pg::catalog::{self, Role};
use crate::pg::{identity, server, spi, xact};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the table does not exist")]
    NoSuchTable { oid: u32 },
    #[error("\"{table}\" is not a table or view")]
    WrongKind { table: String, kind: &'static str },
    #[error("\"{table}\" cannot be granted to other sessions")]
    Temporary { table: String },
    #[error("permission denied: \"{table}\" is a system catalog")]
    System { table: String },
    #[error("permission denied to grant {privilege} on {object}")]
    MayNotGrant {
        object: String,
        privilege: &'static str,
        caller: String,
    },
    #[error("no name is free for the scope")]
    NoFreeName,
    #[error("the catalogs could not be read")]
    Sql(String),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

/// A scope that exists, in this transaction at least.
pub struct Scope {
    pub role: String,
    /// The table's bare name, for naming the scope's credentials.
    pub table: String,
}

/// The caller's scope that may read `table` and nothing else, made when there is none.
///
/// The caller must own, or hold with grant option, whatever is handed out and is not everyone's
/// already. The grants are made as the caller, so PostgreSQL checks them again and records the
/// right grantor; only making the role itself is elevated.
pub fn readonly(table: pg_sys::Oid) -> Result<Scope, Error> {
    let caller = identity::current_user();
    let table = identity::pinned(|| Table::read(table, caller))?;
    let grants = table.readonly_grants()?;
    // One scope per caller: what one grantor may hand out is never mixed with another's.
    let seed = digest::digest(
        &digest::SHA256,
        format!(
            "{} {} {} select",
            table.database_oid,
            table.oid,
            u32::from(caller)
        )
        .as_bytes(),
    );
    const CANDIDATES: u8 = 8;
    for attempt in 0..CANDIDATES {
        let suffix: Vec<u8> = seed
            .as_ref()
            .iter()
            .skip(usize::from(attempt))
            .take(6)
            .copied()
            .collect();
        let role = name::compose(&table.name, "ro", &name::tag(&suffix));
        if claim(&role, &table, &grants, caller)? {
            return Ok(Scope {
                role,
                table: table.name,
            });
        }
    }
    Err(Error::NoFreeName)
}

/// Finds or makes the scope under this name; false when the name belongs to something else.
fn claim(role: &str, table: &Table, grants: &[String], caller: pg_sys::Oid) -> Result<bool, Error> {
    if let Some(existing) = catalog::role_by_name(role) {
        // Keeps the scope from being dropped until we are done.
        advisory::lock(lock_key(role), Mode::Share);
        return identity::elevated(|| is_exactly(&existing, table));
    }
    advisory::lock(lock_key(role), Mode::Exclusive);
    if let Some(existing) = catalog::role_by_name(role) {
        return identity::elevated(|| is_exactly(&existing, table));
    }
    identity::elevated(|| create(role, caller))?;
    let grants = grants
        .iter()
        .map(|grant| format!("{grant} TO {};", spi::identifier(role)))
        .collect::<String>();
    // Other tools change the same ACLs without our lock.
    identity::pinned(|| xact::retrying(|| spi::execute(&grants)))?;
    Ok(true)
}

fn create(role: &str, caller: pg_sys::Oid) -> Result<(), Error> {
    spi::execute(&format!("CREATE ROLE {} NOLOGIN", spi::identifier(role)))?;
    if label::attach(role, Kind::Scope, caller, None) {
        Ok(())
    } else {
        Err(Error::Sql(
            "the role that was just created is not there".to_owned(),
        ))
    }
}

/// Is it a scope of ours that can do exactly what was asked for? Somebody may have widened it by
/// hand, and handing that out is not ours to do.
fn is_exactly(role: &Role, table: &Table) -> Result<bool, Error> {
    let ours = matches!(
        label::read(role.oid),
        Some(Ok(Metadata {
            kind: Kind::Scope,
            state: State::Active,
            ..
        }))
    );
    if !ours || role.superuser || role.create_role || role.replication || role.bypass_rls {
        return Ok(false);
    }
    let answers = spi::query(
        EXACTLY_READONLY,
        &[
            role.oid.into(),
            pg_sys::Oid::from(table.oid).into(),
            table.namespace.into(),
        ],
        |row| row.get::<bool>(1),
    )?;
    Ok(answers == [Some(true)])
}

/// $1 the scope, $2 the table, $3 its schema.
const EXACTLY_READONLY: &str = "
SELECT NOT EXISTS (
         SELECT FROM pg_catalog.pg_shdepend
          WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND refobjid = $1
            AND NOT (deptype = 'a' AND objsubid = 0 AND (
                  (dbid = d.oid AND classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objid = $2)
               OR (dbid = d.oid AND classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND objid = $3)
               OR (dbid = 0 AND classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND objid = d.oid))))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE member = $1)
   AND NOT EXISTS (
         SELECT FROM (SELECT 'SELECT', a.* FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) a
                       WHERE pg_class.oid = $2
                      UNION ALL
                      SELECT 'USAGE', a.* FROM pg_catalog.pg_namespace, pg_catalog.aclexplode(nspacl) a
                       WHERE pg_namespace.oid = $3
                      UNION ALL
                      SELECT 'CONNECT', a.* FROM pg_catalog.aclexplode(d.datacl) a
                ) AS held(expected, grantor, grantee, privilege, grantable)
          WHERE grantee = $1 AND (privilege <> expected OR grantable))
   AND pg_catalog.has_table_privilege($1, $2, 'SELECT')
   AND pg_catalog.has_schema_privilege($1, $3, 'USAGE')
   AND pg_catalog.has_database_privilege($1, d.oid, 'CONNECT')
  FROM pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database()";

/// What has to be known about a table before anything is granted on it.
struct Table {
    oid: u32,
    name: String,
    schema: String,
    namespace: pg_sys::Oid,
    database: String,
    database_oid: u32,
    caller: String,
    table: Grantable,
    usage: Grantable,
    connect: Grantable,
}

/// May the caller grant a privilege, and does everyone hold it anyway?
struct Grantable {
    by_caller: bool,
    everyones: bool,
}

impl Table {
    fn read(oid: pg_sys::Oid, caller: pg_sys::Oid) -> Result<Self, Error> {
        let found = spi::query(TABLE_FACTS, &[oid.into(), caller.into()], |row| {
            Ok((
                Table {
                    oid: oid.into(),
                    name: row.get(1)?.unwrap_or_default(),
                    schema: row.get(2)?.unwrap_or_default(),
                    namespace: row.get(3)?.unwrap_or(pg_sys::InvalidOid),
                    database: row.get(4)?.unwrap_or_default(),
                    database_oid: server::database().into(),
                    caller: row.get(5)?.unwrap_or_default(),
                    table: Grantable {
                        by_caller: row.get(6)?.unwrap_or_default(),
                        everyones: false,
                    },
                    usage: Grantable {
                        by_caller: row.get(7)?.unwrap_or_default(),
                        everyones: row.get(8)?.unwrap_or_default(),
                    },
                    connect: Grantable {
                        by_caller: row.get(9)?.unwrap_or_default(),
                        everyones: row.get(10)?.unwrap_or_default(),
                    },
                },
                row.get::<String>(11)?.unwrap_or_default(),
                row.get::<bool>(12)?.unwrap_or_default(),
            ))
        })?;
        let Some((table, kind, temporary)) = found.into_iter().next() else {
            return Err(Error::NoSuchTable { oid: oid.into() });
        };
        let shown = spi::qualified(&table.schema, &table.name);
        if let Some(kind) = unsuitable(&kind) {
            return Err(Error::WrongKind { table: shown, kind });
        }
        if temporary {
            return Err(Error::Temporary { table: shown });
        }
        let system = table.oid < pg_sys::FirstNormalObjectId
            || ["pg_catalog", "information_schema", "pg_toast"].contains(&table.schema.as_str());
        if system {
            return Err(Error::System { table: shown });
        }
        Ok(table)
    }

    /// The GRANT statements, without their grantee.
    fn readonly_grants(&self) -> Result<Vec<String>, Error> {
        let wanted = [
            (
                &self.table,
                "SELECT",
                spi::qualified(&self.schema, &self.name),
            ),
            (
                &self.usage,
                "USAGE",
                format!("SCHEMA {}", spi::identifier(&self.schema)),
            ),
            (
                &self.connect,
                "CONNECT",
                format!("DATABASE {}", spi::identifier(&self.database)),
            ),
        ];
        let mut grants = Vec::new();
        for (right, privilege, object) in wanted {
            if right.by_caller {
                grants.push(format!("GRANT {privilege} ON {object}"));
            } else if !right.everyones {
                let caller = self.caller.clone();
                return Err(Error::MayNotGrant {
                    object,
                    privilege,
                    caller,
                });
            }
        }
        Ok(grants)
    }
}

/// $1 the relation, $2 the caller.
const TABLE_FACTS: &str = "
SELECT c.relname::text, n.nspname::text, n.oid, d.datname::text, r.rolname::text,
       pg_catalog.has_table_privilege($2, c.oid, 'SELECT WITH GRANT OPTION'),
       pg_catalog.has_schema_privilege($2, n.oid, 'USAGE WITH GRANT OPTION'),
       pg_catalog.has_schema_privilege('public', n.oid, 'USAGE'),
       pg_catalog.has_database_privilege($2, d.oid, 'CONNECT WITH GRANT OPTION'),
       pg_catalog.has_database_privilege('public', d.oid, 'CONNECT'),
       c.relkind::text, c.relpersistence = 't'
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
  JOIN pg_catalog.pg_roles r ON r.oid = $2
 WHERE c.oid = $1";

/// What the relation is, when it is nothing that SELECT can be granted on for reading rows.
fn unsuitable(relkind: &str) -> Option<&'static str> {
    match relkind {
        "r" | "p" | "v" | "m" | "f" => None,
        "S" => Some("a sequence"),
        "i" | "I" => Some("an index"),
        "c" => Some("a composite type"),
        "t" => Some("a TOAST table"),
        _ => Some("another kind of relation"),
    }
}

/// The advisory lock on a role name.
pub fn lock_key(role: &str) -> u32 {
    let digest = digest::digest(&digest::SHA256, role.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(4)
        .fold(0, |key, &byte| (key << 8) | u32::from(byte))
}
