//! The text of a spec: what may be written in it, and where it is wrong. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::names;
use crate::admission::hours;
use crate::guard::rule::{Action, Class, MAX_WINDOW_SECONDS, Rule, Window};

/// The version of the format that this library reads and writes.
pub const VERSION: u32 = 1;
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is taken away.
    #[default]
    Additive,
    /// What is named holds nothing but what is declared.
    Authoritative,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub version: u32,
    #[serde(default)]
    pub mode: Mode,
    /// Schemas in which no scope holds anything but what is declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// Roles of others than scope_roles, of which all members are declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memberships: Vec<Membership>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authenticators: Vec<Authenticator>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Login>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// Functions in which roles that only read may change data, as SQL writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writing_functions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Issuer>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grants>,
    /// It is to be dropped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub absent: bool,
}

/// As the arguments of scope.create_scope().
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    pub privileges: Vec<String>,
    /// As SQL writes them, with their schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<String>,
    /// With the types of their arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub future_tables: bool,
    /// Just the privileges on just the objects: nothing comes along, and a schema is itself alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact: bool,
    /// Of an exact entry: this database.
    #[serde(default, skip_serializing_if = "is_false")]
    pub database: bool,
    /// Of an exact entry: default privileges, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub future: Vec<Future>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Future {
    pub of: FutureClass,
    pub creator: String,
    /// Left out: in any schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FutureClass {
    Tables,
    Sequences,
    Functions,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    pub role: String,
    pub member: String,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub inherit: bool,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub set: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub admin: bool,
    /// Left out: whoever has granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authenticator {
    pub name: String,
    pub roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_local: Option<bool>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub require_tls: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hours: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i32>,
}

/// The whole policy of a login: what is left out is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_local: Option<bool>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub require_tls: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hours: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// The guard of a role with one action: the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    pub role: String,
    #[serde(default, skip_serializing_if = "is_block")]
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_rows: Option<u64>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<Class>,
}

/// All of an issuer but its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
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
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<u32>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub require_exp: bool,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_block(action: &Action) -> bool {
    *action == Action::Block
}

