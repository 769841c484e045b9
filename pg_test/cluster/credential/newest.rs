//! Elevated functions decide on the newest state, whatever the caller's isolation level, and a rotation hands over what its caller
//! could give, no more.

use super::*;

const OLD: [&str; 2] = ["REPEATABLE READ", "SERIALIZABLE"];

/// A transaction whose snapshot is older than all that follows.
fn old(mut session: Session, level: &str) -> Session {
    session.run(&format!(
        "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM pg_auth_members"
    ));
    session
}

fn memberships(s: &mut Session, role: &str) -> Vec<String> {
    s.column(&format!(
        "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = '{role}'::regrole ORDER BY 1"
    ))
}

/// An issuer who owns `orders`, and a login of theirs.
fn issued(f: &Fixture) -> (String, Credential) {
    let owner = manager(f, "owner");
    f.admin()
        .run(&format!("ALTER TABLE orders OWNER TO {owner}"));
    let cred = f.login(&owner).issue("'orders', valid_for => '1 hour'");
    (owner, cred)
}

#[test]
fn a_rotation_in_an_old_snapshot_does_not_grant_what_was_revoked() {
    let f = Fixture::new("newest_rotate");
    let mut admin = f.admin();
    let (owner, _) = issued(&f);
    for (caller, level) in OLD
        .into_iter()
        .flat_map(|l| [(owner.as_str(), l), ("postgres", l)])
    {
        let cred = f.login(&owner).issue("'orders', valid_for => '1 hour'");
        let scope = admin.scope_of(&cred.role);
        admin.run(&format!(
            "GRANT pg_read_all_data TO {0}; GRANT CONNECT ON DATABASE newest_rotate TO {0}; ALTER ROLE {0} CONNECTION LIMIT 7",
            cred.role
        ));
        let mut s = old(f.login(caller), level);
        admin.run(&format!(
            "REVOKE pg_read_all_data FROM {0}; REVOKE CONNECT ON DATABASE newest_rotate FROM {0}; ALTER ROLE {0} CONNECTION LIMIT 3;
             ALTER ROLE {0} SET work_mem = '1MB'",
            cred.role
        ));
        let next = s.handed(&format!("scope.rotate_password('{}', '10 min')", cred.role));
        s.run("COMMIT");
        assert_eq!(
            memberships(&mut admin, &next.role),
            [scope],
            "{caller} {level}"
        );
        admin.assert_that(&format!(
            "(SELECT rolconnlimit = 3 FROM pg_roles WHERE rolname = '{0}')
             AND (SELECT setconfig FROM pg_db_role_setting WHERE setrole = '{0}'::regrole) @> '{{work_mem=1MB}}'
             AND NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE a.grantee = '{0}'::regrole)",
            next.role
        ));
        next.connect().denied("SELECT * FROM vault", "42501");
        assert_eq!(s.notices().len(), 0);
    }
}

#[test]
fn a_rotation_in_an_old_snapshot_of_what_was_granted_since_hands_out_nothing() {
    let f = Fixture::new("newest_granted");
    let mut admin = f.admin();
    let (owner, _) = issued(&f);
    for level in OLD {
        let cred = f.login(&owner).issue("'orders', valid_for => '1 hour'");
        let mut s = old(f.login(&owner), level);
        admin.run(&format!("GRANT pg_read_all_data TO {}", cred.role));
        let refusal = s.refused(
            &format!("SELECT scope.rotate_password('{}')", cred.role),
            "42501",
        );
        assert!(refusal.detail.contains("pg_read_all_data"), "{refusal}");
        s.run("ROLLBACK");
    }
}

