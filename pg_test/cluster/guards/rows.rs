//! `max_rows`: however the rows of a statement travel.

use serde_json::json;

use super::Scene;
use crate::harness::*;
use crate::jwt::switch;

/// Rows that the client has before it is told that there are no more.
fn data(answers: &[Answer]) -> usize {
    answers.iter().filter(|(kind, _)| *kind == b'D').count()
}

#[track_caller]
fn too_many(s: &mut Session, sql: &str) {
    let refusal = s.refused(sql, "54000");
    assert!(refusal.detail.starts_with("max_rows: "), "{refusal}");
}

#[test]
fn guard_stops_a_statement_at_its_rows_in_every_shape() {
    let scene = Scene::new("guard_rows");
    scene.guard(&scene.scope, "max_rows => 10");
    let mut s = scene.session();
    assert_eq!(s.rows("SELECT * FROM many LIMIT 10").len(), 10);
    s.run("SET search_path = public, pg_temp");
    for sql in [
        "SELECT * FROM many LIMIT 11",
        "SELECT * FROM many",
        "TABLE many",
        "VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11)",
        "SELECT generate_series(1, 11)",
        "SELECT * FROM json_each((SELECT json_object_agg(id, body) FROM many))",
        "WITH m AS MATERIALIZED (SELECT * FROM many) SELECT * FROM m",
        "SELECT id FROM many UNION ALL SELECT id FROM many",
        "UPDATE many SET body = body RETURNING *",
        "DELETE FROM many RETURNING id",
        "INSERT INTO many SELECT id + 5000 FROM many RETURNING id",
        "WITH gone AS (DELETE FROM many RETURNING *) SELECT * FROM gone",
        "WITH w AS (UPDATE many SET body = '' WHERE id = 1) SELECT * FROM many",
        "COPY many TO STDOUT",
        "COPY many (body) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (body))",
        "COPY (SELECT * FROM many) TO STDOUT",
        "COPY (DELETE FROM many RETURNING *) TO STDOUT",
        "SELECT 1; SELECT * FROM many",
    ] {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = if sql.starts_with("COPY") {
                s.copy_out(sql).expect_err(sql)
            } else if protocol == Protocol::Extended && sql.contains("; ") {
                continue;
            } else {
                s.attempt_by(protocol, sql).expect_err(sql)
            };
            assert_eq!(refusal.code, "54000", "{protocol:?} {sql}: {refusal}");
        }
    }
    // Nothing was changed, two statements are two, and rows that stay in the server do not count.
    scene
        .f
        .admin()
        .assert_that("(SELECT count(*) = 1000 AND bool_and(body = 'row ' || id) FROM many)");
    let both = "SELECT * FROM many LIMIT 10; SELECT * FROM many LIMIT 10";
    assert_eq!(s.rows(both).len(), 20);
    assert_eq!(s.text("SELECT count(*) FROM many"), "1000");
    s.run("UPDATE many SET body = body");
    s.run("DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM many LOOP END LOOP; END $$");
    s.run("DO $$ DECLARE r record; BEGIN FOR r IN UPDATE many SET body = body RETURNING * LOOP END LOOP; END $$");
    s.run("CREATE TEMP TABLE mine AS SELECT * FROM many");
    assert_eq!(
        s.copy_out("COPY (SELECT * FROM many LIMIT 10) TO STDOUT")
            .expect("10 rows")
            .lines()
            .count(),
        10
    );
    assert!(
        s.rows("EXPLAIN (ANALYZE, COSTS off) SELECT * FROM many")
            .len()
            > 1
    );
}

/// PostgreSQL 19 copies partitioned tables as they are, writes JSON, and returns the rows that were there already.
#[test]
fn guard_counts_the_rows_of_what_19_has_brought() {
    let scene = Scene::new("guard_rows_19");
    if scene.f.server.version() < 190_000 {
        return skip(
            "COPY of partitioned tables and ON CONFLICT DO SELECT came with PostgreSQL 19",
        );
    }
    scene.f.admin().run(&format!(
        "CREATE TABLE parted (id int, twice int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY HASH (id);
         CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO parted SELECT generate_series(1, 20);
         GRANT SELECT ON parted TO {}",
        scene.login
    ));
    let mut s = scene.session();
    let copies = [
        "COPY parted TO STDOUT",
        "COPY parted (id) TO STDOUT (FORMAT csv)",
        "COPY parted TO STDOUT (FORMAT json)",
    ];
    let plain = copies.map(|sql| s.copy_out(sql).expect(sql));
    scene.guard(&scene.login, "max_rows => 20");
    for (sql, expected) in copies.iter().zip(plain) {
        assert_eq!(s.copy_out(sql).expect(sql), expected, "{sql}");
    }
    scene.guard(&scene.login, "max_rows => 10");
    for sql in copies.into_iter().chain([
        "COPY many TO STDOUT (FORMAT json)",
        "COPY many TO STDOUT (FORMAT json, FORCE_ARRAY)",
    ]) {
        let refusal = s.copy_out(sql).expect_err(sql);
        assert_eq!(refusal.code, "54000", "{sql}: {refusal}");
    }
    too_many(
        &mut s,
        "INSERT INTO many SELECT id, '' FROM many ON CONFLICT (id) DO SELECT RETURNING *",
    );
}

