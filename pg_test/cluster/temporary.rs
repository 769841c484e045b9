//! `scope.grant_temporary`: a membership that ends by itself, also under sessions that use it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::harness::*;

/// A person, and an owner with a table that only the owner reads.
struct Scene {
    f: Fixture<'static>,
    person: String,
    owner: String,
}

impl Scene {
    fn new(name: &str) -> Scene {
        Scene::of(Fixture::new(name))
    }

    fn of(f: Fixture<'static>) -> Scene {
        let (person, owner) = (f.role("person", "LOGIN"), f.role("owner", "NOLOGIN"));
        f.admin().run(&format!(
            "GRANT CREATE ON SCHEMA public TO {owner}; ALTER TABLE vault OWNER TO {owner}"
        ));
        Scene { f, person, owner }
    }

    fn grant(&self, valid_for: &str) -> String {
        self.f.admin().text(&format!(
            "SELECT scope.grant_temporary('{}', '{}', '{valid_for}', 'incident 12')",
            self.owner, self.person
        ))
    }

    fn revoke(&self) -> Session {
        let mut admin = self.f.admin();
        admin.run(&format!(
            "SELECT scope.revoke_temporary('{}', '{}')",
            self.owner, self.person
        ));
        admin
    }

    /// A session of the person that has taken the role.
    fn acting(&self) -> Session {
        let mut s = self.f.login(&self.person);
        s.run(&format!("SET ROLE {}", self.owner));
        assert_eq!(s.text("SELECT secret FROM vault"), "treasure");
        s
    }

    /// The role in between, if there is one.
    fn between(&self) -> Vec<String> {
        self.f.admin().column(&format!(
            "SELECT role FROM scope.credentials WHERE kind = 'temporary' AND granted_to = '{}'",
            self.person
        ))
    }

    #[track_caller]
    fn assert_back_to_itself(&self, s: &mut Session) {
        s.run("ROLLBACK; RESET ROLE");
        assert_eq!(s.text("SELECT current_user"), self.person);
        s.denied("SELECT * FROM vault", "42501");
        s.denied(&format!("SET ROLE {}", self.owner), "42501");
    }
}

#[test]
fn it_ends_by_itself_in_sessions_that_have_taken_the_role() {
    let scene = Scene::new("temporary_end");
    let deadline = scene.grant("3 s");
    let mut inherits = scene.f.login(&scene.person);
    assert_eq!(inherits.text("SELECT secret FROM vault"), "treasure");
    assert_eq!(
        scene.f.admin().rows(&format!(
            "SELECT state, scopes::text, reason, created_by, valid_until = {}::timestamptz, database FROM scope.credentials
             WHERE granted_to = '{}'",
            literal(&deadline),
            scene.person
        )),
        [[
            "active",
            &format!("{{{}}}", scene.owner),
            "incident 12",
            "postgres",
            "t",
            "temporary_end"
        ]
        .map(|cell| Some(cell.to_owned()))]
    );
    let mut acting = scene.acting();
    let mut cursor = scene.acting();
    cursor.run("BEGIN; DECLARE c CURSOR FOR SELECT secret FROM vault, generate_series(1, 100)");
    assert_eq!(cursor.rows("FETCH 2 FROM c").len(), 2);
    let mut running = scene.acting();
    // The deadline passes while it is running.
    let refusal = running.fails("SELECT pg_sleep(4)");
    assert_eq!(refusal.code, "28000", "{refusal}");
    for session in [&mut running, &mut acting] {
        let refusal = session.refused("SELECT 1", "42501");
        assert!(refusal.hint.contains("RESET ROLE"), "{refusal}");
    }
    cursor.refused("FETCH 2 FROM c", "42501");
    inherits.denied("SELECT * FROM vault", "42501");
    for session in [&mut running, &mut acting, &mut cursor, &mut inherits] {
        scene.assert_back_to_itself(session);
    }
    // The sessions are still there, and so is what stands in their way.
    assert_eq!(scene.between().len(), 1);
    drop((running, acting, cursor, inherits));
    wait_until("nothing of it is left", 30, || scene.between().is_empty());
}

