//! Attempts to hand out, through scopes, what one does not have. Each is named for the attack.

use super::scoper;
use crate::harness::*;

/// What the attacker may not touch, with an attacker who may call everything around scopes.
fn besieged(name: &'static str) -> (Fixture<'static>, String, Session) {
    let f = Fixture::new(name);
    let attacker = scoper(&f, "attacker");
    f.admin().run(&format!(
        "CREATE SCHEMA closed; CREATE TABLE closed.ledger (id serial, amount int); CREATE SEQUENCE closed.numbers;
         CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT secret FROM vault'; REVOKE ALL ON FUNCTION peek() FROM PUBLIC;
         CREATE TABLE mine (id int, x int); ALTER TABLE mine OWNER TO {attacker}; CREATE SCHEMA own AUTHORIZATION {attacker}"
    ));
    let session = f.login(&attacker);
    (f, attacker, session)
}

/// All that could have been handed out.
fn assert_unharmed(f: &Fixture) {
    f.admin().assert_that(
        "NOT EXISTS (SELECT FROM scope.roles r WHERE r.database = current_database() AND (
            has_table_privilege(r.role, 'vault', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') OR has_any_column_privilege(r.role, 'vault', 'SELECT')
            OR has_table_privilege(r.role, 'orders', 'SELECT, DELETE') OR has_table_privilege(r.role, 'closed.ledger', 'SELECT, INSERT')
            OR has_schema_privilege(r.role, 'closed', 'USAGE, CREATE') OR has_sequence_privilege(r.role, 'closed.numbers', 'USAGE')
            OR has_function_privilege(r.role, 'peek()', 'EXECUTE')))",
    );
}

#[test]
fn handing_out_objects_of_others_in_every_argument() {
    let (f, _, mut s) = besieged("attack_others");
    // By number: a name in a schema that is closed to the caller is refused before the call.
    let numbers = f.admin().text("SELECT 'closed.numbers'::regclass::oid");
    let numbers =
        format!("create_scope('attack_others_s', '{{USAGE}}', sequences => '{{{numbers}}}')");
    let ledger = f.admin().text("SELECT 'closed.ledger'::regclass::oid");
    let ledger = format!("create_readwrite_role('{ledger}')");
    for call in [
        numbers.as_str(),
        &ledger,
        "create_scope('attack_others_s', tables => '{vault}')",
        "create_scope('attack_others_s', tables => '{mine,vault}')",
        "create_scope('attack_others_s', '{DELETE}', '{vault}')",
        "create_scope('attack_others_s', '{SELECT}', '{vault}', columns => '{secret}')",
        "create_scope('attack_others_s', functions => '{peek()}')",
        "create_scope('attack_others_s', schemas => '{closed}')",
        "create_scope('attack_others_s', '{CREATE}', schemas => '{closed}')",
        "create_scope('attack_others_s', '{CREATE}', schemas => '{public}')",
        "create_scope('attack_others_s', '{SELECT}', schemas => '{own,closed}', future_tables => true)",
        "create_readonly_role(tables => '{mine,vault}')",
        "create_readwrite_role('vault')",
        "create_readonly_role(schemas => '{closed}')",
        "create_readonly_role(schemas => '{closed}', future_tables => true)",
        "create_admin_role('{closed}')",
        "create_admin_role('{own,public}')",
        "create_admin_role(tables => '{vault}')",
        "restrict_function('peek()')",
    ] {
        s.refused(&format!("SELECT scope.{call}"), "42501");
    }
    s.run("SELECT scope.create_scope('attack_others_s', '{SELECT}', '{mine}')");
    for call in [
        "alter_scope('attack_others_s', 'add', tables => '{vault}')",
        "alter_scope('attack_others_s', 'add', '{SELECT}', '{vault}', columns => '{secret}')",
        "alter_scope('attack_others_s', 'add', functions => '{peek()}')",
        "alter_scope('attack_others_s', 'add', schemas => '{closed}')",
        "alter_scope('attack_others_s', 'add', '{SELECT}', schemas => '{closed}', future_tables => true)",
        "restrict_function('peek()', '{attack_others_s}')",
    ] {
        s.refused(&format!("SELECT scope.{call}"), "42501");
    }
    assert_unharmed(&f);
}

