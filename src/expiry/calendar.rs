//! Who is due when. Pure.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};

/// How long a role that is gone is remembered: a login that was under way shows up late.
const MEMORY: i64 = 60_000_000;

/// The managed roles as last read. Times are Unix microseconds; roles are OIDs.
#[derive(Debug, Default)]
pub struct Calendar {
    /// By deadline; those that are being ended come first, at the beginning of time.
    entries: Vec<(i64, u32)>,
    known: HashSet<u32>,
    /// Roles that were known, and when they were found gone.
    gone: HashMap<u32, i64>,
}

impl Calendar {
    /// Takes in what was read now: the managed roles, and all that exist.
    pub fn replace(&mut self, mut entries: Vec<(i64, u32)>, existing: &HashSet<u32>, now: i64) {
        entries.sort_unstable();
        let known: HashSet<u32> = entries.iter().map(|&(_, role)| role).collect();
        self.gone
            .retain(|role, since| now.saturating_sub(*since) < MEMORY && !existing.contains(role));
        let gone = self.known.difference(existing);
        self.gone.extend(gone.map(|&role| (role, now)));
        self.entries = entries;
        self.known = known;
    }

    /// The roles whose moment has come.
    pub fn due(&self, now: i64) -> impl Iterator<Item = u32> + '_ {
        self.entries[..self.split(now)]
            .iter()
            .map(|&(_, role)| role)
    }

    /// The next moment that comes; `None` when none does.
    pub fn next(&self, now: i64) -> Option<i64> {
        self.entries
            .get(self.split(now))
            .map(|&(deadline, _)| deadline)
            .filter(|&deadline| deadline != i64::MAX)
    }

    pub fn is_known(&self, role: u32) -> bool {
        self.known.contains(&role)
    }

    /// Was it known, and has been dropped?
    pub fn is_gone(&self, role: u32) -> bool {
        self.gone.contains_key(&role)
    }

    fn split(&self, now: i64) -> usize {
        self.entries
            .partition_point(|&(deadline, _)| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if there were no roles but the managed ones.
    fn replace(calendar: &mut Calendar, entries: &[(i64, u32)], now: i64) {
        let existing = entries.iter().map(|&(_, role)| role).collect();
        calendar.replace(entries.to_vec(), &existing, now);
    }

    #[test]
    fn calendar_knows_who_is_due_and_when_the_next_is() {
        let mut calendar = Calendar::default();
        assert_eq!((calendar.due(5).count(), calendar.next(5)), (0, None));
        replace(
            &mut calendar,
            &[(30, 3), (i64::MIN, 9), (10, 1), (20, 2), (i64::MAX, 4)],
            0,
        );
        assert_eq!(calendar.due(0).collect::<Vec<_>>(), [9]);
        assert_eq!(calendar.due(20).collect::<Vec<_>>(), [9, 1, 2]);
        assert_eq!(calendar.next(0), Some(10));
        assert_eq!(calendar.next(20), Some(30));
        // What never ends is no appointment.
        assert_eq!(calendar.next(30), None);
        assert!(calendar.is_known(4) && !calendar.is_known(5));
    }

    #[test]
    fn calendar_remembers_for_a_while_who_is_gone() {
        let mut calendar = Calendar::default();
        replace(&mut calendar, &[(10, 1), (10, 2)], 0);
        assert!(!calendar.is_gone(1));
        replace(&mut calendar, &[(10, 2)], 1);
        assert!(calendar.is_gone(1) && !calendar.is_gone(2) && !calendar.is_known(1));
        replace(&mut calendar, &[(10, 2)], MEMORY);
        assert!(calendar.is_gone(1));
        replace(&mut calendar, &[(10, 2)], MEMORY + 2);
        assert!(!calendar.is_gone(1));
        // One that only lost its label is not gone.
        calendar.replace(vec![], &HashSet::from([2]), MEMORY + 2);
        assert!(!calendar.is_gone(2) && !calendar.is_known(2));
        replace(&mut calendar, &[(10, 2)], MEMORY + 2);
        // An OID that is used again is nobody's ghost.
        replace(&mut calendar, &[], MEMORY + 3);
        replace(&mut calendar, &[(10, 2)], MEMORY + 4);
        assert!(!calendar.is_gone(2) && calendar.is_known(2));
    }
}
