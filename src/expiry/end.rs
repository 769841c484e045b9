//! The steps of a role's end. Each can be repeated: what is done is found done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use super::{Managed, managed};
use crate::audit::{self, Event};
use crate::label::{self, Kind, Metadata, State, Temporary};
use crate::pg::advisory::{self, Key, Mode};
use crate::pg::{catalog, clock, dependencies, sessions, spi, xact};
use crate::scope::declared;
use crate::timestamp;

/// How long to wait for terminated sessions to be gone.
pub const PATIENCE: Duration = Duration::from_secs(10);
pub const SCAN: Duration = Duration::from_millis(10);
/// A session that is deep in a loop is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long another call is waited for.
const TURN: Duration = Duration::from_secs(10);
/// PostgreSQL keeps a lock on each role that a transaction drops, in a table of limited size.
const AT_ONCE: usize = 1_000;

/// One row of `scope.expire_roles()`, and one line of the server log.
#[derive(Debug)]
pub struct Ended {
    pub role: String,
    pub action: Action,
    pub sessions_terminated: i32,
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Dropped,
    Ending,
    Quarantined,
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Action::Dropped => "dropped",
            Action::Ending => "ending",
            Action::Quarantined => "quarantined",
        })
    }
}

/// The sessions that were asked to end.
#[derive(Debug, Default)]
pub struct Terminated {
    of_role: HashMap<u32, BTreeSet<i32>>,
    asked: HashMap<i32, Instant>,
}

impl Terminated {
    /// Asks the sessions of these roles to end, each twice a second; the roles that have any.
    pub fn ask(&mut self, roles: impl IntoIterator<Item = pg_sys::Oid>) -> BTreeSet<u32> {
        let roles: BTreeSet<u32> = roles.into_iter().map(u32::from).collect();
        let found = sessions::of_roles(|role| roles.contains(&role.into()));
        let now = Instant::now();
        for &(pid, role) in &found {
            let patient = |asked: &Instant| now.duration_since(*asked) < ASK_AGAIN;
            if !self.asked.get(&pid).is_some_and(patient) {
                sessions::terminate(pid);
                self.asked.insert(pid, now);
            }
            self.of_role.entry(role.into()).or_default().insert(pid);
        }
        found.into_iter().map(|(_, role)| role.into()).collect()
    }

    /// Asks until all are gone, or patience is; the roles that still have sessions.
    pub fn ask_until_gone(&mut self, roles: &[pg_sys::Oid]) -> BTreeSet<u32> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let left = self.ask(roles.iter().copied());
            if left.is_empty() || Instant::now() > give_up {
                return left;
            }
            pgrx::check_for_interrupts!();
            std::thread::sleep(SCAN);
        }
    }

    /// How many sessions of the role were asked to end.
    pub fn count(&self, role: pg_sys::Oid) -> i32 {
        let count = self.of_role.get(&role.into()).map_or(0, BTreeSet::len);
        i32::try_from(count).unwrap_or(i32::MAX)
    }
}

/// How long the locks of what has been ended already may be held while others are waited for: not as
/// long as others would wait for them before they look for a deadlock.
struct Patience {
    until: Instant,
    /// How many roles have been left to others.
    left_to_others: usize,
    /// When this was last asked: whether others wait for this call.
    asked_at: Option<Instant>,
    /// Nothing more is done: somebody else wants to go on.
    is_over: bool,
}

impl Patience {
    fn begin() -> Self {
        Self {
            until: Instant::now() + xact::patience(),
            left_to_others: 0,
            asked_at: None,
            is_over: false,
        }
    }

    /// What is left of it.
    fn left(&self) -> Duration {
        self.until
            .saturating_duration_since(Instant::now())
            .max(xact::SHORTEST)
    }

