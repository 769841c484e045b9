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
