//! Ways out of the gate and the lock that a review found, each as the attack that it was.

use serde_json::json;

use super::{Gate, assert_itself, assert_switched, switch, switch_session};
use crate::harness::*;

/// A gate whose login is an authenticator, with a schema that everyone may create in.
fn gated(name: &str) -> (Gate<'static>, String) {
    let g = Gate::new(name);
    let login = format!("{name}_gated");
    let mut admin = g.f.admin();
    admin.rows(&format!(
        "SELECT scope.create_authenticator('{login}', '{{{},{}}}')",
        g.reader, g.writer
    ));
    admin.run("CREATE SCHEMA open; GRANT ALL ON SCHEMA open TO PUBLIC");
    (g, login)
}

#[test]
fn a_gated_login_cannot_give_a_function_to_a_role_of_its_tokens() {
    let (g, login) = gated("esc_owner");
    let mut s = g.f.login(&login);
    s.refused(
        "CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM orders'",
        "42501",
    );
    for sql in [
        format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT ALL ON TABLES TO PUBLIC",
            g.writer
        ),
        format!("CREATE SCHEMA AUTHORIZATION {}", g.reader),
        format!("REASSIGN OWNED BY {login} TO {}", g.reader),
        "CREATE TEMP TABLE t (x int)".to_owned(),
        format!("ALTER ROLE {login} SET search_path = open"),
        format!("ALTER ROLE {login} PASSWORD 'stolen'"),
        "LISTEN news".to_owned(),
    ] {
        s.refused(&sql, "42501");
        s.refused(&format!("DO $x$ BEGIN {sql}; END $x$"), "42501");
        assert_itself(&mut s, &login);
    }
}

