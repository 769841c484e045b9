//! Every object of the extension, with who may use it: a new one fails here until it is acknowledged.

use crate::harness::*;

/// The objects and the privileges of others than the owner. `=X` is PUBLIC's.
const OBJECTS: &str = "
function _scope.append_only() | 
function _scope.creator(pg_catalog.jsonb,pg_catalog.oid) | PUBLIC EXECUTE
function _scope.home(pg_catalog.jsonb,pg_catalog.oid) | PUBLIC EXECUTE
function _scope.jwt_tables_changed() | 
function _scope.login_facts() | PUBLIC EXECUTE
function _scope.only_superusers() | 
function _scope.present() | PUBLIC EXECUTE
function _scope.system_identifier() | PUBLIC EXECUTE
function _scope.visible_requests() | PUBLIC EXECUTE
function scope.accept_finding(pg_catalog.text,pg_catalog.name,pg_catalog.text,interval,pg_catalog.text) | 
function scope.acknowledge(pg_catalog.uuid[]) | pg_monitor EXECUTE
function scope.add_jwt_issuer(pg_catalog.text,pg_catalog.text,pg_catalog.text,pg_catalog.text[],pg_catalog.text[],pg_catalog.text,pg_catalog.text[],pg_catalog.text,interval,boolean,interval,pg_catalog.text[],pg_catalog.jsonb,json,pg_catalog.text,boolean,pg_catalog.text,boolean,pg_catalog.text,pg_catalog.text,interval) | 
function scope.adopt_restored() | 
function scope.allow_writes(pg_catalog.regprocedure,boolean) | 
function scope.alter_jwt_issuer(pg_catalog.text,pg_catalog.jsonb) | 
function scope.alter_request(bigint,interval,pg_catalog.text,pg_catalog.text,timestamp with time zone) | PUBLIC EXECUTE
function scope.alter_scope(pg_catalog.text,pg_catalog.text,pg_catalog.text[],pg_catalog.regclass[],pg_catalog.text[],pg_catalog.regclass[],pg_catalog.regprocedure[],pg_catalog.regnamespace[],boolean) | 
function scope.apply(pg_catalog.jsonb,pg_catalog.text) | 
function scope.apply(pg_catalog.text,pg_catalog.text) | 
function scope.approve(bigint,pg_catalog.text) | PUBLIC EXECUTE
function scope.attest(pg_catalog.regrole,pg_catalog.text) | 
function scope.create_admin_role(pg_catalog.regnamespace[],pg_catalog.text,interval,pg_catalog.text,pg_catalog.regclass[],boolean,pg_catalog.cidr[],boolean,boolean,integer,interval,interval,pg_catalog.text[]) | 
function scope.create_authenticator(pg_catalog.text,pg_catalog.text[],interval,pg_catalog.text,pg_catalog.cidr[],boolean,boolean,integer,interval,interval,pg_catalog.text[]) | 
function scope.create_credential(pg_catalog.name[],pg_catalog.text,interval,pg_catalog.text,pg_catalog.cidr[],boolean,boolean,integer,interval,interval,pg_catalog.text[]) | 
function scope.create_readonly_role(pg_catalog.regclass,pg_catalog.text,interval,pg_catalog.text,pg_catalog.regclass[],pg_catalog.regnamespace[],boolean,pg_catalog.cidr[],boolean,boolean,integer,interval,interval,pg_catalog.text[]) | 
function scope.create_readwrite_role(pg_catalog.regclass,pg_catalog.text,interval,pg_catalog.text,pg_catalog.regclass[],pg_catalog.regnamespace[],boolean,pg_catalog.cidr[],boolean,boolean,integer,interval,interval,pg_catalog.text[]) | 
function scope.create_request_policy(pg_catalog.text,pg_catalog.name[],pg_catalog.name[],pg_catalog.jsonb,pg_catalog.text,interval,interval,pg_catalog.text,boolean,interval,pg_catalog.text[],pg_catalog.text,pg_catalog.jsonb,pg_catalog.name[],pg_catalog.text,boolean) | 
function scope.create_scope(pg_catalog.text,pg_catalog.text[],pg_catalog.regclass[],pg_catalog.text[],pg_catalog.regclass[],pg_catalog.regprocedure[],pg_catalog.regnamespace[],boolean,pg_catalog.text,boolean) | 
function scope.create_token_login(pg_catalog.text,pg_catalog.text[],pg_catalog.text[],interval,pg_catalog.text,integer,pg_catalog.cidr[],boolean,boolean,integer,interval,interval,pg_catalog.text[]) | 
function scope.deny(bigint,pg_catalog.text) | PUBLIC EXECUTE
function scope.drop_jwt_issuer(pg_catalog.text) | 
function scope.drop_request_policy(pg_catalog.text,boolean) | 
function scope.drop_scope(pg_catalog.text,boolean,boolean) | 
function scope.effective_access(pg_catalog.regrole,pg_catalog.text) | PUBLIC EXECUTE
function scope.end_jwt_session(pg_catalog.text) | PUBLIC EXECUTE
function scope.end_sessions(pg_catalog.text,pg_catalog.name,pg_catalog.text) | 
function scope.exchange_token(pg_catalog.text,interval,pg_catalog.text,pg_catalog.text,pg_catalog.cidr[],boolean,boolean,integer,interval,interval,pg_catalog.text[]) | 
function scope.expire_roles() | 
function scope.explain_request(bigint) | PUBLIC EXECUTE
function scope.export_spec(pg_catalog.name[],pg_catalog.text) | 
function scope.extend(bigint,interval,pg_catalog.text,pg_catalog.text) | PUBLIC EXECUTE
function scope.grant_temporary(pg_catalog.name,pg_catalog.name,interval,pg_catalog.text) | 
function scope.guard_login(pg_catalog.name,pg_catalog.cidr[],boolean,boolean,pg_catalog.text[],pg_catalog.text) | 
function scope.harden(boolean) | 
function scope.is_preloaded() | PUBLIC EXECUTE
function scope.jwt_actor() | PUBLIC EXECUTE
function scope.jwt_claim(pg_catalog.text) | PUBLIC EXECUTE
function scope.jwt_claims() | PUBLIC EXECUTE
function scope.jwt_expires_at() | PUBLIC EXECUTE
function scope.jwt_subject() | PUBLIC EXECUTE
function scope.my_options() | PUBLIC EXECUTE
function scope.offboard(pg_catalog.name,pg_catalog.text,pg_catalog.text,boolean,pg_catalog.name,pg_catalog.text,interval) | 
function scope.plan(pg_catalog.jsonb) | 
function scope.plan(pg_catalog.text) | 
function scope.plan_digest(pg_catalog.jsonb) | 
function scope.plan_digest(pg_catalog.text) | 
function scope.prune(boolean,boolean) | 
function scope.reassign(pg_catalog.name,pg_catalog.name) | 
function scope.refresh_jwt_keys(pg_catalog.text) | 
function scope.refresh_session(pg_catalog.text) | PUBLIC EXECUTE
function scope.renew_role(pg_catalog.name,interval) | 
function scope.request_access(pg_catalog.name,interval,pg_catalog.text,pg_catalog.text,timestamp with time zone,pg_catalog.text,boolean) | PUBLIC EXECUTE
function scope.request_statement(pg_catalog.name,pg_catalog.text,pg_catalog.text[],bigint,pg_catalog.text,pg_catalog.text,timestamp with time zone,pg_catalog.text) | PUBLIC EXECUTE
function scope.restrict_function(pg_catalog.regprocedure,pg_catalog.name[]) | 
function scope.review() | pg_monitor EXECUTE
function scope.review_html() | pg_monitor EXECUTE
function scope.revoke(bigint,pg_catalog.text) | PUBLIC EXECUTE
function scope.revoke_role(pg_catalog.name,pg_catalog.text) | 
function scope.revoke_subject(pg_catalog.text,timestamp with time zone,pg_catalog.text) | 
function scope.revoke_temporary(pg_catalog.name,pg_catalog.name) | 
function scope.revoke_token(pg_catalog.text,timestamp with time zone,pg_catalog.text) | 
function scope.role_map(pg_catalog.text) | pg_monitor EXECUTE
function scope.rotate_password(pg_catalog.name,interval) | 
function scope.run_approved(bigint) | PUBLIC EXECUTE
function scope.set_guard(pg_catalog.name,bigint,bigint,interval,pg_catalog.text[],pg_catalog.text) | 
function scope.set_jwt_keys(pg_catalog.text,pg_catalog.text) | 
function scope.set_jwt_role(pg_catalog.text,pg_catalog.text) | PUBLIC EXECUTE
function scope.set_jwt_session(pg_catalog.text,pg_catalog.text) | PUBLIC EXECUTE
function scope.set_login_policy(pg_catalog.name,pg_catalog.cidr[],boolean,boolean,pg_catalog.text[],pg_catalog.text) | 
function scope.sign(bigint,pg_catalog.text) | PUBLIC EXECUTE
function scope.take_credential(bigint) | PUBLIC EXECUTE
function scope.unguard_login(pg_catalog.name) | 
function scope.verify_jwt(pg_catalog.text) | 
function scope.who_can(pg_catalog.text,pg_catalog.text) | PUBLIC EXECUTE
function scope.withdraw(bigint,pg_catalog.text) | PUBLIC EXECUTE
schema _scope | PUBLIC USAGE
schema scope | PUBLIC USAGE
table _scope.accepted_finding | pg_database_owner SELECT
table _scope.attestation | pg_database_owner SELECT
table _scope.jwt_issuer | pg_database_owner SELECT
table _scope.jwt_issuer_fetch | pg_database_owner SELECT
table _scope.jwt_issuer_secret | 
table _scope.jwt_revoked_subject | pg_database_owner SELECT
table _scope.jwt_revoked_token | pg_database_owner SELECT
table _scope.request | pg_database_owner SELECT
table _scope.request_policy | pg_database_owner SELECT
table _scope.request_told | pg_database_owner SELECT
table _scope.scope_declaration | pg_database_owner SELECT
table scope.audit_log | pg_monitor SELECT, pg_database_owner SELECT
table scope.request_log | pg_monitor SELECT, pg_database_owner SELECT
table scope.writing_function | pg_database_owner SELECT
view scope.credentials | PUBLIC SELECT
view scope.guarded_logins | PUBLIC SELECT
view scope.guards | pg_monitor SELECT
view scope.jwt_issuers | pg_monitor SELECT
view scope.request_board | PUBLIC SELECT
view scope.request_outbox | pg_monitor SELECT
view scope.request_policies | pg_monitor SELECT
view scope.requests | PUBLIC SELECT
view scope.roles | PUBLIC SELECT
view scope.scope_declarations | PUBLIC SELECT
view scope.scopes | PUBLIC SELECT
view scope.sessions | PUBLIC SELECT
";

