//! Making, changing and dropping scopes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::facts::{self, Planned, Request};
use super::plan::{self, Direction, Grant, Grantor, Holdings, Need, Object, Other, Wanted};
use super::privilege::{Privilege, Verbs};
use super::{Error, Scope, declared, held, name, name_of, own};
use crate::audit::{self, Action as AuditAction, Value};
use crate::credential::MAX_PURPOSE_BYTES;
use crate::credential::authority::is_over;
use crate::error;
use crate::expiry::Managed;
use crate::expiry::end::{self, Action};
use crate::label::{self, Access, Kind, State};
use crate::pg::advisory::{self, Key, Mode};
use crate::pg::{catalog, dependencies, identity, spi, xact};

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
    let planned = facts::plan(request, caller, None)?;
    require_making(request, &planned)?;
    // Whoever comes second with the same name waits here, and sees what the first has made.
    advisory::lock(Key::Text(name), Mode::Exclusive);
    if let Some(existing) = catalog::role_by_name(name) {
        return already_there(name, existing.oid, request, if_not_exists);
    }
    // What was true before the wait may not be so any more.
    let planned = facts::plan(request, caller, None)?;
    make(name, request, &planned, purpose)?;
    tell(request, &planned);
    Ok(())
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

/// A role of this name exists. Fine when it is a scope with just these privileges, and the caller
/// has said so.
fn already_there(
    name: &str,
    role: pg_sys::Oid,
    request: &Request,
    if_not_exists: bool,
) -> Result<(), Error> {
    let metadata = match label::read(role) {
        Some(Ok(metadata)) if metadata.kind == Kind::Scope && if_not_exists => metadata,
        _ => {
            return Err(Error::Exists {
                role: name.to_owned(),
            });
        }
    };
    let mut scope = Scope {
        oid: role,
        name: name.to_owned(),
        metadata,
    };
    // Others may ask what it holds, but not keep its owner from it.
    let is_superuser = catalog::role_by_oid(role).is_some_and(|role| role.superuser);
    if !is_superuser && is_over(identity::current_user(), &scope.metadata) {
        scope = claimed(name)?;
    }
    let role = scope.oid;
    scope.require_usable()?;
    let planned = facts::plan(request, identity::current_user(), Some(role))?;
    let held = held::by(role)?;
    let difference = differences(request, &planned, &held, false);
    if !difference.is_empty()
        && planned.plan.is_outgrown(&held)
        && excess(request, &planned, &held, false).is_empty()
    {
        // What it was to get in future exists by now, or who makes it does.
        own(name)?;
        extend(name, role, request, &planned)?;
        error::notice(
            format!("scope \"{name}\" already exists, completing"),
            "It has got what came into its schemas since.",
            None,
        );
        tell(request, &planned);
        return Ok(());
    }
    if !difference.is_empty() {
        return Err(Error::Differs {
            scope: name.to_owned(),
            difference: plan::some_of(&difference),
        });
    }
    if is_over(identity::current_user(), &scope.metadata) {
        let new = declared::add(role, name, &planned.plan, &held)?;
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
        "It has just these privileges.",
        None,
    );
    Ok(())
}

/// May the caller make all grants of a new scope?
pub fn require_making(request: &Request, planned: &Planned) -> Result<(), Error> {
    planned.require_authority(&grantable(planned.plan.to_grant(&Holdings::default())))?;
    planned.require_future(request)
}

/// Makes the role and its grants. The caller holds the lock on the name.
pub fn make(
    name: &str,
    request: &Request,
    planned: &Planned,
    purpose: Option<&str>,
) -> Result<(), Error> {
    let grants = grantable(planned.plan.to_grant(&Holdings::default()));
    require_making(request, planned)?;
    let caller = identity::current_user();
    let role = identity::elevated(|| -> Result<pg_sys::Oid, Error> {
        spi::execute(&format!("CREATE ROLE {} NOLOGIN", spi::identifier(name)))?;
        let labelled = label::attach(name, Kind::Scope, caller, purpose);
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
    Ok(())
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
    let mut grants: Vec<String> = grants
        .map(|grant| plan::describe(grant, &[names]))
        .collect();
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
    let planned = facts::plan(request, identity::current_user(), Some(scope.oid))?;
    extend(&scope.name, scope.oid, request, &planned)?;
    tell(request, &planned);
    Ok(())
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
        let sql = plan::statements(
            grants,
            &planned.plan.names,
            &spi::identifier(name),
            Direction::Grant,
        )
        .join("; ");
        // Other tools change the same access lists without our lock.
        let work = || xact::retrying(|| spi::execute(&sql));
        match grantor {
            Grantor::Caller => identity::pinned(work)?,
            Grantor::Scope(owner) => identity::acting_as(owner.into(), work)?,
            Grantor::Nobody => {}
        }
    }
    let after = held::by(role)?;
    label::declare(role, access(&after));
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
            .map(|grant| plan::describe(grant, &[&planned.plan.names]))
            .collect(),
    })
}

