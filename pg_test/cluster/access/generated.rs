//! The oracle: on a generated cluster, for every role, object and privilege, what is listed is what has_table_privilege() and
//! its sisters say.

use crate::harness::*;

/// Repeatable chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

const ROLES: usize = 24;

/// What GRANT names, and the privileges there.
const OBJECTS: &[(&str, &[&str])] = &[
    ("TABLE gen.t1", TABLE),
    ("TABLE gen.t2", TABLE),
    ("TABLE gen.v1", TABLE),
    ("TABLE gen.m1", TABLE),
    ("TABLE gen.f1", TABLE),
    (
        "TABLE pg_catalog.pg_statistic",
        &["SELECT", "INSERT", "DELETE"],
    ),
    ("TABLE pg_catalog.pg_stats", TABLE),
    ("SEQUENCE gen.s1", &["USAGE", "SELECT", "UPDATE"]),
    ("SEQUENCE gen.s2", &["USAGE", "SELECT", "UPDATE"]),
    ("FUNCTION gen.fn1(integer)", &["EXECUTE"]),
    ("FUNCTION pg_catalog.pg_ls_dir(text)", &["EXECUTE"]),
    ("PROCEDURE gen.p1()", &["EXECUTE"]),
    ("SCHEMA gen", &["USAGE", "CREATE"]),
    ("SCHEMA gen2", &["USAGE", "CREATE"]),
    ("SCHEMA public", &["USAGE", "CREATE"]),
    (
        "DATABASE access_generated",
        &["CONNECT", "CREATE", "TEMPORARY"],
    ),
    ("TYPE gen.e1", &["USAGE"]),
    ("DOMAIN gen.d1", &["USAGE"]),
    ("LANGUAGE plpgsql", &["USAGE"]),
    ("FOREIGN DATA WRAPPER gen_w", &["USAGE"]),
    ("FOREIGN SERVER gen_s", &["USAGE"]),
    ("LARGE OBJECT 4711", &["SELECT", "UPDATE"]),
    ("PARAMETER work_mem", &["SET", "ALTER SYSTEM"]),
    ("PARAMETER log_statement", &["SET", "ALTER SYSTEM"]),
    ("TABLESPACE pg_default", &["CREATE"]),
];

const TABLE: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
];

/// Owned by roles of the cluster, by ALTER … OWNER TO.
const OWNED: &[&str] = &[
    "TABLE gen.t1",
    "TABLE gen.t2",
    "VIEW gen.v1",
    "MATERIALIZED VIEW gen.m1",
    "SEQUENCE gen.s1",
    "FUNCTION gen.fn1(integer)",
    "PROCEDURE gen.p1()",
    "SCHEMA gen",
    "TYPE gen.e1",
    "DOMAIN gen.d1",
    "FOREIGN TABLE gen.f1",
    "SERVER gen_s",
    "LARGE OBJECT 4711",
    "DATABASE access_generated",
];

fn role(number: usize) -> String {
    // Names that need quoting too.
    match number {
        0 => "\"Gen 0\"".to_owned(),
        1 => "\"gen\"\"1'\"".to_owned(),
        _ => format!("gen_{number}"),
    }
}

