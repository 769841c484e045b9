//! Attacks found by reading PostgreSQL's sources: callers of SetUserIdAndSecContext, settings that change without a hook, and what a
//! transaction opens before the switch and uses after it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::{SECRET_ROW, STAGE, assert_no_escape};
use crate::harness::*;
use crate::jwt::{Gate, switch};

/// RESET gives a setting its start value without asking its check hook; a helper of the superuser's that sets any setting for anybody is
/// common in migrations.
#[test]
fn superusers_helper_that_sets_any_setting() {
    let gate = &STAGE.gate;
    gate.f.admin().run(
        "CREATE FUNCTION set_any(name text, value text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT set_config(name, value, true)';
         CREATE FUNCTION reset_any(name text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             AS $$ BEGIN EXECUTE format('RESET %I.%I', split_part(name, '.', 1), split_part(name, '.', 2)); END $$",
    );
    let mut s = STAGE.login();
    for attack in [
        "SELECT set_any('scope.switch', NULL)",
        "SELECT set_any('scope.switch', '')",
        "SELECT reset_any('scope.switch')",
        "SELECT set_any('request.jwt.claims', '{}')",
        "SELECT set_any('request.jwt.claims', NULL)",
        "SELECT set_any('role', NULL)",
        "SELECT set_any('session_authorization', NULL)",
    ] {
        STAGE.lock(&mut s);
        s.run("SAVEPOINT s");
        s.denied(attack, "42501");
        s.run("ROLLBACK TO s");
        STAGE.assert_locked(&mut s);
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
    STAGE.lock(&mut s);
    s.run("SELECT set_any('work_mem', '1MB')");
    s.run("COMMIT");
}

/// Rights on a setting are one row of the whole cluster, and PostgreSQL refuses the second of two writers at once ("tuple concurrently
/// updated").
fn rights_on_settings() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An administrator can allow a role to change a setting that is the superusers'. While a role is locked, the
/// guarded settings are.
#[test]
fn role_that_may_set_a_guarded_setting() {
    let _turn = rights_on_settings();
    let g = Gate::new("lock_parameter");
    let mut admin = g.f.admin();
    let group = g.f.role("group", "NOLOGIN");
    admin.run(&format!("GRANT {group} TO {}", g.reader));
    let mut s = g.login();
    let token = g.token(json!({}));
    s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    for setting in [
        "role",
        "session_authorization",
        "request.jwt.claims",
        "scope.switch",
    ] {
        for (grantee, inherits) in [(&g.reader, true), (&group, true), (&g.writer, false)] {
            admin.run(&format!("GRANT SET ON PARAMETER {setting} TO {grantee}"));
            if inherits {
                s.refused_with(
                    &format!("BEGIN; {}", switch(&token)),
                    "42501",
                    "role_privileged",
                );
                s.run("ROLLBACK");
            } else {
                s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
            }
            admin.run(&format!("REVOKE SET ON PARAMETER {setting} FROM {grantee}"));
            s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
        }
    }
}

/// Who has the rights of a superuser's owned objects can replace their code, and have it run as the superuser.
#[test]
fn role_that_inherits_from_a_superuser() {
    let g = Gate::new("lock_heir");
    let mut admin = g.f.admin();
    let root = g.f.role("root", "NOLOGIN SUPERUSER");
    let group = g.f.role("group", "NOLOGIN");
    let mut s = g.login();
    let token = g.token(json!({}));
    for (grant, revoke) in [
        (
            format!("GRANT {root} TO {}", g.reader),
            format!("REVOKE {root} FROM {}", g.reader),
        ),
        (
            format!("GRANT postgres TO {}", g.reader),
            format!("REVOKE postgres FROM {}", g.reader),
        ),
        (
            format!("GRANT {root} TO {group}; GRANT {group} TO {}", g.reader),
            format!(
                "REVOKE {root} FROM {group}; REVOKE {group} FROM {}",
                g.reader
            ),
        ),
    ] {
        admin.run(&grant);
        s.refused_with(
            &format!("BEGIN; {}", switch(&token)),
            "42501",
            "role_privileged",
        );
        s.run("ROLLBACK");
        admin.run(&revoke);
        s.run(&format!("BEGIN; {}; COMMIT", switch(&token)));
    }
}

/// Rights on a large object are checked when it is opened. A descriptor is a small number that any later statement can name.
#[test]
fn large_object_opened_before_the_lock() {
    let mut s = STAGE.login();
    let object = s.text(&format!("SELECT lo_from_bytea(0, '{SECRET_ROW}')"));
    let open = format!("SELECT lo_open({object}, x'60000'::int)");
    s.run("BEGIN");
    let descriptor = s.text(&open);
    assert_eq!(
        s.text(&format!(
            "SELECT convert_from(loread({descriptor}, 3), 'UTF8')"
        )),
        "tre"
    );
    s.run(&switch(&STAGE.token));
    s.run("SAVEPOINT s");
    for attack in [
        "loread({}, 100)",
        "lowrite({}, 'x')",
        "lo_lseek({}, 0, 0)",
        "lo_truncate({}, 0)",
    ] {
        s.denied(
            &format!("SELECT {}", attack.replace("{}", &descriptor)),
            "42704",
        );
        s.run("ROLLBACK TO s");
    }
    s.denied(&open, "42501");
    s.run("ROLLBACK TO s");
    // Its own are as good as ever.
    let own = s.text("SELECT lo_from_bytea(0, 'own')");
    let own = s.text(&format!("SELECT lo_open({own}, x'40000'::int)"));
    assert_eq!(
        s.text(&format!("SELECT convert_from(loread({own}, 3), 'UTF8')")),
        "own"
    );
    STAGE.assert_locked(&mut s);
    s.run("COMMIT");
    s.run(&format!("SELECT lo_unlink({object})"));
    STAGE.assert_free_and_usable(&mut s);
}

/// A cursor is not open while it is being fetched from, so it can take the lock in its own query and go on afterwards.
#[test]
fn cursor_that_takes_the_lock_itself() {
    let mut s = STAGE.login();
    let query = STAGE.fill(
        "SELECT CASE WHEN g = 1 THEN scope.set_jwt_role({token}) END, secret FROM vault, generate_series(1, 3) g",
    );
    for attack in [
        "FETCH 1 FROM c",
        "FETCH ALL FROM c",
        "MOVE 1 FROM c",
        "DO $$ DECLARE c refcursor := 'c'; r record; BEGIN FETCH c INTO r; RAISE EXCEPTION '%', r; END $$",
    ] {
        s.run(&format!(
            "BEGIN; DECLARE c CURSOR FOR {query}; FETCH 1 FROM c; SAVEPOINT s"
        ));
        STAGE.assert_locked(&mut s);
        s.refused(attack, "42501");
        s.run("ROLLBACK TO s");
        STAGE.assert_locked(&mut s);
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
    // PL/pgSQL's own cursors, hidden below a statement that has no cursor.
    s.run(&STAGE.fill(
        "CREATE FUNCTION pg_temp.take() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'EXECUTE take'; RETURN 1; END $$;
         PREPARE take AS SELECT scope.set_jwt_role({token})",
    ));
    s.run("BEGIN");
    s.refused(
        "DO $$ DECLARE c CURSOR FOR SELECT CASE WHEN g = 1 THEN pg_temp.take() END, secret FROM vault, generate_series(1, 3) g; r record;
         BEGIN OPEN c; FETCH c INTO r; FETCH c INTO r; RAISE EXCEPTION '% as %', r, current_user; END $$",
        "42501",
    );
    s.run("ROLLBACK");
    STAGE.assert_free_and_usable(&mut s);
}

/// A foreign key is checked as the owner of the referenced table, with the casts of whoever made the foreign key.
#[test]
fn cast_in_a_foreign_key_to_another_roles_table() {
    let g = Gate::new("lock_fk");
    let owner = g.f.role("owner", "NOLOGIN");
    g.f.admin().run(&format!(
        "GRANT ALL ON SCHEMA public TO {reader}, {owner};
         CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1); ALTER TABLE parent OWNER TO {owner};
         ALTER TABLE vault OWNER TO {owner};
         GRANT REFERENCES ON parent TO {reader}",
        reader = g.reader
    ));
    let mut s = g.login();
    s.run(&format!(
        "BEGIN; {};
         CREATE TYPE public.trap AS (x int);
         CREATE FUNCTION public.spring(public.trap) RETURNS int LANGUAGE plpgsql
             AS $$ BEGIN RAISE NOTICE 'as % with %', current_user, (SELECT secret FROM public.vault); RETURN 1; END $$;
         CREATE TABLE public.child (x public.trap); SAVEPOINT s",
        switch(&g.token(json!({})))
    ));
    s.notices();
    for kind in ["AS IMPLICIT", "AS ASSIGNMENT", ""] {
        s.refused(
            &format!(
                "CREATE CAST (public.trap AS int) WITH FUNCTION public.spring(public.trap) {kind};
                 ALTER TABLE public.child ADD FOREIGN KEY (x) REFERENCES public.parent;
                 INSERT INTO public.child VALUES (ROW(1))"
            ),
            "42501",
        );
        s.run("ROLLBACK TO s");
        assert!(s.notices().is_empty());
    }
    s.run("ROLLBACK");
}

/// A foreign key that cascades changes the other table as that table's owner, and its triggers run as the owner too.
#[test]
fn trigger_on_another_owners_table_that_a_foreign_key_fires() {
    let g = Gate::new("lock_cascade");
    let owner = g.f.role("owner", "NOLOGIN");
    g.f.admin().run(&format!(
        "GRANT ALL ON SCHEMA public TO {reader};
         CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1);
         ALTER TABLE child OWNER TO {owner}; ALTER TABLE vault OWNER TO {owner};
         GRANT SELECT, DELETE ON parent TO {reader}; GRANT TRIGGER ON child TO {reader}",
        reader = g.reader
    ));
    let mut s = g.login();
    s.run(&format!(
        "BEGIN; {};
         CREATE FUNCTION public.spring() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN RAISE NOTICE 'as % with %', current_user, (SELECT secret FROM public.vault); RETURN OLD; END $$;
         SAVEPOINT s",
        switch(&g.token(json!({})))
    ));
    s.notices();
    for create in [
        "CREATE TRIGGER t BEFORE DELETE ON public.child FOR EACH ROW EXECUTE FUNCTION public.spring()",
        "CREATE TRIGGER t AFTER DELETE ON child FOR EACH STATEMENT EXECUTE FUNCTION public.spring()",
        "CREATE CONSTRAINT TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION public.spring()",
    ] {
        let outcome = s.attempt(&format!("{create}; DELETE FROM public.parent"));
        let said = s.notices();
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(outcome.expect_err("an escape").code, "42501");
        s.run("ROLLBACK TO s");
    }
    // On its own tables a role may do as it likes.
    s.run(
        "CREATE TABLE public.own (x int); CREATE TRIGGER t BEFORE DELETE ON own FOR EACH ROW EXECUTE FUNCTION spring()",
    );
    s.denied(
        "CREATE TRIGGER t BEFORE DELETE ON nowhere FOR EACH ROW EXECUTE FUNCTION spring()",
        "42P01",
    );
    s.run("ROLLBACK");
}

/// The statement is judged by a name, which may mean another table once its lock has been waited for; and partitions get clones.
#[test]
fn trigger_that_lands_on_another_owners_table() {
    let g = Gate::new("lock_landing");
    let owner = g.f.role("owner", "NOLOGIN");
    let reader = &g.reader;
    g.f.admin().run(&format!(
        "CREATE SCHEMA mal AUTHORIZATION {reader}; CREATE SCHEMA v; GRANT USAGE ON SCHEMA v, mal TO PUBLIC;
         CREATE TABLE v.child (id int); ALTER TABLE v.child OWNER TO {owner}; GRANT TRIGGER ON v.child TO {reader};
         CREATE TABLE v.q (id int NOT NULL); ALTER TABLE v.q OWNER TO {owner}; GRANT TRIGGER ON v.q TO {reader};
         CREATE TABLE mal.child (id int); CREATE TABLE mal.p (id int NOT NULL) PARTITION BY RANGE (id);
         ALTER TABLE mal.p ATTACH PARTITION v.q FOR VALUES FROM (1) TO (9);
         ALTER TABLE mal.child OWNER TO {reader}; ALTER TABLE mal.p OWNER TO {reader};
         CREATE FUNCTION mal.tg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'"
    ));
    let take = switch(&g.token(json!({})));
    let mut first = g.login();
    first.run(&format!(
        "BEGIN; {take}; ALTER TABLE mal.child RENAME TO away"
    ));
    let mut second = g.login();
    second.run(&format!("BEGIN; {take}; SET LOCAL search_path = mal, v"));
    let pid = second.text("SELECT pg_backend_pid()");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            second.attempt(
                "CREATE TRIGGER t BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION mal.tg()",
            )
        });
        let mut admin = g.f.admin();
        wait_until("it waits for the lock", 15, || {
            admin.holds(&format!(
                "EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"
            ))
        });
        first.run("COMMIT");
        let outcome = waiting.join().expect("the session");
        assert_eq!(outcome.expect_err("an escape").code, "42501");
    });
    second.run("ROLLBACK");
    second.run(&format!("BEGIN; {take}"));
    second.denied(
        "CREATE TRIGGER t BEFORE DELETE ON mal.p FOR EACH ROW EXECUTE FUNCTION mal.tg()",
        "42501",
    );
    second.run("ROLLBACK");
    g.f.admin()
        .assert_that("NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid IN ('v.child'::regclass, 'v.q'::regclass))");
}

