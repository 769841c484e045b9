//! `scope.expire_roles()`, on servers whose worker does not race it.

use super::{assert_login_refused, assert_terminated, wait_for_deadline, without_worker};
use crate::harness::*;

const EXPIRE: &str =
    "SELECT role_name, action, sessions_terminated, detail FROM scope.expire_roles() ORDER BY 1";

/// role, action, sessions; the detail apart.
fn outcome(rows: &[Vec<Option<String>>]) -> Vec<(String, String, String)> {
    let cell = |row: &[Option<String>], i: usize| row[i].clone().unwrap_or_default();
    rows.iter()
        .map(|row| (cell(row, 0), cell(row, 1), cell(row, 2)))
        .collect()
}

fn expected(role: &str, action: &str, sessions: u32) -> (String, String, String) {
    (role.to_owned(), action.to_owned(), sessions.to_string())
}

#[test]
fn it_returns_a_row_for_each_credential_with_its_sessions() {
    let server = without_worker();
    let f = Fixture::on(&server, "demand_rows");
    let mut admin = f.admin();
    assert_eq!(admin.rows(EXPIRE), Vec::<Vec<Option<String>>>::new());
    let busy = admin.issue("'orders', 'demand_a', '2 s'");
    let quiet = admin.issue("'orders', 'demand_b', '2 s'");
    let later = admin.issue("'orders', 'demand_c', '1 hour'");
    let mut sessions = [busy.connect(), busy.connect()];
    let mut stays = later.connect();
    wait_for_deadline(&server, &quiet);
    let rows = admin.rows(EXPIRE);
    assert_eq!(
        outcome(&rows),
        [
            expected("demand_a", "dropped", 2),
            expected("demand_b", "dropped", 0)
        ],
        "{rows:?}"
    );
    for session in &mut sessions {
        assert_terminated(&server, session);
    }
    assert!(!admin.role_exists("demand_a") && !admin.role_exists("demand_b"));
    assert_login_refused(busy.try_connect());
    stays.rows("SELECT * FROM orders");
    assert_eq!(admin.rows(EXPIRE), Vec::<Vec<Option<String>>>::new());
    assert_eq!(
        admin.column("SELECT role FROM scope.roles WHERE kind = 'credential'"),
        ["demand_c"]
    );
}

#[test]
fn it_works_in_the_extended_protocol_and_within_a_block() {
    let server = without_worker();
    let f = Fixture::on(&server, "demand_block");
    let mut admin = f.admin();
    for (name, block) in [("demand_extended", false), ("demand_in_block", true)] {
        let cred = admin.issue(&format!("'orders', '{name}', '1 s'"));
        wait_for_deadline(&server, &cred);
        if block {
            admin.run(&format!("BEGIN; {EXPIRE}; COMMIT"));
        } else {
            let rows = admin
                .attempt_extended(
                    "SELECT role_name::text, action FROM scope.expire_roles()",
                    &[],
                )
                .expect("rows");
            assert_eq!(rows, [[Some(name.to_owned()), Some("dropped".to_owned())]]);
        }
        // A caller's transaction may leave the last step to the next call.
        wait_until("the role is gone", 15, || {
            admin.run(EXPIRE);
            !admin.role_exists(name)
        });
    }
}

/// What was refused once stays refused: a rollback may bring the role back but not its sessions, and the next call finishes.
#[test]
fn a_rolled_back_call_is_made_up_for() {
    let server = without_worker();
    let f = Fixture::on(&server, "demand_rollback");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'demand_undone', '1 s'");
    wait_for_deadline(&server, &cred);
    admin.run(&format!("BEGIN; {EXPIRE}; ROLLBACK"));
    assert_login_refused(server.try_login("demand_undone", &f.name));
    admin.run(EXPIRE);
    assert!(!admin.role_exists("demand_undone"));
}

