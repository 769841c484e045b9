//! Cursors that were opened by rights which are somebody's for a time. PostgreSQL asks for rights when it opens them, and their rows come later: when
//! the session has gone back from the role, or the worker has taken the membership away.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::verdict::{self, Verdict};
use super::{Catalog, Lapsed, acting, inherited};
use crate::error::raise;
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{catalog, clock, cursor, identity};

/// What somebody has for a time.
#[derive(Clone, Copy)]
enum Right {
    /// The login may SET ROLE to the role, or has by a token.
    Taken {
        login: pg_sys::Oid,
        role: pg_sys::Oid,
    },
    Inherited {
        by: pg_sys::Oid,
        role: pg_sys::Oid,
    },
}

impl Right {
    fn has_ended(&self) -> bool {
        match *self {
            Self::Taken { login, role } => {
                verdict::judge(&Catalog, login.into(), role.into(), clock::now()) == Verdict::Ended
            }
            // As long as the membership is there, its end is asked about at each statement.
            Self::Inherited { by, role } => !catalog::has_privileges_of(by, role),
        }
    }
}

thread_local! {
    /// By the addresses of queries, which end with the transaction.
    static STARTED: RefCell<HashMap<usize, Vec<Right>>> = RefCell::default();
    /// By the names of cursors that outlive theirs.
    static HELD: RefCell<HashMap<CString, Vec<Right>>> = RefCell::default();
    /// The cursor that is being declared WITH HOLD.
    static HOLDING: RefCell<Option<CString>> = const { RefCell::new(None) };
}

static HAS_HELD: AtomicBool = AtomicBool::new(false);

/// A query has been started that reads as these, too: true if [`enforce`] is to be asked when it goes on.
pub fn started(query: usize, owners: &[pg_sys::Oid]) -> bool {
    let mut rights = Vec::new();
    if let Some((login, role)) = acting::lent() {
        rights.push(Right::Taken { login, role });
    }
    for &by in owners.iter().chain([&identity::current_user()]) {
        let roles = inherited::lent(by).into_iter();
        rights.extend(roles.map(|role| Right::Inherited { by, role }));
    }
    if rights.is_empty() {
        return false;
    }
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        xact_end::tell::<Transactions>();
    }
    if let Some(name) = HOLDING.with_borrow(Clone::clone) {
        HAS_HELD.store(true, Ordering::Relaxed);
        HELD.with_borrow_mut(|held| held.entry(name).or_default().extend(&rights));
    }
    STARTED.with_borrow_mut(|started| started.insert(query, rights));
    true
}

/// Raises 42501 when the query goes on by what has ended.
pub fn enforce(query: usize) {
    let rights = STARTED.with_borrow(|started| started.get(&query).cloned());
    judge(&rights.unwrap_or_default());
}

/// The cursor is about to be declared WITH HOLD; `None`: it has been.
pub fn holding(name: Option<&CStr>) {
    HOLDING.set(name.map(CStr::to_owned));
}

/// Are there cursors WITH HOLD that were opened so?
#[inline]
pub fn has_held() -> bool {
    HAS_HELD.load(Ordering::Relaxed)
}

/// Raises 42501 as long as there is a cursor WITH HOLD that was opened by what has ended: code fetches from it, too.
pub fn enforce_held() {
    let rights = HELD.with_borrow_mut(|held| {
        held.retain(|name, _| cursor::is_there(name));
        held.values().flatten().copied().collect::<Vec<_>>()
    });
    HAS_HELD.store(!rights.is_empty(), Ordering::Relaxed);
    judge(&rights);
}

fn judge(rights: &[Right]) {
    if let Some(Right::Taken { role, .. } | Right::Inherited { role, .. }) =
        rights.iter().find(|right| right.has_ended())
    {
        raise(&Lapsed {
            role: catalog::name_of(*role),
        });
    }
}

struct Transactions;

impl Ending for Transactions {
    fn at(moment: Moment) {
        if !matches!(moment, Moment::BeforeCommit | Moment::BeforePrepare) {
            STARTED.with_borrow_mut(HashMap::clear);
            HOLDING.set(None);
        }
    }
}
