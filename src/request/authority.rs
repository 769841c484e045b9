//! May the creator of a policy give away what it names? Asked when it is made, and each time that something comes of it.

use pgrx::pg_sys;

use super::Error;
use super::policy::{Definition, Kind, RoleRef};
use crate::authority::is_over;
use crate::label;
use crate::pg::catalog::{self, Role};
use crate::pg::{compat, identity};
use crate::{credential, temporary};

/// As whoever acts now.
pub fn over_targets(definition: &Definition) -> Result<(), Error> {
    let targets = definition.targets.iter();
    targets
        .into_iter()
        .try_for_each(|target| over(definition.kind, target))
}

/// Can this role be had by this kind of request, and may whoever acts now give it?
pub fn over(kind: Kind, target: &RoleRef) -> Result<(), Error> {
    let role =
        catalog::role_by_oid(target.oid()).ok_or_else(|| Error::NoSuchRole(target.name.clone()))?;
    match kind {
        Kind::Membership => Ok(temporary::require_authority(&role)?),
        Kind::Credential => Ok(credential::require_scope(&role.name).map(drop)?),
        Kind::Statement => over_statements(&role),
    }
}

/// Who may become the role may have others' statements run as it.
fn over_statements(role: &Role) -> Result<(), Error> {
    let caller: pg_sys::Oid = identity::current_user();
    let managed = label::read(role.oid);
    let is_scope = matches!(&managed, Some(Ok(metadata)) if metadata.kind == label::Kind::Scope);
    if role.superuser || (managed.is_some() && !is_scope) {
        return Err(Error::NotForStatements(role.name.clone()));
    }
    let is_its_own = matches!(&managed, Some(Ok(metadata)) if is_over(caller, metadata));
    if is_its_own
        || catalog::is_admin_of(caller, role.oid)
        || compat::may_set_role(caller, role.oid)
    {
        Ok(())
    } else {
        Err(Error::MayNotGive {
            role: role.name.clone(),
            caller: catalog::name_of(caller),
        })
    }
}
