//! Bad input to the functions around scopes: each an error with its SQLSTATE, and nothing half done.

use crate::harness::*;

/// The roles are those that the calls would make: other tests make theirs at the same time.
const EVERYTHING: &str = "SELECT md5(concat_ws('|', (SELECT string_agg(rolname, ',' ORDER BY oid) FROM pg_authid WHERE rolname LIKE 'refused\\_x%'),
    (SELECT string_agg(relacl::text, ',' ORDER BY oid) FROM pg_class), (SELECT string_agg(proacl::text, ',' ORDER BY oid) FROM pg_proc),
    (SELECT string_agg(nspacl::text, ',' ORDER BY oid) FROM pg_namespace), (SELECT count(*) FROM pg_default_acl)))";

#[track_caller]
fn all_refused(admin: &mut Session, cases: &[(&str, &str)]) {
    let before = admin.text(EVERYTHING);
    for (call, sqlstate) in cases {
        let sql = format!("SELECT scope.{call}");
        let again = admin.attempt_extended(&sql, &[]).expect_err(&sql);
        assert_eq!(&again.code, sqlstate, "{sql}: {again}");
        admin.refused(&sql, sqlstate);
    }
    assert_eq!(admin.text(EVERYTHING), before);
}

fn prepared(name: &'static str) -> (Fixture<'static>, Session) {
    let f = Fixture::new(name);
    let mut admin = f.admin();
    admin.run(
        "CREATE SEQUENCE seq; CREATE INDEX orders_id ON orders (id); CREATE TYPE pair AS (a int, b int); CREATE TEMP TABLE temporary (x int);
         CREATE TEMP SEQUENCE temporary_seq; CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SCHEMA app",
    );
    (f, admin)
}

#[test]
fn objects_that_are_not_there_or_not_for_scopes() {
    let (f, mut admin) = prepared("refused_objects");
    let gone = admin.text("SELECT 'vault'::regclass::oid");
    f.admin().run("DROP TABLE vault");
    let gone = format!("create_scope('refused_x', tables => ARRAY[{gone}]::oid[]::regclass[])");
    all_refused(
        &mut admin,
        &[
            (&gone, "42P01"),
            (
                "create_scope('refused_x', tables => '{4000000000}')",
                "42P01",
            ),
            ("create_scope('refused_x', tables => '{0}')", "42P01"),
            (
                "create_scope('refused_x', sequences => '{4000000000}')",
                "42P01",
            ),
            (
                "create_scope('refused_x', functions => '{4000000000}')",
                "42883",
            ),
            (
                "create_scope('refused_x', schemas => '{4000000000}')",
                "3F000",
            ),
            ("create_scope('refused_x', tables => '{seq}')", "42809"),
            (
                "create_scope('refused_x', tables => '{orders_id}')",
                "42809",
            ),
            ("create_scope('refused_x', tables => '{pair}')", "42809"),
            (
                "create_scope('refused_x', tables => '{orders,seq}')",
                "42809",
            ),
            (
                "create_scope('refused_x', sequences => '{orders}')",
                "42809",
            ),
            (
                "create_scope('refused_x', tables => '{temporary}')",
                "42809",
            ),
            (
                "create_scope('refused_x', sequences => '{temporary_seq}')",
                "42809",
            ),
            ("create_scope('refused_x', tables => '{pg_class}')", "42501"),
            (
                "create_scope('refused_x', tables => '{pg_catalog.pg_authid}')",
                "42501",
            ),
            (
                "create_scope('refused_x', tables => '{information_schema.tables}')",
                "42501",
            ),
            (
                "create_scope('refused_x', schemas => '{pg_catalog}')",
                "42501",
            ),
            (
                "create_scope('refused_x', schemas => '{information_schema}')",
                "42501",
            ),
            (
                "create_scope('refused_x', schemas => '{pg_toast}')",
                "42501",
            ),
            (
                "create_scope('refused_x', functions => '{pg_read_file(text)}')",
                "42501",
            ),
            (
                "create_scope('refused_x', functions => '{pg_reload_conf()}')",
                "42501",
            ),
            (
                "restrict_function('pg_catalog.pg_sleep(double precision)')",
                "42501",
            ),
            ("restrict_function(4000000000::oid::regprocedure)", "42883"),
            ("create_readonly_role(tables => '{seq}')", "42809"),
            ("create_readwrite_role('pg_catalog.pg_class')", "42501"),
            ("create_readonly_role(schemas => '{pg_catalog}')", "42501"),
            ("create_admin_role('{information_schema}')", "42501"),
            ("create_admin_role('{4000000000}')", "3F000"),
        ],
    );
    // PostgreSQL's own input functions refuse names before the extension is asked.
    admin.denied(
        "SELECT scope.create_scope('refused_x', tables => '{nothing}')",
        "42P01",
    );
    admin.denied(
        "SELECT scope.create_scope('refused_x', schemas => '{nothing}')",
        "3F000",
    );
    admin.denied(
        "SELECT scope.create_scope('refused_x', functions => '{nothing()}')",
        "42883",
    );
}

