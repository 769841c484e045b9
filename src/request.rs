//! Access on request: what may be asked for, who must say yes, and what comes of it (docs/design.md, "Access on request").

mod acting;
mod ask;
mod authority;
mod decide;
mod error;
mod left;
mod outbox;
mod person;
pub mod policy;
mod quorum;
mod restored;
mod show;
pub mod standing;
mod start;
mod statement;
mod store;

use serde::{Deserialize, Serialize};

use crate::credential::deadline::Unacceptable;
use crate::credential::{self, BadOption, life};
use crate::pg::{clock, xact};
use crate::temporary;

pub use restored::init;
pub use start::tend;
pub use store::policies;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for decisions.
    Pending,
    /// It waits for its start, to be taken or to be run.
    Approved,
    Active,
    Ended,
    Denied,
    Withdrawn,
    Revoked,
    /// Nobody decided, or nobody took it, in time.
    Expired,
    /// It could not begin.
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }

    /// Does it wait, for decisions or for its start?
    fn waits(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }

    /// Does it wait, or last?
    fn is_open(self) -> bool {
        self.waits() || self == Self::Active
    }
}

/// What a policy is called where it is one of several kinds of things.
pub const POLICY: &str = "request policy";

const MICROS_PER_SECOND: i64 = 1_000_000;

fn writable() -> Result<(), Error> {
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    Ok(())
}

fn after(now: i64, seconds: i64) -> i64 {
    now.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND))
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("cannot change requests in a read-only transaction")]
    ReadOnly,
    #[error("role \"{0}\" does not exist")]
    NoSuchRole(String),
    #[error("request policy \"{0}\" does not exist")]
    NoSuchPolicy(String),
    #[error("request {0} does not exist")]
    NoSuchRequest(i64),
    #[error("request policy \"{0}\" already exists")]
    PolicyExists(String),
    #[error("request {id} has been approved by the same person already")]
    Again { id: i64 },
    #[error("permission denied for request policy \"{policy}\"")]
    NotYourPolicy { policy: String, creator: String },
    #[error("role \"{0}\" cannot make a request policy")]
    EndsItself(String),
    #[error("no statement can be approved for role \"{0}\"")]
    NotForStatements(String),
    #[error("permission denied for role \"{role}\"")]
    MayNotGive { role: String, caller: String },
    #[error("permission denied to ask for role \"{target}\"")]
    NotToBeAskedFor { target: String, caller: String },
    #[error("permission denied for request {0}")]
    NotYours(i64),
    #[error("permission denied to decide on request {id}")]
    Oneself { id: i64, why: &'static str },
    #[error("permission denied to decide on request {id}")]
    MayNotDecide {
        id: i64,
        needs: String,
        caller: String,
    },
    #[error("permission denied")]
    Monitor,
    #[error("{what} is not valid")]
    Bad {
        what: &'static str,
        why: &'static str,
    },
    #[error("role \"{target}\" can be asked for by several policies")]
    Several {
        target: String,
        policies: Vec<String>,
    },
    #[error("this session cannot be given a membership")]
    NeedsALogin,
    #[error("too many requests")]
    TooMany(&'static str),
    /// It is not in a state for that.
    #[error("request {id} cannot be {doing}")]
    State {
        id: i64,
        doing: &'static str,
        state: State,
        until: Option<i64>,
    },
    #[error("it has been granted already")]
    HasIt { until: i64 },
    #[error("nothing can be asked for now")]
    Hours(String),
    #[error("the request cannot go on")]
    PolicyGone(String),
    #[error("the request cannot begin")]
    NotAnyMore(String),
    #[error("scope.{0}() must be a statement of its own")]
    NotOnItsOwn(&'static str),
    /// Its locks would hold others up for as long as the caller likes.
    #[error("scope.{0}() cannot run inside a transaction block")]
    HoldsUp(&'static str),
    #[error("nobody in particular asks")]
    NoSubject,
    #[error("request {0} cannot run inside a transaction block")]
    InBlock(i64),
    #[error("the statement names what its requester may change: {0}")]
    Changeable(String),
    #[error("request {id} was approved for another number of rows")]
    Rows { id: i64, rows: i64, expected: i64 },
    #[error("the role is not there")]
    Vanished,
    #[error("the requests could not be read or changed")]
    Sql(String),
    #[error(transparent)]
    Temporary(#[from] temporary::Error),
    #[error(transparent)]
    Credential(#[from] credential::Error),
    #[error(transparent)]
    Life(#[from] life::Error),
    #[error(transparent)]
    Option(#[from] BadOption),
    #[error(transparent)]
    Deadline(#[from] Unacceptable),
}

/// Whoever has asked.
pub struct Asker<'a> {
    pub login: u32,
    pub issuer: Option<&'a str>,
    pub subject: Option<&'a str>,
}

/// What waits or lasts.
pub struct Open {
    pub id: i64,
    pub target: String,
    pub state: State,
}

/// What waits or lasts in this database, of those of whom `is_theirs` says so.
pub fn open(is_theirs: impl Fn(&Asker<'_>) -> bool) -> Result<Vec<Open>, Error> {
    let now = clock::now();
    let found = store::open()?.into_iter().filter(|request| {
        request.state_at(now).is_open()
            && is_theirs(&Asker {
                login: request.login_oid,
                issuer: request.person.issuer.as_deref(),
                subject: request.subject.as_deref(),
            })
    });
    Ok(found
        .map(|request| Open {
            state: request.state_at(now),
            id: request.id,
            target: request.target,
        })
        .collect())
}

/// Does it wait, or last?
pub fn is_open(id: i64) -> bool {
    store::find(id).is_ok_and(|request| request.state_at(clock::now()).is_open())
}

/// The policies that name this role among those who may ask, decide or break the glass.
pub fn policies_naming(role: u32) -> Result<Vec<String>, Error> {
    let named = store::policies()?
        .into_iter()
        .filter(|policy| policy.names(role));
    Ok(named.map(|policy| policy.name).collect())
}

/// The policies in whose creator's name access is granted, of this one.
pub fn policies_of(creator: u32) -> Result<Vec<String>, Error> {
    let theirs = store::policies()?
        .into_iter()
        .filter(|policy| policy.is.creator.oid == creator);
    Ok(theirs.map(|policy| policy.name).collect())
}

impl Error {
    fn bad(what: &'static str, why: &'static str) -> Self {
        Self::Bad { what, why }
    }
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}
