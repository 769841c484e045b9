//! Logging in by token: no password at all.

mod attacks;
mod clients;
mod device;
mod early;
mod groups;
mod oauth;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use postgres::Config;
use serde_json::{Value, json};

use crate::harness::*;
use crate::jwt::issuers::{ED, iss};

/// Tokens are asked for by lines that ask for nothing.
pub const HBA: &str = "local all +token_logins trust\nlocal all all trust\nhost all +token_logins 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// A login by token of a reader and a writer of `orders`, for the issuer `corp`.
pub struct Door<'a> {
    pub f: Fixture<'a>,
    pub login: String,
    pub reader: String,
    pub writer: String,
}

impl<'a> Door<'a> {
    pub fn open(server: &'a Server, name: &str) -> Self {
        let f = Fixture::on(server, name);
        let (reader, writer) = (f.role("reader", "NOLOGIN"), f.role("writer", "NOLOGIN"));
        let login = format!("{name}_login");
        f.admin().run(&format!(
            "GRANT SELECT ON orders TO {reader}; GRANT SELECT, INSERT ON orders TO {writer};
             SELECT scope.add_jwt_issuer('corp', '{}', {});
             SELECT scope.create_token_login('{login}', '{{{reader},{writer}}}', '{{corp}}')",
            iss("corp"),
            literal(&jwks(&[&ED]))
        ));
        Door {
            f,
            login,
            reader,
            writer,
        }
    }

    pub fn claims(&self, more: Value) -> Value {
        let mut claims =
            json!({"iss": iss("corp"), "role": self.reader, "sub": "ann", "exp": now() + 600});
        for (claim, value) in more.as_object().expect("an object") {
            claims[claim] = value.clone();
        }
        claims
    }

    pub fn token(&self, more: Value) -> String {
        ED.token("EdDSA", &self.claims(more))
    }

    pub fn knock(&self, token: &str) -> Result<Session, Refusal> {
        self.knock_with(token, |config| config)
    }

    pub fn knock_with(
        &self,
        token: &str,
        more: impl FnOnce(&mut Config) -> &mut Config,
    ) -> Result<Session, Refusal> {
        let mut config = self.f.server.by_socket();
        config
            .user(&self.login)
            .password(token)
            .dbname(&self.f.name);
        more(&mut config);
        Session::open(&config)
    }

    /// Refused as a wrong password is, with the reason in the log alone.
    #[track_caller]
    pub fn turns_away(&self, token: &str, reason: &str) {
        let before = self.f.server.log().len();
        let refusal = self.knock(token).err().expect("a login");
        assert_eq!(refusal.code, "28P01", "{refusal}");
        assert_eq!(
            refusal.message,
            format!("token authentication failed for user \"{}\"", self.login)
        );
        assert_eq!(refusal.detail, "");
        let log = self.f.server.log();
        let log = &log[before..];
        assert!(
            log.contains(&format!("its token was refused: {reason}")),
            "{log}"
        );
    }
}

