//! The connections of the extension dblink.

use std::ffi::{CStr, c_void};

use pgrx::pg_sys;
use pgrx::{FromDatum, IntoDatum};

use super::xact;

/// Closes them all, where one of its functions has been called. A failure is no reason to fail: none is open, most likely.
pub fn disconnect() {
    let call = |name: &CStr, arguments: &[Option<pg_sys::Datum>]| {
        // SAFETY: inside a transaction. The library is loaded, or the function would not have been called;
        // these take no more than the arguments that they are given.
        unsafe {
            let function = pg_sys::load_external_function(
                c"$libdir/dblink".as_ptr(),
                name.as_ptr(),
                false,
                std::ptr::null_mut(),
            );
            if function.is_null() {
                return None;
            }
            let function = std::mem::transmute::<
                *mut c_void,
                unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
            >(function);
            pgrx::direct_pg_extern_function_call_as_datum(function, arguments)
        }
    };
    let names = xact::subtransaction(|| {
        let names = call(c"dblink_get_connections", &[]);
        // SAFETY: an array of texts, or NULL.
        names.and_then(|names| unsafe { Vec::<Option<String>>::from_datum(names, false) })
    });
    for name in names
        .ok()
        .flatten()
        .unwrap_or_default()
        .into_iter()
        .flatten()
    {
        let _closed = xact::subtransaction(|| {
            call(c"dblink_disconnect", &[name.into_datum()]);
        });
    }
    let _closed = xact::subtransaction(|| {
        call(c"dblink_disconnect", &[]);
    });
}
