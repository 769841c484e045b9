//! `scope.review` and what goes with it: each planted fault is found, what fixes it fixes it, and nothing else is found.

mod application;
mod attestations;
mod drift;
mod hardened;
mod issuers;
mod logins;
mod requests;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::FromRawFd;

use crate::harness::*;

/// What is found and not accepted, as "code role object".
fn findings(session: &mut Session) -> Vec<String> {
    session.column(
        "SELECT concat_ws(' ', code, role_name, object_name) FROM scope.review() WHERE accepted_reason IS NULL ORDER BY 1",
    )
}

const NOTHING: [&str; 0] = [];

/// A cluster in which nothing is wrong.
fn clean<'a>(server: &'a Server, name: &str) -> Fixture<'a> {
    let f = Fixture::on(server, name);
    f.admin().run("SELECT scope.harden(true)");
    f
}

struct Fault {
    plant: &'static str,
    found: &'static str,
    /// Whether the SQL that is shown can be run as it is.
    fixes: bool,
    clean_up: &'static str,
}

const fn fault(plant: &'static str, found: &'static str, clean_up: &'static str) -> Fault {
    Fault {
        plant,
        found,
        fixes: true,
        clean_up,
    }
}

const FAULTS: &[Fault] = &[
    fault("CREATE ROLE rv_boss SUPERUSER", "superuser rv_boss", "DROP ROLE rv_boss"),
    fault(
        "CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; GRANT postgres TO rv_joe",
        "superuser_member rv_joe",
        "DROP ROLE rv_joe",
    ),
    // Only the login's own way to it is cut: the others of the team are findings of their own.
    fault(
        "CREATE ROLE rv_team; GRANT postgres TO rv_team; CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; GRANT rv_team TO rv_joe",
        "superuser_member rv_joe",
        "DROP ROLE rv_joe, rv_team",
    ),
    fault(
        "CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; GRANT pg_read_server_files TO rv_joe",
        "server_files rv_joe",
        "DROP ROLE rv_joe",
    ),
    Fault {
        fixes: false,
        ..fault(
            "SET password_encryption = 'md5'; CREATE ROLE rv_joe LOGIN PASSWORD 'x' VALID UNTIL '2100-01-01'; RESET password_encryption",
            "md5_password rv_joe",
            "DROP ROLE rv_joe",
        )
    },
    fault("CREATE ROLE rv_joe LOGIN BYPASSRLS VALID UNTIL '2100-01-01'", "bypassrls rv_joe", "DROP ROLE rv_joe"),
    fault("CREATE ROLE rv_joe LOGIN CREATEROLE VALID UNTIL '2100-01-01'", "createrole rv_joe", "DROP ROLE rv_joe"),
    fault("CREATE ROLE rv_joe LOGIN REPLICATION VALID UNTIL '2100-01-01'", "replication rv_joe", "DROP ROLE rv_joe"),
    fault(
        "CREATE FUNCTION \"rv f\"(int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION \"rv f\" FROM PUBLIC",
        "definer_search_path postgres public.\"rv f\"(integer)",
        "DROP FUNCTION \"rv f\"",
    ),
    fault(
        "CREATE FUNCTION rv_f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT 1'",
        "definer_public postgres public.rv_f()",
        "DROP FUNCTION rv_f",
    ),
    fault("GRANT CREATE ON SCHEMA public TO PUBLIC", "public_create schema public", ""),
    fault("GRANT SELECT, INSERT ON orders TO PUBLIC", "public_table public.orders", ""),
    fault(
        "CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; GRANT SELECT ON orders TO rv_joe WITH GRANT OPTION; SET ROLE rv_joe;
         GRANT SELECT ON orders TO PUBLIC; RESET ROLE; REVOKE ALL ON orders FROM PUBLIC",
        "public_table public.orders",
        "DROP OWNED BY rv_joe CASCADE; DROP ROLE rv_joe",
    ),
    fault(
        "CREATE SEQUENCE rv_s; GRANT USAGE ON rv_s TO PUBLIC",
        "public_table public.rv_s",
        "DROP SEQUENCE rv_s",
    ),
    fault(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
        "default_privileges postgres tables in schema public",
        "",
    ),
    fault(
        "CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO rv_joe WITH GRANT OPTION",
        "default_privileges postgres tables",
        "DROP OWNED BY rv_joe; DROP ROLE rv_joe",
    ),
    fault("GRANT CONNECT ON DATABASE review_faults TO PUBLIC", "public_connect database review_faults", ""),
    fault("GRANT TEMPORARY ON DATABASE review_faults TO PUBLIC", "public_temp database review_faults", ""),
    fault("CREATE ROLE \"rv \"\"joe\" LOGIN", "no_deadline rv \"joe", "DROP ROLE \"rv \"\"joe\""),
    fault(
        "CREATE ROLE rv_team; CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; GRANT rv_team TO rv_joe WITH ADMIN OPTION",
        "admin_option rv_joe role rv_team",
        "DROP ROLE rv_team, rv_joe",
    ),
    Fault {
        fixes: false,
        ..fault(
            "CREATE ROLE rv_1; CREATE ROLE rv_2; CREATE ROLE rv_3; CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01';
             GRANT rv_1 TO rv_2; GRANT rv_2 TO rv_3; GRANT rv_3 TO rv_joe",
            "long_chain rv_joe",
            "DROP ROLE rv_1, rv_2, rv_3, rv_joe",
        )
    },
    fault("CREATE ROLE rv_team", "empty_role rv_team", ""),
    fault(
        "SELECT scope.create_scope('rv_scope', tables => '{orders}')",
        "empty_scope rv_scope",
        "",
    ),
    fault(
        "SELECT scope.create_scope('rv_scope', tables => '{orders}'); SELECT scope.create_credential('{rv_scope}', 'rv_cred');
         ALTER ROLE rv_scope CREATEDB",
        "scope_has_more rv_scope",
        "",
    ),
    fault("GRANT pg_checkpoint TO rv_scope", "scope_has_more rv_scope role pg_checkpoint", ""),
    fault(
        "GRANT SELECT ON orders TO rv_scope WITH GRANT OPTION",
        "scope_has_more rv_scope public.orders",
        "",
    ),
    fault("GRANT UPDATE ON orders TO rv_scope", "scope_widened rv_scope public.orders", ""),
    fault("REVOKE SELECT ON orders FROM rv_scope", "scope_narrowed rv_scope public.orders", ""),
    fault(
        "GRANT TRIGGER, REFERENCES ON orders TO rv_cred",
        "login_widened rv_cred public.orders\nplants_code rv_cred public.orders",
        "",
    ),
    fault(
        "GRANT REFERENCES (id, note) ON orders TO rv_cred",
        "login_widened rv_cred column id of public.orders\nlogin_widened rv_cred column note of public.orders\nplants_code rv_cred column id of public.orders\nplants_code rv_cred column note of public.orders",
        "",
    ),
    fault("GRANT CREATE ON DATABASE review_faults TO rv_cred", "login_widened rv_cred database review_faults\nplants_code rv_cred database review_faults", ""),
    fault(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT TRIGGER, REFERENCES ON TABLES TO rv_cred",
        "login_widened rv_cred future tables of postgres in schema public\nplants_code rv_cred future tables of postgres in schema public",
        "",
    ),
    fault(
        "ALTER DEFAULT PRIVILEGES GRANT TRIGGER, SELECT ON TABLES TO rv_cred",
        "login_widened rv_cred future tables of postgres\nplants_code rv_cred future tables of postgres",
        "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM rv_cred",
    ),
    fault(
        "ALTER DEFAULT PRIVILEGES GRANT CREATE ON SCHEMAS TO rv_cred",
        "login_widened rv_cred CREATE on future objects of postgres\nplants_code rv_cred future schemas of postgres",
        "",
    ),
    fault(
        "SELECT scope.alter_scope('rv_scope', 'add', '{REFERENCES}', tables => '{orders}', columns => '{id}')",
        "plants_code rv_scope column id of public.orders",
        "",
    ),
    fault(
        "SELECT scope.alter_scope('rv_scope', 'add', '{TRIGGER}', schemas => '{public}', future_tables => true)",
        "plants_code rv_scope future tables of postgres in schema public\nplants_code rv_scope public.orders\nplants_code rv_scope public.vault",
        "",
    ),
    // One thing is wrong, and one finding says so.
    fault("ALTER ROLE rv_cred VALID UNTIL 'infinity'", "changed_by_hand rv_cred", ""),
    fault("UPDATE pg_authid SET rolvaliduntil = NULL WHERE rolname = 'rv_cred'", "changed_by_hand rv_cred", ""),
    fault(
        "CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; CREATE FUNCTION rv_f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         ALTER FUNCTION rv_f() OWNER TO rv_joe; CREATE TRIGGER rv_t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION rv_f()",
        "left_trigger rv_joe trigger rv_t on public.orders",
        "DROP FUNCTION rv_f() CASCADE; DROP ROLE rv_joe",
    ),
    fault("DELETE FROM _scope.scope_declaration", "scope_undeclared rv_scope", ""),
    // Ours from here on: its label says what is to be found.
    fault(
        "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE rv_cred IS %L',
            (SELECT regexp_replace(label, '}$', ',\"rotated_at\":\"2020-01-01T00:00:00Z\"}') FROM pg_shseclabel
              WHERE objoid = 'rv_cred'::regrole AND provider = 'scope_roles')); END $$",
        "old_password rv_cred",
        "",
    ),
    Fault {
        fixes: false,
        ..fault(
            "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE rv_cred IS %L',
            (SELECT regexp_replace(label, '}$', ',\"error\":\"the disk is full\"}') FROM pg_shseclabel
              WHERE objoid = 'rv_cred'::regrole AND provider = 'scope_roles')); END $$",
            "failing rv_cred",
            "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE rv_cred IS %L',
            (SELECT replace(label, ',\"error\":\"the disk is full\"', '') FROM pg_shseclabel
              WHERE objoid = 'rv_cred'::regrole AND provider = 'scope_roles')); END $$",
        )
    },
];

