CREATE FUNCTION scope.is_preloaded() RETURNS boolean
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'is_preloaded_wrapper';
COMMENT ON FUNCTION scope.is_preloaded() IS
'Whether the server has loaded the library by shared_preload_libraries. Without it nothing locks a role, checks a login of guard_login() or ends anything, and managed logins are refused. Errors: none.';

-- STABLE, which pg_control_system() is not declared: a query would not take in what reads that.
CREATE FUNCTION _scope.system_identifier() RETURNS int8
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT system_identifier FROM pg_catalog.pg_control_system());
COMMENT ON FUNCTION _scope.system_identifier() IS
'What tells this cluster from others. Errors: none.';

-- The database in which a role was made, as its label has it: by number as long as that is there, by name in another cluster. label::is_home() is
-- the same where no SQL can run. It becomes a part of the query that calls it, and costs no call.
CREATE FUNCTION _scope.home(label jsonb, role oid) RETURNS TABLE (database name)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
  SELECT COALESCE((SELECT d.datname FROM pg_catalog.pg_database d
                    WHERE d.oid OPERATOR(pg_catalog.=) (label OPERATOR(pg_catalog.->>) 'database_oid')::pg_catalog.oid
                      AND (label OPERATOR(pg_catalog.->>) 'oid')::pg_catalog.oid OPERATOR(pg_catalog.=) role
                      AND (label OPERATOR(pg_catalog.->>) 'system')::pg_catalog.int8 OPERATOR(pg_catalog.=) (SELECT _scope.system_identifier())),
                  (label OPERATOR(pg_catalog.->>) 'database')::pg_catalog.name);
END;
COMMENT ON FUNCTION _scope.home(jsonb, oid) IS
'The database that a role belongs to, by its label. Errors: none.';

-- The role that made another, as authority::creator_of() finds it, and what it is called now, or was when it was there.
CREATE FUNCTION _scope.creator(label jsonb, role oid) RETURNS TABLE (creator oid, name name)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
  SELECT o.oid, COALESCE(o.rolname, (label OPERATOR(pg_catalog.->>) 'creator')::pg_catalog.name)
    FROM (SELECT) one
    LEFT JOIN pg_catalog.pg_roles o
      ON o.oid OPERATOR(pg_catalog.=) (label OPERATOR(pg_catalog.->>) 'creator_oid')::pg_catalog.oid
         AND (o.rolname OPERATOR(pg_catalog.=) (label OPERATOR(pg_catalog.->>) 'creator')::pg_catalog.name
              OR (label OPERATOR(pg_catalog.->>) 'oid')::pg_catalog.oid OPERATOR(pg_catalog.=) role
                 AND (label OPERATOR(pg_catalog.->>) 'system')::pg_catalog.int8 OPERATOR(pg_catalog.=) (SELECT _scope.system_identifier()));
END;
COMMENT ON FUNCTION _scope.creator(jsonb, oid) IS
'The role that made another, by its label; creator NULL: it is gone. Errors: none.';

-- Who may see a row: members of pg_monitor all of them, others those of roles that they, or a role whose privileges they have, made: over
-- which they have authority. A barrier, or a cheap function in a WHERE would see the other rows.

