//! Logins, authenticators and issuers of a spec.

use std::collections::BTreeSet;

use super::document::{Authenticator, Document, Issuer, Mode};
use super::state;
use super::steps::{Actor, Found, Step, Work, missing, require_function};
use super::{At, Error};
use crate::authenticator;
use crate::credential::authority::Target;
use crate::credential::options::{Given, Options};
use crate::credential::{self, issue};
use crate::jwt::{Algorithm, ClaimPath};
use crate::label::{Kind, Metadata};
use crate::login::rules::Rules;
use crate::pg::{catalog, compat, identity, spi};
use crate::scope::name;
use crate::verify;

/// What changes in a label.
#[derive(Debug, Clone)]
pub enum Change {
    Purpose(String),
    Rules(Rules),
}

impl Change {
    pub fn apply(&self, metadata: &mut Metadata) {
        match self {
            Self::Purpose(purpose) => metadata.purpose = Some(purpose.clone()),
            // Just what a spec can say of a policy.
            Self::Rules(rules) => {
                metadata.login.ips.clone_from(&rules.ips);
                metadata.login.local = rules.local;
                metadata.login.tls = rules.tls;
            }
        }
    }
}

pub struct IssuerChange {
    pub issuer: Issuer,
    pub is_new: bool,
}

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
    for (index, authenticator) in document.authenticators.iter().enumerate() {
        let at = format!("/authenticators/{index}");
        self::authenticator(document, &at, authenticator, found)?;
    }
    for (index, login) in document.logins.iter().enumerate() {
        let at = format!("/logins/{index}");
        if catalog::role_by_name(&login.role).is_none() {
            return Err(missing("role", &login.role, &format!("{at}/role")));
        }
        let target = Target::look(&login.role).at(&at)?;
        let rules = rules(
            &at,
            login.allowed_ips.as_ref(),
            login.allow_local,
            login.require_tls,
        )?;
        policy(&at, &target, rules.rules, found)?;
    }
    if !document.issuers.is_empty() {
        issuers(document, found)?;
    }
    Ok(())
}

/// Checked as the functions check them.
fn rules(
    at: &str,
    allowed_ips: Option<&Vec<String>>,
    allow_local: Option<bool>,
    require_tls: bool,
) -> Result<Options, Error> {
    let given = Given {
        allowed_ips: allowed_ips.map(|list| list.iter().cloned().map(Some).collect()),
        allow_local,
        require_tls: Some(require_tls),
        ..Given::default()
    };
    let options = given.check().map_err(credential::Error::from).at(at)?;
    issue::check_tls(&options).at(at)?;
    Ok(options)
}

fn policy(at: &str, target: &Target, rules: Rules, found: &mut Found) -> Result<(), Error> {
    if is_same(&target.metadata.login, &rules) {
        return Ok(());
    }
    target.require_active().at(at)?;
    require_function("create_credential", at)?;
    let step = label_step(&target.role.name, &target.metadata, Change::Rules(rules));
    found.policies.push(Step {
        reason: format!("another login policy is declared at {at}"),
        ..step
    });
    Ok(())
}

/// Do they let the same clients in?
fn is_same(one: &Rules, other: &Rules) -> bool {
    let networks = |rules: &Rules| {
        rules.ips.as_ref().map(|ips| {
            ips.iter()
                .map(|ip| String::from(*ip))
                .collect::<BTreeSet<String>>()
        })
    };
    one.tls == other.tls
        && one.allows_local() == other.allows_local()
        && networks(one) == networks(other)
}

/// A change of a label, as a superuser would write it.
pub fn label_step(role: &str, metadata: &Metadata, change: Change) -> Step {
    let mut changed = metadata.clone();
    change.apply(&mut changed);
    let kind = metadata.kind.name();
    Step {
        object: format!("{kind} {role}"),
        statement: format!(
            "SECURITY LABEL FOR scope_roles ON ROLE {} IS {}",
            spi::identifier(role),
            spi::literal(&changed.to_text())
        ),
        reason: String::new(),
        work: Work::Label {
            role: role.to_owned(),
            change,
        },
    }
}

