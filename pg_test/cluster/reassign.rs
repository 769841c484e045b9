//! Creators that are renamed, dropped, restored or gone, and handing over what they have made.

use crate::harness::*;

const CREATE: &str = "scope.create_scope, scope.alter_scope, scope.create_credential, scope.create_authenticator, \
    scope.grant_temporary, scope.rotate_password, scope.revoke_role, scope.renew_role, scope.reassign";

/// A role that has a table of its own, and makes of it what it wants.
fn maker(f: &Fixture<'_>, suffix: &str) -> String {
    let role = f.role(suffix, "LOGIN");
    f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION {CREATE} TO {role};
         GRANT CONNECT ON DATABASE {0} TO {role} WITH GRANT OPTION;
         CREATE TABLE {suffix}_table (x int); ALTER TABLE {suffix}_table OWNER TO {role};
         CREATE TABLE {suffix}_more (x int); ALTER TABLE {suffix}_more OWNER TO {role}",
        f.name
    ));
    role
}

/// A scope on the table of its maker.
fn scope_of(f: &Fixture<'_>, suffix: &str) -> String {
    let scope = format!("{}_{suffix}_scope", f.name);
    f.login(&format!("{}_{suffix}", f.name)).run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{{suffix}_table}}')"
    ));
    scope
}

fn add(scope: &str, table: &str) -> String {
    format!("SELECT scope.alter_scope('{scope}', 'add', '{{SELECT}}', '{{{table}}}')")
}

fn created_by(f: &Fixture<'_>, role: &str) -> String {
    f.admin().text(&format!(
        "SELECT created_by FROM scope.roles WHERE role = '{role}'"
    ))
}

#[test]
fn a_renamed_creator_keeps_what_it_has_made() {
    let f = Fixture::new("reassign_renamed");
    let alice = maker(&f, "alice");
    let scope = scope_of(&f, "alice");
    let new_name = format!("{alice} née \"x\"");
    f.admin().run(&format!(
        "ALTER ROLE {alice} RENAME TO {}",
        ident(&new_name)
    ));
    let mut s = f.login(&new_name);
    s.run(&add(&scope, "alice_more"));
    assert_eq!(created_by(&f, &scope), new_name);
    s.assert_that(&format!(
        "EXISTS (SELECT FROM scope.scopes WHERE scope = '{scope}')"
    ));
    // Whoever takes the name gets nothing by it, nor hands it over.
    let thief = maker(&f, "thief");
    f.admin()
        .run(&format!("ALTER ROLE {thief} RENAME TO {alice}"));
    let mut thief = f.login(&alice);
    let refusal = thief.refused(&add(&scope, "thief_table"), "42501");
    assert!(refusal.detail.contains(&new_name), "{refusal}");
    assert!(
        thief
            .rows(&format!(
                "SELECT * FROM scope.reassign('{alice}', '{alice}')"
            ))
            .is_empty()
    );
    let told = thief.notices();
    assert!(
        told.iter().any(|told| told.message.contains(&new_name)),
        "{told:?}"
    );
    // A dump has the name of the label: the same name twice puts the present one there.
    let call = format!(
        "SELECT created_by FROM scope.reassign({0}, {0})",
        literal(&new_name)
    );
    assert_eq!(s.column(&call), [new_name.as_str()]);
    assert!(s.column(&call).is_empty());
    f.admin().assert_that(&format!(
        "(SELECT label::jsonb ->> 'creator' FROM pg_shseclabel WHERE objoid = '{scope}'::regrole AND provider = 'scope_roles') = {}",
        literal(&new_name)
    ));
}

/// What a restore has brought goes by name and OID, until somebody adopts it.
#[test]
fn attack_a_restored_label_is_not_its_creators_by_oid_alone() {
    let f = Fixture::new("reassign_restored");
    let alice = maker(&f, "alice");
    let bob = f.role("bob", "NOLOGIN");
    let scope = scope_of(&f, "alice");
    let mut admin = f.admin();
    admin.run(&format!(
        "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE {scope} IS %L',
           (SELECT jsonb_set(label::jsonb, '{{system}}', '1') FROM pg_shseclabel
             WHERE objoid = '{scope}'::regrole AND provider = 'scope_roles')); END $$"
    ));
    f.login(&alice).run(&add(&scope, "alice_more"));
    admin.run(&format!("ALTER ROLE {alice} RENAME TO {alice}_2"));
    f.login(&format!("{alice}_2"))
        .refused(&add(&scope, "alice_more"), "42501");
    assert_eq!(created_by(&f, &scope), alice);
    let mut s = f.login(&format!("{alice}_2"));
    assert_eq!(s.text("SELECT count(*) FROM scope.scopes"), "0");
    // Nor is it handed over before that.
    assert!(
        admin
            .rows(&format!("SELECT * FROM scope.reassign('{alice}', '{bob}')"))
            .is_empty()
    );
    let told = admin.notices();
    assert!(
        told.iter()
            .any(|told| told.hint.contains("scope.adopt_restored()")),
        "{told:?}"
    );
    admin.run("SELECT scope.adopt_restored()");
    assert_eq!(
        admin.column(&format!(
            "SELECT role_name FROM scope.reassign('{alice}', '{bob}')"
        )),
        [scope.as_str()]
    );
    admin.run(&format!("SELECT scope.drop_scope('{scope}')"));
}