/// What CALL, EXPLAIN and SHOW return is made by no query: counted all the same, and by cursors over them too.
#[test]
fn guard_counts_what_utility_statements_return() {
    let scene = Scene::new("guard_utility");
    scene.f.admin().run(
        "CREATE PROCEDURE one(INOUT x text) LANGUAGE plpgsql SECURITY DEFINER
             AS 'BEGIN SELECT string_agg(body, '','') INTO x FROM public.many; END';
         CREATE PROCEDURE ends(INOUT x text) LANGUAGE plpgsql AS 'BEGIN COMMIT; x := ''a''; END';
         CREATE FUNCTION shows(c refcursor) RETURNS refcursor LANGUAGE plpgsql
             AS 'BEGIN OPEN c FOR EXECUTE ''SHOW ALL''; RETURN c; END'",
    );
    scene.guard(&scene.login, "max_rows => 0");
    let mut s = scene.session();
    for sql in [
        "CALL one('')",
        "CALL ends('')",
        "SHOW search_path",
        "SHOW ALL",
        "EXPLAIN SELECT 1",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
    ] {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = s.attempt_by(protocol, sql).expect_err(sql);
            assert_eq!(refusal.code, "54000", "{protocol:?} {sql}: {refusal}");
        }
    }
    // What stays in the server stays uncounted.
    s.run(
        "DO $$ DECLARE a text := ''; r record; BEGIN CALL one(a); EXECUTE 'SHOW search_path' INTO a;
         FOR r IN EXECUTE 'EXPLAIN SELECT 1' LOOP END LOOP; END $$",
    );
    scene.guard(&scene.login, "max_rows => 10");
    assert_eq!(s.rows("CALL one('')").len(), 1);
    assert_eq!(s.rows("CALL ends('')").len(), 1);
    assert_eq!(s.rows("SHOW search_path").len(), 1);
    assert!(s.rows("EXPLAIN SELECT 1").len() < 10);
    // A setting a row, of 1,000 rows.
    s.run("DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM many LOOP PERFORM set_config('a.r' || r.id, r.body, false); END LOOP; END $$");
    too_many(&mut s, "SHOW ALL");
    s.run("BEGIN; SELECT shows('c')");
    too_many(&mut s, "FETCH ALL FROM c");
    s.run("ROLLBACK");
    // Calls count in a window as any row does.
    scene.guard(
        &scene.login,
        "max_rows => 10, window_rows => 3, \"window\" => '1 hour'",
    );
    for _ in 0..3 {
        s.run("CALL one('')");
    }
    let refusal = s.refused("CALL one('')", "54000");
    assert!(refusal.detail.starts_with("window_rows: "), "{refusal}");
}

/// The protocol's function calls: an answer is a row, and nothing of the call stays when it is refused.
#[test]
fn guard_counts_answers_to_function_calls() {
    let scene = Scene::new("guard_fast_path");
    let mut admin = scene.f.admin();
    admin.run(
        "CREATE FUNCTION first_body(int) RETURNS text LANGUAGE sql AS 'UPDATE many SET body = body || ''!'' WHERE id = $1 RETURNING body';
         SELECT lo_from_bytea(7001, 'large'); GRANT SELECT ON LARGE OBJECT 7001 TO PUBLIC",
    );
    let oid = |admin: &mut Session, name: &str| -> u32 {
        let sql = format!("SELECT '{name}'::regprocedure::oid");
        admin.text(&sql).parse().expect("an OID")
    };
    let function = oid(&mut admin, "first_body(int)");
    let (lo_get, lo_open, loread) = (
        oid(&mut admin, "lo_get(oid)"),
        oid(&mut admin, "lo_open(oid,int)"),
        oid(&mut admin, "loread(int,int)"),
    );
    scene.guard(&scene.login, "max_rows => 0");
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    for (function, arguments) in [(function, "1"), (lo_get, "7001")] {
        let answers = wire.call(function, &[Some(arguments)]);
        assert!(has_error(&answers, "54000"), "{answers:?}");
        assert!(answers.iter().all(|(kind, _)| *kind != b'V'), "{answers:?}");
    }
    admin.assert_that("(SELECT body = 'row 1' FROM many WHERE id = 1)");
    scene.guard(&scene.login, "window_rows => 4, \"window\" => '1 hour'");
    let passes = |answers: &[Answer]| answers.iter().any(|(kind, _)| *kind == b'V');
    assert!(passes(&wire.call(function, &[Some("1")])));
    wire.query("BEGIN");
    assert!(passes(&wire.call(lo_open, &[Some("7001"), Some("262144")])));
    for _ in 0..2 {
        assert!(passes(&wire.call(loread, &[Some("0"), Some("1")])));
    }
    let answers = wire.call(loread, &[Some("0"), Some("1")]);
    assert!(
        has_error(&answers, "54000") && !passes(&answers),
        "{answers:?}"
    );
}

