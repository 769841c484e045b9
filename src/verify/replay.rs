//! Tokens that switch once: of each that was used the server remembers its `iss` and `jti` until its end, in shared memory.
//!
//! A use is remembered at once, whatever becomes of its transaction. What memory has lost, with a crash or because another server was
//! the primary before, was issued before this server began to count: such a token is refused, used or not. So nothing has to be written
//! down, and no moment is left in which what was written has not arrived.

mod places;

use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::digest;
use pgrx::pg_shmem_init;

use super::{Accepted, Error};
use crate::jwt::{Refusal, Verified};
use crate::pg::clock;
use crate::pg::shared_table::Table;
use places::{Place, Taken, WAYS};

/// How far the clocks of issuers, and of servers that take over from each other, may differ. Seconds.
pub const CLOCKS: i64 = 2;

/// Why a token of an issuer whose tokens are good once is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    Replayed,
    /// It may have been used by then.
    IssuedBefore,
    /// A standby's uses would be known to nobody else.
    Standby,
    NoRoom,
}

#[derive(Default)]
struct Counting {
    /// Since when, in Unix microseconds; 0: not yet.
    since: AtomicI64,
}

static PLACES: Table<Place, (), Counting> = Table::named(c"scope_roles used tokens");

/// Reserves the shared memory, for so many tokens; in the postmaster.
pub fn init_shared_memory(most: usize) {
    PLACES.set_places(most.next_multiple_of(WAYS));
    pg_shmem_init!(PLACES = ());
}

/// The server takes writes: from now on it counts, unless it does already.
pub fn begin_counting() {
    if let Some(counting) = PLACES.free() {
        let now = clock::now();
        let _ = counting
            .since
            .compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Uses the token up, if it is good once. To be called last: it stays used up.
pub fn use_up(token: &Accepted) -> Result<(), Error> {
    if !token.rules.single_use {
        return Ok(());
    }
    take(token).map_err(|spent| Error::Spent {
        spent,
        by: token.rules.by(),
    })
}

fn take(token: &Accepted) -> Result<(), Spent> {
    let counting = PLACES.free().ok_or(Spent::NoRoom)?;
    let since = counting.since.load(Ordering::SeqCst);
    if since == 0 {
        return Err(Spent::Standby);
    }
    let issued_at = token.verified.issued_at.unwrap_or(i64::MIN);
    if issued_at <= since.saturating_add(CLOCKS * 1_000_000) {
        return Err(Spent::IssuedBefore);
    }
    // However the leeway may be elsewhere, or come to be, and for as long as a verdict can take until it is acted on.
    const MARGIN: i64 = (CLOCKS + 5) * 1_000_000;
    let exp = token.verified.expires_at.unwrap_or(i64::MAX);
    let (id, until) = (identity(token), exp.saturating_add(MARGIN));
    let taken = PLACES.write(|(), places| places::take(places, &id, until, clock::now()));
    match taken {
        Some(Taken::First) => Ok(()),
        Some(Taken::Again) => Err(Spent::Replayed),
        Some(Taken::NoRoom) | None => Err(Spent::NoRoom),
    }
}

/// What tells it from all others, in the whole cluster.
fn identity(token: &Accepted) -> [u8; 32] {
    let issuer = token.verified.issuer().unwrap_or_default();
    let id = token.verified.token_id().unwrap_or_default();
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(issuer.len() as u64).to_le_bytes());
    context.update(issuer.as_bytes());
    context.update(id.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// A token that is good once says which it is and when it was issued.
pub fn check(token: &Verified) -> Result<(), Refusal> {
    if token.token_id().is_none_or(|id| id.is_empty()) {
        return Err(Refusal::MissingId);
    }
    token.issued_at.map(|_| ()).ok_or(Refusal::MissingIat)
}
