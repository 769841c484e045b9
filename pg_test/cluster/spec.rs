//! Declared roles: `scope.plan`, `scope.apply` and `scope.export_spec`.

mod drift;
mod examples;
mod guards;
mod random;
mod refused;
mod requests;

use serde_json::{Value, json};

use crate::harness::*;

/// A database with a schema `app`: two tables, one with a serial column, a function.
fn fixture(name: &str) -> Fixture<'static> {
    let f = Fixture::new(name);
    f.admin().run(
        "CREATE SCHEMA app;
         CREATE TABLE app.orders (id serial PRIMARY KEY, note text, total numeric);
         CREATE TABLE app.customers (id int, name text, card text);
         CREATE FUNCTION app.f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    f
}

/// The statements of a plan.
#[track_caller]
fn plan(session: &mut Session, spec: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT statement FROM scope.plan({})",
        literal(spec)
    ))
}

#[track_caller]
fn apply(session: &mut Session, spec: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT statement FROM scope.apply({})",
        literal(spec)
    ))
}

/// Applies a spec; what is shown before is what is done, and then there is nothing to do.
#[track_caller]
fn apply_twice(session: &mut Session, spec: &str) -> Vec<String> {
    let planned = plan(session, spec);
    assert_eq!(apply(session, spec), planned);
    assert_eq!(plan(session, spec), [""; 0], "{spec}");
    assert_eq!(apply(session, spec), [""; 0], "{spec}");
    planned
}

/// A spec of one scope with these entries.
fn one(mode: &str, scope: &str, grants: &str) -> String {
    format!(
        r#"{{"version":1,"mode":"{mode}","scopes":[{{"name":"{scope}","grants":[{grants}]}}]}}"#
    )
}

/// What a scope holds: access lists of everything in this database, and its memberships.
fn holdings(session: &mut Session, scope: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT o.what || ' ' || a.privilege_type FROM (
           SELECT relname::text AS what, relacl AS acl FROM pg_class UNION ALL
           SELECT attrelid::regclass || '.' || attname, attacl FROM pg_attribute UNION ALL
           SELECT oid::regprocedure::text, proacl FROM pg_proc UNION ALL
           SELECT nspname::text, nspacl FROM pg_namespace UNION ALL
           SELECT 'future ' || defaclrole::regrole || ' ' || defaclnamespace::regnamespace || ' ' || defaclobjtype::text, defaclacl
             FROM pg_default_acl UNION ALL
           SELECT datname::text, datacl FROM pg_database WHERE datname = current_database()) o, aclexplode(o.acl) a
          WHERE a.grantee = {}::regrole ORDER BY 1",
        literal(scope)
    ))
}

#[test]
fn a_spec_makes_a_scope_that_does_what_it_says() {
    let f = fixture("spec_make");
    let mut admin = f.admin();
    let spec = r#"{"version":1,"scopes":[{"name":"spec_make_a","purpose":"it's \"so\"","grants":[
        {"privileges":["INSERT"],"tables":["app.orders"]},
        {"privileges":["SELECT"],"tables":["app.customers"],"columns":["id","name"]},
        {"privileges":["EXECUTE"],"functions":["app.f(integer,text)"]}]}]}"#;
    let planned = apply_twice(&mut admin, spec);
    assert_eq!(
        planned,
        [
            r#"SELECT scope.create_scope('spec_make_a', purpose => 'it''s "so"')"#,
            "GRANT INSERT ON TABLE app.orders TO spec_make_a",
            "GRANT USAGE ON SCHEMA app TO spec_make_a",
            "GRANT USAGE ON SEQUENCE app.orders_id_seq TO spec_make_a",
            "GRANT SELECT (id, name) ON TABLE app.customers TO spec_make_a",
            "GRANT EXECUTE ON ROUTINE app.f(integer,text) TO spec_make_a",
        ]
    );
    let cred = admin.handed("scope.create_credential('{spec_make_a}')");
    let mut s = cred.connect();
    s.run("INSERT INTO app.orders (note) VALUES ('x')");
    s.rows("SELECT id, name FROM app.customers");
    s.rows("SELECT app.f(1, '')");
    s.denied("SELECT card FROM app.customers", "42501");
    s.denied("SELECT * FROM app.orders", "42501");
    // The functions know it as one of theirs.
    assert_eq!(
        admin.text("SELECT purpose FROM scope.scopes WHERE scope = 'spec_make_a'"),
        "it's \"so\""
    );
}

