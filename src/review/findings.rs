//! What a review looks for: each code with its severity and the query that finds it. Documented in
//! docs/review.md, which a test compares with this list.

use super::check::{Check, Severity, is_empty, ours};

/// What `o` owns here goes to a role that nobody can use: no other would be right to run its triggers, policies and functions as.
macro_rules! given_away {
    () => {
        "CASE WHEN NOT EXISTS (SELECT FROM pg_authid n WHERE n.rolname = format('left_by_%s', o.oid)) THEN format('CREATE ROLE left_by_%s NOLOGIN; ', o.oid) ELSE '' END
           || format('REASSIGN OWNED BY %I TO left_by_%s;', o.rolname, o.oid)"
    };
}
pub(super) use given_away;

/// Does `o` own something in this database, or a shared object?
macro_rules! owns_here {
    () => {
        "EXISTS (SELECT FROM pg_shdepend s JOIN pg_database d ON s.dbid IN (0, d.oid)
                  WHERE d.datname = current_database() AND s.refclassid = 'pg_authid'::regclass AND s.refobjid = o.oid
                    AND s.deptype = 'o' AND s.classid <> 'pg_default_acl'::regclass)"
    };
}

/// The server runs without the library.
pub const NOT_PRELOADED: &str = "not_preloaded";