CREATE VIEW scope.roles WITH (security_barrier) AS
SELECT r.rolname AS role,
       m.label ->> 'kind' AS kind,
       CASE WHEN m.label ->> 'state' OPERATOR(pg_catalog.=) 'active'
                 AND m.label ->> 'kind' OPERATOR(pg_catalog.<>) 'scope'
                 AND NOT (SELECT scope.is_preloaded())
            THEN 'unchecked' ELSE m.label ->> 'state' END AS state,
       CASE WHEN pg_catalog.isfinite(d.valid_until)
            THEN d.valid_until OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp() END AS time_left,
       d.valid_until,
       CASE WHEN m.label ->> 'state' OPERATOR(pg_catalog.<>) 'active'
                 OR (m.label ->> 'kind' OPERATOR(pg_catalog.<>) 'scope'
                     AND d.valid_until OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())
            THEN NULLIF(pg_catalog.concat_ws('; ',
                   CASE WHEN pg_catalog.current_setting('scope_roles.expiry', true) OPERATOR(pg_catalog.=) 'off'
                        THEN 'its end is suspended: scope_roles.expiry is off'
                        WHEN pg_catalog.pg_is_in_recovery() THEN 'the primary server ends it'
                        ELSE (SELECT a.query
                                FROM pg_catalog.pg_stat_activity a
                               WHERE a.backend_type OPERATOR(pg_catalog.=) 'scope_roles launcher'
                                 AND pg_catalog.starts_with(a.query, 'waiting ')) END,
                   m.label ->> 'error'), '')
            WHEN m.label ->> 'kind' OPERATOR(pg_catalog.<>) 'scope' AND NOT (SELECT scope.is_preloaded())
            THEN pg_catalog.concat_ws('; ', 'the server runs without the library: nothing checks or ends it',
                   m.label ->> 'error')
            ELSE m.label ->> 'error' END AS last_error,
       ARRAY(SELECT s.rolname
               FROM pg_catalog.pg_auth_members a
               JOIN pg_catalog.pg_roles s ON s.oid OPERATOR(pg_catalog.=) a.roleid
              WHERE a.member OPERATOR(pg_catalog.=) r.oid
              ORDER BY s.rolname) AS scopes,
       m.label ->> 'purpose' AS purpose,
       made.name AS created_by,
       (m.label ->> 'created_at')::pg_catalog.timestamptz AS created_at,
       home.database
  FROM pg_catalog.pg_roles r
  JOIN (SELECT objoid, label::pg_catalog.jsonb AS label
          FROM pg_catalog.pg_shseclabel
         WHERE provider OPERATOR(pg_catalog.=) 'scope_roles'
           AND classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass) m
    ON m.objoid OPERATOR(pg_catalog.=) r.oid
 CROSS JOIN LATERAL _scope.creator(m.label, r.oid) made
 CROSS JOIN LATERAL _scope.home(m.label, r.oid) home
 CROSS JOIN LATERAL (SELECT LEAST(r.rolvaliduntil, (m.label ->> 'valid_until')::pg_catalog.timestamptz) AS valid_until) d
 WHERE m.label ->> 'kind' OPERATOR(pg_catalog.<>) 'guarded' AND
       ((SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
        OR pg_catalog.pg_has_role(made.creator, 'USAGE'));
COMMENT ON VIEW scope.roles IS
'All managed roles of the server: kind (scope, credential, authenticator, temporary, composite), state (active, ending, quarantined; unchecked instead of active while the server runs without the library), the scopes they are members of, who made them, when they end, and why one that should be gone is still here.';

CREATE VIEW scope.credentials WITH (security_barrier) AS
  WITH facts AS MATERIALIZED (SELECT * FROM _scope.login_facts())
SELECT r.rolname AS role,
       m.label ->> 'kind' AS kind,
       e.state,
       CASE WHEN pg_catalog.isfinite(u.valid_until)
            THEN u.valid_until OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp() END AS time_left,
       u.valid_until,
       ARRAY(SELECT s.rolname
               FROM pg_catalog.pg_auth_members a
               JOIN pg_catalog.pg_authid s ON s.oid OPERATOR(pg_catalog.=) a.roleid
              WHERE a.member OPERATOR(pg_catalog.=) r.oid
                -- A login by token is in its group, too, and in composite roles.
                AND (m.label -> 'issuers' IS NULL OR m.label -> 'roles' OPERATOR(pg_catalog.?) s.rolname::text)
              ORDER BY s.rolname) AS scopes,
       COALESCE(c.sessions, 0) AS sessions,
       f.last_login,
       e.last_error,
       m.label ->> 'purpose' AS purpose,
       made.name AS created_by,
       (SELECT t.rolname FROM pg_catalog.pg_authid t
         WHERE t.oid OPERATOR(pg_catalog.=) (m.label -> 'temporary' ->> 'to')::pg_catalog.oid) AS granted_to,
       CASE WHEN f.role IS NOT NULL THEN f.logins
            -- No entry: it may have found no room, so it is not known that it never logged in.
            WHEN n.last_login OPERATOR(pg_catalog.<) (m.label ->> 'created_at')::pg_catalog.timestamptz
                 OR n.logins OPERATOR(pg_catalog.=) 0 THEN 0 END AS logins,
       f.last_address,
       f.addresses,
       f.last_refusal,
       f.last_refusal_reason,
       COALESCE(m.label ->> 'rotated_at', m.label ->> 'created_at')::pg_catalog.timestamptz AS rotated_at,
       (m.label ->> 'successor')::pg_catalog.name AS replaced_by,
       m.label ->> 'reason' AS reason,
       NULLIF(ARRAY(SELECT h.what
                      FROM (VALUES (1, 'VALID UNTIL', (m.label ->> 'valid_until')::pg_catalog.timestamptz IS DISTINCT FROM r.rolvaliduntil
                                                      AND m.label ->> 'valid_until' IS NOT NULL),
                                   (2, 'NOLOGIN', m.label ->> 'state' OPERATOR(pg_catalog.=) 'active' AND NOT r.rolcanlogin
                                                  AND m.label ->> 'kind' OPERATOR(pg_catalog.<>) 'temporary'),
                                   (3, 'LOGIN', r.rolcanlogin AND (m.label ->> 'state' OPERATOR(pg_catalog.<>) 'active'
                                                                   OR m.label ->> 'kind' OPERATOR(pg_catalog.=) 'temporary'))) h(place, what, is_so)
                     WHERE h.is_so ORDER BY h.place), '{}') AS changed_by_hand,
       ARRAY(SELECT d.datname
               FROM pg_catalog.pg_database d
               JOIN pg_catalog.jsonb_array_elements_text(m.label -> 'waits_for') w
                 ON d.oid OPERATOR(pg_catalog.=) w::pg_catalog.oid
              ORDER BY d.datname) AS waiting_for,
       CASE WHEN (m.label -> 'login' -> 'ips') IS NOT NULL
            THEN ARRAY(SELECT i::pg_catalog.cidr
                         FROM pg_catalog.jsonb_array_elements_text(m.label -> 'login' -> 'ips') i) END AS allowed_ips,
       COALESCE((m.label -> 'login' ->> 'local')::pg_catalog.bool, (m.label -> 'login' -> 'ips') IS NULL) AS allow_local,
       COALESCE((m.label -> 'login' ->> 'tls')::pg_catalog.bool, false) AS require_tls,
       CASE WHEN (m.label -> 'login' -> 'hours') IS NOT NULL
            THEN ARRAY(SELECT h FROM pg_catalog.jsonb_array_elements_text(m.label -> 'login' -> 'hours') h) END AS allowed_hours,
       m.label -> 'login' ->> 'zone' AS time_zone,
       CASE WHEN r.rolconnlimit OPERATOR(pg_catalog.>=) 0 THEN r.rolconnlimit END AS connection_limit,
       -- Every login has this one, and where the library is preloaded it has no effect.
       (SELECT NULLIF(pg_catalog.array_remove(g.setconfig, 'session_preload_libraries=scope_roles'), '{}')
          FROM pg_catalog.pg_db_role_setting g
         WHERE g.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid
           AND g.setrole OPERATOR(pg_catalog.=) r.oid) AS settings,
       (m.label ->> 'created_at')::pg_catalog.timestamptz AS created_at,
       home.database,
       m.label -> 'token' ->> 'iss' AS token_issuer,
       m.label -> 'token' ->> 'sub' AS token_subject,
       m.label -> 'token' ->> 'jti' AS token_id,
       CASE WHEN (m.label -> 'issuers') IS NOT NULL
            THEN ARRAY(SELECT i FROM pg_catalog.jsonb_array_elements_text(m.label -> 'issuers') i) END AS issuers,
       (m.label ->> 'subject_limit')::pg_catalog.int4 AS subject_limit
  FROM pg_catalog.pg_authid r
  JOIN (SELECT objoid, label::pg_catalog.jsonb AS label
          FROM pg_catalog.pg_shseclabel
         WHERE provider OPERATOR(pg_catalog.=) 'scope_roles'
           AND classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass) m
    ON m.objoid OPERATOR(pg_catalog.=) r.oid
 CROSS JOIN LATERAL _scope.creator(m.label, r.oid) made
 CROSS JOIN LATERAL _scope.home(m.label, r.oid) home
 CROSS JOIN LATERAL (SELECT LEAST(r.rolvaliduntil, (m.label ->> 'valid_until')::pg_catalog.timestamptz) AS valid_until) u
  LEFT JOIN (SELECT usesysid, pg_catalog.count(*) AS sessions
               FROM pg_catalog.pg_stat_get_activity(NULL)
              GROUP BY usesysid) c
    ON c.usesysid OPERATOR(pg_catalog.=) r.oid
  -- By name for each: the planner takes the labels for one row until somebody has run ANALYZE, and would read all roles for each.
  LEFT JOIN LATERAL (SELECT * FROM scope.roles a WHERE a.role OPERATOR(pg_catalog.=) r.rolname OFFSET 0) e ON true
  LEFT JOIN facts f ON f.role OPERATOR(pg_catalog.=) r.oid
  LEFT JOIN facts n ON n.role IS NULL
 WHERE m.label ->> 'kind' OPERATOR(pg_catalog.<>) ALL ('{scope,composite,guarded}') AND
       ((SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
        OR pg_catalog.pg_has_role(made.creator, 'USAGE'));
COMMENT ON VIEW scope.credentials IS
'What a DBA asks of each credential, authenticator and temporary membership: what it may use, from where, since when, until when, how many sessions it has now, what has taken its place, why it was revoked, and what one that should be gone is waiting for (last_error: as in scope.roles; waiting_for: databases with grants still to be revoked).
granted_to: the login of a temporary membership. settings: what its sessions start with. rotated_at: the age of its password. connection_limit: NULL for none. logins, last_login, last_address, last_refusal, last_refusal_reason, addresses: of this server, see _scope.login_facts(); logins NULL: not known.
valid_until: the earlier of the recorded deadline and VALID UNTIL, which is the one that holds. changed_by_hand: what ALTER ROLE has changed past the extension (VALID UNTIL, NOLOGIN, LOGIN); scope.review() proposes how to undo it.';

CREATE VIEW scope.guarded_logins WITH (security_barrier) AS
  WITH facts AS MATERIALIZED (SELECT * FROM _scope.login_facts())
SELECT r.rolname AS role,
       NOT r.rolsuper AS in_force,
       f.last_login,
       CASE WHEN f.role IS NOT NULL THEN f.logins
            -- No entry: it may have found no room, so it is not known that it never logged in.
            WHEN n.last_login OPERATOR(pg_catalog.<) (m.label ->> 'created_at')::pg_catalog.timestamptz
                 OR n.logins OPERATOR(pg_catalog.=) 0 THEN 0 END AS logins,
       f.last_address,
       f.addresses,
       f.last_refusal,
       f.last_refusal_reason,
       CASE WHEN (m.label -> 'login' -> 'ips') IS NOT NULL
            THEN ARRAY(SELECT i::pg_catalog.cidr
                         FROM pg_catalog.jsonb_array_elements_text(m.label -> 'login' -> 'ips') i) END AS allowed_ips,
       COALESCE((m.label -> 'login' ->> 'local')::pg_catalog.bool, (m.label -> 'login' -> 'ips') IS NULL) AS allow_local,
       COALESCE((m.label -> 'login' ->> 'tls')::pg_catalog.bool, false) AS require_tls,
       CASE WHEN (m.label -> 'login' -> 'hours') IS NOT NULL
            THEN ARRAY(SELECT h FROM pg_catalog.jsonb_array_elements_text(m.label -> 'login' -> 'hours') h) END AS allowed_hours,
       m.label -> 'login' ->> 'zone' AS time_zone,
       made.name AS guarded_by,
       (m.label ->> 'created_at')::pg_catalog.timestamptz AS guarded_at
  FROM pg_catalog.pg_roles r
  JOIN (SELECT objoid, label::pg_catalog.jsonb AS label
          FROM pg_catalog.pg_shseclabel
         WHERE provider OPERATOR(pg_catalog.=) 'scope_roles'
           AND classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass) m
    ON m.objoid OPERATOR(pg_catalog.=) r.oid
 CROSS JOIN LATERAL _scope.creator(m.label, r.oid) made
  LEFT JOIN facts f ON f.role OPERATOR(pg_catalog.=) r.oid
  LEFT JOIN facts n ON n.role IS NULL
 WHERE m.label ->> 'kind' OPERATOR(pg_catalog.=) 'guarded' AND
       ((SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
        OR pg_catalog.pg_has_role(made.creator, 'USAGE'));
COMMENT ON VIEW scope.guarded_logins IS
'The logins that are not managed but checked by rules of scope.guard_login(): the rules, who has set them last, when it was first guarded. in_force: false for one that has become a superuser. The facts are those of scope.credentials, since it was guarded.';

CREATE VIEW scope.scopes WITH (security_barrier) AS
SELECT r.rolname AS scope,
       m.label ->> 'state' AS state,
       (SELECT pg_catalog.count(DISTINCT a.member)::pg_catalog.int4 FROM pg_catalog.pg_auth_members a
         WHERE a.roleid OPERATOR(pg_catalog.=) r.oid) AS members,
       -- What it holds in other databases cannot be seen from here.
       CASE WHEN pg_catalog.current_database() OPERATOR(pg_catalog.=) ANY (p.databases)
                 OR m.label -> 'parts' -> 'more' IS NOT NULL THEN ARRAY(
           SELECT CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.>) 10
                       THEN pg_catalog.format('%s on %s %ss in %s', h.privileges, pg_catalog.count(*), h.type, h.schema)
                       ELSE pg_catalog.format('%s on %s %s', h.privileges, h.type,
                                              pg_catalog.string_agg(h.identity, ', ' ORDER BY h.identity)) END
             FROM (SELECT i.type, i.schema, i.identity,
                          pg_catalog.string_agg(DISTINCT a.privilege_type OPERATOR(pg_catalog.||)
                              CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END, ', ') AS privileges
                     FROM (SELECT DISTINCT d.classid, d.objid, d.objsubid
                             FROM pg_catalog.pg_shdepend d
                            WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
                              AND d.refobjid OPERATOR(pg_catalog.=) r.oid
                              AND d.deptype OPERATOR(pg_catalog.=) 'a'
                              AND (d.dbid OPERATOR(pg_catalog.=) 0 OR d.dbid OPERATOR(pg_catalog.=) (
                                   SELECT b.oid FROM pg_catalog.pg_database b
                                    WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))) d
                    CROSS JOIN LATERAL (
                          SELECT c.relacl FROM pg_catalog.pg_class c
                           WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                             AND d.objsubid OPERATOR(pg_catalog.=) 0 AND c.oid OPERATOR(pg_catalog.=) d.objid
                          UNION ALL
                          SELECT t.attacl FROM pg_catalog.pg_attribute t
                           WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                             AND t.attrelid OPERATOR(pg_catalog.=) d.objid AND t.attnum OPERATOR(pg_catalog.=) d.objsubid
                             AND d.objsubid OPERATOR(pg_catalog.>) 0
                          UNION ALL
                          SELECT p.proacl FROM pg_catalog.pg_proc p
                           WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                             AND p.oid OPERATOR(pg_catalog.=) d.objid
                          UNION ALL
                          SELECT n.nspacl FROM pg_catalog.pg_namespace n
                           WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
                             AND n.oid OPERATOR(pg_catalog.=) d.objid
                          UNION ALL
                          SELECT b.datacl FROM pg_catalog.pg_database b
                           WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_database'::pg_catalog.regclass
                             AND b.oid OPERATOR(pg_catalog.=) d.objid
                          UNION ALL
                          SELECT f.defaclacl FROM pg_catalog.pg_default_acl f
                           WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_default_acl'::pg_catalog.regclass
                             AND f.oid OPERATOR(pg_catalog.=) d.objid) o(acl)
                    CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) a
                    CROSS JOIN LATERAL (
                          SELECT CASE i.type WHEN 'default acl' THEN 'what is created' ELSE i.type END AS type,
                                 i.schema, i.identity
                            FROM pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i) i
                    WHERE a.grantee OPERATOR(pg_catalog.=) r.oid
                    GROUP BY i.type, i.schema, i.identity) h
            GROUP BY h.type, h.schema, h.privileges
            ORDER BY h.type, h.schema, h.privileges) END AS privileges,
       m.label ->> 'error' AS last_error,
       m.label ->> 'purpose' AS purpose,
       made.name AS created_by,
       (m.label ->> 'created_at')::pg_catalog.timestamptz AS created_at,
       home.database,
       p.databases
  FROM pg_catalog.pg_roles r
  JOIN (SELECT objoid, label::pg_catalog.jsonb AS label
          FROM pg_catalog.pg_shseclabel
         WHERE provider OPERATOR(pg_catalog.=) 'scope_roles'
           AND classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass) m
    ON m.objoid OPERATOR(pg_catalog.=) r.oid
 CROSS JOIN LATERAL _scope.creator(m.label, r.oid) made
 CROSS JOIN LATERAL _scope.home(m.label, r.oid) home
 CROSS JOIN LATERAL (
       SELECT COALESCE(NULLIF(ARRAY(
                SELECT h.datname
                  FROM pg_catalog.pg_database h
                 WHERE (COALESCE(m.label -> 'parts' -> 'read', '[]') OPERATOR(pg_catalog.||) COALESCE(m.label -> 'parts' -> 'write', '[]')
                        OPERATOR(pg_catalog.||) COALESCE(m.label -> 'parts' -> 'create', '[]'))
                       OPERATOR(pg_catalog.@>) pg_catalog.to_jsonb(h.oid::pg_catalog.int8)
                   AND (m.label ->> 'oid')::pg_catalog.oid OPERATOR(pg_catalog.=) r.oid
                   AND (m.label ->> 'system')::pg_catalog.int8 OPERATOR(pg_catalog.=)
                       (SELECT system_identifier FROM pg_catalog.pg_control_system())
                 ORDER BY h.datname), '{}'),
              ARRAY[(m.label ->> 'database')::pg_catalog.name]) AS databases) p
 WHERE m.label ->> 'kind' OPERATOR(pg_catalog.=) 'scope' AND
       ((SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
        OR pg_catalog.pg_has_role(made.creator, 'USAGE'));
COMMENT ON VIEW scope.scopes IS
'All scopes of the server: state (active, ending), the database that they were made in, all that have a part of them (databases), who made them, what they hold in this database if it has a part, how many members they have, and why one that should be gone is still here.';

CREATE VIEW scope.scope_declarations WITH (security_barrier) AS
SELECT r.rolname AS scope, d.class, d.object, NULLIF(d.part, '') AS part,
       pg_catalog.array_agg(d.privilege ORDER BY d.privilege) AS privileges, d.stance, pg_catalog.min(d.declared_at) AS declared_at
  FROM _scope.scope_declaration d
  JOIN pg_catalog.pg_roles r
    ON r.rolname OPERATOR(pg_catalog.=) d.scope
 -- Calls that are known, for when they are made again.
 WHERE d.class OPERATOR(pg_catalog.<>) 'request' AND
       ((SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
       OR EXISTS (SELECT FROM scope.scopes s WHERE s.scope OPERATOR(pg_catalog.=) r.rolname))
 GROUP BY r.rolname, d.class, d.object, d.part, d.stance;
COMMENT ON VIEW scope.scope_declarations IS
'What the scopes of this database were given by create_scope(), alter_scope(), restrict_function(), apply() and the functions that create roles; scope.review() tells where they hold something else.
class: table, column, sequence, function, schema, database, future tables, future sequences, future functions. part: the column; of the future, the role that creates. stance: required; spare: the scope works without; withheld: taken away from it, while future objects of the schema are declared. What has been dropped stays listed until the scope is next changed.';

-- WITH: nothing can be written through it, nor its rows be locked, which its owner's rights would allow past row security.
CREATE VIEW scope.jwt_issuers AS
  WITH issuers AS NOT MATERIALIZED (
       SELECT i.name, i.issuer, i.audiences, i.algorithms, i.role_claim, i.allowed_roles, i.anon_role, i.leeway, i.require_exp, i.max_age,
              i.token_types, i.required_claims, i.role_map, i.bound, i.single_use,
              i.changed_at, i.keys_url, i.discover, i.ca_file, i.bearer_token_file, i.keys_stale_for,
              -- A secret is in no dump.
              CASE WHEN k.has THEN i.key_count ELSE 0 END AS key_count, CASE WHEN k.has THEN i.kids ELSE '{}' END AS kids,
              f.fetched_at, f.keys_changed_at, f.fresh_until, f.stale_until, f.next_fetch, f.attempted_at, f.failing_since, f.last_error
         FROM _scope.jwt_issuer i
         LEFT JOIN _scope.jwt_issuer_fetch f ON f.name OPERATOR(pg_catalog.=) i.name
        CROSS JOIN LATERAL (SELECT i.keys IS NOT NULL OR EXISTS (SELECT FROM _scope.jwt_issuer_secret s WHERE s.name OPERATOR(pg_catalog.=) i.name) AS has) k)
SELECT * FROM issuers;
COMMENT ON VIEW scope.jwt_issuers IS 'The registered issuers of this database, without their keys; of keys that are fetched, when they were and until when they hold.';
