//! Making a switch, and ending one: the settings, and what goes with them.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::switch_state::{self, Prepared};
use super::{claim_settings, ends, leftovers};
use crate::switch_text::Extent;

/// Switches to `role` and locks it.
pub fn activate(role: &CStr, claims: &CStr, state: &Prepared) {
    claim_settings::secure();
    if state.extent == Extent::Session {
        leftovers::session_begins();
    }
    switch_state::set(role, claims, state);
    ends::ensure();
    claim_settings::switched();
}

/// Ends a session's switch: the session is its login role again.
pub fn deactivate() {
    switch_state::unset();
    leftovers::session_ended();
}

/// The role that this session is locked to.
pub fn locked_to() -> Option<pg_sys::Oid> {
    match switch_state::locked_to() {
        0 => None,
        role => {
            if !switch_state::is_guarding() {
                // A parallel worker restores settings one by one and in any order; the guard is
                // put up at its first hook instead.
                claim_settings::secure();
                switch_state::guard();
            }
            Some(pg_sys::Oid::from(role))
        }
    }
}
