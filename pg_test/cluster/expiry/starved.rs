//! Deadlines that hold whatever becomes of the workers: no slot is free, the launcher is stopped, the end is suspended, a standby
//! replays nothing.

use std::io::Write;
use std::time::Duration;

use super::{assert_login_refused, launcher, wait_for_deadline};
use crate::harness::*;

/// A person who inherits what a group owns, until the deadline.
struct Scene<'a> {
    f: Fixture<'a>,
    person: String,
    group: String,
    deadline: String,
}

impl<'a> Scene<'a> {
    fn new(server: &'a Server, name: &str) -> Self {
        let f = Fixture::on(server, name);
        let (person, group) = (f.role("person", "LOGIN"), f.role("group", "NOLOGIN"));
        f.admin().run(&format!(
            "CREATE SCHEMA den AUTHORIZATION {group};
             ALTER TABLE vault OWNER TO {group};
             CREATE TABLE own (x int); INSERT INTO own VALUES (1); ALTER TABLE own OWNER TO {person};
             CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 42';
             REVOKE ALL ON FUNCTION peek() FROM PUBLIC; GRANT EXECUTE ON FUNCTION peek() TO {group};
             CREATE VIEW window_in AS SELECT secret FROM vault; ALTER VIEW window_in OWNER TO {person};
             CREATE FUNCTION lend() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT secret FROM vault); END';
             ALTER FUNCTION lend() OWNER TO {person};
             GRANT SELECT ON window_in TO PUBLIC;
             SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO {group}"
        ));
        Scene {
            f,
            person,
            group,
            deadline: String::new(),
        }
    }

    fn grant(&mut self, valid_for: &str) {
        self.deadline = self.f.admin().text(&format!(
            "SELECT scope.grant_temporary('{}', '{}', '{valid_for}')",
            self.group, self.person
        ));
    }

    /// And a second more.
    fn wait(&self, server: &Server) {
        let mut admin = server.admin(&self.f.name);
        let passed = format!(
            "clock_timestamp() > {}::timestamptz + interval '1 s'",
            literal(&self.deadline)
        );
        wait_until("the deadline has passed", 30, || admin.holds(&passed));
    }
}

#[track_caller]
fn assert_over(refusal: &Refusal) {
    assert_eq!(refusal.code, "42501", "{refusal}");
    assert!(
        refusal.message.contains("temporary membership") && refusal.detail.contains("It ended at"),
        "{refusal}"
    );
}