#[test]
fn no_kind_of_statement_gets_through_after_a_revocation() {
    let scene = Scene::new("temporary_revoke");
    scene.f.admin().run(
        "CREATE FUNCTION peek() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT secret FROM vault); END';
         CREATE FUNCTION slow() RETURNS text LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(2); RETURN (SELECT secret FROM vault); END';
         CREATE PROCEDURE touch() LANGUAGE plpgsql AS 'BEGIN UPDATE vault SET secret = secret; END'",
    );
    scene.grant("1 hour");
    let mut s = scene.acting();
    s.run("PREPARE peek AS SELECT secret FROM vault; EXECUTE peek");
    let prepared = s
        .client
        .prepare("SELECT secret FROM vault")
        .expect("prepare");
    s.client.query(&prepared, &[]).expect("before");
    let mut slow = scene.acting();
    let mut block = scene.acting();
    block.run("BEGIN");
    std::thread::scope(|threads| {
        let function = threads.spawn(|| slow.attempt("SELECT slow()"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        scene.revoke();
        // The function was running; its next statement fails.
        let refusal = function.join().expect("a thread").expect_err("slow()");
        assert_eq!(refusal.code, "42501", "{refusal}");
        assert!(
            refusal.message.contains("temporary membership"),
            "{refusal}"
        );
    });
    for sql in [
        "SELECT secret FROM vault",
        "SELECT 1",
        "TABLE vault",
        "VALUES (1)",
        "INSERT INTO vault VALUES ('x')",
        "UPDATE vault SET secret = ''",
        "DELETE FROM vault",
        "TRUNCATE vault",
        "DROP TABLE vault",
        "CREATE TABLE mine (x int)",
        "ALTER TABLE vault OWNER TO postgres",
        "GRANT ALL ON vault TO PUBLIC",
        "EXECUTE peek",
        "EXPLAIN ANALYZE SELECT secret FROM vault",
        "DO $$ BEGIN PERFORM * FROM vault; END $$",
        "CALL touch()",
        "SELECT peek()",
        "COPY vault TO STDOUT",
        "COPY (SELECT * FROM vault) TO STDOUT",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM vault",
        "LOCK TABLE vault",
        "LISTEN x",
        "NOTIFY x",
        "ANALYZE vault",
        "PREPARE other AS SELECT * FROM vault",
        "SELECT set_config('work_mem', '1MB', false)",
        "SHOW work_mem",
    ] {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = s.attempt_by(protocol, sql).expect_err(sql);
            assert_eq!(refusal.code, "42501", "{protocol:?} {sql}: {refusal}");
            assert!(
                refusal.message.contains("temporary membership"),
                "{sql}: {refusal}"
            );
        }
    }
    let again: Refusal = s.client.query(&prepared, &[]).expect_err("prepared").into();
    assert_eq!(again.code, "42501", "{again}");
    block.refused("SELECT 1", "42501");
    scene.assert_back_to_itself(&mut block);
    // What a pooler does between two clients is allowed too.
    s.run("DISCARD ALL");
    scene.assert_back_to_itself(&mut s);
    scene
        .f
        .admin()
        .assert_that("(SELECT secret = 'treasure' FROM vault)");
}

/// `Describe` of a portal that was bound in time, and `Execute` after the end.
#[test]
fn a_portal_and_the_fast_path_do_not_get_through_either() {
    let scene = Scene::new("temporary_wire");
    let mut admin = scene.f.admin();
    admin.run("CREATE FUNCTION peek() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT secret FROM vault); END'");
    let pg_sleep = admin.text("SELECT 'pg_backend_pid()'::regprocedure::oid");
    scene.grant("1 hour");
    let mut wire = Wire::open(&scene.f, &scene.person);
    wire.query("BEGIN");
    wire.query(&format!("SET ROLE {}", scene.owner));
    // A suspended portal: one row of many.
    wire.send(
        b'P',
        b"\0SELECT secret FROM vault, generate_series(1, 9)\0\0\0",
    );
    wire.send(b'B', b"p\0\0\0\0\0\0\0\0");
    wire.send(b'E', b"p\0\0\0\0\x01");
    wire.send(b'H', b"");
    assert!(wire.until(b's').contains("treasure"));
    scene.revoke();
    wire.send(b'E', b"p\0\0\0\0\x01");
    wire.send(b'S', b"");
    let answer = wire.until(b'Z');
    assert!(
        answer.contains("42501") && !answer.contains("treasure"),
        "{answer}"
    );
    wire.query("ROLLBACK");
    wire.query(&format!("SET ROLE {}", scene.person));
    let mut fast = Wire::open(&scene.f, &scene.person);
    scene.grant("1 hour");
    fast.query(&format!("SET ROLE {}", scene.owner));
    let call = {
        let oid: u32 = pg_sleep.parse().expect("an OID");
        let mut call = oid.to_be_bytes().to_vec();
        call.extend([0, 0, 0, 0, 0, 0]);
        call
    };
    fast.send(b'F', &call);
    assert!(!fast.until(b'Z').contains("42501"));
    scene.revoke();
    fast.send(b'F', &call);
    let answer = fast.until(b'Z');
    assert!(answer.contains("42501"), "{answer}");
}

/// Just enough of the protocol to hold a portal open.
struct Wire(UnixStream);

impl Wire {
    fn open(f: &Fixture, role: &str) -> Wire {
        let mut wire = Wire(UnixStream::connect(f.server.socket()).expect("socket"));
        let mut start = 196_608u32.to_be_bytes().to_vec();
        start.extend(format!("user\0{role}\0database\0{}\0\0", f.name).as_bytes());
        let length = u32::try_from(start.len() + 4).expect("short").to_be_bytes();
        wire.0
            .write_all(&[&length[..], &start].concat())
            .expect("start");
        wire.until(b'Z');
        wire
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
        self.0
            .write_all(&[&[kind][..], &length, body].concat())
            .expect("send");
    }

    #[track_caller]
    fn query(&mut self, sql: &str) {
        self.send(b'Q', format!("{sql}\0").as_bytes());
        let answer = self.until(b'Z');
        assert!(!answer.contains("ERROR"), "{sql}: {answer}");
    }

    /// Everything up to and with a message of this kind, as text.
    fn until(&mut self, kind: u8) -> String {
        let mut text = String::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).expect("a message");
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("its body");
            text += &String::from_utf8_lossy(&body);
            if head[0] == kind {
                return text;
            }
        }
    }
}

