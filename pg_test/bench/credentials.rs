//! Credentials in numbers: issuing, logging in, and the end.
//!
//! Issuing is compared on the scene's own server, where nothing waits for a disk. What has a limit in time is measured on servers
//! that do: fsync is on.

use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cluster::harness::{Fixture, Options, Server, Session, crowd, literal, wait_until};
use crate::measure::{Figures, OneProcessor, compare, in_turns, quantile, within};
use crate::scene::{DATABASE, Scene};

const ISSUE: &str = "SELECT * FROM scope.create_readonly_role('orders')";
const MILLISECOND: f64 = 1e3;
const SECOND: f64 = 1e6;

/// With 100,000 managed roles, none of them due.
static CROWDED: LazyLock<Server> = LazyLock::new(|| {
    let server = durable();
    Fixture::on(&server, DATABASE);
    let mut admin = server.admin(DATABASE);
    let model = admin.issue("'orders'").role;
    crowd(
        &mut admin,
        &model,
        "many",
        100_000,
        "now() + interval '30 days'",
    );
    admin.run("CREATE ROLE plain LOGIN");
    server
});

fn durable() -> Server {
    let options = Options::durable()
        .set("shared_buffers", "256MB")
        .set("max_connections", "250")
        .set("autovacuum", "off");
    Server::start(options)
}

pub fn issue(scene: &Scene) -> Result<Figures, String> {
    let mut admin = scene.admin();
    admin.run(ISSUE);
    admin.run("CREATE ROLE native_scope; GRANT SELECT ON orders TO native_scope");
    let mut made = 0;
    let rounds = in_turns::<2>(150, |_, side| {
        made += 1;
        let statement = match side {
            0 => ISSUE.to_owned(),
            _ => format!(
                "CREATE ROLE native_{made} LOGIN PASSWORD '{made}jh3Kd8sJ2kLq0Zx7Vb5Nm1Pw' VALID UNTIL '2030-01-01'; GRANT native_scope TO native_{made}"
            ),
        };
        time(|| admin.run(&statement))
    });
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}

pub fn twenty_thousandth(scene: &Scene) -> Result<Figures, String> {
    let mut admin = scene.admin();
    let model = admin.issue("'orders'").role;
    for _ in 0..50 {
        admin.run(ISSUE);
    }
    let few: Vec<f64> = (0..100).map(|_| time(|| admin.run(ISSUE))).collect();
    crowd(
        &mut admin,
        &model,
        "table",
        19_850,
        "now() + interval '30 days'",
    );
    admin.run(ISSUE);
    let many: Vec<f64> = (0..100).map(|_| time(|| admin.run(ISSUE))).collect();
    let rounds: Vec<[f64; 2]> = many.into_iter().zip(few).map(|(m, f)| [m, f]).collect();
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}

