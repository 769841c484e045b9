//! A switch ends with the login's right to the role.

use serde_json::json;

use super::{Gate, assert_switched, end_session, switch, switch_session};
use crate::harness::*;

/// A token that ends later does not make the time longer for which a role was given.
#[test]
fn attack_a_switch_that_outlives_a_temporary_membership() {
    let g = Gate::new("jwt_for_a_time");
    let mut admin = g.f.admin();
    let token = g.token(json!({}));
    for (ann, revoked) in [("ann", false), ("bob", true)] {
        let person = g.f.role(ann, "LOGIN NOINHERIT");
        let valid_for = if revoked { "1 hour" } else { "3 seconds" };
        admin.run(&format!(
            "SELECT scope.grant_temporary('{}', '{person}', '{valid_for}')",
            g.reader
        ));
        let (mut s, mut lasting) = (g.f.login(&person), g.f.login(&person));
        s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
        lasting.run(&switch_session(&token));
        for s in [&mut s, &mut lasting] {
            assert_switched(s, &g.reader);
            assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
        }
        if revoked {
            admin.run(&format!(
                "SELECT scope.revoke_temporary('{}', '{person}')",
                g.reader
            ));
        } else {
            // What runs when the time is over is cancelled.
            let refusal = lasting.attempt("SELECT pg_sleep(30)").expect_err("it ends");
            assert_eq!(refusal.code, "28000", "{refusal}");
        }
        for sql in [
            "SELECT * FROM orders",
            "TABLE orders",
            "COPY orders TO STDOUT",
        ] {
            // The membership has ended, or the worker has taken it away already.
            for s in [&mut lasting, &mut s] {
                let refusal = s.attempt(sql).expect_err(sql);
                assert!(["42501", "28000"].contains(&&*refusal.code), "{refusal}");
            }
            s.run("ROLLBACK TO s");
        }
        s.run("ROLLBACK");
    }
}

/// Nor does one that is shown once it is over, whoever has not taken the membership away yet.
#[test]
fn attack_a_switch_after_a_temporary_membership() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_after_time"));
    let mut admin = g.f.admin();
    let person = g.f.role("ann", "LOGIN NOINHERIT");
    admin.run(&format!(
        "SELECT scope.grant_temporary('{}', '{person}', '2 seconds')",
        g.reader
    ));
    admin.run("ALTER SYSTEM SET scope_roles.expiry = off");
    admin.run("SELECT pg_reload_conf()");
    let token = g.token(json!({}));
    let mut s = g.f.login(&person);
    wait_until("the time is over", 30, || {
        let _any = s.attempt("ROLLBACK");
        s.run("BEGIN");
        s.attempt(&switch(&token))
            .and_then(|_| s.attempt("SELECT * FROM orders"))
            .is_err_and(|refusal| refusal.code == "42501")
    });
    admin.assert_that(&format!(
        "pg_has_role('{person}', '{}', 'MEMBER')",
        g.reader
    ));
}

/// A role that is taken away from the login is gone from what it has switched.
#[test]
fn attack_a_switch_that_outlives_the_right_to_its_role() {
    let g = Gate::new("jwt_right_gone");
    let mut admin = g.f.admin();
    let token = g.token(json!({}));
    for (change, back) in [
        (
            format!("REVOKE {} FROM {}", g.reader, g.auth),
            format!("GRANT {} TO {}", g.reader, g.auth),
        ),
        (
            format!("ALTER ROLE {} BYPASSRLS", g.reader),
            format!("ALTER ROLE {} NOBYPASSRLS", g.reader),
        ),
        (
            format!("ALTER ROLE {} CREATEROLE", g.reader),
            format!("ALTER ROLE {} NOCREATEROLE", g.reader),
        ),
    ] {
        let (mut s, mut lasting) = (g.login(), g.login());
        s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
        lasting.run(&switch_session(&token));
        // What is done about other roles changes nothing.
        admin.run(&format!(
            "REVOKE {0} FROM {1}; GRANT {0} TO {1}",
            g.writer, g.auth
        ));
        for s in [&mut s, &mut lasting] {
            assert_switched(s, &g.reader);
        }
        admin.run(&change);
        s.refused_with("SELECT * FROM orders", "28000", "withdrawn");
        s.run("ROLLBACK TO s");
        s.refused_with("SELECT 1", "28000", "withdrawn");
        s.run("ROLLBACK TO s");
        lasting.refused_with("SELECT * FROM orders", "28000", "withdrawn");
        admin.run(&back);
        for s in [&mut s, &mut lasting] {
            assert_switched(s, &g.reader);
        }
        s.run("ROLLBACK");
    }
}

/// A token is a right for a time: what it issues ends by then.
#[test]
fn attack_a_token_of_minutes_issues_logins_of_months() {
    let f = Fixture::new("jwt_issues");
    let mut admin = f.admin();
    let owner = f.role("owner", "NOLOGIN");
    let bob = f.role("bob", "LOGIN");
    admin.run(&format!(
        "ALTER TABLE orders OWNER TO {owner}; GRANT USAGE ON SCHEMA scope TO {owner};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {owner}"
    ));
    admin.handed(&format!(
        "scope.create_authenticator('jwt_issues_api', '{{{owner}}}')"
    ));
    let token = sign(&json!({"role": owner, "exp": now() + 300}));
    let mut s = f.login("jwt_issues_api");
    s.run(&format!("BEGIN; {}", switch(&token)));
    // With the leeway that the token has.
    let ends = "<= now() + interval '10 minutes'";
    s.assert_that(&format!(
        "(SELECT valid_until {ends} FROM scope.create_readonly_role('orders', 'jwt_issues_ro'))"
    ));
    s.run("SELECT scope.create_scope('jwt_issues_sc', '{SELECT}', '{orders}')");
    s.assert_that(&format!(
        "(SELECT valid_until {ends} FROM scope.create_authenticator('jwt_issues_own', '{{jwt_issues_sc}}'))"
    ));
    s.run(&format!(
        "SELECT scope.grant_temporary('jwt_issues_sc', '{bob}', '1 day'); COMMIT"
    ));
    admin.assert_that(&format!(
        "(SELECT valid_until {ends} FROM scope.credentials WHERE granted_to = '{bob}')"
    ));
    s.run("BEGIN");
    // Nor does it get hold of what lasts.
    admin.run("SELECT scope.create_credential('{jwt_issues_sc}', 'jwt_issues_long', valid_for => '1 day')");
    s.run(&switch(&token));
    s.refused("SELECT scope.rotate_password('jwt_issues_long')", "42501");
    s.run("ROLLBACK");
}

/// Rights on a large object are asked about when it is opened: what a switch has opened ends with it.
#[test]
fn attack_a_large_object_that_a_sessions_switch_has_opened() {
    let g = Gate::new("jwt_large");
    let mut admin = g.f.admin();
    let object = admin.text("SELECT lo_from_bytea(0, 'treasure')");
    admin.run(&format!(
        "GRANT SELECT, UPDATE ON LARGE OBJECT {object} TO {}",
        g.reader
    ));
    let token = g.token(json!({}));
    let mut s = g.login();
    s.run(&switch_session(&token));
    s.run("BEGIN");
    let descriptor = s.text(&format!("SELECT lo_open({object}, x'60000'::int)"));
    s.run(&end_session(&token));
    s.assert_that("current_user = session_user");
    s.denied(&format!("SELECT loread({descriptor}, 100)"), "42704");
    s.run("ROLLBACK");
}
