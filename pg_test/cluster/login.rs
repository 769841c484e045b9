//! Who may log in from where: the rules of a login hold for every authentication method.

mod change;
mod facts;
mod guard;
mod trail;
mod unloaded;

use crate::harness::*;

/// A password over IPv4, nothing at all over IPv6 and the socket: what refuses a login there is the extension.
const HBA: &str =
    "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 trust\n";

const POLICY: &str = "connection refused by login policy";

struct Door {
    server: Server,
    /// Some containers have no IPv6.
    ipv6: bool,
}

impl Door {
    fn open(options: Options) -> Door {
        let ipv6 = std::net::TcpListener::bind(("::1", 0)).is_ok();
        if !ipv6 {
            skip("this machine has no IPv6: only a part is tested");
        }
        let addresses = if ipv6 { "127.0.0.1,::1" } else { "127.0.0.1" };
        let options = options.hba(HBA).set("listen_addresses", addresses);
        Door {
            server: Server::start(options),
            ipv6,
        }
    }

    /// By which ways the login gets in: password by IPv4, trust by IPv6, trust by socket.
    #[track_caller]
    fn ways(&self, cred: &Credential, db: &str) -> String {
        let mut ways = String::new();
        let tcp = |host: &str| self.server.try_tcp(host, &cred.role, &cred.password, db);
        let mut note = |way: char, outcome: Result<Session, Refusal>| match outcome {
            Ok(_) => ways.push(way),
            Err(refusal) => {
                assert_eq!(refusal.code, "28000", "{refusal}");
                // The reason is for the server's log.
                assert_eq!(refusal.message, POLICY, "{refusal}");
                assert_eq!((refusal.detail.as_str(), refusal.hint.as_str()), ("", ""));
            }
        };
        note('4', tcp("127.0.0.1"));
        if self.ipv6 {
            note('6', tcp("::1"));
        }
        note('s', self.server.try_login(&cred.role, db));
        ways
    }

    #[track_caller]
    fn assert_ways(&self, cred: &Credential, db: &str, expected: &str) {
        let expected: String = expected
            .chars()
            .filter(|&way| self.ipv6 || way != '6')
            .collect();
        assert_eq!(self.ways(cred, db), expected, "{}", cred.role);
    }
}

/// The scope that reads `orders`.
fn orders_scope(f: &Fixture) -> String {
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    admin.scope_of(&cred.role)
}

#[test]
fn addresses_are_checked_whatever_the_authentication_method() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "login_addresses");
    let scope = orders_scope(&f);
    let mut admin = f.admin();
    for (options, ways) in [
        ("", "46s"),
        (", allowed_ips => '{127.0.0.1}'", "4"),
        (", allowed_ips => '{127.0.0.0/8,10.0.0.0/8}'", "4"),
        (", allowed_ips => '{::ffff:127.0.0.0/104}'", "4"),
        (", allowed_ips => '{0.0.0.0/0}'", "4"),
        (", allowed_ips => '{::/0}'", "6"),
        (", allowed_ips => '{::1,127.0.0.1}'", "46"),
        (", allowed_ips => '{10.0.0.0/8,2001:db8::/32}'", ""),
        (", allowed_ips => '{127.0.0.2}'", ""),
        (", allowed_ips => '{10.0.0.0/8}', allow_local => true", "s"),
        (", allowed_ips => '{127.0.0.1}', allow_local => false", "4"),
        (", allowed_ips => '{}', allow_local => true", "s"),
        (", allow_local => false", "46"),
        (", allow_local => true", "46s"),
    ] {
        let cred = admin.handed(&format!("scope.create_credential('{{{scope}}}'{options})"));
        door.assert_ways(&cred, &f.name, ways);
    }
    let log = door.server.log();
    assert!(log.contains("the client's address is not allowed to it"));
    assert!(log.contains("Unix sockets are not allowed to it"));
}

