//! Gated logins: without a token their password is worth nothing.

use serde_json::json;

use super::{
    Gate, allow_session_switches, assert_itself, assert_switched, end_session, switch,
    switch_session,
};
use crate::harness::*;

/// Makes an authenticator; `arguments` is SQL.
#[track_caller]
fn make(s: &mut Session, arguments: &str) -> Credential {
    let mut rows = s.rows(&format!(
        "SELECT role_name, password, valid_until, connection_uri FROM scope.create_authenticator({arguments})"
    ));
    assert_eq!(rows.len(), 1);
    let mut row = rows.remove(0).into_iter().map(Option::unwrap_or_default);
    let mut field = || row.next().expect("four columns");
    Credential {
        role: field(),
        password: field(),
        valid_until: field(),
        uri: field(),
    }
}

/// A gate whose login is an authenticator for the reader and the writer.
struct Gated {
    g: Gate<'static>,
    credential: Credential,
}

impl Gated {
    fn new(name: &str) -> Gated {
        let g = Gate::new(name);
        let credential = make(
            &mut g.f.admin(),
            &format!("'{name}_gated', '{{{},{}}}'", g.reader, g.writer),
        );
        g.f.admin()
            .run(&format!("GRANT SELECT ON vault TO {}", g.writer));
        allow_session_switches(&g.f, &credential.role);
        Gated { g, credential }
    }

    fn connect(&self) -> Session {
        self.credential.connect()
    }

    /// Itself, and with nothing to read.
    #[track_caller]
    fn assert_gated(&self, s: &mut Session) {
        assert_itself(s, &self.credential.role);
        for sql in [
            "SELECT * FROM orders",
            "SELECT * FROM vault",
            "COPY vault TO STDOUT",
            "SELECT count(*) FROM orders",
        ] {
            s.denied(sql, "42501");
        }
        s.assert_that("scope.jwt_claims() IS NULL");
    }
}

#[test]
fn a_superuser_makes_one_that_works_by_token_only() {
    let gated = Gated::new("jwt_gate");
    let Gated { g, credential } = &gated;
    let mut admin = g.f.admin();
    assert_eq!(credential.role, "jwt_gate_gated");
    assert_eq!(credential.valid_until, "");
    assert!(
        credential.uri.starts_with("postgresql://"),
        "{}",
        credential.uri
    );
    admin.assert_that(
        "(SELECT rolcanlogin AND NOT rolinherit AND NOT rolsuper AND NOT rolcreaterole AND NOT rolcreatedb AND NOT rolbypassrls
             AND NOT rolreplication AND rolvaliduntil IS NULL FROM pg_roles WHERE rolname = 'jwt_gate_gated')",
    );
    assert_eq!(
        admin.rows("SELECT kind, state, database, scopes::text FROM scope.roles WHERE role = 'jwt_gate_gated'"),
        [[
            Some("authenticator".to_owned()),
            Some("active".to_owned()),
            Some("jwt_gate".to_owned()),
            Some(format!("{{{},{}}}", g.reader, g.writer)),
        ]]
    );
    let mut s = gated.connect();
    gated.assert_gated(&mut s);
    let (read, write) = (g.token(json!({})), g.token(json!({"role": g.writer})));
    for i in 0..6 {
        let (token, role) = if i % 2 == 0 {
            (&read, &g.reader)
        } else {
            (&write, &g.writer)
        };
        s.run(&format!("BEGIN; {}", switch(token)));
        assert_switched(&mut s, role);
        assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
        s.run("SAVEPOINT s");
        s.refused("RESET ROLE", "42501");
        s.run("ROLLBACK TO s");
        s.refused(&format!("SET ROLE {}", g.writer), "42501");
        s.run("ROLLBACK TO s");
        s.run(if i % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
        gated.assert_gated(&mut s);
        s.refused(&format!("SET ROLE {}", g.writer), "42501");
    }
    s.run(&switch_session(&read));
    assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
    s.run(&end_session(&read));
    gated.assert_gated(&mut s);
    // Membership stays the bound.
    g.f.role("stranger", "NOLOGIN");
    for (role, reason) in [
        ("jwt_gate_stranger", "role_not_granted"),
        ("postgres", "role_privileged"),
    ] {
        s.refused_with(&switch(&g.token(json!({"role": role}))), "42501", reason);
        gated.assert_gated(&mut s);
    }
    let wrong =
        g.f.server
            .try_password(&credential.role, "wrong", &g.f.name);
    assert_eq!(wrong.err().map(|e| e.code).as_deref(), Some("28P01"));
    assert!(!g.f.server.log().contains(&credential.password));
    // It has no deadline, so expiry leaves it alone.
    admin.run("SELECT * FROM scope.expire_roles()");
    gated.assert_gated(&mut gated.connect());
}

