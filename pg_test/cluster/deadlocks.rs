//! Others' DDL in transactions that take the same locks the other way round: no statement of theirs is refused for a call of ours,
//! nor the call, unless the locks were taken before it.
//!
//! PostgreSQL looks for a deadlock once in each wait, `deadlock_timeout` after it has begun, and refuses the one that finds it. So a
//! call whose wait began first would leave it to the other: what is waited for here is longer than that.

use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::harness::*;

/// Longer than `deadlock_timeout`: whoever waits for as long has looked for a deadlock, and found none.
const LOOKED: Duration = Duration::from_millis(1_500);

/// Another tool: `first`, a call of ours that comes upon it, and when that has waited for long, `then`.
#[track_caller]
fn crossed(
    f: &Fixture,
    first: &str,
    call: &str,
    then: &str,
) -> Result<Vec<Vec<Option<String>>>, Refusal> {
    let mut other = f.admin();
    let mut ours = f.admin();
    let mut watch = f.admin();
    let pid = ours.text("SELECT pg_backend_pid()");
    // Nor is it kept waiting for ever.
    other.run(&format!("SET statement_timeout = '10s'; BEGIN; {first}"));
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| ours.attempt(call));
        wait_for(&calling);
        wait_until("it holds what it has locked, or is done", 20, || {
            calling.is_finished()
                || watch.holds(&format!(
                    "EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"
                ))
        });
        let outcome = other.attempt(then);
        other.run("COMMIT");
        let answer = calling.join().expect("a call");
        if let Err(refusal) = outcome {
            panic!("{then}, in the way of {call}: {refusal}");
        }
        answer
    })
}

