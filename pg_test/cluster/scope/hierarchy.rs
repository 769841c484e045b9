//! The classic roles in one call: read-only, read-write and admin, for tables and whole schemas.

use super::scoper;
use crate::harness::*;

/// Calls a short form; `call` is SQL from the function's name on.
#[track_caller]
fn issue(s: &mut Session, call: &str) -> Credential {
    let rows = s.rows(&format!(
        "SELECT role_name, password, valid_until, connection_uri FROM scope.{call}"
    ));
    let [row] = rows.as_slice() else {
        panic!("one row expected: {rows:?}")
    };
    let field = |i: usize| row[i].clone().expect("a value");
    Credential {
        role: field(0),
        password: field(1),
        valid_until: field(2),
        uri: field(3),
    }
}

fn schemas(f: &Fixture) -> Session {
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA app; CREATE TABLE app.a (id serial, note text); CREATE TABLE app.b (id int GENERATED ALWAYS AS IDENTITY);
         CREATE VIEW app.v AS SELECT 1 AS x; CREATE SEQUENCE app.loose; CREATE SCHEMA far; CREATE TABLE far.t (x int)",
    );
    admin
}

#[test]
fn several_tables_and_whole_schemas_are_read() {
    let f = Fixture::new("hier_read");
    let mut admin = schemas(&f);
    let several = issue(
        &mut admin,
        "create_readonly_role('orders', tables => '{vault,orders,app.a}')",
    );
    let mut s = several.connect();
    s.run("SELECT * FROM orders; SELECT * FROM vault; SELECT * FROM app.a");
    s.denied("SELECT * FROM app.b", "42501");
    s.denied("INSERT INTO app.a DEFAULT VALUES", "42501");
    assert!(
        several.role.starts_with("orders_and_2_ro_"),
        "{}",
        several.role
    );
    let whole = issue(
        &mut admin,
        "create_readonly_role(schemas => '{app}', valid_for => '1 hour', purpose => 'report')",
    );
    assert!(whole.role.starts_with("app_ro_"), "{}", whole.role);
    let mut s = whole.connect();
    s.run("SELECT * FROM app.a; SELECT * FROM app.b; SELECT * FROM app.v");
    s.denied("SELECT * FROM far.t", "42501");
    s.denied("SELECT nextval('app.loose')", "42501");
    s.denied("DELETE FROM app.a", "42501");
    s.denied("CREATE TABLE app.c (x int)", "42501");
}

#[test]
fn a_writer_writes_and_no_more() {
    let f = Fixture::new("hier_write");
    let mut admin = schemas(&f);
    for call in [
        "create_readwrite_role('app.a')",
        "create_readwrite_role(schemas => '{app}')",
    ] {
        let mut s = issue(&mut admin, call).connect();
        s.run(
            "INSERT INTO app.a (note) VALUES ('x'); UPDATE app.a SET note = 'y'; DELETE FROM app.a; SELECT * FROM app.a",
        );
        s.denied("TRUNCATE app.a", "42501");
        s.denied("SELECT setval('app.a_id_seq', 9)", "42501");
        s.denied("CREATE TABLE app.c (x int)", "42501");
        s.denied("DROP TABLE app.a", "42501");
        s.denied("ALTER TABLE app.a ADD z int", "42501");
        s.denied("SELECT * FROM far.t", "42501");
    }
}

