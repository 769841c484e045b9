//! PostgreSQL's own authentication by OAuth (`oauth_validator_libraries`) asks here what a token is worth; from 18 on.

use std::ffi::{CString, c_char};

use pgrx::prelude::*;
use zeroize::Zeroizing;

use super::authentication::client;
use super::compat::oauth;
use crate::door::{self, Line};
use crate::pg::compat::Port;
use crate::pg::text;

static CALLBACKS: oauth::Callbacks = oauth::Callbacks::new(validate);

/// PostgreSQL finds a library of validators by this name.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _PG_oauth_validator_module_init() -> *const oauth::Callbacks {
    &raw const CALLBACKS
}

/// False says that something has gone wrong; a token that is refused is none of that.
#[pg_guard]
unsafe extern "C-unwind" fn validate(
    state: *const oauth::State,
    token: *const c_char,
    role: *const c_char,
    outcome: *mut oauth::Outcome,
) -> bool {
    // SAFETY: PostgreSQL passes its state, two terminated strings, and a place for the outcome, which is zeroed: nobody is let in.
    unsafe {
        let (Some(token), Some(role), Some(port)) =
            (text::bytes(token), text::bytes(role), Port::current())
        else {
            return true;
        };
        let token = str::from_utf8(token).unwrap_or_default();
        let [issuer, scope] = port.oauth();
        let [only, role_claim] = oauth::options_of_line(state);
        let presented = door::Bearer {
            token: Zeroizing::new(token.into()),
            user: text::of(role).into_owned(),
            client: client(port),
            line: Line {
                issuer,
                scope,
                only,
                role_claim,
            },
        };
        if let Some(identity) = door::validate(presented) {
            let identity = identity.and_then(|identity| CString::new(identity).ok());
            (*outcome).authorize(identity.as_deref());
        }
    }
    true
}
