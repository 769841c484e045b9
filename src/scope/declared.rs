//! The declarations of scopes, kept in scope.scope_declaration of the database of their objects.
//!
//! They are written with the grants, after the caller's authority over the scope has been asked for,
//! under the lock on its name. Roles and objects are found by OID in the database that wrote a row,
//! so that renaming changes nothing, and by name where the row came with a dump, or where what it
//! names was made anew. What is gone from the database is gone from the declaration.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

use super::Error;
use super::declaration::{Declaration, Found, Stance};
use super::plan::{Grant, Holdings, Object, Plan};
use super::privilege::{Class, Privilege};
use crate::pg::{identity, spi, xact};

/// What a scope of this database declares.
pub fn by(scope: pg_sys::Oid, name: &str) -> Result<Declaration, Error> {
    let scope = u32::from(scope);
    let facts = identity::elevated(|| spi::facts::<Fact>(OF_ONE, &[&scope.to_string(), name]))?;
    Ok(collect(facts).remove(&scope).unwrap_or_default())
}

/// Those of all scopes that have any here, by role.
pub fn all() -> Result<BTreeMap<u32, Declaration>, Error> {
    Ok(collect(identity::elevated(|| {
        spi::facts::<Fact>(OF_ALL, &[])
    })?))
}

/// All of a plan belongs to the scope from now on; `held` is what it holds now. What did not before.
pub fn add(
    scope: pg_sys::Oid,
    name: &str,
    plan: &Plan,
    held: &Holdings,
) -> Result<Vec<Grant>, Error> {
    change(scope, name, |declaration| declaration.add(plan, held))
}

/// The same of a scope that was just made.
pub fn make(scope: pg_sys::Oid, name: &str, plan: &Plan, held: &Holdings) -> Result<(), Error> {
    let mut declaration = Declaration::default();
    declaration.add(plan, held);
    write(scope, name, &declaration)
}

/// Nothing but a plan belongs to the scope from now on. What did not before.
pub fn replace(
    scope: pg_sys::Oid,
    name: &str,
    plan: &Plan,
    held: &Holdings,
) -> Result<Vec<Grant>, Error> {
    change(scope, name, |declaration| declaration.replace(plan, held))
}

/// What was taken from a scope that held `held`, by a plan, does no longer belong to it.
pub fn take_away(
    scope: pg_sys::Oid,
    name: &str,
    gone: &BTreeSet<Grant>,
    plan: &Plan,
    held: &Holdings,
) -> Result<(), Error> {
    change(scope, name, |declaration| {
        declaration.take_away(gone, plan, held);
    })?;
    Ok(())
}

/// A scope ends: nothing is declared for it here any more, nor for others that are gone.
/// A failure does not keep the scope: what is left goes with the next one that ends.
pub fn forget(scope: pg_sys::Oid, name: &str) {
    let scope = u32::from(scope).to_string();
    let done = xact::aside(|| {
        xact::raised(identity::elevated(|| {
            // The worker comes to databases without the extension too.
            if is_here() {
                spi::write(FORGET, &[&scope, name])?;
                spi::write(FORGET_OTHERS, &[])?;
            }
            Ok(())
        }));
    });
    if let Err(failure) = done {
        log!(
            "scope_roles: what a scope declared could not be deleted: {}",
            failure.message
        );
    }
}

/// What a dump has brought, by its place: its role, object and part as found by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    place: String,
    role: u32,
    object: u32,
    part: u32,
}

/// Before somebody renames something: what a dump has brought is found by its name now, or never.
pub fn before_rename() -> Vec<Anchor> {
    looked_up(ANCHORS)
}

/// After it. What it has given another name is kept under that name, by which a dump of this database will be read; what it has taken
/// the name from keeps its OID. Somebody who has nothing to do with scopes touches nothing, and holds no lock of ours.
pub fn after_rename(before: &[Anchor]) {
    if !before.is_empty() {
        let now: Vec<Anchor> = looked_up(ANCHORS);
        let lost: Vec<_> = before
            .iter()
            .filter(|anchor| !now.contains(anchor))
            .collect();
        if let (false, Ok(lost)) = (lost.is_empty(), serde_json::to_string(&lost)) {
            in_passing(|| xact::raised(spi::write(ANCHOR, &[&lost])));
        }
    }
    if !looked_up::<bool>(STALE).is_empty() {
        in_passing(|| xact::raised(spi::write(REFRESH, &[])));
    }
}

