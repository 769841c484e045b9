//! Two at the same time, many at the same time, and a crash between two.

use std::sync::Barrier;
use std::thread;

use super::Scene;
use crate::harness::*;

type Outcome = Result<Vec<Vec<Option<String>>>, Refusal>;

/// Runs both at the same moment, from sessions of their own.
fn at_once(scene: &Scene<'_>, one: (&str, String), other: (&str, String)) -> [Outcome; 2] {
    let barrier = Barrier::new(2);
    let run = |(who, sql): (&str, String)| {
        let mut session = scene.f.login(who);
        barrier.wait();
        session.attempt(&sql)
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| run(one));
        let second = run(other);
        [first.join().expect("a thread"), second]
    })
}

#[track_caller]
fn states(results: &[Outcome; 2]) -> (usize, Vec<&str>) {
    let refusals: Vec<&str> = results
        .iter()
        .filter_map(|result| Some(result.as_ref().err()?.code.as_str()))
        .collect();
    (2 - refusals.len(), refusals)
}

#[test]
fn race_of_two_decisions() {
    let scene = Scene::new("request_race");
    scene.policy("prod", "");
    for _ in 0..8 {
        // Yes and yes: it begins once.
        let id = scene.ask(&scene.alice, "");
        let yes = format!("SELECT scope.approve({id})");
        let both = at_once(
            &scene,
            (&scene.bob, yes.clone()),
            (&scene.carol, yes.clone()),
        );
        assert_eq!(states(&both), (1, vec!["55000"]));
        assert_eq!(scene.events(id), ["asked", "approved", "started"]);
        scene.decide(&scene.alice, "withdraw", id);
        // Yes and no.
        let id = scene.ask(&scene.alice, "");
        let yes = format!("SELECT scope.approve({id})");
        let both = at_once(
            &scene,
            (&scene.bob, yes.clone()),
            (&scene.carol, format!("SELECT scope.deny({id})")),
        );
        assert_eq!(states(&both), (1, vec!["55000"]));
        if scene.state(id) == "active" {
            scene.decide(&scene.alice, "withdraw", id);
        }
        scene.does_not_read(&scene.alice);
        // Yes and taking back.
        let id = scene.ask(&scene.alice, "");
        let yes = format!("SELECT scope.approve({id})");
        let both = at_once(
            &scene,
            (&scene.bob, yes),
            (&scene.alice, format!("SELECT scope.withdraw({id})")),
        );
        let (done, refusals) = states(&both);
        assert!(done == 2 || refusals == ["55000"], "{refusals:?}");
        assert!(["withdrawn", "revoked"].contains(&scene.state(id).as_str()));
        scene.does_not_read(&scene.alice);
        // More time, and the end.
        let id = scene.ask(&scene.alice, ", valid_for => '1 h'");
        scene.decide(&scene.bob, "approve", id);
        let more = scene.f.login(&scene.alice).text(&format!(
            "SELECT request FROM scope.extend({id}, '1 h', 'more')"
        ));
        let both = at_once(
            &scene,
            (&scene.bob, format!("SELECT scope.approve({more})")),
            (&scene.carol, format!("SELECT scope.revoke({id})")),
        );
        assert_eq!(states(&both), (2, vec![]), "{both:?}");
        assert_eq!(scene.state(id), "revoked");
        scene.does_not_read(&scene.alice);
    }
}

#[test]
fn race_of_a_decision_and_the_time() {
    let scene = Scene::new("request_expiring");
    scene.policy("prod", ", pending_for => '2 s'");
    for step in 0..4 {
        let id = scene.ask(&scene.alice, "");
        thread::sleep(std::time::Duration::from_millis(1_900 + 50 * step));
        let said = scene
            .f
            .login(&scene.bob)
            .attempt(&format!("SELECT scope.approve({id})"));
        wait_until("it is decided", 20, || scene.state(id) != "pending");
        match said {
            Ok(_) => {
                assert_eq!(scene.events(id), ["asked", "approved", "started"]);
                scene.decide(&scene.alice, "withdraw", id);
            }
            Err(refusal) => {
                assert_eq!(refusal.code, "55000");
                wait_until("it has expired", 20, || {
                    scene.events(id) == ["asked", "expired"]
                });
            }
        }
        scene.does_not_read(&scene.alice);
    }
}

