//! ALTER EXTENSION scope_roles UPDATE leaves what CREATE EXTENSION makes.
//!
//! What a release installs is kept in pg_test/released, as scope_roles--VERSION.sql (`make freeze` puts it there), and never changes
//! again. From then on that version's objects may change only together with the version in Cargo.toml and META.json and a script
//! sql/scope_roles--VERSION--NEXT.sql; and no function may leave the library that a released version has in SQL, or a restored dump
//! and an old installation would miss it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::*;

/// A line for each thing that the extension consists of.
const CATALOGUE: &str = r"
    WITH member AS (
        SELECT d.classid, d.objid FROM pg_depend d
        JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
        WHERE d.deptype = 'e' AND e.extname = 'scope_roles'
    ), known AS (
        SELECT m.*, o.type || ' ' || o.identity AS name, p.oid AS proc, c.oid AS class, c.relkind,
               coalesce(p.proacl, c.relacl, n.nspacl, t.typacl) AS acl, coalesce(p.proowner, c.relowner, n.nspowner, t.typowner) AS owner
        FROM member m
        CROSS JOIN LATERAL pg_identify_object(m.classid, m.objid, 0) o
        LEFT JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
        LEFT JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
        LEFT JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
        LEFT JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
    )
    SELECT name || ' is an object' FROM known
    UNION ALL SELECT name || ' has owner ' || coalesce(owner::regrole::text, '?') FROM known
    UNION ALL SELECT name || ' grants ' || a::text FROM known, unnest(acl) a
    UNION ALL SELECT name || ' grants at first ' || a::text
        FROM known k JOIN pg_init_privs i ON (i.classoid, i.objoid) = (k.classid, k.objid), unnest(i.initprivs) a
    UNION ALL SELECT name || coalesce(' column ' || a.attname, '') || ' comment ' || s.description
        FROM known k JOIN pg_description s ON (s.classoid, s.objoid) = (k.classid, k.objid)
        LEFT JOIN pg_attribute a ON a.attrelid = k.class AND a.attnum = s.objsubid AND s.objsubid > 0
    UNION ALL SELECT name || ' function ' || pg_get_functiondef(proc) FROM known WHERE proc IS NOT NULL
    UNION ALL SELECT name || ' view ' || pg_get_viewdef(class) FROM known WHERE relkind = 'v'
    UNION ALL SELECT name || ' relation ' || (to_jsonb(c) - '{oid,reltype,relfilenode,relnamespace,relowner,relacl,relpages,reltuples,
                     relnatts,relallvisible,relallfrozen,relhasindex,relfrozenxid,relminmxid,reltoastrelid}'::text[])::text
        FROM known k JOIN pg_class c ON c.oid = k.class
    UNION ALL SELECT format('%s column %s %s %s %s %s %s', name, row_number() OVER (PARTITION BY k.class ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                            pg_get_expr(d.adbin, d.adrelid), a.attacl)
        FROM known k JOIN pg_attribute a ON a.attrelid = k.class AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    UNION ALL SELECT format('%s constraint %s %s', name, n.conname, pg_get_constraintdef(n.oid))
        FROM known k JOIN pg_constraint n ON n.conrelid = k.class
    UNION ALL SELECT name || ' index ' || pg_get_indexdef(i.indexrelid) FROM known k JOIN pg_index i ON i.indrelid = k.class
    UNION ALL SELECT format('%s trigger %s %s', name, t.tgenabled, pg_get_triggerdef(t.oid))
        FROM known k JOIN pg_trigger t ON t.tgrelid = k.class AND NOT t.tgisinternal
    UNION ALL SELECT format('%s policy %s', name, to_jsonb(p) - '{oid,polrelid}'::text[])
        FROM known k JOIN pg_policy p ON p.polrelid = k.class
    UNION ALL SELECT format('%s is dumped where %s', t.c::regclass, t.w)
        FROM pg_extension e, unnest(e.extconfig, e.extcondition) t(c, w) WHERE e.extname = 'scope_roles'
    UNION ALL SELECT format('the extension: relocatable %s, in %s', extrelocatable, extnamespace::regnamespace)
        FROM pg_extension WHERE extname = 'scope_roles'";

/// The kinds of objects that the catalogue above describes whole.
const DESCRIBED: &str =
    "'pg_proc'::regclass, 'pg_class'::regclass, 'pg_namespace'::regclass, 'pg_type'::regclass";

fn catalogue(admin: &mut Session) -> BTreeSet<String> {
    let beyond = admin.column(&format!(
        "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
         WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'scope_roles')
           AND classid NOT IN ({DESCRIBED})"
    ));
    assert!(beyond.is_empty(), "describe these too: {beyond:?}");
    let lines: BTreeSet<String> = admin.column(CATALOGUE).into_iter().collect();
    assert!(lines.len() > 100, "{lines:#?}");
    lines
}

