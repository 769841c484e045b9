//! What the caller may see of requests, and may ask for.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::person::may_be_the_same;
use super::policy::Policy;
use super::{Error, acting, store};
use crate::access::PG_MONITOR;
use crate::error::{report, require_preload};
use crate::pg::name::Name;
use crate::pg::{catalog, clock, identity};
use crate::request::State;

/// `request, mine, to_decide, needs`
type Row = (i64, bool, bool, Option<String>);

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn visible_requests() -> Result<
    TableIterator<
        'static,
        (
            name!(request, i64),
            name!(mine, bool),
            name!(to_decide, bool),
            name!(needs, Option<String>),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let rows = visible().map_err(report)?;
    Ok(TableIterator::new(rows))
}

fn visible() -> Result<Vec<Row>, Error> {
    let caller = identity::current_user();
    let person = acting::now();
    let policies = store::policies()?;
    let is_mine =
        |policy: &&Policy| policy.is_of(caller) || !policy.approving_roles(caller).is_empty();
    let seen: Vec<String> = policies
        .iter()
        .filter(is_mine)
        .map(|policy| policy.name.clone())
        .collect();
    let all = catalog::has_privileges_of(caller, PG_MONITOR.into());
    let now = clock::now();
    let mut rows = Vec::new();
    for found in store::seen_by(&person, &seen, all)? {
        pgrx::check_for_interrupts!();
        // OIDs of another server, or of before a restore, are others' here.
        let mine = found.person.is(&person) && (found.subject.is_some() || found.is_of_here());
        let policy = policies.iter().find(|policy| found.is_by(policy));
        if !mine && !all && !policy.is_some_and(|policy| seen.contains(&policy.name)) {
            continue;
        }
        let (mut to_decide, mut needs) = (false, None);
        if let Some(policy) = policy
            && found.state_at(now) == State::Pending
        {
            let yes = store::approvals(&found)?;
            to_decide = !policy.approving_roles(caller).is_empty()
                && may_be_the_same(&person, &found.person).is_none()
                && !yes
                    .iter()
                    .any(|yes| may_be_the_same(&person, &yes.person).is_some());
            let yes: Vec<Vec<u32>> = yes.into_iter().map(|yes| yes.roles).collect();
            needs = policy.missing(&yes);
        }
        rows.push((found.id, mine, to_decide, needs));
    }
    Ok(rows)
}

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn my_options() -> Result<
    TableIterator<
        'static,
        (
            name!(target, Name),
            name!(kind, String),
            name!(policy, String),
            name!(max_duration, Option<Interval>),
            name!(default_duration, Option<Interval>),
            name!(approvals, String),
            name!(break_glass, bool),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let caller = identity::current_user();
    let policies = store::policies().map_err(report)?;
    let rows: Vec<_> = policies
        .iter()
        .filter(|policy| policy.lets_ask(caller))
        .flat_map(|policy| {
            let targets = policy.is.targets.iter();
            let there = targets.filter_map(|target| catalog::role_by_oid(target.oid()));
            there.map(move |target| {
                (
                    Name(target.name),
                    policy.is.kind.name().to_owned(),
                    policy.name.clone(),
                    interval(policy.is.max_seconds),
                    interval(policy.is.default_seconds),
                    policy.approvals_in_words(),
                    policy.lets_break_glass(caller),
                )
            })
        })
        .collect();
    Ok(TableIterator::new(rows))
}

fn interval(seconds: i64) -> Option<Interval> {
    Interval::new(0, 0, seconds.saturating_mul(1_000_000)).ok()
}
