//! The extension's own tables in this database. Where it is not installed, what has their names is
//! somebody else's, and reading it with elevated rights would run what its owner likes.

use std::ffi::CStr;

use pgrx::pg_sys;

/// The table `scope.name`, if it belongs to the extension. Inside a transaction.
pub fn find(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: catalogue look-ups inside a transaction, by terminated names.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"scope".as_ptr(), true);
        let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            return None;
        }
        let extension = pg_sys::get_extension_oid(c"scope_roles".as_ptr(), true);
        let owner = pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, table);
        (extension != pg_sys::InvalidOid && owner == extension).then_some(table)
    }
}

/// Is this one of them, or one of the views? For most a look into the cache.
pub fn is_own(relation: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction, by terminated names.
    unsafe {
        let schema = pg_sys::get_rel_namespace(relation);
        if schema == pg_sys::InvalidOid
            || schema != pg_sys::get_namespace_oid(c"scope".as_ptr(), true)
        {
            return false;
        }
        let extension = pg_sys::get_extension_oid(c"scope_roles".as_ptr(), true);
        let owner = pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relation);
        extension != pg_sys::InvalidOid && owner == extension
    }
}

/// Is there such a table, with a row in it, as of the last commit of anybody? Spares the planner,
/// which a new session would have to warm up. Not in parallel mode.
pub fn has_rows(name: &CStr) -> bool {
    let Some(table) = find(name) else {
        return false;
    };
    // SAFETY: a relation of ours, locked while it is read; the snapshot is active meanwhile. An error
    // gives all of it back.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            pg_sys::GetActiveSnapshot(),
            0,
            std::ptr::null_mut(),
        );
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        pg_sys::PopActiveSnapshot();
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    }
}
