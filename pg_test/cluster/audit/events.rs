//! Each event where it happens.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

#[test]
fn audit_of_a_switch_names_the_token_and_where_from() {
    let w = Web::new("audit_switch");
    let mut session = w.f.login(&w.web);
    let pid = session.text("SELECT pg_backend_pid()");
    session.run("SET application_name = 'a web app'");
    session.run(&format!(
        "BEGIN; SELECT scope.set_jwt_role({})",
        literal(&w.token("somebody"))
    ));
    let line = one(
        w.server(),
        json!({ "event": "switch", "session_user": w.web }),
    );
    assert_fields(
        &line,
        json!({
            "outcome": "ok", "role": w.user, "issuer": "https://id.example.org", "subject": "somebody", "jti": "4711",
            "client": "local", "port": null, "database": w.f.name, "application_name": "a web app",
            "pid": pid.parse::<i64>().unwrap(), "xid": null, "function": "set_jwt_role",
        }),
    );
    session.run("ROLLBACK; BEGIN");
    let refused = sign(&json!({ "role": "postgres", "exp": now() + 600, "sub": "somebody" }));
    session.denied(
        &format!("SELECT scope.set_jwt_role({})", literal(&refused)),
        "42501",
    );
    let line = one(
        w.server(),
        json!({ "outcome": "refused", "session_user": w.web }),
    );
    // Refused as a switch, and not once more as a denied statement.
    assert_fields(
        &line,
        json!({ "event": "switch", "sqlstate": "42501", "role": w.web, "subject": null }),
    );
    let expired = sign(&json!({ "role": w.user, "exp": now() - 600 }));
    session.run("ROLLBACK");
    session.refused(
        &format!("SELECT scope.set_jwt_role({})", literal(&expired)),
        "28000",
    );
    let found = find(
        w.server(),
        &json!({ "sqlstate": "28000", "session_user": w.web }),
    );
    assert!(
        found[0]["detail"].as_str().unwrap().starts_with("expired"),
        "{found:?}"
    );
    let log = w.server().log();
    for token in [w.token("somebody"), refused, expired] {
        let payload = token.split('.').nth(1).unwrap();
        assert!(!log.contains(payload), "a token is in the log");
    }
}

