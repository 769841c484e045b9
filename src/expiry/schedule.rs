//! When to look next. Pure.
#![forbid(unsafe_code)]

use std::time::Duration;

/// An idle launcher looks once in this time, for what no commit tells: prepared transactions,
/// clocks set forward.
pub const LONGEST: Duration = Duration::from_secs(60);
/// A role whose end keeps failing is tried again after 1, 2, 4 … seconds, at most this long.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// How long to sleep when the next thing to do is at `next`; Unix microseconds.
pub fn sleep(now: i64, next: Option<i64>) -> Duration {
    let Some(next) = next else {
        return LONGEST;
    };
    let micros = u64::try_from(next.saturating_sub(now)).unwrap_or(0);
    // Latches count in milliseconds; waking one early would mean waking twice.
    Duration::from_millis(micros.div_ceil(1_000)).min(LONGEST)
}

/// When to try again after `failures` failures in a row.
pub fn retry_at(now: i64, failures: u32) -> i64 {
    let seconds = 1u64
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u64::MAX);
    let seconds = seconds.min(LONGEST_BACKOFF.as_secs());
    now.saturating_add(
        i64::try_from(seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(MICROS_PER_SECOND),
    )
}

/// When to ask a session again that was asked `times` before and goes on: it may be deep in a loop,
/// or stopped.
pub fn ask_again_at(now: i64, times: u32) -> i64 {
    const FIRST: i64 = MICROS_PER_SECOND / 2;
    const LONGEST: i64 = 10 * MICROS_PER_SECOND;
    let wait = FIRST.saturating_mul(1_i64 << times.min(30));
    now.saturating_add(wait.clamp(FIRST, LONGEST))
}

/// How long to leave the catalogues alone after a reading that took so long: commits in quick
/// succession must not keep the launcher, and with it a processor, busy.
pub fn pause(reading_took: Duration) -> Duration {
    reading_took.saturating_mul(4).min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_sleeps_to_the_next_deadline_and_no_longer_than_a_minute() {
        let now = 1_700_000_000_000_000;
        assert_eq!(sleep(now, None), LONGEST);
        assert_eq!(sleep(now, Some(i64::MAX)), LONGEST);
        assert_eq!(sleep(now, Some(now + 1_500)), Duration::from_millis(2));
        assert_eq!(sleep(now, Some(now + 1_000)), Duration::from_millis(1));
        assert_eq!(sleep(now, Some(now)), Duration::ZERO);
        assert_eq!(sleep(now, Some(now - 1)), Duration::ZERO);
        assert_eq!(sleep(now, Some(i64::MIN)), Duration::ZERO);
    }

    #[test]
    fn schedule_backs_off_but_never_gives_up() {
        let seconds = |failures| (retry_at(0, failures)) / MICROS_PER_SECOND;
        assert_eq!([1, 2, 3, 4].map(seconds), [1, 2, 4, 8]);
        assert_eq!(seconds(10), 512);
        assert_eq!(seconds(11), 600);
        assert_eq!(seconds(u32::MAX), 600);
        assert_eq!(seconds(0), 1);
    }

    #[test]
    fn schedule_asks_again_less_and_less_often() {
        let seconds = |times| ask_again_at(0, times) as f64 / MICROS_PER_SECOND as f64;
        assert_eq!([0, 1, 2, 3].map(seconds), [0.5, 1.0, 2.0, 4.0]);
        assert_eq!([5, 40, 62, 63, 64, u32::MAX].map(seconds), [10.0; 6]);
    }

    #[test]
    fn schedule_reads_at_most_a_fifth_of_the_time() {
        assert_eq!(pause(Duration::ZERO), Duration::ZERO);
        assert_eq!(pause(Duration::from_millis(10)), Duration::from_millis(40));
        assert_eq!(pause(Duration::from_secs(10)), Duration::from_secs(1));
    }
}
