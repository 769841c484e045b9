//! `scope.create_readonly_role`: what a credential can do, and what is left when its creation is undone.

mod attacks;
mod authority;
pub mod definitions;
mod hierarchy;
mod input;
mod refused;
mod secrecy;

use std::sync::Barrier;
use std::thread;

use crate::harness::*;

fn is_plain_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && name.len() <= 63
}

/// A login that may call all functions around scopes, as far as its own rights go.
fn scoper(f: &Fixture, suffix: &str) -> String {
    let role = f.issuer(suffix);
    f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.create_scope, scope.alter_scope, scope.drop_scope, scope.restrict_function,
         scope.create_readwrite_role, scope.create_admin_role TO {role}"
    ));
    role
}

/// A credential reads its own table and is refused everything else.
#[track_caller]
fn assert_reads_only(session: &mut Session, table: &str, others: &[&str]) {
    session.rows(&format!("SELECT * FROM {table}"));
    for other in others {
        session.denied(&format!("SELECT * FROM {other}"), "42501");
    }
    for write in [
        "DELETE FROM {}",
        "TRUNCATE {}",
        "DROP TABLE {}",
        "DO $$ BEGIN LOCK TABLE {} IN EXCLUSIVE MODE; END $$",
        "ALTER TABLE {} ADD x int",
    ] {
        let error = session
            .attempt(&write.replace("{}", table))
            .expect_err(write);
        assert!(
            ["42501", "42809"].contains(&error.code.as_str()),
            "{write}: {error}"
        );
    }
}

#[test]
fn the_returned_uri_reads_one_table_over_tcp_with_the_password() {
    let f = Fixture::new("scope_uri");
    let cred = f.admin().issue("'orders', valid_for => '10 minutes'");
    assert!(cred.uri.starts_with("postgres"), "{}", cred.uri);
    assert!(
        cred.uri.contains(&cred.role) && cred.uri.contains(&f.name),
        "{}",
        cred.uri
    );

    let mut s = cred.connect();
    assert_eq!(s.text("SELECT current_user"), cred.role);
    assert_eq!(s.text("SELECT current_database()"), f.name);
    assert_eq!(
        s.column("SELECT note FROM orders ORDER BY id"),
        ["first", "second"]
    );
    assert!(s.holds("inet_client_addr() IS NOT NULL"));
    s.denied("SELECT * FROM vault", "42501");
    s.denied("INSERT INTO orders VALUES (3, 'third')", "42501");
    s.denied("UPDATE orders SET note = ''", "42501");
    s.denied("DELETE FROM orders", "42501");
    s.denied("TRUNCATE orders", "42501");
    s.refused("GRANT SELECT ON orders TO PUBLIC", "42501");
    f.admin()
        .assert_that("NOT has_table_privilege('public', 'orders', 'SELECT')");
    s.denied("SELECT * FROM orders FOR UPDATE", "42501");
    assert_eq!(s.text("SELECT count(*) FROM orders"), "2");

    let wrong = f
        .server
        .try_password(&cred.role, "not the password", &f.name);
    assert_eq!(wrong.err().map(|e| e.code).as_deref(), Some("28P01"));
}

#[test]
fn every_kind_of_relation_can_be_read() {
    let f = Fixture::new("scope_kinds");
    let mut admin = f.admin();
    admin.run(
        "CREATE TABLE parts (id int) PARTITION BY RANGE (id);
         CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
         INSERT INTO parts VALUES (1);
         CREATE VIEW seen AS SELECT id FROM orders;
         CREATE MATERIALIZED VIEW kept AS SELECT id FROM orders;
         CREATE FOREIGN DATA WRAPPER scope_kinds_fdw;
         CREATE SERVER scope_kinds_server FOREIGN DATA WRAPPER scope_kinds_fdw;
         CREATE FOREIGN TABLE far (id int) SERVER scope_kinds_server",
    );
    for table in ["orders", "parts", "seen", "kept"] {
        let cred = admin.issue(&literal(table));
        let mut s = cred.connect();
        assert_ne!(
            s.text(&format!("SELECT count(*) FROM {table}")),
            "0",
            "{table}"
        );
        let others: Vec<&str> = ["orders", "parts_low", "seen", "kept", "vault"]
            .into_iter()
            .filter(|o| *o != table)
            .collect();
        assert_reads_only(&mut s, table, &others);
    }
    let cred = admin.issue("'far'");
    let can = |privilege: &str| {
        format!(
            "has_table_privilege({}, 'far', '{privilege}')",
            literal(&cred.role)
        )
    };
    admin.assert_that(&can("SELECT"));
    admin.assert_that(&format!("NOT {}", can("INSERT")));
    cred.connect().denied("SELECT * FROM vault", "42501");
}

