//! What the extension has issued goes on after the database has been hardened.

use crate::harness::*;

#[test]
fn hardening_leaves_issuers_what_they_have_issued() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "hardened");
    let mut admin = f.admin();
    let alice = f.issuer("alice");
    admin.run(&format!(
        "CREATE SCHEMA shop AUTHORIZATION {alice};
         GRANT EXECUTE ON FUNCTION scope.rotate_password, scope.create_scope, scope.create_admin_role TO {alice}"
    ));
    let mut s = f.login(&alice);
    s.run("CREATE TABLE shop.goods (id int); CREATE TABLE shop.other (id int)");
    let login = s.issue("'shop.goods', 'hardened_rep'").role;
    let worker = s
        .handed("scope.create_admin_role('{shop}', 'hardened_admin', '1 hour')")
        .role;
    drop(server.login(&login, &f.name));
    let steps = admin
        .rows("SELECT statement, breaks, done FROM scope.harden(true) WHERE statement ~ 'CONNECT'");
    let statements: Vec<_> = steps.iter().filter_map(|row| row[0].clone()).collect();
    assert!(
        !statements
            .iter()
            .any(|sql| sql.contains(&format!("TO {login}"))),
        "{statements:?}"
    );
    assert!(
        steps.iter().all(|row| row[2].as_deref() == Some("t")),
        "{steps:?}"
    );
    for role in [&login, &worker, &alice] {
        assert!(server.try_login(role, &f.name).is_ok(), "{role}");
    }
    // Both kinds of logins, at once and with an overlap; and more of the same.
    for role in [&login, &worker] {
        s.handed(&format!("scope.rotate_password('{role}')"));
        let next = s
            .handed(&format!("scope.rotate_password('{role}', '1 hour')"))
            .role;
        assert!(server.try_login(&next, &f.name).is_ok(), "{next}");
    }
    let more = s.issue("'shop.goods'").role;
    assert!(server.try_login(&more, &f.name).is_ok(), "{more}");
    let more = s.issue("'shop.other'").role;
    assert!(server.try_login(&more, &f.name).is_ok(), "{more}");
    assert_eq!(
        admin.rows("SELECT * FROM scope.harden() WHERE statement ~ 'CONNECT'"),
        Vec::<Vec<Option<String>>>::new(),
        "a second time"
    );
}

/// Who can only take a role has none of its rights until then: also to connect.
#[test]
fn hardening_shuts_nobody_out_who_inherits_nothing() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "hardened_noinherit");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.create_scope('hardened_user', '{SELECT}', '{orders}'); CREATE SCHEMA app",
    );
    let service = admin
        .handed("scope.create_authenticator('hardened_api', '{hardened_user}')")
        .role;
    let worker = admin
        .handed("scope.create_admin_role('{app}', 'hardened_worker', '1 hour')")
        .role;
    let plain = f.role("plain", "LOGIN NOINHERIT IN ROLE hardened_user");
    let reader = admin
        .handed("scope.create_credential('{hardened_user}', 'hardened_reader')")
        .role;
    let stranger = f.role("stranger", "LOGIN");
    let steps = admin
        .rows("SELECT statement, breaks, done FROM scope.harden(true) WHERE statement ~ 'CONNECT'");
    assert!(
        steps.iter().all(|row| row[2].as_deref() == Some("t")),
        "{steps:?}"
    );
    for role in [&service, &worker, &plain, &reader] {
        assert!(server.try_login(role, &f.name).is_ok(), "{role}: {steps:?}");
        assert!(
            !steps.iter().any(|row| row[1]
                .as_ref()
                .is_some_and(|breaks| breaks.contains(role.as_str()))),
            "{steps:?}"
        );
    }
    assert_eq!(
        server
            .try_login(&stranger, &f.name)
            .map(|_| ())
            .expect_err("a stranger")
            .code,
        "42501"
    );
    assert!(
        steps.iter().any(|row| row[1]
            .as_ref()
            .is_some_and(|breaks| breaks.contains(&stranger))),
        "{steps:?}"
    );
    // The finding's own fix does the same.
    admin.run(&format!("GRANT CONNECT ON DATABASE {} TO PUBLIC; REVOKE CONNECT ON DATABASE {} FROM {service}, {worker}, {plain}", f.name, f.name));
    let fix = admin.text("SELECT fix FROM scope.review() WHERE code = 'public_connect'");
    admin.run(&fix);
    for role in [&service, &worker, &plain, &reader] {
        assert!(server.try_login(role, &f.name).is_ok(), "{role}: {fix}");
    }
}

/// A label of another cluster may name this database's number, and somebody here by number and name.
#[test]
fn attack_a_login_of_another_cluster_gets_nobody_a_grant_option() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "hardened_restored");
    let mut admin = f.admin();
    let alice = f.issuer("alice");
    admin.run(&format!("CREATE SCHEMA shop AUTHORIZATION {alice}"));
    let mut s = f.login(&alice);
    s.run("CREATE TABLE shop.goods (id int)");
    let login = s.issue("'shop.goods'").role;
    let options = "SELECT statement FROM scope.harden() WHERE statement LIKE '%WITH GRANT OPTION%'";
    assert_eq!(admin.column(options).len(), 1);
    admin.run(&format!(
        "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE {login} IS %L',
           (SELECT label::jsonb || '{{\"system\": 1}}' FROM pg_shseclabel WHERE provider = 'scope_roles' AND objoid = '{login}'::regrole)); END $$"
    ));
    assert_eq!(admin.column(options), [""; 0]);
}

#[test]
fn rotation_counts_no_connect_that_everyone_has_and_hands_out_no_login_that_cannot_connect() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "connects");
    let mut admin = f.admin();
    let alice = f.issuer("alice");
    admin.run(&format!(
        "CREATE TABLE goods (id int); ALTER TABLE goods OWNER TO {alice}; GRANT EXECUTE ON FUNCTION scope.rotate_password TO {alice}"
    ));
    let mut s = f.login(&alice);
    let login = s.issue("'goods'").role;
    // As an administrator does by hand.
    admin.run(&format!("GRANT CONNECT ON DATABASE connects TO {login}"));
    s.handed(&format!("scope.rotate_password('{login}')"));
    admin.run(&format!(
        "GRANT CONNECT ON DATABASE connects TO {alice}; REVOKE CONNECT ON DATABASE connects FROM PUBLIC"
    ));
    s.refused(&format!("SELECT scope.rotate_password('{login}')"), "42501");
    let refusal = s.refused(
        &format!("SELECT scope.rotate_password('{login}', '1 hour')"),
        "42501",
    );
    assert!(refusal.detail.contains("connect"), "{refusal}");
    assert!(server.try_login(&login, &f.name).is_ok());
    let scope = admin.scope_of(&login);
    admin.run(&format!("GRANT CONNECT ON DATABASE connects TO {scope}"));
    let next = s
        .handed(&format!("scope.rotate_password('{login}', '1 hour')"))
        .role;
    assert!(server.try_login(&next, &f.name).is_ok(), "{next}");
    // Who may not connect hands that on no more.
    admin.run(&format!("REVOKE CONNECT ON DATABASE connects FROM {alice}"));
    s.refused(&format!("SELECT scope.rotate_password('{next}')"), "42501");
}
