//! The check of managed roles at login, whatever the authentication method (docs/design.md, "Login is checked here, whatever the method"), and of
//! those logins that a DBA has named for it.

pub mod change;
mod error;
pub mod ledger;
mod memory;
mod policy;
mod reach;
mod record;
pub mod standing;

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::admission::Client;
use crate::admission::hours::Moment;
use crate::admission::refusal::Refusal;
use crate::audit::{self, Class, Event};
use crate::error::{NotPreloaded, Report};
use crate::guc;
use crate::label::{self, Kind, Metadata};
use crate::pg::catalog::Role;
use crate::pg::{catalog, clock, identity, server, time_zone};
use crate::session::{gate, leftovers};
use crate::session_libraries;
use crate::wakeup;

use policy::{Admission, Facts};

pub fn init() {
    memory::init_shared_memory(guc::login_facts());
    session_libraries::install();
}

/// Ends the connection with 28000 when `user` is a managed or guarded role that may not log in. Who logs in, if there is such a role.
pub fn enforce(user: &str, client: Client) -> Option<pg_sys::Oid> {
    let role = catalog::role_by_name(user)?;
    // First of all: the label of a superuser is not even read, so that a damaged one does no harm.
    if !role.superuser {
        enforce_label(user, &role, client);
    }
    Some(role.oid)
}

/// Other roles are never touched.
fn enforce_label(user: &str, role: &Role, client: Client) {
    let Some(metadata) = label::read_at_login(role.oid) else {
        return;
    };
    let (now, metadata) = (clock::now(), metadata.as_ref());
    let facts = Facts {
        superuser: role.superuser,
        metadata: Some(metadata),
        valid_until: role.valid_until,
        now,
        client,
        moment: metadata.ok().and_then(|metadata| moment(metadata, now)),
    };
    // The standby's launcher hears of no commits, so it watches credentials that log in.
    if server::in_recovery() {
        wakeup::wake();
    }
    let is_gated = metadata.is_ok_and(|metadata| metadata.kind == Kind::Authenticator);
    let refusal = match policy::judge(&facts) {
        Admission::Refused(refusal) => Some(refusal),
        Admission::Allowed if is_gated && server::is_replication_connection() => {
            Some(Refusal::Replication)
        }
        Admission::Allowed
            if metadata.is_ok_and(|metadata| reach::is_of_another_part(role.oid, metadata)) =>
        {
            Some(Refusal::Database)
        }
        Admission::Allowed => None,
    };
    if let Some(refusal) = refusal {
        ledger::refused(role.oid, now, refusal);
        refuse(user, client, &policy::explain(refusal, &facts));
    }
    ledger::admitted(role.oid, now, client);
    if is_gated {
        gate::close(role.oid);
        leftovers::watch();
    }
    IS_OF_CREDENTIAL.store(
        metadata.is_ok_and(|metadata| metadata.kind == Kind::Credential),
        Ordering::Relaxed,
    );
    if metadata.is_ok_and(|metadata| metadata.kind != Kind::Guarded) {
        audit::watched::watch_login();
        standing::watch(role.oid);
    }
    record(client, None);
}

static IS_OF_CREDENTIAL: AtomicBool = AtomicBool::new(false);

/// Has this session's client logged in with a credential?
pub fn is_of_credential() -> bool {
    IS_OF_CREDENTIAL.load(Ordering::Relaxed)
}

/// A session has met the library, on a server that was started without it: as its login's own
/// `session_preload_libraries` asks for, or later. Ends one of a managed login (55000), which nothing checks here.
pub fn without_preload() {
    let login = identity::client_login().and_then(catalog::role_by_oid);
    if login.is_some_and(|login| !login.superuser && label::read(login.oid).is_some()) {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "connection refused: the server runs without scope_roles",
            function_name!(),
        )
        .set_detail("Nothing would check this login, its deadline or its tokens.")
        .set_hint(NotPreloaded.hint())
        .report(PgLogLevel::FATAL);
    }
}

/// What the clock shows where the role's hours are judged.
fn moment(metadata: &Metadata, now: i64) -> Option<Moment> {
    let zone = metadata.login.zone.as_deref()?;
    time_zone::moment(zone, now)
}

fn record(client: Client, refused: Option<&str>) {
    let tls = matches!(client, Client::Tcp { tls: true, .. });
    audit::record(Event::Login { refused, tls });
}

fn refuse(user: &str, client: Client, reason: &str) {
    if audit::wants(Class::Login) {
        record(client, Some(reason));
    } else {
        // The client is not told: without this line nobody could find out.
        let user = crate::text::visible(user);
        log!("scope_roles: login of role \"{user}\" refused: {reason}");
    }
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        "connection refused by login policy",
        function_name!(),
    )
    .report(PgLogLevel::FATAL);
}
