//! The audit trail: what is written, that it can be read back, and that nobody can write a line of it.

mod denied;
mod events;
mod forging;
mod log;
mod schema;
mod statements;

use serde_json::{Value, json};

use crate::harness::*;

const PREFIX: &str = "scope_roles audit: ";

/// The lines of a server's log that are audit lines, as a log shipper would read them. Each is as the
/// document says.
#[track_caller]
pub fn trail(server: &Server) -> Vec<Value> {
    let log = server.log();
    // The last line may be half written.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole
        .lines()
        .filter_map(message)
        .filter_map(|message| message.strip_prefix(PREFIX))
        .map(|line| {
            assert!(
                line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{line}"
            );
            let line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            schema::check(&line);
            line
        })
        .collect()
}

/// The message of a line of PostgreSQL's log. One that begins with a tab is the rest of another.
fn message(line: &str) -> Option<&str> {
    let (head, message) = line.split_once(":  ")?;
    let is_ours = head.ends_with("LOG") || head.ends_with("WARNING");
    let message = match message.split_once(": ") {
        // log_error_verbosity = verbose
        Some((code, rest)) if code.len() == 5 => rest,
        _ => message,
    };
    (is_ours && !line.starts_with('\t')).then_some(message)
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
pub fn one(server: &Server, fields: Value) -> Value {
    let mut found = find(server, &fields);
    assert_eq!(found.len(), 1, "{fields}: {found:#?}");
    found.remove(0)
}

#[track_caller]
pub fn none(server: &Server, fields: Value) {
    let found = find(server, &fields);
    assert!(found.is_empty(), "{fields}: {found:#?}");
}

#[track_caller]
pub fn assert_fields(line: &Value, fields: Value) {
    for (key, value) in fields.as_object().expect("an object") {
        assert_eq!(&line[key], value, "{key} in {line}");
    }
}

/// A login that may take a role by token.
pub struct Web {
    pub f: Fixture<'static>,
    pub web: String,
    pub user: String,
}

impl Web {
    pub fn new(name: &str) -> Web {
        Web::on(shared(), name)
    }

    pub fn on(server: &'static Server, name: &str) -> Web {
        let f = Fixture::on(server, name);
        let web = f.role("web", "LOGIN");
        let user = f.role("user", "");
        f.admin().run(&format!(
            "GRANT {user} TO {web}; GRANT SELECT ON orders TO {user}"
        ));
        Web { f, web, user }
    }

    pub fn server(&self) -> &'static Server {
        self.f.server
    }

    pub fn token(&self, subject: &str) -> String {
        sign(&json!({
            "role": self.user, "exp": now() + 600, "iss": "https://id.example.org", "sub": subject, "jti": "4711",
        }))
    }

    /// A session in a transaction that a token has switched.
    pub fn switched(&self, subject: &str) -> Session {
        let mut session = self.f.login(&self.web);
        session.run(&format!(
            "BEGIN; SELECT scope.set_jwt_role({})",
            literal(&self.token(subject))
        ));
        session
    }
}