fn make(admin: &mut Session, chance: &mut Chance) {
    admin.run(
        "CREATE SCHEMA gen; CREATE SCHEMA gen2;
         CREATE TABLE gen.t1 (a int, b int, c int); CREATE TABLE gen.t2 (a int, b int); CREATE VIEW gen.v1 AS SELECT * FROM gen.t1;
         CREATE MATERIALIZED VIEW gen.m1 AS SELECT 1 AS a; CREATE SEQUENCE gen.s1; CREATE SEQUENCE gen.s2;
         CREATE FUNCTION gen.fn1(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE gen.p1() LANGUAGE sql AS '';
         CREATE TYPE gen.e1 AS ENUM ('x'); CREATE DOMAIN gen.d1 AS int;
         CREATE FOREIGN DATA WRAPPER gen_w; CREATE SERVER gen_s FOREIGN DATA WRAPPER gen_w;
         CREATE FOREIGN TABLE gen.f1 (a int) SERVER gen_s; SELECT lo_create(4711)",
    );
    let options = admin.holds("current_setting('server_version_num')::int >= 160000");
    for number in 0..ROLES {
        let inherit = if chance.one_in(4) {
            "NOINHERIT"
        } else {
            "INHERIT"
        };
        let superuser = if chance.one_in(10) {
            "SUPERUSER"
        } else {
            "NOSUPERUSER"
        };
        admin.run(&format!(
            "CREATE ROLE {} {inherit} {superuser} LOGIN",
            role(number)
        ));
        // Members of earlier roles, so that there are no circles.
        for _ in 0..chance.below(3).min(number) {
            let group = role(chance.below(number));
            let admin_option = chance.one_in(4);
            let with = match (options, admin_option) {
                (false, false) => String::new(),
                (false, true) => " WITH ADMIN OPTION".to_owned(),
                (true, _) => format!(
                    " WITH INHERIT {}, SET {}, ADMIN {admin_option}",
                    chance.one_in(2),
                    chance.one_in(2)
                ),
            };
            admin.run(&format!("GRANT {group} TO {}{with}", role(number)));
        }
        if chance.one_in(5) {
            let predefined = chance.of(&[
                "pg_read_all_data",
                "pg_write_all_data",
                "pg_monitor",
                "pg_read_all_stats",
            ]);
            admin.run(&format!("GRANT {predefined} TO {}", role(number)));
        }
    }
    for object in OWNED {
        if !chance.one_in(3) {
            admin.run(&format!(
                "ALTER {object} OWNER TO {}",
                role(chance.below(ROLES))
            ));
        }
    }
}

/// One random change of privileges, by whoever is drawn; it may fail, as it may for people.
fn change(admin: &mut Session, chance: &mut Chance) {
    let (object, privileges) = OBJECTS[chance.below(OBJECTS.len())];
    let privilege = match chance.below(6) {
        0 => "ALL",
        _ => chance.of(privileges),
    };
    let column = match privilege {
        "SELECT" | "INSERT" | "UPDATE" | "REFERENCES"
            if object.starts_with("TABLE gen.") && chance.one_in(2) =>
        {
            " (a)"
        }
        _ => "",
    };
    let grantee = match chance.below(6) {
        0 => "PUBLIC".to_owned(),
        _ => role(chance.below(ROLES)),
    };
    let grantor = match chance.below(3) {
        0 => role(chance.below(ROLES)),
        _ => "postgres".to_owned(),
    };
    let statement = match chance.below(4) {
        0 => format!("REVOKE {privilege}{column} ON {object} FROM {grantee} CASCADE"),
        1 if grantee != "PUBLIC" => {
            format!("GRANT {privilege}{column} ON {object} TO {grantee} WITH GRANT OPTION")
        }
        2 if grantee != "PUBLIC" && chance.one_in(3) => format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA gen GRANT SELECT ON TABLES TO {grantee}",
            role(chance.below(ROLES))
        ),
        _ => format!("GRANT {privilege}{column} ON {object} TO {grantee}"),
    };
    admin.run(&format!("SET ROLE {grantor}"));
    let _ = admin.attempt(&statement);
    admin.run("RESET ROLE");
}