#[test]
fn each_step_says_why_and_as_whom() {
    let f = fixture("spec_why");
    let owner = f.role("owner", "LOGIN");
    let mut admin = f.admin();
    admin.run(&format!(
        "ALTER TABLE app.customers OWNER TO {owner}; GRANT USAGE ON SCHEMA app TO {owner}; SELECT scope.create_scope('spec_why_a', tables => '{{app.orders}}');
         SET ROLE {owner}; GRANT DELETE ON app.customers TO spec_why_a; RESET ROLE"
    ));
    let spec = one(
        "authoritative",
        "spec_why_a",
        r#"{"privileges":["SELECT"],"tables":["app.orders"]},{"privileges":["INSERT"],"tables":["app.orders"]}"#,
    );
    let rows = admin.rows(&format!(
        "SELECT step, object, statement, runs_as, reason FROM scope.plan({})",
        literal(&spec)
    ));
    let rows: Vec<String> = rows
        .into_iter()
        .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" | "))
        .collect();
    assert_eq!(
        rows,
        [
            &format!(
                "1 | scope spec_why_a | REVOKE DELETE ON TABLE app.customers FROM spec_why_a CASCADE | {owner} | not declared at /scopes/0, which is authoritative"
            ),
            "2 | scope spec_why_a | GRANT INSERT ON TABLE app.orders TO spec_why_a | postgres | declared at /scopes/0/grants/1, and not held",
            "3 | scope spec_why_a | GRANT USAGE ON SEQUENCE app.orders_id_seq TO spec_why_a | postgres | what /scopes/0/grants/1 declares does not work without",
        ]
    );
    apply_twice(&mut admin, &spec);
}

#[test]
fn additive_takes_nothing_away_and_authoritative_what_is_not_declared() {
    let f = fixture("spec_modes");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.create_scope('spec_modes_a', '{SELECT,DELETE}', '{app.orders,app.customers}');
         SELECT scope.create_scope('spec_modes_b', tables => '{app.orders,vault}');
         CREATE ROLE spec_modes_person; GRANT spec_modes_a TO spec_modes_person WITH ADMIN OPTION",
    );
    let grants = r#"{"privileges":["SELECT"],"tables":["app.orders"]}"#;
    assert_eq!(
        plan(&mut admin, &one("additive", "spec_modes_a", grants)),
        [""; 0]
    );
    let planned = apply_twice(&mut admin, &one("authoritative", "spec_modes_a", grants));
    assert_eq!(planned.len(), 3, "{planned:?}");
    assert_eq!(
        holdings(&mut admin, "spec_modes_a"),
        ["app USAGE", "orders SELECT", "spec_modes CONNECT"]
    );
    admin.assert_that("NOT pg_has_role('spec_modes_person', 'spec_modes_a', 'MEMBER')");
    // Another scope, which was not named, is left alone until its schema is.
    admin.assert_that("has_table_privilege('spec_modes_b', 'app.orders', 'SELECT')");
    let spec = r#"{"version":1,"mode":"authoritative","schemas":["app"]}"#;
    let with = one("authoritative", "spec_modes_a", grants)
        .replace("\"scopes\"", "\"schemas\":[\"app\"],\"scopes\"");
    assert!(plan(&mut admin, spec).len() > plan(&mut admin, &with).len());
    apply_twice(&mut admin, &with);
    assert_eq!(
        holdings(&mut admin, "spec_modes_b"),
        ["public USAGE", "spec_modes CONNECT", "vault SELECT"]
    );
}

