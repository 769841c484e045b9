//! The real PgBouncer in transaction mode: every client of a login shares one server connection, one transaction after the other.
//!
//! What a connection may carry over is tested without a pool in `lock::leftovers`; here are the clients that really share one.

use super::*;

struct Pool {
    gate: Gate<'static>,
    bouncer: Bouncer,
    /// An authenticator for the reader and the writer.
    api: String,
    /// Takes the reader.
    reading: String,
    /// Takes the writer.
    writing: String,
}

impl Pool {
    fn new(name: &str) -> Option<Pool> {
        let gate = Gate::new(name);
        let Gate {
            f,
            auth,
            reader,
            writer,
        } = &gate;
        let api = format!("{name}_api");
        f.admin().run(&format!(
            "SELECT scope.create_authenticator('{api}', '{{{reader},{writer}}}');
             CREATE TABLE diary (line text); GRANT SELECT, INSERT ON diary TO {writer}; GRANT SELECT ON vault TO {writer}"
        ));
        let Some(bouncer) = Bouncer::start(f.server, name, &[&api, auth]) else {
            skip("there is no PgBouncer here (SCOPE_ROLES_PGBOUNCER)");
            return None;
        };
        let reading = switch(&gate.token(json!({})));
        let writing = switch(&gate.token(json!({"role": writer})));
        Some(Pool {
            bouncer,
            api,
            reading,
            writing,
            gate,
        })
    }

    fn client(&self, login: &str) -> Session {
        self.bouncer.login(login, &self.gate.f.name)
    }

    /// Two clients that have the same server connection between them.
    #[track_caller]
    fn clients(&self, login: &str) -> (Session, Session) {
        let (mut one, mut other) = (self.client(login), self.client(login));
        let pid = "SELECT pg_backend_pid()";
        assert_eq!(one.text(pid), other.text(pid));
        (one, other)
    }

    /// The client is its login, and that may do nothing.
    #[track_caller]
    fn assert_nobody(&self, s: &mut Session) {
        s.assert_that(&format!(
            "current_user = '{0}' AND session_user = '{0}' AND current_setting('role') = 'none'
             AND coalesce(current_setting('request.jwt.claims', true), '') = '' AND scope.jwt_claims() IS NULL",
            self.api
        ));
        for sql in [
            "SELECT * FROM orders",
            "SELECT * FROM diary",
            "SELECT * FROM vault",
        ] {
            s.denied(sql, "42501");
        }
        s.refused(&format!("SET ROLE {}", self.gate.reader), "42501");
    }

    /// A transaction of the writer does what it is to do, as the writer.
    #[track_caller]
    fn assert_writes(&self, s: &mut Session) {
        s.notices();
        s.run(&format!("BEGIN; {}", self.writing));
        s.run("INSERT INTO diary VALUES ('private')");
        assert_eq!(s.text("SELECT count(*) FROM diary"), "1");
        s.assert_that(&format!(
            "current_user = '{0}' AND scope.jwt_claim('role') = '{0}'",
            self.gate.writer
        ));
        s.run("COMMIT");
        let said = s.notices();
        assert!(said.is_empty(), "{said:?}");
        self.gate.f.admin().run("DELETE FROM diary");
    }
}

#[test]
fn the_next_client_is_nobody_whatever_became_of_the_transaction() {
    let Some(pool) = Pool::new("bouncer_next") else {
        return;
    };
    let (mut one, mut other) = pool.clients(&pool.api);
    for end in ["COMMIT", "ROLLBACK", "SAVEPOINT s; ROLLBACK TO s; COMMIT"] {
        one.run(&format!(
            "BEGIN; {}; SELECT * FROM orders; {end}",
            pool.reading
        ));
        pool.assert_nobody(&mut other);
        pool.assert_nobody(&mut one);
    }
    one.run(&format!("BEGIN; {}", pool.reading));
    one.refused("RESET ROLE", "42501");
    one.run("ROLLBACK");
    pool.assert_nobody(&mut other);
    // A bad token, then none.
    one.run("BEGIN");
    one.denied(&pool.reading.replace("')", "x')"), "28000");
    one.run("COMMIT");
    pool.assert_nobody(&mut other);
    pool.assert_writes(&mut other);
    pool.assert_nobody(&mut one);
}

