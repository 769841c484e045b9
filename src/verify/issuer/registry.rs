//! The SQL functions that register, change and forget issuers.

use std::collections::BTreeMap;

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::value::RawValue;

use super::definition::{self, Definition, if_present};
use super::{Bad, algorithms};
use crate::audit::{self, Action, Value};
use crate::claim_rules::{RequiredClaims, RoleMap};
use crate::error;
use crate::jwt::{self, KeySet};
use crate::pg::arguments::{JsonText, Text, strings};
use crate::pg::{identity, spi, statement, xact};
use crate::verify::revocation::{self, Revoked};
use crate::wakeup;

/// As much as stays in the row of `_scope.jwt_issuer_secret`: out of line, members of pg_read_all_data could read it.
const MAX_BYTES_WITH_SECRETS: usize = 7_000;

/// Where keys are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    WithIssuer,
    /// They hold a secret, which nobody reads, and no dump has.
    Apart,
}

/// Keys that can be used.
struct Usable<'a> {
    text: &'a str,
    kept: Kept,
    /// How many there are, and the names that they have.
    count: i32,
    kids: Vec<String>,
}

/// Keys that can be used, for one of the algorithms at least: with none, no token would ever hold,
/// and often the keys are not of the kind that was meant.
fn check_keys<'a>(text: &'a str, names: &[String]) -> Result<Usable<'a>, Bad> {
    let (keys, length) = (text, text.len());
    let keys = KeySet::parse(keys.as_bytes(), false).map_err(Bad::Keys)?;
    if length > MAX_BYTES_WITH_SECRETS && keys.has_secrets() {
        return Err(Bad::LongSecrets);
    }
    let algorithms = algorithms(names)?;
    if algorithms.is_empty() || algorithms.iter().any(|&algorithm| keys.serves(algorithm)) {
        Ok(Usable {
            text,
            kept: match keys.has_secrets() {
                true => Kept::Apart,
                false => Kept::WithIssuer,
            },
            count: i32::try_from(keys.len()).unwrap_or(i32::MAX),
            kids: keys.kids().map(str::to_owned).collect(),
        })
    } else {
        Err(Bad::Unserved)
    }
}

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
    single_use: Option<bool>,
    keys_url: Option<Text>,
    discover: Option<bool>,
    ca_file: Option<Text>,
    bearer_token_file: Option<Text>,
    keys_stale_for: Option<Interval>,
) -> Result<(), ErrorReport> {
    statement::hide(jwt::redact);
    let text = |text: Option<Text>| text.map(|text| text.0);
    let add = || -> Result<(), Bad> {
        let keys = text(keys);
        let definition = Definition {
            name: present("name", name.as_deref())?.to_owned(),
            issuer: present("issuer", issuer.as_deref())?.to_owned(),
            audiences: list("audiences", strings(audiences))?,
            algorithms: list("algorithms", strings(algorithms))?,
            role_claim: text(role_claim),
            allowed_roles: strings(allowed_roles)
                .map(|roles| list("allowed_roles", Some(roles)))
                .transpose()?,
            anon_role: text(anon_role),
            leeway: duration("leeway", leeway)?,
            require_exp: require_exp.unwrap_or(true),
            max_age: duration("max_age", max_age)?,
            token_types: list("token_types", strings(token_types))?,
            required_claims: required(required_claims)?,
            role_map: text(role_map)
                .map(|map| RoleMap::parse(&map).map_err(Bad::RoleMap))
                .transpose()?,
            bound: text(bound).unwrap_or_else(if_present),
            single_use: single_use.unwrap_or(false),
            keys_url: text(keys_url),
            discover: discover.unwrap_or(false),
            ca_file: text(ca_file),
            bearer_token_file: text(bearer_token_file),
            keys_stale_for: duration("keys_stale_for", keys_stale_for)?,
        };
        let keys = match (keys.as_deref(), definition.is_fetched()) {
            (Some(_), true) => return Err(Bad::Sources),
            (None, true) => None,
            (keys, false) => Some(check_keys(present("keys", keys)?, &definition.algorithms)?),
        };
        definition.check(None).map_err(|(_, bad)| bad)?;
        put(&definition, None)?;
        if let Some(keys) = &keys {
            keep(&definition.name, keys)?;
        }
        let fields = [
            ("registered_iss", Value::Text(&definition.issuer)),
            ("audiences", Value::Texts(&definition.audiences)),
            ("role_claim", definition.role_claim.as_deref().into()),
            ("bound", Value::Text(&definition.bound)),
            ("single_use", Value::Bool(definition.single_use)),
            ("keys_url", definition.keys_url.as_deref().into()),
            ("discover", Value::Bool(definition.discover)),
        ];
        audit::administered(Action::Issuer, "add_jwt_issuer", &definition.name, &fields);
        Ok(())
    };
    add().map_err(error::report)
}

