//! Sessions that a token has switched for their length hear of it when the token may be good no more, though they are idle: the
//! launcher has them take in what was committed, and each judges for itself (`lock::watch_commits`).

use crate::pg::{server, sessions};
use crate::presence;
use crate::wakeup;

/// A commit counts before it has told of what it has changed. Microseconds.
const ONCE_MORE: i64 = 250_000;
/// No commit is heard of on a standby.
const STANDBY: i64 = 2_000_000;

#[derive(Default)]
pub struct Tokens {
    /// The number of changes that sessions have been told of.
    told: u64,
    /// When they are to be told again.
    again_at: Option<i64>,
}

impl Tokens {
    /// When there is something to do again.
    pub fn step(&mut self, now: i64) -> Option<i64> {
        let changes = wakeup::tokens();
        let is_new = changes != self.told;
        if !is_new && self.again_at.is_some_and(|again_at| again_at > now) {
            return self.again_at;
        }
        let is_due = is_new || self.again_at.is_some() || server::in_recovery();
        self.told = changes;
        self.again_at = None;
        if is_due {
            let switched = presence::all().filter(|seen| seen.switched.is_some());
            let told = switched
                .map(|seen| sessions::catch_up(seen.login.pid))
                .count();
            let later = match (server::in_recovery(), is_new) {
                (true, _) => Some(STANDBY),
                (false, true) => Some(ONCE_MORE),
                (false, false) => None,
            };
            let later = later.filter(|_| told > 0);
            self.again_at = later.map(|later| now.saturating_add(later));
        }
        self.again_at
    }
}
