//! A credential can't change its own password, settings, labels or memberships, by whatever way.

use super::*;

/// Every way to say it. `{me}` is the credential, `{other}` an ordinary role, `{scope}` its scope.
const ATTACKS: &[&str] = &[
    "ALTER ROLE {me} PASSWORD 'mine'",
    "ALTER USER {me} PASSWORD 'mine'",
    "ALTER ROLE CURRENT_USER PASSWORD 'mine'",
    "ALTER ROLE SESSION_USER PASSWORD 'mine'",
    "ALTER ROLE CURRENT_ROLE PASSWORD 'mine'",
    "ALTER ROLE {me} WITH ENCRYPTED PASSWORD 'mine'",
    "ALTER ROLE {me} PASSWORD NULL",
    "ALTER ROLE {me} VALID UNTIL 'infinity'",
    "ALTER ROLE {me} CONNECTION LIMIT -1",
    "ALTER ROLE {me} SET statement_timeout = 0",
    "ALTER USER CURRENT_USER SET search_path = evil",
    "ALTER ROLE {me} SET search_path FROM CURRENT",
    "ALTER ROLE {me} SET session_preload_libraries = 'evil'",
    "ALTER ROLE {me} IN DATABASE credential_itself SET statement_timeout = 0",
    "ALTER ROLE CURRENT_USER IN DATABASE postgres SET role = '{scope}'",
    "ALTER ROLE {me} RESET statement_timeout",
    "ALTER ROLE {me} RESET ALL",
    "ALTER ROLE ALL SET statement_timeout = 0",
    "ALTER ROLE {me} RENAME TO somebody",
    "GRANT {me} TO {other}",
    "GRANT {scope} TO {other}",
    "GRANT {other} TO {me}",
    "GRANT {me} TO {other} WITH ADMIN OPTION",
    "REVOKE {scope} FROM {me}",
    "REVOKE {scope} FROM CURRENT_USER",
    "ALTER GROUP {scope} DROP USER {me}",
    "ALTER GROUP {me} ADD USER {other}",
    "DROP ROLE {me}",
    "DROP ROLE {scope}",
    "DROP OWNED BY {scope}",
    "CREATE ROLE another",
    "COMMENT ON ROLE {me} IS 'x'",
    "SECURITY LABEL FOR scope_roles ON ROLE {me} IS NULL",
    "SECURITY LABEL FOR scope_roles ON ROLE {me} IS '{}'",
];

struct Scene {
    f: Fixture<'static>,
    cred: Credential,
    scope: String,
    other: String,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let f = Fixture::new(name);
        let mut admin = f.admin();
        let scope = scope_for(&f, &mut admin, "orders");
        let cred = admin.handed(&format!(
            "scope.create_credential('{{{scope}}}', statement_timeout => '30 s', connection_limit => 3)"
        ));
        let other = f.role("other", "NOLOGIN");
        Scene {
            f,
            cred,
            scope,
            other,
        }
    }

    fn sql(&self, attack: &str) -> String {
        attack
            .replace("{me}", &self.cred.role)
            .replace("{other}", &self.other)
            .replace("{scope}", &self.scope)
    }

    /// All that a role is: its row, settings, memberships and label.
    fn state(&self) -> Rows {
        self.f.admin().rows(&format!(
            "SELECT r.*::text, (SELECT string_agg(s::text, ' ' ORDER BY s::text) FROM pg_db_role_setting s WHERE setrole = r.oid),
                    (SELECT string_agg(m::text, ' ' ORDER BY m::text) FROM pg_auth_members m WHERE r.oid IN (roleid, member)),
                    (SELECT label FROM pg_shseclabel WHERE objoid = r.oid), shobj_description(r.oid, 'pg_authid')
               FROM pg_authid r WHERE rolname IN ('{}', '{}', '{}') ORDER BY rolname",
            self.cred.role, self.scope, self.other
        ))
    }
}

type Rows = Vec<Vec<Option<String>>>;

#[test]
fn every_statement_that_changes_a_role_is_refused() {
    let scene = Scene::new("credential_itself");
    let before = scene.state();
    let mut s = scene.cred.connect();
    for attack in ATTACKS {
        let sql = scene.sql(attack);
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = s.attempt_by(protocol, &sql).expect_err(&sql);
            assert_eq!(refusal.code, "42501", "{sql}: {refusal}");
            assert!(
                !refusal.detail.is_empty() && !refusal.hint.is_empty(),
                "{sql}: {refusal}"
            );
        }
        // Inside other statements and blocks.
        s.refused(&format!("DO $do$ BEGIN {sql}; END $do$"), "42501");
        s.refused(
            &format!("DO $do$ BEGIN EXECUTE {}; END $do$", literal(&sql)),
            "42501",
        );
        s.refused(&format!("SELECT 1; {sql}"), "42501");
        s.run("BEGIN");
        s.refused(&sql, "42501");
        s.run("ROLLBACK");
    }
    assert_eq!(scene.state(), before);
}

#[test]
fn functions_and_procedures_are_no_way_round() {
    let scene = Scene::new("credential_itself_function");
    let before = scene.state();
    let role = &scene.cred.role;
    scene.f.admin().run(&format!(
        "CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE CURRENT_USER PASSWORD 'mine'; END $$;
         CREATE FUNCTION change_sql() RETURNS void LANGUAGE sql AS 'ALTER ROLE {role} SET work_mem = ''1MB''';
         CREATE PROCEDURE change_call() LANGUAGE plpgsql AS $$ BEGIN COMMIT; ALTER ROLE {role} RESET ALL; END $$"
    ));
    let mut s = scene.cred.connect();
    for sql in [
        "SELECT change()",
        "SELECT change_sql()",
        "CALL change_call()",
    ] {
        s.refused(sql, "42501");
    }
    assert_eq!(scene.state(), before);
}