/// Rights are looked at when the role is taken. One that is granted afterwards opens the guard, but what follows is not run.
#[test]
fn right_to_set_the_role_granted_during_the_switch() {
    let _turn = rights_on_settings();
    let g = Gate::new("lock_granted");
    let mut admin = g.f.admin();
    admin.run(&format!("GRANT SELECT ON vault TO {}", g.auth));
    let mut s = g.login();
    for steps in [
        [
            "SELECT set_config('role', 'none', true)",
            "SELECT secret FROM vault",
        ],
        [
            "SELECT set_config('role', 'none', true)",
            "COPY vault TO STDOUT",
        ],
        [
            "SELECT set_config('role', 'none', true)",
            "DO $$ BEGIN RAISE EXCEPTION '%', current_user; END $$",
        ],
        [
            "SELECT 1",
            "DO $$ BEGIN PERFORM set_config('role', 'none', true); PERFORM secret FROM vault; END $$",
        ],
        [
            "SELECT 1",
            "SELECT set_config('role', 'none', true); SELECT current_user",
        ],
        ["SELECT 1", "RESET ROLE"],
    ] {
        s.run(&format!(
            "BEGIN; {}; SAVEPOINT s",
            switch(&g.token(json!({})))
        ));
        admin.run(&format!("GRANT SET ON PARAMETER role TO {}", g.reader));
        // The role is none that tokens take any more, which ends the switch.
        for step in steps {
            s.refused_with(step, "28000", "withdrawn");
            s.run("ROLLBACK TO s");
        }
        s.run("ROLLBACK");
        admin.run(&format!("REVOKE SET ON PARAMETER role FROM {}", g.reader));
    }
}

