//! Without a token, with another's, and around the door.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::{Door, HBA, server};
use crate::harness::*;
use crate::jwt::issuers::{ED, iss};

#[test]
fn attack_tokens_that_open_no_door() {
    let server = server();
    let d = Door::open(&server, "door_tokens");
    let mut admin = d.f.admin();
    let other = Key::ed25519("other");
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('else', '{}', {}); SELECT scope.alter_jwt_issuer('corp', '{{\"audiences\": [\"db\"]}}');
         CREATE ROLE door_tokens_third; GRANT door_tokens_third TO {}",
        iss("else"),
        literal(&jwks(&[&other])),
        d.login
    ));
    let good = json!({"aud": "db"});
    d.knock(&d.token(good)).expect("a login");
    let with = |mut more: serde_json::Value| {
        if more.get("aud").is_none() {
            more["aud"] = json!("db");
        }
        d.claims(more)
    };
    let own = |more| ED.token("EdDSA", &with(more));
    for (token, reason) in [
        (String::new(), "empty"),
        ("x".into(), "malformed"),
        ("a'b\"\n\u{e9}".into(), "malformed"),
        (own(json!({"exp": now() - 100})), "expired"),
        (own(json!({"aud": "other"})), "audience"),
        (other.token("EdDSA", &with(json!({}))), "unknown_key"),
        (
            other.token("EdDSA", &with(json!({"iss": iss("else")}))),
            "issuer_not_taken",
        ),
        (own(json!({"iss": iss("nobody")})), "unknown_issuer"),
        (own(json!({"role": d.login})), "role_is_login"),
        (own(json!({"role": "postgres"})), "role_privileged"),
        (own(json!({"role": "token_logins"})), "role_not"),
        (own(json!({"role": "door_tokens_third"})), "role_not_listed"),
        (own(json!({"role": null})), "role_not_text"),
        (sign(&with(json!({}))), "algorithm"),
        (sign_with_nothing(&with(json!({}))), "algorithm"),
    ] {
        d.turns_away(&token, reason);
    }
    // Revoked, by token, by subject.
    let token = ED.token("EdDSA", &with(json!({"jti": "t1", "iat": now()})));
    let mut s = d.knock(&token).expect("a login");
    admin.run("SELECT scope.revoke_token('t1', now() + interval '1 hour')");
    d.turns_away(&token, "revoked");
    let refusal = s.fails("SELECT 1");
    assert_eq!(refusal.code, "28000", "{refusal}");
    assert_eq!(s.fails("SELECT 1").code, "", "the session goes on");
}

#[test]
fn attack_a_token_that_is_good_once_opens_the_door_twice() {
    let server = server();
    let d = Door::open(&server, "door_once");
    d.f.admin()
        .run("SELECT scope.alter_jwt_issuer('corp', '{\"single_use\": true}')");
    std::thread::sleep(Duration::from_secs(3));
    let token = d.token(json!({"jti": "once", "iat": now()}));
    d.knock(&token).expect("a login");
    d.turns_away(&token, "replayed");
}

/// Whoever has the login without a token has nothing.
#[test]
fn attack_a_session_by_token_leaves_its_role() {
    let server = server();
    let d = Door::open(&server, "door_lock");
    let token = d.token(json!({}));
    let mut s = d.knock(&token).expect("a login");
    for sql in [
        "RESET ROLE".to_owned(),
        format!("SET ROLE {}", d.writer),
        "SET SESSION AUTHORIZATION DEFAULT".into(),
        "DISCARD ALL".into(),
        format!("SELECT scope.end_jwt_session({})", literal(&token)),
        format!(
            "SELECT scope.set_jwt_role({})",
            literal(&d.token(json!({"role": d.writer})))
        ),
        format!(
            "SELECT scope.set_jwt_session({})",
            literal(&d.token(json!({"sub": "bob"})))
        ),
        "SET request.jwt.claims = '{}'".into(),
        "SET scope.switch = ''".into(),
    ] {
        s.denied(&sql, "42501");
        assert_eq!(
            s.text("SELECT current_user || scope.jwt_subject()"),
            format!("{}ann", d.reader)
        );
    }
    // Neither at the start.
    for options in [
        "-c role=none",
        "-c scope.switch=",
        "-c request.jwt.claims={}",
        "-c session_preload_libraries=",
    ] {
        match d.knock_with(&token, |config| config.options(options)) {
            Ok(mut s) => assert_eq!(
                s.text("SELECT current_user || scope.jwt_subject()"),
                format!("{}ann", d.reader),
                "{options}"
            ),
            Err(refusal) => assert_ne!(refusal.code, "28P01", "{options}: {refusal}"),
        }
    }
}

