//! Login facts: who came when, how often and from where, kept without writing at each login.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::review::session_from;

const FACTS: &str = "SELECT logins, coalesce(last_address, '-'), coalesce(last_refusal_reason, '-'), last_login IS NOT NULL, last_refusal IS NOT NULL";

/// `logins last_address last_refusal_reason`
fn facts(admin: &mut Session, role: &str) -> String {
    let row = admin.rows(&format!(
        "{FACTS} FROM scope.credentials WHERE role = '{role}'"
    ));
    shown(&row)
}

fn shown(rows: &[Vec<Option<String>>]) -> String {
    let [row] = rows else { panic!("{rows:?}") };
    let cell = |number: usize| {
        row.get(number)
            .cloned()
            .flatten()
            .unwrap_or_else(|| "?".into())
    };
    assert_eq!(cell(1) != "-", cell(3) == "t", "{row:?}");
    assert_eq!(cell(2) != "-", cell(4) == "t", "{row:?}");
    format!("{} {} {}", cell(0), cell(1), cell(2))
}

fn file(server: &Server) -> PathBuf {
    server.data().join("pg_stat/scope_roles_logins")
}

/// Does what is to be kept, and waits until the launcher has written it.
fn kept<R>(server: &Server, act: impl FnOnce() -> R) -> R {
    let before = std::fs::read(file(server)).ok();
    let result = act();
    wait_until("the file is written", 20, || {
        std::fs::read(file(server)).ok() != before
    });
    result
}

/// How often the log has the words.
fn count(server: &Server, words: &str) -> usize {
    server.log().matches(words).count()
}

#[test]
fn facts_tell_who_came_from_where_and_why_not() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "facts_shown");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    assert_eq!(facts(&mut admin, &cred.role), "0 - -");
    let tcp = |host| f.server.try_tcp(host, &cred.role, &cred.password, &f.name);
    tcp("127.0.0.1").expect("by IPv4");
    assert_eq!(facts(&mut admin, &cred.role), "1 127.0.0.1 -");
    let mut logins = 1;
    if door.ipv6 {
        logins += 1;
        tcp("::1").expect("by IPv6");
        assert_eq!(facts(&mut admin, &cred.role), "2 ::1 -");
    }
    f.server.login(&cred.role, &f.name);
    logins += 1;
    assert_eq!(facts(&mut admin, &cred.role), format!("{logins} local -"));
    // A wrong password is none of our refusals.
    assert!(f.server.try_password(&cred.role, "wrong", &f.name).is_err());
    assert_eq!(facts(&mut admin, &cred.role), format!("{logins} local -"));
    for (rules, reason) in [
        ("allowed_ips => '{10.0.0.0/8}'", "address"),
        (
            "allowed_ips => '{127.0.0.1}', allowed_hours => '{Mon 00:00-00:01,Tue 00:00-00:01}', time_zone => 'UTC'",
            "hours",
        ),
    ] {
        // Whatever the time is, one of the two windows is not now.
        let rules = rules.replace(
            "{Mon 00:00-00:01,Tue 00:00-00:01}",
            if admin.holds("extract(isodow FROM clock_timestamp() AT TIME ZONE 'UTC') < 4") {
                "{Sat 12:00-12:01}"
            } else {
                "{Tue 12:00-12:01}"
            },
        );
        admin.run(&format!(
            "SELECT scope.set_login_policy('{}', {rules})",
            cred.role
        ));
        assert!(tcp("127.0.0.1").is_err());
        assert_eq!(
            facts(&mut admin, &cred.role),
            format!("{logins} local {reason}")
        );
    }
    admin.run(&format!(
        "SELECT scope.set_login_policy('{}', allow_local => false)",
        cred.role
    ));
    assert!(f.server.try_login(&cred.role, &f.name).is_err());
    assert_eq!(
        facts(&mut admin, &cred.role),
        format!("{logins} local local")
    );
    admin.assert_that(&format!(
        "(SELECT last_login BETWEEN clock_timestamp() - interval '1 minute' AND last_refusal AND last_refusal < clock_timestamp()
            FROM scope.credentials WHERE role = '{}')",
        cred.role
    ));
    // Of others nothing is kept: superusers, strangers; of guarded ones it is, until they are no more.
    let bob = f.role("bob", "LOGIN");
    f.server.login(&bob, &f.name);
    let known = "SELECT count(*) FROM _scope.login_facts() WHERE role IS NOT NULL";
    assert_eq!(admin.text(known), "1");
    admin.run(&format!("SELECT scope.guard_login('{bob}')"));
    f.server.login(&bob, &f.name);
    assert_eq!(
        shown(&admin.rows(&format!("{FACTS} FROM scope.guarded_logins"))),
        "1 local -"
    );
    admin.run(&format!(
        "SELECT pg_sleep(1.1); SELECT scope.unguard_login('{bob}')"
    ));
    wait_until("its facts are gone", 10, || f.admin().text(known) == "1");
    // Who monitors sees them.
    let monitor = f.role("monitor", "LOGIN IN ROLE pg_monitor");
    assert_eq!(
        facts(&mut f.login(&monitor), &cred.role),
        format!("{logins} local local")
    );
    let of_others = "SELECT count(role) FROM _scope.login_facts()";
    assert_eq!(f.login(&bob).text(of_others), "0");
}

