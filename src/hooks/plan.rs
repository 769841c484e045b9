//! The hooks on what has been analysed and on what has been planned: statements, expressions of PL/pgSQL, bodies of functions.

use pgrx::pg_sys;

use super::compat::{Planning, install_planning};
use super::query;
use crate::session::{gate, parsing};

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: in the postmaster, once.
    unsafe { install_planning::<Plans>() };
}

struct Plans;

impl Planning for Plans {
    unsafe fn analysed(query: *mut pg_sys::Query) {
        // Else nothing of it is kept for somebody else.
        if gate::is_closed() {
            // SAFETY: by contract.
            unsafe { parsing::analysed(|| query::holds_literal(query)) };
        }
    }

    unsafe fn plan(
        query: *mut pg_sys::Query,
        next: impl FnOnce() -> *mut pg_sys::PlannedStmt,
    ) -> *mut pg_sys::PlannedStmt {
        if !gate::is_closed() {
            return next();
        }
        // SAFETY: by contract. The planner writes into the query: it is looked at before.
        unsafe {
            let is_a_roles = query::depends_on_role(query);
            let plan = next();
            if is_a_roles {
                (*plan).dependsOnRole = true;
            }
            parsing::planned();
            plan
        }
    }
}
