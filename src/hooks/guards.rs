//! What the hooks do for guards: rows on their way to the client, the classes of statements, and whether a statement
//! changes data.

mod classes;
mod copy;
mod frame;
pub mod functions;
pub mod messages;
pub mod rows;
mod temporary;
pub mod utility;
pub mod writes;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::guard::{self, ROWS};
use crate::pg::{connection, invalidation, raw};

/// What was found out for a pair of login and role.
struct Known {
    generation: AtomicU64,
    login: AtomicU32,
    outer: AtomicU32,
    flags: AtomicU32,
}

static KNOWN: [Known; 8] = [const {
    Known {
        generation: AtomicU64::new(0),
        login: AtomicU32::new(0),
        outer: AtomicU32::new(0),
        flags: AtomicU32::new(0),
    }
}; 8];

/// What there is to do in this session, see `guard::flags`; the first question of every hook, and
/// most often the last. In a transaction that has not failed.
///
/// # Safety
/// In the backend; owns nothing, because an error may jump over it.
#[inline]
pub unsafe fn flags() -> u32 {
    // SAFETY: reads of backend globals; a worker's leader does what is to be done.
    let (login, outer, is_worker) = unsafe {
        (
            u32::from(raw::GetSessionUserId()),
            u32::from(raw::GetOuterUserId()),
            pg_sys::ParallelWorkerNumber >= 0,
        )
    };
    if is_worker {
        return 0;
    }
    let Some(known) = KNOWN.get(outer as usize % KNOWN.len()) else {
        return 0;
    };
    let is_known = known.generation.load(Ordering::Relaxed) == invalidation::roles()
        && known.login.load(Ordering::Relaxed) == login
        && known.outer.load(Ordering::Relaxed) == outer;
    if is_known {
        return known.flags.load(Ordering::Relaxed);
    }
    find_out(login, outer);
    known.flags.load(Ordering::Relaxed)
}

/// As [`flags`], after taking in what others have committed: for the beginning of a statement.
///
/// # Safety
/// As [`flags`].
#[inline]
unsafe fn flags_now() -> u32 {
    // SAFETY: by contract; allowed anywhere in a transaction.
    unsafe {
        raw::AcceptInvalidationMessages();
        flags()
    }
}

#[pg_guard]
extern "C-unwind" fn find_out(login: u32, outer: u32) {
    // SAFETY: a plain read of a backend global. Without a database there are no statements.
    if login == 0 || unsafe { pg_sys::MyDatabaseId } == pg_sys::InvalidOid {
        return;
    }
    let generation = invalidation::roles_generation();
    let flags = guard::flags(login.into(), outer.into());
    if flags & ROWS != 0 {
        connection::watch();
    }
    if let Some(known) = KNOWN.get(outer as usize % KNOWN.len()) {
        known.login.store(login, Ordering::Relaxed);
        known.outer.store(outer, Ordering::Relaxed);
        known.flags.store(flags, Ordering::Relaxed);
        known.generation.store(generation, Ordering::Relaxed);
    }
}
