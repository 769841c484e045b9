//! A role whose scopes only read changes nothing, whoever's code it runs.

use serde_json::json;

use super::Scene;
use crate::harness::*;
use crate::jwt::switch;

/// A reader's login, and functions of the superuser that would change things for whoever calls them.
fn reader(scene: &Scene) -> String {
    let mut admin = scene.f.admin();
    admin.run(
        "CREATE SEQUENCE numbers; GRANT USAGE ON SEQUENCE numbers TO PUBLIC;
         CREATE FUNCTION put() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.orders VALUES (9, ''put'') RETURNING id';
         CREATE FUNCTION cte() RETURNS bigint LANGUAGE sql SECURITY DEFINER
             AS 'WITH d AS (DELETE FROM public.orders RETURNING 1) SELECT count(*) FROM d';
         CREATE FUNCTION upd() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN UPDATE public.orders SET note = ''x''; END';
         CREATE FUNCTION dyn(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE $1; END';
         CREATE PROCEDURE proc() LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM public.orders; END';
         CREATE FUNCTION caught() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
             'BEGIN INSERT INTO public.orders VALUES (8, ''caught''); RETURN ''in''; EXCEPTION WHEN others THEN RETURN SQLSTATE; END';
         CREATE VIEW put_view AS SELECT put() AS x;
         CREATE RULE r AS ON UPDATE TO put_view DO INSTEAD SELECT 1;
         CREATE FUNCTION plain() RETURNS SETOF orders LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM public.orders'",
    );
    let login = admin.issue("'orders'").role;
    admin.run(&format!("GRANT SELECT ON put_view TO {login}"));
    login
}

#[track_caller]
fn unchanged(scene: &Scene) {
    scene
        .f
        .admin()
        .assert_that("(SELECT array_agg(id || note ORDER BY id) = '{1first,2second}' FROM orders)");
}

#[test]
fn reader_changes_nothing_inside_functions_of_others() {
    let scene = Scene::new("reading_functions");
    let login = reader(&scene);
    let mut s = scene.f.login(&login);
    for sql in [
        "SELECT put()",
        "SELECT cte()",
        "SELECT upd()",
        "CALL proc()",
        "SELECT x FROM put_view",
        "DO $$ BEGIN PERFORM put(); END $$",
        "SELECT dyn('MERGE INTO public.orders o USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE')",
        "SELECT dyn('TRUNCATE public.orders')",
        "SELECT dyn('DROP TABLE public.orders')",
        "SELECT dyn('ALTER TABLE public.orders DROP COLUMN note')",
        "SELECT dyn('CREATE TABLE public.copy AS SELECT * FROM public.orders')",
        "SELECT dyn('SELECT * INTO public.copy FROM public.orders')",
        "SELECT dyn('COPY public.orders FROM PROGRAM ''echo 7''')",
        "SELECT dyn('SELECT lo_create(0)')",
        "SELECT dyn('CREATE INDEX ON public.orders (id)')",
        "SELECT dyn('SELECT public.put()')",
        "SELECT dyn('DO $x$ BEGIN DELETE FROM public.orders; END $x$')",
        "EXPLAIN ANALYZE SELECT put()",
        "SELECT lo_create(0)",
    ] {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = s.attempt_by(protocol, sql).expect_err(sql);
            assert_eq!(refusal.code, "42501", "{protocol:?} {sql}: {refusal}");
            assert!(refusal.message.contains("only reads"), "{sql}: {refusal}");
            assert!(refusal.hint.contains("allow_writes"), "{sql}: {refusal}");
        }
    }
    assert_eq!(s.text("SELECT caught()"), "42501");
    // By the fast path, which no statement is behind.
    let put = scene.f.admin().text("SELECT 'put'::regproc::oid");
    let mut wire = Wire::open(scene.f.server, &login, &scene.f.name);
    let answers = wire.call(put.parse().expect("an OID"), &[]);
    assert!(has_error(&answers, "42501"), "{answers:?}");
    unchanged(&scene);
    // Its own rights are PostgreSQL's to refuse, and reading is what it is for.
    assert!(
        !s.denied("DELETE FROM orders", "42501")
            .message
            .contains("only reads")
    );
    assert_eq!(s.rows("SELECT * FROM plain()").len(), 2);
    s.rows("SELECT nextval('numbers')");
    s.run("CREATE TEMP TABLE t (x int); INSERT INTO t SELECT id FROM orders; UPDATE t SET x = 1; TRUNCATE t; DROP TABLE t");
    s.run("CREATE TEMP TABLE t AS SELECT * FROM orders; DELETE FROM t");
    let alerts = scene.alerts("read_only");
    assert!(
        alerts.len() > 10 && alerts[0]["blocked"] == json!(true),
        "{alerts:#?}"
    );
}

