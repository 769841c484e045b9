//! What a login has, and what of it its caller could not give it: others may have granted it more by
//! hand than who issued it has to hand out.

use std::collections::BTreeSet;

use pgrx::pg_sys;
use serde::Deserialize;

use crate::label::{self, Kind};
use crate::pg::catalog::{self, Role};
use crate::pg::{identity, server, spi};
use crate::scope::plan::Object;
use crate::scope::privilege::Privilege;
use crate::scope::statements::describe;
use crate::scope::{self, held};

/// Something that a login has by itself.
pub struct Having {
    pub kind: What,
    /// In words.
    pub what: String,
    /// The caller could give it.
    pub may: bool,
    /// It is of no use to a credential, which this one is: what it has in another database keeps it out of there.
    pub is_idle: bool,
}

pub enum What {
    /// Of this role.
    Membership(String),
    /// The right to connect to this database, as an identifier.
    Connect(String),
    Else,
}

/// All that the login has beside the right to log in, as of now.
pub fn of(login: &Role) -> Result<Vec<Having>, scope::Error> {
    let caller = identity::current_user();
    let all = catalog::role_by_oid(caller).is_some_and(|role| role.superuser);
    let mut found = Vec::new();
    let mut scopes_connect = false;
    // A credential gets what its scopes hold in its own database, any other login all that they hold.
    let is_here = matches!(
        label::read(login.oid),
        Some(Ok(metadata)) if metadata.kind == Kind::Credential
            && label::is_home(&metadata, &server::database_name())
    );
    let may_give = if is_here {
        scope::may_give
    } else {
        scope::may_give_everywhere
    };
    for group in catalog::memberships(login.oid) {
        let Some(role) = catalog::role_by_oid(group) else {
            continue;
        };
        let may = all || may_give(caller, group)?;
        scopes_connect |= may && connects(group)?;
        found.push(Having {
            what: format!("membership in role {}", spi::identifier(&role.name)),
            kind: What::Membership(role.name),
            may,
            is_idle: false,
        });
    }
    let held = held::by(login.oid)?;
    let grants: BTreeSet<_> = held
        .grants
        .keys()
        .filter(|grant| !matches!(grant.object, Object::Database(_)))
        .collect();
    let refused = scope::not_to_give(caller, login.oid, &held)?;
    for &grant in grants {
        found.push(Having {
            kind: What::Else,
            what: describe(&grant, &[&held.names]),
            may: all || !refused.contains(&grant),
            is_idle: false,
        });
    }
    let (login, caller) = (
        u32::from(login.oid).to_string(),
        u32::from(caller).to_string(),
    );
    for other in identity::elevated(|| spi::facts::<Other>(OTHERS, &[&login, &caller]))? {
        // A login whose sessions act as their scope connects by a right of its own, as the scope may.
        let by_scope = other.connects.is_some() && other.here && scopes_connect;
        found.push(Having {
            kind: other.connects.map_or(What::Else, What::Connect),
            what: other.what,
            may: all || other.may || by_scope,
            is_idle: is_here && other.away,
        });
    }
    Ok(found)
}

/// Does the role hold CONNECT on this database?
fn connects(role: pg_sys::Oid) -> Result<bool, scope::Error> {
    let held = held::by(role)?;
    Ok(held.grants.keys().any(|grant| {
        matches!(grant.object, Object::Database(_)) && grant.privilege == Privilege::Connect
    }))
}

#[derive(Deserialize)]
struct Other {
    what: String,
    may: bool,
    /// The database, if this is the right to connect to it.
    #[serde(default)]
    connects: Option<String>,
    #[serde(default)]
    here: bool,
    /// In another database, or a right on one.
    #[serde(default)]
    away: bool,
}

/// $1 is the login, $2 the caller. Besides memberships and what [`held::by`] knows. Temporary objects
/// are the login's own doing, and go with its session.
const OTHERS: &str = "
WITH me AS (SELECT * FROM pg_catalog.pg_roles WHERE oid = $1::text::oid),
     d AS (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
     held AS (
       SELECT s.dbid, s.classid, s.objid, s.objsubid, s.deptype, s.dbid IN (0, d.oid) AS here
         FROM pg_catalog.pg_shdepend s, me, d
        WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = me.oid
          AND NOT (s.deptype = 'o' AND s.classid = 'pg_catalog.pg_default_acl'::pg_catalog.regclass))
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'what', x.what, 'may', x.may, 'connects', x.connects, 'here', x.here, 'away', x.away))::text
  FROM (
    SELECT 'attribute ' || v.word AS what, false AS may, NULL AS connects, NULL AS here, NULL AS away
      FROM me, LATERAL (VALUES ('CREATEROLE', me.rolcreaterole), ('CREATEDB', me.rolcreatedb),
                               ('REPLICATION', me.rolreplication), ('BYPASSRLS', me.rolbypassrls)) v(word, has)
     WHERE v.has
    UNION ALL
    SELECT DISTINCT a.privilege_type || ' on database ' || pg_catalog.quote_ident(o.datname),
           pg_catalog.has_database_privilege($2::text::oid, o.oid, a.privilege_type || ' WITH GRANT OPTION')
             OR o.oid = d.oid AND a.privilege_type = 'CONNECT' AND NOT a.is_grantable
                AND pg_catalog.has_database_privilege('public', o.oid, 'CONNECT'),
           CASE a.privilege_type WHEN 'CONNECT' THEN pg_catalog.quote_ident(o.datname) END,
           o.oid = d.oid, o.oid <> d.oid
      FROM me, d, pg_catalog.pg_database o, pg_catalog.aclexplode(o.datacl) a
     WHERE a.grantee = me.oid
    UNION ALL
    SELECT CASE h.deptype WHEN 'o' THEN 'owner of ' WHEN 'r' THEN '' ELSE 'privileges on ' END
             || coalesce(CASE WHEN h.here THEN pg_catalog.pg_describe_object(h.classid, h.objid, h.objsubid) END,
                         (SELECT 'an object in database ' || pg_catalog.quote_ident(o.datname)
                            FROM pg_catalog.pg_database o WHERE o.oid = h.dbid),
                         'an object that is gone'), false, NULL, NULL, NOT h.here
      FROM held h
     WHERE NOT (h.deptype = 'a' AND (h.here AND h.classid IN (
                  'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass,
                  'pg_catalog.pg_namespace'::pg_catalog.regclass, 'pg_catalog.pg_default_acl'::pg_catalog.regclass)
                OR h.dbid = 0 AND h.classid = 'pg_catalog.pg_database'::pg_catalog.regclass))
       AND h.deptype IN ('a', 'o', 'r')
       AND NOT (h.here AND h.deptype = 'o' AND coalesce((pg_catalog.pg_identify_object(h.classid, h.objid, h.objsubid)).schema
                  ~ '^\"?pg_(toast_)?temp(_[0-9]+)?\"?$', false))
  ) x
 ORDER BY x.what";
