//! Sessions that have SET ROLE to a role that is theirs for a time, or taken it by a token.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::verdict::{self, Verdict};
use super::{Catalog, HasEnded};
use crate::error::raise;
use crate::lock::verdict::{Event, Statement};
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{catalog, clock, identity, invalidation};
use crate::session::ends;

/// The last answer, which holds until the clock or a change of roles says otherwise.
#[derive(Clone, Copy)]
struct Answer {
    login: u32,
    acts_as: u32,
    generation: u64,
    until: i64,
}

thread_local! {
    static LAST: Cell<Option<Answer>> = const { Cell::new(None) };
}

/// Judges what is about to happen in a session that has SET ROLE; raises 42501 when the membership
/// that let it has ended. Going back is always allowed.
pub fn enforce(event: &Event<'_>) {
    if let Event::Utility(Statement::Transaction | Statement::Set { .. } | Statement::DiscardAll) =
        event
    {
        return;
    }
    let Some((login, acts_as)) = acting() else {
        return;
    };
    let generation = invalidation::roles_generation();
    let known = LAST.get().is_some_and(|answer| {
        answer.login == u32::from(login)
            && answer.acts_as == u32::from(acts_as)
            && answer.generation == generation
            && (answer.until == i64::MAX || clock::now() < answer.until)
    });
    if known {
        if LAST.get().is_some_and(|answer| answer.until != i64::MAX) {
            ends::ensure();
            note(acts_as);
        }
        return;
    }
    let superuser = catalog::role_by_oid(login).is_some_and(|role| role.superuser);
    let verdict = if superuser {
        Verdict::Allowed { until: i64::MAX }
    } else {
        verdict::judge(&Catalog, login.into(), acts_as.into(), clock::now())
    };
    match verdict {
        Verdict::Allowed { until } => {
            LAST.set(Some(Answer {
                login: login.into(),
                acts_as: acts_as.into(),
                generation,
                until,
            }));
            if until != i64::MAX {
                note(acts_as);
            }
            // Where the role is within reach by another way the end of this one cancels nothing.
            let is_last = until != i64::MAX
                && verdict::judge(&Catalog, login.into(), acts_as.into(), until) == Verdict::Ended;
            let mover = verdict::ends_then(&Catalog, login.into(), until);
            let is_newest = || invalidation::roles_generation() == generation;
            ends::role_ends(
                acts_as,
                mover.into(),
                if is_last { until } else { i64::MAX },
            );
            if is_last && !is_newest() {
                // Moved meanwhile: the next statement reads it.
                ends::role_ends(acts_as, mover.into(), i64::MAX);
            }
        }
        Verdict::Ended => raise(&HasEnded {
            role: catalog::name_of(acts_as),
        }),
    }
}

thread_local! {
    /// The roles, taken for a time, that this transaction has acted as.
    static ACTED: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
}

static HAS_ACTED: AtomicBool = AtomicBool::new(false);

/// Has this transaction acted as a role that was taken for a time? From PostgreSQL 18 on a deferred trigger runs as the role that has queued
/// it, when the session has gone back to itself, too.
#[inline]
pub fn has_acted() -> bool {
    HAS_ACTED.load(Ordering::Relaxed)
}

fn note(role: pg_sys::Oid) {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.swap(true, Ordering::Relaxed) {
        xact_end::tell::<Transactions>();
    }
    HAS_ACTED.store(true, Ordering::Relaxed);
    ACTED.with_borrow_mut(|acted| {
        if !acted.contains(&role) {
            acted.push(role);
        }
    });
}

struct Transactions;

impl Ending for Transactions {
    #[inline]
    fn is_awaited(_moment: Moment) -> bool {
        has_acted()
    }

    fn at(moment: Moment) {
        if !matches!(moment, Moment::BeforeCommit | Moment::BeforePrepare) {
            HAS_ACTED.store(false, Ordering::Relaxed);
            ACTED.with_borrow_mut(Vec::clear);
        }
    }
}

/// The login, and the role other than itself that it acts as, by SET ROLE, or in what it has queued when it did.
fn acting() -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    let (login, now) = (identity::session_user(), identity::now());
    if now.outer != login {
        return Some((login, now.outer));
    }
    let has_queued = ACTED.with_borrow(|acted| acted.contains(&now.current));
    has_queued.then_some((login, now.current))
}

/// The login and the role that this session acts as for a time, if it does: as last judged.
pub fn lent() -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    let answer = LAST.get().filter(|answer| answer.until != i64::MAX)?;
    let (login, acts_as) = acting()?;
    let is_it = answer.login == u32::from(login) && answer.acts_as == u32::from(acts_as);
    is_it.then_some((login, acts_as))
}
