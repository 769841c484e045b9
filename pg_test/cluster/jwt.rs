//! `scope.set_jwt_role`: which tokens switch, to what, and for how long.

mod authenticators;
pub mod bound;
mod claims;
mod deadline;
mod escapes;
mod exchange;
pub mod issuers;
mod keys;
mod permission;
mod refused;
mod revocation;
mod role_settings;
mod rules;
mod secret;
mod sessions;
mod settings;
mod single_use;
mod texts;

use serde_json::{Value, json};

use crate::harness::*;

/// A login that is a member of a reader and a writer of `orders`, with no rights of its own.
pub struct Gate<'a> {
    pub f: Fixture<'a>,
    pub auth: String,
    pub reader: String,
    pub writer: String,
}

impl Gate<'static> {
    pub fn new(name: &str) -> Self {
        Gate::with(Fixture::new(name))
    }
}

impl<'a> Gate<'a> {
    pub fn with(f: Fixture<'a>) -> Self {
        let (reader, writer) = (f.role("reader", "NOLOGIN"), f.role("writer", "NOLOGIN"));
        let auth = f.role(
            "auth",
            &format!("LOGIN NOINHERIT IN ROLE {reader}, {writer}"),
        );
        f.admin().run(&format!(
            "GRANT SELECT ON orders TO {reader}; GRANT SELECT, INSERT ON orders TO {writer}"
        ));
        Gate {
            f,
            auth,
            reader,
            writer,
        }
    }

    pub fn login(&self) -> Session {
        self.f.login(&self.auth)
    }

    /// Claims for the reader, a minute long, with `more` on top.
    pub fn claims(&self, more: Value) -> Value {
        let mut claims = json!({"role": self.reader, "sub": "ann", "exp": now() + 600});
        let (Some(into), Value::Object(more)) = (claims.as_object_mut(), more) else {
            panic!("claims are an object")
        };
        into.extend(more);
        claims
    }

    pub fn token(&self, more: Value) -> String {
        sign(&self.claims(more))
    }
}

/// The call as SQL.
pub fn switch(token: &str) -> String {
    format!("SELECT scope.set_jwt_role({})", literal(token))
}

/// The same for a session.
pub fn switch_session(token: &str) -> String {
    format!("SELECT scope.set_jwt_session({})", literal(token))
}

/// And its end.
pub fn end_session(token: &str) -> String {
    format!("SELECT scope.end_jwt_session({})", literal(token))
}

/// As a DBA does for an authenticator whose connections are not shared.
pub fn allow_session_switches(f: &Fixture, login: &str) {
    f.admin().run(&format!(
        "ALTER ROLE {login} SET scope_roles.session_switches = on"
    ));
}

const CLAIMS: &str = "SELECT current_setting('request.jwt.claims', true)";

#[track_caller]
fn assert_switched(s: &mut Session, role: &str) {
    assert_eq!(s.text("SELECT current_user"), role);
    assert_ne!(s.text("SELECT session_user"), role);
    assert_eq!(s.text("SHOW role"), role);
}

#[track_caller]
fn assert_itself(s: &mut Session, login: &str) {
    assert_eq!(
        s.text("SELECT current_user || ' ' || session_user"),
        format!("{login} {login}")
    );
    assert_eq!(s.text("SHOW role"), "none");
    assert_eq!(s.text(CLAIMS), "");
}

#[test]
fn a_valid_token_switches_until_commit() {
    let g = Gate::new("jwt_commit");
    let mut s = g.login();
    s.denied("SELECT * FROM orders", "42501");
    s.run("BEGIN");
    assert_eq!(
        s.text(&switch(&g.token(json!({"tenant": {"id": 7}})))),
        g.reader
    );
    assert_switched(&mut s, &g.reader);
    assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
    let claims: Value = serde_json::from_str(&s.text(CLAIMS)).expect("claims are JSON");
    assert_eq!(claims["sub"], "ann");
    assert_eq!(claims["tenant"]["id"], 7);
    assert_eq!(claims["role"], g.reader.as_str());
    s.run("COMMIT");
    assert_itself(&mut s, &g.auth);
    s.denied("SELECT * FROM orders", "42501");
}

