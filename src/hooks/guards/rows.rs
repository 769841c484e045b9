//! The rows of results, counted on their way to the client.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::frame::Frame;
use super::{flags, flags_now};
use crate::guard::{ROWS, meter};
use crate::pg::raw;

/// Stands between the executor and the client.
#[repr(C)]
pub(super) struct Counter {
    receiver: pg_sys::DestReceiver,
    inner: *mut pg_sys::DestReceiver,
}

impl Counter {
    pub(super) fn before(
        inner: *mut pg_sys::DestReceiver,
        start_up: StartUp,
        shut_down: ShutDown,
    ) -> Self {
        Self {
            receiver: pg_sys::DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(start_up),
                rShutdown: Some(shut_down),
                rDestroy: Some(destroy),
                // SAFETY: a valid receiver.
                mydest: unsafe { (*inner).mydest },
            },
            inner,
        }
    }
}

type StartUp = unsafe extern "C-unwind" fn(*mut pg_sys::DestReceiver, i32, pg_sys::TupleDesc);
type ShutDown = unsafe extern "C-unwind" fn(*mut pg_sys::DestReceiver);
/// How many rows may pass before the meter must be asked.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// # Safety
/// These are called with the receiver that was given to the executor, or to a utility statement.
unsafe extern "C-unwind" fn receive(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    let left = LEFT.load(Ordering::Relaxed);
    if left == 0 {
        ask_for_more();
    } else {
        LEFT.store(left - 1, Ordering::Relaxed);
    }
    // SAFETY: by contract.
    unsafe {
        let inner = (*receiver.cast::<Counter>()).inner;
        match (*inner).receiveSlot {
            Some(receive) => receive(slot, inner),
            None => false,
        }
    }
}

#[pg_guard]
extern "C-unwind" fn ask_for_more() {
    LEFT.store(meter::more().saturating_sub(1), Ordering::Relaxed);
}

unsafe extern "C-unwind" fn start_up(
    receiver: *mut pg_sys::DestReceiver,
    operation: i32,
    description: pg_sys::TupleDesc,
) {
    // SAFETY: by contract.
    unsafe {
        let inner = (*receiver.cast::<Counter>()).inner;
        if let Some(start_up) = (*inner).rStartup {
            start_up(inner, operation, description);
        }
    }
}

unsafe extern "C-unwind" fn shut_down(receiver: *mut pg_sys::DestReceiver) {
    // SAFETY: by contract.
    unsafe {
        let inner = (*receiver.cast::<Counter>()).inner;
        if let Some(shut_down) = (*inner).rShutdown {
            shut_down(inner);
        }
    }
}

/// The rows of a utility statement are counted from the first to the last of them, and not while it makes
/// them: a procedure may run long, and write files meanwhile.
pub(super) unsafe extern "C-unwind" fn answer_starts(
    receiver: *mut pg_sys::DestReceiver,
    operation: i32,
    description: pg_sys::TupleDesc,
) {
    begin_count();
    // SAFETY: by contract.
    unsafe { start_up(receiver, operation, description) }
}

pub(super) unsafe extern "C-unwind" fn answer_ends(receiver: *mut pg_sys::DestReceiver) {
    // SAFETY: by contract.
    unsafe { shut_down(receiver) }
    end_count();
}

/// It is on the stack.
unsafe extern "C-unwind" fn destroy(_receiver: *mut pg_sys::DestReceiver) {}

/// A cursor or portal that has returned rows and may return more.
struct Returned {
    name: CString,
    made: i64,
    rows: u64,
    /// All that is in its store was counted as it was filled.
    is_counted: bool,
}

thread_local! {
    static PORTALS: RefCell<Vec<Returned>> = const { RefCell::new(Vec::new()) };
}

static ANY_PORTAL: AtomicBool = AtomicBool::new(false);

/// May somebody else's commit have changed what there is to do since the transaction began?
#[inline]
pub fn may_have_changed() -> bool {
    // SAFETY: reads a backend global.
    unsafe { raw::IsTransactionBlock() }
}

/// Runs a query; when its rows go to the client, through the counter.
///
/// # Safety
/// From ExecutorRun, with a started query; `next` runs it and owns nothing.
pub unsafe fn run_query(query: *mut pg_sys::QueryDesc, is_quiet: bool, next: impl FnOnce()) {
    // SAFETY: by contract.
    unsafe {
        // The start of a transaction takes in what others have committed.
        let flags = if may_have_changed() {
            flags_now()
        } else if is_quiet {
            0
        } else {
            flags()
        };
        if flags & ROWS == 0 {
            next();
            return;
        }
        if !goes_to_the_client(query) {
            Frame::new(false).around(next);
            return;
        }
        let inner = (*query).dest;
        // After an error nobody asks for the receiver any more.
        let mut counter = Counter::before(inner, start_up, shut_down);
        // A function may COPY to a file: these are rows of the statement that calls it.
        let is_outermost = Frame::innermost_where(|frame| frame.counts).is_null();
        if is_outermost {
            begin_count();
        }
        (*query).dest = (&raw mut counter).cast();
        let mut frame = Frame::new(false);
        frame.counts = true;
        frame.around(next);
        (*query).dest = inner;
        if is_outermost {
            end_count();
        }
        if Frame::innermost().is_null() {
            filled((*inner).mydest);
        }
    }
}

