//! What every statement of every session is asked, side by side in one line of the processor's cache: a session that nothing
//! concerns pays for no more. Backend-local; atomics only because statics need them. Pure.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Each is its room's own, but for the first.
#[repr(C, align(64))]
pub struct Line {
    quiet_for: AtomicU32,
    /// Of `session::gate`.
    pub gated_login: AtomicU32,
    /// Of `audit`.
    pub audit_classes: AtomicU32,
    pub audit_expects: AtomicBool,
}

pub static LINE: Line = Line {
    quiet_for: AtomicU32::new(0),
    gated_login: AtomicU32::new(0),
    audit_classes: AtomicU32::new(0),
    audit_expects: AtomicBool::new(false),
};

/// The login whose session nothing concerns, as long as it acts as itself; 0 when that is not known.
#[inline]
pub fn quiet_for() -> u32 {
    LINE.quiet_for.load(Ordering::Relaxed)
}

pub fn be_quiet_for(login: u32) {
    LINE.quiet_for.store(login, Ordering::Relaxed);
}

/// Something may concern the session from now on: the next statement is asked everything. Cannot fail.
pub fn disturb() {
    be_quiet_for(0);
}
