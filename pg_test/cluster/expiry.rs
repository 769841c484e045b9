//! The end of a credential: by the worker on its own, by `scope.expire_roles()`, and through everything that can go wrong.

mod cleanup;
mod faults;
mod on_demand;
mod scale;
mod starved;
mod survival;

use crate::harness::*;

/// A server whose worker leaves credentials alone, so that a test can call for the end itself.
fn without_worker() -> Server {
    Server::start(Options::default().set("scope_roles.expiry", "off"))
}

#[track_caller]
pub fn wait_until_gone(server: &Server, role: &str, seconds: u64) {
    let mut admin = server.admin("postgres");
    wait_until(&format!("{role} is dropped"), seconds, || {
        !admin.role_exists(role)
    });
    // Nor is there a label of a role that is gone.
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_shseclabel WHERE classoid = 'pg_authid'::regclass AND objoid NOT IN (SELECT oid FROM pg_roles))",
    );
}

/// Makes the deadline pass.
#[track_caller]
fn wait_for_deadline(server: &Server, cred: &Credential) {
    let mut admin = server.admin("postgres");
    wait_until("the deadline has passed", 30, || {
        admin.holds(&format!(
            "clock_timestamp() > {}::timestamptz",
            literal(&cred.valid_until)
        ))
    });
}

/// The session was ended by an administrator's command and not by a broken line.
#[track_caller]
fn assert_terminated(server: &Server, session: &mut Session) {
    // From the deadline on the session refuses by itself, until it is told to end.
    let mut refusal = session.fails("SELECT 1");
    wait_until("the session has been terminated", 20, || {
        if refusal.code == "28000" {
            refusal = session.fails("SELECT 1");
        }
        refusal.code != "28000"
    });
    assert_ended(server, &refusal);
}

/// The same for the error of a statement that was running. A driver that reads the server's last word and the end of the line at
/// once tells only of the latter; then the server's log is the witness.
#[track_caller]
fn assert_ended(server: &Server, refusal: &Refusal) {
    let logged = || server.log().contains(" 57P01 FATAL:");
    let lost = refusal.code.is_empty() && refusal.message.contains("Closed");
    let cancelled = refusal.code == "28000" && refusal.message.contains("login of this session");
    assert!(
        refusal.code == "57P01" || cancelled || (lost && logged()),
        "not terminated: {refusal}"
    );
}

/// The sessions of a login ended within a second of its deadline, by the server's own clock: so many, and none before it.
#[track_caller]
fn assert_in_time(server: &Server, cred: &Credential, sessions: usize) {
    let by = format!("] {}@", cred.role);
    let terminated = |log: &str| -> Vec<String> {
        log.lines()
            .filter(|line| line.contains(&by) && line.contains(" 57P01 FATAL:"))
            .filter_map(|line| Some(line.split_once(" [")?.0.to_owned()))
            .collect()
    };
    // A session may have cancelled its statement by itself a moment before it was terminated.
    wait_until("the sessions are terminated", 10, || {
        terminated(&server.log()).len() >= sessions
    });
    let ends = terminated(&server.log());
    assert_eq!(ends.len(), sessions, "{ends:?}");
    let mut admin = server.admin("postgres");
    for end in ends {
        let late = admin.text(&format!(
            "SELECT extract(epoch FROM {}::timestamptz - date_trunc('milliseconds', {}::timestamptz))",
            literal(&end),
            literal(&cred.valid_until)
        ));
        let late: f64 = late.parse().expect("seconds");
        assert!((0.0..1.0).contains(&late), "{late} s after the deadline");
    }
}

/// Refused for whatever reason applies: the password no longer counts, the policy says no, or the role is gone.
#[track_caller]
fn assert_login_refused(outcome: Result<Session, Refusal>) {
    match outcome {
        Ok(_) => panic!("a login after the deadline"),
        Err(refusal) => assert!(
            ["28000", "28P01"].contains(&refusal.code.as_str()),
            "{refusal}"
        ),
    }
}

/// Why the role is still here: the same in both views.
#[track_caller]
fn last_error(admin: &mut Session, role: &str) -> String {
    let rows = admin.rows(&format!(
        "SELECT r.last_error, c.last_error FROM scope.roles r LEFT JOIN scope.credentials c ON c.role = r.role WHERE r.role = {}",
        literal(role)
    ));
    let [row] = rows.as_slice() else {
        panic!("{role}: {rows:?}")
    };
    assert_eq!(row[0], row[1], "{role}");
    row[0].clone().unwrap_or_default()
}

fn launcher(server: &Server) -> String {
    let pids = server
        .admin("postgres")
        .column("SELECT pid FROM pg_stat_activity WHERE backend_type = 'scope_roles launcher'");
    pids.into_iter().next().unwrap_or_default()
}

