//! The plan of a scope, put together from the entries that a spec has for it.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use super::document::{Grants, Scope};
use super::entries::{listed, nothing, request, requests};
use super::{At, Error};
use crate::pg::identity;
use crate::scope::plan::{self, Grant, Grantor, Holdings, Need, Object, Wanted};
use crate::scope::planned::Planned;
use crate::scope::privilege::Verbs;
use crate::scope::request::Request;
use crate::scope::{self, planning};

/// The plan of a scope, put together from its entries.
#[derive(Default)]
pub struct Whole {
    pub plan: plan::Plan,
    /// The entry that asked for a grant first.
    pub entries: BTreeMap<Grant, usize>,
    pub uncovered: BTreeSet<String>,
}

pub fn of(
    at: &str,
    declared: &Scope,
    holder: Option<pg_sys::Oid>,
    held: &Holdings,
) -> Result<Whole, Error> {
    let mut whole = Whole::default();
    // Every scope may connect to its database.
    let base = planning::plan(&nothing(Verbs::read()), identity::current_user(), holder)?;
    whole.add(0, base.plan, |_, wanted| Wanted {
        need: Need::Spare,
        ..wanted
    });
    for (index, entry) in declared.grants.iter().enumerate() {
        let at = format!("{at}/grants/{index}");
        if entry.exact {
            whole.exact(&at, index, entry, holder, held)?;
        } else {
            let request = request(&at, entry)?;
            let planned = planning::plan(&request, identity::current_user(), holder).at(&at)?;
            require(&planned, &request, held).at(&at)?;
            whole.uncovered.extend(planned.uncovered);
            whole.add(index, planned.plan, |_, wanted| wanted);
        }
    }
    Ok(whole)
}

/// Nobody hands out what they do not have.
fn require(planned: &Planned, request: &Request, held: &Holdings) -> Result<(), scope::Error> {
    let lacking: Vec<(Grant, Wanted)> = planned
        .plan
        .grants
        .iter()
        .filter(|(grant, wanted)| wanted.need != Need::Spare && !held.grants.contains_key(grant))
        .map(|(&grant, &wanted)| (grant, wanted))
        .collect();
    planned.require_authority(&lacking)?;
    let has_future = |schema: &u32| {
        held.grants
            .keys()
            .any(|grant| matches!(grant.object, Object::Future { schema: s, .. } if s == *schema))
    };
    if request.schemas.iter().all(has_future) {
        Ok(())
    } else {
        planned.require_future(request)
    }
}

impl Whole {
    fn add(&mut self, entry: usize, plan: plan::Plan, change: impl Fn(&Grant, Wanted) -> Wanted) {
        for (grant, wanted) in plan.grants {
            let wanted = change(&grant, wanted);
            let stronger = self
                .plan
                .grants
                .get(&grant)
                .is_none_or(|known| known.need == Need::Spare);
            if stronger {
                self.entries.insert(grant, entry);
            }
            self.plan.add(grant.object, grant.privilege, wanted);
        }
        self.plan.names.extend(plan.names);
        self.plan.schemas.extend(plan.schemas);
    }

    /// Just what an entry says. What is held already needs no more than its name.
    fn exact(
        &mut self,
        at: &str,
        index: usize,
        entry: &Grants,
        holder: Option<pg_sys::Oid>,
        held: &Holdings,
    ) -> Result<(), Error> {
        let listed = listed(at, entry)?;
        let is_held = |grant: &Grant| held.grants.contains_key(grant);
        for grant in listed.iter().filter(|grant| is_held(grant)) {
            self.entries.entry(*grant).or_insert(index);
            let wanted = Wanted {
                need: Need::Asked,
                grantor: Grantor::Nobody,
            };
            self.plan.add(grant.object, grant.privilege, wanted);
        }
        let lacking: BTreeSet<Grant> = listed.into_iter().filter(|grant| !is_held(grant)).collect();
        for request in requests(&lacking, at)? {
            let planned = planning::plan(&request, identity::current_user(), holder).at(at)?;
            let ours = |grant: &Grant| lacking.contains(grant);
            let asked: Vec<(Grant, Wanted)> = planned
                .plan
                .grants
                .iter()
                .filter(|(grant, _)| ours(grant))
                .map(|(&grant, &wanted)| (grant, wanted))
                .collect();
            planned.require_authority(&asked).at(at)?;
            let mut plan = planned.plan;
            plan.grants.retain(|grant, _| ours(grant));
            self.add(index, plan, |_, wanted| Wanted {
                need: Need::Asked,
                ..wanted
            });
        }
        match lacking
            .iter()
            .find(|grant| !self.plan.grants.contains_key(grant))
        {
            // Default privileges of a role that creates nothing there, or what the scope owns.
            Some(grant) if matches!(grant.object, Object::Future { .. }) => Err(Error::bad(
                at,
                "a role whose default privileges are declared does not create in the schema",
            )),
            _ => Ok(()),
        }
    }
}
