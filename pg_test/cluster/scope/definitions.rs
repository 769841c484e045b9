//! `scope.create_scope`, `alter_scope`, `drop_scope`, `restrict_function`: what a scope holds, exactly.

use super::scoper;
use crate::harness::*;

/// What `scope.scopes` says that a scope holds.
#[track_caller]
fn privileges(admin: &mut Session, scope: &str) -> Vec<String> {
    admin.column(&format!(
        "SELECT p FROM scope.scopes, unnest(privileges) p WHERE scope = {} ORDER BY p COLLATE \"C\"",
        literal(scope)
    ))
}

/// A session that may do what the scope may do.
fn acting(f: &Fixture, scope: &str) -> Session {
    let mut s = f.admin();
    s.run(&format!("SET ROLE {scope}"));
    s
}

#[test]
fn a_scope_holds_exactly_the_privileges_of_the_call() {
    let f = Fixture::new("define_exact");
    let mut admin = f.admin();
    let name = admin.text(
        "SELECT scope.create_scope('define_exact_s', '{select,Delete}', '{orders}', purpose => 'nightly job')",
    );
    assert_eq!(name, "define_exact_s");
    assert_eq!(
        privileges(&mut admin, &name),
        [
            "CONNECT on database define_exact",
            "DELETE, SELECT on table public.orders",
            "USAGE on schema public"
        ]
    );
    assert_eq!(
        admin.rows("SELECT state, database, created_by, members, last_error, purpose FROM scope.scopes WHERE scope = 'define_exact_s'"),
        [["active", "define_exact", "postgres", "0", "", "nightly job"].map(|cell| (!cell.is_empty()).then(|| cell.to_owned()))]
    );
    admin.assert_that(
        "(SELECT NOT (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) FROM pg_roles
          WHERE rolname = 'define_exact_s')",
    );
    let mut s = acting(&f, &name);
    s.run("DELETE FROM orders WHERE id = 1; SELECT * FROM orders");
    s.denied("INSERT INTO orders VALUES (3, 'x')", "42501");
    s.denied("UPDATE orders SET note = 'x'", "42501");
    s.denied("TRUNCATE orders", "42501");
    s.denied("SELECT * FROM vault", "42501");
}

#[test]
fn every_privilege_of_tables_can_be_held() {
    let f = Fixture::new("define_verbs");
    let mut admin = f.admin();
    let mut verbs = vec![
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "TRUNCATE",
        "REFERENCES",
        "TRIGGER",
    ];
    if f.server.version() >= 170_000 {
        verbs.push("MAINTAIN");
    }
    for verb in &verbs {
        let scope = format!("define_verbs_{}", verb.to_lowercase());
        admin.run(&format!(
            "SELECT scope.create_scope('{scope}', '{{{verb}}}', '{{orders}}')"
        ));
        for other in &verbs {
            assert_eq!(
                admin.holds(&format!(
                    "has_table_privilege('{scope}', 'orders', '{other}')"
                )),
                verb == other,
                "{scope}: {other}"
            );
        }
        admin.assert_that(&format!(
            "NOT has_table_privilege('{scope}', 'orders', '{verb} WITH GRANT OPTION')"
        ));
    }
    if f.server.version() < 170_000 {
        let refusal = admin.refused(
            "SELECT scope.create_scope('define_verbs_m', '{MAINTAIN}', '{orders}')",
            "22023",
        );
        assert!(refusal.detail.contains("17"), "{refusal}");
    }
}

#[test]
fn columns_limit_what_is_read_and_written() {
    let f = Fixture::new("define_columns");
    let mut admin = f.admin();
    admin.run(
        "CREATE TABLE people (id serial, name text, salary int, \"Odd, name\" int); INSERT INTO people (name, salary) VALUES ('a', 7)",
    );
    admin.run("SELECT scope.create_scope('define_columns_s', '{SELECT,INSERT}', '{people}', columns => '{name,\"Odd, name\"}')");
    let mut s = acting(&f, "define_columns_s");
    assert_eq!(s.text("SELECT name FROM people"), "a");
    s.denied("SELECT salary FROM people", "42501");
    s.denied("SELECT * FROM people", "42501");
    // The number of a column that is not granted is drawn all the same.
    s.run("INSERT INTO people (name, \"Odd, name\") VALUES ('b', 1)");
    s.denied("INSERT INTO people (name, salary) VALUES ('c', 1)", "42501");
    assert_eq!(
        privileges(&mut admin, "define_columns_s")[1..],
        [
            "INSERT, SELECT on table column public.people.\"Odd, name\", public.people.name",
            "USAGE on schema public",
            "USAGE on sequence public.people_id_seq"
        ]
    );
    admin.run("SELECT scope.alter_scope('define_columns_s', 'remove', '{SELECT}', '{people}', columns => '{name}')");
    s.denied("SELECT name FROM people", "42501");
    s.run("SELECT \"Odd, name\" FROM people");
    s.run("INSERT INTO people (name) VALUES ('d')");
}

