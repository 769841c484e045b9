//! The statements about _scope.scope_declaration. They run with search_path pinned. `origin` is the database that an OID is of; pg_upgrade keeps the
//! OIDs of databases and tables, but not those of schemas and functions.

macro_rules! here {
    ($rest:expr) => {
        concat!(
            "WITH here AS MATERIALIZED (
               SELECT d.oid, d.datname, d.datdba,
                      pg_catalog.format('%s/%s/%s', (SELECT system_identifier FROM pg_catalog.pg_control_system()), d.oid,
                                        (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'scope')) AS origin
                 FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())",
            $rest
        )
    };
}

/// Rows that are a role's own: $1, and $2 by its name where no other role is meant.
macro_rules! own {
    ($rest:expr) => {
        concat!(
            "((s.scope_oid = $1::oid AND s.origin = here.origin)
              OR (s.scope = $2 AND NOT (s.origin = here.origin
                  AND EXISTS (SELECT FROM pg_catalog.pg_authid a WHERE a.oid = s.scope_oid))))",
            $rest
        )
    };
}

/// Rows with their role and object of today, without those whose role or object is gone.
macro_rules! resolved {
    ($condition:expr, $rest:expr) => {
        concat!(
            here!(", declared AS MATERIALIZED (
               SELECT s.ctid AS place, coalesce(o.oid, n.oid) AS role, coalesce(o.rolname, n.rolname) AS role_name, s.class, s.object,
                      s.object_oid, s.part, s.part_oid, s.privilege, s.stance, s.scope, s.origin, s.origin = here.origin AS native,
                      coalesce(s.declared_as, s.object) AS declared_as
                 FROM _scope.scope_declaration s CROSS JOIN here
                 LEFT JOIN pg_catalog.pg_authid o ON o.oid = s.scope_oid AND s.origin = here.origin
                 LEFT JOIN pg_catalog.pg_authid n ON o.oid IS NULL AND n.rolname = s.scope
                WHERE coalesce(o.oid, n.oid) IS NOT NULL AND "),
            $condition,
            "),
             functions AS MATERIALIZED (
               SELECT p.oid, p.oid::pg_catalog.regprocedure::text AS name FROM pg_catalog.pg_proc p
                WHERE p.oid >= 16384 AND EXISTS (
                      SELECT FROM declared d LEFT JOIN pg_catalog.pg_proc k ON k.oid = d.object_oid AND d.native WHERE d.class = 'function' AND k.oid IS NULL)),
             known AS (
               SELECT d.*, c.oid, 0::oid AS number, c.relnamespace AS schema, pg_catalog.format('%I.%I', n.nspname, c.relname) AS sql,
                      '' AS within, c.relowner AS owner
                 FROM declared d
                 JOIN pg_catalog.pg_class c ON c.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_class k WHERE k.oid = d.object_oid AND d.native),
                        pg_catalog.to_regclass(CASE WHEN d.class IN ('table', 'sequence') THEN d.object END)::oid)
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE d.class IN ('table', 'sequence') AND (c.relkind = 'S') = (d.class = 'sequence')
               UNION ALL
               SELECT d.*, c.oid, t.attnum::int4::oid, c.relnamespace, pg_catalog.quote_ident(t.attname),
                      pg_catalog.format('%I.%I', n.nspname, c.relname), c.relowner
                 FROM declared d
                 JOIN pg_catalog.pg_class c ON c.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_class k WHERE k.oid = d.object_oid AND d.native),
                        pg_catalog.to_regclass(CASE WHEN d.class = 'column' THEN d.object END)::oid)
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 JOIN pg_catalog.pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
                  AND CASE WHEN d.native AND c.oid = d.object_oid THEN t.attnum::int4::oid = d.part_oid
                           ELSE pg_catalog.quote_ident(t.attname) = d.part END
                WHERE d.class = 'column'
               UNION ALL
               SELECT d.*, p.oid, 0, p.pronamespace, p.oid::pg_catalog.regprocedure::text, '', p.proowner
                 FROM declared d
                 LEFT JOIN pg_catalog.pg_proc k ON k.oid = d.object_oid AND d.native
                 LEFT JOIN functions f ON k.oid IS NULL AND f.name = d.object
                 JOIN pg_catalog.pg_proc p ON p.oid = coalesce(k.oid, f.oid)
                WHERE d.class = 'function'
               UNION ALL
               SELECT d.*, n.oid, 0, n.oid, pg_catalog.quote_ident(n.nspname), '', n.nspowner
                 FROM declared d
                 JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_namespace k WHERE k.oid = d.object_oid AND d.native),
                        pg_catalog.to_regnamespace(CASE WHEN d.class = 'schema' THEN d.object END)::oid)
                WHERE d.class = 'schema'
               UNION ALL
               SELECT d.*, h.oid, 0, 0, pg_catalog.quote_ident(h.datname), '', h.datdba FROM declared d CROSS JOIN here h WHERE d.class = 'database'
               UNION ALL
               SELECT d.*, n.oid, r.oid, n.oid, pg_catalog.quote_ident(r.rolname), pg_catalog.quote_ident(n.nspname), 0
                 FROM declared d
                 JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_namespace k WHERE k.oid = d.object_oid AND d.native),
                        pg_catalog.to_regnamespace(CASE WHEN d.class LIKE 'future %' THEN d.object END)::oid)
                 JOIN pg_catalog.pg_authid r ON r.oid = coalesce(
                        (SELECT k.oid FROM pg_catalog.pg_authid k WHERE k.oid = d.part_oid AND d.native),
                        pg_catalog.to_regrole(CASE WHEN d.class LIKE 'future %' THEN d.part END)::oid)
                WHERE d.class LIKE 'future %') ",
            $rest
        )
    };
}

