-- Fails when a schema of this name exists: its owner could otherwise plant objects in it.
CREATE SCHEMA scope;
COMMENT ON SCHEMA scope IS 'scope_roles: least-privilege, short-lived database access';
