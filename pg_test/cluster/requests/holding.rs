//! Who keeps what has been asked for from its end, or others from what is theirs.

use serde_json::json;

use super::Scene;
use crate::harness::*;
use crate::jwt::{Gate, switch};

/// Runs a statement in the unnamed portal, for so many rows, and leaves the transaction open.
fn some_rows(wire: &mut Wire, sql: &str, rows: i32) {
    wire.send(Some(b'P'), format!("\0{sql}\0\0\0").as_bytes());
    wire.send(Some(b'B'), b"\0\0\0\0\0\0\0\0");
    wire.execute("", rows);
}

#[test]
fn attack_who_asked_keeps_others_from_ending_it() {
    let scene = Scene::new("request_held");
    scene.policy("prod", "");
    let id = scene.ask(&scene.alice, ", valid_for => '1 h'");
    scene.decide(&scene.bob, "approve", id);
    let mut alice = scene.f.login(&scene.alice);
    for function in ["withdraw", "revoke"] {
        alice.run("BEGIN");
        alice.refused(&format!("SELECT scope.{function}({id})"), "25001");
        alice.run("ROLLBACK");
        alice.refused(
            &format!("SELECT scope.{function}({id}), pg_sleep(1)"),
            "0A000",
        );
        alice.refused(&format!("SELECT 1; SELECT scope.{function}({id})"), "25001");
        let mut wire = Wire::open(scene.f.server, &scene.alice, &scene.f.name);
        some_rows(&mut wire, &format!("SELECT scope.{function}({id})"), 1);
        assert!(has_error(&wire.sync(), "25001"));
        some_rows(&mut wire, "SELECT 1", 0);
        some_rows(&mut wire, &format!("SELECT scope.{function}({id})"), 0);
        assert!(has_error(&wire.sync(), "25001"));
    }
    // Asking for more time holds nothing of what lasts.
    alice.run(&format!(
        "BEGIN; SELECT scope.extend({id}, '1 min', 'more')"
    ));
    let mut bob = scene.f.login(&scene.bob);
    bob.run("SET lock_timeout = '5s'");
    assert_eq!(bob.text(&format!("SELECT scope.revoke({id})")), "revoked");
    scene.does_not_read(&scene.alice);
    alice.run("ROLLBACK");
    // At the end of its time, too, and by whoever asked.
    let id = scene.ask(&scene.alice, "");
    scene.decide(&scene.bob, "approve", id);
    assert_eq!(alice.text(&format!("SELECT scope.revoke({id})")), "revoked");
    // The policy's own people may end many in a block.
    let id = scene.ask(&scene.alice, "");
    scene.decide(&scene.bob, "approve", id);
    scene.f.admin().run(&format!(
        "BEGIN; SELECT scope.revoke(request) FROM scope.requests WHERE state = 'active' AND request = {id}; COMMIT"
    ));
    scene.does_not_read(&scene.alice);
}

#[test]
fn attack_what_begins_in_an_open_transaction_holds_up_the_role() {
    let scene = Scene::new("request_open");
    scene.policy("prod", ", auto_approve => '{\"max_duration\": \"1 hour\"}'");
    let mut alice = scene.f.login(&scene.alice);
    alice.run("BEGIN");
    let ask = format!(
        "SELECT request, state FROM scope.request_access('{}', '1 hour', 'x')",
        scene.owner
    );
    let asked = alice.rows(&ask);
    assert_eq!(asked[0][1].as_deref(), Some("approved"));
    alice.denied("SELECT * FROM vault", "42501");
    alice.run("ROLLBACK; BEGIN");
    let id: i64 = alice.text(&ask).parse().expect("a number");
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "SET lock_timeout = '5s'; GRANT {0} TO {1}; REVOKE {0} FROM {1}",
        scene.owner, scene.dave
    ));
    alice.run("COMMIT");
    // The worker's, then.
    wait_until("it has begun", 30, || scene.state(id) == "active");
    scene.reads(&scene.alice);
    // A login is taken where the transaction ends with it.
    let scope = scene.scope.clone();
    admin.run(&scene.policy_sql(
        "reading",
        "credential",
        &scope,
        ", auto_approve => '{\"max_duration\": \"1 hour\"}'",
    ));
    let id: i64 = alice
        .text(&format!(
            "SELECT request FROM scope.request_access('{scope}', '1 hour', 'x')"
        ))
        .parse()
        .expect("a number");
    alice.run("BEGIN");
    alice.refused(
        &format!("SELECT * FROM scope.take_credential({id})"),
        "25001",
    );
    alice.run("ROLLBACK");
    let mut wire = Wire::open(scene.f.server, &scene.alice, &scene.f.name);
    some_rows(
        &mut wire,
        &format!("SELECT * FROM scope.take_credential({id})"),
        1,
    );
    assert!(has_error(&wire.sync(), "25001"));
    let cred = alice.handed(&format!("scope.take_credential({id})"));
    assert_eq!(cred.connect().text("SELECT count(*) FROM orders"), "2");
}

