//! Policies: what may be asked for, by whom, and who must say yes.

pub mod change;
pub mod given;
pub mod statement;

use std::collections::BTreeSet;

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

use given::{Given, interval};

use super::quorum::Needs;
use crate::admission::hours::Window;
use crate::admission::network::Network;
use crate::pg::{catalog, time_zone};

pub use change::seconds;

/// A role by its OID, with the name that it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRef {
    pub name: String,
    pub oid: u32,
}

impl RoleRef {
    pub fn of(role: &catalog::Role) -> Self {
        Self {
            name: role.name.clone(),
            oid: role.oid.into(),
        }
    }

    pub fn oid(&self) -> pg_sys::Oid {
        self.oid.into()
    }

    pub fn is_there(&self) -> bool {
        catalog::role_by_oid(self.oid()).is_some()
    }

    /// What it is called now; as before where it is gone.
    pub fn shown(&self) -> String {
        catalog::role_by_oid(self.oid()).map_or_else(|| self.name.clone(), |role| role.name)
    }

    /// Is the role still there, and has `member` its privileges?
    pub fn has(&self, member: pg_sys::Oid) -> bool {
        self.is_there() && catalog::has_privileges_of(member, self.oid())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Membership,
    Credential,
    Statement,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Membership => "membership",
            Self::Credential => "credential",
            Self::Statement => "statement",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub role: RoleRef,
    pub n: usize,
}

impl Needs for Approval {
    fn role(&self) -> u32 {
        self.role.oid
    }
    fn people(&self) -> usize {
        self.n
    }
}

/// When, as the clock shows it somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    #[serde(default)]
    pub hours: Vec<Window>,
    #[serde(default)]
    pub zone: Option<String>,
}

impl Hours {
    fn in_order(&self) -> (BTreeSet<String>, Option<String>) {
        let hours = self.hours.iter().map(ToString::to_string).collect();
        (hours, self.zone.clone())
    }

    /// A zone that this server does not know is at no time.
    pub fn allow(&self, now: i64) -> bool {
        let Some(zone) = self.zone.as_deref().filter(|_| !self.hours.is_empty()) else {
            return self.hours.is_empty();
        };
        let moment = time_zone::moment(zone, now);
        moment.is_some_and(|moment| self.hours.iter().any(|window| window.contains(moment)))
    }
}

/// When nobody is asked: all of it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auto {
    pub max_seconds: i64,
    /// `None`: from anywhere.
    pub addresses: Option<Vec<Network>>,
    #[serde(flatten)]
    pub when: Hours,
    pub member_of: Option<RoleRef>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub kind: Kind,
    pub targets: Vec<RoleRef>,
    pub requesters: Vec<RoleRef>,
    pub approvals: Vec<Approval>,
    /// One of the approvals is enough.
    pub any: bool,
    pub max_seconds: i64,
    pub default_seconds: i64,
    pub pending_seconds: i64,
    pub reason_pattern: Option<String>,
    pub ticket_required: bool,
    #[serde(flatten)]
    pub when: Hours,
    pub auto_approve: Option<Auto>,
    pub break_glass: Vec<RoleRef>,
    pub creator: RoleRef,
}

impl Definition {
    /// Without what roles did that are gone, and with today's names.
    pub fn in_effect(&self) -> Self {
        let named =
            |role: &RoleRef| catalog::role_by_oid(role.oid()).map(|role| RoleRef::of(&role));
        let list = |roles: &[RoleRef]| roles.iter().filter_map(named).collect();
        let approvals = self.approvals.iter();
        let approvals = approvals.filter_map(|Approval { role, n }| {
            let (role, n) = (named(role)?, *n);
            Some(Approval { role, n })
        });
        let auto = self.auto_approve.clone();
        Self {
            targets: list(&self.targets),
            requesters: list(&self.requesters),
            approvals: approvals.collect(),
            // Nobody is a member of a role that is gone.
            auto_approve: auto.and_then(|auto| {
                let member_of = match &auto.member_of {
                    Some(role) => Some(named(role)?),
                    None => None,
                };
                Some(Auto { member_of, ..auto })
            }),
            break_glass: list(&self.break_glass),
            ..self.clone()
        }
    }

    /// Does it say the same now, whoever has made it?
    pub fn is_like(&self, other: &Self) -> bool {
        let (one, other) = (self.in_effect(), other.in_effect());
        let oids =
            |roles: &[RoleRef]| -> BTreeSet<u32> { roles.iter().map(|role| role.oid).collect() };
        let needs = |of: &Self| -> BTreeSet<(u32, usize)> {
            of.approvals
                .iter()
                .map(|need| (need.role.oid, need.n))
                .collect()
        };
        let conditions = |auto: &Auto| {
            let addresses = auto.addresses.clone();
            let addresses = addresses.map(|list| {
                list.into_iter()
                    .map(String::from)
                    .collect::<BTreeSet<String>>()
            });
            let member_of = auto.member_of.as_ref().map(|role| role.oid);
            (auto.max_seconds, addresses, auto.when.in_order(), member_of)
        };
        let rest = |of: &Self| {
            (
                of.kind.name(),
                of.any,
                of.max_seconds,
                of.default_seconds,
                of.pending_seconds,
                of.reason_pattern.clone(),
                of.ticket_required,
            )
        };
        rest(&one) == rest(&other)
            && oids(&one.targets) == oids(&other.targets)
            && oids(&one.requesters) == oids(&other.requesters)
            && oids(&one.break_glass) == oids(&other.break_glass)
            && needs(&one) == needs(&other)
            && one.when.in_order() == other.when.in_order()
            && one.auto_approve.as_ref().map(conditions)
                == other.auto_approve.as_ref().map(conditions)
    }

