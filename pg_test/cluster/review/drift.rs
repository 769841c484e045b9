//! Scopes that hold something else than they declare: each kind of drift is found with both sides, and fixed by what is shown.

use std::sync::Barrier;
use std::thread;

use super::{NOTHING, clean, findings};
use crate::harness::*;

/// A scope over one of each, declared in one call each.
fn scene(server: &Server) -> Fixture<'_> {
    let f = clean(server, "drift_kinds");
    f.admin().run(
        "CREATE ROLE maker; CREATE SCHEMA app AUTHORIZATION maker; CREATE SCHEMA other;
         CREATE TABLE app.old (id serial, note text); ALTER TABLE app.old OWNER TO maker; CREATE TABLE other.t (a int, b int);
         CREATE SEQUENCE other.s; CREATE FUNCTION other.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT scope.create_scope('sc', privileges => '{SELECT}', tables => '{orders}');
         SELECT scope.alter_scope('sc', 'add', '{SELECT}', tables => '{other.t}', columns => '{a}');
         SELECT scope.alter_scope('sc', 'add', '{USAGE}', sequences => '{other.s}');
         SELECT scope.restrict_function('other.f(int)', '{sc}');
         SELECT scope.alter_scope('sc', 'add', '{SELECT,INSERT}', schemas => '{app}', future_tables => true);
         SELECT scope.create_credential('{sc}', 'sc_login')",
    );
    f
}

/// What somebody does by hand, what is found of it ("code object"), and how the finding words it.
const DRIFTS: &[(&str, &str, &str)] = &[
    (
        "GRANT UPDATE, DELETE ON orders TO sc",
        "scope_widened public.orders",
        "declares SELECT, and holds SELECT, UPDATE, DELETE",
    ),
    (
        "REVOKE SELECT ON orders FROM sc",
        "scope_narrowed public.orders",
        "declares SELECT, and holds nothing",
    ),
    (
        "GRANT SELECT ON vault TO sc",
        "scope_widened public.vault",
        "declares nothing, and holds SELECT",
    ),
    (
        "GRANT UPDATE (note) ON orders TO sc",
        "scope_widened column note of public.orders",
        "declares nothing, and holds UPDATE",
    ),
    (
        "REVOKE SELECT (a) ON other.t FROM sc",
        "scope_narrowed column a of other.t",
        "declares SELECT, and holds nothing",
    ),
    (
        "GRANT UPDATE ON SEQUENCE other.s TO sc",
        "scope_widened other.s",
        "declares USAGE, and holds UPDATE, USAGE",
    ),
    (
        "REVOKE USAGE ON SEQUENCE other.s FROM sc",
        "scope_narrowed other.s",
        "declares USAGE, and holds nothing",
    ),
    (
        "REVOKE EXECUTE ON FUNCTION other.f FROM sc",
        "scope_narrowed function other.f(integer)",
        "declares EXECUTE, and holds nothing",
    ),
    (
        "REVOKE USAGE ON SCHEMA other FROM sc",
        "scope_narrowed schema other",
        "declares USAGE, and holds nothing",
    ),
    (
        "REVOKE CONNECT ON DATABASE drift_kinds FROM sc",
        "scope_narrowed database drift_kinds",
        "declares CONNECT, and holds nothing",
    ),
    (
        "ALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA app GRANT DELETE ON TABLES TO sc",
        "scope_widened future tables of maker in schema app",
        "declares SELECT, INSERT, and holds SELECT, INSERT, DELETE",
    ),
    (
        "ALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA app REVOKE INSERT ON TABLES FROM sc",
        "scope_narrowed future tables of maker in schema app",
        "declares SELECT, INSERT, and holds SELECT",
    ),
    (
        "SET ROLE maker; CREATE TABLE app.new (id int); REVOKE INSERT ON app.new FROM sc; RESET ROLE",
        "scope_narrowed app.new",
        "declares SELECT, INSERT, and holds SELECT",
    ),
    (
        "GRANT TRUNCATE ON app.new TO sc",
        "scope_widened app.new",
        "declares SELECT, INSERT, and holds SELECT, INSERT, TRUNCATE",
    ),
    // Granted by another than the owner, as whom a superuser's REVOKE would not take it back.
    (
        "CREATE ROLE deputy; GRANT USAGE ON SCHEMA public TO deputy; GRANT INSERT ON orders TO deputy WITH GRANT OPTION;
         SET ROLE deputy; GRANT INSERT ON orders TO sc; RESET ROLE",
        "scope_widened public.orders",
        "declares SELECT, and holds SELECT, INSERT",
    ),
    (
        "GRANT SELECT ON other.t TO sc WITH GRANT OPTION; REVOKE SELECT ON other.t FROM sc; GRANT EXECUTE ON FUNCTION other.f TO sc WITH GRANT OPTION;
         GRANT SELECT (a) ON other.t TO sc",
        "scope_has_more function other.f(integer)",
        "a scope hands nothing on, but this one may grant EXECUTE",
    ),
    (
        "GRANT SELECT (a) ON other.t TO sc WITH GRANT OPTION",
        "scope_has_more column a of other.t",
        "a scope hands nothing on, but this one may grant SELECT",
    ),
    (
        "GRANT pg_read_all_data TO sc",
        "scope_has_more role pg_read_all_data",
        "a scope has object privileges only, but this one is a member of a role",
    ),
];

