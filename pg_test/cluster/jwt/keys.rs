//! A switch ends with the key, or the issuer, that it was made by.

use serde_json::json;

use super::issuers::{ED, claims, iss, register, takes};
use super::{Gate, assert_switched, switch, switch_session};
use crate::harness::*;

/// A key that is taken away because it leaked takes with it what was switched by it.
#[test]
fn attack_a_switch_that_outlives_its_key_or_its_issuer() {
    let g = Gate::new("jwt_keys_gone");
    let mut admin = g.f.admin();
    let other = Key::ed25519("ed-other");
    let set_keys = |keys: &[&Key]| {
        format!(
            "SELECT scope.set_jwt_keys('gone', {})",
            literal(&jwks(keys))
        )
    };
    let again = format!(
        "SELECT scope.add_jwt_issuer('gone', '{}', {}",
        iss("gone"),
        literal(&jwks(&[&ED]))
    );
    for change in [
        set_keys(&[&other]),
        "SELECT scope.drop_jwt_issuer('gone')".into(),
        format!(
            "SELECT scope.drop_jwt_issuer('gone'); {again}, allowed_roles => '{{{}}}')",
            g.writer
        ),
        format!("SELECT scope.drop_jwt_issuer('gone'); {again}, audiences => '{{elsewhere}}')"),
    ] {
        register(&g, "gone", &jwks(&[&ED]), "");
        let token = ED.token("EdDSA", &claims(&g, "gone", json!({})));
        let (mut s, mut lasting) = (g.login(), g.login());
        s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
        lasting.run(&switch_session(&token));
        // Neither another key beside it, nor anything about another issuer, does.
        admin.run(&set_keys(&[&other, &ED]));
        register(&g, "unconcerned", &jwks(&[&other]), "");
        admin.run("SELECT scope.drop_jwt_issuer('unconcerned')");
        for s in [&mut s, &mut lasting] {
            assert_switched(s, &g.reader);
        }
        admin.run(&change);
        s.refused_with("SELECT * FROM orders", "28000", "withdrawn");
        s.run("ROLLBACK TO s");
        s.refused_with("SELECT 1", "28000", "withdrawn");
        s.run("ROLLBACK");
        lasting.refused_with("SELECT * FROM orders", "28000", "withdrawn");
        lasting.refused_with("RESET ROLE", "28000", "withdrawn");
        s.refused(
            &switch(&token),
            if change.contains("allowed") {
                "42501"
            } else {
                "28000"
            },
        );
        admin.run("DELETE FROM _scope.jwt_issuer");
    }
}

/// The same of the key that is configured, from the reload on.
#[test]
fn attack_a_switch_that_outlives_the_configured_key() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_keys_reload"));
    let token = g.token(json!({}));
    let (mut s, mut lasting) = (g.login(), g.login());
    s.run(&format!("BEGIN; {}", switch(&token)));
    lasting.run(&switch_session(&token));
    // A reload that changes nothing of it ends nothing.
    server.alter_system("scope_roles.jwt_leeway", "40s");
    assert_switched(&mut s, &g.reader);
    assert_switched(&mut lasting, &g.reader);
    server.alter_system(
        "scope_roles.jwt_secret",
        "another secret, long enough to be taken for one",
    );
    s.refused_with("SELECT * FROM orders", "28000", "withdrawn");
    s.run("ROLLBACK");
    lasting.refused_with("SELECT * FROM orders", "28000", "withdrawn");
    server.alter_system("scope_roles.jwt_secret", SECRET);
    takes(&mut s, &token, &g.reader);
}