#[test]
fn sequences_come_along_for_writers_only_and_no_further_than_nextval() {
    let f = Fixture::new("define_sequences");
    let mut admin = f.admin();
    admin.run(
        "CREATE TABLE tickets (id serial, other bigserial, num int GENERATED ALWAYS AS IDENTITY, note text);
         CREATE SEQUENCE loose; CREATE SEQUENCE listed",
    );
    admin.run("SELECT scope.create_scope('define_sequences_r', '{SELECT}', '{tickets}')");
    admin.run("SELECT scope.create_scope('define_sequences_d', '{SELECT,DELETE}', '{tickets}')");
    admin.run("SELECT scope.create_scope('define_sequences_w', '{SELECT,INSERT}', '{tickets}', sequences => '{listed}')");
    for reader in ["define_sequences_r", "define_sequences_d"] {
        acting(&f, reader).denied("SELECT nextval('tickets_id_seq')", "42501");
    }
    let mut s = acting(&f, "define_sequences_w");
    s.run("INSERT INTO tickets (note) VALUES ('x')");
    s.run("SELECT nextval('listed'), last_value FROM listed");
    s.denied("SELECT setval('tickets_id_seq', 100)", "42501");
    s.denied("SELECT setval('listed', 100)", "42501");
    s.denied("SELECT nextval('loose')", "42501");
    // They go with the last privilege to write; what was named by itself stays.
    admin.run("SELECT scope.alter_scope('define_sequences_w', 'add', '{UPDATE}', '{tickets}')");
    admin.run("SELECT scope.alter_scope('define_sequences_w', 'remove', '{INSERT}', '{tickets}')");
    s.run("SELECT nextval('tickets_id_seq')");
    admin.run("SELECT scope.alter_scope('define_sequences_w', 'remove', '{UPDATE}', '{tickets}')");
    s.denied("SELECT nextval('tickets_id_seq')", "42501");
    s.run("SELECT nextval('listed'); SELECT * FROM tickets");
}

#[test]
fn functions_are_executed_by_scopes_alone_once_restricted() {
    let f = Fixture::new("define_functions");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA tiles; CREATE FUNCTION tiles.tile(z int, x int) RETURNS int LANGUAGE sql AS 'SELECT z + x';
         CREATE FUNCTION tiles.tile(z int) RETURNS int LANGUAGE sql AS 'SELECT z';
         CREATE PROCEDURE tiles.work() LANGUAGE sql AS '';
         CREATE AGGREGATE tiles.total(int) (SFUNC = int4pl, STYPE = int)",
    );
    let stranger = f.role("stranger", "LOGIN");
    admin.run(&format!("GRANT USAGE ON SCHEMA tiles TO {stranger}"));
    admin.run("SELECT scope.create_scope('define_functions_a', functions => '{\"tiles.tile(int, int)\"}')");
    admin.run("SELECT scope.create_scope('define_functions_b', '{EXECUTE}', functions => '{tiles.work(),tiles.total(int)}')");
    let mut s = f.login(&stranger);
    s.run("SELECT tiles.tile(1, 2)");
    for _ in 0..2 {
        admin.run("SELECT scope.restrict_function('tiles.tile(int, int)', '{define_functions_b}')");
        s.denied("SELECT tiles.tile(1, 2)", "42501");
        s.run("SELECT tiles.tile(1)");
        acting(&f, "define_functions_a").run("SELECT tiles.tile(1, 2)");
        acting(&f, "define_functions_b").run("SELECT tiles.tile(1, 2)");
    }
    admin.run("SELECT scope.restrict_function('tiles.work()'); SELECT scope.restrict_function('tiles.total(int)')");
    s.denied("CALL tiles.work()", "42501");
    s.denied("SELECT tiles.total(1)", "42501");
    acting(&f, "define_functions_b").run("CALL tiles.work(); SELECT tiles.total(1)");
    acting(&f, "define_functions_a").denied("CALL tiles.work()", "42501");
    admin.run("SELECT scope.alter_scope('define_functions_a', 'remove', functions => '{\"tiles.tile(int, int)\"}')");
    acting(&f, "define_functions_a").denied("SELECT tiles.tile(1, 2)", "42501");
    admin.assert_that("NOT has_schema_privilege('define_functions_a', 'tiles', 'USAGE')");
}

