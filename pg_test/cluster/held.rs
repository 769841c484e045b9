//! Strangers' open transactions: nobody without authority over a role holds up its end, its revocation or its rotation.

use std::time::{Duration, Instant};

use crate::harness::*;

/// Much longer than a call takes that nobody is in the way of, and than the moment for which it waits.
const BOUNDED: Duration = Duration::from_secs(8);

/// A login that may call everything of the extension, and owns a table.
fn stranger(f: &Fixture, name: &str) -> (String, Session) {
    let role = f.role(name, "LOGIN");
    f.admin().run(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {role};
         CREATE TABLE of_{name} (x int); ALTER TABLE of_{name} OWNER TO {role}"
    ));
    let session = f.login(&role);
    (role, session)
}

/// What is done in bounded time, or else is not done at all.
#[track_caller]
fn goes_through(f: &Fixture, call: &str) -> Vec<Vec<Option<String>>> {
    let mut s = f.admin();
    s.run(&format!("SET statement_timeout = {}", BOUNDED.as_millis()));
    let started = Instant::now();
    let answer = s.attempt(call);
    answer.unwrap_or_else(|e| panic!("{call}, after {:?}: {e}", started.elapsed()))
}

/// A login that is revoked can't come in any more, and its password is gone or will be.
#[track_caller]
fn is_refused(cred: &Credential) {
    let refusal = cred.try_connect().err().expect("a revoked login");
    assert!(
        ["28000", "28P01"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
}

fn locks(s: &mut Session, pid: &str) -> String {
    s.text(&format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND locktype = 'advisory' AND database = 0"
    ))
}

/// Every call that a stranger can make about somebody else's role or name and that does not fail.
#[test]
fn a_stranger_takes_no_lock_of_anothers_role_or_name() {
    let f = Fixture::new("held_names");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('held_theirs', '{select}', tables => '{orders}')");
    let cred = admin.handed("scope.create_credential('{held_theirs}')");
    let person = f.role("person", "LOGIN");
    let group = f.role("group", "NOLOGIN");
    let (name, mut s) = stranger(&f, "stranger");
    admin.run(&format!("GRANT SELECT ON orders TO {name}"));
    let pid = s.text("SELECT pg_backend_pid()");
    let calls = [
        "SELECT scope.create_scope('held_theirs', '{select}', tables => '{orders}', if_not_exists => true)".to_owned(),
        format!("SELECT scope.drop_scope('{}', if_exists => true)", "a name that collides"),
        "SELECT scope.drop_scope('held_not_there', if_exists => true)".to_owned(),
        format!("SELECT scope.revoke_temporary('{group}', '{person}')"),
        format!(r#"SELECT scope.apply('{{"version": 1, "roles": ["{group}"]}}')"#),
        r#"SELECT scope.apply('{"version": 1, "mode": "authoritative", "scopes": [{"name": "held_nobody", "absent": true}]}')"#.to_owned(),
    ];
    for call in &calls {
        s.run(&format!("BEGIN; {call}"));
        assert_eq!(locks(&mut admin, &pid), "0", "{call}");
        s.run("ROLLBACK");
    }
    // Those that fail hold nothing either, where the transaction goes on.
    let refused = [
        format!("SELECT scope.revoke_role('{}')", cred.role),
        format!("SELECT scope.rotate_password('{}')", cred.role),
        format!("SELECT scope.renew_role('{}')", cred.role),
        "SELECT scope.drop_scope('held_theirs')".to_owned(),
        "SELECT scope.alter_scope('held_theirs', 'add', '{select}', tables => '{of_stranger}')"
            .to_owned(),
        "SELECT scope.create_credential('{held_theirs}', 'held_taken')".to_owned(),
        format!(
            "SELECT scope.create_authenticator('{}', '{{held_theirs}}')",
            cred.role
        ),
        format!("SELECT scope.set_guard('{}', max_rows => 1)", cred.role),
        format!(
            "SELECT scope.set_login_policy('{}', allow_local => true)",
            cred.role
        ),
        format!("SELECT scope.guard_login('{person}', allow_local => true)"),
        format!("SELECT scope.grant_temporary('{group}', '{person}', '1 hour')"),
        "SELECT scope.create_scope('held_new', '{select}', tables => '{vault}')".to_owned(),
        "SELECT scope.create_readonly_role('vault', 'held_new')".to_owned(),
    ];
    for call in &refused {
        s.run("BEGIN; SAVEPOINT s");
        s.fails(call);
        s.run("ROLLBACK TO s");
        assert_eq!(locks(&mut admin, &pid), "0", "{call}");
        s.run("ROLLBACK");
    }
}

/// The role's own lock is the only one that an end waits for, and it is of the role's OID.
#[test]
fn a_text_that_a_stranger_chooses_leads_to_no_lock_that_an_end_waits_for() {
    let f = Fixture::new("held_text");
    let mut admin = f.admin();
    let (_, mut s) = stranger(&f, "stranger");
    let pid = s.text("SELECT pg_backend_pid()");
    let key = |s: &mut Session, admin: &mut Session, call: &str| {
        s.run(&format!("BEGIN; {call}"));
        let keys = admin.rows(&format!(
            "SELECT classid, objid, objsubid FROM pg_locks WHERE pid = {pid} AND locktype = 'advisory' AND database = 0 ORDER BY 3, 1, 2"
        ));
        s.run("ROLLBACK");
        keys
    };
    let make = "SELECT scope.create_scope('held_made', '{select}', tables => '{of_stranger}')";
    let keys = key(&mut s, &mut admin, make);
    assert!(!keys.is_empty());
    for row in &keys {
        assert_eq!(row[2].as_deref(), Some("5"), "a name is no role: {row:?}");
    }
    // The same name lies elsewhere in another run of the server.
    let server = Server::start(Options::default());
    let other = Fixture::on(&server, "held_text");
    let (_, mut there) = stranger(&other, "stranger");
    let there_pid = there.text("SELECT pg_backend_pid()");
    there.run(&format!("BEGIN; {make}"));
    let elsewhere = other.admin().rows(&format!(
        "SELECT classid, objid, objsubid FROM pg_locks WHERE pid = {there_pid} AND locktype = 'advisory' AND database = 0 ORDER BY 3, 1, 2"
    ));
    assert_ne!(keys, elsewhere);
}

#[test]
fn advisory_locks_of_sessions_with_our_numbers_are_other_locks() {
    let f = Fixture::new("held_advisory");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    let oid = admin.text(&format!("SELECT '{}'::regrole::oid", cred.role));
    let mut holder = f.admin();
    let pid = holder.text("SELECT pg_backend_pid()");
    holder.run(&format!(
        "BEGIN; SELECT scope.renew_role('{}', '1 hour')",
        cred.role
    ));
    assert_eq!(
        admin.text(&format!(
            "SELECT classid || ' ' || objid FROM pg_locks WHERE pid = {pid} AND locktype = 'advisory'"
        )),
        format!("1260 {oid}")
    );
    holder.run("ROLLBACK");
    let (_, mut s) = stranger(&f, "stranger");
    s.run(&format!(
        "SELECT pg_advisory_lock(1260, {oid}), pg_advisory_lock((1260::bigint << 32) + {oid}), pg_advisory_lock(0, {oid}),
                pg_advisory_lock({oid}), pg_advisory_lock_shared(1260, {oid})"
    ));
    goes_through(
        &f,
        &format!("SELECT scope.rotate_password('{}')", cred.role),
    );
    goes_through(&f, &format!("SELECT scope.revoke_role('{}')", cred.role));
    wait_until("it is dropped", 20, || !admin.role_exists(&cred.role));
}

/// What PostgreSQL lets a stranger hold of somebody else's login: an open transaction each, then the revocation, which goes
/// through; the last step says who is in the way, and is done when they have gone.
#[test]
fn open_transactions_of_strangers_do_not_hold_up_a_revocation() {
    let f = Fixture::new("held_revoke");
    let mut admin = f.admin();
    let (name, mut s) = stranger(&f, "stranger");
    let team = f.role("team", "NOLOGIN");
    admin.run(&format!("GRANT {team} TO {name} WITH ADMIN OPTION"));
    // (before, in the open transaction, whether the last step must wait for it)
    let ways: [(&str, &str, bool); 8] = [
        ("", "GRANT SELECT ON of_stranger TO {role}", true),
        (
            "GRANT SELECT ON of_stranger TO {role}",
            "REVOKE SELECT ON of_stranger FROM {role}",
            true,
        ),
        ("", "GRANT {team} TO {role}", false),
        ("GRANT {team} TO {role}", "REVOKE {team} FROM {role}", true),
        (
            "GRANT {team} TO {role}",
            "GRANT {team} TO {role} WITH ADMIN OPTION",
            true,
        ),
        (
            "",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}",
            true,
        ),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}",
            "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM {role}",
            true,
        ),
        (
            "",
            "CREATE POLICY p ON of_stranger TO {role} USING (true)",
            true,
        ),
    ];
    for (before, during, waits) in ways {
        let cred = admin.issue("'orders', valid_for => '1 hour'");
        let fill = |sql: &str| sql.replace("{role}", &cred.role).replace("{team}", &team);
        s.run(&fill(before));
        s.run(&format!("BEGIN; {}", fill(during)));
        goes_through(
            &f,
            &format!("SELECT scope.rotate_password('{}', '10 min')", cred.role),
        );
        goes_through(&f, &format!("SELECT scope.revoke_role('{}')", cred.role));
        is_refused(&cred);
        admin.assert_that(&format!(
            "(SELECT NOT rolcanlogin AND rolpassword IS NULL FROM pg_authid WHERE rolname = '{0}') IS NOT FALSE
             AND (SELECT state = 'ending' FROM scope.credentials WHERE role = '{0}') IS NOT FALSE",
            cred.role
        ));
        if waits {
            wait_until(&format!("{during}: it says who is in the way"), 40, || {
                admin.holds(&format!(
                    "(SELECT last_error LIKE '%process%' FROM scope.credentials WHERE role = '{}')",
                    cred.role
                ))
            });
        }
        s.run("COMMIT");
        wait_until(&format!("{during}: it is dropped"), 40, || {
            !admin.role_exists(&cred.role)
        });
        s.run("DROP POLICY IF EXISTS p ON of_stranger");
    }
    // A membership that was granted while the login went is swept with the next one.
    let last = admin.issue("'orders', valid_for => '1 hour'");
    admin.run(&format!("SELECT scope.revoke_role('{}')", last.role));
    wait_until("nothing is left of them", 40, || {
        admin.holds(
            "NOT EXISTS (SELECT FROM pg_auth_members m WHERE NOT EXISTS (SELECT FROM pg_authid a WHERE a.oid = m.member))",
        )
    });
}