/// Everything that the membership gave is refused, and nothing else.
fn assert_ends(server: &Server, scene: &mut Scene<'_>, valid_for: &str) {
    let deputy = scene.f.role("deputy", "LOGIN");
    let both = scene.f.role("both", "LOGIN");
    let stranger = scene.f.role("stranger", "LOGIN");
    let heir = scene.f.role("heir", "LOGIN");
    let (person, group) = (scene.person.clone(), scene.group.clone());
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "GRANT {person} TO {deputy}; GRANT SELECT ON orders TO {heir}"
    ));
    admin.run(&format!(
        "SELECT scope.grant_temporary('{group}', '{both}', '{valid_for}'); GRANT {group} TO {both}; GRANT SELECT ON own TO {both}"
    ));
    scene.grant(valid_for);
    let login = |role: &str| scene.f.login(role);
    let mut fresh = login(&person);
    fresh.run("UPDATE vault SET secret = secret; SELECT peek(); CREATE TABLE den.mine (x int); SELECT lo_get(4711)");
    let mut block = login(&person);
    block.run("BEGIN; SELECT * FROM vault");
    let mut cursor = login(&person);
    cursor.run("BEGIN; DECLARE c CURSOR FOR SELECT secret FROM vault, generate_series(1, 9); FETCH 1 FROM c");
    let mut prepared = login(&person);
    prepared
        .run("PREPARE p AS SELECT * FROM vault; EXECUTE p; PREPARE q AS SELECT peek(); EXECUTE q");
    let mut deputies = login(&deputy);
    deputies.run("SELECT * FROM vault");
    let (mut boths, mut strangers, mut heirs) = (login(&both), login(&stranger), login(&heir));
    boths.run("SELECT * FROM vault");
    strangers.run("SELECT * FROM window_in; SELECT lend()");
    scene.wait(server);

    assert_over(&block.fails("SELECT * FROM vault"));
    assert_over(&cursor.fails("FETCH 1 FROM c"));
    assert_over(&prepared.fails("EXECUTE p"));
    assert_over(&prepared.fails("EXECUTE q"));
    assert_over(&deputies.fails("SELECT * FROM vault"));
    for sql in [
        "UPDATE vault SET secret = 'mine'",
        "SELECT * FROM vault",
        "INSERT INTO vault VALUES ('x')",
        "DELETE FROM vault",
        "SELECT peek()",
        "SELECT peek() + 1",
        "SELECT * FROM window_in",
        "SELECT lend()",
        "COPY vault TO STDOUT",
        "COPY (SELECT 1) TO STDOUT",
        "CREATE TABLE den.other (x int)",
        "ALTER TABLE vault ADD COLUMN y int",
        "DROP TABLE den.mine",
        "TRUNCATE vault",
        "LOCK TABLE vault",
        "ANALYZE vault",
        "COMMENT ON TABLE vault IS 'x'",
        "ALTER TABLE vault OWNER TO CURRENT_USER",
        "CREATE INDEX ON vault (secret)",
        "DO $$ BEGIN UPDATE vault SET secret = 'mine'; END $$",
        "EXPLAIN ANALYZE SELECT * FROM vault",
        "SELECT lo_get(4711)",
        "SELECT lo_unlink(4711)",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_has_role(CURRENT_USER, 'pg_monitor', 'USAGE')",
        "CREATE TEMP TABLE t AS SELECT * FROM vault",
    ] {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = fresh.attempt_by(protocol, sql).expect_err(sql);
            assert_eq!(refusal.code, "42501", "{protocol:?} {sql}: {refusal}");
            assert!(
                refusal.message.contains("temporary membership"),
                "{sql}: {refusal}"
            );
        }
    }
    let grant = format!("GRANT ALL ON vault TO {stranger}");
    assert_over(&fresh.fails(&grant));
    assert_over(&login(&person).fails("SELECT * FROM vault"));
    assert_over(&fresh.fails(&format!("SET ROLE {group}")));
    fresh.run("RESET ROLE");
    // Borrowed by others: a view and a function of the person's own.
    assert_over(&strangers.fails("SELECT * FROM window_in"));
    assert_over(&strangers.fails("SELECT lend()"));
    // What needs no right goes on, and so does everybody else.
    block.run("ROLLBACK");
    assert_eq!(block.text("SELECT 1 + 1"), "2");
    assert_eq!(block.text("SELECT current_user"), person);
    fresh.run("BEGIN; COMMIT");
    fresh.run("DISCARD ALL");
    boths.run(
        "SELECT * FROM vault; UPDATE vault SET secret = secret; SELECT * FROM own; SELECT peek()",
    );
    heirs.run("SELECT * FROM orders");
    assert_eq!(strangers.fails("SELECT * FROM vault").code, "42501");
}

#[test]
fn inherited_rights_end_while_the_end_is_suspended() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let mut scene = Scene::new(&server, "starved_off");
    assert_ends(&server, &mut scene, "5 s");
    // Taken away, and the person works on with what is left; or granted again.
    scene.f.admin().run("SELECT scope.expire_roles()");
    let mut s = scene.f.login(&scene.person);
    s.run("SELECT * FROM own");
    assert_eq!(s.fails("SELECT * FROM vault").code, "42501");
    scene.grant("1 hour");
    s.run("SELECT * FROM vault; SELECT peek()");
}

