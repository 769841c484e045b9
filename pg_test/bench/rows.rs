//! The rows of the table. Their order is that of the issue that set the targets.

use std::hint::black_box;
use std::time::Instant;

use crate::access;
use crate::audit;
use crate::cluster::harness::{SECRET, literal};
use crate::credentials;
use crate::door;
use crate::lock;
use crate::measure::{Figures, OneProcessor, compare, in_turns};
use crate::scene::{Loop, Scene, TABLE_ROWS, array};
use crate::tokens::{Family, Token};

pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub peer: &'static str,
    /// Of both sides' figures.
    pub unit: &'static str,
    /// The greatest ratio, ours to the peer's, that is good enough.
    pub target: f64,
    pub measure: fn(&Scene) -> Result<Figures, String>,
}

const MICROSECONDS: &str = "µs";
const MEGABYTES: &str = "MB";
/// As callgrind counts them, for one statement.
const INSTRUCTIONS: &str = "instructions";

pub const ALL: [Row; 27] = [
    Row {
        name: "jwt_warm",
        what: "scope.set_jwt_role, token seen before",
        peer: "set_config of role and of claims",
        unit: MICROSECONDS,
        target: 1.0,
        measure: warm,
    },
    Row {
        name: "jwt_cold_hs256",
        what: "scope.set_jwt_role, new HS256 token",
        peer: "pgjwt's algorithm, then the two set_config",
        unit: MICROSECONDS,
        target: 0.5,
        measure: cold_hs256,
    },
    Row {
        name: "jwt_cold_rs256",
        what: "what a new RS256 token adds",
        peer: "aws-lc alone on the same bytes",
        unit: MICROSECONDS,
        target: 1.2,
        measure: |scene| cold(scene, Family::Rs256),
    },
    Row {
        name: "jwt_cold_es256",
        what: "what a new ES256 token adds",
        peer: "aws-lc alone on the same bytes",
        unit: MICROSECONDS,
        target: 1.2,
        measure: |scene| cold(scene, Family::Es256),
    },
    Row {
        name: "jwt_cold_eddsa",
        what: "what a new EdDSA token adds",
        peer: "aws-lc alone on the same bytes",
        unit: MICROSECONDS,
        target: 1.2,
        measure: |scene| cold(scene, Family::EdDsa),
    },
    Row {
        name: "jwt_single_use",
        what: "what it adds that a token is good once",
        peer: "scope.set_jwt_role, token seen before",
        unit: MICROSECONDS,
        target: 3.0,
        measure: single_use,
    },
    Row {
        name: "jwt_other_backend",
        what: "RS256 token first seen by another backend",
        peer: "the same token again",
        unit: MICROSECONDS,
        target: 2.0,
        measure: other_backend,
    },
    Row {
        name: "jwt_claim_per_row",
        what: "owner = scope.jwt_claim('sub'), each of 10^6 rows",
        peer: "owner = current_setting(…)::jsonb->>'sub'",
        unit: MICROSECONDS,
        target: 0.2,
        measure: claim_per_row,
    },
    Row {
        name: "lock_unused",
        what: "pgbench -S, a transaction, library loaded",
        peer: "not loaded",
        unit: MICROSECONDS,
        // 0.99 of the throughput.
        target: 1.0 / 0.99,
        measure: lock::unused,
    },
    Row {
        name: "lock_unused_instructions",
        what: "the same SELECT, library loaded",
        peer: "not loaded",
        unit: INSTRUCTIONS,
        target: 1.005,
        measure: lock::unused_instructions,
    },
    Row {
        name: "lock_held_instructions",
        what: "the same SELECT in a transaction after scope.set_jwt_role",
        peer: "after SET LOCAL ROLE",
        unit: INSTRUCTIONS,
        target: 1.02,
        measure: lock::held_instructions,
    },
    Row {
        name: "lock_set_user",
        what: "BEGIN and scope.set_jwt_role, then COMMIT, token seen before",
        peer: "set_user(), then reset_user()",
        unit: MICROSECONDS,
        target: 1.0,
        measure: lock::set_user,
    },
    Row {
        name: "credentials_issue",
        what: "scope.create_readonly_role",
        peer: "CREATE ROLE … PASSWORD, and GRANT",
        unit: MICROSECONDS,
        target: 0.33,
        measure: credentials::issue,
    },
    Row {
        name: "credentials_20000th",
        what: "the 20,000th credential of one table",
        peer: "the 100th",
        unit: MICROSECONDS,
        target: 1.5,
        measure: credentials::twenty_thousandth,
    },
    Row {
        name: "credentials_8_clients",
        what: "8 clients issue at the same time, each credential",
        peer: "one client",
        unit: MICROSECONDS,
        target: 1.0,
        measure: credentials::eight_clients,
    },
    Row {
        name: "credentials_login",
        what: "what the check adds to a login, of 100,000 managed roles",
        peer: "100 µs",
        unit: MICROSECONDS,
        target: 1.0,
        measure: credentials::login,
    },
    Row {
        name: "door_login",
        what: "a login with a new RS256 token in place of a password, and its end",
        peer: "a login by scram-sha-256",
        unit: MICROSECONDS,
        target: 1.0,
        measure: door::login,
    },
    Row {
        name: "credentials_next_deadline",
        what: "reading 100,000 managed roles for the next deadline",
        peer: "200 ms",
        unit: MICROSECONDS,
        target: 1.0,
        measure: credentials::next_deadline,
    },
    Row {
        name: "credentials_view",
        what: "one role of 100,000 in scope.roles",
        peer: "5 ms",
        unit: MICROSECONDS,
        target: 1.0,
        measure: credentials::view,
    },
    Row {
        name: "credentials_deadline",
        what: "deadline to dead session, 99th percentile, 10,000 others alive",
        peer: "250 ms",
        unit: MICROSECONDS,
        target: 1.0,
        measure: credentials::deadline,
    },
    Row {
        name: "credentials_10000_due",
        what: "10,000 due at once, 100 with sessions, pgbench running, until all are gone",
        peer: "10 s",
        unit: MICROSECONDS,
        target: 1.0,
        measure: credentials::all_due,
    },
    Row {
        name: "audit_switch",
        what: "BEGIN, scope.set_jwt_role, COMMIT by a client, with its audit line",
        peer: "without",
        unit: MICROSECONDS,
        target: 1.5,
        measure: audit::switch,
    },
    Row {
        name: "audit_statements",
        what: "pgbench -S, statements recorded",
        peer: "by pgaudit, log = 'read, write'",
        unit: MICROSECONDS,
        target: 1.0,
        measure: audit::statements,
    },
    Row {
        name: "access_role",
        what: "scope.effective_access() of one role of 10,000, 1,000 tables, all of which it may read",
        peer: "50 ms",
        unit: MICROSECONDS,
        target: 1.0,
        measure: access::role,
    },
    Row {
        name: "access_object",
        what: "scope.who_can() on one of the tables",
        peer: "200 ms",
        unit: MICROSECONDS,
        target: 1.0,
        measure: access::object,
    },
    Row {
        name: "access_object_of_all",
        what: "scope.who_can() on what each of the 10,000 holds",
        peer: "200 ms",
        unit: MICROSECONDS,
        target: 1.0,
        measure: access::everyone,
    },
    Row {
        name: "access_whole",
        what: "scope.effective_access() of all, growth of the backend's memory at its peak",
        peer: "64 MB",
        unit: MEGABYTES,
        target: 1.0,
        measure: access::whole,
    },
];

