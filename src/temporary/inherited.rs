//! What a role inherits through a temporary membership ends at the deadline, whether or not the worker has
//! taken the membership away by then.
//!
//! PostgreSQL looks at memberships in many places, not all of which can be heard of: rights on objects,
//! ownership, policies, functions of its own that ask for a predefined role. So as long as a membership that
//! has ended still gives something, whoever inherits through it is refused all that could use it. What
//! touches nothing (`SELECT 1`) goes on, and so do the ends of transactions.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;

use super::verdict::{self, Graph, Inherited, Membership};
use super::{Catalog, StillThere};
use crate::error::raise;
use crate::pg::{catalog, clock, identity, invalidation};
use crate::session::ends;
use crate::wakeup;

/// What was found of a role, which holds until the clock or a change of roles says otherwise.
struct Known {
    role: AtomicU32,
    generation: AtomicU64,
    /// The next deadline; the end of time when there is none.
    until: AtomicI64,
    /// Who could move it, and what told of that when it was read.
    mover: AtomicU32,
    as_of: AtomicU64,
}

/// A session acts as few roles, its own and the owners of functions, in turn.
static KNOWN: [Known; 16] = [const {
    Known {
        role: AtomicU32::new(0),
        generation: AtomicU64::new(0),
        until: AtomicI64::new(i64::MIN),
        mover: AtomicU32::new(0),
        as_of: AtomicU64::new(0),
    }
}; 16];

fn place(role: u32) -> &'static Known {
    // In bounds: sixteen places, four bits.
    &KNOWN[(role & 15) as usize]
}

/// When the role must be asked about again; the end of time when only a change of roles could matter.
#[inline]
fn known_until(role: pg_sys::Oid) -> i64 {
    let role = u32::from(role);
    let known = place(role);
    if known.role.load(Ordering::Relaxed) == role
        && known.generation.load(Ordering::Relaxed) == invalidation::roles()
    {
        known.until.load(Ordering::Relaxed)
    } else {
        i64::MIN
    }
}

/// The cheap first question: may the role inherit through something that has ended?
#[inline]
pub fn may_have_ended(role: pg_sys::Oid) -> bool {
    known_until(role) != i64::MAX
}

/// Raises 42501 when the role inherits through a membership that has ended. Inside a transaction.
pub fn enforce(role: pg_sys::Oid) {
    let until = known_until(role);
    if until != i64::MIN && clock::now() < until {
        let known = place(role.into());
        if role == identity::now().outer {
            ends::ensure();
        } else if until != i64::MAX && !identity::is_parallel_worker() {
            let mover = known.mover.load(Ordering::Relaxed);
            ends::borrows(mover.into(), until, known.as_of.load(Ordering::Relaxed));
        }
        return;
    }
    let generation = invalidation::roles_generation();
    let is_free = catalog::role_by_oid(role).is_none_or(|role| role.superuser);
    let judged = if is_free {
        Inherited::Until(i64::MAX)
    } else {
        verdict::judge_inherited(&Inheriting, role.into(), clock::now())
    };
    match judged {
        Inherited::Until(until) => {
            let known = place(role.into());
            known.role.store(role.into(), Ordering::Relaxed);
            known.generation.store(generation, Ordering::Relaxed);
            known.until.store(until, Ordering::Relaxed);
            let mover = match until {
                i64::MAX => 0,
                until => verdict::ends_then(&Inheriting, role.into(), until),
            };
            let as_of = wakeup::renewals(mover.into());
            known.mover.store(mover, Ordering::Relaxed);
            known.as_of.store(as_of, Ordering::Relaxed);
            // Moved meanwhile: the next statement reads it.
            let is_newest = invalidation::roles_generation() == generation;
            let until = if is_newest { until } else { i64::MAX };
            if identity::is_parallel_worker() {
                return;
            }
            if role == identity::now().outer {
                ends::inheritance_ends(role, mover.into(), until, as_of);
            } else if until != i64::MAX {
                ends::borrows(mover.into(), until, as_of);
            }
        }
        Inherited::Ended(membership) => raise(&StillThere {
            role: catalog::name_of(membership.role.into()),
            inheritor: catalog::name_of(role),
            since: membership.ends_at,
        }),
    }
}

/// The roles whose rights the role has for a time, as last judged.
pub fn lent(role: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    if matches!(known_until(role), i64::MIN | i64::MAX) {
        return Vec::new();
    }
    let roles = verdict::lent(&Inheriting, role.into(), clock::now());
    let roles = roles.into_iter().map(pg_sys::Oid::from);
    // One that it may only take gives nothing by itself.
    roles
        .filter(|&given| catalog::has_privileges_of(role, given))
        .collect()
}

/// When something that the role inherits ends, if anything does.
pub fn ends_at(role: pg_sys::Oid, now: i64) -> Option<i64> {
    match verdict::judge_inherited(&Inheriting, role.into(), now) {
        Inherited::Until(i64::MAX) => None,
        Inherited::Until(until) => Some(until),
        Inherited::Ended(_) => Some(now),
    }
}

/// The same for whoever acts now.
pub fn enforce_for_current() {
    enforce(identity::current_user());
}

/// Memberships that give their privileges without SET ROLE.
struct Inheriting;

impl Graph for Inheriting {
    fn memberships(&self, role: u32) -> Vec<u32> {
        catalog::inherited_memberships(role.into())
            .into_iter()
            .map(Into::into)
            .collect()
    }

    fn temporary(&self, role: u32) -> Option<Membership> {
        // Without VALID UNTIL it is none, and its label need not be looked for.
        catalog::role_by_oid(role.into())?.valid_until?;
        Catalog.temporary(role)
    }
}
