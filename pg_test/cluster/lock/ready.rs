//! What PL/pgSQL has made ready runs on for the length of a transaction without being asked about, and what it has parsed stays parsed
//! for the length of a connection.

use crate::jwt::{end_session, switch_session};

use super::leftovers::POOL;

/// DISCARD ALL needs the guard on the login's identity lowered for a moment. One that fails in a block that catches the error must not
/// leave it so: what was made ready before takes any role.
#[test]
fn discard_all_that_fails_where_the_error_is_caught() {
    let mut s = POOL.connect();
    let (attacker, writer) = (&POOL.attacker, &POOL.g.writer);
    let takes = format!(
        "DO $$ DECLARE x text; n text := 'application_name'; v text := 'q'; BEGIN
           FOR i IN 1..2 LOOP
             x := set_config(n, v, false);
             RAISE NOTICE '% %', x, current_user;
             BEGIN EXECUTE 'DISCARD ALL'; EXCEPTION WHEN OTHERS THEN NULL; END;
             n := 'role'; v := '{writer}';
           END LOOP; END $$"
    );
    s.denied(&takes, "42501");
    let said = s.notices();
    assert!(!said.iter().any(|n| n.message.contains(writer)), "{said:?}");
    // The connection is of use to the next.
    s.run("DISCARD ALL");
    s.run(&format!("BEGIN; {attacker}; COMMIT"));
    assert_eq!(s.text("SELECT current_user"), POOL.login);
    s.run(&format!("BEGIN; {attacker}; COMMIT"));
    s.run("DISCARD ALL");
    s.denied(&takes, "42501");
    s.run(&format!("BEGIN; {}; COMMIT", POOL.victim));
}

/// A switch that is rolled back in a block leaves the login with what was made ready under the token: the other sessions of the pool could
/// be read and ended, and large objects opened.
#[test]
fn made_ready_under_a_token_and_run_without() {
    let mut victim = POOL.connect();
    victim.run(&format!("BEGIN; {}; SELECT 'card 4711'", POOL.victim));
    let pid = victim.text("SELECT pg_backend_pid()");
    let mut s = POOL.connect();
    let attacker = POOL.attacker.replace("SELECT", "PERFORM");
    for call in [
        format!("pg_stat_get_backend_activity(i)::text || {pid}"),
        format!("pg_cancel_backend(CASE i WHEN 1 THEN 999999 ELSE {pid} END)::text"),
        format!("pg_terminate_backend(CASE i WHEN 1 THEN 999999 ELSE {pid} END)::text"),
        "lo_get(1)::text".to_owned(),
        "pg_notify('a', 'b')::text".to_owned(),
    ] {
        // The first time as the reader, or with an error that is caught; then as the login.
        s.run(&format!(
            "DO $$ DECLARE t text; said text; BEGIN
               FOR i IN 1..2 LOOP
                 BEGIN
                   IF i = 1 THEN {attacker}; END IF;
                   BEGIN t := {call}; said := 'done';
                   EXCEPTION WHEN OTHERS THEN said := SQLSTATE; END;
                   RAISE NOTICE '% % %', i, current_user, said;
                   IF i = 1 THEN RAISE EXCEPTION 'undo'; END IF;
                 EXCEPTION WHEN OTHERS THEN NULL; END;
               END LOOP; END $$"
        ));
        let said = s.notices();
        let last = format!("2 {} 42501", POOL.login);
        assert_eq!(
            said.last().map(|n| &n.message),
            Some(&last),
            "{call}: {said:?}"
        );
    }
    // By a savepoint, in a function that was called before.
    s.run(&format!(
        "BEGIN; SAVEPOINT s; {}; CREATE FUNCTION evil.look(p int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN pg_cancel_backend(p); END $$;
         SELECT evil.look(0); COMMIT",
        POOL.attacker
    ));
    s.run(&format!(
        "BEGIN; SAVEPOINT s; {}; SELECT evil.look(0); ROLLBACK TO s",
        POOL.attacker
    ));
    s.denied(&format!("SELECT evil.look({pid})"), "42501");
    s.run("ROLLBACK");
    victim.run("COMMIT");
}

