//! Tokens that are bound to the certificate of a TLS client (RFC 8705).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::issuers::{ED, claims, register};
use super::{Gate, switch};
use crate::harness::*;

/// A server that knows the certificates of two clients, and their folders; `None`, and said so, where there is no TLS.
fn server() -> Option<(Server, PathBuf, PathBuf)> {
    let (one, other) = (certificate("bound-one")?, certificate("bound-other")?);
    let both: String = [&one, &other]
        .map(|folder| std::fs::read_to_string(folder.join("server.crt")).expect("a certificate"))
        .concat();
    let known = one.join("clients.crt");
    std::fs::write(&known, both).expect("certificates");
    give_away(&known);
    let file = |name: &str| one.join(name).display().to_string();
    let server = Server::start(
        Options::default()
            .set("scope_roles.expiry", "off")
            .set("ssl", "on")
            .set("ssl_key_file", &file("server.key"))
            .set("ssl_cert_file", &file("server.crt"))
            .set("ssl_ca_file", &file("clients.crt"))
            .hba("local all all trust\nhost all all 127.0.0.1/32 trust\n"),
    );
    Some((server, one, other))
}

/// SHA-256 of the certificate in DER, as base64url: what `x5t#S256` holds.
fn thumbprint(folder: &Path) -> String {
    use base64::Engine;
    let text = std::fs::read_to_string(folder.join("server.crt")).expect("a certificate");
    let text: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("base64");
    base64url(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der))
}

/// What a new session says to these statements: with a client's certificate, over TLS without one, or by the socket.
pub fn says(g: &Gate, by: Option<Option<(&Path, &Path)>>, sql: &[&str]) -> Result<String, String> {
    let mut psql = g.f.server.client("psql");
    psql.args(["-XAtq", "-v", "VERBOSITY=verbose"]);
    for sql in sql {
        psql.args(["-c", sql]);
    }
    let mut target = format!("dbname={} user={}", g.f.name, g.auth);
    if let Some(certificate) = by {
        target += " host=127.0.0.1 sslmode=require";
        target += &match certificate {
            Some((certificate, key)) => format!(
                " sslcert={} sslkey={}",
                certificate.display(),
                key.display()
            ),
            None => " sslcert=/nowhere sslkey=/nowhere".into(),
        };
    }
    let done = psql.arg(target).output().expect("psql");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match done.status.success() {
        true => Ok(text(&done.stdout)),
        false => Err(text(&done.stderr)),
    }
}

#[test]
fn attack_a_stolen_token_without_its_certificate() {
    let Some((server, one, other)) = server() else {
        return;
    };
    let g = Gate::with(Fixture::on(&server, "jwt_bound"));
    let keys = jwks(&[&ED]);
    register(&g, "default", &keys, "");
    for bound in ["required", "if_present", "ignored"] {
        register(&g, bound, &keys, &format!("bound => '{bound}'"));
    }
    let own: &Path = &one;
    let mtls = json!({"x5t#S256": thumbprint(own)});
    let both = json!({"jkt": "x", "x5t#S256": thumbprint(own)});
    let dpop = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let files = |folder: &Path| (folder.join("server.crt"), folder.join("server.key"));
    let (own_files, other_files) = (files(&one), files(&other));
    let with_own = Some(Some((&*own_files.0, &*own_files.1)));
    let with_other = Some(Some((&*other_files.0, &*other_files.1)));
    let (without, socket) = (Some(None), None);
    for (name, cnf, by, refused) in [
        ("required", &mtls, with_own, ""),
        ("required", &both, with_own, ""),
        ("required", &mtls, with_other, "bound_elsewhere"),
        ("required", &mtls, without, "bound_elsewhere"),
        ("required", &mtls, socket, "bound_elsewhere"),
        ("required", &Value::Null, with_own, "not_bound"),
        ("required", &dpop, with_own, "not_bound"),
        ("if_present", &mtls, with_own, ""),
        ("if_present", &mtls, with_other, "bound_elsewhere"),
        ("if_present", &mtls, socket, "bound_elsewhere"),
        ("if_present", &both, without, "bound_elsewhere"),
        ("if_present", &Value::Null, socket, ""),
        ("if_present", &dpop, socket, ""),
        ("default", &mtls, with_own, ""),
        ("default", &mtls, without, "bound_elsewhere"),
        ("ignored", &mtls, socket, ""),
        ("ignored", &json!(5), socket, ""),
        ("default", &json!("x"), with_own, "claim_type"),
        ("required", &json!([]), with_own, "claim_type"),
        ("default", &json!({"x5t#S256": 5}), with_own, "claim_type"),
        ("default", &json!({"x5t#S256": ""}), with_own, "claim_type"),
        (
            "default",
            &json!({"x5t#S256": format!("{}=", thumbprint(own))}),
            with_own,
            "claim_type",
        ),
    ] {
        let token = ED.token("EdDSA", &claims(&g, name, json!({"cnf": cnf})));
        let said = says(&g, by, &["BEGIN", &switch(&token), "SELECT current_user"]);
        match refused {
            "" => assert_eq!(said, Ok(format!("{0}\n{0}", g.reader)), "{name} {cnf}"),
            word => {
                let said = said.expect_err(word);
                assert!(
                    said.contains("28000") && said.contains(&format!("DETAIL:  {word}: ")),
                    "{name} {cnf}: {said}"
                );
            }
        }
    }
    // scope_roles.jwt_secret has no attribute for it: a token that says whose it is, is that.
    let token = g.token(json!({"cnf": mtls}));
    let call = ["BEGIN", &switch(&token)];
    assert_eq!(says(&g, with_own, &call), Ok(g.reader.clone()));
    for by in [with_other, without, socket] {
        let said = says(&g, by, &call).expect_err("another's token");
        assert!(said.contains("bound_elsewhere"), "{said}");
    }
    // What another session has verified is no way around it, nor what this one has taken before it was asked for.
    let token = ED.token("EdDSA", &claims(&g, "ignored", json!({"cnf": mtls})));
    let mut s = g.login();
    s.run(&format!("BEGIN; {}", switch(&token)));
    g.f.admin()
        .run("UPDATE _scope.jwt_issuer SET bound = 'if_present' WHERE name = 'ignored'");
    s.refused_with("SELECT 1", "28000", "withdrawn");
    s.run("ROLLBACK");
    s.refused_with(&switch(&token), "28000", "bound_elsewhere");
}
