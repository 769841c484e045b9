//! SQL run by the extension itself: all of it with settings pinned, so that no name in it is looked for in the path of whoever calls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_char;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
pub use pgrx::spi::SpiResult;
use serde::de::DeserializeOwned;

use super::acl::Acl;
use super::arguments::Text;
use super::{identity, text, xact};

thread_local! {
    /// Those that are kept, by their statement.
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

column!(
    bool,
    i16,
    i32,
    i64,
    pg_sys::Oid,
    TimestampWithTimeZone,
    Vec<u8>,
    Acl
);

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

fn mapped<R>(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    read_only: bool,
    mut row: impl FnMut(Row<'_>) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    let mut rows = Vec::new();
    run(
        Plan::Once(sql),
        arguments,
        read_only,
        &mut |description, tuple| {
            // SAFETY: a row of the result, and its description.
            if let Some(found) = unsafe { SpiHeapTupleData::new(description, tuple) }? {
                rows.push(row(Row(found))?);
            }
            Ok(())
        },
    )?;
    Ok(rows)
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

/// A list of literals, as SQL writes it.
pub fn array(items: &[String]) -> String {
    if items.is_empty() {
        return "'{}'".to_owned();
    }
    let items: Vec<String> = items.iter().map(|item| literal(item)).collect();
    format!("ARRAY[{}]", items.join(", "))
}

/// The rows of a query of one column of JSON, as the last commit of anybody left them, whatever the
/// transaction's isolation level. Arguments are text. The plan is kept; not inside parallel workers.
pub fn facts<T: DeserializeOwned>(
    sql: &'static str,
    arguments: &[&str],
) -> Result<Vec<T>, serde_json::Error> {
    let rows = first_column(Plan::Kept(sql), arguments.iter().map(|&text| Some(text)));
    rows.iter().map(|row| serde_json::from_str(row)).collect()
}

/// The first column, as text, of a query that sees the last commit of anybody, whatever the
/// transaction's isolation level. Arguments are text. Not inside parallel workers.
pub fn latest(sql: &str, arguments: &[Option<&str>]) -> Vec<String> {
    first_column(Plan::Once(sql), arguments.iter().copied())
}

/// Runs a statement that changes rows as the last commit of anybody left them, whatever the
/// transaction's isolation level: a lock keeps others from changing the same ones. Arguments are
/// text. The plan is kept.
pub fn write(sql: &'static str, arguments: &[&str]) -> SpiResult<()> {
    let arguments: Vec<_> = arguments.iter().map(|&text| argument(Some(text))).collect();
    run(Plan::Kept(sql), &arguments, false, &mut |_, _| Ok(())).map(drop)
}

pub(super) fn argument(text: Option<&str>) -> DatumWithOid<'static> {
    text.map(|text| Text(text.to_owned())).into()
}

fn first_column<'a>(
    plan: Plan<'_>,
    arguments: impl Iterator<Item = Option<&'a str>>,
) -> Vec<String> {
    let arguments: Vec<_> = arguments.map(argument).collect();
    let mut rows = Vec::new();
    let done = run(plan, &arguments, true, &mut |description, tuple| {
        // SAFETY: a row of the result, and its description; NULL, or a terminated copy, which goes with SPI's memory.
        let value = unsafe { text::bytes(pg_sys::SPI_getvalue(tuple, description, 1)) };
        rows.extend(value.map(|value| text::of(value).into_owned()));
        Ok(())
    });
    xact::raised(done);
    rows
}

/// Runs a statement that somebody else has given, and says how many rows it has returned or changed.
pub(super) fn counted(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    look: &mut Look<'_>,
) -> SpiResult<u64> {
    run(Plan::Given(sql), arguments, false, look)
}

/// The same, analysed and not run; its parameters are text. `look` gets the plan, or NULL.
pub(super) fn analysed<R>(
    sql: &str,
    parameters: usize,
    look: impl FnOnce(pg_sys::SPIPlanPtr) -> R,
) -> R {
    let mut types = vec![pg_sys::TEXTOID; parameters];
    on_own_terms(|| {
        Spi::connect_mut(|_connected| {
            // SAFETY: SPI is connected, whose memory holds the plan until it is left.
            look(unsafe { Plan::Given(sql).ready(&mut types) })
        })
    })
}

/// One that is made for this run, or that stays for as long as the backend.
enum Plan<'a> {
    Once(&'a str),
    Kept(&'static str),
    /// Once, and nothing runs while the text is analysed.
    Given(&'a str),
}

/// Is a text being analysed that somebody else has given? Backend-local.
static ANALYSING_GIVEN: AtomicBool = AtomicBool::new(false);

/// Literals become values while a text is analysed, by the checks of domains in their types, too: then no function of an expression may run.
#[inline]
pub fn is_analysing_given() -> bool {
    ANALYSING_GIVEN.load(Ordering::Relaxed)
}

/// Until it is dropped, by an error as well.
struct AnalysingGiven;

impl AnalysingGiven {
    fn begin() -> Self {
        ANALYSING_GIVEN.store(true, Ordering::Relaxed);
        AnalysingGiven
    }
}

impl Drop for AnalysingGiven {
    fn drop(&mut self) {
        ANALYSING_GIVEN.store(false, Ordering::Relaxed);
    }
}

impl Plan<'_> {
    /// # Safety
    /// SPI is connected.
    unsafe fn ready(&self, types: &mut [pg_sys::Oid]) -> pg_sys::SPIPlanPtr {
        let (Plan::Once(sql) | Plan::Kept(sql) | Plan::Given(sql)) = *self;
        let kept = || PLANS.with_borrow(|plans| plans.get(sql).copied());
        if let Plan::Kept(_) = self
            && let Some(plan) = kept()
        {
            return plan;
        }
        let text = text::written(sql).unwrap_or_default();
        let count = i32::try_from(types.len()).unwrap_or(0);
        let _analysing = matches!(self, Plan::Given(_)).then(AnalysingGiven::begin);
        // SAFETY: by contract.
        unsafe {
            let plan = pg_sys::SPI_prepare(text.as_ptr(), count, types.as_mut_ptr());
            if let Plan::Kept(sql) = *self
                && !plan.is_null()
            {
                pg_sys::SPI_keepplan(plan);
                PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
            }
            plan
        }
    }
}

/// What is done with each row of a result.
pub(super) type Look<'a> = dyn FnMut(pg_sys::TupleDesc, pg_sys::HeapTuple) -> SpiResult<()> + 'a;

/// SPI's own calls take the transaction's snapshot, which says nothing about who has been granted or revoked what since REPEATABLE READ
/// took it. Not generic: the code around SPI is large and there once.
fn run(
    plan: Plan<'_>,
    arguments: &[DatumWithOid<'_>],
    read_only: bool,
    look: &mut Look<'_>,
) -> SpiResult<u64> {
    let mut types: Vec<pg_sys::Oid> = arguments.iter().map(DatumWithOid::oid).collect();
    let (mut values, nulls): (Vec<pg_sys::Datum>, Vec<c_char>) = arguments
        .iter()
        .map(|argument| match argument.datum() {
            Some(datum) => {
                let datum = datum.sans_lifetime();
                let rewritten = (argument.oid() == pg_sys::TEXTOID).then(|| text::rewritten(datum));
                (rewritten.flatten().unwrap_or(datum), b' ' as c_char)
            }
            None => (pg_sys::Datum::null(), b'n' as c_char),
        })
        .unzip();
    let work = |_connected: &mut pgrx::spi::SpiClient<'_>| {
        // SAFETY: SPI is connected until the closure returns, or an error's abort disconnects it and
        // pops the snapshot; the arrays have an element for each argument; rows are looked at before SPI frees them.
        unsafe {
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            let plan = plan.ready(&mut types);
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
            // pgrx panics at a success that it does not know, of MERGE with RETURNING.
            if status < 0 {
                Spi::check_status(status)?;
            }
            let processed = pg_sys::SPI_processed;
            let table = pg_sys::SPI_tuptable;
            if !table.is_null() {
                for place in 0..processed as usize {
                    look((*table).tupdesc, *(*table).vals.add(place))?;
                }
            }
            Ok(processed)
        }
    };
    on_own_terms(|| Spi::connect_mut(work))
}
