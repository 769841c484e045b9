//! Crashes between any two commits, and what else a server can suffer: nothing is lost, nothing comes back to life.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use super::{
    assert_ended, assert_login_refused, last_error, launcher, wait_for_deadline, wait_until_gone,
};
use crate::harness::*;

/// The worker when it waits for a lock that the test holds.
fn worker_in_wait(admin: &mut Session) -> String {
    let mut pid = String::new();
    wait_until("the worker waits for the lock", 40, || {
        let waiting = admin.column(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'scope_roles worker' AND wait_event_type = 'Lock'",
        );
        pid = waiting.into_iter().next().unwrap_or_default();
        !pid.is_empty()
    });
    pid
}

/// It may have given up waiting, to try again, the moment before.
fn kill_worker_in_wait(server: &Server, admin: &mut Session) {
    wait_until("the worker is killed in its wait", 40, || {
        server.kill(worker_in_wait(admin))
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Worker,
    Postmaster,
}

/// Kills the worker, or the whole server, while `lock` keeps the worker from its next commit, and returns what the catalogues say of
/// the role after recovery, as `state login`; nothing when it is gone.
fn killed_at(lock: &str, victim: Victim, name: &str) -> String {
    let server = Server::start(Options::durable().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, name);
    let mut admin = f.admin();
    let cred = admin.issue(&format!("'orders', '{name}_cred', '1 s'"));
    let kept = admin.issue("'orders', valid_for => '1 day'");
    let mut holder = f.admin();
    holder.run(&format!("BEGIN; {lock}"));
    server.alter_system("scope_roles.expiry", "on");
    if victim == Victim::Postmaster {
        // Holds from the next start on, so that what was committed can be seen.
        admin.run("ALTER SYSTEM SET scope_roles.expiry = off");
    }
    match victim {
        Victim::Worker => kill_worker_in_wait(&server, &mut admin),
        Victim::Postmaster => {
            worker_in_wait(&mut admin);
            server.crash();
            server.recover();
        }
    }
    let mut admin = f.admin();
    let state = admin.text(&format!(
        "SELECT (SELECT state || ' ' || rolcanlogin FROM scope.roles JOIN pg_roles ON rolname = role WHERE role = {})",
        literal(&cred.role)
    ));
    assert_login_refused(server.try_login(&cred.role, &f.name));
    if victim == Victim::Postmaster {
        server.alter_system("scope_roles.expiry", "on");
    }
    wait_until_gone(&server, &cred.role, 30);
    kept.connect().rows("SELECT * FROM orders");
    state
}

#[test]
fn killed_before_the_first_commit() {
    const LOCK: &str = "LOCK TABLE pg_shseclabel IN SHARE MODE";
    assert_eq!(
        killed_at(LOCK, Victim::Postmaster, "fault_first"),
        "active true"
    );
    let state = killed_at(LOCK, Victim::Worker, "fault_first");
    // It may have gone on by the time that we look.
    assert!(
        ["active true", "ending false", ""].contains(&state.as_str()),
        "{state}"
    );
}

#[test]
fn killed_between_disabling_and_dropping() {
    const LOCK: &str = "LOCK TABLE pg_auth_members IN SHARE MODE";
    assert_eq!(
        killed_at(LOCK, Victim::Postmaster, "fault_second"),
        "ending false"
    );
    let state = killed_at(LOCK, Victim::Worker, "fault_second");
    assert!(["ending false", ""].contains(&state.as_str()), "{state}");
}

#[test]
fn a_crash_between_two_databases() {
    stopped_between_two_databases(Victim::Postmaster);
}

#[test]
fn a_worker_that_is_killed_between_two_databases() {
    stopped_between_two_databases(Victim::Worker);
}

fn stopped_between_two_databases(victim: Victim) {
    let server = Server::start(Options::durable().set("scope_roles.expiry", "off"));
    let (f, g) = (
        Fixture::on(&server, "fault_here"),
        Fixture::on(&server, "fault_there"),
    );
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'fault_two', '1 s'");
    f.admin().run("GRANT SELECT ON vault TO fault_two");
    g.admin()
        .run("CREATE ROLE fault_other; GRANT SELECT ON vault TO fault_two");
    let mut holder = g.admin();
    holder.run("BEGIN; GRANT SELECT ON vault TO fault_other");
    server.alter_system("scope_roles.expiry", "on");
    worker_in_wait(&mut admin);
    wait_until("what is here has been revoked", 30, || {
        admin.holds("(SELECT relacl::text NOT LIKE '%fault_two%' FROM pg_class WHERE relname = 'vault') IS NOT FALSE")
    });
    match victim {
        Victim::Postmaster => {
            server.crash();
            server.recover();
        }
        Victim::Worker => kill_worker_in_wait(&server, &mut admin),
    }
    let mut admin = f.admin();
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fault_two' AND rolcanlogin)",
    );
    admin.assert_that("(SELECT relacl::text NOT LIKE '%fault_two%' FROM pg_class WHERE relname = 'vault') IS NOT FALSE");
    assert_login_refused(cred.try_connect());
    wait_until_gone(&server, &cred.role, 30);
}

/// How far each role has come: 0 active, 1 disabled; one that is gone is missing.
fn progress(admin: &mut Session) -> Result<HashMap<String, u8>, Refusal> {
    let rows = admin.attempt(
        "SELECT rolname, CASE WHEN rolcanlogin OR label::json ->> 'state' = 'active' THEN 0 ELSE 1 END
           FROM pg_authid JOIN pg_shseclabel ON objoid = oid WHERE rolname LIKE 'crash\\_%'",
    )?;
    let cell = |cell: &Option<String>| cell.clone().unwrap_or_default();
    Ok(rows
        .iter()
        .map(|row| (cell(&row[0]), cell(&row[1]).parse().unwrap_or(9)))
        .collect())
}

/// Killed and stopped in every way, again and again, while it ends hundreds: each is as far as it was, or further.
#[test]
fn crashes_at_any_moment_never_take_anything_back() {
    const COUNT: usize = 1_500;
    let server = Server::start(Options::durable().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&server, "fault_any");
    let mut admin = f.admin();
    let model = admin.issue("'orders', valid_for => '1 day'").role;
    let kept = admin.issue("'orders', valid_for => '1 day'");
    crowd(
        &mut admin,
        &model,
        "crash",
        COUNT as u32,
        "now() - interval '1 s'",
    );
    let mut last = progress(&mut admin).expect("a server");
    assert_eq!(last.len(), COUNT);
    server.alter_system("scope_roles.expiry", "on");
    for round in 0..6 {
        // Sometimes it has only just begun, sometimes it is well under way.
        let pause = Duration::from_millis(20 + 90 * (round % 3));
        wait_until("something has been done", 40, || {
            admin = f.admin();
            progress(&mut admin).is_ok_and(|now| now.is_empty() || now != last)
        });
        std::thread::sleep(pause);
        if let Ok(now) = progress(&mut admin) {
            assert_forward(&last, &now);
            last = now;
        }
        match round % 3 {
            0 => {
                server.crash();
                server.recover();
            }
            1 => {
                server.stop_immediately();
                server.recover();
            }
            _ => wait_until("the launcher is killed", 20, || {
                server.kill(launcher(&server))
            }),
        }
        admin = f.admin();
        let now = progress(&mut admin).expect("a server");
        assert_forward(&last, &now);
        last = now;
    }
    wait_until("all are gone", 60, || {
        progress(&mut admin).expect("a server").is_empty()
    });
    kept.connect().rows("SELECT * FROM orders");
    assert!(admin.role_exists(&model));
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_shseclabel WHERE objoid NOT IN (SELECT oid FROM pg_authid))",
    );
    admin.assert_that(
        "NOT EXISTS (SELECT FROM pg_auth_members WHERE member NOT IN (SELECT oid FROM pg_authid))",
    );
}

