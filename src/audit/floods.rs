//! How many refusals each login has had, over all of its sessions: a bounded table in shared memory, which a session
//! without a place in it keeps for itself.

use std::cell::Cell;

use pgrx::pg_shmem_init;
use pgrx::prelude::*;

use crate::flood::{self, Verdict};
use crate::pg::preload;
use crate::pg::shared::{Locked, Plain, locked};

/// 1,024 logins: 40 kB.
const LOGINS: usize = 1_024;
/// In which one login may be.
const WAYS: usize = 16;
/// Of events that are counted.
pub const KINDS: usize = 4;

#[derive(Clone, Copy)]
struct Floods {
    logins: [Login; LOGINS],
}

#[derive(Clone, Copy)]
struct Login {
    /// 0: nobody's.
    oid: u32,
    kinds: [u64; KINDS],
}

static FLOODS: Locked<Floods> = locked(c"scope_roles floods");

/// Reserves the shared memory; in the postmaster.
pub fn init_shared_memory() {
    pg_shmem_init!(
        FLOODS = Plain(Floods {
            logins: [Login {
                oid: 0,
                kinds: [0; KINDS],
            }; LOGINS],
        })
    );
}

thread_local! {
    /// Of a session whose login has found no room.
    static ALONE: Cell<[u64; KINDS]> = const { Cell::new([0; KINDS]) };
}

/// One more of a kind.
pub fn next(login: pg_sys::Oid, kind: usize, now: i64) -> Verdict {
    let counted = |kinds: &mut [u64; KINDS]| match kinds.get_mut(kind) {
        Some(state) => {
            let (after, verdict) = flood::next(*state, now);
            *state = after;
            verdict
        }
        None => Verdict {
            is_whole: true,
            told: None,
        },
    };
    let login = u32::from(login);
    if preload::done() && login != 0 {
        let mut floods = FLOODS.exclusive();
        let begin = login as usize % (LOGINS / WAYS) * WAYS;
        let places = floods
            .0
            .logins
            .get_mut(begin..begin + WAYS)
            .unwrap_or_default();
        let own = places.iter().position(|place| place.oid == login);
        // One whose minute is over has been told of.
        let free = || {
            places
                .iter()
                .position(|place| place.kinds.iter().all(|&state| flood::is_over(state, now)))
        };
        if let Some(place) = own.or_else(free).and_then(|place| places.get_mut(place)) {
            if place.oid != login {
                *place = Login {
                    oid: login,
                    kinds: [0; KINDS],
                };
            }
            return counted(&mut place.kinds);
        }
    }
    let mut kinds = ALONE.get();
    let verdict = counted(&mut kinds);
    ALONE.set(kinds);
    verdict
}