/// PUBLIC's EXECUTE can come from others than the owner.
#[test]
fn a_restricted_function_is_closed_whoever_opened_it() {
    let f = Fixture::new("define_opened");
    let mut admin = f.admin();
    let opener = f.role("opener", "LOGIN");
    admin.run(&format!(
        "CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION peek() TO {opener} WITH GRANT OPTION"
    ));
    f.login(&opener)
        .run("GRANT EXECUTE ON FUNCTION peek() TO PUBLIC");
    admin.run("SELECT scope.restrict_function('peek()')");
    admin.assert_that("NOT has_function_privilege('public', 'peek()', 'EXECUTE')");
}

#[test]
fn whole_schemas_with_and_without_what_is_created_later() {
    let f = Fixture::new("define_schemas");
    let mut admin = f.admin();
    let owner = f.role("owner", "LOGIN");
    let other = f.role("other", "LOGIN");
    let member = f.role("member", &format!("LOGIN IN ROLE {owner}"));
    let late = f.role("late", "LOGIN");
    admin.run(&format!(
        "CREATE SCHEMA app AUTHORIZATION {owner}; GRANT USAGE, CREATE ON SCHEMA app TO {other}; CREATE SEQUENCE app.loose;
         CREATE TABLE app.first (id serial); CREATE VIEW app.seen AS SELECT 1 AS x; CREATE SCHEMA far; CREATE TABLE far.t (x int)"
    ));
    admin.run(
        "SELECT scope.create_scope('define_schemas_now', '{SELECT,INSERT}', schemas => '{app}')",
    );
    admin.run("SELECT scope.create_scope('define_schemas_ever', '{SELECT,INSERT}', schemas => '{app}', future_tables => true)");
    // Everyone who creates there when the scope is made, superusers with tables there included.
    for (n, creator) in ["postgres", &owner, &other, &member].iter().enumerate() {
        let mut s = f.login(creator);
        s.run(&format!("CREATE TABLE app.later{n} (id serial)"));
        let mut ever = acting(&f, "define_schemas_ever");
        ever.run(&format!(
            "INSERT INTO app.later{n} DEFAULT VALUES; SELECT * FROM app.later{n}"
        ));
        ever.denied(&format!("DELETE FROM app.later{n}"), "42501");
        acting(&f, "define_schemas_now").denied(&format!("SELECT * FROM app.later{n}"), "42501");
    }
    for scope in ["define_schemas_now", "define_schemas_ever"] {
        let mut s = acting(&f, scope);
        s.run("INSERT INTO app.first DEFAULT VALUES; SELECT * FROM app.seen; SELECT nextval('app.loose')");
        s.denied("SELECT * FROM far.t", "42501");
        s.denied("CREATE TABLE app.mine (x int)", "42501");
    }
    // Whoever comes later is covered by a second call, which adds what is missing.
    admin.run(&format!("GRANT USAGE, CREATE ON SCHEMA app TO {late}"));
    f.login(&late).run("CREATE TABLE app.late0 (x int)");
    let mut ever = acting(&f, "define_schemas_ever");
    ever.denied("SELECT * FROM app.late0", "42501");
    let again = "SELECT scope.alter_scope('define_schemas_ever', 'add', '{SELECT,INSERT}', schemas => '{app}', future_tables => true)";
    admin.run(again);
    admin.run(again);
    f.login(&late).run("CREATE TABLE app.late1 (x int)");
    ever.run("SELECT * FROM app.late0; SELECT * FROM app.late1");
    // A schema goes with its future.
    admin.run("SELECT scope.alter_scope('define_schemas_ever', 'remove', '{SELECT,INSERT}', schemas => '{app}')");
    f.login(&owner).run("CREATE TABLE app.gone (x int)");
    ever.denied("SELECT * FROM app.gone", "42501");
    ever.denied("SELECT * FROM app.first", "42501");
    assert_eq!(
        privileges(&mut admin, "define_schemas_ever"),
        ["CONNECT on database define_schemas"]
    );
}

