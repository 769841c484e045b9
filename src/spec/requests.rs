//! The request policies of a spec: what may be asked for.

use super::document::{Document, Mode, RequestPolicy, policy_at};
use super::steps::{Found, Notice, Step, Work, missing, require_function};
use super::{At, Error};
use crate::pg::catalog;
use crate::request;
use crate::request::policy::{Policy, RoleRef, change, statement};

const CREATE: &str = "create_request_policy";
const DROP: &str = "drop_request_policy";

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
    let is_authoritative = document.mode == Mode::Authoritative;
    if document.request_policies.is_empty() && !is_authoritative {
        return Ok(());
    }
    let known = request::policies().at("/request_policies")?;
    for (name, declared) in &document.request_policies {
        let before = known.iter().find(|policy| policy.name == *name);
        one(document, name, declared, before, found)?;
    }
    match is_authoritative {
        true => undeclared(document, &known, found),
        false => Ok(()),
    }
}

fn one(
    document: &Document,
    name: &str,
    declared: &RequestPolicy,
    before: Option<&Policy>,
    found: &mut Found,
) -> Result<(), Error> {
    let at = policy_at(name);
    if are_there(document, &at, declared)? {
        let read = declared.read(before.map(|before| &before.is));
        let mut definition = placed(&at, read)?;
        if before.is_some_and(|before| before.is.is_like(&definition)) {
            return Ok(());
        }
        placed(&at, change::require_new(name, &definition))?;
        if before.is_some() {
            let before = placed(&at, change::require_own(name))?;
            placed(&at, change::require_instead_of(&before, &mut definition))?;
        }
    } else if before.is_some() {
        placed(&at, change::require_own(name))?;
    }
    require_function(CREATE, &at)?;
    found.policies.push(Step {
        object: format!("request policy {name}"),
        statement: statement::creation(name, declared, before.is_some()),
        reason: match before {
            Some(_) => format!("another policy is declared at {at}"),
            None => format!("declared at {at}, and not there"),
        },
        work: Work::RequestPolicy {
            name: name.to_owned(),
            declared: Some(Box::new(declared.clone())),
        },
    });
    Ok(())
}

/// Are all roles there that it names? Some may be made first, and are their maker's.
fn are_there(document: &Document, at: &str, declared: &RequestPolicy) -> Result<bool, Error> {
    let is_made = |name: &String| {
        let mut scopes = document.scopes.iter().filter(|scope| !scope.absent);
        let mut gates = document.authenticators.iter();
        scopes.any(|scope| scope.name == *name) || gates.any(|one| one.name == *name)
    };
    let mut all = true;
    for (place, role) in declared.roles() {
        if catalog::role_by_name(role).is_none() {
            if !is_made(role) {
                return Err(missing("role", role, &format!("{at}/{place}")));
            }
            all = false;
        }
    }
    Ok(all)
}

/// What the spec names wholly can be asked for as declared, and not otherwise.
fn undeclared(document: &Document, known: &[Policy], found: &mut Found) -> Result<(), Error> {
    let scopes = document.scopes.iter().enumerate();
    let scopes = scopes.filter(|(_, scope)| !scope.absent);
    let scopes = scopes.map(|(index, scope)| (&scope.name, format!("/scopes/{index}")));
    let roles = document.roles.iter().enumerate();
    let roles = roles.map(|(index, role)| (role, format!("/roles/{index}")));
    let named: Vec<(&String, String)> = scopes.chain(roles).collect();
    for policy in known {
        if document.request_policies.contains_key(&policy.name) {
            continue;
        }
        let targets: Vec<String> = policy
            .is
            .targets
            .iter()
            .filter(|role| role.is_there())
            .map(RoleRef::shown)
            .collect();
        let Some((_, at)) = named.iter().find(|(name, _)| targets.contains(name)) else {
            continue;
        };
        match change::require_own(&policy.name) {
            Ok(_) => {}
            Err(request::Error::NotYourPolicy { creator, .. }) => {
                found.notices.push(Notice {
                    message: format!("request policy \"{}\" is kept, and not declared", policy.name),
                    detail: format!("It is of \"{creator}\"."),
                    hint: "Declare it as scope.request_policies shows it, or have its creator or a superuser apply the spec.",
                });
                continue;
            }
            Err(error) => return Err(error).at(at),
        }
        require_function(DROP, at)?;
        found.policies.push(Step {
            object: format!("request policy {}", policy.name),
            statement: statement::end(&policy.name),
            reason: format!("not declared in /request_policies, and a role of it is named at {at}"),
            work: Work::RequestPolicy {
                name: policy.name.clone(),
                declared: None,
            },
        });
    }
    Ok(())
}

/// With the place in the policy where that is known.
fn placed<T>(at: &str, result: Result<T, request::Error>) -> Result<T, Error> {
    let place = match &result {
        Err(request::Error::Bad { what, .. }) if *what != "name" => format!("{at}/{what}"),
        _ => at.to_owned(),
    };
    result.at(&place)
}

/// Nobody else changes it, if it is the caller's or there is none. The authority to make one has been asked for.
pub fn lock(name: &str) -> Result<(), Error> {
    match change::claim(name) {
        Ok(_) | Err(request::Error::NoSuchPolicy(_) | request::Error::NotYourPolicy { .. }) => {
            Ok(())
        }
        Err(error) => placed(&policy_at(name), Err(error)),
    }
}

/// Makes it so. Authority is asked for once more.
pub fn put(name: &str, declared: Option<&RequestPolicy>) -> Result<(), Error> {
    let done = match declared {
        Some(declared) => change::put(name, declared, true),
        None => change::drop_own(name),
    };
    placed(&policy_at(name), done)
}
