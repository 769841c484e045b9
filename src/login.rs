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

use std::cell::RefCell;
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
use crate::memberships;
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

/// Who logs in.
#[derive(Clone)]
pub struct Visitor {
    pub user: String,
    pub client: Client,
    /// A line of pg_hba.conf has let it in without asking for anything.
    pub is_trusted: bool,
}

thread_local! {
    /// Whose token is still to be looked at, by what the database says.
    static WAITING: RefCell<Option<(Role, Visitor)>> = const { RefCell::new(None) };
}

/// Ends the connection with 28000 when the user is a managed or guarded role that may not log in.
/// Superusers are never touched, unless a line for logins by token has let them in. `ask` has one of those present its token. Who logs in, if there
/// is such a role.
pub fn enforce(visitor: &Visitor, ask: impl FnOnce(&Metadata)) -> Option<pg_sys::Oid> {
    let role = catalog::role_by_name(&visitor.user)?;
    if visitor.is_trusted && is_of_token_logins(&role) {
        let is_one = || matches!(label::read_at_login(role.oid), Some(Ok(label)) if label.logs_in_by_token());
        // A superuser's session is never that of a token.
        if role.superuser || !is_one() {
            refuse(
                &visitor.user,
                visitor.client,
                Refusal::NoTokenLogin.reason(),
            );
        }
    }
    // First of all: the label of a superuser is not even read, so that a damaged one does no harm.
    if !role.superuser {
        enforce_label(visitor, &role, ask);
    }
    Some(role.oid)
}

/// Other roles are never touched.
fn enforce_label(visitor: &Visitor, role: &Role, ask: impl FnOnce(&Metadata)) {
    let (user, client) = (visitor.user.as_str(), visitor.client);
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
    match metadata.ok().filter(|metadata| metadata.logs_in_by_token()) {
        Some(metadata) => {
            if is_overheard(client) {
                ledger::refused(role.oid, now, Refusal::Tls);
                refuse(user, client, Refusal::Tls.reason());
            }
            WAITING.set(Some((role.clone(), visitor.clone())));
            ask(metadata);
        }
        None => {
            ledger::admitted(role.oid, now, client);
            record(client, None);
        }
    }
}

/// The login of this session, if it is the role that was asked for its token, and still such a login. Inside a transaction.
pub fn by_token() -> Option<Metadata> {
    let asked = WAITING.with_borrow(|waiting| waiting.as_ref().map(|(role, _)| role.oid));
    let user = asked.filter(|&asked| asked == identity::session_user())?;
    catalog::role_by_oid(user).filter(|role| !role.superuser)?;
    label::read(user)?.ok().filter(Metadata::logs_in_by_token)
}

/// The token has been accepted, and its session may begin.
pub fn welcome() {
    if let Some((role, visitor)) = WAITING.take() {
        ledger::admitted(role.oid, clock::now(), visitor.client);
        record(visitor.client, None);
    }
}

/// Its token has been refused: the connection ends as if a password had been wrong, and only the record says why.
pub fn turn_away(reason: &str) -> ! {
    let waiting = WAITING.take();
    if let Some((role, visitor)) = &waiting {
        token_refused(role.oid, &visitor.user, visitor.client, reason);
    }
    let user = waiting.map(|(_, visitor)| visitor.user).unwrap_or_default();
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_PASSWORD,
        format!(
            "token authentication failed for user \"{}\"",
            crate::text::visible(&user)
        ),
        function_name!(),
    )
    .report(PgLogLevel::FATAL);
    unreachable!("reporting at FATAL does not return")
}

/// The record of that.
pub fn token_refused(role: pg_sys::Oid, user: &str, client: Client, reason: &str) {
    ledger::refused(role, clock::now(), Refusal::Token);
    let reason = format!("{}: {reason}", Refusal::Token.reason());
    say_refused(user, client, &reason);
}

/// The login that a client presents a token for, where it is one that takes tokens here; refused and recorded where it is not. What else
/// its rules say is looked at when PostgreSQL has authenticated it.
pub fn that_takes_tokens(user: &str, client: Client) -> Option<(pg_sys::Oid, Metadata)> {
    let role = catalog::role_by_name(user).filter(|role| !role.superuser);
    let label = role
        .as_ref()
        .and_then(|role| label::read_at_login(role.oid)?.ok())
        .filter(Metadata::logs_in_by_token);
    let (Some(role), Some(label)) = (role, label) else {
        say_refused(user, client, "it is no login by token");
        return None;
    };
    let refusal = if is_overheard(client) {
        Some(Refusal::Tls)
    } else if reach::is_of_another_part(role.oid, &label) {
        Some(Refusal::Database)
    } else {
        None
    };
    if let Some(refusal) = refusal {
        ledger::refused(role.oid, clock::now(), refusal);
        say_refused(user, client, refusal.reason());
        return None;
    }
    Some((role.oid, label))
}

/// May others read what this client sends?
fn is_overheard(client: Client) -> bool {
    matches!(client, Client::Tcp { tls: false, .. } | Client::Unknown)
}

/// Is it in a group whose lines in pg_hba.conf ask for no password?
fn is_of_token_logins(role: &Role) -> bool {
    let mut groups = memberships::groups(role.oid).into_iter();
    label::is_group_of_token_logins(role.oid) || groups.any(label::is_group_of_token_logins)
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
    // Nobody has asked one that logs in by token for anything, whatever has been made of it since.
    let is_ours = |login: Role| match label::read(login.oid) {
        None => false,
        Some(label) => !login.superuser || label.is_ok_and(|label| label.logs_in_by_token()),
    };
    if login.is_some_and(is_ours) {
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
    say_refused(user, client, reason);
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        "connection refused by login policy",
        function_name!(),
    )
    .report(PgLogLevel::FATAL);
}

fn say_refused(user: &str, client: Client, reason: &str) {
    if audit::wants(Class::Login) {
        record(client, Some(reason));
    } else {
        // The client is not told: without this line nobody could find out.
        let user = crate::text::visible(user);
        log!("scope_roles: login of role \"{user}\" refused: {reason}");
    }
}