#[test]
fn what_a_dropped_role_has_made_is_handed_over_by_superusers() {
    let f = Fixture::new("reassign_dropped");
    let alice = maker(&f, "alice");
    let bob = maker(&f, "bob");
    let scope = scope_of(&f, "alice");
    let mut s = f.login(&alice);
    let credential = s.handed(&format!("scope.create_credential('{{{scope}}}')"));
    let authenticator = s.handed(&format!(
        "scope.create_authenticator('{}_auth', '{{{scope}}}')",
        f.name
    ));
    let carol = f.role("carol", "LOGIN");
    s.run(&format!(
        "SELECT scope.grant_temporary('{scope}', '{carol}', '1 hour')"
    ));
    drop(s);
    let mut admin = f.admin();
    admin.run(&format!(
        "REASSIGN OWNED BY {alice} TO {bob}; DROP OWNED BY {alice}; DROP ROLE {alice}"
    ));
    let mut s = f.login(&bob);
    let refusal = s.refused(&add(&scope, "bob_table"), "42501");
    assert!(refusal.hint.contains("scope.reassign"), "{refusal}");
    let call = format!("SELECT * FROM scope.reassign('{alice}', '{bob}')");
    let refusal = s.refused(&call, "42501");
    assert!(refusal.hint.contains("superuser"), "{refusal}");
    // Neither has one who takes the name.
    admin.run(&format!("CREATE ROLE {alice} LOGIN IN ROLE {bob}"));
    admin.run(&format!("GRANT EXECUTE ON FUNCTION {CREATE} TO {alice}"));
    let mut again = f.login(&alice);
    again.refused(&add(&scope, "bob_table"), "42501");
    assert!(again.rows(&call).is_empty());
    assert!(
        again
            .notices()
            .iter()
            .any(|told| told.message.contains("is gone")),
    );
    let kinds = admin.column("SELECT kind FROM scope.reassign('reassign_dropped_alice', 'reassign_dropped_bob') ORDER BY kind");
    assert_eq!(kinds, ["authenticator", "credential", "scope", "temporary"]);
    assert!(admin.rows(&call).is_empty());
    admin.assert_that(&format!(
        "(SELECT count(*) FROM scope.audit_log WHERE function = 'reassign' AND details ->> 'formerly' = '{alice}'
             AND details ->> 'created_by' = '{bob}') = 4"
    ));
    s.run(&add(&scope, "bob_table"));
    for role in [&credential.role, &authenticator.role] {
        assert_eq!(created_by(&f, role), bob);
        s.run(&format!("SELECT scope.revoke_role('{role}')"));
    }
}

/// Dropped and made anew under its name: one call gives it back what it had.
#[test]
fn a_role_that_was_made_anew_gets_its_own_back() {
    let f = Fixture::new("reassign_anew");
    let alice = maker(&f, "alice");
    let scope = scope_of(&f, "alice");
    let mut admin = f.admin();
    admin.run(&format!(
        "REASSIGN OWNED BY {alice} TO CURRENT_USER; DROP OWNED BY {alice}; DROP ROLE {alice};
         CREATE ROLE {alice} LOGIN; GRANT EXECUTE ON FUNCTION {CREATE} TO {alice};
         ALTER TABLE alice_more OWNER TO {alice}"
    ));
    f.login(&alice).refused(&add(&scope, "alice_more"), "42501");
    assert_eq!(
        admin.column(&format!(
            "SELECT role_name FROM scope.reassign('{alice}', '{alice}')"
        )),
        [scope.as_str()]
    );
    f.login(&alice).run(&add(&scope, "alice_more"));
}

