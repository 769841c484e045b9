//! Registered issuers: the table `_scope.jwt_issuer`, and what each backend keeps of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{Bound, Error, RolePath, Rules, combine};
use crate::audit::{self, Action, Value};
use crate::claim_path::{ClaimPath, PathError};
use crate::claim_rules::{RequiredClaims, RoleMap, RuleError};
use crate::error;
use crate::guc;
use crate::jwt::{self, Algorithm, KeyError, KeySet, Policy, TokenType};
use crate::own_tables;
use crate::pg::arguments::{JsonText, Text, strings};
use crate::pg::{error_context, identity, spi, xact};

#[derive(Debug, thiserror::Error)]
pub enum Bad {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("{0} must not have null elements")]
    NullElement(&'static str),
    #[error("{0} must not be empty")]
    Empty(&'static str),
    #[error("the keys cannot be used")]
    Keys(KeyError),
    #[error("\"{0}\" is no signature algorithm")]
    Algorithm(String),
    #[error("the keys serve none of the algorithms")]
    Unserved,
    #[error("keys with a secret are too long")]
    LongSecrets,
    #[error("the path of the role claim is not valid")]
    RoleClaim(PathError),
    #[error("\"{0}\" is no token type")]
    TokenType(String),
    #[error("the required claims are not valid")]
    Required(RuleError),
    #[error("the map of roles is not valid")]
    RoleMap(RuleError),
    #[error("\"{0}\" is not required, if_present or ignored")]
    Bound(String),
    #[error("{0} must not be negative or infinite")]
    Duration(&'static str),
    #[error("an issuer of this name or with this iss exists already")]
    Exists,
    #[error("there is no issuer \"{0}\"")]
    Unknown(String),
    #[error("cannot change issuers in a read-only transaction")]
    ReadOnly,
    #[error("the issuers could not be changed")]
    Sql(String),
}

impl From<pgrx::spi::Error> for Bad {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

struct Known {
    /// Of the tables, and of the configuration (the default leeway and role claim are settings).
    generation: u64,
    configuration: i64,
    by_name: HashMap<String, Rc<Rules>>,
    by_issuer: HashMap<String, Rc<Rules>>,
}

/// Is any issuer registered in this database?
pub fn any() -> Result<bool, Error> {
    with(|known| !known.by_name.is_empty())
}

pub fn by_name(name: &str) -> Result<Option<Rc<Rules>>, Error> {
    with(|known| known.by_name.get(name).cloned())
}

/// The rules of the issuer that a token's `iss` names.
pub fn by_issuer(issuer: &str) -> Result<Option<Rc<Rules>>, Error> {
    with(|known| known.by_issuer.get(issuer).cloned())
}

fn with<R>(look: impl FnOnce(&Known) -> R) -> Result<R, Error> {
    let generation = own_tables::known();
    let configuration = crate::pg::server::configuration_time();
    let is_current = KNOWN.with_borrow(|known| {
        known.as_ref().is_some_and(|known| {
            known.generation == generation && known.configuration == configuration
        })
    });
    if !is_current {
        let (by_name, by_issuer) = load()?;
        let known = Known {
            generation,
            configuration,
            by_name,
            by_issuer,
        };
        KNOWN.with_borrow_mut(|kept| *kept = Some(known));
    }
    KNOWN
        .with_borrow(|known| known.as_ref().map(look))
        .ok_or(Error::NoSecret)
}

/// A row as JSON.
#[derive(Deserialize)]
struct Row {
    name: String,
    issuer: String,
    keys: String,
    audiences: Vec<String>,
    algorithms: Vec<String>,
    role_claim: Option<String>,
    allowed_roles: Option<Vec<String>>,
    anon_role: Option<String>,
    leeway: Option<i64>,
    require_exp: bool,
    max_age: Option<i64>,
    token_types: Vec<String>,
    required_claims: Box<RawValue>,
    role_map: Option<Box<RawValue>>,
    bound: String,
}

type Maps = (HashMap<String, Rc<Rules>>, HashMap<String, Rc<Rules>>);

fn load() -> Result<Maps, Error> {
    own_tables::learn();
    if !own_tables::has_rows(own_tables::ISSUER) {
        return Ok(Maps::default());
    }
    let rows = identity::elevated(|| {
        spi::latest(
            "SELECT pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(
                      'leeway', pg_catalog.floor(EXTRACT(epoch FROM leeway))::bigint,
                      'max_age', pg_catalog.floor(EXTRACT(epoch FROM max_age))::bigint,
                      -- Without keys there is one that nobody knows.
                      'keys', COALESCE(s.keys, i.keys, pg_catalog.gen_random_uuid()::text OPERATOR(pg_catalog.||)
                                                       pg_catalog.gen_random_uuid()::text))
               FROM _scope.jwt_issuer i LEFT JOIN _scope.jwt_issuer_secret s ON s.name OPERATOR(pg_catalog.=) i.name",
            &[],
        )
    });
    let mut maps = Maps::default();
    for row in rows {
        let row: Row = serde_json::from_str(&row).map_err(|error| Error::Sql(error.to_string()))?;
        let issuer = row.issuer.clone();
        let rules = Rc::new(rules(row)?);
        maps.1.insert(issuer, rules.clone());
        if let Some(name) = &rules.name {
            maps.0.insert(name.clone(), rules.clone());
        }
    }
    Ok(maps)
}

fn rules(mut row: Row) -> Result<Rules, Error> {
    let text = Zeroizing::new(std::mem::take(&mut row.keys));
    let bad = |problem: String| Error::BadIssuer {
        name: row.name.clone(),
        problem,
    };
    let keys = KeySet::parse(text.as_bytes(), false).map_err(|error| bad(error.to_string()))?;
    let algorithms = algorithms(&row.algorithms).map_err(|error| bad(error.to_string()))?;
    let types = token_types(&row.token_types).map_err(|error| bad(error.to_string()))?;
    let required =
        RequiredClaims::parse(row.required_claims.get()).map_err(|error| bad(error.to_string()))?;
    let map = row.role_map.as_ref().map(|map| RoleMap::parse(map.get()));
    let role_map = map.transpose().map_err(|error| bad(error.to_string()))?;
    let bound = bound(&row.bound).map_err(|error| bad(error.to_string()))?;
    Ok(Rules {
        fingerprint: combine(text.as_bytes(), &[]),
        keys,
        policy: Policy {
            issuer: Some(row.issuer),
            audiences: row.audiences,
            algorithms,
            types,
            leeway: row.leeway.unwrap_or_else(guc::jwt_leeway),
            require_exp: row.require_exp,
            max_age: row.max_age,
        },
        role_path: RolePath::of(row.role_claim.as_ref()),
        role_claim: row.role_claim,
        allowed_roles: row.allowed_roles,
        anon_role: row.anon_role,
        role_map,
        required,
        bound,
        name: Some(row.name),
    })
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, Bad> {
    names
        .iter()
        .map(|name| name.parse().map_err(|_| Bad::Algorithm(name.clone())))
        .collect()
}

pub fn token_types(names: &[String]) -> Result<Vec<TokenType>, Bad> {
    names
        .iter()
        .map(|name| TokenType::parse(name).ok_or_else(|| Bad::TokenType(name.clone())))
        .collect()
}

pub fn bound(word: &str) -> Result<Bound, Bad> {
    Bound::parse(word).ok_or_else(|| Bad::Bound(word.to_owned()))
}

/// As much as stays in the row of `_scope.jwt_issuer_secret`: out of line, members of pg_read_all_data could read it.
const MAX_BYTES_WITH_SECRETS: usize = 7_000;

/// Where keys are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    WithIssuer,
    /// They hold a secret, which nobody reads, and no dump has.
    Apart,
}

/// Keys that can be used, for one of the algorithms at least: with none, no token would ever hold,
/// and often the keys are not of the kind that was meant.
fn check_keys(keys: &str, names: &[String]) -> Result<Kept, Bad> {
    let length = keys.len();
    let keys = KeySet::parse(keys.as_bytes(), false).map_err(Bad::Keys)?;
    if length > MAX_BYTES_WITH_SECRETS && keys.has_secrets() {
        return Err(Bad::LongSecrets);
    }
    let algorithms = algorithms(names)?;
    if algorithms.is_empty() || algorithms.iter().any(|&algorithm| keys.serves(algorithm)) {
        Ok(if keys.has_secrets() {
            Kept::Apart
        } else {
            Kept::WithIssuer
        })
    } else {
        Err(Bad::Unserved)
    }
}

/// What an issuer is where nothing is said.
const IF_PRESENT: &str = "if_present";

/// Registers an issuer. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn add_jwt_issuer(
    name: Option<Text>,
    issuer: Option<Text>,
    keys: Option<Text>,
    audiences: Option<Vec<Option<Text>>>,
    algorithms: Option<Vec<Option<Text>>>,
    role_claim: Option<Text>,
    allowed_roles: Option<Vec<Option<Text>>>,
    anon_role: Option<Text>,
    leeway: Option<Interval>,
    require_exp: Option<bool>,
    max_age: Option<Interval>,
    token_types: Option<Vec<Option<Text>>>,
    required_claims: Option<JsonText>,
    role_map: Option<Text>,
    bound: Option<Text>,
) -> Result<(), ErrorReport> {
    let name = name.as_deref();
    let issuer = issuer.as_deref();
    let keys = keys.as_deref();
    let role_claim = role_claim.as_deref();
    let anon_role = anon_role.as_deref();
    let audiences = strings(audiences);
    let algorithms = strings(algorithms);
    let allowed_roles = strings(allowed_roles);
    let types = strings(token_types);
    let required = required_claims.map_or_else(|| "{}".to_owned(), |JsonText(text)| text);
    let role_map = role_map.as_deref();
    let bound = bound.as_deref().unwrap_or(IF_PRESENT);
    error_context::hide_statement(jwt::redact);
    let add = || -> Result<(), Bad> {
        let name = present("name", name)?;
        let issuer = present("issuer", issuer)?;
        let keys = present("keys", keys)?;
        let audiences = list("audiences", audiences)?;
        let names = list("algorithms", algorithms)?;
        let kept = check_keys(keys, &names)?;
        if let Some(path) = role_claim {
            ClaimPath::parse(path).map_err(Bad::RoleClaim)?;
        }
        let types = list("token_types", types)?;
        self::token_types(&types)?;
        RequiredClaims::parse(&required).map_err(Bad::Required)?;
        let map = role_map
            .map(RoleMap::parse)
            .transpose()
            .map_err(Bad::RoleMap)?;
        let map = map.map(|map| map.to_json());
        self::bound(bound)?;
        let leeway = duration("leeway", leeway)?;
        let max_age = duration("max_age", max_age)?;
        let allowed_roles = match allowed_roles {
            Some(roles) => Some(list("allowed_roles", Some(roles))?),
            None => None,
        };
        if xact::is_read_only() {
            return Err(Bad::ReadOnly);
        }
        let audit_audiences = audiences.clone();
        let inserted = identity::elevated(|| {
            spi::query(
                "INSERT INTO _scope.jwt_issuer
                   (name, issuer, keys, audiences, algorithms, role_claim, allowed_roles, anon_role,
                    leeway, require_exp, max_age, token_types, required_claims, role_map, bound)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::pg_catalog.jsonb,
                         $14::pg_catalog.jsonb, $15)
                 ON CONFLICT DO NOTHING RETURNING 1",
                &[
                    name.into(),
                    issuer.into(),
                    (kept == Kept::WithIssuer).then_some(keys).into(),
                    audiences.into(),
                    names.into(),
                    role_claim.into(),
                    allowed_roles.into(),
                    anon_role.into(),
                    leeway.into(),
                    require_exp.unwrap_or(true).into(),
                    max_age.into(),
                    types.into(),
                    required.into(),
                    map.into(),
                    bound.into(),
                ],
                |row| row.get::<i32>(1),
            )
        })?;
        if inserted.is_empty() {
            return Err(Bad::Exists);
        }
        keep_apart(name, (kept == Kept::Apart).then_some(keys))?;
        let fields = [
            ("registered_iss", Value::Text(issuer)),
            ("audiences", Value::Texts(&audit_audiences)),
            ("role_claim", role_claim.into()),
            ("bound", Value::Text(bound)),
        ];
        audit::administered(Action::Issuer, "add_jwt_issuer", name, &fields);
        Ok(())
    };
    add().map_err(error::report)
}

