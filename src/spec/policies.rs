//! Logins, authenticators and issuers of a spec.

use std::collections::BTreeSet;

use super::document::{Authenticator, Document, Issuer, Login, Mode};
use super::state;
use super::steps::{Actor, Found, Step, Work, missing, require_function};
use super::{At, Error};
use crate::admission::Rules;
use crate::authenticator;
use crate::claim_path::ClaimPath;
use crate::credential::authority::Target;
use crate::credential::options::{self, Given, Options};
use crate::credential::{self, BadOption, issue};
use crate::jwt::Algorithm;
use crate::label::{Kind, Metadata};
use crate::pg::{catalog, compat, identity, spi, time_zone};
use crate::scope::name;
use crate::verify;

/// What changes in a label.
#[derive(Debug, Clone)]
pub enum Change {
    Purpose(String),
    Rules(Rules),
    /// Which an authenticator's tokens may name.
    Roles(Vec<String>),
}

impl Change {
    pub fn apply(&self, metadata: &mut Metadata) {
        match self {
            Self::Purpose(purpose) => metadata.purpose = Some(purpose.clone()),
            Self::Rules(rules) => metadata.login.clone_from(rules),
            Self::Roles(roles) => metadata.roles.clone_from(roles),
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
        let policy = Policy::of_login(login);
        let rules = policy.rules(&at, &target.metadata.login)?;
        self::policy(&at, &target, rules, found)?;
    }
    if !document.issuers.is_empty() {
        issuers(document, found)?;
    }
    Ok(())
}

/// What a spec says about the logins of a role.
struct Policy<'a> {
    allowed_ips: Option<&'a Vec<String>>,
    allow_local: Option<bool>,
    require_tls: bool,
    allowed_hours: &'a [String],
    time_zone: Option<&'a str>,
}

impl<'a> Policy<'a> {
    fn of_login(login: &'a Login) -> Self {
        Self {
            allowed_ips: login.allowed_ips.as_ref(),
            allow_local: login.allow_local,
            require_tls: login.require_tls,
            allowed_hours: &login.allowed_hours,
            time_zone: login.time_zone.as_deref(),
        }
    }

    fn of_authenticator(declared: &'a Authenticator) -> Self {
        Self {
            allowed_ips: declared.allowed_ips.as_ref(),
            allow_local: declared.allow_local,
            require_tls: declared.require_tls,
            allowed_hours: &declared.allowed_hours,
            time_zone: declared.time_zone.as_deref(),
        }
    }

    /// Checked as the functions check them. Looking a time zone up takes long: one that the role has
    /// is known.
    fn rules(&self, at: &str, before: &Rules) -> Result<Rules, Error> {
        let given = Given {
            allowed_ips: self
                .allowed_ips
                .map(|list| list.iter().cloned().map(Some).collect()),
            allow_local: self.allow_local,
            require_tls: Some(self.require_tls),
            ..Given::default()
        };
        let bad = credential::Error::from;
        let options = given.check().map_err(bad).at(at)?;
        issue::check_tls(&options).at(at)?;
        let hours = self.allowed_hours.iter().cloned().map(Some).collect();
        let zone = match self.time_zone {
            Some(zone) if before.zone.as_deref() != Some(zone) => {
                let known = time_zone::named(zone)?;
                Some(known.ok_or_else(|| bad(BadOption::TimeZone(zone.to_owned()))))
                    .transpose()
                    .at(&format!("{at}/time_zone"))?
            }
            known => known.map(str::to_owned),
        };
        let rules = Rules {
            hours: options::hours(hours).map_err(bad).at(at)?,
            zone,
            ..options.rules
        };
        options::check_rules(&rules).map_err(bad).at(at)?;
        Ok(rules)
    }
}

/// What the label says after the step, if there is one.
fn policy(at: &str, target: &Target, rules: Rules, found: &mut Found) -> Result<Metadata, Error> {
    let mut metadata = target.metadata.clone();
    if is_same(&metadata.login, &rules) {
        return Ok(metadata);
    }
    target.require_active().at(at)?;
    require_function("set_login_policy", at)?;
    let change = Change::Rules(rules);
    let step = label_step(&target.role.name, &metadata, change.clone());
    found.policies.push(Step {
        reason: format!("another login policy is declared at {at}"),
        ..step
    });
    change.apply(&mut metadata);
    Ok(metadata)
}

