//! Credentials and authenticators that have more than they were issued with: memberships, attributes,
//! grants of their own, objects.

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use super::check::{Severity, ours};
use super::drift::{Drift, Holder};
use super::findings::{AUTHENTICATOR_WIDENED, LOGIN_WIDENED, given_away};
use super::{Error, Finding, WITH_THE_FIX};
use crate::pg::{identity, server, spi};
use crate::scope::declaration::Declaration;
use crate::scope::held;
use crate::scope::plan::{Object, Other};

pub fn find() -> Result<Vec<Finding>, Error> {
    let none: [DatumWithOid<'_>; 0] = [];
    let mut found = identity::elevated(|| {
        spi::read(BESIDES, &none, |row| {
            Ok(Finding {
                severity: Severity::High,
                code: code(row.get(1)?),
                role: row.get(2)?,
                object: row.get(3)?,
                what: row.get::<String>(4)?.unwrap_or_default(),
                since: None,
                fix: row.get(5)?,
            })
        })
    })?;
    found.extend(grants()?);
    Ok(found)
}

fn code(kind: Option<String>) -> &'static str {
    match kind.as_deref() {
        Some("authenticator") => AUTHENTICATOR_WIDENED,
        _ => LOGIN_WIDENED,
    }
}

/// Privileges are a scope's; a login has none of its own but to connect.
fn grants() -> Result<Vec<Finding>, Error> {
    let none: [DatumWithOid<'_>; 0] = [];
    let mut exchange = None;
    let holders: Vec<(pg_sys::Oid, Holder)> = identity::elevated(|| {
        spi::read(HOLDERS, &none, |row| {
            let holder = Holder {
                name: row.get::<String>(3)?.unwrap_or_default(),
                widened: code(row.get(2)?),
            };
            exchange = row.get::<pg_sys::Oid>(4)?;
            Ok((
                row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid),
                holder,
            ))
        })
    })?;
    let oids: Vec<u32> = holders.iter().map(|&(oid, _)| oid.into()).collect();
    let mut all = held::by_each(&oids)?;
    let nothing = Declaration::default();
    let temporary = format!("TEMPORARY on {}", spi::identifier(&server::database_name()));
    let mut found = Vec::new();
    for (oid, holder) in &holders {
        let Some(mut held) = all.remove(&u32::from(*oid)) else {
            continue;
        };
        // The rest is among what the query finds. A service may be given scope.exchange_token(); which function it is in another database
        // can't be told from here.
        let passes_on = holder.widened == AUTHENTICATOR_WIDENED;
        let may = |object| match object {
            Object::Database(_) => true,
            Object::Function(oid) => passes_on && exchange.is_some_and(|known| known == oid.into()),
            _ => false,
        };
        held.grants.retain(|grant, _| !may(grant.object));
        held.others
            .retain(|other| matches!(other, Other::Else { what } if *what != temporary));
        held.elsewhere.retain(|other| match other {
            Other::Owns { .. } => true,
            Other::Else { what } => {
                let function = "privileges on a function in database ";
                let is_function = passes_on && what.starts_with(function);
                !is_function && !what.starts_with("privileges on database ")
            }
            Other::Policy { .. } | Other::Temporary { .. } => false,
        });
        let drift = Drift {
            holder,
            declaration: &nothing,
            held: &held,
            names: [&held.names, &nothing.names, &nothing.names],
            elsewhere: None,
        };
        let excess: Vec<_> = held.grants.keys().copied().collect();
        let of_objects = drift.of(&excess, holder.widened, Severity::High, &[]);
        found.extend(of_objects.into_iter().chain(drift.others()).map(told));
    }
    Ok(found)
}

/// In the words for logins, which declare nothing.
fn told(finding: Finding) -> Finding {
    let what = finding
        .what
        .replace("declares nothing, and holds ", "holds ");
    let what = what.replace("does not declare it, and has ", "has ");
    Finding {
        what: format!("{what}, which no login is issued with{WITH_THE_FIX}it loses that"),
        ..finding
    }
}

