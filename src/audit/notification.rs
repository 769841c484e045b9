//! NOTIFY of what is not to be undone with its transaction.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{identity, notify, server};

thread_local! {
    /// Notifications that wait for a commit.
    static WAITING: RefCell<Vec<(&'static CStr, CString)>> = const { RefCell::new(Vec::new()) };
}

/// How many wait at most; more are in the log only.
const MOST: usize = 100;

/// NOTIFY, with the next commit of this session, whatever becomes of this transaction. Nothing where
/// that is not possible.
pub fn at_commit(channel: &'static CStr, payload: CString) {
    static WATCHING: AtomicBool = AtomicBool::new(false);
    if server::in_recovery() || identity::is_parallel_worker() {
        return;
    }
    if !WATCHING.swap(true, Ordering::Relaxed) {
        xact_end::tell::<Transactions>();
    }
    WAITING.with_borrow_mut(|waiting| {
        if waiting.len() < MOST {
            waiting.push((channel, payload));
        }
    });
}

struct Transactions;

impl Ending for Transactions {
    /// Not before PREPARE TRANSACTION, which PostgreSQL refuses to transactions that notify.
    #[inline]
    fn is_awaited(moment: Moment) -> bool {
        moment == Moment::BeforeCommit
    }

    fn at(_moment: Moment) {
        for (channel, payload) in WAITING.take() {
            notify::notify(channel, &payload);
        }
    }
}
