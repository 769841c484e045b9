//! What the library costs those who do not use it, and the lock those who do.
//!
//! Times of whole transactions vary by more than the lock costs, so most of this is told in instructions: those of `postgres --single`
//! under callgrind, which has no client and no network that would make our share look smaller. The same statement runs a number of
//! times, and in another process three times as often: the difference knows nothing of start and stop.

use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::cluster::harness::{
    Fixture, Options, SECRET, Server, Session, has_library, literal, now, output, sign,
};
use crate::measure::{Figures, OneProcessor, compare, in_turns};
use crate::scene::{DATABASE, LOGIN, Scene};

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

/// To a role and back, as a client sees it: two round trips on either side. set_user asks for no proof, and logs both.
pub fn set_user(_: &Scene) -> Result<Figures, String> {
    if !has_library("set_user") {
        return Err("this server has no set_user".into());
    }
    let libraries = "set_user, scope_roles";
    let server = Server::start(Options::default().set("shared_preload_libraries", libraries));
    Fixture::on(&server, DATABASE);
    server.admin(DATABASE).run(&format!(
        "CREATE EXTENSION set_user;
         CREATE ROLE {ROLE}; CREATE ROLE {LOGIN} LOGIN NOINHERIT; GRANT {ROLE} TO {LOGIN};
         GRANT EXECUTE ON FUNCTION set_user(text) TO {LOGIN}"
    ));
    let token = sign(&json!({"role": ROLE, "exp": now() + 7_200}));
    let sides = [
        (
            format!("BEGIN; SELECT scope.set_jwt_role({})", literal(&token)),
            "COMMIT",
        ),
        (format!("SELECT set_user('{ROLE}')"), "SELECT reset_user()"),
    ];
    let _one = OneProcessor::of(&[&server]);
    let mut session = server.login(LOGIN, DATABASE);
    for (switch, back) in &sides {
        session.run(switch);
        session.assert_that(&format!("current_user = '{ROLE}'"));
        session.run(back);
        session.assert_that(&format!("current_user = '{LOGIN}'"));
    }
    let rounds = in_turns::<2>(600, |_, side| {
        let (switch, back) = &sides[side];
        let started = Instant::now();
        session.run(switch);
        session.run(back);
        started.elapsed().as_secs_f64() * 1e6
    });
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
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
    let _one = OneProcessor::of(&[&servers[0], &servers[1]]);
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