#[test]
fn the_worker_ends_a_session_and_drops_the_role_without_being_called() {
    let f = Fixture::new("expiry_worker");
    let cred = f.admin().issue("'orders', valid_for => '3 s'");
    let (mut idle, mut busy) = (cred.connect(), cred.connect());
    let scope = f.admin().scope_of(&cred.role);
    assert_eq!(idle.text("SELECT count(*) FROM orders"), "2");
    // In the middle of a statement as well as between two.
    let refusal = busy.fails("SELECT count(*), pg_sleep(40) FROM orders");
    assert_ended(f.server, &refusal);
    wait_until_gone(f.server, &cred.role, 20);
    assert_terminated(f.server, &mut idle);
    assert_in_time(f.server, &cred, 2);
    assert_login_refused(cred.try_connect());
    let mut admin = f.admin();
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.roles WHERE role = {})",
        literal(&cred.role)
    ));
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = {}::regrole)",
        literal(&scope)
    ));
    assert_eq!(admin.text("SELECT count(*) FROM orders"), "2");
}

#[test]
fn it_does_not_happen_before_the_deadline() {
    let f = Fixture::new("expiry_not_early");
    let cred = f.admin().issue("'orders', valid_for => '4 s'");
    let mut s = cred.connect();
    let deadline = format!("{}::timestamptz", literal(&cred.valid_until));
    let mut last_seen = String::new();
    wait_until("the session ends", 20, || {
        match s.attempt("SELECT clock_timestamp()") {
            Ok(rows) => {
                last_seen = rows[0][0].clone().expect("a time");
                false
            }
            Err(_) => true,
        }
    });
    let mut admin = f.admin();
    admin.assert_that(&format!(
        "{}::timestamptz > {deadline} - interval '500 ms'",
        literal(&last_seen)
    ));
    admin.assert_that(&format!(
        "clock_timestamp() BETWEEN {deadline} AND {deadline} + interval '10 s'"
    ));
}

#[test]
fn an_earlier_deadline_wakes_the_sleeping_worker() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "expiry_wake");
    let late = f.admin().issue("'orders', valid_for => '1 hour'");
    // Long enough for it to have planned its sleep.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let early = f.admin().issue("'orders', valid_for => '1 s'");
    wait_until_gone(&server, &early.role, 12);
    late.connect().rows("SELECT * FROM orders");
}

#[test]
fn an_earlier_deadline_in_a_transaction_wakes_the_worker_when_it_commits() {
    let f = Fixture::new("expiry_commit");
    let mut admin = f.admin();
    admin.run("BEGIN");
    let cred = admin.issue("'orders', valid_for => '1 s'");
    admin.run("SELECT pg_sleep(1.5)");
    // Nobody else sees it yet, so it is still there; it may end the moment that it begins.
    admin.assert_that(&format!(
        "EXISTS (SELECT FROM pg_roles WHERE rolname = {})",
        literal(&cred.role)
    ));
    admin.run("COMMIT");
    wait_until_gone(f.server, &cred.role, 12);
}

#[test]
fn a_rolled_back_creation_has_no_deadline() {
    let f = Fixture::new("expiry_rollback");
    let mut admin = f.admin();
    let before = launcher(f.server);
    admin.run("BEGIN; SELECT scope.create_readonly_role('orders', valid_for => '1 s'); ROLLBACK");
    let next = admin.issue("'orders', valid_for => '2 s'");
    wait_until_gone(f.server, &next.role, 15);
    assert_eq!(launcher(f.server), before, "the worker was restarted");
}

#[test]
fn valid_until_shortened_by_hand_is_honoured() {
    let f = Fixture::new("expiry_shortened");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    let mut s = cred.connect();
    let deadline = admin.text("SELECT clock_timestamp() + interval '1 s'");
    admin.run(&format!(
        "ALTER ROLE {} VALID UNTIL {}",
        cred.role,
        literal(&deadline)
    ));
    // The worker never sleeps for more than a minute.
    wait_until_gone(f.server, &cred.role, 75);
    assert_terminated(f.server, &mut s);
}

#[test]
fn valid_until_infinity_by_hand_prolongs_nothing() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "expiry_infinity");
    let mut admin = f.admin();
    let (kept, longer, past) = (
        admin.issue("'orders'"),
        admin.issue("'orders', valid_for => '4 s'"),
        admin.issue("'orders'"),
    );
    let mut s = longer.connect();
    admin.run(&format!(
        "ALTER ROLE {} VALID UNTIL 'infinity'; ALTER ROLE {} VALID UNTIL 'infinity'; ALTER ROLE {} VALID UNTIL '-infinity'",
        kept.role, longer.role, past.role
    ));
    wait_until_gone(&server, &longer.role, 30);
    assert_terminated(&server, &mut s);
    wait_until_gone(&server, &past.role, 75);
    kept.connect().rows("SELECT * FROM orders");
    assert_eq!(
        admin.rows(&format!(
            "SELECT state, valid_until = {}::timestamptz FROM scope.roles WHERE role = {}",
            literal(&kept.valid_until),
            literal(&kept.role)
        )),
        [[Some("active".to_owned()), Some("t".to_owned())]]
    );
    admin.rows("SELECT * FROM scope.expire_roles()");
    assert!(admin.role_exists(&kept.role));
}

