//! What is declared keeps its meaning, and its names, when somebody renames a role or an object.

use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

use super::has_extension;
use super::queries::{ANCHOR, ANCHORS, REFRESH, STALE};
use crate::pg::{identity, spi, xact};
use crate::waiting;

/// What a dump has brought, by its place: its role, object and part as found by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    place: String,
    role: u32,
    object: u32,
    part: u32,
}

/// Before somebody renames something: what a dump has brought is found by its name now, or never.
pub fn before_rename() -> Vec<Anchor> {
    looked_up(ANCHORS)
}

/// After it. What it has given another name is kept under that name, by which a dump of this database will be read; what it has taken
/// the name from keeps its OID. Somebody who has nothing to do with scopes touches nothing, and holds no lock of ours.
pub fn after_rename(before: &[Anchor]) {
    if !before.is_empty() {
        let now: Vec<Anchor> = looked_up(ANCHORS);
        let lost: Vec<_> = before
            .iter()
            .filter(|anchor| !now.contains(anchor))
            .collect();
        if let (false, Ok(lost)) = (lost.is_empty(), serde_json::to_string(&lost)) {
            in_passing(|| xact::raised(spi::write(ANCHOR, &[&lost])));
        }
    }
    if !looked_up::<bool>(STALE).is_empty() {
        in_passing(|| xact::raised(spi::write(REFRESH, &[])));
    }
}

/// Rows of a query whose locks are given back.
fn looked_up<T: serde::de::DeserializeOwned + Clone>(sql: &'static str) -> Vec<T> {
    let mut found = Vec::new();
    in_passing(|| {
        found = xact::rehearsed(|| {
            if has_extension() {
                spi::facts(sql, &[]).unwrap_or_default()
            } else {
                Vec::new()
            }
        });
    });
    found
}

/// Somebody else's statement does not fail of this, nor wait for it.
fn in_passing(work: impl FnOnce()) {
    match waiting::aside(|| identity::elevated(work)) {
        Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED => {
            xact::raise(failure)
        }
        Err(failure) => log!(
            "scope_roles: what scopes declare could not be renamed: {}",
            crate::text::visible(&failure.message)
        ),
        Ok(()) => {}
    }
}
