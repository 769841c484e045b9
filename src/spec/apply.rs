//! Making what a spec declares, under the locks of all that may change.

use std::time::Instant;

use super::document::{Document, Locked};
use super::steps::{Actor, Change, Declared, Declares, Plan, Step, Work};
use super::{At, Error, authenticators, digest, issuers, plan, requests};
use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action};
use crate::authenticator;
use crate::authority::Target;
use crate::credential::issue;
use crate::expiry::drop_scope;
use crate::guard;
use crate::label::{self, Kind};
use crate::pg::{catalog, identity, seclabel, spi};
use crate::scope::privilege::Verbs;
use crate::scope::request::Request;
use crate::scope::{self, create, declared, grants, held};
use crate::waiting;

/// The steps that were made, and the digest of them.
pub fn apply(document: &Document, expect_digest: Option<&str>) -> Result<(Plan, String), Error> {
    // Who is in the way of nothing holds nothing.
    let first = plan::plan(document)?;
    if !first.steps.is_empty() || !first.declared.is_empty() {
        lock(document)?;
    }
    let plan = carry_out(document)?;
    if !plan.steps.is_empty() {
        document
            .scopes
            .iter()
            .filter_map(|scope| catalog::role_by_name(&scope.name))
            .try_for_each(|role| grants::redeclare(role.oid, false))?;
    }
    plan.declared.iter().try_for_each(declare)?;
    let digest = digest(&plan.steps);
    // The error undoes what was done. Where nothing is left to do, it was done before.
    let is_another = |expected: &&str| *expected != digest && !plan.steps.is_empty();
    if let Some(expected) = expect_digest.filter(is_another) {
        return Err(Error::Changed {
            expected: expected.to_owned(),
            found: digest,
        });
    }
    for step in &plan.steps {
        let fields = [("statement", Some(step.statement.as_str()).into())];
        audit::administered(Action::Policy, "apply", &step.object, &fields);
    }
    Ok((plan, digest))
}

/// Takes the locks of all that may be changed. The caller's authority over roles of ours has been asked
/// for by the plan, over others it is asked for here: what is not theirs they do not change, and so do
/// not lock.
fn lock(document: &Document) -> Result<(), Error> {
    const ROUNDS: usize = 5;
    let caller = identity::current_user();
    for _ in 0..ROUNDS {
        let mut moved = false;
        for locked in document.locks() {
            let (Locked::Role(name) | Locked::Made(name) | Locked::MembersOf(name)) = locked else {
                let text = match locked {
                    Locked::RequestPolicy(name) => {
                        requests::lock(name)?;
                        continue;
                    }
                    Locked::Issuer(name) => format!("issuer {name}"),
                    _ => "functions that may write".to_owned(),
                };
                advisory::lock(Key::Text(&text), Mode::Exclusive);
                continue;
            };
            let found = catalog::role_by_name(name);
            match (locked, &found) {
                (Locked::MembersOf(_), Some(role)) if scope::may_give(caller, role.oid)? => {
                    let text = format!("members of {}", u32::from(role.oid));
                    advisory::lock(Key::Text(&text), Mode::Exclusive);
                }
                (Locked::Role(_) | Locked::Made(_), Some(role)) => {
                    advisory::lock(Key::Role(role.oid), Mode::Exclusive);
                }
                (Locked::Made(_), None) => advisory::lock(Key::Text(name), Mode::Exclusive),
                _ => {}
            }
            // Made, dropped or renamed while we waited.
            let now = catalog::role_by_name(name);
            moved |= now.map(|role| role.oid) != found.map(|role| role.oid);
        }
        if !moved {
            break;
        }
        // What is another role by now may be another's.
        plan::plan(document)?;
    }
    Ok(())
}

/// Makes the steps, and those that follow from them, until none is left.
pub fn carry_out(document: &Document) -> Result<Plan, Error> {
    const ROUNDS: usize = 5;
    let mut all = plan::plan(document)?;
    all.steps.iter().try_for_each(run)?;
    for _ in 1..ROUNDS {
        let next = plan::plan(document)?;
        all.declared = next.declared;
        if next.steps.is_empty() {
            return Ok(all);
        }
        next.steps.iter().try_for_each(run)?;
        all.steps.extend(next.steps);
    }
    match plan::plan(document)?.steps.into_iter().next() {
        // PostgreSQL says with a warning only that it has not granted something.
        Some(step) => Err(Error::NotReached {
            left: step.statement,
        }),
        None => Ok(all),
    }
}

