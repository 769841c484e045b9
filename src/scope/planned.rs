//! A plan with what has to be known around it, and the question whether its caller may hand that out.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use super::Error;
use super::control::may_hand_out;
use super::plan::{Grant, Grantor, Need, Object, Plan, Wanted};
use super::privilege::Privilege;
use super::request::Request;
use crate::pg::catalog;

/// A plan with what has to be known around it.
pub struct Planned {
    pub plan: Plan,
    /// The name of the first object, for naming scopes.
    pub first: String,
    pub objects: usize,
    /// Sequences owned by the columns of the request's tables.
    pub sequences_of: BTreeMap<u32, BTreeSet<u32>>,
    /// Relations that the request reaches through their schema.
    pub through_schemas: Vec<u32>,
    /// Roles that create in the schemas, for which the caller may not speak.
    pub uncovered: Vec<String>,
    /// Schemas with future objects, of which somebody is covered.
    pub(super) covered: BTreeSet<u32>,
    pub(super) caller: pg_sys::Oid,
    /// The role that is to hold it, when it exists: what it owns needs no grant.
    pub(super) holder: Option<u32>,
    owners: BTreeMap<u32, bool>,
}

impl Planned {
    pub(super) fn new(caller: pg_sys::Oid, holder: Option<pg_sys::Oid>, objects: usize) -> Self {
        Self {
            plan: Plan::default(),
            first: String::new(),
            objects,
            sequences_of: BTreeMap::new(),
            through_schemas: Vec::new(),
            uncovered: Vec::new(),
            covered: BTreeSet::new(),
            caller,
            holder: holder.map(u32::from),
            owners: BTreeMap::new(),
        }
    }

    pub(super) fn want(
        &mut self,
        object: Object,
        verb: Privilege,
        need: Need,
        grantable: &[String],
        owner: u32,
    ) {
        let grantor = if grantable.iter().any(|word| word == verb.word()) {
            Grantor::Caller
        } else if self.is_own_scope(owner) {
            Grantor::Scope(owner)
        } else {
            Grantor::Nobody
        };
        self.plan.add(object, verb, Wanted { need, grantor });
    }

    /// Is this role a scope that the caller controls? What sessions of such a scope have created is
    /// the caller's to hand out: a login of that scope is theirs for the asking.
    pub(super) fn is_own_scope(&mut self, role: u32) -> bool {
        let caller = self.caller;
        *self
            .owners
            .entry(role)
            .or_insert_with(|| may_hand_out(caller, role.into()))
    }

    /// Nobody hands out what they do not have.
    pub fn require_authority(&self, grants: &[(Grant, Wanted)]) -> Result<(), Error> {
        let refused: Vec<Grant> = grants
            .iter()
            .filter(|(_, wanted)| wanted.grantor == Grantor::Nobody)
            .map(|&(grant, _)| grant)
            .collect();
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(Error::MayNotGrant {
                object: self.sql_of(first.object),
                privilege: first.privilege.word(),
                caller: catalog::name_of(self.caller),
                others: refused.len() - 1,
            }),
        }
    }

    /// Future objects of a schema in which the caller may speak for nobody would be an empty promise.
    pub fn require_future(&self, request: &Request) -> Result<(), Error> {
        let lacking = request
            .schemas
            .iter()
            .find(|&schema| request.future && !self.covered.contains(schema));
        match lacking {
            None => Ok(()),
            Some(&schema) => Err(Error::MayNotActForCreators {
                schema: self
                    .plan
                    .names
                    .get(&Object::Schema(schema))
                    .cloned()
                    .unwrap_or_default(),
                creators: self.uncovered.clone(),
            }),
        }
    }

    /// As GRANT … ON names it.
    fn sql_of(&self, object: Object) -> String {
        let name = |object| self.plan.names.get(&object).cloned().unwrap_or_default();
        match object {
            Object::Column(table, _) => {
                format!("column {} of {}", name(object), name(Object::Table(table)))
            }
            Object::Sequence(_) => format!("SEQUENCE {}", name(object)),
            Object::Function(_) => format!("ROUTINE {}", name(object)),
            Object::Schema(_) => format!("SCHEMA {}", name(object)),
            Object::Database(_) => format!("DATABASE {}", name(object)),
            Object::Table(_) | Object::Future { .. } => name(object),
        }
    }
}
