//! What of a spec is wrong, and where, as far as its text alone tells. Pure.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::Hash;

use super::document::{
    Document, Grants, Guard, Membership, Mode, RequestPolicy, Scope, VERSION, policy_at,
};
use super::names;
use crate::admission::hours;
use crate::guard::rule::MAX_WINDOW_SECONDS;

const MAX_NAME_BYTES: usize = 63;

/// Why a text is not a spec, and where: a JSON pointer (RFC 6901), empty for the whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the spec is not valid at \"{pointer}\"")]
pub struct Bad {
    pub pointer: String,
    pub problem: String,
}

impl Bad {
    pub fn at(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            problem: problem.into(),
        }
    }
}

impl Document {
    /// What can be told without a server.
    pub fn check(&self) -> Result<(), Bad> {
        if self.version != VERSION {
            return Err(Bad::at(
                "/version",
                format!("version {} is not known; this is {VERSION}", self.version),
            ));
        }
        names_once("/schemas", &self.schemas)?;
        names_once("/roles", &self.roles)?;
        once("/scopes", &self.scopes, |scope| scope.name.clone())?;
        for (index, scope) in self.scopes.iter().enumerate() {
            let at = format!("/scopes/{index}");
            name(&format!("{at}/name"), &scope.name)?;
            if scope.absent {
                if self.mode == Mode::Additive {
                    return Err(Bad::at(
                        format!("{at}/absent"),
                        "an additive spec takes nothing away",
                    ));
                }
                if !scope.grants.is_empty() {
                    return Err(Bad::at(
                        format!("{at}/grants"),
                        "a scope that is to be absent holds nothing",
                    ));
                }
            }
            for (index, grants) in scope.grants.iter().enumerate() {
                grants.check(&format!("{at}/grants/{index}"))?;
            }
        }
        once("/memberships", &self.memberships, |membership| {
            let Membership {
                role,
                member,
                grantor,
                ..
            } = membership;
            (role.clone(), member.clone(), grantor.clone())
        })?;
        for (index, membership) in self.memberships.iter().enumerate() {
            let at = format!("/memberships/{index}");
            name(&format!("{at}/role"), &membership.role)?;
            name(&format!("{at}/member"), &membership.member)?;
            if let Some(grantor) = &membership.grantor {
                name(&format!("{at}/grantor"), grantor)?;
            }
            let others = self
                .memberships
                .iter()
                .filter(|other| other.role == membership.role && other.member == membership.member);
            if membership.grantor.is_none() && others.count() > 1 {
                return Err(Bad::at(
                    at,
                    "the membership is declared again, so each of them needs its grantor",
                ));
            }
        }
        once("/authenticators", &self.authenticators, |one| {
            one.name.clone()
        })?;
        for (index, authenticator) in self.authenticators.iter().enumerate() {
            let at = format!("/authenticators/{index}");
            name(&format!("{at}/name"), &authenticator.name)?;
            if authenticator.roles.is_empty() {
                return Err(Bad::at(
                    format!("{at}/roles"),
                    "an authenticator needs at least one role",
                ));
            }
            names_once(&format!("{at}/roles"), &authenticator.roles)?;
            once(
                &format!("{at}/token_issuers"),
                &authenticator.token_issuers,
                Clone::clone,
            )?;
            once_in(&format!("{at}/allowed_ips"), &authenticator.allowed_ips)?;
            hours(
                &at,
                "allowed_hours",
                &authenticator.allowed_hours,
                &authenticator.time_zone,
            )?;
        }
        once("/logins", &self.logins, |login| login.role.clone())?;
        for (index, login) in self.logins.iter().enumerate() {
            let at = format!("/logins/{index}");
            name(&format!("{at}/role"), &login.role)?;
            once_in(&format!("{at}/allowed_ips"), &login.allowed_ips)?;
            hours(&at, "allowed_hours", &login.allowed_hours, &login.time_zone)?;
            let twice = self
                .authenticators
                .iter()
                .any(|authenticator| authenticator.name == login.role);
            if twice {
                return Err(Bad::at(
                    format!("{at}/role"),
                    "it is declared as an authenticator already, with its policy",
                ));
            }
        }
        once("/guards", &self.guards, |guard| {
            (guard.role.clone(), guard.action)
        })?;
        for (index, guard) in self.guards.iter().enumerate() {
            let at = format!("/guards/{index}");
            guard.check(&at)?;
            let is_absent = |scope: &Scope| scope.absent && scope.name == guard.role;
            if self.scopes.iter().any(is_absent) {
                return Err(Bad::at(
                    format!("{at}/role"),
                    "a scope that is to be absent has no guard",
                ));
            }
        }
        functions("/writing_functions", &self.writing_functions)?;
        once("/issuers", &self.issuers, |issuer| issuer.name.clone())?;
        once("/issuers", &self.issuers, |issuer| issuer.issuer.clone())?;
        for (index, issuer) in self.issuers.iter().enumerate() {
            let at = format!("/issuers/{index}");
            for (key, text) in [("name", &issuer.name), ("issuer", &issuer.issuer)] {
                if text.is_empty() {
                    return Err(Bad::at(format!("{at}/{key}"), "it is empty"));
                }
            }
        }
        for (name, policy) in &self.request_policies {
            request_policy(name, policy)?;
        }
        Ok(())
    }
}

