//! Policies and requests that a copy or a restore has brought.

use std::fs;

use super::Scene;
use crate::harness::*;

const ADOPT: &str = "SELECT role_name, kind, created_by, database FROM scope.adopt_restored() WHERE kind = 'request policy'";

fn events(admin: &mut Session, id: i64) -> Vec<String> {
    admin.column(&format!(
        "SELECT event FROM scope.request_log WHERE request = {id} ORDER BY at"
    ))
}

fn output(command: &mut std::process::Command) -> String {
    let output = command.output().expect("a program");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_copy_of_a_database_gives_nothing_until_it_is_adopted() {
    let server = Server::start(Options::default());
    let scene = Scene::on(Fixture::on(&server, "request_copy"));
    scene.policy("prod", "");
    let waits = scene.ask(&scene.alice, "");
    let lasts = {
        scene.policy("short", ", max_duration => '1 h'");
        let id = scene.ask(&scene.dave, ", policy => 'short'");
        scene.decide(&scene.bob, "approve", id);
        id
    };
    // Somebody else has come to the name of who could approve.
    let eve = scene.f.role("eve", "LOGIN");
    let (owner, oncall, data) = (&scene.owner, &scene.oncall, &scene.data);
    scene.f.admin().run(&format!(
        "SELECT scope.create_request_policy('theirs', '{{{owner}}}', '{{{oncall}}}', '[{{\"role\": \"{data}\"}}]');
         ALTER ROLE {data} RENAME TO {data}_of_old; CREATE ROLE {data}; GRANT {data} TO {eve}"
    ));
    wait_until("nobody else is in the database", 30, || {
        let mut admin = server.admin("postgres");
        admin.run(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            scene.f.name
        ));
        let copy = format!("CREATE DATABASE request_copied TEMPLATE {}", scene.f.name);
        admin.attempt(&copy).is_ok()
    });
    let db = "request_copied";
    let ask = format!(
        "SELECT request FROM scope.request_access('{}', '1 h', 'x', policy => 'prod')",
        scene.owner
    );
    let mut alice = server.login(&scene.alice, db);
    assert!(alice.rows("SELECT * FROM scope.my_options()").is_empty());
    alice.refused(&ask, "42704");
    for id in [waits, lasts] {
        server
            .login(&scene.bob, db)
            .refused(&format!("SELECT scope.approve({id})"), "42704");
        server
            .login(&scene.dave, db)
            .refused(&format!("SELECT scope.withdraw({id})"), "42704");
    }
    let mut admin = server.admin(db);
    let found = "SELECT concat_ws(' ', code, object_name, fix) FROM scope.review() WHERE code LIKE 'request%' ORDER BY 1";
    assert_eq!(
        admin.column(found),
        ["prod", "short", "theirs"].map(|name| format!(
            "request_not_adopted request policy {name} SELECT * FROM scope.adopt_restored();"
        ))
    );
    assert_eq!(
        admin.rows(ADOPT),
        ["prod", "short", "theirs"]
            .map(|name| [name, "request policy", "postgres", db].map(|cell| Some(cell.to_owned())))
    );
    assert!(
        admin
            .rows("SELECT * FROM scope.adopt_restored()")
            .is_empty()
    );
    assert_eq!(
        admin.column("SELECT code || ' ' || object_name FROM scope.review() WHERE code LIKE 'request%' ORDER BY 1"),
        ["request_undecided request policy theirs"]
    );
    assert_eq!(events(&mut admin, waits), ["asked", "expired"]);
    assert_eq!(
        events(&mut admin, lasts),
        ["asked", "approved", "started", "expired"]
    );
    admin.assert_that(&format!(
        "(SELECT bool_and(state = 'expired') FROM scope.requests) AND EXISTS (SELECT FROM scope.request_log
            WHERE request = {waits} AND event = 'expired' AND note = 'it came with a copy or a restore' AND login = 'postgres')"
    ));
    let theirs = alice.text(&ask.replace("'prod'", "'theirs'"));
    server
        .login(&eve, db)
        .refused(&format!("SELECT scope.approve({theirs})"), "42501");
    // It works here now.
    let id = alice.text(&ask);
    assert!(id.parse::<i64>().expect("a number") > lasts);
    let said = server
        .login(&scene.bob, db)
        .text(&format!("SELECT scope.approve({id})"));
    assert!(said.starts_with("active"), "{said}");
    // The one that was copied has its own still.
    assert_eq!(scene.state(waits), "pending");
    assert_eq!(scene.state(lasts), "active");
    scene.decide(&scene.bob, "approve", waits);
    scene.reads(&scene.alice);
}

