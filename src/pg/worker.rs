//! Background workers: registration, connection, sleeping.

use std::ffi::{CStr, CString};
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys;

use super::compat;

/// What a worker of this library is called, and the function that it runs.
pub struct Kind {
    pub name: &'static str,
    pub function: &'static str,
}

/// A worker that is started with the server (also on a standby) and again after a crash. In the postmaster.
pub fn register(library: &str, kind: &Kind) {
    builder(library, kind)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// One that is started once, when the server begins to take writes. In the postmaster.
pub fn register_for_writes(library: &str, kind: &Kind) {
    builder(library, kind)
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(None)
        .load();
}

fn builder(library: &str, kind: &Kind) -> BackgroundWorkerBuilder {
    BackgroundWorkerBuilder::new(kind.name)
        .set_type(kind.name)
        .set_library(library)
        .set_function(kind.function)
        .enable_shmem_access(None)
}

/// A worker that was asked for; the postmaster starts it.
pub struct Started {
    handle: *mut pg_sys::BackgroundWorkerHandle,
}

impl Started {
    pub fn has_ended(&self) -> bool {
        let mut pid = 0;
        // SAFETY: the handle is valid until it is freed by Drop.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.handle, &mut pid) };
        status == pg_sys::BgwHandleStatus::BGWH_STOPPED
            || status == pg_sys::BgwHandleStatus::BGWH_POSTMASTER_DIED
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: allocated by RegisterDynamicBackgroundWorker for us, freed once.
        unsafe { pg_sys::pfree(self.handle.cast()) }
    }
}

/// Starts a short-lived worker in `database`; our latch is set when it ends. `None` when no
/// worker slot is free (`max_worker_processes`).
pub fn start_in(library: &str, kind: &Kind, database: pg_sys::Oid) -> Option<Started> {
    // SAFETY: a plain read of a backend global.
    let pid = unsafe { pg_sys::MyProcPid };
    // On a standby, too.
    let worker = builder(library, kind)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_argument(Some(database.into()))
        .set_notify_pid(pid);
    let mut worker = pg_sys::BackgroundWorker::from(&worker);
    let mut handle = std::ptr::null_mut();
    // SAFETY: a complete registration, copied by PostgreSQL. The handle is to outlive transactions.
    unsafe {
        let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let registered = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
        pg_sys::MemoryContextSwitchTo(context);
        // Lazily: without a registration there is no handle to free.
        registered.then(|| Started { handle })
    }
}

/// First thing in a worker: PostgreSQL's own signal handlers, then the connection, as the
/// bootstrap superuser. Without a database only the shared catalogues of `catalog` can be read.
pub fn connect(database: Option<pg_sys::Oid>) {
    compat::install_signal_handlers();
    // SAFETY: called once, at the start of the worker.
    unsafe {
        pg_sys::BackgroundWorkerUnblockSignals();
        match database {
            // Also databases with datallowconn off hold grants that must end.
            Some(database) => pg_sys::BackgroundWorkerInitializeConnectionByOid(
                database,
                pg_sys::InvalidOid,
                pg_sys::BGWORKER_BYPASS_ALLOWCONN,
            ),
            None => {
                pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0)
            }
        }
    }
}

/// Sleeps until the latch is set or the time is over; ends the process when it was asked to end or
/// the postmaster is gone; reads the configuration again when it has changed.
pub fn sleep(time: Duration) {
    let milliseconds = i64::try_from(time.as_millis())
        .unwrap_or(i64::MAX)
        .min(i32::MAX.into());
    // SAFETY: our own latch, in our own process.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32,
            milliseconds as std::ffi::c_long,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        pgrx::check_for_interrupts!();
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// What pg_stat_activity shows as this worker's state and query.
pub fn report_activity(text: Option<&CStr>) {
    // SAFETY: the text is copied.
    unsafe {
        match text {
            Some(text) => {
                pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr())
            }
            None => {
                pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
            }
        }
    }
}

/// For each lock, from now on.
pub fn wait_at_most(patience: Duration) {
    let timeout = CString::new(patience.as_millis().max(1).to_string()).unwrap_or_default();
    set_for_session(c"lock_timeout", &timeout);
}

/// Overrides what the configuration says.
pub fn set_for_session(name: &CStr, value: &CStr) {
    // SAFETY: terminated strings; errors pass as PostgreSQL's own.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}