#[test]
fn only_who_administers_the_roles_makes_one() {
    let g = Gate::new("jwt_gate_who");
    let manager = g.f.role("manager", "LOGIN");
    let function = "scope.create_authenticator";
    let mut admin = g.f.admin();
    let (reader, writer) = (&g.reader, &g.writer);
    let mut s = g.f.login(&manager);
    admin.run(&format!("GRANT {reader} TO {manager} WITH ADMIN OPTION"));
    let arguments = |role: &str| format!("'jwt_gate_who_x', '{{{role}}}'");
    let call = |role: &str| {
        format!(
            "SELECT * FROM scope.create_authenticator({})",
            arguments(role)
        )
    };
    s.denied(&call(reader), "42501");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION {function} TO {manager}; GRANT {writer} TO {manager}"
    ));
    // A member may not pass on what it may only use, alone or behind what it may.
    for roles in [
        writer.clone(),
        format!("{reader},{writer}"),
        format!("{writer},{reader}"),
    ] {
        s.refused(&call(&roles), "42501");
    }
    let made = make(
        &mut s,
        &format!("'jwt_gate_who_made', '{{{reader}}}', purpose => 'the web'"),
    );
    let mut gated = made.connect();
    gated.denied("SELECT * FROM orders", "42501");
    gated.refused(&format!("SET ROLE {reader}"), "42501");
    gated.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_switched(&mut gated, reader);
    assert_eq!(gated.rows("SELECT * FROM orders").len(), 2);
    assert_eq!(
        admin.text(
            "SELECT created_by || ' ' || purpose FROM scope.roles WHERE role = 'jwt_gate_who_made'"
        ),
        format!("{manager} the web")
    );
    // Its maker cannot act as it, nor gains anything by it.
    s.denied("SET ROLE jwt_gate_who_made", "42501");
    s.denied("ALTER ROLE jwt_gate_who_made PASSWORD 'x'", "42501");
    assert!(!admin.role_exists("jwt_gate_who_x"));
}

#[test]
fn bad_requests_are_refused_and_leave_nothing() {
    let g = Gate::new("jwt_gate_bad");
    let mut admin = g.f.admin();
    admin.run(
        "CREATE ROLE jwt_gate_bad_super SUPERUSER; CREATE ROLE jwt_gate_bad_rls BYPASSRLS;
         CREATE ROLE jwt_gate_bad_maker CREATEROLE; CREATE ROLE jwt_gate_bad_repl REPLICATION;
         CREATE ROLE jwt_gate_bad_files IN ROLE pg_read_server_files;
         CREATE ROLE jwt_gate_bad_behind IN ROLE jwt_gate_bad_files",
    );
    for (role, reason) in [
        ("postgres", "role_privileged"),
        ("jwt_gate_bad_super", "role_privileged"),
        ("jwt_gate_bad_rls", "role_privileged"),
        ("jwt_gate_bad_maker", "role_privileged"),
        ("jwt_gate_bad_repl", "role_privileged"),
        ("jwt_gate_bad_files", "role_privileged"),
        ("jwt_gate_bad_behind", "role_privileged"),
        ("pg_read_all_data", "role_reserved"),
        ("public", "role_reserved"),
        ("none", "role_reserved"),
        ("jwt_gate_bad_nobody", "role_unknown"),
        ("", "role_unknown"),
    ] {
        for roles in [
            format!("ARRAY['{role}']"),
            format!("ARRAY['{}', '{role}']", g.reader),
        ] {
            let sql =
                format!("SELECT * FROM scope.create_authenticator('jwt_gate_bad_x', {roles})");
            admin.refused_with(&sql, "42501", reason);
        }
    }
    let roles = format!("'{{{}}}'", g.reader);
    for (arguments, code) in [
        (format!("NULL, {roles}"), "22004"),
        ("'jwt_gate_bad_x', NULL".into(), "22004"),
        ("'jwt_gate_bad_x', '{}'".into(), "22023"),
        ("'jwt_gate_bad_x', ARRAY[NULL]::text[]".into(), "22004"),
        (format!("'', {roles}"), "42602"),
        (format!("'jwt_gate_bad_X', {roles}"), "42602"),
        (format!("'a; b', {roles}"), "42602"),
        (format!("'public', {roles}"), "42939"),
        (format!("'pg_x', {roles}"), "42939"),
        (format!("repeat('x', 64), {roles}"), "42622"),
        (format!("'{}', {roles}", g.auth), "42710"),
        (format!("'jwt_gate_bad_x', {roles}, '0'"), "22023"),
        (format!("'jwt_gate_bad_x', {roles}, '-1 hour'"), "22023"),
        (format!("'jwt_gate_bad_x', {roles}, '10 years'"), "22023"),
        (
            format!("'jwt_gate_bad_x', {roles}, NULL, repeat('x', 201)"),
            "22023",
        ),
    ] {
        admin.refused(
            &format!("SELECT * FROM scope.create_authenticator({arguments})"),
            code,
        );
    }
    admin.run("BEGIN READ ONLY");
    admin.refused(
        &format!("SELECT * FROM scope.create_authenticator('jwt_gate_bad_x', {roles})"),
        "25006",
    );
    admin.run("ROLLBACK");
    assert!(!admin.role_exists("jwt_gate_bad_x"));
    admin.run(&format!(
        "BEGIN; SELECT * FROM scope.create_authenticator('jwt_gate_bad_x', {roles}); ROLLBACK"
    ));
    assert!(!admin.role_exists("jwt_gate_bad_x"));
}

