//! What this transaction has exchanged is looked at once more where it commits: a revocation may have come since, which saw no login yet.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::Error;
use crate::advisory::{self, Key, Mode};
use crate::error;
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{catalog, server};
use crate::verify::{self, Presented};

thread_local! {
    static PENDING: RefCell<Vec<Exchanged>> = const { RefCell::new(Vec::new()) };
}

/// What a login of this transaction rests on.
#[derive(Clone)]
pub(super) struct Exchanged {
    pub role: pg_sys::Oid,
    pub presented: Rc<Presented>,
}

static IS_ANY: AtomicBool = AtomicBool::new(false);

pub(super) fn add(exchanged: Exchanged) {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        xact_end::tell::<Transactions>();
    }
    IS_ANY.store(true, Ordering::Relaxed);
    PENDING.with_borrow_mut(|pending| pending.push(exchanged));
}

struct Transactions;

impl Ending for Transactions {
    #[inline]
    fn is_awaited(_moment: Moment) -> bool {
        IS_ANY.load(Ordering::Relaxed)
    }

    fn at(moment: Moment) {
        match moment {
            Moment::BeforeCommit => check(),
            // No transaction block has one.
            Moment::BeforePrepare => {}
            Moment::Committed | Moment::Prepared | Moment::Aborted => {
                IS_ANY.store(false, Ordering::Relaxed);
                PENDING.with_borrow_mut(Vec::clear);
            }
        }
    }
}

fn check() {
    let mut pending = PENDING.with_borrow(Clone::clone);
    // Held until the commit has been seen, which nobody can put off: what waits for it, a revocation or the end of a role, sees the login.
    advisory::lock(Key::Tokens(server::database()), Mode::Share);
    // Nor a standby that does not answer: a login that a failover loses is exchanged once more.
    server::commit_locally();
    pending.sort_by_key(|exchanged| u32::from(exchanged.role));
    for Exchanged { role, presented } in pending {
        advisory::lock(Key::Role(role), Mode::Share);
        if !super::is_still(role, &catalog::name_of(role)) {
            error::raise(&Error::Replaced);
        }
        if let Err(error) = verify::again(&presented) {
            error::raise(&Error::from(error));
        }
    }
}
