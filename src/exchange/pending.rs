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
    /// The logins of this transaction, and their tokens.
    static PENDING: RefCell<Vec<(pg_sys::Oid, Rc<Presented>)>> = const { RefCell::new(Vec::new()) };
}

static IS_ANY: AtomicBool = AtomicBool::new(false);

pub(super) fn add(login: pg_sys::Oid, presented: Rc<Presented>) {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        xact_end::tell::<Transactions>();
    }
    IS_ANY.store(true, Ordering::Relaxed);
    PENDING.with_borrow_mut(|pending| pending.push((login, presented)));
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
            // Nobody would look when it is committed.
            Moment::BeforePrepare => error::raise(&Error::Prepared),
            Moment::Committed | Moment::Prepared | Moment::Aborted => {
                IS_ANY.store(false, Ordering::Relaxed);
                PENDING.with_borrow_mut(Vec::clear);
            }
        }
    }
}

fn check() {
    // Held until the commit has been seen: a revocation that waits for it sees the login.
    advisory::lock(Key::Tokens(server::database()), Mode::Share);
    let pending = PENDING.with_borrow(Clone::clone);
    for (login, presented) in pending {
        // A rollback to a savepoint has taken others away.
        if catalog::role_by_oid(login).is_some()
            && let Err(error) = verify::again(&presented)
        {
            error::raise(&Error::from(error));
        }
    }
}