#[test]
fn attack_a_time_that_nobody_can_show() {
    let scene = Scene::new("request_times");
    scene.policy("prod", "");
    for at in ["-infinity", "4714-11-24 00:00:00+00 BC", "1900-01-01"] {
        let id = scene.ask(&scene.alice, &format!(", starts_at => '{at}'"));
        let mut bob = scene.f.login(&scene.bob);
        bob.assert_that(&format!(
            "(SELECT starts_at IS NULL AND waits_until > now() FROM scope.requests WHERE request = {id})"
        ));
        bob.run("SELECT * FROM scope.request_board");
        scene.decide(&scene.alice, "withdraw", id);
    }
    scene.f.login(&scene.alice).refused(
        &format!(
            "SELECT scope.request_access('{}', reason => 'x', starts_at => 'infinity')",
            scene.owner
        ),
        "22023",
    );
}

#[test]
fn attack_a_board_that_shows_what_is_not() {
    let scene = Scene::new("request_board");
    scene.policy("prod", "");
    scene.f.login(&scene.alice).run(&format!(
        "SELECT scope.request_access('{}', reason => E'x\\n 9 | active | carol\\r\\x1b[2J', ticket => E'T\\n')",
        scene.owner
    ));
    scene.f.login(&scene.bob).assert_that(
        "(SELECT count(*) = 1 AND bool_and(why !~ '[[:cntrl:]]') FROM scope.request_board)",
    );
}

#[test]
fn attack_another_policy_takes_the_name_of_one_that_is_gone() {
    let scene = Scene::new("request_renamed");
    scene.policy("prod", "");
    let maker = scene.f.role("maker", "LOGIN");
    let other = scene.f.role("other", "NOLOGIN");
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "GRANT {other} TO {maker} WITH ADMIN OPTION; GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {maker}"
    ));
    let id = scene.ask(&scene.alice, "");
    scene.decide(&scene.bob, "approve", id);
    admin.run("SELECT scope.drop_request_policy('prod')");
    let mut maker_session = scene.f.login(&maker);
    maker_session.run(&scene.policy_sql("prod", "membership", &other, ""));
    // Neither the maker nor the approvers of that one read or end what it does not give.
    assert!(
        maker_session
            .rows("SELECT * FROM scope.requests")
            .is_empty()
    );
    for who in [&maker, &scene.bob] {
        scene
            .f
            .login(who)
            .refused(&format!("SELECT scope.revoke({id})"), "42501");
    }
    scene.reads(&scene.alice);
    admin.run(&format!("SELECT scope.revoke({id})"));
    scene.does_not_read(&scene.alice);
}

#[test]
fn attack_too_much_waits_for_its_start() {
    let scene = Scene::new("request_many");
    scene.policy("prod", ", auto_approve => '{\"max_duration\": \"1 hour\"}'");
    let mut alice = scene.f.login(&scene.alice);
    let at = alice.text("SELECT now() + '1 day'");
    let ask = format!(
        "SELECT state FROM scope.request_access('{}', '1 hour', 'x', starts_at => '{at}')",
        scene.owner
    );
    for _ in 0..20 {
        assert_eq!(alice.text(&ask), "approved");
    }
    alice.refused(&ask, "54000");
}

