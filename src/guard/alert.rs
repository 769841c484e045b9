//! What guards report: a line in the server log at once, and NOTIFY scope_alert with the session's next
//! commit, whatever becomes of the statement.

use std::cell::Cell;

use crate::audit::{self, Event, Value};
use crate::pg::xact;

pub struct Alert<'a> {
    /// Which guard: a class of statements, `max_rows`, `window_rows`, `export_rows`, `ddl`,
    /// `read_only`.
    pub guard: &'a str,
    /// The statement is refused.
    pub blocked: bool,
    /// The role whose guard it is.
    pub of: &'a str,
    /// The statement's command tag, where it is known.
    pub tag: Option<&'a str>,
    /// The limit that was passed, and its window.
    pub rows: Option<u64>,
    pub seconds: Option<i64>,
}

/// Reports; raises no error.
pub fn raise(alert: &Alert<'_>) {
    let number = |number: Option<i64>| number.map_or(Value::Null, Value::Number);
    let rows = alert
        .rows
        .map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
    audit::record(Event::Alert {
        guard: alert.guard,
        blocked: alert.blocked,
        fields: &[
            ("guarded_role", Value::Text(alert.of)),
            ("tag", alert.tag.into()),
            ("limit_rows", number(rows)),
            ("window_seconds", number(alert.seconds)),
        ],
    });
}

/// Is this the first DDL of the transaction?
pub fn is_first_ddl() -> bool {
    thread_local! {
        static LAST: Cell<i64> = const { Cell::new(0) };
    }
    let began = xact::transaction_start();
    LAST.replace(began) != began
}