#[test]
fn facts_count_every_login_of_many_at_once() {
    let f = Fixture::new("facts_crowd");
    let mut admin = f.admin();
    let creds: Vec<Credential> = (0..3).map(|_| admin.issue("'orders'")).collect();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for cred in creds.iter().cycle().take(30) {
                    f.server.login(&cred.role, &f.name);
                }
            });
        }
    });
    for cred in &creds {
        assert_eq!(facts(&mut admin, &cred.role), "60 local -");
    }
}

#[test]
fn facts_survive_restarts_and_crashes() {
    let server = Server::start(Options::durable());
    let f = Fixture::on(&server, "facts_crash");
    let cred = f.admin().issue("'orders'");
    let mut expected = 0;
    let mut login = || {
        expected += 1;
        server.login(&cred.role, &f.name);
        expected
    };
    let check = |expected: i32, what: &str| {
        wait_until(what, 10, || {
            facts(&mut f.admin(), &cred.role) == format!("{expected} local -")
        });
    };
    let logins = kept(&server, &mut login);
    let mode = std::fs::metadata(file(&server))
        .expect("the file")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    // In good order: also what was not yet written.
    let _ = logins;
    let logins = login();
    server.restart();
    check(logins, "after a restart");
    // The launcher alone: it must not add the file's facts a second time.
    let logins = login();
    f.admin().run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'scope_roles launcher'");
    wait_until("a launcher again", 10, || {
        f.admin().holds(
            "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scope_roles launcher')",
        )
    });
    check(logins, "after the launcher");
    // Its end has told the file.
    let logins = kept(&server, &mut login);
    // kill -9 of a session: all start again, with new shared memory.
    let mut victim = f.admin();
    let pid = victim.text("SELECT pg_backend_pid()");
    assert!(server.kill(&pid));
    check(logins, "after the crash of a session");
    // kill -9 of the server.
    let logins = kept(&server, &mut login);
    server.crash();
    server.recover();
    check(logins, "after the crash of the server");
    kept(&server, &mut login);
    server.stop_immediately();
    server.recover();
    check(logins + 1, "after an immediate stop");
    assert_eq!(count(&server, "are ignored"), 0);
}

#[test]
fn facts_that_are_garbage_are_ignored_with_one_warning() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "facts_garbage");
    let cred = f.admin().issue("'orders'");
    kept(&server, || server.login(&cred.role, &f.name));
    server.stop();
    let good = std::fs::read(file(&server)).expect("the file");
    let mut flipped = good.clone();
    flipped[30] ^= 1;
    let torn = good[..good.len() - 1].to_vec();
    for (number, (garbage, logins)) in [
        (b"garbage".to_vec(), 0),
        (Vec::new(), 0),
        (torn, 0),
        (flipped, 0),
        (vec![0; 1_000_000], 0),
        (good, 1),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(file(&server), garbage).expect("the file");
        server.recover();
        let warned = if logins == 0 { number + 1 } else { number };
        wait_until("the file was read", 10, || {
            let seen = facts(&mut f.admin(), &cred.role);
            count(&server, "WARNING:  scope_roles: the login facts in") == warned
                && seen.starts_with(&format!("{logins} "))
        });
        // All goes on, and is kept.
        kept(&server, || server.login(&cred.role, &f.name));
        assert!(facts(&mut f.admin(), &cred.role).starts_with(&format!("{} ", logins + 1)));
        assert_eq!(
            count(&server, "WARNING:  scope_roles: the login facts in"),
            warned
        );
        server.stop();
    }
}

