//! What the catalogues say of the objects that a scope may be given, and of what the caller may do to them.

use pgrx::pg_sys;
use serde::Deserialize;

use super::Error;
use crate::pg::{identity, spi};

/// One function, with what the caller may do to it.
pub fn routine(function: u32, caller: pg_sys::Oid) -> Result<Routine, Error> {
    let caller = u32::from(caller).to_string();
    let facts = identity::elevated(|| spi::facts(ROUTINES, &[&array([function]), &caller]))?;
    match facts.into_iter().next() {
        Some(fact) => Routine::existing(fact),
        None => Err(Error::NoSuchFunction { oid: function }),
    }
}

/// PostgreSQL's own schemas; their objects have OIDs of their own range, extensions' do not.
pub fn is_system_schema(name: &str) -> bool {
    name.starts_with("pg_") || name == "information_schema"
}

/// What the relation is, when it is nothing with rows of its own.
pub fn not_a_table(relkind: &str) -> Option<&'static str> {
    match relkind {
        "r" | "p" | "v" | "m" | "f" => None,
        "S" => Some("a sequence"),
        "i" | "I" => Some("an index"),
        "c" => Some("a composite type"),
        "t" => Some("a TOAST table"),
        _ => Some("another kind of relation"),
    }
}

/// An array literal of numbers or plain words.
pub fn array<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{{}}}", items.join(","))
}

#[derive(Deserialize)]
pub struct Relation {
    pub oid: u32,
    pub exists: bool,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub schema: String,
    #[serde(default)]
    pub namespace: u32,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub temporary: bool,
    #[serde(default)]
    pub owner: u32,
    #[serde(default)]
    pub sql: String,
    #[serde(default)]
    pub grantable: Vec<String>,
    /// The table that a sequence belongs to.
    #[serde(default)]
    pub owned_by: u32,
    #[serde(default)]
    pub identity: bool,
}

impl Relation {
    pub fn existing(self) -> Result<Self, Error> {
        if self.exists {
            Ok(self)
        } else {
            Err(Error::NoSuchTable { oid: self.oid })
        }
    }

    pub fn shown(&self) -> String {
        self.sql.clone()
    }

    pub fn require_ordinary(&self) -> Result<(), Error> {
        if self.temporary {
            return Err(Error::Temporary {
                table: self.shown(),
            });
        }
        if self.oid < pg_sys::FirstNormalObjectId || is_system_schema(&self.schema) {
            return Err(Error::System {
                table: self.shown(),
            });
        }
        Ok(())
    }
}

#[derive(Deserialize)]
pub struct Column {
    pub name: String,
    pub number: i16,
    pub sql: String,
    pub grantable: Vec<String>,
}

#[derive(Deserialize)]
pub struct Routine {
    pub oid: u32,
    pub exists: bool,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub schema: String,
    #[serde(default)]
    pub namespace: u32,
    #[serde(default)]
    pub owner: u32,
    #[serde(default)]
    pub sql: String,
    #[serde(default)]
    pub grantable: Vec<String>,
    #[serde(default)]
    pub everyones: bool,
}

impl Routine {
    pub fn existing(self) -> Result<Self, Error> {
        if !self.exists {
            Err(Error::NoSuchFunction { oid: self.oid })
        } else if self.oid < pg_sys::FirstNormalObjectId || is_system_schema(&self.schema) {
            Err(Error::System { table: self.sql })
        } else {
            Ok(self)
        }
    }
}

/// A schema or the database.
#[derive(Deserialize)]
pub struct Place {
    pub oid: u32,
    pub exists: bool,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub sql: String,
    #[serde(default)]
    pub owner: u32,
    #[serde(default)]
    pub everyones: bool,
    #[serde(default)]
    pub grantable: Vec<String>,
}

#[derive(Deserialize)]
pub struct Creator {
    pub schema: u32,
    pub role: u32,
    pub sql: String,
    pub may: bool,
}

/// What the caller may do with one grant of another's.
#[derive(Deserialize)]
pub struct Authority {
    pub place: usize,
    pub owner: u32,
    pub everyones: bool,
    pub may: bool,
}

// In all: $2 (or $1 of DATABASE) is the caller. They run with search_path pinned.