#[test]
fn each_planted_fault_is_found_and_mended_and_nothing_else_is() {
    let server = Server::start(Options::default());
    let f = clean(&server, "review_faults");
    let mut admin = f.admin();
    assert_eq!(findings(&mut admin), NOTHING, "on a clean cluster");
    for fault in FAULTS {
        admin.run(fault.plant);
        let found: Vec<&str> = fault.found.lines().collect();
        assert_eq!(findings(&mut admin), found, "{}", fault.plant);
        for fix in admin.column("SELECT fix FROM scope.review()") {
            assert!(!fix.is_empty(), "{}", fault.found);
            if fault.fixes {
                admin.run(&fix);
            }
        }
        if fault.fixes {
            let left = findings(&mut admin);
            assert!(
                !left.iter().any(|left| found.contains(&left.as_str())),
                "{} is not fixed: {left:?}",
                fault.plant
            );
        }
        admin.run(fault.clean_up);
        assert_eq!(findings(&mut admin), NOTHING, "after {}", fault.plant);
    }
    // A scope's own credential with what it made is kept, and said so.
    admin.run(
        "SELECT scope.create_credential('{rv_scope}', 'rv_owner'); CREATE TABLE rv_t (); ALTER TABLE rv_t OWNER TO rv_owner;
         SELECT scope.revoke_role('rv_owner')",
    );
    wait_until("it is quarantined", 30, || {
        findings(&mut admin) == ["quarantined rv_owner"]
    });
    let fix = admin.text("SELECT fix FROM scope.review()");
    admin.run(&fix);
    wait_until("it is gone", 30, || findings(&mut admin) == NOTHING);
    admin.assert_that("(SELECT relowner::regrole::text ~ '^left_by_[0-9]+$' FROM pg_class WHERE relname = 'rv_t')");
}

