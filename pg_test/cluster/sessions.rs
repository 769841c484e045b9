//! `scope.sessions`: who is in which session, and `scope.end_sessions()`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::*;
use crate::jwt::{Gate, allow_session_switches, end_session, switch, switch_session};

fn pid(s: &mut Session) -> String {
    s.text("SELECT pg_backend_pid()")
}

/// Who is in a session, as another one sees it: acting role, issuer, subject, actor; `-` for NULL, and nothing where no row is seen.
#[track_caller]
fn person(viewer: &mut Session, pid: &str) -> String {
    let columns = ["acting_role", "issuer", "subject", "actor"];
    seen(viewer, pid, &columns)
}

#[track_caller]
fn seen(viewer: &mut Session, pid: &str, columns: &[&str]) -> String {
    let columns: Vec<_> = (columns.iter())
        .map(|column| format!("coalesce(({column})::text, '-')"))
        .collect();
    let sql = format!(
        "SELECT concat_ws('|', {}) FROM scope.sessions WHERE pid = {pid}",
        columns.join(", ")
    );
    viewer.column(&sql).join("\n")
}

const NOBODY: &str = "-|-|-|-";

/// The session has been told to end, and has.
#[track_caller]
fn has_ended(s: &mut Session) {
    let refusal = s.fails("SELECT 1");
    assert!(
        ["57P01", "08P01", ""].contains(&refusal.code.as_str()),
        "{refusal}"
    );
}

#[test]
fn every_client_has_a_row() {
    let f = Fixture::new("sessions_plain");
    let plain = f.role("plain", "LOGIN VALID UNTIL '2099-01-01'");
    let mut admin = f.admin();
    let mut s = f.login(&plain);
    s.run("SET application_name = 'till'");
    let pid = pid(&mut s);
    let columns = [
        "login",
        "acting_role",
        "subject",
        "until",
        "address",
        "tls",
        "method",
        "state",
        "application_name",
        "database",
        "query_id",
    ];
    // VALID UNTIL ends no session of a login that is nobody's.
    assert_eq!(
        seen(&mut admin, &pid, &columns),
        format!("{plain}|-|-|-|-|false|trust|idle|till|sessions_plain|-")
    );
    admin.assert_that(&format!(
        "EXISTS (SELECT FROM scope.sessions JOIN pg_stat_activity USING (pid) WHERE pid = {pid} AND since = backend_start)"
    ));
    admin.assert_that(
        "(SELECT count(*) FROM scope.sessions) >= 2
         AND NOT EXISTS (SELECT FROM scope.sessions s LEFT JOIN pg_stat_activity a USING (pid)
                          WHERE a.pid IS NULL OR a.backend_type NOT IN ('client backend', 'walsender'))",
    );
    drop(s);
    wait_until("its row is gone", 10, || {
        seen(&mut admin, &pid, &["login"]).is_empty()
    });
}

#[test]
fn a_credential_shows_its_deadline_address_and_method() {
    let f = Fixture::new("sessions_cred");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    let mut s = f
        .server
        .try_password(&cred.role, &cred.password, &f.name)
        .expect("a login");
    let pid = pid(&mut s);
    let columns = ["login", "address", "method", "tls"];
    assert_eq!(
        seen(&mut admin, &pid, &columns),
        format!("{}|127.0.0.1/32|scram-sha-256|false", cred.role)
    );
    let until = format!(
        "(SELECT until FROM scope.sessions WHERE pid = {pid}) = (SELECT valid_until FROM scope.credentials WHERE role = '{}')",
        cred.role
    );
    admin.assert_that(&until);
    // As it is now, not as it was at login.
    admin.run(&format!(
        "SELECT scope.renew_role('{}', '2 hours')",
        cred.role
    ));
    admin.assert_that(&until);
    // Its own row it sees itself.
    assert_eq!(seen(&mut s, &pid, &["login"]), cred.role);
}

