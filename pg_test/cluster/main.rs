//! Tests against real servers: real sessions, real workers, real time.
//!
//! Every test talks to PostgreSQL as a client would and asserts SQLSTATEs, because only a client sees them. The extension must be
//! installed in the server tree that `SCOPE_ROLES_PG_CONFIG` (or the `pg_config` in `PATH`) names. Most tests wait rather than
//! compute, so run them with more threads than cores: `cargo test --test cluster -- --test-threads=8`.

// A test that cannot set its scene has nothing to report but that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

mod access;
mod audit;
mod catalogue;
mod circles;
mod credential;
mod databases;
mod deadlocks;
mod documented;
mod door;
mod dump;
mod encodings;
mod expiry;
mod guards;
mod held;
mod hostile;
mod jwt;
mod keys;
mod lock;
mod login;
mod map;
mod neighbours;
mod offboard;
mod page;
mod reassign;
mod requests;
mod review;
mod scope;
mod sealed;
mod sessions;
mod settings;
mod spec;
mod temporary;
mod update;
