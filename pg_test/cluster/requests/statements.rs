//! One statement, approved to the letter.

use super::Scene;
use crate::harness::*;

fn policy(scene: &Scene<'_>) {
    scene
        .f
        .admin()
        .run(&scene.policy_sql("one", "statement", &scene.owner, ""));
}

/// Asks for it; its number.
#[track_caller]
fn ask(scene: &Scene<'_>, statement: &str, more: &str) -> i64 {
    let sql = ask_sql(scene, statement, more);
    scene
        .f
        .login(&scene.alice)
        .text(&sql)
        .parse()
        .expect("a number")
}

fn ask_sql(scene: &Scene<'_>, statement: &str, more: &str) -> String {
    format!(
        "SELECT request FROM scope.request_statement('{}', {}{more}, reason => 'incident 12')",
        scene.owner,
        literal(statement)
    )
}

fn run(id: i64) -> String {
    format!("SELECT rows, result FROM scope.run_approved({id})")
}

#[test]
fn what_was_approved_runs_once_as_its_role() {
    let scene = Scene::new("statement_once");
    policy(&scene);
    let id = ask(
        &scene,
        "UPDATE vault SET secret = $1 WHERE length(secret) = $2::int RETURNING secret, current_user AS by",
        ", '{silver,8}', 1",
    );
    let mut alice = scene.f.login(&scene.alice);
    alice.refused(&run(id), "55000");
    // Whoever decides sees what it would do.
    let mut bob = scene.f.login(&scene.bob);
    let plan = bob
        .column(&format!("SELECT scope.explain_request({id})"))
        .join("\n");
    assert!(
        plan.contains("Update on public.vault") && plan.contains("'silver'::text"),
        "{plan}"
    );
    bob.assert_that(&format!(
        "(SELECT statement LIKE 'UPDATE vault%' AND parameters = '{{silver,8}}' AND expected_rows = 1 AND length(digest) = 64
            FROM scope.requests WHERE request = {id})"
    ));
    let said = bob.text(&format!("SELECT scope.approve({id})"));
    assert!(
        said.contains(&format!("scope.run_approved({id})")),
        "{said}"
    );
    bob.refused(&run(id), "42501");
    assert_eq!(scene.f.admin().text("SELECT secret FROM vault"), "treasure");
    // It returns rows: not where a rollback would take it back.
    alice.run("BEGIN");
    alice.refused(&run(id), "25001");
    alice.run("ROLLBACK");
    assert_eq!(
        alice.rows(&run(id)),
        [[
            "1",
            &format!("[{{\"by\": \"{}\", \"secret\": \"silver\"}}]", scene.owner)
        ]
        .map(|cell| Some(cell.to_owned()))]
    );
    assert_eq!(scene.f.admin().text("SELECT secret FROM vault"), "silver");
    alice.refused(&run(id), "55000");
    alice.assert_that(&format!("current_user = '{}'", scene.alice));
    alice.denied("SELECT * FROM vault", "42501");
    assert_eq!(scene.events(id), ["asked", "approved", "ran"]);
    // Without rows a block may take it back, and then it has not run.
    let id = ask(&scene, "DELETE FROM vault", ", expected_rows => 1");
    scene.decide(&scene.bob, "approve", id);
    alice.run("BEGIN");
    assert_eq!(alice.text(&run(id)), "1");
    alice.run("ROLLBACK");
    assert_eq!(scene.f.admin().text("SELECT count(*) FROM vault"), "1");
    assert_eq!(alice.text(&run(id)), "1");
    assert_eq!(scene.f.admin().text("SELECT count(*) FROM vault"), "0");
}

#[test]
fn another_number_of_rows_changes_nothing() {
    let scene = Scene::new("statement_rows");
    policy(&scene);
    scene.f.admin().run("INSERT INTO vault VALUES ('more')");
    let id = ask(&scene, "DELETE FROM vault", ", expected_rows => 1");
    scene.decide(&scene.bob, "approve", id);
    let mut alice = scene.f.login(&scene.alice);
    let refusal = alice.refused(&run(id), "21000");
    assert!(refusal.detail.contains("2 rows"), "{refusal}");
    assert_eq!(scene.f.admin().text("SELECT count(*) FROM vault"), "2");
    assert_eq!(scene.state(id), "approved");
    scene
        .f
        .admin()
        .run("DELETE FROM vault WHERE secret = 'more'");
    assert_eq!(alice.text(&run(id)), "1");
}

