//! What guards report: a line in the server log at once, and a NOTIFY.
//!
//! The line is certain. PostgreSQL sends notifications when a transaction commits, so one about a
//! statement that was refused, or rolled back, goes out with the session's next commit.

use std::cell::RefCell;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::Serialize;

use crate::credential::authority::name_of;
use crate::pg::{clock, guards, identity, server};
use crate::timestamp;

/// How many wait for a commit; later ones are in the log only.
const MOST_WAITING: usize = 100;

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

#[derive(Serialize)]
struct Payload<'a> {
    event: &'a str,
    time: String,
    guard: &'a str,
    blocked: bool,
    guarded_role: &'a str,
    session_user: String,
    acting_role: String,
    database: String,
    backend: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<i64>,
}

thread_local! {
    static WAITING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static DDL_IN: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

/// Reports; raises no error.
pub fn raise(alert: &Alert<'_>) {
    let text = serde_json::to_string(&Payload {
        event: "alert",
        time: timestamp::rfc3339(clock::now()),
        guard: alert.guard,
        blocked: alert.blocked,
        guarded_role: alert.of,
        session_user: name_of(identity::session_user()),
        acting_role: name_of(identity::now().outer),
        database: server::database_name(),
        backend: std::process::id(),
        tag: alert.tag,
        max_rows: alert.rows,
        window_seconds: alert.seconds,
    })
    .unwrap_or_default();
    log_line(&text);
    WAITING.with_borrow_mut(|waiting| {
        if waiting.len() < MOST_WAITING {
            waiting.push(text);
        }
    });
    guards::watch_commit();
}

fn log_line(text: &str) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("scope_roles audit: {text}"),
        function_name!(),
    )
    .report(PgLogLevel::LOG_SERVER_ONLY);
}

/// What is still to be sent.
pub fn take_waiting() -> Vec<String> {
    WAITING.take()
}

/// Is this the first DDL of the transaction?
pub fn is_first_ddl() -> bool {
    let began = guards::transaction_start();
    DDL_IN.replace(began) != began
}