#[test]
fn handing_out_more_than_the_grant_option_covers() {
    let (f, attacker, mut s) = besieged("attack_option");
    f.admin().run(&format!(
        "CREATE TABLE lent (a int, b int, id serial); GRANT ALL ON lent TO {attacker}; GRANT SELECT ON lent TO {attacker} WITH GRANT OPTION;
         GRANT INSERT (a) ON lent TO {attacker} WITH GRANT OPTION; GRANT USAGE ON SCHEMA public TO {attacker} WITH GRANT OPTION"
    ));
    s.run("SELECT scope.create_scope('attack_option_s', '{SELECT}', '{lent}')");
    for call in [
        "create_scope('attack_option_t', '{SELECT,DELETE}', '{lent}')",
        "create_scope('attack_option_t', '{UPDATE}', '{lent}', columns => '{a}')",
        "create_scope('attack_option_t', '{INSERT}', '{lent}', columns => '{a,b}')",
        // The number behind the column is not theirs to hand out either.
        "create_scope('attack_option_t', '{INSERT}', '{lent}', columns => '{a}')",
        "alter_scope('attack_option_s', 'add', '{DELETE}', '{lent}')",
        "create_readwrite_role('lent')",
    ] {
        s.refused(&format!("SELECT scope.{call}"), "42501");
    }
    f.admin().run(&format!(
        "GRANT USAGE ON SEQUENCE lent_id_seq TO {attacker} WITH GRANT OPTION"
    ));
    s.run("SELECT scope.create_scope('attack_option_t', '{INSERT}', '{lent}', columns => '{a}')");
    f.admin().assert_that(
        "NOT has_table_privilege('attack_option_s', 'lent', 'DELETE') AND NOT has_column_privilege('attack_option_t', 'lent', 'b', 'INSERT')",
    );
}

/// PostgreSQL grants each statement as one grantor: privileges from two groups need two.
#[test]
fn grant_options_of_two_groups_are_each_used() {
    let (f, attacker, mut s) = besieged("attack_groups");
    let (readers, writers) = (f.role("readers", "NOLOGIN"), f.role("writers", "NOLOGIN"));
    f.admin().run(&format!(
        "GRANT {readers}, {writers} TO {attacker}; GRANT SELECT ON vault TO {readers} WITH GRANT OPTION;
         GRANT DELETE ON vault TO {writers} WITH GRANT OPTION"
    ));
    s.run("SELECT scope.create_scope('attack_groups_s', '{SELECT,DELETE}', '{vault}')");
    f.admin().assert_that(
        "has_table_privilege('attack_groups_s', 'vault', 'SELECT') AND has_table_privilege('attack_groups_s', 'vault', 'DELETE')",
    );
    s.refused(
        "SELECT scope.alter_scope('attack_groups_s', 'add', '{UPDATE}', '{vault}')",
        "42501",
    );
}