macro_rules! facts {
    ($condition:expr) => {
        resolved!(
            $condition,
            "SELECT pg_catalog.jsonb_build_object(
                 'role', role::bigint, 'class', class, 'object', oid::bigint, 'part', number::bigint, 'schema', schema::bigint,
                 'sql', sql, 'place', within, 'owner', owner::bigint, 'privilege', privilege, 'stance', stance)::text
               FROM known"
        )
    };
}

pub const OF_ALL: &str = facts!("true");

/// $1 the role, $2 its name.
pub const OF_ONE: &str = facts!(own!(""));

/// What was declared under a name that something else has taken since: that is not declared, and the scope cannot use it.
pub const REPLACED: &str = resolved!(
    "true",
    ", named AS MATERIALIZED (
       SELECT p.oid, p.oid::pg_catalog.regprocedure::text AS name FROM pg_catalog.pg_proc p
        WHERE p.oid >= 16384 AND EXISTS (SELECT FROM declared WHERE class = 'function')),
     taken AS MATERIALIZED (
       SELECT d.role, d.class, d.declared_as, d.privilege, k.oid,
              CASE WHEN d.class IN ('table', 'sequence', 'column') THEN (
                          SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass(d.declared_as)::oid AND (c.relkind = 'S') = (d.class = 'sequence'))
                   WHEN d.class = 'function' THEN f.oid
                   ELSE pg_catalog.to_regnamespace(d.declared_as)::oid END AS other,
              CASE WHEN d.class = 'column' THEN coalesce(k.sql, d.part) ELSE '' END AS part,
              coalesce(CASE WHEN d.class = 'column' OR d.class LIKE 'future %' THEN k.within ELSE k.sql END, '') AS today
         FROM declared d LEFT JOIN known k ON k.place = d.place
         LEFT JOIN named f ON d.class = 'function' AND f.name = d.declared_as
        WHERE d.stance = 'required' AND d.class NOT IN ('database', 'future sequences', 'future functions')
          -- USAGE comes along with what is in the schema.
          AND (d.class <> 'schema' OR d.privilege = 'CREATE'))
     SELECT pg_catalog.jsonb_build_object('role', t.role::bigint, 'class', t.class, 'name', t.declared_as, 'part', t.part, 'column', coalesce(a.attname::text, ''), 'today', pg_catalog.max(t.today),
                                          'privileges', pg_catalog.jsonb_agg(DISTINCT t.privilege))::text
       FROM taken t LEFT JOIN pg_catalog.pg_attribute a ON t.class = 'column' AND a.attrelid = t.other AND pg_catalog.quote_ident(a.attname) = t.part AND NOT a.attisdropped
      WHERE t.other IS DISTINCT FROM t.oid AND t.other IS NOT NULL AND (t.class <> 'column' OR a.attnum IS NOT NULL)
        AND NOT EXISTS (SELECT FROM known k WHERE k.role = t.role AND k.class = t.class AND k.oid = t.other AND k.privilege = t.privilege
                           AND (t.class <> 'column' OR k.sql = t.part))
        AND NOT CASE t.class WHEN 'table' THEN pg_catalog.has_table_privilege(t.role, t.other, t.privilege)
                             WHEN 'column' THEN pg_catalog.has_column_privilege(t.role, t.other, a.attnum, t.privilege)
                             WHEN 'sequence' THEN pg_catalog.has_sequence_privilege(t.role, t.other, t.privilege)
                             WHEN 'function' THEN pg_catalog.has_function_privilege(t.role, t.other, t.privilege)
                             WHEN 'schema' THEN pg_catalog.has_schema_privilege(t.role, t.other, t.privilege) ELSE false END
      GROUP BY t.role, t.class, t.declared_as, t.part, a.attname"
);

