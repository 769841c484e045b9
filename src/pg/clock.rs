//! Time in microseconds since the Unix epoch, the one unit of time outside this room.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::raw;
use crate::timestamp::{from_postgres, to_postgres};

/// The clock now, not the start of the transaction.
pub fn now() -> i64 {
    // SAFETY: reads the system clock; no preconditions.
    from_postgres(unsafe { raw::GetCurrentTimestamp() })
}

/// `now + interval` by PostgreSQL's calendar rules, in Unix microseconds.
/// The caller has bounded the interval; PostgreSQL raises 22008 outside its range.
pub fn after(now: i64, interval: pgrx::datum::Interval) -> i64 {
    let start = pg_sys::Datum::from(to_postgres(now));
    // SAFETY: timestamptz_pl_interval takes (timestamptz, interval), both by value of the right
    // type, and never returns NULL.
    let sum = unsafe {
        pgrx::direct_function_call::<i64>(
            pg_sys::timestamptz_pl_interval,
            &[Some(start), pgrx::IntoDatum::into_datum(interval)],
        )
    };
    from_postgres(sum.unwrap_or(0))
}

/// As an SQL value; `None` outside PostgreSQL's range.
pub fn to_sql(micros: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(to_postgres(micros)).ok()
}

/// From an SQL value.
pub fn from_sql(moment: TimestampWithTimeZone) -> i64 {
    from_postgres(moment.into())
}