/// The same where the switch was a session's and is ended inside of the statement.
#[test]
fn made_ready_under_a_sessions_token_and_run_after_its_end() {
    let mut victim = POOL.connect();
    let pid = victim.text("SELECT pg_backend_pid()");
    let mut s = POOL.connect_for_sessions();
    let begin = switch_session(&POOL.attackers_token);
    let end = end_session(&POOL.attackers_token);
    let ended = end.trim_start_matches("SELECT ");
    POOL.attack(
        &mut s,
        &format!(
            "CREATE FUNCTION evil.ends(p int) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN
               PERFORM {ended}; RETURN pg_terminate_backend(p); END $f$"
        ),
    );
    for attack in [
        format!(
            "SELECT CASE WHEN i = 1 THEN {ended}::text ELSE pg_terminate_backend({pid})::text END FROM generate_series(1, 2) i"
        ),
        format!(
            "DO $$ DECLARE t text; BEGIN FOR i IN 1..2 LOOP
               t := pg_terminate_backend(CASE i WHEN 1 THEN 0 ELSE {pid} END);
               IF i = 1 THEN PERFORM {ended}; END IF;
             END LOOP; END $$"
        ),
        format!("SELECT {ended}, pg_terminate_backend({pid})"),
        format!("SELECT {ended} WHERE pg_backend_pid() > 0"),
        format!("SELECT {ended} FROM (VALUES (1), (2)) v"),
        format!("WITH a AS MATERIALIZED (SELECT pg_backend_pid() AS b) SELECT {ended} FROM a"),
        format!("SELECT evil.ends({pid})"),
        format!("DO $$ DECLARE t text; BEGIN t := evil.ends({pid}); END $$"),
        format!("EXPLAIN ANALYZE {end}"),
    ] {
        s.run(&begin);
        s.denied(&attack, "55006");
        // The statement is undone, and with it the end of the switch.
        assert_eq!(s.text("SELECT current_user"), POOL.g.reader);
        s.run(&end);
        s.assert_that("current_user = session_user");
    }
    victim.run("SELECT 1");
}

/// Strings, and what NULL equals, are read once, in PL/pgSQL for the length of the connection.
#[test]
fn how_one_user_has_text_read_for_the_next() {
    POOL.g.f.admin().run(
        "CREATE FUNCTION careful(i text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
           AS $$ BEGIN IF i ~ '[\\s;]' THEN RAISE EXCEPTION 'not allowed'; END IF; RETURN 'passed'; END $$;
         CREATE FUNCTION two() RETURNS text LANGUAGE plpgsql AS $$ DECLARE x text; BEGIN SELECT g INTO x FROM generate_series(1, 2) g; RETURN x; END $$",
    );
    let mut s = POOL.connect();
    POOL.attack(&mut s, "SELECT 1");
    for (name, value) in [
        ("standard_conforming_strings", "off"),
        ("backslash_quote", "on"),
        ("transform_null_equals", "on"),
        ("plpgsql.extra_errors", "all"),
        ("plpgsql.extra_warnings", "all"),
        ("plpgsql.print_strict_params", "on"),
    ] {
        // Always on, from 19 on.
        if name == "standard_conforming_strings" && POOL.g.f.server.version() >= 190_000 {
            continue;
        }
        let before = s.text(&format!("SHOW {name}"));
        for set in [
            format!("SET LOCAL {name} = '{value}'"),
            format!("SELECT set_config('{name}', '{value}', true)"),
            format!("DO $$ BEGIN PERFORM set_config('{name}', '{value}', true); END $$"),
            format!("UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}'"),
            format!(
                "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SET {name} = '{value}' AS 'SELECT careful(''a'')'; SELECT pg_temp.f()"
            ),
        ] {
            s.run(&format!("BEGIN; {}", POOL.attacker));
            s.denied(&set, "42501");
            s.run("ROLLBACK");
            s.denied(&format!("BEGIN; {set}"), "42501");
            s.run("ROLLBACK");
        }
        // What poolers and drivers send all the time changes nothing.
        s.run(&format!(
            "SET {name} = '{before}'; RESET {name}; SET {name} TO DEFAULT"
        ));
        s.run(&format!(
            "BEGIN; {}; SET LOCAL {name} = '{before}'; COMMIT",
            POOL.attacker
        ));
        assert_eq!(s.text(&format!("SHOW {name}")), before);
    }
    // What a driver has set up is not reset either.
    let mut other = POOL.connect();
    other.run("SET backslash_quote = on");
    other.run(&format!("BEGIN; {}; RESET ALL", POOL.attacker));
    assert_eq!(other.text("SHOW backslash_quote"), "on");
    other.run("COMMIT");
    s.run(&format!("BEGIN; {}", POOL.victim));
    s.run("SELECT careful('a'), two()");
    s.denied("SELECT careful('a b')", "P0001");
    s.run("ROLLBACK");
}