#[test]
fn what_should_have_ended_is_found() {
    let server = Server::start(Options::default().set("scope_roles.expiry", "off"));
    let f = clean(&server, "review_expired");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run(&format!(
        "UPDATE pg_authid SET rolvaliduntil = now() - interval '1 hour' WHERE rolname = '{}'",
        cred.role
    ));
    let mut found = findings(&mut admin);
    found.sort();
    let both = ["changed_by_hand", "expired"].map(|code| format!("{code} {}", cred.role));
    assert_eq!(found, both);
    admin.assert_that(
        "(SELECT since < now() - interval '59 minutes' FROM scope.review() WHERE code = 'expired')",
    );
}

#[test]
fn a_member_of_pg_monitor_reviews_and_nobody_else() {
    let f = Fixture::new("review_who");
    let watch = f.role("watch", "LOGIN");
    let joe = f.role("joe", "LOGIN");
    f.admin().run(&format!("GRANT pg_monitor TO {watch}"));
    let mut w = f.login(&watch);
    assert!(findings(&mut w).contains(&format!("no_deadline {joe}")));
    // It reads verifiers to tell MD5 from SCRAM, and shows none.
    let all = w.text("SELECT string_agg(r::text, ' ') FROM scope.review() r");
    assert!(!all.contains("SCRAM-SHA-256$"), "{all}");
    for call in [
        "scope.accept_finding('no_deadline', 'x', 'y', '1 day')",
        "scope.harden()",
        "scope.harden(true)",
        "scope.prune()",
        "scope.attest('postgres', 'x')",
    ] {
        w.denied(&format!("SELECT {call}"), "42501");
    }
    w.denied("SELECT * FROM _scope.attestation", "42501");
    f.login(&joe)
        .denied("SELECT * FROM scope.review()", "42501");
}

