//! Transactions and subtransactions around a piece of work whose errors are caught.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pgrx::pg_sys;

use super::{raw, statement};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// An error that PostgreSQL or our own code raised inside the work.
#[derive(Debug, Clone)]
pub struct Failure {
    pub code: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Failure {
    fn internal(message: String) -> Self {
        Self {
            code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            message,
            detail: None,
            hint: None,
        }
    }
}

/// Runs `work` in a transaction of its own. For background workers, outside any transaction.
pub fn transaction<R>(work: impl FnOnce() -> R) -> Result<R, Failure> {
    once(work, around_transaction)
}

fn around_transaction(work: &mut dyn FnMut()) -> Result<(), Failure> {
    let result = caught(&mut || {
        // SAFETY: a worker between transactions; committed below, or aborted after an error.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            // Whatever the defaults are: a client chooses its own, and could wait for a safe snapshot.
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
            pg_sys::XactDeferrable = false;
            pg_sys::XactReadOnly = pg_sys::RecoveryInProgress();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        work();
        // SAFETY: ends what was started above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
    });
    if result.is_err() {
        // SAFETY: the error has been copied and cleared by the catch.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    result
}

/// The value, or the error raised: for work whose transaction is to fail with it.
pub fn raised<R>(result: pgrx::spi::SpiResult<R>) -> R {
    match result {
        Ok(value) => value,
        Err(error) => raise(Failure::internal(error.to_string())),
    }
}

/// Runs `work` in a subtransaction: its effects go when it fails.
pub fn subtransaction<R>(work: impl FnOnce() -> R) -> Result<R, Failure> {
    in_subtransaction(work, true, |_| {})
}

/// Runs `work` and undoes it, for its answer alone. An error is raised.
pub fn rehearsed<R>(work: impl FnOnce() -> R) -> R {
    match in_subtransaction(work, false, |_| {}) {
        Ok(value) => value,
        Err(failure) => raise(failure),
    }
}

/// Runs `work` in a subtransaction, and keeps its effects if it succeeds and they are to be kept. `before_undoing` is called inside it.
pub fn in_subtransaction<R>(
    work: impl FnOnce() -> R,
    keep: bool,
    before_undoing: impl FnOnce(&Failure),
) -> Result<R, Failure> {
    let mut before_undoing = Some(before_undoing);
    once(work, |work| {
        around_subtransaction(work, keep, &mut |failure| {
            if let Some(act) = before_undoing.take() {
                act(failure);
            }
        })
    })
}

/// Not generic, as all that catches: the code for it is large and there once.
fn around_subtransaction(
    work: &mut dyn FnMut(),
    keep: bool,
    before_undoing: &mut dyn FnMut(&Failure),
) -> Result<(), Failure> {
    // SAFETY: the pattern of plpgsql's exception blocks: memory context and resource owner are put
    // back after the subtransaction has ended either way.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = context;
        let result = caught(work);
        match &result {
            Ok(()) if keep => pg_sys::ReleaseCurrentSubTransaction(),
            result => {
                pg_sys::CurrentMemoryContext = context;
                if let Err(failure) = result {
                    before_undoing(failure);
                }
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
            }
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Has `run` call the work, once, and gives out what that returns.
fn once<R>(
    work: impl FnOnce() -> R,
    run: impl FnOnce(&mut dyn FnMut()) -> Result<(), Failure>,
) -> Result<R, Failure> {
    let mut work = Some(work);
    let mut value = None;
    run(&mut || value = work.take().map(|work| work()))?;
    value.ok_or_else(|| Failure::internal("work was run twice".to_owned()))
}

/// `deadlock_timeout`, as far as this session knows.
pub fn deadlock_timeout() -> Duration {
    // SAFETY: a plain read of a backend global.
    let timeout = unsafe { pg_sys::DeadlockTimeout };
    Duration::from_millis(timeout.try_into().unwrap_or(1))
}

/// `lock_timeout`: how long the session would wait for a lock; `None`: for ever.
pub fn lock_timeout() -> Option<Duration> {
    // SAFETY: a plain read of a backend global.
    let timeout = unsafe { pg_sys::LockTimeout };
    u64::try_from(timeout)
        .ok()
        .filter(|&timeout| timeout > 0)
        .map(Duration::from_millis)
}

/// Raises an error that was caught.
pub fn raise(failure: Failure) -> ! {
    let mut report = ErrorReport::new(failure.code, failure.message, "scope_roles");
    if let Some(detail) = failure.detail {
        report = report.set_detail(detail);
    }
    if let Some(hint) = failure.hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("reporting at ERROR does not return")
}

fn caught(work: &mut dyn FnMut()) -> Result<(), Failure> {
    PgTryBuilder::new(AssertUnwindSafe(|| {
        work();
        Ok(())
    }))
    .catch_others(|error| Err(failure(&error)))
    .catch_rust_panic(|error| Err(failure(&error)))
    .execute()
}

fn failure(error: &CaughtError) -> Failure {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic {
        ereport: report, ..
    }) = error;
    Failure {
        code: report.sql_error_code(),
        message: report.message().to_owned(),
        detail: report.detail().map(str::to_owned),
        hint: report.hint().map(str::to_owned),
    }
}

/// Is this an autocommitted query, so that what is set for the transaction is gone when it ends?
/// False inside transaction blocks, and in DO and CALL, where more statements follow.
pub fn ends_with_statement() -> bool {
    // SAFETY: reads backend globals; a portal in use is valid.
    unsafe {
        let portal = pg_sys::ActivePortal;
        !raw::IsTransactionBlock()
            && !portal.is_null()
            && (*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_SELECT
    }
}

/// Does the transaction end with this statement, whatever the client does? Then it will. False in a transaction block, also in that of a
/// message with several statements and of a pipeline, in a subtransaction, and where the client has asked for some rows only.
pub fn ends_at_once() -> bool {
    // SAFETY: reads backend globals; outside of a block PostgreSQL takes note that the statement is to be committed, and raises nothing.
    unsafe {
        let pipelined = pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_PIPELINING as i32 != 0;
        if raw::IsTransactionBlock()
            || pg_sys::IsSubTransaction()
            || pipelined
            || !statement::is_run_whole()
        {
            return false;
        }
        pg_sys::PreventInTransactionBlock(true, c"the statement".as_ptr());
    }
    true
}

/// When this transaction began.
pub fn transaction_start() -> i64 {
    // SAFETY: a read of a backend global.
    unsafe { raw::GetCurrentTransactionStartTimestamp() }
}

/// The number of the innermost subtransaction; `None` outside transactions, and while one ends.
pub fn current_subtransaction() -> Option<u32> {
    // SAFETY: reads backend globals.
    unsafe { raw::IsTransactionState().then(|| raw::GetCurrentSubTransactionId()) }
}

/// Inside a transaction that has not failed?
pub fn is_going_on() -> bool {
    // SAFETY: reads a backend global.
    unsafe { raw::IsTransactionState() }
}

/// The transaction's number, if it has one.
pub fn number() -> Option<u64> {
    // SAFETY: reads backend globals.
    let number = unsafe { raw::GetTopFullTransactionIdIfAny() }.value;
    (number != 0).then_some(number)
}

/// On a standby, or in a transaction that may not write.
pub fn is_read_only() -> bool {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::XactReadOnly }
}

/// Is there a cursor, or a statement with results still to be fetched, other than the one running?
pub fn has_open_cursors() -> bool {
    // SAFETY: walks the backend's portals.
    unsafe { !raw::ThereAreNoReadyPortals() }
}

/// Does the transaction go on? Not at its end, whose callbacks call this too. Cannot fail.
pub fn goes_on() -> bool {
    // SAFETY: reads of the transaction's state.
    unsafe { raw::GetCurrentTransactionNestLevel() > 1 || raw::IsTransactionState() }
}

/// Runs the triggers that are deferred to the commit, as SET CONSTRAINTS ALL IMMEDIATE does, errors included.
pub fn fire_deferred() {
    let mut all = pg_sys::ConstraintsSetStmt {
        type_: pg_sys::NodeTag::T_ConstraintsSetStmt,
        constraints: std::ptr::null_mut(),
        deferred: false,
    };
    // SAFETY: inside a transaction, with a valid statement.
    unsafe { pg_sys::AfterTriggerSetState(&mut all) }
}

/// Closes the large objects that the transaction has opened: rights on them were checked then.
pub fn close_large_objects() {
    unsafe extern "C-unwind" {
        // libpq/be-fsstubs.h, which pgrx does not bind.
        fn AtEOXact_LargeObject(commit: bool);
    }
    // SAFETY: it leaves the state of a transaction that has opened none, at any time in it.
    unsafe { AtEOXact_LargeObject(true) }
}

/// In a parallel worker, or in its leader while workers run.
pub fn is_parallel() -> bool {
    // SAFETY: reads backend globals.
    unsafe { raw::IsInParallelMode() }
}
