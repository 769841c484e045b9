//! Time in microseconds since the Unix epoch, the one unit of time outside this room.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::raw;

/// 2000-01-01 00:00:00 UTC, PostgreSQL's own epoch, in Unix microseconds.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The clock now, not the start of the transaction.
pub fn now() -> i64 {
    // SAFETY: reads the system clock; no preconditions.
    from_postgres(unsafe { raw::GetCurrentTimestamp() })
}

/// Infinities stay at the ends of the range.
pub fn from_postgres(timestamp: pg_sys::TimestampTz) -> i64 {
    timestamp.saturating_add(POSTGRES_EPOCH)
}

/// The other way round; the ends of the range stay infinite.
pub fn to_postgres(micros: i64) -> pg_sys::TimestampTz {
    match micros {
        i64::MIN | i64::MAX => micros,
        _ => micros.saturating_sub(POSTGRES_EPOCH),
    }
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
