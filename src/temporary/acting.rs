//! Sessions that have SET ROLE to a role that is theirs for a time, and cursors that they have opened as it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::verdict::{self, Verdict};
use super::{Catalog, HasEnded};
use crate::error::raise;
use crate::lock::verdict::{Event, Statement};
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
    let (login, acts_as) = (identity::session_user(), identity::now().outer);
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
    /// Queries that were started by a role taken for a time, by their addresses: login and role.
    static OPENED: RefCell<HashMap<usize, (u32, u32)>> = RefCell::default();
}

/// A query of a session that has SET ROLE was started: true if [`enforce_opened`] is to be asked when it goes on.
pub fn opened(query: usize) -> bool {
    let Some(answer) = LAST.get().filter(|answer| answer.until != i64::MAX) else {
        return false;
    };
    OPENED.with_borrow_mut(|opened| {
        opened.insert(query, (answer.login, answer.acts_as));
    });
    true
}

/// The same as [`enforce`], for the role that has started the query: a cursor stays open when the session goes back from it.
pub fn enforce_opened(query: usize) {
    let Some((login, acts_as)) = OPENED.with_borrow(|opened| opened.get(&query).copied()) else {
        return;
    };
    if verdict::judge(&Catalog, login, acts_as, clock::now()) == Verdict::Ended {
        raise(&HasEnded {
            role: catalog::name_of(acts_as.into()),
        });
    }
}