#[test]
fn inherited_rights_end_while_others_keep_every_worker_slot() {
    // The launchers', and two that somebody's parallel queries hold.
    let server = Server::start(
        Options::default()
            .set("max_worker_processes", "4")
            .set("max_parallel_workers", "4"),
    );
    let mut scene = Scene::new(&server, "starved_slots");
    let mut hogs: Vec<Session> = (0..3).map(|_| scene.f.admin()).collect();
    let parallel = match server.version() {
        ..160_000 => "force_parallel_mode",
        _ => "debug_parallel_query",
    };
    std::thread::scope(|threads| {
        for hog in &mut hogs {
            hog.run(&format!("SET {parallel} = on"));
            threads.spawn(|| hog.attempt("SELECT pg_sleep(25)"));
        }
        wait_until("the slots are taken", 15, || {
            scene.f.admin().holds(
                "(SELECT count(*) >= 2 FROM pg_stat_activity WHERE backend_type = 'parallel worker')",
            )
        });
        assert_ends(&server, &mut scene, "6 s");
        scene.f.admin().run(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(25)%'",
        );
    });
}

#[test]
fn inherited_rights_end_on_a_standby_that_replays_nothing() {
    let primary = Server::start(Options::default());
    let mut scene = Scene::new(&primary, "starved_standby");
    let standby = primary.standby(Options::default());
    scene.grant("6 s");
    let mut admin = standby.admin("postgres");
    let granted = format!(
        "EXISTS (SELECT FROM scope.credentials WHERE granted_to = '{}')",
        scene.person
    );
    let mut here = standby.admin(&scene.f.name);
    wait_until("the grant is there", 20, || here.holds(&granted));
    admin.run("SELECT pg_wal_replay_pause()");
    let mut s = standby.login(&scene.person, &scene.f.name);
    s.run("SELECT * FROM vault");
    scene.wait(&standby);
    assert_over(&s.fails("SELECT * FROM vault"));
    assert_eq!(s.text("SELECT 1"), "1");
    assert_over(
        &standby
            .login(&scene.person, &scene.f.name)
            .fails("SELECT peek()"),
    );
    admin.run("SELECT pg_wal_replay_resume()");
    wait_until("what is left can be used again", 30, || {
        s.attempt("SELECT * FROM own").is_ok()
    });
}

/// Rows that wait in a store reach the client without a query or a statement: of a cursor WITH HOLD, of a portal that has begun.
#[test]
fn attack_stored_rows_are_executed_after_the_deadline() {
    let server = super::without_worker();
    let mut scene = Scene::new(&server, "starved_stored");
    let mut admin = scene.f.admin();
    let cred = admin.issue("'orders', valid_for => '5 s'");
    let revoked = admin.issue("'orders', valid_for => '1 hour'");
    scene.grant("5 s");
    let rows = |answers: &[Answer]| answers.iter().filter(|(kind, _)| *kind == b'D').count();
    let open = |role: &str, before: &str, from: &str| {
        let mut wire = Wire::open(scene.f.server, role, &scene.f.name);
        wire.query(before);
        let held =
            format!("DECLARE h CURSOR WITH HOLD FOR SELECT 1 FROM {from}, generate_series(1, 20)");
        let answers = wire.query(&held);
        assert!(answers.iter().any(|(kind, _)| *kind == b'C'), "{answers:?}");
        wire.execute("h", 5);
        assert_eq!(rows(&wire.sync()), 5);
        wire.query("BEGIN");
        wire.bind("s", "SHOW ALL");
        wire.execute("s", 5);
        wire.send(Some(b'H'), b"");
        wire
    };
    let acting = format!("SET ROLE {}", scene.group);
    let sessions = [
        ("28000", open(&cred.role, "", "orders")),
        ("28000", open(&revoked.role, "", "orders")),
        ("42501", open(&scene.person, "", "vault")),
        ("42501", open(&scene.person, &acting, "vault")),
    ];
    // Without a held cursor, which would be asked about by itself.
    let mut bare = Wire::open(scene.f.server, &scene.person, &scene.f.name);
    bare.query(&acting);
    bare.query("BEGIN");
    bare.bind("s", "SHOW ALL");
    bare.execute("s", 5);
    bare.send(Some(b'H'), b"");
    // A client that reads slowly.
    let mut slow = Wire::open(scene.f.server, &cred.role, &scene.f.name);
    slow.query(
        "DECLARE h CURSOR WITH HOLD FOR SELECT repeat('x', 1000) FROM generate_series(1, 20000)",
    );
    slow.execute("h", 0);
    slow.send(Some(b'S'), b"");
    admin.run(&format!("SELECT scope.revoke_role('{}')", revoked.role));
    wait_for_deadline(&server, &cred);
    scene.wait(&server);

    for (sqlstate, mut wire) in sessions {
        wire.execute("s", 5);
        let answers = wire.sync();
        assert!(has_error(&answers, sqlstate), "{answers:?}");
        // Those of before.
        assert_eq!(rows(&answers), 5, "{answers:?}");
        wire.query("ROLLBACK");
        // The second time PostgreSQL knows it for a portal that has failed.
        for sqlstate in [sqlstate, "55000"] {
            wire.execute("h", 5);
            let answers = wire.sync();
            assert!(has_error(&answers, sqlstate), "{answers:?}");
            assert_eq!(rows(&answers), 0, "{answers:?}");
        }
    }
    bare.execute("s", 5);
    let answers = bare.sync();
    assert!(has_error(&answers, "42501"), "{answers:?}");
    assert_eq!(rows(&answers), 5, "{answers:?}");
    let answers = slow.until_ready();
    assert!(has_error(&answers, "28000"), "{}", answers.len());
    assert!(rows(&answers) < 20_000);
}

