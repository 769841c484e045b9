//! `scope.create_credential` and what becomes of a credential: renewed, rotated, revoked.

mod itself;
mod life;
mod newest;
mod outlives;

use crate::harness::*;

/// A scope that reads one table, of whoever's session this is.
#[track_caller]
fn scope_for(f: &Fixture, s: &mut Session, table: &str) -> String {
    let cred = s.issue(&literal(table));
    f.admin().scope_of(&cred.role)
}

const MANAGED: &str = "SELECT count(*) FROM scope.roles WHERE database = current_database()";

/// A login that may call everything of the extension.
fn manager(f: &Fixture, suffix: &str) -> String {
    let role = f.role(suffix, "LOGIN");
    f.admin().run(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {role}; GRANT pg_monitor TO {role}"
    ));
    role
}

fn row(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|cell| Some((*cell).to_owned())).collect()
}

#[test]
fn it_reads_what_its_scopes_read_and_nothing_else() {
    let f = Fixture::new("credential_scopes");
    let mut admin = f.admin();
    admin.run("CREATE TABLE third (x int)");
    let (orders, vault) = (
        scope_for(&f, &mut admin, "orders"),
        scope_for(&f, &mut admin, "vault"),
    );
    let cred = admin.handed(&format!(
        "scope.create_credential('{{{orders},{vault},{orders}}}', valid_for => '1 hour', purpose => 'both', connection_limit => 5)"
    ));
    assert!(
        cred.role.starts_with(&format!("{orders}_login_")),
        "{}",
        cred.role
    );
    let mut s = cred.connect();
    s.rows("SELECT * FROM orders, vault");
    s.denied("SELECT * FROM third", "42501");
    s.denied("DELETE FROM orders", "42501");
    admin.run(&format!(
        "ALTER ROLE {} IN DATABASE credential_scopes SET work_mem = '1MB'",
        cred.role
    ));
    let mut both = [orders, vault];
    both.sort();
    assert_eq!(
        admin.rows(&format!(
            "SELECT kind, state, scopes::text, database, created_by, connection_limit, sessions, purpose,
                    valid_until = {}::timestamptz, created_at = rotated_at, allow_local, require_tls,
                    num_nulls(granted_to, allowed_ips, settings, replaced_by, reason, last_error), waiting_for::text
               FROM scope.credentials WHERE role = {}",
            literal(&cred.valid_until),
            literal(&cred.role)
        )),
        [row(&[
            "credential", "active", &format!("{{{}}}", both.join(",")), "credential_scopes", "postgres", "5", "1", "both",
            "t", "t", "t", "f", "6", "{}"
        ])]
    );
    let named = admin.handed(&format!(
        "scope.create_credential('{{{}}}', 'credential_scopes_named')",
        both[0]
    ));
    assert_eq!(named.role, "credential_scopes_named");
    admin.assert_that("NOT EXISTS (SELECT FROM scope.credentials WHERE kind = 'scope')");
}

