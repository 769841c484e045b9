//! `session_preload_libraries` as a setting of a login: a server that was started without the library then
//! refuses the login, for want of the file or because the library says so itself.
//!
//! A setting of a login takes the place of the database's and the server's, which may name libraries that its
//! sessions are not to be without (masking, auditing). So where the library is preloaded, and the setting has nothing
//! left to do, it stands back for them.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::pg::replaced_setting::{self, Replaced};
use crate::pg::{db_role_setting, server, text};

const NAME: &CStr = c"session_preload_libraries";
const PREFIX: &str = "session_preload_libraries=";
const LIBRARY: &str = "scope_roles";

/// Gives a role the setting, in every database, unless it has it. Not by ALTER ROLE, which takes several times as
/// long. Inside a transaction, by whoever holds the role's lock.
pub fn bind(role: pg_sys::Oid) {
    db_role_setting::change(role, with_library);
}

/// The settings with the library among those of the session; `None` when it is.
fn with_library(mut config: Vec<String>) -> Option<Vec<String>> {
    let place = config.iter().position(|each| each.starts_with(PREFIX));
    let others = place
        .map(|place| config.remove(place))
        .and_then(|setting| setting.strip_prefix(PREFIX).map(str::to_owned))
        .unwrap_or_default();
    let names = others.split(',').map(|name| name.trim().trim_matches('"'));
    if names.clone().any(|name| name == LIBRARY) {
        return None;
    }
    config.push(match others.trim() {
        "" => format!("{PREFIX}{LIBRARY}"),
        others => format!("{PREFIX}{others}, {LIBRARY}"),
    });
    Some(config)
}

/// Where the library is preloaded. Once, in the postmaster.
pub fn install() {
    replaced_setting::install::<Preloaded>(NAME);
}

struct Preloaded;

impl Replaced for Preloaded {
    fn instead(value: &CStr) -> Option<CString> {
        (value.to_bytes() == LIBRARY.as_bytes()).then(beneath)
    }
}

/// What the setting would be without the login's own: that of the database, of all roles, or of the server.
fn beneath() -> CString {
    let of = |database| {
        let config = db_role_setting::stored(database, pg_sys::InvalidOid);
        let mut values = config.iter().filter_map(|each| each.strip_prefix(PREFIX));
        values.next().and_then(|value| text::written(value).ok())
    };
    of(server::database())
        .or_else(|| of(pg_sys::InvalidOid))
        .unwrap_or_else(server::session_preload_libraries)
}

#[cfg(test)]
mod tests {
    use super::with_library;

    #[test]
    fn session_libraries_keep_what_a_role_has() {
        let with = |config: &[&str]| {
            with_library(config.iter().map(|&each| each.to_owned()).collect())
                .map(|config| config.join("; "))
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(with(&[]), is("session_preload_libraries=scope_roles"));
        assert_eq!(
            with(&["search_path=a, b"]),
            is("search_path=a, b; session_preload_libraries=scope_roles")
        );
        assert_eq!(
            with(&["session_preload_libraries="]),
            is("session_preload_libraries=scope_roles")
        );
        assert_eq!(
            with(&["session_preload_libraries=auto_explain"]),
            is("session_preload_libraries=auto_explain, scope_roles")
        );
        for there in ["scope_roles", "a, scope_roles", "\"scope_roles\",b"] {
            assert_eq!(with(&[&format!("session_preload_libraries={there}")]), None);
        }
    }
}