const SHOWN: &str =
    "SELECT concat_ws(' ', code, object_name) FROM scope.review() WHERE role_name = 'sc'";

#[test]
fn each_drift_is_found_with_both_sides_and_mended_by_what_is_shown() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    assert_eq!(findings(&mut admin), NOTHING, "as it was declared");
    for (by_hand, found, words) in DRIFTS {
        admin.run(by_hand);
        assert_eq!(admin.column(SHOWN), [*found], "{by_hand}");
        assert_eq!(
            admin.text("SELECT split_part(finding, '; with the fix, ', 1) FROM scope.review()"),
            *words,
            "{by_hand}"
        );
        let fix = admin.text("SELECT fix FROM scope.review()");
        admin.run(&fix);
        assert_eq!(findings(&mut admin), NOTHING, "{by_hand} and then {fix}");
    }
    // What leaves code is a finding of its own besides; one statement fixes both.
    admin.run("GRANT CREATE ON SCHEMA other TO sc");
    assert_eq!(
        findings(&mut admin),
        [
            "plants_code sc schema other",
            "scope_widened sc schema other"
        ]
    );
    assert_eq!(
        admin.text("SELECT split_part(finding, '; with the fix, ', 1) FROM scope.review() WHERE code = 'scope_widened'"),
        "declares USAGE, and holds USAGE, CREATE"
    );
    let fix = admin.text("SELECT fix FROM scope.review() WHERE code = 'plants_code'");
    admin.run(&fix);
    assert_eq!(findings(&mut admin), NOTHING, "{fix}");
    // More is worse than less; both are told of one object.
    admin.run("GRANT DELETE ON orders TO sc; REVOKE SELECT ON orders FROM sc");
    assert_eq!(
        admin.rows(
            "SELECT severity, code, split_part(finding, '; with the fix, ', 1) FROM scope.review()"
        ),
        [
            ["high", "scope_widened", "declares SELECT, and holds DELETE"],
            ["low", "scope_narrowed", "declares SELECT, and holds DELETE"],
        ]
        .map(|row| row.map(|cell| Some(cell.to_owned())))
    );
    // An acceptance of the one says nothing of the other.
    admin.run(
        "SELECT scope.accept_finding('scope_narrowed', 'sc', 'wanted', '1 day', 'public.orders')",
    );
    assert_eq!(findings(&mut admin), ["scope_widened sc public.orders"]);
}

#[test]
fn what_comes_to_a_declared_schema_is_no_drift() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    admin.run(
        "SET ROLE maker; CREATE TABLE app.a (id serial); CREATE VIEW app.v AS SELECT 1; RESET ROLE; DROP TABLE app.old;
         CREATE ROLE other_maker; GRANT CREATE ON SCHEMA app TO other_maker; SET ROLE other_maker; CREATE TABLE app.theirs (); RESET ROLE",
    );
    assert_eq!(findings(&mut admin), NOTHING);
    // Taken out of the scope, it is not missed, and noticed when it comes back by hand.
    admin.run("SELECT scope.alter_scope('sc', 'remove', '{SELECT,INSERT}', tables => '{app.a}')");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("GRANT SELECT ON app.a TO sc");
    assert_eq!(admin.column(SHOWN), ["scope_widened app.a"]);
    admin.run("SELECT scope.alter_scope('sc', 'add', '{SELECT}', tables => '{app.a}')");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("REVOKE SELECT ON app.v FROM sc");
    assert_eq!(admin.column(SHOWN), ["scope_narrowed app.v"]);
    admin.run("SELECT scope.alter_scope('sc', 'remove', '{SELECT,INSERT}', tables => '{app.v}')");
    assert_eq!(findings(&mut admin), NOTHING);
    // The whole schema goes with all that.
    admin.run("SELECT scope.alter_scope('sc', 'remove', '{SELECT,INSERT}', schemas => '{app}')");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.assert_that(
        "NOT EXISTS (SELECT FROM scope.scope_declarations WHERE scope = 'sc' AND (object = 'app' OR object LIKE 'app.%'))",
    );
}

#[test]
fn a_drift_on_many_objects_is_one_finding() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    admin.run(
        "DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE TABLE other.m%s ()', i); EXECUTE format('GRANT INSERT ON other.m%s TO sc', i); END LOOP; END $$",
    );
    assert_eq!(admin.column(SHOWN), ["scope_widened"]);
    let what = admin.text("SELECT finding FROM scope.review()");
    assert!(
        what.starts_with("on 30 objects: on other.m1 declares nothing, and holds INSERT; ")
            && what.contains("; and 25 more; with the fix, its logins lose"),
        "{what}"
    );
    let fix = admin.text("SELECT fix FROM scope.review()");
    admin.run(&fix);
    assert_eq!(findings(&mut admin), NOTHING);
}