#[test]
fn ordinary_memberships_and_roles_are_left_to_postgresql() {
    let scene = Scene::new("temporary_others");
    let other = scene.f.role("other", "LOGIN");
    let (mut admin, owner) = (scene.f.admin(), &scene.owner);
    admin.run(&format!("GRANT {owner} TO {other}"));
    scene.grant("1 hour");
    let mut ordinary = scene.f.login(&other);
    ordinary.run(&format!("SET ROLE {owner}"));
    ordinary.rows("SELECT * FROM vault");
    scene.revoke();
    ordinary.rows("SELECT * FROM vault");
    // PostgreSQL asks once, and never again: not ours to change.
    admin.run(&format!("REVOKE {owner} FROM {other}"));
    ordinary.rows("SELECT * FROM vault");
    // Nor a superuser's session.
    let mut root = scene.f.admin();
    root.run(&format!("SET ROLE {owner}"));
    root.rows("SELECT * FROM vault");
}

#[test]
fn it_ends_for_groups_of_the_role_and_for_members_of_the_login() {
    let scene = Scene::new("temporary_groups");
    let group = scene.f.role("group", "NOLOGIN");
    let deputy = scene.f.role("deputy", "LOGIN");
    scene.f.admin().run(&format!(
        "GRANT {group} TO {}; GRANT {} TO {deputy}",
        scene.owner, scene.person
    ));
    scene.grant("1 hour");
    let between = scene.between().remove(0);
    let mut sessions = Vec::new();
    for (login, role) in [
        (&scene.person, &group),
        (&deputy, &scene.owner),
        (&deputy, &group),
        (&scene.person, &between),
    ] {
        let mut s = scene.f.login(login);
        s.run(&format!("SET ROLE {role}; SELECT 1"));
        sessions.push(s);
    }
    // A role that the person holds in its own right.
    let mut own = scene.f.login(&deputy);
    own.run(&format!("SET ROLE {}; SELECT 1", scene.person));
    scene.revoke();
    for s in &mut sessions {
        s.refused("SELECT 1", "42501");
    }
    own.run("SELECT 1");
    assert_eq!(scene.between(), [between], "dropped under their feet");
    drop(sessions);
    drop(own);
    wait_until("nothing of it is left", 30, || scene.between().is_empty());
}

