//! What one user of a pooled connection leaves for the next. The connection is that of an authenticator; the attacker's token takes the
//! reader, the victim's takes the writer.

use std::sync::LazyLock;

use serde_json::json;

use crate::harness::*;
use crate::jwt::{Gate, allow_session_switches, end_session, switch, switch_session};

pub(super) static POOL: LazyLock<Pool> = LazyLock::new(Pool::new);

pub(super) struct Pool {
    pub g: Gate<'static>,
    pub login: String,
    /// The calls that switch.
    pub attacker: String,
    pub victim: String,
    pub attackers_token: String,
    victims_token: String,
}

impl Pool {
    fn new() -> Pool {
        let g = Gate::new("lock_pool");
        let login = "lock_pool_api".to_owned();
        let mut admin = g.f.admin();
        for login in [login.clone(), format!("{login}_own")] {
            admin.rows(&format!(
                "SELECT scope.create_authenticator('{login}', '{{{},{}}}')",
                g.reader, g.writer
            ));
        }
        allow_session_switches(&g.f, &format!("{login}_own"));
        admin.run(&format!(
            "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO {reader}; GRANT USAGE ON SCHEMA evil TO PUBLIC;
             CREATE TABLE diary (line text); GRANT SELECT, INSERT ON diary TO {writer}",
            reader = g.reader,
            writer = g.writer,
        ));
        let attackers_token = g.token(json!({}));
        let victims_token = g.token(json!({"role": g.writer}));
        Pool {
            g,
            login,
            attacker: switch(&attackers_token),
            victim: switch(&victims_token),
            attackers_token,
            victims_token,
        }
    }

    pub fn connect(&self) -> Session {
        self.g.f.login(&self.login)
    }

    /// As one for a service with connections of its own, which switch for the session.
    pub fn connect_for_sessions(&self) -> Session {
        self.g.f.login(&format!("{}_own", self.login))
    }

    /// A whole transaction of the attacker's.
    #[track_caller]
    pub fn attack(&self, s: &mut Session, sql: &str) {
        s.run(&format!("BEGIN; {}; {sql}; COMMIT", self.attacker));
    }
}

/// A temporary table comes before every other of its name, and its triggers run as whoever writes to it.
#[test]
fn temporary_table_in_place_of_a_real_one() {
    let mut s = POOL.connect();
    POOL.attack(
        &mut s,
        "CREATE TEMP TABLE diary (line text); GRANT ALL ON diary TO PUBLIC;
         CREATE FUNCTION pg_temp.spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'as %', current_user; RETURN NEW; END $$;
         CREATE TRIGGER spy BEFORE INSERT ON diary FOR EACH ROW EXECUTE FUNCTION pg_temp.spy()",
    );
    s.notices();
    s.run(&format!(
        "BEGIN; {}; INSERT INTO diary VALUES ('private'); COMMIT",
        POOL.victim
    ));
    assert!(s.notices().is_empty());
    POOL.g
        .f
        .admin()
        .assert_that("(SELECT count(*) = 1 FROM diary WHERE line = 'private')");
}

/// A type's name too is looked for among the temporary objects first, and a domain's check is code. The victim's token itself would
/// pass through it.
#[test]
fn temporary_domain_that_reads_the_next_token() {
    let mut s = POOL.connect();
    s.run(&format!("BEGIN; {}", POOL.attacker));
    s.run("CREATE FUNCTION pg_temp.steal(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'stolen %', $1; RETURN true; END $$; SAVEPOINT s");
    for domain in [
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.steal(VALUE))",
        // By the schema's own name it is no use of the temporary schema as PostgreSQL counts it.
        "DO $$ BEGIN EXECUTE format('CREATE DOMAIN %1$I.text AS pg_catalog.text CHECK (%1$I.steal(VALUE))', pg_my_temp_schema()::regnamespace); END $$",
        "DO $$ BEGIN EXECUTE format('CREATE TYPE %I.jsonb AS ENUM (''x'')', pg_my_temp_schema()::regnamespace); END $$",
    ] {
        s.refused(domain, "42501");
        s.run("ROLLBACK TO s");
    }
    s.run("COMMIT");
    s.notices();
    s.run("BEGIN");
    s.run(&format!("{}::text)", POOL.victim.trim_end_matches(')')));
    assert!(s.notices().is_empty(), "a stolen token");
    assert_eq!(s.text("SELECT current_user"), POOL.g.writer);
    s.run("COMMIT");
}

