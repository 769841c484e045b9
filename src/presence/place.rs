//! The place of one session, which that session alone writes and all others may read at any time, without a lock: the version is odd
//! while it is written, and what was read under two versions is read again. Pure.
#![forbid(unsafe_code)]

use std::hint;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use std::thread;
use std::time::Duration;

use super::record::{self, Switched, WORDS};

#[repr(C, align(64))]
pub struct Place {
    version: AtomicU64,
    /// The process; 0: nobody is here.
    pid: AtomicI32,
    login: AtomicU32,
    since: AtomicI64,
    is_tls: AtomicU32,
    method: AtomicU32,
    /// The role that a token has activated; 0: none, and the words say nothing.
    role: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl Default for Place {
    fn default() -> Self {
        Self {
            version: AtomicU64::default(),
            pid: AtomicI32::default(),
            login: AtomicU32::default(),
            since: AtomicI64::default(),
            is_tls: AtomicU32::default(),
            method: AtomicU32::default(),
            role: AtomicU32::default(),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// How a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    pub pid: i32,
    /// The role that has logged in.
    pub role: u32,
    /// When its process began, in Unix microseconds.
    pub since: i64,
    pub is_tls: bool,
    /// As PostgreSQL numbers the methods of pg_hba.conf, or [`super::BY_TOKEN`].
    pub method: u32,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub login: Login,
    /// As whom a token has it act.
    pub switched: Option<Switched>,
}

/// So often it is read at once …
const SPINS: u32 = 64;
/// … and so often after a pause. A session that stops just as it writes, as in a debugger, holds nobody up for longer.
const PAUSES: u32 = 100;
const PAUSE: Duration = Duration::from_micros(100);

impl Place {
    pub fn enter(&self, login: Login) {
        self.change(|| {
            self.role.store(0, Ordering::Relaxed);
            self.login.store(login.role, Ordering::Relaxed);
            self.since.store(login.since, Ordering::Relaxed);
            self.is_tls.store(login.is_tls.into(), Ordering::Relaxed);
            self.method.store(login.method, Ordering::Relaxed);
            self.pid.store(login.pid, Ordering::Relaxed);
        });
    }

    pub fn leave(&self) {
        self.change(|| {
            self.pid.store(0, Ordering::Relaxed);
            self.role.store(0, Ordering::Relaxed);
        });
    }

    /// A token has activated the role: its record.
    pub fn switch(&self, role: u32, words: &[u64]) {
        self.change(|| {
            for (word, value) in self.words.iter().zip(words) {
                word.store(*value, Ordering::Relaxed);
            }
            self.role.store(role, Ordering::Relaxed);
        });
    }

    /// The role is activated by the token whose record is here already; 0: it is not any more. No version is needed: the words stay.
    #[inline]
    pub fn act_as(&self, role: u32) {
        self.role.store(role, Ordering::Release);
    }

    #[inline]
    fn change(&self, write: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        write();
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// `None` where nobody is.
    pub fn look(&self) -> Option<Seen> {
        let mut seen = None;
        for attempt in 0..SPINS + PAUSES {
            let version = self.version.load(Ordering::Acquire);
            seen = self.read();
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return seen;
            }
            if attempt < SPINS {
                hint::spin_loop();
            } else {
                thread::sleep(PAUSE);
            }
        }
        // It is there; what it acts as would be of two persons.
        seen.map(|seen| Seen {
            switched: None,
            ..seen
        })
    }

    fn read(&self) -> Option<Seen> {
        let pid = self.pid.load(Ordering::Relaxed);
        if pid == 0 {
            return None;
        }
        let login = Login {
            pid,
            role: self.login.load(Ordering::Relaxed),
            since: self.since.load(Ordering::Relaxed),
            is_tls: self.is_tls.load(Ordering::Relaxed) != 0,
            method: self.method.load(Ordering::Relaxed),
        };
        let role = self.role.load(Ordering::Acquire);
        let switched = (role != 0).then(|| {
            let word = |place: usize| {
                let word = self.words.get(place);
                word.map_or(0, |word| word.load(Ordering::Relaxed))
            };
            let words: Vec<u64> = (0..record::length(word)).map(word).collect();
            Switched::read(role, &words)
        });
        Some(Seen { login, switched })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::super::record::{Person, Record};
    use super::*;

    const LOGIN: Login = Login {
        pid: 4711,
        role: 10,
        since: 5,
        is_tls: true,
        method: 6,
    };

    /// Whose issuer, subject and actor are of one number, and of different lengths.
    fn record(number: u64) -> Record {
        let length = 1 + (number as usize * 7) % 90;
        let name = |what: &str| format!("{what}-{number}-{}", "x".repeat(length));
        let (issuer, subject, actor) = (name("iss"), name("sub"), name("act"));
        Record::new(
            number as i64,
            &Person {
                issuer: Some(&issuer),
                subject: Some(&subject),
                actor: Some(&actor),
            },
        )
    }

    #[test]
    fn a_place_shows_who_is_there() {
        let place = Place::default();
        assert_eq!(place.look(), None);
        place.enter(LOGIN);
        let alone = Seen {
            login: LOGIN,
            switched: None,
        };
        assert_eq!(place.look().as_ref(), Some(&alone));
        let record = record(3);
        place.switch(99, record.words());
        let switched = Some(Switched::read(99, record.words()));
        assert_eq!(place.look().and_then(|seen| seen.switched), switched);
        place.act_as(0);
        assert_eq!(place.look().as_ref(), Some(&alone));
        place.act_as(99);
        assert_eq!(place.look().and_then(|seen| seen.switched), switched);
        // The next one has nothing of the last.
        place.enter(LOGIN);
        assert_eq!(place.look().as_ref(), Some(&alone));
        place.leave();
        assert_eq!(place.look(), None);
    }

    #[test]
    fn a_writer_that_stands_still_holds_nobody_up() {
        let place = Place::default();
        place.enter(LOGIN);
        place.switch(99, record(1).words());
        place.version.fetch_add(1, Ordering::Relaxed);
        let seen = place.look().expect("somebody");
        assert_eq!((seen.login, seen.switched), (LOGIN, None));
    }

    #[test]
    fn attack_a_reader_between_two_persons() {
        let place = Place::default();
        place.enter(LOGIN);
        let records: Vec<Record> = (1..=9).map(record).collect();
        let is_done = AtomicBool::new(false);
        let mut looks = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    for (number, record) in records.iter().enumerate() {
                        let role = number as u32 + 1;
                        place.switch(role, record.words());
                        // Nobody switches all of the time.
                        (0..500).for_each(|_| hint::spin_loop());
                        place.act_as(0);
                        place.act_as(role);
                        place.act_as(0);
                    }
                }
            });
            let start = Instant::now();
            let runs = |millis| start.elapsed() < Duration::from_millis(millis);
            while runs(300) || looks <= 100 && runs(30_000) {
                let seen = place.look().expect("somebody");
                assert_eq!(seen.login, LOGIN);
                if let Some(switched) = seen.switched {
                    let record = &records[switched.role as usize - 1];
                    assert_eq!(switched, Switched::read(switched.role, record.words()));
                    looks += 1;
                }
            }
            is_done.store(true, Ordering::Relaxed);
        });
        assert!(looks > 100, "{looks}");
    }
}
