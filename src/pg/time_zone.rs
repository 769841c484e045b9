//! Time zones, as PostgreSQL knows them.

use pgrx::pg_sys;

use super::text;
use crate::admission::hours::Moment;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// What the clock shows in a time zone at a point in time (Unix microseconds); `None` when this
/// server does not know the zone. Also during authentication.
pub fn moment(zone: &str, micros: i64) -> Option<Moment> {
    let zone = text::written(zone).ok()?;
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
