//! COPY of a table, as COPY of a query.

use std::ffi::{CString, c_void};
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::hooks::compat;
use crate::pg::list::elements;
use crate::pg::{identity, spi, text, xact};

/// The same COPY, of a query that reads the table: its rows can be counted before they are sent. As
/// PostgreSQL itself does for tables with row-level security. The statement as it was when the
/// table is not one that COPY reads.
///
/// # Safety
/// A COPY of a table, inside a transaction.
#[pg_guard]
pub unsafe extern "C-unwind" fn by_query(
    statement: *mut pg_sys::PlannedStmt,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: a valid statement; changes are made in a copy, which lives as long as the memory
    // context of the statement.
    unsafe {
        let copy = (*statement).utilityStmt.cast::<pg_sys::CopyStmt>();
        let relation = pg_sys::RangeVarGetRelidExtended(
            (*copy).relation,
            pg_sys::AccessShareLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            null_mut(),
        );
        let kind = pg_sys::get_rel_relkind(relation) as u8;
        let is_partitioned =
            compat::COPIES_PARTITIONED_TABLES && kind == pg_sys::RELKIND_PARTITIONED_TABLE;
        let is_table = kind == pg_sys::RELKIND_RELATION
            || is_partitioned
            || (compat::COPIES_MATERIALIZED_VIEWS && kind == pg_sys::RELKIND_MATVIEW);
        if relation == pg_sys::InvalidOid || !is_table {
            return statement;
        }
        let columns = compat::names((*copy).attlist).map(|names| {
            let quoted: Vec<String> = names.iter().map(|name| spi::identifier(name)).collect();
            quoted.join(", ")
        });
        let Some(query) = select_of(relation, columns, is_partitioned) else {
            return statement;
        };
        let parsed = pg_sys::raw_parser(query.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let Some(select) = elements(parsed).next() else {
            return statement;
        };
        let select = (*select.cast::<pg_sys::RawStmt>()).stmt;
        let changed =
            pg_sys::copyObjectImpl(statement.cast::<c_void>()).cast::<pg_sys::PlannedStmt>();
        let copy = (*changed).utilityStmt.cast::<pg_sys::CopyStmt>();
        (*copy).relation = null_mut();
        (*copy).attlist = null_mut();
        (*copy).query = select;
        changed
    }
}

/// `SELECT … FROM ONLY …`, of these columns or of all that COPY takes; of a partitioned table with its partitions.
fn select_of(
    relation: pg_sys::Oid,
    columns: Option<String>,
    is_partitioned: bool,
) -> Option<CString> {
    let rows = identity::elevated(|| {
        spi::query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
                    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum)
                       FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND a.attgenerated = '')
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.oid = $1",
            &[relation.into()],
            |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
        )
    });
    let (table, all) = xact::raised(rows).into_iter().next()?;
    let columns = columns.or(all).unwrap_or_default();
    let only = if is_partitioned { "" } else { "ONLY " };
    text::written(&format!("SELECT {columns} FROM {only}{}", table?)).ok()
}