/// # Safety
/// A started query.
unsafe fn goes_to_the_client(query: *mut pg_sys::QueryDesc) -> bool {
    use pg_sys::CommandDest;
    // SAFETY: by contract; a portal in use is valid, and so are frames.
    unsafe {
        match (*(*query).dest).mydest {
            CommandDest::DestRemote
            | CommandDest::DestRemoteExecute
            | CommandDest::DestRemoteSimple
            | CommandDest::DestCopyOut => true,
            // Some statements are run to their end first: those that write, FETCH and EXECUTE.
            CommandDest::DestTuplestore => {
                let frame = Frame::innermost();
                let portal = pg_sys::ActivePortal;
                if !frame.is_null() {
                    (*frame).hands_on
                } else {
                    !portal.is_null()
                        && ((*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_RETURNING
                            || (*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_MOD_WITH)
                }
            }
            _ => false,
        }
    }
}

/// The portal whose rows come a few at a time.
fn portal_in_parts() -> pg_sys::Portal {
    // SAFETY: a portal in use is valid.
    unsafe {
        let portal = pg_sys::ActivePortal;
        let in_parts =
            !portal.is_null() && (*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_SELECT;
        if in_parts { portal } else { null_mut() }
    }
}

#[pg_guard]
extern "C-unwind" fn begin_count() {
    let used = returned_by(portal_in_parts());
    meter::begin(used, LEFT.swap(0, Ordering::Relaxed));
}

#[pg_guard]
extern "C-unwind" fn end_count() {
    let portal = portal_in_parts();
    let before = returned_by(portal);
    let after = meter::end(LEFT.swap(0, Ordering::Relaxed));
    remember(portal, after);
    let frame = Frame::innermost();
    if !frame.is_null() {
        // SAFETY: a frame on the stack.
        unsafe { (*frame).counted += after.saturating_sub(before) };
    }
}

/// What the client asked for has been counted. Where the active portal keeps it, it need not be as it is sent.
///
/// # Safety
/// Outside all frames.
pub(super) unsafe fn filled(into: pg_sys::CommandDest::Type) {
    if into == pg_sys::CommandDest::DestTuplestore {
        // SAFETY: a portal in use is valid.
        unsafe { remember_store(pg_sys::ActivePortal) }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn remember_store(portal: pg_sys::Portal) {
    with_entry(portal, |entry| entry.is_counted = true);
}

/// A row of a portal's store is about to be sent by itself: that of a cursor WITH HOLD, or what a function has had run to its end.
///
/// # Safety
/// From the hook on messages, as [`flags`].
pub unsafe fn before_stored_row(portal: pg_sys::Portal) {
    // SAFETY: by contract.
    if unsafe { flags() } & ROWS != 0 {
        count_stored_row(portal);
    }
}

#[pg_guard]
extern "C-unwind" fn count_stored_row(portal: pg_sys::Portal) {
    let (used, is_counted) = known(portal).unwrap_or_default();
    if !is_counted {
        meter::count(used, 1);
        remember(portal, used.saturating_add(1));
    }
}

pub(super) fn returned_by(portal: pg_sys::Portal) -> u64 {
    known(portal).map_or(0, |(rows, _)| rows)
}

fn known(portal: pg_sys::Portal) -> Option<(u64, bool)> {
    if portal.is_null() || !ANY_PORTAL.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: a valid portal, whose name is terminated.
    let (name, made) = unsafe { (CStr::from_ptr((*portal).name), (*portal).creation_time) };
    PORTALS.with_borrow(|portals| {
        portals
            .iter()
            .find(|known| known.name.as_c_str() == name && known.made == made)
            .map(|known| (known.rows, known.is_counted))
    })
}

pub(super) fn remember(portal: pg_sys::Portal, rows: u64) {
    with_entry(portal, |entry| entry.rows = rows);
}

fn with_entry(portal: pg_sys::Portal, change: impl FnOnce(&mut Returned)) {
    const MANY: usize = 32;
    if portal.is_null() {
        return;
    }
    // SAFETY: as in `known`; PostgreSQL looks names up in its own table.
    unsafe {
        let name = CStr::from_ptr((*portal).name);
        let made = (*portal).creation_time;
        PORTALS.with_borrow_mut(|portals| {
            if portals.len() > MANY {
                portals.retain(|known| !pg_sys::GetPortalByName(known.name.as_ptr()).is_null());
            }
            portals.retain(|known| known.name.as_c_str() != name || known.made == made);
            match portals
                .iter_mut()
                .find(|known| known.name.as_c_str() == name)
            {
                Some(entry) => change(entry),
                None => {
                    let mut entry = Returned {
                        name: name.to_owned(),
                        made,
                        rows: 0,
                        is_counted: false,
                    };
                    change(&mut entry);
                    portals.push(entry);
                }
            }
        });
    }
    ANY_PORTAL.store(true, Ordering::Relaxed);
}

/// Is a portal known that may return more?
#[inline]
pub fn has_portals() -> bool {
    ANY_PORTAL.load(Ordering::Relaxed)
}

/// A query starts: if it is that of a new portal, it has returned nothing yet.
///
/// # Safety
/// From ExecutorStart.
pub unsafe fn before_start() {
    if !ANY_PORTAL.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: a portal in use is valid. Functions inside a query that runs find another status.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if !portal.is_null() && (*portal).status == pg_sys::PortalStatus::PORTAL_DEFINED {
            forget((*portal).name);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn forget(name: *const c_char) {
    // SAFETY: the terminated name of a portal.
    let name = unsafe { CStr::from_ptr(name) };
    PORTALS.with_borrow_mut(|portals| {
        portals.retain(|known| known.name.as_c_str() != name);
        ANY_PORTAL.store(!portals.is_empty(), Ordering::Relaxed);
    });
}
