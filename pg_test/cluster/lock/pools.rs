//! What drivers and pools do to a connection of an authenticator goes on working: the set-up that they send once, and the list with which
//! they reset it between clients, each as it is really sent.

use super::leftovers::POOL;
use crate::harness::*;

/// A driver's start-up parameters, the statements that it sends once, and what they are to have come to.
type Driver = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const DRIVERS: [Driver; 6] = [
    (
        "JDBC, with currentSchema",
        &[
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "Europe/Berlin"),
            ("extra_float_digits", "2"),
            ("search_path", "evil,public"),
        ],
        &[
            "SET extra_float_digits = 3",
            "SET application_name = 'PostgreSQL JDBC Driver'",
        ],
        &[
            ("TimeZone", "Europe/Berlin"),
            ("extra_float_digits", "3"),
            ("application_name", "PostgreSQL JDBC Driver"),
            ("search_path", "evil,public"),
        ],
    ),
    (
        "Npgsql",
        &[
            ("client_encoding", "UTF8"),
            ("application_name", "svc"),
            ("TimeZone", "Europe/Paris"),
            ("options", "-c statement_timeout=30s"),
        ],
        &["SET statement_timeout = 15000"],
        &[
            ("TimeZone", "Europe/Paris"),
            ("statement_timeout", "15s"),
            ("application_name", "svc"),
        ],
    ),
    (
        "psycopg and SQLAlchemy",
        &[
            ("client_encoding", "UTF8"),
            ("options", "-c search_path=public"),
        ],
        &[
            "BEGIN",
            "SET TIME ZONE 'Asia/Tokyo'",
            "COMMIT",
            "BEGIN; SELECT set_config('TimeZone', 'UTC', false); COMMIT",
            "SHOW standard_conforming_strings",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        ],
        &[
            ("TimeZone", "UTC"),
            ("search_path", "public"),
            ("default_transaction_isolation", "repeatable read"),
        ],
    ),
    (
        "Ruby on Rails",
        &[],
        &[
            "SET client_min_messages TO 'warning'",
            "SET standard_conforming_strings = on",
            "SET SESSION timezone TO 'UTC'",
            "SET SESSION intervalstyle TO 'iso_8601'",
            "SET SESSION search_path TO public",
        ],
        &[
            ("TimeZone", "UTC"),
            ("IntervalStyle", "iso_8601"),
            ("client_min_messages", "warning"),
            ("search_path", "public"),
        ],
    ),
    (
        "asyncpg and node-postgres",
        &[
            ("client_encoding", "'utf-8'"),
            ("application_name", "svc"),
            ("search_path", "public"),
            ("statement_timeout", "5000"),
        ],
        &["SET jit = off"],
        &[
            ("search_path", "public"),
            ("statement_timeout", "5s"),
            ("jit", "off"),
            ("application_name", "svc"),
        ],
    ),
    (
        "libpq's environment",
        &[
            ("datestyle", "German"),
            ("timezone", "CET"),
            ("geqo", "off"),
        ],
        &["SET app.service = 'tiles'"],
        &[
            ("DateStyle", "German, DMY"),
            ("TimeZone", "CET"),
            ("geqo", "off"),
            ("app.service", "tiles"),
        ],
    ),
];

fn assert_fine(answers: &[Answer], sql: &str) {
    assert!(
        !answers.iter().any(|(kind, _)| *kind == b'E'),
        "{sql}: {answers:?}"
    );
}

