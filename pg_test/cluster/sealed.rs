//! What the extension keeps, against those who may do almost everything: predefined roles, the database's owner, whoever created the
//! extension and has fallen since, and roles with GRANT ALL by hand.

use serde_json::json;

use crate::audit::{find, one};
use crate::harness::*;

/// What of the extension can be read or written by name.
const RELATIONS: &str = "
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'scope_roles' ORDER BY 1";
/// A hash of everything in it.
fn content(admin: &mut Session) -> String {
    let tables = admin.rows(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = ANY ('{scope,_scope}'::regnamespace[]) AND c.relkind = 'r' ORDER BY 1",
    );
    let hash = |table: &str| {
        format!(
            "(SELECT md5(coalesce(string_agg(x::text, '/' ORDER BY x::text), '')) FROM {table} x)"
        )
    };
    let hashes: Vec<String> = tables
        .iter()
        .filter_map(|row| row[0].as_deref().map(hash))
        .collect();
    admin.text(&format!("SELECT {}", hashes.join(" || ' ' || ")))
}

fn filled<'a>(f: &Fixture<'a>) {
    f.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('idp', 'https://idp.example.org', '{SECRET}');
         SELECT scope.revoke_token('jti', now() + '1 hour'), scope.revoke_subject('sub');
         SELECT scope.create_readonly_role('orders', '{}_x');
         CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT scope.allow_writes('w()');
         SELECT scope.attest('{0}_x', 'all is well')",
        f.name
    ));
}

const SECRET: &str = "sealed-sealed-sealed-sealed-sealed-sealed";

/// Who may do what PostgreSQL lets them, on everything.
fn attackers(f: &Fixture<'_>) -> Vec<String> {
    let mut admin = f.admin();
    let predefined = admin.column("SELECT rolname FROM pg_roles WHERE rolname ~ '^pg_' ORDER BY 1");
    let all = f.role("all", "LOGIN");
    for role in &predefined {
        // Its only member is the owner of the database.
        if role != "pg_database_owner" {
            admin.run(&format!("GRANT {role} TO {all}"));
        }
    }
    let owner = f.role("owner", "LOGIN IN ROLE pg_write_all_data, pg_read_all_data");
    admin.run(&format!("ALTER DATABASE {} OWNER TO {owner}", f.name));
    let granted = f.role("granted", "LOGIN");
    admin.run(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA scope TO {granted}; GRANT ALL ON SCHEMA public TO PUBLIC"
    ));
    vec![all, owner, granted]
}

