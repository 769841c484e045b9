//! Groups of a token that give several roles together: a composite role; and how many sessions a subject may have.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{HBA, primary, server};
use crate::harness::*;
use crate::jwt::issuers::{ED, iss};

/// Scopes `s0` to `s5`, each of which reads a table of its own, and a login by token for all but the last one. The groups `g0` to `g5` give them.
struct Groups<'a> {
    f: Fixture<'a>,
    scopes: Vec<String>,
    login: String,
}

const SCOPES: usize = 6;

impl<'a> Groups<'a> {
    fn open(server: &'a Server, name: &str) -> Self {
        let f = Fixture::on(server, name);
        let scopes: Vec<String> = (0..SCOPES).map(|i| format!("{name}_s{i}")).collect();
        let login = format!("{name}_login");
        let mut admin = f.admin();
        for (i, scope) in scopes.iter().enumerate() {
            admin.run(&format!(
                "CREATE TABLE t{i} (x int); INSERT INTO t{i} VALUES ({i});
                 SELECT scope.create_scope('{scope}', '{{select}}', tables => '{{t{i}}}')"
            ));
        }
        let map: Vec<String> = (scopes.iter().enumerate())
            .map(|(i, scope)| json!({format!("g{i}"): scope}).to_string())
            .collect();
        admin.run(&format!(
            "SELECT scope.add_jwt_issuer('corp', '{}', {}, role_claim => 'groups', role_map => '[{}]');
             SELECT scope.create_token_login('{login}', '{{{}}}', '{{corp}}')",
            iss("corp"),
            literal(&jwks(&[&ED])),
            map.join(","),
            scopes[..SCOPES - 1].join(",")
        ));
        Groups { f, scopes, login }
    }

    fn token_with(&self, groups: &[usize], more: Value) -> String {
        let groups: Vec<String> = groups.iter().map(|i| format!("g{i}")).collect();
        let mut claims =
            json!({"iss": iss("corp"), "sub": "ann", "exp": now() + 600, "groups": groups});
        for (claim, value) in more.as_object().expect("an object") {
            claims[claim] = value.clone();
        }
        ED.token("EdDSA", &claims)
    }

    fn token_until(&self, groups: &[usize], exp: i64) -> String {
        self.token_with(groups, json!({"exp": exp}))
    }

    fn token(&self, groups: &[usize]) -> String {
        self.token_with(groups, json!({}))
    }

    fn knock(&self, token: &str) -> Result<Session, Refusal> {
        self.f.server.try_token(&self.login, token, &self.f.name)
    }

    /// The composite role ends in so many seconds.
    fn hurry(&self, of: &[usize], seconds: u32) {
        let name = self.name(of);
        self.f.admin().run(&format!(
            "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE %I IS %L', '{name}',
               (SELECT jsonb_set(label::jsonb, '{{valid_until}}', to_jsonb(to_char(now() AT TIME ZONE 'UTC' + interval '{seconds} s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')))
                  FROM pg_shseclabel WHERE provider = 'scope_roles' AND objoid = '\"{name}\"'::regrole)); END $$"
        ));
    }

    fn name(&self, of: &[usize]) -> String {
        let of: Vec<&str> = of.iter().map(|&i| self.scopes[i].as_str()).collect();
        of.join("+")
    }

    /// What the session may do is this, and nothing else.
    #[track_caller]
    fn assert_reads(&self, s: &mut Session, of: &[usize]) {
        for i in 0..SCOPES {
            match s.attempt(&format!("SELECT x FROM t{i}")) {
                Ok(_) => assert!(of.contains(&i), "t{i} of {of:?}"),
                Err(refusal) => {
                    assert_eq!(refusal.code, "42501", "{refusal}");
                    assert!(!of.contains(&i), "no t{i} of {of:?}");
                }
            }
            s.denied(&format!("INSERT INTO t{i} VALUES (9)"), "42501");
        }
        s.denied("SELECT * FROM vault", "42501");
    }

    #[track_caller]
    fn turns_away(&self, groups: &[usize], reason: &str) {
        let before = self.f.server.log().len();
        let refusal = self.knock(&self.token(groups)).err().expect("no login");
        assert_eq!(refusal.code, "28P01", "{refusal}");
        let log = self.f.server.log();
        assert!(log[before..].contains(reason), "{}", &log[before..]);
    }
}