#[test]
fn fifty_at_once() {
    let f = Fixture::new("expiry_fifty");
    let mut admin = f.admin();
    let roles = admin.column("SELECT r.role_name FROM generate_series(1, 50) g, LATERAL scope.create_readonly_role('orders', valid_for => '5 s', purpose => g::text) r");
    assert_eq!(roles.len(), 50);
    let mut sessions: Vec<Session> = roles.iter().step_by(5).map(|role| f.login(role)).collect();
    wait_until("all fifty are dropped", 45, || {
        admin.text(&format!(
            "SELECT count(*) FROM pg_roles WHERE rolname = ANY ('{{{}}}')",
            roles.join(",")
        )) == "0"
    });
    for session in &mut sessions {
        assert_terminated(f.server, session);
    }
}

#[test]
fn roles_that_are_not_ours_are_left_alone() {
    let f = Fixture::new("expiry_not_ours");
    let mut admin = f.admin();
    let stranger = f.role("stranger", "LOGIN PASSWORD 'x' VALID UNTIL '2001-01-01'");
    let mut s = f.login(&stranger);
    let scope_member = f.role("member", "LOGIN VALID UNTIL '2001-01-01'");
    let cred = admin.issue("'orders', valid_for => '1 s'");
    let scope = admin.scope_of(&cred.role);
    // Not even membership in a scope makes a role ours.
    admin.run(&format!("GRANT {scope} TO {scope_member}"));
    wait_until_gone(f.server, &cred.role, 15);
    assert_eq!(s.text("SELECT current_user"), stranger);
    f.login(&stranger);
    f.login(&scope_member).rows("SELECT * FROM orders");
    for role in [&stranger, &scope_member] {
        admin.assert_that(&format!(
            "EXISTS (SELECT FROM pg_roles WHERE rolname = {} AND rolcanlogin)",
            literal(role)
        ));
        admin.assert_that(&format!(
            "NOT EXISTS (SELECT FROM scope.roles WHERE role = {})",
            literal(role)
        ));
    }
}

#[test]
fn the_login_policy_holds_whatever_the_authentication_method() {
    let server = without_worker();
    let f = Fixture::on(&server, "expiry_login");
    let cred = f.admin().issue("'orders', valid_for => '2 s'");
    f.login(&cred.role).rows("SELECT * FROM orders");
    wait_for_deadline(&server, &cred);
    // The socket trusts everyone: PostgreSQL itself would let this in.
    let refusal = server
        .try_login(&cred.role, &f.name)
        .err()
        .expect("a login after the deadline");
    assert_eq!(refusal.code, "28000", "{refusal}");
    assert_eq!(refusal.message, "connection refused by login policy");
    assert_login_refused(cred.try_connect());
    f.admin().assert_that(&format!(
        "(SELECT time_left <= '0' FROM scope.roles WHERE role = {})",
        literal(&cred.role)
    ));
    // A scope cannot log in at all, and others are not asked.
    let scope = f.admin().scope_of(&cred.role);
    assert_eq!(
        server
            .try_login(&scope, &f.name)
            .err()
            .map(|e| e.code)
            .as_deref(),
        Some("28000")
    );
    f.login(&f.role("other", "LOGIN"));
}

#[test]
fn the_setting_switches_the_worker_off_and_on() {
    let server = without_worker();
    let f = Fixture::on(&server, "expiry_setting");
    let cred = f.admin().issue("'orders', valid_for => '1 s'");
    let mut s = cred.connect();
    let mut admin = f.admin();
    assert_eq!(last_error(&mut admin, &cred.role), "");
    wait_for_deadline(&server, &cred);
    std::thread::sleep(std::time::Duration::from_secs(2));
    // Nothing is ended, and nothing works.
    assert_eq!(s.fails("SELECT * FROM orders").code, "28000");
    let suspended = "its end is suspended: scope_roles.expiry is off";
    assert_eq!(last_error(&mut admin, &cred.role), suspended);
    // One that was revoked waits as well, and a scope has no deadline to wait for.
    let revoked = admin.issue("'orders'").role;
    assert_eq!(last_error(&mut admin, &revoked), "");
    admin.run(&format!("SELECT scope.revoke_role('{revoked}')"));
    assert_eq!(last_error(&mut admin, &revoked), suspended);
    let scope = admin.scope_of(&revoked);
    admin.run(&format!("ALTER ROLE {scope} VALID UNTIL '2001-01-01'"));
    admin.assert_that(&format!(
        "(SELECT last_error IS NULL FROM scope.roles WHERE role = {})",
        literal(&scope)
    ));
    server.alter_system("scope_roles.expiry", "on");
    wait_until_gone(&server, &cred.role, 15);
    assert_terminated(&server, &mut s);
}

#[test]
fn the_launcher_is_visible_and_holds_no_database() {
    let f = Fixture::new("expiry_launcher");
    let mut admin = f.admin();
    wait_until("the launcher runs", 10, || !launcher(f.server).is_empty());
    admin.assert_that("(SELECT datname IS NULL FROM pg_stat_activity WHERE backend_type = 'scope_roles launcher')");
    assert_eq!(
        admin.text(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'scope_roles launcher'"
        ),
        "1"
    );
    drop(admin);
    f.server
        .admin("postgres")
        .run("DROP DATABASE expiry_launcher");
}
