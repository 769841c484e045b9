//! `scope.role_map`: a picture of all roles, for few and for many.

use crate::harness::*;

/// A server of its own: the map is of all roles.
fn server() -> Server {
    Server::start(Options::default())
}

#[test]
fn the_map_of_a_small_server_shows_every_role_and_membership() {
    let server = server();
    let f = Fixture::on(&server, "map_small");
    let mut admin = f.admin();
    admin.run(
        "CREATE ROLE team; CREATE ROLE idle LOGIN NOINHERIT; GRANT team TO idle; CREATE ROLE ana LOGIN; GRANT team TO ana WITH ADMIN OPTION; GRANT pg_monitor TO team;
         SELECT scope.create_scope('orders_read', tables => '{orders}'); GRANT orders_read TO team;
         SELECT scope.create_credential('{orders_read}', 'report_svc', '8 hours');
         SELECT scope.create_authenticator('web_api', '{orders_read}')",
    );
    let mermaid = admin.text("SELECT scope.role_map()");
    for line in [
        "flowchart LR",
        "subgraph g",
        "\"ana<br/>login\"",
        "scopes of database map_small",
        "orders_read<br/>scope",
        "SELECT on table public.orders",
        "report_svc<br/>credential<br/>until 20",
        "web_api<br/>authenticator",
        "pg_monitor<br/>predefined role",
        "-. \"by token\" .->",
        "-. \"ADMIN\" .->",
        "-. \"SET only\" .->",
    ] {
        assert!(mermaid.contains(line), "no {line} in\n{mermaid}");
    }
    assert!(!mermaid.contains("pg_signal_backend"), "{mermaid}");
    let dot = admin.text("SELECT scope.role_map('DOT')");
    assert!(
        dot.starts_with("digraph roles {") && dot.contains("orders_read\\nscope"),
        "{dot}"
    );
    let json = admin.rows(
        "SELECT r ->> 'kind', r ->> 'database' FROM jsonb_array_elements(scope.role_map('json')::jsonb -> 'roles') r
          WHERE r ->> 'name' IN ('orders_read', 'report_svc', 'web_api', 'ana', 'team') ORDER BY r ->> 'name'",
    );
    let kinds: Vec<_> = json.into_iter().filter_map(|row| row[0].clone()).collect();
    assert_eq!(
        kinds,
        ["login", "scope", "credential", "group", "authenticator"]
    );
    admin.assert_that(
        "SELECT count(*) = 5 FROM jsonb_array_elements(scope.role_map('json')::jsonb -> 'memberships') m
          WHERE m ->> 'role' IN ('orders_read', 'team', 'pg_monitor') AND m ->> 'member' IN ('ana', 'team', 'report_svc', 'web_api')",
    );
    admin.refused("SELECT scope.role_map('png')", "22023");
    admin.refused("SELECT scope.role_map(NULL)", "22004");
}

#[test]
fn the_map_of_a_large_server_is_folded_and_quick() {
    let server = server();
    let f = Fixture::on(&server, "map_large");
    let mut admin = f.admin();
    admin.run(
        "DO $$ BEGIN
           FOR s IN 1..4 LOOP
             EXECUTE format('CREATE SCHEMA s%s', s);
             FOR t IN 1..20 LOOP
               EXECUTE format('CREATE TABLE s%s.t%s (x int)', s, t);
               PERFORM scope.create_scope(format('read_s%s_t%s', s, t), tables => ARRAY[format('s%s.t%s', s, t)::regclass]);
               PERFORM scope.create_credential(ARRAY[format('read_s%s_t%s', s, t)::name]) FROM generate_series(1, 5);
             END LOOP;
           END LOOP;
           FOR p IN 1..200 LOOP EXECUTE format('CREATE ROLE person_%s LOGIN', p); END LOOP;
         END $$",
    );
    admin.assert_that("SELECT count(*) > 600 FROM pg_roles");
    let mermaid = admin.text("SELECT scope.role_map()");
    let nodes = mermaid.matches("<br/>").count();
    let lines = mermaid.lines().count();
    assert!(lines < 300 && nodes < 900, "{lines} lines\n{mermaid}");
    assert!(
        mermaid.contains("200 logins<br/>person_1<br/>"),
        "{mermaid}"
    );
    assert!(mermaid.contains("first ends 20"), "{mermaid}");
    admin.assert_that(
        "SELECT jsonb_array_length(scope.role_map('json')::jsonb -> 'roles') = count(*) FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'",
    );
}

#[test]
fn names_on_the_map_inject_nothing() {
    let server = server();
    let f = Fixture::on(&server, "map_inject");
    let mut admin = f.admin();
    let evil = "x\"]; n0 --> n1 <script>alert(1)</script> \\";
    admin.run(&format!(
        "CREATE ROLE {0}; CREATE ROLE member; GRANT {0} TO member",
        ident(evil)
    ));
    let mermaid = admin.text("SELECT scope.role_map('mermaid')");
    assert!(
        !mermaid.contains("<script>") && !mermaid.contains("x\"]"),
        "{mermaid}"
    );
    let dot = admin.text("SELECT scope.role_map('dot')");
    assert!(
        dot.contains(r#"label="x\"]; n0 --> n1 <script>alert(1)</script> \\\n"#),
        "{dot}"
    );
    admin.assert_that(&format!(
        "SELECT count(*) = 1 FROM jsonb_array_elements(scope.role_map('json')::jsonb -> 'roles') r WHERE r ->> 'name' = {}",
        literal(evil)
    ));
}

#[test]
fn the_map_is_for_monitors() {
    let f = Fixture::new("map_monitor");
    let (monitor, nobody) = (
        f.role("monitor", "LOGIN IN ROLE pg_monitor"),
        f.role("nobody", "LOGIN"),
    );
    assert!(
        f.login(&monitor)
            .text("SELECT scope.role_map()")
            .starts_with("flowchart")
    );
    f.login(&nobody).denied("SELECT scope.role_map()", "42501");
}