/// The session may not go on: the connection ends.
#[track_caller]
fn ends(s: &mut Session, sql: &str) {
    let refusal = s.attempt(sql).expect_err("no answer");
    assert!(["28000", ""].contains(&&*refusal.code), "{refusal}");
    assert!(s.attempt("SELECT 1").is_err());
}

#[test]
fn random_groups_give_their_scopes_together_and_no_more() {
    let server = server();
    let g = Groups::open(&server, "g_random");
    let mut admin = g.f.admin();
    let mut seed = 0x2545_f491_u32;
    let mut sessions = Vec::new();
    for _ in 0..16 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let asked: Vec<usize> = (0..SCOPES).filter(|i| seed >> (8 + i) & 1 == 1).collect();
        // The last one is not the login's.
        let given: Vec<usize> = asked.iter().copied().filter(|&i| i < SCOPES - 1).collect();
        if given.is_empty() {
            continue;
        }
        let mut s = g.knock(&g.token(&asked)).expect("a login");
        assert_eq!(s.text("SELECT current_user"), g.name(&given));
        g.assert_reads(&mut s, &given);
        sessions.push((s, given));
    }
    // Sessions have nothing of each other.
    for (s, given) in &mut sessions {
        g.assert_reads(s, given);
    }
    let sets: std::collections::BTreeSet<&Vec<usize>> = (sessions.iter().map(|(_, given)| given))
        .filter(|given| given.len() > 1)
        .collect();
    assert!(sets.len() > 4, "{sets:?}");
    assert_eq!(
        admin.text("SELECT count(*) FROM scope.roles WHERE kind = 'composite' AND state = 'active' AND valid_until > now() + interval '23 hours'"),
        sets.len().to_string()
    );
    g.turns_away(&[], "role_claim");
    g.turns_away(&[SCOPES - 1], "role_not_granted");
    // The issuer's own list has to have them all.
    let allow = |roles: &[String]| {
        let roles = json!({ "allowed_roles": roles });
        format!("SELECT scope.alter_jwt_issuer('corp', '{roles}')")
    };
    admin.run(&allow(&g.scopes[..2]));
    g.turns_away(&[0, 1, 2], "role_not_allowed");
    g.knock(&g.token(&[0, 1])).expect("a login");
    admin.run(&allow(&g.scopes));
    // Neither reviews nor specs have anything to say of them, and nobody manages them by hand.
    let name = g.name(&[0, 1]);
    g.knock(&g.token(&[0, 1])).expect("a login");
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.review() WHERE role_name = '{name}' OR object_name LIKE '%{name}%')"
    ));
    admin.assert_that(&format!("scope.export_spec()::text NOT LIKE '%{name}%'"));
    admin.assert_that(&format!(
        "shobj_description('\"{name}\"'::regrole, 'pg_authid') LIKE 'scope_roles: composite role, made by %'"
    ));
    admin.assert_that(&format!(
        "(SELECT scopes FROM scope.credentials WHERE role = '{}') = '{{{}}}'",
        g.login,
        g.scopes[..SCOPES - 1].join(",")
    ));
    admin.refused(&format!("SELECT scope.revoke_role('{name}')"), "42809");
    admin.refused(&format!("SELECT scope.drop_scope('{name}')"), "42809");
}

#[test]
fn many_come_at_once_with_groups_that_nobody_had_before() {
    let server = server();
    let g = Groups::open(&server, "g_once");
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut s = g.knock(&g.token(&[2, 3, 4])).expect("a login");
                assert_eq!(s.text("SELECT current_user"), g.name(&[2, 3, 4]));
                s.run("SELECT * FROM t4");
            });
        }
    });
    // Whatever the client has made its default.
    let options = "-c default_transaction_read_only=on";
    let mut config = server.by_socket();
    config
        .user(&g.login)
        .password(g.token(&[0, 4]))
        .dbname(&g.f.name);
    let mut s = Session::open(config.options(options)).expect("a login");
    assert_eq!(s.text("SHOW transaction_read_only"), "on");
    s.run("SELECT * FROM t0, t4");
}