#[test]
fn audit_of_a_savepoint_knows_whose_switch_is_back() {
    let w = Web::new("audit_savepoint");
    let mut session = w.switched("first");
    session.run("SAVEPOINT a");
    session.denied("SELECT * FROM vault", "42501");
    session.run("ROLLBACK TO a");
    session.denied("SELECT count(*) FROM vault", "42501");
    let found = find(
        w.server(),
        &json!({ "event": "denied", "session_user": w.web }),
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    for line in found {
        assert_fields(&line, json!({ "subject": "first", "role": w.user }));
    }
}

#[test]
fn audit_of_a_session_switch_and_its_end() {
    let w = Web::new("audit_session");
    let mut session = w.f.login(&w.web);
    let token = w.token("somebody");
    session.run(&format!(
        "SELECT scope.set_jwt_session({})",
        literal(&token)
    ));
    let line = one(
        w.server(),
        json!({ "event": "switch", "session_user": w.web }),
    );
    assert_fields(
        &line,
        json!({ "function": "set_jwt_session", "outcome": "ok" }),
    );
    session.run(&format!(
        "SELECT scope.end_jwt_session({})",
        literal(&token)
    ));
    let line = one(
        w.server(),
        json!({ "event": "switch_end", "session_user": w.web }),
    );
    assert_fields(&line, json!({ "outcome": "ok", "role": w.web }));
}

#[test]
fn audit_of_attempts_on_the_lock() {
    let w = Web::new("audit_lock");
    let mut session = w.switched("burglar");
    for attack in [
        "RESET ROLE",
        "SET SESSION AUTHORIZATION DEFAULT",
        "DISCARD ALL",
    ] {
        session.run("SAVEPOINT a");
        session.denied(attack, "42501");
        session.run("ROLLBACK TO a");
    }
    let found = find(
        w.server(),
        &json!({ "event": "lock_violation", "session_user": w.web }),
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    for line in &found {
        assert_fields(
            line,
            json!({ "sqlstate": "42501", "subject": "burglar", "role": w.user }),
        );
    }
    assert_eq!(
        found[0]["message"],
        "the role of this transaction was set by a token and is locked"
    );
    // Not once more as a denied statement.
    none(
        w.server(),
        json!({ "event": "denied", "session_user": w.web }),
    );
}

#[test]
fn audit_of_logins_by_every_way() {
    let hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 trust\n";
    let ipv6 = std::net::TcpListener::bind(("::1", 0)).is_ok();
    let addresses = if ipv6 { "127.0.0.1,::1" } else { "127.0.0.1" };
    let server = Server::start(
        Options::default()
            .hba(hba)
            .set("listen_addresses", addresses),
    );
    let f = Fixture::on(&server, "audit_login");
    let cred = f.admin().issue("'orders'");
    let ways: &[&str] = if ipv6 {
        &["127.0.0.1", "::1"]
    } else {
        &["127.0.0.1"]
    };
    for host in ways {
        server
            .try_tcp(host, &cred.role, &cred.password, "audit_login")
            .expect("a login");
        let line = one(&server, json!({ "event": "login", "client": host }));
        assert_fields(
            &line,
            json!({
                "outcome": "ok", "session_user": cred.role, "role": cred.role, "database": "audit_login",
                "tls": false, "reason": null, "xid": null,
            }),
        );
        assert!(line["port"].as_i64().unwrap() > 0, "{line}");
    }
    server
        .try_login(&cred.role, "audit_login")
        .expect("a login");
    let line = one(&server, json!({ "event": "login", "client": "local" }));
    assert_fields(&line, json!({ "port": null, "outcome": "ok" }));
    f.admin()
        .run(&format!("SELECT scope.revoke_role('{}')", cred.role));
    let other = f.admin().handed(
        "scope.create_readonly_role('orders', allowed_ips => '{10.0.0.0/8}', allow_local => true)",
    );
    let refused = server
        .try_tcp("127.0.0.1", &other.role, &other.password, "audit_login")
        .err()
        .expect("a refusal");
    assert_eq!(refused.message, "connection refused by login policy");
    let line = one(
        &server,
        json!({ "event": "login", "outcome": "refused", "session_user": other.role }),
    );
    assert_eq!(line["client"], "127.0.0.1");
    assert!(
        line["reason"].as_str().unwrap().contains("address"),
        "{line}"
    );
    // A wrong password is PostgreSQL's refusal, and nobody else is our business.
    assert!(
        server
            .try_tcp("127.0.0.1", &other.role, "wrong", "audit_login")
            .is_err()
    );
    none(
        &server,
        json!({ "event": "login", "session_user": "postgres" }),
    );
}

/// Everything that an administrator can do, with the events that tell of it.
fn administer(f: &Fixture, admin: &mut Session) -> Vec<(&'static str, &'static str, String)> {
    let n = &f.name;
    let mut seen = Vec::new();
    let mut does = |event, function, object: &str| seen.push((event, function, object.to_owned()));
    let first = admin.handed(
        "scope.create_readonly_role('orders', valid_for => '1 day', purpose => 'a \"test\"')",
    );
    does("issue", "create_readonly_role", &first.role);
    let scope = admin.scope_of(&first.role);
    does("scope", "create_scope", &scope);
    admin.run(&format!(
        "SELECT scope.renew_role('{}', '2 days')",
        first.role
    ));
    does("renew", "renew_role", &first.role);
    let next = admin.handed(&format!(
        "scope.rotate_password('{}', '1 hour')",
        first.role
    ));
    does("rotate", "rotate_password", &first.role);
    admin.run(&format!(
        "SELECT scope.revoke_role('{}', 'left')",
        next.role
    ));
    does("revoke", "revoke_role", &next.role);
    does("revoke", "revoke_role", &first.role);
    admin.run(&format!(
        "SELECT scope.create_scope('{n}_s', '{{SELECT}}', '{{orders}}')"
    ));
    does("scope", "create_scope", &format!("{n}_s"));
    admin.run(&format!(
        "SELECT scope.alter_scope('{n}_s', 'add', '{{INSERT}}', '{{orders}}')"
    ));
    does("scope", "alter_scope", &format!("{n}_s"));
    admin.run(&format!(
        "SELECT scope.alter_scope('{n}_s', 'remove', '{{SELECT}}', '{{orders}}')"
    ));
    does("scope", "alter_scope", &format!("{n}_s"));
    let other = admin.handed(&format!("scope.create_credential('{{{n}_s}}')"));
    does("issue", "create_credential", &other.role);
    let person = f.role("person", "LOGIN");
    admin.run(&format!(
        "SELECT scope.grant_temporary('{n}_s', '{person}', '1 hour', 'incident')"
    ));
    does("temporary", "grant_temporary", &format!("{n}_s"));
    admin.run(&format!(
        "SELECT scope.revoke_temporary('{n}_s', '{person}')"
    ));
    does("temporary", "revoke_temporary", &format!("{n}_s"));
    let web = admin.handed(&format!(
        "scope.create_authenticator('{n}_api', '{{{n}_s}}')"
    ));
    does("issue", "create_authenticator", &web.role);
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('i', 'https://i', '{SECRET}')"
    ));
    does("issuer", "add_jwt_issuer", "i");
    admin.run(&format!("SELECT scope.set_jwt_keys('i', '{SECRET}')"));
    does("issuer", "set_jwt_keys", "i");
    admin.run("SELECT scope.drop_jwt_issuer('i')");
    does("issuer", "drop_jwt_issuer", "i");
    admin.run("SELECT scope.revoke_token('a jti', now() + '1 hour')");
    does("token", "revoke_token", "a jti");
    admin.run("SELECT scope.revoke_subject('a subject', now())");
    does("token", "revoke_subject", "a subject");
    admin.run("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    admin.run(&format!(
        "SELECT scope.restrict_function('f()', '{{{n}_s}}')"
    ));
    does("scope", "alter_scope", &format!("{n}_s"));
    does("scope", "restrict_function", "public.f()");
    admin.run(&format!(
        "SELECT scope.set_guard('{n}_s', 10, 20, '1 hour', '{{do}}')"
    ));
    does("policy", "set_guard", &format!("{n}_s"));
    admin.run("SELECT scope.allow_writes('f()')");
    does("policy", "allow_writes", "public.f()");
    admin.run(&format!(
        "SELECT scope.set_login_policy('{}', allowed_hours => '{{daily 00:00-24:00}}', time_zone => 'UTC')",
        other.role
    ));
    does("policy", "set_login_policy", &other.role);
    admin.run(&format!("SELECT scope.guard_login('{person}')"));
    does("policy", "guard_login", &person);
    admin.run(&format!("SELECT scope.unguard_login('{person}')"));
    does("policy", "unguard_login", &person);
    let spec = json!({ "version": 1, "scopes": [{ "name": format!("{n}_a"), "grants": [] }] });
    let spec = literal(&spec.to_string());
    let objects = admin.column(&format!("SELECT object FROM scope.apply({spec})"));
    assert_eq!(objects.len(), 1, "{objects:?}");
    does("scope", "create_scope", &format!("{n}_a"));
    does("policy", "apply", &objects[0]);
    let boss = f.role("boss", "SUPERUSER");
    admin.run(&format!(
        "SELECT scope.accept_finding('superuser', '{boss}', 'sealed', '1 day')"
    ));
    does("review", "accept_finding", &boss);
    admin.run(&format!(
        "SELECT scope.attest('{person}', 'as it should be')"
    ));
    does("review", "attest", &person);
    let statements =
        admin.column("SELECT statement FROM scope.harden(true) WHERE statement IS NOT NULL");
    assert!(!statements.is_empty());
    for _ in statements {
        does("review", "harden", n);
    }
    admin.run(&format!("SELECT scope.drop_scope('{n}_s', force => true)"));
    does("scope", "drop_scope", &format!("{n}_s"));
    let log = f.server.log();
    for secret in [
        &first.password,
        &next.password,
        &other.password,
        &web.password,
    ] {
        assert!(!log.contains(secret.as_str()), "a password is in the log");
    }
    assert!(!log.contains(SECRET), "a key is in the log");
    seen
}