/// RAISE in a loop sends a row at a time. A block that catches the refusal gets no further.
#[test]
fn guard_counts_messages_of_any_level_as_rows() {
    let scene = Scene::new("guard_notices");
    scene.f.admin().run(
        "CREATE FUNCTION tell() RETURNS int LANGUAGE plpgsql AS $$
         DECLARE r record; BEGIN FOR r IN SELECT * FROM public.many LOOP RAISE NOTICE '%', r.body; END LOOP; RETURN 1; END $$;
         CREATE FUNCTION told(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM tell(); RETURN true; END';
         CREATE FUNCTION told() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN tell(); END';
         CREATE DOMAIN telling AS int CHECK (told(VALUE));
         CREATE PROCEDURE tells() LANGUAGE plpgsql AS 'BEGIN PERFORM tell(); END'",
    );
    let tell = scene.f.admin().text("SELECT 'tell'::regproc::oid");
    scene.guard(&scene.login, "max_rows => 10");
    let notices = |answers: &[Answer]| answers.iter().filter(|(kind, _)| *kind == b'N').count();
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    wire.query("SET client_min_messages = debug1; SET search_path = public");
    for sql in [
        "SELECT tell()",
        "SELECT 1 WHERE told() = 2",
        "CALL tells()",
        "SELECT '1'::telling",
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM many LOOP RAISE INFO '%', r.body; END LOOP; END $$",
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM many LOOP RAISE WARNING '%', r.body; END LOOP; END $$",
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM many LOOP RAISE DEBUG '%', r.body; END LOOP; END $$",
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM many LOOP
             BEGIN RAISE NOTICE '%', r.body; EXCEPTION WHEN others THEN NULL; END; END LOOP; RAISE NOTICE 'more'; END $$",
    ] {
        let answers = wire.query(sql);
        assert!(has_error(&answers, "54000"), "{sql}: {answers:?}");
        assert_eq!(notices(&answers), 10, "{sql}");
    }
    // Before anything has run in the session: as a parameter is read.
    let mut fresh = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    fresh.send(Some(b'P'), b"\0SELECT $1::telling\0\0\0");
    fresh.send(Some(b'B'), b"\0\0\0\0\0\x01\0\0\0\x011\0\0");
    let answers = fresh.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(notices(&answers), 10);
    let mut fresh = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    let answers = fresh.call(tell.parse().expect("an OID"), &[]);
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(notices(&answers), 10);
    // Two statements are two, and an error's own text is no row.
    let answers = wire.query("DO $$ BEGIN RAISE NOTICE 'a'; END $$");
    assert_eq!(notices(&answers), 1);
    assert!(has_error(&wire.query("SELECT 1 / 0"), "22012"));
    let mut other = Wire::open(scene.f.server, "postgres", &scene.f.name);
    assert_eq!(notices(&other.query("SELECT tell()")), 1000);
}

/// Whoever listens to oneself.
#[test]
fn guard_counts_notifications() {
    let scene = Scene::new("guard_notify");
    scene.guard(&scene.login, "max_rows => 10");
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    wire.query("LISTEN leak");
    let told = |answers: &[Answer]| answers.iter().filter(|(kind, _)| *kind == b'A').count();
    let answers = wire.query("SELECT count(pg_notify('leak', body)) FROM many");
    assert_eq!(told(&answers), 10, "{}", answers.len());
    let answers = wire.query("NOTIFY leak, 'one'");
    assert_eq!(told(&answers), 1, "{answers:?}");
    // Once for the statement.
    assert_eq!(scene.alerts("max_rows").len(), 1);
    let mut other = Wire::open(scene.f.server, "postgres", &scene.f.name);
    other.query("LISTEN leak");
    assert_eq!(
        told(&other.query("SELECT count(pg_notify('leak', body)) FROM many")),
        1000
    );
}

/// What has been sent has been sent: exactly as many rows as are allowed.
#[test]
fn guard_lets_no_row_more_than_allowed_reach_the_client() {
    let scene = Scene::new("guard_exact");
    scene.guard(&scene.login, "max_rows => 10");
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    let answers = wire.query("SELECT * FROM many");
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 10);
    let copied = |answers: &[Answer]| answers.iter().filter(|(kind, _)| *kind == b'd').count();
    for sql in ["COPY many TO STDOUT", "COPY (SELECT * FROM many) TO STDOUT"] {
        let answers = wire.query(sql);
        assert!(has_error(&answers, "54000"), "{answers:?}");
        assert_eq!(copied(&answers), 10, "{sql}");
    }
    // Statements that run to their end first send nothing.
    for sql in [
        "DELETE FROM many RETURNING *",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM many; FETCH ALL FROM c",
        "ROLLBACK; PREPARE p AS SELECT * FROM many; EXECUTE p",
    ] {
        let answers = wire.query(sql);
        assert!(has_error(&answers, "54000"), "{sql}: {answers:?}");
        assert_eq!(data(&answers), 0, "{sql}");
    }
}