pub const IS_HERE: &str = "
SELECT 'true' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
 WHERE n.nspname = '_scope' AND c.relname = 'scope_declaration' AND e.extname = 'scope_roles'";

pub const ANY: &str = here!(concat!(
    " SELECT 'true' FROM _scope.scope_declaration s CROSS JOIN here WHERE ",
    own!(" LIMIT 1")
));

pub const ROLES_HERE: &str = here!(
    " SELECT DISTINCT coalesce(o.oid, n.oid)::bigint::text FROM _scope.scope_declaration s CROSS JOIN here
        LEFT JOIN pg_catalog.pg_authid o ON o.oid = s.scope_oid AND s.origin = here.origin
        LEFT JOIN pg_catalog.pg_authid n ON o.oid IS NULL AND n.rolname = s.scope
       WHERE coalesce(o.oid, n.oid) IS NOT NULL"
);

/// $3: the request, in a row of a class of its own, of which no object is known.
pub const REMEMBER: &str = here!(concat!(
    " INSERT INTO _scope.scope_declaration (scope, scope_oid, class, object, object_oid, part, part_oid, privilege, stance, origin)
     SELECT $2, $1::oid, 'request', $3, 0, '', 0, '', '', here.origin FROM here
      WHERE NOT EXISTS (SELECT FROM _scope.scope_declaration s WHERE s.class = 'request' AND s.object = $3 AND ",
    own!(")")
));

pub const REMEMBERED: &str = here!(concat!(
    " SELECT 'true' FROM _scope.scope_declaration s CROSS JOIN here WHERE s.class = 'request' AND s.object = $3 AND ",
    own!("")
));

/// $3: the rows as they are to be.
pub const REMOVE: &str = here!(concat!(
    " DELETE FROM _scope.scope_declaration s USING here
     WHERE ",
    own!(
        " AND s.class <> 'request' AND (s.origin <> here.origin OR s.scope_oid <> $1::oid OR s.scope <> $2
           OR (s.class, s.object, s.object_oid, s.part, s.part_oid, s.privilege, s.stance) NOT IN (
                SELECT w.class, w.object, w.object_oid, w.part, w.part_oid, w.privilege, w.stance
                  FROM pg_catalog.jsonb_to_recordset($3::jsonb)
                    AS w(class text, object text, object_oid oid, part text, part_oid oid, privilege text, stance text)))"
    )
));

/// After REMOVE: what is there already is as it is to be.
pub const INSERT: &str = here!(
    " INSERT INTO _scope.scope_declaration (scope, scope_oid, class, object, object_oid, part, part_oid, privilege, stance, origin)
     SELECT $2, $1::oid, w.class, w.object, w.object_oid, w.part, w.part_oid, w.privilege, w.stance, here.origin
       FROM here, pg_catalog.jsonb_to_recordset($3::jsonb)
         AS w(class text, object text, object_oid oid, part text, part_oid oid, privilege text, stance text)
      WHERE (w.class, w.object_oid, w.part_oid, w.privilege) NOT IN (
            SELECT s.class, s.object_oid, s.part_oid, s.privilege FROM _scope.scope_declaration s
             WHERE s.scope_oid = $1::oid AND s.origin = (SELECT origin FROM here))"
);

pub const FORGET: &str = here!(concat!(
    " DELETE FROM _scope.scope_declaration s USING here WHERE ",
    own!("")
));

pub const ANCHORS: &str = resolved!(
    "s.origin <> here.origin",
    "SELECT pg_catalog.jsonb_build_object('place', place, 'role', role::bigint, 'object', oid::bigint, 'part', number::bigint)::text
       FROM known"
);

/// $1: those found by [`ANCHORS`].
pub const ANCHOR: &str = here!(
    " UPDATE _scope.scope_declaration s
        SET scope_oid = k.role, object_oid = k.object, part_oid = k.part, origin = here.origin
       FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS k(place tid, role oid, object oid, part oid) CROSS JOIN here
      WHERE s.ctid = k.place AND s.origin <> here.origin
        AND s.ctid IN (SELECT l.ctid FROM _scope.scope_declaration l WHERE l.ctid = k.place FOR UPDATE SKIP LOCKED)"
);

