//! The extension's own relations, and PostgreSQL's catalogues, are nobody's to hold or to lay code on but
//! superusers'. Predefined roles pass access lists; row security knows nothing of locks, TRUNCATE and
//! triggers; and LOCK TABLE and FOR UPDATE reach through a view with its owner's rights. Whoever holds
//! such a lock holds up revocations.

use std::ffi::{CStr, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::list::elements;
use super::{catalog, identity, own_table, spi, statement};
use crate::error::{self, Report};

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
        "It would hold up, or undo, what scope_roles revokes.".into()
    }
    fn hint(&self) -> String {
        "Use the functions of the schema scope; only superusers may do this.".into()
    }
}

/// Is the statement one that may hold relations? The first question of the hook.
///
/// # Safety
/// A valid utility statement.
pub unsafe fn concerns(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        matches!(
            (*node).type_,
            pg_sys::NodeTag::T_LockStmt
                | pg_sys::NodeTag::T_ClusterStmt
                | pg_sys::NodeTag::T_ReindexStmt
                | pg_sys::NodeTag::T_VacuumStmt
        )
    }
}

/// # Safety
/// A statement that [`concerns`] names, inside a transaction.
#[pg_guard]
pub unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node) {
    if may_do_all() {
        return;
    }
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_LockStmt => {
                let lock = node.cast::<pg_sys::LockStmt>();
                if (*lock).mode <= pg_sys::AccessShareLock as i32 {
                    return;
                }
                for name in elements((*lock).relations) {
                    for relation in reached(found(name.cast())) {
                        refuse("locking", relation);
                    }
                }
            }
            pg_sys::NodeTag::T_ClusterStmt => {
                refuse(
                    "CLUSTER",
                    found((*node.cast::<pg_sys::ClusterStmt>()).relation),
                );
            }
            pg_sys::NodeTag::T_ReindexStmt => {
                let named = found((*node.cast::<pg_sys::ReindexStmt>()).relation);
                let table = pg_sys::IndexGetRelation(named, true);
                let is_index = table != pg_sys::InvalidOid;
                refuse("REINDEX", if is_index { table } else { named });
            }
            pg_sys::NodeTag::T_VacuumStmt => {
                let vacuum = node.cast::<pg_sys::VacuumStmt>();
                let is_full = elements((*vacuum).options).any(|option| {
                    let name = (*option.cast::<pg_sys::DefElem>()).defname;
                    !name.is_null() && CStr::from_ptr(name) == c"full"
                });
                for each in elements((*vacuum).rels) {
                    let each = each.cast::<pg_sys::VacuumRelation>();
                    if is_full && !(*each).relation.is_null() {
                        refuse("VACUUM FULL", found((*each).relation));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Does a plan lock rows? A load and a branch for those that don't.
///
/// # Safety
/// A valid query.
#[inline]
pub unsafe fn locks_rows(query: *mut pg_sys::QueryDesc) -> bool {
    // SAFETY: by contract.
    unsafe { !(*(*query).plannedstmt).rowMarks.is_null() }
}

/// # Safety
/// A valid query, inside a transaction.
#[pg_guard]
pub unsafe extern "C-unwind" fn before_query(query: *mut pg_sys::QueryDesc) {
    // SAFETY: by contract; the indexes are those of the plan's own range table.
    unsafe {
        let plan = (*query).plannedstmt;
        for mark in elements((*plan).rowMarks) {
            let mark = mark.cast::<pg_sys::PlanRowMark>();
            if (*mark).markType > pg_sys::RowMarkType::ROW_MARK_KEYSHARE {
                continue;
            }
            let place = (*mark).rti as usize;
            let Some(entry) = elements((*plan).rtable).nth(place.saturating_sub(1)) else {
                continue;
            };
            let relation = (*entry.cast::<pg_sys::RangeTblEntry>()).relid;
            if is_sealed(relation) && !may_do_all() {
                refuse("locking rows", relation);
            }
        }
    }
}

/// A trigger was made, a foreign key's among them: it would run with the rights of what writes here.
#[pg_guard]
pub extern "C-unwind" fn after_trigger(trigger: pg_sys::Oid) {
    if let Some(made) = catalog::new_trigger(trigger)
        && own_table::is_own(made.table)
        && !may_do_all()
    {
        refuse("CREATE TRIGGER", made.table);
    }
}

/// TRUNCATE asks for no policy.
#[pg_guard]
pub extern "C-unwind" fn before_truncate(table: pg_sys::Oid) {
    if own_table::is_own(table) && !may_do_all() {
        refuse("TRUNCATE", table);
    }
}

fn may_do_all() -> bool {
    // SAFETY: a catalogue look-up inside a transaction.
    unsafe { pg_sys::superuser_arg(identity::current_user()) }
}

fn is_sealed(relation: pg_sys::Oid) -> bool {
    let is_catalog = u32::from(relation) < pg_sys::FirstNormalObjectId;
    relation != pg_sys::InvalidOid && (is_catalog || own_table::is_own(relation))
}

fn refuse(what: &'static str, relation: pg_sys::Oid) {
    if is_sealed(relation) {
        let mut names = Vec::new();
        statement::add_relation(&mut names, relation);
        error::raise(&Sealed {
            what,
            relation: names.pop().unwrap_or_default(),
        });
    }
}

/// What a name means now; nothing if it means nothing, which PostgreSQL says.
///
/// # Safety
/// A valid `RangeVar`, or NULL.
unsafe fn found(name: *mut pg_sys::RangeVar) -> pg_sys::Oid {
    if name.is_null() {
        return pg_sys::InvalidOid;
    }
    // SAFETY: by contract.
    unsafe {
        pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut::<c_void>(),
        )
    }
}

/// A relation, and what the queries of views name.
fn reached(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: a catalogue look-up.
    let kind = unsafe { pg_sys::get_rel_relkind(relation) } as u8;
    if kind != pg_sys::RELKIND_VIEW {
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
