//! One server, several databases: roles are shared, and each database declares its own part of a scope.

use std::fs;

use crate::harness::*;
use crate::scope::definitions::together;

/// Two databases of the fixture's server, with the tables of a migrating login that is no superuser.
struct Two<'a> {
    f: Fixture<'a>,
    g: Fixture<'a>,
    owner: String,
}

impl<'a> Two<'a> {
    fn on(server: &'a Server, name: &str) -> Self {
        let f = Fixture::on(server, name);
        let g = Fixture::on(server, &format!("{name}_2"));
        let owner = f.role("owner", "LOGIN");
        for each in [&f, &g] {
            prepare(each, &owner);
        }
        Two { f, g, owner }
    }

    fn new(name: &str) -> Two<'static> {
        Two::on(shared(), name)
    }

    fn scope(&self) -> String {
        format!("{}_reader", self.f.name)
    }

    /// A plain file of SQL, as a migration tool would run it.
    fn migrate(&self, database: &str) {
        let file = self
            .f
            .server
            .socket()
            .with_file_name(format!("{database}.sql"));
        let scope = self.scope();
        fs::write(
            &file,
            format!(
                "CREATE SCHEMA IF NOT EXISTS app;
                 CREATE TABLE IF NOT EXISTS app.orders (id int);
                 CREATE TABLE IF NOT EXISTS app.notes (id int);
                 SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{app.orders}}', if_not_exists => true);
                 SELECT scope.create_scope('{scope}_all', schemas => '{{app}}', future_tables => true, if_not_exists => true);
                 SELECT scope.alter_scope('{scope}_all', 'add', '{{INSERT}}', '{{app.notes}}');
                 SELECT role_name FROM scope.create_readonly_role('app.orders');
                 SELECT statement FROM scope.apply('{{\"version\": 1, \"scopes\": [{{\"name\": \"{scope}_spec\",
                     \"grants\": [{{\"privileges\": [\"SELECT\"], \"tables\": [\"app.notes\"]}}]}}]}}');"
            ),
        )
        .expect("the migration");
        output(
            self.f
                .server
                .client("psql")
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", &self.owner, "-f"])
                .arg(&file)
                .arg(database),
        );
    }
}

/// Gives a login what a migration needs: the database, and the functions.
fn prepare(f: &Fixture<'_>, owner: &str) {
    f.admin().run(&format!(
        "ALTER DATABASE {} OWNER TO {owner}; ALTER TABLE orders OWNER TO {owner};
         GRANT CREATE ON SCHEMA public TO {owner};
         GRANT EXECUTE ON FUNCTION scope.create_scope, scope.alter_scope, scope.drop_scope, scope.create_readonly_role,
             scope.create_credential, scope.grant_temporary, scope.restrict_function, scope.plan(text), scope.apply(text, text), scope.export_spec TO {owner}",
        f.name
    ));
}

/// What a scope declares here.
fn declared(session: &mut Session, scope: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT class || ' ' || object || ' ' || array_to_string(privileges, ',') FROM scope.scope_declarations
          WHERE scope = '{scope}' AND class = 'table' ORDER BY 1"
    ))
}

fn reads(server: &Server, database: &str, role: &str, table: &str) -> bool {
    server.admin(database).holds(&format!(
        "has_table_privilege('{role}', '{table}', 'SELECT')"
    ))
}

#[test]
fn a_migration_runs_in_two_databases_again_and_again_and_after_the_scope_was_altered_in_one() {
    let two = Two::new("several_migrate");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    for database in [&f.name, &g.name, &f.name, &g.name] {
        two.migrate(database);
    }
    // A later migration, which only the first has seen yet.
    f.login(&two.owner).run(&format!(
        "SELECT scope.alter_scope('{scope}', 'add', '{{SELECT}}', '{{app.notes}}')"
    ));
    for database in [&g.name, &f.name] {
        two.migrate(database);
    }
    assert_eq!(
        declared(&mut f.admin(), &scope),
        ["table app.notes SELECT", "table app.orders SELECT"]
    );
    assert_eq!(
        declared(&mut g.admin(), &scope),
        ["table app.orders SELECT"]
    );
    assert!(reads(f.server, &f.name, &scope, "app.notes"));
    assert!(!reads(f.server, &g.name, &scope, "app.notes"));
    for each in [f, g] {
        assert!(reads(
            f.server,
            &each.name,
            &format!("{scope}_spec"),
            "app.notes"
        ));
        assert!(reads(
            f.server,
            &each.name,
            &format!("{scope}_all"),
            "app.orders"
        ));
        let mut admin = each.admin();
        assert_eq!(
            admin.text(&format!(
                "SELECT databases FROM scope.scopes WHERE scope = '{scope}'"
            )),
            format!("{{{},{}}}", f.name, g.name)
        );
        // Nothing of it is a finding.
        admin.assert_that(&format!(
            "NOT EXISTS (SELECT FROM scope.review() WHERE code IN ('scope_widened', 'scope_narrowed', 'scope_undeclared')
                          AND role_name::text LIKE '{}%')",
            f.name
        ));
    }
    // Another request under the name is still refused, with the difference.
    let refusal = f.login(&two.owner).refused(
        &format!("SELECT scope.create_scope('{scope}', '{{DELETE}}', '{{app.orders}}', if_not_exists => true)"),
        "42710",
    );
    assert!(refusal.detail.contains("DELETE"), "{refusal}");
    // Nor is what somebody has granted by hand taken for a later migration's.
    g.admin()
        .run(&format!("GRANT DELETE ON app.orders TO {scope}"));
    g.login(&two.owner).refused(
        &format!("SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{app.orders}}', if_not_exists => true)"),
        "42710",
    );
}