#[test]
fn worse_findings_come_first_and_accepted_ones_last_with_their_reason() {
    let server = Server::start(Options::default());
    let f = clean(&server, "review_accept");
    let mut admin = f.admin();
    admin.run("CREATE ROLE rv_team; CREATE ROLE rv_joe LOGIN; CREATE ROLE rv_boss SUPERUSER");
    let codes = "SELECT code FROM scope.review()";
    assert_eq!(
        admin.column(codes),
        ["superuser", "no_deadline", "empty_role"]
    );
    admin.run("SELECT scope.accept_finding('superuser', 'rv_boss', 'break-glass, sealed in the safe', '90 days')");
    assert_eq!(
        admin.column(codes),
        ["no_deadline", "empty_role", "superuser"]
    );
    let shown = admin.rows(
        "SELECT accepted_reason, accepted_by, (accepted_until > now() + interval '89 days')::text FROM scope.review() WHERE code = 'superuser'",
    );
    assert_eq!(
        shown,
        [
            ["break-glass, sealed in the safe", "postgres", "true"]
                .map(|cell| Some(cell.to_owned()))
        ]
    );
    // It is for that role, and for that time.
    admin.run("CREATE ROLE rv_two SUPERUSER");
    assert_eq!(admin.text(codes), "superuser");
    assert_eq!(
        findings(&mut admin),
        [
            "empty_role rv_team",
            "no_deadline rv_joe",
            "superuser rv_two"
        ]
    );
    admin.run("UPDATE _scope.accepted_finding SET until = now() - interval '1 second'");
    assert_eq!(findings(&mut admin).len(), 4);
    for (call, sqlstate) in [
        ("'nothing', NULL, 'x', '1 day'", "42704"),
        ("'superuser', 'rv_joe', 'x', '1 day'", "42704"),
        ("'superuser', 'rv_two', ' ', '1 day'", "22023"),
        ("'superuser', 'rv_two', 'x', '0'", "22023"),
        ("'superuser', 'rv_two', 'x', '2 years'", "22023"),
        ("'superuser', 'rv_two', 'x', 'infinity'", "22023"),
        ("'superuser', 'rv_two', NULL, '1 day'", "22004"),
        ("NULL, 'rv_two', 'x', '1 day'", "22004"),
    ] {
        // PostgreSQL before 17 has no infinite intervals.
        if call.contains("infinity") && server.version() < 170_000 {
            continue;
        }
        admin.refused(&format!("SELECT scope.accept_finding({call})"), sqlstate);
    }
    admin.run("BEGIN READ ONLY");
    admin.refused(
        "SELECT scope.accept_finding('superuser', 'rv_two', 'x', '1 day')",
        "25006",
    );
    admin.run("ROLLBACK");
}

#[test]
fn hardening_says_what_it_breaks_and_keeps_what_is_in_use() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "review_harden");
    let mut admin = f.admin();
    admin.run(
        "CREATE ROLE user_of LOGIN; GRANT SELECT ON orders TO user_of; CREATE ROLE team; GRANT SELECT ON vault TO team; CREATE ROLE member_of LOGIN;
         GRANT team TO member_of; CREATE ROLE stranger LOGIN; CREATE ROLE \"odd; role\" LOGIN;
         GRANT CREATE ON SCHEMA public TO PUBLIC;
         CREATE FUNCTION danger() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT 1'",
    );
    let mut odd = server.login("odd; role", "review_harden");
    odd.run("CREATE TEMPORARY TABLE t (); CREATE TABLE public.mine ()");
    let before = admin.rows("SELECT statement, done FROM scope.harden() ORDER BY 1");
    assert!(
        before.iter().all(|row| row[1].as_deref() == Some("f")),
        "{before:?}"
    );
    // It was a proposal: nothing has changed.
    admin.assert_that("has_database_privilege('stranger', 'review_harden', 'CONNECT')");
    let breaks =
        admin.text("SELECT breaks FROM scope.harden() WHERE statement LIKE 'REVOKE CONNECT%'");
    assert_eq!(breaks, "can no longer connect: stranger");
    admin.run("BEGIN");
    admin.run("DO $$ BEGIN FOR n IN 1..250 LOOP EXECUTE format('CREATE ROLE many_%s LOGIN', n); END LOOP; END $$");
    let breaks =
        admin.text("SELECT breaks FROM scope.harden() WHERE statement LIKE 'REVOKE CONNECT%'");
    assert!(
        breaks.ends_with(" and 231 more") && breaks.len() < 400,
        "{breaks}"
    );
    admin.run("ROLLBACK");
    let after = admin.rows("SELECT statement, done FROM scope.harden(true) ORDER BY 1");
    assert!(
        after.iter().all(|row| row[1].as_deref() == Some("t")),
        "{after:?}"
    );
    for (role, can) in [
        ("user_of", true),
        ("member_of", true),
        ("odd; role", true),
        ("stranger", false),
    ] {
        assert_eq!(
            server.try_login(role, "review_harden").is_ok(),
            can,
            "{role}"
        );
    }
    odd.run("CREATE TEMPORARY TABLE t2 (); CREATE TABLE public.mine_too ()");
    let mut user = server.login("user_of", "review_harden");
    user.rows("SELECT * FROM orders");
    user.denied("CREATE TEMPORARY TABLE t ()", "42501");
    user.denied("CREATE TABLE public.t ()", "42501");
    user.denied("SELECT danger()", "42501");
    admin.run("CREATE FUNCTION later() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    user.denied("SELECT later()", "42501");
    assert_eq!(
        admin.rows("SELECT * FROM scope.harden()"),
        Vec::<Vec<Option<String>>>::new(),
        "a second time"
    );
    admin.refused("SELECT * FROM scope.harden(NULL)", "22004");
    admin.run("GRANT TEMPORARY ON DATABASE review_harden TO PUBLIC");
    admin.run("BEGIN READ ONLY");
    admin.refused("SELECT * FROM scope.harden(true)", "25006");
    admin.run("ROLLBACK");
    // One that may call it is no superuser for that.
    admin.run("GRANT EXECUTE ON FUNCTION scope.harden TO user_of");
    let done = user.column("SELECT DISTINCT done FROM scope.harden(true)");
    assert_eq!(done, ["f"], "what had no effect is not done");
    admin.assert_that("has_database_privilege('stranger', 'review_harden', 'TEMPORARY')");
}