/// Having made a scope is no right to what it holds: that may have been taken from the maker since.
#[test]
fn credential_of_a_scope_whose_table_changed_hands() {
    let f = Fixture::new("credential_hands");
    let (maker, other) = (manager(&f, "maker"), f.role("other", "LOGIN"));
    let person = f.role("person", "LOGIN");
    let mut admin = f.admin();
    admin.run(&format!(
        "CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO {maker} WITH GRANT OPTION; GRANT CREATE ON SCHEMA app TO {other};
         CREATE TABLE app.mine (id serial, note text); CREATE TABLE app.part (id int, note text);
         CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         REVOKE EXECUTE ON FUNCTION app.f() FROM PUBLIC;
         ALTER TABLE app.mine OWNER TO {maker}; ALTER TABLE app.part OWNER TO {maker};
         ALTER FUNCTION app.f() OWNER TO {maker}"
    ));
    let mut s = f.login(&maker);
    let scope = "credential_hands_scope";
    s.run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT,INSERT}}', '{{app.mine}}', functions => '{{app.f()}}');
         SELECT scope.create_scope('{scope}_part', '{{SELECT}}', '{{app.part}}', '{{note}}');
         SELECT scope.create_scope('{scope}_future', '{{SELECT}}', schemas => '{{app}}', future_tables => true)"
    ));
    let calls = |scope: &str| {
        [
            format!("SELECT scope.create_credential('{{{scope}}}')"),
            format!("SELECT scope.grant_temporary('{scope}', '{person}', '1 hour')"),
            format!("SELECT scope.create_authenticator('credential_hands_gated', '{{{scope}}}')"),
        ]
    };
    let parts = [
        scope.to_owned(),
        format!("{scope}_part"),
        format!("{scope}_future"),
    ];
    for call in parts.iter().flat_map(|scope| calls(scope)) {
        s.run(&format!("BEGIN; {call}; ROLLBACK"));
    }
    let give = |what: &str, to: &str| format!("ALTER {what} OWNER TO {to}");
    for (scope, taken, back) in [
        (
            &parts[0],
            give("TABLE app.mine", &other),
            give("TABLE app.mine", &maker),
        ),
        (
            &parts[0],
            give("FUNCTION app.f()", &other),
            give("FUNCTION app.f()", &maker),
        ),
        (
            &parts[1],
            give("TABLE app.part", &other),
            give("TABLE app.part", &maker),
        ),
        (
            &parts[2],
            give("TABLE app.part", &other),
            give("TABLE app.part", &maker),
        ),
        (
            &parts[0],
            format!(
                "REVOKE GRANT OPTION FOR USAGE ON SCHEMA app FROM {maker} CASCADE; GRANT USAGE ON SCHEMA app TO {scope}"
            ),
            format!("GRANT USAGE ON SCHEMA app TO {maker} WITH GRANT OPTION"),
        ),
    ] {
        admin.run(&taken);
        for call in calls(scope) {
            let refusal = s.refused(&call, "42501");
            assert!(refusal.message.contains("to grant"), "{taken}: {refusal}");
        }
        // Whoever PostgreSQL lets grant the role itself may.
        for call in calls(scope) {
            admin.run(&format!("BEGIN; {call}; ROLLBACK"));
        }
        admin.run(&format!("GRANT {scope} TO {maker} WITH ADMIN OPTION"));
        for call in calls(scope) {
            s.run(&format!("BEGIN; {call}; ROLLBACK"));
        }
        admin.run(&format!("REVOKE {scope} FROM {maker}"));
        admin.run(&back);
        for call in calls(scope) {
            s.run(&format!("BEGIN; {call}; ROLLBACK"));
        }
    }
}

#[test]
fn only_who_may_hand_out_a_scope_issues_from_it() {
    let f = Fixture::new("credential_who");
    let mut admin = f.admin();
    let (creator, deputy, stranger) = (
        manager(&f, "creator"),
        manager(&f, "deputy"),
        manager(&f, "stranger"),
    );
    let nobody = f.role("nobody", "LOGIN");
    admin.run(&format!(
        "ALTER TABLE orders OWNER TO {creator}; GRANT {creator} TO {deputy}"
    ));
    let scope = scope_for(&f, &mut f.login(&creator), "orders");
    let call = format!("scope.create_credential('{{{scope}}}')");
    f.login(&nobody).denied(&format!("SELECT {call}"), "42501");
    f.login(&stranger)
        .refused(&format!("SELECT {call}"), "42501");
    for role in [&creator, &deputy] {
        let cred = f.login(role).handed(&call);
        cred.connect().rows("SELECT * FROM orders");
        assert_eq!(
            admin.text(&format!(
                "SELECT created_by FROM scope.credentials WHERE role = '{}'",
                cred.role
            )),
            *role
        );
    }
    admin.run(&format!("GRANT {scope} TO {stranger}"));
    f.login(&stranger)
        .refused(&format!("SELECT {call}"), "42501");
    admin.run(&format!("GRANT {scope} TO {stranger} WITH ADMIN OPTION"));
    f.login(&stranger).handed(&call);
    // One scope that is not the caller's spoils the whole.
    let vault = scope_for(&f, &mut admin, "vault");
    f.login(&creator).refused(
        &format!("SELECT scope.create_credential('{{{scope},{vault}}}')"),
        "42501",
    );
    // Another role with the name of the creator is not the creator.
    admin.run(&format!(
        "ALTER ROLE {creator} RENAME TO {creator}_gone; CREATE ROLE {creator} LOGIN;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {creator}"
    ));
    f.login(&creator)
        .refused(&format!("SELECT {call}"), "42501");
    // And the creator is that under another name, too.
    f.login(&format!("{creator}_gone")).handed(&call);
}

#[test]
fn a_scope_that_somebody_made_powerful_is_not_handed_out() {
    let f = Fixture::new("credential_powerful");
    let mut admin = f.admin();
    let scope = scope_for(&f, &mut admin, "orders");
    let call = format!("SELECT scope.create_credential('{{{scope}}}')");
    for (give, take) in [
        ("ALTER ROLE {} CREATEROLE", "ALTER ROLE {} NOCREATEROLE"),
        ("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} NOSUPERUSER"),
        ("ALTER ROLE {} BYPASSRLS", "ALTER ROLE {} NOBYPASSRLS"),
        (
            "GRANT pg_read_server_files TO {}",
            "REVOKE pg_read_server_files FROM {}",
        ),
    ] {
        admin.run(&give.replace("{}", &scope));
        admin.refused(&call, "42501");
        admin.run(&take.replace("{}", &scope));
    }
    admin.run(&call);
}

