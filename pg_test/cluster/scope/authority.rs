//! Who may issue what: nobody can hand out what they do not have, and nobody can make the extension do it for them.

use super::assert_reads_only;
use crate::harness::*;

#[test]
fn an_ordinary_user_may_execute_only_the_switch() {
    let f = Fixture::new("authority_execute");
    let mut s = f.login(&f.role("user", "LOGIN"));
    s.denied("SELECT scope.create_readonly_role('orders')", "42501");
    s.denied("SELECT scope.expire_roles()", "42501");
    assert_eq!(s.text("SELECT count(*) FROM scope.roles"), "0");
    s.denied("SELECT * FROM scope.audit_log", "42501");
    s.refused_with("SELECT scope.set_jwt_role('')", "28000", "empty");
    s.denied("CREATE TABLE scope.mine (x int)", "42501");
}

#[test]
fn pg_monitor_may_read_the_view() {
    let f = Fixture::new("authority_monitor");
    let cred = f.admin().issue("'orders'");
    let monitor = f.role("monitor", "LOGIN IN ROLE pg_monitor");
    f.login(&monitor).assert_that(&format!(
        "EXISTS (SELECT FROM scope.roles WHERE role = {})",
        literal(&cred.role)
    ));
}

#[test]
fn a_table_owner_without_createrole_issues_for_their_table_only() {
    let f = Fixture::new("authority_owner");
    let owner = f.issuer("owner");
    f.admin().run(&format!(
        "CREATE TABLE mine (x int); ALTER TABLE mine OWNER TO {owner}"
    ));
    let mut s = f.login(&owner);
    let cred = s.issue("'mine'");
    assert_reads_only(&mut cred.connect(), "mine", &["orders", "vault"]);
    s.refused("SELECT scope.create_readonly_role('orders')", "42501");
    f.admin().assert_that(&format!(
        "(SELECT created_by FROM scope.roles WHERE role = {}) = {}",
        literal(&cred.role),
        literal(&owner)
    ));
    // Issuing gave the issuer nothing.
    let scope = f.admin().scope_of(&cred.role);
    s.denied(&format!("SET ROLE {}", cred.role), "42501");
    s.denied(&format!("GRANT {scope} TO {owner}"), "42501");
    s.denied(&format!("ALTER ROLE {} PASSWORD 'x'", cred.role), "42501");
}

#[test]
fn a_member_of_the_owner_issues_as_the_owner_does() {
    let f = Fixture::new("authority_member");
    let owner = f.role("team", "NOLOGIN");
    let member = f.issuer("member");
    f.admin().run(&format!(
        "GRANT {owner} TO {member}; CREATE TABLE ours (x int); ALTER TABLE ours OWNER TO {owner}"
    ));
    assert_reads_only(
        &mut f.login(&member).issue("'ours'").connect(),
        "ours",
        &["orders"],
    );
}

#[test]
fn a_reader_without_grant_option_is_refused() {
    let f = Fixture::new("authority_reader");
    let reader = f.issuer("reader");
    f.admin().run(&format!("GRANT ALL ON orders TO {reader}"));
    let mut s = f.login(&reader);
    s.rows("SELECT * FROM orders");
    s.refused("SELECT scope.create_readonly_role('orders')", "42501");
    f.admin()
        .assert_that("NOT EXISTS (SELECT FROM scope.roles WHERE database = current_database())");
}

#[test]
fn a_grantee_with_grant_option_may() {
    let f = Fixture::new("authority_grantee");
    let grantee = f.issuer("grantee");
    f.admin().run(&format!(
        "GRANT SELECT ON orders TO {grantee} WITH GRANT OPTION"
    ));
    let cred = f.login(&grantee).issue("'orders'");
    assert_reads_only(&mut cred.connect(), "orders", &["vault"]);
}

#[test]
fn the_grant_option_on_some_columns_is_not_enough() {
    let f = Fixture::new("authority_columns");
    let grantee = f.issuer("grantee");
    f.admin().run(&format!(
        "GRANT SELECT (id) ON orders TO {grantee} WITH GRANT OPTION"
    ));
    f.login(&grantee)
        .refused("SELECT scope.create_readonly_role('orders')", "42501");
}