/// Whoever has issued credentials goes on issuing and rotating them, and these go on having nothing but their scope.
#[test]
fn hardening_leaves_issuers_their_credentials() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "review_issuers");
    let mut admin = f.admin();
    admin.run(
        "CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE SCHEMA shop AUTHORIZATION alice;
         GRANT EXECUTE ON FUNCTION scope.create_readonly_role, scope.rotate_password, scope.create_scope TO alice;
         GRANT EXECUTE ON FUNCTION scope.create_readonly_role TO bob; GRANT SELECT ON orders TO bob",
    );
    let mut alice = server.login("alice", "review_issuers");
    alice.run("CREATE TABLE shop.orders (id int); CREATE TABLE shop.other (id int)");
    let cred = alice.issue("'shop.orders', 'rep', '8 hours'");
    cred.connect();
    let steps =
        admin.column("SELECT statement FROM scope.harden() WHERE statement LIKE '%CONNECT%'");
    let scope = admin.scope_of(&cred.role);
    assert!(
        steps.contains(
            &"GRANT CONNECT ON DATABASE review_issuers TO alice WITH GRANT OPTION;".to_owned()
        ),
        "{steps:?}"
    );
    assert!(
        !steps.iter().any(|step| step.ends_with(" TO rep;")),
        "{steps:?}"
    );
    let breaks =
        admin.text("SELECT breaks FROM scope.harden() WHERE statement LIKE 'REVOKE CONNECT%'");
    assert!(
        breaks.contains("can no longer issue logins for it: bob"),
        "{breaks}"
    );
    assert_eq!(
        admin.column("SELECT DISTINCT done FROM scope.harden(true)"),
        ["t"]
    );
    admin.assert_that("NOT has_database_privilege('public', 'review_issuers', 'CONNECT')");
    cred.connect().rows("SELECT * FROM shop.orders");
    let rotated = alice.handed("scope.rotate_password('rep')");
    rotated.connect().rows("SELECT * FROM shop.orders");
    let second = alice.handed("scope.rotate_password('rep', '1 hour')");
    second.connect().rows("SELECT * FROM shop.orders");
    for table in ["shop.orders", "shop.other"] {
        alice
            .issue(&format!("'{table}'"))
            .connect()
            .rows(&format!("SELECT * FROM {table}"));
    }
    assert_eq!(
        admin.column("SELECT statement FROM scope.harden()"),
        Vec::<String>::new()
    );
    assert_eq!(admin.column(&format!("SELECT code FROM scope.review() WHERE role_name IN ('rep', '{scope}') AND code LIKE '%wide%'")), Vec::<String>::new());
}

