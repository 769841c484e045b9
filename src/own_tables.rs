//! The extension's own tables in this database, and hearing of changes to those of issuers, revocations and functions that may write.
//!
//! Where the extension is not installed, what has the tables' names is somebody else's, and reading it with elevated rights would run
//! what its owner likes.
//!
//! A trigger on each table sends PostgreSQL's own relation-cache invalidation with the commit: it reaches every backend, and with the
//! WAL every standby.

use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::{invalidation, relation};

const EXTENSION: &CStr = c"scope_roles";
/// What users call and read is in the first, what is behind it in the second.
const SCHEMA: &CStr = c"scope";
const INTERNAL: &CStr = c"_scope";
pub const SCHEMAS: [&CStr; 2] = [SCHEMA, INTERNAL];

/// A table's schema and name.
type Table = (&'static CStr, &'static CStr);

pub const AUDIT_LOG: Table = (SCHEMA, c"audit_log");
pub const WRITING_FUNCTION: Table = (SCHEMA, c"writing_function");
pub const ISSUER: Table = (INTERNAL, c"jwt_issuer");
pub const REQUEST: Table = (INTERNAL, c"request");
const ISSUER_SECRET: Table = (INTERNAL, c"jwt_issuer_secret");
pub const REVOKED_TOKEN: Table = (INTERNAL, c"jwt_revoked_token");
pub const REVOKED_SUBJECT: Table = (INTERNAL, c"jwt_revoked_subject");

/// The table, if it belongs to the extension. Inside a transaction.
pub fn find((schema, name): Table) -> Option<pg_sys::Oid> {
    let table = relation::named(schema, name);
    (table != pg_sys::InvalidOid && relation::belongs_to(table, EXTENSION)).then_some(table)
}

/// Is this one of them, or one of the views? For most a look into the cache.
pub fn is_own(relation: pg_sys::Oid) -> bool {
    SCHEMAS
        .iter()
        .any(|schema| relation::is_in_schema(relation, schema))
        && relation::belongs_to(relation, EXTENSION)
}

/// Is there such a table, with a row in it, as of the last commit of anybody? Not in parallel mode.
pub fn has_rows(table: Table) -> bool {
    find(table).is_some_and(relation::has_rows)
}

/// Grows with each change of the tables. Backend-local.
static GENERATION: AtomicU64 = AtomicU64::new(1);

const TABLES: [Table; 5] = [
    ISSUER,
    ISSUER_SECRET,
    REVOKED_TOKEN,
    REVOKED_SUBJECT,
    WRITING_FUNCTION,
];
/// Their OIDs in this database, as far as known.
static WATCHED: [AtomicU32; 5] = [const { AtomicU32::new(0) }; 5];

/// Takes in what others have committed; the number differs from the last one if it may matter.
pub fn generation() -> u64 {
    listen();
    invalidation::take_in();
    GENERATION.load(Ordering::Relaxed)
}

/// As [`generation`], of what has been taken in already.
pub fn known() -> u64 {
    listen();
    GENERATION.load(Ordering::Relaxed)
}

fn listen() {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if !LISTENING.load(Ordering::Relaxed) {
        LISTENING.store(true, Ordering::Relaxed);
        invalidation::tell_of_relations(changed);
    }
}

/// Must not fail: PostgreSQL calls it while it processes invalidations. 0 stands for all relations.
fn changed(relation: u32) {
    let watched = |table: &AtomicU32| {
        let table = table.load(Ordering::Relaxed);
        // Not known yet: any relation may be it.
        table == 0 || table == relation
    };
    if relation == 0 || WATCHED.iter().any(watched) {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
}

static TOLD_OF_TOKENS: OnceLock<fn(bool)> = OnceLock::new();

/// Calls back where a transaction changes issuers, their keys or revocations, which it may still undo; whether it is the former. Once, in
/// the postmaster.
pub fn tell_of_tokens(changed: fn(bool)) {
    TOLD_OF_TOKENS.get_or_init(|| changed);
}

/// The statement trigger of these tables.
#[pg_extern(sql = false)]
fn jwt_tables_changed(call: pg_sys::FunctionCallInfo) {
    learn();
    let table = relation::of_trigger(call).map_or(0, u32::from);
    for (watched, name) in WATCHED.iter().zip(TABLES) {
        let watched = watched.load(Ordering::Relaxed);
        if watched != 0 {
            invalidation::of_relation(watched.into());
        }
        if watched == table
            && name != WRITING_FUNCTION
            && let Some(changed) = TOLD_OF_TOKENS.get()
        {
            changed(name == ISSUER || name == ISSUER_SECRET);
        }
    }
}

/// Looks up the tables' OIDs; before each reading of them, for the extension may have been created
/// anew since.
pub fn learn() {
    for (table, (schema, name)) in WATCHED.iter().zip(TABLES) {
        table.store(relation::named(schema, name).into(), Ordering::Relaxed);
    }
}
