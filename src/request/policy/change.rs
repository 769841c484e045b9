//! Making, changing and dropping policies.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::given::{self, Given, interval as interval_of};
use super::{Approval, Auto, Definition, Hours, Kind, Policy, RoleRef};
use crate::audit::{self, Action, Value};
use crate::credential::{deadline, itself, options, parts};
use crate::error::{report, require_preload};
use crate::guc;
use crate::login::change::time_zone;
use crate::pg::arguments::{JsonText, Text};
use crate::pg::name::Name;
use crate::pg::{catalog, identity, xact};
use crate::request::quorum::Needs;
use crate::request::{Error, authority, store, writable};

const MOST_ROLES: usize = 100;
const MOST_PEOPLE: usize = 10;
const LONGEST_WAIT: i64 = 90 * 86_400;

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn create_request_policy(
    name: Option<Text>,
    targets: Option<Vec<Option<Name>>>,
    requesters: Option<Vec<Option<Name>>>,
    approvals: Option<JsonText>,
    require: Option<Text>,
    max_duration: Option<Interval>,
    default_duration: Option<Interval>,
    reason_pattern: Option<Text>,
    ticket_required: Option<bool>,
    pending_for: Option<Interval>,
    hours: Option<Vec<Option<Text>>>,
    zone: Option<Text>,
    auto_approve: Option<JsonText>,
    break_glass: Option<Vec<Option<Name>>>,
    kind: Option<Text>,
    replace: Option<bool>,
) -> Result<(), ErrorReport> {
    require_preload()?;
    let create = || -> Result<(), Error> {
        let name = required("name", name)?;
        let duration =
            |what, interval: &Interval| Ok::<_, Error>(interval_of(seconds(what, interval)?));
        let given = Given {
            kind: required("kind", kind)?.0,
            targets: names("targets", required("targets", targets)?)?,
            requesters: names("requesters", required("requesters", requesters)?)?,
            approvals: read_approvals(&required("approvals", approvals)?.0)?,
            require: required("require", require)?.0,
            max_duration: duration("max_duration", &required("max_duration", max_duration)?)?,
            default_duration: default_duration
                .map(|given| duration("default_duration", &given))
                .transpose()?,
            pending_for: duration("pending_for", &required("pending_for", pending_for)?)?,
            reason_pattern: reason_pattern.map(|pattern| pattern.0),
            ticket_required: ticket_required.unwrap_or(false),
            hours: texts("hours", hours.unwrap_or_default())?,
            time_zone: zone.map(|zone| zone.0),
            auto_approve: auto_approve
                .map(|conditions| read_auto(&conditions.0))
                .transpose()?,
            break_glass: names("break_glass", break_glass.unwrap_or_default())?,
        };
        put(&name, &given, replace.unwrap_or(false))
    };
    create().map_err(report)
}

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
fn drop_request_policy(name: Option<Text>, if_exists: Option<bool>) -> Result<(), ErrorReport> {
    require_preload()?;
    let drop = || -> Result<(), Error> {
        match drop_own(&required("name", name)?) {
            Err(Error::NoSuchPolicy(_)) if if_exists == Some(true) => Ok(()),
            dropped => dropped,
        }
    };
    drop().map_err(report)
}

/// Makes or replaces a policy, as whoever acts now.
pub fn put(name: &str, given: &Given, replace: bool) -> Result<(), Error> {
    create_policy(name, given.read(None)?, replace)
}

pub fn drop_own(name: &str) -> Result<(), Error> {
    writable()?;
    require_own(name)?;
    let policy = claim(name)?;
    store::drop_policy(&policy.name)?;
    audit::administered(Action::Policy, "drop_request_policy", &policy.name, &[]);
    Ok(())
}

