//! Triggers, and the foreign keys that cascade.

use pgrx::pg_sys;

use crate::pg::scan::{Row, Scan};

/// A row of pg_trigger.
pub struct Trigger {
    pub table: pg_sys::Oid,
    /// The other table of a foreign key.
    pub other: pg_sys::Oid,
    /// PostgreSQL has made it for a constraint.
    pub is_internal: bool,
    pub is_after: bool,
    pub function: pg_sys::Oid,
    /// That its constraint has.
    pub index: pg_sys::Oid,
}

impl Trigger {
    fn read(row: &Row) -> Self {
        // SAFETY: called with rows of pg_trigger.
        let form: &pg_sys::FormData_pg_trigger = unsafe { row.fixed() };
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
}

/// One that was just made.
pub fn new_trigger(trigger: pg_sys::Oid) -> Option<Trigger> {
    new_row(
        pg_sys::TriggerRelationId,
        pg_sys::TriggerOidIndexId,
        (pg_sys::Anum_pg_trigger_oid, trigger),
    )
    .first(Trigger::read)
}

/// Is there such a one?
pub fn any_trigger(is_such: impl Fn(&Trigger) -> bool) -> bool {
    let mut found = false;
    Scan::all(pg_sys::TriggerRelationId).each(|row| {
        found = is_such(&Trigger::read(row));
        !found
    });
    found
}

/// True also when it is not to be found.
pub fn is_over_expressions(index: pg_sys::Oid) -> bool {
    let row = new_row(
        pg_sys::IndexRelationId,
        pg_sys::IndexRelidIndexId,
        (pg_sys::Anum_pg_index_indexrelid, index),
    );
    row.first(|row| row.column(pg_sys::Anum_pg_index_indexprs).is_some()) != Some(false)
}

/// A row that may have just been written, by its OID: only this kind of snapshot sees it.
pub(super) fn new_row(catalogue: pg_sys::Oid, index: u32, oid: (u32, pg_sys::Oid)) -> Scan<1> {
    Scan::by(catalogue, index, [oid]).seen_by(&raw mut pg_sys::SnapshotSelfData)
}
