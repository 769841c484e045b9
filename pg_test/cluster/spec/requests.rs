//! Request policies of a spec.

use serde_json::{Value, json};

use super::{apply, apply_twice, plan};
use crate::harness::*;

/// Roles `owner`, `dba` and `dev`, with logins in the latter two.
fn scene(name: &str) -> Fixture<'static> {
    let f = super::fixture(name);
    for suffix in ["owner", "dba", "dev"] {
        f.role(suffix, "NOLOGIN");
    }
    f.role("bob", &format!("LOGIN IN ROLE {name}_dba"));
    f.role("ann", &format!("LOGIN IN ROLE {name}_dev"));
    f
}

fn policy(db: &str, more: &str) -> String {
    format!(
        r#"{{"targets":["{db}_owner"],"requesters":["{db}_dev"],"approvals":[{{"role":"{db}_dba"}}]{more}}}"#
    )
}

fn spec(mode: &str, policies: &str, more: &str) -> String {
    format!(r#"{{"version":1,"mode":"{mode}"{more},"request_policies":{{{policies}}}}}"#)
}

fn exported(admin: &mut Session) -> Value {
    let spec = admin.text("SELECT scope.export_spec()");
    let spec: Value = serde_json::from_str(&spec).expect("JSON");
    spec["request_policies"].clone()
}

#[test]
fn request_policies_are_declared_changed_and_dropped() {
    let db = "spec_requests";
    let f = scene(db);
    let mut admin = f.admin();
    let whole = policy(
        db,
        &format!(
            r#","require":"any","max_duration":"2 hours","default_duration":"1 hour","pending_for":"90 minutes","reason_pattern":"INC-[0-9]+",
               "ticket_required":true,"hours":["Mon-Fri 08:00-18:00"],"time_zone":"Europe/Vienna",
               "auto_approve":{{"max_duration":"30 minutes","addresses":["10.0.0.0/8"],"hours":["daily 20:00-06:00"],"time_zone":"UTC","member_of":"{db}_dba"}},
               "break_glass":["{db}_dba"]"#
        ),
    );
    let planned = apply_twice(
        &mut admin,
        &spec("additive", &format!(r#""it's":{whole}"#), ""),
    );
    assert_eq!(planned.len(), 1, "{planned:?}");
    assert!(
        planned[0].starts_with("SELECT scope.create_request_policy('it''s', "),
        "{planned:?}"
    );
    let declared: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(exported(&mut admin), json!({"it's": declared}));
    assert_eq!(
        admin.text(
            "SELECT concat_ws('|', name, max_duration, pending_for, hours, auto_approve ->> 'max_seconds', created_by) FROM scope.request_policies"
        ),
        "it's|02:00:00|01:30:00|{\"Mon-Fri 08:00-18:00\"}|1800|postgres"
    );
    // What the plan shows does the same by hand.
    admin.run("SELECT scope.drop_request_policy('it''s')");
    admin.run(&planned[0]);
    assert_eq!(exported(&mut admin), json!({"it's": declared}));
    // Other words for the same are the same.
    let same = whole
        .replace("2 hours", "120 min")
        .replace("Mon-Fri 08:00-18:00", "Mon,Tue,Wed,Thu,Fri 08:00-18:00");
    let same = spec("additive", &format!(r#""it's":{same}"#), "");
    assert_eq!(plan(&mut admin, &same), [""; 0]);
    // It is the whole.
    let plain = policy(db, r#","reason_pattern":null"#);
    let planned = apply_twice(
        &mut admin,
        &spec("additive", &format!(r#""it's":{plain}"#), ""),
    );
    assert!(planned[0].ends_with(", reason_pattern => NULL, replace => true)"));
    let declared: Value = serde_json::from_str(&plain).expect("JSON");
    assert_eq!(exported(&mut admin), json!({"it's": declared}));
    admin.run(&planned[0]);
    // What is named wholly has no other; what is not keeps its.
    let role = format!(r#","roles":["{db}_owner"]"#);
    for (mode, more) in [
        ("additive", ""),
        ("additive", &*role),
        ("authoritative", ""),
    ] {
        assert_eq!(plan(&mut admin, &spec(mode, "", more)), [""; 0], "{mode}");
    }
    let planned = apply_twice(&mut admin, &spec("authoritative", "", &role));
    assert_eq!(planned, ["SELECT scope.drop_request_policy('it''s')"]);
    assert_eq!(exported(&mut admin), Value::Null);
}

#[test]
fn each_change_of_a_request_policy_is_a_step() {
    let db = "spec_requests_each";
    let f = scene(db);
    let mut admin = f.admin();
    let (owner, dba, dev) = (
        format!("{db}_owner"),
        format!("{db}_dba"),
        format!("{db}_dev"),
    );
    let whole = json!({
        "targets": [owner], "requesters": [dev], "approvals": [{"role": dba}], "default_duration": "1 hour",
        "auto_approve": {"max_duration": "30 minutes", "addresses": ["10.0.0.0/8"], "hours": ["daily 20:00-06:00"], "time_zone": "UTC", "member_of": dba},
        "hours": ["Mon 08:00-18:00"], "time_zone": "UTC", "break_glass": [dba]
    });
    let of = |policy: &Value| spec("authoritative", &format!(r#""p":{policy}"#), "");
    apply_twice(&mut admin, &of(&whole));
    for (pointer, value) in [
        ("/kind", json!("statement")),
        ("/targets", json!([owner, dev])),
        ("/requesters", json!([dev, dba])),
        ("/approvals/0/role", json!(dev)),
        ("/approvals/0/n", json!(2)),
        ("/require", json!("any")),
        ("/max_duration", json!("9 hours")),
        ("/default_duration", json!("2 hours")),
        ("/pending_for", json!("2 days")),
        ("/reason_pattern", Value::Null),
        ("/ticket_required", json!(true)),
        ("/hours", json!(["Tue 08:00-18:00"])),
        ("/time_zone", json!("Europe/Vienna")),
        ("/auto_approve", Value::Null),
        ("/auto_approve/max_duration", json!("31 minutes")),
        ("/auto_approve/addresses", json!(["10.0.0.0/9"])),
        ("/auto_approve/addresses", Value::Null),
        ("/auto_approve/hours", json!(["daily 20:00-06:01"])),
        ("/auto_approve/time_zone", json!("Europe/Vienna")),
        ("/auto_approve/member_of", json!(dev)),
        ("/auto_approve/member_of", Value::Null),
        ("/break_glass", json!([])),
    ] {
        let mut other = whole.clone();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = other.pointer_mut(parent).expect("a place");
        parent[key] = value;
        admin.run("BEGIN");
        let planned = apply_twice(&mut admin, &of(&other));
        assert_eq!(planned.len(), 1, "{pointer}: {planned:?}");
        admin.run("ROLLBACK");
    }
}

#[test]
fn a_request_policy_for_what_the_spec_makes_comes_after_it() {
    let db = "spec_requests_new";
    let f = scene(db);
    let mut admin = f.admin();
    let policies = policy(db, r#","kind":"credential""#);
    let policies = policies.replace(&format!("{db}_owner"), &format!("{db}_a"));
    let scopes = format!(
        r#","scopes":[{{"name":"{db}_a","grants":[{{"privileges":["SELECT"],"tables":["app.orders"]}}]}}]"#
    );
    let spec = spec("authoritative", &format!(r#""p":{policies}"#), &scopes);
    let planned = apply_twice(&mut admin, &spec);
    let at = |what: &str| {
        let found = planned.iter().position(|sql| sql.contains(what));
        found.unwrap_or_else(|| panic!("{what}: {planned:?}"))
    };
    assert!(at("create_scope") < at("create_request_policy"));
    let mut ann = f.login(&format!("{db}_ann"));
    let id = ann.text(&format!(
        "SELECT request FROM scope.request_access('{db}_a', reason => 'x')"
    ));
    f.login(&format!("{db}_bob"))
        .run(&format!("SELECT scope.approve({id})"));
    let taken = ann.handed(&format!("scope.take_credential({id})"));
    taken.connect().rows("SELECT * FROM app.orders");
    // Who exports the scope exports what can be asked for of it.
    let named = format!("SELECT scope.export_spec('{{{db}_a}}', 'authoritative')");
    let named = admin.text(&named);
    assert!(named.contains("request_policies"), "{named}");
    assert_eq!(plan(&mut admin, &named), [""; 0]);
    let other = admin.text(&format!("SELECT scope.export_spec('{{{db}_dba}}')"));
    assert!(!other.contains("request_policies"), "{other}");
}

#[test]
fn a_spec_makes_no_request_policy_that_its_caller_could_not() {
    let db = "spec_requests_no";
    let f = scene(db);
    let mut admin = f.admin();
    let maker = f.role("maker", "LOGIN");
    let other = f.role("other", "LOGIN");
    let functions =
        "scope.plan(text), scope.apply(text, text), scope.export_spec, scope.drop_request_policy";
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION {functions} TO {maker}, {other}; GRANT {db}_owner TO {other} WITH ADMIN OPTION"
    ));
    let spec = |more: &str| spec("additive", &format!(r#""p":{}"#, policy(db, more)), "");
    let refused = |who: &str, spec: &str, code: &str, words: &str| {
        for function in ["plan", "apply"] {
            let sql = format!("SELECT scope.{function}({})", literal(spec));
            let refusal = f.login(who).refused(&sql, code);
            let whole = format!("{refusal}");
            assert!(whole.contains(words), "{whole}");
        }
    };
    // No right to the role, none to the function.
    refused(&maker, &spec(""), "42501", "/request_policies/p");
    refused(&other, &spec(""), "42501", "create_request_policy");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {maker}, {other}"
    ));
    refused(&maker, &spec(""), "42501", "/request_policies/p");
    let mut s = f.login(&other);
    apply_twice(&mut s, &spec(""));
    assert_eq!(
        admin.text("SELECT created_by FROM scope.request_policies"),
        other
    );
    // Another's: not changed, not dropped, not exported, and not locked.
    admin.run(&format!("GRANT {db}_owner TO {maker} WITH ADMIN OPTION"));
    let longer = spec(r#","max_duration":"9 hours""#);
    refused(&maker, &longer, "42501", "/request_policies/p");
    let mut s = f.login(&maker);
    let none = format!(
        r#"{{"version":1,"mode":"authoritative","roles":["{db}_owner"],"memberships":[{}]}}"#,
        {
            let member =
                |who: &str| format!(r#"{{"role":"{db}_owner","member":"{who}","admin":true}}"#);
            [member(&maker), member(&other)].join(",")
        }
    );
    assert_eq!(plan(&mut s, &none), [""; 0]);
    let told = s.notices();
    assert!(
        told.iter().any(
            |notice| notice.message.contains("request policy \"p\" is kept")
                && notice.detail.contains(&other)
        ),
        "{told:?}"
    );
    assert!(
        !s.text("SELECT scope.export_spec()")
            .contains("request_policies")
    );
    assert_eq!(plan(&mut s, &spec("")), [""; 0]);
    // It stays its creator's when a superuser changes it.
    apply_twice(&mut admin, &longer);
    assert_eq!(
        admin.text("SELECT created_by FROM scope.request_policies"),
        other
    );
    for (more, code, words) in [
        (
            r#","max_duration":"soon""#,
            "22023",
            "\"/request_policies/p/max_duration\"",
        ),
        (
            r#","default_duration":"9 hours""#,
            "22023",
            "\"/request_policies/p/default_duration\"",
        ),
        (
            r#","pending_for":"-1 h""#,
            "22023",
            "\"/request_policies/p/pending_for\"",
        ),
        (
            r#","reason_pattern":"(""#,
            "22023",
            "\"/request_policies/p/reason_pattern\"",
        ),
        (
            r#","require":"some""#,
            "22023",
            "\"/request_policies/p/require\"",
        ),
        (
            r#","break_glass":["nobody"]"#,
            "42704",
            "\"/request_policies/p/break_glass/0\"",
        ),
        (
            r#","auto_approve":{"max_duration":"1 h","member_of":"nobody"}"#,
            "42704",
            "\"/request_policies/p/auto_approve/member_of\"",
        ),
        (
            r#","hours":["daily 08:00-09:00"],"time_zone":"Mars/North""#,
            "22023",
            "\"/request_policies/p/time_zone\"",
        ),
    ] {
        refused("postgres", &spec(more), code, words);
    }
    let empty = spec("").replace(&format!(r#"[{{"role":"{db}_dba"}}]"#), "[]");
    refused(
        "postgres",
        &empty,
        "22023",
        "\"/request_policies/p/approvals\"",
    );
}

#[test]
fn roles_that_were_renamed_or_dropped_leave_an_exported_spec_with_an_empty_plan() {
    let db = "spec_requests_gone";
    let f = scene(db);
    let mut admin = f.admin();
    for suffix in ["gone", "auto", "glass"] {
        f.role(suffix, "NOLOGIN");
    }
    let more = format!(
        r#","auto_approve":{{"max_duration":"1 hour","member_of":"{db}_auto"}},"break_glass":["{db}_glass","{db}_dba"]"#
    );
    let one = policy(db, &more);
    let other = policy(db, "").replace(&format!("{db}_dba"), &format!("{db}_gone"));
    apply_twice(
        &mut admin,
        &spec("additive", &format!(r#""one":{one},"other":{other}"#), ""),
    );
    admin.run(&format!(
        "DROP ROLE {db}_gone, {db}_auto, {db}_glass; ALTER ROLE {db}_owner RENAME TO {db}_boss"
    ));
    for (roles, mode) in [
        ("NULL", "additive"),
        ("NULL", "authoritative"),
        (&*format!("'{{{db}_boss}}'"), "authoritative"),
    ] {
        let spec = admin.text(&format!("SELECT scope.export_spec({roles}, '{mode}')"));
        assert_eq!(plan(&mut admin, &spec), [""; 0], "{spec}");
        let spec: Value = serde_json::from_str(&spec).expect("JSON");
        let policies = &spec["request_policies"];
        assert_eq!(policies["other"]["approvals"], json!([]));
        assert_eq!(policies["one"]["targets"], json!([format!("{db}_boss")]));
        assert_eq!(policies["one"]["break_glass"], json!([format!("{db}_dba")]));
        // A condition that nobody meets.
        assert_eq!(policies["one"].get("auto_approve"), None);
    }
    // One of the same name is another role.
    admin.run(&format!("CREATE ROLE {db}_gone"));
    let again = spec("additive", &format!(r#""other":{other}"#), "")
        .replace(&format!("{db}_owner"), &format!("{db}_boss"));
    let applied = apply(&mut admin, &again);
    assert_eq!(applied.len(), 1, "{applied:?}");
}

#[test]
fn two_who_apply_a_request_policy_at_once_do_it_once() {
    let db = "spec_requests_race";
    let f = scene(db);
    let spec = spec("additive", &format!(r#""p":{}"#, policy(db, "")), "");
    let start = std::sync::Barrier::new(4);
    let steps: usize = std::thread::scope(|scope| {
        let running: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut admin = f.admin();
                    start.wait();
                    apply(&mut admin, &spec).len()
                })
            })
            .collect();
        let done = running.into_iter().map(|thread| thread.join());
        done.map(|steps| steps.expect("an apply failed")).sum()
    });
    assert_eq!(steps, 1);
}
