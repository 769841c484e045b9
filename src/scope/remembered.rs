//! What was last found out for requests that issuing repeats, kept for as long as nothing that it
//! follows from has changed. Issuing itself changes roles and memberships only, so the same call again
//! finds the same plan, and the scope as it was.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::thread::LocalKey;

use pgrx::pg_sys;

use super::plan::Holdings;
use super::planned::Planned;
use super::request::Request;
use super::{Error, held, planning};
use crate::pg::shdepend::{self, Mark};
use crate::pg::{catalog, invalidation};

/// Enough for a service that issues for some tables in turn.
const KEPT: usize = 16;

/// The latest first.
type Kept<K, V> = RefCell<VecDeque<(K, Rc<V>)>>;

thread_local! {
    static PLANS: Kept<PlanOf, Planned> = const { RefCell::new(VecDeque::new()) };
    static HOLDINGS: Kept<HeldBy, Holdings> = const { RefCell::new(VecDeque::new()) };
}

/// What a plan follows from.
#[derive(PartialEq)]
struct PlanOf {
    request: Request,
    caller: pg_sys::Oid,
    /// What a superuser may hand out depends on no role, and is the same after the next issuing.
    roles: Option<u64>,
    objects: [u64; 3],
}

/// As [`planning::plan`], for a role that need not exist.
pub fn plan(request: &Request, caller: pg_sys::Oid) -> Result<Rc<Planned>, Error> {
    let objects = invalidation::objects_generation();
    let is_superuser = catalog::role_by_oid(caller).is_some_and(|role| role.superuser);
    // Who creates in a schema, and so whose default privileges count, is a matter of roles.
    let by_objects_alone = is_superuser && !request.future;
    let of = PlanOf {
        request: request.clone(),
        caller,
        roles: (!by_objects_alone).then(invalidation::roles),
        objects,
    };
    recall(&PLANS, of, || planning::plan(request, caller, None))
}

/// What the holdings of a scope follow from: the rights on objects, which of them are its, its
/// attributes and memberships.
#[derive(PartialEq)]
struct HeldBy {
    scope: pg_sys::Oid,
    objects: [u64; 3],
    version: Option<(u32, u32, u16)>,
    memberships: Vec<pg_sys::Oid>,
    marks: Vec<Mark>,
}

/// As [`held::by`].
pub fn held(scope: pg_sys::Oid) -> Result<Rc<Holdings>, Error> {
    let by = HeldBy {
        scope,
        objects: invalidation::objects_generation(),
        version: catalog::role_version(scope),
        memberships: catalog::memberships(scope),
        marks: shdepend::marks_of(scope),
    };
    recall(&HOLDINGS, by, || held::by(scope))
}

fn recall<K: PartialEq, V>(
    kept: &'static LocalKey<Kept<K, V>>,
    key: K,
    find_out: impl FnOnce() -> Result<V, Error>,
) -> Result<Rc<V>, Error> {
    let known = kept.with_borrow(|kept| {
        let found = kept.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value.clone())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let value = Rc::new(find_out()?);
    kept.with_borrow_mut(|kept| {
        kept.truncate(KEPT - 1);
        kept.push_front((key, value.clone()));
    });
    Ok(value)
}
