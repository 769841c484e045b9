//! What a scope holds, read from the catalogues.

use std::collections::BTreeMap;

use pgrx::pg_sys;
use serde::Deserialize;

use super::Error;
use super::plan::{Grant, Holdings, Object, Other};
use super::privilege::{Class, Privilege};
use crate::label::{self, Kind, Metadata};
use crate::pg::{identity, server, spi};

/// All that `scope` holds, in this database and on shared objects; what is elsewhere, in words.
pub fn by(scope: pg_sys::Oid) -> Result<Holdings, Error> {
    let scope = u32::from(scope);
    let text = scope.to_string();
    let (grants, others) = identity::elevated(|| -> Result<_, Error> {
        Ok((
            spi::facts::<Fact>(GRANTS, &[&text])?,
            spi::facts::<OtherFact>(OTHERS, &[&text])?,
        ))
    })?;
    Ok(collect(grants, others).remove(&scope).unwrap_or_default())
}

/// The same of many, by role: each access list is read once.
pub fn by_each(scopes: &[u32]) -> Result<BTreeMap<u32, Holdings>, Error> {
    let scopes: Vec<String> = scopes.iter().map(u32::to_string).collect();
    let scopes = format!("{{{}}}", scopes.join(","));
    let (grants, others) = identity::elevated(|| -> Result<_, Error> {
        Ok((
            spi::facts::<Fact>(GRANTS_OF_EACH, &[&scopes])?,
            spi::facts::<OtherFact>(OTHERS_OF_EACH, &[&scopes])?,
        ))
    })?;
    Ok(collect(grants, others))
}

fn collect(grants: Vec<Fact>, others: Vec<OtherFact>) -> BTreeMap<u32, Holdings> {
    let mut all: BTreeMap<u32, Holdings> = BTreeMap::new();
    for fact in grants {
        let held = all.entry(fact.holder).or_default();
        let Some(grant) = fact.grant() else {
            let of = match fact.class.as_str() {
                "future" => "future objects of ",
                _ => "",
            };
            held.others.push(Other::Else {
                what: format!("{} on {of}{}", fact.privilege, fact.sql),
            });
            continue;
        };
        if fact.grantable {
            held.others.push(Other::Else {
                what: format!("{} on {} with grant option", fact.privilege, fact.sql),
            });
        }
        held.schemas.insert(grant.object, fact.schema);
        if let Object::Column(table, _) = grant.object {
            held.names.insert(Object::Table(table), fact.table.clone());
        }
        if let Object::Future { schema, .. } = grant.object {
            held.names
                .insert(Object::Schema(schema), fact.table.clone());
        }
        held.names.insert(grant.object, fact.sql);
        held.grants.entry(grant).or_default().insert(fact.grantor);
    }
    let mut labels: BTreeMap<u32, Option<Metadata>> = BTreeMap::new();
    for fact in others {
        // What other databases have declared as their part is theirs to look at.
        let is_of_another_part = fact.database != 0 && {
            let label = labels
                .entry(fact.holder)
                .or_insert_with(|| label::read(fact.holder.into()).and_then(Result::ok));
            label
                .as_ref()
                .is_some_and(|label| label::has_part_in(label, fact.database))
        };
        if is_of_another_part {
            continue;
        }
        let held = all.entry(fact.holder).or_default();
        let others = match fact.database {
            0 => &mut held.others,
            _ => &mut held.elsewhere,
        };
        others.push(match fact.kind.as_str() {
            "owns" => Other::Owns {
                what: fact.what,
                schema: fact.schema,
            },
            "temporary" => Other::Temporary { what: fact.what },
            "policy" => Other::Policy { what: fact.what },
            _ => Other::Else { what: fact.what },
        });
    }
    all
}

