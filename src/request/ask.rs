//! Asking: for access, for something else than was asked for, for more time.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::person::Person;
use super::policy::{Auto, Kind, Policy, seconds};
use super::store::{self, Request, Statement, Told};
use super::{Error, MICROS_PER_SECOND, State, acting, after, authority, start, writable};
use crate::admission::network::Network;
use crate::audit::{self, Action, Value};
use crate::error::{report, require_preload};
use crate::label;
use crate::pg::arguments::Text;
use crate::pg::catalog::{self, Role};
use crate::pg::compat::{Peer, Port};
use crate::pg::name::Name;
use crate::pg::{clock, identity, statement};
use crate::temporary;
use crate::timestamp;

/// Of one person, for decisions or for their start.
const MOST_WAITING: usize = 20;
/// Of one person.
const MOST_A_DAY: usize = 200;
const DAY: i64 = 86_400 * MICROS_PER_SECOND;
const MOST_CHANGES: i32 = 50;
const FARTHEST_START: i64 = 90 * 86_400 * MICROS_PER_SECOND;
const MOST_BYTES: usize = 500;

/// `request, state, next`
pub type Row = (i64, String, String);

macro_rules! asks {
    ($(#[$about:meta])* $function:ident($($arguments:tt)*), $asked:expr) => {
        $(#[$about])*
        #[pg_extern(sql = false)]
        #[allow(clippy::type_complexity, clippy::too_many_arguments)]
        fn $function(
            $($arguments)*
        ) -> Result<
            TableIterator<'static, (name!(request, i64), name!(state, String), name!(next, String))>,
            ErrorReport,
        > {
            require_preload()?;
            let asked: Result<$crate::request::ask::Row, Error> = $asked;
            asked.map(TableIterator::once).map_err(report)
        }
    };
}
pub(super) use asks;

asks!(
    /// Documented in `sql/requests.sql`.
    request_access(
        target: Option<Name>,
        valid_for: Option<Interval>,
        reason: Option<Text>,
        ticket: Option<Text>,
        starts_at: Option<TimestampWithTimeZone>,
        policy: Option<Text>,
        break_glass: Option<bool>,
        call: pg_sys::FunctionCallInfo,
    ),
    Wish::new(valid_for, reason, ticket, starts_at, call)
    .ask(target, policy.as_deref(), break_glass.unwrap_or(false), None, |_| Ok(()))
);

asks!(
    /// Documented in `sql/requests.sql`.
    alter_request(
        request: Option<i64>,
        valid_for: Option<Interval>,
        reason: Option<Text>,
        ticket: Option<Text>,
        starts_at: Option<TimestampWithTimeZone>,
        call: pg_sys::FunctionCallInfo,
    ),
    Wish::new(valid_for, reason, ticket, starts_at, call)
    .alter(request)
);

asks!(
    /// Documented in `sql/requests.sql`.
    extend(
        request: Option<i64>,
        valid_for: Option<Interval>,
        reason: Option<Text>,
        ticket: Option<Text>,
        call: pg_sys::FunctionCallInfo,
    ),
    Wish::new(valid_for, reason, ticket, None, call)
    .extend(request)
);

/// What somebody asks for, apart from the role.
pub struct Wish {
    valid_for: Option<Interval>,
    reason: Option<String>,
    ticket: Option<String>,
    /// Unix microseconds.
    starts_at: Option<i64>,
    /// Has the client sent it as a statement of its own? What a view or a function of somebody else's asks for in one's name is nothing that
    /// nobody else is asked about.
    is_alone: bool,
}

impl Wish {
    pub fn new(
        valid_for: Option<Interval>,
        reason: Option<Text>,
        ticket: Option<Text>,
        starts_at: Option<TimestampWithTimeZone>,
        call: pg_sys::FunctionCallInfo,
    ) -> Self {
        Self {
            valid_for,
            reason: reason.map(|text| text.0),
            ticket: ticket.map(|text| text.0),
            starts_at: starts_at.map(clock::from_sql),
            is_alone: statement::is_call_alone(call),
        }
    }

    pub fn ask(
        self,
        target: Option<Name>,
        policy: Option<&str>,
        break_glass: bool,
        statement: Option<Statement>,
        judge: impl FnOnce(&mut Request) -> Result<(), Error>,
    ) -> Result<Row, Error> {
        writable()?;
        let Name(target) = target.ok_or(Error::Null("target"))?;
        let role = catalog::role_by_name(&target).ok_or(Error::NoSuchRole(target))?;
        let person = acting::now();
        if person.unnamed {
            return Err(Error::NoSubject);
        }
        if break_glass && !self.is_alone {
            return Err(Error::NotOnItsOwn("request_access"));
        }
        let policy = choose(&role, policy, statement.is_some())?;
        let now = clock::now();
        let mut request = Request {
            id: 0,
            policy: policy.name.clone(),
            kind: policy.is.kind,
            target: role.name.clone(),
            target_oid: role.oid.into(),
            login_oid: person.login,
            subject: person.subject.clone(),
            person,
            reason: None,
            ticket: None,
            seconds: policy.is.default_seconds,
            starts_at: None,
            state: State::Pending,
            revision: 1,
            extends: None,
            break_glass,
            signed: false,
            asked_at: now,
            until: after(now, policy.is.pending_seconds),
            active_from: None,
            ends_at: None,
            granted: None,
            granted_oid: None,
            statement,
            error: None,
            origin: store::origin(),
        };
        self.write_into(&mut request, &policy)?;
        check(&request, &policy)?;
        judge(&mut request)?;
        let function = match request.kind {
            Kind::Statement => "request_statement",
            _ => "request_access",
        };
        add(request, &policy, function, self.is_alone)
    }

    /// Takes what was asked for over into the request.
    fn write_into(&self, request: &mut Request, policy: &Policy) -> Result<(), Error> {
        if let Some(valid_for) = &self.valid_for {
            request.seconds = seconds("valid_for", valid_for)?;
        }
        request.reason = self.reason.clone().or(request.reason.take());
        request.ticket = self.ticket.clone().or(request.ticket.take());
        let now = clock::now();
        // What has passed is now.
        let starts_at = self.starts_at.or(request.starts_at);
        request.starts_at = starts_at.filter(|&at| at > now);
        judge_texts(request, policy)?;
        if request.seconds > policy.is.max_seconds {
            return Err(Error::bad(
                "valid_for",
                "It is longer than the policy's max_duration.",
            ));
        }
        if request
            .starts_at
            .is_some_and(|at| at > now.saturating_add(FARTHEST_START))
        {
            return Err(Error::bad("starts_at", "It is more than 90 days ahead."));
        }
        if !policy.is.when.allow(now) && !request.break_glass {
            return Err(Error::Hours(policy.name.clone()));
        }
        Ok(())
    }

    fn alter(self, id: Option<i64>) -> Result<Row, Error> {
        writable()?;
        let mut request = own(id, |_| Ok(()))?;
        if !request.state_at(clock::now()).waits() || request.break_glass {
            return Err(state_error(&request, "changed"));
        }
        let policy = store::policy_of(&request)?;
        if request.revision > MOST_CHANGES {
            return Err(Error::TooMany("this request has been changed 50 times"));
        }
        request.revision += 1;
        request.state = State::Pending;
        let now = clock::now();
        request.until = after(now, policy.is.pending_seconds);
        self.write_into(&mut request, &policy)?;
        if let Some(extended) = request.extends {
            within_cap(&request, &store::find(extended)?, &policy)?;
        }
        let person = acting::now();
        store::save(
            &request,
            &Told {
                policy: Some(&policy),
                ..Told::of("changed").by(&person)
            },
        )?;
        tell("alter_request", &request);
        settle(request, &policy, self.is_alone)
    }

    fn extend(self, id: Option<i64>) -> Result<Row, Error> {
        writable()?;
        let id = id.ok_or(Error::Null("request"))?;
        its_own(store::find(id)?)?;
        store::lock_more_time(id);
        let extended = its_own(store::find(id)?)?;
        if extended.state_at(clock::now()) != State::Active || extended.kind == Kind::Statement {
            return Err(state_error(&extended, "extended"));
        }
        if store::open_of(&extended.person)?
            .iter()
            .any(|open| open.extends == Some(extended.id) && open.state_at(clock::now()).waits())
        {
            return Err(Error::bad(
                "request",
                "You have asked for more time already, and it is not decided.",
            ));
        }
        let policy = store::policy_of(&extended)?;
        let now = clock::now();
        let person = acting::now();
        if !policy.lets_ask(identity::current_user()) {
            return Err(not_to_be_asked_for(&extended.target));
        }
        asks_seldom(&person)?;
        self.valid_for.as_ref().ok_or(Error::Null("valid_for"))?;
        let mut request = Request {
            id: 0,
            person,
            reason: None,
            ticket: None,
            state: State::Pending,
            revision: 1,
            extends: Some(extended.id),
            break_glass: false,
            signed: false,
            asked_at: now,
            until: after(now, policy.is.pending_seconds),
            starts_at: None,
            ..extended.clone()
        };
        self.write_into(&mut request, &policy)?;
        within_cap(&request, &extended, &policy)?;
        add(request, &policy, "extend", self.is_alone)
    }
}

/// The caller's own, locked; `look` is asked before that, and once more of what it is then.
pub fn own(
    id: Option<i64>,
    look: impl Fn(&Request) -> Result<(), Error>,
) -> Result<Request, Error> {
    let id = id.ok_or(Error::Null("request"))?;
    look(&its_own(store::find(id)?)?)?;
    let request = its_own(store::lock(id)?)?;
    look(&request).map(|()| request)
}

fn its_own(request: Request) -> Result<Request, Error> {
    match request.person.is(&acting::now()) {
        true => Ok(request),
        false => Err(Error::NotYours(request.id)),
    }
}

pub fn state_error(request: &Request, doing: &'static str) -> Error {
    let state = request.state_at(clock::now());
    Error::State {
        id: request.id,
        doing,
        state,
        until: match state {
            State::Expired => Some(request.until),
            State::Ended => request.ends_at,
            _ => None,
        },
    }
}

fn not_to_be_asked_for(target: &str) -> Error {
    Error::NotToBeAskedFor {
        target: target.to_owned(),
        caller: catalog::name_of(identity::current_user()),
    }
}

/// The policy by which the caller may ask for the role.
fn choose(role: &Role, named: Option<&str>, is_statement: bool) -> Result<Policy, Error> {
    let caller = identity::current_user();
    let fits = |policy: &Policy| {
        policy.gives(role.oid)
            && policy.lets_ask(caller)
            && (policy.is.kind == Kind::Statement) == is_statement
    };
    let mut found = match named {
        Some(name) => vec![store::policy(name)?],
        None => store::policies()?,
    };
    found.retain(fits);
    match <[Policy; 1]>::try_from(found) {
        Ok([policy]) => Ok(policy),
        Err(found) if found.is_empty() => Err(not_to_be_asked_for(&role.name)),
        Err(found) => Err(Error::Several {
            target: role.name.clone(),
            policies: found
                .into_iter()
                .map(|policy| format!("\"{}\"", policy.name))
                .collect(),
        }),
    }
}

fn judge_texts(request: &Request, policy: &Policy) -> Result<(), Error> {
    for (what, text) in [("reason", &request.reason), ("ticket", &request.ticket)] {
        if text.as_ref().is_some_and(|text| text.len() > MOST_BYTES) {
            return Err(Error::bad(what, "It is longer than 500 bytes."));
        }
    }
    let reason = request.reason.as_deref().unwrap_or_default();
    if let Some(pattern) = &policy.is.reason_pattern
        && !store::matches(reason, pattern)
    {
        return Err(Error::bad(
            "reason",
            "It does not say what the policy asks for (reason_pattern).",
        ));
    }
    if request.break_glass && reason.trim().is_empty() {
        return Err(Error::bad("reason", "Who breaks a glass says why."));
    }
    let no_ticket = request
        .ticket
        .as_deref()
        .is_none_or(|ticket| ticket.trim().is_empty());
    if policy.is.ticket_required && no_ticket {
        return Err(Error::bad("ticket", "The policy asks for one."));
    }
    Ok(())
}

/// What would be in the way at once, and is not to wait for somebody's decision.
fn check(request: &Request, policy: &Policy) -> Result<(), Error> {
    if request.break_glass && !policy.lets_break_glass(identity::current_user()) {
        return Err(Error::NotToBeAskedFor {
            target: request.target.clone(),
            caller: catalog::name_of(identity::current_user()),
        });
    }
    let is_for_a_login = request.kind == Kind::Membership;
    let login: pg_sys::Oid = request.login_oid.into();
    if is_for_a_login && (request.subject.is_some() || label::read(login).is_some()) {
        return Err(Error::NeedsALogin);
    }
    let creator = policy.is.creator.oid();
    if catalog::role_by_oid(creator).is_none() {
        return Err(Error::PolicyGone(policy.name.clone()));
    }
    let target = request.target();
    identity::acting_as(creator, || authority::over(request.kind, &target))?;
    if is_for_a_login {
        let has = identity::acting_as(creator, || temporary::could_grant(target.oid(), login))?;
        if let Some(until) = has {
            return Err(Error::HasIt { until });
        }
    }
    asks_seldom(&request.person)
}

/// Neither waits too much of this person, nor have they asked too often.
fn asks_seldom(person: &Person) -> Result<(), Error> {
    let now = clock::now();
    let open = store::open_of(person)?;
    let waiting = open.iter().filter(|open| open.state_at(now).waits());
    if waiting.count() >= MOST_WAITING {
        return Err(Error::TooMany("20 of your requests are waiting"));
    }
    // Nothing that is asked is ever forgotten.
    if store::asked_since(person, now.saturating_sub(DAY))? >= MOST_A_DAY {
        return Err(Error::TooMany(
            "you have asked 200 times in the last 24 hours",
        ));
    }
    Ok(())
}

/// All together it lasts no longer than the policy lets anything last.
fn within_cap(request: &Request, extended: &Request, policy: &Policy) -> Result<(), Error> {
    let (Some(from), Some(end)) = (extended.active_from, extended.ends_at) else {
        return Err(state_error(extended, "extended"));
    };
    let end = after(end, request.seconds);
    if end > after(from, policy.is.max_seconds) {
        return Err(Error::bad(
            "valid_for",
            "All together it is longer than the policy's max_duration.",
        ));
    }
    Ok(())
}

fn add(
    mut request: Request,
    policy: &Policy,
    function: &str,
    is_alone: bool,
) -> Result<Row, Error> {
    request.id = store::free_number()?;
    let person = request.person.clone();
    let told = Told {
        policy: Some(policy),
        ..Told::of("asked").by(&person)
    };
    store::add(&request, &told)?;
    tell(function, &request);
    settle(request, policy, is_alone)
}

/// For the audit trail.
fn tell(function: &str, request: &Request) {
    let fields = [
        ("request", Value::Number(request.id)),
        ("policy", Value::Text(&request.policy)),
        ("kind", Value::Text(request.kind.name())),
        ("seconds", Value::Number(request.seconds)),
        ("reason", request.reason.as_deref().into()),
        ("ticket", request.ticket.as_deref().into()),
    ];
    audit::administered(Action::Request, function, &request.target, &fields);
}

/// What needs nobody's decision goes on at once.
fn settle(mut request: Request, policy: &Policy, is_alone: bool) -> Result<Row, Error> {
    let event = if request.break_glass {
        Some("break_glass")
    } else {
        let auto = policy.is.auto_approve.as_ref();
        auto.filter(|auto| is_alone && holds(auto, &request))
            .map(|_| "auto_approved")
    };
    if let Some(event) = event {
        if event == "break_glass" {
            start::warn_of_break_glass(&request);
        }
        start::approve(&mut request, policy, &Told::of(event))?;
    }
    row(&request, policy)
}

fn row(request: &Request, policy: &Policy) -> Result<Row, Error> {
    let next = next(request, policy)?;
    Ok((request.id, request.state.name().to_owned(), next))
}

/// What happens next, in words.
pub fn next(request: &Request, policy: &Policy) -> Result<String, Error> {
    let until = timestamp::rfc3339(request.until);
    Ok(match (request.state, request.kind) {
        (State::Pending, _) => {
            let yes: Vec<Vec<u32>> = store::approvals(request)?
                .into_iter()
                .map(|yes| yes.roles)
                .collect();
            let needs = policy.missing(&yes).unwrap_or_default();
            format!("waits until {until} for the yes of {needs}")
        }
        (State::Approved, Kind::Membership) => match request.starts_at {
            Some(at) => format!("begins at {}", timestamp::rfc3339(at)),
            None => "begins as soon as the worker is there".into(),
        },
        (State::Approved, Kind::Credential) => {
            format!(
                "SELECT * FROM scope.take_credential({}) until {until}",
                request.id
            )
        }
        (State::Approved, Kind::Statement) => {
            format!(
                "SELECT * FROM scope.run_approved({}) until {until}",
                request.id
            )
        }
        (State::Active, _) => match request.ends_at {
            Some(end) => format!("lasts until {}", timestamp::rfc3339(end)),
            None => "lasts".into(),
        },
        (State::Failed, _) => request.error.clone().unwrap_or_default(),
        (state, _) => state.name().into(),
    })
}

/// Do all conditions hold under which nobody is asked?
fn holds(auto: &Auto, request: &Request) -> bool {
    let comes_from = |networks: &Vec<Network>| match Port::current().map(Port::remote) {
        Some(Peer::Tcp(address)) => networks.iter().any(|network| network.contains(address)),
        _ => false,
    };
    request.seconds <= auto.max_seconds
        && auto.addresses.as_ref().is_none_or(comes_from)
        && auto.when.allow(clock::now())
        && (auto.member_of.as_ref()).is_none_or(|role| role.has(identity::current_user()))
}
