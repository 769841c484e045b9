//! Telling the launcher of commits: always that something has changed, and at once when it may
//! matter before the launcher would look by itself.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init, pg_sys};

/// The launcher's process id, 0 while there is none. In shared memory.
// SAFETY: the name is unique in the server.
static LAUNCHER: PgAtomic<AtomicI32> = unsafe { PgAtomic::new(c"scope_roles launcher") };
/// When the launcher will look next, in Unix microseconds; the end of time while it is reading,
/// because what commits then it may not have seen. In shared memory.
// SAFETY: as above.
static PLANNED: PgAtomic<AtomicI64> = unsafe { PgAtomic::new(c"scope_roles launcher plan") };
/// Grows with every commit that has changed a label or a deadline. In shared memory.
// SAFETY: as above.
static CHANGES: PgAtomic<AtomicU64> = unsafe { PgAtomic::new(c"scope_roles changes") };

/// Grow with every commit that has moved a deadline: each role's in one of them. In shared memory.
// SAFETY: as above.
static RENEWALS: PgAtomic<Renewals> = unsafe { PgAtomic::new(c"scope_roles renewals") };
const BUCKETS: usize = 256;

struct Renewals([AtomicU64; BUCKETS]);

impl Default for Renewals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

// SAFETY: atomics in place, no pointers.
unsafe impl PGRXSharedMemory for Renewals {}

fn bucket(role: pg_sys::Oid) -> usize {
    u32::from(role) as usize % BUCKETS
}

/// Whose deadlines this transaction has moved: a bit for each bucket.
static RENEWED: [AtomicU64; BUCKETS / 64] = [const { AtomicU64::new(0) }; BUCKETS / 64];
/// This transaction has changed something that the launcher should know …
static WANTED: AtomicBool = AtomicBool::new(false);
/// … and that asks for nothing before this moment.
static EARLIEST: AtomicI64 = AtomicI64::new(i64::MAX);

/// Roles have changed since the launcher last asked. In the launcher only.
static ROLES_CHANGED: AtomicBool = AtomicBool::new(true);

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(LAUNCHER);
    pg_shmem_init!(PLANNED);
    pg_shmem_init!(CHANGES);
    pg_shmem_init!(RENEWALS);
}

/// Hears of commits; in the postmaster, inherited by every backend.
pub fn init() {
    // SAFETY: a static callback of the right type, registered once.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) }
}

/// The launcher is this process.
pub fn register_launcher() {
    planning();
    // SAFETY: reads a backend global; a callback of the right type, registered once in this
    // process. It hears of every committed change of pg_authid, on a standby from the WAL.
    unsafe {
        LAUNCHER.get().store(pg_sys::MyProcPid, Ordering::Release);
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            Some(roles_changed),
            pg_sys::Datum::null(),
        );
    }
}

/// The launcher is about to read: from here on every commit wakes it.
pub fn planning() {
    PLANNED.get().store(i64::MAX, Ordering::SeqCst);
}

/// The launcher will look at this moment by itself.
pub fn planned(moment: i64) {
    PLANNED.get().store(moment, Ordering::SeqCst);
}

/// How many commits have changed something so far.
pub fn changes() -> u64 {
    CHANGES.get().load(Ordering::SeqCst)
}

/// Differs from the last time when the role's deadline has been moved since. Only reads memory: called in a
/// signal handler.
pub fn renewals(role: pg_sys::Oid) -> u64 {
    let counter = RENEWALS.get().0.get(bucket(role));
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

/// Must not fail: PostgreSQL calls it while it processes invalidations.
unsafe extern "C-unwind" fn roles_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    ROLES_CHANGED.store(true, Ordering::Relaxed);
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

/// Every transaction ends: without a guard as long as there is nothing to do.
unsafe extern "C-unwind" fn at_transaction_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    if WANTED.load(Ordering::Relaxed) {
        tell(event);
    }
}

/// Must not fail: the transaction has already committed.
#[pg_guard]
extern "C-unwind" fn tell(event: pg_sys::XactEvent::Type) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            CHANGES.get().fetch_add(1, Ordering::SeqCst);
            for (bucket, counter) in RENEWALS.get().0.iter().enumerate() {
                let word = RENEWED.get(bucket / 64);
                let word = word.map_or(0, |word| word.load(Ordering::Relaxed));
                if word & (1 << (bucket % 64)) != 0 {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
            if EARLIEST.load(Ordering::Relaxed) < PLANNED.get().load(Ordering::SeqCst) {
                wake();
            }
            forget();
        }
        // COMMIT PREPARED, a statement of its own, tells the launcher.
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => forget(),
        _ => {}
    }
}

fn forget() {
    WANTED.store(false, Ordering::Relaxed);
    for word in &RENEWED {
        word.store(0, Ordering::Relaxed);
    }
    EARLIEST.store(i64::MAX, Ordering::Relaxed);
}

/// Wakes the launcher now.
pub fn wake() {
    let pid = LAUNCHER.get().load(Ordering::Acquire);
    if pid == 0 {
        return;
    }
    // SAFETY: BackendPidGetProc answers NULL for a process that is gone; a latch in shared memory
    // may be set at any time, at worst that of the slot's next user, who ignores it.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}