#[test]
fn a_spec_is_empty_where_it_was_applied_and_joins_where_not() {
    let two = Two::new("several_spec");
    let scope = two.scope();
    for each in [&two.f, &two.g] {
        let mut s = each.login(&two.owner);
        let spec = format!(
            "'{{\"version\": 1, \"mode\": \"authoritative\", \"scopes\": [{{\"name\": \"{scope}\",
               \"grants\": [{{\"privileges\": [\"SELECT\"], \"tables\": [\"public.orders\"]}}]}}]}}'"
        );
        each.admin().run(&format!(
            "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
            each.name
        ));
        assert!(
            !s.rows(&format!("SELECT * FROM scope.plan({spec})"))
                .is_empty()
        );
        s.run(&format!("SELECT * FROM scope.apply({spec})"));
        assert!(
            s.rows(&format!("SELECT * FROM scope.plan({spec})"))
                .is_empty()
        );
        let exported = s.text("SELECT scope.export_spec()");
        assert!(exported.contains(&scope), "{exported}");
        each.admin().assert_that(&format!(
            "has_database_privilege('{scope}', '{}', 'CONNECT')",
            each.name
        ));
    }
    // Absent in one is there in the other.
    let absent = format!(
        "'{{\"version\": 1, \"mode\": \"authoritative\", \"scopes\": [{{\"name\": \"{scope}\", \"absent\": true}}]}}'"
    );
    let mut s = two.g.login(&two.owner);
    s.run(&format!("SELECT * FROM scope.apply({absent})"));
    assert_eq!(
        s.rows(&format!("SELECT * FROM scope.plan({absent})")),
        Vec::<Vec<Option<String>>>::new()
    );
    assert!(reads(two.f.server, &two.f.name, &scope, "orders"));
    assert!(!reads(two.f.server, &two.g.name, &scope, "orders"));
}

#[test]
fn renaming_a_database_orphans_nothing() {
    let two = Two::new("several_rename");
    let (server, scope) = (two.f.server, two.scope());
    two.migrate(&two.f.name);
    let mut s = two.f.login(&two.owner);
    let credential = s.handed(&format!("scope.create_credential('{{{scope}}}')"));
    drop(s);
    let renamed = format!("{}_renamed", two.f.name);
    server.admin("postgres").run(&format!(
        "ALTER DATABASE {} RENAME TO {renamed}",
        two.f.name
    ));
    two.migrate(&renamed);
    let mut s = server.login(&two.owner, &renamed);
    s.run(&format!(
        "SELECT scope.alter_scope('{scope}', 'add', '{{SELECT}}', '{{app.notes}}')"
    ));
    s.handed(&format!("scope.create_credential('{{{scope}}}')"));
    let mut admin = server.admin(&renamed);
    admin.assert_that(&format!(
        "(SELECT bool_and(database = '{renamed}') FROM scope.roles WHERE role::text LIKE '{}%')",
        two.f.name
    ));
    admin.assert_that(&format!(
        "(SELECT databases = '{{{renamed}}}' AND privileges <> '{{}}' FROM scope.scopes WHERE scope = '{scope}')"
    ));
    // Another database under the old name is another database.
    server
        .admin("postgres")
        .run(&format!("CREATE DATABASE {}", two.f.name));
    two.f.admin().run("CREATE EXTENSION scope_roles");
    let mut c = server
        .try_password(&credential.role, &credential.password, &renamed)
        .expect("its database has another name, no more");
    c.rows("SELECT * FROM app.orders");
    s.run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    assert!(!admin.role_exists(&scope));
}

#[test]
fn a_database_is_dropped_and_made_anew_and_the_migration_runs() {
    let two = Two::new("several_anew");
    let (server, scope) = (two.f.server, format!("{}_first", two.scope()));
    let first = format!("SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}')");
    two.f.login(&two.owner).run(&first);
    let credential = two
        .f
        .login(&two.owner)
        .handed(&format!("scope.create_credential('{{{scope}}}')"));
    for _ in 0..2 {
        server
            .admin("postgres")
            .run(&format!("DROP DATABASE {} WITH (FORCE)", two.f.name));
        let again = Fixture::on(server, &two.f.name);
        prepare(&again, &two.owner);
        // Somebody else who asks for it gets nothing.
        let other = again.issuer(&format!(
            "other{}",
            again
                .admin()
                .text("SELECT oid FROM pg_database WHERE datname = current_database()")
        ));
        again.admin().run(&format!(
            "GRANT EXECUTE ON FUNCTION scope.create_scope TO {other}; CREATE TABLE others (id int); ALTER TABLE others OWNER TO {other}"
        ));
        again.login(&other).denied(
            &format!("SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{others}}')"),
            "42710",
        );
        again.login(&two.owner).run(&first);
        assert!(reads(server, &again.name, &scope, "orders"));
        let mut s = server
            .try_password(&credential.role, &credential.password, &again.name)
            .expect("issued for the database of this name");
        s.rows("SELECT * FROM orders");
        two.migrate(&again.name);
        // Where it is now, a call that says nothing about an existing one is refused.
        again.login(&two.owner).refused(&first, "42710");
    }
}