/// Its time has come, it was revoked, or it waits for somebody's decision: no way in, whatever is done to the role by hand.
#[test]
fn a_login_that_is_over_gets_in_by_no_way() {
    let door = Door::open(Options::default().set("scope_roles.expiry", "off"));
    let f = Fixture::on(&door.server, "login_over");
    let mut admin = f.admin();
    let [overdue, revoked, owner] = ["overdue", "revoked", "owner"].map(|name| {
        let cred = admin.issue(&format!("'orders', 'login_over_{name}'"));
        door.assert_ways(&cred, &f.name, "46s");
        cred
    });
    admin.run("ALTER ROLE login_over_overdue VALID UNTIL '2001-01-01'");
    // PostgreSQL itself lets nobody in by a password that is no longer valid; it asks nothing else.
    let by_password = f
        .server
        .try_password(&overdue.role, &overdue.password, &f.name);
    assert_eq!(by_password.err().map(|e| e.code).as_deref(), Some("28P01"));
    for way in [
        f.server.try_login(&overdue.role, &f.name),
        f.server.try_tcp("::1", &overdue.role, "", &f.name),
    ] {
        match way.err().expect("a login after the deadline") {
            refusal if refusal.code.is_empty() => assert!(!door.ipv6, "{refusal}"),
            refusal => assert_eq!(
                (refusal.code.as_str(), refusal.message.as_str()),
                ("28000", POLICY)
            ),
        }
    }
    admin.run(
        "CREATE TABLE owned (x int); ALTER TABLE owned OWNER TO login_over_owner;
         ALTER ROLE login_over_owner VALID UNTIL '2001-01-01'",
    );
    admin.run("SELECT * FROM scope.expire_roles()");
    admin.run("SELECT scope.revoke_role('login_over_revoked')");
    assert_eq!(
        admin.column("SELECT state FROM scope.roles WHERE kind = 'credential' ORDER BY role"),
        ["quarantined", "ending"]
    );
    for cred in [&revoked, &owner] {
        admin.run(&format!(
            "ALTER ROLE {} LOGIN PASSWORD {} VALID UNTIL 'infinity'",
            cred.role,
            literal(&cred.password)
        ));
        door.assert_ways(cred, &f.name, "");
    }
}

/// What PostgreSQL asks for makes no difference: a password in clear or hashed, who the client is on this machine, a certificate.
#[test]
fn rules_and_ends_hold_for_every_way_of_proving_who_one_is() {
    let tls = certificate("login-methods");
    // A server without TLS does not know the last.
    let cert = "hostssl all login_methods_cert 127.0.0.1/32 cert map=anyone\n";
    let hba = format!(
        "local all login_methods_peer peer map=anyone
         local all all trust
         host all login_methods_password 127.0.0.1/32 password
         host all login_methods_md5 127.0.0.1/32 md5\n{}",
        tls.as_ref().map_or("", |_| cert)
    );
    let mut options = Options::default()
        .set("scope_roles.expiry", "off")
        .hba(&hba);
    let file = |folder: &std::path::Path, name: &str| folder.join(name).display().to_string();
    if let Some(folder) = &tls {
        options = options
            .set("ssl", "on")
            .set("ssl_key_file", &file(folder, "server.key"))
            .set("ssl_cert_file", &file(folder, "server.crt"))
            .set("ssl_ca_file", &file(folder, "server.crt"));
    }
    let server = Server::start(options);
    let f = Fixture::on(&server, "login_methods");
    let mut admin = f.admin();
    std::fs::write(
        server.data().join("pg_ident.conf"),
        "anyone /^ login_methods_peer\nanyone localhost login_methods_cert\n",
    )
    .expect("pg_ident.conf");
    // Has it read.
    server.alter_system("log_disconnections", "on");
    let mut methods = vec!["password", "md5", "peer"];
    if tls.is_some() {
        methods.push("cert");
    }
    for method in methods {
        let cred = admin.issue(&format!("'orders', 'login_methods_{method}'"));
        let says = || -> Result<String, String> {
            let mut psql = server.client("psql");
            psql.args(["-XAtq", "-c", "SELECT count(*) FROM orders"]);
            let mut target = format!("dbname={} user={}", f.name, cred.role);
            if method != "peer" {
                target += &format!(" host=127.0.0.1 password={}", cred.password);
            }
            if let ("cert", Some(folder)) = (method, &tls) {
                target += &format!(
                    " sslmode=require sslcert={} sslkey={}",
                    file(folder, "server.crt"),
                    file(folder, "server.key")
                );
            }
            let done = psql.arg(target).output().expect("psql");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            match done.status.success() {
                true => Ok(text(&done.stdout)),
                false => Err(text(&done.stderr)),
            }
        };
        assert_eq!(says().as_deref(), Ok("2"), "{method}");
        let refused = |why: &str| {
            let answer = says().expect_err(why);
            assert!(answer.contains(POLICY), "{method}, {why}: {answer}");
        };
        admin.run(&format!(
            "SELECT scope.set_login_policy('{}', allowed_ips => '{{10.0.0.0/8}}', allow_local => false)",
            cred.role
        ));
        refused("from elsewhere");
        admin.run(&format!(
            "SELECT scope.set_login_policy('{}', allowed_ips => '{{127.0.0.1}}', allow_local => true)",
            cred.role
        ));
        assert_eq!(says().as_deref(), Ok("2"), "{method}");
        if ["peer", "cert"].contains(&method) {
            // Where no password is asked for, PostgreSQL does not look at the deadline.
            admin.run(&format!(
                "ALTER ROLE {} VALID UNTIL '2001-01-01'",
                cred.role
            ));
            refused("after its deadline");
            admin.run(&format!(
                "ALTER ROLE {} VALID UNTIL {}",
                cred.role,
                literal(&cred.valid_until)
            ));
        }
        admin.run(&format!("SELECT scope.revoke_role('{}')", cred.role));
        admin.run(&format!(
            "ALTER ROLE {} LOGIN PASSWORD {}",
            cred.role,
            literal(&cred.password)
        ));
        refused("once it is revoked");
    }
}

