//! A real provider: `oidc-provider` of npm, its keys rotated while clients switch.

use std::process::Stdio;

use super::{AUTHORITY, SERVER, ca_file};
use crate::harness::*;
use crate::jwt::bound::says;
use crate::jwt::{Gate, switch};

#[test]
fn keys_of_a_certified_provider_rotate_while_clients_switch() {
    let Some(authority) = AUTHORITY.as_ref() else {
        return;
    };
    let Some(mut idp) = Certified::start(authority) else {
        return;
    };
    let g = Gate::with(Fixture::on(&SERVER, "keys_certified"));
    let mut admin = g.f.admin();
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('idp', '{}', discover => true, ca_file => '{}', audiences => '{{db}}', role_claim => 'db_role');
         CREATE TABLE tokens (token text); GRANT SELECT ON tokens TO {}",
        idp.iss(),
        ca_file(),
        g.auth
    ));
    let token = format!("token {}", g.reader);
    let first = idp.ask(&token);
    let mut s = g.login();
    s.run("BEGIN");
    assert_eq!(s.text(&switch(&first)), g.reader);
    s.run("ROLLBACK");
    admin.run(&format!("INSERT INTO tokens VALUES ('{first}')"));
    let script = ROOT.join("switch.sql");
    std::fs::write(
        &script,
        "SELECT token FROM tokens \\gset\nBEGIN;\nSELECT scope.set_jwt_role(:token);\nSELECT count(*) FROM orders;\nCOMMIT;\n",
    )
    .expect("the script");
    let clients =
        g.f.server
            .client("pgbench")
            .args(["-n", "-M", "extended", "-c", "4", "-T", "15", "--file"])
            .arg(&script)
            .arg("--username")
            .arg(&g.auth)
            .arg(&g.f.name)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
    let Ok(mut clients) = clients else {
        skip("this server has no pgbench");
        return;
    };
    let mut rotations = 0;
    loop {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let mut have_ended = || clients.try_wait().expect("pgbench").is_some();
        if have_ended() {
            break;
        }
        // What unknown keys bring about is limited to once in 30 seconds.
        admin.run(
            "UPDATE _scope.jwt_issuer_fetch SET attempted_at = attempted_at - interval '1 minute'",
        );
        let kid = idp.ask("rotate");
        let next = idp.ask(&token);
        admin.run(&format!("UPDATE tokens SET token = '{next}'"));
        let mut has_come = || {
            admin.holds(&format!(
                "'{kid}' IN (SELECT unnest(kids) FROM scope.jwt_issuers)"
            ))
        };
        wait_until("the new key has come", 30, || has_come() || have_ended());
        rotations += i32::from(has_come());
    }
    assert!(rotations > 0);
    let done = clients.wait_with_output().expect("pgbench");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success() && !complaints.contains("ERROR"),
        "{said}{complaints}"
    );
    assert!(said.contains("number of failed transactions: 0 "), "{said}");
    // Once the provider has retired them, tokens of the old keys are refused.
    idp.ask("retire");
    assert_eq!(
        admin.text("SELECT outcome FROM scope.refresh_jwt_keys('idp')"),
        "fetched"
    );
    s.run("BEGIN");
    s.refused_with(&switch(&first), "28000", "unknown_key");
}

/// Its tokens are bound to the certificate that the client has shown it (RFC 8705): they are good with that alone.
#[test]
fn attack_a_stolen_token_of_a_certified_provider() {
    let (Some(authority), Some(folder)) = (AUTHORITY.as_ref(), certificate("bound-server")) else {
        return;
    };
    let Some(mut idp) = Certified::start(authority) else {
        return;
    };
    let file = |name: &str| folder.join(name).display().to_string();
    let server = Server::start(
        Options::default()
            .set("scope_roles.jwks_hosts", "127.0.0.1")
            .set("scope_roles.jwks_wait", "20s")
            .set("ssl", "on")
            .set("ssl_key_file", &file("server.key"))
            .set("ssl_cert_file", &file("server.crt"))
            .set("ssl_ca_file", &ca_file())
            .hba("local all all trust\nhost all all 127.0.0.1/32 trust\n"),
    );
    let g = Gate::with(Fixture::on(&server, "keys_bound"));
    g.f.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('idp', '{}', discover => true, ca_file => '{}', audiences => '{{db}}', token_types => '{{at+jwt}}',
             required_claims => '{{\"client_id\": \"bound\"}}', role_claim => 'db_role', bound => 'required')",
        idp.iss(),
        ca_file(),
    ));
    let [(own, own_key), (other, other_key)] = ["DNS:one", "DNS:other"].map(|name| {
        let files = authority.issue(name, "2");
        give_away(&files.0);
        give_away(&files.1);
        files
    });
    let bound = idp.ask(&format!(
        "bound {} {} {}",
        g.reader,
        own.display(),
        own_key.display()
    ));
    let free = idp.ask(&format!("token {}", g.reader));
    let by_own = Some(Some((&*own, &*own_key)));
    let call = switch(&bound);
    assert_eq!(says(&g, by_own, &["BEGIN", &call]), Ok(g.reader.clone()));
    for by in [Some(Some((&*other, &*other_key))), Some(None), None] {
        let said = says(&g, by, &["BEGIN", &call]).expect_err("a stolen token");
        assert!(said.contains("DETAIL:  bound_elsewhere: "), "{said}");
    }
    let said = says(&g, by_own, &["BEGIN", &switch(&free)]).expect_err("for another client");
    assert!(said.contains("DETAIL:  claim_required: "), "{said}");
}