#[test]
fn attack_every_way_to_a_role_without_a_token() {
    let gated = Gated::new("jwt_gate_out");
    let g = &gated.g;
    g.f.admin().run(&format!(
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SET role = {0} AS 'SELECT count(*) FROM vault';
         CREATE FUNCTION peek_early() RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET role = {0}
             AS 'BEGIN RETURN (SELECT count(*) FROM vault); END'",
        g.writer
    ));
    let mut attacks: Vec<String> = [
        "SET ROLE {}",
        "SET LOCAL ROLE {}",
        "SET SESSION ROLE {}",
        "SET \"RoLe\" = '{}'",
        "SELECT set_config('role', '{}', false)",
        "SELECT set_config('ROLE', '{}', true)",
        "SET SESSION AUTHORIZATION {}",
        "SELECT set_config('session_authorization', '{}', false)",
        "DO $$ BEGIN SET ROLE {}; PERFORM * FROM vault; END $$",
        "DO $$ BEGIN EXECUTE 'SET ROLE {}'; END $$",
        "DO $$ BEGIN PERFORM set_config('role', '{}', true); END $$",
        "PREPARE p AS SELECT set_config('role', '{}', false); EXECUTE p",
        "CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql SET role = {} AS 'SELECT count(*) FROM vault'; SELECT pg_temp.f()",
        "BEGIN; SET LOCAL ROLE {}; SELECT * FROM vault",
        "SELECT set_config('role', '{}', false), (SELECT count(*) FROM vault)",
        "WITH s AS MATERIALIZED (SELECT set_config('role', '{}', false)) SELECT * FROM s, vault",
        "EXPLAIN ANALYZE SELECT set_config('role', '{}', false)",
        "CREATE TEMP TABLE t AS SELECT set_config('role', '{}', false)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT set_config('role', '{}', false)",
    ]
    .iter()
    .flat_map(|sql| [&g.writer, &g.reader].map(|role| sql.replace("{}", role)))
    .collect();
    attacks.extend(
        [
            "SELECT peek()",
            "SELECT peek_early()",
            "EXPLAIN SELECT peek_early()",
            "PREPARE q AS SELECT peek_early(); EXECUTE q",
        ]
        .map(str::to_owned),
    );
    let mut s = gated.connect();
    for attack in &attacks {
        let refusal = s.fails(attack);
        assert_eq!(refusal.code, "42501", "{attack}: {refusal}");
        s.run("ROLLBACK; DEALLOCATE ALL");
        gated.assert_gated(&mut s);
        if !attack.contains(';') {
            let refusal = s.attempt_extended(attack, &[]).expect_err(attack);
            assert_eq!(refusal.code, "42501", "{attack}: {refusal}");
        }
        // As the first statement of a session, and right after one that resets it.
        let mut fresh = gated.connect();
        let refusal = fresh.fails(attack);
        assert_eq!(refusal.code, "42501", "{attack}: {refusal}");
        fresh.run("ROLLBACK");
        fresh.run("DISCARD ALL");
        let refusal = fresh.fails(attack);
        assert_eq!(refusal.code, "42501", "{attack}: {refusal}");
        fresh.run("ROLLBACK");
        gated.assert_gated(&mut fresh);
    }
}

