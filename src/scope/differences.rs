//! In what a scope differs from a request, in words.

use super::plan::{Holdings, Other};
use super::planned::Planned;
use super::privilege::Privilege;
use super::request::Request;
use super::statements::describe;

/// In what a scope differs from a request, in words; nothing when it is exactly that. Policies that
/// name a scope are its administrator's addition, which `strict` does not accept.
pub fn differences(
    request: &Request,
    planned: &Planned,
    held: &Holdings,
    strict: bool,
) -> Vec<String> {
    let difference = planned.plan.difference(held);
    let names = [&held.names, &planned.plan.names];
    let missing = difference
        .missing
        .iter()
        .map(|grant| format!("lacks {}", describe(grant, &names)));
    missing
        .chain(excess(request, planned, held, strict))
        .collect()
}

/// What a scope has beyond a request, in words.
pub fn excess(request: &Request, planned: &Planned, held: &Holdings, strict: bool) -> Vec<String> {
    let names = [&held.names, &planned.plan.names];
    let grants = planned.plan.difference(held).excess;
    let grants = grants
        .iter()
        .map(|grant| format!("has {}", describe(grant, &names)));
    grants.chain(beyond_grants(request, held, strict)).collect()
}

/// What no plan could contain.
pub fn beyond_grants(request: &Request, held: &Holdings, strict: bool) -> Vec<String> {
    let creates = request.verbs.has(Privilege::Create);
    let others = held.others.iter().filter_map(|other| match other {
        // What its sessions have created there is part of it.
        Other::Owns { schema, .. } if creates && request.schemas.contains(schema) => None,
        Other::Temporary { .. } => None,
        Other::Policy { .. } if !strict => None,
        Other::Owns { what, .. } | Other::Policy { what } | Other::Else { what } => {
            Some(format!("has {what}"))
        }
    });
    others.collect()
}