fn required(claims: Option<JsonText>) -> Result<RequiredClaims, Bad> {
    let Some(JsonText(text)) = claims else {
        return Ok(RequiredClaims::default());
    };
    RequiredClaims::parse(&text).map_err(Bad::Required)
}

/// Changes attributes of an issuer. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn alter_jwt_issuer(name: Option<Text>, changes: Option<JsonText>) -> Result<(), ErrorReport> {
    let alter = || -> Result<(), Bad> {
        let name = present("name", name.as_deref())?;
        let changes = changes.ok_or(Bad::Null("changes"))?;
        let changes: Attributes =
            serde_json::from_str(&changes.0).map_err(|_| Bad::Changes("It is none".into()))?;
        if xact::is_read_only() {
            return Err(Bad::ReadOnly);
        }
        lock(name)?;
        let before = definition::registered(Some(name))?.pop();
        let before = before.ok_or_else(|| Bad::Unknown(name.to_owned()))?;
        let after = changed(&before, &changes)?;
        if after == before {
            return Ok(());
        }
        after.check(Some(&before)).map_err(|(_, bad)| bad)?;
        put(&after, Some(&before))?;
        let names: Vec<String> = changes.keys().cloned().collect();
        let fields = [("changed", Value::Texts(&names))];
        audit::administered(Action::Issuer, "alter_jwt_issuer", name, &fields);
        Ok(())
    };
    alter().map_err(error::report)
}

/// As JSON text: numbers stay as they are written.
type Attributes = BTreeMap<String, Box<RawValue>>;

/// The definition with other attributes; null stands for what an attribute is when it is not given.
fn changed(before: &Definition, changes: &Attributes) -> Result<Definition, Bad> {
    let bad = |error: serde_json::Error| Bad::Changes(error.to_string());
    let all = serde_json::to_string(before).map_err(bad)?;
    let mut all: Attributes = serde_json::from_str(&all).map_err(bad)?;
    for (attribute, value) in changes {
        if attribute == "name" {
            return Err(Bad::Renamed);
        }
        match value.get() {
            // What is no attribute stays, and is refused.
            "null" if Definition::has(attribute) => all.remove(attribute),
            _ => all.insert(attribute.clone(), value.clone()),
        };
    }
    // A column that cannot hold one.
    if !all.contains_key("issuer") {
        return Err(Bad::Null("issuer"));
    }
    let text = serde_json::to_string(&all).map_err(bad)?;
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text)).map_err(
        |error: serde_path_to_error::Error<serde_json::Error>| {
            let path = error.path().to_string();
            // Where in the text it is says nothing: the text is ours.
            let inner = error.into_inner().to_string();
            let inner = inner.split(" at line ").next().unwrap_or_default();
            Bad::Changes(match path.as_str() {
                "." => inner.to_owned(),
                path => format!("{path}: {inner}"),
            })
        },
    )
}

/// Writes the issuer; one of other keys has none until they are fetched or set.
pub fn put(definition: &Definition, before: Option<&Definition>) -> Result<(), Bad> {
    if xact::is_read_only() {
        return Err(Bad::ReadOnly);
    }
    if definition.is_fetched() {
        wakeup::keys::at_commit();
    }
    let Some(before) = before else {
        if !definition::insert(definition)? {
            return Err(Bad::Exists);
        }
        return without_keys(&definition.name);
    };
    let taken = definition.issuer != before.issuer
        && definition::registered(None)?
            .iter()
            .any(|other| other.issuer == definition.issuer && other.name != definition.name);
    if taken {
        return Err(Bad::Exists);
    }
    if !definition::update(definition)? {
        return Err(Bad::Unknown(definition.name.clone()));
    }
    if definition.issuer != before.issuer {
        let (issuer, function) = (before.issuer.as_str(), "alter_jwt_issuer");
        revocation::tell(&Revoked::Issuer { issuer, function });
    }
    let is_fetched = definition.is_fetched() || before.is_fetched();
    if is_fetched && !definition.has_source_of(before) {
        without_keys(&definition.name)?;
    }
    Ok(())
}

/// Others change the issuer before or after this transaction.
fn lock(name: &str) -> Result<(), Bad> {
    identity::elevated(|| {
        spi::query(
            "SELECT 1 FROM _scope.jwt_issuer WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE",
            &[name.into()],
            |_| Ok(()),
        )
    })?;
    Ok(())
}

