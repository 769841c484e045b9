-- The role that creates the extension is a superuser today. What it keeps must not stay that role's when it no longer is one: an owner passes
-- row security and may put triggers on the tables, and a view works with its owner's rights.
DO $owner$
DECLARE
    bootstrap name := (SELECT rolname FROM pg_catalog.pg_roles WHERE oid OPERATOR(pg_catalog.=) 10);
    statement text;
BEGIN
    FOR statement IN
        SELECT pg_catalog.format('ALTER %s %I.%I OWNER TO %I', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, n.nspname, c.relname, bootstrap)
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
         WHERE n.nspname OPERATOR(pg_catalog.=) ANY ('{scope,_scope}') AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v}')
           AND c.relowner OPERATOR(pg_catalog.<>) 10
        UNION ALL
        SELECT pg_catalog.format('ALTER FUNCTION %s OWNER TO %I', p.oid::pg_catalog.regprocedure, bootstrap)
          FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
         WHERE n.nspname OPERATOR(pg_catalog.=) ANY ('{scope,_scope}') AND p.proowner OPERATOR(pg_catalog.<>) 10
        UNION ALL
        SELECT pg_catalog.format('ALTER SCHEMA %I OWNER TO %I', n.nspname, bootstrap)
          FROM pg_catalog.pg_namespace n
         WHERE n.nspname OPERATOR(pg_catalog.=) ANY ('{scope,_scope}') AND n.nspowner OPERATOR(pg_catalog.<>) 10
    LOOP
        EXECUTE statement;
    END LOOP;
END
$owner$;