#[test]
fn guards_settings_and_the_read_only_rule_of_scopes_hold_for_several() {
    let server = server();
    let g = Groups::open(&server, "g_rules");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "INSERT INTO t1 SELECT 1 FROM generate_series(1, 50);
         CREATE FUNCTION sneak() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.t0 VALUES (7)';
         ALTER ROLE {0} SET statement_timeout = '7s'; ALTER ROLE {0} SET work_mem = '1MB';
         ALTER ROLE {1} SET work_mem = '2MB';
         SELECT scope.set_guard('{1}', max_rows => 10)",
        g.scopes[0], g.scopes[1]
    ));
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    assert_eq!(s.text("SHOW statement_timeout"), "7s");
    assert_eq!(s.text("SHOW work_mem"), "2MB");
    s.denied("SELECT x FROM t1", "54000");
    s.run("SELECT x FROM t0");
    let refusal = s.denied("SELECT sneak()", "42501");
    assert!(refusal.message.contains("only reads"), "{refusal}");
    admin.run(&format!(
        "SELECT scope.alter_scope('{0}', 'add', '{{insert}}', tables => '{{t0}}')",
        g.scopes[0]
    ));
    // A policy for one of them is one for whoever has it among others.
    admin.run(&format!(
        "INSERT INTO t0 VALUES (90); ALTER TABLE t0 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t0 TO {} USING (x = 90)",
        g.scopes[0]
    ));
    assert_eq!(s.text("SELECT string_agg(x::text, ' ') FROM t0"), "90");
    let mut other = g.knock(&g.token(&[1, 2])).expect("a login");
    other.denied("SELECT x FROM t0", "42501");
    admin.run("ALTER TABLE t0 DISABLE ROW LEVEL SECURITY");
    // One that writes, with one that reads.
    s.run("INSERT INTO t0 VALUES (8)");
    s.denied("INSERT INTO t1 VALUES (8)", "42501");
}

#[test]
fn attack_what_scopes_give_together_outlives_one_of_them() {
    let server = server();
    let g = Groups::open(&server, "g_outlive");
    let mut admin = g.f.admin();
    let knock = || g.knock(&g.token(&[0, 1, 2])).expect("a login");
    // The login has lost one.
    let mut s = knock();
    admin.run(&format!("REVOKE {} FROM {}", g.scopes[1], g.login));
    ends(&mut s, "SELECT x FROM t0");
    g.turns_away(&[0, 1, 2], "role_not_");
    admin.run(&format!("GRANT {} TO {}", g.scopes[1], g.login));
    // A scope has been dropped, which composite roles do not keep from happening.
    let mut s = knock();
    let login = &g.login;
    admin.run(&format!(
        "REVOKE {0} FROM {login}; SELECT scope.drop_scope('{0}')",
        g.scopes[2]
    ));
    ends(&mut s, "SELECT x FROM t0");
    g.turns_away(&[0, 1, 2], "role_unknown");
    // Another token's, or none: the map gives them no more.
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    admin.run(&format!(
        "SELECT scope.alter_jwt_issuer('corp', '{{\"role_map\": [{{\"g0\": \"{}\"}}]}}')",
        g.scopes[0]
    ));
    ends(&mut s, "SELECT x FROM t0");
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    assert_eq!(s.text("SELECT current_user"), g.scopes[0]);
}

#[test]
fn attack_a_composite_role_is_given_more_than_its_scopes() {
    let server = server();
    let g = Groups::open(&server, "g_more");
    let mut admin = g.f.admin();
    let rich = g.f.role("rich", "NOLOGIN");
    let name = g.name(&[0, 1]);
    admin.run(&format!("GRANT SELECT ON vault TO {rich}"));
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    admin.run(&format!("GRANT {rich} TO \"{name}\""));
    ends(&mut s, "SELECT * FROM vault");
    // The next login puts it right.
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    g.assert_reads(&mut s, &[0, 1]);
    admin.run(&format!("REVOKE {} FROM \"{name}\"", g.scopes[0]));
    ends(&mut s, "SELECT x FROM t1");
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    g.assert_reads(&mut s, &[0, 1]);
    admin.run(&format!("ALTER ROLE \"{name}\" BYPASSRLS"));
    ends(&mut s, "SELECT x FROM t1");
    for change in ["CREATEDB", "LOGIN", "NOINHERIT"] {
        admin.run(&format!("ALTER ROLE \"{name}\" {change}"));
        let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
        g.assert_reads(&mut s, &[0, 1]);
        s.denied("CREATE DATABASE more", "42501");
    }
    if server.version() >= 160_000 {
        let scope = &g.scopes[0];
        admin.run(&format!(
            "GRANT {scope} TO \"{name}\" WITH INHERIT FALSE; GRANT \"{name}\" TO {} WITH SET FALSE",
            g.login
        ));
        let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
        g.assert_reads(&mut s, &[0, 1]);
    }
    // A role of that name that is somebody else's.
    let other = g.name(&[2, 3]);
    admin.run(&format!(
        "CREATE ROLE \"{other}\"; GRANT SELECT ON vault TO \"{other}\"; GRANT \"{other}\" TO {}",
        g.login
    ));
    g.turns_away(&[2, 3], "composite_role");
}

