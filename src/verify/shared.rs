//! Which signatures have been verified, by any backend: a bounded set of tags in shared memory.
//!
//! A tag covers the whole token and the key material, under a key that is new with each start of the
//! server and that no SQL can read. A hit means: this very token has been verified with these very
//! keys. Nothing else is shared, and nothing can be read back.

use pgrx::pg_shmem_init;

use crate::pg::shared::{Locked, Plain, locked};

/// SipHash, 128 bits.
pub type Tag = u128;

/// 4,096 buckets of 8 tags: 576 kB.
const BUCKETS: usize = 4_096;
const WAYS: usize = 8;

#[derive(Clone, Copy)]
struct Tokens {
    /// `None`: the system gave no random bytes.
    key: Option<[u8; 16]>,
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy)]
struct Bucket {
    tags: [Tag; WAYS],
    /// The place that is written next: the oldest.
    next: u8,
}

const EMPTY: Tokens = Tokens {
    key: None,
    buckets: [Bucket {
        tags: [0; WAYS],
        next: 0,
    }; BUCKETS],
};

static TOKENS: Locked<Tokens> = locked(c"scope_roles tokens");

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(TOKENS = Plain(fresh()));
}

fn fresh() -> Tokens {
    let mut key = [0; 16];
    Tokens {
        key: getrandom::fill(&mut key).is_ok().then_some(key),
        ..EMPTY
    }
}

/// The key of all tags of this run of the server.
pub fn key() -> Option<[u8; 16]> {
    TOKENS.share().0.key
}

pub fn contains(tag: Tag) -> bool {
    let tokens = TOKENS.share();
    tokens
        .0
        .buckets
        .get(bucket(tag))
        .is_some_and(|bucket| bucket.tags.contains(&tag))
}

pub fn insert(tag: Tag) {
    let mut tokens = TOKENS.exclusive();
    if let Some(bucket) = tokens.0.buckets.get_mut(bucket(tag)) {
        let place = usize::from(bucket.next) % WAYS;
        if let Some(slot) = bucket.tags.get_mut(place) {
            *slot = tag;
        }
        bucket.next = bucket.next.wrapping_add(1);
    }
}

fn bucket(tag: Tag) -> usize {
    tag as usize % BUCKETS
}
