//! `scope_roles.jwt_secret`: every form of key that it takes, in the setting and in a file, and keys that change under open sessions.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::issuers::{ED, claims, register, takes};
use super::{Gate, assert_itself, switch};
use crate::harness::*;

/// The file that `jwt_secret` names.
fn key_file(server: &Server) -> PathBuf {
    server.data().with_file_name("jwt.key")
}

/// Gives the setting a value by postgresql.conf, where `\n` is a newline: ALTER SYSTEM takes none.
fn configure(server: &Server, value: &str) {
    let quoted = value.replace('\'', "''").replace('\n', "\\n");
    server.reconfigure(&format!("scope_roles.jwt_secret = '{quoted}'\n"));
    server.reload();
}

#[test]
fn every_form_of_key_is_taken_from_the_setting_and_from_a_file() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_forms"));
    let (rsa, p256, ed) = (Key::rsa("a"), Key::p256("b"), Key::ed25519("c"));
    let claims = g.claims(json!({}));
    let plain = "a plain secret in a file or in the setting, long enough";
    let by = |key: &Key, algorithm: &str| key.token_with(&json!({"alg": algorithm}), &claims);
    let hmac = |secret: &str| sign_with(&claims, secret, Algorithm::HS256);
    let tokens = [
        ('r', by(&rsa, "RS256")),
        ('r', by(&rsa, "PS256")),
        ('p', by(&p256, "ES256")),
        ('e', by(&ed, "EdDSA")),
        ('s', hmac(plain)),
    ];
    // Whose tokens hold, by the letter.
    let forms = [
        ("JWK", p256.jwk().to_string(), "p"),
        ("JWKS", jwks(&[&rsa, &ed]), "re"),
        ("array", json!([p256.jwk(), ed.jwk()]).to_string(), "pe"),
        ("PEM", rsa.pem().trim_end().to_owned(), "r"),
        ("plain", plain.to_owned(), "s"),
    ];
    let file = key_file(&server);
    let mut s = g.login();
    for (form, key, of) in &forms {
        for source in ["setting", "file", "file with a newline"] {
            match source {
                "setting" => configure(&server, key),
                "file" => {
                    std::fs::write(&file, key).expect("the file");
                    configure(&server, &format!("@{}", file.display()));
                }
                _ => {
                    std::fs::write(&file, format!("{key}\n")).expect("the file");
                    server.reload();
                }
            }
            for (signer, token) in &tokens {
                let answer = s.attempt(&format!("BEGIN; {}", switch(token)));
                s.run("ROLLBACK");
                match answer {
                    Ok(_) => assert!(of.contains(*signer), "{form}, {source}: {signer} is taken"),
                    Err(refusal) => {
                        assert!(
                            !of.contains(*signer),
                            "{form}, {source}, {signer}: {refusal}"
                        );
                        assert_eq!(refusal.code, "28000", "{form}, {source}: {refusal}");
                    }
                }
            }
            // What everybody knows is no secret: not the text of a public key, nor the setting's own.
            if *of != "s" {
                s.refused(&switch(&hmac(key)), "28000");
            }
            s.refused(&switch(&hmac(&format!("@{}", file.display()))), "28000");
        }
    }
    // One newline is the editor's, two are part of the secret.
    std::fs::write(&file, format!("{plain}\n\n")).expect("the file");
    server.reload();
    s.refused_with(&switch(&hmac(plain)), "28000", "bad_signature");
    takes(&mut s, &hmac(&format!("{plain}\n")), &g.reader);
    assert_itself(&mut s, &g.auth);
    for (form, key, _) in &forms {
        let part = &key[key.len() / 2..key.len() / 2 + 24];
        assert!(!server.log().contains(part), "the {form} is in the log");
    }
}