#[test]
fn attack_a_composite_role_is_taken_by_its_name() {
    let server = server();
    let g = Groups::open(&server, "g_name");
    let mut admin = g.f.admin();
    let name = g.name(&[0, 1]);
    g.knock(&g.token(&[0, 1])).expect("a login");
    // No authenticator is made for it, and none takes it that was granted it by hand.
    admin.refused(
        &format!(
            "SELECT scope.create_authenticator('{}_other', '{{\"{name}\"}}')",
            g.f.name
        ),
        "42501",
    );
    let gate = admin.handed(&format!(
        "scope.create_authenticator('{}_gate', '{{{},{}}}')",
        g.f.name, g.scopes[0], g.scopes[1]
    ));
    admin.run(&format!("GRANT \"{name}\" TO {}", gate.role));
    let mut s = g.f.login(&gate.role);
    s.run("BEGIN");
    let token = g.token(&[0, 1]);
    assert_eq!(
        s.text(&format!("SELECT scope.set_jwt_role('{token}')")),
        g.scopes[0]
    );
    s.run("ROLLBACK");
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('plain', '{}', {}, role_claim => 'role');
         SELECT scope.create_token_login('{}_plain', '{{{},{}}}', '{{plain}}')",
        iss("plain"),
        literal(&jwks(&[&ED])),
        g.f.name,
        g.scopes[0],
        g.scopes[1]
    ));
    let by_name = ED.token(
        "EdDSA",
        &json!({"iss": iss("plain"), "sub": "ann", "exp": now() + 600, "role": name}),
    );
    s.refused(&format!("SELECT scope.set_jwt_role('{by_name}')"), "42501");
    admin.run(&format!("GRANT \"{name}\" TO {}_plain", g.f.name));
    let plain = format!("{}_plain", g.f.name);
    let refusal = server.try_token(&plain, &by_name, &g.f.name).err();
    assert_eq!(refusal.expect("no login").code, "28P01");
    let mut s = g.knock(&g.token(&[0])).expect("a login");
    s.refused(&format!("SET ROLE \"{name}\""), "42501");
}

#[test]
fn attack_a_composite_role_stays_when_no_token_needs_it() {
    let server = server();
    let g = Groups::open(&server, "g_stays");
    let mut admin = g.f.admin();
    let name = g.name(&[0, 1]);
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    // A session's new token keeps it.
    g.hurry(&[0, 1], 60);
    s.run(&format!(
        "SELECT scope.refresh_session('{}')",
        g.token_until(&[1, 0], now() + 1_200)
    ));
    admin.assert_that(&format!(
        "(SELECT valid_until > now() + interval '23 hours' FROM scope.roles WHERE role = '{name}')"
    ));
    // So does that of a login that comes; what nobody comes for is dropped.
    g.hurry(&[0, 1], 60);
    g.knock(&g.token(&[0, 1])).expect("a login");
    admin.assert_that(&format!(
        "(SELECT valid_until > now() + interval '23 hours' FROM scope.roles WHERE role = '{name}')"
    ));
    // Whoever keeps its label in an open transaction keeps nobody out.
    g.hurry(&[0, 1], 60);
    let mut holds = g
        .knock(&g.token_until(&[0, 1], now() + 30))
        .expect("a login");
    g.hurry(&[0, 1], 60);
    holds.run("BEGIN");
    holds.run(&format!(
        "SELECT scope.refresh_session('{}')",
        g.token_until(&[0, 1], now() + 1_200)
    ));
    let mut comes = g
        .knock(&g.token_until(&[0, 1], now() + 1_300))
        .expect("a login");
    g.assert_reads(&mut comes, &[0, 1]);
    holds.run("ROLLBACK");
    g.hurry(&[0, 1], 1);
    wait_until("it is gone", 20, || !admin.role_exists(&name));
    ends(&mut s, "SELECT x FROM t0");
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    g.assert_reads(&mut s, &[0, 1]);
}

