//! Rows of catalogues: by a scan (access/genam.h), or from a cache (utils/syscache.h). Inside a transaction.

use std::ptr::null_mut;

use pgrx::pg_sys;

/// The rows of a catalogue, or those whose columns hold these OIDs, by an index on the columns.
pub(super) struct Scan<const KEYS: usize> {
    catalogue: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: [pg_sys::ScanKeyData; KEYS],
    lock: i32,
    snapshot: pg_sys::Snapshot,
}

impl Scan<0> {
    pub fn all(catalogue: pg_sys::Oid) -> Self {
        Self::by(catalogue, 0, [])
    }
}

impl<const KEYS: usize> Scan<KEYS> {
    pub fn by(catalogue: pg_sys::Oid, index: u32, columns: [(u32, pg_sys::Oid); KEYS]) -> Self {
        Self {
            catalogue,
            index: index.into(),
            keys: columns.map(|(column, value)| oid_key(column, value)),
            lock: pg_sys::AccessShareLock as i32,
            snapshot: null_mut(),
        }
    }

    /// With the lock of whoever changes rows.
    pub fn changing(self) -> Self {
        Self {
            lock: pg_sys::RowExclusiveLock as i32,
            ..self
        }
    }

    /// Of another snapshot than that of the catalogues.
    pub fn seen_by(self, snapshot: pg_sys::Snapshot) -> Self {
        Self { snapshot, ..self }
    }

    /// Looks at row after row for as long as it is told to.
    pub fn each(mut self, mut look: impl FnMut(&Row) -> bool) {
        self.run(&mut look);
    }

    /// There once, whoever looks.
    fn run(&mut self, look: &mut dyn FnMut(&Row) -> bool) {
        // SAFETY: inside a transaction; a row is valid until the scan goes on; what was opened is closed. Before a process has read the
        // indexes of the shared catalogues, it does without.
        unsafe {
            let by_index = self.index != pg_sys::InvalidOid && pg_sys::criticalSharedRelcachesBuilt;
            let relation = pg_sys::table_open(self.catalogue, self.lock);
            let scan = pg_sys::systable_beginscan(
                relation,
                self.index,
                by_index,
                self.snapshot,
                KEYS as i32,
                self.keys.as_mut_ptr(),
            );
            loop {
                let tuple = pg_sys::systable_getnext(scan);
                if tuple.is_null() || !look(&Row { relation, tuple }) {
                    break;
                }
                if KEYS == 0 {
                    pgrx::check_for_interrupts!();
                }
            }
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(relation, self.lock);
        }
    }

    /// Looks at the first row, if there is one.
    pub fn first<R>(self, look: impl FnOnce(&Row) -> R) -> Option<R> {
        let (mut look, mut found) = (Some(look), None);
        self.each(|row| {
            found = look.take().map(|look| look(row));
            false
        });
        found
    }
}

/// A row of a running scan.
pub(super) struct Row {
    pub relation: pg_sys::Relation,
    pub tuple: pg_sys::HeapTuple,
}

impl Row {
    /// A column by its number; `None` when it is null.
    pub fn column(&self, number: u32) -> Option<pg_sys::Datum> {
        let mut is_null = false;
        // SAFETY: a row of a running scan, and its relation's description.
        let datum = unsafe {
            pg_sys::heap_getattr(
                self.tuple,
                number as i32,
                (*self.relation).rd_att,
                &mut is_null,
            )
        };
        (!is_null).then_some(datum)
    }

    /// The columns of fixed size.
    ///
    /// # Safety
    /// The catalogue's own struct.
    pub unsafe fn fixed<T>(&self) -> &T {
        // SAFETY: by contract.
        unsafe { &*pg_sys::GETSTRUCT(self.tuple).cast() }
    }

    /// Gives a column another value.
    ///
    /// # Safety
    /// One of the column's type; in a scan [`Scan::changing`].
    pub unsafe fn change(&self, column: u32, value: pg_sys::Datum) {
        let (mut column, mut value, mut is_null) = (column as i32, value, false);
        // SAFETY: by contract; the new row is formed by the catalogue's own description.
        unsafe {
            let new = pg_sys::heap_modify_tuple_by_cols(
                self.tuple,
                (*self.relation).rd_att,
                1,
                &raw mut column,
                &raw mut value,
                &raw mut is_null,
            );
            pg_sys::CatalogTupleUpdate(self.relation, &raw mut (*self.tuple).t_self, new);
        }
    }
}

/// The condition that a column holds this OID.
fn oid_key(column: u32, value: pg_sys::Oid) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: a record to be filled in; the operator and the value are of OIDs.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut key,
            column as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from(value),
        );
    }
    key
}

/// Looks at a row of a cache, and at its columns of fixed size; `None` when there is none.
///
/// # Safety
/// A cache of one key, which is of its type, and the struct of its catalogue.
pub(super) unsafe fn cached<T, R>(
    cache: pg_sys::SysCacheIdentifier::Type,
    key: impl Into<pg_sys::Datum>,
    look: impl FnOnce(pg_sys::HeapTuple, &T) -> R,
) -> Option<R> {
    // SAFETY: by contract; the row is released after the last look at it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache as i32, key.into());
        if tuple.is_null() {
            return None;
        }
        let found = look(tuple, &*pg_sys::GETSTRUCT(tuple).cast());
        pg_sys::ReleaseSysCache(tuple);
        Some(found)
    }
}