#[test]
fn a_schema_that_the_caller_may_not_open_is_refused() {
    let f = Fixture::new("authority_schema");
    let owner = f.issuer("owner");
    f.admin().run(&format!(
        "CREATE SCHEMA closed; GRANT USAGE ON SCHEMA closed TO {owner}; CREATE TABLE closed.t (x int);
         ALTER TABLE closed.t OWNER TO {owner}"
    ));
    let mut s = f.login(&owner);
    s.refused("SELECT scope.create_readonly_role('closed.t')", "42501");
    f.admin().run(&format!(
        "GRANT USAGE ON SCHEMA closed TO {owner} WITH GRANT OPTION"
    ));
    assert_reads_only(
        &mut s.issue("'closed.t'").connect(),
        "closed.t",
        &["orders"],
    );
}

#[test]
fn a_database_that_the_caller_may_not_open_is_refused() {
    let f = Fixture::new("authority_database");
    let owner = f.issuer("owner");
    f.admin().run(&format!(
        "CREATE TABLE mine (x int); ALTER TABLE mine OWNER TO {owner};
         REVOKE CONNECT ON DATABASE authority_database FROM PUBLIC; GRANT CONNECT ON DATABASE authority_database TO {owner}"
    ));
    f.login(&owner)
        .refused("SELECT scope.create_readonly_role('mine')", "42501");
}

/// A scope is only as narrow as its grants: one that somebody widened must not be handed to those who could not have widened it.
#[test]
fn a_scope_widened_by_hand_gives_a_caller_no_more_than_their_own() {
    let widenings = [
        ("select", "GRANT SELECT ON vault TO {scope}"),
        ("column", "GRANT SELECT (secret) ON vault TO {scope}"),
        ("write", "GRANT INSERT, UPDATE, DELETE ON mine TO {scope}"),
        ("group", "GRANT authority_widened_group_keys TO {scope}"),
        ("all_data", "GRANT pg_read_all_data TO {scope}"),
        ("bypassrls", "ALTER ROLE {scope} BYPASSRLS"),
        ("owner", "ALTER TABLE vault OWNER TO {scope}"),
        ("function", "GRANT EXECUTE ON FUNCTION peek() TO {scope}"),
    ];
    for (how, widen) in widenings {
        let f = Fixture::new(&format!("authority_widened_{how}"));
        let owner = f.issuer("owner");
        let keys = f.role("keys", "NOLOGIN");
        f.admin().run(&format!(
            "CREATE TABLE mine (x int); INSERT INTO mine VALUES (1); ALTER TABLE mine OWNER TO {owner}; GRANT SELECT ON vault TO {keys};
             CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT secret FROM vault';
             REVOKE ALL ON FUNCTION peek() FROM PUBLIC"
        ));
        let mut s = f.login(&owner);
        let first = s.issue("'mine'");
        let scope = f.admin().scope_of(&first.role);
        f.admin().run(&widen.replace("{scope}", &scope));
        match s.attempt("SELECT role_name, password FROM scope.create_readonly_role('mine')") {
            Err(refusal) => {
                assert_eq!(refusal.code, "42501", "{how}: {refusal}");
                assert!(
                    !refusal.detail.is_empty() && !refusal.hint.is_empty(),
                    "{how}: {refusal}"
                );
            }
            Ok(rows) => {
                let field = |i: usize| rows[0][i].clone().expect("a value");
                let mut second = f
                    .server
                    .try_password(&field(0), &field(1), &f.name)
                    .expect("login");
                second.rows("SELECT * FROM mine");
                second.denied("SELECT * FROM vault", "42501");
                second.denied("SELECT peek()", "42501");
                second.denied("DELETE FROM mine", "42501");
                second.assert_that(
                    "NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = current_user)",
                );
                let scope = f.admin().scope_of(&field(0));
                f.admin().assert_that(&format!(
                    "NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = {})",
                    literal(&scope)
                ));
            }
        }
    }
}