#[test]
fn what_a_whole_schema_holds_is_summed_up() {
    let f = Fixture::new("define_summary");
    let mut admin = f.admin();
    admin.run("CREATE SCHEMA wide; SELECT scope.create_scope('define_summary_s')");
    for n in 0..12 {
        admin.run(&format!("CREATE TABLE wide.t{n} (x int)"));
    }
    admin.run("SELECT scope.alter_scope('define_summary_s', 'add', schemas => '{wide}')");
    assert_eq!(
        privileges(&mut admin, "define_summary_s"),
        [
            "CONNECT on database define_summary",
            "SELECT on 12 tables in wide",
            "USAGE on schema wide"
        ]
    );
}

#[test]
fn the_same_calls_twice_give_the_same_result() {
    let f = Fixture::new("define_twice");
    let mut admin = f.admin();
    admin.run("CREATE TABLE tickets (id serial); CREATE SCHEMA app; CREATE TABLE app.a (x int)");
    let migration = "
        SELECT scope.create_scope('define_twice_s', '{SELECT,INSERT}', '{orders,tickets}', purpose => 'p', if_not_exists => true);
        SELECT scope.create_scope('define_twice_f', '{SELECT}', schemas => '{app}', future_tables => true, if_not_exists => true);
        SELECT scope.alter_scope('define_twice_f', 'add', '{SELECT}', schemas => '{app}');
        SELECT scope.alter_scope('define_twice_s', 'remove', '{DELETE}', '{orders}');
        SELECT scope.drop_scope('define_twice_gone', if_exists => true)";
    admin.run(migration);
    let snapshot = "SELECT string_agg(s::text, ' ' ORDER BY scope) FROM scope.scopes s WHERE database = 'define_twice'";
    let (first, acl) = (
        admin.text(snapshot),
        admin.text("SELECT string_agg(relacl::text, ' ') FROM pg_class"),
    );
    admin.notices();
    admin.run(migration);
    let notices = admin.notices();
    assert_eq!(
        notices.iter().filter(|n| n.code == "00000").count(),
        3,
        "{notices:?}"
    );
    assert_eq!(admin.text(snapshot), first);
    assert_eq!(
        admin.text("SELECT string_agg(relacl::text, ' ') FROM pg_class"),
        acl
    );
    // A policy that names the scope is the administrator's addition.
    admin.run("CREATE POLICY own ON orders TO define_twice_s USING (true)");
    admin.run(migration);
}

#[test]
fn a_scope_of_other_privileges_is_not_widened_by_if_not_exists() {
    let f = Fixture::new("define_differs");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('define_differs_s', '{SELECT}', '{orders}')");
    for (call, words) in [
        ("'{SELECT,INSERT}', '{orders}'", "lacks INSERT"),
        (
            "'{SELECT}', '{orders,vault}'",
            "lacks SELECT on public.vault",
        ),
        ("'{SELECT}', '{vault}'", "has SELECT on public.orders"),
        ("'{SELECT}'", "has SELECT on public.orders"),
        (
            "'{SELECT}', '{orders}', columns => '{id}'",
            "has SELECT on public.orders",
        ),
    ] {
        let sql =
            format!("SELECT scope.create_scope('define_differs_s', {call}, if_not_exists => true)");
        let refusal = admin.refused(&sql, "42710");
        assert!(refusal.detail.contains(words), "{sql}\n{refusal}");
    }
    for (hand, words) in [
        (
            "GRANT SELECT ON vault TO define_differs_s",
            "SELECT on public.vault",
        ),
        (
            "GRANT pg_read_all_data TO define_differs_s",
            "membership in pg_read_all_data",
        ),
        ("ALTER ROLE define_differs_s CREATEDB", "CREATEDB"),
        (
            "ALTER TABLE vault OWNER TO define_differs_s",
            "owner of table",
        ),
        (
            "GRANT SELECT ON orders TO define_differs_s WITH GRANT OPTION",
            "grant option",
        ),
        (
            "GRANT USAGE ON LANGUAGE sql TO define_differs_s",
            "language sql",
        ),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO define_differs_s",
            "future tables",
        ),
    ] {
        admin.run(&format!("BEGIN; {hand}"));
        let refusal = admin.refused(
            "SELECT scope.create_scope('define_differs_s', '{SELECT}', '{orders}', if_not_exists => true)",
            "42710",
        );
        assert!(refusal.detail.contains(words), "{hand}\n{refusal}");
        admin.run("ROLLBACK");
    }
    admin.refused(
        "SELECT scope.create_scope('define_differs_s', '{SELECT}', '{orders}')",
        "42710",
    );
}

