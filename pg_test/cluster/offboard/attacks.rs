//! Attacks on leaves: by who has no authority, and by who is to leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Leaver, state_of, told};
use crate::harness::*;
use crate::jwt::{Gate, switch_session};

/// EXECUTE on the function is no authority over anything.
#[test]
fn attack_somebody_without_authority_offboards_another() {
    let l = Leaver::new("offboard_nobody");
    let f = &l.f;
    let mallory = f.role("mallory", "LOGIN");
    f.login(&mallory).denied(
        &format!("SELECT * FROM scope.offboard('{}')", l.bob),
        "42501",
    );
    f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.offboard TO {mallory}"
    ));
    let mut open = f.login(&l.bob);
    let mut s = f.login(&mallory);
    let apply = ", reason => 'gone', apply => true";
    let successor = format!("{apply}, successor => '{mallory}'");
    for more in [apply, &successor] {
        let rows = s.rows(&l.call(more));
        assert!(rows.len() > 5, "{rows:?}");
        for row in &rows {
            assert_eq!(row[2].as_deref(), Some("f"), "{row:?}");
            assert!(!row[3].as_deref().unwrap_or_default().is_empty(), "{row:?}");
            assert_eq!(row[4].as_deref(), Some(""), "a password: {row:?}");
        }
    }
    // With every function, too: each asks for itself.
    f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.revoke_role, scope.rotate_password, scope.reassign, scope.revoke_temporary TO {mallory}"
    ));
    for more in [apply, &successor] {
        for row in s.rows(&l.call(more)) {
            assert_eq!(row[2].as_deref(), Some("f"), "{row:?}");
            assert_eq!(row[4].as_deref(), Some(""), "{row:?}");
        }
    }
    assert_eq!(open.text("SELECT 1"), "1");
    f.login(&l.bob);
    assert_eq!(state_of(f, &l.credential.role), "active");
    l.service.connect();
    // What it may not read of the record it does not learn.
    let rows = s.rows(&l.call(""));
    assert!(
        !told(&rows)
            .iter()
            .any(|told| told.contains(&l.service.role)),
        "{rows:?}"
    );
    assert!(
        told(&rows).contains(&"password scope.audit_log f".to_owned()),
        "{rows:?}"
    );
}

#[test]
fn attack_createrole_offboards_a_superuser_and_itself() {
    let l = Leaver::new("offboard_createrole");
    let f = &l.f;
    let (mallory, root) = (
        f.role("mallory", "LOGIN CREATEROLE"),
        f.role("root", "LOGIN SUPERUSER"),
    );
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.offboard, scope.end_sessions TO {mallory};
         CREATE FUNCTION leave(who name) RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
           AS $$SELECT kind FROM scope.offboard(who, reason => 'x', apply => true)$$"
    ));
    let mut s = f.login(&mallory);
    let call = |who: &str, more: &str| format!("SELECT * FROM scope.offboard('{who}'{more})");
    for more in ["", ", reason => 'x', apply => true"] {
        s.refused(&call(&root, more), "42501");
        s.refused(&call(&mallory, more), "42501");
    }
    // Nor through a function of somebody else.
    s.refused(&format!("SELECT public.leave('{mallory}')"), "42501");
    // Nor as another superuser.
    let mut as_root = f.login(&root);
    as_root.run("SET ROLE postgres");
    as_root.refused(&call(&root, ""), "42501");
    as_root.run("RESET ROLE; SET SESSION AUTHORIZATION postgres");
    as_root.refused(&call(&root, ""), "42501");
    // An ordinary login it may disable, where PostgreSQL lets it: on 15.
    let rows = s.rows(&l.call(", reason => 'x', apply => true"));
    let may = f.server.version() < 160_000;
    assert_eq!(
        told(&rows)[0],
        format!("login {} {}", l.bob, if may { "t" } else { "f" })
    );
    assert_eq!(state_of(f, &l.credential.role), "active");
}

/// A holder of tokens cannot end their own trail, nor another issuer's subject of the same name.
#[test]
fn attack_a_subject_offboards_itself() {
    let g = Gate::new("offboard_itself");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.offboard, scope.revoke_subject TO {};
         ALTER ROLE {} SET scope_roles.session_switches = on",
        g.reader, g.auth
    ));
    let mut s = g.login();
    s.run(&switch_session(&g.token(serde_json::json!({}))));
    s.refused("SELECT * FROM scope.offboard(subject => 'ann')", "42501");
    s.refused(
        &format!("SELECT * FROM scope.offboard('{}')", g.auth),
        "42501",
    );
    s.refused(
        &format!("SELECT * FROM scope.offboard('{}')", g.reader),
        "42501",
    );
    assert_eq!(
        s.column("SELECT kind FROM scope.offboard(subject => 'offboard-joe', reason => 'x', apply => true) WHERE done"),
        ["tokens"]
    );
}

/// A transaction of the person's has the row of the login, and a credential that nobody can see yet.
#[test]
fn attack_an_open_transaction_of_the_person_holds_it_all_up() {
    let l = Leaver::new("offboard_open");
    let f = &l.f;
    let mut open = f.login(&l.bob);
    open.run(&format!(
        "BEGIN; ALTER ROLE {} PASSWORD 'mine'; SELECT scope.create_credential('{{{}}}', 'offboard_open_late')",
        l.bob, l.scope
    ));
    let mut admin = f.admin();
    let rows = admin.rows(&l.call(", reason => 'left', apply => true"));
    assert_eq!(told(&rows)[0], format!("login {} t", l.bob), "{rows:?}");
    assert!(
        told(&rows).contains(&format!("credential {} t", l.credential.role)),
        "{rows:?}"
    );
    open.fails("COMMIT");
    assert!(!admin.role_exists("offboard_open_late"));
}

