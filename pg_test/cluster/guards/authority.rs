//! Who may set guards, what is refused, and that they survive what labels survive.

use super::Scene;
use crate::harness::*;

#[test]
fn guard_is_set_by_whoever_made_the_role_and_not_by_itself() {
    let scene = Scene::new("guard_authority");
    let (alice, eve) = (scene.f.issuer("alice"), scene.f.issuer("eve"));
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.set_guard TO {alice}, {eve}, {};
         CREATE TABLE hers (x int); ALTER TABLE hers OWNER TO {alice}",
        scene.login
    ));
    let mut alice_s = scene.f.login(&alice);
    let cred = alice_s.issue("'hers'").role;
    let set = |role: &str, more: &str| format!("SELECT scope.set_guard('{role}', {more})");
    alice_s.run(&set(&cred, "max_rows => 5"));
    alice_s.run(&set(&cred, "max_rows => 7"));
    let mut eve_s = scene.f.login(&eve);
    for role in [&cred, &scene.login, &scene.scope, &alice] {
        eve_s.refused(&set(role, "max_rows => 5"), "42501");
    }
    alice_s.refused(&set(&scene.login, "max_rows => 5"), "42501");
    // Nobody loosens their own, not even with a role in between.
    let mut s = scene.session();
    for role in [&scene.login, &scene.scope] {
        s.refused(&set(role, "NULL"), "42501");
    }
    // Not even whoever made the scope, once they are guarded by it.
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.create_scope TO {alice}"
    ));
    alice_s.run("SELECT scope.create_scope('guard_authority_hers', '{SELECT}', '{hers}')");
    alice_s.run(&set("guard_authority_hers", "max_rows => 5"));
    admin.run(&format!("GRANT guard_authority_hers TO {alice}"));
    alice_s.refused(&set("guard_authority_hers", "NULL"), "42501");
    // What a superuser has set stays until a superuser changes it.
    admin.run(&set(&cred, "max_rows => 3"));
    for more in ["NULL", "max_rows => 1000000", "max_rows => 1"] {
        alice_s.refused(&set(&cred, more), "42501");
    }
    alice_s.run(&set(&cred, "forbid => '{do}', action => 'alert'"));
    assert_eq!(
        admin.rows(&format!(
            "SELECT action, max_rows, forbid::text, by_superuser::text FROM scope.guards WHERE role = '{cred}' ORDER BY 1"
        )),
        [
            [Some("alert"), None, Some("{do}"), Some("false")],
            [Some("block"), Some("3"), Some("{}"), Some("true")]
        ]
        .map(|row| row.map(|cell| cell.map(str::to_owned)))
    );
    // Without EXECUTE there is nothing.
    let nobody = scene.f.role("nobody", "LOGIN");
    scene.f.login(&nobody).denied(&set(&cred, "NULL"), "42501");
}

#[test]
fn guard_arguments_are_checked() {
    let scene = Scene::new("guard_arguments");
    let mut admin = scene.f.admin();
    for (arguments, sqlstate) in [
        ("NULL, 5", "22004"),
        ("'nobody_of_that_name', 5", "42704"),
        ("'postgres', 5", "22023"),
        ("'{role}', -1", "22023"),
        ("'{role}', window_rows => -1, \"window\" => '1 h'", "22023"),
        ("'{role}', window_rows => 5", "22023"),
        ("'{role}', \"window\" => '1 h'", "22023"),
        ("'{role}', window_rows => 5, \"window\" => '0'", "22023"),
        ("'{role}', window_rows => 5, \"window\" => '-1 h'", "22023"),
        (
            "'{role}', window_rows => 5, \"window\" => '1 month'",
            "22023",
        ),
        (
            "'{role}', window_rows => 5, \"window\" => '367 days'",
            "22023",
        ),
        ("'{role}', forbid => '{select}'", "22023"),
        ("'{role}', forbid => '{ddl,NULL}'", "22004"),
        ("'{role}', 5, action => 'log'", "22023"),
        ("'{role}', 5, action => NULL", "22004"),
    ] {
        let arguments = arguments.replace("{role}", &scene.login);
        admin.refused(&format!("SELECT scope.set_guard({arguments})"), sqlstate);
    }
    admin.refused(
        &format!(
            "BEGIN READ ONLY; SELECT scope.set_guard('{}', 5)",
            scene.login
        ),
        "25006",
    );
    admin.run("ROLLBACK");
    // Nothing to take away is nothing wrong, in a transaction that goes on with other work too.
    admin.run(&format!(
        "BEGIN; SELECT scope.set_guard('{}', NULL); SELECT scope.create_scope('guard_arguments_s', '{{SELECT}}', '{{vault}}');
         SAVEPOINT a; SELECT scope.drop_scope('guard_arguments_s'); COMMIT",
        scene.login
    ));
    // Labels are the extension's, or a restore's.
    let mut s = scene.session();
    s.denied(
        &format!(
            "SECURITY LABEL FOR scope_roles_guard ON ROLE {} IS NULL",
            scene.login
        ),
        "42501",
    );
    admin.refused(
        &format!(
            "SECURITY LABEL FOR scope_roles_guard ON ROLE {} IS 'x'",
            scene.login
        ),
        "22023",
    );
    admin.refused(
        "SECURITY LABEL FOR scope_roles_guard ON TABLE many IS '{\"v\":1}'",
        "0A000",
    );
    admin.run(&format!(
        "SECURITY LABEL FOR scope_roles_guard ON ROLE {} IS '{{\"v\":1,\"block\":{{\"max_rows\":4}}}}'",
        scene.login
    ));
    s.refused("SELECT * FROM many", "54000");
}

#[test]
fn guard_goes_on_to_the_login_that_takes_anothers_place() {
    let scene = Scene::new("guard_rotation");
    scene.guard(&scene.login, "max_rows => 5, forbid => '{do}'");
    let next = scene
        .f
        .admin()
        .handed(&format!(
            "scope.rotate_password('{}', overlap => '1 hour')",
            scene.login
        ))
        .role;
    assert_ne!(next, scene.login);
    let mut s = scene.f.login(&next);
    s.refused("SELECT * FROM many", "54000");
    s.refused("DO $$ BEGIN END $$", "42501");
}

/// On a standby guards are read from the primary's labels, in sessions that are open too; counts are its own.
#[test]
fn guard_holds_on_a_standby_and_after_a_dump() {
    let primary = Server::start(Options::default());
    let f = Fixture::on(&primary, "guard_standby");
    let mut admin = f.admin();
    admin.run("CREATE TABLE many AS SELECT i FROM generate_series(1, 100) i");
    let login = admin.issue("'many'").role;
    let standby = primary.standby(Options::default());
    wait_until("the standby has the role", 30, || {
        standby.admin("guard_standby").role_exists(&login)
    });
    let mut s = standby.login(&login, "guard_standby");
    assert_eq!(s.rows("SELECT * FROM many").len(), 100);
    admin.run(&format!(
        "SELECT scope.set_guard('{login}', max_rows => 10, forbid => '{{do}}')"
    ));
    wait_until("the guard has come", 30, || {
        s.attempt("DO $$ BEGIN END $$").is_err()
    });
    s.refused("SELECT * FROM many", "54000");
    assert_eq!(s.rows("SELECT * FROM many LIMIT 10").len(), 10);
    // Globals bring the label with them.
    let dump = output(primary.client("pg_dumpall").arg("--globals-only"));
    assert!(
        dump.contains("SECURITY LABEL FOR scope_roles_guard"),
        "{dump}"
    );
}