/// For the call to end, or for its look for a deadlock.
fn wait_for<T>(calling: &ScopedJoinHandle<'_, T>) {
    let start = Instant::now();
    while !calling.is_finished() && start.elapsed() < LOOKED {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Both ways round: which of the two our call takes first is its own affair.
#[track_caller]
fn crossed_both_ways(f: &Fixture, call: impl Fn(&str) -> String, one: &str, two: &str) {
    for (way, first, then) in [("a", one, two), ("b", two, one)] {
        let call = call(way);
        if let Err(refusal) = crossed(f, first, &call, then) {
            panic!("{call}: {refusal}");
        }
    }
}

#[test]
fn a_call_on_a_login_gives_way_to_who_has_its_row_and_wants_its_lock() {
    let f = Fixture::new("dead_login");
    let mut admin = f.admin();
    for call in [
        "renew_role('{role}', '2 hours')",
        "rotate_password('{role}')",
        "rotate_password('{role}', '1 minute')",
        "revoke_role('{role}')",
    ] {
        let role = admin.issue("'orders', valid_for => '1 hour'").role;
        let call = call.replace("{role}", &role);
        let done = crossed(
            &f,
            &format!("ALTER ROLE {role} CONNECTION LIMIT 3"),
            &format!("SELECT scope.{call}"),
            &format!("COMMENT ON ROLE {role} IS 'a comment locks it'"),
        );
        if let Err(refusal) = done {
            panic!("{call}: {refusal}");
        }
        // And to who drops it: then it is told of as gone.
        let role = admin.issue("'orders', valid_for => '1 hour'").role;
        let refusal = crossed(
            &f,
            &format!("ALTER ROLE {role} CONNECTION LIMIT 3"),
            &format!("SELECT scope.renew_role('{role}')"),
            &format!("DROP ROLE {role}"),
        )
        .expect_err("it is gone");
        assert_eq!(refusal.code, "42704", "{refusal}");
        assert!(!refusal.hint.is_empty(), "{refusal}");
    }
}

/// What a call has changed in an earlier step is given up with the later one that has to wait.
#[test]
fn both_logins_of_a_rotation_are_left_to_who_has_one_and_wants_the_other() {
    let f = Fixture::new("dead_pair");
    let mut admin = f.admin();
    let old = admin.issue("'orders', valid_for => '1 hour'").role;
    let new = admin
        .handed(&format!("scope.rotate_password('{old}', '10 minutes')"))
        .role;
    let done = crossed(
        &f,
        &format!("ALTER ROLE {old} CONNECTION LIMIT 3"),
        &format!("SELECT scope.revoke_role('{new}')"),
        &format!("ALTER ROLE {new} CONNECTION LIMIT 3"),
    );
    if let Err(refusal) = done {
        panic!("{refusal}");
    }
    wait_until("the worker has done the rest", 20, || {
        admin.holds(&format!(
            "NOT EXISTS (SELECT FROM pg_roles WHERE rolname IN ('{old}', '{new}') AND rolcanlogin)"
        ))
    });
}

#[test]
fn a_call_on_a_scope_gives_way_to_grants_on_its_tables_in_another_order() {
    let f = Fixture::new("dead_scope");
    let mut admin = f.admin();
    f.role("person", "NOLOGIN");
    let (one, two) = (
        "GRANT SELECT ON orders TO dead_scope_person",
        "GRANT SELECT ON vault TO dead_scope_person",
    );
    crossed_both_ways(
        &f,
        |way| {
            format!("SELECT scope.create_scope('dead_scope_{way}', tables => '{{orders,vault}}')")
        },
        one,
        two,
    );
    for change in [
        "alter_scope('dead_scope_{way}', 'add', '{INSERT}', '{orders,vault}')",
        "alter_scope('dead_scope_{way}', 'remove', '{INSERT}', '{orders,vault}')",
        "drop_scope('dead_scope_{way}')",
    ] {
        let call = |way: &str| format!("SELECT scope.{}", change.replace("{way}", way));
        crossed_both_ways(&f, call, one, two);
    }
    wait_until("the worker has done the rest", 20, || {
        admin.holds(
            "NOT EXISTS (SELECT FROM pg_roles WHERE rolname IN ('dead_scope_a', 'dead_scope_b'))",
        )
    });
    // One that makes its scope on the way, and one that declares it.
    crossed_both_ways(
        &f,
        |way| {
            format!(
                "SELECT scope.create_readwrite_role(tables => '{{orders,vault}}', role_name => 'dead_scope_login_{way}')"
            )
        },
        one,
        two,
    );
    crossed_both_ways(
        &f,
        |way| {
            format!(
                "SELECT scope.apply('{{\"version\":1,\"scopes\":[{{\"name\":\"dead_scope_spec_{way}\",\"grants\":[{{\"privileges\":[\"SELECT\"],\"tables\":[\"public.orders\",\"public.vault\"]}}]}}]}}')"
            )
        },
        one,
        two,
    );
}

#[test]
fn a_function_is_restricted_while_others_grant_it_and_its_schema() {
    let f = Fixture::new("dead_function");
    let mut admin = f.admin();
    f.role("person", "NOLOGIN");
    admin.run(
        "CREATE SCHEMA app; CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT scope.create_scope('dead_function_a'); SELECT scope.create_scope('dead_function_b')",
    );
    crossed_both_ways(
        &f,
        |way| format!("SELECT scope.restrict_function('app.f()', '{{dead_function_{way}}}')"),
        "GRANT USAGE ON SCHEMA app TO dead_function_person",
        "GRANT EXECUTE ON FUNCTION app.f() TO dead_function_person",
    );
}

/// All that one call ends stays locked until its transaction ends: so it waits for nobody while it holds that.
#[test]
fn ending_roles_at_once_leaves_to_others_what_they_hold() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "dead_end");
    let mut admin = f.admin();
    for (in_block, late) in [(false, false), (false, true), (true, false), (true, true)] {
        // By OID: one that goes, and many that an administrator is at work on.
        let names: Vec<String> = (0..30)
            .map(|i| format!("dead_end_{in_block}_{late}_{i}"))
            .collect();
        for name in &names {
            admin.issue(&format!("'orders', '{name}', '1 hour'"));
        }
        let free = names[0].as_str();
        let held = &names[1..];
        for name in &names {
            admin.run(&format!("ALTER ROLE {name} VALID UNTIL '2001-01-01'"));
        }
        let mut other = f.admin();
        other.run("BEGIN");
        for name in held {
            other.run(&format!("ALTER ROLE {name} CONNECTION LIMIT 3"));
        }
        let mut ours = f.admin();
        if in_block {
            ours.run("BEGIN");
        }
        let rows = std::thread::scope(|scope| {
            let calling = scope.spawn(|| {
                let rows = ours.rows("SELECT role_name, action, detail FROM scope.expire_roles()");
                // Whoever reads it takes their time.
                std::thread::sleep(Duration::from_millis(200));
                ours.run(if in_block { "COMMIT" } else { "SELECT 1" });
                rows
            });
            if late {
                wait_for(&calling);
            }
            let mut watch = f.admin();
            wait_until("it is at work, or done", 20, || {
                calling.is_finished()
                    || watch.holds("EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            });
            // Both wait for what it has done already, until it commits.
            let outcome = if in_block {
                other.attempt("LOCK TABLE pg_authid IN SHARE MODE")
            } else {
                other.attempt(&format!("GRANT SELECT ON vault TO {free}"))
            };
            other.run("COMMIT");
            let rows = calling.join().expect("a call");
            match outcome {
                Ok(_) => assert!(in_block),
                Err(refusal) => assert_eq!(
                    (in_block, refusal.code.as_str()),
                    (false, "42704"),
                    "{refusal}"
                ),
            }
            rows
        });
        assert_eq!(rows.len(), names.len(), "{rows:?}");
        for (row, name) in rows.iter().zip(&names) {
            let cell = |i: usize| row[i].clone().unwrap_or_default();
            assert_eq!(&cell(0), name);
            if name == free {
                assert_eq!((cell(1), cell(2)), ("dropped".into(), String::new()));
                continue;
            }
            assert_eq!(cell(1), "ending", "{row:?}");
            assert!(
                cell(2).contains("another transaction") || cell(2).contains("others are waiting"),
                "{row:?}"
            );
            assert_refused(server.try_login(name, &f.name));
        }
        assert_eq!(
            admin.column("SELECT action FROM scope.expire_roles()"),
            vec!["dropped"; held.len()]
        );
    }
}

fn assert_refused(outcome: Result<Session, Refusal>) {
    let refusal = outcome.err().expect("a login after the deadline");
    assert_eq!(refusal.code, "28000", "{refusal}");
}

/// Anybody can keep a role from being dropped, by granting it something of their own and not ending the transaction. It can log in no
/// more all the same, and a membership that is over is taken away.
#[test]
fn attack_a_grant_held_open_to_keep_a_role_alive() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "dead_held");
    let (person, owner) = (f.role("person", "LOGIN"), f.role("owner", "NOLOGIN"));
    let mut admin = f.admin();
    let login = admin.issue("'orders', valid_for => '1 hour'").role;
    admin.run(&format!(
        "GRANT CREATE ON SCHEMA public TO {person}; SELECT scope.grant_temporary('{owner}', '{person}', '1 hour')"
    ));
    let between = admin.text("SELECT role FROM scope.credentials WHERE kind = 'temporary'");
    let mut attacker = f.login(&person);
    attacker.run("CREATE TABLE mine (x int); BEGIN");
    for role in [&login, &between] {
        attacker.run(&format!("GRANT SELECT ON mine TO {role}"));
    }
    for role in [&login, &between] {
        admin.run(&format!("ALTER ROLE {role} VALID UNTIL '2001-01-01'"));
    }
    let rows = admin.rows("SELECT role_name, action, detail FROM scope.expire_roles()");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter().all(|row| row[1].as_deref() == Some("ending")),
        "{rows:?}"
    );
    let of_login = rows.iter().find(|row| row[0].as_ref() == Some(&login));
    let detail = of_login.and_then(|row| row[2].clone()).unwrap_or_default();
    assert!(detail.contains("another transaction"), "{rows:?}");
    admin.assert_that(&format!(
        "(SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = '{login}')"
    ));
    admin.assert_that(&format!("NOT pg_has_role('{person}', '{owner}', 'MEMBER')"));
    admin.assert_that(
        "(SELECT state = 'ending' AND last_error LIKE '%another transaction%' FROM scope.roles WHERE kind = 'credential')",
    );
    attacker.run("COMMIT");
    drop(attacker);
    wait_until("both are gone", 20, || {
        admin.rows("SELECT * FROM scope.expire_roles()");
        !admin.role_exists(&login) && !admin.role_exists(&between)
    });
}

