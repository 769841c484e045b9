//! The texts of statements that the protocol has prepared, in a gated session.
//!
//! Drivers keep such statements for as long as the connection, and rely on them, so they stay. Their texts
//! may hold another user's values, and the token. SQL sees them by one function; before it runs, the
//! constants are struck out. PostgreSQL runs statements from trees, and needs the text for messages only.

use std::cell::Cell;
use std::ffi::CString;

use pgrx::pg_sys;

use crate::constants;
use crate::pg::{prepared, spi, xact};

/// `pg_prepared_statement()`, which the view is made of (catalog/pg_proc.dat).
const SHOWS_STATEMENTS: u32 = 2510;

thread_local! {
    static STRIKING_OUT: Cell<bool> = const { Cell::new(false) };
}

/// Resets the flag also when the work fails.
struct StrikingOut;

impl Drop for StrikingOut {
    fn drop(&mut self) {
        STRIKING_OUT.set(false);
    }
}

/// A function is about to be executed in a gated session.
pub fn before_function(function: pg_sys::Oid) {
    if u32::from(function) != SHOWS_STATEMENTS || STRIKING_OUT.replace(true) {
        return;
    }
    let _striking_out = StrikingOut;
    let names = spi::read(
        "SELECT name FROM pg_catalog.pg_prepared_statement() WHERE NOT from_sql",
        &[],
        |row| row.get::<String>(1),
    );
    let names = xact::raised(names);
    for name in names.into_iter().flatten() {
        let name = CString::new(name).unwrap_or_default();
        prepared::change_text(&name, constants::strike_out);
    }
}