#[test]
fn a_scope_declared_absent_is_dropped() {
    let f = fixture("spec_absent");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('spec_absent_a', tables => '{app.orders}')");
    let spec =
        r#"{"version":1,"mode":"authoritative","scopes":[{"name":"spec_absent_a","absent":true}]}"#;
    assert_eq!(
        apply_twice(&mut admin, spec),
        ["SELECT scope.drop_scope('spec_absent_a')"]
    );
    assert!(!admin.role_exists("spec_absent_a"));
    // Not from under its members.
    admin.run("SELECT scope.create_scope('spec_absent_a', tables => '{app.orders}'); SELECT scope.create_credential('{spec_absent_a}')");
    admin.refused(&format!("SELECT scope.apply({})", literal(spec)), "2BP01");
}

#[test]
fn a_plan_that_changed_since_its_review_is_not_applied() {
    let f = fixture("spec_digest");
    let mut admin = f.admin();
    let spec = literal(&one(
        "authoritative",
        "spec_digest_a",
        r#"{"privileges":["SELECT"],"tables":["app.orders"]}"#,
    ));
    let digest = admin.text(&format!("SELECT scope.plan_digest({spec})"));
    assert_eq!(digest.len(), 64);
    assert_eq!(
        admin.column(&format!("SELECT DISTINCT digest FROM scope.plan({spec})")),
        std::slice::from_ref(&digest)
    );
    // Asked again it is the same, and jsonb gives the same.
    assert_eq!(
        admin.text(&format!("SELECT scope.plan_digest({spec}::jsonb)")),
        digest
    );
    f.admin()
        .run("SELECT scope.create_scope('spec_digest_a', '{DELETE}', '{app.orders}')");
    let refusal = admin.refused(
        &format!("SELECT scope.apply({spec}, expect_digest => '{digest}')"),
        "55000",
    );
    assert!(refusal.detail.contains(&digest), "{refusal}");
    admin.assert_that("has_table_privilege('spec_digest_a', 'app.orders', 'DELETE')");
    // An empty plan has a digest too: what was reviewed as nothing stays nothing.
    let spec = literal(&one(
        "authoritative",
        "spec_digest_a",
        r#"{"privileges":["DELETE"],"tables":["app.orders"]}"#,
    ));
    let digest = admin.text(&format!("SELECT scope.plan_digest({spec})"));
    admin.run(&format!("SELECT scope.apply({spec}, '{digest}')"));
    f.admin().run("GRANT INSERT ON app.orders TO spec_digest_a");
    admin.refused(&format!("SELECT scope.apply({spec}, '{digest}')"), "55000");
    let digest = admin.text(&format!("SELECT scope.plan_digest({spec})"));
    assert_eq!(
        admin.column(&format!(
            "SELECT statement FROM scope.apply({spec}::jsonb, '{digest}')"
        )),
        ["REVOKE INSERT ON TABLE app.orders FROM spec_digest_a CASCADE"]
    );
}

#[test]
fn apply_is_undone_with_its_transaction() {
    let f = fixture("spec_rollback");
    let mut admin = f.admin();
    let spec = literal(&one(
        "additive",
        "spec_rollback_a",
        r#"{"privileges":["SELECT"],"tables":["app.orders"]}"#,
    ));
    admin.run(&format!("BEGIN; SELECT scope.apply({spec}); ROLLBACK"));
    assert!(!admin.role_exists("spec_rollback_a"));
    // A migration in one transaction, with the schema that it speaks of; nothing of a failed one stays.
    let fails = literal(
        r#"{"version":1,"scopes":[{"name":"spec_rollback_a","grants":[{"privileges":["SELECT"],"tables":["app.fresh"]}]},
            {"name":"spec_rollback_b","grants":[{"privileges":["SELECT"],"tables":["app.nothing"]}]}]}"#,
    );
    admin.refused(&format!("SELECT scope.apply({fails})"), "42P01");
    assert!(!admin.role_exists("spec_rollback_a"));
    let spec = spec.replace("app.orders", "app.fresh");
    admin.run(&format!(
        "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE app.fresh (x int); SELECT scope.apply({spec}); COMMIT"
    ));
    admin.assert_that("has_table_privilege('spec_rollback_a', 'app.fresh', 'SELECT')");
}

