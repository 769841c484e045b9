-- Guards of roles are kept in labels (provider scope_roles_guard); functions that may write by name, in a table.

CREATE FUNCTION scope.set_guard(
    role name,
    max_rows bigint DEFAULT NULL,
    window_rows bigint DEFAULT NULL,
    "window" interval DEFAULT NULL,
    forbid text[] DEFAULT '{}',
    action text DEFAULT 'block'
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_guard_wrapper';
COMMENT ON FUNCTION scope.set_guard(name, bigint, bigint, interval, text[], text) IS
'Guards a scope (for all who have its rights), a credential, an authenticator, or any role that is switched to. It replaces the guard with the same action; without limits and classes it takes it away. It holds from the commit on, in sessions that are open too.
max_rows: rows that one statement may return to the client, over all fetches. window_rows: rows in a window, in all sessions of a login or switched role together. window: 1 second to 366 days. forbid: ddl, copy_program, copy_to, listen, lock, do, temp, large_objects, set. action: block refuses (42501, for rows 54000) and reports; alert reports only: a line in the server log, and NOTIFY scope_alert with the next commit. A role can have one guard of each action.
Callers: the role''s creator, and for roles that others made those with ADMIN OPTION; a guard that a superuser has set is changed by superusers only. Nobody guards their own role.
Errors: 42704 no such role; 42501 not yours; 22023 bad class, action, number or window, or a superuser; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE VIEW scope.guards AS
SELECT r.rolname AS role,
       a.action,
       (m.label -> a.action ->> 'max_rows')::pg_catalog.numeric AS max_rows,
       (m.label -> a.action -> 'window' ->> 'rows')::pg_catalog.numeric AS window_rows,
       pg_catalog.make_interval(secs => (m.label -> a.action -> 'window' ->> 'seconds')::pg_catalog.float8) AS "window",
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(m.label -> a.action -> 'forbid')) AS forbid,
       COALESCE((m.label -> a.action ->> 'dba')::pg_catalog.bool, false) AS by_superuser
  FROM pg_catalog.pg_roles r
  JOIN (SELECT objoid, label::pg_catalog.jsonb AS label
          FROM pg_catalog.pg_shseclabel
         WHERE provider OPERATOR(pg_catalog.=) 'scope_roles_guard'
           AND classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass) m
    ON m.objoid OPERATOR(pg_catalog.=) r.oid
 CROSS JOIN (VALUES ('alert'), ('block')) a(action)
 WHERE m.label -> a.action IS NOT NULL;
COMMENT ON VIEW scope.guards IS
'The guards of all roles of the server, one row for each action; by_superuser: superusers alone change it. See scope.set_guard().';

CREATE TABLE scope.writing_function (
    function text PRIMARY KEY,
    allowed_by text NOT NULL,
    allowed_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE scope.writing_function IS
'Functions in which roles that only read may change data, by name and argument types; see scope.allow_writes().';
SELECT pg_catalog.pg_extension_config_dump('scope.writing_function', '');
ALTER TABLE scope.writing_function
    ALTER function SET STATISTICS 0, ALTER allowed_by SET STATISTICS 0, ALTER allowed_at SET STATISTICS 0;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON scope.writing_function
    FOR EACH STATEMENT EXECUTE FUNCTION _scope.jwt_tables_changed();
ALTER TABLE scope.writing_function ENABLE ALWAYS TRIGGER changed;

CREATE FUNCTION scope.allow_writes(f regprocedure, allowed boolean DEFAULT true)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'allow_writes_wrapper';
COMMENT ON FUNCTION scope.allow_writes(regprocedure, boolean) IS
'Lets a function or procedure change data when a role that only reads calls it: one whose scopes hold nothing but SELECT and USAGE. Without this its data changes are refused even inside functions that run as their owner. Whatever the function calls may write too. allowed: false takes it back.
Errors: 42883 no such function; 22004 NULL; 25006 read-only; 55000 not preloaded.';