#[test]
fn removal_takes_back_what_anyone_has_granted() {
    let f = Fixture::new("define_grantors");
    let mut admin = f.admin();
    let grantee = scoper(&f, "grantee");
    admin.run(&format!(
        "CREATE TABLE shared (x int, y int); GRANT SELECT, DELETE ON shared TO {grantee} WITH GRANT OPTION;
         GRANT USAGE ON SCHEMA public TO {grantee} WITH GRANT OPTION"
    ));
    f.login(&grantee)
        .run("SELECT scope.create_scope('define_grantors_s', '{SELECT,DELETE}', '{shared}')");
    // Again by the owner, and by column.
    admin.run("GRANT SELECT ON shared TO define_grantors_s; GRANT SELECT (x) ON shared TO define_grantors_s");
    f.login(&grantee)
        .run("SELECT scope.alter_scope('define_grantors_s', 'remove', '{SELECT}', '{shared}')");
    let mut s = acting(&f, "define_grantors_s");
    s.denied("SELECT x FROM shared", "42501");
    s.denied("SELECT y FROM shared", "42501");
    s.run("DELETE FROM shared");
}

#[test]
fn a_column_of_a_table_held_whole_cannot_be_removed() {
    let f = Fixture::new("define_whole");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('define_whole_s', '{SELECT}', '{orders}')");
    admin.refused(
        "SELECT scope.alter_scope('define_whole_s', 'remove', '{SELECT}', '{orders}', columns => '{note}')",
        "55000",
    );
}

#[test]
fn a_dropped_scope_leaves_nothing() {
    let f = Fixture::new("define_drop");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA app; CREATE TABLE app.a (id serial); CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    admin.run(
        "SELECT scope.create_scope('define_drop_s', '{SELECT,INSERT}', '{orders}', functions => '{peek()}', schemas => '{app}', future_tables => true);
         CREATE POLICY own ON orders TO define_drop_s USING (true); ALTER DEFAULT PRIVILEGES FOR ROLE define_drop_s GRANT SELECT ON TABLES TO PUBLIC",
    );
    let oid = admin.text("SELECT 'define_drop_s'::regrole::oid");
    assert_eq!(super::traces(&mut admin, &oid).len(), 14);
    admin.run("SELECT scope.drop_scope('define_drop_s')");
    assert_eq!(super::traces(&mut admin, &oid), [""; 0]);
    assert!(!admin.role_exists("define_drop_s"));
    admin.refused("SELECT scope.drop_scope('define_drop_s')", "42704");
    admin.run("SELECT scope.drop_scope('define_drop_s', if_exists => true)");
}

#[test]
fn a_scope_with_members_is_dropped_by_force_only() {
    let f = Fixture::new("define_members");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let scope = admin.scope_of(&cred.role);
    let refusal = admin.refused(&format!("SELECT scope.drop_scope('{scope}')"), "2BP01");
    assert!(refusal.detail.contains(&cred.role), "{refusal}");
    admin.assert_that(&format!(
        "(SELECT members = 1 FROM scope.scopes WHERE scope = '{scope}')"
    ));
    let mut s = cred.connect();
    s.rows("SELECT * FROM orders");
    admin.run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    assert!(!admin.role_exists(&scope));
    s.denied("SELECT * FROM orders", "42501");
    admin.assert_that(&format!(
        "(SELECT scopes = '{{}}' FROM scope.roles WHERE role = '{}')",
        cred.role
    ));
    // The next one gets a scope again.
    admin
        .issue("'orders'")
        .connect()
        .rows("SELECT * FROM orders");
}

