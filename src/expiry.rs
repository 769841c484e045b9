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
use crate::pg::{catalog, clock, identity, wakeup};

pub fn init() {
    wakeup::init_shared_memory();
    wakeup::init();
    crate::pg::worker::register_launcher();
}

/// A credential as the end sees it.
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

/// All credentials; superusers among them (somebody's hand) are left alone.
pub fn credentials() -> Vec<Credential> {
    catalog::labelled_roles()
        .into_iter()
        .filter_map(|(oid, text)| {
            let metadata = Metadata::parse(&text).ok()?;
            if metadata.kind != Kind::Credential {
                return None;
            }
            let role = catalog::role_by_oid(oid).filter(|role| !role.superuser)?;
            let deadline = role.valid_until.unwrap_or(i64::MIN);
            Some(Credential {
                oid,
                name: role.name,
                deadline,
                metadata,
            })
        })
        .collect()
}

/// The credential as it is now: it may have changed while we waited for its lock.
pub fn credential(oid: pg_sys::Oid) -> Option<Credential> {
    let metadata = label::read(oid)?
        .ok()
        .filter(|metadata| metadata.kind == Kind::Credential)?;
    let role = catalog::role_by_oid(oid).filter(|role| !role.superuser)?;
    let deadline = role.valid_until.unwrap_or(i64::MIN);
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
