//! The login facts in shared memory: one lock, held for a look-up at each login.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicUsize, Ordering};

use pgrx::prelude::*;
use pgrx::{PgSharedMemoryInitialization, pg_shmem_init};

use crate::login_facts::{self as facts, Entry, Facts, Lost};

const NAME: &std::ffi::CStr = c"scope_roles login facts";
/// So many places are copied while others wait.
const CHUNK: usize = 1_536;

/// In shared memory, followed by the entries.
#[repr(C)]
struct Head {
    lock: *mut pg_sys::LWLock,
    /// How many roles there is room for, and how many are there.
    most: usize,
    used: usize,
    places: usize,
    lost: Lost,
    /// What the file had is in.
    is_loaded: AtomicBool,
    /// There is what the file has not.
    is_changed: AtomicBool,
    /// What is here is of a standby's logins.
    is_of_standby: AtomicBool,
    /// When counting began; 0: not known yet.
    since: AtomicI64,
}

struct Memory {
    /// NULL without the preload, or without room for a single role.
    head: AtomicPtr<Head>,
}

static MEMORY: Memory = Memory {
    head: AtomicPtr::new(null_mut()),
};

/// Room for the facts of so many roles.
static MOST: AtomicUsize = AtomicUsize::new(0);

fn most() -> usize {
    MOST.load(Ordering::Relaxed)
}

/// Reserves the shared memory, for the facts of so many roles; in the postmaster.
pub fn init_shared_memory(most: usize) {
    MOST.store(most, Ordering::Relaxed);
    pg_shmem_init!(MEMORY = ());
}

fn bytes() -> usize {
    size_of::<Head>() + facts::places(most()) * size_of::<Entry>()
}

impl PgSharedMemoryInitialization for Memory {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: called when memory may be asked for.
        unsafe {
            pg_sys::RequestAddinShmemSpace(bytes());
            pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
        }
    }

    unsafe fn on_shmem_startup(&'static self, (): ()) {
        if most() == 0 {
            return;
        }
        let mut found = false;
        // SAFETY: in the postmaster, which is alone; the memory is as long as head and entries, and
        // all zeros is a valid value of both.
        unsafe {
            let head = pg_sys::ShmemInitStruct(NAME.as_ptr(), bytes(), &mut found).cast::<Head>();
            if !found {
                std::ptr::write_bytes(head.cast::<u8>(), 0, bytes());
                (*head).lock = &raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock;
                (*head).most = most();
                (*head).places = facts::places(most());
            }
            self.head.store(head, Ordering::Release);
        }
    }
}

/// The table, while its lock is held.
struct Held {
    head: *mut Head,
}

impl Held {
    fn take(mode: pg_sys::LWLockMode::Type) -> Option<Held> {
        let head = MEMORY.head.load(Ordering::Acquire);
        if head.is_null() {
            return None;
        }
        // SAFETY: set up in shared memory; no interrupt is served while the lock is held.
        unsafe { pg_sys::LWLockAcquire((*head).lock, mode) };
        Some(Held { head })
    }

    fn shared() -> Option<Held> {
        Self::take(pg_sys::LWLockMode::LW_SHARED)
    }

    fn exclusive() -> Option<Held> {
        Self::take(pg_sys::LWLockMode::LW_EXCLUSIVE)
    }

    fn entries(&self) -> &[Entry] {
        // SAFETY: so many entries follow the head, which is as aligned; the lock is held.
        unsafe { std::slice::from_raw_parts(self.head.add(1).cast(), (*self.head).places) }
    }

