//! `window_rows`: in all sessions together, and over time.

use serde_json::json;

use super::Scene;
use crate::harness::*;
use crate::jwt::switch;

#[track_caller]
fn exhausted(s: &mut Session, sql: &str) {
    let refusal = s.refused(sql, "54000");
    assert!(refusal.detail.starts_with("window_rows: "), "{refusal}");
}

#[test]
fn window_counts_all_sessions_of_a_login_together() {
    let scene = Scene::new("window_sessions");
    scene.guard(&scene.scope, "window_rows => 100, \"window\" => '1 hour'");
    let (mut one, mut two) = (scene.session(), scene.session());
    assert_eq!(one.rows("SELECT * FROM many LIMIT 60").len(), 60);
    assert_eq!(two.rows("SELECT * FROM many LIMIT 40").len(), 40);
    for s in [&mut one, &mut two, &mut scene.session()] {
        exhausted(s, "SELECT 1");
        exhausted(s, "UPDATE many SET body = body WHERE id = 1 RETURNING 1");
        assert_eq!(
            s.copy_out("COPY many TO STDOUT").expect_err("COPY").code,
            "54000"
        );
    }
    // Each login of the scope has its own.
    let other = scene
        .f
        .admin()
        .handed(&format!("scope.create_credential('{{{}}}')", scene.scope))
        .role;
    assert_eq!(
        scene
            .f
            .login(&other)
            .rows("SELECT * FROM many LIMIT 100")
            .len(),
        100
    );
}

/// Sessions of admins work as their scope from the start.
#[test]
fn window_tells_logins_apart_that_work_as_their_scope() {
    let scene = Scene::new("window_admins");
    let mut admin = scene.f.admin();
    admin.run("CREATE SCHEMA managed");
    let logins = [(); 2].map(|()| admin.handed("scope.create_admin_role('{managed}')").role);
    let scope = admin.scope_of(&logins[0]);
    scene.guard(&scope, "window_rows => 10, \"window\" => '1 hour'");
    for login in &logins {
        let mut s = scene.f.login(login);
        assert_eq!(s.text("SELECT current_user"), scope);
        assert_eq!(s.rows("SELECT generate_series(1, 9)").len(), 9);
        exhausted(&mut s, "SELECT 1");
    }
}

