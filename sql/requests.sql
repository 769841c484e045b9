-- Access on request: what may be asked for, what has been asked for, and what became of it.

-- Nothing of it changes what others have said: the extension adds, and nobody takes away.
CREATE FUNCTION _scope.append_only() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'append_only_wrapper';
COMMENT ON FUNCTION _scope.append_only() IS 'Trigger function of scope.request_log: rows are added, never changed or removed. Errors: 42501.';

CREATE TABLE _scope.request_policy (
    name text PRIMARY KEY,
    definition jsonb NOT NULL,
    origin text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE _scope.request_policy IS 'What may be asked for; see scope.request_policies. Roles have their OIDs, which are of the server and database that origin names.';

-- Times in microseconds since 1970.
CREATE TABLE _scope.request (
    id bigint PRIMARY KEY,
    policy text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    target_oid oid NOT NULL,
    person jsonb NOT NULL,
    login_oid oid NOT NULL,
    subject text,
    reason text,
    ticket text,
    seconds bigint NOT NULL,
    starts_at bigint,
    state text NOT NULL,
    revision integer NOT NULL,
    extends bigint,
    break_glass boolean NOT NULL,
    signed boolean NOT NULL,
    asked_at bigint NOT NULL,
    until bigint NOT NULL,
    active_from bigint,
    ends_at bigint,
    granted text,
    granted_oid oid,
    statement jsonb,
    error text,
    origin text NOT NULL
);
CREATE INDEX request_login ON _scope.request (login_oid);
CREATE INDEX request_subject ON _scope.request (subject);
CREATE INDEX request_granted ON _scope.request (granted_oid);
CREATE INDEX request_open ON _scope.request (id) WHERE state OPERATOR(pg_catalog.=) ANY ('{pending,approved,active}');
COMMENT ON TABLE _scope.request IS 'What has been asked for, as it stands; see scope.requests. until: up to when it waits, for a decision or for its start.';

CREATE TABLE scope.request_log (
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    request bigint NOT NULL,
    revision integer NOT NULL,
    event text NOT NULL,
    state text NOT NULL,
    login name,
    role name,
    issuer text,
    subject text,
    jti text,
    client inet,
    note text,
    details jsonb NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    id uuid DEFAULT pg_catalog.gen_random_uuid() PRIMARY KEY
);
CREATE INDEX request_log_request ON scope.request_log (request);
COMMENT ON TABLE scope.request_log IS
'All that was ever asked, decided and done on request in this database. Rows are added, never changed or removed, nor does scope_roles.audit_retention reach them.
event: asked, changed, auto_approved, break_glass, approved, denied, withdrawn, revoked, started, taken, ran, extended, ended, expired, failed, signed. state: what the request was then. login, role, issuer, subject, jti, client: who, by which token, from where; NULL for what the worker did. details: who asked or decided as the extension knows them (person), with asked and with each decision the policy as it was.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON scope.request_log
    FOR EACH STATEMENT EXECUTE FUNCTION _scope.append_only();
ALTER TABLE scope.request_log ENABLE ALWAYS TRIGGER append_only;

CREATE TABLE _scope.request_told (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE _scope.request_told IS 'The rows of scope.request_log that a notifier has dealt with; see scope.request_outbox.';

SELECT pg_catalog.pg_extension_config_dump('_scope.request_policy', '');
SELECT pg_catalog.pg_extension_config_dump('_scope.request', '');
SELECT pg_catalog.pg_extension_config_dump('scope.request_log', '');
SELECT pg_catalog.pg_extension_config_dump('_scope.request_told', '');

-- No samples.
DO $statistics$
DECLARE
    sampled record;
BEGIN
    FOR sampled IN
        SELECT a.attrelid::pg_catalog.regclass AS relation, a.attname AS name FROM pg_catalog.pg_attribute a
         WHERE a.attrelid OPERATOR(pg_catalog.=) ANY ('{_scope.request_policy,_scope.request,scope.request_log,_scope.request_told}'::pg_catalog.regclass[])
           AND a.attnum OPERATOR(pg_catalog.>) 0
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s ALTER %I SET STATISTICS 0', sampled.relation, sampled.name);
    END LOOP;
END
$statistics$;

CREATE FUNCTION scope.create_request_policy(
    name text,
    targets name[],
    requesters name[],
    approvals jsonb,
    require text DEFAULT 'all',
    max_duration interval DEFAULT '8 hours',
    default_duration interval DEFAULT NULL,
    reason_pattern text DEFAULT '\S',
    ticket_required boolean DEFAULT false,
    pending_for interval DEFAULT '1 day',
    hours text[] DEFAULT NULL,
    time_zone text DEFAULT NULL,
    auto_approve jsonb DEFAULT NULL,
    break_glass name[] DEFAULT '{}',
    kind text DEFAULT 'membership',
    replace boolean DEFAULT false
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'create_request_policy_wrapper';
COMMENT ON FUNCTION scope.create_request_policy(text, name[], name[], jsonb, text, interval, interval, text, boolean, interval, text[], text, jsonb, name[], text, boolean) IS
'Says what may be asked for, by whom, and who must say yes. Without a policy nothing can be asked for. What comes of a request is granted in the name of the policy''s creator, who must have the authority for it now and when it begins.
kind: membership, for a time, of a login in a target; credential, a login issued with the target, a scope; statement, one statement that runs as the target. targets: scopes or other roles. requesters: roles; who has the privileges of one may ask.
approvals: [{"role": "dba", "n": 1}, …], so many different people with the privileges of the role; n: 1 unless given, at most 10. require: all of them, where nobody counts twice, or any one.
max_duration: at most scope_roles.max_ttl; default_duration: max_duration unless given. pending_for: how long a request waits for its decision, and an approved one to be taken or run; at most 90 days. reason_pattern: a regular expression that the reason must match. ticket_required: a ticket must be named. hours, time_zone: when one may ask, as scope.set_login_policy() has them.
auto_approve: conditions under which nobody is asked, all of which must hold: {"max_duration": "1 hour", "addresses": ["10.0.0.0/8"], "hours": ["Mon-Fri 08:00-18:00"], "time_zone": "Europe/Vienna", "member_of": "oncall"}; max_duration is needed. break_glass: roles whose members get it at once when they say that it burns; everybody hears of it, and somebody who may approve signs it afterwards.
replace: changes a policy that is there; for its creator, members of that role, and superusers. Requests that wait are judged by the new one.
Errors: 42704 no such role; 42710 the policy exists; 42501 no authority over a target, or another''s policy; 22023 a bad kind, duration, list, condition, pattern or hours; 42809 a credential for a role that is no scope; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.drop_request_policy(name text, if_exists boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'drop_request_policy_wrapper';
COMMENT ON FUNCTION scope.drop_request_policy(text, boolean) IS
'Nobody can ask by this policy any more, and what waits by it gets no further. Access that has begun stays until its end; see scope.revoke(). For the policy''s creator, members of that role, and superusers.
Errors: 42704 no such policy; 42501 another''s; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.request_access(
    target name,
    valid_for interval DEFAULT NULL,
    reason text DEFAULT NULL,
    ticket text DEFAULT NULL,
    starts_at timestamptz DEFAULT NULL,
    policy text DEFAULT NULL,
    break_glass boolean DEFAULT false
) RETURNS TABLE (request bigint, state text, next text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'request_access_wrapper';
COMMENT ON FUNCTION scope.request_access(name, interval, text, text, timestamptz, text, boolean) IS
'Asks for a role, for a time that begins when access does. Returns the request''s number, its state, and what happens next. scope.my_options() shows what there is to ask for.
valid_for: the policy''s default unless given. starts_at: not before then; at most 90 days ahead; what has passed is now. policy: needed where several fit. break_glass: at once, for those whom the policy names; reason is needed. What nobody is asked about is sent by the client as a statement of its own: else it waits for a yes, and breaks no glass.
A membership is given to the login of a person; whoever acts by a token, or with a login that was issued, asks for a credential, and takes it with scope.take_credential().
Errors: 42501 no policy lets the caller ask for it, or the session''s token names no subject; 42704 no such policy; 0A000 break_glass in another statement; 22023 several policies fit, or a bad duration, reason, ticket or time; 54000 20 requests of the same person wait already, or 200 were asked for in 24 hours; 55000 it has been granted already, outside the policy''s hours, not preloaded; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.alter_request(
    request bigint,
    valid_for interval DEFAULT NULL,
    reason text DEFAULT NULL,
    ticket text DEFAULT NULL,
    starts_at timestamptz DEFAULT NULL
) RETURNS TABLE (request bigint, state text, next text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'alter_request_wrapper';
COMMENT ON FUNCTION scope.alter_request(bigint, interval, text, text, timestamptz) IS
'Changes a request of the caller''s that has not begun; what is NULL stays. Whoever has approved it has approved something else: all start over.
Errors: as scope.request_access(); 42704 no such request; 42501 another''s; 55000 it has begun, or has been decided.';

CREATE FUNCTION scope.extend(request bigint, valid_for interval, reason text DEFAULT NULL, ticket text DEFAULT NULL)
RETURNS TABLE (request bigint, state text, next text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'extend_wrapper';
COMMENT ON FUNCTION scope.extend(bigint, interval, text, text) IS
'Asks for more time with access that lasts: a new request, with decisions of its own. valid_for: how much more; all together at most the policy''s max_duration.
Errors: as scope.request_access(); 42704 no such request; 42501 another''s; 55000 it does not last.';

CREATE FUNCTION scope.withdraw(request bigint, note text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'withdraw_wrapper';
COMMENT ON FUNCTION scope.withdraw(bigint, text) IS
'Takes a request of the caller''s back, and gives back the access that came of it: that in a statement, and a transaction, of its own, which holds up nobody who would end it.
Errors: 42704 no such request; 42501 another''s; 0A000 access has begun, and it is not a statement of its own; 25001 access has begun, inside a transaction block; 55000 it is over, or not preloaded; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.approve(request bigint, note text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'approve_wrapper';
COMMENT ON FUNCTION scope.approve(bigint, text) IS
'Says yes to a request. With the last yes that the policy asks for access begins, at starts_at if that is later; inside a transaction block soon after its commit.
For those who have the privileges of one of the policy''s approving roles now, as the role that they act as. Never for who asks: by the same login, by the same subject, by a login of which the other is a member, or by one that the other has issued.
It is a statement of its own, which the client sends: not inside functions, views or triggers, which may be somebody else''s.
Errors: 42501 not for the caller; 42704 no such request; 42710 approved already; 55000 decided already, expired, or its policy is gone; 0A000 not a statement of its own; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION scope.deny(request bigint, note text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'deny_wrapper';
COMMENT ON FUNCTION scope.deny(bigint, text) IS
'Says no to a request that has not begun: one is enough. For those who could approve it.
Errors: as scope.approve().';

CREATE FUNCTION scope.revoke(request bigint, note text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'revoke_wrapper';
COMMENT ON FUNCTION scope.revoke(bigint, text) IS
'Ends what a request has given, at once, or will give. For who asked, those who could approve it, the policy''s creator, members of that role, and superusers. For who asked in a statement, and a transaction, of its own.
Errors: 42704 no such request; 42501 not for the caller; 0A000, 25001 for who asked, as scope.withdraw(); 55000 it is over, or not preloaded; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.sign(request bigint, note text)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'sign_wrapper';
COMMENT ON FUNCTION scope.sign(bigint, text) IS
'Says of a use of break_glass that it has been looked at; until then scope.review() lists it. For those who could have approved it.
Errors: as scope.approve(); 55000 nobody broke a glass, or it is signed.';

CREATE FUNCTION scope.take_credential(request bigint)
RETURNS TABLE (role_name name, password text, valid_until timestamptz, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'take_credential_wrapper';
COMMENT ON FUNCTION scope.take_credential(bigint) IS
'Issues the login of an approved request of kind credential, to who asked for it; its time begins now. The password and the URI are shown this once. A statement, and a transaction, of its own; only who acts by a token for a transaction takes it in one.
Errors: 42704 no such request; 42501 another''s; 0A000 not a statement of its own; 25001 inside a transaction block; 55000 not approved, not yet, or over; those of scope.create_credential().';

CREATE FUNCTION scope.request_statement(
    target name,
    statement text,
    parameters text[] DEFAULT '{}',
    expected_rows bigint DEFAULT NULL,
    reason text DEFAULT NULL,
    ticket text DEFAULT NULL,
    starts_at timestamptz DEFAULT NULL,
    policy text DEFAULT NULL
) RETURNS TABLE (request bigint, state text, next text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'request_statement_wrapper';
COMMENT ON FUNCTION scope.request_statement(name, text, text[], bigint, text, text, timestamptz, text) IS
'Asks for one statement to run as a role, by a policy of kind statement. What is approved is its exact text, its parameters, the number of rows that it returns or changes, the search path and what its names mean; their digest is in scope.requests.
statement: one SELECT, INSERT, UPDATE, DELETE or MERGE, at most 20,000 bytes, without a schema that the caller may create in among those where its names are looked for. It names no function, type or relation that the caller owns, nor does it set one off; it has no characters that nobody sees. parameters: for $1, $2, … as text: cast them ($1::bigint). expected_rows: any other number, and nothing of it stays.
The rest as scope.request_access(). Errors: as there; 22023 it is no such statement, or too long; 42501 it names what the caller may change, or a literal of it runs a function; those of PostgreSQL for a statement that means nothing.';

CREATE FUNCTION scope.explain_request(request bigint)
RETURNS SETOF text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'explain_request_wrapper';
COMMENT ON FUNCTION scope.explain_request(bigint) IS
'EXPLAIN (VERBOSE) of a statement for approval, as its role would run it now; nothing of it runs or stays. For those who may decide, the policy''s creator, and superusers; for who asked once it is approved.
Errors: 42704 no such request; 42501 not for the caller; 55000 no statement, or not approved yet; those of scope.run_approved(); 22004 NULL; 55000 not preloaded.';

CREATE FUNCTION scope.run_approved(request bigint)
RETURNS TABLE (rows bigint, result jsonb)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'run_approved_wrapper';
COMMENT ON FUNCTION scope.run_approved(bigint) IS
'Runs an approved statement, as its role; once, but for an answer that is too large for the connection to take at once (docs/requests.md). The settings that mean something to statements are as PostgreSQL has them by default (times in GMT). rows: how many it has returned or changed. result: the rows that it has returned, an array of objects; NULL for a statement that returns none. Deferred constraints are checked at once.
For who asked, as a statement of its own; one that returns rows also in a transaction of its own.
Errors: 42704 no such request; 42501 another''s, or it names what its requester may change by now; 21000 another number of rows; 25001 it returns rows, inside a transaction block; 55000 not approved, not yet, over, or not what was approved; 0A000 not a statement of its own; those of the statement; 22004 NULL; 25006 read-only.';

CREATE FUNCTION scope.my_options()
RETURNS TABLE (target name, kind text, policy text, max_duration interval, default_duration interval, approvals text, break_glass boolean)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'my_options_wrapper';
COMMENT ON FUNCTION scope.my_options() IS
'What the caller may ask for, for how long, and who must say yes. Errors: 55000 not preloaded.';

CREATE FUNCTION scope.acknowledge(ids uuid[])
RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'acknowledge_wrapper';
COMMENT ON FUNCTION scope.acknowledge(uuid[]) IS
'Takes these rows out of scope.request_outbox, and says how many it was: a notifier has told people of them. For members of pg_monitor.
Errors: 42501 no member of pg_monitor; 22004 NULL; 25006 read-only; 55000 not preloaded.';

CREATE FUNCTION _scope.visible_requests()
RETURNS TABLE (request bigint, mine boolean, to_decide boolean, needs text)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
AS 'MODULE_PATHNAME', 'visible_requests_wrapper';
COMMENT ON FUNCTION _scope.visible_requests() IS
'Which requests the caller may see, for scope.requests: the own ones, those that the caller may decide by today''s policies or whose policy is the caller''s, and all for members of pg_monitor. needs: what is missing for a decision, in words.
Errors: 55000 not preloaded.';

CREATE VIEW scope.request_policies AS
-- Of two relations: nobody can update it.
SELECT p.name,
       p.definition ->> 'kind' AS kind,
       ARRAY(SELECT COALESCE(a.rolname, (r ->> 'name')::name) FROM pg_catalog.jsonb_array_elements(p.definition -> 'targets') r
               LEFT JOIN pg_catalog.pg_roles a ON a.oid OPERATOR(pg_catalog.=) (r ->> 'oid')::pg_catalog.oid) AS targets,
       ARRAY(SELECT COALESCE(a.rolname, (r ->> 'name')::name) FROM pg_catalog.jsonb_array_elements(p.definition -> 'requesters') r
               LEFT JOIN pg_catalog.pg_roles a ON a.oid OPERATOR(pg_catalog.=) (r ->> 'oid')::pg_catalog.oid) AS requesters,
       (SELECT pg_catalog.string_agg(pg_catalog.format('%s of %s', r ->> 'n', COALESCE(a.rolname, (r -> 'role' ->> 'name')::name)),
                                     CASE WHEN (p.definition ->> 'any')::pg_catalog.bool THEN ' or ' ELSE ' and ' END)
          FROM pg_catalog.jsonb_array_elements(p.definition -> 'approvals') r
          LEFT JOIN pg_catalog.pg_roles a ON a.oid OPERATOR(pg_catalog.=) (r -> 'role' ->> 'oid')::pg_catalog.oid) AS approvals,
       pg_catalog.make_interval(secs => (p.definition ->> 'max_seconds')::pg_catalog.float8) AS max_duration,
       pg_catalog.make_interval(secs => (p.definition ->> 'default_seconds')::pg_catalog.float8) AS default_duration,
       pg_catalog.make_interval(secs => (p.definition ->> 'pending_seconds')::pg_catalog.float8) AS pending_for,
       p.definition ->> 'reason_pattern' AS reason_pattern,
       (p.definition ->> 'ticket_required')::pg_catalog.bool AS ticket_required,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(p.definition -> 'hours')) AS hours,
       p.definition ->> 'zone' AS time_zone,
       CASE WHEN pg_catalog.jsonb_typeof(p.definition -> 'auto_approve') OPERATOR(pg_catalog.<>) 'null' THEN p.definition -> 'auto_approve' END AS auto_approve,
       ARRAY(SELECT COALESCE(a.rolname, (r ->> 'name')::name) FROM pg_catalog.jsonb_array_elements(p.definition -> 'break_glass') r
               LEFT JOIN pg_catalog.pg_roles a ON a.oid OPERATOR(pg_catalog.=) (r ->> 'oid')::pg_catalog.oid) AS break_glass,
       COALESCE((SELECT a.rolname FROM pg_catalog.pg_roles a
                  WHERE a.oid OPERATOR(pg_catalog.=) (p.definition -> 'creator' ->> 'oid')::pg_catalog.oid),
                (p.definition -> 'creator' ->> 'name')::name) AS created_by,
       p.changed_at
  FROM _scope.request_policy p
 CROSS JOIN (SELECT) nothing;
COMMENT ON VIEW scope.request_policies IS 'What may be asked for in this database, by whom, and who must say yes; see scope.create_request_policy(). For members of pg_monitor; scope.my_options() is for everybody.';

CREATE VIEW scope.requests WITH (security_barrier) AS
SELECT r.id AS request,
       CASE WHEN r.state OPERATOR(pg_catalog.=) ANY ('{pending,approved}') AND r.until OPERATOR(pg_catalog.<=) now.micros THEN 'expired'
            WHEN r.state OPERATOR(pg_catalog.=) 'active' AND r.ends_at OPERATOR(pg_catalog.<=) now.micros THEN 'ended'
            ELSE r.state END AS state,
       r.kind,
       r.target::name AS target,
       COALESCE(r.subject, r.person ->> 'name') AS requester,
       (r.person ->> 'name')::name AS login,
       r.person ->> 'issuer' AS issuer,
       r.subject,
       pg_catalog.make_interval(secs => r.seconds::pg_catalog.float8) AS valid_for,
       r.reason,
       r.ticket,
       v.needs,
       (SELECT pg_catalog.string_agg(pg_catalog.format('%s by %s%s', l.event, COALESCE(l.subject, l.login), ': ' OPERATOR(pg_catalog.||) l.note), '; ' ORDER BY l.at)
          FROM scope.request_log l
         WHERE l.request OPERATOR(pg_catalog.=) r.id AND l.event OPERATOR(pg_catalog.=) ANY ('{approved,denied,revoked,signed}')
           AND (l.revision OPERATOR(pg_catalog.=) r.revision OR l.event OPERATOR(pg_catalog.<>) 'approved')) AS decisions,
       epoch.at OPERATOR(pg_catalog.+) (r.starts_at OPERATOR(pg_catalog.*) epoch.micro) AS starts_at,
       epoch.at OPERATOR(pg_catalog.+) (r.asked_at OPERATOR(pg_catalog.*) epoch.micro) AS asked_at,
       CASE WHEN r.state OPERATOR(pg_catalog.=) ANY ('{pending,approved}') THEN epoch.at OPERATOR(pg_catalog.+) (r.until OPERATOR(pg_catalog.*) epoch.micro) END AS waits_until,
       epoch.at OPERATOR(pg_catalog.+) (r.active_from OPERATOR(pg_catalog.*) epoch.micro) AS active_from,
       epoch.at OPERATOR(pg_catalog.+) (r.ends_at OPERATOR(pg_catalog.*) epoch.micro) AS ends_at,
       r.granted::name AS granted,
       r.policy,
       r.extends,
       r.break_glass,
       r.signed,
       r.statement ->> 'text' AS statement,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(r.statement -> 'parameters')) AS parameters,
       (r.statement ->> 'expected_rows')::pg_catalog.int8 AS expected_rows,
       r.statement ->> 'digest' AS digest,
       r.error,
       v.mine,
       v.to_decide
  FROM _scope.visible_requests() v
  JOIN _scope.request r ON r.id OPERATOR(pg_catalog.=) v.request
 CROSS JOIN (SELECT timestamptz '1970-01-01 00:00:00+00' AS at, interval '1 microsecond' AS micro) epoch
 CROSS JOIN (SELECT (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 AS micros) now;
COMMENT ON VIEW scope.requests IS
'What has been asked for in this database and what became of it, from the first to the last: the caller''s own, those that the caller may decide, and all for members of pg_monitor.';

CREATE VIEW scope.request_board WITH (security_barrier) AS
SELECT r.request AS "#",
       r.state,
       pg_catalog."left"(pg_catalog.regexp_replace(r.requester, '[[:cntrl:]]', ' ', 'g'), 18) AS who,
       pg_catalog."left"(pg_catalog.regexp_replace(r.target::text, '[[:cntrl:]]', ' ', 'g'), 22) AS what,
       pg_catalog.to_char(COALESCE(r.ends_at, r.waits_until) OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp(), 'FMDDD"d" HH24:MI') AS "left",
       pg_catalog."left"(pg_catalog.regexp_replace(COALESCE(r.needs, ''), '[[:cntrl:]]', ' ', 'g'), 26) AS needs,
       pg_catalog."left"(pg_catalog.regexp_replace(pg_catalog.concat_ws(' ', r.ticket, r.reason), '[[:cntrl:]]', ' ', 'g'), 28) AS why
  FROM scope.requests r
 WHERE r.state OPERATOR(pg_catalog.=) ANY ('{pending,approved,active}')
 ORDER BY r.state OPERATOR(pg_catalog.<>) 'pending', r.request;
COMMENT ON VIEW scope.request_board IS 'What waits and what lasts, of scope.requests, on 120 columns: for \watch. left: until it expires, or access ends.';

CREATE VIEW scope.request_outbox AS
SELECT l.id, l.at, l.request, l.event, l.state, r.kind, r.target, COALESCE(r.subject, r.person ->> 'name') AS requester, r.policy, r.break_glass,
       COALESCE(l.subject, l.login::text) AS by
  FROM scope.request_log l
  JOIN _scope.request r ON r.id OPERATOR(pg_catalog.=) l.request
 WHERE NOT EXISTS (SELECT FROM _scope.request_told t WHERE t.id OPERATOR(pg_catalog.=) l.id);
COMMENT ON VIEW scope.request_outbox IS
'What a notifier has not told people of yet. It reads, tells, and then calls scope.acknowledge(): so everything is told at least once. NOTIFY on the channel scope_requests says that there is something new: {"request": 42, "state": "pending"}.';