fn authenticator(
    document: &Document,
    at: &str,
    declared: &Authenticator,
    found: &mut Found,
) -> Result<(), Error> {
    let options = options(at, declared)?;
    issue::check_purpose(declared.purpose.as_deref()).at(at)?;
    // A scope that is made first is takeable, and its maker's.
    let is_new_scope = |role: &String| {
        catalog::role_by_name(role).is_none()
            && document
                .scopes
                .iter()
                .any(|scope| !scope.absent && scope.name == *role)
    };
    let existing = catalog::role_by_name(&declared.name).is_some();
    if !existing {
        name::check(&declared.name)
            .map_err(credential::Error::from)
            .at(&format!("{at}/name"))?;
        require_function("create_authenticator", at)?;
        let known: Vec<String> = declared
            .roles
            .iter()
            .filter(|role| !is_new_scope(role))
            .cloned()
            .collect();
        let new = authenticator::New {
            role: &declared.name,
            roles: &known,
            purpose: None,
            options: &options,
            valid_until: None,
        };
        new.check().at(at)?;
        found.policies.push(Step {
            object: format!("authenticator {}", declared.name),
            statement: creation(declared),
            reason: format!(
                "declared at {at}, and not there; it has no password until scope.rotate_password()"
            ),
            work: Work::CreateAuthenticator(declared.clone()),
        });
        return Ok(());
    }
    let target = Target::look(&declared.name).at(at)?;
    if target.metadata.kind != Kind::Authenticator {
        return Err(Error::NotAnAuthenticator {
            role: declared.name.clone(),
            pointer: at.to_owned(),
        });
    }
    policy(at, &target, options.rules.clone(), found)?;
    if let Some(purpose) = &declared.purpose
        && target.metadata.purpose.as_ref() != Some(purpose)
    {
        require_function("create_authenticator", at)?;
        let change = Change::Purpose(purpose.clone());
        let step = label_step(&declared.name, &target.metadata, change);
        found.policies.push(Step {
            reason: format!("another purpose is declared at {at}/purpose"),
            ..step
        });
    }
    let identifier = spi::identifier(&declared.name);
    let mut push = |statement: String, reason: String| -> Result<(), Error> {
        target.require_active().at(at)?;
        require_function("create_authenticator", at)?;
        found.policies.push(Step {
            object: format!("authenticator {}", declared.name),
            statement,
            reason,
            work: Work::Sql(Actor::Extension),
        });
        Ok(())
    };
    if state::connection_limit(&declared.name)? != declared.connection_limit {
        push(
            format!(
                "ALTER ROLE {identifier} CONNECTION LIMIT {}",
                declared.connection_limit.unwrap_or(-1)
            ),
            format!("another limit is declared at {at}/connection_limit"),
        )?;
    }
    let rows: Vec<state::Member> = state::memberships()?
        .into_iter()
        .filter(|row| row.member == declared.name)
        .collect();
    for (index, role) in declared.roles.iter().enumerate() {
        if rows.iter().any(|row| row.role == *role) {
            continue;
        }
        let at = format!("{at}/roles/{index}");
        if !is_new_scope(role) {
            let caller = identity::current_user();
            authenticator::may_grant(caller, role).at(&at)?;
        }
        push(
            format!(
                "GRANT {} TO {identifier}{}",
                spi::identifier(role),
                compat::SWITCH_ONLY_OPTIONS
            ),
            format!("declared at {at}, and not there"),
        )?;
    }
    if document.mode == Mode::Authoritative {
        for row in rows
            .iter()
            .filter(|row| !declared.roles.contains(&row.role))
        {
            let by = if compat::HAS_MEMBERSHIP_OPTIONS {
                format!(" GRANTED BY {}", spi::identifier(&row.grantor))
            } else {
                String::new()
            };
            push(
                format!(
                    "REVOKE {} FROM {identifier}{by}",
                    spi::identifier(&row.role)
                ),
                format!("not declared at {at}/roles, which is authoritative"),
            )?;
        }
    }
    Ok(())
}

/// The options that an authenticator is made with.
pub fn options(at: &str, declared: &Authenticator) -> Result<Options, Error> {
    let given = Given {
        connection_limit: declared.connection_limit,
        ..Given::default()
    };
    let limit = given.check().map_err(credential::Error::from).at(at)?;
    let rules = rules(
        at,
        declared.allowed_ips.as_ref(),
        declared.allow_local,
        declared.require_tls,
    )?;
    Ok(Options {
        connection_limit: limit.connection_limit,
        ..rules
    })
}

/// As a call would be written.
fn creation(declared: &Authenticator) -> String {
    let mut arguments = vec![spi::literal(&declared.name), array(&declared.roles)];
    let mut named = |name: &str, value: Option<String>| {
        arguments.extend(value.map(|value| format!("{name} => {value}")));
    };
    named("purpose", declared.purpose.as_deref().map(spi::literal));
    named("allowed_ips", declared.allowed_ips.as_deref().map(array));
    named(
        "allow_local",
        declared.allow_local.map(|local| local.to_string()),
    );
    named(
        "require_tls",
        declared.require_tls.then(|| "true".to_owned()),
    );
    named(
        "connection_limit",
        declared.connection_limit.map(|limit| limit.to_string()),
    );
    format!(
        "SELECT scope.create_authenticator({})",
        arguments.join(", ")
    )
}

fn array(items: &[String]) -> String {
    if items.is_empty() {
        return "'{}'".to_owned();
    }
    let items: Vec<String> = items.iter().map(|item| spi::literal(item)).collect();
    format!("ARRAY[{}]", items.join(", "))
}

fn issuers(document: &Document, found: &mut Found) -> Result<(), Error> {
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
        "UPDATE scope.jwt_issuer SET {} WHERE name = {}",
        changes.join(", "),
        spi::literal(&declared.name)
    )
}

/// Registers an issuer, or changes its rules. Authority was checked when the step was found.
pub fn write_issuer(change: &IssuerChange) -> Result<(), Error> {
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
    } = change.issuer.clone();
    // A key that nobody knows, until scope.set_jwt_keys() brings real ones.
    let sql = if change.is_new {
        "INSERT INTO scope.jwt_issuer
           (name, issuer, audiences, algorithms, role_claim, allowed_roles, anon_role, leeway, require_exp, max_age, keys)
         VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.make_interval(secs => $8), $9, pg_catalog.make_interval(secs => $10),
                 pg_catalog.gen_random_uuid()::pg_catalog.text || pg_catalog.gen_random_uuid()::pg_catalog.text)"
    } else {
        "UPDATE scope.jwt_issuer
            SET issuer = $2, audiences = $3, algorithms = $4, role_claim = $5, allowed_roles = $6, anon_role = $7,
                leeway = pg_catalog.make_interval(secs => $8), require_exp = $9,
                max_age = pg_catalog.make_interval(secs => $10), changed_at = pg_catalog.now()
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
            ],
            |_| Ok(()),
        )
    })?;
    Ok(())
}
