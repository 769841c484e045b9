//! Tokens in what is shown and logged.

use serde_json::json;

use super::{Gate, switch};
use crate::harness::*;

fn tail(token: &str) -> &str {
    token.rsplit('.').next().unwrap_or_default()
}

/// What is struck out of texts is known by how it begins: `{` in base64url. White space before it would be another beginning.
#[test]
fn attack_a_token_whose_json_begins_with_white_space() {
    let g = Gate::new("jwt_white_space");
    let mut s = g.login();
    let header = r#"{"alg":"HS256"}"#;
    let payload = g.claims(json!({})).to_string();
    for space in [" ", "\n", "\t", "\r", "  \n "] {
        for token in [
            sign_raw(&format!("{space}{header}"), &payload),
            sign_raw(header, &format!("{space}{payload}")),
        ] {
            s.refused_with(&switch(&token), "28000", "malformed");
        }
    }
    // Within the braces and after them it is nothing unusual, and is struck out.
    let mut other = g.login();
    let pid = s.text("SELECT pg_backend_pid()");
    for (header, payload) in [
        (
            "{ \"alg\" : \"HS256\" }\n",
            payload.replacen('{', "{ ", 1) + " ",
        ),
        ("{\n\"alg\":\"HS256\"}", payload.replacen('{', "{\r\n\t", 1)),
    ] {
        let token = sign_raw(header, &payload);
        s.run(&format!("BEGIN; {}", switch(&token)));
        let shown = other.text(&format!(
            "SELECT query FROM pg_stat_activity WHERE pid = {pid}"
        ));
        assert!(shown.contains("set_jwt_role"), "{shown}");
        assert!(!shown.contains(tail(&token)), "{shown}");
        s.run("COMMIT");
    }
}

/// PostgreSQL adds the parameters to the CONTEXT of an error, for the log and the client, if a setting says so that anybody may set.
#[test]
fn attack_a_bound_token_in_the_context_of_an_error() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_context"));
    let mut s = g.login();
    s.run("SET log_parameter_max_length_on_error = -1");
    let mut refusals = Vec::new();
    let good = g.token(json!({}));
    let tokens = [
        g.token(json!({"exp": 7})),
        g.token(json!({"role": "postgres"})),
        g.token(json!({"role": g.writer})),
    ];
    s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&good)));
    for token in &tokens {
        refusals.push((
            token,
            s.attempt_extended("SELECT scope.set_jwt_role($1)", &[token])
                .expect_err("a refusal"),
        ));
        s.run("ROLLBACK TO s");
    }
    s.run("ROLLBACK; BEGIN");
    // The token is good: what fails is something else, at the call or before it.
    for sql in [
        "SELECT scope.set_jwt_role($1), 1 / length(substr($1, 1, 0))",
        "SELECT scope.set_jwt_role($1), current_setting('no.such.setting')",
    ] {
        refusals.push((
            &good,
            s.attempt_extended(sql, &[&good]).expect_err("an error"),
        ));
        s.run("ROLLBACK; BEGIN");
    }
    for (token, refusal) in refusals {
        assert!(
            refusal.rest.contains("parameters: $1 = "),
            "{}",
            refusal.rest
        );
        assert!(!refusal.rest.contains(tail(token)), "{}", refusal.rest);
        assert!(!server.log().contains(tail(token)), "{}", server.log());
    }
}

/// Statements and parameters that are logged before anything of ours runs, or that fail then.
#[test]
fn attack_a_token_in_a_statement_that_is_logged_or_fails() {
    let server = Server::start(
        Options::default()
            .set("log_statement", "all")
            .set("log_min_duration_statement", "0"),
    );
    let g = Gate::with(Fixture::on(&server, "jwt_logged"));
    let mut s = g.login();
    let token = g.token(json!({}));
    s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    s.run("BEGIN");
    s.attempt_extended("SELECT scope.set_jwt_role($1)", &[&token])
        .expect("a switch");
    s.run("COMMIT");
    for failing in [
        format!("SELECT 1 / 0, scope.set_jwt_role('{token}')"),
        format!("SELECT scope.set_jwt_rule('{token}')"),
        format!("SELECT scope.set_jwt_role('{token}'"),
        format!("BEGIN; SELECT 1 / 0; SELECT scope.set_jwt_role('{token}')"),
        format!("SELECT scope.set_jwt_role('{token}')"),
        format!(
            "DO $$ BEGIN EXECUTE 'SELECT scope.set_jwt_role(''{token}'') FROM nowhere'; END $$"
        ),
        format!("SELECT '{token}'::int"),
    ] {
        s.attempt(&failing).expect_err("an error");
        if failing.starts_with("SELECT scope.set_jwt_role('") {
            s.run("ROLLBACK");
        }
    }
    // LOG is less than ERROR by its number, and more for what is written.
    s.run(&format!(
        "DO $$ BEGIN RAISE LOG 'a line'; PERFORM '{token}'; END $$"
    ));
    let log = server.log();
    assert!(
        log.contains("LOG:  statement: BEGIN; SELECT scope.set_jwt_role('eyJ"),
        "{log}"
    );
    assert!(
        log.contains("$1 = 'eyJ") && log.contains("SELECT '"),
        "{log}"
    );
    assert!(!log.contains(tail(&token)), "{log}");
    // Other statements are written as ever.
    s.attempt("SELECT 1 / 0 AS seen").expect_err("an error");
    assert!(server.log().contains("STATEMENT:  SELECT 1 / 0 AS seen"));
}