/// Rows of a query whose locks are given back.
fn looked_up<T: serde::de::DeserializeOwned + Clone>(sql: &'static str) -> Vec<T> {
    let mut found = Vec::new();
    in_passing(|| {
        found = xact::rehearsed(|| {
            if is_here() {
                spi::facts(sql, &[]).unwrap_or_default()
            } else {
                Vec::new()
            }
        });
    });
    found
}

/// Somebody else's statement does not fail of this, nor wait for it.
fn in_passing(work: impl FnOnce()) {
    match xact::aside(|| identity::elevated(work)) {
        Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED => {
            xact::raise(failure)
        }
        Err(failure) => log!(
            "scope_roles: what scopes declare could not be renamed: {}",
            crate::text::visible(&failure.message)
        ),
        Ok(()) => {}
    }
}

/// Has this database the extension?
fn is_here() -> bool {
    spi::facts::<bool>(IS_HERE, &[]).is_ok_and(|found| !found.is_empty())
}

/// What is there of those whose future objects are declared.
pub fn newcomers(
    declarations: &BTreeMap<u32, Declaration>,
) -> Result<(Vec<Found>, BTreeMap<Object, String>), Error> {
    let places: BTreeSet<(u32, u32)> = declarations
        .values()
        .flat_map(|declaration| declaration.grants.keys())
        .filter_map(|grant| match grant.object {
            Object::Future {
                creator, schema, ..
            } => Some((schema, creator)),
            _ => None,
        })
        .collect();
    let mut names = BTreeMap::new();
    if places.is_empty() {
        return Ok((Vec::new(), names));
    }
    let places: Vec<_> = places
        .into_iter()
        .map(|(schema, creator)| serde_json::json!({"schema": schema, "creator": creator}))
        .collect();
    let places = serde_json::to_string(&places)?;
    let facts = identity::elevated(|| spi::facts::<Newcomer>(NEWCOMERS, &[&places]))?;
    let found = facts.into_iter().map(|fact| {
        let object = match fact.class.as_str() {
            "sequence" => Object::Sequence(fact.object),
            "function" => Object::Function(fact.object),
            _ => Object::Table(fact.object),
        };
        names.insert(object, fact.sql);
        Found {
            object,
            schema: fact.schema,
            owner: fact.owner,
        }
    });
    Ok((found.collect(), names))
}

/// What is required now, and was not.
fn change(
    scope: pg_sys::Oid,
    name: &str,
    make: impl FnOnce(&mut Declaration),
) -> Result<Vec<Grant>, Error> {
    let before = by(scope, name)?;
    let mut after = before.clone();
    make(&mut after);
    if after.grants == before.grants {
        return Ok(Vec::new());
    }
    write(scope, name, &after)?;
    let is_new = |(grant, stance): &(&Grant, &Stance)| {
        **stance == Stance::Required && before.grants.get(grant) != Some(stance)
    };
    let new = after.grants.iter().filter(is_new);
    Ok(new.map(|(&grant, _)| grant).collect())
}

fn write(scope: pg_sys::Oid, name: &str, declaration: &Declaration) -> Result<(), Error> {
    let rows: Vec<Row<'_>> = declaration
        .grants
        .iter()
        .map(|(grant, &stance)| Row::of(declaration, grant, stance))
        .collect();
    let rows = serde_json::to_string(&rows)?;
    let scope = u32::from(scope).to_string();
    identity::elevated(|| {
        spi::write(REMOVE, &[&scope, name, &rows])?;
        spi::write(INSERT, &[&scope, name, &rows])
    })?;
    Ok(())
}

