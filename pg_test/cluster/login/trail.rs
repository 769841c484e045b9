//! What the server's log says of logins and of their rules.

use serde_json::json;

use super::*;
use crate::audit::find;

#[test]
fn the_trail_has_each_login_and_the_whole_reason_of_a_refusal() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "trail_logins");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let guarded = f.role("guarded", "LOGIN");
    admin.run(&format!("SELECT scope.guard_login('{guarded}')"));
    let stranger = f.role("stranger", "LOGIN");
    for role in [&guarded, &stranger] {
        f.server.login(role, &f.name);
    }
    f.server
        .try_password(&cred.role, &cred.password, &f.name)
        .expect("by TCP");
    admin.run(&format!(
        "SELECT scope.set_login_policy('{}', allowed_ips => '{{10.0.0.0/8,192.168.0.0/16}}', allow_local => true)",
        cred.role
    ));
    assert!(
        f.server
            .try_password(&cred.role, &cred.password, &f.name)
            .is_err()
    );
    let of = |role: &str| {
        find(
            &door.server,
            &json!({"event": "login", "session_user": role}),
        )
    };
    let [accepted, refused] = of(&cred.role).try_into().expect("two lines");
    assert_eq!(
        (
            &accepted["outcome"],
            &accepted["client"],
            &accepted["tls"],
            &accepted["reason"]
        ),
        (
            &json!("ok"),
            &json!("127.0.0.1"),
            &json!(false),
            &json!(null)
        )
    );
    assert_eq!(
        (&refused["outcome"], &refused["reason"]),
        (
            &json!("refused"),
            &json!(
                "the client's address is not allowed to it: 127.0.0.1 is not in {10.0.0.0/8,192.168.0.0/16}"
            )
        )
    );
    assert_eq!(of(&guarded).len(), 1);
    assert_eq!(of(&stranger).len(), 0);
    assert_eq!(of("postgres").len(), 0);
}

#[test]
fn the_trail_has_each_change_of_rules_with_those_before() {
    let f = Fixture::new("trail_changes");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let bob = f.role("bob", "LOGIN");
    let set = |rules: &str| format!("SELECT scope.set_login_policy('{}', {rules})", cred.role);
    admin.run(&set("allow_local => false"));
    admin.run("BEGIN");
    admin.run(&set("allowed_ips => '{10.0.0.0/8}'"));
    admin.run("ROLLBACK");
    let of = |object: &str, function: &str| {
        find(
            f.server,
            &json!({"event": "policy", "object": object, "function": function}),
        )
    };
    let [done, undone] = of(&cred.role, "set_login_policy")
        .try_into()
        .expect("two lines");
    assert_eq!(
        (
            &done["outcome"],
            &done["allow_local"],
            &done["allowed_ips"],
            &done["before"]
        ),
        (&json!("ok"), &json!(false), &json!(null), &json!("{}"))
    );
    assert_eq!(
        (
            &undone["outcome"],
            &undone["allowed_ips"],
            &undone["before"]
        ),
        (
            &json!("rolled_back"),
            &json!(["10.0.0.0/8"]),
            &json!("{\"local\":false}")
        )
    );
    admin.run(&format!(
        "SELECT scope.guard_login('{bob}', allowed_hours => '{{daily 00:00-24:00}}', time_zone => 'UTC')"
    ));
    admin.run(&format!("SELECT scope.unguard_login('{bob}')"));
    let [guarded] = of(&bob, "guard_login").try_into().expect("a line");
    assert_eq!(
        (
            &guarded["allowed_hours"],
            &guarded["time_zone"],
            &guarded["before"]
        ),
        (&json!(["daily 00:00-24:00"]), &json!("UTC"), &json!(null))
    );
    let [gone] = of(&bob, "unguard_login").try_into().expect("a line");
    assert_eq!(
        gone["before"],
        json!("{\"hours\":[\"daily 00:00-24:00\"],\"zone\":\"UTC\"}")
    );
}

/// The client is told nothing: somebody must be.
#[test]
fn the_reason_of_a_refusal_is_in_the_log_without_the_trail() {
    let door = Door::open(Options::default().set("scope_roles.audit", "none"));
    let f = Fixture::on(&door.server, "trail_none");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    admin.run(&format!(
        "SELECT scope.set_login_policy('{}', allow_local => false)",
        cred.role
    ));
    assert!(f.server.try_login(&cred.role, &f.name).is_err());
    let line = format!(
        "login of role \"{}\" refused: Unix sockets are not allowed to it",
        cred.role
    );
    assert!(door.server.log().contains(&line));
}
