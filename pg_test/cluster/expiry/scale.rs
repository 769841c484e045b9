//! Many credentials, many clients.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{
    assert_login_refused, assert_terminated, last_error, launcher, wait_for_deadline,
    wait_until_gone,
};
use crate::harness::*;

/// How often a process has gone to sleep, which is how often it was awake.
fn wakeups(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .expect("a count")
}

#[test]
fn an_idle_launcher_sleeps_and_commits_of_later_deadlines_let_it() {
    // The first look for old rows of the trail would fall into this time.
    let server = Server::start(Options::default().set("scope_roles.audit_retention", "0"));
    let f = Fixture::on(&server, "scale_idle");
    let mut admin = f.admin();
    let model = admin.issue("'orders'").role;
    crowd(
        &mut admin,
        &model,
        "idle",
        1_000,
        "now() + interval '1 day'",
    );
    wait_until("the launcher runs", 10, || !launcher(&server).is_empty());
    let pid = launcher(&server);
    // What setting the scene has started.
    std::thread::sleep(Duration::from_secs(2));
    let before = wakeups(&pid);
    for _ in 0..20 {
        admin.issue("'orders', valid_for => '1 hour'");
    }
    std::thread::sleep(Duration::from_secs(62));
    let count = wakeups(&pid) - before;
    // The one look of a minute, which may take a nap or two of its own.
    assert!(count <= 4, "awake {count} times in a minute");
    // It has slept, and wakes for what comes before it would have looked.
    let early = admin.issue("'orders', valid_for => '1 s'");
    wait_until_gone(&server, &early.role, 12);
    assert!(wakeups(&pid) > before);
    assert_eq!(launcher(&server), pid);
}

#[test]
fn two_thousand_at_once_and_the_few_that_cannot_go() {
    let server = Server::start(Options::default().set("max_prepared_transactions", "5"));
    let (f, g) = (
        Fixture::on(&server, "scale_home"),
        Fixture::on(&server, "scale_away"),
    );
    let mut admin = f.admin();
    let model = admin.issue("'orders', valid_for => '1 day'").role;
    let kept = admin.issue("'orders', valid_for => '1 day'");
    crowd(&mut admin, &model, "mass", 2_000, "now() + interval '9 s'");
    let mut sessions: Vec<Session> = (1..=20)
        .map(|i| f.login(&format!("mass_{}", i * 90)))
        .collect();
    // Of as many kinds as there are ways to stay.
    admin.run("CREATE TABLE owned (x int); ALTER TABLE owned OWNER TO mass_7");
    admin.run("BEGIN; GRANT SELECT ON vault TO mass_500; PREPARE TRANSACTION 'stuck'");
    g.admin().run("GRANT SELECT ON orders TO mass_1000");
    let mut idle = f.admin();
    idle.run("BEGIN; ALTER ROLE mass_1500 CONNECTION LIMIT 3");
    wait_until("the deadline has passed", 20, || {
        admin.holds(
            "clock_timestamp() > (SELECT rolvaliduntil FROM pg_authid WHERE rolname = 'mass_2')",
        )
    });
    for i in [1, 7, 500, 1_999] {
        assert_login_refused(server.try_login(&format!("mass_{i}"), &f.name));
    }
    let names = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'mass\\_%' ORDER BY oid";
    wait_until("all are gone but those that cannot", 60, || {
        admin.column(names) == ["mass_7", "mass_500", "mass_1500"]
    });
    for session in &mut sessions {
        assert_terminated(&server, session);
    }
    let mut told = Vec::new();
    let expected = [
        ["ending", "process "],
        ["ending", "prepared transaction \"stuck\""],
        ["quarantined", "table public.owned"],
    ];
    let start = Instant::now();
    while !expected
        .iter()
        .zip(&told)
        .all(|(words, row): (_, &String)| words.iter().all(|word| row.contains(word)))
        || told.is_empty()
    {
        assert!(start.elapsed() < Duration::from_secs(30), "{told:?}");
        std::thread::sleep(Duration::from_millis(100));
        told = admin.column("SELECT concat(state, ': ', last_error) FROM scope.roles WHERE role LIKE 'mass\\_%' ORDER BY role");
    }
    // Even a role that could not be disabled is refused.
    for role in ["mass_7", "mass_500", "mass_1500"] {
        assert_login_refused(server.try_login(role, &f.name));
    }
    idle.run("ROLLBACK");
    admin.run("COMMIT PREPARED 'stuck'");
    admin.run("ALTER TABLE owned OWNER TO postgres");
    wait_until("those that were in the way have gone", 60, || {
        admin.column(names).is_empty()
    });
    kept.connect().rows("SELECT * FROM orders");
    admin.assert_that("NOT EXISTS (SELECT FROM pg_auth_members m WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.member))");
    admin.assert_that("NOT EXISTS (SELECT FROM pg_shseclabel l WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = l.objoid))");
    let log = server.log();
    assert!(!log.contains("PANIC"), "{log}");
}

