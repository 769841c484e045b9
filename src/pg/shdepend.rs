//! Shared dependencies (catalog/pg_shdepend.h): read without the planner, and what they tell of taken away.

use pgrx::pg_sys;

use super::scan::Scan;

/// A row of `pg_shdepend`: all of its columns are there and of one size.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub database: u32,
    pub class: u32,
    pub object: u32,
    sub_object: i32,
    of_class: u32,
    of_object: u32,
    pub kind: u8,
}

/// On what the role holds privileges, what it owns, and which policies name it, everywhere: one read
/// of an index, without the planner.
pub fn marks_of(role: pg_sys::Oid) -> Vec<Mark> {
    let keys = [
        (
            pg_sys::Anum_pg_shdepend_refclassid,
            pg_sys::AuthIdRelationId,
        ),
        (pg_sys::Anum_pg_shdepend_refobjid, role),
    ];
    let by_reference = pg_sys::SharedDependReferenceIndexId;
    let mut marks = Vec::new();
    Scan::by(pg_sys::SharedDependRelationId, by_reference, keys).each(|row| {
        // SAFETY: a row of that catalogue.
        marks.push(*unsafe { row.fixed::<Mark>() });
        true
    });
    marks
}

/// Deletes an object on which nothing depends.
pub fn delete(class: pg_sys::Oid, object: pg_sys::Oid) {
    let object = pg_sys::ObjectAddress {
        classId: class,
        objectId: object,
        objectSubId: 0,
    };
    // SAFETY: inside a transaction, for a row just read.
    unsafe {
        pg_sys::performDeletion(&object, pg_sys::DropBehavior::DROP_RESTRICT, 0);
        pg_sys::CommandCounterIncrement();
    }
}

/// Takes back what the current user has granted the role on an object (type `a`).
pub fn remove_from_acl(role: pg_sys::Oid, class: pg_sys::Oid, object: pg_sys::Oid) {
    // SAFETY: inside a transaction, for an entry just read from pg_shdepend.
    unsafe {
        pg_sys::RemoveRoleFromObjectACL(role, class, object);
        pg_sys::CommandCounterIncrement();
    }
}

/// Takes the role out of a policy (type `r`), which goes when it was for this role only, as DROP OWNED does.
pub fn remove_from_policy(role: pg_sys::Oid, class: pg_sys::Oid, policy: pg_sys::Oid) {
    unsafe extern "C-unwind" {
        // commands/policy.h, which pgrx does not bind.
        fn RemoveRoleFromObjectPolicy(
            role: pg_sys::Oid,
            class: pg_sys::Oid,
            policy: pg_sys::Oid,
        ) -> bool;
    }
    // SAFETY: inside a transaction, for an entry just read from pg_shdepend.
    let remains = unsafe {
        pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
            RemoveRoleFromObjectPolicy(role, class, policy)
        })
    };
    if !remains {
        return delete(class, policy);
    }
    // SAFETY: as above.
    unsafe { pg_sys::CommandCounterIncrement() }
}
