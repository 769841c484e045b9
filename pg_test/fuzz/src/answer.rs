//! What a provider answers, and where it says that its keys are. The first line is the header's, the second a URL, the rest the body.

use crate::jwks::accept::{accept, shown};
use crate::jwks::freshness;
use crate::jwks::place::{Place, Trust};
use crate::jwt::{Algorithm, KeySet};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(3, '\n');
    let header = lines.next().unwrap_or_default();
    let url = lines.next().unwrap_or_default();
    let body = lines.next().unwrap_or_default();
    lifetime(header);
    place(url);
    keys(body);
}

/// Of a header that has all that is read of it, in any order.
fn lifetime(header: &str) {
    let mut parts = header.split('|');
    let mut next = || parts.next();
    let lifetime = freshness::lifetime(next(), next(), next(), next());
    assert!(lifetime.is_none_or(|seconds| seconds >= 0), "a life of less than nothing");
}

/// What is taken for a URL leads to the host that is checked, and nowhere else.
fn place(url: &str) {
    let Ok(place) = Place::parse(url) else {
        return;
    };
    let rest = place.url.split_once("://").expect("a scheme").1;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    assert!(!authority.contains('@'), "a user in {authority:?}");
    let known = authority.to_ascii_lowercase();
    assert!(known.starts_with(&place.host.to_ascii_lowercase()), "{authority:?} is not {:?}", place.host);
    let trust = Trust {
        hosts: Trust::hosts("keys.example.org"),
        loopback_http: false,
    };
    if trust.check(&place, "https://id.example.org").is_ok() {
        let host = place.host.to_ascii_lowercase();
        assert!(["keys.example.org", "id.example.org"].contains(&host.as_str()), "{host} is trusted");
        assert!(place.url.starts_with("https://"), "without TLS");
    }
}

/// What is taken is public, bounded, and read once more as what it was taken for.
fn keys(body: &str) {
    let some: Vec<Algorithm> = ["RS256", "ES256"]
        .iter()
        .map(|name| name.parse().expect("an algorithm"))
        .collect();
    for algorithms in [&[][..], &some] {
        let Ok(accepted) = accept(body, algorithms) else {
            continue;
        };
        assert!(accepted.count <= 100 && accepted.count > 0);
        assert!(accepted.text.len() <= 2 * body.len() + 64, "longer than the answer");
        let keys = KeySet::parse(accepted.text.as_bytes(), false).expect("keys that were taken");
        assert!(!keys.has_secrets(), "a secret is taken");
        assert_eq!(keys.len(), accepted.count);
        for kid in &accepted.kids {
            assert!(kid.len() <= 256);
            let shown = shown(kid);
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }
}
