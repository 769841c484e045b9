//! Logins that have more than they were issued with: each kind is found, and what is shown takes it away.

use super::{NOTHING, clean, findings};
use crate::harness::*;

fn scene<'a>(server: &'a Server, name: &str) -> Fixture<'a> {
    let f = clean(server, name);
    f.admin().run(
        "CREATE SCHEMA app; CREATE TABLE app.t (id int, note text); CREATE ROLE team; GRANT SELECT ON vault TO team; CREATE ROLE web; GRANT SELECT ON orders TO web;
         SELECT scope.create_scope('reads', tables => '{orders}'); SELECT scope.create_scope('writes', '{INSERT}', tables => '{vault}');
         SELECT scope.create_credential('{reads}', 'cred'); SELECT scope.create_authenticator('auth', '{web,reads}', valid_for => '1 day');
         SELECT scope.create_credential('{reads,writes}', 'both');
         SELECT scope.create_admin_role('{app}', 'boss')",
    );
    f.admin().run(
        "SELECT scope.accept_finding('plants_code', role_name, 'it creates', '1 day', object_name) FROM scope.review() WHERE code = 'plants_code'",
    );
    f
}

/// By hand; the finding ("code role object"); a word of what it says.
const WIDENED: &[(&str, &str, &str)] = &[
    (
        "GRANT team TO cred",
        "login_widened cred role team",
        "not issued with",
    ),
    (
        "GRANT writes TO cred",
        "login_widened cred role writes",
        "not issued with",
    ),
    (
        "GRANT team TO auth",
        "authenticator_widened auth role team",
        "not issued with",
    ),
    (
        "GRANT writes TO auth",
        "authenticator_widened auth role writes",
        "not issued with",
    ),
    (
        "ALTER ROLE cred CREATEDB",
        "login_widened cred attribute CREATEDB",
        "CREATEDB",
    ),
    (
        "ALTER ROLE auth CREATEDB",
        "authenticator_widened auth attribute CREATEDB",
        "CREATEDB",
    ),
    (
        "ALTER ROLE cred CREATEROLE",
        "createrole cred\nlogin_widened cred attribute CREATEROLE",
        "CREATEROLE",
    ),
    (
        "ALTER ROLE cred BYPASSRLS",
        "bypassrls cred\nlogin_widened cred attribute BYPASSRLS",
        "BYPASSRLS",
    ),
    (
        "ALTER ROLE auth REPLICATION",
        "authenticator_widened auth attribute REPLICATION\nreplication auth",
        "REPLICATION",
    ),
    (
        "ALTER ROLE auth INHERIT",
        "authenticator_widened auth attribute INHERIT",
        "without a token",
    ),
    (
        "ALTER ROLE boss INHERIT",
        "login_widened boss attribute INHERIT",
        "its own",
    ),
    (
        "GRANT SELECT, UPDATE ON vault TO cred",
        "login_widened cred public.vault",
        "SELECT, UPDATE",
    ),
    (
        "GRANT SELECT ON vault TO auth",
        "authenticator_widened auth public.vault",
        "SELECT",
    ),
    (
        "GRANT SELECT (secret) ON vault TO auth",
        "authenticator_widened auth column secret of public.vault",
        "SELECT",
    ),
    (
        "GRANT USAGE ON SCHEMA app TO cred",
        "login_widened cred schema app",
        "USAGE",
    ),
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION f FROM PUBLIC; GRANT EXECUTE ON FUNCTION f TO cred",
        "login_widened cred function public.f()",
        "EXECUTE",
    ),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO cred",
        "login_widened cred future tables of postgres in schema app",
        "SELECT",
    ),
    (
        "GRANT CREATE ON DATABASE logins_widened TO cred",
        "login_widened cred database logins_widened\nplants_code cred database logins_widened",
        "CREATE",
    ),
    (
        "GRANT CONNECT ON DATABASE postgres TO cred",
        "login_widened cred database postgres",
        "CONNECT",
    ),
    (
        "CREATE ROLE deputy; GRANT SELECT ON vault TO deputy WITH GRANT OPTION; SET ROLE deputy; GRANT SELECT ON vault TO cred; RESET ROLE",
        "login_widened cred public.vault",
        "SELECT",
    ),
    (
        "ALTER TABLE app.t OWNER TO cred",
        "login_widened cred what it owns",
        "table app.t",
    ),
];

