//! PostgreSQL's own refusals (42501) that are of our making: what the lock and the gate do to settings and rights, PostgreSQL words
//! as if it were anybody's. For others, row security's or a right that the role lacks, there is nothing to add.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::identity;
use crate::pg::text::bytes;
use crate::session::{gate, switch_state};

pub struct Words {
    pub detail: &'static CStr,
    pub hint: &'static CStr,
}

const LOCKED: Words = Words {
    detail: c"The role of this transaction was set by a token and is locked.",
    hint: c"COMMIT or ROLLBACK ends the switch; begin a new transaction for another role.",
};
const GATED: Words = Words {
    detail: c"It is an authenticator: without a token it can only be itself.",
    hint: c"BEGIN, then call scope.set_jwt_role() with a token.",
};
const IDLE: Words = Words {
    detail:
        c"This login is an authenticator: it acts through the roles of tokens, and none is active.",
    hint: c"BEGIN, then call scope.set_jwt_role() with a token, in the same transaction.",
};

/// Can there be any? Asked of each error.
pub fn may_be() -> bool {
    switch_state::is_locked() || gate::is_closed()
}

/// Looks nothing up: an error is under way. Formats stay as they are in the sources, whatever the language.
///
/// # Safety
/// A valid error with the SQLSTATE 42501.
pub unsafe fn words(error: *const pg_sys::ErrorData) -> Option<Words> {
    // SAFETY: by contract; terminated strings or NULL.
    let (format, message) = unsafe { (bytes((*error).message_id)?, bytes((*error).message)?) };
    let is_setting = format.starts_with(b"permission denied to set parameter")
        || format.starts_with(b"cannot set parameter");
    if is_setting {
        return names_guarded(message).then_some(if switch_state::is_locked() {
            LOCKED
        } else {
            GATED
        });
    }
    let is_right =
        format.starts_with(b"permission denied for ") || format.starts_with(b"must be owner of ");
    // In SECURITY DEFINER code it is the owner who lacks something.
    let is_itself = identity::current_user() == identity::session_user();
    (is_right && is_itself && !switch_state::is_locked()).then_some(IDLE)
}

fn names_guarded(message: &[u8]) -> bool {
    message
        .split(|&byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')))
        .any(|word| switch_state::settings().any(|name| name.to_bytes().eq_ignore_ascii_case(word)))
}