/// PostgreSQL refuses to drop or to copy a database that has sessions, after five seconds of asking.
#[test]
fn the_worker_leaves_a_database_that_is_to_be_dropped_or_copied() {
    let server = super::without_worker();
    let f = Fixture::on(&server, "scale_leave");
    let mut admin = server.admin("postgres");
    {
        let mut home = f.admin();
        let model = home.issue("'orders', valid_for => '1 day'").role;
        crowd(&mut home, &model, "leave", 4_000, "now() - interval '1 s'");
    }
    server.alter_system("scope_roles.expiry", "on");
    wait_until("the worker is at work", 30, || {
        admin.holds(
            "(SELECT count(*) < 4000 FROM pg_roles WHERE rolname LIKE 'leave\\_%' AND rolcanlogin)",
        )
    });
    admin.run("CREATE DATABASE scale_copy TEMPLATE scale_leave");
    admin.run("DROP DATABASE scale_leave");
    wait_until("all are gone", 60, || {
        admin.holds("NOT EXISTS (SELECT FROM pg_roles WHERE rolname LIKE 'leave\\_%')")
    });
    admin.run("DROP DATABASE scale_copy");
}

/// More than PostgreSQL's table of locks has room for in one transaction.
#[test]
fn a_call_ends_as_many_as_it_can() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.expiry", "off")
            .set("max_locks_per_transaction", "64"),
    );
    let f = Fixture::on(&server, "scale_call");
    let mut admin = f.admin();
    let model = admin.issue("'orders', valid_for => '1 day'").role;
    crowd(&mut admin, &model, "call", 1_500, "now() - interval '1 s'");
    let counts =
        "SELECT action, count(*), min(detail) FROM scope.expire_roles() GROUP BY 1 ORDER BY 1";
    let rows = admin.rows(counts);
    let cell = |row: usize, column: usize| rows[row][column].clone().unwrap_or_default();
    assert_eq!(
        (cell(0, 0), cell(0, 1)),
        ("dropped".into(), "1000".into()),
        "{rows:?}"
    );
    assert_eq!(
        (cell(1, 0), cell(1, 1)),
        ("ending".into(), "500".into()),
        "{rows:?}"
    );
    assert!(cell(1, 2).contains("1000"), "{rows:?}");
    assert_login_refused(server.try_login("call_1400", &f.name));
    assert_eq!(
        admin.text("SELECT count(*) FROM scope.expire_roles() WHERE action = 'dropped'"),
        "500"
    );
    assert!(!admin.role_exists("call_1400"));
}