#[test]
fn what_no_declaration_can_contain_is_found() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    for (by_hand, found, undo) in [
        (
            "CREATE TYPE other.e AS ENUM ('x'); GRANT USAGE ON TYPE other.e TO sc",
            "scope_widened privileges on type other.e",
            "DROP TYPE other.e",
        ),
        (
            "CREATE TABLE other.its (); ALTER TABLE other.its OWNER TO sc",
            "scope_widened owner of table other.its",
            "ALTER TABLE other.its OWNER TO postgres",
        ),
    ] {
        admin.run(by_hand);
        assert_eq!(admin.column(SHOWN), [found], "{by_hand}");
        admin.run(undo);
        assert_eq!(findings(&mut admin), NOTHING, "{undo}");
    }
    // A policy names a scope without giving it anything; what a scope owns needs no grant.
    admin.run("CREATE POLICY p ON orders TO sc USING (true)");
    assert_eq!(findings(&mut admin), NOTHING);
}

/// Each database tells of what is there, with the SQL for it.
#[test]
fn a_grant_in_another_database_is_found_in_both() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    let two = clean(&server, "drift_two");
    let mut other = two.admin();
    assert_eq!(findings(&mut other), NOTHING);
    other.run("GRANT SELECT ON orders TO sc");
    assert_eq!(
        admin.column(SHOWN),
        ["scope_widened privileges on an object in database drift_two"]
    );
    assert_eq!(other.column(SHOWN), ["scope_widened public.orders"]);
    assert_eq!(
        other.text("SELECT split_part(finding, '; with the fix, ', 1) FROM scope.review()"),
        "declares nothing, being of database drift_kinds, and holds SELECT"
    );
    let fix = other.text("SELECT fix FROM scope.review()");
    other.run(&fix);
    assert_eq!(findings(&mut other), NOTHING);
    assert_eq!(findings(&mut admin), NOTHING);
}

#[test]
fn a_scope_that_declares_nothing_is_said_so_and_declares_what_it_holds() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    // As an extension that was dropped and made again leaves it.
    admin
        .run("DROP EXTENSION scope_roles; CREATE EXTENSION scope_roles; SELECT scope.harden(true)");
    assert_eq!(findings(&mut admin), ["scope_undeclared sc"]);
    let fix = admin.text("SELECT fix FROM scope.review()");
    admin.run(&fix);
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("REVOKE SELECT ON orders FROM sc");
    assert_eq!(admin.column(SHOWN), ["scope_narrowed public.orders"]);
    // The call that made a scope declares it too, when that is what it holds.
    admin.run(
        "SELECT scope.create_scope('again', tables => '{orders}'); SELECT scope.create_credential('{again}', 'again_login'); DELETE FROM _scope.scope_declaration WHERE scope = 'again'",
    );
    assert!(findings(&mut admin).contains(&"scope_undeclared again".to_owned()));
    admin.run("SELECT scope.create_scope('again', tables => '{orders}', if_not_exists => true)");
    assert!(!findings(&mut admin).contains(&"scope_undeclared again".to_owned()));
}

#[test]
fn what_is_renamed_stays_declared() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    admin.run(
        "ALTER TABLE orders RENAME TO \"Orders 2\"; ALTER TABLE other.t RENAME COLUMN a TO \"A\"; ALTER SCHEMA other RENAME TO \"else\";
         ALTER FUNCTION \"else\".f(int) RENAME TO g; ALTER ROLE maker RENAME TO \"Maker\"; ALTER SCHEMA app RENAME TO app2;
         ALTER ROLE sc RENAME TO sc2; ALTER SEQUENCE \"else\".s SET SCHEMA public",
    );
    assert_eq!(findings(&mut admin), NOTHING);
    // The names follow, for a dump.
    let names = "SELECT DISTINCT concat_ws(' ', scope, class, object, part) FROM scope.scope_declarations WHERE class NOT LIKE 'future%' ORDER BY 1";
    assert_eq!(
        admin.column(names),
        [
            "sc2 column \"else\".t \"A\"",
            "sc2 database drift_kinds",
            "sc2 function \"else\".g(integer)",
            "sc2 schema \"else\"",
            "sc2 schema app2",
            "sc2 schema public",
            "sc2 sequence app2.old_id_seq",
            "sc2 sequence public.s",
            "sc2 table app2.old",
            "sc2 table public.\"Orders 2\""
        ]
    );
    admin.assert_that(
        "(SELECT bool_and(object = 'app2' AND part = '\"Maker\"') FROM scope.scope_declarations WHERE class LIKE 'future%')",
    );
    // A rename does not wait for somebody who changes a scope, nor fail of it.
    let mut two = f.admin();
    two.run("BEGIN; SELECT scope.alter_scope('sc2', 'remove', '{INSERT}', tables => '{app2.old}')");
    admin.run(
        "SET statement_timeout = '10s'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; ALTER SCHEMA app2 RENAME TO app3; COMMIT",
    );
    two.run("COMMIT");
    assert_eq!(findings(&mut admin), NOTHING);
}