pub const CHECKS: &[Check] = &[
    Check {
        code: "superuser",
        severity: Severity::Critical,
        stops: "it has only what it has been granted",
        sql: "
SELECT rolname::text, NULL, 'is a superuser besides the one that initdb made: no privilege and no policy binds it', NULL,
       format('ALTER ROLE %I NOSUPERUSER;', rolname)
  FROM pg_authid WHERE rolsuper AND oid <> 10",
    },
    Check {
        code: "superuser_member",
        severity: Severity::Critical,
        stops: "it loses what it has through that role only",
        sql: "
WITH RECURSIVE below(role, via, parent, grantor) AS (
       SELECT m.member, s.oid, m.roleid, m.grantor FROM pg_authid s JOIN pg_auth_members m ON m.roleid = s.oid WHERE s.rolsuper
       UNION SELECT m.member, b.via, m.roleid, m.grantor FROM below b JOIN pg_auth_members m ON m.roleid = b.role)
SELECT r.rolname::text, NULL, format('is a member of superuser %I, and can become it', s.rolname), NULL,
       string_agg(DISTINCT format('REVOKE %I FROM %I%s;', p.rolname, r.rolname, ' GRANTED BY ' || quote_ident(g.rolname)), ' ')
  FROM below b JOIN pg_authid r ON r.oid = b.role JOIN pg_authid s ON s.oid = b.via JOIN pg_authid p ON p.oid = b.parent
  LEFT JOIN pg_authid g ON g.oid = b.grantor
 WHERE NOT r.rolsuper AND r.rolcanlogin
 GROUP BY r.rolname, s.rolname",
    },
    Check {
        code: "server_files",
        severity: Severity::Critical,
        stops: "it can no longer read, write or run there",
        sql: "
WITH RECURSIVE below(role, via, parent, grantor) AS (
       SELECT m.member, s.oid, m.roleid, m.grantor FROM pg_authid s JOIN pg_auth_members m ON m.roleid = s.oid
        WHERE s.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
       UNION SELECT m.member, b.via, m.roleid, m.grantor FROM below b JOIN pg_auth_members m ON m.roleid = b.role)
SELECT r.rolname::text, NULL, format('is a member of %s: it can read or change what the server''s user can, and so become a superuser', s.rolname), NULL,
       string_agg(DISTINCT format('REVOKE %I FROM %I%s;', p.rolname, r.rolname, ' GRANTED BY ' || quote_ident(g.rolname)), ' ')
  FROM below b JOIN pg_authid r ON r.oid = b.role JOIN pg_authid s ON s.oid = b.via JOIN pg_authid p ON p.oid = b.parent
  LEFT JOIN pg_authid g ON g.oid = b.grantor
 WHERE NOT r.rolsuper
 GROUP BY r.rolname, s.rolname",
    },
    Check {
        code: "unbound_login",
        severity: Severity::High,
        stops: "",
        sql: ours!(
            ", logins AS (
                 SELECT o.oid, o.rolname, s.setdatabase, substr(c.setting, length('session_preload_libraries=') + 1) AS value
                   FROM o LEFT JOIN pg_db_role_setting s ON s.setrole = o.oid
                   LEFT JOIN LATERAL unnest(s.setconfig) c(setting) ON starts_with(c.setting, 'session_preload_libraries=')
                  WHERE label ->> 'kind' IN ('credential', 'authenticator') AND label ->> 'state' = 'active'),
               names AS (
                 SELECT *, ARRAY(SELECT btrim(n, ' \"') FROM regexp_split_to_table(value, ',') n WHERE btrim(n, ' \"') <> '') AS libraries FROM logins)
             SELECT rolname::text, NULL, 'would log in unchecked to a server that was started without the library', NULL,
                    format('ALTER ROLE %I SET session_preload_libraries = %s;', rolname,
                        array_to_string(ARRAY(SELECT quote_ident(x) FROM unnest(coalesce(libraries, '{}')) x) || 'scope_roles'::text, ', '))
               FROM (SELECT o.rolname, (SELECT n.libraries FROM names n WHERE n.oid = o.oid AND n.setdatabase = 0 AND n.value IS NOT NULL) AS libraries
                       FROM (SELECT DISTINCT oid, rolname FROM logins) o) f
              WHERE NOT coalesce('scope_roles' = ANY (libraries), false)
             UNION ALL
             SELECT n.rolname::text, format('database %I', d.datname),
                    'would log in to this database unchecked, were the server started without the library', NULL,
                    format('ALTER ROLE %I IN DATABASE %I RESET session_preload_libraries;', n.rolname, d.datname)
               FROM names n JOIN pg_database d ON d.oid = n.setdatabase
              WHERE n.value IS NOT NULL AND 'scope_roles' <> ALL (libraries)"
        ),
    },
    Check {
        code: "md5_password",
        severity: Severity::High,
        stops: "its users need the new password",
        sql: "
SELECT rolname::text, NULL, 'has an MD5 password: what is stored is enough to log in, and quick to guess from', NULL,
       -- psql ends a command of its own with the line: a name with a line break would leave it.
       CASE WHEN rolname !~ '[[:cntrl:]]' THEN format(E'SET password_encryption = ''scram-sha-256''; \\\\password %I', rolname) END
  FROM pg_authid WHERE rolpassword ~ '^md5[0-9a-f]{32}$'",
    },
    Check {
        code: "bypassrls",
        severity: Severity::High,
        stops: "it sees and changes only the rows that a policy gives it",
        sql: "
SELECT rolname::text, NULL, 'has BYPASSRLS: no row security policy binds it', NULL, format('ALTER ROLE %I NOBYPASSRLS;', rolname)
  FROM pg_authid WHERE rolbypassrls AND NOT rolsuper",
    },
    Check {
        code: "createrole",
        severity: Severity::High,
        stops: "it can no longer create or change roles",
        sql: "
SELECT rolname::text, NULL, 'has CREATEROLE: it can make roles, and change or join those of others (before PostgreSQL 16 all but superusers)', NULL,
       format('ALTER ROLE %I NOCREATEROLE;', rolname)
  FROM pg_authid WHERE rolcreaterole AND NOT rolsuper",
    },
    Check {
        code: "replication",
        severity: Severity::High,
        stops: "standbys and backups that log in as it stop",
        sql: "
SELECT rolname::text, NULL, 'has REPLICATION: it can copy the whole cluster', NULL, format('ALTER ROLE %I NOREPLICATION;', rolname)
  FROM pg_authid WHERE rolreplication AND NOT rolsuper",
    },
    Check {
        code: "definer_search_path",
        severity: Severity::High,
        stops: "names without a schema are found in pg_catalog and its own schema only",
        sql: "
SELECT r.rolname::text, p.oid::regprocedure::text,
       'is SECURITY DEFINER without a search_path of its own: who calls it chooses which objects it meets, and acts as its owner', NULL,
       format('ALTER ROUTINE %s SET search_path = pg_catalog, %s, pg_temp;', p.oid::regprocedure, quote_ident(n.nspname))
  FROM pg_proc p JOIN pg_authid r ON r.oid = p.proowner JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prosecdef AND p.oid >= 16384
   AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')",
    },
    Check {
        code: "definer_public",
        severity: Severity::High,
        stops: "only its owner and roles with EXECUTE of their own can call it, in triggers, defaults and policies too",
        sql: "
SELECT r.rolname::text, p.oid::regprocedure::text, 'is SECURITY DEFINER, and everyone may execute it', NULL,
       format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC;', p.oid::regprocedure)
  FROM pg_proc p JOIN pg_authid r ON r.oid = p.proowner
 WHERE p.prosecdef AND p.oid >= 16384
   -- Triggers are fired, not called.
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')",
    },
    Check {
        code: "public_create",
        severity: Severity::High,
        stops: "",
        sql: "
SELECT NULL, format('schema %I', n.nspname), 'everyone may create in it, and so put objects before those that others mean', NULL,
       format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC;', n.nspname)
  FROM pg_namespace n
 WHERE n.nspname !~ '^pg_(toast|temp)'
   AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')",
    },
    Check {
        code: "public_table",
        severity: Severity::High,
        stops: "only roles with a grant of their own can use it",
        sql: "
SELECT NULL, format('%I.%I', n.nspname, c.relname),
       'everyone may ' || string_agg(DISTINCT a.privilege_type, ', '), NULL,
       string_agg(DISTINCT format(CASE WHEN a.grantor = c.relowner THEN '%2$s' ELSE 'SET ROLE %1$I; %2$s RESET ROLE;' END, g.rolname,
              format('REVOKE ALL ON %s %I.%I FROM PUBLIC;', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname)), ' ')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_authid g ON g.oid = a.grantor
 WHERE c.oid >= 16384 AND a.grantee = 0
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 GROUP BY n.nspname, c.relname, c.relkind",
    },
    Check {
        code: "left_trigger",
        severity: Severity::High,
        stops: "the trigger no longer does its work",
        // Whoever may act as the table's owner needs no trigger to do so.
        sql: "
SELECT r.rolname::text, format('trigger %I on %I.%I', t.tgname, n.nspname, c.relname),
       'its function belongs to another role than the table: it runs as whoever writes there, the owner and superusers too', NULL,
       format('ALTER TABLE %I.%I DISABLE TRIGGER %I;', n.nspname, c.relname, t.tgname)
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_authid r ON r.oid = p.proowner
 WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND NOT pg_has_role(r.oid, c.relowner, 'MEMBER')",
    },
    Check {
        code: "default_privileges",
        severity: Severity::Medium,
        stops: "objects created from then on need a GRANT before others can use them or hand them on",
        sql: "
SELECT r.rolname::text, format('%s%s', CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                                            WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END,
                               ' in schema ' || quote_ident(n.nspname)),
       CASE WHEN a.grantee = 0 THEN 'what it creates is open to everyone: ' ELSE 'what it creates may be handed on by others: ' END
         || string_agg(DISTINCT a.privilege_type, ', '), NULL,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE %s ON %s FROM %s;', r.rolname, ' IN SCHEMA ' || quote_ident(n.nspname),
              CASE WHEN a.grantee = 0 THEN 'ALL' ELSE 'GRANT OPTION FOR ALL' END,
              CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES'
                                   WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END,
              CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(g.rolname) END)
  FROM pg_default_acl d JOIN pg_authid r ON r.oid = d.defaclrole LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
 CROSS JOIN LATERAL aclexplode(d.defaclacl) a LEFT JOIN pg_authid g ON g.oid = a.grantee
 WHERE (a.grantee = 0 AND NOT (d.defaclnamespace = 0 AND d.defaclobjtype IN ('f', 'T')))
    OR (a.is_grantable AND a.grantee NOT IN (0, d.defaclrole))
 GROUP BY r.rolname, d.defaclobjtype, n.nspname, a.grantee, g.rolname",
    },
    Check {
        code: "public_connect",
        severity: Severity::Medium,
        stops: "",
        sql: "
SELECT NULL, format('database %I', d.datname), 'every login may connect to it', NULL,
       format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC;', d.datname)
  FROM pg_database d
 WHERE d.datname = current_database()
   AND EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')",
    },
    Check {
        code: "public_temp",
        severity: Severity::Medium,
        stops: "",
        sql: "
SELECT NULL, format('database %I', d.datname), 'everyone may make temporary tables in it: they fill its disk, and hide tables from careless functions', NULL,
       format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC;', d.datname)
  FROM pg_database d
 WHERE d.datname = current_database()
   AND EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0 AND a.privilege_type = 'TEMPORARY')",
    },
    Check {
        code: "no_deadline",
        severity: Severity::Medium,
        stops: "",
        sql: "
SELECT r.rolname::text, NULL, format('logs in without a deadline; with the fix, its password is refused from %s on', (now() + interval '90 days')::date),
       (SELECT (l.label::jsonb ->> 'created_at')::timestamptz FROM pg_shseclabel l
         WHERE l.objoid = r.oid AND l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles'),
       format('ALTER ROLE %I VALID UNTIL %L;', r.rolname, (now() + interval '90 days')::date)
  FROM pg_authid r
 WHERE r.rolcanlogin AND r.oid <> 10 AND (r.rolvaliduntil IS NULL OR NOT isfinite(r.rolvaliduntil))
   -- The deadline that we know of holds: it was changed by hand.
   AND NOT EXISTS (SELECT FROM pg_shseclabel l WHERE l.objoid = r.oid AND l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles'
                      -- Its tokens have one.
                      AND (l.label::jsonb ->> 'valid_until' IS NOT NULL OR l.label::jsonb ? 'issuers'))",
    },
    Check {
        code: "token_login_outsider",
        severity: Severity::High,
        stops: "",
        sql: "
SELECT r.rolname::text, g.rolname::text,
       'is let in by lines of pg_hba.conf that ask for no password, where the library is not loaded: they are for logins by token',
       NULL, format('REVOKE %I FROM %I;', g.rolname, r.rolname)
  FROM pg_authid g JOIN pg_auth_members m ON m.roleid = g.oid JOIN pg_authid r ON r.oid = m.member
 WHERE EXISTS (SELECT FROM pg_shseclabel k WHERE k.objoid = g.oid AND k.classoid = 'pg_authid'::regclass AND k.provider = 'scope_roles_token_logins')
   AND NOT EXISTS (SELECT FROM pg_shseclabel l WHERE l.objoid = r.oid AND l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles'
                      AND l.label::jsonb ->> 'kind' IN ('credential', 'authenticator'))",
    },
    Check {
        code: "old_password",
        severity: Severity::Medium,
        stops: "its clients need the new login within the hour",
        sql: ours!(
            "SELECT rolname::text, NULL, format('has a password of %s days', extract(day FROM now() - since)), since,
                    format('SELECT * FROM scope.rotate_password(%L, ''1 hour'');', rolname)
               FROM (SELECT *, coalesce(label ->> 'rotated_at', label ->> 'created_at')::timestamptz AS since FROM o) o
              WHERE label ->> 'kind' IN ('credential', 'authenticator') AND label ->> 'state' = 'active' AND label ->> 'successor' IS NULL
                AND since < now() - make_interval(secs => $1)"
        ),
    },
    Check {
        code: "admin_option",
        severity: Severity::Medium,
        stops: "it no longer decides who is a member",
        sql: "
SELECT m.rolname::text, format('role %I', g.rolname), 'may make others members of it, and itself', NULL,
       string_agg(format('REVOKE ADMIN OPTION FOR %I FROM %I%s;', g.rolname, m.rolname, ' GRANTED BY ' || quote_ident(b.rolname)), ' ')
  FROM pg_auth_members a JOIN pg_authid m ON m.oid = a.member JOIN pg_authid g ON g.oid = a.roleid LEFT JOIN pg_authid b ON b.oid = a.grantor
 WHERE a.admin_option AND NOT m.rolsuper
 GROUP BY m.rolname, g.rolname",
    },
    Check {
        code: "expired",
        severity: Severity::Medium,
        stops: "",
        // The worker ends it within seconds, so that a minute means that something holds it up.
        sql: ours!(
            "SELECT rolname::text, NULL, format('should have ended, and is still here%s', ': ' || (label ->> 'error')) || CASE WHEN EXISTS (SELECT FROM pg_prepared_xact() p WHERE p.ownerid = o.oid)
                        THEN '; with the fix, what the prepared transaction did is lost' ELSE '' END, rolvaliduntil,
                    coalesce((SELECT string_agg(format('ROLLBACK PREPARED %L;', p.gid), ' ' ORDER BY p.gid)
                                FROM pg_prepared_xact() p WHERE p.ownerid = o.oid), 'SELECT * FROM scope.expire_roles();')
               FROM o
              WHERE label ->> 'state' IN ('active', 'ending') AND label ->> 'kind' IN ('credential', 'authenticator')
                AND rolvaliduntil < now() - interval '1 minute'"
        ),
    },
    Check {
        code: "changed_by_hand",
        severity: Severity::Medium,
        stops: "",
        sql: ours!(
            "SELECT rolname::text, NULL,
                    CASE WHEN valid_by_hand IS NULL THEN 'has lost its VALID UNTIL by hand'
                         WHEN valid_by_hand > recorded THEN format('was prolonged by hand until %s; it still ends at the recorded deadline', valid_by_hand)
                         ELSE format('was shortened by hand, from %s', recorded) END, NULL::timestamptz,
                    format('ALTER ROLE %I VALID UNTIL %L;', rolname, recorded)
               FROM (SELECT *, (label ->> 'valid_until')::timestamptz AS recorded FROM o) o
              WHERE label ->> 'state' = 'active' AND recorded IS DISTINCT FROM valid_by_hand AND recorded IS NOT NULL AND label ->> 'kind' <> 'composite'
             UNION ALL
             SELECT rolname::text, NULL, 'was kept from logging in by hand', NULL, format('ALTER ROLE %I LOGIN;', rolname)
               FROM o WHERE label ->> 'state' = 'active' AND label ->> 'kind' IN ('credential', 'authenticator') AND NOT logs_in
             UNION ALL
             SELECT rolname::text, NULL, 'was allowed to log in by hand, which is refused all the same', NULL, format('ALTER ROLE %I NOLOGIN;', rolname)
               FROM o WHERE logs_in AND (label ->> 'kind' IN ('temporary', 'composite')
                                             OR label ->> 'kind' IN ('credential', 'authenticator') AND label ->> 'state' <> 'active')"
        ),
    },
    Check {
        code: "quarantined",
        severity: Severity::Medium,
        stops: "",
        sql: ours!(concat!(
            "SELECT rolname::text, NULL, format('has ended but owns objects, and waits for a decision%s; with the fix, they belong to a role that nobody can use, and it is dropped',
                                                ': ' || (label ->> 'error')), rolvaliduntil,
                    CASE WHEN ",
            owns_here!(),
            " THEN ",
            given_away!(),
            " ELSE '-- REASSIGN OWNED, in each database in which it owns something' END
               FROM o WHERE label ->> 'state' = 'quarantined'"
        )),
    },
    Check {
        code: "failing",
        severity: Severity::Medium,
        stops: "",
        sql: ours!(
            "SELECT rolname::text, NULL, 'its end waits or fails: ' || (label ->> 'error') || CASE WHEN EXISTS (SELECT FROM pg_prepared_xact() p WHERE p.ownerid = o.oid)
                        THEN '; with the fix, what the prepared transaction did is lost' ELSE '' END, NULL,
                    coalesce((SELECT string_agg(format('ROLLBACK PREPARED %L;', p.gid), ' ' ORDER BY p.gid)
                                FROM pg_prepared_xact() p WHERE p.ownerid = o.oid), 'SELECT * FROM scope.expire_roles();')
               FROM o
              WHERE label ->> 'error' IS NOT NULL AND label ->> 'state' IN ('active', 'ending') AND label ->> 'kind' <> 'temporary'
                AND NOT coalesce(label ->> 'kind' <> 'scope' AND rolvaliduntil < now() - interval '1 minute', false)"
        ),
    },
    Check {
        code: "scope_has_more",
        severity: Severity::Medium,
        stops: "",
        sql: ours!(
            ", own AS (SELECT o.*, r.rolsuper, r.rolcanlogin, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls
                 FROM o JOIN pg_authid r USING (oid) WHERE label ->> 'kind' = 'scope' AND label ->> 'state' = 'active')
             SELECT rolname::text, NULL, format('a scope has object privileges only, but this one has %s; with the fix, its logins have no longer what it lets them do', word), NULL, format('ALTER ROLE %I NO%s;', rolname, word)
               FROM own CROSS JOIN LATERAL (VALUES ('LOGIN', rolcanlogin), ('CREATEDB', rolcreatedb), ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole),
                                                   ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) v(word, has) WHERE has
             UNION ALL
             SELECT o.rolname::text, format('role %I', g.rolname), 'a scope has object privileges only, but this one is a member of a role; with the fix, its logins lose what they have by that role', NULL,
                    string_agg(format('REVOKE %I FROM %I%s;', g.rolname, o.rolname, ' GRANTED BY ' || quote_ident(b.rolname)), ' ')
               FROM own o JOIN pg_auth_members m ON m.member = o.oid JOIN pg_authid g ON g.oid = m.roleid LEFT JOIN pg_authid b ON b.oid = m.grantor
              GROUP BY o.rolname, g.rolname
             UNION ALL
             SELECT o.rolname::text, g.shown, format('a scope hands nothing on, but this one may grant %s; with the fix, whoever has got it from the scope loses it', string_agg(DISTINCT a.privilege_type, ', ')), NULL,
                    string_agg(DISTINCT format(CASE WHEN a.grantor = g.owner THEN '%2$s' ELSE 'SET ROLE %1$I; %2$s RESET ROLE;' END, b.rolname,
                        format('REVOKE GRANT OPTION FOR ALL%s ON %s %s FROM %I CASCADE;', g.part, g.class, g.sql, o.rolname)), ' ')
               FROM (
                 SELECT c.relacl, format('%I.%I', n.nspname, c.relname), CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, '',
                        format('%I.%I', n.nspname, c.relname), c.relowner
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relacl IS NOT NULL AND c.oid >= 16384
                 UNION ALL
                 SELECT t.attacl, format('column %I of %I.%I', t.attname, n.nspname, c.relname), 'TABLE', format(' (%I)', t.attname),
                        format('%I.%I', n.nspname, c.relname), c.relowner
                   FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE t.attacl IS NOT NULL AND c.oid >= 16384
                 UNION ALL
                 SELECT p.proacl, 'function ' || p.oid::regprocedure, 'ROUTINE', '', p.oid::regprocedure::text, p.proowner
                   FROM pg_proc p WHERE p.proacl IS NOT NULL AND p.oid >= 16384
                 UNION ALL
                 SELECT n.nspacl, format('schema %I', n.nspname), 'SCHEMA', '', quote_ident(n.nspname), n.nspowner FROM pg_namespace n
                 UNION ALL
                 SELECT d.datacl, format('database %I', d.datname), 'DATABASE', '', quote_ident(d.datname), d.datdba
                   FROM pg_database d WHERE d.datname = current_database()) g(acl, shown, class, part, sql, owner)
              CROSS JOIN LATERAL aclexplode(g.acl) a JOIN own o ON o.oid = a.grantee AND o.oid <> g.owner LEFT JOIN pg_authid b ON b.oid = a.grantor
              WHERE a.is_grantable
              GROUP BY o.rolname, g.shown"
        ),
    },
    Check {
        code: "long_chain",
        severity: Severity::Low,
        stops: "",
        // A temporary membership and a composite role are roles in between that nobody sees.
        sql: "
WITH RECURSIVE up(login, role, path, length) AS (
       SELECT r.oid, r.oid, ARRAY[r.rolname], 0 FROM pg_authid r WHERE r.rolcanlogin
       UNION ALL
       SELECT u.login, g.oid, u.path || g.rolname, u.length + CASE WHEN l.label::jsonb ->> 'kind' IN ('temporary', 'composite') THEN 0 ELSE 1 END
         FROM up u JOIN pg_auth_members m ON m.member = u.role JOIN pg_authid g ON g.oid = m.roleid
         LEFT JOIN pg_shseclabel l ON l.objoid = g.oid AND l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles'
        WHERE u.length < 3)
SELECT DISTINCT ON (login) path[1]::text, NULL, 'reaches roles over more than two memberships: ' || (SELECT string_agg(quote_ident(n), ' > ' ORDER BY i) FROM unnest(path) WITH ORDINALITY p(n, i)), NULL::timestamptz,
       '-- grant the role that it needs directly, and take it out of the one in between'
  FROM up WHERE length > 2
 ORDER BY login, path",
    },
    Check {
        code: "empty_role",
        severity: Severity::Low,
        stops: "statements that name it fail",
        sql: "
SELECT r.rolname::text, NULL, 'has no members, owns nothing and holds nothing', NULL, format('DROP ROLE %I;', r.rolname)
  FROM pg_authid r
 WHERE NOT r.rolcanlogin AND NOT r.rolsuper AND r.oid >= 16384
   AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE r.oid IN (m.roleid, m.member))
   AND NOT EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid)
   AND NOT EXISTS (SELECT FROM pg_shseclabel l WHERE l.objoid = r.oid AND l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles')",
    },
    Check {
        code: "empty_scope",
        severity: Severity::Low,
        stops: "",
        sql: ours!(concat!(
            "SELECT rolname::text, NULL, 'is a scope without members; with the fix, '
                    || CASE WHEN label ->> 'on_request' = 'true' THEN 'the call that needs it makes it again'
                            ELSE 'it can be given to no login until a migration makes it again' END, (label ->> 'created_at')::timestamptz, format('SELECT scope.drop_scope(%L);', rolname)
               FROM o WHERE label ->> 'kind' = 'scope' AND label ->> 'state' = 'active' AND ",
            is_empty!("label", "o.oid")
        )),
    },
    Check {
        code: "many_addresses",
        severity: Severity::Low,
        stops: "its clients need the new login within the hour",
        sql: ours!(
            "SELECT o.rolname::text, NULL,
                    format('has been in use from %s addresses in 30 days (%s): with one credential for each service they can be told apart, and ended one by one',
                           CASE WHEN count(*) < 8 THEN '' ELSE 'at least ' END || count(*), string_agg(a.address, ', ' ORDER BY a.address)), NULL,
                    format('SELECT * FROM scope.rotate_password(%L, ''1 hour'');', o.rolname)
               FROM o JOIN (SELECT f.role, unnest(f.addresses) AS address FROM _scope.login_facts() f
                            UNION SELECT s.usesysid, CASE family(s.client_addr) WHEN 4 THEN host(s.client_addr)
                                                     ELSE network(set_masklen(s.client_addr, 64))::text END
                              FROM pg_stat_get_activity(NULL) s WHERE s.client_addr IS NOT NULL) a ON a.role = o.oid
              WHERE label ->> 'kind' = 'credential'
              GROUP BY o.rolname HAVING count(*) > 3"
        ),
    },
    Check {
        code: "issuer_for_anybody",
        severity: Severity::Medium,
        stops: "",
        sql: "
SELECT NULL, format('issuer %I', i.name), 'takes tokens that its identity provider has issued for any other application: neither audiences nor required claims say whom they are for',
       i.changed_at, '-- say whom its tokens are for, by its audiences or, where they have none, by required_claims: client_id, azp, repository_id'
  FROM _scope.jwt_issuer i
 WHERE i.keys IS NOT NULL AND i.audiences = '{}' AND i.required_claims = '{}'",
    },
];