#[test]
fn a_copy_that_goes_on_for_ever_ends_with_the_membership() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let mut scene = Scene::new(&server, "starved_copy");
    scene.grant("4 s");
    let mut s = scene.f.login(&scene.person);
    let mut copy = s.client.copy_in("COPY vault FROM STDIN").expect("COPY");
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        // The driver tells of an error at the end.
        if copy
            .write_all(b"more\n")
            .and_then(|()| copy.flush())
            .is_err()
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let refusal: Refusal = copy
        .finish()
        .expect_err("the COPY outlives the deadline")
        .into();
    assert_eq!(refusal.code, "28000", "{refusal}");
    scene
        .f
        .admin()
        .assert_that("(SELECT count(*) = 1 FROM vault)");
}

/// The process that ends sessions does nothing.
#[test]
fn a_login_ends_while_the_launcher_is_stopped() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "starved_launcher");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '5 s'");
    let kept = admin.issue("'orders', valid_for => '5 s'");
    let revoked = admin.issue("'orders', valid_for => '1 hour'");
    let pid = launcher(&server);
    assert!(signal("STOP", &pid));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let (mut idle, mut busy, mut cursor) = (cred.connect(), cred.connect(), cred.connect());
        let (mut renewed, mut gone) = (kept.connect(), revoked.connect());
        idle.run("SELECT * FROM orders");
        cursor.run("BEGIN; DECLARE c CURSOR FOR SELECT * FROM orders; FETCH 1 FROM c");
        gone.run("SELECT * FROM orders");
        admin.run(&format!("SELECT scope.revoke_role('{}')", revoked.role));
        assert_eq!(gone.fails("SELECT 1").code, "28000");
        std::thread::scope(|threads| {
            let lasting = threads.spawn(|| renewed.attempt("SELECT pg_sleep(8)"));
            let cut = threads.spawn(|| busy.attempt("SELECT pg_sleep(9)"));
            std::thread::sleep(Duration::from_millis(500));
            admin.run(&format!(
                "SELECT scope.renew_role('{}', '1 hour')",
                kept.role
            ));
            wait_for_deadline(&server, &cred);
            let refusal = cut.join().expect("a thread");
            // A renewal of anybody makes a running statement wait for the launcher.
            drop(refusal);
            lasting
                .join()
                .expect("a thread")
                .expect("it has been renewed");
        });
        for sql in [
            "SELECT 1",
            "SELECT * FROM orders",
            "SHOW work_mem",
            "COPY orders TO STDOUT",
        ] {
            let refusal = idle.fails(sql);
            assert_eq!(refusal.code, "28000", "{sql}: {refusal}");
            assert!(
                !refusal.detail.is_empty() && !refusal.hint.is_empty(),
                "{refusal}"
            );
        }
        assert_eq!(cursor.fails("FETCH 1 FROM c").code, "28000");
        assert_login_refused(cred.try_connect());
        renewed.run("SELECT * FROM orders");
    }));
    assert!(signal("CONT", &pid));
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_running_statement_of_a_login_is_cancelled_while_the_launcher_is_stopped() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "starved_running");
    let cred = f.admin().issue("'orders', valid_for => '4 s'");
    let pid = launcher(&server);
    let mut s = cred.connect();
    assert!(signal("STOP", &pid));
    let start = std::time::Instant::now();
    let refusal = s.fails("SELECT pg_sleep(30)");
    assert!(signal("CONT", &pid));
    assert_eq!(refusal.code, "28000", "{refusal}");
    assert!(refusal.detail.contains("deadline"), "{refusal}");
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// Whoever has CREATEROLE, or more, and ALTER ROLE.
#[test]
fn a_deadline_that_was_moved_by_hand_holds_as_it_was_recorded() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "starved_hand");
    let mut admin = f.admin();
    let mut scene_roles = Vec::new();
    let maker = f.role("maker", "LOGIN CREATEROLE");
    for change in ["VALID UNTIL 'infinity'", "VALID UNTIL '2100-01-01'"] {
        for by in [&maker, &"postgres".to_owned()] {
            let cred = admin.issue("'orders', valid_for => '4 s'");
            let mut s = cred.connect();
            s.run("SELECT * FROM orders");
            if server.version() > 15 {
                admin.run(&format!("GRANT {} TO {maker} WITH ADMIN OPTION", cred.role));
            }
            f.login(by)
                .run(&format!("ALTER ROLE {} {change}", cred.role));
            scene_roles.push((cred, s));
        }
    }
    for (cred, _) in &scene_roles {
        let role = literal(&cred.role);
        admin.assert_that(&format!(
            "(SELECT valid_until = {}::timestamptz AND changed_by_hand = '{{VALID UNTIL}}' FROM scope.credentials WHERE role = {role})",
            literal(&cred.valid_until)
        ));
        admin.assert_that(&format!(
            "(SELECT valid_until = {}::timestamptz FROM scope.roles WHERE role = {role})",
            literal(&cred.valid_until)
        ));
        let fix = admin.text(&format!(
            "SELECT fix FROM scope.review() WHERE code = 'changed_by_hand' AND role_name = {role}"
        ));
        admin.run(&fix);
        admin.assert_that(&format!(
            "(SELECT changed_by_hand IS NULL FROM scope.credentials WHERE role = {role})"
        ));
        admin.run(&format!("ALTER ROLE {} VALID UNTIL 'infinity'", cred.role));
    }
    for (cred, s) in &mut scene_roles {
        wait_for_deadline(&server, cred);
        assert_eq!(s.fails("SELECT * FROM orders").code, "28000");
        assert_login_refused(server.try_login(&cred.role, &f.name));
        let renewal = format!("SELECT scope.renew_role('{}', '1 hour')", cred.role);
        assert_eq!(admin.fails(&renewal).code, "55000");
    }
    // LOGIN by hand does not bring back what has begun to end, and a membership is prolonged no more than a login.
    let (person, group) = (f.role("person", "LOGIN"), f.role("group", "NOLOGIN"));
    admin.run(&format!("ALTER TABLE vault OWNER TO {group}; SELECT scope.grant_temporary('{group}', '{person}', '2 s')"));
    let between = admin.text(&format!(
        "SELECT role FROM scope.credentials WHERE granted_to = '{person}'"
    ));
    admin.run(&format!("ALTER ROLE {between} VALID UNTIL 'infinity'"));
    let mut s = f.login(&person);
    wait_until("the membership has ended", 20, || {
        s.attempt("SELECT * FROM vault").is_err()
    });
    let ended = admin.rows("SELECT * FROM scope.expire_roles()");
    for (cred, _) in &scene_roles {
        assert!(!admin.role_exists(&cred.role), "{ended:?}");
    }
}

