-- The map: who can do what, by what, until when.

CREATE FUNCTION scope.effective_access(role regrole DEFAULT NULL, object text DEFAULT NULL)
RETURNS TABLE (role_name name, object_type text, object_name text, privilege_type text, mode text, path name[],
               grantor name, grant_option boolean, ends_at timestamptz)
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'effective_access_wrapper';
COMMENT ON FUNCTION scope.effective_access(regrole, text) IS
'What a role (NULL: each role) really holds on an object (NULL: all in this database, and databases, tablespaces, settings and roles): one row per role, object and privilege. It agrees with has_table_privilege() and its sisters.
object: a table, view or sequence by name; a function as total(integer), types of your own with their schema; else the kind and the name as object_type and object_name show them: schema sales, column sales.orders.id, foreign server far, large object 16400, parameter work_mem, role alice. A table comes with its columns that have privileges of their own. Without object, what came with PostgreSQL is shown where its privileges have been changed.
mode: superuser; owner (or a role that inherits from the owner); direct; inherited; predefined (pg_read_all_data and the like); public; column (held on the column only); default (waits for objects that are still to be made); set role (only after SET ROLE). path: the roles walked, from the role to the one that holds the privilege. Of several ways the one that lasts longest is shown. grant_option: whether the role may hand it on. ends_at: the first deadline on the way, of a credential, authenticator or temporary membership; NULL: none.
On roles: USAGE has their privileges, SET may become them, ADMIN may grant them. A list of all roles leaves out what predefined roles have as PUBLIC only.
Members of pg_monitor see all roles, others those whose privileges they have; a NOTICE says so.
Errors: 42501 another''s role; 42704 no such object; 22023 a name that cannot be read.';

CREATE FUNCTION scope.who_can(privilege text, object text)
RETURNS TABLE (role_name name, object_type text, object_name text, privilege_type text, mode text, path name[],
               grantor name, grant_option boolean, ends_at timestamptz)
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'who_can_wrapper';
COMMENT ON FUNCTION scope.who_can(text, text) IS
'The roles that hold one privilege on one object, with how and until when, as scope.effective_access() shows them. privilege: a word of GRANT, such as SELECT; for a table also the roles that hold it on some columns. On roles: USAGE, SET, ADMIN.
Members of pg_monitor and the owner of the object see all roles, others those whose privileges they have; a NOTICE says that there may be others.
Errors: 42704 no such object; 22023 no such privilege, or not on such an object; 22004 NULL.';
