//! What each fuzz target does with its input, and what must hold whatever the input is. A broken rule is a panic, which libFuzzer
//! reports with the input that broke it.

// A broken rule has nothing to report to but the fuzzer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// The rooms under test, from the extension's own sources. The folder is named on a module around it, because a file that is named
/// itself would look for its submodules beside it instead of in its folder.
#[path = "../../../src"]
mod room {
    pub mod claim_path;
    pub mod claim_rules;
    pub mod jwt;
    /// Without its client, which talks to the network.
    pub mod jwks {
        pub mod accept;
        pub mod freshness;
        pub mod place;
        pub mod problem;

        pub use place::BadPlace;
        pub use problem::Problem;
    }
    pub mod digits;
    pub mod timestamp;
}

pub mod answer;
pub mod keys;
pub mod path;
pub mod token;

mod signed;

pub use room::{claim_path, claim_rules, digits, jwks, jwt, timestamp};
