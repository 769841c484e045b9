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

    explain_analyze: "" => "EXPLAIN ANALYZE SELECT set_config('role', NULL, true)";
    create_table_as: "" => "CREATE TEMP TABLE t AS SELECT set_config('role', NULL, true), current_user";
    declare_cursor_and_fetch: "" => "DO $$ DECLARE c CURSOR FOR SELECT set_config('role', NULL, true); x text; BEGIN OPEN c; FETCH c INTO x; END $$";

    the_locks_own_setting_set: "" => "SET scope_roles.switch = ''";
    the_locks_own_setting_set_local: "" => "SET LOCAL scope_roles.switch TO DEFAULT";
    the_locks_own_setting_reset: "" => "RESET scope_roles.switch";
    the_locks_own_setting_set_config: "" => "SELECT set_config('scope_roles.switch', '', true)";
    the_locks_own_setting_set_config_null: "" => "SELECT set_config('scope_roles.switch', NULL, true)";
    the_locks_own_setting_in_a_do_block: "" => "DO $$ BEGIN SET LOCAL scope_roles.switch = '10 9223372036854775807 {}'; END $$";
}
