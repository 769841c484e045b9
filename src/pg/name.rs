//! The SQL type `name` as a return value; pgrx has none.

use std::borrow::Cow;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::IntoDatum;
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::impl_sql_translatable;

use crate::bytes;

/// A role name of at most 63 bytes.
#[derive(Debug, Clone)]
pub struct Name(pub String);

/// The same, of many results.
#[derive(Debug, Clone)]
pub struct SharedName(pub Rc<CStr>);

fn datum(name: &[u8]) -> pg_sys::Datum {
    let mut bytes = [0u8; pg_sys::NAMEDATALEN as usize];
    // One byte stays zero: `name` is a terminated string.
    let length = name.len().min(pg_sys::NAMEDATALEN as usize - 1);
    if let (Some(slots), Some(name)) = (bytes.get_mut(..length), name.get(..length)) {
        slots.copy_from_slice(name);
    }
    // SAFETY: a fresh allocation of NAMEDATALEN bytes in the caller's memory context, filled
    // entirely; `name` is passed by reference.
    unsafe {
        let copy = pg_sys::palloc(bytes.len()).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        pg_sys::Datum::from(copy)
    }
}

macro_rules! as_name {
    ($type:ident, $bytes:expr) => {
        impl IntoDatum for $type {
            fn into_datum(self) -> Option<pg_sys::Datum> {
                let bytes: fn(&$type) -> Cow<'_, [u8]> = $bytes;
                Some(datum(&bytes(&self)))
            }

            fn type_oid() -> pg_sys::Oid {
                pg_sys::NAMEOID
            }
        }

        // SAFETY: into_datum gives a valid `name`, which the function returns as it is.
        unsafe impl BoxRet for $type {
            unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
                match self.into_datum() {
                    // SAFETY: the datum has the declared SQL type.
                    Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
                    None => fcinfo.return_null(),
                }
            }
        }

        impl_sql_translatable!($type, "name");
    };
}

as_name!(Name, |name| bytes::bytes(&name.0));
as_name!(SharedName, |name| Cow::Borrowed(name.0.to_bytes()));