/// Do they let the same clients in, at the same times?
fn is_same(one: &Rules, other: &Rules) -> bool {
    let networks = |rules: &Rules| {
        rules.ips.as_ref().map(|ips| {
            ips.iter()
                .map(|ip| String::from(*ip))
                .collect::<BTreeSet<String>>()
        })
    };
    let covers =
        |one: &Rules, other: &Rules| other.hours.iter().all(|hours| one.hours.contains(hours));
    one.tls == other.tls
        && one.zone == other.zone
        && covers(one, other)
        && covers(other, one)
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
    let target = match catalog::role_by_name(&declared.name) {
        Some(_) => Some(Target::look(&declared.name).at(at)?),
        None => None,
    };
    let before = target.as_ref().map(|target| target.metadata.login.clone());
    let policy = Policy::of_authenticator(declared);
    let rules = policy.rules(at, &before.unwrap_or_default())?;
    issue::check_purpose(declared.purpose.as_deref()).at(at)?;
    // A scope that is made first is takeable, and its maker's.
    let is_new_scope = |role: &String| {
        catalog::role_by_name(role).is_none()
            && document
                .scopes
                .iter()
                .any(|scope| !scope.absent && scope.name == *role)
    };
    let Some(target) = target else {
        let options = options(at, declared)?;
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
        if !rules.hours.is_empty() {
            require_function("set_login_policy", at)?;
            found.policies.push(Step {
                object: format!("authenticator {}", declared.name),
                statement: opening(&declared.name, &rules),
                reason: format!("declared at {at}/allowed_hours"),
                work: Work::Label {
                    role: declared.name.clone(),
                    change: Change::Rules(rules),
                },
            });
        }
        return Ok(());
    };
    if target.metadata.kind != Kind::Authenticator {
        return Err(Error::NotAnAuthenticator {
            role: declared.name.clone(),
            pointer: at.to_owned(),
        });
    }
    let metadata = self::policy(at, &target, rules, found)?;
    if let Some(purpose) = &declared.purpose
        && metadata.purpose.as_ref() != Some(purpose)
    {
        require_function("create_authenticator", at)?;
        let change = Change::Purpose(purpose.clone());
        let step = label_step(&declared.name, &metadata, change);
        found.policies.push(Step {
            reason: format!("another purpose is declared at {at}/purpose"),
            ..step
        });
    }
    let rows: Vec<state::Member> = state::memberships()?
        .into_iter()
        .filter(|row| row.member == declared.name)
        .collect();
    if let Some(roles) = listed(document, declared, &metadata, &rows) {
        require_function("create_authenticator", at)?;
        for (index, role) in declared.roles.iter().enumerate() {
            if !metadata.roles.contains(role) && !is_new_scope(role) {
                authenticator::may_grant(identity::current_user(), role)
                    .at(&format!("{at}/roles/{index}"))?;
            }
        }
        let change = Change::Roles(roles);
        let mut changed = metadata.clone();
        change.apply(&mut changed);
        if !changed.fits() {
            return Err(authenticator::Error::TooManyRoles).at(at);
        }
        let step = label_step(&declared.name, &metadata, change);
        found.policies.push(Step {
            reason: format!("other roles are declared at {at}/roles"),
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

/// The roles that an authenticator's tokens may name from now on, if that is to change.
fn listed(
    document: &Document,
    declared: &Authenticator,
    metadata: &Metadata,
    rows: &[state::Member],
) -> Option<Vec<String>> {
    // A label of before there was a list stands for what the login is a member of.
    let mut before: BTreeSet<&String> = metadata.roles.iter().collect();
    if before.is_empty() {
        before.extend(rows.iter().map(|row| &row.role));
    }
    let mut after: BTreeSet<&String> = declared.roles.iter().collect();
    if document.mode != Mode::Authoritative {
        after.extend(before.iter().copied());
    }
    (after != before).then(|| after.into_iter().cloned().collect())
}

/// The hours of a login that was just made, as a call would be written.
fn opening(role: &str, rules: &Rules) -> String {
    let hours: Vec<String> = rules.hours.iter().map(ToString::to_string).collect();
    format!(
        "SELECT scope.set_login_policy({}, allowed_hours => {}, time_zone => {})",
        spi::literal(role),
        array(&hours),
        spi::literal(rules.zone.as_deref().unwrap_or_default())
    )
}

/// The options that an authenticator is made with; its hours come after.
pub fn options(at: &str, declared: &Authenticator) -> Result<Options, Error> {
    let given = Given {
        connection_limit: declared.connection_limit,
        ..Given::default()
    };
    let limit = given.check().map_err(credential::Error::from).at(at)?;
    let policy = Policy {
        allowed_hours: &[],
        time_zone: None,
        ..Policy::of_authenticator(declared)
    };
    Ok(Options {
        rules: policy.rules(at, &Rules::default())?,
        ..limit
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
