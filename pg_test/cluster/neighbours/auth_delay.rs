//! contrib/auth_delay makes those wait who have sent a wrong password, and so a wrong token.

use std::time::{Duration, Instant};

use super::*;
use crate::door::{Door, HBA};

in_both_orders! {
    a_wrong_token_costs_what_a_wrong_password_does("auth_delay");
}

fn a_wrong_token_costs_what_a_wrong_password_does(order: Order) {
    let libraries = match order {
        Order::First => "scope_roles, auth_delay",
        Order::Last => "auth_delay, scope_roles",
    };
    let server = Server::start(
        Options::default()
            .hba(HBA)
            .set("shared_preload_libraries", libraries)
            .set("auth_delay.milliseconds", "2min"),
    );
    let d = Door::open(&server, "auth_delay");
    let revoked = d.token(json!({"jti": "t1", "iat": now()}));
    let start = Instant::now();
    d.knock(&revoked).expect("a login");
    assert!(start.elapsed() < Duration::from_secs(120));
    d.f.admin()
        .run("SELECT scope.revoke_token('t1', now() + interval '1 hour')");
    server.alter_system("auth_delay.milliseconds", "500ms");
    let wrong = Key::ed25519("ed-1").token("EdDSA", &d.claims(json!({})));
    let costs = |what: &str, attempt: &dyn Fn() -> Result<Session, Refusal>| {
        let start = Instant::now();
        let refusal = attempt().err().expect(what);
        assert_eq!(refusal.code, "28P01", "{what}: {refusal}");
        assert!(start.elapsed() >= Duration::from_millis(500), "{what}");
    };
    costs("a wrong password", &|| {
        server.try_password("postgres", "wrong", "postgres")
    });
    costs("a wrong token", &|| d.knock(&wrong));
    // What the tables alone know is found when the session begins.
    costs("a revoked token", &|| d.knock(&revoked));
}
