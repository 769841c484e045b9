//! Security labels on roles (catalog/pg_shseclabel.h).

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::catalog::text;
use super::scan::{Row, Scan, cached};

use pg_sys::{
    Anum_pg_shseclabel_classoid as CLASS, Anum_pg_shseclabel_label as LABEL,
    Anum_pg_shseclabel_objoid as OBJECT, Anum_pg_shseclabel_provider as PROVIDER,
    SharedSecLabelObjectIndexId as BY_OBJECT, SharedSecLabelRelationId as LABELS,
};

/// The label that the provider has put on a role.
pub fn get(provider: &CStr, role: pg_sys::Oid) -> Option<String> {
    let object = address(role);
    // SAFETY: inside a transaction; GetSecurityLabel copies the label into our memory context.
    unsafe {
        let label = pg_sys::GetSecurityLabel(&object, provider.as_ptr());
        let text = super::text::owned(label)?;
        pg_sys::pfree(label.cast());
        Some(text)
    }
}

/// Writes (or with `None` removes) the label, without asking the provider's callback: for itself only.
pub fn set(provider: &CStr, role: pg_sys::Oid, label: Option<&CString>) {
    let object = address(role);
    // SAFETY: inside a transaction; the strings outlive the call.
    unsafe {
        pg_sys::SetSecurityLabel(
            &object,
            provider.as_ptr(),
            label.map_or(std::ptr::null(), |text| text.as_ptr()),
        );
        pg_sys::CommandCounterIncrement();
    }
}

/// Labels have no cache that sessions would hear of: they look again when the role changes, so it
/// counts as changed. The message goes out with the commit, to standbys too.
pub fn tell_sessions(role: pg_sys::Oid) {
    let tell = |tuple: pg_sys::HeapTuple, _: &pg_sys::FormData_pg_authid| {
        // SAFETY: a row of pg_authid, inside a transaction, as all changes of labels.
        unsafe {
            let relation =
                pg_sys::table_open(pg_sys::AuthIdRelationId, pg_sys::AccessShareLock as i32);
            pg_sys::CacheInvalidateHeapTuple(relation, tuple, std::ptr::null_mut());
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        }
    };
    // SAFETY: as above.
    unsafe {
        cached(pg_sys::SysCacheIdentifier::AUTHOID, role, tell);
        // No subtransaction may begin before the message has been taken in here, and that is done only
        // after a command that has changed something.
        pg_sys::GetCurrentCommandId(true);
        pg_sys::CommandCounterIncrement();
    }
}

fn address(role: pg_sys::Oid) -> pg_sys::ObjectAddress {
    pg_sys::ObjectAddress {
        classId: pg_sys::AuthIdRelationId,
        objectId: role,
        objectSubId: 0,
    }
}

/// Every role with a label of the provider, as (OID, label text), in no order. Also where there is no database.
pub fn each(provider: &CStr, mut visit: impl FnMut(pg_sys::Oid, &str)) {
    let of_roles = u32::from(pg_sys::AuthIdRelationId) as usize;
    Scan::all(LABELS).each(|row| {
        if let (Some(class), Some(object)) = (row.column(CLASS), row.column(OBJECT))
            && class.value() == of_roles
            && let Some(label) = label_of(provider, row)
        {
            // One that can't be read here is one that says nothing.
            visit((object.value() as u32).into(), &label.unwrap_or_default());
        }
        true
    });
}

/// The label that the provider has put on a role, read without a database, by an index that PostgreSQL keeps at hand for logins;
/// `Some(None)` for one that can't be.
pub fn get_at_login(provider: &CStr, role: pg_sys::Oid) -> Option<Option<String>> {
    let mut found = None;
    let keys = [(OBJECT, role), (CLASS, pg_sys::AuthIdRelationId)];
    Scan::by(LABELS, BY_OBJECT, keys).each(|row| {
        found = label_of(provider, row);
        found.is_none()
    });
    found
}

/// The label of a row, if the provider has set it; `None` in it as of [`text_in_row`].
fn label_of(provider: &CStr, row: &Row) -> Option<Option<String>> {
    let (theirs, label) = (row.column(PROVIDER)?, row.column(LABEL)?);
    // SAFETY: both columns are of type text and not null.
    unsafe { (text(theirs).as_bytes() == provider.to_bytes()).then(|| text_in_row(label)) }
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
