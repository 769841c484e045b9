//! What a credential was given by hand, here and elsewhere, is taken away before it goes.

use super::{wait_for_deadline, wait_until_gone};
use crate::harness::*;

/// No ACL of this database names a role that no longer exists: such an entry shows as a number.
#[track_caller]
fn assert_no_dangling_grants(admin: &mut Session) {
    for (catalogue, column) in [
        ("pg_class", "relacl"),
        ("pg_namespace", "nspacl"),
        ("pg_proc", "proacl"),
        ("pg_database", "datacl"),
        ("pg_default_acl", "defaclacl"),
        ("pg_attribute", "attacl"),
    ] {
        admin.assert_that(&format!(
            "NOT EXISTS (SELECT FROM {catalogue}, aclexplode({column}) a WHERE a.grantee <> 0 AND NOT EXISTS
             (SELECT FROM pg_roles WHERE oid = a.grantee))"
        ));
    }
}

#[test]
fn grants_in_this_database_by_anyone() {
    let f = Fixture::new("cleanup_here");
    let mut admin = f.admin();
    let (owner, grantor) = (f.role("owner", "LOGIN"), f.role("grantor", "LOGIN"));
    let cred = admin.issue("'orders', valid_for => '4 s'");
    admin.run(&format!(
        "CREATE TABLE lent (x int, y int); ALTER TABLE lent OWNER TO {owner}; GRANT SELECT, INSERT ON lent TO {grantor} WITH GRANT OPTION;
         GRANT SELECT (secret) ON vault TO {role}; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         GRANT EXECUTE ON FUNCTION f() TO {role}; GRANT USAGE, CREATE ON SCHEMA public TO {role}; GRANT CREATE ON DATABASE cleanup_here TO {role}",
        role = cred.role
    ));
    // DROP OWNED forgets what was granted by others than the owner.
    f.login(&grantor)
        .run(&format!("GRANT SELECT ON lent TO {}", cred.role));
    f.login(&owner)
        .run(&format!("GRANT INSERT ON lent TO {}", cred.role));
    wait_until_gone(f.server, &cred.role, 25);
    assert_no_dangling_grants(&mut admin);
    admin.assert_that("EXISTS (SELECT FROM pg_class WHERE relname = 'lent')");
    // What others hold is still theirs.
    f.login(&grantor)
        .run("SELECT * FROM lent; INSERT INTO lent VALUES (1, 2)");
}

#[test]
fn grants_in_another_database() {
    let (f, g) = (Fixture::new("cleanup_home"), Fixture::new("cleanup_away"));
    f.server
        .admin("postgres")
        .run("CREATE DATABASE cleanup_bare");
    let cred = f.admin().issue("'orders', valid_for => '4 s'");
    g.admin().run(&format!(
        "GRANT SELECT ON orders TO {0}; GRANT USAGE ON SCHEMA public TO {0}",
        cred.role
    ));
    // A database without the extension.
    let mut bare = f.server.admin("cleanup_bare");
    bare.run(&format!(
        "CREATE TABLE t (x int); GRANT SELECT ON t TO {}",
        cred.role
    ));
    drop(bare);
    wait_until_gone(f.server, &cred.role, 30);
    assert_no_dangling_grants(&mut f.admin());
    assert_no_dangling_grants(&mut g.admin());
    assert_no_dangling_grants(&mut f.server.admin("cleanup_bare"));
}

#[test]
fn default_privileges_and_policies() {
    let f = Fixture::new("cleanup_defaults");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '3 s'");
    let other = f.role("other", "NOLOGIN");
    admin.run(&format!(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {role};
         ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO {role};
         ALTER TABLE vault ENABLE ROW LEVEL SECURITY;
         CREATE POLICY shared ON vault TO {role}, {other} USING (true)",
        role = cred.role
    ));
    wait_until_gone(f.server, &cred.role, 25);
    assert_no_dangling_grants(&mut admin);
    assert_eq!(
        admin.text("SELECT polroles::regrole[]::text FROM pg_policy WHERE polname = 'shared'"),
        format!("{{{other}}}")
    );
}

#[test]
fn memberships_and_settings_of_the_credential() {
    let f = Fixture::new("cleanup_members");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '3 s'");
    let (group, member) = (f.role("group", "NOLOGIN"), f.role("member", "NOLOGIN"));
    admin.run(&format!(
        "GRANT {group} TO {role}; GRANT {role} TO {member}; ALTER ROLE {role} SET work_mem = '1MB';
         ALTER ROLE {role} IN DATABASE cleanup_members SET work_mem = '2MB'; COMMENT ON ROLE {role} IS 'by hand'",
        role = cred.role
    ));
    wait_until_gone(f.server, &cred.role, 25);
    admin.assert_that("NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setrole <> 0 AND setrole NOT IN (SELECT oid FROM pg_roles))");
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_auth_members WHERE member NOT IN (SELECT oid FROM pg_roles))",
    );
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid NOT IN (SELECT oid FROM pg_roles))",
    );
    assert!(admin.role_exists(&group) && admin.role_exists(&member));
}

