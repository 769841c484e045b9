//! Renewal, rotation, revocation.

use super::*;

#[track_caller]
fn assert_policy(outcome: Result<Session, Refusal>) {
    let refusal = outcome.err().expect("a login");
    assert!(
        ["28000", "28P01"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
}

#[track_caller]
fn wait_until_gone(f: &Fixture, role: &str) {
    let mut admin = f.admin();
    wait_until("the role is dropped", 20, || !admin.role_exists(role));
}

#[test]
fn a_renewal_moves_the_deadline_under_open_sessions() {
    let f = Fixture::new("life_renew");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '3 s'");
    let mut s = cred.connect();
    let renewed = admin.text(&format!(
        "SELECT scope.renew_role('{}', '1 hour')",
        cred.role
    ));
    admin.assert_that(&format!(
        "{0}::timestamptz BETWEEN now() + '59 min' AND now() + '1 hour'
         AND (SELECT valid_until = {0}::timestamptz AND state = 'active' FROM scope.credentials WHERE role = '{1}')",
        literal(&renewed),
        cred.role
    ));
    s.run("SELECT pg_sleep(3.5)");
    s.rows("SELECT * FROM orders");
    cred.connect();
    // Shorter is a renewal as well: the new deadline counts.
    admin.run(&format!("SELECT scope.renew_role('{}', '1 s')", cred.role));
    wait_until_gone(&f, &cred.role);
    admin.refused(
        &format!("SELECT scope.renew_role('{}')", cred.role),
        "42704",
    );
}

#[test]
fn no_renewal_goes_beyond_the_longest_life_counted_from_issue() {
    let server = Server::start(
        Options::default()
            .set("scope_roles.max_ttl", "1h")
            .set("scope_roles.default_ttl", "30min"),
    );
    let f = Fixture::on(&server, "life_cap");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '10 min'");
    let renew = |arguments: &str| format!("SELECT scope.renew_role('{}'{arguments})", cred.role);
    let cap = format!(
        "(SELECT created_at + '1 hour' FROM scope.credentials WHERE role = '{}')",
        cred.role
    );
    admin.run("SELECT pg_sleep(1)");
    let refusal = admin.refused(&renew(", '1 hour'"), "22023");
    assert!(refusal.detail.contains("max_ttl"), "{refusal}");
    admin.refused(&renew(", '2 hours'"), "22023");
    admin.refused(&renew(", '0'"), "22023");
    admin.refused(&renew(", '-1 s'"), "22023");
    admin.run(&renew(", '59 min 58 s'"));
    let default = admin.text(&renew(""));
    admin.assert_that(&format!(
        "{}::timestamptz < now() + '30 min 1 s'",
        literal(&default)
    ));
    // Issued long ago, as its label says: the default stops at the limit, and nothing goes past it.
    let age = |admin: &mut Session, age: &str| {
        admin.run(&format!(
            "UPDATE pg_shseclabel SET label = jsonb_set(label::jsonb, '{{created_at}}',
                to_jsonb(to_char((now() - interval '{age}') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')))::text
              WHERE objoid = '{}'::regrole",
            cred.role
        ));
    };
    age(&mut admin, "50 min");
    admin.refused(&renew(", '11 min'"), "22023");
    let capped = admin.text(&renew(""));
    admin.assert_that(&format!("{}::timestamptz = {cap}", literal(&capped)));
    // A rotation is no new issue.
    let next = admin.handed(&format!("scope.rotate_password('{}', '1 min')", cred.role));
    admin.assert_that(&format!(
        "{}::timestamptz = {cap}",
        literal(&next.valid_until)
    ));
    admin.refused(
        &format!("SELECT scope.renew_role('{}', '11 min')", next.role),
        "22023",
    );
    age(&mut admin, "2 hours");
    let refusal = admin.refused(&renew(""), "55000");
    assert!(refusal.hint.contains(&next.role), "{refusal}");
}

#[test]
fn a_rotation_without_overlap_changes_the_password_of_the_same_login() {
    let f = Fixture::new("life_rotate");
    let mut admin = f.admin();
    let old = admin.issue("'orders', valid_for => '1 hour'");
    let mut open = old.connect();
    let new = admin.handed(&format!("scope.rotate_password('{}')", old.role));
    assert_eq!((&new.role, &new.valid_until), (&old.role, &old.valid_until));
    assert_ne!(new.password, old.password);
    assert!(
        new.uri.contains(&new.password) && new.uri.contains(&f.name),
        "{}",
        new.uri
    );
    let refusal = old.try_connect().err().expect("the old password");
    assert_eq!(refusal.code, "28P01", "{refusal}");
    new.connect().rows("SELECT * FROM orders");
    open.rows("SELECT * FROM orders");
    admin.assert_that(&format!(
        "(SELECT rotated_at > created_at AND replaced_by IS NULL FROM scope.credentials WHERE role = '{}')",
        old.role
    ));
    // Undone, the old password is the password.
    admin.run(&format!(
        "BEGIN; SELECT scope.rotate_password('{}'); ROLLBACK",
        old.role
    ));
    new.connect();
    let log = f.server.log();
    assert!(!log.contains(&new.password) && !log.contains(&old.password));
}

#[test]
fn a_rotation_with_overlap_keeps_the_old_login_that_long() {
    let f = Fixture::new("life_overlap");
    let mut admin = f.admin();
    let extra = f.role("extra", "NOLOGIN");
    let scope = scope_for(&f, &mut admin, "orders");
    let old = admin.handed(&format!(
        "scope.create_credential('{{{scope}}}', 'life_overlap_svc', '1 hour', 'billing', connection_limit => 7, allow_local => true,
            allowed_ips => '{{127.0.0.1}}', statement_timeout => '9 s', search_path => '{{\"Odd, one\",public}}')"
    ));
    admin.run(&format!(
        "GRANT {extra} TO {0}; ALTER ROLE {0} IN DATABASE life_overlap SET work_mem = '3MB'",
        old.role
    ));
    let mut pool = old.connect();
    let new = admin.handed(&format!("scope.rotate_password('{}', '3 s')", old.role));
    assert_ne!(new.role, old.role);
    assert_eq!(new.valid_until, old.valid_until);
    // Both work, and are the same in all that matters.
    old.connect().rows("SELECT * FROM orders");
    let mut s = new.connect();
    s.rows("SELECT * FROM orders");
    assert_eq!(
        s.rows("SELECT current_setting('statement_timeout'), current_setting('search_path'), current_setting('work_mem')"),
        [row(&["9s", "\"Odd, one\", public", "3MB"])]
    );
    let same = "kind, state, scopes::text, database, created_by, created_at, allowed_ips::text, allow_local, require_tls, connection_limit,
                settings::text, purpose";
    let of = |role: &str| format!("SELECT {same} FROM scope.credentials WHERE role = '{role}'");
    assert_eq!(admin.rows(&of(&old.role)), admin.rows(&of(&new.role)));
    assert_eq!(
        admin.text(&format!(
            "SELECT replaced_by FROM scope.credentials WHERE role = '{}'",
            old.role
        )),
        new.role
    );
    for call in [
        "renew_role('{}', '1 hour')",
        "rotate_password('{}')",
        "rotate_password('{}', '1 h')",
    ] {
        let refusal = admin.refused(
            &format!("SELECT scope.{}", call.replace("{}", &old.role)),
            "55000",
        );
        assert!(refusal.hint.contains(&new.role), "{refusal}");
    }
    // Then the worker retires the old one, and its sessions; not the new one.
    wait_until_gone(&f, &old.role);
    assert!(pool.attempt("SELECT 1").is_err());
    s.rows("SELECT * FROM orders");
    assert_policy(old.try_connect());
    // Names do not grow with each rotation.
    let third = admin.handed(&format!("scope.rotate_password('{}', '1 hour')", new.role));
    assert_eq!(third.role.len(), new.role.len(), "{}", third.role);
    assert!(
        third.role.starts_with("life_overlap_svc_next_"),
        "{}",
        third.role
    );
}

#[test]
fn an_overlap_never_prolongs_the_old_login() {
    let f = Fixture::new("life_overlap_long");
    let mut admin = f.admin();
    for overlap in ["1 hour", "1000 years", "365 days"] {
        let old = admin.issue("'orders', valid_for => '10 min'");
        let new = admin.handed(&format!(
            "scope.rotate_password('{}', '{overlap}')",
            old.role
        ));
        assert_eq!(new.valid_until, old.valid_until);
        admin.assert_that(&format!(
            "(SELECT valid_until = {}::timestamptz FROM scope.credentials WHERE role = '{}')",
            literal(&old.valid_until),
            old.role
        ));
    }
}

/// The new login is a member of what is still there.
#[test]
fn a_role_that_is_dropped_in_the_middle_of_a_rotation_does_not_stop_it() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "life_middle");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'life_middle_cred'");
    let scope = admin.scope_of(&cred.role);
    let group = f.role("group", "NOLOGIN");
    admin.run(&format!("GRANT {group} TO {}", cred.role));
    let mut holder = f.admin();
    holder.run("BEGIN; LOCK TABLE pg_authid IN SHARE MODE");
    let next = std::thread::scope(|threads| {
        let mut session = f.admin();
        let rotation = threads.spawn(move || {
            session
                .handed("scope.rotate_password('life_middle_cred', '1 hour')")
                .role
        });
        wait_until(
            "the rotation has looked, and is to make the login",
            20,
            || {
                admin.holds("EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%rotate_password(%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid())")
            },
        );
        holder.run(&format!("DROP ROLE {group}; COMMIT"));
        rotation.join().expect("a new login")
    });
    assert_eq!(admin.scope_of(&next), scope);
    f.login(&next).rows("SELECT * FROM orders");
}

#[test]
fn an_authenticator_is_rotated_with_its_roles_and_its_gate() {
    let f = Fixture::new("life_gated");
    let mut admin = f.admin();
    let role = f.role("web", "NOLOGIN");
    admin.run(&format!(
        "REVOKE CONNECT ON DATABASE life_gated FROM PUBLIC; GRANT SELECT ON orders TO {role}"
    ));
    let old = admin.handed(&format!(
        "scope.create_authenticator('life_gated_api', '{{{role}}}')"
    ));
    let new = admin.handed("scope.rotate_password('life_gated_api', '2 s')");
    assert_eq!(new.valid_until, "");
    let token = sign(&serde_json::json!({"role": role, "sub": "ann", "exp": now() + 600}));
    for login in [&old, &new] {
        let mut s = login.connect();
        s.denied("SELECT * FROM orders", "42501");
        s.refused(&format!("SET ROLE {role}"), "42501");
        s.run(&format!(
            "BEGIN; SELECT scope.set_jwt_role({}); SELECT * FROM orders; COMMIT",
            literal(&token)
        ));
    }
    wait_until_gone(&f, &old.role);
    new.connect();
    admin.refused(
        &format!("SELECT scope.renew_role('{}', '1 hour')", new.role),
        "55000",
    );
    let same = admin.handed(&format!("scope.rotate_password('{}')", new.role));
    assert_eq!(same.role, new.role);
    admin.run(&format!(
        "SELECT scope.revoke_role('{}', 'service retired')",
        new.role
    ));
    assert_policy(same.try_connect());
    wait_until_gone(&f, &new.role);
}

#[test]
fn a_revocation_ends_it_now() {
    let f = Fixture::new("life_revoke");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    let (mut idle, mut busy) = (cred.connect(), cred.connect());
    // Undone, it never was.
    admin.run(&format!(
        "BEGIN; SELECT scope.revoke_role('{}', 'oops'); ROLLBACK",
        cred.role
    ));
    cred.connect();
    std::thread::scope(|threads| {
        let running = threads.spawn(|| busy.attempt("SELECT pg_sleep(60)"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        admin.run(&format!(
            "SELECT scope.revoke_role('{}', 'left the company')",
            cred.role
        ));
        assert_policy(cred.try_connect());
        assert_policy(f.server.try_login(&cred.role, &f.name));
        assert!(running.join().expect("a thread").is_err());
    });
    wait_until("its idle session is ended", 10, || {
        idle.attempt("SELECT 1").is_err()
    });
    wait_until_gone(&f, &cred.role);
}

#[test]
fn revoking_twice_is_fine_and_says_so() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "life_twice");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    let revoke = format!(
        "SELECT scope.revoke_role('{}', 'left the company')",
        cred.role
    );
    admin.run(&revoke);
    assert_policy(cred.try_connect());
    assert_policy(f.server.try_login(&cred.role, &f.name));
    let notices = admin.notices();
    assert!(
        notices
            .iter()
            .any(|n| n.detail.contains("scope_roles.expiry")),
        "{notices:?}"
    );
    admin.run(&revoke);
    let notices = admin.notices();
    assert!(
        notices
            .iter()
            .any(|n| n.message.contains("being ended already")),
        "{notices:?}"
    );
    assert_eq!(
        admin.rows(&format!(
            "SELECT state, reason FROM scope.credentials WHERE role = '{}'",
            cred.role
        )),
        [row(&["ending", "left the company"])]
    );
    for call in [
        "renew_role('{}', '1 hour')",
        "rotate_password('{}')",
        "rotate_password('{}', '1 hour')",
    ] {
        admin.refused(
            &format!("SELECT scope.{}", call.replace("{}", &cred.role)),
            "55000",
        );
    }
    admin.run("SELECT * FROM scope.expire_roles()");
    assert!(!admin.role_exists(&cred.role));
    // One past its deadline, which the worker has not come to: nothing brings it back.
    let late = admin.issue("'orders', valid_for => '1 s'");
    admin.run("SELECT pg_sleep(1.1)");
    for call in [
        "renew_role('{}', '1 hour')",
        "rotate_password('{}')",
        "rotate_password('{}', '1 hour')",
    ] {
        admin.refused(
            &format!("SELECT scope.{}", call.replace("{}", &late.role)),
            "55000",
        );
    }
    admin.run(&format!("SELECT scope.revoke_role('{}')", late.role));
}

#[test]
fn revoking_the_new_login_of_a_rotation_ends_the_old_one_too() {
    let f = Fixture::new("life_chain");
    let mut admin = f.admin();
    let first = admin.issue("'orders', valid_for => '1 hour'");
    let second = admin.handed(&format!(
        "scope.rotate_password('{}', '30 min')",
        first.role
    ));
    let third = admin.handed(&format!(
        "scope.rotate_password('{}', '30 min')",
        second.role
    ));
    let other = admin.issue("'orders', valid_for => '1 hour'");
    admin.run(&format!(
        "SELECT scope.revoke_role('{}', 'offboarded')",
        third.role
    ));
    for login in [&first, &second, &third] {
        assert_policy(login.try_connect());
    }
    other.connect();
    // The old one alone, when its password has leaked.
    let next = admin.handed(&format!(
        "scope.rotate_password('{}', '30 min')",
        other.role
    ));
    admin.run(&format!("SELECT scope.revoke_role('{}')", other.role));
    assert_policy(other.try_connect());
    next.connect();
}

#[test]
fn only_the_creator_its_members_and_superusers_manage_a_credential() {
    let f = Fixture::new("life_who");
    let (creator, deputy, stranger) = (
        manager(&f, "creator"),
        manager(&f, "deputy"),
        manager(&f, "stranger"),
    );
    f.admin().run(&format!(
        "ALTER TABLE orders OWNER TO {creator}; GRANT {creator} TO {deputy}"
    ));
    let cred = f.login(&creator).issue("'orders', valid_for => '1 hour'");
    let calls = [
        format!("SELECT scope.renew_role('{}', '2 hours')", cred.role),
        format!("SELECT scope.rotate_password('{}')", cred.role),
        format!("SELECT scope.rotate_password('{}', '1 hour')", cred.role),
        format!("SELECT scope.revoke_role('{}')", cred.role),
    ];
    for call in &calls {
        f.login(&stranger).refused(call, "42501");
    }
    cred.connect();
    for role in [&creator, &deputy] {
        for call in &calls {
            let mut s = f.login(role);
            s.run(&format!("BEGIN; {call}; ROLLBACK"));
        }
    }
    // Nobody without EXECUTE, not even the creator.
    f.admin().run(&format!(
        "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA scope FROM {creator}"
    ));
    f.login(&creator).denied(&calls[3], "42501");
    f.login(&deputy).run(&calls[3]);
}

#[test]
fn other_roles_are_refused() {
    let f = Fixture::new("life_others");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let scope = admin.scope_of(&cred.role);
    let (person, group) = (f.role("person", "LOGIN"), f.role("group", "NOLOGIN"));
    let root = f.role("root", "LOGIN SUPERUSER");
    admin.run(&format!(
        "SELECT scope.grant_temporary('{group}', '{person}', '1 hour')"
    ));
    let between = admin.text(&format!(
        "SELECT role FROM scope.credentials WHERE granted_to = '{person}'"
    ));
    let risen = admin.issue("'orders'").role;
    admin.run(&format!("ALTER ROLE {risen} SUPERUSER"));
    for (role, sqlstate) in [
        ("NULL".to_owned(), "22004"),
        ("'no_such_role'".to_owned(), "42704"),
        ("''".to_owned(), "42704"),
        ("'public'".to_owned(), "42704"),
        (literal(&person), "42809"),
        (literal(&root), "42809"),
        ("'postgres'".to_owned(), "42809"),
        ("'pg_monitor'".to_owned(), "42809"),
        (literal(&scope), "42809"),
        (literal(&between), "42809"),
        (literal(&risen), "42501"),
        (literal("it's \"odd\"; --"), "42704"),
    ] {
        for call in [
            format!("renew_role({role}, '1 hour')"),
            format!("rotate_password({role})"),
            format!("rotate_password({role}, '1 hour')"),
            format!("revoke_role({role})"),
        ] {
            admin.refused(&format!("SELECT scope.{call}"), sqlstate);
        }
    }
    for (call, sqlstate) in [
        (format!("rotate_password('{}', NULL)", cred.role), "22004"),
        (format!("rotate_password('{}', '-1 s')", cred.role), "22023"),
        (
            format!("rotate_password('{}', '-1000 years')", cred.role),
            "22023",
        ),
        (
            format!("revoke_role('{}', repeat('x', 201))", cred.role),
            "22023",
        ),
    ] {
        admin.refused(&format!("SELECT scope.{call}"), sqlstate);
    }
    for call in [
        "renew_role('{}')",
        "rotate_password('{}')",
        "revoke_role('{}')",
    ] {
        admin.run("BEGIN READ ONLY");
        admin.refused(
            &format!("SELECT scope.{}", call.replace("{}", &cred.role)),
            "25006",
        );
        admin.run("ROLLBACK");
    }
    cred.connect();
}

#[test]
fn eight_clients_rotate_and_renew_one_credential_at_the_same_time() {
    let f = Fixture::new("life_race");
    let cred = f.admin().issue("'orders', valid_for => '1 hour'");
    let passwords: Vec<Credential> = std::thread::scope(|threads| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                threads.spawn(|| {
                    let mut s = f.admin();
                    s.run(&format!(
                        "SELECT scope.renew_role('{}', '2 hours')",
                        cred.role
                    ));
                    s.handed(&format!("scope.rotate_password('{}')", cred.role))
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .collect()
    });
    let working = passwords
        .iter()
        .filter(|cred| cred.try_connect().is_ok())
        .count();
    assert_eq!(working, 1, "exactly the last password works");
}
