-- Fails when a schema of this name exists: its owner could otherwise plant objects in it.
CREATE SCHEMA scope;
COMMENT ON SCHEMA scope IS 'scope_roles: least-privilege, short-lived database access';

-- What nobody calls or reads by hand: out of the way of tab completion, and its name does not begin as the other's does.
CREATE SCHEMA _scope;
COMMENT ON SCHEMA _scope IS 'scope_roles: the tables, triggers and functions behind the functions and views of schema scope';