#[test]
fn two_callers_at_once_do_not_fail() {
    let server = without_worker();
    let f = Fixture::on(&server, "demand_race");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_readonly_role('orders', valid_for => '1 s') FROM generate_series(1, 10)");
    let last = admin.issue("'orders', valid_for => '1 s'");
    wait_for_deadline(&server, &last);
    let handled: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    f.admin()
                        .rows("SELECT role_name FROM scope.expire_roles() WHERE action = 'dropped'")
                        .len()
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller failed"))
            .sum()
    });
    assert_eq!(handled, 11, "each credential is dropped by one caller");
    admin.assert_that("NOT EXISTS (SELECT FROM scope.roles WHERE kind = 'credential')");
}

#[test]
fn a_credential_that_owns_a_table_is_quarantined_and_told() {
    let server = without_worker();
    let f = Fixture::on(&server, "demand_owner");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'demand_owning', '2 s'");
    admin.run("CREATE TABLE kept (x int); INSERT INTO kept VALUES (1); ALTER TABLE kept OWNER TO demand_owning");
    let mut s = cred.connect();
    wait_for_deadline(&server, &cred);
    let rows = admin.rows(EXPIRE);
    assert_eq!(
        outcome(&rows),
        [expected("demand_owning", "quarantined", 1)],
        "{rows:?}"
    );
    assert!(
        rows[0][3]
            .as_deref()
            .is_some_and(|detail| !detail.is_empty()),
        "no detail: {rows:?}"
    );
    assert_terminated(&server, &mut s);
    // Disabled, visible with its reason, and the table as it was.
    admin.assert_that("(SELECT state = 'quarantined' AND last_error <> '' FROM scope.roles WHERE role = 'demand_owning')");
    admin.assert_that("(SELECT NOT rolcanlogin AND rolpassword IS NULL FROM pg_authid WHERE rolname = 'demand_owning')");
    admin.assert_that(
        "(SELECT relowner = 'demand_owning'::regrole FROM pg_class WHERE relname = 'kept')",
    );
    assert_eq!(admin.text("SELECT x FROM kept"), "1");
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_auth_members WHERE member = 'demand_owning'::regrole)",
    );
    assert_login_refused(server.try_login("demand_owning", &f.name));
    assert_login_refused(cred.try_connect());
    // Login by hand alone does not bring it back.
    admin.run("ALTER ROLE demand_owning LOGIN VALID UNTIL 'infinity'");
    let refusal = server
        .try_login("demand_owning", &f.name)
        .err()
        .expect("a quarantined role logs in");
    assert_eq!(refusal.message, "connection refused by login policy");
    admin.run("ALTER ROLE demand_owning NOLOGIN VALID UNTIL '2001-01-01'");
    // Somebody decides, and the rest follows.
    admin.run("ALTER TABLE kept OWNER TO postgres");
    wait_until("the freed role is dropped", 15, || {
        admin.run(EXPIRE);
        !admin.role_exists("demand_owning")
    });
    assert_eq!(admin.text("SELECT x FROM kept"), "1");
}

/// The reason is the same wherever one looks, and names what is owned, in whatever database.
#[test]
fn a_quarantine_names_the_same_object_from_every_database() {
    let server = Server::start(Options::default());
    let (f, g) = (
        Fixture::on(&server, "demand_here"),
        Fixture::on(&server, "demand_there"),
    );
    let (mut here, mut there) = (f.admin(), g.admin());
    here.issue("'orders', 'demand_far', '2 s'");
    // The older database comes first; what is owned in the other one is counted.
    there.run("CREATE TABLE far (x int); ALTER TABLE far OWNER TO demand_far");
    let reason = "SELECT coalesce(last_error, '') FROM scope.roles WHERE role = 'demand_far'";
    let expected = |count: u32, what: &str, place: &str| {
        format!("it owns {count} object(s), among them table public.{what} in database \"{place}\"")
    };
    wait_until("the worker has found it", 30, || {
        here.text(reason) == expected(1, "far", &g.name)
    });
    for _ in 0..4 {
        for session in [&mut here, &mut there] {
            session.run(EXPIRE);
            assert_eq!(session.text(reason), expected(1, "far", &g.name));
        }
    }
    here.run("CREATE TABLE near (x int); ALTER TABLE near OWNER TO demand_far");
    there.run(EXPIRE);
    wait_until("the first of them is named", 60, || {
        here.text(reason) == expected(2, "near", &f.name)
    });
    for _ in 0..4 {
        for session in [&mut here, &mut there] {
            session.run(EXPIRE);
            assert_eq!(session.text(reason), expected(2, "near", &f.name));
        }
    }
    here.run("DROP TABLE near");
    there.run("DROP TABLE far");
    wait_until("it is gone", 60, || !here.role_exists("demand_far"));
}

