//! What comes of an approved request: its beginning, now or by the worker, and its end.

use std::time::Duration;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::policy::{Kind, Policy, RoleRef};
use super::store::{self, Request, Told};
use super::{Error, MICROS_PER_SECOND, State, after, authority};
use crate::audit::{self, Action, Event, Value};
use crate::authority::Target;
use crate::credential::issue::Right;
use crate::credential::{self, Issued, Options, deadline, life};
use crate::error;
use crate::guc;
use crate::label::{self, MAX_PURPOSE_BYTES};
use crate::own_tables;
use crate::pg::{catalog, clock, compat, identity, server, xact};
use crate::temporary::{self, inherited};
use crate::text::visible;
use crate::wakeup::keys as visits;

/// The worker looks again where something of others was in the way.
const RETRY: Duration = Duration::from_secs(2);

/// It needs no more decisions: it begins now, if it can and is to.
pub fn approve(request: &mut Request, policy: &Policy, told: &Told<'_>) -> Result<(), Error> {
    let now = clock::now();
    request.state = State::Approved;
    let from = request.starts_at.unwrap_or(now).max(now);
    request.until = after(from, policy.is.pending_seconds);
    store::save(request, told)?;
    let waits_for_somebody = request.kind != Kind::Membership && request.extends.is_none();
    // In a transaction that stays open it would hold up those who have a say over the role: there it is the worker's, after the commit.
    if !waits_for_somebody && request.starts_at.is_none_or(|at| at <= now) && xact::ends_at_once() {
        begin(request)?;
    }
    Ok(())
}

/// It begins, or has failed; what passes by itself is left to the worker.
fn begin(request: &mut Request) -> Result<(), Error> {
    let before = request.clone();
    // Nothing stays of what fails.
    let started = xact::subtransaction(|| {
        if let Err(error) = start(request) {
            error::raise(&error);
        }
    });
    let Err(failure) = started else {
        return Ok(());
    };
    *request = before;
    if failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED {
        xact::raise(failure);
    }
    if failure.is_locked() || failure.is_transient() {
        return Ok(());
    }
    let detail = failure.detail.map(|detail| format!(": {detail}"));
    request.state = State::Failed;
    request.error = Some(failure.message + &detail.unwrap_or_default());
    store::save(request, &Told::of("failed"))
}

/// The caller is in a subtransaction.
fn start(request: &mut Request) -> Result<(), Error> {
    let policy = store::policy_of(request)?;
    may_begin(request, &policy)?;
    if let Some(extended) = request.extends {
        return extend(request, extended, &policy);
    }
    let ends_at = ends_at(&policy, clock::now(), request.seconds)?;
    let (target, login) = (request.target(), pg_sys::Oid::from(request.login_oid));
    let reason = format!("request {}", request.id);
    in_the_name_of(&policy, || {
        temporary::grant_as_asked(target.oid(), login, ends_at, &reason)
    })?;
    lasts(request, ends_at, "started")
}

fn lasts(request: &mut Request, ends_at: i64, event: &'static str) -> Result<(), Error> {
    request.state = State::Active;
    request.active_from = Some(clock::now());
    request.ends_at = Some(ends_at);
    store::save(request, &Told::of(event))
}

/// More time: the end of what lasts is moved.
fn extend(request: &mut Request, extended: i64, policy: &Policy) -> Result<(), Error> {
    let mut lasting = store::lock(extended)?;
    let is_active = lasting.state_at(clock::now()) == State::Active;
    let times = lasting
        .active_from
        .zip(lasting.ends_at)
        .filter(|_| is_active);
    let Some((from, end)) = times else {
        return Err(Error::NotAnyMore("it does not last any more".into()));
    };
    let latest = after(from, policy.is.max_seconds);
    let new_end = after(end, request.seconds).min(latest);
    let new_end = bounded(policy, new_end)?;
    let (target, login) = (lasting.target(), pg_sys::Oid::from(lasting.login_oid));
    if lasting.kind == Kind::Membership {
        let reason = format!("request {}", lasting.id);
        in_the_name_of(policy, || {
            temporary::grant_as_asked(target.oid(), login, new_end, &reason)
        })?;
    } else {
        // One whose place another has taken ends when it would.
        let mut logins = label::issued_on_request(lasting.id).into_iter();
        let (last, _) = logins
            .rfind(|(_, label)| label.successor.is_none())
            .ok_or(Error::Vanished)?;
        in_the_name_of(policy, || credential::prolong(last, new_end))?;
    }
    lasting.ends_at = Some(new_end);
    store::save(&lasting, &Told::of("extended"))?;
    request.state = State::Ended;
    request.active_from = Some(clock::now());
    request.ends_at = Some(new_end);
    store::save(request, &Told::of("extended"))
}