/// Replaces an issuer's keys. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn set_jwt_keys(name: Option<Text>, keys: Option<Text>) -> Result<(), ErrorReport> {
    let name = name.as_deref();
    let keys = keys.as_deref();
    error_context::hide_statement(jwt::redact);
    let set = || -> Result<(), Bad> {
        let keys = present("keys", keys)?;
        let name = present("name", name)?;
        let kept = check_keys(keys, &[])?;
        let algorithms = identity::elevated(|| {
            spi::latest(
                "SELECT pg_catalog.to_jsonb(algorithms)::text FROM _scope.jwt_issuer
                  WHERE name OPERATOR(pg_catalog.=) $1",
                &[Some(name)],
            )
        });
        for names in algorithms {
            let names: Vec<String> =
                serde_json::from_str(&names).map_err(|error| Bad::Sql(error.to_string()))?;
            check_keys(keys, &names)?;
        }
        change(
            "set_jwt_keys",
            name,
            "UPDATE _scope.jwt_issuer SET keys = $2, changed_at = pg_catalog.now()
              WHERE name OPERATOR(pg_catalog.=) $1 RETURNING 1",
            Some((kept == Kept::WithIssuer).then_some(keys)),
            (kept == Kept::Apart).then_some(keys),
        )
    };
    set().map_err(error::report)
}

