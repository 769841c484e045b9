//! Names that functions of others look up in a pooled connection's session: what their owner has pinned is what they find.

use crate::jwt::{Gate, allow_session_switches, switch, switch_session};

const EVIL: &str = "CREATE FUNCTION pg_temp.evil() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
       RAISE NOTICE 'evil as %', current_user; RETURN 1; END $$;
     CREATE TEMP VIEW orders AS SELECT pg_temp.evil() AS id; CREATE TEMP VIEW pg_roles AS SELECT pg_temp.evil()::pg_catalog.text::name AS rolname;
     CREATE TEMP VIEW ledger AS SELECT pg_temp.evil() AS amount;
     CREATE TEMP TABLE text (x pg_catalog.int4); CREATE TEMP TABLE name (x pg_catalog.int4); CREATE TEMP TABLE jsonb (x pg_catalog.int4);
     CREATE TEMP TABLE oid (x pg_catalog.int4); CREATE TEMP TABLE regclass (x pg_catalog.int4)";

/// Left out of the end of a path, the schema of temporary objects would be looked in first.
#[test]
fn temporary_objects_in_a_definers_pinned_path() {
    let g = Gate::new("lock_paths");
    let login = "lock_paths_api";
    g.f.admin().run(&format!(
        "SELECT scope.create_authenticator('{login}', '{{{},{}}}');
         CREATE FUNCTION n_orders() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS 'SELECT count(*) FROM orders';
         CREATE FUNCTION is_known(r text) RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
           AS 'SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = r)';
         CREATE FUNCTION len(i bytea) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, \"pg_temp\"
           AS $$ DECLARE t text; BEGIN t := length(i)::text; RETURN t; END $$",
        g.reader, g.writer
    ));
    allow_session_switches(&g.f, login);
    let token = g.token(serde_json::json!({}));
    for begin in [
        format!("BEGIN; {}", switch(&token)),
        format!("{}; BEGIN", switch_session(&token)),
    ] {
        let mut s = g.f.login(login);
        s.run(&begin);
        s.run(EVIL);
        s.run("SAVEPOINT s");
        s.notices();
        assert_eq!(s.text("SELECT public.n_orders()"), "2");
        assert_eq!(
            s.text("SELECT public.is_known('nobody')::pg_catalog.text"),
            "false"
        );
        assert_eq!(s.text("SELECT public.len('abc')"), "3");
        // The extension's own functions run as a superuser.
        for call in [
            "scope.effective_access()",
            "scope.who_can('SELECT', 'public.orders')",
            "scope.jwt_claims()",
            "scope.credentials",
            "scope.roles",
            "scope.guards",
            "scope.review()",
            "scope.create_scope('lock_paths_s', '{SELECT}', '{public.orders}')",
            "scope.create_readonly_role('public.orders')",
            "scope.plan('{}')",
            "scope.set_guard('lock_paths_s', max_rows => 1)",
        ] {
            let _refused_or_not = s.attempt(&format!("SELECT * FROM {call}"));
            s.run("ROLLBACK TO s");
        }
        s.run("SET LOCAL search_path = pg_catalog, public, pg_temp");
        let path =
            s.text("SELECT pg_catalog.array_to_string(pg_catalog.current_schemas(true), ' ')");
        assert!(
            path.starts_with("pg_catalog") && path.contains(" pg_temp_"),
            "{path}"
        );
        let said: Vec<_> = s.notices().into_iter().map(|n| n.message).collect();
        let as_himself = format!("evil as {}", g.reader);
        assert!(
            said.iter()
                .all(|n| !n.contains("evil as") || *n == as_himself),
            "{said:?}"
        );
        s.run("ROLLBACK");
    }
}

/// A schema in which another role of the connection may create is not passed over in favour of the caller's temporary objects.
#[test]
fn temporary_objects_behind_a_schema_that_is_left_out() {
    let g = Gate::new("lock_named");
    let login = "lock_named_api";
    g.f.admin().run(&format!(
        "SELECT scope.create_authenticator('{login}', '{{{reader},{writer}}}');
         CREATE SCHEMA app AUTHORIZATION {writer}; GRANT USAGE ON SCHEMA app TO PUBLIC;
         CREATE TABLE app.ledger (amount int); ALTER TABLE app.ledger OWNER TO {writer}; INSERT INTO app.ledger VALUES (10);
         CREATE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = app, pg_temp AS 'SELECT sum(amount) FROM ledger';
         CREATE FUNCTION writers() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = app, pg_temp AS 'SELECT sum(amount) FROM ledger';
         ALTER FUNCTION writers() OWNER TO {writer}",
        reader = g.reader,
        writer = g.writer
    ));
    let mut s = g.f.login(login);
    s.run(&format!(
        "BEGIN; {}",
        switch(&g.token(serde_json::json!({})))
    ));
    assert_eq!(s.text("SELECT public.total()"), "10");
    s.run(EVIL);
    s.notices();
    assert_eq!(s.text("SELECT public.total()"), "10");
    s.refused("SELECT public.writers()", "42501");
    s.run("ROLLBACK");
    let said: Vec<_> = s.notices().into_iter().map(|n| n.message).collect();
    assert!(!said.iter().any(|n| n.contains("evil as")), "{said:?}");
    // As its own owner it is not a function of another role.
    s.run(&format!(
        "BEGIN; {}",
        switch(&g.token(serde_json::json!({"role": g.writer})))
    ));
    s.denied("SELECT public.writers()", "42P01");
    s.run("ROLLBACK");
}