macro_rules! relations {
    ($from:literal) => {
        concat!(
            "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                'oid', asked.oid::bigint, 'exists', n.oid IS NOT NULL,
                'name', c.relname, 'schema', n.nspname, 'namespace', n.oid::bigint,
                'kind', c.relkind, 'temporary', c.relpersistence = 't', 'owner', c.relowner::bigint,
                'sql', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
                'owned_by', asked.owned_by::bigint, 'identity', asked.identity,
                'grantable', CASE
                    WHEN c.relkind = 'S' THEN
                        ARRAY(SELECT v FROM pg_catalog.unnest('{SELECT,UPDATE,USAGE}'::text[]) v
                               WHERE pg_catalog.has_sequence_privilege($2::text::oid, c.oid, v || ' WITH GRANT OPTION'))
                    ELSE
                        ARRAY(SELECT v FROM pg_catalog.unnest(", $from
        )
    };
}

pub const RELATIONS: &str = concat!(
    relations!("$3::text[]) v"),
    "          WHERE pg_catalog.has_table_privilege($2::text::oid, c.oid, v || ' WITH GRANT OPTION')) END))::text
     FROM (SELECT DISTINCT o AS oid, NULL::oid AS owned_by, NULL::boolean AS identity
             FROM pg_catalog.unnest($1::oid[]) o) asked
     LEFT JOIN pg_catalog.pg_class c ON c.oid = asked.oid
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    ORDER BY pg_catalog.array_position($1::oid[], asked.oid)"
);

pub const RELATIONS_IN: &str = concat!(
    relations!("$3::text[]) v"),
    "          WHERE pg_catalog.has_table_privilege($2::text::oid, c.oid, v || ' WITH GRANT OPTION')) END))::text
     FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT c.oid, NULL::oid AS owned_by, NULL::boolean AS identity) asked
    WHERE c.relnamespace = ANY ($1::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ORDER BY c.oid"
);

/// Sequences that belong to columns (serial, identity, OWNED BY) of the tables $1.
pub const SEQUENCES_OF: &str = concat!(
    relations!("'{}'::text[]) v"),
    ") END))::text
     FROM (SELECT objid AS oid, refobjid AS owned_by, deptype = 'i' AS identity
             FROM pg_catalog.pg_depend
            WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass
              AND refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
              AND refobjid = ANY ($1::oid[]) AND refobjsubid > 0 AND deptype IN ('a', 'i')) asked
     JOIN pg_catalog.pg_class c ON c.oid = asked.oid AND c.relkind = 'S'
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    ORDER BY c.oid"
);

/// $1 the table, $3 privileges.
pub const COLUMNS: &str = "
SELECT pg_catalog.jsonb_build_object(
         'name', a.attname, 'number', a.attnum, 'sql', pg_catalog.quote_ident(a.attname),
         'grantable', ARRAY(SELECT v FROM pg_catalog.unnest($3::text[]) v
             WHERE pg_catalog.has_column_privilege($2::text::oid, a.attrelid, a.attnum, v || ' WITH GRANT OPTION')))::text
  FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped";

macro_rules! routines {
    ($from:literal) => {
        concat!(
            "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                'oid', asked.oid::bigint, 'exists', n.oid IS NOT NULL,
                'name', p.proname, 'schema', n.nspname, 'namespace', n.oid::bigint, 'owner', p.proowner::bigint,
                'sql', p.oid::pg_catalog.regprocedure::text,
                'everyones', pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE'),
                'grantable', CASE WHEN pg_catalog.has_function_privilege($2::text::oid, p.oid, 'EXECUTE WITH GRANT OPTION')
                                  THEN '{EXECUTE}'::text[] ELSE '{}' END))::text ",
            $from
        )
    };
}

pub const ROUTINES: &str = routines!(
    "FROM (SELECT DISTINCT o AS oid FROM pg_catalog.unnest($1::oid[]) o) asked
     LEFT JOIN pg_catalog.pg_proc p ON p.oid = asked.oid
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    ORDER BY pg_catalog.array_position($1::oid[], asked.oid)"
);

pub const ROUTINES_IN: &str = routines!(
    "FROM pg_catalog.pg_proc p
     JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    CROSS JOIN LATERAL (SELECT p.oid) asked
    WHERE p.pronamespace = ANY ($1::oid[])
    ORDER BY p.oid"
);

pub const SCHEMAS: &str = "
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'oid', asked.oid::bigint, 'exists', n.oid IS NOT NULL,
         'name', n.nspname, 'sql', pg_catalog.quote_ident(n.nspname), 'owner', n.nspowner::bigint,
         'everyones', pg_catalog.has_schema_privilege('public', n.oid, 'USAGE'),
         'grantable', ARRAY(SELECT v FROM pg_catalog.unnest('{USAGE,CREATE}'::text[]) v
             WHERE pg_catalog.has_schema_privilege($2::text::oid, n.oid, v || ' WITH GRANT OPTION'))))::text
  FROM (SELECT DISTINCT o AS oid FROM pg_catalog.unnest($1::oid[]) o) asked
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = asked.oid
 ORDER BY pg_catalog.array_position($1::oid[], asked.oid)";