pub fn eight_clients(scene: &Scene) -> Result<Figures, String> {
    const CLIENTS: usize = 8;
    const EACH: usize = 60;
    let mut admin = scene.admin();
    admin.run(ISSUE);
    let alone: Vec<f64> = (0..EACH).map(|_| time(|| admin.run(ISSUE))).collect();
    let mut sessions: Vec<Session> = (0..CLIENTS).map(|_| scene.admin()).collect();
    let started = Instant::now();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                scope.spawn(move || {
                    let results = (0..EACH).map(|_| session.attempt(ISSUE));
                    results
                        .filter_map(|result| result.err().map(|refusal| refusal.to_string()))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    let each = started.elapsed().as_secs_f64() * 1e6 / (CLIENTS * EACH) as f64;
    if let Some(first) = failures.first() {
        return Err(format!(
            "{} of {} failed: {first}",
            failures.len(),
            CLIENTS * EACH
        ));
    }
    let rounds: Vec<[f64; 2]> = alone.into_iter().map(|alone| [each, alone]).collect();
    Ok(compare(&rounds, |t| t[0], |t| t[1]))
}

/// The check and the facts, without the line of the audit trail, which is PostgreSQL writing a file; the note has both.
pub fn login(_: &Scene) -> Result<Figures, String> {
    let server = &*CROWDED;
    let _one = OneProcessor::of(&[server]);
    let measure = |classes: &str, from: usize| {
        server.alter_system("scope_roles.audit", classes);
        in_turns::<2>(600, |round, side| {
            let role = match side {
                0 => format!("many_{}", (from + round) * 7 + 1),
                _ => "plain".to_owned(),
            };
            time(|| drop(server.login(&role, DATABASE)))
        })
    };
    let (told, silent) = (measure("login", 0), measure("none", 1_000));
    let adds = |rounds| compare(rounds, |t: &[f64; 2]| t[0] - t[1], |_| 100.0);
    let logins = compare(&silent, |t| t[0], |t| t[1]);
    let note = format!(
        "logins {:.0} against {:.0} µs; with its line in the audit trail it adds {:.0} µs",
        logins.ours,
        logins.peer,
        adds(&told).ours
    );
    Ok(adds(&silent).with_note(note))
}

/// The launcher's reading, called for: nobody is due, so that `expire_roles` does nothing else.
pub fn next_deadline(_: &Scene) -> Result<Figures, String> {
    let mut admin = CROWDED.admin(DATABASE);
    admin.run("SELECT * FROM scope.expire_roles()");
    let times: Vec<f64> = (0..15)
        .map(|_| time(|| admin.run("SELECT * FROM scope.expire_roles()")))
        .collect();
    Ok(within(200.0 * MILLISECOND, &times))
}

pub fn view(_: &Scene) -> Result<Figures, String> {
    let mut admin = CROWDED.admin(DATABASE);
    let times: Vec<f64> = (1..60)
        .map(|i| {
            time(|| {
                admin.run(&format!(
                    "SELECT * FROM scope.roles WHERE role = 'many_{}'",
                    i * 1_000
                ))
            })
        })
        .collect();
    Ok(within(5.0 * MILLISECOND, &times))
}

/// Sessions in the middle of a statement, whose deadlines come one after the other.
pub fn deadline(_: &Scene) -> Result<Figures, String> {
    const SESSIONS: u32 = 80;
    let server = durable();
    let f = Fixture::on(&server, DATABASE);
    let mut admin = f.admin();
    let model = admin.issue("'orders'").role;
    crowd(
        &mut admin,
        &model,
        "other",
        10_000,
        "now() + interval '30 days'",
    );
    let late: Vec<f64> = std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..SESSIONS)
            .map(|i| {
                let milliseconds = 4_000 + 60 * i;
                let cred = admin.issue(&format!(
                    "'orders', valid_for => '{milliseconds} milliseconds'"
                ));
                let due = admin.text(&format!(
                    "SELECT extract(epoch FROM rolvaliduntil) FROM pg_authid WHERE rolname = {}",
                    literal(&cred.role)
                ));
                let due: f64 = due.parse().expect("a time");
                let mut session = server.login(&cred.role, DATABASE);
                scope.spawn(move || {
                    session.fails("SELECT pg_sleep(60)");
                    (unix_now() - due) * SECOND
                })
            })
            .collect();
        watchers
            .into_iter()
            .map(|watcher| watcher.join().expect("a session"))
            .collect()
    });
    let mut late = late;
    let (middle, worst) = (quantile(&mut late, 0.5), quantile(&mut late, 0.99));
    let note = format!("median {:.1} ms", middle / MILLISECOND);
    Ok(within(250.0 * MILLISECOND, &[worst]).with_note(note))
}

pub fn all_due(_: &Scene) -> Result<Figures, String> {
    const COUNT: u32 = 10_000;
    let server = durable();
    let f = Fixture::on(&server, DATABASE);
    let mut admin = f.admin();
    let model = admin.issue("'orders'").role;
    let initialise = server
        .client("pgbench")
        .args(["--initialize", "--quiet", "--scale=5", DATABASE])
        .output();
    initialise.map_err(|error| format!("pgbench: {error}"))?;
    let due = unix_now() + 8.0;
    crowd(
        &mut admin,
        &model,
        "due",
        COUNT,
        &format!("to_timestamp({due})"),
    );
    let mut sessions: Vec<Session> = (1..=100)
        .map(|i| server.login(&format!("due_{}", i * 97), DATABASE))
        .collect();
    let traffic = Traffic::start(&server)?;
    if unix_now() > due - 0.5 {
        return Err("setting the scene took too long".into());
    }
    std::thread::sleep(Duration::from_secs_f64(due - unix_now()));
    // Whoever is asked is refused, by the policy or because the role is gone.
    let mut asked = 0;
    let mut left = COUNT;
    while left > 0 {
        let role = format!("due_{}", asked * 7_919 % COUNT + 1);
        if server.try_login(&role, DATABASE).is_ok() {
            return Err(format!("{role} logged in after its deadline"));
        }
        asked += 1;
        left = admin
            .text("SELECT count(*) FROM pg_authid WHERE rolname LIKE 'due\\_%'")
            .parse()
            .expect("a number");
        if unix_now() > due + 60.0 {
            return Err(format!("{left} are still there after a minute"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let gone = (unix_now() - due) * SECOND;
    drop(traffic);
    if let Some(alive) = sessions
        .iter_mut()
        .position(|session| session.attempt("SELECT 1").is_ok())
    {
        return Err(format!("session {alive} lives"));
    }
    wait_until("no label is left", 5, || {
        admin.holds("(SELECT count(*) = 2 FROM pg_shseclabel)")
    });
    Ok(within(10.0 * SECOND, &[gone]).with_note(format!("{asked} logins refused meanwhile")))
}

/// `pgbench`, until dropped.
struct Traffic(Child);

impl Traffic {
    fn start(server: &Server) -> Result<Traffic, String> {
        let child = server
            .client("pgbench")
            .args([
                "--client=4",
                "--jobs=1",
                "--time=90",
                "--no-vacuum",
                DATABASE,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.map(Traffic).map_err(|error| error.to_string())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Microseconds.
pub fn time(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e6
}

fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