#[test]
fn what_drivers_set_up_once_stays() {
    for (driver, start, setup, wanted) in DRIVERS {
        let g = &POOL.g;
        let mut wire = match Wire::try_open(g.f.server, &POOL.login, &g.f.name, start) {
            Ok(wire) => wire,
            Err(answers) => panic!("{driver}: {answers:?}"),
        };
        for sql in setup {
            assert_fine(&wire.query(sql), sql);
        }
        let assert_kept = |wire: &mut Wire, when: &str| {
            for (name, value) in wanted {
                let shown = wire.text(&format!(
                    "SELECT replace(current_setting('{name}'), ', ', ',')"
                ));
                assert_eq!(shown, value.replace(", ", ","), "{driver}: {name} {when}");
            }
        };
        assert_kept(&mut wire, "at first");
        for end in ["COMMIT", "ROLLBACK"] {
            assert_fine(
                &wire.query(&format!("BEGIN; {}", POOL.attacker)),
                "the switch",
            );
            assert_kept(&mut wire, "in a switch");
            for (name, _) in wanted {
                // Neither the person's own nor a RESET changes it for the next.
                assert_fine(&wire.query(&format!("RESET {name}")), name);
            }
            assert_fine(
                &wire.query(&format!(
                    "SET TIME ZONE 'Asia/Kathmandu'; SET DateStyle = 'SQL'; {end}"
                )),
                end,
            );
            assert_kept(&mut wire, "after a switch");
            assert_fine(&wire.query("RESET ALL"), "RESET ALL");
            assert_fine(&wire.query("DISCARD ALL"), "DISCARD ALL");
            assert_kept(&mut wire, "after a reset");
        }
    }
}

/// A token that is refused ends the set-up too; and what the transaction of the first switch sets is its person's.
#[test]
fn the_set_up_ends_with_the_first_token() {
    let mut s = POOL.connect();
    s.run("BEGIN");
    s.denied("SELECT scope.set_jwt_role('x.y.z')", "28000");
    s.run("ROLLBACK; SET DateStyle = 'SQL, DMY'");
    assert_eq!(s.text("SHOW DateStyle"), "ISO, MDY");
    let mut s = POOL.connect();
    s.run(&format!(
        "BEGIN; SET DateStyle = 'SQL, DMY'; {}; COMMIT",
        POOL.attacker
    ));
    assert_eq!(s.text("SHOW DateStyle"), "ISO, MDY");
    // Rolled back to before the switch, the transaction has still seen a person.
    let mut s = POOL.connect();
    s.run(&format!(
        "BEGIN; SAVEPOINT s; {}; ROLLBACK TO s; SET DateStyle = 'SQL, DMY'; COMMIT",
        POOL.attacker
    ));
    assert_eq!(s.text("SHOW DateStyle"), "ISO, MDY");
}

/// By the name of the pool that sends it; each element is one message.
const RESETS: [(&str, &[&str]); 9] = [
    ("PgBouncer", &["DISCARD ALL"]),
    (
        "deadpool, clean",
        &[
            "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;",
        ],
    ),
    (
        "Odyssey, smart discard",
        &[
            "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;SELECT pg_advisory_unlock_all();DISCARD PLANS;DISCARD SEQUENCES;DISCARD TEMP;",
        ],
    ),
    ("PgCat", &["RESET ROLE;RESET ALL;DEALLOCATE ALL;"]),
    (
        "PgCat, in parts",
        &[
            "RESET ROLE",
            "RESET ALL",
            "DEALLOCATE ALL",
            "SET application_name TO 'pgcat'",
        ],
    ),
    (
        "Npgsql",
        &[
            "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;SELECT pg_advisory_unlock_all();DISCARD SEQUENCES;DISCARD TEMP",
        ],
    ),
    (
        "Npgsql, in parts",
        &[
            "SET SESSION AUTHORIZATION DEFAULT",
            "RESET ALL",
            "CLOSE ALL",
            "UNLISTEN *",
            "SELECT pg_advisory_unlock_all()",
            "DISCARD SEQUENCES",
            "DISCARD TEMP",
        ],
    ),
    (
        "asyncpg",
        &["SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"],
    ),
    (
        "MySQL Router's kind",
        &[
            "ROLLBACK;CLOSE ALL;SET SESSION AUTHORIZATION DEFAULT;RESET ALL;DEALLOCATE ALL;UNLISTEN *;SELECT pg_advisory_unlock_all();DISCARD PLANS;DISCARD TEMP;DISCARD SEQUENCES;SET SEARCH_PATH TO DEFAULT;",
        ],
    ),
];

