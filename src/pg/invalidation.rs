//! Hearing of changes to the extension's tables of issuers, revocations and functions that may write,
//! and to roles.
//!
//! A trigger on each table sends PostgreSQL's own relation-cache invalidation with the commit: it
//! reaches every backend, and with the WAL every standby. Of roles PostgreSQL tells by itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compat;

/// Grows with each change of the tables. Backend-local.
static GENERATION: AtomicU64 = AtomicU64::new(1);
/// Grows with each change of roles, memberships, owners of databases or rights on settings.
/// Backend-local.
static ROLES: AtomicU64 = AtomicU64::new(1);
/// Grows with each change of schemas. Backend-local.
static SCHEMAS: AtomicU64 = AtomicU64::new(1);
/// Grows with each change of functions. Backend-local.
static FUNCTIONS: AtomicU64 = AtomicU64::new(1);
/// Grows with each change of what privileges are granted on. Backend-local.
static OBJECTS: AtomicU64 = AtomicU64::new(1);
static LISTENING: AtomicBool = AtomicBool::new(false);

const TABLES: [&std::ffi::CStr; 5] = [
    c"jwt_issuer",
    c"jwt_issuer_secret",
    c"jwt_revoked_token",
    c"jwt_revoked_subject",
    c"writing_function",
];
/// Their OIDs in this database, as far as known.
static WATCHED: [std::sync::atomic::AtomicU32; 5] =
    [const { std::sync::atomic::AtomicU32::new(0) }; 5];

/// Takes in what others have committed; the number differs from the last one if it may matter.
pub fn generation() -> u64 {
    listen();
    // SAFETY: reading pending messages is allowed at any time inside a transaction.
    unsafe { pg_sys::AcceptInvalidationMessages() }
    known()
}

fn listen() {
    if LISTENING.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: callbacks of the right types, registered once.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(changed), pg_sys::Datum::null());
        for &cache in compat::ROLE_CACHES {
            pg_sys::CacheRegisterSyscacheCallback(
                cache,
                Some(roles_changed),
                pg_sys::Datum::null(),
            );
        }
        for cache in OBJECT_CACHES {
            pg_sys::CacheRegisterSyscacheCallback(
                cache,
                Some(objects_changed),
                pg_sys::Datum::null(),
            );
        }
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            Some(schemas_changed),
            pg_sys::Datum::null(),
        );
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            Some(functions_changed),
            pg_sys::Datum::null(),
        );
    }
}

/// Relations, their columns and owned sequences, databases and default privileges. Schemas and
/// functions have counters of their own.
const OBJECT_CACHES: [i32; 5] = [
    pg_sys::SysCacheIdentifier::RELOID as i32,
    pg_sys::SysCacheIdentifier::ATTNUM as i32,
    pg_sys::SysCacheIdentifier::SEQRELID as i32,
    pg_sys::SysCacheIdentifier::DATABASEOID as i32,
    pg_sys::SysCacheIdentifier::DEFACLROLENSPOBJ as i32,
];

/// Differs from the last ones if anything that a scope may hold privileges on may have changed, after
/// taking in what others have committed.
pub fn objects_generation() -> [u64; 3] {
    generation();
    [&OBJECTS, &SCHEMAS, &FUNCTIONS].map(|counter| counter.load(Ordering::Relaxed))
}

/// As [`generation`], of what has been taken in already.
pub fn known() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Differs from the last one if roles or memberships may have changed, of what has been taken in.
pub fn roles() -> u64 {
    ROLES.load(Ordering::Relaxed)
}

/// Differs from the last one if a function may have changed, of what has been taken in.
pub fn functions() -> u64 {
    listen();
    FUNCTIONS.load(Ordering::Relaxed)
}

/// As [`roles`], after taking in what others have committed.
pub fn roles_generation() -> u64 {
    generation();
    roles()
}

/// Must not fail, as [`changed`].
unsafe extern "C-unwind" fn roles_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    ROLES.fetch_add(1, Ordering::Relaxed);
}

/// Differs from the last ones if roles, memberships or schemas may have changed, of what has been
/// taken in.
pub fn known_roles_and_schemas() -> (u64, u64) {
    listen();
    (roles(), SCHEMAS.load(Ordering::Relaxed))
}

/// Differs from the last ones if a relation or a schema may have changed, of what has been taken in.
pub fn known_relations_and_schemas() -> (u64, u64) {
    listen();
    (
        OBJECTS.load(Ordering::Relaxed),
        SCHEMAS.load(Ordering::Relaxed),
    )
}

/// Must not fail, as [`changed`].
unsafe extern "C-unwind" fn schemas_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    SCHEMAS.fetch_add(1, Ordering::Relaxed);
}

/// Must not fail, as [`changed`].
unsafe extern "C-unwind" fn objects_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    OBJECTS.fetch_add(1, Ordering::Relaxed);
}

/// Must not fail, as [`changed`].
unsafe extern "C-unwind" fn functions_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    FUNCTIONS.fetch_add(1, Ordering::Relaxed);
}

/// Must not fail: PostgreSQL calls it while it processes invalidations. 0 stands for all relations.
unsafe extern "C-unwind" fn changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let relation = u32::from(relation);
    let watched = |table: &std::sync::atomic::AtomicU32| {
        let table = table.load(Ordering::Relaxed);
        // Not known yet: any relation may be it.
        table == 0 || table == relation
    };
    if relation == 0 || WATCHED.iter().any(watched) {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
}

/// The statement trigger of these tables.
#[pg_extern(sql = false)]
fn jwt_tables_changed() {
    learn();
    for table in &WATCHED {
        let table = table.load(Ordering::Relaxed);
        if table != 0 {
            // SAFETY: a relation of this database; the message goes out with the commit.
            unsafe { pg_sys::CacheInvalidateRelcacheByRelid(table.into()) }
        }
    }
}

/// Looks up the tables' OIDs; before each reading of them, for the extension may have been created
/// anew since.
pub fn learn() {
    // SAFETY: catalogue look-ups inside a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"scope".as_ptr(), true);
        for (table, name) in WATCHED.iter().zip(TABLES) {
            let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
            table.store(oid.into(), Ordering::Relaxed);
        }
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

static TOLD_OF_ROLES: std::sync::OnceLock<fn()> = std::sync::OnceLock::new();

/// Must not fail: PostgreSQL calls it while it processes invalidations.
unsafe extern "C-unwind" fn a_role_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    if let Some(changed) = TOLD_OF_ROLES.get() {
        changed();
    }
}