    /// As people write it.
    pub fn given(&self) -> Given {
        let now = self.in_effect();
        let names = |roles: Vec<RoleRef>| roles.into_iter().map(|role| role.name).collect();
        let texts = |hours: Vec<Window>| hours.iter().map(ToString::to_string).collect();
        let approvals = now.approvals.into_iter();
        Given {
            kind: now.kind.name().to_owned(),
            targets: names(now.targets),
            requesters: names(now.requesters),
            approvals: approvals
                .map(|Approval { role, n }| given::Approval { role: role.name, n })
                .collect(),
            require: if now.any { "any" } else { "all" }.to_owned(),
            max_duration: interval(now.max_seconds),
            default_duration: (now.default_seconds != now.max_seconds)
                .then(|| interval(now.default_seconds)),
            pending_for: interval(now.pending_seconds),
            reason_pattern: now.reason_pattern,
            ticket_required: now.ticket_required,
            hours: texts(now.when.hours),
            time_zone: now.when.zone,
            auto_approve: now.auto_approve.map(|auto| given::Auto {
                max_duration: interval(auto.max_seconds),
                addresses: auto
                    .addresses
                    .map(|list| list.into_iter().map(String::from).collect()),
                hours: texts(auto.when.hours),
                time_zone: auto.when.zone,
                member_of: auto.member_of.map(|role| role.name),
            }),
            break_glass: names(now.break_glass),
        }
    }

    fn zones(&self) -> Vec<&str> {
        let auto = self.auto_approve.iter().flat_map(|auto| &auto.when.zone);
        self.when
            .zone
            .iter()
            .chain(auto)
            .map(String::as_str)
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Policy {
    pub name: String,
    #[serde(flatten)]
    pub is: Definition,
}

impl Policy {
    pub fn gives(&self, target: pg_sys::Oid) -> bool {
        self.is.targets.iter().any(|role| role.oid() == target)
    }

    /// May whoever acts as this role ask?
    pub fn lets_ask(&self, role: pg_sys::Oid) -> bool {
        self.is
            .requesters
            .iter()
            .any(|requester| requester.has(role))
    }

    pub fn lets_break_glass(&self, role: pg_sys::Oid) -> bool {
        self.is.break_glass.iter().any(|member| member.has(role))
    }

    /// The approving roles whose privileges this role has.
    pub fn approving_roles(&self, role: pg_sys::Oid) -> Vec<u32> {
        let approvals = self.is.approvals.iter();
        let has = approvals.filter(|approval| approval.role.has(role));
        has.map(|approval| approval.role.oid).collect()
    }

    /// Is it the policy of this role: its creator's, a member's, a superuser's?
    pub fn is_of(&self, role: pg_sys::Oid) -> bool {
        catalog::role_by_oid(role).is_some_and(|role| role.superuser) || self.is.creator.has(role)
    }

    /// Does it name the role among those who may ask, decide or break the glass?
    pub fn names(&self, role: u32) -> bool {
        let member = self
            .is
            .auto_approve
            .as_ref()
            .and_then(|auto| auto.member_of.as_ref());
        let approvals = self.is.approvals.iter().map(|approval| &approval.role);
        let others = self.is.requesters.iter().chain(&self.is.break_glass);
        others
            .chain(approvals)
            .chain(member)
            .any(|named| named.oid == role)
    }

    /// Who must say yes, in words.
    pub fn approvals_in_words(&self) -> String {
        let approvals = self.is.approvals.iter();
        let words: Vec<String> = approvals
            .map(|approval| format!("{} of {}", approval.n, approval.role.shown()))
            .collect();
        words.join(if self.is.any { " or " } else { " and " })
    }

    /// What is missing, in words, when these people have said yes; `None`: nothing.
    pub fn missing(&self, yes: &[Vec<u32>]) -> Option<String> {
        let missing = super::quorum::missing(&self.is.approvals, self.is.any, yes);
        let words: Vec<String> = missing
            .into_iter()
            .filter_map(|(need, people)| {
                let role = &self.is.approvals.get(need)?.role;
                Some(format!("{people} of {}", role.shown()))
            })
            .collect();
        let separator = if self.is.any { " or " } else { " and " };
        (!words.is_empty()).then(|| words.join(separator))
    }
}