#[test]
fn granted_again_the_new_deadline_counts() {
    let scene = Scene::new("temporary_again");
    scene.grant("2 s");
    let mut s = scene.acting();
    let deadline = scene.grant("1 hour");
    assert_eq!(scene.between().len(), 1);
    s.run("SELECT pg_sleep(2.2)");
    assert_eq!(s.text("SELECT secret FROM vault"), "treasure");
    scene.f.admin().assert_that(&format!(
        "{}::timestamptz BETWEEN now() + '59 min' AND now() + '1 hour'",
        literal(&deadline)
    ));
    scene.grant("1 s");
    assert_eq!(s.fails("SELECT pg_sleep(2)").code, "28000");
    s.refused("SELECT secret FROM vault", "42501");
    // And once more after the end, for a session that is still there.
    scene.grant("1 hour");
    assert_eq!(s.text("SELECT secret FROM vault"), "treasure");
    scene.revoke();
    s.refused("SELECT secret FROM vault", "42501");
    let mut admin = scene.revoke();
    let notices = admin.notices();
    assert!(
        notices
            .iter()
            .any(|n| n.message.contains("no temporary membership")),
        "{notices:?}"
    );
    s.refused("SELECT secret FROM vault", "42501");
}

#[test]
fn a_rolled_back_grant_or_revocation_never_was() {
    let scene = Scene::new("temporary_rollback");
    let (owner, person) = (&scene.owner, &scene.person);
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "BEGIN; SELECT scope.grant_temporary('{owner}', '{person}', '1 hour'); ROLLBACK"
    ));
    scene.f.login(person).denied("SELECT * FROM vault", "42501");
    scene.grant("1 hour");
    let mut s = scene.acting();
    admin.run(&format!(
        "BEGIN; SELECT scope.revoke_temporary('{owner}', '{person}'); ROLLBACK"
    ));
    s.rows("SELECT * FROM vault");
}

#[test]
fn the_role_in_between_is_nobodys_to_use() {
    let scene = Scene::new("temporary_between");
    scene.grant("1 hour");
    let between = scene.between().remove(0);
    let mut admin = scene.f.admin();
    admin.run(&format!("ALTER ROLE {between} LOGIN"));
    let refusal = scene
        .f
        .server
        .try_login(&between, &scene.f.name)
        .err()
        .expect("a login");
    assert_eq!(refusal.code, "28000", "{refusal}");
    let mut s = scene.f.login(&scene.person);
    let stranger = scene.f.role("stranger", "LOGIN");
    s.denied(&format!("GRANT {between} TO {stranger}"), "42501");
    s.denied(&format!("GRANT {} TO {stranger}", scene.owner), "42501");
    s.run(&format!("SET ROLE {between}"));
    s.denied(&format!("GRANT {between} TO {stranger}"), "42501");
    s.refused("ALTER ROLE CURRENT_USER SET work_mem = '1MB'", "42501");
    s.refused(
        &format!("ALTER ROLE {between} VALID UNTIL 'infinity'"),
        "42501",
    );
}

