//! `forbid`: classes of statements, in every spelling.

use serde_json::json;

use super::Scene;
use crate::harness::*;

#[track_caller]
fn forbidden(s: &mut Session, class: &str, sql: &str) {
    for protocol in [Protocol::Simple, Protocol::Extended] {
        let refusal = s.attempt_by(protocol, sql).expect_err(sql);
        assert_eq!(refusal.code, "42501", "{protocol:?} {sql}: {refusal}");
        assert!(
            refusal.message.contains(&format!("\"{class}\"")),
            "{protocol:?} {sql}: {refusal}"
        );
        assert!(!refusal.detail.is_empty() && !refusal.hint.is_empty());
    }
}

#[test]
fn class_ddl_is_refused_wherever_it_stands() {
    let scene = Scene::new("class_ddl");
    scene.f.admin().run(&format!(
        "GRANT CREATE ON SCHEMA public TO {0}; GRANT CREATE ON DATABASE class_ddl TO {0};
         CREATE FUNCTION make() RETURNS void LANGUAGE plpgsql AS 'BEGIN CREATE TABLE made (x int); END';
         CREATE FUNCTION made_for() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             AS 'BEGIN CREATE TABLE public.made_by_owner (x int); END'",
        scene.login
    ));
    let mut s = scene.session();
    s.run("CREATE TABLE mine (x int); PREPARE p AS SELECT 1");
    scene.guard(&scene.scope, "forbid => '{ddl}'");
    let statements = [
        "CREATE TABLE t (x int)",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TABLE t AS EXECUTE p",
        "SELECT 1 AS x INTO t",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "CREATE UNLOGGED TABLE t (x int)",
        "CREATE MATERIALIZED VIEW t AS SELECT 1",
        "CREATE VIEW t AS SELECT 1",
        "CREATE SCHEMA t",
        "CREATE SCHEMA t CREATE TABLE x (y int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SEQUENCE t",
        "CREATE TYPE t AS (x int)",
        "CREATE DOMAIN t AS int",
        "CREATE INDEX ON mine (x)",
        "ALTER TABLE mine ADD y int",
        "ALTER TABLE mine RENAME TO yours",
        "COMMENT ON TABLE mine IS 'x'",
        "GRANT SELECT ON mine TO PUBLIC",
        "REVOKE SELECT ON mine FROM PUBLIC",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "DROP TABLE mine",
        "DROP TABLE IF EXISTS nothing, mine",
        "DO $$ BEGIN CREATE TABLE t (x int); END $$",
        "DO $$ BEGIN EXECUTE 'CREATE TABLE t (x int)'; END $$",
        "DO $$ BEGIN CREATE TABLE t (x int); EXCEPTION WHEN undefined_table THEN NULL; END $$",
        "SELECT make()",
    ];
    for sql in statements {
        forbidden(&mut s, "ddl", sql);
    }
    let told = |blocked: bool| {
        let alerts = scene.alerts("ddl");
        // Besides those that nobody has to ask for.
        alerts
            .iter()
            .filter(|line| line["guarded_role"] == json!(scene.scope))
            .filter(|line| line["blocked"] == json!(blocked))
            .count()
    };
    assert_eq!(told(true), 2 * statements.len());
    // The same, let pass.
    scene.guard(&scene.scope, "NULL");
    scene.guard(&scene.scope, "forbid => '{ddl}', action => 'alert'");
    let mut expected = 0;
    for sql in statements {
        s.run(&format!("BEGIN; {sql}; ROLLBACK"));
        // What CREATE SCHEMA creates is told by itself.
        expected += 1 + usize::from(sql == "CREATE SCHEMA t CREATE TABLE x (y int)");
        assert_eq!(told(false), expected, "{sql}");
    }
    scene.guard(&scene.scope, "NULL, action => 'alert'");
    scene.guard(&scene.scope, "forbid => '{ddl}'");
    // What somebody else's function does is the owner's doing; temporary tables are another class.
    s.run("SELECT made_for()");
    s.run(
        "CREATE TEMP TABLE t (x int); CREATE INDEX ON t (x); ALTER TABLE t ADD y int; DROP TABLE t",
    );
    s.run("INSERT INTO mine VALUES (1); TRUNCATE mine; ANALYZE mine");
    s.run("VACUUM mine");
    // One that the guarded role owns is its own doing.
    scene.guard(&scene.scope, "NULL");
    s.run("CREATE FUNCTION mine() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN CREATE TABLE t (x int); END'");
    scene.guard(&scene.scope, "forbid => '{ddl}'");
    forbidden(&mut s, "ddl", "SELECT mine()");
    let other = scene
        .f
        .admin()
        .handed(&format!("scope.create_credential('{{{}}}')", scene.scope))
        .role;
    let mut other = scene.f.login(&other);
    forbidden(&mut other, "ddl", "SELECT mine()");
}