#[test]
fn a_token_shows_whom_it_stands_for_until_it_ends() {
    let g = Gate::new("sessions_token");
    let mut admin = g.f.admin();
    let mut s = g.login();
    let pid = pid(&mut s);
    let exp = now() + 300;
    let token = g.token(json!({"iss": "https://id.example.org/", "exp": exp, "act": {"sub": "bot", "act": {"sub": "first"}}}));
    let ann = format!("{}|https://id.example.org/|ann|bot", g.reader);
    let other = g.token(json!({"role": g.writer, "sub": "bob"}));
    let bob = format!("{}|-|bob|-", g.writer);
    assert_eq!(person(&mut admin, &pid), NOBODY);
    for end in ["COMMIT", "ROLLBACK", "SELECT 1/0; COMMIT"] {
        s.run(&format!("BEGIN; {}", switch(&token)));
        assert_eq!(person(&mut admin, &pid), ann);
        assert_eq!(
            seen(
                &mut admin,
                &pid,
                &["login", "extract(epoch FROM until)::bigint", "state"]
            ),
            // The leeway included.
            format!("{}|{}|idle in transaction", g.auth, exp + 30)
        );
        let _ = s.attempt(end);
        let _ = s.attempt("ROLLBACK");
        assert_eq!(person(&mut admin, &pid), NOBODY, "{end}");
        assert_eq!(seen(&mut admin, &pid, &["until"]), "-", "{end}");
    }
    s.run(&format!(
        "BEGIN; SAVEPOINT s; {}; SAVEPOINT t",
        switch(&token)
    ));
    s.run("ROLLBACK TO t");
    assert_eq!(person(&mut admin, &pid), ann);
    s.run("ROLLBACK TO s");
    assert_eq!(person(&mut admin, &pid), NOBODY);
    s.run(&format!("{}; RELEASE s", switch(&other)));
    assert_eq!(person(&mut admin, &pid), bob);
    s.run("COMMIT");
    assert_eq!(person(&mut admin, &pid), NOBODY);
    // One token and another, in one session.
    for _ in 0..3 {
        for (token, who) in [(&token, &ann), (&token, &ann), (&other, &bob)] {
            s.run(&format!("BEGIN; {}", switch(token)));
            assert_eq!(&person(&mut admin, &pid), who);
            s.run("COMMIT");
        }
    }
    // A refused one is nobody's.
    s.refused(
        &format!("BEGIN; {}", switch(&g.token(json!({"role": "postgres"})))),
        "42501",
    );
    assert_eq!(person(&mut admin, &pid), NOBODY);
}

#[test]
fn a_session_switch_comes_back_with_the_rollback_of_its_end() {
    let g = Gate::new("sessions_session");
    allow_session_switches(&g.f, &g.auth);
    let mut admin = g.f.admin();
    let mut s = g.login();
    let pid = pid(&mut s);
    let of = |sub: &str, role: &str| {
        g.token(json!({"role": role, "sub": sub, "iss": "https://id.example.org/", "act": {"sub": "bot"}}))
    };
    let (ann, bob) = (of("ann \u{e9}", &g.reader), of("bob", &g.writer));
    let is_ann = format!("{}|https://id.example.org/|ann \u{e9}|bot", g.reader);
    let is_bob = format!("{}|https://id.example.org/|bob|bot", g.writer);
    s.run(&switch_session(&ann));
    assert_eq!(person(&mut admin, &pid), is_ann);
    s.run("BEGIN; SELECT 1; ROLLBACK");
    assert_eq!(person(&mut admin, &pid), is_ann);
    let exp = seen(&mut admin, &pid, &["until"]);
    s.run("BEGIN");
    s.run(&end_session(&ann));
    assert_eq!(person(&mut admin, &pid), NOBODY);
    s.run("ROLLBACK");
    assert_eq!(person(&mut admin, &pid), is_ann);
    assert_eq!(seen(&mut admin, &pid, &["until"]), exp);
    // Another one between, for the transaction and for the session, and savepoints back to each.
    for switch in [switch(&bob), switch_session(&bob)] {
        s.run("BEGIN; SAVEPOINT a");
        s.run(&end_session(&ann));
        s.run("SAVEPOINT b");
        s.run(&switch);
        assert_eq!(person(&mut admin, &pid), is_bob);
        s.run("ROLLBACK TO b");
        assert_eq!(person(&mut admin, &pid), NOBODY);
        s.run(&switch);
        s.run("ROLLBACK TO a");
        assert_eq!(person(&mut admin, &pid), is_ann);
        s.run("COMMIT");
        assert_eq!(person(&mut admin, &pid), is_ann);
    }
    s.run("BEGIN");
    s.run(&end_session(&ann));
    s.run(&switch_session(&bob));
    s.run("COMMIT");
    assert_eq!(person(&mut admin, &pid), is_bob);
    // It is found by what has come back, too.
    s.run("BEGIN");
    s.run(&end_session(&bob));
    s.run("ROLLBACK");
    assert_eq!(
        admin.text("SELECT scope.end_sessions('bob', issuer => 'https://id.example.org/')"),
        "1"
    );
    has_ended(&mut s);
}