/// Takes privileges from a scope, whoever has granted them.
pub fn remove(name: &str, request: &Request) -> Result<(), Error> {
    let scope = locked(name)?;
    let mut planned = facts::plan(request, identity::current_user(), Some(scope.oid))?;
    let held = held::by(scope.oid)?;
    if let Some(grant) = held_by_table(&planned, &held) {
        return Err(Error::HeldByTable {
            scope: name.to_owned(),
            grant: plan::describe(&grant, &[&held.names]),
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
    declared::take_away(scope.oid, &scope.name, &withdrawn, &planned.plan, &held)
}

/// A whole schema goes with its future, whoever creates there.
fn future_of_all(request: &Request, planned: &mut Planned) {
    use super::privilege::Class;
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
        let sql = plan::statements(grants, &held.names, &role, Direction::Revoke).join("; ");
        identity::acting_as(grantor.into(), || xact::retrying(|| spi::execute(&sql)))?;
    }
    let after = held::by(scope.oid)?;
    label::declare(scope.oid, access(&after));
    let left: Vec<String> = gone
        .iter()
        .filter(|grant| after.grants.contains_key(grant))
        .map(|grant| plan::describe(grant, &[&held.names]))
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

/// Writes down what a scope is for, after what it holds has changed.
pub fn redeclare(scope: pg_sys::Oid) -> Result<(), Error> {
    label::declare(scope, access(&held::by(scope)?));
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

/// How long a scope's end waits for others who hold what it was granted; the worker goes on from there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Drops a scope, or begins its end where other databases still hold something of it, or other
/// transactions what it was granted. `since` is when the call has begun.
pub fn drop(name: &str, force: bool, if_exists: bool, since: Instant) -> Result<(), Error> {
    if if_exists && catalog::role_by_name(name).is_none() {
        error::notice(
            format!("scope \"{name}\" does not exist, skipping"),
            "No role has this name.",
            None,
        );
        return Ok(());
    }
    let scope = claimed(name)?;
    let members = held::members(scope.oid)?;
    if !members.is_empty() && !force {
        return Err(Error::HasMembers {
            scope: scope.name,
            members,
        });
    }
    let owned: Vec<String> = held::by(scope.oid)?
        .others
        .into_iter()
        .filter_map(|other| match other {
            Other::Owns { what, .. } => Some(what),
            _ => None,
        })
        .collect();
    if !owned.is_empty() {
        return Err(Error::Owns {
            scope: scope.name,
            objects: owned,
        });
    }
    let role = Managed {
        oid: scope.oid,
        name: scope.name.clone(),
        moment: i64::MIN,
        is_disabled: true,
        metadata: scope.metadata,
    };
    let (action, detail) = identity::elevated(|| {
        xact::retrying_anew(|| -> Result<_, pgrx::spi::Error> {
            dependencies::revoke_members(role.oid)?;
            let work = || {
                xact::raised(dependencies::drop_default_privileges_of(role.oid));
                xact::raised(end::release_and_drop(&role))
            };
            if since.elapsed() < PATIENCE {
                return Ok(work());
            }
            match xact::briefly(work) {
                Err(failure) if failure.is_locked() => {
                    end::begin(&role).map(|reason| (Action::Ending, Some(reason)))
                }
                Err(failure) => xact::raise(failure),
                Ok(outcome) => Ok(outcome),
            }
        })
    })?;
    audit::administered(
        AuditAction::Scope,
        "drop_scope",
        name,
        &[("members", Value::Texts(&members))],
    );
    if action != Action::Dropped {
        error::notice(
            format!("scope \"{name}\" is being dropped"),
            &format!(
                "Its members have lost it; {}.",
                detail.unwrap_or_else(|| "the background worker goes on".to_owned())
            ),
            None,
        );
    }
    Ok(())
}

/// Takes EXECUTE from everyone, and gives it to scopes.
pub fn restrict(function: u32, scopes: &[String]) -> Result<(), Error> {
    let caller = identity::current_user();
    let fact = facts::routine(function, caller)?;
    if !catalog::has_privileges_of(caller, fact.owner.into()) {
        return Err(Error::MayNotRestrict {
            function: fact.sql,
            caller: name_of(caller),
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
        let planned = facts::plan(&request, caller, Some(scope.oid))?;
        extend(&scope.name, scope.oid, &request, &planned)?;
    }
    let sql = format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC CASCADE", fact.sql);
    for grantor in held::public_grantors(function)? {
        identity::acting_as(grantor.into(), || xact::retrying(|| spi::execute(&sql)))?;
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

/// The scope of this name, for changing it: locked, active, of this database and the caller's.
fn locked(name: &str) -> Result<Scope, Error> {
    let scope = claimed(name)?;
    scope.require_usable()?;
    Ok(scope)
}

/// The caller's scope of this name, locked: authority first, so that nobody else can take the lock, and
/// again under it.
fn claimed(name: &str) -> Result<Scope, Error> {
    let first = own(name)?;
    advisory::lock(Key::Role(first.oid), Mode::Exclusive);
    let scope = own(name)?;
    if scope.oid == first.oid {
        Ok(scope)
    } else {
        // Renamed meanwhile: what is locked is another role.
        Err(Error::Unknown { scope: scope.name })
    }
}

/// In what a scope differs from a request, in words; nothing when it is exactly that. Policies that
/// name a scope are its administrator's addition, which `strict` does not accept.
pub fn differences(
    request: &Request,
    planned: &Planned,
    held: &Holdings,
    strict: bool,
) -> Vec<String> {
    let difference = planned.plan.difference(held);
    let names = [&held.names, &planned.plan.names];
    let missing = difference
        .missing
        .iter()
        .map(|grant| format!("lacks {}", plan::describe(grant, &names)));
    missing
        .chain(excess(request, planned, held, strict))
        .collect()
}

/// What a scope has beyond a request, in words.
pub fn excess(request: &Request, planned: &Planned, held: &Holdings, strict: bool) -> Vec<String> {
    let creates = request.verbs.has(Privilege::Create);
    let names = [&held.names, &planned.plan.names];
    let grants = planned.plan.difference(held).excess;
    let grants = grants
        .iter()
        .map(|grant| format!("has {}", plan::describe(grant, &names)));
    let others = held.others.iter().filter_map(|other| match other {
        // What its sessions have created there is part of it.
        Other::Owns { schema, .. } if creates && request.schemas.contains(schema) => None,
        Other::Policy { .. } if !strict => None,
        Other::Owns { what, .. } | Other::Policy { what } | Other::Else { what } => {
            Some(format!("has {what}"))
        }
    });
    grants.chain(others).collect()
}

/// Is it a scope of the caller's own making, and in use?
pub fn is_own(role: pg_sys::Oid, caller: pg_sys::Oid) -> bool {
    matches!(
        label::read(role),
        Some(Ok(metadata)) if metadata.kind == Kind::Scope
            && metadata.state == State::Active
            && metadata.creator_oid == u32::from(caller)
            && metadata.creator == name_of(caller)
    )
}

/// What whoever made the call is to know of it.
pub fn tell(request: &Request, planned: &Planned) {
    tell_uncovered(planned);
    tell_planting(request);
}

/// Some privileges are more than they look.
fn tell_planting(request: &Request) {
    let words: Vec<&str> = request
        .verbs
        .that_plant_code()
        .into_iter()
        .map(Privilege::word)
        .collect();
    if !words.is_empty() {
        error::notice(
            format!(
                "{} lets the login leave code that others run",
                words.join(", ")
            ),
            "A trigger (TRIGGER) runs as whoever writes to the table, its owner and superusers too; a foreign key (REFERENCES) acts on \
             each change to the table that it names; a function or an operator (CREATE) can be taken for another by whoever has the \
             schema in their search_path. They stay when the login has ended.",
            Some("scope.review() finds what has been given, and triggers that others have left."),
        );
    }
}

/// Promises nothing about the tables of roles for whom the caller may not speak.
fn tell_uncovered(planned: &Planned) {
    if !planned.uncovered.is_empty() {
        error::notice(
            "future tables of some roles are not covered".to_owned(),
            &format!(
                "Only {} and superusers can set their default privileges.",
                planned.uncovered.join(", ")
            ),
            None,
        );
    }
}