/// What is said of a login that this server has never seen, and would not have: it has not counted
/// logins for long. Another server may have, one that was the primary until lately.
pub const NEVER_SEEN: &str = "has never logged in to this server";

/// Only where logins are remembered.
pub const UNUSED: Check = Check {
    code: "unused",
    severity: Severity::Medium,
    stops: "its logins are refused",
    sql: ours!(
        "SELECT o.rolname::text, NULL,
                CASE WHEN f.last_login IS NOT NULL THEN 'has not logged in for long'
                     WHEN EXISTS (SELECT FROM _scope.login_facts() n
                                   WHERE n.role IS NULL AND n.logins = 0 AND n.since < now() - make_interval(secs => $2))
                     THEN 'has never logged in, for as long as this server has counted logins' ELSE 'has never logged in to this server' END,
                greatest(f.last_login, (label ->> 'created_at')::timestamptz), format('SELECT scope.revoke_role(%L, ''unused'');', o.rolname)
           FROM o LEFT JOIN _scope.login_facts() f ON f.role = o.oid
          WHERE label ->> 'kind' IN ('credential', 'authenticator') AND label ->> 'state' = 'active'
            AND greatest(f.last_login, (label ->> 'created_at')::timestamptz) < now() - make_interval(secs => $2)
            AND NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL) a WHERE a.usesysid = o.oid)"
    ),
};

/// Codes that are no query: they compare a scope with what it declares, a role with what was attested.
pub const SCOPE_WIDENED: &str = "scope_widened";
pub const LOGIN_WIDENED: &str = "login_widened";
pub const AUTHENTICATOR_WIDENED: &str = "authenticator_widened";
pub const SCOPE_NARROWED: &str = "scope_narrowed";
pub const SCOPE_UNDECLARED: &str = "scope_undeclared";
pub const ATTESTATION_OVERDUE: &str = "attestation_overdue";
pub const ATTESTATION_CHANGED: &str = "attestation_changed";

pub fn codes() -> impl Iterator<Item = &'static str> {
    let queries = CHECKS.iter().chain(super::issuers::CHECKS);
    let queries = queries.chain(super::requests::CHECKS);
    let codes = queries
        .map(|check| check.code)
        .chain(super::requests::CODES);
    codes.chain([
        super::plants_code::CHECK.code,
        UNUSED.code,
        SCOPE_WIDENED,
        LOGIN_WIDENED,
        AUTHENTICATOR_WIDENED,
        SCOPE_NARROWED,
        SCOPE_UNDECLARED,
        ATTESTATION_OVERDUE,
        NOT_PRELOADED,
        ATTESTATION_CHANGED,
    ])
}
