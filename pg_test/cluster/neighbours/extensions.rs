//! Those that log and count: they still do, and learn no secret.

use super::*;

/// PostgreSQL's own views, too, show a statement to others: to all who act as the same login.
#[test]
fn the_text_of_a_statement_is_rid_of_its_token_once_it_runs() {
    let gate = Gate::new("near_views");
    let token = gate.token(json!({}));
    let mut s = gate.login();
    let pid = s.text("SELECT pg_backend_pid()");
    let mut other = gate.login();
    for protocol in [Protocol::Simple, Protocol::Extended] {
        s.attempt_by(protocol, &switch(&token)).expect("the switch");
        let shown = other.text(&format!(
            "SELECT query FROM pg_stat_activity WHERE pid = {pid}"
        ));
        assert!(shown.contains("set_jwt_role"), "{shown}");
        assert_not_in(&shown, std::slice::from_ref(&token));
    }
}

in_both_orders! {
    pgaudit("pgaudit");
    pg_stat_statements("pg_stat_statements");
    auto_explain("auto_explain");
}

/// The same work for each: a switch by bind parameter, a query as the switched role, a credential. Returns what must not be seen.
fn work(gate: &Gate<'_>) -> Vec<String> {
    let token = gate.token(json!({"jti": "bound"}));
    let mut s = gate.login();
    s.run("BEGIN");
    s.attempt_extended("SELECT scope.set_jwt_role($1)", &[&token])
        .expect("the switch");
    assert_eq!(s.text("SELECT count(*) AS as_reader FROM orders"), "2");
    s.run("CREATE TEMP TABLE scratch (x int); DROP TABLE scratch; COMMIT");
    s.run("BEGIN");
    let wrong = format!("{}x", token);
    let refusal = s
        .attempt_extended("SELECT scope.set_jwt_role($1)", &[&wrong])
        .expect_err("a bad token");
    assert_eq!(refusal.code, "28000", "{refusal}");
    s.run("ROLLBACK");
    let credential = gate.f.admin().issue("'orders', purpose => 'neighbours'");
    credential.connect().rows("SELECT * FROM orders");
    vec![token, wrong, credential.password]
}

fn assert_not_in(text: &str, secrets: &[String]) {
    for secret in secrets {
        // The signature alone would be worth as much as the token.
        let tail = secret.rsplit('.').next().unwrap_or(secret);
        assert!(!text.contains(tail), "{secret} in:\n{text}");
    }
}

fn pgaudit(order: Order) {
    let gate = order.gate("near_pgaudit");
    let database = &gate.f.name;
    gate.f.admin().run(&format!(
        "CREATE EXTENSION pgaudit; ALTER DATABASE {database} SET pgaudit.log = 'all'; ALTER DATABASE {database} SET pgaudit.log_relation = 'on'"
    ));
    let secrets = work(&gate);
    assert_lock_holds(&gate);
    let log = gate.f.server.log();
    let audited = |what: &str| {
        assert!(
            log.lines().any(|line| line.contains(&gate.auth)
                && line.contains("AUDIT: SESSION")
                && line.contains(what)),
            "{what} not in:\n{log}"
        );
    };
    audited("READ,SELECT,TABLE,public.orders,SELECT count(*) AS as_reader FROM orders");
    audited("DDL,CREATE TABLE,TABLE,pg_temp.scratch");
    audited("SELECT scope.set_jwt_role($1)");
    assert_not_in(&log, &secrets);
}

fn pg_stat_statements(order: Order) {
    let gate = order.gate("near_pgss");
    let mut admin = gate.f.admin();
    admin.run("CREATE EXTENSION pg_stat_statements");
    let mut secrets = work(&gate);
    // Not even a token in the text of the call is kept: a constant is not part of a statement.
    let token = gate.token(json!({"jti": "in the text"}));
    gate.login()
        .run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    secrets.push(token);
    assert_lock_holds(&gate);
    // Nor in those that PostgreSQL runs from elsewhere.
    let token = gate.token(json!({"jti": "in other texts"}));
    admin.run(&format!(
        "ALTER ROLE {} SET pg_stat_statements.track = 'all'",
        gate.auth
    ));
    let mut s = gate.login();
    for sql in [
        format!("PREPARE p AS {}", switch(&token)),
        "BEGIN; EXECUTE p; COMMIT".into(),
        format!("BEGIN; EXPLAIN ANALYZE {}; COMMIT", switch(&token)),
        format!(
            "DO $$ BEGIN PERFORM scope.set_jwt_role({}); END $$",
            literal(&token)
        ),
        format!("DO $$ BEGIN EXECUTE {}; END $$", literal(&switch(&token))),
        // Where it is not used, too.
        format!("BEGIN; EXPLAIN {}; COMMIT", switch(&token)),
        format!("BEGIN; DECLARE x CURSOR FOR {}; COMMIT", switch(&token)),
        format!("SET application_name = '{token}'"),
        format!("DO $$ BEGIN PERFORM '{token}'; END $$"),
        // In a text between two, after the first call of the statement.
        format!(
            "DO $$ DECLARE t text := {}; BEGIN PERFORM scope.set_jwt_role(t);
               EXECUTE format('DO $x$ BEGIN PERFORM scope.set_jwt_role(%L); END $x$', t); END $$",
            literal(&token)
        ),
        format!(
            "DO $$ BEGIN PERFORM 1 FROM scope.set_jwt_role({}); END $$",
            literal(&token)
        ),
    ] {
        s.run(&sql);
    }
    secrets.push(token);
    let seen = admin
        .column("SELECT query FROM pg_stat_statements")
        .join("\n");
    assert_not_in(&seen, &secrets);
    admin.assert_that(
        "(SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
          WHERE query LIKE 'SELECT scope.set_jwt_role(%') > 20",
    );
    // Statements are counted for the role that ran them.
    admin.assert_that(&format!(
        "(SELECT calls = 1 AND rolname = '{}' FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
          JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database() WHERE query LIKE '%as_reader%')",
        gate.reader
    ));
}

fn auto_explain(order: Order) {
    let gate = order.gate("near_explain");
    let database = &gate.f.name;
    gate.f.admin().run(&format!(
        "ALTER DATABASE {database} SET auto_explain.log_min_duration = 0; ALTER DATABASE {database} SET auto_explain.log_analyze = on;
         ALTER DATABASE {database} SET auto_explain.log_nested_statements = on"
    ));
    if gate.f.server.version() >= 160_000 {
        gate.f.admin().run(&format!(
            "ALTER DATABASE {database} SET auto_explain.log_parameter_max_length = 0"
        ));
    }
    let mut secrets = work(&gate);
    assert_lock_holds(&gate);
    // Written out, too: what it logs, it logs when the statement ends.
    let token = gate.token(json!({"jti": "in the text"}));
    gate.login().run(&format!(
        "BEGIN; {}; COMMIT; DO $$ BEGIN PERFORM 1 FROM scope.set_jwt_role({}); END $$",
        switch(&token),
        literal(&token)
    ));
    secrets.push(token);
    let log = gate.f.server.log();
    assert!(
        log.contains("Query Text: SELECT count(*) AS as_reader FROM orders"),
        "{log}"
    );
    assert!(
        log.contains("Query Text: SELECT scope.set_jwt_role($1)"),
        "{log}"
    );
    assert_not_in(&log, &secrets);
}
