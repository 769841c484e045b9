-- The map of roles.

CREATE FUNCTION scope.role_map(format text DEFAULT 'mermaid')
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'role_map_wrapper';
COMMENT ON FUNCTION scope.role_map(text) IS
'All roles of the server, what they are members of with the options that are not the usual ones, what the scopes of this database reach, and deadlines (UTC). format: mermaid (for Markdown) or dot (for Graphviz), in which roles that are alike in every arrow, and in what they reach, are one node; json: every role and membership.
Errors: 22023 unknown format; 22004 NULL.';
