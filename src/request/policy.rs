//! Policies: what may be asked for, by whom, and who must say yes.

mod change;

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

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

    /// What it is called now; as before where it is gone.
    pub fn shown(&self) -> String {
        catalog::role_by_oid(self.oid()).map_or_else(|| self.name.clone(), |role| role.name)
    }

    /// Is the role still there, and has `member` its privileges?
    pub fn has(&self, member: pg_sys::Oid) -> bool {
        catalog::role_by_oid(self.oid()).is_some() && catalog::has_privileges_of(member, self.oid())
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
