//! Whether this session logged in as an authenticator, which acts through tokens only.

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;

/// The gated login of this session; 0 when it is not gated. Set once, at login.
static LOGIN: AtomicU32 = AtomicU32::new(0);

pub fn close(login: pg_sys::Oid) {
    LOGIN.store(login.into(), Ordering::Relaxed);
}

#[inline]
pub fn is_closed() -> bool {
    LOGIN.load(Ordering::Relaxed) != 0
}

pub fn login() -> Option<pg_sys::Oid> {
    Some(LOGIN.load(Ordering::Relaxed))
        .filter(|&login| login != 0)
        .map(Into::into)
}
