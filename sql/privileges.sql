-- Every GRANT of the extension. It starts closed: what is not granted here, a superuser grants.
REVOKE ALL ON ALL TABLES IN SCHEMA scope FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA scope FROM PUBLIC;
REVOKE ALL ON SCHEMA scope FROM PUBLIC;

GRANT USAGE ON SCHEMA scope TO PUBLIC;
-- The token is the authority, and it gives no more than memberships already allow.
GRANT EXECUTE ON FUNCTION scope.set_jwt_role(text, text) TO PUBLIC;
-- Names, deadlines and labels of roles are readable by everyone in the catalogs anyway.
GRANT SELECT ON scope.roles TO pg_monitor;
