//! Deciding: yes and no, taking back, signing what was taken by breaking a glass; and taking what was approved.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ask::{next, own, state_error};
use super::person::{Person, may_be_the_same};
use super::policy::{Kind, Policy};
use super::store::{self, Request, Told};
use super::{Error, State, acting, start, writable};
use crate::audit::{self, Action, Value};
use crate::credential::Issued;
use crate::error::{report, require_preload};
use crate::pg::arguments::Text;
use crate::pg::name::Name;
use crate::pg::{catalog, clock, identity, statement, xact};
use crate::session::switch_state;
use crate::switch_text::Extent;

const MOST_BYTES: usize = 500;

macro_rules! decides {
    ($($(#[$about:meta])* $function:ident, $does:path;)*) => {
        $($(#[$about])*
        #[pg_extern(sql = false)]
        fn $function(
            request: Option<i64>,
            note: Option<Text>,
            call: pg_sys::FunctionCallInfo,
        ) -> Result<String, ErrorReport> {
            require_preload()?;
            let decide = || -> Result<String, Error> {
                writable()?;
                let note = note.as_deref();
                if note.is_some_and(|note| note.len() > MOST_BYTES) {
                    return Err(Error::bad("note", "It is longer than 500 bytes."));
                }
                let id = request.ok_or(Error::Null("request"))?;
                $does(id, note, call)
            };
            decide().map_err(report)
        })*
    };
}

decides!(
    /// Documented in `sql/requests.sql`.
    approve, say_yes;
    /// Documented in `sql/requests.sql`.
    deny, say_no;
    /// Documented in `sql/requests.sql`.
    withdraw, take_back;
    /// Documented in `sql/requests.sql`.
    revoke, end_it;
    /// Documented in `sql/requests.sql`.
    sign, look_at;
);

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn take_credential(
    request: Option<i64>,
    call: pg_sys::FunctionCallInfo,
) -> Result<
    TableIterator<
        'static,
        (
            name!(role_name, Name),
            name!(password, String),
            name!(valid_until, Option<TimestampWithTimeZone>),
            name!(connection_uri, String),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let take = || -> Result<Issued, Error> {
        writable()?;
        sent_by_the_client(call, "take_credential")?;
        let mut request = own(request, |_| holds_up_nobody("take_credential"))?;
        let now = clock::now();
        let is_due = request.starts_at.is_none_or(|at| at <= now);
        if request.kind != Kind::Credential
            || request.extends.is_some()
            || request.state_at(now) != State::Approved
            || !is_due
        {
            return Err(state_error(&request, "taken"));
        }
        start::take(&mut request)
    };
    let issued = take().map_err(report)?;
    Ok(TableIterator::once(issued.into_row()))
}

/// Nothing of somebody else's has called it: a view, a function or a trigger that whoever may decide has used.
pub fn sent_by_the_client(
    call: pg_sys::FunctionCallInfo,
    function: &'static str,
) -> Result<(), Error> {
    match statement::is_call_alone(call) {
        true => Ok(()),
        false => Err(Error::NotOnItsOwn(function)),
    }
}

/// Who has no say over a role is not to hold up those who have, or the end of what comes of a request, in a transaction that stays open. Whoever
/// acts by a token for a transaction has no other way.
fn holds_up_nobody(function: &'static str) -> Result<(), Error> {
    let has_to = switch_state::with(|state| state.extent == Extent::Transaction);
    match has_to == Some(true) || xact::ends_at_once() {
        true => Ok(()),
        false => Err(Error::HoldsUp(function)),
    }
}

/// The same of a statement that does nothing else.
fn ends_alone(call: pg_sys::FunctionCallInfo, function: &'static str) -> Result<(), Error> {
    sent_by_the_client(call, function)?;
    holds_up_nobody(function)
}

/// Who decides, by which roles, on a request that is locked then.
struct Decision {
    request: Request,
    policy: Policy,
    person: Person,
    roles: Vec<u32>,
}

impl Decision {
    fn on(id: i64) -> Result<Self, Error> {
        // Nobody else takes the lock, or learns more.
        Self::may(store::find(id)?)?;
        Self::may(store::lock(id)?)
    }

    fn may(request: Request) -> Result<Self, Error> {
        let id = request.id;
        let person = acting::now();
        let policy = store::policy_of(&request)?;
        let caller = identity::current_user();
        let roles = policy.approving_roles(caller);
        if roles.is_empty() {
            return Err(Error::MayNotDecide {
                id,
                needs: policy.approvals_in_words(),
                caller: catalog::name_of(caller),
            });
        }
        if let Some(why) = may_be_the_same(&person, &request.person) {
            return Err(Error::Oneself { id, why });
        }
        Ok(Self {
            request,
            policy,
            person,
            roles,
        })
    }

    fn told<'a>(&'a self, event: &'static str, note: Option<&'a str>) -> Told<'a> {
        Told {
            roles: &self.roles,
            policy: Some(&self.policy),
            ..Told::of(event).note(note).by(&self.person)
        }
    }
}

fn say_yes(id: i64, note: Option<&str>, call: pg_sys::FunctionCallInfo) -> Result<String, Error> {
    sent_by_the_client(call, "approve")?;
    let decision = Decision::on(id)?;
    let request = &decision.request;
    if request.state_at(clock::now()) != State::Pending {
        return Err(state_error(request, "approved"));
    }
    let mut yes: Vec<Vec<u32>> = Vec::new();
    for before in store::approvals(request)? {
        if may_be_the_same(&decision.person, &before.person).is_some() {
            return Err(Error::Again { id });
        }
        yes.push(before.roles);
    }
    yes.push(decision.roles.clone());
    tell("approve", request, note);
    let mut request = request.clone();
    let told = decision.told("approved", note);
    match decision.policy.missing(&yes) {
        Some(_) => store::save(&request, &told)?,
        None => start::approve(&mut request, &decision.policy, &told)?,
    }
    said(&request, &decision.policy)
}

fn say_no(id: i64, note: Option<&str>, call: pg_sys::FunctionCallInfo) -> Result<String, Error> {
    sent_by_the_client(call, "deny")?;
    let decision = Decision::on(id)?;
    let mut request = decision.request.clone();
    if !request.state_at(clock::now()).waits() {
        return Err(state_error(&request, "denied"));
    }
    tell("deny", &request, note);
    start::end(&mut request, State::Denied, &decision.told("denied", note))?;
    said(&request, &decision.policy)
}

fn look_at(id: i64, note: Option<&str>, call: pg_sys::FunctionCallInfo) -> Result<String, Error> {
    sent_by_the_client(call, "sign")?;
    note.filter(|note| !note.trim().is_empty())
        .ok_or(Error::Null("note"))?;
    let decision = Decision::on(id)?;
    let mut request = decision.request.clone();
    if !request.break_glass || request.signed {
        return Err(state_error(&request, "signed"));
    }
    tell("sign", &request, note);
    request.signed = true;
    store::save(&request, &decision.told("signed", note))?;
    said(&request, &decision.policy)
}

fn take_back(id: i64, note: Option<&str>, call: pg_sys::FunctionCallInfo) -> Result<String, Error> {
    // Before anything is locked; what has begun meanwhile, after.
    let mut request = own(Some(id), |request| match request.state_at(clock::now()) {
        State::Active => ends_alone(call, "withdraw"),
        _ => Ok(()),
    })?;
    let person = acting::now();
    let state = match request.state_at(clock::now()) {
        State::Pending | State::Approved => State::Withdrawn,
        // Given back.
        State::Active => State::Revoked,
        _ => return Err(state_error(&request, "withdrawn")),
    };
    tell("withdraw", &request, note);
    start::end(
        &mut request,
        state,
        &Told::of("withdrawn").note(note).by(&person),
    )?;
    Ok(state.name().to_owned())
}

fn end_it(id: i64, note: Option<&str>, call: pg_sys::FunctionCallInfo) -> Result<String, Error> {
    let person = acting::now();
    let may = |request: Request| {
        match right_to_end(&request, &person)? {
            None => return Err(Error::NotYours(id)),
            Some(Right::OfAsker) => ends_alone(call, "revoke")?,
            Some(Right::OfOthers) => {}
        }
        Ok(request)
    };
    may(store::find(id)?)?;
    let mut request = may(store::lock(id)?)?;
    if !request.state_at(clock::now()).is_open() {
        return Err(state_error(&request, "revoked"));
    }
    tell("revoke", &request, note);
    let told = Told::of("revoked").note(note).by(&person);
    start::end(&mut request, State::Revoked, &told)?;
    Ok(State::Revoked.name().to_owned())
}

/// Is it for the caller to see what a request would do?
pub fn may_look(request: &Request) -> Result<(), Error> {
    match right_to_end(request, &acting::now())? {
        // What the planner knows of the role's tables is not the asker's until somebody has said yes.
        Some(Right::OfAsker) if request.state_at(clock::now()) != State::Approved => {
            Err(state_error(request, "explained"))
        }
        Some(_) => Ok(()),
        None => Err(Error::NotYours(request.id)),
    }
}

/// By which right somebody ends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    OfAsker,
    OfOthers,
}

