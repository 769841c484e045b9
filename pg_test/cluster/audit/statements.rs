//! Who ran what.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Server::start(
        Options::default()
            .set("scope_roles.audit", "all")
            .set("scope_roles.audit_text", "full"),
    )
});

fn statements(login: &str) -> Vec<Value> {
    find(
        &SERVER,
        &json!({ "event": "statement", "session_user": login }),
    )
}

#[test]
fn audit_of_statements_tells_what_they_read_and_wrote() {
    let w = Web::on(&SERVER, "audit_statements");
    w.f.admin().run(&format!(
        "CREATE TABLE items (id int); GRANT SELECT, INSERT, UPDATE, DELETE ON items TO {0};
         CREATE VIEW latest AS SELECT * FROM vault; GRANT SELECT ON latest TO {0}",
        w.user
    ));
    let mut session = w.switched("a person");
    for (statement, tag, reads, writes, rows) in [
        (
            "SELECT * FROM orders",
            "SELECT",
            json!(["public.orders"]),
            json!([]),
            2,
        ),
        (
            "INSERT INTO items SELECT id FROM orders RETURNING id",
            "INSERT",
            json!(["public.items", "public.orders"]),
            json!(["public.items"]),
            2,
        ),
        (
            "UPDATE items SET id = 3 WHERE id = 1",
            "UPDATE",
            json!(["public.items"]),
            json!(["public.items"]),
            1,
        ),
        (
            "DELETE FROM items",
            "DELETE",
            json!([]),
            json!(["public.items"]),
            2,
        ),
        (
            "SELECT * FROM latest",
            "SELECT",
            json!(["public.latest", "public.vault"]),
            json!([]),
            1,
        ),
        ("SELECT 1", "SELECT", json!([]), json!([]), 1),
    ] {
        session.run(statement);
        let found = find(
            &SERVER,
            &json!({ "event": "statement", "session_user": w.web, "text": statement }),
        );
        assert_eq!(found.len(), 1, "{statement}: {found:#?}");
        assert_fields(
            &found[0],
            json!({
                "outcome": "ok", "tag": tag, "reads": reads, "writes": writes, "rows": rows, "depth": 1,
                "subject": "a person", "role": w.user,
            }),
        );
        assert!(found[0]["query_id"].is_i64(), "{found:?}");
    }
    let copied = session.copy_out("COPY orders TO STDOUT").unwrap();
    assert_eq!(copied.lines().count(), 2);
    let line = one(
        &SERVER,
        json!({ "event": "statement", "session_user": w.web, "tag": "COPY" }),
    );
    assert_fields(
        &line,
        json!({ "reads": ["orders"], "rows": 2, "writes": [] }),
    );
}

