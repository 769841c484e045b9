//! Guards, functions that may write, and hours of logins, declared.

use super::{apply, apply_twice, fixture, plan};
use crate::harness::*;

/// Scopes `NAME_a` and `NAME_b` that read, with a login of the first.
fn scene(name: &str) -> (Fixture<'static>, String) {
    let f = fixture(name);
    let mut admin = f.admin();
    admin.run(&format!(
        "SELECT scope.create_scope('{name}_a', tables => '{{app.orders}}'); SELECT scope.create_scope('{name}_b', tables => '{{app.orders}}');
         INSERT INTO app.orders (note) SELECT i FROM generate_series(1, 20) i"
    ));
    let login = admin
        .handed(&format!(
            "scope.create_credential('{{{name}_a}}', '{name}_login')"
        ))
        .role;
    (f, login)
}

fn guards(admin: &mut Session, like: &str) -> Vec<String> {
    admin.column(&format!(
        "SELECT concat_ws(' ', role, action, max_rows, window_rows, \"window\", forbid) FROM scope.guards WHERE role LIKE '{like}%' ORDER BY 1"
    ))
}

#[test]
fn a_declared_guard_is_set_and_holds() {
    let (f, login) = scene("spec_guard");
    let mut admin = f.admin();
    let spec = format!(
        r#"{{"version":1,"guards":[{{"role":"spec_guard_a","max_rows":10,"window_rows":1000,"window":3600,"forbid":["do","copy_to"]}},
            {{"role":"spec_guard_a","action":"alert","max_rows":5}},{{"role":"{login}","forbid":["temp"]}}]}}"#
    );
    let mut s = f.login(&login);
    assert_eq!(s.rows("SELECT * FROM app.orders").len(), 20);
    assert_eq!(
        apply_twice(&mut admin, &spec),
        [
            r#"SELECT scope.set_guard('spec_guard_a', max_rows => 10, window_rows => 1000, "window" => interval '3600 seconds', forbid => '{do,copy_to}')"#,
            "SELECT scope.set_guard('spec_guard_a', max_rows => 5, action => 'alert')",
            "SELECT scope.set_guard('spec_guard_login', forbid => '{temp}')",
        ]
    );
    s.refused("SELECT * FROM app.orders", "54000");
    s.refused("DO $$ BEGIN END $$", "42501");
    s.refused("CREATE TEMP TABLE x (y int)", "42501");
    for other in [
        spec.replace("\"window\":3600", "\"window\":3601"),
        spec.replace("\"window_rows\":1000", "\"window_rows\":999"),
        spec.replace("\"copy_to\"]", "\"copy_to\",\"set\"]"),
        spec.replace("[\"temp\"]", "[\"lock\"]"),
        spec.replace("\"max_rows\":5", "\"max_rows\":6"),
    ] {
        assert_eq!(plan(&mut admin, &other).len(), 1, "{other}");
    }
    // Another order of the classes is the same guard.
    let same = spec.replace(r#""do","copy_to""#, r#""copy_to","do""#);
    assert_eq!(plan(&mut admin, &same), [""; 0]);
    let digest = |admin: &mut Session, spec: &str| {
        admin.text(&format!("SELECT scope.plan_digest({})", literal(spec)))
    };
    let nothing = digest(&mut admin, &spec);
    let wider = spec.replace("\"max_rows\":10,", "");
    assert_ne!(digest(&mut admin, &wider), nothing);
    let reasons = admin.column(&format!(
        "SELECT reason || ' as ' || runs_as FROM scope.plan({})",
        literal(&wider)
    ));
    assert_eq!(
        reasons,
        ["another guard is declared at /guards/0 as postgres"]
    );
    apply_twice(&mut admin, &wider);
    assert_eq!(s.rows("SELECT * FROM app.orders").len(), 20);
}

