//! What the audit trail costs.

use std::cell::Cell;
use std::time::Instant;

use crate::cluster::harness::{Options, Server, has_library, output};
use crate::measure::{Figures, GROUPS, OneProcessor, compare, in_turns};
use crate::scene::{Loop, Runner, Scene, array};
use crate::tokens::Family;

/// A transaction of a client that is nothing but a switch, with its line in the log and without. The
/// note has the loop of the row `warm`, which has no client and no network: what is left there is a
/// switch and PostgreSQL writing a line into a file. Logs are emptied as in [`statements`].
pub fn switch(_: &Scene) -> Result<Figures, String> {
    let scenes = [
        Scene::with(&[("scope_roles.audit", "switch")]),
        Scene::with(&[("scope_roles.audit", "none")]),
    ];
    let _one = OneProcessor::of(&[&scenes[0].server, &scenes[1].server]);
    let mut runners = Vec::new();
    let mut tokens = Vec::new();
    let mut transactions = Vec::new();
    for scene in &scenes {
        scene.trust_secret();
        let payload = scene.keys.payload();
        let token = scene.keys.sign(Family::Hs256, &payload).text;
        let all = array(std::iter::repeat_n(token.as_str(), 250));
        let mut runner = scene.login();
        runner.check(Loop::Switch, &all, &payload);
        runners.push(runner);
        tokens.push((all, payload));
        transactions.push(format!(
            "BEGIN; SELECT scope.set_jwt_role('{token}'); COMMIT"
        ));
    }
    let told = [Cell::new(0), Cell::new(0)];
    let count = |side: usize| {
        let lines = take_log(&scenes[side].server)
            .matches("\"event\":\"switch\"")
            .count();
        told[side].set(told[side].get() + lines);
    };
    let whole = in_turns::<2>(301, |_, side| {
        const TIMES: u32 = 100;
        let Runner(session) = &mut runners[side];
        let started = Instant::now();
        for _ in 0..TIMES {
            session.run(&transactions[side]);
        }
        let elapsed = started.elapsed();
        count(side);
        elapsed.as_secs_f64() * 1e6 / f64::from(TIMES)
    });
    let sides = [
        (0, Loop::Switch),
        (0, Loop::Empty),
        (1, Loop::Switch),
        (1, Loop::Empty),
    ];
    let rounds = in_turns::<4>(301, |_, side| {
        let (server, what) = sides[side];
        let (all, payload) = &tokens[server];
        let taken = runners[server].run(what, all, payload);
        count(server);
        taken
    });
    assert!(told[0].get() > 100_000 && told[1].get() == 0, "{told:?}");
    let inside = compare(&rounds, |t| t[0], |t| t[2]);
    let note = format!(
        "in a loop inside the server {:.2} against {:.2} µs, ratio {:.2}",
        inside.ours, inside.peer, inside.ratio.middle
    );
    Ok(compare(&whole, |t| t[0], |t| t[1]).with_note(note))
}

/// Microseconds a transaction, of a client with one connection: a managed login whose statements are
/// recorded, and a login whose statements pgaudit records. It may write, for what keeps a reader from writing and counts its rows is no
/// part of the audit. Logs are emptied after each round, so that they are written into memory
/// that the machine has used before, as on a server that has been up for a while: a virtual machine gets new memory at 7 µs a page. Each
/// group of rounds has servers of its own start: which pages of the machine's memory their buffers get decides how fast an index is
/// searched, by up to 0.6 µs a statement, which is as much as the two audits differ by.
pub fn statements(_: &Scene) -> Result<Figures, String> {
    if !has_library("pgaudit") {
        return Err("this server has no pgaudit".into());
    }
    let quiet = |options: Options| {
        options
            .set("jit", "off")
            .set("autovacuum", "off")
            .set("shared_buffers", "64MB")
    };
    let servers = [
        Server::start(quiet(
            Options::default().set("scope_roles.audit", "statement"),
        )),
        Server::start(quiet(
            Options::without_preload()
                .set("shared_preload_libraries", "pgaudit")
                .set("pgaudit.log", "read, write"),
        )),
    ];
    for server in &servers {
        output(
            server
                .client("pgbench")
                .args(["--initialize", "--quiet", "postgres"]),
        );
        server.admin("postgres").run("VACUUM FREEZE ANALYZE");
    }
    let mut admin = servers[0].admin("postgres");
    admin.run("CREATE EXTENSION scope_roles");
    // It counts the branches first.
    let call = "scope.create_readwrite_role(tables => '{pgbench_accounts,pgbench_branches}', role_name => 'bench_login')";
    let ours = admin.text(&format!("SELECT role_name FROM {call}"));
    servers[1].admin("postgres").run(&format!(
        "CREATE EXTENSION pgaudit; CREATE ROLE {ours} LOGIN; GRANT SELECT ON pgbench_accounts, pgbench_branches TO {ours}"
    ));
    let told = [Cell::new(0), Cell::new(0)];
    let run = |_, side: usize| {
        let mut pgbench = servers[side].client("pgbench");
        let report = output(pgbench.args([
            "--select-only",
            "--no-vacuum",
            "--transactions=6000",
            "--username",
            &ours,
            "postgres",
        ]));
        let rate = report.lines().find_map(|line| {
            line.strip_prefix("tps = ")?
                .split(' ')
                .next()?
                .parse::<f64>()
                .ok()
        });
        let line = ["\"event\":\"statement\"", "AUDIT: SESSION"][side];
        let lines = take_log(&servers[side]).matches(line).count();
        told[side].set(told[side].get() + lines);
        1e6 / rate.unwrap_or_else(|| panic!("no tps in:\n{report}"))
    };
    let mut rounds = Vec::new();
    for _ in 0..GROUPS {
        for server in &servers {
            server.restart();
            take_log(server);
        }
        let _one = OneProcessor::of(&[&servers[0], &servers[1]]);
        rounds.extend(in_turns::<2>(6, run));
    }
    assert!(
        told.iter().all(|lines| lines.get() >= rounds.len() * 6000),
        "{told:?}"
    );
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}

/// What the server has logged since the last time.
fn take_log(server: &Server) -> String {
    let text = server.log();
    std::fs::write(server.data().with_file_name("log"), "").expect("the log can be emptied");
    text
}