/// What a scope holds by a spec, it declares, whoever has granted it before.
fn declare(declared: &Declared) -> Result<(), Error> {
    let name = declared.scope.as_str();
    // Whether it is the caller's has been asked when the plan was made.
    let Some(role) = catalog::role_by_name(name) else {
        return Ok(());
    };
    match &declared.change {
        Declares::Also(plan) | Declares::Only(plan) => {
            label::keep(role.oid);
            let held = held::by(role.oid)?;
            let new = match declared.change {
                Declares::Only(_) => declared::replace(role.oid, name, plan, &held)?,
                _ => declared::add(role.oid, name, plan, &held)?,
            };
            if !new.is_empty() {
                grants::changed("apply", name, "declared", new.iter(), &plan.names);
            }
        }
        Declares::Without(gone) => {
            let held = held::by(role.oid)?;
            declared::take_away(role.oid, name, gone, &scope::plan::Plan::default(), &held)?;
        }
    }
    Ok(())
}

fn run(step: &Step) -> Result<(), Error> {
    // Other tools change the same rows without our lock.
    let work = || waiting::retrying(|| spi::execute(&step.statement));
    match &step.work {
        Work::Sql(Actor::Caller) => identity::pinned(work)?,
        Work::Sql(Actor::Role(role)) => identity::acting_as((*role).into(), work)?,
        Work::Sql(Actor::Extension) => identity::elevated(work)?,
        Work::CreateScope { name, purpose } => {
            let nothing = Request {
                verbs: Verbs::read(),
                tables: Vec::new(),
                columns: None,
                sequences: Vec::new(),
                functions: Vec::new(),
                schemas: Vec::new(),
                future: false,
            };
            create::create(name, &nothing, purpose.as_deref(), true)?;
        }
        Work::DropScope { name } => drop_scope::drop(name, false, true, Instant::now())?,
        Work::Label { role, change } => relabel(role, change)?,
        Work::CreateAuthenticator(declared) => {
            let options = authenticators::options("/authenticators", declared)?;
            issue::claim_free(&declared.name).at("/authenticators")?;
            let new = authenticator::New {
                role: &declared.name,
                roles: &declared.roles,
                tokens: &authenticators::tokens(declared).at("")?,
                purpose: declared.purpose.as_deref(),
                options: &options,
                valid_until: None,
            };
            let checked = new.check().at("/authenticators")?;
            new.make(None, checked.connects).at("/authenticators")?;
        }
        Work::Issuer(change) => issuers::write(change)?,
        Work::Guard { role, action, rule } => {
            guard::put(role, *action, rule.clone()).at("/guards")?;
        }
        Work::RequestPolicy { name, declared } => requests::put(name, declared.as_deref())?,
        Work::Writes { function, allowed } => {
            guard::let_write((*function).into(), *allowed).at("/writing_functions")?;
        }
    }
    Ok(())
}

fn relabel(role: &str, change: &Change) -> Result<(), Error> {
    let is_scope = catalog::role_by_name(role)
        .and_then(|role| label::read(role.oid))
        .is_some_and(|read| read.is_ok_and(|metadata| metadata.kind == Kind::Scope));
    let (oid, mut metadata) = if is_scope {
        let scope = scope::own(role)?;
        (scope.oid, scope.metadata)
    } else {
        let target = Target::claim(role).at("/logins")?;
        (target.role.oid, target.metadata)
    };
    change.apply(&mut metadata);
    label::write(oid, &metadata);
    if matches!(
        change,
        Change::Roles(_) | Change::Issuers(_) | Change::SubjectLimit(_)
    ) {
        // Sessions ask which of their tokens count only when they hear of it.
        seclabel::tell_sessions(oid);
    }
    Ok(())
}
