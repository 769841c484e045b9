//! PostgreSQL's texts.

use std::ffi::{CStr, c_char};

/// # Safety
/// NULL, or a terminated string that outlives the use of the result.
pub unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}
