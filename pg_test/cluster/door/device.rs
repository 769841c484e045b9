//! psql as people use it with PostgreSQL's OAuth: it shows an address and a code, and the person logs in there, at a real provider.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ExitStatus, Stdio};

use super::Door;
use crate::harness::*;

/// `None`, and said so, where something that it takes can't be had.
fn start() -> Option<(Server, Certified, Authority)> {
    if shared().version() < 180_000 {
        skip("PostgreSQL has OAuth from 18 on");
        return None;
    }
    let authority = Authority::new()?;
    let idp = Certified::start(&authority)?;
    let server = Server::start(
        Options::default()
            .hba(&format!(
                "local all postgres trust\nlocal all all oauth issuer=\"{}\" scope=\"openid\" delegate_ident_mapping=1\n",
                idp.iss()
            ))
            .set("oauth_validator_libraries", "scope_roles")
            .set("scope_roles.jwks_hosts", "127.0.0.1"),
    );
    Some((server, idp, authority))
}

/// The login `people` takes tokens of the provider for the audience `db`.
struct Place<'a> {
    d: Door<'a>,
    idp: Certified,
    authority: Authority,
}

struct Done {
    status: ExitStatus,
    printed: String,
    complaints: String,
}

impl<'a> Place<'a> {
    fn new(server: &'a Server, name: &str, idp: Certified, authority: Authority) -> Place<'a> {
        let d = Door::open(server, name);
        let mut admin = d.f.admin();
        admin.run(&format!(
            "SELECT scope.add_jwt_issuer('idp', '{}', discover => true, ca_file => '{}', audiences => '{{db}}', token_types => '{{at+jwt}}',
                 role_claim => 'db_role', leeway => '0s');
             SELECT scope.create_token_login('people', '{{{}}}', '{{idp}}')",
            idp.iss(),
            authority.certificate().display(),
            d.reader
        ));
        wait_until("the keys are fetched", 30, || {
            admin.holds("(SELECT fetched_at IS NOT NULL FROM scope.jwt_issuers WHERE name = 'idp')")
        });
        Place { d, idp, authority }
    }

    /// What psql makes of a script, with a token that the provider gives to `client` once the person has entered the code. `None`, and said so:
    /// this psql has no OAuth.
    fn psql(&mut self, client: &str, person: &str, script: &str) -> Option<Done> {
        let server = self.d.f.server;
        let mut psql = server.client("psql");
        if server.version() < 190_000 {
            // Without it, psql knows no authorities but the machine's.
            psql.env("PGOAUTHDEBUG", "UNSAFE");
        }
        let mut child = psql
            .env("PGUSER", "people")
            .env("PGOAUTHCAFILE", self.authority.certificate())
            .args(["-XAt", "-v", "VERBOSITY=sqlstate"])
            .arg(format!(
                "dbname={} oauth_issuer={} oauth_client_id={client}",
                self.d.f.name,
                self.idp.iss()
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut input = child.stdin.take().expect("its input");
        input.write_all(script.as_bytes()).expect("a script");
        drop(input);
        let mut errors = BufReader::new(child.stderr.take().expect("its errors"));
        let (mut complaints, mut line) = (String::new(), String::new());
        while errors.read_line(&mut line).expect("a line") > 0 {
            if let Some((url, code)) = line
                .trim()
                .strip_prefix("Visit ")
                .and_then(|rest| rest.split_once(" and enter the code: "))
            {
                let title = self.idp.ask(&format!("visit {url} {code} {person}"));
                assert_eq!(title, "Sign-in Success", "{complaints}");
            }
            complaints += &line;
            line.clear();
        }
        let mut printed = String::new();
        let mut output = child.stdout.take().expect("its output");
        output.read_to_string(&mut printed).expect("what it prints");
        let status = child.wait().expect("psql");
        if complaints.contains("no OAuth flows are available") {
            skip("this psql has no OAuth (the package libpq-oauth)");
            return None;
        }
        Some(Done {
            status,
            printed,
            complaints,
        })
    }
}

#[test]
fn a_person_logs_in_at_the_provider_with_the_code_that_psql_shows() {
    let Some((server, idp, authority)) = start() else {
        return;
    };
    let mut place = Place::new(&server, "door_device", idp, authority);
    let (iss, reader) = (place.idp.iss(), place.d.reader.clone());
    place.idp.ask(&format!("member ann {reader}"));
    let script = "SELECT concat_ws(' ', session_user, current_user, scope.jwt_subject(), system_user);
         SELECT concat_ws(' ', login, acting_role, issuer, subject, method, until > now()) FROM scope.sessions WHERE pid = pg_backend_pid();
         SELECT count(*) FROM orders;\n";
    let Some(done) = place.psql("psql", "ann", script) else {
        return;
    };
    assert_eq!(
        done.printed,
        format!("people {reader} ann oauth:{iss}:ann\npeople {reader} {iss} ann oauth t\n2\n"),
        "{}",
        done.complaints
    );
    assert!(done.status.success(), "{}", done.complaints);
    // With a token of a few seconds.
    let done = place
        .psql(
            "brief",
            "ann",
            "SELECT current_user;\nSELECT pg_sleep(60);\n",
        )
        .expect("OAuth");
    assert_eq!(done.printed, format!("{reader}\n"), "{}", done.complaints);
    assert!(
        done.complaints.contains("FATAL:  57P01") && !done.status.success(),
        "{}",
        done.complaints
    );
    assert!(!server.log().contains("eyJ"), "a token in the log");
}

#[test]
fn attack_a_person_logs_in_at_the_provider_who_is_nobody_here() {
    let Some((server, idp, authority)) = start() else {
        return;
    };
    let mut place = Place::new(&server, "door_device_no", idp, authority);
    for (person, role) in [("ann", &place.d.reader), ("bob", &place.d.writer)] {
        place.idp.ask(&format!("member {person} {role}"));
    }
    for (client, person, reason) in [
        // A token for another service.
        ("elsewhere", "ann", "audience"),
        // A role that is not the login's; none.
        ("psql", "bob", "role_not_listed"),
        ("psql", "eve", "role_missing"),
    ] {
        let before = server.log().len();
        let Some(done) = place.psql(client, person, "SELECT current_user;\n") else {
            return;
        };
        assert_eq!((done.status.code(), &*done.printed), (Some(2), ""));
        assert!(
            done.complaints
                .contains("OAuth bearer authentication failed"),
            "{}",
            done.complaints
        );
        let log = &server.log()[before..];
        assert!(
            log.contains(&format!("its token was refused: {reason}")),
            "{person}: {log}"
        );
    }
}