#[test]
fn attack_a_role_that_is_there_from_the_start() {
    let gated = Gated::new("jwt_gate_start");
    let Gated { g, credential } = &gated;
    let worthless = |opened: Result<Session, Refusal>, how: &str| {
        let mut s = match opened {
            Ok(s) => s,
            Err(refusal) => {
                assert!(
                    ["42501", "28000"].contains(&refusal.code.as_str()),
                    "{how}: {refusal}"
                );
                return;
            }
        };
        for sql in [
            "SELECT * FROM vault",
            "SELECT * FROM orders",
            "COPY vault TO STDOUT",
            "DO 'BEGIN PERFORM * FROM vault; END'",
            "RESET ALL; SELECT * FROM vault",
        ] {
            s.denied(sql, "42501");
        }
    };
    for option in [
        format!("-c role={}", g.writer),
        format!("-c ROLE={}", g.writer),
        format!("-c session_authorization={}", g.writer),
    ] {
        let opened =
            g.f.server
                .try_login_with_options(&credential.role, &g.f.name, &option);
        worthless(opened, &option);
    }
    // Everyone may change the settings of their own login.
    let mut s = gated.connect();
    let own = format!("ALTER ROLE {} SET role = {}", credential.role, g.writer);
    if s.attempt(&own).is_ok() {
        worthless(credential.try_connect(), &own);
        g.f.admin()
            .run(&format!("ALTER ROLE {} RESET ALL", credential.role));
    }
    // A superuser's next session here would be the writer too.
    let mut admin = g.f.admin();
    admin.run(&format!(
        "ALTER DATABASE {} SET role = {}",
        g.f.name, g.writer
    ));
    worthless(credential.try_connect(), "the database's setting");
    admin.run(&format!("ALTER DATABASE {} RESET role", g.f.name));
    gated.assert_gated(&mut gated.connect());
    for sql in [
        format!("ALTER ROLE {} INHERIT", credential.role),
        format!("GRANT {} TO {}", g.writer, credential.role),
        format!("ALTER ROLE {} SUPERUSER", credential.role),
        format!(
            "SECURITY LABEL FOR scope_roles ON ROLE {} IS NULL",
            credential.role
        ),
        "CREATE ROLE x".to_owned(),
        "CREATE SCHEMA x".to_owned(),
    ] {
        s.fails(&sql);
    }
    gated.assert_gated(&mut s);
}

#[test]
fn poolers_can_reset_it_and_it_stays_gated() {
    let gated = Gated::new("jwt_gate_pool");
    let g = &gated.g;
    let mut s = gated.connect();
    let token = g.token(json!({}));
    for reset in [
        "DISCARD ALL",
        "RESET ALL",
        "DEALLOCATE ALL",
        "CLOSE ALL",
        "DISCARD TEMP",
        "DISCARD PLANS",
        "UNLISTEN *",
        "SELECT pg_advisory_unlock_all()",
    ] {
        for _ in 0..2 {
            s.run(&format!(
                "BEGIN; {}; SELECT * FROM orders; COMMIT",
                switch(&token)
            ));
            s.run(reset);
            s.refused(&format!("SET ROLE {}", g.writer), "42501");
            gated.assert_gated(&mut s);
            s.run(reset);
            gated.assert_gated(&mut s);
        }
    }
    s.attempt_extended("DISCARD ALL", &[]).expect("a reset");
    s.refused(&format!("SET ROLE {}", g.writer), "42501");
    // One that fails because of the transaction it is in opens nothing.
    s.denied("BEGIN; DISCARD ALL", "25001");
    s.run("ROLLBACK");
    s.denied(&format!("DISCARD ALL; SET ROLE {}", g.writer), "25001");
    s.run(&format!("BEGIN; {}", switch(&token)));
    s.denied("DISCARD ALL", "42501");
    s.run("ROLLBACK");
    gated.assert_gated(&mut s);
}