#[test]
fn audit_of_what_administrators_do_is_in_the_log_and_in_the_table() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "audit_admin");
    let mut admin = f.admin();
    admin.run("SET application_name = 'an admin''s tool'");
    let done = administer(&f, &mut admin);
    let found: Vec<_> = trail(&server)
        .into_iter()
        .filter(|line| line["function"].is_string())
        .collect();
    let told: Vec<(String, String, String)> = found
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            assert_fields(
                line,
                json!({
                    "outcome": "ok", "session_user": "postgres", "role": "postgres", "client": "local",
                    "database": "audit_admin", "application_name": "an admin's tool",
                }),
            );
            assert!(line["xid"].is_i64(), "{line}");
            (text("event"), text("function"), text("object"))
        })
        .collect();
    for (event, function, object) in &done {
        let wanted = ((*event).to_owned(), (*function).to_owned(), object.clone());
        assert!(told.contains(&wanted), "{wanted:?} is not told: {told:#?}");
    }
    assert_eq!(told.len(), done.len(), "{told:#?}");
    // The same as rows, with the same transaction.
    let rows = admin.column(
        "SELECT format('%s %s %s %s', event, function, object, xid) FROM scope.audit_log ORDER BY at",
    );
    let lines: Vec<String> = found
        .iter()
        .zip(&told)
        .map(|(line, (event, function, object))| {
            format!("{event} {function} {object} {}", line["xid"])
        })
        .collect();
    assert_eq!(rows, lines);
    admin.assert_that(
        "NOT EXISTS (SELECT FROM scope.audit_log WHERE (login, role, application_name) <> ('postgres', 'postgres', 'an admin''s tool'))",
    );
    // The details are the fields of the line.
    let details: Value = serde_json::from_str(
        &admin.text("SELECT details FROM scope.audit_log WHERE function = 'create_readonly_role'"),
    )
    .unwrap();
    let line = one(&server, json!({ "function": "create_readonly_role" }));
    assert_eq!(details["purpose"], "a \"test\"");
    assert_fields(&line, details);
}

