//! The issuers of a spec, without their keys.

use super::document::{Document, Issuer};
use super::steps::{Found, IssuerChange, Step, Work, array, require_function};
use super::{At, Error, state};
use crate::claim_path::ClaimPath;
use crate::claim_rules::{RequiredClaims, RoleMap};
use crate::jwt::Algorithm;
use crate::pg::{identity, spi};
use crate::verify;

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
    if document.issuers.is_empty() {
        return Ok(());
    }
    let known = state::issuers()?;
    for (index, declared) in document.issuers.iter().enumerate() {
        let at = format!("/issuers/{index}");
        for (index, name) in declared.algorithms.iter().enumerate() {
            if name.parse::<Algorithm>().is_err() {
                return Err(verify::issuer::Bad::Algorithm(name.clone()))
                    .at(&format!("{at}/algorithms/{index}"));
            }
        }
        if let Some(path) = &declared.role_claim {
            ClaimPath::parse(path)
                .map_err(verify::issuer::Bad::RoleClaim)
                .at(&format!("{at}/role_claim"))?;
        }
        verify::issuer::token_types(&declared.token_types).at(&format!("{at}/token_types"))?;
        RequiredClaims::parse(&required(declared))
            .map_err(verify::issuer::Bad::Required)
            .at(&format!("{at}/required_claims"))?;
        role_map(declared)
            .map(|map| RoleMap::parse(&map))
            .transpose()
            .map_err(verify::issuer::Bad::RoleMap)
            .at(&format!("{at}/role_map"))?;
        verify::issuer::bound(&declared.bound).at(&format!("{at}/bound"))?;
        let existing = known.iter().find(|issuer| issuer.name == declared.name);
        if existing == Some(declared) {
            continue;
        }
        if known
            .iter()
            .any(|other| other.issuer == declared.issuer && other.name != declared.name)
        {
            return Err(verify::issuer::Bad::Exists).at(&format!("{at}/issuer"));
        }
        require_function("add_jwt_issuer", &at)?;
        let (statement, reason) = match existing {
            None => (
                addition(declared),
                format!(
                    "declared at {at}, and not there; it verifies no token until scope.set_jwt_keys()"
                ),
            ),
            Some(existing) => (
                update(existing, declared),
                format!("other rules are declared at {at}"),
            ),
        };
        found.policies.push(Step {
            object: format!("issuer {}", declared.name),
            statement,
            reason,
            work: Work::Issuer(IssuerChange {
                issuer: declared.clone(),
                is_new: existing.is_none(),
            }),
        });
    }
    Ok(())
}

fn required(issuer: &Issuer) -> String {
    serde_json::Value::Object(issuer.required_claims.clone()).to_string()
}

fn role_map(issuer: &Issuer) -> Option<String> {
    let map = issuer.role_map.as_ref()?;
    Some(serde_json::json!(map).to_string())
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
        ("audiences", array(&issuer.audiences)),
        ("algorithms", array(&issuer.algorithms)),
        ("role_claim", text(&issuer.role_claim)),
        (
            "allowed_roles",
            issuer
                .allowed_roles
                .as_deref()
                .map_or("NULL".to_owned(), array),
        ),
        ("anon_role", text(&issuer.anon_role)),
        ("leeway", seconds(issuer.leeway)),
        ("require_exp", issuer.require_exp.to_string()),
        ("max_age", seconds(issuer.max_age)),
        ("token_types", array(&issuer.token_types)),
        ("required_claims", spi::literal(&required(issuer))),
        ("role_map", text(&role_map(issuer))),
        ("bound", spi::literal(&issuer.bound)),
    ]
}

/// Without its keys, which are never part of a spec.
fn addition(issuer: &Issuer) -> String {
    let default = columns(&Issuer {
        name: String::new(),
        issuer: String::new(),
        audiences: Vec::new(),
        algorithms: Vec::new(),
        role_claim: None,
        allowed_roles: None,
        anon_role: None,
        leeway: None,
        require_exp: true,
        max_age: None,
        token_types: Vec::new(),
        required_claims: serde_json::Map::new(),
        role_map: None,
        bound: "if_present".into(),
    });
    let given: Vec<String> = columns(issuer)
        .into_iter()
        .zip(default)
        .skip(1)
        .filter(|(ours, default)| ours != default)
        .map(|((column, value), _)| format!(", {column} => {value}"))
        .collect();
    format!(
        "SELECT scope.add_jwt_issuer({}, {}, keys => '…'{})",
        spi::literal(&issuer.name),
        spi::literal(&issuer.issuer),
        given.concat()
    )
}

fn update(existing: &Issuer, declared: &Issuer) -> String {
    let changes: Vec<String> = columns(declared)
        .into_iter()
        .zip(columns(existing))
        .filter(|(ours, theirs)| ours != theirs)
        .map(|((column, value), _)| format!("{column} = {value}"))
        .collect();
    format!(
        "UPDATE _scope.jwt_issuer SET {} WHERE name = {}",
        changes.join(", "),
        spi::literal(&declared.name)
    )
}

/// Registers an issuer, or changes its rules. Authority was checked when the step was found.
pub fn write(change: &IssuerChange) -> Result<(), Error> {
    let required = required(&change.issuer);
    let map = role_map(&change.issuer);
    let Issuer {
        name,
        issuer,
        audiences,
        algorithms,
        role_claim,
        allowed_roles,
        anon_role,
        leeway,
        require_exp,
        max_age,
        token_types,
        bound,
        ..
    } = change.issuer.clone();
    // Without keys, until scope.set_jwt_keys() brings some; nor any that an issuer of the name once had.
    let sql = if change.is_new {
        "WITH earlier AS (DELETE FROM _scope.jwt_issuer_secret WHERE name = $1)
         INSERT INTO _scope.jwt_issuer
           (name, issuer, audiences, algorithms, role_claim, allowed_roles, anon_role, leeway, require_exp, max_age,
            token_types, required_claims, role_map, bound)
         VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.make_interval(secs => $8), $9, pg_catalog.make_interval(secs => $10),
                 $11, $12::pg_catalog.jsonb, $13::pg_catalog.jsonb, $14)"
    } else {
        "UPDATE _scope.jwt_issuer
            SET issuer = $2, audiences = $3, algorithms = $4, role_claim = $5, allowed_roles = $6, anon_role = $7,
                leeway = pg_catalog.make_interval(secs => $8), require_exp = $9,
                max_age = pg_catalog.make_interval(secs => $10), token_types = $11, required_claims = $12::pg_catalog.jsonb,
                role_map = $13::pg_catalog.jsonb, bound = $14, changed_at = pg_catalog.now()
          WHERE name = $1"
    };
    identity::elevated(|| {
        spi::query(
            sql,
            &[
                name.into(),
                issuer.into(),
                audiences.into(),
                algorithms.into(),
                role_claim.into(),
                allowed_roles.into(),
                anon_role.into(),
                leeway.map(f64::from).into(),
                require_exp.into(),
                max_age.map(f64::from).into(),
                token_types.into(),
                required.into(),
                map.into(),
                bound.into(),
            ],
            |_| Ok(()),
        )
    })?;
    Ok(())
}