#[test]
fn two_hundred_at_once_lose_and_double_nothing() {
    let server = Server::start(Options::default().set("max_connections", "60"));
    let scene = Scene::on(Fixture::on(&server, "request_crowd"));
    scene.policy("prod", "");
    let people: Vec<String> = (0..20)
        .map(|at| {
            scene.f.role(
                &format!("p{at}"),
                &format!("LOGIN IN ROLE {}", scene.oncall),
            )
        })
        .collect();
    let (scene, owner) = (&scene, &scene.owner);
    let ids: Vec<i64> = thread::scope(|threads| {
        let asking: Vec<_> = people
            .iter()
            .map(|person| {
                threads.spawn(move || {
                    let mut session = scene.f.login(person);
                    let ask = |at: i32| -> i64 {
                        let sql = format!(
                            "SELECT request FROM scope.request_access('{owner}', '1 h', 'n {at}')"
                        );
                        session.text(&sql).parse().expect("a number")
                    };
                    (0..10).map(ask).collect::<Vec<i64>>()
                })
            })
            .collect();
        asking
            .into_iter()
            .flat_map(|asked| asked.join().expect("a thread"))
            .collect()
    });
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=200).collect::<Vec<i64>>());
    // Both say yes to all of them, from both ends, while some are taken back.
    let yes = thread::scope(|threads| {
        let decide = |who: &'static str, ids: Vec<i64>| {
            threads.spawn(move || {
                let mut session = scene.f.login(if who == "bob" {
                    &scene.bob
                } else {
                    &scene.carol
                });
                let mut approve = |id: &i64| {
                    session
                        .attempt(&format!("SELECT scope.approve({id})"))
                        .is_ok()
                };
                ids.iter().filter(|id| approve(id)).count()
            })
        };
        let backwards: Vec<i64> = ids.iter().rev().copied().collect();
        let (one, other) = (decide("bob", ids.clone()), decide("carol", backwards));
        one.join().expect("a thread") + other.join().expect("a thread")
    });
    assert_eq!(yes, 200);
    let mut admin = scene.f.admin();
    assert_eq!(
        admin.rows("SELECT event, count(*)::text FROM scope.request_log WHERE event <> 'failed' GROUP BY 1 ORDER BY 1"),
        [["approved", "200"], ["asked", "200"], ["started", "200"]].map(|row| row.map(|cell| Some(cell.to_owned())))
    );
    assert_eq!(
        admin.text(&format!(
            "SELECT count(DISTINCT granted_to) FROM scope.credentials WHERE scopes = '{{{owner}}}'"
        )),
        "20"
    );
}

#[test]
fn a_crash_between_the_decision_and_the_beginning_loses_nothing() {
    let server = Server::start(Options::durable());
    let scene = Scene::on(Fixture::on(&server, "request_crash"));
    scene.policy("prod", "");
    let id = scene.ask(&scene.alice, ", starts_at => now() + '4 s'");
    scene.decide(&scene.bob, "approve", id);
    server.crash();
    server.recover();
    wait_until("it has begun", 40, || scene.state(id) == "active");
    scene.reads(&scene.alice);
    assert_eq!(scene.events(id), ["asked", "approved", "started"]);
}

#[test]
fn a_failover_keeps_an_approved_start() {
    let primary = Server::start(Options::durable());
    let scene = Scene::on(Fixture::on(&primary, "request_failover"));
    scene.policy("prod", "");
    let id = scene.ask(&scene.alice, ", starts_at => now() + '5 s'");
    scene.decide(&scene.bob, "approve", id);
    let standby = primary.standby(Options::durable());
    let promoted = standby;
    primary.crash();
    promoted.promote();
    let state = format!("SELECT state FROM scope.requests WHERE request = {id}");
    wait_until("it has begun", 40, || {
        promoted.admin(&scene.f.name).text(&state) == "active"
    });
    assert_eq!(
        promoted
            .login(&scene.alice, &scene.f.name)
            .text("SELECT secret FROM vault"),
        "treasure"
    );
}

#[test]
fn race_of_two_who_make_a_policy_of_one_name() {
    let scene = Scene::new("request_race_name");
    let makers = ["one", "two"].map(|name| scene.f.role(name, "LOGIN"));
    let mut admin = scene.f.admin();
    for maker in &makers {
        admin.run(&format!(
            "GRANT {} TO {maker} WITH ADMIN OPTION; GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {maker}",
            scene.owner
        ));
    }
    for (more, code) in [("", "42710"), (", replace => true", "42501")] {
        let sql = scene.policy_sql("prod", "membership", &scene.owner, more);
        let mut first = scene.f.login(&makers[0]);
        first.run(&format!("BEGIN; {sql}"));
        std::thread::scope(|threads| {
            let second = threads.spawn(|| scene.f.login(&makers[1]).attempt(&sql));
            wait_until("the other waits", 20, || {
                scene.f.admin().holds(&format!(
                    "EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{}' AND wait_event_type = 'Lock')",
                    makers[1]
                ))
            });
            first.run("COMMIT");
            let refusal = second.join().expect("a thread").expect_err("it was there");
            assert_eq!(refusal.code, code, "{refusal}");
        });
        admin.assert_that(&format!(
            "(SELECT created_by = '{}' FROM scope.request_policies)",
            makers[0]
        ));
        admin.run("SELECT scope.drop_request_policy('prod')");
    }
}
