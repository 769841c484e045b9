//! Roles of policies that are renamed, dropped or made anew: a policy knows them by what they are.

use super::Scene;

#[test]
fn a_renamed_role_counts_and_one_that_was_dropped_or_made_anew_does_not() {
    let scene = Scene::new("request_roles");
    let glass = scene.f.role("glass", "NOLOGIN");
    let auto = scene.f.role("auto", "NOLOGIN");
    let mut admin = scene.f.admin();
    admin.run(&format!("GRANT {glass}, {auto} TO {}", scene.alice));
    scene.policy(
        "prod",
        &format!(
            ", break_glass => '{{{glass}}}', auto_approve => '{{\"max_duration\": \"1 min\", \"member_of\": \"{auto}\"}}'"
        ),
    );
    let ask = |owner: &str, more: &str| {
        let sql = format!(
            "SELECT request, state FROM scope.request_access('{owner}', '{more}, reason => 'x')"
        );
        scene.f.login(&scene.alice).attempt(&sql)
    };
    let state = |owner: &str, more: &str| {
        let asked = ask(owner, more).unwrap_or_else(|refusal| panic!("{refusal}"));
        let [Some(id), Some(state)] = &asked[0][..] else {
            panic!("{asked:?}")
        };
        let withdraw = format!("SELECT scope.withdraw({id})");
        (
            id.parse::<i64>().expect("a number"),
            state.clone(),
            withdraw,
        )
    };
    let all = [&scene.owner, &scene.oncall, &scene.dba, &glass, &auto];
    let new = |role: &str| format!("{role}_2");
    for role in all {
        admin.run(&format!("ALTER ROLE {role} RENAME TO {}", new(role)));
    }
    // Others who have come to the names are others.
    let thief = scene.f.role("thief", "LOGIN");
    for role in all {
        admin.run(&format!("CREATE ROLE {role}; GRANT {role} TO {thief}"));
    }
    let owner = new(&scene.owner);
    let mut s = scene.f.login(&thief);
    assert!(s.rows("SELECT * FROM scope.my_options()").is_empty());
    s.refused(
        &format!("SELECT scope.request_access('{owner}', reason => 'x')"),
        "42501",
    );
    ask(&scene.owner, "1 h'").expect_err("it is another role");
    let (id, pending, withdraw) = state(&owner, "1 h'");
    assert_eq!(pending, "pending");
    s.refused(&format!("SELECT scope.approve({id})"), "42501");
    assert!(
        scene
            .decide(&scene.bob, "approve", id)
            .starts_with("active")
    );
    scene.f.login(&scene.alice).run(&withdraw);
    for more in ["1 min'", "1 h', break_glass => true"] {
        let (_, active, withdraw) = state(&owner, more);
        assert_eq!(active, "active", "{more}");
        scene.f.login(&scene.alice).run(&withdraw);
    }
    // Dropped, and made anew with the same members.
    let anew = |role: &str, members: &str| {
        let role = new(role);
        scene.f.admin().run(&format!(
            "DROP OWNED BY {role}; DROP ROLE {role}; CREATE ROLE {role}; GRANT {role} TO {members}"
        ));
    };
    anew(&auto, &scene.alice);
    let (_, pending, withdraw) = state(&owner, "1 min'");
    assert_eq!(pending, "pending", "nobody is a member of what is gone");
    scene.f.login(&scene.alice).run(&withdraw);
    anew(&glass, &scene.alice);
    let refusal = ask(&owner, "1 h', break_glass => true").expect_err("it is gone");
    assert_eq!(refusal.code, "42501");
    let (id, ..) = state(&owner, "1 h'");
    anew(&scene.dba, &scene.bob);
    scene
        .f
        .login(&scene.bob)
        .refused(&format!("SELECT scope.approve({id})"), "42501");
    assert_eq!(scene.state(id), "pending");
    anew(&scene.oncall, &scene.alice);
    let refusal = ask(&owner, "2 h'").expect_err("it is gone");
    assert_eq!(refusal.code, "42501");
}
