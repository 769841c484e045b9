//! The specs of `docs/specs/` do what they say.

use super::{apply_twice, plan};
use crate::harness::*;

fn example(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/specs");
    std::fs::read_to_string(path.join(name)).expect("an example")
}

/// Applies an example, and what it has made exports as a spec of the same.
fn story(admin: &mut Session, name: &str) {
    let spec = example(name);
    let planned = apply_twice(admin, &spec);
    assert!(!planned.is_empty());
    let exported = admin.text("SELECT scope.export_spec(mode => 'authoritative')");
    assert_eq!(plan(admin, &exported), [""; 0], "{exported}");
}

#[test]
fn every_example_is_run_here() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/specs");
    let mut names: Vec<String> = std::fs::read_dir(path)
        .expect("docs/specs")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "analytics-team.json",
            "api-server.json",
            "dump.json",
            "tile-server.json"
        ]
    );
}

#[test]
fn the_tile_server_reads_its_layers() {
    let f = Fixture::new("spec_tiles");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA tiles;
         CREATE TABLE tiles.roads (id int, geom text); CREATE TABLE tiles.buildings (id int, geom text);
         CREATE TABLE tiles.parcels (id int, geom text, owner text);
         CREATE FUNCTION tiles.roads_tile(z int, x int, y int) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea FROM tiles.roads LIMIT 1 $$",
    );
    story(&mut admin, "tile-server.json");
    let cred = admin.handed("scope.create_credential('{tiles_read}')");
    let mut s = cred.connect();
    s.rows("SELECT * FROM tiles.roads");
    s.rows("SELECT id, geom FROM tiles.parcels");
    s.rows("SELECT tiles.roads_tile(1, 2, 3)");
    s.denied("SELECT owner FROM tiles.parcels", "42501");
    s.denied("DELETE FROM tiles.roads", "42501");
    // Whatever else in the schema somebody has given a scope goes with the next run.
    admin.run("SELECT scope.create_scope('tiles_debug', tables => '{tiles.parcels}')");
    assert_eq!(
        apply_twice(&mut admin, &example("tile-server.json")),
        [
            "REVOKE USAGE ON SCHEMA tiles FROM tiles_debug CASCADE",
            "REVOKE SELECT ON TABLE tiles.parcels FROM tiles_debug CASCADE"
        ]
    );
}

#[test]
fn the_api_server_acts_by_token_only() {
    let f = Fixture::new("spec_api");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA shop; CREATE TABLE shop.products (id int);
         CREATE TABLE shop.orders (id serial, customer text, note text)",
    );
    story(&mut admin, "api-server.json");
    // No network of the example is this one.
    let refusal = f.server.try_login("api_server", &f.name).err();
    assert_eq!(refusal.map(|e| e.code).as_deref(), Some("28000"));
    admin.assert_that("SELECT rolpassword IS NULL AND rolconnlimit = 40 FROM pg_authid WHERE rolname = 'api_server'");
    let row = admin.text("SELECT concat_ws(' ', audiences, algorithms, role_claim, allowed_roles, anon_role, leeway, max_age) FROM scope.jwt_issuers");
    assert_eq!(
        row,
        "{api} {ES256} db_role {api_anonymous,api_customer} api_anonymous 00:00:10 01:00:00"
    );
    admin.assert_that("has_column_privilege('api_customer', 'shop.orders', 'note', 'UPDATE') AND has_table_privilege('api_customer', 'shop.orders', 'INSERT')");
    admin.assert_that("NOT has_table_privilege('api_anonymous', 'shop.orders', 'SELECT')");
    assert_eq!(
        admin.text("SELECT concat_ws(' ', allowed_hours, time_zone) FROM scope.credentials WHERE role = 'api_server'"),
        r#"{"Mon-Sat 00:00-24:00","Sun 06:00-24:00"} Europe/Berlin"#
    );
    assert_eq!(
        admin.text(
            "SELECT concat_ws(' ', max_rows, forbid) FROM scope.guards WHERE role = 'api_customer'"
        ),
        "500 {ddl,copy_to,do,temp,listen,lock}"
    );
}

#[test]
fn the_analytics_team_reads_what_is_loaded_later() {
    let f = Fixture::new("spec_analytics");
    let mut admin = f.admin();
    admin.run(
        "CREATE ROLE analytics; CREATE ROLE ana LOGIN; CREATE ROLE ben LOGIN;
         CREATE SCHEMA warehouse; CREATE SCHEMA sandbox; CREATE TABLE warehouse.sales (x int); CREATE TABLE sandbox.notes (x int)",
    );
    story(&mut admin, "analytics-team.json");
    admin.run("CREATE TABLE warehouse.next_year (x int)");
    let mut ana = f.login("ana");
    ana.rows("SELECT * FROM warehouse.sales, warehouse.next_year");
    ana.run("INSERT INTO sandbox.notes VALUES (1)");
    ana.denied("INSERT INTO warehouse.sales VALUES (1)", "42501");
    ana.refused("SELECT lo_creat(-1)", "42501");
    // Who is not declared leaves the team.
    admin.run("CREATE ROLE cas; GRANT analytics TO cas");
    let planned = apply_twice(&mut admin, &example("analytics-team.json"));
    assert_eq!(planned.len(), 1, "{planned:?}");
    admin.assert_that("NOT pg_has_role('cas', 'analytics', 'MEMBER') AND pg_has_role('ana', 'analytics', 'MEMBER')");
}

/// pg_dump itself, by the login that the example makes; with tables and sequences made since.
#[test]
fn the_dump_of_a_schema_is_whole() {
    let f = Fixture::new("spec_dump");
    let mut admin = f.admin();
    admin.run(
        "CREATE ROLE shop_owner; CREATE SCHEMA shop AUTHORIZATION shop_owner; SET ROLE shop_owner;
         CREATE TABLE shop.orders (id serial PRIMARY KEY, item text); INSERT INTO shop.orders (item) VALUES ('tea');
         CREATE SEQUENCE shop.invoice_numbers; CREATE VIEW shop.names AS SELECT item FROM shop.orders; RESET ROLE",
    );
    story(&mut admin, "dump.json");
    admin.run(
        "SET ROLE shop_owner; CREATE TABLE shop.later (id serial, note text); INSERT INTO shop.later (note) VALUES ('since'); RESET ROLE",
    );
    let cred = admin.handed("scope.create_credential('{shop_dump}', 'shop_backup', '1 hour')");
    let dump = output(
        f.server
            .client("pg_dump")
            .env("PGPASSWORD", &cred.password)
            .args(["-n", "shop", "-d", &cred.uri]),
    );
    for part in [
        "tea",
        "since",
        "setval('shop.orders_id_seq', 1",
        "setval('shop.later_id_seq', 1",
        "invoice_numbers",
        "VIEW shop.names",
    ] {
        assert!(dump.contains(part), "{part}: {dump}");
    }
    let mut s = cred.connect();
    s.denied("INSERT INTO shop.orders (item) VALUES ('x')", "42501");
    s.denied("SELECT nextval('shop.invoice_numbers')", "42501");
    admin.run("SELECT scope.revoke_role('shop_backup')");
}