pub const DATABASE: &str = "
SELECT pg_catalog.jsonb_build_object(
         'oid', d.oid::bigint, 'exists', true,
         'name', d.datname, 'sql', pg_catalog.quote_ident(d.datname), 'owner', d.datdba::bigint,
         'everyones', pg_catalog.has_database_privilege('public', d.oid, 'CONNECT'),
         'grantable', CASE WHEN pg_catalog.has_database_privilege($1::text::oid, d.oid, 'CONNECT WITH GRANT OPTION')
                           THEN '{CONNECT}'::text[] ELSE '{}' END)::text
  FROM pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database()";

/// $1: grants as JSON. Default privileges are for those to give who may act for their role.
pub const AUTHORITY: &str = "
SELECT pg_catalog.jsonb_build_object(
         'place', g.place, 'owner', o.owner::bigint,
         'everyones', CASE g.class
             WHEN 'table' THEN pg_catalog.has_table_privilege('public', g.object, g.privilege)
             WHEN 'column' THEN pg_catalog.has_column_privilege('public', g.object, g.sub, g.privilege)
             WHEN 'sequence' THEN pg_catalog.has_sequence_privilege('public', g.object, g.privilege)
             WHEN 'function' THEN pg_catalog.has_function_privilege('public', g.object, g.privilege)
             WHEN 'schema' THEN pg_catalog.has_schema_privilege('public', g.object, g.privilege)
             WHEN 'database' THEN pg_catalog.has_database_privilege('public', g.object, g.privilege)
             ELSE false END,
         'may', CASE g.class
             WHEN 'table' THEN pg_catalog.has_table_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'column' THEN pg_catalog.has_column_privilege($2::text::oid, g.object, g.sub, g.privilege || ' WITH GRANT OPTION')
             WHEN 'sequence' THEN pg_catalog.has_sequence_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'function' THEN pg_catalog.has_function_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'schema' THEN pg_catalog.has_schema_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'database' THEN pg_catalog.has_database_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             ELSE pg_catalog.pg_has_role($2::text::oid, g.object, 'USAGE') END)::text
  FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS g(place int, class text, object oid, sub smallint, privilege text)
 CROSS JOIN LATERAL (
       SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = g.object AND g.class IN ('table', 'column', 'sequence')
        UNION ALL SELECT p.proowner FROM pg_catalog.pg_proc p WHERE p.oid = g.object AND g.class = 'function'
        UNION ALL SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE n.oid = g.object AND g.class = 'schema'
        UNION ALL SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.oid = g.object AND g.class = 'database'
        UNION ALL SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.oid = g.object AND g.class = 'role') o(owner)";

/// Who creates in the schemas $1: their owners, those with CREATE, the owners of what is there, and
/// the members of all these who have CREATE by it. Not our logins, which own nothing.
pub const CREATORS: &str = "
WITH RECURSIVE place AS (
       SELECT n.oid, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ($1::oid[])),
     named(schema, role) AS (
       SELECT oid, nspowner FROM place
       UNION SELECT p.oid, a.grantee FROM place p, pg_catalog.aclexplode(p.nspacl) a
              WHERE a.privilege_type = 'CREATE' AND a.grantee <> 0
       UNION SELECT c.relnamespace, c.relowner FROM pg_catalog.pg_class c
              WHERE c.relnamespace IN (SELECT oid FROM place) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')),
     -- The owner of the database is a member of pg_database_owner that no catalogue lists.
     real(schema, role) AS (
       SELECT n.schema, CASE WHEN r.rolname = 'pg_database_owner' THEN d.datdba ELSE n.role END
         FROM named n JOIN pg_catalog.pg_roles r ON r.oid = n.role
         JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()),
     reach(schema, role) AS (
       SELECT schema, role FROM real
       UNION SELECT r.schema, m.member FROM reach r JOIN pg_catalog.pg_auth_members m ON m.roleid = r.role)
SELECT pg_catalog.jsonb_build_object(
         'schema', c.schema::bigint, 'role', c.role::bigint, 'sql', pg_catalog.quote_ident(r.rolname),
         'may', pg_catalog.pg_has_role($2::text::oid, c.role, 'USAGE'))::text
  FROM reach c
  JOIN pg_catalog.pg_roles r ON r.oid = c.role
 WHERE (EXISTS (SELECT FROM real WHERE real.schema = c.schema AND real.role = c.role)
        OR pg_catalog.has_schema_privilege(c.role, c.schema, 'CREATE'))
   AND NOT EXISTS (
         SELECT FROM pg_catalog.pg_shseclabel l
          WHERE l.objoid = c.role AND l.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass
            AND l.provider = 'scope_roles' AND l.label::pg_catalog.jsonb ->> 'kind' <> 'scope')
 ORDER BY 1";
