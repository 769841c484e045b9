//! Without a token, with another's, and around the door.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::{Door, HBA, asked, primary, server};
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
    // A client may miss the last words of a connection.
    assert!(["28000", ""].contains(&refusal.code.as_str()), "{refusal}");
    assert!(
        server
            .log()
            .contains("28000 FATAL:  the token that set the role has been revoked")
    );
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
    let writer = format!("-c role={}", d.writer);
    for options in [
        writer.as_str(),
        "-c role=none",
        "-c session_authorization=postgres",
        "-c scope.switch=",
        "-c request.jwt.claims={}",
        "-c session_preload_libraries=",
        "-c scope_roles.session_switches=on",
    ] {
        match d.knock_with(&token, |config| config.options(options)) {
            Ok(mut s) => {
                s.denied("RESET ROLE", "42501");
                assert_eq!(
                    s.text("SELECT current_user || scope.jwt_subject()"),
                    format!("{}ann", d.reader),
                    "{options}"
                );
            }
            // Whoever starts as something else is sent away.
            Err(refusal) => assert!(
                ["28P01", "28000", "42501", "42704", "55P02"].contains(&refusal.code.as_str()),
                "{options}: {refusal}"
            ),
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
    assert!(
        ["42501", "55000"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    server
        .admin("postgres")
        .run(&format!("ALTER ROLE {} SUPERUSER", d.login));
    let refusal = d.knock(&token).err().expect("no login");
    assert_eq!(refusal.code, "55000", "{refusal}");
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
        assert!(!said.contains("Z\0\0\0\u{5}I"), "{length}: {said:?}");
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

/// With a token of three seconds.
fn short(d: &Door) -> String {
    d.token(json!({"exp": now() + 3}))
}

fn without_leeway(d: &Door) {
    d.f.admin()
        .run("SELECT scope.alter_jwt_issuer('corp', '{\"leeway\": 0}')");
}

/// The timer that ends the session must go on when what a new token had set is undone under it.
#[test]
fn attack_a_refresh_that_is_rolled_back_lets_a_statement_outlive_its_token() {
    let server = server();
    let d = Door::open(&server, "door_undone");
    without_leeway(&d);
    let mut s = d.knock(&short(&d)).expect("a login");
    let longer = d.token(json!({"exp": now() + 900}));
    let block = format!(
        "DO $$ DECLARE until timestamptz := clock_timestamp() + interval '12 s'; BEGIN
           BEGIN PERFORM scope.refresh_session('{longer}'); RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN NULL; END;
           WHILE clock_timestamp() < until LOOP END LOOP; END $$"
    );
    let begun = std::time::Instant::now();
    assert!(s.attempt(&block).is_err());
    assert!(begun.elapsed() < Duration::from_secs(8));
    // A whole transaction, and nothing afterwards.
    let mut s = d.knock(&short(&d)).expect("a login");
    s.run("BEGIN");
    s.run(&format!("SELECT scope.refresh_session('{longer}')"));
    s.run("ROLLBACK");
    is_gone(&d);
}

#[track_caller]
fn is_gone(d: &Door) {
    let mut admin = d.f.admin();
    wait_until("the session is gone", 8, || {
        admin.holds(&format!(
            "NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{}')",
            d.login
        ))
    });
}

/// After an error PostgreSQL skips what comes until the client sends a Sync, which need not come.
#[test]
fn attack_a_session_outlives_its_token_by_leaving_out_the_sync() {
    let server = server();
    let d = Door::open(&server, "door_sync");
    without_leeway(&d);
    let mut admin = d.f.admin();
    let open = || {
        Wire::try_password(&server, &d.login, &d.f.name, &short(&d))
            .unwrap_or_else(|answers| panic!("{answers:?}"))
    };
    let mut wire = open();
    wire.query("LISTEN ch");
    wire.bind("", "SELECT 1/0");
    wire.execute("", 0);
    wire.send(Some(b'H'), &[]);
    is_gone(&d);
    let mut undone = open();
    let longer = d.token(json!({"exp": now() + 900}));
    for sql in [
        "BEGIN".to_owned(),
        "SELECT * FROM orders".into(),
        "SAVEPOINT a".into(),
        format!("SELECT scope.refresh_session('{longer}')"),
        "ROLLBACK TO a".into(),
    ] {
        undone.bind("", &sql);
        undone.execute("", 0);
    }
    undone.send(Some(b'H'), &[]);
    is_gone(&d);
    // Nor does it hear of anything once its token has been revoked.
    let mut listens = Wire::try_password(
        &server,
        &d.login,
        &d.f.name,
        &d.token(json!({"jti": "heard", "iat": now()})),
    )
    .unwrap_or_else(|answers| panic!("{answers:?}"));
    listens.query("LISTEN ch");
    admin.run("SELECT scope.revoke_token('heard', now() + interval '1 hour')");
    admin.run("NOTIFY ch, 'told after the end'");
    // The session ends by itself.
    let answers = listens.until_ready();
    assert!(
        !answers.iter().any(|(_, body)| body.contains("told after")),
        "{answers:?}"
    );
    assert!(has_error(&answers, "28000"), "{answers:?}");
}

#[test]
fn attack_an_issuer_that_the_login_takes_no_more_keeps_its_sessions() {
    let server = server();
    let d = Door::open(&server, "door_withdrawn");
    let mut admin = d.f.admin();
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('else', '{}', {})",
        iss("else"),
        literal(&jwks(&[&Key::ed25519("else")]))
    ));
    let open = || d.knock(&d.token(json!({}))).expect("a login");
    let (mut goes_on, mut refreshes) = (open(), open());
    let spec = admin.text("SELECT scope.export_spec()");
    let spec = spec.replace(
        "\"token_issuers\": [\"corp\"]",
        "\"token_issuers\": [\"else\"]",
    );
    admin.rows(&format!("SELECT * FROM scope.apply({})", literal(&spec)));
    admin.assert_that(&format!(
        "(SELECT issuers = '{{else}}' FROM scope.credentials WHERE role = '{}')",
        d.login
    ));
    d.turns_away(&d.token(json!({})), "issuer_not_taken");
    assert!(goes_on.attempt("SELECT 1").is_err());
    let refresh = format!(
        "SELECT scope.refresh_session({})",
        literal(&d.token(json!({"exp": now() + 900})))
    );
    assert!(refreshes.attempt(&refresh).is_err());
    is_gone(&d);
}

/// A client's own defaults are not the extension's.
#[test]
fn attack_a_login_waits_for_a_safe_snapshot_and_holds_its_place() {
    let server = server();
    let d = Door::open(&server, "door_deferrable");
    let mut admin = d.f.admin();
    admin.run("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO orders VALUES (7, 'x')");
    let options = "-c default_transaction_isolation=serializable -c default_transaction_read_only=on -c default_transaction_deferrable=on";
    let begun = std::time::Instant::now();
    d.knock_with(&d.token(json!({})), |config| config.options(options))
        .expect("a login");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let refusal = d.knock_with("x", |config| config.options(options)).err();
    assert_eq!(refusal.expect("no login").code, "28P01");
}

/// The group is known by itself, not by the setting that named it once.
#[test]
fn attack_another_group_is_set_and_the_lines_of_the_old_one_are_open() {
    let server = server();
    let d = Door::open(&server, "door_regrouped");
    let mut admin = d.f.admin();
    admin.run("CREATE ROLE door_regrouped_out LOGIN; GRANT token_logins TO door_regrouped_out");
    let outside = |when: &str| {
        let refusal = server.try_login("door_regrouped_out", &d.f.name).err();
        assert_eq!(refusal.expect("no login").code, "28000", "{when}");
    };
    outside("as it was");
    for other in ["", "other_group", "TOKEN_LOGINS"] {
        server.alter_system("scope_roles.token_login_group", other);
        outside(other);
    }
    admin.assert_that("EXISTS (SELECT FROM scope.review() WHERE code = 'token_login_outsider')");
    admin.run("ALTER ROLE token_logins RENAME TO door_regrouped_group");
    let hba = server.data().join("pg_hba.conf");
    let lines = HBA.replace("+token_logins", "+door_regrouped_group");
    std::fs::write(&hba, lines).expect("pg_hba.conf");
    server.reload();
    outside("renamed");
    d.knock(&d.token(json!({}))).expect("a login");
}

#[test]
fn attack_a_login_that_becomes_a_superuser_while_it_is_asked() {
    let server = server();
    let d = Door::open(&server, "door_meanwhile");
    let mut stream = asked(&d);
    d.f.admin()
        .run(&format!("ALTER ROLE {} SUPERUSER", d.login));
    let token = d.token(json!({}));
    let mut message = vec![b'p'];
    message.extend((token.len() as i32 + 5).to_be_bytes());
    message.extend(token.as_bytes());
    message.push(0);
    stream.write_all(&message).expect("send");
    let said = rest(stream);
    assert!(said.contains("28P01"), "{said:?}");
    assert!(server.log().contains("it is no login by token any more"));
}

/// Nothing is sent that would be refused: the client waits, as a pool's does.
#[test]
fn attack_an_idle_session_outlives_the_revocation_of_its_token() {
    let primary = primary();
    let d = Door::open(&primary, "door_revoked");
    let standby = primary.standby(Options::default());
    standby.has_replayed(&primary);
    let mut admin = d.f.admin();
    admin.run("SET synchronous_commit = local; SELECT pg_switch_wal()");
    let on_standby = |sub: &str| {
        let token = d.token(json!({"sub": sub}));
        let session = standby.try_token(&d.login, &token, &d.f.name);
        session.expect("a login")
    };
    let knock = |sub: &str, jti: &str| {
        d.knock(&d.token(json!({"sub": sub, "jti": jti})))
            .expect("a login")
    };
    let _sessions = [
        knock("ann", "1"),
        knock("ann", "2"),
        knock("bob", "3"),
        knock("eve", "4"),
    ];
    let _others = [on_standby("ann"), on_standby("bob")];
    let here = |server: &Server, sub: &str| {
        server.admin(&d.f.name).text(&format!(
            "SELECT count(*) FROM scope.sessions WHERE login = '{}' AND subject = '{sub}'",
            d.login
        ))
    };
    assert_eq!(
        (here(&primary, "ann"), here(&standby, "ann")),
        ("2".into(), "1".into())
    );
    // One token, and nobody else's.
    admin.run("SELECT scope.revoke_token('1', now() + interval '1 hour', 'corp')");
    wait_until("one is gone", 10, || here(&primary, "ann") == "1");
    // A person's.
    admin.run("SELECT scope.revoke_subject('ann', now(), 'corp')");
    wait_until("she is gone", 10, || here(&primary, "ann") == "0");
    wait_until("she is gone from the standby", 20, || {
        here(&standby, "ann") == "0"
    });
    assert_eq!(
        (here(&primary, "bob"), here(&standby, "bob")),
        ("1".into(), "1".into())
    );
    // What a statement has done that goes on does not stay.
    let mut writer = d
        .knock(&d.token(json!({"role": d.writer, "sub": "wil"})))
        .expect("a login");
    let refusal = std::thread::scope(|scope| {
        let writes = scope.spawn(|| {
            writer.attempt("WITH slept AS MATERIALIZED (SELECT pg_sleep(2)) INSERT INTO orders SELECT 77, '' FROM slept")
        });
        wait_until("it runs", 10, || {
            admin.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WITH slept%' AND state = 'active'") == "1"
        });
        admin.run("SELECT scope.revoke_subject('wil', now(), 'corp')");
        writes.join().expect("a thread").err()
    });
    // The client may find the connection closed.
    assert!(["28000", ""].contains(&&*refusal.expect("a refusal").code));
    assert_eq!(admin.text("SELECT count(*) FROM orders WHERE id = 77"), "0");
    // An issuer's.
    admin.run("SELECT scope.drop_jwt_issuer('corp')");
    wait_until("all are gone", 10, || {
        here(&primary, "bob") == "0" && here(&primary, "eve") == "0"
    });
    wait_until("the standby has none", 20, || here(&standby, "bob") == "0");
    assert!(
        primary
            .log()
            .contains("the token that set the role has been revoked")
    );
}
