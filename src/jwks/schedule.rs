//! When keys are fetched, and until when they hold. Times are Unix microseconds.

const SECOND: i64 = 1_000_000;
/// More often unknown keys can't bring about an attempt.
const LEAST_PAUSE: i64 = 30 * SECOND;
const LONGEST_PAUSE: i64 = 15 * 60 * SECOND;
/// How long an attempt can go on: what has begun earlier, and has not ended, has died.
pub const LONGEST_ATTEMPT: i64 = 15 * SECOND;
pub const DEFAULT_STALE: i64 = 86_400;

/// What is known of an issuer's fetches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    pub attempted_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub next_fetch: Option<i64>,
    pub failures: u32,
}

/// Who wants the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Their time.
    Time,
    /// A token that names a key which is not among them.
    Token,
    /// An administrator.
    Administrator,
}

impl Known {
    /// Is an attempt to be made now?
    pub fn is_due(&self, want: Want, now: i64) -> bool {
        let is_older_than = |pause| {
            // A clock that was set back must not stop it for ever.
            self.attempted_at
                .is_none_or(|at| at > now || at.saturating_add(pause) <= now)
        };
        let time = || self.next_fetch.is_none_or(|at| at <= now);
        match want {
            Want::Time => time(),
            Want::Token => {
                let waits = self.failures > 0 && !time();
                is_older_than(LEAST_PAUSE) && !waits
            }
            Want::Administrator => true,
        }
    }

    /// Has one begun that has not ended?
    pub fn is_going_on(&self, now: i64) -> bool {
        self.attempted_at.is_some_and(|began| {
            began <= now
                && now < began.saturating_add(LONGEST_ATTEMPT)
                && self.finished_at.is_none_or(|ended| ended < began)
        })
    }
}

/// When to try again after so many failures in a row; `random` spreads it, from 0 to 1.
pub fn retry_at(now: i64, failures: u32, random: f64) -> i64 {
    let doubled = LEAST_PAUSE.saturating_mul(1_i64 << failures.saturating_sub(1).min(20));
    let pause = doubled.clamp(LEAST_PAUSE, LONGEST_PAUSE);
    now.saturating_add(pause)
        .saturating_add(part(pause, random * 0.1))
}

/// Until when keys are fresh, when they are fetched again, and when they stop to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub fresh_until: i64,
    pub next_fetch: i64,
    pub stale_until: i64,
}

/// Of keys fetched now; all in seconds but `now`. Ahead of their end, and not all servers at once.
pub fn times(
    now: i64,
    lifetime: Option<i64>,
    (least, most): (i64, i64),
    stale_for: Option<u32>,
    random: f64,
) -> Times {
    let lifetime = lifetime.unwrap_or(least).clamp(least, most.max(least));
    let lifetime = lifetime.saturating_mul(SECOND);
    let stale_for = stale_for.map_or(DEFAULT_STALE, i64::from);
    let fresh_until = now.saturating_add(lifetime);
    Times {
        fresh_until,
        next_fetch: now.saturating_add(part(lifetime, 0.75 + random * 0.15)),
        stale_until: fresh_until.saturating_add(stale_for.saturating_mul(SECOND)),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn part(micros: i64, of: f64) -> i64 {
    (micros as f64 * of) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000 * SECOND;

    #[test]
    fn jwks_attempts_back_off_and_go_on_for_ever() {
        let pause = |failures| (retry_at(NOW, failures, 0.0) - NOW) / SECOND;
        assert_eq!([1, 2, 3, 4, 5, 6].map(pause), [30, 60, 120, 240, 480, 900]);
        assert_eq!(pause(u32::MAX), 900);
        assert_eq!(pause(0), 30);
        assert!(retry_at(NOW, 1, 1.0) <= NOW + 33 * SECOND);
    }

    #[test]
    fn attack_jwks_unknown_keys_ask_no_more_often_than_each_30_seconds() {
        let known = Known {
            attempted_at: Some(NOW),
            finished_at: Some(NOW + SECOND),
            next_fetch: Some(NOW + 3_600 * SECOND),
            failures: 0,
        };
        assert!(!known.is_due(Want::Token, NOW + 29 * SECOND));
        assert!(known.is_due(Want::Token, NOW + 30 * SECOND));
        assert!(!known.is_due(Want::Time, NOW + 30 * SECOND));
        assert!(known.is_due(Want::Time, NOW + 3_600 * SECOND));
        assert!(known.is_due(Want::Administrator, NOW));
        // Nor at all while a pause after failures lasts.
        let failing = Known {
            failures: 3,
            ..known
        };
        assert!(!failing.is_due(Want::Token, NOW + 600 * SECOND));
        assert!(failing.is_due(Want::Token, NOW + 3_600 * SECOND));
        // A clock that was wrong.
        assert!(known.is_due(Want::Token, NOW - 600 * SECOND));
        let new = Known::default();
        assert!(
            [Want::Time, Want::Token, Want::Administrator]
                .iter()
                .all(|want| new.is_due(*want, NOW))
        );
        assert!(!known.is_going_on(NOW));
        let begun = Known {
            finished_at: None,
            ..known
        };
        assert!(begun.is_going_on(NOW + SECOND) && !begun.is_going_on(NOW + 16 * SECOND));
        let again = Known {
            finished_at: Some(NOW - SECOND),
            ..known
        };
        assert!(again.is_going_on(NOW));
    }

    #[test]
    fn jwks_are_fetched_ahead_of_their_end() {
        let bounds = (300, 86_400);
        let of = |lifetime, random| times(NOW, lifetime, bounds, None, random);
        for (lifetime, expected) in [
            (None, 300),
            (Some(0), 300),
            (Some(3_600), 3_600),
            (Some(i64::MAX), 86_400),
        ] {
            for random in [0.0, 0.5, 1.0] {
                let times = of(lifetime, random);
                assert_eq!(times.fresh_until, NOW + expected * SECOND);
                assert!(times.next_fetch < times.fresh_until - expected * SECOND / 11);
                assert!(times.next_fetch >= NOW + expected * SECOND * 3 / 4);
                assert_eq!(
                    times.stale_until,
                    times.fresh_until + DEFAULT_STALE * SECOND
                );
            }
        }
        assert_ne!(of(None, 0.1).next_fetch, of(None, 0.9).next_fetch);
        let strict = times(NOW, Some(600), bounds, Some(0), 0.5);
        assert_eq!(strict.stale_until, strict.fresh_until);
    }
}