#[test]
fn pruning_ends_scopes_that_nobody_has() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "review_prune");
    let mut admin = f.admin();
    // Named by a migration, changed by its name, specified, and made on the way to a login.
    admin.run(
        "SELECT scope.create_scope('idle', tables => '{orders}'); SELECT scope.create_scope('busy', tables => '{vault}');
         SELECT scope.create_credential('{busy}', 'worker'); SELECT scope.create_scope('policed', tables => '{orders}');
         CREATE POLICY p ON orders TO policed",
    );
    let logins = [
        ("orders", "'orders'"),
        ("vault", "'vault'"),
        ("both", "tables => '{orders,vault}'"),
        ("again", "schemas => '{public}'"),
    ];
    let of =
        |login: &str| format!("(SELECT scopes[1] FROM scope.credentials WHERE role = '{login}')");
    let mut scopes = Vec::new();
    for (login, what) in logins {
        admin.run(&format!(
            "SELECT scope.create_readonly_role({what}, role_name => '{login}')"
        ));
        scopes.push(admin.text(&format!("SELECT {}", of(login))));
    }
    let [on_request, altered, specified, policed] = scopes.as_slice() else {
        panic!("{scopes:?}")
    };
    admin.run(&format!("SELECT scope.alter_scope('{altered}', 'add', '{{INSERT}}', tables => '{{vault}}'); CREATE POLICY q ON orders TO \"{policed}\""));
    let spec = admin.text(&format!(
        "SELECT scope.export_spec(ARRAY['{specified}']::name[])"
    ));
    admin.run(&format!("SELECT scope.apply({})", literal(&spec)));
    for (login, _) in logins {
        admin.run(&format!("SELECT scope.revoke_role('{login}')"));
    }
    wait_until("they are gone", 30, || {
        !admin.holds("EXISTS (SELECT FROM scope.credentials WHERE role <> 'worker')")
    });
    let list = "SELECT concat_ws(' ', role_name, done) FROM scope.prune()";
    assert_eq!(admin.column(list), [format!("{on_request} f")]);
    assert!(admin.role_exists(on_request));
    assert_eq!(
        admin.column("SELECT role_name FROM scope.prune(true) WHERE done"),
        [on_request.as_str()]
    );
    assert!(!admin.role_exists(on_request));
    for kept in ["idle", "busy", "policed", altered, specified, policed] {
        assert!(admin.role_exists(kept), "{kept}");
    }
    assert_eq!(admin.column(list), NOTHING);
    // What a migration has made goes by its own argument.
    let mut named = vec!["idle", altered, specified];
    named.sort_unstable();
    assert_eq!(
        admin.column(
            "SELECT role_name FROM scope.prune(declared => true) ORDER BY role_name COLLATE \"C\""
        ),
        named
    );
    admin.run("SELECT scope.prune(true, declared => true)");
    assert!(
        !admin.role_exists("idle")
            && !admin.role_exists(altered)
            && admin.role_exists("busy")
            && admin.role_exists("policed")
    );
    admin.refused("SELECT scope.prune(true, NULL)", "22004");
}

#[test]
fn attestations_tell_what_has_changed_and_what_is_overdue() {
    let server = Server::start(Options::default());
    let f = clean(&server, "review_attest");
    let mut admin = f.admin();
    admin
        .run("CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; GRANT SELECT ON orders TO rv_joe");
    admin.run("SELECT scope.attest('rv_joe', 'reads orders for the reports')");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("GRANT INSERT ON orders TO rv_joe; REVOKE SELECT ON orders FROM rv_joe");
    let what = admin.text("SELECT finding FROM scope.review() WHERE code = 'attestation_changed'");
    assert_eq!(
        what,
        "since postgres attested its access: new: INSERT on table public.orders (direct); gone: SELECT on table public.orders (direct)"
    );
    admin.run("SELECT scope.attest('rv_joe', 'writes now')");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.run("UPDATE _scope.attestation SET attested_at = attested_at - interval '91 days'");
    assert_eq!(findings(&mut admin), ["attestation_overdue rv_joe"]);
    let fix = admin.text("SELECT fix FROM scope.review()");
    admin.run(&fix);
    assert_eq!(findings(&mut admin), NOTHING);
    // A role that was made anew under the name has not been attested.
    admin.run("DROP OWNED BY rv_joe; DROP ROLE rv_joe; CREATE ROLE rv_joe LOGIN VALID UNTIL '2100-01-01'; GRANT DELETE ON vault TO rv_joe");
    assert_eq!(findings(&mut admin), NOTHING);
    // Nobody signs for themselves, as whoever they act.
    admin.run("CREATE ROLE rv_reviewer LOGIN VALID UNTIL '2100-01-01'; GRANT CONNECT ON DATABASE review_attest TO rv_reviewer; GRANT rv_joe TO rv_reviewer; GRANT EXECUTE ON FUNCTION scope.attest TO rv_reviewer, rv_joe");
    let mut reviewer = server.login("rv_reviewer", "review_attest");
    reviewer.refused("SELECT scope.attest('rv_reviewer', 'fine')", "42501");
    reviewer.run("SELECT scope.attest('rv_joe', 'fine')");
    reviewer.run("SET ROLE rv_joe");
    reviewer.refused("SELECT scope.attest('rv_reviewer', 'fine')", "42501");
    reviewer.refused("SELECT scope.attest('rv_joe', 'fine')", "42501");
    // The signature is the login's.
    assert_eq!(
        admin.text("SELECT attested_by FROM _scope.attestation ORDER BY attested_at DESC LIMIT 1"),
        "rv_reviewer"
    );
    admin.refused("SELECT scope.attest('rv_joe', '')", "22023");
    admin.refused("SELECT scope.attest('rv_joe', NULL)", "22004");
    admin.refused(
        "SELECT scope.attest(4294967295::oid::regrole, 'x')",
        "42704",
    );
}

