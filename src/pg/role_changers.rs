//! Has a function of another library changed the role past PostgreSQL's settings?

use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys;

use super::{raw, switch_state};

/// When the transaction began in which one of them was last called.
static CALLED_IN: AtomicI64 = AtomicI64::new(0);

/// Has one of them set the role of this session, or asked for it in this transaction?
pub fn hold_the_role() -> bool {
    // SAFETY: reads backend globals.
    let (began, role, login) = unsafe {
        (
            raw::GetCurrentTransactionStartTimestamp(),
            raw::GetCurrentRoleId(),
            raw::GetSessionUserId(),
        )
    };
    // reset_user() leaves the login as the role.
    let is_foreign =
        role != pg_sys::InvalidOid && role != login && role != switch_state::role_setting();
    is_foreign || CALLED_IN.load(Ordering::Relaxed) == began
}

/// One of them is being called.
pub fn called() {
    // SAFETY: reads a backend global.
    let began = unsafe { raw::GetCurrentTransactionStartTimestamp() };
    CALLED_IN.store(began, Ordering::Relaxed);
}