#[test]
fn future_tables_of_roles_that_the_caller_is_not() {
    let (f, attacker, mut s) = besieged("attack_future");
    f.admin().run(&format!(
        "CREATE SCHEMA team; GRANT USAGE, CREATE ON SCHEMA team TO {attacker} WITH GRANT OPTION"
    ));
    // Only the attacker's own future tables; a NOTICE says that the others are not covered.
    s.notices();
    s.run("SELECT scope.create_scope('attack_future_s', '{SELECT}', schemas => '{team}', future_tables => true)");
    let notices = s.notices();
    assert!(
        notices.iter().any(|n| n.detail.contains("postgres")),
        "{notices:?}"
    );
    f.admin()
        .run("CREATE TABLE team.salaries (x int); CREATE TABLE own.theirs (x int)");
    s.run("CREATE TABLE team.own (x int)");
    f.admin().assert_that(
        "NOT has_table_privilege('attack_future_s', 'team.salaries', 'SELECT') AND has_table_privilege('attack_future_s', 'team.own', 'SELECT')",
    );
    // Nor by asking again, now that there is a table of somebody else's.
    s.refused(
        "SELECT scope.alter_scope('attack_future_s', 'add', '{SELECT}', schemas => '{team}', future_tables => true)",
        "42501",
    );
    // Where nobody can be spoken for there is nothing to promise.
    f.admin().run(&format!(
        "CREATE SCHEMA silent; GRANT USAGE ON SCHEMA silent TO {attacker} WITH GRANT OPTION"
    ));
    s.refused(
        "SELECT scope.create_scope('attack_future_t', '{SELECT}', schemas => '{silent}', future_tables => true)",
        "42501",
    );
}

#[test]
fn changing_dropping_or_using_scopes_of_others() {
    let (f, attacker, mut s) = besieged("attack_foreign");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('attack_foreign_s', '{SELECT}', '{vault}')");
    let before =
        admin.text("SELECT privileges::text FROM scope.scopes WHERE scope = 'attack_foreign_s'");
    s.run("CREATE FUNCTION own.f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    for call in [
        "alter_scope('attack_foreign_s', 'add', tables => '{mine}')",
        "alter_scope('attack_foreign_s', 'remove', tables => '{vault}')",
        "alter_scope('attack_foreign_s', 'remove', tables => '{mine}')",
        "drop_scope('attack_foreign_s')",
        "drop_scope('attack_foreign_s', force => true, if_exists => true)",
        "restrict_function('own.f()', '{attack_foreign_s}')",
    ] {
        s.refused(&format!("SELECT scope.{call}"), "42501");
    }
    s.denied("SET ROLE attack_foreign_s", "42501");
    s.denied(&format!("GRANT attack_foreign_s TO {attacker}"), "42501");
    // ADMIN OPTION is for handing the role on, not for what it holds.
    admin.run(&format!(
        "GRANT attack_foreign_s TO {attacker} WITH ADMIN OPTION"
    ));
    s.refused(
        "SELECT scope.alter_scope('attack_foreign_s', 'add', tables => '{mine}')",
        "42501",
    );
    s.refused(
        "SELECT scope.drop_scope('attack_foreign_s', force => true)",
        "42501",
    );
    assert_eq!(
        admin.text("SELECT privileges::text FROM scope.scopes WHERE scope = 'attack_foreign_s'"),
        before
    );
}

#[test]
fn a_colleague_of_the_creator_role_may_change_its_scopes() {
    let (f, _, mut s) = besieged("attack_colleague");
    let team = f.role("team", "NOLOGIN");
    let (one, two) = (scoper(&f, "one"), scoper(&f, "two"));
    f.admin().run(&format!(
        "GRANT {team} TO {one}, {two}; CREATE TABLE shared (x int); ALTER TABLE shared OWNER TO {team};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {team}"
    ));
    let mut first = f.login(&one);
    first.run(&format!("SET ROLE {team}"));
    first.run("SELECT scope.create_scope('attack_colleague_s', '{SELECT}', '{shared}')");
    f.login(&two)
        .run("SELECT scope.alter_scope('attack_colleague_s', 'add', '{DELETE}', '{shared}')");
    // What one has made for themselves is not the team's.
    f.login(&one)
        .run("SELECT scope.create_scope('attack_colleague_t', '{SELECT}', '{shared}')");
    f.login(&two).refused(
        "SELECT scope.alter_scope('attack_colleague_t', 'add', '{DELETE}', '{shared}')",
        "42501",
    );
    s.refused("SELECT scope.drop_scope('attack_colleague_s')", "42501");
}