/// Role, object by class and identity, privilege, and whether it may be handed on: as PostgreSQL says.
fn truth(set: &str, has_maintain: bool) -> String {
    let maintain = if has_maintain { ",MAINTAIN" } else { "" };
    format!(
        "CREATE TEMPORARY TABLE truth AS
         WITH r AS (SELECT oid AS role FROM pg_roles)
         SELECT role, 'relation' AS class, 'pg_class'::regclass::oid AS classid, c.oid AS objid, 0 AS sub, p AS privilege,
                has_table_privilege(role, c.oid, p || ' WITH GRANT OPTION') AS grantable
           FROM r, pg_class c, unnest('{{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER{maintain}}}'::text[]) p
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (c.oid >= 16384 OR c.relname IN ('pg_statistic', 'pg_stats')) AND has_table_privilege(role, c.oid, p)
         UNION ALL
         SELECT role, 'sequence', 'pg_class'::regclass, c.oid, 0, p, has_sequence_privilege(role, c.oid, p || ' WITH GRANT OPTION')
           FROM r, pg_class c, unnest('{{USAGE,SELECT,UPDATE}}'::text[]) p
          WHERE c.relkind = 'S' AND has_sequence_privilege(role, c.oid, p)
         UNION ALL
         SELECT role, 'column', 'pg_class'::regclass, a.attrelid, a.attnum, p, has_column_privilege(role, a.attrelid, a.attnum, p || ' WITH GRANT OPTION')
           FROM r, pg_attribute a, unnest('{{SELECT,INSERT,UPDATE,REFERENCES}}'::text[]) p
          WHERE a.attacl IS NOT NULL AND has_column_privilege(role, a.attrelid, a.attnum, p)
            AND NOT has_table_privilege(role, a.attrelid, p)
         UNION ALL
         SELECT role, 'function', 'pg_proc'::regclass, f.oid, 0, 'EXECUTE', has_function_privilege(role, f.oid, 'EXECUTE WITH GRANT OPTION')
           FROM r, pg_proc f WHERE (f.oid >= 16384 OR f.proname = 'pg_ls_dir') AND has_function_privilege(role, f.oid, 'EXECUTE')
         UNION ALL
         SELECT role, 'schema', 'pg_namespace'::regclass, n.oid, 0, p, has_schema_privilege(role, n.oid, p || ' WITH GRANT OPTION')
           FROM r, pg_namespace n, unnest('{{USAGE,CREATE}}'::text[]) p
          WHERE n.nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(role, n.oid, p)
         UNION ALL
         SELECT role, 'database', 'pg_database'::regclass, d.oid, 0, p, has_database_privilege(role, d.oid, p || ' WITH GRANT OPTION')
           FROM r, pg_database d, unnest('{{CONNECT,CREATE,TEMPORARY}}'::text[]) p WHERE d.datallowconn AND has_database_privilege(role, d.oid, p)
         UNION ALL
         SELECT role, 'type', 'pg_type'::regclass, t.oid, 0, 'USAGE', has_type_privilege(role, t.oid, 'USAGE WITH GRANT OPTION')
           FROM r, pg_type t WHERE t.oid >= 16384 AND t.typtype IN ('d', 'e') AND has_type_privilege(role, t.oid, 'USAGE')
         UNION ALL
         SELECT role, 'language', 'pg_language'::regclass, l.oid, 0, 'USAGE', has_language_privilege(role, l.oid, 'USAGE WITH GRANT OPTION')
           FROM r, pg_language l WHERE has_language_privilege(role, l.oid, 'USAGE')
         UNION ALL
         SELECT role, 'wrapper', 'pg_foreign_data_wrapper'::regclass, w.oid, 0, 'USAGE', has_foreign_data_wrapper_privilege(role, w.oid, 'USAGE WITH GRANT OPTION')
           FROM r, pg_foreign_data_wrapper w WHERE has_foreign_data_wrapper_privilege(role, w.oid, 'USAGE')
         UNION ALL
         SELECT role, 'server', 'pg_foreign_server'::regclass, s.oid, 0, 'USAGE', has_server_privilege(role, s.oid, 'USAGE WITH GRANT OPTION')
           FROM r, pg_foreign_server s WHERE has_server_privilege(role, s.oid, 'USAGE')
         UNION ALL
         SELECT role, 'tablespace', 'pg_tablespace'::regclass, s.oid, 0, 'CREATE', has_tablespace_privilege(role, s.oid, 'CREATE WITH GRANT OPTION')
           FROM r, pg_tablespace s WHERE has_tablespace_privilege(role, s.oid, 'CREATE')
         UNION ALL
         SELECT role, 'parameter', 'pg_parameter_acl'::regclass, a.oid, 0, p, has_parameter_privilege(role, a.parname, p || ' WITH GRANT OPTION')
           FROM r, pg_parameter_acl a, unnest('{{SET,ALTER SYSTEM}}'::text[]) p WHERE has_parameter_privilege(role, a.parname, p);
         CREATE TEMPORARY TABLE may_become AS
         SELECT a.oid AS role, b.oid AS other FROM pg_roles a, pg_roles b WHERE pg_has_role(a.oid, b.oid, '{set}')"
    )
}

