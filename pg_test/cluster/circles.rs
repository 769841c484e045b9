//! Deadlocks that locks from before a call are part of: giving up those of the call does not undo them, so PostgreSQL has to find them,
//! and refuses the call.

use std::time::Duration;

use crate::harness::*;

/// Longer than `deadlock_timeout`.
const LOOKED: Duration = Duration::from_millis(1_500);

/// The other waits for what `held` has locked, and has looked for a deadlock, when `call` comes to want what it has: the call is
/// refused, and the other goes on.
#[track_caller]
fn found(f: &Fixture, held: &str, call: &str, other_first: &str, other_then: &str) {
    let mut ours = f.admin();
    let mut other = f.admin();
    let mut watch = f.admin();
    ours.run(&format!("SET statement_timeout = '30s'; BEGIN; {held}"));
    other.run(&format!(
        "SET statement_timeout = '40s'; BEGIN; {other_first}"
    ));
    let pid = other.text("SELECT pg_backend_pid()");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.attempt(other_then));
        wait_until("the other waits", 20, || {
            watch.holds(&format!(
                "EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"
            ))
        });
        std::thread::sleep(LOOKED);
        let refusal = ours
            .attempt(call)
            .expect_err("both wait for each other, and nobody has been refused");
        assert_eq!(refusal.code, "40P01", "{call} after {held}: {refusal}");
        ours.run("ROLLBACK; SELECT pg_advisory_unlock_all()");
        let outcome = waiting.join().expect("the other");
        if let Err(refusal) = outcome {
            panic!("{other_then}, in the way of {call}: {refusal}");
        }
    });
    other.run("ROLLBACK");
}

#[test]
fn attack_a_circle_that_an_earlier_statement_of_the_transaction_is_part_of() {
    let f = Fixture::new("circle_held");
    let mut admin = f.admin();
    f.role("person", "NOLOGIN");
    admin.run("SELECT scope.create_scope('circle_held_s', '{SELECT}', '{orders,vault}')");
    let other = (
        "GRANT SELECT ON vault TO circle_held_person",
        "GRANT SELECT ON orders TO circle_held_person",
    );
    for held in [
        "SELECT scope.alter_scope('circle_held_s', 'add', '{INSERT}', '{orders}')",
        "GRANT INSERT ON orders TO circle_held_person",
    ] {
        for call in [
            "alter_scope('circle_held_s', 'add', '{UPDATE}', '{vault}')",
            "create_readonly_role('vault')",
        ] {
            // From a scope of its own, where the call takes its own locks first.
            found(&f, held, &format!("SELECT scope.{call}"), other.0, other.1);
        }
    }
    // Locks that make no transaction of it, and those of the session.
    for held in [
        "LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE",
        "SELECT pg_advisory_lock(4711)",
    ] {
        let then = if held.starts_with("LOCK") {
            "LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE"
        } else {
            "SELECT pg_advisory_xact_lock(4711)"
        };
        let call = "SELECT scope.create_scope('circle_held_n', '{SELECT}', '{vault}')";
        found(&f, held, call, other.0, then);
    }
}

#[test]
fn attack_a_circle_of_two_transactions_of_calls() {
    let f = Fixture::new("circle_two");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.create_scope('circle_two_a', '{SELECT}', '{orders,vault}');
         SELECT scope.create_scope('circle_two_b', '{SELECT}', '{orders,vault}')",
    );
    let mut sessions = [("a", "orders", "vault"), ("b", "vault", "orders")].map(
        |(scope, first, then)| {
            let mut s = f.admin();
            s.run(&format!(
                "SET statement_timeout = '40s'; BEGIN; SELECT scope.alter_scope('circle_two_{scope}', 'add', '{{INSERT}}', '{{{first}}}')"
            ));
            (s, format!("SELECT scope.alter_scope('circle_two_{scope}', 'add', '{{INSERT}}', '{{{then}}}')"))
        },
    );
    let outcomes = std::thread::scope(|scope| {
        let calls: Vec<_> = sessions
            .iter_mut()
            .map(|(s, call)| {
                scope.spawn(move || {
                    let outcome = s.attempt(call);
                    s.run(if outcome.is_ok() {
                        "COMMIT"
                    } else {
                        "ROLLBACK"
                    });
                    outcome
                })
            })
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().expect("a call"))
            .collect::<Vec<_>>()
    });
    let refusals: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
    assert!(
        !refusals.is_empty() && refusals.iter().all(|refusal| refusal.code == "40P01"),
        "{refusals:?}"
    );
}
