//! The login facts in shared memory: one lock, held for a look-up at each login.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use pgrx::pg_shmem_init;
use pgrx::prelude::*;

use crate::login_facts::{self as facts, Entry, Facts, Lost};
use crate::pg::shared_table::Table;

static MEMORY: Table<Entry, Counts, Flags> = Table::named(c"scope_roles login facts");
/// So many places are copied while others wait.
const CHUNK: usize = 1_536;

#[derive(Clone, Copy, Default)]
struct Counts {
    /// How many roles are there.
    used: usize,
    lost: Lost,
}

#[derive(Default)]
struct Flags {
    /// What the file had is in.
    is_loaded: AtomicBool,
    /// There is what the file has not.
    is_changed: AtomicBool,
    /// What is here is of a standby's logins.
    is_of_standby: AtomicBool,
    /// When counting began; 0: not known yet.
    since: AtomicI64,
}

/// Room for the facts of so many roles.
static MOST: AtomicUsize = AtomicUsize::new(0);

fn most() -> usize {
    MOST.load(Ordering::Relaxed)
}

/// Reserves the shared memory, for the facts of so many roles; in the postmaster.
pub fn init_shared_memory(most: usize) {
    MOST.store(most, Ordering::Relaxed);
    MEMORY.set_places(if most == 0 { 0 } else { facts::places(most) });
    pg_shmem_init!(MEMORY = ());
}

/// Changes a role's facts; true when the launcher should hear of it: it does not know of any change
/// yet.
#[must_use]
pub fn update(role: pg_sys::Oid, now: i64, change: impl FnOnce(&mut Facts)) -> bool {
    let done = MEMORY.write(|counts, entries| {
        match facts::entry(entries, &mut counts.used, most(), role.into()) {
            Some(facts) => change(facts),
            None => {
                counts.lost.count = counts.lost.count.saturating_add(1);
                counts.lost.last = now;
            }
        }
    });
    done.is_some() && !set_changed(true)
}

/// Adds what was known before; what finds no room counts as lost.
pub fn add(entries: &[Entry], before: Lost) {
    MEMORY.write(|Counts { used, lost }, table| {
        lost.count = lost.count.saturating_add(before.count);
        lost.last = lost.last.max(before.last);
        for entry in entries {
            match facts::entry(table, used, most(), entry.role) {
                Some(facts) => facts.add(&entry.facts),
                None => {
                    lost.count = lost.count.saturating_add(1);
                    lost.last = lost.last.max(entry.facts.last_seen());
                }
            }
        }
    });
}

/// Takes roles out. In the launcher only: others copy the table in pieces.
pub fn remove(roles: &[u32]) {
    for &role in roles {
        MEMORY.write(|counts, entries| facts::remove(entries, &mut counts.used, role));
    }
}

/// All facts, and what found no room; `None` when none are kept. Logins wait for a small piece at a
/// time; `at_once`: for the whole, which is then of one moment.
pub fn copy(at_once: bool) -> Option<(Vec<Entry>, Lost)> {
    let mut copied = Vec::new();
    let mut from = 0;
    loop {
        copied.reserve(CHUNK);
        let lost = MEMORY.read(|counts, entries| {
            let to = if at_once { entries.len() } else { from + CHUNK };
            let piece = entries.get(from..to.min(entries.len()));
            let used = piece.unwrap_or_default().iter();
            copied.extend(used.filter(|entry| entry.role != 0));
            from = to;
            (from >= entries.len()).then_some(counts.lost)
        })?;
        if let Some(lost) = lost {
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

fn flag(choose: fn(&Flags) -> &AtomicBool) -> Option<&'static AtomicBool> {
    MEMORY.free().map(choose)
}

/// Are any facts kept?
pub fn is_kept() -> bool {
    MEMORY.free().is_some()
}

/// Counting began then, on a standby or not.
pub fn set_since(since: i64, is_of_standby: bool) {
    if let Some(head) = MEMORY.free() {
        head.is_of_standby.store(is_of_standby, Ordering::SeqCst);
        head.since.store(since, Ordering::SeqCst);
    }
}

/// Since when logins of such a server are counted; 0: not known.
pub fn since(on_standby: bool) -> i64 {
    let known = MEMORY
        .free()
        .filter(|head| head.is_of_standby.load(Ordering::SeqCst) == on_standby);
    known.map_or(0, |head| head.since.load(Ordering::SeqCst))
}