/// Those whose creator it was are this role's from now on, and given in its name.
pub fn hand_over(
    is_from: &impl Fn(&RoleRef) -> bool,
    to: &catalog::Role,
) -> Result<Vec<String>, Error> {
    let to_ref = RoleRef::of(to);
    let is_to_go = |policy: &Policy| policy.is.creator != to_ref && is_from(&policy.is.creator);
    let mut handed = Vec::new();
    for policy in store::policies()?.into_iter().filter(is_to_go) {
        store::lock_policy(&policy.name);
        let Some(mut policy) = store::policy(&policy.name).ok().filter(is_to_go) else {
            continue;
        };
        let former = policy.is.creator.shown();
        policy.is.creator = to_ref.clone();
        store::write_policy(&policy.name, &policy.is)?;
        let fields = [
            ("created_by", Value::Text(&to.name)),
            ("formerly", Value::Text(&former)),
        ];
        audit::administered(Action::Policy, "reassign", &policy.name, &fields);
        handed.push(policy.name);
    }
    Ok(handed)
}

fn required<T>(what: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or(Error::Null(what))
}

/// The policy, if it is the caller's.
pub fn require_own(name: &str) -> Result<Policy, Error> {
    let policy = store::policy(name)?;
    match policy.is_of(identity::current_user()) {
        true => Ok(policy),
        false => Err(Error::NotYourPolicy {
            policy: policy.name,
            creator: policy.is.creator.shown(),
        }),
    }
}

/// The same, locked; so is a name that no policy has. Others' are not locked.
pub fn claim(name: &str) -> Result<Policy, Error> {
    match require_own(name) {
        Ok(_) | Err(Error::NoSuchPolicy(_)) => {
            store::lock_policy(name);
            require_own(name)
        }
        refused => refused,
    }
}

/// May whoever acts now make this, whatever has the name now?
pub fn require_new(name: &str, definition: &Definition) -> Result<(), Error> {
    if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
        return Err(Error::bad(
            "name",
            "It has 1 to 63 bytes, and no control characters.",
        ));
    }
    // A right that ends makes nothing that stays.
    if itself::ends_at().is_some() {
        return Err(Error::EndsItself(definition.creator.name.clone()));
    }
    check(definition)?;
    if let Some(pattern) = &definition.reason_pattern {
        let is_one = xact::subtransaction(|| store::matches("", pattern)).is_ok();
        if !is_one {
            return Err(Error::bad(
                "reason_pattern",
                "It is no regular expression of PostgreSQL's.",
            ));
        }
    }
    authority::over_targets(definition)
}

/// It stays with its creator, whose authority is what counts; where that role is gone it is the caller's.
pub fn require_instead_of(before: &Policy, definition: &mut Definition) -> Result<(), Error> {
    let creator = &before.is.creator;
    if catalog::role_by_oid(creator.oid()).is_none() {
        return Ok(());
    }
    definition.creator = creator.clone();
    identity::acting_as(creator.oid(), || authority::over_targets(definition))
}

fn create_policy(name: &str, mut definition: Definition, replace: bool) -> Result<(), Error> {
    writable()?;
    require_new(name, &definition)?;
    match claim(name) {
        Ok(before) if replace => require_instead_of(&before, &mut definition)?,
        Ok(_) => return Err(Error::PolicyExists(name.to_owned())),
        Err(Error::NoSuchPolicy(_)) => {}
        Err(Error::NotYourPolicy { .. }) if !replace => {
            return Err(Error::PolicyExists(name.to_owned()));
        }
        Err(error) => return Err(error),
    }
    store::write_policy(name, &definition)?;
    let names = |roles: &[RoleRef]| -> Vec<String> { roles.iter().map(RoleRef::shown).collect() };
    let (targets, requesters) = (names(&definition.targets), names(&definition.requesters));
    let policy = Policy {
        name: name.to_owned(),
        is: definition,
    };
    let approvals = policy.approvals_in_words();
    let fields = [
        ("kind", Value::Text(policy.is.kind.name())),
        ("targets", Value::Texts(&targets)),
        ("requesters", Value::Texts(&requesters)),
        ("approvals", Value::Text(&approvals)),
    ];
    audit::administered(Action::Policy, "create_request_policy", name, &fields);
    Ok(())
}