#[test]
fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let f = Fixture::new("credential_input");
    let elsewhere = Fixture::new("credential_input_elsewhere");
    let mut admin = f.admin();
    let scope = scope_for(&f, &mut admin, "orders");
    let foreign = scope_for(&elsewhere, &mut elsewhere.admin(), "orders");
    let cred = admin.issue("'orders'").role;
    let ordinary = f.role("ordinary", "NOLOGIN");
    let before = admin.text(MANAGED);
    let with = |options: &str| format!("'{{{scope}}}', {options}");
    for (arguments, sqlstate) in [
        ("NULL".to_owned(), "22004"),
        ("'{}'".to_owned(), "22023"),
        ("'{NULL}'".to_owned(), "22004"),
        ("'{no_such_scope}'".to_owned(), "42704"),
        (format!("'{{{scope},no_such_scope}}'"), "42704"),
        (format!("'{{{ordinary}}}'"), "42809"),
        (format!("'{{{cred}}}'"), "42809"),
        ("'{postgres}'".to_owned(), "42809"),
        ("'{pg_monitor}'".to_owned(), "42809"),
        (format!("'{{{foreign}}}'"), "22023"),
        (with(&format!("'{cred}'")), "42710"),
        (with("'Upper'"), "42602"),
        (with("''"), "42602"),
        (with("'pg_mine'"), "42939"),
        (with("valid_for => '0'"), "22023"),
        (with("valid_for => '1000 years'"), "22023"),
        (with("purpose => repeat('x', 201)"), "22023"),
        (with("connection_limit => 0"), "22023"),
        (with("connection_limit => -1"), "22023"),
        (with("statement_timeout => '-1 s'"), "22023"),
        (with("statement_timeout => '30 days'"), "22023"),
        (with("statement_timeout => '1 month'"), "22023"),
        (
            with("idle_in_transaction_session_timeout => '-1 day'"),
            "22023",
        ),
        (with("search_path => '{NULL}'"), "22004"),
        (with("search_path => '{\"\"}'"), "22023"),
        (with("search_path => array[repeat('x', 64)]"), "22023"),
        (with("allowed_ips => '{NULL}'"), "22004"),
        (with("allowed_ips => '{}'"), "22023"),
        (with("allowed_ips => '{}', allow_local => false"), "22023"),
        (
            with(
                "allowed_ips => (SELECT array_agg(format('2001:db8:1:%s::/64', to_hex(i))::cidr) FROM generate_series(1, 100) i)",
            ),
            "54000",
        ),
    ] {
        admin.refused(
            &format!("SELECT scope.create_credential({arguments})"),
            sqlstate,
        );
    }
    // The type's own input function refuses these.
    for garbage in [
        "{10.0.0.1/8}",
        "{10.0.0.0/33}",
        "{localhost}",
        "{''}",
        "{10.0.0.0/8;--}",
    ] {
        let arguments = with(&format!("allowed_ips => {}", literal(garbage)));
        admin.denied(
            &format!("SELECT scope.create_credential({arguments})"),
            "22P02",
        );
    }
    admin.run("BEGIN READ ONLY");
    admin.refused(
        &format!("SELECT scope.create_credential('{{{scope}}}')"),
        "25006",
    );
    admin.run("ROLLBACK");
    assert_eq!(admin.text(MANAGED), before);
    // A name that must be quoted reaches SQL as a name only.
    admin.run("CREATE ROLE \"it's; DROP TABLE vault --\" NOLOGIN");
    admin.refused(
        "SELECT scope.create_credential(array['it''s; DROP TABLE vault --'])",
        "42809",
    );
    admin.run("DROP ROLE \"it's; DROP TABLE vault --\"; TABLE vault");
}

#[test]
fn a_search_path_of_odd_names_stays_a_list_of_names() {
    let f = Fixture::new("credential_path");
    let mut admin = f.admin();
    let scope = scope_for(&f, &mut admin, "orders");
    let cred = admin.handed(&format!(
        "scope.create_credential('{{{scope}}}', search_path => array['a''; ALTER ROLE postgres NOLOGIN; --', 'b\"c', 'd,e', 'F'])"
    ));
    assert_eq!(
        cred.connect().text("SHOW search_path"),
        "\"a'; ALTER ROLE postgres NOLOGIN; --\", \"b\"\"c\", \"d,e\", \"F\""
    );
    admin.assert_that("(SELECT rolcanlogin FROM pg_roles WHERE rolname = 'postgres')");
}

