//! The settings of a switched role (ALTER ROLE … SET): a session that has not logged in as it has them while the switch lasts.
//!
//! They are what the role starts with, no limits: whoever is switched may SET something else, as after a login. Only what everybody
//! may set is taken, and nothing that says who acts or what the token claims.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::switch_state;
use crate::pg::db_role_setting::{self, Before, Stored};
use crate::switch_text::Extent;

thread_local! {
    /// What the session had before it was switched as a whole.
    static BEFORE: RefCell<Before> = const { RefCell::new(Vec::new()) };
}

/// Those that a switch to the role takes over.
pub fn of(role: pg_sys::Oid) -> Stored {
    let mut stored = db_role_setting::of(role);
    stored.retain(|(name, _)| !is_the_extensions(name));
    stored
}

/// Of the lock, of the request, and those that only the extension sets.
fn is_the_extensions(name: &CStr) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"request.", b"scope.", b"scope_roles."];
    let bytes = name.to_bytes();
    let begins = |prefix: &&[u8]| {
        bytes
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    PREFIXES.iter().any(begins)
        || switch_state::settings().any(|own| own.to_bytes().eq_ignore_ascii_case(bytes))
}

/// Once the switch has been made.
pub fn begin(stored: &Stored, extent: Extent) {
    match extent {
        // The end of the transaction, or of the savepoint, undoes them.
        Extent::Transaction => {
            db_role_setting::apply(stored, pg_sys::GucAction::GUC_ACTION_LOCAL);
        }
        Extent::Session => {
            BEFORE.set(db_role_setting::apply(
                stored,
                pg_sys::GucAction::GUC_ACTION_SET,
            ));
        }
    }
}

/// The switch of the session ends. What was there is kept: a rollback brings the switch back.
pub fn end() {
    BEFORE.with_borrow(db_role_setting::put_back);
}