/// Names are data: in what is found, in what fixes it, and in what hardening runs.
#[test]
fn injection_through_names_into_the_sql_that_mends() {
    let server = Server::start(Options::default());
    let f = clean(&server, "review_names");
    let mut admin = f.admin();
    let name = r#"x"; ALTER ROLE postgres NOLOGIN; --"#;
    admin.run(&format!("CREATE ROLE {} LOGIN", ident(name)));
    let fix = admin.text("SELECT fix FROM scope.review()");
    admin.run(&fix);
    assert_eq!(findings(&mut admin), NOTHING);
    admin.assert_that("(SELECT rolcanlogin FROM pg_roles WHERE oid = 10)");
    admin.run(&format!(
        "CREATE SCHEMA {}; GRANT CREATE ON SCHEMA {} TO PUBLIC",
        ident(name),
        ident(name)
    ));
    admin.run("SELECT scope.harden(true)");
    assert_eq!(findings(&mut admin), NOTHING);
    admin.assert_that("(SELECT rolcanlogin FROM pg_roles WHERE oid = 10)");
}

#[test]
fn every_code_is_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/review.md")).expect("docs/review.md");
    let code: String = std::fs::read_dir(root.join("src/review"))
        .expect("src/review")
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a text"))
        .collect();
    let named = |line: &str| {
        let (_, rest) = line.split_once("code: \"").or_else(|| {
            [
                "ATTESTATION_",
                "SCOPE_",
                "LOGIN_",
                "AUTHENTICATOR_",
                "NOT_",
                "REQUEST_",
            ]
            .iter()
            .find_map(|prefix| line.split_once(&format!("pub const {prefix}")))?
            .1
            .split_once("= \"")
            .map(|(_, rest)| ("", rest))
        })?;
        rest.split_once('"').map(|(code, _)| code.to_owned())
    };
    let mut codes: Vec<String> = code.lines().filter_map(named).collect();
    let mut documented: Vec<String> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix("## `")?
                .strip_suffix('`')
                .map(str::to_owned)
        })
        .collect();
    codes.sort();
    documented.sort();
    assert!(codes.len() > 20, "{codes:?}");
    assert_eq!(codes, documented);
}

/// A session from another address of this machine; it lasts as long as the stream. Needs no password.
pub fn session_from(last: u8, server: &Server, role: &str, db: &str) -> TcpStream {
    let address = |last: u8, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, last]),
        },
        sin_zero: [0; 8],
    };
    let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: a fresh socket, which the stream then owns; the addresses are valid and of that size.
    let mut stream = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        assert!(socket >= 0, "a socket");
        let stream = TcpStream::from_raw_fd(socket);
        let (here, there) = (address(last, 0), address(1, server.port()));
        assert_eq!(
            libc::bind(socket, (&raw const here).cast(), size),
            0,
            "bind"
        );
        assert_eq!(
            libc::connect(socket, (&raw const there).cast(), size),
            0,
            "connect"
        );
        stream
    };
    let startup = format!("\0\x03\0\0user\0{role}\0database\0{db}\0\0");
    let length = (startup.len() as u32 + 4).to_be_bytes();
    stream
        .write_all(&[&length, startup.as_bytes()].concat())
        .expect("startup");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // ReadyForQuery is the last message, of six bytes.
    while !answer.ends_with(b"Z\0\0\0\x05I") {
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0, "refused: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    stream
}

