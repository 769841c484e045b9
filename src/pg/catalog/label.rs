//! Security labels on roles, where there may be no database.

use pgrx::pg_sys;

use crate::pg::seclabel;

use super::{attribute, each_row, oid_key, text};

/// catalog/pg_shseclabel.h, which pgrx does not bind; OIDs and columns of a system catalogue are
/// fixed.
const SHARED_SECURITY_LABELS: u32 = 3592;
const SHARED_SECURITY_LABELS_INDEX: u32 = 3593;
const OBJECT: u32 = 1;
const CLASS: u32 = 2;
const PROVIDER: u32 = 3;
const LABEL: u32 = 4;

/// Every role with a label of ours, as (OID, label text), in no order.
pub fn labelled_roles(mut visit: impl FnMut(pg_sys::Oid, &str)) {
    each_row(SHARED_SECURITY_LABELS.into(), &mut |tuple, description| {
        let attribute = |number: u32| attribute(tuple, description, number);
        let (Some(class), Some(object), Some(provider), Some(label)) = (
            attribute(CLASS),
            attribute(OBJECT),
            attribute(PROVIDER),
            attribute(LABEL),
        ) else {
            return;
        };
        if class.value() != u32::from(pg_sys::AuthIdRelationId) as usize {
            return;
        }
        // SAFETY: both columns are of type text and not null.
        unsafe {
            if text(provider).as_bytes() == seclabel::PROVIDER.to_bytes() {
                // One that can't be read here is one that says nothing.
                let label = text_in_row(label).unwrap_or_default();
                visit(pg_sys::Oid::from(object.value() as u32), &label);
            }
        }
    });
}

/// The label of ours that a role has, read without a database; `Some(None)` for one that can't be.
pub fn label_at_login(role: pg_sys::Oid) -> Option<Option<String>> {
    let mut found = None;
    // SAFETY: inside a transaction, with the catalogue's own index, whose first two columns are the
    // object and its class; PostgreSQL keeps it at hand for logins.
    unsafe {
        let mut keys = [
            oid_key(OBJECT, role),
            oid_key(CLASS, pg_sys::AuthIdRelationId),
        ];
        let relation = pg_sys::table_open(
            SHARED_SECURITY_LABELS.into(),
            pg_sys::AccessShareLock as i32,
        );
        let scan = pg_sys::systable_beginscan(
            relation,
            SHARED_SECURITY_LABELS_INDEX.into(),
            pg_sys::criticalSharedRelcachesBuilt,
            std::ptr::null_mut(),
            keys.len() as i32,
            keys.as_mut_ptr(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let attribute = |number: u32| attribute(tuple, (*relation).rd_att, number);
            if let (Some(provider), Some(label)) = (attribute(PROVIDER), attribute(LABEL))
                && text(provider).as_bytes() == seclabel::PROVIDER.to_bytes()
            {
                found = Some(text_in_row(label));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}

/// As [`text`], but `None` for one that is moved out of its row: PostgreSQL ends a process that looks
/// for it without a database.
///
/// # Safety
/// As [`text`].
unsafe fn text_in_row(datum: pg_sys::Datum) -> Option<String> {
    // SAFETY: by contract.
    unsafe { (!pgrx::varlena::varatt_is_1b_e(datum.cast_mut_ptr())).then(|| text(datum)) }
}