#[test]
fn privileges_that_are_unknown_or_fit_nothing() {
    let (_f, mut admin) = prepared("refused_verbs");
    all_refused(
        &mut admin,
        &[
            (
                "create_scope('refused_x', '{SELECTED}', '{orders}')",
                "22023",
            ),
            ("create_scope('refused_x', '{ALL}', '{orders}')", "22023"),
            (
                "create_scope('refused_x', '{\"ALL PRIVILEGES\"}', '{orders}')",
                "22023",
            ),
            (
                "create_scope('refused_x', '{\"SELECT WITH GRANT OPTION\"}', '{orders}')",
                "22023",
            ),
            (
                "create_scope('refused_x', '{\"SELECT ON vault TO public; --\"}', '{orders}')",
                "22023",
            ),
            ("create_scope('refused_x', '{\"\"}', '{orders}')", "22023"),
            ("create_scope('refused_x', '{}', '{orders}')", "22023"),
            ("create_scope('refused_x', '{SUPERUSER}')", "22023"),
            ("create_scope('refused_x', '{CONNECT}')", "22023"),
            (
                "create_scope('refused_x', '{EXECUTE}', '{orders}')",
                "22023",
            ),
            ("create_scope('refused_x', '{CREATE}', '{orders}')", "22023"),
            (
                "create_scope('refused_x', '{DELETE}', sequences => '{seq}')",
                "22023",
            ),
            (
                "create_scope('refused_x', '{DELETE}', '{orders}', sequences => '{seq}')",
                "22023",
            ),
            (
                "create_scope('refused_x', '{DELETE}', functions => '{peek()}')",
                "22023",
            ),
            (
                "create_scope('refused_x', '{}', schemas => '{app}')",
                "22023",
            ),
            (
                "create_scope('refused_x', '{SELECT,DELETE}', '{orders}', columns => '{id}')",
                "22023",
            ),
            (
                "create_scope('refused_x', '{TRUNCATE}', '{orders}', columns => '{id}')",
                "22023",
            ),
        ],
    );
}

#[test]
fn columns_that_do_not_exist_or_belong_to_no_single_table() {
    let (_f, mut admin) = prepared("refused_columns");
    admin.run("ALTER TABLE orders ADD gone int; ALTER TABLE orders DROP gone");
    all_refused(
        &mut admin,
        &[
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{id,nothing}')",
                "42703",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{ID}')",
                "42703",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{gone}')",
                "42703",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{........pg.dropped.3........}')",
                "42703",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{ctid}')",
                "42703",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{\"id) ON vault TO PUBLIC; --\"}')",
                "42703",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{}')",
                "22023",
            ),
            (
                "create_scope('refused_x', tables => '{orders,vault}', columns => '{id}')",
                "22023",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{id}', schemas => '{app}')",
                "22023",
            ),
            ("create_scope('refused_x', columns => '{id}')", "22023"),
        ],
    );
}