#[test]
fn rollback_ends_the_switch() {
    let g = Gate::new("jwt_rollback");
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_switched(&mut s, &g.reader);
    s.denied("SELECT * FROM vault", "42501");
    s.run("ROLLBACK");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn rollback_to_a_savepoint_ends_the_switch_and_release_keeps_it() {
    let g = Gate::new("jwt_savepoint");
    let mut s = g.login();
    s.run(&format!(
        "BEGIN; SAVEPOINT before; {}",
        switch(&g.token(json!({})))
    ));
    s.run("SAVEPOINT within");
    s.denied("SELECT * FROM vault", "42501");
    s.run("ROLLBACK TO within");
    assert_switched(&mut s, &g.reader);
    s.run("ROLLBACK TO before");
    assert_itself(&mut s, &g.auth);
    // Unlocked: another role may be taken now, and a released savepoint keeps it.
    s.run(&format!(
        "SAVEPOINT again; {}; RELEASE again",
        switch(&g.token(json!({"role": g.writer})))
    ));
    assert_switched(&mut s, &g.writer);
    s.run("INSERT INTO orders VALUES (3, 'third'); COMMIT");
    assert_itself(&mut s, &g.auth);
    assert_eq!(g.f.admin().text("SELECT count(*) FROM orders"), "3");
}

#[test]
fn one_session_serves_many_transactions() {
    let g = Gate::new("jwt_reuse");
    let mut s = g.login();
    let (read, write) = (g.token(json!({})), g.token(json!({"role": g.writer})));
    for i in 0..20 {
        let (token, role) = if i % 2 == 0 {
            (&read, &g.reader)
        } else {
            (&write, &g.writer)
        };
        s.run("BEGIN");
        let rows = s
            .attempt_extended("SELECT scope.set_jwt_role($1)", &[token])
            .expect("a switch");
        assert_eq!(rows, [[Some(role.clone())]]);
        assert_switched(&mut s, role);
        s.run(if i % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
    }
    assert_itself(&mut s, &g.auth);
}

#[test]
fn outside_a_transaction_it_warns_and_changes_nothing() {
    let g = Gate::new("jwt_autocommit");
    let mut s = g.login();
    let token = g.token(json!({}));
    assert_eq!(s.text(&switch(&token)), g.reader);
    let notices = s.notices();
    assert!(notices.iter().any(|n| n.code == "25P01"), "{notices:?}");
    assert_itself(&mut s, &g.auth);
    s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    let notices = s.notices();
    assert!(
        !notices.iter().any(|n| n.code == "25P01"),
        "a warning inside a transaction: {notices:?}"
    );
}

#[test]
fn the_role_comes_from_the_named_claim() {
    let g = Gate::new("jwt_claim");
    // Of two elements that fit, the first is the role.
    let roles = json!([7, "offline_access", g.reader, g.writer, "x_end"]);
    let claims = json!({"role": g.writer, "db": g.reader, "a b": {"role": g.reader}, "realm_access": {"roles": roles}, "exp": now() + 60});
    let token = literal(&sign(&claims));
    let quoted = |claim: &str| format!("{token}, {}", literal(claim));
    let mut s = g.login();
    for (arguments, role) in [
        (token.clone(), &g.writer),
        (format!("{token}, NULL"), &g.writer),
        (format!("{token}, 'role'"), &g.writer),
        (format!("{token}, claim => 'db'"), &g.reader),
        (quoted(".role"), &g.writer),
        (quoted(r#"."a b".role"#), &g.reader),
        (quoted(".realm_access.roles[2]"), &g.reader),
        (
            quoted(&format!(r#".realm_access.roles[?(@ == "{}")]"#, g.writer)),
            &g.writer,
        ),
        (
            quoted(r#".realm_access.roles[?(@ != "offline_access")]"#),
            &g.reader,
        ),
        (
            quoted(r#".realm_access.roles[?(@ ^== "jwt_claim_")]"#),
            &g.reader,
        ),
        (
            quoted(r#".realm_access.roles[?(@ ==^ "_writer")]"#),
            &g.writer,
        ),
        (quoted(r#".realm_access.roles[?(@ *== "_rea")]"#), &g.reader),
        (quoted("$.realm_access.roles[3]"), &g.writer),
        (quoted("$['a b'].role"), &g.reader),
        (
            quoted(&format!("$.realm_access.roles[?@ == '{}']", g.writer)),
            &g.writer,
        ),
        (quoted("$.realm_access.roles[?length(@) == 16]"), &g.reader),
    ] {
        s.run("BEGIN");
        assert_eq!(
            &s.text(&format!("SELECT scope.set_jwt_role({arguments})")),
            role,
            "{arguments}"
        );
        assert_switched(&mut s, role);
        s.run("ROLLBACK");
    }
    // What a filter lets through is still asked whether it may be taken, and what none lets through is no role.
    for (claim, sqlstate, reason) in [
        (".realm_access.roles", "28000", "role_not_text"),
        (".realm_access.roles[9]", "28000", "role_missing"),
        (
            r#".realm_access.roles[?(@ == "nobody")]"#,
            "28000",
            "role_missing",
        ),
        ("$.realm_access.roles[?@ == 7]", "28000", "role_not_text"),
        (
            r#".realm_access.roles[?(@ ==^ "_end")]"#,
            "42501",
            "role_unknown",
        ),
    ] {
        s.refused_with(
            &format!("SELECT scope.set_jwt_role({})", quoted(claim)),
            sqlstate,
            reason,
        );
    }
    s.refused_with(
        &format!("SELECT scope.set_jwt_role({token}, 'absent')"),
        "28000",
        "role_missing",
    );
    s.refused_with(
        &format!("SELECT scope.set_jwt_role({token}, 'exp')"),
        "28000",
        "role_not_text",
    );
    for path in ["", ".a[", "$[", "."] {
        s.refused(
            &format!("SELECT scope.set_jwt_role({token}, {})", literal(path)),
            "22023",
        );
    }
    assert_itself(&mut s, &g.auth);
}

#[test]
fn a_second_token_in_one_transaction_must_ask_for_the_same() {
    let g = Gate::new("jwt_second");
    let mut s = g.login();
    let token = g.token(json!({}));
    s.run("BEGIN");
    assert_eq!(s.text(&switch(&token)), g.reader);
    assert_eq!(s.text(&switch(&token)), g.reader);
    assert_switched(&mut s, &g.reader);
    s.run("SAVEPOINT s");
    s.refused(&switch(&g.token(json!({"role": g.writer}))), "42501");
    s.run("ROLLBACK TO s");
    assert_switched(&mut s, &g.reader);
    s.refused_with(&switch("nonsense"), "28000", "malformed");
    s.run("ROLLBACK TO s");
    assert_switched(&mut s, &g.reader);
    s.run("ROLLBACK");
    assert_itself(&mut s, &g.auth);
}

#[test]
fn membership_through_a_group_counts_and_ends_when_revoked() {
    let g = Gate::new("jwt_membership");
    let mut admin = g.f.admin();
    let group = g.f.role("group", "NOLOGIN");
    let tenant = g.f.role("tenant", "NOLOGIN");
    admin.run(&format!(
        "GRANT {tenant} TO {group}; GRANT {group} TO {}",
        g.auth
    ));
    let token = g.token(json!({"role": tenant}));
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&token)));
    assert_switched(&mut s, &tenant);
    s.run("COMMIT");
    // The same session, the same token: nothing that was once true is remembered.
    admin.run(&format!("REVOKE {group} FROM {}", g.auth));
    s.refused_with(&switch(&token), "42501", "role_not_granted");
    admin.run(&format!(
        "GRANT {group} TO {}; ALTER ROLE {tenant} CREATEROLE",
        g.auth
    ));
    s.refused_with(&switch(&token), "42501", "role_privileged");
    admin.run(&format!("ALTER ROLE {tenant} NOCREATEROLE"));
    s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    admin.run(&format!("DROP ROLE {tenant}"));
    s.refused_with(&switch(&token), "42501", "role_unknown");
}

#[test]
fn a_role_whose_name_needs_quotes_can_be_taken() {
    let g = Gate::new("jwt_quotes");
    let odd = r#"jwt_quotes Ü"x'; RESET ROLE --"#;
    g.f.admin().run(&format!(
        "CREATE ROLE {0}; GRANT {0} TO {1}",
        ident(odd),
        g.auth
    ));
    let mut s = g.login();
    s.run("BEGIN");
    assert_eq!(s.text(&switch(&g.token(json!({"role": odd})))), odd);
    assert_eq!(s.text("SELECT current_user"), odd);
    s.run("COMMIT");
    assert_itself(&mut s, &g.auth);
    // Names are taken to the letter: no folding, no trimming.
    s.refused_with(
        &switch(&g.token(json!({"role": g.reader.to_uppercase()}))),
        "42501",
        "role_unknown",
    );
    s.refused_with(
        &switch(&g.token(json!({"role": format!("{} ", g.reader)}))),
        "42501",
        "role_unknown",
    );
}

#[test]
fn a_superuser_can_step_down_and_is_held() {
    let g = Gate::new("jwt_superuser");
    let mut admin = g.f.admin();
    admin.run(&format!("BEGIN; {}", switch(&g.token(json!({})))));
    assert_eq!(admin.text("SELECT current_user"), g.reader);
    admin.run("SAVEPOINT s");
    for escape in [
        "RESET ROLE",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT set_config('role', NULL, true)",
    ] {
        admin.refused(escape, "42501");
        admin.run("ROLLBACK TO s");
        assert_eq!(admin.text("SELECT current_user"), g.reader, "{escape}");
        admin.denied("SELECT * FROM vault", "42501");
        admin.run("ROLLBACK TO s");
    }
    admin.run("COMMIT");
    assert_eq!(admin.text("SELECT current_user"), "postgres");
    admin.rows("SELECT * FROM vault");
}

#[test]
fn a_policy_sees_the_role_and_the_claims() {
    let g = Gate::new("jwt_policy");
    g.f.admin().run(&format!(
        "CREATE TABLE notes (tenant text, body text); INSERT INTO notes VALUES ('a', 'one'), ('b', 'two');
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY; GRANT SELECT ON notes TO {};
         CREATE POLICY own ON notes USING (tenant = current_setting('request.jwt.claims')::json->>'tenant')",
        g.reader
    ));
    let mut s = g.login();
    for (tenant, body) in [("a", "one"), ("b", "two")] {
        s.run(&format!(
            "BEGIN; {}",
            switch(&g.token(json!({"tenant": tenant})))
        ));
        assert_eq!(s.column("SELECT body FROM notes"), [body]);
        s.run("COMMIT");
    }
}

#[test]
fn an_access_made_by_the_extension_can_be_switched_to() {
    let g = Gate::new("jwt_scope");
    let cred = g.f.admin().issue("'orders'");
    let scope = g.f.admin().scope_of(&cred.role);
    g.f.admin().run(&format!("GRANT {scope} TO {}", g.auth));
    let mut s = g.login();
    s.run("BEGIN");
    assert_eq!(s.text(&switch(&g.token(json!({"role": scope})))), scope);
    s.rows("SELECT * FROM orders");
    s.denied("SELECT * FROM vault", "42501");
    s.run("ROLLBACK");
}
