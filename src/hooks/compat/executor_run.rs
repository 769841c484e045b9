//! The hook on ExecutorRun.

use pgrx::pg_sys;

static mut PREVIOUS_EXECUTOR_RUN: pg_sys::ExecutorRun_hook_type = None;

/// What is done around ExecutorRun.
pub trait Running {
    /// # Safety
    /// From the hook, with a query that has been started; `next` runs it, for so many rows or to its end (0), and owns nothing, because an error
    /// jumps over it.
    unsafe fn run(query: *mut pg_sys::QueryDesc, rows: u64, next: impl FnOnce());
}

/// Hooks ExecutorRun, whose arguments differ.
///
/// # Safety
/// Once, in the postmaster.
pub unsafe fn install_executor_run<R: Running>() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_EXECUTOR_RUN = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(executor_run::<R>);
    }
}

unsafe extern "C-unwind" fn executor_run<R: Running>(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    #[cfg(not(any(feature = "pg18", feature = "pg19")))] execute_once: bool,
) {
    unsafe extern "C-unwind" {
        fn standard_ExecutorRun(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            count: u64,
            #[cfg(not(any(feature = "pg18", feature = "pg19")))] execute_once: bool,
        );
    }
    // SAFETY: the arguments go on as they came.
    unsafe {
        let next = PREVIOUS_EXECUTOR_RUN.unwrap_or(standard_ExecutorRun);
        #[cfg(not(any(feature = "pg18", feature = "pg19")))]
        R::run(query, count, || next(query, direction, count, execute_once));
        #[cfg(any(feature = "pg18", feature = "pg19"))]
        R::run(query, count, || next(query, direction, count));
    }
}
