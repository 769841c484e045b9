//! PostgreSQL's lists (nodes/pg_list.h).

use std::ffi::c_void;

use pgrx::pg_sys;

/// The pointers in a list.
///
/// # Safety
/// A valid list of pointers, or NULL, that outlives the iterator.
pub unsafe fn elements(list: *mut pg_sys::List) -> impl Iterator<Item = *mut c_void> {
    let length = if list.is_null() {
        0
    } else {
        // SAFETY: by contract.
        usize::try_from(unsafe { (*list).length }).unwrap_or(0)
    };
    // SAFETY: within the list's length.
    (0..length).map(move |index| unsafe { (*(*list).elements.add(index)).ptr_value })
}

/// The OIDs in a list of OIDs.
///
/// # Safety
/// As [`elements`], of OIDs.
pub unsafe fn oids(list: *mut pg_sys::List) -> impl Iterator<Item = u32> {
    // SAFETY: by contract.
    let length = unsafe { list.as_ref() }.map_or(0, |list| list.length);
    // SAFETY: within the list's length.
    (0..usize::try_from(length).unwrap_or(0))
        .map(move |index| unsafe { (*(*list).elements.add(index)).oid_value.into() })
}