/// Who the tokens speak of makes no difference: the role's rows are counted, whoever takes it, however they travel.
#[test]
fn window_of_a_role_that_tokens_name_is_one_for_all_its_users() {
    let scene = Scene::new("window_tokens");
    let gated = authenticator(&scene, &scene.scope);
    crate::jwt::allow_session_switches(&scene.f, &gated);
    let by_token = |s: &mut Session, subject: &str| {
        let token = sign(&json!({"role": scene.scope, "sub": subject, "exp": now() + 600}));
        s.run(&format!("BEGIN; {}", switch(&token)));
    };
    scene.guard(&scene.scope, "window_rows => 100, \"window\" => '1 hour'");
    let (mut one, mut two) = (scene.f.login(&gated), scene.f.login(&gated));
    by_token(&mut one, "alice");
    one.run("DECLARE c CURSOR FOR SELECT * FROM many");
    assert_eq!(one.rows("FETCH 40 FROM c").len(), 40);
    assert_eq!(one.rows("FETCH 10 FROM c").len(), 10);
    one.run("COMMIT");
    by_token(&mut two, "bob");
    let updated = "UPDATE many SET body = body WHERE id <= 20 RETURNING id";
    assert_eq!(two.rows(updated).len(), 20);
    let copied = two.copy_out("COPY (SELECT * FROM many LIMIT 10) TO STDOUT");
    assert_eq!(copied.expect("COPY").lines().count(), 10);
    two.run("COMMIT");
    // A portal that the protocol executes a few rows at a time.
    let token = sign(&json!({"role": scene.scope, "sub": "carol", "exp": now() + 600}));
    one.run(&format!(
        "SELECT scope.set_jwt_session({})",
        literal(&token)
    ));
    let mut transaction = one.client.transaction().expect("BEGIN");
    let portal = transaction
        .bind("SELECT * FROM many", &[])
        .expect("a portal");
    for _ in 0..2 {
        let batch = transaction.query_portal(&portal, 10).expect("ten more");
        assert_eq!(batch.len(), 10);
    }
    let refusal: Refusal = match transaction.query_portal(&portal, 1) {
        Ok(rows) => panic!("{} more than 100", rows.len()),
        Err(error) => error.into(),
    };
    assert_eq!(refusal.code, "54000", "{refusal}");
    drop(transaction);
    // All 100 are gone, for everyone who takes the role, by whatever kind of switch.
    exhausted(&mut one, "SELECT 1");
    by_token(&mut two, "dave");
    two.run("SAVEPOINT a");
    for sql in ["SELECT 1", updated] {
        exhausted(&mut two, sql);
        two.run("ROLLBACK TO a");
    }
    two.run("DECLARE c CURSOR FOR SELECT * FROM many");
    exhausted(&mut two, "FETCH 1 FROM c");
    two.run("ROLLBACK");
    // It is the role's window, and not that of those who take it or of its other members.
    assert_eq!(two.rows("SELECT generate_series(1, 101)").len(), 101);
    assert_eq!(
        scene.session().rows("SELECT * FROM many LIMIT 100").len(),
        100
    );
    let found = scene.alerts("window_rows");
    assert!(found.len() >= 5, "{found:#?}");
    for line in &found {
        assert_eq!(line["guarded_role"], json!(scene.scope), "{line}");
        assert_eq!(line["blocked"], json!(true), "{line}");
    }
    let subjects: std::collections::BTreeSet<&str> = found
        .iter()
        .filter_map(|line| line["subject"].as_str())
        .collect();
    assert_eq!(subjects.into_iter().collect::<Vec<_>>(), ["carol", "dave"]);
}

/// A login that takes the scope by token.
fn authenticator(scene: &Scene, scope: &str) -> String {
    let call = format!(
        "scope.create_authenticator('{}_api', '{{{scope}}}')",
        scene.f.name
    );
    scene.f.admin().handed(&call).role
}

/// Rolling back, disconnecting and failing give no row back that the client has.
#[test]
fn window_is_not_reset_by_rollback_savepoints_errors_or_a_new_session() {
    let scene = Scene::new("window_rollback");
    scene.guard(&scene.login, "window_rows => 100, \"window\" => '1 hour'");
    let mut s = scene.session();
    s.run("BEGIN; SAVEPOINT a");
    assert_eq!(s.rows("SELECT * FROM many LIMIT 30").len(), 30);
    s.run("ROLLBACK TO a");
    assert_eq!(s.rows("SELECT * FROM many LIMIT 30").len(), 30);
    s.run("ROLLBACK");
    // 30 rows, and an error after them.
    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
    let answers = wire.query("SELECT 1 / (31 - id) FROM many ORDER BY id");
    assert!(has_error(&answers, "22012"), "{answers:?}");
    drop(wire);
    let mut s = scene.session();
    let got = s
        .attempt("SELECT * FROM many LIMIT 11")
        .map(|rows| rows.len());
    assert_eq!(got.expect_err("more than were left").code, "54000");
    // What was left has been sent before the error.
    exhausted(&mut s, "SELECT 1");
}

