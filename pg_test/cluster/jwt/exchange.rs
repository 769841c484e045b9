//! Logins for the holders of tokens.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::issuers::{ED, claims, register};
use super::single_use::has_counted;
use super::{Gate, switch, switch_session};
use crate::harness::*;

fn gate(name: &str) -> Gate<'static> {
    let g = Gate::new(name);
    register(&g, "corp", &jwks(&[&ED]), "");
    g.f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.exchange_token TO {}, {}",
        g.auth, g.reader
    ));
    g
}

fn token(g: &Gate, more: Value) -> String {
    ED.token("EdDSA", &claims(g, "corp", more))
}

fn exchange(token: &str, more: &str) -> String {
    format!("scope.exchange_token({}{more})", literal(token))
}

fn call(token: &str, more: &str) -> String {
    format!("SELECT * FROM {}", exchange(token, more))
}

fn enter(g: &Gate, cred: &Credential) -> Result<Session, Refusal> {
    g.f.server
        .try_password(&cred.role, &cred.password, &g.f.name)
}

/// The login is refused, and its session no longer serves.
#[track_caller]
fn has_ended(g: &Gate, cred: &Credential, session: &mut Session) {
    let refusal = match enter(g, cred) {
        Ok(_) => panic!("a login after the end"),
        Err(refusal) => refusal,
    };
    assert!(
        ["28000", "28P01"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    let refusal = session.fails("SELECT 1");
    assert!(
        ["28000", "57P01", "08P01", ""].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    let mut admin = g.f.admin();
    wait_until("the login is gone", 20, || !admin.role_exists(&cred.role));
}

#[test]
fn the_holder_of_a_token_gets_a_login_of_its_role() {
    let g = gate("jwt_exchange");
    let exp = now() + 900;
    let token = token(&g, json!({"exp": exp, "jti": "t-1", "iat": now()}));
    let mut s = g.login();
    let cred = s.handed(&exchange(&token, ", purpose => 'psql of ann'"));
    let mut admin = g.f.admin();
    assert_eq!(
        admin.text(&format!(
            "SELECT concat_ws(' ', kind, state, scopes, extract(epoch FROM valid_until)::bigint, purpose, created_by, token_issuer, token_subject, token_id)
               FROM scope.credentials WHERE role = '{}'", cred.role)),
        format!("credential active {{{}}} {exp} psql of ann postgres https://corp.example.org/ ann t-1", g.reader)
    );
    let mut psql = enter(&g, &cred).expect("a login");
    assert_eq!(psql.text("SELECT current_user"), g.reader);
    assert_eq!(psql.text("SELECT count(*) FROM orders"), "2");
    psql.denied("INSERT INTO orders VALUES (9, 'x')", "42501");
    psql.denied(&format!("SET ROLE {}", g.writer), "42501");
    psql.run("RESET ROLE; SET ROLE NONE");
    psql.denied("SELECT * FROM orders", "42501");
    psql.run(&format!("SET ROLE {}", g.reader));
    // No more than the token, and nothing of it: it has no claims.
    assert_eq!(
        psql.text("SELECT coalesce(scope.jwt_subject(), 'none')"),
        "none"
    );
    // It manages no role, itself neither; nor does the login that has passed the token on.
    for (mut who, sql) in [
        (
            enter(&g, &cred).expect("a login"),
            format!("SELECT scope.renew_role('{}', '1 year')", cred.role),
        ),
        (
            enter(&g, &cred).expect("a login"),
            format!("ALTER ROLE {} VALID UNTIL 'infinity'", cred.role),
        ),
        (
            enter(&g, &cred).expect("a login"),
            format!("ALTER ROLE {} PASSWORD 'x'", cred.role),
        ),
        (
            g.login(),
            format!("SELECT scope.revoke_role('{}')", cred.role),
        ),
        (
            g.login(),
            format!("SELECT scope.rotate_password('{}')", cred.role),
        ),
        (g.login(), format!("SET ROLE {}", cred.role)),
    ] {
        who.denied(&sql, "42501");
    }
    // Nobody makes it last longer, or hands it on.
    for sql in [
        format!("SELECT scope.renew_role('{}', '1 hour')", cred.role),
        format!("SELECT scope.rotate_password('{}')", cred.role),
        format!("SELECT scope.rotate_password('{}', '1 hour')", cred.role),
    ] {
        admin.refused(&sql, "55000");
    }
    // All is as it was issued.
    let findings = admin.column(
        "SELECT code || ' ' || coalesce(role_name, '') || ' ' || finding FROM scope.review()",
    );
    let about: Vec<_> = findings
        .iter()
        .filter(|finding| finding.contains("_widened "))
        .filter(|finding| finding.contains(&cred.role) || finding.contains(&g.auth))
        .collect();
    assert!(about.is_empty(), "{about:?}");
    assert_eq!(
        admin.text(&format!("SELECT details ->> 'token_subject' FROM scope.audit_log WHERE function = 'exchange_token' AND object = '{}'", cred.role)),
        "ann"
    );
    let comment = admin.text(&format!(
        "SELECT shobj_description('{}'::regrole, 'pg_authid')",
        cred.role
    ));
    assert!(
        comment.contains("issued for a token of ann, ends by"),
        "{comment}"
    );
    admin.run(&format!("SELECT scope.revoke_role('{}')", cred.role));
    has_ended(&g, &cred, &mut psql);
    assert_eq!(g.login().text("SELECT 1"), "1");
}

#[test]
fn an_authenticator_exchanges_once_it_may() {
    let g = gate("jwt_exchange_by");
    let mut admin = g.f.admin();
    let auth = admin.handed(&format!(
        "scope.create_authenticator('jwt_exchange_by_service', ARRAY['{}'], valid_for => '10 minutes')",
        g.reader
    ));
    let mut service = enter(&g, &auth).expect("a login");
    let of_minutes = token(&g, json!({"exp": now() + 3600}));
    service.denied(&call(&of_minutes, ""), "42501");
    admin.run("GRANT EXECUTE ON FUNCTION scope.exchange_token TO jwt_exchange_by_service");
    service.refused_with(
        &call(&token(&g, json!({"role": g.writer})), ""),
        "42501",
        "role_not_granted",
    );
    // What it passes on does not outlive it.
    let cred = service.handed(&exchange(&of_minutes, ""));
    admin.assert_that(&format!(
        "timestamptz '{}' < now() + interval '11 minutes'",
        cred.valid_until
    ));
    assert_eq!(
        enter(&g, &cred)
            .expect("a login")
            .text("SELECT current_user"),
        g.reader
    );
    // In a function of the administrator's, with options that are not the caller's to choose.
    admin.run(&format!(
        "CREATE FUNCTION exchange_here(token text, OUT uri text) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
           RETURN (SELECT connection_uri FROM scope.exchange_token(token, allowed_ips => '{{192.0.2.7/32}}', allow_local => false));
         GRANT EXECUTE ON FUNCTION exchange_here TO {0};
         REVOKE EXECUTE ON FUNCTION scope.exchange_token FROM jwt_exchange_by_service, {0}",
        g.auth
    ));
    let mut s = g.login();
    s.run(&format!("SELECT exchange_here({})", literal(&of_minutes)));
    s.refused_with(
        &format!(
            "SELECT exchange_here({})",
            literal(&token(&g, json!({"role": "postgres"})))
        ),
        "42501",
        "role_privileged",
    );
    let findings =
        admin.column("SELECT code || ' ' || coalesce(role_name, '') FROM scope.review()");
    assert!(
        !findings.contains(&"authenticator_widened jwt_exchange_by_service".to_owned()),
        "{findings:?}"
    );
    admin.run("GRANT EXECUTE ON FUNCTION scope.exchange_token TO jwt_exchange_by_service");
    let findings =
        admin.column("SELECT code || ' ' || coalesce(role_name, '') FROM scope.review()");
    assert!(
        !findings.contains(&"authenticator_widened jwt_exchange_by_service".to_owned()),
        "{findings:?}"
    );
}

#[test]
fn exchange_gives_no_more_than_a_switch() {
    let g = gate("jwt_exchange_more");
    let mut s = g.login();
    for (more, arguments, code, word) in [
        (json!({"role": "postgres"}), "", "42501", "role_privileged"),
        (json!({"role": g.auth}), "", "42501", "role_is_login"),
        (
            json!({"role": "pg_read_all_data"}),
            "",
            "42501",
            "role_reserved",
        ),
        (json!({"role": null}), "", "28000", "role_missing"),
        (json!({}), ", claim => 'sub'", "42501", "role_unknown"),
        (json!({"sub": null}), "", "28000", "missing_sub"),
        (json!({"sub": ""}), "", "28000", "missing_sub"),
        (
            json!({"sub": "x".repeat(400)}),
            "",
            "28000",
            "too_long_to_keep",
        ),
        // Leeway is no reason for a login.
        (json!({"exp": now() - 5}), "", "28000", "expired"),
        (json!({"aud": 5}), "", "28000", "claim_type"),
    ] {
        s.refused_with(&call(&token(&g, more), arguments), code, word);
    }
    let good = token(&g, json!({}));
    for (call, code) in [
        ("SELECT scope.exchange_token(NULL)".to_owned(), "28000"),
        ("SELECT scope.exchange_token('')".to_owned(), "28000"),
        (call(&good, ", valid_for => '-1 s'"), "22023"),
        (call(&good, ", valid_for => '100 years'"), "22023"),
        (call(&good, ", connection_limit => -5"), "22023"),
        (
            call(&good, &format!(", purpose => '{}'", "x".repeat(201))),
            "22023",
        ),
        (call(&good, ", claim => '.x['"), "22023"),
        (format!("BEGIN READ ONLY; {}", call(&good, "")), "25006"),
    ] {
        s.refused(&call, code);
        s.attempt("ROLLBACK").ok();
    }
    let mut admin = g.f.admin();
    assert_eq!(
        admin.text(&format!(
            "SELECT count(*) FROM scope.credentials WHERE database = '{}'",
            g.f.name
        )),
        "0"
    );
    // It ends sooner than the token if asked to, and never later.
    let exp = now() + 120;
    for (more, least, most) in [
        (", valid_for => '1 minute'", exp - 70, exp - 50),
        (", valid_for => '1 day'", exp, exp),
    ] {
        let cred = s.handed(&exchange(&token(&g, json!({"exp": exp})), more));
        let end: i64 = admin
            .text(&format!(
                "SELECT extract(epoch FROM timestamptz '{}')::bigint",
                cred.valid_until
            ))
            .parse()
            .expect("a number");
        assert!((least..=most).contains(&end), "{end} for {exp}");
    }
    // The label has room for all that comes: networks, a purpose, a reason, in the worst spelling.
    let networks = |count: usize| {
        let all: Vec<String> = (0..count)
            .map(|n| format!("2001:db8:{n:x}:ffff:ffff:ffff:ffff:0/112"))
            .collect();
        format!("'{{{}}}'", all.join(","))
    };
    let owner = "\u{1}".repeat(63);
    admin.run(&format!(
        "CREATE ROLE \"{owner}\"; ALTER DATABASE {} OWNER TO \"{owner}\"",
        g.f.name
    ));
    let long = token(&g, json!({"sub": "\u{1}".repeat(54), "jti": "j"}));
    let purpose = format!(
        "purpose => repeat(chr(1), 200), allowed_ips => {}",
        networks(15)
    );
    s.refused(&call(&long, &format!(", {purpose}")), "54000");
    let few = format!(
        ", purpose => repeat(chr(1), 200), allowed_ips => {}",
        networks(6)
    );
    let cred = s.handed(&exchange(&long, &few));
    admin.refused(
        &format!(
            "SELECT scope.set_login_policy('{}', allowed_ips => {})",
            cred.role,
            networks(15)
        ),
        "54000",
    );
    admin.run(&format!(
        "SELECT scope.revoke_role('{}', repeat(chr(1), 200))",
        cred.role
    ));
    wait_until("the login is gone", 20, || !admin.role_exists(&cred.role));
    // Who may not call it by default: anybody.
    admin.run(&format!(
        "REVOKE EXECUTE ON FUNCTION scope.exchange_token FROM {}",
        g.auth
    ));
    s.denied(&call(&good, ""), "42501");
    // Under a switch it is the role's to call.
    s.run(&switch_session(&good));
    let cred = s.handed(&exchange(&good, ""));
    assert_eq!(
        enter(&g, &cred)
            .expect("a login")
            .text("SELECT current_user"),
        g.reader
    );
}

#[test]
fn attack_more_logins_than_a_subject_may_have() {
    let g = gate("jwt_exchange_limit");
    let mut s = g.login();
    const SESSIONS: usize = 9;
    let (barrier, won) = (Barrier::new(SESSIONS), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| {
                // Each another token of theirs.
                let id = format!("crowd-{:?}", thread::current().id());
                let token = token(&g, json!({"sub": "crowd", "jti": id}));
                let mut s = g.login();
                barrier.wait();
                match s.attempt(&call(&token, "")) {
                    Ok(_) => won.fetch_add(1, Ordering::Relaxed),
                    Err(refusal) => {
                        assert_eq!(refusal.code, "53400", "{refusal}");
                        0
                    }
                };
            });
        }
    });
    assert_eq!(won.into_inner(), 3);
    let crowd = token(&g, json!({"sub": "crowd"}));
    let refusal = s.refused(&call(&crowd, ""), "53400");
    assert!(
        refusal.detail.contains("The first of them ends at"),
        "{refusal}"
    );
    // Of others there may be more, and one that has ended makes room.
    s.run(&call(&token(&g, json!({"sub": "ben"})), ""));
    let mut admin = g.f.admin();
    admin.run("SELECT scope.revoke_role(role) FROM scope.credentials WHERE token_subject = 'crowd' LIMIT 1");
    s.run(&call(&crowd, ""));
    s.refused(&call(&crowd, ""), "53400");
    // What is undone was none.
    admin.run("SELECT scope.revoke_role(role) FROM scope.credentials WHERE token_subject = 'crowd' AND state = 'active' LIMIT 1");
    for _ in 0..3 {
        s.denied(
            &format!(
                "SELECT 1 / (length(password) - length(password)) FROM {}",
                exchange(&crowd, "")
            ),
            "22012",
        );
    }
    s.run(&call(&crowd, ""));
}

#[test]
fn attack_a_login_whose_token_is_revoked() {
    let g = gate("jwt_exchange_revoked");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let far = "now() + interval '1 day'";
    let iss = "https://corp.example.org/";
    for (number, revocation) in [
        format!("SELECT scope.revoke_token('t-ID', {far})"),
        format!("SELECT scope.revoke_token('t-ID', {far}, '{iss}')"),
        "SELECT scope.revoke_subject('s-ID', now())".to_owned(),
        format!("SELECT scope.revoke_subject('s-ID', now(), '{iss}')"),
        "SELECT scope.revoke_subject('s-ID', now(), 'corp')".to_owned(),
        "SELECT scope.revoke_subject('s-ID', now(), '')".to_owned(),
        format!("SELECT scope.revoke_token('t-ID', {far}, '')"),
        "SELECT scope.alter_jwt_issuer('corp', '{\"issuer\": \"https://else\"}')".to_owned(),
        "SELECT scope.drop_jwt_issuer('corp')".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let revocation = revocation.replace("ID", &number.to_string());
        let of = |id: usize, iat: i64| {
            token(
                &g,
                json!({"jti": format!("t-{id}"), "sub": format!("s-{id}"), "iat": iat}),
            )
        };
        let cred = s.handed(&exchange(&of(number, now() - 5), ""));
        let other = s.handed(&exchange(&of(100 + number, now() - 5), ""));
        let mut session = enter(&g, &cred).expect("a login");
        // Of others none ends, nor of issuers, subjects and times that are not those.
        for harmless in [
            format!("SELECT scope.revoke_token('s-{number}', {far})"),
            format!("SELECT scope.revoke_token('t-{number}', {far}, 'https://other')"),
            format!("SELECT scope.revoke_subject('s-{number}', now() - interval '1 hour')"),
        ] {
            admin.run(&harmless);
        }
        assert_eq!(session.text("SELECT count(*) FROM orders"), "2");
        // Undone, it was none.
        admin.run(&format!("BEGIN; {revocation}; ROLLBACK"));
        assert_eq!(session.text("SELECT count(*) FROM orders"), "2");
        admin.run(&revocation);
        has_ended(&g, &cred, &mut session);
        let of_issuer = revocation.contains("jwt_issuer");
        assert_eq!(enter(&g, &other).is_err(), of_issuer, "{revocation}");
        if revocation.contains("else") {
            admin.run(&format!("SELECT scope.alter_jwt_issuer('corp', '{{\"issuer\": \"{iss}\"}}'); SELECT scope.set_jwt_keys('corp', {})", literal(&jwks(&[&ED]))));
        }
        if !of_issuer {
            s.refused_with(&call(&of(number, now() - 5), ""), "28000", "revoked");
        }
    }
}

#[test]
fn a_token_that_is_good_once_is_exchanged_once() {
    let g = gate("jwt_exchange_once");
    let mut admin = g.f.admin();
    admin.run("SELECT scope.alter_jwt_issuer('corp', '{\"single_use\": true}')");
    has_counted(shared());
    let mut s = g.login();
    let once = |id: &str| token(&g, json!({"jti": id, "iat": now()}));
    let first = once("exchange-1");
    // What is refused for another reason uses nothing up.
    for (more, code) in [
        (", valid_for => '-1 s'", "22023"),
        (", valid_for => '100 years'", "22023"),
    ] {
        s.refused(&call(&first, more), code);
    }
    s.refused(&format!("BEGIN; {}", call(&first, "")), "25001");
    s.attempt("ROLLBACK").ok();
    s.refused(
        &call(&first, &format!(", purpose => '{}'", "x".repeat(201))),
        "22023",
    );
    s.run(&call(&first, ""));
    s.refused_with(&call(&first, ""), "28000", "replayed");
    s.refused_with(&format!("BEGIN; {}", switch(&first)), "28000", "replayed");
    s.run("ROLLBACK");
    let second = once("exchange-2");
    s.run(&format!("BEGIN; {}; COMMIT", switch(&second)));
    s.refused_with(&call(&second, ""), "28000", "replayed");
    let (third, fourth) = (once("exchange-3"), once("exchange-4"));
    s.denied(
        &format!(
            "SELECT 1 / (length(password) - length(password)) FROM {}",
            exchange(&third, "")
        ),
        "22012",
    );
    s.refused_with(&call(&third, ""), "28000", "replayed");
    for id in ["exchange-5", "exchange-6"] {
        s.run(&call(&once(id), ""));
    }
    s.refused(&call(&fourth, ""), "53400");
    s.run(&format!("BEGIN; {}; COMMIT", switch(&fourth)));
}

/// Until it is committed nobody else is given the role, or loses it; and who has a token has no say over that.
#[test]
fn attack_an_exchange_that_is_kept_open() {
    let g = gate("jwt_exchange_open");
    let good = token(&g, json!({}));
    let mut s = g.login();
    for held in [
        format!("BEGIN; {}", call(&good, "")),
        format!("SELECT 1; {}", call(&good, "")),
        format!("{}; BEGIN", call(&good, "")),
        format!("SAVEPOINT a; {}", call(&good, "")),
        format!("BEGIN; SAVEPOINT a; {}", call(&good, "")),
        format!(
            "DO $$ BEGIN PERFORM {}; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
            exchange(&good, "")
        ),
    ] {
        let refusal = s.fails(&held);
        assert!(
            ["25001", "25P01"].contains(&refusal.code.as_str()),
            "{held}: {refusal}"
        );
        s.attempt("ROLLBACK").ok();
    }
    // Without Sync it is committed as well.
    let mut wire = Wire::open(g.f.server, &g.auth, &g.f.name);
    wire.bind("", &call(&good, ""));
    wire.execute("", 0);
    wire.send(Some(b'H'), b"");
    let mut admin = g.f.admin();
    wait_until("the login is there", 20, || {
        admin.holds("EXISTS (SELECT FROM scope.credentials WHERE token_issuer = 'https://corp.example.org/' AND database = current_database())")
    });
    admin.run(&format!(
        "SET lock_timeout = '5s'; REVOKE {} FROM {}; GRANT {0} TO {1}",
        g.reader, g.auth
    ));
}

/// The revocation saw no login yet, and the call no revocation.
#[test]
fn attack_an_exchange_that_is_committed_after_the_revocation() {
    let g = gate("jwt_exchange_race");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let far = "now() + interval '1 day'";
    for (number, (revocation, code, word)) in [
        (
            format!("SELECT scope.revoke_token('late-0', {far})"),
            "28000",
            "revoked",
        ),
        (
            "SELECT scope.revoke_subject('late-1', now())".to_owned(),
            "28000",
            "revoked",
        ),
        (
            format!("SELECT scope.revoke_token('late-2', {far}, 'corp')"),
            "28000",
            "revoked",
        ),
        (
            "SELECT scope.drop_jwt_issuer('corp')".to_owned(),
            "28000",
            "unknown_issuer",
        ),
    ]
    .iter()
    .enumerate()
    {
        let id = format!("late-{number}");
        let token = token(&g, json!({"jti": id, "sub": id, "iat": now() - 5}));
        let mut slow = g.f.admin();
        slow.run(&format!("BEGIN; {revocation}"));
        thread::scope(|scope| {
            let calling = scope.spawn(|| s.attempt(&call(&token, "")));
            wait_until("the commit waits", 20, || {
                admin.holds("EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 7)")
            });
            slow.run("COMMIT");
            let refusal = calling
                .join()
                .expect("a thread")
                .expect_err("a revoked token");
            assert_eq!(refusal.code, *code, "{refusal}");
            assert!(refusal.detail.starts_with(word), "{refusal}");
        });
        admin.assert_that(&format!(
            "NOT EXISTS (SELECT FROM scope.credentials WHERE token_subject = '{id}')"
        ));
    }
}

/// The same of the role.
#[test]
fn attack_an_exchange_for_a_role_that_ends() {
    let g = gate("jwt_exchange_ends");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "SELECT scope.create_scope('jwt_exchange_ends_s', '{{SELECT}}', '{{orders}}'); GRANT jwt_exchange_ends_s TO {}",
        g.auth
    ));
    let token = token(&g, json!({"role": "jwt_exchange_ends_s"}));
    let mut s = g.login();
    let mut slow = g.f.admin();
    slow.run("BEGIN; SELECT scope.drop_scope('jwt_exchange_ends_s', true)");
    thread::scope(|scope| {
        let calling = scope.spawn(|| s.attempt(&call(&token, "")));
        wait_until("the call waits", 20, || {
            admin.holds("EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        });
        slow.run("COMMIT");
        let refusal = calling
            .join()
            .expect("a thread")
            .expect_err("a role that has ended");
        assert!(
            ["55006", "42501", "42704"].contains(&refusal.code.as_str()),
            "{refusal}"
        );
    });
    admin.assert_that(
        "NOT EXISTS (SELECT FROM scope.credentials WHERE 'jwt_exchange_ends_s' = ANY (scopes))",
    );
}

/// A token is of one database; a role that is no scope has what it has in each.
#[test]
fn attack_a_login_for_a_token_in_another_database() {
    let (g, other) = (gate("jwt_exchange_home"), Fixture::new("jwt_exchange_away"));
    other
        .admin()
        .run(&format!("GRANT SELECT ON orders TO {}", g.reader));
    let bare = "jwt_exchange_bare";
    g.f.admin().run(&format!("CREATE DATABASE {bare}"));
    let cred = g.login().handed(&exchange(&token(&g, json!({})), ""));
    enter(&g, &cred).expect("a login");
    for database in [&other.name, bare, "postgres"] {
        let refusal =
            g.f.server
                .try_password(&cred.role, &cred.password, database)
                .map(|_| ())
                .expect_err(database);
        assert_eq!(refusal.code, "28000", "{refusal}");
    }
    g.f.admin().run(&format!("DROP DATABASE {bare}"));
}

/// Users whose tokens name the same role share its window, by whatever they come.
#[test]
fn attack_a_new_login_for_each_window() {
    let g = gate("jwt_exchange_guard");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "SELECT scope.set_guard('{}', window_rows => 5, \"window\" => '1 hour')",
        g.reader
    ));
    let mut s = g.login();
    let good = token(&g, json!({"sub": "window"}));
    for _ in 0..2 {
        s.run(&format!(
            "BEGIN; {}; SELECT * FROM orders; COMMIT",
            switch(&good)
        ));
    }
    for _ in 0..2 {
        let cred = s.handed(&exchange(&good, ", valid_for => '2 s'"));
        enter(&g, &cred)
            .expect("a login")
            .refused("SELECT * FROM orders", "54000");
        wait_until("the login is gone", 20, || !admin.role_exists(&cred.role));
    }
    s.run(&format!("BEGIN; {}", switch(&good)));
    s.refused("SELECT * FROM orders", "54000");
}

/// A commit that waits for a standby holds up nobody's revocation.
#[test]
fn attack_an_exchange_whose_commit_waits_for_a_standby() {
    let server = Server::start(Options::durable());
    let g = Gate::with(Fixture::on(&server, "jwt_exchange_sync"));
    register(&g, "corp", &jwks(&[&ED]), "");
    g.f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.exchange_token TO {}",
        g.auth
    ));
    server.alter_system("synchronous_standby_names", "nobody");
    let cred = g
        .login()
        .handed(&exchange(&token(&g, json!({"sub": "sync"})), ""));
    let mut admin = g.f.admin();
    admin.run("SET synchronous_commit = local; SET statement_timeout = '20s'; SELECT scope.revoke_subject('sync', now() + interval '1 second')");
    enter(&g, &cred).map(|_| ()).expect_err("it is revoked");
}

