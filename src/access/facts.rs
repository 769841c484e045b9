//! Roles, memberships and access control lists, read from the catalogues.

use std::collections::HashMap;

use pgrx::pg_sys;

use super::graph::{Edge, Graph, NEVER, Node};
use super::holding::Object;
use super::rights::{Class, PG_DATABASE_OWNER};
use crate::label::{self, Glance, Kind};
use crate::pg::acl::Acl;
use crate::pg::{catalog, compat, spi, text};

/// PostgreSQL's own tables have smaller OIDs (access/transam.h).
const FIRST_UNPINNED: u32 = 12_000;

/// A role with all that it can reach; every role when it can reach a superuser.
pub fn graph_of(role: &catalog::Role) -> spi::SpiResult<Graph> {
    let mut graph = Graph::default();
    let arguments = [role.oid.into()];
    let rows = spi::read(&memberships(ABOVE), &arguments, membership)?;
    let mut roles: Vec<u32> = rows.iter().map(|&(_, edge)| edge.role).collect();
    connect(&mut graph, rows);
    roles.extend([role.oid.into(), PG_DATABASE_OWNER]);
    for oid in roles {
        if !graph.nodes.contains_key(&oid)
            && let Some(role) = catalog::role_by_oid(oid.into())
        {
            let seen = label::glance_of(role.oid);
            let node = node(role.name, role.superuser, role.valid_until, seen);
            graph.nodes.insert(oid, node);
        }
    }
    if graph.nodes.values().any(|node| node.superuser) {
        return whole_graph();
    }
    let inherits = role.inherits;
    database_owner(&mut graph, |_| inherits)?;
    graph.forget_gone();
    Ok(graph)
}

/// Every role.
pub fn whole_graph() -> spi::SpiResult<Graph> {
    let mut graph = Graph::default();
    let mut labels: HashMap<u32, Glance> = HashMap::new();
    label::each(|role, text| {
        if let Some(seen) = label::glance(text) {
            labels.insert(role.into(), seen);
        }
    });
    let mut inheriting = HashMap::new();
    catalog::each_role(|oid, name, superuser, inherits, deadline| {
        let oid = u32::from(oid);
        inheriting.insert(oid, inherits);
        let name = text::read(name).into_owned();
        let node = node(name, superuser, deadline, labels.get(&oid).copied());
        graph.nodes.insert(oid, node);
    });
    let rows = spi::read(&memberships(""), &[], membership)?;
    connect(&mut graph, rows);
    database_owner(&mut graph, |role| {
        inheriting.get(&role).copied().unwrap_or(true)
    })?;
    graph.forget_gone();
    Ok(graph)
}

fn node(name: String, superuser: bool, deadline: Option<i64>, label: Option<Glance>) -> Node {
    let deadline = label
        .map_or(deadline, |label| {
            label::earlier(label.kind, label.recorded, deadline)
        })
        .unwrap_or(NEVER);
    let kind = label.map(|label| label.kind);
    // VALID UNTIL of other roles ends their password, and nothing else.
    Node {
        name,
        superuser,
        ends: match kind {
            Some(Kind::Credential | Kind::Authenticator) if !superuser => deadline,
            _ => NEVER,
        },
        passes_until: match kind {
            Some(Kind::Temporary) => deadline,
            _ => NEVER,
        },
    }
}

fn connect(graph: &mut Graph, rows: Vec<(u32, Edge)>) {
    for (member, edge) in rows {
        graph.up.entry(member).or_default().push(edge);
    }
}

/// The owner of the database is a member of pg_database_owner that no catalogue lists.
fn database_owner(graph: &mut Graph, inherits: impl Fn(u32) -> bool) -> spi::SpiResult<()> {
    let owners = spi::read(DATABASE_OWNER, &[], |row| row.get::<pg_sys::Oid>(1))?;
    for owner in owners.into_iter().flatten().map(u32::from) {
        let inherits = compat::DATABASE_OWNER_INHERITS
            || match graph.nodes.get(&owner) {
                Some(_) => inherits(owner),
                None => false,
            };
        graph.up.entry(owner).or_default().push(Edge {
            role: PG_DATABASE_OWNER,
            grantor: None,
            inherit: inherits,
            set: true,
            admin: false,
        });
    }
    Ok(())
}

