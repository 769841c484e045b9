//! The lock on a switched role: nothing but the end of the transaction takes it away (design 3.6).

pub mod state;
pub mod verdict;

use crate::error;
use crate::pg::{hooks, identity, switch_state};
use verdict::{Event, Session, Verdict};

pub fn init() {
    hooks::install_lock();
}

/// Judges what is about to happen in a locked session; raises 42501 when it may not.
pub fn enforce(event: &Event<'_>) {
    let Some(role) = switch_state::locked_to() else {
        return;
    };
    let identity = identity::now();
    let session = Session {
        locked_to: role.into(),
        outer: identity.outer.into(),
        current: identity.current.into(),
        security_context: identity.security_context,
    };
    if let Verdict::Refused(violation) = verdict::judge(&session, event) {
        error::raise(&violation);
    }
}