/// On 15 CREATEROLE may alter, and comment on, every login that is no superuser.
#[test]
fn an_open_alter_role_or_comment_does_not_hold_up_a_revocation() {
    // Other tests change roles too, and may be named in its place.
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "held_row");
    let mut admin = f.admin();
    for during in [
        "ALTER ROLE {role} CONNECTION LIMIT 3",
        "ALTER ROLE {role} VALID UNTIL 'infinity'",
        "COMMENT ON ROLE {role} IS 'a comment locks it'",
        "ALTER ROLE {role} SET work_mem = '1MB'",
        "SECURITY LABEL FOR scope_roles_guard ON ROLE {role} IS NULL",
    ] {
        let cred = admin.issue("'orders', valid_for => '1 hour'");
        let mut other = f.admin();
        other.run(&format!("BEGIN; {}", during.replace("{role}", &cred.role)));
        let mut s = f.admin();
        s.run(&format!("SET statement_timeout = {}", BOUNDED.as_millis()));
        s.run(&format!(
            "SELECT scope.revoke_role('{}', 'leaked')",
            cred.role
        ));
        is_refused(&cred);
        admin.assert_that(&format!(
            "(SELECT state = 'ending' FROM scope.credentials WHERE role = '{0}') IS NOT FALSE",
            cred.role
        ));
        if during.starts_with("ALTER ROLE {role} CONN") || during.contains("VALID UNTIL") {
            let pid = other.text("SELECT pg_backend_pid()");
            let notices = s.notices();
            assert!(
                notices
                    .iter()
                    .any(|notice| notice.detail.contains(&format!("process {pid}"))),
                "{notices:?}"
            );
            wait_until("it says who is in the way", 40, || {
                admin.holds(&format!(
                    "(SELECT last_error IS NOT NULL FROM scope.credentials WHERE role = '{}')",
                    cred.role
                ))
            });
        }
        other.run("COMMIT");
        // Whatever that transaction has written.
        is_refused(&cred);
        wait_until("it is dropped", 40, || !admin.role_exists(&cred.role));
    }
}