#[test]
fn one_credential_in_use_from_many_addresses_is_found() {
    let server = Server::start(
        Options::default().hba("local all all trust\nhost all all 127.0.0.0/8 trust\n"),
    );
    let f = clean(&server, "review_addresses");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    // Never two at once.
    for last in [1, 2, 3, 3] {
        drop(session_from(last, &server, &cred.role, "review_addresses"));
        assert_eq!(findings(&mut admin), NOTHING);
    }
    drop(session_from(4, &server, &cred.role, "review_addresses"));
    assert_eq!(
        findings(&mut admin),
        [format!("many_addresses {}", cred.role)]
    );
    let finding = "SELECT finding FROM scope.review() WHERE code = 'many_addresses'";
    let told = admin.text(finding);
    assert!(
        told.contains("from 4 addresses") && told.contains("127.0.0.1, 127.0.0.2, 127.0.0.3, "),
        "{told}"
    );
    for last in 5..=20 {
        drop(session_from(last, &server, &cred.role, "review_addresses"));
    }
    // Those who have just left may still be counted.
    wait_until("only the remembered addresses are left", 30, || {
        admin.text(finding).contains("from at least 8 addresses")
    });
    // Without a memory only those that are there now are seen.
    server.alter_system("scope_roles.login_facts", "0");
    drop(admin);
    server.restart();
    let mut admin = server.admin("review_addresses");
    assert_eq!(findings(&mut admin), NOTHING);
    let sessions: Vec<TcpStream> = [1, 2, 3, 4]
        .map(|last| session_from(last, &server, &cred.role, "review_addresses"))
        .into();
    assert_eq!(
        findings(&mut admin),
        [format!("many_addresses {}", cred.role)]
    );
    drop(sessions);
    wait_until("they are gone", 30, || findings(&mut admin) == NOTHING);
}

/// A login that nobody has ever used, on a server that would have seen it.
#[test]
fn a_login_that_was_never_used_is_pruned_once_the_server_has_counted_for_long_enough() {
    let server = Server::start(Options::default());
    let f = clean(&server, "review_never");
    let mut admin = f.admin();
    let (never, used) = (admin.issue("'orders'").role, admin.issue("'orders'").role);
    f.login(&used);
    let pruned = "SELECT role_name || ' ' || reason FROM scope.prune()";
    assert_eq!(admin.column(pruned), NOTHING, "they are new");
    server.alter_system("scope_roles.unused_after", "2s");
    let keeper = f.login(&used);
    wait_until("it is old enough", 20, || {
        admin.column(pruned)
            == [format!(
                "{never} has never logged in, for as long as this server has counted logins"
            )]
    });
    // Who found no room in the table may have come.
    server.alter_system("scope_roles.login_facts", "1");
    drop((admin, keeper));
    server.restart();
    let mut admin = server.admin("review_never");
    f.login(&never).rows("SELECT * FROM orders");
    drop(f.login(&used));
    let told = admin.column("SELECT finding FROM scope.review() WHERE code = 'unused'");
    assert!(
        !told.iter().any(|finding| finding.contains("for as long")),
        "{told:?}"
    );
}

/// Whether logins are remembered is the library's matter; the review asks the function by its name.
#[test]
fn a_login_that_nobody_uses_is_found_and_pruned_only_when_this_server_has_seen_it() {
    let server = Server::start(Options::default());
    let f = clean(&server, "review_unused");
    let mut admin = f.admin();
    let remembers = admin.holds("to_regprocedure('_scope.login_facts()') IS NOT NULL");
    if !remembers {
        admin.run(
            "CREATE TABLE public.seen (role oid, last_login timestamptz);
             CREATE FUNCTION _scope.login_facts() RETURNS TABLE (role oid, last_login timestamptz) LANGUAGE sql AS 'SELECT * FROM public.seen'",
        );
    }
    let cred = admin.issue("'orders'").role;
    assert_eq!(findings(&mut admin), NOTHING, "it is new");
    // An old login with a new password.
    admin.run(&format!(
        "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE {cred} IS %L',
            (SELECT regexp_replace(label, '\"created_at\":\"([^\"]*)\"', '\"created_at\":\"2020-01-01T00:00:00Z\",\"rotated_at\":\"\\1\"')
               FROM pg_shseclabel WHERE objoid = '{cred}'::regrole AND provider = 'scope_roles')); END $$"
    ));
    assert_eq!(findings(&mut admin), [format!("unused {cred}")]);
    let pruned = "SELECT role_name FROM scope.prune()";
    assert_eq!(
        admin.column(pruned),
        NOTHING,
        "another server may have seen it"
    );
    if remembers {
        f.login(&cred).rows("SELECT * FROM orders");
        wait_until("the login is known", 30, || findings(&mut admin) == NOTHING);
        return;
    }
    admin.run(&format!(
        "INSERT INTO seen VALUES ('{cred}'::regrole, now() - interval '91 days')"
    ));
    assert_eq!(admin.column(pruned), std::slice::from_ref(&cred));
    // Not while it is in use.
    let session = f.login(&cred);
    assert_eq!(admin.column(pruned), NOTHING);
    drop(session);
    wait_until("the session is gone", 30, || {
        admin.column(pruned) == [cred.clone()]
    });
    admin.run("SELECT * FROM scope.prune(true)");
    wait_until("it has ended", 30, || !admin.role_exists(&cred));
}
