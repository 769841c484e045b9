//! Attacks laid out before the lock, and attacks of more than one statement.

use super::{SECRET_ROW, STAGE, assert_no_escape};
use crate::harness::*;
use crate::jwt::{Gate, end_session, switch, switch_session};
use serde_json::json;

#[test]
fn multi_statement_string_inside_a_transaction() {
    let mut s = STAGE.login();
    for attack in [
        "RESET ROLE; SELECT secret FROM vault",
        "SELECT 1; SET ROLE {writer}; SELECT secret FROM vault",
        ";;RESET ROLE;;",
    ] {
        STAGE.lock(&mut s);
        s.refused(&STAGE.fill(attack), "42501");
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

#[test]
fn multi_statement_string_with_the_lock_inside_and_no_begin() {
    let mut s = STAGE.login();
    for attack in [
        "RESET ROLE",
        "SET ROLE NONE",
        "SELECT set_config('role', NULL, true)",
        "SET SESSION AUTHORIZATION DEFAULT",
        "DISCARD ALL",
    ] {
        s.refused(
            &STAGE.fill(&format!("{{switch}}; {attack}; SELECT secret FROM vault")),
            "42501",
        );
        STAGE.assert_free_and_usable(&mut s);
        s.refused(
            &STAGE.fill(&format!(
                "BEGIN; {{switch}}; {attack}; SELECT secret FROM vault; COMMIT"
            )),
            "42501",
        );
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
    // All of a string is one transaction, so a switch in it holds for what follows.
    let rows = s.rows(&STAGE.fill("{switch}; SELECT current_user"));
    assert_eq!(
        rows.last().and_then(|row| row[0].clone()),
        Some(STAGE.gate.reader.clone())
    );
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn switch_and_escape_in_one_statement() {
    let mut s = STAGE.login();
    for attack in [
        "SELECT scope.set_jwt_role({token})::text, set_config('role', NULL, true), current_user::text",
        "SELECT scope.set_jwt_role({token})::text, set_config('role', '{writer}', true), current_user::text",
        "SELECT scope.set_jwt_role({token})::text, set_config('request.jwt.claims', '{}', true)",
        "SELECT scope.set_jwt_role({token})::text, set_config('session_authorization', NULL, true)",
    ] {
        s.run("BEGIN");
        s.refused(&STAGE.fill(attack), "42501");
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

/// PL/pgSQL prepares an expression once per transaction, before the lock here, so nothing that looks at the preparation of a
/// function call sees the second run.
#[test]
fn plpgsql_loop_whose_expression_was_initialised_before_the_lock() {
    let mut s = STAGE.login();
    for argument in ["NULL", "'none'", "'{writer}'", "'{auth}'"] {
        for (name, value) in [("role", argument), ("session_authorization", "NULL")] {
            s.run("BEGIN");
            // The expression must be the same one in both rounds, so what is harmless in the first round is the value.
            let attack = STAGE.fill(&format!(
                "DO $$ DECLARE x text; BEGIN
                   FOR i IN 1..2 LOOP
                     IF i = 2 THEN PERFORM scope.set_jwt_role({{token}}); END IF;
                     x := set_config('{name}', CASE WHEN i = 1 THEN NULL ELSE {value} END, true);
                   END LOOP;
                   RAISE EXCEPTION 'escaped as %', current_user;
                 END $$"
            ));
            s.refused(&attack, "42501");
            s.run("ROLLBACK");
            STAGE.assert_free_and_usable(&mut s);
        }
    }
}

/// The same, in a function that was called and kept its expressions, within the transaction that then locks.
#[test]
fn plpgsql_function_warm_before_the_lock_in_the_same_transaction() {
    let mut s = STAGE.login();
    s.run(
        "CREATE FUNCTION pg_temp.warm(name text, value text) RETURNS text LANGUAGE plpgsql
             AS $$ DECLARE x text; BEGIN x := set_config(name, value, true); RETURN current_user; END $$",
    );
    for (name, value) in [
        ("role", "NULL"),
        ("role", "'none'"),
        ("session_authorization", "NULL"),
        ("request.jwt.claims", "'{}'"),
        ("request.jwt.claims", "NULL"),
    ] {
        s.run("BEGIN; SELECT pg_temp.warm('role', NULL), pg_temp.warm('role', NULL)");
        s.run(&switch(&STAGE.token));
        s.refused(&format!("SELECT pg_temp.warm('{name}', {value})"), "42501");
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

/// Whether or not the attack is caught, no expression run after the lock may see another user.
#[test]
fn errors_swallowed_by_exception_blocks_change_nothing() {
    let mut s = STAGE.login();
    for attack in [
        "SET LOCAL ROLE NONE",
        "RESET ROLE",
        "RESET SESSION AUTHORIZATION",
        "PERFORM set_config(''role'', NULL, true)",
        "x := set_config(''role'', NULL, true)",
        "EXECUTE ''SET ROLE NONE''",
        "PERFORM set_config(''request.jwt.claims'', ''{}'', true)",
        "RESET ALL",
    ] {
        STAGE.lock(&mut s);
        s.notices();
        s.run(&format!(
            "DO $$ DECLARE x text; BEGIN
               BEGIN {attack}; RAISE NOTICE 'within %', current_user; EXCEPTION WHEN OTHERS THEN RAISE NOTICE 'caught %', current_user; END;
               RAISE NOTICE 'after %', current_user;
               RAISE NOTICE 'query %', (SELECT current_user);
             END $$",
            attack = attack.replace("''", "'")
        ));
        for notice in s.notices() {
            assert!(
                notice.message.ends_with(&STAGE.gate.reader),
                "{attack}: {}",
                notice.message
            );
        }
        STAGE.assert_locked(&mut s);
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

#[test]
fn reset_all_keeps_the_lock_and_the_server() {
    let mut s = STAGE.login();
    STAGE.lock(&mut s);
    s.run("SAVEPOINT s");
    if let Err(refusal) = s.attempt("RESET ALL") {
        assert_eq!(refusal.code, "42501", "{refusal}");
        s.run("ROLLBACK TO s");
    }
    STAGE.assert_locked(&mut s);
    s.run("DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES");
    STAGE.assert_locked(&mut s);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
    s.run("RESET ALL");
    s.run("DISCARD ALL");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn copy_of_a_query() {
    let mut s = STAGE.login();
    for query in [
        "SELECT set_config('role', NULL, true), current_user",
        "SELECT secret FROM vault",
        "SELECT set_config('session_authorization', NULL, true), current_user",
    ] {
        STAGE.lock(&mut s);
        let refusal = s
            .copy_out(&format!("COPY ({query}) TO STDOUT"))
            .expect_err("an escape");
        assert_eq!(refusal.code, "42501", "{query}: {refusal}");
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

#[test]
fn update_pg_settings_is_set_config_in_disguise() {
    let mut s = STAGE.login();
    for name in [
        "role",
        "session_authorization",
        "request.jwt.claims",
        "scope.switch",
    ] {
        STAGE.lock(&mut s);
        s.run("SAVEPOINT s");
        // A setting that the view does not show cannot be updated, which is no error.
        if let Err(refusal) = s.attempt(&format!(
            "UPDATE pg_settings SET setting = 'none' WHERE name = '{name}'"
        )) {
            assert_eq!(refusal.code, "42501", "{refusal}");
            s.run("ROLLBACK TO s");
        }
        STAGE.assert_locked(&mut s);
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

#[test]
fn statement_prepared_by_the_driver_before_the_lock() {
    let mut s = STAGE.login();
    let reset = s
        .client
        .prepare("SELECT set_config($1, $2, true), current_user::text")
        .expect("prepare");
    let vault = s
        .client
        .prepare("SELECT secret FROM vault")
        .expect("prepare");
    let reset_role = s.client.prepare("RESET ROLE").expect("prepare");
    assert_eq!(
        s.client.query(&vault, &[]).expect("readable before").len(),
        1
    );
    for run in 0..8 {
        STAGE.lock(&mut s);
        s.run("SAVEPOINT s");
        let outcomes = [
            s.client.query(&vault, &[]),
            s.client.query("SELECT 1 FROM orders", &[]),
            s.client.query(&reset, &[&"role", &None::<&str>]),
            s.client.query(&reset_role, &[]),
        ];
        // The second only fails because the first has failed the transaction.
        let codes: Vec<String> = outcomes
            .map(|o| o.map_or_else(|e| Refusal::from(e).code, |_| "accepted".into()))
            .into();
        assert_eq!(codes, ["42501", "25P02", "25P02", "25P02"], "run {run}");
        for statement in [&reset, &reset_role] {
            s.run("ROLLBACK TO s");
            let outcome = if statement.params().is_empty() {
                s.client.query(statement, &[])
            } else {
                s.client.query(statement, &[&"role", &None::<&str>])
            };
            let refusal = Refusal::from(outcome.expect_err("an escape"));
            assert_eq!(refusal.code, "42501", "{refusal}");
        }
        s.run("ROLLBACK TO s");
        STAGE.assert_locked(&mut s);
        s.run("ROLLBACK");
    }
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn prepared_select_is_checked_against_the_locked_role() {
    let mut s = STAGE.login();
    s.run("PREPARE loot AS SELECT secret FROM vault; PREPARE own AS SELECT body FROM rows");
    for _ in 0..7 {
        assert_eq!(s.text("EXECUTE loot"), SECRET_ROW);
        assert_eq!(s.text("EXECUTE own"), SECRET_ROW);
        STAGE.lock(&mut s);
        assert_eq!(s.text("EXECUTE own"), "mine");
        s.denied("EXECUTE loot", "42501");
        s.run("ROLLBACK");
    }
    STAGE.assert_free_and_usable(&mut s);
}

/// Opens a cursor as the login role, then locks: either the switch is refused, or the cursor yields nothing of the login's.
#[track_caller]
fn cursor_opened_before(declare: &str, within: bool) {
    let mut s = STAGE.login();
    let declare = STAGE.fill(declare);
    if within {
        s.run(&format!("BEGIN; {declare}"));
    } else {
        s.run(&format!("BEGIN; {declare}; COMMIT; BEGIN"));
    }
    match s.attempt(&switch(&STAGE.token)) {
        Err(refusal) => {
            assert!(
                ["42501", "55000", "55006", "24000", "25001"].contains(&refusal.code.as_str()),
                "{refusal}"
            );
            assert!(
                !refusal.detail.is_empty() && !refusal.hint.is_empty(),
                "{refusal}"
            );
        }
        Ok(_) => {
            STAGE.assert_locked(&mut s);
            s.run("SAVEPOINT s");
            match s.attempt("FETCH ALL FROM c") {
                Ok(rows) => assert_no_escape(&STAGE, &rows),
                Err(refusal) => assert!(
                    ["42501", "34000"].contains(&refusal.code.as_str()),
                    "{refusal}"
                ),
            }
            s.run("ROLLBACK TO s");
            STAGE.assert_locked(&mut s);
        }
    }
    s.run("ROLLBACK");
    let _ = s.attempt("CLOSE c");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn cursor_opened_before_the_lock() {
    cursor_opened_before("DECLARE c CURSOR FOR SELECT secret FROM vault", true);
}

#[test]
fn cursor_opened_before_the_lock_that_sets_config() {
    cursor_opened_before(
        "DECLARE c CURSOR FOR SELECT set_config('role', NULL, true), current_user::text",
        true,
    );
}

#[test]
fn cursor_opened_before_the_lock_over_a_policy() {
    cursor_opened_before("DECLARE c SCROLL CURSOR FOR SELECT body FROM rows", true);
}

#[test]
fn cursor_with_hold_in_the_same_transaction() {
    cursor_opened_before(
        "DECLARE c CURSOR WITH HOLD FOR SELECT secret FROM vault",
        true,
    );
}

#[test]
fn cursor_with_hold_from_an_earlier_transaction() {
    cursor_opened_before(
        "DECLARE c CURSOR WITH HOLD FOR SELECT secret FROM vault",
        false,
    );
}

/// A cursor that is still held when the locked transaction commits runs its query to the end then.
#[test]
fn cursor_with_hold_opened_under_the_lock_stays_the_locked_roles() {
    let mut s = STAGE.login();
    STAGE.lock(&mut s);
    s.run("SAVEPOINT s");
    if s.attempt("DECLARE held CURSOR WITH HOLD FOR SELECT current_user::text, body FROM rows")
        .is_ok()
    {
        s.run("COMMIT");
        let rows = s.rows("FETCH ALL FROM held");
        assert_eq!(
            rows,
            [[Some(STAGE.gate.reader.clone()), Some("mine".into())]]
        );
        s.run("CLOSE held");
    } else {
        s.run("ROLLBACK");
    }
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn plpgsql_for_loop_over_a_query_that_started_before_the_lock() {
    let mut s = STAGE.login();
    s.run("BEGIN");
    s.notices();
    // More rows than one batch, so that the query is still running when the lock falls.
    let outcome = s.attempt(&STAGE.fill(
        "DO $$ DECLARE r record; locked boolean := false; BEGIN
           FOR r IN SELECT current_user::text AS u, secret, g FROM vault, generate_series(1, 500) g LOOP
             IF locked THEN RAISE NOTICE 'row as % %', r.u, current_user; END IF;
             IF NOT locked THEN PERFORM scope.set_jwt_role({token}); locked := true; END IF;
           END LOOP;
         END $$",
    ));
    match outcome {
        // Rows already fetched are variables of the caller; what is not allowed is to run on as another user.
        Ok(_) => {
            for notice in s.notices() {
                assert!(
                    notice.message.ends_with(&STAGE.gate.reader),
                    "{}",
                    notice.message
                );
            }
        }
        Err(refusal) => assert!(
            ["42501", "55000", "55006", "24000", "25001"].contains(&refusal.code.as_str()),
            "{refusal}"
        ),
    }
    s.run("ROLLBACK");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn deferred_trigger_with_a_role_clause_queued_before_the_lock() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill(
        "CREATE TEMP TABLE trap (x int);
         CREATE FUNCTION pg_temp.late() RETURNS trigger LANGUAGE plpgsql SET role = '{auth}'
             AS $$ BEGIN RAISE NOTICE 'late as %', current_user; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.late();
         BEGIN; INSERT INTO trap VALUES (1); {switch}",
    ));
    // PostgreSQL's own refusal: no statement is running that the extension could explain.
    s.denied("COMMIT", "42501");
    assert!(
        s.notices()
            .iter()
            .all(|n| !n.message.starts_with("late as"))
    );
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn deferred_trigger_without_a_clause_runs_as_the_locked_role() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill(
        "CREATE TEMP TABLE trap (x int);
         CREATE FUNCTION pg_temp.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'late as %', current_user; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.late();
         BEGIN; INSERT INTO trap VALUES (1); {switch}",
    ));
    s.notices();
    // PostgreSQL 18 runs it as the role that queued it. Only the login's own statements before the switch can queue one; the
    // README says so under "What it does not protect from".
    let expected = if STAGE.gate.f.server.version() >= 180_000 {
        &STAGE.gate.auth
    } else {
        &STAGE.gate.reader
    };
    // To refuse is as good.
    match s.attempt("COMMIT") {
        Ok(_) => {
            let late: Vec<String> = s.notices().into_iter().map(|n| n.message).collect();
            assert_eq!(late, [format!("late as {expected}")]);
        }
        Err(refusal) => assert_eq!(refusal.code, "42501", "{refusal}"),
    }
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn parallel_workers_act_as_the_locked_role_and_are_held() {
    let mut s = STAGE.login();
    let force = if STAGE.gate.f.server.version() >= 160_000 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    s.run(&STAGE.fill(
        "CREATE FUNCTION pg_temp.in_worker() RETURNS text LANGUAGE plpgsql PARALLEL SAFE SET role = '{auth}'
             AS $$ BEGIN RETURN current_user; END $$;
         CREATE FUNCTION public.in_worker() RETURNS text LANGUAGE plpgsql PARALLEL SAFE SET role = '{auth}'
             AS $$ BEGIN RETURN current_user; END $$;
         CREATE FUNCTION public.ask_worker() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
             AS $$ BEGIN PERFORM set_config('role', NULL, true); RETURN current_user; END $$",
    ));
    STAGE.lock(&mut s);
    s.run(&format!("SET LOCAL {force} = on"));
    let query = "SELECT who(), current_user::text, current_setting('request.jwt.claims')::json->>'role' FROM orders";
    let plan = s.column(&format!("EXPLAIN {query}")).join("\n");
    assert!(plan.contains("Gather"), "not parallel: {plan}");
    let reader = Some(STAGE.gate.reader.clone());
    assert_eq!(
        s.rows(query),
        [
            [reader.clone(), reader.clone(), reader.clone()],
            [reader.clone(), reader.clone(), reader]
        ]
    );
    assert_eq!(s.column("SELECT body FROM rows"), ["mine"]);
    s.run("SAVEPOINT s");
    let plan = s
        .column("EXPLAIN SELECT public.in_worker() FROM orders")
        .join("\n");
    assert!(plan.contains("Gather"), "not parallel: {plan}");
    s.refused("SELECT public.in_worker() FROM orders", "42501");
    s.run("ROLLBACK TO s");
    // In a worker PostgreSQL itself refuses to change settings.
    let refusal = s.fails("SELECT public.ask_worker() FROM orders");
    assert!(
        ["42501", "25000"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    s.run("ROLLBACK TO s");
    s.run(&format!("SET LOCAL {force} = off"));
    STAGE.assert_locked(&mut s);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn savepoint_taken_before_the_lock_unlocks_cleanly() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill("BEGIN; SAVEPOINT a; {switch}"));
    STAGE.assert_locked(&mut s);
    s.refused("RESET ROLE", "42501");
    s.run("ROLLBACK TO a");
    // Unlocked, and wholly: no setting says otherwise.
    assert_eq!(
        s.text("SELECT concat_ws(' ', current_user, current_setting('role'))"),
        format!("{} none", STAGE.gate.auth)
    );
    assert_eq!(
        s.text("SELECT coalesce(current_setting('request.jwt.claims', true), '')"),
        ""
    );
    assert_eq!(s.text("SELECT secret FROM vault"), SECRET_ROW);
    s.run(&STAGE.fill("SET LOCAL ROLE {writer}"));
    assert_eq!(s.text("SELECT current_user"), STAGE.gate.writer);
    s.run("RESET ROLE");
    s.run(&switch(&STAGE.token));
    STAGE.assert_locked(&mut s);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn savepoint_over_an_earlier_set_local_role_returns_to_it() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill("BEGIN; SET LOCAL ROLE {writer}; SAVEPOINT a; {switch}"));
    STAGE.assert_locked(&mut s);
    s.refused("RESET ROLE", "42501");
    s.run("ROLLBACK TO a");
    assert_eq!(
        s.text("SELECT current_user || ' ' || current_setting('role')"),
        format!("{0} {0}", STAGE.gate.writer)
    );
    s.run("ROLLBACK");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn exception_block_around_the_switch_unlocks_with_it() {
    let mut s = STAGE.login();
    s.run("BEGIN");
    s.notices();
    s.run(&STAGE.fill(
        "DO $$ BEGIN
           BEGIN PERFORM scope.set_jwt_role({token}); RAISE EXCEPTION 'undo'; EXCEPTION WHEN raise_exception THEN NULL; END;
           RAISE NOTICE '%', current_user;
           PERFORM set_config('role', NULL, true);
         END $$",
    ));
    assert_eq!(s.notices()[0].message, STAGE.gate.auth);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn role_of_the_session_before_the_lock_comes_back() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill("SET ROLE {writer}"));
    for end in ["COMMIT", "ROLLBACK"] {
        STAGE.lock(&mut s);
        s.run(end);
        assert_eq!(
            s.text("SELECT current_user || ' ' || current_setting('role')"),
            format!("{0} {0}", STAGE.gate.writer)
        );
    }
    s.run("RESET ROLE");
    STAGE.assert_free_and_usable(&mut s);
}

/// A role from the start of the session is what RESET goes back to.
#[test]
fn role_set_by_a_startup_option() {
    let gate = &STAGE.gate;
    let mut s = gate
        .f
        .server
        .try_login_with_options(
            &gate.auth,
            &gate.f.name,
            &format!("-c role={}", gate.writer),
        )
        .expect("login");
    assert_eq!(s.text("SELECT current_user"), gate.writer);
    for attack in [
        "RESET ROLE",
        "SET ROLE TO DEFAULT",
        "SELECT set_config('role', NULL, true)",
        "DISCARD ALL",
        "RESET SESSION AUTHORIZATION",
    ] {
        STAGE.lock(&mut s);
        s.run("SAVEPOINT s");
        s.refused(attack, "42501");
        s.run("ROLLBACK TO s");
        STAGE.assert_locked(&mut s);
        s.run("RESET work_mem");
        if s.attempt("RESET ALL").is_err() {
            s.run("ROLLBACK TO s");
        }
        STAGE.assert_locked(&mut s);
        s.run("COMMIT");
        assert_eq!(s.text("SELECT current_user"), gate.writer);
    }
}

#[test]
fn role_set_by_alter_role() {
    let gate = &STAGE.gate;
    let login = format!("{}_second_auth", gate.f.name);
    gate.f.admin().run(&format!(
        "CREATE ROLE {login} LOGIN NOINHERIT IN ROLE {reader}, {writer}; ALTER ROLE {login} SET role = '{writer}'",
        reader = gate.reader,
        writer = gate.writer
    ));
    let mut s = gate.f.login(&login);
    assert_eq!(s.text("SELECT current_user"), gate.writer);
    s.run(&format!("BEGIN; {}", switch(&STAGE.token)));
    assert_eq!(s.text("SELECT current_user"), gate.reader);
    for attack in [
        "RESET ROLE",
        "SELECT set_config('role', NULL, true)",
        "SET ROLE TO DEFAULT",
    ] {
        s.run("SAVEPOINT s");
        s.refused(attack, "42501");
        s.run("ROLLBACK TO s");
        assert_eq!(s.text("SELECT current_user"), gate.reader);
        s.denied("SELECT * FROM vault", "42501");
        s.run("ROLLBACK TO s");
    }
    s.run("COMMIT");
    assert_eq!(s.text("SELECT current_user"), gate.writer);
}

#[test]
fn second_token_for_another_role_in_every_position() {
    let mut s = STAGE.login();
    let other = switch(&STAGE.gate.token(json!({"role": STAGE.gate.writer})));
    for attack in [
        other.clone(),
        format!(
            "DO $$ BEGIN {}; END $$",
            other.replacen("SELECT", "PERFORM", 1)
        ),
        format!("EXPLAIN ANALYZE {other}"),
        format!("SELECT * FROM ({other}) x, rows"),
    ] {
        STAGE.lock(&mut s);
        s.run("SAVEPOINT s");
        s.refused(&attack, "42501");
        s.run("ROLLBACK TO s");
        STAGE.assert_locked(&mut s);
        s.run("ROLLBACK");
    }
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn commit_inside_a_procedure_ends_the_lock_with_the_transaction() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill(
        "CREATE PROCEDURE pg_temp.two_steps() LANGUAGE plpgsql AS $$ BEGIN
           PERFORM scope.set_jwt_role({token});
           RAISE NOTICE 'locked %', current_user;
           BEGIN SET LOCAL ROLE NONE; RAISE NOTICE 'escaped'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
           COMMIT;
           RAISE NOTICE 'free %', current_user;
           PERFORM scope.set_jwt_role({token});
           RAISE NOTICE 'locked %', current_user;
           ROLLBACK;
           RAISE NOTICE 'free %', current_user;
           PERFORM set_config('role', NULL, true);
         END $$",
    ));
    s.notices();
    s.run("CALL pg_temp.two_steps()");
    let said: Vec<String> = s
        .notices()
        .into_iter()
        .filter(|n| n.code == "00000")
        .map(|n| n.message)
        .collect();
    let (auth, reader) = (&STAGE.gate.auth, &STAGE.gate.reader);
    assert_eq!(
        said,
        [
            format!("locked {reader}"),
            format!("free {auth}"),
            format!("locked {reader}"),
            format!("free {auth}")
        ]
    );
    STAGE.assert_free_and_usable(&mut s);
    // Inside a block a procedure cannot commit, locked or not.
    STAGE.lock(&mut s);
    s.denied("CALL pg_temp.two_steps()", "2D000");
    s.run("ROLLBACK");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn commit_and_chain_starts_unlocked() {
    let mut s = STAGE.login();
    for end in ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"] {
        STAGE.lock(&mut s);
        s.run(end);
        assert_eq!(
            s.text("SELECT current_user || ' ' || current_setting('role')"),
            format!("{} none", STAGE.gate.auth)
        );
        s.run("COMMIT");
    }
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn error_in_a_locked_transaction_leaves_a_usable_session() {
    let mut s = STAGE.login();
    for error in [
        "SELECT 1/0",
        "SELECT * FROM no_such_table",
        "syntax error here",
        "SELECT * FROM vault",
        "RESET ROLE",
    ] {
        STAGE.lock(&mut s);
        s.fails(error);
        s.denied("SELECT 1", "25P02");
        s.denied("RESET ROLE", "25P02");
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

/// The end of a session that was cut off while locked must not leave anything to the next user of a pooled connection.
#[test]
fn statement_timeout_and_cancel_while_locked() {
    let mut s = STAGE.login();
    STAGE.lock(&mut s);
    s.run("SET LOCAL statement_timeout = 50");
    s.denied("SELECT pg_sleep(10)", "57014");
    s.run("ROLLBACK");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn settings_of_before_the_lock_cannot_reach_in() {
    let mut s = STAGE.login();
    // A session that sets a path of its own functions before the lock must not confuse the switch or the checks.
    s.run(
        "CREATE FUNCTION pg_temp.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'none' $$;
         SET search_path = pg_temp, pg_catalog, public",
    );
    STAGE.lock_quietly(&mut s);
    s.run("SAVEPOINT s");
    s.refused("RESET ROLE", "42501");
    s.run("ROLLBACK TO s");
    assert_eq!(s.text("SELECT current_user"), STAGE.gate.reader);
    s.run("COMMIT; RESET search_path; DROP FUNCTION pg_temp.current_setting(text)");
    STAGE.assert_free_and_usable(&mut s);
}

/// A role of the database's settings is what RESET goes back to.
#[test]
fn role_set_by_alter_database() {
    let g = Gate::new("lock_database");
    let mut admin = g.f.admin();
    // A superuser's next session here would be the writer too.
    admin.run(&format!(
        "ALTER DATABASE {} SET role = {}",
        g.f.name, g.writer
    ));
    let mut s = g.login();
    assert_eq!(s.text("SELECT current_user"), g.writer);
    for attack in [
        "RESET ROLE",
        "SET ROLE TO DEFAULT",
        "SELECT set_config('role', NULL, true)",
        "RESET SESSION AUTHORIZATION",
        "DISCARD ALL",
    ] {
        s.run(&format!(
            "BEGIN; {}; SAVEPOINT s",
            switch(&g.token(json!({})))
        ));
        s.refused(attack, "42501");
        s.run("ROLLBACK TO s; RESET ALL");
        assert_eq!(s.text("SELECT current_user"), g.reader);
        s.run("COMMIT");
        assert_eq!(s.text("SELECT current_user"), g.writer);
    }
    admin.run(&format!("ALTER DATABASE {} RESET role", g.f.name));
}

/// A session authorization from the start of the session is refused by PostgreSQL, or makes no difference.
#[test]
fn session_authorization_set_by_a_startup_option() {
    let gate = &STAGE.gate;
    for who in [&gate.writer, &gate.auth] {
        let option = format!("-c session_authorization={who}");
        let opened = gate
            .f
            .server
            .try_login_with_options(&gate.auth, &gate.f.name, &option);
        if let Ok(mut s) = opened {
            STAGE.assert_free_and_usable(&mut s);
        }
    }
}

#[test]
fn refcursor_of_plpgsql_opened_before_the_lock() {
    let mut s = STAGE.login();
    for open in [
        "DO $$ DECLARE c refcursor; BEGIN OPEN c FOR SELECT secret FROM vault; PERFORM scope.set_jwt_role({token}); END $$",
        "DO $$ DECLARE c CURSOR FOR SELECT secret FROM vault; BEGIN OPEN c; MOVE c; PERFORM scope.set_jwt_role({token}); END $$",
        "DO $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR EXECUTE 'SELECT secret FROM vault'; END $$; {switch}",
        "DECLARE c CURSOR FOR SELECT secret FROM vault; MOVE 0 IN c; {switch}",
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT secret FROM vault LOOP PERFORM scope.set_jwt_role({token}); END LOOP; END $$",
    ] {
        s.refused(&STAGE.fill(&format!("BEGIN; {open}")), "55006");
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

#[test]
fn prepared_transaction_of_the_locked_role() {
    let g = Gate::new("lock_two_phase");
    g.f.admin()
        .run(&format!("GRANT INSERT ON orders TO {}", g.reader));
    let token = g.token(json!({}));
    let mut s = g.login();
    for (end, rows) in [("COMMIT", "3"), ("ROLLBACK", "3")] {
        s.run(&format!(
            "BEGIN; {}; INSERT INTO orders VALUES (3, ''); PREPARE TRANSACTION 'lock_two_phase'",
            switch(&token)
        ));
        assert_eq!(s.text("SELECT current_user"), g.auth);
        // It is the locked role's: neither the login nor another role may finish it.
        s.denied(&format!("{end} PREPARED 'lock_two_phase'"), "42501");
        s.run(&format!("SET ROLE {}", g.writer));
        s.denied(&format!("{end} PREPARED 'lock_two_phase'"), "42501");
        s.run("RESET ROLE");
        s.run(&switch_session(&token));
        s.run(&format!("{end} PREPARED 'lock_two_phase'"));
        s.refused("RESET ROLE", "42501");
        s.run(&end_session(&token));
        assert_eq!(g.f.admin().text("SELECT count(*) FROM orders"), rows);
    }
}

#[test]
fn snapshot_of_another_session() {
    let (mut s, mut other) = (STAGE.login(), STAGE.login());
    other.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    let snapshot = other.text("SELECT pg_export_snapshot()");
    s.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    s.run(&format!(
        "SET TRANSACTION SNAPSHOT '{snapshot}'; {}",
        switch(&STAGE.token)
    ));
    STAGE.assert_locked(&mut s);
    s.run("SAVEPOINT s");
    s.denied(&format!("SET TRANSACTION SNAPSHOT '{snapshot}'"), "25001");
    s.run("ROLLBACK TO s");
    STAGE.assert_locked(&mut s);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
}

/// The superuser's trigger on DDL runs as whoever does the DDL.
#[test]
fn event_trigger_runs_as_the_locked_role() {
    let g = Gate::new("lock_event");
    g.f.admin().run(
        "GRANT ALL ON SCHEMA public TO PUBLIC;
         CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql
             AS $$ BEGIN RAISE NOTICE 'as %', current_user; PERFORM set_config('role', 'none', true); RAISE NOTICE 'out'; END $$;
         CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl()",
    );
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    s.notices();
    s.denied("CREATE TABLE public.t (x int)", "42501");
    let said: Vec<String> = s.notices().into_iter().map(|n| n.message).collect();
    assert_eq!(said, [format!("as {}", g.reader)]);
    s.run("ROLLBACK");
}

/// A trusted extension's script runs as the superuser, and leaves the session the locked role's.
#[test]
fn trusted_extension_made_while_locked() {
    let g = Gate::new("lock_trusted");
    let mut admin = g.f.admin();
    if !admin.holds(
        "EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'pgcrypto' AND trusted)",
    ) {
        return skip("this server has no contrib");
    }
    admin.run(&format!(
        "GRANT CREATE ON DATABASE {} TO {1}; GRANT ALL ON SCHEMA public TO {1}",
        g.f.name, g.reader
    ));
    let mut s = g.login();
    s.run(&format!(
        "BEGIN; {}; CREATE EXTENSION pgcrypto; SAVEPOINT s",
        switch(&g.token(json!({})))
    ));
    assert_eq!(s.text("SELECT current_user"), g.reader);
    for attack in [
        "RESET ROLE",
        "SELECT set_config('role', NULL, true)",
        "SELECT * FROM vault",
    ] {
        s.denied(attack, "42501");
        s.run("ROLLBACK TO s");
    }
    s.run("COMMIT");
}

/// Another connection is another session: what the lock cannot see. A non-superuser needs a password for it.
#[test]
fn loopback_by_dblink() {
    let g = Gate::new("lock_dblink");
    let mut admin = g.f.admin();
    if !admin.holds("EXISTS (SELECT FROM pg_available_extensions WHERE name = 'dblink')") {
        return skip("this server has no contrib");
    }
    admin.run("CREATE EXTENSION dblink");
    let socket = g.f.server.socket();
    let host = socket.parent().expect("a folder").display().to_string();
    let port = admin.text("SHOW port");
    let loopback = |user: &str| format!("host={host} port={port} dbname={} user={user}", g.f.name);
    let mut s = g.login();
    s.run(&format!(
        "BEGIN; {}; SAVEPOINT s",
        switch(&g.token(json!({})))
    ));
    for connection in [
        loopback(&g.auth),
        loopback(&g.auth) + " password=x",
        loopback("postgres"),
    ] {
        s.denied(
            &format!(
                "SELECT * FROM dblink('{connection}', 'SELECT secret FROM vault') AS t(x text)"
            ),
            "2F003",
        );
        s.run("ROLLBACK TO s");
    }
    s.denied(
        &format!("SELECT dblink_connect_u('{}')", loopback(&g.auth)),
        "42501",
    );
    s.run("ROLLBACK");
    // What closes it for good, for connections that the login has opened too.
    admin.run("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC");
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    s.denied(
        &format!("SELECT dblink_connect('{}')", loopback(&g.auth)),
        "42501",
    );
    s.run("ROLLBACK");
}

/// A foreign table is read with the user mapping of who reads it.
#[test]
fn loopback_by_a_foreign_table() {
    let g = Gate::new("lock_fdw");
    let mut admin = g.f.admin();
    if !admin.holds("EXISTS (SELECT FROM pg_available_extensions WHERE name = 'postgres_fdw')") {
        return skip("this server has no contrib");
    }
    admin.run(&format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname '{db}');
         ALTER ROLE {auth} PASSWORD 'known'; GRANT SELECT ON vault TO {auth};
         CREATE USER MAPPING FOR {auth} SERVER self OPTIONS (user '{auth}', password 'known');
         CREATE FOREIGN TABLE far (secret text) SERVER self OPTIONS (table_name 'vault');
         GRANT SELECT ON far TO {auth}, {reader}",
        port = g.f.admin().text("SHOW port"),
        db = g.f.name,
        auth = g.auth,
        reader = g.reader,
    ));
    let mut s = g.login();
    assert_eq!(s.text("SELECT secret FROM far"), SECRET_ROW);
    s.run(&format!(
        "BEGIN; {}; SAVEPOINT s",
        switch(&g.token(json!({})))
    ));
    s.denied("SELECT secret FROM far", "42704");
    s.run("ROLLBACK TO s");
    s.denied("CREATE USER MAPPING FOR CURRENT_USER SERVER self", "42501");
    s.run("ROLLBACK TO s");
    s.denied(
        &format!(
            "ALTER USER MAPPING FOR {} SERVER self OPTIONS (SET user 'postgres')",
            g.auth
        ),
        "42501",
    );
    s.run("ROLLBACK");
}

/// Settings of a role hold from its next login on; whoever is locked may set their own.
#[test]
fn own_settings_do_not_reach_the_locked_session() {
    let g = Gate::new("lock_own_settings");
    let mut s = g.login();
    for setting in ["role = 'none'", "search_path = public", "scope.switch = ''"] {
        s.run(&format!(
            "BEGIN; {}; SAVEPOINT s",
            switch(&g.token(json!({})))
        ));
        // To refuse is as good.
        if s.attempt(&format!("ALTER ROLE CURRENT_USER SET {setting}"))
            .is_err()
        {
            s.run("ROLLBACK TO s");
        }
        assert_eq!(s.text("SELECT current_user"), g.reader);
        s.refused("RESET ROLE", "42501");
        s.run("ROLLBACK");
    }
}

/// PostgreSQL would refuse them too, in words that do not tell why.
#[test]
fn refusals_say_what_is_locked() {
    let mut s = STAGE.login();
    for (attack, message) in [
        (
            "SET ROLE {writer}",
            "the role of this transaction was set by a token and is locked",
        ),
        (
            "RESET ROLE",
            "the role of this transaction was set by a token and is locked",
        ),
        (
            "RESET SESSION AUTHORIZATION",
            "the session authorization is locked while a token's role is active",
        ),
        (
            "SET request.jwt.claims = ''",
            "the claims of this transaction come from a token and are locked",
        ),
        (
            "DISCARD ALL",
            "DISCARD ALL is not allowed while a token's role is active",
        ),
    ] {
        STAGE.lock(&mut s);
        assert_eq!(s.refused(&STAGE.fill(attack), "42501").message, message);
        s.run("ROLLBACK");
    }
}