/// Lines with trust are for logins by token alone.
#[test]
fn attack_others_pass_by_the_lines_for_tokens() {
    let server = Server::start(Options::default().hba(
        "local all postgres trust\nlocal all +token_logins trust\nlocal all all scram-sha-256\n",
    ));
    let d = Door::open(&server, "door_lines");
    let mut admin = d.f.admin();
    admin.run(
        "CREATE ROLE door_lines_root SUPERUSER LOGIN; CREATE ROLE door_lines_bob LOGIN; CREATE ROLE door_lines_team;
         GRANT token_logins TO door_lines_root, door_lines_team; GRANT door_lines_team TO door_lines_bob",
    );
    for role in ["door_lines_root", "door_lines_bob"] {
        let refusal = server.try_login(role, &d.f.name).err().expect("no login");
        assert_eq!(refusal.code, "28000", "{role}: {refusal}");
    }
    let cred = admin.issue("'orders'");
    admin.run(&format!("GRANT token_logins TO {}", cred.role));
    assert_eq!(
        server
            .try_login(&cred.role, &d.f.name)
            .err()
            .expect("no login")
            .code,
        "28000"
    );
    // What has been made of the login by hand.
    let token = d.token(json!({}));
    d.knock(&token).expect("a login");
    admin.run(&format!("ALTER ROLE {} SUPERUSER", d.login));
    assert_eq!(d.knock(&token).err().expect("no login").code, "28000");
    admin.run(&format!(
        "ALTER ROLE {} NOSUPERUSER; SECURITY LABEL FOR scope_roles ON ROLE {0} IS NULL",
        d.login
    ));
    assert_eq!(d.knock(&token).err().expect("no login").code, "28000");
}

#[test]
fn attack_tokens_are_asked_for_where_others_listen() {
    let server = Server::start(Options::default().hba(HBA));
    let d = Door::open(&server, "door_tls");
    // Before it is asked for: the client has sent nothing.
    let mut config = postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(server.port())
        .user(&d.login)
        .dbname(&d.f.name);
    let refusal = Session::open(&config).err().expect("no login");
    assert_eq!(refusal.code, "28000", "{refusal}");
    assert!(server.log().contains("the connection does not use TLS"));
}

/// Its issuer is one database's.
#[test]
fn attack_the_owner_of_another_database_lets_himself_in() {
    let server = server();
    let d = Door::open(&server, "door_home");
    let mut admin = server.admin("postgres");
    admin.run("CREATE DATABASE door_home_other");
    let mut other = server.admin("door_home_other");
    other.run(&format!(
        "CREATE EXTENSION scope_roles; SELECT scope.add_jwt_issuer('corp', '{}', {})",
        iss("corp"),
        literal(&jwks(&[&ED]))
    ));
    let refusal = d
        .knock_with(&d.token(json!({})), |config| {
            config.dbname("door_home_other")
        })
        .err()
        .expect("no login");
    assert_eq!(refusal.code, "28000", "{refusal}");
}

#[test]
fn attack_a_server_without_the_library_lets_everybody_in() {
    let server = server();
    let d = Door::open(&server, "door_unloaded");
    let token = d.token(json!({}));
    d.knock(&token).expect("a login");
    server.stop();
    server.reconfigure("shared_preload_libraries = ''\n");
    server.recover();
    let refusal = d.knock(&token).err().expect("no login");
    assert_eq!(refusal.code, "55000", "{refusal}");
    let refusal = d
        .knock_with("", |config| config.options("-c session_preload_libraries="))
        .err()
        .expect("no login");
    assert_eq!(refusal.code, "55000", "{refusal}");
    server
        .admin("postgres")
        .run(&format!("ALTER ROLE {} SUPERUSER", d.login));
    let refusal = d.knock(&token).err().expect("no login");
    assert_eq!(refusal.code, "55000", "{refusal}");
}

/// Opens a connection by hand, up to the request for a password.
fn asked(d: &Door) -> UnixStream {
    let mut stream = UnixStream::connect(d.f.server.socket()).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    for text in ["user", &d.login, "database", &d.f.name] {
        body.extend(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    stream
        .write_all(&(body.len() as i32 + 4).to_be_bytes())
        .expect("send");
    stream.write_all(&body).expect("send");
    let mut request = [0; 9];
    stream.read_exact(&mut request).expect("a request");
    assert_eq!(request, [b'R', 0, 0, 0, 8, 0, 0, 0, 3]);
    stream
}

fn rest(mut stream: UnixStream) -> String {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn attack_messages_that_are_no_password() {
    let server = Server::start(
        Options::default()
            .hba(HBA)
            .set("authentication_timeout", "3s"),
    );
    let d = Door::open(&server, "door_messages");
    let message = |kind: u8, length: i32, body: &[u8]| {
        let mut stream = asked(&d);
        let mut bytes = vec![kind];
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(stream)
    };
    assert!(message(b'Q', 14, b"SELECT 1;\0").contains("08P01"));
    // Cut, too long, of no length, with what is no text: never a session.
    for (length, body) in [
        (100, b"abc\0".as_slice()),
        (1 << 30, b"abc\0"),
        (3, b""),
        (4, b""),
        (5, b"\0"),
        (8, b"a\0b\0"),
        (8, b"abcd"),
        (7, b"\xff\xfe\0"),
    ] {
        let said = message(b'p', length, body);
        assert!(
            !said.contains('Z') || said.contains("28P01"),
            "{length}: {said:?}"
        );
        assert!(
            !said.contains("BackendKeyData") && !said.contains("\u{0}I"),
            "{length}: {said:?}"
        );
    }
    let most = "x".repeat(65_530);
    d.turns_away(&most, "malformed");
    // Those that never answer are sent away in time.
    let mute: Vec<UnixStream> = (0..20).map(|_| asked(&d)).collect();
    let mut admin = d.f.admin();
    for stream in mute {
        let said = rest(stream);
        assert!(
            said.is_empty()
                || said.contains("57P01")
                || said.contains("57014")
                || said.contains("08P01"),
            "{said:?}"
        );
    }
    wait_until("their processes are gone", 10, || {
        admin.holds(&format!(
            "NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{}')",
            d.login
        ))
    });
    d.knock(&d.token(json!({}))).expect("a login");
}
