//! The settings of a switched role (ALTER ROLE … SET): a session that has not logged in as it has them while the switch lasts.
//!
//! They are what the role starts with, no limits: whoever is switched may SET something else, as after a login. Only what everybody
//! may set is taken, and nothing that says who acts or what the token claims.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::switch_state::{self, Identity};
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{db_role_setting, server, session_settings, setting, text};
use crate::switch_text::Extent;

/// Names and values.
pub type Stored = Vec<(CString, CString)>;

/// What the session has of its own: the value of a SET, `None` without one.
type Before = Vec<(CString, Option<CString>)>;

/// What the session had before it was switched as a whole, by the switch: a rollback brings an earlier one back.
struct Switched {
    by: Identity,
    before: Before,
}

thread_local! {
    /// The last one is of the switch that was made last; those before it are for a rollback of this transaction.
    static SWITCHED: RefCell<Vec<Switched>> = const { RefCell::new(Vec::new()) };
    /// How many there were when the transaction began.
    static COMMITTED: Cell<usize> = const { Cell::new(0) };
    /// What the function around a switch would undo, and as of which change of the switch.
    static WAITING: RefCell<(u64, Extent, Stored)> = const { RefCell::new((0, Extent::Transaction, Vec::new())) };
}

static IS_CHANGED: AtomicBool = AtomicBool::new(false);
static IS_WAITING: AtomicBool = AtomicBool::new(false);

/// Those that a switch to the role takes over: IN DATABASE goes before.
pub fn of(role: pg_sys::Oid) -> Stored {
    let mut found = Stored::new();
    for value in [pg_sys::InvalidOid, server::database()]
        .into_iter()
        .flat_map(|database| db_role_setting::stored(database, role))
    {
        let Some((name, value)) = value.split_once('=') else {
            continue;
        };
        let (Ok(name), Ok(value)) = (text::written(name), text::written(value)) else {
            continue;
        };
        found.retain(|(known, _)| !known.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        found.push((name, value));
    }
    found.retain(|(name, _)| !is_the_extensions(name));
    found
}

/// Of the lock, of the request, and those that only the extension sets.
fn is_the_extensions(name: &CStr) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"request.", b"scope.", b"scope_roles."];
    let bytes = name.to_bytes();
    let begins = |prefix: &&[u8]| {
        bytes
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    PREFIXES.iter().any(begins)
        || switch_state::settings().any(|own| own.to_bytes().eq_ignore_ascii_case(bytes))
}

/// Once the switch has been made.
pub fn begin(stored: &Stored, extent: Extent) {
    if extent == Extent::Session {
        static LISTENING: AtomicBool = AtomicBool::new(false);
        if !LISTENING.swap(true, Ordering::Relaxed) {
            xact_end::tell::<Transactions>();
        }
        IS_CHANGED.store(true, Ordering::Relaxed);
        if let Some(by) = switch_state::identity() {
            let before = Before::new();
            SWITCHED.with_borrow_mut(|switched| switched.push(Switched { by, before }));
        }
    }
    set(stored, extent);
}

fn set(stored: &Stored, extent: Extent) {
    let action = match extent {
        // The end of the transaction, or of the savepoint, undoes them.
        Extent::Transaction => pg_sys::GucAction::GUC_ACTION_LOCAL,
        Extent::Session => pg_sys::GucAction::GUC_ACTION_SET,
    };
    let (mut before, mut waiting) = (Before::new(), Stored::new());
    for (name, value) in stored {
        if !setting::is_everybodys(name) {
            continue;
        }
        // The end of that function would undo them.
        if setting::is_saved(name) {
            waiting.push((name.clone(), value.clone()));
            continue;
        }
        let known = session_settings::of_session(name);
        if setting::set_as_everybody(name, value, action) {
            before.push((name.clone(), known));
        }
    }
    if extent == Extent::Session {
        SWITCHED.with_borrow_mut(|switched| {
            if let Some(last) = switched.last_mut() {
                last.before.extend(before);
            }
        });
    }
    IS_WAITING.store(!waiting.is_empty(), Ordering::Relaxed);
    WAITING.set((switch_state::epoch(), extent, waiting));
}

/// The function with a SET clause in which the switch was made may have ended.
#[inline]
pub fn are_waiting() -> bool {
    IS_WAITING.load(Ordering::Relaxed)
}

/// Sets what waits for the end of that function, as far as that has ended.
pub fn catch_up() {
    let (epoch, extent, waiting) = WAITING.replace((0, Extent::Transaction, Vec::new()));
    IS_WAITING.store(false, Ordering::Relaxed);
    if epoch == switch_state::epoch() {
        set(&waiting, extent);
    }
}

/// The switch of the session, `by`, ends. What was there is kept: a rollback brings the switch back.
pub fn end(by: Option<Identity>) {
    SWITCHED.with_borrow(|switched| {
        let of_it = |switched: &&Switched| Some(switched.by) == by;
        if let Some(found) = switched.iter().rev().find(of_it) {
            for (name, value) in &found.before {
                session_settings::set_back(name, value.as_ref());
            }
        }
    });
}

struct Transactions;

impl Ending for Transactions {
    #[inline]
    fn is_awaited(moment: Moment) -> bool {
        IS_CHANGED.load(Ordering::Relaxed)
            && !matches!(moment, Moment::BeforeCommit | Moment::BeforePrepare)
    }

    fn at(moment: Moment) {
        IS_CHANGED.store(false, Ordering::Relaxed);
        SWITCHED.with_borrow_mut(|switched| {
            if moment == Moment::Aborted {
                switched.truncate(COMMITTED.get());
            } else {
                let now = switch_state::identity();
                let last = switched
                    .iter()
                    .rposition(|switched| Some(switched.by) == now);
                *switched = last
                    .map(|last| switched.swap_remove(last))
                    .into_iter()
                    .collect();
            }
            COMMITTED.set(switched.len());
        });
    }
}