/// What a session has found out about a scope it finds out again once anything about it has changed.
#[test]
fn attack_a_scope_widened_between_two_calls_of_one_session() {
    let f = Fixture::new("authority_remembered");
    let owner = f.issuer("owner");
    let keys = f.role("keys", "NOLOGIN");
    let mut admin = f.admin();
    admin.run(&format!(
        "CREATE TABLE mine (x int, y int); ALTER TABLE mine OWNER TO {owner}; CREATE SCHEMA other; CREATE SEQUENCE numbers;
         CREATE FUNCTION peek() RETURNS text LANGUAGE sql AS 'SELECT 1'; SELECT lo_create(4711); CREATE TYPE mood AS ENUM ('good');
         REVOKE ALL ON FUNCTION peek() FROM PUBLIC; REVOKE ALL ON TYPE mood FROM PUBLIC"
    ));
    let changes = [
        (
            "GRANT SELECT ON vault TO {scope}",
            "REVOKE ALL ON vault FROM {scope}",
        ),
        (
            "GRANT INSERT ON mine TO {scope}",
            "REVOKE INSERT ON mine FROM {scope}",
        ),
        (
            "GRANT UPDATE (y) ON mine TO {scope}",
            "REVOKE UPDATE (y) ON mine FROM {scope}",
        ),
        (
            "GRANT SELECT ON mine TO {scope} WITH GRANT OPTION",
            "REVOKE GRANT OPTION FOR SELECT ON mine FROM {scope}",
        ),
        (
            "REVOKE SELECT ON mine FROM {scope}",
            "GRANT SELECT ON mine TO {scope}",
        ),
        (
            "GRANT USAGE ON SEQUENCE numbers TO {scope}",
            "REVOKE ALL ON SEQUENCE numbers FROM {scope}",
        ),
        (
            "GRANT EXECUTE ON FUNCTION peek() TO {scope}",
            "REVOKE ALL ON FUNCTION peek() FROM {scope}",
        ),
        (
            "GRANT CREATE ON SCHEMA other TO {scope}",
            "REVOKE ALL ON SCHEMA other FROM {scope}",
        ),
        (
            "GRANT TEMP ON DATABASE authority_remembered TO {scope}",
            "REVOKE TEMP ON DATABASE authority_remembered FROM {scope}",
        ),
        (
            "GRANT SELECT ON LARGE OBJECT 4711 TO {scope}",
            "REVOKE ALL ON LARGE OBJECT 4711 FROM {scope}",
        ),
        (
            "GRANT USAGE ON TYPE mood TO {scope}",
            "REVOKE ALL ON TYPE mood FROM {scope}",
        ),
        (
            "GRANT USAGE ON LANGUAGE plpgsql TO {scope}",
            "REVOKE ALL ON LANGUAGE plpgsql FROM {scope}",
        ),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA other GRANT SELECT ON TABLES TO {scope}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA other REVOKE SELECT ON TABLES FROM {scope}",
        ),
        (
            "CREATE POLICY p ON mine TO {scope} USING (true)",
            "DROP POLICY p ON mine",
        ),
        ("GRANT {keys} TO {scope}", "REVOKE {keys} FROM {scope}"),
        (
            "ALTER ROLE {scope} CREATEDB",
            "ALTER ROLE {scope} NOCREATEDB",
        ),
        (
            "ALTER ROLE {scope} BYPASSRLS",
            "ALTER ROLE {scope} NOBYPASSRLS",
        ),
        (
            "ALTER TABLE vault OWNER TO {scope}",
            "ALTER TABLE vault OWNER TO postgres",
        ),
    ];
    for mut caller in [f.admin(), f.login(&owner)] {
        let mut given = || {
            let login = caller.issue("'mine'").role;
            f.admin().scope_of(&login)
        };
        let scope = given();
        for (change, back) in changes {
            // Made, found, and remembered.
            assert_eq!((given(), given()), (scope.clone(), scope.clone()));
            let mut run = |sql: &str| {
                let sql = sql
                    .replace("{scope}", &scope)
                    .replace("{keys}", &keys)
                    .replace("{owner}", &owner);
                admin.run(&sql);
            };
            run(change);
            assert_ne!(given(), scope, "{change}");
            run(back);
        }
        // And in the session's own transaction, which is rolled back.
        caller.run("BEGIN; SAVEPOINT s");
        caller.run(&format!("GRANT INSERT ON mine TO {scope}"));
        let login = caller.issue("'mine'").role;
        assert_ne!(caller.scope_of(&login), scope);
        caller.run("ROLLBACK TO s");
        let login = caller.issue("'mine'").role;
        assert_eq!(caller.scope_of(&login), scope);
        caller.run("ROLLBACK");
    }
}