#[test]
fn a_wrong_password_tells_nothing_of_the_rules() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "login_password");
    let scope = orders_scope(&f);
    let cred = f.admin().handed(&format!(
        "scope.create_credential('{{{scope}}}', allowed_ips => '{{10.0.0.0/8}}')"
    ));
    let refusal = f.server.try_password(&cred.role, "wrong", &f.name).err();
    assert_eq!(refusal.map(|e| e.code).as_deref(), Some("28P01"));
}

#[test]
fn authenticators_have_rules_too() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "login_authenticator");
    let role = f.role("reader", "NOLOGIN");
    let gated = f.admin().handed(&format!(
        "scope.create_authenticator('login_authenticator_api', '{{{role}}}', allowed_ips => '{{127.0.0.1}}', connection_limit => 4)"
    ));
    door.assert_ways(&gated, &f.name, "4");
    assert_eq!(
        f.admin().rows(&format!(
            "SELECT kind, allowed_ips, allow_local, require_tls, connection_limit FROM scope.credentials WHERE role = '{}'",
            gated.role
        )),
        [["authenticator", "{127.0.0.1/32}", "f", "f", "4"].map(|cell| Some(cell.to_owned()))]
    );
}

#[test]
fn a_label_that_cannot_be_read_lets_nobody_in() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "login_broken");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    door.assert_ways(&cred, &f.name, "46s");
    for label in ["garbage", "{}", "{\"v\":2}"] {
        admin.run(&format!(
            "UPDATE pg_shseclabel SET label = {} WHERE objoid = '{}'::regrole",
            literal(label),
            cred.role
        ));
        door.assert_ways(&cred, &f.name, "");
    }
}

#[test]
fn no_label_keeps_a_superuser_or_a_stranger_out() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "login_others");
    let mut admin = f.admin();
    let scope = orders_scope(&f);
    let cred = admin.handed(&format!(
        "scope.create_credential('{{{scope}}}', allowed_ips => '{{}}', allow_local => true, valid_for => '1 hour')"
    ));
    let nowhere = admin
        .text(&format!(
            "SELECT label FROM pg_shseclabel WHERE objoid = '{}'::regrole",
            cred.role
        ))
        .replace("\"local\":true", "\"local\":false");
    let root = f.role("root", "LOGIN SUPERUSER PASSWORD 'x'");
    admin.run(&format!(
        "SECURITY LABEL FOR scope_roles ON ROLE {root} IS {};
         SECURITY LABEL FOR scope_roles ON ROLE {} IS {}",
        literal(&nowhere),
        cred.role,
        literal(&nowhere)
    ));
    door.assert_ways(&cred, &f.name, "");
    let stranger = f.role("stranger", "LOGIN PASSWORD 'x'");
    for role in [root, stranger] {
        let login = Credential {
            role,
            password: "x".into(),
            valid_until: String::new(),
            uri: String::new(),
        };
        door.assert_ways(&login, &f.name, "46s");
    }
}