#[test]
fn standbys_take_together_what_the_primary_has() {
    let primary = primary();
    let g = Groups::open(&primary, "g_standby");
    let standby = primary.standby(Options::default());
    let knock = || standby.try_token(&g.login, &g.token(&[0, 1]), &g.f.name);
    standby.has_replayed(&primary);
    let before = standby.log().len();
    assert_eq!(knock().err().expect("no login").code, "28P01");
    assert!(standby.log()[before..].contains("composite_role"));
    g.knock(&g.token(&[0, 1])).expect("a login");
    g.f.admin()
        .run("SET synchronous_commit = local; CREATE TABLE committed ()");
    standby.has_replayed(&primary);
    let mut s = knock().expect("a login");
    assert_eq!(s.text("SELECT current_user"), g.name(&[0, 1]));
    s.run("SELECT * FROM t0, t1");
    s.denied("SELECT * FROM t2", "42501");
}

#[test]
fn a_subject_has_as_many_sessions_as_the_login_says() {
    let server = server();
    let g = Groups::open(&server, "g_limit");
    let mut admin = g.f.admin();
    let call = |limit: &str| {
        format!(
            "scope.create_token_login('{}_few', '{{{}}}', '{{corp}}', subject_limit => {limit})",
            g.f.name, g.scopes[0]
        )
    };
    for bad in ["0", "-1"] {
        admin.refused(&format!("SELECT {}", call(bad)), "22023");
    }
    admin.run(&format!("SELECT {}", call("2")));
    let few = format!("{}_few", g.f.name);
    admin.assert_that(&format!(
        "(SELECT subject_limit FROM scope.credentials WHERE role = '{few}') = 2"
    ));
    let knock = |subject: &str| {
        let token = g.token_with(&[0], json!({"sub": subject}));
        server.try_token(&few, &token, &g.f.name)
    };
    let mut ann = vec![
        knock("ann").expect("a login"),
        knock("ann").expect("a login"),
    ];
    knock("ann ").expect("another subject");
    knock("bob").expect("another subject");
    // Of another login, and as an authenticator's token: not counted.
    let _other = g.knock(&g.token(&[0])).expect("a login");
    let before = server.log().len();
    assert_eq!(knock("ann").err().expect("no login").code, "28P01");
    assert!(server.log()[before..].contains("subject_limit: "));
    ann.pop();
    wait_until("there is room", 10, || knock("ann").is_ok());
    // Many at once are never more.
    wait_until("one is left", 10, || {
        admin.text(&format!(
            "SELECT count(*) FROM scope.sessions WHERE login = '{few}'"
        )) == "1"
    });
    let most = thread::scope(|scope| {
        let came: Vec<_> = (0..8).map(|_| scope.spawn(|| knock("ann").ok())).collect();
        let came: Vec<Session> = came
            .into_iter()
            .filter_map(|one| one.join().expect("a thread"))
            .collect();
        thread::sleep(Duration::from_millis(200));
        came.len()
    });
    assert!(most <= 1, "{most} more");
    // A spec says it, too.
    let spec = admin.text(&format!("SELECT scope.export_spec('{{{few}}}')"));
    assert!(spec.contains("\"subject_limit\": 2"), "{spec}");
    let spec = spec.replace("\"subject_limit\": 2", "\"subject_limit\": 3");
    admin.run(&format!("SELECT scope.apply({})", literal(&spec)));
    admin.assert_that(&format!(
        "(SELECT subject_limit FROM scope.credentials WHERE role = '{few}') = 3"
    ));
    let _more = knock("ann").expect("a login");
}