#[test]
fn open_transactions_of_strangers_do_not_hold_up_the_end_of_a_temporary_membership() {
    let f = Fixture::new("held_temporary");
    let mut admin = f.admin();
    let (name, mut s) = stranger(&f, "stranger");
    let (group, person) = (f.role("group", "NOLOGIN"), f.role("person", "LOGIN"));
    let team = f.role("team", "NOLOGIN");
    admin.run(&format!("GRANT {team} TO {name} WITH ADMIN OPTION"));
    admin.run(&format!("GRANT SELECT ON vault TO {group}"));
    for (by_hand, valid_for) in [(true, "1 hour"), (false, "2 seconds")] {
        admin.run(&format!(
            "SELECT scope.grant_temporary('{group}', '{person}', '{valid_for}')"
        ));
        let between = admin.text(&format!(
            "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = '{person}'::regrole"
        ));
        s.run(&format!(
            "GRANT {team} TO {between}; BEGIN; GRANT {team} TO {between} WITH ADMIN OPTION"
        ));
        if by_hand {
            goes_through(
                &f,
                &format!("SELECT scope.revoke_temporary('{group}', '{person}')"),
            );
        }
        wait_until("the membership is gone", 20, || {
            !admin.holds(&format!("pg_has_role('{person}', '{group}', 'USAGE')"))
        });
        f.login(&person).denied("SELECT * FROM vault", "42501");
        s.run("COMMIT");
        wait_until("it is dropped", 40, || !admin.role_exists(&between));
    }
    // Whoever has no part in it does not keep others from granting.
    s.run(&format!(
        "BEGIN; SELECT scope.revoke_temporary('{group}', '{person}')"
    ));
    goes_through(
        &f,
        &format!("SELECT scope.grant_temporary('{group}', '{person}', '1 hour')"),
    );
    s.run("ROLLBACK");
}