#[test]
fn only_who_may_grant_the_role_grants_it_for_a_time() {
    let scene = Scene::new("temporary_who");
    let (owner, person) = (&scene.owner, &scene.person);
    let manager = scene.f.role("manager", "LOGIN");
    let mut admin = scene.f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.grant_temporary, scope.revoke_temporary, scope.create_readonly_role TO {manager}"
    ));
    let grant = format!("SELECT scope.grant_temporary('{owner}', '{person}', '1 hour')");
    let revoke = format!("SELECT scope.revoke_temporary('{owner}', '{person}')");
    scene.f.login(person).denied(&grant, "42501");
    let mut s = scene.f.login(&manager);
    s.refused(&grant, "42501");
    scene.grant("1 hour");
    s.refused(&revoke, "42501");
    admin.run(&format!("GRANT {owner} TO {manager}"));
    s.refused(&grant, "42501");
    s.refused(&revoke, "42501");
    admin.run(&format!("GRANT {owner} TO {manager} WITH ADMIN OPTION"));
    s.run(&revoke);
    s.run(&grant);
    // What she has not asked for, of somebody who has nothing to say about her login, she has to take.
    let mut asked = scene.f.login(person);
    asked.denied("SELECT * FROM vault", "42501");
    asked.run(&format!("SET ROLE {owner}; SELECT * FROM vault"));
    // The creator of a scope hands it out, too.
    admin.run(&format!("ALTER TABLE orders OWNER TO {manager}"));
    let cred = s.issue("'orders'");
    let scope = admin.scope_of(&cred.role);
    s.run(&format!(
        "SELECT scope.grant_temporary('{scope}', '{person}', '1 hour')"
    ));
    asked.run(&format!("SET ROLE {scope}; SELECT * FROM orders"));
    // Of whoever may arrange for it she inherits.
    s.run(&revoke);
    admin.run(&format!("GRANT {person} TO {manager}"));
    s.run(&grant);
    scene.f.login(person).rows("SELECT * FROM vault");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scene = Scene::new("temporary_input");
    let (f, owner, person) = (&scene.f, &scene.owner, &scene.person);
    let mut admin = f.admin();
    let group = f.role("group", "NOLOGIN");
    let root = f.role("root", "LOGIN SUPERUSER");
    let member = f.role("member", &format!("LOGIN IN ROLE {owner}"));
    let cred = admin.issue("'orders'").role;
    for (arguments, sqlstate) in [
        (format!("NULL, '{person}', '1 h'"), "22004"),
        (format!("'{owner}', NULL, '1 h'"), "22004"),
        (format!("'{owner}', '{person}', NULL"), "22004"),
        (format!("'nobody', '{person}', '1 h'"), "42704"),
        (format!("'{owner}', 'nobody', '1 h'"), "42704"),
        (format!("'{owner}', 'public', '1 h'"), "42704"),
        (format!("'postgres', '{person}', '1 h'"), "42501"),
        (format!("'{owner}', '{root}', '1 h'"), "42501"),
        (format!("'{cred}', '{person}', '1 h'"), "42809"),
        (format!("'{owner}', '{cred}', '1 h'"), "42809"),
        (format!("'{owner}', '{group}', '1 h'"), "42809"),
        (format!("'{owner}', '{member}', '1 h'"), "42710"),
        (format!("'{person}', '{person}', '1 h'"), "0LP01"),
        (format!("'{member}', '{person}', '0'"), "22023"),
        (format!("'{owner}', '{person}', '-1 s'"), "22023"),
        (format!("'{owner}', '{person}', '10 years'"), "22023"),
        (
            format!("'{owner}', '{person}', '1 h', repeat('x', 201)"),
            "22023",
        ),
    ] {
        admin.refused(
            &format!("SELECT scope.grant_temporary({arguments})"),
            sqlstate,
        );
    }
    admin.run(&format!("GRANT {person} TO {group}"));
    admin.refused(
        &format!("SELECT scope.grant_temporary('{group}', '{person}', '1 h')"),
        "0LP01",
    );
    for (arguments, sqlstate) in [
        (format!("NULL, '{person}'"), "22004"),
        (format!("'{owner}', NULL"), "22004"),
        ("'nobody', 'nobody'".to_owned(), "42704"),
    ] {
        admin.refused(
            &format!("SELECT scope.revoke_temporary({arguments})"),
            sqlstate,
        );
    }
    admin.run("BEGIN READ ONLY");
    admin.refused(
        &format!("SELECT scope.grant_temporary('{owner}', '{person}', '1 h')"),
        "25006",
    );
    admin.run("ROLLBACK");
    assert_eq!(scene.between(), [""; 0]);
}

/// A caller waits for the lock of another one, and is stripped of the right meanwhile.
#[test]
fn right_to_grant_lost_while_waiting_for_the_lock() {
    let f = Fixture::new("temporary_lost");
    // From 16 on PostgreSQL locks a role that is granted: a REVOKE waits as well.
    if f.server.version() >= 160_000 {
        return;
    }
    let (owner, person) = (f.role("owner", "NOLOGIN"), f.role("person", "LOGIN"));
    let caller = f.role("caller", "LOGIN");
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {caller}"
    ));
    let name = "temporary_lost_gated";
    let temporary = format!("scope.grant_temporary('{owner}', '{person}', '1 hour')");
    let authenticator = format!("scope.create_authenticator('{name}', '{{{owner}}}')");
    for call in [&temporary, &authenticator] {
        let call = format!("SELECT {call}");
        admin.run(&format!("GRANT {owner} TO {caller} WITH ADMIN OPTION"));
        let mut first = f.admin();
        first.run(&format!("BEGIN; {call}"));
        let mut second = f.login(&caller);
        let pid = second.text("SELECT pg_backend_pid()");
        let refusal = std::thread::scope(|threads| {
            let waiting = threads.spawn(|| second.attempt(&call));
            wait_until("the caller waits for the lock", 20, || {
                admin.holds(&format!(
                    "EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted AND locktype = 'advisory')"
                ))
            });
            admin.run(&format!("REVOKE {owner} FROM {caller}"));
            first.run("ROLLBACK");
            waiting.join().expect("a thread").expect_err(&call)
        });
        assert_eq!(refusal.code, "42501", "{call}: {refusal}");
        // The caller was refused for the right alone.
        admin.run(&format!("GRANT {owner} TO {caller} WITH ADMIN OPTION"));
        second.run(&format!("BEGIN; {call}; ROLLBACK"));
        admin.run(&format!("REVOKE {owner} FROM {caller}"));
    }
    assert!(!admin.role_exists(name));
    admin.assert_that(&format!("NOT pg_has_role('{person}', '{owner}', 'MEMBER')"));
}

