//! PostgreSQL's own functions.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Is it a function of PostgreSQL's own that depends on its arguments alone?
pub fn is_pure(function: pg_sys::Oid) -> bool {
    is_postgresqls(function, |_, volatility| {
        volatility == pg_sys::PROVOLATILE_IMMUTABLE
    })
}

/// Is it one of PostgreSQL's own, and such a one, by its name and volatility? Others are granted, or not, by whoever made them.
pub fn is_postgresqls(function: pg_sys::Oid, is_such: impl FnOnce(&[u8], u8) -> bool) -> bool {
    if u32::from(function) >= pg_sys::FirstNormalObjectId {
        return false;
    }
    // SAFETY: inside a transaction; the tuple is released after the last look at it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            pg_sys::Datum::from(function),
        );
        if tuple.is_null() {
            return false;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let name = CStr::from_ptr((*form).proname.data.as_ptr()).to_bytes();
        let found = is_such(name, (*form).provolatile as u8);
        pg_sys::ReleaseSysCache(tuple);
        found
    }
}