#[test]
fn guard_counts_over_fetches_of_a_cursor() {
    let scene = Scene::new("guard_fetches");
    scene.guard(&scene.login, "max_rows => 10");
    let mut s = scene.session();
    s.run("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT * FROM many");
    assert_eq!(s.rows("FETCH 4 FROM c").len(), 4);
    // Moving and looking at other things do not count; going back does.
    s.run("MOVE 100 IN c");
    assert_eq!(s.rows("SELECT * FROM many LIMIT 10").len(), 10);
    assert_eq!(s.rows("FETCH BACKWARD 4 FROM c").len(), 4);
    assert_eq!(s.rows("FETCH 2 FROM c").len(), 2);
    too_many(&mut s, "FETCH 1 FROM c");
    s.run("ROLLBACK");
    // A cursor of the same name is another.
    s.run("BEGIN; DECLARE c CURSOR FOR SELECT * FROM many");
    assert_eq!(s.rows("FETCH 10 FROM c").len(), 10);
    s.run("CLOSE c; DECLARE c CURSOR FOR SELECT * FROM many");
    assert_eq!(s.rows("FETCH 10 FROM c").len(), 10);
    too_many(&mut s, "FETCH NEXT FROM c");
    s.run("ROLLBACK");
    // Work of functions in between does not make the count begin again.
    scene.f.admin().run(
        "CREATE FUNCTION busy(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM count(*) FROM pg_class; RETURN $1; END'",
    );
    s.run("BEGIN; DECLARE c CURSOR FOR SELECT busy(id) FROM many");
    for _ in 0..5 {
        assert_eq!(s.rows("FETCH 2 FROM c").len(), 2);
    }
    too_many(&mut s, "FETCH 2 FROM c");
    s.run("ROLLBACK");
}

#[test]
fn guard_counts_cursors_that_outlive_their_transaction() {
    let scene = Scene::new("guard_hold");
    scene.guard(&scene.login, "max_rows => 10");
    let mut s = scene.session();
    s.run("BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM many");
    assert_eq!(s.rows("FETCH 6 FROM c").len(), 6);
    s.run("COMMIT");
    assert_eq!(s.rows("FETCH 4 FROM c").len(), 4);
    too_many(&mut s, "FETCH 1 FROM c");
    too_many(&mut s, "FETCH ALL FROM c");
    s.run("CLOSE c; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM many");
    too_many(&mut s, "FETCH ALL FROM c");
}

/// A refcursor, and a cursor that is opened by a function of somebody else.
#[test]
fn guard_counts_cursors_that_functions_return() {
    let scene = Scene::new("guard_refcursor");
    scene.f.admin().run(
        "CREATE FUNCTION opened(refcursor) RETURNS refcursor LANGUAGE plpgsql SECURITY DEFINER
             AS 'BEGIN OPEN $1 FOR SELECT * FROM public.many; RETURN $1; END'",
    );
    scene.guard(&scene.login, "max_rows => 10");
    let mut s = scene.session();
    s.run("BEGIN; SELECT opened('r')");
    assert_eq!(s.rows("FETCH 10 FROM r").len(), 10);
    too_many(&mut s, "FETCH 1 FROM r");
    s.run("ROLLBACK");
}

/// A driver that fetches in batches executes one portal again and again.
#[test]
fn guard_counts_over_executions_of_a_portal() {
    let scene = Scene::new("guard_portal");
    scene.guard(&scene.login, "max_rows => 10");
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    wire.query("BEGIN");
    wire.bind("p", "SELECT * FROM many");
    for _ in 0..5 {
        wire.execute("p", 2);
        // Another one in between.
        wire.bind("q", "SELECT * FROM many LIMIT 3");
        wire.execute("q", 0);
        wire.send(Some(b'C'), b"Pq\0");
        wire.send(Some(b'C'), b"Sq\0");
    }
    let answers = wire.sync();
    assert_eq!(data(&answers), 25, "{answers:?}");
    wire.execute("p", 2);
    let answers = wire.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 0);
    // An SQL cursor is a portal too.
    wire.query("ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT * FROM many; FETCH 9 FROM c");
    wire.execute("c", 0);
    let answers = wire.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 1);
}

