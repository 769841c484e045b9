//! Comments on roles (catalog/pg_shdescription.h).

use std::ffi::CStr;

use pgrx::pg_sys;

use super::scan::{Row, Scan};

use pg_sys::{
    Anum_pg_shdescription_classoid as CLASS, Anum_pg_shdescription_description as DESCRIPTION,
    Anum_pg_shdescription_objoid as OBJECT, SharedDescriptionObjIndexId as BY_OBJECT,
    SharedDescriptionRelationId as COMMENTS,
};

/// Comments on a role, as PostgreSQL does, where it has a comment that begins with `ours`, or none and `is_new`. Waits
/// for nobody: a comment that another transaction is changing stays.
pub fn keep(role: pg_sys::Oid, comment: &CStr, ours: &str, is_new: bool) {
    let found = take(role, |known| {
        known != comment && known.to_bytes().starts_with(ours.as_bytes())
    });
    match found {
        Found::Taken => {}
        Found::Nothing if is_new => {}
        Found::Nothing | Found::Others => return,
    }
    // SAFETY: inside a transaction, for a role that is there; the text is copied.
    unsafe {
        pg_sys::CreateSharedComments(role, pg_sys::AuthIdRelationId, comment.as_ptr());
        pg_sys::CommandCounterIncrement();
    }
}

enum Found {
    Nothing,
    /// One to be changed, locked.
    Taken,
    /// One that stays.
    Others,
}

/// Locks the role's comment, if it is such a one and nobody else has it.
fn take(role: pg_sys::Oid, is_such: impl FnOnce(&CStr) -> bool) -> Found {
    let keys = [(OBJECT, role), (CLASS, pg_sys::AuthIdRelationId)];
    let scan = Scan::by(COMMENTS, BY_OBJECT, keys).changing();
    let found = scan.first(|row| {
        let is_such = row.column(DESCRIPTION).is_some_and(|text| {
            // SAFETY: the column is a text.
            is_such(unsafe { CStr::from_ptr(pg_sys::text_to_cstring(text.cast_mut_ptr())) })
        });
        if is_such && lock(row) {
            Found::Taken
        } else {
            Found::Others
        }
    });
    found.unwrap_or(Found::Nothing)
}

/// False when somebody else has it.
fn lock(row: &Row) -> bool {
    // SAFETY: a row of a running scan; the buffer that it was locked in is released.
    unsafe {
        let mut locked = pg_sys::HeapTupleData {
            t_self: (*row.tuple).t_self,
            ..Default::default()
        };
        let (mut buffer, mut failure) = (0, pg_sys::TM_FailureData::default());
        let result = pg_sys::heap_lock_tuple(
            row.relation,
            &mut locked,
            pg_sys::GetCurrentCommandId(false),
            pg_sys::LockTupleMode::LockTupleExclusive,
            pg_sys::LockWaitPolicy::LockWaitSkip,
            false,
            &mut buffer,
            &mut failure,
        );
        pg_sys::ReleaseBuffer(buffer);
        result == pg_sys::TM_Result::TM_Ok
    }
}