/// A row as it is stored.
#[derive(Serialize)]
struct Row<'a> {
    class: &'static str,
    object: &'a str,
    object_oid: u32,
    part: &'a str,
    part_oid: u32,
    privilege: &'static str,
    stance: &'static str,
}

impl<'a> Row<'a> {
    fn of(declaration: &'a Declaration, grant: &Grant, stance: Stance) -> Self {
        let name = |object| declaration.names.get(&object).map_or("", String::as_str);
        let whole = |class, object_oid| (class, name(grant.object), object_oid, "", 0);
        let (class, object, object_oid, part, part_oid) = match grant.object {
            Object::Table(oid) => whole("table", oid),
            Object::Sequence(oid) => whole("sequence", oid),
            Object::Function(oid) => whole("function", oid),
            Object::Schema(oid) => whole("schema", oid),
            Object::Database(oid) => whole("database", oid),
            Object::Column(table, number) => (
                "column",
                name(Object::Table(table)),
                table,
                name(grant.object),
                u32::try_from(number).unwrap_or(0),
            ),
            Object::Future {
                creator,
                schema,
                class,
            } => (
                match class {
                    Class::Sequence => "future sequences",
                    Class::Function => "future functions",
                    Class::Table | Class::Column => "future tables",
                },
                name(Object::Schema(schema)),
                schema,
                name(grant.object),
                creator,
            ),
        };
        Row {
            class,
            object,
            object_oid,
            part,
            part_oid,
            privilege: grant.privilege.word(),
            stance: stance.word(),
        }
    }
}

/// A row with what it means today.
#[derive(Deserialize)]
struct Fact {
    role: u32,
    class: String,
    object: u32,
    part: u32,
    schema: u32,
    sql: String,
    /// The table of a column, the schema of future objects.
    place: String,
    owner: u32,
    privilege: String,
    stance: String,
}

