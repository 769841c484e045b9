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
    let of_19 = [
        "SELECT dyn('INSERT INTO public.many VALUES (1, NULL) ON CONFLICT (id) DO SELECT RETURNING id')",
        "SELECT dyn('REPACK public.orders')",
        "SELECT dyn('CLUSTER public.orders')",
    ];
    let of_19 = of_19
        .into_iter()
        .filter(|_| scene.f.server.version() >= 190_000);
    let of_all = [
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
        "SELECT dyn('ALTER SEQUENCE public.numbers RESTART')",
        "SELECT dyn('SELECT setval(''public.numbers'', 5000)')",
        "SELECT dyn('COMMENT ON TABLE public.orders IS ''mine''')",
        "SELECT dyn('COMMENT ON COLUMN public.orders.note IS ''mine''')",
        "SELECT dyn('COMMENT ON DATABASE reading_functions IS ''mine''')",
        "SELECT dyn('SECURITY LABEL FOR scope_roles ON ROLE postgres IS NULL')",
        "EXPLAIN ANALYZE SELECT put()",
        "SELECT lo_create(0)",
    ];
    for sql in of_all.into_iter().chain(of_19) {
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
    s.run("CREATE TEMP TABLE t AS SELECT * FROM orders; DELETE FROM t; COMMENT ON TABLE t IS 'mine'; COMMENT ON COLUMN t.note IS 'mine'");
    scene.f.admin().assert_that(
        "(SELECT last_value = 1 FROM numbers) AND obj_description('orders'::regclass, 'pg_class') IS NULL",
    );
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

/// Functions of PostgreSQL's that are volatile and change no data and nothing that stays behind, in any version: they read, wait, end, lock,
/// set what is the session's own or the server's to run with, tidy an index up, or run what is asked about by itself. `nextval` is documented.
const HARMLESS: &str = "
RI_FKey_cascade_del RI_FKey_cascade_upd RI_FKey_check_ins RI_FKey_check_upd RI_FKey_noaction_del RI_FKey_noaction_upd
RI_FKey_restrict_del RI_FKey_restrict_upd RI_FKey_setdefault_del RI_FKey_setdefault_upd RI_FKey_setnull_del
RI_FKey_setnull_upd amvalidate array_sample array_shuffle bernoulli binary_upgrade_add_sub_rel_state binary_upgrade_check_logical_slot_pending_wal
binary_upgrade_create_conflict_detection_slot
binary_upgrade_create_empty_extension binary_upgrade_logical_slot_has_caught_up binary_upgrade_replorigin_advance
binary_upgrade_set_missing_value binary_upgrade_set_next_array_pg_type_oid binary_upgrade_set_next_attribute_versions
binary_upgrade_set_next_heap_pg_class_oid binary_upgrade_set_next_heap_relfilenode
binary_upgrade_set_next_index_pg_class_oid binary_upgrade_set_next_index_relfilenode
binary_upgrade_set_next_multirange_array_pg_type_oid binary_upgrade_set_next_multirange_pg_type_oid
binary_upgrade_set_next_pg_authid_oid binary_upgrade_set_next_pg_enum_oid binary_upgrade_set_next_pg_tablespace_oid
binary_upgrade_set_next_pg_type_oid binary_upgrade_set_next_toast_pg_class_oid binary_upgrade_set_next_toast_relfilenode
binary_upgrade_set_record_init_privs brin_desummarize_range brin_summarize_new_values brin_summarize_range brinhandler
bthandler clock_timestamp current_query currtid2 currval cursor_to_xml cursor_to_xmlschema gen_random_uuid
gin_clean_pending_list ginhandler gisthandler hashhandler heap_tableam_handler lastval lo_close lo_export lo_get
lo_lseek lo_lseek64 lo_open lo_tell lo_tell64 loread nextval pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock
pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
pg_available_wal_summaries pg_backup_start pg_backup_stop pg_blocking_pids pg_cancel_backend pg_collation_actual_version
pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system pg_current_logfile pg_current_wal_flush_lsn
pg_current_wal_insert_lsn pg_current_wal_lsn pg_database_collation_actual_version pg_database_size pg_export_snapshot
pg_get_aios pg_get_backend_memory_contexts pg_get_dsm_registry_allocations pg_get_loaded_modules pg_get_multixact_members pg_get_multixact_stats pg_get_sequence_data
pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_wait_events pg_get_wal_replay_pause_state
pg_get_wal_resource_managers pg_get_wal_summarizer_state pg_hba_file_rules pg_ident_file_mappings pg_indexes_size
pg_is_in_recovery pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact
pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status
pg_log_backend_memory_contexts pg_log_standby_snapshot pg_logical_slot_peek_binary_changes pg_logical_slot_peek_changes
pg_ls_archive_statusdir pg_ls_dir pg_ls_logdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir
pg_ls_summariesdir pg_ls_tmpdir pg_ls_waldir pg_nextoid pg_notification_queue_usage pg_notify pg_partition_ancestors
pg_partition_tree pg_prepared_xact pg_promote pg_read_binary_file pg_read_file pg_read_file_old pg_relation_size
pg_reload_conf pg_replication_origin_progress pg_replication_origin_session_is_setup
pg_replication_origin_session_progress pg_rotate_logfile pg_rotate_logfile_old pg_safe_snapshot_blocking_pids
pg_sequence_last_value pg_show_all_file_settings pg_show_replication_origin_status pg_sleep pg_sleep_for pg_sleep_until
pg_stat_clear_snapshot pg_stat_file pg_stat_force_next_flush pg_stat_get_backend_io pg_stat_get_backend_wal
pg_stat_get_io pg_stat_get_lock pg_stat_get_recovery_prefetch pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit
pg_stat_get_xact_function_calls pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time
pg_stat_get_xact_numscans pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched
pg_stat_get_xact_tuples_hot_updated pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated
pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated pg_stat_have_stats pg_stop_making_pinned_objects
pg_table_size pg_tablespace_size pg_terminate_backend pg_total_relation_size pg_try_advisory_lock
pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_wal_replay_pause
pg_wal_replay_resume pg_wal_summary_contents plpgsql_validator pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status
query_to_xml query_to_xml_and_xmlschema query_to_xmlschema random random_normal set_config setseed spghandler
suppress_redundant_updates_trigger system timeofday ts_rewrite ts_stat tsvector_update_trigger
tsvector_update_trigger_column txid_status unique_key_recheck uuidv4 uuidv7
";

/// Every other one is refused: a new version's shows up here until somebody has decided.
#[test]
fn reader_changes_nothing_by_any_function_of_postgresqls() {
    let scene = Scene::new("reading_catalogue");
    let login = reader(&scene);
    let functions = scene.f.admin().rows(
        "SELECT p.proname, p.oid::regprocedure::text,
                (SELECT coalesce(string_agg(CASE WHEN p.provariadic <> 0 AND n = p.pronargs AND t <> '\"any\"'::regtype THEN 'VARIADIC ' ELSE '' END || CASE t WHEN '\"any\"'::regtype THEN '''x''::text' ELSE '(SELECT NULL::' || format_type(t, NULL) || ')' END, ', ' ORDER BY n), '')
                 FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n))
         FROM pg_proc p WHERE p.provolatile = 'v' AND p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384
           AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[]) AND p.prorettype <> ALL ('{trigger,event_trigger,language_handler}'::regtype[])",
    );
    let harmless: Vec<&str> = HARMLESS.split_whitespace().collect();
    let mut s = scene.f.login(&login);
    let mut refused = 0;
    for function in functions {
        let [Some(name), Some(signature), Some(arguments)] = function.as_slice() else {
            panic!("{function:?}")
        };
        if harmless.contains(&name.as_str()) {
            continue;
        }
        let sql = format!("SELECT pg_catalog.{name}({arguments})");
        let refusal = s.fails(&format!("SELECT dyn({})", literal(&sql)));
        assert_eq!(refusal.code, "42501", "{signature}: {refusal}");
        assert!(
            refusal.message.contains("only reads"),
            "{signature}: {refusal}"
        );
        refused += 1;
    }
    assert!(refused >= 43, "{refused}");
}
