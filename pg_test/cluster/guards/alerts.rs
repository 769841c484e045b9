//! Alerts: the line in the log is certain, the notification comes with a commit.

use postgres::fallible_iterator::FallibleIterator as _;
use serde_json::{Value, json};

use super::Scene;
use crate::harness::*;

/// The notifications that have reached a listening session.
fn heard(listener: &mut Session) -> Vec<Value> {
    listener.rows("SELECT 1");
    let mut notifications = listener.client.notifications();
    let mut heard = Vec::new();
    let mut pending = notifications.iter();
    while let Ok(Some(notification)) = pending.next() {
        assert_eq!(notification.channel(), "scope_alert");
        heard.push(serde_json::from_str(notification.payload()).expect("JSON"));
    }
    heard
}

#[test]
fn alert_notifies_at_commit_and_blocked_ones_with_the_next() {
    let scene = Scene::new("alert_notify");
    scene.guard(&scene.login, "max_rows => 5");
    scene.guard(&scene.login, "max_rows => 2, action => 'alert'");
    let mut listener = scene.f.admin();
    listener.run("LISTEN scope_alert");
    let mut s = scene.session();
    s.run("BEGIN");
    s.rows("SELECT * FROM many LIMIT 3");
    assert_eq!(scene.alerts("max_rows").len(), 1);
    assert_eq!(heard(&mut listener), Vec::<Value>::new());
    s.run("COMMIT");
    let first = heard(&mut listener);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0]["guard"], json!("max_rows"));
    assert_eq!(first[0]["outcome"], json!("ok"));
    assert_eq!(first[0]["session_user"], json!(scene.login));
    assert_eq!(first[0]["limit_rows"], json!(2));
    // Rolled back and refused: in the log at once, and sent when the session commits.
    s.run("BEGIN");
    s.rows("SELECT * FROM many LIMIT 3");
    s.run("ROLLBACK");
    // By itself, for what follows a refusal elsewhere is a commit already.
    let refused = s.client.simple_query("SELECT * FROM many").err();
    let refusal = refused.map(Refusal::from).expect("a refusal");
    assert_eq!(refusal.code, "54000", "{refusal}");
    assert_eq!(scene.alerts("max_rows").len(), 4);
    assert_eq!(heard(&mut listener), Vec::<Value>::new());
    s.rows("SELECT 1");
    let rest = heard(&mut listener);
    let blocked: Vec<&Value> = rest.iter().map(|alert| &alert["blocked"]).collect();
    assert_eq!(blocked, [&json!(false), &json!(false), &json!(true)]);
    // A prepared transaction cannot carry it, and is none the worse for that.
    let log = scene.f.server.log();
    assert!(
        log.lines()
            .any(|line| line.contains("WARNING") && line.contains("max_rows")),
        "no WARNING"
    );
    assert_eq!(s.notices().len(), 0);
}

#[test]
fn alert_on_ddl_of_whoever_is_not_there_for_it() {
    let scene = Scene::new("alert_ddl");
    let owner = scene.f.role("owner", "LOGIN");
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "GRANT CREATE ON SCHEMA public TO {owner}, {}; CREATE SCHEMA managed",
        scene.login
    ));
    let manager = admin.handed("scope.create_admin_role('{managed}')").role;
    admin.run("CREATE TABLE by_superuser (x int)");
    scene
        .f
        .login(&manager)
        .run("CREATE TABLE managed.t (x int); ALTER TABLE managed.t ADD y int");
    assert_eq!(scene.alerts("ddl").len(), 0, "{:#?}", scene.alerts("ddl"));
    // One for a transaction, however many statements; none for temporary tables.
    let mut s = scene.session();
    s.run("BEGIN; CREATE TABLE a (x int); CREATE TABLE b (x int); COMMIT");
    s.run("CREATE TEMP TABLE t (x int); DROP TABLE t");
    let alerts = scene.alerts("ddl");
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["session_user"], json!(scene.login));
    assert_eq!(alerts[0]["tag"], json!("CREATE TABLE"));
    let mut o = scene.f.login(&owner);
    o.run("CREATE TABLE c (x int)");
    o.run("DROP TABLE c");
    assert_eq!(scene.alerts("ddl").len(), 3);
    // The extension's own work for a caller is not the caller's.
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.create_readonly_role TO {owner}"
    ));
    o.run("BEGIN; CREATE TABLE mine (x int); COMMIT");
    o.run("SELECT scope.create_readonly_role('mine')");
    assert_eq!(
        scene
            .alerts("ddl")
            .iter()
            .filter(
                |line| line["tag"] != json!("CREATE TABLE") && line["tag"] != json!("DROP TABLE")
            )
            .count(),
        0
    );
}

#[test]
fn alert_on_ddl_can_be_kept_to_managed_roles_or_switched_off() {
    let server = Server::start(Options::default().set("scope_roles.ddl_alert", "managed"));
    let f = Fixture::on(&server, "alert_ddl_off");
    let owner = f.role("owner", "LOGIN");
    let mut admin = f.admin();
    let reader = admin.handed("scope.create_readwrite_role('orders')").role;
    admin.run(&format!(
        "GRANT CREATE ON SCHEMA public TO {owner}, {reader}"
    ));
    let alerts = || crate::audit::find(&server, &json!({"event": "alert", "guard": "ddl"})).len();
    f.login(&owner).run("CREATE TABLE a (x int)");
    assert_eq!(alerts(), 0);
    f.login(&reader).run("CREATE TABLE b (x int)");
    assert_eq!(alerts(), 1);
    server.alter_system("scope_roles.ddl_alert", "off");
    f.login(&reader).run("CREATE TABLE c (x int)");
    assert_eq!(alerts(), 1);
}

/// NOTIFY is not for transactions that are prepared.
#[test]
fn alert_does_not_stand_in_the_way_of_a_prepared_transaction() {
    let server = Server::start(Options::default().set("max_prepared_transactions", "5"));
    let f = Fixture::on(&server, "alert_prepared");
    let owner = f.role("owner", "LOGIN");
    f.admin()
        .run(&format!("GRANT CREATE ON SCHEMA public TO {owner}"));
    let mut listener = f.admin();
    listener.run("LISTEN scope_alert");
    let mut s = f.login(&owner);
    s.run("BEGIN; CREATE TABLE a (x int); PREPARE TRANSACTION 'alert'");
    s.run("COMMIT PREPARED 'alert'");
    s.run("SELECT 1");
    assert_eq!(heard(&mut listener).len(), 1);
}