/// What is listed, with the objects that the names mean.
const LISTED: &str = "
    CREATE TEMPORARY TABLE listed AS
    SELECT r.oid AS role, a.*,
           CASE WHEN a.object_type IN ('table', 'view', 'materialized view', 'foreign table') THEN 'relation'
                WHEN a.object_type IN ('function', 'procedure', 'aggregate') THEN 'function'
                WHEN a.object_type IN ('type', 'domain') THEN 'type'
                WHEN a.object_type = 'foreign-data wrapper' THEN 'wrapper'
                WHEN a.object_type = 'foreign server' THEN 'server' ELSE a.object_type END AS class
      FROM pg_roles r, scope.effective_access(r.oid::regrole) a;
    CREATE TEMPORARY TABLE named AS
    SELECT DISTINCT t.class, t.classid, t.objid, t.sub,
           CASE t.class WHEN 'parameter' THEN (SELECT parname FROM pg_parameter_acl p WHERE p.oid = t.objid)
                        WHEN 'function' THEN (SELECT format('%I.%I(%s)', pronamespace::regnamespace, proname, oidvectortypes(proargtypes))
                                                FROM pg_proc p WHERE p.oid = t.objid)
                        ELSE i.identity END AS name
      FROM truth t, pg_identify_object(t.classid, t.objid, t.sub) i";

