//! What a spec must not do: be misread, or give its caller what they do not have.

use super::{fixture, one, plan};
use crate::harness::*;

#[test]
fn a_spec_that_is_not_understood_is_refused_with_its_place() {
    let f = fixture("spec_bad");
    let mut admin = f.admin();
    for (spec, pointer) in [
        ("", ""),
        ("nonsense", ""),
        ("{}", ""),
        (r#"{"version":2}"#, "/version"),
        (r#"{"version":1,"scops":[]}"#, "/scops"),
        (r#"{"version":1,"version":1}"#, ""),
        (
            r#"{"version":1,"scopes":[{"name":"a","name":"b"}]}"#,
            "/scopes/0",
        ),
        (r#"{"version":1,"scopes":[["a"]]}"#, "/scopes/0"),
        (r#"{"version":1,"scopes":[{"name":1}]}"#, "/scopes/0/name"),
        (
            r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT"],"tables":["orders"]}]}]}"#,
            "/scopes/0/grants/0/tables/0",
        ),
        (
            r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT"]}]}]}"#,
            "/scopes/0/grants/0",
        ),
        (
            r#"{"version":1,"issuers":[{"name":"a","issuer":"b","keys":"k"}]}"#,
            "/issuers/0/keys",
        ),
        (
            r#"{"version":1,"issuers":[{"name":"a","issuer":"b","role_map":{"x":"a"}}]}"#,
            "/issuers/0/role_map",
        ),
        (
            r#"{"version":1,"guards":[{"role":"a","max_row":1}]}"#,
            "/guards/0/max_row",
        ),
        (
            r#"{"version":1,"guards":[{"role":"a","max_rows":1.5}]}"#,
            "/guards/0/max_rows",
        ),
        (
            r#"{"version":1,"guards":[{"role":"a","max_rows":1,"max_rows":2}]}"#,
            "/guards/0",
        ),
        (
            r#"{"version":1,"guards":[{"role":"a","window_rows":1,"window":"1 hour"}]}"#,
            "/guards/0/window",
        ),
        (
            r#"{"version":1,"guards":[{"role":"a","forbid":["everything"]}]}"#,
            "/guards/0/forbid/0",
        ),
        (
            r#"{"version":1,"logins":[{"role":"a","allowed_hours":["Mon"],"time_zone":"UTC"}]}"#,
            "/logins/0/allowed_hours/0",
        ),
    ] {
        let refusal = admin.refused(&format!("SELECT scope.plan({})", literal(spec)), "22023");
        assert!(
            refusal.message.contains(&format!("\"{pointer}\"")),
            "{spec}: {refusal}"
        );
    }
    // A key that jsonb has dropped nobody can see any more; what is left is a spec.
    let twice = r#"{"version":1,"mode":"authoritative","mode":"additive"}"#;
    admin.refused(&format!("SELECT scope.plan('{twice}')"), "22023");
    admin.rows(&format!("SELECT scope.plan('{twice}'::jsonb)"));
    admin.refused("SELECT scope.plan(NULL::text)", "22004");
    admin.refused("SELECT scope.apply(NULL::jsonb)", "22004");
    admin.refused("SELECT scope.export_spec(mode => 'both')", "22023");
}

#[test]
fn what_a_spec_names_and_is_not_there_is_refused_with_its_place() {
    let f = fixture("spec_missing");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_credential('{}'::name[] || scope.create_scope('spec_missing_a', tables => '{app.orders}'), 'spec_missing_login')");
    for (spec, pointer, sqlstate) in [
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["app.none"]}]}]"#,
            "/scopes/0/grants/0/tables/0",
            "42P01",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["USAGE"],"sequences":["app.none"]}]}]"#,
            "/scopes/0/grants/0/sequences/0",
            "42P01",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["USAGE"],"sequences":["app.orders"]}]}]"#,
            "/scopes/0/grants/0",
            "42809",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["EXECUTE"],"functions":["app.f(integer)"]}]}]"#,
            "/scopes/0/grants/0/functions/0",
            "42883",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"schemas":["none"]}]}]"#,
            "/scopes/0/grants/0/schemas/0",
            "3F000",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["app.orders"],"columns":["none"]}]}]"#,
            "/scopes/0/grants/0",
            "42703",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["app.orders"],"columns":["none"],"exact":true}]}]"#,
            "/scopes/0/grants/0/columns/0",
            "42703",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELEKT"],"tables":["app.orders"]}]}]"#,
            "/scopes/0/grants/0/privileges",
            "22023",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["pg_catalog.pg_authid"]}]}]"#,
            "/scopes/0/grants/0",
            "42501",
        ),
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["pg_catalog.pg_authid"],"exact":true}]}]"#,
            "/scopes/0/grants/0",
            "42501",
        ),
        (
            r#""scopes":[{"name":"Big Name"}]"#,
            "/scopes/0/name",
            "42602",
        ),
        (r#""scopes":[{"name":"postgres"}]"#, "/scopes/0", "42809"),
        (
            r#""scopes":[{"name":"spec_missing_login"}]"#,
            "/scopes/0",
            "42809",
        ),
        (
            r#""mode":"authoritative","schemas":["none"]"#,
            "/schemas/0",
            "3F000",
        ),
        (r#""roles":["none"]"#, "/roles/0", "42704"),
        (
            r#""memberships":[{"role":"spec_missing_a","member":"none"}]"#,
            "/memberships/0/member",
            "42704",
        ),
        (
            r#""memberships":[{"role":"spec_missing_a","member":"spec_missing_login"}]"#,
            "/memberships/0/member",
            "42809",
        ),
        (r#""logins":[{"role":"none"}]"#, "/logins/0/role", "42704"),
        (
            r#""guards":[{"role":"none","max_rows":1}]"#,
            "/guards/0/role",
            "42704",
        ),
        (
            r#""guards":[{"role":"postgres","max_rows":1}]"#,
            "/guards/0",
            "22023",
        ),
        (r#""logins":[{"role":"postgres"}]"#, "/logins/0", "42809"),
        (
            r#""logins":[{"role":"spec_missing_login","allowed_ips":["x"]}]"#,
            "/logins/0",
            "22023",
        ),
        (
            r#""authenticators":[{"name":"spec_missing_login","roles":["spec_missing_a"]}]"#,
            "/authenticators/0",
            "42809",
        ),
        (
            r#""authenticators":[{"name":"x","roles":["none"]}]"#,
            "/authenticators/0",
            "42501",
        ),
        (
            r#""authenticators":[{"name":"x","roles":["postgres"]}]"#,
            "/authenticators/0",
            "42501",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","algorithms":["none"]}]"#,
            "/issuers/0/algorithms/0",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","role_claim":"$[?"}]"#,
            "/issuers/0/role_claim",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","token_types":[""]}]"#,
            "/issuers/0/token_types",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","required_claims":{"x":null}}]"#,
            "/issuers/0/required_claims",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","required_claims":{"x":12345678901234567890123}}]"#,
            "/issuers/0/required_claims",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","required_claims":{"x":100000000000000000001}}]"#,
            "/issuers/0/required_claims",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","required_claims":{"x":"a","x":"b"}}]"#,
            "/issuers/0/required_claims",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","role_map":[{"x":"a","x":"b"}]}]"#,
            "/issuers/0/role_map",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","role_map":[{"x":"a","y":"b"}]}]"#,
            "/issuers/0/role_map",
            "22023",
        ),
        (
            r#""issuers":[{"name":"a","issuer":"b","bound":"maybe"}]"#,
            "/issuers/0/bound",
            "22023",
        ),
    ] {
        let spec = format!(r#"{{"version":1,{spec}}}"#);
        for function in ["plan", "apply"] {
            let refusal = admin.refused(
                &format!("SELECT scope.{function}({})", literal(&spec)),
                sqlstate,
            );
            assert!(
                refusal.to_string().contains(&format!("\"{pointer}\"")),
                "{spec}: {refusal}"
            );
        }
    }
}

/// A caller with the functions of a spec, who owns one table.
fn caller(f: &Fixture, functions: &str) -> String {
    let role = f.role("caller", "LOGIN");
    f.admin().run(&format!(
        "ALTER TABLE app.customers OWNER TO {role}; GRANT USAGE ON SCHEMA app TO {role} WITH GRANT OPTION;
         GRANT EXECUTE ON FUNCTION scope.plan(text), scope.plan(jsonb), scope.apply(text, text), scope.apply(jsonb, text),
             scope.export_spec{functions} TO {role}"
    ));
    role
}

const ALL: &str = ", scope.create_scope, scope.alter_scope, scope.drop_scope, scope.create_authenticator, scope.add_jwt_issuer, \
                   scope.set_login_policy";

#[test]
fn apply_gives_nobody_what_they_may_not_grant() {
    let f = fixture("spec_authority");
    let me = caller(&f, ALL);
    f.admin().run(
        "SELECT scope.create_scope('spec_authority_a', tables => '{app.orders}'); CREATE ROLE spec_authority_g;
         SELECT scope.create_authenticator('spec_authority_gate', '{spec_authority_g}');
         SELECT scope.create_readonly_role('app.orders', 'spec_authority_login')",
    );
    let mut s = f.login(&me);
    let own = one(
        "authoritative",
        "spec_authority_mine",
        r#"{"privileges":["SELECT"],"tables":["app.customers"]}"#,
    );
    assert_eq!(plan(&mut s, &own).len(), 3);
    s.rows(&format!("SELECT scope.apply({})", literal(&own)));
    for spec in [
        // A table of another's, by name, by schema, exactly, by column.
        r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["app.orders"]}]}]"#.to_owned(),
        r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"schemas":["app"]}]}]"#.to_owned(),
        r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["app.orders"],"exact":true}]}]"#.to_owned(),
        r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["app.orders"],"columns":["id"]}]}]"#.to_owned(),
        r#""scopes":[{"name":"x","grants":[{"privileges":["CREATE"],"schemas":["app"],"exact":true}]}]"#.to_owned(),
        r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"exact":true,"future":[{"of":"tables","creator":"postgres","schema":"app"}]}]}]"#.to_owned(),
        // A scope of another's: to widen, to narrow, to drop, to hand out, to describe.
        r#""scopes":[{"name":"spec_authority_a","grants":[{"privileges":["SELECT"],"tables":["app.customers"]}]}]"#.to_owned(),
        r#""mode":"authoritative","scopes":[{"name":"spec_authority_a"}]"#.to_owned(),
        r#""mode":"authoritative","scopes":[{"name":"spec_authority_a","absent":true}]"#.to_owned(),
        r#""scopes":[{"name":"spec_authority_a","purpose":"mine"}]"#.to_owned(),
        format!(r#""memberships":[{{"role":"spec_authority_a","member":"{me}"}}]"#),
        // Roles that they are no admin of, a superuser's and their own scope's, which lasts.
        format!(r#""memberships":[{{"role":"postgres","member":"{me}"}}]"#),
        format!(r#""memberships":[{{"role":"pg_read_all_data","member":"{me}"}}]"#),
        format!(r#""memberships":[{{"role":"spec_authority_mine","member":"{me}","admin":true}}]"#),
        r#""authenticators":[{"name":"x","roles":["spec_authority_g"]}]"#.to_owned(),
        r#""authenticators":[{"name":"spec_authority_gate","roles":["spec_authority_mine"]}]"#.to_owned(),
        r#""logins":[{"role":"spec_authority_login"}]"#.to_owned(),
    ] {
        let spec = literal(&format!(r#"{{"version":1,{spec}}}"#));
        let refusal = s.refused(&format!("SELECT scope.plan({spec})"), "42501");
        assert!(refusal.detail.contains('/'), "{spec}: {refusal}");
        s.refused(&format!("SELECT scope.apply({spec})"), "42501");
    }
    // What they do not control is not in what they export, either.
    let exported = s.text("SELECT scope.export_spec()");
    assert!(
        exported.contains("spec_authority_mine") && !exported.contains("spec_authority_a\""),
        "{exported}"
    );
    s.refused("SELECT scope.export_spec('{spec_authority_a}')", "42501");
    // Nor does a schema named by them take anything from scopes of others.
    f.admin()
        .run("SELECT scope.create_scope('spec_authority_c', tables => '{app.orders}')");
    let schema = r#"{"version":1,"mode":"authoritative","schemas":["app"]}"#;
    s.rows(&format!("SELECT scope.apply({})", literal(schema)));
    f.admin()
        .assert_that("has_table_privilege('spec_authority_c', 'app.orders', 'SELECT')");
}

#[test]
fn apply_is_no_way_round_execute_on_the_functions() {
    let f = fixture("spec_execute");
    let me = caller(&f, "");
    f.admin().run(&format!(
        "CREATE ROLE spec_execute_g; GRANT spec_execute_g TO {me} WITH ADMIN OPTION;
         GRANT EXECUTE ON FUNCTION scope.create_readonly_role, scope.create_authenticator, scope.create_credential TO {me}"
    ));
    let mut s = f.login(&me);
    s.run("SELECT scope.create_readonly_role('app.customers', 'spec_execute_login'); SELECT scope.create_authenticator('spec_execute_gate', '{spec_execute_g}')");
    f.admin().run(&format!(
        "REVOKE EXECUTE ON FUNCTION scope.create_authenticator FROM {me}"
    ));
    for (spec, function) in [
        (
            r#""scopes":[{"name":"x","grants":[{"privileges":["SELECT"],"tables":["app.customers"]}]}]"#,
            "create_scope",
        ),
        (
            r#""authenticators":[{"name":"x","roles":["spec_execute_g"]}]"#,
            "create_authenticator",
        ),
        (r#""issuers":[{"name":"x","issuer":"y"}]"#, "add_jwt_issuer"),
        // Whoever issues logins may choose a policy, and not change it afterwards.
        (
            r#""logins":[{"role":"spec_execute_login","allowed_ips":["10.0.0.0/8"]}]"#,
            "set_login_policy",
        ),
        (
            r#""authenticators":[{"name":"spec_execute_gate","roles":["spec_execute_g"],"allowed_ips":["10.0.0.0/8"]}]"#,
            "set_login_policy",
        ),
        (
            r#""guards":[{"role":"spec_execute_login","max_rows":5}]"#,
            "set_guard",
        ),
        (
            r#""writing_functions":["app.f(integer,text)"]"#,
            "allow_writes",
        ),
    ] {
        let spec = literal(&format!(r#"{{"version":1,{spec}}}"#));
        for call in [
            format!("SELECT scope.plan({spec})"),
            format!("SELECT scope.apply({spec})"),
        ] {
            let refusal = s.refused(&call, "42501");
            assert!(refusal.message.contains(function), "{refusal}");
        }
    }
    let policy =
        r#"{"version":1,"logins":[{"role":"spec_execute_login","allowed_ips":["10.0.0.0/8"]}]}"#;
    f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.set_login_policy TO {me}"
    ));
    assert_eq!(
        s.rows(&format!("SELECT scope.apply({})", literal(policy)))
            .len(),
        1
    );
    // The way of PostgreSQL's own GRANT is open to who has it.
    let spec = format!(
        r#"{{"version":1,"memberships":[{{"role":"spec_execute_g","member":"{me}_two"}}]}}"#
    );
    f.admin().run(&format!("CREATE ROLE {me}_two"));
    s.rows(&format!("SELECT scope.apply({})", literal(&spec)));
    f.admin().assert_that(&format!(
        "pg_has_role('{me}_two', 'spec_execute_g', 'MEMBER')"
    ));
    // And without EXECUTE on them nobody gets as far.
    let nobody = f.role("nobody", "LOGIN");
    f.login(&nobody)
        .denied("SELECT scope.apply('{\"version\":1}')", "42501");
}

#[test]
fn names_in_a_spec_inject_nothing() {
    let f = fixture("spec_inject");
    let mut admin = f.admin();
    admin.run(
        r#"CREATE SCHEMA "a""b; DROP TABLE vault; --"; CREATE TABLE "a""b; DROP TABLE vault; --"."t'; DROP TABLE vault; --" ("c); DROP TABLE vault; --" int);
           CREATE ROLE "r""; DROP TABLE vault; --""#,
    );
    let spec = r#"{"version":1,"mode":"authoritative","roles":["r\"; DROP TABLE vault; --"],
        "scopes":[{"name":"spec_inject_a","purpose":"'); DROP TABLE vault; --","grants":[
          {"privileges":["SELECT"],"tables":["\"a\"\"b; DROP TABLE vault; --\".\"t'; DROP TABLE vault; --\""]},
          {"privileges":["UPDATE"],"tables":["\"a\"\"b; DROP TABLE vault; --\".\"t'; DROP TABLE vault; --\""],"columns":["c); DROP TABLE vault; --"]}]}],
        "memberships":[{"role":"spec_inject_a","member":"r\"; DROP TABLE vault; --"}],
        "issuers":[{"name":"'; DROP TABLE vault; --","issuer":"'); DROP TABLE vault; --","audiences":["'}; DROP TABLE vault; --"]}]}"#;
    super::apply_twice(&mut admin, spec);
    admin.rows("SELECT * FROM vault");
    let exported = admin.text("SELECT scope.export_spec(mode => 'authoritative')");
    assert_eq!(plan(&mut admin, &exported), [""; 0], "{exported}");
    // The statements that are shown can be run by hand.
    admin.run("BEGIN; DROP OWNED BY spec_inject_a");
    for statement in plan(&mut admin, spec) {
        admin.run(&statement);
    }
    assert_eq!(plan(&mut admin, spec), [""; 0]);
    admin.run("ROLLBACK");
    for function in [
        "app.f(integer,text); DROP TABLE vault)",
        "app.f(integer,text) x",
    ] {
        let spec = one(
            "additive",
            "x",
            &format!(r#"{{"privileges":["EXECUTE"],"functions":["{function}"]}}"#),
        );
        assert!(
            admin
                .attempt(&format!("SELECT scope.plan({})", literal(&spec)))
                .is_err()
        );
    }
    admin.rows("SELECT * FROM vault");
}

#[test]
fn a_credential_cannot_apply_a_spec_to_itself() {
    let f = fixture("spec_itself");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('spec_itself_a', tables => '{app.orders}')");
    let cred = admin.handed("scope.create_credential('{spec_itself_a}', 'spec_itself_login', allowed_ips => '{127.0.0.0/8}')");
    admin.run("GRANT EXECUTE ON FUNCTION scope.apply(text, text), scope.set_login_policy TO spec_itself_a");
    cred.connect().refused(
        r#"SELECT scope.apply('{"version":1,"logins":[{"role":"spec_itself_login"}]}')"#,
        "42501",
    );
    cred.connect().refused(
        r#"SELECT scope.apply('{"version":1,"scopes":[{"name":"spec_itself_a","purpose":"x"}]}')"#,
        "42501",
    );
}

#[test]
fn apply_locks_nothing_for_those_who_may_not_change_it() {
    let f = fixture("spec_lock");
    let me = caller(&f, ALL);
    f.admin()
        .run("SELECT scope.create_scope('spec_lock_a', tables => '{app.orders}')");
    let mut holder = f.login(&me);
    holder.run("BEGIN; SELECT scope.create_scope('spec_lock_z', tables => '{app.customers}')");
    // A session that waits for its own other one would hold what it has locked on the way.
    let mut s = f.login(&me);
    s.run("SET lock_timeout = '2s'");
    let spec = r#"{"version":1,"scopes":[{"name":"spec_lock_a"},{"name":"spec_lock_z"}]}"#;
    s.refused(&format!("SELECT scope.apply({})", literal(spec)), "42501");
    let own = r#"{"version":1,"scopes":[{"name":"spec_lock_z"}]}"#;
    s.denied(&format!("SELECT scope.apply({})", literal(own)), "55P03");
    holder.run("COMMIT");
    s.rows(&format!("SELECT scope.apply({})", literal(own)));
}

/// Whose right to a role ends gives it to no login that goes on, were the login their own.
#[test]
fn attack_an_authenticator_keeps_by_a_spec_what_was_given_for_a_time() {
    let f = fixture("spec_for_a_time");
    let mut admin = f.admin();
    let me = caller(&f, ALL);
    let (owner, own) = (f.role("owner", "NOLOGIN"), f.role("own", "NOLOGIN"));
    admin.run(&format!(
        "GRANT {own} TO {me} WITH ADMIN OPTION; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {owner};
         GRANT USAGE ON SCHEMA app TO {owner} WITH GRANT OPTION; ALTER TABLE app.orders OWNER TO {owner};
         SET ROLE {owner}; SELECT scope.create_scope('spec_for_a_time_a', tables => '{{app.orders}}'); RESET ROLE"
    ));
    let mut s = f.login(&me);
    s.handed(&format!(
        "scope.create_authenticator('spec_for_a_time_api', '{{{own}}}')"
    ));
    let spec = |name: &str, more: &str| {
        format!(
            r#"SELECT scope.apply('{{"version":1,"authenticators":[{{"name":"{name}","roles":["{own}"{more}]}}]}}')"#
        )
    };
    let scope = ",\"spec_for_a_time_a\"";
    s.refused(&spec("spec_for_a_time_api", scope), "42501");
    admin.run(&format!(
        "SELECT scope.grant_temporary('{owner}', '{me}', '1 hour')"
    ));
    let refusal = s.refused(&spec("spec_for_a_time_api", scope), "42501");
    assert!(refusal.detail.contains("lasts longer"), "{refusal}");
    admin.assert_that("NOT pg_has_role('spec_for_a_time_api', 'spec_for_a_time_a', 'MEMBER')");
    // What it has already may be said again, and one that ends with the right may be made.
    s.run(&spec("spec_for_a_time_api", ""));
    s.run(&spec("spec_for_a_time_new", scope));
    admin.assert_that(
        "(SELECT valid_until <= now() + interval '1 hour' FROM scope.roles WHERE role = 'spec_for_a_time_new')",
    );
}