#[test]
fn dropping_a_scope_in_one_database_leaves_the_part_of_the_other() {
    let two = Two::new("several_drop");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    for each in [f, g] {
        each.login(&two.owner).run(&format!(
            "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}', if_not_exists => true)"
        ));
    }
    let here = f
        .login(&two.owner)
        .handed(&format!("scope.create_credential('{{{scope}}}')"));
    let there = g
        .login(&two.owner)
        .handed(&format!("scope.create_credential('{{{scope}}}')"));
    let mut s = f.login(&two.owner);
    // Its own logins are in the way; those of the other database are not asked.
    let refusal = s.refused(&format!("SELECT scope.drop_scope('{scope}')"), "2BP01");
    assert!(refusal.detail.contains(&here.role), "{refusal}");
    assert!(!refusal.detail.contains(&there.role), "{refusal}");
    s.run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    assert!(!reads(f.server, &f.name, &scope, "orders"));
    assert!(reads(f.server, &g.name, &scope, "orders"));
    f.server
        .try_password(&there.role, &there.password, &g.name)
        .expect("login")
        .rows("SELECT * FROM orders");
    f.admin().assert_that(&format!(
        "NOT pg_has_role('{}', '{scope}', 'MEMBER') AND NOT EXISTS (SELECT FROM _scope.scope_declaration WHERE scope = '{scope}')",
        here.role
    ));
    s.refused(&format!("SELECT scope.drop_scope('{scope}')"), "55000");
    s.run(&format!(
        "SELECT scope.drop_scope('{scope}', if_exists => true)"
    ));
    s.refused(
        &format!("SELECT scope.create_credential('{{{scope}}}')"),
        "22023",
    );
    // It may come back.
    s.run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}', if_not_exists => true)"
    ));
    s.run(&format!("SELECT scope.drop_scope('{scope}')"));
    // The last takes the role with it.
    g.login(&two.owner).run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    assert!(!g.admin().role_exists(&scope));
}

/// A superuser may have declared more there than whoever made the scope can hand out.
#[test]
fn a_login_issued_in_one_database_does_not_reach_the_part_in_another() {
    let two = Two::new("several_reach");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    let create = |table: &str| {
        format!(
            "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{{table}}}', if_not_exists => true)"
        )
    };
    f.login(&two.owner).run(&create("orders"));
    g.admin().run(&create("vault"));
    let mut s = f.login(&two.owner);
    let credential = s.handed(&format!("scope.create_credential('{{{scope}}}')"));
    credential.connect().rows("SELECT * FROM orders");
    let refusal = f
        .server
        .try_password(&credential.role, &credential.password, &g.name)
        .err()
        .expect("the vault is not for it");
    assert_eq!(refusal.code, "28000", "{refusal}");
    // Where its scope has nothing it is as welcome as anybody.
    f.server
        .try_password(&credential.role, &credential.password, "postgres")
        .expect("login");
    f.admin().assert_that(&format!(
        "(SELECT last_refusal_reason = 'database' FROM scope.credentials WHERE role = '{}')",
        credential.role
    ));
    // Nor can it be rotated into that database, nor the scope be handed to somebody who can go there.
    g.login(&two.owner).refused(
        &format!("SELECT scope.create_credential('{{{scope}}}')"),
        "42501",
    );
    let person = f.role("person", "LOGIN");
    s.refused(
        &format!("SELECT scope.grant_temporary('{scope}', '{person}', '1 hour')"),
        "42501",
    );
    f.admin().run(&format!(
        "SELECT scope.grant_temporary('{scope}', '{person}', '1 hour')"
    ));
}

#[test]
fn a_scope_reads_in_one_database_and_writes_in_the_other() {
    let two = Two::new("several_access");
    let scope = two.scope();
    for (each, words) in [(&two.f, "SELECT"), (&two.g, "SELECT,INSERT")] {
        each.admin().run(&format!(
            "CREATE FUNCTION write() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO orders VALUES (9, NULL)';
             SELECT scope.create_scope('{scope}', '{{{words}}}', '{{orders}}', if_not_exists => true)"
        ));
    }
    for (each, may) in [(&two.f, false), (&two.g, true)] {
        let login = each
            .admin()
            .handed(&format!("scope.create_credential('{{{scope}}}')"));
        let mut s = each
            .server
            .try_password(&login.role, &login.password, &each.name)
            .expect("login");
        assert_eq!(s.attempt("SELECT write()").is_ok(), may, "{}", each.name);
    }
}

