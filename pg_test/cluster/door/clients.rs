//! Clients as they are: drivers, psql, a pooler.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{Door, server};
use crate::harness::*;

fn assert_works(driver: &str) {
    let server = server();
    let d = Door::open(&server, &format!("door_{driver}"));
    let token = d.token(json!({}));
    let arguments = [d.f.name.as_str(), &d.login, &token, &d.reader];
    assert_driver_works("door/drivers.py", driver, &server, &arguments);
}

#[test]
fn psycopg_logs_in_by_token() {
    assert_works("psycopg");
}

#[test]
fn pg8000_logs_in_by_token() {
    assert_works("pg8000");
}

#[test]
fn asyncpg_and_its_pool_log_in_by_token() {
    assert_works("asyncpg");
}

/// A server whose TCP can have TLS, and the certificate by which clients know it as `localhost`.
fn over_tls(name: &str) -> Option<(Server, PathBuf)> {
    let folder = certificate(name)?;
    let file = |name: &str| folder.join(name).display().to_string();
    let server = Server::start(
        Options::default()
            .hba(super::HBA)
            .set("ssl", "on")
            .set("ssl_key_file", &file("server.key"))
            .set("ssl_cert_file", &file("server.crt")),
    );
    Some((server, folder.join("server.crt")))
}

#[test]
fn psql_logs_in_over_tls_with_what_the_call_has_answered() {
    let Some((server, _)) = over_tls("door_psql") else {
        return;
    };
    let d = Door::open(&server, "door_psql");
    let token = d.token(json!({}));
    let psql = |more: &str| {
        let target = format!(
            "host=127.0.0.1 port={} user={} dbname={} {more}",
            server.port(),
            d.login,
            d.f.name
        );
        let done = server
            .client("psql")
            .env("PGPASSWORD", &token)
            .args([
                "-XAtc",
                "SELECT current_user || scope.jwt_subject()",
                &target,
            ])
            .output()
            .expect("psql");
        let said = [done.stdout, done.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    };
    assert_eq!(psql("sslmode=require"), format!("{}ann\n", d.reader));
    assert!(psql("sslmode=disable").contains("connection refused by login policy"));
}

/// A driver over TLS, which asks for its tokens: good ones, good ones of so many bytes, bad ones, ones of a few seconds.
fn assert_driver_logs_in(name: &str, driver: &mut Command) {
    let Some((server, certificate)) = over_tls(name) else {
        return;
    };
    let d = Door::open(&server, name);
    d.f.admin()
        .run("SELECT scope.alter_jwt_issuer('corp', '{\"leeway\": 0}')");
    driver
        .arg(server.port().to_string())
        .args([&d.f.name, &d.login, &d.reader])
        .arg(certificate);
    assert_fine(driver, |wanted| match wanted {
        "good" => d.token(json!({})),
        "bad" => Key::ed25519("ed-1").token("EdDSA", &d.claims(json!({}))),
        "brief" => d.token(json!({"exp": now() + 3})),
        bytes => {
            let bytes: usize = bytes.parse().expect("a length");
            let token = d.token(json!({"groups": "x".repeat(bytes / 4 * 3)}));
            assert!(token.len() > bytes);
            token
        }
    });
}

#[test]
fn node_postgres_logs_in_by_token() {
    if let Some(folder) = npm() {
        let mut node = Command::new("node");
        assert_driver_logs_in("door_node", node.arg(folder.join("node_postgres.mjs")));
    }
}

#[test]
fn jdbc_logs_in_by_token() {
    let Some(driver) = std::env::var_os("SCOPE_ROLES_JDBC") else {
        return skip("there is no Java with a JDBC driver here (SCOPE_ROLES_JDBC)");
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("pg_test/cluster/door/Jdbc.java");
    let mut java = Command::new("java");
    assert_driver_logs_in("door_jdbc", java.arg("-cp").arg(driver).arg(source));
}

/// A pooler gives a connection to one client after the other, and nobody asks the second for a token.
#[test]
fn attack_the_next_client_of_a_pooler_is_the_person_before() {
    let server = server();
    let d = Door::open(&server, "door_pooler");
    let token = d.token(json!({}));
    let users = [(d.login.as_str(), token.as_str())];
    let mode = "pool_mode = session\ndefault_pool_size = 1";
    let Some(bouncer) = Bouncer::with(&server, "door_pooler", &users, mode) else {
        return skip("there is no PgBouncer here (SCOPE_ROLES_PGBOUNCER)");
    };
    let who = "SELECT pg_backend_pid() || scope.jwt_subject()";
    let mut one = bouncer.login(&d.login, &d.f.name);
    let first = one.text(who);
    assert!(first.ends_with("ann"), "{first}");
    drop(one);
    // Its DISCARD ALL ends the session: what the first has done there is nobody's.
    let mut other = bouncer.login(&d.login, &d.f.name);
    assert_ne!(other.text(who), first);
    let log = server.log();
    assert!(
        log.contains("DISCARD ALL is not allowed while a token's role is active"),
        "{log}"
    );
}
