//! set_user changes roles past PostgreSQL's settings: `set_user()` and `reset_user()` when the transaction commits,
//! `set_session_auth()` at once and for ever. The worst case is tested: whoever is locked in may call all of them.

use super::*;

in_both_orders! {
    lock_holds("set_user");
    set_user_works_for_ordinary_roles("set_user");
    calls_in_a_locked_transaction("set_user");
    calls_in_a_locked_session("set_user");
    set_user_after_the_switch_in_one_statement("set_user");
    set_session_auth_in_an_expression_made_before_the_lock("set_user");
    calls_by_a_gated_login("set_user");
    a_switch_does_not_end_set_users_own_confinement("set_user");
}

fn scene(order: Order, name: &str) -> Gate<'static> {
    let gate = order.gate(name);
    let Gate {
        f, auth, reader, ..
    } = &gate;
    f.admin().run(&format!(
        "CREATE EXTENSION set_user;
         ALTER ROLE {auth} INHERIT;
         GRANT EXECUTE ON FUNCTION set_user(text), set_user(text, text), set_user_u(text), set_session_auth(text) TO {auth}, {reader}"
    ));
    gate
}

fn lock_holds(order: Order) {
    assert_lock_holds(&scene(order, "near_su_lock"));
}

fn calls(gate: &Gate<'_>) -> Vec<String> {
    let Gate { auth, writer, .. } = gate;
    vec![
        format!("SELECT set_user('{writer}')"),
        format!("SELECT set_user('{auth}', 'secret')"),
        "SELECT set_user_u('postgres')".into(),
        format!("SELECT set_session_auth('{auth}')"),
        format!(
            "SELECT set_session_auth('{auth}'), current_user::text, (SELECT count(*)::text FROM orders)"
        ),
        format!("SELECT * FROM set_session_auth('{auth}')"),
        format!("SELECT note FROM orders WHERE set_session_auth('{auth}') IS NOT NULL"),
        "SELECT reset_user()".into(),
        "SELECT reset_user('secret')".into(),
        format!("DO $$ BEGIN PERFORM set_session_auth('{auth}'); END $$"),
        format!("DO $$ BEGIN PERFORM set_user('{auth}'); END $$"),
    ]
}

fn set_user_works_for_ordinary_roles(order: Order) {
    let gate = scene(order, "near_su_works");
    let Gate { auth, writer, .. } = &gate;
    let mut s = gate.login();
    for _ in 0..2 {
        s.run(&format!("SELECT set_user('{writer}')"));
        s.assert_that(&format!(
            "current_user = '{writer}' AND session_user = '{auth}'"
        ));
        s.rows("SELECT * FROM vault");
        s.denied("SET ROLE none", "42501");
        s.run("SELECT reset_user()");
        s.assert_that(&format!("current_user = '{auth}'"));
        s.run("SELECT set_user_u('postgres')");
        s.assert_that("current_user = 'postgres'");
        s.run("SELECT reset_user()");
        // And a switch by token between them.
        s.run(&format!("BEGIN; {}", switch(&gate.token(json!({})))));
        s.assert_that(&format!("current_user = '{}'", gate.reader));
        s.run("COMMIT");
    }
    let other = gate.f.role("other", "LOGIN");
    s.run(&format!("SELECT set_session_auth('{other}')"));
    s.assert_that(&format!(
        "current_user = '{other}' AND session_user = '{other}'"
    ));
}

fn calls_in_a_locked_transaction(order: Order) {
    let gate = scene(order, "near_su_call");
    let Gate { auth, reader, .. } = &gate;
    let token = gate.token(json!({}));
    let mut s = gate.login();
    for call in calls(&gate) {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
            let refusal = s.attempt_by(protocol, &call).expect_err(&call);
            assert_eq!(refusal.code, "42501", "{call}\n{refusal}");
            assert!(
                !refusal.detail.is_empty() && !refusal.hint.is_empty(),
                "{refusal}"
            );
            s.run("ROLLBACK TO s");
            s.assert_that(&format!(
                "current_user = '{reader}' AND session_user = '{auth}'"
            ));
            s.run("COMMIT");
            s.assert_that(&format!(
                "current_user = '{auth}' AND session_user = '{auth}'"
            ));
        }
    }
}

/// In a session that is locked as a whole a call is a transaction of its own, which is where set_user() works.
fn calls_in_a_locked_session(order: Order) {
    let gate = scene(order, "near_su_session");
    let Gate { auth, reader, .. } = &gate;
    let token = gate.token(json!({}));
    let mut s = gate.login();
    s.run(&format!(
        "SELECT scope.set_jwt_session({})",
        literal(&token)
    ));
    for call in calls(&gate) {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = s.attempt_by(protocol, &call).expect_err(&call);
            assert_eq!(refusal.code, "42501", "{call}\n{refusal}");
            assert!(
                !refusal.detail.is_empty() && !refusal.hint.is_empty(),
                "{refusal}"
            );
            s.assert_that(&format!(
                "current_user = '{reader}' AND session_user = '{auth}'"
            ));
            s.denied("SELECT * FROM vault", "42501");
        }
    }
    s.run(&format!(
        "SELECT scope.end_jwt_session({})",
        literal(&token)
    ));
    s.assert_that(&format!("current_user = '{auth}'"));
}