/// Replaces an issuer's keys. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn set_jwt_keys(name: Option<Text>, keys: Option<Text>) -> Result<(), ErrorReport> {
    statement::hide(jwt::redact);
    let set = || -> Result<(), Bad> {
        let keys = present("keys", keys.as_deref())?;
        let name = present("name", name.as_deref())?;
        let mut usable = check_keys(keys, &[])?;
        if xact::is_read_only() {
            return Err(Bad::ReadOnly);
        }
        lock(name)?;
        let before = definition::registered(Some(name))?.pop();
        let before = before.ok_or_else(|| Bad::Unknown(name.to_owned()))?;
        if before.is_fetched() {
            return Err(Bad::Fetched(name.to_owned()));
        }
        if !before.algorithms.is_empty() {
            usable = check_keys(keys, &before.algorithms)?;
        }
        keep(name, &usable)?;
        audit::administered(Action::Issuer, "set_jwt_keys", name, &[]);
        Ok(())
    };
    set().map_err(error::report)
}

/// Forgets an issuer. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn drop_jwt_issuer(name: Option<Text>) -> Result<(), ErrorReport> {
    let drop = || -> Result<(), Bad> {
        let name = present("name", name.as_deref())?;
        if xact::is_read_only() {
            return Err(Bad::ReadOnly);
        }
        let dropped = identity::elevated(|| {
            spi::query(
                "DELETE FROM _scope.jwt_issuer WHERE name OPERATOR(pg_catalog.=) $1 RETURNING issuer",
                &[name.into()],
                |row| row.get::<String>(1),
            )
        })?;
        let [issuer] = dropped.as_slice() else {
            return Err(Bad::Unknown(name.to_owned()));
        };
        forget_keys(name)?;
        audit::administered(Action::Issuer, "drop_jwt_issuer", name, &[]);
        let function = "drop_jwt_issuer";
        let issuer = issuer.as_deref().unwrap_or_default();
        revocation::tell(&Revoked::Issuer { issuer, function });
        Ok(())
    };
    drop().map_err(error::report)
}

/// The issuer's keys from now on.
fn keep(name: &str, keys: &Usable<'_>) -> Result<(), Bad> {
    let text = |kept| (keys.kept == kept).then_some(keys.text);
    identity::elevated(|| {
        spi::query(
            "UPDATE _scope.jwt_issuer
                SET keys = $2, key_count = $3, kids = $4, changed_at = pg_catalog.now()
              WHERE name OPERATOR(pg_catalog.=) $1",
            &[
                name.into(),
                text(Kept::WithIssuer).into(),
                keys.count.into(),
                keys.kids.clone().into(),
            ],
            |_| Ok(()),
        )
    })?;
    forget_keys(name)?;
    let Some(secret) = text(Kept::Apart) else {
        return Ok(());
    };
    identity::elevated(|| {
        spi::query(
            "INSERT INTO _scope.jwt_issuer_secret (name, keys) VALUES ($1, $2)",
            &[name.into(), secret.into()],
            |_| Ok(()),
        )
    })?;
    Ok(())
}

/// None of its keys hold any more, nor any that an issuer of the name once had.
fn without_keys(name: &str) -> Result<(), Bad> {
    identity::elevated(|| {
        spi::query(
            "UPDATE _scope.jwt_issuer SET keys = NULL, key_count = 0, kids = '{}'
              WHERE name OPERATOR(pg_catalog.=) $1",
            &[name.into()],
            |_| Ok(()),
        )
    })?;
    forget_keys(name)
}

/// What is kept apart of an issuer: a secret, and what is known of its fetches.
fn forget_keys(name: &str) -> Result<(), Bad> {
    const APART: [&str; 2] = [
        "DELETE FROM _scope.jwt_issuer_secret WHERE name OPERATOR(pg_catalog.=) $1",
        "DELETE FROM _scope.jwt_issuer_fetch WHERE name OPERATOR(pg_catalog.=) $1",
    ];
    identity::elevated(|| {
        APART
            .iter()
            .try_for_each(|sql| spi::query(sql, &[name.into()], |_| Ok(())).map(|_| ()))
    })?;
    Ok(())
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

/// In whole seconds, as PostgreSQL counts an interval's: a month has 30 days, a year 365.25.
fn duration(what: &'static str, interval: Option<Interval>) -> Result<Option<u32>, Bad> {
    const DAY: i128 = 86_400;
    const MICROS: i128 = 1_000_000;
    const LONGEST: i128 = 100 * 366 * DAY;
    let Some(interval) = interval else {
        return Ok(None);
    };
    let (months, days) = (i128::from(interval.months()), i128::from(interval.days()));
    let (years, months) = (months / 12, months % 12);
    let micros = (years * (DAY * 1_461 / 4) + (months * 30 + days) * DAY) * MICROS
        + i128::from(interval.micros());
    match u32::try_from(micros / MICROS) {
        Ok(seconds) if micros >= 0 && i128::from(seconds) <= LONGEST => Ok(Some(seconds)),
        _ => Err(Bad::Duration(what)),
    }
}
