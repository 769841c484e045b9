//! Bad input to `scope.create_readonly_role`: each an error with its SQLSTATE, and nothing half done.

use crate::harness::*;

const MANAGED: &str = "SELECT count(*) FROM pg_shseclabel s WHERE provider = 'scope_roles' AND EXISTS \
                       (SELECT FROM scope.roles r WHERE r.role::regrole = s.objoid AND r.database = current_database())";

/// Asserts each refusal and that none left a role behind.
#[track_caller]
fn all_refused(f: &Fixture, cases: &[(&str, &str)]) {
    let mut admin = f.admin();
    let before = admin.text(MANAGED);
    for (arguments, sqlstate) in cases {
        let sql = format!("SELECT * FROM scope.create_readonly_role({arguments})");
        admin.refused(&sql, sqlstate);
        let again = admin.attempt_extended(&sql, &[]).expect_err(&sql);
        assert_eq!(&again.code, sqlstate, "{sql}: {again}");
    }
    assert_eq!(admin.text(MANAGED), before);
    admin
        .issue("'orders'")
        .connect()
        .rows("SELECT * FROM orders");
}

#[test]
fn what_is_not_a_table_is_refused() {
    let f = Fixture::new("input_table");
    f.admin().run(
        "CREATE SEQUENCE seq; CREATE INDEX orders_id ON orders (id); CREATE TYPE pair AS (a int, b int);
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    );
    all_refused(
        &f,
        &[
            ("NULL", "22004"),
            // A number that never was a relation, and one that no longer is.
            ("4000000000::oid::regclass", "42P01"),
            ("0::oid::regclass", "42P01"),
            ("'seq'", "42809"),
            ("'orders_id'", "42809"),
            ("'parts_pkey'", "42809"),
            ("'pair'", "42809"),
            ("'pg_catalog.pg_authid'", "42501"),
            ("'pg_catalog.pg_roles'", "42501"),
        ],
    );
    // The type's own input function refuses a name, before the extension is asked.
    f.admin().denied(
        "SELECT scope.create_readonly_role('no_such_table')",
        "42P01",
    );
    let schemaless = f
        .admin()
        .fails("SELECT scope.create_readonly_role('no_such_schema.orders')");
    // Which of the two depends on the version.
    assert!(
        ["3F000", "42P01"].contains(&schemaless.code.as_str()),
        "{schemaless}"
    );
    f.admin()
        .denied("SELECT scope.create_readonly_role('')", "42602");
}

#[test]
fn a_dropped_table_is_refused() {
    let f = Fixture::new("input_dropped");
    let mut admin = f.admin();
    let oid = admin.text("SELECT 'vault'::regclass::oid");
    admin.run("DROP TABLE vault");
    admin.refused(
        &format!("SELECT scope.create_readonly_role({oid}::oid::regclass)"),
        "42P01",
    );
}

#[test]
fn a_wrong_role_name_is_refused() {
    let f = Fixture::new("input_name");
    let taken = f.role("taken", "LOGIN");
    let mut names: Vec<(String, &str)> = vec![
        (taken, "42710"),
        ("a".repeat(64), "42622"),
        ("a".repeat(70_000), "42622"),
    ];
    for reserved in ["public", "none", "pg_monitor", "pg_mine", "pg_"] {
        names.push((reserved.to_owned(), "42939"));
    }
    for malformed in [
        "",
        " ",
        "a b",
        "1st",
        "Upper",
        r#"x"y"#,
        r#"x" SUPERUSER; --"#,
        "x'y",
        "x; DROP TABLE vault",
        "x--",
        "x/*",
        "x\\",
        "x$y",
        "x.y",
        "ärger",
        "x\u{301}",
        "данные",
        "\u{1f980}",
        "tab\t",
        "line\n",
        " lead",
        "trail ",
    ] {
        names.push((malformed.to_owned(), "42602"));
    }
    let cases: Vec<(String, &str)> = names
        .iter()
        .map(|(name, code)| (format!("'orders', {}", literal(name)), *code))
        .collect();
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(arguments, code)| (arguments.as_str(), *code))
        .collect();
    all_refused(&f, &cases);
    f.admin().assert_that("EXISTS (SELECT FROM vault)");
}

