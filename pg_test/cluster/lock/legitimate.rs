//! What the lock must not stand in the way of.

use super::{SECRET_ROW, STAGE};
use crate::harness::*;
use crate::jwt::switch;

#[test]
fn security_definer_function_works_and_returns_to_the_locked_role() {
    let mut s = STAGE.login();
    STAGE.lock(&mut s);
    assert_eq!(s.text("SELECT definer()"), format!("postgres {SECRET_ROW}"));
    STAGE.assert_locked(&mut s);
    assert_eq!(s.column("SELECT definer() FROM orders").len(), 2);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
}

/// PostgreSQL itself forbids a change of role in SECURITY DEFINER code; the lock must not weaken that.
#[test]
fn security_definer_function_cannot_change_the_role() {
    let gate = &STAGE.gate;
    gate.f.admin().run(&format!(
        "CREATE FUNCTION definer_resets() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RESET ROLE; RETURN current_user; END $$;
         CREATE FUNCTION definer_config() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT set_config('role', NULL, true) $$;
         CREATE FUNCTION definer_clause() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET role = '{auth}' AS $$ BEGIN RETURN current_user; END $$;
         CREATE FUNCTION definer_auth() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN SET SESSION AUTHORIZATION DEFAULT; RETURN current_user; END $$",
        auth = gate.auth
    ));
    let mut s = STAGE.login();
    for function in [
        "definer_resets",
        "definer_config",
        "definer_clause",
        "definer_auth",
    ] {
        STAGE.lock(&mut s);
        s.run("SAVEPOINT s");
        s.denied(&format!("SELECT {function}()"), "42501");
        s.run("ROLLBACK TO s");
        STAGE.assert_locked(&mut s);
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

#[test]
fn ordinary_work_goes_on() {
    let mut s = STAGE.login();
    s.run(
        "CREATE FUNCTION pg_temp.tidy() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog SET work_mem = '1MB'
             AS $$ BEGIN RETURN current_user; END $$",
    );
    STAGE.lock(&mut s);
    s.run(
        "SET LOCAL statement_timeout = '1min'; SET LOCAL search_path = public; SET work_mem = '8MB'; RESET work_mem; SHOW ALL;
         SET LOCAL my.setting = 'x'; SET LOCAL request.path = '/x';
         SELECT set_config('my.other', 'y', true), set_config('request.headers', '{}', true), set_config('work_mem', NULL, true);
         INSERT INTO inbox VALUES ('hello'); UPDATE inbox SET x = 'bye'; DELETE FROM inbox;
         CREATE TEMP TABLE scratch (x int); INSERT INTO scratch SELECT generate_series(1, 10); ANALYZE scratch; DROP TABLE scratch;
         LISTEN c; NOTIFY c; UNLISTEN c; LOCK TABLE orders IN ACCESS SHARE MODE;
         SAVEPOINT a; SAVEPOINT b; ROLLBACK TO a; RELEASE a;
         DECLARE c CURSOR FOR SELECT * FROM orders; FETCH c; CLOSE c;
         PREPARE p AS SELECT * FROM orders; EXECUTE p; DEALLOCATE p; DISCARD PLANS;
         SET CONSTRAINTS ALL IMMEDIATE; SET TRANSACTION READ ONLY",
    );
    assert_eq!(s.text("SELECT pg_temp.tidy()"), STAGE.gate.reader);
    STAGE.assert_locked(&mut s);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
}

#[test]
fn a_session_that_never_switches_is_left_alone() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill(
        "SET ROLE {writer}; RESET ROLE; SET SESSION AUTHORIZATION {auth}; RESET SESSION AUTHORIZATION; RESET ALL;
         BEGIN; SET LOCAL ROLE {reader}; COMMIT; SELECT set_config('role', 'none', false)",
    ));
    s.run("DISCARD ALL");
    STAGE.assert_free_and_usable(&mut s);
    STAGE.gate.f.admin().run(&STAGE.fill(
        "SET SESSION AUTHORIZATION {auth}; SELECT secret FROM vault; RESET SESSION AUTHORIZATION; SET ROLE {reader}; RESET ROLE",
    ));
}

/// The superuser may change who they log in as for a session; the token then counts for that user.
#[test]
fn under_a_changed_session_authorization_the_lock_holds_too() {
    let mut s = STAGE.gate.f.admin();
    s.run(&STAGE.fill("SET SESSION AUTHORIZATION {auth}"));
    STAGE.lock(&mut s);
    for attack in [
        "RESET SESSION AUTHORIZATION",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET SESSION AUTHORIZATION postgres",
        "RESET ROLE",
    ] {
        s.run("SAVEPOINT s");
        s.refused(attack, "42501");
        s.run("ROLLBACK TO s");
        STAGE.assert_locked(&mut s);
    }
    s.run("COMMIT; RESET SESSION AUTHORIZATION");
    assert_eq!(s.text("SELECT current_user"), "postgres");
}