impl Fact {
    fn object(&self) -> Option<Object> {
        let future = |class| Object::Future {
            creator: self.part,
            schema: self.object,
            class,
        };
        Some(match self.class.as_str() {
            "table" => Object::Table(self.object),
            "sequence" => Object::Sequence(self.object),
            "column" => Object::Column(self.object, i16::try_from(self.part).ok()?),
            "function" => Object::Function(self.object),
            "schema" => Object::Schema(self.object),
            "database" => Object::Database(self.object),
            "future tables" => future(Class::Table),
            "future sequences" => future(Class::Sequence),
            "future functions" => future(Class::Function),
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Newcomer {
    class: String,
    object: u32,
    schema: u32,
    owner: u32,
    sql: String,
}

fn collect(facts: Vec<Fact>) -> BTreeMap<u32, Declaration> {
    let mut declarations: BTreeMap<u32, Declaration> = BTreeMap::new();
    for fact in facts {
        let declaration = declarations.entry(fact.role).or_default();
        let (Some(object), Some(privilege), Some(stance)) = (
            fact.object(),
            Privilege::of_word(&fact.privilege),
            Stance::of_word(&fact.stance),
        ) else {
            continue;
        };
        declaration
            .grants
            .insert(Grant { object, privilege }, stance);
        if fact.owner == fact.role {
            declaration.owned.insert(object);
        }
        let place = match object {
            Object::Column(table, _) => Some(Object::Table(table)),
            Object::Future { schema, .. } => Some(Object::Schema(schema)),
            _ => None,
        };
        if let Some(place) = place {
            declaration.names.insert(place, fact.place);
        }
        if fact.schema != 0 {
            declaration.schemas.insert(object, fact.schema);
        }
        declaration.names.insert(object, fact.sql);
    }
    declarations
}

// They run with search_path pinned. `origin` is the database that an OID is of; pg_upgrade keeps the
// OIDs of databases and tables, but not those of schemas and functions.

macro_rules! here {
    ($rest:expr) => {
        concat!(
            "WITH here AS MATERIALIZED (
               SELECT d.oid, d.datname, d.datdba,
                      pg_catalog.format('%s/%s/%s', (SELECT system_identifier FROM pg_catalog.pg_control_system()), d.oid,
                                        (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'scope')) AS origin
                 FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())",
            $rest
        )
    };
}

/// Rows that are a role's own: $1, and $2 by its name where no other role is meant.
macro_rules! own {
    ($rest:expr) => {
        concat!(
            "((s.scope_oid = $1::oid AND s.origin = here.origin)
              OR (s.scope = $2 AND NOT (s.origin = here.origin
                  AND EXISTS (SELECT FROM pg_catalog.pg_authid a WHERE a.oid = s.scope_oid))))",
            $rest
        )
    };
}

/// Rows with their role and object of today, without those whose role or object is gone.
macro_rules! resolved {
    ($condition:expr, $rest:expr) => {
        concat!(
            here!(", declared AS MATERIALIZED (
               SELECT s.ctid AS place, coalesce(o.oid, n.oid) AS role, coalesce(o.rolname, n.rolname) AS role_name, s.class, s.object,
                      s.object_oid, s.part, s.part_oid, s.privilege, s.stance, s.scope, s.origin, s.origin = here.origin AS native
                 FROM scope.scope_declaration s CROSS JOIN here
                 LEFT JOIN pg_catalog.pg_authid o ON o.oid = s.scope_oid AND s.origin = here.origin
                 LEFT JOIN pg_catalog.pg_authid n ON o.oid IS NULL AND n.rolname = s.scope
                WHERE coalesce(o.oid, n.oid) IS NOT NULL AND "),
            $condition,
            "),
             known AS (
               SELECT d.*, c.oid, 0::oid AS number, c.relnamespace AS schema, pg_catalog.format('%I.%I', n.nspname, c.relname) AS sql,
                      '' AS within, c.relowner AS owner
                 FROM declared d
                 JOIN pg_catalog.pg_class c ON c.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_class k WHERE k.oid = d.object_oid AND d.native),
                        pg_catalog.to_regclass(CASE WHEN d.class IN ('table', 'sequence') THEN d.object END)::oid)
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE d.class IN ('table', 'sequence') AND (c.relkind = 'S') = (d.class = 'sequence')
               UNION ALL
               SELECT d.*, c.oid, t.attnum::int4::oid, c.relnamespace, pg_catalog.quote_ident(t.attname),
                      pg_catalog.format('%I.%I', n.nspname, c.relname), c.relowner
                 FROM declared d
                 JOIN pg_catalog.pg_class c ON c.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_class k WHERE k.oid = d.object_oid AND d.native),
                        pg_catalog.to_regclass(CASE WHEN d.class = 'column' THEN d.object END)::oid)
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 JOIN pg_catalog.pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
                  AND CASE WHEN d.native AND c.oid = d.object_oid THEN t.attnum::int4::oid = d.part_oid
                           ELSE pg_catalog.quote_ident(t.attname) = d.part END
                WHERE d.class = 'column'
               UNION ALL
               SELECT d.*, p.oid, 0, p.pronamespace, p.oid::pg_catalog.regprocedure::text, '', p.proowner
                 FROM declared d
                 JOIN pg_catalog.pg_proc p ON p.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_proc k WHERE k.oid = d.object_oid AND d.native),
                        (SELECT k.oid FROM pg_catalog.pg_proc k
                          WHERE k.oid >= 16384 AND k.oid::pg_catalog.regprocedure::text = d.object))
                WHERE d.class = 'function'
               UNION ALL
               SELECT d.*, n.oid, 0, n.oid, pg_catalog.quote_ident(n.nspname), '', n.nspowner
                 FROM declared d
                 JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_namespace k WHERE k.oid = d.object_oid AND d.native),
                        (SELECT k.oid FROM pg_catalog.pg_namespace k WHERE pg_catalog.quote_ident(k.nspname) = d.object))
                WHERE d.class = 'schema'
               UNION ALL
               SELECT d.*, h.oid, 0, 0, pg_catalog.quote_ident(h.datname), '', h.datdba FROM declared d CROSS JOIN here h WHERE d.class = 'database'
               UNION ALL
               SELECT d.*, n.oid, r.oid, n.oid, pg_catalog.quote_ident(r.rolname), pg_catalog.quote_ident(n.nspname), 0
                 FROM declared d
                 JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_namespace k WHERE k.oid = d.object_oid AND d.native),
                        (SELECT k.oid FROM pg_catalog.pg_namespace k WHERE pg_catalog.quote_ident(k.nspname) = d.object))
                 JOIN pg_catalog.pg_authid r ON r.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_authid k WHERE k.oid = d.part_oid AND d.native),
                        (SELECT k.oid FROM pg_catalog.pg_authid k WHERE pg_catalog.quote_ident(k.rolname) = d.part))
                WHERE d.class LIKE 'future %') ",
            $rest
        )
    };
}

