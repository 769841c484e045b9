//! SQL run by the extension itself.

use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{SpiHeapTupleData, SpiResult};

/// Runs statements that return nothing.
pub fn execute(sql: &str) -> SpiResult<()> {
    Spi::connect_mut(|client| client.update(sql, None, &[]).map(|_| ()))
}

/// Runs a query and maps each row. Sees the transaction's own changes.
pub fn query<R>(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    mut row: impl FnMut(SpiHeapTupleData<'_>) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    Spi::connect_mut(|client| client.update(sql, None, arguments)?.map(&mut row).collect())
}

/// An identifier, quoted where it needs to be.
pub fn identifier(name: &str) -> String {
    pgrx::spi::quote_identifier(name)
}

/// `schema.object`, both quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    pgrx::spi::quote_qualified_identifier(schema, name)
}

/// A string literal, quoted.
pub fn literal(text: &str) -> String {
    pgrx::spi::quote_literal(text)
}

/// The first column, as text, of a query that sees the last commit of anybody, whatever the
/// transaction's isolation level. Arguments are text. Not inside parallel workers.
pub fn latest(sql: &str, arguments: &[Option<&str>]) -> Vec<String> {
    let sql = CString::new(sql).unwrap_or_default();
    // Texts without NUL: they come from PostgreSQL or from verified JSON.
    let texts: Vec<Option<CString>> = arguments
        .iter()
        .map(|text| text.and_then(|text| CString::new(text).ok()))
        .collect();
    let mut rows = Vec::new();
    // SAFETY: SPI is connected and finished here, or by the abort after an error; the snapshot is
    // popped in the same way; values are copied before SPI frees them.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        pg_sys::SPI_connect();
        let mut types = vec![pg_sys::TEXTOID; texts.len()];
        let mut values: Vec<pg_sys::Datum> = texts
            .iter()
            .map(|text| match text {
                Some(text) => pg_sys::Datum::from(pg_sys::cstring_to_text(text.as_ptr())),
                None => pg_sys::Datum::null(),
            })
            .collect();
        let nulls: Vec<std::ffi::c_char> = texts
            .iter()
            .map(|text| if text.is_some() { b' ' } else { b'n' } as std::ffi::c_char)
            .collect();
        // read_only: runs with the snapshot that was just pushed.
        pg_sys::SPI_execute_with_args(
            sql.as_ptr(),
            i32::try_from(texts.len()).unwrap_or(0),
            types.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_ptr(),
            true,
            0,
        );
        let table = pg_sys::SPI_tuptable;
        if !table.is_null() {
            for row in 0..pg_sys::SPI_processed as usize {
                let value = pg_sys::SPI_getvalue(*(*table).vals.add(row), (*table).tupdesc, 1);
                if !value.is_null() {
                    rows.push(CStr::from_ptr(value).to_string_lossy().into_owned());
                }
            }
        }
        pg_sys::SPI_finish();
        pg_sys::PopActiveSnapshot();
    }
    rows
}