/// As its creator, who must be there.
fn in_the_name_of<R, E>(policy: &Policy, work: impl FnOnce() -> Result<R, E>) -> Result<R, Error>
where
    Error: From<E>,
{
    let creator = policy.is.creator.oid();
    if catalog::role_by_oid(creator).is_none() {
        return Err(Error::NotAnyMore(
            "the role that has made the policy is gone".into(),
        ));
    }
    Ok(identity::acting_as(creator, work)?)
}

/// Is all as it must be for it to begin?
pub fn may_begin(request: &Request, policy: &Policy) -> Result<(), Error> {
    let no_more = |why: &str| Err(Error::NotAnyMore(why.into()));
    let login = RoleRef {
        name: request.person.name.clone(),
        oid: request.login_oid,
    };
    let role = pg_sys::Oid::from(request.person.role);
    let is_there = catalog::role_by_oid(login.oid()).is_some_and(|role| role.can_login);
    if !is_there {
        return no_more("the login that asked is gone, or may not log in");
    }
    let acts = login.oid() == role || compat::may_set_role(login.oid(), role);
    if catalog::role_by_oid(role).is_none() || !acts || !policy.lets_ask(role) {
        return no_more("whoever asked may not ask any more");
    }
    if request.break_glass && !policy.lets_break_glass(role) {
        return no_more("whoever asked may break no glass any more");
    }
    if store::subject_is_revoked(request)? {
        return no_more("the subject that asked has been revoked");
    }
    let target = request.target();
    in_the_name_of(policy, || authority::over(request.kind, &target))
}

/// When what begins now ends.
pub fn ends_at(policy: &Policy, now: i64, seconds: i64) -> Result<i64, Error> {
    bounded(policy, after(now, seconds.min(policy.is.max_seconds)))
}

/// Not after the right of the policy's creator, nor longer than anything lasts.
fn bounded(policy: &Policy, end: i64) -> Result<i64, Error> {
    let now = clock::now();
    let right = inherited::ends_at(policy.is.creator.oid(), now);
    let end = right.map_or(end, |right| right.min(end));
    deadline::check(now, end, guc::max_ttl())?;
    Ok(end)
}

/// The login of an approved request.
pub fn take(request: &mut Request) -> Result<Issued, Error> {
    let policy = store::policy_of(request)?;
    may_begin(request, &policy)?;
    let now = clock::now();
    let ends_at = ends_at(&policy, now, request.seconds)?;
    let purpose = format!("request {} of {}", request.id, request.person.shown());
    let purpose = server::fitted(&purpose);
    let fits = |at: &usize| *at <= MAX_PURPOSE_BYTES && purpose.is_char_boundary(*at);
    let length = (0..=purpose.len()).rev().find(fits).unwrap_or(0);
    let scopes = [request.target().shown()];
    let issue = credential::Request {
        role_name: None,
        valid_for: None,
        purpose: purpose.get(..length),
        options: Options::default(),
        function: "take_credential",
        verb: "login",
        right: Right::Decided {
            request: request.id,
            ends_at,
        },
    };
    let issued = in_the_name_of(&policy, || {
        credential::issue(issue, || credential::membership_in(&scopes))
    })?;
    let role = catalog::role_by_name(&issued.role).ok_or(Error::Vanished)?;
    request.granted = Some(role.name);
    request.granted_oid = Some(role.oid.into());
    lasts(request, ends_at, "taken")?;
    Ok(issued)
}