#[test]
fn future_tables_are_declared_for_those_who_create_there() {
    let f = fixture("spec_future");
    let mut admin = f.admin();
    let spec = one(
        "authoritative",
        "spec_future_a",
        r#"{"privileges":["SELECT"],"schemas":["app"],"future_tables":true}"#,
    );
    apply_twice(&mut admin, &spec);
    admin.run("CREATE TABLE app.later (x int)");
    admin.assert_that("has_table_privilege('spec_future_a', 'app.later', 'SELECT')");
    assert_eq!(plan(&mut admin, &spec), [""; 0]);
    // Somebody else creates there now.
    let other = f.role("other", "");
    admin.run(&format!(
        "GRANT USAGE, CREATE ON SCHEMA app TO {other}; SET ROLE {other}; CREATE TABLE app.theirs (x int); RESET ROLE"
    ));
    assert_eq!(
        apply_twice(&mut admin, &spec),
        [
            "GRANT SELECT ON TABLE app.theirs TO spec_future_a",
            &format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {other} IN SCHEMA app GRANT SELECT ON TABLES TO spec_future_a"
            ),
        ]
    );
}

#[test]
fn memberships_are_made_changed_and_ended() {
    let f = fixture("spec_members");
    let mut admin = f.admin();
    for suffix in ["group", "ana", "ben", "lead"] {
        f.role(suffix, "");
    }
    admin.run("GRANT spec_members_group TO spec_members_ben");
    let spec = |mode: &str, lead: &str| {
        format!(
            r#"{{"version":1,"mode":"{mode}","roles":["spec_members_group"],"scopes":[{{"name":"spec_members_a","grants":[]}}],
            "memberships":[{{"role":"spec_members_a","member":"spec_members_group"}},
                {{"role":"spec_members_group","member":"spec_members_ana"}},
                {{"role":"spec_members_group","member":"spec_members_lead","admin":{lead}}}]}}"#
        )
    };
    let is_member = |admin: &mut Session, member: &str| {
        admin.holds(&format!(
            "pg_has_role('spec_members_{member}', 'spec_members_a', 'MEMBER')"
        ))
    };
    apply_twice(&mut admin, &spec("additive", "true"));
    assert!(is_member(&mut admin, "ana") && is_member(&mut admin, "ben"));
    admin.assert_that(
        "pg_has_role('spec_members_lead', 'spec_members_group', 'USAGE WITH ADMIN OPTION')",
    );
    // Additive leaves what is more than declared.
    assert_eq!(plan(&mut admin, &spec("additive", "false")), [""; 0]);
    let planned = apply_twice(&mut admin, &spec("authoritative", "false"));
    assert_eq!(planned.len(), 2, "{planned:?}");
    assert!(is_member(&mut admin, "ana") && !is_member(&mut admin, "ben"));
    admin.assert_that(
        "NOT pg_has_role('spec_members_lead', 'spec_members_group', 'USAGE WITH ADMIN OPTION')",
    );
    // Logins of ours hold their scopes by the functions; no spec takes them away.
    let cred = admin.handed("scope.create_credential('{spec_members_a}')");
    assert_eq!(plan(&mut admin, &spec("authoritative", "false")), [""; 0]);
    assert_eq!(admin.scope_of(&cred.role), "spec_members_a");
}

#[test]
fn membership_options_and_grantors_are_of_16_and_later() {
    let f = fixture("spec_options");
    let mut admin = f.admin();
    for suffix in ["group", "ana", "lead"] {
        f.role(suffix, "");
    }
    let spec = literal(
        r#"{"version":1,"mode":"authoritative","roles":["spec_options_group"],"memberships":[
            {"role":"spec_options_group","member":"spec_options_ana","grantor":"spec_options_lead","inherit":false,"set":true},
            {"role":"spec_options_group","member":"spec_options_lead","admin":true,"set":false}]}"#,
    );
    if f.server.version() < 160_000 {
        let refusal = admin.refused(&format!("SELECT scope.plan({spec})"), "0A000");
        assert!(
            refusal.detail.contains("\"/memberships/0/inherit\""),
            "{refusal}"
        );
        return;
    }
    let spec = &spec[1..spec.len() - 1];
    apply_twice(&mut admin, spec);
    let rows = |admin: &mut Session| {
        admin.column(
            "SELECT concat_ws(' ', member::regrole, grantor::regrole, admin_option, inherit_option, set_option)
             FROM pg_auth_members WHERE roleid = 'spec_options_group'::regrole ORDER BY 1",
        )
    };
    let declared = [
        "spec_options_ana spec_options_lead f f t",
        "spec_options_lead postgres t t f",
    ];
    assert_eq!(rows(&mut admin), declared);
    admin.run(
        "GRANT spec_options_group TO spec_options_ana WITH INHERIT TRUE, SET FALSE GRANTED BY spec_options_lead;
         GRANT spec_options_group TO spec_options_ana WITH ADMIN TRUE",
    );
    apply_twice(&mut admin, spec);
    assert_eq!(rows(&mut admin), declared);
    // Who has granted loses it after those who have it from them.
    let none = r#"{"version":1,"mode":"authoritative","roles":["spec_options_group"]}"#;
    apply_twice(&mut admin, none);
    assert_eq!(rows(&mut admin), [""; 0]);
}

