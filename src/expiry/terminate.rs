//! Asking the sessions of roles that end to end too.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::sessions;

/// How long to wait for terminated sessions to be gone.
pub const PATIENCE: Duration = Duration::from_secs(10);
pub const SCAN: Duration = Duration::from_millis(10);
/// A session that is deep in a loop is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The sessions that were asked to end.
#[derive(Debug, Default)]
pub struct Terminated {
    of_role: HashMap<u32, BTreeSet<i32>>,
    asked: HashMap<i32, Instant>,
}

impl Terminated {
    /// Asks the sessions of these roles to end, each twice a second; the roles that have any.
    pub fn ask(&mut self, roles: impl IntoIterator<Item = pg_sys::Oid>) -> BTreeSet<u32> {
        let roles: BTreeSet<u32> = roles.into_iter().map(u32::from).collect();
        let found = sessions::of_roles(|role| roles.contains(&role.into()));
        let now = Instant::now();
        for &(pid, role) in &found {
            let patient = |asked: &Instant| now.duration_since(*asked) < ASK_AGAIN;
            if !self.asked.get(&pid).is_some_and(patient) {
                sessions::terminate(pid);
                self.asked.insert(pid, now);
            }
            self.of_role.entry(role.into()).or_default().insert(pid);
        }
        found.into_iter().map(|(_, role)| role.into()).collect()
    }

    /// Asks until all are gone, or patience is; the roles that still have sessions.
    pub fn ask_until_gone(&mut self, roles: &[pg_sys::Oid]) -> BTreeSet<u32> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let left = self.ask(roles.iter().copied());
            if left.is_empty() || Instant::now() > give_up {
                return left;
            }
            pgrx::check_for_interrupts!();
            std::thread::sleep(SCAN);
        }
    }

    /// How many sessions of the role were asked to end.
    pub fn count(&self, role: pg_sys::Oid) -> i32 {
        let count = self.of_role.get(&role.into()).map_or(0, BTreeSet::len);
        i32::try_from(count).unwrap_or(i32::MAX)
    }
}