#[test]
fn a_scope_that_owns_something_is_not_dropped() {
    let f = Fixture::new("define_owner");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.create_scope('define_owner_s'); ALTER TABLE vault OWNER TO define_owner_s",
    );
    for force in ["false", "true"] {
        let refusal = admin.refused(
            &format!("SELECT scope.drop_scope('define_owner_s', force => {force})"),
            "2BP01",
        );
        assert!(refusal.detail.contains("vault"), "{refusal}");
    }
    admin.run(
        "REASSIGN OWNED BY define_owner_s TO postgres; SELECT scope.drop_scope('define_owner_s')",
    );
    admin.run("SELECT * FROM vault");
}

/// Grants in other databases can only be revoked there: the worker does it.
#[test]
fn a_scope_with_grants_elsewhere_ends_by_the_worker() {
    let (f, g) = (Fixture::new("define_here"), Fixture::new("define_there"));
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let scope = admin.scope_of(&cred.role);
    g.admin().run(&format!(
        "GRANT SELECT ON vault TO {scope}; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {scope}"
    ));
    // What somebody has granted by hand is no part of it: the login gets nothing there.
    let mut stray = f
        .server
        .try_password(&cred.role, &cred.password, &g.name)
        .expect("login");
    stray.denied("SELECT * FROM vault", "28000");
    admin.run("BEGIN");
    admin.run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    assert_eq!(
        admin.text(&format!(
            "SELECT state FROM scope.scopes WHERE scope = '{scope}'"
        )),
        "ending"
    );
    admin.assert_that(&format!(
        "(SELECT last_error LIKE '%define_there%' FROM scope.scopes WHERE scope = '{scope}')"
    ));
    admin.refused(
        &format!("SELECT scope.alter_scope('{scope}', 'add', tables => '{{vault}}')"),
        "55000",
    );
    admin.run("ROLLBACK");
    admin.run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    // From the commit on the members have lost it.
    assert!(stray.attempt("SELECT * FROM vault").is_err());
    wait_until("the worker drops the scope", 20, || {
        !f.admin().role_exists(&scope)
    });
    g.admin().assert_that(
        "NOT EXISTS (SELECT FROM pg_class WHERE relname = 'vault' AND relacl::text LIKE '%define%')",
    );
}

#[test]
fn a_token_can_take_a_scope() {
    let f = Fixture::new("define_token");
    let mut admin = f.admin();
    let owner = scoper(&f, "owner");
    admin.run(&format!(
        "ALTER TABLE orders OWNER TO {owner}; GRANT USAGE ON SCHEMA public TO {owner} WITH GRANT OPTION;
         GRANT EXECUTE ON FUNCTION scope.create_authenticator TO {owner}"
    ));
    let mut s = f.login(&owner);
    s.run("SELECT scope.create_scope('define_token_s', '{SELECT}', '{orders}')");
    // Whoever made the scope may hand it to a service.
    s.run("SELECT scope.create_authenticator('define_token_api', '{define_token_s}')");
    let token = sign(&serde_json::json!({"role": "define_token_s", "exp": now() + 600}));
    let mut api = f.login("define_token_api");
    api.run(&format!(
        "BEGIN; SELECT scope.set_jwt_role({})",
        literal(&token)
    ));
    api.rows("SELECT * FROM orders");
    api.denied("DELETE FROM orders", "42501");
    api.run("ROLLBACK");
    // Not one that somebody else has made.
    admin.run("SELECT scope.create_scope('define_token_x', '{SELECT}', '{vault}')");
    s.refused(
        "SELECT scope.create_authenticator('define_token_y', '{define_token_x}')",
        "42501",
    );
}