fn membership(row: spi::Row<'_>) -> spi::SpiResult<(u32, Edge)> {
    let oid = |number| Ok::<_, pgrx::spi::Error>(row.get::<pg_sys::Oid>(number)?.map(u32::from));
    let flag = |number| Ok::<_, pgrx::spi::Error>(row.get::<bool>(number)?.unwrap_or(false));
    Ok((
        oid(1)?.unwrap_or(0),
        Edge {
            role: oid(2)?.unwrap_or(0),
            grantor: oid(3)?,
            admin: flag(4)?,
            inherit: flag(5)?,
            set: flag(6)?,
        },
    ))
}

/// Everything in this database, and what the databases share, that has an owner and privileges.
/// Left out is what came with PostgreSQL and has the privileges that it came with.
pub fn objects() -> spi::SpiResult<Vec<Object>> {
    let mut found = Vec::new();
    for source in SOURCES {
        let sql = source.sql.replace("{which}", source.changed);
        found.extend(spi::read(&sql, &[], |row| object(source.class, &row))?);
    }
    found.retain(|object| object.class != Class::Column || !object.acl.is_empty());
    Ok(found)
}

/// One object; a table with the columns that have privileges of their own.
pub fn object_of(class: Class, oid: u32, column: i16) -> spi::SpiResult<Vec<Object>> {
    let mut found = Vec::new();
    for source in SOURCES {
        let which = match (class, source.class) {
            (Class::Column, Class::Column) => "c.oid = $1 AND a.attnum = $2",
            (Class::Relation, Class::Column) => "c.oid = $1 AND $2 = 0 AND a.attacl IS NOT NULL",
            (Class::Relation | Class::Sequence, Class::Relation) => "c.oid = $1 AND $2 = 0",
            (class, of) if class == of => "c.oid = $1 AND $2 = 0",
            _ => continue,
        };
        let sql = source.sql.replace("{which}", which);
        let arguments = [pg_sys::Oid::from(oid).into(), i32::from(column).into()];
        found.extend(spi::read(&sql, &arguments, |row| {
            object(source.class, &row)
        })?);
    }
    Ok(found)
}

/// A setting on which nobody has been granted anything.
pub fn ungranted_parameter(name: &str) -> Object {
    Object {
        class: Class::Parameter,
        kind: "parameter".to_owned(),
        name: name.to_owned(),
        owner: pg_sys::BOOTSTRAP_SUPERUSERID,
        acl: Vec::new(),
        table: None,
        system: false,
    }
}

fn object(class: Class, row: &spi::Row<'_>) -> spi::SpiResult<Object> {
    let oid = |number| Ok::<_, pgrx::spi::Error>(row.get::<pg_sys::Oid>(number)?.map(u32::from));
    let kind: String = row.get(2)?.unwrap_or_default();
    let class = match kind.as_str() {
        "sequence" => Class::Sequence,
        _ => class,
    };
    Ok(Object {
        system: matches!(class, Class::Relation | Class::Column)
            && oid(1)?.is_some_and(|oid| oid < FIRST_UNPINNED)
            && kind != "view",
        class,
        kind,
        name: row.get(3)?.unwrap_or_default(),
        owner: oid(4)?.unwrap_or(0),
        acl: row.get::<Acl>(5)?.unwrap_or_default().0,
        table: match class {
            Class::Column => Some(row.get::<Acl>(6)?.unwrap_or_default().0),
            _ => None,
        },
    })
}

struct Source {
    class: Class,
    /// OID, kind, name, owner, list; for a column the list of its table. {which} chooses.
    sql: &'static str,
    /// Chooses those that are of interest without being asked for.
    changed: &'static str,
}

/// Made by users, or with other privileges than initdb left (pg_init_privs, which does not know those
/// of information_schema).
macro_rules! changed {
    ($catalogue:literal, $acl:literal, $default:literal) => {
        concat!(
            "(c.oid >= 16384 OR (c.",
            $acl,
            " IS NOT NULL AND c.",
            $acl,
            " IS DISTINCT FROM coalesce((
                SELECT i.initprivs FROM pg_catalog.pg_init_privs i
                 WHERE i.objoid = c.oid AND i.classoid = 'pg_catalog.",
            $catalogue,
            "'::pg_catalog.regclass AND i.objsubid = 0), ",
            $default,
            ")))"
        )
    };
}