#[test]
fn a_credential_has_no_attribute_but_login_and_its_scope_none_at_all() {
    let f = Fixture::new("scope_attributes");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let scope = admin.scope_of(&cred.role);
    let attributes = |role: &str| {
        format!(
            "SELECT concat_ws(' ', rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls) FROM pg_roles \
             WHERE rolname = {}",
            literal(role)
        )
    };
    assert_eq!(admin.text(&attributes(&cred.role)), "t f f f f f");
    assert_eq!(admin.text(&attributes(&scope)), "f f f f f f");
    admin.assert_that(&format!(
        "SELECT rolvaliduntil = {}::timestamptz FROM pg_roles WHERE rolname = {}",
        literal(&cred.valid_until),
        literal(&cred.role)
    ));
    // Grants go to the scope: a table's ACL has room for few grantees.
    let grantees = "SELECT DISTINCT a.grantee::regrole FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = 'orders'::regclass";
    assert_eq!(
        admin.column(&format!("{grantees} AND a.grantee <> c.relowner")),
        std::slice::from_ref(&scope)
    );
    if f.server.version() >= 160_000 {
        // A credential inherits its scope and cannot become it, nor hand it on.
        let options = admin.rows(&format!(
            "SELECT inherit_option, set_option, admin_option FROM pg_auth_members WHERE member = {}::regrole",
            literal(&cred.role)
        ));
        assert_eq!(
            options,
            [[Some("t".into()), Some("f".into()), Some("f".into())]]
        );
        cred.connect().denied(&format!("SET ROLE {scope}"), "42501");
    }
}

#[test]
fn two_credentials_of_one_table_share_its_scope() {
    let f = Fixture::new("scope_shared");
    let mut admin = f.admin();
    let (one, two) = (admin.issue("'orders'"), admin.issue("'orders'"));
    assert_ne!(one.role, two.role);
    assert_ne!(one.password, two.password);
    assert_eq!(admin.scope_of(&one.role), admin.scope_of(&two.role));
    let other = admin.issue("'vault'");
    assert_ne!(admin.scope_of(&one.role), admin.scope_of(&other.role));
    other.connect().denied("SELECT * FROM orders", "42501");
}

#[test]
fn tables_of_one_name_in_two_schemas_do_not_share_a_scope() {
    let f = Fixture::new("scope_schemas");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA a; CREATE TABLE a.t (x int); CREATE SCHEMA b; CREATE TABLE b.t (x int)",
    );
    let (one, two) = (admin.issue("'a.t'"), admin.issue("'b.t'"));
    assert_ne!(admin.scope_of(&one.role), admin.scope_of(&two.role));
    assert_reads_only(&mut one.connect(), "a.t", &["b.t"]);
    assert_reads_only(&mut two.connect(), "b.t", &["a.t"]);
}

#[test]
fn a_table_of_one_name_in_two_databases_does_not_share_a_scope() {
    let (f, g) = (
        Fixture::new("scope_database_one"),
        Fixture::new("scope_database_two"),
    );
    let (one, two) = (f.admin().issue("'orders'"), g.admin().issue("'orders'"));
    assert_ne!(f.admin().scope_of(&one.role), g.admin().scope_of(&two.role));
    // CONNECT is PUBLIC's by default; the table must still be out of reach.
    let mut stray = g
        .server
        .try_password(&one.role, &one.password, &g.name)
        .expect("login");
    stray.denied("SELECT * FROM orders", "42501");
}