/// The attacker's rights, lent to whoever comes next, would outlive their token.
#[test]
fn temporary_function_that_lends_its_makers_rights() {
    let mut s = POOL.connect();
    POOL.attack(
        &mut s,
        "CREATE FUNCTION pg_temp.lend() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';
         CREATE TEMP VIEW lent AS SELECT * FROM public.orders; GRANT SELECT ON lent TO PUBLIC",
    );
    s.denied("SELECT pg_temp.lend()", "42883");
    s.denied("SELECT * FROM lent", "42P01");
    s.run(&format!("BEGIN; {}; SAVEPOINT s", POOL.victim));
    s.denied("SELECT pg_temp.lend()", "42883");
    s.run("ROLLBACK");
}

/// With the attacker's schema first, every name may mean the attacker's function.
#[test]
fn search_path_that_leads_to_the_attackers_functions() {
    let mut s = POOL.connect();
    let before = s.text("SHOW search_path");
    POOL.attack(
        &mut s,
        "CREATE OR REPLACE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'trapped ' || current_user; END $$",
    );
    for set in [
        "SET search_path = evil, pg_catalog",
        "SET SESSION search_path TO evil, pg_catalog",
        "SELECT set_config('search_path', 'evil, pg_catalog', false)",
        "UPDATE pg_settings SET setting = 'evil, pg_catalog' WHERE name = 'search_path'",
        "SAVEPOINT a; SET search_path = evil, pg_catalog; RELEASE a",
        "SET LOCAL search_path = public; SET search_path = evil, pg_catalog",
        "SET search_path = evil, pg_catalog; SET LOCAL search_path = public",
        "DO $$ BEGIN SET search_path = evil, pg_catalog; END $$",
    ] {
        POOL.attack(&mut s, set);
        assert_eq!(s.text("SHOW search_path"), before, "{set}");
        // Injected with a COMMIT, it runs as the authenticator itself.
        s.run(&format!("BEGIN; {set}; COMMIT"));
        if !set.starts_with("SAVEPOINT") && !set.contains("; ") {
            s.run(set);
        }
        assert_eq!(s.text("SHOW search_path"), before, "{set}");
        assert_eq!(s.text("SELECT lower('X')"), "x", "{set}");
    }
    // Within the transaction it is everybody's own.
    s.run(&format!(
        "BEGIN; SET LOCAL search_path = public; {}",
        POOL.victim
    ));
    assert_eq!(s.text("SHOW search_path"), "public");
    s.run("SET search_path = pg_catalog");
    assert_eq!(s.text("SHOW search_path"), "pg_catalog");
    s.run("COMMIT");
    assert_eq!(s.text("SHOW search_path"), before);
}

#[test]
fn settings_that_change_what_sql_means() {
    let mut s = POOL.connect();
    for (name, value) in [("row_security", "off"), ("IntervalStyle", "iso_8601")] {
        let before = s.text(&format!("SHOW {name}"));
        assert_ne!(before, value);
        POOL.attack(&mut s, &format!("SET {name} = {value}"));
        assert_eq!(s.text(&format!("SHOW {name}")), before);
        s.run(&format!("SET {name} = {value}"));
        assert_eq!(s.text(&format!("SHOW {name}")), before);
        s.run(&format!("BEGIN; SET {name} = {value}"));
        assert_eq!(s.text(&format!("SHOW {name}")), value);
        s.run("ROLLBACK");
    }
    // It turns triggers and foreign keys off: a superuser's to allow.
    s.denied("SET session_replication_role = replica", "42501");
    POOL.g.f.admin().run(&format!(
        "GRANT SET ON PARAMETER session_replication_role TO {}",
        POOL.g.reader
    ));
    POOL.attack(&mut s, "SET session_replication_role = replica");
    assert_eq!(s.text("SHOW session_replication_role"), "origin");
}