    /// The entries, how many of them are used, the most that may be, and what found no room. Only
    /// while the lock is exclusive.
    fn parts(&mut self) -> (&mut [Entry], &mut usize, usize, &mut Lost) {
        // SAFETY: as above; nobody else reads or writes.
        unsafe {
            let head = &mut *self.head;
            let entries = std::slice::from_raw_parts_mut(self.head.add(1).cast(), head.places);
            (entries, &mut head.used, head.most, &mut head.lost)
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: taken by us.
        unsafe { pg_sys::LWLockRelease((*self.head).lock) }
    }
}

/// Changes a role's facts; true when the launcher should hear of it: it does not know of any change
/// yet.
#[must_use]
pub fn update(role: pg_sys::Oid, now: i64, change: impl FnOnce(&mut Facts)) -> bool {
    let Some(mut held) = Held::exclusive() else {
        return false;
    };
    let (entries, used, most, lost) = held.parts();
    match facts::entry(entries, used, most, role.into()) {
        Some(facts) => change(facts),
        None => {
            lost.count = lost.count.saturating_add(1);
            lost.last = now;
        }
    }
    drop(held);
    !set_changed(true)
}

/// Adds what was known before; what finds no room counts as lost.
pub fn add(entries: &[Entry], before: Lost) {
    let Some(mut held) = Held::exclusive() else {
        return;
    };
    let (table, used, most, lost) = held.parts();
    lost.count = lost.count.saturating_add(before.count);
    lost.last = lost.last.max(before.last);
    for entry in entries {
        match facts::entry(table, used, most, entry.role) {
            Some(facts) => facts.add(&entry.facts),
            None => {
                lost.count = lost.count.saturating_add(1);
                lost.last = lost.last.max(entry.facts.last_seen());
            }
        }
    }
}

/// Takes roles out. In the launcher only: others copy the table in pieces.
pub fn remove(roles: &[u32]) {
    for &role in roles {
        let Some(mut held) = Held::exclusive() else {
            return;
        };
        let (entries, used, _, _) = held.parts();
        facts::remove(entries, used, role);
    }
}

/// All facts, and what found no room; `None` when none are kept. Logins wait for a small piece at a
/// time; `at_once`: for the whole, which is then of one moment.
pub fn copy(at_once: bool) -> Option<(Vec<Entry>, Lost)> {
    let mut copied = Vec::new();
    let mut from = 0;
    loop {
        copied.reserve(CHUNK);
        let held = Held::shared()?;
        let entries = held.entries();
        let to = if at_once { entries.len() } else { from + CHUNK };
        let piece = entries.get(from..to.min(entries.len()));
        let used = piece.unwrap_or_default().iter();
        copied.extend(used.filter(|entry| entry.role != 0));
        from = to;
        if from >= entries.len() {
            // SAFETY: the lock is held.
            let lost = unsafe { (*held.head).lost };
            return Some((copied, lost));
        }
    }
}

/// Says whether there is something that the file has not; what was said before.
pub fn set_changed(is_changed: bool) -> bool {
    flag(|head| &head.is_changed).is_some_and(|flag| flag.swap(is_changed, Ordering::SeqCst))
}

pub fn is_changed() -> bool {
    flag(|head| &head.is_changed).is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// Says that what the file had is in; whether it was before. True without a table.
pub fn set_loaded() -> bool {
    flag(|head| &head.is_loaded).is_none_or(|flag| flag.swap(true, Ordering::SeqCst))
}

fn flag(choose: fn(&Head) -> &AtomicBool) -> Option<&'static AtomicBool> {
    head().map(choose)
}

fn head() -> Option<&'static Head> {
    // SAFETY: shared memory stays where it is for as long as the process lives.
    unsafe { MEMORY.head.load(Ordering::Acquire).as_ref() }
}

/// Are any facts kept?
pub fn is_kept() -> bool {
    head().is_some()
}

/// Counting began then, on a standby or not.
pub fn set_since(since: i64, is_of_standby: bool) {
    if let Some(head) = head() {
        head.is_of_standby.store(is_of_standby, Ordering::SeqCst);
        head.since.store(since, Ordering::SeqCst);
    }
}

/// Since when logins of such a server are counted; 0: not known.
pub fn since(on_standby: bool) -> i64 {
    let known = head().filter(|head| head.is_of_standby.load(Ordering::SeqCst) == on_standby);
    known.map_or(0, |head| head.since.load(Ordering::SeqCst))
}

/// Has `save` called when this process ends in good order.
pub fn at_exit(save: fn()) {
    SAVE.store(save as *mut (), Ordering::Relaxed);
    // SAFETY: called once; while callbacks run shared memory is still there.
    unsafe { pg_sys::before_shmem_exit(Some(exiting), pg_sys::Datum::null()) }
}

static SAVE: AtomicPtr<()> = AtomicPtr::new(null_mut());

#[pg_guard]
unsafe extern "C-unwind" fn exiting(_code: i32, _argument: pg_sys::Datum) {
    let save = SAVE.load(Ordering::Relaxed);
    if !save.is_null() {
        // SAFETY: stored from such a function.
        unsafe { std::mem::transmute::<*mut (), fn()>(save)() }
    }
}