/// A date in a statement is read when the statement is, and its plan is kept: by PL/pgSQL, and for the statements that the driver prepares.
#[test]
fn dates_that_one_user_has_read_for_the_next() {
    POOL.g.f.admin().run(
        "CREATE FUNCTION open_now() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
           AS $$ BEGIN RETURN concat_ws(' ', date '2027-01-15' < '02/01/2027', extract(epoch from '2026-12-01 00:00'::timestamptz),
             extract(epoch from interval '-1 2:00:00'), ('{NULL}'::text[])[1] IS NULL, '\\x00ff'::bytea::text, (0.1::float8)::text, ('{02/01/2027}'::date[])[1] - '2027-01-01'::date); END $$;
         CREATE FUNCTION open_sql() RETURNS text LANGUAGE sql AS $$ SELECT extract(epoch from '02/01/2027'::timestamptz)::text $$",
    );
    let ask = "SELECT open_now() || open_sql()";
    let fresh = {
        let mut s = POOL.connect();
        s.run(&format!("BEGIN; {}", POOL.victim));
        s.text(ask)
    };
    for set in [
        "SET LOCAL DateStyle = 'SQL, DMY'",
        "SET LOCAL TimeZone = 'Etc/GMT+12'",
        "SET LOCAL IntervalStyle = 'sql_standard'",
        "SET LOCAL array_nulls = off",
        "SET LOCAL bytea_output = 'escape'",
        "SET LOCAL extra_float_digits = -10",
        "SET DateStyle = 'SQL, DMY'",
        "SELECT set_config('DateStyle', 'SQL, DMY', true)",
        "SAVEPOINT t; SET LOCAL TimeZone = 'Etc/GMT+12'; SELECT open_now(), open_sql(); ROLLBACK TO t",
        "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SET DateStyle = 'SQL, DMY' AS 'SELECT open_now() || open_sql()'; SELECT pg_temp.f()",
    ] {
        for end in ["COMMIT", "ROLLBACK"] {
            let mut s = POOL.connect();
            s.run(&format!("BEGIN; {}; {set}", POOL.attacker));
            let prepared = s.client.prepare("SELECT extract(epoch from '02/01/2027'::timestamptz)::text || ('2027-02-01'::date - '02/01/2027')").expect("prepare");
            s.run(&format!("{ask}; {end}"));
            s.run(&format!("BEGIN; {}", POOL.victim));
            assert_eq!(s.text(ask), fresh, "{set}; {end}");
            let rows = s.client.query(&prepared, &[]).expect("prepared");
            assert_eq!(rows[0].get::<_, &str>(0), s.text("SELECT extract(epoch from '02/01/2027'::timestamptz)::text || ('2027-02-01'::date - '02/01/2027')"), "{set}; {end}");
            s.run("COMMIT");
        }
    }
    // A session's switch keeps what is set outside transactions, until it ends.
    let mut s = POOL.connect_for_sessions();
    s.run(&switch_session(&POOL.attackers_token));
    s.run("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Etc/GMT+12'");
    assert_ne!(s.text(ask), fresh);
    s.run(&format!(
        "BEGIN; {}; {ask}; COMMIT",
        end_session(&POOL.attackers_token)
    ));
    s.run(&format!("BEGIN; {}", POOL.victim));
    assert_eq!(s.text(ask), fresh);
}