/// Two sessions of one login, one locked and one not, do not touch each other.
#[test]
fn the_lock_is_the_sessions_own() {
    let (mut one, mut two) = (STAGE.login(), STAGE.login());
    STAGE.lock(&mut one);
    STAGE.assert_free_and_usable(&mut two);
    STAGE.assert_locked(&mut one);
    one.run("COMMIT");
}

#[test]
fn a_role_renamed_while_locked_is_still_the_same_role() {
    let gate = &STAGE.gate;
    let role = format!("{}_old_name", gate.f.name);
    gate.f.admin().run(&format!(
        "CREATE ROLE {role}; GRANT {role} TO {}",
        gate.auth
    ));
    let mut s = STAGE.login();
    s.run(&format!(
        "BEGIN; {}",
        switch(&gate.token(serde_json::json!({"role": role})))
    ));
    gate.f.admin().run(&format!(
        "ALTER ROLE {role} RENAME TO {}_new_name",
        gate.f.name
    ));
    // A session hears of changes to the catalogues when it next locks a table.
    s.rows("SELECT * FROM pg_catalog.pg_am");
    assert_eq!(
        s.text("SELECT current_user"),
        format!("{}_new_name", gate.f.name)
    );
    s.run("SAVEPOINT s");
    s.refused("RESET ROLE", "42501");
    s.run("ROLLBACK");
    STAGE.assert_free_and_usable(&mut s);
}

/// Where the lock is not the cause, PostgreSQL's refusal stays as it is: to end the switch would help nobody.
#[test]
fn a_refusal_that_is_not_of_the_lock_says_nothing_of_it() {
    STAGE.gate.f.admin().run(&STAGE.fill(
        "CREATE TABLE guarded_rows (x int); ALTER TABLE guarded_rows ENABLE ROW LEVEL SECURITY; \
         GRANT INSERT ON guarded_rows TO {reader}; CREATE FUNCTION not_for_you() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         REVOKE ALL ON FUNCTION not_for_you FROM public; CREATE SCHEMA closed; CREATE TABLE closed.t (x int)",
    ));
    let mut s = STAGE.login();
    STAGE.lock(&mut s);
    s.run("SAVEPOINT s");
    for sql in [
        "SELECT * FROM vault",
        "SELECT * FROM closed.t",
        "SELECT not_for_you()",
        "INSERT INTO guarded_rows VALUES (1)",
        "DROP TABLE vault",
        "DO $$ BEGIN RAISE insufficient_privilege USING MESSAGE = 'not on Sundays'; END $$",
        "SET session_preload_libraries = 'x'",
    ] {
        let refusal = s.denied(sql, "42501");
        assert!(
            refusal.hint.is_empty() && refusal.detail.is_empty(),
            "{sql}: {refusal}"
        );
        s.run("ROLLBACK TO s");
    }
    // Where it is the cause, it says so.
    let refusal = s.refused("SELECT set_config('role', 'none', true)", "42501");
    assert!(refusal.hint.contains("COMMIT"), "{refusal}");
    s.run("ROLLBACK");
}

/// BEGIN is what people forget first: the switch has gone with its statement.
#[test]
fn an_authenticator_without_begin_is_told_so() {
    super::leftovers::POOL.g.f.admin().run(
        "CREATE SCHEMA closed_to_all; CREATE TABLE closed_to_all.t (x int); \
         CREATE TABLE nobodys (x int); CREATE FUNCTION reads_as_nobody() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM nobodys'; \
         CREATE ROLE lock_nobody; ALTER FUNCTION reads_as_nobody OWNER TO lock_nobody",
    );
    let mut s = super::leftovers::POOL.connect();
    s.run(&super::leftovers::POOL.attacker);
    for protocol in [Protocol::Simple, Protocol::Extended] {
        for sql in [
            "SELECT * FROM nobodys",
            "INSERT INTO nobodys VALUES (1)",
            "SELECT * FROM closed_to_all.t",
        ] {
            let refusal = s.attempt_by(protocol, sql).expect_err(sql);
            assert_eq!(refusal.code, "42501", "{refusal}");
            assert!(
                refusal.message.starts_with("permission denied for "),
                "{refusal}"
            );
            assert!(
                refusal.detail.contains("authenticator") && refusal.hint.starts_with("BEGIN"),
                "{refusal}"
            );
        }
    }
    // It is another role that lacks something here.
    let refusal = s.denied("SELECT reads_as_nobody()", "42501");
    assert!(refusal.hint.is_empty(), "{refusal}");
}