/// It ends now, whatever it has come to.
pub fn end(request: &mut Request, state: State, told: &Told<'_>) -> Result<(), Error> {
    if request.state_at(clock::now()) == State::Active {
        match request.kind {
            Kind::Membership => {
                let login: pg_sys::Oid = request.login_oid.into();
                let is_there = |role: pg_sys::Oid| catalog::role_by_oid(role).is_some();
                if is_there(login) && is_there(request.target_oid.into()) {
                    temporary::take_back(request.target_oid.into(), login)?;
                }
            }
            // With those that have taken its place.
            Kind::Credential => {
                for (login, _) in label::issued_on_request(request.id) {
                    if let Some(target) = Target::seize(login) {
                        life::end(&target, told.note, "revoke")?;
                    }
                }
            }
            Kind::Statement => {}
        }
        request.ends_at = Some(clock::now());
    }
    request.state = state;
    store::save(request, told)
}

/// Loud: an alert in the log, NOTIFY on scope_alert, and the event itself.
pub fn warn_of_break_glass(request: &Request) {
    let who = request.person.shown().to_owned();
    let fields = [
        ("guarded_role", Value::Text(&request.target)),
        ("request", Value::Number(request.id)),
        ("person", Value::Text(&who)),
        ("reason", request.reason.as_deref().into()),
    ];
    audit::record(Event::Alert {
        guard: "break_glass",
        blocked: false,
        fields: &fields,
    });
    let fields = fields.get(1..).unwrap_or_default();
    audit::administered(Action::Request, "break_glass", &request.target, fields);
}

/// The worker's part in a database: what is due begins, what nobody has decided or taken expires, what has ended is told. Asks to come again
/// when more will be due.
pub fn tend() {
    if server::in_recovery() {
        return;
    }
    match xact::transaction(|| own_tables::find(own_tables::REQUEST).map(|_| store::open())) {
        Ok(None) => {}
        Ok(Some(Ok(open))) => {
            let now = clock::now();
            let mut next = i64::MAX;
            for request in open {
                let at = due_at(&request);
                let at = if at > now {
                    at
                } else {
                    tend_one(request.id, now)
                };
                next = next.min(at);
            }
            if next != i64::MAX {
                visits::visit_at(server::database(), next);
            }
        }
        Ok(Some(Err(error))) => complain(&error.to_string()),
        Err(failure) => complain(&failure.message),
    }
}

fn complain(problem: &str) {
    warning!("scope_roles: tending requests failed: {}", visible(problem));
    let later = clock::now().saturating_add(60 * MICROS_PER_SECOND);
    visits::visit_at(server::database(), later);
}

/// When time changes something about it.
fn due_at(request: &Request) -> i64 {
    match request.state {
        State::Pending => request.until,
        State::Approved if request.kind == Kind::Membership || request.extends.is_some() => {
            request.starts_at.unwrap_or(i64::MIN).min(request.until)
        }
        State::Approved => request.until,
        State::Active => request.ends_at.unwrap_or(i64::MAX),
        _ => i64::MAX,
    }
}

/// When to look at it again.
fn tend_one(id: i64, now: i64) -> i64 {
    let tended = xact::transaction(|| -> Result<i64, Error> {
        let mut request = store::lock(id)?;
        if due_at(&request) > now {
            return Ok(due_at(&request));
        }
        match request.state_at(now) {
            State::Expired => {
                request.state = State::Expired;
                store::save(&request, &Told::of("expired"))?;
            }
            State::Ended => {
                request.state = State::Ended;
                store::save(&request, &Told::of("ended"))?;
            }
            State::Approved => begin(&mut request)?,
            _ => {}
        }
        let is_left = request.state == State::Approved;
        let retry = i64::try_from(RETRY.as_micros()).unwrap_or(i64::MAX);
        Ok(if is_left {
            now.saturating_add(retry)
        } else {
            due_at(&request)
        })
    });
    let problem = match tended {
        Ok(Ok(next)) => return next,
        Ok(Err(error)) => error.to_string(),
        Err(failure) => failure.message,
    };
    warning!(
        "scope_roles: tending request {id} failed: {}",
        visible(&problem)
    );
    now.saturating_add(60 * MICROS_PER_SECOND)
}