/// Scope names can be foreseen; a role that somebody put there first is not a scope.
#[test]
fn a_role_planted_under_the_name_of_the_scope_is_not_adopted() {
    let f = Fixture::new("authority_planted");
    let owner = f.issuer("owner");
    f.admin().run(&format!(
        "CREATE TABLE mine (x int); ALTER TABLE mine OWNER TO {owner}"
    ));
    let mut s = f.login(&owner);
    s.run("BEGIN");
    let name = s.issue("'mine'").role;
    let scope = s.scope_of(&name);
    s.run("ROLLBACK");
    f.admin().run(&format!(
        "CREATE ROLE {scope}; GRANT SELECT ON vault TO {scope}"
    ));
    match s.attempt("SELECT role_name, password FROM scope.create_readonly_role('mine')") {
        Err(refusal) => assert!(
            ["42501", "42710"].contains(&refusal.code.as_str()),
            "{refusal}"
        ),
        Ok(rows) => {
            let field = |i: usize| rows[0][i].clone().expect("a value");
            let mut cred = f
                .server
                .try_password(&field(0), &field(1), &f.name)
                .expect("login");
            assert_reads_only(&mut cred, "mine", &["vault"]);
        }
    }
}

#[test]
fn a_label_cannot_be_forged() {
    let f = Fixture::new("authority_label");
    let maker = f.role("maker", "LOGIN CREATEROLE");
    let mut s = f.login(&maker);
    let victim = format!("{}_victim", f.name);
    s.run(&format!("CREATE ROLE {victim}"));
    let label = f.admin().text(&format!(
        "SELECT label FROM pg_shseclabel WHERE objoid = {}::regrole",
        literal(&f.admin().issue("'orders'").role)
    ));
    s.denied(
        &format!(
            "SECURITY LABEL FOR scope_roles ON ROLE {victim} IS {}",
            literal(&label)
        ),
        "42501",
    );
    for nonsense in ["not json", "[]", "{}", "{\"kind\":\"king\"}"] {
        let sql = format!(
            "SECURITY LABEL FOR scope_roles ON ROLE {victim} IS {}",
            literal(nonsense)
        );
        assert!(f.admin().attempt(&sql).is_err(), "accepted: {sql}");
    }
    f.admin().assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.roles WHERE role = {})",
        literal(&victim)
    ));
}

