//! The issuers of a spec, without their keys.

use serde_json::{Map, Value};

use super::document::{Document, Issuer};
use super::steps::{Found, IssuerChange, Step, Work, require_function};
use super::{At, Error};
use crate::jwt::Algorithm;
use crate::pg::spi;
use crate::verify::issuer::definition::registered;
use crate::verify::issuer::{self, registry};

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
    if document.issuers.is_empty() {
        return Ok(());
    }
    let known = registered(None).at("/issuers")?;
    for (index, declared) in document.issuers.iter().enumerate() {
        let at = format!("/issuers/{index}");
        let existing = known.iter().find(|issuer| issuer.name == declared.name);
        if existing == Some(declared) {
            continue;
        }
        for (index, name) in declared.algorithms.iter().enumerate() {
            if name.parse::<Algorithm>().is_err() {
                return Err(issuer::Bad::Algorithm(name.clone()))
                    .at(&format!("{at}/algorithms/{index}"));
            }
        }
        declared
            .check(existing)
            .or_else(|(attribute, bad)| Err(bad).at(&format!("{at}/{attribute}")))?;
        if known
            .iter()
            .any(|other| other.issuer == declared.issuer && other.name != declared.name)
        {
            return Err(issuer::Bad::Exists).at(&format!("{at}/issuer"));
        }
        let function = match existing {
            None => "add_jwt_issuer",
            Some(_) => "alter_jwt_issuer",
        };
        require_function(function, &at)?;
        let (statement, reason) = match existing {
            None => (
                addition(declared),
                match declared.is_fetched() {
                    true => format!("declared at {at}, and not there; the worker fetches its keys"),
                    false => format!(
                        "declared at {at}, and not there; it verifies no token until scope.set_jwt_keys()"
                    ),
                },
            ),
            Some(existing) => (
                alteration(existing, declared),
                match declared.is_fetched() || declared.has_source_of(existing) {
                    true => format!("other rules are declared at {at}"),
                    false => format!(
                        "other rules are declared at {at}; it verifies no token until scope.set_jwt_keys()"
                    ),
                },
            ),
        };
        found.policies.push(Step {
            object: format!("issuer {}", declared.name),
            statement,
            reason,
            work: Work::Issuer(Box::new(IssuerChange {
                issuer: declared.clone(),
                before: existing.cloned(),
            })),
        });
    }
    Ok(())
}

/// The columns of an issuer as SQL.
fn columns(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.as_deref().map_or("NULL".to_owned(), spi::literal);
    let seconds = |seconds: Option<u32>| {
        seconds.map_or("NULL".to_owned(), |seconds| {
            format!("interval '{seconds} seconds'")
        })
    };
    vec![
        ("issuer", spi::literal(&issuer.issuer)),
        ("audiences", spi::array(&issuer.audiences)),
        ("algorithms", spi::array(&issuer.algorithms)),
        ("role_claim", text(&issuer.role_claim)),
        (
            "allowed_roles",
            issuer
                .allowed_roles
                .as_deref()
                .map_or("NULL".to_owned(), spi::array),
        ),
        ("anon_role", text(&issuer.anon_role)),
        ("leeway", seconds(issuer.leeway)),
        ("require_exp", issuer.require_exp.to_string()),
        ("max_age", seconds(issuer.max_age)),
        ("token_types", spi::array(&issuer.token_types)),
        ("required_claims", spi::literal(&issuer.required())),
        ("role_map", text(&issuer.map())),
        ("bound", spi::literal(&issuer.bound)),
        ("single_use", issuer.single_use.to_string()),
        ("keys_url", text(&issuer.keys_url)),
        ("discover", issuer.discover.to_string()),
        ("ca_file", text(&issuer.ca_file)),
        ("bearer_token_file", text(&issuer.bearer_token_file)),
        ("keys_stale_for", seconds(issuer.keys_stale_for)),
    ]
}

/// Without its keys, which are never part of a spec.
fn addition(issuer: &Issuer) -> String {
    let default = columns(&Issuer::named("", ""));
    let given: Vec<String> = columns(issuer)
        .into_iter()
        .zip(default)
        .skip(1)
        .filter(|(ours, default)| ours != default)
        .map(|((column, value), _)| format!(", {column} => {value}"))
        .collect();
    format!(
        "SELECT scope.add_jwt_issuer({}, {}{}{})",
        spi::literal(&issuer.name),
        spi::literal(&issuer.issuer),
        match issuer.is_fetched() {
            true => "",
            false => ", keys => '…'",
        },
        given.concat()
    )
}

fn alteration(existing: &Issuer, declared: &Issuer) -> String {
    let attributes = |issuer: &Issuer| match serde_json::to_value(issuer) {
        Ok(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    };
    let (before, after) = (attributes(existing), attributes(declared));
    let changed = after
        .iter()
        .filter(|(attribute, value)| before.get(*attribute) != Some(value))
        .map(|(attribute, value)| (attribute.clone(), value.clone()));
    let left_out = before
        .keys()
        .filter(|attribute| !after.contains_key(*attribute))
        .map(|attribute| (attribute.clone(), Value::Null));
    let changes: Map<String, Value> = changed.chain(left_out).collect();
    format!(
        "SELECT scope.alter_jwt_issuer({}, {})",
        spi::literal(&declared.name),
        spi::literal(&Value::Object(changes).to_string())
    )
}

/// Registers an issuer, or changes its rules. Authority was checked when the step was found.
pub fn write(change: &IssuerChange) -> Result<(), Error> {
    registry::put(&change.issuer, change.before.as_ref()).at("/issuers")
}