#[test]
fn the_longest_rules_and_texts_are_read_at_login() {
    let f = Fixture::new("credential_longest");
    let mut admin = f.admin();
    let scope = scope_for(&f, &mut admin, "orders");
    let cred = admin.handed(&format!(
        "scope.create_credential('{{{scope}}}', rpad('credential_longest_', 63, 'x'), purpose => repeat(chr(1), 200), allow_local => true,
            allowed_ips => (SELECT array_agg(format('10.1.%s.0/24', i)::cidr) FROM generate_series(100, 129) i) || '{{127.0.0.1}}'::cidr[])"
    ));
    admin.assert_that(&format!(
        "(SELECT octet_length(label) <= 1500 FROM pg_shseclabel WHERE objoid = '{}'::regrole)",
        cred.role
    ));
    cred.connect();
    assert_eq!(
        admin.text(&format!(
            "SELECT cardinality(allowed_ips) FROM scope.credentials WHERE role = '{}'",
            cred.role
        )),
        "31"
    );
    let next = admin.handed(&format!("scope.rotate_password('{}', '1 hour')", cred.role));
    admin.run(&format!(
        "SELECT scope.revoke_role('{}', repeat(chr(2), 200))",
        next.role
    ));
    f.server
        .try_login(&cred.role, &f.name)
        .err()
        .expect("revoked with the other");
}

#[test]
fn members_of_pg_monitor_read_the_view() {
    let f = Fixture::new("credential_monitor");
    let cred = f.admin().issue("'orders'");
    let _open = cred.connect();
    let monitor = f.role("monitor", "LOGIN IN ROLE pg_monitor");
    let mut s = f.login(&monitor);
    assert_eq!(
        s.text(&format!(
            "SELECT sessions FROM scope.credentials WHERE role = '{}'",
            cred.role
        )),
        "1"
    );
}

