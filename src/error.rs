//! From an error to what the client sees: SQLSTATE, message, DETAIL, HINT. Each room has its own in `error.rs`.
//! No text here holds a token, a secret, a password or a claim's value.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::notice;
use crate::pg::{preload, server};
use crate::text::visible;

pub const READ_ONLY: &str = "The server is a standby, or the transaction is read-only.";

/// How an error is shown.
pub trait Report: std::error::Error {
    fn code(&self) -> PgSqlErrorCode;
    fn detail(&self) -> String;
    fn hint(&self) -> String;
}

/// For `#[pg_extern]` functions, which keep the SQLSTATE of this type only.
pub fn report<E: Report>(error: E) -> ErrorReport {
    shown(&error)
}

/// Names in it may be anybody's: no line of it is forged by them.
fn shown<E: Report>(error: &E) -> ErrorReport {
    let seen = |text: String| visible(&text).into_owned();
    ErrorReport::new(error.code(), seen(error.to_string()), "scope_roles")
        .set_detail(seen(error.detail()))
        .set_hint(seen(error.hint()))
}

/// The five characters of an SQLSTATE, which PostgreSQL packs into six bits each.
pub fn sqlstate(code: PgSqlErrorCode) -> String {
    let packed = code as u32;
    (0..5)
        .map(|place| char::from((packed >> (6 * place) & 63) as u8 + b'0'))
        .collect()
}

/// Raises the error here and now.
pub fn raise<E: Report>(error: &E) -> ! {
    shown(error).report(PgLogLevel::ERROR);
    unreachable!("reporting at ERROR does not return")
}

/// Ends the session with the error.
pub fn end_session<E: Report>(error: &E) -> ! {
    shown(error).report(PgLogLevel::FATAL);
    unreachable!("reporting at FATAL does not return")
}

/// Tells the caller something that is no error.
pub fn notice<'a>(message: String, detail: &str, hint: impl Into<Option<&'a str>>) {
    let mut report = ErrorReport::new(
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        visible(&message).into_owned(),
        "scope_roles",
    )
    .set_detail(visible(detail).into_owned());
    if let Some(hint) = hint.into() {
        report = report.set_hint(visible(hint).into_owned());
    }
    notice::tell(report);
}

/// The library must come from shared_preload_libraries: the lock and the worker rest on it.
#[derive(Debug, thiserror::Error)]
#[error("scope_roles is not loaded by shared_preload_libraries")]
pub struct NotPreloaded;

/// First line of every SQL function that needs the hooks or the worker.
pub fn require_preload() -> Result<(), ErrorReport> {
    if preload::done() {
        Ok(())
    } else {
        Err(report(NotPreloaded))
    }
}

/// Whoever creates the extension is to know at once.
pub fn warn_without_preload() {
    if server::creates_extension() {
        report(NotPreloaded).report(PgLogLevel::WARNING);
    }
}

/// Does the server run with the library, as it must? Documented in `sql/views.sql`.
#[pg_extern(sql = false)]
fn is_preloaded() -> bool {
    preload::done()
}

impl Report for NotPreloaded {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
    }
    fn detail(&self) -> String {
        "Without the preload no hook locks a role and no worker ends credentials.".into()
    }
    fn hint(&self) -> String {
        "Add scope_roles to shared_preload_libraries in postgresql.conf and restart the server."
            .into()
    }
}

/// DETAIL is a sentence (PostgreSQL's error message style guide).
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let mut sentence: String = match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => return String::new(),
    };
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}
