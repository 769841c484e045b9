//! `scope.effective_access` and `scope.who_can`: what they say is what PostgreSQL does.

mod generated;
mod scale;

use crate::harness::*;

/// The rows about one role and object as "privilege mode path grantor grantable".
fn held(session: &mut Session, role: &str, object: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT format('%s %s %s %s%s', privilege_type, mode, array_to_string(path, '>'), grantor, CASE WHEN grant_option THEN ' *' END)
           FROM scope.effective_access({}, {}) ORDER BY privilege_type, object_name",
        literal(role),
        literal(object)
    ))
}

#[test]
fn each_mode_has_its_row_with_the_way_and_the_grantor() {
    let f = Fixture::new("access_modes");
    let mut admin = f.admin();
    let owner = f.role("owner", "");
    let team = f.role("team", "");
    let joe = f.role("joe", "LOGIN");
    let ann = f.role("ann", "LOGIN NOINHERIT");
    let boss = f.role("boss", "SUPERUSER");
    admin.run(&format!(
        "CREATE TABLE goods (id int, price int, cost int);
         ALTER TABLE goods OWNER TO {owner};
         GRANT {team} TO {joe}; GRANT {team} TO {ann}; GRANT pg_read_all_data TO {owner};
         SET ROLE {owner};
         GRANT SELECT ON goods TO {team};
         GRANT INSERT ON goods TO {joe} WITH GRANT OPTION;
         GRANT UPDATE (price) ON goods TO {team};
         GRANT TRIGGER ON goods TO PUBLIC;
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {team};
         RESET ROLE"
    ));
    assert_eq!(
        held(&mut admin, &joe, "goods"),
        [
            format!("INSERT direct {joe} {owner} *"),
            format!("SELECT inherited {joe}>{team} {owner}"),
            format!("TRIGGER public {joe} {owner}"),
            format!("UPDATE column {joe}>{team} {owner}"),
        ]
    );
    assert_eq!(
        held(&mut admin, &ann, "goods"),
        [
            format!("SELECT set role {ann}>{team} {owner}"),
            format!("TRIGGER public {ann} {owner}"),
            format!("UPDATE set role {ann}>{team} {owner}"),
        ]
    );
    let of_owner = held(&mut admin, &owner, "goods");
    assert!(
        of_owner.contains(&format!("DELETE owner {owner} {owner} *")),
        "{of_owner:?}"
    );
    let of_boss = held(&mut admin, &boss, "goods");
    assert!(
        of_boss.contains(&format!("SELECT superuser {boss}  *")),
        "{of_boss:?}"
    );
    assert_eq!(
        held(&mut admin, &owner, "vault"),
        [format!("SELECT predefined {owner}>pg_read_all_data ")]
    );
    assert_eq!(
        held(&mut admin, &joe, &format!("role {team}")).len(),
        2,
        "USAGE and SET"
    );
    let waiting = admin.rows(&format!(
        "SELECT object_name, privilege_type, mode FROM scope.effective_access({}) WHERE object_type = 'default privileges'",
        literal(&joe)
    ));
    assert_eq!(
        waiting,
        [[
            format!("tables of {owner}"),
            "SELECT".into(),
            "default".into()
        ]
        .map(Some)]
    );
    // The reverse.
    let readers = admin.column(
        "SELECT role_name || ' ' || mode FROM scope.who_can('select', 'public.goods') WHERE role_name LIKE 'access_modes%' ORDER BY 1",
    );
    assert_eq!(
        readers,
        [
            format!("{ann} set role"),
            format!("{boss} superuser"),
            format!("{joe} inherited"),
            format!("{owner} owner"),
            format!("{team} direct"),
        ]
    );
}

#[test]
fn the_first_deadline_on_the_way_ends_it() {
    let f = Fixture::new("access_deadlines");
    let mut admin = f.admin();
    let joe = f.role("joe", "LOGIN VALID UNTIL '2100-01-01'");
    let team = f.role("team", "");
    admin.run(&format!("GRANT SELECT ON vault TO {team}"));
    let ends = |admin: &mut Session, role: &str, table: &str| {
        admin.text(&format!(
            "SELECT coalesce(ends_at::text, 'never') FROM scope.effective_access({}, {}) WHERE privilege_type = 'SELECT'",
            literal(role),
            literal(table)
        ))
    };
    let cred = admin.issue("'orders', valid_for => '1 hour'");
    assert_eq!(ends(&mut admin, &cred.role, "orders"), cred.valid_until);
    let until = admin.text(&format!(
        "SELECT scope.grant_temporary('{team}', '{joe}', '2 hours')"
    ));
    assert_eq!(ends(&mut admin, &joe, "vault"), until);
    // A second way that lasts: the first deadline ends nothing. VALID UNTIL of a person's login ends its password only.
    admin.run(&format!("GRANT {team} TO {joe}"));
    assert_eq!(ends(&mut admin, &joe, "vault"), "never");
    admin.run("GRANT SELECT ON vault TO PUBLIC");
    assert_eq!(ends(&mut admin, &cred.role, "vault"), cred.valid_until);
}