/// A cursor WITH HOLD has its rows in a store, from which the protocol's Execute sends them: no query runs, and no statement.
#[test]
fn attack_stored_rows_are_executed_by_the_protocol() {
    let scene = Scene::new("guard_stored");
    scene.f.admin().run(
        "CREATE FUNCTION filled(c refcursor, sql text) RETURNS refcursor LANGUAGE plpgsql
             AS 'DECLARE r record; BEGIN OPEN c FOR EXECUTE sql; FETCH c INTO r; RETURN c; END'",
    );
    // Before there is a guard.
    let mut late = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    late.query("DECLARE h CURSOR WITH HOLD FOR SELECT * FROM many");
    late.execute("h", 5);
    assert_eq!(data(&late.sync()), 5);
    scene.guard(&scene.login, "max_rows => 10");
    late.execute("h", 0);
    let answers = late.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 10);

    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    wire.query("DECLARE h SCROLL CURSOR WITH HOLD FOR SELECT * FROM many");
    wire.execute("h", 0);
    let answers = wire.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 10);
    // Over all executions and fetches.
    wire.query("CLOSE h");
    wire.query(
        "BEGIN; DECLARE h SCROLL CURSOR WITH HOLD FOR SELECT * FROM many; FETCH 2 FROM h; COMMIT",
    );
    for _ in 0..3 {
        wire.execute("h", 2);
        assert_eq!(data(&wire.sync()), 2);
    }
    assert_eq!(data(&wire.query("FETCH BACKWARD 1 FROM h")), 1);
    wire.execute("h", 2);
    let answers = wire.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 1);
    assert_eq!(scene.alerts("max_rows").len(), 3);
    wire.query("DECLARE other CURSOR WITH HOLD FOR SELECT * FROM many");
    // A store that a function has filled.
    for sql in [
        "SHOW ALL",
        "UPDATE many SET body = body RETURNING *",
        "WITH w AS (UPDATE many SET body = body WHERE id = 1) SELECT * FROM many",
        "FETCH ALL FROM other",
    ] {
        wire.query("BEGIN");
        let answers = wire.query(&format!("SELECT filled('c', {})", literal(sql)));
        assert_eq!(data(&answers), 1, "{sql}: {answers:?}");
        wire.execute("c", 0);
        let answers = wire.sync();
        assert!(has_error(&answers, "54000"), "{sql}: {answers:?}");
        assert_eq!(data(&answers), 10, "{sql}");
        wire.query("ROLLBACK");
    }
    // What was counted as the store was filled is not counted again as it is sent, in parts.
    for sql in [
        "UPDATE many SET body = body WHERE id <= 10 RETURNING id",
        "WITH w AS (UPDATE many SET body = body WHERE id = 1) SELECT * FROM many LIMIT 10",
        "EXPLAIN (COSTS off) SELECT * FROM many",
    ] {
        wire.query("BEGIN");
        wire.bind("u", sql);
        for _ in 0..5 {
            wire.execute("u", 2);
        }
        let answers = wire.sync();
        assert!(
            answers.iter().all(|(kind, _)| *kind != b'E'),
            "{sql}: {answers:?}"
        );
        wire.query("ROLLBACK");
        wire.send(Some(b'C'), b"Su\0");
        wire.sync();
    }
    // In a window.
    scene.guard(&scene.login, "window_rows => 30, \"window\" => '1 hour'");
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    wire.query("DECLARE h CURSOR WITH HOLD FOR SELECT * FROM many");
    wire.execute("h", 0);
    let answers = wire.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 30);
}

#[test]
fn guard_holds_for_prepared_statements() {
    let scene = Scene::new("guard_prepared");
    let mut s = scene.session();
    s.run("PREPARE p AS SELECT * FROM many; PREPARE u AS UPDATE many SET body = body RETURNING *");
    let prepared = s.client.prepare("SELECT * FROM many").expect("prepare");
    assert_eq!(s.client.query(&prepared, &[]).expect("before").len(), 1000);
    scene.guard(&scene.login, "max_rows => 10");
    let refusal: Refusal = s.client.query(&prepared, &[]).expect_err("after").into();
    assert_eq!(refusal.code, "54000", "{refusal}");
    for sql in ["EXECUTE p", "EXECUTE u", "PREPARE again AS EXECUTE p"]
        .into_iter()
        .take(2)
    {
        too_many(&mut s, sql);
    }
    s.run("PREPARE few AS SELECT * FROM many LIMIT 10");
    assert_eq!(s.rows("EXECUTE few").len(), 10);
}