#[test]
fn attack_what_one_leaves_locks_all_out_who_have_the_same_roles() {
    let server = server();
    let g = Groups::open(&server, "g_lockout");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "SELECT scope.alter_scope('{}', 'add', '{{insert}}', tables => '{{t0}}')",
        g.scopes[0]
    ));
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    // Whoever does not only read may do this.
    s.run("SELECT lo_create(0)");
    drop(s);
    g.hurry(&[0, 1], 1);
    let name = g.name(&[0, 1]);
    wait_until("it has ended", 20, || {
        admin.text(&format!(
            "SELECT count(*) FROM scope.roles WHERE role = '{name}' AND state = 'active'"
        )) == "0"
    });
    g.knock(&g.token(&[0, 1])).expect("a login");
}

#[test]
fn attack_a_transaction_with_a_new_token_holds_up_logins() {
    let server = server();
    let g = Groups::open(&server, "g_holds");
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    g.hurry(&[0, 1], 100);
    s.run("BEGIN");
    s.run(&format!(
        "SELECT scope.refresh_session('{}')",
        g.token(&[0, 1])
    ));
    let (done, is_done) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(g.knock(&g.token(&[0, 1])).is_ok()));
        let came = is_done.recv_timeout(Duration::from_secs(5));
        s.run("ROLLBACK");
        assert_eq!(came, Ok(true), "it waits for somebody's transaction");
    });
}

#[test]
fn attack_other_groups_beside_it_give_a_window_anew() {
    let server = server();
    let g = Groups::open(&server, "g_window");
    g.f.admin().run(&format!(
        "INSERT INTO t0 SELECT 1 FROM generate_series(2, 10);
         SELECT scope.set_guard('{}', window_rows => 10, \"window\" => '1 hour')",
        g.scopes[0]
    ));
    let mut s = g.knock(&g.token(&[0])).expect("a login");
    s.run("SELECT x FROM t0");
    s.denied("SELECT x FROM t0", "54000");
    let mut s = g.knock(&g.token(&[0, 1])).expect("a login");
    s.denied("SELECT x FROM t0", "54000");
}

#[test]
fn attack_composite_roles_past_their_end_where_nothing_is_ended() {
    let server = Server::start(Options::default().hba(HBA).set("scope_roles.expiry", "off"));
    let g = Groups::open(&server, "g_suspended");
    g.knock(&g.token(&[0, 1])).expect("a login");
    g.hurry(&[0, 1], 1);
    thread::sleep(Duration::from_secs(2));
    g.knock(&g.token(&[0, 1])).expect("a login");
}

#[test]
fn attack_a_rollback_keeps_a_revoked_session() {
    let server = server();
    let g = Groups::open(&server, "g_rolled");
    let mut admin = g.f.admin();
    for (jti, block) in [("rolled", "SELECT 1"), ("failed", "SELECT 1/0")] {
        let mut s = g
            .knock(&g.token_with(&[0], json!({"jti": jti})))
            .expect("a login");
        let pid = s.text("SELECT pg_backend_pid()");
        let _ = s.attempt(&format!("BEGIN; {block}"));
        admin.run(&format!(
            "SELECT scope.revoke_token('{jti}', now() + interval '1 hour')"
        ));
        thread::sleep(Duration::from_secs(1));
        // It may be what ends the session.
        let _ = s.attempt("ROLLBACK");
        wait_until("the session has ended", 10, || {
            admin.text(&format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
            )) == "0"
        });
    }
}

#[test]
fn attack_what_is_being_prepared_outlives_its_token() {
    let server = server();
    let g = Groups::open(&server, "g_prepared");
    let mut admin = g.f.admin();
    admin.run(&format!(
        "CREATE TABLE slow (x int); SELECT scope.alter_scope('{}', 'add', '{{insert}}', tables => '{{slow}}');
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
        g.scopes[0]
    ));
    let mut s = g
        .knock(&g.token_with(&[0, 1], json!({"jti": "prepared"})))
        .expect("a login");
    s.run("BEGIN; INSERT INTO slow VALUES (1)");
    thread::scope(|scope| {
        let prepares = scope.spawn(|| s.attempt("PREPARE TRANSACTION 'g_prepared'").is_ok());
        thread::sleep(Duration::from_secs(1));
        admin.run("SELECT scope.revoke_token('prepared', now() + interval '1 hour')");
        assert!(!prepares.join().expect("a thread"), "it was prepared");
    });
}