    /// Leaves a role to who has it now; why, in words.
    fn leave(&mut self, due: &Managed) -> String {
        /// Looking for them takes longer than all the rest.
        const HOLDERS: usize = 10;
        const ASK_AGAIN: Duration = Duration::from_millis(10);
        if self.is_over {
            return "others wait for what this call has ended; the worker goes on, or the next call"
                .to_owned();
        }
        self.left_to_others += 1;
        let holder = if self.left_to_others > HOLDERS {
            None
        } else {
            xact::raised(dependencies::lock_holder(due.oid))
        };
        // Whoever is in the way may be among those who wait, and is about to look for a deadlock.
        if self
            .asked_at
            .is_none_or(|asked| asked.elapsed() >= ASK_AGAIN)
        {
            self.is_over = xact::raised(dependencies::is_waited_for());
            self.asked_at = Some(Instant::now());
        }
        format!(
            "another transaction is in the way{}; the worker goes on, or the next call",
            holder.map_or_else(String::new, |holder| format!(": {holder}"))
        )
    }

    /// Takes the lock of a role that another call of ours may have, for as long as its transaction
    /// lasts. That is not waited for: nobody finds this in a deadlock.
    fn lock(&self, key: Key<'_>) -> bool {
        try_lock_until(self.until, xact::SHORTEST, key)
    }
}

/// Two calls at once would only be in each other's way. Who keeps a transaction open after the call
/// keeps others from the same roles, no more.
fn wait_for_turn() {
    let longest = xact::patience_of_session().map_or(TURN, |theirs| TURN.min(theirs));
    try_lock_until(Instant::now() + longest, SCAN, Key::Turn);
}