#[test]
fn reader_writes_in_functions_that_are_allowed_by_name_and_in_no_others() {
    let scene = Scene::new("reading_allowed");
    let login = reader(&scene);
    let mut s = scene.f.login(&login);
    let mut admin = scene.f.admin();
    s.refused("SELECT put()", "42501");
    admin.run(
        "SELECT scope.allow_writes('put()'); SELECT scope.allow_writes('proc()');
         CREATE TABLE noted (x int);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.noted VALUES (1); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
         ALTER FUNCTION note() SECURITY DEFINER",
    );
    // From the next statement on, in a session that was open; a deferred trigger of it too.
    assert_eq!(s.text("SELECT put()"), "9");
    s.run("BEGIN; SELECT put(); COMMIT");
    s.run("BEGIN; SELECT put(); SET CONSTRAINTS ALL IMMEDIATE; COMMIT");
    admin.assert_that("(SELECT count(*) = 3 FROM noted)");
    s.run("DO $$ BEGIN PERFORM put(); END $$; SELECT x FROM put_view");
    for sql in [
        "SELECT upd()",
        "SELECT cte()",
        "SELECT dyn('DELETE FROM public.orders')",
    ] {
        s.refused(sql, "42501");
        // Nor after, or beside, one that is allowed.
        s.refused(&format!("BEGIN; SELECT put(); {sql}"), "42501");
        s.run("ROLLBACK");
    }
    s.refused("SELECT put(), cte()", "42501");
    // The function failed: it is not running any more.
    admin.run("CREATE FUNCTION fails() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN PERFORM 1 / 0; END'; SELECT scope.allow_writes('fails()')");
    s.refused(
        "DO $$ BEGIN BEGIN PERFORM fails(); EXCEPTION WHEN division_by_zero THEN NULL; END; PERFORM upd(); END $$",
        "42501",
    );
    s.run("CALL proc()");
    admin.assert_that("(SELECT count(*) = 0 FROM orders)");
    // Another of the same name is another; so is the same one when it is taken back.
    admin.run("CREATE FUNCTION put(int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.orders VALUES ($1) RETURNING id'");
    s.refused("SELECT put(1)", "42501");
    admin.run("SELECT scope.allow_writes('put()', false)");
    s.refused("SELECT put()", "42501");
    admin.run("SELECT scope.allow_writes('put()'); DROP VIEW put_view; DROP FUNCTION put()");
    admin.run("CREATE FUNCTION put() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.orders VALUES (5) RETURNING id'");
    assert_eq!(s.text("SELECT put()"), "5");
    admin.denied("SELECT scope.allow_writes(1::oid::regprocedure)", "42883");
    admin.denied("SELECT scope.allow_writes(NULL)", "22004");
}

/// The fast path in a transaction in which an allowed function has run.
#[test]
fn reader_cannot_pass_for_a_commit_by_the_fast_path() {
    let scene = Scene::new("reading_fast_path");
    let login = reader(&scene);
    let mut admin = scene.f.admin();
    admin.run("SELECT scope.allow_writes('put()')");
    let upd = admin.text("SELECT 'upd'::regproc::oid");
    let mut wire = Wire::open(scene.f.server, &login, &scene.f.name);
    wire.query("BEGIN");
    let answers = wire.query("SELECT put()");
    assert!(!has_error(&answers, "42501"), "{answers:?}");
    let answers = wire.call(upd.parse().expect("an OID"), &[]);
    assert!(has_error(&answers, "42501"), "{answers:?}");
}