fn check(definition: &Definition) -> Result<(), Error> {
    let max = guc::max_ttl();
    for (what, seconds) in [
        ("max_duration", definition.max_seconds),
        ("default_duration", definition.default_seconds),
    ] {
        if seconds > max {
            return Err(Error::bad(what, "It is longer than scope_roles.max_ttl."));
        }
    }
    if definition.default_seconds > definition.max_seconds {
        return Err(Error::bad(
            "default_duration",
            "It is longer than max_duration.",
        ));
    }
    if definition.pending_seconds > LONGEST_WAIT {
        return Err(Error::bad("pending_for", "It is longer than 90 days."));
    }
    for (what, list) in [
        ("targets", definition.targets.len()),
        ("requesters", definition.requesters.len()),
        ("approvals", definition.approvals.len()),
    ] {
        if list == 0 {
            return Err(Error::bad(what, "There must be at least one."));
        }
    }
    let mut roles: Vec<u32> = definition.approvals.iter().map(Needs::role).collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.len() < definition.approvals.len() {
        return Err(Error::bad("approvals", "A role is there twice."));
    }
    if let Some(auto) = &definition.auto_approve
        && auto.max_seconds > definition.max_seconds
    {
        return Err(Error::bad(
            "auto_approve",
            "Its max_duration is longer than that of the policy.",
        ));
    }
    Ok(())
}

fn kind_named(text: &str) -> Result<Kind, Error> {
    let kinds = [Kind::Membership, Kind::Credential, Kind::Statement];
    let found = kinds.into_iter().find(|kind| kind.name() == text);
    found.ok_or(Error::bad(
        "kind",
        "It is membership, credential or statement.",
    ))
}

fn names(what: &'static str, names: Vec<Option<Name>>) -> Result<Vec<String>, Error> {
    let names = names.into_iter().map(|name| name.map(|Name(name)| name));
    names.collect::<Option<_>>().ok_or(Error::Null(what))
}

fn texts(what: &'static str, texts: Vec<Option<Text>>) -> Result<Vec<String>, Error> {
    let texts = texts.into_iter().map(|text| text.map(|text| text.0));
    texts.collect::<Option<_>>().ok_or(Error::Null(what))
}

fn roles(what: &'static str, names: &[String]) -> Result<Vec<RoleRef>, Error> {
    if names.len() > MOST_ROLES {
        return Err(Error::bad(what, "It has more than 100 roles."));
    }
    let mut found: Vec<RoleRef> = Vec::new();
    for name in names {
        let role = role(name)?;
        if !found.contains(&role) {
            found.push(role);
        }
    }
    Ok(found)
}

fn role(name: &str) -> Result<RoleRef, Error> {
    let role = catalog::role_by_name(name).ok_or_else(|| Error::NoSuchRole(name.to_owned()))?;
    Ok(RoleRef::of(&role))
}

/// An interval in seconds: a month has 30 days, a day 24 hours.
pub fn seconds(what: &'static str, interval: &Interval) -> Result<i64, Error> {
    const MONTH: i64 = 30;
    const DAY: i64 = 86_400;
    const MICROS: i64 = 1_000_000;
    let interval = parts(interval);
    deadline::bound(interval, i64::MAX / MICROS / 2)?;
    let days = i64::from(interval.months) * MONTH + i64::from(interval.days);
    let seconds = days * DAY + interval.micros / MICROS;
    match seconds > 0 {
        true => Ok(seconds),
        false => Err(Error::bad(what, "It must be at least a second.")),
    }
}

fn read_approvals(json: &str) -> Result<Vec<given::Approval>, Error> {
    serde_json::from_str(json).map_err(|_| {
        Error::bad(
            "approvals",
            "It is no list such as [{\"role\": \"dba\", \"n\": 1}].",
        )
    })
}

fn read_auto(json: &str) -> Result<given::Auto, Error> {
    serde_json::from_str(json).map_err(|_| {
        Error::bad(
            "auto_approve",
            "It is no object such as {\"max_duration\": \"1 hour\", \"addresses\": [\"10.0.0.0/8\"], \"hours\": [\"Mon-Fri 08:00-18:00\"], \
             \"time_zone\": \"Europe/Vienna\", \"member_of\": \"oncall\"}, where max_duration is needed.",
        )
    })
}

