//! The statements that close PUBLIC's defaults in this database, and what each would break.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::Error;
use crate::label;
use crate::pg::{identity, spi};

pub struct Step {
    /// The REVOKE that it is, or goes before.
    pub goal: Option<String>,
    /// `None`: left as it is.
    pub statement: Option<String>,
    pub reason: String,
    pub breaks: Option<String>,
}

/// In the order in which they are to run: what is in use gets its own grant before PUBLIC loses it.
pub fn plan() -> Result<Vec<Step>, Error> {
    let issued: Vec<pg_sys::Oid> = label::issued_here();
    let (none, issued): ([DatumWithOid<'_>; 0], _) = ([], [issued.into()]);
    let step = |row: spi::Row<'_>| {
        Ok(Step {
            statement: row.get(1)?,
            reason: row.get::<String>(2)?.unwrap_or_default(),
            breaks: row.get(3)?,
            goal: row.get(4)?,
        })
    };
    let mut steps = Vec::new();
    steps.extend(identity::elevated(|| spi::read(DATABASE, &issued, step))?);
    for sql in [SCHEMAS, FUNCTIONS, FUTURE] {
        steps.extend(identity::elevated(|| spi::read(sql, &none, step))?);
    }
    Ok(steps)
}

/// All that is to run so that PUBLIC can lose something without a loss for those who use it, and who loses it all the same.
pub fn towards(steps: &[Step], revoke: &str) -> Option<(String, Option<String>)> {
    let steps = steps
        .iter()
        .filter(|step| step.goal.as_deref() == Some(revoke));
    let mut statements = String::new();
    let mut breaks = None;
    for step in steps {
        if let Some(statement) = &step.statement {
            if !statements.is_empty() {
                statements += " ";
            }
            statements += statement;
            statements += ";";
        }
        breaks = step.breaks.clone().or(breaks);
    }
    (!statements.is_empty()).then_some((statements, breaks))
}

/// Twenty names, and how many there are besides: a cluster may have thousands.
macro_rules! names_of {
    ($name:literal) => {
        concat!(
            "array_to_string((array_agg(quote_ident(",
            $name,
            ") ORDER BY ",
            $name,
            "))[:20], ', ')
                || coalesce(' and ' || nullif(greatest(count(*) - 20, 0), 0) || ' more', '')"
        )
    };
}

/// Does the member have what the role has, without taking it? Since 16 each membership says so.
macro_rules! inherits {
    () => {
        "coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, (SELECT i.rolinherit FROM pg_authid i WHERE i.oid = m.member))"
    };
}

/// Roles that hold something here themselves or by a role that they inherit from or may become: they are
/// taken to use the database. Credentials have their right from their scope, as all of theirs; who has issued them goes on giving it.
const DATABASE: &str = concat!("
WITH RECURSIVE d AS (SELECT oid, datname, datdba, coalesce(datacl, acldefault('d', datdba)) AS acl FROM pg_database WHERE datname = current_database()),
     open AS (SELECT a.privilege_type FROM d, aclexplode(d.acl) a WHERE a.grantee = 0),
     has(role, privilege) AS (
       SELECT a.grantee, a.privilege_type FROM d, aclexplode(d.acl) a WHERE a.grantee <> 0
       UNION SELECT m.member, h.privilege FROM has h JOIN pg_auth_members m ON m.roleid = h.role AND ", inherits!(), "),
     here(role) AS (
       SELECT s.refobjid FROM pg_shdepend s, d WHERE s.refclassid = 'pg_authid'::regclass AND s.dbid = d.oid
       UNION SELECT m.member FROM here JOIN pg_auth_members m ON m.roleid = here.role),
     logins AS (
       SELECT r.oid, r.rolname,
              r.oid IN (SELECT role FROM here) OR EXISTS (SELECT FROM pg_stat_get_activity(NULL) a, d WHERE a.usesysid = r.oid AND a.datid = d.oid) AS uses,
              EXISTS (SELECT FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE n.nspname ~ '^pg_temp' AND c.relowner = r.oid) AS makes_temporary
         FROM pg_authid r WHERE r.rolcanlogin AND NOT r.rolsuper),
     loses AS (SELECT l.*, o.privilege_type FROM logins l, open o
                WHERE NOT EXISTS (SELECT FROM has h WHERE h.role = l.oid AND h.privilege = o.privilege_type)),
     managed AS (
       SELECT l.objoid AS oid, l.label::jsonb ->> 'kind' AS kind, c.creator,
              l.objoid = ANY ($1) AS is_issued_here
         FROM pg_shseclabel l CROSS JOIN LATERAL _scope.creator(l.label::jsonb, l.objoid) c WHERE l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles'),
     gives(role) AS (
       SELECT a.grantee FROM d, aclexplode(d.acl) a WHERE a.privilege_type = 'CONNECT' AND a.is_grantable
       UNION SELECT d.datdba FROM d
       UNION SELECT m.member FROM gives JOIN pg_auth_members m ON m.roleid = gives.role AND ", inherits!(), "),
     issuers AS (
       SELECT DISTINCT r.oid, r.rolname FROM managed m JOIN pg_authid r ON r.oid = m.creator
        WHERE m.kind = 'credential' AND m.is_issued_here AND m.oid IN (SELECT role FROM here) AND NOT r.rolsuper AND r.oid NOT IN (SELECT role FROM gives)
          AND EXISTS (SELECT FROM open WHERE privilege_type = 'CONNECT')),
     by_scope AS (
       SELECT DISTINCT l.oid AS login, s.oid AS scope, s.rolname FROM loses l
         JOIN managed c ON c.oid = l.oid AND c.kind = 'credential'
         JOIN pg_auth_members m ON m.member = l.oid
         JOIN managed k ON k.oid = m.roleid AND k.kind = 'scope'
         JOIN pg_authid s ON s.oid = m.roleid
        WHERE l.privilege_type = 'CONNECT' AND l.uses)
SELECT statement, reason, breaks, format('REVOKE %s ON DATABASE %I FROM PUBLIC', CASE WHEN place < 3 THEN 'CONNECT' ELSE 'TEMPORARY' END, current_database()) FROM (
  SELECT 1 AS place, l.rolname AS name, format('GRANT CONNECT ON DATABASE %I TO %I', d.datname, l.rolname) AS statement,
         format('%I uses this database and may connect as PUBLIC only', l.rolname) AS reason, NULL AS breaks
    FROM loses l, d WHERE l.privilege_type = 'CONNECT' AND l.uses AND l.oid NOT IN (SELECT oid FROM issuers)
     AND NOT EXISTS (SELECT FROM by_scope b WHERE b.login = l.oid AND pg_has_role(l.oid, b.scope, 'USAGE'))
  UNION ALL
  SELECT 0, i.rolname, format('GRANT CONNECT ON DATABASE %I TO %I WITH GRANT OPTION', d.datname, i.rolname),
         format('%I has issued logins for this database, and may let them connect because PUBLIC may', i.rolname), NULL FROM issuers i, d
  UNION ALL
  SELECT 1, s.rolname, format('GRANT CONNECT ON DATABASE %I TO %I', d.datname, s.rolname),
         format('logins of %I use this database and may connect as PUBLIC only', s.rolname), NULL
    FROM (SELECT DISTINCT rolname FROM by_scope) s, d
  UNION ALL
  SELECT 2, '', format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', d.datname), 'every login may connect to this database',
         nullif(concat_ws('; ',
           (SELECT 'can no longer connect: ' || ", names_of!("l.rolname"), " FROM loses l WHERE l.privilege_type = 'CONNECT' AND NOT l.uses),
           (SELECT 'can no longer issue logins for it: ' || string_agg(DISTINCT quote_ident(r.rolname), ', ')
              FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'scope', aclexplode(p.proacl) a JOIN pg_authid r ON r.oid = a.grantee
             WHERE p.proname ~ '^create_' AND NOT r.rolsuper AND r.oid NOT IN (SELECT role FROM gives) AND r.oid NOT IN (SELECT oid FROM issuers))), '')
    FROM d WHERE EXISTS (SELECT FROM open WHERE privilege_type = 'CONNECT')
  UNION ALL
  SELECT 3, l.rolname, format('GRANT TEMPORARY ON DATABASE %I TO %I', d.datname, l.rolname),
         format('%I has temporary tables now, as PUBLIC only', l.rolname), NULL
    FROM loses l, d WHERE l.privilege_type = 'TEMPORARY' AND l.makes_temporary
  UNION ALL
  SELECT 4, '', format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', d.datname), 'everyone may make temporary tables in this database',
         (SELECT 'can no longer make temporary tables: ' || ", names_of!("l.rolname"), "
            FROM loses l WHERE l.privilege_type = 'TEMPORARY' AND l.uses AND NOT l.makes_temporary)
    FROM d WHERE EXISTS (SELECT FROM open WHERE privilege_type = 'TEMPORARY')) steps
 ORDER BY place, name");

/// Who owns something in the schema is taken to create there.
const SCHEMAS: &str = concat!("
WITH RECURSIVE n AS (
       SELECT oid, nspname, nspacl FROM pg_namespace
        WHERE nspname !~ '^pg_(toast|temp)' AND EXISTS (SELECT FROM aclexplode(nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')),
     has(schema, role) AS (
       SELECT n.oid, a.grantee FROM n, aclexplode(n.nspacl) a WHERE a.grantee <> 0 AND a.privilege_type = 'CREATE'
       UNION SELECT h.schema, CASE WHEN h.role = 6171 THEN d.datdba ELSE m.member END
         FROM has h LEFT JOIN pg_auth_members m ON m.roleid = h.role AND ", inherits!(), " JOIN pg_database d ON d.datname = current_database()
        WHERE m.member IS NOT NULL OR h.role = 6171),
     owners AS (SELECT relnamespace AS schema, relowner AS role FROM pg_class UNION SELECT pronamespace, proowner FROM pg_proc UNION SELECT typnamespace, typowner FROM pg_type)
SELECT statement, reason, breaks, format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', nspname) FROM (
  SELECT n.nspname, 1 AS place, format('GRANT CREATE ON SCHEMA %I TO %I', n.nspname, r.rolname) AS statement,
         format('%I owns objects there and may create as PUBLIC only', r.rolname) AS reason, NULL AS breaks
    FROM n JOIN owners o ON o.schema = n.oid JOIN pg_authid r ON r.oid = o.role
   WHERE NOT r.rolsuper AND NOT EXISTS (SELECT FROM has h WHERE h.schema = n.oid AND h.role = r.oid)
  UNION ALL
  SELECT n.nspname, 2, format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', n.nspname), 'everyone may create in this schema',
         'can no longer create there: all who own nothing there and have not been granted CREATE'
    FROM n) steps
 ORDER BY nspname, place, statement");

const FUNCTIONS: &str = "
SELECT CASE WHEN coalesce(s.calls, 0) = 0 THEN format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', p.oid::regprocedure) END,
       CASE WHEN coalesce(s.calls, 0) = 0 THEN 'SECURITY DEFINER, and everyone may execute it'
            ELSE format('%s is SECURITY DEFINER and everyone may execute it, but it has been called %s times: grant EXECUTE to those who call it, and revoke it from PUBLIC',
                        p.oid::regprocedure, s.calls) END,
       CASE WHEN coalesce(s.calls, 0) = 0 THEN format('can no longer execute it: all but %s and those with their own EXECUTE', quote_ident(r.rolname)) END, NULL
  FROM pg_proc p JOIN pg_authid r ON r.oid = p.proowner
  LEFT JOIN (SELECT oid, pg_stat_get_function_calls(oid) AS calls FROM pg_proc) s ON s.oid = p.oid
 WHERE p.prosecdef AND p.oid >= 16384 AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
 ORDER BY 1";

/// For those who own functions here.
const FUTURE: &str = "
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON ROUTINES FROM PUBLIC', r.rolname),
       format('everyone may execute the functions that %I will create', r.rolname),
       'functions that are created from now on need a GRANT EXECUTE', NULL
  FROM pg_authid r
 WHERE r.oid IN (SELECT p.proowner FROM pg_proc p WHERE p.oid >= 16384
                    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'))
   AND NOT EXISTS (SELECT FROM pg_default_acl d WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = 'f'
                      AND NOT EXISTS (SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'))
 ORDER BY 1";