fn set_user_after_the_switch_in_one_statement(order: Order) {
    let gate = scene(order, "near_su_one");
    let Gate { auth, writer, .. } = &gate;
    let token = literal(&gate.token(json!({})));
    let mut s = gate.login();
    for attack in [
        format!(
            "DO $$ BEGIN PERFORM scope.set_jwt_role({token}); PERFORM set_user('{writer}'); END $$"
        ),
        format!(
            "DO $$ BEGIN PERFORM set_user('{writer}'); PERFORM scope.set_jwt_session({token}); PERFORM reset_user(); END $$"
        ),
        format!(
            "SELECT scope.set_jwt_session({token}), set_user('{writer}'), set_session_auth('{writer}')"
        ),
        // Asked for before the switch, it would come at COMMIT, and leave the session without its role.
        format!(
            "DO $$ BEGIN PERFORM set_user('{writer}'); PERFORM scope.set_jwt_session({token}); END $$"
        ),
    ] {
        s.refused(&attack, "42501");
        s.assert_that(&format!(
            "current_user = '{auth}' AND session_user = '{auth}'"
        ));
    }
}

/// PL/pgSQL keeps an expression for the transaction, and PostgreSQL asks nothing when it is used again.
fn set_session_auth_in_an_expression_made_before_the_lock(order: Order) {
    let gate = scene(order, "near_su_plpgsql");
    let Gate {
        f, auth, reader, ..
    } = &gate;
    let victim = f.role("victim", "LOGIN");
    f.admin().run(
        "CREATE FUNCTION become(who text) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE x text; BEGIN x := CASE WHEN who IS NULL THEN 'nothing' ELSE set_session_auth(who) END; RETURN current_user; END $$",
    );
    let mut s = gate.login();
    s.run(&format!(
        "BEGIN; SELECT become(NULL); {}",
        switch(&gate.token(json!({})))
    ));
    s.assert_that(&format!("current_user = '{reader}'"));
    s.run("SAVEPOINT s");
    s.refused(&format!("SELECT become('{victim}')"), "42501");
    s.run("ROLLBACK TO s");
    s.assert_that(&format!(
        "current_user = '{reader}' AND session_user = '{auth}'"
    ));
    s.run("COMMIT");
    s.assert_that(&format!(
        "current_user = '{auth}' AND session_user = '{auth}'"
    ));
}

fn calls_by_a_gated_login(order: Order) {
    let gate = scene(order, "near_su_gated");
    let Gate {
        f,
        auth,
        reader,
        writer,
    } = &gate;
    let gated = format!("{}_gated", f.name);
    f.admin().run(&format!(
        "SELECT scope.create_authenticator('{gated}', '{{{reader},{writer}}}');
         GRANT EXECUTE ON FUNCTION set_user(text), set_user(text, text), set_user_u(text), set_session_auth(text) TO {gated}"
    ));
    crate::jwt::allow_session_switches(f, &gated);
    let mut s = f.login(&gated);
    for call in calls(&gate) {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let refusal = s.attempt_by(protocol, &call).expect_err(&call);
            assert_eq!(refusal.code, "42501", "{call}\n{refusal}");
            s.assert_that(&format!(
                "current_user = '{gated}' AND session_user = '{gated}'"
            ));
        }
    }
    let claims = json!({"role": reader, "exp": now() + 600});
    s.run(&format!("BEGIN; {}", switch(&sign(&claims))));
    s.assert_that(&format!("current_user = '{reader}'"));
    s.refused(&format!("SELECT set_session_auth('{auth}')"), "42501");
    s.run("ROLLBACK");
}

/// An administrator steps down with set_user() and a reset token before running what others wrote. The end of a switch must not
/// bring the administrator back.
fn a_switch_does_not_end_set_users_own_confinement(order: Order) {
    let gate = scene(order, "near_su_down");
    let Gate { f, reader, .. } = &gate;
    let low = f.role("low", "NOLOGIN");
    let mut s = f.admin();
    s.run(&format!("SELECT set_user('{low}', 'only I know')"));
    let token = gate.token(json!({}));
    for attack in [
        switch(&token),
        format!("BEGIN; {}; COMMIT", switch(&token)),
        format!("SELECT scope.set_jwt_session({})", literal(&token)),
    ] {
        s.refused(&attack, "42501");
        s.run("ROLLBACK");
        s.assert_that(&format!("current_user = '{low}'"));
        s.denied("SELECT * FROM vault", "42501");
    }
    s.run("SELECT reset_user('only I know')");
    s.run(&format!("BEGIN; {}", switch(&token)));
    s.assert_that(&format!("current_user = '{reader}'"));
    s.run("COMMIT");
}