/// REPACK, and CLUSTER as one of its forms, are DDL as CLUSTER was.
#[test]
fn class_ddl_has_what_19_has_brought() {
    let scene = Scene::new("class_ddl_19");
    if scene.f.server.version() < 190_000 {
        return skip("REPACK came with PostgreSQL 19");
    }
    scene
        .f
        .admin()
        .run(&format!("GRANT MAINTAIN ON many TO {}", scene.login));
    let mut s = scene.session();
    s.run("REPACK many");
    scene.guard(&scene.scope, "forbid => '{ddl}'");
    for sql in [
        "REPACK many",
        "REPACK many USING INDEX many_pkey",
        "CLUSTER many USING many_pkey",
    ] {
        forbidden(&mut s, "ddl", sql);
    }
}

#[test]
fn class_temp_is_refused_however_it_is_made_temporary() {
    let scene = Scene::new("class_temp");
    let mut s = scene.session();
    scene.guard(&scene.login, "forbid => '{temp}'");
    for sql in [
        "CREATE TEMP TABLE t (x int)",
        "CREATE LOCAL TEMPORARY TABLE t (x int)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "SELECT 1 AS x INTO TEMP t",
        "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE TEMP SEQUENCE q",
        "CREATE TABLE pg_temp.t (x int)",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE pg_temp.t AS (x int)",
        "CREATE DOMAIN pg_temp.d AS int",
        "DO $$ BEGIN CREATE TEMP TABLE t (x int); END $$",
    ] {
        forbidden(&mut s, "temp", sql);
    }
    s.run("SET search_path = pg_temp, public");
    forbidden(&mut s, "temp", "CREATE TABLE t (x int)");
    forbidden(&mut s, "temp", "CREATE VIEW v AS SELECT 1");
    // Caught, and tried again in the same transaction.
    forbidden(
        &mut s,
        "temp",
        "DO $$ BEGIN
             BEGIN CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
             CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         END $$",
    );
    s.run("RESET search_path; SELECT 1");
    scene.f.admin().assert_that(&format!(
        "NOT EXISTS (SELECT FROM pg_class WHERE relowner = '{0}'::regrole AND relpersistence = 't')",
        scene.login
    ));
}

#[test]
fn class_by_class_nothing_else_is_refused() {
    let scene = Scene::new("class_each");
    scene.f.admin().run(&format!(
        "GRANT pg_execute_server_program, pg_write_server_files TO {0};
         SELECT lo_create(1); ALTER LARGE OBJECT 1 OWNER TO {0}",
        scene.login
    ));
    let cases: [(&str, &[&str], &[&str]); 7] = [
        (
            "copy_to",
            &[
                "COPY many TO STDOUT",
                "COPY (SELECT 1) TO STDOUT",
                "COPY many TO '/dev/null'",
                "COPY many TO PROGRAM 'cat > /dev/null'",
            ],
            &["SELECT 1", "FETCH ALL FROM c"],
        ),
        (
            "copy_program",
            &[
                "COPY many TO PROGRAM 'cat > /dev/null'",
                "COPY many FROM PROGRAM 'true'",
                "DO $$ BEGIN COPY public.many TO PROGRAM 'cat > /dev/null'; END $$",
            ],
            &["COPY many TO '/dev/null'"],
        ),
        (
            "listen",
            &["LISTEN x", "LISTEN \"scope_alert\""],
            &["NOTIFY x", "UNLISTEN x"],
        ),
        (
            "lock",
            &[
                "LOCK TABLE many",
                "LOCK many IN ACCESS SHARE MODE",
                "DO $$ BEGIN LOCK TABLE many; END $$",
                "SELECT pg_advisory_lock(1)",
                "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
                "SELECT CASE WHEN true THEN pg_advisory_xact_lock(1) END",
            ],
            &[
                "SELECT pg_advisory_unlock(1)",
                "SELECT * FROM many WHERE id = 1 FOR UPDATE",
            ],
        ),
        (
            "do",
            &["DO $$ BEGIN END $$", "DO LANGUAGE plpgsql 'BEGIN END'"],
            &["SELECT 1"],
        ),
        (
            "large_objects",
            &[
                "SELECT lo_create(0)",
                "SELECT lo_creat(-1)",
                "SELECT lo_from_bytea(0, 'x')",
                "SELECT lo_get(1)",
                "SELECT lo_open(1, 131072)",
                "SELECT lo_put(1, 0, 'x')",
                "SELECT lo_unlink(1)",
            ],
            &["SELECT 1"],
        ),
        (
            "set",
            &[
                "SET work_mem = '1MB'",
                "SET LOCAL work_mem = '1MB'",
                "SET TIME ZONE 'UTC'",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "SELECT set_config('work_mem', '1MB', false)",
                "UPDATE pg_settings SET setting = '1024' WHERE name = 'work_mem'",
                "DO $$ BEGIN SET work_mem = '1MB'; END $$",
                "DO $$ BEGIN PERFORM set_config('work_mem', '1MB', true); END $$",
                "SET ROLE NONE",
            ],
            &[
                "SHOW work_mem",
                "RESET work_mem",
                "RESET ALL",
                "SELECT current_setting('work_mem')",
                "BEGIN ISOLATION LEVEL SERIALIZABLE; COMMIT",
            ],
        ),
    ];
    for (class, refused, allowed) in cases {
        let mut s = scene.session();
        s.run("DECLARE c CURSOR WITH HOLD FOR SELECT 1");
        scene.guard(&scene.login, &format!("forbid => '{{{class}}}'"));
        let mut attempts = 0;
        for sql in refused {
            if sql.contains("STDOUT") {
                assert_eq!(s.copy_out(sql).expect_err(sql).code, "42501");
                attempts += 1;
            } else {
                forbidden(&mut s, class, sql);
                attempts += 2;
            }
        }
        for sql in allowed {
            s.run(sql);
        }
        told(&scene, class, true, attempts);
        // The same, let pass.
        scene.guard(&scene.login, "NULL");
        scene.guard(
            &scene.login,
            &format!("forbid => '{{{class}}}', action => 'alert'"),
        );
        for sql in refused {
            let mut s = scene.session();
            s.run("BEGIN");
            if sql.contains("STDOUT") {
                s.copy_out(sql).expect(sql);
            } else {
                s.run(sql);
            }
            s.run("COMMIT");
        }
        for sql in allowed {
            s.run(sql);
        }
        told(&scene, class, false, refused.len());
        scene.guard(&scene.login, "NULL, action => 'alert'");
    }
}

