//! SQL run by the extension itself: all of it with settings pinned, so that no name in it is looked for in the path of whoever calls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
pub use pgrx::spi::SpiResult;
use serde::de::DeserializeOwned;

use super::acl::Acl;
use super::arguments::Text;
use super::{identity, text};

thread_local! {
    /// Plans of [`facts`] and [`write`], by their statement.
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// Runs statements that return nothing.
pub fn execute(sql: &str) -> SpiResult<()> {
    let text = text::written(sql).unwrap_or_default();
    on_own_terms(|| {
        Spi::connect_mut(|_connected| {
            // SAFETY: SPI is connected; a terminated string.
            let status = unsafe { pg_sys::SPI_execute(text.as_ptr(), false, 0) };
            Spi::check_status(status).map(|_| ())
        })
    })
}

/// A row of a result.
pub struct Row<'a>(SpiHeapTupleData<'a>);

impl Row<'_> {
    /// A column by its number, from 1; `None` when it is NULL.
    pub fn get<T: Column>(&self, number: usize) -> SpiResult<Option<T>> {
        T::read(&self.0, number)
    }
}

/// What a column is read as. Not pgrx's own reading of strings (see [`Text`]).
pub trait Column: Sized {
    fn read(row: &SpiHeapTupleData<'_>, number: usize) -> SpiResult<Option<Self>>;
}

macro_rules! column {
    ($($type:ty),*) => {
        $(impl Column for $type {
            fn read(row: &SpiHeapTupleData<'_>, number: usize) -> SpiResult<Option<Self>> {
                row.get(number)
            }
        })*
    };
}

column!(bool, i16, i32, i64, pg_sys::Oid, TimestampWithTimeZone, Acl);

impl Column for String {
    fn read(row: &SpiHeapTupleData<'_>, number: usize) -> SpiResult<Option<Self>> {
        Ok(row.get::<Text>(number)?.map(|text| text.0))
    }
}

impl Column for Vec<String> {
    /// Without NULLs.
    fn read(row: &SpiHeapTupleData<'_>, number: usize) -> SpiResult<Option<Self>> {
        let all = row.get::<Vec<Option<Text>>>(number)?;
        Ok(all.map(|all| all.into_iter().flatten().map(|text| text.0).collect()))
    }
}

/// Where the caller's settings are still those that count, they are pinned.
fn on_own_terms<R>(work: impl FnOnce() -> R) -> R {
    if identity::is_own_work() {
        work()
    } else {
        identity::pinned(work)
    }
}

/// Runs a statement and maps each row that it returns. Sees the transaction's own changes, and what
/// others have committed by now, whatever the transaction's isolation level.
pub fn query<R>(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    row: impl FnMut(Row<'_>) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    mapped(sql, arguments, false, row)
}

/// The same of a query that changes nothing, also on a standby.
pub fn read<R>(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    row: impl FnMut(Row<'_>) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    mapped(sql, arguments, true, row)
}

/// SPI's own calls take the transaction's snapshot, which says nothing about who has been granted
/// or revoked what since REPEATABLE READ took it.
fn mapped<R>(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    read_only: bool,
    mut row: impl FnMut(Row<'_>) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    let mut rows = Vec::new();
    for_each(sql, arguments, read_only, &mut |found| {
        rows.push(row(found)?);
        Ok(())
    })?;
    Ok(rows)
}

/// Not generic: the code around SPI is large and there once.
fn for_each(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    read_only: bool,
    row: &mut dyn FnMut(Row<'_>) -> SpiResult<()>,
) -> SpiResult<()> {
    let text = text::written(sql).unwrap_or_default();
    let count = i32::try_from(arguments.len()).unwrap_or(0);
    let mut types: Vec<pg_sys::Oid> = arguments.iter().map(DatumWithOid::oid).collect();
    let (mut values, nulls): (Vec<pg_sys::Datum>, Vec<std::ffi::c_char>) = arguments
        .iter()
        .map(|argument| match argument.datum() {
            Some(datum) => {
                let datum = datum.sans_lifetime();
                let rewritten = (argument.oid() == pg_sys::TEXTOID).then(|| text::rewritten(datum));
                (
                    rewritten.flatten().unwrap_or(datum),
                    b' ' as std::ffi::c_char,
                )
            }
            None => (pg_sys::Datum::null(), b'n' as std::ffi::c_char),
        })
        .unzip();
    let run = |_connected: &mut pgrx::spi::SpiClient<'_>| {
        // SAFETY: SPI is connected until the closure returns, or an error's abort disconnects it and
        // pops the snapshot; arrays are of `count` elements; rows are mapped before SPI frees them.
        unsafe {
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            let plan = pg_sys::SPI_prepare(text.as_ptr(), count, types.as_mut_ptr());
            let status = if plan.is_null() {
                pg_sys::SPI_result
            } else {
                // SPI makes a copy of the snapshot that sees the transaction's own changes.
                pg_sys::SPI_execute_snapshot(
                    plan,
                    values.as_mut_ptr(),
                    nulls.as_ptr(),
                    pg_sys::GetActiveSnapshot(),
                    std::ptr::null_mut(),
                    read_only,
                    true,
                    0,
                )
            };
            pg_sys::PopActiveSnapshot();
            Spi::check_status(status)?;
            let table = pg_sys::SPI_tuptable;
            let count = if table.is_null() {
                0
            } else {
                pg_sys::SPI_processed as usize
            };
            for place in 0..count {
                let found = SpiHeapTupleData::new((*table).tupdesc, *(*table).vals.add(place))?;
                found.map_or(Ok(()), |found| row(Row(found)))?;
            }
            Ok(())
        }
    };
    on_own_terms(|| Spi::connect_mut(run))
}

/// An identifier, quoted where it needs to be, whatever `quote_all_identifiers` says.
pub fn identifier(name: &str) -> String {
    // SAFETY: a backend global, put back at once: nothing in between looks at it but the quoting, which fails only without memory.
    unsafe {
        let all = pg_sys::quote_all_identifiers;
        pg_sys::quote_all_identifiers = false;
        let quoted = pgrx::spi::quote_identifier(name);
        pg_sys::quote_all_identifiers = all;
        quoted
    }
}

/// A string literal, quoted.
pub fn literal(text: &str) -> String {
    pgrx::spi::quote_literal(text)
}

/// The rows of a query of one column of JSON, as the last commit of anybody left them, whatever the
/// transaction's isolation level. Arguments are text. The plan is kept; not inside parallel workers.
pub fn facts<T: DeserializeOwned>(
    sql: &'static str,
    arguments: &[&str],
) -> Result<Vec<T>, serde_json::Error> {
    let arguments: Vec<Option<&str>> = arguments.iter().map(|&text| Some(text)).collect();
    let rows = with_latest(&arguments, &mut |types, values, nulls| {
        // SAFETY: SPI is connected.
        unsafe {
            let plan = kept_plan(sql, types);
            pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), true, 0);
        }
    });
    rows.iter().map(|row| serde_json::from_str(row)).collect()
}

/// Runs a statement that changes rows as the last commit of anybody left them, whatever the
/// transaction's isolation level: a lock keeps others from changing the same ones. Arguments are
/// text. The plan is kept.
pub fn write(sql: &'static str, arguments: &[&str]) -> SpiResult<()> {
    let arguments: Vec<Option<&str>> = arguments.iter().map(|&text| Some(text)).collect();
    let mut status = 0;
    with_latest(&arguments, &mut |types, values, nulls| {
        // SAFETY: SPI is connected; the snapshot is the active one, of which SPI makes a copy that
        // sees the transaction's own changes.
        unsafe {
            let plan = kept_plan(sql, types);
            status = pg_sys::SPI_execute_snapshot(
                plan,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                pg_sys::GetActiveSnapshot(),
                std::ptr::null_mut(),
                false,
                true,
                0,
            );
        }
    });
    Spi::check_status(status).map(|_| ())
}

/// # Safety
/// SPI is connected.
unsafe fn kept_plan(sql: &'static str, types: &mut [pg_sys::Oid]) -> pg_sys::SPIPlanPtr {
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(sql).copied()) {
        return plan;
    }
    let text = text::written(sql).unwrap_or_default();
    let count = i32::try_from(types.len()).unwrap_or(0);
    // SAFETY: by contract; a kept plan stays for as long as the backend.
    unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), count, types.as_mut_ptr());
        pg_sys::SPI_keepplan(plan);
        PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
        plan
    }
}