#[test]
fn what_is_no_such_statement_is_refused() {
    let scene = Scene::new("statement_kinds");
    policy(&scene);
    let mut alice = scene.f.login(&scene.alice);
    for (statement, sqlstate) in [
        ("", "22023"),
        ("SELECT 1; SELECT 2", "22023"),
        ("DROP TABLE vault", "22023"),
        ("TRUNCATE vault", "22023"),
        ("COPY vault TO '/tmp/x'", "22023"),
        ("SELECT * INTO x FROM vault", "22023"),
        ("DO 'BEGIN END'", "22023"),
        ("SET ROLE x", "22023"),
        ("EXPLAIN ANALYZE DELETE FROM vault", "22023"),
        ("BEGIN", "22023"),
    ] {
        alice.refused(&ask_sql(&scene, statement, ""), sqlstate);
    }
    for (statement, sqlstate) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nothing", "42P01"),
        ("SELECT $1", "42P02"),
    ] {
        let refusal = alice.fails(&ask_sql(&scene, statement, ""));
        assert_eq!(refusal.code, sqlstate, "{refusal}");
    }
    assert!(
        scene
            .f
            .admin()
            .rows("SELECT * FROM scope.request_log")
            .is_empty()
    );
    // By another kind of policy no statement is asked for, and the other way round.
    alice.refused(
        &format!(
            "SELECT scope.request_access('{}', reason => 'x')",
            scene.owner
        ),
        "42501",
    );
}