#[test]
fn a_deadline_ends_it() {
    let g = Gate::new("jwt_gate_end");
    let mut admin = g.f.admin();
    let credential = make(
        &mut admin,
        &format!("'jwt_gate_end_x', '{{{}}}', '3 seconds'", g.reader),
    );
    assert_ne!(credential.valid_until, "");
    allow_session_switches(&g.f, &credential.role);
    let mut s = credential.connect();
    s.run(&switch_session(&g.token(json!({}))));
    assert_eq!(s.rows("SELECT * FROM orders").len(), 2);
    wait_until("the session ends", 20, || s.attempt("SELECT 1").is_err());
    // The socket asks for no password, so what refuses there is the extension.
    let refusal = g.f.server.try_login("jwt_gate_end_x", &g.f.name);
    assert_eq!(refusal.err().map(|e| e.code).as_deref(), Some("28000"));
    wait_until("the role is gone", 20, || {
        !admin.role_exists("jwt_gate_end_x")
    });
    assert!(admin.role_exists(&g.reader));
}

#[test]
fn attack_a_role_by_the_fast_path() {
    let gated = Gated::new("jwt_gate_fast");
    let g = &gated.g;
    let mut admin = g.f.admin();
    admin.run(&format!(
        "CREATE FUNCTION peek(text) RETURNS text LANGUAGE sql SET role = {} AS 'SELECT secret FROM vault'",
        g.writer
    ));
    let mut oid = |function: &str| -> u32 {
        admin
            .text(&format!("SELECT '{function}'::regprocedure::oid"))
            .parse()
            .expect("an OID")
    };
    let (set, peek) = (oid("set_config(text, text, boolean)"), oid("peek(text)"));
    let switch = oid("scope.set_jwt_role(text, text)");
    for reset in ["SELECT 1", "DISCARD ALL"] {
        for (function, arguments) in [
            (set, vec![Some("role"), Some(g.writer.as_str()), Some("f")]),
            (
                set,
                vec![
                    Some("session_authorization"),
                    Some(g.writer.as_str()),
                    Some("f"),
                ],
            ),
            (peek, vec![Some("x")]),
        ] {
            // First thing in a session, and after a reset.
            let mut wire = Wire::open(g.f.server, &gated.credential.role, &g.f.name);
            for _ in 0..2 {
                let answer = wire.call(function, &arguments);
                assert!(has_error(&answer, "42501"), "{arguments:?}: {answer:?}");
                let answer = wire.query("SELECT * FROM vault");
                assert!(has_error(&answer, "42501"), "{answer:?}");
                wire.query(reset);
            }
        }
    }
    let token = g.token(json!({}));
    let mut wire = Wire::open(g.f.server, &gated.credential.role, &g.f.name);
    wire.query("BEGIN");
    let answer = wire.call(switch, &[Some(&token), Some("role")]);
    assert!(
        answer.iter().any(|(_, body)| body.contains(&g.reader)),
        "{answer:?}"
    );
    let answer = wire.call(set, &[Some("role"), Some(&g.writer), Some("f")]);
    assert!(has_error(&answer, "42501"), "{answer:?}");
    wire.query("ROLLBACK");
    let answer = wire.query("SELECT * FROM orders");
    assert!(has_error(&answer, "42501"), "{answer:?}");
}

/// PostgreSQL lets every login SET ROLE to itself: such a switch changed nothing, and opened the gate.
#[test]
fn attack_a_token_that_names_the_login_itself() {
    let gated = Gated::new("jwt_gate_itself");
    let g = &gated.g;
    let login = &gated.credential.role;
    for (mut s, name) in [(gated.connect(), login), (g.login(), &g.auth)] {
        let named = g.token(json!({"role": name, "mine": name, "list": [name]}));
        for claim in ["'role'", "'mine'", "'.list[0]'", "'$.mine'"] {
            for function in ["set_jwt_role", "set_jwt_session"] {
                let call = format!("SELECT scope.{function}({}, {claim})", literal(&named));
                s.refused_with(&call, "42501", "role_is_login");
                s.run("BEGIN; SAVEPOINT s");
                s.refused_with(&call, "42501", "role_is_login");
                s.run("ROLLBACK TO s; COMMIT");
            }
        }
        s.assert_that("scope.jwt_claims() IS NULL");
    }
    let mut s = gated.connect();
    for reach in [
        "LISTEN x",
        "CREATE TEMPORARY TABLE t (i int)",
        "SELECT pg_terminate_backend(1)",
    ] {
        s.refused(reach, "42501");
    }
    gated.assert_gated(&mut s);
}

