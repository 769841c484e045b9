-- Declared roles. Each function takes jsonb and text: jsonb has lost a key that was written twice, text has not.

CREATE FUNCTION scope.plan(spec text)
RETURNS TABLE (step integer, object text, statement text, runs_as name, reason text, digest text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plan_text_wrapper';
COMMENT ON FUNCTION scope.plan(text) IS
'What would change to make this server match a spec (docs/specs.md): the statements in their order, as whom each would run, why, and the digest of them all, for scope.apply(). No row: it matches. Changes nothing. A key that is written twice is refused.
Objects are looked up by their full names, whatever search_path is. The plan is refused where its caller could not apply it: a spec does nothing that its caller could not do by the functions of this schema, for which EXECUTE is needed too, and by GRANT.
Errors: 22023 not a spec, with the place as a JSON pointer (RFC 6901); 42704, 42P01, 3F000, 42883, 42703 no such role, table or sequence, schema, function, column; 42501 may not be granted, not the caller''s, no EXECUTE; 42809 another kind of role or object; 0LP01 a role would be a member of itself; 0A000 membership options before PostgreSQL 16; others as scope.create_scope(), scope.create_authenticator(), scope.set_guard() and scope.add_jwt_issuer(); 22004 NULL; 55000 not preloaded.';

CREATE FUNCTION scope.plan(spec jsonb)
RETURNS TABLE (step integer, object text, statement text, runs_as name, reason text, digest text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plan_jsonb_wrapper';
COMMENT ON FUNCTION scope.plan(jsonb) IS
'As scope.plan(text), for a spec that is jsonb already: of a key that was written twice only the last is left. Errors: as there, 22023 and 42501 among them.';

CREATE FUNCTION scope.plan_digest(spec text)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plan_digest_text_wrapper';
COMMENT ON FUNCTION scope.plan_digest(text) IS
'The digest of scope.plan(), also of an empty one: SHA-256 of the database, and of the statements and as whom they run, in their order; 64 hexadecimal digits. Errors: as scope.plan().';

CREATE FUNCTION scope.plan_digest(spec jsonb)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plan_digest_jsonb_wrapper';
COMMENT ON FUNCTION scope.plan_digest(jsonb) IS 'As scope.plan_digest(text), for a spec that is jsonb already. Errors: as scope.plan().';

CREATE FUNCTION scope.apply(spec text, expect_digest text DEFAULT NULL)
RETURNS TABLE (step integer, object text, statement text, runs_as name, reason text, digest text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'apply_text_wrapper';
COMMENT ON FUNCTION scope.apply(text, text) IS
'Makes this server match a spec, in the caller''s transaction, and returns what it did, as scope.plan() shows it. Applying again does nothing. Its scopes declare what it says, also where that is granted already. expect_digest: of the plan that was reviewed; NULL: any. Where nothing is left to do, whatever the digest, it does nothing.
Authenticators are made without a password, which scope.rotate_password() gives them; issuers with a key that nobody knows, which scope.set_jwt_keys() replaces.
Errors: as scope.plan(); 55000 the plan is another than the one with this digest, and not done; 42501 something could not be granted or revoked; 2BP01 a scope that is to be absent has members; 25006 read-only.';

CREATE FUNCTION scope.apply(spec jsonb, expect_digest text DEFAULT NULL)
RETURNS TABLE (step integer, object text, statement text, runs_as name, reason text, digest text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'apply_jsonb_wrapper';
COMMENT ON FUNCTION scope.apply(jsonb, text) IS
'As scope.apply(text, text), for a spec that is jsonb already. Errors: as there, 55000 and 42501 among them.';

CREATE FUNCTION scope.export_spec(roles name[] DEFAULT NULL, mode text DEFAULT 'additive')
RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'export_spec_wrapper';
COMMENT ON FUNCTION scope.export_spec(name[], text) IS
'Today''s state as a spec, whose plan is empty. roles: scopes, authenticators and logins of the caller''s, and other roles, whose members are then listed; NULL: all scopes and authenticators of this database that are the caller''s, with their memberships and guards, and for those who may change them the functions that may write and the issuers, without keys; the caller''s request policies, all or those for these roles. mode: additive or authoritative, for the spec. A NOTICE names what a scope has and no spec can say: grant options, ownership, privileges on other kinds of objects.
Errors: 42704 no such role; 42501 not the caller''s; 42809 a temporary membership; 55000 a scope that is being dropped, or not preloaded; 22023 unknown mode; 22004 NULL.';
