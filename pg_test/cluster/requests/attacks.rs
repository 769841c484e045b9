//! Those who want what nobody has let them have.

use super::Scene;
use crate::harness::*;

#[test]
fn attack_one_person_decides_on_the_own_request() {
    let scene = Scene::new("request_oneself");
    // Alice may decide, as a member of the approving role.
    scene
        .f
        .admin()
        .run(&format!("GRANT {} TO {}", scene.dba, scene.alice));
    scene.policy("prod", "");
    let id = scene.ask(&scene.alice, "");
    let mut alice = scene.f.login(&scene.alice);
    let call = format!("SELECT scope.approve({id})");
    alice.refused(&call, "42501");
    // As another role of theirs.
    alice.run(&format!("SET ROLE {}", scene.dba));
    alice.refused(&call, "42501");
    // By a login of which one is a member, in either direction.
    let twin = scene
        .f
        .role("twin", &format!("LOGIN IN ROLE {}", scene.dba));
    scene
        .f
        .admin()
        .run(&format!("GRANT {twin} TO {}", scene.alice));
    scene.f.login(&twin).refused(&call, "42501");
    let other = scene.f.role(
        "other",
        &format!("LOGIN IN ROLE {}, {}", scene.dba, scene.alice),
    );
    scene.f.login(&other).refused(&call, "42501");
}

#[test]
fn attack_a_login_that_the_same_person_has_issued_decides() {
    let scene = Scene::new("request_issued");
    let mut admin = scene.f.admin();
    // A helper issues logins that may decide: its own, and none of those may stand for somebody else.
    let approving = format!("{}_approving", scene.f.name);
    admin.run(&format!(
        "SELECT scope.create_scope('{approving}', tables => '{{orders}}');
         GRANT EXECUTE ON FUNCTION scope.create_credential TO {alice}, {dba};
         GRANT {approving} TO {alice}, {dba} WITH ADMIN OPTION",
        alice = scene.alice,
        dba = scene.dba
    ));
    admin.run(&format!(
        "SELECT scope.create_request_policy('prod', '{{{}}}', '{{{}}}', '[{{\"role\": \"{approving}\"}}]', kind => 'membership')",
        scene.owner, scene.oncall
    ));
    let id = scene.ask(&scene.alice, "");
    let call = format!("SELECT scope.approve({id})");
    let own = scene
        .f
        .login(&scene.alice)
        .handed(&format!("scope.create_credential('{{{approving}}}')"));
    let refusal = own.connect().refused(&call, "42501");
    assert!(refusal.detail.contains("issued"), "{refusal}");
    let mut bob = scene.f.login(&scene.bob);
    bob.run(&format!("SET ROLE {}", scene.dba));
    let of_dba = bob.handed(&format!("scope.create_credential('{{{approving}}}')"));
    // Alice becomes a DBA, who has issued it.
    admin.run(&format!("GRANT {} TO {}", scene.dba, scene.alice));
    of_dba.connect().refused(&call, "42501");
    admin.run(&format!("REVOKE {} FROM {}", scene.dba, scene.alice));
    assert!(of_dba.connect().text(&call).starts_with("active"));
}

