//! How policies stand today, for the review: what of them does not work, and who could do without anybody else.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::left::{Approver, somebody_is_left};
use super::person::{Person, may_be_the_same};
use super::policy::{Policy, RoleRef};
use super::{Error, acting, authority, store};
use crate::error::Report;
use crate::label::{self, Kind};
use crate::pg::{catalog, compat, identity, spi};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// However many say yes, it is not enough.
    NobodyIsLeft,
    /// Whoever may ask gets it, at any time, from anywhere.
    NobodyIsAsked,
    /// Those who ask may say yes to each other.
    EachOther,
    CreatorIsGone,
    /// Why not.
    CreatorMayNot(String),
}

pub fn faults(policy: &Policy) -> Result<Vec<Fault>, Error> {
    let mut found = Vec::new();
    found.extend(creators(policy));
    if !is_anybody_left(policy)? {
        found.push(Fault::NobodyIsLeft);
    }
    let auto = policy.is.in_effect().auto_approve;
    if auto.is_some_and(|auto| {
        auto.addresses.is_none() && auto.when.hours.is_empty() && auto.member_of.is_none()
    }) {
        found.push(Fault::NobodyIsAsked);
    }
    if decide_for_each_other(policy) {
        found.push(Fault::EachOther);
    }
    Ok(found)
}

fn creators(policy: &Policy) -> Option<Fault> {
    let creator = &policy.is.creator;
    if !creator.is_there() {
        return Some(Fault::CreatorIsGone);
    }
    let targets: Vec<&RoleRef> = policy
        .is
        .targets
        .iter()
        .filter(|role| role.is_there())
        .collect();
    let over_all = || {
        let mut targets = targets.into_iter();
        targets.try_for_each(|target| authority::over(policy.is.kind, target))
    };
    let error = identity::acting_as(creator.oid(), over_all).err()?;
    Some(Fault::CreatorMayNot(format!("{error}: {}", error.detail())))
}

/// May the approving roles ask, too?
fn decide_for_each_other(policy: &Policy) -> bool {
    let asks = |role: &RoleRef| {
        let found = catalog::role_by_oid(role.oid());
        found.is_some_and(|found| !found.superuser && policy.lets_ask(found.oid))
    };
    let mut roles = policy.is.approvals.iter().map(|approval| &approval.role);
    match policy.is.any {
        true => roles.any(asks),
        false => !policy.is.approvals.is_empty() && roles.all(asks),
    }
}

fn is_anybody_left(policy: &Policy) -> Result<bool, Error> {
    let mut roles: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for approval in &policy.is.approvals {
        for login in logins_with(&approval.role)? {
            roles.entry(login).or_default().push(approval.role.oid);
        }
    }
    let needed: usize = policy.is.approvals.iter().map(|approval| approval.n).sum();
    let mut approvers = Vec::new();
    for (login, roles) in roles {
        let people = people_of(login, needed + 1);
        approvers.extend(people.into_iter().map(|who| Approver {
            who,
            roles: roles.clone(),
        }));
    }
    let mut askers = Vec::new();
    for requester in &policy.is.requesters {
        for login in logins_with(requester)? {
            // Those who share it are others than its approvers.
            askers.extend(people_of(login, needed + 2).pop());
        }
    }
    let is_same = |one: &Person, other: &Person| {
        pgrx::check_for_interrupts!();
        may_be_the_same(one, other).is_some()
    };
    Ok(somebody_is_left(
        &policy.is.approvals,
        policy.is.any,
        &approvers,
        &askers,
        &is_same,
    ))
}

/// One, or as many as may be needed: who acts by a token shares a login with others.
fn people_of(login: u32, many: usize) -> Vec<Person> {
    let person = acting::of_login(login.into());
    let is_shared =
        matches!(label::read(login.into()), Some(Ok(label)) if label.kind == Kind::Authenticator);
    if !is_shared {
        return vec![person];
    }
    let subject = |number| Person {
        subject: Some(format!("\0{number}")),
        ..person.clone()
    };
    (0..many).map(subject).collect()
}

/// Logins that can act with the privileges of the role. A superuser who is no member could as well: that is no rule to rest on.
fn logins_with(role: &RoleRef) -> Result<Vec<u32>, Error> {
    #[derive(Deserialize)]
    struct Login {
        oid: u32,
        superuser: bool,
    }
    let sql = "
        WITH RECURSIVE below(role) AS (
               SELECT a.oid FROM pg_authid a WHERE a.oid = $1::oid
               UNION SELECT m.member FROM below b JOIN (
                 SELECT roleid, member FROM pg_auth_members
                 UNION ALL SELECT 'pg_database_owner'::regrole, d.datdba FROM pg_database d WHERE d.datname = current_database()) m ON m.roleid = b.role)
        SELECT jsonb_build_object('oid', a.oid::bigint, 'superuser', a.rolsuper)::text
          FROM below b JOIN pg_authid a ON a.oid = b.role WHERE a.rolcanlogin ORDER BY a.oid";
    let found = identity::elevated(|| spi::facts::<Login>(sql, &[&role.oid.to_string()]));
    let found = found
        .map_err(|error| Error::Sql(error.to_string()))?
        .into_iter();
    let acts = |login: &Login| {
        let oid = login.oid.into();
        login.superuser || role.has(oid) || compat::may_set_role(oid, role.oid())
    };
    Ok(found.filter(acts).map(|login| login.oid).collect())
}

/// Each policy of this database, with what is wrong with it.
pub fn all() -> Result<Vec<(Policy, Vec<Fault>)>, Error> {
    let policies = store::policies()?.into_iter();
    policies
        .map(|policy| {
            let faults = faults(&policy)?;
            Ok((policy, faults))
        })
        .collect()
}