#[test]
fn a_dump_restored_on_another_server_keeps_what_was_declared() {
    let old = Server::start(Options::default());
    let f = scene(&old);
    let mut admin = f.admin();
    // OIDs that mean something else over there, and names of which the declaration was not made.
    admin.run(
        "ALTER TABLE orders RENAME TO \"Orders 2\"; ALTER TABLE other.t RENAME COLUMN a TO \"A\"; ALTER SCHEMA other RENAME TO \"else\";
         ALTER TABLE \"else\".t DROP COLUMN b, ADD COLUMN c int; ALTER ROLE maker RENAME TO \"Maker\"; REVOKE INSERT ON app.old FROM sc",
    );
    let before = admin.rows("SELECT code, role_name, object_name, finding FROM scope.review()");
    assert_eq!(before.len(), 1, "{before:?}");
    let rows = "SELECT scope, class, object, part, privileges, stance FROM scope.scope_declarations ORDER BY 1, 2, 3, 4, 6";
    let declared = admin.rows(rows);
    let files = old.socket();
    let (roles, data) = (
        files.with_file_name("roles.sql"),
        files.with_file_name("data.dump"),
    );
    let globals = output(old.client("pg_dumpall").arg("--globals-only"));
    std::fs::write(&roles, globals.replacen("CREATE ROLE postgres;", "", 1)).expect("the roles");
    output(
        old.client("pg_dump")
            .args(["--format=custom", "--create", "--file"])
            .arg(&data)
            .arg(&f.name),
    );
    old.stop();
    let new = Server::start(Options::default().set("scope_roles.expiry", "off"));
    new.admin("postgres")
        .run("CREATE TABLE shifts_oids (); CREATE ROLE shifts_them");
    output(
        new.client("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&roles)
            .arg("postgres"),
    );
    output(
        new.client("pg_restore")
            .args(["--create", "--exit-on-error", "--dbname=postgres"])
            .arg(&data),
    );
    let mut admin = new.admin(&f.name);
    assert_eq!(admin.rows(rows), declared);
    let of_scopes = "SELECT code, role_name, object_name, finding FROM scope.review() WHERE code LIKE 'scope\\_%'";
    assert_eq!(admin.rows(of_scopes), before);
    let fix = admin.text("SELECT fix FROM scope.review() WHERE code = 'scope_narrowed'");
    admin.run(&fix);
    assert_eq!(admin.rows(of_scopes), Vec::<Vec<Option<String>>>::new());
    // Renamed over there, and changed.
    admin.run("ALTER TABLE \"else\".t RENAME TO u; ALTER SCHEMA app RENAME TO app2; ALTER ROLE \"Maker\" RENAME TO maker");
    assert_eq!(admin.rows(of_scopes), Vec::<Vec<Option<String>>>::new());
    admin.run("GRANT DELETE ON public.\"Orders 2\" TO sc; SELECT scope.alter_scope('sc', 'add', '{UPDATE}', tables => '{vault}')");
    admin.run("ALTER TABLE vault RENAME TO vault2; ALTER TABLE \"Orders 2\" RENAME TO orders");
    assert_eq!(
        admin.column("SELECT concat_ws(' ', code, object_name) FROM scope.review() WHERE code LIKE 'scope\\_%'"),
        ["scope_widened public.orders"]
    );
}

/// pg_upgrade keeps the OIDs of roles and tables, and no others.
#[test]
fn an_upgraded_server_keeps_what_was_declared() {
    let old = Server::start(Options::default());
    let f = scene(&old);
    let mut admin = f.admin();
    admin.run(
        "ALTER TABLE orders RENAME TO \"Orders 2\"; ALTER SCHEMA other RENAME TO \"else\"; ALTER FUNCTION \"else\".f(int) RENAME TO g;
         CREATE SCHEMA gone; CREATE FUNCTION gone.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP SCHEMA gone CASCADE;
         CREATE SCHEMA more; CREATE FUNCTION more.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         REVOKE EXECUTE ON FUNCTION \"else\".g FROM sc; GRANT CREATE ON SCHEMA \"else\" TO sc",
    );
    let of_scopes = "SELECT code, role_name, object_name, finding FROM scope.review() WHERE code LIKE 'scope\\_%'";
    let before = admin.rows(of_scopes);
    assert_eq!(before.len(), 2, "{before:?}");
    drop(admin);
    let new = old.upgrade(Options::default());
    let mut admin = new.admin(&f.name);
    assert_eq!(admin.rows(of_scopes), before);
    for fix in admin.column("SELECT fix FROM scope.review() WHERE code LIKE 'scope\\_%'") {
        admin.run(&fix);
    }
    admin.run("ALTER FUNCTION \"else\".g(int) RENAME TO h; ALTER TABLE \"Orders 2\" RENAME TO orders; SELECT scope.alter_scope('sc', 'add', '{UPDATE}', tables => '{vault}')");
    assert_eq!(admin.rows(of_scopes), Vec::<Vec<Option<String>>>::new());
}

#[test]
fn a_standby_tells_of_drift() {
    let primary = Server::start(Options::default());
    let f = scene(&primary);
    let mut admin = f.admin();
    let standby = primary.standby(Options::default());
    admin.run("REVOKE SELECT ON orders FROM sc");
    let mut session = standby.admin(&f.name);
    wait_until("the standby has replayed", 30, || {
        session.column(SHOWN) == ["scope_narrowed public.orders"]
    });
}

#[test]
fn a_database_under_another_name_keeps_what_was_declared() {
    let server = Server::start(Options::default());
    scene(&server);
    let mut postgres = server.admin("postgres");
    wait_until("nobody uses the database", 30, || {
        postgres
            .attempt("ALTER DATABASE drift_kinds RENAME TO drift_renamed")
            .is_ok()
    });
    let mut admin = server.admin("drift_renamed");
    assert_eq!(admin.column(SHOWN), NOTHING);
    admin.run("REVOKE SELECT ON orders FROM sc");
    assert_eq!(admin.column(SHOWN), ["scope_narrowed public.orders"]);
}

/// A copy of a database has its grants and its declarations, and the scopes are not its own: to adopt them is what helps, not to take
/// the application's rights away.
#[test]
fn a_copy_of_a_database_holds_what_nobody_has_adopted() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut postgres = server.admin("postgres");
    wait_until("nobody uses the database", 30, || {
        postgres
            .attempt(&format!("CREATE DATABASE copied TEMPLATE {}", f.name))
            .is_ok()
    });
    let mut copy = server.admin("copied");
    let found = copy.column(SHOWN);
    assert!(
        found.len() == 1 && found[0].starts_with("scope_widened"),
        "{found:?}"
    );
    let held = "SELECT has_table_privilege('sc', 'orders', 'SELECT')";
    assert_eq!(copy.text(held), "t");
    // Then it lacks what no copy has: the right to connect to it.
    for _ in 0..2 {
        for fix in copy.column("SELECT fix FROM scope.review() WHERE role_name = 'sc'") {
            copy.run(&fix);
        }
    }
    assert_eq!(copy.text(held), "t");
    assert_eq!(copy.column(SHOWN), NOTHING);
    assert_eq!(findings(&mut f.admin()), NOTHING);
}