#[test]
fn the_anonymous_role_is_nobodys_person() {
    let options = Options::default().set("scope_roles.anon_role", "sessions_anon_reader");
    let server = Server::start(options);
    let g = Gate::with(Fixture::on(&server, "sessions_anon"));
    let mut s = g.login();
    let pid = pid(&mut s);
    s.run("BEGIN; SELECT scope.set_jwt_role('')");
    assert_eq!(
        person(&mut g.f.admin(), &pid),
        format!("{}|-|-|-", g.reader)
    );
}

#[test]
fn attack_a_user_sees_the_subjects_of_others_who_share_the_login() {
    let g = Gate::new("sessions_shared");
    let mut admin = g.f.admin();
    let gated = admin.handed(&format!(
        "scope.create_authenticator('sessions_shared_gated', ARRAY['{}'])",
        g.reader
    ));
    let enter = || {
        g.f.server
            .try_password(&gated.role, &gated.password, &g.f.name)
            .expect("a login")
    };
    let all = "SELECT concat_ws('|', pid, subject, issuer, actor) FROM scope.sessions WHERE pid <> pg_backend_pid()";
    let secret = json!({"iss": "https://secret.example.org/", "sub": "secret-ann", "act": {"sub": "secret-bot"}});
    // Two of an authenticator: without a token they see nothing, with one themselves.
    let (mut ann, mut bob) = (enter(), enter());
    ann.run(&format!("BEGIN; {}", switch(&g.token(secret.clone()))));
    bob.denied(all, "42501");
    bob.run(&format!(
        "BEGIN; {}",
        switch(&g.token(json!({"sub": "bob"})))
    ));
    let (of_ann, of_bob) = (pid(&mut ann), pid(&mut bob));
    assert_eq!(bob.column(all), [""; 0]);
    assert_eq!(person(&mut bob, &of_bob), format!("{}|-|bob|-", g.reader));
    assert_eq!(
        seen(&mut bob, &of_bob, &["login", "state", "address"]),
        format!("{}|active|127.0.0.1/32", gated.role)
    );
    assert_eq!(seen(&mut bob, &of_ann, &["pid"]), "");
    // Nor by the function behind the view.
    assert_eq!(bob.text("SELECT count(*) FROM _scope.present()"), "1");
    // A login that many share without a gate sees its sessions, but not who is in them; whoever acts in one, the own one.
    let (mut ann, mut bob) = (g.login(), g.login());
    ann.run(&format!("BEGIN; {}", switch(&g.token(secret))));
    let of_ann = pid(&mut ann);
    assert_eq!(person(&mut bob, &of_ann), format!("{}|-|-|-", g.reader));
    assert_eq!(bob.column("SELECT concat(issuer, subject, actor) FROM scope.sessions WHERE issuer || subject || actor IS NOT NULL OR login <> session_user"), [""; 0]);
    bob.run(&format!(
        "BEGIN; {}",
        switch(&g.token(json!({"sub": "bob"})))
    ));
    assert_eq!(bob.column(all), [""; 0]);
    assert!(person(&mut ann, &of_ann).ends_with("|secret-ann|secret-bot"));
    // Functions in a condition see no other rows.
    let mut stranger = g.f.login(&g.f.role("stranger", "LOGIN"));
    stranger.run("CREATE FUNCTION pg_temp.tells(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$");
    assert_eq!(
        stranger.text("SELECT count(*) FROM scope.sessions WHERE pg_temp.tells(subject)"),
        "1"
    );
    assert!(
        !stranger
            .notices()
            .iter()
            .any(|notice| notice.message.contains("secret"))
    );
    // A monitor sees all.
    for monitor in ["pg_monitor", "pg_read_all_stats"] {
        let monitor = g.f.role(
            &format!("of_{monitor}"),
            &format!("LOGIN IN ROLE {monitor}"),
        );
        assert!(person(&mut g.f.login(&monitor), &of_ann).ends_with("|secret-ann|secret-bot"));
    }
}