const LISTED: &str = "
    SELECT o.type || ' ' || o.identity || ' | ' || coalesce(string_agg(
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' ' || a.privilege_type
               || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ' ORDER BY a.grantee, a.privilege_type), '')
    FROM pg_depend d
    JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) o
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
    LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
    LEFT JOIN LATERAL aclexplode(coalesce(
        p.proacl, c.relacl, n.nspacl, t.typacl,
        CASE WHEN p.oid IS NOT NULL THEN acldefault('f', p.proowner) WHEN t.oid IS NOT NULL THEN acldefault('T', t.typowner) END)) a
        ON a.grantee <> coalesce(p.proowner, c.relowner, n.nspowner, t.typowner)
    -- A view brings its row type and the array of it; PostgreSQL 17 lists them too.
    WHERE e.extname = 'scope_roles' AND (t.oid IS NULL OR NOT EXISTS
        (SELECT FROM pg_type r WHERE r.oid IN (t.oid, t.typelem) AND r.typrelid <> 0))
    GROUP BY o.type, o.identity
    ORDER BY 1";

#[test]
fn every_object_and_its_privileges_are_acknowledged() {
    let f = Fixture::new("catalogue_list");
    // Since 17 json is a word of the grammar, which has no schema.
    let listed: Vec<String> = (f.admin().column(LISTED).iter())
        .map(|line| line.replace("pg_catalog.json,", "json,"))
        .collect();
    let expected: Vec<&str> = OBJECTS.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(listed, expected, "\nlisted:\n{}\n", listed.join("\n"));
}

/// Nothing is granted on what everybody may call: the administrator's default privileges decide.
#[test]
fn default_privileges_hold_for_what_everybody_may_call() {
    let f = Fixture::new("catalogue_defaults");
    let login = f.role("login", "LOGIN");
    let mut admin = f.admin();
    admin.run(
        "DROP EXTENSION scope_roles;
         ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
         CREATE EXTENSION scope_roles",
    );
    let mut session = f.login(&login);
    session.denied("SELECT scope.set_jwt_role('x')", "42501");
    session.denied("SELECT scope.jwt_subject()", "42501");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.set_jwt_role(text, text), scope.jwt_subject() TO {login}"
    ));
    session.refused_with("SELECT scope.set_jwt_role('x')", "28000", "malformed");
    assert!(session.holds("scope.jwt_subject() IS NULL"));
}

