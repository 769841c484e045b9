//! Comments on roles (catalog/pg_shdescription.h).

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::catalog::oid_key;

const COMMENTS: u32 = 2396;
const BY_OBJECT: u32 = 2397;
const OBJECT: u32 = 1;
const CLASS: u32 = 2;
const DESCRIPTION: i32 = 3;

/// Comments on the role, as PostgreSQL does, if it has no comment yet or one that begins with `ours`.
pub fn keep(role: pg_sys::Oid, comment: &CStr, ours: &str) {
    let stays = of(role).is_some_and(|known| {
        known.as_c_str() == comment || !known.to_bytes().starts_with(ours.as_bytes())
    });
    if !stays {
        // SAFETY: inside a transaction, for a role that is there; the text is copied.
        unsafe {
            pg_sys::CreateSharedComments(role, pg_sys::AuthIdRelationId, comment.as_ptr());
            pg_sys::CommandCounterIncrement();
        }
    }
}

fn of(role: pg_sys::Oid) -> Option<CString> {
    // SAFETY: inside a transaction; the keys have their columns' type; the text is copied before the scan ends.
    unsafe {
        let mut keys = [
            oid_key(OBJECT, role),
            oid_key(CLASS, pg_sys::AuthIdRelationId),
        ];
        let lock = pg_sys::AccessShareLock as i32;
        let relation = pg_sys::table_open(COMMENTS.into(), lock);
        let scan = pg_sys::systable_beginscan(
            relation,
            BY_OBJECT.into(),
            true,
            std::ptr::null_mut(),
            keys.len() as i32,
            keys.as_mut_ptr(),
        );
        let tuple = pg_sys::systable_getnext(scan);
        let mut found = None;
        if !tuple.is_null() {
            let mut is_null = false;
            let text = pg_sys::heap_getattr(tuple, DESCRIPTION, (*relation).rd_att, &mut is_null);
            if !is_null {
                let text = pg_sys::text_to_cstring(text.cast_mut_ptr());
                found = Some(CStr::from_ptr(text).to_owned());
                pg_sys::pfree(text.cast());
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        found
    }
}