/// What the planner has worked out for one role, rights to execute included, is not the next one's.
#[test]
fn functions_that_one_role_had_folded_and_inlined_for_the_next() {
    let (reader, writer) = (&POOL.g.reader, &POOL.g.writer);
    POOL.g.f.admin().run(&format!(
        "CREATE FUNCTION folded(k text) RETURNS text LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT k || ' percent' $$;
         CREATE FUNCTION inlined(p numeric) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT p * 0.37 $$;
         CREATE FUNCTION rows_inlined() RETURNS SETOF int LANGUAGE sql STABLE AS $$ SELECT 1 $$;
         CREATE FUNCTION is_big(p numeric) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN p > 1; END $$;
         CREATE OPERATOR #>! (FUNCTION = is_big, RIGHTARG = numeric);
         CREATE FUNCTION outer_one(p numeric) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT public.inlined(p) $$;
         CREATE FUNCTION who_folded() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN current_user; END $$;
         REVOKE ALL ON FUNCTION folded(text), inlined(numeric), rows_inlined(), is_big(numeric) FROM PUBLIC;
         GRANT EXECUTE ON FUNCTION folded(text), inlined(numeric), rows_inlined(), is_big(numeric) TO {writer};
         CREATE FUNCTION calls_folded() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN public.folded('42'); END $$;
         CREATE FUNCTION calls_inlined(p numeric) RETURNS numeric LANGUAGE plpgsql AS $$ DECLARE r numeric; BEGIN r := public.inlined(p); RETURN r; END $$;
         CREATE FUNCTION calls_who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN public.who_folded(); END $$"
    ));
    let mut s = POOL.connect();
    let prepared: Vec<_> = [
        "SELECT public.calls_folded()",
        "SELECT public.calls_inlined(100)::text",
        "SELECT public.folded('42')",
        "SELECT 'x' FROM pg_class WHERE public.folded('42') LIKE '%$%' LIMIT 1",
        "SELECT public.inlined(100)::text",
        "SELECT public.outer_one(100)::text",
        "SELECT rows_inlined::text FROM public.rows_inlined()",
        "SELECT (OPERATOR(public.#>!) 2)::text",
    ]
    .into_iter()
    .map(|sql| (sql, s.client.prepare(sql).expect(sql)))
    .collect();
    let who = s
        .client
        .prepare("SELECT public.who_folded() || public.calls_who()")
        .expect("who");
    for _ in 0..2 {
        for (sql, statement) in &prepared {
            for _ in 0..7 {
                s.run(&format!("BEGIN; {}", POOL.victim));
                s.client.query(statement, &[]).expect(sql);
                s.run("COMMIT");
            }
            s.run(&format!("BEGIN; {}", POOL.attacker));
            let refused = s.client.query(statement, &[]).expect_err(sql);
            assert_eq!(
                refused.code().map(|code| code.code()),
                Some("42501"),
                "{sql}"
            );
            s.run("ROLLBACK");
        }
        for (token, role) in [(&POOL.victim, writer), (&POOL.attacker, reader)] {
            s.run(&format!("BEGIN; {token}"));
            let rows = s.client.query(&who, &[]).expect("who");
            assert_eq!(rows[0].get::<_, &str>(0), format!("{role}{role}"));
            s.run("COMMIT");
        }
    }
}

/// A plan that one user's settings have made slow is not kept for the next.
#[test]
fn plan_that_one_users_settings_made_slow_for_the_next() {
    POOL.g.f.admin().run(
        "CREATE TABLE big AS SELECT g AS i, g::text AS t FROM generate_series(1, 20000) g; CREATE UNIQUE INDEX ON big (i); ANALYZE big; GRANT SELECT ON big TO PUBLIC",
    );
    let mut s = POOL.connect();
    let kept = s
        .client
        .prepare("SELECT t FROM big WHERE i = 4711")
        .expect("prepare");
    s.run(&format!(
        "BEGIN; {}; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexonlyscan = off",
        POOL.attacker
    ));
    s.client.query(&kept, &[]).expect("kept");
    s.run("COMMIT");
    // What this session has counted and not yet told.
    let scans = "SELECT coalesce(seq_scan, 0) FROM pg_stat_xact_user_tables WHERE relname = 'big'";
    s.run(&format!("BEGIN; {}", POOL.victim));
    let before = s.text(scans);
    s.client.query(&kept, &[]).expect("kept");
    assert_eq!(s.text(scans), before, "read from end to end");
    s.run("COMMIT");
}

/// What runs keeps the rights of the token that it began with; it must not get the claims of another.
#[test]
fn one_statement_that_ends_a_switch_and_begins_another() {
    let g = &POOL.g;
    g.f.admin().run(&format!(
        "CREATE TABLE acct (owner text, amount int); INSERT INTO acct VALUES ('ann', 1), ('bob', 2);
         GRANT SELECT, UPDATE ON acct TO {writer}; ALTER TABLE acct ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON acct USING (owner = scope.jwt_subject());
         CREATE TABLE acct_log (who text, what text);
         CREATE FUNCTION log_acct() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN INSERT INTO public.acct_log VALUES (scope.jwt_subject(), current_setting('role')); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER log AFTER UPDATE ON acct DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION log_acct()",
        writer = g.writer
    ));
    let admins = g.token(serde_json::json!({"role": g.writer, "sub": "ann"}));
    let users = g.token(serde_json::json!({"role": g.reader, "sub": "bob"}));
    let (end, then) = (end_session(&admins), crate::jwt::switch(&users));
    let (ended, begun) = (
        end.trim_start_matches("SELECT "),
        then.trim_start_matches("SELECT "),
    );
    let mut s = POOL.connect_for_sessions();
    for attack in [
        format!(
            "WITH z AS MATERIALIZED (SELECT {ended}::text || {begun}::text AS r) UPDATE acct SET amount = 999 FROM z WHERE z.r IS NOT NULL"
        ),
        format!(
            "SELECT CASE i WHEN 1 THEN {ended}::text WHEN 2 THEN {begun}::text END, (SELECT string_agg(owner, ',') FROM acct WHERE i = i) FROM generate_series(1, 3) i"
        ),
        format!("SELECT {ended}, (SELECT string_agg(owner, ',') FROM acct)"),
    ] {
        s.run(&switch_session(&admins));
        s.denied(&attack, "55006");
        s.run(&end);
    }
    // What is deferred runs as who did it.
    s.run(&switch_session(&admins));
    s.run(&format!(
        "BEGIN; UPDATE acct SET amount = 77; {end}; {then}; COMMIT"
    ));
    let mut admin = g.f.admin();
    assert_eq!(
        admin.rows("SELECT who, what FROM acct_log"),
        [[Some("ann".to_owned()), Some(g.writer.clone())]]
    );
    assert_eq!(
        admin.column("SELECT owner || amount FROM acct ORDER BY owner"),
        ["ann77", "bob2"]
    );
}