/// What a document locks, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Locked<'a> {
    /// A role of ours, if it is there.
    Role(&'a str),
    /// The same, or else its name.
    Made(&'a str),
    MembersOf(&'a str),
    Issuer(&'a str),
    Writers,
}

impl Document {
    /// Reads a text; keys that no spec has, or twice, are refused.
    pub fn parse(text: &str) -> Result<Self, Bad> {
        let value = serde_json::from_str(text).map_err(|error| Bad::at("", error.to_string()))?;
        objects("", &value)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let document: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| Bad::at(pointer(error.path()), error.inner().to_string()))?;
        document.check()?;
        Ok(document)
    }

    /// What others must not change meanwhile, in one order, so that two callers never wait for each
    /// other.
    pub fn locks(&self) -> BTreeSet<Locked<'_>> {
        let scopes = self.scopes.iter().map(|scope| match scope.absent {
            true => Locked::Role(&scope.name),
            false => Locked::Made(&scope.name),
        });
        let authenticators = self.authenticators.iter();
        let logins = self.logins.iter().map(|login| login.role.as_str());
        let members = self.memberships.iter().map(|one| &one.role);
        let members = members.chain(&self.roles);
        let issuers = self.issuers.iter().map(|one| &one.name);
        // Guards lock their roles as they are set, once that may be.
        let writers = self.writing_functions.first();
        scopes
            .chain(authenticators.map(|one| Locked::Made(&one.name)))
            .chain(logins.map(Locked::Role))
            .chain(members.map(|role| Locked::MembersOf(role)))
            .chain(issuers.map(|name| Locked::Issuer(name)))
            .chain(writers.map(|_| Locked::Writers))
            .collect()
    }

    /// What can be told without a server.
    fn check(&self) -> Result<(), Bad> {
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
            once_in(&format!("{at}/allowed_ips"), &authenticator.allowed_ips)?;
            hours(&at, &authenticator.allowed_hours, &authenticator.time_zone)?;
        }
        once("/logins", &self.logins, |login| login.role.clone())?;
        for (index, login) in self.logins.iter().enumerate() {
            let at = format!("/logins/{index}");
            name(&format!("{at}/role"), &login.role)?;
            once_in(&format!("{at}/allowed_ips"), &login.allowed_ips)?;
            hours(&at, &login.allowed_hours, &login.time_zone)?;
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
        Ok(())
    }
}

impl Guard {
    pub fn of(role: &str, action: Action, rule: &Rule) -> Self {
        Self {
            role: role.to_owned(),
            action,
            max_rows: rule.max_rows,
            window_rows: rule.window.map(|window| window.rows),
            window: rule.window.map(|window| window.seconds),
            forbid: rule.forbid.clone(),
        }
    }

    pub fn rule(&self) -> Rule {
        let window = self.window_rows.zip(self.window);
        Rule {
            max_rows: self.max_rows,
            window: window.map(|(rows, seconds)| Window { rows, seconds }),
            forbid: self.forbid.clone(),
            dba: false,
        }
    }

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

/// Serde takes an array for an object's values in their order. Nobody should write a spec so.
fn objects(at: &str, value: &Value) -> Result<(), Bad> {
    const LISTS: [&str; 8] = [
        "scopes",
        "grants",
        "future",
        "memberships",
        "authenticators",
        "logins",
        "guards",
        "issuers",
    ];
    let Value::Object(members) = value else {
        return Err(Bad::at(at, "invalid type: expected an object"));
    };
    for list in LISTS {
        let items = members.get(list).and_then(Value::as_array);
        for (index, item) in items.into_iter().flatten().enumerate() {
            objects(&format!("{at}/{list}/{index}"), item)?;
        }
    }
    Ok(())
}

/// `scopes[0].name` as a JSON pointer.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer += &format!("/{index}"),
            Segment::Map { key } => {
                pointer.push('/');
                pointer += &key.replace('~', "~0").replace('/', "~1");
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
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

/// When a login may be used.
fn hours(at: &str, hours: &[String], zone: &Option<String>) -> Result<(), Bad> {
    let at_hours = format!("{at}/allowed_hours");
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
            "it is that of allowed_hours, and there are none",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(text: &str) -> (String, String) {
        match Document::parse(text) {
            Ok(_) => (String::from("valid"), String::new()),
            Err(bad) => (bad.pointer, bad.problem),
        }
    }

    #[test]
    fn spec_with_defaults_is_read_and_written_short() {
        let text = r#"{"version":1,"mode":"authoritative","scopes":[{"name":"a","grants":[{"privileges":["SELECT"],"tables":["app.t"]}]}],"memberships":[{"role":"a","member":"b"}]}"#;
        let document = Document::parse(text);
        assert_eq!(
            document.map(|document| serde_json::to_string(&document).unwrap_or_default()),
            Ok(text.to_owned())
        );
        let smallest = Document::parse("{\"version\":1}").map(|document| document.mode);
        assert_eq!(smallest, Ok(Mode::Additive));
    }

    #[test]
    fn spec_errors_name_their_place() {
        for (text, pointer, problem) in [
            ("", "", "EOF"),
            ("[]", "", "invalid type"),
            (
                "[1,\"additive\",[],[],[],[],[],[],[],[],[]]",
                "",
                "expected an object",
            ),
            (
                r#"{"version":1,"scopes":[["a",null,[],false]]}"#,
                "/scopes/0",
                "expected an object",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":["SELECT"]}]}"#,
                "/scopes/0/grants/0",
                "expected an object",
            ),
            (
                r#"{"version":1,"scopes":{"name":"a"}}"#,
                "/scopes",
                "invalid type",
            ),
            ("{}", "", "missing field `version`"),
            ("{\"version\":1} 2", "", "trailing"),
            ("{\"version\":2}", "/version", "version 2 is not known"),
            ("{\"version\":\"1\"}", "/version", "invalid type"),
            (
                "{\"version\":1,\"version\":1}",
                "",
                "duplicate field `version`",
            ),
            (
                "{\"version\":1,\"scops\":[]}",
                "/scops",
                "unknown field `scops`",
            ),
            (
                "{\"version\":1,\"mode\":\"both\"}",
                "/mode",
                "unknown variant",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a"},{"name":"b","grants":[{"privileges":["SELECT"],"table":["x.y"]}]}]}"#,
                "/scopes/1/grants/0/table",
                "unknown field `table`",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","name":"b"}]}"#,
                "/scopes/0",
                "duplicate field `name`",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a"},{"name":"a"}]}"#,
                "/scopes/1",
                "declared already, at /scopes/0",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT"],"tables":["orders"]}]}]}"#,
                "/scopes/0/grants/0/tables/0",
                "schema.name",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT"],"tables":["a.b","\"a\".B"]}]}]}"#,
                "/scopes/0/grants/0/tables/1",
                "declared already",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT","select"]}]}]}"#,
                "/scopes/0/grants/0/privileges/1",
                "declared already",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","absent":true}]}"#,
                "/scopes/0/absent",
                "additive",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["CONNECT"],"database":true}]}]}"#,
                "/scopes/0/grants/0/database",
                "exact",
            ),
            (
                r#"{"version":1,"memberships":[{"role":"a","member":"b"},{"role":"a","member":"b","grantor":"c"}]}"#,
                "/memberships/0",
                "grantor",
            ),
            (
                r#"{"version":1,"authenticators":[{"name":"a","roles":[]}]}"#,
                "/authenticators/0/roles",
                "at least one",
            ),
            (
                r#"{"version":1,"issuers":[{"name":"a","issuer":"x","keys":"k"}]}"#,
                "/issuers/0/keys",
                "unknown field `keys`",
            ),
            (r#"{"version":1,"a/b~c":1}"#, "/a~1b~0c", "unknown field"),
            (
                r#"{"version":1,"guards":[["a","block",5]]}"#,
                "/guards/0",
                "expected an object",
            ),
            (
                r#"{"version":1,"guards":[{"max_rows":5}]}"#,
                "/guards/0",
                "missing field `role`",
            ),
            (
                r#"{"version":1,"guards":[{"role":"","max_rows":5}]}"#,
                "/guards/0/role",
                "empty",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","rows":5}]}"#,
                "/guards/0/rows",
                "unknown field `rows`",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":"5"}]}"#,
                "/guards/0/max_rows",
                "invalid type",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":-1}]}"#,
                "/guards/0/max_rows",
                "invalid value",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":9223372036854775808}]}"#,
                "/guards/0/max_rows",
                "more than",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","window_rows":5}]}"#,
                "/guards/0/window_rows",
                "go together",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":1,"window":5}]}"#,
                "/guards/0/window",
                "go together",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","window_rows":5,"window":0}]}"#,
                "/guards/0/window",
                "between 1 and 31622400",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","window_rows":5,"window":31622401}]}"#,
                "/guards/0/window",
                "between 1 and 31622400",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","forbid":["ddl","select"]}]}"#,
                "/guards/0/forbid/1",
                "unknown variant",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","forbid":["ddl","do","ddl"]}]}"#,
                "/guards/0/forbid/2",
                "declared already, at /guards/0/forbid/0",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":1,"action":"log"}]}"#,
                "/guards/0/action",
                "unknown variant",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","action":"alert"}]}"#,
                "/guards/0",
                "limits nothing",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":1},{"role":"a","max_rows":1,"action":"alert"},{"role":"a","forbid":["do"],"action":"block"}]}"#,
                "/guards/2",
                "declared already, at /guards/0",
            ),
            (
                r#"{"version":1,"mode":"authoritative","scopes":[{"name":"a","absent":true}],"guards":[{"role":"a","max_rows":1}]}"#,
                "/guards/0/role",
                "absent",
            ),
            (
                r#"{"version":1,"writing_functions":["app.f"]}"#,
                "/writing_functions/0",
                "schema.name(types)",
            ),
            (
                r#"{"version":1,"writing_functions":["app.f()","App.F()"]}"#,
                "/writing_functions/1",
                "declared already",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","hours":[]}]}"#,
                "/logins/0/hours",
                "unknown field `hours`",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":"daily 08:00-18:00"}]}"#,
                "/logins/0/allowed_hours",
                "invalid type",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":["daily 08:00-18:00","8-18"],"time_zone":"UTC"}]}"#,
                "/logins/0/allowed_hours/1",
                "are not hours",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":["daily 08:00-18:00","Mon-Sun 08:00-18:00"],"time_zone":"UTC"}]}"#,
                "/logins/0/allowed_hours/1",
                "declared already",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":["daily 08:00-18:00"]}]}"#,
                "/logins/0/allowed_hours",
                "time_zone",
            ),
            (
                r#"{"version":1,"authenticators":[{"name":"a","roles":["b"],"time_zone":"UTC"}]}"#,
                "/authenticators/0/time_zone",
                "there are none",
            ),
        ] {
            let (at, why) = bad(text);
            assert_eq!(at, pointer, "{text}: {why}");
            assert!(why.contains(problem), "{text}: {why}");
        }
    }

    #[test]
    fn spec_nested_deeper_than_any_is_an_error_and_no_crash() {
        assert_ne!(bad(&"[".repeat(100_000)).0, "valid");
        assert_ne!(
            bad(&format!(
                "{{\"version\":1,\"scopes\":{}",
                "[".repeat(100_000)
            ))
            .0,
            "valid"
        );
    }
}
