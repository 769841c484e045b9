//! Attempts to write, cut or hide a line.

use serde_json::json;

use super::*;

/// What a line of ours looks like, so that a forged one would pass.
const FORGED: &str = "\n2026-01-01 00:00:00 UTC [1] LOG:  scope_roles audit: {\"event\":\"login\",\"outcome\":\"ok\",\"session_user\":\"forged\"}\n";

const EVIL: [&str; 8] = [
    FORGED,
    "\r\n\t\u{8}\u{c}\u{1b}[2J\u{7f}",
    "\",\"outcome\":\"ok\",\"x\":\"",
    "\\\",\"subject\":\"root\",\"x\":\"\\",
    "\\u0000\\n\\",
    "\u{202e}toor\u{2066}\u{200f}\u{2028}\u{2029}\u{85}\u{feff}",
    "{\"event\":\"login\"}",
    "\u{1f600}\u{e4}\u{10ffff}",
];

#[test]
fn audit_line_cannot_be_forged_by_claims() {
    let w = Web::new("audit_claims");
    for evil in EVIL {
        let token = sign(&json!({
            "role": w.user, "exp": now() + 600, "sub": evil, "jti": evil, "iss": evil, evil: evil,
        }));
        let mut session = w.f.login(&w.web);
        session.run(&format!(
            "BEGIN; SELECT scope.set_jwt_role({})",
            literal(&token)
        ));
        session.denied("SELECT * FROM vault", "42501");
        // trail() holds every line against the schema, which knows no other field.
        for event in ["switch", "denied"] {
            let line = one(
                w.server(),
                json!({ "event": event, "session_user": w.web, "subject": evil }),
            );
            assert_fields(
                &line,
                json!({ "jti": evil, "issuer": evil, "role": w.user }),
            );
        }
    }
    none(w.server(), json!({ "session_user": "forged" }));
}

#[test]
fn audit_line_cannot_be_forged_by_names_and_messages() {
    let w = Web::new("audit_names");
    let mut admin = w.f.admin();
    for (index, evil) in EVIL.into_iter().enumerate() {
        // An object's name is in the message; PostgreSQL cuts names at 63 bytes.
        let table: String = format!("t{index}{evil}").chars().take(20).collect();
        admin.run(&format!("CREATE TABLE {} (id int)", ident(&table)));
        let mut session = w.f.login(&w.web);
        session.run(&format!("SET application_name = {}", literal(evil)));
        session.run(&format!(
            "BEGIN; SELECT scope.set_jwt_role({})",
            literal(&w.token(&table))
        ));
        session.denied(&format!("SELECT * FROM {}", ident(&table)), "42501");
        let line = one(
            w.server(),
            json!({ "event": "denied", "subject": table, "session_user": w.web }),
        );
        assert_eq!(
            line["message"],
            json!(format!("permission denied for table {table}"))
        );
        // What the error says is the attacker's too.
        session.run("ROLLBACK");
        session.run(&format!(
            "BEGIN; SELECT scope.set_jwt_role({})",
            literal(&w.token(evil))
        ));
        session.denied(
            &format!(
                "DO $x$ BEGIN RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = {}, DETAIL = {}; END $x$",
                literal(evil),
                literal(evil)
            ),
            "42501",
        );
        let line = one(
            w.server(),
            json!({ "event": "denied", "subject": evil, "session_user": w.web }),
        );
        assert_fields(&line, json!({ "message": evil, "detail": evil }));
    }
    none(w.server(), json!({ "session_user": "forged" }));
}

/// A purpose, a reason, a role's name.
#[test]
fn audit_line_and_row_cannot_be_forged_by_arguments() {
    let f = Fixture::new("audit_arguments");
    let mut admin = f.admin();
    for evil in EVIL {
        let purpose: String = evil.chars().take(60).collect();
        let cred = admin.issue(&format!("'orders', purpose => {}", literal(&purpose)));
        let line = one(f.server, json!({ "event": "issue", "object": cred.role }));
        assert_eq!(line["purpose"], json!(purpose));
        admin.assert_that(&format!(
            "(SELECT details ->> 'purpose' FROM scope.audit_log WHERE event = 'issue' AND object = '{}') = {}",
            cred.role,
            literal(&purpose)
        ));
        admin.run(&format!(
            "SELECT scope.revoke_role('{}', {})",
            cred.role,
            literal(&purpose)
        ));
        let line = one(f.server, json!({ "event": "revoke", "object": cred.role }));
        assert_eq!(line["reason"], json!(purpose));
    }
    none(f.server, json!({ "session_user": "forged" }));
}

