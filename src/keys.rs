//! Fetching the keys of issuers (docs/design.md, "Keys come from the network").
//!
//! | who | does |
//! | --- | --- |
//! | launcher | knows in which databases there is something to fetch, and starts a worker there |
//! | worker, in a database | stamps the attempt, commits; starts a child for each issuer; writes what came, commits; copies the issuers for logins by token. On a standby, that alone |
//! | child | talks to the network, and has no part in the server: see [`crate::pg::child`] |
//! | session | never fetches: it says what is missing, and waits a moment |
//!
//! The launcher waits neither for a worker nor for the network: deadlines hold while a provider hangs.

mod store;
mod visits;
pub mod worker;

use crate::pg::worker as pg_worker;

pub use visits::Visits;

const LIBRARY: &str = "scope_roles";
/// Its function is in `hooks`.
const WORKER: pg_worker::Kind = pg_worker::Kind {
    name: "scope_roles keys",
    function: "scope_roles_keys",
};
