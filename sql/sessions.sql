-- Who is in the sessions of the server, and ending them.

CREATE FUNCTION _scope.present()
RETURNS TABLE (pid integer, login oid, acting oid, issuer text, subject text, actor text, until timestamptz, since timestamptz, tls boolean,
               method text)
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'present_wrapper';
COMMENT ON FUNCTION _scope.present() IS
'What the extension knows of the sessions of clients on this server, for scope.sessions: how they came, as whom a token has them act, and until when. acting: the role that the token has activated; without one, issuer and subject are those of the token for which the login was issued. Who sees which: as there.
Errors: 55000 not preloaded.';

CREATE VIEW scope.sessions WITH (security_barrier) AS
  WITH present AS MATERIALIZED (SELECT * FROM _scope.present())
SELECT p.pid,
       l.rolname AS login,
       r.rolname AS acting_role,
       p.issuer,
       p.subject,
       p.actor,
       p.since,
       p.until,
       CASE WHEN o.own THEN pg_catalog.inet_client_addr() ELSE a.client_addr END AS address,
       p.tls,
       p.method,
       -- Whoever acts as another role sees of pg_stat_activity not even the own state.
       CASE WHEN o.own THEN 'active' ELSE a.state END AS state,
       a.application_name,
       a.datname AS database,
       a.query_id
  FROM present p
  -- Not the function beneath, whose columns a dump lists: another version has others.
  JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) p.pid
 CROSS JOIN LATERAL (SELECT p.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AS own) o
  LEFT JOIN pg_catalog.pg_authid l ON l.oid OPERATOR(pg_catalog.=) p.login
  LEFT JOIN pg_catalog.pg_authid r ON r.oid OPERATOR(pg_catalog.=) p.acting;
COMMENT ON VIEW scope.sessions IS
'Every session of a client on this server, in whatever database and however it logged in: the login, as whom a token has it act at this moment, where it comes from, until when it lasts. Without a token acting_role is NULL; issuer and subject are then those of the token for which scope.exchange_token() has issued the login.
Members of pg_monitor and pg_read_all_stats see all. Others see the sessions of logins whose privileges they have, but issuer, subject and actor of a token in their own session only; an authenticator, and whoever acts by a token, the own session only.';

CREATE FUNCTION scope.end_sessions(subject text DEFAULT NULL, role name DEFAULT NULL, issuer text DEFAULT NULL)
RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'end_sessions_wrapper';
COMMENT ON FUNCTION scope.end_sessions(text, name, text) IS
'Ends the sessions of this server that are all of what is given, in every database, as pg_terminate_backend() does, and says how many it has told to end; never the own. What its caller rolls back stays ended.
subject: the sub of the token by which a session acts at this moment, or for which its login was issued; as a whole, however long. role: the login, or the role that a token has activated. issuer: the iss of the token, or the name of an issuer that is registered in this database. NULL: any, but not all three.
The sessions of superusers are ended for superusers only. New ones are not prevented: see scope.revoke_subject() and scope.revoke_role().
Errors: 22004 nothing given; 22023 an empty text; 42704 no such role; 55000 not preloaded.';
