//! The caller's scope of just one request, found under its name or made.

use pgrx::pg_sys;

use super::control::is_own;
use super::differences::excess;
use super::giving::comes_along;
use super::plan::Need;
use super::planned::Planned;
use super::privilege::Privilege;
use super::request::Request;
use super::{Error, create, grants, planning, remembered};
use crate::advisory::{self, Key, Mode};
use crate::pg::{catalog, identity};

/// Finds or makes the scope under this name; false when the name belongs to something else. `seed` is
/// of this request of this caller alone.
pub fn find_or_make(
    role: &str,
    seed: &[u8],
    request: &Request,
    planned: &Planned,
    open: bool,
) -> Result<bool, Error> {
    if let Some(existing) = catalog::role_by_name(role)
        && let Some(answer) = adopt(existing.oid, role, request, planned, open)?
    {
        return Ok(answer);
    }
    create::require_making(request, planned)?;
    // The same call elsewhere makes it, and is waited for; who else has got hold of the name is not.
    advisory::lock(
        Key::Text(&format!("the scope of a request: {seed:?}")),
        Mode::Exclusive,
    );
    if let Some(existing) = catalog::role_by_name(role) {
        let answer = adopt(existing.oid, role, request, planned, open)?;
        return Ok(answer.unwrap_or(false));
    }
    if !advisory::try_lock(Key::Text(role), Mode::Exclusive)
        || catalog::role_by_name(role).is_some()
    {
        return Ok(false);
    }
    create::make(role, request, planned, None, true)?;
    Ok(true)
}

/// Takes a scope that is there, if it is the caller's and just this; what is open to the future may
/// lack what has come since. `None`: dropped while we waited for its lock.
fn adopt(
    role: pg_sys::Oid,
    name: &str,
    request: &Request,
    planned: &Planned,
    open: bool,
) -> Result<Option<bool>, Error> {
    let caller = identity::current_user();
    if !is_own(role, caller) {
        return Ok(Some(false));
    }
    // Keeps the scope from being dropped or changed until we are done.
    advisory::lock(Key::Role(role), Mode::Share);
    let mut verdict = judge(role, request, planned)?;
    if open && matches!(verdict, Verdict::Lacking) {
        advisory::lock(Key::Role(role), Mode::Exclusive);
        verdict = judge(role, request, planned)?;
        if matches!(verdict, Verdict::Lacking) {
            let planned = planning::plan(request, caller, Some(role))?;
            grants::extend(name, role, request, &planned)?;
            return Ok(Some(true));
        }
    }
    Ok(match verdict {
        Verdict::Exact => Some(true),
        Verdict::Other | Verdict::Lacking => Some(false),
        Verdict::Gone => None,
    })
}

enum Verdict {
    Exact,
    Lacking,
    /// Not a scope of the caller's, or one that holds more: somebody may have widened it by hand,
    /// and handing that out is not ours to do.
    Other,
    /// Dropped while we waited for its lock.
    Gone,
}

fn judge(role: pg_sys::Oid, request: &Request, planned: &Planned) -> Result<Verdict, Error> {
    if catalog::role_by_oid(role).is_none() {
        return Ok(Verdict::Gone);
    }
    let caller = identity::current_user();
    if !is_own(role, caller) {
        return Ok(Verdict::Other);
    }
    // What the scope itself owns needs no grant.
    let own;
    let planned = if request.verbs.has(Privilege::Create) {
        own = planning::plan(request, caller, Some(role))?;
        &own
    } else {
        planned
    };
    let held = remembered::held(role)?;
    if !excess(request, planned, &held, true).is_empty() {
        return Ok(Verdict::Other);
    }
    if !planned.plan.difference(&held).missing.is_empty() {
        return Ok(Verdict::Lacking);
    }
    // What the scope holds, the caller must still be able to hand out.
    let grants: Vec<_> = planned
        .plan
        .grants
        .iter()
        .filter(|(_, wanted)| wanted.need != Need::Spare)
        .filter(|&(grant, wanted)| !comes_along(caller, grant, wanted, &held))
        .map(|(&grant, &wanted)| (grant, wanted))
        .collect();
    planned.require_authority(&grants)?;
    Ok(Verdict::Exact)
}
