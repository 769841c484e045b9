//! The extension's own relations, and PostgreSQL's catalogues, are nobody's to hold or to lay code on but
//! superusers'. Predefined roles pass access lists; a trigger keeps them from writing, but not from locks and
//! triggers of their own; and LOCK TABLE and FOR UPDATE reach through a view with its owner's rights. Whoever holds
//! such a lock holds up revocations.

use pgrx::prelude::*;

use crate::error::{self, Report};
use crate::pg::{catalog, identity, own_table, statement};

#[derive(Debug, thiserror::Error)]
#[error("permission denied for {what}: \"{relation}\"")]
struct Sealed {
    what: &'static str,
    relation: String,
}

impl Report for Sealed {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }
    fn detail(&self) -> String {
        "It would hold up, undo or change what scope_roles keeps.".into()
    }
    fn hint(&self) -> String {
        "Use the functions of the schema scope; only superusers may do this.".into()
    }
}

pub fn may_do_all() -> bool {
    identity::is_superuser()
}

pub fn is_sealed(relation: pg_sys::Oid) -> bool {
    let is_catalog = u32::from(relation) < pg_sys::FirstNormalObjectId;
    relation != pg_sys::InvalidOid && (is_catalog || own_table::is_own(relation))
}

/// Refuses what is sealed.
pub fn refuse(what: &'static str, relation: pg_sys::Oid) {
    if is_sealed(relation) {
        let mut names = Vec::new();
        statement::add_relation(&mut names, relation);
        error::raise(&Sealed {
            what,
            relation: names.pop().unwrap_or_default(),
        });
    }
}

/// A trigger was made, a foreign key's among them: it would run with the rights of what writes here.
pub fn after_trigger(trigger: pg_sys::Oid) {
    if let Some(made) = catalog::new_trigger(trigger)
        && own_table::is_own(made.table)
        && !may_do_all()
    {
        refuse("CREATE TRIGGER", made.table);
    }
}