#[test]
fn window_never_lets_more_pass_however_many_ask_at_once() {
    let scene = Scene::new("window_crowd");
    scene.guard(&scene.login, "window_rows => 2000, \"window\" => '1 hour'");
    let passed: usize = std::thread::scope(|threads| {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                threads.spawn(|| {
                    let mut wire = Wire::open(scene.f.server, &scene.login, &scene.f.name);
                    (0..40)
                        .map(|_| {
                            wire.query("SELECT * FROM many LIMIT 17")
                                .iter()
                                .filter(|(kind, _)| *kind == b'D')
                                .count()
                        })
                        .sum::<usize>()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a thread"))
            .sum()
    });
    assert_eq!(passed, 2000);
}

#[test]
fn window_moves_on() {
    let scene = Scene::new("window_moves");
    scene.guard(&scene.login, "window_rows => 10, \"window\" => '3 s'");
    let mut s = scene.session();
    let start = std::time::Instant::now();
    assert_eq!(s.rows("SELECT * FROM many LIMIT 10").len(), 10);
    exhausted(&mut s, "SELECT 1");
    wait_until("the window has passed", 20, || {
        s.attempt("SELECT * FROM many LIMIT 10").is_ok()
    });
    assert!(
        start.elapsed().as_millis() > 2_500,
        "after {:?}",
        start.elapsed()
    );
}

#[test]
fn window_alerts_once_and_lets_pass() {
    let scene = Scene::new("window_alert");
    scene.guard(
        &scene.login,
        "window_rows => 100, \"window\" => '1 hour', action => 'alert'",
    );
    let mut s = scene.session();
    assert_eq!(s.rows("SELECT * FROM many LIMIT 100").len(), 100);
    assert_eq!(scene.alerts("window_rows").len(), 0);
    for _ in 0..3 {
        assert_eq!(s.rows("SELECT * FROM many").len(), 1000);
        assert_eq!(
            scene
                .session()
                .copy_out("COPY many TO STDOUT")
                .expect("COPY")
                .lines()
                .count(),
            1000
        );
    }
    let alerts = scene.alerts("window_rows");
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["limit_rows"], json!(100));
    assert_eq!(alerts[0]["window_seconds"], json!(3600));
    assert_eq!(alerts[0]["guarded_role"], json!(scene.login));
}

/// Nobody has to set it: a role that only reads and takes a lot out is reported.
#[test]
fn export_by_a_role_that_only_reads_is_reported() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.export_alert_rows", "500")
            .set("scope_roles.export_alert_window", "1h"),
    );
    let f = Fixture::on(&server, "export_alert");
    let mut admin = f.admin();
    admin.run("CREATE TABLE many AS SELECT i AS id FROM generate_series(1, 400) i");
    let reader = admin.issue("'many'");
    let writer = admin.handed("scope.create_readwrite_role('many')");
    let alerts = || crate::audit::find(&server, &json!({"event": "alert", "guard": "export_rows"}));
    for _ in 0..3 {
        assert_eq!(f.login(&writer.role).rows("SELECT * FROM many").len(), 400);
        assert_eq!(admin.rows("SELECT * FROM many").len(), 400);
    }
    f.login(&reader.role).rows("SELECT * FROM many");
    assert_eq!(alerts().len(), 0);
    // In another session, by COPY of the table as it is.
    let mut s = f.login(&reader.role);
    assert_eq!(
        s.copy_out("COPY many TO STDOUT")
            .expect("COPY")
            .lines()
            .count(),
        400
    );
    s.rows("SELECT * FROM many");
    let found = alerts();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["guarded_role"], json!(reader.role));
    assert_eq!(found[0]["session_user"], json!(reader.role));
    assert_eq!(found[0]["blocked"], json!(false));
    // The same by token, over two sessions of a login that is not one of those that only read.
    let scope = admin.scope_of(&reader.role);
    let gated = admin
        .handed(&format!(
            "scope.create_authenticator('export_alert_api', '{{{scope}}}')"
        ))
        .role;
    for (subject, told) in [("alice", 1), ("bob", 2), ("carol", 2)] {
        let token = sign(&json!({"role": scope, "sub": subject, "exp": now() + 600}));
        let mut s = f.login(&gated);
        s.run(&format!(
            "BEGIN; {}; DECLARE c CURSOR FOR SELECT * FROM many",
            switch(&token)
        ));
        assert_eq!(s.rows("FETCH 400 FROM c").len(), 400);
        s.run("COMMIT");
        assert_eq!(alerts().len(), told, "{subject}");
    }
    let found = alerts();
    assert_eq!(found[1]["guarded_role"], json!(scope));
    assert_eq!(found[1]["session_user"], json!(gated));
    assert_eq!(found[1]["subject"], json!("bob"));
}