/// PgBouncer prepares statements under names that it believes to be there.
#[test]
fn prepared_statement_in_place_of_the_poolers() {
    let mut s = POOL.connect();
    let poolers = s.client.prepare("SELECT 'poolers'::text").expect("prepare");
    for end in ["COMMIT", "ROLLBACK"] {
        s.run(&format!(
            "BEGIN; {}; PREPARE trap AS SELECT 'trapped'; EXECUTE trap; DO $$ BEGIN EXECUTE 'PREPARE trap2 AS SELECT 1'; END $$; {end}",
            POOL.attacker
        ));
        s.denied("EXECUTE trap", "26000");
        s.denied("EXECUTE trap2", "26000");
    }
    for idle in [
        "PREPARE trap AS SELECT 'trapped'",
        "DO $$ BEGIN EXECUTE 'PREPARE trap AS SELECT 1'; END $$",
    ] {
        s.refused(idle, "42501");
    }
    s.denied("EXECUTE trap", "26000");
    // Those of the protocol are the client's own.
    let rows = s.client.query(&poolers, &[]).expect("still prepared");
    assert_eq!(rows[0].get::<_, &str>(0), "poolers");
    // Also where a PREPARE has tried to take the name of one.
    let mut wire = Wire::open(POOL.g.f.server, &POOL.login, &POOL.g.f.name);
    wire.bind("kept", "SELECT 'poolers'");
    wire.sync();
    wire.query(&format!("BEGIN; {}", POOL.attacker));
    let answers = wire.query("PREPARE kept AS SELECT 'trapped'");
    assert!(has_error(&answers, "42P05"), "{answers:?}");
    wire.query("ROLLBACK");
    wire.send(Some(b'B'), b"kept\0kept\0\0\0\0\0\0\0");
    wire.execute("kept", 0);
    let answers = wire.sync();
    assert!(
        answers.iter().any(|(_, body)| body.contains("poolers")),
        "{answers:?}"
    );
}

#[test]
fn cursor_held_for_the_next_user() {
    let mut s = POOL.connect();
    for hold in [
        "DECLARE held CURSOR WITH HOLD FOR SELECT * FROM orders",
        "DO $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT * FROM orders'; END $$",
    ] {
        s.run(&format!("BEGIN; {}; SAVEPOINT s", POOL.attacker));
        s.refused(hold, "42501");
        s.run("ROLLBACK TO s; COMMIT");
        s.refused(hold, "42501");
        s.denied("FETCH held", "34000");
        // A cursor in the way of the next switch would be a denial of service.
        s.run(&format!("BEGIN; {}; COMMIT", POOL.victim));
    }
}

#[test]
fn channel_listened_to_for_the_next_user() {
    let mut s = POOL.connect();
    POOL.attack(&mut s, "LISTEN gossip");
    assert!(s.column("SELECT pg_listening_channels()").is_empty());
    s.run(&format!(
        "BEGIN; {}; LISTEN gossip; NOTIFY gossip; COMMIT",
        POOL.attacker
    ));
    assert!(s.column("SELECT pg_listening_channels()").is_empty());
    s.refused("LISTEN gossip", "42501");
}