#[test]
fn facts_that_cannot_be_written_stop_nobody() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "facts_unwritable");
    let cred = f.admin().issue("'orders'");
    // In its place is a folder.
    let new = server.data().join("pg_stat/scope_roles_logins.new");
    std::fs::create_dir(&new).expect("a folder");
    for _ in 0..3 {
        server.login(&cred.role, &f.name);
    }
    wait_until("a warning", 10, || count(&server, "cannot be written") == 1);
    // It tries again every few seconds, and says so once.
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(count(&server, "cannot be written"), 1);
    let before = std::fs::read(file(&server)).ok();
    std::fs::remove_dir(&new).expect("the folder");
    wait_until("the file", 15, || {
        std::fs::read(file(&server)).ok() != before
    });
    assert_eq!(facts(&mut f.admin(), &cred.role), "3 local -");
}

#[test]
fn facts_of_more_roles_than_there_is_room_for_are_not_known_and_keep_nobody_out() {
    let server = Server::start(Options::default().set("scope_roles.login_facts", "2"));
    let f = Fixture::on(&server, "facts_full");
    let mut admin = f.admin();
    let creds: Vec<Credential> = (0..4).map(|_| admin.issue("'orders'")).collect();
    for cred in &creds {
        assert_eq!(facts(&mut admin, &cred.role), "0 - -");
    }
    for cred in creds.iter().take(3).chain(&creds[..1]) {
        server.login(&cred.role, &f.name);
    }
    assert_eq!(facts(&mut admin, &creds[0].role), "2 local -");
    assert_eq!(facts(&mut admin, &creds[1].role), "1 local -");
    // Neither the one that found no room nor the one that may have.
    assert_eq!(facts(&mut admin, &creds[2].role), "? - -");
    assert_eq!(facts(&mut admin, &creds[3].role), "? - -");
    // Of one that is younger more is known.
    let young = admin.issue("'orders'");
    assert_eq!(facts(&mut admin, &young.role), "0 - -");
    wait_until("a warning", 15, || {
        count(&server, "scope_roles.login_facts is too low") == 1
    });
    server.login(&creds[2].role, &f.name);
    // One that goes makes room.
    let next = std::time::Instant::now() + std::time::Duration::from_millis(1_100);
    wait_until("its last login is a second ago", 5, || {
        std::time::Instant::now() > next
    });
    admin.run(&format!("DROP ROLE {}", creds[0].role));
    wait_until("there is room", 10, || {
        server.login(&young.role, &f.name);
        f.admin().holds(&format!(
            "(SELECT logins > 0 FROM scope.credentials WHERE role = '{}')",
            young.role
        ))
    });
    assert_eq!(count(&server, "scope_roles.login_facts is too low"), 1);
    admin.assert_that("(SELECT logins >= 2 AND last_login IS NOT NULL FROM _scope.login_facts() WHERE role IS NULL)");
}

#[test]
fn facts_can_be_left_out() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "facts_none");
    let cred = f.admin().issue("'orders'");
    kept(&server, || server.login(&cred.role, &f.name));
    server.alter_system("scope_roles.login_facts", "0");
    server.restart();
    server.login(&cred.role, &f.name);
    assert_eq!(facts(&mut f.admin(), &cred.role), "? - -");
    // Whoever turns them on again is not told what was before as if nothing had been missed.
    wait_until("the file is gone", 10, || !file(&server).exists());
}