/// In a database that knows nothing of Unicode.
#[test]
fn audit_in_another_encoding() {
    let f = Fixture::new("audit_latin");
    let mut admin = f.admin();
    admin.run("CREATE DATABASE audit_latin1 ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'");
    let mut latin = f.server.admin("audit_latin1");
    latin.run("CREATE EXTENSION scope_roles; CREATE TABLE orders (id int); CREATE TABLE \"schl\u{fc}ssel\" (id int)");
    let cred = latin.issue("'orders', purpose => 'fuer Mueller'");
    let mut session = f.server.login(&cred.role, "audit_latin1");
    session.denied("SELECT * FROM \"schl\u{fc}ssel\"", "42501");
    let line = one(
        f.server,
        json!({ "event": "denied", "session_user": cred.role }),
    );
    // The bytes of LATIN1, told apart from any others.
    assert_eq!(line["message"], "permission denied for table schl\\xfcssel");
    one(f.server, json!({ "event": "issue", "object": cred.role }));
    latin.assert_that("(SELECT count(*) FROM scope.audit_log WHERE event = 'issue') = 1");
}

/// PL/pgSQL writes any text into the server's log, at the very level of our lines.
#[test]
fn audit_line_cannot_be_forged_by_messages_of_any_level() {
    let w = Web::new("audit_raise");
    let anybody = w.f.role("anybody", "LOGIN");
    let line =
        "scope_roles audit: {\"event\":\"login\",\"outcome\":\"ok\",\"session_user\":\"forged\"}";
    let mut session = w.f.login(&anybody);
    for level in ["LOG", "WARNING", "NOTICE", "EXCEPTION"] {
        for message in [line.to_owned(), format!("\n {line}"), format!("x\n{line}")] {
            let _ = session.attempt(&format!(
                "SET log_error_verbosity = DEFAULT; DO $x$ BEGIN RAISE {level} '%', {}; END $x$",
                literal(&message)
            ));
            let _ = session.attempt(&format!(
                "DO $x$ BEGIN RAISE {level} '%', {}; END $x$",
                literal(&message)
            ));
        }
    }
    let log = w.server().log();
    for line in log
        .lines()
        .filter(|line| line.contains("\"session_user\":\"forged\""))
    {
        assert!(
            line.starts_with('\t')
                || line.contains(": STATEMENT:  ")
                || line.contains("STATEMENT:  "),
            "{line}"
        );
    }
    none(w.server(), json!({ "session_user": "forged" }));
    let told = find(
        w.server(),
        &json!({ "event": "forgery", "session_user": anybody }),
    );
    assert!(told.len() >= 6, "{told:#?}");
    assert_fields(&told[0], json!({ "outcome": "refused", "message": line }));
}

