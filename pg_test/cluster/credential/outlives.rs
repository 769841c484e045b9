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

/// A person has a role for an hour, and what that role owns or may grant.
#[test]
fn attack_a_temporary_member_issues_what_outlives_the_membership() {
    let f = Fixture::new("outlives_person");
    let mut admin = f.admin();
    let [owner, group] = ["owner", "group"].map(|suffix| f.role(suffix, "NOLOGIN"));
    let [person, deputy, other] =
        ["person", "deputy", "other"].map(|suffix| f.role(suffix, "LOGIN"));
    admin.run(&format!(
        "ALTER TABLE orders OWNER TO {owner}; GRANT {group} TO {owner} WITH ADMIN OPTION; GRANT {owner} TO {deputy};
         GRANT CREATE ON SCHEMA public TO {person}, {owner};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO PUBLIC"
    ));
    admin.run(&format!(
        "SELECT scope.grant_temporary('{owner}', '{person}', '1 hour')"
    ));
    let end = admin.text(&format!(
        "SELECT valid_until FROM scope.credentials WHERE kind = 'temporary' AND granted_to = '{person}'"
    ));
    let ends = |admin: &mut Session, role: &str| {
        admin.text(&format!(
            "SELECT valid_until FROM scope.credentials WHERE role = '{role}'"
        ))
    };
    let mut taken = f.login(&person);
    taken.run(&format!("SET ROLE {owner}"));
    let mut inherits = f.login(&person);
    let mut made = Vec::new();
    for s in [&mut taken, &mut inherits] {
        for call in [
            "scope.create_readonly_role('orders', valid_for => '365 days')",
            "scope.create_readonly_role('orders')",
            &format!(
                "scope.create_authenticator('{person}_api{}', '{{{group}}}')",
                made.len()
            ),
            &format!(
                "scope.create_authenticator('{person}_api{}', '{{{group}}}', valid_for => '20 days')",
                made.len() + 1
            ),
        ] {
            let role = s.handed(call).role;
            assert_eq!(ends(&mut admin, &role), end, "{call}");
            made.push(role);
        }
        assert_eq!(
            s.text(&format!(
                "SELECT scope.grant_temporary('{group}', '{other}', '20 days')"
            )),
            end
        );
        let spec = format!(
            r#"{{"version": 1, "memberships": [{{"role": "{group}", "member": "{other}"}}]}}"#
        );
        let refusal = s.refused(&format!("SELECT * FROM scope.apply('{spec}')"), "42501");
        assert!(refusal.hint.contains("grant_temporary"), "{refusal}");
        s.run(&format!(
            r#"SELECT * FROM scope.apply('{{"version": 1, "authenticators": [{{"name": "{person}_spec{}", "roles": ["{group}"]}}]}}')"#,
            made.len()
        ));
        assert_eq!(
            ends(&mut admin, &format!("{person}_spec{}", made.len())),
            end
        );
        // What others have issued for longer they do not get hold of.
        let longer = f
            .login(&deputy)
            .handed(&format!(
                "scope.create_credential('{{{}}}')",
                admin.scope_of(&made[0])
            ))
            .role;
        assert_ne!(ends(&mut admin, &longer), end);
        for call in ["renew_role('{}', '20 days')", "rotate_password('{}')"] {
            if s.text("SELECT current_user") == owner {
                s.refused(
                    &format!("SELECT scope.{}", call.replace("{}", &longer)),
                    "42501",
                );
            }
        }
        s.run(&format!(
            "SELECT scope.renew_role('{}', '20 days')",
            made.last().expect("one")
        ));
        assert_eq!(ends(&mut admin, made.last().expect("one")), end);
    }
    // What was issued as the person itself is the person's still, and no longer for that.
    admin.run(&format!(
        "SELECT scope.revoke_temporary('{owner}', '{person}')"
    ));
    let mut after = f.login(&person);
    let own = admin.column(&format!(
        "SELECT role FROM scope.credentials WHERE created_by = '{person}' AND kind IN ('credential', 'authenticator') ORDER BY 1"
    ));
    assert!(own.len() >= 4, "{own:?}");
    for role in &own {
        let refusal = after.refused(
            &format!("SELECT scope.renew_role('{role}', '20 days')"),
            "42501",
        );
        assert!(refusal.detail.contains("for a time"), "{refusal}");
        after.refused(&format!("SELECT scope.rotate_password('{role}')"), "42501");
        assert_eq!(ends(&mut admin, role), end);
    }
    // Who has the right for good prolongs what its role has issued, and then it is like any other.
    let mut s = f.login(&deputy);
    s.run(&format!(
        "SET ROLE {owner}; SELECT scope.renew_role('{}', '20 days')",
        made[0]
    ));
    assert_ne!(ends(&mut admin, &made[0]), end);
    admin.run(&format!("SELECT scope.renew_role('{}', '20 days')", own[0]));
    // Neither a membership that is held anyway nor one that ended binds anybody.
    let free = after.attempt("SELECT scope.create_scope('outlives_own', '{SELECT}', '{orders}')");
    assert_eq!(
        free.err().map(|refusal| refusal.code),
        Some("42501".to_owned())
    );
    after.run("CREATE TABLE own (i int)");
    let free = after
        .handed("scope.create_readonly_role('own', valid_for => '20 days')")
        .role;
    assert_ne!(ends(&mut admin, &free), end);
    admin.run(&format!(
        "SELECT scope.grant_temporary('{owner}', '{other}', '1 hour'); GRANT {owner} TO {other}"
    ));
    let free = f
        .login(&other)
        .handed("scope.create_readonly_role('orders', valid_for => '20 days')")
        .role;
    admin.assert_that(&format!(
        "(SELECT time_left > interval '10 days' FROM scope.roles WHERE role = '{free}')"
    ));
}
