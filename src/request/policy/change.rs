//! Making, changing and dropping policies.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::Deserialize;

use super::{Approval, Auto, Definition, Hours, Kind, Policy, RoleRef};
use crate::audit::{self, Action, Value};
use crate::credential::{deadline, itself, options, parts};
use crate::error::{report, require_preload};
use crate::guc;
use crate::login::change::time_zone;
use crate::pg::arguments::{JsonText, Text, strings};
use crate::pg::name::Name;
use crate::pg::{catalog, identity, xact};
use crate::request::quorum::Needs;
use crate::request::{Error, authority, store};

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
        let max_seconds = seconds("max_duration", &required("max_duration", max_duration)?)?;
        let default_seconds = match default_duration {
            Some(given) => seconds("default_duration", &given)?,
            None => max_seconds,
        };
        let require = required("require", require)?;
        let definition = Definition {
            kind: kind_named(&required("kind", kind)?)?,
            targets: roles("targets", required("targets", targets)?)?,
            requesters: roles("requesters", required("requesters", requesters)?)?,
            approvals: read_approvals(&required("approvals", approvals)?.0)?,
            any: match &*require {
                "all" => false,
                "any" => true,
                _ => return Err(Error::bad("require", "It is all or any.")),
            },
            max_seconds,
            default_seconds,
            pending_seconds: seconds("pending_for", &required("pending_for", pending_for)?)?,
            reason_pattern: reason_pattern.map(|pattern| pattern.0),
            ticket_required: ticket_required.unwrap_or(false),
            when: read_hours(strings(hours).unwrap_or_default(), zone.as_deref())?,
            auto_approve: match auto_approve {
                Some(conditions) => Some(read_auto(&conditions.0)?),
                None => None,
            },
            break_glass: roles("break_glass", break_glass.unwrap_or_default())?,
            creator: creator()?,
        };
        create_policy(&name, definition, replace.unwrap_or(false))
    };
    create().map_err(report)
}

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
fn drop_request_policy(name: Option<Text>, if_exists: Option<bool>) -> Result<(), ErrorReport> {
    require_preload()?;
    let drop = || -> Result<(), Error> {
        let name = required("name", name)?;
        writable()?;
        let policy = match own(&name) {
            Err(Error::NoSuchPolicy(_)) if if_exists == Some(true) => return Ok(()),
            found => found?,
        };
        store::drop_policy(&policy.name)?;
        audit::administered(Action::Policy, "drop_request_policy", &policy.name, &[]);
        Ok(())
    };
    drop().map_err(report)
}

fn required<T>(what: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or(Error::Null(what))
}

fn writable() -> Result<(), Error> {
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    Ok(())
}

/// Who makes it. A right that ends makes nothing that stays.
fn creator() -> Result<RoleRef, Error> {
    let creator = catalog::role_by_oid(identity::current_user()).ok_or(Error::Vanished)?;
    if itself::ends_at().is_some() {
        return Err(Error::EndsItself(creator.name));
    }
    Ok(RoleRef::of(&creator))
}

/// The policy, locked, if it is the caller's.
fn own(name: &str) -> Result<Policy, Error> {
    let caller = identity::current_user();
    let check = |policy: Policy| match policy.is_of(caller) {
        true => Ok(policy),
        false => Err(Error::NotYourPolicy {
            policy: policy.name,
            creator: policy.is.creator.shown(),
        }),
    };
    check(store::policy(name)?)?;
    store::lock_policy(name);
    check(store::policy(name)?)
}

