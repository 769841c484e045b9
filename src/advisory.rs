//! Cluster-wide advisory locks, held to the end of the transaction.
//!
//! They live in database 0, where no SQL function can take or hold one, so no user can block us. A role
//! that exists is locked by its OID, after the question whether the caller has authority over it: no other
//! name or text leads to that lock. Texts (names of roles that are to be made) have locks of their own,
//! which nothing that ends a role waits for; where they lie follows from a secret of this run of the
//! server, so that nobody can look for two that collide.

use std::sync::OnceLock;

use pgrx::pg_sys;
use siphasher::sip::SipHasher24;

use crate::pg::lock;

pub use crate::pg::lock::Mode;

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A role of which the caller may decide.
    Role(pg_sys::Oid),
    /// What is between two roles.
    Pair(pg_sys::Oid, pg_sys::Oid),
    Text(&'a str),
    /// Calls of `scope.expire_roles()`, one at a time.
    Turn,
    /// In a database: what is issued for tokens, and what is revoked of them.
    Tokens(pg_sys::Oid),
    /// In a database: a request for access, by its number.
    Request(pg_sys::Oid, u32),
}

/// Above those of `pg_advisory_lock` (1 and 2); `pg_locks.objsubid`.
const ROLE: u16 = 3;
const PAIR: u16 = 4;
const TEXT: u16 = 5;
const TURN: u16 = 6;
const TOKENS: u16 = 7;
const REQUEST: u16 = 8;

/// Made in the postmaster, and inherited by all of its processes.
static SECRET: OnceLock<[u8; 16]> = OnceLock::new();

/// In the postmaster.
pub fn init() {
    let mut secret = [0; 16];
    if getrandom::fill(&mut secret).is_ok() {
        let _ = SECRET.set(secret);
    }
}

impl Key<'_> {
    /// The number of the kind, and two of what it is of it.
    fn numbers(self) -> (u16, u32, u32) {
        match self {
            // As pg_locks shows other locks on roles: classid, objid.
            Self::Role(role) => (ROLE, pg_sys::AuthIdRelationId.into(), role.into()),
            Self::Pair(one, other) => (PAIR, one.into(), other.into()),
            Self::Text(text) => {
                let secret = SECRET.get().copied().unwrap_or_default();
                let hash = SipHasher24::new_with_key(&secret).hash(text.as_bytes());
                (TEXT, (hash >> 32) as u32, hash as u32)
            }
            Self::Turn => (TURN, 0, 0),
            Self::Tokens(database) => (TOKENS, database.into(), 0),
            Self::Request(database, number) => (REQUEST, database.into(), number),
        }
    }
}

/// Waits for the lock; it ends with the transaction.
pub fn lock(key: Key<'_>, mode: Mode) {
    lock::acquire_advisory(key.numbers(), mode, false);
}

/// Takes the lock if nobody is in the way.
#[must_use]
pub fn try_lock(key: Key<'_>, mode: Mode) -> bool {
    lock::acquire_advisory(key.numbers(), mode, true)
}