#[test]
fn owners_of_a_login_see_its_sessions() {
    let f = Fixture::new("sessions_owner");
    let team = f.role("team", "NOLOGIN");
    let member = f.role("member", &format!("LOGIN IN ROLE {team}"));
    let service = f.role("service", "LOGIN");
    f.admin().run(&format!("GRANT {service} TO {team}"));
    let mut s = f.login(&service);
    let pid = pid(&mut s);
    let mut member = f.login(&member);
    assert_eq!(
        seen(&mut member, &pid, &["login", "state"]),
        format!("{service}|idle")
    );
    let stranger = f.role("stranger", "LOGIN");
    assert_eq!(seen(&mut f.login(&stranger), &pid, &["login"]), "");
}

#[test]
fn a_hostile_subject_is_shown_and_ended_as_it_is() {
    let g = Gate::new("sessions_hostile");
    g.f.server.admin("postgres").run(
        "CREATE DATABASE sessions_hostile_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    );
    let mut latin1 = g.f.server.admin("sessions_hostile_latin1");
    latin1.run("CREATE EXTENSION scope_roles");
    let mut admin = g.f.admin();
    let long = "l\u{f6}ng ".repeat(160);
    for subject in [
        "x' OR ''='",
        "a\nLOG:  scope_roles audit: {}",
        "\"; DROP ROLE postgres --",
        "\\x00 %s $1",
        "caf\u{e9} \u{1f600}",
        "\u{10FFE9}",
        " ",
        &long,
    ] {
        for (database, own) in [
            (&g.f.name, &mut admin),
            (&"sessions_hostile_latin1".to_owned(), &mut latin1),
        ] {
            let mut s = g.f.server.login(&g.auth, database);
            let pid = pid(&mut s);
            s.run(&format!(
                "BEGIN; {}",
                switch(&g.token(json!({"sub": subject, "iss": subject})))
            ));
            // It sees itself, whatever its database can show.
            seen(&mut s, &pid, &["subject"]);
            let shown = seen(own, &pid, &["subject"]);
            if database == &g.f.name {
                match subject.len() {
                    0..=256 => assert_eq!(shown, subject),
                    _ => assert!(
                        shown.ends_with("...") && subject.starts_with(shown.trim_end_matches('.')),
                        "{shown}"
                    ),
                }
            } else if subject.is_ascii() {
                assert_eq!(shown, subject);
            } else {
                assert!(shown.is_ascii() && shown.contains("\\u{"), "{shown}");
            }
            // What is not the whole of it is somebody else's.
            for other in [
                &subject[..subject.len() - subject.chars().last().map_or(0, char::len_utf8)],
                &format!("{subject}x"),
            ] {
                if !other.is_empty() {
                    assert_eq!(admin_ends(&g, other), "0", "{other:?}");
                }
            }
            s.run("SELECT 1");
            assert_eq!(admin_ends(&g, subject), "1", "{subject:?}");
            has_ended(&mut s);
        }
    }
    // As a LATIN1 database writes it.
    let mut s = g.f.server.login(&g.auth, &g.f.name);
    s.run(&format!(
        "BEGIN; {}",
        switch(&g.token(json!({"sub": "caf\u{e9}", "iss": "\u{e9}"})))
    ));
    assert_eq!(
        latin1.text("SELECT scope.end_sessions('caf\u{e9}', issuer => '\u{e9}')"),
        "1"
    );
    has_ended(&mut s);
    assert!(!g.f.server.log().contains("\nLOG:  scope_roles audit: {}"));
}

fn admin_ends(g: &Gate, subject: &str) -> String {
    g.f.admin()
        .text(&format!("SELECT scope.end_sessions({})", literal(subject)))
}

#[test]
fn sessions_end_by_all_that_is_given() {
    let g = Gate::new("sessions_end");
    let key = Key::ed25519("sessions-1");
    let mut admin = g.f.admin();
    let iss = "https://sessions-end.example.org/";
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('sessions_end_corp', '{iss}', {})",
        literal(&jwks(&[&key]))
    ));
    let of = |sub: &str, role: &str| {
        key.token(
            "EdDSA",
            &g.claims(json!({"iss": iss, "sub": sub, "role": role})),
        )
    };
    let open = |sub: &str, role: &str| {
        let mut s = g.login();
        s.run(&format!("BEGIN; {}", switch(&of(sub, role))));
        s
    };
    let mut all = [
        open("ann", &g.reader),
        open("ann", &g.writer),
        open("bob", &g.reader),
        open("bob", &g.writer),
    ];
    let mut plain = g.login();
    for (arguments, count, ended) in [
        ("'nobody'".to_owned(), "0", vec![]),
        ("'ann', 'postgres'".to_owned(), "0", vec![]),
        (format!("'ann', issuer => '{iss}x'"), "0", vec![]),
        (
            format!("'ann', '{}', 'sessions_end_corp'", g.reader),
            "1",
            vec![0],
        ),
        (
            format!("role => '{}', issuer => '{iss}'", g.writer),
            "2",
            vec![1, 3],
        ),
        ("issuer => 'sessions_end_corp'".to_owned(), "1", vec![2]),
    ] {
        assert_eq!(
            admin.text(&format!("SELECT scope.end_sessions({arguments})")),
            count,
            "{arguments}"
        );
        for place in ended {
            has_ended(&mut all[place]);
        }
    }
    plain.run("SELECT 1");
    // By its login, one that acts as another role and one that does not; never the own.
    let mut acting = open("eve", &g.reader);
    assert_eq!(
        admin.text(&format!("SELECT scope.end_sessions(role => '{}')", g.auth)),
        "2"
    );
    has_ended(&mut acting);
    has_ended(&mut plain);
    admin.run("SELECT scope.end_sessions(role => 'postgres', subject => 'nobody')");
    let audited = admin.text(
        "SELECT details ->> 'of_role' || ' ' || (details ->> 'of_issuer') || ' ' || (details ->> 'sessions_terminated')
           FROM scope.audit_log WHERE event = 'sessions' AND details ->> 'sessions_terminated' = '2' AND details ->> 'of_issuer' IS NOT NULL",
    );
    assert_eq!(audited, format!("{} {iss} 2", g.writer));
}

