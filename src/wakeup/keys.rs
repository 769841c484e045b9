//! Telling the launcher in which databases keys of issuers are to be fetched, and the worker there for which.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgrx::{pg_shmem_init, pg_sys};

use crate::pg::server;
use crate::pg::shared::{Locked, Plain, Shared, locked, shared};
use crate::pg::xact_end::{self, Ending, Moment};

static WISHES: Locked<Wishes> = locked(c"scope_roles_keys_wanted");
static ROUNDS: Shared<AtomicU64> = shared(c"scope_roles_keys_rounds");

const MOST: usize = 256;
const SECOND: i64 = 1_000_000;

/// An issuer, by a hash of its name.
pub type Issuer = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// 0: none.
    database: u32,
    /// How often a worker was started for it that has not come so far as to take it.
    tries: u32,
    /// 0: those whose time has come.
    pub issuer: Issuer,
    /// An administrator's.
    pub by_hand: bool,
    /// When, in Unix microseconds.
    at: i64,
}

const NONE: Wish = Wish {
    database: 0,
    tries: 0,
    issuer: 0,
    by_hand: false,
    at: 0,
};

#[derive(Clone, Copy)]
struct Wishes {
    wishes: [Wish; MOST],
    /// There was no room for one: no database is known to have nothing to fetch.
    lost: bool,
}

impl Wishes {
    fn of(&mut self, database: pg_sys::Oid) -> impl Iterator<Item = &mut Wish> {
        let database = u32::from(database);
        let wishes = self.wishes.iter_mut();
        wishes.filter(move |wish| wish.database == database)
    }

    fn add(&mut self, wish: Wish) {
        let known = self.of(wish.database.into());
        if let Some(known) = known.into_iter().find(|known| known.issuer == wish.issuer) {
            // One that workers fail at is not tried earlier because others want it too.
            if known.tries == 0 {
                known.at = known.at.min(wish.at);
            }
            known.by_hand |= wish.by_hand;
            return;
        }
        match self.wishes.iter_mut().find(|known| known.database == 0) {
            Some(free) => *free = wish,
            None => self.lost = true,
        }
    }
}

/// This transaction has changed an issuer whose keys are fetched.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(
        WISHES = Plain(Wishes {
            wishes: [NONE; MOST],
            lost: false,
        })
    );
    pg_shmem_init!(ROUNDS);
}

/// Hears of commits; in the postmaster, inherited by every backend.
pub fn init() {
    xact_end::tell::<Transactions>();
}

/// What a name is known by here.
pub fn issuer(name: &str) -> Issuer {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.finish().max(1)
}

/// The database has something to fetch at this moment.
pub fn visit_at(database: pg_sys::Oid, at: i64) {
    add(Wish {
        database: database.into(),
        tries: 0,
        issuer: 0,
        by_hand: false,
        at,
    });
}

/// Keys of the issuer of a database are wanted at this moment. The launcher is not woken yet.
pub fn ask(database: pg_sys::Oid, issuer: Issuer, by_hand: bool, at: i64) {
    add(Wish {
        database: database.into(),
        tries: 0,
        issuer,
        by_hand,
        at,
    });
}

/// Has no worker taken that yet?
pub fn is_wanted(database: pg_sys::Oid, issuer: Issuer) -> bool {
    let wishes = WISHES.share();
    let mut wishes = wishes.0.wishes.iter();
    wishes.any(|wish| wish.database == u32::from(database) && wish.issuer == issuer)
}

fn add(wish: Wish) {
    WISHES.exclusive().0.add(wish);
}

/// A worker is started in the database. One that does not come so far as to take what is wanted is followed by another, later and later.
pub fn starting(database: pg_sys::Oid, now: i64) {
    const LONGEST: i64 = 60;
    for wish in WISHES.exclusive().0.of(database) {
        let pause = (1_i64 << wish.tries.min(6)).min(LONGEST) * SECOND;
        wish.tries = wish.tries.saturating_add(1);
        wish.at = now.saturating_add(pause);
    }
}

/// What is wanted of this database, which is being visited; it is no longer wanted then.
pub fn take(database: pg_sys::Oid) -> Vec<Wish> {
    let mut wishes = WISHES.exclusive();
    let taken = wishes.0.of(database);
    taken.map(|wish| std::mem::replace(wish, NONE)).collect()
}

/// The databases of which something is wanted, with the moment of the first.
pub fn wanted() -> Vec<(pg_sys::Oid, i64)> {
    let wishes = WISHES.share();
    let mut found: Vec<(pg_sys::Oid, i64)> = Vec::new();
    for wish in wishes.0.wishes.iter().filter(|wish| wish.database != 0) {
        let database = pg_sys::Oid::from(wish.database);
        match found.iter_mut().find(|(known, _)| *known == database) {
            Some((_, at)) => *at = wish.at.min(*at),
            None => found.push((database, wish.at)),
        }
    }
    found
}

/// Has a wish been lost since this was last asked?
pub fn take_lost() -> bool {
    std::mem::take(&mut WISHES.exclusive().0.lost)
}

/// Grows with the end of each attempt anywhere in the server.
pub fn rounds() -> u64 {
    ROUNDS.get().load(Ordering::SeqCst)
}

/// An attempt has ended, and what came of it is committed.
pub fn finished() {
    ROUNDS.get().fetch_add(1, Ordering::SeqCst);
}

/// Has the worker look at this database when, and only if, this transaction commits.
pub fn at_commit() {
    CHANGED.store(true, Ordering::Relaxed);
}

struct Transactions;

impl Ending for Transactions {
    #[inline]
    fn is_awaited(_moment: Moment) -> bool {
        CHANGED.load(Ordering::Relaxed)
    }

    fn at(moment: Moment) {
        match moment {
            Moment::BeforeCommit | Moment::BeforePrepare => return,
            Moment::Committed => {
                visit_at(server::database(), i64::MIN);
                super::wake();
            }
            // What is prepared is found when its time comes, or a token asks for it.
            Moment::Aborted | Moment::Prepared => {}
        }
        CHANGED.store(false, Ordering::Relaxed);
    }
}
