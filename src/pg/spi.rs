//! SQL run by the extension itself.

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