fn try_lock_until(until: Instant, pause: Duration, key: Key<'_>) -> bool {
    while !advisory::try_lock(key, Mode::Exclusive) {
        if Instant::now() >= until {
            return false;
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(pause);
    }
    true
}

/// All steps in the caller's transaction. Sessions are ended for good even if it rolls back. Without
/// those that are gone, or no longer due, by the time that they are ours.
pub fn all_at_once(due: &[Managed]) -> Vec<Ended> {
    let (now, later) = due.split_at(due.len().min(AT_ONCE));
    let mut terminated = Terminated::default();
    let roles: Vec<pg_sys::Oid> = due.iter().map(|role| role.oid).collect();
    terminated.ask_until_gone(&roles);
    if !now.is_empty() {
        wait_for_turn();
    }
    let mut patience = Patience::begin();
    let mut ended: Vec<Ended> = now
        .iter()
        .filter_map(|role| at_once(role, &mut terminated, &mut patience))
        .collect();
    ended.extend(later.iter().map(|role| Ended {
        role: role.name.clone(),
        action: Action::Ending,
        sessions_terminated: terminated.count(role.oid),
        detail: Some(format!(
            "one call drops at most {AT_ONCE} roles; the worker goes on, or the next call"
        )),
    }));
    ended
}

fn at_once(due: &Managed, terminated: &mut Terminated, patience: &mut Patience) -> Option<Ended> {
    /// For what passes by itself.
    const ATTEMPTS: u32 = 3;
    let is_ours = !patience.is_over && patience.lock(Key::Role(due.oid));
    let mut due = still_due(due)?;
    terminated.ask(Some(due.oid));
    let mut outcome = None;
    for _ in 0..if is_ours { ATTEMPTS } else { 0 } {
        due = still_due(&due)?;
        let work = || xact::raised(release_and_drop(&due));
        match outcome.insert(xact::subtransaction_within(patience.left(), work)) {
            Err(failure) if failure.is_transient() && !failure.is_locked() => {}
            _ => break,
        }
    }
    let mut is_noted = true;
    let (action, detail) = match outcome {
        Some(Ok(outcome)) => outcome,
        Some(Err(failure)) if !failure.is_locked() => failed(&due, failure.message, patience),
        _ => {
            let reason = patience.leave(&due);
            is_noted = is_ours && !patience.is_over && refuse(&due, &reason);
            (Action::Ending, Some(reason))
        }
    };
    let ended = Ended {
        role: due.name.clone(),
        action,
        sessions_terminated: terminated.count(due.oid),
        detail,
    };
    if is_noted {
        record(&ended, due.metadata.kind);
    } else {
        record_failure(&due, ended.detail.as_deref().unwrap_or_default());
    }
    Some(ended)
}

/// What is in the way of a role's end need not be in the way of the first step: no more logins, no
/// membership that is over, a reason to be seen. False when it was.
fn refuse(due: &Managed, reason: &str) -> bool {
    let disabled = xact::subtransaction_within(xact::SHORTEST, || xact::raised(disable(due)));
    let noted = managed(due.oid).and_then(|now| note_failure(&now, reason, xact::SHORTEST));
    disabled.is_ok() && noted.is_none()
}

/// Takes the role's lock and looks at it again; `None` too when somebody has the lock.
pub fn claim(due: &Managed) -> Option<Managed> {
    if advisory::try_lock(Key::Role(due.oid), Mode::Exclusive) {
        still_due(due)
    } else {
        None
    }
}

fn still_due(due: &Managed) -> Option<Managed> {
    managed(due.oid).filter(|role| role.is_due(clock::now()))
}

/// No more logins, not even where the library is missing.
pub fn disable(due: &Managed) -> SpiResult<()> {
    if !due.is_disabled {
        spi::execute(&format!(
            "ALTER ROLE {} NOLOGIN PASSWORD NULL",
            spi::identifier(&due.name)
        ))?;
    }
    if due.metadata.state == State::Active {
        if let Some(temporary) = &due.metadata.temporary {
            // The login stays a member of it: that tells its sessions that the role is gone. Others may
            // have made it a member of their roles, and hold these.
            dependencies::revoke_membership(due.oid, temporary.role.into())?;
        }
        label::write(
            due.oid,
            &Metadata {
                state: State::Ending,
                ..due.metadata.clone()
            },
        );
    }
    Ok(())
}

/// Is there nothing left for `disable` to do?
pub fn is_refused(due: &Managed) -> bool {
    due.is_disabled && due.metadata.state != State::Active
}

/// Drops those of the roles that nothing is in the way of, all in one statement; the others are
/// for [`release_and_drop`].
pub fn drop_plain(due: &[Managed]) -> SpiResult<Vec<Managed>> {
    let claimed: Vec<Managed> = due.iter().filter_map(claim).collect();
    let oids: Vec<pg_sys::Oid> = claimed.iter().map(|role| role.oid).collect();
    let held = dependencies::holding(&oids)?;
    let plain: Vec<Managed> = claimed
        .into_iter()
        .filter(|role| role.metadata.kind != Kind::Temporary)
        .filter(|role| !held.contains(&role.oid))
        .filter(|role| sessions::of_roles(|other| other == role.oid).is_empty())
        .filter(|role| matches!(dependencies::prepared_transaction(role.oid), Ok(None)))
        .collect();
    if !plain.is_empty() {
        let names: Vec<String> = plain
            .iter()
            .map(|role| spi::identifier(&role.name))
            .collect();
        spi::execute(&format!("DROP ROLE {}", names.join(", ")))?;
    }
    Ok(plain)
}

/// Revokes what the role holds in this database, then drops it if nothing else holds it back.
pub fn release_and_drop(due: &Managed) -> SpiResult<(Action, Option<String>)> {
    if !sessions::of_roles(|role| role == due.oid).is_empty() {
        return set_aside(
            due,
            State::Ending,
            Action::Ending,
            "its sessions have not ended yet".to_owned(),
            due.metadata.waits_for.clone(),
        );
    }
    dependencies::revoke_memberships(due.oid)?;
    if let Some(prepared) = dependencies::prepared_transaction(due.oid)? {
        return set_aside(
            due,
            State::Ending,
            Action::Ending,
            prepared,
            due.metadata.waits_for.clone(),
        );
    }
    if let Some(temporary) = &due.metadata.temporary
        && let Some(outcome) = wait_for_takers(due, temporary)?
    {
        return Ok(outcome);
    }
    dependencies::revoke_here(due.oid)?;
    if due.metadata.kind == Kind::Scope {
        declared::forget(due.oid, &due.name);
    }
    let left = dependencies::of_role(due.oid)?;
    let owned: Vec<_> = left
        .iter()
        .filter(|dependency| dependency.is_ownership())
        .collect();
    if let Some(first) = owned.first() {
        let reason = format!(
            "it owns {} object(s), among them {}",
            owned.len(),
            named(first, due.metadata.error.as_deref())
        );
        // The next look is where the object can be named. Grants elsewhere are taken away all the same.
        let grants = left.iter().filter(|dependency| !dependency.is_ownership());
        let waits_for = databases_of(grants.chain([*first]));
        return set_aside(
            due,
            State::Quarantined,
            Action::Quarantined,
            reason,
            waits_for,
        );
    }
    if !left.is_empty() {
        let waits_for = databases_of(left.iter());
        let names = database_names(waits_for.iter().copied());
        let reason = format!("grants in database {names} are still to be revoked");
        return set_aside(due, State::Ending, Action::Ending, reason, waits_for);
    }
    spi::execute(&format!("DROP ROLE {}", spi::identifier(&due.name)))?;
    Ok((Action::Dropped, None))
}

/// The object and its database, which are named the same wherever one looks: what is elsewhere cannot be described from here, but
/// may have been, there.
fn named(owned: &dependencies::Dependency, before: Option<&str>) -> String {
    let database = database_names([u32::from(owned.database)]);
    if database.is_empty() {
        return owned.description.clone().unwrap_or_default();
    }
    let place = format!(" in database {database}");
    let known = before
        .and_then(|before| before.split_once(", among them "))
        .and_then(|(_, known)| known.strip_suffix(&place));
    match owned.description.as_deref().or(known) {
        Some(what) => format!("{what}{place}"),
        None => format!("one{place}"),
    }
}

/// A temporary membership that has ended stays known until the sessions that may have taken its role
/// have ended: by its label they are told apart from others that have lost a membership.
fn wait_for_takers(
    due: &Managed,
    temporary: &Temporary,
) -> SpiResult<Option<(Action, Option<String>)>> {
    let Some(ended_at) = &temporary.ended_at else {
        // Who begins after the next commit has no way to the role any more; not so before it.
        let committed = due.metadata.state != State::Active;
        let mut due = due.clone();
        due.metadata.temporary = Some(Temporary {
            ended_at: committed.then(|| timestamp::rfc3339(clock::now())),
            ..temporary.clone()
        });
        let reason = "the sessions that it was for are being looked for".to_owned();
        label::write(due.oid, &due.metadata);
        return set_aside(&due, State::Ending, Action::Ending, reason, Vec::new()).map(Some);
    };
    let takers = dependencies::sessions_since_before(temporary.to.into(), ended_at)?;
    if takers == 0 {
        return Ok(None);
    }
    let reason = format!("{takers} session(s) that began before its end may still have its role");
    set_aside(due, State::Ending, Action::Ending, reason, Vec::new()).map(Some)
}

fn databases_of<'a>(dependencies: impl Iterator<Item = &'a dependencies::Dependency>) -> Vec<u32> {
    let oids: BTreeSet<u32> = dependencies
        .map(|dependency| dependency.database.into())
        .filter(|&oid| oid != 0)
        .collect();
    oids.into_iter().collect()
}