#[test]
fn nulls_and_other_arguments() {
    let (_f, mut admin) = prepared("refused_arguments");
    let long = format!("create_scope('refused_{}')", "x".repeat(60));
    let wordy = format!(
        "create_scope('refused_x', purpose => '{}')",
        "x".repeat(201)
    );
    all_refused(
        &mut admin,
        &[
            ("create_scope(NULL)", "22004"),
            ("create_scope('refused_x', NULL)", "22004"),
            ("create_scope('refused_x', '{SELECT,NULL}')", "22004"),
            ("create_scope('refused_x', tables => NULL)", "22004"),
            (
                "create_scope('refused_x', tables => '{orders,NULL}')",
                "22004",
            ),
            (
                "create_scope('refused_x', tables => '{orders}', columns => '{NULL}')",
                "22004",
            ),
            ("create_scope('refused_x', sequences => NULL)", "22004"),
            ("create_scope('refused_x', functions => '{NULL}')", "22004"),
            ("create_scope('refused_x', schemas => '{NULL}')", "22004"),
            ("create_scope('refused_x', if_not_exists => NULL)", "22004"),
            ("create_scope('refused_x', future_tables => NULL)", "22004"),
            (
                "create_scope('refused_x', tables => '{orders}', future_tables => true)",
                "22023",
            ),
            (&wordy, "22023"),
            ("create_scope('')", "42602"),
            ("create_scope('Refused')", "42602"),
            ("create_scope('x\" SUPERUSER; --')", "42602"),
            ("create_scope('1st')", "42602"),
            ("create_scope('pg_refused')", "42939"),
            ("create_scope('public')", "42939"),
            ("create_scope('none')", "42939"),
            ("create_scope('user')", "42939"),
            ("create_scope('select')", "42939"),
            (&long, "42622"),
            (
                "alter_scope('refused_x', NULL, tables => '{orders}')",
                "22004",
            ),
            ("alter_scope(NULL, 'add', tables => '{orders}')", "22004"),
            (
                "alter_scope('refused_x', 'widen', tables => '{orders}')",
                "22023",
            ),
            ("alter_scope('refused_x', 'add')", "22023"),
            (
                "alter_scope('refused_x', 'add', tables => '{orders}')",
                "42704",
            ),
            (
                "alter_scope('refused_x', 'remove', tables => '{orders}')",
                "42704",
            ),
            ("drop_scope(NULL)", "22004"),
            ("drop_scope('refused_x', NULL)", "22004"),
            ("drop_scope('refused_x')", "42704"),
            ("drop_scope('')", "42704"),
            ("restrict_function(NULL)", "22004"),
            ("restrict_function('peek()', NULL)", "22004"),
            ("restrict_function('peek()', '{NULL}')", "22004"),
            ("restrict_function('peek()', '{refused_x}')", "42704"),
            ("create_readonly_role()", "22004"),
            (
                "create_readonly_role(NULL, tables => '{}', schemas => NULL)",
                "22004",
            ),
            (
                "create_readonly_role('orders', tables => '{NULL}')",
                "22004",
            ),
            (
                "create_readonly_role('orders', future_tables => true)",
                "22023",
            ),
            (
                "create_readonly_role(schemas => '{app}', future_tables => NULL)",
                "22004",
            ),
            ("create_readwrite_role(schemas => '{NULL}')", "22004"),
            ("create_admin_role()", "22004"),
            ("create_admin_role('{}')", "22004"),
            ("create_admin_role('{app}', valid_for => '0')", "22023"),
            ("create_admin_role('{app}', 'Bad Name')", "42602"),
            ("create_readonly_role('orders', '8 hours')", "42602"),
        ],
    );
}

