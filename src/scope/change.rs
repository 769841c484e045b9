//! Making and changing scopes.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use super::control::{Scope, claimed, locked, own};
use super::differences::{beyond_grants, differences, excess};
use super::notices::tell;
use super::plan::{self, Grant, Grantor, Holdings, Need, Object, Other, Wanted};
use super::planned::Planned;
use super::privilege::{Class, Privilege};
use super::request::Request;
use super::statements::{Direction, describe, statements};
use super::{Error, again, declared, held, name, planning};
use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action as AuditAction, Value};
use crate::authority::is_over;
use crate::dependencies;
use crate::error;
use crate::label::{self, Access, Kind, MAX_PURPOSE_BYTES};
use crate::memberships;
use crate::pg::{catalog, identity, spi};
use crate::text::some_of;
use crate::waiting;

/// A new scope under a name that the caller has chosen.
pub fn create(
    name: &str,
    request: &Request,
    purpose: Option<&str>,
    if_not_exists: bool,
) -> Result<(), Error> {
    name::check(name)?;
    if is_keyword(name)? {
        return Err(name::BadName::Keyword.into());
    }
    if let Some(purpose) = purpose.filter(|purpose| purpose.len() > MAX_PURPOSE_BYTES) {
        return Err(Error::PurposeTooLong {
            bytes: purpose.len(),
            max: MAX_PURPOSE_BYTES,
        });
    }
    let caller = identity::current_user();
    if let Some(existing) = catalog::role_by_name(name) {
        return already_there(name, existing.oid, request, if_not_exists);
    }
    let planned = planning::plan(request, caller, None)?;
    require_making(request, &planned)?;
    // Whoever comes second with the same name waits here, and sees what the first has made.
    advisory::lock(Key::Text(name), Mode::Exclusive);
    if let Some(existing) = catalog::role_by_name(name) {
        return already_there(name, existing.oid, request, if_not_exists);
    }
    // What was true before the wait may not be so any more.
    let planned = planning::plan(request, caller, None)?;
    let role = make(name, request, &planned, purpose, false)?;
    again::remember(role, name, &again::fingerprint(request)?)?;
    tell(role, request, &planned)
}

/// Whether a plain identifier needs quotes for being a word of SQL, as PostgreSQL's own quoting
/// decides; that quotes everything in sessions with `quote_all_identifiers`.
fn is_keyword(name: &str) -> Result<bool, Error> {
    let words = identity::elevated(|| {
        spi::facts::<bool>(
            "SELECT 'true'::text FROM pg_catalog.pg_get_keywords()
              WHERE word OPERATOR(pg_catalog.=) $1::text
                AND catcode OPERATOR(pg_catalog.<>) 'U'::\"char\"",
            &[name],
        )
    })?;
    Ok(!words.is_empty())
}

/// A role of this name exists. Fine when it is a scope with just these privileges, or one of the caller's
/// that this database has no part of yet, and the caller has said so.
fn already_there(
    name: &str,
    role: pg_sys::Oid,
    request: &Request,
    if_not_exists: bool,
) -> Result<(), Error> {
    let exists = || Error::Exists {
        role: name.to_owned(),
    };
    let metadata = match label::read(role) {
        Some(Ok(metadata)) if metadata.kind == Kind::Scope => metadata,
        _ => return Err(exists()),
    };
    let mut scope = Scope {
        oid: role,
        name: name.to_owned(),
        metadata,
    };
    // Others may ask what it holds, but not keep its owner from it.
    let is_superuser = catalog::role_by_oid(role).is_some_and(|role| role.superuser);
    let is_over = !is_superuser && is_over(identity::current_user(), &scope.metadata);
    if is_over {
        scope = claimed(name)?;
    }
    let is_here = scope.has_part_here()?;
    // One whose databases have all been dropped is made anew: nobody else declares it.
    let is_left = || scope.metadata.is_native && scope.databases().is_empty();
    if !if_not_exists && (is_here || !is_over || scope.metadata.parts.more || !is_left()) {
        return Err(exists());
    }
    scope.require_usable()?;
    if !is_here {
        return join(name, request);
    }
    let role = scope.oid;
    let planned = planning::plan(request, identity::current_user(), Some(role))?;
    let held = held::by(role)?;
    let asked = again::fingerprint(request)?;
    let difference = differences(request, &planned, &held, false);
    if !difference.is_empty()
        && planned.plan.is_outgrown(&held)
        && excess(request, &planned, &held, false).is_empty()
    {
        // What it was to get in future exists by now, or who makes it does.
        own(name)?;
        extend(name, role, request, &planned)?;
        again::remember(role, name, &asked)?;
        error::notice(
            format!("scope \"{name}\" already exists, completing"),
            "It has got what came into its schemas since.",
            None,
        );
        return tell(role, request, &planned);
    }
    if !difference.is_empty() {
        let is_known = again::is_remembered(role, name, &asked)?
            && beyond_grants(request, &held, false).is_empty()
            && again::is_as_declared(role, name, &held)?;
        if !is_known {
            return Err(Error::Differs {
                scope: name.to_owned(),
                difference: some_of(&difference),
            });
        }
        error::notice(
            format!("scope \"{name}\" already exists, skipping"),
            &format!(
                "It was made by this very call, and has been changed since: it {}.",
                some_of(&difference)
            ),
            None,
        );
        return Ok(());
    }
    if is_over {
        label::keep(role);
        let new = declared::add(role, name, &planned.plan, &held)?;
        again::remember(role, name, &asked)?;
        label::declare(role, access(&held), true);
        if !new.is_empty() {
            changed(
                "create_scope",
                name,
                "declared",
                new.iter(),
                &planned.plan.names,
            );
        }
    }
    error::notice(
        format!("scope \"{name}\" already exists, skipping"),
        "It has exactly these privileges.",
        None,
    );
    Ok(())
}

