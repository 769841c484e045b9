//! Nothing that happens to the worker or the server lets a credential live on.

use super::{
    assert_ended, assert_in_time, assert_login_refused, assert_terminated, last_error, launcher,
    wait_until_gone,
};
use crate::harness::*;

#[track_caller]
fn wait_for_another_launcher(server: &Server, before: &str) {
    wait_until("a new launcher runs", 30, || {
        let now = launcher(server);
        !now.is_empty() && now != before
    });
}

#[test]
fn a_worker_that_was_terminated_comes_back() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "survival_term");
    wait_until("the launcher runs", 10, || !launcher(&server).is_empty());
    let before = launcher(&server);
    assert!(signal("TERM", &before));
    wait_for_another_launcher(&server, &before);
    let cred = f.admin().issue("'orders', valid_for => '1 s'");
    wait_until_gone(&server, &cred.role, 20);
    // The same by SQL.
    let before = launcher(&server);
    f.admin()
        .run(&format!("SELECT pg_terminate_backend({before})"));
    wait_for_another_launcher(&server, &before);
}

#[test]
fn a_worker_that_was_killed_comes_back_with_the_server() {
    let server = Server::start(Options::durable());
    let f = Fixture::on(&server, "survival_kill");
    wait_until("the launcher runs", 10, || !launcher(&server).is_empty());
    let cred = f.admin().issue("'orders', valid_for => '2 s'");
    let before = launcher(&server);
    assert!(server.kill(&before));
    wait_for_another_launcher(&server, &before);
    wait_until_gone(&server, &cred.role, 30);
    assert_login_refused(cred.try_connect());
}

#[test]
fn a_credential_that_became_overdue_while_the_server_was_down() {
    let server = Server::start(Options::durable());
    let f = Fixture::on(&server, "survival_crash");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '3 s'");
    let kept = admin.issue("'orders', valid_for => '1 hour'");
    cred.connect();
    server.crash();
    std::thread::sleep(std::time::Duration::from_secs(3));
    server.recover();
    assert_login_refused(cred.try_connect());
    wait_until_gone(&server, &cred.role, 20);
    kept.connect().rows("SELECT * FROM orders");
}

#[test]
fn a_restart_in_good_order_is_quick_and_forgets_nothing() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "survival_restart");
    let cred = f.admin().issue("'orders', valid_for => '8 s'");
    let start = std::time::Instant::now();
    server.restart();
    assert!(
        start.elapsed().as_secs() < 20,
        "the worker holds up the shutdown: {:?}",
        start.elapsed()
    );
    cred.connect().rows("SELECT * FROM orders");
    wait_until_gone(&server, &cred.role, 20);
}

/// A primary that does not expire, so that whatever happens on its standby is the standby's own doing.
fn primary() -> Server {
    Server::start(Options::default().set("scope_roles.expiry", "off"))
}

fn standby_of(primary: &Server) -> Server {
    primary.standby(Options::default().set("scope_roles.expiry", "on"))
}

#[test]
fn a_standby_ends_sessions_and_a_promoted_one_drops_the_role() {
    let primary = primary();
    let f = Fixture::on(&primary, "survival_standby");
    let cred = f.admin().issue("'orders', valid_for => '20 s'");
    let kept = f.admin().issue("'orders', valid_for => '1 hour'");
    let standby = standby_of(&primary);
    let on = |cred: &Credential| {
        standby
            .try_password(&cred.role, &cred.password, &f.name)
            .expect("login on the standby")
    };
    let (mut idle, mut busy, mut other) = (on(&cred), on(&cred), on(&kept));
    assert_eq!(idle.text("SELECT count(*) FROM orders"), "2");
    let mut on_standby = standby.admin(&f.name);
    on_standby.rows("SELECT * FROM scope.roles");
    // Nothing can be issued or ended by call there.
    on_standby.refused("SELECT scope.create_readonly_role('orders')", "25006");
    let refusal = on_standby.refused("SELECT * FROM scope.expire_roles()", "25006");
    assert!(
        refusal.message.contains("end roles") && !refusal.to_string().contains("ssu"),
        "{refusal}"
    );

    let refusal = busy.fails("SELECT pg_sleep(40)");
    assert_ended(&standby, &refusal);
    assert_terminated(&standby, &mut idle);
    assert_in_time(&standby, &cred, 2);
    assert_login_refused(standby.try_password(&cred.role, &cred.password, &f.name));
    let refusal = standby
        .try_login(&cred.role, &f.name)
        .err()
        .expect("a login after the deadline");
    assert_eq!(
        (refusal.code.as_str(), refusal.message.as_str()),
        ("28000", "connection refused by login policy")
    );
    // No DDL: the role is still there, and the worker did not run into an error.
    assert!(on_standby.role_exists(&cred.role));
    assert_eq!(
        last_error(&mut on_standby, &cred.role),
        "the primary server ends it"
    );
    assert_eq!(last_error(&mut on_standby, &kept.role), "");
    assert_eq!(other.text("SELECT count(*) FROM orders"), "2");
    let log = standby.log();
    assert!(
        !log.contains("WARNING") && !log.contains("during recovery"),
        "the worker tried DDL:\n{log}"
    );

    standby.promote();
    wait_until("the promoted server drops the role", 75, || {
        !on_standby.role_exists(&cred.role)
    });
    other.rows("SELECT * FROM orders");
    assert!(
        primary.admin("postgres").role_exists(&cred.role),
        "the primary was to be left alone"
    );
}

