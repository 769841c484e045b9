//! Sessions that a token has switched hear of it when the token may be good no more, though they are idle: the launcher has them take in what was
//! committed, and those by token judge for themselves (`lock::watch_commits`).

use crate::pg::{server, sessions};
use crate::presence;
use crate::wakeup;

/// A commit counts before it has told of what it has changed, so that sessions are told twice; and no more often than this. Microseconds.
const EVERY: i64 = 250_000;
/// No commit is heard of on a standby.
const STANDBY: i64 = 2_000_000;

#[derive(Default)]
pub struct Tokens {
    /// The number of changes that have been heard of.
    heard: u64,
    /// How often sessions are still to be told of them.
    left: u8,
    /// When they were told last, in Unix microseconds.
    told_at: i64,
}

impl Tokens {
    /// Tells them where it is time; when it is next.
    pub fn step(&mut self, now: i64) -> Option<i64> {
        let changes = wakeup::tokens();
        if changes != self.heard {
            self.heard = changes;
            self.left = 2;
        }
        let next_at = self.next_at()?;
        if next_at > now {
            return Some(next_at);
        }
        let switched = presence::all().filter(|seen| seen.switched.is_some());
        let sessions = switched.map(|seen| sessions::catch_up(seen.login.pid));
        let nobody = sessions.count() == 0;
        self.told_at = now;
        self.left = if nobody {
            0
        } else {
            self.left.saturating_sub(1)
        };
        self.next_at().filter(|_| !nobody)
    }

    fn next_at(&self) -> Option<i64> {
        let pause = match self.left {
            0 => server::in_recovery().then_some(STANDBY)?,
            _ => EVERY,
        };
        Some(self.told_at.saturating_add(pause))
    }
}