/// The members of a scope that lose something with its part in this database: all but the credentials that were issued in `others`, and
/// the composite roles, which lose it with the logins that take them.
pub fn members(scope: pg_sys::Oid, others: &[u32]) -> Result<Vec<String>, Error> {
    let stays = |member: &Member| {
        labelled(member, Kind::Composite).is_some()
            || labelled(member, Kind::Credential).is_some_and(|label| {
                label.is_native
                    && label
                        .database_oid
                        .is_some_and(|database| others.contains(&database))
            })
    };
    let members = all_members(scope)?.into_iter();
    Ok(members
        .filter(|member| !stays(member))
        .map(|member| member.name)
        .collect())
}

/// Its members among the credentials that were issued in this database.
pub fn credentials_of_here(scope: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>, Error> {
    let here = server::database_name();
    let is_ours = |member: &Member| {
        labelled(member, Kind::Credential).is_some_and(|label| label::is_home(&label, &here))
    };
    let members = all_members(scope)?.into_iter();
    Ok(members
        .filter(is_ours)
        .map(|member| member.role.into())
        .collect())
}

fn all_members(scope: pg_sys::Oid) -> Result<Vec<Member>, Error> {
    let scope = u32::from(scope).to_string();
    identity::elevated(|| Ok(spi::facts::<Member>(MEMBERS, &[&scope])?))
}

fn labelled(member: &Member, kind: Kind) -> Option<Metadata> {
    let label = label::read(member.role.into())?.ok()?;
    (label.kind == kind).then_some(label)
}

#[derive(Deserialize)]
struct Member {
    role: u32,
    name: String,
}

/// Who granted EXECUTE on a function to everyone; the owner's default grant included.
pub fn public_grantors(function: u32) -> Result<Vec<u32>, Error> {
    identity::elevated(|| {
        Ok(spi::facts::<u32>(
            PUBLIC_GRANTORS,
            &[&function.to_string()],
        )?)
    })
}

/// The sequences that belong to columns of tables on which the scope holds something.
pub fn sequences_of(
    tables: &[u32],
) -> Result<BTreeMap<u32, std::collections::BTreeSet<u32>>, Error> {
    let tables: Vec<String> = tables.iter().map(u32::to_string).collect();
    let tables = format!("{{{}}}", tables.join(","));
    let mut found: BTreeMap<u32, std::collections::BTreeSet<u32>> = BTreeMap::new();
    for fact in identity::elevated(|| spi::facts::<Owned>(OWNED_SEQUENCES, &[&tables]))? {
        found.entry(fact.table).or_default().insert(fact.sequence);
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Owned {
    table: u32,
    sequence: u32,
}

#[derive(Deserialize)]
struct Fact {
    holder: u32,
    class: String,
    object: u32,
    sub: i16,
    #[serde(default)]
    schema: u32,
    sql: String,
    /// The table of a column, the schema of default privileges.
    #[serde(default)]
    table: String,
    #[serde(default)]
    kind: String,
    privilege: String,
    grantor: u32,
    grantable: bool,
}

impl Fact {
    /// `None` for a privilege that no plan knows.
    fn grant(&self) -> Option<Grant> {
        let object = match self.class.as_str() {
            "table" => Object::Table(self.object),
            "sequence" => Object::Sequence(self.object),
            "column" => Object::Column(self.object, self.sub),
            "function" => Object::Function(self.object),
            "schema" => Object::Schema(self.object),
            "database" => Object::Database(self.object),
            "future" => Object::Future {
                creator: self.object,
                schema: self.schema,
                class: match self.kind.as_str() {
                    "r" => Class::Table,
                    "S" => Class::Sequence,
                    "f" => Class::Function,
                    _ => return None,
                },
            },
            _ => return None,
        };
        let privilege = Privilege::of_word(&self.privilege)?;
        Some(Grant { object, privilege })
    }
}

#[derive(Deserialize)]
struct OtherFact {
    holder: u32,
    kind: String,
    what: String,
    #[serde(default)]
    schema: u32,
    /// Another database than this one.
    #[serde(default)]
    database: u32,
}

// In all, $1 is the role, or an array of roles. They run with search_path pinned.

macro_rules! grants {
    ($me:literal) => {
        concat!("
WITH me AS (", $me, "),
     d AS (SELECT oid, datname, datdba, datacl FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
     held AS MATERIALIZED (
       SELECT DISTINCT dbid, classid, objid, objsubid FROM pg_catalog.pg_shdepend, me
        WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND refobjid = me.oid AND deptype = 'a'),
     here AS MATERIALIZED (SELECT h.* FROM held h, d WHERE h.dbid IN (0, d.oid))
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'holder', a.grantee::bigint, 'class', x.class, 'object', x.object::bigint, 'sub', x.sub, 'schema', x.schema::bigint, 'sql', x.sql,
         'table', x.place, 'kind', x.kind, 'privilege', a.privilege_type, 'grantor', a.grantor::bigint,
         'grantable', a.is_grantable))::text
  FROM (
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS class, c.oid AS object, 0 AS sub,
           n.oid AS schema, pg_catalog.format('%I.%I', n.nspname, c.relname) AS sql, NULL AS place, NULL AS kind, c.relacl AS acl,
           c.relowner AS owner
      FROM here h JOIN pg_catalog.pg_class c ON c.oid = h.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE h.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND h.objsubid = 0
    UNION ALL
    SELECT 'column', c.oid, t.attnum, n.oid, pg_catalog.quote_ident(t.attname),
           pg_catalog.format('%I.%I', n.nspname, c.relname), NULL, t.attacl, c.relowner
      FROM here h JOIN pg_catalog.pg_attribute t ON t.attrelid = h.objid AND t.attnum = h.objsubid
      JOIN pg_catalog.pg_class c ON c.oid = h.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE h.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND h.objsubid > 0
    UNION ALL
    SELECT 'function', p.oid, 0, p.pronamespace, p.oid::pg_catalog.regprocedure::text, NULL, NULL, p.proacl, p.proowner
      FROM here h JOIN pg_catalog.pg_proc p ON p.oid = h.objid
     WHERE h.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    SELECT 'schema', n.oid, 0, n.oid, pg_catalog.quote_ident(n.nspname), NULL, NULL, n.nspacl, n.nspowner
      FROM here h JOIN pg_catalog.pg_namespace n ON n.oid = h.objid
     WHERE h.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    UNION ALL
    SELECT 'database', d.oid, 0, NULL, pg_catalog.quote_ident(d.datname), NULL, NULL, d.datacl, d.datdba
      FROM here h JOIN d ON d.oid = h.objid
     WHERE h.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
    UNION ALL
    SELECT 'future', f.defaclrole, 0, f.defaclnamespace, pg_catalog.quote_ident(r.rolname), pg_catalog.quote_ident(n.nspname),
           f.defaclobjtype::text, f.defaclacl, f.defaclrole
      FROM here h JOIN pg_catalog.pg_default_acl f ON f.oid = h.objid JOIN pg_catalog.pg_roles r ON r.oid = f.defaclrole
      LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.defaclnamespace
     WHERE h.classid = 'pg_catalog.pg_default_acl'::pg_catalog.regclass
  ) x, me, pg_catalog.aclexplode(x.acl) a
 -- An owner's entry in an access list is there once others have one, and is no grant.
 WHERE a.grantee = me.oid AND a.grantee <> x.owner")
    };
}
const GRANTS: &str = grants!("SELECT $1::text::oid AS oid");
const GRANTS_OF_EACH: &str =
    grants!("SELECT DISTINCT o AS oid FROM pg_catalog.unnest($1::oid[]) o");

/// Anything else that a role can have. Default privileges for its own future objects are nothing.
macro_rules! others {
    ($which:literal) => {
        concat!("
WITH me AS (SELECT * FROM pg_catalog.pg_roles WHERE ", $which, "),
     d AS (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
     held AS MATERIALIZED (
       SELECT me.oid AS holder, s.dbid, s.classid, s.objid, s.objsubid, s.deptype FROM pg_catalog.pg_shdepend s, me
        WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = me.oid)
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'holder', x.holder::bigint, 'kind', x.kind, 'what', x.what, 'schema', x.schema, 'database', x.database::bigint))::text
  FROM (
    SELECT h.holder,
           CASE WHEN h.deptype = 'o' AND h.dbid = d.oid AND EXISTS (
                       SELECT FROM pg_catalog.pg_identify_object(h.classid, h.objid, h.objsubid) i
                        WHERE i.schema ~ '^\"?pg_(toast_)?temp(_[0-9]+)?\"?$') THEN 'temporary'
                WHEN h.deptype = 'o' THEN 'owns' WHEN h.deptype = 'r' THEN 'policy' ELSE 'else' END AS kind,
           CASE h.deptype WHEN 'o' THEN 'owner of ' WHEN 'r' THEN '' ELSE 'privileges on ' END
             || coalesce(CASE WHEN h.dbid IN (0, d.oid) THEN pg_catalog.pg_describe_object(h.classid, h.objid, h.objsubid) END,
                         (SELECT CASE h.classid WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 'a function' ELSE 'an object' END
                                || ' in database ' || pg_catalog.quote_ident(o.datname)
                            FROM pg_catalog.pg_database o WHERE o.oid = h.dbid),
                         'an object that is gone') AS what,
           CASE WHEN h.dbid = d.oid AND h.deptype = 'o' THEN
             (SELECT n.oid::bigint FROM pg_catalog.pg_identify_object(h.classid, h.objid, h.objsubid) i
                JOIN pg_catalog.pg_namespace n ON pg_catalog.quote_ident(n.nspname) = i.schema) END AS schema,
           CASE WHEN h.dbid NOT IN (0, d.oid) THEN h.dbid
                WHEN h.dbid = 0 AND h.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND h.objid <> d.oid THEN h.objid END AS database
      FROM held h, d
     WHERE NOT (h.deptype = 'o' AND h.classid = 'pg_catalog.pg_default_acl'::pg_catalog.regclass)
       AND NOT (h.deptype = 'a' AND (h.dbid = d.oid AND h.classid IN (
                  'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass,
                  'pg_catalog.pg_namespace'::pg_catalog.regclass, 'pg_catalog.pg_default_acl'::pg_catalog.regclass)
                OR h.dbid = 0 AND h.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND h.objid = d.oid))
    UNION ALL
    SELECT me.oid, 'else', 'membership in ' || pg_catalog.quote_ident(r.rolname), NULL, NULL
      FROM me JOIN pg_catalog.pg_auth_members m ON m.member = me.oid JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
    UNION ALL
    SELECT me.oid, 'else', 'attribute ' || v.word, NULL, NULL
      FROM me, LATERAL (VALUES ('SUPERUSER', me.rolsuper), ('CREATEROLE', me.rolcreaterole), ('CREATEDB', me.rolcreatedb),
                               ('REPLICATION', me.rolreplication), ('BYPASSRLS', me.rolbypassrls), ('LOGIN', me.rolcanlogin)) v(word, has)
     WHERE v.has
  ) x")
    };
}
const OTHERS: &str = others!("oid = $1::text::oid");
const OTHERS_OF_EACH: &str = others!("oid = ANY ($1::oid[])");

const MEMBERS: &str = "
SELECT pg_catalog.jsonb_build_object('role', r.oid::bigint, 'name', r.rolname)::text
  FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.member
 WHERE m.roleid = $1::text::oid GROUP BY r.oid, r.rolname ORDER BY r.rolname";

const PUBLIC_GRANTORS: &str = "
SELECT DISTINCT a.grantor::bigint::text
  FROM pg_catalog.pg_proc p,
       pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
 WHERE p.oid = $1::text::oid AND a.grantee = 0 AND a.privilege_type = 'EXECUTE'";

const OWNED_SEQUENCES: &str = "
SELECT pg_catalog.jsonb_build_object('table', d.refobjid::bigint, 'sequence', d.objid::bigint)::text
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'
 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
   AND d.refobjid = ANY ($1::oid[]) AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')";
