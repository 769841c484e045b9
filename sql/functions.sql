-- The functions, as users see them. Who may call what is in privileges.sql.

CREATE FUNCTION scope.create_readonly_role(
    "table" regclass DEFAULT NULL,
    role_name text DEFAULT NULL,
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL,
    tables regclass[] DEFAULT NULL,
    schemas regnamespace[] DEFAULT NULL,
    future_tables boolean DEFAULT false,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    connection_limit integer DEFAULT NULL,
    statement_timeout interval DEFAULT NULL,
    idle_in_transaction_session_timeout interval DEFAULT NULL,
    search_path text[] DEFAULT NULL
) RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_readonly_role_wrapper';
COMMENT ON FUNCTION scope.create_readonly_role(regclass, text, interval, text, regclass[], regnamespace[], boolean, cidr[], boolean, boolean, integer, interval, interval, text[]) IS
'Issues a login that can read one table, several, or all of whole schemas (tables, partitioned tables, views, materialized views, foreign tables), and nothing else, until its deadline. The password and the URI are shown this once.
future_tables: with the tables that will be created in the schemas, as scope.create_scope() does. role_name: [a-z_][a-z0-9_]*, at most 63 bytes; NULL: one is made. valid_for: positive, at most scope_roles.max_ttl; NULL: scope_roles.default_ttl. purpose: at most 200 bytes, shown in scope.roles. The other arguments are those of scope.create_credential().
The caller must own each table or hold SELECT on it WITH GRANT OPTION; likewise USAGE on its schema and CONNECT on the database unless everyone has them. The grants are held by a scope of the caller''s, made at the first such call.
Errors: 42P01, 3F000 no such table, schema; 42809 not a table or view; 42501 may not be granted; 42710 the name exists; 42602, 42622, 42939 bad, too long, reserved name; 22023 bad valid_for, purpose or option; 22004 no table and no schema; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.create_readwrite_role(
    "table" regclass DEFAULT NULL,
    role_name text DEFAULT NULL,
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL,
    tables regclass[] DEFAULT NULL,
    schemas regnamespace[] DEFAULT NULL,
    future_tables boolean DEFAULT false,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    connection_limit integer DEFAULT NULL,
    statement_timeout interval DEFAULT NULL,
    idle_in_transaction_session_timeout interval DEFAULT NULL,
    search_path text[] DEFAULT NULL
) RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_readwrite_role_wrapper';
COMMENT ON FUNCTION scope.create_readwrite_role(regclass, text, interval, text, regclass[], regnamespace[], boolean, cidr[], boolean, boolean, integer, interval, interval, text[]) IS
'As scope.create_readonly_role(), for SELECT, INSERT, UPDATE and DELETE. With the tables come USAGE on the sequences that their columns own, with whole schemas on all sequences there.';

CREATE FUNCTION scope.create_admin_role(
    schemas regnamespace[] DEFAULT NULL,
    role_name text DEFAULT NULL,
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL,
    tables regclass[] DEFAULT NULL,
    future_tables boolean DEFAULT false,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    connection_limit integer DEFAULT NULL,
    statement_timeout interval DEFAULT NULL,
    idle_in_transaction_session_timeout interval DEFAULT NULL,
    search_path text[] DEFAULT NULL
) RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_admin_role_wrapper';
COMMENT ON FUNCTION scope.create_admin_role(regnamespace[], text, interval, text, regclass[], boolean, cidr[], boolean, boolean, integer, interval, interval, text[]) IS
'As scope.create_readonly_role(), for every privilege on whole schemas: all on their tables and sequences, EXECUTE on their functions, CREATE; on single tables all that tables have. Not TRIGGER and REFERENCES, which leave code and work on the tables of others: name them in scope.create_scope(). CREATE lets the login leave functions that others may run, as a NOTICE says. Never superuser, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS.
With schemas, sessions of the login start as its scope (ALTER ROLE ... SET role): what they create belongs to the scope, which the caller''s other admin logins of the same schemas share, and outlives the login. It can change and drop what the scope owns, not what others own.';