#[test]
fn audit_of_what_is_rolled_back_says_so() {
    let f = Fixture::new("audit_rollback");
    let mut admin = f.admin();
    admin.run("BEGIN");
    let gone = admin.issue("'orders'");
    none(f.server, json!({ "object": gone.role }));
    admin.run("ROLLBACK");
    let line = one(f.server, json!({ "object": gone.role }));
    assert_fields(&line, json!({ "event": "issue", "outcome": "rolled_back" }));
    admin.run("BEGIN");
    let kept = admin.issue("'orders'");
    admin.run("SAVEPOINT a");
    let gone = admin.issue("'orders'");
    admin.run("ROLLBACK TO a");
    assert_eq!(
        one(f.server, json!({ "object": gone.role }))["outcome"],
        "rolled_back"
    );
    admin.run("SAVEPOINT b");
    let inner = admin.issue("'orders'");
    admin.run("RELEASE b; COMMIT");
    for role in [&kept.role, &inner.role] {
        assert_eq!(one(f.server, json!({ "object": role }))["outcome"], "ok");
    }
    let objects =
        admin.column("SELECT object FROM scope.audit_log WHERE event = 'issue' ORDER BY at");
    assert_eq!(objects, [kept.role, inner.role]);
}

#[test]
fn audit_of_each_step_of_the_end() {
    let f = Fixture::new("audit_expire");
    let cred = f.admin().issue("'orders'");
    let session = f.login(&cred.role);
    f.admin()
        .run(&format!("SELECT scope.revoke_role('{}')", cred.role));
    wait_until("the role is gone", 20, || {
        !f.admin().role_exists(&cred.role)
    });
    drop(session);
    let steps = || -> BTreeSet<String> {
        find(f.server, &json!({ "event": "expire", "object": cred.role }))
            .iter()
            .map(|line| line["step"].as_str().unwrap().to_owned())
            .collect()
    };
    wait_until("the steps are told", 10, || {
        steps() == BTreeSet::from(["dropped".to_owned(), "terminated".to_owned()])
    });
    let line = one(
        f.server,
        json!({ "event": "expire", "object": cred.role, "step": "terminated" }),
    );
    assert_fields(
        &line,
        json!({ "outcome": "ok", "kind": "credential", "sessions_terminated": 1, "session_user": null }),
    );
    // At its deadline nobody has disabled it before.
    let cred = f.admin().issue("'orders'");
    f.admin().run(&format!(
        "ALTER ROLE {} VALID UNTIL '2001-01-01'",
        cred.role
    ));
    wait_until("the role is gone", 20, || {
        !f.admin().role_exists(&cred.role)
    });
    wait_until("the steps are told", 10, || {
        let lines = find(f.server, &json!({ "event": "expire", "object": cred.role }));
        let steps: Vec<_> = lines
            .iter()
            .map(|line| line["step"].as_str().unwrap_or_default())
            .collect();
        steps == ["disabled", "dropped"]
    });
}

/// What keeps a role, what has failed, and what became of it in a transaction of somebody's.
#[test]
fn audit_of_ends_that_wait_fail_or_are_rolled_back() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let (f, g) = (
        Fixture::on(&server, "audit_ends"),
        Fixture::on(&server, "audit_ends_away"),
    );
    let mut admin = f.admin();
    for role in ["audit_back", "audit_owner", "audit_away", "audit_held"] {
        admin.issue(&format!("'orders', '{role}'"));
        admin.run(&format!("ALTER ROLE {role} VALID UNTIL '2001-01-01'"));
    }
    admin.run("CREATE TABLE owned (x int); ALTER TABLE owned OWNER TO audit_owner");
    g.admin().run("GRANT SELECT ON orders TO audit_away");
    let steps = |role: &str| -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        find(&server, &json!({ "event": "expire", "object": role }))
            .iter()
            .map(|line| {
                assert_fields(
                    line,
                    json!({ "kind": "credential", "sessions_terminated": 0 }),
                );
                (
                    text(&line["step"]),
                    text(&line["outcome"]),
                    text(&line["detail"]),
                )
            })
            .collect()
    };
    let step = |step: &str, outcome: &str, detail: &str| {
        (step.to_owned(), outcome.to_owned(), detail.to_owned())
    };
    admin.run("BEGIN");
    admin.rows("SELECT * FROM scope.expire_roles()");
    assert_eq!(steps("audit_back"), []);
    admin.run("ROLLBACK");
    let owns = &format!(
        "it owns 1 object(s), among them table public.owned in database \"{}\"",
        f.name
    );
    let away = "grants in database \"audit_ends_away\" are still to be revoked";
    assert_eq!(steps("audit_back"), [step("dropped", "rolled_back", "")]);
    assert_eq!(
        steps("audit_owner"),
        [step("quarantined", "rolled_back", owns)]
    );
    assert_eq!(steps("audit_away"), [step("ending", "rolled_back", away)]);
    admin.run("BEGIN; SELECT * FROM scope.expire_roles(); PREPARE TRANSACTION 'ends'");
    assert_eq!(steps("audit_back")[1..], [step("dropped", "prepared", "")]);
    admin.run("ROLLBACK PREPARED 'ends'");
    // The worker, whom somebody keeps from one of them.
    let mut holder = f.admin();
    holder.run("BEGIN; ALTER ROLE audit_held CONNECTION LIMIT 3");
    server.alter_system("scope_roles.expiry", "on");
    wait_until("all steps are told", 40, || {
        steps("audit_back").last() == Some(&step("dropped", "ok", ""))
            && steps("audit_owner").last() == Some(&step("quarantined", "ok", owns))
            && steps("audit_away").last() == Some(&step("dropped", "ok", ""))
            && steps("audit_held")
                .last()
                .is_some_and(|(step, outcome, _)| step == "failed" && outcome == "failed")
    });
    assert!(
        steps("audit_away").contains(&step("ending", "ok", away)),
        "{:?}",
        steps("audit_away")
    );
    let (_, _, why) = steps("audit_held").pop().expect("a step");
    assert!(why.contains("lock timeout"), "{why}");
    holder.run("ROLLBACK");
    admin.run("ALTER TABLE owned OWNER TO postgres");
    for role in ["audit_held", "audit_owner"] {
        wait_until("it is dropped", 40, || {
            steps(role).last() == Some(&step("dropped", "ok", ""))
        });
    }
}