#[test]
fn a_plan_of_guards_can_be_run_by_hand() {
    let (f, login) = scene("spec_byhand");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_authenticator('spec_byhand_gate', '{spec_byhand_a}')");
    let spec = format!(
        r#"{{"version":1,"mode":"authoritative","schemas":["app"],
            "authenticators":[{{"name":"spec_byhand_gate","roles":["spec_byhand_a"],"purpose":"x","allowed_ips":["10.0.0.0/8"],"allowed_hours":["daily 01:00-02:00"],"time_zone":"UTC"}},
              {{"name":"spec_byhand_new","roles":["spec_byhand_b"],"allowed_hours":["daily 03:00-04:00"],"time_zone":"Europe/Berlin"}}],
            "scopes":[{{"name":"spec_byhand_a"}},{{"name":"spec_byhand_b"}}],
            "logins":[{{"role":"{login}","require_tls":false,"allowed_hours":["Sat,Sun 08:00-18:00"],"time_zone":"UTC"}}],
            "guards":[{{"role":"spec_byhand_new","max_rows":3}},{{"role":"spec_byhand_b","window_rows":3,"window":1}}],
            "writing_functions":["app.f(int, text)"]}}"#
    );
    admin.run("SELECT scope.set_guard('spec_byhand_a', 4)");
    let statements = plan(&mut admin, &spec);
    assert!(statements.len() >= 8, "{statements:?}");
    for statement in statements {
        admin.run(&statement);
    }
    assert_eq!(plan(&mut admin, &spec), [""; 0]);
}

#[test]
fn undeclared_guards_go_where_the_spec_names_the_role_and_is_authoritative() {
    let (f, login) = scene("spec_unguard");
    let group = f.role("group", "");
    let mut admin = f.admin();
    let roles = ["spec_unguard_a", "spec_unguard_b", &login, &group];
    for role in roles {
        admin.run(&format!(
            "SELECT scope.set_guard('{role}', 7); SELECT scope.set_guard('{role}', 3, action => 'alert')"
        ));
    }
    let all = guards(&mut admin, "spec_unguard");
    assert_eq!(all.len(), 8);
    let spec = |mode: &str| {
        format!(
            r#"{{"version":1,"mode":"{mode}","roles":["{group}"],"logins":[{{"role":"{login}"}}],"scopes":[{{"name":"spec_unguard_a"}}],
               "guards":[{{"role":"spec_unguard_a","max_rows":7}}]}}"#
        )
    };
    assert_eq!(
        plan(&mut admin, &spec("additive")),
        [""; 0],
        "additive takes a guard away"
    );
    let planned = apply_twice(&mut admin, &spec("authoritative"));
    let planned: Vec<&String> = planned
        .iter()
        .filter(|statement| statement.contains("guard("))
        .collect();
    assert_eq!(
        planned,
        [
            "SELECT scope.set_guard('spec_unguard_a', action => 'alert')",
            "SELECT scope.set_guard('spec_unguard_group', action => 'alert')",
            "SELECT scope.set_guard('spec_unguard_group')",
            "SELECT scope.set_guard('spec_unguard_login', action => 'alert')",
            "SELECT scope.set_guard('spec_unguard_login')",
        ]
    );
    assert_eq!(
        guards(&mut admin, "spec_unguard"),
        [
            "spec_unguard_a block 7 {}",
            "spec_unguard_b alert 3 {}",
            "spec_unguard_b block 7 {}"
        ]
    );
    // And all are exported as they are.
    let exported = admin.text(&format!(
        "SELECT scope.export_spec('{{spec_unguard_a,spec_unguard_b,{login},{group}}}', 'authoritative')"
    ));
    assert_eq!(plan(&mut admin, &exported), [""; 0], "{exported}");
    admin.run("SELECT scope.set_guard('spec_unguard_a', 8); SELECT scope.set_guard('spec_unguard_b', NULL, action => 'alert')");
    assert_eq!(apply(&mut admin, &exported).len(), 2);
    assert_eq!(guards(&mut admin, "spec_unguard").len(), 3);
}

#[test]
fn a_scope_and_a_gate_are_guarded_from_the_moment_they_are_made() {
    let f = fixture("spec_born");
    let mut admin = f.admin();
    let me = f.role("caller", "LOGIN");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.plan(text), scope.apply(text, text), scope.create_scope, scope.create_authenticator, scope.set_guard TO {me}"
    ));
    let spec = r#"{"version":1,"mode":"authoritative","scopes":[{"name":"spec_born_a"}],
        "authenticators":[{"name":"spec_born_api","roles":["spec_born_a"]}],
        "guards":[{"role":"spec_born_a","max_rows":3},{"role":"spec_born_api","forbid":["listen"],"action":"alert"}]}"#;
    let mut s = f.login(&me);
    apply_twice(&mut s, spec);
    assert_eq!(
        guards(&mut admin, "spec_born"),
        ["spec_born_a block 3 {}", "spec_born_api alert {listen}"]
    );
}

