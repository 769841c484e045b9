//! A database of its own for each test, on the server that most tests share.

use std::sync::LazyLock;

use super::{Options, Server, Session, ident};

static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start(Options::default()));

/// The server of the tests that change nothing about it. Its worker runs; its settings are the defaults.
pub fn shared() -> &'static Server {
    &SHARED
}

pub struct Fixture<'a> {
    pub server: &'a Server,
    /// The database's name, and the prefix of the test's roles.
    pub name: String,
}

impl Fixture<'static> {
    pub fn new(name: &str) -> Self {
        Fixture::on(shared(), name)
    }
}

impl<'a> Fixture<'a> {
    /// A database with the extension, two tables with data, and nothing else.
    pub fn on(server: &'a Server, name: &str) -> Self {
        assert!(
            name.len() < 40,
            "{name} leaves no room for the names of roles"
        );
        let fixture = Fixture {
            server,
            name: name.to_owned(),
        };
        server
            .admin("postgres")
            .run(&format!("CREATE DATABASE {}", ident(name)));
        fixture.admin().run(
            "CREATE EXTENSION scope_roles;
             CREATE TABLE orders (id int, note text);
             INSERT INTO orders VALUES (1, 'first'), (2, 'second');
             CREATE TABLE vault (secret text);
             INSERT INTO vault VALUES ('treasure')",
        );
        fixture
    }

    /// A new session of the superuser.
    pub fn admin(&self) -> Session {
        self.server.admin(&self.name)
    }

    /// A new session of a role, through the socket.
    #[track_caller]
    pub fn login(&self, role: &str) -> Session {
        self.server.login(role, &self.name)
    }

    /// Creates a role of this test and returns its name.
    pub fn role(&self, suffix: &str, attributes: &str) -> String {
        let role = format!("{}_{suffix}", self.name);
        self.admin()
            .run(&format!("CREATE ROLE {role} {attributes}"));
        role
    }

    /// A login that may issue credentials, as far as its own rights go.
    pub fn issuer(&self, suffix: &str) -> String {
        let role = self.role(suffix, "LOGIN");
        self.admin().run(&format!(
            "GRANT EXECUTE ON FUNCTION scope.create_readonly_role TO {role}"
        ));
        role
    }
}