macro_rules! facts {
    ($condition:expr) => {
        resolved!(
            $condition,
            "SELECT pg_catalog.jsonb_build_object(
                 'role', role::bigint, 'class', class, 'object', oid::bigint, 'part', number::bigint, 'schema', schema::bigint,
                 'sql', sql, 'place', within, 'owner', owner::bigint, 'privilege', privilege, 'stance', stance)::text
               FROM known"
        )
    };
}

const OF_ALL: &str = facts!("true");

/// $1 the role, $2 its name.
const OF_ONE: &str = facts!(own!(""));

const IS_HERE: &str = "
SELECT 'true' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
 WHERE n.nspname = 'scope' AND c.relname = 'scope_declaration' AND e.extname = 'scope_roles'";

/// $3: the rows as they are to be.
const REMOVE: &str = here!(concat!(
    " DELETE FROM scope.scope_declaration s USING here
     WHERE ",
    own!(
        " AND (s.origin <> here.origin OR s.scope_oid <> $1::oid OR s.scope <> $2
           OR (s.class, s.object, s.object_oid, s.part, s.part_oid, s.privilege, s.stance) NOT IN (
                SELECT w.class, w.object, w.object_oid, w.part, w.part_oid, w.privilege, w.stance
                  FROM pg_catalog.jsonb_to_recordset($3::jsonb)
                    AS w(class text, object text, object_oid oid, part text, part_oid oid, privilege text, stance text)))"
    )
));

/// After REMOVE: what is there already is as it is to be.
const INSERT: &str = here!(
    " INSERT INTO scope.scope_declaration (scope, scope_oid, class, object, object_oid, part, part_oid, privilege, stance, origin)
     SELECT $2, $1::oid, w.class, w.object, w.object_oid, w.part, w.part_oid, w.privilege, w.stance, here.origin
       FROM here, pg_catalog.jsonb_to_recordset($3::jsonb)
         AS w(class text, object text, object_oid oid, part text, part_oid oid, privilege text, stance text)
      WHERE (w.class, w.object_oid, w.part_oid, w.privilege) NOT IN (
            SELECT s.class, s.object_oid, s.part_oid, s.privilege FROM scope.scope_declaration s
             WHERE s.scope_oid = $1::oid AND s.origin = (SELECT origin FROM here))"
);

const FORGET: &str = here!(concat!(
    " DELETE FROM scope.scope_declaration s USING here WHERE ",
    own!("")
));

const ANCHORS: &str = resolved!(
    "s.origin <> here.origin",
    "SELECT pg_catalog.jsonb_build_object('place', place, 'role', role::bigint, 'object', oid::bigint, 'part', number::bigint)::text
       FROM known"
);

/// $1: those found by [`ANCHORS`].
const ANCHOR: &str = here!(
    " UPDATE scope.scope_declaration s
        SET scope_oid = k.role, object_oid = k.object, part_oid = k.part, origin = here.origin
       FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS k(place tid, role oid, object oid, part oid) CROSS JOIN here
      WHERE s.ctid = k.place AND s.origin <> here.origin
        AND s.ctid IN (SELECT l.ctid FROM scope.scope_declaration l WHERE l.ctid = k.place FOR UPDATE SKIP LOCKED)"
);