#[test]
fn the_same_request_shares_a_scope_and_another_does_not() {
    let f = Fixture::new("hier_share");
    let mut admin = schemas(&f);
    let mut scope = |call: &str| {
        let cred = issue(&mut admin, call);
        admin.scope_of(&cred.role)
    };
    let tables = scope("create_readonly_role(tables => '{orders,vault}')");
    assert_eq!(
        tables,
        scope("create_readonly_role('vault', tables => '{orders}')")
    );
    assert_ne!(
        tables,
        scope("create_readwrite_role(tables => '{orders,vault}')")
    );
    assert_ne!(tables, scope("create_readonly_role(tables => '{orders}')"));
    let whole = scope("create_readonly_role(schemas => '{app}')");
    assert_eq!(whole, scope("create_readonly_role(schemas => '{app}')"));
    let future = scope("create_readonly_role(schemas => '{app}', future_tables => true)");
    assert_ne!(whole, future);
    // A new table is none of the earlier credentials' business, unless they were to have it.
    f.admin().run("CREATE TABLE app.later (x int)");
    let wider = scope("create_readonly_role(schemas => '{app}')");
    assert_ne!(whole, wider);
    assert_eq!(
        future,
        scope("create_readonly_role(schemas => '{app}', future_tables => true)")
    );
    let can = |scope: &str| {
        f.admin().holds(&format!(
            "has_table_privilege('{scope}', 'app.later', 'SELECT')"
        ))
    };
    assert_eq!(
        [&whole, &wider, &future].map(|s| can(s)),
        [false, true, true]
    );
}

/// A table that was made where no default privileges reach is added when the role is asked for again.
#[test]
fn future_tables_catch_up_with_creators_that_came_later() {
    let f = Fixture::new("hier_future");
    let mut admin = schemas(&f);
    let call = "create_readonly_role(schemas => '{app}', future_tables => true)";
    let first = issue(&mut admin, call);
    let late = f.role("late", "LOGIN");
    admin.run(&format!("GRANT CREATE, USAGE ON SCHEMA app TO {late}"));
    f.login(&late).run("CREATE TABLE app.late (x int)");
    let mut s = first.connect();
    s.denied("SELECT * FROM app.late", "42501");
    let second = issue(&mut admin, call);
    assert_eq!(admin.scope_of(&first.role), admin.scope_of(&second.role));
    f.login(&late).run("CREATE TABLE app.later (x int)");
    s.run("SELECT * FROM app.late; SELECT * FROM app.later");
}

/// So a migration can be run again, whoever creates there by now.
#[test]
fn a_scope_with_future_tables_is_completed_where_it_exists() {
    let f = Fixture::new("hier_complete");
    let mut admin = schemas(&f);
    let call = |verbs| {
        format!(
            "SELECT scope.create_scope('hier_complete_s', '{{{verbs}}}', schemas => '{{app}}', future_tables => true, if_not_exists => true)"
        )
    };
    admin.run(&call("SELECT"));
    let (late, other) = (f.role("late", "LOGIN"), scoper(&f, "other"));
    admin.run(&format!(
        "GRANT CREATE, USAGE ON SCHEMA app TO {late}; GRANT CREATE, USAGE ON SCHEMA app TO {other} WITH GRANT OPTION;
         GRANT SELECT ON ALL TABLES IN SCHEMA app TO {other} WITH GRANT OPTION"
    ));
    f.login(&late).run("CREATE TABLE app.late (x int)");
    let reads =
        |table: &str| format!("has_table_privilege('hier_complete_s', '{table}', 'SELECT')");
    // By nobody but those who may change it, and never by another privilege.
    f.login(&other).refused(&call("SELECT"), "42501");
    admin.refused(&call("SELECT,INSERT"), "42710");
    admin.assert_that(&format!("NOT {}", reads("app.late")));
    admin.run(&call("SELECT"));
    f.login(&late).run("CREATE TABLE app.later (x int)");
    admin.assert_that(&format!("{} AND {}", reads("app.late"), reads("app.later")));
    admin.assert_that("NOT has_table_privilege('hier_complete_s', 'app.late', 'INSERT')");
    admin.run(&format!(
        "DROP OWNED BY {late}, {other}; SELECT scope.drop_scope('hier_complete_s')"
    ));
}