#[test]
fn the_login_of_a_token_is_its_subjects() {
    let g = Gate::new("sessions_exchange");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.exchange_token TO {}",
        g.auth
    ));
    let token = g.token(json!({"sub": "sessions-exchanged", "iss": "https://id.example.org/"}));
    let cred = g
        .login()
        .handed(&format!("scope.exchange_token({})", literal(&token)));
    let mut s =
        g.f.server
            .try_password(&cred.role, &cred.password, &g.f.name)
            .expect("a login");
    let pid = pid(&mut s);
    assert_eq!(
        person(&mut admin, &pid),
        "-|https://id.example.org/|sessions-exchanged|-"
    );
    assert_eq!(
        admin.text(
            "SELECT scope.end_sessions('sessions-exchanged', issuer => 'https://id.example.org')"
        ),
        "0"
    );
    assert_eq!(
        admin.text(
            "SELECT scope.end_sessions('sessions-exchanged', issuer => 'https://id.example.org/')"
        ),
        "1"
    );
    has_ended(&mut s);
}

#[test]
fn ending_needs_something_to_go_by() {
    let f = Fixture::new("sessions_criteria");
    let mut admin = f.admin();
    for (arguments, code) in [
        ("", "22004"),
        ("NULL, NULL, NULL", "22004"),
        ("''", "22023"),
        ("'x', ''", "22023"),
        ("'x', issuer => ''", "22023"),
        ("role => 'sessions_criteria_nobody'", "42704"),
    ] {
        let refusal = admin.refused(&format!("SELECT scope.end_sessions({arguments})"), code);
        assert!(
            !refusal.detail.is_empty() && !refusal.hint.is_empty(),
            "{refusal}"
        );
    }
}

#[test]
fn attack_a_stranger_ends_sessions() {
    let f = Fixture::new("sessions_stranger");
    let (stranger, victim) = (f.role("stranger", "LOGIN"), f.role("victim", "LOGIN"));
    let monitor = f.role("monitor", "LOGIN IN ROLE pg_monitor");
    let mut v = f.login(&victim);
    for who in [&stranger, &monitor, &victim] {
        let sql = format!("SELECT scope.end_sessions(role => '{victim}')");
        f.login(who).denied(&sql, "42501");
    }
    v.run("SELECT 1");
}