#[test]
fn guard_reaches_sessions_transactions_and_cursors_that_are_open() {
    let scene = Scene::new("guard_open");
    let mut s = scene.session();
    assert_eq!(s.rows("SELECT * FROM many").len(), 1000);
    let mut block = scene.session();
    block.run("BEGIN; DECLARE c CURSOR FOR SELECT * FROM many");
    assert_eq!(block.rows("FETCH 20 FROM c").len(), 20);
    assert_eq!(block.rows("SELECT * FROM many").len(), 1000);
    let mut running = scene.session();
    running.run("BEGIN");
    // The same statement and the same portal again, which need no further lock.
    let mut prepared = scene.session();
    prepared.run("BEGIN");
    let statement = prepared
        .client
        .prepare("SELECT * FROM many")
        .expect("prepare");
    assert_eq!(
        prepared
            .client
            .query(&statement, &[])
            .expect("before")
            .len(),
        1000
    );
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    wire.query("BEGIN");
    wire.bind("p", "SELECT * FROM many");
    wire.execute("p", 2);
    assert_eq!(data(&wire.sync()), 2);
    scene.guard(&scene.login, "max_rows => 10");
    too_many(&mut s, "SELECT * FROM many");
    too_many(&mut running, "SELECT * FROM many");
    let refusal: Refusal = prepared
        .client
        .query(&statement, &[])
        .expect_err("after")
        .into();
    assert_eq!(refusal.code, "54000", "{refusal}");
    wire.execute("p", 0);
    let answers = wire.sync();
    assert!(has_error(&answers, "54000"), "{answers:?}");
    assert_eq!(data(&answers), 10);
    // Rows from before the guard are not held against the cursor.
    let answers = block.attempt("FETCH 20 FROM c").expect_err("20 more");
    assert_eq!(answers.code, "54000", "{answers}");
    scene.guard(&scene.login, "NULL");
    assert_eq!(s.rows("SELECT * FROM many").len(), 1000);
    scene.f.admin().assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.guards WHERE role = '{}')",
        scene.login
    ));
}

#[test]
fn guard_of_the_strictest_counts() {
    let scene = Scene::new("guard_strictest");
    scene.guard(&scene.scope, "max_rows => 20");
    let mut s = scene.session();
    assert_eq!(s.rows("SELECT * FROM many LIMIT 20").len(), 20);
    scene.guard(&scene.login, "max_rows => 30");
    too_many(&mut s, "SELECT * FROM many LIMIT 21");
    scene.guard(&scene.login, "max_rows => 5");
    let refusal = s.refused("SELECT * FROM many LIMIT 6", "54000");
    assert!(refusal.detail.contains(&scene.login), "{refusal}");
    // An alert at fewer rows is an alert.
    scene.guard(&scene.login, "max_rows => 2, action => 'alert'");
    assert_eq!(s.rows("SELECT * FROM many LIMIT 5").len(), 5);
    assert_eq!(
        scene
            .alerts("max_rows")
            .iter()
            .filter(|line| line["blocked"] == json!(false))
            .count(),
        1
    );
    too_many(&mut s, "SELECT * FROM many LIMIT 6");
    // Nothing at all is a limit too.
    scene.guard(&scene.login, "max_rows => 0");
    too_many(&mut s, "SELECT 1");
    s.run("UPDATE many SET body = body WHERE id = 1");
}

/// One alert for each statement that passes the limit, and all of its rows.
#[test]
fn guard_that_alerts_lets_every_shape_pass_and_tells_of_each_once() {
    let scene = Scene::new("guard_alerts");
    scene.guard(&scene.scope, "max_rows => 10, action => 'alert'");
    let mut told = 0;
    let mut tells = |more: usize, what: &str| {
        told += more;
        let alerts = scene.alerts("max_rows");
        assert_eq!(alerts.len(), told, "{what}: {alerts:#?}");
        assert!(alerts.iter().all(|line| line["blocked"] == json!(false)));
        assert!(alerts.iter().all(|line| line["limit_rows"] == json!(10)));
    };
    let mut s = scene.session();
    for sql in [
        "SELECT * FROM many LIMIT 11",
        "UPDATE many SET body = body WHERE id <= 11 RETURNING id",
        "WITH w AS (UPDATE many SET body = '' WHERE id = 1) SELECT * FROM many LIMIT 11",
        "SELECT generate_series(1, 11)",
    ] {
        assert_eq!(s.rows(sql).len(), 11, "{sql}");
        tells(1, sql);
        assert_eq!(s.attempt_extended(sql, &[]).expect(sql).len(), 11);
        tells(1, sql);
    }
    for sql in ["COPY many TO STDOUT", "COPY (SELECT * FROM many) TO STDOUT"] {
        assert_eq!(s.copy_out(sql).expect(sql).lines().count(), 1000);
        tells(1, sql);
    }
    s.run("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT * FROM many");
    for (fetch, more) in [("6", 0), ("6", 1), ("BACKWARD 3", 0), ("ALL", 0)] {
        s.rows(&format!("FETCH {fetch} FROM c"));
        tells(more, fetch);
    }
    s.run("COMMIT");
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    wire.query("BEGIN");
    wire.bind("p", "SELECT * FROM many");
    for more in [0, 1, 0] {
        wire.execute("p", 8);
        assert_eq!(data(&wire.sync()), 8);
        tells(more, "a portal");
    }
}