/// Roles by pg_dumpall, the database by pg_dump: with other OIDs for both.
#[test]
fn policies_of_another_server_are_adopted_by_names_and_nothing_that_was_approved_there_begins() {
    let old = Server::start(Options::default());
    let scene = Scene::on(Fixture::on(&old, "request_restore"));
    let gone = scene.f.role("gone", "NOLOGIN");
    let maker = scene.f.role("maker", "LOGIN");
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "GRANT {0} TO {maker} WITH ADMIN OPTION; GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {maker}",
        scene.owner
    ));
    scene.f.login(&maker).run(&format!(
        "SELECT scope.create_request_policy('made', '{{{0}}}', '{{{1},{gone}}}', '[{{\"role\": \"{2}\"}}, {{\"role\": \"{gone}\"}}]',
            require => 'any', auto_approve => '{{\"max_duration\": \"1 min\", \"member_of\": \"{gone}\"}}', break_glass => '{{{gone},{3}}}')",
        scene.owner, scene.oncall, scene.dba, scene.carol
    ));
    // Approved before: it would begin tomorrow.
    let approved = scene.ask(&scene.alice, ", starts_at => now() + '1 day'");
    scene.decide(&scene.bob, "approve", approved);
    let waits = scene.ask(&scene.dave, "");
    admin.run(&format!("DROP ROLE {gone}"));
    let folder = old.socket().with_file_name("");
    let roles = output(old.client("pg_dumpall").arg("--globals-only")).replacen(
        "CREATE ROLE postgres;",
        "",
        1,
    );
    let (dump, script) = (folder.join("request.dump"), folder.join("roles.sql"));
    fs::write(&script, roles).expect("the roles");
    output(
        old.client("pg_dump")
            .args(["-Fc", "-f"])
            .arg(&dump)
            .arg(&scene.f.name),
    );

    let new = Server::start(Options::default());
    let db = "restored";
    new.admin("postgres")
        .run("CREATE ROLE before LOGIN; CREATE ROLE before_2; CREATE ROLE before_3");
    new.admin("postgres").run("CREATE DATABASE restored");
    output(
        new.client("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&script)
            .arg("postgres"),
    );
    output(
        new.client("pg_restore")
            .args(["--exit-on-error", "-d", db])
            .arg(&dump),
    );
    let mut admin = new.admin(db);
    // The servers of these tests are copies of one, and so say that they are the same.
    for table in ["request", "request_policy"] {
        admin.run(&format!("UPDATE _scope.{table} SET origin = '7' || origin"));
    }
    let mut alice = new.login(&scene.alice, db);
    let ask = format!(
        "SELECT request FROM scope.request_access('{}', reason => 'x')",
        scene.owner
    );
    alice.refused(&ask, "42501");
    // Who has the OID now that somebody had there is somebody else.
    admin.run(&format!(
        "UPDATE _scope.request SET login_oid = '{0}'::regrole, person = person || jsonb_build_object('login', '{0}'::regrole::oid::bigint) WHERE id = {waits}",
        scene.bob
    ));
    let mut bob = new.login(&scene.bob, db);
    assert!(
        bob.rows("SELECT * FROM scope.requests WHERE mine")
            .is_empty()
    );
    assert_eq!(
        admin.rows(ADOPT),
        [["made", "request policy", &*maker, db].map(|cell| Some(cell.to_owned()))]
    );
    assert!(admin.rows(ADOPT).is_empty());
    for id in [approved, waits] {
        let events = events(&mut admin, id);
        assert_eq!(
            events.last().map(String::as_str),
            Some("expired"),
            "{events:?}"
        );
        bob.refused(&format!("SELECT scope.approve({id})"), "42704");
        bob.refused(&format!("SELECT scope.withdraw({id})"), "42704");
    }
    assert!(
        bob.rows("SELECT * FROM scope.requests WHERE mine")
            .is_empty()
    );
    // A name that no role has is nobody's, also when somebody comes to it.
    admin.run(&format!(
        "CREATE ROLE {gone}; CREATE ROLE late LOGIN IN ROLE {gone}"
    ));
    let mut late = new.login("late", db);
    assert!(late.rows("SELECT * FROM scope.my_options()").is_empty());
    admin.run(&format!("GRANT {} TO late", scene.oncall));
    let auto = late.rows(&format!(
        "SELECT state FROM scope.request_access('{}', '1 min', 'x')",
        scene.owner
    ));
    assert_eq!(auto, [[Some("pending".to_owned())]]);
    late.refused(
        &format!(
            "SELECT scope.request_access('{}', '2 min', 'x', break_glass => true)",
            scene.owner
        ),
        "42501",
    );
    let id = alice.text(&ask);
    late.refused(&format!("SELECT scope.approve({id})"), "42501");
    let said = bob.text(&format!("SELECT scope.approve({id})"));
    assert!(said.starts_with("active"), "{said}");
    assert_eq!(alice.text("SELECT secret FROM vault"), "treasure");
    // In the name of its creator, whose right is what counts.
    alice.run(&format!("SELECT scope.withdraw({id})"));
    admin.run(&format!("REVOKE {} FROM {maker} CASCADE", scene.owner));
    alice.refused(&ask, "42501");
}
