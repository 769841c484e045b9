//! Statements inside statements.

use std::ffi::c_void;
use std::ptr::null_mut;

use pgrx::pg_sys;

/// An entry of PostgreSQL's stack of error contexts, which is put back when an error is caught: so
/// it knows at any time what runs inside what.
#[repr(C)]
pub(super) struct Frame {
    context: pg_sys::ErrorContextCallback,
    /// Rows of what runs inside go to the client.
    pub(super) hands_on: bool,
    /// Rows of this query are being counted.
    pub(super) counts: bool,
    /// Rows that have been counted inside.
    pub(super) counted: u64,
}

unsafe extern "C-unwind" fn mark(_argument: *mut c_void) {}

impl Frame {
    pub(super) fn new(hands_on: bool) -> Self {
        Self {
            context: pg_sys::ErrorContextCallback {
                // SAFETY: a plain read of a backend global.
                previous: unsafe { pg_sys::error_context_stack },
                callback: Some(mark),
                arg: null_mut(),
            },
            hands_on,
            counts: false,
            counted: 0,
        }
    }

    /// Runs what follows inside this frame.
    ///
    /// # Safety
    /// In the backend; `next` owns nothing, because an error jumps over it.
    pub(super) unsafe fn around(&mut self, next: impl FnOnce()) {
        // SAFETY: the frame is off the stack again before it goes out of scope.
        unsafe {
            self.context.arg = (&raw mut *self).cast();
            pg_sys::error_context_stack = &raw mut self.context;
            next();
            pg_sys::error_context_stack = self.context.previous;
        }
    }

    /// The innermost one; NULL outside all.
    pub(super) fn innermost() -> *mut Frame {
        Self::innermost_where(|_| true)
    }

    pub(super) fn innermost_where(is_wanted: impl Fn(&Frame) -> bool) -> *mut Frame {
        // SAFETY: the stack holds valid entries, and ours are frames.
        unsafe {
            let mut entry = pg_sys::error_context_stack;
            while !entry.is_null() {
                let is_ours = (*entry)
                    .callback
                    .is_some_and(|callback| callback as usize == mark as *const () as usize);
                if is_ours {
                    let frame: *mut Frame = (*entry).arg.cast();
                    if is_wanted(&*frame) {
                        return frame;
                    }
                }
                entry = (*entry).previous;
            }
        }
        null_mut()
    }
}

/// Outside functions: what the client itself has sent, or EXECUTE hands on.
pub(super) fn hands_on_now() -> bool {
    let frame = Frame::innermost();
    // SAFETY: a frame on the stack.
    frame.is_null() || unsafe { (*frame).hands_on }
}