/// The name that was checked belongs to another role when the wait is over.
#[test]
fn role_of_the_same_name_made_while_waiting_for_the_lock() {
    let f = Fixture::new("temporary_swapped");
    let (owner, person) = (f.role("owner", "NOLOGIN"), f.role("person", "LOGIN"));
    let mut admin = f.admin();
    let call = format!("SELECT scope.grant_temporary('{owner}', '{person}', '1 hour')");
    let mut first = f.admin();
    first.run(&format!("BEGIN; {call}"));
    let mut second = f.admin();
    let pid = second.text("SELECT pg_backend_pid()");
    let refusal = std::thread::scope(|threads| {
        let waiting = threads.spawn(|| second.attempt(&call));
        wait_until("the caller waits for the lock", 20, || {
            admin.holds(&format!(
                "EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted AND locktype = 'advisory')"
            ))
        });
        admin.run(&format!(
            "ALTER ROLE {owner} RENAME TO {owner}_before; CREATE ROLE {owner}"
        ));
        first.run("ROLLBACK");
        waiting.join().expect("a thread").expect_err(&call)
    });
    assert_eq!(refusal.code, "42704", "{refusal}");
    admin.assert_that(&format!("NOT pg_has_role('{person}', '{owner}', 'MEMBER')"));
}

/// Whoever may grant a role of theirs chooses nothing for logins of others: neither what these inherit nor what guards it has.
#[test]
fn attack_a_guarded_scope_is_granted_to_a_login_of_others() {
    let f = Fixture::new("temporary_trap");
    let (mallory, alice) = (f.role("mallory", "LOGIN"), f.role("alice", "LOGIN"));
    let mut admin = f.admin();
    admin.run(&format!(
        "CREATE SCHEMA trap AUTHORIZATION {mallory}; CREATE SCHEMA own AUTHORIZATION {alice};
         GRANT CONNECT ON DATABASE temporary_trap TO {mallory} WITH GRANT OPTION;
         GRANT EXECUTE ON FUNCTION scope.create_scope, scope.set_guard, scope.grant_temporary TO {mallory}"
    ));
    let mut open = f.login(&alice);
    open.run("SELECT 1");
    let mut s = f.login(&mallory);
    s.run(&format!(
        "CREATE TABLE trap.bait (x int); INSERT INTO trap.bait VALUES (1);
         SELECT scope.create_scope('temporary_trap_scope', '{{SELECT}}', '{{trap.bait}}');
         SELECT scope.set_guard('temporary_trap_scope', max_rows => 0, forbid => '{{ddl,set,do,temp,copy_to,lock,listen,large_objects}}');
         SELECT scope.grant_temporary('temporary_trap_scope', '{alice}', '1 hour', 'please')"
    ));
    let between = admin.text("SELECT role FROM scope.credentials WHERE kind = 'temporary'");
    let _ = s.attempt(&format!(
        "SELECT scope.set_guard('{between}', max_rows => 0, forbid => '{{ddl}}')"
    ));
    for session in [&mut open, &mut f.login(&alice)] {
        session.run("SELECT 1; SHOW work_mem; SET work_mem = '1MB'; CREATE TABLE own.x (i int); DROP TABLE own.x; DO 'BEGIN END'; EXPLAIN SELECT 1");
        session.denied("SELECT * FROM trap.bait", "42501");
        // To be had for the asking, with its guards.
        session.run("SET ROLE temporary_trap_scope");
        session.denied("SELECT * FROM trap.bait", "54000");
        session.run("RESET ROLE");
        session.run("SELECT 1");
    }
    // By whoever may arrange for the login it is inherited, guards and all: once more for the same two, too.
    admin.run(&format!(
        "SELECT scope.grant_temporary('temporary_trap_scope', '{alice}', '1 hour')"
    ));
    open.denied("SELECT * FROM trap.bait", "54000");
}

