//! PostgreSQL's own exchange for OAuth, whose tokens are judged here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::Door;
use crate::harness::*;
use crate::jwt::issuers::{ED, iss};

const ISSUER: &str = "https://corp.example.org/";

/// A server with such lines of pg_hba.conf, after that of the superuser; `None` before 18.
fn server(lines: &str, map: &str) -> Option<Server> {
    if shared().version() < 180_000 {
        skip("PostgreSQL has OAuth from 18 on");
        return None;
    }
    let server = Server::start(
        Options::default()
            .hba("local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            .set("oauth_validator_libraries", "scope_roles"),
    );
    std::fs::write(server.data().join("pg_ident.conf"), map).expect("pg_ident.conf");
    std::fs::write(
        server.data().join("pg_hba.conf"),
        format!("local all postgres trust\n{lines}"),
    )
    .expect("pg_hba.conf");
    server.reload();
    Some(server)
}

fn line(options: &str) -> String {
    line_of(ISSUER, "openid", options)
}

fn line_of(issuer: &str, scope: &str, options: &str) -> String {
    format!(
        "local all all oauth issuer=\"{issuer}\" scope=\"{scope}\" validator=scope_roles {options}\n"
    )
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Client(Box<dyn Stream>);

/// A message's type and its body.
type Message = (u8, Vec<u8>);

impl Client {
    fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend((body.len() as i32 + 4).to_be_bytes());
        message.extend(body);
        let _ = self.0.write_all(&message);
    }

    fn message(&mut self) -> Option<Message> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    /// Up to ReadyForQuery, or the end.
    fn messages(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.message() {
            let is_ready = message.0 == b'Z';
            all.push(message);
            if is_ready {
                break;
            }
        }
        all
    }

    fn text(&mut self, sql: &str) -> String {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes());
        let answers = self.messages();
        let row = answers.iter().find(|(kind, _)| *kind == b'D');
        let row = &row.unwrap_or_else(|| panic!("{sql}: {answers:?}")).1;
        String::from_utf8_lossy(&row[6..]).into_owned()
    }
}

/// Sends the token at once. The session, or the error's SQLSTATE.
fn connect(server: &Server, user: &str, db: &str, token: &str) -> Result<Client, String> {
    let stream = UnixStream::connect(server.socket()).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    connect_by(Box::new(stream), user, db, token)
}

