//! How many rows roles have returned lately, in all sessions: in shared memory.
//!
//! Sessions take rows in advance, a few at a time, so that not each row needs the lock, and give
//! back what they have not returned.

use pgrx::pg_shmem_init;

use crate::pg::shared::{Locked, Plain, locked};
use crate::window::{EMPTY as EMPTY_RING, Ring};

/// 256 buckets of 8: 400 kB.
const BUCKETS: usize = 256;
const WAYS: usize = 8;
/// The most that is taken at once.
const MOST: u64 = 256;
/// Of what is left at most this part is taken, so that sessions leave each other something.
const SHARE: u64 = 16;

#[derive(Clone, Copy)]
struct Counted {
    /// 0: nobody.
    role: u32,
    seconds: i64,
    ring: Ring,
}

#[derive(Clone, Copy)]
struct Table {
    buckets: [[Counted; WAYS]; BUCKETS],
}

const NOBODY: Counted = Counted {
    role: 0,
    seconds: 1,
    ring: EMPTY_RING,
};
const EMPTY: Table = Table {
    buckets: [[NOBODY; WAYS]; BUCKETS],
};

static TABLE: Locked<Table> = locked(c"scope_roles rows");

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(TABLE = Plain(EMPTY));
}

/// A limit on the rows of a role in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub role: u32,
    pub seconds: i64,
    pub rows: u64,
    /// More are refused; else they are reported once a window, for each of the two kinds.
    pub blocks: bool,
    pub kind: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many rows may be returned; the limits that were passed just now.
    Some { rows: u64, passed: Vec<usize> },
    /// This limit has been reached.
    Nothing { limit: usize },
}

/// Counts up to `wanted` rows against all limits.
pub fn take(limits: &[Limit], wanted: u64, now: i64) -> Taken {
    let table = &mut TABLE.exclusive().0;
    let mut rows = wanted.clamp(1, MOST);
    let mut passed = Vec::new();
    for (index, limit) in limits.iter().enumerate() {
        let (left, alert) = table
            .ring(limit, now, |ring| {
                let left = limit.rows.saturating_sub(ring.total());
                let alert = left == 0 && !limit.blocks && ring.alert_now(limit.kind);
                (left, alert)
            })
            .unwrap_or((u64::MAX, false));
        if left > 0 {
            rows = rows.min((left / SHARE).max(1));
        } else if limit.blocks {
            return Taken::Nothing { limit: index };
        } else if alert {
            passed.push(index);
        }
    }
    add(table, limits, rows, now);
    Taken::Some { rows, passed }
}

/// Counts rows that have been returned already; the limits that they have passed just now.
pub fn count(limits: &[Limit], rows: u64, now: i64) -> Vec<usize> {
    let table = &mut TABLE.exclusive().0;
    add(table, limits, rows, now);
    let mut passed = Vec::new();
    for (index, limit) in limits.iter().enumerate() {
        let is_passed = table.ring(limit, now, |ring| {
            ring.total() > limit.rows && (limit.blocks || ring.alert_now(limit.kind))
        });
        if is_passed == Some(true) {
            passed.push(index);
        }
    }
    passed
}

pub fn give_back(limits: &[Limit], rows: u64, now: i64) {
    let table = &mut TABLE.exclusive().0;
    for limit in distinct(limits) {
        table.ring(limit, now, |ring| ring.take_back(rows));
    }
}

fn add(table: &mut Table, limits: &[Limit], rows: u64, now: i64) {
    for limit in distinct(limits) {
        table.ring(limit, now, |ring| ring.add(rows));
    }
}

/// Limits on the same rows count them once.
fn distinct(limits: &[Limit]) -> impl Iterator<Item = &Limit> {
    limits.iter().enumerate().filter_map(|(index, limit)| {
        let is_new = !limits
            .iter()
            .take(index)
            .any(|other| (other.role, other.seconds) == (limit.role, limit.seconds));
        is_new.then_some(limit)
    })
}

impl Table {
    /// Works with the role's count, up to date; in place of the one that has been idle longest, if
    /// need be.
    fn ring<R>(&mut self, limit: &Limit, now: i64, work: impl FnOnce(&mut Ring) -> R) -> Option<R> {
        let hash = (u64::from(limit.role) ^ limit.seconds.unsigned_abs().rotate_left(32))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            >> 32;
        let bucket = self
            .buckets
            .get_mut(usize::try_from(hash).unwrap_or(0) % BUCKETS)?;
        let is_same =
            |counted: &Counted| counted.role == limit.role && counted.seconds == limit.seconds;
        let place = bucket.iter().position(is_same).or_else(|| {
            let idle =
                |counted: &Counted| (counted.role == 0, counted.ring.age(now, counted.seconds));
            (0..WAYS).max_by_key(|&place| bucket.get(place).map(idle))
        })?;
        let counted = bucket.get_mut(place)?;
        if !is_same(counted) {
            *counted = Counted {
                role: limit.role,
                seconds: limit.seconds,
                ring: EMPTY_RING,
            };
        }
        counted.ring.advance(now, limit.seconds);
        Some(work(&mut counted.ring))
    }
}
