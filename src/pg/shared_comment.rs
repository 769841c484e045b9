//! Comments on roles (catalog/pg_shdescription.h).

use std::ffi::CStr;

use pgrx::pg_sys;

use super::catalog::oid_key;

const COMMENTS: u32 = 2396;
const BY_OBJECT: u32 = 2397;
const OBJECT: u32 = 1;
const CLASS: u32 = 2;
const DESCRIPTION: i32 = 3;

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
    // SAFETY: inside a transaction; the keys have their columns' type; the tuple is looked at before the scan ends, and
    // the buffer that it was locked in is released.
    unsafe {
        let mut keys = [
            oid_key(OBJECT, role),
            oid_key(CLASS, pg_sys::AuthIdRelationId),
        ];
        let relation = pg_sys::table_open(COMMENTS.into(), pg_sys::RowExclusiveLock as i32);
        let scan = pg_sys::systable_beginscan(
            relation,
            BY_OBJECT.into(),
            true,
            std::ptr::null_mut(),
            keys.len() as i32,
            keys.as_mut_ptr(),
        );
        let tuple = pg_sys::systable_getnext(scan);
        let mut found = Found::Nothing;
        if !tuple.is_null() {
            found = Found::Others;
            let mut is_null = false;
            let text = pg_sys::heap_getattr(tuple, DESCRIPTION, (*relation).rd_att, &mut is_null);
            if !is_null && is_such(CStr::from_ptr(pg_sys::text_to_cstring(text.cast_mut_ptr()))) {
                let mut locked = pg_sys::HeapTupleData {
                    t_self: (*tuple).t_self,
                    ..Default::default()
                };
                let (mut buffer, mut failure) = (0, pg_sys::TM_FailureData::default());
                let result = pg_sys::heap_lock_tuple(
                    relation,
                    &mut locked,
                    pg_sys::GetCurrentCommandId(false),
                    pg_sys::LockTupleMode::LockTupleExclusive,
                    pg_sys::LockWaitPolicy::LockWaitSkip,
                    false,
                    &mut buffer,
                    &mut failure,
                );
                pg_sys::ReleaseBuffer(buffer);
                if result == pg_sys::TM_Result::TM_Ok {
                    found = Found::Taken;
                }
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
        found
    }
}