#[test]
fn the_owner_of_a_table_does_not_hold_up_the_end_of_a_scope() {
    let f = Fixture::new("held_scope");
    let mut admin = f.admin();
    let (_, mut s) = stranger(&f, "stranger");
    admin.run("SELECT scope.create_scope('held_scope_one', '{select}', tables => '{of_stranger}')");
    let cred = admin.handed("scope.create_credential('{held_scope_one}')");
    s.run("BEGIN; GRANT INSERT ON of_stranger TO PUBLIC");
    goes_through(
        &f,
        "SELECT scope.drop_scope('held_scope_one', force => true)",
    );
    cred.connect().denied("SELECT * FROM of_stranger", "42501");
    wait_until("it says who is in the way", 40, || {
        admin.holds("(SELECT state = 'ending' AND last_error LIKE '%process%' FROM scope.roles WHERE role = 'held_scope_one')")
    });
    s.run("ROLLBACK");
    wait_until("it is dropped", 40, || !admin.role_exists("held_scope_one"));
}

/// Who has authority can hold it up, and is named.
#[test]
fn an_open_call_of_the_issuer_is_named_where_a_dba_looks() {
    let f = Fixture::new("held_issuer");
    let mut admin = f.admin();
    let cred = admin.issue("'orders', valid_for => '2 seconds'");
    let mut other = f.admin();
    let pid = other.text("SELECT pg_backend_pid()");
    other.run(&format!(
        "BEGIN; SELECT scope.set_guard('{}', max_rows => 5)",
        cred.role
    ));
    wait_until("it says who is in the way", 40, || {
        admin.holds(&format!(
            "(SELECT state = 'ending' AND last_error LIKE '%process {pid}%' FROM scope.credentials WHERE role = '{}')",
            cred.role
        ))
    });
    is_refused(&cred);
    other.run("COMMIT");
    wait_until("it is dropped", 40, || !admin.role_exists(&cred.role));
}