/// Whoever prepares a transaction is told by the line, since nobody knows what becomes of it.
#[test]
fn audit_of_what_is_prepared_says_so() {
    let f = Fixture::new("audit_prepared");
    let n = &f.name;
    let mut admin = f.admin();
    let (person, boss) = (f.role("person", "LOGIN"), f.role("boss", "SUPERUSER"));
    admin.run("CREATE SCHEMA shop");
    admin.run("BEGIN");
    let cred = admin.issue("'orders'").role;
    admin.run(&format!(
        "SELECT scope.renew_role('{cred}', '2 days');
         SELECT scope.rotate_password('{cred}');
         SELECT scope.set_login_policy('{cred}', allow_local => true);
         SELECT scope.revoke_role('{cred}');
         SELECT scope.create_scope('{n}_s', '{{SELECT}}', '{{orders}}');
         SELECT scope.grant_temporary('{n}_s', '{person}', '1 hour');
         SELECT scope.add_jwt_issuer('i', 'https://i', '{SECRET}');
         SELECT scope.revoke_token('a jti', now() + '1 hour');
         SELECT scope.accept_finding('superuser', '{boss}', 'sealed', '1 day')"
    ));
    none(f.server, json!({ "database": n, "role": "postgres" }));
    admin.run(&format!("PREPARE TRANSACTION '{n}'"));
    let prepared = find(
        f.server,
        &json!({ "database": n, "outcome": "prepared", "role": "postgres" }),
    );
    let events: BTreeSet<&str> = prepared
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    let all = [
        "issue",
        "issuer",
        "policy",
        "renew",
        "review",
        "revoke",
        "rotate",
        "scope",
        "temporary",
        "token",
    ];
    assert_eq!(events, BTreeSet::from(all), "{prepared:#?}");
    admin.run(&format!("ROLLBACK PREPARED '{n}'"));
    let builder = admin.handed("scope.create_admin_role('{shop}')").role;
    f.login(&builder).run(&format!(
        "BEGIN; CREATE VIEW shop.v AS SELECT 1; PREPARE TRANSACTION '{n}'"
    ));
    let line = one(f.server, json!({ "event": "ddl", "session_user": builder }));
    assert_fields(
        &line,
        json!({ "outcome": "prepared", "objects": ["shop.v"] }),
    );
    admin.run(&format!("COMMIT PREPARED '{n}'"));
}

