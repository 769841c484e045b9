//! The end of managed roles (docs/design.md, "Expiry").
//!
//! | state | means | next |
//! | --- | --- | --- |
//! | active, deadline ahead | in use | |
//! | active, deadline passed | login refused, sessions being terminated | ending |
//! | ending | NOLOGIN, no password; grants are revoked, database by database | dropped, or quarantined |
//! | quarantined | as ending, but it owns objects, which are never dropped | dropped once it owns nothing |
//!
//! The launcher has no database: it knows who is due when, terminates sessions, and starts one
//! worker at a time in a database that holds something of a due role. CREATE and DROP DATABASE are
//! never in its way, nor does it need the extension to be created anywhere. A worker that dies or an
//! error loses nothing: what remains is in the catalogues, and the launcher looks again.
//!
//! The launcher reads the catalogues only after a commit has changed roles or labels, and not at
//! all while it knows that nothing is due: commits of what is due later than it looks anyway do not
//! wake it. On a standby it hears of changes with the WAL, but nothing wakes it: there it looks at
//! logins of managed roles, twice a second while they have sessions, and when it is promoted.

mod at_once;
mod calendar;
pub mod drop_scope;
pub mod end;
pub mod launcher;
mod record;
mod schedule;
pub mod settings;
mod terminate;
mod tokens;
mod waits;
pub mod worker;

use std::collections::{HashMap, HashSet};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{self, Report};
use crate::label::{self, Kind, Metadata, State};
use crate::pg::name::Name;
use crate::pg::worker::{self as pg_worker, Started};
use crate::pg::{catalog, clock, identity, server};
use crate::wakeup;

const LIBRARY: &str = "scope_roles";
/// Their functions are in `hooks`.
const LAUNCHER: pg_worker::Kind = pg_worker::Kind {
    name: "scope_roles launcher",
    function: "scope_roles_launcher",
};
/// Wakes the launcher of a standby that has been promoted: until then it need not look whether it has.
const PROMOTION: pg_worker::Kind = pg_worker::Kind {
    name: "scope_roles promotion",
    function: "scope_roles_promoted",
};
/// Ends roles in a database.
const WORKER: pg_worker::Kind = pg_worker::Kind {
    name: "scope_roles worker",
    function: "scope_roles_worker",
};

pub fn init() {
    wakeup::init_shared_memory();
    wakeup::init();
    // pg_upgrade moves roles and labels; nothing ends meanwhile.
    if !server::is_binary_upgrade() {
        pg_worker::register(LIBRARY, &LAUNCHER);
        pg_worker::register_for_writes(LIBRARY, &PROMOTION);
    }
}

/// Starts a worker in the database; `None` when there is no slot for it.
fn start_worker(database: pg_sys::Oid) -> Option<Started> {
    pg_worker::start_in(LIBRARY, &WORKER, database)
}

/// A managed role, as the end sees it.
#[derive(Debug, Clone)]
pub struct Managed {
    pub oid: pg_sys::Oid,
    pub name: String,
    /// When it is due, in Unix microseconds.
    pub moment: i64,
    /// NOLOGIN, and without a password.
    pub is_disabled: bool,
    pub metadata: Metadata,
}

impl Managed {
    pub fn is_due(&self, now: i64) -> bool {
        self.moment <= now
    }
}

/// When a role is due: the beginning of time for one that is being ended, the end of time for one
/// that lives until someone ends it.
fn moment(kind: Kind, is_active: bool, deadline: Option<i64>) -> i64 {
    match (is_active, kind) {
        // Not ours to end.
        (_, Kind::Guarded) => i64::MAX,
        (false, _) => i64::MIN,
        // Somebody's VALID UNTIL on a scope is not a deadline of ours.
        (true, Kind::Scope) => i64::MAX,
        (true, Kind::Authenticator | Kind::Composite) => deadline.unwrap_or(i64::MAX),
        // One without a deadline has lost it by hand.
        (true, Kind::Credential | Kind::Temporary) => deadline.unwrap_or(i64::MIN),
    }
}

/// What one pass over the catalogues found.
#[derive(Default)]
struct Survey {
    /// When each managed role is due, in no order. Superusers among them (somebody's hand), roles
    /// with a label that can't be read and logins that are only guarded are left alone.
    moments: Vec<(i64, u32)>,
    /// Every role there is.
    roles: HashSet<u32>,
    /// Those with a label of ours, whatever it says.
    labelled: HashSet<u32>,
}

fn survey() -> Survey {
    // Labels come first: a role that is dropped meanwhile is then seen to be gone.
    let mut survey = Survey::default();
    let mut labels = HashMap::new();
    label::each(|role, label| {
        survey.labelled.insert(role.into());
        if let Some(seen) = label::glance(label)
            && seen.kind != Kind::Guarded
        {
            labels.insert(u32::from(role), seen);
        }
    });
    catalog::each_role(|role, _, superuser, _, deadline| {
        let role = u32::from(role);
        survey.roles.insert(role);
        if let Some(seen) = labels.get(&role).filter(|_| !superuser) {
            let deadline = label::earlier(seen.kind, seen.recorded, deadline);
            let moment = moment(seen.kind, seen.is_active, deadline);
            survey.moments.push((moment, role));
        }
    });
    survey
}

/// The labels of some roles, in one pass.
fn labels_of(roles: &HashSet<u32>) -> HashMap<u32, Metadata> {
    let mut found = HashMap::new();
    label::each(|role, label| {
        let role = u32::from(role);
        if roles.contains(&role)
            && let Ok(metadata) = Metadata::parse(label)
        {
            found.insert(role, metadata);
        }
    });
    found
}

/// The roles that are due, by OID.
fn due(now: i64) -> Vec<Managed> {
    let mut due: Vec<u32> = survey()
        .moments
        .into_iter()
        .filter(|&(moment, _)| moment <= now)
        .map(|(_, role)| role)
        .collect();
    due.sort_unstable();
    due.into_iter()
        .filter_map(|role| managed(role.into()))
        .filter(|role| role.is_due(now))
        .collect()
}

/// The role as it is now: it may have changed while we waited for its lock.
fn managed(oid: pg_sys::Oid) -> Option<Managed> {
    let metadata = label::read(oid)?.ok()?;
    let role = catalog::role_by_oid(oid).filter(|role| !role.superuser)?;
    Some(Managed {
        oid,
        name: role.name,
        moment: moment(
            metadata.kind,
            metadata.state == State::Active,
            metadata.deadline(role.valid_until),
        ),
        is_disabled: !role.can_login && !role.has_password,
        metadata,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("cannot end roles in a read-only transaction")]
struct ReadOnly;

impl Report for ReadOnly {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION
    }
    fn detail(&self) -> String {
        error::READ_ONLY.into()
    }
    fn hint(&self) -> String {
        "Call it on the primary. On a standby logins are refused and sessions are ended at the deadline all the same.".into()
    }
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
        return Err(error::report(ReadOnly));
    }
    let ended = identity::elevated(|| at_once::all_at_once(&due(clock::now())));
    Ok(TableIterator::new(ended.into_iter().map(|ended| {
        (
            Name(ended.role),
            ended.action.to_string(),
            ended.sessions_terminated,
            ended.detail,
        )
    })))
}
