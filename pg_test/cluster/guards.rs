//! Guards: limits on rows, statements that a role may not run, and roles that only read. Every rule is tested together with the
//! ways to get round it.

mod alerts;
mod authority;
mod classes;
mod leavings;
mod reading;
mod rows;
mod windows;

use serde_json::{Value, json};

use crate::audit::find;
use crate::harness::*;

/// A table of 1,000 rows, and a scope that reads and writes it, with one login.
pub struct Scene {
    pub f: Fixture<'static>,
    pub scope: String,
    pub login: String,
}

impl Scene {
    pub fn new(name: &str) -> Scene {
        let f = Fixture::new(name);
        let scope = format!("{name}_scope");
        let mut admin = f.admin();
        admin.run(&format!(
            "CREATE TABLE many (id int PRIMARY KEY, body text);
             INSERT INTO many SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
             ANALYZE many;
             SELECT scope.create_scope('{scope}', '{{SELECT,INSERT,UPDATE,DELETE}}', '{{many}}')"
        ));
        let login = admin
            .handed(&format!("scope.create_credential('{{{scope}}}')"))
            .role;
        Scene { f, scope, login }
    }

    /// Sets a guard; `arguments` come after the role.
    #[track_caller]
    pub fn guard(&self, role: &str, arguments: &str) {
        self.f
            .admin()
            .run(&format!("SELECT scope.set_guard('{role}', {arguments})"));
    }

    pub fn session(&self) -> Session {
        self.f.login(&self.login)
    }

    /// The alerts of this test, by the guard that gave them.
    pub fn alerts(&self, guard: &str) -> Vec<Value> {
        find(
            self.f.server,
            &json!({"event": "alert", "guard": guard, "database": self.f.name}),
        )
    }
}
