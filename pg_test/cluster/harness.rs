//! What the tests share: servers, sessions, a database per test, tokens.

mod bouncer;
mod browser;
mod certified;
mod crowd;
mod drivers;
mod fixture;
mod guard;
mod npm;
mod provider;
mod server;
mod session;
mod token;
mod tools;
mod wire;

use std::time::{Duration, Instant};

pub use bouncer::Bouncer;
pub use browser::Browser;
pub use certified::Certified;
pub use crowd::crowd;
pub use drivers::{assert_driver_works, assert_fine};
pub use fixture::{Fixture, shared};
pub use guard::ROOT;
pub use npm::npm;
pub use provider::{Authority, Provider, Reply};
pub use server::{Options, Server};
pub use session::{Credential, Protocol, Refusal, Session};
pub use token::{
    Key, SECRET, base64url, jwks, now, sign, sign_raw, sign_with, sign_with_nothing, unsigned,
};
pub use tools::{
    certificate, children, give_away, has_library, make_dir, older_bindir, output, program, signal,
    skip,
};
pub use wire::{Answer, Wire, has_error};

/// Waits for something that another process does. The bound is for a hung server; a passing test returns as soon as it holds.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(seconds),
            "after {seconds} s still not so: {what}"
        );
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// An SQL string constant.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An SQL identifier that is always quoted.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
