//! Rows counted over a time that slides. Pure.
//!
//! The time is cut into parts; those of the last window and the one before it are kept. So what is
//! counted is never less than what has passed in the last window, and at most a fifteenth of a
//! window more.
#![forbid(unsafe_code)]

const PARTS: i64 = 15;
const SLOTS: usize = 16;
const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// The part of time that was counted last.
    newest: i64,
    counts: [u64; SLOTS],
    /// In which part of time each kind of alert was last given.
    alerted: [i64; 2],
}

pub const EMPTY: Ring = Ring {
    newest: 0,
    counts: [0; SLOTS],
    alerted: [i64::MIN; 2],
};

impl Ring {
    /// The part of time that a moment (in microseconds) is in.
    fn part(now: i64, window_seconds: i64) -> i64 {
        let length = window_seconds
            .max(1)
            .saturating_mul(MICROS_PER_SECOND)
            .saturating_add(PARTS - 1)
            / PARTS;
        now.div_euclid(length)
    }

    /// Forgets what is older than the window. A clock that was set back counts on where it was.
    pub fn advance(&mut self, now: i64, window_seconds: i64) {
        let part = Self::part(now, window_seconds);
        let gone = part.saturating_sub(self.newest);
        if gone <= 0 {
            return;
        }
        if gone >= SLOTS as i64 {
            self.counts = [0; SLOTS];
        } else {
            for part in self.newest + 1..=part {
                if let Some(count) = self.counts.get_mut(slot(part)) {
                    *count = 0;
                }
            }
        }
        self.newest = part;
    }

    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |total, &count| total.saturating_add(count))
    }

    pub fn add(&mut self, rows: u64) {
        if let Some(count) = self.counts.get_mut(slot(self.newest)) {
            *count = count.saturating_add(rows);
        }
    }

    /// Rows that were counted in advance and have not been returned.
    pub fn take_back(&mut self, rows: u64) {
        let mut left = rows;
        for age in 0..SLOTS as i64 {
            if let Some(count) = self.counts.get_mut(slot(self.newest.saturating_sub(age))) {
                let taken = left.min(*count);
                *count -= taken;
                left -= taken;
            }
        }
    }

    /// True once a window for each kind.
    pub fn alert_now(&mut self, kind: usize) -> bool {
        let newest = self.newest;
        match self.alerted.get_mut(kind) {
            Some(last) if newest.saturating_sub(*last) >= SLOTS as i64 => {
                *last = newest;
                true
            }
            _ => false,
        }
    }

    /// When the clock has last moved on here, for choosing which ring to forget.
    pub fn age(&self, now: i64, window_seconds: i64) -> i64 {
        Self::part(now, window_seconds).saturating_sub(self.newest)
    }
}

fn slot(part: i64) -> usize {
    usize::try_from(part.rem_euclid(SLOTS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * MICROS_PER_SECOND;

    #[test]
    fn guard_window_never_counts_less_than_passed_in_it() {
        // A row each second; whatever moment, the last 60 of them count.
        let mut ring = EMPTY;
        for second in 1..1_000_i64 {
            ring.advance(second * MICROS_PER_SECOND, 60);
            ring.add(1);
            let expected = second.min(60) as u64;
            assert!(ring.total() >= expected, "{second}: {}", ring.total());
            assert!(
                ring.total() <= second.min(64) as u64,
                "{second}: {}",
                ring.total()
            );
        }
    }

    #[test]
    fn guard_window_forgets_what_is_older() {
        let mut ring = EMPTY;
        ring.advance(1_700_000_000 * MICROS_PER_SECOND, 60);
        ring.add(100);
        ring.advance(1_700_000_000 * MICROS_PER_SECOND + MINUTE, 60);
        assert_eq!(ring.total(), 100);
        ring.advance(
            1_700_000_000 * MICROS_PER_SECOND + MINUTE + 5 * MICROS_PER_SECOND,
            60,
        );
        assert_eq!(ring.total(), 0);
        ring.add(1);
        ring.advance(1_900_000_000 * MICROS_PER_SECOND, 60);
        assert_eq!(ring.total(), 0);
    }

    #[test]
    fn guard_window_does_not_forget_when_the_clock_goes_back() {
        let mut ring = EMPTY;
        ring.advance(1_700_000_000 * MICROS_PER_SECOND, 60);
        ring.add(7);
        ring.advance(1_600_000_000 * MICROS_PER_SECOND, 60);
        ring.add(1);
        assert_eq!(ring.total(), 8);
    }

    #[test]
    fn guard_window_takes_back_only_what_was_counted() {
        let mut ring = EMPTY;
        ring.advance(MINUTE, 60);
        ring.add(10);
        ring.advance(MINUTE + 8 * MICROS_PER_SECOND, 60);
        ring.add(1);
        ring.take_back(4);
        assert_eq!(ring.total(), 7);
        ring.take_back(100);
        assert_eq!(ring.total(), 0);
    }

    #[test]
    fn guard_window_alerts_once() {
        let mut ring = EMPTY;
        ring.advance(100 * MINUTE, 60);
        assert!(ring.alert_now(0));
        assert!(!ring.alert_now(0));
        assert!(ring.alert_now(1));
        ring.advance(101 * MINUTE, 60);
        assert!(!ring.alert_now(0));
        ring.advance(102 * MINUTE, 60);
        assert!(ring.alert_now(0));
    }
}