#[test]
fn two_databases_run_the_migration_at_once() {
    let two = Two::new("several_race");
    for round in 0..3 {
        let ended = together(4, |n| {
            let each = if n % 2 == 0 { &two.f } else { &two.g };
            let mut s = each.login(&two.owner);
            (0..5)
                .map(|number| {
                    s.attempt(&format!(
                        "SELECT scope.create_scope('{}_{round}_{number}', '{{SELECT}}', '{{orders}}', if_not_exists => true)",
                        two.f.name
                    ))
                    .err()
                })
                .collect::<Vec<_>>()
        });
        let failed: Vec<_> = ended.iter().flatten().flatten().collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
    for each in [&two.f, &two.g] {
        each.admin().assert_that(&format!(
            "(SELECT count(*) = 15 AND bool_and(cardinality(databases) = 2) FROM scope.scopes WHERE scope::text ~ '^{}_\\d')",
            two.f.name
        ));
    }
}

/// The owner of another database has the extension, and every right there; the scope is somebody else's.
#[test]
fn the_owner_of_another_database_neither_joins_nor_holds_up_anybodys_scope() {
    let two = Two::new("several_attack");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    f.login(&two.owner).run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}')"
    ));
    let attacker = g.role("attacker", "LOGIN CREATEDB");
    prepare(g, &attacker);
    g.admin().run(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {attacker}; CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1';
         ALTER FUNCTION peek() OWNER TO {attacker}"
    ));
    let mut s = g.login(&attacker);
    let spec = |what: &str| {
        format!(
            "scope.apply('{{\"version\": 1, \"mode\": \"authoritative\", \"scopes\": [{{\"name\": \"{scope}\", {what}}}]}}')"
        )
    };
    for (attack, code) in [
        (
            format!(
                "scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}', if_not_exists => true)"
            ),
            "42501",
        ),
        (
            format!("scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}')"),
            "42710",
        ),
        (
            format!("scope.create_scope('{scope}', if_not_exists => true)"),
            "42501",
        ),
        (
            format!("scope.alter_scope('{scope}', 'add', '{{SELECT}}', '{{orders}}')"),
            "42501",
        ),
        (
            format!("scope.alter_scope('{scope}', 'remove', '{{SELECT}}', '{{orders}}')"),
            "42501",
        ),
        (
            format!("scope.drop_scope('{scope}', force => true)"),
            "42501",
        ),
        (
            format!("scope.restrict_function('peek()', '{{{scope}}}')"),
            "42501",
        ),
        (format!("scope.create_credential('{{{scope}}}')"), "42501"),
        (spec("\"grants\": []"), "42501"),
        (spec("\"absent\": true"), "42501"),
        ("scope.adopt_restored()".to_owned(), "42501"),
    ] {
        s.refused(&format!("SELECT {attack}"), code);
    }
    for attack in [
        format!("INSERT INTO _scope.scope_declaration (scope, scope_oid, class, object, object_oid, part, part_oid, privilege, stance, origin)
                 SELECT '{scope}', 0, 'request', '', 0, '', 0, '', '', ''"),
        format!("SECURITY LABEL FOR scope_roles ON ROLE {scope} IS '{{}}'"),
    ] {
        s.denied(&attack, "42501");
    }
    // What is granted to it is his own, and no part: the end doesn't wait for him.
    s.run(&format!("GRANT SELECT ON orders TO {scope}"));
    f.admin().assert_that(&format!(
        "(SELECT databases = '{{{}}}' FROM scope.scopes WHERE scope = '{scope}')",
        f.name
    ));
    f.login(&two.owner)
        .run(&format!("SELECT scope.drop_scope('{scope}')"));
    wait_until("the scope is gone", 30, || !f.admin().role_exists(&scope));
    // Nor does a database of his by the name of one that is gone.
    let lost = format!("{}_lost", f.name);
    let old = Fixture::on(f.server, &lost);
    prepare(&old, &two.owner);
    old.login(&two.owner).run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}')"
    ));
    let mut admin = f.server.admin("postgres");
    admin.run(&format!("DROP DATABASE {lost} WITH (FORCE)"));
    s.run(&format!("CREATE DATABASE {lost}"));
    f.server.admin(&lost).run(&format!(
        "CREATE EXTENSION scope_roles; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {attacker}"
    ));
    let mut s = f.server.login(&attacker, &lost);
    s.run("CREATE TABLE orders (id int)");
    for (if_not_exists, code) in [("true", "42501"), ("false", "42710")] {
        s.refused(
            &format!("SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}', if_not_exists => {if_not_exists})"),
            code,
        );
    }
}