#[test]
fn members_of_both_roles_hand_over_and_nobody_else_does() {
    let f = Fixture::new("reassign_members");
    let (alice, bob) = (maker(&f, "alice"), maker(&f, "bob"));
    let scope = scope_of(&f, "alice");
    let mallory = maker(&f, "mallory");
    let call = format!("SELECT * FROM scope.reassign('{alice}', '{bob}')");
    let mut admin = f.admin();
    let mut s = f.login(&mallory);
    s.refused(&call, "42501");
    s.refused(
        &format!("SELECT * FROM scope.reassign('{alice}', '{mallory}')"),
        "42501",
    );
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        admin.run(&format!(
            "GRANT {one} TO {mallory}; REVOKE {other} FROM {mallory}"
        ));
        s.refused(&call, "42501");
    }
    admin.run(&format!("GRANT {alice}, {bob} TO {mallory}"));
    // To a superuser no one hands anything.
    admin.run(&format!("ALTER ROLE {bob} SUPERUSER"));
    s.refused(&call, "42501");
    admin.run(&format!("ALTER ROLE {bob} NOSUPERUSER"));
    assert_eq!(s.rows(&call).len(), 1);
    assert_eq!(created_by(&f, &scope), bob);
    f.login(&alice).refused(&add(&scope, "alice_more"), "42501");
    // The heir gives what it could give itself.
    let mut heir = f.login(&bob);
    heir.refused(&add(&scope, "alice_more"), "42501");
    heir.refused(
        &format!("SELECT scope.create_credential('{{{scope}}}')"),
        "42501",
    );
    heir.run(&add(&scope, "bob_table"));
    admin.run(&format!(
        "REVOKE EXECUTE ON FUNCTION scope.reassign FROM {bob}"
    ));
    heir.denied(&call, "42501");
}

/// Who has a right for a time would have what comes of it for good.
#[test]
fn attack_a_right_for_a_time_hands_over_for_good() {
    let f = Fixture::new("reassign_temporary");
    let alice = maker(&f, "alice");
    let mallory = maker(&f, "mallory");
    let scope = scope_of(&f, "alice");
    let mut admin = f.admin();
    admin.run(&format!(
        "SELECT scope.grant_temporary('{alice}', '{mallory}', '1 hour', 'incident')"
    ));
    let call = format!("SELECT * FROM scope.reassign('{alice}', '{mallory}')");
    let mut s = f.login(&mallory);
    // It may change it as long as it is a member.
    s.run(&add(&scope, "alice_more"));
    s.refused(&call, "42501");
    s.refused(&format!("SET ROLE {alice}; {call}"), "42501");
    assert_eq!(created_by(&f, &scope), alice);
}

/// CREATEROLE on 15 may grant itself roles, and is a member then; before that it has no say.
#[test]
fn attack_createrole_alone_hands_nothing_over() {
    let f = Fixture::new("reassign_createrole");
    let alice = maker(&f, "alice");
    scope_of(&f, "alice");
    let mallory = f.role("mallory", "LOGIN CREATEROLE");
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION {CREATE} TO {mallory};
         SELECT scope.create_scope('reassign_createrole_top', '{{SELECT}}', '{{vault}}')"
    ));
    let superuser = admin.text("SELECT current_user");
    let mut s = f.login(&mallory);
    for from in [&alice, &superuser] {
        s.refused(
            &format!("SELECT * FROM scope.reassign('{from}', '{mallory}')"),
            "42501",
        );
    }
    admin.run("SELECT scope.drop_scope('reassign_createrole_top')");
}

#[test]
fn who_cannot_manage_roles_is_handed_none() {
    let f = Fixture::new("reassign_heirs");
    let alice = maker(&f, "alice");
    let scope = scope_of(&f, "alice");
    let mut s = f.login(&alice);
    let credential = s.handed(&format!("scope.create_credential('{{{scope}}}')"));
    let authenticator = s.handed(&format!(
        "scope.create_authenticator('{}_auth', '{{{scope}}}')",
        f.name
    ));
    let mut admin = f.admin();
    for to in [
        scope.as_str(),
        &credential.role,
        &authenticator.role,
        "pg_monitor",
    ] {
        admin.refused(
            &format!("SELECT * FROM scope.reassign('{alice}', '{to}')"),
            "42809",
        );
    }
    admin.refused(
        &format!("SELECT * FROM scope.reassign('{alice}', 'nobody there')"),
        "42704",
    );
    admin.refused("SELECT * FROM scope.reassign('x', NULL)", "22004");
    admin.refused("SELECT * FROM scope.reassign(NULL, 'x')", "22004");
    admin.refused(
        &format!("BEGIN READ ONLY; SELECT * FROM scope.reassign('{alice}', '{alice}')"),
        "25006",
    );
    admin.run("ROLLBACK");
    assert_eq!(created_by(&f, &scope), alice);
    // A person's own login whose logins are checked is nobody's but that person's.
    let bob = f.role("bob", "LOGIN");
    admin.run(&format!(
        "SELECT scope.guard_login('{bob}', allow_local => true)"
    ));
    assert_eq!(
        admin
            .rows(&format!("SELECT * FROM scope.reassign('{alice}', '{bob}')"))
            .len(),
        3
    );
}

