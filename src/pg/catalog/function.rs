//! PostgreSQL's own functions.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Functions of PostgreSQL's own that change something but belong to what poolers and drivers do
/// between transactions.
const HARMLESS: [&[u8]; 15] = [
    b"set_config",
    b"clock_timestamp",
    b"timeofday",
    b"random",
    b"random_normal",
    b"setseed",
    b"gen_random_uuid",
    b"pg_sleep",
    b"pg_is_in_recovery",
    b"pg_current_wal_lsn",
    b"pg_last_wal_receive_lsn",
    b"pg_last_wal_replay_lsn",
    b"pg_last_xact_replay_timestamp",
    b"pg_advisory_unlock_all",
    b"pg_lock_status",
];

/// Stable, but each call in a transaction of its own burns a transaction id, which are the whole server's.
const TAKES_AN_XID: [&[u8]; 2] = [b"pg_current_xact_id", b"txid_current"];

/// Is it a function of PostgreSQL's own that shows other sessions, or changes what is not this
/// session's own?
pub fn reaches_beyond(function: pg_sys::Oid) -> bool {
    is_postgresqls(function, |form| {
        // SAFETY: a name is terminated.
        let name = unsafe { CStr::from_ptr(form.proname.data.as_ptr()) }.to_bytes();
        name.starts_with(b"pg_stat_get_")
            || TAKES_AN_XID.contains(&name)
            || form.provolatile as u8 == pg_sys::PROVOLATILE_VOLATILE && !HARMLESS.contains(&name)
    })
}

/// Is it a function of PostgreSQL's own that depends on its arguments alone?
pub fn is_pure(function: pg_sys::Oid) -> bool {
    is_postgresqls(function, |form| {
        form.provolatile as u8 == pg_sys::PROVOLATILE_IMMUTABLE
    })
}

/// Is it one of PostgreSQL's own, and such a one? Others are granted, or not, by whoever made them.
fn is_postgresqls(
    function: pg_sys::Oid,
    is_such: impl FnOnce(&pg_sys::FormData_pg_proc) -> bool,
) -> bool {
    if u32::from(function) >= pg_sys::FirstNormalObjectId {
        return false;
    }
    // SAFETY: inside a transaction; the tuple is released after the last look at it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            pg_sys::Datum::from(function),
        );
        if tuple.is_null() {
            return false;
        }
        let found = is_such(&*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>());
        pg_sys::ReleaseSysCache(tuple);
        found
    }
}
