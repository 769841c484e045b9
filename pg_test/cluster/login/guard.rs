//! Logins that are not ours, checked because a DBA has named them; and those that nothing keeps out.

use super::*;

/// A login of somebody's, with the password x.
fn login(f: &Fixture, suffix: &str, attributes: &str) -> Credential {
    Credential {
        role: f.role(suffix, &format!("LOGIN PASSWORD 'x' {attributes}")),
        password: "x".into(),
        valid_until: String::new(),
        uri: String::new(),
    }
}

fn guard(admin: &mut Session, role: &str, rules: &str) {
    admin.run(&format!("SELECT scope.guard_login('{role}'{rules})"));
}

#[test]
fn a_guarded_login_obeys_its_rules_and_nothing_else_changes_for_it() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "guard_rules");
    let mut admin = f.admin();
    let bob = login(&f, "bob", "CREATEROLE");
    let other = login(&f, "other", "");
    for (rules, ways) in [
        ("", "46s"),
        (", allowed_ips => '{127.0.0.1}'", "4"),
        (", allowed_ips => '{127.0.0.1}', allow_local => true", "4s"),
        // All the rules are said each time.
        (", allow_local => false", "46"),
        (", allowed_ips => '{10.0.0.0/8}'", ""),
        (
            ", allowed_hours => '{daily 00:00-24:00}', time_zone => 'Europe/Zurich', allowed_ips => '{::1}'",
            "6",
        ),
    ] {
        guard(&mut admin, &bob.role, rules);
        door.assert_ways(&bob, &f.name, ways);
        door.assert_ways(&other, &f.name, "46s");
    }
    assert_eq!(
        admin.rows("SELECT role, allowed_ips, allow_local, require_tls, allowed_hours, time_zone, in_force, guarded_by FROM scope.guarded_logins"),
        [["guard_rules_bob", "{::1/128}", "f", "f", "{\"daily 00:00-24:00\"}", "Europe/Zurich", "t", "postgres"]
            .map(|cell| Some(cell.to_owned()))]
    );
    guard(&mut admin, &bob.role, ", allow_local => true");
    // It is no managed role: it may do what it could, and be a member for a time.
    let mut session = f.server.login(&bob.role, &f.name);
    session.run("CREATE ROLE guard_rules_made; DROP ROLE guard_rules_made");
    session.run(&format!("ALTER ROLE {} SET work_mem = '1MB'", bob.role));
    admin.run(&format!(
        "SELECT scope.grant_temporary('{}', '{}', '1 hour', 'on call')",
        f.role("group", "NOLOGIN"),
        bob.role
    ));
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.roles WHERE role = '{0}') AND NOT EXISTS (SELECT FROM scope.credentials WHERE role = '{0}')",
        bob.role
    ));
    // Its VALID UNTIL is for passwords only, as ever.
    admin.run(&format!("ALTER ROLE {} VALID UNTIL '2001-01-01'", bob.role));
    admin.run("SELECT scope.expire_roles()");
    assert!(admin.role_exists(&bob.role));
    f.server.login(&bob.role, &f.name);
    session.run("SELECT 1");
    admin.run(&format!("ALTER ROLE {} VALID UNTIL 'infinity'", bob.role));
    admin.run(&format!("SELECT scope.unguard_login('{}')", bob.role));
    door.assert_ways(&bob, &f.name, "46s");
    admin.assert_that("NOT EXISTS (SELECT FROM scope.guarded_logins)");
    admin.refused(
        &format!("SELECT scope.unguard_login('{}')", bob.role),
        "55000",
    );
}

#[test]
fn a_guard_goes_with_its_role_and_follows_its_name() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "guard_names");
    let mut admin = f.admin();
    let mut bob = login(&f, "bob", "");
    guard(&mut admin, &bob.role, ", allowed_ips => '{127.0.0.1}'");
    admin.run("ALTER ROLE guard_names_bob RENAME TO guard_names_robert; ALTER ROLE guard_names_robert PASSWORD 'x'");
    bob.role = "guard_names_robert".into();
    door.assert_ways(&bob, &f.name, "4");
    assert_eq!(
        admin.column("SELECT role FROM scope.guarded_logins"),
        [bob.role.as_str()]
    );
    // Whoever takes the name is another.
    let heir = login(&f, "bob", "");
    door.assert_ways(&heir, &f.name, "46s");
    admin.run("DROP ROLE guard_names_robert");
    admin.assert_that(
        "NOT EXISTS (SELECT FROM scope.guarded_logins) AND NOT EXISTS (SELECT FROM pg_shseclabel)",
    );
    let again = login(&f, "robert", "");
    door.assert_ways(&again, &f.name, "46s");
}