#[test]
fn attack_what_an_approver_reads_decides_in_their_name() {
    let scene = Scene::new("request_trojan");
    scene.policy("prod", "");
    scene.f.admin().run(&format!(
        "CREATE SCHEMA trap AUTHORIZATION {0}; GRANT USAGE ON SCHEMA trap TO PUBLIC",
        scene.alice
    ));
    let id = scene.ask(&scene.alice, "");
    scene.f.login(&scene.alice).run(&format!(
        "CREATE VIEW trap.v AS SELECT scope.approve({id}) AS said;
         CREATE FUNCTION trap.f() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN scope.approve({id}); END';
         CREATE FUNCTION trap.s() RETURNS text LANGUAGE sql AS 'SELECT scope.approve({id})';
         CREATE FUNCTION trap.c() RETURNS text LANGUAGE plpgsql AS 'DECLARE r record; BEGIN FOR r IN SELECT scope.approve({id}) LOOP END LOOP; RETURN 1; END';
         CREATE FUNCTION trap.e() RETURNS text LANGUAGE plpgsql AS 'BEGIN EXECUTE ''SELECT scope.approve({id})''; RETURN 1; END';
         CREATE PROCEDURE trap.p() LANGUAGE plpgsql AS 'BEGIN PERFORM scope.approve({id}); END';
         CREATE TABLE trap.t (n int DEFAULT 1, said text GENERATED ALWAYS AS (n::text) STORED);
         CREATE FUNCTION trap.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM scope.approve({id}); RETURN NULL; END';
         CREATE TRIGGER g AFTER INSERT ON trap.t FOR EACH ROW EXECUTE FUNCTION trap.g();
         CREATE TABLE trap.u (n int);
         CREATE FUNCTION trap.h() RETURNS trigger LANGUAGE plpgsql AS 'DECLARE r record; BEGIN FOR r IN SELECT scope.approve({id}) LOOP END LOOP; RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER h AFTER INSERT ON trap.u DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trap.h();
         CREATE DOMAIN trap.d AS int CHECK (scope.approve({id}) IS NOT NULL);
         CREATE FUNCTION trap.o(int, int) RETURNS text LANGUAGE sql AS 'SELECT scope.approve({id})';
         CREATE OPERATOR trap.@@@ (FUNCTION = trap.o, LEFTARG = int, RIGHTARG = int);
         GRANT ALL ON trap.t, trap.u, trap.v TO PUBLIC"
    ));
    let mut bob = scene.f.login(&scene.bob);
    for sql in [
        "SELECT * FROM trap.v",
        "SELECT trap.f()",
        "SELECT * FROM trap.f()",
        "SELECT trap.s()",
        "SELECT trap.c()",
        "SELECT trap.e()",
        "CALL trap.p()",
        "INSERT INTO trap.t (n) VALUES (1)",
        "SELECT 1::trap.d",
        "SELECT 1 OPERATOR(trap.@@@) 1",
        "DO 'BEGIN PERFORM trap.f(); END'",
        "INSERT INTO trap.u VALUES (1)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT trap.f()",
        &format!("SELECT scope.approve({id}), trap.f()"),
        &format!("SELECT scope.approve({id}) FROM pg_class"),
        &format!("SELECT scope.approve((SELECT {id}))"),
        "EXPLAIN ANALYZE SELECT trap.f()",
        "PREPARE p AS SELECT trap.f(); EXECUTE p",
    ] {
        let refusal = bob.fails(sql);
        assert!(
            ["0A000", "42501"].contains(&refusal.code.as_str()),
            "{sql}: {refusal}"
        );
        bob.run("ROLLBACK; DEALLOCATE ALL");
        assert_eq!(scene.state(id), "pending", "{sql}");
    }
    let copied = bob.copy_out("COPY (SELECT trap.f()) TO STDOUT");
    assert_eq!(copied.expect_err("an error").code, "0A000");
    assert_eq!(scene.state(id), "pending");
    // What one sends oneself is one's own word, in all of its forms.
    assert!(
        bob.attempt_extended(
            "SELECT scope.approve($1::text::bigint, $2)",
            &[&id.to_string(), "read"]
        )
        .is_ok()
    );
    for (event, form) in [
        ("approved", "SELECT * FROM scope.approve({}, 'x')"),
        ("denied", "SELECT scope.deny({}) AS said"),
    ] {
        scene.decide(&scene.alice, "withdraw", scene_last(&scene));
        let id = scene.ask(&scene.alice, "");
        bob.run(&form.replace("{}", &id.to_string()));
        assert!(scene.events(id).iter().any(|found| found == event));
    }
}

/// The last request, if it can be taken back.
fn scene_last(scene: &Scene<'_>) -> i64 {
    let last = scene
        .f
        .admin()
        .text("SELECT max(request) FROM scope.requests");
    last.parse().expect("a number")
}

#[test]
fn attack_a_right_that_has_gone_since_begins_or_decides() {
    let scene = Scene::new("request_gone");
    scene.policy("prod", "");
    let mut admin = scene.f.admin();
    // Whoever decides must be able to at the decision.
    let id = scene.ask(&scene.alice, "");
    let mut bob = scene.f.login(&scene.bob);
    bob.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    admin.run(&format!("REVOKE {} FROM {}", scene.dba, scene.bob));
    bob.refused(&format!("SELECT scope.approve({id})"), "42501");
    bob.run("ROLLBACK");
    admin.run(&format!("GRANT {} TO {}", scene.dba, scene.bob));
    // Whoever asked must be able to at the beginning.
    admin.run(&format!("REVOKE {} FROM {}", scene.oncall, scene.alice));
    let said = scene.decide(&scene.bob, "approve", id);
    assert!(said.starts_with("failed"), "{said}");
    assert_eq!(scene.state(id), "failed");
    scene.does_not_read(&scene.alice);
    admin.run(&format!("GRANT {} TO {}", scene.oncall, scene.alice));
    // So must the policy's creator …
    let maker = scene.f.role("maker", "LOGIN");
    admin.run(&format!(
        "GRANT {} TO {maker} WITH ADMIN OPTION; GRANT EXECUTE ON FUNCTION scope.create_request_policy, scope.drop_request_policy TO {maker};
         SELECT scope.drop_request_policy('prod')",
        scene.owner
    ));
    scene
        .f
        .login(&maker)
        .run(&scene.policy_sql("prod", "membership", &scene.owner, ""));
    let id = scene.ask(&scene.alice, ", starts_at => now() + '2 s'");
    scene.decide(&scene.bob, "approve", id);
    admin.run(&format!("REVOKE {} FROM {maker} CASCADE", scene.owner));
    wait_until("it has failed", 20, || scene.state(id) == "failed");
    scene.does_not_read(&scene.alice);
    // … and the policy.
    scene.f.admin().run(&format!(
        "GRANT {} TO {maker} WITH ADMIN OPTION",
        scene.owner
    ));
    let id = scene.ask(&scene.alice, "");
    scene
        .f
        .login(&maker)
        .run("SELECT scope.drop_request_policy('prod')");
    scene
        .f
        .login(&scene.bob)
        .refused(&format!("SELECT scope.approve({id})"), "55000");
    scene.policy("prod", "");
    // A role of the same name is another role.
    admin.run(&format!(
        "DROP ROLE {0}; CREATE ROLE {0} LOGIN IN ROLE {1}",
        scene.alice, scene.oncall
    ));
    let said = scene.decide(&scene.bob, "approve", id);
    assert!(said.starts_with("failed"), "{said}");
    scene.does_not_read(&scene.alice);
}