#[test]
fn guard_holds_in_parallel_plans_and_subtransactions() {
    let scene = Scene::new("guard_parallel");
    scene.guard(&scene.login, "max_rows => 10");
    let mut s = scene.session();
    s.run(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SET max_parallel_workers_per_gather = 2",
    );
    let plan = s.column("EXPLAIN SELECT body FROM many").join("\n");
    assert!(plan.contains("Gather"), "{plan}");
    too_many(&mut s, "SELECT body FROM many");
    s.run("BEGIN; SAVEPOINT a");
    too_many(&mut s, "SELECT * FROM many");
    s.run("ROLLBACK TO a");
    too_many(&mut s, "SELECT * FROM many");
    s.run("ROLLBACK TO a");
    assert_eq!(s.rows("SELECT * FROM many LIMIT 10").len(), 10);
    s.run("ROLLBACK");
}

/// Rows that the client gets through functions are rows of the statement that calls them.
#[test]
fn guard_counts_what_functions_return() {
    let scene = Scene::new("guard_functions");
    scene.f.admin().run(
        "CREATE FUNCTION inlined() RETURNS SETOF many STABLE LANGUAGE sql AS 'SELECT * FROM many';
         CREATE FUNCTION queried() RETURNS SETOF many LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT * FROM many; END';
         CREATE FUNCTION definer() RETURNS SETOF many LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM public.many';
         CREATE FUNCTION updated() RETURNS SETOF many LANGUAGE sql AS 'UPDATE many SET body = body RETURNING *'",
    );
    scene.guard(&scene.login, "max_rows => 10");
    let mut s = scene.session();
    for function in ["inlined", "queried", "definer", "updated"] {
        too_many(&mut s, &format!("SELECT * FROM {function}()"));
        too_many(&mut s, &format!("SELECT {function}()"));
        assert_eq!(
            s.rows(&format!("SELECT * FROM {function}() LIMIT 10"))
                .len(),
            10
        );
    }
}

#[test]
fn guard_of_a_switched_role_holds_under_the_lock() {
    let scene = Scene::new("guard_switched");
    let plain = scene.f.role("plain", "NOLOGIN");
    let mut admin = scene.f.admin();
    admin.run(&format!("GRANT SELECT ON many TO {plain}"));
    let gated = admin
        .handed(&format!(
            "scope.create_authenticator('guard_switched_api', '{{{plain},{}}}')",
            scene.scope
        ))
        .role;
    // A role that is not ours can be guarded as well.
    scene.guard(&plain, "max_rows => 7");
    scene.guard(&scene.scope, "max_rows => 10, forbid => '{listen}'");
    let mut s = scene.f.login(&gated);
    for (role, rows) in [(&plain, 7), (&scene.scope, 10), (&plain, 7)] {
        let token = sign(&json!({"role": role, "exp": now() + 600}));
        s.run(&format!("BEGIN; {}", switch(&token)));
        assert_eq!(
            s.rows(&format!("SELECT * FROM many LIMIT {rows}")).len(),
            rows
        );
        s.run("SAVEPOINT a");
        too_many(&mut s, &format!("SELECT * FROM many LIMIT {}", rows + 1));
        s.run("ROLLBACK TO a");
        if role == &scene.scope {
            s.refused("LISTEN x", "42501");
        } else {
            s.run("LISTEN x");
        }
        s.run("ROLLBACK");
    }
    // Without a token it is nobody, and nothing of its roles' guards is its.
    crate::jwt::allow_session_switches(&scene.f, "guard_switched_api");
    let mut s = scene.f.login(&gated);
    assert_eq!(s.rows("SELECT generate_series(1, 20)").len(), 20);
    s.run(&format!(
        "SELECT scope.set_jwt_session({})",
        literal(&sign(&json!({"role": plain, "exp": now() + 600})))
    ));
    too_many(&mut s, "SELECT * FROM many");
    too_many(&mut s, "SELECT * FROM many");
}

