//! Registered issuers: the table `_scope.jwt_issuer`, and what each backend keeps of it.

pub mod definition;
pub mod registry;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{Bound, Error, RolePath, Rules, combine, copy, replay};
use crate::claim_path::PathError;
use crate::claim_rules::{RequiredClaims, RoleMap, RuleError};
use crate::guc;
use crate::jwks::BadPlace;
use crate::jwt::{Algorithm, KeyError, KeySet, Policy, TokenType};
use crate::own_tables;
use crate::pg::{identity, server, spi};

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
    #[error("tokens that are used once must have an end")]
    Endless,
    #[error("{0} must not be negative, or longer than 100 years")]
    Duration(&'static str),
    #[error("an issuer's keys have one source")]
    Sources,
    #[error("the keys of the issuer \"{0}\" are fetched")]
    Fetched(String),
    #[error("the keys of the issuer \"{0}\" are not fetched")]
    Pasted(String),
    #[error("{0} is for keys that are fetched")]
    NotFetched(&'static str),
    #[error("keys cannot be fetched from the {0}")]
    Place(&'static str, BadPlace),
    #[error("{0} is no absolute path of a file")]
    Path(&'static str),
    #[error("permission denied to name files of the server")]
    Files,
    #[error("the changes are not a JSON object of attributes")]
    Changes(String),
    #[error("an issuer keeps its name")]
    Renamed,
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
    static LOOKS_AGAIN: Cell<bool> = const { Cell::new(false) };
}

struct Known {
    /// Of the tables, and of the configuration (the default leeway and role claim are settings).
    generation: u64,
    configuration: i64,
    by_name: HashMap<String, OrBad>,
    by_issuer: HashMap<String, OrBad>,
}

/// The rules of an issuer, or why it has none.
type OrBad = Result<Rc<Rules>, Unusable>;

/// An issuer whose row cannot be read.
#[derive(Clone)]
struct Unusable {
    name: String,
    problem: String,
}

impl From<Unusable> for Error {
    fn from(Unusable { name, problem }: Unusable) -> Self {
        Self::BadIssuer { name, problem }
    }
}

/// Is any issuer registered in this database?
pub fn any() -> Result<bool, Error> {
    with(|known| !known.by_name.is_empty())
}

pub fn by_name(name: &str) -> Result<Option<Rc<Rules>>, Error> {
    with(|known| known.by_name.get(name).cloned())?
        .transpose()
        .map_err(Error::from)
}

/// The rules of the issuer that a token's `iss` names.
pub fn by_issuer(issuer: &str) -> Result<Option<Rc<Rules>>, Error> {
    with(|known| known.by_issuer.get(issuer).cloned())?
        .transpose()
        .map_err(Error::from)
}

/// What is known is read again when it is next asked for: a fetch that has brought nothing new, but has made keys hold longer, is told to nobody.
pub fn look_again() {
    KNOWN.set(None);
    LOOKS_AGAIN.set(true);
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
    single_use: bool,
    keys_url: Option<String>,
    discover: bool,
    /// Unix microseconds.
    stale_until: Option<i64>,
    /// There are no keys: a secret is in no dump.
    keyless: bool,
}

type Maps = (HashMap<String, OrBad>, HashMap<String, OrBad>);

fn load() -> Result<Maps, Error> {
    let seen = copy::begin();
    let is_there = are_there();
    // Whoever looks again wants to know what the tables say.
    let may_be_copied = !LOOKS_AGAIN.replace(false) && is_there;
    if let Some(rows) = seen.filter(|_| may_be_copied).and_then(copy::instead) {
        return maps(rows.texts());
    }
    let rows = if is_there {
        rows()
    } else {
        Zeroizing::default()
    };
    if let Some(seen) = seen
        && copy::is_due(seen)
    {
        copy::put(seen, &rows);
    }
    maps(&rows)
}

fn maps(rows: &[String]) -> Result<Maps, Error> {
    let mut maps = Maps::default();
    for row in rows {
        let row = row_of(row)?;
        let (name, issuer) = (row.name.clone(), row.issuer.clone());
        // What cannot be read is the matter of those alone whose tokens it would judge.
        let known = rules(row).map(Rc::new);
        maps.1.insert(issuer, known.clone());
        maps.0.insert(name, known);
    }
    Ok(maps)
}

/// Is there anything that counts for those who cannot read tables yet?
pub fn is_published() -> bool {
    copy::at(server::database()).is_some()
}

/// Writes down what there is for them; in a worker. `ends_visit`: it has done all that it was asked for.
pub fn publish(ends_visit: bool) {
    if let Some(seen) = copy::begin() {
        let seen = if ends_visit {
            seen.at_end_of_visit()
        } else {
            seen
        };
        copy::put(
            seen,
            &if are_there() {
                rows()
            } else {
                Zeroizing::default()
            },
        );
    }
}

/// The rules of the issuer that has this `iss`, by rows that somebody else has read.
pub fn among(rows: &[String], issuer: &str) -> Result<Option<Rc<Rules>>, Error> {
    for row in rows {
        let row = row_of(row)?;
        if row.issuer == issuer {
            return Ok(Some(rules(row).map(Rc::new)?));
        }
    }
    Ok(None)
}

fn row_of(row: &str) -> Result<Row, Error> {
    serde_json::from_str(row).map_err(|error| Error::Sql(error.to_string()))
}

/// Are there issuers in this database, in a table of the extension's?
fn are_there() -> bool {
    own_tables::learn();
    own_tables::has_rows(own_tables::ISSUER)
}

/// What the tables say of them.
fn rows() -> Zeroizing<Vec<String>> {
    Zeroizing::new(identity::elevated(|| {
        spi::latest(
            "SELECT pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(
                      'leeway', pg_catalog.floor(EXTRACT(epoch FROM leeway))::bigint,
                      'max_age', pg_catalog.floor(EXTRACT(epoch FROM max_age))::bigint,
                      'stale_until', (EXTRACT(epoch FROM f.stale_until) OPERATOR(pg_catalog.*) 1000000)::bigint,
                      'keyless', i.keys IS NULL AND s.keys IS NULL,
                      -- Without keys there is one that nobody knows.
                      'keys', COALESCE(s.keys, i.keys, pg_catalog.gen_random_uuid()::text OPERATOR(pg_catalog.||)
                                                       pg_catalog.gen_random_uuid()::text))
               FROM _scope.jwt_issuer i
               LEFT JOIN _scope.jwt_issuer_secret s ON s.name OPERATOR(pg_catalog.=) i.name
               LEFT JOIN _scope.jwt_issuer_fetch f ON f.name OPERATOR(pg_catalog.=) i.name",
            &[],
        )
    }))
}

fn rules(mut row: Row) -> Result<Rules, Unusable> {
    let text = Zeroizing::new(std::mem::take(&mut row.keys));
    let bad = |problem: String| Unusable {
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
    let is_fetched = row.keys_url.is_some() || row.discover;
    Ok(Rules {
        keys_until: match (is_fetched, row.keyless) {
            (false, false) => None,
            // Keys of which nobody knows when they were fetched are none.
            (true, false) => Some(row.stale_until.unwrap_or(i64::MIN)),
            (_, true) => Some(i64::MIN),
        },
        is_fetched,
        fingerprint: combine(text.as_bytes(), &[]),
        keys,
        policy: Policy {
            issuer: Some(row.issuer),
            audiences: row.audiences,
            algorithms,
            types,
            leeway: match row.leeway.unwrap_or_else(guc::jwt_leeway) {
                // What was used is remembered until its end: that must not move.
                leeway if row.single_use => leeway.min(replay::CLOCKS),
                leeway => leeway,
            },
            require_exp: row.require_exp || row.single_use,
            max_age: row.max_age,
        },
        role_path: RolePath::of(row.role_claim.as_ref()),
        role_claim: row.role_claim,
        allowed_roles: row.allowed_roles,
        anon_role: row.anon_role,
        role_map,
        single_use: row.single_use,
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