#[test]
fn login_policies_are_declared_whole() {
    let f = fixture("spec_logins");
    let mut admin = f.admin();
    let cred = admin.issue("'app.orders', 'spec_logins_a', allowed_ips => '{10.0.0.0/8}'");
    let spec =
        |rules: &str| format!(r#"{{"version":1,"logins":[{{"role":"spec_logins_a"{rules}}}]}}"#);
    assert_eq!(
        plan(
            &mut admin,
            &spec(r#","allowed_ips":["10.0.0.0/8"],"allow_local":false"#)
        ),
        [""; 0]
    );
    assert!(cred.try_connect().is_err());
    apply_twice(&mut admin, &spec(r#","allowed_ips":["127.0.0.0/8"]"#));
    cred.connect();
    assert!(f.server.try_login("spec_logins_a", &f.name).is_err());
    apply_twice(&mut admin, &spec(""));
    f.login("spec_logins_a");
    let rules = admin.rows(
        "SELECT allowed_ips, allow_local FROM scope.credentials WHERE role = 'spec_logins_a'",
    );
    assert_eq!(rules, [[None, Some("t".into())]]);
}

#[test]
fn an_authenticator_is_made_without_a_password() {
    let f = fixture("spec_gate");
    let mut admin = f.admin();
    let spec = |roles: &str, rest: &str| {
        format!(
            r#"{{"version":1,"mode":"authoritative","scopes":[{{"name":"spec_gate_a","grants":[]}},{{"name":"spec_gate_b","grants":[]}}],
               "authenticators":[{{"name":"spec_gate_api","roles":[{roles}]{rest}}}]}}"#
        )
    };
    apply_twice(&mut admin, &spec(r#""spec_gate_a""#, r#","purpose":"x""#));
    admin.assert_that(
        "SELECT rolpassword IS NULL AND rolcanlogin FROM pg_authid WHERE rolname = 'spec_gate_api'",
    );
    let cred = admin.handed("scope.rotate_password('spec_gate_api')");
    cred.connect();
    // Its password is its own; the rest is the spec's.
    apply_twice(
        &mut admin,
        &spec(
            r#""spec_gate_b""#,
            r#","purpose":"y","connection_limit":3,"allowed_ips":["127.0.0.1/32"]"#,
        ),
    );
    cred.connect();
    let row = admin.rows("SELECT scopes::text, connection_limit, allowed_ips::text, purpose FROM scope.credentials WHERE role = 'spec_gate_api'");
    assert_eq!(
        row,
        [["{spec_gate_b}", "3", "{127.0.0.1/32}", "y"].map(|cell| Some(cell.to_owned()))]
    );
    cred.connect().denied("SET ROLE spec_gate_b", "42501");
}

#[test]
fn an_issuer_is_registered_without_keys_and_keeps_those_it_gets() {
    let f = fixture("spec_issuer");
    let mut admin = f.admin();
    let spec = |audience: &str| {
        format!(
            r#"{{"version":1,"issuers":[{{"name":"corp","issuer":"https://id","audiences":["{audience}"],"leeway":5,"max_age":60}}]}}"#
        )
    };
    apply_twice(&mut admin, &spec("db"));
    let claims = format!(
        r#"{{"iss":"https://id","aud":"db2","role":"spec_issuer","exp":{0},"iat":{1}}}"#,
        now() + 60,
        now()
    );
    let verify = format!(
        "SELECT scope.verify_jwt({})",
        literal(&sign_raw(r#"{"alg":"HS256"}"#, &claims))
    );
    admin.refused(&verify, "28000");
    admin.run(&format!(
        "SELECT scope.set_jwt_keys('corp', {})",
        literal(SECRET)
    ));
    admin.refused_with(&verify, "28000", "audience");
    apply_twice(&mut admin, &spec("db2"));
    admin.rows(&verify);
    assert_eq!(
        admin.text("SELECT concat_ws(' ', leeway, max_age, require_exp) FROM scope.jwt_issuers"),
        "00:00:05 00:01:00 t"
    );
}

#[test]
fn what_an_issuers_tokens_must_say_is_declared_and_exported() {
    let f = fixture("spec_rules");
    let mut admin = f.admin();
    let rules = [
        r#""token_types":["at+jwt","absent"]"#,
        r#""required_claims":{"client_id":["a","b"],"email_verified":true,"n":1.5,"huge":1e20,"tiny":0.000000000000001,"id":9223372036854775807,".x.y":{"present":true}}"#,
        r#""role_claim":"groups","role_map":[{"long writers":"w"},{"r":"r"}]"#,
        r#""bound":"required""#,
        r#""single_use":true"#,
    ];
    let issuers = || {
        let spec: Value =
            serde_json::from_str(&f.admin().text("SELECT scope.export_spec()")).expect("a spec");
        spec["issuers"].clone()
    };
    for count in 1..=rules.len() {
        let issuer = format!(
            r#"{{"name":"corp","issuer":"https://id",{}}}"#,
            rules[..count].join(",")
        );
        apply_twice(
            &mut admin,
            &format!(r#"{{"version":1,"issuers":[{issuer}]}}"#),
        );
        let declared: Value = serde_json::from_str(&issuer).expect("JSON");
        assert_eq!(issuers(), json!([declared]));
    }
    assert_eq!(
        admin.text("SELECT role_map::text || bound FROM scope.jwt_issuers"),
        r#"[{"long writers": "w"}, {"r": "r"}]required"#
    );
    // What the plan shows does the same by hand.
    let spec = admin.text("SELECT scope.export_spec()");
    admin.run("SELECT scope.drop_jwt_issuer('corp')");
    let statement = admin.text(&format!(
        "SELECT statement FROM scope.plan({})",
        literal(&spec)
    ));
    admin.run(&statement.replace("'…'", &literal(SECRET)));
    assert!(
        admin
            .rows(&format!("SELECT * FROM scope.plan({})", literal(&spec)))
            .is_empty()
    );
}

#[test]
fn two_who_apply_at_once_do_it_once() {
    let f = fixture("spec_race");
    let spec = one(
        "authoritative",
        "spec_race_a",
        r#"{"privileges":["SELECT"],"tables":["app.orders","app.customers"]}"#,
    );
    let start = std::sync::Barrier::new(6);
    let steps: usize = std::thread::scope(|scope| {
        let running: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut admin = f.admin();
                    start.wait();
                    apply(&mut admin, &spec).len()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("an apply failed"))
            .sum()
    });
    assert_eq!(steps, 3);
}

#[test]
fn what_no_spec_can_say_is_told() {
    let f = fixture("spec_untold");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.create_scope('spec_untold_a', tables => '{app.orders}');
         GRANT SELECT ON app.orders TO spec_untold_a WITH GRANT OPTION; CREATE TABLE app.owned (x int); ALTER TABLE app.owned OWNER TO spec_untold_a",
    );
    admin.notices();
    let spec = admin.text("SELECT scope.export_spec('{spec_untold_a}', 'authoritative')");
    let told = admin.notices();
    assert!(
        told.iter()
            .any(|notice| notice.detail.contains("grant option")
                && notice.detail.contains("app.owned")),
        "{told:?}"
    );
    assert_eq!(plan(&mut admin, &spec), [""; 0]);
}