#[test]
fn one_that_cannot_be_dropped_does_not_hold_up_the_rest() {
    let server = without_worker();
    let f = Fixture::on(&server, "demand_mixed");
    let mut admin = f.admin();
    for name in ["demand_1", "demand_2", "demand_3"] {
        admin.issue(&format!("'orders', '{name}', '2 s'"));
    }
    admin.run("CREATE SCHEMA owned AUTHORIZATION demand_2; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION f() OWNER TO demand_2");
    wait_until("the deadline has passed", 20, || {
        admin.holds("(SELECT max(valid_until) < clock_timestamp() FROM scope.roles WHERE kind = 'credential')")
    });
    let rows = admin.rows(EXPIRE);
    assert_eq!(
        outcome(&rows),
        [
            expected("demand_1", "dropped", 0),
            expected("demand_2", "quarantined", 0),
            expected("demand_3", "dropped", 0)
        ],
        "{rows:?}"
    );
    admin.assert_that("EXISTS (SELECT FROM pg_namespace WHERE nspname = 'owned')");
    assert_eq!(admin.text("SELECT f()"), "1");
}

/// A session that took on another role is the credential's all the same.
#[test]
fn sessions_that_set_another_role_are_terminated_too() {
    let server = without_worker();
    let f = Fixture::on(&server, "demand_set_role");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'demand_masked', '2 s'");
    let group = f.role("group", "NOLOGIN");
    admin.run(&format!("GRANT {group} TO demand_masked"));
    let mut s = cred.connect();
    s.run(&format!("SET ROLE {group}"));
    wait_for_deadline(&server, &cred);
    let rows = admin.rows(EXPIRE);
    assert_eq!(
        outcome(&rows),
        [expected("demand_masked", "dropped", 1)],
        "{rows:?}"
    );
    assert_terminated(&server, &mut s);
}

#[test]
fn a_session_in_another_database_is_terminated_too() {
    let server = without_worker();
    let (f, g) = (
        Fixture::on(&server, "demand_here"),
        Fixture::on(&server, "demand_there"),
    );
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'demand_away', '2 s'");
    let mut s = g.login("demand_away");
    wait_for_deadline(&server, &cred);
    let rows = admin.rows(EXPIRE);
    assert_eq!(
        outcome(&rows),
        [expected("demand_away", "dropped", 1)],
        "{rows:?}"
    );
    assert_terminated(&server, &mut s);
}

#[test]
fn a_prepared_transaction_does_not_break_it() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.expiry", "off")
            .set("max_prepared_transactions", "5"),
    );
    let f = Fixture::on(&server, "demand_prepared");
    let mut admin = f.admin();
    admin.run("BEGIN");
    let cred = admin.issue("'orders', 'demand_two_phase', '1 s'");
    admin.run("PREPARE TRANSACTION 'p'");
    assert!(!admin.role_exists(&cred.role));
    // It is nobody's yet, and its deadline passes.
    wait_for_deadline(&server, &cred);
    assert_eq!(outcome(&admin.rows(EXPIRE)), []);
    admin.run("COMMIT PREPARED 'p'");
    assert!(admin.role_exists(&cred.role));
    assert_login_refused(cred.try_connect());
    assert_eq!(
        outcome(&admin.rows(EXPIRE)),
        [expected("demand_two_phase", "dropped", 0)]
    );
    assert!(!admin.role_exists(&cred.role));
    // The end itself may wait for a second phase too.
    let cred = admin.issue("'orders', 'demand_two_phase', '1 s'");
    wait_for_deadline(&server, &cred);
    admin.run(&format!("BEGIN; {EXPIRE}; PREPARE TRANSACTION 'p'"));
    assert!(admin.role_exists(&cred.role));
    assert_login_refused(server.try_login(&cred.role, &f.name));
    admin.run("COMMIT PREPARED 'p'");
    assert!(!admin.role_exists(&cred.role));
}
