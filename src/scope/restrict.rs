//! Functions that everybody may call, given to scopes alone.

use std::collections::BTreeSet;

use super::control::locked;
use super::grants::extend;
use super::privilege::Verbs;
use super::request::Request;
use super::{Error, facts, held, planning};
use crate::audit::{self, Action as AuditAction, Value};
use crate::label;
use crate::pg::{catalog, identity, spi};
use crate::waiting;

/// Takes EXECUTE from everyone, and gives it to scopes.
pub fn restrict(function: u32, scopes: &[String]) -> Result<(), Error> {
    let caller = identity::current_user();
    let fact = facts::routine(function, caller)?;
    if !catalog::has_privileges_of(caller, fact.owner.into()) {
        return Err(Error::MayNotRestrict {
            function: fact.sql,
            caller: catalog::name_of(caller),
        });
    }
    let request = Request {
        verbs: Verbs::read(),
        tables: Vec::new(),
        columns: None,
        sequences: Vec::new(),
        functions: vec![function],
        schemas: Vec::new(),
        future: false,
    };
    // In one order, so that two calls never wait for each other.
    for name in scopes.iter().collect::<BTreeSet<_>>() {
        let scope = locked(name)?;
        let planned = planning::plan(&request, caller, Some(scope.oid))?;
        extend(&scope.name, scope.oid, &request, &planned)?;
        label::keep(scope.oid);
    }
    let sql = format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC CASCADE", fact.sql);
    for grantor in held::public_grantors(function)? {
        identity::acting_as(grantor.into(), || waiting::retrying(|| spi::execute(&sql)))?;
    }
    if held::public_grantors(function)?.is_empty() {
        audit::administered(
            AuditAction::Scope,
            "restrict_function",
            &fact.sql,
            &[("scopes", Value::Texts(scopes))],
        );
        Ok(())
    } else {
        Err(Error::NotDone {
            scope: "public".to_owned(),
            left: vec![format!("EXECUTE on function {}", fact.sql)],
        })
    }
}
