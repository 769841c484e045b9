//! PostgreSQL's texts, which are bytes in the encoding of whoever wrote them (see `crate::bytes`).

use std::borrow::Cow;
use std::ffi::{CStr, CString, NulError, c_char};
use std::ops::Deref;

use pgrx::prelude::*;

use crate::bytes;

/// A text of PostgreSQL's as a string, whatever its encoding.
pub fn read(text: &CStr) -> Cow<'_, str> {
    of(text.to_bytes())
}

/// The bytes of a `text` as a string, at the cost of a glance where they are ASCII, as those of tokens are.
pub fn of(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Cow::Borrowed(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    bytes::text(bytes)
}

/// A text that is overwritten when it is dropped. The C library does that at once, `zeroize` byte by byte: each new token waits for it.
pub struct Wiped(Box<str>);

impl Wiped {
    pub fn copy_of(text: &str) -> Self {
        Self(text.into())
    }
}

impl Deref for Wiped {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // SAFETY: its own bytes. NULs are UTF-8.
        unsafe { libc::explicit_bzero(self.0.as_mut_ptr().cast(), self.0.len()) };
    }
}

/// The text for PostgreSQL.
pub fn written(text: &str) -> Result<CString, NulError> {
    CString::new(bytes::bytes(text))
}

/// The same as a value of the type `text`, where it has bytes that are no UTF-8.
pub fn rewritten(value: pg_sys::Datum) -> Option<pg_sys::Datum> {
    // SAFETY: called with a valid, non-null `text` that this extension has made.
    let text = unsafe { <&[u8]>::from_datum(value, false) }?;
    match bytes::bytes(std::str::from_utf8(text).ok()?) {
        Cow::Borrowed(_) => None,
        Cow::Owned(bytes) => bytes.into_datum(),
    }
}

/// A copy of a text of PostgreSQL's.
///
/// # Safety
/// NULL, or a terminated string.
pub unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: by contract.
    unsafe { bytes(text) }.map(|text| of(text).into_owned())
}

/// # Safety
/// NULL, or a terminated string that outlives the use of the result.
pub unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}