#[test]
fn generated_names_are_readable_unique_and_need_no_quotes() {
    let f = Fixture::new("scope_names");
    let mut admin = f.admin();
    let long_a = format!("{}a", "x".repeat(62));
    let long_b = format!("{}b", "x".repeat(62));
    let tables = [
        "stripe_charges_v1_d50b",
        &long_a,
        &long_b,
        r#"it's "quoted""#,
        "semi;colon; DROP TABLE vault --",
        "Größe der Bäume",
        "данные",
        "\u{1f980}\u{1f980}",
        "!!!",
        "select",
        "pg_orders",
        "UPPER Case",
        "1st",
        " ",
        "line\nbreak",
        r"back\slash",
        "%s%n $1 {}",
    ];
    let mut seen = std::collections::HashSet::new();
    for table in tables {
        admin.run(&format!(
            "CREATE TABLE {0} (x int); INSERT INTO {0} VALUES (7)",
            ident(table)
        ));
        for _ in 0..2 {
            let cred = admin.issue(&format!("{}::regclass", literal(&ident(table))));
            let scope = admin.scope_of(&cred.role);
            for name in [&cred.role, &scope] {
                assert!(
                    is_plain_name(name) && !name.starts_with("pg_"),
                    "{table:?} gave {name:?}"
                );
                admin.assert_that(&format!("quote_ident({0}) = {0}", literal(name)));
            }
            assert!(seen.insert(cred.role.clone()), "{} twice", cred.role);
            assert_eq!(
                cred.connect()
                    .text(&format!("SELECT x FROM {}", ident(table))),
                "7"
            );
        }
    }
    let cred = admin.issue("'stripe_charges_v1_d50b'");
    assert!(
        cred.role.contains("stripe_charges_v1_d50b"),
        "not readable: {}",
        cred.role
    );
}

#[test]
fn a_given_name_is_used_as_it_is() {
    let f = Fixture::new("scope_given");
    let cred = f
        .admin()
        .issue("'orders', role_name => 'scope_given_reporting_2026'");
    assert_eq!(cred.role, "scope_given_reporting_2026");
    cred.connect().rows("SELECT * FROM orders");
    let longest = format!("scope_given_{}", "n".repeat(51));
    assert_eq!(
        f.admin()
            .issue(&format!("'orders', {}", literal(&longest)))
            .role,
        longest
    );
}

#[test]
fn passwords_are_long_random_and_plain() {
    let f = Fixture::new("scope_passwords");
    let mut admin = f.admin();
    let passwords: std::collections::HashSet<String> =
        (0..5).map(|_| admin.issue("'orders'").password).collect();
    assert_eq!(passwords.len(), 5);
    for password in passwords {
        assert!(
            password.len() >= 24 && password.bytes().all(|b| b.is_ascii_alphanumeric()),
            "{password}"
        );
    }
}

/// What a creation leaves in the catalogues, given the roles that it made.
fn traces(admin: &mut Session, oids: &str) -> Vec<String> {
    admin.column(&format!(
        "SELECT 'role' FROM pg_authid WHERE oid IN ({oids})
         UNION ALL SELECT 'label' FROM pg_shseclabel WHERE objoid IN ({oids})
         UNION ALL SELECT 'member' FROM pg_auth_members WHERE roleid IN ({oids}) OR member IN ({oids})
         UNION ALL SELECT 'depend' FROM pg_shdepend WHERE refobjid IN ({oids}) AND refclassid = 'pg_authid'::regclass
         UNION ALL SELECT 'comment' FROM pg_shdescription WHERE objoid IN ({oids})"
    ))
}

fn acls(admin: &mut Session) -> String {
    admin.text(
        "SELECT concat_ws('|', (SELECT string_agg(relname || coalesce(relacl::text, ''), ',' ORDER BY relname) FROM pg_class),
            (SELECT string_agg(nspname || coalesce(nspacl::text, ''), ',' ORDER BY nspname) FROM pg_namespace
             WHERE nspname !~ '^pg_(toast_)?temp'),
            (SELECT datacl::text FROM pg_database WHERE datname = current_database()))",
    )
}

fn oids_of(admin: &mut Session, cred: &Credential) -> String {
    let scope = admin.scope_of(&cred.role);
    admin.text(&format!(
        "SELECT string_agg(oid::text, ',') FROM pg_authid WHERE rolname IN ({}, {})",
        literal(&cred.role),
        literal(&scope)
    ))
}

#[test]
fn rollback_leaves_nothing() {
    let f = Fixture::new("scope_rollback");
    let mut admin = f.admin();
    let before = acls(&mut admin);
    admin.run("BEGIN");
    let cred = admin.issue("'orders'");
    let oids = oids_of(&mut admin, &cred);
    assert!(!traces(&mut admin, &oids).is_empty());
    admin.run("ROLLBACK");
    assert_eq!(traces(&mut admin, &oids), [""; 0]);
    assert_eq!(acls(&mut admin), before);
    assert!(cred.try_connect().is_err());
    admin
        .issue("'orders'")
        .connect()
        .rows("SELECT * FROM orders");
}

