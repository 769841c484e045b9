//! The hook on calls of functions: functions of other libraries that change the role past PostgreSQL's settings, where the
//! guard on those cannot see it: some at once, some when the transaction commits. And those that open connections which
//! outlive the transaction; and those that may write for a session that only reads.
//!
//! They are stopped at every call. The hook on the privilege to execute would not do: it is asked
//! when an expression is made ready, and PL/pgSQL keeps those for a whole transaction.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::guards::writes;
use super::library;
use crate::lock;
use crate::lock::verdict::Event;
use crate::session::{leftovers, role_changers};

/// What the functions of a library do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ChangesRoles,
    Connects,
}

/// All functions of these count.
const LIBRARIES: [(&[u8], Kind); 2] = [
    (b"set_user", Kind::ChangesRoles),
    (b"dblink", Kind::Connects),
];

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_NEEDED = pg_sys::needs_fmgr_hook;
        pg_sys::needs_fmgr_hook = Some(needed);
        PREVIOUS_CALL = pg_sys::fmgr_hook;
        pg_sys::fmgr_hook = Some(call);
    }
}

static mut PREVIOUS_NEEDED: pg_sys::needs_fmgr_hook_type = None;
static mut PREVIOUS_CALL: pg_sys::fmgr_hook_type = None;

/// Is `call` wanted around calls of this function? Asked once for each place that calls it.
///
/// Unguarded, like the hooks of `hooks`: it owns nothing.
unsafe extern "C-unwind" fn needed(function: pg_sys::Oid) -> bool {
    // SAFETY: the argument goes on as it came; a catalogue read inside a transaction.
    unsafe {
        PREVIOUS_NEEDED.is_some_and(|previous| previous(function))
            || kind(function).is_some()
            || writes::is_writer(function)
    }
}

unsafe extern "C-unwind" fn call(
    event: pg_sys::FmgrHookEventType::Type,
    function: *mut pg_sys::FmgrInfo,
    private: *mut pg_sys::Datum,
) {
    // SAFETY: PostgreSQL passes the function that it is about to call; the rest goes on as it came.
    unsafe {
        if event == pg_sys::FmgrHookEventType::FHET_START {
            match kind((*function).fn_oid) {
                Some(Kind::ChangesRoles) => {
                    if lock::is_bound() {
                        before_role_change();
                    }
                    role_changers::called();
                }
                Some(Kind::Connects) => leftovers::connected(),
                None => {}
            }
        }
        if event != pg_sys::FmgrHookEventType::FHET_START {
            writes::writer_ends((*function).fn_oid);
        } else if writes::is_writer((*function).fn_oid) {
            writes::writer_begins((*function).fn_oid);
        }
        if let Some(previous) = PREVIOUS_CALL {
            previous(event, function, private);
        }
    }
}

#[pg_guard]
extern "C-unwind" fn before_role_change() {
    lock::enforce(&Event::RoleChange);
}

/// Of a function that is written in C, in one of the libraries.
///
/// # Safety
/// Inside a transaction. Owns nothing: an error of PostgreSQL's may jump over it.
unsafe fn kind(function: pg_sys::Oid) -> Option<Kind> {
    // SAFETY: by contract.
    unsafe {
        library::among(function, |library| {
            LIBRARIES
                .iter()
                .find_map(|&(name, kind)| (name == library).then_some(kind))
        })
    }
}