fn assert_agrees(admin: &mut Session, round: usize) {
    let version = admin.holds("current_setting('server_version_num')::int >= 160000");
    let set = if version { "SET" } else { "MEMBER" };
    let maintain = admin.holds("current_setting('server_version_num')::int >= 170000");
    admin.run(
        "DROP TABLE IF EXISTS pg_temp.truth, pg_temp.may_become, pg_temp.listed, pg_temp.named",
    );
    admin.run(&truth(set, maintain));
    admin.run(LISTED);
    admin.run("CREATE INDEX ON truth (role, objid); CREATE INDEX ON listed (role); ANALYZE truth, may_become, listed, named");
    let nothing = [""; 0];
    // What holds now. PostgreSQL's own objects are listed where their privileges were changed: those are in the list of all roles.
    let held = "SELECT l.role, n.class, n.objid, n.sub, l.privilege_type, l.grant_option FROM listed l JOIN named n ON n.class = l.class AND n.name = l.object_name
                 WHERE l.mode NOT IN ('set role', 'default')";
    let seen = "(objid >= 16384 AND class <> 'parameter' OR class = 'database') OR (class, objid, sub) IN (SELECT n.class, n.objid, n.sub FROM listed l JOIN named n ON n.class = l.class AND n.name = l.object_name)";
    let explain = "format('%s %s %s%s', role::regrole, privilege, (pg_identify_object(classid, objid, sub)).identity, CASE WHEN grantable THEN ' *' END)";
    assert_eq!(
        admin.column(&format!(
            "SELECT {explain} FROM (SELECT role, class, objid, sub, privilege, grantable FROM truth WHERE ({seen}) EXCEPT ({held})) d
               JOIN (SELECT DISTINCT class, classid FROM truth) c USING (class)"
        )),
        nothing,
        "round {round}: PostgreSQL gives it, the list does not have it"
    );
    assert_eq!(
        admin.column("SELECT format('%s %s %s %s', l.role_name, l.privilege_type, l.object_name, l.mode) FROM listed l
             LEFT JOIN named n ON n.class = l.class AND n.name = l.object_name
              WHERE l.mode NOT IN ('set role', 'default') AND l.class NOT IN ('role', 'large object')
                AND NOT EXISTS (SELECT FROM truth t WHERE (t.role, t.class, t.objid, t.sub, t.privilege) = (l.role, n.class, n.objid, n.sub, l.privilege_type))"),
        nothing,
        "round {round}: the list has it, PostgreSQL does not give it"
    );
    // What holds after SET ROLE only: held by a role that this one may become. A column's counts unless the table's does.
    let after = "SELECT m.role, t.class, t.objid, t.sub, t.privilege FROM may_become m JOIN truth t ON t.role = m.other";
    let later = format!(
        "SELECT a.role, a.class, a.objid, a.sub, a.privilege FROM ({after}) a
          WHERE (a.class, a.objid, a.sub) IN (SELECT n.class, n.objid, n.sub FROM listed l JOIN named n ON n.class = l.class AND n.name = l.object_name)
            AND NOT EXISTS (SELECT FROM truth t WHERE (t.role, t.class, t.objid, t.sub, t.privilege) = (a.role, a.class, a.objid, a.sub, a.privilege))
            AND NOT (a.class = 'column' AND EXISTS (SELECT FROM ({after}) t WHERE (t.role, t.class, t.objid, t.privilege) = (a.role, 'relation', a.objid, a.privilege)))"
    );
    let listed_later = "SELECT l.role, n.class, n.objid, n.sub, l.privilege_type FROM listed l JOIN named n ON n.class = l.class AND n.name = l.object_name
                         WHERE l.mode = 'set role'";
    for (what, difference) in [
        (
            "reachable but not listed",
            format!("({later}) EXCEPT ({listed_later})"),
        ),
        (
            "listed but not reachable",
            format!("({listed_later}) EXCEPT ({later})"),
        ),
    ] {
        assert_eq!(
            admin.column(&format!("SELECT format('%s %s %s %s', role::regrole, privilege, class, objid) FROM ({difference}) d(role, class, objid, sub, privilege)")),
            nothing,
            "round {round}: {what}"
        );
    }
    // Memberships.
    let door = "EXISTS (SELECT FROM may_become m JOIN pg_roles s ON s.oid = m.other WHERE s.rolsuper AND m.role = r.oid)";
    for (privilege, truth) in [
        ("USAGE", "pg_has_role(r.oid, g.oid, 'USAGE')".to_owned()),
        ("SET", format!("pg_has_role(r.oid, g.oid, '{set}')")),
        (
            "ADMIN",
            "pg_has_role(r.oid, g.oid, 'MEMBER WITH ADMIN OPTION')".to_owned(),
        ),
    ] {
        assert_eq!(
            admin.column(&format!(
                "SELECT format('%s {privilege} %s: %s', r.rolname, g.rolname, {truth}) FROM pg_roles r, pg_roles g
                  WHERE r.oid <> g.oid AND ({truth} OR (NOT r.rolsuper AND {door})) <> EXISTS (
                        SELECT FROM listed l WHERE l.class = 'role' AND l.role = r.oid AND l.object_name = quote_ident(g.rolname) AND l.privilege_type = '{privilege}')"
            )),
            nothing,
            "round {round}: memberships"
        );
    }
    // The way is one of memberships, and at its end is who has been granted it by whom it says.
    assert_eq!(
        admin.column(
            "SELECT format('%s %s %s', l.role_name, l.object_name, l.path) FROM listed l
              WHERE l.path[1] <> l.role_name OR EXISTS (
                    SELECT FROM generate_subscripts(l.path, 1) i
                     WHERE i > 1 AND l.path[i] <> 'pg_database_owner' AND NOT EXISTS (
                           SELECT FROM pg_auth_members m WHERE m.member = (SELECT oid FROM pg_roles WHERE rolname = l.path[i - 1])
                              AND m.roleid = (SELECT oid FROM pg_roles WHERE rolname = l.path[i])))"
        ),
        nothing,
        "round {round}: ways that are none"
    );
    assert_eq!(
        admin.column(
            "SELECT format('%s %s %s by %s', l.role_name, l.privilege_type, l.object_name, l.grantor)
               FROM listed l JOIN named n ON n.class = l.class AND n.name = l.object_name JOIN pg_class c ON c.oid = n.objid
               LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = n.sub AND n.sub > 0
              WHERE l.class IN ('relation', 'column') AND l.grantor IS NOT NULL AND NOT EXISTS (
                    SELECT FROM aclexplode(CASE WHEN n.sub > 0 THEN a.attacl ELSE coalesce(c.relacl, acldefault('r', c.relowner)) END) e
                     WHERE e.privilege_type = l.privilege_type AND e.grantor = (SELECT oid FROM pg_roles WHERE rolname = l.grantor)
                       AND e.grantee IN (0, (SELECT oid FROM pg_roles WHERE rolname = l.path[array_upper(l.path, 1)])))"
        ),
        nothing,
        "round {round}: grantors that have not granted it"
    );
    // The list of all roles is the lists of each, but for what predefined roles have as PUBLIC.
    let columns = "role_name, object_type, object_name, privilege_type, mode, path, grantor, grant_option, ends_at";
    assert_eq!(
        admin.text(&format!(
            "WITH whole AS (SELECT {columns} FROM scope.effective_access()),
                  each AS (SELECT {columns} FROM listed WHERE NOT (mode = 'public' AND role_name ~ '^pg_'))
             SELECT count(*) FROM ((TABLE whole EXCEPT ALL TABLE each) UNION ALL (TABLE each EXCEPT ALL TABLE whole)) d"
        )),
        "0",
        "round {round}: the list of all roles"
    );
    // The reverse.
    for (privilege, object) in [
        ("SELECT", "gen.t1"),
        ("USAGE", "schema gen"),
        ("CONNECT", "database access_generated"),
        ("SET", "role gen_3"),
    ] {
        let (kind, name) = object.split_once(' ').unwrap_or(("table", object));
        assert_eq!(
            admin.text(&format!(
                "WITH reverse AS (SELECT role_name, object_name, mode, path FROM scope.who_can('{privilege}', '{object}')),
                      each AS (SELECT role_name, object_name, mode, path FROM listed
                                WHERE (object_type = '{kind}' AND object_name = '{name}' OR object_type = 'column' AND object_name ~ '^{name}\\.')
                                  AND privilege_type = '{privilege}' AND NOT (mode = 'public' AND role_name ~ '^pg_'))
                 SELECT count(*) FROM ((TABLE reverse EXCEPT ALL TABLE each) UNION ALL (TABLE each EXCEPT ALL TABLE reverse)) d"
            )),
            "0",
            "round {round}: who can {privilege} {object}"
        );
    }
}

/// Before PostgreSQL 18 only the attempt tells.
fn assert_large_objects(admin: &mut Session, f: &Fixture) {
    for number in 0..ROLES {
        let name = role(number);
        let plain = admin.text(&format!(
            "SELECT rolname FROM pg_roles WHERE quote_ident(rolname) = {}",
            literal(&name)
        ));
        for (privilege, attempt) in [
            ("SELECT", "SELECT lo_get(4711)"),
            ("UPDATE", "SELECT lo_put(4711, 0, '\\x00')"),
        ] {
            let mut s = f.admin();
            s.run(&format!("SET SESSION AUTHORIZATION {name}"));
            let can = s.attempt(&format!("BEGIN; {attempt}; ROLLBACK")).is_ok();
            let listed = admin.holds(&format!(
                "EXISTS (SELECT FROM scope.effective_access(quote_ident({})::regrole, 'large object 4711')
                          WHERE privilege_type = '{privilege}' AND mode <> 'set role')",
                literal(&plain)
            ));
            assert_eq!(listed, can, "{name} {privilege}");
        }
    }
}

#[test]
fn what_is_listed_is_what_postgresql_says_for_every_role_object_and_privilege() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "access_generated");
    let mut admin = f.admin();
    let mut chance = Chance(0x5eed_cafe_f00d_0001);
    make(&mut admin, &mut chance);
    for round in 0..4 {
        for _ in 0..150 {
            change(&mut admin, &mut chance);
        }
        assert_agrees(&mut admin, round);
    }
    assert_large_objects(&mut admin, &f);
    // The scene has everything in it that is to be told apart.
    for mode in [
        "superuser",
        "owner",
        "direct",
        "inherited",
        "predefined",
        "public",
        "column",
        "default",
        "set role",
    ] {
        assert!(
            admin.holds(&format!(
                "EXISTS (SELECT FROM listed WHERE mode = '{mode}')"
            )),
            "no row of mode {mode} was generated"
        );
    }
}
