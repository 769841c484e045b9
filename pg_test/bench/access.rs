//! Who can do what, with 10,000 roles and 1,000 tables.

use std::sync::LazyLock;
use std::time::Instant;

use crate::cluster::harness::{Fixture, Options, Server, Session, crowd, literal};
use crate::measure::{Figures, quantile, within};
use crate::scene::Scene;

const DATABASE: &str = "access";
const MILLISECOND: f64 = 1e3;

/// 10,000 logins of one scope. Each table is granted to the group that 250 of them inherit from, and to two more directly; all may
/// connect, by the scope.
static CROWDED: LazyLock<Server> = LazyLock::new(|| {
    let options = Options::default()
        .set("shared_buffers", "256MB")
        .set("jit", "off")
        .set("autovacuum", "off");
    let server = Server::start(options);
    let f = Fixture::on(&server, DATABASE);
    let mut admin = f.admin();
    let model = admin.issue("'orders'").role;
    crowd(
        &mut admin,
        &model,
        "many",
        10_000,
        "now() + interval '30 days'",
    );
    admin.run(
        "CREATE ROLE readers;
         DO $$ BEGIN
           FOR i IN 1..250 LOOP EXECUTE format('GRANT readers TO many_%s', i); END LOOP;
           FOR i IN 1..1000 LOOP
             EXECUTE format('CREATE TABLE t%s (id int, owner text)', i);
             EXECUTE format('GRANT SELECT ON t%s TO readers', i);
             EXECUTE format('GRANT SELECT, UPDATE ON t%1$s TO many_%2$s, many_%3$s', i, 1000 + i, 2000 + i);
           END LOOP;
         END $$",
    );
    for catalogue in ["pg_class", "pg_attribute", "pg_auth_members"] {
        admin.run(&format!("VACUUM ANALYZE {catalogue}"));
    }
    server
});

/// One that reaches every table, by its group.
pub fn role(_: &Scene) -> Result<Figures, String> {
    let mut session = CROWDED.admin(DATABASE);
    let of = |role: &str| format!("SELECT * FROM scope.effective_access({})", literal(role));
    let rows = session.rows(&of("many_77")).len();
    if rows < 1_000 {
        return Err(format!("only {rows} rows"));
    }
    let times = times(&mut session, &of("many_77"));
    // A superuser holds everything on every object, and in every role.
    let all = session.rows(&of("postgres")).len();
    let superuser = middle(&mut session, &of("postgres"));
    Ok(within(50.0 * MILLISECOND, &times).with_note(format!(
        "{rows} rows; a superuser's {all} {:.0} ms",
        superuser / MILLISECOND
    )))
}

pub fn object(_: &Scene) -> Result<Figures, String> {
    let mut session = CROWDED.admin(DATABASE);
    let by_object = "SELECT * FROM scope.effective_access(NULL, 't77')";
    let rows = session.rows(by_object).len();
    let all = middle(&mut session, by_object);
    let who_can = "SELECT * FROM scope.who_can('SELECT', 't77')";
    let holders = session.rows(who_can).len();
    if holders < 252 {
        return Err(format!("only {holders} rows"));
    }
    let times = times(&mut session, who_can);
    Ok(within(200.0 * MILLISECOND, &times).with_note(format!(
        "{holders} rows; all its privileges, {rows} rows, {:.0} ms",
        all / MILLISECOND
    )))
}

/// Each of the 10,000 has it, by its scope.
pub fn everyone(_: &Scene) -> Result<Figures, String> {
    let mut session = CROWDED.admin(DATABASE);
    let who_can = format!("SELECT * FROM scope.who_can('CONNECT', 'database {DATABASE}')");
    let rows = session.rows(&who_can).len();
    if rows < 10_000 {
        return Err(format!("only {rows} rows"));
    }
    let times = times(&mut session, &who_can);
    Ok(within(200.0 * MILLISECOND, &times).with_note(format!("{rows} rows")))
}

/// What the backend's memory grows by at its peak: the rows go to the client, or to disk, as they are made.
pub fn whole(_: &Scene) -> Result<Figures, String> {
    const KILOBYTES_PER_MEGABYTE: f64 = 1024.0;
    let mut session = CROWDED.admin(DATABASE);
    let pid = session.text("SELECT pg_backend_pid()");
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().split(' ').next()?.parse::<f64>().ok()
    };
    // What a first call reads into the caches is not of the rows.
    session.run("SELECT count(*) FROM scope.effective_access('many_77')");
    let before = peak().ok_or("no /proc/PID/status")?;
    let started = Instant::now();
    let rows = session.text("SELECT count(*) FROM scope.effective_access()");
    let took = started.elapsed().as_secs_f64();
    let grown = peak().ok_or("no /proc/PID/status")? - before;
    Ok(within(64.0, &[grown / KILOBYTES_PER_MEGABYTE])
        .with_note(format!("{rows} rows, in {took:.1} s")))
}

/// Microseconds.
fn times(session: &mut Session, sql: &str) -> Vec<f64> {
    let runs = (0..15).map(|_| {
        let started = Instant::now();
        session.rows(sql);
        started.elapsed().as_secs_f64() * 1e6
    });
    runs.collect()
}

fn middle(session: &mut Session, sql: &str) -> f64 {
    quantile(&mut times(session, sql), 0.5)
}