/// A stranger who creates under the name that somebody's next scope would have, and does not commit.
#[test]
fn a_stranger_on_the_foreseeable_name_of_a_scope_does_not_hold_up_who_issues() {
    let f = Fixture::new("held_foreseen");
    let mut admin = f.admin();
    let first = admin.issue("'orders', valid_for => '1 hour'");
    let scope = admin.scope_of(&first.role);
    admin.run(&format!("SELECT scope.revoke_role('{}')", first.role));
    wait_until("it is dropped", 20, || !admin.role_exists(&first.role));
    admin.run(&format!("SELECT scope.drop_scope('{scope}')"));
    let (_, mut s) = stranger(&f, "stranger");
    s.run(&format!(
        "BEGIN; SELECT scope.create_scope('{scope}', '{{select}}', tables => '{{of_stranger}}')"
    ));
    goes_through(&f, "SELECT scope.create_readonly_role('orders')");
    s.run("COMMIT");
    goes_through(&f, "SELECT scope.create_readonly_role('orders')");
}

/// Who granted a membership shuts its holder out of everything by leaving open what would end or prolong it.
#[test]
fn attack_a_grantors_open_transaction_shuts_out_the_member() {
    let f = Fixture::new("held_member");
    let mut admin = f.admin();
    let grantor = f.role("grantor", "LOGIN");
    admin.run(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {grantor}; CREATE TABLE of_grantor (x int); ALTER TABLE of_grantor OWNER TO {grantor}"
    ));
    for (number, hold) in [
        "SELECT scope.revoke_temporary('{scope}', '{victim}')",
        "SELECT scope.drop_scope('{scope}', true)",
        "SELECT scope.grant_temporary('{scope}', '{victim}', '1 hour')",
    ]
    .into_iter()
    .enumerate()
    {
        let victim = f.role(&format!("victim_{number}"), "LOGIN");
        let scope = format!("held_member_scope_{number}");
        admin.run(&format!(
            "CREATE TABLE own_{number} (x int); ALTER TABLE own_{number} OWNER TO {victim}; GRANT {victim} TO {grantor} WITH ADMIN OPTION"
        ));
        let mut s = f.login(&grantor);
        s.run(&format!(
            "SELECT scope.create_scope('{scope}', '{{select}}', tables => '{{of_grantor}}'); SELECT scope.grant_temporary('{scope}', '{victim}', '3 seconds')"
        ));
        let mut v = f.login(&victim);
        v.run(&format!(
            "SELECT * FROM own_{number}; SELECT * FROM of_grantor"
        ));
        let hold = hold.replace("{scope}", &scope).replace("{victim}", &victim);
        s.run(&format!("BEGIN; {hold}"));
        wait_until(&format!("{hold}: the membership has ended"), 20, || {
            v.attempt("SELECT * FROM of_grantor").is_err()
        });
        wait_until(&format!("{hold}: the member works again"), 60, || {
            v.attempt(&format!("SELECT * FROM own_{number}")).is_ok()
        });
        v.denied("SELECT * FROM of_grantor", "42501");
        // What still holds the membership is ended all the same.
        wait_until(&format!("{hold}: its session is ended"), 60, || {
            s.attempt("SELECT 1").is_err()
        });
    }
}