/// A superuser can undo anything, but not make claims up: they are the token's.
#[test]
fn superuser_who_forges_a_switch() {
    let mut admin = STAGE.gate.f.admin();
    let oid = admin.text(&STAGE.fill("SELECT '{reader}'::regrole::oid"));
    let state = format!(
        "t {oid} 9223372036854775807 {} {{\"sub\":\"root\"}}",
        "0".repeat(64)
    );
    for attack in [
        format!("SET scope.switch = '{state}'"),
        format!("SELECT set_config('scope.switch', '{state}', false)"),
        format!("ALTER ROLE CURRENT_USER SET scope.switch = '{state}'"),
        "SET scope.switch = 'x'".to_owned(),
    ] {
        admin.denied(&attack, "22023");
        admin.assert_that("scope.jwt_claims() IS NULL");
    }
}

/// A connection for replication takes commands that no hook sees, with the rights of its login.
#[test]
fn replication_commands_in_a_switched_session() {
    let gate = &STAGE.gate;
    let login = format!("{}_replicator", gate.f.name);
    gate.f.admin().run(&format!(
        "CREATE ROLE {login} LOGIN REPLICATION NOINHERIT IN ROLE {}",
        gate.reader
    ));
    let open = || {
        Wire::try_open(
            gate.f.server,
            &login,
            &gate.f.name,
            &[("replication", "database")],
        )
        .expect("login")
    };
    // It works, so the refusals below mean something.
    assert!(!has_error(&open().query("IDENTIFY_SYSTEM"), "42501"));
    for function in ["set_jwt_role", "set_jwt_session"] {
        let mut wire = open();
        wire.query("BEGIN");
        let answers = wire.query(&switch(&STAGE.token).replace("set_jwt_role", function));
        assert!(has_error(&answers, "42501"), "{answers:?}");
    }
}