#[test]
fn attack_what_was_approved_means_something_else() {
    let scene = Scene::new("statement_trojan");
    policy(&scene);
    let alice_name = &scene.alice;
    scene.f.admin().run(&format!(
        "CREATE SCHEMA trap AUTHORIZATION {alice_name}; GRANT USAGE ON SCHEMA trap TO PUBLIC; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
         CREATE FUNCTION app.safe() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    ));
    let mut alice = scene.f.login(alice_name);
    alice.run(
        "CREATE FUNCTION trap.f() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', current_user; RETURN 1; END';
         CREATE FUNCTION trap.o(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR trap.@@@ (FUNCTION = trap.o, LEFTARG = int, RIGHTARG = int);
         CREATE DOMAIN trap.d AS int CHECK (trap.f() = 1);
         CREATE AGGREGATE trap.a(int) (SFUNC = int4pl, STYPE = int);
         CREATE VIEW trap.v AS SELECT 1 AS n;
         CREATE TABLE trap.t (n int);
         GRANT ALL ON trap.t, trap.v TO PUBLIC",
    );
    for statement in [
        "SELECT trap.f()",
        "SELECT 1 WHERE 1 OPERATOR(trap.@@@) 1",
        "SELECT 1::trap.d",
        "SELECT trap.a(1)",
        "SELECT * FROM trap.v",
        "SELECT * FROM trap.t",
        "INSERT INTO trap.t VALUES (1)",
        "SELECT * FROM vault ORDER BY trap.f()",
        "SELECT (SELECT trap.f()) FROM vault",
        "WITH x AS (SELECT trap.f() AS n) SELECT * FROM x",
        "SELECT * FROM generate_series(1, trap.f())",
    ] {
        alice.refused(&ask_sql(&scene, statement, ""), "42501");
    }
    assert!(alice.notices().is_empty());
    // A schema of the requester's is not looked into, though it is in the path.
    alice.run("SET search_path = trap, app, public; CREATE FUNCTION trap.safe() RETURNS int LANGUAGE sql AS 'SELECT 666'");
    let id: i64 = alice
        .text(&ask_sql(&scene, "SELECT safe()", ""))
        .parse()
        .expect("a number");
    scene.decide(&scene.bob, "approve", id);
    assert_eq!(
        alice.rows(&run(id))[0][1].as_deref(),
        Some("[{\"safe\": 1}]")
    );
    // What becomes the requester's after the approval stops it.
    let id: i64 = alice
        .text(&ask_sql(&scene, "SELECT app.safe()", ""))
        .parse()
        .expect("a number");
    scene.decide(&scene.bob, "approve", id);
    scene
        .f
        .admin()
        .run(&format!("ALTER FUNCTION app.safe() OWNER TO {alice_name}"));
    alice.refused(&run(id), "42501");
    scene.f.admin().run(&format!(
        "ALTER FUNCTION app.safe() OWNER TO postgres; GRANT CREATE ON SCHEMA app TO {alice_name}"
    ));
    alice.refused(&run(id), "55000");
    scene
        .f
        .admin()
        .run(&format!("REVOKE CREATE ON SCHEMA app FROM {alice_name}"));
    // Nor does the session's own make a difference.
    alice.run("SET search_path = trap; SET DateStyle = 'SQL, DMY'; SET row_security = off");
    assert_eq!(
        alice.rows(&run(id))[0][1].as_deref(),
        Some("[{\"safe\": 1}]")
    );
}

#[test]
fn attack_an_approved_statement_leaves_its_role_or_its_end_to_others() {
    let scene = Scene::new("statement_escape");
    policy(&scene);
    scene.f.admin().run(&format!(
        "CREATE FUNCTION escape() RETURNS text LANGUAGE plpgsql AS 'BEGIN RESET ROLE; RETURN current_user; END';
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (current_user); RETURN NULL; END';
         CREATE TABLE seen (by text); ALTER TABLE seen OWNER TO {0};
         CREATE CONSTRAINT TRIGGER note AFTER INSERT ON vault DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()",
        scene.owner
    ));
    let mut alice = scene.f.login(&scene.alice);
    let id = ask(&scene, "SELECT escape()", "");
    scene.decide(&scene.bob, "approve", id);
    let refusal = alice.fails(&run(id));
    assert_eq!(refusal.code, "42501", "{refusal}");
    alice.assert_that(&format!(
        "current_user = '{0}' AND session_user = '{0}'",
        scene.alice
    ));
    // What is deferred is done as the role, not at COMMIT as whoever asked.
    let id = ask(&scene, "INSERT INTO vault VALUES ('new')", "");
    scene.decide(&scene.bob, "approve", id);
    alice.run(&run(id));
    assert_eq!(scene.f.admin().text("SELECT by FROM seen"), scene.owner);
    // Only who asked, or may decide, sees what it would do.
    let mut mallory = scene.f.login(&scene.f.role("mallory", "LOGIN"));
    mallory.refused(&format!("SELECT scope.explain_request({id})"), "42501");
}

/// A table into which anybody writes what they have come to know, and a function of Alice's that reads what only the role may.
fn spy(scene: &Scene<'_>) {
    scene.f.admin().run(&format!(
        "CREATE SCHEMA trap AUTHORIZATION {0}; GRANT USAGE ON SCHEMA trap TO PUBLIC; CREATE TABLE loot (by text, secret text); GRANT ALL ON loot TO PUBLIC;
         CREATE TABLE lines (n int, of int); ALTER TABLE lines OWNER TO {1}; INSERT INTO lines VALUES (1, 1)",
        scene.alice, scene.owner
    ));
    scene.f.login(&scene.alice).run(
        "CREATE FUNCTION trap.spy(text) RETURNS bool LANGUAGE plpgsql AS 'DECLARE s text; BEGIN SELECT secret INTO s FROM public.vault;
           RAISE NOTICE ''%'', s; INSERT INTO public.loot VALUES (current_user, s); RETURN true; EXCEPTION WHEN insufficient_privilege THEN RETURN true; END';
         CREATE DOMAIN trap.d AS text CHECK (trap.spy(VALUE)); CREATE TYPE trap.c AS (x trap.d);
         CREATE DOMAIN trap.b AS text CHECK (pg_catalog.query_to_xml('SELECT secret FROM vault', true, true, '')::text <> VALUE);
         CREATE TYPE trap.k AS (x trap.b); CREATE TYPE trap.e AS ENUM ('a');
         CREATE FUNCTION trap.j(trap.e) RETURNS json LANGUAGE plpgsql AS 'BEGIN PERFORM trap.spy(NULL); RETURN ''1''; END';
         CREATE CAST (trap.e AS json) WITH FUNCTION trap.j(trap.e)",
    );
}

#[track_caller]
fn nothing_is_known(scene: &Scene<'_>) {
    let loot = scene.f.admin().rows("SELECT * FROM loot");
    assert!(loot.is_empty(), "{loot:?}");
}

#[test]
fn attack_asking_runs_what_nobody_has_approved() {
    let scene = Scene::new("statement_asking");
    policy(&scene);
    spy(&scene);
    let mut alice = scene.f.login(&scene.alice);
    for statement in [
        // The literal becomes a value while the text is parsed, by the check of its domain.
        "SELECT '(x)'::trap.c",
        "SELECT '{x}'::trap.d[]",
        "SELECT '(x)'::trap.k",
        // When it runs, by a parameter, or in what reads JSON.
        "SELECT $1::trap.c",
        "SELECT json_populate_record(NULL::trap.c, '{\"x\": \"y\"}')",
        "SELECT * FROM json_to_recordset('[{\"a\": \"x\"}]') AS t (a trap.d)",
        "SELECT * FROM json_to_recordset('[{\"a\": [\"x\"]}]') AS t (a trap.c[])",
        // A cast to JSON of a type of hers is called for the result.
        "SELECT 'a'::trap.e",
    ] {
        alice.refused(&ask_sql(&scene, statement, ", '{(x)}'"), "42501");
        nothing_is_known(&scene);
        // Nor told before the call failed.
        let told = alice.notices();
        assert!(told.is_empty(), "{statement}: {told:?}");
    }
    // What it sets off is looked at as well.
    scene.f.admin().run(&format!(
        "CREATE FUNCTION set_off() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM trap.spy(NULL); RETURN NULL; END';
         ALTER FUNCTION set_off() OWNER TO {}; CREATE TRIGGER t AFTER INSERT ON vault EXECUTE FUNCTION set_off()",
        scene.alice
    ));
    alice.refused(
        &ask_sql(&scene, "INSERT INTO vault VALUES ('x')", ""),
        "42501",
    );
    scene.f.admin().run(&format!(
        "DROP TRIGGER t ON vault; ALTER TABLE vault ADD CHECK (trap.spy(secret)) NOT VALID; GRANT REFERENCES ON lines TO {}; ALTER TABLE lines ADD UNIQUE (n)",
        scene.alice
    ));
    alice.refused(
        &ask_sql(&scene, "UPDATE vault SET secret = 'x'", ""),
        "42501",
    );
    alice.run("CREATE TABLE trap.parts (n int REFERENCES lines (n) ON DELETE CASCADE)");
    alice.refused(&ask_sql(&scene, "DELETE FROM lines", ""), "42501");
    nothing_is_known(&scene);
    // With a type of nobody's a literal is fine.
    ask(
        &scene,
        "SELECT '{1,2}'::int[], '[1,2]'::int4range, '\"x\"'::jsonb, of FROM lines",
        "",
    );
}

#[test]
fn attack_what_is_deferred_runs_with_the_rights_of_the_extension_or_of_the_role() {
    let scene = Scene::new("statement_late");
    policy(&scene);
    spy(&scene);
    let id = ask(&scene, "INSERT INTO lines VALUES (2, 2)", "");
    scene.decide(&scene.bob, "approve", id);
    let mut alice = scene.f.login(&scene.alice);
    alice.run(
        "CREATE FUNCTION trap.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO trap.as_whom VALUES (current_user); SET CONSTRAINTS ALL DEFERRED; RETURN NULL; END';
         CREATE TABLE trap.t (n int); CREATE TABLE trap.as_whom (name text);
         CREATE CONSTRAINT TRIGGER g AFTER INSERT ON trap.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trap.g();
         GRANT ALL ON trap.as_whom TO PUBLIC; BEGIN; INSERT INTO trap.t VALUES (1), (2)",
    );
    assert_eq!(alice.text(&run(id)), "1");
    alice.run("COMMIT");
    assert_eq!(
        alice.column("SELECT DISTINCT name FROM trap.as_whom"),
        [scene.alice.as_str()]
    );
}

#[test]
fn attack_temporary_objects_stand_before_those_that_were_approved() {
    let scene = Scene::new("statement_temporary");
    policy(&scene);
    spy(&scene);
    let uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    let id = ask(
        &scene,
        "SELECT $1::uuid AS found, count(*)::text AS lines FROM lines",
        &format!(", '{{{uuid}}}'"),
    );
    scene.decide(&scene.bob, "approve", id);
    let mut alice = scene.f.login(&scene.alice);
    alice.run(
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (trap.spy(VALUE)); CREATE TYPE pg_temp.uuid AS (x pg_temp.text);
         CREATE TEMP TABLE lines (n int); CREATE TEMP TABLE vault (secret pg_catalog.text)",
    );
    let rows = alice.rows(&run(id));
    assert_eq!(
        rows[0][1].as_deref(),
        Some(format!("[{{\"found\": \"{uuid}\", \"lines\": \"1\"}}]").as_str())
    );
    nothing_is_known(&scene);
}

#[test]
fn attack_what_runs_once_is_read_again() {
    let scene = Scene::new("statement_twice");
    policy(&scene);
    let id = ask(&scene, "SELECT secret FROM vault", "");
    let explain = format!("SELECT scope.explain_request({id})");
    let mut alice = scene.f.login(&scene.alice);
    // What the planner knows of the table is not hers yet.
    alice.refused(&explain, "55000");
    scene.decide(&scene.bob, "approve", id);
    alice.run(&explain);
    // One row and no end of the transaction, which a rollback would take back.
    let mut wire = Wire::open(scene.f.server, &scene.alice, &scene.f.name);
    wire.send(
        Some(b'P'),
        format!("\0SELECT * FROM scope.run_approved({id})\0\0\0").as_bytes(),
    );
    wire.send(Some(b'B'), b"\0\0\0\0\0\0\0\0");
    wire.execute("", 1);
    let answers = wire.sync();
    assert!(has_error(&answers, "25001"), "{answers:?}");
    assert_eq!(
        alice.rows(&run(id))[0][1].as_deref(),
        Some("[{\"secret\": \"treasure\"}]")
    );
    alice.refused(&run(id), "55000");
}

#[test]
fn attack_an_accomplice_gives_a_name_another_meaning() {
    let scene = Scene::new("statement_accomplice");
    policy(&scene);
    scene.f.admin().run(&format!(
        "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT CREATE ON SCHEMA app TO {};
         CREATE FUNCTION app.safe(numeric) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        scene.dave
    ));
    let id = ask(&scene, "SELECT app.safe(1) FROM vault", "");
    scene.decide(&scene.bob, "approve", id);
    scene
        .f
        .login(&scene.dave)
        .run("CREATE FUNCTION app.safe(int) RETURNS int LANGUAGE sql AS 'SELECT 666'");
    let mut alice = scene.f.login(&scene.alice);
    let refusal = alice.refused(&run(id), "55000");
    assert!(
        refusal.detail.contains("not what was approved"),
        "{refusal}"
    );
    scene.f.admin().run("DROP FUNCTION app.safe(int)");
    assert_eq!(
        alice.rows(&run(id))[0][1].as_deref(),
        Some("[{\"safe\": 1}]")
    );
    // What whoever approves would not see is no part of it.
    for unseen in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{1b}'] {
        alice.refused(
            &ask_sql(&scene, &format!("SELECT 'a{unseen}b'"), ""),
            "22023",
        );
    }
    ask(&scene, "SELECT 1,\r\n\t'ü'", "");
}

#[test]
fn merge_is_run_as_any_other_statement() {
    let scene = Scene::new("statement_merge");
    policy(&scene);
    scene.f.admin().run(&format!(
        "CREATE TABLE lines (n int, state text); ALTER TABLE lines OWNER TO {}; INSERT INTO lines VALUES (1, 'x')",
        scene.owner
    ));
    let merge = "MERGE INTO lines l USING (VALUES (1)) v (n) ON l.n = v.n WHEN MATCHED THEN UPDATE SET state = 'y'";
    let mut alice = scene.f.login(&scene.alice);
    let id = ask(&scene, merge, ", expected_rows => 1");
    scene.decide(&scene.bob, "approve", id);
    assert_eq!(alice.text(&run(id)), "1");
    if scene.f.server.version() < 170_000 {
        return;
    }
    let id = ask(&scene, &format!("{merge} RETURNING l.state"), "");
    scene.decide(&scene.bob, "approve", id);
    assert_eq!(
        alice.rows(&run(id))[0][1].as_deref(),
        Some("[{\"state\": \"y\"}]")
    );
}