/// One alert for each of so many statements, and it says what they were.
#[track_caller]
fn told(scene: &Scene, class: &str, blocked: bool, statements: usize) {
    let alerts = scene.alerts(class);
    let alerts: Vec<_> = alerts
        .iter()
        .filter(|line| line["blocked"] == json!(blocked))
        .collect();
    assert_eq!(alerts.len(), statements, "{class}: {alerts:#?}");
    for line in alerts {
        let outcome = if blocked { "refused" } else { "ok" };
        assert_eq!(line["outcome"], json!(outcome), "{line}");
        assert_eq!(line["guarded_role"], json!(scene.login), "{line}");
        assert_eq!(line["session_user"], json!(scene.login), "{line}");
        assert!(
            line["tag"].as_str().is_some_and(|tag| !tag.is_empty()),
            "{line}"
        );
    }
}

/// Those that are known by number are all that there are.
#[test]
fn class_of_functions_knows_every_function() {
    let scene = Scene::new("class_known");
    scene.guard(&scene.login, "forbid => '{large_objects,lock}'");
    let functions = scene.f.admin().column(
        "SELECT p.oid::int FROM pg_proc p
         WHERE (p.prosrc ~ '^be_lo' OR p.proname ~ '^pg_(try_)?advisory_(xact_)?lock' ) AND p.oid < 16384",
    );
    assert!(functions.len() >= 36, "{}", functions.len());
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    for function in functions {
        // The fast path of the protocol; what the arguments are does not come into it.
        let answers = wire.call(function.parse().expect("an OID"), &[]);
        assert!(has_error(&answers, "42501"), "{function}: {answers:?}");
    }
}

#[test]
fn class_reaches_what_was_prepared_and_sessions_that_are_open() {
    let scene = Scene::new("class_open");
    let mut s = scene.session();
    let prepared = s.client.prepare("SET work_mem = '1MB'").expect("prepare");
    s.client.execute(&prepared, &[]).expect("before");
    let set = s
        .client
        .prepare("SELECT set_config('work_mem', '1MB', false)")
        .expect("prepare");
    s.client.query(&set, &[]).expect("before");
    s.run("BEGIN");
    scene.guard(&scene.login, "forbid => '{set,do}'");
    s.refused("DO $$ BEGIN END $$", "42501");
    s.run("ROLLBACK");
    let refusal: Refusal = s.client.execute(&prepared, &[]).expect_err("after").into();
    assert_eq!(refusal.code, "42501", "{refusal}");
    let refusal: Refusal = s.client.query(&set, &[]).expect_err("after").into();
    assert_eq!(refusal.code, "42501", "{refusal}");
}

#[test]
fn class_that_alerts_goes_on() {
    let scene = Scene::new("class_alert");
    scene.guard(&scene.login, "forbid => '{listen,temp}', action => 'alert'");
    scene.guard(&scene.login, "forbid => '{do}'");
    let mut s = scene.session();
    s.run("LISTEN x; CREATE TEMP TABLE t (x int); CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    s.refused("DO $$ BEGIN END $$", "42501");
    for (class, count, blocked) in [("listen", 1, false), ("temp", 2, false), ("do", 1, true)] {
        let alerts = scene.alerts(class);
        assert_eq!(alerts.len(), count, "{alerts:#?}");
        assert_eq!(alerts[0]["blocked"], json!(blocked));
        assert_eq!(alerts[0]["session_user"], json!(scene.login));
    }
    // Members of the audit's readers see which statement it was.
    assert_eq!(scene.alerts("listen")[0]["tag"], json!("LISTEN"));
}