/// A whole minute in CI; `SCOPE_ROLES_STORM_SECONDS=60 make test ONLY=storm` for as long.
#[test]
fn a_storm_of_other_peoples_role_ddl() {
    const CLIENTS: u32 = 8;
    let seconds = std::env::var("SCOPE_ROLES_STORM_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(6);
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "storm");
    let before = launcher(&server);
    f.admin()
        .run("CREATE ROLE storm_group; CREATE TABLE storm_table (x int)");
    let end = Instant::now() + Duration::from_secs(seconds);
    let everybodys = Mutex::new(Vec::new());
    let (issued, refusals): (Vec<u32>, Vec<Vec<Refusal>>) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                f.role(&format!("person_{client}"), "LOGIN");
                let mut session = f.admin();
                let everybodys = &everybodys;
                scope.spawn(move || storm(&mut session, client, end, everybodys))
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no call of ours fails"))
            .unzip()
    });
    assert!(issued.iter().all(|&issued| issued > 0), "{issued:?}");
    for refusal in refusals.iter().flatten() {
        // Their statements meet roles that are gone, and each other: both are PostgreSQL's own. None is left a deadlock: they take
        // locks in such an order that only a call of ours, or the worker, could be the other party.
        let expected = ["42704", "2BP01", "XX000", "55006"].contains(&refusal.code.as_str());
        let concurrent = refusal.code != "XX000"
            || refusal.message.contains("concurrently")
            || refusal.message.starts_with("cache lookup failed for role")
            || refusal.message.starts_with("could not find tuple for role");
        assert!(expected && concurrent, "{refusal}");
    }
    let mut admin = f.admin();
    admin.rows("SELECT scope.revoke_role(role) FROM scope.credentials WHERE kind = 'credential' AND state = 'active'");
    wait_until("all have gone", 120, || {
        admin.holds("NOT EXISTS (SELECT FROM scope.credentials) AND NOT EXISTS (SELECT FROM scope.scopes WHERE scope LIKE 'storm\\_own\\_%')")
    });
    // A GRANT may have outlived the last sweep, but not the next.
    admin.issue("'orders', valid_for => '1 s'");
    wait_until("no membership dangles", 30, || {
        ["member", "roleid"].iter().all(|column| {
            admin.holds(&format!(
                "NOT EXISTS (SELECT FROM pg_auth_members m WHERE NOT EXISTS (SELECT FROM pg_authid r WHERE r.oid = m.{column}))"
            ))
        })
    });
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_class, aclexplode(relacl) a WHERE a.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_authid r WHERE r.oid = a.grantee))",
    );
    let log = server.log();
    assert!(!log.contains("PANIC"), "{log}");
    assert_eq!(launcher(&server), before, "the launcher was restarted");
}

/// Issues short credentials, which must never fail, and has its way with them as other tools would. How many were issued, and how
/// the others' statements were refused.
fn storm(
    session: &mut Session,
    client: u32,
    end: Instant,
    everybodys: &Mutex<Vec<String>>,
) -> (u32, Vec<Refusal>) {
    let (mut issued, mut refusals) = (0, Vec::new());
    while Instant::now() < end {
        issued += 1;
        let cred = session.issue("'orders', valid_for => '1 s'").role;
        calls_on_own(session, client, issued, everybodys);
        calls_on_everybodys(session, client, issued, everybodys);
        let own = format!("storm_{client}_{issued}");
        // A login that its own client, or any other, is at work on.
        let other = somebodys(everybodys, client + issued);
        for statement in [
            format!("CREATE ROLE {own}; GRANT storm_group TO {cred}"),
            format!("GRANT SELECT ON storm_table TO {cred}"),
            format!("GRANT SELECT ON orders TO {other}"),
            format!("ALTER ROLE {other} CONNECTION LIMIT {client}"),
            format!("REVOKE storm_group FROM {cred}"),
            format!("BEGIN; GRANT storm_group TO {cred}; SELECT pg_sleep(0.{client}5); COMMIT"),
            format!("GRANT {cred} TO {own}"),
            format!("DROP ROLE {own}"),
            format!("REVOKE ALL ON storm_table FROM {cred}; DROP ROLE {cred}"),
            format!("REVOKE ALL ON orders FROM {other}"),
            format!("DROP ROLE {other}"),
        ]
        .iter()
        .skip((issued % 3) as usize)
        .take(10 - (issued % 2) as usize)
        {
            if let Err(refusal) = session.attempt(statement) {
                refusals.push(refusal);
                session.run("ABORT");
            }
        }
        if issued % 5 == 0 {
            session.rows("SELECT * FROM scope.expire_roles()");
        }
    }
    (issued, refusals)
}

