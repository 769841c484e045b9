//! What ALTER ROLE … SET says of a role holds while a token has switched to it, as after a login.

use serde_json::json;

use super::{Gate, end_session, switch, switch_session};
use crate::harness::*;

fn shown(s: &mut Session, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| {
            s.text(&format!(
                "SELECT coalesce(current_setting('{name}', true), '')"
            ))
        })
        .collect()
}

#[test]
fn the_roles_own_settings_hold_for_the_switch_and_end_with_it() {
    let g = Gate::new("role_settings");
    let mut admin = g.f.admin();
    let names = [
        "statement_timeout",
        "search_path",
        "TimeZone",
        "app.plan",
        "work_mem",
    ];
    admin.run("CREATE DATABASE role_settings_other");
    admin.run(&format!(
        "CREATE SCHEMA shop;
         ALTER ROLE {r} SET statement_timeout = '3s'; ALTER ROLE {r} SET search_path = shop, public;
         ALTER ROLE {r} SET timezone = 'Europe/Zurich'; ALTER ROLE {r} SET app.plan = 'free';
         ALTER ROLE {r} IN DATABASE role_settings SET statement_timeout = '7s';
         ALTER ROLE {r} IN DATABASE role_settings_other SET work_mem = '99MB'",
        r = g.reader
    ));
    let token = g.token(json!({}));
    let mut s = g.login();
    let before = shown(&mut s, &names);
    for end in ["COMMIT", "ROLLBACK"] {
        s.run(&format!("BEGIN; {}", switch(&token)));
        assert_eq!(
            shown(&mut s, &names),
            ["7s", "shop, public", "Europe/Zurich", "free", &before[4]]
        );
        // What the role starts with is no limit.
        s.run("SET LOCAL statement_timeout = '9s'");
        assert_eq!(s.text("SHOW statement_timeout"), "9s");
        s.run(end);
        assert_eq!(shown(&mut s, &names), before, "after {end}");
    }
    s.run(&format!(
        "BEGIN; SAVEPOINT a; {}; ROLLBACK TO a",
        switch(&token)
    ));
    assert_eq!(shown(&mut s, &names), before);
    s.run(&format!(
        "{}; ROLLBACK",
        switch(&g.token(json!({"role": g.writer})))
    ));
    // Another role has its own, a role without any none.
    s.run(&format!(
        "BEGIN; {}",
        switch(&g.token(json!({"role": g.writer})))
    ));
    assert_eq!(shown(&mut s, &names), before);
    s.run("COMMIT");
    // What is changed holds from the next switch on, with a token that is known already.
    s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    for (change, timeout) in [
        (
            "IN DATABASE role_settings SET statement_timeout = '8s'",
            "8s",
        ),
        ("IN DATABASE role_settings RESET statement_timeout", "3s"),
        ("RESET ALL", "0"),
    ] {
        admin.run(&format!("ALTER ROLE {} {change}", g.reader));
        s.run(&format!("BEGIN; {}", switch(&token)));
        assert_eq!(s.text("SHOW statement_timeout"), timeout, "{change}");
        s.run("COMMIT");
    }
    // It cancels, as it would after a login.
    admin.run(&format!(
        "ALTER ROLE {} SET statement_timeout = '200ms'",
        g.reader
    ));
    s.run(&format!("BEGIN; {}", switch(&token)));
    s.denied("SELECT pg_sleep(20)", "57014");
    s.run("ROLLBACK; SELECT pg_sleep(0.4)");
    admin.run("DROP DATABASE role_settings_other");
}

#[test]
fn a_switch_of_the_session_has_them_until_it_ends() {
    let g = Gate::new("role_settings_s");
    g.f.admin().run(&format!(
        "ALTER ROLE {r} SET work_mem = '5MB'; ALTER ROLE {r} SET timezone = 'Asia/Tokyo'",
        r = g.reader
    ));
    let names = ["work_mem", "TimeZone"];
    let token = g.token(json!({}));
    let mut s = g.login();
    s.run("SET work_mem = '6MB'");
    let before = shown(&mut s, &names);
    s.run(&switch_session(&token));
    assert_eq!(shown(&mut s, &names), ["5MB", "Asia/Tokyo"]);
    s.run(&format!("BEGIN; {}; ROLLBACK", end_session(&token)));
    assert_eq!(shown(&mut s, &names), ["5MB", "Asia/Tokyo"]);
    s.run(&end_session(&token));
    assert_eq!(shown(&mut s, &names), before);
}