/// Somebody else may be at it, and then need not be waited for.
pub const FORGET_OTHERS: &str = here!(
    " DELETE FROM _scope.scope_declaration WHERE ctid IN (
       SELECT s.ctid FROM _scope.scope_declaration s CROSS JOIN here
        WHERE s.origin = here.origin
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid a WHERE a.oid = s.scope_oid OR a.rolname = s.scope)
          FOR UPDATE OF s SKIP LOCKED)"
);

/// Those of this database with their names of today.
macro_rules! today {
    ($rest:expr) => {
        here!(concat!(
    ", today AS MATERIALIZED (
       SELECT s.ctid AS place, a.rolname AS scope, x.object, x.part
         FROM _scope.scope_declaration s JOIN here ON here.origin = s.origin
         LEFT JOIN pg_catalog.pg_authid a ON a.oid = s.scope_oid
         LEFT JOIN pg_catalog.pg_class c ON c.oid = s.object_oid AND s.class IN ('table', 'sequence', 'column')
         LEFT JOIN pg_catalog.pg_attribute t ON t.attrelid = c.oid AND t.attnum::int4::oid = s.part_oid AND s.class = 'column' AND NOT t.attisdropped
         LEFT JOIN pg_catalog.pg_proc p ON p.oid = s.object_oid AND s.class = 'function'
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = CASE WHEN s.class IN ('table', 'sequence', 'column') THEN c.relnamespace
                                                              WHEN s.class = 'schema' OR s.class LIKE 'future %' THEN s.object_oid END
         LEFT JOIN pg_catalog.pg_authid r ON r.oid = s.part_oid AND s.class LIKE 'future %'
        CROSS JOIN LATERAL (SELECT
              CASE WHEN c.oid IS NOT NULL THEN pg_catalog.format('%I.%I', n.nspname, c.relname)
                   WHEN p.oid IS NOT NULL THEN p.oid::pg_catalog.regprocedure::text
                   WHEN n.oid IS NOT NULL THEN pg_catalog.quote_ident(n.nspname) END,
              coalesce(pg_catalog.quote_ident(t.attname), pg_catalog.quote_ident(r.rolname))) x(object, part))",
            $rest
        ))
    };
}

macro_rules! is_stale {
    () => {
        "(s.scope <> coalesce(k.scope, s.scope) OR s.object <> coalesce(k.object, s.object) OR s.part <> coalesce(k.part, s.part))"
    };
}

pub const STALE: &str = today!(concat!(
    " SELECT 'true' FROM _scope.scope_declaration s JOIN today k ON s.ctid = k.place WHERE ",
    is_stale!(),
    " LIMIT 1"
));

/// Those whose names are no longer the ones that are stored.
pub const REFRESH: &str = today!(concat!(
    " UPDATE _scope.scope_declaration s
        SET scope = coalesce(k.scope, s.scope), object = coalesce(k.object, s.object), part = coalesce(k.part, s.part),
            declared_as = CASE WHEN s.object <> k.object THEN coalesce(s.declared_as, s.object) ELSE s.declared_as END
       FROM today k
      WHERE s.ctid = k.place AND ",
    is_stale!(),
    " AND s.ctid IN (SELECT l.ctid FROM _scope.scope_declaration l WHERE l.ctid = k.place FOR UPDATE SKIP LOCKED)"
));

/// $1: schemas with their creators.
pub const NEWCOMERS: &str = "
SELECT pg_catalog.jsonb_build_object('class', x.class, 'object', x.object::bigint, 'schema', x.schema::bigint,
                                     'owner', x.owner::bigint, 'sql', x.sql)::text
  FROM (SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS class, c.oid AS object, c.relnamespace AS schema, c.relowner AS owner,
               pg_catalog.format('%I.%I', n.nspname, c.relname) AS sql
          FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS w(schema oid, creator oid)
          JOIN pg_catalog.pg_class c ON c.relnamespace = w.schema AND c.relowner = w.creator AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         UNION ALL
        SELECT 'function', p.oid, p.pronamespace, p.proowner, p.oid::pg_catalog.regprocedure::text
          FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS w(schema oid, creator oid)
          JOIN pg_catalog.pg_proc p ON p.pronamespace = w.schema AND p.proowner = w.creator) x";
