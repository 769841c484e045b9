//! What one user of a pooled connection does to the others: to its functions, to what is recorded of them, and to the connection itself.

use serde_json::json;

use super::leftovers::POOL;
use crate::jwt::{Gate, switch, switch_session};

/// PL/pgSQL keeps what a type's name meant at the first call in the session, and looks at none but rows again: with the type gone, each later
/// user's call would fail.
#[test]
fn temporary_type_for_plpgsql_of_the_next_user() {
    let g = &POOL.g;
    g.f.admin().run(
        "CREATE DOMAIN public.mail AS text CHECK (VALUE <> ''); CREATE TYPE public.colour AS ENUM ('r', 'g');
         CREATE FUNCTION public.mailed(i text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, public
             AS $$ DECLARE m mail := i; BEGIN RETURN m; END $$;
         CREATE FUNCTION public.coloured(i text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public
             AS $$ DECLARE c colour := i; BEGIN RETURN c; END $$;
         CREATE FUNCTION public.make_type() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             AS $$ BEGIN CREATE TEMP TABLE made (x int); CREATE DOMAIN pg_temp.mail AS text; END $$",
    );
    let mut s = POOL.connect();
    for made in [
        "CREATE DOMAIN pg_temp.mail AS text",
        "CREATE TYPE pg_temp.colour AS ENUM ('r', 'g')",
        "CREATE TYPE pg_temp.mail AS RANGE (subtype = int)",
        "SET LOCAL search_path = pg_temp; CREATE DOMAIN mail AS text",
        "CREATE TEMP TABLE t (x int); DO $$ BEGIN EXECUTE format('CREATE DOMAIN %I.mail AS text', pg_my_temp_schema()::regnamespace); END $$",
        "SELECT public.make_type()",
    ] {
        s.run(&format!("BEGIN; {}", POOL.attacker));
        s.refused(made, "42501");
        s.run("ROLLBACK");
        s.run(&format!("BEGIN; {}", POOL.victim));
        assert_eq!(s.text("SELECT public.mailed('y')"), "y", "{made}");
        assert_eq!(s.text("SELECT public.coloured('g')"), "g", "{made}");
        s.run("COMMIT");
    }
    // What a driver prepares meanwhile takes no such type for its parameter.
    s.run(&format!("BEGIN; {}", POOL.attacker));
    s.run("CREATE TEMP TABLE t (x int, y int[]); CREATE TEMP VIEW v AS SELECT * FROM t; CREATE TYPE pg_temp.pair AS (a int, b t[])");
    s.run("CREATE TEMP SEQUENCE q; CREATE TEMP TABLE p (x int) PARTITION BY LIST (x); CREATE TEMP TABLE p1 PARTITION OF p DEFAULT");
    s.run("COMMIT");
    // Elsewhere types are nobody's concern, and any other login makes what it likes.
    let mut plain = g.login();
    plain.run(&format!(
        "BEGIN; {}; CREATE DOMAIN pg_temp.mail AS text; COMMIT",
        POOL.attacker
    ));
}

/// Statements that the driver has prepared are kept with their texts, which the log and the audit trail write of every user's.
#[test]
fn prepared_statements_blanked_in_what_is_recorded_of_others() {
    let g = Gate::new("lock_blanked");
    let mut admin = g.f.admin();
    admin.rows(&format!(
        "SELECT scope.create_authenticator('lock_blanked_api', '{{{}}}')",
        g.reader
    ));
    admin.run("ALTER ROLE lock_blanked_api SET log_min_duration_statement = 0");
    let mut s = g.f.login("lock_blanked_api");
    let call = switch(&g.token(json!({})));
    let statement = s
        .client
        .prepare("/* trace=4711 */ SELECT count(*) FROM orders WHERE id < 86753")
        .expect("prepare");
    s.run(&format!("BEGIN; {call}"));
    for list in [
        "SELECT count(*) FROM pg_prepared_statements",
        "SELECT pg_prepared_statement()",
        "SELECT query_to_xml('TABLE pg_prepared_statements', true, true, '')",
        "DO $$ BEGIN PERFORM FROM pg_prepared_statements; END $$",
    ] {
        s.run("SAVEPOINT s");
        s.refused(list, "42501");
        s.run("ROLLBACK TO s");
    }
    s.run("COMMIT");
    s.run(&format!("BEGIN; {call}"));
    s.client.execute(&statement, &[]).expect("a query");
    s.run("COMMIT");
    let log = g.f.server.log();
    assert!(log.contains("trace=4711 */ SELECT count(*) FROM orders WHERE id < 86753"));
    // Nobody else's is kept from them.
    let mut plain = g.login();
    plain.run("PREPARE p AS SELECT 42");
    assert_eq!(
        plain.text("SELECT statement FROM pg_prepared_statements WHERE name = 'p'"),
        "PREPARE p AS SELECT 42"
    );
}

/// COMMIT, and a switch of the session by one's own token: nobody else could use the connection any more.
#[test]
fn session_switch_that_takes_a_pooled_connection() {
    let mut s = POOL.connect();
    let own = POOL.g.token(json!({"sub": "evil"}));
    for switch in [
        switch_session(&own),
        "SELECT scope.set_jwt_session(NULL)".into(),
    ] {
        s.run(&format!("BEGIN; {}", POOL.attacker));
        s.run("COMMIT");
        s.attempt(&switch).expect_err("no session switch");
        s.run(&format!("BEGIN; {}", POOL.victim));
        assert_eq!(s.text("SELECT current_user"), POOL.g.writer);
        s.run("COMMIT");
    }
    let refusal = s.refused(&switch_session(&own), "42501");
    assert!(
        refusal.hint.contains("scope_roles.session_switches"),
        "{refusal}"
    );
    // No user of it can allow it.
    for sql in [
        "SET scope_roles.session_switches = on",
        "SELECT set_config('scope_roles.session_switches', 'on', false)",
    ] {
        s.denied(sql, "42501");
    }
    assert!(
        POOL.g
            .f
            .server
            .try_login_with_options(
                &POOL.login,
                &POOL.g.f.name,
                "-c scope_roles.session_switches=on"
            )
            .is_err()
    );
    // A DBA does, for a service with connections of its own.
    POOL.connect_for_sessions().run(&switch_session(&own));
}

/// COMMIT PREPARED is for its owner, outside of transactions: where an authenticator is itself.
#[test]
fn prepared_transaction_that_nobody_can_finish() {
    let mut s = POOL.connect();
    s.run(&format!("BEGIN; {}; SELECT 1", POOL.attacker));
    let refusal = s.refused("PREPARE TRANSACTION 'lock_unfinished'", "42501");
    assert!(!refusal.hint.is_empty(), "{refusal}");
    s.denied("SELECT 1", "25P02");
    // What has failed is rolled back by it.
    s.run("PREPARE TRANSACTION 'lock_unfinished'");
    s.run("BEGIN");
    s.refused("PREPARE TRANSACTION 'lock_unfinished'", "42501");
    s.run("ROLLBACK");
    let mut s = POOL.connect_for_sessions();
    s.run(&switch_session(&POOL.g.token(json!({}))));
    s.run("BEGIN; SELECT 1; PREPARE TRANSACTION 'lock_finished'");
    s.run("COMMIT PREPARED 'lock_finished'");
    POOL.g.f.admin().assert_that(
        "NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid LIKE 'lock\\_%finished')",
    );
}