/// While a call waits, what it may do can end.
#[test]
fn attack_authority_that_ends_while_an_authenticator_waits() {
    let f = Fixture::new("dead_authority");
    let (maker, taken) = (
        f.role("maker", "LOGIN CREATEROLE"),
        f.role("taken", "NOLOGIN"),
    );
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT {taken} TO {maker} WITH ADMIN OPTION; GRANT EXECUTE ON FUNCTION scope.create_authenticator TO {maker}"
    ));
    let mut other = f.login(&maker);
    other.run("BEGIN; CREATE ROLE dead_authority_new");
    let mut s = f.login(&maker);
    let outcome = std::thread::scope(|scope| {
        let calling = scope.spawn(|| {
            s.attempt(&format!(
                "SELECT scope.create_authenticator('dead_authority_new', '{{{taken}}}')"
            ))
        });
        wait_for(&calling);
        assert!(!calling.is_finished());
        admin.run(&format!("REVOKE ADMIN OPTION FOR {taken} FROM {maker}"));
        other.run("ROLLBACK");
        calling.join().expect("a call")
    });
    let refusal = outcome.expect_err("nothing that the maker may grant");
    assert_eq!(refusal.code, "42501", "{refusal}");
    assert!(!admin.role_exists("dead_authority_new"));
}