/// Rows are counted over fetches; what runs inside is told apart.
#[test]
fn audit_of_cursors_and_functions() {
    let w = Web::on(&SERVER, "audit_cursors");
    w.f.admin().run("CREATE FUNCTION peek() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT count(*) FROM vault); END'");
    let mut session = w.switched("a reader");
    session
        .run("DECLARE c CURSOR FOR SELECT id FROM orders; FETCH 1 FROM c; FETCH 1 FROM c; CLOSE c");
    let line = one(
        &SERVER,
        json!({ "event": "statement", "session_user": w.web, "reads": ["public.orders"] }),
    );
    assert_fields(
        &line,
        json!({ "rows": 2, "tag": "SELECT", "outcome": "ok" }),
    );
    session.run("SELECT peek()");
    let line = one(
        &SERVER,
        json!({ "event": "statement", "session_user": w.web, "reads": ["public.vault"] }),
    );
    assert_fields(&line, json!({ "depth": 2, "role": w.user }));
    session.run("PREPARE p AS SELECT note FROM orders; EXECUTE p");
    let found = find(
        &SERVER,
        &json!({ "event": "statement", "session_user": w.web, "tag": "EXECUTE" }),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    session.run("COMMIT");
}

/// Names are kept from statement to statement; a relation keeps neither its name nor its schema for ever.
#[test]
fn audit_names_relations_as_they_are_called_by_now() {
    let w = Web::on(&SERVER, "audit_renamed");
    let mut session = w.switched("a reader");
    session.run("COMMIT");
    let mut admin = w.f.admin();
    let switch = format!(
        "BEGIN; SELECT scope.set_jwt_role({})",
        literal(&w.token("a reader"))
    );
    for (change, name) in [
        ("SELECT 1", "public.orders"),
        ("ALTER TABLE orders RENAME TO sales", "public.sales"),
        (
            "CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO PUBLIC; ALTER TABLE sales SET SCHEMA shop",
            "shop.sales",
        ),
        ("ALTER SCHEMA shop RENAME TO \"a shop\"", "\"a shop\".sales"),
    ] {
        admin.run(change);
        session.run(&switch);
        for _ in 0..2 {
            session.run(&format!("SELECT id FROM {name}"));
        }
        session.run("COMMIT");
        let found = find(
            &SERVER,
            &json!({ "event": "statement", "session_user": w.web, "reads": [name] }),
        );
        assert_eq!(found.len(), 2, "{name}: {found:#?}");
    }
}

/// What the extension itself looks up on the way is not what anybody has run.
#[test]
fn audit_leaves_out_what_the_extension_asks_itself() {
    let w = Web::on(&SERVER, "audit_own");
    let mut session = w.switched("a reader");
    w.f.admin()
        .run("SELECT scope.revoke_token('another', now() + interval '1 day')");
    // The token is looked for among the revoked ones.
    session.run("SELECT id FROM orders");
    let found = find(
        &SERVER,
        &json!({ "event": "statement", "session_user": w.web }),
    );
    assert!(
        found
            .iter()
            .any(|line| line["reads"] == json!(["public.orders"])),
        "{found:#?}"
    );
    assert!(
        !found
            .iter()
            .any(|line| line["reads"].to_string().contains("scope.jwt_")),
        "{found:#?}"
    );
}

/// One that has shown its rows, and then fails, has shown them all the same.
#[test]
fn audit_of_statements_that_fail() {
    let w = Web::on(&SERVER, "audit_failed");
    let mut session = w.switched("a thief");
    assert_eq!(
        session.fails("SELECT id, 1 / (id - 2) FROM orders").code,
        "22012"
    );
    let failed = || {
        find(
            &SERVER,
            &json!({ "event": "statement", "session_user": w.web, "outcome": "failed" }),
        )
    };
    let lines = failed();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_fields(
        &lines[0],
        json!({ "reads": ["public.orders"], "rows": null, "subject": "a thief", "role": w.user }),
    );
    session.run("ROLLBACK");
    // Caught, inside another that goes on.
    let mut session = w.switched("a thief");
    session.run(
        "DO $$ BEGIN
           BEGIN PERFORM id, 1 / (id - 2) FROM orders; EXCEPTION WHEN OTHERS THEN NULL; END;
         END $$",
    );
    assert_eq!(failed().len(), 2, "{:#?}", failed());
    let line = one(
        &SERVER,
        json!({ "event": "statement", "session_user": w.web, "tag": "DO" }),
    );
    assert_eq!(line["outcome"], "ok");
    assert_eq!(
        session.fails("DO 'BEGIN RAISE EXCEPTION ''x''; END'").code,
        "P0001"
    );
    let found = find(
        &SERVER,
        &json!({ "event": "statement", "session_user": w.web, "tag": "DO", "outcome": "failed" }),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
}

/// A procedure that ends transactions is still running.
#[test]
fn audit_of_procedures_that_commit_and_roll_back() {
    let f = Fixture::on(&SERVER, "audit_procedure");
    let cred = f.admin().issue("'orders'");
    f.admin().run("CREATE PROCEDURE back_and_forth() LANGUAGE plpgsql AS 'BEGIN PERFORM 1; COMMIT; PERFORM 2; ROLLBACK; PERFORM 3; END'");
    f.login(&cred.role).run("CALL back_and_forth()");
    let found = find(
        &SERVER,
        &json!({ "event": "statement", "session_user": cred.role, "tag": "CALL" }),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["outcome"], "ok");
    let inner: Vec<Value> = statements(&cred.role)
        .into_iter()
        .filter(|line| line["depth"] == 2)
        .collect();
    assert_eq!(inner.len(), 3, "{inner:#?}");
}

#[test]
fn audit_of_statements_keeps_no_secret() {
    let f = Fixture::on(&SERVER, "audit_secrets");
    let mut admin = f.admin();
    let cred = admin.handed("scope.create_admin_role('{public}')");
    let web = f.role("web", "");
    let mut session = f.login(&cred.role);
    let token = sign(&json!({ "role": web, "exp": now() + 600, "sub": "x" }));
    for statement in [
        "CREATE ROLE x PASSWORD 'hunter2zq'".to_owned(),
        "ALTER ROLE CURRENT_USER PASSWORD $$hunter2zq$$".to_owned(),
        "SELECT 'postgresql://a:hunter2zq@b/c'".to_owned(),
        format!("SELECT scope.set_jwt_role({})", literal(&token)),
        format!("SELECT {}", literal(&token)),
    ] {
        let _ = session.attempt(&statement);
    }
    let texts: Vec<Value> = statements(&cred.role)
        .into_iter()
        .map(|line| line["text"].clone())
        .collect();
    // The first two are refused before they start.
    assert_eq!(texts.len(), 3, "{texts:#?}");
    for line in trail(&SERVER) {
        let line = line.to_string();
        assert!(!line.contains("hunter2zq"), "{line}");
        assert!(!line.contains(token.split('.').nth(2).unwrap()), "{line}");
        assert!(!line.contains(token.split('.').nth(1).unwrap()), "{line}");
    }
}

/// Also of what is denied before it runs.
#[test]
fn audit_of_denied_statements_has_their_text() {
    let f = Fixture::on(&SERVER, "audit_denied_text");
    let cred = f.admin().issue("'orders'");
    f.login(&cred.role)
        .denied("SELECT *, 'hunter2zq' AS password FROM vault", "42501");
    let line = one(
        &SERVER,
        json!({ "event": "denied", "session_user": cred.role }),
    );
    assert_eq!(line["text"], "SELECT *, '***' AS password FROM vault");
}

#[test]
fn audit_of_statements_leaves_others_alone() {
    let f = Fixture::on(&SERVER, "audit_others");
    let plain = f.role("plain", "LOGIN");
    f.login(&plain).run("SELECT 1");
    assert_eq!(statements(&plain), Vec::<Value>::new());
    assert_eq!(statements("postgres"), Vec::<Value>::new());
}

#[test]
fn audit_text_is_as_configured() {
    for (setting, has_id) in [("off", false), ("fingerprint", true)] {
        let server = Server::start(
            Options::default()
                .set("scope_roles.audit", "statement")
                .set("scope_roles.audit_text", setting),
        );
        let f = Fixture::on(&server, "audit_text");
        let cred = f.admin().issue("'orders'");
        f.login(&cred.role).run("SELECT id FROM orders");
        let line = one(
            &server,
            json!({ "event": "statement", "reads": ["public.orders"] }),
        );
        assert_eq!(line["text"], Value::Null);
        assert_eq!(line["query_id"].is_i64(), has_id, "{line}");
    }
}

/// What passes no hook for statements is recorded, too: large objects are read and written by it.
#[test]
fn attack_function_calls_of_the_protocol_leave_no_trace() {
    let w = Web::on(&SERVER, "audit_function_calls");
    let mut admin = w.f.admin();
    let login = admin.issue("'orders'").role;
    admin.run(
        "SELECT lo_from_bytea(4712, 'secret'); GRANT SELECT ON LARGE OBJECT 4712 TO PUBLIC;
         CREATE FUNCTION first_note(int) RETURNS text LANGUAGE sql AS 'SELECT note FROM orders WHERE id = $1'",
    );
    let mut oid = |name: &str| -> u32 {
        let sql = format!("SELECT '{name}'::regprocedure::oid");
        admin.text(&sql).parse().expect("an OID")
    };
    let (lo_get, first_note, sqrt) = (
        oid("lo_get(oid)"),
        oid("first_note(int)"),
        oid("sqrt(double precision)"),
    );
    let mut wire = Wire::open(&SERVER, &login, &w.f.name);
    for (function, argument) in [
        (lo_get, "4712"),
        (first_note, "1"),
        (sqrt, "4"),
        (sqrt, "-1"),
    ] {
        wire.call(function, &[Some(argument)]);
    }
    wire.query("SELECT lo_get(4712)");
    let told: Vec<Value> = statements(&login)
        .iter()
        .map(|line| json!([line["tag"], line["text"], line["outcome"]]))
        .collect();
    for expected in [
        json!(["FUNCTION CALL", "pg_catalog.lo_get(pg_catalog.oid)", "ok"]),
        json!(["FUNCTION CALL", "public.first_note(integer)", "ok"]),
        json!(["FUNCTION CALL", "pg_catalog.sqrt(double precision)", "ok"]),
        json!([
            "FUNCTION CALL",
            "pg_catalog.sqrt(double precision)",
            "failed"
        ]),
    ] {
        let count = told.iter().filter(|line| **line == expected).count();
        assert_eq!(count, 1, "{expected}: {told:#?}");
    }
    let calls = told
        .iter()
        .filter(|line| line[0] == "FUNCTION CALL")
        .count();
    assert_eq!(calls, 4, "{told:#?}");
}