/// A plain REVOKE in a transaction that stays open, by whoever has ADMIN OPTION on the role.
#[test]
fn attack_an_ended_membership_is_held_to_shut_its_login_out() {
    // A server of its own: what is held would be told of in others' tests.
    let server = Box::leak(Box::new(Server::start(Options::default())));
    let scene = Scene::of(Fixture::on(server, "temporary_shut"));
    let mallory = scene.f.role("mallory", "LOGIN");
    scene.f.admin().run(&format!(
        "GRANT {} TO {mallory} WITH ADMIN OPTION; CREATE TABLE own (x int); ALTER TABLE own OWNER TO {}",
        scene.owner, scene.person
    ));
    scene.grant("3 s");
    let between = scene.between().remove(0);
    let mut victim = scene.f.login(&scene.person);
    victim.run("SELECT * FROM vault; SELECT * FROM own");
    let mut attacker = scene.f.login(&mallory);
    let held = attacker.attempt(&format!("BEGIN; REVOKE {} FROM {between}", scene.owner));
    if held.is_err() {
        // Since 16 only who has granted it revokes it.
        attacker.run("ROLLBACK; BEGIN");
        let mut admin = scene.f.admin();
        admin.run(&format!("BEGIN; REVOKE {} FROM {between}", scene.owner));
        attacker = admin;
    }
    std::thread::sleep(std::time::Duration::from_secs(4));
    wait_until("the login works", 20, || {
        victim.attempt("SELECT * FROM own").is_ok()
    });
    victim.denied("SELECT * FROM vault", "42501");
    let _ = victim.attempt(&format!("SET ROLE {}", scene.owner));
    victim.denied("SELECT * FROM vault", "42501");
    victim.run("RESET ROLE");
    // Still held.
    assert_eq!(attacker.text("SELECT 1"), "1");
    attacker.run("ROLLBACK");
    wait_until("it is gone", 30, || {
        victim.attempt("DISCARD ALL").is_ok() && scene.f.admin().holds(&format!(
            "NOT EXISTS (SELECT FROM pg_auth_members WHERE member = (SELECT oid FROM pg_roles WHERE rolname = '{between}'))"
        ))
    });
}

/// The cursor stays open, and reads on, when the session has gone back from the role.
#[test]
fn attack_a_cursor_of_the_role_is_read_after_reset_role() {
    let scene = Scene::new("temporary_cursor");
    let alone = scene.f.role("alone", "LOGIN NOINHERIT");
    let mut admin = scene.f.admin();
    scene.grant("4 s");
    admin.run(&format!(
        "SELECT scope.grant_temporary('{}', '{alone}', '4 s')",
        scene.owner
    ));
    let mut wires = Vec::new();
    for login in [&scene.person, &alone] {
        let mut wire = crate::harness::Wire::open(scene.f.server, login, &scene.f.name);
        wire.query(&format!("BEGIN; SET LOCAL ROLE {}", scene.owner));
        wire.query("DECLARE c CURSOR FOR SELECT secret FROM vault, generate_series(1, 99)");
        wire.bind("p", "SELECT secret FROM vault, generate_series(1, 99)");
        wire.execute("p", 1);
        wire.send(Some(b'H'), b"");
        let answers = wire.query("RESET ROLE; SELECT current_user; FETCH 1 FROM c");
        assert!(
            answers.iter().any(|(_, body)| body.contains("treasure")),
            "{answers:?}"
        );
        wires.push(wire);
    }
    // Once the worker has taken the membership away, nothing is inherited any more.
    std::thread::sleep(std::time::Duration::from_secs(5));
    for wire in &mut wires {
        wire.query("SAVEPOINT s");
        wire.execute("p", 1);
        let executed = wire.sync();
        wire.query("ROLLBACK TO s");
        let fetched = wire.query("FETCH 1 FROM c");
        for answers in [executed, fetched] {
            assert!(has_error(&answers, "42501"), "{answers:?}");
            assert!(
                answers.iter().all(|(_, body)| !body.contains("treasure")),
                "{answers:?}"
            );
        }
    }
}

