//! Who may manage a role of ours: the creator, the members of the creator role, superusers. Never
//! the login itself.

mod error;

use pgrx::pg_sys;

use crate::advisory::{self, Key, Mode};
use crate::label::{self, Kind, Metadata, State, Unknown};
use crate::pg::catalog::{self, Role};
use crate::pg::{clock, identity, xact};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("cannot change credentials in a read-only transaction")]
    ReadOnly,
    #[error("role \"{role}\" does not exist")]
    Unknown { role: String },
    #[error("role \"{role}\" is not a credential")]
    NotOurs { role: String },
    #[error("the label of role \"{role}\" cannot be read")]
    Unreadable { role: String, problem: String },
    #[error("role \"{role}\" is not a credential")]
    Kind { role: String, kind: Kind },
    #[error("permission denied for role \"{role}\"")]
    Superuser { role: String },
    #[error("permission denied for role \"{role}\"")]
    NotYours { role: String, caller: String },
    #[error("permission denied for role \"{role}\"")]
    Oneself { role: String },
    #[error("role \"{role}\" has ended")]
    Ended { role: String },
}

/// A login of ours that the caller may manage, locked against its own end until the transaction ends.
pub struct Target {
    pub role: Role,
    pub metadata: Metadata,
}

impl Target {
    /// Checks authority first, so that nobody else can take the lock, and again under the lock.
    pub fn claim(name: &str) -> Result<Self, Error> {
        if xact::is_read_only() {
            return Err(Error::ReadOnly);
        }
        let first = Self::look(name)?;
        advisory::lock(Key::Role(first.role.oid), Mode::Exclusive);
        // And against others' DROP ROLE, who do not know of that lock.
        if !catalog::lock_role(first.role.oid) {
            return Err(unknown(name));
        }
        let target = Self::look(name)?;
        if target.role.oid == first.role.oid {
            Ok(target)
        } else {
            // Renamed meanwhile: what is locked is another role.
            Err(unknown(name))
        }
    }

    /// The same whoever the caller is, of what ends together with something else; `None` where it is gone, or cannot be read.
    pub fn seize(role: pg_sys::Oid) -> Option<Self> {
        advisory::lock(Key::Role(role), Mode::Exclusive);
        catalog::lock_role(role).then_some(())?;
        Some(Self {
            role: catalog::role_by_oid(role)?,
            metadata: label::of(role).ok()?,
        })
    }

    /// The same without a lock, for saying what would be done.
    pub fn look(name: &str) -> Result<Self, Error> {
        let role = catalog::role_by_name(name).ok_or_else(|| unknown(name))?;
        let metadata = match label::of(role.oid) {
            Err(Unknown::Gone) => return Err(unknown(name)),
            Err(Unknown::NotOurs) => return Err(Error::NotOurs { role: role.name }),
            Err(Unknown::Unreadable(problem)) => {
                return Err(Error::Unreadable {
                    role: role.name,
                    problem: problem.to_string(),
                });
            }
            Ok(metadata) => metadata,
        };
        if role.superuser {
            return Err(Error::Superuser { role: role.name });
        }
        let caller = identity::current_user();
        if !is_over(caller, &metadata) {
            return Err(Error::NotYours {
                role: role.name,
                caller: catalog::name_of(caller),
            });
        }
        if acting()
            .iter()
            .any(|&actor| is_same_login(actor, &role, &metadata))
        {
            return Err(Error::Oneself { role: role.name });
        }
        match metadata.kind {
            Kind::Credential | Kind::Authenticator => Ok(Self { role, metadata }),
            kind => Err(Error::Kind {
                role: role.name,
                kind,
            }),
        }
    }

    /// When it ends, in Unix microseconds; `None` for an authenticator without a deadline.
    pub fn deadline(&self) -> Option<i64> {
        self.metadata.deadline(self.role.valid_until)
    }

    /// Still in force: neither past its deadline nor being ended.
    pub fn require_active(&self) -> Result<(), Error> {
        let ended = match (self.metadata.kind, self.deadline()) {
            (Kind::Credential, None) => true,
            (_, deadline) => deadline.is_some_and(|deadline| deadline <= clock::now()),
        };
        if ended || self.metadata.state != State::Active {
            Err(Error::Ended {
                role: self.role.name.clone(),
            })
        } else {
            Ok(())
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::Unknown {
        role: name.to_owned(),
    }
}

/// Is `caller` the creator, a member of it, or a superuser?
pub fn is_over(caller: pg_sys::Oid, metadata: &Metadata) -> bool {
    catalog::role_by_oid(caller).is_some_and(|role| role.superuser)
        || creator_of(metadata)
            .is_some_and(|creator| catalog::has_privileges_of(caller, creator.oid))
}

/// The role that is the creator now. Where the label was written here its OID says which, whatever that is called by now,
/// and whoever has come to its name; after a restore the OID may be another role's, and the name must fit as well.
/// `_scope.creator()` is the same in SQL.
pub fn creator_of(metadata: &Metadata) -> Option<Role> {
    catalog::role_by_oid(metadata.creator_oid.into())
        .filter(|role| metadata.is_native || role.name == metadata.creator)
}

/// On whose behalf the session acts now. A SECURITY DEFINER function is its owner's doing.
fn acting() -> Vec<pg_sys::Oid> {
    let now = identity::now();
    if identity::in_security_definer() {
        vec![now.current]
    } else {
        vec![now.current, now.outer, identity::session_user()]
    }
}

/// The role itself, or the other half of its rotation.
fn is_same_login(actor: pg_sys::Oid, role: &Role, metadata: &Metadata) -> bool {
    if actor == role.oid {
        return true;
    }
    let others = [&metadata.successor, &metadata.replaces];
    catalog::role_by_oid(actor).is_some_and(|actor| {
        others
            .iter()
            .any(|other| other.as_ref() == Some(&actor.name))
    })
}