/// Opens a connection by hand, up to the request for a password.
pub fn asked(d: &Door) -> UnixStream {
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

pub fn server() -> Server {
    Server::start(Options::default().hba(HBA))
}

/// One that may have standbys.
fn primary() -> Server {
    Server::start(Options::default().hba(&format!("local replication all trust\n{HBA}")))
}

#[test]
fn a_token_in_place_of_the_password_opens_a_session_of_its_role() {
    let server = server();
    let d = Door::open(&server, "door_opens");
    let exp = now() + 900;
    let mut s = d.knock(&d.token(json!({"exp": exp}))).expect("a login");
    assert_eq!(
        s.text("SELECT concat_ws(' ', session_user, current_user, scope.jwt_subject(), current_setting('request.jwt.claims')::json ->> 'sub')"),
        format!("{} {} ann ann", d.login, d.reader)
    );
    assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
    s.denied("INSERT INTO orders VALUES (9, 'x')", "42501");
    // For its length, whatever its transactions do.
    s.run("BEGIN; SELECT 1; ROLLBACK");
    s.fails("SELECT 1/0");
    assert_eq!(s.text("SELECT current_user"), d.reader);
    // Its prepared statements are nobody else's.
    s.run("PREPARE p AS SELECT 7");
    assert_eq!(s.text("SELECT name FROM pg_prepared_statements"), "p");
    // Another person shares the login, as another role.
    let mut other = d
        .knock(&d.token(json!({"role": d.writer, "sub": "bob"})))
        .expect("a login");
    other.run("INSERT INTO orders VALUES (9, 'x')");
    assert_eq!(other.text("SELECT scope.jwt_subject()"), "bob");
    assert_eq!(s.text("SELECT scope.jwt_subject()"), "ann");
    let mut admin = d.f.admin();
    admin.assert_that(&format!(
        "(SELECT rolpassword IS NULL AND NOT rolinherit FROM pg_authid WHERE rolname = '{}')",
        d.login
    ));
    assert_eq!(
        admin.text(&format!(
            "SELECT string_agg(concat_ws(' ', acting_role, issuer, subject, method, until IS NOT NULL), ', ' ORDER BY subject) FROM scope.sessions WHERE login = '{}'",
            d.login
        )),
        format!(
            "{} {iss} ann token t, {} {iss} bob token t",
            d.reader,
            d.writer,
            iss = iss("corp")
        )
    );
    assert_eq!(
        admin.text("SELECT scope.end_sessions(subject => 'bob')"),
        "1"
    );
    assert!(other.attempt("SELECT 1").is_err());
    assert_eq!(s.text("SELECT scope.jwt_subject()"), "ann");
    let log = server.log();
    let line = |event: &str| {
        log.lines()
            .find(|line| {
                line.contains(&format!("\"event\":\"{event}\""))
                    && line.contains(&d.login)
                    && line.contains("\"subject\":\"ann\"")
            })
            .unwrap_or_else(|| panic!("no {event} of ann in {log}"))
            .to_owned()
    };
    assert!(line("switch").contains("\"function\":\"login\""));
    line("login");
    assert!(!log.contains("eyJ"), "a token in the log");
}

#[test]
fn a_session_ends_with_its_token_idle_or_not() {
    let server = server();
    let d = Door::open(&server, "door_ends");
    d.f.admin()
        .run("SELECT scope.alter_jwt_issuer('corp', '{\"leeway\": 0}')");
    let short = || d.token(json!({"exp": now() + 3}));
    let mut idle = d.knock(&short()).expect("a login");
    let mut after_error = d.knock(&short()).expect("a login");
    let mut in_block = d.knock(&short()).expect("a login");
    let mut busy = d.knock(&short()).expect("a login");
    after_error.fails("SELECT 1/0");
    in_block.run("BEGIN");
    in_block.fails("SELECT 1/0");
    in_block.fails("SELECT 1");
    let refusal = busy.fails("SELECT pg_sleep(60)");
    // A client may miss the last words of a connection.
    assert!(["57P01", ""].contains(&refusal.code.as_str()), "{refusal}");
    let log = server.log();
    assert!(
        log.contains(
            "57P01 FATAL:  terminating connection because the token that set the role has ended"
        ),
        "{log}"
    );
    assert!(
        log.contains("57P01 DETAIL:  expired: the exp claim is in the past."),
        "{log}"
    );
    let mut admin = d.f.admin();
    // Nobody waits for their next statement.
    wait_until("all sessions are gone", 5, || {
        admin.holds(&format!(
            "NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{}')",
            d.login
        ))
    });
    for s in [&mut idle, &mut after_error, &mut in_block] {
        let refusal = s.fails("SELECT 1");
        assert!(["57P01", ""].contains(&refusal.code.as_str()), "{refusal}");
    }
}

#[test]
fn a_new_token_of_the_same_person_lets_the_session_live_on() {
    let server = server();
    let d = Door::open(&server, "door_refresh");
    d.f.admin()
        .run("SELECT scope.alter_jwt_issuer('corp', '{\"leeway\": 0}')");
    let mut s = d
        .knock(&d.token(json!({"exp": now() + 4})))
        .expect("a login");
    let refresh = |token: &str| format!("SELECT scope.refresh_session({})", literal(token));
    for (other, sqlstate) in [
        (json!({"sub": "bob"}), "42501"),
        (json!({"role": d.writer}), "42501"),
        (json!({"exp": now() - 10}), "28000"),
        (json!({"iss": "https://else.example.org/"}), "28000"),
    ] {
        s.refused(&refresh(&d.token(other)), sqlstate);
    }
    // What is rolled back has not been.
    let exp = now() + 900;
    let longer = d.token(json!({"exp": exp, "groups": ["a"]}));
    s.run("BEGIN");
    s.run(&refresh(&longer));
    assert_eq!(s.text("SELECT scope.jwt_claim('groups')"), "[\"a\"]");
    s.run("ROLLBACK");
    assert_eq!(s.text("SELECT scope.jwt_claim('groups')"), "");
    assert_eq!(
        s.text(&format!(
            "SELECT extract(epoch FROM scope.refresh_session({}))::bigint",
            literal(&longer)
        )),
        exp.to_string()
    );
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(
        s.text("SELECT current_user || scope.jwt_claim('groups')"),
        format!("{}[\"a\"]", d.reader)
    );
    // One that is over is over.
    let mut s = d
        .knock(&d.token(json!({"exp": now() + 2})))
        .expect("a login");
    std::thread::sleep(Duration::from_secs(3));
    assert!(s.attempt(&refresh(&longer)).is_err());
}

#[test]
fn a_login_by_token_is_made_shown_declared_and_ended_as_others_are() {
    let server = server();
    let d = Door::open(&server, "door_life");
    let mut admin = d.f.admin();
    assert_eq!(
        admin.text(&format!(
            "SELECT concat_ws(' ', kind, state, issuers, valid_until) FROM scope.credentials WHERE role = '{}'",
            d.login
        )),
        "authenticator active {corp}"
    );
    // It has no password to be old, nor one to be changed.
    assert_eq!(
        admin.text(&format!(
            "SELECT string_agg(code, ' ') FROM scope.review() WHERE role_name = '{}'",
            d.login
        )),
        ""
    );
    admin.run("CREATE ROLE door_life_outsider LOGIN; GRANT token_logins TO door_life_outsider");
    assert_eq!(
        admin.text("SELECT concat_ws(' ', severity, fix) FROM scope.review() WHERE code = 'token_login_outsider'"),
        "high REVOKE token_logins FROM door_life_outsider;"
    );
    let rotated = admin.refused(
        &format!("SELECT scope.rotate_password('{}')", d.login),
        "55000",
    );
    assert!(rotated.message.contains("logs in by token"), "{rotated}");
    for (arguments, sqlstate) in [
        ("'x', '{door_life_reader}', '{}'", "22023"),
        ("'x', '{door_life_reader}', NULL", "22004"),
        ("'x', '{door_life_reader}', '{NULL}'", "22004"),
        ("'x', '{door_life_reader}', '{corp,nobody}'", "42704"),
        ("'x', '{}', '{corp}'", "22023"),
        ("'door_life_login', '{door_life_reader}', '{corp}'", "42710"),
        ("'x', '{postgres}', '{corp}'", "42501"),
    ] {
        admin.refused(
            &format!("SELECT scope.create_token_login({arguments})"),
            sqlstate,
        );
    }
    server.alter_system("scope_roles.token_login_group", "");
    admin.refused(
        "SELECT scope.create_token_login('x', '{door_life_reader}', '{corp}')",
        "55000",
    );
    server.alter_system("scope_roles.token_login_group", "token_logins");
    // Exported, it is what it was, and nothing is to be done; from scratch, it is the same again.
    let spec = admin.text("SELECT scope.export_spec()");
    let declared: Value = serde_json::from_str(&spec).expect("JSON");
    assert_eq!(
        declared["authenticators"][0]["token_issuers"],
        json!(["corp"]),
        "{spec}"
    );
    let plan = |spec: &str| format!("SELECT count(*) FROM scope.plan({})", literal(spec));
    assert_eq!(admin.text(&plan(&spec)), "0");
    let authoritative = spec.replacen('{', "{\"mode\": \"authoritative\",", 1);
    let authoritative = if spec.contains("\"mode\"") {
        spec.clone()
    } else {
        authoritative
    };
    assert_eq!(admin.text(&plan(&authoritative)), "0");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = declared.clone();
        change(&mut spec);
        spec.to_string()
    };
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('else', '{}', {})",
        iss("else"),
        literal(&jwks(&[&Key::ed25519("else")]))
    ));
    let both = with(&|spec| spec["authenticators"][0]["token_issuers"] = json!(["corp", "else"]));
    admin.rows(&format!("SELECT * FROM scope.apply({})", literal(&both)));
    assert_eq!(
        admin.text("SELECT issuers FROM scope.credentials WHERE role = 'door_life_login'"),
        "{corp,else}"
    );
    let none = with(&|spec| {
        spec["authenticators"][0]
            .as_object_mut()
            .expect("an object")
            .remove("token_issuers");
    });
    admin.refused(&plan(&none), "42809");
    let mut s = d.knock(&d.token(json!({}))).expect("a login");
    admin.run("SELECT scope.revoke_role('door_life_login')");
    assert!(s.attempt("SELECT 1").is_err());
    wait_until("it is gone", 30, || !admin.role_exists("door_life_login"));
    admin.rows(&format!("SELECT * FROM scope.apply({})", literal(&spec)));
    d.knock(&d.token(json!({}))).expect("a login");
}
