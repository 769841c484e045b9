//! What the caller's own settings change: nothing of what the extension does.

use crate::harness::*;

/// Settings that a session may change, and that elevated code leaves as they are: the caller's patience, what is logged and where, memory
/// and how the disk is used, what only superusers set, and what can't change inside a transaction.
const LEFT: &str = "composite_type_mismatch effective_io_concurrency extension_destdir maintenance_io_concurrency io_combine_limit \
    allow_in_place_tablespaces allow_system_table_mods application_name backend_flush_after backtrace_functions \
    client_connection_check_interval client_encoding client_min_messages commit_delay commit_siblings \
    compute_query_id deadlock_timeout debug_copy_parse_plan_trees debug_deadlocks debug_discard_caches \
    debug_logical_replication_streaming debug_raw_expression_coverage_test debug_write_read_parse_plan_trees \
    default_statistics_target default_text_search_config default_transaction_deferrable \
    default_transaction_isolation default_transaction_read_only default_with_oids dynamic_library_path \
    extension_control_path file_copy_method gin_pending_list_limit icu_validation_level \
    idle_in_transaction_session_timeout idle_session_timeout ignore_checksum_failure jit_above_cost \
    jit_dump_bitcode jit_expressions jit_inline_above_cost jit_optimize_above_cost jit_tuple_deforming \
    lc_messages lo_compat_privileges local_preload_libraries lock_timeout log_btree_build_stats log_duration \
    log_error_verbosity log_executor_stats log_lock_failures log_lock_waits log_min_duration_sample \
    log_min_duration_statement log_min_error_statement log_min_messages log_parameter_max_length log_parser_stats \
    log_planner_stats log_replication_commands log_statement log_statement_sample_rate log_statement_stats \
    log_temp_files log_transaction_sample_rate logical_decoding_work_mem maintenance_work_mem \
    max_parallel_maintenance_workers max_parallel_workers max_stack_depth md5_password_warnings \
    output_plugin_libraries role scram_iterations seed session_authorization session_preload_libraries \
    ssl_renegotiation_limit statement_timeout synchronize_seqscans synchronous_commit tcp_keepalives_count \
    tcp_keepalives_idle tcp_keepalives_interval tcp_user_timeout temp_buffers temp_file_limit timing_clock_source trace_lock_oidmin \
    trace_lock_table trace_locks trace_lwlocks trace_notify trace_sort trace_syncscan trace_userlocks \
    track_activities track_cost_delay_timing track_counts track_functions track_io_timing track_wal_io_timing \
    transaction_deferrable transaction_isolation transaction_read_only transaction_timeout update_process_title \
    vacuum_buffer_usage_limit vacuum_cost_delay vacuum_cost_limit vacuum_cost_page_dirty vacuum_cost_page_hit \
    vacuum_cost_page_miss vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age \
    vacuum_max_eager_freeze_failure_rate vacuum_multixact_failsafe_age vacuum_multixact_freeze_min_age \
    vacuum_multixact_freeze_table_age vacuum_truncate wal_compression wal_consistency_checking wal_debug \
    wal_init_zero wal_receiver_timeout wal_recycle wal_sender_shutdown_timeout wal_sender_timeout wal_skip_threshold zero_damaged_pages";

/// A new version's setting fails here until it is decided on.
#[test]
fn every_setting_that_a_session_may_change_is_pinned_or_left_on_purpose() {
    let pinned = include_str!("../../src/pinned.rs");
    let f = Fixture::new("settings_all");
    let undecided: Vec<String> = f
        .admin()
        .column("SELECT name FROM pg_settings WHERE context IN ('user', 'superuser') AND name !~ '[.]' ORDER BY 1")
        .into_iter()
        .filter(|name| !pinned.contains(&format!("(c\"{name}\", c\"")) && name != "search_path" && !LEFT.split(' ').any(|left| left == name))
        .collect();
    // What others have added to their builds of PostgreSQL is among what is left.
    assert_eq!(undecided, [""; 0]);
}