#[test]
fn every_object_is_described() {
    let f = Fixture::new("catalogue_comments");
    let silent = f.admin().column(
        "SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
         WHERE e.extname = 'scope_roles' AND d.deptype = 'e' AND d.classid <> 'pg_type'::regclass
           AND coalesce(length(obj_description(d.objid, d.classid::regclass::name)), 0) < 20",
    );
    assert_eq!(silent, [""; 0], "these have no comment");
}

/// A `\\df+` is where a DBA looks for what can go wrong.
#[test]
fn function_comments_name_their_errors() {
    let f = Fixture::new("catalogue_errors");
    let mut admin = f.admin();
    for (function, sqlstates) in [
        (
            "scope.create_readonly_role",
            ["55000", "42501", "22023"].as_slice(),
        ),
        (
            "scope.create_scope",
            &["55000", "42501", "42710", "22023", "42703", "42P01"],
        ),
        ("scope.alter_scope", &["42704", "42501", "22023", "55000"]),
        ("scope.drop_scope", &["2BP01", "42704", "42501"]),
        ("scope.restrict_function", &["42883", "42501"]),
        ("scope.set_jwt_role", &["55000", "28000", "42501"]),
        ("scope.expire_roles", &["55000"]),
        (
            "scope.set_guard",
            &[
                "42704", "42501", "22023", "22004", "25006", "55000", "54000",
            ],
        ),
        ("scope.allow_writes", &["42883", "22004", "25006", "55000"]),
    ] {
        let comment = admin.text(&format!(
            "SELECT obj_description('{function}'::regproc, 'pg_proc')"
        ));
        for sqlstate in sqlstates {
            assert!(
                comment.contains(sqlstate),
                "{function} does not mention {sqlstate}: {comment}"
            );
        }
    }
}

