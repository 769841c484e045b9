//! What `\du+` shows of a role of ours: whose it is, in a sentence. Pure.
#![forbid(unsafe_code)]

use super::text::{Kind, Metadata, State};
use crate::text::{identifier, visible};

/// Comments of ours begin so. Others are somebody's own, and stay.
pub const OURS: &str = "scope_roles: ";

/// `None` for a login that is only guarded: it is not ours.
pub fn comment(metadata: &Metadata) -> Option<String> {
    let by = match metadata.kind {
        Kind::Guarded => return None,
        Kind::Scope | Kind::Composite => "made",
        Kind::Temporary => "granted",
        Kind::Credential | Kind::Authenticator => "issued",
    };
    let mut text = format!("{OURS}{}", metadata.kind.name());
    if let (Kind::Scope, Some(database)) = (metadata.kind, &metadata.database) {
        text += &format!(" of database {}", identifier(database));
    }
    text += &match &metadata.token {
        Some(token) => format!(", issued for a token of {}", visible(&token.sub)),
        None => format!(", {by} by {}", identifier(&metadata.creator)),
    };
    if metadata.kind == Kind::Composite {
        let roles: Vec<String> = metadata.roles.iter().map(|role| identifier(role)).collect();
        text += &format!(", of {}", roles.join(", "));
    }
    match (metadata.state, &metadata.valid_until) {
        (State::Ending, _) => {
            text += ", has ended and is being removed: see last_error in scope.roles"
        }
        (State::Quarantined, _) => {
            text += ", has ended and is kept because it owns objects: see last_error in scope.roles"
        }
        // ALTER ROLE can make it earlier, not later.
        (State::Active, Some(end)) => text += &format!(", ends by {}", moment(end)),
        (State::Active, None) => {}
    }
    if metadata.successor.is_some() {
        text += ", being replaced";
    }
    if let Some(purpose) = &metadata.purpose {
        text += &format!("; {}", visible(purpose));
    }
    Some(text)
}

/// Of RFC 3339 in UTC, to the second.
fn moment(rfc3339: &str) -> String {
    let second: String = rfc3339.chars().take(19).collect();
    format!("{} UTC", second.replace('T', " "))
}
