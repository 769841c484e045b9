//! Has a function of another library changed the role past PostgreSQL's settings?

use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys;

use crate::pg::{identity, setting, xact};

/// When the transaction began in which one of them was last called.
static CALLED_IN: AtomicI64 = AtomicI64::new(0);

/// Has one of them set the role of this session, or asked for it in this transaction?
pub fn hold_the_role() -> bool {
    let role = identity::role_taken();
    // reset_user() leaves the login as the role.
    let is_foreign = role != pg_sys::InvalidOid
        && role != identity::session_user()
        && role != setting::ROLE.role();
    is_foreign || CALLED_IN.load(Ordering::Relaxed) == xact::transaction_start()
}

/// One of them is being called.
pub fn called() {
    CALLED_IN.store(xact::transaction_start(), Ordering::Relaxed);
}