#[test]
fn nothing_that_is_kept_can_be_written_by_any_role_but_superusers() {
    let f = Fixture::new("sealed_writes");
    filled(&f);
    let attackers = attackers(&f);
    let mut admin = f.admin();
    admin.assert_that("NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = ANY ('{scope,_scope}'::regnamespace[]) AND relkind = 'S')");
    let relations = admin.column(RELATIONS);
    assert!(relations.len() >= 15, "{relations:?}");
    for attacker in &attackers {
        let function = format!("public.f_{attacker}");
        let mut session = f.login(attacker);
        session.run(&format!(
            "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        ));
        let before = content(&mut admin);
        for relation in &relations {
            let column = admin.text(&format!(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '{relation}'::regclass AND attnum = 1"
            ));
            for attack in [
                "INSERT INTO {t} SELECT * FROM {t}",
                "INSERT INTO {t} DEFAULT VALUES",
                "COPY {t} FROM STDIN",
                "TRUNCATE {t}",
                "TRUNCATE {t} CASCADE",
                "ALTER TABLE {t} DISABLE ROW LEVEL SECURITY",
                "CREATE RULE r AS ON INSERT TO {t} DO INSTEAD NOTHING",
                "CREATE TRIGGER t BEFORE INSERT ON {t} FOR EACH STATEMENT EXECUTE FUNCTION {f}()",
                "CREATE TRIGGER t INSTEAD OF INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION {f}()",
                "CREATE TABLE refers (x text, FOREIGN KEY (x) REFERENCES {t})",
                "DROP TABLE {t}",
                "LOCK TABLE {t} IN ROW SHARE MODE",
                "LOCK TABLE {t} IN ACCESS EXCLUSIVE MODE",
                "LOCK TABLE {t} IN SHARE ROW EXCLUSIVE MODE NOWAIT",
                "CLUSTER {t}",
                "REPACK {t}",
                "REINDEX TABLE {t}",
                "VACUUM FULL {t}",
            ] {
                let sql = attack
                    .replace("{t}", relation)
                    .replace("{c}", &column)
                    .replace("{f}", &function);
                let outcome = session.attempt(&sql);
                // An INSERT of what one cannot see is one of nothing.
                let is_empty =
                    sql.starts_with("INSERT") && sql.contains("SELECT") && outcome.is_ok();
                assert!(is_empty || outcome.is_err(), "{attacker}: {sql}");
            }
            for attack in [
                "UPDATE {t} SET {c} = {c}",
                "DELETE FROM {t}",
                "SELECT * FROM {t} FOR UPDATE",
                "SELECT * FROM {t} FOR KEY SHARE",
                "WITH x AS (UPDATE {t} SET {c} = NULL RETURNING *) SELECT * FROM x",
                "MERGE INTO {t} t USING (VALUES (1)) s ON true WHEN MATCHED THEN DELETE",
                "MERGE INTO {t} t USING (VALUES (1)) s ON false WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
            ] {
                let sql = attack.replace("{t}", relation).replace("{c}", &column);
                // Whether it is refused or finds nothing: what is there stays.
                let _ = session.attempt(&sql);
            }
        }
        assert_eq!(
            content(&mut admin),
            before,
            "{attacker} has changed something"
        );
    }
    // All of it still works.
    admin.run(&format!(
        "SELECT scope.revoke_role('{}_x'); SELECT scope.revoke_subject('sub2'); SELECT scope.drop_jwt_issuer('idp')",
        f.name
    ));
}

/// `UPDATE scope.jwt_issuers` once made a web_user's token a web_admin's.
#[test]
fn issuers_cannot_be_rewritten_through_their_view() {
    let f = Fixture::new("sealed_issuers");
    filled(&f);
    let writer = f.role(
        "writer",
        "LOGIN IN ROLE pg_write_all_data, pg_read_all_data",
    );
    f.login(&writer).denied(
        "UPDATE scope.jwt_issuers SET role_claim = 'email', allowed_roles = NULL",
        "55000",
    );
    f.login(&writer)
        .denied("DELETE FROM scope.jwt_issuers", "55000");
    f.admin()
        .assert_that("(SELECT role_claim IS NULL FROM scope.jwt_issuers)");
    f.admin().assert_that(
        "NOT EXISTS (SELECT FROM information_schema.views WHERE table_schema IN ('scope', '_scope') AND (is_updatable = 'YES' OR is_insertable_into = 'YES'))",
    );
}

/// Who holds a lock on the rows of roles, issuers or the log holds up each revocation.
#[test]
fn locks_through_views_hold_nothing_up() {
    let f = Fixture::new("sealed_locks");
    filled(&f);
    let writer = f.role(
        "writer",
        "LOGIN IN ROLE pg_write_all_data, pg_read_all_data, pg_monitor",
    );
    f.admin()
        .run(&format!("GRANT CREATE ON SCHEMA public TO {writer}"));
    let mut session = f.login(&writer);
    session.run("CREATE VIEW v AS SELECT groname FROM pg_group; CREATE VIEW vv AS SELECT * FROM v");
    for sql in [
        "SELECT * FROM pg_group FOR UPDATE",
        "SELECT * FROM vv FOR SHARE",
        "SELECT * FROM pg_tables t, pg_group FOR UPDATE OF pg_group",
        "LOCK TABLE pg_roles IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE vv IN SHARE MODE",
        "LOCK TABLE scope.audit_log",
        "LOCK TABLE scope.jwt_issuers",
        "DO $$ BEGIN LOCK TABLE _scope.jwt_issuer; END $$",
        "DO $$ BEGIN PERFORM FROM pg_group FOR NO KEY UPDATE; END $$",
    ] {
        let refused = session.denied(sql, "42501");
        assert!(!refused.hint.is_empty(), "{sql}: {refused}");
    }
    // FOR UPDATE of the issuers finds no rows to lock.
    session.run("BEGIN; SELECT * FROM scope.jwt_issuers FOR UPDATE");
    let mut admin = f.admin();
    admin.run("SET lock_timeout = '2s'; SELECT scope.set_jwt_keys('idp', 'another-another-another-another-another')");
    session.run("ROLLBACK");
    // One's own tables are one's own.
    session.run("CREATE TABLE mine (id int); BEGIN; LOCK TABLE mine; SELECT * FROM mine FOR UPDATE; TRUNCATE mine; COMMIT");
    session.run("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int REFERENCES p); REINDEX TABLE p");
}

/// Subjects, scopes, functions, whoever did what: whoever reads all data reads pg_statistic.
#[test]
fn attack_samples_of_our_tables_in_the_statistics() {
    let f = Fixture::new("sealed_samples");
    filled(&f);
    let mut admin = f.admin();
    admin.run("SELECT scope.revoke_subject('secret-subject-1'); SELECT scope.revoke_subject('secret-subject-2')");
    for table in admin.column("SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = ANY ('{scope,_scope}'::regnamespace[]) AND relkind = 'r'") {
        admin.run(&format!("ANALYZE {table}"));
    }
    let reader = f.role("reader", "LOGIN IN ROLE pg_read_all_data");
    assert_eq!(
        f.login(&reader).column(
            "SELECT s.starelid::regclass || '.' || a.attname
               FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid
               JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum
              WHERE c.relnamespace = ANY ('{scope,_scope}'::regnamespace[]) AND s.starelid::regclass || '.' || a.attname <> 'scope.audit_log.at'"
        ),
        Vec::<String>::new()
    );
}

/// The owner of a database maintains its catalogues, with `vacuumdb --full` too.
#[test]
fn owners_vacuum_the_catalogues_of_their_database() {
    let f = Fixture::new("sealed_vacuum");
    let owner = f.role("owner", "LOGIN");
    f.admin()
        .run(&format!("ALTER DATABASE sealed_vacuum OWNER TO {owner}"));
    let mut s = f.login(&owner);
    s.run("VACUUM FULL pg_catalog.pg_proc");
    s.run("VACUUM (FULL false) scope.audit_log");
    s.run("VACUUM");
    for sql in [
        "VACUUM FULL scope.audit_log",
        "VACUUM (FULL, ANALYZE) _scope.jwt_issuer",
        "VACUUM (FULL on) pg_catalog.pg_am, scope.audit_log",
        // Without a name they take all.
        "VACUUM FULL",
        "REINDEX SCHEMA scope",
        "REINDEX SCHEMA _scope",
        "REINDEX DATABASE sealed_vacuum",
        "REINDEX SYSTEM sealed_vacuum",
        "REINDEX SCHEMA pg_catalog",
    ] {
        s.refused(sql, "42501");
    }
    // What the databases share PostgreSQL leaves out.
    s.run("VACUUM FULL pg_catalog.pg_shseclabel");
}

/// It waits behind whoever reads the catalogue, and each login and end behind it.
#[test]
fn attack_vacuum_full_of_a_shared_catalogue_by_who_maintains() {
    let f = Fixture::new("sealed_maintain");
    if f.server.version() < 170_000 {
        return skip("pg_maintain came with PostgreSQL 17");
    }
    let maintains = f.role("maintains", "LOGIN IN ROLE pg_maintain");
    let mut s = f.login(&maintains);
    for catalogue in [
        "pg_shseclabel",
        "pg_authid",
        "pg_auth_members",
        "pg_db_role_setting",
        "pg_database",
    ] {
        s.refused(&format!("VACUUM FULL pg_catalog.{catalogue}"), "42501");
    }
    s.refused("REINDEX SCHEMA pg_catalog", "42501");
    s.run("VACUUM FULL pg_catalog.pg_proc");
    s.run("ANALYZE orders");
}

/// pg_read_all_data reads TOAST tables and statistics, past row security.
#[test]
fn secrets_of_issuers_cannot_be_read_by_those_who_read_all_data() {
    let f = Fixture::new("sealed_secrets");
    let mut admin = f.admin();
    let long = |byte: &str| {
        format!(
            "{{\"keys\":[{{\"kty\":\"oct\",\"kid\":\"{}\",\"k\":\"{}\"}}]}}",
            "i".repeat(10),
            byte.repeat(5000)
        )
    };
    for (name, keys) in [
        ("a", long("AbCd0")[..].to_owned()),
        ("b", format!("{SECRET}-b")),
        ("c", format!("{SECRET}-c")),
    ] {
        let keys = if keys.len() > 7_000 {
            keys.replace(&"AbCd0".repeat(5000), &rough(4_400))
        } else {
            keys
        };
        admin.run(&format!(
            "SELECT scope.add_jwt_issuer('{name}', 'https://{name}.example.org', {})",
            literal(&keys)
        ));
    }
    admin.run("ANALYZE _scope.jwt_issuer_secret; ANALYZE");
    let reader = f.role("reader", "LOGIN IN ROLE pg_read_all_data");
    let mut session = f.login(&reader);
    session.assert_that("NOT EXISTS (SELECT FROM _scope.jwt_issuer_secret) AND (SELECT bool_and(keys IS NULL) FROM _scope.jwt_issuer)");
    let toast = admin.text(
        "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '_scope.jwt_issuer_secret'::regclass",
    );
    assert_eq!(session.text(&format!("SELECT count(*) FROM {toast}")), "0");
    assert_eq!(session.text("SELECT count(*) FROM pg_statistic WHERE starelid = '_scope.jwt_issuer_secret'::regclass AND staattnum = 2"), "0");
    // What would have to leave the row is refused.
    let keys = format!(
        "{{\"keys\":[{{\"kty\":\"oct\",\"k\":\"{}\"}}]}}",
        rough(9_000)
    );
    let refused = admin.refused(
        &format!("SELECT scope.set_jwt_keys('a', {})", literal(&keys)),
        "22023",
    );
    assert!(refused.message.contains("too long"), "{refused}");
}

/// Base64 that doesn't compress.
fn rough(length: usize) -> String {
    let mut state = 7_u64;
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                    [(state >> 58) as usize],
            )
        })
        .collect()
}