/// Planning runs functions while no portal is active, as a commit runs triggers.
#[test]
fn reader_cannot_pass_for_a_commit_by_planning() {
    let scene = Scene::new("reading_planning");
    let login = reader(&scene);
    let mut admin = scene.f.admin();
    admin.run(
        "SELECT scope.allow_writes('put()');
         CREATE FUNCTION sly() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN PERFORM upd(); RETURN 1; END';
         CREATE FUNCTION slier() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM upd(); RETURN 1; END';
         CREATE FUNCTION sliest(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM upd(); RETURN true; END';
         CREATE DOMAIN checked AS int CHECK (sliest(VALUE))",
    );
    for sql in [
        "SELECT put(); SELECT * FROM orders WHERE id = sly()",
        "SELECT put(); SELECT slier()",
        "BEGIN; SELECT put(); SELECT slier()",
        "SELECT put(); EXPLAIN SELECT * FROM orders WHERE id = sly()",
        "SELECT put(); SELECT '1'::checked",
        "SELECT put(); PREPARE p AS SELECT slier(); EXECUTE p",
        "SELECT put(); COMMIT; SELECT slier()",
        "SELECT put(); SET CONSTRAINTS ALL IMMEDIATE; SELECT slier()",
    ] {
        let mut wire = Wire::open(scene.f.server, &login, &scene.f.name);
        let answers = wire.query(sql);
        assert!(has_error(&answers, "42501"), "{sql}: {answers:?}");
    }
    // In one transaction until Sync: the parameter is read, and the plan is made, at Bind.
    let mut wire = Wire::open(scene.f.server, &login, &scene.f.name);
    wire.bind("", "SELECT put()");
    wire.execute("", 0);
    wire.send(Some(b'P'), b"\0SELECT $1::checked\0\0\0");
    wire.send(Some(b'B'), b"\0\0\0\0\0\x01\0\0\0\x011\0\0");
    let answers = wire.sync();
    assert!(has_error(&answers, "42501"), "{answers:?}");
    admin.assert_that("(SELECT count(*) = 0 FROM orders WHERE note = 'x')");
}

/// A reader's own temporary tables have constraints that are checked at the commit, by functions.
#[test]
fn reader_cannot_pass_for_a_trigger_of_a_function_that_may_write() {
    let scene = Scene::new("reading_late");
    let login = reader(&scene);
    let mut admin = scene.f.admin();
    admin.run(
        "SELECT scope.allow_writes('put()');
         CREATE FUNCTION late(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
             AS 'BEGIN IF pg_trigger_depth() > 0 THEN PERFORM upd(); RETURN 1000; END IF; RETURN $1; END';
         CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN PERFORM public.upd(); RETURN NULL; END'",
    );
    let table = "CREATE TEMP TABLE t (x int, EXCLUDE USING btree (late(x) WITH =) DEFERRABLE INITIALLY DEFERRED)";
    for sql in [
        format!("{table}; SELECT put(); INSERT INTO t VALUES (1), (1)"),
        format!("BEGIN; {table}; SELECT put(); INSERT INTO t VALUES (1), (1); COMMIT"),
        format!("{table}; SELECT put(); INSERT INTO t VALUES (1), (1); SET CONSTRAINTS ALL IMMEDIATE"),
        "CREATE TEMP TABLE a (x int PRIMARY KEY); CREATE TEMP TABLE b (x int CHECK (late(x) > 0) REFERENCES a ON UPDATE CASCADE);
         INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); SELECT put(); UPDATE a SET x = 2"
            .into(),
        "CREATE TEMP TABLE t (x int); SELECT put();
         CREATE CONSTRAINT TRIGGER c AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit()"
            .into(),
        "CREATE TEMP TABLE t (x int); SELECT put(); CREATE TRIGGER c AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit()".into(),
        "SELECT put(); SELECT audit()".into(),
        "SELECT put(); DECLARE c CURSOR WITH HOLD FOR SELECT upd()".into(),
    ] {
        let mut wire = Wire::open(scene.f.server, &login, &scene.f.name);
        wire.query("SET search_path = public");
        let answers = wire.query(&sql);
        let refused = has_error(&answers, "42501") || has_error(&answers, "0A000");
        assert!(refused, "{sql}: {answers:?}");
    }
    admin.assert_that("(SELECT count(*) = 0 FROM orders WHERE note = 'x')");
    // What triggers do that are a table's own is part of what was allowed: deferred, of partitions, in a chain.
    admin.run(
        "CREATE TABLE parts (x int) PARTITION BY RANGE (x); CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9);
         CREATE TABLE chained (x int);
         CREATE FUNCTION chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN INSERT INTO public.chained VALUES (NEW.x); RETURN NULL; END';
         CREATE FUNCTION chain_on() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN INSERT INTO public.noted VALUES (NEW.x); RETURN NULL; END';
         CREATE TABLE noted (x int);
         CREATE CONSTRAINT TRIGGER one AFTER INSERT ON part DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain();
         CREATE CONSTRAINT TRIGGER two AFTER INSERT ON chained DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_on();
         CREATE FUNCTION fill() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.parts VALUES (1)';
         SELECT scope.allow_writes('fill()')",
    );
    let mut s = scene.f.login(&login);
    s.run("SELECT fill()");
    s.run("BEGIN; SELECT fill(); COMMIT");
    s.run("BEGIN; SELECT fill(); SET CONSTRAINTS ALL IMMEDIATE; COMMIT");
    admin.assert_that("(SELECT count(*) = 3 FROM noted)");
    s.refused("SELECT upd()", "42501");
}

#[test]
fn reader_is_one_by_its_scopes_only() {
    let scene = Scene::new("reading_scopes");
    let login = reader(&scene);
    let mut admin = scene.f.admin();
    admin.run(
        "SELECT scope.create_scope('reading_scopes_ro', '{SELECT}', '{orders}');
         SELECT scope.create_scope('reading_scopes_fn', functions => '{put()}')",
    );
    let both = admin
        .handed("scope.create_credential('{reading_scopes_ro,reading_scopes_fn}')")
        .role;
    // A scope with functions is there to have them called.
    assert_eq!(scene.f.login(&both).text("SELECT put()"), "9");
    let writer = admin.handed("scope.create_readwrite_role('orders')").role;
    assert_eq!(scene.f.login(&writer).text("SELECT put()"), "9");
    let mut s = scene.f.login(&login);
    s.refused("SELECT put()", "42501");
    // A scope that gets more is no longer one that only reads, and the other way round.
    let one = admin
        .handed("scope.create_credential('{reading_scopes_ro}')")
        .role;
    let mut s = scene.f.login(&one);
    s.refused("SELECT put()", "42501");
    admin.run("SELECT scope.alter_scope('reading_scopes_ro', 'add', '{INSERT}', '{orders}')");
    assert_eq!(s.text("SELECT put()"), "9");
    admin.run("SELECT scope.alter_scope('reading_scopes_ro', 'remove', '{INSERT}', '{orders}')");
    s.refused("SELECT put()", "42501");
    // A person's own login, and a role that is not ours, own things of their own.
    let person = scene.f.role("person", "LOGIN IN ROLE reading_scopes_ro");
    assert_eq!(scene.f.login(&person).text("SELECT put()"), "9");
    admin.assert_that("(SELECT count(*) = 4 FROM orders WHERE id = 9)");
}

#[test]
fn reader_by_token_changes_nothing_either() {
    let scene = Scene::new("reading_token");
    reader(&scene);
    let mut admin = scene.f.admin();
    admin.run("SELECT scope.create_scope('reading_token_ro', '{SELECT}', '{orders}')");
    let gated = admin
        .handed("scope.create_authenticator('reading_token_api', '{reading_token_ro}')")
        .role;
    let token = sign(&json!({"role": "reading_token_ro", "exp": now() + 600}));
    let mut s = scene.f.login(&gated);
    for sql in [
        "SELECT put()",
        "CALL proc()",
        "SELECT dyn('TRUNCATE public.orders')",
    ] {
        s.run(&format!("BEGIN; {}", switch(&token)));
        assert!(s.refused(sql, "42501").message.contains("only reads"));
        s.run("ROLLBACK");
    }
    s.run(&format!("BEGIN; {}", switch(&token)));
    assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
    s.run("COMMIT");
    unchanged(&scene);
}