#[test]
fn everything_is_undone_by_a_rollback() {
    let f = Fixture::new("define_rollback");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('define_rollback_s', '{SELECT}', '{orders}')");
    let before = privileges(&mut admin, "define_rollback_s");
    admin.run(
        "BEGIN; SELECT scope.alter_scope('define_rollback_s', 'add', '{DELETE}', '{vault}');
         SELECT scope.create_scope('define_rollback_t'); SAVEPOINT a; SELECT scope.drop_scope('define_rollback_s')",
    );
    assert!(!admin.role_exists("define_rollback_s"));
    admin.run("ROLLBACK TO a");
    assert!(admin.role_exists("define_rollback_s"));
    admin.run("ROLLBACK");
    assert_eq!(privileges(&mut admin, "define_rollback_s"), before);
    assert!(!admin.role_exists("define_rollback_t"));
}

#[test]
fn eight_sessions_create_the_same_scope() {
    let f = Fixture::new("define_race");
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let name = format!("define_race_{}", isolation.len());
        let results: Vec<Result<_, Refusal>> = together(8, |_| {
            let mut s = f.admin();
            // The snapshot is taken before anybody has made it.
            s.run(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1"));
            let made = s.attempt(&format!(
                "SELECT scope.create_scope('{name}', '{{SELECT}}', '{{orders}}', if_not_exists => true)"
            ));
            s.attempt("COMMIT").map(|_| ())?;
            made
        });
        for result in &results {
            assert!(result.is_ok(), "{isolation}: {result:?}");
        }
        let results: Vec<Result<_, Refusal>> = together(8, |_| {
            f.admin().attempt(&format!(
                "SELECT scope.create_scope('{name}_x', '{{SELECT}}', '{{orders}}')"
            ))
        });
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        for refusal in results.iter().filter_map(|r| r.as_ref().err()) {
            assert_eq!(refusal.code, "42710", "{refusal}");
        }
    }
}

#[test]
fn eight_sessions_change_scopes_of_one_table_at_once() {
    let f = Fixture::new("define_crowd");
    let results: Vec<Result<(), Refusal>> = together(8, |n| {
        let mut s = f.admin();
        for _ in 0..5 {
            for call in [
                format!("create_scope('define_crowd_{n}', '{{SELECT}}', '{{orders}}')"),
                format!("alter_scope('define_crowd_{n}', 'add', '{{DELETE}}', '{{orders,vault}}')"),
                format!("alter_scope('define_crowd_{n}', 'remove', '{{SELECT}}', '{{orders}}')"),
                format!("drop_scope('define_crowd_{n}')"),
            ] {
                s.attempt(&format!("SELECT scope.{call}"))?;
            }
        }
        Ok(())
    });
    for result in results {
        assert!(result.is_ok(), "{result:?}");
    }
    f.admin()
        .assert_that("NOT EXISTS (SELECT FROM pg_class WHERE relacl::text LIKE '%define_crowd_%')");
}

/// What README shows is what works, twice where it says so.
#[test]
fn the_migration_in_the_readme_runs() {
    let f = Fixture::new("define_readme");
    let readme = include_str!("../../../README.md");
    let section = readme
        .split("\n## ")
        .find(|s| s.starts_with("Scopes\n"))
        .expect("a section on scopes");
    let sql = section.split("```").nth(1).expect("a block");
    let sql = sql.strip_prefix("sql").expect("SQL");
    let mut admin = f.admin();
    admin.run(sql);
    let again: String = sql
        .lines()
        .filter(|line| {
            line.contains("create_scope")
                && !line.contains("shop_checkout")
                && !line.contains("shop_support")
        })
        .collect();
    admin.run(&again);
    assert_eq!(
        privileges(&mut admin, "shop_checkout"),
        [
            "CONNECT on database define_readme",
            "INSERT, SELECT on table shop.orders",
            "UPDATE on table column shop.orders.total",
            "USAGE on schema shop",
            "USAGE on sequence shop.orders_id_seq"
        ]
    );
    acting(&f, "shop_finance").run("SELECT shop.revenue(2026)");
    acting(&f, "shop_reports").denied("SELECT shop.revenue(2026)", "42501");
    admin.run("CREATE TABLE shop.later (x int)");
    acting(&f, "shop_reports").run("SELECT * FROM shop.later");
}

/// Runs every client at once.
pub fn together<R: Send>(clients: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let start = std::sync::Barrier::new(clients);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|n| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(n)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a client failed"))
            .collect()
    })
}
