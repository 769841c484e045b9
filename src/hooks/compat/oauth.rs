//! PostgreSQL's own authentication by OAuth (libpq/oauth.h), which pgrx does not bind: there from 18 on, and on nothing else is it called.

use std::ffi::{CStr, c_char, c_int, c_void};

use pgrx::pg_sys;

/// `PG_OAUTH_VALIDATOR_MAGIC`
const MAGIC: u32 = 0x2025_0220;

/// `struct ValidatorModuleState`
#[repr(C)]
pub struct State {
    version: c_int,
    private: *mut c_void,
}

/// `struct ValidatorModuleResult`, which PostgreSQL has zeroed.
#[repr(C)]
pub struct Outcome {
    is_authorized: bool,
    identity: *mut c_char,
    #[cfg(feature = "pg19")]
    error_detail: *mut c_char,
}

impl Outcome {
    /// The client may log in. `identity`: what PostgreSQL compares with pg_ident.conf; without one it lets nobody in but by
    /// `delegate_ident_mapping`.
    pub fn authorize(&mut self, identity: Option<&CStr>) {
        // SAFETY: a copy in the memory that PostgreSQL calls the validator in, and frees it from.
        let copy = identity.map(|identity| unsafe { pg_sys::pstrdup(identity.as_ptr()) });
        self.identity = copy.unwrap_or(std::ptr::null_mut());
        self.is_authorized = true;
    }
}

type Turn = unsafe extern "C-unwind" fn(*mut State);
type Validate =
    unsafe extern "C-unwind" fn(*const State, *const c_char, *const c_char, *mut Outcome) -> bool;

/// `struct OAuthValidatorCallbacks`
#[repr(C)]
pub struct Callbacks {
    magic: u32,
    startup: Option<Turn>,
    shutdown: Option<Turn>,
    validate: Validate,
}

impl Callbacks {
    /// `validate` gets the token, and the role that is asked for.
    pub const fn new(validate: Validate) -> Self {
        Self {
            magic: MAGIC,
            startup: Some(startup),
            shutdown: None,
            validate,
        }
    }
}

#[cfg(feature = "pg19")]
unsafe extern "C-unwind" {
    fn RegisterOAuthHBAOptions(state: *mut State, count: c_int, names: *const *const c_char);
    fn GetOAuthHBAOption(state: *const State, name: *const c_char) -> *const c_char;
}

/// The options that a line of pg_hba.conf may have for us, after `validator.`.
#[cfg(feature = "pg19")]
const OPTIONS: [&CStr; 2] = [c"issuer_name", c"role_claim"];

/// Where lines may have options for their validator.
unsafe extern "C-unwind" fn startup(_state: *mut State) {
    #[cfg(feature = "pg19")]
    // SAFETY: PostgreSQL's own state, and as many names as are said, which it copies.
    unsafe {
        let names = OPTIONS.map(CStr::as_ptr);
        RegisterOAuthHBAOptions(_state, names.len() as c_int, names.as_ptr());
    }
}

/// `issuer_name` and `role_claim` of the line.
///
/// # Safety
/// The state that PostgreSQL calls a validator with.
pub unsafe fn options_of_line(_state: *const State) -> [Option<String>; 2] {
    #[cfg(feature = "pg19")]
    // SAFETY: by contract; NULL, or terminated and there while the client logs in.
    return OPTIONS
        .map(|name| unsafe { crate::pg::text::owned(GetOAuthHBAOption(_state, name.as_ptr())) });
    #[cfg(not(feature = "pg19"))]
    [None, None]
}
