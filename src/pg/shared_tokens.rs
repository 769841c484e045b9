//! Which signatures have been verified, by any backend: a bounded set of digests in shared memory.
//!
//! A digest covers the whole token and the key material, so that a hit means: this very token has
//! been verified with these very keys. Nothing else is shared, and nothing can be read back.

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock, pg_shmem_init};

type Digest = [u8; 32];

/// 4,096 buckets of 4 digests: 512 kB.
const BUCKETS: usize = 4_096;
const WAYS: usize = 4;

#[derive(Clone, Copy)]
struct Tokens {
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy)]
struct Bucket {
    digests: [Digest; WAYS],
    /// The place that is written next: the oldest.
    next: u8,
}

// SAFETY: plain bytes without pointers.
unsafe impl PGRXSharedMemory for Tokens {}

const EMPTY: Tokens = Tokens {
    buckets: [Bucket {
        digests: [[0; 32]; WAYS],
        next: 0,
    }; BUCKETS],
};

// SAFETY: the name is unique in the server.
static TOKENS: PgLwLock<Tokens> = unsafe { PgLwLock::new(c"scope_roles tokens") };

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(TOKENS = EMPTY);
}

pub fn contains(digest: &Digest) -> bool {
    let tokens = TOKENS.share();
    tokens
        .buckets
        .get(bucket(digest))
        .is_some_and(|bucket| bucket.digests.contains(digest))
}

pub fn insert(digest: &Digest) {
    let mut tokens = TOKENS.exclusive();
    if let Some(bucket) = tokens.buckets.get_mut(bucket(digest)) {
        let place = usize::from(bucket.next) % WAYS;
        if let Some(slot) = bucket.digests.get_mut(place) {
            *slot = *digest;
        }
        bucket.next = bucket.next.wrapping_add(1);
    }
}

fn bucket(digest: &Digest) -> usize {
    let [first, second, ..] = *digest;
    (usize::from(first) << 8 | usize::from(second)) % BUCKETS
}
