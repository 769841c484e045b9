//! JSON on its way into PostgreSQL.

use std::ffi::{CStr, CString};
use std::fmt::Write;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::pg_sys;
use pgrx::pgrx_resolved_type;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// A JSON text returned as `jsonb`, by PostgreSQL's own parser: numbers keep every digit.
pub struct Jsonb(pub CString);

// SAFETY: jsonb_in gives a valid `jsonb`, which the function returns as it is.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        let text = pg_sys::Datum::from(self.0.as_ptr());
        // SAFETY: jsonb_in takes a cstring, which outlives the call, and never returns NULL.
        unsafe {
            match pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text)]) {
                Some(datum) => fcinfo.return_raw_datum(datum),
                None => fcinfo.return_null(),
            }
        }
    }
}

// SAFETY: names the built-in type that box_into produces.
unsafe impl SqlTranslatable for Jsonb {
    const TYPE_IDENT: &'static str = pgrx_resolved_type!(Jsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}

/// A claim's value (always UTF-8) returned as `text` in the database's encoding; 22P05 when it has no
/// such character.
pub struct Text(pub String);

// SAFETY: gives a valid `text`, which the function returns as it is.
unsafe impl BoxRet for Text {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        let bytes = self.0.as_bytes();
        let length = i32::try_from(bytes.len()).unwrap_or(0);
        // SAFETY: pg_any_to_server reads `length` bytes and gives the same pointer, or a new
        // terminated string; the text is a copy.
        unsafe {
            let text = if super::server::is_utf8() || bytes.is_ascii() {
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

// SAFETY: names the built-in type that box_into produces.
unsafe impl SqlTranslatable for Text {
    const TYPE_IDENT: &'static str = pgrx_resolved_type!(Text);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("text"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("text")));
}

/// Verified JSON (always UTF-8) in ASCII, where this database cannot take it as it is.
pub fn recoded(json: &CStr) -> Option<CString> {
    if super::server::is_utf8() || json.to_bytes().is_ascii() {
        return None;
    }
    json.to_str().ok().map(for_setting)
}

/// JSON (always UTF-8) as a text that is valid in this database's encoding.
pub fn for_setting(json: &str) -> CString {
    let text = if super::server::is_utf8() || json.is_ascii() {
        CString::new(json)
    } else {
        CString::new(escaped(json))
    };
    // Verified JSON has no NUL.
    text.unwrap_or_default()
}

/// Everything beyond ASCII as `\uXXXX` (RFC 8259 section 7): outside strings JSON has none.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn json_escape_keeps_the_value() {
        let json = "{\"a\": \"caf\u{e9} \u{1f600} x\"}";
        let text = super::escaped(json);
        assert_eq!(text, "{\"a\": \"caf\\u00e9 \\ud83d\\ude00 x\"}");
    }
}
