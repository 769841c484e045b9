//! Who leaves, and who asks for it.

use pgrx::pg_sys;

use super::Error;
use crate::label::{self, Kind, Metadata};
use crate::pg::catalog::{self, Role};
use crate::pg::identity;
use crate::session::switch_state;
use crate::verify::revocation;

pub enum Who {
    /// The login of a person, or one that stands for them.
    Login(Role),
    /// The holder of tokens.
    Subject(Subject),
}

pub struct Subject {
    pub sub: String,
    /// The `iss`, or the name of an issuer, as the caller has it; `None`: of any.
    pub issuer: Option<String>,
    /// The same as tokens and labels have them.
    utf8: (String, Option<String>),
}

pub struct Person {
    pub who: Who,
    pub reason: Option<String>,
    pub successor: Option<String>,
    /// As SQL has it.
    pub overlap: String,
}

impl Person {
    pub fn login(&self) -> Option<&Role> {
        match &self.who {
            Who::Login(role) => Some(role),
            Who::Subject(_) => None,
        }
    }

    pub fn subject(&self) -> Option<&Subject> {
        match &self.who {
            Who::Login(_) => None,
            Who::Subject(subject) => Some(subject),
        }
    }

    pub fn name(&self) -> &str {
        match &self.who {
            Who::Login(role) => &role.name,
            Who::Subject(subject) => &subject.sub,
        }
    }
}

impl Subject {
    pub fn named(sub: &str, issuer: Option<&str>) -> Result<Self, Error> {
        let iss = issuer.map(revocation::registered).transpose()?.flatten();
        let iss = iss.as_deref().or(issuer);
        Ok(Self {
            sub: sub.to_owned(),
            issuer: issuer.map(str::to_owned),
            utf8: (
                revocation::in_utf8(sub)?,
                iss.map(revocation::in_utf8).transpose()?,
            ),
        })
    }

    /// Is it the holder of tokens with these claims?
    pub fn is(&self, iss: Option<&str>, sub: &str) -> bool {
        let (own_sub, own_iss) = &self.utf8;
        sub == own_sub && (own_iss.is_none() || own_iss.as_deref() == iss)
    }

    /// The `iss` that is meant.
    pub fn iss(&self) -> Option<&str> {
        self.utf8.1.as_deref()
    }
}

/// A login by this name that the caller may offboard at all; each thing is asked about when it is done.
pub fn login(name: &str) -> Result<Role, Error> {
    let role = catalog::role_by_name(name).ok_or_else(|| Error::Unknown {
        role: name.to_owned(),
    })?;
    if role.superuser && !identity::is_superuser() {
        return Err(Error::Superuser { role: role.name });
    }
    if acting().contains(&role.oid) {
        return Err(Error::Oneself);
    }
    match label::read(role.oid) {
        Some(Ok(metadata)) if !matches!(metadata.kind, Kind::Credential | Kind::Authenticator) => {
            Err(Error::NotALogin {
                role: role.name,
                kind: metadata.kind,
            })
        }
        _ => Ok(role),
    }
}

/// All on whose behalf the session may be: a SECURITY DEFINER function of somebody else does not change who has called it.
fn acting() -> [pg_sys::Oid; 4] {
    let now = identity::now();
    [
        now.current,
        now.outer,
        identity::session_user(),
        identity::authenticated_user(),
    ]
}

/// Is it the caller who is this subject, by the token of the session, or by that for which its login was issued?
pub fn is_oneself(subject: &Subject) -> bool {
    let by_token = switch_state::claims().is_some_and(|claims| {
        let claim = |name| claims.get(name).and_then(serde_json::Value::as_str);
        claim("sub").is_some_and(|sub| subject.is(claim("iss"), sub))
    });
    by_token
        || acting().into_iter().any(|role| {
            let label = label::read(role).and_then(Result::ok);
            let token = label.and_then(|label| label.token);
            token.is_some_and(|token| subject.is(token.iss.as_deref(), &token.sub))
        })
}

/// A role with a label.
pub struct Labelled {
    pub role: Role,
    pub metadata: Metadata,
}

/// All whose labels can be read, those of logins that are only guarded too, by name.
pub fn labelled() -> Vec<Labelled> {
    let mut roles = Vec::new();
    label::each(|role, _| roles.push(role));
    let mut found: Vec<Labelled> = roles
        .into_iter()
        .filter_map(|oid| {
            Some(Labelled {
                metadata: label::read_any(oid)?.ok()?,
                role: catalog::role_by_oid(oid)?,
            })
        })
        .collect();
    found.sort_by(|one, other| one.role.name.cmp(&other.role.name));
    found
}
