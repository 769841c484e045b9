-- The review: what is wrong with the access in this cluster and database, and the SQL that fixes it.

CREATE TABLE _scope.accepted_finding (
    code text NOT NULL,
    role text NOT NULL,
    object text NOT NULL,
    reason text NOT NULL,
    until timestamptz NOT NULL,
    accepted_by text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (code, role, object)
);
COMMENT ON TABLE _scope.accepted_finding IS 'Findings accepted by scope.accept_finding(); an empty role or object stands for none.';

CREATE TABLE _scope.attestation (
    role text NOT NULL,
    role_oid oid NOT NULL,
    note text NOT NULL,
    attested_by text NOT NULL,
    attested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    access text[] NOT NULL,
    PRIMARY KEY (role_oid, attested_at)
);
COMMENT ON TABLE _scope.attestation IS 'Signatures made by scope.attest(), with the access that each was for; never changed.';

SELECT pg_catalog.pg_extension_config_dump('_scope.accepted_finding', '');
SELECT pg_catalog.pg_extension_config_dump('_scope.attestation', '');

-- No samples.
ALTER TABLE _scope.accepted_finding
    ALTER code SET STATISTICS 0, ALTER role SET STATISTICS 0, ALTER object SET STATISTICS 0,
    ALTER reason SET STATISTICS 0, ALTER until SET STATISTICS 0, ALTER accepted_by SET STATISTICS 0,
    ALTER accepted_at SET STATISTICS 0;
ALTER TABLE _scope.attestation
    ALTER role SET STATISTICS 0, ALTER role_oid SET STATISTICS 0, ALTER note SET STATISTICS 0,
    ALTER attested_by SET STATISTICS 0, ALTER attested_at SET STATISTICS 0, ALTER access SET STATISTICS 0;

CREATE FUNCTION scope.review()
RETURNS TABLE (severity text, code text, role_name name, object_name text, finding text, since timestamptz, fix text,
               accepted_reason text, accepted_until timestamptz, accepted_by name)
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'review_wrapper';
COMMENT ON FUNCTION scope.review() IS
'What is wrong with the roles of this cluster and the privileges in this database, worst first: severity (critical, high, medium, low), code (explained in docs/review.md), the role and the object, since when as far as that is known, and in fix the SQL that ends it. It changes nothing.
Findings that scope.accept_finding() has accepted come last, with the reason and until when. What PUBLIC may do is looked for in this database only: review each.
For members of pg_monitor. Errors: none.';

CREATE FUNCTION scope.accept_finding(code text, role name, reason text, valid_for interval, object text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'accept_finding_wrapper';
COMMENT ON FUNCTION scope.accept_finding(text, name, text, interval, text) IS
'Accepts a finding of scope.review(), which then shows it last, with the reason, until the time that is returned. role: the role_name of the finding; NULL where it has none. object: its object_name; NULL: the finding of that code and role about no object. reason: 1 to 200 bytes. valid_for: positive, at most a year. Called again, the new reason and time count.
Errors: 42704 no such code, or no such finding now; 22023 bad reason or valid_for; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.harden(apply boolean DEFAULT false)
RETURNS TABLE (statement text, reason text, breaks text, done boolean)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'harden_wrapper';
COMMENT ON FUNCTION scope.harden(boolean) IS
'The statements that take from PUBLIC what PostgreSQL gives it in this database: CONNECT, TEMPORARY, CREATE in schemas, EXECUTE on SECURITY DEFINER functions and on functions of the future. Who is seen to use something (holds or owns something here, is connected) gets it for themselves first; breaks says who else loses what. A row without a statement is left as it is, for the reason given.
apply: run them, as the caller, in this transaction; done tells which took effect, since PostgreSQL only warns of a REVOKE by somebody who may not. A second time there is nothing to do.
Errors: 42501 the caller may not run one of them; 25006 read-only; 22004 NULL.';

CREATE FUNCTION scope.prune(apply boolean DEFAULT false, declared boolean DEFAULT false)
RETURNS TABLE (role_name name, statement text, reason text, done boolean)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'prune_wrapper';
COMMENT ON FUNCTION scope.prune(boolean, boolean) IS
'Managed roles that nobody needs: scopes of this database without members that a call for a login has made, which makes them again when they are needed, and logins unused for scope_roles.unused_after, where logins are remembered; of those that have never logged in to this server only once it has counted logins for as long, since another may have been the primary. declared: also scopes that were made, changed or specified by their name, as migrations do it; these nobody makes again. apply: end them, with scope.drop_scope() and scope.revoke_role(), as the caller, in this transaction. A scope that owns objects, or that a policy names, is not listed.
Errors: those of these functions; 25006 read-only; 22004 NULL.';

CREATE FUNCTION scope.attest(role regrole, note text)
RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'attest_wrapper';
COMMENT ON FUNCTION scope.attest(regrole, text) IS
'Signs, as the session''s own login, that what a role can do in this database today is right: its access (scope.effective_access(), without what everyone has) is kept in _scope.attestation. From then on scope.review() tells what has changed since, and when the signature is older than 90 days. note: 1 to 200 bytes.
Errors: 42704 no such role; 42501 one''s own role; 22023 bad note; 22004 NULL; 25006 read-only.';

REVOKE ALL ON _scope.accepted_finding, _scope.attestation FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION scope.review(), scope.accept_finding(text, name, text, interval, text), scope.harden(boolean),
    scope.prune(boolean, boolean), scope.attest(regrole, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION scope.review() TO pg_monitor;