#[test]
fn a_client_that_leaves_inside_its_transaction_leaves_nothing() {
    let Some(pool) = Pool::new("bouncer_leaves") else {
        return;
    };
    let (mut one, mut other) = pool.clients(&pool.api);
    one.run(&format!(
        "BEGIN; {}; CREATE TEMP TABLE diary (line text); GRANT ALL ON diary TO PUBLIC",
        pool.reading
    ));
    drop(one);
    pool.assert_nobody(&mut other);
    pool.assert_writes(&mut other);
}

/// Each as one client leaves it, and the other finds it.
#[test]
fn what_a_client_leaves_behind_does_not_reach_the_next() {
    let Some(pool) = Pool::new("bouncer_leftovers") else {
        return;
    };
    let (mut one, mut other) = pool.clients(&pool.api);
    for leftover in [
        "CREATE TEMP TABLE diary (line text); GRANT ALL ON diary TO PUBLIC;
         CREATE FUNCTION pg_temp.spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'as %', current_user; RETURN NEW; END $$;
         CREATE TRIGGER spy BEFORE INSERT ON diary FOR EACH ROW EXECUTE FUNCTION pg_temp.spy()",
        "CREATE TEMP VIEW diary AS SELECT 'forged'::text AS line; GRANT ALL ON diary TO PUBLIC",
        "CREATE FUNCTION pg_temp.count(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 7::bigint'; SET search_path = pg_temp, public",
        "PREPARE trap AS SELECT 'trapped'",
        "LISTEN gossip",
        "SELECT pg_advisory_lock(4711)",
        "SET row_security = off; SET statement_timeout = '5min'; SET app.role = 'x'; SET lock_timeout = '1min'",
        "DO $$ BEGIN CREATE TEMP TABLE diary (line text); GRANT ALL ON diary TO PUBLIC; END $$",
        "SAVEPOINT s; CREATE TEMP TABLE diary (line text); GRANT ALL ON diary TO PUBLIC; RELEASE s",
    ] {
        one.run(&format!("BEGIN; {}; {leftover}; COMMIT", pool.reading));
        pool.assert_writes(&mut other);
        pool.assert_nobody(&mut one);
    }
    one.run(&format!("BEGIN; {}", pool.reading));
    one.refused(
        "DECLARE held CURSOR WITH HOLD FOR SELECT * FROM orders",
        "42501",
    );
    one.run("ROLLBACK");
    other.denied("FETCH held", "34000");
    other.denied("EXECUTE trap", "26000");
    other.denied("SELECT pg_temp.count(1)", "42883");
    other.assert_that("NOT EXISTS (SELECT FROM pg_listening_channels())");
}

/// Without a token a client can leave less still.
#[test]
fn what_a_client_without_a_token_leaves_does_not_reach_the_next() {
    let Some(pool) = Pool::new("bouncer_tokenless") else {
        return;
    };
    let (mut one, mut other) = pool.clients(&pool.api);
    for refused in [
        "CREATE TEMP TABLE diary (line text)",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "PREPARE trap AS SELECT 1",
        "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
        "LISTEN gossip",
        "SET SESSION AUTHORIZATION postgres",
    ] {
        one.refused(refused, "42501");
        pool.assert_writes(&mut other);
    }
    for left in [
        "SET search_path = pg_temp, pg_catalog",
        "SET request.jwt.claims = '{\"role\":\"x\"}'",
        "SELECT set_config('request.jwt.claims', '{}', false)",
        "SET row_security = off",
        "DISCARD ALL",
        "SET app.role = 'x'",
        "SET ROLE none",
        "SET SESSION AUTHORIZATION DEFAULT",
    ] {
        one.run(left);
        pool.assert_writes(&mut other);
    }
}

