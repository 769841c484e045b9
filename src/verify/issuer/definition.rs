//! All that is laid down of an issuer but its keys: what `scope.add_jwt_issuer()` and `scope.alter_jwt_issuer()` take, and what a spec
//! declares. One list of attributes; durations are in seconds.

use pgrx::pg_sys;
use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};

use super::{Bad, algorithms, bound, token_types};
use crate::claim_path::ClaimPath;
use crate::claim_rules::{RequiredClaims, RoleMap};
use crate::guc;
use crate::jwks::Place;
use crate::pg::{catalog, identity, spi};

/// The longest name of a file.
const LONGEST_PATH: usize = 1_024;
/// May read, and so name, files of the server.
const FILES: &str = "pg_read_server_files";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub name: String,
    pub issuer: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_claim: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_roles: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<u32>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub require_exp: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_types: Vec<String>,
    #[serde(default, skip_serializing_if = "RequiredClaims::is_empty")]
    pub required_claims: RequiredClaims,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_map: Option<RoleMap>,
    #[serde(default = "if_present", skip_serializing_if = "is_if_present")]
    pub bound: String,
    /// Does a token of it switch once only?
    #[serde(default, skip_serializing_if = "is_false")]
    pub single_use: bool,
    /// Where its keys are fetched from …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_url: Option<String>,
    /// … or is that asked of the issuer?
    #[serde(default, skip_serializing_if = "is_false")]
    pub discover: bool,
    /// The authorities that its certificate may be from; `None`: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Whose content goes with each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<String>,
    /// How long keys hold beyond their time while new ones can't be had; `None`: a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_stale_for: Option<u32>,
}

/// What `bound` is where nothing is said.
pub fn if_present() -> String {
    "if_present".into()
}

fn is_if_present(bound: &str) -> bool {
    bound == "if_present"
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Definition {
    /// One with nothing but its names: every other attribute as it is when it is not given.
    pub fn named(name: &str, issuer: &str) -> Self {
        Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            audiences: Vec::new(),
            algorithms: Vec::new(),
            role_claim: None,
            allowed_roles: None,
            anon_role: None,
            leeway: None,
            require_exp: true,
            max_age: None,
            token_types: Vec::new(),
            required_claims: RequiredClaims::default(),
            role_map: None,
            bound: if_present(),
            single_use: false,
            keys_url: None,
            discover: false,
            ca_file: None,
            bearer_token_file: None,
            keys_stale_for: None,
        }
    }

    /// Is there an attribute of this name?
    pub fn has(attribute: &str) -> bool {
        let one = serde_json::json!({"name": "", "issuer": "", attribute: null});
        match serde_json::from_value::<Self>(one) {
            Ok(_) => true,
            Err(error) => !error.to_string().starts_with("unknown field"),
        }
    }

    /// Do its keys come from the network?
    pub fn is_fetched(&self) -> bool {
        self.keys_url.is_some() || self.discover
    }

    /// Do keys that were fetched for the other hold for this one?
    pub fn has_source_of(&self, other: &Self) -> bool {
        let source = |definition: &Self| {
            (
                definition.issuer.clone(),
                definition.keys_url.clone(),
                definition.discover,
            )
        };
        source(self) == source(other)
    }

    /// May it be like this? The name of the attribute that may not, and why. `before`: what it was.
    pub fn check(&self, before: Option<&Self>) -> Result<(), (&'static str, Bad)> {
        for (what, text) in [("name", &self.name), ("issuer", &self.issuer)] {
            if text.is_empty() {
                return Err((what, Bad::Empty(what)));
            }
        }
        algorithms(&self.algorithms).map_err(|bad| ("algorithms", bad))?;
        if let Some(path) = &self.role_claim {
            ClaimPath::parse(path).map_err(|bad| ("role_claim", Bad::RoleClaim(bad)))?;
        }
        token_types(&self.token_types).map_err(|bad| ("token_types", bad))?;
        bound(&self.bound).map_err(|bad| ("bound", bad))?;
        if self.single_use && !self.require_exp {
            return Err(("single_use", Bad::Endless));
        }
        self.check_source(before)
    }

    /// The required claims as JSON.
    pub fn required(&self) -> String {
        self.required_claims.to_json()
    }

    /// The map of roles as JSON.
    pub fn map(&self) -> Option<String> {
        self.role_map.as_ref().map(RoleMap::to_json)
    }

    fn files(&self) -> [(&'static str, Option<&String>); 2] {
        [
            ("ca_file", self.ca_file.as_ref()),
            ("bearer_token_file", self.bearer_token_file.as_ref()),
        ]
    }

    fn check_source(&self, before: Option<&Self>) -> Result<(), (&'static str, Bad)> {
        let trust = guc::jwks_trust();
        if self.discover {
            if self.keys_url.is_some() {
                return Err(("discover", Bad::Sources));
            }
            let place = Place::of_description(&self.issuer)
                .map_err(|bad| ("discover", Bad::Place("issuer", bad)))?;
            trust
                .check(&place, &self.issuer)
                .map_err(|bad| ("discover", Bad::Place("issuer", bad)))?;
        }
        if let Some(url) = &self.keys_url {
            let place = Place::parse(url).and_then(|place| trust.check(&place, &self.issuer));
            place.map_err(|bad| ("keys_url", Bad::Place("keys_url", bad)))?;
        }
        if self.keys_stale_for.is_some() && !self.is_fetched() {
            return Err(("keys_stale_for", Bad::NotFetched("keys_stale_for")));
        }
        for (what, path) in self.files() {
            let Some(path) = path else { continue };
            if !self.is_fetched() {
                return Err((what, Bad::NotFetched(what)));
            }
            let is_plain = path.starts_with('/') && !path.bytes().any(|byte| byte == 0);
            if !is_plain || path.len() > LONGEST_PATH {
                return Err((what, Bad::Path(what)));
            }
        }
        // Whoever names a file and where its content goes to could read any file of the server.
        let sends = self.ca_file.is_some() || self.bearer_token_file.is_some();
        let unchanged = before
            .is_some_and(|before| self.has_source_of(before) && self.files() == before.files());
        if sends && !unchanged && !may_name_files() {
            return Err((
                match self.bearer_token_file {
                    Some(_) => "bearer_token_file",
                    None => "ca_file",
                },
                Bad::Files,
            ));
        }
        Ok(())
    }
}

fn may_name_files() -> bool {
    let caller = identity::current_user();
    let files = catalog::oid_of(FILES);
    identity::is_superuser()
        || (files != pg_sys::InvalidOid && catalog::has_privileges_of(caller, files))
}

/// The registered issuers of this database, or the one of this name, as the last commit of anybody left them.
pub fn registered(name: Option<&str>) -> Result<Vec<Definition>, Bad> {
    const SQL: &str = "
        SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                 'name', i.name, 'issuer', i.issuer, 'audiences', i.audiences, 'algorithms', i.algorithms, 'role_claim', i.role_claim,
                 'allowed_roles', i.allowed_roles, 'anon_role', i.anon_role, 'require_exp', i.require_exp,
                 'leeway', pg_catalog.floor(EXTRACT(epoch FROM i.leeway))::bigint,
                 'max_age', pg_catalog.floor(EXTRACT(epoch FROM i.max_age))::bigint,
                 'token_types', i.token_types, 'required_claims', i.required_claims, 'role_map', i.role_map, 'bound', i.bound,
                 'single_use', i.single_use,
                 'keys_url', i.keys_url, 'discover', i.discover, 'ca_file', i.ca_file, 'bearer_token_file', i.bearer_token_file,
                 'keys_stale_for', pg_catalog.floor(EXTRACT(epoch FROM i.keys_stale_for))::bigint))::text
          FROM _scope.jwt_issuer i
         WHERE $1::text IS NULL OR i.name OPERATOR(pg_catalog.=) $1
         ORDER BY i.name";
    let rows = identity::elevated(|| spi::query(SQL, &[name.into()], |row| row.get::<String>(1)))?;
    rows.into_iter()
        .flatten()
        .map(|row| serde_json::from_str(&row).map_err(|error| Bad::Sql(error.to_string())))
        .collect()
}

