//! What the lock must know of a trigger.

use pgrx::pg_sys;

use crate::pg::catalog::{self, Trigger, is_over_expressions, is_owned_by};
use crate::pg::identity;

/// What changes the referencing table when the referenced one changes (pg_proc.dat).
const CASCADES: [u32; 6] = [
    pg_sys::F_RI_FKEY_CASCADE_DEL,
    pg_sys::F_RI_FKEY_CASCADE_UPD,
    pg_sys::F_RI_FKEY_SETNULL_DEL,
    pg_sys::F_RI_FKEY_SETNULL_UPD,
    pg_sys::F_RI_FKEY_SETDEFAULT_DEL,
    pg_sys::F_RI_FKEY_SETDEFAULT_UPD,
];

/// Does the current user own its table? True of PostgreSQL's own triggers.
pub fn is_own(trigger: &Trigger) -> bool {
    trigger.is_internal || is_owned_by(identity::current_user(), trigger.table)
}

/// Does it run code of the table's owner after the change? PostgreSQL's own do when they check an
/// index over expressions again.
pub fn runs_code_after(trigger: &Trigger) -> bool {
    trigger.is_after && !trigger.is_internal
        || trigger.function == pg_sys::F_UNIQUE_KEY_RECHECK.into()
            && is_over_expressions(trigger.index)
}

/// Is it one of a foreign key that takes changes from a table of others into one of the role's?
pub fn cascades_into_tables_of(trigger: &Trigger, role: pg_sys::Oid) -> bool {
    trigger.is_internal
        && CASCADES.contains(&trigger.function.to_u32())
        && !is_owned_by(role, trigger.table)
        && is_owned_by(role, trigger.other)
}

/// Is there a foreign key that takes changes from tables of others into the role's?
pub fn others_cascade_into_tables_of(role: pg_sys::Oid) -> bool {
    catalog::any_trigger(|trigger| cascades_into_tables_of(trigger, role))
}
