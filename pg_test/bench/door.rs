//! Logging in by token, against the same by password.

use crate::cluster::harness::{Fixture, Options, Server, Session, literal};
use crate::credentials::time;
use crate::measure::{Figures, OneProcessor, compare, in_turns};
use crate::scene::{DATABASE, Scene};
use crate::tokens::{Family, ROLE};

const ROUNDS: usize = 400;

/// From the first byte to the first answer, client and server on one processor: what a client computes for SCRAM is a part of it.
pub fn login(scene: &Scene) -> Result<Figures, String> {
    let hba = "local all +token_logins trust\nlocal all plain scram-sha-256\nlocal all all trust\n";
    let server = Server::start(Options::default().hba(hba).set("scope_roles.audit", "none"));
    let f = Fixture::on(&server, DATABASE);
    f.admin().run(&format!(
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE plain LOGIN PASSWORD 'secret'; CREATE ROLE {ROLE};
         SELECT scope.add_jwt_issuer('login', 'https://login.example.com/auth/v1', {});
         SELECT scope.create_token_login('analyst', '{{{ROLE}}}', '{{login}}')",
        literal(&scene.keys.jwks())
    ));
    let tokens = scene.keys.tokens(Family::Rs256, ROUNDS + 1);
    let enter = |role: &str, password: &str| {
        let mut config = server.by_socket();
        config.user(role).password(password).dbname(DATABASE);
        let mut session = Session::open(&config).expect("a login");
        session.text("SELECT current_user")
    };
    if enter("analyst", &scene.keys.token(Family::Rs256).text) != ROLE {
        return Err("the session is not the token's".into());
    }
    let _one = OneProcessor::of(&[&server]);
    let rounds = in_turns::<2>(ROUNDS, |round, side| {
        time(|| match side {
            0 => drop(enter("analyst", &tokens[round].text)),
            _ => drop(enter("plain", "secret")),
        })
    });
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}
