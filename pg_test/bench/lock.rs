//! What the library costs those who do not use it, and the lock those who do.
//!
//! Times of whole transactions vary by more than the lock costs, so most of this is told in instructions: those of `postgres --single`
//! under callgrind, which has no client and no network that would make our share look smaller. The same statement runs a number of
//! times, and in another process three times as often: the difference knows nothing of start and stop.

use std::process::Command;

use serde_json::json;

use crate::cluster::harness::{Options, SECRET, Server, Session, literal, now, output, sign};
use crate::measure::{Figures, compare, in_turns};
use crate::scene::Scene;

const STATEMENT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711";
const ROLE: &str = "bench_reader";

/// With pgbench's tables.
fn server(options: Options) -> Server {
    let server = Server::start(
        options
            .set("jit", "off")
            .set("autovacuum", "off")
            .set("shared_buffers", "64MB"),
    );
    output(
        server
            .client("pgbench")
            .args(["--initialize", "--quiet", "postgres"]),
    );
    let mut admin = server.admin("postgres");
    admin.run(&format!(
        "CREATE ROLE {ROLE}; GRANT SELECT ON pgbench_accounts TO {ROLE}"
    ));
    admin.run("VACUUM FREEZE ANALYZE");
    server
}

/// Microseconds a transaction, of a client with one connection.
pub fn unused(_: &Scene) -> Result<Figures, String> {
    let servers = [
        server(Options::default()),
        server(Options::without_preload()),
    ];
    let check = |server: &Server| -> Session { server.admin("postgres") };
    assert_eq!(
        check(&servers[0]).text("SHOW shared_preload_libraries"),
        "scope_roles"
    );
    assert_eq!(check(&servers[1]).text("SHOW shared_preload_libraries"), "");
    let rounds = in_turns::<2>(90, |_, side| {
        let mut pgbench = servers[side].client("pgbench");
        let report = output(pgbench.args([
            "--select-only",
            "--no-vacuum",
            "--transactions=6000",
            "postgres",
        ]));
        let rate = report.lines().find_map(|line| {
            line.strip_prefix("tps = ")?
                .split(' ')
                .next()?
                .parse::<f64>()
                .ok()
        });
        1e6 / rate.unwrap_or_else(|| panic!("no tps in:\n{report}"))
    });
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}

pub fn unused_instructions(_: &Scene) -> Result<Figures, String> {
    let counter = Counter::new()?;
    let library = [
        "shared_preload_libraries=scope_roles",
        "shared_preload_libraries=",
    ];
    let rounds = in_turns::<2>(3, |_, side| counter.per_statement("", &[library[side]]));
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}

pub fn held_instructions(_: &Scene) -> Result<Figures, String> {
    let counter = Counter::new()?;
    let token = sign(&json!({ "role": ROLE, "exp": now() + 3600, "sub": "somebody" }));
    let begin = [
        format!("BEGIN; SELECT scope.set_jwt_role({});", literal(&token)),
        format!("BEGIN; SET LOCAL ROLE {ROLE};"),
    ];
    let rounds = in_turns::<2>(3, |_, side| counter.per_statement(&begin[side], &[]));
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}

/// A stopped server, on whose data single processes run.
struct Counter(Server);

impl Counter {
    fn new() -> Result<Counter, String> {
        let there = Command::new("valgrind").arg("--version").output();
        if !there.is_ok_and(|done| done.status.success()) {
            return Err("valgrind is not installed".into());
        }
        let server = server(Options::default().set("scope_roles.jwt_secret", SECRET));
        server.admin("postgres").run("CREATE EXTENSION scope_roles");
        server.stop();
        Ok(Counter(server))
    }

    fn per_statement(&self, begin: &str, settings: &[&str]) -> f64 {
        const FEW: usize = 150;
        let count = |statements| self.count(begin, settings, statements) as f64;
        (count(3 * FEW) - count(FEW)) / (2 * FEW) as f64
    }

    fn count(&self, begin: &str, settings: &[&str], statements: usize) -> u64 {
        let tool = [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
        ];
        let mut input = format!("{begin}\n");
        for _ in 0..statements {
            input += STATEMENT;
            input.push('\n');
        }
        // A side that does nothing would win.
        input += "SELECT current_user || ' is the role at the end'\n";
        let done = self.0.single_user(&tool, "postgres", settings, &input);
        let (answers, said) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        let role = if begin.is_empty() { "postgres" } else { ROLE };
        assert!(
            answers.contains(&format!("{role} is the role at the end")),
            "{answers}\n{said}"
        );
        assert_eq!(
            answers.matches("abalance = \"0\"").count(),
            statements,
            "{said}"
        );
        said.lines()
            .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
            .unwrap_or_else(|| panic!("no count in:\n{said}"))
    }
}
