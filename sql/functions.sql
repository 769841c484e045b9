-- The functions, as users see them. Who may call what is in privileges.sql.

CREATE FUNCTION scope.create_readonly_role(
    "table" regclass,
    role_name text DEFAULT NULL,
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL
) RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_readonly_role_wrapper';
COMMENT ON FUNCTION scope.create_readonly_role(regclass, text, interval, text) IS
'Issues a login that can read one table, partitioned table, view, materialized view or foreign table, and nothing else, until its deadline. The password and the URI are shown this once.
role_name: [a-z_][a-z0-9_]*, at most 63 bytes; NULL: one is made. valid_for: positive, at most scope_roles.max_ttl; NULL: scope_roles.default_ttl. purpose: at most 200 bytes, shown in scope.roles.
The caller must own the table or hold SELECT on it WITH GRANT OPTION; likewise USAGE on its schema and CONNECT on the database unless everyone has them.
Errors: 42P01 no such table; 42809 not a table or view; 42501 may not be granted; 42710 the name exists; 42602, 42622, 42939 bad, too long, reserved name; 22023 bad valid_for or purpose; 22004 NULL table; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.set_jwt_role(token text, claim text DEFAULT NULL)
RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_jwt_role_wrapper';
COMMENT ON FUNCTION scope.set_jwt_role(text, text) IS
'Verifies a JSON Web Token (RFC 7519, RFC 8725), switches to the role that a claim names, and locks it until the transaction ends. Returns the role. The claims are in request.jwt.claims.
claim: a claim''s name, a path (.realm_access.roles[0]) or RFC 9535 JSONPath ($...); NULL: scope_roles.jwt_role_claim.
The role must be one that the session user may SET ROLE to, and not a superuser, not pg_*, without BYPASSRLS, CREATEROLE, REPLICATION and access to the server''s files and programs.
Errors: 28000 the token is refused (DETAIL begins with the reason); 42501 the role may not be taken, or this transaction is already switched; 22023 bad claim path; 55000 not preloaded, or no usable scope_roles.jwt_secret. Warning 25P01 outside a transaction block.';

CREATE FUNCTION scope.expire_roles()
RETURNS TABLE (role_name name, action text, sessions_terminated integer, detail text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'expire_roles_wrapper';
COMMENT ON FUNCTION scope.expire_roles() IS
'Ends every credential whose deadline has passed, as the background worker does by itself: terminates its sessions, revokes its grants in this database, drops it. One row per credential.
action: dropped; ending (detail says what it waits for: the worker goes on); quarantined (it owns objects, which are never dropped: reassign them, and it goes).
Errors: 25006 read-only; 55000 not preloaded.';