#[test]
fn signatures_are_the_contracts() {
    let f = Fixture::new("catalogue_signatures");
    let mut admin = f.admin();
    for (function, arguments, result, properties) in [
        (
            "create_readonly_role",
            "\"table\" regclass DEFAULT NULL::regclass, role_name text DEFAULT NULL::text, valid_for interval DEFAULT NULL::interval, \
             purpose text DEFAULT NULL::text, tables regclass[] DEFAULT NULL::regclass[], schemas regnamespace[] DEFAULT NULL::regnamespace[], \
             future_tables boolean DEFAULT false, allowed_ips cidr[] DEFAULT NULL::cidr[], allow_local boolean DEFAULT NULL::boolean, \
             require_tls boolean DEFAULT NULL::boolean, connection_limit integer DEFAULT NULL::integer, \
             statement_timeout interval DEFAULT NULL::interval, idle_in_transaction_session_timeout interval DEFAULT NULL::interval, \
             search_path text[] DEFAULT NULL::text[]",
            "TABLE(role_name name, password text, valid_until timestamp with time zone, connection_uri text)",
            "v u f f",
        ),
        (
            "create_scope",
            "name text, privileges text[] DEFAULT '{SELECT}'::text[], tables regclass[] DEFAULT '{}'::regclass[], \
             columns text[] DEFAULT NULL::text[], sequences regclass[] DEFAULT '{}'::regclass[], \
             functions regprocedure[] DEFAULT '{}'::regprocedure[], schemas regnamespace[] DEFAULT '{}'::regnamespace[], \
             future_tables boolean DEFAULT false, purpose text DEFAULT NULL::text, if_not_exists boolean DEFAULT false",
            "name",
            "v u f f",
        ),
        (
            "drop_scope",
            "name text, force boolean DEFAULT false, if_exists boolean DEFAULT false",
            "void",
            "v u f f",
        ),
        (
            "restrict_function",
            "f regprocedure, scopes name[] DEFAULT '{}'::name[]",
            "void",
            "v u f f",
        ),
        (
            "set_jwt_role",
            "token text, claim text DEFAULT NULL::text",
            "name",
            "v u f f",
        ),
        (
            "expire_roles",
            "",
            "TABLE(role_name name, action text, sessions_terminated integer, detail text)",
            "v u f f",
        ),
    ] {
        let row = admin.rows(&format!(
            "SELECT pg_get_function_arguments(oid), pg_get_function_result(oid), concat_ws(' ', provolatile, proparallel, proisstrict, prosecdef)
             FROM pg_proc WHERE oid = 'scope.{function}'::regproc"
        ));
        let result_row = [arguments, result, properties].map(|cell| Some(cell.to_owned()));
        // A table function's arguments include its result columns in some versions; the prefix is what counts.
        let [found] = row.as_slice() else {
            panic!("{function}: {row:?}")
        };
        assert_eq!(found.as_slice(), result_row.as_slice(), "{function}");
    }
    let columns = admin.text(
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = 'scope.roles'::regclass AND attnum > 0",
    );
    assert_eq!(
        columns,
        "role name, kind text, state text, time_left interval, valid_until timestamp with time zone, last_error text, scopes name[], \
         purpose text, created_by name, created_at timestamp with time zone, database name"
    );
}