const SOURCES: &[Source] = &[
    Source {
        class: Class::Relation,
        sql: "
SELECT c.oid, CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                             WHEN 'f' THEN 'foreign table' ELSE 'table' END,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.relowner,
       coalesce(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END, c.relowner)), NULL::aclitem[]
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {which}
 ORDER BY 3",
        changed: concat!(
            changed!(
                "pg_class",
                "relacl",
                "pg_catalog.acldefault('r', c.relowner) || CASE WHEN n.nspname = 'information_schema'
                     THEN ARRAY[pg_catalog.makeaclitem(0, c.relowner, 'SELECT', false)] END"
            ),
            " AND c.relpersistence <> 't'"
        ),
    },
    Source {
        class: Class::Column,
        sql: "
SELECT c.oid, 'column',
       pg_catalog.format('%I.%I.%I', n.nspname, c.relname, a.attname), c.relowner,
       a.attacl, coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {which}
 ORDER BY n.nspname, c.relname, a.attnum",
        changed: "a.attacl IS NOT NULL AND c.relpersistence <> 't' AND a.attacl IS DISTINCT FROM (
            SELECT CASE WHEN c.oid < 16384 THEN i.initprivs END FROM pg_catalog.pg_init_privs i
             WHERE i.objoid = c.oid AND i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.objsubid = a.attnum)",
    },
    Source {
        class: Class::Function,
        sql: "
SELECT c.oid, CASE c.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
       pg_catalog.format('%I.%I(%s)', n.nspname, c.proname, pg_catalog.oidvectortypes(c.proargtypes)), c.proowner,
       coalesce(c.proacl, pg_catalog.acldefault('f', c.proowner)), NULL::aclitem[]
  FROM pg_catalog.pg_proc c JOIN pg_catalog.pg_namespace n ON n.oid = c.pronamespace
 WHERE {which}
 ORDER BY 3",
        changed: concat!(
            changed!("pg_proc", "proacl", "pg_catalog.acldefault('f', c.proowner)"),
            " AND n.nspname !~ '^pg_temp_'"
        ),
    },
    Source {
        class: Class::Schema,
        sql: "
SELECT c.oid, 'schema', pg_catalog.quote_ident(c.nspname), c.nspowner,
       coalesce(c.nspacl, pg_catalog.acldefault('n', c.nspowner)), NULL::aclitem[]
  FROM pg_catalog.pg_namespace c
 WHERE c.nspname !~ '^pg_(toast|temp)' AND {which}
 ORDER BY 3",
        changed: concat!(
            "(c.nspname = 'public' OR ",
            changed!(
                "pg_namespace",
                "nspacl",
                "pg_catalog.acldefault('n', c.nspowner) || CASE WHEN c.nspname = 'information_schema'
                     THEN ARRAY[pg_catalog.makeaclitem(0, c.nspowner, 'USAGE', false)] END"
            ),
            ")"
        ),
    },
    Source {
        class: Class::Database,
        sql: "
SELECT c.oid, 'database', pg_catalog.quote_ident(c.datname), c.datdba,
       coalesce(c.datacl, pg_catalog.acldefault('d', c.datdba)), NULL::aclitem[]
  FROM pg_catalog.pg_database c
 WHERE {which}
 ORDER BY 3",
        changed: "c.datallowconn",
    },
    Source {
        class: Class::Type,
        sql: "
SELECT c.oid, CASE c.typtype WHEN 'd' THEN 'domain' ELSE 'type' END,
       pg_catalog.format('%I.%I', n.nspname, c.typname), c.typowner,
       coalesce(c.typacl, pg_catalog.acldefault('T', c.typowner)), NULL::aclitem[]
  FROM pg_catalog.pg_type c JOIN pg_catalog.pg_namespace n ON n.oid = c.typnamespace
 WHERE c.typtype NOT IN ('p', 'm')
   -- Arrays have the privileges of their elements.
   AND NOT (c.typelem <> 0 AND c.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc)
   AND {which}
 ORDER BY 3",
        changed: concat!(
            changed!("pg_type", "typacl", "pg_catalog.acldefault('T', c.typowner)"),
            " AND n.nspname !~ '^pg_temp_'
              AND (c.typacl IS NOT NULL OR c.typrelid = 0
                   OR (SELECT t.relkind FROM pg_catalog.pg_class t WHERE t.oid = c.typrelid) = 'c')"
        ),
    },
    Source {
        class: Class::Language,
        sql: "
SELECT c.oid, 'language', pg_catalog.quote_ident(c.lanname), c.lanowner,
       coalesce(c.lanacl, pg_catalog.acldefault('l', c.lanowner)), NULL::aclitem[]
  FROM pg_catalog.pg_language c
 WHERE {which}
 ORDER BY 3",
        changed: changed!("pg_language", "lanacl", "pg_catalog.acldefault('l', c.lanowner)"),
    },
    Source {
        class: Class::Wrapper,
        sql: "
SELECT c.oid, 'foreign-data wrapper', pg_catalog.quote_ident(c.fdwname), c.fdwowner,
       coalesce(c.fdwacl, pg_catalog.acldefault('F', c.fdwowner)), NULL::aclitem[]
  FROM pg_catalog.pg_foreign_data_wrapper c
 WHERE {which}
 ORDER BY 3",
        changed: "true",
    },
    Source {
        class: Class::Server,
        sql: "
SELECT c.oid, 'foreign server', pg_catalog.quote_ident(c.srvname), c.srvowner,
       coalesce(c.srvacl, pg_catalog.acldefault('S', c.srvowner)), NULL::aclitem[]
  FROM pg_catalog.pg_foreign_server c
 WHERE {which}
 ORDER BY 3",
        changed: "true",
    },
    Source {
        class: Class::LargeObject,
        sql: "
SELECT c.oid, 'large object', c.oid::text, c.lomowner,
       coalesce(c.lomacl, pg_catalog.acldefault('L', c.lomowner)), NULL::aclitem[]
  FROM pg_catalog.pg_largeobject_metadata c
 WHERE {which}
 ORDER BY c.oid",
        changed: "true",
    },
    Source {
        class: Class::Parameter,
        sql: "
SELECT c.oid, 'parameter', c.parname, 10::oid, c.paracl, NULL::aclitem[]
  FROM pg_catalog.pg_parameter_acl c
 WHERE {which}
 ORDER BY 3",
        changed: "true",
    },
    Source {
        class: Class::Tablespace,
        sql: "
SELECT c.oid, 'tablespace', pg_catalog.quote_ident(c.spcname), c.spcowner,
       coalesce(c.spcacl, pg_catalog.acldefault('t', c.spcowner)), NULL::aclitem[]
  FROM pg_catalog.pg_tablespace c
 WHERE {which}
 ORDER BY 3",
        changed: changed!("pg_tablespace", "spcacl", "pg_catalog.acldefault('t', c.spcowner)"),
    },
    Source {
        class: Class::Defaults,
        sql: "
SELECT c.oid, 'default privileges',
       CASE c.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types'
                            WHEN 'n' THEN 'schemas' ELSE 'large objects' END
         || ' of ' || pg_catalog.quote_ident(r.rolname)
         || coalesce(' in schema ' || pg_catalog.quote_ident(n.nspname), ''), c.defaclrole, c.defaclacl, NULL::aclitem[]
  FROM pg_catalog.pg_default_acl c
  JOIN pg_catalog.pg_authid r ON r.oid = c.defaclrole
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.defaclnamespace
 WHERE {which}
 ORDER BY 3",
        changed: "true",
    },
];

/// Whether a row `m` of pg_auth_members inherits and allows SET ROLE; before 16 the first is an
/// attribute of the member, a row `r` of pg_authid, and the second is always so.
const INHERITS_AND_SETS: &str = if compat::HAS_MEMBERSHIP_OPTIONS {
    "m.inherit_option, m.set_option"
} else {
    "r.rolinherit, true"
};

/// Memberships as (member, role, grantor, ADMIN, INHERIT, SET).
fn memberships(which: &str) -> String {
    format!(
        "{which} SELECT m.member, m.roleid, m.grantor, m.admin_option, {}
           FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_authid r ON r.oid = m.member {}",
        INHERITS_AND_SETS,
        if which.is_empty() {
            ""
        } else {
            "WHERE m.member IN (SELECT up.role FROM up)"
        }
    )
}

/// Only those of the role $1, and of the roles above it.
const ABOVE: &str = "
WITH RECURSIVE up(role) AS (
       SELECT $1
       UNION SELECT m.roleid FROM up JOIN pg_catalog.pg_auth_members m ON m.member = up.role)";

const DATABASE_OWNER: &str =
    "SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
