//! Who is in the sessions of this server: how each has logged in, and as whom a token has it act. Each session keeps its own place in
//! shared memory, in a few stores and without a lock; `scope.sessions` reads them all.
//!
//! The place follows the setting `scope.switch`, so that it has what a rollback brings back, and nothing of what has ended.

mod place;
mod record;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::{pg_shmem_init, pg_sys};

use crate::pg::per_backend::PerBackend;
use crate::pg::{exit, server};
use crate::timestamp::from_postgres;
use place::Place;
pub use place::{Login, Seen};
pub use record::{Person, Record, Switched, Text};

static PLACES: PerBackend<Place> = PerBackend::named(c"scope_roles sessions");

/// Of this session, once its client has logged in. Parallel workers have none: they are a part of their leader's session.
static OWN: OnceLock<&'static Place> = OnceLock::new();
/// Which record is in it; 0: none.
static SHOWN: AtomicU64 = AtomicU64::new(0);

/// Reserves the shared memory; in the postmaster.
pub fn init() {
    pg_shmem_init!(PLACES = ());
}

/// The method of those whose token the extension has asked for itself.
pub const BY_TOKEN: u32 = u32::MAX - 1;

/// The client of this process has logged in as the role.
pub fn logged_in(role: pg_sys::Oid, is_tls: bool, method: u32) {
    let Some(place) = PLACES.own() else {
        return;
    };
    let place = OWN.get_or_init(|| place);
    place.enter(Login {
        pid: server::pid(),
        role: role.into(),
        since: from_postgres(server::start_of_process()),
        is_tls,
        method,
    });
    exit::before(|| {
        if let Some(place) = OWN.get() {
            place.leave();
        }
    });
}

/// A token has activated the role.
#[inline]
pub fn switched(role: u32, record: &Record) {
    let Some(place) = OWN.get() else {
        return;
    };
    if SHOWN.load(Ordering::Relaxed) == record.serial {
        place.act_as(role);
    } else {
        SHOWN.store(record.serial, Ordering::Relaxed);
        place.switch(role, record.words());
    }
}

/// No token has the session act any more. Cannot fail.
#[inline]
pub fn switch_ended() {
    if let Some(place) = OWN.get() {
        place.act_as(0);
    }
}

/// A rollback has brought an earlier switch back, with these claims. Cannot fail.
pub fn switched_back(role: u32, ends_at: i64, claims: &str) {
    if OWN.get().is_none() {
        return;
    }
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap_or_default();
    let text = |name| claims.get(name).and_then(serde_json::Value::as_str);
    let actors = std::iter::successors(claims.get("act"), |actor| actor.get("act"));
    let person = Person {
        issuer: text("iss"),
        subject: text("sub"),
        actor: (actors.into_iter()).find_map(|actor| actor.get("sub")?.as_str()),
    };
    switched(role, &Record::new(ends_at, &person));
}

/// How many sessions of this login there are in which its token's subject acts, this one too: whoever comes at the same time sees at least
/// the others that are counted. Without a subject those count that have none.
pub fn of_the_same_person() -> usize {
    let own = OWN.get().and_then(|place| place.look());
    let own = own.as_ref().and_then(person);
    all()
        .filter(|seen| own.is_some() && person(seen) == own)
        .count()
}

fn person(seen: &Seen) -> Option<(u32, Option<&Text>, Option<&Text>)> {
    let switched = seen.switched.as_ref()?;
    let (issuer, subject) = (switched.issuer.as_ref(), switched.subject.as_ref());
    Some((seen.login.role, issuer, subject))
}

/// All sessions of this moment.
pub fn all() -> impl Iterator<Item = Seen> {
    PLACES.all().iter().filter_map(Place::look)
}