#[test]
fn nothing_of_the_extension_is_owned_by_or_open_to_an_ordinary_creator() {
    let f = Fixture::new("catalogue_owner");
    f.admin().assert_that(
        "NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = ANY ('{scope,_scope}'::regnamespace[]) AND prosecdef AND coalesce(proconfig::text, '') !~ 'search_path')",
    );
    f.admin()
        .assert_that("(SELECT bool_and(nspowner = 10) AND count(*) = 2 FROM pg_namespace WHERE nspname IN ('scope', '_scope'))");
    let creator = f.role("creator", "LOGIN");
    f.server.admin("postgres").run(&format!(
        "CREATE DATABASE catalogue_owner_two OWNER {creator}"
    ));
    // Role DDL is the extension's to run: only a superuser may bring it in.
    f.server
        .login(&creator, "catalogue_owner_two")
        .denied("CREATE EXTENSION scope_roles", "42501");
}

#[test]
fn it_can_be_dropped_and_made_again() {
    let f = Fixture::new("catalogue_again");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    for _ in 0..2 {
        admin.run("DROP EXTENSION scope_roles");
        admin.assert_that("to_regnamespace('scope') IS NULL AND to_regnamespace('_scope') IS NULL");
        // A credential does not depend on the SQL objects.
        cred.connect().rows("SELECT * FROM orders");
        admin.run("CREATE EXTENSION scope_roles");
        admin.assert_that(&format!(
            "(SELECT state = 'active' FROM scope.roles WHERE role = {})",
            literal(&cred.role)
        ));
    }
    assert_eq!(
        admin.column(LISTED).len(),
        OBJECTS.lines().filter(|line| !line.is_empty()).count()
    );
    admin
        .issue("'orders'")
        .connect()
        .rows("SELECT * FROM orders");
    // Within a transaction, undone.
    admin.run("BEGIN; DROP EXTENSION scope_roles; ROLLBACK");
    admin.issue("'orders'");
}

#[test]
fn it_cannot_be_moved_to_another_schema() {
    let f = Fixture::new("catalogue_relocate");
    // The schema is part of the extension's security, so it can be neither chosen nor moved.
    f.admin().run("CREATE SCHEMA elsewhere");
    f.admin()
        .denied("ALTER EXTENSION scope_roles SET SCHEMA elsewhere", "0A000");
}

/// `\d+` explains what it shows.
#[test]
fn every_column_has_a_comment() {
    let f = Fixture::new("catalogue_columns");
    let without = f.admin().column(
        "SELECT format('%s.%s', c.relname, a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relnamespace = ANY ('{scope,_scope}'::regnamespace[]) AND c.relkind IN ('v', 'r') AND a.attnum > 0 AND NOT a.attisdropped
            AND coalesce(col_description(c.oid, a.attnum), '') = '' ORDER BY 1",
    );
    assert_eq!(without, [""; 0]);
}
