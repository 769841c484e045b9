//! A spec as its text has it: what may be written there. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::guard::rule::{Action, Class, Rule, Window};
/// What may be asked for, by whom, and who must say yes.
pub use crate::request::policy::given::Given as RequestPolicy;
/// All of an issuer but its keys.
pub use crate::verify::issuer::definition::Definition as Issuer;

/// The version of the format that this library reads and writes.
pub const VERSION: u32 = 1;

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
    /// By their names.
    #[serde(
        default,
        deserialize_with = "once_each",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub request_policies: BTreeMap<String, RequestPolicy>,
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
    /// Of a login by token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_issuers: Vec<String>,
    /// Of a login by token: how many sessions one subject may have at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_limit: Option<i32>,
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

/// A name that comes twice would hide the first.
fn once_each<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, RequestPolicy>, D::Error> {
    struct Each;
    impl<'de> Visitor<'de> for Each {
        type Value = BTreeMap<String, RequestPolicy>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut policies = BTreeMap::new();
            while let Some((name, policy)) = map.next_entry::<String, RequestPolicy>()? {
                if policies.contains_key(&name) {
                    return Err(A::Error::custom(format!("\"{name}\" is declared already")));
                }
                policies.insert(name, policy);
            }
            Ok(policies)
        }
    }
    deserializer.deserialize_map(Each)
}

/// The place of a request policy: a JSON pointer.
pub fn policy_at(name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("/request_policies/{name}")
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
    RequestPolicy(&'a str),
}

impl Document {
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
        let policies = self.request_policies.keys();
        scopes
            .chain(authenticators.map(|one| Locked::Made(&one.name)))
            .chain(logins.map(Locked::Role))
            .chain(members.map(|role| Locked::MembersOf(role)))
            .chain(issuers.map(|name| Locked::Issuer(name)))
            .chain(writers.map(|_| Locked::Writers))
            .chain(policies.map(|name| Locked::RequestPolicy(name)))
            .collect()
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
}