/// What the primary has begun, and what it was still to begin.
#[test]
fn a_promoted_standby_finishes_what_the_primary_has_left_half_done() {
    let primary = primary();
    let (f, g) = (
        Fixture::on(&primary, "survival_half"),
        Fixture::on(&primary, "survival_half_away"),
    );
    let mut admin = f.admin();
    let [granted, owner] = ["granted", "owner"].map(|name| {
        let cred = admin.issue(&format!("'orders', 'survival_{name}'"));
        admin.run(&format!(
            "ALTER ROLE {} VALID UNTIL '2001-01-01'",
            cred.role
        ));
        cred
    });
    g.admin()
        .run("GRANT SELECT ON orders TO survival_granted; CREATE TABLE owned (x int); ALTER TABLE owned OWNER TO survival_owner");
    let states = "SELECT string_agg(role || ' ' || state, ', ' ORDER BY role) FROM scope.roles WHERE role LIKE 'survival\\_%' AND kind = 'credential'";
    admin.run("SELECT * FROM scope.expire_roles()");
    let half = "survival_granted ending, survival_owner quarantined";
    assert_eq!(admin.text(states), half);
    let person = f.role("person", "LOGIN");
    let standby = standby_of(&primary);
    let mut on_standby = standby.admin(&f.name);
    let later = admin.issue("'orders', valid_for => '10 s'");
    wait_until("the credential is on the standby", 5, || {
        on_standby.role_exists(&later.role)
    });
    wait_until("a launcher runs there", 10, || {
        !launcher(&standby).is_empty()
    });
    let before = launcher(&standby);
    let mut session = standby.login(&later.role, &f.name);
    let mut stays = standby.login(&person, &f.name);
    assert!(on_standby.text(states).starts_with(half));
    // The primary is lost in the middle of it.
    primary.crash();
    standby.promote();
    on_standby.assert_that("NOT pg_is_in_recovery()");
    wait_until("what waited for another database is gone", 20, || {
        !on_standby.role_exists(&granted.role)
    });
    let why = last_error(&mut on_standby, &owner.role);
    assert!(why.starts_with("it owns 1 object(s), among them "), "{why}");
    for cred in [&granted, &owner] {
        assert_login_refused(standby.try_password(&cred.role, &cred.password, &f.name));
        assert_login_refused(standby.try_login(&cred.role, &f.name));
    }
    assert_ended(&standby, &session.fails("SELECT pg_sleep(40)"));
    assert_in_time(&standby, &later, 1);
    wait_until("so is the one that ended since", 20, || {
        !on_standby.role_exists(&later.role)
    });
    standby
        .admin(&g.name)
        .run("ALTER TABLE owned OWNER TO postgres");
    wait_until("nothing is left", 40, || {
        !on_standby.role_exists(&owner.role)
    });
    for database in [&f.name, &g.name] {
        standby.admin(database).assert_that(
            "NOT EXISTS (SELECT FROM pg_class, aclexplode(relacl) a WHERE a.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_authid r WHERE r.oid = a.grantee))",
        );
    }
    stays.assert_that("current_user = session_user");
    assert_eq!(launcher(&standby), before, "the launcher was restarted");
}

/// No commit on the standby tells its worker of a credential that the primary has just issued.
#[test]
fn a_standby_notices_a_credential_that_is_issued_while_it_runs() {
    let primary = primary();
    let f = Fixture::on(&primary, "survival_later");
    let standby = standby_of(&primary);
    let cred = f.admin().issue("'orders', valid_for => '5 s'");
    let mut on_standby = standby.admin("postgres");
    wait_until("the credential is on the standby", 4, || {
        on_standby.role_exists(&cred.role)
    });
    let mut s = standby
        .try_password(&cred.role, &cred.password, &f.name)
        .expect("login on the standby");
    // Its login has woken the worker.
    let refusal = s.fails("SELECT pg_sleep(75)");
    assert_ended(&standby, &refusal);
    assert_in_time(&standby, &cred, 1);
}

#[test]
fn many_sessions_and_a_stopped_one_do_not_stop_the_rest() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "survival_stopped");
    let mut admin = f.admin();
    let (stuck, free) = (
        admin.issue("'orders', valid_for => '3 s'"),
        admin.issue("'orders', valid_for => '3 s'"),
    );
    let mut s = f.login(&stuck.role);
    let pid = s.text("SELECT pg_backend_pid()");
    // A process that does not answer signals: in an uninterruptible call, say.
    assert!(signal("STOP", &pid));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until_gone(&server, &free.role, 40)
    }));
    let still_there = admin.role_exists(&stuck.role);
    assert!(signal("CONT", &pid));
    outcome.expect("one session that cannot be ended holds up every other credential");
    assert!(still_there, "the role was dropped while it had a session");
    wait_until_gone(&server, &stuck.role, 75);
    assert_terminated(&server, &mut s);
}
