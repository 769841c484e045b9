//! JSON on its way into PostgreSQL.

use std::ffi::CString;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::pgrx_sql_entity_graph::impl_sql_translatable;
use pgrx::{IntoDatum, pg_sys};

/// A JSON text returned as `jsonb`, by PostgreSQL's own parser: numbers keep every digit.
pub struct Jsonb(CString);

impl Jsonb {
    pub fn of(text: &str) -> Self {
        // JSON has no NUL.
        Self(CString::new(text).unwrap_or_default())
    }
}

impl IntoDatum for Jsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let text = pg_sys::Datum::from(self.0.as_ptr());
        // SAFETY: jsonb_in takes a cstring, which outlives the call, and never returns NULL.
        unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text)]) }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: jsonb_in gives a valid `jsonb`, which the function returns as it is.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum has the declared SQL type.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

impl_sql_translatable!(Jsonb, "jsonb");

/// A claim's value (always UTF-8) returned as `text` in the database's encoding; 22P05 when it has no
/// such character.
pub struct Text(pub String);

// SAFETY: gives a valid `text`, which the function returns as it is.
unsafe impl BoxRet for Text {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        let bytes = self.0.as_bytes();
        let length = i32::try_from(bytes.len()).unwrap_or(0);
        // SAFETY: pg_any_to_server reads `length` bytes and gives a new terminated string, where the encoding is
        // another and the text is not ASCII; the text is a copy.
        unsafe {
            let text = if super::server::takes_utf8() || bytes.is_ascii() {
                pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), length)
            } else {
                pg_sys::cstring_to_text(pg_sys::pg_any_to_server(
                    bytes.as_ptr().cast(),
                    length,
                    pg_sys::pg_enc::PG_UTF8 as i32,
                ))
            };
            fcinfo.return_raw_datum(pg_sys::Datum::from(text))
        }
    }
}

impl_sql_translatable!(Text, "text");