fn somebodys(everybodys: &Mutex<Vec<String>>, which: u32) -> String {
    let everybodys = everybodys.lock().expect("the names");
    let latest = everybodys.len().saturating_sub(20);
    let latest = &everybodys[latest..];
    latest[which as usize % latest.len()].clone()
}

/// Every call on a scope and logins that no other client calls anything on: all must succeed, whatever the others' DDL does.
fn calls_on_own(session: &mut Session, client: u32, round: u32, everybodys: &Mutex<Vec<String>>) {
    let scope = format!("storm_own_{client}_{round}");
    session.rows(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}')"
    ));
    let [own, given] = [(); 2].map(|()| {
        let call = format!("scope.create_credential('{{{scope}}}', valid_for => '1 hour')");
        session.handed(&call).role
    });
    everybodys.lock().expect("the names").push(given);
    let next = session
        .handed(&format!("scope.rotate_password('{own}', '1 minute')"))
        .role;
    let person = format!("storm_person_{client}");
    for call in [
        format!("renew_role('{next}', '2 hours')"),
        format!("rotate_password('{next}')"),
        format!("alter_scope('{scope}', 'add', '{{INSERT}}', '{{orders,storm_table}}')"),
        format!("grant_temporary('{scope}', '{person}', '1 hour')"),
        format!("alter_scope('{scope}', 'remove', '{{SELECT}}', '{{orders}}')"),
        format!("revoke_temporary('{scope}', '{person}')"),
        format!("revoke_role('{next}', 'the storm is over')"),
        format!("drop_scope('{scope}', force => true)"),
    ] {
        session.rows(&format!("SELECT scope.{call}"));
    }
}

/// The same on a login that all clients call, and drop: each succeeds, or says that it is gone or going.
fn calls_on_everybodys(
    session: &mut Session,
    client: u32,
    round: u32,
    everybodys: &Mutex<Vec<String>>,
) {
    let role = somebodys(everybodys, client * 7 + round);
    for call in [
        format!("renew_role('{role}', '2 hours')"),
        format!("rotate_password('{role}')"),
        format!("rotate_password('{role}', '1 minute')"),
        format!("revoke_role('{role}')"),
    ]
    .iter()
    .skip((round % 4) as usize)
    {
        if let Err(refusal) = session.attempt(&format!("SELECT scope.{call}")) {
            assert!(
                ["42704", "55000"].contains(&refusal.code.as_str()),
                "{call}: {refusal}"
            );
            assert!(!refusal.hint.is_empty(), "{call}: {refusal}");
        }
    }
}