#[track_caller]
fn assert_forward(before: &HashMap<String, u8>, after: &HashMap<String, u8>) {
    for (role, now) in after {
        match before.get(role) {
            Some(then) => assert!(now >= then, "{role} went from {then} to {now}"),
            None => panic!("{role} came back to life"),
        }
    }
}

#[test]
fn no_worker_slot_is_free() {
    // One is PostgreSQL's own, one the launcher's.
    let server = Server::start(Options::default().set("max_worker_processes", "2"));
    let f = Fixture::on(&server, "fault_slots");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'fault_slots_cred', '2 s'");
    let by_hand = admin.issue("'orders', 'fault_slots_hand', '2 s'");
    let mut s = cred.connect();
    let refusal = s.fails("SELECT pg_sleep(40)");
    assert_ended(&server, &refusal);
    wait_until("it says so", 20, || {
        last_error(&mut admin, "fault_slots_cred").contains("max_worker_processes")
    });
    assert!(server.log().contains("max_worker_processes is too low"));
    assert_login_refused(server.try_login(&cred.role, &f.name));
    // What needs no worker works.
    wait_for_deadline(&server, &by_hand);
    let rows = admin.rows("SELECT * FROM scope.expire_roles()");
    assert!(
        !admin.role_exists(&by_hand.role) && !admin.role_exists(&cred.role),
        "{rows:?}"
    );
    let later = admin.issue("'orders', 'fault_slots_later', '1 s'");
    wait_for_deadline(&server, &later);
    server.stop();
    server.reconfigure("max_worker_processes = 8\n");
    server.recover();
    wait_until_gone(&server, &later.role, 20);
}