/// An error while a statement is analysed or planned is one like any other.
#[test]
fn cancelled_while_it_is_analysed_and_planned() {
    let g = crate::jwt::Gate::new("lock_analysed");
    g.f.admin().run(&format!(
        "SELECT scope.create_authenticator('lock_analysed_api', '{{{}}}');
         CREATE FUNCTION own() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
        g.reader
    ));
    let mut s = g.f.login("lock_analysed_api");
    let mut holder = g.f.admin();
    for sql in ["SELECT date '2026-01-01'", "SELECT public.own()"] {
        s.run(&format!(
            "BEGIN; {}; SET LOCAL statement_timeout = '300ms'; SET LOCAL TimeZone = 'Etc/GMT+3'",
            crate::jwt::switch(&g.token(serde_json::json!({})))
        ));
        holder.run("BEGIN; LOCK TABLE pg_proc IN ACCESS EXCLUSIVE MODE");
        s.denied(sql, "57014");
        holder.run("ROLLBACK");
        s.run("ROLLBACK; SELECT 1");
    }
}

/// One session's switch ends and another begins in one transaction: what the first has left does not wait for its end.
#[test]
fn leavings_of_a_sessions_switch_for_the_next_in_one_transaction() {
    let (first, second) = (
        &POOL.attackers_token,
        POOL.g.token(serde_json::json!({"role": POOL.g.writer})),
    );
    let mut s = POOL.connect_for_sessions();
    s.run(&switch_session(first));
    s.run("CREATE TEMP TABLE diary (line text); GRANT ALL ON diary TO PUBLIC; SET app.tenant = 'mine'; SET DateStyle = 'SQL, DMY'; PREPARE trap AS SELECT 1");
    s.run(&format!(
        "BEGIN; {}; {}",
        end_session(first),
        switch_session(&second)
    ));
    s.denied("SELECT * FROM pg_temp.diary", "42P01");
    s.run("ROLLBACK");
    s.run("SELECT * FROM pg_temp.diary");
    s.run(&format!(
        "BEGIN; {}; {}; COMMIT",
        end_session(first),
        switch_session(&second)
    ));
    s.denied("SELECT * FROM pg_temp.diary", "42P01");
    s.denied("EXECUTE trap", "26000");
    assert_eq!(
        s.text("SELECT concat(current_setting('app.tenant', true), current_setting('DateStyle'))"),
        "ISO, MDY"
    );
    s.run(&end_session(&second));
    assert_eq!(
        s.text("SELECT concat(current_setting('app.tenant', true), current_setting('DateStyle'))"),
        "ISO, MDY"
    );
}

/// Code of a role runs where no token is, when somebody analyses its table.
#[test]
fn settings_that_a_role_plants_for_the_next_switch() {
    let g = crate::jwt::Gate::new("lock_plants");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "CREATE SCHEMA his AUTHORIZATION {0}; SET ROLE {0};
         CREATE FUNCTION his.g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE CURRENT_USER SET statement_timeout = 1'; END $$;
         CREATE FUNCTION his.f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF current_setting('app.analyses', true) = 'yes' THEN PERFORM his.g(); END IF; RETURN i; END $$;
         CREATE TABLE his.t (i int); CREATE INDEX ON his.t (his.f(i)); INSERT INTO his.t SELECT generate_series(1, 10); RESET ROLE",
        g.reader
    ));
    admin.run("SET app.analyses = 'yes'");
    admin.refused("ANALYZE his.t", "42501");
    admin.assert_that(&format!(
        "(SELECT rolconfig IS NULL FROM pg_roles WHERE rolname = '{}')",
        g.reader
    ));
    // Whoever made it may.
    admin.run(&format!("ALTER ROLE {} SET work_mem = '1MB'", g.reader));
}
