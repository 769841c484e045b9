//! The settings of the launcher and the workers.

use std::ffi::CStr;

use crate::pg::{server, worker};

/// What is configured for all sessions, for a database or for a role must not stop the worker, nor
/// have it do its work as somebody else.
pub fn settle() {
    const OURS: [(&CStr, &CStr); 9] = [
        (c"role", c"none"),
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"statement_timeout", c"0"),
        // PostgreSQL 17 and later.
        (c"transaction_timeout", c"0"),
        (c"idle_in_transaction_session_timeout", c"0"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_deferrable", c"off"),
        // A standby that is away must not hold up the end; autovacuum does the same.
        (c"synchronous_commit", c"local"),
    ];
    for (name, value) in OURS {
        if server::setting(name).is_some() {
            worker::set_for_session(name, value);
        }
    }
}