#[test]
fn a_login_that_was_given_more_by_hand_is_found_and_loses_it() {
    let server = Server::start(Options::default());
    let f = scene(&server, "logins_widened");
    let mut admin = f.admin();
    assert_eq!(findings(&mut admin), NOTHING, "as they were issued");
    for (by_hand, found, word) in WIDENED {
        admin.run(by_hand);
        assert_eq!(
            findings(&mut admin),
            found.lines().collect::<Vec<_>>(),
            "{by_hand}"
        );
        let row = admin
            .rows("SELECT finding, fix FROM scope.review() WHERE code ~ '_widened$'")
            .remove(0);
        let [Some(finding), Some(fix)] = row.as_slice() else {
            panic!("{by_hand}: {row:?}");
        };
        assert!(
            finding.contains(word) && finding.contains("; with the fix, "),
            "{by_hand}: {finding}"
        );
        admin.run(fix);
        assert_eq!(findings(&mut admin), NOTHING, "{by_hand} and then {fix}");
    }
    // They work as they did.
    f.login("cred").run("SELECT * FROM orders");
    f.login("both")
        .run("SELECT * FROM orders; INSERT INTO vault VALUES ('more')");
    f.login("boss").run("CREATE TABLE app.made ()");
}

/// What the extension itself does with logins is no finding.
#[test]
fn a_login_as_it_was_issued_is_no_finding_whatever_happens_to_it_since() {
    let server = Server::start(Options::default());
    let f = scene(&server, "logins_as_issued");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.set_login_policy('cred', allow_local => true); SELECT scope.renew_role('cred', '2 days');
         ALTER ROLE reads RENAME TO looks; ALTER ROLE cred RENAME TO credential",
    );
    // The list of an authenticator's roles is by name.
    assert_eq!(
        findings(&mut admin),
        ["authenticator_widened auth role looks"]
    );
    admin.run("REVOKE looks FROM auth; SELECT scope.rotate_password('both', '1 hour'); SELECT scope.rotate_password('boss', '1 hour'); SELECT scope.rotate_password('auth', '1 hour')");
    assert_eq!(findings(&mut admin), NOTHING);
    let spec = r#"{"version":1,"authenticators":[{"name":"auth2","roles":["web"]}]}"#;
    admin.run(&format!("SELECT scope.apply({})", literal(spec)));
    admin.run(&format!(
        "SELECT scope.apply({})",
        literal(&spec.replace("\"web\"", "\"web\",\"writes\""))
    ));
    assert_eq!(findings(&mut admin), ["no_deadline auth2"]);
    // More scopes than a label has room for: which they were is not known, that they are scopes is.
    admin.run(
        "DO $$ BEGIN FOR i IN 1..60 LOOP PERFORM scope.create_scope('a_scope_of_many_with_a_long_name_' || i, tables => '{orders}'); END LOOP; END $$;
         SELECT scope.create_credential((SELECT array_agg(scope) FROM scope.scopes WHERE scope LIKE 'a\\_scope%'), 'many'); SELECT scope.revoke_role('auth2')",
    );
    wait_until("it is gone", 30, || findings(&mut admin) == NOTHING);
    admin.run("GRANT team TO many");
    assert_eq!(findings(&mut admin), ["login_widened many role team"]);
    admin.run("REVOKE team FROM many");
    // Restored into another server, roles have other numbers.
    let other = Server::start(Options::default());
    other
        .admin("postgres")
        .run("CREATE TABLE shifts_oids (); CREATE ROLE shifts_them");
    let dump = output(&mut server.client("pg_dumpall")).replacen("CREATE ROLE postgres;", "", 1);
    let file = server.socket().with_file_name("all.sql");
    std::fs::write(&file, dump).expect("the dump");
    output(
        other
            .client("psql")
            .args(["-X", "-q", "-f"])
            .arg(&file)
            .arg("postgres"),
    );
    other.admin("postgres").run("DROP ROLE shifts_them");
    let mut restored = other.admin("logins_as_issued");
    assert_eq!(findings(&mut restored), NOTHING);
}