/// Objects that hide the catalogue's own, in a schema that the caller puts first. Each betrays itself by an error.
fn trap(admin: &mut Session) {
    admin.run("CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC");
    let functions = [
        ("now()", "timestamptz"),
        ("clock_timestamp()", "timestamptz"),
        ("current_database()", "name"),
        ("current_setting(text)", "text"),
        ("current_setting(text, boolean)", "text"),
        ("set_config(text, text, boolean)", "text"),
        ("format(text, text)", "text"),
        ("format(text, text, text)", "text"),
        ("quote_ident(text)", "text"),
        ("quote_literal(text)", "text"),
        ("to_json(text)", "json"),
        ("to_jsonb(text)", "jsonb"),
        ("has_table_privilege(oid, text)", "boolean"),
        ("has_table_privilege(oid, oid, text)", "boolean"),
        ("has_table_privilege(name, oid, text)", "boolean"),
        ("has_schema_privilege(oid, text)", "boolean"),
        ("has_schema_privilege(oid, oid, text)", "boolean"),
        ("has_database_privilege(oid, text)", "boolean"),
        ("pg_has_role(oid, text)", "boolean"),
        ("pg_has_role(oid, oid, text)", "boolean"),
        ("pg_has_role(name, oid, text)", "boolean"),
        ("pg_terminate_backend(integer)", "boolean"),
        ("pg_advisory_xact_lock(bigint)", "void"),
        ("pg_advisory_xact_lock(integer, integer)", "void"),
        ("array_agg(name)", "name[]"),
        ("coalesce_name(name, name)", "name"),
        ("aclexplode(aclitem[])", "record"),
        ("lower(text)", "text"),
        ("length(text)", "integer"),
        ("octet_length(text)", "integer"),
        ("concat(text, text)", "text"),
        ("substr(text, integer)", "text"),
        ("md5(text)", "text"),
    ];
    let body =
        "AS $$ BEGIN RAISE EXCEPTION 'hijacked as %', current_user USING ERRCODE = 'XX999'; END $$";
    for (signature, result) in functions {
        admin.run(&format!(
            "CREATE FUNCTION evil.{signature} RETURNS {result} LANGUAGE plpgsql {body}"
        ));
    }
    for (symbol, left, right, result) in [
        ("=", "name", "name", "boolean"),
        ("=", "name", "text", "boolean"),
        ("=", "text", "text", "boolean"),
        ("=", "oid", "oid", "boolean"),
        ("=", "\"char\"", "\"char\"", "boolean"),
        ("<>", "name", "name", "boolean"),
        ("<>", "oid", "oid", "boolean"),
        ("<", "timestamptz", "timestamptz", "boolean"),
        ("<=", "timestamptz", "timestamptz", "boolean"),
        (">", "timestamptz", "timestamptz", "boolean"),
        (">=", "timestamptz", "timestamptz", "boolean"),
        ("+", "timestamptz", "interval", "timestamptz"),
        ("-", "timestamptz", "timestamptz", "interval"),
        (">", "interval", "interval", "boolean"),
        ("<=", "interval", "interval", "boolean"),
        ("||", "text", "text", "text"),
        ("->>", "json", "text", "text"),
        ("->>", "jsonb", "text", "text"),
        ("~", "text", "text", "boolean"),
    ] {
        let function = format!("evil.op_{}", admin.text("SELECT count(*) FROM pg_operator"));
        admin.run(&format!(
            "CREATE FUNCTION {function}({left}, {right}) RETURNS {result} LANGUAGE plpgsql {body};
             CREATE OPERATOR evil.{symbol} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = {function})"
        ));
    }
    for table in [
        "pg_authid",
        "pg_roles",
        "pg_class",
        "pg_namespace",
        "pg_database",
        "pg_shseclabel",
        "pg_auth_members",
        "pg_stat_activity",
        "pg_shdepend",
        "pg_settings",
        "roles",
    ] {
        admin.run(&format!("CREATE TABLE evil.{table} (hidden int)"));
    }
}

#[test]
fn search_path_attack_functions_operators_and_tables_that_hide_the_catalogue() {
    let f = Fixture::new("authority_path");
    let owner = f.issuer("owner");
    let reader = f.role("reader", "NOLOGIN");
    let mut admin = f.admin();
    trap(&mut admin);
    admin.run(&format!(
        "CREATE TABLE public.mine (x int); ALTER TABLE public.mine OWNER TO {owner}; GRANT {reader} TO {owner};
         GRANT EXECUTE ON FUNCTION scope.expire_roles() TO {owner}"
    ));
    let token = sign(&serde_json::json!({"role": reader, "exp": now() + 600}));
    for role in [owner.as_str(), "postgres"] {
        let mut s = f.login(role);
        for path in [
            "evil, pg_catalog, public",
            "evil, scope, pg_catalog, pg_temp",
            "pg_temp, evil, pg_catalog",
        ] {
            s.run(&format!("SET search_path = {path}"));
            s.run("SELECT * FROM scope.create_readonly_role('public.mine'::pg_catalog.regclass)");
            s.run("SELECT * FROM scope.create_readonly_role('public.mine'::pg_catalog.regclass, valid_for => '1 hour', purpose => 'p')");
            s.run("SELECT * FROM scope.expire_roles()");
            let error = s
                .attempt(
                    "SELECT scope.create_readonly_role('pg_catalog.pg_class'::pg_catalog.regclass)",
                )
                .expect_err("refused");
            assert_eq!(error.code, "42501", "{error}");
            s.run(&format!(
                "BEGIN; SELECT scope.set_jwt_role({}); COMMIT",
                literal(&token)
            ));
        }
    }
    admin.run("SET search_path = evil, pg_catalog; TABLE scope.roles");
}

#[test]
fn the_extension_does_not_move_into_a_schema_made_for_it() {
    let server = shared();
    server
        .admin("postgres")
        .run("CREATE DATABASE authority_squatter");
    let mut admin = server.admin("authority_squatter");
    for schema in ["scope", "_scope"] {
        admin.run(&format!("CREATE SCHEMA {schema}"));
        admin.denied("CREATE EXTENSION scope_roles", "42P06");
        admin.run(&format!("DROP SCHEMA {schema}"));
    }
}