/// Active logins with grants, whatever they are.
const HOLDERS: &str = ours!(
    "SELECT o.oid, label ->> 'kind', rolname::text, to_regproc('scope.exchange_token')::oid FROM o
      WHERE label ->> 'kind' IN ('credential', 'authenticator') AND label ->> 'state' = 'active'
        AND EXISTS (SELECT FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = o.oid AND s.deptype IN ('a', 'o')
                       AND NOT (s.dbid = 0 AND s.classid = 'pg_database'::regclass))"
);

/// All but grants on objects. Kind, role, object, what, fix. A login whose sessions act as
/// their scope connects by a right of its own, as an authenticator does, and harden() lets those connect who use a database.
const BESIDES: &str = ours!(concat!(
    ", l AS (
       SELECT o.*, label ->> 'kind' AS kind, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls, r.rolinherit,
              EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setrole = o.oid AND starts_with(c, 'role=')) AS acts
         FROM o JOIN pg_authid r USING (oid)
        WHERE label ->> 'kind' IN ('credential', 'authenticator') AND label ->> 'state' = 'active'),
     joined AS (
       SELECT l.*, g.rolname AS joined, g.oid AS joined_oid, m.grantor, b.rolname AS by, gl.label::jsonb ->> 'kind' AS joined_kind,
              EXISTS (SELECT FROM pg_shseclabel k WHERE k.objoid = g.oid AND k.classoid = 'pg_authid'::regclass AND k.provider = 'scope_roles_token_logins') AS is_of_tokens,
              to_jsonb(m) ->> 'inherit_option' = 'true' AS inherits, to_jsonb(m) ->> 'set_option' = 'true' AS sets
         FROM l JOIN pg_auth_members m ON m.member = l.oid JOIN pg_authid g ON g.oid = m.roleid LEFT JOIN pg_authid b ON b.oid = m.grantor
         LEFT JOIN pg_shseclabel gl ON gl.objoid = g.oid AND gl.classoid = 'pg_authid'::regclass AND gl.provider = 'scope_roles'),
     theirs AS (
       SELECT *, CASE WHEN (is_of_tokens OR joined_kind = 'composite') AND label ? 'issuers' THEN true
                         WHEN kind = 'authenticator' THEN coalesce(label -> 'roles', '[]') = '[]' OR label -> 'roles' ? joined
                         WHEN label ? 'scopes' THEN EXISTS (SELECT FROM jsonb_each_text(label -> 'scopes') s
                                                             WHERE s.value = joined_oid::text OR s.key = joined AND joined_kind = 'scope')
                         ELSE coalesce(joined_kind = 'scope', false) END AS issued
         FROM joined),
     -- Renamed, and restored into another cluster since: neither its name nor its number tells.
     beyond AS (
       SELECT * FROM (
         SELECT *, kind = 'credential' AND coalesce(joined_kind = 'scope', false)
                   AND count(*) FILTER (WHERE joined_kind = 'scope') OVER (PARTITION BY oid) <= (
                     SELECT count(*) FROM jsonb_object_keys(label -> 'scopes') k
                      WHERE NOT EXISTS (SELECT FROM pg_authid a WHERE a.rolname = k)
                        AND NOT EXISTS (SELECT FROM joined j WHERE j.oid = t.oid AND j.joined_oid::text = label -> 'scopes' ->> k)) AS is_lost
           FROM theirs t WHERE NOT issued) u
        WHERE NOT is_lost)
     SELECT kind, rolname::text, format('role %I', joined), 'is a member of a role that it was not issued with; with the fix, it has no longer what it has by that role',
            string_agg(format('REVOKE %I FROM %I%s;', joined, rolname, ' GRANTED BY ' || quote_ident(by)), ' ')
       FROM beyond GROUP BY kind, rolname, joined
     UNION ALL
     SELECT kind, rolname::text, format('role %I', joined), 'inherits what a role holds, without a token; with the fix, only a token gives it that',
            string_agg(format('GRANT %I TO %I WITH INHERIT FALSE%s;', joined, rolname, ' GRANTED BY ' || quote_ident(by)), ' ')
       FROM theirs WHERE issued AND kind = 'authenticator' AND inherits GROUP BY kind, rolname, joined
     UNION ALL
     SELECT kind, rolname::text, format('role %I', joined), 'may act as its scope, which then owns what it makes; with the fix, it only inherits from it',
            string_agg(format('GRANT %I TO %I WITH SET FALSE%s;', joined, rolname, ' GRANTED BY ' || quote_ident(by)), ' ')
       FROM theirs WHERE issued AND kind = 'credential' AND NOT acts AND joined_kind = 'scope' AND sets GROUP BY kind, rolname, joined
     UNION ALL
     SELECT kind, rolname::text, 'attribute ' || word, format('has %s, which no login is issued with; with the fix, it has no longer what it has by that', word),
            format('ALTER ROLE %I NO%s;', rolname, word)
       FROM l CROSS JOIN LATERAL (VALUES ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole), ('CREATEDB', rolcreatedb),
                                         ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) v(word, has) WHERE has
     UNION ALL
     SELECT kind, rolname::text, 'attribute INHERIT',
            CASE kind WHEN 'authenticator' THEN 'inherits what its roles hold, without a token; with the fix, only a token gives it that'
                      ELSE 'inherits what its scope holds, so that what it makes may be its own; with the fix, it has that only while it acts as the scope' END,
            format('ALTER ROLE %I NOINHERIT;', rolname)
       FROM l WHERE rolinherit AND (kind = 'authenticator' OR acts)
     UNION ALL
     SELECT l.kind, l.rolname::text, format('database %I', d.datname),
            format('may %s there by a grant of its own; with the fix, it may not', string_agg(DISTINCT a.privilege_type, ', ')),
            string_agg(DISTINCT format(CASE WHEN a.grantor = d.datdba THEN '%2$s' ELSE 'SET ROLE %1$I; %2$s RESET ROLE;' END, b.rolname,
                       format('REVOKE %s ON DATABASE %I FROM %I CASCADE;', a.privilege_type, d.datname, l.rolname)), ' ')
       FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a JOIN l ON l.oid = a.grantee LEFT JOIN pg_authid b ON b.oid = a.grantor
      WHERE l.oid <> d.datdba
        AND NOT (a.privilege_type IN ('CONNECT', 'TEMPORARY') AND ((SELECT database FROM _scope.home(l.label, l.oid)) = d.datname OR EXISTS (
                   SELECT FROM theirs t JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = t.joined_oid AND s.dbid = d.oid
                    WHERE t.oid = l.oid AND t.issued)))
      GROUP BY l.kind, l.rolname, d.datname
     UNION ALL
     SELECT o.kind, o.rolname::text, 'what it owns',
            format('owns %s here, so that it cannot be dropped when it ends; with the fix, they belong to a role that nobody can use', plan), ",
    given_away!(),
    "
       FROM (SELECT l.*, (SELECT array_to_string((array_agg(pg_describe_object(s.classid, s.objid, s.objsubid) ORDER BY s.objid))[1:5], ', ')
                                 || CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END FROM pg_shdepend s JOIN pg_database d ON s.dbid IN (0, d.oid)
                           WHERE d.datname = current_database() AND s.refclassid = 'pg_authid'::regclass AND s.refobjid = l.oid AND s.deptype = 'o'
                             AND s.classid <> 'pg_default_acl'::regclass
                             AND coalesce((pg_identify_object(s.classid, s.objid, s.objsubid)).schema, '') !~ '^\"?pg_(toast_)?temp(_[0-9]+)?\"?$') AS plan FROM l) o
      WHERE plan IS NOT NULL"
));
