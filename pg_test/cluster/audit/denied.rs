//! Statements that PostgreSQL refuses.

use serde_json::{Value, json};

use super::*;

#[test]
fn audit_of_denied_statements_names_the_subject() {
    let w = Web::new("audit_denied");
    let mut admin = w.f.admin();
    admin.run("CREATE SCHEMA hidden; CREATE TABLE hidden.t (id int); CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION secret() FROM PUBLIC");
    let mut session = w.switched("nosy");
    for (statement, message, tag) in [
        (
            "SELECT * FROM vault",
            "permission denied for table vault",
            json!("SELECT"),
        ),
        // While it is parsed, before any hook of the executor.
        (
            "SELECT * FROM hidden.t",
            "permission denied for schema hidden",
            json!(null),
        ),
        (
            "SELECT secret()",
            "permission denied for function secret",
            json!("SELECT"),
        ),
        (
            "DELETE FROM orders",
            "permission denied for table orders",
            json!("DELETE"),
        ),
        (
            "DROP TABLE orders",
            "must be owner of table orders",
            json!("DROP TABLE"),
        ),
        (
            "COPY vault TO STDOUT",
            "permission denied for table vault",
            json!("COPY"),
        ),
        (
            "CREATE ROLE another",
            "permission denied to create role",
            json!("CREATE ROLE"),
        ),
    ] {
        session.run("SAVEPOINT a");
        session.denied(statement, "42501");
        session.run("ROLLBACK TO a");
        let found = find(
            w.server(),
            &json!({ "event": "denied", "session_user": w.web }),
        );
        let line = found
            .last()
            .unwrap_or_else(|| panic!("{statement} is not recorded"));
        assert_fields(
            line,
            json!({
                "outcome": "refused", "sqlstate": "42501", "message": message, "subject": "nosy", "role": w.user,
                "tag": tag, "text": null,
            }),
        );
    }
    let found = find(
        w.server(),
        &json!({ "event": "denied", "session_user": w.web }),
    );
    assert_eq!(found.len(), 7, "each once: {found:#?}");
}

/// Which statement it was, without its text: by the fingerprint that pg_stat_statements and the class `statement` have too.
#[test]
fn audit_of_denied_statements_has_their_fingerprint() {
    let server = Server::start(Options::default().set("compute_query_id", "on"));
    let f = Fixture::on(&server, "audit_fingerprint");
    let cred = f.admin().issue("'orders'");
    let mut session = f.login(&cred.role);
    let last = || {
        let lines = find(&server, &json!({ "event": "denied" }));
        let line = lines.last().expect("a line").clone();
        (lines.len(), line["tag"].clone(), line["query_id"].clone())
    };
    let mut seen = 0;
    for protocol in [Protocol::Simple, Protocol::Extended] {
        for (statement, tag) in [
            ("SELECT secret FROM vault WHERE secret = 'a'", "SELECT"),
            ("DELETE FROM orders WHERE id = 1", "DELETE"),
            ("DROP TABLE orders", "DROP TABLE"),
        ] {
            let refusal = session
                .attempt_by(protocol, statement)
                .expect_err(statement);
            assert_eq!(refusal.code, "42501", "{refusal}");
            seen += 1;
            let (count, told, id) = last();
            assert_eq!(
                (count, &told),
                (seen, &json!(tag)),
                "{protocol:?} {statement}"
            );
            let expected = f.admin().text(&format!(
                "EXPLAIN (VERBOSE, FORMAT JSON) {}",
                if tag == "DROP TABLE" {
                    "SELECT 1"
                } else {
                    statement
                }
            ));
            if tag != "DROP TABLE" {
                let plan: Value = serde_json::from_str(&expected).expect("JSON");
                assert_eq!(id, plan[0]["Query Identifier"], "{protocol:?} {statement}");
            }
            assert!(id.is_i64(), "{protocol:?} {statement}: {id}");
        }
    }
    // Inside what the client has sent.
    let inside = "DO $$ BEGIN PERFORM * FROM vault; EXCEPTION WHEN OTHERS THEN NULL; END $$";
    session.run(inside);
    assert_eq!(last().1, json!("DO"));
    server.alter_system("scope_roles.audit_text", "off");
    session.denied("SELECT count(*) FROM vault", "42501");
    let (_, tag, id) = last();
    assert_eq!((tag, id), (json!("SELECT"), Value::Null));
}

