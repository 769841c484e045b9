//! A server that was started without the library: it checks no login, so none of ours may come in.

use super::*;

/// Starts it again as after a mistake in its configuration.
fn without(server: &Server) {
    server.reconfigure("shared_preload_libraries = ''\n");
    server.restart();
}

fn with(server: &Server) {
    server.reconfigure("shared_preload_libraries = 'scope_roles'\n");
    server.restart();
}

#[track_caller]
fn refused(server: &Server, role: &str, db: &str) {
    let refusal = match server.try_login(role, db) {
        Err(refusal) => refusal,
        Ok(_) => panic!("{role} logs in to {db}"),
    };
    assert_eq!(refusal.code, "55000", "{role}: {refusal}");
    assert!(refusal.rest.contains("FATAL"), "{role}: {refusal}");
    assert!(
        refusal.hint.contains("shared_preload_libraries"),
        "{role}: {refusal}"
    );
}

#[test]
fn a_server_without_the_library_lets_no_managed_login_in() {
    let server = Server::start(Options::default());
    let mut admin = server.admin("postgres");
    admin.run(
        "CREATE EXTENSION scope_roles; CREATE TABLE t (x int); CREATE SCHEMA app;
         CREATE ROLE app_user NOLOGIN; CREATE ROLE person LOGIN; SELECT scope.guard_login('person')",
    );
    admin.run("CREATE DATABASE other");
    let one = |admin: &mut Session, call: &str| admin.handed(&format!("scope.{call}")).role;
    let reader = one(&mut admin, "create_readonly_role('t')");
    let logins = [
        reader.clone(),
        one(&mut admin, "create_readwrite_role('t')"),
        one(&mut admin, "create_admin_role('{app}')"),
        one(
            &mut admin,
            "create_readonly_role('t', statement_timeout => '1 min', search_path => '{app,public}')",
        ),
        one(&mut admin, "create_authenticator('api', '{app_user}')"),
        one(
            &mut admin,
            &format!("rotate_password('{reader}', '1 hour')"),
        ),
        {
            let plain = one(&mut admin, "create_readonly_role('t')");
            admin.run(&format!("SELECT scope.renew_role('{plain}', '2 hours')"));
            one(&mut admin, &format!("rotate_password('{plain}')"))
        },
    ];
    for login in &logins {
        server.login(login, "postgres");
    }
    admin.assert_that(
        "NOT EXISTS (SELECT FROM scope.review() WHERE code IN ('not_preloaded', 'unbound_login'))",
    );
    admin.assert_that("(SELECT count(*) = 1 FROM scope.credentials WHERE settings IS NOT NULL AND settings::text !~ 'preload' AND settings::text ~ 'statement_timeout')");
    without(&server);
    for login in &logins {
        for db in ["postgres", "other", "template1"] {
            refused(&server, login, db);
        }
    }
    // Nor by what a client can ask for: PostgreSQL says no before the library does.
    for options in [
        "-c session_preload_libraries=",
        "-c local_preload_libraries= -c session_preload_libraries=pg_stat_statements",
    ] {
        let refusal = server
            .try_login_with_options(&logins[0], "postgres", options)
            .err()
            .expect("refused");
        assert!(
            ["42501", "55000"].contains(&refusal.code.as_str()),
            "{refusal}"
        );
    }
    let answers = Wire::try_open(
        &server,
        &logins[0],
        "postgres",
        &[("session_preload_libraries", "")],
    );
    assert!(answers.is_err(), "by a start-up parameter");
    // Nobody else has to do with it, and the DBA is told.
    server.login("person", "postgres");
    let mut admin = server.admin("postgres");
    admin.assert_that("(SELECT bool_and(state = 'unchecked' AND last_error ~ 'without the library') FROM scope.roles WHERE kind <> 'scope')");
    admin.assert_that("(SELECT bool_and(state = 'unchecked' AND last_error ~ 'without the library') FROM scope.credentials)");
    admin.assert_that("(SELECT bool_and(state = 'active' AND last_error IS NULL) FROM scope.roles WHERE kind = 'scope')");
    admin.assert_that("NOT scope.is_preloaded()");
    admin.assert_that(
        "(SELECT severity = 'critical' FROM scope.review() WHERE code = 'not_preloaded')",
    );
    // A superuser in its name is a superuser still.
    admin.run(&format!("SET SESSION AUTHORIZATION {reader}; SELECT scope.is_preloaded(); RESET SESSION AUTHORIZATION"));
    with(&server);
    for login in &logins {
        server.login(login, "other");
    }
    server
        .admin("postgres")
        .assert_that("scope.is_preloaded() AND (SELECT bool_and(state = 'active') FROM scope.credentials WHERE replaced_by IS NULL)");
}

/// Without the file PostgreSQL itself refuses, and only the logins of ours.
#[test]
fn a_server_without_the_file_lets_no_managed_login_in() {
    let server = Server::start(Options::default());
    let mut admin = server.admin("postgres");
    admin.run("CREATE EXTENSION scope_roles; CREATE TABLE t (x int); CREATE ROLE person LOGIN");
    let login = admin.issue("'t'").role;
    // As if the file had another name: tests run beside each other on one.
    admin.run(&format!("UPDATE pg_db_role_setting SET setconfig = '{{session_preload_libraries=scope_roles_gone}}' WHERE setrole = '{login}'::regrole"));
    without(&server);
    let refusal = server.try_login(&login, "postgres").err().expect("refused");
    assert_eq!(refusal.code, "58P01", "{refusal}");
    server.login("person", "postgres");
    server.admin("postgres");
}

