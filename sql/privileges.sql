-- Every GRANT of the extension. It starts closed: what is granted neither here nor by tokens.sql, a superuser grants.
REVOKE ALL ON ALL TABLES IN SCHEMA scope FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA scope FROM PUBLIC;
REVOKE ALL ON SCHEMA scope FROM PUBLIC;

GRANT USAGE ON SCHEMA scope TO PUBLIC;
-- Each sees what is theirs: the views and the function look for membership in pg_monitor for the rest.
GRANT SELECT ON scope.roles, scope.credentials, scope.scopes, scope.scope_declarations, scope.guarded_logins TO PUBLIC;
GRANT EXECUTE ON FUNCTION scope.login_facts() TO PUBLIC;
GRANT SELECT ON scope.jwt_issuers, scope.audit_log, scope.guards TO pg_monitor;
GRANT EXECUTE ON FUNCTION scope.role_map(text), scope.review_html() TO pg_monitor;
-- Each sees what is theirs; the functions ask for membership in pg_monitor for the rest.
GRANT EXECUTE ON FUNCTION scope.effective_access(regrole, text), scope.who_can(text, text) TO PUBLIC;
-- For whoever may see scope.roles.
GRANT EXECUTE ON FUNCTION scope.is_preloaded() TO PUBLIC;