#[test]
fn replication_connection_of_a_gated_login() {
    let g = Gate::new("lock_gated_walsender");
    let login = "lock_gated_walsender_api";
    g.f.admin().rows(&format!(
        "SELECT scope.create_authenticator('{login}', '{{{}}}')",
        g.reader
    ));
    g.f.admin().run(&format!("ALTER ROLE {login} REPLICATION"));
    for mode in ["database", "true"] {
        let opened = Wire::try_open(g.f.server, login, &g.f.name, &[("replication", mode)]);
        let answers = opened.err().expect("a refusal");
        assert!(has_error(&answers, "28000"), "{mode}: {answers:?}");
    }
    g.f.login(login).run("SELECT 1");
}

/// What ANALYZE, CREATE INDEX and REFRESH run as the table's owner cannot take a lock that would be undone with them.
#[test]
fn switch_inside_a_restricted_operation() {
    let mut s = STAGE.login();
    s.run(&STAGE.fill(
        "CREATE FUNCTION public.sneaky(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
             AS $$ BEGIN PERFORM scope.set_jwt_role({token}); RETURN 1; END $$;
         CREATE TEMP TABLE pit (x int); INSERT INTO pit VALUES (1)",
    ));
    for attack in [
        "CREATE INDEX ON pit (public.sneaky(x))",
        "CREATE MATERIALIZED VIEW public.murky AS SELECT public.sneaky(1)",
    ] {
        s.run("BEGIN");
        s.denied(attack, "42501");
        s.run("ROLLBACK");
        STAGE.assert_free_and_usable(&mut s);
    }
}

