-- Whoever creates the extension is a superuser today. What it keeps is not his when he is one no longer: an owner passes
-- row security and may put triggers on his tables, and a view works with its owner's rights.
DO $owner$
DECLARE
    heir name := (SELECT rolname FROM pg_catalog.pg_roles WHERE oid OPERATOR(pg_catalog.=) 10);
    statement text;
BEGIN
    FOR statement IN
        SELECT pg_catalog.format('ALTER %s %I.%I OWNER TO %I', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, n.nspname, c.relname, heir)
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
         WHERE n.nspname OPERATOR(pg_catalog.=) 'scope' AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v}')
           AND c.relowner OPERATOR(pg_catalog.<>) 10
        UNION ALL
        SELECT pg_catalog.format('ALTER FUNCTION %s OWNER TO %I', p.oid::pg_catalog.regprocedure, heir)
          FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
         WHERE n.nspname OPERATOR(pg_catalog.=) 'scope' AND p.proowner OPERATOR(pg_catalog.<>) 10
        UNION ALL
        SELECT pg_catalog.format('ALTER SCHEMA scope OWNER TO %I', heir)
         WHERE (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'scope') OPERATOR(pg_catalog.<>) 10
    LOOP
        EXECUTE statement;
    END LOOP;
END
$owner$;
