//! Statements that hold relations, for what is sealed.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::compat;
use crate::guard::sealed::{self, is_sealed, may_do_all, refuse, refuse_all, refuse_maintaining};
use crate::hooks::objects::found;
use crate::own_tables::{self, SCHEMAS as OWN_SCHEMAS};
use crate::pg::list::elements;

/// Is the statement one that may hold relations? The first question of the hook.
///
/// # Safety
/// A valid utility statement.
pub unsafe fn concerns(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        matches!(
            (*node).type_,
            pg_sys::NodeTag::T_LockStmt
                | compat::T_CLUSTER_STMT
                | pg_sys::NodeTag::T_ReindexStmt
                | pg_sys::NodeTag::T_VacuumStmt
        )
    }
}

/// # Safety
/// A statement that [`concerns`] names, inside a transaction.
#[pg_guard]
pub unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node) {
    if may_do_all() {
        return;
    }
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_LockStmt => {
                let lock = node.cast::<pg_sys::LockStmt>();
                if (*lock).mode <= pg_sys::AccessShareLock as i32 {
                    return;
                }
                for name in elements((*lock).relations) {
                    for relation in sealed::reached(found(name.cast())) {
                        refuse("locking", relation);
                    }
                }
            }
            compat::T_CLUSTER_STMT => {
                let (what, relation) = compat::clustered(node);
                refuse_maintaining(what, found(relation));
            }
            pg_sys::NodeTag::T_ReindexStmt => {
                let reindex = node.cast::<pg_sys::ReindexStmt>();
                let is_ours = |name| {
                    let name = CStr::from_ptr(name);
                    name == c"pg_catalog" || OWN_SCHEMAS.contains(&name)
                };
                match (*reindex).kind {
                    pg_sys::ReindexObjectType::REINDEX_OBJECT_SCHEMA
                        if is_ours((*reindex).name) =>
                    {
                        refuse_all("REINDEX SCHEMA");
                    }
                    pg_sys::ReindexObjectType::REINDEX_OBJECT_DATABASE
                    | pg_sys::ReindexObjectType::REINDEX_OBJECT_SYSTEM => refuse_all("REINDEX"),
                    _ => {}
                }
                let named = found((*reindex).relation);
                let table = pg_sys::IndexGetRelation(named, true);
                let is_index = table != pg_sys::InvalidOid;
                refuse_maintaining("REINDEX", if is_index { table } else { named });
            }
            pg_sys::NodeTag::T_VacuumStmt => {
                let vacuum = node.cast::<pg_sys::VacuumStmt>();
                let is_full = elements((*vacuum).options).any(|option| {
                    let option = option.cast::<pg_sys::DefElem>();
                    let name = (*option).defname;
                    !name.is_null()
                        && CStr::from_ptr(name) == c"full"
                        && pg_sys::defGetBoolean(option)
                });
                if is_full && (*vacuum).rels.is_null() {
                    refuse_all("VACUUM FULL");
                }
                for each in elements((*vacuum).rels) {
                    let named = found((*each.cast::<pg_sys::VacuumRelation>()).relation);
                    // Of a database's catalogues it is its owner's everyday work, and stands in no transaction that could stay open. It may
                    // wait for one, and whoever logs in, or ends, waits behind it at those of the cluster.
                    let holds_up_all = || pg_sys::IsSharedRelation(named) && sealed::may_maintain();
                    if is_full && (own_tables::is_own(named) || holds_up_all()) {
                        refuse("VACUUM FULL", named);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Does a plan lock rows? A load and a branch for those that don't.
///
/// # Safety
/// A valid query.
#[inline]
pub unsafe fn locks_rows(query: *mut pg_sys::QueryDesc) -> bool {
    // SAFETY: by contract.
    unsafe { !(*(*query).plannedstmt).rowMarks.is_null() }
}

/// # Safety
/// A valid query, inside a transaction.
#[pg_guard]
pub unsafe extern "C-unwind" fn before_query(query: *mut pg_sys::QueryDesc) {
    // SAFETY: by contract; the indexes are those of the plan's own range table.
    unsafe {
        let plan = (*query).plannedstmt;
        for mark in elements((*plan).rowMarks) {
            let mark = mark.cast::<pg_sys::PlanRowMark>();
            if (*mark).markType > pg_sys::RowMarkType::ROW_MARK_KEYSHARE {
                continue;
            }
            let place = (*mark).rti as usize;
            let Some(entry) = elements((*plan).rtable).nth(place.saturating_sub(1)) else {
                continue;
            };
            let relation = (*entry.cast::<pg_sys::RangeTblEntry>()).relid;
            if is_sealed(relation) && !may_do_all() {
                refuse("locking rows", relation);
            }
        }
    }
}

/// The statement trigger of the extension's tables: access lists don't stop members of pg_write_all_data.
#[pg_extern(sql = false)]
fn only_superusers(call: pg_sys::FunctionCallInfo) {
    if may_do_all() {
        return;
    }
    // SAFETY: PostgreSQL calls a trigger with a TriggerData whose relation is open; nothing else has its tag.
    unsafe {
        let context = (*call).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            return;
        }
        let table = (*(*context.cast::<pg_sys::TriggerData>()).tg_relation).rd_id;
        refuse("writing", table);
    }
}

/// The statement trigger of what only grows.
#[pg_extern(sql = false)]
fn append_only(_call: pg_sys::FunctionCallInfo) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied for table \"request_log\"",
        function_name!(),
    )
    .set_detail("Its rows are the history of requests: they are added, never changed or removed.")
    .set_hint("A notifier takes rows out of scope.request_outbox with scope.acknowledge().")
    .report(PgLogLevel::ERROR);
}

#[pg_guard]
pub extern "C-unwind" fn after_trigger(trigger: pg_sys::Oid) {
    sealed::after_trigger(trigger);
}