#[test]
fn rollback_to_a_savepoint_leaves_nothing_and_the_rest_stays() {
    let f = Fixture::new("scope_savepoint");
    let mut admin = f.admin();
    admin.run("BEGIN");
    let kept = admin.issue("'orders'");
    let before = acls(&mut admin);
    admin.run("SAVEPOINT s");
    let undone = admin.issue("'vault'");
    let oids = oids_of(&mut admin, &undone);
    admin.run("ROLLBACK TO s");
    assert_eq!(traces(&mut admin, &oids), [""; 0]);
    assert_eq!(acls(&mut admin), before);
    admin.run("SAVEPOINT s2");
    let released = admin.issue("'vault'");
    admin.run("RELEASE s2; COMMIT");
    assert_reads_only(&mut kept.connect(), "orders", &["vault"]);
    assert_reads_only(&mut released.connect(), "vault", &["orders"]);
}

#[test]
fn a_failed_statement_in_a_block_undoes_the_credential() {
    let f = Fixture::new("scope_exception");
    let mut admin = f.admin();
    admin.run(
        "DO $$ BEGIN
           PERFORM scope.create_readonly_role('orders', 'scope_exception_undone');
           RAISE EXCEPTION 'no';
         EXCEPTION WHEN raise_exception THEN
           PERFORM scope.create_readonly_role('orders', 'scope_exception_kept');
         END $$",
    );
    assert!(!admin.role_exists("scope_exception_undone"));
    assert!(admin.role_exists("scope_exception_kept"));
}

#[test]
fn a_table_made_in_the_same_transaction_can_be_issued() {
    let f = Fixture::new("scope_migration");
    let mut admin = f.admin();
    admin.run("BEGIN; CREATE SCHEMA app; CREATE TABLE app.fresh (x int)");
    let cred = admin.issue("'app.fresh'");
    admin.run("INSERT INTO app.fresh VALUES (1); COMMIT");
    assert_eq!(cred.connect().text("SELECT x FROM app.fresh"), "1");
}

#[test]
fn one_statement_can_issue_many() {
    let f = Fixture::new("scope_many");
    let names = f.admin().column("SELECT r.role_name FROM generate_series(1, 20) g, LATERAL scope.create_readonly_role('orders', purpose => g::text) r");
    assert_eq!(names.len(), 20);
    assert_eq!(f.admin().text("SELECT count(*) FROM scope.roles WHERE kind = 'credential' AND database = current_database()"), "20");
}

#[test]
fn schema_usage_and_connect_come_with_the_scope() {
    let f = Fixture::new("scope_reach");
    let mut admin = f.admin();
    admin.run(
        "REVOKE CONNECT ON DATABASE scope_reach FROM PUBLIC; REVOKE USAGE ON SCHEMA public FROM PUBLIC;
         CREATE SCHEMA hidden; CREATE TABLE hidden.t (x int); CREATE TABLE hidden.u (x int)",
    );
    let mut s = admin.issue("'hidden.t'").connect();
    assert_reads_only(&mut s, "hidden.t", &["hidden.u", "public.orders"]);
}

#[test]
fn eight_clients_on_one_new_table_all_succeed() {
    let f = Fixture::new("scope_race");
    concurrently(8, |_| {
        let mut s = f.admin();
        (0..5).map(|_| s.issue("'orders'")).collect()
    });
    let mut admin = f.admin();
    assert_eq!(
        admin.rows("SELECT kind, count(*) FROM scope.roles WHERE database = current_database() GROUP BY 1 ORDER BY 1"),
        [["credential", "40"], ["scope", "1"]].map(|row| row.map(|cell| Some(cell.to_owned())))
    );
}

#[test]
fn eight_clients_on_eight_new_tables_all_succeed() {
    let f = Fixture::new("scope_race_tables");
    let mut admin = f.admin();
    for i in 0..8 {
        admin.run(&format!("CREATE TABLE t{i} (x int)"));
    }
    concurrently(8, |i| {
        let mut s = f.admin();
        vec![s.issue(&format!("'t{i}'")), s.issue("'orders'")]
    });
}

