//! Steps from what there is to what a spec declares, and what does each.

use std::collections::BTreeSet;

use super::document::{Authenticator, Issuer, RequestPolicy};
use super::{Error, state};
use crate::admission::Rules;
use crate::guard::rule::{Action, Rule};
use crate::label::Metadata;
use crate::pg::spi;
use crate::scope::plan::{self, Grant};

/// Something to be done, and what does it.
pub struct Step {
    /// What it is about, in words.
    pub object: String,
    pub statement: String,
    pub reason: String,
    pub work: Work,
}

pub enum Work {
    CreateScope {
        name: String,
        purpose: Option<String>,
    },
    DropScope {
        name: String,
    },
    /// The statement itself, as somebody.
    Sql(Actor),
    /// The label of a scope or login of the caller's.
    Label {
        role: String,
        change: Change,
    },
    CreateAuthenticator(Authenticator),
    /// The row of an issuer.
    Issuer(Box<IssuerChange>),
    Guard {
        role: String,
        action: Action,
        rule: Rule,
    },
    /// `None`: dropped.
    RequestPolicy {
        name: String,
        declared: Option<Box<RequestPolicy>>,
    },
    /// Whether a function may write for roles that only read.
    Writes {
        function: u32,
        allowed: bool,
    },
}

/// What changes in a label.
#[derive(Debug, Clone)]
pub enum Change {
    Purpose(String),
    Rules(Rules),
    /// Which an authenticator's tokens may name.
    Roles(Vec<String>),
    /// Whose tokens a login by token presents.
    Issuers(Vec<String>),
    /// How many sessions one subject may have of it.
    SubjectLimit(Option<u32>),
}

impl Change {
    pub fn apply(&self, metadata: &mut Metadata) {
        match self {
            Self::Purpose(purpose) => metadata.purpose = Some(purpose.clone()),
            Self::Rules(rules) => metadata.login.clone_from(rules),
            Self::Roles(roles) => metadata.roles.clone_from(roles),
            Self::Issuers(issuers) => metadata.issuers.clone_from(issuers),
            Self::SubjectLimit(limit) => metadata.subject_limit = *limit,
        }
    }
}

pub struct IssuerChange {
    pub issuer: Issuer,
    /// As it is there.
    pub before: Option<Issuer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    Caller,
    /// A grantor: a REVOKE takes back the grants of the one who runs it.
    Role(u32),
    /// Where the caller's authority has been asked for already.
    Extension,
}

/// All that is to be done, in order, and what to tell about it.
pub struct Plan {
    pub steps: Vec<Step>,
    /// Others will create in schemas whose future objects are declared.
    pub changes_creators: bool,
    pub notices: Vec<Notice>,
    /// What scopes declare from now on, once the steps are made.
    pub declared: Vec<Declared>,
}

/// What a spec makes of a scope's declaration.
pub struct Declared {
    pub scope: String,
    pub change: Declares,
}

pub enum Declares {
    /// All this, besides what it declares already.
    Also(plan::Plan),
    /// This and nothing else.
    Only(plan::Plan),
    /// No longer these.
    Without(BTreeSet<Grant>),
}

pub struct Notice {
    pub message: String,
    pub detail: String,
    pub hint: &'static str,
}

/// Steps by their turn.
#[derive(Default)]
pub struct Found {
    pub created: Vec<Step>,
    pub granted: Vec<Step>,
    pub revoked: Vec<Step>,
    pub guarded: Vec<Step>,
    /// Memberships that end, and that begin.
    pub left: Vec<Step>,
    pub joined: Vec<Step>,
    pub policies: Vec<Step>,
    pub dropped: Vec<Step>,
    pub notices: Vec<Notice>,
    pub declared: Vec<Declared>,
}

/// A spec does nothing that its caller could not do by the functions.
pub fn require_function(function: &'static str, at: &str) -> Result<(), Error> {
    if state::may_call(function)? {
        Ok(())
    } else {
        Err(Error::MayNotCall {
            function,
            pointer: at.to_owned(),
        })
    }
}

pub fn missing(what: &'static str, name: &str, at: &str) -> Error {
    Error::Missing {
        what,
        name: name.to_owned(),
        pointer: at.to_owned(),
    }
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