#[test]
fn the_reset_lists_of_pools_run_whole() {
    let g = &POOL.g;
    // Nobody else's attempts are counted.
    let login = "lock_pool_reset";
    g.f.admin().rows(&format!(
        "SELECT scope.create_authenticator('{login}', '{{{}}}')",
        g.reader
    ));
    let mut s = g.f.login(login);
    let told = |log: &str| {
        log.lines()
            .filter(|line| line.contains("lock_violation") && line.contains(login))
            .count()
    };
    for (pool, messages) in RESETS {
        for round in ["fresh", "used"] {
            let before = told(&g.f.server.log());
            for sql in messages {
                s.attempt(sql)
                    .unwrap_or_else(|e| panic!("{pool}, {round}: {sql}\n{e}"));
            }
            assert_eq!(
                told(&g.f.server.log()),
                before,
                "{pool} was written down as an attack"
            );
            s.assert_that(&format!("current_user = '{0}' AND session_user = '{0}' AND current_setting('role') = 'none'", login));
            s.denied("SELECT * FROM orders", "42501");
            s.refused(&format!("SET ROLE {}", g.reader), "42501");
            s.run(&format!(
                "BEGIN; {}; SELECT * FROM orders; SAVEPOINT s",
                POOL.attacker
            ));
            // In a switch the same words break out, and stay refused.
            for sql in messages.iter() {
                for part in sql
                    .split(';')
                    .filter(|part| part.contains("ROLE") || part.contains("AUTHORIZATION"))
                {
                    s.refused(part, "42501");
                    s.run("ROLLBACK TO s");
                }
            }
            s.run("COMMIT");
        }
    }
}

/// In every spelling that leaves the login as it is; none of the others.
#[test]
fn resetting_the_role_of_a_login_that_has_none() {
    let mut s = POOL.connect();
    let own = ident(&POOL.login);
    for sql in [
        "RESET ROLE",
        "reset \"role\"",
        "SET ROLE NONE",
        "SET ROLE 'none'",
        "SET LOCAL ROLE NONE",
        "SET SESSION ROLE TO DEFAULT",
        "SET role = DEFAULT",
        "SET role TO none",
        "SET role FROM CURRENT",
        "RESET SESSION AUTHORIZATION",
        "RESET session_authorization",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET LOCAL SESSION AUTHORIZATION DEFAULT",
        "SET SESSION session_authorization TO DEFAULT",
        &format!("SET SESSION AUTHORIZATION {own}"),
        &format!("SET SESSION AUTHORIZATION '{}'", POOL.login),
    ] {
        for sql in [
            sql.to_owned(),
            format!("BEGIN; {sql}; COMMIT"),
            format!("DO $x$ BEGIN {sql}; END $x$"),
        ] {
            s.attempt(&sql).unwrap_or_else(|e| panic!("{sql}\n{e}"));
            s.assert_that(&format!("current_user = '{0}' AND session_user = '{0}' AND current_setting('role') = 'none'", POOL.login));
        }
        s.attempt_extended(sql, &[])
            .unwrap_or_else(|e| panic!("{sql}\n{e}"));
        s.run(&format!("BEGIN; {}; SAVEPOINT s", POOL.attacker));
        s.refused(sql, "42501");
        s.run("ROLLBACK");
    }
    for sql in [
        format!("SET ROLE {}", POOL.g.reader),
        format!("SET ROLE {own}"),
        "SET ROLE 'NONE'".into(),
        "SET SESSION AUTHORIZATION postgres".into(),
        format!("SET SESSION AUTHORIZATION {}", POOL.g.reader),
        format!(
            "DO $$ BEGIN RESET ROLE; PERFORM set_config('role', '{}', false); END $$",
            POOL.g.reader
        ),
        format!(
            "DO $$ DECLARE x text; BEGIN FOR i IN 1..2 LOOP x := set_config('work_mem', '1MB', false); RESET ROLE; x := set_config('role', '{}', false); END LOOP; END $$",
            POOL.g.reader
        ),
    ] {
        s.denied(&sql, "42501");
        s.assert_that(&format!(
            "current_user = '{0}' AND current_setting('role') = 'none'",
            POOL.login
        ));
    }
    // A role that is there from the start is no none to go back to.
    let g = &POOL.g;
    let wire = Wire::try_open(
        g.f.server,
        &POOL.login,
        &g.f.name,
        &[("options", &format!("-c role={}", g.reader))],
    );
    if let Ok(mut wire) = wire {
        for sql in [
            "RESET ROLE",
            "SET ROLE TO DEFAULT",
            "SET ROLE NONE",
            "SELECT * FROM orders",
        ] {
            let answers = wire.query(sql);
            assert!(has_error(&answers, "42501"), "{sql}: {answers:?}");
        }
    }
}
