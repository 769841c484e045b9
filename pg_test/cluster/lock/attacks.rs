//! Single statements that try to change who the session is.

use super::STAGE;

/// `name: preparation before the lock => attack`
macro_rules! attacks {
    ($($(#[$doc:meta])* $name:ident: $preparation:expr => $attack:expr;)*) => {
        $($(#[$doc])* #[test] fn $name() { STAGE.withstands($preparation, $attack); })*
    };
}

attacks! {
    set_role_to_a_granted_role: "" => "SET ROLE {writer}";
    set_role_to_the_login: "" => "SET ROLE {auth}";
    set_role_to_the_same_role: "" => "SET ROLE {reader}";
    set_role_none: "" => "SET ROLE NONE";
    set_role_quoted_none: "" => "SET ROLE 'none'";
    set_local_role: "" => "SET LOCAL ROLE {writer}";
    set_local_role_none: "" => "SET LOCAL ROLE NONE";
    set_session_role: "" => "SET SESSION ROLE NONE";
    reset_role: "" => "RESET ROLE";
    reset_quoted_role: "" => r#"RESET "RoLe""#;
    set_role_to_default: "" => "SET ROLE TO DEFAULT";
    set_quoted_role_to_none: "" => r#"SET "ROLE" TO 'none'"#;
    set_quoted_role_to_default: "" => r#"SET LOCAL "rOlE" = DEFAULT"#;
    set_role_from_current: "" => "SET ROLE FROM CURRENT";
    set_unicode_role: "" => r#"SET U&"\0072ole" TO 'none'"#;
    set_config_role: "" => "SELECT set_config('role', '{writer}', true)";
    set_config_role_for_the_session: "" => "SELECT set_config('role', 'none', false)";
    set_config_role_in_odd_case: "" => "SELECT set_config('RoLe', 'none', true)";
    set_config_role_null: "" => "SELECT set_config('role', NULL, true)";
    set_config_role_null_for_the_session: "" => "SELECT pg_catalog.set_config('ROLE', NULL, false)";
    set_config_role_same: "" => "SELECT set_config('role', '{reader}', true)";
    set_config_name_hidden_in_an_expression: "" => "SELECT set_config(lower('RO') || 'le', 'no' || 'ne', 1 = 1)";
    set_config_in_a_where_clause: "" => "SELECT 1 FROM orders WHERE set_config('role', NULL, true) IS NOT NULL";
    set_config_then_current_user_in_one_list: "" => "SELECT set_config('role', NULL, true), current_user::text, who()";
    set_config_in_a_lateral: "" => "SELECT c, current_user::text FROM orders, LATERAL set_config('role', NULL, note IS NOT NULL) c";
    set_config_in_a_materialised_with_before_a_policy: ""
        => "WITH a AS MATERIALIZED (SELECT set_config('role', '{auth}', true) AS c) SELECT c, body FROM a, rows";
    set_config_null_in_a_materialised_with_before_a_policy: ""
        => "WITH a AS MATERIALIZED (SELECT set_config('role', NULL, true) AS c) SELECT c, body FROM a, rows";
    set_config_among_the_rows_of_a_policy: "" => "SELECT set_config('role', '{auth}', true), body FROM rows ORDER BY 1";
    set_config_in_a_returning_clause: "" => "INSERT INTO inbox VALUES ('x') RETURNING set_config('role', NULL, true), current_user::text";
    set_config_in_values: "" => "VALUES (set_config('role', NULL, true)), (current_user::text)";
    set_config_through_an_alias: "" => "SELECT alias('role', NULL, true)";
    set_config_in_an_aggregate_filter: ""
        => "SELECT string_agg(note, set_config('role', NULL, true)), max(current_user::text) FROM orders";

    set_session_authorization_to_a_granted_role: "" => "SET SESSION AUTHORIZATION {writer}";
    set_session_authorization_to_the_login: "" => "SET SESSION AUTHORIZATION {auth}";
    set_session_authorization_default: "" => "SET SESSION AUTHORIZATION DEFAULT";
    set_local_session_authorization: "" => "SET LOCAL SESSION AUTHORIZATION {auth}";
    set_local_session_authorization_default: "" => "SET LOCAL SESSION AUTHORIZATION DEFAULT";
    reset_session_authorization: "" => "RESET SESSION AUTHORIZATION";
    reset_session_authorization_by_its_name: "" => "RESET session_authorization";
    set_session_authorization_by_its_name: "" => r#"SET "Session_Authorization" TO '{auth}'"#;
    set_config_session_authorization: "" => "SELECT set_config('session_authorization', '{auth}', true)";
    set_config_session_authorization_null: "" => "SELECT set_config('session_authorization', NULL, true)";

    discard_all: "" => "DISCARD ALL";

    do_block_set_role: "" => "DO $$ BEGIN SET LOCAL ROLE NONE; END $$";
    do_block_reset_role: "" => "DO $$ BEGIN RESET ROLE; RAISE EXCEPTION 'as % %', current_user, (SELECT secret FROM vault); END $$";
    do_block_execute: "" => "DO $$ BEGIN EXECUTE 'RE' || 'SET ROLE'; END $$";
    do_block_perform_set_config: "" => "DO $$ BEGIN PERFORM set_config('role', NULL, true); END $$";
    do_block_assignment_set_config: "" => "DO $$ DECLARE x text; BEGIN x := set_config('role', NULL, true); END $$";
    do_block_authorization: "" => "DO $$ BEGIN SET SESSION AUTHORIZATION DEFAULT; END $$";
    prepared_set_config: "PREPARE attack AS SELECT set_config('role', NULL, true)" => "EXECUTE attack";
    prepared_parameters: "PREPARE attack(text, text) AS SELECT set_config($1, $2, true)" => "EXECUTE attack('role', 'none')";

    claims_set: "" => "SET request.jwt.claims = '{}'";
    claims_set_local: "" => "SET LOCAL request.jwt.claims = '{}'";
    claims_set_quoted: "" => r#"SET "Request.JWT.Claims" = '{}'"#;
    claims_reset: "" => "RESET request.jwt.claims";
    claims_to_default: "" => "SET request.jwt.claims TO DEFAULT";
    claims_set_config: "" => "SELECT set_config('request.jwt.claims', '{\"role\":\"x\"}', true)";
    claims_set_config_null: "" => "SELECT set_config('REQUEST.jwt.claims', NULL, false)";
    claims_in_a_do_block: "" => "DO $$ BEGIN SET LOCAL request.jwt.claims = '{}'; END $$";
    claims_set_config_then_a_policy: ""
        => "SELECT set_config('request.jwt.claims', NULL, true), body, current_setting('request.jwt.claims') FROM rows";
    claims_by_a_function_with_a_set_clause:
        "" => "SELECT forge()";

    function_with_role_clause_in_pg_temp:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE sql SET role = '{auth}' AS 'SELECT secret FROM public.vault'"
        => "SELECT pg_temp.escape()";
    function_with_role_clause_none:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE plpgsql SET role = 'none'
             AS $$ BEGIN RETURN current_user || (SELECT secret FROM public.vault); END $$"
        => "SELECT pg_temp.escape()";
    function_with_role_clause_and_no_statement_inside:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE plpgsql SET role = '{writer}' AS $$ BEGIN RETURN current_user; END $$"
        => "SELECT pg_temp.escape()";
    function_with_authorization_clause:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE sql SET session_authorization = '{auth}' AS 'SELECT secret FROM public.vault'"
        => "SELECT pg_temp.escape()";
    function_with_role_clause_in_a_where_clause:
        "CREATE FUNCTION pg_temp.escape(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 SET role = 'none'
             AS $$ BEGIN RAISE EXCEPTION 'as %', (SELECT secret FROM public.vault); END $$"
        => "SELECT * FROM orders WHERE pg_temp.escape(note)";
    function_with_role_clause_in_an_operator:
        "CREATE FUNCTION pg_temp.escape(text, text) RETURNS text LANGUAGE sql SET role = '{auth}' AS 'SELECT secret FROM public.vault';
         CREATE OPERATOR pg_temp.### (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.escape)"
        => "SELECT note OPERATOR(pg_temp.###) note FROM orders";
    function_with_role_clause_in_an_aggregate:
        "CREATE FUNCTION pg_temp.step(text, text) RETURNS text LANGUAGE sql SET role = '{auth}' AS 'SELECT secret FROM public.vault';
         CREATE AGGREGATE pg_temp.escape(text) (SFUNC = pg_temp.step, STYPE = text, INITCOND = '')"
        => "SELECT pg_temp.escape(note) FROM orders";
    function_with_role_clause_in_a_domain_check:
        "CREATE FUNCTION pg_temp.escape(text) RETURNS boolean LANGUAGE plpgsql SET role = '{auth}'
             AS $$ BEGIN RAISE EXCEPTION 'as %', (SELECT secret FROM public.vault); END $$;
         CREATE DOMAIN pg_temp.trap AS text CHECK (pg_temp.escape(VALUE))"
        => "SELECT 'x'::pg_temp.trap";
    function_with_role_clause_in_a_column_default:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE sql SET role = '{auth}' AS 'SELECT secret FROM public.vault';
         CREATE TEMP TABLE trap (x int, y text DEFAULT pg_temp.escape()); GRANT ALL ON trap TO PUBLIC"
        => "INSERT INTO trap VALUES (1) RETURNING y";
    function_with_role_clause_in_a_trigger:
        "CREATE FUNCTION pg_temp.escape() RETURNS trigger LANGUAGE plpgsql SET role = '{auth}'
             AS $$ BEGIN NEW.y := (SELECT secret FROM public.vault); RETURN NEW; END $$;
         CREATE TEMP TABLE trap (x int, y text); GRANT ALL ON trap TO PUBLIC;
         CREATE TRIGGER escape BEFORE INSERT ON trap FOR EACH ROW EXECUTE FUNCTION pg_temp.escape()"
        => "INSERT INTO trap VALUES (1, '') RETURNING y";
    function_with_role_clause_in_a_cast:
        "CREATE TYPE pg_temp.box AS (x text);
         CREATE FUNCTION pg_temp.escape(text) RETURNS pg_temp.box LANGUAGE sql SET role = '{auth}' AS 'SELECT ROW(secret)::pg_temp.box FROM public.vault';
         CREATE CAST (text AS pg_temp.box) WITH FUNCTION pg_temp.escape(text)"
        => "SELECT (note::pg_temp.box)::text FROM orders";
    function_with_role_clause_in_from:
        "CREATE FUNCTION pg_temp.escape() RETURNS SETOF text LANGUAGE sql SET role = '{auth}' AS 'SELECT secret FROM public.vault'"
        => "SELECT * FROM pg_temp.escape()";
    procedure_with_role_clause:
        "CREATE PROCEDURE pg_temp.escape() LANGUAGE plpgsql SET role = '{auth}'
             AS $$ BEGIN RAISE EXCEPTION 'as %', (SELECT secret FROM public.vault); END $$"
        => "CALL pg_temp.escape()";
    procedure_that_resets: "CREATE PROCEDURE pg_temp.escape() LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; END $$"
        => "CALL pg_temp.escape()";
    function_that_sets_config_in_pg_temp:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE sql AS $$ SELECT set_config('role', NULL, true) $$"
        => "SELECT pg_temp.escape()";
    function_called_before_the_lock_and_again:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE plpgsql
             AS $$ DECLARE x text; BEGIN x := set_config('role', NULL, true); RETURN current_user; END $$;
         SELECT pg_temp.escape(); SELECT pg_temp.escape()"
        => "SELECT pg_temp.escape()";
    function_body_in_sql_standard_form:
        "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT set_config('role', NULL, true); END"
        => "SELECT pg_temp.escape()";
    view_that_sets_config: "CREATE TEMP VIEW escape AS SELECT set_config('role', NULL, true) AS c; GRANT SELECT ON escape TO PUBLIC"
        => "SELECT c, current_user::text FROM escape";

    set_config_in_a_column_default:
        "CREATE TEMP TABLE trap (x int, y text DEFAULT set_config('role', NULL, true)); GRANT ALL ON trap TO PUBLIC"
        => "INSERT INTO trap VALUES (1) RETURNING y, current_user::text";
    set_config_in_a_check_constraint:
        "CREATE TEMP TABLE trap (x text CHECK (set_config('role', x, true) IS NOT NULL)); GRANT ALL ON trap TO PUBLIC"
        => "INSERT INTO trap VALUES ('none') RETURNING current_user::text";
    set_config_in_a_generated_column:
        "CREATE FUNCTION pg_temp.set(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN set_config('role', NULL, true); END $$;
         CREATE TEMP TABLE trap (x int, y text GENERATED ALWAYS AS (pg_temp.set(x)) STORED); GRANT ALL ON trap TO PUBLIC"
        => "INSERT INTO trap VALUES (1) RETURNING y, current_user::text";
    set_config_in_an_index_expression:
        "CREATE FUNCTION pg_temp.set(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN set_config('role', NULL, true); END $$;
         CREATE TEMP TABLE trap (x int); CREATE INDEX ON trap (pg_temp.set(x)); GRANT ALL ON trap TO PUBLIC"
        => "INSERT INTO trap VALUES (1) RETURNING current_user::text";
    set_config_in_a_policy:
        "CREATE TEMP TABLE trap AS SELECT 1 AS x; GRANT ALL ON trap TO PUBLIC; ALTER TABLE trap ENABLE ROW LEVEL SECURITY;
         CREATE POLICY set ON trap USING (set_config('role', NULL, true) IS NOT NULL)"
        => "SELECT x, current_user::text FROM trap";
    set_config_in_a_trigger:
        "CREATE FUNCTION pg_temp.set() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.y := set_config('role', NULL, true) || current_user; RETURN NEW; END $$;
         CREATE TEMP TABLE trap (x int, y text); GRANT ALL ON trap TO PUBLIC;
         CREATE TRIGGER set BEFORE INSERT ON trap FOR EACH ROW EXECUTE FUNCTION pg_temp.set()"
        => "INSERT INTO trap VALUES (1) RETURNING y";
    set_config_in_a_trigger_condition:
        "CREATE FUNCTION pg_temp.say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.y := current_user; RETURN NEW; END $$;
         CREATE TEMP TABLE trap (x int, y text); GRANT ALL ON trap TO PUBLIC;
         CREATE TRIGGER set BEFORE INSERT ON trap FOR EACH ROW WHEN (set_config('role', NULL, true) IS NOT NULL) EXECUTE FUNCTION pg_temp.say()"
        => "INSERT INTO trap VALUES (1) RETURNING y";
    set_config_in_a_rule:
        "CREATE TEMP TABLE trap (x int); GRANT ALL ON trap TO PUBLIC;
         CREATE RULE set AS ON INSERT TO trap DO ALSO SELECT set_config('role', NULL, true), current_user"
        => "INSERT INTO trap VALUES (1)";
    set_config_in_an_operator:
        "CREATE FUNCTION pg_temp.set(text, text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('role', NULL, true) $$;
         CREATE OPERATOR pg_temp.### (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.set)"
        => "SELECT note OPERATOR(pg_temp.###) note, current_user::text FROM orders";
    set_config_in_a_cast:
        "CREATE TYPE pg_temp.box AS (x text);
         CREATE FUNCTION pg_temp.set(text) RETURNS pg_temp.box LANGUAGE sql AS $$ SELECT ROW(set_config('role', $1, true))::pg_temp.box $$;
         CREATE CAST (text AS pg_temp.box) WITH FUNCTION pg_temp.set(text)"
        => "SELECT ('none'::text::pg_temp.box)::text, current_user::text";
    set_config_in_an_aggregate:
        "CREATE FUNCTION pg_temp.step(text, text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('role', NULL, true) || current_user $$;
         CREATE AGGREGATE pg_temp.set(text) (SFUNC = pg_temp.step, STYPE = text, INITCOND = '')"
        => "SELECT pg_temp.set(note) FROM orders";
    set_config_in_a_window_aggregate:
        "CREATE FUNCTION pg_temp.step(text, text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('role', NULL, true) || current_user $$;
         CREATE AGGREGATE pg_temp.set(text) (SFUNC = pg_temp.step, STYPE = text, INITCOND = '')"
        => "SELECT pg_temp.set(note) OVER (ORDER BY id) FROM orders";
    set_config_in_a_domain_check:
        "CREATE DOMAIN pg_temp.trap AS text CHECK (set_config('role', VALUE, true) IS NOT NULL)"
        => "SELECT 'none'::pg_temp.trap, current_user::text";
    set_config_in_a_deferred_trigger:
        "CREATE FUNCTION pg_temp.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', NULL, true); RETURN NULL; END $$;
         CREATE TEMP TABLE trap (x int); GRANT ALL ON trap TO PUBLIC;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.late()"
        => "DO $$ BEGIN INSERT INTO trap VALUES (1); SET CONSTRAINTS ALL IMMEDIATE; END $$";

    sql_in_the_text_of_query_to_xml: "" => "SELECT query_to_xml('SELECT set_config(''role'', NULL, true), current_user', true, true, '')::text";
    sql_in_the_text_of_ts_stat: "" => "SELECT * FROM ts_stat('SELECT to_tsvector(set_config(''role'', NULL, true))')";
    sql_in_the_text_of_ts_rewrite: ""
        => "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, plainto_tsquery(set_config(''role'', NULL, true))')::text";
    table_as_of_a_prepared_statement: "PREPARE attack AS SELECT set_config('role', NULL, true) AS c, current_user"
        => "CREATE TEMP TABLE t AS EXECUTE attack";
    explain_analyze_of_a_prepared_statement: "PREPARE attack AS SELECT set_config('role', NULL, true)" => "EXPLAIN ANALYZE EXECUTE attack";

    function_made_while_locked_with_a_role_clause: ""
        => "CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE sql SET role = '{auth}' AS 'SELECT current_user::text'";
    function_altered_while_locked_to_an_authorization_clause: ""
        => "DO $$ BEGIN CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE sql AS 'SELECT current_user::text';
                ALTER FUNCTION pg_temp.escape() SET session_authorization = '{auth}'; END $$";
    function_made_while_locked_with_a_claims_clause: ""
        => "CREATE FUNCTION pg_temp.forge() RETURNS text LANGUAGE sql SET request.jwt.claims = '{}' AS 'SELECT 1::text'";
    function_made_with_the_locks_own_setting: ""
        => "CREATE FUNCTION pg_temp.forge() RETURNS text LANGUAGE sql SET scope.switch = '' AS 'SELECT 1::text'";

    alter_the_login: "" => "ALTER ROLE SESSION_USER PASSWORD 'stolen'";
    alter_the_logins_settings: "" => "ALTER ROLE SESSION_USER SET role = '{writer}'";
    alter_own_role: "" => "ALTER ROLE CURRENT_USER SUPERUSER";
    alter_everyones_settings: "" => "ALTER ROLE ALL SET role = '{writer}'";
    grant_itself_the_login: "" => "GRANT {auth} TO {reader}";
    grant_itself_another_role: "" => "GRANT {writer} TO {reader}";
    grant_itself_a_setting: "" => "GRANT SET ON PARAMETER role TO {reader}";
    drop_what_the_login_owns: "" => "DROP OWNED BY SESSION_USER";
    reassign_what_the_login_owns: "" => "REASSIGN OWNED BY SESSION_USER TO CURRENT_USER";
    label_a_role: "" => "SECURITY LABEL FOR scope_roles ON ROLE {auth} IS NULL";
    create_a_role: "" => "CREATE ROLE escape LOGIN";
    create_an_event_trigger: "CREATE OR REPLACE FUNCTION pg_temp.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$"
        => "CREATE EVENT TRIGGER escape ON ddl_command_start EXECUTE FUNCTION pg_temp.on_ddl()";
    create_a_cast: "CREATE OR REPLACE FUNCTION pg_temp.cast(text) RETURNS int LANGUAGE sql AS 'SELECT 1'"
        => "CREATE CAST (text AS int) WITH FUNCTION pg_temp.cast(text)";
    drop_the_extension: "" => "DROP EXTENSION scope_roles";
    replace_the_extensions_function: ""
        => "CREATE OR REPLACE FUNCTION scope.jwt_subject() RETURNS text LANGUAGE sql AS 'SELECT ''root'''";

    load_a_library: "" => "LOAD 'scope_roles'";
    copy_to_a_program: "" => "COPY orders TO PROGRAM 'id'";
    copy_from_a_program: "" => "COPY inbox FROM PROGRAM 'id'";
    copy_to_a_server_file: "" => "COPY orders TO '/tmp/scope_roles_escape'";
    copy_from_a_server_file: "" => "COPY inbox FROM '/etc/passwd'";
    read_a_server_file: "" => "SELECT pg_read_file('postgresql.conf')";
    list_the_servers_files: "" => "SELECT pg_ls_dir('.')";
    import_a_server_file: "" => "SELECT lo_import('/etc/passwd')";
    export_to_a_server_file: "" => "SELECT lo_export(1, '/tmp/scope_roles_escape')";
    reload_the_configuration: "" => "SELECT pg_reload_conf()";
    decode_the_log: "" => "SELECT * FROM pg_logical_slot_get_changes('x', NULL, NULL)";

    explain_analyze: "" => "EXPLAIN ANALYZE SELECT set_config('role', NULL, true)";
    create_table_as: "" => "CREATE TEMP TABLE t AS SELECT set_config('role', NULL, true), current_user";
    declare_cursor_and_fetch: "" => "DO $$ DECLARE c CURSOR FOR SELECT set_config('role', NULL, true); x text; BEGIN OPEN c; FETCH c INTO x; END $$";

    the_locks_own_setting_set: "" => "SET scope.switch = ''";
    the_locks_own_setting_set_local: "" => "SET LOCAL scope.switch TO DEFAULT";
    the_locks_own_setting_reset: "" => "RESET scope.switch";
    the_locks_own_setting_set_config: "" => "SELECT set_config('scope.switch', '', true)";
    the_locks_own_setting_set_config_null: "" => "SELECT set_config('scope.switch', NULL, true)";
    the_locks_own_setting_in_a_do_block: "" => "DO $$ BEGIN SET LOCAL scope.switch = '10 9223372036854775807 {}'; END $$";
}