/// The first column, as text, of a query that sees the last commit of anybody, whatever the
/// transaction's isolation level. Arguments are text. Not inside parallel workers.
pub fn latest(sql: &str, arguments: &[Option<&str>]) -> Vec<String> {
    let sql = text::written(sql).unwrap_or_default();
    with_latest(arguments, &mut |types, values, nulls| {
        // SAFETY: SPI is connected; read_only: runs with the snapshot that was just pushed.
        unsafe {
            pg_sys::SPI_execute_with_args(
                sql.as_ptr(),
                i32::try_from(values.len()).unwrap_or(0),
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
                true,
                0,
            );
        }
    })
}

/// Runs a query with types, values and nulls of its arguments.
type Run<'a> = dyn FnMut(&mut Vec<pg_sys::Oid>, &mut Vec<pg_sys::Datum>, &[std::ffi::c_char]) + 'a;

/// Connects SPI with the latest snapshot, has the query run, and copies its first column.
fn with_latest(arguments: &[Option<&str>], run: &mut Run<'_>) -> Vec<String> {
    on_own_terms(|| with_latest_pinned(arguments, run))
}

fn with_latest_pinned(arguments: &[Option<&str>], run: &mut Run<'_>) -> Vec<String> {
    // Texts without NUL: they come from PostgreSQL or from verified JSON.
    let texts: Vec<Option<CString>> = arguments
        .iter()
        .map(|text| text.and_then(|text| text::written(text).ok()))
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
        run(&mut types, &mut values, &nulls);
        let table = pg_sys::SPI_tuptable;
        if !table.is_null() {
            for row in 0..pg_sys::SPI_processed as usize {
                let value = pg_sys::SPI_getvalue(*(*table).vals.add(row), (*table).tupdesc, 1);
                if !value.is_null() {
                    rows.push(text::read(CStr::from_ptr(value)).into_owned());
                }
            }
        }
        pg_sys::SPI_finish();
        pg_sys::PopActiveSnapshot();
    }
    rows
}