/// Has other threads stop, also when the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The person logs in again and again while it runs: nobody of them is there after the commit.
#[test]
fn attack_the_person_logs_in_again_while_it_runs() {
    let l = Leaver::new("offboard_again");
    let f = &l.f;
    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        let stopping = Stops(&stop);
        let logins: Vec<_> = (0..3)
            .map(|_| {
                threads.spawn(|| {
                    let mut open = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        if open.len() < 30 {
                            open.extend(f.server.try_login(&l.bob, &f.name).ok());
                        } else {
                            open.clear();
                        }
                    }
                    open
                })
            })
            .collect();
        let mut admin = f.admin();
        wait_until("they are in", 20, || {
            admin.holds(&format!(
                "(SELECT count(*) > 5 FROM pg_stat_activity WHERE usename = '{}')",
                l.bob
            ))
        });
        admin.run("BEGIN");
        let rows = admin.rows(&l.call(", reason => 'left', apply => true"));
        assert_eq!(told(&rows)[0], format!("login {} t", l.bob), "{rows:?}");
        // It is not committed, so they come in.
        wait_until("they are in again", 20, || {
            admin.holds(&format!(
                "EXISTS (SELECT FROM pg_stat_get_activity(NULL) a WHERE a.usesysid = '{}'::regrole)",
                l.bob
            ))
        });
        admin.run("COMMIT");
        wait_until("nobody is left", 20, || {
            admin.holds(&format!(
                "NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL) a WHERE a.usesysid = '{}'::regrole)",
                l.bob
            ))
        });
        drop(stopping);
        for thread in logins {
            for mut session in thread.join().expect("a thread") {
                session.fails("SELECT 1");
            }
        }
    });
}

/// A rollback leaves the login, and ends no session that has come since.
#[test]
fn a_rollback_ends_no_new_session() {
    let l = Leaver::new("offboard_rollback");
    let mut admin = l.f.admin();
    admin.run(&format!(
        "BEGIN; {}",
        l.call(", reason => 'left', apply => true")
    ));
    let mut s = l.f.login(&l.bob);
    admin.run("ROLLBACK");
    admin.run("BEGIN; COMMIT");
    assert_eq!(s.text("SELECT 1"), "1");
    assert_eq!(state_of(&l.f, &l.credential.role), "active");
    l.service.connect();
}

/// Names that end a string, an identifier or a line, and things of the person's that would run as whoever looks at them.
#[test]
fn attack_names_and_code_of_the_person() {
    let f = Fixture::new("offboard_hostile");
    let names = [
        "bob'; DROP TABLE vault; --",
        "bob\"; DROP TABLE vault; --",
        "bob\\",
        "bob\n-- x",
        "Select",
    ];
    let mut admin = f.admin();
    admin.run("CREATE TABLE seen (what text); GRANT INSERT ON seen TO PUBLIC");
    // No name of a role has a newline from 19 on.
    let is_name = |name: &&&str| f.server.version() < 190_000 || !name.contains('\n');
    for (n, name) in names.iter().filter(is_name).enumerate() {
        let (role, heir) = (ident(name), ident(&format!("heir of {name}")));
        admin.run(&format!(
            "CREATE ROLE {role} LOGIN; CREATE ROLE {heir}; CREATE ROLE {group}; GRANT {group} TO {role};
             CREATE SCHEMA {schema} AUTHORIZATION {role};
             SELECT scope.grant_temporary({group_name}, {name}, '1 hour')",
            group = ident(&format!("group of {name}")),
            schema = ident(&format!("of {name}")),
            group_name = literal(&format!("heir of {name}")),
            name = literal(name),
        ));
        admin.run(&format!(
            "SET ROLE {role};
             CREATE FUNCTION {schema}.trap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen VALUES (current_user); RETURN NULL; END$$;
             CREATE FUNCTION {schema}.eq(text, text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen VALUES (current_user); RETURN true; END$$;
             CREATE OPERATOR {schema}.= (FUNCTION = {schema}.eq, LEFTARG = text, RIGHTARG = text);
             CREATE TABLE {schema}.pg_auth_members (roleid oid, member oid, grantor oid);
             CREATE TABLE {schema}.{role} (x int);
             CREATE TRIGGER trap AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {schema}.{role} EXECUTE FUNCTION {schema}.trap();
             RESET ROLE",
            schema = ident(&format!("of {name}")),
        ));
        // A search path of theirs changes nothing.
        admin.run(&format!(
            "SET search_path = {}, pg_catalog, public",
            ident(&format!("of {name}"))
        ));
        let rows = admin.rows(&format!(
            "SELECT kind, name, done, detail, action FROM scope.offboard({}, {} , {}, true, {})",
            literal(name),
            "NULL",
            literal(name),
            literal(&format!("heir of {name}"))
        ));
        admin.run("SET search_path = public");
        let told = told(&rows);
        assert!(
            told.iter()
                .any(|told| told.starts_with("login ") && told.ends_with(" t")),
            "{n}: {rows:?}"
        );
        for row in &rows {
            let is_listed =
                ["membership", "object"].contains(&row[0].as_deref().unwrap_or_default());
            assert_eq!(
                row[2].as_deref(),
                Some(if is_listed { "f" } else { "t" }),
                "{rows:?}"
            );
        }
        // What is proposed does what it says.
        for row in rows.iter().filter(|row| row[2].as_deref() == Some("f")) {
            admin.run(row[4].as_deref().expect("an action"));
        }
        admin.assert_that(&format!(
            "NOT EXISTS (SELECT FROM scope.offboard({}))",
            literal(name)
        ));
    }
    assert_eq!(admin.text("SELECT count(*) FROM seen"), "0");
    assert_eq!(admin.text("SELECT count(*) FROM vault"), "1");
}