/// A scope under the name that somebody else's call will look for, made by one who would then control it.
#[test]
fn a_scope_planted_under_the_name_of_another_callers_scope_is_not_adopted() {
    let (f, _, mut s) = besieged("attack_planted");
    let victim = scoper(&f, "victim");
    let mut v = f.login(&victim);
    f.admin().run(&format!(
        "CREATE TABLE theirs (x int); ALTER TABLE theirs OWNER TO {victim}; GRANT SELECT ON theirs TO attack_planted_attacker WITH GRANT OPTION"
    ));
    // The names can be foreseen by one who knows the OIDs; here the victim's own call tells them.
    v.run("BEGIN");
    let cred = v.issue("'theirs'");
    let foreseen = v.scope_of(&cred.role);
    v.run("ROLLBACK");
    s.run(&format!(
        "SELECT scope.create_scope('{foreseen}', '{{SELECT}}', '{{theirs}}')"
    ));
    let cred = v.issue("'theirs'");
    let scope = f.admin().scope_of(&cred.role);
    assert_ne!(scope, foreseen);
    s.refused(
        &format!("SELECT scope.alter_scope('{scope}', 'add', tables => '{{mine}}')"),
        "42501",
    );
    cred.connect().rows("SELECT * FROM theirs");
}

/// The names that can be foreseen all taken: the victim's call still works.
#[test]
fn squatting_on_all_names_of_another_callers_scope() {
    let (f, _, _) = besieged("attack_squat");
    let mut admin = f.admin();
    let mut taken = Vec::new();
    for _ in 0..9 {
        let cred = admin.issue("'vault'");
        let scope = admin.scope_of(&cred.role);
        assert!(!taken.contains(&scope));
        // As if it had been somebody else's.
        admin.run(&format!("GRANT SELECT ON orders TO {scope}"));
        cred.connect().rows("SELECT * FROM vault");
        taken.push(scope);
    }
}

/// Names that would be SQL if they were not quoted.
#[test]
fn objects_named_to_be_executed() {
    let (f, attacker, mut s) = besieged("attack_names");
    let evil = r#"x"; GRANT SELECT ON vault TO PUBLIC; --"#;
    let quoted = ident(evil);
    s.run(&format!(
        "CREATE TABLE own.{quoted} ({quoted} int, id serial); CREATE SEQUENCE own.{sequence}; CREATE TYPE own.{composite} AS (a int);
         CREATE FUNCTION own.{quoted}({quoted} own.{composite}) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        sequence = ident(&format!("{evil}2")),
        composite = ident(&format!("{evil}3")),
    ));
    f.admin().run(&format!(
        "CREATE SCHEMA {quoted} AUTHORIZATION {attacker}; CREATE TABLE {quoted}.t (x int); ALTER TABLE {quoted}.t OWNER TO {attacker}"
    ));
    let array = |items: &str| format!("ARRAY({items})");
    let tables = array(
        "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'own'::regnamespace AND relkind = 'r'",
    );
    let sequences = array(
        "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'own'::regnamespace AND relkind = 'S'",
    );
    let functions =
        array("SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'own'::regnamespace");
    let schemas = array("SELECT oid::regnamespace FROM pg_namespace WHERE nspname LIKE 'x%'");
    s.run(&format!(
        "SELECT scope.create_scope('attack_names_s', '{{SELECT,INSERT,USAGE}}', {tables}, sequences => {sequences}, functions => {functions},
            schemas => {schemas}, future_tables => true)"
    ));
    s.run(&format!(
        "SELECT scope.create_scope('attack_names_c', '{{SELECT}}', {tables}, columns => ARRAY[{}])",
        literal(evil)
    ));
    s.run(&format!(
        "SELECT scope.restrict_function(f, '{{attack_names_c}}') FROM unnest({functions}) f"
    ));
    s.run(&format!("SELECT scope.create_admin_role({schemas}); SELECT scope.create_readwrite_role(tables => {tables})"));
    s.run(&format!(
        "SELECT scope.alter_scope('attack_names_s', 'remove', '{{SELECT,INSERT,USAGE}}', {tables}, sequences => {sequences}, functions => {functions},
            schemas => {schemas}, future_tables => true);
         SELECT scope.drop_scope('attack_names_s'); SELECT scope.drop_scope('attack_names_c')"
    ));
    f.admin()
        .assert_that("NOT has_table_privilege('public', 'vault', 'SELECT')");
    f.admin().rows("TABLE scope.scopes");
}

