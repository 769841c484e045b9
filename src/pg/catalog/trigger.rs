//! Triggers, and the foreign keys that cascade.

use pgrx::pg_sys;

use crate::pg::identity;

use super::{each_row, has_privileges_of, oid_key};

/// Does the current user own the relation, as owner or as an heir of the owner? True when there is
/// none, which PostgreSQL will say itself.
///
/// # Safety
/// A valid range variable, inside a transaction.
pub unsafe fn owns(name: *mut pg_sys::RangeVar) -> bool {
    // SAFETY: by contract; the tuple is released after the owner is copied.
    unsafe {
        let relation = pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        is_owned_by(identity::current_user(), relation)
    }
}

/// A trigger: what the lock must know of it.
pub struct Trigger {
    pub table: pg_sys::Oid,
    /// The other table of a foreign key.
    other: pg_sys::Oid,
    /// PostgreSQL has made it for a constraint.
    is_internal: bool,
    is_after: bool,
    function: pg_sys::Oid,
    /// That its constraint has.
    index: pg_sys::Oid,
}

/// What changes the referencing table when the referenced one changes (pg_proc.dat).
const CASCADES: [u32; 6] = [
    pg_sys::F_RI_FKEY_CASCADE_DEL,
    pg_sys::F_RI_FKEY_CASCADE_UPD,
    pg_sys::F_RI_FKEY_SETNULL_DEL,
    pg_sys::F_RI_FKEY_SETNULL_UPD,
    pg_sys::F_RI_FKEY_SETDEFAULT_DEL,
    pg_sys::F_RI_FKEY_SETDEFAULT_UPD,
];

impl Trigger {
    /// # Safety
    /// A row of pg_trigger.
    unsafe fn read(tuple: pg_sys::HeapTuple) -> Self {
        // SAFETY: by contract.
        let form = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_trigger>() };
        // Neither BEFORE nor INSTEAD OF (pg_trigger.h).
        let timing = pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSTEAD;
        Self {
            table: form.tgrelid,
            other: form.tgconstrrelid,
            is_internal: form.tgisinternal,
            is_after: form.tgtype as u32 & timing == 0,
            function: form.tgfoid,
            index: form.tgconstrindid,
        }
    }

    /// Does the current user own its table? True of PostgreSQL's own triggers.
    pub fn is_own(&self) -> bool {
        self.is_internal || is_owned_by(identity::current_user(), self.table)
    }

    /// Does it run code of the table's owner after the change? PostgreSQL's own do when they check an
    /// index over expressions again.
    pub fn runs_code_after(&self) -> bool {
        self.is_after && !self.is_internal
            || self.function == pg_sys::F_UNIQUE_KEY_RECHECK.into()
                && is_over_expressions(self.index)
    }

    /// Is it one of a foreign key that takes changes from a table of others into one of the role's?
    pub fn cascades_into_tables_of(&self, role: pg_sys::Oid) -> bool {
        self.is_internal
            && CASCADES.contains(&self.function.to_u32())
            && !is_owned_by(role, self.table)
            && is_owned_by(role, self.other)
    }
}

/// One that was just made.
pub fn new_trigger(trigger: pg_sys::Oid) -> Option<Trigger> {
    let (table, index) = (pg_sys::TriggerRelationId, pg_sys::TriggerOidIndexId.into());
    // SAFETY: inside a transaction; the row is one of that table.
    unsafe {
        new_row(
            (table, index, pg_sys::Anum_pg_trigger_oid),
            trigger,
            |tuple, _| Trigger::read(tuple),
        )
    }
}

/// Is there a foreign key that takes changes from tables of others into the role's?
pub fn others_cascade_into_tables_of(role: pg_sys::Oid) -> bool {
    let mut found = false;
    each_row(pg_sys::TriggerRelationId, &mut |tuple, _| {
        // SAFETY: a row of that table.
        found = found || unsafe { Trigger::read(tuple) }.cascades_into_tables_of(role);
    });
    found
}

fn is_over_expressions(index: pg_sys::Oid) -> bool {
    let (table, by) = (pg_sys::IndexRelationId, pg_sys::IndexRelidIndexId.into());
    // SAFETY: inside a transaction; a column of that table.
    let without = unsafe {
        new_row(
            (table, by, pg_sys::Anum_pg_index_indexrelid),
            index,
            |tuple, columns| {
                pg_sys::heap_attisnull(tuple, pg_sys::Anum_pg_index_indexprs as i32, columns)
            },
        )
    };
    without != Some(true)
}

/// Looks at a row that may have just been written, by its OID: only this kind of snapshot sees it.
///
/// # Safety
/// Inside a transaction; a catalogue, an index of it and the column that the index is on. `look` must
/// not keep the row.
pub(super) unsafe fn new_row<R>(
    (table, index, column): (pg_sys::Oid, pg_sys::Oid, u32),
    object: pg_sys::Oid,
    look: impl FnOnce(pg_sys::HeapTuple, pg_sys::TupleDesc) -> R,
) -> Option<R> {
    // SAFETY: by contract; what was opened is closed.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let mut key = oid_key(column, object);
        let scan = pg_sys::systable_beginscan(
            relation,
            index,
            true,
            &raw mut pg_sys::SnapshotSelfData,
            1,
            &mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let found = (!tuple.is_null()).then(|| look(tuple, (*relation).rd_att));
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    }
}

/// Does the role own the relation, or inherit from its owner? True when there is none.
fn is_owned_by(role: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    // SAFETY: inside a transaction; the tuple is released after the owner is copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relation),
        );
        if tuple.is_null() {
            return true;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        has_privileges_of(role, owner)
    }
}