CREATE FUNCTION scope.create_scope(
    name text,
    privileges text[] DEFAULT '{SELECT}',
    tables regclass[] DEFAULT '{}',
    columns text[] DEFAULT NULL,
    sequences regclass[] DEFAULT '{}',
    functions regprocedure[] DEFAULT '{}',
    schemas regnamespace[] DEFAULT '{}',
    future_tables boolean DEFAULT false,
    purpose text DEFAULT NULL,
    if_not_exists boolean DEFAULT false
) RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_scope_wrapper';
COMMENT ON FUNCTION scope.create_scope(text, text[], regclass[], text[], regclass[], regprocedure[], regnamespace[], boolean, text, boolean) IS
'Makes a NOLOGIN role with exactly these privileges, for credentials to be members of and for tokens to name. Returns its name. It declares them: scope.review() tells where it holds others.
privileges: SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN (from PostgreSQL 17 on) for tables; SELECT, UPDATE, USAGE for sequences, where INSERT stands for USAGE; EXECUTE for functions, which needs not be said; CREATE for schemas. columns: of the one table given, instead of all. With INSERT or UPDATE come USAGE on the sequences that the columns of the tables own; with everything USAGE on the schemas and CONNECT on the database.
schemas: all their tables; with INSERT, UPDATE or USAGE their sequences, with EXECUTE their functions. future_tables: also what will be created there by their owner, by those who have CREATE there or own something there now, as far as the caller may act for them; a NOTICE names the others.
name: [a-z_][a-z0-9_]*, at most 63 bytes, not a reserved word. if_not_exists: a scope of this name with exactly these privileges is fine, and so is one that the same call has made and that scope.alter_scope() or a spec has changed since; one with future tables gets those of roles that create there by now; one that other databases have made gets its part in this database, if the caller may change it. A scope whose databases have all been dropped is made anew without it. The caller must own each object, or hold what is given WITH GRANT OPTION.
Errors: 42P01, 3F000, 42883, 42703 no such table or sequence, schema, function, column; 42809 not a table, not a sequence; 42501 may not be granted, belongs to the system, or is another''s scope; 42710 the name exists, or has other privileges; 42602, 42622, 42939 bad, too long, reserved name; 22023 unknown privilege, one that fits nothing, columns without one table, bad purpose; 54000 over 10,000 objects in one list; 22004 NULL; 55000 not preloaded, or the scope is being dropped; 25006 read-only.';

CREATE FUNCTION scope.alter_scope(
    name text,
    action text,
    privileges text[] DEFAULT '{SELECT}',
    tables regclass[] DEFAULT '{}',
    columns text[] DEFAULT NULL,
    sequences regclass[] DEFAULT '{}',
    functions regprocedure[] DEFAULT '{}',
    schemas regnamespace[] DEFAULT '{}',
    future_tables boolean DEFAULT false
) RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'alter_scope_wrapper';
COMMENT ON FUNCTION scope.alter_scope(text, text, text[], regclass[], text[], regclass[], regprocedure[], regnamespace[], boolean) IS
'Adds privileges in this database to a scope, or removes them, and from what it declares; what is there, or gone, already is left so. action: add, remove or reset; the rest as scope.create_scope(). For the creator of the scope, members of its creator, and superusers.
add: the caller must be able to grant what is new. remove: whichever role has granted it; with a table go its columns, with the last write its sequences, with the last object of a schema USAGE on it, with a schema always its future tables. reset: all that it holds in this database and does not declare, and its memberships in other roles, whichever role has granted it; no other argument is passed.
Errors: as scope.create_scope(); 42704 no such scope; 42809 the role is not a scope; 42501 not the caller''s, or could not be revoked; 22023 unknown action, nothing named; 55000 being dropped, or columns of a table that the scope holds whole.';