#[test]
fn a_name_of_the_right_form_that_would_need_quotes_works_or_is_refused() {
    let f = Fixture::new("input_keyword");
    let mut admin = f.admin();
    for keyword in [
        "user",
        "current_user",
        "session_user",
        "select",
        "current_role",
    ] {
        // Inside a transaction: the name belongs to the cluster.
        admin.run("BEGIN");
        match admin.attempt(&format!(
            "SELECT role_name FROM scope.create_readonly_role('orders', '{keyword}')"
        )) {
            Ok(rows) => assert_eq!(rows, [[Some(keyword.to_owned())]]),
            Err(refusal) => assert!(
                ["42602", "42939"].contains(&refusal.code.as_str()),
                "{keyword}: {refusal}"
            ),
        }
        admin.run("ROLLBACK");
    }
}

#[test]
fn a_null_role_name_means_a_generated_one() {
    let f = Fixture::new("input_null_name");
    let cred = f.admin().issue("'orders', NULL, NULL, NULL");
    assert!(cred.role.contains("orders"), "{}", cred.role);
}

#[test]
fn a_wrong_duration_is_refused() {
    let f = Fixture::new("input_duration");
    let mut cases: Vec<(&str, &str)> = [
        "'0'",
        "'-1 s'",
        "'-1 microsecond'",
        "'-1 month'",
        "'1 day -24:00:01'",
        "'366 days'",
        "'365 days 1 second'",
        "'13 months'",
        "'1000000 years'",
        "'178000000 years'",
        "'-178000000 years'",
        "make_interval(days => 2147483647)",
        "make_interval(days => -2147483647)",
    ]
    .map(|interval| (interval, "22023"))
    .to_vec();
    if f.server.version() >= 170_000 {
        cases.extend([("'infinity'", "22023"), ("'-infinity'", "22023")]);
    }
    let cases: Vec<(String, &str)> = cases
        .iter()
        .map(|(i, code)| (format!("'orders', valid_for => {i}"), *code))
        .collect();
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(arguments, code)| (arguments.as_str(), *code))
        .collect();
    all_refused(&f, &cases);
    f.admin().issue("'orders', valid_for => '365 days'");
    f.admin().issue("'orders', valid_for => '1 day -23:00'");
}

#[test]
fn a_purpose_of_any_length_does_no_harm() {
    let f = Fixture::new("input_purpose");
    let mut admin = f.admin();
    for length in [500, 10_000, 1_000_000] {
        // A label must fit in one row of a catalogue that is read at login, so a long purpose is refused or shortened.
        match admin.attempt(&format!("SELECT role_name FROM scope.create_readonly_role('orders', purpose => repeat('ü', {length}))")) {
            Ok(rows) => {
                let role = rows[0][0].clone().expect("a name");
                admin.assert_that(&format!("EXISTS (SELECT FROM scope.roles WHERE role = {} AND purpose LIKE 'ü%')", literal(&role)));
                // The size that a login can read.
                admin.assert_that(&format!(
                    "NOT EXISTS (SELECT FROM pg_shseclabel WHERE objoid = {}::regrole AND octet_length(label) > 2000)",
                    literal(&role)
                ));
            }
            Err(refusal) => {
                assert!(["22001", "22023"].contains(&refusal.code.as_str()), "{length}: {refusal}");
                assert!(!refusal.detail.is_empty() && !refusal.hint.is_empty(), "{refusal}");
            }
        }
    }
    admin.assert_that("NOT EXISTS (SELECT FROM scope.roles WHERE last_error IS NOT NULL AND database = current_database())");
}

#[test]
fn a_read_only_transaction_is_refused() {
    let f = Fixture::new("input_read_only");
    let mut admin = f.admin();
    admin.run("BEGIN READ ONLY");
    admin.denied("SELECT scope.create_readonly_role('orders')", "25006");
    admin.run("ROLLBACK");
    admin.issue("'orders'");
}

#[test]
fn without_preload_everything_says_so() {
    let server = Server::start(Options::without_preload());
    server.admin("postgres").run("CREATE DATABASE bare");
    let mut admin = server.admin("bare");
    match admin.attempt("CREATE EXTENSION scope_roles") {
        // Refusing here already is as good: then there is nothing to call.
        Err(refusal) => {
            assert_eq!(refusal.code, "55000", "{refusal}");
            assert!(
                refusal.hint.contains("shared_preload_libraries"),
                "{refusal}"
            );
        }
        Ok(_) => {
            admin.run("CREATE TABLE t (x int)");
            for call in [
                "create_readonly_role('t')",
                "set_jwt_role('a.b.c')",
                "expire_roles()",
            ] {
                let refusal = admin.refused(&format!("SELECT scope.{call}"), "55000");
                assert!(
                    refusal.hint.contains("shared_preload_libraries"),
                    "{refusal}"
                );
            }
            // Nor does a library loaded late pretend to work.
            let _ = admin.attempt("LOAD 'scope_roles'");
            admin.refused("SELECT scope.create_readonly_role('t')", "55000");
            assert_eq!(admin.text("SELECT count(*) FROM pg_shseclabel"), "0");
        }
    }
}

