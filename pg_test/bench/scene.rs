//! The server, the sessions and the loops.
//!
//! Loops run inside the server, where a call is not lost in the time of a round trip (30 µs and more). An iteration is one statement
//! in a transaction of its own that is rolled back, because a switch holds until its transaction ends and putting the old role back
//! is part of its price. Every side is such a loop, in the same session of an ordinary login, and so is the empty one, which only
//! takes a token and rolls back. Its time is subtracted from all others: what remains is a statement as a client would send it,
//! whose own cost is about 1 µs on every side. Notes have the functions alone, from which an idle statement is subtracted.

use crate::cluster::harness::{Fixture, Options, SECRET, Server, Session, literal};
use crate::tokens::{Keys, ROLE};

pub const DATABASE: &str = "bench";
/// May become [`ROLE`], and is nobody by itself: what an API server logs in as.
pub const LOGIN: &str = "bench_login";
pub const TABLE_ROWS: u32 = 1_000_000;

pub struct Scene {
    pub server: Server,
    pub keys: Keys,
    pub has_pgcrypto: bool,
}

/// A statement that loops repeat. Each sees `token`, `payload` and `secret`.
#[derive(Clone, Copy)]
pub enum Loop {
    /// What every other loop also costs.
    Empty,
    /// A statement that calls nothing.
    Idle,
    Switch,
    /// What an API server does after it has verified a token itself.
    Pair,
    Pgjwt,
}

impl Loop {
    const ALL: [Loop; 5] = [
        Loop::Empty,
        Loop::Idle,
        Loop::Switch,
        Loop::Pair,
        Loop::Pgjwt,
    ];

    fn name(self) -> &'static str {
        match self {
            Loop::Empty => "empty",
            Loop::Idle => "idle",
            Loop::Switch => "switch",
            Loop::Pair => "pair",
            Loop::Pgjwt => "pgjwt",
        }
    }

    fn statement(self) -> String {
        match self {
            Loop::Empty => "NULL".into(),
            Loop::Idle => "PERFORM token".into(),
            Loop::Switch => "PERFORM scope.set_jwt_role(token)".into(),
            Loop::Pair => format!(
                "PERFORM set_config('role', '{ROLE}', true), set_config('request.jwt.claims', payload, true)"
            ),
            Loop::Pgjwt => "PERFORM set_config('role', v.payload->>'role', true), \
                 set_config('request.jwt.claims', v.payload::text, true) \
                 FROM peer.verify(token, secret) v WHERE v.valid"
                .into(),
        }
    }
}

impl Scene {
    /// Without the line in the log that each switch makes: the row `audit_switch` has that.
    pub fn set() -> Scene {
        Scene::with(&[(
            "scope_roles.audit",
            "login, admin, expire, lock, ddl, denied, export",
        )])
    }

    pub fn with(settings: &[(&str, &str)]) -> Scene {
        let options = Options::default()
            .set("jit", "off")
            .set("max_parallel_workers_per_gather", "0")
            .set("autovacuum", "off")
            .set("shared_buffers", "256MB");
        let options = settings
            .iter()
            .fold(options, |options, (name, value)| options.set(name, value));
        let scene = Scene {
            server: Server::start(options),
            keys: Keys::generate(),
            has_pgcrypto: false,
        };
        Fixture::on(&scene.server, DATABASE);
        let mut admin = scene.admin();
        admin.run(&format!(
            "CREATE ROLE {ROLE}; CREATE ROLE {LOGIN} LOGIN NOINHERIT; GRANT {ROLE} TO {LOGIN};
             CREATE SCHEMA bench; GRANT USAGE ON SCHEMA bench TO PUBLIC"
        ));
        for what in Loop::ALL {
            admin.run(&procedure(what));
        }
        let has_pgcrypto =
            admin.holds("EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcrypto')");
        if has_pgcrypto {
            admin.run(include_str!("peer.sql"));
        }
        Scene {
            has_pgcrypto,
            ..scene
        }
    }

    pub fn admin(&self) -> Session {
        self.server.admin(DATABASE)
    }

    pub fn login(&self) -> Runner {
        Runner(self.server.login(LOGIN, DATABASE))
    }

    pub fn has_function(&self, signature: &str) -> bool {
        self.admin().holds(&format!(
            "to_regprocedure({}) IS NOT NULL",
            literal(signature)
        ))
    }

    /// Whether verified tokens are kept at all.
    pub fn has_cache(&self) -> bool {
        self.admin()
            .holds("current_setting('scope_roles.jwt_cache_size', true) IS NOT NULL")
    }

    /// Trusts a plain secret, the commonest configuration.
    pub fn trust_secret(&self) {
        self.server.alter_system("scope_roles.jwt_secret", SECRET);
    }

    /// Trusts the key set of all families.
    pub fn trust_key_set(&self) {
        self.server
            .alter_system("scope_roles.jwt_secret", &self.keys.jwks());
    }

    /// The table of the rows of a row-level security policy.
    pub fn make_table(&self) {
        let mut admin = self.admin();
        admin.run(&format!(
            "CREATE UNLOGGED TABLE bench.items (id int, owner text);
             INSERT INTO bench.items SELECT i, '6f1c2c8e-5d0b-4a53-9b7e-' || lpad((i % 1000)::text, 12, '0')
             FROM generate_series(1, {TABLE_ROWS}) i;
             GRANT SELECT ON bench.items TO {ROLE}"
        ));
        // A later reader must not be the one who sets hint bits.
        admin.run("VACUUM ANALYZE bench.items");
    }
}

fn procedure(what: Loop) -> String {
    let (name, statement) = (what.name(), what.statement());
    format!(
        "CREATE PROCEDURE bench.{name}(tokens text[], payload text, secret text, INOUT us float8)
         LANGUAGE plpgsql AS $loop$
         DECLARE
             started timestamptz;
             token text;
         BEGIN
             started := clock_timestamp();
             FOR i IN 1..cardinality(tokens) LOOP
                 token := tokens[i];
                 {statement};
                 ROLLBACK;
             END LOOP;
             us := extract(epoch FROM clock_timestamp() - started) * 1e6 / cardinality(tokens);
         END
         $loop$;"
    )
}

/// A session of the login, which runs loops.
pub struct Runner(pub Session);

impl Runner {
    /// Microseconds an iteration, one for each token.
    pub fn run(&mut self, what: Loop, tokens: &str, payload: &str) -> f64 {
        self.0
            .text(&format!(
                "CALL bench.{}({tokens}, {}, {}, NULL)",
                what.name(),
                literal(payload),
                literal(SECRET)
            ))
            .parse()
            .expect("a number")
    }

    /// A side that does nothing would win: before it is measured, its statement must have switched.
    #[track_caller]
    pub fn check(&mut self, what: Loop, tokens: &str, payload: &str) {
        let statement = what.statement();
        self.0.run(&format!(
            "BEGIN;
             DO $check$ DECLARE token text := ({tokens})[1]; payload text := {}; secret text := {}; BEGIN
                 {statement};
             END $check$",
            literal(payload),
            literal(SECRET)
        ));
        self.0.assert_that(&format!(
            "current_user = '{ROLE}' AND current_setting('request.jwt.claims')::jsonb = {}::jsonb",
            literal(payload)
        ));
        self.0.run("ROLLBACK");
    }
}

/// An SQL array of tokens, which need no quoting.
pub fn array<'a>(tokens: impl IntoIterator<Item = &'a str>) -> String {
    let tokens: Vec<&str> = tokens.into_iter().collect();
    format!("'{{{}}}'::text[]", tokens.join(","))
}