/// The functions that run elevated must not run code of the caller's: here, in every place where the caller can leave some.
#[test]
fn code_of_the_caller_in_reach_of_the_elevated_parts() {
    let (f, attacker, mut s) = besieged("attack_code");
    f.admin()
        .run("CREATE TABLE evidence (who text); GRANT INSERT ON evidence TO PUBLIC");
    s.run(
        "CREATE FUNCTION own.spy(oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.evidence VALUES (current_user); RETURN true; END $$;
         CREATE FUNCTION own.has_table_privilege(oid, oid, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.evidence VALUES (current_user); RETURN true; END $$;
         CREATE FUNCTION own.array_position(oid[], oid) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.evidence VALUES (current_user); RETURN 1; END $$;
         CREATE FUNCTION own.quote_ident(name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.evidence VALUES (current_user); RETURN 'vault'; END $$;
         CREATE FUNCTION own.eq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.evidence VALUES (current_user); RETURN true; END $$;
         CREATE OPERATOR own.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = own.eq);
         CREATE TABLE own.pg_class (oid oid); CREATE TABLE own.pg_roles (oid oid); CREATE TEMP TABLE pg_shdepend (x int);
         CREATE TABLE own.t (id serial, x int CHECK (own.spy(1)) DEFAULT 1);
         CREATE VIEW own.v AS SELECT own.spy(oid) FROM pg_catalog.pg_class; ALTER TABLE own.t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON own.t USING (own.spy(1))",
    );
    for path in ["own, pg_catalog, public", "pg_temp, own, pg_catalog"] {
        s.run(&format!("SET search_path = {path}"));
        s.run(
            "SELECT scope.create_scope('attack_code_s', '{SELECT,INSERT}', '{own.t,own.v}', schemas => '{own}', future_tables => true);
             SELECT scope.create_scope('attack_code_s', '{SELECT,INSERT}', '{own.t,own.v}', schemas => '{own}', future_tables => true, if_not_exists => true);
             SELECT scope.alter_scope('attack_code_s', 'remove', '{INSERT}', '{own.t}');
             SELECT scope.restrict_function('own.spy(oid)', '{attack_code_s}');
             SELECT scope.create_admin_role('{own}'::pg_catalog.regnamespace[]);
             SELECT scope.drop_scope('attack_code_s')",
        );
    }
    assert_eq!(
        f.admin().column("SELECT who FROM evidence"),
        [""; 0],
        "{attacker}"
    );
    // A view of an administrator, read with a path of traps.
    f.admin()
        .run("SET search_path = own, pg_catalog; TABLE scope.scopes; TABLE scope.roles");
    assert_eq!(f.admin().column("SELECT who FROM evidence"), [""; 0]);
}

/// Within a transaction whose snapshot is older than the change that should stop the call.
#[test]
fn an_old_snapshot_does_not_bring_back_revoked_rights() {
    let (f, attacker, mut s) = besieged("attack_snapshot");
    f.admin().run(&format!(
        "GRANT SELECT ON vault TO {attacker} WITH GRANT OPTION"
    ));
    let mut held = f.login(&attacker);
    held.run("SELECT scope.create_scope('attack_snapshot_a', '{SELECT}', '{mine}')");
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        f.admin().run(&format!(
            "GRANT SELECT ON vault TO {attacker} WITH GRANT OPTION"
        ));
        s.run(&format!(
            "BEGIN ISOLATION LEVEL {isolation}; SELECT * FROM vault"
        ));
        f.admin()
            .run(&format!("REVOKE ALL ON vault FROM {attacker} CASCADE"));
        for call in [
            "create_scope('attack_snapshot_s', '{SELECT}', '{vault}')",
            "alter_scope('attack_snapshot_a', 'add', '{SELECT}', '{vault}')",
            "create_readonly_role('vault')",
        ] {
            s.run("SAVEPOINT a");
            s.refused(&format!("SELECT scope.{call}"), "42501");
            s.run("ROLLBACK TO a");
        }
        s.run("ROLLBACK");
    }
    assert_unharmed(&f);
}

