//! The login policies of a spec.

use std::collections::BTreeSet;

use super::document::{Authenticator, Document, Login};
use super::steps::{Change, Found, Step, label_step, missing, require_function};
use super::{At, Error};
use crate::admission::Rules;
use crate::authority::Target;
use crate::credential::options::{self, Given};
use crate::credential::{self, BadOption, issue};
use crate::label::Metadata;
use crate::login;
use crate::pg::catalog;

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
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
    Ok(())
}

/// What a spec says about the logins of a role.
pub struct Policy<'a> {
    pub allowed_ips: Option<&'a Vec<String>>,
    pub allow_local: Option<bool>,
    pub require_tls: bool,
    pub allowed_hours: &'a [String],
    pub time_zone: Option<&'a str>,
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

    pub fn of_authenticator(declared: &'a Authenticator) -> Self {
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
    pub fn rules(&self, at: &str, before: &Rules) -> Result<Rules, Error> {
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
                let known = login::change::time_zone(zone)?;
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
pub fn policy(
    at: &str,
    target: &Target,
    rules: Rules,
    found: &mut Found,
) -> Result<Metadata, Error> {
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
