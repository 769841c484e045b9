//! The differences between PostgreSQL 15 and 19 in what hooks are given: their arguments, statements and plans. Those in all else are in
//! `pg::compat`; there is no third place with version `cfg`s.

mod executor_run;
pub mod oauth;
mod planner;

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;

use crate::pg::list::elements;
use crate::pg::text;

pub use executor_run::{Running, install_executor_run};
pub use planner::{Planning, install_planning};

/// As whom AFTER triggers run that a foreign key has queued: before 18 as whoever changed the referenced
/// table, or commits; since then as the owner of the referencing one, who queued them.
pub const CASCADES_FIRE_TRIGGERS_AS_WHO_BEGAN: bool =
    cfg!(not(any(feature = "pg18", feature = "pg19")));

/// Does COPY … TO take partitioned tables, with the rows of their partitions?
pub const COPIES_PARTITIONED_TABLES: bool = cfg!(feature = "pg19");

/// Does COPY … TO take materialized views as it takes tables?
pub const COPIES_MATERIALIZED_VIEWS: bool = cfg!(any(feature = "pg18", feature = "pg19"));

/// Looks at the relations that a plan's statement changes, by their places in its range table, from 1 on; at none of a query that only
/// reads. Ends as soon as `look` says true, and says so.
///
/// # Safety
/// A valid plan; `look` may raise an error, which jumps over this.
pub unsafe fn any_written(
    plan: *mut pg_sys::PlannedStmt,
    mut look: impl FnMut(usize) -> bool,
) -> bool {
    // SAFETY: by contract; both hold numbers of entries of the range table.
    unsafe {
        #[cfg(not(feature = "pg19"))]
        {
            let relations = (*plan).resultRelations;
            let count = relations.as_ref().map_or(0, |relations| relations.length);
            (0..count).any(|index| {
                let number = (*(*relations).elements.add(index as usize)).int_value;
                usize::try_from(number).is_ok_and(&mut look)
            })
        }
        #[cfg(feature = "pg19")]
        {
            let mut number = -1;
            loop {
                number = pg_sys::bms_next_member((*plan).resultRelationRelids, number);
                match usize::try_from(number) {
                    Ok(number) if look(number) => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        }
    }
}

/// The relations that a plan's statement names, with the rights on them that it needs.
///
/// # Safety
/// A valid plan.
pub unsafe fn accesses(plan: *mut pg_sys::PlannedStmt, mut look: impl FnMut(pg_sys::Oid, u64)) {
    // SAFETY: by contract; the lists hold nodes of these types.
    unsafe {
        #[cfg(feature = "pg15")]
        for entry in elements((*plan).rtable) {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION && (*entry).requiredPerms != 0 {
                look((*entry).relid, (*entry).requiredPerms.into());
            }
        }
        #[cfg(not(feature = "pg15"))]
        for entry in elements((*plan).permInfos) {
            let entry = entry.cast::<pg_sys::RTEPermissionInfo>();
            look((*entry).relid, (*entry).requiredPerms);
        }
    }
}

/// The roles, other than the current user, with whose rights a plan reads or changes: owners of views.
///
/// # Safety
/// A valid plan.
pub unsafe fn reads_as(plan: *mut pg_sys::PlannedStmt, mut look: impl FnMut(pg_sys::Oid)) {
    // SAFETY: by contract; the lists hold nodes of these types.
    unsafe {
        #[cfg(feature = "pg15")]
        for entry in elements((*plan).rtable) {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
                look((*entry).checkAsUser);
            }
        }
        #[cfg(not(feature = "pg15"))]
        for entry in elements((*plan).permInfos) {
            look((*entry.cast::<pg_sys::RTEPermissionInfo>()).checkAsUser);
        }
    }
}

/// The names in a list of names; `None` for NULL.
///
/// # Safety
/// NULL, or a valid list of string nodes.
pub unsafe fn names(list: *mut pg_sys::List) -> Option<Vec<String>> {
    if list.is_null() {
        return None;
    }
    // SAFETY: by contract; the strings are terminated.
    unsafe {
        let name = |node: *mut c_void| {
            let text = (*node.cast::<pg_sys::String>()).sval;
            text::read(CStr::from_ptr(text)).into_owned()
        };
        Some(elements(list).map(name).collect())
    }
}

/// The text of a string node; NULL for any other.
///
/// # Safety
/// A valid node.
pub unsafe fn string_value(node: *mut pg_sys::Node) -> *const c_char {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_String {
            return std::ptr::null();
        }
        (*node.cast::<pg_sys::String>()).sval
    }
}

/// The text of a constant as the grammar leaves it; NULL for any other node.
///
/// # Safety
/// A valid node.
pub unsafe fn constant_text(node: *mut pg_sys::Node) -> *const c_char {
    // SAFETY: by contract; the tag says which struct the node is, and the value is a node too.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_A_Const {
            return std::ptr::null();
        }
        let constant = node.cast::<pg_sys::A_Const>();
        if (*constant).isnull {
            return std::ptr::null();
        }
        string_value((&raw mut (*constant).val).cast())
    }
}

/// The statement that rewrites a table, CLUSTER before 19 and all of REPACK since, but for VACUUM FULL.
#[cfg(not(feature = "pg19"))]
pub const T_CLUSTER_STMT: pg_sys::NodeTag = pg_sys::NodeTag::T_ClusterStmt;
#[cfg(feature = "pg19")]
pub const T_CLUSTER_STMT: pg_sys::NodeTag = pg_sys::NodeTag::T_RepackStmt;

/// What that statement is called, and the relation that it names, or NULL.
///
/// # Safety
/// A valid statement of that type.
pub unsafe fn clustered(node: *mut pg_sys::Node) -> (&'static str, *mut pg_sys::RangeVar) {
    // SAFETY: by contract.
    unsafe {
        #[cfg(not(feature = "pg19"))]
        return ("CLUSTER", (*node.cast::<pg_sys::ClusterStmt>()).relation);
        #[cfg(feature = "pg19")]
        {
            let repack = node.cast::<pg_sys::RepackStmt>();
            let named = (*repack).relation;
            let relation = named
                .as_ref()
                .map_or(std::ptr::null_mut(), |named| named.relation);
            match (*repack).command {
                pg_sys::RepackCommand::REPACK_COMMAND_CLUSTER => ("CLUSTER", relation),
                _ => ("REPACK", relation),
            }
        }
    }
}
