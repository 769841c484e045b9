//! Is the login of this session still in force? Its end does not wait for the worker: from the deadline, or
//! from the revocation, each statement is refused here, and what runs is cancelled.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;

use super::{policy, reach};
use crate::admission::refusal::Refusal;
use crate::attention;
use crate::error::raise;
use crate::label;
use crate::pg::{catalog, clock, connection, invalidation};
use crate::session::ends;
use crate::wakeup;

/// The managed login of this session; 0 in all others. Set once, at login.
static LOGIN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Until when the login is in force, as of which change of roles.
    static LAST: Cell<(u64, i64)> = const { Cell::new((0, i64::MIN)) };
}

/// Raised at the next statement of a session whose login has ended.
#[derive(Debug, thiserror::Error)]
#[error("{}", if matches!(.refusal, Refusal::Database) { "this login may not be used in this database" } else { "the login of this session has ended" })]
pub struct Over {
    pub refusal: Refusal,
    pub since: Option<i64>,
}

pub fn watch(login: pg_sys::Oid) {
    LOGIN.store(login.into(), Ordering::Relaxed);
    attention::disturb();
}

/// The cheap first question: one load.
#[inline]
pub fn is_watched() -> bool {
    LOGIN.load(Ordering::Relaxed) != 0
}

/// Raises 28000 when the login is not in force any more. Inside a transaction.
pub fn enforce() {
    let (generation, until) = LAST.get();
    if generation == invalidation::roles() && (until == i64::MAX || clock::now() < until) {
        if until != i64::MAX {
            ends::ensure();
        }
        return;
    }
    // It may end without a deadline.
    connection::watch();
    let login = LOGIN.load(Ordering::Relaxed).into();
    let renewals = wakeup::renewals(login);
    let generation = invalidation::roles_generation();
    match standing_of(login) {
        Ok(Standing { until, is_home }) => {
            // What a login gets in a database that is not its own is asked about at each statement.
            if is_home {
                LAST.set((generation, until));
            }
            ends::login_ends(login, until, renewals);
        }
        Err(over) => raise(&over),
    }
}

/// The same as an answer, where nothing can be raised. Inside a transaction.
pub fn is_over() -> bool {
    let (generation, until) = LAST.get();
    if generation == invalidation::roles_generation() {
        return until != i64::MAX && clock::now() >= until;
    }
    standing_of(LOGIN.load(Ordering::Relaxed).into()).is_err()
}

struct Standing {
    /// Unix microseconds.
    until: i64,
    is_home: bool,
}

impl Standing {
    const FOR_EVER: Self = Self {
        until: i64::MAX,
        is_home: true,
    };
}

fn standing_of(login: pg_sys::Oid) -> Result<Standing, Over> {
    let over = |refusal, since| Err(Over { refusal, since });
    let Some(role) = catalog::role_by_oid(login) else {
        return over(Refusal::Ending, None);
    };
    if role.superuser {
        return Ok(Standing::FOR_EVER);
    }
    match label::read(login) {
        // Nobody's but PostgreSQL's by now.
        None => Ok(Standing::FOR_EVER),
        Some(Err(_)) => over(Refusal::Label, None),
        Some(Ok(metadata)) => {
            let deadline = metadata.deadline(role.valid_until);
            if let Some(refusal) = policy::in_force(&metadata, role.valid_until, clock::now()) {
                return over(refusal, deadline);
            }
            let is_home = !reach::is_away(&metadata);
            if !is_home && reach::gets_something_here(login, &metadata) {
                return over(Refusal::Database, deadline);
            }
            Ok(Standing {
                until: deadline.unwrap_or(i64::MAX),
                is_home,
            })
        }
    }
}