impl Given {
    /// With the roles that have these names now; the creator is whoever acts. `before`: as it was, whose time zones are known.
    pub fn read(&self, before: Option<&Definition>) -> Result<Definition, Error> {
        let creator = catalog::role_by_oid(identity::current_user()).ok_or(Error::Vanished)?;
        let max_seconds = seconds_of("max_duration", &self.max_duration)?;
        let default_duration = self.default_duration.as_deref();
        let default_seconds = default_duration.map(|given| seconds_of("default_duration", given));
        let zones: Vec<&str> = before.map(Definition::zones).unwrap_or_default();
        Ok(Definition {
            kind: kind_named(&self.kind)?,
            targets: roles("targets", &self.targets)?,
            requesters: roles("requesters", &self.requesters)?,
            approvals: approvals(&self.approvals)?,
            any: match &*self.require {
                "all" => false,
                "any" => true,
                _ => return Err(Error::bad("require", "It is all or any.")),
            },
            max_seconds,
            default_seconds: default_seconds.transpose()?.unwrap_or(max_seconds),
            pending_seconds: seconds_of("pending_for", &self.pending_for)?,
            reason_pattern: self.reason_pattern.clone(),
            ticket_required: self.ticket_required,
            when: hours(&self.hours, self.time_zone.as_deref(), &zones)?,
            auto_approve: match &self.auto_approve {
                Some(conditions) => Some(auto(conditions, &zones)?),
                None => None,
            },
            break_glass: roles("break_glass", &self.break_glass)?,
            creator: RoleRef::of(&creator),
        })
    }
}

fn seconds_of(what: &'static str, interval: &str) -> Result<i64, Error> {
    match store::seconds_of(interval) {
        Some(seconds) if seconds > 0 => Ok(seconds),
        Some(_) => Err(Error::bad(what, "It must be at least a second.")),
        None => Err(Error::bad(what, "It is no interval.")),
    }
}

fn approvals(given: &[given::Approval]) -> Result<Vec<Approval>, Error> {
    let is_out_of_range = |given: &given::Approval| !(1..=MOST_PEOPLE).contains(&given.n);
    if given.len() > MOST_PEOPLE || given.iter().any(is_out_of_range) {
        return Err(Error::bad(
            "approvals",
            "n is 1 to 10, and there are at most 10 roles.",
        ));
    }
    let read = |given: &given::Approval| {
        let n = given.n;
        role(&given.role).map(|role| Approval { role, n })
    };
    given.iter().map(read).collect()
}

fn hours(given: &[String], zone: Option<&str>, known: &[&str]) -> Result<Hours, Error> {
    let hours = options::hours(given.iter().cloned().map(Some).collect())?;
    if hours.is_empty() {
        return Ok(Hours::default());
    }
    let zone = zone.ok_or(Error::bad("time_zone", "Hours are those of a time zone."))?;
    let zone = match known.contains(&zone) {
        true => Some(zone.to_owned()),
        // It takes long.
        false => identity::elevated(|| time_zone(zone))?,
    };
    let zone = zone.ok_or(Error::bad(
        "time_zone",
        "No time zone of pg_timezone_names has this name.",
    ))?;
    Ok(Hours {
        hours,
        zone: Some(zone),
    })
}

fn auto(given: &given::Auto, known: &[&str]) -> Result<Auto, Error> {
    let seconds = store::seconds_of(&given.max_duration).filter(|&seconds| seconds > 0);
    let networks =
        |addresses: &Vec<String>| options::networks(addresses.iter().cloned().map(Some).collect());
    Ok(Auto {
        max_seconds: seconds.ok_or(Error::bad(
            "auto_approve",
            "Its max_duration is no interval.",
        ))?,
        addresses: given.addresses.as_ref().map(networks).transpose()?,
        when: hours(&given.hours, given.time_zone.as_deref(), known)?,
        member_of: given.member_of.as_deref().map(role).transpose()?,
    })
}
