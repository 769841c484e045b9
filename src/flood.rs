//! How many lines of what is refused to somebody without a token are written whole. Pure.
//!
//! Of each kind of event, the first few a login has in a minute; the others are counted, and the count is told
//! at 1, 10, 100 … and when the minute is over and another one comes. The memory is one number.
#![forbid(unsafe_code)]

/// Lines of a login, of one kind, in one minute.
pub const WHOLE: u32 = 20;
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Has the minute of these events passed?
pub fn is_over(state: u64, now: i64) -> bool {
    state >> 32 != next(0, now).0 >> 32
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub is_whole: bool,
    /// How many were counted, where that is told now.
    pub told: Option<u32>,
}

/// The next event: the minute and the count in it before, both in one number, and after.
#[must_use]
pub fn next(before: u64, now: i64) -> (u64, Verdict) {
    let minute = (now.div_euclid(MICROS_PER_MINUTE) & i64::from(u32::MAX)) as u64;
    let count = (before & u64::from(u32::MAX)) as u32;
    if before >> 32 != minute {
        let counted = count.saturating_sub(WHOLE);
        let verdict = Verdict {
            is_whole: true,
            told: (counted > 0).then_some(counted),
        };
        return (minute << 32 | 1, verdict);
    }
    let count = count.saturating_add(1);
    let counted = count.saturating_sub(WHOLE);
    let verdict = Verdict {
        is_whole: counted == 0,
        told: is_told(counted).then_some(counted),
    };
    (minute << 32 | u64::from(count), verdict)
}

/// 1, 10, 100 …
fn is_told(counted: u32) -> bool {
    counted
        .checked_ilog10()
        .is_some_and(|power| counted == 10_u32.pow(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_flood_is_counted_and_nothing_is_lost() {
        let (mut state, mut whole, mut told) = (0, 0, Vec::new());
        for _ in 0..12_345 {
            let (after, verdict) = next(state, 1_000);
            state = after;
            whole += u32::from(verdict.is_whole);
            told.extend(verdict.told);
        }
        assert_eq!((whole, told), (WHOLE, vec![1, 10, 100, 1_000, 10_000]));
        let (state, verdict) = next(state, MICROS_PER_MINUTE);
        let counted = 12_345 - WHOLE;
        assert_eq!(
            verdict,
            Verdict {
                is_whole: true,
                told: Some(counted)
            }
        );
        assert_eq!(
            next(state, MICROS_PER_MINUTE).1,
            Verdict {
                is_whole: true,
                told: None
            }
        );
        assert_eq!(
            next(state, 2 * MICROS_PER_MINUTE).1,
            Verdict {
                is_whole: true,
                told: None
            }
        );
    }
}