/// This database gets its own part of a scope that others have made: who may change the scope may do so.
fn join(name: &str, request: &Request) -> Result<(), Error> {
    let scope = own(name)?;
    let planned = planning::plan(request, identity::current_user(), Some(scope.oid))?;
    let held = held::by(scope.oid)?;
    // What somebody has granted it here by hand does not become the scope's in this way.
    let excess = excess(request, &planned, &held, false);
    if !excess.is_empty() {
        return Err(Error::Differs {
            scope: scope.name,
            difference: some_of(&excess),
        });
    }
    label::keep(scope.oid);
    extend(name, scope.oid, request, &planned)?;
    again::remember(scope.oid, name, &again::fingerprint(request)?)?;
    let others = scope.databases();
    error::notice(
        format!("scope \"{name}\" has a part in this database now"),
        &if others.is_empty() {
            "The databases that it was made for are gone; its members are still there.".to_owned()
        } else {
            format!("The role is shared. {}", super::elsewhere(&others))
        },
        None,
    );
    tell(scope.oid, request, &planned)
}

/// May the caller make all grants of a new scope?
pub fn require_making(request: &Request, planned: &Planned) -> Result<(), Error> {
    let caller = identity::current_user();
    // A login of ours ends, and nobody would be left to answer for what it has made.
    let is_login = label::read(caller)
        .is_some_and(|metadata| metadata.map_or(true, |metadata| metadata.kind != Kind::Scope));
    if is_login && !identity::is_superuser() {
        return Err(Error::ByALogin {
            caller: catalog::name_of(caller),
        });
    }
    planned.require_authority(&grantable(planned.plan.to_grant(&Holdings::default())))?;
    planned.require_future(request)
}

/// Makes the role, and its grants. The caller holds the lock on the name.
pub fn make(
    name: &str,
    request: &Request,
    planned: &Planned,
    purpose: Option<&str>,
    on_request: bool,
) -> Result<pg_sys::Oid, Error> {
    let grants = grantable(planned.plan.to_grant(&Holdings::default()));
    require_making(request, planned)?;
    let caller = identity::current_user();
    let role = identity::elevated(|| -> Result<pg_sys::Oid, Error> {
        spi::execute(&format!("CREATE ROLE {} NOLOGIN", spi::identifier(name)))?;
        let labelled = label::attach_scope(name, caller, purpose, on_request);
        catalog::role_by_name(name)
            .filter(|_| labelled)
            .map(|role| role.oid)
            .ok_or_else(|| Error::Sql("the role that was just created is not there".to_owned()))
    })?;
    let held = grant(name, role, planned, &grants)?;
    declared::make(role, name, &planned.plan, &held)?;
    changed(
        "create_scope",
        name,
        "granted",
        grants.iter().map(|(grant, _)| grant),
        &planned.plan.names,
    );
    Ok(role)
}

/// For the audit trail.
pub fn changed<'a>(
    function: &str,
    name: &str,
    what: &'static str,
    grants: impl Iterator<Item = &'a Grant>,
    names: &plan::Names,
) {
    const SHOWN: usize = 100;
    let mut grants: Vec<String> = grants.map(|grant| describe(grant, &[names])).collect();
    let more = grants.len().saturating_sub(SHOWN);
    if more > 0 {
        grants.truncate(SHOWN);
        grants.push(format!("and {more} more"));
    }
    audit::administered(
        AuditAction::Scope,
        function,
        name,
        &[(what, Value::Texts(&grants))],
    );
}

/// Spare grants that nobody can make are left out.
fn grantable(grants: Vec<(Grant, Wanted)>) -> Vec<(Grant, Wanted)> {
    grants
        .into_iter()
        .filter(|(_, wanted)| wanted.need != Need::Spare || wanted.grantor != Grantor::Nobody)
        .collect()
}