#[test]
fn what_is_dropped_is_no_longer_declared_and_what_is_made_anew_is_missed() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    admin
        .run("DROP FUNCTION other.f; DROP TABLE other.t; DROP TABLE orders; DROP SEQUENCE other.s");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("CREATE TABLE orders (id int)");
    assert_eq!(admin.column(SHOWN), ["scope_narrowed public.orders"]);
    let fix = admin.text("SELECT fix FROM scope.review()");
    admin.run(&fix);
    assert_eq!(findings(&mut admin), NOTHING);
    // The next change forgets what is gone.
    admin.run("SELECT scope.alter_scope('sc', 'add', '{SELECT}', tables => '{vault}')");
    assert_eq!(
        admin.column("SELECT object FROM scope.scope_declarations WHERE class IN ('table', 'function', 'column') ORDER BY 1"),
        ["app.old", "public.orders", "public.vault"]
    );
}

#[test]
fn the_declaration_ends_with_the_scope() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('kept', tables => '{orders}'); SELECT scope.create_credential('{kept}', 'kept_login'); SELECT scope.drop_scope('sc', true)");
    let scopes = "SELECT DISTINCT scope FROM _scope.scope_declaration ORDER BY 1";
    assert_eq!(admin.column(scopes), ["kept"]);
    // Undone with it.
    admin.run("BEGIN; SELECT scope.create_scope('undone', tables => '{orders}'); ROLLBACK");
    assert_eq!(admin.column(scopes), ["kept"]);
    // With a grant in a database without the extension: the worker takes the rest.
    admin.run("CREATE DATABASE plain");
    server
        .admin("plain")
        .run("CREATE TABLE t (); GRANT SELECT ON t TO kept");
    admin.run("SELECT scope.drop_scope('kept', true)");
    wait_until("the worker has dropped it", 30, || {
        !admin.role_exists("kept")
    });
    assert_eq!(admin.column(scopes), NOTHING);
    // Of one that somebody drops by hand nothing is found, and a new one of its name is another.
    admin.run(
        "SELECT scope.create_scope('gone', privileges => '{SELECT,INSERT}', tables => '{orders}');
         DROP OWNED BY gone; DROP ROLE gone; DELETE FROM scope.audit_log",
    );
    assert_eq!(
        admin.column("SELECT concat_ws(' ', code, object_name) FROM scope.review() WHERE code <> 'no_deadline'"),
        NOTHING
    );
    admin.run("SELECT scope.create_scope('gone', tables => '{vault}'); SELECT scope.create_credential('{gone}', 'gone_login')");
    assert!(
        !findings(&mut admin)
            .iter()
            .any(|found| found.starts_with("scope_"))
    );
    admin.assert_that("(SELECT count(*) = 1 FROM scope.scope_declarations WHERE scope = 'gone' AND class = 'table')");
}

