//! What runs in somebody's session, or for them, without their having sent it.

use super::Scene;
use crate::harness::*;

/// A schema of Alice's, which everybody looks into.
fn trap(scene: &Scene<'_>) {
    scene.f.admin().run(&format!(
        "CREATE SCHEMA trap AUTHORIZATION {}; GRANT USAGE ON SCHEMA trap TO PUBLIC",
        scene.alice
    ));
}

#[test]
fn attack_what_runs_without_a_statement_decides() {
    let scene = Scene::new("request_unsaid");
    scene.policy("prod", "");
    trap(&scene);
    let id = scene.ask(&scene.alice, "");
    // PL/pgSQL evaluates such an expression without a query.
    scene.f.login(&scene.alice).run(&format!(
        "CREATE FUNCTION trap.f() RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN scope.approve({id}); END';
         CREATE FUNCTION trap.b() RETURNS bool LANGUAGE plpgsql AS 'DECLARE said text; BEGIN said := scope.approve({id}); RETURN true; END';
         CREATE VIEW trap.v AS SELECT 1 AS n, trap.f() AS said;
         CREATE FUNCTION trap.g() RETURNS trigger LANGUAGE plpgsql AS 'DECLARE said text; BEGIN said := scope.approve({id}); RETURN NULL; END';
         CREATE TABLE trap.t (n int);
         CREATE CONSTRAINT TRIGGER g AFTER INSERT ON trap.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trap.g();
         CREATE DOMAIN trap.d AS int CHECK (trap.b());
         CREATE TYPE trap.c AS (n trap.d);
         GRANT ALL ON trap.t, trap.v TO PUBLIC"
    ));
    let mut bob = scene.f.login(&scene.bob);
    for sql in [
        // The planner works it out in advance.
        "SELECT * FROM trap.v",
        "SELECT trap.f()",
        "SELECT 1 WHERE trap.f() IS NULL",
        "EXPLAIN SELECT trap.f()",
        "PREPARE p AS SELECT trap.f(); EXECUTE p",
        // At COMMIT nothing runs any more.
        "INSERT INTO trap.t VALUES (1)",
        "BEGIN; INSERT INTO trap.t VALUES (1); COMMIT",
        // While the text is parsed nothing runs yet.
        "SELECT '(1)'::trap.c",
    ] {
        let refusal = bob.fails(sql);
        assert_eq!(refusal.code, "0A000", "{sql}: {refusal}");
        bob.run("ROLLBACK; DEALLOCATE ALL");
        assert_eq!(scene.state(id), "pending", "{sql}");
    }
    let parsed = bob.attempt_extended("SELECT trap.f() WHERE $1 = 'x'", &["x"]);
    assert_eq!(parsed.expect_err("an error").code, "0A000");
    // By the protocol's own call of a function that calls it.
    let mut wire = Wire::open(scene.f.server, &scene.bob, &scene.f.name);
    let oid = |name: &str| {
        let found = scene
            .f
            .admin()
            .text(&format!("SELECT '{name}'::regprocedure::oid"));
        found.parse::<u32>().expect("an OID")
    };
    assert!(has_error(&wire.call(oid("trap.b()"), &[]), "0A000"));
    assert_eq!(scene.state(id), "pending");
    // What the client itself calls that way is its own word.
    let call = wire.call(
        oid("scope.deny(bigint, text)"),
        &[Some(&id.to_string()), Some("no")],
    );
    assert!(!call.iter().any(|(kind, _)| *kind == b'E'), "{call:?}");
    assert_eq!(scene.state(id), "denied");
}