/// So is what another call of ours has locked in a transaction that stays open.
#[test]
fn ending_roles_at_once_leaves_to_another_call_what_it_holds() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "dead_turn");
    let mut admin = f.admin();
    for name in ["dead_turn_a", "dead_turn_b"] {
        admin.issue(&format!("'orders', '{name}', '1 hour'"));
        admin.run(&format!("ALTER ROLE {name} VALID UNTIL '2001-01-01'"));
    }
    let mut other = f.admin();
    other.run("BEGIN; SELECT scope.revoke_role('dead_turn_a')");
    admin.run("SET statement_timeout = '20s'");
    let rows = admin.rows("SELECT role_name, action, detail FROM scope.expire_roles() ORDER BY 1");
    assert_eq!(rows[0][1].as_deref(), Some("ending"), "{rows:?}");
    assert!(
        rows[0][2]
            .as_deref()
            .is_some_and(|detail| detail.contains("another transaction")),
        "{rows:?}"
    );
    assert_eq!(rows[1][1].as_deref(), Some("dropped"), "{rows:?}");
    other.run("COMMIT");
    assert_eq!(
        admin.column("SELECT action FROM scope.expire_roles()"),
        ["dropped"]
    );
}

/// Whatever the server's patience with deadlocks: the worker's is less.
#[test]
fn the_worker_gives_way_before_others_look_for_a_deadlock() {
    let server = Server::start(Options::default().set("deadlock_timeout", "100ms"));
    let f = Fixture::on(&server, "dead_worker");
    let mut admin = f.admin();
    f.role("person", "NOLOGIN");
    let grants = [
        "GRANT SELECT ON orders TO dead_worker_person",
        "GRANT SELECT ON vault TO dead_worker_person",
    ];
    for (first, then) in [(grants[0], grants[1]), (grants[1], grants[0])] {
        let role = admin.issue("'orders', valid_for => '1 hour'").role;
        admin.run(&format!("GRANT SELECT ON orders, vault TO {role}"));
        let mut other = f.admin();
        other.run(&format!("BEGIN; {first}"));
        admin.run(&format!("ALTER ROLE {role} VALID UNTIL '2001-01-01'"));
        let mut tries = 0;
        while tries < 20 {
            wait_until("the worker waits", 40, || {
                admin.holds("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scope_roles worker' AND wait_event_type = 'Lock')")
                    || admin.holds(&format!("(SELECT last_error IS NOT NULL FROM scope.roles WHERE role = '{role}')"))
            });
            tries += 1;
            // It has looked for a deadlock.
            std::thread::sleep(Duration::from_millis(150));
            other.run("SAVEPOINT before");
            if let Err(refusal) = other.attempt(then) {
                panic!("{then}: {refusal}");
            }
            other.run("ROLLBACK TO before");
        }
        other.run("COMMIT");
        wait_until("it is gone", 40, || !admin.role_exists(&role));
    }
}