/// Roles by pg_dumpall, a database by pg_dump: with other OIDs for both.
#[test]
fn scopes_of_no_superuser_are_adopted_in_another_cluster() {
    let old = Server::start(Options::default());
    let two = Two::on(&old, "several_restore");
    let scope = two.scope();
    for each in [&two.f, &two.g] {
        two.migrate(&each.name);
    }
    let mut s = two.f.login(&two.owner);
    let credential = s.handed(&format!("scope.create_credential('{{{scope}}}')"));
    let gone = two.f.role("gone", "LOGIN");
    prepare(&two.f, &gone);
    two.f.login(&gone).run(&format!(
        "CREATE TABLE g (id int); SELECT scope.create_scope('{scope}_gone', '{{SELECT}}', '{{g}}')"
    ));
    let person = two.f.role("person", "LOGIN");
    two.f.admin().run(&format!(
        "SELECT scope.create_scope('{scope}_t', '{{SELECT}}', '{{vault}}'); SELECT scope.grant_temporary('{scope}_t', '{person}', '1 hour');
         REASSIGN OWNED BY {gone} TO {owner}; DROP OWNED BY {gone}; DROP ROLE {gone}",
        owner = two.owner
    ));
    let folder = old.socket().with_file_name("");
    let roles = output(old.client("pg_dumpall").arg("--globals-only")).replacen(
        "CREATE ROLE postgres;",
        "",
        1,
    );
    let dumps = [&two.f, &two.g].map(|each| {
        let file = folder.join(format!("{}.dump", each.name));
        output(
            old.client("pg_dump")
                .args(["-Fc", "-f"])
                .arg(&file)
                .arg(&each.name),
        );
        (each.name.clone(), file)
    });

    let new = Server::start(Options::default());
    let mut admin = new.admin("postgres");
    // Every OID is another's there.
    admin.run("CREATE ROLE before LOGIN; CREATE ROLE before_2");
    admin.run("CREATE DATABASE before");
    let script = folder.join("roles.sql");
    fs::write(&script, roles).expect("the roles");
    output(
        new.client("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&script)
            .arg("postgres"),
    );
    for (name, file) in dumps.iter().rev() {
        output(
            new.client("createdb")
                .arg("--owner")
                .arg(&two.owner)
                .arg(name),
        );
        output(
            new.client("pg_restore")
                .args(["--exit-on-error", "-d", name])
                .arg(file),
        );
    }
    let (name, other) = (&dumps[0].0, &dumps[1].0);
    let away = |when: &str| {
        let mut s = new
            .try_password(&credential.role, &credential.password, other)
            .unwrap_or_else(|refusal| panic!("{when}: {refusal}"));
        s.refused("SELECT * FROM app.orders", "28000");
    };
    away("nothing is adopted");
    let mut s = new.login(&two.owner, name);
    let alter =
        format!("SELECT scope.alter_scope('{scope}', 'add', '{{SELECT}}', '{{app.notes}}')");
    let refusal = s.refused(&alter, "42501");
    assert!(refusal.hint.contains("scope.adopt_restored()"), "{refusal}");
    // Somebody who takes the name of one that is gone gets nothing by it.
    let adopted = new
        .admin(name)
        .rows("SELECT role_name, kind, created_by, database FROM scope.adopt_restored()");
    let found = |role: &str| {
        adopted
            .iter()
            .find(|row| row[0].as_deref() == Some(role))
            .unwrap_or_else(|| panic!("{role}: {adopted:?}"))
            .clone()
    };
    assert_eq!(found(&scope)[2].as_deref(), Some(two.owner.as_str()));
    assert_eq!(found(&credential.role)[3].as_deref(), Some(name.as_str()));
    assert_eq!(found(&format!("{scope}_gone"))[2], None);
    away("one is adopted");
    new.admin(other)
        .rows("SELECT * FROM scope.adopt_restored()");
    assert!(
        new.admin(name)
            .rows("SELECT * FROM scope.adopt_restored()")
            .is_empty()
    );
    admin.run(&format!("CREATE ROLE {gone} LOGIN"));
    new.admin(name).run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.alter_scope TO {gone}"
    ));
    new.login(&gone, name).refused(
        &format!("SELECT scope.alter_scope('{scope}_gone', 'add', '{{SELECT}}', '{{orders}}')"),
        "42501",
    );

    s.run(&alter);
    new.admin(name).assert_that(&format!(
        "(SELECT databases = '{{{name},{other}}}' FROM scope.scopes WHERE scope = '{scope}')"
    ));
    new.admin(name).assert_that(&format!(
        "EXISTS (SELECT FROM scope.credentials WHERE kind = 'temporary' AND granted_to = '{person}')"
    ));
    s.handed(&format!("scope.create_credential('{{{scope}}}')"));
    new.try_password(&credential.role, &credential.password, name)
        .expect("login")
        .rows("SELECT * FROM app.orders");
    let refusal = new
        .try_password(&credential.role, &credential.password, other)
        .err()
        .expect("not its database");
    assert_eq!(refusal.code, "28000", "{refusal}");
    // The other database is still one that declares it.
    s.run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    assert!(reads(&new, other, &scope, "app.orders"));
    assert_eq!(
        new.admin(name).rows(
            "SELECT code, role_name, object_name, finding FROM scope.review() WHERE code = 'scope_widened'"
        ),
        Vec::<Vec<Option<String>>>::new()
    );
}