fn database(name: &str, create: &str) -> Session {
    let mut admin = shared().admin("postgres");
    admin.run(&format!("CREATE DATABASE {name}"));
    let mut admin = shared().admin(name);
    admin.run(create);
    admin
}

#[track_caller]
fn assert_same(updated: &BTreeSet<String>, fresh: &BTreeSet<String>, what: &str) {
    let lines = |of: &BTreeSet<String>, without: &BTreeSet<String>, sign: char| {
        let differing = of.difference(without);
        differing
            .map(|line| format!("{sign} {line}\n"))
            .collect::<String>()
    };
    assert!(
        updated == fresh,
        "{what}, - updated, + fresh:\n{}{}",
        lines(updated, fresh, '-'),
        lines(fresh, updated, '+')
    );
}

/// A script among those of the server's extensions, as long as a test needs it.
struct Script(PathBuf);

impl Script {
    fn new(versions: &str, sql: &str) -> Script {
        let path = scripts().join(format!("scope_roles--{versions}.sql"));
        std::fs::write(&path, sql).expect("a script");
        Script(path)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn scripts() -> PathBuf {
    let pg_config = std::env::var_os("SCOPE_ROLES_PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    Path::new(&output(Command::new(pg_config).arg("--sharedir"))).join("extension")
}

const NOW: &str = env!("CARGO_PKG_VERSION");

fn installed_by(version: &str) -> String {
    let path = scripts().join(format!("scope_roles--{version}.sql"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every version that was released, out of pg_test/released.
fn released() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pg_test/released");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let version = name
            .strip_prefix("scope_roles--")
            .and_then(|rest| rest.strip_suffix(".sql"));
        if let Some(version) = version {
            found.push((
                version.to_owned(),
                std::fs::read_to_string(&path).expect("a script"),
            ));
        }
    }
    found
}

#[test]
fn every_release_can_be_updated_to_what_a_fresh_install_is() {
    let fresh = catalogue(&mut database(
        "update_fresh",
        "CREATE EXTENSION scope_roles",
    ));
    for (version, sql) in released() {
        let name = format!("update_{}", version.replace(['.', '-'], "_"));
        // Under another name, because this one is the version that is installed now.
        let known_as = if version == NOW {
            "0.0.1-same"
        } else {
            &version
        };
        let _script = Script::new(known_as, &sql);
        let create = format!("CREATE EXTENSION scope_roles VERSION '{known_as}'");
        let mut admin = database(&name, &create);
        if version != NOW {
            admin.run("ALTER EXTENSION scope_roles UPDATE");
            admin.assert_that(&format!(
                "(SELECT extversion FROM pg_extension WHERE extname = 'scope_roles') = '{NOW}'"
            ));
        }
        let what = format!("{version}: a release does not change, its successor has a script");
        assert_same(&catalogue(&mut admin), &fresh, &what);
    }
}

/// An update as a later version will bring it, and what the tables hold stays.
#[test]
fn an_update_keeps_the_data_and_leaves_what_a_fresh_install_has() {
    let older = format!(
        "{}\nCREATE FUNCTION scope.former() RETURNS int LANGUAGE sql AS 'SELECT 1';
         DROP VIEW scope.jwt_issuers;
         ALTER TABLE _scope.jwt_revoked_token ADD COLUMN former int;",
        installed_by(NOW)
    );
    let view = installed_by(NOW);
    let at = view
        .find("CREATE VIEW scope.jwt_issuers")
        .expect("the view");
    let end = view[at..]
        .find("\nCREATE ")
        .map_or(view.len(), |end| at + end);
    let comments: String = view
        .lines()
        .filter(|line| line.starts_with("COMMENT ON COLUMN scope.jwt_issuers."))
        .collect();
    let update = format!(
        "DROP FUNCTION scope.former();
         ALTER TABLE _scope.jwt_revoked_token DROP COLUMN former;
         {}
         GRANT SELECT ON scope.jwt_issuers TO pg_monitor;
         {comments}",
        &view[at..end]
    );
    let _scripts = (
        Script::new("0.0.1-former", &older),
        Script::new(&format!("0.0.1-former--{NOW}"), &update),
    );
    let mut admin = database(
        "update_data",
        "CREATE EXTENSION scope_roles VERSION '0.0.1-former';
         SELECT scope.revoke_token('kept', 'infinity')",
    );
    let fresh = catalogue(&mut database(
        "update_other",
        "CREATE EXTENSION scope_roles",
    ));
    assert_ne!(catalogue(&mut admin), fresh);
    // Between the packages and this statement the new library runs with the old objects.
    admin.run("CREATE TABLE orders (id int)");
    let credential = admin.issue("'orders', 'update_data_early', '1 hour'");
    admin.run("ALTER EXTENSION scope_roles UPDATE");
    assert_same(&catalogue(&mut admin), &fresh, "updated");
    admin.assert_that("(SELECT jti FROM _scope.jwt_revoked_token) = 'kept'");
    credential.connect().rows("SELECT * FROM orders");
}

/// The comparison sees what a script may forget.
#[test]
fn what_an_update_forgets_is_found() {
    let mut admin = database("update_forgets", "CREATE EXTENSION scope_roles");
    let fresh = catalogue(&mut admin);
    for change in [
        "COMMENT ON FUNCTION scope.jwt_subject() IS 'another'",
        "COMMENT ON COLUMN _scope.jwt_issuer.name IS 'another'",
        "GRANT EXECUTE ON FUNCTION scope.expire_roles() TO PUBLIC",
        "REVOKE SELECT ON scope.roles FROM PUBLIC",
        "GRANT SELECT (name) ON _scope.jwt_issuer TO PUBLIC",
        "ALTER FUNCTION scope.jwt_subject() COST 7",
        "ALTER FUNCTION scope.jwt_subject() SECURITY DEFINER",
        "ALTER FUNCTION scope.jwt_subject() SET search_path = public",
        "ALTER TABLE _scope.jwt_issuer_secret DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE _scope.jwt_issuer DISABLE TRIGGER only_superusers",
        "ALTER TABLE _scope.jwt_issuer ENABLE TRIGGER changed",
        "ALTER TABLE _scope.jwt_issuer ADD COLUMN more text",
        "ALTER TABLE _scope.jwt_issuer ALTER COLUMN require_exp DROP DEFAULT",
        "ALTER TABLE _scope.jwt_issuer DROP CONSTRAINT jwt_issuer_issuer_key",
        "ALTER VIEW scope.roles RESET (security_barrier)",
        "ALTER EXTENSION scope_roles DROP FUNCTION scope.jwt_subject()",
        "CREATE FUNCTION scope.more() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION scope_roles ADD FUNCTION scope.more()",
        "UPDATE pg_extension SET extconfig = NULL, extcondition = NULL WHERE extname = 'scope_roles'",
        "DELETE FROM pg_init_privs WHERE objoid = 'scope.roles'::regclass",
    ] {
        admin.run("BEGIN");
        admin.run(change);
        assert_ne!(catalogue(&mut admin), fresh, "not seen: {change}");
        admin.run("ROLLBACK");
    }
    assert_eq!(catalogue(&mut admin), fresh);
}

/// The scripts lead from each release to this version, and PGXN's file says the same version as Cargo's.
#[test]
fn the_versions_agree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let meta = std::fs::read_to_string(root.join("META.json")).expect("META.json");
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("JSON");
    assert_eq!(meta["version"], NOW);
    assert_eq!(meta["provides"]["scope_roles"]["version"], NOW);
    let mut admin = database("update_versions", "CREATE EXTENSION scope_roles");
    admin.assert_that(&format!(
        "(SELECT extversion FROM pg_extension WHERE extname = 'scope_roles') = '{NOW}'"
    ));
    for (version, _) in released() {
        if version != NOW {
            admin.assert_that(&format!(
                "EXISTS (SELECT FROM pg_extension_update_paths('scope_roles')
                         WHERE source = '{version}' AND target = '{NOW}' AND path IS NOT NULL)"
            ));
        }
    }
}