/// A statement that one client has prepared by the protocol stays in the server connection (PgBouncer of before 1.21 knows nothing
/// of it). The next client runs it with its own rights, checked anew.
#[test]
fn a_statement_prepared_by_the_protocol_runs_with_the_rights_of_the_one_who_runs_it() {
    let Some(pool) = Pool::new("bouncer_protocol") else {
        return;
    };
    let f = &pool.gate.f;
    let (mut one, mut other) = (
        pool.bouncer.wire(&pool.api, &f.name),
        pool.bouncer.wire(&pool.api, &f.name),
    );
    one.query(&format!("BEGIN; {}", pool.writing));
    for (name, sql) in [
        ("vault", "SELECT secret FROM vault"),
        (
            "escape",
            "SELECT set_config('role', NULL, true), current_user::text",
        ),
    ] {
        let mut parse = format!("{name}\0{sql}\0").into_bytes();
        parse.extend([0, 0]);
        one.send(Some(b'P'), &parse);
    }
    execute(&mut one, "vault");
    assert!(one.sync().iter().any(|(_, body)| body.contains("treasure")));
    one.query("COMMIT");

    // This PgBouncer has its clients share the statement; a newer one tells the other that it is not there.
    let shared = |answers: &[Answer]| !has_error(answers, "26000");
    for begin in ["BEGIN".to_owned(), format!("BEGIN; {}", pool.reading)] {
        for name in ["vault", "escape"] {
            let opened = other.query(&begin);
            assert!(!opened.iter().any(|(kind, _)| *kind == b'E'), "{opened:?}");
            execute(&mut other, name);
            let answers = other.sync();
            let escaped = answers.iter().any(|(_, body)| body.contains("treasure"));
            assert!(!escaped, "{begin}; {name}: {answers:?}");
            let is_harmless = begin == "BEGIN" && name == "escape";
            assert!(
                is_harmless || !shared(&answers) || has_error(&answers, "42501"),
                "{begin}; {name}: {answers:?}"
            );
            other.query("ROLLBACK");
        }
    }
    pool.assert_nobody(&mut pool.client(&pool.api));
}

/// Binds a prepared statement without parameters, and runs it.
fn execute(wire: &mut Wire, name: &str) {
    let mut bind = format!("\0{name}\0").into_bytes();
    bind.extend([0; 6]);
    wire.send(Some(b'B'), &bind);
    wire.execute("", 0);
}

/// A login with rights of its own is what it was for its clients: nobody gains what they cannot have anyway. But inside a switch
/// nothing that another client has left undoes it.
#[test]
fn what_clients_of_an_ordinary_login_leave_cannot_cross_the_lock() {
    let Some(pool) = Pool::new("bouncer_ordinary") else {
        return;
    };
    let Gate {
        auth,
        reader,
        writer,
        ..
    } = &pool.gate;
    let (mut one, mut other) = pool.clients(auth);
    for (leftover, attack) in [
        (
            format!("CREATE FUNCTION pg_temp.escape() RETURNS text LANGUAGE plpgsql SET role = '{writer}' AS $$ BEGIN RETURN (SELECT secret FROM public.vault); END $$"),
            "SELECT pg_temp.escape()",
        ),
        (
            "PREPARE escape AS SELECT set_config('role', NULL, true), (SELECT secret FROM public.vault)".into(),
            "EXECUTE escape",
        ),
        (
            "CREATE TEMP TABLE bait (x text); GRANT ALL ON bait TO PUBLIC;
             CREATE FUNCTION pg_temp.bite() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; RETURN NEW; END $$;
             CREATE TRIGGER bite BEFORE INSERT ON bait FOR EACH ROW EXECUTE FUNCTION pg_temp.bite()".into(),
            "INSERT INTO bait VALUES ('x')",
        ),
        (format!("SET ROLE {writer}"), "RESET ROLE"),
        (
            format!("RESET ROLE; BEGIN; SET LOCAL ROLE {writer}; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT"),
            "RESET ROLE",
        ),
        ("SET request.jwt.claims = '{\"role\":\"forged\"}'".into(), "RESET request.jwt.claims"),
    ] {
        one.run(&leftover);
        other.run("BEGIN; CLOSE ALL");
        other.run(&pool.reading);
        other.assert_that(&format!(
            "current_user = '{reader}' AND scope.jwt_claim('role') = '{reader}' AND current_setting('request.jwt.claims')::json->>'role' = '{reader}'"
        ));
        other.run("SAVEPOINT s");
        let refusal = other.fails(attack);
        assert_eq!(refusal.code, "42501", "{attack}\n{refusal}");
        other.run("ROLLBACK TO s");
        other.assert_that(&format!("current_user = '{reader}'"));
        other.denied("SELECT * FROM vault", "42501");
        other.run("ROLLBACK");
        one.run("RESET ROLE");
    }
}