/// Somebody else may be at it, and then need not be waited for.
const FORGET_OTHERS: &str = here!(
    " DELETE FROM scope.scope_declaration WHERE ctid IN (
       SELECT s.ctid FROM scope.scope_declaration s CROSS JOIN here
        WHERE s.origin = here.origin
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid a WHERE a.oid = s.scope_oid OR a.rolname = s.scope)
          FOR UPDATE OF s SKIP LOCKED)"
);

/// Those of this database with their names of today.
macro_rules! today {
    ($rest:expr) => {
        here!(concat!(
    ", today AS MATERIALIZED (
       SELECT s.ctid AS place, a.rolname AS scope, x.object, x.part
         FROM scope.scope_declaration s JOIN here ON here.origin = s.origin
         LEFT JOIN pg_catalog.pg_authid a ON a.oid = s.scope_oid
         LEFT JOIN pg_catalog.pg_class c ON c.oid = s.object_oid AND s.class IN ('table', 'sequence', 'column')
         LEFT JOIN pg_catalog.pg_attribute t ON t.attrelid = c.oid AND t.attnum::int4::oid = s.part_oid AND s.class = 'column' AND NOT t.attisdropped
         LEFT JOIN pg_catalog.pg_proc p ON p.oid = s.object_oid AND s.class = 'function'
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = CASE WHEN s.class IN ('table', 'sequence', 'column') THEN c.relnamespace
                                                              WHEN s.class = 'schema' OR s.class LIKE 'future %' THEN s.object_oid END
         LEFT JOIN pg_catalog.pg_authid r ON r.oid = s.part_oid AND s.class LIKE 'future %'
        CROSS JOIN LATERAL (SELECT
              CASE WHEN c.oid IS NOT NULL THEN pg_catalog.format('%I.%I', n.nspname, c.relname)
                   WHEN p.oid IS NOT NULL THEN p.oid::pg_catalog.regprocedure::text
                   WHEN n.oid IS NOT NULL THEN pg_catalog.quote_ident(n.nspname) END,
              coalesce(pg_catalog.quote_ident(t.attname), pg_catalog.quote_ident(r.rolname))) x(object, part))",
            $rest
        ))
    };
}

macro_rules! is_stale {
    () => {
        "(s.scope <> coalesce(k.scope, s.scope) OR s.object <> coalesce(k.object, s.object) OR s.part <> coalesce(k.part, s.part))"
    };
}

const STALE: &str = today!(concat!(
    " SELECT 'true' FROM scope.scope_declaration s JOIN today k ON s.ctid = k.place WHERE ",
    is_stale!(),
    " LIMIT 1"
));

/// Those whose names are no longer the ones that are stored.
const REFRESH: &str = today!(concat!(
    " UPDATE scope.scope_declaration s
        SET scope = coalesce(k.scope, s.scope), object = coalesce(k.object, s.object), part = coalesce(k.part, s.part)
       FROM today k
      WHERE s.ctid = k.place AND ",
    is_stale!(),
    " AND s.ctid IN (SELECT l.ctid FROM scope.scope_declaration l WHERE l.ctid = k.place FOR UPDATE SKIP LOCKED)"
));

/// $1: schemas with their creators.
const NEWCOMERS: &str = "
SELECT pg_catalog.jsonb_build_object('class', x.class, 'object', x.object::bigint, 'schema', x.schema::bigint,
                                     'owner', x.owner::bigint, 'sql', x.sql)::text
  FROM (SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS class, c.oid AS object, c.relnamespace AS schema, c.relowner AS owner,
               pg_catalog.format('%I.%I', n.nspname, c.relname) AS sql
          FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS w(schema oid, creator oid)
          JOIN pg_catalog.pg_class c ON c.relnamespace = w.schema AND c.relowner = w.creator AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         UNION ALL
        SELECT 'function', p.oid, p.pronamespace, p.proowner, p.oid::pg_catalog.regprocedure::text
          FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS w(schema oid, creator oid)
          JOIN pg_catalog.pg_proc p ON p.pronamespace = w.schema AND p.proowner = w.creator) x";