#[test]
fn attack_more_time_floods_the_record() {
    let scene = Scene::new("request_flood");
    scene.policy("prod", "");
    let id = scene.ask(&scene.alice, ", valid_for => '1 h'");
    scene.decide(&scene.bob, "approve", id);
    let mut alice = scene.f.login(&scene.alice);
    let extend = format!("SELECT request FROM scope.extend({id}, '1 min', 'more')");
    for _ in 1..200 {
        let more = alice.text(&extend);
        alice.run(&format!("SELECT scope.withdraw({more})"));
    }
    let refusal = alice.refused(&extend, "54000");
    assert!(refusal.detail.contains("24 hours"), "{refusal}");
}

#[test]
fn attack_the_second_password_of_a_login_outlives_its_request_or_decides() {
    let scene = Scene::new("request_rotated");
    let scope = scene.scope.clone();
    let mut admin = scene.f.admin();
    // What is read with the scope may be decided with it.
    admin.run(&format!(
        "SELECT scope.create_request_policy('reading', '{{{scope}}}', '{{{0}}}', '[{{\"role\": \"{1}\"}}]', kind => 'credential', max_duration => '2 hours');
         SELECT scope.create_request_policy('prod', '{{{2}}}', '{{{0}}}', '[{{\"role\": \"{scope}\"}}]')",
        scene.oncall, scene.dba, scene.owner
    ));
    let mut alice = scene.f.login(&scene.alice);
    let number =
        |session: &mut Session, sql: &str| -> i64 { session.text(sql).parse().expect("a number") };
    let id = number(
        &mut alice,
        &format!("SELECT request FROM scope.request_access('{scope}', '1 hour', 'x')"),
    );
    scene.decide(&scene.bob, "approve", id);
    let first = alice.handed(&format!("scope.take_credential({id})"));
    let second = admin.handed(&format!(
        "scope.rotate_password('{}', overlap => '30 min')",
        first.role
    ));
    assert_ne!(first.role, second.role);
    // Neither decides on what she has asked for.
    let own = scene.ask(&scene.alice, "");
    for cred in [&first, &second] {
        cred.connect()
            .refused(&format!("SELECT scope.approve({own})"), "42501");
    }
    // More time is that of the one that goes on.
    let more = number(
        &mut alice,
        &format!("SELECT request FROM scope.extend({id}, '1 h', 'longer')"),
    );
    scene.decide(&scene.bob, "approve", more);
    admin.assert_that(&format!(
        "(SELECT valid_until > now() + '119 min' FROM scope.credentials WHERE role = '{}')",
        second.role
    ));
    // The end is that of both.
    assert_eq!(scene.decide(&scene.bob, "revoke", id), "revoked");
    wait_until("both are gone", 20, || {
        first.try_connect().is_err() && second.try_connect().is_err()
    });
}

#[test]
fn attack_nobody_in_particular_takes_what_another_asked_for() {
    let g = Gate::new("request_nobody");
    let mut admin = g.f.admin();
    let auth = admin.handed(&format!(
        "scope.create_authenticator('request_nobody_gated', '{{{}}}')",
        g.reader
    ));
    admin.run(&format!(
        "SELECT scope.create_scope('request_nobody_scope', tables => '{{vault}}');
         SELECT scope.create_request_policy('vault', '{{request_nobody_scope}}', '{{{0}}}', '[{{\"role\": \"{0}\"}}]', kind => 'credential',
           auto_approve => '{{\"max_duration\": \"1 hour\"}}')",
        g.reader
    ));
    let acting = |subject: Option<&str>| {
        let claims = json!({"role": g.reader, "exp": now() + 600, "sub": subject});
        let mut claims = claims.as_object().cloned().unwrap_or_default();
        claims.retain(|_, claim| !claim.is_null());
        let mut session = auth.connect();
        session.run(&format!("BEGIN; {}", switch(&sign(&claims.into()))));
        session
    };
    let ask = "SELECT request FROM scope.request_access('request_nobody_scope', '1 hour', 'x')";
    acting(None).refused(ask, "42501");
    // With a subject, however long, it is that subject's.
    let long = "x".repeat(600);
    let mut session = acting(Some(&long));
    let id = session.text(ask);
    session.run("COMMIT");
    let take = format!("SELECT * FROM scope.take_credential({id})");
    acting(None).refused(&take, "42501");
    let mut session = acting(Some(&long));
    let cred = session.handed(&format!("scope.take_credential({id})"));
    session.run("COMMIT");
    assert_eq!(cred.connect().text("SELECT secret FROM vault"), "treasure");
}