/// The extension's creator is a superuser, then no longer.
#[test]
fn what_is_kept_is_not_the_creators_once_he_has_fallen() {
    let f = Fixture::new("sealed_creator");
    let mut admin = f.admin();
    let creator = f.role("creator", "LOGIN SUPERUSER");
    admin.run("DROP EXTENSION scope_roles");
    f.login(&creator).run(&format!(
        "CREATE EXTENSION scope_roles; SELECT scope.add_jwt_issuer('idp', 'https://idp.example.org', '{SECRET}')"
    ));
    admin.run(&format!("ALTER ROLE {creator} NOSUPERUSER"));
    let mut session = f.login(&creator);
    for sql in [
        "SELECT * FROM _scope.jwt_issuer",
        "UPDATE _scope.jwt_issuer SET keys = 'x'",
        "ALTER TABLE _scope.jwt_issuer DISABLE ROW LEVEL SECURITY",
        "CREATE OR REPLACE VIEW scope.roles AS SELECT 1",
    ] {
        session.denied(sql, "42501");
    }
    admin.run("SELECT scope.set_jwt_keys('idp', 'another-another-another-another-another'); SELECT * FROM scope.credentials");
}

/// Each way in which a row of the log can fail, and each thing that must not wait for it.
#[test]
fn no_failure_of_the_record_stops_a_revocation() {
    let f = Fixture::new("sealed_record");
    let mut admin = f.admin();
    let raise =
        "LANGUAGE plpgsql AS $f$ BEGIN RAISE disk_full USING MESSAGE = 'no space left'; END $f$";
    let holder = f.role("holder", "LOGIN SUPERUSER");
    let mut holder = f.login(&holder);
    for (name, breaks, fixes) in [
        ("trigger", format!("CREATE FUNCTION full_() RETURNS trigger {raise}; CREATE TRIGGER t BEFORE INSERT ON scope.audit_log FOR EACH ROW EXECUTE FUNCTION full_()"),
            "DROP TRIGGER t ON scope.audit_log; DROP FUNCTION full_()"),
        ("deferred", format!("CREATE FUNCTION full_() RETURNS trigger {raise}; CREATE CONSTRAINT TRIGGER t AFTER INSERT ON scope.audit_log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION full_()"),
            "DROP TRIGGER t ON scope.audit_log; DROP FUNCTION full_()"),
        ("check", "ALTER TABLE scope.audit_log ADD CONSTRAINT never CHECK (false) NOT VALID".to_owned(), "ALTER TABLE scope.audit_log DROP CONSTRAINT never"),
        ("unique", "DELETE FROM scope.audit_log; CREATE UNIQUE INDEX only_one ON scope.audit_log ((1))".to_owned(), "DROP INDEX scope.only_one"),
        ("slow", "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON scope.audit_log FOR EACH ROW EXECUTE FUNCTION slow(); SET statement_timeout = '1s'".to_owned(),
            "SET statement_timeout = 0; DROP TRIGGER t ON scope.audit_log; DROP FUNCTION slow()"),
        ("locked", String::new(), ""),
        ("renamed", "ALTER TABLE scope.audit_log RENAME TO audit_log_old".to_owned(), "ALTER TABLE scope.audit_log_old RENAME TO audit_log"),
    ] {
        // What is there before.
        let (a, b, temporary) = (format!("{}_a_{name}", f.name), format!("{}_b_{name}", f.name), f.role(&format!("t_{name}"), "LOGIN"));
        admin.run(&format!(
            "SELECT scope.create_readonly_role('orders', '{a}');
             SELECT scope.create_scope('{b}', tables => '{{orders}}');
             SELECT scope.grant_temporary('{b}', '{temporary}', '1 hour');
             SELECT scope.add_jwt_issuer('i{name}', 'https://{name}.example.org', '{SECRET}')"
        ));
        match name {
            "locked" => holder.run("BEGIN; LOCK TABLE scope.audit_log IN EXCLUSIVE MODE"),
            "unique" => admin.run(&format!("{breaks}; SELECT scope.revoke_token('first', now() + '1 hour')")),
            _ => admin.run(&breaks),
        }
        for (function, sql) in [
            ("revoke_token", format!("SELECT scope.revoke_token('{name}', now() + '1 hour')")),
            ("revoke_subject", format!("SELECT scope.revoke_subject('{name}')")),
            ("set_jwt_keys", format!("SELECT scope.set_jwt_keys('i{name}', '{SECRET}{SECRET}')")),
            ("drop_jwt_issuer", format!("SELECT scope.drop_jwt_issuer('i{name}')")),
            ("revoke_temporary", format!("SELECT scope.revoke_temporary('{b}', '{temporary}')")),
            ("revoke_role", format!("SELECT scope.revoke_role('{a}', 'leaked')")),
            ("drop_scope", format!("SELECT scope.drop_scope('{b}', force => true)")),
        ] {
            if name == "slow" && function == "drop_scope" {
                continue;
            }
            admin.run(&sql);
            let what = find(f.server, &json!({ "event": "unrecorded", "function": function, "database": f.name }));
            assert!(!what.is_empty(), "{name}: {function}: not told");
        }
        admin.assert_that(&format!("NOT EXISTS (SELECT FROM _scope.jwt_issuer WHERE name = 'i{name}')"));
        admin.assert_that(&format!("EXISTS (SELECT FROM _scope.jwt_revoked_subject WHERE sub = '{name}')"));
        one(f.server, json!({ "event": "revoke", "outcome": "ok", "object": a }));
        // What gives something out is not done unrecorded.
        if name == "check" {
            admin.denied("SELECT scope.create_readonly_role('orders')", "23514");
        }
        match name {
            "locked" => holder.run("ROLLBACK"),
            _ => admin.run(fixes),
        }
    }
}