fn create_policy(name: &str, mut definition: Definition, replace: bool) -> Result<(), Error> {
    writable()?;
    if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
        return Err(Error::bad(
            "name",
            "It has 1 to 63 bytes, and no control characters.",
        ));
    }
    check(&definition)?;
    if let Some(pattern) = &definition.reason_pattern {
        let is_one = xact::subtransaction(|| store::matches("", pattern)).is_ok();
        if !is_one {
            return Err(Error::bad(
                "reason_pattern",
                "It is no regular expression of PostgreSQL's.",
            ));
        }
    }
    authority::over_targets(&definition)?;
    match own(name) {
        Ok(before) if replace => {
            // It stays with its creator, whose authority is what counts.
            definition.creator = before.is.creator;
            identity::acting_as(definition.creator.oid(), || {
                authority::over_targets(&definition)
            })?;
        }
        Ok(_) => return Err(Error::PolicyExists(name.to_owned())),
        Err(Error::NoSuchPolicy(_)) => store::lock_policy(name),
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

fn roles(what: &'static str, names: Vec<Option<Name>>) -> Result<Vec<RoleRef>, Error> {
    if names.len() > MOST_ROLES {
        return Err(Error::bad(what, "It has more than 100 roles."));
    }
    let mut found: Vec<RoleRef> = Vec::new();
    for name in names {
        let Name(name) = name.ok_or(Error::Null(what))?;
        let role = role(name)?;
        if !found.contains(&role) {
            found.push(role);
        }
    }
    Ok(found)
}

fn role(name: String) -> Result<RoleRef, Error> {
    let role = catalog::role_by_name(&name).ok_or(Error::NoSuchRole(name))?;
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

fn read_approvals(json: &str) -> Result<Vec<Approval>, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        role: String,
        #[serde(default = "one")]
        n: usize,
    }
    fn one() -> usize {
        1
    }
    let given: Vec<Given> = serde_json::from_str(json).map_err(|_| {
        Error::bad(
            "approvals",
            "It is no list such as [{\"role\": \"dba\", \"n\": 1}].",
        )
    })?;
    if given.len() > MOST_PEOPLE
        || given
            .iter()
            .any(|given| !(1..=MOST_PEOPLE).contains(&given.n))
    {
        return Err(Error::bad(
            "approvals",
            "n is 1 to 10, and there are at most 10 roles.",
        ));
    }
    let read = |given: Given| {
        let n = given.n;
        role(given.role).map(|role| Approval { role, n })
    };
    given.into_iter().map(read).collect()
}

fn read_hours(hours: Vec<Option<String>>, zone: Option<&str>) -> Result<Hours, Error> {
    let hours = options::hours(hours)?;
    if hours.is_empty() {
        return Ok(Hours::default());
    }
    let zone = zone.ok_or(Error::bad("time_zone", "Hours are those of a time zone."))?;
    let known = identity::elevated(|| time_zone(zone))?;
    let known = known.ok_or(Error::bad(
        "time_zone",
        "No time zone of pg_timezone_names has this name.",
    ))?;
    Ok(Hours {
        hours,
        zone: Some(known),
    })
}

fn read_auto(json: &str) -> Result<Auto, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        max_duration: String,
        addresses: Option<Vec<String>>,
        #[serde(default)]
        hours: Vec<String>,
        time_zone: Option<String>,
        member_of: Option<String>,
    }
    let given: Given = serde_json::from_str(json).map_err(|_| {
        Error::bad(
            "auto_approve",
            "It is no object such as {\"max_duration\": \"1 hour\", \"addresses\": [\"10.0.0.0/8\"], \"hours\": [\"Mon-Fri 08:00-18:00\"], \
             \"time_zone\": \"Europe/Vienna\", \"member_of\": \"oncall\"}, where max_duration is needed.",
        )
    })?;
    let texts = |texts: Vec<String>| texts.into_iter().map(Some).collect();
    let seconds = store::seconds_of(&given.max_duration).filter(|&seconds| seconds > 0);
    Ok(Auto {
        max_seconds: seconds.ok_or(Error::bad(
            "auto_approve",
            "Its max_duration is no interval.",
        ))?,
        addresses: match given.addresses {
            Some(addresses) => Some(options::networks(texts(addresses))?),
            None => None,
        },
        when: read_hours(texts(given.hours), given.time_zone.as_deref())?,
        member_of: given.member_of.map(role).transpose()?,
    })
}
