//! How long a credential may live. Pure.
#![forbid(unsafe_code)]

const MICROS_PER_SECOND: i128 = 1_000_000;
const MICROS_PER_DAY: i128 = 86_400 * MICROS_PER_SECOND;
/// The shortest month there is: never refuses what the calendar would allow.
const DAYS_PER_MONTH: i128 = 28;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    #[error("valid_for must be positive")]
    NotPositive,
    #[error("valid_for must be finite")]
    Infinite,
    #[error("valid_for is longer than the server allows")]
    TooLong { max_seconds: i64 },
}

/// PostgreSQL's interval has three parts, with signs of their own.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl Interval {
    /// 17 and later have infinite intervals: all parts at an end of their range.
    fn is_infinite(self) -> bool {
        (self.months, self.days, self.micros) == (i32::MAX, i32::MAX, i64::MAX)
            || (self.months, self.days, self.micros) == (i32::MIN, i32::MIN, i64::MIN)
    }
}

/// First look, before calendar arithmetic: refuses what is out of all proportion, so that the
/// addition cannot overflow.
pub fn bound(interval: Interval, max_seconds: i64) -> Result<(), Unacceptable> {
    if interval.is_infinite() {
        return Err(Unacceptable::Infinite);
    }
    let days = i128::from(interval.months) * DAYS_PER_MONTH + i128::from(interval.days);
    let micros = days * MICROS_PER_DAY + i128::from(interval.micros);
    // Months may be up to 31 days; a factor of two leaves room for that.
    let limit = i128::from(max_seconds) * MICROS_PER_SECOND * 2 + 62 * MICROS_PER_DAY;
    if micros > limit {
        Err(Unacceptable::TooLong { max_seconds })
    } else if micros < -limit {
        Err(Unacceptable::NotPositive)
    } else {
        Ok(())
    }
}

/// Second look, at the deadline that the calendar gives. Unix microseconds.
pub fn check(now: i64, deadline: i64, max_seconds: i64) -> Result<(), Unacceptable> {
    let length = i128::from(deadline) - i128::from(now);
    if length <= 0 {
        Err(Unacceptable::NotPositive)
    } else if length > i128::from(max_seconds) * MICROS_PER_SECOND {
        Err(Unacceptable::TooLong { max_seconds })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 365 * 86_400;

    fn interval(months: i32, days: i32, micros: i64) -> Interval {
        Interval {
            months,
            days,
            micros,
        }
    }

    #[test]
    fn deadline_bound_stops_what_would_overflow() {
        let too_long = Err(Unacceptable::TooLong { max_seconds: YEAR });
        assert_eq!(bound(interval(i32::MAX, 0, 0), YEAR), too_long);
        assert_eq!(bound(interval(0, i32::MAX, 0), YEAR), too_long);
        assert_eq!(bound(interval(0, 0, i64::MAX), YEAR), too_long);
        assert_eq!(
            bound(interval(i32::MIN, 0, 0), YEAR),
            Err(Unacceptable::NotPositive)
        );
        assert_eq!(
            bound(interval(i32::MAX, i32::MAX, i64::MAX), YEAR),
            Err(Unacceptable::Infinite)
        );
        assert_eq!(
            bound(interval(i32::MIN, i32::MIN, i64::MIN), YEAR),
            Err(Unacceptable::Infinite)
        );
    }

    #[test]
    fn deadline_bound_lets_the_calendar_decide_the_rest() {
        for acceptable in [
            interval(12, 0, 0),
            interval(0, 365, 0),
            interval(0, 0, 1),
            interval(1, -31, 0),
        ] {
            assert_eq!(bound(acceptable, YEAR), Ok(()), "{acceptable:?}");
        }
        // The largest setting still leaves the sum inside PostgreSQL's range of timestamps.
        assert_eq!(bound(interval(12 * 68, 0, 0), i64::from(i32::MAX)), Ok(()));
    }

    #[test]
    fn deadline_check_is_exact_at_both_ends() {
        let now = 1_000_000_000_000;
        assert_eq!(check(now, now, YEAR), Err(Unacceptable::NotPositive));
        assert_eq!(check(now, now - 1, YEAR), Err(Unacceptable::NotPositive));
        assert_eq!(check(now, now + 1, YEAR), Ok(()));
        assert_eq!(check(now, now + YEAR * 1_000_000, YEAR), Ok(()));
        assert_eq!(
            check(now, now + YEAR * 1_000_000 + 1, YEAR),
            Err(Unacceptable::TooLong { max_seconds: YEAR })
        );
        assert_eq!(check(0, i64::MIN, YEAR), Err(Unacceptable::NotPositive));
    }
}