#[test]
fn a_role_dropped_while_it_is_guarded_leaves_no_label() {
    let f = Fixture::new("guard_drop");
    let bob = f.role("bob", "LOGIN");
    let mut dropper = f.admin();
    dropper.run(&format!("BEGIN; DROP ROLE {bob}"));
    std::thread::scope(|scope| {
        let guarding = scope.spawn(|| {
            let mut admin = f.admin();
            admin.attempt(&format!("SELECT scope.guard_login('{bob}')"))
        });
        wait_until("guard_login waits", 10, || {
            f.admin().holds("EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%guard_login%' AND pid <> pg_backend_pid())")
        });
        dropper.run("COMMIT");
        let outcome = guarding.join().expect("a session");
        assert_eq!(outcome.err().map(|e| e.code).as_deref(), Some("42704"));
    });
}

#[test]
fn logins_are_guarded_by_those_who_rule_them_only() {
    let f = Fixture::new("guard_rulers");
    let mut admin = f.admin();
    let bob = f.role("bob", "LOGIN CREATEROLE");
    let root = f.role("root", "LOGIN SUPERUSER");
    let group = f.role("group", "NOLOGIN");
    let plain = f.role("plain", "LOGIN");
    let chief = f.role("chief", "LOGIN CREATEROLE");
    let cred = admin.issue("'orders'");
    for (role, sqlstate) in [
        (root.as_str(), "42501"),
        ("postgres", "42501"),
        (&group, "42809"),
        (&cred.role, "42809"),
        ("nobody_at_all", "42704"),
        ("pg_monitor", "42809"),
    ] {
        admin.refused(&format!("SELECT scope.guard_login('{role}')"), sqlstate);
    }
    admin.refused("SELECT scope.guard_login(NULL)", "22004");
    admin.refused(
        &format!("SELECT scope.unguard_login('{}')", cred.role),
        "42809",
    );
    admin.refused(
        &format!("SELECT scope.guard_login('{bob}', allowed_ips => '{{}}')"),
        "22023",
    );
    let call = format!("SELECT scope.guard_login('{bob}', allow_local => true)");
    let lift = format!("SELECT scope.unguard_login('{bob}')");
    f.login(&plain).denied(&call, "42501");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.guard_login, scope.unguard_login TO {plain}, {chief}, {bob}"
    ));
    f.login(&plain).refused(&call, "42501");
    // CREATEROLE alone is not enough.
    f.login(&chief).refused(&call, "42501");
    admin.run(&format!("GRANT {bob} TO {chief} WITH ADMIN OPTION"));
    f.login(&chief).run(&call);
    // Nobody lifts his own guard, whatever he may do otherwise.
    f.login(&bob).refused(&lift, "42501");
    f.login(&bob).refused(&call, "42501");

    f.login(&chief).run(&lift);
    admin.run("SET default_transaction_read_only = on");
    admin.refused(&call, "25006");
}