/// Sessions of several kinds are open while the file gets another key: what they have verified before counts for nothing.
#[test]
fn a_key_file_that_changes_holds_from_the_reload_on_in_every_session() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_file_rotate"));
    let file = key_file(&server);
    let (old, new) = (Key::rsa("old"), Key::rsa("new"));
    std::fs::write(&file, jwks(&[&old])).expect("the file");
    configure(&server, &format!("@{}", file.display()));
    let claims = g.claims(json!({}));
    let (by_old, by_new) = (old.token("RS256", &claims), new.token("RS256", &claims));

    let mut warm: Vec<Session> = (0..3).map(|_| g.login()).collect();
    for s in &mut warm {
        takes(s, &by_old, &g.reader);
        s.refused_with(&switch(&by_new), "28000", "unknown_key");
    }
    let mut open = g.login();
    open.run(&format!("BEGIN; {}", switch(&by_old)));
    // Its first verification is after the change: others have left theirs in shared memory.
    let mut fresh = g.login();

    std::fs::write(&file, format!("{}\n", jwks(&[&old, &new]))).expect("the file");
    for s in &mut warm {
        s.refused_with(&switch(&by_new), "28000", "unknown_key");
    }
    server.reload();
    for s in warm.iter_mut().chain([&mut fresh]) {
        takes(s, &by_new, &g.reader);
        takes(s, &by_old, &g.reader);
    }

    std::fs::write(&file, format!("{}\n", jwks(&[&new]))).expect("the file");
    server.reload();
    let mut late = g.login();
    for s in warm.iter_mut().chain([&mut fresh, &mut late]) {
        s.refused_with(&switch(&by_old), "28000", "unknown_key");
        takes(s, &by_new, &g.reader);
        assert_itself(s, &g.auth);
    }
    // So for what is already switched.
    open.refused_with("SELECT 1", "28000", "withdrawn");
    open.run("ROLLBACK");
    open.refused_with(&switch(&by_old), "28000", "unknown_key");

    // A plain secret: nothing of it is in shared memory, and each session has its own copy.
    let secrets = [
        "the first of two secrets, long enough",
        "the second of two secrets, long enough",
    ];
    for (i, secret) in secrets.iter().enumerate() {
        std::fs::write(&file, secret).expect("the file");
        server.reload();
        for s in warm.iter_mut().chain([&mut fresh, &mut late]) {
            takes(s, &sign_with(&claims, secret, Algorithm::HS256), &g.reader);
            let other = sign_with(&claims, secrets[1 - i], Algorithm::HS256);
            s.refused_with(&switch(&other), "28000", "bad_signature");
        }
    }
    for secret in secrets {
        assert!(!server.log().contains(secret), "the secret is in the log");
    }
}

#[test]
fn a_key_file_that_cannot_be_read_switches_nobody() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_file_missing"));
    let file = key_file(&server);
    let secret = "a secret in a file that cannot be read for a while";
    let token = sign_with(&g.claims(json!({})), secret, Algorithm::HS256);
    let unsigned_by_nothing = sign_with_nothing(&g.claims(json!({})));
    let mut warm = g.login();
    std::fs::write(&file, secret).expect("the file");
    configure(&server, &format!("@{}", file.display()));
    takes(&mut warm, &token, &g.reader);

    let refused_everywhere = |warm: &mut Session, why: &str| {
        for s in [warm, &mut g.login()] {
            for token in [&token, &unsigned_by_nothing, &"nonsense".to_owned()] {
                let refusal = s.refused(&switch(token), "55000");
                assert!(!refusal.rest.contains(secret), "{why}: {refusal}");
                assert!(
                    !format!("{refusal}").contains(&secret[..20]),
                    "{why}: {refusal}"
                );
                assert_itself(s, &g.auth);
            }
        }
    };
    std::fs::remove_file(&file).expect("the file goes");
    // Until a reload it is not missed by those who have read it.
    takes(&mut warm, &token, &g.reader);
    server.reload();
    refused_everywhere(&mut warm, "missing");
    let refusal = warm.refused(&switch(&token), "55000");
    assert!(
        refusal.hint.contains(&file.display().to_string()),
        "{refusal}"
    );

    std::fs::write(&file, secret).expect("the file");
    set_mode(&file, 0o000);
    server.reload();
    refused_everywhere(&mut warm, "unreadable");
    set_mode(&file, 0o644);
    // What is in it is not for error messages, whatever it is.
    for content in [
        "",
        "\n",
        "a secret in a file",
        "{\"keys\": [",
        "@/etc/passwd",
    ] {
        std::fs::write(&file, content).expect("the file");
        server.reload();
        let refusal = warm.refused(&switch(&token), "55000");
        assert!(
            content.len() < 5 || !format!("{refusal}").contains(content),
            "{refusal}"
        );
    }
    std::fs::remove_file(&file).expect("the file goes");
    std::fs::create_dir(&file).expect("a folder");
    server.reload();
    refused_everywhere(&mut warm, "a folder");
    std::fs::remove_dir(&file).expect("the folder goes");

    std::fs::write(&file, format!("{secret}\n")).expect("the file");
    server.reload();
    takes(&mut warm, &token, &g.reader);
    takes(&mut g.login(), &token, &g.reader);
    assert!(!server.log().contains(secret), "the secret is in the log");

    // It is not asked for tokens of a registered issuer.
    register(&g, "a", &jwks(&[&ED]), "");
    std::fs::remove_file(&file).expect("the file goes");
    server.reload();
    warm.refused(&switch(&token), "55000");
    let theirs = ED.token("EdDSA", &claims(&g, "a", json!({})));
    takes(&mut warm, &theirs, &g.reader);
    takes(&mut g.login(), &theirs, &g.reader);
}