/// Runs every client at once; their credentials must all work.
fn concurrently(clients: usize, work: impl Fn(usize) -> Vec<Credential> + Sync) {
    let start = Barrier::new(clients);
    let issued: Vec<Credential> = thread::scope(|scope| {
        let client = |i| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(i)
            })
        };
        let running: Vec<_> = (0..clients).map(client).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("a client failed"))
            .collect()
    });
    for cred in issued.iter().step_by(7) {
        cred.connect();
    }
}

#[test]
fn the_view_tells_it_at_a_glance() {
    let f = Fixture::new("scope_view");
    let mut admin = f.admin();
    let purpose = "q3 \"report\" for O'Brien;\n\\ naïve \u{1f980}";
    let cred = admin.issue(&format!(
        "'orders', valid_for => '1 hour', purpose => {}",
        literal(purpose)
    ));
    let scope = admin.scope_of(&cred.role);
    let row = admin.rows(&format!(
        "SELECT kind, state, scopes::text, database, created_by, now() - created_at < '1 minute', valid_until = {}::timestamptz,
                time_left BETWEEN '58 minutes' AND '1 hour', last_error, purpose
         FROM scope.roles WHERE role = {}",
        literal(&cred.valid_until),
        literal(&cred.role)
    ));
    let expected = [
        "credential",
        "active",
        &format!("{{{scope}}}"),
        "scope_view",
        "postgres",
        "t",
        "t",
        "t",
    ];
    let expected = expected
        .map(|cell| Some(cell.to_owned()))
        .into_iter()
        .chain([None, Some(purpose.to_owned())]);
    assert_eq!(row, [expected.collect::<Vec<_>>()]);
    let row = admin.rows(&format!(
        "SELECT kind, state, valid_until, time_left FROM scope.roles WHERE role = {}",
        literal(&scope)
    ));
    assert_eq!(
        row,
        [[Some("scope".into()), Some("active".into()), None, None]]
    );
    admin.assert_that("NOT EXISTS (SELECT FROM scope.roles WHERE role = 'postgres')");
}

#[test]
fn the_ttl_settings_decide_and_follow_a_reload() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.default_ttl", "120s")
            .set("scope_roles.max_ttl", "1h"),
    );
    let f = Fixture::on(&server, "scope_ttl");
    let mut admin = f.admin();
    let lifetime = |admin: &mut Session, arguments: &str| {
        let cred = admin.issue(arguments);
        let left = admin.text(&format!(
            "SELECT extract(epoch FROM {}::timestamptz - now())",
            literal(&cred.valid_until)
        ));
        left.parse::<f64>().expect("seconds")
    };
    assert!((110.0..=120.5).contains(&lifetime(&mut admin, "'orders'")));
    assert!((3590.0..=3600.5).contains(&lifetime(&mut admin, "'orders', valid_for => '1 hour'")));
    admin.refused(
        "SELECT scope.create_readonly_role('orders', valid_for => '1 hour 1 second')",
        "22023",
    );
    server.alter_system("scope_roles.max_ttl", "2h");
    wait_until("the new max_ttl holds", 10, || {
        admin.text("SHOW scope_roles.max_ttl") == "2h"
    });
    assert!(
        (5390.0..=5400.5).contains(&lifetime(&mut admin, "'orders', valid_for => '90 minutes'"))
    );
    // The cap also holds for the default.
    server.alter_system("scope_roles.default_ttl", "3h");
    wait_until("the new default_ttl holds", 10, || {
        admin.text("SHOW scope_roles.default_ttl") == "3h"
    });
    assert!((7190.0..=7200.5).contains(&lifetime(&mut admin, "'orders'")));
}

#[test]
fn the_default_is_ninety_days_and_a_month_is_a_month() {
    let f = Fixture::new("scope_default_ttl");
    let mut admin = f.admin();
    for (arguments, expected) in [
        ("'orders'", "90 days"),
        ("'orders', valid_for => '1 month'", "1 month"),
    ] {
        let cred = admin.issue(arguments);
        admin.assert_that(&format!(
            "{}::timestamptz BETWEEN now() + interval '{expected}' - interval '1 minute' AND now() + interval '{expected}'",
            literal(&cred.valid_until)
        ));
    }
}