#[test]
fn audit_of_ddl_by_managed_and_switched_roles_only() {
    let w = Web::new("audit_ddl");
    let mut admin = w.f.admin();
    admin.run(&format!(
        "CREATE SCHEMA shop; GRANT CREATE, USAGE ON SCHEMA shop TO {}",
        w.user
    ));
    let mut session = w.switched("builder");
    session.run("CREATE TABLE shop.a (id int); CREATE INDEX ON shop.a (id); SAVEPOINT x; DROP TABLE shop.a; ROLLBACK TO x");
    session.run("CREATE TABLE shop.\"B\" AS SELECT 1 AS one; SELECT * FROM shop.a; SET LOCAL work_mem = '1MB'; COMMIT");
    let lines = find(
        w.server(),
        &json!({ "event": "ddl", "session_user": w.web }),
    );
    let told: Vec<(&str, &Value, &str)> = lines
        .iter()
        .map(|line| {
            assert_fields(line, json!({ "subject": "builder", "role": w.user }));
            (
                line["tag"].as_str().unwrap(),
                &line["objects"],
                line["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("DROP TABLE", &json!(["shop.a"]), "rolled_back"),
            ("CREATE TABLE", &json!(["shop.a"]), "ok"),
            ("CREATE INDEX", &json!(["shop.a"]), "ok"),
            ("CREATE TABLE AS", &json!(["shop.\"B\""]), "ok"),
        ]
    );
    let cred = admin.handed("scope.create_admin_role('{shop}')");
    w.f.login(&cred.role).run("CREATE VIEW shop.v AS SELECT 1");
    let line = one(
        w.server(),
        json!({ "event": "ddl", "session_user": cred.role }),
    );
    assert_fields(
        &line,
        json!({ "tag": "CREATE VIEW", "objects": ["shop.v"] }),
    );
    none(
        w.server(),
        json!({ "event": "ddl", "session_user": "postgres" }),
    );
}

/// Of everything that can happen there.
#[test]
fn audit_on_a_standby() {
    let primary = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&primary, "audit_standby");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let scope = admin.scope_of(&cred.role);
    let web = admin
        .handed(&format!(
            "scope.create_authenticator('audit_standby_api', '{{{scope}}}')"
        ))
        .role;
    admin.run(&format!(
        "SELECT scope.set_guard('{scope}', max_rows => 1, action => 'alert');
         SELECT scope.set_guard('{scope}', NULL, forbid => '{{do}}')"
    ));
    let standby = primary.standby(
        Options::default()
            .set("scope_roles.expiry", "on")
            .set("scope_roles.audit", "all"),
    );
    let mut session = standby.login(&cred.role, "audit_standby");
    session.denied("SELECT * FROM vault", "42501");
    let of_cred = |event: &str| json!({ "event": event, "session_user": cred.role });
    assert_eq!(one(&standby, of_cred("login"))["outcome"], "ok");
    let line = one(&standby, of_cred("denied"));
    assert_fields(&line, json!({ "xid": null, "tag": "SELECT" }));

    let token = |role: &str| sign(&json!({ "role": role, "exp": now() + 600, "sub": "alice" }));
    let switch = |role: &str| format!("SELECT scope.set_jwt_role({})", literal(&token(role)));
    let mut switched = standby.login(&web, "audit_standby");
    switched.refused(&switch("postgres"), "42501");
    switched.run(&format!("BEGIN; {}; SAVEPOINT a", switch(&scope)));
    assert_eq!(switched.rows("SELECT * FROM orders").len(), 2);
    for attack in ["RESET ROLE", "DO $$ BEGIN END $$"] {
        switched.denied(attack, "42501");
        switched.run("ROLLBACK TO a");
    }
    switched.run("COMMIT");
    let of_web = |event: &str, outcome: &str| json!({ "event": event, "outcome": outcome, "session_user": web });
    let alice = json!({ "subject": "alice", "role": scope, "xid": null });
    one(&standby, of_web("switch", "refused"));
    for (event, outcome) in [
        ("switch", "ok"),
        ("lock_violation", "refused"),
        ("alert", "ok"),
        ("alert", "refused"),
    ] {
        assert_fields(&one(&standby, of_web(event, outcome)), alice.clone());
    }
    let read = json!({ "event": "statement", "session_user": web, "reads": ["public.orders"] });
    let line = one(&standby, read);
    assert_fields(&line, alice);
    assert_fields(
        &line,
        json!({ "outcome": "ok", "tag": "SELECT", "rows": 2 }),
    );

    // The primary ends nobody's sessions here.
    admin.run(&format!("SELECT scope.revoke_role('{}')", cred.role));
    wait_until("the session is ended", 20, || {
        session.attempt("SELECT 1").is_err()
    });
    let ended = json!({ "event": "expire", "object": cred.role });
    wait_until("it is told", 10, || !find(&standby, &ended).is_empty());
    assert_fields(
        &one(&standby, ended),
        json!({ "step": "terminated", "outcome": "ok", "sessions_terminated": 1 }),
    );
    none(&primary, json!({ "event": "expire" }));
}

#[test]
fn audit_records_the_classes_that_are_asked_for() {
    let server = Server::start(Options::default().set("scope_roles.audit", "switch"));
    let f = Fixture::on(&server, "audit_classes");
    let cred = f.admin().issue("'orders'");
    f.login(&cred.role).denied("SELECT * FROM vault", "42501");
    assert_eq!(trail(&server), Vec::<Value>::new());
    f.admin()
        .assert_that("NOT EXISTS (SELECT FROM scope.audit_log)");
    server.alter_system("scope_roles.audit", "denied");
    f.login(&cred.role).denied("SELECT * FROM vault", "42501");
    one(
        &server,
        json!({ "event": "denied", "session_user": cred.role }),
    );
    assert_eq!(trail(&server).len(), 1);
    // What is no class is not taken.
    let refused = f
        .admin()
        .fails("ALTER SYSTEM SET scope_roles.audit = 'denied, everything'");
    assert_eq!(refused.code, "22023");
    let mut session = f.login(&cred.role);
    assert_eq!(
        session.fails("SET scope_roles.audit = 'none'").code,
        "55P02"
    );
}

/// As log shippers read it: PostgreSQL's own collector, with the message in a field of its own.
#[test]
fn audit_through_the_collector() {
    let server = Server::start(
        Options::default()
            .set("logging_collector", "on")
            .set("log_destination", "jsonlog,csvlog")
            .set("log_filename", "server.log"),
    );
    let f = Fixture::on(&server, "audit_collector");
    // Longer than the pipe to the collector takes at once.
    let cred = f.admin().issue("'orders'");
    let long = "\u{202e}\n".repeat(3_000);
    f.login(&cred.role).denied(
        &format!(
            "DO $x$ BEGIN RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = {}; END $x$",
            literal(&long)
        ),
        "42501",
    );
    let read = |name: &str| {
        std::fs::read_to_string(server.data().join("log").join(name)).unwrap_or_default()
    };
    let denied = || -> Vec<Value> {
        let log = read("server.json");
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("jsonlog"))
            .filter_map(|line| {
                let message = line["message"].as_str()?.strip_prefix(PREFIX)?.to_owned();
                let audit: Value = serde_json::from_str(&message).expect("a line of ours");
                schema::check(&audit);
                assert!(
                    line["statement"].is_null() && line["context"].is_null(),
                    "{line}"
                );
                (audit["event"] == "denied").then_some(audit)
            })
            .collect()
    };
    wait_until("the collector has written the line", 10, || {
        denied().len() == 1
    });
    let message = denied().remove(0)["message"].as_str().unwrap().to_owned();
    assert_eq!(message, format!("{long}"));
    wait_until("so has it into csvlog", 10, || {
        read("server.csv").contains("\"scope_roles audit: {\"\"event\"\":\"\"denied\"\"")
    });
}