#[test]
fn a_locked_role_cannot_give_a_function_to_a_role_that_it_is_a_member_of() {
    let g = Gate::new("esc_locked_owner");
    let mut admin = g.f.admin();
    let boss = g.f.role("boss", "NOLOGIN");
    admin.run(&format!(
        "GRANT {boss} TO {}; GRANT CREATE ON DATABASE {} TO {}; GRANT ALL ON SCHEMA public TO PUBLIC",
        g.reader, g.f.name, g.reader
    ));
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    s.run(
        "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';
         CREATE TABLE public.esc_t (x int); SAVEPOINT s",
    );
    for sql in [
        format!("ALTER FUNCTION pg_temp.f() OWNER TO {boss}"),
        format!("ALTER TABLE public.esc_t OWNER TO {boss}"),
        format!("CREATE SCHEMA AUTHORIZATION {boss}"),
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {boss} GRANT ALL ON TABLES TO PUBLIC"),
        format!("REASSIGN OWNED BY {} TO {boss}", g.reader),
    ] {
        s.refused(&sql, "42501");
        s.run("ROLLBACK TO s");
        s.refused(&format!("DO $x$ BEGIN {sql}; END $x$"), "42501");
        s.run("ROLLBACK TO s");
        assert_switched(&mut s, &g.reader);
    }
    s.run("ROLLBACK");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn a_database_cannot_be_made_for_another_role() {
    let g = Gate::new("esc_database");
    let boss = g.f.role("boss", "NOLOGIN");
    g.f.admin().run(&format!(
        "ALTER ROLE {} CREATEDB; GRANT {boss} TO {}",
        g.reader, g.reader
    ));
    let mut s = g.login();
    s.run(&switch_session(&g.token(json!({}))));
    s.refused(
        &format!("CREATE DATABASE esc_database_made OWNER {boss}"),
        "42501",
    );
}

#[test]
fn the_gate_holds_in_parallel_workers() {
    let (g, login) = gated("esc_parallel");
    let mut admin = g.f.admin();
    // Anybody's function: its owner need not be a member of the role in its SET clause.
    admin.run(&format!(
        "CREATE FUNCTION open.g() RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL SAFE SET role = '{}'
            AS $$ BEGIN RETURN (SELECT count(*) FROM public.orders); END $$;
         CREATE TABLE open.few AS SELECT generate_series(1, 3) x; GRANT SELECT ON open.few TO PUBLIC",
        g.reader
    ));
    let mut s = g.f.login(&login);
    let force = if g.f.server.version() >= 160_000 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    s.denied("SELECT open.g()", "42501");
    s.run(&format!("SET {force} = on"));
    s.denied("SELECT open.g() FROM open.few", "42501");
    assert_itself(&mut s, &login);
}

#[test]
fn a_revocation_reaches_a_switch_that_a_rollback_brought_back() {
    let g = Gate::new("esc_revoked");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let token = g.token(json!({"jti": "esc"}));
    s.rows(&format!(
        "SELECT scope.set_jwt_session({})",
        literal(&token)
    ));
    s.run(&format!(
        "BEGIN; SELECT scope.end_jwt_session({}); ROLLBACK",
        literal(&token)
    ));
    assert_switched(&mut s, &g.reader);
    admin.rows("SELECT scope.revoke_token('esc', 'infinity')");
    s.refused_with("SELECT * FROM orders", "28000", "revoked");
}

#[test]
fn reading_and_writing_all_data_is_not_reading_and_writing_keys() {
    let g = Gate::new("esc_all_data");
    let mut admin = g.f.admin();
    admin.rows("SELECT scope.add_jwt_issuer('a', 'https://a', repeat('k', 32)), scope.revoke_token('j', 'infinity')");
    let all =
        g.f.role("all", "LOGIN IN ROLE pg_read_all_data, pg_write_all_data");
    let mut s = g.f.login(&all);
    assert!(s.rows("SELECT * FROM _scope.jwt_issuer_secret").is_empty());
    s.assert_that("(SELECT keys IS NULL FROM _scope.jwt_issuer)");
    for table in [
        "jwt_issuer",
        "jwt_issuer_secret",
        "jwt_revoked_token",
        "jwt_revoked_subject",
    ] {
        s.denied(&format!("DELETE FROM _scope.{table}"), "42501");
    }
    s.denied(
        "INSERT INTO _scope.jwt_issuer (name, issuer, keys) VALUES ('x', 'https://x', repeat('k', 32))",
        "42501",
    );
    admin.assert_that("(SELECT count(*) = 1 FROM _scope.jwt_issuer)");
    admin.assert_that("(SELECT count(*) = 1 FROM _scope.jwt_revoked_token)");
}

#[test]
fn a_cached_token_does_not_outlive_the_registration_of_its_issuer() {
    let g = Gate::new("esc_registered");
    let mut s = g.login();
    let token = g.token(json!({"iss": "https://late"}));
    for _ in 0..2 {
        s.run(&format!("BEGIN; {}; ROLLBACK", switch(&token)));
    }
    g.f.admin()
        .rows("SELECT scope.add_jwt_issuer('late', 'https://late', repeat('k', 32))");
    s.refused_with(&switch(&token), "28000", "bad_signature");
}

#[test]
fn a_cursor_that_was_opened_in_time_cannot_be_read_too_late() {
    let g = Gate::new("esc_cursor");
    let mut s = g.login();
    let brief = g.token(json!({"exp": now() - 30 + 3}));
    s.run(&format!(
        "BEGIN; {}; DECLARE c CURSOR FOR SELECT * FROM orders",
        switch(&brief)
    ));
    s.refused_with(
        "DO $x$ DECLARE r record; c refcursor; BEGIN
             OPEN c FOR SELECT * FROM orders;
             BEGIN PERFORM pg_sleep(30); EXCEPTION WHEN OTHERS THEN NULL; END;
             FETCH c INTO r; RAISE EXCEPTION 'read %', r;
         END $x$",
        "28000",
        "expired",
    );
    s.run("ROLLBACK");
}

#[test]
fn a_null_audience_does_not_turn_the_check_off() {
    let g = Gate::new("esc_null");
    let mut admin = g.f.admin();
    for option in ["audiences", "algorithms", "allowed_roles"] {
        admin.refused(
            &format!("SELECT scope.add_jwt_issuer('n', 'https://n', repeat('k', 32), {option} => ARRAY[NULL])"),
            "22004",
        );
    }
}

/// Dumps, migrations and ORMs name the owner: oneself is nobody else.
#[test]
fn what_names_oneself_as_the_owner_is_not_refused() {
    let g = Gate::new("esc_oneself");
    let boss = g.f.role("boss", "NOLOGIN");
    let me = &g.reader;
    g.f.admin().run(&format!(
        "ALTER ROLE {me} CREATEDB; GRANT CREATE ON DATABASE {} TO {me}; GRANT {boss} TO {me}",
        g.f.name
    ));
    let mut s = g.login();
    s.run(&switch_session(&g.token(json!({}))));
    for name in [me.as_str(), "CURRENT_USER", "CURRENT_ROLE"] {
        s.run("BEGIN");
        for sql in [
            "CREATE SCHEMA q AUTHORIZATION {}",
            "CREATE TABLE q.t (x int); ALTER TABLE q.t OWNER TO {}",
            "ALTER SCHEMA q OWNER TO {}",
            "CREATE FUNCTION q.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION q.f() OWNER TO {}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA q GRANT SELECT ON TABLES TO PUBLIC",
            "ALTER DEFAULT PRIVILEGES FOR USER {}, {} GRANT SELECT ON TABLES TO PUBLIC",
            "REASSIGN OWNED BY {} TO {}",
        ] {
            s.run(&sql.replace("{}", name));
        }
        s.run("SAVEPOINT s");
        for sql in [
            format!("ALTER TABLE q.t OWNER TO {name}, OWNER TO {boss}"),
            format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {name}, {boss} GRANT ALL ON TABLES TO PUBLIC"
            ),
            format!("REASSIGN OWNED BY {name} TO {boss}"),
            "ALTER TABLE q.t OWNER TO SESSION_USER".into(),
            "ALTER TABLE q.t OWNER TO \"current_user\"".into(),
        ] {
            let refusal = s.fails(&sql);
            assert!(
                ["42501", "42704"].contains(&refusal.code.as_str()),
                "{sql}: {refusal}"
            );
            s.run("ROLLBACK TO s");
        }
        s.run("ROLLBACK");
    }
    for owner in ["", &format!(" OWNER {me}"), " OWNER DEFAULT"] {
        s.run(&format!("CREATE DATABASE esc_oneself_made{owner}"));
        s.run("DROP DATABASE esc_oneself_made");
    }
    s.refused(
        &format!("CREATE DATABASE esc_oneself_made OWNER {boss}"),
        "42501",
    );
    s.refused(
        "CREATE DATABASE esc_oneself_made OWNER \"CURRENT_USER\"",
        "42501",
    );
}