/// From where, of a login that was open from each of them only for a moment.
#[test]
fn facts_remember_the_addresses_of_a_month_over_restarts() {
    let server = Server::start(
        Options::default().hba("local all all trust\nhost all all 127.0.0.0/8 trust\n"),
    );
    let f = Fixture::on(&server, "facts_addresses");
    let cred = f.admin().issue("'orders'");
    let addresses = || {
        f.admin().text(&format!(
            "SELECT coalesce(array_to_string(addresses, ' '), '-') FROM scope.credentials WHERE role = '{}'",
            cred.role
        ))
    };
    assert_eq!(addresses(), "-");
    server.login(&cred.role, &f.name);
    assert_eq!(addresses(), "");
    let from = |last: u8| drop(session_from(last, &server, &cred.role, &f.name));
    for last in [1, 2, 1] {
        from(last);
    }
    assert_eq!(addresses(), "127.0.0.1 127.0.0.2");
    server.restart();
    wait_until("they are back", 10, || addresses() == "127.0.0.1 127.0.0.2");
    for last in 3..=12 {
        from(last);
    }
    assert_eq!(
        addresses(),
        "127.0.0.12 127.0.0.11 127.0.0.10 127.0.0.9 127.0.0.8 127.0.0.7 127.0.0.6 127.0.0.5"
    );
    let guarded = f.role("bob", "LOGIN");
    f.admin()
        .run(&format!("SELECT scope.guard_login('{guarded}')"));
    drop(session_from(3, &server, &guarded, &f.name));
    assert_eq!(
        f.admin()
            .text("SELECT addresses::text FROM scope.guarded_logins"),
        "{127.0.0.3}"
    );
}

/// A file that the version before this one has left.
#[test]
fn facts_of_an_older_file_are_read() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "facts_older");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let oid: u32 = admin
        .text(&format!("SELECT '{}'::regrole::oid", cred.role))
        .parse()
        .expect("an OID");
    let begun = admin.text("SELECT now()");
    drop(admin);
    server.stop();
    let mut bytes = b"scope_roles logins 1\n\0".to_vec();
    bytes.extend([0; 16]);
    bytes.extend(oid.to_le_bytes());
    bytes.extend(41_u64.to_le_bytes());
    bytes.extend((now() * 1_000_000).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 1, 2, 3]);
    bytes.extend([2, 0]);
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    bytes.extend(sum.as_ref());
    std::fs::write(file(&server), bytes).expect("the file");
    server.recover();
    wait_until("it was read", 10, || {
        facts(&mut f.admin(), &cred.role) == "41 10.1.2.3 -"
    });
    let mut admin = f.admin();
    admin.assert_that(&format!(
        "(SELECT addresses = '{{10.1.2.3}}' FROM scope.credentials WHERE role = '{}')",
        cred.role
    ));
    // Since when is not in it.
    admin.assert_that(&format!(
        "(SELECT since > '{begun}' FROM _scope.login_facts() WHERE role IS NULL)"
    ));
    assert_eq!(count(&server, "are ignored"), 0);
}

#[test]
fn facts_of_a_standby_are_its_own() {
    let primary = Server::start(Options::default());
    let f = Fixture::on(&primary, "facts_standby");
    let cred = f.admin().issue("'orders'");
    kept(&primary, || primary.login(&cred.role, &f.name));
    let standby = primary.standby(Options::default());
    let on_standby = || facts(&mut standby.admin(&f.name), &cred.role);
    // The primary's came with the backup.
    assert!(file(&standby).exists());
    assert_eq!(on_standby(), "0 - -");
    kept(&standby, || {
        for _ in 0..2 {
            standby.login(&cred.role, &f.name);
        }
    });
    assert_eq!(on_standby(), "2 local -");
    assert_eq!(facts(&mut f.admin(), &cred.role), "1 local -");
    standby.restart();
    wait_until("the standby has its own again", 10, || {
        on_standby() == "2 local -"
    });
    // What it knows of absence ends with its promotion.
    let since = "SELECT since FROM _scope.login_facts() WHERE role IS NULL";
    let as_standby = standby.admin(&f.name).text(since);
    standby.promote();
    let mut admin = standby.admin(&f.name);
    let counted = format!("(SELECT coalesce(since <= '{as_standby}', false) FROM ({since}) n)");
    assert!(
        !admin.holds(&counted),
        "a primary claims to have counted as one"
    );
    wait_until("it counts anew", 10, || {
        admin.holds(&format!("(SELECT since > '{as_standby}' FROM ({since}) n)"))
    });
    standby.login(&cred.role, &f.name);
    standby.restart();
    wait_until("promoted, it has them still", 20, || {
        on_standby() == "3 local -"
    });
}

#[test]
fn facts_need_no_preload() {
    let server = Server::start(Options::without_preload());
    server.admin("postgres").run("CREATE EXTENSION scope_roles");
    let mut admin = server.admin("postgres");
    assert_eq!(admin.rows("SELECT * FROM _scope.login_facts()").len(), 0);
    assert_eq!(admin.rows("SELECT * FROM scope.credentials").len(), 0);
}