fn connect_by(
    stream: Box<dyn Stream>,
    user: &str,
    db: &str,
    token: &str,
) -> Result<Client, String> {
    let mut client = Client(stream);
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    for text in ["user", user, "database", db] {
        body.extend(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    client.send(None, &body);
    let error = |messages: &[Message]| {
        let (_, body) = messages.iter().find(|(kind, _)| *kind == b'E')?;
        let mut fields = body.split(|&byte| byte == 0);
        let code = fields.find(|field| field.first() == Some(&b'C'))?;
        Some(String::from_utf8_lossy(&code[1..]).into_owned())
    };
    let Some((kind, body)) = client.message() else {
        return Err("no answer".into());
    };
    if kind != b'R' {
        return Err(error(&[(kind, body)]).unwrap_or_default());
    }
    assert_eq!(body[..4], [0, 0, 0, 10], "SASL");
    assert!(body[4..].starts_with(b"OAUTHBEARER\0"));
    let data = format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
    let mut body = b"OAUTHBEARER\0".to_vec();
    body.extend((data.len() as i32).to_be_bytes());
    body.extend(data.as_bytes());
    client.send(Some(b'p'), &body);
    let mut messages = Vec::new();
    while let Some(message) = client.message() {
        let (kind, body) = &message;
        match kind {
            // What is wrong, in JSON: the client says that it has understood.
            b'R' if body[..4] == [0, 0, 0, 11] => client.send(Some(b'p'), b"\x01"),
            b'Z' => return Ok(client),
            _ => {}
        }
        messages.push(message);
    }
    let code = error(&messages).unwrap_or_else(|| format!("{messages:?}"));
    let is_let_in = messages
        .iter()
        .any(|(kind, body)| *kind == b'R' && body[..4] == [0; 4]);
    Err(if is_let_in {
        format!("{code} after AuthenticationOk")
    } else {
        code
    })
}

impl Door<'_> {
    fn bear(&self, token: &str) -> Result<Client, String> {
        connect(self.f.server, &self.login, &self.f.name, token)
    }

    /// Refused before the client is told that it has logged in, with the reason in the log alone.
    #[track_caller]
    fn bears_not(&self, token: &str, reason: &str) {
        let before = self.f.server.log().len();
        let code = self.bear(token).err().expect("no login");
        assert!(["28000", "28P01"].contains(&code.as_str()), "{code}");
        let log = self.f.server.log();
        assert!(
            log[before..].contains(reason),
            "{reason}: {}",
            &log[before..]
        );
    }
}

#[test]
fn a_token_of_postgresqls_oauth_opens_a_session_of_its_role() {
    let Some(server) = server(&line("delegate_ident_mapping=1"), "") else {
        return;
    };
    let d = Door::open(&server, "door_oauth");
    let mut s = d.bear(&d.token(json!({}))).expect("a login");
    assert_eq!(
        s.text(
            "SELECT concat_ws(' ', session_user, current_user, scope.jwt_subject(), system_user)"
        ),
        format!("{} {} ann oauth:{ISSUER}:ann", d.login, d.reader)
    );
    assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
    let mut other = d
        .bear(&d.token(json!({"role": d.writer, "sub": "j\u{fc}rg%"})))
        .expect("a login");
    assert_eq!(
        other.text("SELECT concat_ws(' ', current_user, system_user)"),
        format!("{} oauth:{ISSUER}:j%C3%BCrg%25", d.writer)
    );
    let log = server.log();
    assert!(!log.contains("eyJ"), "a token in the log");
    assert!(log.contains("\"event\":\"login\",\"outcome\":\"ok\""));
}

#[test]
fn attack_tokens_that_oauth_brings() {
    let Some(server) = server(&line("delegate_ident_mapping=1"), "") else {
        return;
    };
    let d = Door::open(&server, "door_bearer");
    let mut admin = d.f.admin();
    let other = Key::ed25519("other");
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('else', '{}', {});
         SELECT scope.alter_jwt_issuer('corp', '{{\"audiences\": [\"db\"]}}');
         SELECT scope.create_token_login('door_bearer_second', '{{{}}}', '{{else}}');
         CREATE ROLE door_bearer_plain LOGIN; CREATE ROLE door_bearer_root LOGIN SUPERUSER;
         CREATE ROLE door_bearer_third; GRANT door_bearer_third TO {}",
        iss("else"),
        literal(&jwks(&[&other])),
        d.reader,
        d.login
    ));
    let with = |mut more: serde_json::Value| {
        if more.get("aud").is_none() {
            more["aud"] = json!("db");
        }
        d.claims(more)
    };
    let own = |more| ED.token("EdDSA", &with(more));
    let good = own(json!({}));
    d.bear(&good).expect("a login");
    let mut cut = good.clone();
    // 85 characters of a signature are no base64url, whatever they are.
    cut.pop();
    for (token, reason) in [
        ("x".to_owned(), "malformed"),
        (cut, "malformed"),
        (own(json!({"exp": now() - 100})), "expired"),
        (own(json!({"aud": "other"})), "audience"),
        (own(json!({"iss": iss("nobody")})), "unknown_issuer"),
        (own(json!({"role": "postgres"})), "role_not_listed"),
        (own(json!({"role": d.login})), "role_not_listed"),
        (own(json!({"role": "door_bearer_third"})), "role_not_listed"),
        (own(json!({"role": null})), "role_not_text"),
        (own(json!({"sub": "a\nb"})), "control characters"),
        (other.token("EdDSA", &with(json!({}))), "unknown_key"),
        (
            other.token("EdDSA", &with(json!({"iss": iss("else")}))),
            "issuer_not_taken",
        ),
        (sign(&with(json!({}))), "algorithm"),
        ("x".repeat(60_000), "malformed"),
    ] {
        d.bears_not(&token, reason);
    }
    // Neither do what is no token's form, and more than PostgreSQL reads, open a session.
    for token in ["", "a b", "\u{e9}", "a\0b", "x,y"] {
        assert!(d.bear(token).is_err(), "{token:?}");
    }
    assert!(d.bear(&"x".repeat(100_000)).is_err());
    // As somebody else.
    for user in [
        "door_bearer_second",
        "door_bearer_plain",
        "door_bearer_root",
        "door_bearer_nobody",
        &d.reader,
    ] {
        let code = connect(&server, user, &d.f.name, &good)
            .err()
            .expect("no login");
        assert!(
            ["28000", "28P01"].contains(&code.as_str()),
            "{user}: {code}"
        );
    }
    // Revoked.
    let token = own(json!({"jti": "t1", "iat": now()}));
    d.bear(&token).expect("a login");
    admin.run("SELECT scope.revoke_token('t1', now() + interval '1 hour')");
    assert_eq!(
        d.bear(&token).err().expect("no login"),
        "28P01 after AuthenticationOk"
    );
    assert!(!server.log().contains(&good), "a token in the log");
    assert!(!server.log().contains("eyJ"), "a token in the log");
}

