//! Time zones, as PostgreSQL knows them.

use std::ffi::CString;

use pgrx::pg_sys;

use super::spi;
use crate::admission::hours::Moment;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// What the clock shows in a time zone at a point in time (Unix microseconds); `None` when this
/// server does not know the zone. Also during authentication.
pub fn moment(zone: &str, micros: i64) -> Option<Moment> {
    let zone = CString::new(zone).ok()?;
    let seconds: pg_sys::pg_time_t = micros.div_euclid(MICROS_PER_SECOND);
    // SAFETY: a terminated string; the zone stays in PostgreSQL's cache, the result in a buffer of
    // its own that is copied from at once.
    unsafe {
        let zone = pg_sys::pg_tzset(zone.as_ptr());
        if zone.is_null() {
            return None;
        }
        let clock = pg_sys::pg_localtime(&seconds, zone);
        if clock.is_null() {
            return None;
        }
        Some(Moment {
            // PostgreSQL's week begins on Sunday.
            weekday: u8::try_from(((*clock).tm_wday + 6) % 7).ok()?,
            minute: u16::try_from((*clock).tm_hour * 60 + (*clock).tm_min).ok()?,
        })
    }
}

/// The name of a time zone as the database of zones writes it. `pg_tzset` would also take what looks
/// like a POSIX rule ("UTC+2", which is two hours west).
pub fn named(name: &str) -> Result<Option<String>, pgrx::spi::Error> {
    let found = spi::query(
        "SELECT name FROM pg_catalog.pg_timezone_names
          WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) pg_catalog.lower($1)
          ORDER BY name OPERATOR(pg_catalog.<>) $1 LIMIT 1",
        &[name.into()],
        |row| row.get::<String>(1),
    )?;
    Ok(found.into_iter().flatten().next())
}
