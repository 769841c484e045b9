//! The end of credentials (design 3.9).
//!
//! | state | means | next |
//! | --- | --- | --- |
//! | active, deadline ahead | in use | |
//! | active, deadline passed | login refused, sessions being terminated | ending |
//! | ending | NOLOGIN, no password; grants are revoked, database by database | dropped, or quarantined |
//! | quarantined | as ending, but it owns objects, which are never dropped | dropped once it owns nothing |
//!
//! The launcher has no database: it finds what is due, terminates sessions, and starts one worker
//! at a time in a database that holds something of a due role. CREATE and DROP DATABASE are never
//! in its way, nor does it need the extension to be created anywhere. A worker that dies or an
//! error loses nothing: what remains is in the catalogues, and the launcher looks again.

pub mod end;
pub mod launcher;
mod schedule;
pub mod worker;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error;
use crate::label::{self, Kind, Metadata, State};
use crate::pg::name::Name;
use crate::pg::{catalog, clock, identity, server, shared_tokens, wakeup};

pub fn init() {
    wakeup::init_shared_memory();
    shared_tokens::init_shared_memory();
    wakeup::init();
    // pg_upgrade moves roles and labels; nothing ends meanwhile.
    if !server::is_binary_upgrade() {
        crate::pg::worker::register_launcher();
    }
}

/// A login with a deadline, credential or authenticator, as the end sees it.
#[derive(Debug, Clone)]
pub struct Credential {
    pub oid: pg_sys::Oid,
    pub name: String,
    /// Unix microseconds; a credential without one is due.
    pub deadline: i64,
    pub metadata: Metadata,
}

impl Credential {
    pub fn is_due(&self, now: i64) -> bool {
        self.metadata.state != State::Active || self.deadline <= now
    }
}

/// All logins of ours; superusers among them (somebody's hand) are left alone.
pub fn credentials() -> Vec<Credential> {
    catalog::labelled_roles()
        .into_iter()
        .filter_map(|(oid, text)| with_role(oid, Metadata::parse(&text).ok()?))
        .collect()
}

/// The login as it is now: it may have changed while we waited for its lock.
pub fn credential(oid: pg_sys::Oid) -> Option<Credential> {
    with_role(oid, label::read(oid)?.ok()?)
}

fn with_role(oid: pg_sys::Oid, metadata: Metadata) -> Option<Credential> {
    // An authenticator need not have a deadline; a credential without one is due.
    let endless = match metadata.kind {
        // A scope has no deadline; one that is being dropped ends as a credential does.
        Kind::Scope if metadata.state == State::Active => return None,
        Kind::Scope | Kind::Credential | Kind::Temporary => i64::MIN,
        Kind::Authenticator => i64::MAX,
    };
    let role = catalog::role_by_oid(oid).filter(|role| !role.superuser)?;
    let deadline = role.valid_until.unwrap_or(endless);
    Some(Credential {
        oid,
        name: role.name,
        deadline,
        metadata,
    })
}

/// Ends every credential that is due. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn expire_roles() -> Result<
    TableIterator<
        'static,
        (
            name!(role_name, Name),
            name!(action, String),
            name!(sessions_terminated, i32),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    error::require_preload()?;
    if crate::pg::xact::is_read_only() {
        return Err(error::report(crate::credential::Error::ReadOnly));
    }
    let ended = identity::elevated(|| {
        let now = clock::now();
        credentials()
            .into_iter()
            .filter(|credential| credential.is_due(now))
            .filter_map(|credential| end::at_once(&credential))
            .collect::<Vec<_>>()
    });
    Ok(TableIterator::new(ended.into_iter().map(|ended| {
        (
            Name(ended.role),
            ended.action.to_string(),
            ended.sessions_terminated,
            ended.detail,
        )
    })))
}