#[test]
fn subjects_and_tokens_are_revoked_in_any_encoding() {
    let server = shared();
    let mut root = server.admin("postgres");
    root.run("CREATE DATABASE jwt_exchange_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let g = gate("jwt_exchange_utf8");
    let mut admin = server.admin("jwt_exchange_latin1");
    admin.run(&format!(
        "CREATE EXTENSION scope_roles; GRANT EXECUTE ON FUNCTION scope.exchange_token TO {}; {}",
        g.auth,
        format_args!(
            "SELECT scope.add_jwt_issuer('corp', 'https://corp.example.org/', {})",
            literal(&jwks(&[&ED]))
        ),
    ));
    let token = |id: &str| token(&g, json!({"sub": id, "jti": id, "iat": now() - 5}));
    let mut s = server.login(&g.auth, "jwt_exchange_latin1");
    for (id, call_) in [
        ("\u{e9}", "revoke_subject('\u{e9}', now())".to_owned()),
        (
            "na\u{ef}f",
            "revoke_token('na\u{ef}f', now() + interval '1 day')".to_owned(),
        ),
        (
            "na\u{ef}fs",
            "revoke_token('na\u{ef}fs', now() + interval '1 day', 'corp')".to_owned(),
        ),
    ] {
        let cred = s.handed(&exchange(&token(id), ""));
        admin.run(&format!("SELECT scope.{call_}"));
        s.refused_with(&call(&token(id), ""), "28000", "revoked");
        server
            .try_password(&cred.role, &cred.password, "jwt_exchange_latin1")
            .map(|_| ())
            .expect_err(id);
        // Others are others.
        s.run(&call(&token("e"), ""));
        admin.run("SELECT scope.revoke_role(role) FROM scope.credentials WHERE token_subject = 'e' AND state = 'active'");
    }
}

/// Whatever quotes an argument, quotes no token.
#[test]
fn attack_a_token_where_something_else_is_meant() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_exchange_logged"));
    g.f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.exchange_token TO {}",
        g.auth
    ));
    let mut s = g.login();
    let token = sign(&json!({"role": g.reader, "sub": "a", "exp": now() + 600}));
    assert!(token.len() <= 200, "{}", token.len());
    let secret = token.rsplit('.').next().expect("a signature");
    for sql in [
        format!("SELECT scope.set_jwt_role({0}, {0})", literal(&token)),
        call(&token, &format!(", claim => {}", literal(&token))),
    ] {
        s.refused(&sql, "28000");
    }
    let cred = s.handed(&exchange(
        &token,
        &format!(", purpose => {}", literal(&token)),
    ));
    let mut admin = g.f.admin();
    let seen = admin.text(&format!(
        "SELECT concat((SELECT string_agg(to_jsonb(c)::text, '') FROM scope.credentials c), (SELECT string_agg(label, '') FROM pg_shseclabel), (SELECT string_agg(to_jsonb(a)::text, '') FROM scope.audit_log a), shobj_description('{}'::regrole, 'pg_authid'))",
        cred.role
    ));
    for text in [&seen, &server.log()] {
        assert!(!text.contains(secret), "the token is written down");
    }
    assert!(server.log().contains("role_missing"));
}