/// A restore puts VALID UNTIL before the label; labels of earlier builds say nothing of a deadline.
#[test]
fn labels_without_a_deadline_and_restored_ones_hold_by_valid_until() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "starved_labels");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    let label = admin.text(&format!(
        "SELECT label FROM pg_shseclabel WHERE objoid = '{}'::regrole AND provider = 'scope_roles'",
        cred.role
    ));
    assert!(label.contains("\"valid_until\":"), "{label}");
    let mut old = label.clone();
    let start = old.find("\"valid_until\":").expect("a deadline");
    let end = start + old[start..].find(',').expect("more") + 1;
    old.replace_range(start..end, "");
    let relabel = |label: &str| {
        format!(
            "SECURITY LABEL FOR scope_roles ON ROLE {} IS {}",
            cred.role,
            literal(label)
        )
    };
    admin.run(&relabel(&old));
    admin.run(&format!(
        "ALTER ROLE {} VALID UNTIL '2100-01-01'",
        cred.role
    ));
    cred.connect().run("SELECT * FROM orders");
    admin.assert_that(&format!(
        "(SELECT changed_by_hand IS NULL AND valid_until = '2100-01-01' FROM scope.credentials WHERE role = '{}')",
        cred.role
    ));
    // A renewal records what it decides, and the limit counts from the issue.
    admin.run(&format!(
        "SELECT scope.renew_role('{}', '2 hours')",
        cred.role
    ));
    admin.run(&format!(
        "ALTER ROLE {} VALID UNTIL '2100-01-01'",
        cred.role
    ));
    admin.assert_that(&format!(
        "(SELECT valid_until < now() + interval '3 hours' FROM scope.credentials WHERE role = '{}')",
        cred.role
    ));
    // In the order of pg_dumpall.
    admin.run(&relabel(&label));
    cred.connect().run("SELECT * FROM orders");
    let odd = admin.fails(&relabel(
        &label.replace("\"valid_until\":\"2", "\"valid_until\":\"x"),
    ));
    assert_eq!(odd.code, "22023", "{odd}");
    // A rotation hands on the recorded deadline, not what somebody made of it.
    let next = admin.handed(&format!(
        "scope.rotate_password('{}', '10 minutes')",
        cred.role
    ));
    admin.assert_that(&format!(
        "(SELECT bool_and(valid_until < now() + interval '2 hours') FROM scope.credentials WHERE role IN ('{}', '{}'))",
        cred.role, next.role
    ));
}

