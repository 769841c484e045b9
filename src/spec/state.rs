//! What the server has now, as a spec sees it. Read as the bootstrap superuser, of the last commit.

use serde::Deserialize;

use super::Error;
use super::names::Qualified;
use crate::label;
use crate::pg::{catalog, identity, spi};

/// A row of pg_auth_members, with names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    pub role: String,
    pub member: String,
    /// A grantor that is gone leaves its OID, before 16.
    pub grantor: String,
    pub admin: bool,
    /// 16 and later have these two.
    pub inherit: Option<bool>,
    pub set: Option<bool>,
    /// The kind of role of ours that either is.
    pub role_kind: Option<String>,
    pub member_kind: Option<String>,
}

/// All memberships of the server between roles that both still exist.
pub fn memberships() -> Result<Vec<Member>, Error> {
    let mut rows: Vec<Member> = read(MEMBERSHIPS, &[])?;
    // They give nothing, and logins are in them by what they are.
    let groups = label::groups_of_token_logins().into_iter();
    let groups: Vec<String> = groups.map(catalog::name_of).collect();
    rows.retain(|row| !groups.contains(&row.role));
    Ok(rows)
}

pub fn relation(name: &Qualified<'_>) -> Result<Option<u32>, Error> {
    Ok(read::<u32>(RELATION, &[&name.schema, &name.name])?.pop())
}

pub fn schema(name: &str) -> Result<Option<u32>, Error> {
    Ok(read::<u32>(SCHEMA, &[name])?.pop())
}

pub fn function(text: &str) -> Result<Option<u32>, Error> {
    Ok(read::<u32>(FUNCTION, &[text])?.pop())
}

pub fn database() -> Result<u32, Error> {
    read::<u32>(DATABASE, &[])?
        .pop()
        .ok_or_else(|| Error::Sql("the database has no row".to_owned()))
}

#[derive(Deserialize)]
pub struct Column {
    pub number: i16,
    pub name: String,
}

pub fn columns(table: u32) -> Result<Vec<Column>, Error> {
    read(COLUMNS, &[&table.to_string()])
}

#[derive(Deserialize)]
pub struct Labelled {
    pub name: String,
    pub kind: String,
}

/// Roles of ours, in use, that belong to this database.
pub fn of_this_database() -> Result<Vec<Labelled>, Error> {
    read(OF_THIS_DATABASE, &[])
}

/// The limit of sessions; `None` for none.
pub fn connection_limit(role: &str) -> Result<Option<i32>, Error> {
    let limit = read::<i32>(CONNECTION_LIMIT, &[role])?.pop();
    Ok(limit.filter(|&limit| limit >= 0))
}

/// A function that may change data for roles that only read.
#[derive(Deserialize)]
pub struct Writer {
    pub function: u32,
    pub schema: u32,
    pub name: String,
}

/// Those of this database that still exist.
pub fn writing_functions() -> Result<Vec<Writer>, Error> {
    read(WRITING_FUNCTIONS, &[])
}

/// May the caller call a function of the extension, in any of its forms?
pub fn may_call(function: &str) -> Result<bool, Error> {
    let caller = u32::from(identity::current_user()).to_string();
    Ok(read::<bool>(MAY_CALL, &[function, &caller])?.pop() == Some(true))
}

fn read<T: serde::de::DeserializeOwned>(
    sql: &'static str,
    arguments: &[&str],
) -> Result<Vec<T>, Error> {
    Ok(identity::elevated(|| spi::facts(sql, arguments))?)
}

// They run with search_path pinned.

const MEMBERSHIPS: &str = "
SELECT pg_catalog.jsonb_build_object(
         'role', r.rolname, 'member', m.rolname, 'grantor', coalesce(g.rolname::text, a.grantor::text), 'admin', a.admin_option,
         'inherit', (pg_catalog.to_jsonb(a) ->> 'inherit_option')::boolean,
         'set', (pg_catalog.to_jsonb(a) ->> 'set_option')::boolean,
         'role_kind', rl.label::pg_catalog.jsonb ->> 'kind', 'member_kind', ml.label::pg_catalog.jsonb ->> 'kind')::text
  FROM pg_catalog.pg_auth_members a
  JOIN pg_catalog.pg_roles r ON r.oid = a.roleid
  JOIN pg_catalog.pg_roles m ON m.oid = a.member
  LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantor
  LEFT JOIN pg_catalog.pg_shseclabel rl ON rl.objoid = r.oid
        AND rl.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND rl.provider = 'scope_roles'
  LEFT JOIN pg_catalog.pg_shseclabel ml ON ml.objoid = m.oid
        AND ml.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND ml.provider = 'scope_roles'
 ORDER BY r.rolname, m.rolname, g.rolname";

const RELATION: &str = "
SELECT c.oid::bigint::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2";

const SCHEMA: &str =
    "SELECT n.oid::bigint::text FROM pg_catalog.pg_namespace n WHERE n.nspname = $1";

const FUNCTION: &str = "
SELECT f.oid::bigint::text FROM (SELECT pg_catalog.to_regprocedure($1)::oid AS oid) f WHERE f.oid IS NOT NULL";

const DATABASE: &str = "
SELECT d.oid::bigint::text FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

const COLUMNS: &str = "
SELECT pg_catalog.jsonb_build_object('number', a.attnum, 'name', a.attname)::text FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped";

const OF_THIS_DATABASE: &str = "
SELECT pg_catalog.jsonb_build_object('name', r.rolname, 'kind', l.label ->> 'kind')::text
  FROM pg_catalog.pg_roles r
  JOIN (SELECT objoid, label::pg_catalog.jsonb AS label FROM pg_catalog.pg_shseclabel
         WHERE provider = 'scope_roles' AND classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass) l ON l.objoid = r.oid
 CROSS JOIN (SELECT oid::bigint::text::pg_catalog.jsonb AS oid, datname FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) d
 WHERE l.label ->> 'state' = 'active'
   AND CASE WHEN l.label ->> 'kind' = 'scope'
            THEN l.label -> 'parts' -> 'read' @> d.oid OR l.label -> 'parts' -> 'write' @> d.oid OR l.label -> 'parts' -> 'create' @> d.oid
                 OR EXISTS (SELECT FROM _scope.scope_declaration s WHERE s.scope = r.rolname)
            ELSE (SELECT database FROM _scope.home(l.label, r.oid)) = d.datname END
 ORDER BY r.rolname";

const CONNECTION_LIMIT: &str =
    "SELECT r.rolconnlimit::text FROM pg_catalog.pg_roles r WHERE r.rolname = $1";

/// PostgreSQL leaves out the schema of its own.
const WRITING_FUNCTIONS: &str = "
SELECT pg_catalog.jsonb_build_object(
         'function', p.oid::bigint, 'schema', p.pronamespace::bigint,
         'name', CASE WHEN n.nspname = 'pg_catalog' THEN 'pg_catalog.' ELSE '' END || p.oid::pg_catalog.regprocedure::text)::text
  FROM scope.writing_function w
  JOIN pg_catalog.pg_proc p ON p.oid = pg_catalog.to_regprocedure(w.function)::oid
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 ORDER BY w.function";

const MAY_CALL: &str = "
SELECT pg_catalog.bool_or(pg_catalog.has_function_privilege($2::text::oid, p.oid, 'EXECUTE'))::pg_catalog.text
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'scope' AND p.proname = $1";