#[test]
fn nobody_declares_for_a_scope_that_is_not_theirs() {
    let f = Fixture::new("drift_forge");
    let mut admin = f.admin();
    let [alice, mallory, writer] =
        ["alice", "mallory", "writer"].map(|suffix| f.role(suffix, "LOGIN"));
    admin.run(&format!(
        "ALTER TABLE orders OWNER TO {alice}; GRANT USAGE ON SCHEMA public TO {alice}, {mallory};
         GRANT SELECT ON orders TO {mallory} WITH GRANT OPTION;
         GRANT EXECUTE ON FUNCTION scope.create_scope, scope.alter_scope, scope.drop_scope, scope.restrict_function, scope.apply(text, text) TO {alice}, {mallory};
         GRANT pg_write_all_data, pg_read_all_data TO {writer}"
    ));
    f.login(&alice).run(
        "SELECT scope.create_scope('drift_forge_s', privileges => '{SELECT}', tables => '{orders}')",
    );
    let rows = "SELECT s::text FROM _scope.scope_declaration s ORDER BY 1";
    let before = admin.column(rows);
    assert_eq!(before.len(), 4, "{before:?}");
    for role in [&alice, &mallory] {
        let mut session = f.login(role);
        for forged in [
            "INSERT INTO _scope.scope_declaration VALUES ('drift_forge_s', 0, 'table', 'public.orders', 0, '', 0, 'DELETE', 'required', '')",
            "UPDATE _scope.scope_declaration SET privilege = 'DELETE'",
            "DELETE FROM _scope.scope_declaration",
            "TRUNCATE _scope.scope_declaration",
            "SELECT * FROM _scope.scope_declaration FOR UPDATE",
            "SELECT * FROM _scope.scope_declaration",
            "SELECT * FROM scope.scope_declarations FOR UPDATE",
            "ALTER TABLE _scope.scope_declaration DISABLE ROW LEVEL SECURITY",
            "CREATE TRIGGER t BEFORE INSERT ON _scope.scope_declaration FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ] {
            session.denied(forged, "42501");
        }
    }
    // Each reads what is theirs.
    let count = "SELECT count(*) FROM scope.scope_declarations";
    assert_eq!(f.login(&alice).text(count), "3");
    assert_eq!(f.login(&mallory).text(count), "0");
    let mut session = f.login(&mallory);
    for (call, sqlstate) in [
        (
            "scope.alter_scope('drift_forge_s', 'add', '{SELECT}', tables => '{orders}')",
            "42501",
        ),
        (
            "scope.alter_scope('drift_forge_s', 'remove', '{SELECT}', tables => '{orders}')",
            "42501",
        ),
        ("scope.drop_scope('drift_forge_s')", "42501"),
        (
            r#"scope.apply('{"version":1,"scopes":[{"name":"drift_forge_s","grants":[{"privileges":["SELECT"],"tables":["public.orders"]}]}]}')"#,
            "42501",
        ),
    ] {
        session.denied(&format!("SELECT {call}"), sqlstate);
    }
    // What exists just so is left alone, also when nothing is declared.
    session.run(
        "SELECT scope.create_scope('drift_forge_s', tables => '{orders}', if_not_exists => true)",
    );
    assert_eq!(admin.column(rows), before);
    admin.run("BEGIN; DELETE FROM _scope.scope_declaration; COMMIT");
    session.run(
        "SELECT scope.create_scope('drift_forge_s', tables => '{orders}', if_not_exists => true)",
    );
    assert_eq!(admin.column(rows), NOTHING);
    // Members of the roles that read and write everything write nothing.
    f.login(&alice).run(
        "SELECT scope.create_scope('drift_forge_s', tables => '{orders}', if_not_exists => true)",
    );
    let before = admin.column(rows);
    assert_eq!(before.len(), 4, "the owner's own call declares");
    let mut session = f.login(&writer);
    for forged in [
        "DELETE FROM _scope.scope_declaration",
        "UPDATE _scope.scope_declaration SET privilege = 'DELETE'",
        "INSERT INTO _scope.scope_declaration VALUES ('x', 0, 'table', 'public.orders', 0, '', 0, 'DELETE', 'required', '')",
    ] {
        session.denied(forged, "42501");
    }
    assert_eq!(admin.column(rows), before);
}

#[test]
fn what_was_revoked_by_hand_can_be_taken_out_or_given_back() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    admin.run("REVOKE SELECT ON orders FROM sc; SELECT scope.alter_scope('sc', 'remove', '{SELECT}', tables => '{orders}')");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("GRANT SELECT ON orders TO sc");
    assert_eq!(admin.column(SHOWN), ["scope_widened public.orders"]);
}

/// Who makes a grant of somebody's hand a scope's own is known.
#[test]
fn what_is_declared_of_what_was_granted_by_hand_is_in_the_audit_trail() {
    let server = Server::start(Options::default());
    let f = scene(&server);
    let mut admin = f.admin();
    admin.run("GRANT UPDATE ON orders TO sc");
    assert_eq!(admin.column(SHOWN), ["scope_widened public.orders"]);
    admin.run("SELECT scope.alter_scope('sc', 'add', '{UPDATE}', tables => '{orders}')");
    assert_eq!(findings(&mut admin), NOTHING);
    let last = "SELECT a::text FROM scope.audit_log a WHERE a::text LIKE '%declared%'";
    let told = admin.column(last);
    assert!(
        told.len() == 1 && told[0].contains("UPDATE on public.orders"),
        "{told:?}"
    );
    // A member of pg_monitor reads what is declared.
    let watch = f.role("watch", "LOGIN");
    admin.run(&format!(
        "GRANT pg_monitor TO {watch}; GRANT CONNECT ON DATABASE drift_kinds TO {watch}"
    ));
    assert_eq!(
        f.login(&watch).column(
            "SELECT privileges FROM scope.scope_declarations WHERE object = 'public.orders'"
        ),
        ["{SELECT,UPDATE}"]
    );
}

