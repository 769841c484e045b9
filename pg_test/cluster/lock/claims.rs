//! `request.jwt.claim.X`, which `auth.uid()` as Supabase ships it and policies of PostgREST's older form read before
//! `request.jwt.claims`: the token's claim or nothing, for whoever reads it and whatever was set.

use std::sync::LazyLock;

use serde_json::json;

use crate::harness::*;
use crate::jwt::{Gate, end_session, switch, switch_session};

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

struct Stage {
    g: Gate<'static>,
    /// Of an authenticator.
    pool: String,
    token: String,
}

const ME: &str = "11111111-1111-1111-1111-111111111111";
const VICTIM: &str = "22222222-2222-2222-2222-222222222222";

impl Stage {
    fn new() -> Stage {
        let g = Gate::new("lock_claims");
        let pool = "lock_claims_api".to_owned();
        let mut admin = g.f.admin();
        admin.rows(&format!(
            "SELECT scope.create_authenticator('{pool}', '{{{}}}')",
            g.reader
        ));
        admin.run(&format!(
            "CREATE SCHEMA auth;
             CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
                 SELECT coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                     (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid $$;
             CREATE FUNCTION auth.reader(name text) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS
                 $$ BEGIN RETURN current_setting(name, true); END $$;
             GRANT USAGE ON SCHEMA auth TO PUBLIC;
             CREATE TABLE own (id uuid, body text);
             INSERT INTO own VALUES ('{ME}', 'mine'), ('{VICTIM}', 'treasure');
             ALTER TABLE own ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON own USING (id = auth.uid());
             CREATE TABLE older (tenant text, body text);
             INSERT INTO older VALUES ('mine', 'mine'), ('victim', 'treasure');
             ALTER TABLE older ENABLE ROW LEVEL SECURITY;
             CREATE POLICY older ON older USING (tenant = current_setting('request.jwt.claim.tenant', true));
             GRANT SELECT ON own, older TO {reader};
             CREATE FUNCTION lend() RETURNS SETOF text LANGUAGE sql SET request.jwt.claim.tenant = 'victim'
                 AS 'SELECT body FROM public.older';
             CREATE FUNCTION lend_oddly() RETURNS SETOF text LANGUAGE sql SET \"ReQuest.jwt.Claim.Tenant\" = 'victim'
                 AS 'SELECT body FROM public.older';
             CREATE FUNCTION lend_in_workers(t text) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE
                 SET request.jwt.claim.tenant = 'victim'
                 AS $$ BEGIN RETURN t = current_setting('request.jwt.claim.tenant', true); END $$;
             CREATE FUNCTION set_any(text, text) RETURNS text LANGUAGE sql SECURITY DEFINER
                 AS 'SELECT set_config($1, $2, true)'",
            reader = g.reader,
        ));
        let token = switch(&g.token(json!({"sub": ME})));
        Stage { g, pool, token }
    }

    fn login(&self) -> Session {
        self.g.f.login(&self.pool)
    }
}

/// `auth.uid()` is the token's, the older policy shows nothing.
#[track_caller]
fn assert_is_me(s: &mut Session) {
    assert_eq!(s.column("SELECT body FROM own"), ["mine"]);
    s.assert_that("NOT EXISTS (SELECT FROM older)");
    s.assert_that("coalesce(current_setting('request.jwt.claim.tenant', true), '') = ''");
    s.assert_that(&format!(
        "current_setting('Request.JWT.Claim.SUB') = '{ME}'"
    ));
}

const NAMES: [&str; 4] = [
    "request.jwt.claim.sub",
    "request.jwt.claim.tenant",
    "REQUEST.JWT.CLAIM.SUB",
    "Request.jwt.claim.Tenant",
];

#[test]
fn one_claim_set_before_the_switch_in_every_way() {
    let mut admin = STAGE.g.f.admin();
    let pool = &STAGE.pool;
    let mut sessions = vec![STAGE.login()];
    for name in NAMES {
        for sql in [
            format!("SET \"{name}\" = '{VICTIM}'"),
            format!("SELECT set_config('{name}', '{VICTIM}', false)"),
            format!("DO $$ BEGIN PERFORM set_config('{name}', '{VICTIM}', false); END $$"),
        ] {
            let mut s = STAGE.login();
            s.run(&sql);
            sessions.push(s);
            let mut s = STAGE.g.login();
            s.run(&sql);
            sessions.push(s);
        }
        let mut s = STAGE.login();
        s.run(&format!(
            "UPDATE pg_settings SET setting = 'x' WHERE false; SET \"{name}\" = 'x'"
        ));
        s.run(&format!("BEGIN; SET LOCAL \"{name}\" = '{VICTIM}'; COMMIT"));
        sessions.push(s);
        let options = format!("-c {name}={VICTIM}");
        let f = &STAGE.g.f;
        sessions.push(
            f.server
                .try_login_with_options(pool, &f.name, &options)
                .expect("a login"),
        );
    }
    for on in [
        format!("ALTER ROLE {pool}"),
        format!("ALTER DATABASE {}", STAGE.g.f.name),
    ] {
        admin.run(&format!("{on} SET request.jwt.claim.sub = '{VICTIM}'"));
        admin.run(&format!("{on} SET request.jwt.claim.tenant = 'victim'"));
        sessions.push(STAGE.login());
        admin.run(&format!("{on} RESET request.jwt.claim.sub"));
        admin.run(&format!("{on} RESET request.jwt.claim.tenant"));
    }
    for mut s in sessions {
        s.run(&format!("BEGIN; {}", STAGE.token));
        assert_is_me(&mut s);
        s.run("SAVEPOINT s; RESET ALL");
        assert_is_me(&mut s);
        s.run("ROLLBACK TO s");
        assert_is_me(&mut s);
        s.run("ROLLBACK");
        for name in NAMES {
            s.assert_that(&format!(
                "coalesce(current_setting('{name}', true), '') = ''"
            ));
        }
        // The next user of the connection.
        s.run("DISCARD ALL");
        s.run(&format!("BEGIN; {}", STAGE.token));
        assert_is_me(&mut s);
        s.run("COMMIT");
    }
}

#[test]
fn one_claim_set_while_it_lasts_in_every_way() {
    let mut s = STAGE.login();
    for name in NAMES
        .into_iter()
        .chain(["request.jwt.claim.none", "rEquest.jwt.claim.x.y"])
    {
        for attack in [
            format!("SET \"{name}\" = 'victim'"),
            format!("SET LOCAL \"{name}\" = 'victim'"),
            format!("SELECT set_config('{name}', 'victim', true)"),
            format!(
                "SELECT set_config('request.' || '{name}', 'x', true), set_config('{name}', 'victim', false)"
            ),
            format!(
                "DO $$ DECLARE x text; BEGIN x := set_config('{name}', 'victim', true); END $$"
            ),
            format!("DO $$ BEGIN EXECUTE 'SET \"{name}\" = 1'; END $$"),
            format!(
                "UPDATE pg_settings SET setting = 'victim' WHERE name = '{name}' OR set_config('{name}', 'victim', true) = ''"
            ),
            format!(
                "WITH s AS MATERIALIZED (SELECT set_config('{}' || substr('{name}', 8), 'victim', true)) SELECT body FROM s, older",
                &name[..7]
            ),
            format!(
                "WITH s AS MATERIALIZED (SELECT set_config(lower('{name}'), '{VICTIM}', true)) SELECT body FROM s, own"
            ),
            format!("SELECT set_any('{name}', 'victim')"),
            format!(
                "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET \"{name}\" = 'x' AS 'SELECT 1'; SELECT pg_temp.f()"
            ),
        ] {
            s.run(&format!("BEGIN; {}; SAVEPOINT s", STAGE.token));
            let refusal = s.fails(&attack);
            assert!(
                ["42501", "42602"].contains(&refusal.code.as_str()),
                "{attack}: {refusal}"
            );
            s.run("ROLLBACK TO s");
            assert_is_me(&mut s);
            s.run("COMMIT");
            s.assert_that(&format!(
                "coalesce(current_setting('{name}', true), '') = ''"
            ));
        }
    }
}

/// In a session whose first switch it is, so that nothing has been learnt from earlier ones.
#[test]
fn one_claim_set_in_a_statement_that_goes_on_to_read_it() {
    for attack in [
        "WITH s AS MATERIALIZED (SELECT set_config('request.jwt.' || 'claim.tenant', 'victim', true)) SELECT body FROM s, older",
        "WITH s AS MATERIALIZED (SELECT set_config('REQUEST.jwt.' || 'claim.tenant', 'victim', true)) SELECT body FROM s, older",
        "SELECT set_config('request.jwt.claim.tenant', 'victim', true), (SELECT body FROM older)",
        "SELECT lend()",
        "SELECT lend_oddly()",
        "WITH s AS MATERIALIZED (SELECT set_any('request.jwt.claim.tenant', 'victim')) SELECT body FROM s, older",
    ] {
        for mut s in [STAGE.login(), STAGE.g.login()] {
            s.run(&format!("BEGIN; {}", STAGE.token));
            let refusal = s.fails(attack);
            assert!(
                ["42501", "42602"].contains(&refusal.code.as_str()),
                "{attack}: {refusal}"
            );
        }
    }
    // The switch and the attack in one statement, and by what PL/pgSQL has made ready before the switch.
    let mut s = STAGE.g.login();
    let switch = STAGE.token.trim_start_matches("SELECT ");
    s.run("BEGIN");
    let fails = s.fails(&format!(
        "SELECT {switch}, set_config('request.jwt.' || 'claim.tenant', 'victim', true), current_setting('request.jwt.claim.tenant', true)"
    ));
    assert_eq!(fails.code, "42602", "{fails}");
    s.run("ROLLBACK");
    let mut s = STAGE.g.login();
    let fails = s.fails(&format!(
        "DO $do$ DECLARE x text; BEGIN
             FOR i IN 1..2 LOOP
                 x := set_config('request.jwt.claim.tenant', 'victim', true);
                 PERFORM {switch};
                 PERFORM count(*) FROM older;
             END LOOP;
         END $do$"
    ));
    assert_eq!(fails.code, "42501", "{fails}");
}

#[test]
fn older_policies_work_by_the_tokens_claims() {
    let g = &STAGE.g;
    let mut s = STAGE.login();
    for tenant in ["mine", "victim", ""] {
        let token = switch(&g.token(json!({
            "sub": ME, "tenant": tenant, "n": 1.50, "yes": true, "nothing": null, "list": ["a", 1], "userId": "u",
            "https://example.org/x": "url", "object": {"a": "b"}, "odd \" name": 1, "accent": "caf\u{e9}", "quote": "a \"b\" \\",
        })));
        s.run(&format!("BEGIN; {token}"));
        assert_eq!(s.column("SELECT body FROM own"), ["mine"]);
        let bodies: &[&str] = match tenant {
            "mine" => &["mine"],
            "victim" => &["treasure"],
            _ => &[],
        };
        assert_eq!(s.column("SELECT body FROM older"), bodies);
        for (name, shown) in [
            ("tenant", tenant),
            ("n", "1.5"),
            ("yes", "true"),
            ("nothing", ""),
            ("list", "[\"a\",1]"),
            ("object", "{\"a\":\"b\"}"),
            ("userId", "u"),
            ("accent", "caf\u{e9}"),
            ("quote", "a \"b\" \\"),
            ("role", g.reader.as_str()),
        ] {
            let setting = format!("request.jwt.claim.{name}");
            for read in ["current_setting", "auth.reader"] {
                assert_eq!(
                    s.text(&format!("SELECT {read}('{setting}')")),
                    shown,
                    "{name}"
                );
            }
        }
        s.run("COMMIT");
        s.assert_that("current_setting('request.jwt.claim.tenant', true) = ''");
    }
    // Nothing of one token for the next.
    s.run(&format!("BEGIN; {}", STAGE.token));
    assert_is_me(&mut s);
    s.run("ROLLBACK");
    // Case, which settings do not know, makes no claim another.
    let mut claims = g.claims(json!({"SUB": VICTIM}));
    claims.as_object_mut().expect("claims").remove("sub");
    s.run(&format!("BEGIN; {}", switch(&sign(&claims))));
    s.assert_that("NOT EXISTS (SELECT FROM own)");
    s.run("ROLLBACK");
    // What was made ready to read before the switch reads the claims after it.
    let mut s = STAGE.g.login();
    s.run(&format!(
        "DO $do$ DECLARE x text; BEGIN
             FOR i IN 1..2 LOOP
                 x := current_setting('request.jwt.claim.sub', true);
                 PERFORM {};
             END LOOP;
             ASSERT x = '{ME}', x;
         END $do$",
        STAGE.token.trim_start_matches("SELECT ")
    ));
}

const IN_WORKERS: &str = "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
     SET LOCAL parallel_leader_participation = off";

#[test]
fn one_claim_in_parallel_workers() {
    let g = &STAGE.g;
    let mut admin = g.f.admin();
    admin.run(&format!(
        "CREATE TABLE many AS SELECT 'mine' AS tenant, i FROM generate_series(1, 20000) i;
         INSERT INTO many SELECT 'victim', 1;
         ALTER TABLE many SET (parallel_workers = 2);
         ALTER TABLE many ENABLE ROW LEVEL SECURITY;
         CREATE POLICY many ON many USING (tenant = current_setting('request.jwt.claim.tenant', true));
         GRANT SELECT ON many TO {}",
        g.reader
    ));
    let mut s = STAGE.login();
    s.run("SET request.jwt.claim.tenant = 'victim'");
    for (tenant, count) in [(Some("mine"), "20000"), (None, "0")] {
        let token = match tenant {
            Some(tenant) => g.token(json!({"tenant": tenant})),
            None => g.token(json!({})),
        };
        s.run(&format!("BEGIN; {}; {IN_WORKERS}", switch(&token)));
        assert!(
            s.column("EXPLAIN SELECT count(*) FROM many")
                .iter()
                .any(|line| line.contains("Gather"))
        );
        assert_eq!(s.text("SELECT count(*) FROM many"), count);
        if tenant.is_some() {
            let fails = s.fails("SELECT count(*) FROM many WHERE lend_in_workers(tenant)");
            assert!(["42501", "42602"].contains(&fails.code.as_str()), "{fails}");
        }
        s.run("ROLLBACK");
    }
}

/// What the session itself has set is covered meanwhile, and there again afterwards.
#[test]
fn all_claims_are_the_tokens_while_the_switch_lasts() {
    let g = &STAGE.g;
    let own = format!("{{\"sub\":\"{VICTIM}\"}}");
    let shows = |s: &mut Session, sub: &str| {
        s.assert_that(&format!(
            "current_setting('request.jwt.claims')::json->>'sub' = '{sub}'"
        ));
        assert!(s.text("SHOW \"Request.JWT.claims\"").contains(sub));
    };
    for sql in [
        format!("SET request.jwt.claims = '{own}'"),
        format!("SET \"Request.JWT.Claims\" = '{own}'"),
        format!("SELECT set_config('request.jwt.claims', '{own}', false)"),
    ] {
        let mut s = g.login();
        s.run(&sql);
        for _ in 0..2 {
            s.run(&format!("BEGIN; SAVEPOINT s; {}", STAGE.token));
            shows(&mut s, ME);
            s.run("ROLLBACK TO s");
            shows(&mut s, VICTIM);
            s.run(&STAGE.token);
            shows(&mut s, ME);
            s.run("COMMIT");
            shows(&mut s, VICTIM);
        }
        let token = g.token(json!({"sub": ME}));
        s.run(&switch_session(&token));
        shows(&mut s, ME);
        s.run(&format!("BEGIN; {}", end_session(&token)));
        shows(&mut s, VICTIM);
        s.run("ROLLBACK");
        shows(&mut s, ME);
        s.run(&end_session(&token));
        shows(&mut s, VICTIM);
        s.run("SET request.jwt.claims = ''");
        s.assert_that("current_setting('request.jwt.claims') = ''");
    }
}

#[test]
fn all_claims_in_parallel_workers() {
    let g = &STAGE.g;
    g.f.admin().run(&format!(
        "CREATE TABLE crowd AS SELECT 'mine' AS tenant, i FROM generate_series(1, 20000) i;
         INSERT INTO crowd SELECT 'victim', 1;
         ALTER TABLE crowd SET (parallel_workers = 2);
         ALTER TABLE crowd ENABLE ROW LEVEL SECURITY;
         CREATE POLICY crowd ON crowd USING (tenant = current_setting('request.jwt.claims')::json->>'tenant');
         CREATE FUNCTION lend_all_in_workers(t text) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE
             SET request.jwt.claims = '{{\"tenant\":\"victim\"}}'
             AS $$ BEGIN RETURN t = current_setting('request.jwt.claims')::json->>'tenant'; END $$;
         GRANT SELECT ON crowd TO {}",
        g.reader
    ));
    for set in [
        "SELECT 1",
        "SET request.jwt.claims = '{\"tenant\":\"victim\"}'",
    ] {
        let mut s = g.login();
        s.run(set);
        s.run(&format!(
            "BEGIN; {}; {IN_WORKERS}",
            switch(&g.token(json!({"tenant": "mine"})))
        ));
        assert!(
            s.column("EXPLAIN SELECT count(*) FROM crowd")
                .iter()
                .any(|line| line.contains("Gather"))
        );
        assert_eq!(s.text("SELECT count(*) FROM crowd"), "20000");
        let fails = s.fails("SELECT count(*) FROM crowd WHERE lend_all_in_workers(tenant)");
        assert_eq!(fails.code, "42501", "{fails}");
    }
}

/// What else there is under the prefix goes on as ever.
#[test]
fn other_settings_of_the_request_stay_everybodys() {
    let mut s = STAGE.g.login();
    s.run("SET request.headers = '{\"a\": 1}'; SELECT set_config('Request.Method', 'GET', false); SET request.id = '7'");
    s.run(&format!(
        "BEGIN; SET LOCAL request.path = '/x'; {}",
        STAGE.token
    ));
    s.assert_that("current_setting('request.headers')::json->>'a' = '1' AND current_setting('request.path') = '/x'");
    s.run("SET LOCAL request.path = '/y'; SELECT set_config('request.cookies', 'c', true); SET LOCAL request.new.one = 'n'");
    s.assert_that("concat_ws(' ', current_setting('request.path'), current_setting('request.cookies'), current_setting('request.new.one')) = '/y c n'");
    s.run("COMMIT");
    s.assert_that("concat(current_setting('request.path'), current_setting('request.cookies'), current_setting('request.new.one')) = ''");
    s.assert_that(
        "current_setting('request.method') = 'GET' AND current_setting('request.id') = '7'",
    );
    s.run("SET request.another = 'x'; SELECT set_config('request.more', 'y', false); RESET request.third");
    s.assert_that(
        "concat(current_setting('request.another'), current_setting('request.more')) = 'xy'",
    );
    s.run("BEGIN; SET request.id = '8'; ROLLBACK");
    s.assert_that("current_setting('request.id') = '7'");
    s.run("RESET ALL");
    s.assert_that("concat(current_setting('request.id'), current_setting('request.headers')) = ''");
    // A session that no token switches sets what it likes.
    let mut s = STAGE.g.login();
    s.run("SET request.jwt.claim.sub = 'x'; SET request.foo = 'y'");
    s.assert_that(
        "current_setting('request.jwt.claim.sub') = 'x' AND current_setting('request.foo') = 'y'",
    );
}

/// What was made ready under one token of a transaction reads the claims of the next one too.
#[test]
fn one_claim_for_the_second_token_of_a_transaction() {
    let g = &STAGE.g;
    let mut s = STAGE.login();
    let (without, with) = (
        g.token(json!({"sub": ME})),
        g.token(json!({"sub": ME, "tenant": "mine", "second": "x"})),
    );
    s.run(&format!("BEGIN; SAVEPOINT s; {}", switch(&without)));
    let read = "SELECT auth.reader('request.jwt.claim.second')";
    assert_eq!(s.text(read), "");
    s.run(&format!("ROLLBACK TO s; {}", switch(&with)));
    assert_eq!(s.text(read), "x");
    s.run("ROLLBACK");
    // The same in a session that is switched, and switched again.
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch_session(&without)));
    assert_eq!(s.text(read), "");
    s.run(&format!("{}; {}", end_session(&without), switch(&with)));
    assert_eq!(s.text(read), "x");
    s.run("ROLLBACK");
}

