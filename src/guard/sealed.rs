//! The extension's own relations, and PostgreSQL's catalogues, are nobody's to hold or to lay code on but
//! superusers'. Predefined roles pass access lists; a trigger keeps them from writing, but not from locks and
//! triggers of their own; and LOCK TABLE and FOR UPDATE reach through a view with its owner's rights. Whoever holds
//! such a lock holds up revocations.

use pgrx::prelude::*;

use crate::error::{self, Report};
use crate::own_tables;
use crate::pg::{catalog, identity, relation, spi, statement};

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
        "It could block, undo or change what scope_roles keeps.".into()
    }
    fn hint(&self) -> String {
        "Only superusers may do this; use the functions of schema scope.".into()
    }
}

pub fn may_do_all() -> bool {
    identity::is_superuser()
}

/// Would PostgreSQL let them VACUUM what the databases share? Else it says that it leaves it out. The role is there from 17 on.
pub fn may_maintain() -> bool {
    let maintain = catalog::oid_of("pg_maintain");
    maintain != pg_sys::InvalidOid && catalog::has_privileges_of(identity::current_user(), maintain)
}

pub fn is_sealed(relation: pg_sys::Oid) -> bool {
    let is_catalog = u32::from(relation) < pg_sys::FirstNormalObjectId;
    relation != pg_sys::InvalidOid && (is_catalog || own_tables::is_own(relation))
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

/// Refuses it to those whom PostgreSQL would let: to others it says itself what they lack.
pub fn refuse_maintaining(what: &'static str, relation: pg_sys::Oid) {
    if is_sealed(relation) && catalog::may_maintain(relation, identity::current_user()) {
        refuse(what, relation);
    }
}

/// Refuses what names no table and would take all, the extension's among them.
pub fn refuse_all(what: &'static str) {
    if own_tables::find(own_tables::AUDIT_LOG).is_some() {
        error::raise(&Sealed {
            what,
            relation: "scope.audit_log".to_owned(),
        });
    }
}

/// A trigger was made, a foreign key's among them: it would run with the rights of what writes here.
pub fn after_trigger(trigger: pg_sys::Oid) {
    if let Some(made) = catalog::new_trigger(trigger)
        && own_tables::is_own(made.table)
        && !may_do_all()
    {
        refuse("CREATE TRIGGER", made.table);
    }
}

/// A relation, and what the queries of views name.
pub fn reached(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    if !relation::is_view(relation) {
        return vec![relation];
    }
    let oid = u32::from(relation).to_string();
    let oids = identity::elevated(|| spi::latest(REACHED, &[Some(&oid)]));
    oids.iter()
        .filter_map(|oid| oid.parse::<u32>().ok())
        .map(pg_sys::Oid::from)
        .collect()
}

/// The stored query has the OIDs of all tables in it; pg_depend leaves out PostgreSQL's own.
const REACHED: &str = "
WITH RECURSIVE reached(oid) AS (
    SELECT $1::pg_catalog.oid
     UNION
    SELECT m.match[1]::pg_catalog.oid
      FROM reached r JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) r.oid
     CROSS JOIN LATERAL pg_catalog.regexp_matches(w.ev_action::pg_catalog.text, ':relid ([0-9]+)', 'g') AS m(match))
SELECT oid::pg_catalog.text FROM reached";
