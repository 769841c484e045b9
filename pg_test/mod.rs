//! In-server tests: what needs a backend but no second session. And `tokens`, which needs no server.
//! Test names begin with their topic: they are unique in the crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
mod elevation;
mod hours;
mod label;
#[cfg(test)]
mod tokens;
mod transaction;

/// Asked for by pgrx.
pub fn setup(_options: Vec<&str>) {}

/// Asked for by pgrx.
#[must_use]
pub fn postgresql_conf_options() -> Vec<&'static str> {
    vec!["shared_preload_libraries = 'scope_roles'"]
}