fn request_policy(name: &str, policy: &RequestPolicy) -> Result<(), Bad> {
    let at = policy_at(name);
    self::name(&at, name)?;
    for (key, list) in [
        ("targets", &policy.targets),
        ("requesters", &policy.requesters),
        ("break_glass", &policy.break_glass),
    ] {
        names_once(&format!("{at}/{key}"), list)?;
    }
    once(&format!("{at}/approvals"), &policy.approvals, |one| {
        one.role.clone()
    })?;
    hours(&at, "hours", &policy.hours, &policy.time_zone)?;
    if let Some(auto) = &policy.auto_approve {
        let at = format!("{at}/auto_approve");
        once_in(&format!("{at}/addresses"), &auto.addresses)?;
        hours(&at, "hours", &auto.hours, &auto.time_zone)?;
    }
    Ok(())
}

impl Guard {
    fn check(&self, at: &str) -> Result<(), Bad> {
        name(&format!("{at}/role"), &self.role)?;
        for (key, rows) in [
            ("max_rows", self.max_rows),
            ("window_rows", self.window_rows),
        ] {
            if rows.is_some_and(|rows| i64::try_from(rows).is_err()) {
                return Err(Bad::at(
                    format!("{at}/{key}"),
                    format!("it is more than {}", i64::MAX),
                ));
            }
        }
        match (self.window_rows, self.window) {
            (None, None) => {}
            (Some(_), Some(seconds)) if (1..=MAX_WINDOW_SECONDS).contains(&seconds) => {}
            (Some(_), Some(_)) => {
                return Err(Bad::at(
                    format!("{at}/window"),
                    format!("it is not between 1 and {MAX_WINDOW_SECONDS} seconds"),
                ));
            }
            (rows, _) => {
                let key = if rows.is_some() {
                    "window_rows"
                } else {
                    "window"
                };
                return Err(Bad::at(
                    format!("{at}/{key}"),
                    "window_rows and window go together",
                ));
            }
        }
        once(&format!("{at}/forbid"), &self.forbid, |class| *class)?;
        if self.rule().says_nothing() {
            return Err(Bad::at(at, "it limits nothing and forbids nothing"));
        }
        Ok(())
    }
}