/// What a DBA has written by hand, or what has happened to the catalogue: superusers come in, and so does everyone without a label.
#[test]
fn no_label_however_damaged_keeps_a_superuser_or_a_stranger_out() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "guard_damage");
    let mut admin = f.admin();
    let root = login(&f, "root", "");
    let stranger = login(&f, "stranger", "");
    guard(&mut admin, &root.role, ", allowed_ips => '{10.0.0.0/8}'");
    door.assert_ways(&root, &f.name, "");
    // Made a superuser later: its guard says nothing any more.
    admin.run(&format!("ALTER ROLE {} SUPERUSER", root.role));
    door.assert_ways(&root, &f.name, "46s");
    admin.assert_that("(SELECT NOT in_force AND logins = 0 FROM scope.guarded_logins)");
    let label = |role: &Credential| {
        format!(
            "objoid = '{}'::regrole AND classoid = 'pg_authid'::regclass",
            role.role
        )
    };
    let good = admin.text(&format!(
        "SELECT label FROM pg_shseclabel WHERE {}",
        label(&root)
    ));
    for damaged in [
        literal("garbage"),
        literal(""),
        literal("{\"v\":1,\"kind\":\"guarded\""),
        literal(
            &good
                .replace("guarded", "credential")
                .replace("active", "ending"),
        ),
        literal(&good.replace("\"v\":1", "\"v\":99")),
        // Too long to be read while a client logs in: compressed, and moved out of line.
        "repeat('x', 100000)".to_owned(),
        "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 5000) n)".to_owned(),
    ] {
        admin.run(&format!(
            "UPDATE pg_shseclabel SET label = {damaged} WHERE {}",
            label(&root)
        ));
        door.assert_ways(&root, &f.name, "46s");
        door.assert_ways(&stranger, &f.name, "46s");
    }
    // The same on a login that is guarded: it fails closed, with the same words, and no other login is harmed.
    admin.run(&format!("ALTER ROLE {} NOSUPERUSER", root.role));
    door.assert_ways(&root, &f.name, "");
    door.assert_ways(&stranger, &f.name, "46s");
    // Nor is the worker, which reads all labels.
    let cred = admin.issue("'orders', valid_for => '1 second'");
    wait_until("a credential has ended", 20, || {
        !admin.role_exists(&cred.role)
    });
    assert!(
        !door
            .server
            .log()
            .contains("without having selected a database")
    );
    // A superuser takes the damage away.
    admin.run(&format!(
        "SECURITY LABEL FOR scope_roles ON ROLE {} IS NULL",
        root.role
    ));
    door.assert_ways(&root, &f.name, "46s");
}

/// A label by hand that calls somebody's login one that is being ended must not end it as a guarded one.
#[test]
fn a_guard_written_by_hand_ends_nobody() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "guard_hand");
    let mut admin = f.admin();
    let bob = login(&f, "bob", "VALID UNTIL '2001-01-01'");
    admin.run(&format!("ALTER ROLE {} VALID UNTIL 'infinity'", bob.role));
    guard(&mut admin, &bob.role, "");
    let label = admin.text(&format!(
        "SELECT label FROM pg_shseclabel WHERE objoid = '{}'::regrole",
        bob.role
    ));
    for state in ["ending", "quarantined"] {
        admin.run(&format!(
            "SECURITY LABEL FOR scope_roles ON ROLE {} IS {}",
            bob.role,
            literal(&label.replace("active", state))
        ));
        door.assert_ways(&bob, &f.name, "46s");
        let mut session = f.server.login(&bob.role, &f.name);
        assert_eq!(admin.rows("SELECT * FROM scope.expire_roles()").len(), 0);
        // The worker ends one that is due; the guarded one it leaves alone.
        let cred = admin.issue("'orders', valid_for => '1 second'");
        wait_until("the worker has been at work", 20, || {
            !admin.role_exists(&cred.role)
        });
        assert!(admin.role_exists(&bob.role));
        session.run("SELECT 1");
    }
}

/// A connection for replication has no database, not even after the check.
#[test]
fn a_guard_holds_for_connections_for_replication() {
    let f = Fixture::new("guard_replication");
    let mut admin = f.admin();
    let bob = f.role("bob", "LOGIN REPLICATION");
    let identify = || {
        let target = format!("user={bob} replication=1");
        let mut psql = f.server.client("psql");
        let done = psql.args(["-XAtqc", "IDENTIFY_SYSTEM", &target]).output();
        let done = done.expect("psql");
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    for (rules, welcome) in [("", true), (", allow_local => false", false)] {
        guard(&mut admin, &bob, rules);
        let (success, error) = identify();
        assert_eq!(success, welcome, "{error}");
        assert_eq!(error.contains(POLICY), !welcome, "{error}");
    }
    assert_eq!(
        admin.text("SELECT logins || ' ' || last_refusal_reason FROM scope.guarded_logins WHERE role = 'guard_replication_bob'"),
        "1 local"
    );
}