/// Whoever owns a table, or a database, may grant on it to any role.
#[test]
fn attack_what_others_grant_in_their_database_stops_nobody_from_issuing_or_rotating() {
    let two = Two::new("several_gifts");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    f.admin().run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.rotate_password TO {}",
        two.owner
    ));
    two.migrate(&f.name);
    let mut s = f.login(&two.owner);
    let issue = format!("scope.create_credential('{{{scope}}}')");
    let credential = s.handed(&issue);
    let attacker = g.role("attacker", "LOGIN");
    g.admin().run(&format!(
        "ALTER DATABASE {} OWNER TO {attacker}; GRANT ALL ON SCHEMA public TO {attacker}",
        g.name
    ));
    let mut a = g.login(&attacker);
    for role in [&scope, &credential.role] {
        a.run(&format!(
            "CREATE TABLE IF NOT EXISTS gift (id int); GRANT ALL ON gift TO {role}; GRANT ALL ON DATABASE {} TO {role};
             ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {role}",
            g.name
        ));
    }
    s.handed(&issue);
    let second = s.handed(&issue).role;
    s.handed(&format!("scope.rotate_password('{second}', '1 hour')"));
    let rotated = s.handed(&format!("scope.rotate_password('{}')", credential.role));
    rotated.connect().rows("SELECT * FROM app.orders");
    two.migrate(&f.name);
    // Nor from giving another database its part.
    let third = Fixture::on(f.server, "several_gifts_3");
    prepare(&third, &two.owner);
    two.migrate(&third.name);
    // A review tells of it.
    f.admin().assert_that(&format!(
        "EXISTS (SELECT FROM scope.review() WHERE code = 'scope_widened' AND role_name = '{scope}' AND finding LIKE '%{}%')",
        g.name
    ));
    // In that database the login gets nothing by it, and where there is nothing for it goes on.
    f.server
        .try_password(&rotated.role, &rotated.password, &g.name)
        .expect("its scope has no part there")
        .refused("SELECT * FROM gift", "28000");
    f.server
        .try_password(&rotated.role, &rotated.password, "postgres")
        .expect("login")
        .rows("SELECT 1");
    // People would have it all.
    let person = f.role("person", "LOGIN");
    s.refused(
        &format!("SELECT scope.grant_temporary('{scope}', '{person}', '1 hour')"),
        "42501",
    );
}

/// A login is asked about when it logs in; what a database gives it may come later.
#[test]
fn attack_a_session_that_was_there_before_its_scope_got_something_in_that_database() {
    let two = Two::new("several_before");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    f.login(&two.owner).run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}')"
    ));
    let credential = f
        .login(&two.owner)
        .handed(&format!("scope.create_credential('{{{scope}}}')"));
    let away = || {
        g.server
            .try_password(&credential.role, &credential.password, &g.name)
            .expect("nothing there is its scope's")
    };
    let home = &mut credential.connect();
    // By a grant of hand, while it is there.
    let mut s = away();
    s.rows("SELECT 1");
    let mut admin = g.admin();
    for (grant, revoke) in [
        ("SELECT ON orders", "SELECT ON orders"),
        (
            "EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog",
            "EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog",
        ),
        (
            &*format!("CREATE ON DATABASE {}", g.name),
            &*format!("CREATE ON DATABASE {}", g.name),
        ),
    ] {
        for role in [&scope, &credential.role] {
            admin.run(&format!("GRANT {grant} TO {role}"));
            s.refused("SELECT 1", "28000");
            admin.run(&format!("REVOKE {revoke} FROM {role}"));
            s.rows("SELECT 1");
        }
    }
    admin.run(&format!(
        "GRANT CONNECT, TEMPORARY ON DATABASE {} TO {scope}",
        g.name
    ));
    s.rows("SELECT 1");
    admin.run(&format!(
        "REVOKE TEMPORARY ON DATABASE {} FROM {scope}",
        g.name
    ));
    let connect = |word: &str, to: &str| {
        format!(
            "{word} CONNECT ON DATABASE {} {to} {}",
            g.name, credential.role
        )
    };
    admin.run(&connect("GRANT", "TO"));
    s.refused("SELECT 1", "28000");
    admin.run(&connect("REVOKE", "FROM"));
    s.rows("SELECT 1");
    // By a part.
    g.login(&two.owner).run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}', if_not_exists => true)"
    ));
    let refusal = s.refused("SELECT * FROM orders", "28000");
    assert!(refusal.detail.contains("database"), "{refusal}");
    home.rows("SELECT * FROM orders");
    // In a copy of either database.
    for (number, each) in [f, g].into_iter().enumerate() {
        let copy = format!("{}_copy", each.name);
        wait_until("nobody else is in the database", 30, || {
            f.server
                .admin("postgres")
                .attempt(&format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
                    each.name
                ))
                .is_ok()
                && f.server
                    .admin("postgres")
                    .attempt(&format!("CREATE DATABASE {copy} TEMPLATE {}", each.name))
                    .is_ok()
        });
        f.server
            .try_password(&credential.role, &credential.password, &copy)
            .unwrap_or_else(|refusal| panic!("{number}: {refusal}"))
            .refused("SELECT * FROM orders", "28000");
    }
}