/// SET statements with another value for each pinned setting.
fn hostile(admin: &mut Session) -> Vec<String> {
    let pinned = include_str!("../../src/pinned.rs");
    let names: Vec<String> = pinned
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("(c\"")?
                .split_once("\", c\"")
                .map(|(name, _)| literal(name))
        })
        .collect();
    admin.column(&format!(
        "SELECT format('SET %I = %L', name, CASE name
                  WHEN 'DateStyle' THEN 'SQL, DMY' WHEN 'TimeZone' THEN 'Pacific/Apia' WHEN 'timezone_abbreviations' THEN 'India'
                  WHEN 'default_table_access_method' THEN 'evil' WHEN 'default_tablespace' THEN 'pg_default'
                  WHEN 'temp_tablespaces' THEN 'pg_default' WHEN 'restrict_nonsystem_relation_kind' THEN 'view, foreign-table'
                  WHEN 'standard_conforming_strings' THEN CASE WHEN current_setting('server_version_num')::int < 190000 THEN 'off' ELSE 'on' END
                  WHEN 'createrole_self_grant' THEN 'set, inherit' WHEN 'exit_on_error' THEN 'off'
                  WHEN 'lc_numeric' THEN 'C.UTF-8' WHEN 'lc_monetary' THEN 'C.UTF-8' WHEN 'lc_time' THEN 'C.UTF-8'
                  ELSE CASE vartype WHEN 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END
                                    WHEN 'enum' THEN (SELECT v FROM unnest(enumvals) v WHERE v <> setting ORDER BY v DESC LIMIT 1)
                                    ELSE min_val END END)
           FROM pg_settings WHERE name IN ({}) AND context IN ('user', 'superuser') ORDER BY name",
        names.join(", ")
    ))
}

/// All that somebody does with scopes and logins, and what it leaves, without times and passwords.
fn life(session: &mut Session, look: &mut Session, name: &str) -> Vec<String> {
    let strip = |text: String| text.replace(name, "NAME");
    session.run(&format!(
        "SELECT scope.create_scope('{name}', '{{SELECT}}', tables => ARRAY['public.\"Odd Name\"'::regclass], schemas => ARRAY['s1'::regnamespace], functions => ARRAY['public.f(date,interval)'::regprocedure], purpose => 'x');
         SELECT scope.alter_scope('{name}', 'add', '{{INSERT}}', tables => ARRAY['public.\"Odd Name\"'::regclass]);
         SELECT scope.create_credential(ARRAY['{name}'], '{name}_c', '2 days', statement_timeout => '90 seconds', search_path => ARRAY['public']);
         SELECT scope.rotate_password('{name}_c'); SELECT scope.renew_role('{name}_c', '1 day');
         ALTER TABLE public.\"Odd Name\" RENAME TO between; ALTER TABLE public.between RENAME TO \"Odd Name\""
    ));
    let mut left = look.column(&format!(
        "SELECT concat_ws('|', class, object, part, privilege, stance) FROM _scope.scope_declaration WHERE scope = '{name}' ORDER BY 1"
    ));
    left.push(look.text(&format!("SELECT concat_ws('|', settings, scopes, valid_until - now() BETWEEN '23 hours' AND '25 hours') FROM scope.credentials WHERE role = '{name}_c'")));
    left.push(session.text(&format!("SELECT scope.export_spec(ARRAY['{name}'::name])")));
    left.extend(session.column(&format!(
        "SELECT p.statement FROM scope.plan(scope.export_spec(ARRAY['{name}'::name])) p"
    )));
    left.extend(session.column(&format!(
        "SELECT concat_ws('|', object_type, object_name, privilege_type, mode) FROM scope.effective_access('{name}_c') WHERE object_type <> 'database' ORDER BY 1"
    )));
    session.run(&format!(
        "SELECT scope.revoke_role('{name}_c', 'x'); SELECT scope.drop_scope('{name}', force => true)"
    ));
    left.push(look.text(&format!(
        "SELECT count(*) FROM _scope.scope_declaration WHERE scope = '{name}'"
    )));
    left.into_iter().map(strip).collect()
}

