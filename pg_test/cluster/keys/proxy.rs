//! Keys that are fetched through `scope_roles.jwks_proxy`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{AUTHORITY, ca_file};
use crate::harness::*;
use crate::jwt::{Gate, switch};

/// What it does with the next connections.
const SERVE: u8 = 0;
const REFUSE: u8 = 1;
const CLOSE: u8 = 2;
const LIE: u8 = 3;

/// A proxy by CONNECT (RFC 9110, section 9.3.6), which knows one server.
struct Proxy {
    port: u16,
    mode: Arc<AtomicU8>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn before(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (mode, asked) = (Arc::new(AtomicU8::new(SERVE)), Arc::default());
        let proxy = Proxy { port, mode, asked };
        let (mode, asked) = (proxy.mode.clone(), proxy.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mode, asked) = (mode.load(Ordering::Relaxed), asked.clone());
                thread::spawn(move || serve(stream, mode, &asked, server));
            }
        });
        proxy
    }

    fn be(&self, mode: u8) {
        self.mode.store(mode, Ordering::Relaxed);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("what it was asked"))
    }
}

fn serve(mut client: TcpStream, mode: u8, asked: &Mutex<Vec<String>>, server: u16) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    asked.lock().expect("what it was asked").push(head);
    let answer: &[u8] = match mode {
        SERVE => b"HTTP/1.1 200 OK\r\n\r\n",
        REFUSE => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        // What it says itself is no answer of the provider's.
        LIE => b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}",
        _ => return,
    };
    let _ = client.write_all(answer);
    if mode != SERVE {
        return;
    }
    let mut there = TcpStream::connect(("127.0.0.1", server)).expect("the provider");
    let (mut from, mut to) = (
        client.try_clone().expect("a copy"),
        there.try_clone().expect("a copy"),
    );
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    let _ = std::io::copy(&mut there, &mut client);
}

#[test]
fn keys_come_through_a_proxy_that_is_configured_and_by_no_other_way() {
    let Some(authority) = AUTHORITY.as_ref() else {
        return;
    };
    // A name that nobody but the proxy knows.
    let (certificate, key) = authority.issue("DNS:idp.invalid", "2");
    let provider = Provider::with(Some((&certificate, &key)));
    let proxy = Proxy::before(provider.port);
    let server = Server::start(Options::default().set("scope_roles.jwks_wait", "20s"));
    let g = Gate::with(Fixture::on(&server, "keys_proxy"));
    let mut admin = g.f.admin();
    let first = Key::ed25519("first");
    provider.reply("/keys", Reply::json(jwks(&[&first])));
    admin.run(&format!(
        "SELECT scope.add_jwt_issuer('idp', 'https://idp.invalid:8443', keys_url => 'https://idp.invalid:8443/keys', ca_file => '{}')",
        ca_file()
    ));
    let refresh = || {
        let mut admin = g.f.admin();
        admin.run(
            "UPDATE _scope.jwt_issuer_fetch SET attempted_at = attempted_at - interval '1 hour'",
        );
        let row = admin
            .rows("SELECT outcome, coalesce(last_error, '') FROM scope.refresh_jwt_keys('idp')")
            .remove(0);
        row.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let without = refresh();
    assert!(without.contains("could not be looked up"), "{without}");
    assert!(proxy.asked().is_empty() && provider.connections() == 0);
    server.alter_system(
        "scope_roles.jwks_proxy",
        &format!("http://127.0.0.1:{}", proxy.port),
    );
    for (mode, said) in [
        (REFUSE, "the proxy made no connection"),
        (CLOSE, "the proxy made no connection"),
        (LIE, "no TLS connection could be made"),
    ] {
        proxy.be(mode);
        let outcome = refresh();
        assert!(outcome.contains(said), "{mode}: {outcome}");
        assert!(!proxy.asked().is_empty());
    }
    assert_eq!(provider.connections(), 0);
    proxy.be(SERVE);
    assert_eq!(refresh().trim(), "fetched");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].starts_with("CONNECT idp.invalid:8443 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    let claims = g.claims(serde_json::json!({"iss": "https://idp.invalid:8443"}));
    let mut s = g.login();
    s.run("BEGIN");
    assert_eq!(s.text(&switch(&first.token("EdDSA", &claims))), g.reader);
    // The certificate is the provider's own, whoever is in between.
    let (other, key) = authority.issue("DNS:other.invalid", "2");
    let impostor = Provider::with(Some((&other, &key)));
    let between = Proxy::before(impostor.port);
    server.alter_system(
        "scope_roles.jwks_proxy",
        &format!("http://127.0.0.1:{}", between.port),
    );
    let outcome = refresh();
    assert!(outcome.contains("for another host"), "{outcome}");
    // One that is not there.
    server.alter_system("scope_roles.jwks_proxy", "http://127.0.0.1:9");
    let outcome = refresh();
    assert!(outcome.starts_with("failed "), "{outcome}");
}
