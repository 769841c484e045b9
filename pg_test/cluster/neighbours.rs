//! Life beside other software: extensions that hook in where we do, a pooler, PostgreSQL's own tools.

mod auth_delay;
mod drivers;
mod extensions;
mod pgbouncer;
mod set_user;
mod tools;

use std::sync::LazyLock;

use serde_json::json;

use crate::harness::*;
use crate::jwt::{Gate, switch};

/// Hooks run in the reverse of the order in which libraries are loaded, so each neighbour is met on either side.
#[derive(Clone, Copy)]
enum Order {
    /// We are called after the neighbour.
    First,
    /// We are called before it.
    Last,
}

const NEIGHBOURS: [&str; 4] = ["pgaudit", "set_user", "pg_stat_statements", "auto_explain"];

static FIRST: LazyLock<Server> = LazyLock::new(|| server(Order::First));
static LAST: LazyLock<Server> = LazyLock::new(|| server(Order::Last));

fn server(order: Order) -> Server {
    let mut libraries = NEIGHBOURS
        .map(|name| if has_library(name) { name } else { "" })
        .to_vec();
    libraries.retain(|name| !name.is_empty());
    match order {
        Order::First => libraries.insert(0, "scope_roles"),
        Order::Last => libraries.push("scope_roles"),
    }
    Server::start(Options::default().set("shared_preload_libraries", &libraries.join(", ")))
}

impl Order {
    fn server(self) -> &'static Server {
        match self {
            Order::First => &FIRST,
            Order::Last => &LAST,
        }
    }

    fn gate(self, name: &str) -> Gate<'static> {
        let gate = Gate::with(Fixture::on(self.server(), name));
        gate.f.admin().run(&format!(
            "GRANT SELECT ON vault TO {}, {}",
            gate.auth, gate.writer
        ));
        gate
    }
}

/// Makes each test one per load order, and says so when the server has no such neighbour.
macro_rules! in_both_orders {
    ($($(#[$doc:meta])* $name:ident($neighbour:literal);)*) => {
        $($(#[$doc])* mod $name {
            use super::super::{Order, met};
            #[test] fn loaded_after_us() { if met($neighbour) { super::$name(Order::First) } }
            #[test] fn loaded_before_us() { if met($neighbour) { super::$name(Order::Last) } }
        })*
    };
}
use in_both_orders;

fn met(neighbour: &str) -> bool {
    let here = has_library(neighbour);
    if !here {
        skip(&format!("this server has no {neighbour}"));
    }
    here
}

/// What stands for the suite of attacks: one statement for each way in which PostgreSQL changes who acts.
fn assert_lock_holds(gate: &Gate<'_>) {
    let Gate {
        auth,
        reader,
        writer,
        ..
    } = gate;
    let token = gate.token(json!({}));
    let mut s = gate.login();
    s.run(&format!(
        "CREATE FUNCTION pg_temp.clause() RETURNS text LANGUAGE plpgsql SET role = '{auth}' AS $$ BEGIN RETURN current_user; END $$;
         PREPARE attack AS SELECT set_config('role', NULL, true)"
    ));
    for attack in [
        format!("SET ROLE {writer}"),
        "RESET ROLE".into(),
        "SET SESSION AUTHORIZATION DEFAULT".into(),
        "DISCARD ALL".into(),
        "SELECT set_config('role', NULL, true), current_user::text".into(),
        "DO $$ BEGIN RESET ROLE; RAISE EXCEPTION 'as %', current_user; END $$".into(),
        "SELECT pg_temp.clause()".into(),
        "EXECUTE attack".into(),
        "SET request.jwt.claims = '{}'".into(),
        "SET scope.switch = ''".into(),
    ] {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
            match s.attempt_by(protocol, &attack) {
                Ok(rows) => panic!("{protocol:?}: not refused: {attack}\nit returned {rows:?}"),
                Err(refusal) => assert_eq!(refusal.code, "42501", "{attack}\n{refusal}"),
            }
            s.run("ROLLBACK TO s");
            s.assert_that(&format!(
                "current_user = '{reader}' AND session_user = '{auth}'"
            ));
            s.denied("SELECT * FROM vault", "42501");
            s.run("ROLLBACK");
            s.assert_that(&format!("current_user = '{auth}'"));
        }
    }
}