#[test]
fn a_spec_guards_nothing_that_its_caller_may_not_guard() {
    let (f, login) = scene("spec_guardian");
    let me = f.role("caller", "LOGIN");
    let other = f.role("other", "");
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.plan(text), scope.apply(text, text), scope.export_spec, scope.create_scope TO {me}"
    ));
    let mut s = f.login(&me);
    let own = r#"{"version":1,"mode":"authoritative","scopes":[{"name":"spec_guardian_mine"}],"guards":[{"role":"spec_guardian_mine","max_rows":5}]}"#;
    let refused = |s: &mut Session, spec: &str, pointer: &str| {
        for function in ["plan", "apply"] {
            let refusal = s.refused(
                &format!("SELECT scope.{function}({})", literal(spec)),
                "42501",
            );
            assert!(refusal.detail.contains(pointer), "{spec}: {refusal}");
        }
    };
    // EXECUTE on scope.apply() is not EXECUTE on scope.set_guard().
    refused(&mut s, own, "/guards/0");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.set_guard TO {me}"
    ));
    apply_twice(&mut s, own);
    for role in ["spec_guardian_a", &login, &other, &me] {
        let spec = format!(r#"{{"version":1,"guards":[{{"role":"{role}","max_rows":5}}]}}"#);
        refused(&mut s, &spec, "/guards/0");
    }
    // Nor does the table of functions that may write open by itself.
    let writes = r#"{"version":1,"writing_functions":["app.f(integer,text)"]}"#;
    refused(&mut s, writes, "/writing_functions/0");
    // What a superuser has set is not loosened, and not taken away.
    admin.run("SELECT scope.set_guard('spec_guardian_mine', 2); SELECT scope.set_guard('spec_guardian_mine', 1, action => 'alert')");
    refused(&mut s, own, "/guards/0");
    let silent = own.replace(r#"{"role":"spec_guardian_mine","max_rows":5}"#, "");
    s.notices();
    assert_eq!(apply_twice(&mut s, &silent), [""; 0]);
    let told = s.notices();
    assert!(
        told.iter()
            .any(|notice| notice.message.contains("keeps a guard")),
        "{told:?}"
    );
    assert_eq!(
        guards(&mut admin, "spec_guardian_mine"),
        [
            "spec_guardian_mine alert 1 {}",
            "spec_guardian_mine block 2 {}"
        ]
    );
    // It is exported as it is, and a superuser's spec takes it away.
    let exported = s.text("SELECT scope.export_spec(mode => 'authoritative')");
    assert_eq!(plan(&mut s, &exported), [""; 0], "{exported}");
    apply_twice(&mut admin, &silent);
    assert_eq!(guards(&mut admin, "spec_guardian_mine"), [""; 0]);
    // A credential does not loosen what holds for itself.
    admin.run("SELECT scope.set_guard('spec_guardian_a', 2)");
    admin.run(
        "GRANT EXECUTE ON FUNCTION scope.apply(text, text), scope.set_guard TO spec_guardian_a",
    );
    let spec = r#"{"version":1,"guards":[{"role":"spec_guardian_a","max_rows":5000}]}"#;
    f.login(&login)
        .refused(&format!("SELECT scope.apply({})", literal(spec)), "42501");
}

#[test]
fn functions_that_may_write_are_declared_by_schema() {
    let (f, login) = scene("spec_writers");
    let mut admin = f.admin();
    admin.run(
        "CREATE FUNCTION app.note(t text) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO app.orders (note) VALUES (t)';
         CREATE FUNCTION app.\"Odd (one)\"() RETURNS void LANGUAGE sql AS ''; CREATE FUNCTION public.elsewhere() RETURNS void LANGUAGE sql AS '';
         SELECT scope.allow_writes('app.\"Odd (one)\"()'); SELECT scope.allow_writes('public.elsewhere()'); SELECT scope.allow_writes('lower(text)')",
    );
    let exported = admin.text("SELECT scope.export_spec(mode => 'authoritative')");
    assert!(
        exported.contains(r#""writing_functions": ["app.\"Odd (one)\"()", "pg_catalog.lower(text)", "public.elsewhere()"]"#),
        "{exported}"
    );
    assert_eq!(plan(&mut admin, &exported), [""; 0]);
    let mut s = f.login(&login);
    s.refused("SELECT app.note('x')", "42501");
    let spec = |mode: &str| {
        format!(
            r#"{{"version":1,"mode":"{mode}"{},"writing_functions":["app.note(text)"]}}"#,
            if mode == "additive" {
                ""
            } else {
                r#","schemas":["app"]"#
            }
        )
    };
    assert_eq!(
        apply_twice(&mut admin, &spec("additive")),
        ["SELECT scope.allow_writes('app.note(text)')"]
    );
    s.run("SELECT app.note('x')");
    let planned = apply_twice(&mut admin, &spec("authoritative"));
    assert!(
        planned.contains(
            &r#"SELECT scope.allow_writes('app."Odd (one)"()', allowed => false)"#.to_owned()
        ),
        "{planned:?}"
    );
    assert_eq!(
        admin.column("SELECT function FROM scope.writing_function ORDER BY 1"),
        ["app.note(text)", "lower(text)", "public.elsewhere()"]
    );
    for (functions, pointer, sqlstate) in [
        (r#""app.none()""#, "/writing_functions/0", "42883"),
        (
            r#""app.f(int,text)","app.f(integer,text)""#,
            "/writing_functions/1",
            "22023",
        ),
    ] {
        let spec = literal(&format!(
            r#"{{"version":1,"writing_functions":[{functions}]}}"#
        ));
        let refusal = admin.refused(&format!("SELECT scope.plan({spec})"), sqlstate);
        assert!(refusal.to_string().contains(pointer), "{refusal}");
    }
}

#[test]
fn hours_of_logins_are_declared_with_their_zone() {
    let (f, login) = scene("spec_hours");
    let mut admin = f.admin();
    let spec = |rules: &str| format!(r#"{{"version":1,"logins":[{{"role":"{login}"{rules}}}]}}"#);
    // The hour that is not now, on the clock of the server.
    let hour = admin.text("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '12 hours', 'HH24')");
    let closed = format!(r#","allowed_hours":["daily {hour}:00-{hour}:59"],"time_zone":"UTC""#);
    apply_twice(&mut admin, &spec(&closed));
    let refused = |f: &Fixture| {
        let refusal = f.server.try_login(&login, &f.name).err();
        refusal.map(|e| e.code)
    };
    assert_eq!(refused(&f).as_deref(), Some("28000"));
    let shown = |admin: &mut Session| {
        admin.text(&format!(
            "SELECT concat_ws(' ', allowed_hours, time_zone) FROM scope.credentials WHERE role = '{login}'"
        ))
    };
    assert_eq!(
        shown(&mut admin),
        format!("{{\"daily {hour}:00-{hour}:59\"}} UTC")
    );
    // Said in other words, and in another order, they are the same.
    let two =
        r#","allowed_hours":["daily 00:00-24:00","Sat 01:00-02:00"],"time_zone":"Europe/Berlin""#;
    apply_twice(&mut admin, &spec(two));
    f.login(&login);
    let said =
        r#","allowed_hours":["sat 01:00-02:00","Mon-Sun 00:00-24:00"],"time_zone":"europe/berlin""#;
    assert_eq!(plan(&mut admin, &spec(said)), [""; 0]);
    let elsewhere = said.replace("europe/berlin", "Asia/Tokyo");
    assert_eq!(plan(&mut admin, &spec(&elsewhere)).len(), 1);
    let exported = admin.text(&format!("SELECT scope.export_spec('{{{login}}}')"));
    assert!(exported.contains("Europe/Berlin"), "{exported}");
    assert_eq!(plan(&mut admin, &exported), [""; 0], "{exported}");
    // Left out, there are none.
    apply_twice(&mut admin, &spec(""));
    assert_eq!(shown(&mut admin), "");
    for (rules, pointer) in [
        (
            r#","allowed_hours":["daily 01:00-02:00"],"time_zone":"Mars""#,
            "/logins/0/time_zone",
        ),
        (
            r#","allowed_hours":["daily 01:00-02:00"],"time_zone":"UTC+2""#,
            "/logins/0/time_zone",
        ),
        (
            r#","allowed_hours":["daily 1-2"],"time_zone":"UTC""#,
            "/logins/0/allowed_hours/0",
        ),
        (
            r#","allowed_hours":["daily 01:00-02:00"]"#,
            "/logins/0/allowed_hours",
        ),
    ] {
        let refusal = admin.refused(
            &format!("SELECT scope.apply({})", literal(&spec(rules))),
            "22023",
        );
        assert!(refusal.to_string().contains(pointer), "{refusal}");
    }
}