/// A probe that hides its failures.
#[test]
fn audit_of_denials_that_are_caught() {
    let w = Web::new("audit_caught");
    let mut session = w.switched("prober");
    session.run(
        "DO $$ BEGIN
           FOR i IN 1..100 LOOP
             BEGIN PERFORM * FROM vault; EXCEPTION WHEN OTHERS THEN NULL; END;
           END LOOP;
         END $$",
    );
    let line = one(
        w.server(),
        json!({ "event": "denied", "session_user": w.web }),
    );
    assert_fields(
        &line,
        json!({ "subject": "prober", "message": "permission denied for table vault" }),
    );
}

#[test]
fn audit_of_denials_of_managed_logins_and_of_nobody_else() {
    let f = Fixture::new("audit_managed");
    let cred = f.admin().issue("'orders'");
    f.login(&cred.role).denied("SELECT * FROM vault", "42501");
    let line = one(
        f.server,
        json!({ "event": "denied", "session_user": cred.role }),
    );
    assert_fields(
        &line,
        json!({ "role": cred.role, "subject": null, "issuer": null }),
    );
    let plain = f.role("plain", "LOGIN");
    f.login(&plain).denied("SELECT * FROM vault", "42501");
    none(f.server, json!({ "session_user": plain }));
    // One of ours, taken by SET ROLE.
    let scope = f.admin().scope_of(&cred.role);
    f.admin().run(&format!("GRANT {scope} TO {plain}"));
    let mut session = f.login(&plain);
    session.run(&format!("SET ROLE {scope}"));
    session.denied("SELECT * FROM vault", "42501");
    let line = one(
        f.server,
        json!({ "event": "denied", "session_user": plain }),
    );
    assert_eq!(line["role"], json!(scope));
}

#[test]
fn audit_is_never_told_to_the_client() {
    let w = Web::new("audit_client");
    let mut session = w.f.login(&w.web);
    session.run("SET client_min_messages = debug5");
    session.run(&format!(
        "BEGIN; SELECT scope.set_jwt_role({})",
        literal(&w.token("somebody"))
    ));
    session.denied("SELECT * FROM vault", "42501");
    let told = session.notices();
    assert!(
        !told.iter().any(|notice| notice.message.contains("audit")),
        "{told:?}"
    );
    assert_eq!(find(w.server(), &json!({ "session_user": w.web })).len(), 2);
}

/// A line is a line: no STATEMENT, CONTEXT or DETAIL of PostgreSQL's after it.
#[test]
fn audit_lines_bring_nothing_with_them() {
    let server = Server::start(
        Options::default()
            .set("log_min_error_statement", "debug5")
            .set("log_error_verbosity", "verbose"),
    );
    let f = Fixture::on(&server, "audit_bare");
    let cred = f.admin().issue("'orders'");
    f.login(&cred.role)
        .run("DO $$ BEGIN PERFORM 1 FROM vault; EXCEPTION WHEN OTHERS THEN NULL; END $$");
    let log = server.log();
    let after: Vec<&str> = log
        .lines()
        .skip_while(|line| !line.contains("\"event\":\"denied\""))
        .skip(1)
        .filter(|line| line.contains("STATEMENT") || line.contains("CONTEXT"))
        .collect();
    assert_eq!(after, Vec::<&str>::new());
    assert_eq!(find(&server, &json!({ "event": "denied" })).len(), 1);
    let _: Value = one(
        &server,
        json!({ "event": "denied", "session_user": cred.role }),
    );
}
