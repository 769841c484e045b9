//! The lock: while a token's role is active nothing that SQL can say makes the session anybody else. One test per attack.

mod attacks;
mod beyond;
mod claims;
mod leftovers;
mod legitimate;
mod lookalikes;
mod paths;
mod pools;
mod prepared;
mod ready;
mod shared;
mod wire;

use std::sync::LazyLock;

use serde_json::json;

use crate::harness::*;
use crate::jwt::{Gate, switch};

/// The attacks are statements of single sessions, so they share one database. `auth` may read the vault, the `reader` that it is
/// locked to may not; to get at the secret is to have escaped.
static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

struct Stage {
    gate: Gate<'static>,
    token: String,
}

const SECRET_ROW: &str = "treasure";

impl Stage {
    fn new() -> Stage {
        let gate = Gate::new("lock");
        let Gate {
            f,
            auth,
            reader,
            writer,
        } = &gate;
        f.admin().run(&format!(
            "GRANT SELECT ON vault TO {auth}, {writer};
             GRANT CREATE ON SCHEMA public TO {auth};
             CREATE TABLE rows (owner name, body text);
             INSERT INTO rows VALUES ('{reader}', 'mine'), ('{auth}', 'treasure'), ('{writer}', 'treasure');
             ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON rows USING (owner = current_user);
             GRANT SELECT ON rows TO {auth}, {reader}, {writer};
             CREATE FUNCTION who() RETURNS text LANGUAGE sql PARALLEL SAFE AS 'SELECT current_user::text';
             CREATE FUNCTION alias(text, text, boolean) RETURNS text LANGUAGE internal AS 'set_config_by_name';
             CREATE FUNCTION forge() RETURNS text LANGUAGE sql SET request.jwt.claims = '{{}}'
                 AS $$ SELECT current_setting('request.jwt.claims') $$;
             CREATE TABLE inbox (x text); GRANT ALL ON inbox TO {auth}, {reader};
             CREATE FUNCTION definer() RETURNS text LANGUAGE sql SECURITY DEFINER
                 AS 'SELECT current_user || '' '' || secret FROM public.vault'"
        ));
        let token = gate.token(json!({"exp": now() + 3600}));
        Stage { gate, token }
    }

    /// `{auth}`, `{reader}` (locked to), `{writer}` (also granted) and `{token}` in a statement.
    fn fill(&self, sql: &str) -> String {
        sql.replace("{auth}", &self.gate.auth)
            .replace("{reader}", &self.gate.reader)
            .replace("{writer}", &self.gate.writer)
            .replace("{switch}", &switch(&self.token))
            .replace("{token}", &literal(&self.token))
    }

    fn login(&self) -> Session {
        self.gate.login()
    }

    /// BEGIN and the switch.
    #[track_caller]
    fn lock(&self, s: &mut Session) {
        s.run(&format!("BEGIN; {}", switch(&self.token)));
        self.assert_locked(s);
    }

    /// The same for a session in which the usual questions would not be answered by the catalogue's own functions.
    #[track_caller]
    fn lock_quietly(&self, s: &mut Session) {
        s.run(&format!("BEGIN; {}", switch(&self.token)));
    }

    /// The session is the reader in every respect, and not able to be anybody else. Leaves the transaction as it was.
    #[track_caller]
    fn assert_locked(&self, s: &mut Session) {
        let Gate {
            auth,
            reader,
            writer,
            ..
        } = &self.gate;
        let identity =
            "SELECT concat_ws(' ', current_user, session_user, current_setting('role'), who())";
        assert_eq!(
            s.text(identity),
            format!("{reader} {auth} {reader} {reader}")
        );
        assert_eq!(
            s.text("SELECT current_setting('request.jwt.claims')::json->>'role'"),
            *reader
        );
        assert_eq!(s.column("SELECT body FROM rows"), ["mine"]);
        s.run("SAVEPOINT check_lock");
        s.denied("SELECT * FROM vault", "42501");
        s.run("ROLLBACK TO check_lock");
        s.refused(&format!("SET ROLE {writer}"), "42501");
        s.run("ROLLBACK TO check_lock; RELEASE check_lock");
    }

    /// The session is the login role, able to act as such and to be locked again.
    #[track_caller]
    fn assert_free_and_usable(&self, s: &mut Session) {
        let Gate { auth, writer, .. } = &self.gate;
        assert_eq!(
            s.text("SELECT concat_ws(' ', current_user, session_user, current_setting('role'))"),
            format!("{auth} {auth} none")
        );
        assert_eq!(
            s.text("SELECT coalesce(current_setting('request.jwt.claims', true), '')"),
            ""
        );
        s.rows("SELECT * FROM vault");
        s.run(&format!("SET ROLE {writer}; RESET ROLE"));
        s.run(&format!("BEGIN; {}", switch(&self.token)));
        self.assert_locked(s);
        s.run("COMMIT");
        assert_eq!(&s.text("SELECT current_user"), auth);
    }

    /// The whole course of an attack: refused with 42501, help given, in either protocol; the lock holds after the savepoint is
    /// rolled back; and the session is of use when the transaction has ended.
    #[track_caller]
    fn withstands(&self, preparation: &str, attack: &str) {
        let (preparation, attack) = (self.fill(preparation), self.fill(attack));
        let mut s = self.login();
        s.run(&preparation);
        for protocol in [Protocol::Simple, Protocol::Extended] {
            self.lock(&mut s);
            s.run("SAVEPOINT before_attack");
            self.assert_refused(&mut s, protocol, &attack);
            s.run("ROLLBACK TO before_attack");
            self.assert_locked(&mut s);
            s.run("ROLLBACK");
            self.assert_free_and_usable(&mut s);

            // With no savepoint the transaction has failed, and COMMIT is a rollback.
            self.lock(&mut s);
            self.assert_refused(&mut s, protocol, &attack);
            s.denied("SELECT 1", "25P02");
            s.run("COMMIT");
            self.assert_free_and_usable(&mut s);
        }
    }

    #[track_caller]
    fn assert_refused(&self, s: &mut Session, protocol: Protocol, attack: &str) {
        match s.attempt_by(protocol, attack) {
            Ok(rows) => panic!("{protocol:?}: not refused: {attack}\nit returned {rows:?}"),
            Err(refusal) => {
                assert_eq!(refusal.code, "42501", "{protocol:?}: {attack}\n{refusal}");
                // What the role may not do anyway PostgreSQL refuses in its own words, which need not explain themselves.
                let is_postgresqls = ["permission denied", "must ", "access to library"]
                    .iter()
                    .any(|own| refusal.message.starts_with(own))
                    && !refusal.message.contains("set parameter");
                let is_explained = !refusal.hint.is_empty() && !refusal.detail.is_empty();
                assert!(
                    is_postgresqls || is_explained,
                    "{protocol:?}: {attack}\n{refusal}"
                );
                assert!(
                    !is_postgresqls || !refusal.hint.contains("switch"),
                    "{protocol:?}: {attack}\n{refusal}"
                );
            }
        }
    }
}

/// No cell of any row is the secret or another role's name.
#[track_caller]
fn assert_no_escape(stage: &Stage, rows: &[Vec<Option<String>>]) {
    for cell in rows.iter().flatten().flatten() {
        let escaped = cell.contains(SECRET_ROW)
            || cell == &stage.gate.auth
            || cell == &stage.gate.writer
            || cell == "postgres";
        assert!(!escaped, "escaped: {rows:?}");
    }
}