#[test]
fn settings_for_all_sessions_do_not_stop_the_worker() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "fault_settings");
    let g = Fixture::on(&server, "fault_settings_away");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', 'fault_set', '4 s'");
    g.admin().run("GRANT SELECT ON orders TO fault_set");
    admin.run(
        "SET statement_timeout = 0; SET default_transaction_read_only = off; SET synchronous_commit = local;
         CREATE ROLE fault_nobody",
    );
    for target in [
        "DATABASE fault_settings",
        "DATABASE fault_settings_away",
        "ROLE ALL",
    ] {
        for setting in [
            "statement_timeout = '1ms'",
            "lock_timeout = '1ms'",
            "idle_in_transaction_session_timeout = '1ms'",
            "default_transaction_read_only = on",
            "default_transaction_isolation = serializable",
            "default_transaction_deferrable = on",
            "search_path = fault_settings",
            "role = fault_nobody",
            "deadlock_timeout = '1h'",
        ] {
            admin.run(&format!("ALTER {target} SET {setting}"));
        }
    }
    admin.run("ALTER SYSTEM SET statement_timeout = '1ms'");
    admin.run("ALTER SYSTEM SET lock_timeout = '1ms'");
    admin.run("ALTER SYSTEM SET idle_in_transaction_session_timeout = '1ms'");
    admin.run("ALTER SYSTEM SET default_transaction_read_only = on");
    admin.run("ALTER SYSTEM SET default_transaction_isolation = serializable");
    // A standby that never comes.
    admin.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    admin.run("SELECT pg_reload_conf()");
    wait_until("the role is gone", 40, || !admin.role_exists("fault_set"));
    assert_login_refused(cred.try_connect());
}

/// Mounts a small file system of its own over a folder of a server that is stopped; `None` where that is not permitted.
struct Mounted {
    path: std::path::PathBuf,
}

impl Mounted {
    fn over(server: &Server, folder: &str, megabytes: u32) -> Option<Mounted> {
        let path = server.data().join(folder);
        let aside = server.data().join(format!("{folder}.aside"));
        std::fs::rename(&path, &aside).expect("rename");
        std::fs::create_dir(&path).expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(&path)
            .output();
        if !mount.is_ok_and(|done| done.status.success()) {
            std::fs::remove_dir(&path).expect("a folder");
            std::fs::rename(&aside, &path).expect("rename");
            return None;
        }
        let mounted = Mounted { path };
        output(
            Command::new("cp")
                .arg("-a")
                .arg(aside.join("."))
                .arg(&mounted.path),
        );
        give_away(&mounted.path);
        output(Command::new("chmod").arg("700").arg(&mounted.path));
        Some(mounted)
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=4k", "status=none"])
            .arg(format!("of={}", self.path.join("filler").display()))
            .stderr(std::process::Stdio::null())
            .status();
    }

    fn free(&self) {
        std::fs::remove_file(self.path.join("filler")).expect("the filler");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the server may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// A server with hundreds of credentials that wait for its worker.
fn with_hundreds(name: &str) -> (Server, Credential) {
    let server = Server::start(
        Options::durable()
            .set("scope_roles.expiry", "off")
            .set("max_wal_size", "64MB")
            .set("min_wal_size", "32MB"),
    );
    let f = Fixture::on(&server, name);
    let mut admin = f.admin();
    let model = admin.issue("'orders', valid_for => '1 day'").role;
    let kept = admin.issue("'orders', valid_for => '1 day'");
    crowd(&mut admin, &model, "crash", 900, "now() - interval '1 s'");
    server.stop();
    (server, kept)
}

const NO_MOUNT: &str = "this machine does not permit a mount, so no disk can be full";

#[test]
fn the_disk_is_full_where_the_roles_are() {
    let (server, kept) = with_hundreds("fault_data");
    let Some(disk) = Mounted::over(&server, "global", 24) else {
        return skip(NO_MOUNT);
    };
    server.recover();
    let mut admin = server.admin("fault_data");
    let before = progress(&mut admin).expect("a server");
    disk.fill();
    server.alter_system("scope_roles.expiry", "on");
    wait_until("it says so", 40, || {
        server.log().contains("No space left on device")
    });
    let now = progress(&mut admin).expect("a server");
    assert_forward(&before, &now);
    assert_login_refused(server.try_login("crash_1", "fault_data"));
    disk.free();
    wait_until("all are gone", 90, || {
        progress(&mut admin).expect("a server").is_empty()
    });
    kept.connect().rows("SELECT * FROM orders");
    server.stop();
}

#[test]
fn the_disk_is_full_where_the_log_is() {
    let (server, kept) = with_hundreds("fault_wal");
    let Some(disk) = Mounted::over(&server, "pg_wal", 96) else {
        return skip(NO_MOUNT);
    };
    server.recover();
    let mut admin = server.admin("fault_wal");
    let before = progress(&mut admin).expect("a server");
    disk.fill();
    // Without room for the next file of its log PostgreSQL ends itself, and can't start.
    let _ = admin.attempt("ALTER SYSTEM SET scope_roles.expiry = on");
    let _ = admin.attempt("SELECT pg_reload_conf()");
    let _ = admin.attempt(
        "CREATE TABLE big AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 300000) i",
    );
    wait_until("it says so", 40, || {
        server.log().contains("No space left on device")
    });
    server.stop_immediately();
    disk.free();
    server.recover();
    let mut admin = server.admin("fault_wal");
    assert_forward(&before, &progress(&mut admin).expect("a server"));
    server.alter_system("scope_roles.expiry", "on");
    wait_until("all are gone", 90, || {
        progress(&mut admin).expect("a server").is_empty()
    });
    kept.connect().rows("SELECT * FROM orders");
    server.stop();
}
