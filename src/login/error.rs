//! Rules of logins.

use pgrx::prelude::*;

use super::change::Error;
use super::standing::Over;
use crate::admission::refusal::Refusal;
use crate::authority;
use crate::error::{READ_ONLY, Report, sentence};
use crate::label::Kind;
use crate::timestamp;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NotALogin { .. } | Self::Managed { .. } => {
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE
            }
            Self::Superuser { .. } | Self::NotYours { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Unreadable { .. } | Self::NotGuarded { .. } => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::Authority(error) => error.code(),
            Self::Credential(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null => "The argument role is needed.".into(),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Unknown { .. } => "No role has that name.".into(),
            Self::Superuser { .. } => "No rule ever keeps a superuser out.".into(),
            Self::NotALogin { .. } => "It cannot log in anyway.".into(),
            Self::Managed { kind, .. } => format!("It is a {}.", kind.name()),
            Self::Unreadable { problem, .. } => sentence(problem),
            Self::NotGuarded { .. } => "scope.guard_login() has not named it.".into(),
            Self::NotYours { caller, .. } => format!(
                "\"{caller}\" is not a superuser and does not have both CREATEROLE and ADMIN OPTION on it."
            ),
            Self::Authority(error) => error.detail(),
            Self::Credential(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null => "Pass the name of a login.".into(),
            Self::ReadOnly => "Guard logins on the primary; standbys follow.".into(),
            Self::Unknown { .. } => "Create the role, or correct its name.".into(),
            Self::Superuser { .. } => "Restrict superusers in pg_hba.conf.".into(),
            Self::NotALogin { .. } => "Guard the logins that are its members.".into(),
            Self::Managed { kind, .. } => match kind {
                Kind::Credential | Kind::Authenticator => "Use scope.set_login_policy().".into(),
                _ => "Nobody logs in as it.".into(),
            },
            Self::Unreadable { role, .. } => format!(
                "Have a superuser take it away: SECURITY LABEL FOR scope_roles ON ROLE \"{role}\" IS NULL;"
            ),
            Self::NotGuarded { .. } => "See the view scope.guarded_logins.".into(),
            Self::NotYours { .. } => "Ask a superuser.".into(),
            Self::Authority(authority::Error::NotOurs { .. }) => {
                "For logins that scope_roles has not made there is scope.guard_login().".into()
            }
            Self::Authority(error) => error.hint(),
            Self::Credential(error) => error.hint(),
        }
    }
}

impl Report for Over {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
    }
    fn detail(&self) -> String {
        match (self.refusal, self.since) {
            (Refusal::Deadline, Some(since)) => {
                format!("Its deadline was {}.", timestamp::rfc3339(since))
            }
            (Refusal::Ending | Refusal::Quarantined, _) => {
                "It was revoked, or its end has begun.".into()
            }
            (refusal, _) => sentence(refusal.reason()),
        }
    }
    fn hint(&self) -> String {
        match self.refusal {
            Refusal::Database => "Connect to the database that it was issued in.".into(),
            _ => "Disconnect, and ask for a new credential.".into(),
        }
    }
}
