-- What everybody may call, made after every REVOKE. The token is the authority, and it gives no more than memberships already allow;
-- what a session's own token says is for its policies to read.
--
-- Nothing is granted on these functions: PostgreSQL's default is EXECUTE for PUBLIC, and a function without a list of rights is
-- started a tenth of a microsecond sooner than one with. Where ALTER DEFAULT PRIVILEGES says otherwise, that holds.

CREATE FUNCTION scope.set_jwt_role(token text, claim text DEFAULT NULL)
RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_jwt_role_wrapper';
COMMENT ON FUNCTION scope.set_jwt_role(text, text) IS
'Verifies a JSON Web Token (RFC 7519, RFC 8725), switches to the role that a claim names, and locks it until the transaction ends. Returns the role. The claims are in request.jwt.claims.
claim: a claim''s name, a path (.realm_access.roles[0]) or RFC 9535 JSONPath ($...); NULL: scope_roles.jwt_role_claim.
The role must be one that the session user may SET ROLE to, and not a superuser, not pg_*, without BYPASSRLS, CREATEROLE, REPLICATION and access to the server''s files and programs.
Errors: 28000 the token is refused (DETAIL begins with the reason); 42501 the role may not be taken, or this transaction is already switched; 22023 bad claim path; 55000 not preloaded, or no usable scope_roles.jwt_secret. Warning 25P01 outside a transaction block.';

CREATE FUNCTION scope.set_jwt_session(token text, claim text DEFAULT NULL)
RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_jwt_session_wrapper';
COMMENT ON FUNCTION scope.set_jwt_session(text, text) IS
'As scope.set_jwt_role(), for the whole session: it ends with the session or by scope.end_jwt_session(). For psql and connections that are not shared: in a session of an authenticator only where a superuser has set scope_roles.session_switches for it.';

CREATE FUNCTION scope.refresh_session(token text)
RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'refresh_session_wrapper';
COMMENT ON FUNCTION scope.refresh_session(text) IS
'Gives a session that was switched for its length (by a token at login, or by scope.set_jwt_session()) a new token of the same issuer and subject for the same role: its claims and its end hold from then on. Returns when statements are no longer allowed, leeway included; NULL: never.
Errors: 28000 the token is refused; 42501 another issuer, subject or role, a token without sub, no switch of the session, or inside a SECURITY DEFINER function or one with a SET clause for the role; 55000 as scope.set_jwt_role().';

CREATE FUNCTION scope.end_jwt_session(token text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'end_jwt_session_wrapper';
COMMENT ON FUNCTION scope.end_jwt_session(text) IS
'Ends the switch of scope.set_jwt_session(), as a statement of its own: SELECT scope.end_jwt_session($1), outside functions and DO blocks. Deferred triggers run first. It takes the very token that made the switch, so that injected SQL cannot.
In a session of an authenticator the temporary objects, prepared statements, LISTENs and search_path of the switch go with it.
Errors: 42501 another token, or no switch of the session; 55006 cursors are open, or the statement does something else too; 55000 not preloaded.';

CREATE FUNCTION scope.jwt_claims()
RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'jwt_claims_wrapper';
COMMENT ON FUNCTION scope.jwt_claims() IS
'The claims of the token that switched this session or transaction; NULL without one. Read from the extension''s own state, which no SQL can change.';

CREATE FUNCTION scope.jwt_claim(path text)
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'jwt_claim_wrapper';
COMMENT ON FUNCTION scope.jwt_claim(text) IS
'One claim of the token that switched this session or transaction, as text: strings as they are, anything else as JSON; NULL when it is absent or null, or without a token. path: a claim''s name, a path (.realm_access.roles[0]) or RFC 9535 JSONPath ($...).
Errors: 22023 bad path.';

CREATE FUNCTION scope.jwt_subject()
RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'jwt_subject_wrapper';
COMMENT ON FUNCTION scope.jwt_subject() IS
'The sub claim (RFC 7519 section 4.1.2) of the token that switched this session or transaction; NULL without one.';

CREATE FUNCTION scope.jwt_actor()
RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'jwt_actor_wrapper';
COMMENT ON FUNCTION scope.jwt_actor() IS
'The sub of the innermost act claim (RFC 8693 section 4.1) of the token that switched this session or transaction: who acted first on behalf of the subject. NULL without a token, where it has no act, and where that has no sub. The current actor is scope.jwt_claim(''.act.sub'').';

CREATE FUNCTION scope.jwt_expires_at()
RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'jwt_expires_at_wrapper';
COMMENT ON FUNCTION scope.jwt_expires_at() IS
'The exp claim (RFC 7519 section 4.1.4) of the token that switched this session or transaction; NULL without one. Statements are refused from then on, plus the leeway; COMMIT is not.';