/// What a session has said about its own patience holds.
#[test]
fn a_shorter_lock_timeout_of_the_callers_own_is_the_callers() {
    let f = Fixture::new("dead_timeout");
    let mut admin = f.admin();
    let role = admin.issue("'orders', valid_for => '1 hour'").role;
    let mut other = f.admin();
    other.run(&format!("BEGIN; ALTER ROLE {role} CONNECTION LIMIT 3"));
    let mut s = f.admin();
    for (timeout, at_least, at_most) in [("20ms", 20, 10_000), ("1s", 1_000, 10_000)] {
        s.run(&format!("SET lock_timeout = '{timeout}'"));
        let start = Instant::now();
        s.denied(&format!("SELECT scope.renew_role('{role}')"), "55P03");
        let took = start.elapsed().as_millis();
        assert!((at_least..at_most).contains(&took), "{timeout}: {took} ms");
        assert_eq!(s.text("SHOW lock_timeout"), timeout);
    }
    // Whatever comes of a call, the setting is as before.
    s.run("SET lock_timeout = '90s'");
    s.refused("SELECT scope.revoke_role('nobody_at_all')", "42704");
    assert_eq!(s.text("SHOW lock_timeout"), "90s");
    s.run("BEGIN; SET LOCAL lock_timeout = '80s'; SAVEPOINT a");
    s.refused("SELECT scope.revoke_role('nobody_at_all')", "42704");
    s.run("ROLLBACK TO a");
    assert_eq!(s.text("SHOW lock_timeout"), "80s");
    s.run("ROLLBACK");
    other.run("COMMIT");
    s.run(&format!("BEGIN; SELECT scope.revoke_role('{role}')"));
    assert_eq!(s.text("SHOW lock_timeout"), "90s");
    s.run("COMMIT");
    assert_eq!(s.text("SHOW lock_timeout"), "90s");
}

/// It waits for as long as it takes, for somebody who is in no hurry, and tries so often that it can be cancelled.
#[test]
fn a_call_that_waits_for_long_can_be_cancelled_and_succeeds_in_the_end() {
    let f = Fixture::new("dead_long");
    let mut admin = f.admin();
    let role = admin.issue("'orders', valid_for => '1 hour'").role;
    let mut other = f.admin();
    other.run(&format!("BEGIN; ALTER ROLE {role} CONNECTION LIMIT 3"));
    let mut s = f.admin();
    s.run("SET statement_timeout = '700ms'");
    s.denied(&format!("SELECT scope.renew_role('{role}')"), "57014");
    s.run("SET statement_timeout = 0");
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| s.run(&format!("SELECT scope.renew_role('{role}')")));
        std::thread::sleep(2 * LOOKED);
        assert!(!calling.is_finished());
        other.run("COMMIT");
        calling.join().expect("a call");
    });
    // One line of the trail for what was done once, however often it was tried.
    let log = f.server.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("\"renew_role\"") && line.contains(&format!("\"{role}\"")));
    assert_eq!(lines.count(), 1, "{log}");
}

/// Locks that the transaction took before the call are not given up: the other waits for them, has looked for a deadlock, and finds none
/// any more. Then PostgreSQL finds it in the call, which is refused.
#[test]
fn attack_a_deadlock_with_what_came_before_the_call_stands_for_ever() {
    let f = Fixture::new("dead_before");
    let person = f.role("person", "NOLOGIN");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('dead_before', tables => '{orders,vault}')");
    for (before, call) in [
        (
            "SELECT scope.alter_scope('dead_before', 'add', '{INSERT}', '{orders}')".to_owned(),
            "SELECT scope.alter_scope('dead_before', 'add', '{UPDATE}', '{vault}')",
        ),
        (
            format!("GRANT INSERT ON orders TO {person}"),
            "SELECT scope.create_readonly_role('vault')",
        ),
    ] {
        let (mut ours, mut other) = (f.admin(), f.admin());
        ours.run(&format!("SET statement_timeout = '20s'; BEGIN; {before}"));
        other.run(&format!(
            "SET statement_timeout = '20s'; BEGIN; GRANT SELECT ON vault TO {person}"
        ));
        std::thread::scope(|scope| {
            let then = format!("GRANT SELECT ON orders TO {person}");
            let waiting = scope.spawn(move || {
                let outcome = other.attempt(&then);
                other.run("ROLLBACK");
                outcome
            });
            wait_for(&waiting);
            let start = Instant::now();
            let refusal = ours.fails(call);
            assert_eq!(refusal.code, "40P01", "{call}: {refusal}");
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{:?}",
                start.elapsed()
            );
            ours.run("ROLLBACK");
            if let Err(refusal) = waiting.join().expect("a thread") {
                panic!("{refusal}");
            }
        });
    }
}