/// Long lists are not for searching through, once for each element, deaf to a cancel.
#[test]
fn a_huge_array_is_refused_or_can_be_cancelled() {
    let f = Fixture::new("input_huge");
    let mut admin = f.admin();
    let list = |kind: &str| {
        format!("(SELECT array_agg(n::oid::{kind}) FROM generate_series(100000, 500000) n)")
    };
    let networks =
        "(SELECT array_agg(('10.0.0.0'::inet + n)::cidr) FROM generate_series(0, 400000) n)";
    for call in [
        format!(
            "create_scope('input_huge_s', '{{SELECT}}', {})",
            list("regclass")
        ),
        format!(
            "create_scope('input_huge_s', '{{USAGE}}', sequences => {})",
            list("regclass")
        ),
        format!(
            "create_scope('input_huge_s', functions => {})",
            list("regprocedure")
        ),
        format!(
            "create_scope('input_huge_s', '{{SELECT}}', schemas => {})",
            list("regnamespace")
        ),
        format!(
            "alter_scope('input_huge_s', 'add', '{{SELECT}}', {})",
            list("regclass")
        ),
        format!(
            "create_readonly_role('orders', tables => {})",
            list("regclass")
        ),
        format!("create_readonly_role('orders', allowed_ips => {networks})"),
        "create_readonly_role('orders', search_path => (SELECT array_agg('s' || n) FROM generate_series(1, 400000) n))".to_owned(),
    ] {
        let start = std::time::Instant::now();
        let refusal = admin.refused(&format!("SELECT scope.{call}"), "54000");
        assert!(!refusal.hint.is_empty(), "{refusal}");
        assert!(
            start.elapsed().as_secs() < 20,
            "{call}: {:?}",
            start.elapsed()
        );
    }
    // The same one many times is one.
    let again = "(SELECT array_agg('orders'::regclass) FROM generate_series(1, 400000))";
    admin.run(&format!(
        "SELECT scope.create_scope('input_huge_s', '{{SELECT}}', {again}); SELECT scope.drop_scope('input_huge_s')"
    ));
    admin.assert_that("NOT EXISTS (SELECT FROM scope.roles WHERE database = current_database())");
}

/// A setting of the session decides nothing about names.
#[test]
fn names_under_quote_all_identifiers() {
    let f = Fixture::new("input_quoted");
    let mut admin = f.admin();
    for quotes in ["on", "off"] {
        admin.run(&format!("SET quote_all_identifiers = {quotes}"));
        let name = format!("input_quoted_{quotes}");
        admin.run(&format!(
            "SELECT scope.create_scope('{name}', '{{SELECT,INSERT}}', '{{orders}}');
             SELECT scope.alter_scope('{name}', 'add', '{{SELECT}}', '{{vault}}')"
        ));
        let cred = admin.handed(&format!("scope.create_credential('{{{name}}}')"));
        cred.connect().rows("SELECT * FROM orders, vault");
        admin
            .issue("'orders'")
            .connect()
            .rows("SELECT * FROM orders");
        for word in ["select", "user", "authorization", "int", "between"] {
            admin.refused(
                &format!("SELECT scope.create_scope('{word}', '{{SELECT}}', '{{orders}}')"),
                "42939",
            );
        }
        // Words that need no quotes.
        for word in ["abort", "zone"] {
            admin.run(&format!(
                "SELECT scope.create_scope('{word}', '{{SELECT}}', '{{orders}}'); SELECT scope.drop_scope('{word}')"
            ));
        }
        admin.run(&format!("SELECT scope.drop_scope('{name}', force => true)"));
    }
}

/// The commonest slip: the length of time where the name stands.
#[test]
fn a_length_of_time_as_the_name_is_told_where_it_belongs() {
    let f = Fixture::new("input_slip");
    let mut admin = f.admin();
    for call in [
        "create_readonly_role('orders', '8 hours')",
        "create_readonly_role('orders', '30 days')",
        "create_readwrite_role('orders', '01:00')",
    ] {
        let refusal = admin.refused(&format!("SELECT scope.{call}"), "42602");
        assert!(refusal.hint.contains("valid_for => "), "{refusal}");
    }
    admin.run("SELECT scope.create_readonly_role('orders', valid_for => '8 hours')");
}
