//! Whose statements are recorded.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::label;
use crate::pg::{identity, xact};
use crate::session::switch_state;

/// While an error is being reported: no catalogue may be read.
static REPORTING: AtomicBool = AtomicBool::new(false);

pub fn is_watched_while_reporting() -> bool {
    let before = REPORTING.swap(true, Ordering::Relaxed);
    let watched = is_watched();
    REPORTING.store(before, Ordering::Relaxed);
    watched
}

/// Is the login a managed one?
static WATCHED_LOGIN: AtomicBool = AtomicBool::new(false);

pub fn watch_login() {
    WATCHED_LOGIN.store(true, Ordering::Relaxed);
}

/// Are this session's statements recorded? Of managed logins, of switched sessions, and of those that
/// have SET ROLE to a managed role.
pub fn is_watched() -> bool {
    if switch_state::is_locked() || WATCHED_LOGIN.load(Ordering::Relaxed) {
        return true;
    }
    let (outer, login) = (identity::outer_user(), identity::session_user());
    outer != login && !identity::is_parallel_worker() && is_managed(outer)
}

/// Looked up once for each role that is taken; outside transactions, and while an error is under
/// way, what is known counts.
fn is_managed(role: pg_sys::Oid) -> bool {
    thread_local! {
        static KNOWN: Cell<(u32, bool)> = const { Cell::new((0, false)) };
    }
    let (known, answer) = KNOWN.get();
    if known == u32::from(role) {
        return answer;
    }
    if REPORTING.load(Ordering::Relaxed) || !xact::is_going_on() {
        return false;
    }
    let answer = look_up(role);
    KNOWN.set((role.into(), answer));
    answer
}

#[pg_guard]
extern "C-unwind" fn look_up(role: pg_sys::Oid) -> bool {
    label::read(role).is_some()
}