#[test]
fn attack_an_open_grant_does_not_hold_up_the_end_of_a_part() {
    let two = Two::new("several_held");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    for each in [f, g] {
        each.login(&two.owner).run(&format!(
            "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}', if_not_exists => true)"
        ));
    }
    let login = f
        .login(&two.owner)
        .handed(&format!("scope.create_credential('{{{scope}}}')"));
    let stranger = f.role("stranger", "LOGIN");
    f.admin().run(&format!(
        "CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {stranger}"
    ));
    let mut open = f.login(&stranger);
    open.run(&format!("GRANT SELECT ON theirs TO {scope}"));
    open.run(&format!("BEGIN; GRANT INSERT ON theirs TO {scope}"));
    let mut s = f.login(&two.owner);
    let begun = std::time::Instant::now();
    s.run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    let told = s.notices();
    assert!(
        told.iter()
            .any(|notice| notice.message.contains("still has a part")
                && notice.detail.contains("process")),
        "{told:?}"
    );
    let mut admin = f.admin();
    let is_here = format!(
        "(SELECT '{}' = ANY (databases) FROM scope.scopes WHERE scope = '{scope}')",
        f.name
    );
    admin.assert_that(&format!(
        "NOT has_table_privilege('{scope}', 'orders', 'SELECT') AND NOT pg_has_role('{}', '{scope}', 'MEMBER') AND {is_here}",
        login.role
    ));
    // What was taken away is not missed.
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.review() WHERE role_name = '{scope}' AND code = 'scope_narrowed')"
    ));
    open.run("COMMIT");
    s.run(&format!("SELECT scope.drop_scope('{scope}')"));
    admin.assert_that(&format!(
        "NOT has_table_privilege('{scope}', 'theirs', 'SELECT') AND NOT {is_here}"
    ));
    assert!(reads(f.server, &g.name, &scope, "orders"));
}

#[test]
fn the_end_of_a_part_takes_nothing_from_logins_of_other_databases_and_clusters() {
    let two = Two::new("several_foreign");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    let [here, there, foreign] = [f, g, g].map(|each| {
        let mut s = each.login(&two.owner);
        s.run(&format!(
            "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}', if_not_exists => true)"
        ));
        s.handed(&format!("scope.create_credential('{{{scope}}}')"))
            .role
    });
    // A restore has brought it: its database has here, by chance, the number of another one.
    let mut admin = f.admin();
    let label = admin.text(&format!(
        "SELECT regexp_replace(replace(label, (SELECT '\"database_oid\":' || oid FROM pg_database WHERE datname = '{}'),
                                (SELECT '\"database_oid\":' || oid FROM pg_database WHERE datname = '{}')), '\"system\":\\d+', '\"system\":5')
           FROM pg_seclabels WHERE objoid = '{foreign}'::regrole AND provider = 'scope_roles'",
        g.name, f.name
    ));
    admin.run(&format!(
        "SECURITY LABEL FOR scope_roles ON ROLE {foreign} IS {}",
        literal(&label)
    ));
    f.login(&two.owner).run(&format!(
        "SELECT scope.drop_scope('{scope}', force => true)"
    ));
    for (role, stays) in [(here, false), (there, true), (foreign, true)] {
        admin.assert_that(&format!(
            "pg_has_role('{role}', '{scope}', 'MEMBER') = {stays}"
        ));
    }
}

#[test]
fn pruning_and_review_go_by_the_part_of_this_database() {
    let server = Server::start(Options::default());
    let two = Two::on(&server, "several_pruned");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    for each in [f, g] {
        each.admin().run(&format!(
            "SELECT scope.create_scope('{scope}', '{{SELECT,TRIGGER}}', '{{orders}}', if_not_exists => true)"
        ));
    }
    f.admin().run(&format!(
        "SELECT scope.create_scope('{scope}_idle', '{{SELECT}}', '{{orders}}')"
    ));
    // Made in the one, and in the other a part of it all the same.
    for each in [f, g] {
        let mut admin = each.admin();
        let fix = admin.text(&format!(
            "SELECT fix FROM scope.review() WHERE code = 'plants_code' AND role_name = '{scope}'"
        ));
        assert!(fix.contains("alter_scope"), "{fix}");
        admin.run(&fix);
        admin.assert_that(&format!(
            "NOT EXISTS (SELECT FROM scope.review() WHERE role_name = '{scope}' AND code LIKE 'scope_%')"
        ));
    }
    let mut admin = f.admin();
    admin.run(&format!("SELECT scope.drop_scope('{scope}')"));
    // Granted by hand where it has no part any more, it is revoked by hand.
    admin.run(&format!("GRANT TRIGGER ON orders TO {scope}"));
    let fix = admin.text(&format!(
        "SELECT fix FROM scope.review() WHERE code = 'plants_code' AND role_name = '{scope}'"
    ));
    assert!(fix.starts_with("REVOKE TRIGGER"), "{fix}");
    admin.run(&fix);
    let prune = "SELECT role_name FROM scope.prune(true, declared => true) ORDER BY 1";
    assert_eq!(admin.column(prune), [format!("{scope}_idle")]);
    assert!(admin.role_exists(&scope));
    assert_eq!(g.admin().column(prune), [scope.as_str()]);
    assert!(!admin.role_exists(&scope));
    // One whose databases are all gone goes from the next of that name.
    g.admin().run(&format!(
        "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{orders}}')"
    ));
    server
        .admin("postgres")
        .run(&format!("DROP DATABASE {} WITH (FORCE)", g.name));
    assert_eq!(admin.column(prune), Vec::<String>::new());
    let again = Fixture::on(&server, &g.name);
    assert_eq!(again.admin().column(prune), [scope.as_str()]);
}