/// Logins from before, and what somebody has changed by hand, are findings whose SQL fixes them.
#[test]
fn a_login_that_would_come_in_unchecked_is_a_finding() {
    if !has_library("auto_explain") {
        skip("this server has no auto_explain");
        return;
    }
    let server = Server::start(Options::default());
    let mut admin = server.admin("postgres");
    admin.run("CREATE EXTENSION scope_roles; CREATE TABLE t (x int)");
    admin.run("CREATE DATABASE \"o;ther\"");
    let [plain, more, database, renewed, rotated] = [(); 5].map(|()| admin.issue("'t'").role);
    admin.run(&format!(
        "ALTER ROLE {plain} RESET session_preload_libraries;
         ALTER ROLE {more} SET session_preload_libraries = auto_explain;
         ALTER ROLE {database} IN DATABASE \"o;ther\" SET session_preload_libraries = '';
         ALTER ROLE {renewed} RESET ALL; ALTER ROLE {rotated} RESET ALL"
    ));
    let found = "SELECT role_name FROM scope.review() WHERE code = 'unbound_login' AND severity = 'high' ORDER BY 1";
    let mut all = vec![
        plain.clone(),
        more.clone(),
        database.clone(),
        renewed.clone(),
        rotated.clone(),
    ];
    all.sort();
    assert_eq!(admin.column(found), all);
    // Whoever goes on with one fixes it.
    admin.run(&format!(
        "SELECT scope.renew_role('{renewed}'); SELECT scope.rotate_password('{rotated}')"
    ));
    for fix in admin.column("SELECT fix FROM scope.review() WHERE code = 'unbound_login'") {
        admin.run(&fix);
    }
    assert_eq!(admin.column(found), Vec::<String>::new());
    admin.assert_that(&format!("(SELECT setconfig = '{{\"session_preload_libraries=auto_explain, scope_roles\"}}' FROM pg_db_role_setting WHERE setrole = '{more}'::regrole)"));
    server
        .login(&more, "postgres")
        .text("SHOW auto_explain.log_min_duration");
    // A login itself changes nothing of it, nor does one with CREATEROLE.
    admin.run("CREATE ROLE maker LOGIN CREATEROLE");
    for role in [plain.as_str(), "maker"] {
        let mut s = server.login(role, "postgres");
        for sql in [
            "SET session_preload_libraries = ''",
            "RESET session_preload_libraries",
        ] {
            s.denied(&format!("ALTER ROLE {plain} {sql}"), "42501");
        }
        let _ = s.attempt(&format!("ALTER ROLE {plain} RESET ALL"));
    }
    without(&server);
    for role in [&plain, &more, &database, &renewed, &rotated] {
        refused(&server, role, "postgres");
        refused(&server, role, "o;ther");
    }
}

/// The setting of a login takes the place of the database's and the server's, which may be what masks or audits.
#[test]
fn what_the_database_and_the_server_preload_is_preloaded_for_managed_logins_too() {
    if !has_library("auto_explain") {
        skip("this server has no auto_explain");
        return;
    }
    let server = Server::start(Options::default());
    let mut admin = server.admin("postgres");
    admin.run("CREATE EXTENSION scope_roles; CREATE TABLE t (x int); INSERT INTO t SELECT generate_series(1, 1000); ANALYZE t");
    admin.run("CREATE DATABASE masked");
    let login = admin.issue("'t'").role;
    let loaded = |db: &str| {
        let mut s = server.login(&login, db);
        let list = s.text("SELECT coalesce(string_agg(name, ',' ORDER BY name), '') FROM pg_settings WHERE name IN ('auto_explain.log_min_duration', 'plpgsql.check_asserts')");
        list.contains("auto_explain")
    };
    assert!(!loaded("postgres") && !loaded("masked"));
    admin.run("ALTER DATABASE masked SET session_preload_libraries = 'auto_explain'");
    assert!(!loaded("postgres") && loaded("masked"));
    admin.run("ALTER DATABASE masked RESET session_preload_libraries; ALTER ROLE ALL SET session_preload_libraries = 'auto_explain'");
    assert!(loaded("postgres") && loaded("masked"));
    admin.run("ALTER ROLE ALL RESET session_preload_libraries");
    server.alter_system("session_preload_libraries", "auto_explain");
    assert!(loaded("postgres") && loaded("masked"));
    admin.run("ALTER DATABASE masked SET session_preload_libraries = 'plpgsql'");
    assert!(loaded("postgres") && !loaded("masked"));
    // In parallel workers, which have their leader's settings.
    let mut s = server.login(&login, "postgres");
    s.run(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SET max_parallel_workers_per_gather = 2",
    );
    assert_eq!(s.text("SELECT count(*) FROM t"), "1000");
}

#[test]
fn creating_the_extension_without_the_library_warns() {
    let server = Server::start(Options::without_preload());
    let mut s = server.admin("postgres");
    s.run("CREATE EXTENSION scope_roles");
    let notices = s.notices();
    let warned = notices.iter().any(|notice| {
        notice.rest.contains("WARNING")
            && notice.code == "55000"
            && notice.hint.contains("shared_preload_libraries")
    });
    assert!(warned, "{notices:?}");
}