#[test]
fn the_uri_follows_the_connection_settings() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.connection_host", "db.example.org")
            .set("scope_roles.connection_port", "6543"),
    );
    let f = Fixture::on(&server, "scope_uri_settings");
    let cred = f.admin().issue("'orders'");
    let config: postgres::Config = cred
        .uri
        .parse()
        .unwrap_or_else(|e| panic!("{}: {e}", cred.uri));
    assert_eq!(
        config.get_hosts(),
        [postgres::config::Host::Tcp("db.example.org".into())],
        "{}",
        cred.uri
    );
    assert_eq!(config.get_ports(), [6543], "{}", cred.uri);
    assert_eq!(config.get_user(), Some(cred.role.as_str()), "{}", cred.uri);
    assert_eq!(
        config.get_dbname(),
        Some("scope_uri_settings"),
        "{}",
        cred.uri
    );
}

#[test]
fn the_uri_survives_a_database_name_full_of_signs() {
    let server = shared();
    let name = "scope odd/name?x=1&y#z%20@:ü";
    server
        .admin("postgres")
        .run(&format!("CREATE DATABASE {}", ident(name)));
    let mut admin = server.admin(name);
    admin.run("CREATE EXTENSION scope_roles; CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    let cred = admin.issue("'t'");
    let mut s = cred.connect();
    assert_eq!(s.text("SELECT current_database()"), name);
    assert_eq!(s.text("SELECT x FROM t"), "1");
}

/// What will not work is said when it is issued, with the statement that makes it work.
#[test]
fn sequences_that_an_insert_needs_are_told() {
    let f = Fixture::new("scope_numbers");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA \"Odd\"; CREATE SEQUENCE \"Odd\".\"All Numbers\";
         CREATE TABLE bills (id bigint DEFAULT nextval('\"Odd\".\"All Numbers\"'), x text);
         CREATE TABLE notes (id serial, x text); CREATE VIEW notes_v AS SELECT * FROM notes;
         CREATE TABLE ids (id int GENERATED ALWAYS AS IDENTITY, x text); CREATE VIEW ids_v AS SELECT * FROM ids;
         CREATE TABLE owned (id serial, x text)",
    );
    admin.notices();
    for (table, sequence) in [("bills", "\"All Numbers\""), ("notes_v", "notes_id_seq")] {
        let cred = admin.handed(&format!("scope.create_readwrite_role('{table}')"));
        let notices = admin.notices();
        let [notice] = notices.as_slice() else {
            panic!("{table}: {notices:?}")
        };
        assert!(
            notice.message.contains("INSERT needs sequences") && notice.detail.contains(sequence),
            "{notice}"
        );
        let insert = format!("INSERT INTO {table} (x) VALUES ('x')");
        cred.connect().denied(&insert, "42501");
        // The HINT is what it takes.
        admin.run(&notice.hint);
        cred.connect().run(&insert);
        assert!(admin.notices().is_empty());
    }
    for table in ["owned", "ids", "ids_v"] {
        let cred = admin.handed(&format!("scope.create_readwrite_role('{table}')"));
        assert!(admin.notices().is_empty(), "{table}");
        cred.connect()
            .run(&format!("INSERT INTO {table} (x) VALUES ('x')"));
    }
    admin.issue("'bills'");
    assert!(admin.notices().is_empty(), "a reader");
}

#[test]
fn what_an_admin_login_creates_out_of_reach_of_others_is_told() {
    let f = Fixture::new("scope_left_out");
    let mut admin = f.admin();
    admin.run("CREATE SCHEMA shop; CREATE TABLE shop.a (id int)");
    let reader =
        admin.handed("scope.create_readonly_role(schemas => '{shop}', future_tables => true)");
    admin.notices();
    let maker = admin.handed("scope.create_admin_role('{shop}')");
    let notices = admin.notices();
    let told: Vec<_> = notices
        .iter()
        .filter(|n| n.message.contains("will not be covered"))
        .collect();
    let [notice] = told.as_slice() else {
        panic!("{notices:?}")
    };
    maker.connect().run("CREATE TABLE shop.b (id int)");
    reader.connect().denied("SELECT * FROM shop.b", "42501");
    admin.run(&notice.hint);
    maker.connect().run("CREATE TABLE shop.c (id int)");
    for table in ["a", "b", "c"] {
        reader
            .connect()
            .rows(&format!("SELECT * FROM shop.{table}"));
    }
    admin.notices();
    admin.handed("scope.create_admin_role('{shop}')");
    assert!(
        !admin
            .notices()
            .iter()
            .any(|n| n.message.contains("will not be covered")),
        "it is covered by now"
    );
}
