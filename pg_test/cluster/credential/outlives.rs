//! A login that ends makes none that goes on.

use crate::harness::*;

#[test]
fn attack_a_credential_issues_a_login_that_outlives_it() {
    let f = Fixture::new("outlives");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
         GRANT EXECUTE ON FUNCTION scope.create_readonly_role, scope.create_scope, scope.create_credential, scope.renew_role,
           scope.rotate_password, scope.revoke_role, scope.create_authenticator, scope.grant_temporary TO PUBLIC;
         CREATE ROLE outlives_taken NOLOGIN",
    );
    let short = admin
        .handed("scope.create_admin_role('{app}', 'outlives_short', '1 hour')")
        .role;
    let long = admin
        .handed("scope.create_admin_role('{app}', 'outlives_long', '10 hours')")
        .role;
    let end = admin.text(&format!(
        "SELECT valid_until FROM scope.credentials WHERE role = '{short}'"
    ));
    let mut s = f.login(&short);
    s.run("CREATE TABLE app.own (i int)");
    let ends = |admin: &mut Session, role: &str| {
        admin.text(&format!(
            "SELECT valid_until FROM scope.credentials WHERE role = '{role}'"
        ))
    };
    for call in [
        "scope.create_readonly_role('app.own', 'outlives_1', '365 days')",
        "scope.create_readonly_role('app.own', 'outlives_2')",
    ] {
        let made = s.handed(call).role;
        assert_eq!(ends(&mut admin, &made), end, "{call}");
        assert!(!s.notices().is_empty(), "{call}");
    }
    // A function of its own is no administrator's.
    s.run(
        "CREATE FUNCTION app.f() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
           AS $$SELECT role_name FROM scope.create_readonly_role('app.own', 'outlives_3', '365 days')$$",
    );
    s.text("SELECT app.f()");
    assert_eq!(ends(&mut admin, "outlives_3"), end);
    // A scope of the scope that it works as is somebody's.
    s.run("SELECT scope.create_scope('outlives_scope', '{SELECT}', '{app.own}')");
    let made = s
        .handed("scope.create_credential('{outlives_scope}', 'outlives_4', '20 hours')")
        .role;
    assert_eq!(ends(&mut admin, &made), end);
    // What another session of the same scope has issued for longer is not its own to take over.
    let mut other = f.login(&long);
    let longer = other
        .handed("scope.create_readonly_role('app.own', 'outlives_5', '9 hours')")
        .role;
    for call in [
        format!("scope.renew_role('{longer}', '20 hours')"),
        format!("scope.rotate_password('{longer}')"),
        format!("scope.rotate_password('{longer}', '1 minute')"),
    ] {
        let refusal = s.refused(&format!("SELECT {call}"), "42501");
        assert!(!refusal.hint.is_empty(), "{refusal}");
    }
    s.run("SELECT scope.renew_role('outlives_1', '20 hours')");
    assert_eq!(ends(&mut admin, "outlives_1"), end);
    s.handed("scope.rotate_password('outlives_1')");
    s.run(&format!("SELECT scope.revoke_role('{longer}')"));
    // Neither the owner of the objects nor an administrator's function is bound.
    let free = admin.issue("'orders', 'outlives_free', '20 hours'").role;
    assert_ne!(ends(&mut admin, &free), end);
    admin.run(
        "CREATE FUNCTION app.g() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
           AS $$SELECT role_name FROM scope.create_readonly_role('public.orders', 'outlives_6', '20 hours')$$",
    );
    s.text("SELECT app.g()");
    assert_ne!(ends(&mut admin, "outlives_6"), end);
}

#[test]
fn attack_a_credential_makes_a_scope_that_stays() {
    let f = Fixture::new("stays");
    let mut admin = f.admin();
    let login = admin.issue("'orders'").role;
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.create_scope, scope.create_readonly_role TO {login};
         GRANT SELECT ON orders TO {login} WITH GRANT OPTION; GRANT USAGE ON SCHEMA public TO {login} WITH GRANT OPTION"
    ));
    let mut s = f.login(&login);
    for call in [
        "create_scope('stays_scope', '{SELECT}', '{orders}')",
        "create_readonly_role('orders', 'stays_login', '365 days')",
    ] {
        s.refused(&format!("SELECT scope.{call}"), "42501");
    }
}
