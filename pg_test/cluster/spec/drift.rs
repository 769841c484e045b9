//! A plan sees what the review sees, and refuses what PostgreSQL would.

use super::{apply, apply_twice, fixture, one, plan};
use crate::harness::*;

#[test]
fn what_a_review_calls_narrowed_a_plan_gives_back() {
    let f = fixture("spec_drift");
    let mut admin = f.admin();
    let name = "spec_drift_a";
    admin.run("GRANT EXECUTE ON FUNCTION app.f TO PUBLIC; GRANT USAGE ON SCHEMA app TO PUBLIC");
    for mode in ["additive", "authoritative"] {
        let spec = one(
            mode,
            name,
            r#"{"privileges":["SELECT"],"tables":["app.orders"]},{"privileges":["EXECUTE"],"functions":["app.f(integer,text)"]}"#,
        );
        apply(&mut admin, &spec);
        // PUBLIC may connect too, and enter the schema; the scope was given both all the same.
        for (by_hand, step) in [
            (
                format!("REVOKE CONNECT ON DATABASE spec_drift FROM {name}"),
                format!("GRANT CONNECT ON DATABASE spec_drift TO {name}"),
            ),
            (
                format!("REVOKE USAGE ON SCHEMA app FROM {name}"),
                format!("GRANT USAGE ON SCHEMA app TO {name}"),
            ),
            (
                format!("REVOKE SELECT ON app.orders FROM {name}"),
                format!("GRANT SELECT ON TABLE app.orders TO {name}"),
            ),
        ] {
            admin.run(&by_hand);
            admin.assert_that(&format!("EXISTS (SELECT FROM scope.review() WHERE code = 'scope_narrowed' AND role_name = '{name}')"));
            assert_eq!(plan(&mut admin, &spec), [step], "{by_hand}");
            apply_twice(&mut admin, &spec);
            admin.assert_that(&format!("NOT EXISTS (SELECT FROM scope.review() WHERE code LIKE 'scope\\_%' AND role_name = '{name}')"));
        }
    }
}

#[test]
fn a_role_that_would_be_a_member_of_itself_is_refused_by_the_plan() {
    let f = fixture("spec_circle");
    let [v, w, x, p] =
        ["v", "w", "x", "p"].map(|suffix| f.role(suffix, if suffix == "p" { "LOGIN" } else { "" }));
    let mut admin = f.admin();
    let spec = |mode: &str, memberships: &[(&str, &str)]| {
        let list: Vec<String> = memberships
            .iter()
            .map(|(role, member)| format!(r#"{{"role":"{role}","member":"{member}"}}"#))
            .collect();
        let roles = if mode == "additive" {
            String::new()
        } else {
            format!(r#","roles":["{v}","{w}","{x}"]"#)
        };
        format!(
            r#"{{"version":1,"mode":"{mode}"{roles},"memberships":[{}]}}"#,
            list.join(",")
        )
    };
    let refused = |admin: &mut Session, spec: &str, pointer: &str| {
        for function in ["plan", "plan_digest", "apply"] {
            let refusal = admin.refused(
                &format!("SELECT scope.{function}({})", literal(spec)),
                "0LP01",
            );
            assert!(refusal.detail.contains(pointer), "{refusal}");
        }
    };
    refused(&mut admin, &spec("additive", &[(&w, &w)]), "/memberships/0");
    refused(
        &mut admin,
        &spec("additive", &[(&v, &w), (&w, &v)]),
        "/memberships/1",
    );
    refused(
        &mut admin,
        &spec("additive", &[(&v, &w), (&w, &x), (&x, &v)]),
        "/memberships/2",
    );
    // With what is there already, by a temporary membership too.
    admin.run(&format!("GRANT {v} TO {w}"));
    refused(&mut admin, &spec("additive", &[(&w, &v)]), "/memberships/0");
    refused(
        &mut admin,
        &spec("additive", &[(&w, &x), (&x, &v)]),
        "/memberships/1",
    );
    admin.run(&format!(
        "SELECT scope.grant_temporary('{x}', '{p}', '1 hour')"
    ));
    refused(&mut admin, &spec("additive", &[(&p, &x)]), "/memberships/0");
    // What leaves first is no obstacle.
    assert_eq!(
        apply_twice(&mut admin, &spec("authoritative", &[(&w, &v)])).len(),
        2
    );
    admin.assert_that(&format!(
        "pg_has_role('{v}', '{w}', 'MEMBER') AND NOT pg_has_role('{w}', '{v}', 'MEMBER')"
    ));
    refused(
        &mut admin,
        &spec("authoritative", &[(&w, &v), (&v, &w)]),
        "/memberships/1",
    );
}

/// Of a pipeline that runs a second time.
#[test]
fn a_plan_that_was_applied_is_applied_again_under_its_digest() {
    let f = fixture("spec_again");
    let mut admin = f.admin();
    let spec = literal(&one(
        "additive",
        "spec_again_a",
        r#"{"privileges":["SELECT"],"tables":["app.orders"]}"#,
    ));
    let digest = admin.text(&format!("SELECT scope.plan_digest({spec})"));
    let again = format!("SELECT statement FROM scope.apply({spec}, '{digest}')");
    assert!(!admin.column(&again).is_empty());
    assert_eq!(admin.column(&again), [""; 0]);
    assert_eq!(admin.column(&again), [""; 0]);
    // Something else to do is something else.
    admin.run("REVOKE SELECT ON app.orders FROM spec_again_a");
    admin.refused(&again, "55000");
    admin.assert_that("NOT has_table_privilege('spec_again_a', 'app.orders', 'SELECT')");
}