#[test]
fn tls_is_required_of_tcp_and_only_of_those_asked() {
    let Some(folder) = certificate("login-tls") else {
        return;
    };
    let file = |name: &str| folder.join(name).display().to_string();
    let door = Door::open(
        Options::default()
            .set("ssl", "on")
            .set("ssl_key_file", &file("server.key"))
            .set("ssl_cert_file", &file("server.crt")),
    );
    let f = Fixture::on(&door.server, "login_tls");
    let scope = orders_scope(&f);
    let issue = |options: &str| {
        let call = format!("scope.create_credential('{{{scope}}}', require_tls => true{options})");
        f.admin().handed(&call)
    };
    let by_tls = |cred: &Credential| {
        let sql = "SELECT count(*) FROM orders";
        f.server.try_tls(&cred.role, &cred.password, &f.name, sql)
    };
    let cred = issue("");
    door.assert_ways(&cred, &f.name, "s");
    assert_eq!(by_tls(&cred).as_deref(), Ok("2"));
    assert!(cred.uri.ends_with("?sslmode=require"), "{}", cred.uri);
    let strict = issue(", allow_local => false");
    door.assert_ways(&strict, &f.name, "");
    assert_eq!(by_tls(&strict).as_deref(), Ok("2"));
    f.admin().run("CREATE SCHEMA shop");
    for call in [
        "create_readonly_role('orders', ",
        "create_readwrite_role('orders', ",
        "create_admin_role('{shop}', ",
    ] {
        let call = format!("scope.{call} require_tls => true)");
        let cred = f.admin().handed(&call);
        door.assert_ways(&cred, &f.name, "s");
        let by_tls = f
            .server
            .try_tls(&cred.role, &cred.password, &f.name, "SELECT 1");
        assert_eq!(by_tls.as_deref(), Ok("1"), "{call}");
    }
    // TLS is no way round the addresses.
    let elsewhere = issue(", allowed_ips => '{10.0.0.0/8}'");
    door.assert_ways(&elsewhere, &f.name, "");
    let refused = by_tls(&elsewhere).expect_err("from another address");
    assert!(refused.contains(POLICY), "{refused}");
    assert!(
        door.server
            .log()
            .contains("the connection does not use TLS")
    );
    let free = f.admin().issue("'orders'");
    door.assert_ways(&free, &f.name, "46s");
    assert_eq!(by_tls(&free).as_deref(), Ok("2"));
}

#[test]
fn tls_cannot_be_required_of_a_server_without() {
    let f = Fixture::new("login_no_tls");
    let scope = orders_scope(&f);
    let refusal = f.admin().refused(
        &format!("SELECT scope.create_credential('{{{scope}}}', require_tls => true)"),
        "55000",
    );
    assert!(refusal.hint.contains("ssl"), "{refusal}");
}

#[test]
fn a_session_starts_with_its_settings_in_every_database_and_may_set_others() {
    let f = Fixture::new("login_settings");
    let scope = orders_scope(&f);
    let mut admin = f.admin();
    admin.run("CREATE SCHEMA \"Odd, one\"; CREATE TABLE \"Odd, one\".t (x int)");
    let cred = admin.handed(&format!(
        "scope.create_credential('{{{scope}}}', statement_timeout => '1.5 s', idle_in_transaction_session_timeout => '2 min',
            search_path => '{{\"Odd, one\",$user,public}}', connection_limit => 2)"
    ));
    for db in [f.name.as_str(), "postgres"] {
        let mut s = f.server.login(&cred.role, db);
        let settings = s.rows(
            "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'), current_setting('search_path')",
        );
        assert_eq!(
            settings,
            [["1500ms", "2min", "\"Odd, one\", \"$user\", public"]
                .map(|cell| Some(cell.to_owned()))]
        );
        s.denied("SELECT pg_sleep(10)", "57014");
        s.run("SET statement_timeout = 0; SET search_path = public; SELECT set_config('idle_in_transaction_session_timeout', '0', false)");
        s.run("SELECT pg_sleep(1.7)");
    }
    let (_one, _two) = (cred.connect(), cred.connect());
    let third = cred.try_connect().err().expect("a third session");
    assert_eq!(third.code, "53300", "{third}");
    let empty = admin.handed(&format!(
        "scope.create_credential('{{{scope}}}', search_path => '{{}}', statement_timeout => '0')"
    ));
    assert_eq!(empty.connect().text("SHOW search_path"), "\"\"");
}

