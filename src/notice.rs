//! NOTICEs, which can be held back until it is known whether what they tell of is to stay.

use std::cell::RefCell;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

thread_local! {
    static HELD: RefCell<Option<Vec<ErrorReport>>> = const { RefCell::new(None) };
}

/// Sends it, now or when those that are held back are.
pub fn tell(report: ErrorReport) {
    let now = HELD.with_borrow_mut(|held| match held {
        Some(held) => {
            held.push(report);
            None
        }
        None => Some(report),
    });
    if let Some(report) = now {
        report.report(PgLogLevel::NOTICE);
    }
}

/// Holds them back; without a word more they are forgotten.
pub fn hold() -> Held {
    HELD.set(Some(Vec::new()));
    Held
}

pub struct Held;

impl Held {
    pub fn tell(self) {
        for report in HELD.take().into_iter().flatten() {
            report.report(PgLogLevel::NOTICE);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(None);
    }
}
