//! Hearing of changes (utils/inval.h): of its catalogues PostgreSQL tells every backend with the commit, and with the WAL every standby.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgrx::pg_sys;

use crate::attention;

/// What changes are counted of.
#[derive(Clone, Copy)]
pub enum Counted {
    /// Roles, memberships, owners of databases and rights on settings.
    Roles,
    Schemas,
    Functions,
    /// Relations, their columns and owned sequences, databases and default privileges.
    Objects,
}

/// Each grows with each change. Backend-local.
static COUNTS: [AtomicU64; 4] = [const { AtomicU64::new(1) }; 4];

/// What decides which role a session may take: what acl.c listens to, and rights on settings.
const ROLE_CACHES: [i32; 4] = [
    pg_sys::SysCacheIdentifier::AUTHOID as i32,
    pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM as i32,
    pg_sys::SysCacheIdentifier::DATABASEOID as i32,
    pg_sys::SysCacheIdentifier::PARAMETERACLNAME as i32,
];

const OBJECT_CACHES: [i32; 5] = [
    pg_sys::SysCacheIdentifier::RELOID as i32,
    pg_sys::SysCacheIdentifier::ATTNUM as i32,
    pg_sys::SysCacheIdentifier::SEQRELID as i32,
    pg_sys::SysCacheIdentifier::DATABASEOID as i32,
    pg_sys::SysCacheIdentifier::DEFACLROLENSPOBJ as i32,
];

fn count(of: Counted) -> u64 {
    COUNTS
        .get(of as usize)
        .map_or(0, |count| count.load(Ordering::Relaxed))
}

fn listen() {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if LISTENING.swap(true, Ordering::Relaxed) {
        return;
    }
    let caches: [(Counted, &[i32]); 4] = [
        (Counted::Roles, &ROLE_CACHES),
        (
            Counted::Schemas,
            &[pg_sys::SysCacheIdentifier::NAMESPACEOID as i32],
        ),
        (
            Counted::Functions,
            &[pg_sys::SysCacheIdentifier::PROCOID as i32],
        ),
        (Counted::Objects, &OBJECT_CACHES),
    ];
    for (of, caches) in caches {
        for &cache in caches {
            // SAFETY: a callback of the right type, registered once.
            unsafe {
                pg_sys::CacheRegisterSyscacheCallback(
                    cache,
                    Some(counted),
                    pg_sys::Datum::from(of as usize),
                );
            }
        }
    }
}

/// Must not fail: PostgreSQL calls it while it processes invalidations.
unsafe extern "C-unwind" fn counted(of: pg_sys::Datum, _cache: i32, _hash: u32) {
    if of.value() == Counted::Roles as usize {
        attention::disturb();
    }
    if let Some(count) = COUNTS.get(of.value()) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes in what others have committed.
pub fn take_in() {
    listen();
    // SAFETY: reading pending messages is allowed at any time inside a transaction.
    unsafe { pg_sys::AcceptInvalidationMessages() }
}

/// Differs from the last ones if anything that privileges are granted on may have changed, after
/// taking in what others have committed.
pub fn objects_generation() -> [u64; 3] {
    take_in();
    [Counted::Objects, Counted::Schemas, Counted::Functions].map(count)
}

/// Has PostgreSQL find out anew which roles a role is a member of. It remembers what it has found while it heard of a change.
pub fn forget_memberships() {
    // SAFETY: runs the callbacks of that cache as a change of any of its rows does.
    unsafe { pg_sys::CallSyscacheCallbacks(pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM as i32, 0) };
}

/// Differs from the last one if roles or memberships may have changed, of what has been taken in.
pub fn roles() -> u64 {
    count(Counted::Roles)
}

/// Differ from the last ones if such things may have changed, of what has been taken in.
pub fn counts<const N: usize>(of: [Counted; N]) -> [u64; N] {
    listen();
    of.map(count)
}

/// As [`roles`], after taking in what others have committed.
pub fn roles_generation() -> u64 {
    take_in();
    roles()
}

/// Tells everybody, with the commit, that this relation of this database has changed.
pub fn of_relation(relation: pg_sys::Oid) {
    // SAFETY: inside a transaction; the message goes out with the commit.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) }
}

static TOLD_OF_RELATIONS: OnceLock<fn(u32)> = OnceLock::new();
static TOLD_OF_ROLES: OnceLock<fn()> = OnceLock::new();

/// Calls back on each change of a relation; with 0 of any. Once, in a process; it must not fail.
pub fn tell_of_relations(changed: fn(u32)) {
    TOLD_OF_RELATIONS.get_or_init(|| changed);
    // SAFETY: a callback of the right type, registered once in this process.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(a_relation_changed), pg_sys::Datum::null());
    }
}

/// Calls back on each change of pg_authid that has been committed. Once, in a process; it must not fail.
pub fn tell_of_roles(changed: fn()) {
    TOLD_OF_ROLES.get_or_init(|| changed);
    // SAFETY: a callback of the right type, registered once in this process.
    unsafe {
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            Some(a_role_changed),
            pg_sys::Datum::null(),
        );
    }
}

/// Must not fail: PostgreSQL calls it while it processes invalidations.
unsafe extern "C-unwind" fn a_relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    if let Some(changed) = TOLD_OF_RELATIONS.get() {
        changed(relation.into());
    }
}

/// Must not fail: PostgreSQL calls it while it processes invalidations.
unsafe extern "C-unwind" fn a_role_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    if let Some(changed) = TOLD_OF_ROLES.get() {
        changed();
    }
}