const SPEC: &str = r#"{"version":1,"scopes":[{"name":"sp","grants":[{"privileges":["SELECT"],"tables":["public.orders"]}]}]}"#;

#[test]
fn a_spec_declares_what_it_finds_done_already() {
    let server = Server::start(Options::default());
    let f = clean(&server, "drift_spec");
    let mut admin = f.admin();
    let apply = |admin: &mut Session, spec: &str| {
        admin.column(&format!(
            "SELECT statement FROM scope.apply({})",
            literal(spec)
        ))
    };
    assert!(!apply(&mut admin, SPEC).is_empty());
    admin.run("SELECT scope.create_credential('{sp}', 'sp_login')");
    assert_eq!(findings(&mut admin), NOTHING);
    let rows = "SELECT s::text FROM _scope.scope_declaration s ORDER BY 1";
    let before = admin.column(rows);
    assert_eq!(apply(&mut admin, SPEC), NOTHING);
    assert_eq!(admin.column(rows), before, "a second time");
    // Granted by hand, then specified: the grants need no step, the declaration is made.
    admin.run("GRANT INSERT ON vault TO sp");
    assert_eq!(findings(&mut admin), ["scope_widened sp public.vault"]);
    assert_eq!(apply(&mut admin, SPEC), NOTHING, "it adds only");
    assert_eq!(findings(&mut admin), ["scope_widened sp public.vault"]);
    let more = SPEC.replace(
        "]}]}]}",
        r#"]},{"privileges":["INSERT"],"tables":["public.vault"]}]}]}"#,
    );
    assert_eq!(apply(&mut admin, &more), NOTHING);
    assert_eq!(findings(&mut admin), NOTHING);
    // One that says all takes the rest away, from what is declared too.
    admin.run("REVOKE INSERT ON vault FROM sp");
    assert_eq!(findings(&mut admin), ["scope_narrowed sp public.vault"]);
    let all = SPEC.replace(
        r#"{"version":1,"#,
        r#"{"version":1,"mode":"authoritative","#,
    );
    assert_eq!(apply(&mut admin, &all), NOTHING);
    assert_eq!(findings(&mut admin), NOTHING);
    // A plan declares nothing.
    admin.run("DELETE FROM _scope.scope_declaration");
    admin.run(&format!("SELECT * FROM scope.plan({})", literal(&all)));
    assert_eq!(findings(&mut admin), ["scope_undeclared sp"]);
    // Scopes that are not in it, in schemas that are.
    apply(&mut admin, &all);
    admin.run("SELECT scope.create_scope('rest', tables => '{vault}'); SELECT scope.create_credential('{rest}', 'rest_login')");
    let schema = all.replace(r#""scopes":"#, r#""schemas":["public"],"scopes":"#);
    assert!(!apply(&mut admin, &schema).is_empty());
    assert_eq!(findings(&mut admin), NOTHING);
    assert_eq!(apply(&mut admin, &schema), NOTHING);
}

#[test]
fn issuing_at_once_never_fails_and_writes_nothing_for_scopes_that_exist() {
    let f = Fixture::new("drift_crowd");
    let mut admin = f.admin();
    admin.run("CREATE TABLE t1 (); CREATE TABLE t2 (); CREATE TABLE t3 ()");
    let barrier = Barrier::new(8);
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let mut session = f.admin();
                barrier.wait();
                for _ in 0..5 {
                    for table in ["t1", "t2", "t3"] {
                        session.issue(&format!("'{table}'"));
                    }
                }
            });
        }
    });
    assert_eq!(
        admin.column("SELECT class || ' ' || object FROM _scope.scope_declaration ORDER BY 1"),
        [
            "database drift_crowd",
            "database drift_crowd",
            "database drift_crowd",
            "schema public",
            "schema public",
            "schema public",
            "table public.t1",
            "table public.t2",
            "table public.t3"
        ]
    );
    admin.assert_that("NOT EXISTS (SELECT FROM scope.review() WHERE code LIKE 'scope\\_%' AND role_name ~ '^t[123]_')");
    let mut session = f.admin();
    session.run("BEGIN");
    session.issue("'t1'");
    session.assert_that(
        "(SELECT seq_scan + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del = 0 FROM pg_stat_xact_all_tables WHERE relid = '_scope.scope_declaration'::regclass)",
    );
    session.run("COMMIT");
}