#[test]
fn a_review_knows_a_login_whose_database_has_another_name_now() {
    let server = Server::start(Options::default());
    let two = Two::on(&server, "several_home");
    let f = &two.f;
    let mut admin = server.admin("postgres");
    admin.run(&format!(
        "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
        f.name
    ));
    f.admin()
        .run("SELECT scope.create_admin_role('{public}', role_name => 'several_home_admin')");
    admin.run(&format!(
        "ALTER DATABASE {} RENAME TO several_home_renamed",
        f.name
    ));
    server
        .admin("several_home_renamed")
        .assert_that("NOT EXISTS (SELECT FROM scope.review() WHERE code = 'login_widened')");
}

/// Each role that is adopted is locked, in a table of limited size.
#[test]
fn adopting_takes_a_thousand_roles_a_call_and_locks_no_others() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "several_many");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.create_scope('several_many_native', '{SELECT}', '{orders}');
         DO $$ DECLARE label text := regexp_replace((SELECT label FROM pg_seclabels WHERE objoid = 'several_many_native'::regrole AND provider = 'scope_roles'),
                                                    '\"system\":\\d+', '\"system\":5');
         BEGIN FOR i IN 1..1100 LOOP
           EXECUTE format('CREATE ROLE %I', 'many_' || i);
           EXECUTE format('SECURITY LABEL FOR scope_roles ON ROLE %I IS %L', 'many_' || i, label);
         END LOOP; END $$",
    );
    let _told = admin.notices();
    let adopted = |admin: &mut Session| {
        admin.run("BEGIN");
        let count = admin.text("SELECT count(*) FROM scope.adopt_restored()");
        let locks = admin.text(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'",
        );
        admin.run("COMMIT");
        (count, locks, admin.notices().len())
    };
    for (count, told) in [("1000", 1), ("100", 0), ("0", 0)] {
        assert_eq!(
            adopted(&mut admin),
            (count.to_owned(), count.to_owned(), told)
        );
    }
    admin.assert_that("(SELECT count(*) = 1101 FROM scope.scopes)");
}

/// Anybody who may connect has large objects to grant on, and who has a role may make others its members.
#[test]
fn attack_what_others_grant_a_scope_in_its_own_database_is_taken_away_by_its_creator() {
    let two = Two::new("several_reset");
    let (f, g, scope) = (&two.f, &two.g, two.scope());
    for each in [f, g] {
        two.migrate(&each.name);
    }
    let attacker = f.role("attacker", "LOGIN");
    f.admin().run(&format!(
        "CREATE ROLE several_reset_group ADMIN {attacker}; GRANT CREATE ON SCHEMA public TO {attacker};
         GRANT EXECUTE ON FUNCTION scope.alter_scope TO {attacker}"
    ));
    let mut a = f.login(&attacker);
    let mut s = f.login(&two.owner);
    let issue = format!("SELECT scope.create_credential('{{{scope}}}')");
    a.run(&format!(
        "SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO {scope}"
    ));
    let refusal = s.refused(&issue, "42501");
    assert!(refusal.hint.contains("'reset'"), "{refusal}");
    a.run(&format!(
        "CREATE TABLE gift (i int); GRANT ALL ON gift TO {scope};
         CREATE DOMAIN gifts AS int; GRANT USAGE ON DOMAIN gifts TO {scope}; GRANT several_reset_group TO {scope};
         ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {scope}; ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO {scope}"
    ));
    s.refused(&issue, "42501");
    let reset = format!("SELECT scope.alter_scope('{scope}', 'reset')");
    a.refused(&reset, "42501");
    s.refused(
        &format!("SELECT scope.alter_scope('{scope}', 'reset', tables => '{{orders}}')"),
        "22023",
    );
    let declares = declared(&mut f.admin(), &scope);
    g.admin().run(&format!("GRANT SELECT ON vault TO {scope}"));
    for _ in 0..2 {
        s.run(&reset);
        s.run(&issue);
    }
    assert_eq!(declared(&mut f.admin(), &scope), declares);
    assert!(reads(f.server, &f.name, &scope, "app.orders"));
    f.admin().assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.review() WHERE role_name = '{scope}' AND code LIKE 'scope%' AND finding NOT LIKE '%{}%')
         AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = '{scope}'::regrole)",
        g.name
    ));
    // Each database its own; who controls no scope has nothing to reset.
    assert!(reads(f.server, &g.name, &scope, "vault"));
    let third = Fixture::on(f.server, "several_reset_3");
    prepare(&third, &two.owner);
    third.login(&two.owner).refused(&reset, "55000");
}
