//! Where PostgreSQL enters the processes of background workers; it finds them by these names.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::expiry::{launcher, settings, worker as expiry_worker};
use crate::keys::worker as keys_worker;
use crate::pg::worker;
use crate::request;
use crate::wakeup;

/// # Safety
/// Called by PostgreSQL at the start of the launcher process.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn scope_roles_launcher(_argument: pg_sys::Datum) {
    worker::connect(None);
    settings::settle();
    launcher::run();
}

/// # Safety
/// Called by PostgreSQL at the start of a worker process, with the database's OID.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn scope_roles_worker(database: pg_sys::Datum) {
    worker::connect(Some(pg_sys::Oid::from(database.value() as u32)));
    settings::settle();
    expiry_worker::run();
}

/// # Safety
/// Called by PostgreSQL at the start of a worker process, with the database's OID.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn scope_roles_keys(database: pg_sys::Datum) {
    worker::connect(Some(pg_sys::Oid::from(database.value() as u32)));
    settings::settle();
    keys_worker::run(request::tend);
}

/// # Safety
/// Called by PostgreSQL in a process of its own when the server begins to take writes.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn scope_roles_promoted(_argument: pg_sys::Datum) {
    wakeup::wake();
}
