//! The authenticators of a spec: made, with other policies, other roles.

use std::collections::BTreeSet;

use super::document::{Authenticator, Document, Mode};
use super::logins::{self, Policy};
use super::steps::{Actor, Change, Found, Step, Work, label_step, require_function};
use super::{At, Error, state};
use crate::admission::Rules;
use crate::authenticator::{self, Tokens};
use crate::authority::Target;
use crate::credential::options::{Given, Options};
use crate::credential::{self, issue, life};
use crate::label::{Kind, Metadata};
use crate::memberships;
use crate::pg::{catalog, compat, identity, spi};
use crate::scope::name;

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
    for (index, authenticator) in document.authenticators.iter().enumerate() {
        let at = format!("/authenticators/{index}");
        self::authenticator(document, &at, authenticator, found)?;
    }
    Ok(())
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
        require_function(maker(declared), at)?;
        let known: Vec<String> = declared
            .roles
            .iter()
            .filter(|role| !is_new_scope(role))
            .cloned()
            .collect();
        let new = authenticator::New {
            role: &declared.name,
            roles: &known,
            tokens: &tokens(declared).at(&format!("{at}/subject_limit"))?,
            purpose: None,
            options: &options,
            valid_until: None,
        };
        new.check().at(at)?;
        found.policies.push(Step {
            object: format!("authenticator {}", declared.name),
            statement: creation(declared),
            reason: match declared.token_issuers.is_empty() {
                true => format!(
                    "declared at {at}, and not there; it has no password until scope.rotate_password()"
                ),
                false => format!("declared at {at}, and not there"),
            },
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
    let before: BTreeSet<&String> = target.metadata.issuers.iter().collect();
    let issuers: BTreeSet<&String> = declared.token_issuers.iter().collect();
    if before.is_empty() != issuers.is_empty() {
        return Err(Error::OtherLogin {
            role: declared.name.clone(),
            pointer: format!("{at}/token_issuers"),
        });
    }
    let metadata = logins::policy(at, &target, rules, found)?;
    if before != issuers {
        require_function("create_token_login", at)?;
        let change = Change::Issuers(declared.token_issuers.clone());
        let step = label_step(&declared.name, &metadata, change);
        found.policies.push(Step {
            reason: format!("other issuers are declared at {at}/token_issuers"),
            ..step
        });
    }
    let limit = tokens(declared)
        .at(&format!("{at}/subject_limit"))?
        .subject_limit;
    if metadata.subject_limit != limit {
        require_function("create_token_login", at)?;
        let step = label_step(&declared.name, &metadata, Change::SubjectLimit(limit));
        found.policies.push(Step {
            reason: format!("another limit is declared at {at}/subject_limit"),
            ..step
        });
    }
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
        .filter(|row| row.member == declared.name && row.role_kind.as_deref() != Some("composite"))
        .collect();
    let is_there =
        |role: &String| metadata.roles.contains(role) && rows.iter().any(|row| row.role == *role);
    if !declared.roles.iter().all(is_there) {
        life::require_no_longer(&target).at(&format!("{at}/roles"))?;
    }
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
                memberships::SWITCH_ONLY
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
        spi::array(&hours),
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

/// The tokens that take the place of its password.
pub fn tokens(declared: &Authenticator) -> Result<Tokens, authenticator::Error> {
    if declared.token_issuers.is_empty() && declared.subject_limit.is_some() {
        return Err(authenticator::Error::NoIssuers);
    }
    Ok(Tokens {
        issuers: declared.token_issuers.clone(),
        subject_limit: declared
            .subject_limit
            .map(authenticator::limit_of)
            .transpose()?,
    })
}

/// The function that makes such a login.
fn maker(declared: &Authenticator) -> &'static str {
    match declared.token_issuers.as_slice() {
        [] => "create_authenticator",
        _ => "create_token_login",
    }
}

/// As a call would be written.
fn creation(declared: &Authenticator) -> String {
    let mut arguments = vec![spi::literal(&declared.name), spi::array(&declared.roles)];
    if !declared.token_issuers.is_empty() {
        arguments.push(spi::array(&declared.token_issuers));
    }
    let mut named = |name: &str, value: Option<String>| {
        arguments.extend(value.map(|value| format!("{name} => {value}")));
    };
    named(
        "subject_limit",
        declared.subject_limit.map(|limit| limit.to_string()),
    );
    named("purpose", declared.purpose.as_deref().map(spi::literal));
    named(
        "allowed_ips",
        declared.allowed_ips.as_deref().map(spi::array),
    );
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
    format!("SELECT scope.{}({})", maker(declared), arguments.join(", "))
}