#[test]
fn attack_whoever_may_end_sessions_ends_a_superusers() {
    let f = Fixture::new("sessions_super");
    let helper = f.role("helper", "LOGIN");
    let root = f.role("root", "LOGIN SUPERUSER");
    let victim = f.role("victim", "LOGIN");
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.end_sessions TO {helper}"
    ));
    let (mut root_s, mut victim_s, mut h) = (f.login(&root), f.login(&victim), f.login(&helper));
    // A superuser stays one, whatever it acts as.
    root_s.run(&format!("SET SESSION AUTHORIZATION {victim}"));
    assert_eq!(
        h.text(&format!("SELECT scope.end_sessions(role => '{root}')")),
        "0"
    );
    let notices = h.notices();
    assert!(
        notices
            .iter()
            .any(|notice| notice.message.contains("superusers")),
        "{notices:?}"
    );
    root_s.run("SELECT 1");
    // Nothing brings one back that is ended in a transaction that is undone, and the log says so.
    h.run("BEGIN");
    assert_eq!(
        h.text(&format!("SELECT scope.end_sessions(role => '{victim}')")),
        "1"
    );
    h.run("ROLLBACK");
    has_ended(&mut victim_s);
    root_s.run("SELECT 1");
    let log = f.server.log();
    let line = log
        .lines()
        .rfind(|line| line.contains("\"event\":\"sessions\"") && line.contains(&victim));
    let line = line.expect("a line");
    assert!(
        line.contains("\"outcome\":\"ok\"") && line.contains("\"sessions_terminated\":1"),
        "{line}"
    );
    // Itself never.
    assert_eq!(
        h.text(&format!("SELECT scope.end_sessions(role => '{helper}')")),
        "0"
    );
    assert_eq!(
        admin.text(&format!("SELECT scope.end_sessions(role => '{root}')")),
        "1"
    );
    has_ended(&mut root_s);
}

/// A row is of one person, however fast sessions go from one to the next.
#[test]
fn attack_a_row_of_two_persons() {
    let g = Gate::new("sessions_race");
    let is_done = AtomicBool::new(false);
    let tokens: Vec<String> = (0..6)
        .map(|number: usize| {
            let name = format!("{number}{}", "-".repeat(number * 40));
            let role = if number.is_multiple_of(2) { &g.reader } else { &g.writer };
            g.token(json!({"iss": format!("race {name}"), "sub": name, "act": {"sub": format!("for {name}")}, "role": role}))
        })
        .collect();
    let mut seen = 0;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut s = g.login();
                while !is_done.load(Ordering::Relaxed) {
                    for token in &tokens {
                        s.run(&format!("BEGIN; {}", switch(token)));
                        s.run("COMMIT");
                    }
                }
            });
        }
        let mut admin = g.f.admin();
        let start = Instant::now();
        let runs = |seconds| start.elapsed() < Duration::from_secs(seconds);
        while runs(1) || seen <= 50 && runs(30) {
            let rows = admin.rows(&format!(
                "SELECT issuer, subject, actor, acting_role FROM scope.sessions WHERE login = '{}' AND acting_role IS NOT NULL",
                g.auth
            ));
            for row in rows {
                let [Some(issuer), Some(subject), Some(actor), Some(role)] = &row[..] else {
                    is_done.store(true, Ordering::Relaxed);
                    panic!("{row:?}");
                };
                let number: usize = subject[..1].parse().expect("a number");
                let fits = issuer == &format!("race {subject}")
                    && actor == &format!("for {subject}")
                    && role
                        == if number.is_multiple_of(2) {
                            &g.reader
                        } else {
                            &g.writer
                        };
                if !fits {
                    is_done.store(true, Ordering::Relaxed);
                    panic!("{row:?}");
                }
                seen += 1;
            }
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_standby_shows_and_ends_its_own() {
    let server = Server::start(Options::default().set("wal_level", "replica"));
    let f = Fixture::on(&server, "sessions_standby");
    let plain = f.role("plain", "LOGIN");
    let standby = server.standby(Options::default());
    let mut admin = standby.admin(&f.name);
    let mut s = standby.login(&plain, &f.name);
    let pid = pid(&mut s);
    assert_eq!(
        seen(&mut admin, &pid, &["login", "method"]),
        format!("{plain}|trust")
    );
    assert_eq!(
        admin.text(&format!("SELECT scope.end_sessions(role => '{plain}')")),
        "1"
    );
    has_ended(&mut s);
    // Those who stream its changes are clients of the primary.
    f.admin()
        .assert_that("EXISTS (SELECT FROM scope.sessions JOIN pg_stat_replication USING (pid))");
}

#[test]
fn without_the_library_it_says_so() {
    let server = Server::start(Options::without_preload());
    let mut admin = Fixture::on(&server, "sessions_unloaded").admin();
    admin.refused("SELECT * FROM scope.sessions", "55000");
    admin.refused("SELECT scope.end_sessions('x')", "55000");
}