#[test]
fn attack_a_policy_that_gives_what_its_creator_has_not() {
    let scene = Scene::new("request_creator");
    let maker = scene.f.role("maker", "LOGIN");
    let mut admin = scene.f.admin();
    admin.run(&format!("GRANT EXECUTE ON FUNCTION scope.create_request_policy, scope.drop_request_policy TO {maker}, {}", scene.alice));
    let mut session = scene.f.login(&maker);
    for (kind, target) in [
        ("membership", scene.owner.as_str()),
        ("statement", &scene.owner),
        ("credential", &scene.scope),
        ("membership", "pg_write_server_files"),
        ("membership", "pg_read_all_data"),
    ] {
        session.refused(&scene.policy_sql("mine", kind, target, ""), "42501");
    }
    // Another's policy is not theirs to change, nor what it gives.
    scene.policy("prod", "");
    session.refused(
        &scene.policy_sql("prod", "membership", &scene.owner, ", replace => true"),
        "42501",
    );
    session.refused("SELECT scope.drop_request_policy('prod')", "42501");
    // With the right to one target, no other comes into it.
    admin.run(&format!(
        "GRANT {} TO {maker} WITH ADMIN OPTION",
        scene.oncall
    ));
    session.run(&scene.policy_sql("mine", "membership", &scene.oncall, ""));
    session.refused(
        &scene.policy_sql("mine", "membership", &scene.owner, ", replace => true"),
        "42501",
    );
    // A right that ends makes nothing that stays.
    let cred = admin.issue("'orders'");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {}",
        cred.role
    ));
    cred.connect().refused(
        &scene.policy_sql("its", "membership", &scene.owner, ""),
        "42501",
    );
}

#[test]
fn attack_the_history_is_changed() {
    let scene = Scene::new("request_history");
    scene.policy("prod", "");
    let id = scene.ask(&scene.alice, "");
    let mut admin = scene.f.admin();
    for sql in [
        "UPDATE scope.request_log SET note = 'x'",
        "DELETE FROM scope.request_log",
        "TRUNCATE scope.request_log",
    ] {
        admin.denied(sql, "42501");
    }
    let writer = scene.f.role(
        "writer",
        "LOGIN IN ROLE pg_write_all_data, pg_read_all_data",
    );
    let mut writer = scene.f.login(&writer);
    for sql in [
        "INSERT INTO scope.request_log (request, revision, event, state, details) VALUES (1, 1, 'approved', 'pending', '{}')",
        "UPDATE _scope.request SET state = 'approved'",
        "UPDATE _scope.request_policy SET definition = '{}'",
        "DELETE FROM _scope.request_told",
    ] {
        writer.denied(sql, "42501");
    }
    assert_eq!(scene.events(id), ["asked"]);
    scene.does_not_read(&scene.alice);
}

#[test]
fn attack_strangers_hold_up_or_read_what_others_ask_for() {
    let scene = Scene::new("request_strangers");
    scene.policy("prod", "");
    let id = scene.ask(&scene.alice, "");
    let mallory = scene.f.role("mallory", "LOGIN");
    let mut mallory = scene.f.login(&mallory);
    mallory.run("BEGIN");
    for call in [
        format!("SELECT scope.approve({id})"),
        format!("SELECT scope.deny({id})"),
        format!("SELECT scope.revoke({id})"),
        format!("SELECT scope.withdraw({id})"),
        format!("SELECT scope.alter_request({id})"),
        format!("SELECT * FROM scope.take_credential({id})"),
    ] {
        mallory.run("SAVEPOINT s");
        mallory.refused(&call, "42501");
        mallory.run("ROLLBACK TO s");
    }
    assert!(mallory.rows("SELECT * FROM scope.requests").is_empty());
    assert!(mallory.rows("SELECT * FROM scope.my_options()").is_empty());
    mallory.denied("SELECT * FROM scope.request_log", "42501");
    // With all that still open, the right people go on; and so do two who ask at the same time.
    let mut dave = scene.f.login(&scene.dave);
    dave.run(&format!(
        "BEGIN; SELECT scope.request_access('{}', reason => 'x')",
        scene.owner
    ));
    assert!(
        scene
            .decide(&scene.bob, "approve", id)
            .starts_with("active")
    );
    let other = scene.ask(&scene.dave, "");
    assert!(other > id + 1);
    dave.run("COMMIT");
    mallory.run("COMMIT");
}