/// Whoever issues sees what they issued, and nothing of others', with the facts of its logins.
#[test]
fn issuers_see_what_they_issued_and_no_more() {
    let f = Fixture::new("credential_own");
    let mut admin = f.admin();
    let (owner, other) = (f.role("owner", "LOGIN"), f.role("other", "LOGIN"));
    let colleague = f.role("colleague", &format!("LOGIN IN ROLE {owner}"));
    let nobody = f.role("nobody", "LOGIN");
    admin.run(&format!(
        "CREATE TABLE goods (x int); ALTER TABLE goods OWNER TO {owner}; CREATE TABLE wares (x int); ALTER TABLE wares OWNER TO {other};
         GRANT EXECUTE ON FUNCTION scope.create_readonly_role TO {owner}, {other};
         CREATE TABLE seen (t text); GRANT INSERT ON seen TO public;
         CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN INSERT INTO seen VALUES ($1); RETURN true; END $$"
    ));
    let mine = f.login(&owner).issue("'goods'");
    let theirs = f.login(&other).issue("'wares'");
    let foreign = admin.issue("'orders'");
    let _open = (mine.connect(), theirs.connect(), foreign.connect());
    for who in [&owner, &colleague] {
        let mut s = f.login(who);
        for (sql, seen) in [
            ("SELECT role FROM scope.credentials", &mine.role),
            (
                "SELECT role FROM scope.roles WHERE kind = 'credential'",
                &mine.role,
            ),
            ("SELECT created_by FROM scope.scopes", &owner),
            (
                "SELECT DISTINCT s.created_by FROM scope.scope_declarations d JOIN scope.scopes s USING (scope)",
                &owner,
            ),
            (
                "SELECT role::regrole FROM _scope.login_facts() WHERE role IS NOT NULL",
                &mine.role,
            ),
        ] {
            assert_eq!(s.column(sql), [seen.as_str()], "{who}: {sql}");
        }
        assert_eq!(
            s.rows("SELECT sessions, logins, last_address, created_by FROM scope.credentials"),
            [[
                Some("1".into()),
                Some("1".into()),
                Some("127.0.0.1".into()),
                Some(owner.clone())
            ]]
        );
        s.run("SELECT * FROM scope.credentials WHERE leak(role::text); SELECT * FROM scope.roles WHERE leak(role::text);
               SELECT * FROM scope.scopes WHERE leak(created_by::text)");
    }
    let leaked = admin.column("SELECT DISTINCT t FROM seen");
    assert!(
        !leaked.contains(&theirs.role)
            && !leaked.contains(&foreign.role)
            && !leaked.contains(&other),
        "{leaked:?}"
    );
    for who in [&nobody, &mine.role] {
        let mut s = f.login(who);
        for view in [
            "credentials",
            "roles",
            "scopes",
            "scope_declarations",
            "guarded_logins",
        ] {
            assert_eq!(
                s.text(&format!("SELECT count(*) FROM scope.{view}")),
                "0",
                "{who}: {view}"
            );
        }
        assert_eq!(
            s.text("SELECT count(*) FROM _scope.login_facts() WHERE role IS NOT NULL"),
            "0"
        );
    }
    // A name that another role has come to bear gives nothing.
    admin.run(&format!(
        "ALTER ROLE {owner} RENAME TO {owner}_before; ALTER ROLE {nobody} RENAME TO {owner}"
    ));
    assert_eq!(
        f.login(&owner)
            .text("SELECT count(*) FROM scope.credentials"),
        "0"
    );
    admin.run(&format!(
        "ALTER ROLE {owner} RENAME TO {nobody}; ALTER ROLE {owner}_before RENAME TO {owner}"
    ));
}

/// `\du+` tells whose a role is; what somebody else has written stays.
#[test]
fn roles_carry_a_comment_that_stays_true() {
    let f = Fixture::new("credential_comment");
    let mut admin = f.admin();
    let said = |admin: &mut Session, role: &str| {
        admin.text(&format!(
            "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = '{role}'"
        ))
    };
    let ends = |admin: &mut Session, role: &str| {
        admin.text(&format!(
            "SELECT to_char(valid_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM scope.credentials WHERE role = '{role}'"
        ))
    };
    let role = admin
        .issue("'orders', 'credential_comment_c', '1 day', purpose => E'nightly\\nexport'")
        .role;
    let until = ends(&mut admin, &role);
    assert_eq!(
        said(&mut admin, &role),
        format!(
            "scope_roles: credential, issued by \"postgres\", ends by {until} UTC; nightly\\nexport"
        )
    );
    let scope = admin.scope_of(&role);
    assert_eq!(
        said(&mut admin, &scope),
        "scope_roles: scope of database \"credential_comment\", made by \"postgres\""
    );
    admin.run(&format!("SELECT scope.renew_role('{role}', '2 days')"));
    let renewed = ends(&mut admin, &role);
    assert_ne!(renewed, until);
    assert!(said(&mut admin, &role).contains(&renewed));
    let second = admin.text(&format!(
        "SELECT role_name FROM scope.rotate_password('{role}', '1 hour')"
    ));
    let (old, new) = (ends(&mut admin, &role), ends(&mut admin, &second));
    let comment = said(&mut admin, &role);
    assert!(
        comment.contains(&old) && comment.contains("being replaced"),
        "{comment}"
    );
    assert!(said(&mut admin, &second).contains(&new));
    admin.run(&format!(
        "ALTER ROLE {second} RENAME TO credential_comment_d"
    ));
    assert!(said(&mut admin, "credential_comment_d").contains(&new));
    // One's own comment stays.
    admin.run("COMMENT ON ROLE credential_comment_d IS 'ask Ann'; SELECT scope.renew_role('credential_comment_d', '3 days')");
    assert_eq!(said(&mut admin, "credential_comment_d"), "ask Ann");
    admin.run(&format!(
        "CREATE TABLE own (x int); ALTER TABLE own OWNER TO {role}; SELECT scope.revoke_role('{role}')"
    ));
    wait_until("it is quarantined", 30, || {
        said(&mut admin, &role).contains("is kept because it owns objects")
    });
    // Nobody's but ours.
    let plain = f.role("plain", "LOGIN");
    admin.run(&format!(
        "SELECT scope.guard_login('{plain}', allow_local => true)"
    ));
    assert_eq!(said(&mut admin, &plain), "");
}

/// The planner knows nothing of the labels until somebody has run ANALYZE: with a loop over all roles for each this took minutes.
#[test]
fn the_views_answer_at_once_after_many_were_issued() {
    let server = Server::start(Options::default().set("autovacuum", "off"));
    let mut admin = Fixture::on(&server, "credential_many").admin();
    admin.run(
        "SELECT count(i.*) FROM generate_series(1, 1500) n, scope.create_readonly_role('orders', 'many_' || n) i",
    );
    admin.run("SET statement_timeout = '30s'");
    for view in ["roles", "credentials", "scopes"] {
        admin.rows(&format!("SELECT * FROM scope.{view}"));
    }
    admin.assert_that("(SELECT count(*) FROM scope.credentials WHERE state = 'active') = 1500");
}