#[test]
fn the_role_taken_by_set_role_is_no_way_round() {
    let scene = Scene::new("credential_itself_role");
    let before = scene.state();
    let mut s = scene.cred.connect();
    // From 16 on a credential cannot take its scope.
    if scene.f.server.version() < 160_000 {
        s.run(&format!("SET ROLE {}", scene.scope));
        for attack in ATTACKS {
            s.refused(&scene.sql(attack), "42501");
        }
    }
    assert_eq!(scene.state(), before);
    // Somebody was generous: not even a role that may change others.
    let admin_role = scene.f.role("admin_role", "NOLOGIN CREATEROLE");
    scene
        .f
        .admin()
        .run(&format!("GRANT {admin_role} TO {}", scene.cred.role));
    let mut s = scene.cred.connect();
    s.run(&format!("SET ROLE {admin_role}"));
    for attack in ATTACKS {
        s.refused(&scene.sql(attack), "42501");
    }
}

#[test]
fn an_authenticator_and_what_its_tokens_take_are_refused_too() {
    let f = Fixture::new("credential_itself_gated");
    let role = f.role("web", "NOLOGIN");
    let gated = f.admin().handed(&format!(
        "scope.create_authenticator('credential_itself_api', '{{{role}}}')"
    ));
    let mut s = gated.connect();
    s.refused("ALTER ROLE CURRENT_USER PASSWORD 'mine'", "42501");
    let token = sign(&serde_json::json!({"role": role, "sub": "ann", "exp": now() + 600}));
    s.run(&format!(
        "BEGIN; SELECT scope.set_jwt_role({})",
        literal(&token)
    ));
    s.refused("ALTER ROLE CURRENT_USER SET work_mem = '1MB'", "42501");
    s.run("ROLLBACK");
    f.admin().assert_that(&format!(
        "(SELECT string_agg(setconfig::text, '') = '{{session_preload_libraries=scope_roles}}' FROM pg_db_role_setting WHERE setrole IN ('{role}'::regrole, '{}'::regrole))",
        gated.role
    ));
}

#[test]
fn a_session_still_sets_what_it_likes_and_others_are_left_alone() {
    let scene = Scene::new("credential_itself_allowed");
    let mut s = scene.cred.connect();
    s.run(
        "SET statement_timeout = '1 min'; SET LOCAL work_mem = '1MB'; RESET statement_timeout; SELECT set_config('search_path', 'public', false);
         RESET ALL; SET application_name = 'x'; CREATE TEMP TABLE t (x int); COMMENT ON TABLE t IS 'mine'",
    );
    s.run("DISCARD ALL");
    let person = scene.f.role("person", "LOGIN");
    let mut p = scene.f.login(&person);
    p.run(&format!(
        "ALTER ROLE {person} PASSWORD 'mine'; ALTER ROLE CURRENT_USER SET work_mem = '2MB'; ALTER ROLE {person} RESET ALL"
    ));
    // What an administrator offers on purpose is the administrator's doing.
    scene.f.admin().run(&format!(
        "CREATE FUNCTION set_work_mem() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS
            $$ BEGIN EXECUTE format('ALTER ROLE %I SET work_mem = ''4MB''', session_user); END $$;
         GRANT EXECUTE ON FUNCTION set_work_mem() TO {}",
        scene.cred.role
    ));
    s.run("SELECT set_work_mem()");
    scene.f.admin().run(&format!(
        "ALTER ROLE {} SET work_mem = '8MB'",
        scene.cred.role
    ));
}

#[test]
fn it_neither_renews_nor_rotates_nor_revokes_itself() {
    let scene = Scene::new("credential_itself_life");
    let role = &scene.cred.role;
    let team = scene.f.role("team", "NOLOGIN");
    let mut admin = scene.f.admin();
    // Even as a member of its own creator, with EXECUTE on everything.
    admin.run(&format!(
        "ALTER TABLE vault OWNER TO {team}; GRANT {team} TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {role}, {team}; SET ROLE {team}"
    ));
    let own = admin.handed("scope.create_readonly_role('vault', 'credential_itself_own')");
    admin.run(&format!(
        "RESET ROLE; GRANT {team} TO {}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {}",
        own.role, own.role
    ));
    let calls = |role: &str| {
        [
            format!("SELECT scope.renew_role('{role}', '1 hour')"),
            format!("SELECT scope.rotate_password('{role}')"),
            format!("SELECT scope.rotate_password('{role}', '1 hour')"),
            format!("SELECT scope.revoke_role('{role}')"),
        ]
    };
    let mut s = own.connect();
    for call in calls(&own.role) {
        let refusal = s.refused(&call, "42501");
        assert!(refusal.detail.contains("itself"), "{refusal}");
        s.run(&format!("SET ROLE {team}"));
        s.refused(&call, "42501");
        s.run("RESET ROLE");
    }
    // Nor the other half of its rotation.
    let next = admin.handed(&format!("scope.rotate_password('{}', '1 hour')", own.role));
    for call in calls(&next.role) {
        s.refused(&call, "42501");
    }
    // And not one that is somebody else's.
    for call in calls(role) {
        s.refused(&call, "42501");
    }
    own.connect();
}