/// Of the rows whose tokens are slow to sign.
const ROUNDS: usize = 150;

/// One token over and over.
fn warm(scene: &Scene) -> Result<Figures, String> {
    scene.trust_secret();
    let payload = scene.keys.payload();
    let token = scene.keys.sign(Family::Hs256, &payload);
    let tokens = array(std::iter::repeat_n(token.text.as_str(), 250));
    let mut runner = scene.login();
    runner.check(Loop::Switch, &tokens, &payload);
    runner.check(Loop::Pair, &tokens, &payload);
    let sides = [Loop::Empty, Loop::Switch, Loop::Pair, Loop::Idle];
    let rounds = in_turns::<4>(501, |_, side| runner.run(sides[side], &tokens, &payload));
    Ok(compare(&rounds, |t| t[1] - t[0], |t| t[2] - t[0]).with_note(functions_alone(&rounds)))
}

/// New tokens in every round, so that ours also pays for keeping them. The peer keeps nothing.
fn cold_hs256(scene: &Scene) -> Result<Figures, String> {
    if !scene.has_pgcrypto {
        return Err("this server has no pgcrypto".into());
    }
    scene.trust_secret();
    let payload = scene.keys.payload();
    let first = array([scene.keys.sign(Family::Hs256, &payload).text.as_str()]);
    let mut runner = scene.login();
    runner.check(Loop::Switch, &first, &payload);
    runner.check(Loop::Pgjwt, &first, &payload);
    let sides = [Loop::Empty, Loop::Switch, Loop::Pgjwt, Loop::Idle];
    let mut batch = Batch::default();
    let rounds = in_turns::<4>(251, |round, side| {
        let tokens = batch.of_round(round, || scene.keys.tokens(Family::Hs256, 200));
        runner.run(sides[side], &array(texts(tokens)), &payload)
    });
    Ok(compare(&rounds, |t| t[1] - t[0], |t| t[2] - t[0]).with_note(functions_alone(&rounds)))
}