#[test]
fn guard_of_a_role_holds_after_set_role_and_never_for_superusers() {
    let scene = Scene::new("guard_set_role");
    scene.guard(&scene.scope, "max_rows => 10");
    let mut admin = scene.f.admin();
    assert_eq!(admin.rows("SELECT * FROM many").len(), 1000);
    admin.run(&format!("SET ROLE {}", scene.login));
    too_many(&mut admin, "SELECT * FROM many");
    admin.run("RESET ROLE");
    assert_eq!(admin.rows("SELECT * FROM many").len(), 1000);
    let person = scene.f.role("person", "LOGIN");
    let mut s = scene.f.login(&person);
    s.denied("SELECT * FROM many", "42501");
    admin.run(&format!("GRANT {} TO {person}", scene.scope));
    too_many(&mut s, "SELECT * FROM many");
    s.run(&format!("SET ROLE {}", scene.scope));
    too_many(&mut s, "SELECT * FROM many");
    s.run("RESET ROLE");
    admin.run(&format!(
        "REVOKE {0} FROM {person}; GRANT SELECT ON many TO {person}",
        scene.scope
    ));
    assert_eq!(s.rows("SELECT * FROM many").len(), 1000);
}

/// COPY of a table reads what it would have read: no children, no generated columns, and row security.
#[test]
fn guard_leaves_what_copy_reads_as_it_is() {
    let scene = Scene::new("guard_copy");
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "CREATE TABLE \"A b\" (id int, \"X\" text, gone int, double int GENERATED ALWAYS AS (id * 2) STORED);
         ALTER TABLE \"A b\" DROP COLUMN gone;
         INSERT INTO \"A b\" VALUES (1, 'one'), (2, NULL), (3, 'a,b');
         CREATE TABLE child () INHERITS (\"A b\"); INSERT INTO child VALUES (9, 'child');
         GRANT SELECT ON \"A b\" TO {0};
         CREATE TABLE own (owner name, body text); INSERT INTO own VALUES ('{0}', 'mine'), ('other', 'theirs');
         ALTER TABLE own ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON own USING (owner = current_user);
         GRANT SELECT ON own TO {0};
         CREATE VIEW v AS SELECT 1 AS one; GRANT SELECT ON v TO {0}; CREATE TABLE none (); GRANT SELECT ON none TO {0}",
        scene.login
    ));
    let statements = [
        "COPY \"A b\" TO STDOUT",
        "COPY \"A b\" (\"X\", id) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (\"X\"))",
        "COPY public.\"A b\" TO STDOUT (FORMAT csv, NULL 'null')",
        "COPY own TO STDOUT",
        "COPY none TO STDOUT",
    ];
    let mut s = scene.session();
    let before: Vec<String> = statements
        .iter()
        .map(|sql| s.copy_out(sql).expect(sql))
        .collect();
    scene.guard(&scene.login, "max_rows => 3");
    for (sql, before) in statements.iter().zip(before) {
        assert_eq!(s.copy_out(sql).expect(sql), before, "{sql}");
    }
    for (sql, code) in [
        ("COPY v TO STDOUT", "42809"),
        ("COPY nowhere TO STDOUT", "42P01"),
        ("COPY vault TO STDOUT", "42501"),
        ("COPY many (nothing) TO STDOUT", "42703"),
    ] {
        let refusal = s.copy_out(sql).expect_err(sql);
        assert_eq!(refusal.code, code, "{sql}: {refusal}");
    }
}

/// A function that writes files while its caller's rows are sent.
#[test]
fn guard_counts_files_that_a_function_writes_with_the_rows_of_its_caller() {
    let scene = Scene::new("guard_nested");
    scene.f.admin().run(&format!(
        "GRANT pg_write_server_files TO {};
         CREATE FUNCTION spill(int) RETURNS int LANGUAGE plpgsql AS $$
         BEGIN
             IF $1 % 2 = 0 THEN COPY (SELECT 1 UNION ALL SELECT 2) TO '/dev/null'; END IF;
             BEGIN COPY (SELECT 1 / 0) TO '/dev/null'; EXCEPTION WHEN division_by_zero THEN NULL; END;
             RETURN $1;
         END $$",
        scene.login
    ));
    scene.guard(&scene.login, "max_rows => 10");
    let mut s = scene.session();
    // Five rows, and two more for each even one.
    assert_eq!(s.rows("SELECT spill(id) FROM many LIMIT 5").len(), 5);
    too_many(&mut s, "SELECT spill(id) FROM many LIMIT 6");
    too_many(
        &mut s,
        "DO $$ BEGIN COPY public.many TO '/dev/null'; END $$",
    );
    assert_eq!(s.rows("SELECT * FROM many LIMIT 10").len(), 10);
}