/// A function of the reader's own that tries to be the login again, wherever PostgreSQL runs functions on a table owner's behalf.
#[test]
fn maintenance_functions_that_reset_the_role() {
    let g = Gate::new("lock_maintenance");
    g.f.admin()
        .run(&format!("GRANT ALL ON SCHEMA public TO {}", g.reader));
    let mut s = g.login();
    s.run(&format!(
        "BEGIN; {};
         CREATE TABLE public.pit (x int); INSERT INTO public.pit VALUES (1);
         CREATE FUNCTION public.leap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
             AS $$ BEGIN PERFORM set_config('role', 'none', true); RAISE EXCEPTION 'as %', current_user; END $$;
         CREATE FUNCTION public.crawl(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 1; END $$;
         CREATE INDEX ON public.pit (public.crawl(x));
         CREATE MATERIALIZED VIEW public.puddle AS SELECT public.crawl(1);
         SAVEPOINT s",
        switch(&g.token(json!({})))
    ));
    let body = "LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM set_config('role', 'none', true); RAISE EXCEPTION 'as %', current_user; END $$";
    for attack in [
        "CREATE INDEX ON public.pit (public.leap(x))".to_owned(),
        "CREATE INDEX ON public.pit (x) WHERE public.leap(x) = 1".to_owned(),
        "CREATE MATERIALIZED VIEW public.lake AS SELECT public.leap(1)".to_owned(),
        "ALTER TABLE public.pit ADD CHECK (public.leap(x) = 1)".to_owned(),
        "ALTER TABLE public.pit ADD y int GENERATED ALWAYS AS (public.leap(x)) STORED".to_owned(),
        "ALTER TABLE public.pit ALTER x TYPE int USING public.leap(x)".to_owned(),
        "CREATE STATISTICS public.st ON public.leap(x), x FROM public.pit; ANALYZE public.pit"
            .to_owned(),
        format!(
            "CREATE OR REPLACE FUNCTION public.crawl(int) RETURNS int {body}; REFRESH MATERIALIZED VIEW public.puddle"
        ),
        format!(
            "CREATE OR REPLACE FUNCTION public.crawl(int) RETURNS int {body}; REINDEX TABLE public.pit"
        ),
        format!(
            "CREATE OR REPLACE FUNCTION public.crawl(int) RETURNS int {body}; ANALYZE public.pit"
        ),
        format!(
            "CREATE OR REPLACE FUNCTION public.crawl(int) RETURNS int {body}; INSERT INTO public.pit VALUES (2)"
        ),
    ] {
        s.denied(&attack, "42501");
        s.run("ROLLBACK TO s");
        assert_eq!(s.text("SELECT current_user"), g.reader, "{attack}");
    }
    s.run("ROLLBACK");
}

/// Rows of a definer's cursor are the definer's, as those of a definer's function; the session stays the locked role's.
#[test]
fn cursor_of_a_security_definer_function() {
    STAGE.gate.f.admin().run(
        "CREATE FUNCTION definers_cursor() RETURNS refcursor LANGUAGE plpgsql SECURITY DEFINER
             AS $$ DECLARE c refcursor := 'lent'; BEGIN OPEN c FOR SELECT current_user::text; RETURN c; END $$",
    );
    let mut s = STAGE.login();
    STAGE.lock(&mut s);
    s.run("SELECT definers_cursor()");
    assert_no_escape(&STAGE, &s.rows("FETCH ALL FROM lent"));
    STAGE.assert_locked(&mut s);
    s.run("COMMIT");
    STAGE.assert_free_and_usable(&mut s);
}

/// Before PostgreSQL 18 AFTER triggers that a foreign key sets off run as whoever changes the other table: at once, or at the COMMIT.
#[test]
fn triggers_that_somebody_elses_delete_sets_off() {
    let g = Gate::new("lock_set_off");
    let owner = g.f.role("owner", "LOGIN");
    let group = g.f.role("group", "NOLOGIN");
    let reader = &g.reader;
    g.f.admin().run(&format!(
        "GRANT ALL ON SCHEMA public TO {reader}, {group}; GRANT {group} TO {reader}; GRANT CREATE ON DATABASE {db} TO {reader};
         CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2); ALTER TABLE parent OWNER TO {owner};
         GRANT REFERENCES, SELECT ON parent TO {reader}, {group};
         CREATE TABLE seen (who name); GRANT INSERT, SELECT ON seen TO PUBLIC;
         CREATE TABLE of_group (id int); ALTER TABLE of_group OWNER TO {group}",
        db = g.f.name,
    ));
    let late = g.f.server.version() >= 180_000;
    let mut s = g.login();
    let take = switch(&g.token(json!({})));
    let try_all = |s: &mut Session, attacks: &[&str]| {
        for make in attacks {
            s.run("SAVEPOINT s");
            if late {
                s.run(make);
            } else {
                s.refused(make, "42501");
            }
            s.run("ROLLBACK TO s");
        }
    };
    s.run(&format!(
        "BEGIN; {take};
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN NULL; END $$;
         CREATE FUNCTION pure(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN i; END $$;
         CREATE TABLE mine (id int PRIMARY KEY);
         CREATE TABLE next (id int REFERENCES mine ON DELETE CASCADE);
         CREATE CONSTRAINT TRIGGER t AFTER DELETE ON next INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER u AFTER UPDATE ON mine FOR EACH STATEMENT EXECUTE FUNCTION note();
         ALTER TABLE mine ADD EXCLUDE USING btree ((pure(id)) WITH =) DEFERRABLE"
    ));
    // The foreign key that brings the changes of others.
    try_all(
        &mut s,
        &[
            "ALTER TABLE mine ADD FOREIGN KEY (id) REFERENCES parent ON DELETE CASCADE",
            "ALTER TABLE mine ADD FOREIGN KEY (id) REFERENCES parent ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED",
            "ALTER TABLE mine ADD FOREIGN KEY (id) REFERENCES parent ON DELETE SET NULL NOT VALID",
            "ALTER TABLE mine ADD COLUMN p int DEFAULT 2 REFERENCES parent ON UPDATE SET DEFAULT",
            "ALTER TABLE of_group ADD FOREIGN KEY (id) REFERENCES parent ON DELETE SET DEFAULT",
            "CREATE TABLE other (id int REFERENCES parent ON UPDATE SET NULL)",
            "CREATE TABLE parts (id int REFERENCES parent ON DELETE CASCADE) PARTITION BY RANGE (id)",
            "CREATE SCHEMA s CREATE TABLE other (id int REFERENCES public.parent ON DELETE CASCADE)",
            "DO $$ BEGIN EXECUTE 'ALTER TABLE mine ADD FOREIGN KEY (id) REFERENCES parent ON DELETE CASCADE'; END $$",
        ],
    );
    // Without a cascade nothing of theirs arrives.
    s.run("ALTER TABLE mine ADD FOREIGN KEY (id) REFERENCES parent DEFERRABLE INITIALLY DEFERRED; CREATE TABLE more (id int REFERENCES parent ON DELETE RESTRICT)");
    s.run("ROLLBACK");
    // Where there is one already, what it would set off.
    g.f.admin().run("ALTER TABLE of_group ADD FOREIGN KEY (id) REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE;
         INSERT INTO of_group VALUES (1), (2)");
    s.run(&format!(
        "BEGIN; {take};
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN OLD; END $$;
         CREATE FUNCTION pure(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN i; END $$;
         CREATE TABLE mine (id int)"
    ));
    try_all(
        &mut s,
        &[
            "CREATE TRIGGER t AFTER DELETE ON of_group FOR EACH ROW EXECUTE FUNCTION note()",
            "CREATE TRIGGER t AFTER DELETE ON of_group FOR EACH STATEMENT EXECUTE FUNCTION note()",
            "CREATE CONSTRAINT TRIGGER t AFTER DELETE ON of_group FOR EACH ROW EXECUTE FUNCTION note()",
            "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON of_group INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()",
            "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON mine INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()",
            "ALTER TABLE of_group ADD EXCLUDE USING btree ((pure(id)) WITH =) DEFERRABLE INITIALLY DEFERRED",
            "CREATE TABLE other (id int, EXCLUDE USING btree (id WITH =, (pure(id)) WITH =) DEFERRABLE)",
        ],
    );
    // What runs before a change runs as the table's owner, and what is no code of its own is as it was.
    s.run(
        "CREATE TRIGGER t BEFORE DELETE ON of_group FOR EACH ROW EXECUTE FUNCTION note();
         ALTER TABLE of_group ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED; ALTER TABLE of_group ADD EXCLUDE USING btree ((pure(id)) WITH =);
         COMMIT",
    );
    let mut victim = g.f.login(&owner);
    victim.run("BEGIN; SET CONSTRAINTS ALL DEFERRED; DELETE FROM parent WHERE id = 1; UPDATE parent SET id = 3; COMMIT");
    assert_eq!(victim.column("SELECT DISTINCT who FROM seen"), [group]);
}
