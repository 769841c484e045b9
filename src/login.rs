//! The check of managed roles at login, whatever the authentication method (design 3.8).

pub mod network;
mod policy;
pub mod rules;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::audit::{self, Event};
use crate::label::{self, Kind, Metadata};
use crate::pg::{catalog, clock, gate, server, wakeup};
pub use policy::Client;
use policy::{Admission, Facts};

pub fn init() {
    crate::pg::hooks::install_login();
}

/// Ends the connection with 28000 when `user` is a managed role that may not log in. Roles that
/// are not ours, and superusers, are never touched.
pub fn enforce(user: &str, client: Client) {
    let Some(role) = catalog::role_by_name(user) else {
        return;
    };
    let metadata = label::read(role.oid);
    let facts = Facts {
        superuser: role.superuser,
        metadata: metadata.as_ref().map(Result::as_ref),
        valid_until: role.valid_until,
        now: clock::now(),
        client,
    };
    // The standby's launcher hears of no commits, so it watches credentials that log in.
    if facts.metadata.is_some() && server::in_recovery() {
        wakeup::wake();
    }
    if let Admission::Refused(reason) = policy::judge(&facts) {
        refuse(client, reason);
    }
    if is_gated(role.oid) {
        if server::is_replication_connection() {
            refuse(client, "an authenticator cannot replicate");
        }
        gate::close(role.oid);
    }
    if metadata.is_some() {
        audit::watch_login();
        record(client, None);
    }
}

fn record(client: Client, refused: Option<&str>) {
    let tls = matches!(client, Client::Tcp { tls: true, .. });
    audit::record(Event::Login { refused, tls });
}

fn refuse(client: Client, reason: &str) {
    record(client, Some(reason));
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        "connection refused by login policy",
        function_name!(),
    )
    .report(PgLogLevel::FATAL);
}

/// Does this role act through tokens only? Superusers never do.
pub fn is_gated(role: pg_sys::Oid) -> bool {
    let is_authenticator = matches!(
        label::read(role),
        Some(Ok(Metadata {
            kind: Kind::Authenticator,
            ..
        }))
    );
    is_authenticator && catalog::role_by_oid(role).is_some_and(|role| !role.superuser)
}