/// What a line of the log begins with, up to its message, and the message.
fn split(line: &str) -> Option<(&str, &str)> {
    ["LOG:  ", "WARNING:  "].into_iter().find_map(|severity| {
        let at = line.find(severity)? + severity.len();
        Some(line.split_at(at))
    })
}

/// Lines of ours are put together by ourselves where that is quicker: nobody can tell, whatever the prefix.
#[test]
fn audit_lines_begin_as_the_servers_own_do() {
    let server = Server::start(Options::default().set("scope_roles.audit", "all"));
    let f = Fixture::on(&server, "audit_prefix");
    let cred = f.admin().issue("'orders'");
    f.admin().run(&format!(
        "SELECT scope.set_guard('{}', max_rows => 1, action => 'alert')",
        cred.role
    ));
    for (number, (prefix, zone)) in [
        ("%m [%p] ", "Etc/UTC"),
        ("%m [%p] %q%u@%d ", "America/New_York"),
        ("100%% %a|%e|%u %m %", "Asia/Kolkata"),
        ("", "Etc/UTC"),
        // Left to the server.
        ("%t %h %-9p %l %c ", "Asia/Tokyo"),
        ("<%5p %12u> ", "Etc/UTC"),
    ]
    .into_iter()
    .enumerate()
    {
        server.alter_system("log_timezone", zone);
        server.alter_system("log_line_prefix", prefix);
        for application in ["", "p%sql \u{e4}"] {
            let mut session = f.login(&cred.role);
            session.run(&format!("SET application_name = {}", literal(application)));
            let (ours, theirs) = (format!("mark_{number}_a"), format!("mark_{number}_b"));
            // Ours comes first: it tells the tag when the statement begins to be run, and is written when it ends.
            session.run(&format!("SELECT id AS {ours} FROM orders"));
            session.run(&format!("DO $$ BEGIN RAISE LOG '{theirs}'; END $$"));
            let log = server.log();
            let beginning = |is_it: &dyn Fn(&str) -> bool| {
                let line = log
                    .lines()
                    .rev()
                    .filter_map(split)
                    .find(|(_, message)| is_it(message));
                line.unwrap_or_else(|| panic!("{prefix}: no line in\n{log}"))
                    .0
                    .to_owned()
            };
            let pid = session.text("SELECT pg_backend_pid()");
            let of_session = format!("\"pid\":{pid},");
            let own = beginning(&|message| {
                message.starts_with(PREFIX)
                    && message.contains("\"event\":\"statement\"")
                    && message.contains(&of_session)
            });
            let server_s = beginning(&|message| message == theirs);
            // Digits differ: the time, and what counts lines.
            let shape = |text: &str| text.replace(|digit: char| digit.is_ascii_digit(), "0");
            assert_eq!(shape(&own), shape(&server_s), "{prefix}");
            if prefix.contains("%m") {
                let minute = |text: &str| text.split(':').nth(1).map(str::to_owned);
                let hour = |text: &str| text.split(':').next().map(str::to_owned);
                assert!(
                    hour(&own) == hour(&server_s) || minute(&own) != minute(&server_s),
                    "{own} {server_s}"
                );
            }
            if prefix.starts_with("%m") {
                // The same moment as in the line itself, in the zone of the log.
                let shown: String = f.admin().text(&format!(
                    "SELECT abs(extract(epoch FROM now() - {}::timestamptz)) < 60",
                    literal(&format!("{} {zone}", own.get(..23).unwrap_or_default()))
                ));
                assert_eq!(shown, "t", "{own}");
            }
            let alert = log.lines().rev().filter_map(split).find(|(_, message)| {
                message.starts_with(PREFIX)
                    && message.contains("\"event\":\"alert\"")
                    && message.contains(&of_session)
            });
            let (alert, _) = alert.expect("the guard's line");
            assert_eq!(
                shape(alert)
                    .replace("WARNING", "LOG")
                    .replace("01000", "00000"),
                shape(&own),
                "{prefix}"
            );
        }
    }
    // More than the message: the server's own business.
    server.alter_system("log_line_prefix", "%m ");
    server.alter_system("log_error_verbosity", "verbose");
    f.login(&cred.role).run("SELECT id AS verbose FROM orders");
    assert!(
        server
            .log()
            .lines()
            .any(|line| line.contains("LOG:  00000: scope_roles audit: "))
    );
}

