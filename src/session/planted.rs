//! Schemas in which a user of a gated connection may plant something for the next one.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;

use crate::pg::invalidation::{self, Counted};
use crate::pg::{catalog, compat, identity};

thread_local! {
    /// By schema, as of a generation of roles and of schemas.
    static KNOWN: RefCell<(u64, u64, HashMap<u32, bool>)> = RefCell::default();
}

/// What becomes of a name that is looked for in a schema of the search path.
pub enum Meaning {
    /// It means what PostgreSQL finds.
    Kept,
    /// The schema is passed over.
    LeftOut,
    /// It would have to be passed over, and what comes after it in a path that its owner has pinned is not what was meant.
    Changed,
}

/// Of a schema in the path, in a session of this gated login.
pub fn judge(schema: pg_sys::Oid, login: pg_sys::Oid) -> Meaning {
    // PostgreSQL looks first in the schema of temporary objects unless it finds it in the path: to leave that out is to
    // prefer it. It goes with the transaction.
    if catalog::is_temporary_schema(schema) || !may_be_in(schema, login) {
        return Meaning::Kept;
    }
    let identity = identity::now();
    if identity.current == identity.outer {
        Meaning::LeftOut
    } else if identity.current != login && !catalog::memberships(login).contains(&identity.current)
    {
        // A function of somebody whom no user of this connection can be: the path is theirs to pin.
        Meaning::Kept
    } else if catalog::path_names_temporary_schema() {
        Meaning::Changed
    } else {
        Meaning::LeftOut
    }
}

/// Does a role that this login may take own the schema, or may create in it? Then names must not be
/// looked up there unless they say so: types decide what code runs.
fn may_be_in(schema: pg_sys::Oid, login: pg_sys::Oid) -> bool {
    // PostgreSQL's own.
    if u32::from(schema) < pg_sys::FirstNormalObjectId
        && u32::from(schema) != pg_sys::PG_PUBLIC_NAMESPACE
    {
        return false;
    }
    let [roles, schemas] = invalidation::counts([Counted::Roles, Counted::Schemas]);
    let known = KNOWN.with_borrow(|(of_roles, of_schemas, known)| {
        let current = (*of_roles, *of_schemas) == (roles, schemas);
        current
            .then(|| known.get(&schema.into()).copied())
            .flatten()
    });
    if let Some(known) = known {
        return known;
    }
    let owner = catalog::owner_of_schema(schema);
    let may_plant = catalog::memberships(login).into_iter().any(|role| {
        owner.is_some_and(|owner| catalog::has_privileges_of(role, owner))
            || compat::may(
                (pg_sys::NamespaceRelationId, schema),
                role,
                pg_sys::ACL_CREATE,
            )
    });
    KNOWN.with_borrow_mut(|kept| {
        if (kept.0, kept.1) != (roles, schemas) {
            *kept = (roles, schemas, HashMap::new());
        }
        kept.2.insert(schema.into(), may_plant);
    });
    may_plant
}