/// Only what everybody may set, nothing that says who acts or what the token claims, and a value that is none does no harm.
#[test]
fn settings_of_a_role_that_would_undo_the_lock() {
    let g = Gate::new("role_settings_l");
    let mut admin = g.f.admin();
    let (reader, writer) = (&g.reader, &g.writer);
    for set in [
        format!("role = '{writer}'"),
        "session_authorization = 'postgres'".into(),
        "request.jwt.claims = '{\"sub\":\"eve\"}'".into(),
        "request.jwt.claim.sub = 'eve'".into(),
        "session_replication_role = 'replica'".into(),
        "log_statement = 'none'".into(),
        "scope.switch = ''".into(),
        "default_tablespace = 'gone'".into(),
        "app.seen = 'yes'".into(),
    ] {
        // Some PostgreSQL itself does not take.
        let _taken = admin.attempt(&format!("ALTER ROLE {reader} SET {set}"));
    }
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_eq!(
        s.text("SELECT concat_ws(' ', current_user, current_setting('role'), current_setting('request.jwt.claims')::json->>'sub', \
                current_setting('session_replication_role'), current_setting('app.seen', true), current_setting('request.jwt.claim.sub', true))"),
        format!("{reader} {reader} ann origin yes ann")
    );
    s.refused("RESET ROLE", "42501");
    s.run("ROLLBACK");
    s.assert_that("current_user = session_user");
}

/// A role may change its own settings, by PostgreSQL's rules: whoever takes it next would begin with them.
#[test]
fn settings_of_its_own_role_for_the_next() {
    own_settings_are_refused(&Gate::new("role_settings_p"));
}

/// A password for the role that a token gives would open it without one.
#[test]
fn attack_a_password_for_the_role_of_a_token() {
    let g = Gate::new("role_password");
    let mut admin = g.f.admin();
    let (reader, ann) = (&g.reader, g.f.role("ann", "LOGIN"));
    admin.run(&format!(
        "ALTER ROLE {reader} LOGIN PASSWORD 'orig'; GRANT {reader} TO {ann}"
    ));
    admin.handed(&format!(
        "scope.create_authenticator('role_password_api', '{{{reader}}}')"
    ));
    let verifier = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{reader}'");
    let before = admin.text(&verifier);
    for login in [&g.auth, &ann, "role_password_api"] {
        let mut s = g.f.login(login);
        for set in [
            "ALTER ROLE CURRENT_USER PASSWORD 'evil'",
            "DO $$ BEGIN ALTER ROLE CURRENT_USER PASSWORD 'evil'; END $$",
            "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
               $$ BEGIN ALTER ROLE CURRENT_USER PASSWORD 'evil'; END $$; SELECT pg_temp.f()",
        ] {
            s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
            s.refused(set, "42501");
            s.run("ROLLBACK");
        }
    }
    // Nor by code that it leaves for others to run.
    let mut own = g.f.login(reader);
    own.run(
        "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN ALTER ROLE CURRENT_USER PASSWORD 'evil'; END $$",
    );
    admin.run(&format!(
        "CREATE SCHEMA his AUTHORIZATION {reader}; GRANT USAGE ON SCHEMA his TO PUBLIC"
    ));
    own.run(
        "CREATE FUNCTION his.f() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN ALTER ROLE CURRENT_USER PASSWORD 'evil'; END $$",
    );
    g.f.login(&ann).refused("SELECT his.f()", "42501");
    admin.refused("SELECT his.f()", "42501");
    assert_eq!(admin.text(&verifier), before);
    // In its own session it has its own password.
    own.run("ALTER ROLE CURRENT_USER PASSWORD 'other'");
    assert_ne!(admin.text(&verifier), before);
}

/// The same of a role that can log in, whose login is not a token's; nor does its code, wherever it runs.
#[test]
fn attack_settings_of_a_login_that_tokens_take() {
    let g = Gate::new("role_settings_n");
    let mut admin = g.f.admin();
    let reader = &g.reader;
    admin.run(&format!(
        "ALTER ROLE {reader} LOGIN; CREATE SCHEMA his AUTHORIZATION {reader}"
    ));
    own_settings_are_refused(&g);
    admin.run(&format!(
        "CREATE ROLE role_settings_n_group; GRANT {reader} TO role_settings_n_group"
    ));
    admin.handed("scope.create_authenticator('role_settings_n_api', '{role_settings_n_group}')");
    let mut own = g.f.login(reader);
    own.refused("ALTER ROLE CURRENT_USER SET search_path = his", "42501");
    own.run(
        "CREATE TABLE his.t (i int); INSERT INTO his.t VALUES (1);
         CREATE FUNCTION his.plant(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
           $$ BEGIN EXECUTE 'ALTER ROLE CURRENT_USER SET search_path = his'; RETURN i; EXCEPTION WHEN OTHERS THEN RETURN i; END $$;
         CREATE INDEX ON his.t (his.plant(i))",
    );
    admin.run("ANALYZE his.t");
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setrole = '{reader}'::regrole)"
    ));
    // A login that no token takes has its own.
    let free = g.f.role("free", "LOGIN");
    g.f.login(&free)
        .run("ALTER ROLE CURRENT_USER SET search_path = his; ALTER ROLE CURRENT_USER RESET ALL");
}

