//! Key sets from the network: from where they may come, how long they hold, what of an answer is taken. No server: settings and the
//! time go in. Only [`fetch`] talks to anybody, and only a child of the worker calls it.
#![forbid(unsafe_code)]

mod accept;
mod client;
mod freshness;
mod place;
mod problem;
pub mod schedule;

use serde::{Deserialize, Serialize};

use crate::jwt::Algorithm;
use accept::accept;

pub use accept::{Accepted, shown};
pub use place::{BadPlace, Place, Trust};
pub use problem::Problem;

/// Keys to be fetched.
#[derive(Debug, Clone, Default)]
pub struct Order {
    pub issuer: String,
    /// Of its tokens; none: any.
    pub algorithms: Vec<Algorithm>,
    /// Where they are; `None`: where the issuer says.
    pub keys_url: Option<String>,
    /// The authorities that a certificate may be from; `None`: the system's.
    pub ca_file: Option<String>,
    pub bearer_token_file: Option<String>,
    /// What the version that we have was called.
    pub etag: Option<String>,
    pub trust: Trust,
    pub proxy: Option<String>,
}

/// What came of it; goes from the child to the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Keys {
        keys: Accepted,
        /// How long they hold by what the server says, in seconds.
        lifetime: Option<i64>,
        etag: Option<String>,
    },
    /// Those that we have still hold.
    Unchanged {
        lifetime: Option<i64>,
    },
    Failed(Problem),
}

/// Fetches the keys. Takes as long as the network does: whoever calls it ends it.
pub fn fetch(order: &Order) -> Outcome {
    client::fetch(order).unwrap_or_else(Outcome::Failed)
}