#[test]
fn one_call_hands_over_a_thousand() {
    let f = Fixture::new("reassign_many");
    let (alice, bob) = (f.role("alice", "NOLOGIN"), f.role("bob", "NOLOGIN"));
    let mut admin = f.admin();
    admin.run(&format!(
        "SET ROLE {alice}; RESET ROLE;
         DO $$ DECLARE l jsonb; BEGIN
           PERFORM scope.create_scope('reassign_many_0', '{{SELECT}}', '{{orders}}');
           SELECT label::jsonb || jsonb_build_object('creator', '{alice}', 'creator_oid', '{alice}'::regrole::oid::int8) INTO l
             FROM pg_shseclabel WHERE objoid = 'reassign_many_0'::regrole AND provider = 'scope_roles';
           FOR n IN 1..1003 LOOP
             EXECUTE format('CREATE ROLE reassign_many_%s', n);
             EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE reassign_many_%s IS %L', n,
                            l || jsonb_build_object('oid', format('reassign_many_%s', n)::regrole::oid::int8));
           END LOOP; END $$"
    ));
    admin.notices();
    let call = format!("SELECT count(*) FROM scope.reassign('{alice}', '{bob}')");
    assert_eq!(admin.text(&call), "1000");
    let told = admin.notices();
    assert!(
        told.iter().any(|told| told.message.starts_with("3 roles")),
        "{told:?}"
    );
    assert_eq!(admin.text(&call), "3");
    assert!(admin.notices().is_empty());
    assert_eq!(admin.text(&call), "0");
}

#[test]
fn request_policies_go_with_what_else_their_creator_has_made() {
    let f = Fixture::new("reassign_policies");
    let [alice, bob] = ["alice", "bob"].map(|suffix| maker(&f, suffix));
    let [target, asks, decides] = ["target", "asks", "decides"].map(|suffix| f.role(suffix, ""));
    let asker = f.role("asker", &format!("LOGIN IN ROLE {asks}"));
    let decider = f.role("decider", &format!("LOGIN IN ROLE {decides}"));
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT {target} TO {alice}, {bob} WITH ADMIN OPTION; GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {alice}, {bob}"
    ));
    let policy = |name: &str| {
        format!(
            "SELECT scope.create_request_policy('{name}', '{{{target}}}', '{{{asks}}}', '[{{\"role\": \"{decides}\"}}]')"
        )
    };
    let creators = || {
        f.admin()
            .column("SELECT name || ' ' || created_by FROM scope.request_policies ORDER BY 1")
    };
    f.login(&alice).run(&policy("a"));
    f.login(&bob).run(&policy("b"));
    admin.run(&policy("c"));
    let others = "c postgres".to_owned();
    let waits = f.login(&asker).text(&format!(
        "SELECT request FROM scope.request_access('{target}', reason => 'x', policy => 'a')"
    ));
    let hand = format!(
        "SELECT role_name, kind, created_by, database FROM scope.reassign('{alice}', '{bob}')"
    );
    // Who has not both roles hands nothing over.
    f.login(&bob).refused(&hand, "42501");
    admin.run(&format!("GRANT {alice} TO {bob}"));
    assert_eq!(
        f.login(&bob).rows(&hand),
        [["a", "request policy", &*bob, &*f.name].map(|cell| Some(cell.to_owned()))]
    );
    assert_eq!(
        creators(),
        [format!("a {bob}"), format!("b {bob}"), others.clone()]
    );
    assert!(f.login(&bob).rows(&hand).is_empty());
    admin.assert_that(&format!(
        "EXISTS (SELECT FROM scope.audit_log WHERE function = 'reassign' AND details ->> 'formerly' = '{alice}')"
    ));
    // It gives in the name of the new one, whose right counts.
    admin.run(&format!(
        "REVOKE {target} FROM {alice}; DROP OWNED BY {alice}; DROP ROLE {alice}"
    ));
    let said = f
        .login(&decider)
        .text(&format!("SELECT scope.approve({waits})"));
    assert!(said.starts_with("active"), "{said}");
    f.login(&bob)
        .run(&policy("a").replace("\"}]')", "\"}]', replace => true)"));
    // Of one that is gone, by a superuser; a new one of the name has made nothing.
    admin.run(&format!(
        "REVOKE {target} FROM {bob} CASCADE; REASSIGN OWNED BY {bob} TO postgres; DROP OWNED BY {bob}; DROP ROLE {bob}"
    ));
    let heir = f.role("heir", "LOGIN");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.reassign TO {heir}"
    ));
    f.login(&heir).refused(
        &format!("SELECT * FROM scope.reassign('{bob}', '{heir}')"),
        "42501",
    );
    let rows = admin.rows(&format!(
        "SELECT * FROM scope.reassign('{bob}', '{heir}') WHERE kind = 'request policy'"
    ));
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(
        creators(),
        [format!("a {heir}"), format!("b {heir}"), others]
    );
}
