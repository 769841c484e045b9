//! Ten thousand roles and a thousand tables.

use std::time::Instant;

use crate::harness::*;

/// What is asked for is looked up, not everything: `make bench` says in how much time.
#[test]
fn one_role_and_one_object_are_quick_and_the_whole_is_bounded_in_memory() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "access_scale");
    let mut admin = f.admin();
    admin.run("DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('CREATE TABLE t%s (id int)', i); END LOOP; END $$");
    let cred = admin.issue("'orders'");
    crowd(
        &mut admin,
        &cred.role,
        "crowd",
        10_000,
        "now() + interval '1 day'",
    );
    admin.run("DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('GRANT SELECT ON t%s TO crowd_%s, crowd_%s', i, i, i + 1000); END LOOP; END $$");
    let mut took = |sql: &str| {
        let times = (0..3).map(|_| {
            let start = Instant::now();
            admin.rows(sql);
            start.elapsed()
        });
        times.min().unwrap_or_default()
    };
    let role = took("SELECT count(*) FROM scope.effective_access('crowd_77')");
    let object = took("SELECT count(*) FROM scope.who_can('SELECT', 't77')");
    let everyone = took("SELECT count(*) FROM scope.who_can('CONNECT', 'database access_scale')");

    let mut s = f.admin();
    let pid = s.text("SELECT pg_backend_pid()");
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(u64::MAX)
    };
    s.run("SELECT count(*) FROM scope.effective_access('crowd_77')");
    let before = peak();
    // Held is what the catalogues say; the rows go to disk as they are made.
    let start = Instant::now();
    let rows: u64 = s
        .text("SELECT count(*) FROM scope.effective_access()")
        .parse()
        .unwrap();
    let whole = start.elapsed();
    eprintln!(
        "one role {role:?}, one object {object:?}, one that everyone has {everyone:?}, the whole {whole:?}"
    );
    assert!(role < whole / 10, "one role took {role:?} of {whole:?}");
    assert!(
        object < whole / 10,
        "one object took {object:?} of {whole:?}"
    );
    assert!(
        everyone < whole,
        "an object of everyone took {everyone:?} of {whole:?}"
    );
    assert!(rows > 50_000, "{rows} rows");
    let grown = peak() - before;
    eprintln!("{rows} rows, {grown} kB more");
    assert!(grown < 64 * 1024, "{rows} rows took {grown} kB");
}
