//! Making a switch, and ending one: the settings, and what goes with them.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::role_settings::{self, Stored};
use super::switch_state::{self, Prepared};
use super::{claim_settings, leftovers};
use crate::switch_text::Extent;

/// Switches to `role` and locks it; `settings` are the role's own.
pub fn activate(role: &CStr, state: &Prepared, settings: &Stored) {
    claim_settings::secure();
    leftovers::switch_begins(state.extent);
    switch_state::set(role, state);
    if !settings.is_empty() || state.extent == Extent::Session {
        role_settings::begin(settings, state.extent);
    }
    claim_settings::switched();
}

/// Gives the switch of the session another token.
pub fn refresh(role: &CStr, state: &Prepared) {
    switch_state::set(role, state);
    claim_settings::switched();
}

/// Ends a session's switch: the session is its login role again.
pub fn deactivate() {
    let by = switch_state::identity();
    switch_state::unset();
    role_settings::end(by);
    leftovers::session_ended();
}

/// What the role's settings are waiting for may be over: the function in which the switch was made.
#[inline]
pub fn settle() {
    if role_settings::are_waiting() {
        role_settings::catch_up();
    }
}

/// Is there something to settle?
#[inline]
pub fn is_unsettled() -> bool {
    role_settings::are_waiting()
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
            claim_settings::catch_up();
            settle();
            Some(pg_sys::Oid::from(role))
        }
    }
}
