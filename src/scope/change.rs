//! Changing scopes: adding, removing, and back to what is declared.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use super::control::locked;
use super::grants::{extend, revoke};
use super::notices::tell;
use super::plan::{Grant, Grantor, Holdings, Need, Object, Other, Wanted};
use super::planned::Planned;
use super::privilege::{Class, Privilege};
use super::request::Request;
use super::statements::describe;
use super::{Error, declared, held, planning};
use crate::audit::{self, Action, Value};
use crate::dependencies;
use crate::label;
use crate::memberships;
use crate::pg::identity;
use crate::waiting;

/// Adds privileges to a scope.
pub fn add(name: &str, request: &Request) -> Result<(), Error> {
    let scope = locked(name)?;
    let planned = planning::plan(request, identity::current_user(), Some(scope.oid))?;
    extend(&scope.name, scope.oid, request, &planned)?;
    label::keep(scope.oid);
    tell(scope.oid, request, &planned)
}

/// Takes privileges from a scope, whoever has granted them.
pub fn remove(name: &str, request: &Request) -> Result<(), Error> {
    let scope = locked(name)?;
    let mut planned = planning::plan(request, identity::current_user(), Some(scope.oid))?;
    let held = held::by(scope.oid)?;
    if let Some(grant) = held_by_table(&planned, &held) {
        return Err(Error::HeldByTable {
            scope: name.to_owned(),
            grant: describe(&grant, &[&held.names]),
        });
    }
    let tables: Vec<u32> = planned
        .plan
        .grants
        .keys()
        .filter_map(|grant| match grant.object {
            Object::Table(table) | Object::Column(table, _) => Some(table),
            _ => None,
        })
        .collect::<BTreeSet<u32>>()
        .into_iter()
        .collect();
    let mut sequences_of = if request.verbs.writes() {
        held::sequences_of(&tables)?
    } else {
        BTreeMap::new()
    };
    // A sequence that was named stays or goes by its name.
    sequences_of.values_mut().for_each(|sequences| {
        sequences.retain(|sequence| !request.sequences.contains(sequence));
    });
    future_of_all(request, &mut planned);
    // What somebody has revoked by hand is still declared.
    let mut all = held.clone();
    declared::by(scope.oid, &scope.name)?.join(&mut all);
    let withdrawn = planned.plan.to_revoke(&all, &sequences_of);
    let gone = withdrawn
        .iter()
        .filter(|grant| held.grants.contains_key(grant))
        .copied()
        .collect();
    revoke(&scope, &held, &gone)?;
    label::keep(scope.oid);
    declared::take_away(scope.oid, &scope.name, &withdrawn, &planned.plan, &held)
}

/// Takes from a scope what it holds here and does not declare, and its memberships, whoever has given it that: who controls it need not ask
/// those who did.
pub fn reset(name: &str) -> Result<(), Error> {
    let scope = locked(name)?;
    if !declared::is_here(scope.oid, &scope.name)? {
        return Err(Error::Elsewhere {
            databases: scope.databases(),
            scope: scope.name,
        });
    }
    let declaration = declared::by(scope.oid, &scope.name)?;
    let mut all = BTreeMap::from([(u32::from(scope.oid), declaration)]);
    let (newcomers, _) = declared::newcomers(&all)?;
    let declaration = all.remove(&scope.oid.into()).unwrap_or_default();
    let held = held::by(scope.oid)?;
    let gone: BTreeSet<Grant> = declaration
        .drift(&held, &newcomers)
        .excess
        .into_iter()
        .collect();
    if !gone.is_empty() {
        revoke(&scope, &held, &gone)?;
    }
    let plain = [
        pg_sys::RelationRelationId,
        pg_sys::ProcedureRelationId,
        pg_sys::NamespaceRelationId,
    ];
    identity::elevated(|| {
        waiting::retrying(|| -> Result<_, pgrx::spi::Error> {
            dependencies::revoke_on_others(scope.oid, &plain)?;
            memberships::revoke_groups(scope.oid)
        })
    })?;
    let beyond: Vec<String> = held
        .others
        .into_iter()
        .filter_map(|other| match other {
            Other::Else { what } => Some(what),
            _ => None,
        })
        .collect();
    if !beyond.is_empty() {
        let fields = [("revoked", Value::Texts(&beyond))];
        audit::administered(Action::Scope, "alter_scope", &scope.name, &fields);
    }
    Ok(())
}

/// A whole schema goes with its future, whoever creates there.
fn future_of_all(request: &Request, planned: &mut Planned) {
    let wanted = Wanted {
        need: Need::Asked,
        grantor: Grantor::Nobody,
    };
    let mut classes = vec![
        (Class::Table, request.verbs.on(Class::Table)),
        (Class::Sequence, request.verbs.on_sequences_of_schema()),
    ];
    if request.verbs.has(Privilege::Execute) {
        classes.push((Class::Function, request.verbs.on(Class::Function)));
    }
    for &schema in &request.schemas {
        for (class, verbs) in &classes {
            for &verb in verbs {
                let object = Object::Future {
                    creator: 0,
                    schema,
                    class: *class,
                };
                planned.plan.add(object, verb, wanted);
            }
        }
    }
}

/// Taking away columns leaves what is held on the whole table, which is not what the caller wants.
fn held_by_table(planned: &Planned, held: &Holdings) -> Option<Grant> {
    planned
        .plan
        .grants
        .keys()
        .filter_map(|grant| match grant.object {
            Object::Column(table, _) => Some(Grant {
                object: Object::Table(table),
                privilege: grant.privilege,
            }),
            _ => None,
        })
        .find(|grant| held.grants.contains_key(grant))
}