#[test]
fn a_rotation_with_overlap_leaves_out_what_its_caller_could_not_give_and_says_so() {
    let f = Fixture::new("newest_left_out");
    let mut admin = f.admin();
    let (owner, cred) = issued(&f);
    let scope = admin.scope_of(&cred.role);
    let (given, taken) = (f.role("given", "NOLOGIN"), f.role("taken", "NOLOGIN"));
    admin.run(&format!(
        "GRANT {given} TO {owner} WITH ADMIN OPTION; GRANT {given}, {taken}, pg_read_all_data TO {0};
         GRANT SELECT ON vault TO {0}; ALTER ROLE {0} CREATEDB;
         GRANT CONNECT ON DATABASE postgres TO {0}",
        cred.role
    ));
    let mut s = f.login(&owner);
    let rows = s.rows(&format!(
        "SELECT role_name, array_to_string(left_out, '; ') FROM scope.rotate_password('{}', '10 min')",
        cred.role
    ));
    let (next, left_out) = (
        rows[0][0].clone().expect("a role"),
        rows[0][1].clone().expect("a list"),
    );
    let mut expected = [given.clone(), scope.clone()];
    expected.sort();
    assert_eq!(memberships(&mut admin, &next), expected);
    admin.assert_that(&format!(
        "(SELECT NOT rolcreatedb FROM pg_roles WHERE rolname = '{next}')
         AND NOT has_table_privilege('{next}', 'vault', 'SELECT')
         AND NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE a.grantee = '{next}'::regrole)"
    ));
    let notices = s.notices();
    let told = notices
        .iter()
        .find(|notice| notice.message.contains(&next))
        .unwrap_or_else(|| panic!("no notice: {notices:?}"));
    for what in [
        taken.as_str(),
        "pg_read_all_data",
        "vault",
        "CREATEDB",
        "database postgres",
    ] {
        assert!(
            left_out.contains(what) && told.detail.contains(what),
            "{what}: {left_out} / {told}"
        );
    }
    assert!(
        !left_out.contains(&given) && !left_out.contains(&scope),
        "{left_out}"
    );
    // The audit trail says so as well.
    admin.assert_that(&format!(
        "(SELECT details ->> 'left_out' FROM scope.audit_log WHERE function = 'rotate_password' ORDER BY at DESC LIMIT 1) LIKE '%{taken}%'"
    ));
    admin.run(&format!(
        "REVOKE CONNECT ON DATABASE postgres FROM {}",
        cred.role
    ));
    // Who may give all of it carries over memberships and CONNECT, and is told of the rest.
    let cred = f.login(&owner).issue("'orders', valid_for => '1 hour'");
    admin.run(&format!(
        "GRANT {taken} TO {0}; GRANT SELECT ON vault TO {0}; GRANT CONNECT ON DATABASE newest_left_out TO {0}",
        cred.role
    ));
    admin.notices();
    let rows = admin.rows(&format!(
        "SELECT role_name, array_to_string(left_out, '; ') FROM scope.rotate_password('{}', '10 min')",
        cred.role
    ));
    let next = rows[0][0].clone().expect("a role");
    assert!(memberships(&mut admin, &next).contains(&taken));
    admin.assert_that(&format!(
        "EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE a.grantee = '{next}'::regrole)"
    ));
    assert_eq!(rows[0][1].as_deref(), Some("SELECT on public.vault"));
}