/// Adds privileges to a scope.
pub fn add(name: &str, request: &Request) -> Result<(), Error> {
    let scope = locked(name)?;
    let planned = planning::plan(request, identity::current_user(), Some(scope.oid))?;
    extend(&scope.name, scope.oid, request, &planned)?;
    label::keep(scope.oid);
    tell(scope.oid, request, &planned)
}

/// Makes the grants of a plan that a scope lacks. The caller holds its lock.
pub fn extend(
    name: &str,
    role: pg_sys::Oid,
    request: &Request,
    planned: &Planned,
) -> Result<(), Error> {
    let grants = grantable(planned.plan.to_grant(&held::by(role)?));
    planned.require_authority(&grants)?;
    planned.require_future(request)?;
    let held = grant(name, role, planned, &grants)?;
    let mut new = declared::add(role, name, &planned.plan, &held)?;
    new.retain(|new| !grants.iter().any(|(grant, _)| grant == new));
    if !new.is_empty() {
        changed(
            "alter_scope",
            name,
            "declared",
            new.iter(),
            &planned.plan.names,
        );
    }
    if !grants.is_empty() {
        changed(
            "alter_scope",
            name,
            "granted",
            grants.iter().map(|(grant, _)| grant),
            &planned.plan.names,
        );
    }
    Ok(())
}

/// Makes grants, each as the one who can, and looks whether they are there: what is held then.
fn grant(
    name: &str,
    role: pg_sys::Oid,
    planned: &Planned,
    grants: &[(Grant, Wanted)],
) -> Result<Holdings, Error> {
    let mut by_grantor: BTreeMap<Grantor, Vec<&Grant>> = BTreeMap::new();
    for (grant, wanted) in grants {
        by_grantor.entry(wanted.grantor).or_default().push(grant);
    }
    for (grantor, grants) in by_grantor {
        let sql = statements(
            grants,
            &planned.plan.names,
            &spi::identifier(name),
            Direction::Grant,
        )
        .join("; ");
        // Other tools change the same access lists without our lock.
        let work = || waiting::retrying(|| spi::execute(&sql));
        match grantor {
            Grantor::Caller => identity::pinned(work)?,
            Grantor::Scope(owner) => identity::acting_as(owner.into(), work)?,
            Grantor::Nobody => {}
        }
    }
    let after = held::by(role)?;
    label::declare(role, access(&after), true);
    let difference = planned.plan.difference(&after);
    if difference.missing.is_empty() {
        return Ok(after);
    }
    // PostgreSQL says with a warning only that it has not granted something.
    Err(Error::NotDone {
        scope: name.to_owned(),
        left: difference
            .missing
            .iter()
            .map(|grant| describe(grant, &[&planned.plan.names]))
            .collect(),
    })
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
        audit::administered(AuditAction::Scope, "alter_scope", &scope.name, &fields);
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

/// Revokes as each grantor: a REVOKE takes back the grants of the one who runs it.
fn revoke(scope: &Scope, held: &Holdings, gone: &BTreeSet<Grant>) -> Result<(), Error> {
    let mut by_grantor: BTreeMap<u32, Vec<&Grant>> = BTreeMap::new();
    for grant in gone {
        let grantors = held.grants.get(grant).into_iter().flatten();
        for &grantor in grantors {
            // Default privileges belong to the role that they are for.
            let grantor = match grant.object {
                Object::Future { creator, .. } => creator,
                _ => grantor,
            };
            by_grantor.entry(grantor).or_default().push(grant);
        }
    }
    let role = spi::identifier(&scope.name);
    for (grantor, grants) in by_grantor {
        let sql = statements(grants, &held.names, &role, Direction::Revoke).join("; ");
        identity::acting_as(grantor.into(), || waiting::retrying(|| spi::execute(&sql)))?;
    }
    let after = held::by(scope.oid)?;
    label::declare(scope.oid, access(&after), false);
    let left: Vec<String> = gone
        .iter()
        .filter(|grant| after.grants.contains_key(grant))
        .map(|grant| describe(grant, &[&held.names]))
        .collect();
    if left.is_empty() {
        changed(
            "alter_scope",
            &scope.name,
            "revoked",
            gone.iter(),
            &held.names,
        );
        Ok(())
    } else {
        Err(Error::NotDone {
            scope: scope.name.clone(),
            left,
        })
    }
}

/// Writes down what a scope is for here, after what it holds has changed.
pub fn redeclare(scope: pg_sys::Oid, joins: bool) -> Result<(), Error> {
    label::declare(scope, access(&held::by(scope)?), joins);
    Ok(())
}

/// What a scope is for, by what it holds.
fn access(held: &Holdings) -> Access {
    let owns = held
        .others
        .iter()
        .any(|other| matches!(other, Other::Owns { .. }));
    let mut reads = !owns;
    for grant in held.grants.keys() {
        match grant.privilege {
            Privilege::Create => return Access::Create,
            Privilege::Select | Privilege::Usage | Privilege::Connect => {}
            _ => reads = false,
        }
    }
    if reads { Access::Read } else { Access::Write }
}