#[test]
fn a_database_dropped_and_one_copied_midway() {
    let server = super::without_worker();
    let f = Fixture::on(&server, "midway_home");
    let (b, c) = (
        Fixture::on(&server, "midway_dropped"),
        Fixture::on(&server, "midway_copied"),
    );
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'midway', '1 s'");
    for other in [&b, &c] {
        other.admin().run("GRANT SELECT ON orders TO midway");
    }
    wait_for_deadline(&server, &cred);
    let detail = admin.text("SELECT detail FROM scope.expire_roles()");
    assert!(
        detail.contains("midway_dropped") && detail.contains("midway_copied"),
        "{detail}"
    );
    const WAITING: &str = "SELECT waiting_for FROM scope.credentials WHERE role = 'midway'";
    assert_eq!(admin.text(WAITING), "{midway_copied,midway_dropped}");
    assert_eq!(
        last_error(&mut admin, "midway"),
        format!("its end is suspended: scope_roles.expiry is off; {detail}")
    );
    admin.run("DROP DATABASE midway_dropped");
    assert_eq!(admin.text(WAITING), "{midway_copied}");
    admin.run("CREATE DATABASE midway_new TEMPLATE midway_copied");
    server.alter_system("scope_roles.expiry", "on");
    wait_until_gone(&server, "midway", 40);
    for database in ["midway_copied", "midway_new"] {
        server.admin(database).assert_that(
            "NOT EXISTS (SELECT FROM pg_class, aclexplode(relacl) a WHERE a.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_authid r WHERE r.oid = a.grantee))",
        );
    }
}

/// The label says it all: whoever wrote it, the worker finishes what is said to be ending.
#[test]
fn a_scope_that_is_ending_goes_with_its_grants_by_anyone() {
    let f = Fixture::new("scale_scope");
    let g = Fixture::new("scale_scope_away");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    let scope = admin.scope_of(&cred.role);
    g.admin().run(&format!("GRANT SELECT ON vault TO {scope}"));
    // A deadline on a scope is somebody's, and nothing to us.
    admin.run(&format!("ALTER ROLE {scope} VALID UNTIL '2001-01-01'"));
    let other = admin.issue("'orders', valid_for => '1 s'");
    wait_until_gone(f.server, &other.role, 15);
    assert!(admin.role_exists(&scope));
    admin.run(&format!(
        "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE {scope} IS %L',
           (SELECT jsonb_set(label::jsonb, '{{state}}', '\"ending\"') FROM pg_shseclabel WHERE objoid = '{scope}'::regrole)); END $$"
    ));
    wait_until_gone(f.server, &scope, 30);
    // Its credential is one that can do nothing, and still ends by itself.
    f.login(&cred.role).denied("SELECT * FROM orders", "42501");
}

/// What `scope.grant_temporary` makes.
#[test]
fn a_temporary_membership_outlives_its_sessions_by_name_only() {
    let f = Fixture::new("scale_temporary");
    let mut admin = f.admin();
    let (boss, person) = (f.role("boss", "NOLOGIN"), f.role("person", "LOGIN"));
    let temporary = f.role("temporary", "NOLOGIN");
    admin.run(&format!(
        "GRANT SELECT ON vault TO {boss}; GRANT {boss} TO {temporary}; GRANT {temporary} TO {person}"
    ));
    let mut before = f.login(&person);
    before.run(&format!("SET ROLE {boss}; SELECT * FROM vault"));
    admin.run(&format!(
        "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE {temporary} IS %L', json_build_object(
           'v', 1, 'kind', 'temporary', 'state', 'active', 'creator', 'postgres', 'creator_oid', 10, 'created_at', '2026-01-01T00:00:00Z',
           'temporary', json_build_object('role', '{boss}'::regrole::oid::int8, 'to', '{person}'::regrole::oid::int8))); END $$;
         ALTER ROLE {temporary} VALID UNTIL '2001-01-01'"
    ));
    wait_until("the membership is gone", 20, || {
        admin.holds(&format!(
            "NOT EXISTS (SELECT FROM pg_auth_members WHERE '{temporary}'::regrole = member)"
        ))
    });
    wait_until("the reason is told", 20, || {
        admin.holds(&format!(
            "(SELECT state = 'ending' AND last_error LIKE '1 session(s)%' FROM scope.roles WHERE role = {})",
            literal(&temporary)
        ))
    });
    // Sessions that begin now have nothing to do with it.
    let mut after = f.login(&person);
    after.denied(&format!("SET ROLE {boss}"), "42501");
    drop(before);
    wait_until_gone(f.server, &temporary, 40);
    after.run("SELECT 1");
}
