//! Whether this session logged in as an authenticator, which acts through tokens only.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::pg_sys;

use crate::attention::{self, LINE};
use crate::label;
use crate::pg::identity;

/// The gated login of this session; 0 when it is not gated. Set once, at login.
static LOGIN: &AtomicU32 = &LINE.gated_login;
/// A parallel worker does not log in: it asks once whether its session did so through the gate.
static ASKED: AtomicBool = AtomicBool::new(false);

/// The login has presented a token in place of a password: the session is that token's for its length.
static BY_TOKEN: AtomicBool = AtomicBool::new(false);

/// For good, at login.
pub fn open_by_token() {
    BY_TOKEN.store(true, Ordering::Relaxed);
}

/// Does the session end with the token that it has logged in with?
#[inline]
pub fn is_by_token() -> bool {
    BY_TOKEN.load(Ordering::Relaxed)
}

pub fn close(login: pg_sys::Oid) {
    LOGIN.store(login.into(), Ordering::Relaxed);
    attention::disturb();
}

/// False for sure in ungated sessions; true in every parallel worker that has not asked.
#[inline]
pub fn may_be_closed() -> bool {
    LOGIN.load(Ordering::Relaxed) != 0
        || (identity::is_parallel_worker() && !ASKED.load(Ordering::Relaxed))
}

/// Is this session known to be gated? Cannot fail, and looks nothing up.
#[inline]
pub fn is_closed() -> bool {
    LOGIN.load(Ordering::Relaxed) != 0
}

/// May a pooler hand this session from one person to the next? A login by token's is one person's.
#[inline]
pub fn is_shared() -> bool {
    is_closed() && !is_by_token()
}

/// The gated login of this session. Inside a transaction.
pub fn login() -> Option<pg_sys::Oid> {
    if identity::is_parallel_worker() && !ASKED.swap(true, Ordering::Relaxed) {
        let user = identity::session_user();
        if label::is_gated(user) {
            close(user);
        }
    }
    Some(LOGIN.load(Ordering::Relaxed))
        .filter(|&login| login != 0)
        .map(Into::into)
}