#[test]
fn attack_a_bearers_token_that_is_good_once_comes_again() {
    let Some(server) = server(&line("delegate_ident_mapping=1"), "") else {
        return;
    };
    let d = Door::open(&server, "door_bear_once");
    d.f.admin()
        .run("SELECT scope.alter_jwt_issuer('corp', '{\"single_use\": true}')");
    std::thread::sleep(Duration::from_secs(3));
    let token = d.token(json!({"jti": "once", "iat": now()}));
    d.bear(&token).expect("a login");
    assert!(d.bear(&token).is_err());
    assert!(server.log().contains("replayed"));
}

#[test]
fn a_map_of_pg_ident_conf_says_whose_tokens_open_which_login() {
    let map = format!(
        "people \"{ISSUER}:ann\" door_mapped_login\npeople /^{}:team-(.*)$ door_mapped_login\n",
        ISSUER.replace('.', "\\\\.").replace("\\\\", "\\")
    );
    let Some(server) = server(&line("map=people"), &map) else {
        return;
    };
    let d = Door::open(&server, "door_mapped");
    let token = |sub: &str| d.token(json!({"sub": sub}));
    let mut s = d.bear(&token("ann")).expect("a login");
    assert_eq!(s.text("SELECT scope.jwt_subject()"), "ann");
    d.bear(&token("team-x")).expect("a login");
    for sub in ["bob", "ann2", "xteam-x"] {
        let code = d.bear(&token(sub)).err().expect("no login");
        assert!(["28000", "28P01"].contains(&code.as_str()), "{code}");
    }
    // Nobody without a subject: the map has nothing to compare.
    assert!(d.bear(&d.token(json!({"sub": null}))).is_err());
}

#[test]
fn attack_a_bearer_where_the_server_runs_without_the_library() {
    let Some(server) = server(&line("delegate_ident_mapping=1"), "") else {
        return;
    };
    let d = Door::open(&server, "door_bear_bare");
    let token = d.token(json!({}));
    d.bear(&token).expect("a login");
    server.stop();
    server.reconfigure("shared_preload_libraries = ''\n");
    server.recover();
    assert!(d.bear(&token).is_err());
    assert!(server.log().contains("the server runs without scope_roles"));
}

#[test]
fn attack_a_bearers_token_is_sent_where_others_listen() {
    let tcp =
        line("delegate_ident_mapping=1").replace("local all all", "host all all 127.0.0.1/32");
    let Some(server) = server(&tcp, "") else {
        return;
    };
    let d = Door::open(&server, "door_bear_tcp");
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
    let outcome = connect_by(Box::new(stream), &d.login, &d.f.name, &d.token(json!({})));
    let code = outcome.err().expect("no login");
    assert!(["28000", "28P01"].contains(&code.as_str()), "{code}");
    assert!(server.log().contains("the connection does not use TLS"));
}