/// Who may decide, whose policy it is, superusers; who asked.
fn right_to_end(request: &Request, person: &Person) -> Result<Option<Right>, Error> {
    let caller = identity::current_user();
    if identity::is_superuser() {
        return Ok(Some(Right::OfOthers));
    }
    let is_askers = request.person.is(person);
    let (is_owners, is_deciders) = match store::policy_of(request) {
        Ok(policy) => (
            policy.is_of(caller),
            !policy.approving_roles(caller).is_empty(),
        ),
        Err(Error::PolicyGone(_)) => (false, false),
        Err(error) => return Err(error),
    };
    Ok(match is_askers {
        _ if is_owners => Some(Right::OfOthers),
        true => Some(Right::OfAsker),
        false => is_deciders.then_some(Right::OfOthers),
    })
}

fn tell(function: &str, request: &Request, note: Option<&str>) {
    let who = request.person.shown();
    let fields = [
        ("request", Value::Number(request.id)),
        ("requester", Value::Text(who)),
        ("policy", Value::Text(&request.policy)),
        ("note", note.into()),
    ];
    audit::administered(Action::Request, function, &request.target, &fields);
}

fn said(request: &Request, policy: &Policy) -> Result<String, Error> {
    let next = next(request, policy)?;
    Ok(match next.as_str() == request.state.name() {
        true => next,
        false => format!("{}: {next}", request.state.name()),
    })
}
