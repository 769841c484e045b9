CREATE VIEW scope.roles AS
SELECT r.rolname AS role,
       m.label ->> 'kind' AS kind,
       m.label ->> 'state' AS state,
       ARRAY(SELECT s.rolname
               FROM pg_catalog.pg_auth_members a
               JOIN pg_catalog.pg_roles s ON s.oid OPERATOR(pg_catalog.=) a.roleid
              WHERE a.member OPERATOR(pg_catalog.=) r.oid
              ORDER BY s.rolname) AS scopes,
       (m.label ->> 'database')::pg_catalog.name AS database,
       (m.label ->> 'creator')::pg_catalog.name AS created_by,
       (m.label ->> 'created_at')::pg_catalog.timestamptz AS created_at,
       r.rolvaliduntil AS valid_until,
       CASE WHEN pg_catalog.isfinite(r.rolvaliduntil)
            THEN r.rolvaliduntil OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp() END AS time_left,
       CASE WHEN m.label ->> 'state' OPERATOR(pg_catalog.<>) 'active'
                 OR (m.label ->> 'kind' OPERATOR(pg_catalog.<>) 'scope'
                     AND r.rolvaliduntil OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())
            THEN NULLIF(pg_catalog.concat_ws('; ',
                   CASE WHEN pg_catalog.current_setting('scope_roles.expiry', true) OPERATOR(pg_catalog.=) 'off'
                        THEN 'its end is suspended: scope_roles.expiry is off'
                        WHEN pg_catalog.pg_is_in_recovery() THEN 'the primary server ends it'
                        ELSE (SELECT a.query
                                FROM pg_catalog.pg_stat_activity a
                               WHERE a.backend_type OPERATOR(pg_catalog.=) 'scope_roles launcher'
                                 AND pg_catalog.starts_with(a.query, 'waiting ')) END,
                   m.label ->> 'error'), '')
            ELSE m.label ->> 'error' END AS last_error,
       m.label ->> 'purpose' AS purpose
  FROM pg_catalog.pg_roles r
  JOIN (SELECT objoid, label::pg_catalog.jsonb AS label
          FROM pg_catalog.pg_shseclabel
         WHERE provider OPERATOR(pg_catalog.=) 'scope_roles'
           AND classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass) m
    ON m.objoid OPERATOR(pg_catalog.=) r.oid;
COMMENT ON VIEW scope.roles IS
'All managed roles of the server: kind (scope, credential, authenticator), state (active, ending, quarantined), the scopes they are members of, who made them, when they end, and why one that should be gone is still here.';

CREATE VIEW scope.jwt_issuers AS
SELECT name, issuer, audiences, algorithms, role_claim, allowed_roles, anon_role, leeway, require_exp, max_age, changed_at
  FROM scope.jwt_issuer;
COMMENT ON VIEW scope.jwt_issuers IS 'The registered issuers of this database, without their keys.';