/// A credential that was itself given a grant option and used it: whoever got something from it must not keep the role alive.
#[test]
fn grants_that_the_credential_made() {
    let f = Fixture::new("cleanup_regrant");
    let mut admin = f.admin();
    let third = f.role("third", "LOGIN");
    // One that only reads may grant nothing.
    let cred = admin.handed("scope.create_readwrite_role('orders', valid_for => '4 s')");
    admin.run(&format!(
        "GRANT SELECT ON vault TO {} WITH GRANT OPTION",
        cred.role
    ));
    f.login(&cred.role)
        .run(&format!("GRANT SELECT ON vault TO {third}"));
    f.login(&third).rows("SELECT * FROM vault");
    let ended = format!(
        "(SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = {})",
        literal(&cred.role)
    );
    wait_until("the credential is at its end", 25, || {
        !admin.role_exists(&cred.role) || admin.holds(&ended)
    });
    if admin.role_exists(&cred.role) {
        let told = format!(
            "(SELECT state = 'quarantined' AND last_error <> '' FROM scope.roles WHERE role = {})",
            literal(&cred.role)
        );
        wait_until("it is dropped or its reason told", 25, || {
            !admin.role_exists(&cred.role) || admin.holds(&told)
        });
    } else {
        f.login(&third).denied("SELECT * FROM vault", "42501");
        assert_no_dangling_grants(&mut admin);
    }
}

#[test]
fn the_table_was_dropped_first() {
    let f = Fixture::new("cleanup_table");
    let mut admin = f.admin();
    let cred = admin.issue("'vault', valid_for => '3 s'");
    admin.run("DROP TABLE vault");
    wait_until_gone(f.server, &cred.role, 20);
}

#[test]
fn the_scope_was_dropped_or_renamed_first() {
    let f = Fixture::new("cleanup_scope");
    let mut admin = f.admin();
    let (one, two) = (
        admin.issue("'orders', valid_for => '3 s'"),
        admin.issue("'vault', valid_for => '3 s'"),
    );
    let (first, second) = (admin.scope_of(&one.role), admin.scope_of(&two.role));
    admin.run(&format!("DROP OWNED BY {first}; DROP ROLE {first}; ALTER ROLE {second} RENAME TO cleanup_scope_renamed"));
    wait_until_gone(f.server, &one.role, 20);
    wait_until_gone(f.server, &two.role, 20);
    // A scope that is gone is made again.
    admin
        .issue("'orders'")
        .connect()
        .rows("SELECT * FROM orders");
}

#[test]
fn a_renamed_credential_still_ends() {
    let f = Fixture::new("cleanup_renamed");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '4 s'");
    let mut s = f.login(&cred.role);
    admin.run(&format!(
        "ALTER ROLE {} RENAME TO \"cleanup Renamed\"",
        cred.role
    ));
    wait_until_gone(f.server, "cleanup Renamed", 20);
    super::assert_terminated(f.server, &mut s);
}

#[test]
fn the_database_of_the_scope_was_dropped() {
    let (f, g) = (
        Fixture::new("cleanup_dropped_database"),
        Fixture::new("cleanup_other_database"),
    );
    let cred = f.admin().issue("'orders', valid_for => '3 s'");
    f.server
        .admin("postgres")
        .run("DROP DATABASE cleanup_dropped_database");
    wait_until_gone(f.server, &cred.role, 20);
    g.admin().rows("SELECT * FROM scope.roles");
}

#[test]
fn a_database_that_refuses_connections_does_not_hold_up_others() {
    let (f, g) = (
        Fixture::new("cleanup_closed_home"),
        Fixture::new("cleanup_closed"),
    );
    let mut admin = f.admin();
    let stuck = admin.issue("'orders', valid_for => '3 s'");
    let free = admin.issue("'orders', valid_for => '3 s'");
    g.admin()
        .run(&format!("GRANT SELECT ON orders TO {}", stuck.role));
    f.server
        .admin("postgres")
        .run("ALTER DATABASE cleanup_closed ALLOW_CONNECTIONS false");
    wait_until_gone(f.server, &free.role, 25);
    let told = format!(
        "(SELECT state <> 'active' AND last_error <> '' FROM scope.roles WHERE role = {})",
        literal(&stuck.role)
    );
    wait_until("the reason is told", 25, || {
        !admin.role_exists(&stuck.role) || admin.holds(&told)
    });
    assert!(
        f.server
            .try_login(&stuck.role, "cleanup_closed_home")
            .is_err()
    );
    f.server
        .admin("postgres")
        .run("ALTER DATABASE cleanup_closed ALLOW_CONNECTIONS true");
    // What failed is tried again; asking for it does not wait for the worker's patience.
    wait_until("it is dropped after all", 30, || {
        admin.run("SELECT * FROM scope.expire_roles()");
        !admin.role_exists(&stuck.role)
    });
    assert_no_dangling_grants(&mut g.admin());
}

#[test]
fn the_extension_was_dropped_first() {
    let f = Fixture::new("cleanup_extension");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '3 s'");
    let mut s = cred.connect();
    admin.run("DROP EXTENSION scope_roles");
    wait_for_deadline(f.server, &cred);
    wait_until_gone(f.server, &cred.role, 20);
    super::assert_terminated(f.server, &mut s);
}

/// Whoever looks after the server is shown the statement that lets the role go, not one that does nothing.
#[test]
fn prepared_transaction_of_the_credential_is_shown_with_what_ends_it() {
    let f = Fixture::new("cleanup_prepared");
    let mut admin = f.admin();
    let role = admin.handed("scope.create_readwrite_role('orders')").role;
    f.login(&role)
        .run("BEGIN; DELETE FROM orders; PREPARE TRANSACTION E'it''s\n; --'");
    admin.run(&format!("SELECT scope.revoke_role('{role}')"));
    let found = format!("FROM scope.review() WHERE code = 'failing' AND role_name = '{role}'");
    wait_until("it waits", 25, || {
        admin.holds(&format!("EXISTS (SELECT {found})"))
    });
    let fix = admin.text(&format!("SELECT fix {found}"));
    admin.run(&fix);
    wait_until_gone(f.server, &role, 40);
    assert_eq!(admin.text("SELECT count(*) FROM orders"), "2");
}