#[test]
fn others_see_what_is_theirs() {
    let f = Fixture::new("access_privacy");
    let mut admin = f.admin();
    let joe = f.role("joe", "LOGIN");
    let team = f.role("team", "");
    let ann = f.role("ann", "LOGIN");
    let watch = f.role("watch", "LOGIN");
    admin.run(&format!(
        "GRANT {team} TO {joe}; GRANT pg_monitor TO {watch}; CREATE TABLE own (); ALTER TABLE own OWNER TO {joe};
         GRANT SELECT ON own, orders TO {ann}"
    ));
    let mut s = f.login(&joe);
    let roles = "SELECT DISTINCT role_name FROM scope.effective_access() ORDER BY 1";
    // No row must not read as "nobody".
    let told = |s: &mut Session| {
        let notices = s.notices();
        let is_told = |n: &Refusal| n.message.contains("there may be others") && !n.hint.is_empty();
        assert!(
            notices.len() <= 1 && notices.iter().all(is_told),
            "{notices:?}"
        );
        notices.len() == 1
    };
    assert_eq!(s.column(roles), [joe.clone(), team.clone()]);
    assert!(told(&mut s));
    s.rows(&format!("SELECT * FROM scope.effective_access('{team}')"));
    s.refused(
        &format!("SELECT * FROM scope.effective_access('{ann}')"),
        "42501",
    );
    s.refused("SELECT * FROM scope.effective_access('postgres')", "42501");
    assert_eq!(
        s.column("SELECT role_name FROM scope.who_can('SELECT', 'orders')"),
        [""; 0]
    );
    assert!(told(&mut s));
    // The owner of an object knows who has been granted what.
    assert!(
        s.column("SELECT role_name FROM scope.who_can('SELECT', 'own')")
            .contains(&ann)
    );
    assert!(!told(&mut s));
    let mut w = f.login(&watch);
    assert!(w.column(roles).contains(&ann));
    w.rows("SELECT * FROM scope.who_can('SELECT', 'orders')");
    assert!(!told(&mut w));
    w.rows(&format!(
        "SELECT * FROM scope.effective_access('{ann}', 'own')"
    ));
    // SET ROLE is what counts, as everywhere.
    s.run(&format!("SET ROLE {team}"));
    assert_eq!(s.column(roles), [team]);
}