/// Lines as long as they can be, whole and one by one, from many sessions at once.
#[test]
fn audit_lines_of_many_sessions_stay_whole() {
    let collected = Server::start(
        Options::default()
            .set("logging_collector", "on")
            .set("log_filename", "server.log")
            .set("scope_roles.audit", "statement")
            .set("scope_roles.audit_text", "full"),
    );
    let f = Fixture::on(&collected, "audit_whole");
    let cred = f.admin().issue("'orders'");
    const SESSIONS: usize = 4;
    const TIMES: usize = 25;
    std::thread::scope(|scope| {
        for number in 0..SESSIONS {
            let mut session = f.login(&cred.role);
            scope.spawn(move || {
                for time in 0..TIMES {
                    let text = format!("{number}").repeat(700 * time);
                    session.run(&format!("SELECT id, '{text}' FROM orders"));
                }
            });
        }
    });
    let lines = || -> Vec<Value> {
        let log =
            std::fs::read_to_string(collected.data().join("log/server.log")).unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole
            .lines()
            .filter_map(|line| split(line)?.1.strip_prefix(PREFIX))
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .filter(|line: &Value| line["reads"][0] == "public.orders")
            .collect()
    };
    wait_until("the collector has written all", 30, || {
        lines().len() == SESSIONS * TIMES
    });
}

/// The document and the code know the same names of events; that each is written, the tests above see.
#[test]
fn audit_document_names_every_event() {
    let source = include_str!("../../../src/audit/event.rs");
    let names = source
        .split_once("pub fn name(&self)")
        .expect("the names")
        .1;
    let actions = source.split_once("impl Action").expect("the actions").1;
    for event in schema::events() {
        let quoted = format!("\"{event}\"");
        assert!(
            names.contains(&quoted) || actions.contains(&quoted),
            "{event} is documented only"
        );
    }
    let documented = schema::events();
    let quoted = |text: &str| -> Vec<String> {
        let until = text.split_once("\n    }\n").map_or(text, |(body, _)| body);
        until
            .split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    for name in quoted(names).into_iter().chain(quoted(actions)) {
        assert!(documented.contains(&name), "{name} is not documented");
    }
}

#[test]
fn audit_of_a_switch_names_who_acts_for_whom() {
    let w = Web::new("audit_actors");
    let mut session = w.f.login(&w.web);
    let claims = |more: Value| {
        let mut claims = json!({ "role": w.user, "sub": "ann", "iss": "https://id.example.org", "jti": "1", "exp": now() + 600 });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        claims
    };
    let chain = json!({"sub": "web\u{2028}\n", "iss": "https://x", "act": {"client_id": "none", "act": {"sub": "cron"}}});
    let many = (0..20).fold(
        json!({"sub": "first"}),
        |act, number| json!({"sub": format!("a{number}"), "act": act}),
    );
    for (more, line, actor) in [
        (
            json!({}),
            json!({"act": null, "azp": null, "client_id": null}),
            "",
        ),
        (
            json!({"act": chain, "azp": "portal", "client_id": "app-1"}),
            json!({"act": ["web\u{2028}\n", "cron"], "azp": "portal", "client_id": "app-1"}),
            "cron",
        ),
        (
            json!({"act": {"sub": "a", "act": {"iss": "x"}}, "azp": 5, "client_id": null}),
            json!({"act": ["a"], "azp": null, "client_id": null}),
            "",
        ),
        (json!({"act": "ann"}), json!({"act": null}), ""),
        (
            json!({"act": [{"sub": "x"}], "azp": ""}),
            json!({"act": null, "azp": ""}),
            "",
        ),
        (
            json!({ "act": many }),
            json!({"act": ["a19", "a18", "a17", "a16", "a15", "a14", "a13", "a12"]}),
            "first",
        ),
    ] {
        session.run(&format!(
            "BEGIN; SET LOCAL application_name = 'before'; SELECT scope.set_jwt_role({})",
            literal(&sign(&claims(more)))
        ));
        assert_eq!(
            session.text("SELECT coalesce(scope.jwt_actor(), '')"),
            actor,
            "{line}"
        );
        session.denied("SELECT * FROM vault", "42501");
        session.run("ROLLBACK");
        let found = find(
            w.server(),
            &json!({ "event": "switch", "session_user": w.web }),
        );
        assert_fields(found.last().unwrap(), line);
        // The actors are in the line of the switch, which the others are found with.
        let found = find(
            w.server(),
            &json!({ "event": "denied", "session_user": w.web }),
        );
        assert_fields(
            found.last().unwrap(),
            json!({"subject": "ann", "act": null, "azp": null, "client_id": null}),
        );
    }
    session.assert_that("scope.jwt_actor() IS NULL");
}
