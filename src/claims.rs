//! What this session's verified token says: read from the extension's own state, which no SQL can
//! forge, not from a setting that it can.

pub mod encoding;
pub mod error;

use std::cell::RefCell;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::claim_path::{ClaimPath, PathError};
use crate::error::report;
use crate::jwt;
use crate::pg::{clock, json, text};
use crate::session::switch_state;

#[derive(Debug, thiserror::Error)]
#[error("the path of the claim is not valid")]
pub struct Bad(pub PathError);

thread_local! {
    /// The last answer of `jwt_claim`: policies ask the same for every row.
    static LAST: RefCell<Last> = const { RefCell::new(Last::new()) };
}

struct Last {
    epoch: u64,
    path: String,
    parsed: Option<ClaimPath>,
    text: Option<String>,
}

impl Last {
    const fn new() -> Self {
        Self {
            epoch: 0,
            path: String::new(),
            parsed: None,
            text: None,
        }
    }
}

/// All claims, or NULL without a switch. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn jwt_claims() -> Option<json::Jsonb> {
    switch_state::with(|state| json::Jsonb::of(state.claims))
}

/// One claim as text. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn jwt_claim(path: &[u8]) -> Result<Option<json::Text>, ErrorReport> {
    let path = text::of(path);
    let path = path.as_ref();
    LAST.with_borrow_mut(|last| {
        let epoch = switch_state::epoch();
        if last.path != path || last.parsed.is_none() {
            last.parsed = Some(ClaimPath::parse(path).map_err(|error| report(Bad(error)))?);
            path.clone_into(&mut last.path);
            // No epoch is this high: the text is looked up anew.
            last.epoch = u64::MAX;
        }
        if last.epoch != epoch {
            let parsed = last.parsed.as_ref();
            last.text = parsed.and_then(claim);
            last.epoch = epoch;
        }
        Ok(last.text.clone().map(json::Text))
    })
}

/// The `sub` claim. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn jwt_subject() -> Option<json::Text> {
    ClaimPath::parse("sub")
        .ok()
        .as_ref()
        .and_then(claim)
        .map(json::Text)
}

/// The innermost actor. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn jwt_actor() -> Option<json::Text> {
    switch_state::with(|state| jwt::innermost_actor(state.claims))
        .flatten()
        .map(json::Text)
}

/// The `exp` claim. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn jwt_expires_at() -> Option<TimestampWithTimeZone> {
    let expires_at = switch_state::with(|state| jwt::expires_at(state.claims)).flatten()?;
    clock::to_sql(expires_at)
}

fn claim(path: &ClaimPath) -> Option<String> {
    switch_state::with(|state| path.text(state.claims).ok().flatten()).flatten()
}