fn own_settings_are_refused(g: &Gate<'_>) {
    let mut s = g.login();
    for set in [
        "ALTER ROLE CURRENT_USER SET search_path = evil".to_owned(),
        format!("ALTER ROLE {} SET statement_timeout = 1", g.reader),
        format!(
            "ALTER ROLE {} IN DATABASE {} SET statement_timeout = 1",
            g.reader, g.f.name
        ),
        "ALTER ROLE CURRENT_USER RESET ALL".into(),
        "ALTER ROLE CURRENT_USER PASSWORD 'evil'".into(),
        "ALTER ROLE CURRENT_USER PASSWORD NULL".into(),
        "DO $$ BEGIN ALTER ROLE CURRENT_USER SET search_path = evil; END $$".into(),
    ] {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
            let refusal = s.attempt_by(protocol, &set).expect_err(&set);
            assert_eq!(refusal.code, "42501", "{set}: {refusal}");
            assert!(
                !refusal.detail.is_empty() && !refusal.hint.is_empty(),
                "{set}: {refusal}"
            );
            s.run("ROLLBACK");
        }
    }
    g.f.admin().assert_that(&format!(
        "NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setrole = '{}'::regrole)",
        g.reader
    ));
}

#[test]
fn a_rollback_brings_back_what_an_earlier_switch_of_the_session_will_give_back() {
    let g = Gate::new("role_settings_b");
    g.f.admin().run(&format!(
        "ALTER ROLE {r} SET work_mem = '5MB'; ALTER ROLE {w} SET timezone = 'Asia/Tokyo'; ALTER ROLE {w} SET work_mem = '9MB'",
        r = g.reader,
        w = g.writer
    ));
    let names = ["work_mem", "TimeZone"];
    let first = g.token(json!({}));
    let second = g.token(json!({"role": g.writer}));
    for (undo, agains) in [
        ("ROLLBACK", [&second, &first]),
        ("ROLLBACK TO a; COMMIT", [&second, &second]),
    ] {
        let mut s = g.login();
        s.run("SET work_mem = '6MB'");
        let before = shown(&mut s, &names);
        s.run(&switch_session(&first));
        for again in agains {
            s.run(&format!("BEGIN; SAVEPOINT a; {}", end_session(&first)));
            s.run("SET work_mem = '7MB'");
            s.run(&switch_session(again));
            s.run(undo);
            assert_eq!(shown(&mut s, &names), ["5MB", &before[1]], "{undo}");
        }
        s.run(&end_session(&first));
        assert_eq!(shown(&mut s, &names), before, "{undo}");
        // Nor is anything of the second left, once it was there for good.
        s.run("SET work_mem = '6MB'");
        s.run(&switch_session(&first));
        s.run(&format!("BEGIN; {}", end_session(&first)));
        s.run(&switch_session(&second));
        s.run("COMMIT");
        assert_eq!(shown(&mut s, &names), ["9MB", "Asia/Tokyo"]);
        s.run(&end_session(&second));
        assert_eq!(shown(&mut s, &names), before, "{undo}");
    }
}

/// As functions that wrap others are to be written.
#[test]
fn a_wrapper_with_a_set_clause_leaves_the_role_its_settings() {
    let g = Gate::new("role_settings_w");
    g.f.admin().run(&format!(
        "CREATE SCHEMA shop; CREATE TABLE shop.goods (i int); GRANT USAGE ON SCHEMA shop TO {r}; GRANT SELECT ON shop.goods TO {r};
         ALTER ROLE {r} SET search_path = shop, public; ALTER ROLE {r} SET work_mem = '5MB';
         CREATE FUNCTION enter(token text) RETURNS name LANGUAGE sql SET search_path = pg_catalog AS 'SELECT scope.set_jwt_role(token)';
         CREATE FUNCTION enter_deeply(token text) RETURNS name LANGUAGE plpgsql SET search_path = public SET work_mem = '7MB' AS
           $$ BEGIN PERFORM 1; PERFORM enter(token); PERFORM 1; RETURN current_user; END $$;
         CREATE FUNCTION enter_for_good(token text) RETURNS name LANGUAGE sql SET search_path = pg_catalog AS 'SELECT scope.set_jwt_session(token)'",
        r = g.reader
    ));
    let names = ["search_path", "work_mem"];
    let token = g.token(json!({}));
    let mut s = g.login();
    let before = shown(&mut s, &names);
    for function in ["enter", "enter_deeply"] {
        s.run(&format!("BEGIN; SELECT {function}({})", literal(&token)));
        s.rows("SELECT * FROM goods");
        assert_eq!(shown(&mut s, &names), ["shop, public", "5MB"], "{function}");
        s.run("COMMIT");
        assert_eq!(shown(&mut s, &names), before);
        // What is undone is not made up for.
        s.run(&format!(
            "BEGIN; SAVEPOINT a; SELECT {function}({}); ROLLBACK TO a",
            literal(&token)
        ));
        assert_eq!(shown(&mut s, &names), before);
        s.run("ROLLBACK");
        s.fails(&format!(
            "SELECT {function}({}), 1 / (length(current_user) - length(current_user))",
            literal(&token)
        ));
        assert_eq!(shown(&mut s, &names), before);
    }
    s.run(&format!("SELECT enter_for_good({})", literal(&token)));
    assert_eq!(shown(&mut s, &names), ["shop, public", "5MB"]);
    s.run(&end_session(&token));
    assert_eq!(shown(&mut s, &names), before);
}
