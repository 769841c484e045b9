//! PostgreSQL's own tools, and its hard ends, with the library preloaded.

use super::*;

/// What a server has to bring through: a credential, an authenticator, an issuer, revocations; and one credential that is soon due.
struct Estate {
    credential: Credential,
    due: Credential,
    issuer: &'static str,
    db: String,
    api: String,
    reader: String,
}

const ISSUER: &str = "https://id.example.org/estate";

impl Estate {
    fn on(server: &Server, name: &str) -> Estate {
        let gate = Gate::with(Fixture::on(server, name));
        let api = format!("{name}_api");
        let mut admin = gate.f.admin();
        admin.run(&format!(
            "SELECT scope.create_authenticator('{api}', '{{{},{}}}', purpose => 'estate');
             SELECT scope.add_jwt_issuer('estate', '{ISSUER}', '{SECRET}', audiences => '{{db}}');
             SELECT scope.revoke_token('stolen', 'infinity'), scope.revoke_subject('lost', 'infinity')",
            gate.reader, gate.writer
        ));
        Estate {
            credential: admin.issue("'orders', valid_for => '1 hour', purpose => 'kept'"),
            due: admin.issue("'orders', valid_for => '4 s'"),
            issuer: ISSUER,
            db: name.to_owned(),
            api,
            reader: gate.reader.clone(),
        }
    }

    fn token(&self, more: serde_json::Value) -> String {
        let mut claims = json!({"iss": self.issuer, "aud": "db", "role": self.reader, "sub": "ann", "exp": now() + 600});
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        sign(&claims)
    }

    /// All of it is there and does its work.
    fn assert_whole(&self, server: &Server) {
        let mut admin = server.admin(&self.db);
        assert_eq!(
            admin.rows(&format!(
                "SELECT kind, state, purpose FROM scope.roles WHERE role IN ('{}', '{}') ORDER BY kind",
                self.credential.role, self.api
            )),
            [["authenticator", "active", "estate"], ["credential", "active", "kept"]]
                .map(|row| row.map(|cell| Some(cell.to_owned())).to_vec())
        );
        let Credential { role, password, .. } = &self.credential;
        let mut s = server
            .try_password(role, password, &self.db)
            .expect("the credential");
        assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
        s.denied("SELECT * FROM vault", "42501");

        let mut s = server.login(&self.api, &self.db);
        s.refused(&format!("SET ROLE {}", self.reader), "42501");
        s.run(&format!("BEGIN; {}", switch(&self.token(json!({})))));
        assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
        s.refused("RESET ROLE", "42501");
        s.run("ROLLBACK");
        for revoked in [json!({"jti": "stolen"}), json!({"sub": "lost"})] {
            s.refused_with(&switch(&self.token(revoked)), "28000", "revoked");
        }
        // Its deadline has passed, or passes, wherever it is now.
        wait_until("the credential that is due is gone", 40, || {
            !admin.role_exists(&self.due.role)
        });
        // More can be issued.
        let more = admin.issue("'orders', valid_for => '1 hour'");
        more.connect().rows("SELECT * FROM orders");
        admin.rows("SELECT * FROM scope.expire_roles()");
    }
}

/// Nothing that the log of a sound server has.
#[track_caller]
fn assert_quiet(server: &Server) {
    let log = server.log();
    for word in ["PANIC", "panicked", "terminated by signal", "WARNING"] {
        assert!(!log.contains(word), "{word}:\n{log}");
    }
}