#[test]
fn nobody_gets_the_password_of_a_login_that_others_have_widened() {
    let f = Fixture::new("newest_widened");
    let mut admin = f.admin();
    let (owner, cred) = issued(&f);
    let group = f.role("group", "NOLOGIN");
    let role = cred.role.clone();
    let rotate = format!("SELECT scope.rotate_password('{role}')");
    let mut s = f.login(&owner);
    s.run(&rotate);
    let ways = [
        (
            format!("GRANT {group} TO {role}"),
            format!("REVOKE {group} FROM {role}"),
            group.clone(),
        ),
        (
            format!("GRANT SELECT ON vault TO {role}"),
            format!("REVOKE SELECT ON vault FROM {role}"),
            "SELECT on public.vault".into(),
        ),
        (
            format!("GRANT SELECT (secret) ON vault TO {role}"),
            format!("REVOKE SELECT (secret) ON vault FROM {role}"),
            "vault".into(),
        ),
        (
            format!("ALTER ROLE {role} CREATEDB"),
            format!("ALTER ROLE {role} NOCREATEDB"),
            "CREATEDB".into(),
        ),
        (
            format!("ALTER ROLE {role} BYPASSRLS"),
            format!("ALTER ROLE {role} NOBYPASSRLS"),
            "BYPASSRLS".into(),
        ),
        (
            format!("ALTER ROLE {role} CREATEROLE"),
            format!("ALTER ROLE {role} NOCREATEROLE"),
            "CREATEROLE".into(),
        ),
        (
            format!("ALTER ROLE {role} REPLICATION"),
            format!("ALTER ROLE {role} NOREPLICATION"),
            "REPLICATION".into(),
        ),
        (
            format!("CREATE TABLE theirs (x int); ALTER TABLE theirs OWNER TO {role}"),
            "DROP TABLE theirs".into(),
            "theirs".into(),
        ),
        (
            format!("CREATE POLICY all_of_it ON vault TO {role} USING (true)"),
            "DROP POLICY all_of_it ON vault".into(),
            "all_of_it".into(),
        ),
        (
            format!("GRANT CREATE ON DATABASE newest_widened TO {role}"),
            format!("REVOKE CREATE ON DATABASE newest_widened FROM {role}"),
            "CREATE on database newest_widened".into(),
        ),
        (
            format!("GRANT SET ON PARAMETER session_replication_role TO {role}"),
            format!("REVOKE SET ON PARAMETER session_replication_role FROM {role}"),
            "session_replication_role".into(),
        ),
        // The issuer's own table, with a right that its new owner would have to give.
        (
            format!(
                "GRANT UPDATE ON orders TO {role}; ALTER TABLE orders OWNER TO postgres; GRANT SELECT ON orders TO {owner} WITH GRANT OPTION"
            ),
            format!("REVOKE UPDATE ON orders FROM {role}; ALTER TABLE orders OWNER TO {owner}"),
            "UPDATE on public.orders".into(),
        ),
    ];
    for (widen, narrow, what) in &ways {
        admin.run(widen);
        let refusal = s.refused(&rotate, "42501");
        assert!(refusal.detail.contains(what.as_str()), "{widen}: {refusal}");
        // They may still end it, and a superuser may still rotate it.
        admin.run(&format!("BEGIN; {rotate}; ROLLBACK"));
        s.run(&format!(
            "BEGIN; SELECT scope.revoke_role('{role}'); ROLLBACK"
        ));
        admin.run(narrow);
        s.run(&rotate);
    }
    // What the issuer could give, others may have given as well; temporary tables are nothing.
    admin.run(&format!("GRANT UPDATE ON orders TO {role}; GRANT {group} TO {role}; GRANT {group} TO {owner} WITH ADMIN OPTION"));
    let next = s.handed(&format!("scope.rotate_password('{role}')"));
    let mut own = next.connect();
    own.run("CREATE TEMPORARY TABLE mine (x int)");
    s.run(&rotate);
    let _ = own.attempt("SELECT 1");
}

#[test]
fn the_scope_of_a_login_that_others_have_widened_is_not_handed_out_again() {
    let f = Fixture::new("newest_scope");
    let mut admin = f.admin();
    let (owner, cred) = issued(&f);
    let (group, scope) = (f.role("group", "NOLOGIN"), admin.scope_of(&cred.role));
    let mut s = f.login(&owner);
    let person = f.role("person", "LOGIN");
    let calls = [
        format!("SELECT scope.create_credential('{{{scope}}}')"),
        format!("SELECT scope.rotate_password('{}')", cred.role),
        format!("SELECT scope.grant_temporary('{scope}', '{person}', '1 hour')"),
        format!("SELECT scope.create_authenticator('newest_scope_api', '{{{scope}}}')"),
    ];
    for (widen, narrow) in [
        (
            format!("GRANT {group} TO {scope}"),
            format!("REVOKE {group} FROM {scope}"),
        ),
        (
            format!("GRANT SELECT ON vault TO {scope}"),
            format!("REVOKE SELECT ON vault FROM {scope}"),
        ),
    ] {
        for call in &calls {
            s.run(&format!("BEGIN; {call}; ROLLBACK"));
        }
        admin.run(&widen);
        for call in &calls {
            let refusal = s.refused(call, "42501");
            assert!(!refusal.detail.is_empty(), "{call}: {refusal}");
        }
        admin.run(&narrow);
    }
}