/// Readers with universal newlines end a line at a CR and more; nothing that a session makes PostgreSQL write may look like one of ours.
#[test]
fn audit_line_cannot_be_forged_for_readers_of_other_newlines() {
    let w = Web::new("audit_newlines");
    let anybody = w.f.role("anybody", "LOGIN");
    let line = "2026-01-01 00:00:00 UTC [1] LOG:  scope_roles audit: {\"event\":\"login\",\"outcome\":\"ok\",\"session_user\":\"newline\"}";
    let separators = [
        "\r",
        "\u{b}",
        "\u{c}",
        "\u{1c}",
        "\u{1d}",
        "\u{1e}",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{1b}[1G",
    ];
    for (index, separator) in separators.into_iter().enumerate() {
        // A minute has room for so many.
        let anybody = if index % 2 == 0 { &anybody } else { &w.web };
        let mut session = w.f.login(anybody);
        let text = format!("x{separator}{line}{separator}");
        let quoted = literal(&text);
        for sql in [
            format!("DO $x$ BEGIN RAISE LOG '%', {quoted}; END $x$"),
            format!("DO $x$ BEGIN RAISE LOG 'x' USING DETAIL = {quoted}; END $x$"),
            format!("DO $x$ BEGIN RAISE WARNING 'x' USING HINT = {quoted}; END $x$"),
            format!("SELECT {quoted}::int"),
            format!("SELECT 1/0 /* {text} */"),
            format!(
                "DO $x$ BEGIN EXECUTE {}; END $x$",
                literal(&format!("SELECT 1/0 /* {text} */"))
            ),
            format!("SELECT nothing.{}", ident(&text)),
            format!("SET application_name = {quoted}; SELECT 1/0"),
        ] {
            let _ = session.attempt(&sql);
        }
    }
    for part in w
        .server()
        .log()
        .split(|c: char| c.is_control() && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}'))
    {
        assert!(
            !(part.contains("\"session_user\":\"newline\"")
                && !part.starts_with('\t')
                && !part.contains("STATEMENT:  ")),
            "{part:?}"
        );
    }
    none(w.server(), json!({ "session_user": "newline" }));
    assert!(
        !find(
            w.server(),
            &json!({ "event": "forgery", "session_user": anybody })
        )
        .is_empty()
    );
}

/// Without a token a gated login wrote 10 MB of lines a second, and took transaction ids.
#[test]
fn audit_of_a_flood_without_a_token_is_bounded_and_counted() {
    // A server of its own: transaction ids are counted.
    let server = Box::leak(Box::new(Server::start(Options::default())));
    let w = Web::on(server, "audit_flood");
    let mut admin = w.f.admin();
    let gate = format!("{}_gate", w.f.name);
    let calm = format!("{}_calm", w.f.name);
    let cred = admin.handed(&format!(
        "scope.create_authenticator('{gate}', '{{{}}}')",
        w.user
    ));
    let other = admin.handed(&format!(
        "scope.create_authenticator('{calm}', '{{{}}}')",
        w.user
    ));
    let next_xid = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    let before: u64 = admin.text(next_xid).parse().unwrap();
    let most = 3 * 4 * 20;
    for round in 0..3 {
        let mut session = cred.connect();
        for number in 0..150 {
            for sql in [
                format!("SET ROLE x{round}_{number}"),
                format!("SELECT scope.set_jwt_role('{round}.{number}.x')"),
                format!(
                    "DO $x$ BEGIN RAISE EXCEPTION '{round} {number}' USING ERRCODE = '42501'; END $x$"
                ),
                format!("DO $x$ BEGIN RAISE LOG 'scope_roles audit: {round} {number}'; END $x$"),
            ] {
                let _ = session.attempt(&sql);
            }
        }
        session.denied("SELECT pg_current_xact_id()", "42501");
        session.denied("SELECT txid_current()", "42501");
    }
    let after: u64 = admin.text(next_xid).parse().unwrap();
    assert!(after < before + 20, "{before} {after}");
    let lines = find(w.server(), &json!({ "session_user": gate }));
    let (floods, whole): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["event"] == "flood");
    assert!(whole.len() <= most + 10, "{}", whole.len());
    for of in ["switch", "forgery"] {
        let told: Vec<_> = floods
            .iter()
            .filter(|line| line["of"] == of)
            .map(|line| line["count"].as_i64().unwrap())
            .collect();
        assert!(told.contains(&1) && told.contains(&100), "{of}: {told:?}");
    }
    // Another login's lines are whole.
    other
        .connect()
        .refused("SELECT scope.set_jwt_role('a.b.c')", "28000");
    one(
        w.server(),
        json!({ "event": "switch", "outcome": "refused", "session_user": calm }),
    );
}

/// Whoever reaches the port can say any name, and have an error quote what they say.
#[test]
fn attack_a_forgery_before_authentication_in_the_name_of_another() {
    let w = Web::new("audit_unauthenticated");
    let accused = w.f.role("accused", "LOGIN");
    let line = "x\rLOG:  scope_roles audit: {\"event\":\"login\",\"outcome\":\"ok\",\"application_name\":\"unauthenticated\"}";
    for user in [accused.as_str(), "nobody"] {
        let refused = Wire::try_open(w.server(), user, &w.f.name, &[("replication", line)]);
        assert!(refused.is_err());
    }
    let told = find(
        w.server(),
        &json!({ "event": "forgery", "database": w.f.name }),
    );
    assert_eq!(told.len(), 2, "{told:#?}");
    for line in &told {
        assert!(
            line.get("session_user").is_none() && line.get("role").is_none(),
            "{line}"
        );
    }
    none(
        w.server(),
        json!({ "event": "forgery", "session_user": accused }),
    );
    // Those who have are named, refused or not.
    let mut session = w.f.login(&accused);
    let _ = session.attempt(&format!(
        "DO $x$ BEGIN RAISE LOG '%', {}; END $x$",
        literal(line)
    ));
    one(
        w.server(),
        json!({ "event": "forgery", "session_user": accused }),
    );
}
