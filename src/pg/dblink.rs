//! The connections of the extension dblink.

use std::ffi::{CStr, c_void};

use pgrx::pg_sys;
use pgrx::{FromDatum, IntoDatum};

use super::arguments::Text;

/// The names of those that have one; an error where none is open, most likely. Where one of its functions has been called.
pub fn connections() -> Vec<String> {
    // SAFETY: an array of texts, or NULL.
    let names = call(c"dblink_get_connections", &[])
        .and_then(|names| unsafe { Vec::<Option<Text>>::from_datum(names, false) });
    let names = names.into_iter().flatten().flatten();
    names.map(|name| name.0).collect()
}

/// Closes one, `None` the one without a name; an error where there is none. Where one of its functions has been called.
pub fn disconnect(name: Option<String>) {
    let name = name.map(|name| Text(name).into_datum());
    call(c"dblink_disconnect", name.as_slice());
}

fn call(name: &CStr, arguments: &[Option<pg_sys::Datum>]) -> Option<pg_sys::Datum> {
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
}