#[test]
fn attack_a_token_for_a_role_past_the_authenticators_list() {
    let gated = Gated::new("jwt_gate_list");
    let g = &gated.g;
    let login = &gated.credential.role;
    let mut admin = g.f.admin();
    let (boss, other) = (g.f.role("boss", "NOLOGIN"), g.f.role("other", "NOLOGIN"));
    admin.run(&format!(
        "GRANT {boss} TO {reader}; GRANT {other} TO {login}; GRANT SELECT ON vault TO {boss}, {other}",
        reader = g.reader
    ));
    let token = |role: &str| g.token(json!({ "role": role }));
    let mut s = gated.connect();
    for role in [&boss, &other] {
        for function in ["set_jwt_role", "set_jwt_session"] {
            let call = switch(&token(role)).replace("set_jwt_role", function);
            s.refused_with(&call, "42501", "role_not_listed");
        }
    }
    // By hand as well as through another.
    admin.run(&format!("GRANT {boss} TO {login} WITH ADMIN OPTION"));
    s.refused_with(&switch(&token(&boss)), "42501", "role_not_listed");
    // What is listed must be granted too, and may be granted anew.
    let writer = switch(&token(&g.writer));
    s.run(&writer);
    admin.run(&format!("REVOKE {} FROM {login}", g.writer));
    s.refused_with(&writer, "42501", "role_not_granted");
    admin.run(&format!("GRANT {} TO {boss}", g.writer));
    s.refused_with(&writer, "42501", "role_not_listed");
    admin.run(&format!("GRANT {} TO {login}", g.writer));
    s.run(&writer);
    // Rotation goes on with the same list.
    let next = admin.text(&format!(
        "SELECT role_name FROM scope.rotate_password('{login}', overlap => '1 hour')"
    ));
    let mut successor = g.f.login(&next);
    successor.run(&switch(&token(&g.reader)));
    for role in [&boss, &other] {
        successor.refused(&switch(&token(role)), "42501");
    }
    gated.assert_gated(&mut s);
    // A label of before there was a list stands for what the login has been granted itself.
    admin.run(&format!(
        "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE {login} IS %L',
             (SELECT label::jsonb - 'roles' FROM pg_shseclabel WHERE objoid = '{login}'::regrole AND provider = 'scope_roles')); END $$;
         REVOKE {boss} FROM {login}"
    ));
    s.refused_with(&switch(&token(&boss)), "42501", "role_not_listed");
    s.run(&switch(&token(&other)));
}

#[test]
fn a_spec_lists_more_roles_for_an_authenticator() {
    let gated = Gated::new("jwt_gate_spec");
    let g = &gated.g;
    let login = &gated.credential.role;
    let mut admin = g.f.admin();
    let boss = g.f.role("boss", "NOLOGIN");
    admin.run(&format!("GRANT {boss} TO {login}"));
    let token = switch(&g.token(json!({ "role": boss })));
    let mut s = gated.connect();
    s.refused_with(&token, "42501", "role_not_listed");
    let export = format!("SELECT scope.export_spec(ARRAY['{login}'])");
    assert!(!admin.text(&export).contains(&boss));
    let spec = |mode: &str, roles: &[&String]| {
        literal(
            &json!({"version": 1, "mode": mode, "authenticators": [{"name": login, "roles": roles}]})
                .to_string(),
        )
    };
    let all = [&g.reader, &g.writer, &boss];
    for (mode, roles) in [("additive", &all[2..]), ("authoritative", &all[..])] {
        let spec = spec(mode, roles);
        admin.run(&format!("SELECT scope.apply({spec})"));
        admin.assert_that(&format!("NOT EXISTS (SELECT FROM scope.plan({spec}))"));
        s.run(&token);
        s.run(&switch(&g.token(json!({"role": g.writer}))));
        assert!(admin.text(&export).contains(&boss));
    }
    admin.run(&format!(
        "SELECT scope.apply({})",
        spec("authoritative", &all[..2])
    ));
    s.refused(&token, "42501");
    s.run(&switch(&g.token(json!({"role": g.writer}))));
    let many: Vec<String> = (0..40)
        .map(|i| g.f.role(&format!("{}_{i}", "x".repeat(30)), "NOLOGIN"))
        .collect();
    admin.denied(
        &format!(
            "SELECT scope.create_authenticator('jwt_gate_spec_many', '{{{}}}')",
            many.join(",")
        ),
        "54000",
    );
}