CREATE FUNCTION scope.drop_scope(name text, force boolean DEFAULT false, if_exists boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'drop_scope_wrapper';
COMMENT ON FUNCTION scope.drop_scope(text, boolean, boolean) IS
'Revokes what a scope holds, whichever role has granted it, and drops it. While other databases have a part of it, only that of this database ends: what the scope holds here, and the membership of the credentials that were issued here. With the last part the role goes. Where somebody has granted it something in other databases by hand, it stays in state ending until the background worker has been there. What other transactions are changing for longer than 2 seconds is left to the worker, or, while other databases have a part, to the next call, with a NOTICE. For the creator of the scope, members of its creator, and superusers.
force: also while it has members, who lose it at once; policies that name the scope alone are dropped. Objects that it owns are never dropped. if_exists: a scope that is not there, or has no part here, is fine.
Errors: 2BP01 it has members, or owns objects; 42704 no such scope; 42809 the role is not a scope; 42501 not the caller''s; 22004 NULL; 25006 read-only; 55000 not preloaded, or other databases have a part of it and this one has none.';

CREATE FUNCTION scope.adopt_restored()
RETURNS TABLE (role_name name, kind text, created_by name, database name)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'adopt_restored_wrapper';
COMMENT ON FUNCTION scope.adopt_restored() IS
'After a restore into another cluster (pg_dumpall for the roles, pg_dump for the databases), in each restored database: managed roles belong to the role that has the name of their creator here, and to the database that has the name of their database; scopes that this database declares have a part in it; request policies are of this database, and of the roles that have the names. One row for each role that was changed, and for each request policy (kind request policy). Requests that were open there have expired. created_by NULL: no role has that name, and superusers alone manage it; database NULL: no database has that name.
Until then superusers alone manage restored roles, and nobody can ask by a policy. A role of a policy that is not there stays nobody, also when one is made of its name; so does, on the same server, one that was renamed since. Call it when all roles are restored. One call adopts at most 1000 roles; a NOTICE says when there are more.
Errors: 42501 not a superuser; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.reassign(from_role name, to_role name)
RETURNS TABLE (role_name name, kind text, created_by name, database name)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'reassign_wrapper';
COMMENT ON FUNCTION scope.reassign(name, name) IS
'Hands over what a role has made: scopes, credentials, authenticators, logins by token, temporary memberships, rules of guarded logins, and the request policies of this database, which give in the name of to_role from then on. to_role is their creator from then on, and manages them as far as its own rights go. One row for each; none when there is nothing (more) to hand over.
from_role: a role that is there; for superusers also one that was dropped, by the name that created_by shows. A renamed role is the same role, and keeps what it has made. The same name twice: what a dropped role has made belongs to the role that has its name now, and labels have the present name of a renamed one. What a restore has brought is left to scope.adopt_restored().
to_role: an ordinary role or a person''s own login; no managed role, none of PostgreSQL''s own (pg_…).
Callers: superusers, and those who have the privileges of both roles, for good; a superuser''s as to_role is for superusers.
One call hands over at most 1000 roles; a NOTICE says when there are more.
Errors: 42501 the caller may not; 42704 no role to_role; 42809 to_role cannot own managed roles; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.restrict_function(f regprocedure, scopes name[] DEFAULT '{}')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'restrict_function_wrapper';
COMMENT ON FUNCTION scope.restrict_function(regprocedure, name[]) IS
'Takes EXECUTE on a function, procedure or aggregate from PUBLIC, to whom PostgreSQL gives it by default, and gives it to the named scopes; other grants stay. For its owner, who must control the scopes too.
Errors: 42883 no such function; 42501 not the owner, a function of the system, not the caller''s scope; 42704, 42809 no such scope; 55000 a scope that is being dropped, or not preloaded; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.create_credential(
    scopes name[],
    role_name text DEFAULT NULL,
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    connection_limit integer DEFAULT NULL,
    statement_timeout interval DEFAULT NULL,
    idle_in_transaction_session_timeout interval DEFAULT NULL,
    search_path text[] DEFAULT NULL
) RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_credential_wrapper';
COMMENT ON FUNCTION scope.create_credential(name[], text, interval, text, cidr[], boolean, boolean, integer, interval, interval, text[]) IS
'Issues a login that is a member of scopes of this database, and of nothing else, until its deadline. In another database in which it or its scopes hold something it is refused. The password and the URI are shown this once.
role_name: [a-z_][a-z0-9_]*, at most 63 bytes; NULL: one is made. valid_for: positive, at most scope_roles.max_ttl; NULL: scope_roles.default_ttl. purpose: at most 200 bytes.
allowed_ips: the networks that it may log in from; NULL: anywhere; empty: none, for Unix sockets only. IPv4 addresses mapped into IPv6 count as IPv4. allow_local: whether by Unix socket; NULL: when allowed_ips is NULL. require_tls: whether TCP connections must use TLS. These three hold for every authentication method, and never for superusers.
connection_limit: sessions at a time, at least 1; NULL: no limit. statement_timeout, idle_in_transaction_session_timeout, search_path: what its sessions start with; they may SET others.
The caller must hold ADMIN OPTION on each scope, be a superuser, or be its creator or a member of that role and still able to grant what the scope holds.
Errors: 42704 no such scope; 42809 not a scope; 42501 a scope may not be handed out; 42710 the name exists; 42602, 42622, 42939 bad, too long, reserved name; 22023 bad valid_for, purpose or option, no scopes, a scope without a part in this database; 54000 too many networks or schemas; 22004 NULL; 25006 read-only; 55000 not preloaded, a scope is being dropped, or TLS required of a server without.';

CREATE FUNCTION scope.renew_role(role name, valid_for interval DEFAULT NULL)
RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'renew_role_wrapper';
COMMENT ON FUNCTION scope.renew_role(name, interval) IS
'Moves the deadline of a credential or authenticator to valid_for from now, and returns it. Never beyond scope_roles.max_ttl from its issue, which a rotation does not change. valid_for: positive; NULL: scope_roles.default_ttl, as far as that allows.
The caller must be its creator, a member of that role, or a superuser, and not the login itself. One that was issued by a managed login, or under a temporary membership, is renewed by those who could grant all that it has.
Errors: 42704 no such role; 42809 not a credential; 42501 not the caller''s, or lasts longer than the right of the caller; 22023 bad valid_for, or beyond the limit; 55000 not preloaded, has ended, was replaced by a rotation, has no deadline; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.rotate_password(role name, overlap interval DEFAULT '0')
RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text, left_out text[])
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'rotate_password_wrapper';
COMMENT ON FUNCTION scope.rotate_password(name, interval) IS
'Makes a new password for a credential or authenticator, shown this once. Sessions that are open stay.
overlap 0: the same login, and the old password is worth nothing from the commit on. A positive overlap: a second login with the same scopes, options, settings and deadline is returned, and the old one ends after that time, or at its own deadline if that is earlier.
The caller must be its creator, a member of that role, or a superuser, and not the login itself.
Nobody gets more than they could give: a login to which others have granted more by hand is refused without an overlap; with one, the second login has the memberships and CONNECT that the caller could grant, and left_out (NULL: nothing), a NOTICE and the audit trail say what it lacks.
Errors: 42704 no such role; 42809 not a credential; 42501 not the caller''s, or it has more than the caller could give; 22023 bad overlap; 55000 not preloaded, has ended, was replaced already; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.revoke_role(role name, reason text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'revoke_role_wrapper';
COMMENT ON FUNCTION scope.revoke_role(name, text) IS
'Ends a credential or authenticator, from the commit on: no login, its sessions are terminated, its grants revoked, the role dropped by the worker. An earlier login of the same rotation ends with it. Revoking twice is a NOTICE. reason: at most 200 bytes, shown in scope.credentials while it lasts.
The caller must be its creator, a member of that role, or a superuser, and not the login itself.
Errors: 42704 no such role (any more); 42809 not a credential; 42501 not the caller''s; 22023 reason too long; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.grant_temporary(role name, to_role name, valid_for interval, reason text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'grant_temporary_wrapper';
COMMENT ON FUNCTION scope.grant_temporary(name, name, interval, text) IS
'Makes a person''s own login a member of a role until a deadline, which it returns. At the deadline the membership is revoked, and sessions that have SET ROLE to it fail at their next statement (42501; RESET ROLE is allowed). Called again for the same two, the new deadline counts. valid_for: positive, at most scope_roles.max_ttl. reason: at most 200 bytes, shown in scope.credentials.
The caller needs ADMIN OPTION on the role, or must be the creator of the scope and still able to grant what it holds. The login inherits the role if the caller has a say over the login: a superuser, a member of it, a role with ADMIN OPTION on it, or before PostgreSQL 16 one with CREATEROLE. When others grant it, the login has to take the role by SET ROLE.
Errors: 42704 no such role; 42501 may not be granted, or a superuser; 42809 a credential, or not a login; 0LP01 a circle; 42710 a member without a deadline already; 22023 bad valid_for or reason; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.revoke_temporary(role name, to_role name)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'revoke_temporary_wrapper';
COMMENT ON FUNCTION scope.revoke_temporary(name, name) IS
'Ends a membership made by scope.grant_temporary(), from the commit on, as its deadline would. None to end is a NOTICE. The caller must have granted it, be a member of the role that did, or have ADMIN OPTION on the role.
Errors: 42704 no such role; 42501 not the caller''s; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.expire_roles()
RETURNS TABLE (role_name name, action text, sessions_terminated integer, detail text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'expire_roles_wrapper';
COMMENT ON FUNCTION scope.expire_roles() IS
'Ends every credential whose deadline has passed, as the background worker does by itself: terminates its sessions, revokes its grants in this database, drops it. One row per credential.
action: dropped; ending (detail says what it waits for: the worker does the rest, or the next call); quarantined (it owns objects, which are never dropped: reassign them, and it is dropped).
What it ends stays locked until the transaction ends, so it waits for nobody''s locks longer than 100 ms in all (a quarter of deadlock_timeout, if that is less): a role that another transaction holds is left as ending. Two calls take turns, for at most 10 s.
Errors: 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.create_authenticator(
    role_name text,
    roles text[],
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    connection_limit integer DEFAULT NULL,
    statement_timeout interval DEFAULT NULL,
    idle_in_transaction_session_timeout interval DEFAULT NULL,
    search_path text[] DEFAULT NULL
) RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_authenticator_wrapper';
COMMENT ON FUNCTION scope.create_authenticator(text, text[], interval, text, cidr[], boolean, boolean, integer, interval, interval, text[]) IS
'Makes a gated login for a service that passes tokens on: it can take the given roles by scope.set_jwt_role() only (scope.set_jwt_session(): see scope_roles.session_switches), never by SET ROLE, and without a token it is itself, with no rights of its own. The password and the URI are shown this once.
valid_for: positive, at most scope_roles.max_ttl; NULL: no deadline. The other options are those of scope.create_credential(). The caller needs ADMIN OPTION on every role, or must be the creator of the scope and still able to grant what it holds. Tokens do not give roles that it was granted by hand or has through another role; scope.apply() changes the list.
Errors: 42501 a role may not be granted, or may not be taken by tokens; 42710, 42602, 42622, 42939 as create_readonly_role; 22023 bad valid_for or option, no roles; 54000 too many networks or roles; 22004 NULL; 25006 read-only; 55000 not preloaded, or TLS required of a server without.';

CREATE FUNCTION scope.create_token_login(
    role_name text,
    roles text[],
    issuers text[],
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL,
    subject_limit integer DEFAULT NULL,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    connection_limit integer DEFAULT NULL,
    statement_timeout interval DEFAULT NULL,
    idle_in_transaction_session_timeout interval DEFAULT NULL,
    search_path text[] DEFAULT NULL
) RETURNS TABLE (role_name name, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_token_login_wrapper';
COMMENT ON FUNCTION scope.create_token_login(text, text[], text[], interval, text, integer, cidr[], boolean, boolean, integer, interval, interval, text[]) IS
'Makes a login without a password: its clients pass a token as the password, over TLS or a Unix socket, and the session acts as the role that the token names, until the token ends or is revoked (scope.refresh_session() takes a new one). Many people may share it: each session is its own token''s. It logs in to this database alone, through lines of pg_hba.conf for the group scope_roles.token_login_group, which it is put into: hostssl all +token_logins all trust.
roles: those that tokens may name; of an issuer with a role_map a session has all that the map gives of them, as a composite role. issuers: names of scope.jwt_issuers whose tokens are taken. subject_limit: how many sessions one subject may have of it at a time, on each server; NULL: any number. The rest as scope.create_authenticator(), the caller''s authority too.
Errors: 42704 no such issuer; 22023 no issuers, bad subject_limit; 55000 no scope_roles.token_login_group; the others as create_authenticator.';

CREATE FUNCTION scope.exchange_token(
    token text,
    valid_for interval DEFAULT NULL,
    purpose text DEFAULT NULL,
    claim text DEFAULT NULL,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    connection_limit integer DEFAULT NULL,
    statement_timeout interval DEFAULT NULL,
    idle_in_transaction_session_timeout interval DEFAULT NULL,
    search_path text[] DEFAULT NULL
) RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'exchange_token_wrapper';
COMMENT ON FUNCTION scope.exchange_token(text, interval, text, text, cidr[], boolean, boolean, integer, interval, interval, text[]) IS
'Gives the holder of a token a login of its own, for psql and tools that cannot send tokens. It acts as the role that scope.set_jwt_role(token, claim) would take in this session, and as nothing else; policies on claims see none. It ends by the token''s exp, and with the revocation of the token, its subject or its issuer; it is neither renewed nor rotated. scope.credentials has the token''s issuer, subject and jti. The password and the URI are shown this once.
valid_for: positive, at most scope_roles.max_ttl; NULL: scope_roles.default_ttl; exp if that is sooner. The other options are those of scope.create_credential(). A subject has at most scope_roles.exchange_limit such logins at a time, in this database. The owner of the database manages them. An authenticator may call it once it has been granted EXECUTE; as a statement of its own, outside a transaction block.
Errors: 28000 the token is refused, or has no sub; 42501 the role may not be taken; 53400 as many logins as the subject may have; 22023 bad valid_for, option or claim path; 54000 too many networks; 55006 the role was replaced meanwhile; 25006 read-only; 55000 not preloaded, no usable scope_roles.jwt_secret, or TLS required of a server without; 25001 in a transaction block.';

CREATE FUNCTION scope.verify_jwt(token text)
RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'verify_jwt_wrapper';
COMMENT ON FUNCTION scope.verify_jwt(text) IS
'Verifies a token and returns its claims, without switching. Errors: 28000 the token is refused (DETAIL begins with the reason); 55000 as scope.set_jwt_role().';

CREATE FUNCTION scope.add_jwt_issuer(
    name text,
    issuer text,
    keys text DEFAULT NULL,
    audiences text[] DEFAULT '{}',
    algorithms text[] DEFAULT '{}',
    role_claim text DEFAULT NULL,
    allowed_roles text[] DEFAULT NULL,
    anon_role text DEFAULT NULL,
    leeway interval DEFAULT NULL,
    require_exp boolean DEFAULT true,
    max_age interval DEFAULT NULL,
    token_types text[] DEFAULT '{}',
    required_claims jsonb DEFAULT '{}',
    role_map json DEFAULT NULL,
    bound text DEFAULT 'if_present',
    single_use boolean DEFAULT false,
    keys_url text DEFAULT NULL,
    discover boolean DEFAULT false,
    ca_file text DEFAULT NULL,
    bearer_token_file text DEFAULT NULL,
    keys_stale_for interval DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'add_jwt_issuer_wrapper';
COMMENT ON FUNCTION scope.add_jwt_issuer(text, text, text, text[], text[], text, text[], text, interval, boolean, interval, text[], jsonb, json, text, boolean, text, boolean, text, text, interval) IS
'Registers an issuer in this database. Tokens whose iss claim equals issuer are verified by its keys alone.
keys: a JWKS, an array of JWKs or a JWK (RFC 7517), a PEM public key or certificate, an object of PEM certificates by their kid, or a secret of at least 32 bytes; at most 7,000 bytes where one is a secret; public keys in other forms, URLs and names of files are refused, not taken for secrets. audiences: when given, aud must name one. algorithms: JOSE names (RS256, ...); none: all that the keys allow. role_claim: the only claim that may name the role. allowed_roles: the only roles; NULL: no limit. anon_role: the role of valid tokens without a role claim. leeway: NULL: scope_roles.jwt_leeway. max_age: counted from iat. token_types: the typ that the header may have (at+jwt, JWT), absent for none; empty: any. required_claims: by name or path a value, a list of values, or {"present": true}. role_map: from values of the role claim, a string or an array, to roles; the first of the map that the token has counts; json, because jsonb forgets the order. bound: whether cnf.x5t#S256 (RFC 8705) must be the SHA-256 of the TLS client''s certificate: required, if_present or ignored. single_use: a token switches once in the whole cluster; it must have jti, iat and exp, and of the leeway no more than 2 seconds count.
Instead of keys: keys_url, an https URL of a host that is the issuer''s or in scope_roles.jwks_hosts; or discover => true, which asks the issuer where they are. The background worker then fetches them, and again as they age. ca_file, bearer_token_file: absolute paths, for superusers and members of pg_read_server_files to name. keys_stale_for: how long keys hold beyond their time while new ones can''t be had; NULL: 24 hours.
Errors: 42710 name or issuer exists; 22023 bad keys, algorithm, path, token type, required claims, map of roles, bound, URL or duration, more than one source of keys, single_use without require_exp, or keys that serve none of the algorithms; 22004 NULL; 42501 may not name files.';

CREATE FUNCTION scope.alter_jwt_issuer(name text, changes jsonb)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'alter_jwt_issuer_wrapper';
COMMENT ON FUNCTION scope.alter_jwt_issuer(text, jsonb) IS
'Changes attributes of an issuer, by the names that they have in a spec: {"audiences": ["api"], "max_age": 3600, "role_claim": null}. Durations are in seconds; null: what the attribute is when it is not given. What is not named stays, and so do keys, unless they come from somewhere else now (issuer, keys_url, discover): then there are none until they are fetched or set.
Errors: 42704 no such issuer; 22023 no such attribute, or as scope.add_jwt_issuer(); 42710 another issuer has the iss; 42501 may not name files; 22004 NULL.';

CREATE FUNCTION scope.set_jwt_keys(name text, keys text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_jwt_keys_wrapper';
COMMENT ON FUNCTION scope.set_jwt_keys(text, text) IS
'Replaces the keys of an issuer, in every backend from the commit on. To rotate, pass old and new keys in one JWKS first, and the new ones alone once the old tokens have expired.
Errors: 42704 no such issuer; 22023 bad keys, or none for the issuer''s algorithms; 55000 its keys are fetched; 22004 NULL.';

CREATE FUNCTION scope.refresh_jwt_keys(name text)
RETURNS TABLE (outcome text, key_count integer, kids text[], next_fetch timestamptz, last_error text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'refresh_jwt_keys_wrapper';
COMMENT ON FUNCTION scope.refresh_jwt_keys(text) IS
'Has the worker fetch the keys of an issuer now, waits for it, and tells what came of it: outcome is fetched, failed (last_error says why; the keys stay as they were) or pending (no worker has come to it within 25 seconds).
Errors: 42704 no such issuer; 55000 its keys are not fetched, or not preloaded; 25006 read-only; 22004 NULL.';

CREATE FUNCTION scope.drop_jwt_issuer(name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'drop_jwt_issuer_wrapper';
COMMENT ON FUNCTION scope.drop_jwt_issuer(text) IS
'Removes an issuer: its tokens are refused from the commit on. Errors: 42704 no such issuer; 22004 NULL.';

CREATE FUNCTION scope.revoke_token(jti text, until timestamptz, issuer text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'revoke_token_wrapper';
COMMENT ON FUNCTION scope.revoke_token(text, timestamptz, text) IS
'Refuses the tokens with this jti claim (RFC 7519 section 4.1.7) until a moment, best the token''s exp: from the commit on, in every backend, cached or not, and at the next statement of a transaction that it has already switched. issuer: the iss, or the name of a registered issuer; NULL: any. Entries are removed after that time.
Errors: 22004 NULL or empty; 22023 over 1,024 bytes (tokens with a longer jti are refused anyway).';

CREATE FUNCTION scope.revoke_subject(sub text, issued_before timestamptz DEFAULT now(), issuer text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'revoke_subject_wrapper';
COMMENT ON FUNCTION scope.revoke_subject(text, timestamptz, text) IS
'For a lost account: refuses all tokens with this sub claim that were issued (iat) before a moment, or that have no iat, as scope.revoke_token() does. issuer: the iss, or the name of a registered issuer; NULL: any.
Errors: 22004 NULL or empty; 22023 over 1,024 bytes (tokens with a longer sub are refused anyway).';
