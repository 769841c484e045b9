//! All that PostgreSQL calls: hooks, callbacks, entry points of workers. Each decodes what it is given, asks a room,
//! and chains on.
//!
//! The hooks themselves are not `#[pg_guard]`ed: each asks in a guarded function of its own, and calls the hook that was there before, or
//! the standard function, as the bare C function that it is. An error of PostgreSQL's then jumps over our frame and stays as it was. A guard
//! would rebuild it, without the names of tables and constraints and the position in the query that clients read. Such a jump is sound
//! because the frames that it leaves own nothing.

mod authentication;
mod compat;
mod decode;
mod error_context;
mod executor;
mod explain;
mod fmgr;
mod guards;
mod judge;
mod labels;
mod library;
mod log;
mod oauth;
mod object_access;
mod objects;
mod owners;
mod plan;
mod query;
mod quiet;
mod refusals;
mod sealed;
mod sending;
mod set_config;
mod statements;
mod transaction;
mod utility;
mod what_runs;
mod wire;
mod workers;

/// Once, in the postmaster.
pub fn install() {
    transaction::install();
    log::install();
    error_context::install(while_reporting);
    utility::install();
    executor::install();
    object_access::install();
    plan::install();
    fmgr::install();
    statements::install();
    sending::install();
    authentication::install();
}

/// # Safety
/// Inside error reporting.
unsafe fn while_reporting() {
    // SAFETY: by contract.
    unsafe {
        log::while_reporting();
        explain::explain();
    }
}
