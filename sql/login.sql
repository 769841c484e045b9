-- Who may log in from where, how and when; and who has.

CREATE FUNCTION scope.set_login_policy(
    role name,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    allowed_hours text[] DEFAULT NULL,
    time_zone text DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_login_policy_wrapper';
COMMENT ON FUNCTION scope.set_login_policy(name, cidr[], boolean, boolean, text[], text) IS
'Changes the rules of a credential''s or authenticator''s logins, from the commit on; what is NULL stays as it is. Sessions that are open stay.
allowed_ips: the networks that it may log in from; empty: none, for Unix sockets only; ''{0.0.0.0/0,::/0}'': all. allow_local: whether by Unix socket; one that was never set follows: true while allowed_ips is not set. require_tls: whether TCP connections must use TLS.
allowed_hours: when it may log in, each ''days from-to'' with days such as Mon-Fri, Mon,Wed or daily, and times from 00:00 to 24:00; to before from: past midnight. Empty: at any time. They are what the clock shows in time_zone, a name in pg_timezone_names: summer time is taken into account.
The caller must be its creator, a member of that role, or a superuser, and not the login itself.
Errors: 42704 no such role; 42809 not a credential; 42501 not the caller''s; 22023 bad hours or time zone, hours without a time zone, rules that let nobody in; 54000 too many; 22004 NULL; 25006 read-only; 55000 not preloaded, has ended, or TLS required of a server without.';

CREATE FUNCTION scope.guard_login(
    role name,
    allowed_ips cidr[] DEFAULT NULL,
    allow_local boolean DEFAULT NULL,
    require_tls boolean DEFAULT NULL,
    allowed_hours text[] DEFAULT NULL,
    time_zone text DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'guard_login_wrapper';
COMMENT ON FUNCTION scope.guard_login(name, cidr[], boolean, boolean, text[], text) IS
'Has the logins of a role that is not managed checked too, by the rules of scope.set_login_policy(), and its login facts kept; without rules only these. A second call replaces all rules. The role stays what it is otherwise: it does not end, and its VALID UNTIL is what PostgreSQL makes of it.
For superusers, and roles with CREATEROLE and ADMIN OPTION on the role; nobody guards himself. Never for superusers: a role that becomes one later is let in whatever its guard says.
Errors: 42704 no such role; 42809 managed, or not a login; 42501 a superuser, or not the caller''s; the others as scope.set_login_policy().';

CREATE FUNCTION scope.unguard_login(role name)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'unguard_login_wrapper';
COMMENT ON FUNCTION scope.unguard_login(name) IS
'Takes away what scope.guard_login() has set. For the same callers.
Errors: 42704 no such role; 42809 managed; 42501 not the caller''s; 55000 not guarded, a label that cannot be read, or not preloaded; 22004 NULL; 25006 read-only.';

CREATE FUNCTION _scope.login_facts()
RETURNS TABLE (role oid, logins bigint, last_login timestamptz, last_address text, last_refusal timestamptz, last_refusal_reason text,
               addresses text[], since timestamptz)
LANGUAGE c VOLATILE PARALLEL SAFE ROWS 1000
AS 'MODULE_PATHNAME', 'login_facts_wrapper';
COMMENT ON FUNCTION _scope.login_facts() IS
'When, how often and from where managed and guarded roles have logged in to this server, as scope.credentials and scope.guarded_logins show it, by OID. last_address: an address, or local for Unix sockets. last_refusal_reason: one word of label, state, kind, deadline, local, address, tls, hours, replication, database (issued in another, and its scopes have a part in this one too).
addresses: from where it has come in the last 30 days, the latest first, eight at most: IPv4 addresses, and of IPv6 the network of 64 bits, within which machines change theirs; to the hour.
Counted is who passes authentication and these rules. The row without a role stands for what found no room in the table of scope_roles.login_facts roles: how often and when last; its column since says from when on this server has counted, NULL just after a promotion. Without that table there is no row.
Members of pg_monitor see all roles, others those that they, or a role whose privileges they have, issued or guarded.
Errors: none.';