/// The grants of a scope stay when its maker loses the right to make them; handing it out again does not.
#[test]
fn a_right_that_was_lost_hands_out_nothing_more() {
    let (f, attacker, mut s) = besieged("attack_lost");
    f.admin().run(&format!(
        "CREATE TABLE lent (x int); GRANT SELECT ON lent TO {attacker} WITH GRANT OPTION; GRANT SELECT ON vault TO {attacker} WITH GRANT OPTION"
    ));
    s.issue("'vault'");
    // The owner has granted it to the scope as well, so that revoking from the attacker leaves it.
    let scope = f
        .admin()
        .text("SELECT scope FROM scope.scopes WHERE created_by = 'attack_lost_attacker'");
    f.admin().run(&format!(
        "GRANT SELECT ON vault TO {scope}; REVOKE ALL ON vault FROM {attacker} CASCADE"
    ));
    f.admin().assert_that(&format!(
        "has_table_privilege('{scope}', 'vault', 'SELECT')"
    ));
    s.refused("SELECT scope.create_readonly_role('vault')", "42501");
}

/// A restore keeps labels, and OIDs belong to other roles then.
#[test]
fn the_oid_in_a_label_alone_gives_nobody_control() {
    let (f, attacker, mut s) = besieged("attack_restored");
    let mut admin = f.admin();
    admin.run("SELECT scope.create_scope('attack_restored_s', '{SELECT}', '{vault}')");
    let label = admin.text(&format!(
        "SELECT label::jsonb || jsonb_build_object('system', 1, 'creator_oid', '{attacker}'::regrole::oid::int8) FROM pg_shseclabel
         WHERE objoid = 'attack_restored_s'::regrole"
    ));
    admin.run(&format!(
        "SECURITY LABEL FOR scope_roles ON ROLE attack_restored_s IS {}",
        literal(&label)
    ));
    for call in [
        "alter_scope('attack_restored_s', 'add', tables => '{mine}')",
        "drop_scope('attack_restored_s')",
    ] {
        s.refused(&format!("SELECT scope.{call}"), "42501");
    }
}

/// Owning a schema is not owning what is in it.
#[test]
fn the_owner_of_a_schema_does_not_hand_out_tables_of_others_in_it() {
    let (f, attacker, mut s) = besieged("attack_schema");
    f.admin()
        .run("CREATE TABLE own.salaries (x int); INSERT INTO own.salaries VALUES (7)");
    for call in [
        "create_scope('attack_schema_s', schemas => '{own}')",
        "create_readonly_role(schemas => '{own}')",
        "create_readwrite_role(schemas => '{own}', future_tables => true)",
        "create_admin_role('{own}')",
    ] {
        let refusal = s.refused(&format!("SELECT scope.{call}"), "42501");
        assert!(refusal.message.contains("own.salaries"), "{refusal}");
    }
    f.admin()
        .run(&format!("ALTER TABLE own.salaries OWNER TO {attacker}"));
    s.run("SELECT scope.create_admin_role('{own}')");
}

