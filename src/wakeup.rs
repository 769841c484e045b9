//! Telling the launcher of commits: always that something has changed, and at once when it may
//! matter before the launcher would look by itself.

pub mod keys;

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};

use pgrx::{pg_shmem_init, prelude::*};

use crate::pg::shared::{Shared, shared};
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{invalidation, server, sessions};

/// In shared memory.
static MEMORY: Shared<Memory> = shared(c"scope_roles launcher");

struct Memory {
    /// The launcher's process id, 0 while there is none.
    launcher: AtomicI32,
    /// When the launcher will look next, in Unix microseconds; the end of time while it is reading,
    /// because what commits then it may not have seen.
    planned: AtomicI64,
    /// Grows with every commit that has changed a label or a deadline.
    changes: AtomicU64,
    /// Grows with every commit that may have made tokens good no more.
    tokens: AtomicU64,
    /// Grow with every commit that has moved a deadline: each role's in one of them.
    renewals: [AtomicU64; BUCKETS],
}
const BUCKETS: usize = 256;

impl Default for Memory {
    fn default() -> Self {
        Self {
            launcher: AtomicI32::default(),
            planned: AtomicI64::default(),
            changes: AtomicU64::default(),
            tokens: AtomicU64::default(),
            renewals: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

fn bucket(role: pg_sys::Oid) -> usize {
    u32::from(role) as usize % BUCKETS
}

/// Whose deadlines this transaction has moved: a bit for each bucket.
static RENEWED: [AtomicU64; BUCKETS / 64] = [const { AtomicU64::new(0) }; BUCKETS / 64];
/// This transaction has changed something that the launcher should know …
static WANTED: AtomicBool = AtomicBool::new(false);
/// … or that tokens may be good no more …
static TOKENS_WANTED: AtomicBool = AtomicBool::new(false);
/// … and that asks for nothing before this moment.
static EARLIEST: AtomicI64 = AtomicI64::new(i64::MAX);

/// Roles have changed since the launcher last asked. In the launcher only.
static ROLES_CHANGED: AtomicBool = AtomicBool::new(true);

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(MEMORY);
    keys::init_shared_memory();
}

/// Hears of commits; in the postmaster, inherited by every backend.
pub fn init() {
    xact_end::tell::<Transactions>();
    keys::init();
}

/// The launcher is this process.
pub fn register_launcher() {
    planning();
    MEMORY
        .get()
        .launcher
        .store(server::pid(), Ordering::Release);
    // Of every committed change of pg_authid, on a standby from the WAL.
    invalidation::tell_of_roles(|| ROLES_CHANGED.store(true, Ordering::Relaxed));
}

/// The launcher is about to read: from here on every commit wakes it.
pub fn planning() {
    MEMORY.get().planned.store(i64::MAX, Ordering::SeqCst);
}

/// The launcher will look at this moment by itself.
pub fn planned(moment: i64) {
    MEMORY.get().planned.store(moment, Ordering::SeqCst);
}

/// How many commits have changed something so far.
pub fn changes() -> u64 {
    MEMORY.get().changes.load(Ordering::SeqCst)
}

/// How many commits may have made tokens good no more so far.
pub fn tokens() -> u64 {
    MEMORY.get().tokens.load(Ordering::SeqCst)
}

/// Wakes the launcher, for sessions whose token may be good no more when, and only if, this transaction commits.
pub fn tokens_at_commit() {
    TOKENS_WANTED.store(true, Ordering::Relaxed);
}

/// Differs from the last time when the role's deadline has been moved since. Only reads memory: called in a
/// signal handler.
pub fn renewals(role: pg_sys::Oid) -> u64 {
    let counter = MEMORY.get().renewals.get(bucket(role));
    counter.map_or(0, |counter| counter.load(Ordering::SeqCst))
}

/// The deadline of the role, or of what it gives for a time, is moved when, and only if, this transaction
/// commits: no session ends its statement by what it has read before.
pub fn renewed_at_commit(role: pg_sys::Oid) {
    let bucket = bucket(role);
    if let Some(word) = RENEWED.get(bucket / 64) {
        word.fetch_or(1 << (bucket % 64), Ordering::Relaxed);
    }
    at_commit();
}

/// Has pg_authid changed since this was last asked? At the start of a transaction, which takes in
/// what others have committed.
pub fn take_roles_changed() -> bool {
    ROLES_CHANGED.swap(false, Ordering::Relaxed)
}

/// Wakes the launcher when, and only if, this transaction commits.
pub fn at_commit() {
    at_commit_before(i64::MIN);
}

/// The same, unless the launcher looks by itself before `deadline` anyway.
pub fn at_commit_before(deadline: i64) {
    WANTED.store(true, Ordering::Relaxed);
    EARLIEST.fetch_min(deadline, Ordering::Relaxed);
}

struct Transactions;

impl Ending for Transactions {
    #[inline]
    fn is_awaited(_moment: Moment) -> bool {
        WANTED.load(Ordering::Relaxed) || TOKENS_WANTED.load(Ordering::Relaxed)
    }

    fn at(moment: Moment) {
        tell(moment);
    }
}

fn tell(moment: Moment) {
    match moment {
        Moment::Committed => {
            if TOKENS_WANTED.load(Ordering::Relaxed) {
                MEMORY.get().tokens.fetch_add(1, Ordering::SeqCst);
                wake();
            }
            if !WANTED.load(Ordering::Relaxed) {
                return forget();
            }
            MEMORY.get().changes.fetch_add(1, Ordering::SeqCst);
            for (bucket, counter) in MEMORY.get().renewals.iter().enumerate() {
                let word = RENEWED.get(bucket / 64);
                let word = word.map_or(0, |word| word.load(Ordering::Relaxed));
                if word & (1 << (bucket % 64)) != 0 {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
            if EARLIEST.load(Ordering::Relaxed) < MEMORY.get().planned.load(Ordering::SeqCst) {
                wake();
            }
            forget();
        }
        // COMMIT PREPARED, a statement of its own, tells the launcher.
        Moment::Aborted | Moment::Prepared => forget(),
        Moment::BeforeCommit | Moment::BeforePrepare => {}
    }
}

fn forget() {
    WANTED.store(false, Ordering::Relaxed);
    TOKENS_WANTED.store(false, Ordering::Relaxed);
    for word in &RENEWED {
        word.store(0, Ordering::Relaxed);
    }
    EARLIEST.store(i64::MAX, Ordering::Relaxed);
}

/// Wakes the launcher now.
pub fn wake() {
    let pid = MEMORY.get().launcher.load(Ordering::Acquire);
    if pid != 0 {
        sessions::wake(pid);
    }
}
