//! From a spec and what there is to the steps between them, in the order in which they are made.
//!
//! Nothing is changed here. What a step needs is asked of the caller now, so that a plan that is shown
//! is one that its caller could apply.

use super::document::{Document, Mode, Scope};
use super::steps::{Found, Plan, Step};
use super::{Error, authenticators, guards, issuers, logins, memberships, requests};

pub fn plan(document: &Document) -> Result<Plan, Error> {
    let mut found = Found::default();
    for (index, scope) in document.scopes.iter().enumerate() {
        let at = format!("/scopes/{index}");
        if scope.absent {
            found.drop_scope(&at, scope)?;
        } else {
            found
                .scope(&at, scope, document.mode)
                .map_err(|error| error.placed(&at))?;
        }
    }
    if document.mode == Mode::Authoritative {
        found.undeclared(document)?;
    }
    memberships::steps(document, &mut found)?;
    authenticators::steps(document, &mut found)?;
    logins::steps(document, &mut found)?;
    issuers::steps(document, &mut found)?;
    guards::steps(document, &mut found)?;
    requests::steps(document, &mut found)?;
    // What is made comes before what refers to it. REVOKE on a table takes its columns along, so that
    // these are granted after it. Who loses a membership does before others get it,
    // since roles cannot be members of each other. Who gets a role is guarded from the first.
    let Found {
        created,
        granted,
        revoked,
        guarded,
        left,
        joined,
        policies,
        dropped,
        notices,
        declared,
    } = found;
    let has_future = |scope: &Scope| scope.grants.iter().any(|entry| entry.future_tables);
    let creates = |step: &Step| step.statement.contains("CREATE ON SCHEMA");
    let changes_creators = document.scopes.iter().any(has_future)
        && (!left.is_empty() || !joined.is_empty() || granted.iter().chain(&revoked).any(creates));
    let steps = [
        created, revoked, granted, guarded, left, joined, policies, dropped,
    ];
    Ok(Plan {
        steps: steps.into_iter().flatten().collect(),
        changes_creators,
        notices,
        declared,
    })
}