/// Grants are made from the last commit, in transactions with an older snapshot too; so are declarations.
#[test]
fn an_older_snapshot_does_not_stand_in_the_way_of_a_declaration() {
    let f = Fixture::new("drift_snapshot");
    let (mut one, mut two) = (f.admin(), f.admin());
    one.run("SELECT scope.create_scope('drift_snapshot_s', tables => '{orders}')");
    one.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    two.run("SELECT scope.alter_scope('drift_snapshot_s', 'remove', '{SELECT}', tables => '{orders}'); SELECT scope.alter_scope('drift_snapshot_s', 'add', '{UPDATE}', tables => '{vault}')");
    one.run("SELECT scope.alter_scope('drift_snapshot_s', 'add', '{INSERT}', tables => '{orders}'); SELECT scope.alter_scope('drift_snapshot_s', 'remove', '{UPDATE}', tables => '{vault}'); COMMIT");
    assert_eq!(
        one.column("SELECT object || ' ' || privileges::text FROM scope.scope_declarations WHERE scope = 'drift_snapshot_s' AND class = 'table'"),
        ["public.orders {INSERT}"]
    );
    one.assert_that("NOT EXISTS (SELECT FROM scope.review() WHERE role_name = 'drift_snapshot_s' AND code LIKE 'scope\\_%')");
}

/// What scopes are made for is named by names: another object that takes one is what the logins find, and are refused.
#[test]
fn a_table_that_was_replaced_by_renames_is_missed() {
    let server = Server::start(Options::default());
    let f = clean(&server, "drift_swap");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA app; CREATE TABLE app.a (id int); CREATE TABLE app.daily (id int, \"No\" int); CREATE SEQUENCE app.s;
         CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT scope.create_scope('sc', '{SELECT,INSERT}', tables => '{app.daily}');
         SELECT scope.create_scope('cols', '{SELECT}', tables => '{app.daily}', columns => '{No}');
         SELECT scope.create_scope('fn', functions => '{app.f(int)}'); SELECT scope.restrict_function('app.f(int)', '{fn}');
         SELECT scope.create_scope('sq', '{USAGE}', sequences => '{app.s}');
         SELECT scope.create_credential('{sc}', 'c1'); SELECT scope.create_credential('{cols}', 'c2'); SELECT scope.create_credential('{fn,sq}', 'c3')",
    );
    assert_eq!(findings(&mut admin), NOTHING);
    // A rename alone changes nothing.
    admin.run("ALTER TABLE app.daily RENAME TO daily_old; CREATE TABLE app.daily_new (id int, \"No\" int)");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("ALTER TABLE app.daily_new RENAME TO daily");
    let lost = [
        "scope_narrowed cols column \"No\" of app.daily",
        "scope_narrowed sc app.daily",
    ];
    assert_eq!(findings(&mut admin), lost);
    admin
        .assert_that("(SELECT bool_and(finding LIKE '%app.daily_old today%') FROM scope.review())");
    for fix in admin.column("SELECT fix FROM scope.review()") {
        admin.run(&fix);
    }
    assert_eq!(findings(&mut admin), NOTHING);
    f.login("c1").run(
        "INSERT INTO app.daily VALUES (1); SELECT * FROM app.daily; SELECT * FROM app.daily_old",
    );
    f.login("c2").run("SELECT \"No\" FROM app.daily");
    // The next day: the old one is dropped, and its name too.
    admin.run(
        "DROP TABLE app.daily_old; ALTER TABLE app.daily RENAME TO daily_old; CREATE TABLE app.daily (id int, \"No\" int); DROP TABLE app.daily_old",
    );
    assert_eq!(findings(&mut admin), lost);
    for fix in admin.column("SELECT fix FROM scope.review()") {
        admin.run(&fix);
    }
    assert_eq!(findings(&mut admin), NOTHING);
    f.login("c1")
        .run("INSERT INTO app.daily VALUES (1); SELECT * FROM app.daily");
    // Functions, sequences and whole schemas.
    admin.run(
        "ALTER FUNCTION app.f(int) RENAME TO f_old; CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT 2'; REVOKE EXECUTE ON FUNCTION app.f FROM PUBLIC;
         ALTER SEQUENCE app.s RENAME TO s_old; CREATE SEQUENCE app.s",
    );
    assert_eq!(
        findings(&mut admin),
        [
            "scope_narrowed fn function app.f(integer)",
            "scope_narrowed sq app.s"
        ]
    );
    for fix in admin.column("SELECT fix FROM scope.review()") {
        admin.run(&fix);
    }
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run(
        "SELECT scope.create_scope('whole', '{SELECT}', schemas => '{app}', future_tables => true); SELECT scope.create_credential('{whole}', 'c4');
         CREATE SCHEMA app_new; CREATE TABLE app_new.daily (id int, \"No\" int); ALTER SCHEMA app RENAME TO app_old; ALTER SCHEMA app_new RENAME TO app",
    );
    let found = findings(&mut admin);
    assert!(
        found.contains(&"scope_narrowed sc app.daily".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"scope_narrowed whole future tables in schema app".to_owned()),
        "{found:?}"
    );
    for fix in admin.column("SELECT fix FROM scope.review()") {
        admin.run(&fix);
    }
    assert_eq!(findings(&mut admin), NOTHING);
    f.login("c4").run("SELECT * FROM app.daily");
    f.login("c1").run("INSERT INTO app.daily VALUES (1)");
    // A dump knows both names.
    let names = "SELECT scope, object, declared_as FROM _scope.scope_declaration WHERE declared_as IS NOT NULL ORDER BY 1, 2, 3";
    assert!(!admin.rows(names).is_empty());
}