#[test]
fn roles_that_are_not_scopes() {
    let (f, mut admin) = prepared("refused_roles");
    let plain = f.role("plain", "NOLOGIN");
    let super_user = f.role("super", "SUPERUSER");
    let cred = admin.issue("'orders'").role;
    admin.run("SELECT scope.create_authenticator('refused_roles_api', '{refused_roles_plain}')");
    for role in [
        plain.as_str(),
        &super_user,
        &cred,
        "refused_roles_api",
        "postgres",
        "pg_monitor",
    ] {
        for call in [
            format!("alter_scope('{role}', 'add', tables => '{{orders}}')"),
            format!("alter_scope('{role}', 'remove', tables => '{{orders}}')"),
            format!("drop_scope('{role}')"),
            format!("drop_scope('{role}', force => true, if_exists => true)"),
            format!("restrict_function('peek()', '{{{role}}}')"),
        ] {
            all_refused(&mut admin, &[(&call, "42809")]);
        }
        if role != "pg_monitor" {
            let call =
                format!("create_scope('{role}', tables => '{{orders}}', if_not_exists => true)");
            all_refused(&mut admin, &[(&call, "42710")]);
        }
    }
    // A scope that somebody has made a superuser is nobody's to hand out.
    admin.run("SELECT scope.create_scope('refused_roles_s'); ALTER ROLE refused_roles_s SUPERUSER");
    all_refused(
        &mut admin,
        &[
            (
                "alter_scope('refused_roles_s', 'add', tables => '{orders}')",
                "42809",
            ),
            (
                "create_scope('refused_roles_s', if_not_exists => true)",
                "42710",
            ),
        ],
    );
}

#[test]
fn a_scope_of_another_database() {
    let (_f, mut admin) = prepared("refused_database");
    let g = Fixture::new("refused_elsewhere");
    g.admin()
        .run("SELECT scope.create_scope('refused_elsewhere_s', '{SELECT}', '{orders}')");
    all_refused(
        &mut admin,
        &[
            (
                "create_scope('refused_elsewhere_s', tables => '{orders}')",
                "42710",
            ),
            ("drop_scope('refused_elsewhere_s')", "55000"),
            ("create_credential('{refused_elsewhere_s}')", "22023"),
        ],
    );
    admin.assert_that(
        "(SELECT privileges IS NULL AND database = 'refused_elsewhere' FROM scope.scopes WHERE scope = 'refused_elsewhere_s')",
    );
    admin.run("SELECT scope.drop_scope('refused_elsewhere_s', if_exists => true)");
    assert!(g.admin().role_exists("refused_elsewhere_s"));
}

#[test]
fn a_read_only_transaction() {
    let (_f, mut admin) = prepared("refused_read_only");
    for call in [
        "create_scope('refused_read_only_s')",
        "alter_scope('refused_read_only_s', 'add', tables => '{orders}')",
        "drop_scope('refused_read_only_s', if_exists => true)",
        "restrict_function('peek()')",
        "create_admin_role('{app}')",
    ] {
        admin.run("BEGIN READ ONLY");
        admin.refused(&format!("SELECT scope.{call}"), "25006");
        admin.run("ROLLBACK");
    }
}

#[test]
fn without_preload() {
    let server = Server::start(Options::without_preload());
    server.admin("postgres").run("CREATE DATABASE bare");
    let mut admin = server.admin("bare");
    if admin.attempt("CREATE EXTENSION scope_roles").is_err() {
        return;
    }
    admin.run(
        "CREATE TABLE t (x int); CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    for call in [
        "create_scope('s', tables => '{t}')",
        "alter_scope('s', 'add', tables => '{t}')",
        "drop_scope('s', if_exists => true)",
        "restrict_function('peek()')",
        "create_readwrite_role('t')",
        "create_admin_role('{public}')",
    ] {
        admin.refused(&format!("SELECT scope.{call}"), "55000");
    }
}