fn set_mode(file: &PathBuf, mode: u32) {
    std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).expect("its mode");
}

/// Any path that an argument may be, the setting may be too.
#[test]
fn the_claim_of_the_role_may_be_a_path_in_the_setting() {
    let server = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&server, "jwt_role_path"));
    let mut s = g.login();
    let roles = json!(["offline_access", g.reader, g.writer]);
    let token = sign(&g.claims(json!({"role": "nobody", "realm_access": {"roles": roles}})));
    for (path, role) in [
        (".realm_access.roles[2]", &g.writer),
        (
            r#".realm_access.roles[?(@ ^== "jwt_role_path_")]"#,
            &g.reader,
        ),
        ("$.realm_access.roles[-1]", &g.writer),
    ] {
        server.alter_system("scope_roles.jwt_role_claim", path);
        takes(&mut s, &token, role);
    }
    server.alter_system("scope_roles.jwt_role_claim", ".realm_access.roles[0]");
    s.refused_with(&switch(&token), "42501", "role_unknown");
    g.f.admin().refused(
        "ALTER SYSTEM SET scope_roles.jwt_role_claim = '.realm_access.roles['",
        "22023",
    );
    s.refused_with(&switch(&token), "42501", "role_unknown");
    assert_itself(&mut s, &g.auth);
}

/// Processor time of a session's backend so far, in nanoseconds.
fn worked(s: &mut Session) -> u64 {
    let pid = s.text("SELECT pg_backend_pid()");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("Linux");
    let nanoseconds = stat.split(' ').next().expect("a number");
    nanoseconds.parse().expect("a number")
}

/// What a session works to see each of these tokens for the first time.
fn work_for(s: &mut Session, tokens: &[String], role: &str) -> u64 {
    let calls: Vec<String> = tokens.iter().map(|token| switch(token)).collect();
    s.run("BEGIN; SELECT count(*) FROM pg_roles; ROLLBACK");
    let before = worked(s);
    for call in &calls {
        s.run("BEGIN");
        assert_eq!(s.text(call), role);
        s.run("ROLLBACK");
    }
    worked(s) - before
}

/// The signature that one session has checked the others need not check, on standbys neither: it is the dear part of a new token.
#[test]
fn a_token_that_one_session_has_verified_costs_others_no_signature() {
    let primary = Server::start(Options::default());
    let g = Gate::with(Fixture::on(&primary, "jwt_shared"));
    let key = Key::p521("shared");
    configure(&primary, &key.jwk().to_string());
    let standby = primary.standby(Options::default());
    for (server, name) in [(&primary, "the primary"), (&standby, "a standby")] {
        let session = || server.login(&g.auth, &g.f.name);
        let set = |part: usize| -> Vec<String> {
            let claims =
                |i: usize| -> Value { g.claims(json!({"jti": format!("{name} {part} {i}")})) };
            (0..100).map(|i| key.token("ES512", &claims(i))).collect()
        };
        // The least of three: other processes on the machine only add to it.
        let rounds: Vec<[u64; 2]> = (0..3)
            .map(|part| {
                let tokens = set(part);
                [(); 2].map(|()| work_for(&mut session(), &tokens, &g.reader))
            })
            .collect();
        let least = |of: usize| rounds.iter().map(|round| round[of]).min().unwrap_or(0);
        let (alone, shared) = (least(0), least(1));
        assert!(
            shared * 10 < alone * 8,
            "on {name}: {shared} ns with the others' work, {alone} ns without"
        );
    }
}