/// From 19 on a line names the issuer whose tokens it takes.
#[test]
fn a_line_takes_tokens_of_the_issuer_that_it_names() {
    if shared().version() < 190_000 {
        return skip("lines of pg_hba.conf have options of validators from 19 on");
    }
    let named = |name: &str| {
        line(&format!(
            "delegate_ident_mapping=1 validator.issuer_name={name}"
        ))
    };
    for (name, is_taken) in [("corp", true), ("else", false)] {
        let Some(server) = server(&named(name), "") else {
            return;
        };
        let d = Door::open(&server, "door_line");
        let token = d.token(json!({}));
        assert_eq!(d.bear(&token).is_ok(), is_taken, "{name}: {}", server.log());
    }
}

/// The person of one issuer is never read as another's, whatever the subject.
#[test]
fn attack_a_subject_that_continues_the_issuer_is_somebody_else() {
    let (a, b) = ("https://idp.example.org", "https://idp.example.org:8443");
    let map = format!("people \"{b}:ann\" door_ident_two\n");
    let Some(server) = server(&line_of(b, "openid", "map=people"), &map) else {
        return;
    };
    let d = Door::open(&server, "door_ident");
    let other = Key::ed25519("a");
    d.f.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('a', '{a}', {}); SELECT scope.add_jwt_issuer('b', '{b}', {});
         SELECT scope.create_token_login('door_ident_two', '{{{}}}', '{{a,b}}')",
        literal(&jwks(&[&other])),
        literal(&jwks(&[&ED])),
        d.reader
    ));
    let of = |key: &Key, iss: &str, sub: &str| {
        let token = key.token("EdDSA", &d.claims(json!({"iss": iss, "sub": sub})));
        connect(&server, "door_ident_two", &d.f.name, &token)
    };
    assert!(of(&other, a, "8443:ann").is_err());
    assert!(of(&ED, b, "ann").is_ok());
}

/// What clients are told is what counts: the issuer of the line, and its scopes.
#[test]
fn attack_a_token_that_the_line_does_not_ask_for() {
    let metadata = format!("{ISSUER}.well-known/openid-configuration");
    let lines = line_of(&metadata, "openid orders.read", "delegate_ident_mapping=1");
    let Some(server) = server(&lines, "") else {
        return;
    };
    let d = Door::open(&server, "door_asks");
    d.f.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('else', '{}', {});
         SELECT scope.create_token_login('door_asks_both', '{{{}}}', '{{corp,else}}')",
        iss("else"),
        literal(&jwks(&[&ED])),
        d.reader
    ));
    let try_in = |more: serde_json::Value| {
        let before = server.log().len();
        let outcome = connect(&server, "door_asks_both", &d.f.name, &d.token(more));
        let log = server.log()[before..].to_owned();
        (outcome.is_ok(), log)
    };
    let (is_in, log) = try_in(json!({"scope": "email orders.read"}));
    assert!(is_in, "{log}");
    for (more, reason) in [
        (json!({}), "scope_missing"),
        (json!({"scope": "orders.reads openid"}), "scope_missing"),
        (
            json!({"iss": iss("else"), "scope": "orders.read"}),
            "issuer_not_taken",
        ),
    ] {
        let (is_in, log) = try_in(more);
        assert!(!is_in && log.contains(reason), "{reason}: {log}");
    }
}

/// From 19 on a line names the claim with the role, for issuers that leave it open.
#[test]
fn a_line_names_the_claim_with_the_role() {
    if shared().version() < 190_000 {
        return skip("lines of pg_hba.conf have options of validators from 19 on");
    }
    let options = "delegate_ident_mapping=1 validator.role_claim=db_role";
    let Some(server) = server(&line(options), "") else {
        return;
    };
    let d = Door::open(&server, "door_claim");
    let mut s = d
        .bear(&d.token(json!({"role": "nobody", "db_role": d.writer})))
        .expect("a login");
    assert_eq!(s.text("SELECT current_user"), d.writer);
    let longer = d.token(json!({"role": "nobody", "db_role": d.writer, "exp": now() + 900}));
    s.text(&format!("SELECT scope.refresh_session('{longer}')::text"));
    assert!(d.bear(&d.token(json!({"db_role": "postgres"}))).is_err());
    // Where the issuer says which claim it is, a line cannot say another.
    d.f.admin()
        .run("SELECT scope.alter_jwt_issuer('corp', '{\"role_claim\": \"role\"}')");
    assert!(d.bear(&d.token(json!({"db_role": d.writer}))).is_err());
}