/// One function after the other: what was decided in the meantime counts.
#[test]
fn every_elevated_function_decides_on_the_newest_state() {
    let f = Fixture::new("newest_all");
    let mut admin = f.admin();
    let (owner, _) = issued(&f);
    admin.run("CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    admin.run(&format!(
        "ALTER FUNCTION peek() OWNER TO {owner}; GRANT EXECUTE ON FUNCTION peek() TO PUBLIC"
    ));
    let (group, person) = (f.role("group", "NOLOGIN"), f.role("person", "LOGIN"));
    for level in OLD {
        let (cred, scope) = {
            let cred = f.login(&owner).issue("'orders', valid_for => '1 hour'");
            let scope = admin.scope_of(&cred.role);
            (cred, scope)
        };
        let cred = &cred.role;
        // (what changes meanwhile, the call, what comes of it, and back again)
        let changes: [(String, String, String); 6] = [
            (
                "ALTER TABLE orders OWNER TO postgres".into(),
                "SELECT scope.create_readonly_role('orders')".into(),
                format!("ALTER TABLE orders OWNER TO {owner}"),
            ),
            (
                "ALTER TABLE orders OWNER TO postgres".into(),
                format!("SELECT scope.create_credential('{{{scope}}}')"),
                format!("ALTER TABLE orders OWNER TO {owner}"),
            ),
            (
                "ALTER TABLE orders OWNER TO postgres".into(),
                "SELECT scope.create_scope('newest_all_made', '{select}', tables => '{orders}')"
                    .into(),
                format!("ALTER TABLE orders OWNER TO {owner}"),
            ),
            (
                "ALTER TABLE orders OWNER TO postgres".into(),
                format!(
                    "SELECT scope.alter_scope('{scope}', 'add', '{{update}}', tables => '{{orders}}')"
                ),
                format!("ALTER TABLE orders OWNER TO {owner}"),
            ),
            (
                "ALTER FUNCTION peek() OWNER TO postgres".into(),
                format!("SELECT scope.restrict_function('peek()', '{{{scope}}}')"),
                format!("ALTER FUNCTION peek() OWNER TO {owner}"),
            ),
            (
                "ALTER TABLE orders OWNER TO postgres".into(),
                format!("SELECT scope.grant_temporary('{scope}', '{person}', '1 hour')"),
                format!("ALTER TABLE orders OWNER TO {owner}"),
            ),
        ];
        for (meanwhile, call, back) in &changes {
            let mut s = old(f.login(&owner), level);
            admin.run(meanwhile);
            s.refused(call, "42501");
            s.run("ROLLBACK");
            admin.run(back);
            f.login(&owner).run(&format!("BEGIN; {call}; ROLLBACK"));
        }
        // A member that has come since keeps a scope.
        let mut s = old(f.login(&owner), level);
        let other = f
            .login(&owner)
            .handed(&format!("scope.create_credential('{{{scope}}}')"))
            .role;
        admin.run(&format!("SELECT scope.revoke_role('{cred}')"));
        let refusal = s.refused(&format!("SELECT scope.drop_scope('{scope}')"), "2BP01");
        assert!(refusal.detail.contains(&other), "{refusal}");
        s.run("ROLLBACK");
        // Grants to a scope that have come since go with it.
        let mut s = old(f.login(&owner), level);
        admin.run(&format!("GRANT SELECT ON vault TO {scope}"));
        s.run(&format!(
            "SELECT scope.drop_scope('{scope}', force => true)"
        ));
        s.run("COMMIT");
        wait_until("the scope is dropped", 20, || !admin.role_exists(&scope));
        // A membership that has come since is taken away with what came before.
        let mut s = old(f.admin(), level);
        admin.run(&format!(
            "SELECT scope.grant_temporary('{group}', '{person}', '1 hour')"
        ));
        s.run(&format!(
            "SELECT scope.revoke_temporary('{group}', '{person}')"
        ));
        s.run("COMMIT");
        admin.assert_that(&format!("NOT pg_has_role('{person}', '{group}', 'USAGE')"));
    }
}

#[test]
fn an_end_in_an_old_snapshot_takes_what_was_granted_since() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "newest_end");
    let mut admin = f.admin();
    let group = f.role("group", "NOLOGIN");
    for level in OLD {
        let late = admin.issue("'orders', valid_for => '1 s'").role;
        let mut s = old(f.admin(), level);
        admin.run(&format!(
            "GRANT SELECT ON vault TO {late}; GRANT {group} TO {late}; SELECT pg_sleep(1.1)"
        ));
        let actions = s.column(&format!(
            "SELECT action || coalesce(': ' || detail, '') FROM scope.expire_roles() WHERE role_name = '{late}'"
        ));
        s.run("COMMIT");
        assert_eq!(actions, ["dropped"], "{level}");
    }
}