fn database_names(oids: impl IntoIterator<Item = u32>) -> String {
    let names: BTreeMap<u32, String> = catalog::databases()
        .into_iter()
        .map(|database| (database.oid.into(), database.name))
        .collect();
    oids.into_iter()
        .filter_map(|oid| names.get(&oid))
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Begins the end of a scope while others are in the way of it; why, in words.
pub fn begin(due: &Managed) -> SpiResult<String> {
    let holder = dependencies::lock_holder(due.oid)?;
    let reason = format!(
        "another transaction is in the way{}",
        holder.map_or_else(String::new, |holder| format!(": {holder}"))
    );
    let metadata = Metadata {
        state: State::Ending,
        error: Some(reason.clone()),
        ..due.metadata.clone()
    };
    label::write(due.oid, &metadata);
    Ok(reason)
}

/// The failure of an end that another call of ours is in the way of.
pub fn held() -> xact::Failure {
    xact::Failure {
        code: PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        message: "another transaction has called a function for the role".to_owned(),
        detail: None,
        hint: None,
    }
}

/// Is another call of ours in the way of the role's end?
pub fn is_held(due: &Managed) -> bool {
    !advisory::try_lock(Key::Role(due.oid), Mode::Exclusive) && still_due(due).is_some()
}

/// Keeps the role, disabled, with the reason why.
fn set_aside(
    due: &Managed,
    state: State,
    action: Action,
    reason: String,
    waits_for: Vec<u32>,
) -> SpiResult<(Action, Option<String>)> {
    disable(due)?;
    let metadata = Metadata {
        state,
        error: Some(reason.clone()),
        waits_for,
        ..due.metadata.clone()
    };
    if metadata != due.metadata {
        label::write(due.oid, &metadata);
    }
    Ok((action, Some(reason)))
}

/// After an error: disabled all the same, with the error to be seen.
fn failed(due: &Managed, error: String, patience: &Patience) -> (Action, Option<String>) {
    let detail = match note_failure(due, &error, patience.left()) {
        None => error,
        Some(second) => format!("{error}; then: {second}"),
    };
    (Action::Ending, Some(detail))
}

/// Writes down why the last step failed. The label comes first: what failed may have been
/// disabling the role, and it is the label that refuses logins. Answers with a second error.
pub fn note_failure(due: &Managed, error: &str, patience: Duration) -> Option<String> {
    let noted = xact::subtransaction_within(patience, || {
        let state = match due.metadata.state {
            State::Active => State::Ending,
            other => other,
        };
        let metadata = Metadata {
            state,
            error: Some(error.to_owned()),
            ..due.metadata.clone()
        };
        if metadata != due.metadata {
            label::write(due.oid, &metadata);
        }
    });
    let disabled = xact::subtransaction_within(patience, || {
        if let Some(now) = managed(due.oid) {
            xact::raised(disable(&now));
        }
    });
    // Whoever holds the membership that is over does not hold up its login.
    let stopped = due.metadata.temporary.as_ref().map_or(Ok(()), |temporary| {
        xact::subtransaction_within(patience, || {
            xact::raised(dependencies::stop_inheriting(due.oid, temporary.to.into()));
        })
    });
    noted
        .and(disabled)
        .and(stopped)
        .err()
        .map(|failure| failure.message)
}

/// For the audit trail; not again for a quarantine that lasts.
pub fn record(ended: &Ended, kind: Kind) {
    let step = ended.action.to_string();
    audit::record(Event::Expire {
        step: &step,
        kind: label::kind_name(kind),
        role_name: &ended.role,
        sessions_terminated: ended.sessions_terminated.into(),
        detail: ended.detail.as_deref(),
        failed: false,
    });
}

/// The same, of the first step.
pub fn record_disabled(role: &Managed) {
    audit::record(Event::Expire {
        step: "disabled",
        kind: label::kind_name(role.metadata.kind),
        role_name: &role.name,
        sessions_terminated: 0,
        detail: None,
        failed: false,
    });
}

/// The same, of a step that has failed, and will be tried again.
pub fn record_failure(role: &Managed, reason: &str) {
    audit::record(Event::Expire {
        step: "failed",
        kind: label::kind_name(role.metadata.kind),
        role_name: &role.name,
        sessions_terminated: 0,
        detail: Some(reason),
        failed: true,
    });
}