#[test]
fn an_admin_owns_nothing_and_what_it_makes_outlives_it() {
    let f = Fixture::new("hier_admin");
    let mut admin = schemas(&f);
    admin.run("CREATE FUNCTION app.secret() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION app.secret() FROM PUBLIC");
    let cred = issue(
        &mut admin,
        "create_admin_role('{app}', valid_for => '1 hour')",
    );
    let scope = admin.scope_of(&cred.role);
    assert!(cred.role.starts_with("app_admin_"), "{}", cred.role);
    for role in [&cred.role, &scope] {
        admin.assert_that(&format!(
            "(SELECT NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) FROM pg_roles WHERE rolname = '{role}')"
        ));
    }
    let mut s = cred.connect();
    assert_eq!(
        s.text("SELECT session_user || ' ' || current_user"),
        format!("{} {scope}", cred.role)
    );
    s.run(
        "TRUNCATE app.a; INSERT INTO app.a (note) VALUES ('x'); SELECT setval('app.loose', 9); SELECT app.secret();
         CREATE TABLE app.made (id serial, x int); CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    s.denied("DROP TABLE app.a", "42501");
    s.denied("SELECT * FROM far.t", "42501");
    s.denied("CREATE TABLE far.made (x int)", "42501");
    s.denied("CREATE ROLE evil", "42501");
    admin.assert_that(&format!(
        "(SELECT count(*) = 3 FROM pg_shdepend WHERE refobjid = '{scope}'::regrole AND deptype = 'o')"
    ));
    // What poolers send between clients changes nothing; nor does anything make the login an owner.
    for reset in [
        "DISCARD ALL",
        "RESET ALL",
        "RESET ROLE",
        "RESET SESSION AUTHORIZATION",
    ] {
        s.run(reset);
        s.run("CREATE TABLE app.again (x int); DROP TABLE app.again");
    }
    for become_itself in [
        "SET ROLE NONE",
        "SET SESSION AUTHORIZATION DEFAULT; SET ROLE NONE",
    ] {
        s.run(become_itself);
        assert_eq!(s.text("SELECT current_user"), cred.role);
        for statement in [
            "CREATE TABLE app.own (x int)",
            "CREATE TABLE public.own (x int)",
            "SELECT * FROM app.a",
            "SELECT * FROM app.made",
        ] {
            s.denied(statement, "42501");
        }
    }
    // The end of the login is not the end of its work.
    admin.run(&format!(
        "ALTER ROLE {} VALID UNTIL '2020-01-01'",
        cred.role
    ));
    wait_until("the login is dropped", 20, || {
        !f.admin().role_exists(&cred.role)
    });
    let next = issue(&mut admin, "create_admin_role('{app}')");
    assert_eq!(admin.scope_of(&next.role), scope);
    next.connect().run(
        "INSERT INTO app.made (x) VALUES (1); ALTER TABLE app.made ADD y int; DROP TABLE app.made",
    );
}

/// By default everyone may connect; where that has been revoked the login needs it, and nothing else.
#[test]
fn an_admin_can_connect_to_a_closed_database() {
    let f = Fixture::new("hier_closed");
    let mut admin = schemas(&f);
    admin.run("REVOKE ALL ON DATABASE hier_closed FROM PUBLIC");
    let cred = issue(&mut admin, "create_admin_role('{app}')");
    let mut s = cred.connect();
    s.run("CREATE TABLE app.made (x int)");
    s.run("SET ROLE NONE");
    s.denied("CREATE TABLE app.own (x int)", "42501");
    s.denied("CREATE TEMP TABLE own (x int)", "42501");
    admin.run(&format!(
        "ALTER ROLE {} VALID UNTIL '2020-01-01'",
        cred.role
    ));
    wait_until("the login is dropped", 20, || {
        !f.admin().role_exists(&cred.role)
    });
}

/// A second password is a second login: it must work as the scope too.
#[test]
fn an_admin_whose_password_is_rotated_still_works_as_the_scope() {
    let f = Fixture::new("hier_rotate");
    let mut admin = schemas(&f);
    let old = issue(
        &mut admin,
        "create_admin_role('{app}', statement_timeout => '9 s')",
    );
    let new = issue(
        &mut admin,
        &format!("rotate_password('{}', '1 hour')", old.role),
    );
    assert_ne!(old.role, new.role);
    for cred in [&old, &new] {
        let mut s = cred.connect();
        assert_eq!(s.text("SELECT current_user"), admin.scope_of(&old.role));
        assert_eq!(s.text("SHOW statement_timeout"), "9s");
        s.run("CREATE TABLE app.made (x int); DROP TABLE app.made; SET ROLE NONE");
        s.denied("CREATE TABLE app.own (x int)", "42501");
    }
}

/// Also where the scope has a name of its own.
#[test]
fn a_login_of_one_scope_that_creates_works_as_that_scope() {
    let f = Fixture::new("hier_named");
    let mut admin = schemas(&f);
    admin.run(
        "SELECT scope.create_scope('hier_named_migrate', '{SELECT,CREATE}', schemas => '{app}');
         SELECT scope.create_scope('hier_named_read', '{SELECT}', schemas => '{app}')",
    );
    let cred = issue(&mut admin, "create_credential('{hier_named_migrate}')");
    let mut s = cred.connect();
    assert_eq!(s.text("SELECT current_user"), "hier_named_migrate");
    s.run("CREATE TABLE app.made (x int)");
    admin.assert_that(
        "(SELECT tableowner = 'hier_named_migrate' FROM pg_tables WHERE tablename = 'made')",
    );
    let reader = issue(&mut admin, "create_credential('{hier_named_read}')");
    assert_eq!(reader.connect().text("SELECT current_user"), reader.role);
}

#[test]
fn an_admin_of_single_tables_creates_nothing() {
    let f = Fixture::new("hier_tables");
    let mut admin = schemas(&f);
    let cred = issue(&mut admin, "create_admin_role(tables => '{app.a}')");
    let mut s = cred.connect();
    assert_eq!(s.text("SELECT current_user"), cred.role);
    s.run("INSERT INTO app.a (note) VALUES ('x'); TRUNCATE app.a");
    s.denied("CREATE TABLE app.c (x int)", "42501");
    s.denied("SELECT * FROM app.b", "42501");
}

/// The whole hierarchy for one application, built by its owner, who is no superuser.
#[test]
fn the_owner_of_a_schema_builds_the_hierarchy() {
    let f = Fixture::new("hier_owner");
    let owner = scoper(&f, "owner");
    f.admin()
        .run(&format!("CREATE SCHEMA app AUTHORIZATION {owner}"));
    let mut s = f.login(&owner);
    s.run("CREATE TABLE app.first (id serial)");
    let admin = issue(&mut s, "create_admin_role('{app}')");
    let writer = issue(
        &mut s,
        "create_readwrite_role(schemas => '{app}', future_tables => true)",
    );
    let reader = issue(
        &mut s,
        "create_readonly_role(schemas => '{app}', future_tables => true)",
    );
    admin.connect().run("CREATE TABLE app.second (id serial)");
    s.run("CREATE TABLE app.third (id serial)");
    for table in ["app.first", "app.second", "app.third"] {
        writer
            .connect()
            .run(&format!("INSERT INTO {table} DEFAULT VALUES"));
        reader.connect().run(&format!("SELECT * FROM {table}"));
        reader
            .connect()
            .denied(&format!("INSERT INTO {table} DEFAULT VALUES"), "42501");
    }
    // What admins have made is the owner's to hand out, also without future tables.
    let late = issue(&mut s, "create_readonly_role(schemas => '{app}')");
    late.connect().run("SELECT * FROM app.second");
    let one = issue(&mut s, "create_readonly_role('app.second')");
    one.connect().denied("SELECT * FROM app.first", "42501");
}

#[test]
fn names_of_many_long_tables_fit() {
    let f = Fixture::new("hier_names");
    let mut admin = f.admin();
    let long = "x".repeat(63);
    admin.run(&format!(
        "CREATE SCHEMA {long}; CREATE TABLE {long}.{long} (x int); CREATE SCHEMA \"Größe 2\""
    ));
    for call in [
        format!("create_readwrite_role(schemas => '{{{long}}}', future_tables => true)"),
        format!("create_readonly_role(tables => '{{{long}.{long},orders}}')"),
        r#"create_admin_role('{"\"Größe 2\""}')"#.to_owned(),
        format!(r#"create_admin_role('{{"\"Größe 2\"",{long}}}')"#),
    ] {
        let cred = issue(&mut admin, &call);
        let scope = admin.scope_of(&cred.role);
        for name in [&cred.role, &scope] {
            assert!(super::is_plain_name(name), "{call} gave {name:?}");
            admin.assert_that(&format!("quote_ident({0}) = {0}", literal(name)));
        }
        cred.connect();
    }
}

#[test]
fn the_options_of_logins_come_with_every_form() {
    let f = Fixture::new("hier_options");
    let mut admin = schemas(&f);
    for call in [
        "create_readonly_role('orders', ",
        "create_readwrite_role('orders', ",
        "create_admin_role('{app}', ",
    ] {
        let cred = issue(
            &mut admin,
            &format!(
                "{call} connection_limit => 1, statement_timeout => '7 s', search_path => '{{app,public}}')"
            ),
        );
        let mut s = cred.connect();
        assert_eq!(s.text("SHOW statement_timeout"), "7s", "{call}");
        assert_eq!(s.text("SHOW search_path"), "app, public", "{call}");
        assert_eq!(
            cred.try_connect().err().map(|e| e.code).as_deref(),
            Some("53300"),
            "{call}"
        );
        if call.contains("admin") {
            assert_eq!(s.text("SELECT current_user"), admin.scope_of(&cred.role));
        }
        // Where it may come from: by TCP here, by the socket there.
        let idle = "idle_in_transaction_session_timeout => '9 s'";
        for (options, by_tcp, by_socket) in [
            (
                "allowed_ips => '{127.0.0.1}', allow_local => false",
                true,
                false,
            ),
            ("allowed_ips => '{127.0.0.0/8}'", true, false),
            (
                "allowed_ips => '{10.0.0.0/8}', allow_local => true",
                false,
                true,
            ),
        ] {
            let cred = issue(&mut admin, &format!("{call} {options}, {idle})"));
            let ways = [cred.try_connect(), f.server.try_login(&cred.role, &f.name)];
            for (way, allowed) in ways.into_iter().zip([by_tcp, by_socket]) {
                match way {
                    Ok(mut s) => {
                        assert!(allowed, "{call} {options}");
                        let timeout = s.text("SHOW idle_in_transaction_session_timeout");
                        assert_eq!(timeout, "9s", "{call}");
                    }
                    Err(refusal) => {
                        assert!(!allowed, "{call} {options}: {refusal}");
                        assert_eq!(refusal.code, "28000", "{refusal}");
                    }
                }
            }
        }
        let refusal = admin.refused(
            &format!("SELECT * FROM scope.{call} require_tls => true)"),
            "55000",
        );
        assert!(refusal.hint.contains("ssl"), "{refusal}");
    }
}

#[test]
fn eight_sessions_ask_for_the_same_schema() {
    let f = Fixture::new("hier_race");
    schemas(&f);
    for call in [
        "create_readwrite_role(schemas => '{app}', future_tables => true)",
        "create_readonly_role(schemas => '{app}')",
        "create_admin_role('{app}')",
    ] {
        let issued = super::definitions::together(8, |_| {
            let mut s = f.admin();
            (0..3).map(|_| issue(&mut s, call)).collect::<Vec<_>>()
        });
        let mut admin = f.admin();
        let scopes: std::collections::HashSet<String> = issued
            .iter()
            .flatten()
            .map(|cred| admin.scope_of(&cred.role))
            .collect();
        assert_eq!(scopes.len(), 1, "{call}: {scopes:?}");
    }
}