#[test]
fn a_dump_of_the_cluster_is_restored_on_a_fresh_server() {
    let old = Server::start(Options::default());
    let estate = Estate::on(&old, "tools_dump");
    let files = old.socket();
    let (roles, data) = (
        files.with_file_name("roles.sql"),
        files.with_file_name("data.dump"),
    );
    std::fs::write(
        &roles,
        output(old.client("pg_dumpall").arg("--globals-only")),
    )
    .expect("the roles");
    output(
        old.client("pg_dump")
            .args(["--format=custom", "--create", "--file"])
            .arg(&data)
            .arg(&estate.db),
    );
    old.stop();

    // A worker that runs would end what is due in the middle of the restore.
    let new = Server::start(Options::default().set("scope_roles.expiry", "off"));
    // The bootstrap superuser exists already; everything else must go through.
    let globals = std::fs::read_to_string(&roles).expect("the roles");
    assert!(
        globals.contains("SECURITY LABEL FOR scope_roles ON ROLE"),
        "{globals}"
    );
    assert!(!globals.contains(&estate.credential.password), "{globals}");
    let others = globals.replacen("CREATE ROLE postgres;", "", 1);
    std::fs::write(&roles, others).expect("the roles");
    output(
        new.client("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&roles)
            .arg("postgres"),
    );
    output(
        new.client("pg_restore")
            .args(["--create", "--exit-on-error", "--dbname=postgres"])
            .arg(&data),
    );
    // Secrets are in no dump, and labels of another cluster are nobody's.
    new.admin(&estate.db).run(&format!(
        "SELECT scope.set_jwt_keys('estate', '{SECRET}'); SELECT * FROM scope.adopt_restored()"
    ));
    new.alter_system("scope_roles.expiry", "on");
    estate.assert_whole(&new);
    assert_quiet(&new);
}

/// What else a cluster has: scopes, a rotation, a temporary membership.
fn add_more(server: &Server, estate: &Estate) {
    server.admin(&estate.db).run(&format!(
        "CREATE ROLE {db}_ann LOGIN;
         SELECT scope.create_scope('{db}_scope', '{{SELECT,INSERT}}', '{{vault}}', future_tables => false);
         SELECT scope.create_credential('{{{db}_scope}}', '{db}_svc', '20 days', 'svc', allowed_ips => '{{10.0.0.0/8}}');
         SELECT scope.rotate_password('{db}_svc', overlap => '1 hour');
         SELECT scope.grant_temporary('{db}_scope', '{db}_ann', '1 hour', 'incident')",
        db = estate.db
    ));
}

/// What the views say about everything that is not soon due.
fn told(server: &Server, estate: &Estate) -> Vec<Vec<Vec<Option<String>>>> {
    let mut admin = server.admin(&estate.db);
    [
        "SELECT oid, rolname, rolinherit, rolcanlogin, rolconnlimit, rolpassword, rolvaliduntil, setconfig \
         FROM pg_authid LEFT JOIN pg_db_role_setting ON setrole = oid WHERE rolname !~ '^pg_' AND rolname <> $due$",
        "SELECT label, objoid::regrole FROM pg_shseclabel WHERE objoid::regrole::text <> $due$",
        "SELECT role, kind, state, scopes, created_by, purpose, valid_until FROM scope.credentials WHERE role <> $due$",
        "SELECT scope, privileges, created_by FROM scope.scopes",
        "SELECT * FROM _scope.jwt_issuer",
        "SELECT * FROM _scope.jwt_revoked_token",
        "SELECT * FROM _scope.jwt_revoked_subject",
    ]
    .map(|sql| {
        let sql = sql.replace("$due$", &literal(&estate.due.role));
        admin.rows(&format!("{sql} ORDER BY 1, 2"))
    })
    .to_vec()
}

/// pg_upgrade starts both servers in binary-upgrade mode, where no credential may end and nothing may write.
fn assert_upgraded(old: &Server, estate: &Estate) -> Server {
    add_more(old, estate);
    let before = told(old, estate);
    let new = old.upgrade(Options::default());
    // What the labels say of creators, they say by OID: those are the same too.
    assert_eq!(told(&new, estate), before);
    estate.assert_whole(&new);
    let mut admin = new.admin(&estate.db);
    // Of what came along, all can be managed.
    let next = admin.text(&format!(
        "SELECT replaced_by FROM scope.credentials WHERE role = '{}_svc'",
        estate.db
    ));
    admin.run(&format!(
        "SELECT scope.renew_role('{next}', '25 days'), scope.revoke_temporary('{db}_scope', '{db}_ann');
         SELECT scope.alter_scope('{db}_scope', 'add', '{{UPDATE}}', '{{vault}}');
         SELECT scope.revoke_role('{next}', 'moved')",
        db = estate.db
    ));
    wait_until("the revoked credential is gone", 30, || {
        !admin.role_exists(&next)
    });
    assert_quiet(&new);
    new
}

#[test]
fn an_upgraded_cluster_has_all_its_credentials() {
    let old = Server::start(Options::default());
    assert_upgraded(&old, &Estate::on(&old, "tools_upgrade"));
}

/// The same from one major version to another, each with its own build of the library.
#[test]
fn a_cluster_of_an_older_version_is_upgraded_with_all_its_credentials() {
    let Some(programs) = older_bindir() else {
        return;
    };
    let old = Server::start(Options::default().programs(&programs));
    let here = shared().version() / 10_000;
    assert!(old.version() / 10_000 < here, "not older than {here}");
    let estate = Estate::on(&old, "tools_older");
    let before = old.version();
    let new = assert_upgraded(&old, &estate);
    if before >= 160_000 || new.version() < 160_000 {
        return;
    }
    // Every membership of old had SET. What the page on operations says against it, works.
    let page = include_str!("../../../docs/operations.md");
    let block = page
        .split("```")
        .find(|part| part.contains("WITH SET FALSE"));
    let block = block
        .and_then(|block| block.strip_prefix("sql"))
        .expect("the block");
    let mut admin = new.admin(&estate.db);
    let may_set = |admin: &mut Session, role: &str| {
        admin.holds(&format!(
            "EXISTS (SELECT FROM pg_auth_members WHERE member = '{role}'::regrole AND set_option)"
        ))
    };
    assert!(may_set(&mut admin, &estate.credential.role));
    admin.run(block);
    assert!(!may_set(&mut admin, &estate.credential.role));
    assert!(may_set(&mut admin, &estate.api));
    let Credential { role, password, .. } = &estate.credential;
    let mut s = new
        .try_password(role, password, &estate.db)
        .expect("the credential");
    assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
}

#[test]
fn single_user_mode_works_and_the_lock_holds_in_it() {
    let server = Server::start(Options::default());
    let gate = Gate::with(Fixture::on(&server, "tools_single"));
    let token = gate.token(json!({}));
    server.stop();
    // Run as the bootstrap superuser, the only user there is.
    let done = server.single_user(
        &[],
        &gate.f.name,
        &[],
        &format!(
            "SELECT 'rows ' || count(*) FROM vault\n\
             BEGIN\n\
             {}\n\
             SELECT 'as ' || current_user\n\
             RESET ROLE\n\
             ROLLBACK\n\
             BEGIN\n\
             {}\n\
             SELECT 'again ' || secret FROM vault\n\
             ROLLBACK\n\
             SELECT 'then ' || current_user\n\
             SELECT role_name FROM scope.create_readonly_role('orders', 'tools_single_made')\n\
             CREATE TABLE made ()\n",
            switch(&token),
            switch(&token)
        ),
    );
    let (answers, said) = (
        String::from_utf8_lossy(&done.stdout).into_owned(),
        String::from_utf8_lossy(&done.stderr).into_owned(),
    );
    assert!(done.status.success(), "{answers}{said}");
    for answer in [
        "rows 1",
        &format!("as {}", gate.reader),
        "then postgres",
        "tools_single_made",
    ] {
        assert!(
            answers.contains(&format!("\"{answer}\"")),
            "{answer}:\n{answers}{said}"
        );
    }
    assert!(!answers.contains("again treasure"), "{answers}");
    assert!(said.contains("permission denied for table vault"), "{said}");
    assert!(said.contains("locked"), "{said}");

    server.recover();
    let mut admin = gate.f.admin();
    admin.run("DROP TABLE made");
    admin.assert_that(
        "EXISTS (SELECT FROM scope.roles WHERE role = 'tools_single_made' AND state = 'active')",
    );
    assert_quiet(&server);
}

/// The transaction of a locked session is one like any other: it is gone, and so is the role.
#[test]
fn a_locked_transaction_does_not_survive_a_crash() {
    let server = Server::start(Options::durable());
    let gate = Gate::with(Fixture::on(&server, "tools_crash"));
    let token = gate.token(json!({"role": gate.writer}));
    let begin = |s: &mut Session| {
        s.run(&format!(
            "BEGIN; {}; INSERT INTO orders VALUES (3, 'lost')",
            switch(&token)
        ));
        s.text("SELECT pg_backend_pid()")
    };
    let assert_sound = || {
        let mut s = gate.login();
        s.assert_that(&format!(
            "current_user = '{0}' AND session_user = '{0}' AND current_setting('role') = 'none'",
            gate.auth
        ));
        s.denied("SELECT * FROM orders", "42501");
        s.run(&format!("BEGIN; {}", switch(&token)));
        assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
        s.refused("RESET ROLE", "42501");
    };

    // One backend is killed; the postmaster starts all of them anew.
    let mut s = gate.login();
    let pid = begin(&mut s);
    assert!(server.kill(&pid));
    assert_sound();

    // Every process quits.
    let mut s = gate.login();
    begin(&mut s);
    server.stop_immediately();
    server.recover();
    assert_sound();

    // The power is cut.
    let mut s = gate.login();
    begin(&mut s);
    server.crash();
    server.recover();
    assert_sound();
}

/// A standby writes nothing, and switches all the same.
#[test]
fn the_lock_holds_on_a_standby() {
    let primary = Server::start(Options::default());
    let gate = Gate::with(Fixture::on(&primary, "tools_standby"));
    gate.f.admin().run(&format!(
        "SELECT scope.create_authenticator('tools_standby_api', '{{{}}}')",
        gate.reader
    ));
    let standby = primary.standby(Options::default());
    let token = gate.token(json!({}));
    for login in [&gate.auth, "tools_standby_api"] {
        let mut s = standby.login(login, &gate.f.name);
        for attack in [
            "RESET ROLE",
            "SET ROLE NONE",
            "SET SESSION AUTHORIZATION DEFAULT",
            "SELECT set_config('role', NULL, true)",
            "DISCARD ALL",
        ] {
            s.run(&format!("BEGIN; {}; SAVEPOINT s", switch(&token)));
            s.denied(attack, "42501");
            s.run("ROLLBACK TO s");
            s.assert_that(&format!(
                "current_user = '{}' AND pg_is_in_recovery()",
                gate.reader
            ));
            assert_eq!(s.text("SELECT count(*) FROM orders"), "2");
            s.denied("SELECT * FROM vault", "42501");
            s.run("ROLLBACK");
        }
        s.assert_that(&format!("current_user = '{login}'"));
    }
    standby
        .login("tools_standby_api", &gate.f.name)
        .refused(&format!("SET ROLE {}", gate.reader), "42501");
    assert_quiet(&standby);
}