/// From PostgreSQL 18 on a deferred trigger runs as the role that has queued it, whatever the session is by then.
#[test]
fn attack_a_deferred_trigger_acts_as_the_role_after_its_end() {
    for revoked in [true, false] {
        let name = if revoked {
            "temporary_queued_r"
        } else {
            "temporary_queued_e"
        };
        let scene = Scene::new(name);
        let (owner, person) = (&scene.owner, &scene.person);
        let mut admin = scene.f.admin();
        admin.run(&format!(
            "CREATE SCHEMA lab; GRANT ALL ON SCHEMA lab TO {person}, {owner}"
        ));
        let mut s = scene.f.login(person);
        s.run(&format!(
            "CREATE TABLE lab.dq (x int); CREATE TABLE lab.loot (who name, what text); GRANT ALL ON lab.dq, lab.loot TO {owner};
             CREATE FUNCTION lab.take() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO lab.loot SELECT current_user, secret FROM public.vault; RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER t AFTER INSERT ON lab.dq DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lab.take()"
        ));
        scene.grant(if revoked { "1 hour" } else { "2 seconds" });
        let queued = format!("BEGIN; SET ROLE {owner}; INSERT INTO lab.dq VALUES (1); RESET ROLE");
        s.run(&queued);
        let mut immediate = scene.f.login(person);
        immediate.run(&queued);
        if revoked {
            scene.revoke();
        } else {
            wait_until("the membership has ended", 30, || {
                admin.holds(&format!("NOT pg_has_role('{person}', '{owner}', 'MEMBER')"))
            });
        }
        assert!(immediate.attempt("SET CONSTRAINTS ALL IMMEDIATE").is_err());
        assert!(s.attempt("COMMIT").is_err());
        admin.assert_that("NOT EXISTS (SELECT FROM lab.loot)");
        // The next transaction is the person's own.
        s.run("BEGIN; INSERT INTO lab.loot VALUES ('own', ''); COMMIT");
    }
}

/// PostgreSQL asks for rights when a cursor is opened, and its rows come when nothing tells any more by which right.
#[test]
fn attack_cursors_opened_by_a_membership_that_has_ended() {
    for revoked in [true, false] {
        let name = if revoked {
            "temporary_cursors_r"
        } else {
            "temporary_cursors_e"
        };
        let scene = Scene::new(name);
        let (owner, person) = (&scene.owner, &scene.person);
        let mut admin = scene.f.admin();
        admin.run(&format!(
            "INSERT INTO vault SELECT 'more' FROM generate_series(1, 100);
             CREATE TABLE own AS SELECT generate_series(1, 100) AS i; GRANT SELECT ON own TO {person}"
        ));
        scene.grant(if revoked { "1 hour" } else { "3 seconds" });
        let of = "CURSOR FOR SELECT secret FROM vault";
        let held = "CURSOR WITH HOLD FOR SELECT secret FROM vault";
        let [
            mut inherits,
            mut holds,
            mut takes,
            mut holds_taken,
            mut theirs,
        ] = std::array::from_fn(|_| scene.f.login(person));
        inherits.run(&format!(
            "BEGIN; DECLARE c {of}; FETCH 5 FROM c; SAVEPOINT s"
        ));
        holds.run(&format!("BEGIN; DECLARE c {held}; COMMIT; FETCH 1 FROM c"));
        takes.run(&format!(
            "BEGIN; SET LOCAL ROLE {owner}; DECLARE c {of}; FETCH 1 FROM c; RESET ROLE; SAVEPOINT s"
        ));
        holds_taken.run(&format!(
            "BEGIN; SET LOCAL ROLE {owner}; DECLARE c {held}; COMMIT; FETCH 1 FROM c"
        ));
        theirs.run("BEGIN; DECLARE c CURSOR FOR SELECT i FROM own; FETCH 1 FROM c; SAVEPOINT s");
        if revoked {
            scene.revoke();
        }
        wait_until("the membership is gone", 30, || {
            admin.holds(&format!("NOT pg_has_role('{person}', '{owner}', 'MEMBER')"))
        });
        for s in [&mut inherits, &mut takes] {
            s.refused("FETCH 5 FROM c", "42501");
            s.run("ROLLBACK TO s");
        }
        for s in [&mut holds, &mut holds_taken] {
            let inside = "DO $$ DECLARE c refcursor := 'c'; r text; BEGIN FETCH c INTO r; RAISE NOTICE '%', r; END $$";
            for sql in ["FETCH 5 FROM c", inside, "MOVE 1 IN c"] {
                s.refused(sql, "42501");
            }
            s.run("CLOSE c");
            s.run("SELECT count(*) FROM own");
        }
        // Their own goes on once nothing else does.
        for s in [&mut inherits, &mut takes] {
            s.run(
                "ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT i FROM own; FETCH 5 FROM c; COMMIT",
            );
        }
        // Nobody can tell by which right this one was opened.
        theirs.refused("FETCH 5 FROM c", "42501");
    }
}