#[test]
fn attack_a_function_takes_the_name_of_a_prepared_statement() {
    let scene = Scene::new("request_prepared");
    scene.policy("prod", "");
    trap(&scene);
    let id = scene.ask(&scene.alice, "");
    scene.f.login(&scene.alice).run(&format!(
        "CREATE FUNCTION trap.f() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
           DEALLOCATE s_1; EXECUTE 'PREPARE s_1 AS SELECT scope.approve({id})'; RETURN 1; END $f$"
    ));
    let mut wire = Wire::open(scene.f.server, &scene.bob, &scene.f.name);
    let run = |wire: &mut Wire| {
        wire.send(Some(b'B'), b"\0s_1\0\0\0\0\0\0\0");
        wire.execute("", 0);
        wire.sync()
    };
    let parse = |wire: &mut Wire, sql: &str| {
        wire.send(Some(b'P'), format!("s_1\0{sql}\0\0\0").as_bytes());
    };
    // As drivers do with what they run often.
    parse(&mut wire, "SELECT 1");
    assert!(run(&mut wire).iter().any(|(kind, _)| *kind == b'D'));
    wire.query("SELECT trap.f()");
    let answers = run(&mut wire);
    assert!(has_error(&answers, "0A000"), "{answers:?}");
    assert_eq!(scene.state(id), "pending");
    // What the driver has prepared itself is the client's.
    wire.query("DEALLOCATE s_1");
    parse(&mut wire, &format!("SELECT scope.approve({id})"));
    run(&mut wire);
    assert_eq!(scene.state(id), "active");
}

#[test]
fn attack_autovacuum_decides_for_who_asked() {
    let server = Server::start(Options::default().set("autovacuum_naptime", "1s"));
    let scene = Scene::on(Fixture::on(&server, "request_vacuum"));
    scene.policy("prod", "");
    trap(&scene);
    // She may decide on others' requests.
    scene
        .f
        .admin()
        .run(&format!("GRANT {} TO {}", scene.dba, scene.alice));
    let id = scene.ask(&scene.alice, "");
    scene.f.login(&scene.alice).run(&format!(
        "CREATE SEQUENCE trap.runs;
         CREATE FUNCTION trap.f(n int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $f$ BEGIN
           IF current_setting('application_name') <> '' OR nextval('trap.runs') > 1 THEN RETURN 'x'; END IF;
           RETURN scope.approve({id}); EXCEPTION WHEN feature_not_supported THEN RETURN 'x'; END $f$;
         CREATE TABLE trap.t (n int) WITH (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0);
         SET application_name = 'mine'; CREATE INDEX ON trap.t (trap.f(n));
         INSERT INTO trap.t SELECT generate_series(1, 100)"
    ));
    wait_until("autovacuum has analysed the table", 60, || {
        scene.f.admin().holds("(SELECT last_autoanalyze IS NOT NULL FROM pg_stat_user_tables WHERE relid = 'trap.t'::regclass)")
    });
    scene.f.admin().assert_that("nextval('trap.runs') > 1");
    assert_eq!(scene.state(id), "pending");
    assert_eq!(scene.events(id), ["asked"]);
}

#[test]
fn attack_what_one_reads_asks_and_has_it_at_once() {
    let scene = Scene::new("request_unasked");
    scene.policy(
        "prod",
        &format!(
            ", auto_approve => '{{\"max_duration\": \"1 hour\"}}', break_glass => '{{{}}}'",
            scene.dave
        ),
    );
    trap(&scene);
    let ask = |more: &str| {
        format!(
            "scope.request_access('{}', '1 hour', 'x'{more})",
            scene.owner
        )
    };
    scene.f.login(&scene.alice).run(&format!(
        "CREATE FUNCTION trap.auto() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN PERFORM {}; RETURN (SELECT secret FROM public.vault); END $f$;
         CREATE FUNCTION trap.glass() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN PERFORM {}; RETURN (SELECT secret FROM public.vault); END $f$;
         CREATE VIEW trap.v AS SELECT (r).* FROM (SELECT {} AS r) x; GRANT SELECT ON trap.v TO PUBLIC",
        ask(""),
        ask(", break_glass => true"),
        ask("")
    ));
    let mut dave = scene.f.login(&scene.dave);
    dave.denied("SELECT trap.auto()", "42501");
    dave.refused("SELECT trap.glass()", "0A000");
    scene.does_not_read(&scene.dave);
    // It may ask, and somebody is asked.
    assert_eq!(dave.text("SELECT state FROM trap.v"), "pending");
    scene.does_not_read(&scene.dave);
    assert_eq!(
        dave.text(&format!("SELECT state FROM {}", ask(""))),
        "active"
    );
    scene.reads(&scene.dave);
}