#[test]
fn no_setting_of_the_caller_changes_what_is_done() {
    let f = Fixture::new("settings_hostile");
    let mut admin = f.admin();
    admin.run("CREATE SCHEMA s1; CREATE TABLE s1.t (id int); CREATE TABLE \"Odd Name\" (id int);
               CREATE FUNCTION f(date, interval) RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION f FROM PUBLIC");
    let expected = life(&mut f.admin(), &mut admin, &format!("{}_0", f.name));
    assert!(expected.len() > 6, "{expected:#?}");
    let settings = hostile(&mut admin);
    assert!(settings.len() > 60, "{settings:#?}");
    // All at once, and in a session that has them from its database.
    let mut session = f.admin();
    for setting in &settings {
        // What this server does not take can't be hostile.
        let _ = session.attempt(setting);
    }
    assert_eq!(
        life(&mut session, &mut admin, &format!("{}_1", f.name)),
        expected
    );
    for setting in &settings {
        let _ = admin.attempt(&setting.replace("SET ", &format!("ALTER DATABASE {} SET ", f.name)));
    }
    assert_eq!(
        life(&mut f.admin(), &mut admin, &format!("{}_2", f.name)),
        expected
    );
    // What the caller has set is as it was.
    assert_eq!(session.text("SHOW quote_all_identifiers"), "on");
    assert_eq!(session.text("SHOW \"TimeZone\""), "Pacific/Apia");
}

/// SET quote_all_identifiers = on; the rename of a temporary table's column once rewrote every declaration.
#[test]
fn a_rename_by_a_bystander_touches_nothing_and_holds_nothing() {
    let f = Fixture::new("settings_bystander");
    let mut admin = f.admin();
    admin.run(&format!(
        "SELECT scope.create_scope('{}_s', tables => '{{orders}}', schemas => '{{public}}'); GRANT CREATE ON SCHEMA public TO PUBLIC",
        f.name
    ));
    let rows = "SELECT string_agg(concat_ws(' ', ctid, xmin, xmax, d::text), '/' ORDER BY ctid) FROM _scope.scope_declaration d";
    let before = admin.text(rows);
    let bystander = f.role("bystander", "LOGIN");
    let mut session = f.login(&bystander);
    for setting in hostile(&mut admin) {
        let _ = session.attempt(&setting);
    }
    session.run("SET exit_on_error = off; SET default_table_access_method = heap; SET default_tablespace = ''");
    session.run(
        "CREATE TEMP TABLE t (a int); CREATE TABLE own (a int); CREATE FUNCTION own() RETURNS int LANGUAGE sql AS 'SELECT 1';
         BEGIN; ALTER TABLE t RENAME a TO b; ALTER TABLE own RENAME TO own2; ALTER FUNCTION own() RENAME TO own3",
    );
    let held = "SELECT string_agg(relation::regclass::text, ' ') FROM pg_locks
                 WHERE relation IN (SELECT oid FROM pg_class WHERE relnamespace = ANY ('{scope,_scope}'::regnamespace[])) AND pid <> pg_backend_pid()";
    assert_eq!(admin.text(held), "");
    session.run("COMMIT");
    assert_eq!(admin.text(rows), before);
    // And waits for nobody.
    let mut holder = f.admin();
    holder.run("BEGIN; LOCK TABLE _scope.scope_declaration");
    session.run("SET statement_timeout = '5s'; ALTER TABLE own2 RENAME TO own4");
    holder.run("ROLLBACK");
    // Whose rename it is, is told.
    admin.run("SET quote_all_identifiers = on; ALTER TABLE orders RENAME TO \"Bestellungen\"");
    admin.assert_that(
        "EXISTS (SELECT FROM _scope.scope_declaration WHERE object = 'public.\"Bestellungen\"')",
    );
    admin.assert_that(
        "NOT EXISTS (SELECT FROM _scope.scope_declaration WHERE object LIKE '\"public\"%')",
    );
}
