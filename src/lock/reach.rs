//! Functions of PostgreSQL's own that a gated login without a token does not call.

use pgrx::pg_sys;

use crate::pg::catalog;

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
    catalog::is_postgresqls(function, |name, volatility| {
        name.starts_with(b"pg_stat_get_")
            || TAKES_AN_XID.contains(&name)
            || volatility == pg_sys::PROVOLATILE_VOLATILE && !HARMLESS.contains(&name)
    })
}