/// Forgets an issuer. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn drop_jwt_issuer(name: Option<Text>) -> Result<(), ErrorReport> {
    let name = name.as_deref();
    let drop = || -> Result<(), Bad> {
        change(
            "drop_jwt_issuer",
            present("name", name)?,
            "DELETE FROM _scope.jwt_issuer WHERE name OPERATOR(pg_catalog.=) $1 RETURNING 1",
            None,
            None,
        )
    };
    drop().map_err(error::report)
}

/// The keys of an issuer that hold a secret from now on; `None`: there are none.
fn keep_apart(name: &str, secret: Option<&str>) -> Result<(), Bad> {
    identity::elevated(|| {
        spi::query(
            "DELETE FROM _scope.jwt_issuer_secret WHERE name OPERATOR(pg_catalog.=) $1",
            &[name.into()],
            |_| Ok(()),
        )?;
        if let Some(keys) = secret {
            spi::query(
                "INSERT INTO _scope.jwt_issuer_secret (name, keys) VALUES ($1, $2)",
                &[name.into(), keys.into()],
                |_| Ok(()),
            )?;
        }
        Ok::<_, pgrx::spi::Error>(())
    })?;
    Ok(())
}

/// Runs a statement on one issuer, which must exist; $1 is its name, $2 its public keys if they change. `secret`: the keys that are kept apart.
fn change(
    function: &str,
    name: &str,
    sql: &str,
    keys: Option<Option<&str>>,
    secret: Option<&str>,
) -> Result<(), Bad> {
    if xact::is_read_only() {
        return Err(Bad::ReadOnly);
    }
    let changed = identity::elevated(|| {
        let mut arguments = vec![name.into()];
        arguments.extend(keys.map(Into::into));
        spi::query(sql, &arguments, |row| row.get::<i32>(1))
    })?;
    if changed.is_empty() {
        Err(Bad::Unknown(name.to_owned()))
    } else {
        keep_apart(name, secret)?;
        audit::administered(Action::Issuer, function, name, &[]);
        Ok(())
    }
}

fn present<'a>(what: &'static str, text: Option<&'a str>) -> Result<&'a str, Bad> {
    match text {
        None => Err(Bad::Null(what)),
        Some("") => Err(Bad::Empty(what)),
        Some(text) => Ok(text),
    }
}

/// A NULL among audiences or roles would silently stand for less than was meant.
fn list(what: &'static str, values: Option<Vec<Option<String>>>) -> Result<Vec<String>, Bad> {
    values
        .unwrap_or_default()
        .into_iter()
        .map(|value| value.ok_or(Bad::NullElement(what)))
        .collect()
}

fn duration(what: &'static str, interval: Option<Interval>) -> Result<Option<Interval>, Bad> {
    let bad = |interval: &Interval| {
        interval.as_micros() < 0
            || interval.months() == i32::MAX
            || interval.days() == i32::MAX
            || interval.micros() == i64::MAX
    };
    if interval.as_ref().is_some_and(bad) {
        Err(Bad::Duration(what))
    } else {
        Ok(interval)
    }
}