/// A person prepares a view or a function, and a friend's statement reads on in it for hours.
#[test]
fn attack_a_long_statement_borrows_what_has_ended() {
    let server = super::without_worker();
    let mut scene = Scene::new(&server, "starved_lent");
    let friend = scene.f.role("friend", "LOGIN");
    scene.grant("5 s");
    let mut through: Vec<(&str, Session)> = [
        "SELECT pg_sleep(1) FROM window_in, generate_series(1, 20)",
        "SELECT lend(), pg_sleep(1) FROM generate_series(1, 20)",
        "DO $$ BEGIN FOR i IN 1..20 LOOP PERFORM * FROM window_in, pg_sleep(1); END LOOP; END $$",
    ]
    .into_iter()
    .map(|sql| (sql, scene.f.login(&friend)))
    .collect();
    let mut others = scene.f.login(&friend);
    std::thread::scope(|threads| {
        let running: Vec<_> = through
            .iter_mut()
            .map(|(sql, session)| {
                (
                    *sql,
                    threads.spawn(move || (session.fails(sql), std::time::Instant::now())),
                )
            })
            .collect();
        // Statements that borrow nothing go on, also where an earlier one has.
        others.run("SELECT * FROM window_in; SELECT lend()");
        let lasting = threads.spawn(move || others.attempt("SELECT pg_sleep(8)"));
        scene.wait(&server);
        let passed = std::time::Instant::now();
        for (sql, running) in running {
            let (refusal, when) = running.join().expect("a thread");
            let expected: &[&str] = if sql.starts_with("SELECT pg_sleep") {
                &["28000"]
            } else {
                &["28000", "42501"]
            };
            assert!(
                expected.contains(&refusal.code.as_str()),
                "{sql}: {refusal}"
            );
            assert!(when < passed + Duration::from_secs(2), "{sql}");
        }
        lasting
            .join()
            .expect("a thread")
            .expect("nothing is borrowed");
    });
}
