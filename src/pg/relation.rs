//! Relations by their names and OIDs. Inside a transaction.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::scan::Scan;

/// The relation of this name in a schema; `InvalidOid` when there is none.
pub fn named(schema: &CStr, name: &CStr) -> pg_sys::Oid {
    // SAFETY: catalogue look-ups by terminated names.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    }
}

/// The table whose trigger is being called; `None` in a call of another kind.
pub fn of_trigger(call: pg_sys::FunctionCallInfo) -> Option<pg_sys::Oid> {
    // SAFETY: PostgreSQL's own record of the call; the tag says which struct the context is, and its relation is open.
    unsafe {
        let context = (*call).context;
        let is_trigger = !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData;
        is_trigger.then(|| (*(*context.cast::<pg_sys::TriggerData>()).tg_relation).rd_id)
    }
}

/// Is it in the schema of this name? For most a look into the cache.
pub fn is_in_schema(relation: pg_sys::Oid, schema: &CStr) -> bool {
    // SAFETY: catalogue look-ups by a terminated name.
    unsafe {
        let its = pg_sys::get_rel_namespace(relation);
        its != pg_sys::InvalidOid && its == pg_sys::get_namespace_oid(schema.as_ptr(), true)
    }
}

/// Is it a member of the extension of this name?
pub fn belongs_to(relation: pg_sys::Oid, extension: &CStr) -> bool {
    // SAFETY: catalogue look-ups by a terminated name.
    unsafe {
        let extension = pg_sys::get_extension_oid(extension.as_ptr(), true);
        extension != pg_sys::InvalidOid
            && pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relation) == extension
    }
}

pub fn is_view(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up.
    unsafe { pg_sys::get_rel_relkind(relation) as u8 == pg_sys::RELKIND_VIEW }
}

/// Has the table a row, as of the last commit of anybody? Spares the planner, which a new session would have to warm up. Not in
/// parallel mode.
pub fn has_rows(table: pg_sys::Oid) -> bool {
    // SAFETY: the snapshot is active while the table is read; an error gives it back.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let scan = Scan::all(table).seen_by(pg_sys::GetActiveSnapshot());
        let found = scan.first(|_| ()).is_some();
        pg_sys::PopActiveSnapshot();
        found
    }
}