/// What one user sets is gone for the next, whatever it is, whoever they were when they set it.
#[test]
fn settings_of_one_user_for_the_next() {
    let mut s = POOL.connect();
    let changes = [
        ("DateStyle", "'SQL, DMY'"),
        ("IntervalStyle", "iso_8601"),
        ("TimeZone", "'Asia/Tokyo'"),
        ("timezone_abbreviations", "'India'"),
        ("exit_on_error", "on"),
        ("extra_float_digits", "-15"),
        ("bytea_output", "escape"),
        ("xmlbinary", "hex"),
        ("client_encoding", "LATIN1"),
        ("client_min_messages", "error"),
        ("statement_timeout", "'5min'"),
        ("lock_timeout", "'5min'"),
        ("work_mem", "'64kB'"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
        ("application_name", "'somebody else'"),
        ("quote_all_identifiers", "on"),
        ("check_function_bodies", "off"),
        ("plpgsql.check_asserts", "off"),
        ("plan_cache_mode", "force_custom_plan"),
        ("app.tenant", "'mine'"),
    ];
    s.run("SELECT set_config('app.tenant', '', false); DO $$ BEGIN END $$");
    let shown = |s: &mut Session| -> Vec<String> {
        changes
            .iter()
            .map(|(name, _)| s.text(&format!("SHOW {name}")))
            .collect()
    };
    let before = shown(&mut s);
    for (name, value) in changes {
        let set = format!("SET {name} = {value}");
        let call = format!(
            "SELECT set_config('{name}', {}, false)",
            match value {
                quoted if quoted.starts_with('\'') => quoted.to_owned(),
                plain => format!("'{plain}'"),
            }
        );
        for set in [
            set.clone(),
            call,
            format!("SAVEPOINT a; {set}; RELEASE a"),
            format!("DO $$ BEGIN {set}; END $$"),
            format!("SET LOCAL {name} = {value}; {set}"),
        ] {
            POOL.attack(&mut s, &set);
            assert_eq!(shown(&mut s), before, "{set}");
            // As injected SQL, behind a COMMIT.
            if !set.starts_with("SAVEPOINT") {
                s.run(&format!("BEGIN; {}; COMMIT; {set}", POOL.attacker));
            }
            assert_eq!(shown(&mut s), before, "after COMMIT: {set}");
            s.run(&format!("BEGIN; {set}; COMMIT"));
            assert_eq!(shown(&mut s), before, "in a transaction of its own: {set}");
        }
        s.run(&format!(
            "{set}; BEGIN; {}; RESET {name}; COMMIT",
            POOL.attacker
        ));
        assert_eq!(shown(&mut s), before, "RESET {name}");
    }
    s.run("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE");
    assert_eq!(shown(&mut s), before);
    // Who is nobody just now is told, once.
    let mut s = POOL.connect();
    POOL.attack(&mut s, "SET work_mem = '9MB'");
    s.notices();
    s.run("RESET ALL; SET DateStyle = 'ISO, MDY'");
    let notices = s.notices();
    assert!(notices.is_empty(), "{notices:?}");
    for round in 0..50 {
        s.run(&format!("SET DateStyle = 'SQL, DMY'; SET my.setting_{round} = 'x'; BEGIN; SET work_mem = '8MB'; COMMIT"));
    }
    let notices = s.notices();
    assert!(
        notices.len() == 1
            && notices
                .iter()
                .any(|n| n.code == "25P01" && n.detail.contains("DateStyle") && !n.hint.is_empty()),
        "{notices:?}"
    );
}

/// Settings that a function with a SET clause, or an extension's function, changes.
#[test]
fn settings_by_functions_of_extensions() {
    let mut s = POOL.connect();
    if !POOL
        .g
        .f
        .admin()
        .holds("EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')")
    {
        return skip("this server has no contrib");
    }
    POOL.g
        .f
        .admin()
        .run("CREATE EXTENSION IF NOT EXISTS pg_trgm");
    s.run("SELECT show_limit()");
    let before = s.text("SHOW pg_trgm.similarity_threshold");
    POOL.attack(&mut s, "SELECT set_limit(0.9)");
    assert_eq!(s.text("SHOW pg_trgm.similarity_threshold"), before);
    s.run("SELECT set_limit(0.9)");
    assert_eq!(s.text("SHOW pg_trgm.similarity_threshold"), before);
}

/// What is drawn next would be known to whoever has set the seed.
#[test]
fn random_numbers_that_the_previous_user_knows() {
    let mut s = POOL.connect();
    let g = &POOL.g;
    for seed in [
        "SELECT setseed(0.5)",
        "SET seed = 0.5",
        "SELECT set_config('seed', '0.5', false)",
        "CREATE FUNCTION pg_temp.sow() RETURNS int LANGUAGE sql SET seed = 0.5 AS 'SELECT 1'; SELECT pg_temp.sow()",
        "SAVEPOINT s; SELECT setseed(0.5); ROLLBACK TO s",
    ] {
        // From 16 on PostgreSQL takes no such clause.
        if seed.contains("SET seed = 0.5 AS")
            && s.holds("current_setting('server_version_num')::int >= 160000")
        {
            continue;
        }
        s.run(&format!("BEGIN; {}; {seed}", POOL.attacker));
        let known = s.text("SELECT random()");
        s.run("ROLLBACK");
        for end in ["COMMIT", "ROLLBACK"] {
            s.run(&format!("BEGIN; {}; {seed}; {end}", POOL.attacker));
            s.run(&format!("BEGIN; {}", POOL.victim));
            assert_ne!(s.text("SELECT random()"), known, "{seed}; {end}");
            s.run("COMMIT");
        }
        if !seed.starts_with("CREATE") && !seed.starts_with("SAVE") {
            s.run(seed);
            assert_ne!(s.text("SELECT random()"), known, "{seed} without a token");
        }
    }
    assert!(!g.reader.is_empty());
}

#[test]
fn last_values_of_sequences_for_the_next_user() {
    let mut s = POOL.connect();
    POOL.g.f.admin().run(&format!(
        "CREATE SEQUENCE numbers START 4711; GRANT USAGE, SELECT ON SEQUENCE numbers TO {}, {}",
        POOL.g.reader, POOL.g.writer
    ));
    for end in ["COMMIT", "ROLLBACK"] {
        s.run(&format!(
            "BEGIN; {}; SELECT nextval('numbers'); SELECT lastval(); {end}",
            POOL.attacker
        ));
        s.run(&format!("BEGIN; {}; SAVEPOINT s", POOL.victim));
        s.denied("SELECT currval('numbers')", "55000");
        s.run("ROLLBACK TO s");
        s.denied("SELECT lastval()", "55000");
        s.run("ROLLBACK");
    }
}

#[test]
fn advisory_locks_for_the_next_user() {
    let mut s = POOL.connect();
    let held = "(SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())";
    for lock in [
        "SELECT pg_advisory_lock(4711)",
        "SELECT pg_try_advisory_lock_shared(4, 7), pg_advisory_xact_lock(4, 7)",
    ] {
        for end in ["COMMIT", "ROLLBACK"] {
            s.run(&format!("BEGIN; {}; {lock}; {end}", POOL.attacker));
            s.assert_that(held);
        }
    }
    // A session switch keeps them while it lasts.
    let mut s = POOL.connect_for_sessions();
    s.run(&switch_session(&POOL.attackers_token));
    s.run("SELECT pg_advisory_lock(4711)");
    s.assert_that(&format!("NOT {held}"));
    s.run(&end_session(&POOL.attackers_token));
    s.assert_that(held);
}

/// The driver has prepared a call whose text holds the token.
#[test]
fn token_in_the_text_of_a_statement_that_the_driver_has_prepared() {
    let g = &POOL.g;
    let mut s = g.f.login(&POOL.login);
    let token = g.token(json!({"jti": "prepared"}));
    let call = switch(&token);
    let statement = s.client.prepare(&call).expect("prepare");
    let private = s
        .client
        .prepare("SELECT count(*) FROM orders WHERE note = 'ann''s secret' AND id < 86753")
        .expect("prepare");
    s.run("BEGIN");
    s.client.execute(&statement, &[]).expect("the switch");
    s.client.execute(&private, &[]).expect("a query");
    s.run("COMMIT");
    for begin in ["BEGIN".to_owned(), format!("BEGIN; {}", POOL.victim)] {
        s.run(&begin);
        s.refused("SELECT statement FROM pg_prepared_statements", "42501");
        s.run("ROLLBACK");
    }
    // The driver goes on with it.
    s.run("BEGIN");
    s.client.execute(&statement, &[]).expect("the switch");
    assert_eq!(s.text("SELECT current_user"), g.reader);
    s.client.execute(&private, &[]).expect("a query");
    s.run("COMMIT");
    // Nor does SQL run it.
    let mut wire = Wire::open(g.f.server, &POOL.login, &g.f.name);
    wire.bind("kept", &call);
    wire.sync();
    for begin in ["BEGIN".to_owned(), format!("BEGIN; {}", POOL.victim)] {
        for sql in [
            "EXECUTE kept",
            "EXPLAIN (VERBOSE) EXECUTE kept",
            "CREATE TEMP TABLE t AS EXECUTE kept",
            "DO $$ BEGIN EXECUTE 'EXECUTE kept'; END $$",
        ] {
            wire.query(&begin);
            let answers = wire.query(sql);
            assert!(has_error(&answers, "42501"), "{sql}: {answers:?}");
            wire.query("ROLLBACK");
        }
    }
}

/// A connection that one user has opened is another's session, open for the next, without a token too. A name that stands for none is taken
/// for a connection string.
#[test]
fn connection_of_dblink_for_the_next_user() {
    let g = &POOL.g;
    let mut admin = g.f.admin();
    if !admin.holds("EXISTS (SELECT FROM pg_available_extensions WHERE name = 'dblink')") {
        return skip("this server has no contrib");
    }
    admin.run(&format!(
        "CREATE EXTENSION IF NOT EXISTS dblink;
         GRANT EXECUTE ON FUNCTION dblink_connect_u(text), dblink_connect_u(text, text) TO {}, {}",
        g.reader, POOL.login
    ));
    let socket = g.f.server.socket();
    let host = socket.parent().expect("a folder").display().to_string();
    let port = admin.text("SHOW port");
    let to = format!(
        "host={host} port={port} dbname={} user={} application_name=dblinked",
        g.f.name, g.auth
    );
    let open = format!("SELECT dblink_connect_u('{to}'), dblink_connect_u('named', '{to}')");
    let mut s = POOL.connect();
    let ask = [
        "SELECT * FROM dblink('named', 'SELECT 1') AS t(x int)",
        "SELECT * FROM dblink('SELECT 1') AS t(x int)",
        "DO $$ BEGIN PERFORM dblink_exec('named', 'SET x.y = 1'); END $$",
    ];
    let mut assert_closed = |s: &mut Session, how: &str| {
        for sql in ask {
            for begin in ["BEGIN".to_owned(), format!("BEGIN; {}", POOL.victim)] {
                s.run(&begin);
                let refusal = s.fails(sql);
                assert!(
                    refusal.code.starts_with("08") || refusal.code == "2F003",
                    "{how}: {sql}\n{refusal}"
                );
                s.run("ROLLBACK");
            }
        }
        wait_until("the connections are closed", 10, || {
            admin.holds(
                "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'dblinked')",
            )
        });
    };
    for end in ["COMMIT", "ROLLBACK"] {
        s.run(&format!("BEGIN; {}; {open}", POOL.attacker));
        assert_eq!(
            s.text("SELECT * FROM dblink('named', 'SELECT 1') AS t(x int)"),
            "1"
        );
        assert_eq!(s.text("SELECT * FROM dblink('SELECT 2') AS t(x int)"), "2");
        s.run(end);
        assert_closed(&mut s, end);
    }
    s.run(&open);
    assert_closed(&mut s, "without a token");
    s.run(&format!(
        "BEGIN; {}; SELECT dblink_connect_u('{to}'); SELECT dblink_disconnect(); COMMIT",
        POOL.attacker
    ));
    assert_closed(&mut s, "closed already");
}

/// A session switch keeps its own until it ends.
#[test]
fn everything_of_a_session_switch_ends_with_it() {
    let mut s = POOL.connect_for_sessions();
    let before = s.text("SHOW search_path");
    let open = switch_session(&POOL.attackers_token);
    let close = end_session(&POOL.attackers_token);
    // The service's own, from before the first switch.
    s.run("SET TimeZone = 'Asia/Tokyo'; SET statement_timeout = '1min'");
    s.run(&format!(
        "BEGIN; {open}; PREPARE trap AS SELECT 1; ROLLBACK"
    ));
    s.denied("EXECUTE trap", "26000");
    s.run(&open);
    s.run(
        "CREATE TEMP TABLE diary (line text); SET search_path = evil, pg_catalog; PREPARE trap AS SELECT 1; LISTEN gossip;
         SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kathmandu'; SET app.tenant = 'mine'; RESET statement_timeout;
         BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT",
    );
    s.run("SELECT * FROM diary; EXECUTE trap; BEGIN; SELECT 1/1; ROLLBACK; EXECUTE trap; INSERT INTO diary VALUES ('x')");
    assert_eq!(s.text("SHOW search_path"), "evil, pg_catalog");
    assert_eq!(s.column("SELECT pg_listening_channels()"), ["gossip"]);
    s.refused(&close, "55006");
    s.run("CLOSE held");
    // A rolled-back end is none.
    s.run(&format!(
        "BEGIN; {close}; ROLLBACK; EXECUTE trap; SELECT * FROM diary"
    ));
    assert_eq!(s.text("SHOW search_path"), "evil, pg_catalog");
    assert_eq!(s.text("SHOW TimeZone"), "Asia/Kathmandu");
    s.run(&close);
    assert_eq!(s.text("SHOW search_path"), before);
    assert_eq!(s.text("SHOW TimeZone"), "Asia/Tokyo");
    assert_eq!(s.text("SHOW statement_timeout"), "1min");
    assert_eq!(s.text("SHOW DateStyle"), "ISO, MDY");
    assert_eq!(s.text("SHOW app.tenant"), "");
    assert!(s.column("SELECT pg_listening_channels()").is_empty());
    s.denied("EXECUTE trap", "26000");
    s.denied("SELECT * FROM pg_temp.diary", "42P01");
    s.run(&switch_session(&POOL.victims_token));
    s.run("INSERT INTO diary VALUES ('session')");
    POOL.g
        .f
        .admin()
        .assert_that("(SELECT count(*) = 1 FROM diary WHERE line = 'session')");
    // What is set after its end, in the same transaction.
    s.run(&format!(
        "BEGIN; {}; SET request.jwt.claims = '{{}}'; SET app.tenant = 'mine'; COMMIT",
        end_session(&POOL.victims_token)
    ));
    assert_eq!(s.text("SHOW request.jwt.claims"), "");
    assert_eq!(s.text("SHOW app.tenant"), "");
    // One that takes its place in the same transaction has nothing of it.
    s.run(&open);
    s.run("SELECT pg_advisory_lock(4711)");
    s.run("SELECT setseed(0.5)");
    let known = s.text("SELECT random()");
    s.run("SELECT setseed(0.5)");
    s.run(&format!(
        "BEGIN; {close}; {}; COMMIT",
        switch_session(&POOL.victims_token)
    ));
    s.assert_that(&format!("random()::text <> {}", literal(&known)));
    s.assert_that(
        "NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
    );
    s.run(&end_session(&POOL.victims_token));
}

/// COMMIT in a procedure ends the switch, and with it what it left.
#[test]
fn commit_inside_a_procedure_leaves_nothing() {
    let mut s = POOL.connect();
    let take = POOL.attacker.replacen("SELECT", "PERFORM", 1);
    s.run(&format!(
        "DO $$ BEGIN
           {take};
           CREATE TEMP TABLE diary (line text); SET search_path = evil; EXECUTE 'PREPARE trap AS SELECT 1'; SET DateStyle = 'SQL, DMY';
           COMMIT;
           IF to_regclass('pg_temp.diary') IS NOT NULL OR current_setting('search_path') = 'evil' OR current_setting('DateStyle') <> 'ISO, MDY' THEN RAISE EXCEPTION 'left'; END IF;
         END $$"
    ));
    s.denied("EXECUTE trap", "26000");
}

/// A login that is no authenticator is left alone: it has rights of its own to lose.
#[test]
fn login_of_another_kind_keeps_what_it_makes() {
    let g = &POOL.g;
    let mut s = g.login();
    s.run("CREATE TEMP TABLE own (x int); PREPARE own AS SELECT 1");
    s.run(&format!(
        "BEGIN; {}; SET search_path = public; SELECT 1; COMMIT",
        POOL.attacker
    ));
    s.run("SELECT * FROM own; EXECUTE own");
    assert_eq!(s.text("SHOW search_path"), "public");
    s.assert_that("pg_my_temp_schema() <> 0");
}

/// PL/pgSQL keeps what a type's name meant at the first call in the session, whoever calls next.
#[test]
fn plpgsql_function_compiled_under_the_previous_users_path() {
    let f = &POOL.g.f;
    let mut admin = f.admin();
    admin.run(&format!(
        "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
         CREATE FUNCTION app.greet(n pg_catalog.text) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$ DECLARE t text; BEGIN t := n; RETURN t; END $$;
         CREATE SCHEMA {reader} AUTHORIZATION {reader}; GRANT USAGE ON SCHEMA {reader} TO PUBLIC",
        reader = POOL.g.reader
    ));
    for (schema, path) in [
        (
            "evil".to_owned(),
            "SET LOCAL search_path = evil, pg_catalog;",
        ),
        // The default path begins with the role's own schema.
        (POOL.g.reader.clone(), ""),
    ] {
        let mut s = POOL.connect();
        POOL.attack(
            &mut s,
            &format!(
                "CREATE FUNCTION {schema}.steal(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'stolen as %', current_user; RETURN true; END $$;
                 CREATE DOMAIN {schema}.text AS pg_catalog.text CHECK ({schema}.steal(VALUE));
                 {path} SELECT app.greet('attacker')"
            ),
        );
        // Before the switch too: the login is nobody, but may call what everyone may.
        s.run("BEGIN; SET LOCAL search_path = evil, pg_catalog");
        let _ = s.attempt("SELECT app.greet('nobody')");
        s.run("ROLLBACK");
        s.notices();
        s.run(&format!("BEGIN; {}", POOL.victim));
        assert_eq!(s.text("SELECT app.greet('victim')"), "victim");
        assert!(s.notices().is_empty(), "the attacker's code ran");
        s.run("COMMIT");
        // Named in full it is there for whoever means it.
        POOL.attack(
            &mut s,
            &format!("SELECT 'x'::{schema}.text; DROP DOMAIN {schema}.text"),
        );
    }
}

/// What a login without a token could do to the other users of its pool.
#[test]
fn authenticator_looks_at_and_ends_the_sessions_of_others() {
    let mut victim = POOL.connect();
    victim.run(&format!(
        "BEGIN; {}; SELECT 'secret of the victim'",
        POOL.victim
    ));
    let mut s = POOL.connect();
    for attack in [
        "SELECT query FROM pg_stat_activity",
        "SELECT pg_stat_get_backend_activity(1)",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_cancel_backend(pg_backend_pid())",
        "DO $$ BEGIN PERFORM pg_terminate_backend(1); END $$",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_creat(-1)",
        "SELECT pg_notify('orders', 'forged')",
        "SELECT pg_logical_emit_message(false, 'x', 'y')",
        "EXPLAIN ANALYZE CREATE TABLE planted AS SELECT 1",
        "EXPLAIN ANALYZE CREATE TEMP TABLE planted AS SELECT 1",
        "EXPLAIN ANALYZE SELECT 1 INTO planted",
    ] {
        s.denied(attack, "42501");
    }
    // What poolers and drivers ask.
    for harmless in [
        "SELECT 1",
        "SELECT set_config('application_name', 'x', false), current_setting('server_version'), version(), pg_backend_pid()",
        "SELECT pg_is_in_recovery(), now(), clock_timestamp(), pg_advisory_unlock_all()",
        "SELECT oid, typname, format_type(oid, NULL) FROM pg_type WHERE typname = 'text'",
        "EXPLAIN SELECT 1",
        "DISCARD ALL",
    ] {
        s.run(harmless);
    }
    // With a token all that is the role's own affair again.
    s.run(&format!(
        "BEGIN; {}; SELECT pg_notify('orders', 'x'); COMMIT",
        POOL.attacker
    ));
    assert_eq!(victim.text("SELECT current_user"), POOL.g.writer);
}

/// What PL/pgSQL has made ready calls set_config() without a hook in between.
#[test]
fn gate_holds_after_a_switch_that_an_exception_block_rolled_back() {
    let mut s = POOL.connect();
    let outcome = s.attempt(&format!(
        "DO $$ DECLARE n text; v text; r text; BEGIN
           FOR i IN 1..3 LOOP
             n := CASE i WHEN 3 THEN 'role' ELSE 'work_mem' END;
             v := CASE i WHEN 3 THEN '{writer}' ELSE '5MB' END;
             IF i = 2 THEN
               BEGIN {take}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
             ELSE
               r := set_config(n, v, false);
               IF i = 3 THEN RAISE WARNING 'as %', current_user; END IF;
             END IF;
           END LOOP;
         END $$",
        writer = POOL.g.writer,
        take = POOL.attacker.replacen("SELECT", "PERFORM", 1),
    ));
    assert_eq!(outcome.expect_err("an escape").code, "42501");
    assert!(s.notices().iter().all(|n| !n.message.starts_with("as ")));
    // And the connection is good for the next user.
    s.run(&format!("BEGIN; {}", POOL.victim));
    assert_eq!(s.text("SELECT current_user"), POOL.g.writer);
    s.run("COMMIT");
}