#[test]
fn the_uri_names_the_socket_or_the_address_in_use() {
    let door = Door::open(Options::default().set("scope_roles.connection_host", ""));
    let f = Fixture::on(&door.server, "login_uri");
    let cred = f.admin().issue("'orders'");
    let folder = f
        .server
        .socket()
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    let encoded = folder.replace('/', "%2F");
    assert!(
        cred.uri
            .contains(&format!("@{encoded}:{}/login_uri", f.server.port())),
        "{}",
        cred.uri
    );
    assert_eq!(cred.connect().text("SELECT count(*) FROM orders"), "2");
    if door.ipv6 {
        let mut admin = f
            .server
            .try_tcp("::1", "postgres", "", &f.name)
            .expect("trust");
        let cred = admin.issue("'orders'");
        assert!(
            cred.uri
                .contains(&format!("@[::1]:{}/login_uri", f.server.port())),
            "{}",
            cred.uri
        );
        assert!(cred.connect().holds("host(inet_server_addr()) = '::1'"));
    }
    // A socket that the login may not use is no place to send it to.
    let scope = orders_scope(&f);
    let mut admin = f.admin();
    let cred = admin.handed(&format!(
        "scope.create_credential('{{{scope}}}', allow_local => false)"
    ));
    assert!(cred.uri.contains("@:"), "{}", cred.uri);
    let notices = admin.notices();
    assert!(
        notices.iter().any(|n| n.hint.contains("connection_host")),
        "{notices:?}"
    );
}

/// Whatever changes a shared catalogue, a VACUUM among them, takes away what new sessions know of its indexes. The first one to come in has
/// to do without until it has chosen its database.
#[test]
fn login_where_the_indexes_of_shared_catalogues_are_not_known() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "login_no_indexes");
    let cred = f.admin().issue("'orders'");
    for db in [f.name.as_str(), "postgres"] {
        let known = server.data().join("global/pg_internal.init");
        std::fs::remove_file(known).expect("what sessions know of shared catalogues");
        let mut s = server.login(&cred.role, db);
        assert_eq!(s.text("SELECT current_user"), cred.role);
    }
}

/// PostgreSQL 19 warns those whose password ends within seven days, as that of a credential always does.
#[test]
fn login_of_a_credential_brings_no_warning_that_it_ends() {
    let f = Fixture::new("login_no_warning");
    let cred = f.admin().issue("'orders'");
    // Our driver hears of nothing before the session is ready.
    let of = |role: &str, password: &str| {
        let port = f.server.port().to_string();
        let done = program("psql", std::path::Path::new("/"))
            .env("PGPASSWORD", password)
            .args(["-X", "-h", "127.0.0.1", "-p", &port, "-U", role])
            .args(["-d", &f.name, "-c", "SELECT 1"])
            .output()
            .expect("psql");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        said.matches("WARNING").count()
    };
    assert_eq!(of(&cred.role, &cred.password), 0);
    // Nobody else's is taken back.
    let own = f.role(
        "own",
        "LOGIN PASSWORD 'of one''s own' VALID UNTIL '2100-01-01'",
    );
    assert_eq!(of(&own, "of one's own"), 0);
    f.admin().run(&format!(
        "DO $$ BEGIN EXECUTE format('ALTER ROLE {own} VALID UNTIL %L', now() + interval '1 hour'); END $$"
    ));
    let warned = usize::from(f.server.version() >= 190_000);
    assert_eq!(of(&own, "of one's own"), warned);
}

/// Event triggers at login (PostgreSQL 17) come after our check, run as whoever logs in, and are bound by what a reader may do.
#[test]
fn login_event_triggers_come_after_the_check() {
    let server = Server::start(Options::default());
    if server.version() < 170_000 {
        return skip("event triggers at login came with PostgreSQL 17");
    }
    let f = Fixture::on(&server, "login_trigger");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    admin.run(
        "CREATE TABLE came (who name);
         CREATE FUNCTION greets() RETURNS event_trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM set_config('app.came', current_user || ' ' || session_user, false); END $$;
         CREATE FUNCTION records() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
             'BEGIN INSERT INTO public.came VALUES (session_user); END';
         CREATE EVENT TRIGGER greets ON login EXECUTE FUNCTION greets()",
    );
    let login = |server: &Server| server.try_tcp("127.0.0.1", &cred.role, &cred.password, &f.name);
    let mut s = login(&server).expect("a login");
    assert_eq!(s.text("SHOW app.came"), format!("{0} {0}", cred.role));
    admin.run("CREATE EVENT TRIGGER records ON login EXECUTE FUNCTION records()");
    let refusal = login(&server).err().expect("a reader that writes");
    assert_eq!(refusal.code, "42501", "{refusal}");
    admin.run("SELECT scope.allow_writes('records()')");
    drop(login(&server).expect("a login"));
    admin.assert_that("(SELECT count(*) = 1 FROM came)");
    // Who is refused sets off nothing.
    admin.run(&format!("ALTER ROLE {} VALID UNTIL 'yesterday'", cred.role));
    let refusal = login(&server).err().expect("it has ended");
    assert!(refusal.code.starts_with("28"), "{refusal}");
    admin.assert_that("(SELECT count(*) = 1 FROM came)");
}