/// What a token that was never seen costs more than the same token again: parsing, choosing the key, the signature, reading and
/// judging the claims, keeping the result. Switching the role and calling the function cost both the same and are no part of
/// verification, so they are left out; the note has the whole function.
fn cold(scene: &Scene, family: Family) -> Result<Figures, String> {
    if !scene.has_cache() {
        return Err("no scope_roles.jwt_cache_size: nothing is warm".into());
    }
    // The bare verification runs in this process: on the same processor, which may be slowed down by what shares its core.
    let _one = OneProcessor::of(&[&scene.server]);
    scene.trust_key_set();
    let payload = scene.keys.payload();
    let first = array([scene.keys.sign(family, &payload).text.as_str()]);
    let mut runner = scene.login();
    runner.check(Loop::Switch, &first, &payload);
    let key = scene.keys.parsed(family);
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let others = array(texts(&scene.keys.tokens(family, 15)));
        let tokens = scene.keys.tokens(family, 60);
        let all = array(texts(&tokens));
        let bare = || {
            let started = Instant::now();
            for token in &tokens {
                let held = key.verify_sig(
                    black_box(token.message.as_bytes()),
                    black_box(&token.signature),
                );
                black_box(held.is_ok());
            }
            started.elapsed().as_secs_f64() * 1e6 / tokens.len() as f64
        };
        // The cold loop comes first by its nature; the bare one is before or after it in turns.
        let sooner = (round % 2 == 0).then(&bare);
        // While tokens are signed the session sleeps, and this process has the code of signatures at hand: what it costs to wake up
        // is no part of a new token, and the warm loop does not pay for it either.
        runner.run(Loop::Switch, &others, &payload);
        let cold = runner.run(Loop::Switch, &all, &payload);
        let bare = sooner.unwrap_or_else(&bare);
        let warm = runner.run(Loop::Switch, &all, &payload);
        let idle = runner.run(Loop::Idle, &all, &payload);
        if round > 0 {
            rounds.push([bare, cold, warm, idle]);
        }
    }
    let whole = compare(&rounds, |t| t[1] - t[3], |t| t[0]);
    let note = format!(
        "the function as a whole {:.1} µs, ratio {:.2}",
        whole.ours, whole.ratio.middle
    );
    Ok(compare(&rounds, |t| t[1] - t[2], |t| t[0]).with_note(note))
}

/// New tokens of two issuers that differ in that alone; and one of the other, over and over.
fn single_use(scene: &Scene) -> Result<Figures, String> {
    const ISSUERS: [&str; 2] = [
        "https://once.example.com/auth/v1x",
        "https://often.example.com/auth/v1",
    ];
    let mut admin = scene.admin();
    for (issuer, once) in ISSUERS.iter().zip(["true", "false"]) {
        admin.run(&format!(
            "SELECT scope.add_jwt_issuer('{issuer}', '{issuer}', {}, single_use => {once})",
            literal(SECRET)
        ));
    }
    let sign = |issuer: &str| {
        scene
            .keys
            .sign(Family::Hs256, &scene.keys.payload_of(issuer))
    };
    let mut runner = scene.login();
    let payload = scene.keys.payload_of(ISSUERS[1]);
    let often = scene.keys.sign(Family::Hs256, &payload);
    let often = array(std::iter::repeat_n(often.text.as_str(), 100));
    runner.check(Loop::Switch, &often, &payload);
    let rounds = in_turns::<4>(201, |_, side| {
        let many = |issuer| -> Vec<Token> { (0..100).map(|_| sign(issuer)).collect() };
        match side {
            0 => runner.run(Loop::Switch, &array(texts(&many(ISSUERS[0]))), ""),
            1 => runner.run(Loop::Switch, &array(texts(&many(ISSUERS[1]))), ""),
            2 => runner.run(Loop::Switch, &often, ""),
            _ => runner.run(Loop::Empty, &often, ""),
        }
    });
    for issuer in ISSUERS {
        admin.run(&format!("SELECT scope.drop_jwt_issuer('{issuer}')"));
    }
    let whole = compare(&rounds, |t| t[0] - t[3], |t| t[1] - t[3]);
    let note = format!(
        "a new HS256 token with it {:.1} µs, without {:.1} µs",
        whole.ours, whole.peer
    );
    Ok(compare(&rounds, |t| t[0] - t[1], |t| t[2] - t[3]).with_note(note))
}