/// Writes the row of a new issuer, without keys. False: the name or the iss is taken.
pub fn insert(definition: &Definition) -> SpiResult<bool> {
    Ok(!write(
        definition,
        "INSERT INTO _scope.jwt_issuer
           (name, issuer, audiences, algorithms, role_claim, allowed_roles, anon_role, leeway, require_exp, max_age,
            keys_url, discover, ca_file, bearer_token_file, keys_stale_for, token_types, required_claims, role_map, bound, single_use)
         VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.make_interval(secs => $8), $9, pg_catalog.make_interval(secs => $10),
                 $11, $12, $13, $14, pg_catalog.make_interval(secs => $15), $16, $17::pg_catalog.jsonb, $18::pg_catalog.jsonb, $19, $20)
         ON CONFLICT DO NOTHING RETURNING 1",
    )?
    .is_empty())
}

/// Changes the row of an issuer; its keys are left alone. False: there is none.
pub fn update(definition: &Definition) -> SpiResult<bool> {
    Ok(!write(
        definition,
        "UPDATE _scope.jwt_issuer
            SET issuer = $2, audiences = $3, algorithms = $4, role_claim = $5, allowed_roles = $6, anon_role = $7,
                leeway = pg_catalog.make_interval(secs => $8), require_exp = $9,
                max_age = pg_catalog.make_interval(secs => $10), keys_url = $11, discover = $12, ca_file = $13,
                bearer_token_file = $14, keys_stale_for = pg_catalog.make_interval(secs => $15),
                token_types = $16, required_claims = $17::pg_catalog.jsonb, role_map = $18::pg_catalog.jsonb, bound = $19,
                single_use = $20,
                changed_at = pg_catalog.now()
          WHERE name OPERATOR(pg_catalog.=) $1 RETURNING 1",
    )?
    .is_empty())
}

fn write(definition: &Definition, sql: &str) -> SpiResult<Vec<Option<i32>>> {
    let (required, map) = (definition.required(), definition.map());
    let Definition {
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
        single_use,
        keys_url,
        discover,
        ca_file,
        bearer_token_file,
        keys_stale_for,
        ..
    } = definition.clone();
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
                keys_url.into(),
                discover.into(),
                ca_file.into(),
                bearer_token_file.into(),
                keys_stale_for.map(f64::from).into(),
                token_types.into(),
                required.into(),
                map.into(),
                bound.into(),
                single_use.into(),
            ],
            |row| row.get::<i32>(1),
        )
    })
}