/// A session of an admin scope cannot become more than that scope.
#[test]
fn an_admin_login_cannot_widen_itself() {
    let (f, _, mut s) = besieged("attack_admin");
    let rows = s.rows("SELECT role_name, password FROM scope.create_admin_role('{own}')");
    let field = |i: usize| rows[0][i].clone().expect("a value");
    let mut login = f
        .server
        .try_password(&field(0), &field(1), &f.name)
        .expect("login");
    let scope = login.text("SELECT current_user");
    for statement in [
        format!("GRANT {scope} TO attack_admin_attacker"),
        "SELECT scope.create_readonly_role('own.x')".to_owned(),
        format!("SELECT scope.alter_scope('{scope}', 'add', tables => '{{vault}}')"),
        "SET ROLE attack_admin_attacker".to_owned(),
        "SET SESSION AUTHORIZATION postgres".to_owned(),
        "ALTER SCHEMA own OWNER TO postgres".to_owned(),
        "ALTER DEFAULT PRIVILEGES FOR ROLE attack_admin_attacker GRANT ALL ON TABLES TO PUBLIC"
            .to_owned(),
    ] {
        let error = login.fails(&statement);
        assert!(
            ["42501", "42P01"].contains(&error.code.as_str()),
            "{statement}: {error}"
        );
    }
    assert_unharmed(&f);
}

#[test]
fn an_ordinary_user_may_call_none_of_them() {
    let f = Fixture::new("attack_closed");
    let mut s = f.login(&f.role("user", "LOGIN"));
    for call in [
        "create_scope('attack_closed_s')",
        "alter_scope('attack_closed_s', 'add')",
        "drop_scope('attack_closed_s')",
        "restrict_function('scope.jwt_claims()')",
        "create_readwrite_role('orders')",
        "create_admin_role('{public}')",
    ] {
        s.denied(&format!("SELECT scope.{call}"), "42501");
    }
    assert_eq!(s.text("SELECT count(*) FROM scope.scopes"), "0");
    let monitor = f.role("monitor", "LOGIN IN ROLE pg_monitor");
    f.login(&monitor).rows("SELECT * FROM scope.scopes");
}

/// TRIGGER on a table of another: the next write by its owner, or by a superuser, ran the login's code.
#[test]
fn an_admin_login_leaves_no_code_on_the_tables_of_others() {
    let f = Fixture::new("attack_trigger");
    let mut admin = f.admin();
    admin.run("CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY)");
    for call in [
        "create_admin_role('{shop}', future_tables => true)",
        "create_admin_role(tables => '{shop.orders}')",
    ] {
        let login = admin.handed(&format!("scope.{call}")).role;
        let mut s = f.login(&login);
        s.run("INSERT INTO shop.orders VALUES (1); DELETE FROM shop.orders; CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'");
        for plant in [
            "CREATE TRIGGER t BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION pg_temp.f()",
            "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON shop.orders DEFERRABLE FOR EACH ROW EXECUTE FUNCTION pg_temp.f()",
            "CREATE TRIGGER t BEFORE TRUNCATE ON shop.orders EXECUTE FUNCTION pg_temp.f()",
            "CREATE RULE r AS ON INSERT TO shop.orders DO ALSO NOTIFY x",
            "CREATE POLICY p ON shop.orders USING (true)",
            "CREATE INDEX ON shop.orders ((id + 1))",
            "ALTER TABLE shop.orders ALTER id SET DEFAULT 1",
            "ALTER TABLE shop.orders ADD CHECK (id > 0)",
        ] {
            s.denied(plant, "42501");
        }
    }
    let login = admin.handed("scope.create_admin_role('{shop}')").role;
    f.login(&login).denied(
        "CREATE TABLE shop.mine (id int REFERENCES shop.orders ON DELETE CASCADE)",
        "42501",
    );
    admin.run("CREATE TABLE shop.later (id int PRIMARY KEY)");
    admin.assert_that("NOT EXISTS (SELECT FROM pg_class c, aclexplode(c.relacl) a WHERE a.privilege_type IN ('TRIGGER', 'REFERENCES') AND a.grantee <> c.relowner)");
}
