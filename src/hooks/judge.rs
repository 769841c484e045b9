//! What several hooks ask of the rooms.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::decode::decode;
use crate::lock::verdict::Event;
use crate::pg::raw;
use crate::session::leftovers;
use crate::{lock, login, temporary};

/// May the current user inherit through a membership that has ended? A few loads where it has none.
#[inline]
pub(super) fn inherits_for_a_time() -> bool {
    temporary::inherited::may_have_ended(acting_user()) || temporary::opened::has_held()
}

fn acting_user() -> pg_sys::Oid {
    let (mut user, mut security_context) = (pg_sys::InvalidOid, 0);
    // SAFETY: both out-pointers are valid; reads backend globals.
    unsafe { raw::GetUserIdAndSecContext(&mut user, &mut security_context) };
    user
}

/// Has the session SET ROLE, by itself or by a token, or has this transaction, and queued what runs as the role? Then the membership that
/// let it may have ended.
#[inline]
pub(super) fn acts_as_another() -> bool {
    // SAFETY: reads of backend globals.
    let (outer, login, is_worker) = unsafe {
        (
            raw::GetOuterUserId(),
            raw::GetSessionUserId(),
            pg_sys::ParallelWorkerNumber >= 0,
        )
    };
    (outer != login || temporary::acting::has_acted()) && !is_worker
}

#[pg_guard]
pub(super) extern "C-unwind" fn before_anything() {
    login::standing::enforce();
}

#[pg_guard]
pub(super) extern "C-unwind" fn before_inherited_use() {
    if temporary::opened::has_held() {
        temporary::opened::enforce_held();
    }
    temporary::inherited::enforce_for_current();
}

#[pg_guard]
pub(super) extern "C-unwind" fn before_use_by(owner: pg_sys::Oid) {
    temporary::inherited::enforce(owner);
}

#[pg_guard]
pub(super) extern "C-unwind" fn before_query() {
    lock::enforce(&Event::Query);
    leftovers::before_statement();
}

#[pg_guard]
pub(super) unsafe extern "C-unwind" fn before_utility_of_another(node: *mut pg_sys::Node) {
    // SAFETY: as in before_utility.
    let statement = unsafe { decode(node) };
    temporary::acting::enforce(&Event::Utility(statement));
}

#[pg_guard]
pub(super) extern "C-unwind" fn before_query_of_another() {
    temporary::acting::enforce(&Event::Query);
}