/// One user's many claims leave the next user's their settings.
#[test]
fn one_claim_crowded_out_by_a_token_of_many() {
    let g = &STAGE.g;
    let many = |prefix: &str| {
        let mut claims = serde_json::Map::new();
        for i in 0..100 {
            claims.insert(format!("{prefix}{i:03}"), json!(i.to_string()));
        }
        claims.insert("zz_tenant".into(), json!("last"));
        g.token(serde_json::Value::Object(claims))
    };
    let (crowd, other_crowd) = (many("k"), many("a"));
    let mut s = STAGE.login();
    let show = |name: &str| format!("SELECT current_setting('request.jwt.claim.{name}', true)");
    let mut notices = 0;
    for crowd in [&crowd, &other_crowd] {
        s.notices();
        s.run(&format!("BEGIN; {}", switch(crowd)));
        s.text(&show("k001"));
        // `sub` is the last but for `role` and the like, by the alphabet.
        assert_eq!(s.text(&show("sub")), "ann");
        assert_eq!(s.text(&show("role")), g.reader);
        s.run("COMMIT");
        notices += s
            .notices()
            .iter()
            .filter(|notice| notice.message.contains("more claims"))
            .count();
    }
    // It is said once.
    assert_eq!(notices, 1);
    let mut shown = Vec::new();
    for _ in 0..2 {
        s.run(&format!(
            "BEGIN; {}",
            switch(&g.token(json!({"sub": ME, "tenant": "mine", "email": "e"})))
        ));
        for name in ["sub", "tenant", "email"] {
            shown.push(s.text(&show(name)));
        }
        assert_eq!(s.column("SELECT body FROM own"), ["mine"]);
        assert_eq!(s.column("SELECT body FROM older"), ["mine"]);
        // Nothing of the crowd's.
        assert_eq!(s.text(&show("k001")), "");
        s.run("COMMIT");
        s.run(&format!(
            "BEGIN; {}; {}; COMMIT",
            switch(&crowd),
            show("k001")
        ));
    }
    assert_eq!(shown, [ME, "mine", "e", ME, "mine", "e"]);
    // Slots that another token took are given back when a rollback brings the first one back.
    let mut s = g.login();
    let first = g.token(json!({"tenant": "mine", "first": "1"}));
    s.run(&switch_session(&first));
    let read = "SELECT auth.reader('request.jwt.claim.first')";
    s.run("BEGIN");
    assert_eq!(s.text(read), "1");
    s.run(&format!(
        "SAVEPOINT s; {}; {}",
        end_session(&first),
        switch(&crowd)
    ));
    assert_eq!(s.text(read), "");
    s.run("ROLLBACK TO s");
    assert_eq!(s.text(read), "1");
    s.run("COMMIT");
}
