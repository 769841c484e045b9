//! Privileges by which a managed role can leave code that others run.

use super::check::{Check, Severity, has_part_here, ours};

/// What `alter_scope()` can take from a scope of this database it takes, so that the scope declares it no longer.
pub const CHECK: Check = Check {
    code: "plants_code",
    severity: Severity::Medium,
    stops: "",
    sql: ours!(concat!(
        ", g(acl, owner, shown, argument, prefix, part, target) AS (
           SELECT c.relacl, c.relowner, format('%I.%I', n.nspname, c.relname), format('tables => %L', ARRAY[format('%I.%I', n.nspname, c.relname)]),
                  '', '', format('TABLE %I.%I', n.nspname, c.relname)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relacl IS NOT NULL AND c.oid >= 16384
           UNION ALL
           SELECT t.attacl, c.relowner, format('column %I of %I.%I', t.attname, n.nspname, c.relname),
                  format('tables => %L, columns => %L', ARRAY[format('%I.%I', n.nspname, c.relname)], ARRAY[t.attname::text]),
                  '', format(' (%I)', t.attname), format('TABLE %I.%I', n.nspname, c.relname)
             FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE t.attacl IS NOT NULL AND c.oid >= 16384 AND NOT t.attisdropped
           UNION ALL
           SELECT n.nspacl, n.nspowner, format('schema %I', n.nspname), format('schemas => %L', ARRAY[quote_ident(n.nspname)]),
                  '', '', format('SCHEMA %I', n.nspname)
             FROM pg_namespace n
           UNION ALL
           SELECT d.datacl, d.datdba, format('database %I', d.datname), NULL, '', '', format('DATABASE %I', d.datname)
             FROM pg_database d WHERE d.datname = current_database()
           UNION ALL
           SELECT f.defaclacl, f.defaclrole,
                  format('future %s of %I', CASE f.defaclobjtype WHEN 'r' THEN 'tables' ELSE 'schemas' END, r.rolname) || coalesce(' in schema ' || quote_ident(n.nspname), ''),
                  CASE WHEN f.defaclobjtype = 'r' THEN format('schemas => %L', ARRAY[quote_ident(n.nspname)]) END,
                  format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s ', r.rolname, ' IN SCHEMA ' || quote_ident(n.nspname)), '',
                  CASE f.defaclobjtype WHEN 'r' THEN 'TABLES' ELSE 'SCHEMAS' END
             FROM pg_default_acl f JOIN pg_authid r ON r.oid = f.defaclrole LEFT JOIN pg_namespace n ON n.oid = f.defaclnamespace
            WHERE f.defaclobjtype IN ('r', 'n'))
         SELECT o.rolname::text, g.shown,
                format('%s lets it leave code or work that others run, for longer than its logins last; with the fix, %s',
                       string_agg(DISTINCT a.privilege_type, ', '),
                       string_agg(DISTINCT CASE a.privilege_type WHEN 'TRIGGER' THEN 'it can make no more triggers there' WHEN 'REFERENCES' THEN 'it can make no more foreign keys to it'
                                           ELSE 'it can create nothing there any more, new tables and indexes of its own included' END, ', and ')), NULL,
                CASE WHEN o.label ->> 'kind' = 'scope' AND ",
        has_part_here!("o.label", "o.oid"),
        " AND g.argument IS NOT NULL
                     THEN format('SELECT scope.alter_scope(%L, ''remove'', %L, %s);', o.rolname, array_agg(DISTINCT a.privilege_type), g.argument)
                     ELSE string_agg(DISTINCT format(CASE WHEN a.grantor = g.owner THEN '%2$s' ELSE 'SET ROLE %1$I; %2$s RESET ROLE;' END, b.rolname,
                              format('%sREVOKE %s%s ON %s FROM %I CASCADE;', g.prefix, a.privilege_type, g.part, g.target, o.rolname)), ' ') END
           FROM g CROSS JOIN LATERAL aclexplode(g.acl) a JOIN o ON o.oid = a.grantee AND o.oid <> g.owner LEFT JOIN pg_authid b ON b.oid = a.grantor
          WHERE a.privilege_type IN ('TRIGGER', 'REFERENCES', 'CREATE')
          GROUP BY o.rolname, o.label, o.oid, g.shown, g.argument"
    )),
};
