//! The audit trail: what is written, that it can be read back, and that nobody can write a line of it.

use serde_json::{Value, json};

use crate::harness::*;

const PREFIX: &str = "scope_roles audit: ";

/// The lines of a server's log that are audit lines, as a log shipper would read them.
pub fn trail(server: &Server) -> Vec<Value> {
    server
        .log()
        .lines()
        .filter_map(|line| line.split_once(PREFIX))
        .map(|(_, line)| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        })
        .collect()
}

/// Those that have these fields.
#[track_caller]
pub fn find(server: &Server, fields: &Value) -> Vec<Value> {
    let wanted = fields.as_object().expect("an object");
    trail(server)
        .into_iter()
        .filter(|line| wanted.iter().all(|(key, value)| &line[key] == value))
        .collect()
}

#[track_caller]
fn one(server: &Server, fields: &Value) -> Value {
    let mut found = find(server, fields);
    assert_eq!(
        found.len(),
        1,
        "{fields}: {found:#?}\nof {:#?}",
        trail(server)
    );
    found.remove(0)
}

#[test]
fn audit_of_a_switch_names_the_token_and_where_from() {
    let fixture = Fixture::new("audit_switch");
    let web = fixture.role("web", "LOGIN");
    let user = fixture.role("user", "");
    fixture.admin().run(&format!("GRANT {user} TO {web}"));
    let mut session = fixture.login(&web);
    let pid = session.text("SELECT pg_backend_pid()");
    let claims = json!({ "role": user, "exp": now() + 600, "iss": "https://id.example.org", "sub": "somebody", "jti": "4711" });
    session.run("SET application_name = 'a web app'");
    session.run(&format!(
        "BEGIN; SELECT scope.set_jwt_role({})",
        literal(&sign(&claims))
    ));
    let line = one(
        fixture.server,
        &json!({ "event": "switch", "session_user": web }),
    );
    for (key, value) in [
        ("outcome", json!("ok")),
        ("role", json!(user)),
        ("issuer", json!("https://id.example.org")),
        ("subject", json!("somebody")),
        ("jti", json!("4711")),
        ("client", json!("local")),
        ("port", Value::Null),
        ("database", json!(fixture.name)),
        ("application_name", json!("a web app")),
        ("pid", json!(pid.parse::<i64>().unwrap())),
        ("xid", Value::Null),
        ("function", json!("set_jwt_role")),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    session.run("ROLLBACK");
    let refused = sign(&json!({ "role": "postgres", "exp": now() + 600, "sub": "somebody" }));
    session.run("BEGIN");
    session.denied(
        &format!("SELECT scope.set_jwt_role({})", literal(&refused)),
        "42501",
    );
    let line = one(
        fixture.server,
        &json!({ "outcome": "refused", "session_user": web }),
    );
    assert_eq!(line["event"], "switch");
    assert_eq!(line["sqlstate"], "42501");
    assert_eq!(line["role"], json!(web));
}