/// New tokens are verified in one backend; another then meets each for the first time, and again.
fn other_backend(scene: &Scene) -> Result<Figures, String> {
    if !scene.has_cache() {
        return Err("no scope_roles.jwt_cache_size: nothing is shared".into());
    }
    scene.trust_key_set();
    let payload = scene.keys.payload();
    let (mut one, mut other) = (scene.login(), scene.login());
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let tokens = scene.keys.tokens(Family::Rs256, 60);
        let all = array(texts(&tokens));
        let cold = one.run(Loop::Switch, &all, &payload);
        let first = other.run(Loop::Switch, &all, &payload);
        let again = other.run(Loop::Switch, &all, &payload);
        let empty = other.run(Loop::Empty, &all, &payload);
        if round > 0 {
            rounds.push([first, again, empty, cold]);
        }
    }
    let cold = compare(&rounds, |t| t[3] - t[2], |t| t[1] - t[2]);
    let note = format!("verified anew {:.1} µs", cold.ours);
    Ok(compare(&rounds, |t| t[0] - t[2], |t| t[1] - t[2]).with_note(note))
}

/// Whole queries, the scan included: what the user of a policy sees. Nothing is subtracted, which makes the target harder.
fn claim_per_row(scene: &Scene) -> Result<Figures, String> {
    if !scene.has_function("scope.jwt_claim(text)") {
        return Err("scope.jwt_claim does not exist".into());
    }
    scene.trust_secret();
    scene.make_table();
    let token = scene.keys.token(Family::Hs256);
    let mut session = scene.login().0;
    let conditions = [
        "owner = scope.jwt_claim('sub')",
        "owner = current_setting('request.jwt.claims', true)::jsonb->>'sub'",
        "owner = 'nobody'",
    ];
    session.run(&format!(
        "BEGIN; SELECT scope.set_jwt_role({})",
        literal(&token.text)
    ));
    session.assert_that(
        "scope.jwt_claim('sub') = current_setting('request.jwt.claims', true)::jsonb->>'sub'",
    );
    let rounds = in_turns::<3>(10, |_, side| {
        let started = Instant::now();
        session.text(&format!(
            "SELECT count(*) FROM bench.items WHERE {}",
            conditions[side]
        ));
        started.elapsed().as_secs_f64() * 1e6 / f64::from(TABLE_ROWS)
    });
    session.run("ROLLBACK");
    let bare = compare(&rounds, |t| t[0] - t[2], |t| t[1] - t[2]);
    let note = format!(
        "without the scan {:.3} against {:.3} µs",
        bare.ours, bare.peer
    );
    Ok(compare(&rounds, |t| t[0], |t| t[1]).with_note(note))
}

/// Of rounds whose sides are the empty loop, ours, the peer's and the idle one.
fn functions_alone(rounds: &[[f64; 4]]) -> String {
    let alone = compare(rounds, |t| t[1] - t[3], |t| t[2] - t[3]);
    format!(
        "functions alone {:.2} against {:.2} µs",
        alone.ours, alone.peer
    )
}

fn texts(tokens: &[Token]) -> impl Iterator<Item = &str> {
    tokens.iter().map(|token| token.text.as_str())
}

/// The tokens that all sides of a round are given.
#[derive(Default)]
struct Batch {
    round: Option<usize>,
    tokens: Vec<Token>,
}

impl Batch {
    fn of_round(&mut self, round: usize, make: impl FnOnce() -> Vec<Token>) -> &[Token] {
        if self.round.replace(round) != Some(round) {
            self.tokens = make();
        }
        &self.tokens
    }
}