#[test]
fn objects_are_found_by_the_names_that_are_shown() {
    let f = Fixture::new("access_names");
    let mut admin = f.admin();
    let joe = f.role("joe", "LOGIN");
    admin.run(
        "CREATE SCHEMA \"O'Dd \"\"x\"\"\"; CREATE TABLE \"O'Dd \"\"x\"\"\".\"table; DROP TABLE orders; --\" (\"a.b\" int);
         GRANT SELECT (\"a.b\") ON \"O'Dd \"\"x\"\"\".\"table; DROP TABLE orders; --\" TO PUBLIC;
         CREATE DOMAIN odd AS int; CREATE FUNCTION f(odd, text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE PROCEDURE p() LANGUAGE sql AS ''; CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
         CREATE FOREIGN DATA WRAPPER \"w w\"; CREATE SERVER \"s s\" FOREIGN DATA WRAPPER \"w w\"; SELECT lo_create(77);
         GRANT SET ON PARAMETER work_mem TO PUBLIC; CREATE MATERIALIZED VIEW mv AS SELECT 1",
    );
    // Every object of the list, asked for by what the list calls it, has the same rows.
    let different = admin.column(&format!(
        "WITH whole AS (SELECT * FROM scope.effective_access('{joe}') WHERE object_type <> 'default privileges')
         SELECT o.object_type || ' ' || o.object_name
           FROM (SELECT DISTINCT object_type, object_name FROM whole) o
          WHERE (SELECT array_agg(w::text ORDER BY w::text) FROM whole w WHERE (w.object_type, w.object_name) = (o.object_type, o.object_name))
             IS DISTINCT FROM (SELECT array_agg(a::text ORDER BY a::text) FROM scope.effective_access('{joe}', o.object_type || ' ' || o.object_name) a
                                WHERE a.object_type = o.object_type)"
    ));
    assert_eq!(different, [""; 0]);
    for (object, kind) in [
        ("orders", "table"),
        ("ORDERS", "table"),
        ("public.f(public.odd, text[])", "function"),
        ("total(integer)", "aggregate"),
        ("p()", "procedure"),
        ("public", "schema"),
        ("access_names", "database"),
        ("parameter log_statement", "parameter"),
    ] {
        let kinds = admin.column(&format!(
            "SELECT DISTINCT object_type FROM scope.effective_access('postgres', {})",
            literal(object)
        ));
        assert_eq!(kinds, [kind], "{object}");
    }
    for missing in [
        "nothing",
        "schema orders",
        "f(int)",
        "table a.b.c",
        "large object x",
        "parameter x.y",
        "role nobody",
    ] {
        admin.refused(
            &format!(
                "SELECT * FROM scope.effective_access(NULL, {})",
                literal(missing)
            ),
            "42704",
        );
    }
    for unreadable in ["", "a b", "\"", "a..b", "orders; DROP TABLE orders"] {
        admin.denied(
            &format!(
                "SELECT * FROM scope.effective_access(NULL, {})",
                literal(unreadable)
            ),
            "22023",
        );
    }
    admin.refused(
        "SELECT * FROM scope.who_can('SELECT', 'schema public')",
        "22023",
    );
    admin.refused("SELECT * FROM scope.who_can('ALL', 'orders')", "22023");
    admin.refused("SELECT * FROM scope.who_can(NULL, 'orders')", "22004");
    admin.refused("SELECT * FROM scope.who_can('SELECT', NULL)", "22004");
    admin.refused(
        "SELECT * FROM scope.effective_access(4294967295::oid::regrole)",
        "42704",
    );
}

/// What runs elevated must not be the caller's: not through search_path, and not through names.
#[test]
fn elevation_via_operators_and_functions_on_the_search_path() {
    let f = Fixture::new("access_shadow");
    let mallory = f.role("mallory", "LOGIN");
    f.admin().run(&format!(
        "GRANT CREATE ON DATABASE access_shadow TO {mallory}"
    ));
    let mut s = f.login(&mallory);
    s.run(
        "CREATE SCHEMA trap;
         CREATE FUNCTION trap.bad(oid, oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$;
         CREATE FUNCTION trap.bad(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$;
         CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.bad);
         CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.bad);
         CREATE FUNCTION trap.coalesce(oid) RETURNS oid LANGUAGE sql AS 'SELECT 1/0; SELECT $1';
         CREATE FUNCTION trap.current_schemas(bool) RETURNS name[] LANGUAGE sql AS 'SELECT ARRAY[(1/0)::text::name]';
         CREATE DOMAIN trap.oid AS int CHECK (VALUE < 0);
         CREATE FUNCTION trap.ran(pg_catalog.text) RETURNS bool LANGUAGE sql AS 'SELECT 1/0 = 1';
         CREATE DOMAIN trap.text AS pg_catalog.text CHECK (trap.ran(VALUE));
         SET search_path = trap, pg_catalog, public",
    );
    assert_ne!(s.text("SELECT count(*) FROM scope.effective_access()"), "0");
    assert_ne!(
        s.text("SELECT count(*) FROM scope.who_can('USAGE', 'schema trap')"),
        "0"
    );
    // A reserved word for a type, and a domain whose check would be the caller's code.
    s.rows("SELECT * FROM scope.effective_access(NULL, 'trap.bad(name, name)')");
    assert_eq!(s.text("SELECT current_user"), mallory);
    assert_eq!(s.text("SHOW search_path"), "trap, pg_catalog, public");
}

/// A type's name is looked for in the caller's search_path, and a domain's check is code of whoever made it.
#[test]
fn attack_domains_on_the_search_path_of_an_administrator() {
    let f = Fixture::new("access_domains");
    let (mallory, _joe) = (f.role("mallory", "LOGIN"), f.role("joe", "LOGIN"));
    f.admin().run(&format!(
        "GRANT CREATE ON DATABASE access_domains TO {mallory}"
    ));
    let mut s = f.login(&mallory);
    s.run(
        "CREATE SCHEMA trap;
         CREATE FUNCTION trap.ran() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$;
         DO $$ DECLARE t pg_catalog.name; BEGIN
           FOR t IN SELECT typname FROM pg_catalog.pg_type
                     WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typcategory <> 'A' LOOP
             EXECUTE format('CREATE DOMAIN trap.%1$I AS pg_catalog.%1$I CHECK (trap.ran())', t);
           END LOOP; END $$;
         GRANT USAGE ON SCHEMA trap TO PUBLIC",
    );
    let mut admin = f.admin();
    admin.run("SET search_path = trap, public, pg_catalog");
    admin.fails("SELECT 'x'::text");
    for sql in [
        "SELECT * FROM scope.who_can('SELECT', 'orders')",
        "SELECT * FROM scope.who_can('SELECT', 'pg_catalog.pg_class')",
        "SELECT * FROM scope.effective_access(NULL, 'column orders.id')",
        "SELECT * FROM scope.effective_access()",
        "SELECT scope.create_scope('access_domains_scope', '{SELECT}', '{orders}')",
        "SELECT scope.alter_scope('access_domains_scope', 'add', '{INSERT}', '{orders}')",
        "SELECT * FROM scope.create_credential('{access_domains_scope}', 'access_domains_login', '1 hour', 'a purpose', '{10.0.0.0/8}')",
        "SELECT * FROM scope.create_authenticator('access_domains_gate', '{access_domains_scope}')",
        "SELECT * FROM scope.create_readonly_role('orders')",
        "SELECT * FROM scope.create_readwrite_role(schemas => '{public}', future_tables => true)",
        "SELECT scope.renew_role('access_domains_login', '2 hours')",
        "SELECT * FROM scope.rotate_password('access_domains_login')",
        "SELECT scope.set_guard('access_domains_scope', max_rows => 10, window_rows => 10, \"window\" => '1 hour')",
        "SELECT scope.set_login_policy('access_domains_login', '{10.0.0.0/8}', allowed_hours => '{mon-fri 08:00-18:00}', time_zone => 'Europe/Paris')",
        "SELECT scope.guard_login('access_domains_joe', '{10.0.0.0/8}'); SELECT scope.unguard_login('access_domains_joe')",
        "SELECT scope.grant_temporary('access_domains_scope', 'access_domains_joe', '1 hour')",
        "SELECT scope.revoke_temporary('access_domains_scope', 'access_domains_joe')",
        "SELECT scope.restrict_function('trap.ran()', '{access_domains_scope}')",
        "SELECT scope.allow_writes('trap.ran()')",
        "SELECT scope.add_jwt_issuer('https://trap', NULL, 'HS256', '{a}')",
        "SELECT scope.revoke_token('trap', now() + interval '1 hour'); SELECT scope.revoke_subject('trap')",
        "SELECT * FROM scope.verify_jwt('a.b.c')",
        "SELECT * FROM scope.review()",
        "SELECT scope.review_html()",
        "SELECT scope.role_map()",
        "SELECT scope.role_map('mermaid')",
        "SELECT scope.export_spec()",
        "SELECT * FROM scope.plan(scope.export_spec())",
        "SELECT * FROM scope.harden(false)",
        "SELECT * FROM scope.prune()",
        "SELECT * FROM scope.expire_roles()",
        "SELECT * FROM scope.credentials; SELECT * FROM scope.roles; SELECT * FROM scope.guards; SELECT * FROM scope.scopes; SELECT * FROM scope.guarded_logins; SELECT * FROM scope.jwt_issuers; SELECT * FROM scope.scope_declarations; SELECT * FROM scope.audit_log",
        "COPY orders TO STDOUT",
        "SELECT scope.revoke_role('access_domains_login')",
        "SELECT scope.revoke_role('access_domains_gate')",
        "SELECT scope.drop_jwt_issuer('https://trap')",
        "SELECT scope.drop_scope('access_domains_scope', force => true)",
    ] {
        let outcome = match sql.starts_with("COPY") {
            true => admin.copy_out(sql).map(|_| Vec::new()),
            false => admin.attempt(sql),
        };
        if let Err(refusal) = outcome {
            assert!(!refusal.message.contains("run as"), "{sql}: {refusal}");
        }
    }
}

#[test]
fn it_answers_on_a_standby_and_in_read_only_transactions() {
    let primary = Server::start(Options::default());
    let f = Fixture::on(&primary, "access_standby");
    f.role("joe", "LOGIN");
    let standby = primary.standby(Options::default());
    let mut s = standby.admin("access_standby");
    standby.has_replayed(&primary);
    assert_ne!(
        s.text("SELECT count(*) FROM scope.effective_access('access_standby_joe')"),
        "0"
    );
    let mut admin = f.admin();
    admin.run("BEGIN READ ONLY");
    assert_ne!(
        admin.text("SELECT count(*) FROM scope.who_can('SELECT', 'orders')"),
        "0"
    );
    // A change of the same transaction counts, as it does for PostgreSQL.
    admin.run("ROLLBACK; BEGIN; GRANT SELECT ON vault TO access_standby_joe");
    admin.assert_that("EXISTS (SELECT FROM scope.who_can('SELECT', 'vault') WHERE role_name = 'access_standby_joe')");
    admin.run("ROLLBACK");
}