impl Grants {
    fn check(&self, at: &str) -> Result<(), Bad> {
        once(&format!("{at}/privileges"), &self.privileges, |word| {
            word.trim().to_ascii_uppercase()
        })?;
        for (key, list) in [("tables", &self.tables), ("sequences", &self.sequences)] {
            let problem = "it is written as schema.name, quoted as SQL does";
            qualified_once(&format!("{at}/{key}"), list, problem, |parsed| {
                parsed.rest.is_empty()
            })?;
        }
        functions(&format!("{at}/functions"), &self.functions)?;
        once_in(&format!("{at}/columns"), &self.columns)?;
        names_once(&format!("{at}/schemas"), &self.schemas)?;
        once(&format!("{at}/future"), &self.future, Clone::clone)?;
        if self.exact {
            if self.future_tables {
                return Err(Bad::at(
                    format!("{at}/future_tables"),
                    "an exact entry names future objects one by one, in \"future\"",
                ));
            }
        } else if self.database || !self.future.is_empty() {
            let key = if self.database { "database" } else { "future" };
            return Err(Bad::at(format!("{at}/{key}"), "only an exact entry has it"));
        }
        Ok(())
    }
}

fn name(at: &str, name: &str) -> Result<(), Bad> {
    if name.is_empty() {
        Err(Bad::at(at, "the name is empty"))
    } else if name.len() > MAX_NAME_BYTES || name.contains('\0') {
        Err(Bad::at(
            at,
            format!("no name in PostgreSQL has more than {MAX_NAME_BYTES} bytes, or a zero byte"),
        ))
    } else {
        Ok(())
    }
}

/// Names of objects, each once and in the form that is asked for.
fn qualified_once(
    at: &str,
    list: &[String],
    problem: &str,
    fits: impl Fn(&names::Qualified<'_>) -> bool,
) -> Result<(), Bad> {
    once(at, list, |name| {
        names::qualified(name)
            .map(|name| (name.schema, name.name, name.rest.to_owned()))
            .ok_or_else(|| name.clone())
    })?;
    let wrong = |text: &String| !names::qualified(text).is_some_and(|parsed| fits(&parsed));
    match list.iter().position(wrong) {
        Some(index) => Err(Bad::at(format!("{at}/{index}"), problem)),
        None => Ok(()),
    }
}

fn functions(at: &str, list: &[String]) -> Result<(), Bad> {
    let problem = "a function is written as schema.name(types), quoted as SQL does";
    qualified_once(at, list, problem, |parsed| !parsed.rest.is_empty())
}

/// When something may be used.
fn hours(at: &str, key: &str, hours: &[String], zone: &Option<String>) -> Result<(), Bad> {
    let at_hours = format!("{at}/{key}");
    let parse = |text: &String| text.parse::<hours::Window>();
    for (index, text) in hours.iter().enumerate() {
        if let Err(problem) = parse(text) {
            return Err(Bad::at(format!("{at_hours}/{index}"), problem.to_string()));
        }
    }
    once(&at_hours, hours, |text| {
        parse(text).map_or_else(|_| text.clone(), |window| window.to_string())
    })?;
    match (hours.is_empty(), zone) {
        (false, None) => Err(Bad::at(at_hours, "hours need their time_zone")),
        (true, Some(_)) => Err(Bad::at(
            format!("{at}/time_zone"),
            format!("it is that of {key}, and there are none"),
        )),
        _ => Ok(()),
    }
}

fn names_once(at: &str, list: &[String]) -> Result<(), Bad> {
    for (index, text) in list.iter().enumerate() {
        name(&format!("{at}/{index}"), text)?;
    }
    once(at, list, Clone::clone)
}

fn once_in(at: &str, list: &Option<Vec<String>>) -> Result<(), Bad> {
    match list {
        Some(list) => once(at, list, Clone::clone),
        None => Ok(()),
    }
}

fn once<T, K: Eq + Hash>(at: &str, list: &[T], key: impl Fn(&T) -> K) -> Result<(), Bad> {
    let mut seen = HashMap::new();
    for (index, item) in list.iter().enumerate() {
        if let Some(first) = seen.insert(key(item), index) {
            return Err(Bad::at(
                format!("{at}/{index}"),
                format!("it is declared already, at {at}/{first}"),
            ));
        }
    }
    Ok(())
}
